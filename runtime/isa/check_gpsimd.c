// SPDX-License-Identifier: Apache-2.0
//
// The rules of the instructions that only GpSimd has. Comes in: an instruction
// whose buffers, memories and types exist (check.c). Limits: ISA, the entry of
// each instruction; those of library calls are the columns of
// gpsimd_calls.def.

#include "isa/calls.h"
#include "isa/check.h"

#include <inttypes.h>

// Eight cores of 16 partitions each (ISA local_gather).
enum { CORE_PARTITIONS = 16 };

enum {
  MOST_LOCAL = 4096, // ISA local_gather: indices of a core
  MOST_GATHER = 65536,
  MOST_BOUNDS = 32768, // two results each fit a partition
  LEAST_TOPK = 8,      // ISA topk
  MOST_TOPK_SOURCE = 65535,
  MOST_TOPK_RESULT = 32767,
  MOST_ROW = 65536 // gpsimd_calls.def
};

static ibx_dtype dtype_of(const ibx_check_ctx *ctx, size_t slot) {
  return (ibx_dtype)ctx->insn->operand[slot].dtype;
}

static ibx_status check_dtype(const ibx_check_ctx *ctx, size_t slot,
                              ibx_dtype needed) {
  if (dtype_of(ctx, slot) == needed) return IBX_OK;
  return IBX_CHECK_FAIL(
      ctx, "%s is %s; %s is needed", ibx_check_slot_name(slot),
      ibx_dtype_get(dtype_of(ctx, slot))->name, ibx_dtype_get(needed)->name);
}

static ibx_status check_number(const ibx_check_ctx *ctx, size_t slot) {
  ibx_dtype dtype = dtype_of(ctx, slot);
  if (dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_F32) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s is %s; i32 or f32 is needed",
                        ibx_check_slot_name(slot), ibx_dtype_get(dtype)->name);
}

static ibx_status check_range(const ibx_check_ctx *ctx, const char *what,
                              int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return IBX_OK;
  return IBX_CHECK_FAIL(
      ctx, "%s is %" PRId64 "; %" PRId64 " to %" PRId64 " are allowed", what,
      value, least, most);
}

static ibx_status check_cores(const ibx_check_ctx *ctx) {
  if (ctx->insn->partitions % CORE_PARTITIONS == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u partitions; whole groups of %d are needed",
                        ctx->insn->partitions, CORE_PARTITIONS);
}

static uint64_t free_size(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  return (uint64_t)insn->num[2] * insn->num[3] * insn->num[4];
}

static ibx_status check_iota_affine(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_IMM0 | IBX_USES_COUNT |
                                    IBX_USES_PATTERN0 | IBX_USES_PATTERN1 |
                                    IBX_USES_PATTERN2));
  return ibx_check_whole(ctx, 0);
}

static ibx_status check_affine_select(const ibx_check_ctx *ctx) {
  uint8_t op = ctx->insn->op[0];
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_IMM0 | IBX_USES_IMM1 | IBX_USES_COUNT |
                                    IBX_USES_PATTERN0 | IBX_USES_PATTERN1 |
                                    IBX_USES_PATTERN2));
  if (op < IBX_ALU_EQUAL || op > IBX_ALU_LESS_EQUAL) {
    return IBX_CHECK_FAIL(ctx, "op0 is %s, which does not compare",
                          ibx_alu_name(op));
  }
  return ibx_check_whole(ctx, 0);
}

static ibx_status check_local_gather(const ibx_check_ctx *ctx) {
  unsigned e = ctx->insn->columns;
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_COUNT | IBX_USES_COLUMNS));
  IBX_TRY(check_cores(ctx));
  IBX_TRY(check_dtype(ctx, 2, IBX_DTYPE_U16));
  IBX_TRY(ibx_check_same_dtype(ctx, 0, 1));
  if (e == 0 || e > 32 || (e & (e - 1)) != 0) {
    return IBX_CHECK_FAIL(ctx,
                          "%u elements an index; 1, 2, 4, 8, 16 and 32 "
                          "are allowed",
                          e);
  }
  return check_range(ctx, "count", ctx->insn->count, 1, MOST_LOCAL);
}

static ibx_status check_nc_n_gather(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_COUNT));
  IBX_TRY(check_dtype(ctx, 2, IBX_DTYPE_U32));
  IBX_TRY(ibx_check_same_dtype(ctx, 0, 1));
  return check_range(ctx, "count", ctx->insn->count, 1, MOST_GATHER);
}

static ibx_status check_sequence_bounds(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_unused(ctx, 0));
  IBX_TRY(check_number(ctx, 0));
  IBX_TRY(check_number(ctx, 1));
  if (ctx->insn->partitions != 1) {
    return IBX_CHECK_FAIL(ctx, "%u partitions; it works on one",
                          ctx->insn->partitions);
  }
  return check_range(ctx, "the number of elements", (int64_t)free_size(ctx), 1,
                     MOST_BOUNDS);
}

// The operands are the first partitions of cores, and of the cores that other
// instructions of so many partitions could start at.
static ibx_status check_core_start(const ibx_check_ctx *ctx, size_t slot) {
  unsigned start = (unsigned)ibx_check_place(ctx, slot)->partition +
                   ctx->insn->operand[slot].partition;
  unsigned grain = ctx->insn->partitions > 64   ? IBX_PARTITIONS
                   : ctx->insn->partitions > 32 ? 64
                                                : 32;
  if (start % grain == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%s has %u partitions from %u; they start at a "
                        "multiple of %u",
                        ibx_check_slot_name(slot), ctx->insn->partitions, start,
                        grain);
}

static ibx_status check_nonzero(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_PATTERN0 | IBX_USES_PATTERN1));
  IBX_TRY(check_core_start(ctx, 0));
  IBX_TRY(check_core_start(ctx, 1));
  IBX_TRY(check_number(ctx, 1));
  return check_dtype(ctx, 0, IBX_DTYPE_I32);
}

static ibx_status check_topk(const ibx_check_ctx *ctx) {
  int64_t n = ctx->insn->pattern[0];
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_PATTERN0 | IBX_USES_COUNT));
  IBX_TRY(check_cores(ctx));
  IBX_TRY(check_dtype(ctx, 0, IBX_DTYPE_BF16));
  IBX_TRY(check_dtype(ctx, 1, IBX_DTYPE_BF16));
  IBX_TRY(check_dtype(ctx, 2, IBX_DTYPE_U32));
  IBX_TRY(check_range(ctx, "pattern0", n, LEAST_TOPK, MOST_TOPK_SOURCE));
  IBX_TRY(check_range(ctx, "count", ctx->insn->count, 1, MOST_TOPK_RESULT));
  IBX_TRY(check_range(ctx, "count", ctx->insn->count, 1, n));
  uint64_t room = free_size(ctx) * CORE_PARTITIONS;
  return check_range(ctx, "pattern0", n, 1, (int64_t)room);
}

// --- library calls --------------------------------------------------------------

static bool has_types(ibx_call_types types, ibx_dtype dtype, ibx_dtype source) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  ibx_dtype_home home = ibx_dtype_get(dtype)->home;
  bool is_own = home == IBX_DTYPE_HOME_ENGINE || home == IBX_DTYPE_HOME_WIDE;
  bool is_whole = kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
  switch (types) {
  case IBX_TYPES_ANY: return kind != IBX_DTYPE_KIND_PACKED;
  case IBX_TYPES_VALUE: return is_own;
  case IBX_TYPES_INTEGER: return is_own && is_whole;
  case IBX_TYPES_NUMBER:
    return (is_own && kind != IBX_DTYPE_KIND_BOOL) || dtype == IBX_DTYPE_F64;
  case IBX_TYPES_INDEX: return dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_I64;
  case IBX_TYPES_LOGICAL:
    return dtype == IBX_DTYPE_BOOL || dtype == IBX_DTYPE_U8;
  case IBX_TYPES_F32: return dtype == IBX_DTYPE_F32;
  case IBX_TYPES_SAME: return dtype == source;
  }
  return false;
}

static const char *types_text(ibx_call_types types) {
  switch (types) {
  case IBX_TYPES_ANY: return "a type of one value is";
  case IBX_TYPES_VALUE: return "a type of an engine, i64 or u64 is";
  case IBX_TYPES_INTEGER: return "integers are";
  case IBX_TYPES_NUMBER: return "integers, floats of an engine or f64 are";
  case IBX_TYPES_INDEX: return "i32 or i64 is";
  case IBX_TYPES_LOGICAL: return "bool or u8 is";
  case IBX_TYPES_F32: return "f32 is";
  case IBX_TYPES_SAME: return "the source's type is";
  }
  return "";
}

static ibx_status check_call_operand(const ibx_check_ctx *ctx, size_t slot) {
  ibx_call_types types = ibx_call_types_of(ctx->insn->op[0], slot);
  if (!has_types(types, dtype_of(ctx, slot), dtype_of(ctx, 1))) {
    return IBX_CHECK_FAIL(ctx, "%s is %s; %s needed", ibx_check_slot_name(slot),
                          ibx_dtype_get(dtype_of(ctx, slot))->name,
                          types_text(types));
  }
  if (types != IBX_TYPES_ANY) IBX_TRY(ibx_check_has_dtype(ctx, slot));
  bool is_hbm = ibx_check_place(ctx, slot)->space == IBX_SPACE_HBM;
  if (!is_hbm ||
      (ctx->insn->partitions == 1 && ctx->insn->operand[slot].partition == 0)) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "%s is in hbm, which has one partition",
                        ibx_check_slot_name(slot));
}

static ibx_status check_call_count(const ibx_check_ctx *ctx,
                                   const ibx_call_row *row) {
  int64_t count = ctx->insn->count;
  uint64_t n = free_size(ctx);
  switch (row->count) {
  case IBX_COUNT_NONE: return check_range(ctx, "count", count, 0, 0);
  case IBX_COUNT_SOME: return check_range(ctx, "count", count, 1, (int64_t)n);
  case IBX_COUNT_MANY: return check_range(ctx, "count", count, 1, MOST_ROW);
  }
  return IBX_OK;
}

static ibx_status check_call(const ibx_check_ctx *ctx) {
  uint8_t call = ctx->insn->op[0];
  const ibx_call_row *row = ibx_call_find(ctx->insn);
  if (row->opcode != ctx->insn->opcode) {
    return IBX_CHECK_FAIL(ctx, "%s is run by %s", ibx_call_name(call),
                          ibx_insn_get(row->opcode)->name);
  }
  unsigned used = call == IBX_CALL_SUPPRESS ? IBX_USES_IMM0 | IBX_USES_IMM1 : 0;
  IBX_TRY(ibx_check_unused(ctx, used | IBX_USES_COUNT));
  IBX_TRY(check_call_count(ctx, row));
  if (row->lanes == IBX_LANES_ROW) {
    IBX_TRY(check_range(ctx, "the number of elements", (int64_t)free_size(ctx),
                        1, MOST_ROW));
  }
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!ibx_check_is_tensor(ctx, slot)) continue;
    IBX_TRY(check_call_operand(ctx, slot));
  }
  return IBX_OK;
}

ibx_status ibx_check_gpsimd_insn(const ibx_check_ctx *ctx) {
  switch (ctx->insn->opcode) {
  case IBX_OP_iota_affine: return check_iota_affine(ctx);
  case IBX_OP_affine_select: return check_affine_select(ctx);
  case IBX_OP_local_gather: return check_local_gather(ctx);
  case IBX_OP_nc_n_gather: return check_nc_n_gather(ctx);
  case IBX_OP_sequence_bounds: return check_sequence_bounds(ctx);
  case IBX_OP_nonzero_with_count: return check_nonzero(ctx);
  case IBX_OP_topk: return check_topk(ctx);
  default:
    return ibx_insn_is_call(ctx->insn->opcode) ? check_call(ctx) : IBX_OK;
  }
}
