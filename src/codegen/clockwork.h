// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CLOCKWORK_H
#define IBX_CLOCKWORK_H

/// \file
/// When things are expected to happen while the scheduler places them: a small
/// model of the engines and the DMA engines, after the rules of the simulator
/// but without instruction fetch and ports.

#include "codegen/units.h"

enum { IBX_ROW_GROUPS_MOST = 4, IBX_TABLES = 8 };

typedef struct ibx_clockwork {
  const ibx_units *units;
  uint64_t next_ps[IBX_ENGINE_COUNT]; ///< when the engine comes to a new step
  uint64_t done_ps[IBX_ENGINE_COUNT]; ///< when all its steps are complete
  uint64_t interval_ps;
  uint64_t scalar_dependent_ps;
  uint8_t table;                           ///< loaded on Scalar
  uint64_t tensor_bank_ps[IBX_PSUM_BANKS]; ///< Tensor writes it until then
  uint64_t other_bank_ps[IBX_PSUM_BANKS];  ///< Vector or Scalar use it
  // The tensor array.
  bool has_shadow;
  uint64_t shadow_ps;
  uint64_t row_free_ps[IBX_ROW_GROUPS_MOST];
  uint64_t stream_end_ps; ///< of the last multiply
  uint64_t warmth_ps; ///< work gathered towards the full rate, or left of it
  bool is_warm;
  // DMA engines and rings.
  uint64_t *dma_free_ps;
  uint64_t *ring_ps; ///< completions of the last DMAs of each queue
  size_t *ring_next;
  uint32_t next_dma_engine;
  // Of each step that is placed.
  uint8_t *engine;
  uint64_t *result_ps; ///< its writes are visible to its own engine
  uint64_t *complete_ps;
} ibx_clockwork;

void ibx_clockwork_init(ibx_clockwork *clock, const ibx_units *units,
                        ibx_arena *arena);

/// When the dependences of a unit let it start on `engine`; all it depends on is
/// placed.
uint64_t ibx_clockwork_ready(const ibx_clockwork *clock, const ibx_unit *unit,
                             ibx_engine engine);

/// When the unit would end on `engine` if it took it next.
uint64_t ibx_clockwork_finish(const ibx_clockwork *clock, const ibx_unit *unit,
                              ibx_engine engine);

/// Places one step of the unit at the end of `engine`; returns its start.
/// `queue` is that of a DMA.
uint64_t ibx_clockwork_place(ibx_clockwork *clock, uint32_t step,
                             ibx_engine engine, uint8_t queue);

/// How long a DMA that arrives at `now_ps` would wait for a DMA engine.
uint64_t ibx_clockwork_backlog(const ibx_clockwork *clock, uint64_t now_ps);

#endif
