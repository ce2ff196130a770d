// SPDX-License-Identifier: Apache-2.0
//
// Reductions over free dimensions: sums, softmax, layer and RMS norm. Comes in
// an operand; goes out its result like the operand, which is moved first where
// a reduced dimension lies on the partitions.
//
//   softmax      max; exp(x - max) and its sum in one instruction a row;
//                1 / sum; product
//   layer norm   sum; sum of (x - mean)^2 in one instruction a row;
//                (variance + epsilon) ^ -0.5; (x - mean) * that
//   RMS norm     sum of x^2; likewise
//
// Gains and biases of norms are operations of their own (legalise).

#include "passes/lower.h"

#include <math.h>
#include <string.h>

static bool is_reduced(const ibx_ints *axes, uint8_t dim) {
  for (uint8_t i = 0; i < axes->len; i++) {
    if (axes->at[i] == dim) return true;
  }
  return false;
}

// Whether each tile of the dimension, its outermost atom, is one index on each
// of its partitions: what one instruction a row relies on.
static bool is_tiles(const ibx_dim *dim) {
  if (!ibx_dim_on_partitions(dim)) return true;
  for (uint8_t a = 1; a < dim->count; a++) {
    if (dim->atom[a].pstep == 0 && dim->atom[a].size > 1) return false;
  }
  return true;
}

// The largest dimension that is not reduced, on the partitions.
static ibx_layout rows_layout(const ibx_type *type, const ibx_ints *axes) {
  ibx_layout layout = {.count = 0};
  int64_t most = 1;
  for (uint8_t d = 0; d < type->rank; d++) {
    if (is_reduced(axes, d) || type->dims[d] <= most) continue;
    most = type->dims[d];
    layout = (ibx_layout){.dims = {d}, .count = 1};
  }
  return layout;
}

bool ibx_lower_whole_rows(ibx_lower *lower, uint32_t value,
                          const ibx_ints *axes, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_layout layout = rows_layout(type, axes);
  return ibx_lower_row_major(lower, value, &layout, out);
}

bool ibx_lower_free_axes(ibx_lower *lower, uint32_t value, const ibx_ints *axes,
                         ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  if (ibx_lower_view(lower, value, out) &&
      lower->func->buffers[out->buffer].place.space == IBX_SPACE_SBUF) {
    bool ok = true;
    for (uint8_t i = 0; i < axes->len; i++) {
      ok = ok && !ibx_dim_on_partitions(&out->dim[axes->at[i]]);
    }
    for (uint8_t d = 0; d < type->rank; d++)
      ok = ok && is_tiles(&out->dim[d]);
    const ibx_view *views[] = {out};
    if (ok && ibx_view_pieces(views, 1, INT32_MAX, NULL, NULL)) return true;
  }
  ibx_layout layout = rows_layout(type, axes);
  return ibx_lower_in_layout(lower, value, &layout, out);
}

ibx_view ibx_lower_rows_like(const ibx_view *view, const ibx_ints *axes) {
  ibx_view rows = *view;
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count; a++) {
      ibx_atom *atom = &rows.dim[d].atom[a];
      if (atom->pstep == 0) atom->step = 1; // chosen by ibx_lower_temp()
    }
  }
  for (uint8_t i = 0; i < axes->len; i++) {
    rows.dim[axes->at[i]] = (ibx_dim){.atom[0].size = 1, .size = 1, .count = 1};
  }
  return rows;
}

// The row results as a view of the full shape: step 0 along the reduced axes.
static ibx_view spread_rows(const ibx_view *rows, const ibx_view *full,
                            const ibx_ints *axes) {
  ibx_view view = *rows;
  for (uint8_t i = 0; i < axes->len; i++) {
    int64_t size = full->dim[axes->at[i]].size;
    view.dim[axes->at[i]] =
        (ibx_dim){.atom[0].size = size, .size = size, .count = 1};
  }
  return view;
}

static bool reduce(ibx_lower *lower, const ibx_view *rows, const ibx_view *src,
                   const ibx_ints *axes, ibx_alu op, bool negate) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_reduce);
  insn.op[0] = (uint8_t)op;
  if (negate) insn.flags = IBX_FLAG_NEGATE;
  ibx_view dst = spread_rows(rows, src, axes);
  const ibx_view *slots[IBX_OPERANDS] = {&dst, src};
  // One instruction must see a whole row: its result is written once.
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_VECTOR, slots, 65535);
}

static const struct {
  ibx_tensor_op op;
  ibx_alu alu;
} REDUCTIONS[] = {
    {IBX_TENSOR_reduce_sum, IBX_ALU_ADD},
    {IBX_TENSOR_reduce_mean, IBX_ALU_ADD},
    {IBX_TENSOR_reduce_max, IBX_ALU_MAX},
    {IBX_TENSOR_reduce_min, IBX_ALU_MIN},
    {IBX_TENSOR_reduce_prod, IBX_ALU_MULTIPLY},
};

static int64_t row_elements(const ibx_type *type, const ibx_ints *axes) {
  int64_t count = 1;
  for (uint8_t i = 0; i < axes->len; i++)
    count *= type->dims[axes->at[i]];
  return count;
}

bool ibx_lower_reduce(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_params *params = &node->params;
  uint32_t value = node->operand[0];
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  bool mean = node->op == IBX_TENSOR_reduce_mean;
  ibx_view src, rows, result;
  if (!ibx_lower_free_axes(lower, value, &params->axes, &src)) return false;
  ibx_view like = ibx_lower_rows_like(&src, &params->axes);
  if (!ibx_lower_temp(lower, &like, mean ? IBX_DTYPE_F32 : dtype, &rows)) {
    return false;
  }
  ibx_alu alu = IBX_ALU_ADD;
  for (size_t i = 0; i < IBX_COUNT_OF(REDUCTIONS); i++) {
    if (REDUCTIONS[i].op == node->op) alu = REDUCTIONS[i].alu;
  }
  if (!reduce(lower, &rows, &src, &params->axes, alu, false)) return false;
  result = rows;
  if (mean) {
    float scale = 1.0f / (float)row_elements(type, &params->axes);
    if (!ibx_lower_temp(lower, &rows, dtype, &result) ||
        !ibx_lower_scalars(lower, &result, &rows, IBX_ALU_MULTIPLY, scale,
                           IBX_ALU_BYPASS, 0.0f)) {
      return false;
    }
  }
  const ibx_type *want = &lower->graph->values[node->result].type;
  ibx_ints shape = {.len = want->rank};
  for (uint8_t d = 0; d < want->rank; d++)
    shape.at[d] = want->dims[d];
  if (ibx_view_reshape(&result, &shape, out)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL, "a reduced tensor lost its shape");
}

// ---- One row at a time: instructions with a per-partition operand or result
// cover one row of each partition.

typedef struct row_walk {
  ibx_lower *lower;
  const ibx_ints *axes;
  ibx_view view[4]; // full or row shape
  bool is_full[4];
  size_t count;
  bool (*visit)(struct row_walk *walk, const ibx_view *views);
  float imm[2];
} row_walk;

// How many elements of the dimension lie on partitions one after the other: those
// of the atoms behind the last one that walks bytes. There may be several of
// these (5 x 2 x 128 partitions), as a layout is met by any steps.
static int64_t tile_of(const ibx_dim *dim) {
  int64_t tile = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    const ibx_atom *atom = &dim->atom[a];
    tile = atom->pstep != 0 || atom->size == 1 ? tile * atom->size : 1;
  }
  return tile;
}

// Walks all dimensions that are not reduced and not on partitions, one index
// after the other, and tiles of partitions.
static bool walk_rows(row_walk *walk, ibx_view *views, uint8_t d) {
  if (d == views[0].rank) return walk->visit(walk, views);
  if (is_reduced(walk->axes, d))
    return walk_rows(walk, views, (uint8_t)(d + 1));
  const ibx_dim *dim = &views[0].dim[d];
  int64_t inner = tile_of(dim);
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (int64_t at = 0; at < dim->size; at += inner) {
    ibx_view part[4];
    for (size_t v = 0; v < walk->count; v++) {
      for (uint8_t k = 0; k < views[v].rank; k++)
        sizes[k] = views[v].dim[k].size;
      starts[d] = at;
      sizes[d] = dim->size - at < inner ? dim->size - at : inner;
      if (!ibx_view_slice(&views[v], starts, sizes, NULL, &part[v])) {
        return ibx_lower_fail(walk->lower, IBX_INTERNAL,
                              "a row does not fit the layout");
      }
    }
    if (!walk_rows(walk, part, (uint8_t)(d + 1))) return false;
  }
  return true;
}

static bool for_rows(row_walk *walk) {
  ibx_view views[4];
  memcpy(views, walk->view, sizeof(views));
  return walk_rows(walk, views, 0);
}

// dst, src, [P,1] bias, [P,1] sum: a function and its sum over the row.
static bool function_and_sum(row_walk *walk, const ibx_view *views,
                             ibx_act act) {
  ibx_insn insn = ibx_insn_make(IBX_OP_activation_reduce);
  insn.op[0] = (uint8_t)act;
  insn.imm[1] = 1.0f;
  bool bias = walk->count == 4;
  ibx_view spread[2];
  spread[0] = spread_rows(&views[2], &views[0], walk->axes);
  if (bias) spread[1] = spread_rows(&views[3], &views[0], walk->axes);
  const ibx_view *slots[IBX_OPERANDS] = {&views[0], &views[1],
                                         bias ? &spread[1] : NULL, &spread[0]};
  return ibx_lower_insn(walk->lower, &insn, IBX_ENGINE_SCALAR, slots, 65535);
}

static bool exp_and_sum(row_walk *walk, const ibx_view *views) {
  return function_and_sum(walk, views, IBX_ACT_EXP);
}

static bool square_and_sum(row_walk *walk, const ibx_view *views) {
  return function_and_sum(walk, views, IBX_ACT_SQUARE);
}

// dst = (src op0 column) op1 column
static bool scale_rows(row_walk *walk, const ibx_view *views) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  bool shift = walk->count == 4;
  insn.op[0] = (uint8_t)(shift ? IBX_ALU_ADD : IBX_ALU_MULTIPLY);
  insn.op[1] = (uint8_t)(shift ? IBX_ALU_MULTIPLY : IBX_ALU_BYPASS);
  ibx_view scale = spread_rows(&views[2], &views[0], walk->axes), bias;
  if (shift) bias = spread_rows(&views[3], &views[0], walk->axes);
  const ibx_view *slots[IBX_OPERANDS] = {
      &views[0], &views[1], shift ? &bias : &scale, shift ? &scale : NULL};
  return ibx_lower_insn(walk->lower, &insn, IBX_ENGINE_VECTOR, slots, 65535);
}

static row_walk row_walk_make(ibx_lower *lower, const ibx_ints *axes,
                              const ibx_view *full0, const ibx_view *full1,
                              const ibx_view *row0, const ibx_view *row1) {
  row_walk walk = {.lower = lower, .axes = axes};
  walk.view[walk.count++] = *full0;
  walk.view[walk.count++] = *full1;
  walk.view[walk.count++] = *row0;
  if (row1) walk.view[walk.count++] = *row1;
  return walk;
}

bool ibx_lower_softmax(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  ibx_ints axes = {.at = {node->params.axis}, .len = 1};
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  ibx_view src, low, sum, scale, raised;
  if (!ibx_lower_free_axes(lower, node->operand[0], &axes, &src)) return false;
  ibx_view like = ibx_lower_rows_like(&src, &axes);
  if (!ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &low) ||
      !ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &sum) ||
      !ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &scale) ||
      !ibx_lower_temp(lower, &src, dtype, &raised) ||
      !ibx_lower_temp(lower, &src, dtype, out)) {
    return false;
  }
  if (!reduce(lower, &low, &src, &axes, IBX_ALU_MAX, true)) return false;
  row_walk walk = row_walk_make(lower, &axes, &raised, &src, &sum, &low);
  walk.visit = exp_and_sum;
  if (!for_rows(&walk)) return false;
  if (!ibx_lower_scalars(lower, &scale, &sum, IBX_ALU_POWER, -1.0f,
                         IBX_ALU_BYPASS, 0.0f)) {
    return false;
  }
  walk = row_walk_make(lower, &axes, out, &raised, &scale, NULL);
  walk.visit = scale_rows;
  return for_rows(&walk);
}

// column = (column * scale + epsilon) ^ -0.5
static bool inverse_root(ibx_lower *lower, const ibx_view *dst,
                         const ibx_view *src, float scale, float epsilon) {
  ibx_view middle;
  return ibx_lower_temp(lower, src, IBX_DTYPE_F32, &middle) &&
         ibx_lower_scalars(lower, &middle, src, IBX_ALU_MULTIPLY, scale,
                           IBX_ALU_ADD, epsilon) &&
         ibx_lower_scalars(lower, dst, &middle, IBX_ALU_POWER, -0.5f,
                           IBX_ALU_BYPASS, 0.0f);
}

bool ibx_lower_norm(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->operand[0]].type;
  ibx_ints axes = {.len = 0};
  for (int64_t d = node->params.axis; d < type->rank; d++)
    axes.at[axes.len++] = d;
  float scale = 1.0f / (float)row_elements(type, &axes);
  bool centred = node->op == IBX_TENSOR_layer_norm;
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  ibx_view src, sum, shift, squares, spare, gain;
  if (!ibx_lower_free_axes(lower, node->operand[0], &axes, &src)) return false;
  ibx_view like = ibx_lower_rows_like(&src, &axes);
  if (!ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &squares) ||
      !ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &gain) ||
      !ibx_lower_temp(lower, &src, IBX_DTYPE_BF16, &spare) ||
      !ibx_lower_temp(lower, &src, dtype, out)) {
    return false;
  }
  if (centred) {
    if (!ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &sum) ||
        !ibx_lower_temp(lower, &like, IBX_DTYPE_F32, &shift) ||
        !reduce(lower, &sum, &src, &axes, IBX_ALU_ADD, false) ||
        !ibx_lower_scalars(lower, &shift, &sum, IBX_ALU_MULTIPLY, -scale,
                           IBX_ALU_BYPASS, 0.0f)) {
      return false;
    }
  }
  row_walk walk = row_walk_make(lower, &axes, &spare, &src, &squares,
                                centred ? &shift : NULL);
  walk.visit = square_and_sum;
  if (!for_rows(&walk)) return false;
  if (!inverse_root(lower, &gain, &squares, scale, node->params.epsilon)) {
    return false;
  }
  walk = row_walk_make(lower, &axes, out, &src, &gain, centred ? &shift : NULL);
  walk.visit = scale_rows;
  return for_rows(&walk);
}
