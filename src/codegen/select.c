// SPDX-License-Identifier: Apache-2.0
//
// select: comes in one engine instruction for each tile op; goes out the same
// with variants for other engines that compute the same bytes, so that the
// scheduler can share PSUM evacuations and pointwise work between Vector and
// Scalar. A variant is taken only when the checker accepts it.
//
//   tensor_copy                            Vector, Scalar
//   tensor_scalar (x * a + b), relu        activation on Scalar
//   activation copy, relu                  tensor_scalar on Vector
//   memset                                 GpSimd, Vector

#include "codegen/select.h"

typedef struct selection {
  const ibx_machine *machine;
  const ibx_tile_func *func;
  const ibx_buffer_place *places;
} selection;

static void add_variant(const selection *s, ibx_mir_step *step,
                        const ibx_insn *insn, ibx_engine engine) {
  if (step->variant_count == IBX_MIR_VARIANTS) return;
  if (step->variant_count > 0 &&
      ibx_insn_check(s->machine, engine, insn, s->places, s->func->buffer_count,
                     NULL) != IBX_OK) {
    return;
  }
  step->variant[step->variant_count++] =
      (ibx_mir_variant){.insn = *insn, .engine = engine};
}

static bool is_column(const ibx_insn *insn, size_t slot) {
  return insn->operand[slot].buffer != IBX_NO_BUFFER;
}

static void take_scalar(ibx_insn *to, size_t to_slot, size_t to_imm,
                        const ibx_insn *from, size_t from_slot,
                        size_t from_imm) {
  to->operand[to_slot] = from->operand[from_slot];
  to->imm[to_imm] = from->imm[from_imm];
}

// The operands and the shape that both forms share.
static ibx_insn same_shape(const ibx_insn *insn, ibx_opcode opcode) {
  ibx_insn other = ibx_insn_make(opcode);
  other.partitions = insn->partitions;
  for (size_t d = 0; d < IBX_DIMS; d++)
    other.num[d] = insn->num[d];
  other.operand[0] = insn->operand[0];
  other.operand[1] = insn->operand[1];
  return other;
}

// x * a, x + b, x * a + b, max(., 0) as activation: bias in slot 2 and imm0,
// scale in slot 3 and imm1.
static bool scalar_to_activation(const ibx_insn *insn, ibx_insn *out) {
  if (insn->flags != 0) return false;
  ibx_insn act = same_shape(insn, IBX_OP_activation);
  act.op[0] = IBX_ACT_COPY;
  act.imm[0] = 0.0f;
  act.imm[1] = 1.0f;
  size_t at = 0;
  if (insn->op[at] == IBX_ALU_MULTIPLY) {
    take_scalar(&act, 3, 1, insn, 2 + at, at);
    at++;
  }
  if (at < 2 && insn->op[at] == IBX_ALU_ADD) {
    take_scalar(&act, 2, 0, insn, 2 + at, at);
    at++;
  }
  if (at < 2 && insn->op[at] == IBX_ALU_MAX && insn->imm[at] == 0.0f &&
      !is_column(insn, 2 + at)) {
    act.op[0] = IBX_ACT_RELU;
    at++;
  }
  if (at == 0 || (at < 2 && insn->op[at] != IBX_ALU_BYPASS)) return false;
  *out = act;
  return true;
}

static bool activation_to_scalar(const ibx_insn *insn, ibx_insn *out) {
  bool relu = insn->op[0] == IBX_ACT_RELU;
  if (!relu && insn->op[0] != IBX_ACT_COPY) return false;
  bool scaled = is_column(insn, 3) || insn->imm[1] != 1.0f;
  bool biased = is_column(insn, 2) || insn->imm[0] != 0.0f;
  ibx_insn scalar = same_shape(insn, IBX_OP_tensor_scalar);
  size_t at = 0;
  if ((size_t)scaled + (size_t)biased + (size_t)relu > 2) return false;
  if (scaled) {
    scalar.op[at] = IBX_ALU_MULTIPLY;
    take_scalar(&scalar, 2 + at, at, insn, 3, 1);
    at++;
  }
  if (biased || (!scaled && !relu)) {
    scalar.op[at] = IBX_ALU_ADD;
    take_scalar(&scalar, 2 + at, at, insn, 2, 0);
    at++;
  }
  if (relu) {
    scalar.op[at] = IBX_ALU_MAX;
    scalar.imm[at] = 0.0f;
  }
  *out = scalar;
  return true;
}

static void add_others(const selection *s, const ibx_tile_op *op,
                       ibx_mir_step *step) {
  ibx_insn other;
  switch (op->insn.opcode) {
  case IBX_OP_tensor_copy:
    add_variant(s, step, &op->insn,
                op->engine == IBX_ENGINE_VECTOR ? IBX_ENGINE_SCALAR
                                                : IBX_ENGINE_VECTOR);
    break;
  case IBX_OP_tensor_scalar:
    if (op->engine == IBX_ENGINE_VECTOR &&
        scalar_to_activation(&op->insn, &other)) {
      add_variant(s, step, &other, IBX_ENGINE_SCALAR);
    }
    break;
  case IBX_OP_activation:
    if (activation_to_scalar(&op->insn, &other)) {
      add_variant(s, step, &other, IBX_ENGINE_VECTOR);
    }
    break;
  case IBX_OP_memset:
    add_variant(s, step, &op->insn,
                op->engine == IBX_ENGINE_GPSIMD ? IBX_ENGINE_VECTOR
                                                : IBX_ENGINE_GPSIMD);
    break;
  default: break;
  }
}

void ibx_codegen_select(const ibx_machine *machine, const ibx_tile_func *func,
                        ibx_arena *arena, ibx_mir *out_mir) {
  ibx_buffer_place *places =
      IBX_ARENA_ARRAY(arena, func->buffer_count, ibx_buffer_place);
  for (size_t b = 0; b < func->buffer_count; b++) {
    places[b] = func->buffers[b].place;
  }
  selection s = {.machine = machine, .func = func, .places = places};
  ibx_mir_step *steps = IBX_ARENA_ARRAY(arena, func->op_count, ibx_mir_step);
  for (size_t i = 0; i < func->op_count; i++) {
    const ibx_tile_op op = ibx_tile_at(func, i);
    ibx_mir_step *step = &steps[i];
    step->node = op.source;
    step->glued = op.glued;
    step->is_dma = ibx_insn_get(op.insn.opcode)->format == IBX_FORMAT_dma;
    add_variant(&s, step, &op.insn, op.engine);
    if (!step->is_dma) add_others(&s, &op, step);
  }
  *out_mir = (ibx_mir){.machine = machine,
                       .steps = steps,
                       .step_count = func->op_count,
                       .buffers = func->buffers,
                       .buffer_count = func->buffer_count};
}
