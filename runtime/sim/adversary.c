// SPDX-License-Identifier: Apache-2.0
//
// The adversarial orders. In: streams and their semaphores. Out: an order that
// the semaphores allow and that makes a missing one felt.
//
// One engine, the goal, runs ahead; all others, and all DMAs, are lazy: they
// take a step only when the goal cannot go on without it.
//
//   goal waits for semaphore s  ->  a piece under way that raises s, else a step
//                                   of an engine that has a signal of s ahead
//   that engine waits for t     ->  likewise, and so on
//
// Then whatever the goal does happens before everything that its waits do not
// ask for, directly or through others: had a wait of the goal been lost, the
// instruction behind it comes before what it should have waited for, unless
// another wait asks for that too, and then the lost one told nothing new.
//
// A DMA's wait has a second side: its pieces may run at any time after. So each
// engine is the goal twice, once with its own DMAs as lazy as all others and
// once with their pieces carried out at once. When the goal has ended, the next
// engine is the goal. What nobody ever asked for happens last, the newest
// first.

#include "sim/order.h"

#include <assert.h>

// Order 0 lets Sync run ahead, which issues most DMAs.
enum { LAST_ENGINE = IBX_ENGINE_COUNT - 1 };

/// Which semaphores an engine's stream signals, and how far on.
typedef struct adversary {
  ibx_sim *sim;
  ibx_engine goal;
  bool is_eager; ///< pieces of the goal's DMAs run at once
  size_t last[IBX_ENGINE_COUNT][IBX_SEMAPHORES]; ///< index + 1 of its signal
} adversary;

static bool is_dma(const ibx_insn *insn) {
  return ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma;
}

static void find_signals(adversary *a) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &a->sim->entry->streams[e];
    for (size_t i = 0; i < stream->count; i++) {
      const ibx_insn *insn = &stream->insns[i];
      if (insn->signal_value != 0) a->last[e][insn->signal_semaphore] = i + 1;
    }
  }
}

// Signals behind the engine come again when it is in a loop around them.
static bool may_signal(const adversary *a, ibx_engine engine,
                       uint8_t semaphore) {
  const ibx_sim_sequencer *seq = &a->sim->engines[engine];
  size_t from = seq->depth == 0 ? seq->pc : seq->loops[0].start;
  return a->last[engine][semaphore] > from;
}

// --- pieces ----------------------------------------------------------------------

// The newest piece of the queue, or that raises the semaphore; the number of
// pieces where there is none.
static size_t find_piece(const ibx_sim *sim, bool of_queue, uint8_t which) {
  const ibx_sim_flights *f = &sim->flights;
  size_t found = f->piece_count;
  for (size_t i = 0; i < f->piece_count; i++) {
    const ibx_sim_flight *flight = &f->flight[f->pieces[i].flight];
    bool fits = of_queue ? flight->queue == which
                         : flight->signals && flight->semaphore == which;
    if (!fits) continue;
    if (found < f->piece_count &&
        f->flight[f->pieces[found].flight].serial > flight->serial) {
      continue;
    }
    found = i;
  }
  return found;
}

static bool run_newest_piece(ibx_sim *sim) {
  const ibx_sim_flights *f = &sim->flights;
  size_t newest = 0;
  if (f->piece_count == 0) return false;
  for (size_t i = 1; i < f->piece_count; i++) {
    if (f->flight[f->pieces[i].flight].serial >=
        f->flight[f->pieces[newest].flight].serial) {
      newest = i;
    }
  }
  ibx_sim_run_piece(sim, newest);
  return true;
}

// --- engines ---------------------------------------------------------------------

static ibx_status step(const adversary *a, ibx_engine engine, ibx_error *err) {
  ibx_sim *sim = a->sim;
  const ibx_insn *insn = ibx_sim_next(sim, engine);
  size_t before = sim->flights.piece_count;
  IBX_TRY(ibx_sim_step(sim, engine, err));
  if (engine != a->goal || !a->is_eager || !is_dma(insn)) return IBX_OK;
  while (sim->flights.piece_count > before)
    ibx_sim_run_piece(sim, sim->flights.piece_count - 1);
  return IBX_OK;
}

// One step of what `engine` waits for. `asked` has a bit for each engine that
// already waits for this; `*out_moved` tells whether there was a step.
static ibx_status help(const adversary *a, ibx_engine engine, unsigned asked,
                       bool *out_moved, ibx_error *err) {
  ibx_sim *sim = a->sim;
  const ibx_insn *insn = ibx_sim_next(sim, engine);
  *out_moved = true;
  if (ibx_sim_is_ready(sim, engine)) return step(a, engine, err);
  bool of_queue = !ibx_sim_waits(sim, insn);
  size_t piece =
      find_piece(sim, of_queue, of_queue ? insn->queue : insn->wait_semaphore);
  if (piece < sim->flights.piece_count) {
    ibx_sim_run_piece(sim, piece);
    return IBX_OK;
  }
  *out_moved = false;
  asked |= 1u << engine;
  for (int e = 0; e < IBX_ENGINE_COUNT && !*out_moved; e++) {
    ibx_engine other = (ibx_engine)e;
    if ((asked >> e & 1) != 0 || ibx_sim_next(sim, other) == NULL ||
        !may_signal(a, other, insn->wait_semaphore)) {
      continue;
    }
    IBX_TRY(help(a, other, asked, out_moved, err));
  }
  return IBX_OK;
}

// Where asking leads nowhere: any step that is possible.
static ibx_status move_anything(const adversary *a, bool *out_moved,
                                ibx_error *err) {
  *out_moved = true;
  for (int e = IBX_ENGINE_COUNT; e-- > 0;) {
    if (ibx_sim_is_ready(a->sim, (ibx_engine)e)) {
      return step(a, (ibx_engine)e, err);
    }
  }
  *out_moved = run_newest_piece(a->sim);
  return IBX_OK;
}

static ibx_status advance(adversary *a, bool *out_moved, ibx_error *err) {
  *out_moved = false;
  for (int i = 0; i < IBX_ENGINE_COUNT; i++) {
    if (ibx_sim_next(a->sim, a->goal) != NULL) {
      IBX_TRY(help(a, a->goal, 0, out_moved, err));
      break;
    }
    a->goal = (ibx_engine)((a->goal + 1) % IBX_ENGINE_COUNT);
  }
  return *out_moved ? IBX_OK : move_anything(a, out_moved, err);
}

ibx_status ibx_sim_run_adversary(ibx_sim *sim, ibx_error *err) {
  static_assert(IBX_SIM_ADVERSARIES == 2 * IBX_ENGINE_COUNT,
                "each engine is the goal twice");
  uint64_t number = sim->random % IBX_SIM_ADVERSARIES;
  adversary a = {.sim = sim,
                 .goal = (ibx_engine)(LAST_ENGINE - number % IBX_ENGINE_COUNT),
                 .is_eager = number >= IBX_ENGINE_COUNT};
  find_signals(&a);
  for (bool moved = true; moved;) {
    IBX_TRY(advance(&a, &moved, err));
  }
  return IBX_OK;
}
