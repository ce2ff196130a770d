// SPDX-License-Identifier: Apache-2.0
//
// How far sums of integer products go. Comes in a contraction; goes out a bound
// of what each index of the contracted dimension adds to a sum. Weights that are
// computed from constants (quantised ones, less their zero point) are computed
// here: most of them are far smaller than the largest one, and sums of many are
// exact in fp32 that would not be if all were as large.

#include "passes/legalise.h"

#include "imbrex/tensor.h"
#include "ir/block.h"

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

enum { BYTES = 256 };

// A kernel of which each element is read as its magnitude.
typedef struct kernel {
  const ibx_graph *graph;
  uint32_t value;
  const ibx_type *type;
  const uint8_t *bytes;      // from which elements are computed, or NULL
  uint64_t magnitude[BYTES]; // of what each of them becomes
  ibx_arena *arena;
  ibx_arena block; // of the one that is read
  ibx_tensor whole;
} kernel;

// Elements of one byte have 256 values, each of which is computed once.
static void use_bytes(kernel *k) {
  size_t size = ibx_dtype_bytes(k->type->dtype);
  const ibx_weight *weight = ibx_block_weight(k->graph, k->value);
  uint8_t every[BYTES];
  for (int i = 0; i < BYTES; i++)
    every[i] = (uint8_t)i;
  if (!weight || ibx_dtype_bytes(weight->type.dtype) != 1 || size > 4) return;
  const ibx_block b = {
      .graph = k->graph, .arena = &k->block, .count = BYTES, .bytes = every};
  const uint8_t *values = ibx_block_read(&b, k->value);
  if (!values) return;
  for (size_t i = 0; i < BYTES; i++)
    k->magnitude[i] =
        (uint64_t)magnitudes(values + i * size, 1, k->type->dtype);
  k->bytes = weight->data;
}

// Elements from `from` on, where they are not read from bytes.
static const uint8_t *read_block(kernel *k, int64_t from, int64_t count) {
  const ibx_block b = {
      .graph = k->graph, .arena = &k->block, .from = from, .count = count};
  const uint8_t *data = k->whole.data ? NULL : ibx_block_read(&b, k->value);
  if (data) return data;
  if (!k->whole.data &&
      !evaluate(k->graph, k->value, EVALUATED_DEPTH, k->arena, &k->whole)) {
    return NULL;
  }
  return (const uint8_t *)k->whole.data +
         (size_t)from * ibx_dtype_bytes(k->type->dtype);
}

static double sum_of_bytes(const kernel *k, int64_t from, int64_t count) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < count; i++)
    sum += k->magnitude[k->bytes[from + i]];
  return (double)sum;
}

// Sums of groups are apart: those of the indices from `extent` on are other
// outputs, which have rows of their own behind the first. False where the
// weights cannot be computed.
static bool add_terms(ibx_sums *sums, double *terms, kernel *k,
                      const kernel_walk *walk, double most) {
  const size_t size = ibx_dtype_bytes(k->type->dtype);
  const int64_t run = walk->run, groups = sums->outputs / walk->outputs;
  kernel_place place = {.at = 0};
  int64_t elements = 0;
  int64_t runs = run < IBX_BLOCK_ELEMENTS ? IBX_BLOCK_ELEMENTS / run : 1;
  if (!ibx_type_elements(k->type, &elements)) return false;
  for (int64_t i = 0; i < elements; i += runs * run) {
    if (elements - i < runs * run) runs = (elements - i) / run;
    const uint8_t *data = k->bytes ? k->bytes : read_block(k, i, runs * run);
    if (!data) return false;
    for (int64_t r = 0; r < runs; r++, next_run(walk, k->type, &place)) {
      int64_t group = groups > 1 ? place.at / sums->extent : 0;
      int64_t at = place.at - group * sums->extent;
      int64_t output = group * walk->outputs + place.output;
      double sum = k->bytes ? sum_of_bytes(k, i + r * run, run)
                            : magnitudes(data + (size_t)(r * run) * size,
                                         (size_t)run, k->type->dtype);
      terms[at * sums->at_step + output * sums->output_step] += most * sum;
    }
    ibx_arena_rewind(&k->block);
  }
  return true;
}

// The terms lie as the kernel does: what changes faster is innermost.
static void fill_terms(ibx_sums *sums, const ibx_graph *graph, uint32_t value,
                       uint8_t axis, int output_dim, double most,
                       ibx_arena *arena) {
  kernel k = {.graph = graph,
              .value = value,
              .type = &graph->values[value].type,
              .arena = arena};
  kernel_walk walk = walk_of(k.type, axis, output_dim);
  sums->outputs = walk.outputs * (k.type->dims[axis] / sums->extent);
  bool is_inner = axis + 1 == walk.rank;
  sums->at_step = is_inner ? 1 : sums->outputs;
  sums->output_step = is_inner ? sums->extent : 1;
  double *terms =
      IBX_ARENA_ARRAY(arena, (size_t)(sums->extent * sums->outputs), double);
  use_bytes(&k);
  if (add_terms(sums, terms, &k, &walk, most)) sums->terms = terms;
  ibx_arena_reset(&k.block);
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
  fill_terms(&sums, graph, node->operand[1], axis, output_dim, most, arena);
  return sums;
}

// Outputs whose terms are added together: those of an index share a cache line.
enum { TOGETHER = 8 };

// The end of the longest part, at most `end`, that none of these outputs passes.
static int64_t end_of(const ibx_sums *sums, int64_t output, int64_t count,
                      int64_t start, int64_t end, double limit) {
  const double *terms = &sums->terms[output * sums->output_step];
  double sum[TOGETHER] = {0};
  for (int64_t at = start; at < end; at++) {
    for (int64_t o = 0; o < count; o++) {
      sum[o] += terms[at * sums->at_step + o * sums->output_step];
      if (sum[o] > limit) return at;
    }
  }
  return end;
}

int64_t ibx_sums_end(const ibx_sums *sums, int64_t start, double limit) {
  int64_t end = sums->extent;
  if (!sums->terms) {
    double most = sums->each > 0 ? floor(limit / sums->each) : INFINITY;
    return most < (double)(end - start) ? start + (int64_t)most : end;
  }
  for (int64_t o = 0; o < sums->outputs; o += TOGETHER) {
    int64_t left = sums->outputs - o;
    end = end_of(sums, o, left < TOGETHER ? left : TOGETHER, start, end, limit);
  }
  return end;
}
