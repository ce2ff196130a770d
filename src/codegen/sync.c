// SPDX-License-Identifier: Apache-2.0
//
// Synchronisation. Comes in: the steps in a global order that respects all
// dependences. Goes out: a list of items for each engine, with their waits and
// signals. Holds afterwards: every dependence is kept; a wait between engines
// that others imply does not exist; every DMA is waited for exactly once; all
// semaphores end at 0.
//
// Knowledge is a clock: for each engine the number of its items that are known
// to be complete. An item knows what the one before it on its engine knew, and
// what comes with the signals that it waits for.
//
//   engine to engine   One semaphore for each ordered pair. Signals add 1, waits
//                      take 1. What an item needs and its clock does not tell
//                      becomes a signal of the latest item needed and a wait.
//                      Both ends of a pair only move forward, so the n-th wait
//                      belongs to the n-th signal.
//   DMA                The DMAs that one item is the first to need share a
//                      semaphore, which that item waits for as a whole; others
//                      who need them are ordered after that item like after
//                      any other. Those that nobody needs share one until the
//                      end. The semaphore is free again for a DMA whose trigger
//                      knows that the waiting item is complete; the item that
//                      waits for it the next time must know that too, before it
//                      waits, or it could take what the first one waits for.
//
// Everything only ever waits for what stands earlier in the global order, so
// there is no deadlock.

#include "codegen/sync_plan.h"

#include <string.h>

enum {
  PAIRS = IBX_ENGINE_COUNT * IBX_ENGINE_COUNT,
  MOST_SUM = 60000 ///< of one group, below the 16 bits of a wait
};

// Stands for the position of an item that is not made yet.
#define OWN_POSITION UINT32_MAX

// --- groups of DMAs ----------------------------------------------------------------

static ibx_sync_group *group_of(ibx_sync *s, uint32_t step) {
  return &s->groups[s->group_of[step] - 1];
}

// The first slot that needs each DMA: the natural place to wait for it.
static void find_first_needs(ibx_sync *s) {
  const ibx_depend *depend = s->units->depend;
  for (uint32_t i = 0; i < s->schedule->count; i++) {
    const ibx_slot *slot = &s->schedule->slots[i];
    if (slot->after != IBX_NO_STEP && s->first_need[slot->after] == 0) {
      s->first_need[slot->after] = i + 1;
    }
    for (uint32_t j = depend->first[slot->step];
         j < depend->first[slot->step + 1]; j++) {
      uint32_t from = ibx_depend_step(depend->edges[j]);
      if (s->first_need[from] == 0) s->first_need[from] = i + 1;
    }
  }
}

// A queue of semaphores for each engine whose items waited for them last, in
// the order of those items.
static void free_semaphore(ibx_sync *s, ibx_engine engine, uint32_t position,
                           uint8_t semaphore) {
  ibx_sync_free *f = &s->free[engine];
  size_t at = (f->head + f->count++) % IBX_SEMAPHORES;
  f->entries[at] =
      (ibx_sync_free_entry){.position = position, .semaphore = semaphore};
}

static bool take_free(ibx_sync *s, ibx_engine engine, const uint32_t *clock,
                      ibx_sync_group *out) {
  if (s->fresh_semaphore < IBX_SEMAPHORES) {
    out->semaphore = (uint8_t)s->fresh_semaphore++;
    return true;
  }
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    ibx_sync_free *f = &s->free[e];
    if (f->count == 0) continue;
    const ibx_sync_free_entry *entry = &f->entries[f->head];
    if (e != (int)engine && entry->position > clock[e]) continue;
    out->semaphore = entry->semaphore;
    out->freed_engine = (uint8_t)e;
    out->freed_position = entry->position;
    f->head = (f->head + 1) % IBX_SEMAPHORES;
    f->count--;
    return true;
  }
  return false;
}

// --- what an item must know --------------------------------------------------------

static const ibx_sync_item *item_at(const ibx_sync *s, int engine,
                                    uint32_t position) {
  return &s->lists[engine].items[position - 1];
}

static void join(uint32_t *clock, const uint32_t *other) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (other[e] > clock[e]) clock[e] = other[e];
  }
}

static void need_item(ibx_sync_needs *needs, int engine, uint32_t position) {
  if (position > needs->position[engine]) needs->position[engine] = position;
}

static void need_group(ibx_sync *s, ibx_sync_needs *needs, uint32_t index) {
  ibx_sync_group *group = &s->groups[index];
  if (group->wanted_by == s->serial) return;
  group->wanted_by = s->serial;
  group->next_wanted = needs->group;
  needs->group = index + 1;
}

static void need_step(ibx_sync *s, ibx_sync_needs *needs, uint32_t step) {
  if (!s->units->mir->steps[step].is_dma) {
    need_item(needs, s->engine_of[step], s->position_of[step]);
    return;
  }
  const ibx_sync_group *group = group_of(s, step);
  if (group->waiter_position != 0) {
    need_item(needs, group->waiter_engine, group->waiter_position);
  } else {
    need_group(s, needs, s->group_of[step] - 1);
  }
}

static ibx_sync_needs find_needs(ibx_sync *s, const ibx_slot *slot) {
  const ibx_depend *depend = s->units->depend;
  ibx_sync_needs needs = {.group = 0};
  for (uint32_t i = depend->first[slot->step];
       i < depend->first[slot->step + 1]; i++) {
    need_step(s, &needs, ibx_depend_step(depend->edges[i]));
  }
  if (slot->after != IBX_NO_STEP) need_step(s, &needs, slot->after);
  return needs;
}

// What the item would know: its engine's knowledge and all that it waits for.
static void know(const ibx_sync *s, ibx_engine engine,
                 const ibx_sync_needs *needs, uint32_t *clock) {
  memcpy(clock, s->clock[engine], sizeof(s->clock[engine]));
  for (uint32_t i = needs->group; i != 0; i = s->groups[i - 1].next_wanted) {
    join(clock, s->groups[i - 1].clock);
  }
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (e == (int)engine || needs->position[e] == 0) continue;
    join(clock, item_at(s, e, needs->position[e])->clock);
  }
}

// --- semaphores for DMAs -------------------------------------------------------------

// The oldest group that is in flight and not of item `self`.
static uint32_t oldest_group(ibx_sync *s) {
  while (s->oldest < s->group_count &&
         s->groups[s->oldest].waiter_position != 0) {
    s->oldest++;
  }
  for (uint32_t i = s->oldest; i < s->group_count; i++) {
    const ibx_sync_group *group = &s->groups[i];
    if (group->waiter_position == 0 && group->wanted_by != s->serial) return i;
  }
  return UINT32_MAX;
}

// Adds the need that frees a semaphore: that a past wait is complete, the
// latest that is expected to be by now, as it frees the earlier ones too; or,
// when none has been waited for, the wait itself.
static bool need_semaphore(ibx_sync *s, ibx_sync_needs *needs,
                           uint64_t now_ps) {
  int best = -1;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_sync_free *f = &s->free[e];
    if (f->count == 0) continue;
    uint32_t position = f->entries[f->head].position;
    if (best >= 0 &&
        item_at(s, e, position)->done_ps >=
            item_at(s, best, s->free[best].entries[s->free[best].head].position)
                ->done_ps) {
      continue;
    }
    best = e;
  }
  if (best < 0) {
    uint32_t group = oldest_group(s);
    if (group == UINT32_MAX) return false;
    need_group(s, needs, group);
    return true;
  }
  const ibx_sync_free *f = &s->free[best];
  uint32_t position = f->entries[f->head].position;
  for (size_t i = 1; i < f->count; i++) {
    uint32_t later = f->entries[(f->head + i) % IBX_SEMAPHORES].position;
    if (item_at(s, best, later)->done_ps > now_ps) break;
    position = later;
  }
  need_item(needs, best, position);
  return true;
}

static void open_group(ibx_sync *s, uint32_t step,
                       const ibx_sync_group *group) {
  uint32_t need = s->first_need[step];
  uint32_t index = s->group_count++;
  s->groups[index] = *group;
  *(need ? &s->open_group[need - 1] : &s->last_group) = index + 1;
  s->group_of[step] = index + 1;
}

// Joins the group of the DMAs with the same first need. The trigger must know
// that the semaphore was free, as that of the first one did.
static bool join_group(ibx_sync *s, const ibx_slot *slot,
                       const uint32_t *clock) {
  uint32_t need = s->first_need[slot->step];
  uint32_t open = need ? s->open_group[need - 1] : s->last_group;
  if (open == 0) return false;
  const ibx_sync_group *group = &s->groups[open - 1];
  if (group->waiter_position != 0 || group->sum >= MOST_SUM ||
      group->wanted_by == s->serial) {
    return false;
  }
  if (group->freed_engine != slot->engine &&
      group->freed_position > clock[group->freed_engine]) {
    return false;
  }
  s->group_of[slot->step] = open;
  return true;
}

// Gives the DMA a group. What has to be waited for to get a semaphore joins
// `needs`.
static bool find_group(ibx_sync *s, const ibx_slot *slot,
                       ibx_sync_needs *needs) {
  uint32_t clock[IBX_ENGINE_COUNT];
  know(s, (ibx_engine)slot->engine, needs, clock);
  if (join_group(s, slot, clock)) return true;
  ibx_sync_group group = {.semaphore = 0};
  if (needs->group != 0 && s->fresh_semaphore >= IBX_SEMAPHORES) {
    // What this item waits for is free for its own DMA.
    ibx_sync_group *own = &s->groups[needs->group - 1];
    group.semaphore = own->semaphore;
    group.freed_engine = slot->engine;
    group.freed_position = OWN_POSITION;
    own->is_handed_on = true;
  } else if (!take_free(s, (ibx_engine)slot->engine, clock, &group)) {
    if (!need_semaphore(s, needs, slot->start_ps)) return false;
    return find_group(s, slot, needs);
  }
  open_group(s, slot->step, &group);
  return true;
}

// --- items -----------------------------------------------------------------------

static ibx_sync_item *add_item(ibx_sync *s, ibx_engine engine,
                               uint32_t *out_position) {
  ibx_sync_list *list = &s->lists[engine];
  *out_position = (uint32_t)++list->count;
  return &list->items[list->count - 1];
}

// Leaves the needs that neither the item's engine, nor a DMA it waits for, nor
// another need implies.
static void reduce(const ibx_sync *s, ibx_engine engine,
                   ibx_sync_needs *needs) {
  uint32_t clock[IBX_ENGINE_COUNT];
  ibx_sync_needs groups_only = {.group = needs->group};
  know(s, engine, &groups_only, clock);
  needs->position[engine] = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (needs->position[e] <= clock[e]) needs->position[e] = 0;
  }
  uint32_t left[IBX_ENGINE_COUNT];
  memcpy(left, needs->position, sizeof(left));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (int other = 0; other < IBX_ENGINE_COUNT && left[e] != 0; other++) {
      if (other == e || left[other] == 0) continue;
      if (item_at(s, other, left[other])->clock[e] >= left[e]) {
        needs->position[e] = 0;
      }
    }
  }
}

static void wait_for_groups(ibx_sync *s, ibx_sync_item *item, ibx_engine engine,
                            uint32_t position, uint32_t first) {
  item->group = first;
  for (uint32_t i = first; i != 0; i = s->groups[i - 1].next_wanted) {
    ibx_sync_group *group = &s->groups[i - 1];
    group->waiter_engine = (uint8_t)engine;
    group->waiter_position = position;
    if (!group->is_handed_on) {
      free_semaphore(s, engine, position, group->semaphore);
    }
  }
}

static ibx_sync_item *append(ibx_sync *s, ibx_engine engine,
                             ibx_sync_needs *needs);

// Whoever waits for a semaphore must know the wait before, or it could take what
// that one waits for. Where the engine does not know by itself, an item of its
// own waits to be told.
static void wait_for_turn(ibx_sync *s, ibx_engine engine,
                          const ibx_sync_needs *needs) {
  ibx_sync_needs turn = {.group = 0};
  bool is_known = true;
  uint64_t done_ps = 0;
  for (uint32_t i = needs->group; i != 0; i = s->groups[i - 1].next_wanted) {
    const ibx_sync_group *group = &s->groups[i - 1];
    int e = group->freed_engine;
    if (e == (int)engine || group->freed_position <= s->clock[engine][e])
      continue;
    const ibx_sync_item *before = item_at(s, e, group->freed_position);
    need_item(&turn, e, group->freed_position);
    if (before->done_ps > done_ps) done_ps = before->done_ps;
    is_known = false;
  }
  if (!is_known) append(s, engine, &turn)->done_ps = done_ps;
}

// Appends an item that waits for `needs`.
static ibx_sync_item *append(ibx_sync *s, ibx_engine engine,
                             ibx_sync_needs *needs) {
  uint32_t position;
  wait_for_turn(s, engine, needs);
  reduce(s, engine, needs);
  ibx_sync_item *item = add_item(s, engine, &position);
  know(s, engine, needs, item->clock);
  item->clock[engine] = position;
  memcpy(s->clock[engine], item->clock, sizeof(item->clock));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (needs->position[e] == 0) continue;
    item->pair_waits |= (uint8_t)(1u << e);
    item->pair_position[e] = needs->position[e];
    s->lists[e].items[needs->position[e] - 1].signals |=
        (uint8_t)(1u << engine);
  }
  wait_for_groups(s, item, engine, position, needs->group);
  return item;
}

static void count_in_group(ibx_sync *s, const ibx_slot *slot,
                           const ibx_sync_item *item) {
  ibx_sync_group *group = group_of(s, slot->step);
  if (group->freed_position == OWN_POSITION)
    group->freed_position = item->clock[slot->engine];
  group->sum += s->units->dma[slot->step].pieces;
  if (slot->done_ps > group->done_ps) group->done_ps = slot->done_ps;
  group->last = slot;
  join(group->clock, item->clock);
}

static ibx_status add_slot(ibx_sync *s, const ibx_slot *slot, ibx_error *err) {
  bool is_dma = s->units->mir->steps[slot->step].is_dma;
  s->serial++;
  ibx_sync_needs needs = find_needs(s, slot);
  if (is_dma && !find_group(s, slot, &needs)) {
    return IBX_FAIL(err, INTERNAL, "no semaphore is left for step %lu",
                    (unsigned long)slot->step);
  }
  ibx_sync_item *item = append(s, (ibx_engine)slot->engine, &needs);
  item->slot = slot;
  item->done_ps = is_dma ? slot->start_ps : slot->done_ps;
  s->engine_of[slot->step] = slot->engine;
  s->position_of[slot->step] = item->clock[slot->engine];
  if (is_dma) count_in_group(s, slot, item);
  return IBX_OK;
}

// Sync waits at the end for what nobody has waited for, so that every semaphore
// is left at 0.
static void add_end(ibx_sync *s) {
  for (uint32_t i = 0; i < s->group_count; i++) {
    if (s->groups[i].waiter_position != 0) continue;
    s->serial++;
    ibx_sync_needs needs = {.group = 0};
    need_group(s, &needs, i);
    append(s, IBX_ENGINE_SYNC, &needs)->done_ps = s->groups[i].done_ps;
  }
}

static void init(ibx_sync *s) {
  size_t steps = s->units->mir->step_count;
  size_t slots = s->schedule->count;
  s->fresh_semaphore = PAIRS;
  s->engine_of = IBX_ARENA_ARRAY(s->scratch, steps, uint8_t);
  s->position_of = IBX_ARENA_ARRAY(s->scratch, steps, uint32_t);
  s->group_of = IBX_ARENA_ARRAY(s->scratch, steps, uint32_t);
  s->first_need = IBX_ARENA_ARRAY(s->scratch, steps, uint32_t);
  s->open_group = IBX_ARENA_ARRAY(s->scratch, slots, uint32_t);
  s->groups = IBX_ARENA_ARRAY(s->scratch, steps, ibx_sync_group);
  size_t counts[IBX_ENGINE_COUNT] = {0};
  for (size_t i = 0; i < slots; i++) {
    counts[s->schedule->slots[i].engine]++;
  }
  // Each group may end with a wait of Sync, each item wait for its turn before.
  counts[IBX_ENGINE_SYNC] += slots;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    s->lists[e].items =
        IBX_ARENA_ARRAY(s->scratch, 2 * counts[e], ibx_sync_item);
  }
  find_first_needs(s);
}

ibx_status ibx_sync_make(const ibx_units *units, const ibx_schedule *schedule,
                         ibx_arena *arena, ibx_stream streams[IBX_ENGINE_COUNT],
                         ibx_error *err) {
  ibx_arena scratch = {0};
  ibx_sync s = {.units = units, .schedule = schedule, .scratch = &scratch};
  init(&s);
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < schedule->count && status == IBX_OK; i++) {
    status = add_slot(&s, &schedule->slots[i], err);
  }
  if (status == IBX_OK) {
    add_end(&s);
    ibx_sync_spread(&s);
    ibx_sync_write(&s, arena, streams);
  }
  ibx_arena_reset(&scratch);
  return status;
}
