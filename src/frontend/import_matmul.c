// SPDX-License-Identifier: Apache-2.0
//
// Imports matrix products and determinants. Comes in: a call. Goes out: matmul on
// matrices with equal batch dimensions, transposes and scales beside it; the
// steps of an elimination, unrolled.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>

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

// A fraction of integers is taken as a floating number and cut off.
static ibx_val scaled(ibx_call *call, ibx_val x, double factor) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  if (factor == 1.0) return x;
  if (ibx_is_float(dtype)) return ibx_emit_affine(call, x, factor, 0);
  if (factor != floor(factor)) {
    x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
    return ibx_emit_cast(call, ibx_emit_affine(call, x, factor, 0), dtype);
  }
  return ibx_emit_binary(call, IBX_TENSOR_mul, x,
                         ibx_emit_like(call, x, factor));
}

void ibx_import_op_gemm(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 1);
  bool fits = ibx_rank(call, a) == 2 && ibx_rank(call, b) == 2;
  double alpha = (double)ibx_attr_float(call, "alpha", 1.0f);
  double beta = (double)ibx_attr_float(call, "beta", 1.0f);
  bool turn_a = ibx_attr_flag(call, "transA", false);
  bool turn_b = ibx_attr_flag(call, "transB", false);
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
  bool turn_a = ibx_attr_flag(call, "transA", false);
  bool turn_b = ibx_attr_flag(call, "transB", false);
  if (ibx_attr_flag(call, "transBatchA", false) ||
      ibx_attr_flag(call, "transBatchB", false)) {
    ibx_call_refuse(call, "transBatchA", "transposed batch dimensions");
    return;
  }
  if (turn_a && left >= 2) a = ibx_emit_swap(call, a, left - 2, left - 1);
  if (turn_b && right >= 2) b = ibx_emit_swap(call, b, right - 2, right - 1);
  ibx_out(call, 0, scaled(call, ibx_emit_matmul_any(call, a, b), alpha));
}

// --- determinants ------------------------------------------------------------

// 1 at the first row whose first element is largest, else 0: [B, M, 1].
static ibx_val pivot_row(ibx_call *call, ibx_val a) {
  int64_t rows = ibx_dim(call, a, 1);
  ibx_val size =
      ibx_emit_unary(call, IBX_TENSOR_abs, ibx_emit_slice(call, a, 2, 0, 1, 1));
  ibx_val best =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_max, size, IBX_INTS(1), true);
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, rows), 1, 3);
  line = ibx_emit_cast(call, line, IBX_DTYPE_F32);
  ibx_val past_end = ibx_emit_like(call, line, (double)rows);
  ibx_val index =
      ibx_emit_select(call, ibx_emit_binary(call, IBX_TENSOR_equal, size, best),
                      line, past_end);
  index =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_min, index, IBX_INTS(1), true);
  ibx_val hot = ibx_emit_binary(call, IBX_TENSOR_equal, index, line);
  return ibx_emit_cast(call, hot, IBX_DTYPE_F32);
}

// One step of an elimination: gives the pivot with the sign of the exchange of
// rows, [B, 1, 1], and leaves the matrix without its row and column.
static ibx_val eliminate(ibx_call *call, ibx_val *a) {
  int64_t left = ibx_dim(call, *a, 1) - 1;
  ibx_val hot = pivot_row(call, *a);
  ibx_val row = ibx_emit_matmul(call, ibx_emit_swap(call, hot, 1, 2), *a);
  ibx_val first = ibx_emit_slice(call, *a, 1, 0, 1, 1);
  ibx_val change = ibx_emit_binary(call, IBX_TENSOR_sub, first, row);
  ibx_val moved =
      ibx_emit_binary(call, IBX_TENSOR_add, *a,
                      ibx_emit_binary(call, IBX_TENSOR_mul, hot, change));
  moved = ibx_emit_slice(call, moved, 1, 1, left, 1);
  ibx_val pivot = ibx_emit_slice(call, row, 2, 0, 1, 1);
  ibx_val none = ibx_emit_binary(call, IBX_TENSOR_equal, pivot,
                                 ibx_emit_like(call, pivot, 0));
  ibx_val by =
      ibx_emit_select(call, none, ibx_emit_like(call, pivot, 1), pivot);
  ibx_val factor = ibx_emit_binary(call, IBX_TENSOR_div,
                                   ibx_emit_slice(call, moved, 2, 0, 1, 1), by);
  ibx_val rest = ibx_emit_slice(call, row, 2, 1, left, 1);
  *a = ibx_emit_binary(call, IBX_TENSOR_sub,
                       ibx_emit_slice(call, moved, 2, 1, left, 1),
                       ibx_emit_binary(call, IBX_TENSOR_mul, factor, rest));
  ibx_val stays = ibx_emit_slice(call, hot, 1, 0, 1, 1);
  return ibx_emit_binary(call, IBX_TENSOR_mul, pivot,
                         ibx_emit_affine(call, stays, 2, -1));
}

void ibx_import_op_det(ibx_call *call) {
  enum { MOST_ROWS = 64 };
  ibx_val a = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, a);
  ibx_dtype dtype = ibx_dtype_of(call, a);
  bool fits = shape.len >= 2 && shape.at[shape.len - 1] >= 1 &&
              shape.at[shape.len - 1] == shape.at[shape.len - 2];
  if (!ibx_call_expect(call, fits, "X", "is not square")) return;
  int64_t rows = shape.at[shape.len - 1], batch = 1;
  if (rows > MOST_ROWS) {
    ibx_call_refuse(call, "X", "a matrix of more than %d rows", MOST_ROWS);
    return;
  }
  shape.len = (uint8_t)(shape.len - 2);
  for (uint8_t i = 0; i < shape.len; i++)
    batch *= shape.at[i];
  a = ibx_emit_reshape(call, ibx_emit_cast(call, a, IBX_DTYPE_F32),
                       IBX_INTS(batch, rows, rows));
  ibx_val det = IBX_NO_VALUE;
  while (ibx_dim(call, a, 1) > 1 && !call->failed) {
    ibx_val pivot = eliminate(call, &a);
    det = det == IBX_NO_VALUE
              ? pivot
              : ibx_emit_binary(call, IBX_TENSOR_mul, det, pivot);
  }
  det = det == IBX_NO_VALUE ? a : ibx_emit_binary(call, IBX_TENSOR_mul, det, a);
  ibx_out(call, 0,
          ibx_emit_cast(call, ibx_emit_reshape(call, det, shape), dtype));
}
