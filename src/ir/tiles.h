// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TILES_H
#define IBX_TILES_H

/// \file
/// A function of level 2 as flat C arrays: buffers and one engine instruction
/// on one tile for each op, in program order: executed one after the other they
/// compute the function. No semaphores, no queues: those are code generation's.

#include "imbrex/program.h"
#include "support/arena.h"

/// One op. `insn` has no wait and no signal; its operands name buffers of the
/// function. `engine` is the planned engine; select may add others that can do
/// the same.
typedef struct ibx_tile_op {
  ibx_insn insn;
  ibx_engine engine;
  bool glued;      ///< the next op must follow directly on the same engine
  uint32_t source; ///< row of the source table
} ibx_tile_op;

/// An op as it is kept: without what ibx_insn_make() would have it be, which is
/// two thirds of an instruction.
typedef struct ibx_packed_op {
  uint64_t present; ///< bit i: word i of the instruction is another
  uint32_t source;
  uint8_t engine; ///< ibx_engine
  bool glued;
  uint64_t words[];
} ibx_packed_op;

/// What is asked of all ops again and again, without the ops themselves.
typedef struct ibx_tile_brief {
  uint32_t buffer[IBX_OPERANDS]; ///< IBX_NO_BUFFER where there is no operand
  uint8_t opcode;
} ibx_tile_brief;

/// The ops that use a buffer first and last; `first` is UINT32_MAX where none
/// does.
typedef struct ibx_tile_life {
  uint32_t first, last;
  bool streamed; ///< filled by one load of a constant
} ibx_tile_life;

typedef struct ibx_tile_func {
  ibx_arena *arena;
  const char *name;
  const ibx_packed_op **ops;
  ibx_tile_brief *briefs; ///< one for each op
  size_t op_count, op_room;
  ibx_buffer_decl *buffers;
  ibx_tile_life *lives; ///< one for each buffer
  size_t buffer_count, buffer_room;
  uint64_t *offsets; ///< found for the buffers in SBUF, or NULL: not asked yet
  ibx_tensor_decl *inputs; ///< as in ibx_entry
  size_t input_count;
  ibx_tensor_decl *outputs;
  size_t output_count;
} ibx_tile_func;

/// Appends and returns the index.
uint32_t ibx_tile_add_buffer(ibx_tile_func *func, ibx_buffer_decl buffer);
/// The op with that index.
ibx_tile_op ibx_tile_at(const ibx_tile_func *func, size_t index);
/// A packed copy in `arena`.
const ibx_packed_op *ibx_tile_pack(const ibx_tile_op *op, ibx_arena *arena);
/// Appends an operation, whose buffers are there.
void ibx_tile_add_op(ibx_tile_func *func, const ibx_tile_op *op);
/// Whether an operation loads a constant out of the weight section.
bool ibx_tile_loads_constant(const ibx_tile_func *func, size_t op);
/// Makes the room that adding as many operations would have made.
void ibx_tile_reserve(ibx_tile_func *func, size_t ops);

#endif
