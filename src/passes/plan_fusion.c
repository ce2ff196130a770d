// SPDX-License-Identifier: Apache-2.0
//
// plan_fusion: which operations run as one.
//
//   before   %c = ibx.conv %x, %w     %r = ibx.relu %c
//   after    the same with {group = 1} on both
//
// A group is an anchor (a contraction, a pool, or the first pointwise operation)
// and the pointwise operations that follow it one after the other, each the only
// user of its predecessor. They never leave PSUM and registers in between, so a
// longer group costs less, as long as what it reads beside fits in SBUF at once:
// four computed tensors beside the anchor end a group.
//
// Provides: decided.group, 1 + the index of the anchor.

#include "passes/rewrite.h"

static bool is_pointwise(const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY ||
         klass == IBX_KLASS_COMPARE;
}

static bool is_anchor(const ibx_node *node) {
  return is_pointwise(node) || node->op == IBX_TENSOR_matmul ||
         node->op == IBX_TENSOR_conv || node->op == IBX_TENSOR_conv_transpose ||
         node->op == IBX_TENSOR_max_pool || node->op == IBX_TENSOR_avg_pool;
}

// The operand whose group the node joins: the one made last, so that the others
// exist by then.
static uint32_t predecessor(const ibx_graph *graph, const ibx_uses *uses,
                            const ibx_node *node) {
  uint32_t best = IBX_NO_VALUE;
  if (!is_pointwise(node)) return best;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint32_t value = node->operand[i];
    uint32_t maker = graph->values[value].node;
    if (maker == IBX_NO_VALUE || graph->nodes[maker].decided.group == 0)
      continue;
    if (!ibx_is_used_once(uses, value)) continue;
    if (best == IBX_NO_VALUE || maker > graph->values[best].node) best = value;
  }
  return best;
}

enum { MOST_BESIDE = 4 };

// Computed operands that are not the predecessor's result.
static uint32_t count_beside(const ibx_graph *graph, const ibx_node *node,
                             uint32_t value) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    const ibx_node *maker = ibx_graph_maker(graph, node->operand[i]);
    while (maker && maker->operand_count == 1 &&
           ibx_tensor_op_get(maker->op)->klass == IBX_KLASS_VIEW) {
      maker = ibx_graph_maker(graph, maker->operand[0]);
    }
    bool constant = maker && maker->op == IBX_TENSOR_constant;
    count += node->operand[i] != value && !constant;
  }
  return count;
}

ibx_status ibx_pass_plan_fusion(ibx_pass_ctx *ctx, ibx_graph *graph) {
  ibx_uses uses = ibx_graph_uses(graph, ctx->scratch);
  // Computed tensors beside the anchor of the group of each node.
  uint32_t *beside = IBX_ARENA_ARRAY(ctx->scratch, graph->node_count, uint32_t);
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_node *node = &graph->nodes[n];
    node->decided.group = 0;
    if (!is_anchor(node)) continue;
    uint32_t value = predecessor(graph, &uses, node);
    node->decided.group = (int64_t)n + 1;
    if (value == IBX_NO_VALUE || ctx->options.level == 0) continue;
    uint32_t before = graph->values[value].node;
    uint32_t count = beside[before] + count_beside(graph, node, value);
    if (count > MOST_BESIDE) continue;
    beside[n] = count;
    node->decided.group = graph->nodes[before].decided.group;
  }
  return IBX_OK;
}
