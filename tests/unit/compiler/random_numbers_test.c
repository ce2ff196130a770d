// SPDX-License-Identifier: Apache-2.0
//
// The numbers of NumPy's RandomState, as its users know them, and what many of
// them have in common.

#include "frontend/random_numbers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void numbers_are_those_of_numpy(void **state) {
  (void)state;
  static const double uniform[] = {0.5488135039273248, 0.7151893663724195,
                                   0.6027633760716439};
  static const double normal[] = {1.764052345967664, 0.4001572083672233,
                                  0.9787379841057392};
  ibx_random random;
  ibx_random_seed(&random, 0);
  for (size_t i = 0; i < 3; i++)
    assert_true(ibx_random_uniform(&random) == uniform[i]);
  ibx_random_seed(&random, 0);
  for (size_t i = 0; i < 3; i++)
    assert_true(fabs(ibx_random_normal(&random) - normal[i]) < 1e-15);
}

static void many_numbers_have_the_moments(void **state) {
  (void)state;
  enum { COUNT = 200000 };
  double sum = 0, squares = 0, least = 1, most = 0, normals = 0, spread = 0;
  ibx_random random;
  ibx_random_seed(&random, 12345);
  for (int i = 0; i < COUNT; i++) {
    double u = ibx_random_uniform(&random), n = ibx_random_normal(&random);
    sum += u;
    squares += u * u;
    least = fmin(least, u);
    most = fmax(most, u);
    normals += n;
    spread += n * n;
  }
  assert_true(least >= 0 && most < 1);
  assert_true(fabs(sum / COUNT - 1.0 / 2) < 0.01);
  assert_true(fabs(squares / COUNT - 1.0 / 3) < 0.01);
  assert_true(fabs(normals / COUNT) < 0.01);
  assert_true(fabs(spread / COUNT - 1) < 0.02);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_those_of_numpy),
      cmocka_unit_test(many_numbers_have_the_moments),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
