// SPDX-License-Identifier: Apache-2.0
//
// Imports products of integers: MatMulInteger and ConvInteger exactly, in i32;
// QLinearMatMul and QLinearConv as the standard defines them, with the product
// in i32 between a subtraction of zero points and a requantisation.

#include "frontend/import_ops.h"
#include "frontend/import_quant.h"
#include "frontend/import_window.h"

bool ibx_expect_integers(ibx_call *call, ibx_val x) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  if (!ibx_is_float(dtype) && dtype != IBX_DTYPE_BOOL) return true;
  ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, NULL,
                "quantise the tensor where the model is made",
                "%s has an operand of %s, it needs integers", call->at.op,
                ibx_dtype_get(dtype)->name);
  return false;
}

ibx_val ibx_emit_centred(ibx_call *call, ibx_val x, ibx_val zero,
                         int64_t axis) {
  ibx_expect_integers(call, x);
  double number = 1;
  bool is_plain = zero == IBX_NO_VALUE ||
                  (ibx_is_splat(call, zero, &number) && number == 0);
  // A weight is stored as its difference only.
  call->folds_later = !is_plain && ibx_is_known(call, zero);
  ibx_val wide = ibx_emit_cast(call, x, IBX_DTYPE_I32);
  call->folds_later = false;
  if (is_plain) return wide;
  zero = ibx_emit_cast(call, zero, IBX_DTYPE_I32);
  if (ibx_elements(ibx_type_of(call, zero)) == 1) {
    zero = ibx_emit_reshape(call, zero, (ibx_ints){0});
  } else if (ibx_rank(call, zero) == 1) {
    zero = ibx_emit_along(call, zero, axis, ibx_rank(call, x));
  }
  return ibx_emit_binary(call, IBX_TENSOR_sub, wide, zero);
}

void ibx_import_op_matmul_integer(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 1);
  // Zero points of A belong to rows, those of B to columns.
  int64_t row = ibx_rank(call, a) - 2, column = ibx_rank(call, b) - 1;
  a = ibx_emit_centred(call, a, ibx_in(call, 2), row < 0 ? 0 : row);
  b = ibx_emit_centred(call, b, ibx_in(call, 3), column < 0 ? 0 : column);
  ibx_out(call, 0, ibx_emit_matmul_any(call, a, b));
}

void ibx_import_op_conv_integer(ibx_call *call) {
  ibx_val x = ibx_emit_centred(call, ibx_in(call, 0), ibx_in(call, 2), 1);
  ibx_val w = ibx_emit_centred(call, ibx_in(call, 1), ibx_in(call, 3), 0);
  ibx_out(call, 0, ibx_emit_conv(call, x, w));
}

// Scales of both sides over that of the result, on the i32 product.
static ibx_val requantise(ibx_call *call, ibx_val product, ibx_val left,
                          ibx_val right, int64_t axis, ibx_val scale,
                          ibx_val zero) {
  int64_t rank = ibx_rank(call, product);
  bool is_vector =
      ibx_rank(call, right) == 1 && ibx_elements(ibx_type_of(call, right)) != 1;
  right = is_vector ? ibx_emit_along(call, right, axis, rank)
                    : ibx_emit_reshape(call, right, (ibx_ints){0});
  left = ibx_emit_reshape(call, left, (ibx_ints){0});
  ibx_val factor = ibx_emit_binary(call, IBX_TENSOR_mul,
                                   ibx_emit_cast(call, left, IBX_DTYPE_F32),
                                   ibx_emit_cast(call, right, IBX_DTYPE_F32));
  ibx_val x =
      ibx_emit_binary(call, IBX_TENSOR_mul,
                      ibx_emit_cast(call, product, IBX_DTYPE_F32), factor);
  return ibx_emit_quantise(call, x, scale, zero, 0, 0,
                           ibx_dtype_of(call, zero));
}

// Inputs: a, its scale and zero, b, its scale and zero, scale and zero of y.
static bool is_scalar(ibx_call *call, size_t index) {
  return ibx_elements(ibx_type_of(call, ibx_in(call, index))) == 1;
}

void ibx_import_op_qlinear_matmul(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 3);
  bool fits = is_scalar(call, 1) && is_scalar(call, 6) && is_scalar(call, 7);
  if (!fits) {
    ibx_call_refuse(call, "a_scale", "scales for each row");
    return;
  }
  int64_t column = ibx_rank(call, b) - 1;
  ibx_val product = ibx_emit_matmul_any(
      call, ibx_emit_centred(call, a, ibx_in(call, 2), 0),
      ibx_emit_centred(call, b, ibx_in(call, 5), column < 0 ? 0 : column));
  int64_t last = ibx_rank(call, product) - 1;
  ibx_out(call, 0,
          requantise(call, product, ibx_in(call, 1), ibx_in(call, 4),
                     last < 0 ? 0 : last, ibx_in(call, 6), ibx_in(call, 7)));
}

void ibx_import_op_qlinear_conv(ibx_call *call) {
  ibx_val x = ibx_emit_centred(call, ibx_in(call, 0), ibx_in(call, 2), 1);
  ibx_val w = ibx_emit_centred(call, ibx_in(call, 3), ibx_in(call, 5), 0);
  ibx_val product = ibx_emit_conv(call, x, w);
  if (!ibx_call_expect(call, is_scalar(call, 1) && is_scalar(call, 6),
                       "x_scale", "needs one element")) {
    return;
  }
  if (ibx_has_in(call, 8)) {
    ibx_val bias =
        ibx_emit_along(call, ibx_in(call, 8), 1, ibx_rank(call, product));
    product = ibx_emit_binary(call, IBX_TENSOR_add, product, bias);
  }
  ibx_out(call, 0,
          requantise(call, product, ibx_in(call, 1), ibx_in(call, 4), 1,
                     ibx_in(call, 6), ibx_in(call, 7)));
}
