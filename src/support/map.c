// SPDX-License-Identifier: Apache-2.0
//
// Hash table with linear probing, at most half full. Comes in: names that
// outlive the table. Goes out: their numbers.

#include "support/map.h"

#include <string.h>

enum { FIRST_ROOM = 16 };

// FNV-1a: short names, few of them, no adversary who gains from collisions
// more than from a large model.
static uint64_t hash_of(const char *name) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char *c = name; *c != 0; c++) {
    hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
  }
  return hash ^ hash >> 32;
}

static ibx_map_slot *find_slot(const ibx_map *map, const char *name,
                               uint64_t hash) {
  size_t mask = map->room - 1;
  for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
    ibx_map_slot *slot = &map->slots[i];
    if (!slot->name) return slot;
    if (slot->hash == hash && strcmp(slot->name, name) == 0) return slot;
  }
}

static void grow(ibx_map *map) {
  ibx_map old = *map;
  map->room = old.room == 0 ? FIRST_ROOM : 2 * old.room;
  map->slots = IBX_ARENA_ARRAY(map->arena, map->room, ibx_map_slot);
  for (size_t i = 0; i < old.room; i++) {
    const ibx_map_slot *slot = &old.slots[i];
    if (slot->name) *find_slot(map, slot->name, slot->hash) = *slot;
  }
}

bool ibx_map_find(const ibx_map *map, const char *name, uint32_t *out_value) {
  if (map->room == 0) return false;
  const ibx_map_slot *slot = find_slot(map, name, hash_of(name));
  if (!slot->name) return false;
  *out_value = slot->value;
  return true;
}

bool ibx_map_put(ibx_map *map, const char *name, uint32_t value) {
  if (2 * (map->count + 1) > map->room) grow(map);
  uint64_t hash = hash_of(name);
  ibx_map_slot *slot = find_slot(map, name, hash);
  bool is_new = !slot->name;
  if (is_new) {
    map->count++;
    *slot = (ibx_map_slot){.name = name, .hash = hash};
  }
  slot->value = value;
  return is_new;
}
