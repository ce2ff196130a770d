// SPDX-License-Identifier: Apache-2.0
//
// Instructions that take whole rows: the largest elements, positions, boxes,
// running sums. Comes in
// an operand; goes out the result, in rows as the operand's, each of which was on
// one partition in one run. An instruction takes a row on each of its partitions.

#include "passes/lower.h"

enum { MOST_ELEMENTS = 65535 }; // of a row, by the instruction's 16 bits

/// An instruction and where its operands have their rows.
typedef struct row_insn {
  ibx_lower *lower;
  ibx_insn insn;
  ibx_engine engine;
  ibx_view rows[IBX_OPERANDS]; ///< the element at which each row starts
  size_t slots;
} row_insn;

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

// Gives the next slot the rows of `view` along `axis`, from element `start` on
// in steps of `sign` elements.
static bool add_rows(row_insn *r, const ibx_view *view, uint8_t axis,
                     int64_t start, int sign) {
  int64_t step;
  if (!run_step(&view->dim[axis], &step)) return false;
  ibx_view *rows = &r->rows[r->slots];
  *rows = *view;
  rows->offset += start * step;
  set_extent(rows, axis, 1);
  r->insn.operand[r->slots].step[IBX_DIMS - 1] = (int32_t)(sign * step);
  r->slots++;
  return true;
}

static bool emit_piece(void *user, const ibx_piece *piece) {
  row_insn *r = user;
  ibx_insn insn = r->insn;
  insn.partitions = (uint8_t)piece->partitions;
  for (size_t slot = 0; slot < r->slots; slot++) {
    int32_t step = insn.operand[slot].step[IBX_DIMS - 1];
    ibx_piece_operand(&insn, slot, &r->rows[slot], piece, slot);
    insn.operand[slot].step[IBX_DIMS - 1] = step;
  }
  return ibx_lower_emit(r->lower, &insn, r->engine, false);
}

static bool emit_rows(row_insn *r, int64_t elements) {
  const ibx_view *rows[IBX_OPERANDS];
  r->insn.num[IBX_DIMS - 1] = (uint32_t)elements;
  for (size_t slot = 0; slot < r->slots; slot++)
    rows[slot] = &r->rows[slot];
  return ibx_view_pieces(rows, r->slots, 1, emit_piece, r);
}

// The value with rows along the axis, and how long they are.
static bool source_rows(ibx_lower *lower, ibx_tensor_op op, uint32_t value,
                        uint8_t axis, ibx_view *out, int64_t *out_extent) {
  ibx_ints axes = {.at = {axis}, .len = 1};
  int64_t step;
  *out_extent = lower->graph->values[value].type.dims[axis];
  if (*out_extent > MOST_ELEMENTS) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "%s over %lld elements, rows have at most %d; split "
                          "the dimension",
                          ibx_tensor_op_get(op)->name, (long long)*out_extent,
                          MOST_ELEMENTS);
  }
  if (!ibx_lower_free_axes(lower, value, &axes, out)) return false;
  if (run_step(&out->dim[axis], &step)) return true;
  // It was joined of two that do not lie one behind the other.
  if (!ibx_lower_whole_rows(lower, value, &axes, out)) return false;
  if (run_step(&out->dim[axis], &step)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL, "a row is cut");
}

// A new buffer with rows of `elements` where `src` has its rows.
static bool result_rows(ibx_lower *lower, const ibx_view *src, uint8_t axis,
                        int64_t elements, ibx_dtype dtype, ibx_view *out) {
  ibx_ints axes = {.at = {axis}, .len = 1};
  ibx_view like = ibx_lower_rows_like(src, &axes);
  set_extent(&like, axis, elements);
  return ibx_lower_temp(lower, &like, dtype, out);
}

// ---- The largest or smallest elements: values and places at once, by GpSimd

bool ibx_lower_top(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  uint8_t axis = (uint8_t)params->axis;
  int64_t extent;
  ibx_view src, values, places;
  if (!source_rows(lower, node->op, node->operand[0], axis, &src, &extent) ||
      !result_rows(lower, &src, axis, params->count, src.dtype, &values) ||
      !result_rows(lower, &src, axis, params->count, IBX_DTYPE_I32, &places)) {
    return false;
  }
  row_insn r = {.lower = lower,
                .insn = ibx_insn_make(IBX_OP_gpsimd_call_pair),
                .engine = IBX_ENGINE_GPSIMD};
  r.insn.op[0] = params->largest ? IBX_CALL_TOP : IBX_CALL_BOTTOM;
  r.insn.count = (uint32_t)params->count;
  *out = node->op == IBX_TENSOR_top ? values : places;
  return add_rows(&r, &values, axis, 0, 1) && add_rows(&r, &src, axis, 0, 1) &&
         add_rows(&r, &places, axis, 0, 1) && emit_rows(&r, extent);
}

// ---- Positions of what is not 0, by GpSimd

bool ibx_lower_nonzero(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  uint8_t axis = (uint8_t)params->axis;
  ibx_view src, found;
  int64_t extent;
  if (!source_rows(lower, node->op, node->operand[0], axis, &src, &extent) ||
      !result_rows(lower, &src, axis, params->count, IBX_DTYPE_I32, out) ||
      !result_rows(lower, &src, axis, 1, IBX_DTYPE_I32, &found)) {
    return false;
  }
  row_insn r = {.lower = lower,
                .insn = ibx_insn_make(IBX_OP_gpsimd_call_pair),
                .engine = IBX_ENGINE_GPSIMD};
  r.insn.op[0] = IBX_CALL_NONZERO;
  r.insn.count = (uint32_t)params->count;
  return add_rows(&r, out, axis, 0, 1) && add_rows(&r, &src, axis, 0, 1) &&
         add_rows(&r, &found, axis, 0, 1) && emit_rows(&r, extent);
}

// ---- Boxes that do not overlap, by GpSimd

// The boxes in rows where `scores` has its rows.
static bool box_rows(ibx_lower *lower, uint32_t value, const ibx_view *scores,
                     uint8_t axis, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_layout none = {.count = 0};
  ibx_view boxes;
  if (!result_rows(lower, scores, axis, type->dims[axis], IBX_DTYPE_F32, out)) {
    return false;
  }
  if (!ibx_lower_view(lower, value, &boxes) &&
      !ibx_lower_in_layout(lower, value, &none, &boxes)) {
    return false;
  }
  return ibx_lower_move(lower, out, &boxes);
}

bool ibx_lower_suppress(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  uint8_t rank = lower->graph->values[node->result].type.rank;
  uint8_t axis = (uint8_t)(rank - 1);
  ibx_view scores, boxes;
  int64_t extent;
  if (!source_rows(lower, node->op, node->operand[1], axis, &scores, &extent) ||
      !box_rows(lower, node->operand[0], &scores, axis, &boxes) ||
      !result_rows(lower, &scores, axis, params->count, IBX_DTYPE_I32, out)) {
    return false;
  }
  row_insn r = {.lower = lower,
                .insn = ibx_insn_make(IBX_OP_gpsimd_call2),
                .engine = IBX_ENGINE_GPSIMD};
  r.insn.op[0] = IBX_CALL_SUPPRESS;
  r.insn.count = (uint32_t)params->count;
  r.insn.imm[0] = params->alpha;
  r.insn.imm[1] = params->beta;
  return add_rows(&r, out, axis, 0, 1) && add_rows(&r, &boxes, axis, 0, 1) &&
         add_rows(&r, &scores, axis, 0, 1) && emit_rows(&r, extent);
}

// ---- Running sums: floats by Vector, integers, which wrap, by GpSimd

// The first element in the direction of the sum, to which nothing is added.
static bool clear_first(ibx_lower *lower, const ibx_view *dst, uint8_t axis,
                        int64_t first) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  ibx_view one;
  for (uint8_t d = 0; d < dst->rank; d++)
    sizes[d] = dst->dim[d].size;
  starts[axis] = first;
  sizes[axis] = 1;
  return ibx_view_slice(dst, starts, sizes, NULL, &one) &&
         ibx_lower_fill(lower, &one, 0.0f);
}

bool ibx_lower_cumsum(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  uint8_t axis = (uint8_t)params->axis;
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  bool is_float = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  int64_t extent;
  ibx_view src;
  if (!source_rows(lower, node->op, node->operand[0], axis, &src, &extent) ||
      !result_rows(lower, &src, axis, extent, dtype, out)) {
    return false;
  }
  int sign = params->reverse ? -1 : 1;
  int64_t first = params->reverse ? extent - 1 : 0;
  int64_t skipped = params->exclusive ? 1 : 0;
  if (skipped && !clear_first(lower, out, axis, first)) return false;
  if (extent == skipped) return true;
  row_insn r = {.lower = lower, .engine = IBX_ENGINE_GPSIMD};
  r.insn = ibx_insn_make(is_float ? IBX_OP_tensor_scan : IBX_OP_gpsimd_call1);
  r.insn.op[0] = is_float ? IBX_ALU_ADD : IBX_CALL_CUMULATIVE_SUM;
  bool ok = add_rows(&r, out, axis, first + sign * skipped, sign) &&
            add_rows(&r, &src, axis, first, sign);
  if (is_float) {
    // r[i] = src[i] + r[i - 1]; the other source is not looked at.
    r.engine = IBX_ENGINE_VECTOR;
    r.insn.op[1] = IBX_ALU_BYPASS;
    ok = ok && add_rows(&r, &src, axis, first, sign);
  }
  return ok && emit_rows(&r, extent - skipped);
}
