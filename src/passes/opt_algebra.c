// SPDX-License-Identifier: Apache-2.0
//
// opt_algebra: removes what changes nothing and moves numbers to where they ride
// along with other work.
//
//   before   %s = ibx.softmax %x    %n = ibx.is_nan %s
//            %g = ibx.select %n, 0, %s
//   after    %s
//
//   before   %t = ibx.transpose %x   %m = ibx.mul %t, 0.35
//   after    %m = ibx.mul %x, 0.35   %t = ibx.transpose %m
//
// The first holds because softmax of finite numbers has no NaN; masks of finite
// numbers keep them finite. The second lets the factor join the epilogue of what
// makes %x. Also: casts to the dtype a value has, factors of 1, sums with 0.

#include "passes/rewrite.h"

static bool is_guarded_softmax(const ibx_graph *graph, const ibx_node *node) {
  const ibx_node *condition = ibx_graph_maker(graph, node->operand[0]);
  if (!condition || condition->op != IBX_TENSOR_is_nan) return false;
  if (condition->operand[0] != node->operand[2]) return false;
  const ibx_node *guarded = ibx_graph_maker(graph, node->operand[2]);
  return guarded && guarded->op == IBX_TENSOR_softmax;
}

// The operand that a node passes on unchanged, or IBX_NO_VALUE.
static uint32_t passed_on(const ibx_graph *graph, const ibx_node *node) {
  float number;
  const ibx_type *type = &graph->values[node->result].type;
  switch (node->op) {
  case IBX_TENSOR_cast:
    if (graph->values[node->operand[0]].type.dtype != type->dtype) break;
    return node->operand[0];
  case IBX_TENSOR_mul:
    for (uint32_t i = 0; i < 2; i++) {
      if (ibx_graph_uniform(graph, node->operand[1 - i], &number) &&
          number == 1.0f) {
        return node->operand[i];
      }
    }
    break;
  case IBX_TENSOR_select:
    if (is_guarded_softmax(graph, node)) return node->operand[2];
    break;
  default: break;
  }
  return IBX_NO_VALUE;
}

static bool is_single_view(const ibx_rewrite *rewrite, uint32_t value,
                           const ibx_node **out_view) {
  const ibx_node *node = ibx_graph_maker(rewrite->old, value);
  if (!node || node->operand_count != 1) return false;
  if (node->op != IBX_TENSOR_reshape && node->op != IBX_TENSOR_transpose) {
    return false;
  }
  const ibx_uses *uses = &rewrite->uses;
  if (uses->is_output[value] || uses->first[value + 1] - uses->first[value] != 1) {
    return false;
  }
  const ibx_node *maker = ibx_graph_maker(rewrite->old, node->operand[0]);
  if (!maker || maker->op == IBX_TENSOR_constant) return false;
  *out_view = node;
  return true;
}

// f(view(x)) with a single number beside x, as view(f(x)). Returns false when
// the node has another form.
static bool sink_number(ibx_rewrite *rewrite, const ibx_node *node) {
  const ibx_graph *graph = rewrite->old;
  if (node->op != IBX_TENSOR_mul && node->op != IBX_TENSOR_div) return false;
  float number;
  uint32_t at = 0;
  if (!ibx_graph_uniform(graph, node->operand[1], &number)) {
    if (node->op == IBX_TENSOR_div ||
        !ibx_graph_uniform(graph, node->operand[0], &number)) {
      return false;
    }
    at = 1;
  }
  const ibx_node *views[16], *view;
  size_t count = 0;
  uint32_t value = node->operand[at];
  while (count < 16 && is_single_view(rewrite, value, &view)) {
    views[count++] = view;
    value = view->operand[0];
  }
  if (count == 0) return false;
  ibx_params params = {.alpha = node->op == IBX_TENSOR_div ? 1.0f / number : number};
  uint32_t at_value = rewrite->map[value];
  at_value = ibx_rewrite_add(rewrite, IBX_TENSOR_affine, &params, &at_value, 1);
  while (count > 0 && rewrite->status == IBX_OK) {
    view = views[--count];
    at_value = ibx_rewrite_add(rewrite, view->op, &view->params, &at_value, 1);
  }
  rewrite->map[node->result] = at_value;
  return true;
}

ibx_status ibx_pass_opt_algebra(ibx_pass_ctx *ctx, ibx_graph *graph) {
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    rewrite.source = node->source;
    uint32_t same = passed_on(graph, node);
    if (same != IBX_NO_VALUE) {
      rewrite.map[node->result] = rewrite.map[same];
    } else if (!sink_number(&rewrite, node)) {
      ibx_rewrite_copy(&rewrite, node);
    }
  }
  return ibx_rewrite_end(&rewrite, graph);
}
