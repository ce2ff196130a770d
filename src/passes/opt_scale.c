// SPDX-License-Identifier: Apache-2.0
//
// opt_scale: folds factors of output channels into the weights of convolutions.
//
//   before   %c = ibx.conv %x, %w      %m = ibx.mul %c, (ibx.broadcast %f)
//   after    %m = ibx.conv %x, %w'     with w'[o, ...] = w[o, ...] * f[o]
//
// Comes in: batch normalisations as products and sums of constants. Goes out:
// sums alone, so that the epilogue of a convolution is one instruction a tile.
// Skips: convolutions that somebody else reads, weights that are computed.

#include "passes/rewrite.h"

#include <string.h>

enum { RUN = 256 };

// The constant behind reshapes and a broadcast, when it varies along dimension
// 1 of `like` only: its number of elements is 1 or the channels.
static const ibx_weight *factors_of(const ibx_graph *graph, uint32_t value,
                                    const ibx_type *like) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  ibx_type seen = graph->values[value].type;
  if (node && node->op == IBX_TENSOR_broadcast) {
    seen = graph->values[node->operand[0]].type;
    node = ibx_graph_maker(graph, node->operand[0]);
  }
  for (uint8_t d = 0; d < seen.rank; d++) {
    if (seen.dims[d] != 1 && (d != 1 || seen.dims[d] != like->dims[d])) {
      return NULL;
    }
  }
  while (node && node->op == IBX_TENSOR_reshape) {
    node = ibx_graph_maker(graph, node->operand[0]);
  }
  if (!node || node->op != IBX_TENSOR_constant || seen.rank != like->rank) {
    return NULL;
  }
  return &graph->tables->weights[node->params.weight];
}

static bool is_float(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT &&
         ibx_dtype_bytes(dtype) <= sizeof(float);
}

static float element(const ibx_weight *weight, size_t index) {
  float value;
  ibx_dtype dtype = weight->type.dtype;
  ibx_dtype_load_f32(
      dtype, (const uint8_t *)weight->data + index * ibx_dtype_bytes(dtype),
      &value, 1);
  return value;
}

// How the output channels lie in the weights: `outer` times, for each of
// `channels`, `inner` elements. Those of a transposed convolution repeat for
// each input channel of their group.
typedef struct channel_walk {
  size_t outer, channels, inner, groups;
  bool is_transposed;
} channel_walk;

static channel_walk walk_of(const ibx_node *conv, const ibx_type *w) {
  channel_walk walk = {.inner = 1,
                       .groups = (size_t)conv->params.groups,
                       .is_transposed = conv->op == IBX_TENSOR_conv_transpose};
  for (uint8_t d = 2; d < w->rank; d++)
    walk.inner *= (size_t)w->dims[d];
  walk.outer = walk.is_transposed ? (size_t)w->dims[0] : 1;
  walk.channels = (size_t)w->dims[walk.is_transposed ? 1 : 0];
  if (!walk.is_transposed) walk.inner *= (size_t)w->dims[1];
  return walk;
}

static size_t channel_of(const channel_walk *walk, size_t i, size_t o) {
  if (!walk->is_transposed) return o;
  return i / (walk->outer / walk->groups) * walk->channels + o;
}

static void scale_run(const ibx_weight *w, size_t from, size_t count,
                      float factor, float *out) {
  size_t bytes = ibx_dtype_bytes(w->type.dtype);
  for (size_t i = 0; i < count; i += RUN) {
    size_t part = count - i < RUN ? count - i : RUN;
    ibx_dtype_load_f32(w->type.dtype,
                       (const uint8_t *)w->data + (from + i) * bytes, out + i,
                       part);
    for (size_t k = 0; k < part; k++)
      out[i + k] *= factor;
  }
}

static uint32_t scaled_row(ibx_rewrite *rewrite, const ibx_node *conv,
                           uint32_t row, const ibx_weight *factors) {
  ibx_tables *tables = rewrite->graph.tables;
  ibx_weight weight = tables->weights[row];
  channel_walk walk = walk_of(conv, &weight.type);
  int64_t elements = 0, factor_count = 0;
  ibx_type_elements(&weight.type, &elements);
  ibx_type_elements(&factors->type, &factor_count);
  float *out = IBX_ARENA_ARRAY(rewrite->ctx->arena, (size_t)elements, float);
  for (size_t i = 0; i < walk.outer; i++) {
    for (size_t o = 0; o < walk.channels; o++) {
      size_t from = (i * walk.channels + o) * walk.inner;
      size_t at = factor_count == 1 ? 0 : channel_of(&walk, i, o);
      scale_run(&weight, from, walk.inner, element(factors, at), out + from);
    }
  }
  weight.data = out;
  weight.type.dtype = IBX_DTYPE_F32;
  return ibx_tables_add_weight(tables, rewrite->ctx->arena, weight);
}

// A convolution with constant weights that only this user reads.
static const ibx_node *scalable(const ibx_rewrite *rewrite, uint32_t value,
                                const ibx_node **out_weights) {
  const ibx_graph *graph = rewrite->old;
  const ibx_node *conv = ibx_graph_maker(graph, value);
  if (!conv ||
      (conv->op != IBX_TENSOR_conv && conv->op != IBX_TENSOR_conv_transpose)) {
    return NULL;
  }
  if (!ibx_is_used_once(&rewrite->uses, value)) return NULL;
  const ibx_node *weights = ibx_graph_maker(graph, conv->operand[1]);
  if (!weights || weights->op != IBX_TENSOR_constant) return NULL;
  const ibx_weight *row = &graph->tables->weights[weights->params.weight];
  if (!is_float(row->type.dtype) || !is_float(weights->params.dtype)) {
    return NULL;
  }
  *out_weights = weights;
  return conv;
}

static bool fold(ibx_rewrite *rewrite, const ibx_node *node) {
  const ibx_graph *graph = rewrite->old;
  if (node->op != IBX_TENSOR_mul) return false;
  for (uint32_t i = 0; i < 2; i++) {
    const ibx_node *weights;
    const ibx_node *conv = scalable(rewrite, node->operand[i], &weights);
    if (!conv) continue;
    const ibx_type *type = &graph->values[conv->result].type;
    const ibx_weight *factors = factors_of(graph, node->operand[1 - i], type);
    if (!factors || !is_float(factors->type.dtype)) continue;
    ibx_params params = weights->params;
    params.weight = scaled_row(rewrite, conv, (uint32_t)params.weight, factors);
    rewrite->source = conv->source;
    uint32_t operands[] = {
        rewrite->map[conv->operand[0]],
        ibx_rewrite_add(rewrite, IBX_TENSOR_constant, &params, NULL, 0)};
    rewrite->map[node->result] =
        ibx_rewrite_add(rewrite, conv->op, &conv->params, operands, 2);
    return true;
  }
  return false;
}

ibx_status ibx_pass_opt_scale(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (ctx->options.level == 0) return IBX_OK;
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, NULL);
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    rewrite.source = node->source;
    if (!fold(&rewrite, node)) ibx_rewrite_copy(&rewrite, node);
  }
  return ibx_rewrite_end(&rewrite, graph);
}
