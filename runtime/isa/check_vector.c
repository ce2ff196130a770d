// SPDX-License-Identifier: Apache-2.0
//
// The rules of Vector's accumulators, generators and searches. Comes in: an
// instruction whose buffers, memories and types exist (check.c). Limits: ISA,
// the entry of each instruction.

#include "isa/check.h"

#include <inttypes.h>

enum {
  BN_STATS_ELEMENTS = 512,
  SEARCH_LEAST = 8,
  SEARCH_MOST = 16384,
  XORWOW_WORDS = 6,
  VECTOR_GENERATORS = 4
};

// Comparisons of range_select are in fp32, where larger indices merge.
static const float most_index = 0x1p24f;

static uint64_t free_size(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  return (uint64_t)insn->num[2] * insn->num[3] * insn->num[4];
}

static ibx_dtype dtype_of(const ibx_check_ctx *ctx, size_t slot) {
  return (ibx_dtype)ctx->insn->operand[slot].dtype;
}

static bool is_integer(ibx_dtype dtype, unsigned most_bits) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_whole =
      info->kind == IBX_DTYPE_KIND_SINT || info->kind == IBX_DTYPE_KIND_UINT;
  return is_whole && info->bits <= most_bits;
}

static ibx_status check_size(const ibx_check_ctx *ctx, uint64_t least,
                             uint64_t most) {
  uint64_t size = free_size(ctx);
  if (size >= least && size <= most) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%" PRIu64 " elements a partition; %" PRIu64
                        " to %" PRIu64 " are allowed",
                        size, least, most);
}

// The operand has an element type that the instruction does not take.
static ibx_status fail_dtype(const ibx_check_ctx *ctx, size_t slot,
                             const char *wanted) {
  return IBX_CHECK_FAIL(ctx, "%s is %s; %s", ibx_check_slot_name(slot),
                        ibx_dtype_get(dtype_of(ctx, slot))->name, wanted);
}

static ibx_status check_equal_dtypes(const ibx_check_ctx *ctx) {
  if (dtype_of(ctx, 0) == dtype_of(ctx, 1)) return IBX_OK;
  return fail_dtype(ctx, 1, "it must be as the destination");
}

// --- accumulators ------------------------------------------------------------

ibx_status ibx_check_start(const ibx_check_ctx *ctx, size_t index) {
  float start = ctx->insn->imm[index];
  if (ctx->insn->reduce == IBX_REDUCE_LOAD_REDUCE || start == 0.0f) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "imm%zu is %g, but only load_reduce starts from it",
                        index, (double)start);
}

// Slot 3 or imm1 is where accumulators start.
static ibx_status check_start_operand(const ibx_check_ctx *ctx) {
  IBX_TRY(ibx_check_start(ctx, 1));
  if (ctx->insn->operand[3].buffer == IBX_NO_BUFFER ||
      ctx->insn->reduce == IBX_REDUCE_LOAD_REDUCE) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "%s is given, but only load_reduce starts from it",
                        ibx_check_slot_name(3));
}

static bool is_int32(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32;
}

static ibx_status check_cumulative(const ibx_check_ctx *ctx) {
  uint8_t op = ctx->insn->op[1];
  IBX_TRY(ibx_check_unary(ctx, 0, 2, IBX_FLAG_REVERSE0));
  IBX_TRY(check_start_operand(ctx));
  for (size_t slot = 0; slot < 2; slot++) {
    if (is_int32(dtype_of(ctx, slot))) {
      return fail_dtype(ctx, slot, "integers of 32 bits do not accumulate");
    }
  }
  if (op == IBX_ALU_ADD || op == IBX_ALU_SUBTRACT || op == IBX_ALU_MULTIPLY ||
      op == IBX_ALU_MAX || op == IBX_ALU_MIN) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "op1 is %s; add, subtract, multiply, max and min "
                        "accumulate",
                        ibx_alu_name(op));
}

static ibx_status check_comparison(const ibx_check_ctx *ctx, size_t index) {
  switch (ctx->insn->op[index]) {
  case IBX_ALU_EQUAL:
  case IBX_ALU_LESS:
  case IBX_ALU_LESS_EQUAL:
  case IBX_ALU_GREATER:
  case IBX_ALU_GREATER_EQUAL: return IBX_OK;
  default:
    return IBX_CHECK_FAIL(ctx,
                          "op%zu is %s; equal, less, less_equal, greater or "
                          "greater_equal is needed",
                          index, ibx_alu_name(ctx->insn->op[index]));
  }
}

static ibx_status check_range_select(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  float first = insn->imm[0];
  for (size_t i = 0; i < 2; i++) {
    IBX_TRY(check_comparison(ctx, i));
    if (insn->operand[2 + i].buffer != IBX_NO_BUFFER) continue;
    return IBX_CHECK_FAIL(ctx, "%s, a bound, has no buffer",
                          ibx_check_slot_name(2 + i));
  }
  if (ibx_dtype_get(dtype_of(ctx, 1))->kind != IBX_DTYPE_KIND_FLOAT) {
    return fail_dtype(ctx, 1, "a float is needed");
  }
  if (insn->imm[1] != 0.0f) {
    return IBX_CHECK_FAIL(ctx, "imm1 is %g; leave it out",
                          (double)insn->imm[1]);
  }
  bool is_near = first > -most_index && first < most_index;
  if (is_near && first == (float)(int32_t)first &&
      (double)first + (double)free_size(ctx) <= (double)most_index) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "indices start at imm0 = %g; whole numbers below 2^24 "
                        "are compared",
                        (double)first);
}

static ibx_status check_select_reduce(const ibx_check_ctx *ctx) {
  if (is_int32(dtype_of(ctx, 1)) || dtype_of(ctx, 1) == IBX_DTYPE_TF32) {
    return fail_dtype(ctx, 1, "no tf32 and no integer of 32 bits is selected");
  }
  if (is_integer(dtype_of(ctx, 2), 16) || dtype_of(ctx, 2) == IBX_DTYPE_BOOL) {
    return IBX_OK;
  }
  return fail_dtype(ctx, 2, "an integer of 8 or 16 bits is needed");
}

static ibx_status check_exponential(const ibx_check_ctx *ctx) {
  IBX_TRY(check_start_operand(ctx));
  for (size_t slot = 0; slot < 2; slot++) {
    ibx_dtype dtype = dtype_of(ctx, slot);
    if (dtype == IBX_DTYPE_F8E4M3FN) return fail_dtype(ctx, slot, "use f8e4m3");
  }
  if (dtype_of(ctx, 1) == IBX_DTYPE_TF32) return fail_dtype(ctx, 1, "use f32");
  if (dtype_of(ctx, 0) != IBX_DTYPE_U32) return IBX_OK;
  return fail_dtype(ctx, 0, "use i32");
}

// --- searches and statistics -------------------------------------------------

static ibx_status check_bn_aggr(const ibx_check_ctx *ctx) {
  if (free_size(ctx) % 3 == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%" PRIu64 " elements a partition are no triples",
                        free_size(ctx));
}

static ibx_status check_indices(const ibx_check_ctx *ctx, size_t slot) {
  ibx_dtype dtype = dtype_of(ctx, slot);
  IBX_TRY(check_size(ctx, SEARCH_LEAST, SEARCH_MOST));
  if (dtype == IBX_DTYPE_U16 || dtype == IBX_DTYPE_U32) return IBX_OK;
  return fail_dtype(ctx, slot, "indices are u16 or u32");
}

static ibx_status check_shuffle(const ibx_check_ctx *ctx, bool may_leave) {
  IBX_TRY(check_equal_dtypes(ctx));
  if (ctx->insn->partitions % IBX_QUADRANT != 0) {
    return IBX_CHECK_FAIL(ctx, "%u partitions are no multiple of %d",
                          ctx->insn->partitions, IBX_QUADRANT);
  }
  for (size_t i = 0; i < IBX_QUADRANT; i++) {
    unsigned from = ctx->insn->shuffle[i];
    if (from < IBX_QUADRANT) continue;
    if (may_leave && from == IBX_SHUFFLE_LEAVE) continue;
    return IBX_CHECK_FAIL(ctx, "shuffle[%zu] is %u; partitions are 0 to %d%s",
                          i, from, IBX_QUADRANT - 1,
                          may_leave ? ", or 255" : "");
  }
  return IBX_OK;
}

// --- random numbers ----------------------------------------------------------

static ibx_status check_from(const ibx_check_ctx *ctx, ibx_engine engine,
                             ibx_target first) {
  if (ctx->engine != engine || ctx->machine->target >= first) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s of %s does not have it",
                        ibx_engine_name(engine), ctx->machine->name);
}

static ibx_status check_rng(const ibx_check_ctx *ctx) {
  IBX_TRY(check_from(ctx, IBX_ENGINE_GPSIMD, IBX_TARGET_ibx3));
  if (is_integer(dtype_of(ctx, 0), 32)) return IBX_OK;
  return fail_dtype(ctx, 0, "random bits are integers");
}

static ibx_status check_seed(const ibx_check_ctx *ctx) {
  IBX_TRY(check_size(ctx, 1, 1));
  if (ctx->insn->partitions != 1) {
    return IBX_CHECK_FAIL(ctx, "%u partitions; a seed has one",
                          ctx->insn->partitions);
  }
  if (ibx_dtype_get(dtype_of(ctx, 1))->bits == 32) return IBX_OK;
  return fail_dtype(ctx, 1, "a seed has 32 bits");
}

static ibx_status check_state(const ibx_check_ctx *ctx, size_t slot) {
  uint64_t words = ctx->engine == IBX_ENGINE_VECTOR
                       ? VECTOR_GENERATORS * XORWOW_WORDS
                       : XORWOW_WORDS;
  IBX_TRY(check_from(ctx, IBX_ENGINE_VECTOR, IBX_TARGET_ibx4));
  IBX_TRY(check_size(ctx, words, words));
  if (dtype_of(ctx, slot) != IBX_DTYPE_U32) {
    return fail_dtype(ctx, slot, "a state is u32");
  }
  if (slot == 0 || ibx_check_place(ctx, slot)->space == IBX_SPACE_SBUF) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "%s is in psum; move it to sbuf",
                        ibx_check_slot_name(slot));
}

static ibx_status check_rand2(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  if (dtype_of(ctx, 0) == IBX_DTYPE_F8E4M3FN) {
    return fail_dtype(ctx, 0, "use f8e4m3");
  }
  bool is_known = insn->operand[2].buffer == IBX_NO_BUFFER &&
                  insn->operand[3].buffer == IBX_NO_BUFFER;
  if (!is_known || insn->imm[0] < insn->imm[1]) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "from %g to %g there is no range",
                        (double)insn->imm[0], (double)insn->imm[1]);
}

// --- MX types ------------------------------------------------------------------

static ibx_status check_quantize(const ibx_check_ctx *ctx) {
  ibx_dtype dst = dtype_of(ctx, 0), src = dtype_of(ctx, 1);
  for (size_t slot = 0; slot < 3; slot++) {
    if (ibx_check_place(ctx, slot)->space == IBX_SPACE_SBUF) continue;
    return IBX_CHECK_FAIL(ctx, "%s is in psum; move it to sbuf",
                          ibx_check_slot_name(slot));
  }
  if (src != IBX_DTYPE_F16 && src != IBX_DTYPE_BF16) {
    return fail_dtype(ctx, 1, "f16 and bf16 are quantized");
  }
  if (dst != IBX_DTYPE_F8E5M2X4 && dst != IBX_DTYPE_F8E4M3FNX4) {
    return fail_dtype(ctx, 0, "the result is f8e5m2x4 or f8e4m3fnx4");
  }
  if (dtype_of(ctx, 2) != IBX_DTYPE_F8E8M0) {
    return fail_dtype(ctx, 2, "scales are f8e8m0");
  }
  if (ctx->insn->partitions % IBX_QUADRANT == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u partitions are no multiple of %d",
                        ctx->insn->partitions, IBX_QUADRANT);
}

ibx_status ibx_check_vector_insn(const ibx_check_ctx *ctx) {
  switch (ctx->insn->opcode) {
  case IBX_OP_read_accumulator: return check_size(ctx, 1, 1);
  case IBX_OP_tensor_scalar_cumulative: return check_cumulative(ctx);
  case IBX_OP_range_select: return check_range_select(ctx);
  case IBX_OP_select_reduce: return check_select_reduce(ctx);
  case IBX_OP_exponential: return check_exponential(ctx);
  case IBX_OP_bn_stats: return check_size(ctx, 1, BN_STATS_ELEMENTS);
  case IBX_OP_bn_aggr: return check_bn_aggr(ctx);
  case IBX_OP_max8:
  case IBX_OP_nc_match_replace8:
    return check_size(ctx, SEARCH_LEAST, SEARCH_MOST);
  case IBX_OP_nc_find_index8: return check_indices(ctx, 0);
  case IBX_OP_nc_match_replace8_index: return check_indices(ctx, 3);
  case IBX_OP_nc_stream_shuffle: return check_shuffle(ctx, false);
  case IBX_OP_nc_stream_shuffle_partial: return check_shuffle(ctx, true);
  case IBX_OP_rng: return check_rng(ctx);
  case IBX_OP_set_rng_seed: return check_seed(ctx);
  case IBX_OP_rand_set_state: return check_state(ctx, 1);
  case IBX_OP_rand_get_state: return check_state(ctx, 0);
  case IBX_OP_rand2: return check_rand2(ctx);
  case IBX_OP_quantize_mx: return check_quantize(ctx);
  case IBX_OP_dropout: return check_equal_dtypes(ctx);
  default: return IBX_OK;
  }
}
