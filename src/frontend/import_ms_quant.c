// SPDX-License-Identifier: Apache-2.0
//
// Imports operators of com.microsoft on quantised tensors, all but products
// (import_ms_integer.c). Comes in: integers of 8 bits, each tensor with one scale
// and one zero point. Goes out: the operator on (x - zero) * scale in fp32, and
// the quantisation of its result. ONNX Runtime adds the zero point of some results
// before it rounds and that of others afterwards, which decides ties: so does
// this.

#include "frontend/import_ms_quant.h"

#include "frontend/import_ops.h"
#include "frontend/import_quant.h"
#include "frontend/import_window.h"

// --- scales ------------------------------------------------------------------

static ibx_val one_number(ibx_call *call, ibx_val x, const char *name) {
  bool is_one = ibx_elements(ibx_type_of(call, x)) == 1;
  ibx_call_expect(call, is_one, name,
                  "needs one element: the tensor has one scale and one zero "
                  "point here");
  if (!is_one) return ibx_emit_scalar(call, IBX_DTYPE_F32, 1);
  x = ibx_emit_reshape(call, x, (ibx_ints){0});
  return ibx_emit_cast(call, x, IBX_DTYPE_F32);
}

ibx_factor ibx_read_factor(ibx_call *call, size_t scale, size_t zero,
                           const char *name) {
  ibx_factor f = {.zero = IBX_NO_VALUE};
  if (!ibx_has_in(call, scale)) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                  "correct the node where the model is made",
                  "the scale of %s, input %zu of %s, is left out", name, scale,
                  call->at.op);
    f.scale = ibx_emit_scalar(call, IBX_DTYPE_F32, 1);
    return f;
  }
  double number = 1;
  f.scale = one_number(call, ibx_in(call, scale), name);
  if (!ibx_has_in(call, zero)) return f;
  ibx_val x = ibx_in(call, zero);
  if (ibx_is_splat(call, x, &number) && number == 0 &&
      ibx_elements(ibx_type_of(call, x)) == 1) {
    return f;
  }
  f.zero = one_number(call, x, name);
  return f;
}

static ibx_val mul(ibx_call *call, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, IBX_TENSOR_mul, a, b);
}

static ibx_val div_by(ibx_call *call, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, IBX_TENSOR_div, a, b);
}

static ibx_val add(ibx_call *call, ibx_val a, ibx_val b) {
  return b == IBX_NO_VALUE ? a : ibx_emit_binary(call, IBX_TENSOR_add, a, b);
}

// x - zero in fp32, which holds it exactly.
static ibx_val centre(ibx_call *call, ibx_val x, ibx_factor f) {
  ibx_expect_integers(call, x);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  if (f.zero == IBX_NO_VALUE) return x;
  return ibx_emit_binary(call, IBX_TENSOR_sub, x, f.zero);
}

static ibx_val dequantise(ibx_call *call, ibx_val x, ibx_factor f) {
  return mul(call, centre(call, x, f), f.scale);
}

ibx_val ibx_emit_round_then_shift(ibx_call *call, ibx_val x, ibx_val zero,
                                  ibx_dtype dtype) {
  x = ibx_emit_unary(call, IBX_TENSOR_round, x);
  return ibx_emit_saturate(call, add(call, x, zero), dtype);
}

// saturate(round(x + zero))
static ibx_val shift_then_round(ibx_call *call, ibx_val x, ibx_val zero,
                                ibx_dtype dtype) {
  x = ibx_emit_unary(call, IBX_TENSOR_round, add(call, x, zero));
  return ibx_emit_saturate(call, x, dtype);
}

static ibx_val quantise(ibx_call *call, ibx_val x, ibx_factor f,
                        ibx_dtype dtype) {
  return ibx_emit_round_then_shift(call, div_by(call, x, f.scale), f.zero,
                                   dtype);
}

// --- sums and products of elements -------------------------------------------

// Inputs: a, its scale and zero point, b with the same, those of the result.
typedef struct pair {
  ibx_factor a, b, y;
} pair;

static pair read_pair(ibx_call *call) {
  return (pair){.a = ibx_read_factor(call, 1, 2, "A"),
                .b = ibx_read_factor(call, 4, 5, "B"),
                .y = ibx_read_factor(call, 6, 7, "C")};
}

static bool has_pair(ibx_call *call) {
  if (ibx_has_in(call, 3)) return ibx_expect_integers(call, ibx_in(call, 3));
  ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                "correct the node where the model is made",
                "input 3 of %s, B, is left out", call->at.op);
  return false;
}

static ibx_val zero_of(ibx_call *call, ibx_factor f) {
  return f.zero == IBX_NO_VALUE ? ibx_emit_scalar(call, IBX_DTYPE_F32, 0)
                                : f.zero;
}

// a * ra + b * rb + rest, where the ratios of scales and the zero points are
// constants as a rule, so that two products and two sums are left.
void ibx_import_op_qlinear_add(ibx_call *call) {
  if (!has_pair(call)) return;
  pair p = read_pair(call);
  ibx_val ra = div_by(call, p.a.scale, p.y.scale);
  ibx_val rb = div_by(call, p.b.scale, p.y.scale);
  ibx_val shift = add(call, mul(call, ra, zero_of(call, p.a)),
                      mul(call, rb, zero_of(call, p.b)));
  ibx_val rest =
      ibx_emit_binary(call, IBX_TENSOR_sub, zero_of(call, p.y), shift);
  ibx_val a = ibx_emit_cast(call, ibx_in(call, 0), IBX_DTYPE_F32);
  ibx_val b = ibx_emit_cast(call, ibx_in(call, 3), IBX_DTYPE_F32);
  ibx_val sum = add(call, mul(call, b, rb), rest);
  sum = add(call, mul(call, a, ra), sum);
  ibx_out(call, 0,
          shift_then_round(call, sum, IBX_NO_VALUE,
                           ibx_dtype_of(call, ibx_in(call, 0))));
}

void ibx_import_op_qlinear_mul(ibx_call *call) {
  if (!has_pair(call)) return;
  pair p = read_pair(call);
  ibx_val ratio = div_by(call, mul(call, p.a.scale, p.b.scale), p.y.scale);
  ibx_val product = mul(call, centre(call, ibx_in(call, 0), p.a),
                        centre(call, ibx_in(call, 3), p.b));
  ibx_out(call, 0,
          shift_then_round(call, mul(call, product, ratio), p.y.zero,
                           ibx_dtype_of(call, ibx_in(call, 0))));
}

// --- functions of one element ------------------------------------------------

// Inputs: x, its scale and zero point, those of the result.
typedef struct single {
  ibx_val x; // (x - zero) * scale
  ibx_factor in, out;
  ibx_dtype dtype;
} single;

static single read_single(ibx_call *call) {
  single s = {.in = ibx_read_factor(call, 1, 2, "X"),
              .out = ibx_read_factor(call, 3, 4, "Y"),
              .dtype = ibx_dtype_of(call, ibx_in(call, 0))};
  s.x = dequantise(call, ibx_in(call, 0), s.in);
  return s;
}

void ibx_import_op_qlinear_sigmoid(ibx_call *call) {
  single s = read_single(call);
  s.x = ibx_emit_unary(call, IBX_TENSOR_sigmoid, s.x);
  ibx_out(call, 0, quantise(call, s.x, s.out, s.dtype));
}

void ibx_import_op_qlinear_leaky_relu(ibx_call *call) {
  single s = read_single(call);
  ibx_params params = {.alpha = ibx_attr_float(call, "alpha", 0.01f)};
  s.x = ibx_emit_op(call, IBX_TENSOR_leaky_relu, &params, &s.x, 1);
  ibx_out(call, 0, quantise(call, s.x, s.out, s.dtype));
}

// --- softmax -----------------------------------------------------------------

// Before opset 13 all dimensions from the axis on are one. How many steps of the
// result make a probability of 1 is a whole number in ONNX Runtime.
void ibx_import_op_qlinear_softmax(ibx_call *call) {
  single s = read_single(call);
  ibx_ints shape = ibx_shape_of(call, s.x);
  int64_t opset = ibx_attr_int(call, "opset", 13);
  int64_t axis = ibx_attr_int(call, "axis", opset < 13 ? 1 : -1);
  axis = ibx_axis(call, axis, shape.len);
  if (call->failed) return;
  if (opset < 13) {
    int64_t rows = 1, columns = 1;
    for (uint8_t i = 0; i < shape.len; i++)
      *(i < axis ? &rows : &columns) *= shape.at[i];
    s.x = ibx_emit_reshape(call, s.x, IBX_INTS(rows, columns));
    axis = 1;
  }
  s.x = ibx_emit_softmax(call, s.x, axis);
  s.x = ibx_emit_reshape(call, s.x, shape);
  ibx_val steps = ibx_emit_unary(
      call, IBX_TENSOR_floor,
      div_by(call, ibx_emit_scalar(call, IBX_DTYPE_F32, 1), s.out.scale));
  ibx_out(call, 0,
          ibx_emit_round_then_shift(call, mul(call, s.x, steps), s.out.zero,
                                    s.dtype));
}

// --- means -------------------------------------------------------------------

ibx_val ibx_emit_channels_first(ibx_call *call, ibx_val x) {
  ibx_ints perm = {.len = (uint8_t)ibx_rank(call, x)};
  if (perm.len < 3) return x;
  for (uint8_t i = 2; i < perm.len; i++)
    perm.at[i] = i - 1;
  perm.at[1] = perm.len - 1;
  return ibx_emit_transpose(call, x, perm);
}

ibx_val ibx_emit_channels_last(ibx_call *call, ibx_val x) {
  ibx_ints perm = {.len = (uint8_t)ibx_rank(call, x)};
  if (perm.len < 3) return x;
  for (uint8_t i = 1; i + 1 < perm.len; i++)
    perm.at[i] = i + 1;
  perm.at[perm.len - 1] = 1;
  return ibx_emit_transpose(call, x, perm);
}

void ibx_import_op_qlinear_average_pool(ibx_call *call) {
  bool is_last = ibx_attr_flag(call, "channels_last", false);
  bool counts_pads = ibx_attr_flag(call, "count_include_pad", false);
  single s = read_single(call);
  if (is_last) s.x = ibx_emit_channels_first(call, s.x);
  ibx_window w;
  ibx_ints extra;
  if (!ibx_pool_read(call, s.x, &w, &extra)) return;
  // ONNX Runtime divides by all of the window, also by what ceil_mode adds.
  for (uint8_t i = 0; counts_pads && i < extra.len; i++) {
    w.high.at[i] += extra.at[i];
    extra.at[i] = 0;
  }
  s.x = ibx_emit_avg_pool(call, s.x, w, extra, counts_pads);
  s.x = div_by(call, s.x, s.out.scale);
  ibx_val y = shift_then_round(call, s.x, s.out.zero, s.dtype);
  ibx_out(call, 0, is_last ? ibx_emit_channels_last(call, y) : y);
}

// What ONNX Runtime makes of MaxPool between convolutions that have the channels
// last.
void ibx_import_op_nhwc_max_pool(ibx_call *call) {
  ibx_val x = ibx_emit_channels_first(call, ibx_in(call, 0));
  ibx_window w;
  ibx_ints extra;
  if (!ibx_pool_read(call, x, &w, &extra)) return;
  x = ibx_emit_max_pool(call, x, w, extra);
  ibx_out(call, 0, ibx_emit_channels_last(call, x));
}

// Sums of integers are exact in fp32 up to 2^24 only.
static ibx_val exact_sum(ibx_call *call, ibx_val x, ibx_ints axes,
                         bool keepdims, int64_t count) {
  if (count > (1 << 24) / 255) x = ibx_emit_cast(call, x, IBX_DTYPE_I32);
  x = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, x, axes, keepdims);
  return ibx_emit_cast(call, x, IBX_DTYPE_F32);
}

void ibx_import_op_qlinear_global_average_pool(ibx_call *call) {
  bool is_last = ibx_attr_flag(call, "channels_last", false);
  ibx_val x = ibx_in(call, 0);
  ibx_factor in = ibx_read_factor(call, 1, 2, "X");
  ibx_factor out = ibx_read_factor(call, 3, 4, "Y");
  ibx_ints shape = ibx_shape_of(call, x), axes = {0};
  if (!ibx_call_expect(call, shape.len >= 3, "X", "needs spatial dimensions")) {
    return;
  }
  int64_t count = 1;
  for (uint8_t i = is_last ? 1 : 2; i < shape.len - is_last; i++) {
    axes.at[axes.len++] = i;
    count *= shape.at[i];
  }
  ibx_val sum = exact_sum(call, centre(call, x, in), axes, true, count);
  ibx_val size = ibx_emit_scalar(call, IBX_DTYPE_F32, (double)count);
  ibx_val ratio = div_by(call, in.scale, mul(call, out.scale, size));
  ibx_out(call, 0,
          ibx_emit_round_then_shift(call, mul(call, sum, ratio), out.zero,
                                    ibx_dtype_of(call, x)));
}

void ibx_import_op_qlinear_reduce_mean(ibx_call *call) {
  single s = read_single(call);
  int64_t rank = ibx_rank(call, s.x);
  bool chosen[IBX_MAX_RANK] = {false};
  ibx_ints given = {0}, axes = {0};
  ibx_attr_ints(call, "axes", &given);
  bool keepdims = ibx_attr_flag(call, "keepdims", true);
  for (uint8_t i = 0; i < given.len; i++)
    chosen[ibx_axis(call, given.at[i], rank)] = true;
  for (uint8_t i = 0; i < rank; i++) {
    if (chosen[i] || given.len == 0) axes.at[axes.len++] = i;
  }
  if (call->failed) return;
  s.x = ibx_emit_reduce(call, IBX_TENSOR_reduce_mean, s.x, axes, keepdims);
  ibx_out(call, 0, quantise(call, s.x, s.out, s.dtype));
}

// --- moves -------------------------------------------------------------------

static bool same_number(ibx_call *call, ibx_val a, ibx_val b) {
  double x = 0, y = 0;
  if (a == b) return true;
  if (a == IBX_NO_VALUE || b == IBX_NO_VALUE) return false;
  return ibx_is_splat(call, a, &x) && ibx_is_splat(call, b, &y) && x == y;
}

// The same number with another scale; as it is where the scale is the same.
static ibx_val rescale(ibx_call *call, ibx_val x, ibx_factor from,
                       ibx_factor to, ibx_dtype dtype) {
  if (same_number(call, from.scale, to.scale) &&
      same_number(call, from.zero, to.zero) && ibx_dtype_of(call, x) == dtype) {
    return x;
  }
  return quantise(call, dequantise(call, x, from), to, dtype);
}

void ibx_import_op_qlinear_concat(ibx_call *call) {
  bool fits = (call->in_count - 2) % 3 == 0;
  if (!ibx_call_expect(call, fits, "inputs",
                       "come in threes: tensor, scale, zero point")) {
    return;
  }
  for (size_t i = 0; i < call->in_count; i++) {
    if (ibx_has_in(call, i)) continue;
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL, "remove the empty input",
                  "input %zu is left out", i);
    return;
  }
  size_t count = (call->in_count - 2) / 3;
  ibx_val *parts = IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
  ibx_factor y = ibx_read_factor(call, 0, 1, "Y");
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 1));
  for (size_t i = 0; i < count; i++) {
    ibx_factor x = ibx_read_factor(call, 3 * i + 3, 3 * i + 4, "inputs");
    parts[i] = rescale(call, ibx_in(call, 3 * i + 2), x, y, dtype);
  }
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0),
                          ibx_rank(call, ibx_in(call, 2)));
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_concat(call, parts, count, axis));
}

void ibx_import_op_qlinear_where(ibx_call *call) {
  ibx_factor x = ibx_read_factor(call, 2, 3, "X");
  ibx_factor y = ibx_read_factor(call, 5, 6, "Y");
  ibx_factor z = ibx_read_factor(call, 7, 8, "Z");
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 8));
  ibx_out(call, 0,
          ibx_emit_select(call, ibx_in(call, 0),
                          rescale(call, ibx_in(call, 1), x, z, dtype),
                          rescale(call, ibx_in(call, 4), y, z, dtype)));
}
