// SPDX-License-Identifier: Apache-2.0
//
// The map of names: random operations against a list that is searched.

#include "support/map.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

enum { NAMES = 700, STEPS = 6000 };

static uint32_t next_random(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static void what_was_put_is_found_and_nothing_else(void **state) {
  (void)state;
  static char names[NAMES][16];
  static uint32_t values[NAMES];
  static bool present[NAMES];
  ibx_arena arena = {0};
  ibx_map map = {.arena = &arena};
  uint32_t seed = 7;
  for (size_t i = 0; i < NAMES; i++) {
    snprintf(names[i], sizeof(names[i]), "n%zx", i * 2654435761u % 100003u);
  }
  for (uint32_t step = 0; step < STEPS; step++) {
    size_t at = next_random(&seed) % NAMES;
    if (next_random(&seed) % 2 == 0) {
      assert_int_equal(ibx_map_put(&map, names[at], step), !present[at]);
      present[at] = true;
      values[at] = step;
    }
    uint32_t found = 0;
    at = next_random(&seed) % NAMES;
    assert_int_equal(ibx_map_find(&map, names[at], &found), present[at]);
    if (present[at]) assert_int_equal(found, values[at]);
  }
  size_t count = 0;
  for (size_t i = 0; i < NAMES; i++)
    count += present[i];
  assert_int_equal(map.count, count);
  ibx_arena_reset(&arena);
}

static void an_empty_map_finds_nothing(void **state) {
  (void)state;
  ibx_map map = {0};
  uint32_t value = 5;
  assert_false(ibx_map_find(&map, "", &value));
  assert_int_equal(value, 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_put_is_found_and_nothing_else),
      cmocka_unit_test(an_empty_map_finds_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
