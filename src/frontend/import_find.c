// SPDX-License-Identifier: Apache-2.0
//
// Imports operators whose result is as long as what they find in the data.
// Comes in: a call. Goes out: results as long as they can be at most, and beside
// them how long they are. What constants decide has its length at once.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>

// --- positions ---------------------------------------------------------------

// Positions of the flags [N] that are set, of which the count is the extent.
static ibx_val emit_places(ibx_call *call, ibx_val flags) {
  ibx_params params = {.count = ibx_dim(call, flags, 0),
                       .dtype = IBX_DTYPE_I64};
  ibx_val places = ibx_emit_op(call, IBX_TENSOR_nonzero, &params, &flags, 1);
  ibx_val count = ibx_emit_count(call, flags);
  if (ibx_is_known(call, count)) {
    return ibx_set_extent(call, places, 0, count);
  }
  ibx_note_extent(call, places, 0, count);
  return places;
}

// Positions in a shape, as rows of coordinates: [elements, rank].
static ibx_val emit_coordinates(ibx_call *call, ibx_ints shape) {
  int64_t count = 1, rank = shape.len;
  for (uint8_t d = 0; d < shape.len; d++)
    count *= shape.at[d];
  if (!ibx_call_expect_room(call, count) ||
      !ibx_call_expect_room(call, count * rank)) {
    return ibx_emit_long(call, 0);
  }
  ibx_type type = {.dims = {count, rank}, .rank = 2, .dtype = IBX_DTYPE_I64};
  int64_t *at =
      IBX_ARENA_ARRAY(call->import->arena, (size_t)(count * rank), int64_t);
  for (int64_t i = 0; i < count; i++) {
    int64_t left = i;
    for (int64_t d = rank; d-- > 0; left /= shape.at[d])
      at[i * rank + d] = left % shape.at[d];
  }
  return ibx_emit_constant(call, type, at);
}

void ibx_import_op_nonzero(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  if (shape.len == 0) {
    ibx_call_refuse(call, "X", "a tensor without dimensions");
    return;
  }
  x = ibx_emit_all_masked(call, x, ibx_emit_like(call, x, 0));
  int64_t count = ibx_elements(ibx_type_of(call, x));
  if (count == 0) {
    ibx_out(call, 0, ibx_emit_longs(call, IBX_INTS(shape.len, 0), NULL));
    return;
  }
  ibx_val flags = ibx_emit_cast(call, x, IBX_DTYPE_BOOL);
  ibx_val places =
      emit_places(call, ibx_emit_reshape(call, flags, IBX_INTS(count)));
  if (shape.len == 1) {
    ibx_out(call, 0, ibx_emit_along(call, places, 1, 2));
    return;
  }
  ibx_val rows =
      ibx_emit_gather(call, emit_coordinates(call, shape), places, 0);
  if (!call->failed) ibx_out(call, 0, ibx_emit_swap(call, rows, 0, 1));
}

void ibx_import_op_compress(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), flags = ibx_in(call, 1);
  int64_t axis = 0;
  if (ibx_has_attr(call, "axis")) {
    axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), ibx_rank(call, x));
  } else {
    x = ibx_emit_row(call, x);
  }
  bool fits = ibx_rank(call, flags) == 1 &&
              ibx_dtype_of(call, flags) == IBX_DTYPE_BOOL &&
              ibx_dim(call, flags, 0) <= ibx_dim(call, x, axis);
  if (!ibx_call_expect(call, fits, "condition",
                       "needs at most one bool for each element")) {
    return;
  }
  if (ibx_dim(call, flags, 0) == 0) {
    ibx_out(call, 0, ibx_emit_slice(call, x, axis, 0, 0, 1));
    return;
  }
  flags = ibx_emit_masked(call, flags, 0, ibx_emit_like(call, flags, 0));
  ibx_val places = emit_places(call, flags);
  ibx_out(call, 0, ibx_emit_gather(call, x, places, axis));
}

// --- Unique ------------------------------------------------------------------

enum { MOST_COLUMNS = 64 }; // each is a sort

// The rows of a matrix in ascending order, and what tells equal ones.
typedef struct sorted {
  int64_t count;    // of rows
  ibx_val valid;    // how many of them count; they come first
  ibx_val rows;     // in their order
  ibx_val from;     // where each stood
  ibx_val is_first; // of equal ones the first, which is that of the least place
} sorted;

static ibx_val order_of(ibx_call *call, ibx_val keys) {
  ibx_params params = {.count = ibx_dim(call, keys, 0), .dtype = IBX_DTYPE_I64};
  return ibx_emit_op(call, IBX_TENSOR_top_index, &params, &keys, 1);
}

// Rows that are in an order, `from`, in that of another key.
static ibx_val sort_again(ibx_call *call, ibx_val key, ibx_val from) {
  if (from == IBX_NO_VALUE) return order_of(call, key);
  ibx_val order = order_of(call, ibx_emit_gather(call, key, from, 0));
  return ibx_emit_gather(call, from, order, 0);
}

// By the last column first: sorting keeps the order of equal elements. At last
// rows that do not count go behind the others.
static ibx_val sort_rows(ibx_call *call, ibx_val matrix, ibx_val valid) {
  int64_t count = ibx_dim(call, matrix, 0);
  ibx_val from = IBX_NO_VALUE;
  for (int64_t e = ibx_dim(call, matrix, 1); e-- > 0;) {
    ibx_val column = ibx_emit_at(call, matrix, 1, e);
    from = sort_again(call, column, from);
  }
  if (ibx_is_known(call, valid)) return from;
  ibx_val surplus = ibx_emit_binary(call, IBX_TENSOR_less_equal, valid,
                                    ibx_emit_iota(call, count));
  return sort_again(call, ibx_emit_cast(call, surplus, IBX_DTYPE_I32), from);
}

// Elementwise; NaN equals NaN.
static ibx_val equals(ibx_call *call, ibx_val a, ibx_val b) {
  ibx_val same = ibx_emit_binary(call, IBX_TENSOR_equal, a, b);
  if (!ibx_is_float(ibx_dtype_of(call, a))) return same;
  ibx_val both = ibx_emit_binary(call, IBX_TENSOR_and,
                                 ibx_emit_unary(call, IBX_TENSOR_is_nan, a),
                                 ibx_emit_unary(call, IBX_TENSOR_is_nan, b));
  return ibx_emit_binary(call, IBX_TENSOR_or, same, both);
}

// Of rows that do not count none is the first of its kind.
static ibx_val only_valid(ibx_call *call, const sorted *s, ibx_val is_first) {
  if (ibx_is_known(call, s->valid)) return is_first;
  ibx_val line = ibx_emit_iota(call, s->count);
  return ibx_emit_binary(
      call, IBX_TENSOR_and, is_first,
      ibx_emit_binary(call, IBX_TENSOR_less, line, s->valid));
}

static sorted sort(ibx_call *call, ibx_val matrix) {
  sorted s = {.count = ibx_dim(call, matrix, 0),
              .valid = ibx_extent_or_dim(call, matrix, 0)};
  matrix = ibx_emit_whole(call, matrix);
  s.from = sort_rows(call, matrix, s.valid);
  s.rows = ibx_emit_gather(call, matrix, s.from, 0);
  ibx_val yes = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
  s.is_first = ibx_emit_reshape(call, yes, IBX_INTS(1));
  if (s.count == 1) s.is_first = only_valid(call, &s, s.is_first);
  if (s.count == 1 || call->failed) return s;
  ibx_val same =
      equals(call, ibx_emit_slice(call, s.rows, 0, 1, s.count - 1, 1),
             ibx_emit_slice(call, s.rows, 0, 0, s.count - 1, 1));
  same = ibx_emit_reduce(call, IBX_TENSOR_reduce_min,
                         ibx_emit_cast(call, same, IBX_DTYPE_I32), IBX_INTS(1),
                         false);
  ibx_val parts[] = {s.is_first, ibx_emit_binary(call, IBX_TENSOR_equal, same,
                                                 ibx_emit_like(call, same, 0))};
  s.is_first = only_valid(call, &s, ibx_emit_concat(call, parts, 2, 0));
  return s;
}

// The groups of equal rows.
typedef struct groups {
  ibx_val place;   // of the first in the sorted rows
  ibx_val first;   // its place in the rows as they came
  ibx_val size;    // how many there are
  ibx_val inverse; // of each row as it came its group
} groups;

static ibx_val group_sizes(ibx_call *call, const sorted *s, ibx_val places) {
  ibx_val extent = ibx_extent(call, places, 0);
  int64_t found = ibx_dim(call, places, 0);
  ibx_val end = s->valid;
  ibx_val here = ibx_emit_masked(call, places, 0, end);
  ibx_val parts[] = {ibx_emit_slice(call, here, 0, 1, found - 1, 1),
                     ibx_emit_reshape(call, end, IBX_INTS(1))};
  ibx_val next = found == 1 ? parts[1] : ibx_emit_concat(call, parts, 2, 0);
  ibx_val size = ibx_emit_binary(call, IBX_TENSOR_sub, next, here);
  return ibx_set_extent(call, size, 0, extent);
}

static groups find_groups(ibx_call *call, const sorted *s) {
  groups g = {.place = emit_places(call, s->is_first)};
  g.first = ibx_emit_gather(call, s->from, g.place, 0);
  g.size = group_sizes(call, s, g.place);
  ibx_val line = ibx_emit_cast(call, s->is_first, IBX_DTYPE_I64);
  ibx_params params = {.axis = 0};
  line = ibx_emit_op(call, IBX_TENSOR_cumsum, &params, &line, 1);
  line = ibx_emit_binary(call, IBX_TENSOR_sub, line, ibx_emit_long(call, 1));
  g.inverse = ibx_emit_gather(call, line, order_of(call, s->from), 0);
  return g;
}

// In the order in which the rows came.
static void unsort(ibx_call *call, const sorted *s, groups *g) {
  ibx_val extent = ibx_extent(call, g->first, 0);
  ibx_val first =
      ibx_emit_masked(call, g->first, 0, ibx_emit_long(call, s->count));
  ibx_val order = order_of(call, first);
  ibx_val rank = order_of(call, order);
  g->inverse = ibx_emit_gather(call, rank, g->inverse, 0);
  order = ibx_set_extent(call, order, 0, extent);
  g->place = ibx_emit_gather(call, g->place, order, 0);
  g->first = ibx_emit_gather(call, g->first, order, 0);
  g->size = ibx_emit_gather(call, g->size, order, 0);
}

// `axis` comes first, all other dimensions are one.
static ibx_val as_rows(ibx_call *call, ibx_val x, int64_t axis,
                       ibx_ints *out_perm) {
  ibx_ints perm = {.at = {axis}, .len = 1};
  for (int64_t d = 0; d < ibx_rank(call, x); d++) {
    if (d != axis) perm.at[perm.len++] = d;
  }
  *out_perm = perm;
  x = ibx_emit_transpose(call, x, perm);
  int64_t count = ibx_dim(call, x, 0);
  static const int8_t column[] = {0, -1};
  if (perm.len == 1) return ibx_emit_units(call, x, IBX_INTS(count, 1), column);
  int64_t all = ibx_elements(ibx_type_of(call, x));
  return ibx_emit_reshape(call, x, IBX_INTS(count, count ? all / count : 0));
}

static ibx_val from_rows(ibx_call *call, ibx_val rows, ibx_val like,
                         ibx_ints perm) {
  ibx_ints shape = {.len = perm.len}, back = {.len = perm.len};
  for (uint8_t d = 0; d < perm.len; d++) {
    shape.at[d] = ibx_dim(call, d == 0 ? rows : like, d == 0 ? 0 : perm.at[d]);
    back.at[perm.at[d]] = d;
  }
  return ibx_emit_transpose(call, ibx_emit_reshape(call, rows, shape), back);
}

void ibx_import_op_unique(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool keeps_order = !ibx_attr_flag(call, "sorted", true);
  int64_t axis = 0;
  if (ibx_has_attr(call, "axis")) {
    axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), ibx_rank(call, x));
  } else {
    x = ibx_emit_row(call, x);
  }
  ibx_ints perm;
  ibx_val matrix = as_rows(call, x, axis, &perm);
  int64_t columns = ibx_dim(call, matrix, 1);
  if (ibx_extent(call, matrix, 1) != IBX_NO_VALUE) ibx_refuse_extent(call, "X");
  if (ibx_elements(ibx_type_of(call, x)) == 0 || columns > MOST_COLUMNS) {
    ibx_call_refuse(call, "axis", "rows without elements, or of more than %d",
                    MOST_COLUMNS);
  }
  if (call->failed) return;
  sorted s = sort(call, matrix);
  groups g = find_groups(call, &s);
  if (keeps_order) unsort(call, &s, &g);
  ibx_val rows = ibx_emit_gather(call, s.rows, g.place, 0);
  ibx_out(call, 0, from_rows(call, rows, x, perm));
  ibx_out(call, 1, g.first);
  ibx_out(call, 2, ibx_take_extents(call, g.inverse, 0, matrix, 0, 1));
  ibx_out(call, 3, g.size);
}

// --- NonMaxSuppression -------------------------------------------------------

typedef struct detection {
  int64_t batch, classes, count, kept;
  ibx_val boxes; // [B, N, 4]
  ibx_val scores;
  float overlap, least;
} detection;

static bool read_shapes(ibx_call *call, detection *d) {
  d->boxes = ibx_in(call, 0);
  d->scores = ibx_in(call, 1);
  d->batch = ibx_dim(call, d->scores, 0);
  d->classes = ibx_dim(call, d->scores, 1);
  d->count = ibx_dim(call, d->scores, 2);
  bool fits = ibx_rank(call, d->boxes) == 3 && ibx_rank(call, d->scores) == 3 &&
              ibx_dim(call, d->boxes, 0) == d->batch &&
              ibx_dim(call, d->boxes, 1) == d->count &&
              ibx_dim(call, d->boxes, 2) == 4 &&
              ibx_dtype_of(call, d->scores) == IBX_DTYPE_F32;
  return ibx_call_expect(call, fits, "scores", "do not fit the boxes");
}

// A limit that the data decide takes the scores below it down to the least.
static void read_least(ibx_call *call, detection *d) {
  ibx_val least = ibx_in(call, 4);
  if (ibx_is_known(call, least)) {
    d->least = (float)ibx_const_number(call, 4, "score_threshold");
    return;
  }
  if (!ibx_call_expect(call, ibx_elements(ibx_type_of(call, least)) == 1,
                       "score_threshold", "needs one element")) {
    return;
  }
  least = ibx_emit_reshape(call, least, (ibx_ints){0});
  ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less, least, d->scores);
  ibx_val none = ibx_emit_like(call, d->scores, -(double)INFINITY);
  d->scores = ibx_emit_select(call, above, d->scores, none);
}

static bool read_limits(ibx_call *call, detection *d) {
  if (ibx_has_in(call, 2)) {
    d->kept = ibx_const_int(call, 2, "max_output_boxes_per_class");
  }
  if (ibx_has_in(call, 3)) {
    d->overlap = (float)ibx_const_number(call, 3, "iou_threshold");
  }
  d->least = -INFINITY;
  if (ibx_has_in(call, 4)) read_least(call, d);
  if (d->kept > d->count) d->kept = d->count;
  return !call->failed;
}

// Centre and size become two corners.
static ibx_val corners(ibx_call *call, ibx_val boxes) {
  ibx_val middle = ibx_emit_slice(call, boxes, 2, 0, 2, 1);
  ibx_val half =
      ibx_emit_affine(call, ibx_emit_slice(call, boxes, 2, 2, 2, 1), 0.5, 0);
  ibx_val parts[] = {ibx_emit_binary(call, IBX_TENSOR_sub, middle, half),
                     ibx_emit_binary(call, IBX_TENSOR_add, middle, half)};
  return ibx_emit_concat(call, parts, 2, 2);
}

// Chosen boxes of each class, then -1: [B, C, kept].
static ibx_val choose(ibx_call *call, const detection *d) {
  ibx_params params = {.count = d->kept, .alpha = d->overlap, .beta = d->least};
  ibx_ints row = IBX_INTS(d->batch, 1, 4 * d->count);
  ibx_val boxes = ibx_emit_reshape(call, d->boxes, row);
  row.at[1] = d->classes;
  ibx_val operands[] = {ibx_emit_broadcast(call, boxes, row), d->scores};
  ibx_val chosen = ibx_emit_op(call, IBX_TENSOR_suppress, &params, operands, 2);
  return ibx_emit_cast(call, chosen, IBX_DTYPE_I64);
}

void ibx_import_op_non_max_suppression(ibx_call *call) {
  detection d = {0};
  bool from_center = ibx_attr_flag(call, "center_point_box", false);
  if (!read_shapes(call, &d) || !read_limits(call, &d)) return;
  if (d.kept <= 0 || d.batch == 0 || d.classes == 0) {
    ibx_out(call, 0, ibx_emit_longs(call, IBX_INTS(0, 3), NULL));
    return;
  }
  if (ibx_extent(call, d.scores, 0) != IBX_NO_VALUE ||
      ibx_extent(call, d.scores, 1) != IBX_NO_VALUE) {
    ibx_refuse_extent(call, "scores");
    return;
  }
  if (from_center) d.boxes = corners(call, d.boxes);
  // Behind the valid boxes lies nothing: their scores say so.
  d.scores = ibx_emit_masked(call, d.scores, 2,
                             ibx_emit_like(call, d.scores, -(double)INFINITY));
  d.boxes = ibx_set_extent(call, d.boxes, 1, IBX_NO_VALUE);
  ibx_ints shape = IBX_INTS(d.batch, d.classes, d.kept);
  ibx_val table = emit_coordinates(call, shape);
  if (call->failed) return;
  int64_t total = ibx_dim(call, table, 0);
  ibx_val chosen = choose(call, &d);
  chosen = ibx_emit_reshape(call, chosen, IBX_INTS(total));
  ibx_val none =
      ibx_emit_binary(call, IBX_TENSOR_less, chosen, ibx_emit_long(call, 0));
  ibx_val places =
      emit_places(call, ibx_emit_unary(call, IBX_TENSOR_not, none));
  ibx_val rows =
      ibx_emit_gather(call, ibx_emit_slice(call, table, 1, 0, 2, 1), places, 0);
  ibx_val box = ibx_emit_gather(call, chosen, places, 0);
  ibx_val parts[] = {rows, ibx_emit_along(call, box, 0, 2)};
  ibx_out(call, 0, ibx_emit_concat(call, parts, 2, 1));
}
