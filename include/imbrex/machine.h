// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_MACHINE_H
#define IBX_MACHINE_H

/// \file
/// The targets and their numbers, from machine.def. Pure data.

#include "imbrex/base.h"

IBX_C_BEGIN

typedef enum ibx_target {
#define IBX_TARGET(name, number, sentence) IBX_TARGET_##name = (number),
#include "imbrex/machine.def"
} ibx_target;

/// The five sequencers of a core, in the order of a program's streams.
typedef enum ibx_engine {
  IBX_ENGINE_TENSOR,
  IBX_ENGINE_VECTOR,
  IBX_ENGINE_SCALAR,
  IBX_ENGINE_GPSIMD,
  IBX_ENGINE_SYNC,
  IBX_ENGINE_COUNT
} ibx_engine;

typedef enum ibx_space {
  IBX_SPACE_HBM,
  IBX_SPACE_SBUF,
  IBX_SPACE_PSUM,
  IBX_SPACE_COUNT
} ibx_space;

enum {
  IBX_PARTITIONS = 128,
  IBX_SEMAPHORES = 256, ///< of a core: driver headers
  IBX_REGISTERS = 64,   ///< of an engine, 32 bits each: ISA register_alloc
  IBX_LOOP_REGISTERS = 4,
  IBX_PSUM_BANKS = 8
};

/// One target's facts; units and sources stand in machine.def.
typedef struct ibx_machine {
  ibx_target target;
  const char *name;
  const char *sentence;
#define IBX_FACT(field, unit, v2, v3, v4, mark, source) uint32_t field;
#include "imbrex/machine.def"
} ibx_machine;

typedef struct ibx_fact_info {
  const char *name;
  const char *unit;
  const char *source;
  char mark;
  uint32_t values[3]; ///< ibx2, ibx3, ibx4
} ibx_fact_info;

/// Lends the machine of `target`; NULL when there is none.
IBX_API const ibx_machine *ibx_machine_get(ibx_target target);

/// Lends the machine of that name ("ibx3"); NULL when there is none.
IBX_API const ibx_machine *ibx_machine_find(const char *name);

/// Lends fact `index` as a row for documentation; NULL past the last.
IBX_API const ibx_fact_info *ibx_machine_fact(size_t index);

/// "tensor", "vector", "scalar", "gpsimd", "sync".
IBX_API const char *ibx_engine_name(ibx_engine engine);

/// "hbm", "sbuf", "psum".
IBX_API const char *ibx_space_name(ibx_space space);

/// Clock of an engine in MHz.
IBX_API uint32_t ibx_machine_clock_mhz(const ibx_machine *machine,
                                       ibx_engine engine);

/// Picoseconds of `cycles` of `engine`, rounded up.
IBX_API uint64_t ibx_machine_cycles_to_ps(const ibx_machine *machine,
                                          ibx_engine engine, uint64_t cycles);

IBX_C_END
#endif
