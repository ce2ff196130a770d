// SPDX-License-Identifier: Apache-2.0
//
// Regions of RoiAlign without a sampling ratio. Comes in: where regions begin and
// end. Goes out: what their samples count, n in a bin of n elements, rounded up.
//
// The mean needs no samples one by one. They are evenly spaced, so arithmetic says
// how many lie between two elements, and where the middle of these is:
//
//   first + i * step,  i = 0 .. n - 1            e       e + 1
//   before(t) = how many are less than t         |  x  x  |
//   of c samples with the mean m, element e gets c * (1 - (m - e)), the next one
//   c * (m - e); both are continuous where a sample passes an element, so it does
//   not matter to which side rounding puts it
//
// Samples up to one element outside of the image count for its border.

#include "frontend/import_region.h"

#include <math.h>

static ibx_val binary(ibx_call *call, ibx_tensor_op op, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, op, a, b);
}

static ibx_val add(ibx_call *call, ibx_val a, ibx_val b) {
  return binary(call, IBX_TENSOR_add, a, b);
}

static ibx_val sub(ibx_call *call, ibx_val a, ibx_val b) {
  return binary(call, IBX_TENSOR_sub, a, b);
}

static ibx_val mul(ibx_call *call, ibx_val a, ibx_val b) {
  return binary(call, IBX_TENSOR_mul, a, b);
}

ibx_val ibx_emit_bin_size(ibx_call *call, const ibx_regions *r) {
  ibx_val size = sub(call, r->end, r->start);
  if (r->at_least_one) {
    size = binary(call, IBX_TENSOR_max, size, ibx_emit_like(call, size, 1));
  }
  return binary(call, IBX_TENSOR_int_div, size,
                ibx_emit_like(call, size, (double)r->bins));
}

// --- means -------------------------------------------------------------------

// The samples of all bins, along [R, bins, elements].
typedef struct series {
  ibx_val low;   // where bins begin, [R, bins, 1]
  ibx_val step;  // [R, 1, 1]
  ibx_val per;   // 1 / step
  ibx_val count; // of samples, at least 0, [R, 1, 1]
} series;

static ibx_val column(ibx_call *call, ibx_val x) {
  return ibx_emit_reshape(call, x, IBX_INTS(ibx_dim(call, x, 0), 1, 1));
}

// first, first + 1, ... along dimension `axis` of 3.
static ibx_val line(ibx_call *call, int64_t count, int64_t axis) {
  ibx_val x = ibx_emit_along(call, ibx_emit_iota(call, count), axis, 3);
  return ibx_emit_cast(call, x, IBX_DTYPE_F32);
}

static series read_series(ibx_call *call, const ibx_regions *r) {
  ibx_val bin = column(call, ibx_emit_bin_size(call, r));
  ibx_val one = ibx_emit_like(call, bin, 1), zero = ibx_emit_like(call, bin, 0);
  series s = {.count = ibx_emit_unary(call, IBX_TENSOR_ceil, bin)};
  s.count = binary(call, IBX_TENSOR_max, s.count, zero);
  ibx_val some = binary(call, IBX_TENSOR_less, zero, s.count);
  s.step = ibx_emit_select(call, some,
                           binary(call, IBX_TENSOR_div, bin,
                                  binary(call, IBX_TENSOR_max, s.count, one)),
                           one);
  s.per = binary(call, IBX_TENSOR_div, one, s.step);
  s.low =
      add(call, column(call, r->start), mul(call, bin, line(call, r->bins, 1)));
  return s;
}

// How many samples lie before t, which broadcasts to [R, bins, elements]; with
// `and_at` those at t, too.
static ibx_val before(ibx_call *call, const series *s, ibx_val t, bool and_at) {
  ibx_val at = mul(call, sub(call, t, s->low), s->per);
  at = ibx_emit_affine(call, at, 1, and_at ? 0.5 : -0.5);
  at = ibx_emit_unary(call, and_at ? IBX_TENSOR_floor : IBX_TENSOR_ceil, at);
  at = binary(call, IBX_TENSOR_max, at, ibx_emit_like(call, at, 0));
  return binary(call, IBX_TENSOR_min, at, s->count);
}

static ibx_val before_constant(ibx_call *call, const series *s, double t,
                               bool and_at) {
  return before(call, s, ibx_emit_scalar(call, IBX_DTYPE_F32, t), and_at);
}

ibx_val ibx_emit_mean_weights(ibx_call *call, const ibx_regions *r) {
  series s = read_series(call, r);
  int64_t last = r->extent - 1;
  ibx_val e = line(call, r->extent, 2);
  // Samples before each element, and before what is outside again.
  ibx_val low = before(call, &s, e, false);
  ibx_val end = before_constant(call, &s, (double)r->extent, true);
  ibx_val parts[2] = {end, IBX_NO_VALUE};
  if (last > 0) {
    parts[0] = ibx_emit_slice(call, low, 2, 1, last, 1);
    parts[1] = end;
  }
  ibx_val high = ibx_emit_concat(call, parts, last > 0 ? 2 : 1, 2);
  ibx_val count = sub(call, high, low);
  ibx_val middle = ibx_emit_affine(call, add(call, low, high), 0.5, 0);
  middle = add(call, s.low, mul(call, middle, s.step));
  ibx_val far = mul(call, count, sub(call, middle, e));
  // Behind the last element all counts for it; before the first, too.
  ibx_val border = sub(call, ibx_emit_slice(call, low, 2, 0, 1, 1),
                       before_constant(call, &s, -1, false));
  ibx_val from[2] = {border, IBX_NO_VALUE}, to[2] = {IBX_NO_VALUE};
  ibx_val none = ibx_emit_affine(call, end, 0, 0);
  to[last > 0 ? 1 : 0] = none;
  if (last > 0) {
    from[1] = to[0] = ibx_emit_slice(call, far, 2, 0, last, 1);
  }
  size_t all = last > 0 ? 2 : 1;
  ibx_val weight =
      add(call, sub(call, count, ibx_emit_concat(call, to, all, 2)),
          ibx_emit_concat(call, from, all, 2));
  ibx_val most =
      binary(call, IBX_TENSOR_max, s.count, ibx_emit_like(call, s.count, 1));
  weight = binary(call, IBX_TENSOR_div, weight, most);
  ibx_ints shape = ibx_shape_of(call, weight);
  return ibx_emit_reshape(call, weight,
                          IBX_INTS(shape.at[0], 1, shape.at[1], shape.at[2]));
}

// --- samples -----------------------------------------------------------------

ibx_val ibx_emit_sample_places(ibx_call *call, const ibx_regions *r,
                               int64_t *out_most) {
  enum { MOST_SAMPLES = 1 << 12 };
  ibx_val counts =
      ibx_emit_unary(call, IBX_TENSOR_ceil, ibx_emit_bin_size(call, r));
  const ibx_tensor *known = ibx_force(call->import, counts);
  *out_most = 1;
  if (!known) {
    ibx_call_fail(call, IBX_DIAG_NOT_CONSTANT, "sampling_ratio",
                  "give the attribute a number of samples, or use the mode avg",
                  "the largest of as many samples as regions are large that "
                  "are not constant");
    return r->start;
  }
  int64_t regions = ibx_elements(&known->type), most = 1;
  for (int64_t i = 0; i < regions; i++) {
    double n = ibx_tensor_number(known, (size_t)i);
    if (n > MOST_SAMPLES)
      most = MOST_SAMPLES + 1;
    else if (n > (double)most)
      most = (int64_t)n;
  }
  int64_t row = r->bins * most;
  if (!ibx_call_expect(call, most <= MOST_SAMPLES, "rois",
                       "are more than 4096 elements large in a bin") ||
      !ibx_call_expect_room(call, row) ||
      !ibx_call_expect_room(call, row * regions)) {
    return r->start;
  }
  ibx_type type = {.dims = {regions, row}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data =
      IBX_ARENA_ARRAY(call->import->arena, (size_t)(row * regions), float);
  for (int64_t i = 0; i < regions * row; i++) {
    double n = fmax(1, ibx_tensor_number(known, (size_t)(i / row)));
    double at = fmin((double)(i % most), n - 1);
    data[i] = (float)((double)(i % row / most) + (at + 0.5) / n);
  }
  *out_most = most;
  return ibx_emit_constant(call, type, data);
}
