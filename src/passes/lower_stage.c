// SPDX-License-Identifier: Apache-2.0
//
// HBM in whole runs. A DMA has a descriptor for each run that is contiguous on
// both sides; where that is an element, a tensor takes eight nanoseconds for each
// and engine. Comes in a move from or to HBM; goes out, part by part, a DMA
// of whole runs beside what an engine does better:
//
//   HBM -> partitions along the run   DMA to rows on partitions, transposes
//   partitions along the run -> HBM   transposes, DMA of the rows
//   HBM -> HBM in another order       DMA to rows, a copy that reorders them in
//                                     their partitions, DMA from rows

#include "passes/lower_move.h"

#include <stdlib.h>
#include <string.h>

// ---- Parts

// Calls `each` for every part of a view, of the extents in `part`.
typedef bool (*part_fn)(ibx_lower *lower, const void *plan,
                        const int64_t *starts, const int64_t *sizes);

typedef struct part_walk {
  ibx_lower *lower;
  const ibx_view *view;
  const int64_t *part;
  part_fn each;
  const void *plan; // for `each`
  int64_t starts[IBX_MAX_RANK], sizes[IBX_MAX_RANK];
} part_walk;

static bool walk_parts(part_walk *w, uint8_t dim) {
  if (dim == w->view->rank)
    return w->each(w->lower, w->plan, w->starts, w->sizes);
  int64_t extent = w->view->dim[dim].size;
  for (int64_t at = 0; at < extent; at += w->part[dim]) {
    int64_t left = extent - at;
    w->starts[dim] = at;
    w->sizes[dim] = left < w->part[dim] ? left : w->part[dim];
    if (!walk_parts(w, (uint8_t)(dim + 1))) return false;
  }
  return true;
}

// ---- Between HBM and partitions

enum { STAGE_ELEMENTS = 4096 };

typedef struct stage_plan {
  const ibx_view *far, *near; // in HBM, in SBUF
  uint8_t run, row; // contiguous in HBM; on the partitions of the stage
  int64_t part[IBX_MAX_RANK]; // extents of a part
  bool is_load, is_trial;     // a trial only asks whether all parts are views
} stage_plan;

// The dimension that is contiguous in HBM, if the other side has it on
// partitions; else IBX_MAX_RANK.
static uint8_t scattered_run(const ibx_view *far, const ibx_view *near) {
  for (uint8_t d = 0; d < far->rank; d++) {
    const ibx_dim *dim = &far->dim[d];
    if (dim->size > 1 && dim->atom[dim->count - 1].step == 1)
      return ibx_dim_on_partitions(&near->dim[d]) ? d : IBX_MAX_RANK;
  }
  return IBX_MAX_RANK;
}

static bool plan_stage(stage_plan *plan) {
  const ibx_view *far = plan->far, *near = plan->near;
  int64_t most = 1, room = STAGE_ELEMENTS;
  plan->run = scattered_run(far, near);
  if (plan->run == IBX_MAX_RANK) return false;
  for (uint8_t d = 0; d < far->rank; d++) {
    if (d == plan->run || ibx_dim_on_partitions(&near->dim[d])) continue;
    if (far->dim[d].size <= most) continue;
    most = far->dim[d].size;
    plan->row = d;
  }
  if (most == 1) return false;
  for (int d = far->rank - 1; d >= 0; d--)
    plan->part[d] = far->dim[d].size;
  if (most > IBX_PARTITIONS) plan->part[plan->row] = IBX_PARTITIONS;
  if (plan->part[plan->run] > room) plan->part[plan->run] = room;
  room /= plan->part[plan->run];
  for (int d = far->rank - 1; d >= 0; d--) {
    if (d == plan->row || d == plan->run) continue;
    if (plan->part[d] > room) plan->part[d] = room > 1 ? room : 1;
    room /= plan->part[d];
  }
  return true;
}

// Whether transposes and whole runs cost less than a descriptor an element.
static bool stage_pays(const ibx_machine *machine, const stage_plan *plan) {
  double elements = 1, parts = 1;
  for (uint8_t d = 0; d < plan->far->rank; d++) {
    double extent = (double)plan->far->dim[d].size;
    elements *= extent;
    parts *= (double)(int64_t)((extent + (double)plan->part[d] - 1) /
                               (double)plan->part[d]);
  }
  double descriptor_ns = machine->dma_descriptor_ps / 1000.0;
  double scattered = elements * descriptor_ns / machine->dma_engines;
  double rows = (double)plan->part[plan->row];
  double columns = elements / rows + parts * machine->min_interval;
  double passes = machine->transpose_fp32_passes;
  double staged = columns * (1000.0 / machine->vector_mhz +
                             passes * 1000.0 / machine->tensor_mhz) +
                  elements / (double)plan->part[plan->run] * descriptor_ns /
                      machine->dma_engines +
                  machine->dma_startup_ps / 1000.0;
  return staged < scattered;
}

static bool stage_part(ibx_lower *lower, const void *user,
                       const int64_t *starts, const int64_t *sizes) {
  const stage_plan *plan = user;
  ibx_view far, near, stage;
  ibx_type type = {.rank = plan->far->rank};
  ibx_layout layout = {.dims = {plan->row}, .count = 1};
  if (!ibx_view_slice(plan->far, starts, sizes, NULL, &far) ||
      !ibx_view_slice(plan->near, starts, sizes, NULL, &near)) {
    return false;
  }
  if (plan->is_trial) return true;
  memcpy(type.dims, sizes, type.rank * sizeof(*sizes));
  type.dtype = far.dtype;
  if (!ibx_lower_tensor(lower, &type, &layout, "staged", &stage)) return false;
  if (plan->is_load) {
    if (!ibx_move_by_dma(lower, &stage, &far)) return false;
    return ibx_move_by_engine(lower, &near, &stage) ||
           ibx_move_by_transpose(lower, &near, &stage) ||
           ibx_move_by_dma(lower, &near, &stage);
  }
  return (ibx_move_by_engine(lower, &stage, &near) ||
          ibx_move_by_transpose(lower, &stage, &near) ||
          ibx_move_by_dma(lower, &stage, &near)) &&
         ibx_move_by_dma(lower, &far, &stage);
}

// Whether the first part can be transposed between stage and the other side.
static bool stage_fits(const stage_plan *plan) {
  int64_t starts[IBX_MAX_RANK] = {0};
  ibx_type type = {.rank = plan->far->rank, .dtype = plan->far->dtype};
  ibx_layout layout = {.dims = {plan->row}, .count = 1};
  ibx_view near, stage;
  int32_t partitions;
  int64_t elements;
  memcpy(type.dims, plan->part, sizeof(type.dims));
  if (!ibx_view_slice(plan->near, starts, plan->part, NULL, &near) ||
      !ibx_view_make(&type, &layout, &stage, &partitions, &elements)) {
    return false;
  }
  return plan->is_load ? ibx_move_is_transpose(&near, &stage)
                       : ibx_move_is_transpose(&stage, &near);
}

// False without a failure when it does not pay or cannot be done.
static bool stage_partitions(ibx_lower *lower, const ibx_view *dst,
                             const ibx_view *src, bool is_load) {
  stage_plan plan = {.far = is_load ? src : dst,
                     .near = is_load ? dst : src,
                     .is_load = is_load};
  if (!plan_stage(&plan) || !stage_pays(lower->machine, &plan) ||
      !stage_fits(&plan)) {
    return false;
  }
  part_walk walk = {.lower = lower,
                    .view = plan.far,
                    .part = plan.part,
                    .each = stage_part,
                    .plan = &plan};
  plan.is_trial = true;
  if (!walk_parts(&walk, 0)) return false;
  plan.is_trial = false;
  return walk_parts(&walk, 0);
}

// ---- From HBM to HBM

enum { RUN_ELEMENTS = 128, SHORT_RUN_BYTES = 64 };

typedef struct reorder_plan {
  const ibx_view *dst, *src;
  uint8_t row;
  int64_t part[IBX_MAX_RANK];
} reorder_plan;

// The dimension with step 1, or IBX_MAX_RANK.
static uint8_t run_dim(const ibx_view *view) {
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    if (dim->size > 1 && dim->atom[dim->count - 1].step == 1) return d;
  }
  return IBX_MAX_RANK;
}

static bool plan_reorder(reorder_plan *plan) {
  uint8_t to = run_dim(plan->dst), from = run_dim(plan->src);
  int64_t most = 16, room = 4 * STAGE_ELEMENTS;
  plan->row = IBX_MAX_RANK;
  if (to == IBX_MAX_RANK || from == IBX_MAX_RANK) return false;
  for (uint8_t d = 0; d < plan->dst->rank; d++) {
    plan->part[d] = 1;
    const ibx_dim *dim = &plan->src->dim[d];
    bool repeats = dim->count == 1 && dim->atom[0].step == 0;
    if (d == to || d == from || repeats || dim->size < most) continue;
    most = dim->size;
    plan->row = d;
  }
  if (plan->row == IBX_MAX_RANK) return false;
  plan->part[plan->row] = most < IBX_PARTITIONS ? most : IBX_PARTITIONS;
  uint8_t ends[] = {to, from};
  for (size_t i = 0; i < 2; i++) {
    int64_t size = plan->dst->dim[ends[i]].size;
    plan->part[ends[i]] = size < RUN_ELEMENTS ? size : RUN_ELEMENTS;
    if (i == 0 || from != to) room /= plan->part[ends[i]];
  }
  for (int d = plan->dst->rank - 1; d >= 0; d--) {
    if (d == plan->row) continue;
    int64_t more = plan->dst->dim[d].size / plan->part[d];
    if (more > room) more = room;
    if (more < 2) continue;
    plan->part[d] *= more;
    room /= more;
  }
  return true;
}

static int compare_steps(const void *a, const void *b) {
  const ibx_atom *x = *(ibx_atom *const *)a, *y = *(ibx_atom *const *)b;
  return x->step < y->step ? -1 : x->step > y->step;
}

// A buffer with dimension `row` on the partitions and the others in the order
// that they have in `like`; what repeats there is stored once.
static bool rows_like(ibx_lower *lower, const ibx_view *like, uint8_t row,
                      ibx_view *out) {
  ibx_atom *atoms[IBX_MAX_RANK * IBX_ATOMS];
  size_t count = 0;
  int64_t step = 1;
  *out = *like;
  out->offset = 0;
  out->dim[row] =
      (ibx_dim){.atom[0] = {.size = like->dim[row].size, .pstep = 1},
                .size = like->dim[row].size,
                .count = 1};
  for (uint8_t d = 0; d < out->rank; d++) {
    for (uint8_t a = 0; d != row && a < out->dim[d].count; a++) {
      ibx_atom *atom = &out->dim[d].atom[a];
      if (atom->step < 0) atom->step = -atom->step;
      if (atom->size > 1 && atom->step != 0) atoms[count++] = atom;
    }
  }
  qsort(atoms, count, sizeof(*atoms), compare_steps);
  for (size_t i = 0; i < count; i++) {
    atoms[i]->step = step;
    step *= atoms[i]->size;
  }
  out->buffer = ibx_lower_buffer(
      lower, IBX_SPACE_SBUF, (int32_t)like->dim[row].size,
      step * (int64_t)ibx_dtype_bytes(like->dtype), "reordered");
  return lower->status == IBX_OK;
}

// The elements of a view without their repetitions.
static ibx_view once(const ibx_view *view) {
  ibx_view result = *view;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_atom *atom = &view->dim[d].atom[0];
    if (view->dim[d].count != 1 || atom->step != 0 || atom->pstep != 0)
      continue;
    result.dim[d] = (ibx_dim){.atom[0].size = 1, .size = 1, .count = 1};
  }
  return result;
}

static bool reorder_part(ibx_lower *lower, const void *user,
                         const int64_t *starts, const int64_t *sizes) {
  const reorder_plan *plan = user;
  ibx_view dst, src, loaded, ordered;
  if (!ibx_view_slice(plan->dst, starts, sizes, NULL, &dst) ||
      !ibx_view_slice(plan->src, starts, sizes, NULL, &src)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a staged part is no view");
  }
  if (!rows_like(lower, &src, plan->row, &loaded)) return false;
  ibx_view to = once(&loaded), from = once(&src);
  return ibx_move_by_dma(lower, &to, &from) &&
         rows_like(lower, &dst, plan->row, &ordered) &&
         ibx_move_by_engine(lower, &ordered, &loaded) &&
         ibx_move_by_dma(lower, &dst, &ordered);
}

// One side of a rectangle: a dimension for each axis.
static ibx_view side_of(const ibx_rect *rect, size_t side,
                        const ibx_view *whole) {
  ibx_view view = {.rank = rect->axis_count,
                   .dtype = whole->dtype,
                   .buffer = whole->buffer,
                   .offset = rect->offset[side]};
  for (uint8_t d = 0; d < view.rank; d++) {
    const ibx_axis *axis = &rect->axis[d];
    view.dim[d] =
        (ibx_dim){.atom[0] = {.size = axis->size, .step = axis->step[side]},
                  .size = axis->size,
                  .count = 1};
  }
  return view;
}

typedef struct reordering {
  ibx_lower *lower;
  const ibx_view *dst, *src;
  bool pays; // some rectangle has short runs, and rows
} reordering;

// Bytes that are contiguous on both sides.
static int64_t run_bytes(const ibx_rect *rect, ibx_dtype dtype) {
  int64_t run = 1;
  for (size_t i = 0; i < rect->axis_count; i++) {
    if (rect->axis[i].step[0] == 1 && rect->axis[i].step[1] == 1)
      run = rect->axis[i].size;
  }
  return run * (int64_t)ibx_dtype_bytes(dtype);
}

static bool plan_rect(const reordering *r, const ibx_rect *whole, ibx_view *dst,
                      ibx_view *src, reorder_plan *plan) {
  ibx_rect rect = *whole;
  int64_t elements = 1;
  ibx_rect_merge(&rect);
  for (size_t i = 0; i < rect.axis_count; i++)
    elements *= rect.axis[i].size;
  if (rect.axis_count > IBX_MAX_RANK || elements < STAGE_ELEMENTS ||
      run_bytes(&rect, r->src->dtype) >= SHORT_RUN_BYTES) {
    return false;
  }
  *dst = side_of(&rect, 0, r->dst);
  *src = side_of(&rect, 1, r->src);
  *plan = (reorder_plan){.dst = dst, .src = src};
  return plan_reorder(plan);
}

static bool check_rect(void *user, const ibx_rect *rect) {
  reordering *r = user;
  ibx_view dst, src;
  reorder_plan plan;
  r->pays = r->pays || plan_rect(r, rect, &dst, &src, &plan);
  return true;
}

static bool reorder_rect(void *user, const ibx_rect *rect) {
  reordering *r = user;
  ibx_view dst, src;
  reorder_plan plan;
  part_walk walk = {.lower = r->lower,
                    .view = &dst,
                    .part = plan.part,
                    .each = reorder_part,
                    .plan = &plan};
  if (plan_rect(r, rect, &dst, &src, &plan)) return walk_parts(&walk, 0);
  return ibx_move_rect_by_dma(r->lower, r->dst, r->src, rect);
}

static bool reorder(ibx_lower *lower, const ibx_view *dst,
                    const ibx_view *src) {
  reordering r = {.lower = lower, .dst = dst, .src = src};
  const ibx_view *views[] = {dst, src};
  return ibx_view_rects(views, 2, check_rect, &r) && r.pays &&
         ibx_view_rects(views, 2, reorder_rect, &r);
}

bool ibx_move_staged(ibx_lower *lower, const ibx_view *dst,
                     const ibx_view *src) {
  ibx_space to = lower->func->buffers[dst->buffer].place.space;
  ibx_space from = lower->func->buffers[src->buffer].place.space;
  size_t bytes = ibx_dtype_bytes(src->dtype);
  if (bytes != 2 && bytes != 4) return false;
  if (to == IBX_SPACE_HBM && from == IBX_SPACE_HBM)
    return reorder(lower, dst, src);
  if (to == IBX_SPACE_SBUF && from == IBX_SPACE_HBM)
    return stage_partitions(lower, dst, src, true);
  if (to == IBX_SPACE_HBM && from == IBX_SPACE_SBUF)
    return stage_partitions(lower, dst, src, false);
  return false;
}
