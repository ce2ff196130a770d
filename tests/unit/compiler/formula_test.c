// SPDX-License-Identifier: Apache-2.0
//
// Formulas are read as they are meant: quotients are powers, numbers multiply,
// and what is no formula is none.

#include "passes/formula.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static void every_row_is_a_formula_of_x(void **state) {
  (void)state;
  static const char *const ROWS[] = {
#define IBX_RECOVER(op, formula) formula,
#include "passes/recover.def"
  };
  ibx_arena arena = {0};
  for (size_t i = 0; i < IBX_COUNT_OF(ROWS); i++) {
    const ibx_formula *formula = ibx_formula_parse(ROWS[i], &arena);
    assert_non_null(formula);
    bool calls[IBX_TENSOR_OP_COUNT] = {false}, any = false;
    ibx_formula_calls(formula, calls);
    for (size_t op = 0; op < IBX_TENSOR_OP_COUNT; op++)
      any = any || calls[op];
    assert_true(any); // else it would be looked for at every node
    assert_non_null(strchr(ROWS[i], 'x'));
  }
  ibx_arena_reset(&arena);
}

static void numbers_multiply_and_quotients_are_powers(void **state) {
  (void)state;
  ibx_arena arena = {0};
  const ibx_formula *formula =
      ibx_formula_parse("2 * -(3 * x) / (x + 1)^0.5 - exp(x)^2 / 4", &arena);
  assert_non_null(formula);
  assert_int_equal(formula->count, 2);
  const ibx_formula_term *first = &formula->term[0];
  assert_true(first->scale == -6.0);
  assert_int_equal(first->count, 2);
  assert_int_equal(first->factor[0].kind, IBX_FORMULA_LETTER);
  assert_true(first->factor[0].power == 1.0);
  assert_int_equal(first->factor[1].kind, IBX_FORMULA_SUM);
  assert_true(first->factor[1].power == -0.5);
  assert_int_equal(first->factor[1].inside->count, 2);
  const ibx_formula_term *second = &formula->term[1];
  assert_true(second->scale == -0.25);
  assert_int_equal(second->count, 1);
  assert_int_equal(second->factor[0].op, IBX_TENSOR_exp);
  assert_true(second->factor[0].power == 2.0);
  ibx_arena_reset(&arena);
}

static void what_is_no_formula_is_refused(void **state) {
  (void)state;
  static const char *const WRONG[] = {
      "",           "x +", "(x",  "x)",        "exp x",     "exp(x",
      "nothing(x)", "x ^", "* x", "matmul(x)", "x*x*x*x*x", "x + x + x + x + x",
  };
  ibx_arena arena = {0};
  for (size_t i = 0; i < IBX_COUNT_OF(WRONG); i++)
    assert_null(ibx_formula_parse(WRONG[i], &arena));
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_is_a_formula_of_x),
      cmocka_unit_test(numbers_multiply_and_quotients_are_powers),
      cmocka_unit_test(what_is_no_formula_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
