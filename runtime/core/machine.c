// SPDX-License-Identifier: Apache-2.0
//
// The targets as constant structs and their facts as rows, both from
// machine.def. Adding a target is a column there and a struct here.

#include "imbrex/machine.h"

#include <string.h>

#define IBX_TARGET(name, number, sentence)                                     \
  static const char name##_sentence[] = sentence;
#include "imbrex/machine.def"

static const ibx_machine machines[] = {
    {
        .target = IBX_TARGET_ibx2,
        .name = "ibx2",
        .sentence = ibx2_sentence,
#define IBX_FACT(field, unit, v2, v3, v4, mark, source) .field = (v2),
#include "imbrex/machine.def"
    },
    {
        .target = IBX_TARGET_ibx3,
        .name = "ibx3",
        .sentence = ibx3_sentence,
#define IBX_FACT(field, unit, v2, v3, v4, mark, source) .field = (v3),
#include "imbrex/machine.def"
    },
    {
        .target = IBX_TARGET_ibx4,
        .name = "ibx4",
        .sentence = ibx4_sentence,
#define IBX_FACT(field, unit, v2, v3, v4, mark, source) .field = (v4),
#include "imbrex/machine.def"
    },
};

static const ibx_fact_info facts[] = {
#define IBX_FACT(field, fact_unit, v2, v3, v4, fact_mark, fact_source)         \
  {.name = #field,                                                             \
   .unit = (fact_unit),                                                        \
   .source = (fact_source),                                                    \
   .mark = #fact_mark[0],                                                      \
   .values = {(v2), (v3), (v4)}},
#include "imbrex/machine.def"
};

const ibx_machine *ibx_machine_get(ibx_target target) {
  for (size_t i = 0; i < IBX_COUNT_OF(machines); i++) {
    if (machines[i].target == target) return &machines[i];
  }
  return NULL;
}

const ibx_machine *ibx_machine_find(const char *name) {
  if (!name) return NULL;
  for (size_t i = 0; i < IBX_COUNT_OF(machines); i++) {
    if (strcmp(machines[i].name, name) == 0) return &machines[i];
  }
  return NULL;
}

const ibx_fact_info *ibx_machine_fact(size_t index) {
  return index < IBX_COUNT_OF(facts) ? &facts[index] : NULL;
}

const char *ibx_engine_name(ibx_engine engine) {
  switch (engine) {
  case IBX_ENGINE_TENSOR: return "tensor";
  case IBX_ENGINE_VECTOR: return "vector";
  case IBX_ENGINE_SCALAR: return "scalar";
  case IBX_ENGINE_GPSIMD: return "gpsimd";
  case IBX_ENGINE_SYNC: return "sync";
  case IBX_ENGINE_COUNT: break;
  }
  return "unknown";
}

const char *ibx_space_name(ibx_space space) {
  switch (space) {
  case IBX_SPACE_HBM: return "hbm";
  case IBX_SPACE_SBUF: return "sbuf";
  case IBX_SPACE_PSUM: return "psum";
  case IBX_SPACE_COUNT: break;
  }
  return "unknown";
}

uint32_t ibx_machine_clock_mhz(const ibx_machine *machine, ibx_engine engine) {
  switch (engine) {
  case IBX_ENGINE_TENSOR: return machine->tensor_mhz;
  case IBX_ENGINE_VECTOR: return machine->vector_mhz;
  case IBX_ENGINE_SCALAR: return machine->scalar_mhz;
  case IBX_ENGINE_GPSIMD: return machine->gpsimd_mhz;
  case IBX_ENGINE_SYNC:
  case IBX_ENGINE_COUNT: break;
  }
  return machine->sync_mhz;
}

uint64_t ibx_machine_cycles_to_ps(const ibx_machine *machine, ibx_engine engine,
                                  uint64_t cycles) {
  // cycles / MHz is microseconds. Whole microseconds first, so that the product
  // stays small for every cycle count that a run can reach.
  const uint64_t ps_per_us = 1000000;
  uint64_t mhz = ibx_machine_clock_mhz(machine, engine);
  uint64_t rest = cycles % mhz * ps_per_us;
  return cycles / mhz * ps_per_us + (rest + mhz - 1) / mhz;
}
