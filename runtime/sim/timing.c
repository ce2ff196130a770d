// SPDX-License-Identifier: Apache-2.0
//
// The time simulator: five in-order sequencers over shared semaphores, DMA
// engines, PSUM banks and the tensor array. In: the streams of an entry. Out:
// when everything ended and who was busy. No data are touched.
//
// Each sequencer has one candidate: the earliest time at which it can take its
// next step, as far as is known. The least candidate of all is taken next, so
// steps happen in order of time, and what a step adds (a signal, an occupied
// bank) lies in the future of all that happened. A candidate that finds its
// resource taken is put off and comes again.
//
// Rules, from hardware.md sections 3, 4 and 6:
//   issue     the next instruction of an engine starts issue_ps after this one
//   result    an instruction that touches what an earlier one of its engine
//             still writes waits for its result, on Scalar for
//             scalar_dependent cycles more
//   complete  in order on each engine: a signal tells that all before it on
//             its engine is done; DMA pieces complete and signal one by one
//   signal    reaches the waiter semaphore_cycles (of the waiter) later, that
//             of a DMA piece dma_completion_ps later
//   wait      consumes: starts at >= value and subtracts it
//   bank      an access of Vector or Scalar and a write of Tensor to the same
//             PSUM bank exclude each other
//   ports     where port_sharing: Vector and Scalar on PSUM, Vector and GpSimd
//             on SBUF exclude each other
//   DMA       arrives at the DMA engines when its descriptors are made: at once
//             with static rings, else after its issue cost
//   fetch     every executed word is read from HBM, in halves of the prefetch
//             buffer, also in loops; both halves are full at the first issue
//   table     an activation of another table set first loads it

#include "timing.h"
#include "extent.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static ibx_engine least_candidate(const ibx_timer *t) {
  int least = 0;
  for (int e = 1; e < IBX_ENGINE_COUNT; e++) {
    if (t->candidate_ps[e] < t->candidate_ps[least]) least = e;
  }
  return (ibx_engine)least;
}

static ibx_status deadlock(const ibx_timer *t, ibx_error *err) {
  char text[IBX_ERROR_MESSAGE_BYTES] = "";
  size_t len = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_sequencer *s = &t->engines[e];
    if (s->index >= s->count || len >= sizeof(text)) continue;
    const ibx_insn *insn = &s->insns[s->index];
    int added = snprintf(
        text + len, sizeof(text) - len,
        "%s%s waits for s%u>=%u (it has %" PRIu64 ") at instruction %zu",
        len == 0 ? "" : ", ", ibx_engine_name((ibx_engine)e),
        insn->wait_semaphore, insn->wait_value,
        ibx_timed_semaphore_value(&t->semaphores[insn->wait_semaphore]),
        s->index);
    len += added < 0 ? 0 : (size_t)added;
  }
  return IBX_FAIL(err, DEVICE_ERROR, "deadlock: %s", text);
}

static void step(ibx_timer *t, ibx_engine engine) {
  ibx_sequencer *s = &t->engines[engine];
  uint64_t now_ps = t->candidate_ps[engine];
  if (s->is_arriving) {
    ibx_timed_arrive(t, engine, now_ps);
    return;
  }
  uint64_t ready_ps = ibx_timed_ready(t, engine, now_ps);
  if (ready_ps > now_ps) {
    s->hold_ps = ready_ps;
    ibx_timed_refresh(t, engine);
  } else {
    ibx_timed_issue(t, engine, now_ps);
  }
}

static ibx_status run(ibx_timer *t, ibx_error *err) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    ibx_timed_come(t, (ibx_engine)e);
  }
  for (;;) {
    ibx_engine engine = least_candidate(t);
    uint64_t now_ps = t->candidate_ps[engine];
    if (now_ps == IBX_TIME_NEVER) break;
    if (t->events.count > 0) {
      ibx_event_queue_flush(&t->events, now_ps == 0 ? 0 : now_ps - 1);
    }
    step(t, engine);
    if (t->is_short) {
      return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for signals or events");
    }
  }
  ibx_event_queue_flush(&t->events, IBX_TIME_NEVER);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (t->engines[e].index < t->engines[e].count) return deadlock(t, err);
  }
  return IBX_OK;
}

// --- set-up ------------------------------------------------------------------------------

// A semaphore's signals travel to the slowest of the engines that wait for it.
static void init_signals(ibx_timer *t) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    uint64_t travel_ps = ibx_machine_cycles_to_ps(t->machine, (ibx_engine)e,
                                                  t->machine->semaphore_cycles);
    for (size_t i = 0; i < IBX_SEMAPHORES; i++) {
      if (!t->plan.is_waiter[e][i]) continue;
      t->signal_ps[i] = ibx_timed_later(t->signal_ps[i], travel_ps);
    }
  }
}

static bool init_engine(ibx_timer *t, const ibx_entry *entry,
                        ibx_engine engine) {
  ibx_sequencer *s = &t->engines[engine];
  s->insns = entry->streams[engine].insns;
  s->count = entry->streams[engine].count;
  s->timed = t->plan.insns[engine];
  s->fetched_words = t->half_words;
  s->frames = calloc(t->plan.loop_depth[engine] + 1, sizeof(*s->frames));
  return s->frames != NULL;
}

// Time alone knows no data: a register is loaded with its extent.
static ibx_status init_extents(ibx_timer *t, const ibx_entry *entry,
                               const ibx_sim_time_options *options,
                               ibx_error *err) {
  if (options->extent_count == 0) return IBX_OK; // the plan has the limits
  uint32_t *counts[IBX_ENGINE_COUNT];
  ibx_status status = ibx_extents_find(entry, options->extents,
                                       options->extent_count, counts, err);
  for (int e = 0; e < IBX_ENGINE_COUNT && status == IBX_OK; e++) {
    for (size_t i = 0; counts[e] && i < entry->streams[e].count; i++) {
      if (entry->streams[e].insns[i].opcode != IBX_OP_register_load) continue;
      t->plan.insns[e][i].count = counts[e][i];
    }
  }
  ibx_extents_free(counts);
  return status;
}

ibx_status ibx_timer_init(ibx_timer *t, const ibx_program_data *program,
                          const ibx_entry *entry,
                          const ibx_sim_time_options *options, ibx_error *err) {
  *t = (ibx_timer){
      .share = ibx_machine_share(program->machine, ibx_entry_cores(entry)),
      .events = {.deliver = options->on_event, .user = options->user}};
  const ibx_machine *machine = t->machine = &t->share;
  t->half_words = machine->fetch_bytes / 2 / IBX_WORD_BYTES;
  t->dependent_ps = ibx_machine_cycles_to_ps(machine, IBX_ENGINE_SCALAR,
                                             machine->scalar_dependent);
  t->interval_ps = ibx_machine_cycles_to_ps(machine, IBX_ENGINE_TENSOR,
                                            machine->min_interval);
  t->all_rows = (uint8_t)((1u << IBX_PARTITIONS / machine->row_tile_min) - 1);
  ibx_timed_array_init(&t->array, machine);
  IBX_TRY(ibx_timing_plan_init(machine, entry, options->most_instructions,
                               &t->plan, err));
  t->pieces = calloc(machine->dma_engines, sizeof(*t->pieces));
  bool has_memory = ibx_timed_dma_init(&t->dma, machine) && t->pieces;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!init_engine(t, entry, (ibx_engine)e)) has_memory = false;
  }
  if (!has_memory) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the sequencers");
  }
  init_signals(t);
  return init_extents(t, entry, options, err);
}

void ibx_timer_fini(ibx_timer *t) {
  ibx_timing_plan_fini(&t->plan);
  ibx_timed_dma_fini(&t->dma);
  ibx_event_queue_fini(&t->events);
  free(t->pieces);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(t->engines[e].frames);
  }
  for (int i = 0; i < IBX_SEMAPHORES; i++) {
    free(t->semaphores[i].rises);
  }
}

ibx_status ibx_timer_run(ibx_timer *t, ibx_sim_time *out_time, ibx_error *err) {
  IBX_TRY(run(t, err));
  t->time.dma_busy_ps = t->dma.busy_ps / t->machine->dma_engines;
  t->time.dma_active_ps = t->dma.active_ps;
  *out_time = t->time;
  return IBX_OK;
}

void ibx_sim_time_add(ibx_sim_time *sum, const ibx_sim_time *part) {
  sum->total_ps += part->total_ps;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++)
    sum->busy_ps[e] += part->busy_ps[e];
  sum->dma_busy_ps += part->dma_busy_ps;
  sum->dma_active_ps += part->dma_active_ps;
  sum->hbm_read_bytes += part->hbm_read_bytes;
  sum->hbm_write_bytes += part->hbm_write_bytes;
  sum->fetch_bytes += part->fetch_bytes;
  sum->instructions += part->instructions;
  sum->dma_count += part->dma_count;
}

static ibx_status time_steps(const ibx_program_data *program,
                             const ibx_entry *entry,
                             const ibx_sim_time_options *options,
                             ibx_sim_time *out_time, ibx_error *err) {
  if (options->on_event || options->extent_count != 0) {
    return IBX_FAIL(
        err, UNSUPPORTED,
        "entry %.100s runs on the host too; a timeline or an extent "
        "is that of one of its segments: name it with --entry",
        entry->name);
  }
  for (size_t i = 0; i < entry->steps->step_count; i++) {
    const ibx_step *step = &entry->steps->steps[i];
    ibx_sim_time part;
    if (step->call) continue;
    IBX_TRY(ibx_sim_time_entry_with(program, &program->entries[step->segment],
                                    options, &part, err));
    ibx_sim_time_add(out_time, &part);
  }
  return IBX_OK;
}

ibx_status ibx_sim_time_entry_with(const ibx_program_data *program,
                                   const ibx_entry *entry,
                                   const ibx_sim_time_options *options,
                                   ibx_sim_time *out_time, ibx_error *err) {
  *out_time = (ibx_sim_time){0};
  if (entry->steps) return time_steps(program, entry, options, out_time, err);
  ibx_timer *t = malloc(sizeof(*t));
  if (!t) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the simulator");
  ibx_status status = ibx_timer_init(t, program, entry, options, err);
  if (status == IBX_OK) status = ibx_timer_run(t, out_time, err);
  ibx_timer_fini(t);
  free(t);
  return status;
}

ibx_status ibx_sim_time_entry(const ibx_program_data *program,
                              const ibx_entry *entry, ibx_sim_event_fn on_event,
                              void *user, ibx_sim_time *out_time,
                              ibx_error *err) {
  ibx_sim_time_options options = {.on_event = on_event, .user = user};
  return ibx_sim_time_entry_with(program, entry, &options, out_time, err);
}
