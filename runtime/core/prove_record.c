// SPDX-License-Identifier: Apache-2.0
//
// The accesses that a buffer has seen: an epoch and a region each. Comes in:
// accesses in the order of the prover's walk. Goes out: the one that races with
// a new one, or none. A record is forgotten when all unfinished engines know
// it, when the same engine touches the same region again, or when a later write
// covers it. Most accesses look at no record: their agent knows everything that
// the buffer has seen.

#include "core/program_format.h"
#include "core/prove_internal.h"

#include <stdlib.h>

enum { FIRST_RECORDS = 16 };

static bool is_after(const ibx_order *order, const ibx_clock *clock,
                     const ibx_record *record) {
  if (record->agent != IBX_AGENT_DMA) {
    return clock->at[record->agent] >= record->time;
  }
  const ibx_dma_record *dma = &order->dmas[record->time];
  return dma->waiter != IBX_AGENT_NONE &&
         clock->at[dma->waiter] >= dma->wait_time;
}

bool ibx_records_are_known(const ibx_record_list *list,
                           const ibx_clock *clock) {
  if (list->pending > 0) return false;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (list->last[e] > clock->at[e]) return false;
  }
  return true;
}

const ibx_record *ibx_records_find_race(ibx_shadow *shadow,
                                        const ibx_record_list *list,
                                        const ibx_clock *clock,
                                        const ibx_region *region) {
  if (list->count == 0 || ibx_records_are_known(list, clock)) return NULL;
  shadow->work += list->count;
  // The newest records are the ones that are still unordered.
  for (size_t i = list->count; i-- > 0;) {
    const ibx_record *record = &list->items[i];
    if (record->region.lo >= region->hi || record->region.hi <= region->lo) {
      continue;
    }
    if (!is_after(shadow->order, clock, record) &&
        ibx_region_overlaps(&record->region, region, &shadow->work)) {
      return record;
    }
  }
  return NULL;
}

static void drop_record(ibx_order *order, const ibx_record *record) {
  if (record->agent == IBX_AGENT_DMA) ibx_order_drop_dma(order, record->time);
}

// A DMA that was waited for orders as an access of its waiter at that wait.
static void settle_record(ibx_order *order, ibx_record *record) {
  if (record->agent != IBX_AGENT_DMA) return;
  const ibx_dma_record *dma = &order->dmas[record->time];
  if (dma->waiter == IBX_AGENT_NONE) return;
  uint8_t waiter = dma->waiter;
  uint32_t time = dma->wait_time;
  ibx_order_drop_dma(order, record->time);
  record->agent = waiter;
  record->time = time;
}

static uint64_t record_hash(const ibx_record *record) {
  return ibx_digest_bytes(&record->region, sizeof record->region) +
         record->agent;
}

// Of records of one engine that touch the same region only the newest counts:
// an engine's instructions complete in order. `slots` has twice as many places
// as the list, a power of two.
static bool is_repeated(const ibx_record *kept, uint32_t *slots, size_t mask,
                        uint32_t index) {
  const ibx_record *record = &kept[index];
  size_t at = (size_t)record_hash(record) & mask;
  for (; slots[at] != 0; at = (at + 1) & mask) {
    const ibx_record *other = &kept[slots[at] - 1];
    if (other->agent == record->agent && record->agent != IBX_AGENT_DMA &&
        ibx_region_equal(&other->region, &record->region)) {
      return true;
    }
  }
  slots[at] = index + 1;
  return false;
}

// Puts the times of a record together with those of its equal.
static void merge_times(ibx_record_list *list, uint32_t *slots, size_t mask,
                        const ibx_record *record) {
  size_t at = (size_t)record_hash(record) & mask;
  for (; slots[at] != 0; at = (at + 1) & mask) {
    ibx_record *other = &list->items[slots[at] - 1];
    if (other->agent != record->agent ||
        !ibx_region_equal(&other->region, &record->region)) {
      continue;
    }
    if (other->time < record->time) {
      other->time = record->time;
      other->insn = record->insn;
      other->engine = record->engine;
    }
    return;
  }
}

// Forgets what every unfinished engine knows and what a newer record of the
// same engine repeats.
static bool compact(const ibx_shadow *shadow, ibx_record_list *list) {
  size_t slot_count = FIRST_RECORDS;
  while (slot_count < list->count * 2) {
    slot_count *= 2;
  }
  uint32_t *slots = calloc(slot_count, sizeof *slots);
  if (!slots) return false;
  size_t kept = 0;
  for (size_t i = 0; i < list->count; i++) {
    ibx_record record = list->items[i];
    if (is_after(shadow->order, &shadow->known, &record)) {
      drop_record(shadow->order, &record);
      continue;
    }
    settle_record(shadow->order, &record);
    list->items[kept] = record;
    if (is_repeated(list->items, slots, slot_count - 1, (uint32_t)kept)) {
      merge_times(list, slots, slot_count - 1, &record);
    } else {
      kept++;
    }
  }
  list->count = kept;
  free(slots);
  return true;
}

static bool grow_list(ibx_record_list *list) {
  size_t capacity = list->capacity ? list->capacity * 2 : FIRST_RECORDS;
  ibx_record *items = realloc(list->items, capacity * sizeof *items);
  if (!items) return false;
  list->items = items;
  list->capacity = capacity;
  return true;
}

bool ibx_records_add(const ibx_shadow *shadow, ibx_record_list *list,
                     const ibx_access *access, const ibx_region *region) {
  if (list->count == list->capacity) {
    if (list->count > 0 && !compact(shadow, list)) return false;
    // At least half must have gone, or compacting would not pay.
    if (list->count * 2 >= list->capacity && !grow_list(list)) return false;
  }
  list->items[list->count++] = (ibx_record){.region = *region,
                                            .time = access->time,
                                            .insn = access->insn,
                                            .agent = access->agent,
                                            .engine = access->engine};
  if (access->agent == IBX_AGENT_DMA) {
    shadow->order->dmas[access->time].refs++;
  } else {
    list->last[access->agent] = access->time;
  }
  return true;
}

void ibx_records_clear(ibx_order *order, ibx_record_list *list) {
  for (size_t i = 0; i < list->count; i++) {
    drop_record(order, &list->items[i]);
  }
  list->count = 0;
}

void ibx_records_free(ibx_order *order, ibx_record_list *list) {
  ibx_records_clear(order, list);
  free(list->items);
  list->items = NULL;
  list->capacity = 0;
}
