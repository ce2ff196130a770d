// SPDX-License-Identifier: Apache-2.0
//
// Imports normalisations. Comes in: a call. Goes out: layer_norm and rms_norm
// where the form allows it, with scales and shifts beside them otherwise. Batch
// normalisation becomes x * a + b with a and b of constants, which fold, and
// which a pass joins with a convolution.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

static float read_epsilon(ibx_call *call, float absent) {
  return ibx_attr_float(call, "epsilon", absent);
}

// A vector along the channels of x [N, C, ...].
static ibx_val per_channel(ibx_call *call, ibx_val vector, ibx_val x) {
  int64_t count = ibx_elements(ibx_type_of(call, vector));
  ibx_call_expect(call, call->failed || count == ibx_dim(call, x, 1), "scale",
                  "scale, bias and moments need an element for each channel");
  return ibx_emit_along(call, vector, 1, ibx_rank(call, x));
}

// Of the whole batch, [C]: what training normalises with.
typedef struct moments {
  ibx_val mean, variance;
} moments;

static moments emit_moments(ibx_call *call, ibx_val x) {
  ibx_ints axes = {0};
  for (int64_t i = 0; i < ibx_rank(call, x); i++) {
    if (i != 1) axes.at[axes.len++] = i;
  }
  ibx_tensor_op op = IBX_TENSOR_reduce_mean;
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val mean = ibx_emit_reduce(call, op, x, axes, true);
  ibx_val low = ibx_emit_binary(call, IBX_TENSOR_sub, x, mean);
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, low, low);
  ibx_ints shape = IBX_INTS(ibx_dim(call, x, 1));
  return (moments){.mean = ibx_emit_reshape(call, mean, shape),
                   .variance = ibx_emit_reduce(call, op, square, axes, false)};
}

// Running moments are old ones, and a share of those of the batch.
static moments train(ibx_call *call, ibx_val x) {
  double momentum = (double)ibx_attr_float(call, "momentum", 0.9f);
  moments batch = emit_moments(call, x);
  const ibx_val now[] = {batch.mean, batch.variance};
  for (size_t i = 0; i < 2; i++) {
    ibx_val old = ibx_in(call, 3 + i);
    ibx_val share = ibx_emit_affine(call, now[i], 1 - momentum, 0);
    share = ibx_emit_cast(call, share, ibx_dtype_of(call, old));
    old = ibx_emit_affine(call, old, momentum, 0);
    ibx_out(call, 1 + i, ibx_emit_binary(call, IBX_TENSOR_add, old, share));
  }
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 1));
  return (moments){.mean = ibx_emit_cast(call, batch.mean, dtype),
                   .variance = ibx_emit_cast(call, batch.variance, dtype)};
}

void ibx_import_op_batch_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  float epsilon = read_epsilon(call, 1e-5f);
  ibx_attr_ignore(call, "momentum");
  if (call->version < 7 && ibx_attr_int(call, "is_test", 0) == 0) {
    ibx_call_refuse(call, "is_test", "is_test = 0");
  }
  bool trains =
      call->version >= 14 && ibx_attr_flag(call, "training_mode", false);
  if (ibx_attr_int(call, "spatial", 1) == 0) {
    ibx_call_refuse(call, "spatial", "spatial = 0");
  }
  for (size_t i = 1; i < 5; i++) {
    ibx_val vector = ibx_in(call, i);
    ibx_call_expect(call, ibx_rank(call, vector) == 1, "scale",
                    "scale, B, mean and var need 1 dimension");
  }
  ibx_call_expect(call, ibx_rank(call, x) >= 2, "X", "has no channels");
  if (call->failed) return;
  moments m = {.mean = ibx_in(call, 3), .variance = ibx_in(call, 4)};
  if (trains) m = train(call, x);
  ibx_val variance = ibx_emit_affine(call, m.variance, 1, (double)epsilon);
  ibx_val factor =
      ibx_emit_binary(call, IBX_TENSOR_div, ibx_in(call, 1),
                      ibx_emit_unary(call, IBX_TENSOR_sqrt, variance));
  ibx_val offset =
      ibx_emit_binary(call, IBX_TENSOR_sub, ibx_in(call, 2),
                      ibx_emit_binary(call, IBX_TENSOR_mul, m.mean, factor));
  ibx_dtype dtype = ibx_dtype_of(call, x);
  factor = ibx_emit_cast(call, per_channel(call, factor, x), dtype);
  offset = ibx_emit_cast(call, per_channel(call, offset, x), dtype);
  x = ibx_emit_binary(call, IBX_TENSOR_mul, x, factor);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_add, x, offset));
}

// --- over the last dimensions ------------------------------------------------

static ibx_ints axes_from(int64_t axis, int64_t rank) {
  ibx_ints axes = {0};
  for (int64_t i = axis; i < rank; i++)
    axes.at[axes.len++] = i;
  return axes;
}

// Mean and 1 / deviation, which only training reads.
static void emit_statistics(ibx_call *call, ibx_val x, int64_t axis,
                            float epsilon) {
  if (!ibx_wants_out(call, 1) && !ibx_wants_out(call, 2)) return;
  ibx_ints axes = axes_from(axis, ibx_rank(call, x));
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val mean = ibx_emit_reduce(call, IBX_TENSOR_reduce_mean, x, axes, true);
  ibx_val low = ibx_emit_binary(call, IBX_TENSOR_sub, x, mean);
  ibx_val variance = ibx_emit_reduce(
      call, IBX_TENSOR_reduce_mean,
      ibx_emit_binary(call, IBX_TENSOR_mul, low, low), axes, true);
  variance = ibx_emit_affine(call, variance, 1, (double)epsilon);
  ibx_out(call, 1, mean);
  ibx_out(call, 2, ibx_emit_unary(call, IBX_TENSOR_rsqrt, variance));
}

void ibx_import_op_layer_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", -1), ibx_rank(call, x));
  float epsilon = read_epsilon(call, 1e-5f);
  ibx_attr_ignore(call, "stash_type"); // statistics are always fp32
  if (call->failed) return;
  ibx_out(call, 0,
          ibx_emit_norm(call, IBX_TENSOR_layer_norm, x, ibx_in(call, 1),
                        ibx_in(call, 2), axis, epsilon));
  emit_statistics(call, x, axis, epsilon);
}

void ibx_import_op_rms_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", -1), ibx_rank(call, x));
  ibx_attr_ignore(call, "stash_type");
  if (call->failed) return;
  ibx_out(call, 0,
          ibx_emit_norm(call, IBX_TENSOR_rms_norm, x, ibx_in(call, 1),
                        IBX_NO_VALUE, axis, read_epsilon(call, 1e-5f)));
}

// x + skip (+ bias), then a normalisation; the sum is output 3.
static void skip_norm(ibx_call *call, ibx_tensor_op op, ibx_val shift,
                      ibx_val bias) {
  ibx_val x =
      ibx_emit_binary(call, IBX_TENSOR_add, ibx_in(call, 0), ibx_in(call, 1));
  if (bias != IBX_NO_VALUE) x = ibx_emit_binary(call, IBX_TENSOR_add, x, bias);
  int64_t axis = ibx_rank(call, x) - 1;
  if (!ibx_call_expect(call, axis >= 0, "input", "is a scalar")) return;
  ibx_out(call, 0,
          ibx_emit_norm(call, op, x, ibx_in(call, 2), shift, axis,
                        read_epsilon(call, 1e-12f)));
  ibx_out(call, 3, x);
}

void ibx_import_op_skip_layer_normalization(ibx_call *call) {
  skip_norm(call, IBX_TENSOR_layer_norm, ibx_in(call, 3), ibx_in(call, 4));
}

void ibx_import_op_skip_rms_normalization(ibx_call *call) {
  skip_norm(call, IBX_TENSOR_rms_norm, IBX_NO_VALUE, ibx_in(call, 3));
}

// --- over groups of channels -------------------------------------------------

// [N, C, ...] as [N, groups, rest], normalised over the rest.
static ibx_val norm_groups(ibx_call *call, ibx_val x, int64_t groups,
                           float epsilon) {
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t total = ibx_elements(ibx_type_of(call, x));
  int64_t rows = shape.at[0] * groups;
  ibx_val flat = ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], groups, rows == 0 ? 0 : total / rows));
  ibx_val normal = ibx_emit_norm(call, IBX_TENSOR_layer_norm, flat,
                                 IBX_NO_VALUE, IBX_NO_VALUE, 2, epsilon);
  return ibx_emit_reshape(call, normal, shape);
}

static ibx_val scale_channels(ibx_call *call, ibx_val x, ibx_val scale,
                              ibx_val shift) {
  x = ibx_emit_binary(call, IBX_TENSOR_mul, x, per_channel(call, scale, x));
  return ibx_emit_binary(call, IBX_TENSOR_add, x, per_channel(call, shift, x));
}

void ibx_import_op_instance_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  float epsilon = read_epsilon(call, 1e-5f);
  if (!ibx_call_expect(call, ibx_rank(call, x) >= 3, "input",
                       "needs spatial dimensions")) {
    return;
  }
  ibx_val normal = norm_groups(call, x, ibx_dim(call, x, 1), epsilon);
  ibx_out(call, 0,
          scale_channels(call, normal, ibx_in(call, 1), ibx_in(call, 2)));
}

static bool groups_fit(ibx_call *call, ibx_val x, int64_t groups) {
  return ibx_call_expect(call, ibx_rank(call, x) >= 2, "X",
                         "has no channels") &&
         ibx_call_expect(call, groups >= 1 && ibx_dim(call, x, 1) % groups == 0,
                         "num_groups", "does not divide the channels");
}

// A number for each group becomes one for each of its channels.
static ibx_val spread(ibx_call *call, ibx_val vector, int64_t groups,
                      int64_t channels) {
  ibx_val column = ibx_emit_reshape(call, vector, IBX_INTS(groups, 1));
  ibx_val wide =
      ibx_emit_broadcast(call, column, IBX_INTS(groups, channels / groups));
  return ibx_emit_reshape(call, wide, IBX_INTS(channels));
}

void ibx_import_op_group_normalization_18(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t groups = ibx_attr_int(call, "num_groups", 0);
  float epsilon = read_epsilon(call, 1e-5f);
  int64_t channels = ibx_dim(call, x, 1);
  if (!groups_fit(call, x, groups)) return;
  ibx_val scale = spread(call, ibx_in(call, 1), groups, channels);
  ibx_val shift = spread(call, ibx_in(call, 2), groups, channels);
  ibx_val normal = norm_groups(call, x, groups, epsilon);
  ibx_out(call, 0, scale_channels(call, normal, scale, shift));
}

ibx_val ibx_emit_group_norm(ibx_call *call, ibx_val x, ibx_val scale,
                            ibx_val shift, int64_t groups, float epsilon) {
  if (!groups_fit(call, x, groups)) return x;
  ibx_val normal = norm_groups(call, x, groups, epsilon);
  return scale_channels(call, normal, scale, shift);
}

void ibx_import_op_group_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t groups = ibx_attr_int(call, "num_groups", 0);
  float epsilon = read_epsilon(call, 1e-5f);
  ibx_attr_ignore(call, "stash_type");
  ibx_out(call, 0,
          ibx_emit_group_norm(call, x, ibx_in(call, 1), ibx_in(call, 2), groups,
                              epsilon));
}

// --- others ------------------------------------------------------------------

void ibx_import_op_mean_variance_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints axes;
  if (!ibx_attr_ints(call, "axes", &axes)) axes = IBX_INTS(0, 2, 3);
  for (uint8_t i = 0; i < axes.len; i++) {
    axes.at[i] = ibx_axis(call, axes.at[i], ibx_rank(call, x));
    ibx_call_expect(call, i == 0 || axes.at[i] > axes.at[i - 1], "axes",
                    "must ascend");
  }
  if (call->failed) return;
  ibx_dtype dtype = ibx_dtype_of(call, x);
  x = ibx_emit_wide(call, x);
  ibx_val mean = ibx_emit_reduce(call, IBX_TENSOR_reduce_mean, x, axes, true);
  ibx_val low = ibx_emit_binary(call, IBX_TENSOR_sub, x, mean);
  ibx_val variance = ibx_emit_reduce(
      call, IBX_TENSOR_reduce_mean,
      ibx_emit_binary(call, IBX_TENSOR_mul, low, low), axes, true);
  ibx_val deviation = ibx_emit_unary(call, IBX_TENSOR_sqrt, variance);
  deviation = ibx_emit_affine(call, deviation, 1, 1e-9);
  ibx_val normal = ibx_emit_binary(call, IBX_TENSOR_div, low, deviation);
  ibx_out(call, 0, ibx_emit_cast(call, normal, dtype));
}

ibx_val ibx_emit_norm_terms(ibx_call *call, ibx_val x, int64_t p) {
  if (p == 2) return ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
  x = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  if (p == 1) return x;
  return ibx_emit_binary(call, IBX_TENSOR_pow, x,
                         ibx_emit_like(call, x, (double)p));
}

ibx_val ibx_emit_norm_root(ibx_call *call, ibx_val sum, int64_t p) {
  if (p == 1) return sum;
  if (p == 2) return ibx_emit_unary(call, IBX_TENSOR_sqrt, sum);
  return ibx_emit_binary(call, IBX_TENSOR_pow, sum,
                         ibx_emit_like(call, sum, 1 / (double)p));
}

// A vector of length 0 stays 0.
void ibx_import_op_lp_normalization(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t p = ibx_attr_int(call, "p", 2);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", -1), ibx_rank(call, x));
  ibx_call_expect(call, p == 1 || p == 2, "p", "is neither 1 nor 2");
  if (call->failed) return;
  ibx_dtype dtype = ibx_dtype_of(call, x);
  x = ibx_emit_wide(call, x);
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum,
                      ibx_emit_norm_terms(call, x, p), IBX_INTS(axis), true);
  sum = ibx_emit_norm_root(call, sum, p);
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val empty = ibx_emit_binary(call, IBX_TENSOR_equal, sum, zero);
  sum = ibx_emit_select(call, empty, ibx_emit_like(call, x, 1), sum);
  x = ibx_emit_binary(call, IBX_TENSOR_div, x, sum);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

// x / (bias + alpha * mean of squares of near channels)^beta, where channels
// that do not exist count as 0.
void ibx_import_op_lrn(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_dtype dtype = ibx_dtype_of(call, x);
  ibx_ints shape = ibx_shape_of(call, x);
  double alpha = (double)ibx_attr_float(call, "alpha", 1e-4f);
  double beta = (double)ibx_attr_float(call, "beta", 0.75f);
  double bias = (double)ibx_attr_float(call, "bias", 1.0f);
  int64_t size = ibx_attr_int(call, "size", 0);
  if (!ibx_call_expect(call, shape.len >= 3, "X", "needs spatial dimensions") ||
      !ibx_call_expect(call, size >= 1 && size <= 4096, "size",
                       "lies outside of 1 to 4096")) {
    return;
  }
  int64_t total = ibx_elements(ibx_type_of(call, x));
  int64_t plane = shape.at[0] * shape.at[1];
  ibx_ints flat =
      IBX_INTS(shape.at[0], 1, shape.at[1], plane == 0 ? 0 : total / plane);
  x = ibx_emit_wide(call, x);
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
  ibx_params params = {.kernel = IBX_INTS(size, 1),
                       .strides = IBX_INTS(1, 1),
                       .dilations = IBX_INTS(1, 1),
                       .low = IBX_INTS((size - 1) / 2, 0),
                       .high = IBX_INTS(size / 2, 0)};
  square = ibx_emit_reshape(call, square, flat);
  ibx_val mean = ibx_emit_op(call, IBX_TENSOR_avg_pool, &params, &square, 1);
  mean = ibx_emit_affine(call, mean, alpha, bias);
  ibx_val power = ibx_emit_binary(call, IBX_TENSOR_pow, mean,
                                  ibx_emit_like(call, mean, beta));
  x = ibx_emit_binary(call, IBX_TENSOR_div, x,
                      ibx_emit_reshape(call, power, shape));
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}
