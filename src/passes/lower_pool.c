// SPDX-License-Identifier: Apache-2.0
//
// Pooling: comes in [N, C, spatial...]; goes out the largest element or the
// mean of each window. The largest of a window is the largest of its rows'
// largest, and a sum likewise, so each spatial dimension is a pass of its own:
//
//   x [H, W]  --taps of width-->  [H, W']  --taps of height-->  [H', W']
//
// Padding is clipped: a tap works on the outputs that it reaches. Vector and
// GpSimd share the rows of a pass. A window that is the whole image is a
// reduction.

#include "passes/lower_window.h"

#include <math.h>

enum { CHUNK_ELEMENTS = 1024, MOST_ELEMENTS = 65535 };

typedef struct pool {
  ibx_lower *lower;
  const ibx_node *node;
  const ibx_chain *chain;
  const ibx_view *dst;
  ibx_type x, y;
  ibx_window window[IBX_SPATIAL];
  bool is_max;
  uint64_t load_ps[IBX_ENGINE_COUNT]; // given to each engine so far
} pool;

// ---- Instructions on the less loaded of two engines

static bool on_engine(pool *p, const ibx_insn *insn, ibx_engine engine,
                      const ibx_view *const slots[IBX_OPERANDS]) {
  ibx_lower *lower = p->lower;
  size_t from = lower->func->op_count;
  if (!ibx_lower_insn(lower, insn, engine, slots, MOST_ELEMENTS / 2)) {
    return false;
  }
  for (size_t i = from; i < lower->func->op_count; i++) {
    const ibx_tile_op op = ibx_tile_at(lower->func, i);
    const ibx_insn *done = &op.insn;
    uint64_t n = (uint64_t)done->num[2] * done->num[3] * done->num[4];
    uint32_t mhz = ibx_machine_clock_mhz(lower->machine, engine);
    uint64_t cycles =
        engine == IBX_ENGINE_GPSIMD ? n + lower->machine->gpsimd_start
        : ibx_dtype_bytes((ibx_dtype)done->operand[0].dtype) == 2 ? n
                                                                  : 2 * n;
    p->load_ps[engine] += cycles * 1000000 / mhz;
  }
  return true;
}

static ibx_engine idle_engine(const pool *p) {
  return p->load_ps[IBX_ENGINE_GPSIMD] < p->load_ps[IBX_ENGINE_VECTOR]
             ? IBX_ENGINE_GPSIMD
             : IBX_ENGINE_VECTOR;
}

// ---- One pass

// What a pass does along dimension `dim` of its views.
typedef struct pass {
  const ibx_window *window;
  const ibx_view *src, *dst;
  uint8_t dim;
} pass;

// The part of dst from `first` to `end` along the pass, and what a tap reads
// for it.
static bool tap_views(const pool *p, const pass *a, int64_t tap,
                      ibx_range range, ibx_view *dst, ibx_view *src) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK], steps[IBX_MAX_RANK];
  const ibx_window *w = a->window;
  for (uint8_t d = 0; d < a->dst->rank; d++) {
    sizes[d] = a->dst->dim[d].size;
    steps[d] = 1;
  }
  sizes[a->dim] = range.end - range.first;
  starts[a->dim] = range.first;
  bool ok = ibx_view_slice(a->dst, starts, sizes, NULL, dst);
  starts[a->dim] = range.first * w->stride + tap * w->dilation - w->low;
  steps[a->dim] = w->stride;
  ok = ok && ibx_view_slice(a->src, starts, sizes, steps, src);
  if (ok) return true;
  return ibx_lower_fail(p->lower, IBX_INTERNAL,
                        "a tap of a pooling window is no view");
}

static bool covers(const pass *a, int64_t tap) {
  ibx_range reach = ibx_window_reach(a->window, tap);
  return reach.first == 0 && reach.end == a->window->out;
}

// The first instruction writes all of dst: two taps that reach everything, or
// one, or the neutral element.
static bool start_pass(pool *p, const pass *a, ibx_engine engine,
                       int64_t *taken) {
  int64_t count = 0;
  ibx_view dst, src[2];
  ibx_range all = {.end = a->window->out};
  for (int64_t t = 0; t < a->window->kernel && count < 2; t++) {
    if (!covers(a, t)) continue;
    if (!tap_views(p, a, t, all, &dst, &src[count])) return false;
    taken[count++] = t;
  }
  if (count == 0) {
    return ibx_lower_fill(p->lower, a->dst, p->is_max ? -INFINITY : 0.0f);
  }
  ibx_insn insn =
      ibx_insn_make(count == 2 ? IBX_OP_tensor_tensor : IBX_OP_tensor_copy);
  if (count == 2) insn.op[0] = p->is_max ? IBX_ALU_MAX : IBX_ALU_ADD;
  const ibx_view *slots[IBX_OPERANDS] = {&dst, &src[0],
                                         count == 2 ? &src[1] : NULL};
  return on_engine(p, &insn, engine, slots);
}

static bool one_pass(pool *p, const pass *a) {
  int64_t taken[2] = {-1, -1};
  ibx_engine engine = idle_engine(p);
  if (!start_pass(p, a, engine, taken)) return false;
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
  insn.op[0] = p->is_max ? IBX_ALU_MAX : IBX_ALU_ADD;
  for (int64_t t = 0; t < a->window->kernel; t++) {
    ibx_range reach = ibx_window_reach(a->window, t);
    if (t == taken[0] || t == taken[1] || reach.first == reach.end) continue;
    ibx_view dst, src;
    if (!tap_views(p, a, t, reach, &dst, &src)) return false;
    const ibx_view *slots[IBX_OPERANDS] = {&dst, &dst, &src};
    if (!on_engine(p, &insn, engine, slots)) return false;
  }
  return true;
}

// Elements of a partition but for those along one dimension.
static int64_t elements_beside(const ibx_view *view, uint8_t dim) {
  int64_t elements = 1;
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count && d != dim; a++) {
      const ibx_atom *atom = &view->dim[d].atom[a];
      if (atom->pstep == 0) elements *= atom->size;
    }
  }
  return elements;
}

// Outputs [from, from + size) of a pass along dimension `across`, which may be
// the pass's own.
static bool part_of_pass(pool *p, const pass *whole, uint8_t across,
                         int64_t from, int64_t size) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  ibx_window window = *whole->window;
  ibx_view src = *whole->src, dst;
  pass part = {.window = &window, .src = &src, .dst = &dst, .dim = whole->dim};
  for (uint8_t d = 0; d < src.rank; d++)
    sizes[d] = whole->dst->dim[d].size;
  starts[across] = from;
  sizes[across] = size;
  bool ok = ibx_view_slice(whole->dst, starts, sizes, NULL, &dst);
  if (across == whole->dim) {
    window.out = size;
    window.low -= from * window.stride;
  } else {
    sizes[whole->dim] = src.dim[whole->dim].size;
    ok = ok && ibx_view_slice(whole->src, starts, sizes, NULL, &src);
  }
  if (ok) return one_pass(p, &part);
  return ibx_lower_fail(p->lower, IBX_INTERNAL,
                        "a part of a pooling pass is no view");
}

// A pass in chunks along dimension `across`, so that two engines share it and
// the next one starts early.
static bool chunked_pass(pool *p, const pass *whole, uint8_t across) {
  int64_t extent = whole->dst->dim[across].size;
  int64_t row = elements_beside(whole->dst, across);
  int64_t most = CHUNK_ELEMENTS / (row > 0 ? row : 1);
  if (extent * row <= CHUNK_ELEMENTS) return one_pass(p, whole);
  if (most < 1) most = 1;
  for (int64_t at = 0; at < extent; at += most) {
    int64_t size = extent - at < most ? extent - at : most;
    if (!part_of_pass(p, whole, across, at, size)) return false;
  }
  return true;
}

// ---- All passes

// A dimension in which windows hold one element of the input each.
static bool is_slice(const ibx_window *w) {
  return w->kernel == 1 && w->low == 0 && (w->out - 1) * w->stride < w->in;
}

static bool slice_dim(ibx_view *view, uint8_t dim, const ibx_window *w) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK], steps[IBX_MAX_RANK];
  for (uint8_t d = 0; d < view->rank; d++) {
    sizes[d] = view->dim[d].size;
    steps[d] = 1;
  }
  sizes[dim] = w->out;
  steps[dim] = w->stride;
  return ibx_view_slice(view, starts, sizes, steps, view);
}

static bool temporary(pool *p, const ibx_view *like, ibx_type type,
                      ibx_view *out) {
  ibx_view shaped = *like;
  for (uint8_t d = 0; d < type.rank; d++) {
    if (d == 1) continue;
    shaped.dim[d] = (ibx_dim){.atom[0] = {.size = type.dims[d], .step = 1},
                              .size = type.dims[d],
                              .count = 1};
  }
  return ibx_lower_temp(p->lower, &shaped, type.dtype, out);
}

// Slices first, then the passes from the last dimension to the first. The last
// pass writes `dst` when that is given; else `*view` is the result.
static bool all_passes(pool *p, ibx_view *view, const ibx_view *dst) {
  ibx_type type = p->x;
  int left = 0;
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    const ibx_window *w = &p->window[d];
    int at = ibx_image_dim(type.rank, (uint8_t)(d + 1));
    if (!is_slice(w)) left++;
    if (at < 0 || !is_slice(w)) continue;
    type.dims[at] = w->out;
    if (!slice_dim(view, (uint8_t)at, w)) return false;
  }
  type.dtype = dst ? dst->dtype : p->is_max ? view->dtype : IBX_DTYPE_F32;
  for (int d = IBX_SPATIAL - 1; d >= 0; d--) {
    const ibx_window *w = &p->window[d];
    int at = ibx_image_dim(type.rank, (uint8_t)(d + 1));
    if (at < 0 || is_slice(w)) continue;
    type.dims[at] = w->out;
    ibx_view out;
    if (--left == 0 && dst)
      out = *dst;
    else if (!temporary(p, view, type, &out))
      return false;
    pass a = {.window = w, .src = view, .dst = &out, .dim = (uint8_t)at};
    if (!chunked_pass(p, &a, 2)) return false;
    *view = out;
  }
  return true;
}

// ---- Windows that are the whole image

static bool is_global(const pool *p) {
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    const ibx_window *w = &p->window[d];
    if (w->out != 1 || w->low != 0 || w->dilation != 1 || w->kernel != w->in) {
      return false;
    }
  }
  return true;
}

static ibx_view standing(const ibx_view *view, const ibx_type *shape,
                         uint8_t from) {
  ibx_view result = *view;
  for (uint8_t d = from; d < view->rank; d++) {
    result.dim[d] = (ibx_dim){
        .atom[0].size = shape->dims[d], .size = shape->dims[d], .count = 1};
  }
  return result;
}

// Reduces dimensions `from` and up of `src`.
static bool reduce(pool *p, const ibx_view *src, const ibx_type *shape,
                   uint8_t from, const ibx_view *dst) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_reduce);
  insn.op[0] = p->is_max ? IBX_ALU_MAX : IBX_ALU_ADD;
  ibx_view out = standing(dst, shape, from);
  const ibx_view *slots[IBX_OPERANDS] = {&out, src};
  return ibx_lower_insn(p->lower, &insn, IBX_ENGINE_VECTOR, slots,
                        MOST_ELEMENTS);
}

static bool global(pool *p, ibx_view *view, const ibx_view *dst) {
  ibx_type shape = p->x;
  ibx_view src = *view, out;
  ibx_type type = p->y;
  type.dtype = p->is_max ? view->dtype : IBX_DTYPE_F32;
  int64_t elements = 1;
  for (uint8_t d = 2; d < shape.rank; d++)
    elements *= shape.dims[d];
  if (elements > MOST_ELEMENTS && shape.rank > 3) {
    // Rows first, so that no instruction reduces more than it can hold.
    uint8_t last = (uint8_t)(shape.rank - 1);
    ibx_type rows = shape;
    rows.dims[last] = 1;
    rows.dtype = type.dtype;
    if (!temporary(p, &src, rows, &out) ||
        !reduce(p, &src, &shape, last, &out)) {
      return false;
    }
    src = out;
    shape = rows;
  }
  if (dst)
    out = *dst;
  else if (!temporary(p, &src, type, &out))
    return false;
  *view = out;
  return reduce(p, &src, &shape, 2, &out);
}

// ---- Means

// How many elements the window of output `o` has inside of the input.
static int64_t count_inside(const ibx_window *w, int64_t o) {
  int64_t count = 0;
  for (int64_t t = 0; t < w->kernel; t++) {
    int64_t at = o * w->stride + t * w->dilation - w->low;
    count += at >= 0 && at < w->in;
  }
  return count;
}

// Multiplies the outputs whose windows have equally many elements, dimension by
// dimension.
static bool divide(pool *p, const ibx_view *sums, const ibx_view *dst,
                   int64_t *starts, int64_t *sizes, uint8_t d, int64_t count) {
  if (d == IBX_SPATIAL) {
    ibx_view from, to;
    if (!ibx_view_slice(sums, starts, sizes, NULL, &from) ||
        !ibx_view_slice(dst, starts, sizes, NULL, &to)) {
      return ibx_lower_fail(p->lower, IBX_INTERNAL,
                            "a part of a mean does not fit its layout");
    }
    float scale = count ? (float)(1.0 / (double)count) : 0.0f;
    return ibx_lower_scalars(p->lower, &to, &from, IBX_ALU_MULTIPLY, scale,
                             IBX_ALU_BYPASS, 0.0f);
  }
  const ibx_window *w = &p->window[d];
  int at = ibx_image_dim(p->y.rank, (uint8_t)(d + 1));
  bool skips = p->node->params.exclude_pad != 0;
  for (int64_t first = 0, end; first < w->out; first = end) {
    int64_t inside = skips ? count_inside(w, first) : w->kernel;
    end = first + 1;
    while (end < w->out && (!skips || count_inside(w, end) == inside))
      end++;
    if (at >= 0) {
      starts[at] = first;
      sizes[at] = end - first;
    }
    if (!divide(p, sums, dst, starts, sizes, (uint8_t)(d + 1),
                count * inside)) {
      return false;
    }
  }
  return true;
}

static bool mean(pool *p, ibx_view *view, const ibx_view *dst) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  uint32_t given = view->buffer;
  for (uint8_t d = 0; d < p->y.rank; d++)
    sizes[d] = p->y.dims[d];
  bool ok = is_global(p) ? global(p, view, NULL) : all_passes(p, view, NULL);
  if (!ok) return false;
  ibx_view out = dst ? *dst : *view;
  // Windows of one element: the operand itself must stay as it is.
  if (!dst && view->buffer == given && !temporary(p, view, p->y, &out)) {
    return false;
  }
  ok = divide(p, view, &out, starts, sizes, 0, 1);
  *view = out;
  return ok;
}

static bool largest(pool *p, ibx_view *view, const ibx_view *dst) {
  if (is_global(p)) return global(p, view, dst);
  return all_passes(p, view, dst);
}

// The operand with its channels where the result has them: a product seen as
// an image may have them on partitions and in bytes, which a convolution can
// contract but windows cannot walk.
static bool image_beside(const pool *p, ibx_image *out) {
  uint32_t value = p->node->operand[0];
  ibx_layout layout = {.dims = {1}, .count = 1};
  if (!ibx_image_get(p->lower, value, IBX_DTYPE_NONE, out)) return false;
  ibx_view x = out->view, y = *p->dst;
  x.rank = y.rank = 1;
  x.dim[0] = x.dim[1];
  y.dim[0] = y.dim[1];
  const ibx_view *views[] = {&y, &x};
  if (ibx_view_pieces(views, 2, INT32_MAX, NULL, NULL)) return true;
  ibx_view moved;
  if (!ibx_lower_in_layout(p->lower, value, &layout, &moved)) return false;
  if (ibx_image_make(&moved, out)) return true;
  return ibx_lower_fail(p->lower, IBX_INTERNAL, "an image has no layout");
}

bool ibx_lower_pool(ibx_lower *lower, const ibx_node *node,
                    const ibx_chain *chain, const ibx_view *dst) {
  pool p = {.lower = lower,
            .node = node,
            .chain = chain,
            .dst = dst,
            .x = lower->graph->values[node->operand[0]].type,
            .y = lower->graph->values[node->result].type,
            .is_max = node->op == IBX_TENSOR_max_pool};
  ibx_image x;
  if (!image_beside(&p, &x)) return false;
  bool has_work = !p.is_max;
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    p.window[d] =
        ibx_window_get(&node->params, &p.x, &p.y, node->params.kernel.at, d);
    has_work = has_work || !is_slice(&p.window[d]);
  }
  // With a chain behind it, or nothing to compute, the chain writes dst.
  bool direct = has_work && chain->micro_count == 0;
  const ibx_view *target = direct ? dst : NULL;
  bool ok = p.is_max ? largest(&p, &x.view, target) : mean(&p, &x.view, target);
  if (!ok || direct) return ok;
  return ibx_chain_apply_sliced(lower, chain, dst, &x.view);
}
