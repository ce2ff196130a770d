// SPDX-License-Identifier: Apache-2.0
//
// Integers on a machine that computes in fp32 and saturates. Comes in a node and
// the ranges of its operands; goes out the same node where fp32 is exact, else
// operations that wrap. Products become floating ones: exact, as long as no sum
// passes 2^24, so the contracted dimension is cut into parts of which that holds
// (legalise_sums.c), and the parts are added as integers.

#include "passes/legalise.h"

#include <math.h>

static const struct {
  ibx_tensor_op op, integer;
} TWINS[] = {
    {IBX_TENSOR_add, IBX_TENSOR_int_add}, {IBX_TENSOR_sub, IBX_TENSOR_int_sub},
    {IBX_TENSOR_mul, IBX_TENSOR_int_mul}, {IBX_TENSOR_div, IBX_TENSOR_int_div},
    {IBX_TENSOR_max, IBX_TENSOR_int_max}, {IBX_TENSOR_min, IBX_TENSOR_int_min},
};

static bool is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

static ibx_dtype dtype_of(const ibx_rewrite *rewrite, uint32_t old) {
  return rewrite->old->values[old].type.dtype;
}

// The largest and least integer that fp32 and the dtype hold.
static ibx_range held_by(ibx_dtype dtype) {
  int bits = (int)ibx_dtype_get(dtype)->bits;
  bool has_sign = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  double most = ldexp(1, has_sign ? bits - 1 : bits) - 1;
  return (ibx_range){.low = has_sign ? fmax(-most - 1, -IBX_EXACT_INTEGER) : 0,
                     .high = fmin(most, IBX_EXACT_INTEGER)};
}

static bool lies_in(ibx_range range, ibx_range limits) {
  return range.low >= limits.low && range.high <= limits.high;
}

// ---- Two operands

static bool is_exact(const ibx_rewrite *rewrite, const ibx_node *node,
                     const ibx_range *ranges) {
  ibx_range a = ranges[node->operand[0]], b = ranges[node->operand[1]];
  ibx_range limits = held_by(dtype_of(rewrite, node->result));
  // A quotient is a product with a rounded reciprocal.
  if (node->op == IBX_TENSOR_div) return false;
  if (!lies_in(a, limits) || !lies_in(b, limits)) return false;
  if (node->op == IBX_TENSOR_max || node->op == IBX_TENSOR_min) return true;
  return lies_in(ibx_range_of_pair(node->op, a, b), limits);
}

static bool legalise_pair(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_range *ranges) {
  for (size_t i = 0; i < IBX_COUNT_OF(TWINS); i++) {
    if (TWINS[i].op != node->op) continue;
    if (is_exact(rewrite, node, ranges)) return false;
    ibx_node copy = *node;
    copy.op = TWINS[i].integer;
    ibx_rewrite_copy(rewrite, &copy);
    return true;
  }
  return false;
}

// ---- To another dtype

static ibx_dtype narrowed(ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_I64) return IBX_DTYPE_I32;
  return dtype == IBX_DTYPE_U64 ? IBX_DTYPE_U32 : dtype;
}

static bool legalise_cast(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_range *ranges) {
  ibx_dtype from = dtype_of(rewrite, node->operand[0]);
  ibx_dtype to = narrowed(dtype_of(rewrite, node->result));
  if (!is_whole(from) || narrowed(from) == to ||
      lies_in(ranges[node->operand[0]], held_by(to))) {
    return false;
  }
  ibx_node copy = *node;
  copy.op = IBX_TENSOR_wrap;
  copy.params.dtype = to;
  ibx_rewrite_copy(rewrite, &copy);
  return true;
}

// ---- Products

/// How the contracted dimension can be cut.
typedef struct cut {
  uint8_t axis[2]; ///< of each operand
  int64_t extent;
  bool is_whole; ///< it cannot be cut
} cut;

static cut cut_of(const ibx_rewrite *rewrite, const ibx_node *node) {
  const ibx_type *a = &rewrite->old->values[node->operand[0]].type;
  const ibx_type *b = &rewrite->old->values[node->operand[1]].type;
  cut c = {.is_whole = false};
  if (node->op == IBX_TENSOR_matmul) {
    c.axis[0] = a->rank - 1;
    c.axis[1] = b->rank - 2;
  } else {
    c.axis[0] = 1;
    c.axis[1] = node->op == IBX_TENSOR_conv ? 1 : 0;
    c.is_whole = node->params.groups > 1;
  }
  c.extent = b->dims[c.axis[1]];
  if (node->op == IBX_TENSOR_conv_transpose) c.extent /= node->params.groups;
  return c;
}

static ibx_parts find_parts(const ibx_rewrite *rewrite, const ibx_node *node,
                            const cut *c, const ibx_range *ranges,
                            ibx_arena *work) {
  ibx_parts_memo *memo = rewrite->ctx->memo;
  uint64_t key =
      memo ? ibx_parts_key(rewrite->old, node, c->axis[1], ranges) : 0;
  const ibx_parts *known = ibx_parts_recall(memo, key);
  if (known) return *known;
  ibx_sums sums = ibx_sums_of(rewrite->old, node, c->axis[1], ranges, work);
  ibx_parts found = {.is_exact = true};
  for (int64_t start = 0; found.is_exact && start < c->extent; found.count++) {
    int64_t end = ibx_sums_end(&sums, start, IBX_EXACT_INTEGER);
    found.is_exact = end > start && found.count < IBX_MOST_PARTS;
    if (found.is_exact) found.end[found.count] = start = end;
  }
  if (found.count > 1 && c->is_whole) found.is_exact = false;
  ibx_parts_note(memo, key, &found);
  return found;
}

// A part of an operand, in fp32.
static uint32_t part_of(ibx_rewrite *rewrite, uint32_t value, uint8_t axis,
                        int64_t start, int64_t count) {
  const ibx_type type = rewrite->graph.values[value].type;
  ibx_params slice = {.starts = {.len = type.rank},
                      .shape = {.len = type.rank},
                      .steps = {.len = type.rank}};
  for (uint8_t d = 0; d < type.rank; d++) {
    slice.shape.at[d] = type.dims[d];
    slice.steps.at[d] = 1;
  }
  slice.starts.at[axis] = start;
  slice.shape.at[axis] = count;
  if (count != type.dims[axis]) {
    value = ibx_rewrite_add(rewrite, IBX_TENSOR_slice, &slice, &value, 1);
  }
  ibx_params real = {.dtype = IBX_DTYPE_F32};
  return ibx_rewrite_add(rewrite, IBX_TENSOR_cast, &real, &value, 1);
}

static bool legalise_product(ibx_rewrite *rewrite, const ibx_node *node,
                             const ibx_range *ranges, ibx_arena *work) {
  cut c = cut_of(rewrite, node);
  const ibx_parts found = find_parts(rewrite, node, &c, ranges, work);
  if (!found.is_exact) {
    // What cannot be made exact is left to be refused.
    if (node->op != IBX_TENSOR_matmul) return false;
    rewrite->map[node->result] =
        ibx_wide_matmul(rewrite, rewrite->map[node->operand[0]],
                        rewrite->map[node->operand[1]]);
    return true;
  }
  ibx_dtype wide =
      rewrite->graph.values[rewrite->map[node->operand[0]]].type.dtype;
  ibx_params whole = {.dtype = wide};
  uint32_t sum = IBX_NO_VALUE;
  int64_t start = 0;
  for (size_t k = 0; k < found.count; start = found.end[k++]) {
    int64_t count = found.end[k] - start;
    uint32_t operands[2];
    for (size_t i = 0; i < 2; i++) {
      uint32_t value = rewrite->map[node->operand[i]];
      // With groups the two extents differ; then there is one part.
      int64_t all = rewrite->graph.values[value].type.dims[c.axis[i]];
      operands[i] = part_of(rewrite, value, c.axis[i], start,
                            found.count > 1 ? count : all);
    }
    uint32_t part =
        ibx_rewrite_add(rewrite, node->op, &node->params, operands, 2);
    part = ibx_rewrite_add(rewrite, IBX_TENSOR_cast, &whole, &part, 1);
    uint32_t terms[] = {sum, part};
    sum = sum == IBX_NO_VALUE ? part
                              : ibx_rewrite_add(rewrite, IBX_TENSOR_int_add,
                                                &(ibx_params){0}, terms, 2);
  }
  rewrite->map[node->result] = sum;
  return true;
}

bool ibx_legalise_integer(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_range *ranges, ibx_arena *work) {
  if (!is_whole(dtype_of(rewrite, node->result))) return false;
  switch (ibx_tensor_op_get(node->op)->klass) {
  case IBX_KLASS_BINARY: return legalise_pair(rewrite, node, ranges);
  case IBX_KLASS_CONTRACT: return legalise_product(rewrite, node, ranges, work);
  default: break;
  }
  return node->op == IBX_TENSOR_cast && legalise_cast(rewrite, node, ranges);
}
