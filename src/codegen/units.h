// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_UNITS_H
#define IBX_UNITS_H

/// \file
/// What the scheduler places: a unit is one step or a chain of glued ones, with
/// what it costs on each engine that can do it, and how urgent it is.

#include "codegen/depend.h"

/// The cost of one step on one engine.
typedef struct ibx_step_cost {
  uint64_t issue_ps;  ///< until the engine can start the next one
  uint64_t result_ps; ///< until its writes are visible
  uint8_t variant;
  uint8_t table; ///< activation table set
  uint8_t banks; ///< of PSUM that it touches, a bit for each
} ibx_step_cost;

/// The pieces of a DMA, taken as equal.
typedef struct ibx_dma_cost {
  uint64_t piece_ps;
  uint32_t pieces;
} ibx_dma_cost;

typedef struct ibx_unit {
  uint32_t first, count; ///< steps
  uint32_t use;          ///< DMA: first step that reads it; else its own
  uint64_t path_ps;      ///< from its start to the end of everything
  uint8_t engines;       ///< a bit for each engine that may take it
  bool is_dma;
  bool feeds;   ///< some other step comes after it
  bool is_read; ///< some other step reads its result
  bool is_fed;  ///< DMA: moves what an engine made
} ibx_unit;

typedef struct ibx_units {
  const ibx_mir *mir;
  const ibx_depend *depend;
  ibx_buffer_place *places;
  ibx_unit *units;
  size_t count;
  uint32_t *unit_of;    ///< each step
  ibx_step_cost *costs; ///< IBX_MIR_VARIANTS for each step
  ibx_dma_cost *dma;    ///< of each step that is one
  uint32_t *first_user; ///< later steps that depend on step i:
  uint32_t *users;      ///< users[first_user[i] .. first_user[i + 1]), edges
  uint64_t semaphore_ps[IBX_ENGINE_COUNT]; ///< a signal to that engine
} ibx_units;

/// Fails with INTERNAL when a chain cannot run on one engine.
IBX_NODISCARD ibx_status ibx_units_make(const ibx_mir *mir,
                                        const ibx_depend *depend,
                                        ibx_arena *arena, ibx_units *out,
                                        ibx_error *err);

/// The cost of a step on an engine that has a variant of it, or of issuing it.
const ibx_step_cost *ibx_units_cost(const ibx_units *units, uint32_t step,
                                    ibx_engine engine);

/// Gathers need software descriptors, which only GpSimd makes; the descriptors
/// of all other DMAs stand in HBM (hardware.md section 6, "Issuing DMAs").
static inline bool ibx_units_is_gather(const ibx_mir_step *step) {
  return step->is_dma && step->variant[0].insn.opcode == IBX_OP_dma_gather;
}

#endif
