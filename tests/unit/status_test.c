// SPDX-License-Identifier: Apache-2.0
//
// Statuses: names, exit codes, and messages that never leave their buffer.

#include "imbrex/status.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static void every_status_has_a_name_and_an_exit_code(void **state) {
  (void)state;
  const int codes[] = {0, 1, 2, 3, 4, 70};
  for (int s = IBX_OK; s <= IBX_INTERNAL; s++) {
    assert_string_not_equal(ibx_status_name((ibx_status)s), "UNKNOWN");
    bool known = false;
    for (size_t i = 0; i < IBX_COUNT_OF(codes); i++) {
      known = known || ibx_status_exit_code((ibx_status)s) == codes[i];
    }
    assert_true(known);
    assert_int_equal(ibx_status_exit_code((ibx_status)s) == 0, s == IBX_OK);
  }
  assert_string_equal(ibx_status_name(IBX_IO_ERROR), "IO_ERROR");
  assert_string_equal(ibx_status_name((ibx_status)999), "UNKNOWN");
  assert_int_equal(ibx_status_exit_code((ibx_status)999), 70);
}

static ibx_status report(ibx_error *err, const char *text) {
  return IBX_FAIL(err, UNSUPPORTED, "no %s; %d left", text, 7);
}

static void a_failure_fills_the_error(void **state) {
  (void)state;
  ibx_error err = {0};
  assert_int_equal(report(&err, "spoon"), IBX_UNSUPPORTED);
  assert_int_equal(err.status, IBX_UNSUPPORTED);
  assert_string_equal(err.message, "no spoon; 7 left");
  assert_non_null(strstr(err.file, "status_test.c"));
  assert_true(err.line > 0);
  assert_int_equal(report(NULL, "spoon"), IBX_UNSUPPORTED);
}

static void a_long_message_is_cut(void **state) {
  (void)state;
  char text[2 * IBX_ERROR_MESSAGE_BYTES];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  ibx_error err;
  memset(&err, 0x5a, sizeof err);
  assert_int_equal(report(&err, text), IBX_UNSUPPORTED);
  assert_int_equal(strlen(err.message), IBX_ERROR_MESSAGE_BYTES - 1);
}

static ibx_status try_it(ibx_status status, bool *went_on) {
  IBX_TRY(status);
  *went_on = true;
  return IBX_OK;
}

static void try_returns_the_failure(void **state) {
  (void)state;
  bool went_on = false;
  assert_int_equal(try_it(IBX_MISMATCH, &went_on), IBX_MISMATCH);
  assert_false(went_on);
  assert_int_equal(try_it(IBX_OK, &went_on), IBX_OK);
  assert_true(went_on);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_status_has_a_name_and_an_exit_code),
      cmocka_unit_test(a_failure_fills_the_error),
      cmocka_unit_test(a_long_message_is_cut),
      cmocka_unit_test(try_returns_the_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
