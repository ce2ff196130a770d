// SPDX-License-Identifier: Apache-2.0
//
// The flat form of level 1. Comes in: nodes one by one. Goes out: arrays that
// grow in the graph's arena, types inferred, program order kept.

#include "ir/graph.h"

#include <string.h>

static void *move(ibx_arena *arena, const void *array, size_t count,
                  size_t *room, size_t more, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(more, size, &bytes)) bytes = SIZE_MAX; // ends the process
  void *copy = ibx_arena_alloc_raw(arena, (size_t)bytes);
  if (count) memcpy(copy, array, count * size);
  *room = more;
  return copy;
}

// Makes room for one more element; returns the (possibly moved) array.
static void *grow(ibx_arena *arena, void *array, size_t count, size_t *room,
                  size_t size) {
  if (count < *room) return array;
  return move(arena, array, count, room, *room ? *room * 2 : 64, size);
}

uint32_t ibx_tables_add_weight(ibx_tables *tables, ibx_arena *arena,
                               ibx_weight weight) {
  tables->weights = grow(arena, tables->weights, tables->weight_count,
                         &tables->weight_room, sizeof *tables->weights);
  tables->weights[tables->weight_count] = weight;
  return (uint32_t)tables->weight_count++;
}

uint32_t ibx_tables_add_source(ibx_tables *tables, ibx_arena *arena,
                               const char *name, const char *op) {
  tables->sources = grow(arena, tables->sources, tables->source_count,
                         &tables->source_room, sizeof *tables->sources);
  tables->sources[tables->source_count] =
      (ibx_node_decl){.name = name, .op = op};
  return (uint32_t)tables->source_count++;
}

static uint32_t add_value(ibx_graph *graph, ibx_value value) {
  graph->values = grow(graph->arena, graph->values, graph->value_count,
                       &graph->value_room, sizeof *graph->values);
  graph->values[graph->value_count] = value;
  return (uint32_t)graph->value_count++;
}

static uint32_t add_node(ibx_graph *graph, const ibx_node *node) {
  graph->nodes = grow(graph->arena, graph->nodes, graph->node_count,
                      &graph->node_room, sizeof *graph->nodes);
  graph->nodes[graph->node_count] = *node;
  return (uint32_t)graph->node_count++;
}

void ibx_graph_reserve(ibx_graph *graph, size_t nodes, size_t values) {
  if (nodes > graph->node_room) {
    graph->nodes = move(graph->arena, graph->nodes, graph->node_count,
                        &graph->node_room, nodes, sizeof *graph->nodes);
  }
  if (values > graph->value_room) {
    graph->values = move(graph->arena, graph->values, graph->value_count,
                         &graph->value_room, values, sizeof *graph->values);
  }
}

uint32_t ibx_graph_add_input(ibx_graph *graph, ibx_type type, uint32_t index) {
  return add_value(
      graph, (ibx_value){.type = type, .node = IBX_NO_VALUE, .input = index});
}

static ibx_status operand_types(const ibx_graph *graph, ibx_tensor_op op,
                                const uint32_t *operands, size_t count,
                                ibx_type types[IBX_NODE_OPERANDS],
                                ibx_error *err) {
  const ibx_tensor_op_info *info = ibx_tensor_op_get(op);
  if (!info) return IBX_FAIL(err, INTERNAL, "no tensor op %d", (int)op);
  if (count > IBX_NODE_OPERANDS) {
    return IBX_FAIL(err, MISMATCH, "%s has %zu operands; it takes %u to %u",
                    info->name, count, info->least, info->most);
  }
  for (size_t i = 0; i < count; i++) {
    if (operands[i] >= graph->value_count) {
      return IBX_FAIL(err, INTERNAL, "%s: operand %zu is no value", info->name,
                      i);
    }
    types[i] = graph->values[operands[i]].type;
  }
  return IBX_OK;
}

ibx_status ibx_graph_add(ibx_graph *graph, ibx_tensor_op op,
                         const ibx_params *params, const uint32_t *operands,
                         size_t operand_count, uint32_t source,
                         uint32_t *out_value, ibx_error *err) {
  ibx_type types[IBX_NODE_OPERANDS], type;
  IBX_TRY(operand_types(graph, op, operands, operand_count, types, err));
  IBX_TRY(ibx_tensor_infer(op, params, types, operand_count, &type, err));
  ibx_node node = {.op = op,
                   .params = *params,
                   .operand_count = (uint32_t)operand_count,
                   .source = source};
  for (size_t i = 0; i < IBX_NODE_OPERANDS; i++) {
    node.operand[i] = i < operand_count ? operands[i] : IBX_NO_VALUE;
  }
  node.result = (uint32_t)graph->value_count;
  uint32_t index = add_node(graph, &node);
  *out_value = add_value(
      graph, (ibx_value){.type = type, .node = index, .input = IBX_NO_VALUE});
  return IBX_OK;
}

uint32_t ibx_graph_add_constant(ibx_graph *graph, uint32_t weight,
                                uint32_t source) {
  ibx_type type = graph->tables->weights[weight].type;
  ibx_node node = {.op = IBX_TENSOR_constant,
                   .result = (uint32_t)graph->value_count,
                   .source = source};
  for (size_t i = 0; i < IBX_NODE_OPERANDS; i++) {
    node.operand[i] = IBX_NO_VALUE;
  }
  node.params.weight = weight;
  node.params.dtype = type.dtype;
  node.params.shape.len = type.rank;
  memcpy(node.params.shape.at, type.dims, sizeof type.dims);
  uint32_t index = add_node(graph, &node);
  return add_value(
      graph, (ibx_value){.type = type, .node = index, .input = IBX_NO_VALUE});
}

bool ibx_types_equal(const ibx_type *a, const ibx_type *b) {
  return a->rank == b->rank && a->dtype == b->dtype &&
         memcmp(a->dims, b->dims, a->rank * sizeof(*a->dims)) == 0;
}

const ibx_weight *ibx_graph_constant(const ibx_graph *graph, uint32_t value) {
  if (value >= graph->value_count) return NULL;
  uint32_t index = graph->values[value].node;
  if (index == IBX_NO_VALUE) return NULL;
  const ibx_node *node = &graph->nodes[index];
  if (node->op != IBX_TENSOR_constant) return NULL;
  size_t row = (size_t)node->params.weight;
  return row < graph->tables->weight_count ? &graph->tables->weights[row]
                                           : NULL;
}

// --- uses ---

ibx_uses ibx_graph_uses(const ibx_graph *graph, ibx_arena *arena) {
  size_t values = graph->value_count, total = 0;
  ibx_uses uses = {.first = IBX_ARENA_ARRAY(arena, values + 2, uint32_t),
                   .is_output = IBX_ARENA_ARRAY(arena, values, bool)};
  // Counts, shifted by two places, become first places, and after filling they
  // have moved by one: what was first[v + 1] is where v + 1 begins.
  for (size_t i = 0; i < graph->node_count; i++) {
    const ibx_node *node = &graph->nodes[i];
    for (size_t j = 0; j < node->operand_count; j++) {
      uses.first[node->operand[j] + 2]++;
      total++;
    }
  }
  for (size_t v = 2; v < values + 2; v++)
    uses.first[v] += uses.first[v - 1];
  uses.users = IBX_ARENA_ARRAY(arena, total, uint32_t);
  for (size_t i = 0; i < graph->node_count; i++) {
    const ibx_node *node = &graph->nodes[i];
    for (size_t j = 0; j < node->operand_count; j++) {
      uses.users[uses.first[node->operand[j] + 1]++] = (uint32_t)i;
    }
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    uses.is_output[graph->outputs[i].value] = true;
  }
  return uses;
}

bool ibx_is_used_once(const ibx_uses *uses, uint32_t value) {
  return !uses->is_output[value] &&
         uses->first[value + 1] - uses->first[value] == 1;
}

// --- compaction ---

typedef struct compaction {
  ibx_graph *graph;
  bool *needed;     ///< of each node
  bool *placed;     ///< of each node
  uint32_t *order;  ///< old indices in the new order
  uint32_t *stack;  ///< nodes that wait for their operands
  uint32_t *number; ///< new value of each old one
  size_t count;
} compaction;

// The node that makes operand `j`, or IBX_NO_VALUE for an input.
static uint32_t producer(const ibx_graph *graph, const ibx_node *node,
                         size_t j) {
  return graph->values[node->operand[j]].node;
}

static void mark_needed(compaction *c, uint32_t value) {
  size_t depth = 0;
  uint32_t root = c->graph->values[value].node;
  if (root == IBX_NO_VALUE || c->needed[root]) return;
  c->needed[root] = true;
  c->stack[depth++] = root;
  while (depth > 0) {
    const ibx_node *node = &c->graph->nodes[c->stack[--depth]];
    for (size_t j = 0; j < node->operand_count; j++) {
      uint32_t maker = producer(c->graph, node, j);
      if (maker == IBX_NO_VALUE || c->needed[maker]) continue;
      c->needed[maker] = true;
      c->stack[depth++] = maker;
    }
  }
}

// An operand's maker that has no place yet, or IBX_NO_VALUE.
static uint32_t missing(const compaction *c, const ibx_node *node) {
  for (size_t j = 0; j < node->operand_count; j++) {
    uint32_t maker = producer(c->graph, node, j);
    if (maker != IBX_NO_VALUE && !c->placed[maker]) return maker;
  }
  return IBX_NO_VALUE;
}

// Places a node after everything that it reads. A pass that rewired a node to
// one that was appended later has left it too early.
static void place(compaction *c, uint32_t root) {
  size_t depth = 0;
  c->stack[depth++] = root;
  while (depth > 0) {
    uint32_t index = c->stack[depth - 1];
    uint32_t next = missing(c, &c->graph->nodes[index]);
    // A cycle cannot get deeper than the graph; it ends here, unordered, and
    // the verifier refuses it.
    if (next != IBX_NO_VALUE && depth < c->graph->node_count) {
      c->stack[depth++] = next;
      continue;
    }
    depth--;
    if (c->placed[index]) continue;
    c->placed[index] = true;
    c->order[c->count++] = index;
  }
}

// Inputs come first, in their order, then results in the order of their nodes.
static void number_values(compaction *c, ibx_value *values) {
  ibx_graph *graph = c->graph;
  size_t count = 0;
  for (size_t i = 0; i < graph->input_count; i++) {
    uint32_t value = graph->inputs[i].value;
    c->number[value] = (uint32_t)count;
    values[count++] = graph->values[value];
  }
  for (size_t i = 0; i < c->count; i++) {
    uint32_t value = graph->nodes[c->order[i]].result;
    c->number[value] = (uint32_t)count;
    values[count] = graph->values[value];
    values[count++].node = (uint32_t)i;
  }
  if (count) memcpy(graph->values, values, count * sizeof *values);
  graph->value_count = count;
}

static void number_nodes(compaction *c, ibx_node *nodes) {
  ibx_graph *graph = c->graph;
  for (size_t i = 0; i < c->count; i++) {
    nodes[i] = graph->nodes[c->order[i]];
    nodes[i].result = c->number[nodes[i].result];
    for (size_t j = 0; j < nodes[i].operand_count; j++) {
      nodes[i].operand[j] = c->number[nodes[i].operand[j]];
    }
  }
  if (c->count) memcpy(graph->nodes, nodes, c->count * sizeof *nodes);
  graph->node_count = c->count;
  for (size_t i = 0; i < graph->input_count; i++) {
    graph->inputs[i].value = c->number[graph->inputs[i].value];
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    graph->outputs[i].value = c->number[graph->outputs[i].value];
  }
}

void ibx_graph_compact(ibx_graph *graph) {
  if (graph->value_count == 0) return;
  ibx_arena scratch = {.last = NULL};
  size_t nodes = graph->node_count;
  compaction c = {.graph = graph,
                  .needed = IBX_ARENA_ARRAY(&scratch, nodes, bool),
                  .placed = IBX_ARENA_ARRAY(&scratch, nodes, bool),
                  .order = IBX_ARENA_ARRAY(&scratch, nodes, uint32_t),
                  .stack = IBX_ARENA_ARRAY(&scratch, nodes + 1, uint32_t),
                  .number =
                      IBX_ARENA_ARRAY(&scratch, graph->value_count, uint32_t)};
  for (size_t i = 0; i < graph->output_count; i++) {
    mark_needed(&c, graph->outputs[i].value);
  }
  for (uint32_t i = 0; i < nodes; i++) {
    if (c.needed[i] && !c.placed[i]) place(&c, i);
  }
  number_values(&c, IBX_ARENA_ARRAY(&scratch, graph->value_count, ibx_value));
  number_nodes(&c, IBX_ARENA_ARRAY(&scratch, nodes, ibx_node));
  ibx_arena_reset(&scratch);
}
