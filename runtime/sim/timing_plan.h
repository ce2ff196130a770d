// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TIMING_PLAN_H
#define IBX_TIMING_PLAN_H

/// \file
/// What the parts of the planner share: timing_plan.c plans instructions,
/// timing_twin.c finds those that were planned before, timing_loops.c matches
/// loops.

#include "timing.h"

#include <assert.h>

// Costs repeat, divisions are slow: the last times by their cycles.
enum { IBX_RECENT_TIMES = 64 };

typedef struct ibx_recent_time {
  uint64_t cycles, ps;
} ibx_recent_time;

enum { IBX_TWINS = 256 };

typedef struct ibx_twin {
  const ibx_insn *insn; ///< NULL: none yet
  const ibx_timed_insn *timed;
} ibx_twin;

typedef struct ibx_planner {
  const ibx_machine *machine;
  const ibx_entry *entry;
  const ibx_buffer_place *places;
  ibx_timing_plan *plan;
  ibx_dma_piece *pieces; ///< room for those of one DMA
  ibx_error *err;
  ibx_engine engine;
  size_t index;
  size_t loop_count; ///< loops of the stream
  uint64_t most_executed;
  ibx_recent_time recent[IBX_RECENT_TIMES]; ///< of the engine's clock
  ibx_twin twins[IBX_TWINS];                ///< by ibx_plan_twin_place()
} ibx_planner;

/// Reports what is wrong with the instruction at hand.
ibx_status ibx_plan_refuse(const ibx_planner *p, const char *what);

/// Where twins of `insn` are kept, below IBX_TWINS.
size_t ibx_plan_twin_place(const ibx_insn *insn);
/// Whether `insn` can be planned as `planned` was, which is no control
/// instruction.
bool ibx_plan_is_twin(const ibx_planner *p, const ibx_insn *planned,
                      const ibx_insn *insn);

/// Matches the loops of the engine's stream, all of it planned.
ibx_status ibx_plan_loops(ibx_planner *p);

/// The product, or a number that is too large for anything.
static inline uint64_t ibx_plan_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  return ibx_mul_size(a, b, &product) ? product : UINT64_MAX / 2;
}

#endif
