// SPDX-License-Identifier: Apache-2.0
//
// Brings operands together whose extents the data decide each for itself. Comes
// in: operands of an operation that broadcasts. Goes out: the same where their
// extents agree as they are; else such as have one extent in common. ONNX has
// equal extents or 1, and only the run tells which: so
//
//   extent    of the result: the other one where one is 1
//   element i of an operand: element 0 where its extent is 1, else element i
//
// A fixed extent that is the bound of an open one agrees with it in what an
// importer adds to an operand. Between two inputs of a node the open one may
// still be 1.

#include "frontend/import.h"

// One dimension of the operands, counted from the end.
typedef struct meeting {
  ibx_call *call;
  ibx_val *values;
  size_t count;
  bool are_inputs; // of the node
  int64_t back;
} meeting;

// The dimension of an operand; -1 where it has none that counts.
static int64_t axis_of(const meeting *m, size_t i) {
  int64_t axis = ibx_rank(m->call, m->values[i]) - m->back;
  if (axis < 0) return -1;
  bool is_one = ibx_dim(m->call, m->values[i], axis) == 1 &&
                ibx_extent(m->call, m->values[i], axis) == IBX_NO_VALUE;
  return is_one ? -1 : axis;
}

static bool agrees(const meeting *m) {
  ibx_val known = IBX_NO_VALUE;
  bool is_fixed = false;
  int64_t most = -1;
  for (size_t i = 0; i < m->count; i++) {
    int64_t axis = axis_of(m, i);
    if (axis < 0) continue;
    ibx_val extent = ibx_extent(m->call, m->values[i], axis);
    int64_t dim = ibx_dim(m->call, m->values[i], axis);
    if (known != IBX_NO_VALUE && extent != IBX_NO_VALUE && extent != known) {
      return false;
    }
    if (most >= 0 && dim != most) return false;
    if (extent != IBX_NO_VALUE) known = extent;
    is_fixed = is_fixed || extent == IBX_NO_VALUE;
    most = dim;
  }
  return !(m->are_inputs && is_fixed && known != IBX_NO_VALUE);
}

static bool is_open(const meeting *m) {
  for (size_t i = 0; i < m->count; i++) {
    int64_t axis = axis_of(m, i);
    if (axis < 0) continue;
    if (ibx_extent(m->call, m->values[i], axis) != IBX_NO_VALUE) return true;
  }
  return false;
}

static ibx_val is_one(ibx_call *call, ibx_val extent) {
  return ibx_emit_binary(call, IBX_TENSOR_equal, extent,
                         ibx_emit_long(call, 1));
}

static ibx_val common_extent(const meeting *m, int64_t *out_most) {
  ibx_val common = IBX_NO_VALUE;
  *out_most = 0;
  for (size_t i = 0; i < m->count; i++) {
    int64_t axis = axis_of(m, i);
    if (axis < 0) continue;
    ibx_val extent = ibx_extent_or_dim(m->call, m->values[i], axis);
    int64_t dim = ibx_dim(m->call, m->values[i], axis);
    if (dim == 0) { // the others have 1 or none: nothing is left
      *out_most = 0;
      return IBX_NO_VALUE;
    }
    if (dim > *out_most) *out_most = dim;
    if (common == IBX_NO_VALUE) {
      common = extent;
    } else if (common != extent) {
      common =
          ibx_choose_extent(m->call, is_one(m->call, common), extent, common);
    }
  }
  return common;
}

// Element 0 of all along the axis, where there is one; else the operand.
static ibx_val repeat_one(ibx_call *call, ibx_val x, ibx_val extent,
                          int64_t axis) {
  ibx_val first = ibx_emit_slice(call, x, axis, 0, 1, 1);
  first = ibx_emit_broadcast(call, first, ibx_shape_of(call, x));
  return ibx_emit_select(call, is_one(call, extent), first, x);
}

// An operand with `most` elements along the dimension.
static ibx_val stretch(const meeting *m, size_t i, ibx_val common,
                       int64_t most) {
  ibx_call *call = m->call;
  ibx_val x = m->values[i];
  int64_t axis = axis_of(m, i), dim = ibx_dim(call, x, axis);
  ibx_val extent = ibx_extent(call, x, axis);
  if (extent != IBX_NO_VALUE) {
    x = ibx_set_extent(call, x, axis, IBX_NO_VALUE);
    if (dim != 0) x = repeat_one(call, x, extent, axis);
  }
  if (dim > most) x = ibx_emit_slice(call, x, axis, 0, most, 1);
  if (dim < most) {
    ibx_val at =
        ibx_emit_binary(call, IBX_TENSOR_min, ibx_emit_iota(call, most),
                        ibx_emit_long(call, dim - 1));
    x = ibx_emit_gather(call, x, at, axis);
  }
  return ibx_set_extent(call, x, axis, common);
}

static void meet(ibx_call *call, ibx_val *values, size_t count,
                 bool are_inputs) {
  int64_t rank = 0;
  bool any = false;
  for (size_t i = 0; i < count; i++) {
    any |= ibx_has_extent(call, values[i]);
    if (ibx_rank(call, values[i]) > rank) rank = ibx_rank(call, values[i]);
  }
  meeting m = {
      .call = call, .values = values, .count = count, .are_inputs = are_inputs};
  for (m.back = 1; any && m.back <= rank && !call->failed; m.back++) {
    if (!is_open(&m) || agrees(&m)) continue;
    int64_t most;
    ibx_val common = common_extent(&m, &most);
    for (size_t i = 0; i < count && !call->failed; i++) {
      if (axis_of(&m, i) >= 0) values[i] = stretch(&m, i, common, most);
    }
  }
}

void ibx_meet_extents(ibx_call *call, ibx_val *values, size_t count) {
  meet(call, values, count, false);
}

void ibx_meet_inputs(ibx_call *call, ibx_val *values, size_t count) {
  meet(call, values, count, true);
}
