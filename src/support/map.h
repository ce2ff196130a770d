// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_MAP_H
#define IBX_MAP_H

/// \file
/// Names to numbers, in an arena. Nothing depends on the order of the table.

#include "support/arena.h"

typedef struct ibx_map_slot {
  const char *name; ///< NULL in an empty slot
  uint64_t hash;
  uint32_t value;
} ibx_map_slot;

/// Zero but for the arena at first.
typedef struct ibx_map {
  ibx_arena *arena;
  ibx_map_slot *slots;
  size_t room; ///< 0 or a power of two
  size_t count;
} ibx_map;

/// Stores the value of `name` (borrowed) in `*out_value`; false when absent.
bool ibx_map_find(const ibx_map *map, const char *name, uint32_t *out_value);

/// Adds or replaces. Returns false when the name was there before.
bool ibx_map_put(ibx_map *map, const char *name, uint32_t value);

#endif
