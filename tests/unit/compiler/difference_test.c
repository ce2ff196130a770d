// SPDX-License-Identifier: Apache-2.0
//
// The rule by which tensors agree: scale, NaN, infinities, integers, texts.

#include "driver/difference.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT = 8 };

static const ibx_limits LIMITS = {.rtol = 1e-3, .atol = 1e-6};

static ibx_array array_of(ibx_dtype dtype, const void *data, size_t count) {
  ibx_array array = {.dtype = dtype, .rank = 1, .shape = {count}};
  array.bytes = count * ibx_dtype_bytes(dtype);
  array.data = malloc(array.bytes + 1);
  assert_non_null(array.data);
  memcpy(array.data, data, array.bytes);
  return array;
}

static ibx_difference find(ibx_dtype dtype, const void *got, const void *want,
                           size_t count, ibx_limits limits) {
  ibx_array a = array_of(dtype, got, count), b = array_of(dtype, want, count);
  ibx_difference difference = ibx_difference_find(&a, &b, &limits);
  free(a.data);
  free(b.data);
  return difference;
}

static void small_elements_may_be_off_by_what_large_ones_round(void **state) {
  (void)state;
  const float want[COUNT] = {100, 50, 25, 1e-3f, 10, 5, 2, 1};
  float got[COUNT];
  memcpy(got, want, sizeof got);
  got[3] += 0.09f; // below a thousandth of 100
  ibx_difference d = find(IBX_DTYPE_F32, got, want, COUNT, LIMITS);
  assert_int_equal(d.bad, 0);
  assert_int_equal(d.at, 3);
  assert_true(d.scale == 100);
  got[3] += 0.02f;
  d = find(IBX_DTYPE_F32, got, want, COUNT, LIMITS);
  assert_int_equal(d.bad, 1);
  assert_true(d.share > 1);
}

static void the_minus_10000_of_a_mask_hides_no_error(void **state) {
  (void)state;
  const float want[COUNT] = {-10000, 0.5f, -1, 2, 1, -0.5f, -10000, 1.5f};
  float got[COUNT];
  memcpy(got, want, sizeof got);
  got[2] += 0.1f;
  assert_int_equal(find(IBX_DTYPE_F32, got, want, COUNT, LIMITS).bad, 1);
  got[2] = want[2];
  got[0] += 5; // its own magnitude allows 10
  assert_int_equal(find(IBX_DTYPE_F32, got, want, COUNT, LIMITS).bad, 0);
  got[0] += 7;
  assert_int_equal(find(IBX_DTYPE_F32, got, want, COUNT, LIMITS).bad, 1);
}

static void nan_agrees_with_nan_only(void **state) {
  (void)state;
  const float want[3] = {NAN, 1, INFINITY};
  const float same[3] = {-NAN, 1, INFINITY};
  assert_int_equal(find(IBX_DTYPE_F32, same, want, 3, LIMITS).bad, 0);
  const float number[3] = {0, 1, INFINITY};
  ibx_difference d = find(IBX_DTYPE_F32, number, want, 3, LIMITS);
  assert_int_equal(d.bad, 1);
  assert_int_equal(d.at, 0);
  assert_true(isinf(d.error));
  const float lost[3] = {NAN, NAN, INFINITY};
  assert_int_equal(find(IBX_DTYPE_F32, lost, want, 3, LIMITS).bad, 1);
}

static void infinities_agree_with_themselves_only(void **state) {
  (void)state;
  const float want[3] = {INFINITY, -INFINITY, 3e38f};
  const float got[3] = {-INFINITY, -3e38f, INFINITY};
  const ibx_limits loose = {.rtol = 1e9, .atol = 1e9};
  assert_int_equal(find(IBX_DTYPE_F32, want, want, 3, loose).bad, 0);
  assert_int_equal(find(IBX_DTYPE_F32, got, want, 3, loose).bad, 3);
}

static void zeros_agree_whatever_their_sign(void **state) {
  (void)state;
  const float want[2] = {0, -0.0f}, got[2] = {-0.0f, 0};
  const ibx_limits none = {0};
  ibx_difference d = find(IBX_DTYPE_F32, got, want, 2, none);
  assert_int_equal(d.bad, 0);
  assert_true(d.share == 0);
}

static void integers_are_exact_also_beyond_double(void **state) {
  (void)state;
  const int64_t want[2] = {INT64_C(9007199254740993), -1};
  const int64_t got[2] = {INT64_C(9007199254740992), -1};
  ibx_limits limits = ibx_limits_of(IBX_DTYPE_I64, IBX_DTYPE_NONE, true);
  ibx_difference d = find(IBX_DTYPE_I64, got, want, 2, limits);
  assert_int_equal(d.bad, 1);
  assert_true(d.error == 1);
}

static void a_step_is_allowed_of_what_floats_were_made_to(void **state) {
  (void)state;
  const int8_t want[3] = {-128, 0, 127}, got[3] = {-127, 0, 126};
  const int8_t far[3] = {-126, 0, 127};
  ibx_limits step = ibx_limits_of(IBX_DTYPE_I8, IBX_DTYPE_NONE, true);
  ibx_limits exact = ibx_limits_of(IBX_DTYPE_I8, IBX_DTYPE_NONE, false);
  assert_int_equal(find(IBX_DTYPE_I8, got, want, 3, step).bad, 0);
  assert_int_equal(find(IBX_DTYPE_I8, far, want, 3, step).bad, 1);
  assert_int_equal(find(IBX_DTYPE_I8, got, want, 3, exact).bad, 2);
}

static void a_cast_makes_floats_coarser_and_nothing_else(void **state) {
  (void)state;
  ibx_limits own = ibx_limits_of(IBX_DTYPE_F32, IBX_DTYPE_NONE, true);
  ibx_limits cast = ibx_limits_of(IBX_DTYPE_F32, IBX_DTYPE_BF16, true);
  ibx_limits bf16 = ibx_limits_of(IBX_DTYPE_BF16, IBX_DTYPE_NONE, true);
  ibx_limits fp16 = ibx_limits_of(IBX_DTYPE_BF16, IBX_DTYPE_F16, true);
  ibx_limits whole = ibx_limits_of(IBX_DTYPE_I32, IBX_DTYPE_BF16, true);
  assert_true(own.rtol < cast.rtol && cast.rtol == bf16.rtol);
  assert_true(fp16.rtol == bf16.rtol);
  assert_true(whole.rtol == 0 && whole.atol == 0);
}

static void nothing_agrees_with_nothing(void **state) {
  (void)state;
  ibx_difference d = find(IBX_DTYPE_F32, "", "", 0, LIMITS);
  assert_int_equal(d.count, 0);
  assert_int_equal(d.bad, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_elements_may_be_off_by_what_large_ones_round),
      cmocka_unit_test(the_minus_10000_of_a_mask_hides_no_error),
      cmocka_unit_test(nan_agrees_with_nan_only),
      cmocka_unit_test(infinities_agree_with_themselves_only),
      cmocka_unit_test(zeros_agree_whatever_their_sign),
      cmocka_unit_test(integers_are_exact_also_beyond_double),
      cmocka_unit_test(a_step_is_allowed_of_what_floats_were_made_to),
      cmocka_unit_test(a_cast_makes_floats_coarser_and_nothing_else),
      cmocka_unit_test(nothing_agrees_with_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
