// SPDX-License-Identifier: Apache-2.0
//
// Imports products of quantised tensors as com.microsoft has them. Comes in:
// integers of 8 bits with scales and zero points, or floating numbers that are
// quantised here. Goes out: the product of integers in i32, times the product of
// the scales: as floating numbers, or quantised again.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ms_quant.h"
#include "frontend/import_ops.h"
#include "frontend/import_quant.h"
#include "frontend/import_window.h"

// In fp32, a number for all of the product, one for each element of its dimension
// `axis`, or a row of these for each matrix.
static ibx_val spread(ibx_call *call, ibx_val x, ibx_val product, int64_t axis,
                      const char *name) {
  ibx_ints shape = ibx_shape_of(call, product), own = ibx_shape_of(call, x);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  if (ibx_elements(ibx_type_of(call, x)) == 1) {
    return ibx_emit_reshape(call, x, (ibx_ints){0});
  }
  bool has_axis = axis >= 0 && axis < shape.len;
  if (has_axis && own.len == 1 && own.at[0] == shape.at[axis]) {
    return ibx_emit_along(call, x, axis, shape.len);
  }
  bool fits = has_axis && own.len >= 2 && own.len <= shape.len;
  for (uint8_t i = 0; fits && i < own.len; i++) {
    int64_t extent = shape.at[shape.len - own.len + i];
    fits = own.at[i] == 1 || (own.at[i] == extent && i + 2 != own.len);
  }
  ibx_call_expect(call, fits, name,
                  "needs one element, or one for each column");
  return fits ? x : product;
}

static bool expect_one(ibx_call *call, size_t index, const char *name) {
  if (!ibx_has_in(call, index) ||
      ibx_elements(ibx_type_of(call, ibx_in(call, index))) == 1) {
    return true;
  }
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, name,
                "quantise the left side with one scale and one zero point",
                "'%s' has more than one element", name);
  return false;
}

static ibx_val multiply(ibx_call *call, ibx_val a, ibx_val a_zero, ibx_val b,
                        ibx_val b_zero) {
  int64_t column = ibx_rank(call, b) - 1;
  a = ibx_emit_centred(call, a, a_zero, 0);
  b = ibx_emit_centred(call, b, b_zero, column < 0 ? 0 : column);
  return ibx_emit_matmul_any(call, a, b);
}

// --- floating results --------------------------------------------------------

// product * (left * right) + bias
static ibx_val scaled(ibx_call *call, ibx_val product, ibx_val left,
                      ibx_val right, ibx_val bias) {
  int64_t last = ibx_rank(call, product) - 1;
  ibx_val factor = spread(call, right, product, last, "b_scale");
  factor = ibx_emit_binary(call, IBX_TENSOR_mul, left, factor);
  ibx_val y = ibx_emit_cast(call, product, IBX_DTYPE_F32);
  y = ibx_emit_binary(call, IBX_TENSOR_mul, y, factor);
  if (bias == IBX_NO_VALUE) return y;
  bias = spread(call, bias, product, last, "bias");
  return ibx_emit_binary(call, IBX_TENSOR_add, y, bias);
}

// A scale of one element as a number.
static ibx_val scale_in(ibx_call *call, size_t index) {
  ibx_val scale = ibx_emit_cast(call, ibx_in(call, index), IBX_DTYPE_F32);
  return ibx_emit_reshape(call, scale, (ibx_ints){0});
}

void ibx_import_op_matmul_integer_to_float(ibx_call *call) {
  if (!expect_one(call, 2, "a_scale") || !expect_one(call, 4, "a_zero_point")) {
    return;
  }
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 2));
  ibx_val product = multiply(call, ibx_in(call, 0), ibx_in(call, 4),
                             ibx_in(call, 1), ibx_in(call, 5));
  ibx_val y = scaled(call, product, scale_in(call, 2), ibx_in(call, 3),
                     ibx_in(call, 6));
  ibx_out(call, 0, ibx_emit_cast(call, y, dtype));
}

void ibx_import_op_dynamic_quantize_matmul(ibx_call *call) {
  ibx_val scale, zero;
  ibx_val a = ibx_emit_dynamic_quantise(call, ibx_in(call, 0), &scale, &zero);
  ibx_val product = multiply(call, a, zero, ibx_in(call, 1), ibx_in(call, 3));
  ibx_out(call, 0,
          scaled(call, product, scale, ibx_in(call, 2), ibx_in(call, 4)));
}

// Attention of com.microsoft behind a projection of quantised numbers.
void ibx_import_op_qattention(ibx_call *call) {
  if (!expect_one(call, 3, "input_scale") ||
      !expect_one(call, 6, "input_zero_point") || !ibx_ms_may_project(call)) {
    return;
  }
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 3));
  ibx_val product = multiply(call, ibx_in(call, 0), ibx_in(call, 6),
                             ibx_in(call, 1), ibx_in(call, 7));
  ibx_val x = scaled(call, product, scale_in(call, 3), ibx_in(call, 4),
                     ibx_in(call, 2));
  ibx_ms_attend_projected(
      call, ibx_emit_cast(call, x, dtype),
      (ibx_ms_places){.mask = 5, .past = 8, .bias = SIZE_MAX});
}

// --- quantised results -------------------------------------------------------

// Inputs 1 and 4 are the scales of both sides: alpha * left * right / scale.
static ibx_val ratio_of(ibx_call *call, ibx_val product, int64_t axis,
                        float alpha, ibx_val scale) {
  ibx_val left = ibx_emit_reshape(call, ibx_in(call, 1), (ibx_ints){0});
  ibx_val ratio = ibx_emit_affine(
      call, ibx_emit_cast(call, left, IBX_DTYPE_F32), (double)alpha, 0);
  ibx_val right =
      spread(call, ibx_in(call, 4), product, axis, "scale of the weights");
  ratio = ibx_emit_binary(call, IBX_TENSOR_mul, ratio, right);
  if (scale == IBX_NO_VALUE) return ratio;
  return ibx_emit_binary(call, IBX_TENSOR_div, ratio, scale);
}

// The product quantised by the scale and the zero point of inputs `scale` and
// `zero`; fp32 without them.
static ibx_val requantise(ibx_call *call, ibx_val product, int64_t axis,
                          float alpha, size_t scale, size_t zero) {
  bool quantises = ibx_has_in(call, zero);
  ibx_factor y = {IBX_NO_VALUE, IBX_NO_VALUE};
  if (quantises) y = ibx_read_factor(call, scale, zero, "Y");
  ibx_val ratio = ratio_of(call, product, axis, alpha, y.scale);
  ibx_val real = ibx_emit_binary(
      call, IBX_TENSOR_mul, ibx_emit_cast(call, product, IBX_DTYPE_F32), ratio);
  if (quantises) {
    real = ibx_emit_round_then_shift(call, real, y.zero,
                                     ibx_dtype_of(call, ibx_in(call, zero)));
  }
  return real;
}

void ibx_import_op_qgemm(ibx_call *call) {
  float alpha = ibx_attr_float(call, "alpha", 1.0f);
  bool turn_a = ibx_attr_flag(call, "transA", false);
  bool turn_b = ibx_attr_flag(call, "transB", false);
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 3);
  bool fits = ibx_rank(call, a) == 2 && ibx_rank(call, b) == 2;
  if (!expect_one(call, 1, "a_scale") || !expect_one(call, 2, "a_zero_point") ||
      !ibx_call_expect(call, fits, "A", "QGemm needs two matrices")) {
    return;
  }
  if (ibx_has_in(call, 7) && !ibx_has_in(call, 8)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "y_zero_point",
                  "add y_zero_point, or leave out y_scale",
                  "y_scale without y_zero_point");
    return;
  }
  if (turn_a) a = ibx_emit_swap(call, a, 0, 1);
  if (turn_b) b = ibx_emit_swap(call, b, 0, 1);
  ibx_val sum = multiply(call, a, ibx_in(call, 2), b, ibx_in(call, 5));
  if (ibx_has_in(call, 6)) {
    sum = ibx_emit_binary(call, IBX_TENSOR_add, sum, ibx_in(call, 6));
  }
  ibx_out(call, 0, requantise(call, sum, 1, alpha, 7, 8));
}

void ibx_import_op_qlinear_conv_ms(ibx_call *call) {
  bool is_last = ibx_attr_flag(call, "channels_last", false);
  ibx_val x = ibx_in(call, 0);
  if (!expect_one(call, 1, "x_scale") || !expect_one(call, 2, "x_zero_point")) {
    return;
  }
  if (is_last) x = ibx_emit_channels_first(call, x);
  x = ibx_emit_centred(call, x, ibx_in(call, 2), 1);
  ibx_val w = ibx_emit_centred(call, ibx_in(call, 3), ibx_in(call, 5), 0);
  ibx_val sum = ibx_emit_conv(call, x, w);
  if (ibx_has_in(call, 8)) {
    ibx_val bias =
        ibx_emit_along(call, ibx_in(call, 8), 1, ibx_rank(call, sum));
    sum = ibx_emit_binary(call, IBX_TENSOR_add, sum, bias);
  }
  ibx_val y = requantise(call, sum, 1, 1.0f, 6, 7);
  ibx_out(call, 0, is_last ? ibx_emit_channels_last(call, y) : y);
}
