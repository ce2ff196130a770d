// SPDX-License-Identifier: Apache-2.0
//
// How operations carry extents that depend on the data. Comes in: an operation
// and operands of which some have such extents. Goes out: the operation, with
// neutral elements in place of what is not valid where elements are combined,
// and notes beside its result. Holds afterwards: the valid part of the result is
// what the operation would give of the valid parts of its operands; what cannot
// be said so is refused.

#include "frontend/import.h"

#include <math.h>
#include <string.h>

typedef struct carry {
  ibx_call *call;
  ibx_tensor_op op;
  ibx_params params;
  ibx_val operand[IBX_NODE_OPERANDS]; // masked where that is needed
  size_t count;
  ibx_val real[IBX_MAX_RANK]; // of the result
} carry;

static bool refuse(carry *c) {
  ibx_refuse_extent(c->call, NULL);
  return false;
}

static ibx_val binary(carry *c, ibx_tensor_op op, ibx_val a, ibx_val b) {
  return ibx_emit_binary(c->call, op, a, b);
}

static ibx_val number(carry *c, int64_t value) {
  return ibx_emit_long(c->call, value);
}

// Adds what is known of a dimension. An extent that is fixed meets one that is
// not: they are equal, or ONNX would not have the model either.
static bool meet(carry *c, int64_t dim, ibx_val extent) {
  if (extent == IBX_NO_VALUE) return true;
  if (c->real[dim] == IBX_NO_VALUE) c->real[dim] = extent;
  return c->real[dim] == extent || refuse(c);
}

static bool meet_from(carry *c, int64_t dim, size_t operand, int64_t from) {
  return meet(c, dim, ibx_extent(c->call, c->operand[operand], from));
}

// Dimensions [first, end) keep their places.
static bool keep(carry *c, size_t operand, int64_t first, int64_t end) {
  for (int64_t d = first; d < end; d++) {
    if (!meet_from(c, d, operand, d)) return false;
  }
  return true;
}

static int64_t rank_of(const carry *c, size_t operand) {
  return ibx_rank(c->call, c->operand[operand]);
}

static bool is_fixed(carry *c, size_t operand, int64_t dim) {
  if (ibx_extent(c->call, c->operand[operand], dim) == IBX_NO_VALUE) {
    return true;
  }
  return refuse(c);
}

static bool elementwise(carry *c) {
  for (size_t i = 0; i < c->count; i++) {
    if (!keep(c, i, 0, rank_of(c, i))) return false;
  }
  return true;
}

// --- neutral elements ------------------------------------------------------------

ibx_val ibx_emit_limit(ibx_call *call, ibx_dtype dtype, int sign) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  double value = sign * (double)INFINITY;
  if (info->kind != IBX_DTYPE_KIND_FLOAT) {
    // The machine has 32 bits; wider integers are compared in them.
    int bits = info->bits > 32 ? 32 : info->bits;
    bool is_signed = info->kind == IBX_DTYPE_KIND_SINT;
    double most = ldexp(1, is_signed ? bits - 1 : bits) - 1;
    double least = is_signed ? -ldexp(1, bits - 1) : 0;
    value = sign > 0 ? most : least;
    if (info->kind == IBX_DTYPE_KIND_BOOL) value = sign > 0;
  }
  return ibx_emit_scalar(call, dtype, value);
}

static ibx_val neutral(carry *c, ibx_tensor_op op, ibx_dtype dtype) {
  switch (op) {
  case IBX_TENSOR_reduce_prod: return ibx_emit_scalar(c->call, dtype, 1);
  case IBX_TENSOR_reduce_min: return ibx_emit_limit(c->call, dtype, 1);
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_argmax:
  case IBX_TENSOR_softmax: return ibx_emit_limit(c->call, dtype, -1);
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index:
    return ibx_emit_limit(c->call, dtype, c->params.largest ? -1 : 1);
  default: return ibx_emit_scalar(c->call, dtype, 0);
  }
}

// Makes a dimension of an operand all valid.
static void fill(carry *c, size_t operand, int64_t dim) {
  ibx_val *x = &c->operand[operand];
  if (ibx_extent(c->call, *x, dim) == IBX_NO_VALUE) return;
  ibx_val value = neutral(c, c->op, ibx_dtype_of(c->call, *x));
  *x = ibx_emit_masked(c->call, *x, dim, value);
}

// The operation along one dimension, which is filled; `stays` when the result
// has it, with as much of it valid.
static bool along(carry *c, int64_t axis, bool stays) {
  ibx_val extent = ibx_extent(c->call, c->operand[0], axis);
  fill(c, 0, axis);
  if (!keep(c, 0, 0, axis) || !keep(c, 0, axis + 1, rank_of(c, 0))) {
    return false;
  }
  if (stays) c->real[axis] = extent;
  return true;
}

// --- views -------------------------------------------------------------------------

static int64_t span(ibx_ints shape, int64_t first, int64_t end) {
  int64_t product = 1;
  for (int64_t d = first; d < end; d++)
    product *= shape.at[d];
  return product;
}

int64_t ibx_reshaped_dim(ibx_ints from, int64_t d, ibx_ints to,
                         int64_t *out_factor) {
  int64_t before = span(from, 0, d);
  int64_t whole = from.at[d];
  int64_t found = -1, count = 0;
  *out_factor = 1;
  for (int64_t j = 0; j < to.len; j++) {
    if (span(to, 0, j) != before || to.at[j] != whole) continue;
    found = j;
    count++;
  }
  if (count == 1) return found;
  if (count > 1) return -1; // of extent 1, any of which it may be
  for (int64_t j = 0; j < to.len; j++) {
    if (span(to, 0, j) != before || to.at[j] % whole != 0) continue;
    for (int64_t end = d + 1; end <= from.len; end++) {
      if (span(from, d, end) != to.at[j] || to.at[j] == 1) continue;
      *out_factor = to.at[j] / whole;
      return j;
    }
  }
  return -1;
}

static bool carry_reshape(carry *c) {
  ibx_ints from = ibx_shape_of(c->call, c->operand[0]);
  for (int64_t d = 0; d < from.len; d++) {
    ibx_val extent = ibx_extent(c->call, c->operand[0], d);
    int64_t factor;
    if (extent == IBX_NO_VALUE) continue;
    int64_t to = ibx_reshaped_dim(from, d, c->params.shape, &factor);
    if (to < 0) return refuse(c);
    for (int64_t e = d + 1; factor != 1 && e < from.len; e++) {
      int64_t inner = span(from, d, e);
      if (inner < c->params.shape.at[to] && !is_fixed(c, 0, e)) return false;
    }
    if (factor != 1) {
      extent = binary(c, IBX_TENSOR_mul, extent, number(c, factor));
    }
    if (!meet(c, to, extent)) return false;
  }
  return true;
}

static bool carry_broadcast(carry *c) {
  for (int64_t d = 0; d < rank_of(c, 0); d++) {
    bool grows = ibx_dim(c->call, c->operand[0], d) != c->params.shape.at[d];
    if (grows ? !is_fixed(c, 0, d) : !meet_from(c, d, 0, d)) return false;
  }
  return true;
}

static bool carry_slice(carry *c) {
  const ibx_params *p = &c->params;
  for (int64_t d = 0; d < rank_of(c, 0); d++) {
    ibx_val extent = ibx_extent(c->call, c->operand[0], d);
    int64_t extent_most = ibx_dim(c->call, c->operand[0], d);
    if (extent == IBX_NO_VALUE) continue;
    int64_t start = p->starts.at[d], step = p->steps.at[d];
    int64_t count = p->shape.at[d];
    if (start == 0 && step == 1 && count == extent_most) {
      c->real[d] = extent;
    } else if (step < 1) {
      return refuse(c);
    } else {
      c->real[d] = ibx_emit_steps(c->call, extent, start, step, count);
    }
  }
  return true;
}

// Elements before a dimension move its end; those behind it follow what is valid,
// for all that is not has their value.
static bool carry_pad(carry *c) {
  ibx_dtype dtype = ibx_dtype_of(c->call, c->operand[0]);
  for (int64_t d = 0; d < rank_of(c, 0); d++) {
    ibx_val extent = ibx_extent(c->call, c->operand[0], d);
    int64_t high = c->params.high.at[d];
    if (extent == IBX_NO_VALUE) continue;
    int64_t added = c->params.low.at[d] + high;
    c->real[d] = added == 0
                     ? extent
                     : binary(c, IBX_TENSOR_add, extent, number(c, added));
    if (high == 0) continue;
    ibx_val value = ibx_emit_scalar(c->call, dtype, (double)c->params.value);
    c->operand[0] = ibx_emit_masked(c->call, c->operand[0], d, value);
  }
  return true;
}

static bool carry_transpose(carry *c) {
  for (int64_t d = 0; d < c->params.perm.len; d++) {
    if (!meet_from(c, d, 0, c->params.perm.at[d])) return false;
  }
  return true;
}

// --- concat --------------------------------------------------------------------------

// Position i of the result is that many places further on in the parts as they
// lie one behind the other: those before its part that are not valid.
static ibx_val concat_index(carry *c, int64_t axis, int64_t total,
                            ibx_val *out_real) {
  ibx_val line = ibx_emit_iota(c->call, total), index = line;
  ibx_val start = number(c, 0);
  int64_t most = 0;
  for (size_t i = 0; i < c->count; i++) {
    if (i != 0) {
      ibx_val gap = binary(c, IBX_TENSOR_sub, number(c, most), start);
      ibx_val before = binary(c, IBX_TENSOR_less, line, start);
      ibx_val moved = binary(c, IBX_TENSOR_add, line, gap);
      index = ibx_emit_select(c->call, before, index, moved);
    }
    ibx_val extent = ibx_extent(c->call, c->operand[i], axis);
    int64_t dim = ibx_dim(c->call, c->operand[i], axis);
    if (extent == IBX_NO_VALUE) extent = number(c, dim);
    start = binary(c, IBX_TENSOR_add, start, extent);
    most += dim;
  }
  *out_real = start;
  return index;
}

static ibx_val finish(carry *c);

// Parts of which one that is not the last has an extent leave gaps: a gather
// closes them.
static ibx_val carry_concat(carry *c) {
  int64_t axis = c->params.axis, total = 0;
  bool gaps = false, any = false;
  for (size_t i = 0; i < c->count; i++) {
    if (!keep(c, i, 0, axis) || !keep(c, i, axis + 1, rank_of(c, i))) {
      return c->operand[0];
    }
    any |= ibx_extent(c->call, c->operand[i], axis) != IBX_NO_VALUE;
    gaps |= any && i + 1 < c->count;
    total += ibx_dim(c->call, c->operand[i], axis);
  }
  ibx_val real = IBX_NO_VALUE, index = IBX_NO_VALUE;
  if (any) index = concat_index(c, axis, total, &real);
  ibx_val joined = finish(c);
  if (!any) return joined;
  if (gaps) {
    index = ibx_set_extent(c->call, index, 0, real);
    return ibx_emit_gather(c->call, joined, index, axis);
  }
  return ibx_set_extent(c->call, joined, axis, real);
}

// --- gather -------------------------------------------------------------------------

// Indices that are not valid become 0, those from the end of a dimension that
// has an extent are counted from its real end.
static bool carry_gather(carry *c) {
  ibx_call *call = c->call;
  int64_t axis = c->params.axis, added = rank_of(c, 1);
  ibx_val index = ibx_emit_cast(call, c->operand[1], IBX_DTYPE_I64);
  ibx_val extent = ibx_extent(call, c->operand[0], axis);
  if (extent != IBX_NO_VALUE) {
    ibx_val from_end = binary(c, IBX_TENSOR_less, index, number(c, 0));
    ibx_val moved = binary(c, IBX_TENSOR_add, index, extent);
    index = ibx_emit_select(call, from_end, moved, index);
    // Where nothing is valid an index may still be asked for.
    index = binary(c, IBX_TENSOR_max, index, number(c, 0));
  }
  for (int64_t d = 0; d < added; d++)
    c->real[axis + d] = ibx_extent(call, index, d);
  index = ibx_emit_all_masked(call, index, number(c, 0));
  c->operand[1] = index;
  for (int64_t d = 0; d < rank_of(c, 0); d++) {
    if (d == axis) continue;
    int64_t to = d < axis ? d : d - 1 + added;
    c->real[to] = ibx_extent(call, c->operand[0], d);
  }
  return true;
}

// --- reductions ---------------------------------------------------------------------

static bool is_reduced(const carry *c, int64_t dim) {
  for (uint8_t i = 0; i < c->params.axes.len; i++) {
    if (c->params.axes.at[i] == dim) return true;
  }
  return false;
}

// A mean is the sum by the number of valid elements, 0 where there are none, as
// ONNX Runtime has it.
static ibx_val carry_reduce(carry *c) {
  bool is_mean = false;
  ibx_val valid = number(c, 1);
  for (int64_t d = 0, to = 0; d < rank_of(c, 0); d++) {
    bool reduced = is_reduced(c, d);
    ibx_val extent = ibx_extent(c->call, c->operand[0], d);
    if (!reduced) c->real[to] = extent;
    if (!reduced || c->params.keepdims) to++;
    if (!reduced) continue;
    is_mean |= c->op == IBX_TENSOR_reduce_mean && extent != IBX_NO_VALUE;
    int64_t dim = ibx_dim(c->call, c->operand[0], d);
    valid = binary(c, IBX_TENSOR_mul, valid,
                   extent != IBX_NO_VALUE ? extent : number(c, dim));
    fill(c, 0, d);
  }
  if (!is_mean) return finish(c);
  c->op = IBX_TENSOR_reduce_sum;
  ibx_val sum = finish(c);
  valid = binary(c, IBX_TENSOR_max, valid, number(c, 1));
  ibx_dtype dtype = ibx_dtype_of(c->call, sum);
  return binary(c, IBX_TENSOR_div, sum, ibx_emit_cast(c->call, valid, dtype));
}

static bool carry_argmax(carry *c) {
  int64_t axis = c->params.axis, rank = rank_of(c, 0);
  fill(c, 0, axis);
  if (c->params.keepdims) return keep(c, 0, 0, rank);
  for (int64_t d = 0; d < rank; d++) {
    if (d != axis && !meet_from(c, d < axis ? d : d - 1, 0, d)) return false;
  }
  return true;
}

static bool carry_cumsum(carry *c) {
  bool stays = true;
  // From the beginning on, what is not valid comes too late to be added.
  if (!c->params.reverse) return keep(c, 0, 0, rank_of(c, 0));
  return along(c, c->params.axis, stays);
}

static bool carry_matmul(carry *c) {
  int64_t rank = rank_of(c, 0);
  fill(c, 0, rank - 1);
  fill(c, 1, rank - 2);
  return keep(c, 0, 0, rank - 1) && keep(c, 1, 0, rank - 2) &&
         meet_from(c, rank - 1, 1, rank - 1);
}

// Boxes that are not valid have the least score, which exceeds no limit.
static bool carry_suppress(carry *c) {
  int64_t last = rank_of(c, 1) - 1;
  ibx_val *scores = &c->operand[1];
  *scores = ibx_emit_masked(c->call, *scores, last,
                            ibx_emit_limit(c->call, IBX_DTYPE_F32, -1));
  return keep(c, 0, 0, last) && keep(c, 1, 0, last);
}

// A batch of windows; nothing else may have an extent.
static bool carry_window(carry *c) {
  for (size_t i = 0; i < c->count; i++) {
    for (int64_t d = i == 0 ? 1 : 0; d < rank_of(c, i); d++) {
      if (!is_fixed(c, i, d)) return false;
    }
  }
  return keep(c, 0, 0, 1);
}

static bool carry_norm(carry *c) {
  for (size_t i = 0; i < c->count; i++) {
    for (int64_t d = i == 0 ? c->params.axis : 0; d < rank_of(c, i); d++) {
      if (!is_fixed(c, i, d)) return false;
    }
  }
  return keep(c, 0, 0, c->params.axis);
}

// --- all operations -----------------------------------------------------------------

static bool prepare(carry *c) {
  switch (c->op) {
  case IBX_TENSOR_reshape: return carry_reshape(c);
  case IBX_TENSOR_transpose: return carry_transpose(c);
  case IBX_TENSOR_slice: return carry_slice(c);
  case IBX_TENSOR_broadcast: return carry_broadcast(c);
  case IBX_TENSOR_pad: return carry_pad(c);
  case IBX_TENSOR_gather: return carry_gather(c);
  case IBX_TENSOR_cumsum: return carry_cumsum(c);
  case IBX_TENSOR_argmax: return carry_argmax(c);
  case IBX_TENSOR_softmax: return along(c, c->params.axis, true);
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index:
  case IBX_TENSOR_nonzero: return along(c, c->params.axis, false);
  case IBX_TENSOR_suppress: return carry_suppress(c);
  case IBX_TENSOR_matmul: return carry_matmul(c);
  case IBX_TENSOR_layer_norm:
  case IBX_TENSOR_rms_norm: return carry_norm(c);
  case IBX_TENSOR_select:
  case IBX_TENSOR_wrap:
  case IBX_TENSOR_bitcast: return elementwise(c);
  default: break;
  }
  switch (ibx_tensor_op_get(c->op)->klass) {
  case IBX_KLASS_UNARY:
  case IBX_KLASS_BINARY:
  case IBX_KLASS_INTEGER:
  case IBX_KLASS_COMPARE: return elementwise(c);
  default: break;
  }
  return carry_window(c);
}

// Emits what is prepared, and notes the extents of the result.
static ibx_val finish(carry *c) {
  ibx_val result =
      ibx_emit_static(c->call, c->op, &c->params, c->operand, c->count);
  for (int64_t d = 0; d < IBX_MAX_RANK && !c->call->failed; d++) {
    if (c->real[d] == IBX_NO_VALUE) continue;
    if (ibx_force(c->call->import, c->real[d])) {
      result = ibx_set_extent(c->call, result, d, c->real[d]);
    } else {
      ibx_note_extent(c->call, result, d, c->real[d]);
    }
  }
  return result;
}

// --- bounds of integers ----------------------------------------------------------------

// The constant that an operand can be at least or at most.
static ibx_val bound_of(const carry *c, size_t operand, bool high) {
  ibx_val value = c->operand[operand];
  if (!ibx_is_bounded(c->call, value)) return value;
  const ibx_extents *notes = c->call->import->extents[value];
  return high ? notes->high : notes->low;
}

static bool is_positive(carry *c, ibx_val constant, double least) {
  const ibx_tensor *tensor = ibx_force(c->call->import, constant);
  if (!tensor) return false;
  for (int64_t i = 0; i < ibx_elements(&tensor->type); i++) {
    if (ibx_tensor_number(tensor, (size_t)i) < least) return false;
  }
  return true;
}

// Whether the operation grows with each operand, or, of a difference, the first.
static bool is_monotone(carry *c) {
  switch (c->op) {
  case IBX_TENSOR_reshape:
  case IBX_TENSOR_transpose:
  case IBX_TENSOR_slice:
  case IBX_TENSOR_broadcast:
  case IBX_TENSOR_concat:
  case IBX_TENSOR_add:
  case IBX_TENSOR_sub:
  case IBX_TENSOR_max:
  case IBX_TENSOR_min:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min: return true;
  case IBX_TENSOR_cast:
    return !ibx_is_float(c->params.dtype) && c->params.dtype != IBX_DTYPE_BOOL;
  case IBX_TENSOR_gather: return !ibx_is_bounded(c->call, c->operand[1]);
  case IBX_TENSOR_mul:
  case IBX_TENSOR_reduce_prod:
    for (size_t i = 0; i < c->count; i++) {
      if (!is_positive(c, bound_of(c, i, false), 0)) return false;
    }
    return true;
  case IBX_TENSOR_div:
    return !ibx_is_bounded(c->call, c->operand[1]) &&
           is_positive(c, c->operand[1], 1) &&
           is_positive(c, bound_of(c, 0, false), 0);
  default: return false;
  }
}

static bool is_bounded_call(carry *c) {
  bool any = false;
  for (size_t i = 0; i < c->count; i++) {
    bool bounded = ibx_is_bounded(c->call, c->operand[i]);
    if (!bounded && !ibx_is_known(c->call, c->operand[i])) return false;
    if (ibx_is_float(ibx_dtype_of(c->call, c->operand[i]))) return false;
    if (ibx_has_extent(c->call, c->operand[i])) return false;
    any |= bounded;
  }
  return any && is_monotone(c);
}

static ibx_val emit_bound(carry *c, bool high) {
  ibx_val bounds[IBX_NODE_OPERANDS];
  for (size_t i = 0; i < c->count; i++) {
    bool falls = c->op == IBX_TENSOR_sub && i == 1;
    bounds[i] = bound_of(c, i, high != falls);
  }
  return ibx_emit_static(c->call, c->op, &c->params, bounds, c->count);
}

static bool same_value(ibx_call *call, ibx_val a, ibx_val b) {
  if (a == b) return true;
  const ibx_tensor *x = ibx_force(call->import, a);
  const ibx_tensor *y = x ? ibx_force(call->import, b) : NULL;
  return y && x->type.rank == 0 && y->type.rank == 0 &&
         x->type.dtype == y->type.dtype &&
         ibx_tensor_int(x, 0) == ibx_tensor_int(y, 0);
}

// Numbers that were made of extents before: only who sees that two extents are
// the same one knows that tensors have the same shape.
static ibx_val find_made(const carry *c) {
  const ibx_graph *graph = &c->call->import->graph;
  for (size_t n = graph->node_count; n-- > 0;) {
    const ibx_node *node = &graph->nodes[n];
    if (node->op != c->op || node->operand_count != c->count) continue;
    if (!ibx_is_bounded(c->call, node->result) ||
        ibx_rank(c->call, node->result) != 0 ||
        memcmp(&node->params, &c->params, sizeof(c->params)) != 0) {
      continue;
    }
    bool same = true;
    for (size_t i = 0; same && i < c->count; i++)
      same = same_value(c->call, node->operand[i], c->operand[i]);
    if (same) return node->result;
  }
  return IBX_NO_VALUE;
}

ibx_val ibx_emit_carried(ibx_call *call, ibx_tensor_op op,
                         const ibx_params *params, const ibx_val *operands,
                         size_t count) {
  carry c = {.call = call, .op = op, .count = count};
  if (params) c.params = *params;
  memcpy(c.operand, operands, count * sizeof(*operands));
  for (size_t d = 0; d < IBX_MAX_RANK; d++)
    c.real[d] = IBX_NO_VALUE;
  ibx_val low = IBX_NO_VALUE, high = IBX_NO_VALUE, result;
  if (is_bounded_call(&c)) {
    result = find_made(&c);
    if (result != IBX_NO_VALUE) return result;
    low = emit_bound(&c, false);
    high = emit_bound(&c, true);
  }
  if (op == IBX_TENSOR_concat) {
    result = carry_concat(&c);
  } else if (ibx_tensor_op_get(op)->klass == IBX_KLASS_REDUCE) {
    result = carry_reduce(&c);
  } else {
    result = prepare(&c) ? finish(&c) : operands[0];
  }
  if (low != IBX_NO_VALUE) ibx_set_bounds(call, result, low, high);
  return call->failed ? operands[0] : result;
}
