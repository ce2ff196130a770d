// SPDX-License-Identifier: Apache-2.0
//
// Ranges of integers, operation by operation in program order, and which floating
// values are whole. Comes in a graph; goes out what its integers can be at most.
// Holds: where an operation is not known here its result has the range of its
// dtype.

#include "passes/range.h"

#include "imbrex/tensor.h"

#include <math.h>
#include <string.h>

enum { MOST_SCANNED = 1 << 20 }; // elements of a constant that are looked at

double ibx_range_magnitude(ibx_range range) {
  return fmax(fabs(range.low), fabs(range.high));
}

static ibx_range of_dtype(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  int bits = (int)info->bits;
  switch (info->kind) {
  case IBX_DTYPE_KIND_BOOL: return (ibx_range){0, 1};
  case IBX_DTYPE_KIND_UINT: return (ibx_range){0, ldexp(1, bits) - 1};
  case IBX_DTYPE_KIND_SINT:
    return (ibx_range){-ldexp(1, bits - 1), ldexp(1, bits - 1) - 1};
  default: return (ibx_range){-INFINITY, INFINITY};
  }
}

static ibx_range join(ibx_range a, ibx_range b) {
  return (ibx_range){fmin(a.low, b.low), fmax(a.high, b.high)};
}

// The least and the largest of `count` elements of a type.
#define LIMITS(type)                                                           \
  do {                                                                         \
    type low, high, x;                                                         \
    memcpy(&low, data, sizeof low);                                            \
    high = low;                                                                \
    for (size_t i = 1; i < count; i++) {                                       \
      memcpy(&x, data + i * sizeof x, sizeof x);                               \
      low = x < low ? x : low;                                                 \
      high = x > high ? x : high;                                              \
    }                                                                          \
    return (ibx_range){(double)low, (double)high};                             \
  } while (0)

static ibx_range of_signed(const uint8_t *data, size_t count, size_t size) {
  switch (size) {
  case 1: LIMITS(int8_t);
  case 2: LIMITS(int16_t);
  case 4: LIMITS(int32_t);
  default: LIMITS(int64_t);
  }
}

static ibx_range of_unsigned(const uint8_t *data, size_t count, size_t size) {
  switch (size) {
  case 1: LIMITS(uint8_t);
  case 2: LIMITS(uint16_t);
  case 4: LIMITS(uint32_t);
  default: LIMITS(uint64_t);
  }
}

static ibx_range of_constant(const ibx_weight *weight) {
  ibx_range all = of_dtype(weight->type.dtype);
  int64_t elements = 0;
  if (!ibx_type_elements(&weight->type, &elements) || elements == 0 ||
      elements > MOST_SCANNED || isinf(all.high)) {
    return all;
  }
  size_t size = ibx_dtype_bytes(weight->type.dtype);
  bool is_signed =
      ibx_dtype_get(weight->type.dtype)->kind == IBX_DTYPE_KIND_SINT;
  return (is_signed ? of_signed : of_unsigned)(weight->data, (size_t)elements,
                                               size);
}

ibx_range ibx_range_of_pair(ibx_tensor_op op, ibx_range a, ibx_range b) {
  double corners[] = {a.low * b.low, a.low * b.high, a.high * b.low,
                      a.high * b.high};
  switch (op) {
  case IBX_TENSOR_add: return (ibx_range){a.low + b.low, a.high + b.high};
  case IBX_TENSOR_sub: return (ibx_range){a.low - b.high, a.high - b.low};
  default: break; // a product
  }
  ibx_range range = {corners[0], corners[0]};
  for (size_t i = 1; i < IBX_COUNT_OF(corners); i++)
    range = join(range, (ibx_range){corners[i], corners[i]});
  return range;
}

static ibx_range clipped(ibx_range range, double low, double high) {
  return (ibx_range){fmin(fmax(range.low, low), high),
                     fmin(fmax(range.high, low), high)};
}

// `count` terms of the range, or fewer.
static ibx_range summed(ibx_range range, double count) {
  return (ibx_range){fmin(range.low * count, range.low),
                     fmax(range.high * count, range.high)};
}

static double reduced_elements(const ibx_graph *graph, const ibx_node *node) {
  int64_t in = 0, out = 0;
  ibx_type_elements(&graph->values[node->operand[0]].type, &in);
  ibx_type_elements(&graph->values[node->result].type, &out);
  return out > 0 ? (double)in / (double)out : 1;
}

// The exact result, of integers; false where nothing is known.
static bool exact(const ibx_graph *graph, const ibx_node *node,
                  const ibx_range *ranges, ibx_range *out) {
  const ibx_params *p = &node->params;
  const ibx_type *type = &graph->values[node->operand[0]].type;
  ibx_range a = ranges[node->operand[0]];
  ibx_range b = node->operand_count > 1 ? ranges[node->operand[1]] : a;
  double most = ibx_range_magnitude(a);
  *out = a;
  switch (node->op) {
  case IBX_TENSOR_reshape:
  case IBX_TENSOR_transpose:
  case IBX_TENSOR_slice:
  case IBX_TENSOR_broadcast:
  case IBX_TENSOR_gather:
  case IBX_TENSOR_top:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min:
  case IBX_TENSOR_reduce_mean:
  case IBX_TENSOR_max_pool: return true;
  case IBX_TENSOR_cast: return !isinf(a.high); // of integers
  case IBX_TENSOR_add:
  case IBX_TENSOR_sub:
  case IBX_TENSOR_mul: *out = ibx_range_of_pair(node->op, a, b); return true;
  case IBX_TENSOR_neg: *out = (ibx_range){-a.high, -a.low}; return true;
  case IBX_TENSOR_abs: *out = (ibx_range){0, most}; return true;
  case IBX_TENSOR_sign: *out = (ibx_range){-1, 1}; return true;
  case IBX_TENSOR_relu: *out = clipped(a, 0, INFINITY); return true;
  case IBX_TENSOR_clip:
    *out = clipped(a, (double)p->alpha, (double)p->beta);
    return true;
  case IBX_TENSOR_div: *out = (ibx_range){-most, most}; return true;
  case IBX_TENSOR_max:
  case IBX_TENSOR_min:
  case IBX_TENSOR_concat:
    for (uint32_t i = 1; i < node->operand_count; i++)
      *out = join(*out, ranges[node->operand[i]]);
    return true;
  case IBX_TENSOR_select: *out = join(b, ranges[node->operand[2]]); return true;
  case IBX_TENSOR_pad:
    *out = join(a, (ibx_range){(double)p->value, (double)p->value});
    return true;
  case IBX_TENSOR_reduce_sum:
    *out = summed(a, reduced_elements(graph, node));
    return true;
  case IBX_TENSOR_cumsum:
    *out = join((ibx_range){0, 0}, summed(a, (double)type->dims[p->axis]));
    return true;
  case IBX_TENSOR_argmax:
  case IBX_TENSOR_top_index:
    *out = (ibx_range){0, (double)type->dims[p->axis]};
    return true;
  case IBX_TENSOR_nonzero:
    *out = (ibx_range){-1, (double)type->dims[p->axis]};
    return true;
  case IBX_TENSOR_suppress:
    *out = (ibx_range){-1, (double)type->dims[type->rank - 1]};
    return true;
  default: return false;
  }
}

ibx_range *ibx_ranges(const ibx_graph *graph, ibx_arena *arena) {
  ibx_range *ranges = IBX_ARENA_ARRAY(arena, graph->value_count, ibx_range);
  for (size_t v = 0; v < graph->value_count; v++)
    ranges[v] = of_dtype(graph->values[v].type.dtype);
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    ibx_range *range = &ranges[node->result], found;
    const ibx_weight *weight = ibx_graph_constant(graph, node->result);
    if (isinf(range->high)) continue; // a float
    if (weight) {
      *range = of_constant(weight);
    } else if (node->operand_count > 0 && exact(graph, node, ranges, &found) &&
               found.low >= range->low && found.high <= range->high) {
      *range = found;
    }
  }
  return ranges;
}

// ---- Whole numbers in floating types. Rounding keeps them whole, since every
// type holds all integers up to where its steps are larger than 1.

enum { WHOLE_DEPTH = 8 }; // operations that are looked through

static bool is_whole_number(float x) { return x == rintf(x); }

static bool is_whole_constant(const ibx_weight *weight) {
  int64_t elements = 0;
  float x;
  if (!ibx_type_elements(&weight->type, &elements) || elements != 1)
    return false;
  ibx_dtype_load_f32(weight->type.dtype, weight->data, &x, 1);
  return is_whole_number(x);
}

static bool is_whole(const ibx_graph *graph, uint32_t value, int depth);

static bool are_whole(const ibx_graph *graph, const ibx_node *node,
                      uint32_t from, uint32_t end, int depth) {
  for (uint32_t i = from; i < end; i++) {
    if (!is_whole(graph, node->operand[i], depth - 1)) return false;
  }
  return true;
}

static bool is_whole(const ibx_graph *graph, uint32_t value, int depth) {
  ibx_dtype dtype = graph->values[value].type.dtype;
  uint32_t maker = graph->values[value].node;
  if (!isinf(of_dtype(dtype).high)) return true; // an integer
  if (depth == 0 || maker == IBX_NO_VALUE) return false;
  const ibx_node *node = &graph->nodes[maker];
  const ibx_params *p = &node->params;
  switch (node->op) {
  case IBX_TENSOR_constant:
    return is_whole_constant(&graph->tables->weights[p->weight]);
  case IBX_TENSOR_round:
  case IBX_TENSOR_floor:
  case IBX_TENSOR_ceil:
  case IBX_TENSOR_sign: return true;
  case IBX_TENSOR_clip:
  case IBX_TENSOR_affine:
    if (!is_whole_number(p->alpha) || !is_whole_number(p->beta)) return false;
    return are_whole(graph, node, 0, 1, depth);
  case IBX_TENSOR_pad:
    return is_whole_number(p->value) && are_whole(graph, node, 0, 1, depth);
  case IBX_TENSOR_gather: return are_whole(graph, node, 0, 1, depth);
  case IBX_TENSOR_select: return are_whole(graph, node, 1, 3, depth);
  case IBX_TENSOR_cast:
  case IBX_TENSOR_neg:
  case IBX_TENSOR_abs:
  case IBX_TENSOR_relu:
  case IBX_TENSOR_reshape:
  case IBX_TENSOR_transpose:
  case IBX_TENSOR_slice:
  case IBX_TENSOR_broadcast:
  case IBX_TENSOR_concat:
  case IBX_TENSOR_add:
  case IBX_TENSOR_sub:
  case IBX_TENSOR_mul:
  case IBX_TENSOR_max:
  case IBX_TENSOR_min:
  case IBX_TENSOR_reduce_sum:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min:
  case IBX_TENSOR_max_pool:
  case IBX_TENSOR_matmul:
  case IBX_TENSOR_conv:
  case IBX_TENSOR_conv_transpose:
    return are_whole(graph, node, 0, node->operand_count, depth);
  default: return false;
  }
}

bool ibx_is_whole(const ibx_graph *graph, uint32_t value) {
  return is_whole(graph, value, WHOLE_DEPTH);
}
