// SPDX-License-Identifier: Apache-2.0
//
// legalise_groups: convolutions whose groups do not fill tiles of channels.
//
//   before   %y = ibx.conv %x, %w {groups = 4}   : 136 channels make 136
//   after    %y0 = ibx.conv of groups 0 to 2     : 102 channels
//            %y1 = ibx.conv of group 3           :  34 channels
//            %y = ibx.concat %y0, %y1
//
// One product makes all groups that share a tile of partitions, from weights
// that are packed into a block-diagonal matrix when the model compiles. Groups
// that cross the end of a tile are done in runs that do not, and groups with
// computed weights one by one.

#include "passes/rewrite.h"

typedef struct grouping {
  int64_t groups;
  int64_t in, out; // channels of a group
} grouping;

static grouping grouping_of(const ibx_graph *graph, const ibx_node *node) {
  const ibx_type *x = &graph->values[node->operand[0]].type;
  const ibx_type *y = &graph->values[node->result].type;
  int64_t groups = node->params.groups;
  return (grouping){groups, x->dims[1] / groups, y->dims[1] / groups};
}

// Whether each tile of channels holds whole groups, whose outputs begin where a
// tile or a quadrant of one does.
static bool fills_tiles(const grouping *g) {
  int64_t tile = IBX_PARTITIONS / g->in;
  if (g->groups * g->in <= IBX_PARTITIONS) return true;
  if (g->in > IBX_PARTITIONS || IBX_PARTITIONS % g->in != 0)
    return g->out % 32 == 0;
  return tile * g->out % 32 == 0 && g->groups * g->out > IBX_PARTITIONS;
}

static bool is_constant(const ibx_graph *graph, uint32_t value) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  while (node && node->operand_count == 1 &&
         ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW) {
    node = ibx_graph_maker(graph, node->operand[0]);
  }
  return node && node->op == IBX_TENSOR_constant;
}

// Groups that one convolution may have; 0: as many as there are.
static int64_t run_of(const ibx_graph *graph, const ibx_node *node) {
  if (node->op != IBX_TENSOR_conv && node->op != IBX_TENSOR_conv_transpose)
    return 0;
  if (node->params.groups == 1) return 0;
  grouping g = grouping_of(graph, node);
  if (!is_constant(graph, node->operand[1])) return 1;
  if (fills_tiles(&g)) return 0;
  int64_t run = IBX_PARTITIONS / (g.in > g.out ? g.in : g.out);
  return run > 1 ? run : 1;
}

static void split(ibx_rewrite *rewrite, const ibx_node *node, int64_t run) {
  grouping g = grouping_of(rewrite->old, node);
  uint32_t x = rewrite->map[node->operand[0]];
  uint32_t w = rewrite->map[node->operand[1]];
  int64_t filters = rewrite->old->values[node->operand[1]].type.dims[0];
  size_t count = 0;
  uint32_t *parts = IBX_ARENA_ARRAY(
      rewrite->ctx->scratch, (size_t)((g.groups + run - 1) / run), uint32_t);
  for (int64_t at = 0; at < g.groups; at += run) {
    int64_t end = at + run < g.groups ? at + run : g.groups;
    int64_t rows = filters / g.groups;
    ibx_params params = node->params;
    params.groups = end - at;
    if (node->op == IBX_TENSOR_conv_transpose)
      params.shape.at[1] = (end - at) * g.out;
    uint32_t operands[] = {
        ibx_rewrite_slice(rewrite, x, 1, at * g.in, end * g.in),
        ibx_rewrite_slice(rewrite, w, 0, at * rows, end * rows)};
    parts[count++] = ibx_rewrite_add(rewrite, node->op, &params, operands, 2);
  }
  rewrite->map[node->result] = ibx_rewrite_join(rewrite, parts, count, 1, NULL);
}

ibx_status ibx_pass_legalise_groups(ibx_pass_ctx *ctx, ibx_graph *graph) {
  bool any = false;
  for (size_t n = 0; n < graph->node_count && !any; n++)
    any = run_of(graph, &graph->nodes[n]) > 0;
  if (!any) return IBX_OK;
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    int64_t run = run_of(graph, node);
    rewrite.source = node->source;
    if (run > 0)
      split(&rewrite, node, run);
    else
      ibx_rewrite_copy(&rewrite, node);
  }
  return ibx_rewrite_end(&rewrite, graph);
}
