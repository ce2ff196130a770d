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

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

// --- candidates -----------------------------------------------------------------

static void refresh(ibx_timer *t, ibx_engine engine) {
  ibx_sequencer *s = &t->engines[engine];
  if (s->is_arriving) {
    s->candidate_ps = s->arrive_ps;
    return;
  }
  s->candidate_ps = IBX_TIME_NEVER;
  if (s->index >= s->count) return;
  const ibx_insn *insn = &s->insns[s->index];
  bool is_hidden =
      s->timed[s->index].kind == IBX_TIMED_STATIONARY && t->array.has_shadow;
  uint64_t at_ps = is_hidden ? t->array.shadow_ps : s->next_ps;
  at_ps = larger(at_ps, s->hold_ps);
  if (insn->wait_value != 0) {
    uint64_t risen_ps = ibx_timed_semaphore_when(
        &t->semaphores[insn->wait_semaphore], insn->wait_value);
    at_ps = larger(at_ps, risen_ps);
  }
  s->candidate_ps = at_ps;
}

// Other engines may now wait for less or for more.
static void refresh_waiters(ibx_timer *t, unsigned semaphore) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_sequencer *s = &t->engines[e];
    if (s->is_arriving || s->index >= s->count) continue;
    const ibx_insn *insn = &s->insns[s->index];
    if (insn->wait_value != 0 && insn->wait_semaphore == semaphore) {
      refresh(t, (ibx_engine)e);
    }
  }
}

static void rise(ibx_timer *t, unsigned semaphore, uint64_t now_ps,
                 uint64_t time_ps, uint64_t count) {
  if (!ibx_timed_semaphore_rise(&t->semaphores[semaphore], now_ps, time_ps,
                                count)) {
    t->is_short = true;
  }
}

static void send_event(ibx_timer *t, const ibx_sim_event *event) {
  if (!ibx_event_queue_add(&t->events, event)) t->is_short = true;
}

// --- steps -----------------------------------------------------------------------------

static void fetch(ibx_timer *t, ibx_sequencer *s, const ibx_timed_insn *timed,
                  uint64_t now_ps) {
  t->time.fetch_bytes += (uint64_t)timed->words * IBX_WORD_BYTES;
  if (timed->words > s->fetched_words) {
    s->fetched_words += t->half_words;
    s->fetch_ps =
        ibx_timed_dma_fetch(&t->dma, now_ps, t->half_words * IBX_WORD_BYTES);
  }
  s->fetched_words -= timed->words;
}

static void mark_writes(ibx_timer *t, ibx_engine engine,
                        const ibx_timed_insn *timed, uint64_t done_ps) {
  ibx_sequencer *s = &t->engines[engine];
  if (engine == IBX_ENGINE_SCALAR) done_ps += t->dependent_ps;
  for (size_t b = 0; b < timed->box_count; b++) {
    const ibx_timed_box *box = &timed->box[b];
    if (!box->written) continue;
    int64_t offset = ibx_timed_loop_offset(s, box);
    s->marks[s->next_mark] = (ibx_write_mark){.low = box->low + offset,
                                              .high = box->high + offset,
                                              .done_ps = done_ps,
                                              .first = box->first,
                                              .last = box->last,
                                              .space = box->space};
    s->next_mark = (s->next_mark + 1) % IBX_MARKS;
  }
}

static void take_banks(uint64_t *bank_ps, unsigned banks, uint64_t until_ps) {
  for (unsigned i = 0; banks >> i != 0; i++) {
    if (banks >> i & 1) bank_ps[i] = larger(bank_ps[i], until_ps);
  }
}

static void take_ports(ibx_timer *t, ibx_engine engine,
                       const ibx_timed_insn *timed, uint64_t until_ps) {
  for (size_t b = 0; b < timed->box_count; b++) {
    t->port_ps[engine][timed->box[b].space] = until_ps;
  }
}

// Both return the end of the instruction's time on its engine.

static uint64_t start_work(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->index];
  if (timed->table != 0 && timed->table != s->table) {
    s->table = timed->table;
    now_ps += t->machine->table_load_ps;
  }
  uint64_t end_ps = now_ps + timed->issue_ps;
  s->next_ps = end_ps;
  s->done_ps = larger(s->done_ps, now_ps + timed->result_ps);
  mark_writes(t, engine, timed, s->done_ps);
  take_banks(t->other_bank_ps, ibx_timed_banks(t, s, timed), end_ps);
  if (t->machine->port_sharing) take_ports(t, engine, timed, end_ps);
  return end_ps;
}

static uint64_t start_moving(ibx_timer *t, ibx_sequencer *s, uint64_t now_ps) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t idle_from_ps = larger(now_ps, t->array.last_end_ps);
  uint64_t end_ps =
      ibx_timed_array_stream(&t->array, now_ps, timed->rows, timed->issue_ps);
  if (end_ps > idle_from_ps) {
    t->time.busy_ps[IBX_ENGINE_TENSOR] +=
        smaller(timed->busy_ps, end_ps - idle_from_ps);
  }
  unsigned all = (1u << IBX_PARTITIONS / t->machine->row_tile_min) - 1;
  uint64_t depth_ps =
      timed->result_ps - smaller(timed->result_ps, timed->issue_ps);
  s->next_ps =
      timed->rows == all ? end_ps : smaller(end_ps, now_ps + t->interval_ps);
  s->done_ps = larger(s->done_ps, end_ps + depth_ps);
  take_banks(t->tensor_bank_ps, ibx_timed_banks(t, s, timed), end_ps);
  return end_ps;
}

static void next_trip(ibx_sequencer *s) {
  ibx_loop_frame *frame = &s->frames[s->depth - 1];
  uint8_t counter = s->insns[frame->start].reg[0];
  if (--frame->trips_left > 0) {
    s->loop_registers[counter]++;
    s->index = frame->start; // the step after the switch goes to the body
    return;
  }
  s->loop_registers[counter] = 0;
  s->depth--;
}

static void enter_loop(ibx_sequencer *s) {
  const ibx_insn *insn = &s->insns[s->index];
  uint32_t trips = insn->count;
  if (insn->reg[1] != IBX_NO_REGISTER && s->registers[insn->reg[1]] < trips) {
    trips = s->registers[insn->reg[1]];
  }
  s->loop_registers[insn->reg[0]] = 0;
  if (trips == 0) {
    s->index = s->timed[s->index].partner;
    return;
  }
  s->frames[s->depth++] =
      (ibx_loop_frame){.start = s->index, .trips_left = trips};
}

// Time alone knows no data: a loaded register has its upper limit. A loop that
// ends does not branch.
static void start_control(ibx_timer *t, ibx_sequencer *s, uint64_t now_ps) {
  const ibx_insn *insn = &s->insns[s->index];
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t cost_ps = timed->issue_ps;
  switch (timed->kind) {
  case IBX_TIMED_LOOP: enter_loop(s); break;
  case IBX_TIMED_LOOP_END:
    if (s->frames[s->depth - 1].trips_left == 1) {
      cost_ps = smaller(cost_ps, t->interval_ps);
    }
    next_trip(s);
    break;
  case IBX_TIMED_REGISTER: s->registers[insn->reg[0]] = insn->count; break;
  default: break;
  }
  s->next_ps = now_ps + cost_ps;
  s->done_ps = larger(s->done_ps, s->next_ps);
}

static uint64_t start_insn(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t end_ps;
  if (timed->kind == IBX_TIMED_STATIONARY) {
    end_ps =
        ibx_timed_array_load(&t->array, now_ps, timed->rows, timed->issue_ps);
    if (end_ps > s->next_ps) {
      t->time.busy_ps[IBX_ENGINE_TENSOR] +=
          smaller(timed->busy_ps, end_ps - s->next_ps);
      s->next_ps = end_ps;
    }
    s->done_ps = larger(s->done_ps, end_ps);
    return end_ps;
  }
  if (timed->kind == IBX_TIMED_MOVING) return start_moving(t, s, now_ps);
  if (engine == IBX_ENGINE_TENSOR) t->array.has_shadow = false;
  if (timed->kind == IBX_TIMED_WORK) return start_work(t, engine, now_ps);
  if (timed->kind == IBX_TIMED_DMA) {
    s->is_arriving = true;
    s->arriving = s->index;
    s->next_ps = now_ps + timed->issue_ps;
    // Static rings are there; the others are made while the sequencer waits.
    bool is_made = s->insns[s->index].dge == IBX_DGE_STATIC;
    s->arrive_ps = is_made ? now_ps : s->next_ps;
  } else {
    start_control(t, s, now_ps);
  }
  return s->next_ps;
}

// What streams at the same time as something else, or hides behind it, counts
// once.
static bool is_array(const ibx_timed_insn *timed) {
  return timed->kind == IBX_TIMED_STATIONARY || timed->kind == IBX_TIMED_MOVING;
}

static bool is_control(const ibx_timed_insn *timed) {
  return timed->kind >= IBX_TIMED_LOOP;
}

// Starts the next instruction of `engine`, whose wait is satisfied.
static void issue(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const size_t index = s->index;
  const ibx_insn *insn = &s->insns[index];
  const ibx_timed_insn *timed = &s->timed[index];
  if (insn->wait_value != 0) {
    ibx_timed_semaphore_take(&t->semaphores[insn->wait_semaphore],
                             insn->wait_value);
  }
  fetch(t, s, timed, now_ps);
  uint64_t end_ps = start_insn(t, engine, now_ps);
  s->index++;
  s->hold_ps = 0;
  t->time.instructions++;
  t->time.hbm_read_bytes += timed->read_bytes;
  t->time.hbm_write_bytes += timed->write_bytes;
  if (!is_array(timed)) t->time.busy_ps[engine] += timed->busy_ps;
  if (!is_control(timed) && timed->kind != IBX_TIMED_DMA) {
    t->time.total_ps = larger(t->time.total_ps, s->done_ps);
  }
  ibx_sim_event event = {.start_ps = now_ps,
                         .end_ps = end_ps,
                         .index = (uint32_t)index,
                         .agent = (uint8_t)engine,
                         .issuer = (uint8_t)engine};
  send_event(t, &event);
  if (insn->signal_value != 0 && timed->kind != IBX_TIMED_DMA) {
    unsigned semaphore = insn->signal_semaphore;
    rise(t, semaphore, now_ps, s->done_ps + t->signal_ps[semaphore],
         insn->signal_value);
    refresh_waiters(t, semaphore);
  }
  if (insn->wait_value != 0) refresh_waiters(t, insn->wait_semaphore);
  refresh(t, engine);
}

// The DMA that `engine` issued reaches the DMA engines.
static void arrive(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_insn *insn = &s->insns[s->arriving];
  const ibx_timed_insn *timed = &s->timed[s->arriving];
  ibx_timed_dma_arrive(&t->dma, now_ps, insn->queue,
                       t->plan.piece_ps + timed->first_piece,
                       timed->piece_count, t->pieces);
  for (size_t i = 0; i < timed->piece_count; i++) {
    const ibx_timed_piece *piece = &t->pieces[i];
    t->time.total_ps = larger(t->time.total_ps, piece->complete_ps);
    ibx_sim_event event = {.start_ps = piece->start_ps,
                           .end_ps = piece->end_ps,
                           .index = (uint32_t)s->arriving,
                           .agent = (uint8_t)(IBX_ENGINE_COUNT + piece->engine),
                           .issuer = (uint8_t)engine};
    send_event(t, &event);
    if (insn->signal_value == 0) continue;
    rise(t, insn->signal_semaphore, now_ps,
         piece->complete_ps + t->machine->dma_completion_ps, 1);
  }
  t->time.dma_count++;
  t->time.fetch_bytes += timed->ring_bytes;
  s->is_arriving = false;
  if (insn->signal_value != 0) refresh_waiters(t, insn->signal_semaphore);
  refresh(t, engine);
}

static ibx_engine least_candidate(const ibx_timer *t) {
  ibx_engine least = IBX_ENGINE_TENSOR;
  for (int e = 1; e < IBX_ENGINE_COUNT; e++) {
    if (t->engines[e].candidate_ps < t->engines[least].candidate_ps) {
      least = (ibx_engine)e;
    }
  }
  return least;
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

static ibx_status run(ibx_timer *t, ibx_error *err) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    refresh(t, (ibx_engine)e);
  }
  for (;;) {
    ibx_engine engine = least_candidate(t);
    ibx_sequencer *s = &t->engines[engine];
    uint64_t now_ps = s->candidate_ps;
    if (now_ps == IBX_TIME_NEVER) break;
    ibx_event_queue_flush(&t->events, now_ps == 0 ? 0 : now_ps - 1);
    if (s->is_arriving) {
      arrive(t, engine, now_ps);
      continue;
    }
    uint64_t ready_ps = ibx_timed_ready(t, engine, now_ps);
    if (ready_ps > now_ps) {
      s->hold_ps = ready_ps;
      refresh(t, engine);
    } else {
      issue(t, engine, now_ps);
    }
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
    const ibx_sequencer *s = &t->engines[e];
    uint64_t travel_ps = ibx_machine_cycles_to_ps(t->machine, (ibx_engine)e,
                                                  t->machine->semaphore_cycles);
    for (size_t i = 0; i < s->count; i++) {
      if (s->insns[i].wait_value == 0) continue;
      uint64_t *signal_ps = &t->signal_ps[s->insns[i].wait_semaphore];
      *signal_ps = larger(*signal_ps, travel_ps);
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

static ibx_status init(ibx_timer *t, const ibx_entry *entry, ibx_error *err) {
  const ibx_machine *machine = t->machine;
  t->half_words = machine->fetch_bytes / 2 / IBX_WORD_BYTES;
  t->dependent_ps = ibx_machine_cycles_to_ps(machine, IBX_ENGINE_SCALAR,
                                             machine->scalar_dependent);
  t->interval_ps = ibx_machine_cycles_to_ps(machine, IBX_ENGINE_TENSOR,
                                            machine->min_interval);
  ibx_timed_array_init(&t->array, machine);
  IBX_TRY(ibx_timing_plan_init(machine, entry, &t->plan, err));
  t->pieces = calloc(machine->dma_engines, sizeof(*t->pieces));
  bool has_memory = ibx_timed_dma_init(&t->dma, machine) && t->pieces;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!init_engine(t, entry, (ibx_engine)e)) has_memory = false;
  }
  if (!has_memory) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the sequencers");
  }
  init_signals(t);
  return IBX_OK;
}

static void fini(ibx_timer *t) {
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

ibx_status ibx_sim_time_entry(const ibx_program_data *program,
                              const ibx_entry *entry, ibx_sim_event_fn on_event,
                              void *user, ibx_sim_time *out_time,
                              ibx_error *err) {
  *out_time = (ibx_sim_time){0};
  ibx_timer *t = calloc(1, sizeof(*t));
  if (!t) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the simulator");
  t->machine = program->machine;
  t->events = (ibx_event_queue){.deliver = on_event, .user = user};
  ibx_status status = init(t, entry, err);
  if (status == IBX_OK) status = run(t, err);
  t->time.dma_busy_ps = t->dma.busy_ps / t->machine->dma_engines;
  t->time.dma_active_ps = t->dma.active_ps;
  if (status == IBX_OK) *out_time = t->time;
  fini(t);
  free(t);
  return status;
}
