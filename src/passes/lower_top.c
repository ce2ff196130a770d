// SPDX-License-Identifier: Apache-2.0
//
// The largest or smallest elements of rows, by the library of GpSimd. Comes in
// an operand; goes out the elements, or their places, in rows as the operand's.
// One instruction takes a row on each of its partitions and makes both.

#include "passes/lower.h"

enum { VALUES, SOURCE, PLACES, SLOTS };

typedef struct top {
  ibx_lower *lower;
  ibx_insn insn;
  ibx_view rows[SLOTS]; // one element of each row
} top;

// The step of a dimension that is one run; false where it is cut.
static bool run_step(const ibx_dim *dim, int64_t *out) {
  size_t atoms = 0;
  *out = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].size == 1) continue;
    *out = dim->atom[a].step;
    atoms++;
  }
  return atoms <= 1;
}

static void set_extent(ibx_view *view, uint8_t axis, int64_t size) {
  view->dim[axis] =
      (ibx_dim){.atom[0] = {.size = size, .step = 1}, .size = size, .count = 1};
}

static bool emit_piece(void *user, const ibx_piece *piece) {
  top *t = user;
  ibx_insn insn = t->insn;
  insn.partitions = (uint8_t)piece->partitions;
  for (size_t slot = 0; slot < SLOTS; slot++) {
    int32_t step = insn.operand[slot].step[IBX_DIMS - 1];
    ibx_piece_operand(&insn, slot, &t->rows[slot], piece, slot);
    insn.operand[slot].step[IBX_DIMS - 1] = step;
  }
  ibx_lower_emit(t->lower, &insn, IBX_ENGINE_GPSIMD, false);
  return true;
}

// Sets what an operand has beside its place; its view becomes one element a row.
static bool set_rows(top *t, size_t slot, const ibx_view *view, uint8_t axis) {
  int64_t step;
  if (!run_step(&view->dim[axis], &step)) return false;
  t->rows[slot] = *view;
  set_extent(&t->rows[slot], axis, 1);
  t->insn.operand[slot].step[IBX_DIMS - 1] = (int32_t)step;
  return true;
}

bool ibx_lower_top(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  const ibx_type *type = &lower->graph->values[node->operand[0]].type;
  uint8_t axis = (uint8_t)params->axis;
  ibx_ints axes = {.at = {axis}, .len = 1};
  ibx_view src, made[SLOTS];
  if (!ibx_lower_free_axes(lower, node->operand[0], &axes, &src)) return false;
  ibx_view like = ibx_lower_rows_like(&src, &axes);
  set_extent(&like, axis, params->count);
  if (!ibx_lower_temp(lower, &like, type->dtype, &made[VALUES]) ||
      !ibx_lower_temp(lower, &like, IBX_DTYPE_I32, &made[PLACES])) {
    return false;
  }
  made[SOURCE] = src;
  top t = {.lower = lower, .insn = ibx_insn_make(IBX_OP_gpsimd_call_pair)};
  t.insn.op[0] = params->largest ? IBX_CALL_TOP : IBX_CALL_BOTTOM;
  t.insn.count = (uint32_t)params->count;
  t.insn.num[IBX_DIMS - 1] = (uint32_t)type->dims[axis];
  const ibx_view *rows[SLOTS];
  for (size_t slot = 0; slot < SLOTS; slot++) {
    if (!set_rows(&t, slot, &made[slot], axis)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a row is cut");
    }
    rows[slot] = &t.rows[slot];
  }
  *out = made[node->op == IBX_TENSOR_top ? VALUES : PLACES];
  return ibx_view_pieces(rows, SLOTS, 1, emit_piece, &t);
}
