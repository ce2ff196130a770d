// SPDX-License-Identifier: Apache-2.0
//
// List scheduling. Comes in: units with costs, dependences and urgency. Goes
// out: all steps in the order of their expected starts, each with its engine.
//
// Units whose dependences are placed wait in lanes, one for each engine and one
// more for loads, which Sync issues when nothing else needs it:
//
//   pending  by the time at which they can start
//   ready    by rank, once the engine is there; on Scalar, a heap for each
//            activation table, as loading one costs more than most instructions
//
// The lane that can start first takes its best unit. So nothing that finishes
// late stands in a stream before what could run earlier, stores before loads
// for one. A unit that several engines can do is offered to all of them and
// taken by the one that ends it first.
//
// Loads depend on nothing but the memory they fill. They are issued as early as
// that allows, with two brakes. Few enough are in flight for a semaphore each.
// And while DMAs are to come that move what engines make, which the engines
// will wait for, loads do not fill the DMA queues for microseconds ahead: now
// and then one waits for an earlier one.

#include "codegen/schedule.h"

#include "codegen/clockwork.h"
#include "codegen/heap.h"

#include <stdlib.h>

enum { LANE_LOAD = IBX_ENGINE_COUNT, LANE_COUNT };

// Loads that no step has waited for yet; below the number of semaphores that
// are left for DMAs.
enum { MOST_OUTSTANDING = 200 };

typedef struct lane {
  ibx_heap pending;
  ibx_heap ready[IBX_TABLES];
} lane;

typedef struct scheduler {
  const ibx_units *units;
  const ibx_schedule_options *options;
  ibx_arena *scratch;
  ibx_clockwork clock;
  lane lanes[LANE_COUNT];
  uint32_t *rank;      ///< of each unit
  uint32_t *by_rank;   ///< the unit of a rank
  uint32_t *waits_for; ///< edges from steps that are not placed
  bool *placed;
  bool *outstanding; ///< of each step: a load that nobody has waited for
  size_t outstanding_count;
  size_t critical_left;
  uint32_t *dmas; ///< steps in order of issue
  size_t dma_count, dmas_done;
  uint64_t paced_ps;    ///< last time at which a load was told to wait
  uint64_t critical_ps; ///< when the last critical DMA so far arrives
  bool is_holding;      ///< loads wait for the queues to empty
  uint32_t queue_turn;
  ibx_schedule *out;
} scheduler;

static const uint64_t never_ps = UINT64_MAX;

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// --- ranks -----------------------------------------------------------------------

typedef struct ranked {
  uint64_t major, minor;
  uint32_t unit;
} ranked;

static int compare_ranked(const void *left, const void *right) {
  const ranked *a = left, *b = right;
  if (a->major != b->major) return a->major < b->major ? -1 : 1;
  if (a->minor != b->minor) return a->minor < b->minor ? -1 : 1;
  return a->unit < b->unit ? -1 : 1;
}

static ranked rank_of(const ibx_units *units, ibx_schedule_policy policy,
                      uint32_t index) {
  const ibx_unit *unit = &units->units[index];
  // A load comes just before the step that needs it.
  uint64_t use = (uint64_t)unit->use * 2 + (unit->use == unit->first);
  if (policy == IBX_SCHEDULE_PROGRAM) {
    return (ranked){.major = use, .unit = index};
  }
  return (ranked){
      .major = UINT64_MAX - unit->path_ps, .minor = use, .unit = index};
}

static void rank_units(scheduler *s, ibx_schedule_policy policy) {
  size_t count = s->units->count;
  ranked *list = IBX_ARENA_ARRAY(s->scratch, count, ranked);
  for (uint32_t i = 0; i < count; i++) {
    list[i] = rank_of(s->units, policy, i);
  }
  if (count) qsort(list, count, sizeof(*list), compare_ranked);
  for (uint32_t i = 0; i < count; i++) {
    s->rank[list[i].unit] = i;
    s->by_rank[i] = list[i].unit;
  }
}

// --- lanes -----------------------------------------------------------------------

static ibx_engine engine_of(size_t which) {
  return which == LANE_LOAD ? IBX_ENGINE_SYNC : (ibx_engine)which;
}

static bool is_load(const ibx_unit *unit) {
  return unit->is_dma && !unit->is_fed && unit->feeds &&
         (unit->engines >> IBX_ENGINE_SYNC & 1);
}

static bool is_critical(const ibx_unit *unit) {
  return unit->is_dma && unit->is_fed && unit->is_read;
}

// The lanes that may take a unit, a bit for each.
static unsigned lanes_of(const scheduler *s, const ibx_unit *unit) {
  if (!unit->is_dma) return unit->engines;
  if (is_load(unit)) return 1u << LANE_LOAD;
  if (!(unit->engines >> IBX_ENGINE_SYNC & 1)) return unit->engines;
  return 1u << (s->options->stores_on_sync ? IBX_ENGINE_SYNC
                                           : IBX_ENGINE_GPSIMD);
}

static void offer(scheduler *s, uint32_t index, size_t which,
                  uint64_t not_before_ps) {
  const ibx_unit *unit = &s->units->units[index];
  uint64_t ready_ps = ibx_clockwork_ready(&s->clock, unit, engine_of(which));
  ibx_heap_push(&s->lanes[which].pending, s->scratch,
                larger(ready_ps, not_before_ps), s->rank[index]);
}

static void offer_to_all(scheduler *s, uint32_t index) {
  unsigned lanes = lanes_of(s, &s->units->units[index]);
  for (size_t i = 0; i < LANE_COUNT; i++) {
    if (lanes >> i & 1) offer(s, index, i, 0);
  }
}

// The first table that the unit needs on Scalar.
static uint8_t table_of(const scheduler *s, const ibx_unit *unit) {
  for (uint32_t i = unit->first; i < unit->first + unit->count; i++) {
    uint8_t table = ibx_units_cost(s->units, i, IBX_ENGINE_SCALAR)->table;
    if (table != 0) return table < IBX_TABLES ? table : 0;
  }
  return 0;
}

static void drop_placed(const scheduler *s, ibx_heap *heap) {
  while (heap->count > 0 && s->placed[s->by_rank[heap->items[0].number]]) {
    ibx_heap_pop(heap);
  }
}

// Moves what can start when the engine gets to it; returns the time at which
// the lane can start something.
static uint64_t advance(scheduler *s, size_t which) {
  lane *l = &s->lanes[which];
  uint64_t next_ps = s->clock.next_ps[engine_of(which)];
  drop_placed(s, &l->pending);
  while (l->pending.count > 0 && l->pending.items[0].key <= next_ps) {
    uint32_t rank = ibx_heap_pop(&l->pending).number;
    uint8_t table = which == IBX_ENGINE_SCALAR
                        ? table_of(s, &s->units->units[s->by_rank[rank]])
                        : 0;
    ibx_heap_push(&l->ready[table], s->scratch, rank, rank);
    drop_placed(s, &l->pending);
  }
  for (size_t i = 0; i < IBX_TABLES; i++) {
    drop_placed(s, &l->ready[i]);
    if (l->ready[i].count > 0) return next_ps;
  }
  return l->pending.count > 0 ? l->pending.items[0].key : never_ps;
}

// The best ready unit that needs no other table, unless another one is more
// urgent by more than the loading of its table.
static ibx_heap *best_heap(scheduler *s, lane *l) {
  ibx_heap *best = NULL, *cheap = NULL;
  for (size_t i = 0; i < IBX_TABLES; i++) {
    ibx_heap *heap = &l->ready[i];
    drop_placed(s, heap);
    if (heap->count == 0) continue;
    if (!best || heap->items[0].key < best->items[0].key) best = heap;
    if (i != 0 && i != s->clock.table) continue;
    if (!cheap || heap->items[0].key < cheap->items[0].key) cheap = heap;
  }
  if (!cheap || cheap == best) return best;
  const ibx_unit *units = s->units->units;
  uint64_t cheap_ps = units[s->by_rank[cheap->items[0].number]].path_ps;
  uint64_t best_ps = units[s->by_rank[best->items[0].number]].path_ps;
  uint64_t load_ps = s->units->mir->machine->table_load_ps;
  return cheap_ps + load_ps >= best_ps ? cheap : best;
}

static uint32_t take(scheduler *s, size_t which) {
  lane *l = &s->lanes[which];
  ibx_heap *heap = best_heap(s, l);
  if (!heap) heap = &l->pending;
  return s->by_rank[ibx_heap_pop(heap).number];
}

// --- loads -----------------------------------------------------------------------

static uint64_t backlog_limit(const scheduler *s) {
  return (uint64_t)s->options->backlog_startups *
         s->units->mir->machine->dma_startup_ps;
}

// When the next load may go: at once, or when the queues are short enough, or
// when the last critical DMA has arrived.
static uint64_t load_time(scheduler *s, uint64_t at_ps) {
  s->is_holding = false;
  if (at_ps == never_ps) return at_ps;
  if (s->critical_left == 0 && at_ps >= s->critical_ps) return at_ps;
  uint64_t backlog_ps = ibx_clockwork_backlog(&s->clock, at_ps);
  uint64_t limit_ps = backlog_limit(s);
  if (backlog_ps <= limit_ps) return at_ps;
  s->is_holding = true;
  uint64_t short_ps = at_ps + (backlog_ps - limit_ps);
  bool is_last = s->critical_left == 0 && s->critical_ps < short_ps;
  return is_last ? s->critical_ps : short_ps;
}

// When somebody who waits for the DMA of `step` goes on.
static uint64_t told_ps(const scheduler *s, uint32_t step) {
  return s->clock.complete_ps[step] + s->units->mir->machine->dma_completion_ps;
}

// The first DMA that ends after `at_ps`, better a load, as who waits for another
// one would learn of its end later. IBX_NO_STEP when none is under way.
static uint32_t next_end(scheduler *s, uint64_t at_ps) {
  while (s->dmas_done < s->dma_count &&
         told_ps(s, s->dmas[s->dmas_done]) < at_ps) {
    s->dmas_done++;
  }
  for (size_t i = s->dmas_done; i < s->dma_count; i++) {
    uint32_t step = s->dmas[i];
    if (told_ps(s, step) > at_ps + backlog_limit(s)) break;
    if (is_load(&s->units->units[s->units->unit_of[step]])) return step;
  }
  return s->dmas_done < s->dma_count ? s->dmas[s->dmas_done] : IBX_NO_STEP;
}

// The DMA whose end the next load waits for; moves the time on to that end.
// IBX_NO_STEP when a load waited not long ago.
static uint32_t pace(scheduler *s, uint64_t *at_ps) {
  if (*at_ps < s->paced_ps + backlog_limit(s) / 2) return IBX_NO_STEP;
  uint32_t step = next_end(s, *at_ps);
  if (step == IBX_NO_STEP) return step;
  *at_ps = larger(*at_ps, told_ps(s, step));
  s->paced_ps = *at_ps;
  return step;
}

// --- placing ---------------------------------------------------------------------

static uint8_t pick_queue(scheduler *s, const ibx_unit *unit) {
  // Loads have one half of the queues, so that they never block the others.
  uint32_t half = s->units->mir->machine->dma_queues / 2;
  uint32_t turn = s->queue_turn++ % half;
  return (uint8_t)(is_load(unit) ? turn : half + turn);
}

static void place_step(scheduler *s, uint32_t step, ibx_engine engine,
                       uint32_t after) {
  const ibx_mir_step *source = &s->units->mir->steps[step];
  const ibx_unit *unit = &s->units->units[s->units->unit_of[step]];
  ibx_slot *slot = &s->out->slots[s->out->count++];
  *slot =
      (ibx_slot){.step = step,
                 .after = after,
                 .engine = (uint8_t)engine,
                 .variant = ibx_units_cost(s->units, step, engine)->variant};
  if (source->is_dma) {
    slot->queue = pick_queue(s, unit);
    slot->dge = ibx_units_is_gather(source) ? IBX_DGE_SOFTWARE : IBX_DGE_STATIC;
  }
  slot->start_ps = ibx_clockwork_place(&s->clock, step, engine, slot->queue);
  slot->done_ps = s->clock.complete_ps[step];
}

static void count_dma(scheduler *s, const ibx_unit *unit, ibx_engine engine) {
  s->dmas[s->dma_count++] = unit->first;
  if (is_critical(unit)) {
    s->critical_left--;
    // A gather arrives when its descriptors are made.
    s->critical_ps = larger(s->critical_ps, s->clock.next_ps[engine]);
  }
  if (!is_load(unit)) return;
  s->outstanding[unit->first] = true;
  s->outstanding_count++;
}

// What the step waits for is no longer outstanding.
static void settle(scheduler *s, uint32_t step) {
  const ibx_depend *depend = s->units->depend;
  for (uint32_t i = depend->first[step]; i < depend->first[step + 1]; i++) {
    uint32_t from = ibx_depend_step(depend->edges[i]);
    if (!s->outstanding[from]) continue;
    s->outstanding[from] = false;
    s->outstanding_count--;
  }
}

static void release_users(scheduler *s, uint32_t step) {
  const ibx_units *units = s->units;
  uint32_t unit = units->unit_of[step];
  for (uint32_t i = units->first_user[step]; i < units->first_user[step + 1];
       i++) {
    uint32_t user = units->unit_of[ibx_depend_step(units->users[i])];
    if (user != unit && --s->waits_for[user] == 0) offer_to_all(s, user);
  }
}

static void place(scheduler *s, uint32_t index, ibx_engine engine,
                  uint32_t after) {
  const ibx_unit *unit = &s->units->units[index];
  s->placed[index] = true;
  for (uint32_t i = unit->first; i < unit->first + unit->count; i++) {
    settle(s, i);
    place_step(s, i, engine, after);
  }
  if (unit->is_dma) count_dma(s, unit, engine);
  for (uint32_t i = unit->first; i < unit->first + unit->count; i++) {
    release_users(s, i);
  }
}

// Whether another engine would end the unit earlier; `*out_ps` is when to look
// again, should that engine have taken something else by then.
static bool is_better_elsewhere(scheduler *s, uint32_t index, ibx_engine engine,
                                uint64_t now_ps, uint64_t *out_ps) {
  const ibx_unit *unit = &s->units->units[index];
  if (unit->is_dma || unit->engines == 1u << engine) return false;
  uint64_t finish_ps = ibx_clockwork_finish(&s->clock, unit, engine);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (e == (int)engine || !(unit->engines >> e & 1)) continue;
    ibx_engine other = (ibx_engine)e;
    if (ibx_clockwork_finish(&s->clock, unit, other) >= finish_ps) continue;
    uint64_t ready_ps = ibx_clockwork_ready(&s->clock, unit, other);
    *out_ps = larger(now_ps, larger(s->clock.next_ps[e], ready_ps)) + 1;
    return true;
  }
  return false;
}

// --- the loop ----------------------------------------------------------------------

// The lane that can start first; loads last among equals, and not at all while
// too many are outstanding, unless nothing else is left to do.
static size_t pick_lane(scheduler *s, uint64_t *out_ps) {
  size_t best = LANE_COUNT;
  *out_ps = never_ps;
  for (size_t i = 0; i < LANE_COUNT; i++) {
    uint64_t at_ps = advance(s, i);
    if (i == LANE_LOAD) {
      bool is_held = s->outstanding_count >= MOST_OUTSTANDING;
      if (is_held && best != LANE_COUNT) continue;
      at_ps = load_time(s, at_ps);
    }
    if (at_ps >= *out_ps) continue;
    *out_ps = at_ps;
    best = i;
  }
  return best;
}

static void run_lane(scheduler *s, size_t which, uint64_t now_ps) {
  ibx_engine engine = engine_of(which);
  uint32_t index = take(s, which);
  uint64_t again_ps;
  if (is_better_elsewhere(s, index, engine, now_ps, &again_ps)) {
    offer(s, index, which, again_ps);
    return;
  }
  uint32_t after = IBX_NO_STEP;
  if (which == LANE_LOAD && s->is_holding) {
    after = pace(s, &now_ps);
    s->clock.next_ps[engine] = larger(s->clock.next_ps[engine], now_ps);
  }
  place(s, index, engine, after);
}

static void count_edges(scheduler *s) {
  const ibx_depend *depend = s->units->depend;
  for (uint32_t step = 0; step < s->units->mir->step_count; step++) {
    uint32_t unit = s->units->unit_of[step];
    for (uint32_t i = depend->first[step]; i < depend->first[step + 1]; i++) {
      uint32_t from = s->units->unit_of[ibx_depend_step(depend->edges[i])];
      if (from != unit) s->waits_for[unit]++;
    }
  }
}

static void init(scheduler *s) {
  size_t count = s->units->count, steps = s->units->mir->step_count;
  s->rank = IBX_ARENA_ARRAY(s->scratch, count, uint32_t);
  s->by_rank = IBX_ARENA_ARRAY(s->scratch, count, uint32_t);
  s->waits_for = IBX_ARENA_ARRAY(s->scratch, count, uint32_t);
  s->placed = IBX_ARENA_ARRAY(s->scratch, count, bool);
  s->outstanding = IBX_ARENA_ARRAY(s->scratch, steps, bool);
  s->dmas = IBX_ARENA_ARRAY(s->scratch, steps, uint32_t);
  ibx_clockwork_init(&s->clock, s->units, s->scratch);
  rank_units(s, s->options->policy);
  count_edges(s);
  for (uint32_t i = 0; i < count; i++) {
    if (is_critical(&s->units->units[i])) s->critical_left++;
    if (s->waits_for[i] == 0) offer_to_all(s, i);
  }
}

void ibx_schedule_make(const ibx_units *units,
                       const ibx_schedule_options *options, ibx_arena *arena,
                       ibx_schedule *out) {
  ibx_arena scratch = {0};
  *out = (ibx_schedule){
      .slots = IBX_ARENA_ARRAY(arena, units->mir->step_count, ibx_slot)};
  scheduler s = {
      .units = units, .options = options, .scratch = &scratch, .out = out};
  init(&s);
  uint64_t now_ps;
  for (;;) {
    size_t which = pick_lane(&s, &now_ps);
    if (which == LANE_COUNT) break;
    run_lane(&s, which, now_ps);
  }
  ibx_arena_reset(&scratch);
}
