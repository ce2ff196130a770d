// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ISA_CHECK_H
#define IBX_ISA_CHECK_H

/// \file
/// What the files of the checker share. check.c holds the rules of every
/// instruction, check_engine.c and check_vector.c those of single engine
/// instructions, check_scalar.c and check_gpsimd.c those of these engines,
/// check_tensor.c those of the tensor engine, check_dma.c those of DMAs.

#include "imbrex/isa.h"

typedef struct ibx_check_ctx {
  const ibx_machine *machine;
  const ibx_insn *insn;
  const ibx_insn_info *info;
  const ibx_buffer_place *buffers;
  size_t buffer_count;
  ibx_error *err;
  ibx_engine engine;
} ibx_check_ctx;

/// Fails with INVALID_PROGRAM; the message starts with the instruction's name.
#define IBX_CHECK_FAIL(ctx, format, ...)                                       \
  IBX_FAIL((ctx)->err, INVALID_PROGRAM, "%s: " format, (ctx)->info->name,      \
           __VA_ARGS__)

/// "destination", "source", "operand 2", "operand 3".
const char *ibx_check_slot_name(size_t slot);

/// Whether the slot holds a tensor, as opposed to nothing or a [P,1] scalar.
bool ibx_check_is_tensor(const ibx_check_ctx *ctx, size_t slot);

/// Lends the place of the operand's buffer. The operand must have one.
const ibx_buffer_place *ibx_check_place(const ibx_check_ctx *ctx, size_t slot);

/// Whether the target has the dtype of the operand, of those that engines have.
ibx_status ibx_check_has_dtype(const ibx_check_ctx *ctx, size_t slot);

/// Rules of one engine instruction: operators, dtypes, sizes.
ibx_status ibx_check_engine_insn(const ibx_check_ctx *ctx);

/// What an instruction of format wide may use beside operands, space and
/// operators.
enum {
  IBX_USES_IMM0 = 1,
  IBX_USES_IMM1 = 2,
  IBX_USES_IMM2 = 4,
  IBX_USES_PATTERN0 = 8,
  IBX_USES_PATTERN1 = 16,
  IBX_USES_PATTERN2 = 32,
  IBX_USES_COUNT = 64,
  IBX_USES_COLUMNS = 128
};

/// All others are 0.
ibx_status ibx_check_unused(const ibx_check_ctx *ctx, unsigned used);

/// Rules of Scalar; OK for other engines.
ibx_status ibx_check_scalar_insn(const ibx_check_ctx *ctx);

/// Rules of the instructions that only GpSimd has; OK for others.
ibx_status ibx_check_gpsimd_insn(const ibx_check_ctx *ctx);

/// imm[index] is a whole number of 32 bits.
ibx_status ibx_check_whole(const ibx_check_ctx *ctx, size_t index);

/// Both operands, which are tensors, have one type.
ibx_status ibx_check_same_dtype(const ibx_check_ctx *ctx, size_t a, size_t b);

/// Rules of one instruction of the tensor engine.
ibx_status ibx_check_tensor_insn(const ibx_check_ctx *ctx);

/// Those of Vector's accumulators, generators and searches (check_vector.c).
ibx_status ibx_check_vector_insn(const ibx_check_ctx *ctx);

/// An operator with one side has no scalar (ISA): where op[index] is one, slot
/// `slot` is absent, imm[index] 0, and the flag `reverse` not set.
ibx_status ibx_check_unary(const ibx_check_ctx *ctx, size_t index, size_t slot,
                           uint8_t reverse);

/// imm[index], where accumulators start, is given with LOAD_REDUCE only.
ibx_status ibx_check_start(const ibx_check_ctx *ctx, size_t index);

/// Rules of DMAs.
ibx_status ibx_check_dma(const ibx_check_ctx *ctx);

/// Rules of DMAs between cores (check_collective.c).
ibx_status ibx_check_collective(const ibx_check_ctx *ctx);

#endif
