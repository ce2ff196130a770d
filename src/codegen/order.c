// SPDX-License-Identifier: Apache-2.0
//
// Scheduling and synchronisation from end to end. Comes in: steps in program
// order with final addresses. Goes out: five streams of instructions that
// compute the same, in any order that their semaphores allow.
//
// Two ways to choose among ready steps are tried, as neither is better always;
// the one that is expected to end first is kept.

#include "codegen/sync.h"

static ibx_status check_step(const ibx_mir *mir, size_t index, ibx_error *err) {
  const ibx_mir_step *step = &mir->steps[index];
  bool is_sound = step->variant_count >= 1 &&
                  step->variant_count <= IBX_MIR_VARIANTS &&
                  !(step->is_dma && step->glued);
  for (size_t v = 0; is_sound && v < step->variant_count; v++) {
    const ibx_insn_info *info = ibx_insn_get(step->variant[v].insn.opcode);
    is_sound = step->variant[v].engine < IBX_ENGINE_COUNT && info &&
               (info->format == IBX_FORMAT_dma) == step->is_dma;
  }
  if (is_sound) return IBX_OK;
  return IBX_FAIL(
      err, INTERNAL,
      "step %lu has %u variants, glues a DMA, or names an engine or "
      "instruction that is none",
      (unsigned long)index, step->variant_count);
}

static ibx_status order(const ibx_mir *mir, ibx_arena *scratch,
                        ibx_arena *arena, ibx_stream streams[IBX_ENGINE_COUNT],
                        ibx_error *err) {
  for (size_t i = 0; i < mir->step_count; i++) {
    IBX_TRY(check_step(mir, i, err));
  }
  ibx_depend depend;
  IBX_TRY(ibx_depend_build(mir, scratch, &depend, err));
  ibx_units units;
  IBX_TRY(ibx_units_make(mir, &depend, scratch, &units, err));
  ibx_schedule best = {.total_ps = UINT64_MAX};
  for (int p = 0; p < IBX_SCHEDULE_POLICY_COUNT; p++) {
    ibx_schedule next;
    ibx_schedule_make(&units, (ibx_schedule_policy)p, scratch, &next);
    if (next.total_ps < best.total_ps) best = next;
  }
  return ibx_sync_make(&units, &best, arena, streams, err);
}

ibx_status ibx_codegen_schedule(const ibx_mir *mir, ibx_arena *arena,
                                ibx_stream streams[IBX_ENGINE_COUNT],
                                ibx_error *err) {
  ibx_arena scratch = {0};
  ibx_status status = order(mir, &scratch, arena, streams, err);
  ibx_arena_reset(&scratch);
  return status;
}
