// SPDX-License-Identifier: Apache-2.0
//
// Operations in bands.
//
//   before   %y = ibx.conv %x, %w                     : 1x64x224x224
//   after    %x0 = ibx.slice %x    %y0 = ibx.conv %x0, %w    : 1x64x112x224
//            %x1 = ibx.slice %x    %y1 = ibx.conv %x1, %w    : 1x64x112x224
//            %y = ibx.concat %y0, %y1 {place = "hbm"}
//
// A chain of groups goes through each band before the next one begins.
//
// Comes in a graph with groups and how some of them are cut. Goes out a graph
// in which each band is a group of its own, with the windows' padding where a
// band is at an edge; the parts meet in HBM, where slices for the next operation
// are views.

#include "passes/bands.h"
#include "passes/lower_window.h"
#include "passes/rewrite.h"

#include <string.h>

// Elements [start, end) of dimension `dim` of a result.
typedef struct band {
  int64_t start, end;
  uint8_t dim;
} band;

// ---- What a band of a result needs of its first operand, and the parameters

static int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t span_of(const ibx_params *params, int64_t taps, int i) {
  int64_t dilation = params->dilations.len > i ? params->dilations.at[i] : 1;
  return (taps - 1) * dilation + 1;
}

// Rows that the windows of the band read; the rest of them is padding.
static bool window_rows(ibx_params *params, int64_t taps, int64_t extent,
                        const band *b, band *rows) {
  int i = b->dim - 2;
  int64_t stride = params->strides.at[i];
  int64_t from = b->start * stride - params->low.at[i];
  int64_t to =
      (b->end - 1) * stride - params->low.at[i] + span_of(params, taps, i);
  rows->start = at_least(from, 0);
  rows->end = ibx_at_most(to, extent);
  if (rows->start >= rows->end) return false; // nothing but padding
  params->low.at[i] = rows->start - from;
  params->high.at[i] = to - rows->end;
  return true;
}

// Rows that add to the band of a transposed convolution.
static bool transposed_rows(ibx_params *params, int64_t taps, int64_t extent,
                            const band *b, band *rows) {
  int i = b->dim - 2;
  int64_t stride = params->strides.at[i], low = params->low.at[i];
  int64_t reach = span_of(params, taps, i) - 1;
  int64_t first = ibx_floor_div(b->start + low - reach + stride - 1, stride);
  first = ibx_at_most(first, (b->start + low) / stride);
  rows->start = ibx_at_most(at_least(first, 0), extent - 1);
  rows->end = ibx_at_most((b->end - 1 + low) / stride + 1, extent);
  if (rows->end <= rows->start) rows->end = rows->start + 1;
  params->low.at[i] = low + b->start - rows->start * stride;
  params->high.at[i] = 0;
  params->shape.at[b->dim] = b->end - b->start;
  return params->low.at[i] >= 0;
}

// Rows of the operand of a pad, of which some must be inside of the band.
static bool padded_rows(ibx_params *params, int64_t extent, const band *b,
                        band *rows) {
  int64_t low = params->low.at[b->dim];
  rows->start = at_least(b->start - low, 0);
  rows->end = ibx_at_most(b->end - low, extent);
  if (rows->start >= rows->end) return false;
  params->low.at[b->dim] = at_least(low - b->start, 0);
  params->high.at[b->dim] = at_least(b->end - low - extent, 0);
  return true;
}

// The dimension of a reduction's operand that is dimension `dim` of its result.
static uint8_t before_reduction(const ibx_node *node, uint8_t dim) {
  if (node->params.keepdims) return dim;
  uint8_t d = 0;
  for (uint8_t seen = 0;; d++) {
    bool is_reduced = false;
    for (uint8_t i = 0; i < node->params.axes.len; i++) {
      is_reduced = is_reduced || node->params.axes.at[i] == d;
    }
    if (!is_reduced && seen++ == dim) return d;
  }
}

// Which part of the first operand, along which of its dimensions.
static bool first_rows(const ibx_graph *graph, const ibx_node *node,
                       const band *b, ibx_params *params, band *rows) {
  *rows = *b;
  const ibx_type *x = &graph->values[node->operand[0]].type;
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  if (klass == IBX_KLASS_REDUCE) {
    rows->dim = before_reduction(node, b->dim);
    return true;
  }
  if (node->op == IBX_TENSOR_pad) {
    return padded_rows(params, x->dims[b->dim], b, rows);
  }
  bool is_conv =
      node->op == IBX_TENSOR_conv || node->op == IBX_TENSOR_conv_transpose;
  bool is_pool =
      node->op == IBX_TENSOR_max_pool || node->op == IBX_TENSOR_avg_pool;
  if (!is_conv && !is_pool) return true;
  if (b->dim < 2) {
    if (node->op == IBX_TENSOR_conv_transpose)
      params->shape.at[b->dim] = b->end - b->start;
    return true;
  }
  int64_t taps = is_pool ? params->kernel.at[b->dim - 2]
                         : graph->values[node->operand[1]].type.dims[b->dim];
  int64_t extent = x->dims[b->dim];
  return node->op == IBX_TENSOR_conv_transpose
             ? transposed_rows(params, taps, extent, b, rows)
             : window_rows(params, taps, extent, b, rows);
}

bool ibx_bands_is_cut(const ibx_graph *graph, const ibx_node *node, uint32_t i,
                      uint8_t dim) {
  uint8_t rank = graph->values[node->result].type.rank;
  switch (node->op) {
  case IBX_TENSOR_matmul: return dim != (i == 0 ? rank - 1 : rank - 2);
  case IBX_TENSOR_gather: return i == 1;
  case IBX_TENSOR_conv:
  case IBX_TENSOR_conv_transpose:
  case IBX_TENSOR_layer_norm:
  case IBX_TENSOR_rms_norm: return i == 0;
  default: return true;
  }
}

bool ibx_bands_operand_dim(const ibx_graph *graph, const ibx_node *node,
                           uint32_t i, uint8_t dim, uint8_t *out_dim) {
  if (!ibx_bands_can_cut(graph, node, dim) ||
      !ibx_bands_is_cut(graph, node, i, dim))
    return false;
  // Windows with steps or edges show it in the first two elements or the last.
  int64_t extent = graph->values[node->result].type.dims[dim];
  int64_t samples[] = {0, ibx_at_most(1, extent - 1), extent - 1};
  for (size_t s = 0; s < IBX_COUNT_OF(samples); s++) {
    band rows, b = {samples[s], samples[s] + 1, dim};
    ibx_params params = node->params;
    if (!first_rows(graph, node, &b, &params, &rows)) return false;
    if (rows.start != b.start || rows.end != b.end) return false;
    *out_dim = rows.dim;
  }
  return true;
}

// Parts of values of the old graph.
typedef struct bands {
  ibx_rewrite *rewrite;
  uint32_t *part; // made in this band of a chain, or IBX_NO_VALUE
} bands;

static uint32_t part_of(bands *own, uint32_t value, const band *rows) {
  if (own->part[value] != IBX_NO_VALUE) return own->part[value];
  return ibx_rewrite_slice(own->rewrite, own->rewrite->map[value], rows->dim,
                           rows->start, rows->end);
}

static uint32_t add_anchor(bands *own, const ibx_node *node, const band *b) {
  ibx_rewrite *rewrite = own->rewrite;
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_params params = node->params;
  band rows;
  if (!first_rows(rewrite->old, node, b, &params, &rows)) return IBX_NO_VALUE;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = ibx_bands_is_cut(rewrite->old, node, i, b->dim)
                      ? part_of(own, node->operand[i], &rows)
                      : rewrite->map[node->operand[i]];
  }
  return ibx_rewrite_add(rewrite, node->op, &params, operands,
                         node->operand_count);
}

// ---- Groups

bool ibx_bands_possible(const ibx_graph *graph, const ibx_node *anchor,
                        const ibx_cut *cut) {
  int64_t extent = graph->values[anchor->result].type.dims[cut->dim];
  for (int64_t at = 0; at < extent; at += cut->size) {
    band rows, b = {at, ibx_at_most(at + cut->size, extent), cut->dim};
    ibx_params params = anchor->params;
    if (!first_rows(graph, anchor, &b, &params, &rows)) return false;
  }
  return true;
}

// One band of a group: its anchor and the pointwise nodes behind it.
static void add_band(bands *own, uint32_t last, const band *b) {
  ibx_rewrite *rewrite = own->rewrite;
  const ibx_graph *old = rewrite->old;
  int64_t group = old->nodes[last].decided.group;
  uint32_t first = ibx_bands_first(old, last);
  rewrite->source = old->nodes[first].source;
  own->part[old->nodes[first].result] = add_anchor(own, &old->nodes[first], b);
  for (uint32_t n = first + 1; n <= last; n++) {
    const ibx_node *node = &old->nodes[n];
    uint32_t operands[IBX_NODE_OPERANDS];
    if (group == 0 || node->decided.group != group) continue;
    rewrite->source = node->source;
    for (uint32_t i = 0; i < node->operand_count; i++)
      operands[i] = part_of(own, node->operand[i], b);
    own->part[node->result] = ibx_rewrite_add(rewrite, node->op, &node->params,
                                              operands, node->operand_count);
  }
}

// The part of a view of what was made in this band.
static void add_view(bands *own, const ibx_node *node, const band *b) {
  ibx_params params = node->params;
  if (node->op == IBX_TENSOR_reshape)
    params.shape.at[b->dim] = b->end - b->start;
  own->rewrite->source = node->source;
  own->part[node->result] = ibx_rewrite_add(own->rewrite, node->op, &params,
                                            &own->part[node->operand[0]], 1);
}

// Band `number` of all groups that are cut together with the one that ends at
// `last`.
static uint32_t add_bands(bands *own, const ibx_cut *cuts, uint32_t last,
                          int64_t number) {
  const ibx_graph *old = own->rewrite->old;
  for (uint32_t n = cuts[last].first; n <= last; n++) {
    bool is_link =
        n == last || (cuts[n].kind == IBX_CUT_JOINED && cuts[n].end == last);
    if (!is_link) continue;
    int64_t start = number * cuts[n].size;
    int64_t extent = old->values[old->nodes[n].result].type.dims[cuts[n].dim];
    band b = {start, ibx_at_most(start + cuts[n].size, extent), cuts[n].dim};
    if (ibx_lower_is_view(&old->nodes[n])) {
      add_view(own, &old->nodes[n], &b);
    } else {
      add_band(own, n, &b);
    }
  }
  return own->part[old->nodes[last].result];
}

// What was made in a band is not there in the next one.
static void forget(bands *own, const ibx_cut *cuts, uint32_t last) {
  const ibx_graph *old = own->rewrite->old;
  for (uint32_t n = ibx_bands_first(old, cuts[last].first); n <= last; n++)
    own->part[old->nodes[n].result] = IBX_NO_VALUE;
}

static void put_in_hbm(ibx_rewrite *rewrite) {
  if (rewrite->status != IBX_OK) return;
  ibx_node *node = &rewrite->graph.nodes[rewrite->graph.node_count - 1];
  node->decided.place = IBX_PLACE_HBM;
}

static void cut_bands(bands *own, uint32_t last, const ibx_cut *cuts) {
  ibx_rewrite *rewrite = own->rewrite;
  const ibx_cut *cut = &cuts[last];
  uint32_t result = rewrite->old->nodes[last].result;
  int64_t extent = rewrite->old->values[result].type.dims[cut->dim];
  int64_t count = (extent + cut->size - 1) / cut->size;
  uint32_t *parts =
      IBX_ARENA_ARRAY(rewrite->ctx->scratch, (size_t)count, uint32_t);
  for (int64_t i = 0; i < count; i++) {
    parts[i] = add_bands(own, cuts, last, i);
    forget(own, cuts, last);
  }
  rewrite->map[result] =
      ibx_rewrite_join(rewrite, parts, (size_t)count, cut->dim, IBX_PLACE_HBM);
}

// ---- Reductions and products in parts

static ibx_tensor_op combiner(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_reduce_max: return IBX_TENSOR_max;
  case IBX_TENSOR_reduce_min: return IBX_TENSOR_min;
  case IBX_TENSOR_reduce_prod: return IBX_TENSOR_mul;
  default: return IBX_TENSOR_add;
  }
}

// The part of the operands [start, end) of what is reduced.
static uint32_t add_part(ibx_rewrite *rewrite, const ibx_node *node,
                         ibx_tensor_op op, const band *rows) {
  uint32_t operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint8_t dim =
        i == 0 ? rows->dim : rows->dim - 1; // rows of a product's other
    operands[i] = ibx_rewrite_slice(rewrite, rewrite->map[node->operand[i]],
                                    dim, rows->start, rows->end);
  }
  return ibx_rewrite_add(rewrite, op, &node->params, operands,
                         node->operand_count);
}

static void cut_reduction(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_cut *cut) {
  const ibx_type *type = &rewrite->old->values[node->operand[0]].type;
  uint32_t all = IBX_NO_VALUE;
  bool is_mean = node->op == IBX_TENSOR_reduce_mean;
  ibx_tensor_op op = is_mean ? IBX_TENSOR_reduce_sum : node->op;
  rewrite->source = node->source;
  for (int64_t at = 0; at < type->dims[cut->dim]; at += cut->size) {
    band rows = {at, ibx_at_most(at + cut->size, type->dims[cut->dim]),
                 cut->dim};
    uint32_t part = add_part(rewrite, node, op, &rows);
    uint32_t both[] = {all, part};
    ibx_params none = {0};
    all =
        at == 0 ? part : ibx_rewrite_add(rewrite, combiner(op), &none, both, 2);
  }
  if (is_mean) {
    double count = 1;
    for (uint8_t i = 0; i < node->params.axes.len; i++)
      count *= (double)type->dims[node->params.axes.at[i]];
    ibx_params scale = {.alpha = (float)(1.0 / count)};
    all = ibx_rewrite_add(rewrite, IBX_TENSOR_affine, &scale, &all, 1);
  }
  rewrite->map[node->result] = all;
}

// ---- Composites over rows that do not fit

static uint32_t unary(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t x,
                      float alpha, float beta) {
  ibx_params params = {.alpha = alpha, .beta = beta};
  return ibx_rewrite_add(rewrite, op, &params, &x, 1);
}

static uint32_t binary(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t a,
                       uint32_t b) {
  uint32_t operands[] = {a, b};
  return ibx_rewrite_add(rewrite, op, &(ibx_params){0}, operands, 2);
}

// A reduction over the dimensions of a composite, spread over them again.
static uint32_t spread_reduction(ibx_rewrite *rewrite, ibx_tensor_op op,
                                 uint32_t x, const ibx_ints *axes) {
  if (x == IBX_NO_VALUE) return x;
  ibx_params reduce = {.axes = *axes, .keepdims = 1}, full = {.alpha = 0};
  const ibx_type type = rewrite->graph.values[x].type;
  full.shape.len = type.rank;
  for (uint8_t d = 0; d < type.rank; d++)
    full.shape.at[d] = type.dims[d];
  uint32_t value = ibx_rewrite_add(rewrite, op, &reduce, &x, 1);
  return ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &full, &value, 1);
}

// softmax, or a norm without gain and bias, which legalise has split off.
static void expand(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t x = rewrite->map[node->operand[0]];
  uint8_t rank = rewrite->old->values[node->result].type.rank;
  ibx_ints axes = {.at = {node->params.axis}, .len = 1};
  rewrite->source = node->source;
  if (node->op == IBX_TENSOR_softmax) {
    x = binary(rewrite, IBX_TENSOR_sub, x,
               spread_reduction(rewrite, IBX_TENSOR_reduce_max, x, &axes));
    x = unary(rewrite, IBX_TENSOR_exp, x, 0, 0);
    rewrite->map[node->result] =
        binary(rewrite, IBX_TENSOR_div, x,
               spread_reduction(rewrite, IBX_TENSOR_reduce_sum, x, &axes));
    return;
  }
  for (int64_t d = node->params.axis + 1; d < rank; d++)
    axes.at[axes.len++] = d;
  if (node->op == IBX_TENSOR_layer_norm) {
    x = binary(rewrite, IBX_TENSOR_sub, x,
               spread_reduction(rewrite, IBX_TENSOR_reduce_mean, x, &axes));
  }
  uint32_t square = binary(rewrite, IBX_TENSOR_mul, x, x);
  square = spread_reduction(rewrite, IBX_TENSOR_reduce_mean, square, &axes);
  square =
      unary(rewrite, IBX_TENSOR_affine, square, 1.0f, node->params.epsilon);
  rewrite->map[node->result] =
      binary(rewrite, IBX_TENSOR_mul, x,
             unary(rewrite, IBX_TENSOR_rsqrt, square, 0, 0));
}

// ---- The graph

uint32_t ibx_bands_first(const ibx_graph *graph, uint32_t last) {
  int64_t group = graph->nodes[last].decided.group;
  return group > 0 ? (uint32_t)(group - 1) : last;
}

// Whether a later node of the same group is cut: it does this one as well.
static bool *covered_nodes(ibx_pass_ctx *ctx, const ibx_graph *graph,
                           const ibx_cut *cuts) {
  bool *covered = IBX_ARENA_ARRAY(ctx->scratch, graph->node_count, bool);
  for (uint32_t last = 0; last < graph->node_count; last++) {
    int64_t group = graph->nodes[last].decided.group;
    ibx_cut_kind kind = cuts[last].kind;
    if ((kind != IBX_CUT_BANDS && kind != IBX_CUT_JOINED) || group == 0)
      continue;
    for (uint32_t n = ibx_bands_first(graph, last); n < last; n++) {
      covered[n] = covered[n] || graph->nodes[n].decided.group == group;
    }
  }
  return covered;
}

static uint32_t *no_values(ibx_arena *arena, size_t count) {
  uint32_t *values = IBX_ARENA_ARRAY(arena, count, uint32_t);
  for (size_t i = 0; i < count; i++)
    values[i] = IBX_NO_VALUE;
  return values;
}

ibx_status ibx_bands_cut(ibx_pass_ctx *ctx, ibx_graph *graph,
                         const ibx_cut *cuts) {
  bool *covered = covered_nodes(ctx, graph, cuts);
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  bands own = {&rewrite, no_values(ctx->scratch, graph->value_count)};
  for (uint32_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (covered[n]) continue;
    switch (cuts[n].kind) {
    case IBX_CUT_BANDS: cut_bands(&own, n, cuts); break;
    case IBX_CUT_JOINED: break;
    case IBX_CUT_PARTIAL: cut_reduction(&rewrite, node, &cuts[n]); break;
    case IBX_CUT_EXPAND: expand(&rewrite, node); break;
    case IBX_CUT_HOME:
    case IBX_CUT_NONE:
      rewrite.source = node->source;
      ibx_rewrite_copy(&rewrite, node);
      if (cuts[n].kind == IBX_CUT_HOME) put_in_hbm(&rewrite);
      break;
    }
  }
  return ibx_rewrite_end(&rewrite, graph);
}
