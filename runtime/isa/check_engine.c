// SPDX-License-Identifier: Apache-2.0
//
// The rules of single engine instructions: operators, types, sizes. Comes in:
// an instruction whose buffers, memories and types exist (check.c). Limits:
// ISA, the entry of each instruction.

#include "isa/check.h"

#include <inttypes.h>

// ISA nc_transpose on Vector: blocks of 32 x 32.
enum { VECTOR_BLOCK = 32 };

static ibx_dtype dtype_of(const ibx_check_ctx *ctx, size_t slot) {
  return (ibx_dtype)ctx->insn->operand[slot].dtype;
}

static const ibx_dtype_info *dtype_info(const ibx_check_ctx *ctx, size_t slot) {
  return ibx_dtype_get(dtype_of(ctx, slot));
}

static bool is_integer(const ibx_check_ctx *ctx, size_t slot) {
  return dtype_info(ctx, slot)->kind != IBX_DTYPE_KIND_FLOAT;
}

static uint64_t free_size(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  return (uint64_t)insn->num[2] * insn->num[3] * insn->num[4];
}

ibx_status ibx_check_same_dtype(const ibx_check_ctx *ctx, size_t a, size_t b) {
  if (dtype_of(ctx, a) == dtype_of(ctx, b)) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s is %s, %s is %s; they must be equal",
                        ibx_check_slot_name(a), dtype_info(ctx, a)->name,
                        ibx_check_slot_name(b), dtype_info(ctx, b)->name);
}

// Bit operators do not convert: all tensors are integers of one width.
static ibx_status check_bit_types(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!ibx_check_is_tensor(ctx, i)) continue;
    if (is_integer(ctx, i) &&
        dtype_info(ctx, i)->bits == dtype_info(ctx, 0)->bits) {
      continue;
    }
    return IBX_CHECK_FAIL(ctx,
                          "%s is %s; bit operators take integers of one "
                          "width",
                          ibx_check_slot_name(i), dtype_info(ctx, i)->name);
  }
  return IBX_OK;
}

static bool is_whole(float value) {
  return value >= -0x1p31f && value < 0x1p32f && value == (float)(int64_t)value;
}

ibx_status ibx_check_whole(const ibx_check_ctx *ctx, size_t index) {
  if (is_whole(ctx->insn->imm[index])) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "imm%zu is %g; a whole number of 32 bits is "
                        "needed",
                        index, (double)ctx->insn->imm[index]);
}

ibx_status ibx_check_unused(const ibx_check_ctx *ctx, unsigned used) {
  const ibx_insn *insn = ctx->insn;
  const struct {
    const char *name;
    unsigned bit;
    bool is_set;
  } members[] = {
      {"imm0", IBX_USES_IMM0, insn->imm[0] != 0.0f},
      {"imm1", IBX_USES_IMM1, insn->imm[1] != 0.0f},
      {"imm2", IBX_USES_IMM2, insn->imm[2] != 0.0f},
      {"imm3", 0, insn->imm[3] != 0.0f},
      {"pattern0", IBX_USES_PATTERN0, insn->pattern[0] != 0},
      {"pattern1", IBX_USES_PATTERN1, insn->pattern[1] != 0},
      {"pattern2", IBX_USES_PATTERN2, insn->pattern[2] != 0},
      {"count", IBX_USES_COUNT, insn->count != 0},
      {"columns", IBX_USES_COLUMNS, insn->columns > 1},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(members); i++) {
    if (!members[i].is_set || (used & members[i].bit)) continue;
    return IBX_CHECK_FAIL(ctx, "%s has no meaning here; leave it 0",
                          members[i].name);
  }
  return IBX_OK;
}

ibx_status ibx_check_unary(const ibx_check_ctx *ctx, size_t index, size_t slot,
                           uint8_t reverse) {
  const ibx_insn *insn = ctx->insn;
  if (!ibx_alu_is_unary(insn->op[index])) return IBX_OK;
  bool is_alone = insn->operand[slot].buffer == IBX_NO_BUFFER &&
                  insn->imm[index] == 0.0f && !(insn->flags & reverse);
  if (is_alone) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "op%zu is %s, which takes no scalar; leave %s and "
                        "imm%zu out",
                        index, ibx_alu_name(insn->op[index]),
                        ibx_check_slot_name(slot), index);
}

static ibx_status check_binary(const ibx_check_ctx *ctx, size_t index) {
  uint8_t op = ctx->insn->op[index];
  if (!ibx_alu_is_unary(op)) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "op%zu is %s, which has one side; use tensor_scalar",
                        index, ibx_alu_name(op));
}

// ISA tensor_scalar: both operators are of one class. Those on bits have
// immediates, as a [P,1] operand is fp32.
static ibx_status check_tensor_scalar(const ibx_check_ctx *ctx) {
  const uint8_t *op = ctx->insn->op;
  IBX_TRY(ibx_check_unary(ctx, 0, 2, IBX_FLAG_REVERSE0));
  IBX_TRY(ibx_check_unary(ctx, 1, 3, IBX_FLAG_REVERSE1));
  bool is_bits[2] = {ibx_alu_is_bitwise(op[0]), ibx_alu_is_bitwise(op[1])};
  if (!is_bits[0] && !is_bits[1]) return IBX_OK;
  bool both = is_bits[0] && (is_bits[1] || op[1] == IBX_ALU_BYPASS);
  if (!both) {
    return IBX_CHECK_FAIL(ctx,
                          "op0 is %s, op1 is %s; both must be bit "
                          "operators or neither",
                          ibx_alu_name(op[0]), ibx_alu_name(op[1]));
  }
  for (size_t i = 0; i < 2; i++) {
    if (!is_bits[i]) continue;
    IBX_TRY(ibx_check_whole(ctx, i));
    if (ctx->insn->operand[2 + i].buffer == IBX_NO_BUFFER) continue;
    return IBX_CHECK_FAIL(ctx,
                          "%s is a tensor; bit operators take an "
                          "immediate",
                          ibx_check_slot_name(2 + i));
  }
  return check_bit_types(ctx);
}

static ibx_status check_tensor_tensor(const ibx_check_ctx *ctx) {
  IBX_TRY(check_binary(ctx, 0));
  return ibx_alu_is_bitwise(ctx->insn->op[0]) ? check_bit_types(ctx) : IBX_OK;
}

static ibx_status check_scalar_tensor(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_unary(ctx, 0, 3, 0));
  return check_binary(ctx, 1);
}

static ibx_status check_scan(const ibx_check_ctx *ctx) {
  IBX_TRY(check_binary(ctx, 0));
  return check_binary(ctx, 1);
}

// Reduced dimensions are the innermost ones: once the destination stands still,
// it does so in all further dimensions.
static ibx_status check_reduced_dims(const ibx_check_ctx *ctx) {
  bool is_reduced = false;
  for (size_t d = 2; d < IBX_DIMS; d++) {
    if (ctx->insn->num[d] == 1) continue;
    bool stands = ctx->insn->operand[0].step[d] == 0;
    if (is_reduced && !stands) {
      return IBX_CHECK_FAIL(ctx,
                            "dimension %zu is kept inside a reduced one; "
                            "order the reduced dimensions last",
                            d);
    }
    is_reduced = is_reduced || stands;
  }
  return IBX_OK;
}

static ibx_status check_tensor_reduce(const ibx_check_ctx *ctx) {
  if (ibx_alu_is_bitwise(ctx->insn->op[0])) IBX_TRY(check_bit_types(ctx));
  return check_reduced_dims(ctx);
}

static ibx_status check_scalar_reduce(const ibx_check_ctx *ctx) {
  uint8_t op = ctx->insn->op[1];
  IBX_TRY(ibx_check_unary(ctx, 0, 2, 0));
  IBX_TRY(ibx_check_start(ctx, 1));
  if (op == IBX_ALU_ADD || op == IBX_ALU_MULTIPLY || op == IBX_ALU_MAX ||
      op == IBX_ALU_MIN) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "op1 is %s; add, multiply, max and min reduce",
                        ibx_alu_name(op));
}

static ibx_status check_select(const ibx_check_ctx *ctx) {
  if (!is_integer(ctx, 2)) {
    return IBX_CHECK_FAIL(ctx, "the predicate is %s; an integer is needed",
                          dtype_info(ctx, 2)->name);
  }
  return ibx_check_same_dtype(ctx, 0, 1);
}

static ibx_status check_vector_transpose(const ibx_check_ctx *ctx) {
  uint64_t columns = free_size(ctx);
  if (ctx->insn->partitions > VECTOR_BLOCK || columns > VECTOR_BLOCK) {
    return IBX_CHECK_FAIL(ctx,
                          "a block of %u x %" PRIu64 "; the most is %d "
                          "x %d",
                          ctx->insn->partitions, columns, VECTOR_BLOCK,
                          VECTOR_BLOCK);
  }
  return ibx_check_same_dtype(ctx, 0, 1);
}

// Documented as unsafe on v2, where Scalar copies through fp32 (ARCH2).
static ibx_status check_copy(const ibx_check_ctx *ctx) {
  bool is_wide = is_integer(ctx, 1) && dtype_info(ctx, 1)->bits == 32;
  if (ctx->engine != IBX_ENGINE_SCALAR || !is_wide ||
      ctx->machine->target != IBX_TARGET_ibx2) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "scalar copies %s through fp32 on ibx2; use vector",
                        dtype_info(ctx, 1)->name);
}

static ibx_status check_dynamic_copy(const ibx_check_ctx *ctx) {
  if (ctx->insn->index_register != 0) return check_copy(ctx);
  return IBX_CHECK_FAIL(ctx, "%s moves an operand; use tensor_copy",
                        "no register");
}

static ibx_status check_iota(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_whole(ctx, 0));
  return ibx_check_whole(ctx, 1);
}

// ISA tensor_partition_reduce: add, max, bitwise or, bitwise and.
static ibx_status check_partition_reduce(const ibx_check_ctx *ctx) {
  uint8_t op = ctx->insn->op[0];
  if (ctx->insn->mode != 0 && op != IBX_ALU_ADD) {
    return IBX_CHECK_FAIL(ctx, "op0 is %s; an average adds", ibx_alu_name(op));
  }
  if (op == IBX_ALU_BITWISE_OR || op == IBX_ALU_BITWISE_AND) {
    return check_bit_types(ctx);
  }
  if (op == IBX_ALU_ADD || op == IBX_ALU_MAX) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "op0 is %s; add, max, bitwise_or and bitwise_and "
                        "reduce partitions",
                        ibx_alu_name(op));
}

ibx_status ibx_check_engine_insn(const ibx_check_ctx *ctx) {
  switch (ctx->insn->opcode) {
  case IBX_OP_load_stationary:
  case IBX_OP_multiply_moving:
  case IBX_OP_nc_transpose:
  case IBX_OP_load_stationary_mx:
  case IBX_OP_multiply_moving_mx: return ibx_check_tensor_insn(ctx);
  case IBX_OP_tensor_copy: return check_copy(ctx);
  case IBX_OP_tensor_copy_dynamic: return check_dynamic_copy(ctx);
  case IBX_OP_tensor_scalar: return check_tensor_scalar(ctx);
  case IBX_OP_tensor_tensor: return check_tensor_tensor(ctx);
  case IBX_OP_scalar_tensor_tensor: return check_scalar_tensor(ctx);
  case IBX_OP_tensor_scan: return check_scan(ctx);
  case IBX_OP_tensor_reduce: return check_tensor_reduce(ctx);
  case IBX_OP_tensor_scalar_reduce: return check_scalar_reduce(ctx);
  case IBX_OP_select: return check_select(ctx);
  case IBX_OP_vector_transpose: return check_vector_transpose(ctx);
  case IBX_OP_iota: return check_iota(ctx);
  case IBX_OP_partition_reduce: return check_partition_reduce(ctx);
  default: return ibx_check_vector_insn(ctx);
  }
}
