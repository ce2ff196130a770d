// SPDX-License-Identifier: Apache-2.0
//
// The limits of the machine for one instruction. Comes in: an instruction that
// nobody trusts, and the places of its entry's buffers. What passes has
// existing buffers, operands in memories and at partitions that its engine
// reaches, sizes, types and operators that its instruction takes. Loops,
// ranges and order are the prover's. Limits: hardware.md sections 2 and 3,
// from ISA, AP and ARCH2/3/4.

#include "isa/check.h"

#include <inttypes.h>

// AP: elements of a partition that one instruction may touch. In HBM, which
// only library calls reach, our guess [C].
enum { SBUF_ELEMENTS = 65536, PSUM_ELEMENTS = 4096, HBM_ELEMENTS = 1 << 24 };

const char *ibx_check_slot_name(size_t slot) {
  static const char *const names[IBX_OPERANDS] = {"destination", "source",
                                                  "operand 2", "operand 3"};
  return names[slot];
}

bool ibx_check_is_tensor(const ibx_check_ctx *ctx, size_t slot) {
  return ibx_slot_is_tensor(ctx->info->slot[slot]);
}

static bool has_place(const ibx_check_ctx *ctx, size_t slot) {
  return ctx->info->slot[slot] != IBX_SLOT_NONE &&
         ctx->insn->operand[slot].buffer != IBX_NO_BUFFER;
}

const ibx_buffer_place *ibx_check_place(const ibx_check_ctx *ctx, size_t slot) {
  return &ctx->buffers[ctx->insn->operand[slot].buffer];
}

static ibx_status check_engine(const ibx_check_ctx *ctx) {
  unsigned engine = (unsigned)ctx->engine;
  if (engine >= IBX_ENGINE_COUNT || !(ctx->info->engines >> engine & 1)) {
    return IBX_CHECK_FAIL(ctx, "engine %s cannot run it",
                          ibx_engine_name(ctx->engine));
  }
  if (!(ctx->info->targets >> (unsigned)ctx->machine->target & 1)) {
    return IBX_CHECK_FAIL(ctx, "target %s does not have it",
                          ctx->machine->name);
  }
  return IBX_OK;
}

static ibx_status check_mode(const ibx_check_ctx *ctx) {
  uint8_t mode = ctx->insn->mode;
  uint8_t targets = ibx_mode_targets(ctx->insn->opcode, mode);
  if (targets >> (unsigned)ctx->machine->target & 1) return IBX_OK;
  const char *name = ibx_mode_name(ctx->insn->opcode, mode);
  if (name) {
    return IBX_CHECK_FAIL(ctx, "target %s does not have mode %s",
                          ctx->machine->name, name);
  }
  return IBX_CHECK_FAIL(ctx, "mode %u does not exist", mode);
}

static ibx_status check_flags(const ibx_check_ctx *ctx) {
  unsigned extra = ctx->insn->flags & ~ibx_insn_flags(ctx->insn->opcode);
  if (extra == 0) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "flags 0x%02x have no meaning here; clear them",
                        extra);
}

static unsigned last_operator(ibx_operator_kind kind) {
  switch (kind) {
  case IBX_OPERATOR_NONE: return 0;
  case IBX_OPERATOR_ACT: return IBX_ACT_COUNT - 1;
  case IBX_OPERATOR_CALL: return IBX_CALL_COUNT - 1;
  default: return IBX_ALU_COUNT - 1;
  }
}

// The operators that IBX_OPERATOR names are of their kind, the others 0.
static ibx_status check_operators(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERATORS; i++) {
    uint8_t op = ctx->insn->op[i];
    ibx_operator_kind kind = ibx_insn_operator(ctx->insn->opcode, i);
    if (kind == IBX_OPERATOR_NONE ? op == 0 : !!ibx_operator_name(kind, op)) {
      continue;
    }
    if (op > last_operator(kind)) {
      return IBX_CHECK_FAIL(ctx, "op%zu is %u, the last is %u", i, op,
                            last_operator(kind));
    }
    return IBX_CHECK_FAIL(ctx, "op%zu is %s, %s", i, ibx_alu_name(op),
                          kind == IBX_OPERATOR_ARITH
                              ? "only arithmetic is allowed"
                              : "which is no reduction");
  }
  return IBX_OK;
}

static ibx_status check_reduce(const ibx_check_ctx *ctx) {
  uint8_t reduce = ctx->insn->reduce;
  unsigned taken = ibx_insn_reduces(ctx->insn->opcode);
  if (taken == 0) taken = 1u << IBX_REDUCE_IDLE;
  if (reduce < IBX_REDUCE_COUNT && (taken >> reduce & 1)) return IBX_OK;
  const char *name = ibx_reduce_name(reduce);
  return IBX_CHECK_FAIL(ctx, "it does not take the command %u (%s)", reduce,
                        name ? name : "unknown");
}

// The operand that a register moves. Dimension 0 is the register's.
static ibx_status check_index(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  unsigned slot = insn->index_slot;
  if (insn->index_register == 0) {
    if (slot == 0) return IBX_OK;
    return IBX_CHECK_FAIL(ctx, "operand %u is moved by no register", slot);
  }
  if (insn->index_register > IBX_REGISTERS) {
    return IBX_CHECK_FAIL(ctx, "register %u; there are %d",
                          insn->index_register - 1u, IBX_REGISTERS);
  }
  if (slot >= IBX_OPERANDS || !ibx_check_is_tensor(ctx, slot)) {
    return IBX_CHECK_FAIL(
        ctx, "operand %u, which a register moves, is no tensor", slot);
  }
  if (insn->num[0] != 1) {
    return IBX_CHECK_FAIL(ctx,
                          "dimension 0 has %" PRIu32
                          " elements, but belongs to the register",
                          insn->num[0]);
  }
  if (insn->count >= 1) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s; the register needs one", "0 places");
}

// Which cores meet, where cores do or a rank is asked for.
static ibx_status check_who_meets(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  bool has_cores = ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE ||
                   insn->opcode == IBX_OP_rank_id;
  if (!has_cores && (insn->group != 0 || insn->stride != 0)) {
    return IBX_CHECK_FAIL(ctx, "a group of %u cores, %u apart; it meets none",
                          insn->group, insn->stride);
  }
  if (insn->group == 0 && insn->stride != 0) {
    return IBX_CHECK_FAIL(ctx, "all cores meet, %u apart; set the group",
                          insn->stride);
  }
  return IBX_OK;
}

static ibx_status check_buffer(const ibx_check_ctx *ctx, size_t slot) {
  uint32_t buffer = ctx->insn->operand[slot].buffer;
  const char *name = ibx_check_slot_name(slot);
  if (ctx->info->slot[slot] == IBX_SLOT_NONE) {
    if (buffer == IBX_NO_BUFFER) return IBX_OK;
    return IBX_CHECK_FAIL(ctx,
                          "it has no %s, but buffer %u is given; leave "
                          "the buffer unset",
                          name, buffer);
  }
  if (buffer == IBX_NO_BUFFER) {
    if (ctx->info->slot[slot] == IBX_SLOT_SCALAR_READ) return IBX_OK;
    return IBX_CHECK_FAIL(ctx, "%s has no buffer", name);
  }
  if (buffer < ctx->buffer_count) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "%s is in buffer %u, the entry has %zu", name,
                        buffer, ctx->buffer_count);
}

static ibx_status check_buffers(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    IBX_TRY(check_buffer(ctx, i));
  }
  return IBX_OK;
}

// ISA memset: packed types take zero only.
static bool takes_packed(const ibx_check_ctx *ctx, size_t slot) {
  return ibx_slot_is_packed(ctx->insn->opcode, slot) ||
         (ctx->insn->opcode == IBX_OP_memset && ctx->insn->imm[0] == 0.0f);
}

ibx_status ibx_check_has_dtype(const ibx_check_ctx *ctx, size_t slot) {
  if (ctx->insn->operand[slot].dtype != IBX_DTYPE_F8E4M3FN ||
      ctx->machine->target >= IBX_TARGET_ibx4) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "%s is f8e4m3fn, which %s does not have; use "
                        "f8e4m3",
                        ibx_check_slot_name(slot), ctx->machine->name);
}

static ibx_status check_dtype(const ibx_check_ctx *ctx, size_t slot) {
  ibx_dtype dtype = (ibx_dtype)ctx->insn->operand[slot].dtype;
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  const char *name = ibx_check_slot_name(slot);
  if (!ibx_check_is_tensor(ctx, slot)) {
    if (dtype == IBX_DTYPE_NONE) return IBX_OK;
    return IBX_CHECK_FAIL(ctx, "dtype %u on %s, which takes none", dtype, name);
  }
  if (!info || info->bits == 0) { // also NONE, and texts
    return IBX_CHECK_FAIL(ctx, "%s has dtype %u, which is not an element type",
                          name, dtype);
  }
  if (ctx->info->format == IBX_FORMAT_dma) return IBX_OK;
  // The rows of library calls say which types they take.
  if (ibx_insn_is_call(ctx->insn->opcode)) return IBX_OK;
  if (info->bits > 32) {
    return IBX_CHECK_FAIL(ctx, "%s is %s; only a DMA moves 64-bit types", name,
                          info->name);
  }
  if (info->home == IBX_DTYPE_HOME_LIBRARY) {
    return IBX_CHECK_FAIL(ctx, "%s is %s, which only library calls convert",
                          name, info->name);
  }
  if (info->home == IBX_DTYPE_HOME_PACKED && !takes_packed(ctx, slot)) {
    return IBX_CHECK_FAIL(ctx,
                          "%s is %s, which only DMAs and the "
                          "instructions that name it take",
                          name, info->name);
  }
  return ibx_check_has_dtype(ctx, slot);
}

static ibx_status check_alignment(const ibx_check_ctx *ctx, size_t slot) {
  const ibx_operand *operand = &ctx->insn->operand[slot];
  uint64_t bytes = ibx_slot_is_scalar(ctx->info->slot[slot])
                       ? sizeof(float)
                       : ibx_dtype_bytes((ibx_dtype)operand->dtype);
  uint64_t base = ibx_check_place(ctx, slot)->offset % bytes;
  if ((base + operand->offset % bytes) % bytes != 0) {
    return IBX_CHECK_FAIL(ctx,
                          "%s starts at byte %" PRIu64 " + %" PRIu64
                          ", not a multiple of its element, %" PRIu64,
                          ibx_check_slot_name(slot),
                          ibx_check_place(ctx, slot)->offset, operand->offset,
                          bytes);
  }
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    int64_t step = operand->loop_step[r];
    if (step % (int64_t)bytes == 0) continue;
    return IBX_CHECK_FAIL(ctx,
                          "loop step %" PRId64 " of %s is not a multiple "
                          "of its element, %" PRIu64,
                          step, ibx_check_slot_name(slot), bytes);
  }
  return IBX_OK;
}

static ibx_status check_operands(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    IBX_TRY(check_dtype(ctx, i));
    if (has_place(ctx, i)) IBX_TRY(check_alignment(ctx, i));
  }
  return IBX_OK;
}

static ibx_status check_tensor_space(const ibx_check_ctx *ctx, size_t slot) {
  ibx_space space = ibx_check_place(ctx, slot)->space;
  ibx_space needed = slot == 0 ? IBX_SPACE_PSUM : IBX_SPACE_SBUF;
  if (space == needed) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%s is in %s; the tensor engine reads sbuf and "
                        "writes psum",
                        ibx_check_slot_name(slot), ibx_space_name(space));
}

// Memories and who may touch them: ARCH2.
static ibx_status check_space(const ibx_check_ctx *ctx, size_t slot) {
  ibx_space space = ibx_check_place(ctx, slot)->space;
  const char *name = ibx_check_slot_name(slot);
  if (space == IBX_SPACE_HBM && ibx_insn_is_call(ctx->insn->opcode)) {
    return IBX_OK;
  }
  if (space != IBX_SPACE_SBUF && space != IBX_SPACE_PSUM) {
    return IBX_CHECK_FAIL(ctx,
                          "%s is in %s, which only a DMA reaches; move it "
                          "to sbuf",
                          name, ibx_space_name(space));
  }
  if (ctx->engine == IBX_ENGINE_TENSOR &&
      ctx->info->format != IBX_FORMAT_control) {
    return check_tensor_space(ctx, slot);
  }
  if (space == IBX_SPACE_PSUM && ctx->engine == IBX_ENGINE_GPSIMD) {
    return IBX_CHECK_FAIL(ctx,
                          "%s is in psum, which gpsimd does not reach; "
                          "use vector or scalar",
                          name);
  }
  if (space == IBX_SPACE_PSUM && ctx->info->format == IBX_FORMAT_control) {
    return IBX_CHECK_FAIL(ctx, "%s is in psum; move it to sbuf", name);
  }
  return IBX_OK;
}

static ibx_status check_spaces(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (has_place(ctx, i)) IBX_TRY(check_space(ctx, i));
  }
  bool has_two = ctx->info->slot[1] == IBX_SLOT_READ &&
                 ctx->info->slot[2] == IBX_SLOT_READ;
  if (has_two && ibx_check_place(ctx, 1)->space == IBX_SPACE_PSUM &&
      ibx_check_place(ctx, 2)->space == IBX_SPACE_PSUM) {
    return IBX_CHECK_FAIL(ctx, "%s are in psum; move one to sbuf",
                          "both inputs");
  }
  return IBX_OK;
}

// AP: more than 64 partitions start at 0; 33 to 64 at a half; fewer at a
// quadrant. The rows of the array tile more coarsely on ibx2 (ARCH3).
static unsigned partition_grain(const ibx_check_ctx *ctx, size_t slot,
                                unsigned count) {
  unsigned grain = count > 64 ? IBX_PARTITIONS : count > 32 ? 64 : 32;
  if (ctx->engine == IBX_ENGINE_TENSOR && slot == 1 &&
      grain < ctx->machine->row_tile_min) {
    grain = ctx->machine->row_tile_min;
  }
  return grain;
}

// Groups stand side by side inside of what separates them (MXFP: the scales of
// four tensors share each quadrant).
static ibx_status check_groups(const ibx_check_ctx *ctx, size_t slot,
                               const ibx_operand_shape *shape) {
  unsigned start = (unsigned)ibx_check_place(ctx, slot)->partition +
                   ctx->insn->operand[slot].partition;
  unsigned inside = start % shape->group_step;
  if (inside % shape->partitions == 0 && inside / shape->partitions < 4 &&
      start < IBX_PARTITIONS) {
    return IBX_OK;
  }
  return IBX_CHECK_FAIL(ctx,
                        "%s starts at partition %u; groups of %u start at the "
                        "first four places of a quadrant",
                        ibx_check_slot_name(slot), start, shape->partitions);
}

static ibx_status check_partition(const ibx_check_ctx *ctx, size_t slot) {
  ibx_operand_shape shape = ibx_insn_shape(ctx->insn, slot);
  if (shape.group_step != 0) return check_groups(ctx, slot, &shape);
  unsigned count = shape.partitions;
  unsigned start = (unsigned)ibx_check_place(ctx, slot)->partition +
                   ctx->insn->operand[slot].partition;
  unsigned grain = partition_grain(ctx, slot, count);
  if (start % grain == 0 && start < IBX_PARTITIONS) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "%s has %u partitions from %u; %u start at a "
                        "multiple of %u below %d",
                        ibx_check_slot_name(slot), count, start, count, grain,
                        IBX_PARTITIONS);
}

static ibx_status check_partitions(const ibx_check_ctx *ctx) {
  unsigned count = ctx->insn->partitions;
  if (count < 1 || count > IBX_PARTITIONS) {
    return IBX_CHECK_FAIL(ctx, "%u partitions; 1 to %d are allowed", count,
                          IBX_PARTITIONS);
  }
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (has_place(ctx, i)) IBX_TRY(check_partition(ctx, i));
  }
  return IBX_OK;
}

static ibx_status check_space_of_iteration(const ibx_check_ctx *ctx) {
  for (size_t d = 0; d < IBX_DIMS; d++) {
    uint32_t num = ctx->insn->num[d];
    uint32_t limit = d < 2 ? 1 : UINT16_MAX;
    if (num >= 1 && num <= limit) continue;
    return IBX_CHECK_FAIL(ctx,
                          "dimension %zu has %" PRIu32
                          " elements; 1 to %" PRIu32 " are allowed",
                          d, num, limit);
  }
  return IBX_OK;
}

// Elements of a partition; a reduction writes one for all that it folds.
static uint64_t element_count(const ibx_check_ctx *ctx, size_t slot) {
  bool folds = ctx->insn->opcode == IBX_OP_tensor_reduce && slot == 0;
  ibx_operand_shape shape = ibx_insn_shape(ctx->insn, slot);
  uint64_t count = 1;
  for (size_t d = 2; d < IBX_DIMS; d++) {
    if (folds && ctx->insn->operand[slot].step[d] == 0) continue;
    count *= shape.num[d];
  }
  return count;
}

static ibx_status check_free_sizes(const ibx_check_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!ibx_check_is_tensor(ctx, i)) continue;
    ibx_space space = ibx_check_place(ctx, i)->space;
    uint64_t limit = space == IBX_SPACE_PSUM  ? PSUM_ELEMENTS
                     : space == IBX_SPACE_HBM ? HBM_ELEMENTS
                                              : SBUF_ELEMENTS;
    uint64_t count = element_count(ctx, i);
    if (count <= limit) continue;
    return IBX_CHECK_FAIL(ctx,
                          "%s has %" PRIu64 " elements a partition, %s "
                          "allows %" PRIu64 "; use several instructions",
                          ibx_check_slot_name(i), count, ibx_space_name(space),
                          limit);
  }
  return IBX_OK;
}

static ibx_status check_compute(const ibx_check_ctx *ctx) {
  IBX_TRY(check_space_of_iteration(ctx));
  IBX_TRY(check_spaces(ctx));
  IBX_TRY(check_free_sizes(ctx));
  IBX_TRY(ibx_check_engine_insn(ctx));
  IBX_TRY(ibx_check_scalar_insn(ctx));
  IBX_TRY(ibx_check_gpsimd_insn(ctx));
  return check_partitions(ctx);
}

static ibx_status check_register(const ibx_check_ctx *ctx, unsigned reg,
                                 unsigned limit) {
  if (reg < limit) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "register %u; there are %u", reg, limit);
}

static ibx_status check_loop(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  if (insn->count == 0) {
    return IBX_CHECK_FAIL(ctx, "%s; leave the loop out", "0 trips");
  }
  if (insn->reg[1] != IBX_NO_REGISTER) {
    IBX_TRY(check_register(ctx, insn->reg[1], IBX_REGISTERS));
  }
  return check_register(ctx, insn->reg[0], IBX_LOOP_REGISTERS);
}

static ibx_status check_register_load(const ibx_check_ctx *ctx) {
  const ibx_operand *src = &ctx->insn->operand[1];
  if (src->dtype != IBX_DTYPE_U32 && src->dtype != IBX_DTYPE_I32) {
    return IBX_CHECK_FAIL(ctx, "%s is not a 32-bit integer",
                          ibx_check_slot_name(1));
  }
  IBX_TRY(check_spaces(ctx));
  return check_register(ctx, ctx->insn->reg[0], IBX_REGISTERS);
}

static ibx_status check_control(const ibx_check_ctx *ctx) {
  switch (ctx->insn->opcode) {
  case IBX_OP_loop: return check_loop(ctx);
  case IBX_OP_register_move:
  case IBX_OP_rank_id:
    return check_register(ctx, ctx->insn->reg[0], IBX_REGISTERS);
  case IBX_OP_register_load: return check_register_load(ctx);
  default: return IBX_OK;
  }
}

ibx_status ibx_insn_check(const ibx_machine *machine, ibx_engine engine,
                          const ibx_insn *insn, const ibx_buffer_place *buffers,
                          size_t buffer_count, ibx_error *err) {
  ibx_check_ctx ctx = {.machine = machine,
                       .insn = insn,
                       .info = ibx_insn_get(insn->opcode),
                       .buffers = buffers,
                       .buffer_count = buffer_count,
                       .err = err,
                       .engine = engine};
  if (!ctx.info) {
    return IBX_FAIL(err, INVALID_PROGRAM, "opcode 0x%02x does not exist",
                    insn->opcode);
  }
  IBX_TRY(check_engine(&ctx));
  IBX_TRY(check_flags(&ctx));
  IBX_TRY(check_mode(&ctx));
  IBX_TRY(check_buffers(&ctx));
  IBX_TRY(check_operators(&ctx));
  IBX_TRY(check_reduce(&ctx));
  IBX_TRY(check_index(&ctx));
  IBX_TRY(check_who_meets(&ctx));
  IBX_TRY(check_operands(&ctx));
  if (ctx.info->format == IBX_FORMAT_control) return check_control(&ctx);
  if (ctx.info->format == IBX_FORMAT_dma) return ibx_check_dma(&ctx);
  return check_compute(&ctx);
}
