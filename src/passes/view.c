// SPDX-License-Identifier: Apache-2.0
//
// Views: comes in how a tensor lies in memory and what is done to its shape;
// goes out how the result lies there, or that no view says it. Afterwards all
// atoms but the outermost of each dimension are exact.

#include "passes/view.h"

#include <string.h>

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

static int64_t inner_product(const ibx_dim *dim) {
  int64_t product = 1;
  for (uint8_t i = 1; i < dim->count; i++)
    product *= dim->atom[i].size;
  return product;
}

static ibx_dim single_atom(int64_t size, int64_t step, int32_t pstep) {
  return (ibx_dim){.atom[0] = {.size = size, .step = step, .pstep = pstep},
                   .size = size,
                   .count = 1};
}

ibx_view ibx_view_linear(const ibx_type *type, uint32_t buffer) {
  ibx_view view = {.buffer = buffer, .dtype = type->dtype, .rank = type->rank};
  int64_t step = 1;
  for (int d = type->rank - 1; d >= 0; d--) {
    view.dim[d] = single_atom(type->dims[d], step, 0);
    step *= type->dims[d];
  }
  return view;
}

ibx_view ibx_view_words(const ibx_view *view, unsigned word) {
  ibx_view words = *view;
  for (uint8_t d = 0; d < words.rank; d++) {
    for (uint8_t a = 0; a < words.dim[d].count; a++)
      words.dim[d].atom[a].step *= 2;
  }
  words.offset = 2 * words.offset + word;
  words.dtype = IBX_DTYPE_I32;
  return words;
}

// Puts an atom in front of the others. False when there is no room.
static bool push_outer(ibx_dim *dim, ibx_atom atom) {
  if (dim->count == IBX_ATOMS) return false;
  memmove(&dim->atom[1], &dim->atom[0], dim->count * sizeof(ibx_atom));
  dim->atom[0] = atom;
  dim->count++;
  return true;
}

static bool is_on_partitions(const ibx_layout *layout, uint8_t dim) {
  for (uint8_t i = 0; i < layout->count; i++) {
    if (layout->dims[i] == dim) return true;
  }
  return false;
}

// Lays the partition dimensions out, innermost first. `used` partitions are
// taken by inner dimensions; once a dimension overflows 128 its rest and all
// outer dimensions become tiles, whose steps are filled in by the caller.
static bool place_partitions(const ibx_type *type, const ibx_layout *layout,
                             ibx_view *view, int32_t *out_partitions) {
  int64_t limit = layout->limit ? layout->limit : IBX_PARTITIONS, used = 1;
  bool full = false;
  for (int i = layout->count - 1; i >= 0; i--) {
    uint8_t d = layout->dims[i];
    int64_t size = type->dims[d];
    ibx_dim *dim = &view->dim[d];
    *dim = (ibx_dim){.size = size};
    if (full || used * size <= limit) {
      int32_t pstep = full ? 0 : (int32_t)used;
      if (!push_outer(dim, (ibx_atom){.size = size, .pstep = pstep})) {
        return false;
      }
      if (!full) used *= size;
      continue;
    }
    // An inner extent that does not divide 128 ends the packing, because pieces
    // of a tile must start at partitions 0, 32, 64 or 96.
    int64_t fit = limit / used;
    if (used > 1 && (limit % used != 0 || used % 32 != 0)) fit = 1;
    if (used > 1 && fit * used > limit) return false;
    if (fit > 1) {
      push_outer(dim, (ibx_atom){.size = fit, .pstep = (int32_t)used});
      used *= fit;
    }
    if (!push_outer(dim, (ibx_atom){.size = ceil_div(size, fit)})) {
      return false;
    }
    if (i != 0 && size % fit != 0) return false;
    full = true;
  }
  *out_partitions = (int32_t)used;
  return true;
}

bool ibx_view_make(const ibx_type *type, const ibx_layout *layout,
                   ibx_view *out_view, int32_t *out_partitions,
                   int64_t *out_elements) {
  ibx_view view = {.dtype = type->dtype, .rank = type->rank};
  if (!place_partitions(type, layout, &view, out_partitions)) return false;
  int64_t step = 1;
  for (int d = type->rank - 1; d >= 0; d--) {
    if (is_on_partitions(layout, (uint8_t)d)) continue;
    view.dim[d] = single_atom(type->dims[d], step, 0);
    step *= type->dims[d];
  }
  for (int i = layout->count - 1; i >= 0; i--) {
    ibx_dim *dim = &view.dim[layout->dims[i]];
    ibx_atom *outer = &dim->atom[0];
    if (outer->pstep != 0 || outer->size == 1) continue;
    outer->step = step;
    step *= outer->size;
  }
  *out_elements = step;
  *out_view = view;
  return true;
}

// ---- Reshape: walk both shapes from the innermost dimension on; atoms of the
// source fill the dimensions of the target, split where a boundary cuts them.

typedef struct atom_source {
  const ibx_view *view;
  int dim, atom; // next atom to take; atom < 0: next dimension
  ibx_atom rest; // what is left of the current atom
  bool has_rest;
  bool outermost; // `rest` is the outermost atom of its dimension
} atom_source;

static bool is_partial(const ibx_dim *dim) {
  return dim->size % inner_product(dim) != 0;
}

static bool take_atom(atom_source *source) {
  while (source->atom < 0) {
    if (--source->dim < 0) return false;
    source->atom = source->view->dim[source->dim].count - 1;
    // A partial dimension must be the outermost of what it is merged into.
  }
  const ibx_dim *dim = &source->view->dim[source->dim];
  source->rest = dim->atom[source->atom];
  source->outermost = source->atom == 0;
  if (source->outermost)
    source->rest.size = ceil_div(dim->size, inner_product(dim));
  source->atom--;
  source->has_rest = true;
  return true;
}

static bool ends_partial(const atom_source *source) {
  return source->outermost && is_partial(&source->view->dim[source->dim]);
}

// Takes the next atom together with those that continue it, so that it may be
// split elsewhere than where the source was: 77 x 48 in a row are 8 x 462.
static bool next_atom(atom_source *source) {
  if (!take_atom(source)) return false;
  for (;;) {
    atom_source next = *source;
    ibx_atom *rest = &source->rest;
    if (ends_partial(source) || !take_atom(&next)) return true;
    if (ends_partial(&next)) return true;
    bool follows = next.rest.step == rest->step * rest->size &&
                   next.rest.pstep == rest->pstep * (int32_t)rest->size;
    if (!follows && next.rest.size != 1 && rest->size != 1) return true;
    if (next.rest.size == 1) {
      next.rest = *rest;
    } else if (rest->size != 1) {
      next.rest = (ibx_atom){.size = rest->size * next.rest.size,
                             .step = rest->step,
                             .pstep = rest->pstep};
    }
    *source = next;
  }
}

// Fills one target dimension of extent `size`.
static bool fill_dim(atom_source *source, int64_t size, ibx_dim *out) {
  *out = (ibx_dim){.size = size};
  int64_t have = 1;
  while (have < size) {
    if (!source->has_rest && !next_atom(source)) return false;
    ibx_atom *rest = &source->rest;
    int64_t want = ceil_div(size, have);
    bool partial =
        source->outermost && is_partial(&source->view->dim[source->dim]);
    if (rest->size <= want) {
      if (rest->size > 1 && !push_outer(out, *rest)) return false;
      have *= rest->size;
      source->has_rest = false;
      if (partial && have < size) return false;
      if (partial) return true; // the outermost one; stays partial
      continue;
    }
    if (partial || size % have != 0 || rest->size % want != 0) return false;
    ibx_atom inner = *rest;
    inner.size = want;
    if (!push_outer(out, inner)) return false;
    rest->size /= want;
    rest->step *= want;
    rest->pstep *= (int32_t)want;
    have *= want;
  }
  if (out->count == 0) *out = single_atom(1, 0, 0);
  if (size == 1) *out = single_atom(1, 0, 0);
  return have == size;
}

bool ibx_view_reshape(const ibx_view *view, const ibx_ints *shape,
                      ibx_view *out) {
  ibx_view result = *view;
  result.rank = shape->len;
  atom_source source = {.view = view, .dim = view->rank, .atom = -1};
  for (int d = shape->len - 1; d >= 0; d--) {
    if (!fill_dim(&source, shape->at[d], &result.dim[d])) return false;
    // A partial dimension ends at a boundary of the source only.
    if (is_partial(&result.dim[d]) && source.has_rest) return false;
  }
  *out = result;
  return true;
}

void ibx_view_transpose(const ibx_view *view, const ibx_ints *perm,
                        ibx_view *out) {
  ibx_view result = *view;
  for (uint8_t d = 0; d < view->rank; d++)
    result.dim[d] = view->dim[perm->at[d]];
  *out = result;
}

// Moves the view to index `start` of `dim`; false when the elements from there
// on are not at constant steps.
static void move_to(ibx_view *view, const ibx_dim *dim, int64_t start) {
  for (int a = dim->count - 1; a >= 0; a--) {
    int64_t index = a == 0 ? start : start % dim->atom[a].size;
    if (a != 0) start /= dim->atom[a].size;
    view->offset += index * dim->atom[a].step;
    view->partition += (int32_t)index * dim->atom[a].pstep;
  }
}

// Cuts [start, start + size) out of a dimension; the caller moves the view.
static bool slice_dim(const ibx_dim *dim, int64_t start, int64_t size,
                      ibx_dim *out) {
  ibx_dim result = *dim;
  int64_t inner = inner_product(&result);
  // Inside one step of the outermost atom: that atom goes away.
  while (result.count > 1 && start / inner == (start + size - 1) / inner) {
    start %= inner;
    memmove(&result.atom[0], &result.atom[1],
            (size_t)(result.count - 1) * sizeof(ibx_atom));
    result.count--;
    inner = inner_product(&result);
  }
  if (start % inner != 0) return false;
  result.size = size;
  result.atom[0].size = ceil_div(size, inner);
  *out = result;
  return true;
}

bool ibx_dim_on_partitions(const ibx_dim *dim) {
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep != 0 && dim->atom[a].size > 1) return true;
  }
  return false;
}

int64_t ibx_dim_span(const ibx_dim *dim, int64_t start, int64_t limit) {
  ibx_dim rest = *dim;
  for (;;) {
    int64_t inner = inner_product(&rest);
    start =
        rest.count == dim->count ? start : start % (inner * rest.atom[0].size);
    if (start % inner == 0) return limit;
    int64_t left = inner - start % inner;
    if (left < limit) limit = left;
    memmove(&rest.atom[0], &rest.atom[1],
            (size_t)(rest.count - 1) * sizeof(ibx_atom));
    rest.count--;
  }
}

bool ibx_view_slice(const ibx_view *view, const int64_t *starts,
                    const int64_t *sizes, const int64_t *steps, ibx_view *out) {
  ibx_view result = *view;
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    int64_t step = steps ? steps[d] : 1;
    if (starts[d] == 0 && sizes[d] == dim->size && step == 1) continue;
    if (sizes[d] == 0) return false;
    move_to(&result, dim, starts[d]);
    if (sizes[d] == 1) {
      result.dim[d] = single_atom(1, 0, 0);
    } else if (step == 1) {
      if (!slice_dim(dim, starts[d], sizes[d], &result.dim[d])) return false;
    } else {
      if (dim->count != 1 || dim->atom[0].pstep != 0) return false;
      result.dim[d] = single_atom(sizes[d], dim->atom[0].step * step, 0);
    }
  }
  *out = result;
  return true;
}

void ibx_view_broadcast(const ibx_view *view, const ibx_ints *shape,
                        ibx_view *out) {
  ibx_view result = *view;
  for (uint8_t d = 0; d < view->rank; d++) {
    if (view->dim[d].size == shape->at[d]) continue;
    result.dim[d] = single_atom(shape->at[d], 0, 0);
  }
  *out = result;
}

bool ibx_view_at(const ibx_view *view, uint8_t dim, int64_t index,
                 ibx_view *out) {
  ibx_view result = *view;
  move_to(&result, &view->dim[dim], index);
  memmove(&result.dim[dim], &result.dim[dim + 1],
          (size_t)(view->rank - dim - 1) * sizeof(ibx_dim));
  result.rank--;
  *out = result;
  return true;
}

// ---- Common refinement

// The atoms of a dimension that all views have, innermost first. The last one
// may be partial.
typedef struct refined_dim {
  int64_t size; // of the dimension
  int64_t atom[2 * IBX_ATOMS];
  int64_t step[2 * IBX_ATOMS][IBX_VIEWS];
  int32_t pstep[2 * IBX_ATOMS][IBX_VIEWS];
  uint8_t count;
} refined_dim;

// Splits the dimension of all views at the union of their boundaries.
static bool refine_dim(const ibx_view *const *views, size_t count, uint8_t d,
                       refined_dim *out) {
  int atom[IBX_VIEWS];
  ibx_atom rest[IBX_VIEWS];
  int64_t size = views[0]->dim[d].size, inner = 1;
  out->size = size;
  out->count = 0;
  for (size_t v = 0; v < count; v++) {
    const ibx_dim *dim = &views[v]->dim[d];
    if (dim->size != size) return false;
    atom[v] = dim->count - 1;
    rest[v] = dim->atom[atom[v]];
    if (atom[v] == 0) rest[v].size = INT64_MAX;
  }
  for (;;) {
    int64_t piece = INT64_MAX;
    for (size_t v = 0; v < count; v++) {
      if (rest[v].size < piece) piece = rest[v].size;
    }
    bool last = piece == INT64_MAX;
    if (last) piece = ceil_div(size, inner);
    if (out->count == 2 * IBX_ATOMS) return false;
    uint8_t at = out->count++;
    out->atom[at] = piece;
    for (size_t v = 0; v < count; v++) {
      if (!last && rest[v].size != INT64_MAX && rest[v].size % piece != 0) {
        return false;
      }
      out->step[at][v] = rest[v].step;
      out->pstep[at][v] = rest[v].pstep;
      if (last) continue;
      if (rest[v].size == piece) {
        atom[v]--;
        rest[v] = views[v]->dim[d].atom[atom[v]];
        if (atom[v] == 0) rest[v].size = INT64_MAX;
      } else {
        rest[v].step *= piece;
        rest[v].pstep *= (int32_t)piece;
        if (rest[v].size != INT64_MAX) rest[v].size /= piece;
      }
    }
    inner *= piece;
    if (last) return true;
  }
}

bool ibx_view_refines(const ibx_view *const *views, size_t count) {
  refined_dim refined;
  for (uint8_t d = 0; d < views[0]->rank; d++) {
    if (!refine_dim(views, count, d, &refined)) return false;
  }
  return true;
}

// One rectangle is kept that grows and shrinks on the way: it is large, and
// there are many.
typedef struct rect_walk {
  refined_dim dim[IBX_MAX_RANK];
  ibx_rect rect;
  uint8_t rank;
  bool (*visit)(void *, const ibx_rect *);
  void *user;
} rect_walk;

static bool walk_dim(rect_walk *walk, uint8_t d);

static bool push_axis(rect_walk *walk, uint8_t d, uint8_t atom, int64_t size) {
  const refined_dim *dim = &walk->dim[d];
  if (size == 1) return true;
  if (walk->rect.axis_count == IBX_AXES - 1) return false;
  ibx_axis *axis = &walk->rect.axis[walk->rect.axis_count++];
  *axis = (ibx_axis){.size = size, .dim = d};
  for (uint8_t v = 0; v < walk->rect.view_count; v++) {
    axis->step[v] = dim->step[atom][v];
    axis->pstep[v] = dim->pstep[atom][v];
  }
  return true;
}

static void shift(rect_walk *walk, const refined_dim *dim, uint8_t atom,
                  int64_t by) {
  for (uint8_t v = 0; v < walk->rect.view_count; v++) {
    walk->rect.offset[v] += by * dim->step[atom][v];
    walk->rect.partition[v] += (int32_t)by * dim->pstep[atom][v];
  }
}

// Adds the atoms of dimension `d` from `outer` inwards, of which `size` elements
// are left: the whole steps of the outermost as one box, then what is left over.
static bool walk_box(rect_walk *walk, uint8_t d, uint8_t outer, int64_t size) {
  const refined_dim *dim = &walk->dim[d];
  const uint8_t axes = walk->rect.axis_count;
  int64_t inner = 1;
  for (uint8_t a = 0; a < outer; a++)
    inner *= dim->atom[a];
  int64_t whole = size / inner, left = size % inner;
  if (whole > 0) {
    if (!push_axis(walk, d, outer, whole)) return false;
    for (uint8_t a = outer; a-- > 0;) {
      if (!push_axis(walk, d, a, dim->atom[a])) return false;
    }
    if (!walk_dim(walk, (uint8_t)(d + 1))) return false;
    walk->rect.axis_count = axes;
  }
  if (left == 0) return true;
  shift(walk, dim, outer, whole);
  bool ok = walk_box(walk, d, (uint8_t)(outer - 1), left);
  shift(walk, dim, outer, -whole);
  return ok;
}

static bool walk_dim(rect_walk *walk, uint8_t d) {
  if (d == walk->rank) return walk->visit(walk->user, &walk->rect);
  const refined_dim *dim = &walk->dim[d];
  return walk_box(walk, d, (uint8_t)(dim->count - 1), dim->size);
}

bool ibx_view_rects(const ibx_view *const *views, size_t count,
                    bool (*visit)(void *user, const ibx_rect *rect),
                    void *user) {
  rect_walk walk; // filled as far as it is read
  walk.rank = views[0]->rank;
  walk.visit = visit;
  walk.user = user;
  walk.rect.view_count = (uint8_t)count;
  walk.rect.axis_count = 0;
  for (uint8_t d = 0; d < walk.rank; d++) {
    if (views[0]->dim[d].size == 0) return true;
    if (!refine_dim(views, count, d, &walk.dim[d])) return false;
  }
  for (size_t v = 0; v < count; v++) {
    walk.rect.offset[v] = views[v]->offset;
    walk.rect.partition[v] = views[v]->partition;
  }
  return walk_dim(&walk, 0);
}

static bool walks_as_one(const ibx_rect *rect, const ibx_axis *outer,
                         const ibx_axis *inner) {
  for (uint8_t v = 0; v < rect->view_count; v++) {
    if (outer->step[v] != inner->step[v] * inner->size) return false;
    if (outer->pstep[v] != inner->pstep[v] * (int32_t)inner->size) return false;
  }
  return true;
}

void ibx_rect_merge(ibx_rect *rect) {
  uint8_t kept = 0;
  for (uint8_t i = 0; i < rect->axis_count; i++) {
    ibx_axis axis = rect->axis[i];
    if (axis.size == 1) continue;
    if (kept > 0 && walks_as_one(rect, &rect->axis[kept - 1], &axis)) {
      axis.size *= rect->axis[kept - 1].size;
      rect->axis[kept - 1] = axis;
    } else {
      rect->axis[kept++] = axis;
    }
  }
  rect->axis_count = kept;
}
