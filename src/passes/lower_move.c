// SPDX-License-Identifier: Apache-2.0
//
// Moving tensors: comes in where a tensor lies and where it is wanted; goes out
// the cheapest sequence of instructions that brings it there.
//
//   partitions alike                engine copies
//   partitions and bytes exchanged  tensor engine transposes, banks evacuated
//                                   whole
//   one partition to many           a product with a column of ones
//   HBM, partitions walk its runs   DMA of whole runs, and transposes
//   anything else, and HBM          DMA
//
// What has been moved or packed once is kept for the next node that wants it.

#include "passes/lower_move.h"

#include <stdlib.h>
#include <string.h>

static ibx_space space_of(const ibx_lower *lower, const ibx_view *view) {
  return lower->func->buffers[view->buffer].place.space;
}

// ---- Engine copies

enum { COPY_ELEMENTS = 2048 };

typedef struct copy_state {
  ibx_lower *lower;
  const ibx_view *dst, *src;
} copy_state;

static bool emit_copy(void *user, const ibx_piece *piece) {
  copy_state *state = user;
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  ibx_piece_shape(&insn, piece);
  ibx_piece_operand(&insn, 0, state->dst, piece, 0);
  ibx_piece_operand(&insn, 1, state->src, piece, 1);
  return ibx_lower_emit(state->lower, &insn, IBX_ENGINE_VECTOR, false);
}

bool ibx_move_by_engine(ibx_lower *lower, const ibx_view *dst,
                        const ibx_view *src) {
  const ibx_view *views[] = {dst, src};
  if (!ibx_view_pieces(views, 2, COPY_ELEMENTS, NULL, NULL)) return false;
  copy_state state = {.lower = lower, .dst = dst, .src = src};
  return ibx_view_pieces(views, 2, COPY_ELEMENTS, emit_copy, &state);
}

// ---- DMA

static void dma_operand(ibx_insn *insn, size_t slot, const ibx_view *view,
                        int64_t offset, int32_t partition) {
  ibx_operand *operand = &insn->operand[slot];
  operand->buffer = view->buffer;
  operand->dtype = (uint8_t)view->dtype;
  operand->offset = (uint64_t)offset * ibx_dtype_bytes(view->dtype);
  operand->partition = (uint8_t)partition;
}

typedef struct dma_state {
  ibx_lower *lower;
  const ibx_view *dst, *src;
} dma_state;

static int compare_dma(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  bool px = x->pstep[0] || x->pstep[1], py = y->pstep[0] || y->pstep[1];
  if (px != py) return px ? -1 : 1;
  int64_t sx = llabs(x->step[0]) + llabs(x->step[1]);
  int64_t sy = llabs(y->step[0]) + llabs(y->step[1]);
  return sx < sy ? 1 : sx > sy ? -1 : 0;
}

static bool emit_dma_loops(dma_state *state, const ibx_rect *rect) {
  if (rect->axis_count > IBX_DIMS) {
    ibx_rect inner = *rect;
    memmove(&inner.axis[0], &inner.axis[1],
            (size_t)(--inner.axis_count) * sizeof(ibx_axis));
    for (int64_t i = 0; i < rect->axis[0].size; i++) {
      if (!emit_dma_loops(state, &inner)) return false;
      for (size_t v = 0; v < 2; v++) {
        inner.offset[v] += rect->axis[0].step[v];
        inner.partition[v] += rect->axis[0].pstep[v];
      }
    }
    return true;
  }
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  const ibx_view *views[] = {state->dst, state->src};
  size_t first = IBX_DIMS - rect->axis_count;
  for (size_t v = 0; v < 2; v++) {
    dma_operand(&insn, v, views[v], rect->offset[v], rect->partition[v]);
    for (size_t i = 0; i < rect->axis_count; i++) {
      const ibx_axis *axis = &rect->axis[i];
      if (llabs(axis->step[v]) > INT32_MAX || axis->size > UINT32_MAX) {
        return false;
      }
      insn.operand[v].step[first + i] = (int32_t)axis->step[v];
      insn.operand[v].partition_step[first + i] = (int8_t)axis->pstep[v];
    }
  }
  for (size_t i = 0; i < rect->axis_count; i++) {
    insn.num[first + i] = (uint32_t)rect->axis[i].size;
  }
  return ibx_lower_emit(state->lower, &insn, IBX_ENGINE_SYNC, false);
}

static bool emit_dma(void *user, const ibx_rect *whole) {
  dma_state *state = user;
  ibx_rect rect = *whole;
  qsort(rect.axis, rect.axis_count, sizeof(ibx_axis), compare_dma);
  ibx_rect_merge(&rect);
  return emit_dma_loops(state, &rect);
}

bool ibx_move_rect_by_dma(ibx_lower *lower, const ibx_view *dst,
                          const ibx_view *src, const ibx_rect *rect) {
  dma_state state = {.lower = lower, .dst = dst, .src = src};
  return emit_dma(&state, rect);
}

bool ibx_move_by_dma(ibx_lower *lower, const ibx_view *dst,
                     const ibx_view *src) {
  dma_state state = {.lower = lower, .dst = dst, .src = src};
  const ibx_view *views[] = {dst, src};
  return ibx_view_rects(views, 2, emit_dma, &state);
}

// ---- Transposes: every axis walks partitions on one side and bytes on the
// other, or bytes on both.

typedef struct transpose_plan {
  ibx_axis row[IBX_AXES];    // partitions of src, bytes of dst
  ibx_axis column[IBX_AXES]; // bytes of src, partitions of dst
  ibx_axis loop[IBX_AXES];
  size_t row_count, column_count, loop_count;
  int64_t rows, columns;
} transpose_plan;

static int compare_partition(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  return (x->pstep[0] + x->pstep[1]) - (y->pstep[0] + y->pstep[1]);
}

// Sorts the axes by role; false when some axis walks partitions on both sides or
// the partitions are not one run from a legal start: the rows of the array have
// tiles of their own, whose size `machine` tells; NULL asks for the coarsest.
static bool plan_transpose(const ibx_machine *machine, const ibx_rect *rect,
                           transpose_plan *plan) {
  int32_t grain = machine ? (int32_t)machine->row_tile_min : 64;
  *plan = (transpose_plan){.rows = 1, .columns = 1};
  for (size_t i = 0; i < rect->axis_count; i++) {
    const ibx_axis *axis = &rect->axis[i];
    if (axis->size == 1) continue;
    if (axis->pstep[0] && axis->pstep[1]) return false;
    if (axis->pstep[1])
      plan->row[plan->row_count++] = *axis;
    else if (axis->pstep[0])
      plan->column[plan->column_count++] = *axis;
    else
      plan->loop[plan->loop_count++] = *axis;
  }
  if (plan->row_count == 0 && plan->column_count == 0) return false;
  if (plan->row_count > 3 || plan->column_count > 3) return false;
  qsort(plan->row, plan->row_count, sizeof(ibx_axis), compare_partition);
  qsort(plan->column, plan->column_count, sizeof(ibx_axis), compare_partition);
  for (size_t i = 0; i < plan->row_count; i++) {
    if (plan->row[i].pstep[1] != plan->rows || plan->row[i].step[0] == 0) {
      return false;
    }
    plan->rows *= plan->row[i].size;
  }
  for (size_t i = 0; i < plan->column_count; i++) {
    if (plan->column[i].pstep[0] != plan->columns ||
        plan->column[i].step[1] == 0) {
      return false;
    }
    plan->columns *= plan->column[i].size;
  }
  return rect->partition[1] % grain == 0 &&
         ibx_partitions_are_legal(rect->partition[1], plan->rows) &&
         ibx_partitions_are_legal(rect->partition[0], plan->columns);
}

// The tile of one bank: dimension 0 the columns, 1 the batch, 2 the rows.
static bool transpose_bank(ibx_lower *lower, const transpose_plan *plan,
                           ibx_dtype dtype, int64_t batch, ibx_view *bank) {
  ibx_type type = {
      .dims = {plan->columns, batch, plan->rows}, .rank = 3, .dtype = dtype};
  return ibx_lower_bank(lower, &type, 0, bank);
}

static ibx_dim dim_of_axes(const ibx_axis *axes, size_t count, size_t view,
                           int64_t size) {
  ibx_dim dim = {.size = size};
  for (size_t i = count; i > 0; i--) {
    dim.atom[dim.count++] = (ibx_atom){.size = axes[i - 1].size,
                                       .step = axes[i - 1].step[view],
                                       .pstep = axes[i - 1].pstep[view]};
  }
  if (dim.count == 0) {
    dim.atom[0].size = 1;
    dim.count = 1;
  }
  return dim;
}

static void emit_transpose(ibx_lower *lower, const transpose_plan *plan,
                           const ibx_view *bank, int64_t index,
                           const ibx_view *src, int64_t offset,
                           int32_t partition) {
  ibx_insn insn = ibx_insn_make(IBX_OP_nc_transpose);
  dma_operand(&insn, 0, bank, bank->offset + index * plan->rows, 0);
  dma_operand(&insn, 1, src, offset, partition);
  insn.partitions = (uint8_t)plan->rows;
  insn.columns = (uint8_t)plan->columns;
  insn.operand[0].step[IBX_DIMS - 1] = 1;
  for (size_t i = 0; i < plan->column_count; i++) {
    insn.num[IBX_DIMS - 1 - i] = (uint32_t)plan->column[i].size;
    insn.operand[1].step[IBX_DIMS - 1 - i] = (int32_t)plan->column[i].step[1];
  }
  ibx_lower_emit(lower, &insn, IBX_ENGINE_TENSOR, false);
}

// One bank: `batch` blocks along loop axis `along` (or one block), then its
// evacuation.
static bool transpose_blocks(ibx_lower *lower, const transpose_plan *plan,
                             const ibx_axis *along, int64_t batch,
                             const ibx_view *dst, const ibx_view *src,
                             const int64_t *offset, const int32_t *partition) {
  ibx_view bank;
  if (!transpose_bank(lower, plan, src->dtype, batch, &bank)) return false;
  for (int64_t i = 0; i < batch; i++) {
    int64_t step = along ? along->step[1] : 0;
    emit_transpose(lower, plan, &bank, i, src, offset[1] + i * step,
                   partition[1]);
  }
  ibx_view target = {.buffer = dst->buffer,
                     .dtype = dst->dtype,
                     .rank = 3,
                     .offset = offset[0],
                     .partition = partition[0]};
  target.dim[0] =
      dim_of_axes(plan->column, plan->column_count, 0, plan->columns);
  target.dim[1] =
      (ibx_dim){.atom[0] = {.size = batch, .step = along ? along->step[0] : 0},
                .size = batch,
                .count = 1};
  target.dim[2] = dim_of_axes(plan->row, plan->row_count, 0, plan->rows);
  return ibx_move_by_engine(lower, &target, &bank);
}

static bool transpose_loops(ibx_lower *lower, const transpose_plan *plan,
                            size_t level, const ibx_view *dst,
                            const ibx_view *src, const int64_t *offset,
                            const int32_t *partition) {
  if (level == plan->loop_count) {
    return transpose_blocks(lower, plan, NULL, 1, dst, src, offset, partition);
  }
  const ibx_axis *axis = &plan->loop[level];
  int64_t at[2] = {offset[0], offset[1]};
  bool last = level + 1 == plan->loop_count;
  int64_t block = plan->rows * (int64_t)ibx_dtype_bytes(src->dtype);
  int64_t room = last ? lower->machine->psum_bank_bytes / block : 1;
  for (int64_t i = 0; i < axis->size;) {
    int64_t batch = axis->size - i < room ? axis->size - i : room;
    bool ok =
        last ? transpose_blocks(lower, plan, axis, batch, dst, src, at,
                                partition)
             : transpose_loops(lower, plan, level + 1, dst, src, at, partition);
    if (!ok) return false;
    i += batch;
    at[0] += batch * axis->step[0];
    at[1] += batch * axis->step[1];
  }
  return true;
}

// `user` is the machine, or NULL.
static bool check_transpose(void *user, const ibx_rect *rect) {
  transpose_plan plan;
  ibx_rect merged = *rect;
  ibx_rect_merge(&merged);
  return plan_transpose(user, &merged, &plan);
}

static bool is_transpose(const ibx_machine *machine,
                         const ibx_view *const *views) {
  return ibx_view_rects(views, 2, check_transpose, (void *)(uintptr_t)machine);
}

static bool emit_transposes(void *user, const ibx_rect *rect) {
  copy_state *state = user;
  transpose_plan plan;
  ibx_rect merged = *rect;
  ibx_rect_merge(&merged);
  if (!plan_transpose(state->lower->machine, &merged, &plan)) return false;
  return transpose_loops(state->lower, &plan, 0, state->dst, state->src,
                         merged.offset, merged.partition);
}

bool ibx_move_is_transpose(const ibx_view *dst, const ibx_view *src) {
  const ibx_view *views[] = {dst, src};
  return is_transpose(NULL, views);
}

// Transposes keep the dtype until the evacuation; what is not 2 or 4 bytes wide
// goes another way.
bool ibx_move_by_transpose(ibx_lower *lower, const ibx_view *dst,
                           const ibx_view *src) {
  size_t bytes = ibx_dtype_bytes(src->dtype);
  if (bytes != 2 && bytes != 4) return false;
  // There a product with 0 would make NaN of its neighbours.
  bool is_float = ibx_dtype_get(src->dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  if (lower->has_infinities && is_float) return false;
  const ibx_view *views[] = {dst, src};
  if (!is_transpose(lower->machine, views)) return false;
  copy_state state = {.lower = lower, .dst = dst, .src = src};
  return ibx_view_rects(views, 2, emit_transposes, &state);
}

// ---- Broadcast over partitions: a product with ones[1, columns].

typedef struct spread_state {
  ibx_lower *lower;
  const ibx_view *dst, *src;
  ibx_view ones;
  bool emit, spreads;
} spread_state;

static bool spread_row(spread_state *state, const ibx_rect *rect,
                       const ibx_axis *along, int64_t at, int64_t count,
                       int32_t partitions) {
  ibx_lower *lower = state->lower;
  ibx_type type = {
      .dims = {partitions, count}, .rank = 2, .dtype = IBX_DTYPE_F32};
  ibx_view bank;
  if (!ibx_lower_bank(lower, &type, 0, &bank)) return false;
  int64_t step = along ? along->step[1] : 0;
  ibx_walk columns = {.num = {1, 1, (uint32_t)partitions}, .step = {0, 0, 1}};
  ibx_walk row = {.num = {1, 1, (uint32_t)count},
                  .step = {0, 0, (int32_t)step}};
  ibx_walk filled = {.num = {1, 1, (uint32_t)count}, .step = {0, 0, 1}};
  ibx_contraction part = {.moving_offset = rect->offset[1] + at * step,
                          .partitions = 1};
  ibx_lower_product(lower, &state->ones, &columns, partitions, state->src, &row,
                    &bank, 0, &filled, &part, true, true);
  ibx_view target = {.buffer = state->dst->buffer,
                     .dtype = state->dst->dtype,
                     .rank = 2,
                     .offset =
                         rect->offset[0] + at * (along ? along->step[0] : 0),
                     .partition = rect->partition[0]};
  target.dim[0] = (ibx_dim){.atom[0] = {.size = partitions, .pstep = 1},
                            .size = partitions,
                            .count = 1};
  target.dim[1] =
      (ibx_dim){.atom[0] = {.size = count, .step = along ? along->step[0] : 0},
                .size = count,
                .count = 1};
  return ibx_move_by_engine(lower, &target, &bank);
}

static bool spread_loops(spread_state *state, const ibx_rect *rect,
                         const ibx_axis *free, size_t free_count,
                         int32_t partitions) {
  if (free_count > 1) {
    ibx_rect inner = *rect;
    for (int64_t i = 0; i < free[0].size; i++) {
      if (!spread_loops(state, &inner, free + 1, free_count - 1, partitions)) {
        return false;
      }
      for (size_t v = 0; v < 2; v++)
        inner.offset[v] += free[0].step[v];
    }
    return true;
  }
  int64_t total = free_count ? free[0].size : 1;
  for (int64_t at = 0; at < total; at += 512) {
    int64_t count = total - at < 512 ? total - at : 512;
    if (!spread_row(state, rect, free_count ? &free[0] : NULL, at, count,
                    partitions)) {
      return false;
    }
  }
  return true;
}

// The longest axis last: it is the row of a product.
static int compare_extent(const void *a, const void *b) {
  const ibx_axis *x = a, *y = b;
  return x->size < y->size ? -1 : x->size > y->size;
}

static bool visit_spread(void *user, const ibx_rect *whole) {
  spread_state *state = user;
  ibx_rect rect = *whole;
  ibx_rect_merge(&rect);
  ibx_axis free[IBX_AXES];
  size_t free_count = 0;
  int32_t partitions = 1;
  for (int i = rect.axis_count - 1; i >= 0; i--) {
    const ibx_axis *axis = &rect.axis[i];
    if (axis->pstep[1] != 0) return false;
    if (axis->pstep[0] == 0) continue;
    if (axis->pstep[0] != partitions || axis->step[1] != 0) return false;
    partitions *= (int32_t)axis->size;
  }
  for (size_t i = 0; i < rect.axis_count; i++) {
    if (rect.axis[i].pstep[0] == 0) free[free_count++] = rect.axis[i];
  }
  qsort(free, free_count, sizeof(ibx_axis), compare_extent);
  if (rect.partition[1] != 0 || rect.partition[0] != 0) return false;
  state->spreads = state->spreads || partitions > 1;
  if (!state->emit) return true;
  return spread_loops(state, &rect, free, free_count, partitions);
}

static bool move_by_spread(ibx_lower *lower, const ibx_view *dst,
                           const ibx_view *src) {
  if (src->dtype != IBX_DTYPE_F32 && src->dtype != IBX_DTYPE_BF16) return false;
  spread_state state = {.lower = lower, .dst = dst, .src = src};
  const ibx_view *views[] = {dst, src};
  if (!ibx_view_rects(views, 2, visit_spread, &state) || !state.spreads) {
    return false;
  }
  if (!ibx_lower_ones(lower, src->dtype, &state.ones)) return false;
  state.emit = true;
  return ibx_view_rects(views, 2, visit_spread, &state);
}

// Partitions that no engine can address, element by element: through a copy on
// the partitions of `dst` counted from 0, of which the DMA takes whole rows.
static bool move_by_rows(ibx_lower *lower, const ibx_view *dst,
                         const ibx_view *src) {
  ibx_view rows;
  size_t bytes = ibx_dtype_bytes(src->dtype);
  if (bytes != 2 && bytes != 4) return false;
  ibx_view aligned = *dst;
  aligned.partition = 0;
  aligned.dtype = src->dtype;
  const ibx_view *views[] = {&aligned, src};
  if (!is_transpose(lower->machine, views)) return false;
  return ibx_lower_temp(lower, dst, src->dtype, &rows) &&
         ibx_move_by_transpose(lower, &rows, src) &&
         ibx_move_by_dma(lower, dst, &rows);
}

static bool repeats_one(const ibx_dim *dim) {
  for (uint8_t a = 0; a < dim->count; a++) {
    const ibx_atom *atom = &dim->atom[a];
    if (atom->size > 1 && (atom->step != 0 || atom->pstep != 0)) return false;
  }
  return true;
}

// Whether all partitions of `dst` want the same: what `src` has along the
// dimensions there, whole ones, is one element.
static bool is_same_for_all(const ibx_view *dst, const ibx_view *src) {
  bool spreads = false;
  for (uint8_t d = 0; d < dst->rank; d++) {
    if (!ibx_dim_on_partitions(&dst->dim[d])) continue;
    if (!repeats_one(&src->dim[d])) return false;
    spreads = spreads || dst->dim[d].size > 1;
  }
  return spreads;
}

static bool is_word(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32;
}

// A view of 32-bit integers as pairs of 16-bit ones, in a last dimension.
static ibx_view halves_of(ibx_view view) {
  for (uint8_t d = 0; d < view.rank; d++) {
    for (uint8_t a = 0; a < view.dim[d].count; a++)
      view.dim[d].atom[a].step *= 2;
  }
  view.dim[view.rank++] =
      (ibx_dim){.atom[0] = {.size = 2, .step = 1}, .size = 2, .count = 1};
  view.offset *= 2;
  view.dtype = IBX_DTYPE_U16;
  return view;
}

// What lies on partitions and is wanted on all of them: first as one row, in
// fp32, which holds integers of 16 bits.
static bool move_by_row(ibx_lower *lower, const ibx_view *dst,
                        const ibx_view *src) {
  if (!is_same_for_all(dst, src)) return false;
  if (ibx_dtype_bytes(src->dtype) > 4) return false;
  if (is_word(src->dtype) && is_word(dst->dtype)) {
    if (src->rank == IBX_MAX_RANK) return false;
    ibx_view to = halves_of(*dst), from = halves_of(*src);
    return move_by_row(lower, &to, &from);
  }
  ibx_view part = *src, like = *dst, row, wide, full;
  for (uint8_t d = 0; d < dst->rank; d++) {
    if (!ibx_dim_on_partitions(&dst->dim[d])) continue;
    ibx_dim one = {.atom[0].size = 1, .size = 1, .count = 1};
    part.dim[d] = one;
    like.dim[d] = one;
  }
  if (!ibx_lower_temp(lower, &like, src->dtype, &row) ||
      !ibx_move_by_dma(lower, &row, &part)) {
    return false;
  }
  wide = row;
  if (row.dtype != IBX_DTYPE_F32 && row.dtype != IBX_DTYPE_BF16 &&
      (!ibx_lower_temp(lower, &row, IBX_DTYPE_F32, &wide) ||
       !ibx_move_by_engine(lower, &wide, &row))) {
    return false;
  }
  full = wide;
  for (uint8_t d = 0; d < dst->rank; d++) {
    if (wide.dim[d].size == dst->dim[d].size) continue;
    full.dim[d] = (ibx_dim){
        .atom[0].size = dst->dim[d].size, .size = dst->dim[d].size, .count = 1};
  }
  return move_by_spread(lower, dst, &full);
}

double ibx_move_price(const ibx_machine *machine, const ibx_view *dst,
                      const ibx_view *src) {
  const ibx_view *views[] = {dst, src};
  double elements = 1;
  for (uint8_t d = 0; d < dst->rank; d++)
    elements *= (double)dst->dim[d].size;
  double columns = elements / (double)IBX_PARTITIONS + machine->min_interval;
  double vector_ns = 1000.0 / machine->vector_mhz;
  double tensor_ns = 1000.0 / machine->tensor_mhz;
  size_t bytes = ibx_dtype_bytes(src->dtype);
  if (ibx_view_pieces(views, 2, INT32_MAX, NULL, NULL)) {
    return columns * vector_ns;
  }
  if ((bytes == 2 || bytes == 4) && is_transpose(machine, views)) {
    double passes = bytes == 4 ? machine->transpose_fp32_passes : 1;
    return columns * (vector_ns + passes * tensor_ns);
  }
  if (is_same_for_all(dst, src)) return columns * (vector_ns + tensor_ns);
  return (machine->dma_startup_ps +
          elements * machine->dma_descriptor_ps / machine->dma_engines) /
         1000.0;
}

// Where the atoms of both have no common refinement (5 rows of 197 against tiles
// of 128): through a row-major copy, which has one with either.
static bool move_by_copy(ibx_lower *lower, const ibx_view *dst,
                         const ibx_view *src) {
  ibx_type type = {.rank = src->rank, .dtype = src->dtype};
  for (uint8_t d = 0; d < src->rank; d++)
    type.dims[d] = src->dim[d].size;
  ibx_view row = ibx_view_linear(&type, 0);
  const ibx_view *to[] = {&row, src}, *from[] = {dst, &row};
  int64_t bytes = 0;
  if (!ibx_type_bytes(&type, &bytes) || !ibx_view_refines(to, 2) ||
      !ibx_view_refines(from, 2)) {
    return false;
  }
  row = ibx_lower_scratch(lower, &type, "copy");
  return ibx_move_by_dma(lower, &row, src) && ibx_move_by_dma(lower, dst, &row);
}

// Engines move at most 32 bits: the first words, then the second ones.
static bool move_words(ibx_lower *lower, const ibx_view *dst,
                       const ibx_view *src) {
  for (unsigned word = 0; word < 2; word++) {
    ibx_view to = ibx_view_words(dst, word), from = ibx_view_words(src, word);
    if (!ibx_lower_move(lower, &to, &from)) return false;
  }
  return true;
}

// Whether a dimension of a place has one element for all its indices.
static bool is_repeated(const ibx_dim *dim) {
  return dim->size > 1 && repeats_one(dim);
}

// A move without the dimensions in which `dst` repeats: it walks the elements
// that are stored, each once.
static bool move_stored(ibx_lower *lower, const ibx_view *dst,
                        const ibx_view *src) {
  ibx_view to = *dst, from = *src;
  for (uint8_t d = 0; d < dst->rank; d++) {
    if (!is_repeated(&dst->dim[d])) continue;
    ibx_dim one = {.atom[0].size = 1, .size = 1, .count = 1};
    to.dim[d] = one;
    from.dim[d] = one;
  }
  return ibx_lower_move(lower, &to, &from);
}

bool ibx_lower_move(ibx_lower *lower, const ibx_view *dst,
                    const ibx_view *src) {
  for (uint8_t d = 0; d < dst->rank; d++) {
    if (is_repeated(&dst->dim[d])) return move_stored(lower, dst, src);
  }
  bool on_chip = space_of(lower, dst) != IBX_SPACE_HBM &&
                 space_of(lower, src) != IBX_SPACE_HBM;
  if (on_chip && ibx_dtype_bytes(src->dtype) == 8) {
    return move_words(lower, dst, src);
  }
  if (on_chip &&
      (ibx_move_by_engine(lower, dst, src) ||
       ibx_move_by_transpose(lower, dst, src) ||
       move_by_spread(lower, dst, src) || move_by_rows(lower, dst, src) ||
       move_by_row(lower, dst, src))) {
    return true;
  }
  if (lower->status != IBX_OK) return false;
  if (ibx_move_staged(lower, dst, src)) return true;
  if (lower->status != IBX_OK) return false;
  if (ibx_move_by_dma(lower, dst, src) || move_by_copy(lower, dst, src)) {
    return true;
  }
  return ibx_lower_fail(lower, IBX_INTERNAL,
                        "no way to move a tensor between its two layouts");
}
