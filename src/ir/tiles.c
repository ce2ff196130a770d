// SPDX-License-Identifier: Apache-2.0
//
// The flat form of level 2: arrays that grow in the function's arena.

#include "ir/tiles.h"

#include <string.h>

static void *grow(ibx_arena *arena, void *array, size_t count, size_t *room,
                  size_t size) {
  if (count < *room) return array;
  size_t more = *room ? *room * 2 : 256;
  void *copy = ibx_arena_array(arena, more, size);
  if (count) memcpy(copy, array, count * size);
  *room = more;
  return copy;
}

uint16_t ibx_tile_add_buffer(ibx_tile_func *func, ibx_buffer_decl buffer) {
  func->buffers = grow(func->arena, func->buffers, func->buffer_count,
                       &func->buffer_room, sizeof *func->buffers);
  func->buffers[func->buffer_count] = buffer;
  return (uint16_t)func->buffer_count++;
}

void ibx_tile_add_op(ibx_tile_func *func, ibx_tile_op op) {
  func->ops = grow(func->arena, func->ops, func->op_count, &func->op_room,
                   sizeof *func->ops);
  func->ops[func->op_count++] = op;
}
