// SPDX-License-Identifier: Apache-2.0
//
// The flat form of level 2: arrays that grow in the function's arena.

#include "ir/tiles.h"

#include <string.h>

enum { FIRST_ROOM = 256 };

static void *move(ibx_arena *arena, const void *array, size_t count,
                  size_t room, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(room, size, &bytes)) bytes = SIZE_MAX; // ends the process
  void *copy = ibx_arena_alloc_raw(arena, (size_t)bytes);
  if (count) memcpy(copy, array, count * size);
  return copy;
}

static void *grow(ibx_arena *arena, void *array, size_t count, size_t *room,
                  size_t size) {
  if (count < *room) return array;
  *room = *room ? *room * 2 : FIRST_ROOM;
  return move(arena, array, count, *room, size);
}

uint16_t ibx_tile_add_buffer(ibx_tile_func *func, ibx_buffer_decl buffer) {
  func->buffers = grow(func->arena, func->buffers, func->buffer_count,
                       &func->buffer_room, sizeof *func->buffers);
  func->buffers[func->buffer_count] = buffer;
  return (uint16_t)func->buffer_count++;
}

ibx_tile_op *ibx_tile_add_op(ibx_tile_func *func) {
  func->ops = grow(func->arena, func->ops, func->op_count, &func->op_room,
                   sizeof *func->ops);
  return &func->ops[func->op_count++];
}

bool ibx_tile_loads_constant(const ibx_tile_func *func, const ibx_insn *insn) {
  return insn->opcode == IBX_OP_dma_copy &&
         func->buffers[insn->operand[1].buffer].kind == IBX_BUFFER_WEIGHT;
}

void ibx_tile_reserve(ibx_tile_func *func, size_t ops) {
  size_t room = func->op_room ? func->op_room : FIRST_ROOM;
  while (room < ops)
    room *= 2;
  if (room == func->op_room) return;
  func->op_room = room;
  func->ops =
      move(func->arena, func->ops, func->op_count, room, sizeof *func->ops);
}
