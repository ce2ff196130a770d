// SPDX-License-Identifier: Apache-2.0
//
// Arenas: memory is zeroed whatever it held before, blocks are used again after
// a rewind, and what is joined lives on in the other arena.

#include "support/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static uint8_t *filled(ibx_arena *arena, size_t size, uint8_t byte) {
  uint8_t *memory = ibx_arena_alloc(arena, size);
  for (size_t i = 0; i < size; i++)
    assert_int_equal(memory[i], 0);
  return memset(memory, byte, size);
}

static void what_is_rewound_is_used_again(void **state) {
  (void)state;
  static const size_t SIZES[] = {1, 70000, 16, 9u << 20, 5, 300000};
  ibx_arena arena = {0};
  uint8_t *first[6];
  for (size_t i = 0; i < 6; i++)
    first[i] = filled(&arena, SIZES[i], 0xa5);
  ibx_arena_rewind(&arena);
  size_t again = 0;
  for (size_t i = 0; i < 6; i++) {
    uint8_t *memory = filled(&arena, SIZES[i], 0x5a);
    for (size_t k = 0; k < 6; k++)
      again += memory == first[k];
  }
  assert_true(again > 0);
  ibx_arena_reset(&arena);
}

static void what_is_joined_stays(void **state) {
  (void)state;
  ibx_arena arena = {0}, other = {0};
  uint8_t *own = filled(&arena, 100, 1);
  uint8_t *small = filled(&other, 100, 2), *large = filled(&other, 1 << 20, 3);
  ibx_arena_join(&arena, &other);
  assert_null(other.last);
  ibx_arena_reset(&other);
  uint8_t *next = filled(&arena, 100, 4);
  assert_ptr_equal(next, own + 112); // the block that was being filled
  assert_int_equal(own[99], 1);
  assert_int_equal(small[99], 2);
  assert_int_equal(large[(1 << 20) - 1], 3);
  ibx_arena_reset(&arena);
}

static void an_empty_arena_takes_all(void **state) {
  (void)state;
  ibx_arena arena = {0}, other = {0};
  uint8_t *memory = filled(&other, 1000, 7);
  ibx_arena_join(&arena, &other);
  filled(&arena, 1000, 8);
  assert_int_equal(memory[999], 7);
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_rewound_is_used_again),
      cmocka_unit_test(what_is_joined_stays),
      cmocka_unit_test(an_empty_arena_takes_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
