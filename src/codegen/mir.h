// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_MIR_H
#define IBX_MIR_H

/// \file
/// Machine IR: the instructions of one entry in program order, before they are
/// spread over engines and synchronised. In program order, executed one after
/// the other, they compute the right result; schedule and sync may only
/// reorder what does not depend on each other through memory.

#include "imbrex/program.h"

/// One way to do a step. Steps that several engines can do (a PSUM evacuation
/// on Vector or Scalar) carry one variant for each; the scheduler picks.
typedef struct ibx_mir_variant {
  ibx_insn insn; ///< no waits, no signals; a DMA has queue and dge 0
  ibx_engine engine;
} ibx_mir_variant;

enum { IBX_MIR_VARIANTS = 3 };

/// One step. `glued` steps run directly before the next step on the same engine
/// with nothing in between (load_stationary and the multiplies that use it).
typedef struct ibx_mir_step {
  ibx_mir_variant variant[IBX_MIR_VARIANTS];
  uint8_t variant_count;
  bool glued;
  bool is_dma; ///< variant[0] is a DMA; any engine may issue it
  uint32_t node;
} ibx_mir_step;

typedef struct ibx_mir {
  const ibx_machine *machine;
  ibx_mir_step *steps;
  size_t step_count;
  const ibx_buffer_decl *buffers; ///< with their final places
  size_t buffer_count;
  bool single_trial; ///< take the first schedule, do not search for the fastest
} ibx_mir;

/// Orders the steps, picks engines and DMA issuers, inserts the semaphores and
/// fills the five streams of `*entry` (arrays from `arena`). The streams are
/// deterministic, free of races by construction, and proved again by the
/// prover. Fails with OUT_OF_CAPACITY when the semaphores do not suffice, which
/// waiting earlier always avoids, so in practice with INTERNAL only.
struct ibx_arena;
IBX_NODISCARD ibx_status
ibx_codegen_schedule(const ibx_mir *mir, struct ibx_arena *arena,
                     ibx_stream streams[IBX_ENGINE_COUNT], ibx_error *err);

#endif
