// SPDX-License-Identifier: Apache-2.0
//
// What the engines compute on one value, where the sentences of isa.def leave
// no doubt: published points, both ends of ranges, special values.

#include "sim/arith.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static float act(ibx_act function, float x) {
  return ibx_act_one((uint8_t)function, x, 0.25f);
}

static void sine_is_cubic_beyond_pi(void **state) {
  (void)state;
  assert_true(fabsf(act(IBX_ACT_SIN, 9.0f) - 27.65f) < 0.005f);
  assert_true(fabsf(act(IBX_ACT_SIN, -9.0f) + 27.65f) < 0.005f);
  assert_true(fabsf(act(IBX_ACT_SIN, 3.0f) - 0.141120f) < 1e-6f);
}

static void ranges_are_those_of_the_table(void **state) {
  (void)state;
  ibx_act_range range;
  assert_true(ibx_act_range_find(IBX_ACT_LOG, &range));
  assert_true(range.low == 0x1p-64f && range.high == 0x1p64f);
  assert_false(range.is_magnitude);
  assert_true(ibx_act_range_find(IBX_ACT_RECIPROCAL, &range));
  assert_true(range.is_magnitude);
  assert_false(ibx_act_range_find(IBX_ACT_TANH, &range));
  assert_false(ibx_act_range_find(255, &range));
}

static void every_range_has_two_ends(void **state) {
  (void)state;
  for (unsigned i = 0; i < IBX_ACT_COUNT; i++) {
    ibx_act_range range;
    if (!ibx_act_range_find((uint8_t)i, &range)) continue;
    assert_true(range.low < range.high);
    assert_true(!range.is_magnitude || range.low > 0.0f);
  }
}

static void outside_stands_the_exact_value(void **state) {
  (void)state;
  assert_true(act(IBX_ACT_LOG, 0.0f) == -INFINITY);
  assert_true(isnan(act(IBX_ACT_LOG, -1.0f)));
  assert_true(fabsf(act(IBX_ACT_LOG, 0x1p-100f) + 69.3147f) < 1e-4f);
  assert_true(act(IBX_ACT_SQRT, 0x1p-148f) == 0x1p-74f);
  assert_true(act(IBX_ACT_RSQRT, 0.0f) == INFINITY);
  assert_true(act(IBX_ACT_RECIPROCAL, 0x1p100f) == 0x1p-100f);
  assert_true(act(IBX_ACT_RECIPROCAL, -0.0f) == -INFINITY);
  assert_true(act(IBX_ACT_ARCTAN, INFINITY) == 0x1.921fb6p+0f);
}

static void nan_stays_nan(void **state) {
  (void)state;
  for (unsigned i = 0; i < IBX_ACT_COUNT; i++) {
    assert_true(isnan(ibx_act_one((uint8_t)i, NAN, 0.25f)));
  }
}

static void small_results_keep_their_places(void **state) {
  (void)state;
  assert_true(act(IBX_ACT_SIGMOID, -100.0f) > 0.0f);
  assert_true(fabsf(act(IBX_ACT_GELU, -6.0f) + 5.9195e-9f) < 1e-12f);
  assert_true(act(IBX_ACT_PRELU, -2.0f) == -0.5f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sine_is_cubic_beyond_pi),
      cmocka_unit_test(ranges_are_those_of_the_table),
      cmocka_unit_test(every_range_has_two_ends),
      cmocka_unit_test(outside_stands_the_exact_value),
      cmocka_unit_test(nan_stays_nan),
      cmocka_unit_test(small_results_keep_their_places),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
