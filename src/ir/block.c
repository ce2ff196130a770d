// SPDX-License-Identifier: Apache-2.0
//
// Constants a block at a time. Comes in: a value of a graph. Goes out: some of
// its elements, computed by the reference kernels.

#include "ir/block.h"

#include "imbrex/tensor.h"

#include <string.h>

enum { DEPTH = 8 }; // operations from the weights on

static const ibx_node *maker_of(const ibx_graph *graph, uint32_t value) {
  uint32_t node = graph->values[value].node;
  return node == IBX_NO_VALUE ? NULL : &graph->nodes[node];
}

static bool is_pointwise(const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY;
}

static bool is_one_number(const ibx_graph *graph, const ibx_node *node) {
  int64_t all = 0;
  return node->op == IBX_TENSOR_broadcast &&
         ibx_type_elements(&graph->values[node->operand[0]].type, &all) &&
         all == 1;
}

// ---- Reading

static const uint8_t *read_value(const ibx_block *b, uint32_t value, int depth);

// One element, `count` times.
static const uint8_t *spread(const ibx_block *b, uint32_t value, size_t size,
                             int depth) {
  const ibx_block single = {.graph = b->graph, .arena = b->arena, .count = 1};
  const uint8_t *element = read_value(&single, value, depth);
  size_t count = (size_t)b->count, done = 1;
  if (!element) return NULL;
  uint8_t *data = ibx_arena_alloc_raw(b->arena, count * size);
  memcpy(data, element, size);
  for (; done * 2 <= count; done *= 2)
    memcpy(data + done * size, data, done * size);
  memcpy(data + done * size, data, (count - done) * size);
  return data;
}

static const uint8_t *compute(const ibx_block *b, const ibx_node *node,
                              int depth) {
  const ibx_value *values = b->graph->values;
  ibx_tensor operands[IBX_NODE_OPERANDS];
  ibx_tensor result = {.type = {.dims = {b->count},
                                .rank = 1,
                                .dtype = values[node->result].type.dtype}};
  for (uint32_t i = 0; i < node->operand_count; i++) {
    const uint8_t *data = read_value(b, node->operand[i], depth);
    if (!data) return NULL;
    operands[i].type = result.type;
    operands[i].type.dtype = values[node->operand[i]].type.dtype;
    memcpy(&operands[i].data, &data, sizeof(data)); // read only
  }
  result.data = ibx_arena_alloc_raw(
      b->arena, (size_t)b->count * ibx_dtype_bytes(result.type.dtype));
  bool ok = ibx_tensor_eval(node->op, &node->params, operands,
                            node->operand_count, &result, NULL) == IBX_OK;
  return ok ? result.data : NULL;
}

static const uint8_t *read_value(const ibx_block *b, uint32_t value,
                                 int depth) {
  const ibx_node *node = maker_of(b->graph, value);
  const ibx_weight *weight = ibx_graph_constant(b->graph, value);
  const size_t size = ibx_dtype_bytes(b->graph->values[value].type.dtype);
  if (weight && b->bytes && size == 1) return b->bytes;
  if (weight) return (const uint8_t *)weight->data + (size_t)b->from * size;
  if (!node || depth == 0) return NULL;
  if (is_pointwise(node)) return compute(b, node, depth - 1);
  if (node->op == IBX_TENSOR_reshape)
    return read_value(b, node->operand[0], depth - 1);
  if (!is_one_number(b->graph, node)) return NULL;
  return spread(b, node->operand[0], size, depth - 1);
}

const uint8_t *ibx_block_read(const ibx_block *block, uint32_t value) {
  return read_value(block, value, DEPTH);
}

bool ibx_block_all(const ibx_graph *graph, uint32_t value, int64_t count,
                   ibx_arena *work, void *out) {
  const size_t size = ibx_dtype_bytes(graph->values[value].type.dtype);
  ibx_block block = {.graph = graph, .arena = work};
  bool ok = true;
  for (; ok && block.from < count; block.from += block.count) {
    int64_t left = count - block.from;
    block.count = left < IBX_BLOCK_ELEMENTS ? left : IBX_BLOCK_ELEMENTS;
    const uint8_t *data = ibx_block_read(&block, value);
    ok = data != NULL;
    if (ok)
      memcpy((uint8_t *)out + (size_t)block.from * size, data,
             (size_t)block.count * size);
    ibx_arena_rewind(work);
  }
  return ok;
}

// ---- What is read

// Counts the weights, and what cannot be read as one.
static const ibx_weight *find_weight(const ibx_graph *graph, uint32_t value,
                                     int depth, size_t *count) {
  const ibx_weight *weight = ibx_graph_constant(graph, value);
  const ibx_node *node = maker_of(graph, value);
  if (weight || !node || depth == 0) {
    ++*count;
    return weight;
  }
  if (is_one_number(graph, node)) return NULL;
  if (!is_pointwise(node) && node->op != IBX_TENSOR_reshape) {
    ++*count;
    return NULL;
  }
  for (uint32_t i = 0; i < node->operand_count; i++) {
    const ibx_weight *found =
        find_weight(graph, node->operand[i], depth - 1, count);
    if (found) weight = found;
  }
  return weight;
}

const ibx_weight *ibx_block_weight(const ibx_graph *graph, uint32_t value) {
  size_t count = 0;
  const ibx_weight *weight = find_weight(graph, value, DEPTH, &count);
  return count == 1 ? weight : NULL;
}
