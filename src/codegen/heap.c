// SPDX-License-Identifier: Apache-2.0
//
// A binary heap. Comes in: items in any order. Goes out: items by key, then by
// number, so that the order depends on nothing else.

#include "codegen/heap.h"

#include <string.h>

static bool is_before(const ibx_heap_item *a, const ibx_heap_item *b) {
  return a->key != b->key ? a->key < b->key : a->number < b->number;
}

void ibx_heap_push(ibx_heap *heap, ibx_arena *arena, uint64_t key,
                   uint32_t number) {
  if (heap->count == heap->room) {
    size_t room = heap->room == 0 ? 16 : 2 * heap->room;
    ibx_heap_item *items = IBX_ARENA_ARRAY(arena, room, ibx_heap_item);
    if (heap->count) memcpy(items, heap->items, heap->count * sizeof(*items));
    heap->items = items;
    heap->room = room;
  }
  ibx_heap_item item = {.key = key, .number = number};
  size_t at = heap->count++;
  while (at > 0 && is_before(&item, &heap->items[(at - 1) / 2])) {
    heap->items[at] = heap->items[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap->items[at] = item;
}

ibx_heap_item ibx_heap_pop(ibx_heap *heap) {
  ibx_heap_item top = heap->items[0];
  ibx_heap_item last = heap->items[--heap->count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= heap->count) break;
    if (child + 1 < heap->count &&
        is_before(&heap->items[child + 1], &heap->items[child])) {
      child++;
    }
    if (!is_before(&heap->items[child], &last)) break;
    heap->items[at] = heap->items[child];
    at = child;
  }
  heap->items[at] = last;
  return top;
}
