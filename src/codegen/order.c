// SPDX-License-Identifier: Apache-2.0
//
// Scheduling and synchronisation from end to end. Comes in: steps in program
// order with final addresses. Goes out: five streams of instructions that
// compute the same, in any order that their semaphores allow.
//
// No rule of choice among ready steps is the best for all programs, so several
// are tried, as many as the size of the program allows, and the time simulator
// says which streams are the fastest.

#include "codegen/sync.h"
#include "imbrex/sim.h"

// Steps that are scheduled at most in all trials together: a large program has
// one trial, one of ten thousand steps has all.
enum { MOST_WORK = 100000 };

// The ones that win most often first.
static const ibx_schedule_options trials[] = {
    {.policy = IBX_SCHEDULE_PROGRAM,
     .backlog_startups = 1,
     .stores_on_sync = true},
    {.policy = IBX_SCHEDULE_PATH,
     .backlog_startups = 1,
     .stores_on_sync = true},
    {.policy = IBX_SCHEDULE_PROGRAM,
     .backlog_startups = 2,
     .stores_on_sync = true},
    {.policy = IBX_SCHEDULE_PATH,
     .backlog_startups = 2,
     .stores_on_sync = true},
    {.policy = IBX_SCHEDULE_PROGRAM, .backlog_startups = 1},
    {.policy = IBX_SCHEDULE_PATH, .backlog_startups = 1},
};

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

typedef struct search {
  const ibx_units *units;
  uint64_t best_ps;
  const ibx_schedule_options *best;
} search;

static ibx_status make_streams(const ibx_units *units,
                               const ibx_schedule_options *options,
                               ibx_arena *arena,
                               ibx_stream streams[IBX_ENGINE_COUNT],
                               ibx_error *err) {
  ibx_arena scratch = {0};
  ibx_schedule schedule;
  ibx_schedule_make(units, options, &scratch, &schedule);
  ibx_status status = ibx_sync_make(units, &schedule, arena, streams, err);
  ibx_arena_reset(&scratch);
  return status;
}

static ibx_status time_streams(const ibx_mir *mir, ibx_entry *entry,
                               uint64_t *out_ps, ibx_error *err) {
  // The simulator reads the declarations only.
  entry->buffers = (ibx_buffer_decl *)(uintptr_t)mir->buffers;
  entry->buffer_count = mir->buffer_count;
  const ibx_program_data program = {
      .machine = mir->machine, .entries = entry, .entry_count = 1};
  ibx_sim_time time;
  IBX_TRY(ibx_sim_time_entry(&program, entry, NULL, NULL, &time, err));
  *out_ps = time.total_ps;
  return IBX_OK;
}

static ibx_status try_options(search *s, const ibx_schedule_options *options,
                              ibx_error *err) {
  ibx_arena scratch = {0};
  ibx_entry entry = {.name = "trial"};
  uint64_t total_ps = 0;
  ibx_status status =
      make_streams(s->units, options, &scratch, entry.streams, err);
  if (status == IBX_OK) {
    status = time_streams(s->units->mir, &entry, &total_ps, err);
  }
  ibx_arena_reset(&scratch);
  if (status == IBX_OK && total_ps < s->best_ps) {
    s->best_ps = total_ps;
    s->best = options;
  }
  return status;
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
  search s = {.units = &units, .best_ps = UINT64_MAX, .best = &trials[0]};
  size_t count = MOST_WORK / (mir->step_count + 1);
  if (mir->single_trial) count = 0;
  for (size_t i = 0; i < IBX_COUNT_OF(trials) && i < count && count > 1; i++) {
    IBX_TRY(try_options(&s, &trials[i], err));
  }
  return make_streams(&units, s.best, arena, streams, err);
}

ibx_status ibx_codegen_schedule(const ibx_mir *mir, ibx_arena *arena,
                                ibx_stream streams[IBX_ENGINE_COUNT],
                                ibx_error *err) {
  ibx_arena scratch = {0};
  ibx_status status = order(mir, &scratch, arena, streams, err);
  ibx_arena_reset(&scratch);
  return status;
}
