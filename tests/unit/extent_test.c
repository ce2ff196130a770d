// SPDX-License-Identifier: Apache-2.0
//
// Time never needs data: what a program loads from memory is its declared
// limit, or the extent that the caller gives; the prover sees the same.

#include "imbrex/asm.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

// Two engines take turns as often as memory says; a third loop has another
// limit in the same buffer.
static const char text[] =
    ".entry main\n"
    ".input length i32[1]\n"
    ".output y f32[128, 8]\n"
    ".buffer limits sbuf bytes=8 partitions=1\n"
    ".buffer a sbuf bytes=32\n"
    ".buffer b sbuf bytes=32\n"
    ".buffer c sbuf bytes=32\n"
    ".engine sync\n"
    "dma_copy limits:i32 pstep(1), length:i32 size(1) signal s0+1\n"
    ".engine vector\n"
    "memset limits[4]:i32 imm0=7 p=1 size(1)\n"
    "memset b:f32 imm0=0 p=128 size(8)\n"
    "semaphore wait s0>=1 signal s1+1\n"
    "register_load limits:i32 r5 count=1000\n"
    "loop r0 r5 count=1000\n"
    "memset a:f32 imm0=1 p=128 size(8) wait s3>=1 signal s2+1\n"
    "loop_end\n"
    "register_load limits[4]:i32 r6 count=50\n"
    "loop r0 r6 count=50\n"
    "memset c:f32 imm0=2 p=128 size(8)\n"
    "loop_end\n"
    "semaphore wait s3>=1\n"
    ".engine scalar\n"
    "semaphore wait s1>=1 signal s3+1\n"
    "register_load limits:i32 r9 count=1000\n"
    "loop r0 r9 count=1000\n"
    "tensor_copy b:f32, a:f32 p=128 size(8) wait s2>=1 signal s3+1\n"
    "loop_end\n"
    "dma_copy y:f32, b:f32 pstep(1, 0) size(128, 8) dge=hardware signal "
    "s4+16\n"
    "semaphore wait s4>=16\n";

typedef struct outcome {
  ibx_status time_status, fix_status, prove_status;
  uint64_t instructions;
  ibx_error err;
} outcome;

static ibx_status prove_at(const ibx_program_data *data,
                           const ibx_sim_extent *extents, size_t count,
                           outcome *o) {
  ibx_entry *fixed = NULL;
  o->fix_status =
      ibx_sim_fix_extents(data->entries, extents, count, &fixed, &o->err);
  if (o->fix_status != IBX_OK) return o->fix_status;
  assert_non_null(fixed);
  ibx_proof proof;
  ibx_status status = ibx_prove_entry(data, fixed, &proof, &o->err);
  ibx_sim_free_fixed(fixed);
  return status;
}

static outcome run(const ibx_sim_extent *extents, size_t count) {
  outcome o = {0};
  ibx_asm_program *program = NULL;
  ibx_str str = {.data = text, .len = sizeof(text) - 1};
  if (ibx_asm_parse(str, "t.s", NULL, 0, &program, &o.err) != IBX_OK) {
    fail_msg("%s", o.err.message);
  }
  const ibx_program_data *data = ibx_asm_get(program);
  ibx_sim_time_options options = {.extents = extents, .extent_count = count};
  ibx_sim_time time;
  o.prove_status = prove_at(data, extents, count, &o);
  o.time_status =
      ibx_sim_time_entry_with(data, data->entries, &options, &time, &o.err);
  o.instructions = time.instructions;
  ibx_asm_destroy(program);
  return o;
}

static uint64_t loops(uint64_t length, uint64_t other) {
  return 2 * (2 * length) + 2 * other;
}

static void assert_trips(const ibx_sim_extent *extents, size_t count,
                         uint64_t length, uint64_t other) {
  static uint64_t none;
  if (none == 0) {
    const ibx_sim_extent zero[] = {{"length", 0}, {"limits[4]", 0}};
    outcome o = run(zero, 2);
    assert_int_equal(o.time_status, IBX_OK);
    none = o.instructions;
  }
  outcome o = run(extents, count);
  if (o.time_status != IBX_OK) fail_msg("%s", o.err.message);
  assert_int_equal(o.instructions, none + loops(length, other));
}

static void without_extents_loops_take_their_limits(void **state) {
  (void)state;
  assert_trips(NULL, 0, 1000, 50);
}

static void a_buffer_names_all_that_is_loaded_from_it(void **state) {
  (void)state;
  assert_trips(&(ibx_sim_extent){"limits", 30}, 1, 30, 30);
}

static void an_offset_names_one_word(void **state) {
  (void)state;
  assert_trips(&(ibx_sim_extent){"limits[0]", 300}, 1, 300, 50);
  assert_trips(&(ibx_sim_extent){"limits[4]", 20}, 1, 1000, 20);
  const ibx_sim_extent both[] = {{"limits[0]", 3}, {"limits[4]", 4}};
  assert_trips(both, 2, 3, 4);
}

static void an_input_names_what_it_is_copied_to(void **state) {
  (void)state;
  assert_trips(&(ibx_sim_extent){"length", 41}, 1, 41, 41);
}

static void the_last_extent_counts(void **state) {
  (void)state;
  const ibx_sim_extent twice[] = {{"limits", 3}, {"limits[0]", 9}};
  assert_trips(twice, 2, 9, 3);
}

static void unknown_names_are_refused(void **state) {
  (void)state;
  const char *names[] = {"", "x", "limit", "limits[8]", "limits[", "y", "a"};
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    outcome o = run(&(ibx_sim_extent){names[i], 3}, 1);
    assert_int_equal(o.time_status, IBX_NOT_FOUND);
    assert_int_equal(o.fix_status, IBX_NOT_FOUND);
    assert_non_null(strstr(o.err.message, "no register is loaded from"));
  }
}

static void an_extent_needs_a_name(void **state) {
  (void)state;
  outcome o = run(&(ibx_sim_extent){NULL, 3}, 1);
  assert_int_equal(o.time_status, IBX_INVALID_ARGUMENT);
}

static void more_than_the_limit_is_refused(void **state) {
  (void)state;
  outcome o = run(&(ibx_sim_extent){"limits[0]", 1001}, 1);
  assert_int_equal(o.time_status, IBX_INVALID_ARGUMENT);
  assert_non_null(
      strstr(o.err.message, "limits[0] is 1001, the program allows 1000"));
  assert_int_equal(run(&(ibx_sim_extent){"limits[0]", 1000}, 1).time_status,
                   IBX_OK);
}

// The copy of the entry at its extents has constants where the entry loads.
static void the_prover_sees_the_extents(void **state) {
  (void)state;
  const ibx_sim_extent one[] = {{"limits[0]", 5}};
  outcome o = run(one, 1);
  if (o.prove_status != IBX_OK) fail_msg("%s", o.err.message);
  assert_int_equal(run(NULL, 0).prove_status, IBX_OK);
  const ibx_sim_extent none[] = {{"limits", 0}};
  assert_int_equal(run(none, 1).prove_status, IBX_OK);
}

static void an_entry_that_loads_nothing_is_not_copied(void **state) {
  (void)state;
  const char plain[] = ".entry main\n.buffer a sbuf bytes=32\n"
                       ".engine vector\nmemset a:f32 p=128 size(8)\n";
  ibx_error err = {0};
  ibx_asm_program *program = NULL;
  ibx_str str = {.data = plain, .len = sizeof(plain) - 1};
  assert_int_equal(ibx_asm_parse(str, "p.s", NULL, 0, &program, &err), IBX_OK);
  ibx_entry *fixed = NULL;
  const ibx_entry *entry = ibx_asm_get(program)->entries;
  assert_int_equal(ibx_sim_fix_extents(entry, NULL, 0, &fixed, &err), IBX_OK);
  assert_null(fixed);
  ibx_sim_free_fixed(fixed);
  ibx_asm_destroy(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_extents_loops_take_their_limits),
      cmocka_unit_test(a_buffer_names_all_that_is_loaded_from_it),
      cmocka_unit_test(an_offset_names_one_word),
      cmocka_unit_test(an_input_names_what_it_is_copied_to),
      cmocka_unit_test(the_last_extent_counts),
      cmocka_unit_test(unknown_names_are_refused),
      cmocka_unit_test(an_extent_needs_a_name),
      cmocka_unit_test(more_than_the_limit_is_refused),
      cmocka_unit_test(the_prover_sees_the_extents),
      cmocka_unit_test(an_entry_that_loads_nothing_is_not_copied),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
