// SPDX-License-Identifier: Apache-2.0
//
// Compares tensors. In: two arrays of one type. Out: how many elements differ by
// more than is allowed, and which one is worst.

#include "driver/difference.h"

#include <math.h>
#include <string.h>

// Exponents of double, from the smallest subnormal on.
enum { LOWEST_EXPONENT = -1074, EXPONENTS = 2100, USUAL_EXPONENTS = 12 };

typedef struct tolerance {
  ibx_dtype dtype;
  ibx_limits limits;
} tolerance;

static ibx_limits find_row(ibx_dtype dtype) {
  static const tolerance rows[] = {
#define IBX_TOLERANCE(name, rtol, atol, reason)                                \
  {IBX_DTYPE_##name, {rtol, atol}},
#include "driver/tolerance.def"
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    if (rows[i].dtype == dtype) return rows[i].limits;
  }
  return (ibx_limits){0};
}

ibx_limits ibx_limits_of(ibx_dtype dtype, ibx_dtype cast, bool from_floats) {
  ibx_limits own = find_row(dtype), coarse = find_row(cast);
  bool is_float = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  if (!is_float && !from_floats) return (ibx_limits){0};
  if (!is_float) return own;
  return coarse.rtol > own.rtol ? coarse : own;
}

static double element(const ibx_array *array, uint64_t index) {
  const uint8_t *at = array->data + index * ibx_dtype_bytes(array->dtype);
  double value = 0;
  int64_t signed_value;
  uint64_t unsigned_value;
  switch (array->dtype) {
  case IBX_DTYPE_I64:
    memcpy(&signed_value, at, sizeof signed_value);
    return (double)signed_value;
  case IBX_DTYPE_U64:
    memcpy(&unsigned_value, at, sizeof unsigned_value);
    return (double)unsigned_value;
  default: ibx_dtype_load_f64(array->dtype, at, &value, 1); return value;
  }
}

static int exponent_of(double value) {
  int exponent;
  (void)frexp(value, &exponent);
  return exponent;
}

// The exponent below which a quarter of the numbers that are not 0 lie.
static int quarter_exponent(const ibx_array *array, uint64_t count) {
  uint64_t counts[EXPONENTS] = {0}, numbers = 0, below = 0;
  for (uint64_t i = 0; i < count; i++) {
    double value = element(array, i);
    if (!isfinite(value) || value == 0) continue;
    counts[exponent_of(value) - LOWEST_EXPONENT]++;
    numbers++;
  }
  int e = 0;
  while (e < EXPONENTS - 1 && (below += counts[e]) <= numbers / 4)
    e++;
  return e + LOWEST_EXPONENT;
}

static double usual_scale(const ibx_array *array, uint64_t count) {
  int most = quarter_exponent(array, count) + USUAL_EXPONENTS;
  double scale = 0;
  for (uint64_t i = 0; i < count; i++) {
    double value = fabs(element(array, i));
    if (!isfinite(value) || value <= scale) continue;
    if (exponent_of(value) <= most) scale = value;
  }
  return scale;
}

// 64-bit integers need not fit in a double.
static bool is_same(const ibx_array *got, const ibx_array *want, uint64_t i) {
  size_t bytes = ibx_dtype_bytes(got->dtype);
  return memcmp(got->data + i * bytes, want->data + i * bytes, bytes) == 0;
}

static double distance(double got, double want) {
  if (got == want || (isnan(got) && isnan(want))) return 0;
  double error = fabs(got - want);
  return isfinite(error) ? error : (double)INFINITY;
}

// Keeps the worst; the first one of those that are equally bad.
static void note(ibx_difference *d, const ibx_difference *one) {
  if (one->share > 1) d->bad++;
  if (d->share >= one->share) return;
  d->at = one->at;
  d->error = one->error;
  d->got = one->got;
  d->want = one->want;
  d->scale = one->scale;
  d->share = one->share;
}

static ibx_difference compare_texts(const ibx_array *got,
                                    const ibx_array *want) {
  ibx_difference d = {.count = ibx_array_count(want)};
  for (uint64_t i = 0; i < d.count; i++) {
    ibx_str a = ibx_host_tensor_text(&got->texts, i);
    ibx_str b = ibx_host_tensor_text(&want->texts, i);
    if (a.len == b.len && memcmp(a.data, b.data, a.len) == 0) continue;
    note(&d, &(ibx_difference){.at = i, .error = 1, .share = (double)INFINITY});
  }
  return d;
}

ibx_difference ibx_difference_find(const ibx_array *got, const ibx_array *want,
                                   const ibx_limits *limits) {
  if (want->dtype == IBX_DTYPE_STRING) return compare_texts(got, want);
  ibx_difference d = {.count = ibx_array_count(want)};
  double usual = usual_scale(want, d.count);
  for (uint64_t i = 0; i < d.count; i++) {
    if (is_same(got, want, i)) continue;
    ibx_difference one = {
        .at = i, .got = element(got, i), .want = element(want, i)};
    one.error = distance(one.got, one.want);
    bool is_float = ibx_dtype_get(want->dtype)->kind == IBX_DTYPE_KIND_FLOAT;
    if (one.error == 0 && !is_float) one.error = 1; // beyond a double's bits
    if (one.error == 0) continue;
    one.scale = fmax(usual, isfinite(one.want) ? fabs(one.want) : 0);
    double allowed = limits->atol + limits->rtol * one.scale;
    one.share = allowed > 0 ? one.error / allowed : (double)INFINITY;
    note(&d, &one);
  }
  return d;
}
