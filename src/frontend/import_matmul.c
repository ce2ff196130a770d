// SPDX-License-Identifier: Apache-2.0
//
// Imports matrix products. Comes in: a call. Goes out: matmul on matrices with
// equal batch dimensions, transposes and scales beside it.

#include "frontend/import.h"
#include "frontend/import_ops.h"

// NumPy's rule: a vector on the left is a row, on the right a column, and the
// dimension that it gained is dropped from the result.
ibx_val ibx_emit_matmul_any(ibx_call *call, ibx_val a, ibx_val b) {
  ibx_ints left = ibx_shape_of(call, a), right = ibx_shape_of(call, b);
  bool has_rank = ibx_call_expect(call, left.len >= 1, "A", "is a scalar") &&
                  ibx_call_expect(call, right.len >= 1, "B", "is a scalar");
  if (!has_rank) return a;
  if (left.len == 1) a = ibx_emit_reshape(call, a, IBX_INTS(1, left.at[0]));
  if (right.len == 1) b = ibx_emit_reshape(call, b, IBX_INTS(right.at[0], 1));
  ibx_val product = ibx_emit_matmul(call, a, b);
  ibx_ints shape = ibx_shape_of(call, product);
  if (call->failed || (left.len > 1 && right.len > 1)) return product;
  int64_t columns = shape.at[shape.len - 1];
  if (right.len == 1) shape.len--;
  if (left.len == 1) {
    shape.len--;
    if (right.len > 1) shape.at[shape.len - 1] = columns;
  }
  return ibx_emit_reshape(call, product, shape);
}

void ibx_import_op_matmul(ibx_call *call) {
  ibx_out(call, 0, ibx_emit_matmul_any(call, ibx_in(call, 0), ibx_in(call, 1)));
}

static ibx_val scaled(ibx_call *call, ibx_val x, double factor) {
  if (factor == 1.0) return x;
  if (ibx_is_float(ibx_dtype_of(call, x))) {
    return ibx_emit_affine(call, x, factor, 0);
  }
  return ibx_emit_binary(call, IBX_TENSOR_mul, x,
                         ibx_emit_like(call, x, factor));
}

void ibx_import_op_gemm(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 1);
  bool fits = ibx_rank(call, a) == 2 && ibx_rank(call, b) == 2;
  double alpha = (double)ibx_attr_float(call, "alpha", 1.0f);
  double beta = (double)ibx_attr_float(call, "beta", 1.0f);
  bool turn_a = ibx_attr_int(call, "transA", 0) != 0;
  bool turn_b = ibx_attr_int(call, "transB", 0) != 0;
  if (call->version < 7) ibx_attr_ignore(call, "broadcast");
  if (!ibx_call_expect(call, fits, "A", "Gemm needs two matrices")) return;
  if (turn_a) a = ibx_emit_swap(call, a, 0, 1);
  if (turn_b) b = ibx_emit_swap(call, b, 0, 1);
  ibx_val sum = scaled(call, ibx_emit_matmul(call, a, b), alpha);
  if (ibx_has_in(call, 2)) {
    ibx_val bias = scaled(call, ibx_in(call, 2), beta);
    sum = ibx_emit_binary(call, IBX_TENSOR_add, sum, bias);
  }
  ibx_out(call, 0, sum);
}

// Matrix product of com.microsoft with its scale and transposes.
void ibx_import_op_fused_matmul(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 1);
  int64_t left = ibx_rank(call, a), right = ibx_rank(call, b);
  double alpha = (double)ibx_attr_float(call, "alpha", 1.0f);
  bool turn_a = ibx_attr_int(call, "transA", 0) != 0;
  bool turn_b = ibx_attr_int(call, "transB", 0) != 0;
  if (ibx_attr_int(call, "transBatchA", 0) != 0 ||
      ibx_attr_int(call, "transBatchB", 0) != 0) {
    ibx_call_refuse(call, "transBatchA", "transposed batch dimensions");
    return;
  }
  if (turn_a && left >= 2) a = ibx_emit_swap(call, a, left - 2, left - 1);
  if (turn_b && right >= 2) b = ibx_emit_swap(call, b, right - 2, right - 1);
  ibx_out(call, 0, scaled(call, ibx_emit_matmul_any(call, a, b), alpha));
}
