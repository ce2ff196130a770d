// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SYNC_PLAN_H
#define IBX_SYNC_PLAN_H

/// \file
/// Inside of synchronisation: items with their waits and signals, before they
/// are instructions. Positions count the items of an engine from 1; 0 is none.

#include "codegen/sync.h"

/// DMAs with one semaphore and one wait for all of them.
typedef struct ibx_sync_group {
  uint64_t done_ps;
  const ibx_slot *last;             ///< of its DMAs in the global order
  uint32_t clock[IBX_ENGINE_COUNT]; ///< what its triggers knew
  uint32_t sum;                     ///< pieces
  uint32_t waiter_position;         ///< 0: nobody has waited yet
  uint32_t wanted_by;               ///< serial number of the item that wants it
  uint32_t next_wanted;             ///< index + 1 of the item's next group
  uint32_t freed_position;          ///< the wait that freed the semaphore:
  uint8_t freed_engine;             ///< all its triggers must know it
  uint8_t waiter_engine;
  uint8_t semaphore;
  bool is_handed_on; ///< its semaphore went to the waiting DMA itself
} ibx_sync_group;

typedef struct ibx_sync_item {
  const ibx_slot *slot;             ///< NULL: only waits
  uint64_t done_ps;                 ///< expected
  uint32_t clock[IBX_ENGINE_COUNT]; ///< known once it is complete
  uint32_t pair_position[IBX_ENGINE_COUNT];
  uint32_t group;     ///< index + 1 of the first group that it waits for
  uint8_t pair_waits; ///< a bit for each engine
  uint8_t signals;    ///< likewise
  bool carries;       ///< it delays a signal of an item before
} ibx_sync_item;

typedef struct ibx_sync_list {
  ibx_sync_item *items;
  size_t count;
} ibx_sync_list;

typedef struct ibx_sync_free_entry {
  uint32_t position;
  uint8_t semaphore;
} ibx_sync_free_entry;

/// Semaphores that items of one engine waited for, the oldest first.
typedef struct ibx_sync_free {
  ibx_sync_free_entry entries[IBX_SEMAPHORES];
  size_t head, count;
} ibx_sync_free;

/// What one item waits for, before reduction.
typedef struct ibx_sync_needs {
  uint32_t position[IBX_ENGINE_COUNT];
  uint32_t group; ///< index + 1 of the first one
} ibx_sync_needs;

typedef struct ibx_sync {
  const ibx_units *units;
  const ibx_schedule *schedule;
  ibx_arena *scratch;
  ibx_sync_list lists[IBX_ENGINE_COUNT];
  uint32_t clock[IBX_ENGINE_COUNT][IBX_ENGINE_COUNT];
  uint8_t *engine_of;    ///< of each step
  uint32_t *position_of; ///< of each step
  uint32_t *group_of;    ///< of each step that is a DMA: index + 1
  uint32_t *first_need;  ///< of each step: slot + 1, or 0
  uint32_t *open_group;  ///< of each slot: index + 1 of the group for it
  uint32_t last_group;   ///< the group that nobody needs: index + 1
  ibx_sync_group *groups;
  uint32_t group_count, oldest;
  uint32_t serial;
  unsigned fresh_semaphore;
  ibx_sync_free free[IBX_ENGINE_COUNT];
} ibx_sync;

/// The semaphore of signals from one engine to another.
static inline uint8_t ibx_sync_pair(int from, int to) {
  return (uint8_t)(from * IBX_ENGINE_COUNT + to);
}

/// Moves waits and signals to neighbours that have none; see sync_spread.c.
void ibx_sync_spread(ibx_sync *sync);

/// Turns the items into instructions; see sync_write.c.
void ibx_sync_write(const ibx_sync *sync, ibx_arena *arena,
                    ibx_stream streams[IBX_ENGINE_COUNT]);

#endif
