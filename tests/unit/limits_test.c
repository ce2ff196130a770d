// SPDX-License-Identifier: Apache-2.0
//
// What a stranger's program may cost: the prover and both simulators end where
// the caller's limits say, with a message, and pay no attention to them before.

#include "imbrex/prove.h"
#include "imbrex/sim.h"
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { TRIPS = 1000, EXECUTED = 1 + 2 * TRIPS, ELEMENTS = 64 };

// Vector fills 128 partitions of `ELEMENTS` elements, over and over.
static void make_loop(tiny *t) {
  tiny_init(t);
  uint32_t a = tiny_sbuf(t, "a", 0, 4 * ELEMENTS);
  ibx_insn *loop = tiny_add(t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop));
  loop->count = TRIPS;
  loop->reg[0] = 0;
  loop->reg[1] = IBX_NO_REGISTER;
  tiny_zero(t, IBX_ENGINE_VECTOR, a, 0, ELEMENTS);
  tiny_add(t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
}

static ibx_status prove(const tiny *t, ibx_prove_limits limits,
                        ibx_error *err) {
  return ibx_prove_entry_within(&t->program, &t->entry, &limits, NULL, err);
}

static void a_proof_ends_where_its_limits_say(void **state) {
  (void)state;
  tiny t;
  ibx_error err = {.message = ""};
  make_loop(&t);
  assert_int_equal(
      prove(&t, (ibx_prove_limits){.instructions = EXECUTED}, &err), IBX_OK);
  assert_int_equal(
      prove(&t, (ibx_prove_limits){.instructions = EXECUTED - 1}, &err),
      IBX_UNPROVEN);
  assert_non_null(strstr(err.message, "too long to prove"));
  assert_int_equal(prove(&t, (ibx_prove_limits){.work = 100}, &err),
                   IBX_UNPROVEN);
  assert_non_null(strstr(err.message, "too long"));
  assert_int_equal(prove(&t, (ibx_prove_limits){.work = UINT64_MAX}, &err),
                   IBX_OK);
}

static ibx_status run(const tiny *t, uint64_t most_work, ibx_error *err) {
  ibx_sim *sim = NULL;
  const ibx_sim_options options = {.most_work = most_work};
  const ibx_sim_memory memory = {0};
  ibx_status status = ibx_sim_create(&t->program, &t->entry, &sim, err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, err);
  ibx_sim_destroy(sim);
  return status;
}

// An instruction is one unit, and so are 64 elements, in every partition.
static void a_run_ends_where_its_limit_says(void **state) {
  (void)state;
  const uint64_t work = EXECUTED + TRIPS * (uint64_t)IBX_PARTITIONS;
  tiny t;
  ibx_error err = {.message = ""};
  make_loop(&t);
  assert_int_equal(run(&t, 0, &err), IBX_OK);
  assert_int_equal(run(&t, work, &err), IBX_OK);
  assert_int_equal(run(&t, work - 1, &err), IBX_DEVICE_ERROR);
  assert_non_null(strstr(err.message, "too long"));
}

static ibx_status take_time(const tiny *t, uint64_t most, ibx_error *err) {
  ibx_sim_time time;
  const ibx_sim_time_options options = {.most_instructions = most};
  return ibx_sim_time_entry_with(&t->program, &t->entry, &options, &time, err);
}

static void time_ends_where_its_limit_says(void **state) {
  (void)state;
  tiny t;
  ibx_error err = {.message = ""};
  make_loop(&t);
  assert_int_equal(take_time(&t, 0, &err), IBX_OK);
  assert_int_equal(take_time(&t, EXECUTED, &err), IBX_OK);
  assert_int_not_equal(take_time(&t, EXECUTED - 1, &err), IBX_OK);
  assert_non_null(strstr(err.message, "more instructions"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_proof_ends_where_its_limits_say),
      cmocka_unit_test(a_run_ends_where_its_limit_says),
      cmocka_unit_test(time_ends_where_its_limit_says),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
