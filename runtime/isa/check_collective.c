// SPDX-License-Identifier: Apache-2.0
//
// The rules of what several cores do together. Comes in: a DMA that passes the
// rules of all DMAs, or an instruction of control. What passes moves equal types
// between memories of one kind, no byte twice, and says what its kind needs.
// Sources: nki.collectives, ISA sendrecv.

#include "isa/check.h"

#include <inttypes.h>

// ISA sendrecv: elements of a partition that GpSimd exchanges.
enum { GPSIMD_ELEMENTS = 256 };

static bool has_metadata(ibx_collective kind) {
  return kind == IBX_COLLECTIVE_ALL_GATHER_V ||
         kind == IBX_COLLECTIVE_ALL_TO_ALL_V;
}

static bool rotates(ibx_collective kind) {
  return kind == IBX_COLLECTIVE_PERMUTE ||
         kind == IBX_COLLECTIVE_PERMUTE_REDUCE;
}

static bool has_ranks(ibx_collective kind) {
  return kind == IBX_COLLECTIVE_ALL_GATHER ||
         kind == IBX_COLLECTIVE_REDUCE_SCATTER ||
         kind == IBX_COLLECTIVE_ALL_TO_ALL || has_metadata(kind);
}

static bool reduces(ibx_collective kind) {
  return kind == IBX_COLLECTIVE_ALL_REDUCE ||
         kind == IBX_COLLECTIVE_REDUCE_SCATTER ||
         kind == IBX_COLLECTIVE_PERMUTE_REDUCE;
}

static ibx_status check_types(const ibx_check_ctx *ctx, ibx_collective kind) {
  const ibx_dtype_info *dst =
      ibx_dtype_get((ibx_dtype)ctx->insn->operand[0].dtype);
  const ibx_dtype_info *src =
      ibx_dtype_get((ibx_dtype)ctx->insn->operand[1].dtype);
  if (dst != src) {
    return IBX_CHECK_FAIL(ctx, "%s to %s; a collective does not convert",
                          src->name, dst->name);
  }
  bool is_float = src->kind == IBX_DTYPE_KIND_FLOAT && src->bits <= 32;
  if (!reduces(kind) || is_float) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s is %s; floats of at most 32 bits are reduced",
                        ibx_check_slot_name(1), src->name);
}

static ibx_status check_spaces(const ibx_check_ctx *ctx, ibx_collective kind) {
  ibx_space dst = ibx_check_place(ctx, 0)->space;
  ibx_space src = ibx_check_place(ctx, 1)->space;
  if (dst != src) {
    return IBX_CHECK_FAIL(ctx, "from %s to %s; both sides are in one memory",
                          ibx_space_name(src), ibx_space_name(dst));
  }
  if (kind != IBX_COLLECTIVE_EXCHANGE || src == IBX_SPACE_SBUF) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "tiles in %s; only sbuf is exchanged",
                        ibx_space_name(src));
}

// So what the simulator keeps of a collective is never more than the memory
// that it comes from.
static ibx_status check_bytes(const ibx_check_ctx *ctx, size_t slot) {
  const ibx_buffer_place *place = ibx_check_place(ctx, slot);
  ibx_operand_shape shape = ibx_insn_shape(ctx->insn, slot);
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)ctx->insn->operand[slot].dtype);
  uint64_t room;
  if (!ibx_mul_size(place->bytes, place->partitions, &room)) room = UINT64_MAX;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (!ibx_mul_size(bytes, shape.num[d], &bytes)) bytes = UINT64_MAX;
  }
  if (bytes <= room) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s has %" PRIu64 " bytes, its buffer %" PRIu64,
                        ibx_check_slot_name(slot), bytes, room);
}

static ibx_status check_gpsimd(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  if (insn->dge != IBX_DGE_SOFTWARE) return IBX_OK;
  uint64_t elements = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (insn->operand[1].partition_step[d] == 0) elements *= insn->num[d];
  }
  if (elements <= GPSIMD_ELEMENTS) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%" PRIu64 " elements a partition; gpsimd exchanges "
                        "at most %d, use static or hardware descriptors",
                        elements, GPSIMD_ELEMENTS);
}

// The side that has no dimension 0 stands still in it.
static ibx_status check_still(const ibx_check_ctx *ctx, size_t slot) {
  const ibx_operand *operand = &ctx->insn->operand[slot];
  if (operand->step[0] == 0 && operand->partition_step[0] == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "the %s moves from %s; set its steps of dimension 0 "
                        "to 0",
                        ibx_check_slot_name(slot),
                        slot == 0 && ctx->insn->opcode ==
                                         IBX_OP_collective_permute_reduce
                            ? "source to source"
                            : "rank to rank");
}

static ibx_status check_operator(const ibx_check_ctx *ctx) {
  uint8_t op = ctx->insn->op[0];
  if (op == IBX_ALU_ADD || op == IBX_ALU_MAX || op == IBX_ALU_MIN) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx, "op0 is %s; use add, max or min",
                        ibx_alu_name(op));
}

static ibx_status check_count(const ibx_check_ctx *ctx, ibx_collective kind) {
  uint32_t most = rotates(kind) ? ctx->machine->chip_cores - 1 : 0;
  if (ctx->insn->count <= most) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "count is %" PRIu32 "; the most is %" PRIu32,
                        ctx->insn->count, most);
}

// Counts and displacements as nki.collectives has them, one a partition as all
// index tensors are; both sides are HBM-backed there.
static ibx_status check_metadata(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  if (insn->num[0] > ctx->machine->chip_cores) {
    return IBX_CHECK_FAIL(
        ctx, "num[0] is %" PRIu32 "; %s has %" PRIu32 " cores", insn->num[0],
        ctx->machine->name, ctx->machine->chip_cores);
  }
  if (insn->operand[2].dtype != IBX_DTYPE_U32) {
    return IBX_CHECK_FAIL(
        ctx, "the metadata are %s; u32 is needed",
        ibx_dtype_get((ibx_dtype)insn->operand[2].dtype)->name);
  }
  if (ibx_check_place(ctx, 2)->space != IBX_SPACE_SBUF) {
    return IBX_CHECK_FAIL(ctx, "the metadata are in %s; sbuf is needed",
                          ibx_space_name(ibx_check_place(ctx, 2)->space));
  }
  if (ibx_check_place(ctx, 0)->space == IBX_SPACE_HBM) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "tiles in %s; only hbm takes counts that data give",
                        ibx_space_name(ibx_check_place(ctx, 0)->space));
}

static ibx_status check_sources(const ibx_check_ctx *ctx) {
  if (ctx->insn->num[0] == 2) return check_still(ctx, 0);
  return IBX_CHECK_FAIL(ctx, "num[0] is %" PRIu32 "; it reduces 2 sources",
                        ctx->insn->num[0]);
}

ibx_status ibx_check_collective(const ibx_check_ctx *ctx) {
  ibx_collective kind = ibx_insn_collective(ctx->insn->opcode);
  IBX_TRY(check_types(ctx, kind));
  IBX_TRY(check_spaces(ctx, kind));
  IBX_TRY(check_bytes(ctx, 0));
  IBX_TRY(check_bytes(ctx, 1));
  IBX_TRY(check_count(ctx, kind));
  if (kind == IBX_COLLECTIVE_EXCHANGE) return check_gpsimd(ctx);
  if (has_metadata(kind)) IBX_TRY(check_metadata(ctx));
  if (kind == IBX_COLLECTIVE_PERMUTE_REDUCE) IBX_TRY(check_sources(ctx));
  if (kind == IBX_COLLECTIVE_ALL_GATHER ||
      kind == IBX_COLLECTIVE_ALL_GATHER_V) {
    IBX_TRY(check_still(ctx, 1));
  }
  if (kind == IBX_COLLECTIVE_REDUCE_SCATTER) IBX_TRY(check_still(ctx, 0));
  return reduces(kind) ? check_operator(ctx) : IBX_OK;
}

// Groups of a stride lie in blocks of group times stride ranks.
static ibx_status check_groups(const ibx_insn *insn, uint32_t cores,
                               ibx_error *err) {
  uint32_t stride = insn->stride > 1 ? insn->stride : 1;
  if (insn->group == 0 || cores % (insn->group * stride) == 0) return IBX_OK;
  return IBX_FAIL(err, INVALID_PROGRAM,
                  "%s: the entry has %" PRIu32 " cores, which groups of %u, "
                  "%" PRIu32 " apart, do not divide",
                  ibx_insn_get(insn->opcode)->name, cores, insn->group, stride);
}

ibx_status ibx_insn_check_cores(const ibx_insn *insn, uint32_t cores,
                                ibx_error *err) {
  ibx_collective kind = ibx_insn_collective(insn->opcode);
  const char *name = ibx_insn_get(insn->opcode)->name;
  const char *where = insn->group == 0 ? "entry" : "group";
  bool has_rank = insn->opcode == IBX_OP_rank_id;
  if (kind == IBX_COLLECTIVE_NONE && !has_rank) return IBX_OK;
  IBX_TRY(check_groups(insn, cores, err));
  cores = ibx_insn_group(insn, cores, 0).cores;
  if (has_ranks(kind) && insn->num[0] != cores) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "%s: num[0] is %" PRIu32 ", the %s has %" PRIu32 " cores",
                    name, insn->num[0], where, cores);
  }
  if (kind == IBX_COLLECTIVE_EXCHANGE && cores % 2 != 0) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "%s: %" PRIu32 " cores; pairs of cores exchange tiles",
                    name, cores);
  }
  if ((rotates(kind) || has_rank) && insn->count >= cores) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "%s: count is %" PRIu32 ", the %s has %" PRIu32 " cores",
                    name, insn->count, where, cores);
  }
  return IBX_OK;
}
