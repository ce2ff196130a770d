// SPDX-License-Identifier: Apache-2.0
//
// The flat form of level 2: arrays that grow in the function's arena.

#include "ir/tiles.h"

#include <string.h>

enum { FIRST_ROOM = 256, WORDS = sizeof(ibx_insn) / sizeof(uint64_t) };

_Static_assert(sizeof(ibx_insn) == WORDS * sizeof(uint64_t) && WORDS <= 64,
               "an instruction is made of words, each with a bit");

static void *move(ibx_arena *arena, const void *array, size_t count,
                  size_t room, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(room, size, &bytes)) bytes = SIZE_MAX; // ends the process
  void *copy = ibx_arena_alloc_raw(arena, (size_t)bytes);
  if (count) memcpy(copy, array, count * size);
  return copy;
}

uint32_t ibx_tile_add_buffer(ibx_tile_func *func, ibx_buffer_decl buffer) {
  size_t count = func->buffer_count;
  if (count == func->buffer_room) {
    size_t room = count ? count * 2 : FIRST_ROOM;
    func->buffers =
        move(func->arena, func->buffers, count, room, sizeof *func->buffers);
    func->lives =
        move(func->arena, func->lives, count, room, sizeof *func->lives);
    func->buffer_room = room;
  }
  func->buffers[count] = buffer;
  func->lives[count] = (ibx_tile_life){.first = UINT32_MAX};
  return (uint32_t)func->buffer_count++;
}

bool ibx_tile_loads_constant(const ibx_tile_func *func, size_t op) {
  const ibx_tile_brief *brief = &func->briefs[op];
  return brief->opcode == IBX_OP_dma_copy &&
         func->buffers[brief->buffer[1]].kind == IBX_BUFFER_WEIGHT;
}

// Notes that the last op uses its operand `slot`.
static void use(ibx_tile_func *func, size_t slot, uint32_t buffer) {
  uint32_t at = (uint32_t)func->op_count - 1;
  ibx_tile_life *life = &func->lives[buffer];
  if (life->first == UINT32_MAX) {
    life->first = at;
    life->streamed = slot == 0 && ibx_tile_loads_constant(func, at);
  }
  life->last = at;
}

// ---- Ops

// Words that differ from those of an instruction as it is made; all bits of them
// count, and padding is 0 in both.
const ibx_packed_op *ibx_tile_pack(const ibx_tile_op *op, ibx_arena *arena) {
  uint64_t words[WORDS], plain[WORDS], kept[WORDS], present = 0;
  size_t count = 0;
  memcpy(words, &op->insn, sizeof words);
  memcpy(plain, &ibx_insn_plain, sizeof plain);
  for (size_t i = 0; i < WORDS; i++) {
    bool differs = words[i] != plain[i];
    kept[count] = words[i];
    count += differs;
    present |= (uint64_t)differs << i;
  }
  ibx_packed_op *packed =
      ibx_arena_alloc_raw(arena, sizeof(*packed) + count * sizeof(*kept));
  *packed = (ibx_packed_op){.present = present,
                            .source = op->source,
                            .engine = (uint8_t)op->engine,
                            .glued = op->glued};
  memcpy(packed->words, kept, count * sizeof(*kept));
  return packed;
}

ibx_tile_op ibx_tile_at(const ibx_tile_func *func, size_t index) {
  const ibx_packed_op *packed = func->ops[index];
  const uint64_t *next = packed->words;
  uint64_t words[WORDS];
  memcpy(words, &ibx_insn_plain, sizeof words);
  for (size_t i = 0; i < WORDS; i++) {
    if (packed->present >> i & 1) words[i] = *next++;
  }
  ibx_tile_op op = {.engine = (ibx_engine)packed->engine,
                    .glued = packed->glued,
                    .source = packed->source};
  memcpy(&op.insn, words, sizeof words);
  return op;
}

void ibx_tile_add_op(ibx_tile_func *func, const ibx_tile_op *op) {
  if (func->op_count == func->op_room)
    ibx_tile_reserve(func, func->op_count + 1);
  const ibx_insn_info *info = ibx_insn_get(op->insn.opcode);
  ibx_tile_brief *brief = &func->briefs[func->op_count];
  func->ops[func->op_count++] = ibx_tile_pack(op, func->arena);
  brief->opcode = op->insn.opcode;
  for (size_t s = 0; s < IBX_OPERANDS; s++) {
    bool is_used = info->slot[s] != IBX_SLOT_NONE;
    brief->buffer[s] = is_used ? op->insn.operand[s].buffer : IBX_NO_BUFFER;
  }
  for (size_t s = 0; s < IBX_OPERANDS; s++) {
    if (brief->buffer[s] != IBX_NO_BUFFER) use(func, s, brief->buffer[s]);
  }
}

void ibx_tile_reserve(ibx_tile_func *func, size_t ops) {
  size_t room = func->op_room ? func->op_room : FIRST_ROOM;
  size_t count = func->op_count;
  while (room < ops)
    room *= 2;
  if (room == func->op_room) return;
  func->op_room = room;
  func->ops = move(func->arena, func->ops, count, room, sizeof *func->ops);
  func->briefs =
      move(func->arena, func->briefs, count, room, sizeof *func->briefs);
}
