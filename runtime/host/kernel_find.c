// SPDX-License-Identifier: Apache-2.0
//
// What is found in a row of elements. Comes in: a call that inference has
// checked. Goes out: positions in the order in which they are found, and -1
// behind the last of them.

#include "host/host.h"

#include <math.h>
#include <stdlib.h>

// --- elements that are not 0 ---------------------------------------------------

static bool is_zero(const ibx_tensor *x, size_t index) {
  ibx_dtype dtype = x->type.dtype;
  const void *at = ibx_host_at_const(x->data, dtype, index);
  double real = 0;
  int64_t whole = 0;
  if (ibx_dtype_is_float(dtype)) {
    ibx_host_load(dtype, at, &real, 1);
    return real == 0;
  }
  ibx_host_load_int(dtype, at, &whole, 1);
  return whole == 0;
}

static void store_place(const ibx_tensor *to, size_t index, int64_t place) {
  ibx_dtype dtype = to->type.dtype;
  ibx_host_store_int(dtype, &place, ibx_host_at(to->data, dtype, index), 1);
}

ibx_status ibx_host_nonzero(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  const ibx_tensor *x = &call->operands[0];
  size_t axis = (size_t)call->params->axis;
  size_t extent = (size_t)x->type.dims[axis];
  size_t room = (size_t)call->params->count;
  size_t outer = ibx_type_span(&x->type, 0, axis);
  size_t inner = ibx_type_span(&x->type, axis + 1, x->type.rank);
  for (size_t lane = 0; lane < outer * inner; lane++) {
    size_t block = lane / inner, at = lane % inner, found = 0;
    for (size_t i = 0; i < extent && found < room; i++) {
      if (is_zero(x, (block * extent + i) * inner + at)) continue;
      store_place(call->result, (block * room + found++) * inner + at,
                  (int64_t)i);
    }
    for (; found < room; found++)
      store_place(call->result, (block * room + found) * inner + at, -1);
  }
  return IBX_OK;
}

// --- boxes ---------------------------------------------------------------------

typedef struct box {
  float low[2], high[2];
} box;

typedef struct candidate {
  float score;
  size_t place;
} candidate;

static box load_box(const float *corners) {
  box b;
  for (size_t d = 0; d < 2; d++) {
    float x = corners[d], y = corners[d + 2];
    b.low[d] = x < y ? x : y;
    b.high[d] = x < y ? y : x;
  }
  return b;
}

static float area(const box *b) {
  return (b->high[0] - b->low[0]) * (b->high[1] - b->low[1]);
}

static float overlap(const box *a, const box *b) {
  box common;
  for (size_t d = 0; d < 2; d++) {
    common.low[d] = a->low[d] > b->low[d] ? a->low[d] : b->low[d];
    common.high[d] = a->high[d] < b->high[d] ? a->high[d] : b->high[d];
    if (!(common.low[d] < common.high[d])) return 0.0f;
  }
  float shared = area(&common);
  return shared / (area(a) + area(b) - shared);
}

// Descending, NaN before all numbers, the first of equal ones first.
static int by_score(const void *first, const void *second) {
  const candidate *a = first, *b = second;
  bool a_nan = isnan(a->score), b_nan = isnan(b->score);
  if (a_nan != b_nan) return a_nan ? -1 : 1;
  if (!a_nan && a->score != b->score) return a->score > b->score ? -1 : 1;
  return a->place < b->place ? -1 : 1;
}

static bool is_apart(const float *boxes, size_t place, const int32_t *chosen,
                     size_t count, float most) {
  box b = load_box(boxes + 4 * place);
  for (size_t i = 0; i < count; i++) {
    box other = load_box(boxes + 4 * (size_t)chosen[i]);
    if (overlap(&b, &other) > most) return false;
  }
  return true;
}

static void choose(const ibx_params *params, const float *boxes,
                   const candidate *list, size_t extent, int32_t *chosen) {
  size_t room = (size_t)params->count, count = 0;
  for (size_t i = 0; i < extent && count < room; i++) {
    if (!(list[i].score > params->beta)) continue;
    if (!is_apart(boxes, list[i].place, chosen, count, params->alpha)) continue;
    chosen[count++] = (int32_t)list[i].place;
  }
  for (; count < room; count++)
    chosen[count] = -1;
}

ibx_status ibx_host_suppress(const ibx_host_call *call, ibx_error *err) {
  const ibx_type *type = &call->operands[1].type;
  size_t extent = (size_t)type->dims[type->rank - 1];
  size_t rows = ibx_type_span(type, 0, type->rank - 1u);
  size_t room = (size_t)call->params->count;
  candidate *list = malloc((extent + 1) * sizeof *list);
  float *boxes = malloc((4 * extent + 1) * sizeof *boxes);
  int32_t *chosen = malloc((room + 1) * sizeof *chosen);
  bool fits = list && boxes && chosen;
  for (size_t r = 0; fits && r < rows; r++) {
    for (size_t i = 0; i < extent; i++) {
      list[i].place = i;
      ibx_dtype_load_f32(IBX_DTYPE_F32,
                         ibx_host_at_const(call->operands[1].data,
                                           IBX_DTYPE_F32, r * extent + i),
                         &list[i].score, 1);
    }
    ibx_dtype_load_f32(IBX_DTYPE_F32,
                       ibx_host_at_const(call->operands[0].data, IBX_DTYPE_F32,
                                         r * 4 * extent),
                       boxes, 4 * extent);
    qsort(list, extent, sizeof *list, by_score);
    choose(call->params, boxes, list, extent, chosen);
    for (size_t k = 0; k < room; k++)
      store_place(call->result, r * room + k, chosen[k]);
  }
  free(list);
  free(boxes);
  free(chosen);
  if (fits) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for one row of boxes");
}
