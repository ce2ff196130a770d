// SPDX-License-Identifier: Apache-2.0
//
// Scatters to the places where a mask is set. Comes in: data, indices that are
// the transposed result of NonZero, updates in the order of these. Goes out: an
// element under the mask takes the update that has as many set elements before
// it, others keep the data. So `masked_scatter` is exported, by which pictures
// get to their places between words:
//
//   mask     [1, 24, 1] repeated over [1, 24, 32]: a row of 32 is set as a whole
//   updates  16 rows of 32
//   result   select(mask, updates[cumsum(mask) - 1], data), row by row

#include "frontend/import_scatter.h"

#include <string.h>

enum { COUNTS = 1 << 24 }; ///< whole numbers that fp32 counts

static const ibx_node *node_of(const ibx_call *call, ibx_val value) {
  const ibx_graph *graph = &call->import->graph;
  uint32_t node = graph->values[value].node;
  return node == IBX_NO_VALUE ? NULL : &graph->nodes[node];
}

// What makes the value behind transposes that undo each other, as NonZero and
// the node behind it have them.
static const ibx_node *behind_transposes(const ibx_call *call, ibx_val value) {
  const ibx_node *node = node_of(call, value);
  bool turned = false;
  while (node && node->op == IBX_TENSOR_transpose &&
         node->params.perm.len == 2) {
    turned ^= node->params.perm.at[0] == 1;
    node = node_of(call, node->operand[0]);
  }
  return turned ? NULL : node;
}

// Whether a constant lists all positions of a shape in row-major order.
static bool is_coordinates(ibx_call *call, ibx_val value, ibx_ints shape) {
  const ibx_tensor *list = ibx_force(call->import, value);
  if (!list || list->type.rank != 2 || list->type.dims[1] != shape.len) {
    return false;
  }
  int64_t count = 1;
  for (uint8_t d = 0; d < shape.len; d++)
    count *= shape.at[d];
  if (list->type.dims[0] != count) return false;
  for (int64_t i = 0; i < count; i++) {
    int64_t left = i;
    for (int64_t d = shape.len; d-- > 0; left /= shape.at[d]) {
      size_t at = (size_t)(i * shape.len + d);
      if (ibx_tensor_int(list, at) != left % shape.at[d]) return false;
    }
  }
  return true;
}

static const ibx_node *behind_views(const ibx_call *call, ibx_val value) {
  const ibx_node *node = node_of(call, value);
  while (node &&
         (node->op == IBX_TENSOR_reshape || node->op == IBX_TENSOR_broadcast)) {
    node = node_of(call, node->operand[0]);
  }
  return node;
}

// NonZero itself, or with zeros for the places behind those that it found.
static const ibx_node *find_places(const ibx_call *call, ibx_val value) {
  const ibx_node *node = node_of(call, value);
  if (!node || node->op != IBX_TENSOR_select) return node;
  const ibx_node *places = node_of(call, node->operand[1]);
  const ibx_node *less = node_of(call, node->operand[0]);
  if (!places || !less || less->op != IBX_TENSOR_less) return NULL;
  ibx_val extent = ibx_extent(call, places->result, 0);
  const ibx_node *limit = behind_views(call, less->operand[1]);
  bool is_whole = limit && extent != IBX_NO_VALUE && limit->result == extent;
  return is_whole ? places : NULL;
}

// The flags [elements of the shape] whose NonZero the indices are.
static bool find_flags(ibx_call *call, ibx_val indices, ibx_ints shape,
                       ibx_val *out) {
  const ibx_node *gather = behind_transposes(call, indices);
  if (!gather || gather->op != IBX_TENSOR_gather || gather->params.axis != 0) {
    return false;
  }
  const ibx_node *places = find_places(call, gather->operand[1]);
  while (places && places->op == IBX_TENSOR_reshape)
    places = node_of(call, places->operand[0]);
  if (!places || places->op != IBX_TENSOR_nonzero) return false;
  if (!is_coordinates(call, gather->operand[0], shape)) return false;
  *out = places->operand[0];
  return true;
}

// How many neighbours share a flag: what the flags repeat over last.
static int64_t find_width(const ibx_call *call, ibx_val flags) {
  const ibx_node *node = node_of(call, flags);
  while (node &&
         (node->op == IBX_TENSOR_reshape || node->op == IBX_TENSOR_cast))
    node = node_of(call, node->operand[0]);
  if (!node || node->op != IBX_TENSOR_broadcast) return 1;
  ibx_ints from = ibx_shape_of(call, node->operand[0]);
  ibx_ints to = ibx_shape_of(call, node->result);
  int64_t width = 1;
  for (uint8_t d = from.len; d-- > 0 && from.at[d] == 1;)
    width *= to.at[d];
  return width;
}

// The number of set flags up to each one.
static ibx_val emit_ranks(ibx_call *call, ibx_val flags) {
  ibx_val ones = ibx_emit_cast(call, flags, IBX_DTYPE_F32);
  ibx_params along = {.axis = 0};
  ibx_val counts = ibx_emit_op(call, IBX_TENSOR_cumsum, &along, &ones, 1);
  return ibx_emit_cast(call, counts, IBX_DTYPE_I64);
}

// Updates that are not there stand behind all that are asked for.
static ibx_val fixed_rows(ibx_call *call, ibx_val updates, int64_t width,
                          int64_t *out_rows) {
  updates = ibx_emit_all_masked(call, updates, ibx_emit_like(call, updates, 0));
  int64_t all = ibx_elements(ibx_type_of(call, updates));
  *out_rows = all / width;
  updates = ibx_emit_reshape(call, updates, IBX_INTS(all));
  updates = ibx_emit_slice(call, updates, 0, 0, *out_rows * width, 1);
  return ibx_emit_reshape(call, updates, IBX_INTS(*out_rows, width));
}

bool ibx_emit_mask_scatter(ibx_call *call, const ibx_scatter *how, ibx_val data,
                           ibx_val indices, ibx_val updates, ibx_val *out) {
  ibx_ints shape = ibx_shape_of(call, data), head = shape;
  head.len = (uint8_t)ibx_dim(call, indices, -1);
  ibx_val flags;
  if (!find_flags(call, indices, head, &flags)) return false;
  int64_t count = ibx_elements(ibx_type_of(call, flags));
  int64_t elements = ibx_elements(ibx_type_of(call, data));
  int64_t shared = find_width(call, flags), rows = count / shared, there;
  int64_t width = elements / rows;
  if (count % shared != 0 || rows >= COUNTS) return false;
  if (ibx_elements(ibx_type_of(call, updates)) < width) return false;
  flags = ibx_emit_reshape(call, flags, IBX_INTS(rows, shared));
  flags = ibx_emit_slice(call, flags, 1, 0, 1, 1);
  flags = ibx_emit_reshape(call, flags, IBX_INTS(rows));
  updates = fixed_rows(call, updates, width, &there);
  ibx_val rank = emit_ranks(call, flags);
  ibx_val place =
      ibx_emit_binary(call, IBX_TENSOR_sub, rank, ibx_emit_long(call, 1));
  place = ibx_emit_binary(call, IBX_TENSOR_max, place, ibx_emit_long(call, 0));
  place = ibx_emit_binary(call, IBX_TENSOR_min, place,
                          ibx_emit_long(call, there - 1));
  ibx_val taken = ibx_emit_gather(call, updates, place, 0);
  data = ibx_emit_reshape(call, data, IBX_INTS(rows, width));
  if (how->op != IBX_TENSOR_constant) {
    taken = ibx_emit_binary(call, how->op, data, taken);
  }
  flags = ibx_emit_reshape(call, flags, IBX_INTS(rows, 1));
  *out =
      ibx_emit_reshape(call, ibx_emit_select(call, flags, taken, data), shape);
  return true;
}
