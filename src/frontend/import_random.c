// SPDX-License-Identifier: Apache-2.0
//
// Imports what is random. ONNX leaves open where the numbers come from. A program
// is the same bytes for the same model, and gives the same outputs for the same
// inputs: the numbers are drawn when it is compiled, from the node's seed, or from
// its name where it has none, and a warning says so. What they are compared with
// or added to may be computed.

#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/random_numbers.h"

#include <inttypes.h>
#include <math.h>

enum { MOST_NUMBERS = 1 << 26 };

static uint32_t seed_of(ibx_call *call) {
  if (ibx_has_attr(call, "seed")) {
    // Dropout's is an integer, that of the others a floating number.
    if (ibx_attr_is(call, "seed", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT))
      return (uint32_t)ibx_attr_int(call, "seed", 0);
    float number = ibx_attr_float(call, "seed", 0);
    bool is_whole = number >= 0 && number < 4294967296.0f;
    return is_whole ? (uint32_t)number : (uint32_t)(int32_t)fabsf(number);
  }
  uint32_t hash = UINT32_C(2166136261);
  for (const char *at = call->at.node ? call->at.node : ""; *at; at++)
    hash = (hash ^ (uint8_t)*at) * UINT32_C(16777619);
  return hash;
}

static void say_fixed(ibx_call *call) {
  ibx_diag_add(
      call->import->sink, IBX_DIAG_RANDOM_FIXED, call->at,
      "make the random numbers an input of the model where each run "
      "needs others",
      "the random numbers are drawn now, and are the same in each run");
}

// A constant of random numbers of that shape, fp32; IBX_NO_VALUE on failure.
static ibx_val draw(ibx_call *call, ibx_ints shape,
                    double (*number)(ibx_random *)) {
  ibx_type type = {.rank = shape.len, .dtype = IBX_DTYPE_F32};
  int64_t count = 0;
  for (uint8_t d = 0; d < shape.len; d++)
    type.dims[d] = shape.at[d];
  if (call->failed || !ibx_type_elements(&type, &count) ||
      count > MOST_NUMBERS) {
    ibx_call_refuse(call, "shape", "more than %d random numbers", MOST_NUMBERS);
    return IBX_NO_VALUE;
  }
  float *data = IBX_ARENA_ARRAY(call->import->arena, (size_t)count, float);
  ibx_random random;
  ibx_random_seed(&random, seed_of(call));
  for (int64_t i = 0; i < count; i++)
    data[i] = (float)number(&random);
  say_fixed(call);
  return ibx_emit_constant(call, type, data);
}

// The attribute dtype; where it is absent, `absent`.
static ibx_dtype dtype_of(ibx_call *call, ibx_dtype absent) {
  int64_t number = ibx_attr_int(call, "dtype", 0);
  ibx_dtype dtype = number == 0 ? absent : ibx_dtype_from_onnx((int)number);
  if (dtype == IBX_DTYPE_NONE)
    ibx_call_refuse(call, "dtype", "ONNX data type %" PRId64, number);
  return dtype;
}

static void put_uniform(ibx_call *call, ibx_ints shape, ibx_dtype absent) {
  double low = ibx_attr_float(call, "low", 0.0f);
  double high = ibx_attr_float(call, "high", 1.0f);
  ibx_dtype dtype = dtype_of(call, absent);
  ibx_val numbers = draw(call, shape, ibx_random_uniform);
  if (call->failed) return;
  numbers = ibx_emit_affine(call, numbers, high - low, low);
  ibx_out(call, 0, ibx_emit_cast(call, numbers, dtype));
}

static void put_normal(ibx_call *call, ibx_ints shape, ibx_dtype absent) {
  double mean = ibx_attr_float(call, "mean", 0.0f);
  double scale = ibx_attr_float(call, "scale", 1.0f);
  ibx_dtype dtype = dtype_of(call, absent);
  ibx_val numbers = draw(call, shape, ibx_random_normal);
  if (call->failed) return;
  numbers = ibx_emit_affine(call, numbers, scale, mean);
  ibx_out(call, 0, ibx_emit_cast(call, numbers, dtype));
}

static bool read_shape(ibx_call *call, ibx_ints *shape) {
  if (ibx_attr_ints(call, "shape", shape)) return true;
  if (call->failed) return false;
  ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "shape",
                "add the attribute shape", "%s needs the attribute shape",
                call->at.op);
  return false;
}

void ibx_import_op_random_uniform(ibx_call *call) {
  ibx_ints shape;
  if (read_shape(call, &shape)) put_uniform(call, shape, IBX_DTYPE_F32);
}

void ibx_import_op_random_normal(ibx_call *call) {
  ibx_ints shape;
  if (read_shape(call, &shape)) put_normal(call, shape, IBX_DTYPE_F32);
}

void ibx_import_op_random_uniform_like(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  put_uniform(call, ibx_shape_of(call, x), ibx_dtype_of(call, x));
}

void ibx_import_op_random_normal_like(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  put_normal(call, ibx_shape_of(call, x), ibx_dtype_of(call, x));
}

// 1 with probability x.
void ibx_import_op_bernoulli(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_dtype dtype = dtype_of(call, ibx_dtype_of(call, x));
  ibx_val numbers = draw(call, ibx_shape_of(call, x), ibx_random_uniform);
  if (call->failed) return;
  ibx_val wide = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val one = ibx_emit_binary(call, IBX_TENSOR_less, numbers, wide);
  ibx_out(call, 0, ibx_emit_cast(call, one, dtype));
}

// Of each row of logarithms of weights, `sample_size` places: as many running
// sums of weights as do not exceed a random share of the whole.
void ibx_import_op_multinomial(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t count = ibx_attr_int(call, "sample_size", 1);
  ibx_dtype dtype = dtype_of(call, IBX_DTYPE_I32);
  if (!ibx_call_expect(call, ibx_rank(call, x) == 2, "input",
                       "needs 2 dimensions") ||
      !ibx_call_expect(call, count >= 1 && count <= MOST_NUMBERS, "sample_size",
                       "is not positive")) {
    return;
  }
  int64_t rows = ibx_dim(call, x, 0), places = ibx_dim(call, x, 1);
  ibx_val numbers = draw(call, IBX_INTS(rows, count, 1), ibx_random_uniform);
  if (call->failed) return;
  ibx_val shares =
      ibx_emit_softmax(call, ibx_emit_cast(call, x, IBX_DTYPE_F32), 1);
  ibx_params along = {.axis = 1};
  ibx_val sums = ibx_emit_op(call, IBX_TENSOR_cumsum, &along, &shares, 1);
  // The last sum may round to less than 1; the last place takes what is left.
  sums = ibx_emit_slice(call, sums, 1, 0, places - 1, 1);
  sums = ibx_emit_reshape(call, sums, IBX_INTS(rows, 1, places - 1));
  ibx_val passed = ibx_emit_binary(call, IBX_TENSOR_less_equal, sums, numbers);
  passed = ibx_emit_cast(call, passed, IBX_DTYPE_F32);
  ibx_val place =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, passed, IBX_INTS(2), false);
  ibx_out(call, 0, ibx_emit_cast(call, place, dtype));
}

// --- Dropout -----------------------------------------------------------------

// Whether the node drops elements: only when it trains, and at a ratio that is
// not 0.
static bool drops(ibx_call *call) {
  if (call->version < 7) return ibx_attr_int(call, "is_test", 0) == 0;
  if (!ibx_has_in(call, 2)) return false;
  return ibx_const_number(call, 2, "training_mode") != 0;
}

static double ratio_of(ibx_call *call) {
  double given = ibx_attr_float(call, "ratio", 0.5f);
  return ibx_has_in(call, 1) ? ibx_const_number(call, 1, "ratio") : given;
}

// A value of the shape of `x` is as long as `x` is.
static ibx_val as_long_as(ibx_call *call, ibx_val value, ibx_val x) {
  for (int64_t d = 0; d < ibx_rank(call, x); d++)
    value = ibx_set_extent(call, value, d, ibx_extent(call, x, d));
  return value;
}

void ibx_import_op_dropout(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_attr_ignore(call, "ratio seed");
  bool is_random = drops(call);
  double ratio = is_random && !call->failed ? ratio_of(call) : 0;
  if (call->failed) return;
  if (ratio == 0) {
    ibx_out(call, 0, x);
    if (!ibx_wants_out(call, 1)) return;
    ibx_val all = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
    all = ibx_emit_broadcast(call, all, shape);
    ibx_out(call, 1, as_long_as(call, all, x));
    return;
  }
  if (!ibx_call_expect(call, ratio > 0 && ratio < 1, "ratio",
                       "is not below 1")) {
    return;
  }
  ibx_val numbers = draw(call, shape, ibx_random_uniform);
  if (call->failed) return;
  ibx_val least = ibx_emit_scalar(call, IBX_DTYPE_F32, ratio);
  ibx_val kept = ibx_emit_binary(call, IBX_TENSOR_less_equal, least, numbers);
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val scaled = ibx_emit_affine(call, x, 1.0 / (1.0 - ratio), 0);
  ibx_out(call, 0, ibx_emit_select(call, kept, scaled, zero));
  if (ibx_wants_out(call, 1)) ibx_out(call, 1, as_long_as(call, kept, x));
}
