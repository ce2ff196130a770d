// SPDX-License-Identifier: Apache-2.0
//
// How far sums of integer products go. Comes in a contraction; goes out a bound
// of what each index of the contracted dimension adds to a sum. Weights that are
// computed from constants (quantised ones, less their zero point) are computed
// here: most of them are far smaller than the largest one, and sums of many are
// exact in fp32 that would not be if all were as large.

#include "passes/legalise.h"

#include "imbrex/tensor.h"

#include <math.h>
#include <string.h>

enum {
  MOST_EVALUATED = 1 << 25, // elements of weights
  EVALUATED_DEPTH = 6       // operations from the constants on
};

// ---- Constants

static bool is_evaluable(const ibx_node *node) {
  switch (ibx_tensor_op_get(node->op)->klass) {
  case IBX_KLASS_UNARY:
  case IBX_KLASS_BINARY:
  case IBX_KLASS_VIEW: return true;
  default: return false;
  }
}

// The elements of a value that depends on constants only.
static bool evaluate(const ibx_graph *graph, uint32_t value, int depth,
                     ibx_arena *arena, ibx_tensor *out) {
  const ibx_weight *weight = ibx_graph_constant(graph, value);
  ibx_tensor operands[IBX_NODE_OPERANDS];
  const ibx_node *node = ibx_graph_maker(graph, value);
  int64_t bytes = 0;
  *out = (ibx_tensor){.type = graph->values[value].type};
  if (weight) {
    // Operands are read only, whatever the type says.
    memcpy(&out->data, &weight->data, sizeof(out->data));
    return true;
  }
  if (!node || depth == 0 || !is_evaluable(node)) return false;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    if (!evaluate(graph, node->operand[i], depth - 1, arena, &operands[i]))
      return false;
  }
  if (!ibx_type_bytes(&out->type, &bytes)) return false;
  out->data = ibx_arena_alloc_raw(arena, (size_t)bytes); // all of it is written
  return ibx_tensor_eval(node->op, &node->params, operands, node->operand_count,
                         out, NULL) == IBX_OK;
}

static const uint8_t *part_of(const ibx_graph *graph, uint32_t value,
                              int64_t from, int64_t count, ibx_arena *block);

// One element, `count` times.
static const uint8_t *spread(const uint8_t *element, size_t size, size_t count,
                             ibx_arena *block) {
  uint8_t *data = ibx_arena_alloc_raw(block, count * size);
  size_t done = 1;
  if (!element) return NULL;
  memcpy(data, element, size);
  for (; done * 2 <= count; done *= 2)
    memcpy(data + done * size, data, done * size);
  memcpy(data + done * size, data, (count - done) * size);
  return data;
}

static const uint8_t *compute(const ibx_graph *graph, const ibx_node *node,
                              int64_t from, int64_t count, ibx_arena *block) {
  ibx_tensor operands[IBX_NODE_OPERANDS];
  ibx_tensor result = {
      .type = {.dims = {count},
               .rank = 1,
               .dtype = graph->values[node->result].type.dtype}};
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint32_t value = node->operand[i];
    const uint8_t *data = part_of(graph, value, from, count, block);
    if (!data) return NULL;
    operands[i].type = result.type;
    operands[i].type.dtype = graph->values[value].type.dtype;
    memcpy(&operands[i].data, &data, sizeof(data)); // read only
  }
  result.data = ibx_arena_alloc_raw(
      block, (size_t)count * ibx_dtype_bytes(result.type.dtype));
  bool ok = ibx_tensor_eval(node->op, &node->params, operands,
                            node->operand_count, &result, NULL) == IBX_OK;
  return ok ? result.data : NULL;
}

// Lends elements [from, from + count) of a value that is computed element by
// element; NULL where it is not. Most weights are, and then nothing of their size
// is computed at once.
static const uint8_t *part_of(const ibx_graph *graph, uint32_t value,
                              int64_t from, int64_t count, ibx_arena *block) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  const ibx_weight *weight = ibx_graph_constant(graph, value);
  const size_t size = ibx_dtype_bytes(graph->values[value].type.dtype);
  int64_t all = 0;
  if (weight) return (const uint8_t *)weight->data + (size_t)from * size;
  if (!node) return NULL;
  uint32_t operand = node->operand[0];
  switch (ibx_tensor_op_get(node->op)->klass) {
  case IBX_KLASS_UNARY:
  case IBX_KLASS_BINARY: return compute(graph, node, from, count, block);
  default: break;
  }
  if (node->op == IBX_TENSOR_reshape)
    return part_of(graph, operand, from, count, block);
  if (node->op != IBX_TENSOR_broadcast ||
      !ibx_type_elements(&graph->values[operand].type, &all) || all != 1) {
    return NULL;
  }
  return spread(part_of(graph, operand, 0, 1, block), size, (size_t)count,
                block);
}

// Whether `value` depends on constants only, without computing anything.
static bool is_constant(const ibx_graph *graph, uint32_t value, int depth) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  if (ibx_graph_constant(graph, value)) return true;
  if (!node || depth == 0 || !is_evaluable(node)) return false;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    if (!is_constant(graph, node->operand[i], depth - 1)) return false;
  }
  return true;
}

static double magnitudes_of_words(const uint8_t *data, size_t count) {
  int64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    int32_t x;
    memcpy(&x, data + i * 4, 4);
    sum += x < 0 ? -(int64_t)x : x;
  }
  return (double)sum;
}

// The sum of the magnitudes of `count` integers. Those that ONNX computes with
// are words.
static double magnitudes(const uint8_t *data, size_t count, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_I32) return magnitudes_of_words(data, count);
  size_t size = ibx_dtype_bytes(dtype);
  unsigned unused = (unsigned)(64 - 8 * size);
  bool is_signed = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t bits = 0;
    memcpy(&bits, data + i * size, size);
    sum += is_signed ? fabs((double)((int64_t)(bits << unused) >> unused))
                     : (double)bits;
  }
  return sum;
}

// ---- Terms

// The dimension of a kernel that tells its outputs apart, or -1: all but the
// contracted one do.
static int output_axis(ibx_tensor_op op) {
  if (op == IBX_TENSOR_conv) return 0;
  return op == IBX_TENSOR_conv_transpose ? 1 : -1;
}

// Walks a kernel: how far a step along each dimension leads, in indices of the
// contracted dimension and in outputs. The last dimensions, of which neither
// holds, are one run of elements that all add to the same sum.
typedef struct kernel_walk {
  int64_t at_step[IBX_MAX_RANK], output_step[IBX_MAX_RANK];
  int64_t outputs, run;
  uint8_t rank; // without those of the run
} kernel_walk;

static kernel_walk walk_of(const ibx_type *type, uint8_t axis, int output_dim) {
  kernel_walk walk = {.outputs = 1, .run = 1};
  for (int d = type->rank - 1; d >= 0; d--) {
    bool is_output = output_dim < 0 || d == output_dim;
    if (d == axis) {
      walk.at_step[d] = 1;
    } else if (is_output) {
      walk.output_step[d] = walk.outputs;
      walk.outputs *= type->dims[d];
    } else if (walk.rank == 0) {
      walk.run *= type->dims[d];
      continue;
    }
    if (walk.rank == 0) walk.rank = (uint8_t)(d + 1);
  }
  return walk;
}

// A place in the walk: an index of the contracted dimension, an output.
typedef struct kernel_place {
  int64_t index[IBX_MAX_RANK], at, output;
} kernel_place;

static void next_run(const kernel_walk *walk, const ibx_type *type,
                     kernel_place *place) {
  for (int d = walk->rank - 1; d >= 0; d--) {
    place->at += walk->at_step[d];
    place->output += walk->output_step[d];
    if (++place->index[d] < type->dims[d]) break;
    place->at -= walk->at_step[d] * type->dims[d];
    place->output -= walk->output_step[d] * type->dims[d];
    place->index[d] = 0;
  }
}

enum { BLOCK_ELEMENTS = 8192 };

// Sums of groups are apart: those of the indices from `extent` on are other
// outputs, which have rows of their own behind the first. False where the
// weights cannot be computed.
static bool fill_terms(ibx_sums *sums, const ibx_graph *graph, uint32_t value,
                       uint8_t axis, int output_dim, double most,
                       ibx_arena *arena) {
  const ibx_type *type = &graph->values[value].type;
  const size_t size = ibx_dtype_bytes(type->dtype);
  kernel_walk walk = walk_of(type, axis, output_dim);
  kernel_place place = {.at = 0};
  ibx_arena block = {0};
  ibx_tensor whole = {.data = NULL};
  int64_t groups = type->dims[axis] / sums->extent, elements = 0;
  int64_t runs = walk.run < BLOCK_ELEMENTS ? BLOCK_ELEMENTS / walk.run : 1;
  bool ok = ibx_type_elements(type, &elements);
  sums->outputs = walk.outputs * groups;
  double *terms =
      IBX_ARENA_ARRAY(arena, (size_t)(sums->extent * sums->outputs), double);
  for (int64_t i = 0; ok && i < elements; i += runs * walk.run) {
    if (elements - i < runs * walk.run) runs = (elements - i) / walk.run;
    const uint8_t *data =
        whole.data ? NULL : part_of(graph, value, i, runs * walk.run, &block);
    if (!data) {
      ok = whole.data || evaluate(graph, value, EVALUATED_DEPTH, arena, &whole);
      if (ok) data = (const uint8_t *)whole.data + (size_t)i * size;
    }
    for (int64_t k = 0; ok && k < runs; k++, next_run(&walk, type, &place)) {
      int64_t group = groups > 1 ? place.at / sums->extent : 0;
      int64_t row = place.at - group * sums->extent;
      terms[row * sums->outputs + group * walk.outputs + place.output] +=
          most * magnitudes(data + (size_t)(k * walk.run) * size,
                            (size_t)walk.run, type->dtype);
    }
    ibx_arena_rewind(&block);
  }
  ibx_arena_reset(&block);
  if (ok) sums->terms = terms;
  return ok;
}

ibx_sums ibx_sums_of(const ibx_graph *graph, const ibx_node *node, uint8_t axis,
                     const ibx_range *ranges, ibx_arena *arena) {
  const ibx_type *type = &graph->values[node->operand[1]].type;
  int output_dim = output_axis(node->op);
  double most = ibx_range_magnitude(ranges[node->operand[0]]), taps = 1;
  int64_t elements = 0;
  for (uint8_t d = 2; output_dim >= 0 && d < type->rank; d++)
    taps *= (double)type->dims[d];
  ibx_sums sums = {
      // A kernel of a transposed convolution has all groups behind each other.
      .extent = node->op == IBX_TENSOR_conv_transpose
                    ? type->dims[axis] / node->params.groups
                    : type->dims[axis],
      .each = most * ibx_range_magnitude(ranges[node->operand[1]]) * taps};
  bool is_small = ibx_type_elements(type, &elements) &&
                  elements <= MOST_EVALUATED && elements > 0;
  // Nothing is gained where the bound of the dtypes is good enough.
  if (sums.each * (double)sums.extent <= IBX_EXACT_INTEGER || !is_small ||
      !is_constant(graph, node->operand[1], EVALUATED_DEPTH)) {
    return sums;
  }
  (void)fill_terms(&sums, graph, node->operand[1], axis, output_dim, most,
                   arena);
  return sums;
}

int64_t ibx_sums_end(const ibx_sums *sums, int64_t start, double limit,
                     ibx_arena *arena) {
  if (!sums->terms) {
    double most = sums->each > 0 ? floor(limit / sums->each) : INFINITY;
    double left = (double)(sums->extent - start);
    return most < left ? start + (int64_t)most : sums->extent;
  }
  double *sum = IBX_ARENA_ARRAY(arena, (size_t)sums->outputs, double);
  for (int64_t at = start; at < sums->extent; at++) {
    const double *terms = &sums->terms[at * sums->outputs];
    for (int64_t o = 0; o < sums->outputs; o++) {
      sum[o] += terms[o];
      if (sum[o] > limit) return at;
    }
  }
  return sums->extent;
}
