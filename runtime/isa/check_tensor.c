// SPDX-License-Identifier: Apache-2.0
//
// The rules of the tensor engine's instructions. Comes in: an instruction whose
// buffers, memories, types and mode exist (check.c). What passes has operands
// that the array takes and a destination in PSUM that one instruction may write.
// What a product finds in the array is the prover's. Limits: ISA nc_matmul,
// nc_matmul_mx, nc_transpose; ARCH2/3/4.

#include "isa/check.h"

#include <inttypes.h>

static ibx_dtype dtype_of(const ibx_check_ctx *ctx, size_t slot) {
  return (ibx_dtype)ctx->insn->operand[slot].dtype;
}

static const ibx_dtype_info *dtype_info(const ibx_check_ctx *ctx, size_t slot) {
  return ibx_dtype_get(dtype_of(ctx, slot));
}

static uint64_t free_size(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  return (uint64_t)insn->num[2] * insn->num[3] * insn->num[4];
}

static bool is_double_row(const ibx_check_ctx *ctx) {
  return (ctx->insn->opcode == IBX_OP_load_stationary &&
          ctx->insn->mode == IBX_MODE_load_stationary_DOUBLE_ROW) ||
         (ctx->insn->opcode == IBX_OP_multiply_moving &&
          ctx->insn->mode == IBX_MODE_multiply_moving_DOUBLE_ROW);
}

static bool is_one_zero(const ibx_check_ctx *ctx) {
  return (ctx->insn->opcode == IBX_OP_load_stationary &&
          ctx->insn->mode == IBX_MODE_load_stationary_ONE_ZERO) ||
         (ctx->insn->opcode == IBX_OP_multiply_moving &&
          ctx->insn->mode == IBX_MODE_multiply_moving_ONE_ZERO);
}

// --- sources ------------------------------------------------------------------

static ibx_status check_columns(const ibx_check_ctx *ctx) {
  unsigned columns = ctx->insn->columns;
  if (columns >= 1 && columns <= IBX_PARTITIONS) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u columns; 1 to %d are allowed", columns,
                        IBX_PARTITIONS);
}

// A tile of `rows` rows a partition.
static ibx_status check_columns_match(const ibx_check_ctx *ctx, unsigned rows) {
  IBX_TRY(check_columns(ctx));
  if (free_size(ctx) == (uint64_t)rows * ctx->insn->columns) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u columns, but the source has %" PRIu64,
                        ctx->insn->columns, free_size(ctx) / rows);
}

// ISA nc_matmul, perf_mode double_row: FP8, the first free dimension is 2.
static ibx_status check_double_row(const ibx_check_ctx *ctx) {
  if (dtype_info(ctx, 1)->bits != 8) {
    return IBX_CHECK_FAIL(ctx, "source is %s; double rows are fp8",
                          dtype_info(ctx, 1)->name);
  }
  if (ctx->insn->num[2] == 2) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "num[2] is %" PRIu32 "; double rows have 2",
                        ctx->insn->num[2]);
}

static ibx_status check_source(const ibx_check_ctx *ctx) {
  if (dtype_info(ctx, 1)->kind != IBX_DTYPE_KIND_FLOAT) {
    return IBX_CHECK_FAIL(ctx,
                          "source is %s; the array multiplies floats, "
                          "convert it to bf16",
                          dtype_info(ctx, 1)->name);
  }
  if (is_double_row(ctx)) return check_double_row(ctx);
  if (is_one_zero(ctx) && dtype_info(ctx, 1)->bits != 32) {
    return IBX_CHECK_FAIL(ctx, "source is %s; one_zero is a promise on f32",
                          dtype_info(ctx, 1)->name);
  }
  return IBX_OK;
}

// ISA nc_matmul_mx; MXFP for the scales.
static ibx_status check_mx_source(const ibx_check_ctx *ctx) {
  ibx_dtype src = dtype_of(ctx, 1);
  if (src == IBX_DTYPE_F8E8M0 ||
      dtype_info(ctx, 1)->kind != IBX_DTYPE_KIND_PACKED) {
    return IBX_CHECK_FAIL(ctx, "source is %s; a type x4 is needed",
                          dtype_info(ctx, 1)->name);
  }
  if (dtype_of(ctx, 2) != IBX_DTYPE_F8E8M0) {
    return IBX_CHECK_FAIL(ctx, "the scales are %s; f8e8m0 is needed",
                          dtype_info(ctx, 2)->name);
  }
  if (ctx->insn->partitions % 32 == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u partitions; a multiple of 32 is needed",
                        ctx->insn->partitions);
}

// --- destinations -------------------------------------------------------------

// Bytes of a partition that the destination covers, from `*out_low` on.
static int64_t reach_of_destination(const ibx_check_ctx *ctx,
                                    const uint32_t *num, int64_t *out_low) {
  const ibx_operand *dst = &ctx->insn->operand[0];
  int64_t bytes = (int64_t)ibx_dtype_bytes(dtype_of(ctx, 0));
  int64_t low = 0, high = 0;
  for (size_t d = 2; d < IBX_DIMS; d++) {
    int64_t reach = (int64_t)dst->step[d] * ((int64_t)num[d] - 1);
    low += reach < 0 ? reach : 0;
    high += reach > 0 ? reach : 0;
  }
  *out_low = low * bytes;
  return (high - low + 1) * bytes;
}

// One PSUM bank holds what one instruction of the tensor engine writes.
static ibx_status check_bank(const ibx_check_ctx *ctx, const uint32_t *num) {
  const ibx_operand *dst = &ctx->insn->operand[0];
  int64_t low;
  int64_t size = reach_of_destination(ctx, num, &low);
  // Offsets within a bank, so that no file's numbers can overflow the sum.
  int64_t bank = ctx->machine->psum_bank_bytes;
  int64_t start = (int64_t)((ibx_check_place(ctx, 0)->offset % (uint64_t)bank +
                             dst->offset % (uint64_t)bank) %
                            (uint64_t)bank);
  if (start + low >= 0 && start + low + size <= bank) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "destination covers bytes %" PRId64 " to %" PRId64
                        " of a psum bank of %" PRId64 "; stay inside one bank",
                        start + low, start + low + size, bank);
}

// ARCH4: from v4 on all eight banks, 4096 columns of f32 or 8192 of bf16.
static ibx_status check_columns_of_moving(const ibx_check_ctx *ctx,
                                          uint64_t columns) {
  bool is_wide = ctx->machine->target >= IBX_TARGET_ibx4;
  uint64_t limit =
      is_wide ? ctx->machine->psum_bytes / ibx_dtype_bytes(dtype_of(ctx, 0))
              : ctx->machine->moving_max;
  if (columns > limit) {
    return IBX_CHECK_FAIL(ctx,
                          "the moving tensor has %" PRIu64 " columns, "
                          "the most is %" PRIu64 "; use several instructions",
                          columns, limit);
  }
  return is_wide ? IBX_OK : check_bank(ctx, ctx->insn->num);
}

static ibx_status check_product_type(const ibx_check_ctx *ctx) {
  ibx_dtype dst = dtype_of(ctx, 0);
  bool bf16 = dst == IBX_DTYPE_BF16 && ctx->machine->target >= IBX_TARGET_ibx4;
  if (dst == IBX_DTYPE_F32 || bf16) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "destination is %s; the array writes f32, and "
                        "bf16 from ibx4 on",
                        dtype_info(ctx, 0)->name);
}

// --- instructions -------------------------------------------------------------

static ibx_status check_load_stationary(const ibx_check_ctx *ctx) {
  IBX_TRY(check_source(ctx));
  return check_columns_match(ctx, is_double_row(ctx) ? 2 : 1);
}

static ibx_status check_multiply_moving(const ibx_check_ctx *ctx) {
  IBX_TRY(check_source(ctx));
  IBX_TRY(check_columns(ctx));
  IBX_TRY(check_product_type(ctx));
  if (!is_double_row(ctx)) return check_columns_of_moving(ctx, free_size(ctx));
  if (ctx->insn->operand[0].step[2] != 0) {
    return IBX_CHECK_FAIL(ctx,
                          "step[2] of the destination is %" PRId32
                          "; both rows add to one element, so it is 0",
                          ctx->insn->operand[0].step[2]);
  }
  return check_columns_of_moving(ctx, free_size(ctx) / 2);
}

static ibx_status check_load_stationary_mx(const ibx_check_ctx *ctx) {
  IBX_TRY(check_mx_source(ctx));
  IBX_TRY(check_columns_match(ctx, 1));
  if (ctx->insn->columns % 2 == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%u columns; an even number is needed",
                        ctx->insn->columns);
}

static ibx_status check_multiply_moving_mx(const ibx_check_ctx *ctx) {
  IBX_TRY(check_mx_source(ctx));
  IBX_TRY(check_columns(ctx));
  IBX_TRY(check_product_type(ctx));
  return check_columns_of_moving(ctx, free_size(ctx));
}

// ARCH3: from v3 on fp8 goes into 16 bits.
static ibx_status check_transpose_types(const ibx_check_ctx *ctx) {
  const ibx_dtype_info *dst = dtype_info(ctx, 0), *src = dtype_info(ctx, 1);
  bool is_fp8 = src->bits == 8 && src->kind == IBX_DTYPE_KIND_FLOAT;
  if (is_fp8 && dst->bits == 16 && ctx->machine->target > IBX_TARGET_ibx2) {
    return IBX_OK;
  }
  if (dst != src) {
    return IBX_CHECK_FAIL(ctx,
                          "destination is %s, source is %s; they must be "
                          "equal",
                          dst->name, src->name);
  }
  if (src->bits != 8) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "source is %s; the array transposes 16 and 32 "
                        "bits, convert it first",
                        src->name);
}

static ibx_status check_nc_transpose(const ibx_check_ctx *ctx) {
  const uint32_t num[IBX_DIMS] = {1, 1, 1, 1, ctx->insn->partitions};
  IBX_TRY(check_columns_match(ctx, 1));
  IBX_TRY(check_transpose_types(ctx));
  return check_bank(ctx, num);
}

ibx_status ibx_check_tensor_insn(const ibx_check_ctx *ctx) {
  switch (ctx->insn->opcode) {
  case IBX_OP_load_stationary: return check_load_stationary(ctx);
  case IBX_OP_multiply_moving: return check_multiply_moving(ctx);
  case IBX_OP_load_stationary_mx: return check_load_stationary_mx(ctx);
  case IBX_OP_multiply_moving_mx: return check_multiply_moving_mx(ctx);
  case IBX_OP_nc_transpose: return check_nc_transpose(ctx);
  default: return IBX_OK;
  }
}
