// SPDX-License-Identifier: Apache-2.0
//
// The order of a run. In: five streams whose instructions wait for semaphores
// and raise them. Out: every instruction executed, in an order that the
// semaphores allow; or the engines and semaphores of the deadlock.
//
//   PROGRAM      engines take turns, each until it has to wait; a DMA is
//                complete when its issuer goes on
//   RANDOM       one step of any engine, or one piece of any DMA
//   ADVERSARIAL  one engine runs ahead, all else is as late as it can be
//                (adversary.c)
//
// An instruction is one step: it reads, computes and writes. Pieces of
// different DMAs are not ordered, not even on one queue. Meetings of cores are
// taken when nothing else can go on (meeting.h tells why), the first or the last
// or any of those that were joined before.

#include "sim/order.h"

#include "isa/calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const ibx_insn *ibx_sim_next(const ibx_sim *sim, ibx_engine engine) {
  const ibx_stream *stream = &sim->entry->streams[engine];
  size_t pc = sim->engines[engine].pc;
  return pc < stream->count ? &stream->insns[pc] : NULL;
}

static bool is_dma(const ibx_insn *insn) {
  return ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
}

static bool is_meeting(const ibx_insn *insn) {
  return ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE;
}

bool ibx_sim_waits(const ibx_sim *sim, const ibx_insn *insn) {
  return insn->wait_value > sim->semaphores[insn->wait_semaphore];
}

bool ibx_sim_is_ready(const ibx_sim *sim, ibx_engine engine) {
  const ibx_insn *insn = ibx_sim_next(sim, engine);
  if (insn == NULL || ibx_sim_waits(sim, insn)) return false;
  const ibx_sim_meetings *m = &sim->meetings;
  if (m->in_barrier[engine]) return false;
  if (is_meeting(insn)) return m->open[engine] < IBX_SIM_MEETINGS;
  if (sim->order == IBX_SIM_ORDER_PROGRAM || !is_dma(insn)) return true;
  return sim->flights.queue_used[insn->queue] < sim->machine->dma_in_flight;
}

// Names what the engine did in front of what went wrong.
static ibx_status locate(const ibx_sim *sim, ibx_engine engine, size_t index,
                         ibx_error *err) {
  if (err == NULL) return IBX_DEVICE_ERROR;
  ibx_error inner = *err;
  const ibx_stream *stream = &sim->entry->streams[engine];
  uint32_t node = stream->nodes == NULL ? IBX_NO_NODE : stream->nodes[index];
  const char *name = node < sim->program->node_count
                         ? sim->program->nodes[node].name
                         : "no node";
  return ibx_error_set(err, inner.status, inner.file, inner.line,
                       "%s instruction %zu (%s): %s", ibx_engine_name(engine),
                       index, name, inner.message);
}

// In units of one instruction.
static uint64_t work_of(const ibx_insn *insn) {
  ibx_operand_shape written = ibx_insn_shape(insn, 0);
  uint64_t elements = 1, results = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    elements *= insn->num[d];
    results *= written.num[d];
  }
  if (results > elements) elements = results;
  if (ibx_insn_is_call(insn->opcode)) {
    elements = ibx_call_work(insn, elements) * insn->partitions;
  }
  return 1 + elements / 64;
}

ibx_status ibx_sim_step(ibx_sim *sim, ibx_engine engine, ibx_error *err) {
  const ibx_insn *insn = ibx_sim_next(sim, engine);
  ibx_sim_sequencer *seq = &sim->engines[engine];
  size_t index = seq->pc++;
  uint64_t work = work_of(insn);
  if (sim->work_left < work) {
    return IBX_FAIL(err, DEVICE_ERROR,
                    "the program takes too long to be meant");
  }
  sim->work_left -= work;
  sim->semaphores[insn->wait_semaphore] -= insn->wait_value;
  ibx_exec x = {
      .sim = sim, .insn = insn, .seq = seq, .engine = engine, .err = err};
  if (ibx_sim_execute(&x) != IBX_OK) return locate(sim, engine, index, err);
  seq->executed++;
  bool later =
      is_meeting(insn) || (sim->order != IBX_SIM_ORDER_PROGRAM && is_dma(insn));
  if (!later) sim->semaphores[insn->signal_semaphore] += insn->signal_value;
  return IBX_OK;
}

static ibx_status fail_deadlock(const ibx_sim *sim, ibx_error *err) {
  char text[IBX_ERROR_MESSAGE_BYTES] = "";
  size_t len = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_insn *insn = ibx_sim_next(sim, (ibx_engine)e);
    if (insn == NULL || len >= sizeof(text)) continue;
    int written =
        snprintf(text + len, sizeof(text) - len,
                 "%s%s at %zu for semaphore %u >= %u "
                 "(is %llu)",
                 len == 0 ? "" : ", ", ibx_engine_name((ibx_engine)e),
                 sim->engines[e].pc, insn->wait_semaphore, insn->wait_value,
                 (unsigned long long)sim->semaphores[insn->wait_semaphore]);
    if (written > 0) len += (size_t)written;
  }
  return IBX_FAIL(err, DEVICE_ERROR, "deadlock: waiting are %s", text);
}

static bool is_finished(const ibx_sim *sim) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (ibx_sim_next(sim, (ibx_engine)e) != NULL) return false;
  }
  return true;
}

static ibx_status run_program_order(ibx_sim *sim, ibx_error *err) {
  bool progress = true;
  while (progress) {
    progress = false;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      while (ibx_sim_is_ready(sim, (ibx_engine)e)) {
        IBX_TRY(ibx_sim_step(sim, (ibx_engine)e, err));
        progress = true;
      }
    }
  }
  return IBX_OK;
}

static ibx_status make_flights(ibx_sim *sim, ibx_error *err) {
  ibx_sim_flights *f = &sim->flights;
  size_t engines = sim->machine->dma_engines;
  size_t capacity =
      (size_t)sim->machine->dma_queues * sim->machine->dma_in_flight;
  if (f->flight == NULL) f->flight = calloc(capacity, sizeof(*f->flight));
  if (f->free == NULL) f->free = calloc(capacity, sizeof(*f->free));
  if (f->pieces == NULL) {
    f->pieces = calloc(capacity * engines, sizeof(*f->pieces));
  }
  if (f->split == NULL) f->split = calloc(engines, sizeof(*f->split));
  if (f->flight == NULL || f->free == NULL || f->pieces == NULL ||
      f->split == NULL) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu DMAs", capacity);
  }
  f->capacity = capacity;
  f->piece_count = 0;
  f->launched = 0;
  f->free_count = capacity;
  for (size_t i = 0; i < capacity; i++) {
    f->free[i] = capacity - 1 - i;
  }
  memset(f->queue_used, 0, sizeof(f->queue_used));
  return IBX_OK;
}

ibx_status ibx_sim_launch(const ibx_exec *x) {
  ibx_sim *sim = x->sim;
  ibx_sim_flights *f = &sim->flights;
  if (f->free_count == 0) return IBX_EXEC_FAIL(x, "queue %u", x->insn->queue);
  size_t index = f->free[f->free_count - 1];
  ibx_sim_flight *flight = &f->flight[index];
  IBX_TRY(ibx_dma_plan_make(x, &flight->plan));
  size_t count = ibx_dma_split(sim->machine, x->insn, sim->places, f->split);
  flight->serial = f->launched++;
  flight->queue = x->insn->queue;
  flight->semaphore = x->insn->signal_semaphore;
  flight->signals = x->insn->signal_value != 0;
  flight->pieces_left = count;
  for (size_t i = 0; i < count; i++) {
    f->pieces[f->piece_count++] =
        (ibx_sim_flight_piece){.flight = index,
                               .first = f->split[i].first,
                               .elements = f->split[i].elements};
  }
  if (count == 0) return IBX_OK;
  f->free_count--;
  f->queue_used[flight->queue]++;
  return IBX_OK;
}

void ibx_sim_run_piece(ibx_sim *sim, size_t at) {
  ibx_sim_flights *f = &sim->flights;
  ibx_sim_flight_piece piece = f->pieces[at];
  f->pieces[at] = f->pieces[--f->piece_count];
  ibx_sim_flight *flight = &f->flight[piece.flight];
  (sim->specification ? ibx_dma_plan_run : ibx_dma_plan_run_fast)(
      &flight->plan, piece.first, piece.elements);
  if (flight->signals) sim->semaphores[flight->semaphore]++;
  if (--flight->pieces_left != 0) return;
  f->queue_used[flight->queue]--;
  f->free[f->free_count++] = piece.flight;
}

static size_t list_ready(const ibx_sim *sim, ibx_engine *ready) {
  size_t count = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (ibx_sim_is_ready(sim, (ibx_engine)e)) ready[count++] = (ibx_engine)e;
  }
  return count;
}

// SplitMix64: the published constants of Steele, Lea and Flood.
static uint64_t next_random(ibx_sim *sim) {
  uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static ibx_status run_random_order(ibx_sim *sim, ibx_error *err) {
  for (;;) {
    ibx_engine ready[IBX_ENGINE_COUNT];
    size_t count = list_ready(sim, ready);
    size_t choices = count + sim->flights.piece_count;
    if (choices == 0) break;
    size_t choice = (size_t)(next_random(sim) % choices);
    if (choice < count) {
      IBX_TRY(ibx_sim_step(sim, ready[choice], err));
    } else {
      ibx_sim_run_piece(sim, choice - count);
    }
  }
  return IBX_OK;
}

// All that this core can do without the others.
static ibx_status run_alone(ibx_sim *sim, ibx_error *err) {
  switch (sim->order) {
  case IBX_SIM_ORDER_PROGRAM: return run_program_order(sim, err);
  case IBX_SIM_ORDER_RANDOM: return run_random_order(sim, err);
  case IBX_SIM_ORDER_ADVERSARIAL: break;
  }
  return ibx_sim_run_adversary(sim, err);
}

// Of the meetings that are pending one of those that were when the batch began.
static void pick_meeting(ibx_sim *sim) {
  ibx_sim_meetings *m = &sim->meetings;
  if (m->picked != IBX_SIM_NOT_PICKED) return;
  if (m->batch == 0) m->batch = m->count;
  m->picked = sim->order == IBX_SIM_ORDER_PROGRAM  ? 0
              : sim->order == IBX_SIM_ORDER_RANDOM ? next_random(sim) % m->batch
                                                   : m->batch - 1;
}

static bool take_picked(ibx_sim *sim) {
  ibx_sim_meetings *m = &sim->meetings;
  if (m->mutex != NULL) pthread_mutex_lock(m->mutex);
  bool is_complete = ibx_sim_is_complete(m, m->picked);
  if (m->mutex != NULL) pthread_mutex_unlock(m->mutex);
  if (!is_complete) return false;
  ibx_sim_take(sim, m->picked);
  m->picked = IBX_SIM_NOT_PICKED;
  m->batch--;
  return true;
}

ibx_status ibx_sim_advance(ibx_sim *sim, bool *out_waits, ibx_error *err) {
  *out_waits = false;
  for (;;) {
    IBX_TRY(run_alone(sim, err));
    if (sim->meetings.count == 0) break;
    pick_meeting(sim);
    if (take_picked(sim)) continue;
    *out_waits = true;
    return IBX_OK;
  }
  return is_finished(sim) ? IBX_OK : fail_deadlock(sim, err);
}

ibx_status ibx_sim_begin_order(ibx_sim *sim, ibx_error *err) {
  return sim->order == IBX_SIM_ORDER_PROGRAM ? IBX_OK : make_flights(sim, err);
}
