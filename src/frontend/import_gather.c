// SPDX-License-Identifier: Apache-2.0
//
// Imports operators that pick elements by index. Comes in: a call. Goes out: a
// slice where the indices are constants at equal distances, otherwise a gather
// along one dimension, for which indices into several are made into one. Rows of
// a table that is computed from constants are picked before they are computed:
//
//   before   gather(cast(q) * scale, ids)    a quantised embedding
//   after    cast(gather(q, ids)) * scale    of the rows that are wanted

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

// --- gathers -----------------------------------------------------------------

typedef struct picking {
  ibx_val indices;
  int64_t axis;
  ibx_ints inner; // shape of the indices
} picking;

// The longest chain of operations that rows are picked through.
enum { MOST_PICKED = 8 };

static ibx_ints picked_shape(const picking *pick, ibx_ints shape) {
  ibx_ints result = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i != pick->axis) {
      result.at[result.len++] = shape.at[i];
      continue;
    }
    for (uint8_t j = 0; j < pick->inner.len; j++)
      result.at[result.len++] = pick->inner.at[j];
  }
  return result;
}

// A row comes to one partition, so one of this many bytes is picked in parts.
enum { WIDE_ROW_BYTES = 1 << 16, MOST_ROWS = 1 << 24 };

static bool has_wide_rows(const ibx_call *call, const picking *pick,
                          ibx_val data) {
  ibx_type type = *ibx_type_of(call, data);
  int64_t bytes = 0;
  if (pick->axis != 0 || type.rank < 3 || type.dims[1] < 2) return false;
  if (pick->inner.len + type.rank - 1 > IBX_MAX_RANK) return false;
  if (ibx_is_bounded(call, data) || ibx_is_bounded(call, pick->indices))
    return false;
  return type.dims[0] > 0 && type.dims[0] < MOST_ROWS / type.dims[1] &&
         ibx_type_bytes(&type, &bytes) && bytes / type.dims[0] > WIDE_ROW_BYTES;
}

// The rows i * n .. i * n + n - 1 of the table [e * n, ...] are row i of
// [e, n, ...], where i counts from the end, too.
static ibx_val pick_parts(ibx_call *call, const picking *pick, ibx_val data) {
  ibx_ints shape = ibx_shape_of(call, data), inner = pick->inner;
  ibx_ints flat = {.at = {shape.at[0] * shape.at[1]}, .len = 1};
  for (uint8_t d = 2; d < shape.len; d++)
    flat.at[flat.len++] = shape.at[d];
  inner.at[inner.len++] = 1;
  ibx_val parts = ibx_emit_along(call, ibx_emit_iota(call, shape.at[1]),
                                 pick->inner.len, inner.len);
  ibx_val index = ibx_emit_cast(call, pick->indices, IBX_DTYPE_I64);
  index = ibx_emit_reshape(call, index, inner);
  index = ibx_emit_binary(call, IBX_TENSOR_mul, index,
                          ibx_emit_long(call, shape.at[1]));
  ibx_val operands[] = {ibx_emit_reshape(call, data, flat),
                        ibx_emit_binary(call, IBX_TENSOR_add, index, parts)};
  ibx_params params = {.axis = 0};
  return ibx_emit_op(call, IBX_TENSOR_gather, &params, operands, 2);
}

static ibx_val pick_plain(ibx_call *call, const picking *pick, ibx_val data) {
  if (has_wide_rows(call, pick, data)) return pick_parts(call, pick, data);
  ibx_params params = {.axis = pick->axis};
  ibx_val operands[] = {data, pick->indices};
  return ibx_emit_op(call, IBX_TENSOR_gather, &params, operands, 2);
}

// Whether the operation makes each element from those at the same place.
static bool is_pointwise(ibx_tensor_op op) {
  ibx_op_klass klass = ibx_tensor_op_get(op)->klass;
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY ||
         klass == IBX_KLASS_COMPARE;
}

static ibx_val pick_through(ibx_call *call, const picking *pick, ibx_val data,
                            unsigned depth);

// What repeats along the dimension is the same for every index; how many there
// are, the indices tell.
static ibx_val pick_repeated(ibx_call *call, const picking *pick,
                             const ibx_node *node, ibx_ints shape,
                             unsigned depth) {
  ibx_val x = node->operand[0];
  if (ibx_dim(call, x, pick->axis) != 1)
    return ibx_emit_broadcast(call, pick_through(call, pick, x, depth - 1),
                              picked_shape(pick, shape));
  picking once = *pick;
  once.inner = ibx_fill_ints(pick->inner.len, 1);
  x = ibx_emit_reshape(call, x, picked_shape(&once, ibx_shape_of(call, x)));
  x = ibx_emit_broadcast(call, x, picked_shape(pick, shape));
  for (uint8_t d = 0; d < pick->inner.len; d++) {
    ibx_val extent = ibx_extent(call, pick->indices, d);
    x = ibx_set_extent(call, x, pick->axis + d, extent);
  }
  return x;
}

static ibx_val pick_through(ibx_call *call, const picking *pick, ibx_val data,
                            unsigned depth) {
  const ibx_graph *graph = &call->import->graph;
  uint32_t maker = graph->values[data].node;
  if (depth == 0 || maker == IBX_NO_VALUE) return pick_plain(call, pick, data);
  const ibx_node node = graph->nodes[maker];
  if (node.op == IBX_TENSOR_broadcast)
    return pick_repeated(call, pick, &node, ibx_shape_of(call, data), depth);
  if (!is_pointwise(node.op)) return pick_plain(call, pick, data);
  ibx_val operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node.operand_count; i++)
    operands[i] = pick_through(call, pick, node.operand[i], depth - 1);
  return ibx_emit_op(call, node.op, &node.params, operands, node.operand_count);
}

ibx_val ibx_emit_gather(ibx_call *call, ibx_val data, ibx_val indices,
                        int64_t axis) {
  picking pick = {
      .indices = indices, .axis = axis, .inner = ibx_shape_of(call, indices)};
  ibx_ints shape = ibx_shape_of(call, data);
  int64_t wanted = ibx_elements(ibx_type_of(call, indices));
  if (!ibx_call_expect(call, wanted == 0 || shape.at[axis] != 0, "indices",
                       "pick out of no elements"))
    return data;
  bool is_table = ibx_is_known(call, data) && axis < shape.len &&
                  shape.len - 1 + pick.inner.len <= IBX_MAX_RANK &&
                  wanted < shape.at[axis];
  if (!is_table) return pick_plain(call, &pick, data);
  return pick_through(call, &pick, data, MOST_PICKED);
}

// --- the operators -----------------------------------------------------------

// Constant indices start, start + step, ..., all inside of 0 .. extent - 1.
typedef struct progression {
  int64_t start, step;
  bool counts_from_start; // none was negative
} progression;

static bool find_line(ibx_call *call, ibx_val indices, int64_t extent,
                      progression *out) {
  const ibx_tensor *tensor = ibx_force(call->import, indices);
  size_t count = tensor ? (size_t)ibx_elements(&tensor->type) : 0;
  if (count == 0) return false;
  *out = (progression){.step = 1, .counts_from_start = true};
  int64_t previous = 0;
  for (size_t i = 0; i < count; i++) {
    int64_t at = ibx_tensor_int(tensor, i);
    if (at < -extent || at >= extent) return false;
    if (at < 0) out->counts_from_start = false;
    if (at < 0) at += extent;
    if (i == 0) out->start = at;
    if (i == 1) out->step = at - out->start;
    if (i > 1 && at - previous != out->step) return false;
    previous = at;
  }
  return out->step != 0;
}

static bool check_range(ibx_call *call, ibx_val indices, int64_t extent) {
  const ibx_tensor *tensor = ibx_force(call->import, indices);
  size_t count = tensor ? (size_t)ibx_elements(&tensor->type) : 0;
  for (size_t i = 0; i < count; i++) {
    int64_t at = ibx_tensor_int(tensor, i);
    if (!ibx_call_expect(call, at >= -extent && at < extent, "indices",
                         "an index lies outside of the dimension")) {
      return false;
    }
  }
  return true;
}

// Of a dimension that has an extent only positions from its start are known.
static bool starts_count(ibx_call *call, ibx_val data, int64_t axis,
                         const progression *regular, int64_t count) {
  int64_t last = regular->start + (count - 1) * regular->step;
  if (ibx_extent(call, data, axis) == IBX_NO_VALUE) return true;
  return regular->counts_from_start && regular->start >= 0 && last >= 0;
}

// data[..., indices, ...] along one dimension.
static ibx_val pick(ibx_call *call, ibx_val data, ibx_val indices,
                    int64_t axis) {
  int64_t extent = ibx_dim(call, data, axis);
  if (!check_range(call, indices, extent)) return data;
  ibx_ints shape = ibx_shape_of(call, data),
           inner = ibx_shape_of(call, indices);
  progression regular;
  int64_t count = ibx_elements(ibx_type_of(call, indices));
  if (shape.len - 1 + inner.len > IBX_MAX_RANK ||
      ibx_has_extent(call, indices) ||
      !find_line(call, indices, extent, &regular) ||
      !starts_count(call, data, axis, &regular, count)) {
    return ibx_emit_gather(call, data, indices, axis);
  }
  // That these positions are valid, ONNX demands.
  data = ibx_set_extent(call, data, axis, IBX_NO_VALUE);
  ibx_val part = ibx_emit_slice(call, data, axis, regular.start, count,
                                count == 1 ? 1 : regular.step);
  ibx_ints result = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i != axis) {
      result.at[result.len++] = shape.at[i];
      continue;
    }
    for (uint8_t j = 0; j < inner.len; j++) {
      result.at[result.len++] = inner.at[j];
    }
  }
  return ibx_emit_reshape(call, part, result);
}

void ibx_import_op_gather(ibx_call *call) {
  ibx_val data = ibx_in(call, 0);
  int64_t axis =
      ibx_axis(call, ibx_attr_int(call, "axis", 0), ibx_rank(call, data));
  if (!call->failed) ibx_out(call, 0, pick(call, data, ibx_in(call, 1), axis));
}

// Indices from the end become indices from the start.
static ibx_val from_start(ibx_call *call, ibx_val indices, ibx_val extents) {
  ibx_val low =
      ibx_emit_binary(call, IBX_TENSOR_less, indices, ibx_emit_long(call, 0));
  ibx_val moved = ibx_emit_binary(call, IBX_TENSOR_add, indices, extents);
  return ibx_emit_select(call, low, moved, indices);
}

ibx_val ibx_emit_from_start(ibx_call *call, ibx_val indices, ibx_val data,
                            int64_t axis) {
  return from_start(call, indices, ibx_extent_or_dim(call, data, axis));
}

// For each element of a shape: the sum of its coordinates times strides, where
// dimension `skip` counts 0.
static ibx_val emit_coordinates(ibx_call *call, ibx_ints shape,
                                const int64_t *strides, int64_t skip) {
  ibx_val sum = ibx_emit_long(call, 0);
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i == skip || shape.at[i] == 1) continue;
    ibx_val along =
        ibx_emit_along(call, ibx_emit_iota(call, shape.at[i]), i, shape.len);
    along = ibx_emit_binary(call, IBX_TENSOR_mul, along,
                            ibx_emit_long(call, strides[i]));
    sum = ibx_emit_binary(call, IBX_TENSOR_add, sum, along);
  }
  return sum;
}

static void strides_of(ibx_ints shape, int64_t strides[IBX_MAX_RANK]) {
  int64_t stride = 1;
  for (int i = shape.len - 1; i >= 0; i--) {
    strides[i] = stride;
    stride *= shape.at[i];
  }
}

// out[i][j] = data[index[i][j]][j]: one flat index for every element.
void ibx_import_op_gather_elements(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), indices = ibx_in(call, 1);
  ibx_ints shape = ibx_shape_of(call, data),
           wanted = ibx_shape_of(call, indices);
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), shape.len);
  bool fits = wanted.len == shape.len;
  for (uint8_t i = 0; fits && i < shape.len; i++) {
    fits = i == axis || wanted.at[i] <= shape.at[i] ||
           ibx_extent(call, indices, i) != IBX_NO_VALUE;
  }
  if (!ibx_call_expect(call, fits, "indices", "is larger than the data") ||
      !check_range(call, indices, shape.at[axis])) {
    return;
  }
  int64_t strides[IBX_MAX_RANK];
  strides_of(shape, strides);
  ibx_val index = ibx_emit_from_start(
      call, ibx_emit_cast(call, indices, IBX_DTYPE_I64), data, axis);
  index = ibx_emit_binary(call, IBX_TENSOR_mul, index,
                          ibx_emit_long(call, strides[axis]));
  index = ibx_emit_binary(call, IBX_TENSOR_add, index,
                          emit_coordinates(call, wanted, strides, axis));
  int64_t total = ibx_elements(ibx_type_of(call, data));
  ibx_val flat = ibx_emit_whole(call, data);
  flat = ibx_emit_reshape(call, flat, IBX_INTS(total));
  ibx_out(call, 0, pick(call, flat, index, 0));
}

ibx_val ibx_emit_nd_index(ibx_call *call, ibx_val indices, ibx_val data,
                          int64_t batch, int64_t depth) {
  int64_t strides[IBX_MAX_RANK], all[IBX_MAX_RANK];
  ibx_val extents[IBX_MAX_RANK];
  ibx_ints shape = ibx_shape_of(call, data);
  strides_of(ibx_make_ints(shape.at, (size_t)(batch + depth)), all);
  for (int64_t i = 0; i < depth; i++) {
    ibx_val extent = ibx_extent_or_dim(call, data, batch + i);
    extents[i] = ibx_emit_reshape(call, extent, IBX_INTS(1));
    strides[i] = all[batch + i];
  }
  ibx_ints list = IBX_INTS(depth);
  ibx_val index = from_start(call, ibx_emit_cast(call, indices, IBX_DTYPE_I64),
                             ibx_emit_concat(call, extents, (size_t)depth, 0));
  index = ibx_emit_binary(call, IBX_TENSOR_mul, index,
                          ibx_emit_longs(call, list, strides));
  int64_t last = ibx_rank(call, index) - 1;
  index = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, index, IBX_INTS(last),
                          false);
  ibx_ints outer = ibx_shape_of(call, index);
  for (int64_t i = batch; i < outer.len; i++)
    outer.at[i] = 1;
  return ibx_emit_binary(call, IBX_TENSOR_add, index,
                         emit_coordinates(call, outer, all, -1));
}

void ibx_import_op_gather_nd(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), indices = ibx_in(call, 1);
  ibx_ints shape = ibx_shape_of(call, data);
  int64_t batch = ibx_attr_int(call, "batch_dims", 0);
  int64_t rank = ibx_rank(call, indices);
  int64_t depth = ibx_dim(call, indices, -1);
  bool fits = rank >= 1 && batch >= 0 && batch < rank && depth >= 1 &&
              depth <= shape.len - batch;
  for (int64_t i = 0; fits && i < batch; i++) {
    fits = shape.at[i] == ibx_dim(call, indices, i);
  }
  if (!ibx_call_expect(call, fits, "indices", "does not fit the data")) return;
  ibx_val index = ibx_emit_nd_index(call, indices, data, batch, depth);
  index = ibx_take_extents(call, index, 0, data, 0, batch);
  int64_t head = 1;
  ibx_ints flat = {.len = 1};
  for (int64_t i = 0; i < shape.len; i++) {
    if (i < batch + depth) {
      head *= shape.at[i];
    } else {
      flat.at[flat.len++] = shape.at[i];
    }
  }
  flat.at[0] = head;
  ibx_val rows = ibx_emit_reshape(call, ibx_emit_whole(call, data), flat);
  rows = pick(call, rows, index, 0);
  ibx_out(call, 0,
          ibx_take_extents(call, rows, rank - 1, data, batch + depth,
                           shape.len - batch - depth));
}

// --- one hot -----------------------------------------------------------------

void ibx_import_op_one_hot(ibx_call *call) {
  enum { MOST_DEPTH = 1 << 24 };
  ibx_val indices = ibx_in(call, 0), values = ibx_in(call, 2);
  int64_t rank = ibx_rank(call, indices) + 1;
  double number = ibx_const_number(call, 1, "depth");
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", -1), rank);
  bool fits = number >= 1 && number <= (double)MOST_DEPTH &&
              rank <= IBX_MAX_RANK && ibx_rank(call, values) == 1 &&
              ibx_dim(call, values, 0) == 2;
  if (!ibx_call_expect(call, fits, "depth", "or rank or values out of range")) {
    return;
  }
  int64_t depth = (int64_t)number;
  ibx_dtype dtype = ibx_dtype_of(call, indices);
  ibx_val extent = ibx_emit_like(call, indices, (double)depth);
  ibx_val low = ibx_emit_binary(call, IBX_TENSOR_less, indices,
                                ibx_emit_like(call, indices, 0));
  indices = ibx_emit_select(
      call, low, ibx_emit_binary(call, IBX_TENSOR_add, indices, extent),
      indices);
  ibx_ints shape = ibx_shape_of(call, indices), wide = {.len = (uint8_t)rank};
  int8_t origin[IBX_MAX_RANK];
  for (int64_t i = 0, from = 0; i < rank; i++) {
    origin[i] = (int8_t)(i == axis ? -1 : from);
    wide.at[i] = i == axis ? 1 : shape.at[from++];
  }
  ibx_val line = ibx_emit_along(
      call, ibx_emit_cast(call, ibx_emit_iota(call, depth), dtype), axis, rank);
  ibx_val hot =
      ibx_emit_binary(call, IBX_TENSOR_equal,
                      ibx_emit_units(call, indices, wide, origin), line);
  ibx_val off = ibx_emit_slice(call, values, 0, 0, 1, 1);
  ibx_val on = ibx_emit_slice(call, values, 0, 1, 1, 1);
  double zero = 1, one = 0;
  bool is_cast = ibx_is_splat(call, off, &zero) &&
                 ibx_is_splat(call, on, &one) && zero == 0 && one == 1;
  ibx_out(call, 0,
          is_cast ? ibx_emit_cast(call, hot, ibx_dtype_of(call, values))
                  : ibx_emit_select(call, hot, on, off));
}

// --- triangles ---------------------------------------------------------------

void ibx_import_op_trilu(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool upper = ibx_attr_flag(call, "upper", true);
  int64_t diagonal = ibx_has_in(call, 1) ? ibx_const_int(call, 1, "k") : 0;
  if (!ibx_call_expect(call, ibx_rank(call, x) >= 2, "input",
                       "needs 2 dimensions")) {
    return;
  }
  int64_t limit = (int64_t)1 << 40;
  diagonal = diagonal > limit ? limit : diagonal < -limit ? -limit : diagonal;
  ibx_val rows = ibx_emit_iota(call, ibx_dim(call, x, -2));
  ibx_val columns = ibx_emit_iota(call, ibx_dim(call, x, -1));
  rows = ibx_emit_binary(call, IBX_TENSOR_add, ibx_emit_along(call, rows, 0, 2),
                         ibx_emit_long(call, diagonal));
  ibx_val keep =
      upper ? ibx_emit_binary(call, IBX_TENSOR_less_equal, rows, columns)
            : ibx_emit_binary(call, IBX_TENSOR_less_equal, columns, rows);
  ibx_out(call, 0, ibx_emit_select(call, keep, x, ibx_emit_like(call, x, 0)));
}
