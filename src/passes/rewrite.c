// SPDX-License-Identifier: Apache-2.0
//
// The frame of graph rewrites. Comes in a graph; goes out a new one in the same
// arena, without what the rewrite has made dead.

#include "passes/rewrite.h"

#include <math.h>
#include <string.h>

ibx_rewrite ibx_rewrite_begin(ibx_pass_ctx *ctx, const ibx_graph *old,
                              ibx_type (*input_type)(ibx_pass_ctx *ctx,
                                                     ibx_type type)) {
  ibx_rewrite rewrite = {
      .ctx = ctx,
      .old = old,
      .uses = ibx_graph_uses(old, ctx->scratch),
      .map = IBX_ARENA_ARRAY(ctx->scratch, old->value_count, uint32_t)};
  rewrite.graph = (ibx_graph){.arena = old->arena,
                              .tables = old->tables,
                              .name = old->name,
                              .inputs = old->inputs,
                              .input_count = old->input_count,
                              .outputs = old->outputs,
                              .output_count = old->output_count};
  // Most rewrites change a few nodes.
  ibx_graph_reserve(&rewrite.graph, old->node_count + old->node_count / 8,
                    old->value_count + old->value_count / 8);
  for (size_t v = 0; v < old->value_count; v++)
    rewrite.map[v] = IBX_NO_VALUE;
  for (uint32_t i = 0; i < old->input_count; i++) {
    uint32_t value = old->inputs[i].value;
    if (value == IBX_NO_VALUE) continue;
    ibx_type type = old->values[value].type;
    if (input_type) type = input_type(ctx, type);
    rewrite.map[value] = ibx_graph_add_input(&rewrite.graph, type, i);
    rewrite.graph.inputs[i].value = rewrite.map[value];
  }
  return rewrite;
}

uint32_t ibx_rewrite_add(ibx_rewrite *rewrite, ibx_tensor_op op,
                         const ibx_params *params, const uint32_t *operands,
                         size_t operand_count) {
  uint32_t value = IBX_NO_VALUE;
  if (rewrite->status != IBX_OK) return value;
  rewrite->status =
      ibx_graph_add(&rewrite->graph, op, params, operands, operand_count,
                    rewrite->source, &value, rewrite->ctx->err);
  return value;
}

void ibx_rewrite_copy(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = rewrite->map[node->operand[i]];
  }
  uint32_t value = ibx_rewrite_add(rewrite, node->op, &node->params, operands,
                                   node->operand_count);
  rewrite->map[node->result] = value;
  if (value != IBX_NO_VALUE) {
    rewrite->graph.nodes[rewrite->graph.node_count - 1].decided = node->decided;
  }
}

uint32_t ibx_rewrite_slice(ibx_rewrite *rewrite, uint32_t value, uint8_t dim,
                           int64_t start, int64_t end) {
  if (value == IBX_NO_VALUE) return value;
  const ibx_type *type = &rewrite->graph.values[value].type;
  if (start == 0 && end == type->dims[dim]) return value;
  ibx_params params = {.starts.len = type->rank,
                       .shape.len = type->rank,
                       .steps.len = type->rank};
  for (uint8_t d = 0; d < type->rank; d++) {
    params.shape.at[d] = d == dim ? end - start : type->dims[d];
    params.steps.at[d] = 1;
  }
  params.starts.at[dim] = start;
  return ibx_rewrite_add(rewrite, IBX_TENSOR_slice, &params, &value, 1);
}

static uint32_t concatenate(ibx_rewrite *rewrite, const uint32_t *parts,
                            size_t count, uint8_t axis, const char *place) {
  if (count == 1) return parts[0];
  ibx_params params = {.axis = axis};
  uint32_t value =
      ibx_rewrite_add(rewrite, IBX_TENSOR_concat, &params, parts, count);
  if (value != IBX_NO_VALUE)
    rewrite->graph.nodes[rewrite->graph.node_count - 1].decided.place = place;
  return value;
}

uint32_t ibx_rewrite_join(ibx_rewrite *rewrite, uint32_t *parts, size_t count,
                          uint8_t axis, const char *place) {
  while (count > 1) {
    size_t joined = 0;
    for (size_t i = 0; i < count; i += IBX_NODE_OPERANDS) {
      size_t most = count - i;
      if (most > IBX_NODE_OPERANDS) most = IBX_NODE_OPERANDS;
      parts[joined++] = concatenate(rewrite, &parts[i], most, axis, place);
    }
    count = joined;
  }
  return parts[0];
}

ibx_status ibx_rewrite_end(ibx_rewrite *rewrite, ibx_graph *graph) {
  if (rewrite->status != IBX_OK) return rewrite->status;
  for (size_t i = 0; i < rewrite->graph.output_count; i++) {
    ibx_port *port = &rewrite->graph.outputs[i];
    port->value = rewrite->map[port->value];
  }
  *graph = rewrite->graph;
  ibx_graph_compact(graph);
  return IBX_OK;
}

ibx_ints ibx_extents(const ibx_type *type) {
  ibx_ints extents = {.len = type->rank};
  for (uint8_t d = 0; d < type->rank; d++)
    extents.at[d] = type->dims[d];
  return extents;
}

const ibx_node *ibx_graph_maker(const ibx_graph *graph, uint32_t value) {
  uint32_t node = graph->values[value].node;
  return node == IBX_NO_VALUE ? NULL : &graph->nodes[node];
}

// Larger constants are weights; looking through them would cost time for nothing.
enum { UNIFORM_ELEMENTS = 4096 };

// Whether the element is that number: fp32 does not hold all integers.
static bool is_exact(ibx_dtype dtype, const uint8_t *data, double number) {
  int32_t word;
  uint32_t unsigned_word;
  switch (dtype) {
  case IBX_DTYPE_I32:
    memcpy(&word, data, sizeof word);
    return (double)word == number;
  case IBX_DTYPE_U32:
    memcpy(&unsigned_word, data, sizeof unsigned_word);
    return (double)unsigned_word == number;
  default: return ibx_dtype_bytes(dtype) < 8 || fabs(number) <= 1 << 24;
  }
}

bool ibx_weight_uniform(const ibx_weight *weight, float *out) {
  int64_t elements;
  if (!ibx_type_elements(&weight->type, &elements)) return false;
  if (elements == 0 || elements > UNIFORM_ELEMENTS) return false;
  size_t bytes = ibx_dtype_bytes(weight->type.dtype);
  const uint8_t *data = weight->data;
  for (int64_t i = 1; i < elements; i++) {
    if (memcmp(data, data + (size_t)i * bytes, bytes) != 0) return false;
  }
  ibx_dtype_load_f32(weight->type.dtype, data, out, 1);
  return is_exact(weight->type.dtype, data, (double)*out);
}

bool ibx_graph_uniform(const ibx_graph *graph, uint32_t value, float *out) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  while (node &&
         (node->op == IBX_TENSOR_reshape || node->op == IBX_TENSOR_broadcast ||
          node->op == IBX_TENSOR_transpose)) {
    node = ibx_graph_maker(graph, node->operand[0]);
  }
  if (!node || node->op != IBX_TENSOR_constant) return false;
  return ibx_weight_uniform(&graph->tables->weights[node->params.weight], out);
}
