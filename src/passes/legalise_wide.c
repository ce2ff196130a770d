// SPDX-License-Identifier: Apache-2.0
//
// Integers that fp32 does not hold, where an engine would take them through it.
// Comes in a node whose operands, or whose result, may pass 2^24; goes out the
// same from operations that are exact for all 32 bits: sums and the largest of
// many in halves, comparisons of bits, products of parts of 8 bits.

#include "passes/legalise.h"

#include <math.h>

enum { LIMB_BITS = 8, LIMBS = 4, LIMB_TERMS = 256 };

static uint32_t unary(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t x) {
  return ibx_rewrite_add(rewrite, op, &(ibx_params){0}, &x, 1);
}

static uint32_t binary(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t a,
                       uint32_t b) {
  uint32_t operands[] = {a, b};
  return ibx_rewrite_add(rewrite, op, &(ibx_params){0}, operands, 2);
}

static uint32_t cast(ibx_rewrite *rewrite, uint32_t x, ibx_dtype dtype) {
  ibx_params params = {.dtype = dtype};
  if (x == IBX_NO_VALUE || rewrite->graph.values[x].type.dtype == dtype) {
    return x;
  }
  return ibx_rewrite_add(rewrite, IBX_TENSOR_cast, &params, &x, 1);
}

// A number of the type of `like`.
static uint32_t number(ibx_rewrite *rewrite, uint32_t like, int64_t value) {
  if (like == IBX_NO_VALUE) return like;
  const ibx_type type = rewrite->graph.values[like].type;
  int64_t *data = IBX_ARENA_ARRAY(rewrite->ctx->arena, 1, int64_t);
  *data = value; // little endian: the low bytes are the narrow integer
  ibx_weight weight = {.type = {.rank = type.rank, .dtype = type.dtype},
                       .data = data,
                       .name = "number"};
  ibx_params one = {.shape = {.len = type.rank}, .dtype = type.dtype};
  ibx_params full = {.shape = {.len = type.rank}};
  for (uint8_t d = 0; d < type.rank; d++) {
    weight.type.dims[d] = one.shape.at[d] = 1;
    full.shape.at[d] = type.dims[d];
  }
  one.weight =
      ibx_tables_add_weight(rewrite->graph.tables, rewrite->ctx->arena, weight);
  uint32_t scalar =
      ibx_rewrite_add(rewrite, IBX_TENSOR_constant, &one, NULL, 0);
  return ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &full, &scalar, 1);
}

// ---- Comparisons

// Whether the integers differ: no bit of the difference is lost in fp32.
static uint32_t differ(ibx_rewrite *rewrite, uint32_t a, uint32_t b) {
  return cast(rewrite, binary(rewrite, IBX_TENSOR_bit_xor, a, b),
              IBX_DTYPE_BOOL);
}

uint32_t ibx_wide_compare(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t a,
                          uint32_t b) {
  if (op == IBX_TENSOR_equal) {
    return unary(rewrite, IBX_TENSOR_not, differ(rewrite, a, b));
  }
  // a < b where the larger one is not a; a <= b where it is b.
  uint32_t larger = binary(rewrite, IBX_TENSOR_int_max, a, b);
  if (op == IBX_TENSOR_less) return differ(rewrite, larger, a);
  return unary(rewrite, IBX_TENSOR_not, differ(rewrite, larger, b));
}

// ---- One operand

static uint32_t wide_unary(ibx_rewrite *rewrite, const ibx_node *node,
                           uint32_t x, bool has_sign) {
  const ibx_params *p = &node->params;
  switch (node->op) {
  case IBX_TENSOR_neg:
    return binary(rewrite, IBX_TENSOR_int_sub, number(rewrite, x, 0), x);
  case IBX_TENSOR_abs:
    if (!has_sign) return x;
    return binary(
        rewrite, IBX_TENSOR_int_max, x,
        binary(rewrite, IBX_TENSOR_int_sub, number(rewrite, x, 0), x));
  case IBX_TENSOR_relu:
    if (!has_sign) return x;
    return binary(rewrite, IBX_TENSOR_int_max, x, number(rewrite, x, 0));
  default: break; // clip
  }
  double limit = ldexp(1, has_sign ? 31 : 32);
  double low = (double)p->alpha, high = (double)p->beta;
  if (low > (has_sign ? -limit : 0)) {
    x = binary(rewrite, IBX_TENSOR_int_max, x,
               number(rewrite, x, (int64_t)fmin(low, limit - 1)));
  }
  if (high < limit) {
    high = fmax(high, has_sign ? -limit : 0);
    x = binary(rewrite, IBX_TENSOR_int_min, x,
               number(rewrite, x, (int64_t)high));
  }
  return x;
}

// ---- Along a dimension

static int64_t extent_of(const ibx_rewrite *rewrite, uint32_t value,
                         uint8_t axis) {
  return value == IBX_NO_VALUE ? 1
                               : rewrite->graph.values[value].type.dims[axis];
}

// The first half with the second one, until one element is left; what is over
// waits at the end.
static uint32_t in_halves(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t x,
                          uint8_t axis) {
  for (int64_t extent; (extent = extent_of(rewrite, x, axis)) > 1;) {
    int64_t half = extent / 2;
    uint32_t low = ibx_rewrite_slice(rewrite, x, axis, 0, half);
    uint32_t high = ibx_rewrite_slice(rewrite, x, axis, half, 2 * half);
    uint32_t parts[] = {binary(rewrite, op, low, high), IBX_NO_VALUE};
    if (extent > 2 * half) {
      parts[1] = ibx_rewrite_slice(rewrite, x, axis, 2 * half, extent);
      ibx_params params = {.axis = axis};
      parts[0] = ibx_rewrite_add(rewrite, IBX_TENSOR_concat, &params, parts, 2);
    }
    x = parts[0];
  }
  return x;
}

uint32_t ibx_wide_reduce(ibx_rewrite *rewrite, ibx_tensor_op op,
                         const ibx_params *params, uint32_t x) {
  static const ibx_tensor_op steps[][2] = {
      {IBX_TENSOR_reduce_sum, IBX_TENSOR_int_add},
      {IBX_TENSOR_reduce_max, IBX_TENSOR_int_max},
      {IBX_TENSOR_reduce_min, IBX_TENSOR_int_min},
      {IBX_TENSOR_reduce_prod, IBX_TENSOR_int_mul}};
  const ibx_type type = rewrite->graph.values[x].type;
  ibx_params left = {.shape = {.len = 0}};
  bool is_reduced[IBX_MAX_RANK] = {false};
  for (size_t s = 0; s < IBX_COUNT_OF(steps); s++) {
    for (uint8_t i = 0; i < params->axes.len && steps[s][0] == op; i++) {
      is_reduced[params->axes.at[i]] = true;
      x = in_halves(rewrite, steps[s][1], x, (uint8_t)params->axes.at[i]);
    }
  }
  for (uint8_t d = 0; d < type.rank; d++) {
    if (!is_reduced[d]) left.shape.at[left.shape.len++] = type.dims[d];
  }
  if (params->keepdims) return x;
  return ibx_rewrite_add(rewrite, IBX_TENSOR_reshape, &left, &x, 1);
}

// Elements `step` places later, or earlier where `reverse`, after zeros.
static uint32_t shifted(ibx_rewrite *rewrite, uint32_t x, uint8_t axis,
                        int64_t step, bool reverse) {
  int64_t extent = extent_of(rewrite, x, axis);
  if (x == IBX_NO_VALUE) return x;
  uint8_t rank = rewrite->graph.values[x].type.rank;
  ibx_params params = {.low = {.len = rank}, .high = {.len = rank}};
  if (reverse) {
    x = ibx_rewrite_slice(rewrite, x, axis, step, extent);
    params.high.at[axis] = step;
  } else {
    x = ibx_rewrite_slice(rewrite, x, axis, 0, extent - step);
    params.low.at[axis] = step;
  }
  return ibx_rewrite_add(rewrite, IBX_TENSOR_pad, &params, &x, 1);
}

// After the step of 2^k every element is the sum of 2^(k + 1).
static uint32_t running_sum(ibx_rewrite *rewrite, const ibx_node *node,
                            uint32_t x) {
  uint8_t axis = (uint8_t)node->params.axis;
  int64_t extent = extent_of(rewrite, x, axis);
  bool reverse = node->params.reverse != 0;
  if (node->params.exclusive && extent == 1) return number(rewrite, x, 0);
  if (node->params.exclusive && extent > 1) {
    x = shifted(rewrite, x, axis, 1, reverse);
  }
  for (int64_t step = 1; step < extent; step *= 2) {
    x = binary(rewrite, IBX_TENSOR_int_add, x,
               shifted(rewrite, x, axis, step, reverse));
  }
  return x;
}

// ---- Products

// Bits of the integers from `first` on, in fp32.
static uint32_t limb(ibx_rewrite *rewrite, uint32_t x, int64_t first) {
  if (first > 0) {
    x = binary(rewrite, IBX_TENSOR_shift_right, x, number(rewrite, x, first));
  }
  x = binary(rewrite, IBX_TENSOR_bit_and, x,
             number(rewrite, x, (1 << LIMB_BITS) - 1));
  return cast(rewrite, x, IBX_DTYPE_F32);
}

// Products of the parts whose lowest bits are those of the result; each is
// exact in fp32, their sums wrap as the integers do.
static uint32_t product_of(ibx_rewrite *rewrite, uint32_t a, uint32_t b,
                           ibx_dtype dtype) {
  uint32_t left[LIMBS], right[LIMBS], sum = IBX_NO_VALUE;
  for (int64_t i = 0; i < LIMBS; i++) {
    left[i] = limb(rewrite, a, i * LIMB_BITS);
    right[i] = limb(rewrite, b, i * LIMB_BITS);
  }
  for (int64_t at = 0; at < LIMBS; at++) {
    for (int64_t i = 0; i <= at; i++) {
      uint32_t part =
          binary(rewrite, IBX_TENSOR_matmul, left[i], right[at - i]);
      part = cast(rewrite, part, dtype);
      if (at > 0) {
        part = binary(rewrite, IBX_TENSOR_shift_left, part,
                      number(rewrite, part, at * LIMB_BITS));
      }
      sum = at == 0 ? part : binary(rewrite, IBX_TENSOR_int_add, sum, part);
    }
  }
  return sum;
}

uint32_t ibx_wide_matmul(ibx_rewrite *rewrite, uint32_t a, uint32_t b) {
  const ibx_type type = rewrite->graph.values[a].type;
  uint8_t row = (uint8_t)(type.rank - 1), column = (uint8_t)(type.rank - 2);
  bool is_unsigned = type.dtype == IBX_DTYPE_U32;
  ibx_dtype wide = is_unsigned ? IBX_DTYPE_U32 : IBX_DTYPE_I32;
  uint32_t sum = IBX_NO_VALUE;
  a = cast(rewrite, a, wide);
  b = cast(rewrite, b, wide);
  for (int64_t start = 0; start < type.dims[row]; start += LIMB_TERMS) {
    int64_t end = start + LIMB_TERMS;
    if (end > type.dims[row]) end = type.dims[row];
    uint32_t part =
        product_of(rewrite, ibx_rewrite_slice(rewrite, a, row, start, end),
                   ibx_rewrite_slice(rewrite, b, column, start, end), wide);
    sum = start == 0 ? part : binary(rewrite, IBX_TENSOR_int_add, sum, part);
  }
  if (wide == type.dtype) return sum;
  ibx_params params = {.dtype = type.dtype};
  return ibx_rewrite_add(rewrite, IBX_TENSOR_wrap, &params, &sum, 1);
}

// ---- All

static bool is_wide(const ibx_rewrite *rewrite, uint32_t value,
                    const ibx_range *ranges) {
  ibx_dtype dtype = rewrite->old->values[value].type.dtype;
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return (kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT) &&
         ibx_range_magnitude(ranges[value]) > IBX_EXACT_INTEGER;
}

bool ibx_is_wide(const ibx_rewrite *rewrite, const ibx_node *node,
                 const ibx_range *ranges) {
  bool wide = is_wide(rewrite, node->result, ranges);
  for (uint32_t i = 0; i < node->operand_count; i++)
    wide |= is_wide(rewrite, node->operand[i], ranges);
  return wide;
}

// Whether rounding to fp32 keeps a comparison: one side has only numbers below
// 2^24, which it has all of, and what is larger stays larger.
static bool survives_rounding(const ibx_node *node, const ibx_range *ranges) {
  if (ibx_tensor_op_get(node->op)->klass != IBX_KLASS_COMPARE) return false;
  for (uint32_t i = 0; i < 2; i++) {
    const ibx_range *range = &ranges[node->operand[i]];
    if (range->low > -IBX_EXACT_INTEGER && range->high < IBX_EXACT_INTEGER)
      return true;
  }
  return false;
}

bool ibx_legalise_wide(ibx_rewrite *rewrite, const ibx_node *node,
                       const ibx_range *ranges) {
  if (node->operand_count == 0 || !ibx_is_wide(rewrite, node, ranges) ||
      survives_rounding(node, ranges)) {
    return false;
  }
  uint32_t x = rewrite->map[node->operand[0]],
           *out = &rewrite->map[node->result];
  if (rewrite->status != IBX_OK) return false;
  ibx_dtype dtype = rewrite->graph.values[x].type.dtype;
  bool has_sign = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  switch (node->op) {
  case IBX_TENSOR_equal:
  case IBX_TENSOR_less:
  case IBX_TENSOR_less_equal:
    *out =
        ibx_wide_compare(rewrite, node->op, x, rewrite->map[node->operand[1]]);
    return true;
  case IBX_TENSOR_neg:
  case IBX_TENSOR_abs:
  case IBX_TENSOR_relu:
  case IBX_TENSOR_clip:
    *out = wide_unary(rewrite, node, x, has_sign);
    return true;
  case IBX_TENSOR_reduce_sum:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min:
  case IBX_TENSOR_reduce_prod:
    for (uint8_t i = 0; i < node->params.axes.len; i++) {
      if (extent_of(rewrite, x, (uint8_t)node->params.axes.at[i]) == 0) {
        return false;
      }
    }
    *out = ibx_wide_reduce(rewrite, node->op, &node->params, x);
    return true;
  case IBX_TENSOR_cumsum: *out = running_sum(rewrite, node, x); return true;
  default: return false;
  }
}
