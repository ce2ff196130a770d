// SPDX-License-Identifier: Apache-2.0
//
// Imports reductions and running sums. Comes in: a call whose axes stand in an
// attribute or an input, as its version has it. Goes out: reductions over
// ascending axes.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

// --- axes --------------------------------------------------------------------

static ibx_ints all_axes(int64_t rank) {
  ibx_ints axes = {.len = (uint8_t)rank};
  for (uint8_t i = 0; i < axes.len; i++)
    axes.at[i] = i;
  return axes;
}

// Makes axes positive, ascending and unique.
static ibx_ints sort_axes(ibx_call *call, ibx_ints axes, int64_t rank) {
  bool chosen[IBX_MAX_RANK] = {false};
  ibx_ints sorted = {0};
  for (uint8_t i = 0; i < axes.len && rank > 0; i++) {
    chosen[ibx_axis(call, axes.at[i], rank)] = true;
  }
  for (int64_t i = 0; i < rank; i++) {
    if (chosen[i]) sorted.at[sorted.len++] = i;
  }
  return sorted;
}

typedef struct reduction {
  ibx_val x;
  ibx_ints axes;
  bool keepdims;
  bool noop; // no axes mean no reduction
} reduction;

static reduction read_reduction(ibx_call *call) {
  reduction r = {.x = ibx_in(call, 0)};
  int64_t rank = ibx_rank(call, r.x);
  bool empty_is_none = ibx_attr_flag(call, "noop_with_empty_axes", false);
  ibx_ints axes = {0};
  ibx_attr_ints(call, "axes", &axes);
  if (ibx_has_in(call, 1)) axes = ibx_const_dims(call, 1, "axes");
  r.keepdims = ibx_attr_flag(call, "keepdims", true);
  r.noop = axes.len == 0 && empty_is_none;
  r.axes = axes.len == 0 ? all_axes(rank) : sort_axes(call, axes, rank);
  if (r.noop) r.axes.len = 0;
  return r;
}

static ibx_val reduce(ibx_call *call, const reduction *r, ibx_tensor_op op,
                      ibx_val x) {
  return ibx_emit_reduce(call, op, x, r->axes, r->keepdims);
}

// --- reductions --------------------------------------------------------------

#define REDUCTION(name)                                                        \
  void ibx_import_op_reduce_##name(ibx_call *call) {                           \
    reduction r = read_reduction(call);                                        \
    ibx_out(call, 0, reduce(call, &r, IBX_TENSOR_reduce_##name, r.x));         \
  }

REDUCTION(sum)
REDUCTION(prod)

// A mean of integers is the sum divided as integers are, without the fraction.
void ibx_import_op_reduce_mean(ibx_call *call) {
  reduction r = read_reduction(call);
  if (ibx_is_float(ibx_dtype_of(call, r.x))) {
    ibx_out(call, 0, reduce(call, &r, IBX_TENSOR_reduce_mean, r.x));
    return;
  }
  ibx_val count = ibx_emit_long(call, 1);
  for (uint8_t i = 0; i < r.axes.len; i++) {
    count = ibx_emit_binary(call, IBX_TENSOR_mul, count,
                            ibx_extent_or_dim(call, r.x, r.axes.at[i]));
  }
  count = ibx_emit_binary(call, IBX_TENSOR_max, count, ibx_emit_long(call, 1));
  ibx_val sum = reduce(call, &r, IBX_TENSOR_reduce_sum, r.x);
  ibx_dtype dtype = ibx_dtype_of(call, sum);
  ibx_out(call, 0,
          ibx_emit_binary(call, IBX_TENSOR_div, sum,
                          ibx_emit_cast(call, count, dtype)));
}

// Opset 20 takes bools, for which max is or and min is and.
static void reduce_limit(ibx_call *call, ibx_tensor_op op) {
  reduction r = read_reduction(call);
  ibx_dtype dtype = ibx_dtype_of(call, r.x);
  ibx_val x = r.x;
  if (dtype == IBX_DTYPE_BOOL) x = ibx_emit_cast(call, x, IBX_DTYPE_U8);
  ibx_out(call, 0, ibx_emit_cast(call, reduce(call, &r, op, x), dtype));
}

void ibx_import_op_reduce_max(ibx_call *call) {
  reduce_limit(call, IBX_TENSOR_reduce_max);
}

void ibx_import_op_reduce_min(ibx_call *call) {
  reduce_limit(call, IBX_TENSOR_reduce_min);
}

void ibx_import_op_reduce_l1(ibx_call *call) {
  reduction r = read_reduction(call);
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, r.x);
  ibx_out(call, 0, reduce(call, &r, IBX_TENSOR_reduce_sum, size));
}

// Floats in fp32 at least: what is made of a narrower type overflows early.
static ibx_val wide_floats(ibx_call *call, ibx_val x) {
  return ibx_is_float(ibx_dtype_of(call, x)) ? ibx_emit_wide(call, x) : x;
}

static ibx_val sum_of_squares(ibx_call *call, const reduction *r) {
  ibx_val x = wide_floats(call, r->x);
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
  return reduce(call, r, IBX_TENSOR_reduce_sum, square);
}

// Roots and logarithms of integers go through fp32, as ONNX's functions do.
static void out_as(ibx_call *call, ibx_tensor_op op, ibx_val x,
                   ibx_dtype dtype) {
  ibx_val result = ibx_emit_unary(call, op, ibx_emit_wide(call, x));
  ibx_out(call, 0, ibx_emit_cast(call, result, dtype));
}

void ibx_import_op_reduce_l2(ibx_call *call) {
  reduction r = read_reduction(call);
  out_as(call, IBX_TENSOR_sqrt, sum_of_squares(call, &r),
         ibx_dtype_of(call, r.x));
}

void ibx_import_op_reduce_sum_square(ibx_call *call) {
  reduction r = read_reduction(call);
  ibx_val sum = sum_of_squares(call, &r);
  ibx_out(call, 0, ibx_emit_cast(call, sum, ibx_dtype_of(call, r.x)));
}

void ibx_import_op_reduce_log_sum(ibx_call *call) {
  reduction r = read_reduction(call);
  ibx_val sum = reduce(call, &r, IBX_TENSOR_reduce_sum, wide_floats(call, r.x));
  out_as(call, IBX_TENSOR_log, sum, ibx_dtype_of(call, r.x));
}

// max + log(sum(exp(x - max))): exp never overflows. A maximum that is not
// finite is replaced by 0, which keeps infinities what they are.
void ibx_import_op_reduce_log_sum_exp(ibx_call *call) {
  reduction r = read_reduction(call);
  ibx_dtype dtype = ibx_dtype_of(call, r.x);
  ibx_val x = ibx_emit_wide(call, r.x);
  ibx_val peak = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, x, r.axes, true);
  ibx_val zero = ibx_emit_binary(call, IBX_TENSOR_sub, peak, peak);
  ibx_val finite = ibx_emit_binary(call, IBX_TENSOR_equal, zero, zero);
  peak = ibx_emit_select(call, finite, peak, ibx_emit_like(call, peak, 0));
  ibx_val power = ibx_emit_unary(
      call, IBX_TENSOR_exp, ibx_emit_binary(call, IBX_TENSOR_sub, x, peak));
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, power, r.axes, true);
  ibx_val result = ibx_emit_binary(
      call, IBX_TENSOR_add, ibx_emit_unary(call, IBX_TENSOR_log, sum), peak);
  if (!r.keepdims) {
    ibx_ints shape = ibx_shape_of(call, result), kept = {0};
    for (uint8_t i = 0, next = 0; i < shape.len; i++) {
      bool reduced = next < r.axes.len && r.axes.at[next] == i;
      if (reduced) next++;
      if (!reduced) kept.at[kept.len++] = shape.at[i];
    }
    result = ibx_emit_reshape(call, result, kept);
  }
  ibx_out(call, 0, ibx_emit_cast(call, result, dtype));
}

// --- positions ---------------------------------------------------------------

// The last position of the largest element is the first one from the end.
static ibx_val arg_max(ibx_call *call, ibx_val x) {
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", 0), ibx_rank(call, x));
  bool last = ibx_attr_flag(call, "select_last_index", false);
  int64_t extent = ibx_dim(call, x, axis);
  if (call->failed) return x;
  ibx_val real = ibx_extent(call, x, axis);
  if (last) {
    ibx_dtype dtype = ibx_dtype_of(call, x);
    x = ibx_emit_masked(call, x, axis, ibx_emit_limit(call, dtype, -1));
  }
  if (last) x = ibx_emit_slice(call, x, axis, extent - 1, extent, -1);
  ibx_params params = {.axis = axis,
                       .keepdims = ibx_attr_flag(call, "keepdims", true)};
  ibx_val index = ibx_emit_op(call, IBX_TENSOR_argmax, &params, &x, 1);
  if (!last) return index;
  index = ibx_emit_binary(call, IBX_TENSOR_sub, ibx_emit_long(call, extent - 1),
                          index);
  if (real == IBX_NO_VALUE) return index;
  // What is not valid may be as small as all that is.
  ibx_val end =
      ibx_emit_binary(call, IBX_TENSOR_sub, real, ibx_emit_long(call, 1));
  return ibx_emit_binary(call, IBX_TENSOR_min, index, end);
}

// The opset has k as attribute, later as input; `real` is k where the data decide
// it, of which `k` is the most.
static void top(ibx_call *call, int64_t k, ibx_val real) {
  ibx_val x = ibx_in(call, 0);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", -1), ibx_rank(call, x));
  ibx_params params = {.axis = axis,
                       .count = k,
                       .largest = ibx_attr_flag(call, "largest", true),
                       .dtype = IBX_DTYPE_I64};
  ibx_attr_ignore(call, "sorted");
  if (call->failed ||
      !ibx_call_expect(call, k >= 0 && k <= ibx_dim(call, x, axis), "k",
                       "is not a number of elements of the axis")) {
    return;
  }
  ibx_tensor_op ops[] = {IBX_TENSOR_top, IBX_TENSOR_top_index};
  for (size_t i = 0; i < IBX_COUNT_OF(ops) && ibx_wants_out(call, i); i++) {
    ibx_val y = ibx_emit_op(call, ops[i], &params, &x, 1);
    ibx_out(call, i,
            real == IBX_NO_VALUE ? y : ibx_set_extent(call, y, axis, real));
  }
}

void ibx_import_op_top_k_1(ibx_call *call) {
  top(call, ibx_attr_int(call, "k", -1), IBX_NO_VALUE);
}

void ibx_import_op_top_k(ibx_call *call) {
  ibx_bounded k;
  if (!ibx_bounded_dims(call, 1, "K", &k) ||
      !ibx_call_expect(call, k.most.len == 1, "K", "needs one element")) {
    return;
  }
  top(call, k.most.at[0], k.real[0]);
}

void ibx_import_op_arg_max(ibx_call *call) {
  ibx_out(call, 0, arg_max(call, ibx_in(call, 0)));
}

// The smallest element is the largest one of -x; of integers of -1 - x, which
// are the other bits and so exist for the least integer too.
void ibx_import_op_arg_min(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  if (ibx_is_float(ibx_dtype_of(call, x))) {
    x = ibx_emit_unary(call, IBX_TENSOR_neg, x);
  } else {
    x = ibx_emit_other_bits(call, ibx_emit_cast(call, x, IBX_DTYPE_I64));
  }
  ibx_out(call, 0, arg_max(call, x));
}

void ibx_import_op_cumsum(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  double axis = ibx_const_number(call, 1, "axis");
  ibx_params params = {.exclusive = ibx_attr_flag(call, "exclusive", false),
                       .reverse = ibx_attr_flag(call, "reverse", false)};
  params.axis = ibx_axis(call, (int64_t)axis, ibx_rank(call, x));
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_op(call, IBX_TENSOR_cumsum, &params, &x, 1));
}

// Each step multiplies by the element twice as far before: after log2(n) steps
// every element is the product of all up to it.
//
//   x        a      b      c      d
//   step 1   a     ab     bc     cd
//   step 2   a     ab    abc   abcd
static ibx_val running_product(ibx_call *call, ibx_val x, int64_t axis) {
  int64_t extent = ibx_dim(call, x, axis);
  ibx_ints none = ibx_fill_ints((size_t)ibx_rank(call, x), 0), low = none;
  for (int64_t step = 1; step < extent && !call->failed; step *= 2) {
    low.at[axis] = step;
    ibx_val before = ibx_emit_slice(call, x, axis, 0, extent - step, 1);
    before = ibx_emit_pad(call, before, low, none, 1);
    x = ibx_emit_binary(call, IBX_TENSOR_mul, x, before);
  }
  return x;
}

// Every element one place later, after a 1.
static ibx_val shift_products(ibx_call *call, ibx_val x, int64_t axis,
                              int64_t extent) {
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_val one = ibx_emit_like(call, x, 1);
  if (extent == 1) return ibx_emit_broadcast(call, one, shape);
  ibx_ints none = ibx_fill_ints(shape.len, 0), low = none;
  low.at[axis] = 1;
  x = ibx_emit_slice(call, x, axis, 0, extent - 1, 1);
  return ibx_emit_pad(call, x, low, none, 1);
}

void ibx_import_op_cumprod(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t axis = ibx_const_int(call, 1, "axis");
  bool exclusive = ibx_attr_flag(call, "exclusive", false);
  bool reverse = ibx_attr_flag(call, "reverse", false);
  axis = ibx_axis(call, axis, ibx_rank(call, x));
  int64_t extent = ibx_dim(call, x, axis);
  if (call->failed || extent == 0) {
    ibx_out(call, 0, x);
    return;
  }
  ibx_val real = ibx_extent(call, x, axis);
  x = ibx_emit_masked(call, x, axis, ibx_emit_like(call, x, 1));
  if (reverse) x = ibx_emit_slice(call, x, axis, extent - 1, extent, -1);
  if (exclusive) x = shift_products(call, x, axis, extent);
  x = running_product(call, x, axis);
  if (reverse) x = ibx_emit_slice(call, x, axis, extent - 1, extent, -1);
  ibx_out(call, 0,
          real == IBX_NO_VALUE ? x : ibx_set_extent(call, x, axis, real));
}

// --- softmax -----------------------------------------------------------------

// Before opset 13 the tensor counts as a matrix that is split at the axis.
static ibx_val flatten_at(ibx_call *call, ibx_val x, int64_t axis) {
  int64_t rows = 1, columns = 1;
  for (int64_t i = 0; i < axis; i++)
    rows *= ibx_dim(call, x, i);
  for (int64_t i = axis; i < ibx_rank(call, x); i++) {
    columns *= ibx_dim(call, x, i);
  }
  return ibx_emit_reshape(call, x, IBX_INTS(rows, columns));
}

// x - max - log(sum(exp(x - max)))
ibx_val ibx_emit_log_softmax(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_ints axes = IBX_INTS(axis);
  ibx_val peak = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, x, axes, true);
  ibx_val low = ibx_emit_binary(call, IBX_TENSOR_sub, x, peak);
  ibx_val power = ibx_emit_unary(call, IBX_TENSOR_exp, low);
  ibx_val sum = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, power, axes, true);
  return ibx_emit_binary(call, IBX_TENSOR_sub, low,
                         ibx_emit_unary(call, IBX_TENSOR_log, sum));
}

// 1 at the first largest element, else 0.
static ibx_val hardmax(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_params params = {.axis = axis, .keepdims = 1};
  int64_t extent = ibx_dim(call, x, axis);
  ibx_val index = ibx_emit_op(call, IBX_TENSOR_argmax, &params, &x, 1);
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, extent), axis,
                                ibx_rank(call, x));
  ibx_val hot = ibx_emit_binary(call, IBX_TENSOR_equal, index, line);
  hot = ibx_take_extents(call, hot, axis, x, axis, 1);
  return ibx_emit_cast(call, hot, ibx_dtype_of(call, x));
}

typedef ibx_val (*along_fn)(ibx_call *call, ibx_val x, int64_t axis);

static void along_axis(ibx_call *call, along_fn emit, bool flattens,
                       int64_t absent) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t axis = ibx_attr_int(call, "axis", absent);
  if (shape.len == 0) {
    x = ibx_emit_reshape(call, x, IBX_INTS(1));
    axis = 0;
  } else if (flattens && axis == shape.len) {
    axis = shape.len; // everything is one column
  } else {
    axis = ibx_axis(call, axis, shape.len);
  }
  if (call->failed) return;
  bool splits = flattens && axis != shape.len - 1 && shape.len != 0;
  if (splits) x = flatten_at(call, x, axis);
  x = emit(call, x, splits ? 1 : axis);
  ibx_out(call, 0, ibx_emit_reshape(call, x, shape));
}

void ibx_import_op_softmax_1(ibx_call *call) {
  along_axis(call, ibx_emit_softmax, true, 1);
}

void ibx_import_op_softmax(ibx_call *call) {
  along_axis(call, ibx_emit_softmax, false, -1);
}

void ibx_import_op_log_softmax_1(ibx_call *call) {
  along_axis(call, ibx_emit_log_softmax, true, 1);
}

void ibx_import_op_log_softmax(ibx_call *call) {
  along_axis(call, ibx_emit_log_softmax, false, -1);
}

void ibx_import_op_hardmax_1(ibx_call *call) {
  along_axis(call, hardmax, true, 1);
}

void ibx_import_op_hardmax(ibx_call *call) {
  along_axis(call, hardmax, false, -1);
}
