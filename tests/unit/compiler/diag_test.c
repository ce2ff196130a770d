// SPDX-License-Identifier: Apache-2.0
//
// The diagnostic sink: clean texts, the first error, an end to floods.

#include "support/diag.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static void every_code_stands_once_and_says_what_it_means(void **state) {
  (void)state;
  const ibx_diag_info *row, *previous = NULL;
  for (size_t i = 0; (row = ibx_diag_get(i)) != NULL; i++) {
    assert_true(row->sentence[0] != 0);
    assert_int_equal(strlen(row->name), 7);
    assert_int_equal(row->severity == IBX_SEVERITY_ERROR,
                     row->status != IBX_OK);
    if (previous) assert_true(row->code > previous->code);
    previous = row;
  }
  assert_non_null(previous);
}

static void texts_become_printable(void **state) {
  (void)state;
  const struct {
    const char *in, *out;
  } rows[] = {
      {"plain", "plain"},
      {"tab\tand\nline\x7f", "tab?and?line?"},
      {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
      {"\xe2\x82\xac and \xf0\x9f\x98\x80",
       "\xe2\x82\xac and \xf0\x9f\x98\x80"},
      {"cut \xe2\x82", "cut ??"},
      {"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
      {"surrogate \xed\xa0\x80", "surrogate ???"},
      {"past \xf4\x90\x80\x80", "past ????"},
      {"alone \x80", "alone ?"},
  };
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    ibx_diag_add(&sink, IBX_DIAG_CYCLE, (ibx_diag_at){.node = rows[i].in},
                 rows[i].in, "%s", rows[i].in);
    assert_string_equal(sink.items[i].node, rows[i].out);
    assert_string_equal(sink.items[i].remedy, rows[i].out);
    assert_string_equal(sink.items[i].message, rows[i].out);
    assert_string_equal(sink.items[i].op, "");
  }
  ibx_arena_reset(&arena);
}

static void count_calls(void *user, const ibx_diagnostic *diagnostic) {
  assert_non_null(diagnostic->code);
  ++*(size_t *)user;
}

static void the_status_is_that_of_the_first_error(void **state) {
  (void)state;
  ibx_arena arena = {0};
  size_t calls = 0;
  ibx_diag_sink sink = {
      .arena = &arena, .forward = count_calls, .user = &calls};
  ibx_error err = {0};
  assert_int_equal(ibx_diag_status(&sink, &err), IBX_OK);
  ibx_diag_add(&sink, IBX_DIAG_OVERRIDABLE_INPUT, (ibx_diag_at){0}, "", "note");
  ibx_diag_add(&sink, IBX_DIAG_OUTPUT_SHAPE, (ibx_diag_at){0}, "", "warning");
  assert_int_equal(ibx_diag_status(&sink, &err), IBX_OK);
  ibx_diag_add(&sink, IBX_DIAG_UNSUPPORTED_OP,
               (ibx_diag_at){.node = "n", .op = "Op"}, "", "first");
  ibx_diag_add(&sink, IBX_DIAG_CYCLE, (ibx_diag_at){0}, "", "second");
  assert_int_equal(ibx_diag_status(&sink, &err), IBX_UNSUPPORTED);
  assert_string_equal(err.message, "n (Op): first");
  assert_int_equal(sink.error_count, 2);
  assert_int_equal(calls, 4);
  ibx_arena_reset(&arena);
}

static void a_flood_ends_with_a_note(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  for (int i = 0; i < 5000; i++) {
    ibx_diag_add(&sink, IBX_DIAG_CYCLE, (ibx_diag_at){0}, "", "%d", i);
  }
  assert_int_equal(sink.error_count, 5000);
  assert_int_equal(sink.count, 1001);
  assert_string_equal(sink.items[999].message, "999");
  assert_string_equal(sink.items[1000].code, "IBX1000");
  assert_int_equal(sink.items[1000].severity, IBX_SEVERITY_NOTE);
  ibx_arena_reset(&arena);
}

static void the_first_error_comes_behind_a_flood_too(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_error err;
  ibx_diag_sink sink = {.arena = &arena};
  for (int i = 0; i < 1000; i++)
    ibx_diag_add(&sink, IBX_DIAG_OUTPUT_SHAPE, (ibx_diag_at){0}, "", "%d", i);
  for (int i = 0; i < 2; i++) {
    ibx_diag_add(&sink, IBX_DIAG_UNSUPPORTED_OP,
                 (ibx_diag_at){.node = "n", .op = "Op"}, "", "%d", i);
  }
  assert_int_equal(sink.count, 1002);
  assert_string_equal(sink.items[1000].code, "IBX1000");
  assert_string_equal(sink.items[1001].message, "0");
  assert_int_equal(ibx_diag_status(&sink, &err), IBX_UNSUPPORTED);
  assert_string_equal(err.message, "n (Op): 0");
  ibx_arena_reset(&arena);
}

static void what_is_slow_is_said_once_to_who_asks(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  const struct {
    ibx_diag_code code;
    const char *node;
  } rows[] = {
      {IBX_DIAG_LIBRARY_CALL, "a\n"},     {IBX_DIAG_LIBRARY_CALL, "a\n"},
      {IBX_DIAG_LIBRARY_CALL, "b/[0]/c"}, {IBX_DIAG_LIBRARY_CALL, "b/[1]/c"},
      {IBX_DIAG_RUNS_ON_HOST, "b"},       {IBX_DIAG_RUNS_ON_HOST, NULL},
      {IBX_DIAG_RUNS_ON_HOST, ""}};
  ibx_diag_slow(NULL, rows[0].code, (ibx_diag_at){0}, "", "%s", "nobody");
  ibx_diag_slow(&sink, rows[0].code, (ibx_diag_at){0}, "", "%s", "unasked");
  assert_int_equal(sink.count, 0);
  sink.tells_slow = true;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    ibx_diag_slow(&sink, rows[i].code, (ibx_diag_at){.node = rows[i].node}, "",
                  "%zu", i);
  }
  assert_int_equal(sink.count, 4);
  assert_string_equal(sink.items[1].message, "2");
  assert_string_equal(sink.items[2].message, "4");
  assert_string_equal(sink.items[3].message, "5");
  assert_true(ibx_diag_has(&sink, IBX_DIAG_LIBRARY_CALL, "a\n"));
  assert_false(ibx_diag_has(&sink, IBX_DIAG_RUNS_ON_HOST, "a\n"));
  ibx_arena_reset(&arena);
}

static void trips_of_a_loop_are_one_node(void **state) {
  (void)state;
  ibx_arena arena = {0};
  const char *const rows[][2] = {{"", ""},
                                 {"a", "a"},
                                 {"loop/[0]/add", "loop/[]/add"},
                                 {"loop/[17]/add", "loop/[]/add"},
                                 {"a/[1]/b/[2]/c", "a/[]/b/[]/c"},
                                 {"a/[1]/[2]/c", "a/[]/[]/c"},
                                 {"[1]/x", "[]/x"},
                                 {"a[1]/x", "a[1]/x"},
                                 {"a/1/x", "a/1/x"},
                                 {"a/[1", "a/[1"},
                                 {"a/[1]", "a/[1]"},
                                 {"a/[]/x", "a/[]/x"},
                                 {"a/[1x]/x", "a/[1x]/x"}};
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++)
    assert_string_equal(ibx_diag_node_key(&arena, rows[i][0]), rows[i][1]);
  ibx_arena_reset(&arena);
}

static void a_failure_is_told_and_returned(void **state) {
  (void)state;
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  ibx_error err;
  ibx_diag_at at = {.node = "n", .op = "Op"};
  assert_int_equal(ibx_diag_fail(&sink, IBX_DIAG_TENSORS_TOO_LARGE, at, &err,
                                 "do less", "%d bytes", 7),
                   IBX_OUT_OF_CAPACITY);
  assert_string_equal(err.message, "node n (Op): 7 bytes; do less");
  assert_int_equal(sink.error_count, 1);
  assert_string_equal(sink.items[0].message, "7 bytes");
  assert_string_equal(sink.items[0].remedy, "do less");
  assert_int_equal(
      ibx_diag_fail(NULL, IBX_DIAG_NO_INSTRUCTION, at, &err, "r", "m"),
      IBX_UNSUPPORTED);
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_stands_once_and_says_what_it_means),
      cmocka_unit_test(texts_become_printable),
      cmocka_unit_test(the_status_is_that_of_the_first_error),
      cmocka_unit_test(a_flood_ends_with_a_note),
      cmocka_unit_test(the_first_error_comes_behind_a_flood_too),
      cmocka_unit_test(what_is_slow_is_said_once_to_who_asks),
      cmocka_unit_test(trips_of_a_loop_are_one_node),
      cmocka_unit_test(a_failure_is_told_and_returned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
