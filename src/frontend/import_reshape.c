// SPDX-License-Identifier: Apache-2.0
//
// Imports Reshape and Flatten. Comes in: a call, of whose extents some may
// depend on the data. Goes out: a view where what is valid stays together;
// otherwise a gather, which brings it together and spreads it again.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>
#include <string.h>

enum {
  MOST_SPREAD = 1 << 20
}; // elements of a shape that the data fill in part

// --- shapes that are known ----------------------------------------------------

// What a 0 stands for; -2, which is no extent, where x has no such dimension.
static int64_t copied_dim(ibx_call *call, ibx_val x, int64_t index) {
  return index < ibx_rank(call, x) ? ibx_dim(call, x, index) : -2;
}

// Replaces 0 (keep) and -1 (what is left).
static bool complete_shape(ibx_call *call, ibx_val x, ibx_ints *shape,
                           bool keeps_zero) {
  int64_t known = 1, total = ibx_elements(ibx_type_of(call, x));
  int open = -1;
  for (uint8_t i = 0; i < shape->len; i++) {
    bool copied = shape->at[i] == 0 && !keeps_zero;
    if (copied) shape->at[i] = copied_dim(call, x, i);
    if (shape->at[i] == -1 && open < 0) {
      open = i;
      continue;
    }
    bool fits =
        shape->at[i] >= 0 && ibx_mul_extent(known, shape->at[i], &known);
    if (!ibx_call_expect(call, fits, "shape", "has an impossible extent")) {
      return false;
    }
  }
  if (open >= 0) shape->at[open] = known == 0 ? 0 : total / known;
  int64_t filled = open >= 0 && known != 0 ? known * shape->at[open] : known;
  if (filled == total) return true;
  ibx_call_fail(call, IBX_DIAG_OPERAND_SHAPE, "shape",
                "correct the shape where the model is made",
                "%" PRId64 " elements cannot have a shape of %" PRId64, total,
                filled);
  return false;
}

static int64_t span(ibx_ints shape, int64_t first) {
  int64_t product = 1;
  for (int64_t d = first; d < shape.len; d++)
    product *= shape.at[d];
  return product;
}

// --- shapes of which the data decide a part ------------------------------------

// The shape that is wanted.
typedef struct target {
  ibx_ints most;              // what each extent can be at most
  ibx_val real[IBX_MAX_RANK]; // what it is, IBX_NO_VALUE: that
  int64_t rest;               // the dimension that holds what is left, or -1
} target;

static ibx_val times(ibx_call *call, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, IBX_TENSOR_mul, a, b);
}

static ibx_val real_of(ibx_call *call, const target *t, int64_t d) {
  return t->real[d] != IBX_NO_VALUE ? t->real[d]
                                    : ibx_emit_long(call, t->most.at[d]);
}

// All that is valid in a row, without what is not.
static ibx_val compact(ibx_call *call, ibx_val x) {
  while (ibx_rank(call, x) > 1 && !call->failed) {
    int64_t last = ibx_rank(call, x) - 1;
    ibx_ints shape = ibx_shape_of(call, x);
    int64_t inner = shape.at[last], outer = shape.at[last - 1];
    ibx_val count = ibx_extent(call, x, last - 1);
    ibx_val width = ibx_extent(call, x, last);
    ibx_val real = times(call, ibx_extent_or_dim(call, x, last - 1),
                         ibx_extent_or_dim(call, x, last));
    shape.at[--shape.len - 1] = outer * inner;
    ibx_params params = {.shape = shape};
    ibx_val joined = ibx_emit_static(call, IBX_TENSOR_reshape, &params, &x, 1);
    for (int64_t d = 0; d + 1 < last; d++)
      ibx_note_extent(call, joined, d, ibx_extent(call, x, d));
    bool any = count != IBX_NO_VALUE || width != IBX_NO_VALUE;
    if (width != IBX_NO_VALUE && outer > 1) {
      // Place p lies in row p / width, and each row before it leaves a gap.
      ibx_val line = ibx_emit_iota(call, outer * inner);
      ibx_val some =
          ibx_emit_binary(call, IBX_TENSOR_max, width, ibx_emit_long(call, 1));
      ibx_val row = ibx_emit_binary(call, IBX_TENSOR_div, line, some);
      ibx_val gap = ibx_emit_binary(call, IBX_TENSOR_sub,
                                    ibx_emit_long(call, inner), width);
      line = ibx_emit_binary(call, IBX_TENSOR_add, line, times(call, row, gap));
      line = ibx_set_extent(call, line, 0, real);
      joined = ibx_emit_gather(call, joined, line, last - 1);
    } else if (any) {
      joined = ibx_set_extent(call, joined, last - 1, real);
    }
    x = joined;
  }
  return ibx_rank(call, x) == 1 ? x : ibx_emit_reshape(call, x, IBX_INTS(1));
}

// The elements of a row in a shape: each at the sum of its coordinates times how
// many elements lie behind them.
static ibx_val spread(ibx_call *call, ibx_val row, const target *t) {
  ibx_val index = ibx_emit_long(call, 0), stride = ibx_emit_long(call, 1);
  for (int64_t d = t->most.len; d-- > 0;) {
    ibx_val line = ibx_emit_iota(call, t->most.at[d]);
    line = ibx_emit_along(call, line, d, t->most.len);
    index =
        ibx_emit_binary(call, IBX_TENSOR_add, index, times(call, line, stride));
    stride = times(call, stride, real_of(call, t, d));
  }
  index = ibx_emit_broadcast(call, index, t->most);
  for (int64_t d = 0; d < t->most.len; d++) {
    if (t->real[d] == IBX_NO_VALUE) continue;
    index = ibx_set_extent(call, index, d, t->real[d]);
  }
  // Which of the row are asked for, is known to be valid.
  row = ibx_set_extent(call, row, 0, IBX_NO_VALUE);
  ibx_val last = ibx_emit_long(call, ibx_dim(call, row, 0) - 1);
  index = ibx_emit_binary(call, IBX_TENSOR_min, index, last);
  return ibx_emit_gather(call, row, index, 0);
}

// Whether what is valid stays together in the view, and in dimensions that are
// open there.
static bool stays_open(ibx_call *call, ibx_val x, const target *t) {
  ibx_ints from = ibx_shape_of(call, x);
  if (span(from, 0) != span(t->most, 0)) return false;
  for (int64_t d = 0; d < from.len; d++) {
    int64_t factor;
    if (ibx_extent(call, x, d) == IBX_NO_VALUE) continue;
    int64_t to = ibx_reshaped_dim(from, d, t->most, &factor);
    if (to < 0 || (to != t->rest && t->real[to] == IBX_NO_VALUE)) return false;
    for (int64_t e = d + 1; factor > 1 && e < from.len; e++) {
      bool joins = span(from, e) > span(t->most, to + 1);
      if (joins && ibx_extent(call, x, e) != IBX_NO_VALUE) return false;
    }
  }
  for (int64_t d = 0; d < t->most.len; d++) {
    bool meets = false;
    for (int64_t e = 0; e < from.len; e++) {
      int64_t factor;
      meets |= ibx_extent(call, x, e) != IBX_NO_VALUE &&
               ibx_reshaped_dim(from, e, t->most, &factor) == d;
    }
    if (t->real[d] != IBX_NO_VALUE && !meets) return false;
  }
  return true;
}

// One extent of x and one of the shape, with as many elements before both.
static bool is_moved(ibx_call *call, ibx_val x, const target *t, int64_t *out_d,
                     int64_t *out_to) {
  ibx_ints from = ibx_shape_of(call, x);
  int64_t sources = 0, targets = 0;
  for (int64_t d = 0; d < from.len; d++) {
    if (ibx_extent(call, x, d) == IBX_NO_VALUE) continue;
    *out_d = d;
    sources++;
  }
  for (int64_t d = 0; d < t->most.len; d++) {
    if (t->real[d] == IBX_NO_VALUE && d != t->rest) continue;
    *out_to = d;
    targets++;
  }
  return sources == 1 && targets == 1 && span(from, 0) == span(t->most, 0) &&
         span(from, *out_d) == span(t->most, *out_to);
}

static ibx_val move_extent(ibx_call *call, ibx_val x, const target *t,
                           int64_t d, int64_t to) {
  ibx_ints from = ibx_shape_of(call, x);
  ibx_val extent = t->real[to];
  if (extent == IBX_NO_VALUE) {
    extent = times(call, ibx_extent(call, x, d),
                   ibx_emit_long(call, span(from, d + 1)));
    extent = ibx_emit_binary(call, IBX_TENSOR_div, extent,
                             ibx_emit_long(call, span(t->most, to + 1)));
  }
  ibx_params params = {.shape = t->most};
  x = ibx_emit_static(call, IBX_TENSOR_reshape, &params, &x, 1);
  return ibx_set_extent(call, x, to, extent);
}

// What is left, where the other extents are less than they can be.
static bool find_rest(ibx_call *call, ibx_val row, target *t) {
  ibx_val others = ibx_emit_long(call, 1);
  int64_t least = 1, total = ibx_dim(call, row, 0);
  for (int64_t d = 0; d < t->most.len && t->rest >= 0; d++) {
    if (d == t->rest) continue;
    int64_t low = ibx_least(call, real_of(call, t, d));
    if (!ibx_mul_extent(least, low > 1 ? low : 1, &least)) least = INT64_MAX;
    others = times(call, others, real_of(call, t, d));
  }
  if (t->rest >= 0) {
    t->most.at[t->rest] = total / least;
    others =
        ibx_emit_binary(call, IBX_TENSOR_max, others, ibx_emit_long(call, 1));
    t->real[t->rest] = ibx_emit_binary(call, IBX_TENSOR_div,
                                       ibx_extent_or_dim(call, row, 0), others);
  }
  int64_t elements = 1;
  for (int64_t d = 0; d < t->most.len; d++) {
    if (!ibx_mul_extent(elements, t->most.at[d], &elements) ||
        elements > MOST_SPREAD) {
      ibx_refuse_extent(call, "shape");
      return false;
    }
  }
  return !call->failed;
}

// Nothing, in the shape that is wanted.
static ibx_val empty(ibx_call *call, ibx_val x, const target *t) {
  ibx_type type = {.rank = t->most.len, .dtype = ibx_dtype_of(call, x)};
  memcpy(type.dims, t->most.at, sizeof(type.dims));
  ibx_val y = ibx_emit_constant(call, type, "");
  for (int64_t d = 0; d < t->most.len; d++) {
    if (t->real[d] == IBX_NO_VALUE) continue;
    y = ibx_set_extent(call, y, d, t->real[d]);
  }
  return y;
}

static ibx_val reshape_open(ibx_call *call, ibx_val x, target *t) {
  int64_t d = 0, to = 0;
  if (t->rest >= 0) {
    int64_t known = span(t->most, 0) / t->most.at[t->rest];
    int64_t total = ibx_elements(ibx_type_of(call, x));
    t->most.at[t->rest] = known == 0 ? 0 : total / known;
  }
  if (stays_open(call, x, t)) return ibx_emit_reshape(call, x, t->most);
  if (is_moved(call, x, t, &d, &to)) return move_extent(call, x, t, d, to);
  ibx_val row = compact(call, x);
  if (call->failed || !find_rest(call, row, t)) return x;
  if (span(t->most, 0) == 0) return empty(call, x, t);
  if (ibx_dim(call, row, 0) == 0) {
    ibx_refuse_extent(call, "shape");
    return x;
  }
  return t->most.len == 1 ? row : spread(call, row, t);
}

void ibx_import_op_reshape(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool keeps_zero = ibx_attr_flag(call, "allowzero", false);
  ibx_bounded dims;
  if (!ibx_bounded_dims(call, 1, "shape", &dims)) return;
  if (!dims.any && !ibx_has_extent(call, x)) {
    if (complete_shape(call, x, &dims.most, keeps_zero)) {
      ibx_out(call, 0, ibx_emit_reshape(call, x, dims.most));
    }
    return;
  }
  target t = {.most = dims.most, .rest = -1};
  for (uint8_t d = 0; d < t.most.len; d++) {
    t.real[d] = dims.real[d];
    bool copied = t.most.at[d] == 0 && !keeps_zero;
    if (copied) t.real[d] = ibx_extent(call, x, d);
    if (copied) t.most.at[d] = copied_dim(call, x, d);
    bool open = t.most.at[d] == -1 && t.real[d] == IBX_NO_VALUE && t.rest < 0;
    if (open) t.rest = d;
    if (open) t.most.at[d] = 1;
    if (!ibx_call_expect(call, t.most.at[d] >= 0, "shape",
                         "has an impossible extent")) {
      return;
    }
  }
  x = reshape_open(call, x, &t);
  if (!call->failed) ibx_out(call, 0, x);
}

ibx_val ibx_emit_row(ibx_call *call, ibx_val x) {
  int64_t count = ibx_elements(ibx_type_of(call, x));
  return ibx_has_extent(call, x) ? compact(call, x)
                                 : ibx_emit_reshape(call, x, IBX_INTS(count));
}

void ibx_import_op_flatten(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x), axis = ibx_attr_int(call, "axis", 1);
  axis = axis == rank ? rank : ibx_axis(call, axis, rank);
  target t = {
      .most = IBX_INTS(1, 1), .real = {IBX_NO_VALUE, IBX_NO_VALUE}, .rest = -1};
  bool open[2] = {false, false};
  for (int64_t d = 0; d < rank && !call->failed; d++) {
    int64_t side = d < axis ? 0 : 1;
    t.most.at[side] *= ibx_dim(call, x, d);
    open[side] |= ibx_extent(call, x, d) != IBX_NO_VALUE;
  }
  for (int64_t side = 0; side < 2 && !call->failed; side++) {
    if (!open[side]) continue;
    t.real[side] = ibx_emit_long(call, 1);
    for (int64_t d = side ? axis : 0; d < (side ? rank : axis); d++)
      t.real[side] = times(call, t.real[side], ibx_extent_or_dim(call, x, d));
  }
  bool any = open[0] || open[1];
  x = any ? reshape_open(call, x, &t) : ibx_emit_reshape(call, x, t.most);
  if (!call->failed) ibx_out(call, 0, x);
}
