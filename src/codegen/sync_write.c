// SPDX-License-Identifier: Apache-2.0
//
// From items to instructions. Comes in: items with any number of waits and
// signals. Goes out: instructions with at most one of each; the others stand in
// `semaphore` instructions, waits before, signals after.
//
//   item   waits a, b, c   signals x, y
//   gives  semaphore wait a | semaphore wait b | insn wait c signal x |
//          semaphore signal y
//
// The instruction itself has the wait that is expected to end last, so that the
// others cost nothing. A semaphore that was waited for before comes after the
// waits for engines, which tell that this past wait is over. A DMA's own signal
// tells of its pieces, so what its trigger knows is signalled after it.

#include "codegen/sync_plan.h"

typedef struct wait_entry {
  uint64_t ready_ps;
  uint16_t value;
  uint8_t semaphore;
} wait_entry;

typedef struct writer {
  const ibx_sync *sync;
  ibx_stream *stream;
  uint32_t node; ///< of the item
  int engine;
} writer;

static ibx_insn *put(writer *w, const ibx_insn *insn) {
  size_t at = w->stream->count++;
  w->stream->insns[at] = *insn;
  w->stream->nodes[at] = w->node;
  return &w->stream->insns[at];
}

static ibx_insn *put_semaphore(writer *w) {
  ibx_insn insn = ibx_insn_make(IBX_OP_semaphore);
  return put(w, &insn);
}

// --- waits -----------------------------------------------------------------------

static size_t count_waits(const ibx_sync *s, const ibx_sync_item *item) {
  size_t count = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    count += item->pair_waits >> e & 1;
  }
  for (uint32_t i = item->group; i != 0; i = s->groups[i - 1].next_wanted) {
    count++;
  }
  return count;
}

// The next wait after those that end before `*at`, by time and then by number.
static bool is_before(const wait_entry *a, const wait_entry *b) {
  return a->ready_ps != b->ready_ps ? a->ready_ps < b->ready_ps
                                    : a->semaphore < b->semaphore;
}

static void sort_in(wait_entry *list, size_t count, wait_entry entry) {
  size_t at = count;
  for (; at > 0 && is_before(&entry, &list[at - 1]); at--) {
    list[at] = list[at - 1];
  }
  list[at] = entry;
}

static size_t list_waits(const writer *w, const ibx_sync_item *item,
                         wait_entry *list) {
  const ibx_sync *s = w->sync;
  size_t count = 0;
  uint64_t engines_ps = 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!(item->pair_waits >> e & 1)) continue;
    const ibx_sync_item *from = &s->lists[e].items[item->pair_position[e] - 1];
    uint64_t ready_ps = from->done_ps + s->units->semaphore_ps[w->engine];
    if (ready_ps > engines_ps) engines_ps = ready_ps;
    sort_in(list, count++,
            (wait_entry){.ready_ps = ready_ps,
                         .value = 1,
                         .semaphore = ibx_sync_pair(e, w->engine)});
  }
  for (uint32_t i = item->group; i != 0; i = s->groups[i - 1].next_wanted) {
    const ibx_sync_group *group = &s->groups[i - 1];
    uint64_t ready_ps =
        group->done_ps + s->units->mir->machine->dma_completion_ps;
    if (group->freed_position != 0 && ready_ps <= engines_ps) {
      ready_ps = engines_ps + 1;
    }
    sort_in(list, count++,
            (wait_entry){.ready_ps = ready_ps,
                         .value = (uint16_t)group->sum,
                         .semaphore = group->semaphore});
  }
  return count;
}

static void set_wait(ibx_insn *insn, const wait_entry *entry) {
  insn->wait_semaphore = entry->semaphore;
  insn->wait_value = entry->value;
}

// --- items -----------------------------------------------------------------------

static ibx_insn make_insn(const ibx_sync *s, const ibx_slot *slot) {
  const ibx_mir_step *step = &s->units->mir->steps[slot->step];
  ibx_insn insn = step->variant[slot->variant].insn;
  insn.wait_value = 0;
  insn.signal_value = 0;
  if (!step->is_dma) return insn;
  insn.queue = slot->queue;
  insn.dge = slot->dge;
  insn.signal_semaphore = s->groups[s->group_of[slot->step] - 1].semaphore;
  insn.signal_value = (uint16_t)s->units->dma[slot->step].pieces;
  return insn;
}

static void write_signals(writer *w, const ibx_sync_item *item,
                          ibx_insn *insn) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (!(item->signals >> e & 1)) continue;
    if (insn->signal_value != 0) insn = put_semaphore(w);
    insn->signal_semaphore = ibx_sync_pair(w->engine, e);
    insn->signal_value = 1;
  }
}

static void write_item(writer *w, const ibx_sync_item *item, ibx_arena *arena) {
  wait_entry *waits =
      IBX_ARENA_ARRAY(arena, count_waits(w->sync, item), wait_entry);
  size_t count = list_waits(w, item, waits);
  w->node = item->slot ? w->sync->units->mir->steps[item->slot->step].node
                       : IBX_NO_NODE;
  for (size_t i = 0; i + 1 < count; i++) {
    set_wait(put_semaphore(w), &waits[i]);
  }
  ibx_insn insn = item->slot ? make_insn(w->sync, item->slot)
                             : ibx_insn_make(IBX_OP_semaphore);
  if (count) set_wait(&insn, &waits[count - 1]);
  write_signals(w, item, put(w, &insn));
}

// An upper bound: one instruction for the item, one for each wait and signal.
static size_t count_insns(const ibx_sync *s, const ibx_sync_list *list) {
  size_t count = list->count;
  for (size_t i = 0; i < list->count; i++) {
    count += count_waits(s, &list->items[i]);
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      count += list->items[i].signals >> e & 1;
    }
  }
  return count;
}

void ibx_sync_write(const ibx_sync *sync, ibx_arena *arena,
                    ibx_stream streams[IBX_ENGINE_COUNT]) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_sync_list *list = &sync->lists[e];
    size_t room = count_insns(sync, list);
    streams[e] = (ibx_stream){.insns = IBX_ARENA_ARRAY(arena, room, ibx_insn),
                              .nodes = IBX_ARENA_ARRAY(arena, room, uint32_t)};
    writer w = {.sync = sync, .stream = &streams[e], .engine = e};
    for (size_t i = 0; i < list->count; i++) {
      write_item(&w, &list->items[i], sync->scratch);
    }
  }
}
