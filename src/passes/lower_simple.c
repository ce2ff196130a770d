// SPDX-License-Identifier: Apache-2.0
//
// Single engine instructions on whole views: comes in views that walk the
// partitions alike; goes out as many instructions as the limits demand.

#include "passes/lower.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { ELEMENTS = 4096 };

typedef struct simple {
  ibx_lower *lower;
  const ibx_view *views[IBX_VIEWS];
  size_t slot[IBX_VIEWS];
  size_t count;
  ibx_insn insn;
  ibx_engine engine;
} simple;

static bool emit_piece(void *user, const ibx_piece *piece) {
  const simple *state = user;
  ibx_insn insn = state->insn;
  const ibx_insn_info *info = ibx_insn_get(insn.opcode);
  ibx_piece_shape(&insn, piece);
  for (size_t i = 0; i < state->count; i++) {
    size_t slot = state->slot[i];
    ibx_piece_operand(&insn, slot, state->views[i], piece, i);
    if (info->slot[slot] != IBX_SLOT_SCALAR_READ &&
        info->slot[slot] != IBX_SLOT_SCALAR_WRITE) {
      continue;
    }
    insn.operand[slot].dtype = IBX_DTYPE_NONE;
    memset(insn.operand[slot].step, 0, sizeof(insn.operand[slot].step));
  }
  return ibx_lower_emit(state->lower, &insn, state->engine, false);
}

bool ibx_lower_insn(ibx_lower *lower, const ibx_insn *insn, ibx_engine engine,
                    const ibx_view *const slots[IBX_OPERANDS], int64_t most) {
  simple state = {.lower = lower, .insn = *insn, .engine = engine};
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!slots[slot]) continue;
    state.views[state.count] = slots[slot];
    state.slot[state.count++] = slot;
  }
  if (ibx_view_pieces(state.views, state.count, most, emit_piece, &state)) {
    return true;
  }
  return ibx_lower_fail(lower, IBX_INTERNAL,
                        "no engine can walk the operands of %s together",
                        ibx_insn_get(insn->opcode)->name);
}

bool ibx_lower_scalars(ibx_lower *lower, const ibx_view *dst,
                       const ibx_view *src, ibx_alu op0, float imm0,
                       ibx_alu op1, float imm1) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.op[0] = (uint8_t)op0;
  insn.op[1] = (uint8_t)op1;
  insn.imm[0] = imm0;
  insn.imm[1] = imm1;
  const ibx_view *slots[IBX_OPERANDS] = {dst, src};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_VECTOR, slots, ELEMENTS);
}

bool ibx_lower_tensors(ibx_lower *lower, const ibx_view *dst, const ibx_view *a,
                       ibx_alu op, const ibx_view *b) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
  insn.op[0] = (uint8_t)op;
  const ibx_view *slots[IBX_OPERANDS] = {dst, a, b};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_VECTOR, slots, ELEMENTS);
}

// The nearest finite number of the type, unless the value is infinite itself.
static float finite_in(ibx_dtype dtype, float value) {
  float most = dtype == IBX_DTYPE_BF16  ? 0x1.fep127f
               : dtype == IBX_DTYPE_F16 ? 65504.0f
                                        : FLT_MAX;
  if (isinf(value) || isnan(value)) return value;
  return value > most ? most : value < -most ? -most : value;
}

bool ibx_lower_fill(ibx_lower *lower, const ibx_view *dst, float value) {
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  insn.imm[0] = finite_in(dst->dtype, value);
  const ibx_view *slots[IBX_OPERANDS] = {dst};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_GPSIMD, slots, ELEMENTS);
}
