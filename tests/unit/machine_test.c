// SPDX-License-Identifier: Apache-2.0
//
// The targets and their facts: lookups, completeness of the rows, and the
// conversion of cycles to time.

#include "imbrex/machine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static const char *const names[] = {"ibx2", "ibx3", "ibx4"};

static void targets_are_found_by_name_and_number(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    const ibx_machine *machine = ibx_machine_find(names[i]);
    assert_non_null(machine);
    assert_string_equal(machine->name, names[i]);
    assert_ptr_equal(ibx_machine_get(machine->target), machine);
    assert_true(strlen(machine->sentence) > 0);
  }
  assert_null(ibx_machine_find("ibx1"));
  assert_null(ibx_machine_find(""));
  assert_null(ibx_machine_find(NULL));
  assert_null(ibx_machine_get((ibx_target)0));
  assert_null(ibx_machine_get((ibx_target)99));
}

// The struct is made of the facts in order, all of 32 bits, at its end.
static uint32_t field_at(const ibx_machine *machine, size_t index) {
  uint32_t value;
  size_t first = offsetof(ibx_machine, sbuf_bytes);
  memcpy(&value, (const char *)machine + first + index * sizeof value,
         sizeof value);
  return value;
}

static void every_fact_has_unit_mark_source_and_value(void **state) {
  (void)state;
  size_t count = 0;
  for (; ibx_machine_fact(count); count++) {
    const ibx_fact_info *fact = ibx_machine_fact(count);
    assert_true(strlen(fact->name) > 0 && strlen(fact->unit) > 0);
    assert_true(strlen(fact->source) > 0);
    assert_true(fact->mark != '\0' && strchr("DMRC", fact->mark) != NULL);
    for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
      const ibx_machine *machine = ibx_machine_find(names[i]);
      assert_int_equal(field_at(machine, count), fact->values[i]);
    }
  }
  assert_true(count > 40);
  assert_null(ibx_machine_fact(SIZE_MAX));
}

static void clocks_are_those_of_the_engines(void **state) {
  (void)state;
  const ibx_machine *m = ibx_machine_find("ibx3");
  const uint32_t mhz[IBX_ENGINE_COUNT] = {2400, 960, 1200, 1200, 1200};
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    assert_int_equal(ibx_machine_clock_mhz(m, (ibx_engine)e), mhz[e]);
  }
}

static void cycles_round_up_to_picoseconds(void **state) {
  (void)state;
  const ibx_machine *m = ibx_machine_find("ibx3");
  const struct {
    uint64_t cycles, ps;
  } tensor[] = {
      {0, 0},          {1, 417},
      {12, 5000},      {512, 213334},
      {2400, 1000000}, {UINT64_C(2400000000001), UINT64_C(1000000000000417)},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(tensor); i++) {
    uint64_t ps =
        ibx_machine_cycles_to_ps(m, IBX_ENGINE_TENSOR, tensor[i].cycles);
    assert_int_equal(ps, tensor[i].ps);
  }
  for (uint64_t cycles = 0; cycles < 5000; cycles++) {
    uint64_t ps = ibx_machine_cycles_to_ps(m, IBX_ENGINE_VECTOR, cycles);
    assert_true(ps * 960 >= cycles * 1000000);
    assert_true(ps * 960 < cycles * 1000000 + 960);
  }
}

static void names_cover_the_enumerators(void **state) {
  (void)state;
  const char *const engines[] = {"tensor", "vector", "scalar", "gpsimd",
                                 "sync"};
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    assert_string_equal(ibx_engine_name((ibx_engine)e), engines[e]);
  }
  const char *const spaces[] = {"hbm", "sbuf", "psum"};
  for (int s = 0; s < IBX_SPACE_COUNT; s++) {
    assert_string_equal(ibx_space_name((ibx_space)s), spaces[s]);
  }
  assert_string_equal(ibx_engine_name((ibx_engine)77), "unknown");
  assert_string_equal(ibx_space_name((ibx_space)77), "unknown");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(targets_are_found_by_name_and_number),
      cmocka_unit_test(every_fact_has_unit_mark_source_and_value),
      cmocka_unit_test(clocks_are_those_of_the_engines),
      cmocka_unit_test(cycles_round_up_to_picoseconds),
      cmocka_unit_test(names_cover_the_enumerators),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
