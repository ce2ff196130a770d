// SPDX-License-Identifier: Apache-2.0
//
// Imports scatters with constant indices. Comes in: data, indices, updates.
// Goes out: a gather from data and updates joined, by indices that say for each row
// which of them is last. What is not constant would need a scatter engine.

#include "frontend/import.h"
#include "frontend/import_ops.h"

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

static bool replaces(ibx_call *call) {
  const char *reduction = ibx_attr_text(call, "reduction", "none");
  if (strcmp(reduction, "none") == 0) return true;
  ibx_call_refuse(call, "reduction", "reduction = '%s'", reduction);
  return false;
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

void ibx_import_op_scatter_nd(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), updates = ibx_in(call, 2);
  ibx_ints shape = ibx_shape_of(call, data);
  int64_t depth = ibx_dim(call, ibx_in(call, 1), -1);
  ibx_list list = ibx_const_ints(call, 1, "indices");
  bool fits = replaces(call) && ibx_rank(call, ibx_in(call, 1)) >= 1 &&
              depth >= 1 && depth <= shape.len;
  if (call->failed ||
      !ibx_call_expect(call, fits, "indices", "does not fit the data")) {
    return;
  }
  int64_t width = 1;
  for (int64_t i = depth; i < shape.len; i++)
    width *= shape.at[i];
  size_t count = list.len / (size_t)depth;
  fits = ibx_elements(ibx_type_of(call, updates)) == (int64_t)count * width;
  if (!ibx_call_expect(call, fits, "updates", "does not fit the indices")) {
    return;
  }
  int64_t *targets = IBX_ARENA_ARRAY(&call->import->scratch, count, int64_t);
  for (size_t k = 0; k < count; k++) {
    for (int64_t d = 0; d < depth; d++) {
      int64_t index = list.at[k * (size_t)depth + (size_t)d];
      if (!normalise(call, &index, shape.at[d])) return;
      targets[k] = targets[k] * shape.at[d] + index;
    }
  }
  ibx_out(call, 0, replace_rows(call, data, updates, width, targets, count));
}

void ibx_import_op_scatter_elements(ibx_call *call) {
  ibx_val data = ibx_in(call, 0), updates = ibx_in(call, 2);
  ibx_ints shape = ibx_shape_of(call, data);
  ibx_ints own = ibx_shape_of(call, ibx_in(call, 1));
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), shape.len);
  ibx_list list = ibx_const_ints(call, 1, "indices");
  bool fits = replaces(call) && own.len == shape.len;
  for (uint8_t i = 0; fits && i < own.len; i++) {
    fits = ibx_dim(call, updates, i) == own.at[i] &&
           (i == axis || own.at[i] <= shape.at[i]);
  }
  if (call->failed ||
      !ibx_call_expect(call, fits, "indices", "does not fit the data")) {
    return;
  }
  int64_t *targets = IBX_ARENA_ARRAY(&call->import->scratch, list.len, int64_t);
  for (size_t k = 0; k < list.len; k++) {
    size_t left = k;
    int64_t stride = 1;
    for (int i = own.len - 1; i >= 0; i--) {
      int64_t at = (int64_t)(left % (size_t)own.at[i]);
      left /= (size_t)own.at[i];
      if (i == axis) at = list.at[k];
      if (!normalise(call, &at, shape.at[i])) return;
      targets[k] += at * stride;
      stride *= shape.at[i];
    }
  }
  ibx_out(call, 0, replace_rows(call, data, updates, 1, targets, list.len));
}
