// SPDX-License-Identifier: Apache-2.0
//
// The rules of DMAs. Comes in: a DMA whose buffers and types exist (check.c).
// What passes has memories that a DMA reaches, a descriptor source that its
// engine has, and a signal value equal to the number of its pieces. Sources:
// DMAOV, DGE, ISA dma_copy.

#include "isa/check.h"

#include <inttypes.h>

// More elements than an address has values cannot all be written.
static const uint64_t most_elements = UINT64_C(1) << 40;

static ibx_status check_iteration(const ibx_check_ctx *ctx) {
  uint64_t count = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (ctx->insn->num[d] == 0) {
      return IBX_CHECK_FAIL(ctx,
                            "dimension %zu has 0 elements; leave the DMA "
                            "out",
                            d);
    }
    if (!ibx_mul_size(count, ctx->insn->num[d], &count) ||
        count > most_elements) {
      return IBX_CHECK_FAIL(ctx,
                            "more than %" PRIu64 " elements; use several "
                            "DMAs",
                            most_elements);
    }
  }
  return IBX_OK;
}

static ibx_status check_place(const ibx_check_ctx *ctx, size_t slot) {
  const ibx_operand *operand = &ctx->insn->operand[slot];
  ibx_space space = ibx_check_place(ctx, slot)->space;
  if (space == IBX_SPACE_SBUF) return IBX_OK;
  if (space != IBX_SPACE_HBM) {
    return IBX_CHECK_FAIL(ctx,
                          "%s is in %s, which no DMA reaches; copy it to "
                          "sbuf first",
                          ibx_check_slot_name(slot), ibx_space_name(space));
  }
  bool is_zero = operand->partition == 0;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    is_zero = is_zero && operand->partition_step[d] == 0;
  }
  if (is_zero) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%s is in hbm, which has no partitions; set them "
                        "to 0",
                        ibx_check_slot_name(slot));
}

static ibx_status check_types(const ibx_check_ctx *ctx) {
  ibx_dtype dst = (ibx_dtype)ctx->insn->operand[0].dtype;
  ibx_dtype src = (ibx_dtype)ctx->insn->operand[1].dtype;
  if (dst == src || (ibx_dtype_get(dst)->home == IBX_DTYPE_HOME_ENGINE &&
                     ibx_dtype_get(src)->home == IBX_DTYPE_HOME_ENGINE)) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "%s to %s; types that no engine has move unconverted "
                        "only",
                        ibx_dtype_get(src)->name, ibx_dtype_get(dst)->name);
}

static ibx_status check_gather(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  if (insn->dge != IBX_DGE_SOFTWARE) {
    return IBX_CHECK_FAIL(ctx,
                          "descriptor source %u; only software "
                          "descriptors gather",
                          insn->dge);
  }
  size_t table = (size_t)ibx_insn_transfer(insn->opcode).index;
  if (ibx_check_place(ctx, table)->space != IBX_SPACE_HBM ||
      ibx_check_place(ctx, 2)->space != IBX_SPACE_SBUF) {
    return IBX_CHECK_FAIL(ctx, "the %s must be in hbm, the indices in sbuf",
                          ibx_check_slot_name(table));
  }
  if (insn->operand[2].dtype != IBX_DTYPE_U32) {
    return IBX_CHECK_FAIL(
        ctx, "the indices are %s; u32 is needed",
        ibx_dtype_get((ibx_dtype)insn->operand[2].dtype)->name);
  }
  if (insn->num[0] > IBX_PARTITIONS) {
    return IBX_CHECK_FAIL(ctx,
                          "%" PRIu32 " indices, one a partition; the "
                          "most is %d",
                          insn->num[0], IBX_PARTITIONS);
  }
  if (insn->count > 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "a table of 0 rows; count must be the rows of the "
                        "%s",
                        ibx_check_slot_name(table));
}

// ISA dma_compute: sums are in fp32, of at most 16 sources.
static ibx_status check_sum(const ibx_check_ctx *ctx, ibx_transfer transfer) {
  const ibx_operand *dst = &ctx->insn->operand[0];
  for (size_t i = 0; i < 2; i++) {
    const ibx_dtype_info *info =
        ibx_dtype_get((ibx_dtype)ctx->insn->operand[i].dtype);
    if (info->kind == IBX_DTYPE_KIND_FLOAT && info->bits <= 32) continue;
    return IBX_CHECK_FAIL(ctx, "%s is %s; floats of at most 32 bits are added",
                          ibx_check_slot_name(i), info->name);
  }
  if (transfer.combine != IBX_TRANSFER_SUM) return IBX_OK;
  if (ctx->insn->num[0] > 16) {
    return IBX_CHECK_FAIL(ctx, "%" PRIu32 " sources; the most is 16",
                          ctx->insn->num[0]);
  }
  if (dst->step[0] == 0 && dst->partition_step[0] == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "the %s moves from source to source; set its steps "
                        "of dimension 0 to 0",
                        ibx_check_slot_name(0));
}

// Whether an operand is contiguous along dimension `d`.
static bool is_contiguous(const ibx_operand *operand, size_t d) {
  return operand->step[d] == 1 && operand->partition_step[d] == 0;
}

// ISA dma_transpose, ARCH3.
static ibx_status check_transpose(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  size_t bits = ibx_dtype_get((ibx_dtype)insn->operand[0].dtype)->bits;
  if (insn->operand[0].dtype != insn->operand[1].dtype ||
      (bits != 16 && bits != 32)) {
    return IBX_CHECK_FAIL(
        ctx,
        "%s to %s; equal types of 16 or 32 bits are "
        "transposed",
        ibx_dtype_get((ibx_dtype)insn->operand[1].dtype)->name,
        ibx_dtype_get((ibx_dtype)insn->operand[0].dtype)->name);
  }
  if (insn->num[4] > 128) {
    return IBX_CHECK_FAIL(ctx, "num[4] is %" PRIu32 "; the most is 128",
                          insn->num[4]);
  }
  if (insn->dge == IBX_DGE_SOFTWARE) {
    return IBX_CHECK_FAIL(ctx, "%s descriptors; use static or hardware ones",
                          "software");
  }
  if (is_contiguous(&insn->operand[1], 4) &&
      is_contiguous(&insn->operand[0], 3)) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "the %s must be contiguous in dimension 4, the %s "
                        "in dimension 3",
                        ibx_check_slot_name(1), ibx_check_slot_name(0));
}

// ISA dma_copy, scalar_offset; DGE: the hardware block takes a start address.
static ibx_status check_register(const ibx_check_ctx *ctx,
                                 ibx_transfer transfer) {
  const ibx_insn *insn = ctx->insn;
  if (insn->index_register == 0) return IBX_OK;
  if (transfer.index != IBX_TRANSFER_NONE) {
    return IBX_CHECK_FAIL(
        ctx, "rows by index and register %u; count is of one of them",
        insn->index_register - 1u);
  }
  if (ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE) {
    return IBX_CHECK_FAIL(
        ctx, "register %u; cores that meet do so at fixed addresses",
        insn->index_register - 1u);
  }
  if (transfer.combine == IBX_TRANSFER_SUM) {
    return IBX_CHECK_FAIL(
        ctx, "register %u needs dimension 0, which counts the sources",
        insn->index_register - 1u);
  }
  if (insn->dge != IBX_DGE_STATIC) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "static descriptors cannot follow register %u; use "
                        "hardware or software ones",
                        insn->index_register - 1u);
}

// Each source of descriptors has its engine: DGE.
static ibx_status check_dge(const ibx_check_ctx *ctx) {
  bool is_looped = (ctx->insn->flags & IBX_FLAG_LOOPED) != 0;
  const char *engine = ibx_engine_name(ctx->engine);
  switch (ctx->insn->dge) {
  case IBX_DGE_STATIC:
    if (!is_looped) return IBX_OK;
    return IBX_CHECK_FAIL(ctx,
                          "%s descriptors cannot follow loop registers; "
                          "use hardware or software ones",
                          "static");
  case IBX_DGE_HARDWARE:
    if (ctx->machine->dge_hw_ps == 0) {
      return IBX_CHECK_FAIL(ctx,
                            "%s has no hardware descriptors; use static "
                            "or software ones",
                            ctx->machine->name);
    }
    if (ctx->engine == IBX_ENGINE_SYNC || ctx->engine == IBX_ENGINE_SCALAR) {
      return IBX_OK;
    }
    return IBX_CHECK_FAIL(ctx,
                          "hardware descriptors on %s; only sync and "
                          "scalar trigger them",
                          engine);
  case IBX_DGE_SOFTWARE:
    if (ctx->engine == IBX_ENGINE_GPSIMD) return IBX_OK;
    return IBX_CHECK_FAIL(ctx,
                          "software descriptors on %s; only gpsimd makes "
                          "them",
                          engine);
  default:
    return IBX_CHECK_FAIL(ctx, "descriptor source %u does not exist",
                          ctx->insn->dge);
  }
}

static ibx_status check_queue(const ibx_check_ctx *ctx) {
  if (ctx->insn->queue < ctx->machine->dma_queues) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "queue %u; there are %" PRIu32, ctx->insn->queue,
                        ctx->machine->dma_queues);
}

// A DMA that nobody waits for has no signal; otherwise each piece raises it.
static ibx_status check_signal(const ibx_check_ctx *ctx) {
  size_t pieces = ibx_dma_split(ctx->machine, ctx->insn, ctx->buffers, NULL);
  if (ctx->insn->signal_value == 0 || ctx->insn->signal_value == pieces) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "it signals %u, but has %zu pieces; signal %zu",
                        ctx->insn->signal_value, pieces, pieces);
}

ibx_status ibx_check_dma(const ibx_check_ctx *ctx) {
  ibx_transfer transfer = ibx_insn_transfer(ctx->insn->opcode);
  bool is_gather = transfer.index != IBX_TRANSFER_NONE;
  IBX_TRY(check_iteration(ctx));
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (ibx_check_is_tensor(ctx, i)) IBX_TRY(check_place(ctx, i));
  }
  IBX_TRY(check_types(ctx));
  IBX_TRY(check_dge(ctx));
  IBX_TRY(check_register(ctx, transfer));
  if (is_gather) IBX_TRY(check_gather(ctx));
  if (transfer.combine != IBX_TRANSFER_COPY) IBX_TRY(check_sum(ctx, transfer));
  if (transfer.rate == IBX_TRANSFER_TRANSPOSE) IBX_TRY(check_transpose(ctx));
  if (ibx_insn_collective(ctx->insn->opcode) != IBX_COLLECTIVE_NONE) {
    IBX_TRY(ibx_check_collective(ctx));
  }
  IBX_TRY(check_queue(ctx));
  return check_signal(ctx);
}
