// SPDX-License-Identifier: Apache-2.0
//
// Spreads waits and signals. Comes in: items, some with several waits or
// signals, each of which beyond the first would cost an instruction. Goes out:
// the same items with the spare ones moved to neighbours that have none:
//
//   waits    to an item before, which is expected to start after the signal
//   signals  to the next item, if it starts at once and is short
//
// A wait only moves to an item that stands after all it waits for in the global
// order, so still nothing waits for what comes later. An item through which a
// signal moved takes no wait any more: whoever waits for that signal may stand
// before it, and be what it would wait for. Each pair of engines keeps its
// order of waits and of signals, as items are only skipped that have none.

#include "codegen/sync_plan.h"

enum { FARTHEST = 4 };

typedef struct spreader {
  ibx_sync *sync;
  ibx_sync_list *list;
  int engine;
} spreader;

// --- waits -----------------------------------------------------------------------

static bool has_waits(const ibx_sync_item *item) {
  return item->pair_waits != 0 || item->group != 0;
}

static bool has_one_wait(const ibx_sync *s, const ibx_sync_item *item) {
  bool one_pair = (item->pair_waits & (item->pair_waits - 1)) == 0;
  if (item->group == 0) return one_pair;
  return item->pair_waits == 0 && s->groups[item->group - 1].next_wanted == 0;
}

// The nearest item before `at` that has no wait, delays no signal and stands
// after `from`, when the signal is expected to be there by then. Only items
// without waits are passed.
static ibx_sync_item *find_earlier(const spreader *p, size_t at,
                                   const ibx_slot *from, uint64_t ready_ps) {
  for (size_t i = 1; i <= FARTHEST && i <= at; i++) {
    ibx_sync_item *item = &p->list->items[at - i];
    if (has_waits(item) || !item->slot || !from || item->slot < from) {
      return NULL;
    }
    if (!item->carries && item->slot->start_ps >= ready_ps) return item;
  }
  return NULL;
}

static void move_pair_waits(const spreader *p, size_t at) {
  const ibx_sync *s = p->sync;
  ibx_sync_item *item = &p->list->items[at];
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!(item->pair_waits >> e & 1) || has_one_wait(s, item)) continue;
    const ibx_sync_item *from = &s->lists[e].items[item->pair_position[e] - 1];
    ibx_sync_item *to = find_earlier(
        p, at, from->slot, from->done_ps + s->units->semaphore_ps[p->engine]);
    if (!to) continue;
    item->pair_waits &= (uint8_t)~(1u << e);
    to->pair_waits |= (uint8_t)(1u << e);
    to->pair_position[e] = item->pair_position[e];
  }
}

// Whether an item knows who waited for the group's semaphore before.
static bool knows_past(const spreader *p, const ibx_sync_item *item,
                       const ibx_sync_group *group) {
  return group->freed_engine == p->engine ||
         group->freed_position <= item->clock[group->freed_engine];
}

static void move_groups(const spreader *p, size_t at) {
  ibx_sync *s = p->sync;
  ibx_sync_item *item = &p->list->items[at];
  uint64_t tell_ps = s->units->mir->machine->dma_completion_ps;
  uint32_t *link = &item->group;
  while (*link != 0 && !has_one_wait(s, item)) {
    uint32_t index = *link;
    ibx_sync_group *group = &s->groups[index - 1];
    // A semaphore that goes on to this very DMA must be waited for here.
    ibx_sync_item *to =
        group->is_handed_on
            ? NULL
            : find_earlier(p, at, group->last, group->done_ps + tell_ps);
    if (!to || !knows_past(p, to, group)) {
      link = &group->next_wanted;
      continue;
    }
    *link = group->next_wanted;
    group->next_wanted = 0;
    to->group = index;
  }
}

// --- signals ---------------------------------------------------------------------

static bool is_dma(const spreader *p, const ibx_sync_item *item) {
  return p->sync->units->mir->steps[item->slot->step].is_dma;
}

// A DMA's own signal leaves no room for others.
static unsigned room_for_signals(const spreader *p, const ibx_sync_item *item) {
  return item->slot && !is_dma(p, item) ? 1 : 0;
}

static unsigned count_signals(const ibx_sync_item *item) {
  unsigned count = 0;
  for (unsigned bits = item->signals; bits; bits &= bits - 1) {
    count++;
  }
  return count;
}

static bool can_signal_for(const spreader *p, const ibx_sync_item *item,
                           const ibx_sync_item *before) {
  if (!item->slot || is_dma(p, item) || has_waits(item) || item->signals) {
    return false;
  }
  const ibx_machine *machine = p->sync->units->mir->machine;
  uint64_t control_ps = ibx_machine_cycles_to_ps(machine, (ibx_engine)p->engine,
                                                 machine->control_cycles);
  return item->done_ps <= before->done_ps + 2 * control_ps;
}

static void move_signals(const spreader *p, size_t at) {
  ibx_sync_item *item = &p->list->items[at];
  unsigned room = room_for_signals(p, item);
  for (size_t i = at + 1; i < p->list->count && i <= at + FARTHEST; i++) {
    ibx_sync_item *to = &p->list->items[i];
    if (count_signals(item) <= room || !can_signal_for(p, to, item)) return;
    to->carries = true;
    unsigned last = item->signals & ~(item->signals - 1u);
    item->signals &= (uint8_t)~last;
    to->signals = (uint8_t)last;
  }
}

void ibx_sync_spread(ibx_sync *sync) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    spreader p = {.sync = sync, .list = &sync->lists[e], .engine = e};
    for (size_t i = 0; i < p.list->count; i++) {
      if (!has_one_wait(sync, &p.list->items[i])) {
        move_pair_waits(&p, i);
        move_groups(&p, i);
      }
      if (p.list->items[i].signals) move_signals(&p, i);
    }
  }
}
