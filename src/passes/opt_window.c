// SPDX-License-Identifier: Apache-2.0
//
// opt_window: windows whose taps and steps share a factor.
//
//   before   %y = ibx.max_pool %x {strides = 10, dilations = 10, kernel = 60}
//   after    %s = ibx.slice %x : every 10th element
//            %y = ibx.max_pool %s {strides = 1, dilations = 1, kernel = 60}
//
// All that such a window reads are elements at one distance, of which each is
// read by many windows; the slice is a view, and what it leaves is small.
//
// Needs:    nothing.
// Provides: in each spatial dimension the step and the distance of the taps (of
//           windows of several) have no common factor.

#include "passes/rewrite.h"

static int64_t common_factor(int64_t a, int64_t b) {
  while (b != 0) {
    int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static int64_t taps_of(const ibx_graph *graph, const ibx_node *node, int i) {
  if (node->op == IBX_TENSOR_conv)
    return graph->values[node->operand[1]].type.dims[i + 2];
  return node->params.kernel.at[i];
}

// The distance that all elements which a dimension's windows read have from each
// other, or a multiple of it; 1 when there is nothing to gain.
static int64_t distance(const ibx_graph *graph, const ibx_node *node, int i) {
  const ibx_params *p = &node->params;
  if (taps_of(graph, node, i) == 1) return 1; // a slice already
  int64_t dilation = p->dilations.len > i ? p->dilations.at[i] : 1;
  return common_factor(p->strides.at[i], dilation);
}

typedef struct thinning {
  ibx_params window, slice;
} thinning;

// Keeps every `step`-th element of dimension i, from the first that a window
// could read on.
static bool thin(const ibx_graph *graph, const ibx_node *node, int i,
                 int64_t step, thinning *t) {
  ibx_params *w = &t->window;
  int64_t in = graph->values[node->operand[0]].type.dims[i + 2];
  int64_t out = graph->values[node->result].type.dims[i + 2];
  int64_t first = (step - w->low.at[i] % step) % step;
  w->low.at[i] = (w->low.at[i] + first) / step;
  w->strides.at[i] /= step;
  if (w->dilations.len > i) w->dilations.at[i] /= step;
  int64_t dilation = w->dilations.len > i ? w->dilations.at[i] : 1;
  int64_t span = (taps_of(graph, node, i) - 1) * dilation + 1;
  int64_t needed = (out - 1) * w->strides.at[i] + span - w->low.at[i];
  int64_t kept = in > first ? (in - first + step - 1) / step : 0;
  if (kept > needed) kept = needed;
  if (kept < 1) return false;
  w->high.at[i] = needed - kept;
  t->slice.starts.at[i + 2] = first;
  t->slice.steps.at[i + 2] = step;
  t->slice.shape.at[i + 2] = kept;
  return true;
}

static bool rewrite_window(ibx_rewrite *rewrite, const ibx_node *node) {
  const ibx_graph *graph = rewrite->old;
  const ibx_type *x = &graph->values[node->operand[0]].type;
  thinning t = {.window = node->params};
  bool any = false;
  if (node->op != IBX_TENSOR_conv && node->op != IBX_TENSOR_max_pool &&
      node->op != IBX_TENSOR_avg_pool) {
    return false;
  }
  t.slice.starts.len = t.slice.steps.len = t.slice.shape.len = x->rank;
  for (int d = 0; d < x->rank; d++) {
    t.slice.steps.at[d] = 1;
    t.slice.shape.at[d] = x->dims[d];
  }
  for (int i = 0; i + 2 < x->rank; i++) {
    int64_t step = distance(graph, node, i);
    if (step == 1) continue;
    if (!thin(graph, node, i, step, &t)) return false;
    any = true;
  }
  if (!any) return false;
  uint32_t operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node->operand_count; i++)
    operands[i] = rewrite->map[node->operand[i]];
  operands[0] =
      ibx_rewrite_add(rewrite, IBX_TENSOR_slice, &t.slice, operands, 1);
  rewrite->map[node->result] = ibx_rewrite_add(rewrite, node->op, &t.window,
                                               operands, node->operand_count);
  return true;
}

ibx_status ibx_pass_opt_window(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (ctx->options.level == 0) return IBX_OK;
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    rewrite.source = node->source;
    if (!rewrite_window(&rewrite, node)) ibx_rewrite_copy(&rewrite, node);
  }
  return ibx_rewrite_end(&rewrite, graph);
}
