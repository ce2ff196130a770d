// SPDX-License-Identifier: Apache-2.0
//
// Imports scatters. Comes in: data, indices, updates. Goes out, where indices
// are constant: a gather from data and updates joined, by indices that say for
// each row which of them is last. A reduction combines data and updates in
// rounds, each of which reaches a row once at most. Other indices go to
// import_scatter_run.c.

#include "frontend/import_scatter.h"
#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/import_window.h"

#include <string.h>

// For `rows` rows of the data: row i, or `rows + k` when update k replaces it.
static ibx_val emit_map(ibx_call *call, int64_t rows, const int64_t *targets,
                        size_t count) {
  int64_t *map = IBX_ARENA_ARRAY(&call->import->scratch, (size_t)rows, int64_t);
  for (int64_t i = 0; i < rows; i++)
    map[i] = i;
  for (size_t k = 0; k < count; k++)
    map[targets[k]] = rows + (int64_t)k;
  return ibx_emit_longs(call, IBX_INTS(rows), map);
}

// Data and updates as rows; the updates replace.
static ibx_val replace_rows(ibx_call *call, ibx_val data, ibx_val updates,
                            int64_t width, const int64_t *targets,
                            size_t count) {
  ibx_ints shape = ibx_shape_of(call, data);
  if (count == 0 || width == 0) return data;
  int64_t rows = ibx_elements(ibx_type_of(call, data)) / width;
  if (!ibx_call_expect_room(call, rows)) return data;
  ibx_val parts[] = {
      ibx_emit_reshape(call, data, IBX_INTS(rows, width)),
      ibx_emit_reshape(call, updates, IBX_INTS((int64_t)count, width))};
  ibx_val all = ibx_emit_concat(call, parts, 2, 0);
  ibx_val picked =
      ibx_emit_gather(call, all, emit_map(call, rows, targets, count), 0);
  return ibx_emit_reshape(call, picked, shape);
}

static bool read_reduction(ibx_call *call, ibx_scatter *out) {
  static const struct {
    const char *name;
    ibx_scatter how;
  } rows[] = {{"none", {IBX_TENSOR_constant, 0}},
              {"add", {IBX_TENSOR_add, 0}},
              {"mul", {IBX_TENSOR_mul, 1}},
              {"max", {IBX_TENSOR_max, 0}},
              {"min", {IBX_TENSOR_min, 0}}};
  const char *name = ibx_attr_text(call, "reduction", "none");
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    if (strcmp(rows[i].name, name) != 0) continue;
    *out = rows[i].how;
    return !call->failed;
  }
  ibx_call_refuse(call, "reduction", "reduction = '%s'", name);
  return false;
}

// The updates of one round: for each row its update or, where there is none,
// the row itself for limits and a row of neutral elements for the others.
static ibx_val emit_round(ibx_call *call, const ibx_scatter *how, ibx_val data,
                          ibx_val updates, const int64_t *map) {
  ibx_ints shape = ibx_shape_of(call, data);
  bool limits = how->op == IBX_TENSOR_max || how->op == IBX_TENSOR_min;
  ibx_val parts[] = {updates, data};
  if (!limits) {
    parts[1] = ibx_emit_broadcast(call, ibx_emit_like(call, data, how->neutral),
                                  IBX_INTS(1, shape.at[1]));
  }
  int64_t count = ibx_dim(call, updates, 0);
  int64_t *index =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)shape.at[0], int64_t);
  for (int64_t i = 0; i < shape.at[0]; i++) {
    index[i] = map[i] >= 0 ? map[i] : limits ? count + i : count;
  }
  ibx_val all = ibx_emit_concat(call, parts, 2, 0);
  ibx_val picked = ibx_emit_gather(
      call, all, ibx_emit_longs(call, IBX_INTS(shape.at[0]), index), 0);
  return ibx_emit_binary(call, how->op, data, picked);
}

// Round r takes the update that is number r of its row.
static ibx_val reduce_rows(ibx_call *call, const ibx_scatter *how, ibx_val data,
                           ibx_val updates, const int64_t *targets,
                           size_t count) {
  enum { MOST_ROUNDS = 64 };
  ibx_arena *scratch = &call->import->scratch;
  size_t rows = (size_t)ibx_dim(call, data, 0), left = count;
  uint8_t *done = IBX_ARENA_ARRAY(scratch, count, uint8_t);
  int64_t *map = IBX_ARENA_ARRAY(scratch, rows, int64_t);
  for (int round = 0; left > 0 && !call->failed; round++) {
    if (round == MOST_ROUNDS) {
      ibx_call_refuse(call, "indices", "an index more than %d times",
                      MOST_ROUNDS);
      break;
    }
    for (size_t i = 0; i < rows; i++)
      map[i] = -1;
    for (size_t k = 0; k < count; k++) {
      if (done[k] || map[targets[k]] >= 0) continue;
      map[targets[k]] = (int64_t)k;
      done[k] = 1;
      left--;
    }
    data = emit_round(call, how, data, updates, map);
  }
  return data;
}

// Data and updates as rows of `width` elements.
static ibx_val scatter_rows(ibx_call *call, const ibx_scatter *how,
                            ibx_val data, ibx_val updates, int64_t width,
                            const int64_t *targets, size_t count) {
  ibx_ints shape = ibx_shape_of(call, data);
  if (how->op == IBX_TENSOR_constant || count == 0 || width == 0) {
    return replace_rows(call, data, updates, width, targets, count);
  }
  int64_t rows = ibx_elements(ibx_type_of(call, data)) / width;
  if (!ibx_call_expect_room(call, rows)) return data;
  data = ibx_emit_reshape(call, data, IBX_INTS(rows, width));
  updates = ibx_emit_reshape(call, updates, IBX_INTS((int64_t)count, width));
  data = reduce_rows(call, how, data, updates, targets, count);
  return ibx_emit_reshape(call, data, shape);
}

// Index from the end or the start to one inside of 0 .. extent - 1.
static bool normalise(ibx_call *call, int64_t *index, int64_t extent) {
  bool fits = *index >= -extent && *index < extent;
  if (!ibx_call_expect(call, fits, "indices",
                       "an index lies outside of the dimension")) {
    return false;
  }
  if (*index < 0) *index += extent;
  return true;
}

// --- ScatterND ----------------------------------------------------------------

// Indices of rows of the data flattened over its first `depth` dimensions.
static bool constant_nd_targets(ibx_call *call, const ibx_ints *shape,
                                int64_t depth, int64_t **out) {
  ibx_list list = ibx_const_ints(call, 1, "indices");
  size_t count = list.len / (size_t)depth;
  *out = IBX_ARENA_ARRAY(&call->import->scratch, count, int64_t);
  for (size_t k = 0; k < count; k++) {
    for (int64_t d = 0; d < depth; d++) {
      int64_t index = list.at[k * (size_t)depth + (size_t)d];
      if (!normalise(call, &index, shape->at[d])) return false;
      (*out)[k] = (*out)[k] * shape->at[d] + index;
    }
  }
  return !call->failed;
}

// Rows at indices that are computed, of which only the first may count. ONNX has
// as many updates as indices; their bounds may differ.
static ibx_val scatter_nd_run(ibx_call *call, const ibx_scatter *how,
                              ibx_val data, int64_t depth) {
  ibx_val indices = ibx_in(call, 1), updates = ibx_in(call, 2), done;
  ibx_ints shape = ibx_shape_of(call, data);
  if (!ibx_has_extent(call, data) &&
      ibx_emit_mask_scatter(call, how, data, indices, updates, &done)) {
    return done;
  }
  int64_t width = 1, rows = 1;
  for (int64_t i = 0; i < shape.len; i++)
    *(i < depth ? &rows : &width) *= shape.at[i];
  ibx_val index = ibx_emit_nd_index(call, indices, data, 0, depth);
  index = ibx_emit_all_masked(call, index, ibx_emit_long(call, -1));
  updates = ibx_emit_all_masked(call, updates, ibx_emit_like(call, updates, 0));
  int64_t count = ibx_elements(ibx_type_of(call, index));
  int64_t there = ibx_elements(ibx_type_of(call, updates)) / width;
  int64_t both = count < there ? count : there;
  index = ibx_emit_reshape(call, index, IBX_INTS(1, count));
  updates = ibx_emit_reshape(call, updates, IBX_INTS(1, there, width));
  ibx_val all = ibx_emit_reshape(call, ibx_emit_whole(call, data),
                                 IBX_INTS(1, rows, width));
  all = ibx_emit_scatter(call, how, all,
                         ibx_emit_slice(call, index, 1, 0, both, 1),
                         ibx_emit_slice(call, updates, 1, 0, both, 1));
  all = ibx_emit_reshape(call, all, shape);
  return ibx_take_extents(call, all, 0, data, 0, shape.len);
}

static bool check_nd(ibx_call *call, ibx_val data, int64_t depth) {
  ibx_val indices = ibx_in(call, 1), updates = ibx_in(call, 2);
  int64_t last = ibx_rank(call, indices) - 1, rank = ibx_rank(call, data);
  bool fits = last >= 0 && depth >= 1 && depth <= rank;
  if (!ibx_call_expect(call, fits, "indices", "does not fit the data")) {
    return false;
  }
  if (ibx_extent(call, indices, last) != IBX_NO_VALUE) {
    ibx_refuse_extent(call, "indices");
    return false;
  }
  int64_t width = 1;
  for (int64_t i = depth; i < rank; i++)
    width *= ibx_dim(call, data, i);
  int64_t count = ibx_elements(ibx_type_of(call, indices)) / depth;
  fits = ibx_elements(ibx_type_of(call, updates)) == count * width ||
         ibx_has_extent(call, indices) || ibx_has_extent(call, updates);
  return ibx_call_expect(call, fits, "updates", "does not fit the indices");
}

void ibx_import_op_scatter_nd(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), indices = ibx_in(call, 1),
          updates = ibx_in(call, 2);
  ibx_ints shape = ibx_shape_of(call, data);
  int64_t depth = ibx_dim(call, indices, -1), width = 1;
  ibx_scatter how;
  int64_t *targets;
  if (!read_reduction(call, &how) || !check_nd(call, data, depth)) return;
  if (ibx_elements(ibx_type_of(call, updates)) == 0) {
    ibx_out(call, 0, data);
    return;
  }
  if (!ibx_force(call->import, indices) || ibx_has_extent(call, data) ||
      ibx_has_extent(call, updates)) {
    ibx_out(call, 0, scatter_nd_run(call, &how, data, depth));
    return;
  }
  for (int64_t i = depth; i < shape.len; i++)
    width *= shape.at[i];
  size_t count = (size_t)(ibx_elements(ibx_type_of(call, indices)) / depth);
  if (!constant_nd_targets(call, &shape, depth, &targets)) return;
  ibx_out(call, 0,
          scatter_rows(call, &how, data, updates, width, targets, count));
}

// --- ScatterElements ----------------------------------------------------------

// Flat indices of the elements that are updated.
static bool constant_targets(ibx_call *call, ibx_ints shape, ibx_ints own,
                             int64_t axis, int64_t **out) {
  ibx_list list = ibx_const_ints(call, 1, "indices");
  *out = IBX_ARENA_ARRAY(&call->import->scratch, list.len, int64_t);
  for (size_t k = 0; k < list.len; k++) {
    size_t left = k;
    int64_t stride = 1;
    for (int i = own.len - 1; i >= 0; i--) {
      int64_t at = (int64_t)(left % (size_t)own.at[i]);
      left /= (size_t)own.at[i];
      if (i == axis) at = list.at[k];
      if (!normalise(call, &at, shape.at[i])) return false;
      (*out)[k] += at * stride;
      stride *= shape.at[i];
    }
  }
  return !call->failed;
}

// The axis last, and all others, padded to those of the data or cut where more
// could be valid than the data have, made one.
static ibx_val emit_lines(ibx_call *call, ibx_val x, ibx_ints shape,
                          int64_t axis, float padding) {
  ibx_ints low = ibx_fill_ints(shape.len, 0), high = low;
  int64_t len = ibx_dim(call, x, axis), lines = 1;
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i == axis) continue;
    int64_t missing = shape.at[i] - ibx_dim(call, x, i);
    if (missing < 0) x = ibx_emit_slice(call, x, i, 0, shape.at[i], 1);
    high.at[i] = missing < 0 ? 0 : missing;
    lines *= shape.at[i];
  }
  x = ibx_emit_pad(call, x, low, high, padding);
  x = ibx_emit_swap(call, x, axis, shape.len - 1);
  return ibx_emit_reshape(call, x, IBX_INTS(lines, len));
}

static ibx_val scatter_lines(ibx_call *call, const ibx_scatter *how,
                             ibx_val data, ibx_val updates, int64_t axis) {
  ibx_ints shape = ibx_shape_of(call, data), turned = shape;
  int64_t last = shape.len - 1;
  turned.at[axis] = shape.at[last];
  turned.at[last] = shape.at[axis];
  ibx_val index = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_I64);
  index = ibx_emit_from_start(call, index, data, axis);
  index = ibx_emit_all_masked(call, index, ibx_emit_long(call, -1));
  updates = ibx_emit_all_masked(call, updates, ibx_emit_like(call, updates, 0));
  index = emit_lines(call, index, shape, axis, -1);
  updates = emit_lines(call, updates, shape, axis, 0);
  ibx_val all = emit_lines(call, ibx_emit_whole(call, data), shape, axis, 0);
  int64_t lines = ibx_dim(call, all, 0);
  all = ibx_emit_reshape(call, all, IBX_INTS(lines, shape.at[axis], 1));
  updates = ibx_emit_reshape(call, updates,
                             IBX_INTS(lines, ibx_dim(call, updates, 1), 1));
  all = ibx_emit_scatter(call, how, all, index, updates);
  all = ibx_emit_swap(call, ibx_emit_reshape(call, all, turned), axis, last);
  return ibx_take_extents(call, all, 0, data, 0, shape.len);
}

// Indices and updates have as many elements, of which some may be extents whose
// bounds differ.
static bool check_elements(ibx_call *call, ibx_ints shape, int64_t axis) {
  ibx_val indices = ibx_in(call, 1), updates = ibx_in(call, 2);
  int64_t rank = ibx_rank(call, indices);
  bool fits = rank == shape.len && ibx_rank(call, updates) == rank;
  for (uint8_t i = 0; fits && i < shape.len; i++) {
    bool is_open = ibx_extent(call, indices, i) != IBX_NO_VALUE;
    fits = ibx_dim(call, updates, i) == ibx_dim(call, indices, i) &&
           (i == axis || is_open || ibx_dim(call, indices, i) <= shape.at[i]);
  }
  return ibx_call_expect(call, fits, "indices", "does not fit the data");
}

void ibx_import_op_scatter_elements(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), indices = ibx_in(call, 1),
          updates = ibx_in(call, 2);
  ibx_ints shape = ibx_shape_of(call, data), own = ibx_shape_of(call, indices);
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), shape.len);
  ibx_scatter how;
  if (call->failed || !read_reduction(call, &how) ||
      !check_elements(call, shape, axis)) {
    return;
  }
  int64_t *targets;
  if (!ibx_force(call->import, indices) || ibx_has_extent(call, data) ||
      ibx_has_extent(call, updates)) {
    ibx_out(call, 0, scatter_lines(call, &how, data, updates, axis));
  } else if (constant_targets(call, shape, own, axis, &targets)) {
    ibx_out(call, 0,
            scatter_rows(call, &how, data, updates, 1, targets,
                         (size_t)ibx_elements(ibx_type_of(call, indices))));
  }
}

// --- MaxUnpool ---------------------------------------------------------------

// Extents of what was pooled, as far as kernel, strides and pads tell.
static bool read_unpooled(ibx_call *call, ibx_val x, ibx_ints *out) {
  ibx_window w;
  *out = ibx_shape_of(call, x);
  if (!ibx_window_read(call, x, NULL, &w)) return false;
  for (uint8_t i = 0; i < w.kernel.len; i++) {
    int64_t extent = 0;
    bool fits = ibx_mul_extent(out->at[i + 2] - 1, w.strides.at[i], &extent) &&
                extent < INT32_MAX && w.kernel.at[i] < INT32_MAX;
    extent += w.kernel.at[i] - w.low.at[i] - w.high.at[i];
    if (!ibx_call_expect(call, fits && extent >= 1, "pads",
                         "leaves nothing of the result")) {
      return false;
    }
    out->at[i + 2] = extent;
  }
  return true;
}

// Indices count in the tensor whose extents follow from the window; an output
// shape that is larger adds zeros behind it.
void ibx_import_op_max_unpool(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape, wanted = {0};
  ibx_list list = ibx_const_ints(call, 1, "I");
  if (ibx_has_in(call, 2)) wanted = ibx_const_dims(call, 2, "output_shape");
  if (call->failed || !read_unpooled(call, x, &shape)) return;
  int64_t total = 1;
  for (uint8_t i = 0; i < shape.len; i++) {
    if (!ibx_mul_extent(total, shape.at[i], &total)) total = INT64_MAX;
    if (!ibx_call_expect_room(call, total)) return;
  }
  bool fits = (int64_t)list.len == ibx_elements(ibx_type_of(call, x));
  for (size_t i = 0; fits && i < list.len; i++)
    fits = list.at[i] >= 0 && list.at[i] < total;
  if (!ibx_call_expect(call, fits, "I", "does not fit the result")) return;
  ibx_val zeros = ibx_emit_broadcast(call, ibx_emit_like(call, x, 0), shape);
  x = replace_rows(call, zeros, x, 1, list.at, list.len);
  if (!ibx_has_in(call, 2)) {
    ibx_out(call, 0, x);
    return;
  }
  ibx_ints low = ibx_fill_ints(shape.len, 0), high = low;
  fits = wanted.len == shape.len;
  for (uint8_t i = 0; fits && i < shape.len; i++) {
    high.at[i] = wanted.at[i] - shape.at[i];
    fits = high.at[i] >= 0;
  }
  if (!ibx_call_expect(call, fits, "output_shape", "is too small")) return;
  ibx_out(call, 0, ibx_emit_pad(call, x, low, high, 0));
}
