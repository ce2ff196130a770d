// SPDX-License-Identifier: Apache-2.0
//
// opt_algebra: removes what changes nothing and moves numbers to where they ride
// along with other work.
//
//   before   %s = ibx.softmax %x    %n = ibx.is_nan %s
//            %g = ibx.select %n, 0, %s
//   after    %s
//
//   before   %s = ibx.softplus %x    %c = ibx.less 20, %x
//            %g = ibx.select %c, %x, %s
//   after    %s
//
//   before   %t = ibx.transpose %x   %m = ibx.mul %t, 0.35
//   after    %m = ibx.mul %x, 0.35   %t = ibx.transpose %m
//
//   before   %r = ibx.reshape %x     %a = ibx.add %r, %b
//   after    %a = ibx.add %x, (ibx.reshape %b)     %r = ibx.reshape %a
//
// (where the reshape only adds or drops extents of 1). The first holds where a
// row has finite numbers, so it is kept where a mask may cover a whole row with
// minus infinity. The others let the operation join the epilogue of what makes
// %x. Also: casts to the dtype a value has, factors of 1, sums with 0.

#include "passes/infinite.h"
#include "passes/rewrite.h"

static bool is_guarded_softmax(const ibx_graph *graph, const ibx_node *node,
                               ibx_arena *scratch) {
  const ibx_node *condition = ibx_graph_maker(graph, node->operand[0]);
  if (!condition || condition->op != IBX_TENSOR_is_nan) return false;
  if (condition->operand[0] != node->operand[2]) return false;
  const ibx_node *guarded = ibx_graph_maker(graph, node->operand[2]);
  if (!guarded || guarded->op != IBX_TENSOR_softmax) return false;
  bool is_last = guarded->params.axis + 1 ==
                 (int64_t)graph->values[guarded->result].type.rank;
  return is_last &&
         !ibx_may_have_infinite_row(graph, guarded->operand[0], scratch);
}

// x where it is above a limit, else softplus(x), which is x there: exporters keep
// the exponential from overflowing.
static bool is_guarded_softplus(const ibx_graph *graph, const ibx_node *node) {
  const float least = 17.0f; // log(1 + exp(-17)) is lost beside 17 in fp32
  float limit;
  const ibx_node *condition = ibx_graph_maker(graph, node->operand[0]);
  const ibx_node *guarded = ibx_graph_maker(graph, node->operand[2]);
  return condition && guarded && guarded->op == IBX_TENSOR_softplus &&
         guarded->operand[0] == node->operand[1] &&
         (condition->op == IBX_TENSOR_less ||
          condition->op == IBX_TENSOR_less_equal) &&
         condition->operand[1] == node->operand[1] &&
         ibx_graph_uniform(graph, condition->operand[0], &limit) &&
         limit >= least;
}

// The operand that a node passes on unchanged, or IBX_NO_VALUE.
static uint32_t passed_on(const ibx_graph *graph, const ibx_node *node,
                          ibx_arena *scratch) {
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
  case IBX_TENSOR_add:
    for (uint32_t i = 0; i < 2; i++) {
      if (ibx_graph_uniform(graph, node->operand[1 - i], &number) &&
          number == 0.0f) {
        return node->operand[i];
      }
    }
    break;
  case IBX_TENSOR_select:
    if (is_guarded_softmax(graph, node, scratch) ||
        is_guarded_softplus(graph, node))
      return node->operand[2];
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
  if (!ibx_is_used_once(&rewrite->uses, value)) return false;
  const ibx_node *maker = ibx_graph_maker(rewrite->old, node->operand[0]);
  if (!maker || maker->op == IBX_TENSOR_constant) return false;
  *out_view = node;
  return true;
}

// Whether a value of the new graph is a reshape that only adds or drops extents
// of 1, of something computed.
static bool is_unit_reshape(const ibx_graph *graph, uint32_t value,
                            uint32_t *out_operand) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  if (!node || node->op != IBX_TENSOR_reshape) return false;
  const ibx_type *from = &graph->values[node->operand[0]].type;
  const ibx_type *to = &graph->values[value].type;
  uint8_t f = 0, t = 0;
  for (;;) {
    while (f < from->rank && from->dims[f] == 1)
      f++;
    while (t < to->rank && to->dims[t] == 1)
      t++;
    if (f == from->rank || t == to->rank) break;
    if (from->dims[f++] != to->dims[t++]) return false;
  }
  const ibx_node *maker = ibx_graph_maker(graph, node->operand[0]);
  if (f != from->rank || t != to->rank || !maker) return false;
  if (maker->op == IBX_TENSOR_constant || maker->op == IBX_TENSOR_broadcast) {
    return false;
  }
  *out_operand = node->operand[0];
  return true;
}

// Adds a pointwise node, before the reshape of operand `lead` where there is
// one, and returns its value.
static uint32_t add_pointwise(ibx_rewrite *rewrite, const ibx_node *node,
                              const uint32_t *operands, uint32_t lead) {
  ibx_graph *graph = &rewrite->graph;
  uint32_t inner, moved[IBX_NODE_OPERANDS];
  if (lead >= node->operand_count ||
      !is_unit_reshape(graph, operands[lead], &inner)) {
    return ibx_rewrite_add(rewrite, node->op, &node->params, operands,
                           node->operand_count);
  }
  ibx_type outer = graph->values[operands[lead]].type;
  ibx_params to = {.shape = ibx_extents(&graph->values[inner].type)};
  for (uint32_t i = 0; i < node->operand_count; i++) {
    moved[i] = i == lead ? inner
                         : ibx_rewrite_add(rewrite, IBX_TENSOR_reshape, &to,
                                           &operands[i], 1);
    if (moved[i] == IBX_NO_VALUE) return IBX_NO_VALUE;
  }
  uint32_t value = ibx_rewrite_add(rewrite, node->op, &node->params, moved,
                                   node->operand_count);
  ibx_params back = {.shape = ibx_extents(&outer)};
  return ibx_rewrite_add(rewrite, IBX_TENSOR_reshape, &back, &value, 1);
}

// A pointwise node whose operand is such a reshape, used by it alone.
static bool sink_reshape(ibx_rewrite *rewrite, const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  if (klass != IBX_KLASS_UNARY && klass != IBX_KLASS_BINARY) return false;
  uint32_t operands[IBX_NODE_OPERANDS], lead = IBX_NODE_OPERANDS, inner;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint32_t value = node->operand[i];
    bool single = ibx_is_used_once(&rewrite->uses, value);
    operands[i] = rewrite->map[value];
    if (single && is_unit_reshape(&rewrite->graph, operands[i], &inner))
      lead = i;
  }
  if (lead == IBX_NODE_OPERANDS) return false;
  rewrite->map[node->result] = add_pointwise(rewrite, node, operands, lead);
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
  ibx_params params = {.alpha =
                           node->op == IBX_TENSOR_div ? 1.0f / number : number};
  uint32_t at_value = rewrite->map[value];
  ibx_node scale = {
      .op = IBX_TENSOR_affine, .params = params, .operand_count = 1};
  bool single =
      rewrite->uses.first[value + 1] - rewrite->uses.first[value] == 1;
  at_value =
      add_pointwise(rewrite, &scale, &at_value, single ? 0 : IBX_NODE_OPERANDS);
  while (count > 0 && rewrite->status == IBX_OK) {
    view = views[--count];
    at_value = ibx_rewrite_add(rewrite, view->op, &view->params, &at_value, 1);
  }
  rewrite->map[node->result] = at_value;
  return true;
}

ibx_status ibx_pass_opt_algebra(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (ctx->options.level == 0) return IBX_OK;
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    rewrite.source = node->source;
    uint32_t same = passed_on(graph, node, ctx->scratch);
    if (same != IBX_NO_VALUE) {
      rewrite.map[node->result] = rewrite.map[same];
    } else if (!sink_number(&rewrite, node) && !sink_reshape(&rewrite, node)) {
      ibx_rewrite_copy(&rewrite, node);
    }
  }
  return ibx_rewrite_end(&rewrite, graph);
}
