// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_HEAP_H
#define IBX_HEAP_H

/// \file
/// A binary heap of numbered items: the least key first, the least number among
/// equal keys. Items live in an arena.

#include "support/arena.h"

typedef struct ibx_heap_item {
  uint64_t key;
  uint32_t number;
} ibx_heap_item;

typedef struct ibx_heap {
  ibx_heap_item *items;
  size_t count, room;
} ibx_heap;

void ibx_heap_push(ibx_heap *heap, ibx_arena *arena, uint64_t key,
                   uint32_t number);
/// Removes and returns the least item; the heap must not be empty.
ibx_heap_item ibx_heap_pop(ibx_heap *heap);

#endif
