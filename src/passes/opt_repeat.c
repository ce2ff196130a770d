// SPDX-License-Identifier: Apache-2.0
//
// opt_repeat: does not repeat what a product would read several times.
//
//   before   %k2 = ibx.reshape (ibx.broadcast %k)         each head 4 times
//            %s  = ibx.matmul %q, %k2                     [32, S, D] x [32, D, T]
//   after    %q2 = ibx.reshape %q                         [8, 4 * S, D]
//            %p  = ibx.matmul %q2, %k                     .. x [8, D, T]
//            %s  = ibx.reshape %p
//
// Queries in groups share a head of keys and values, which exporters repeat by
// an Expand and a Reshape, and importers of fused attention do the same. The
// queries of a group become rows of one product: its stationary operand is
// loaded once, and rows that were few (one, in decoding) fill the array. Where
// they do not fit in one tile there is nothing to fill, and what follows would
// have to take the tiles apart again.
//
// A value is a repetition when element i along one dimension is element i / times
// of its source. Views, functions of one operand and factors keep it one, and are
// then done on the source. Skips: products whose first operand repeats.

#include "passes/rewrite.h"

typedef struct repetition {
  uint32_t source; // of the new graph
  uint8_t dim;
  int64_t times; // 0: the value is none
} repetition;

typedef struct repeats {
  ibx_rewrite rewrite;
  repetition *of; // old value
} repeats;

// The same operation on the source.
static repetition redone(repeats *r, ibx_tensor_op op, const ibx_params *params,
                         repetition of, uint8_t dim) {
  of.source = ibx_rewrite_add(&r->rewrite, op, params, &of.source, 1);
  of.dim = dim;
  return of;
}

// A broadcast of one dimension.
static repetition broadcast(repeats *r, const ibx_node *node) {
  const ibx_type *from = &r->rewrite.old->values[node->operand[0]].type;
  repetition made = {.source = r->rewrite.map[node->operand[0]]};
  for (uint8_t d = 0; d < from->rank; d++) {
    if (from->dims[d] == node->params.shape.at[d]) continue;
    if (made.times) return (repetition){0};
    made.dim = d;
    made.times = node->params.shape.at[d];
  }
  return made;
}

static repetition transpose(repeats *r, const ibx_node *node, repetition of) {
  uint8_t dim = 0;
  while (node->params.perm.at[dim] != of.dim)
    dim++;
  return redone(r, node->op, &node->params, of, dim);
}

// Rows repeat one after the other as long as the dimension is the last of those
// that are joined or split, and the last of what becomes of them holds whole runs.
static repetition reshape(repeats *r, const ibx_node *node, repetition of) {
  const ibx_type *type = &r->rewrite.old->values[node->operand[0]].type;
  ibx_params params = node->params;
  ibx_ints *to = &params.shape;
  int64_t rows = 1, seen = 1;
  for (uint8_t d = 0; d <= of.dim; d++)
    rows *= type->dims[d];
  for (uint8_t d = 0; d < to->len; d++) {
    seen *= to->at[d];
    if (seen != rows || to->at[d] == 1) continue;
    if (rows == 0 || to->at[d] % of.times != 0) break;
    to->at[d] /= of.times;
    return redone(r, node->op, &params, of, d);
  }
  return (repetition){0};
}

// A factor beside the value.
static repetition factor(repeats *r, const ibx_node *node) {
  ibx_dtype dtype = r->rewrite.old->values[node->result].type.dtype;
  if (ibx_dtype_get(dtype)->kind != IBX_DTYPE_KIND_FLOAT) {
    return (repetition){0};
  }
  for (uint32_t i = 0; i < 2; i++) {
    repetition of = r->of[node->operand[i]];
    float number;
    if (!of.times ||
        !ibx_graph_uniform(r->rewrite.old, node->operand[1 - i], &number)) {
      continue;
    }
    ibx_params scale = {.alpha = number};
    return redone(r, IBX_TENSOR_affine, &scale, of, of.dim);
  }
  return (repetition){0};
}

static repetition repetition_of(repeats *r, const ibx_node *node) {
  if (node->op == IBX_TENSOR_broadcast) return broadcast(r, node);
  if (node->op == IBX_TENSOR_mul) return factor(r, node);
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  repetition of = {0};
  if (node->operand_count == 1) of = r->of[node->operand[0]];
  if (!of.times) return of;
  if (node->op == IBX_TENSOR_transpose) return transpose(r, node, of);
  if (node->op == IBX_TENSOR_reshape) return reshape(r, node, of);
  if (klass != IBX_KLASS_UNARY) return (repetition){0};
  return redone(r, node->op, &node->params, of, of.dim);
}

// Whether the repeated dimension is the last one of the batch with elements, so
// that its copies are neighbours of the rows.
static bool is_innermost(const ibx_type *type, uint8_t dim) {
  uint8_t d = (uint8_t)(dim + 1);
  while (d + 2 < type->rank && type->dims[d] == 1)
    d++;
  return d + 2 == type->rank;
}

static bool share(repeats *r, const ibx_node *node) {
  if (node->op != IBX_TENSOR_matmul) return false;
  repetition of = r->of[node->operand[1]];
  const ibx_graph *old = r->rewrite.old;
  const ibx_type *type = &old->values[node->operand[0]].type;
  if (!of.times || of.dim + 2 >= type->rank) return false;
  if (!is_innermost(type, of.dim)) return false;
  if (of.times * type->dims[type->rank - 2] > IBX_PARTITIONS) return false;
  ibx_params rows = {.shape = ibx_extents(type)}, back = {0};
  rows.shape.at[of.dim] /= of.times;
  rows.shape.at[type->rank - 2] *= of.times;
  uint32_t operands[] = {r->rewrite.map[node->operand[0]], of.source};
  operands[0] =
      ibx_rewrite_add(&r->rewrite, IBX_TENSOR_reshape, &rows, operands, 1);
  if (operands[0] == IBX_NO_VALUE) return true;
  uint32_t value =
      ibx_rewrite_add(&r->rewrite, node->op, &node->params, operands, 2);
  if (value == IBX_NO_VALUE) return true;
  back.shape = ibx_extents(&old->values[node->result].type);
  r->rewrite.map[node->result] =
      ibx_rewrite_add(&r->rewrite, IBX_TENSOR_reshape, &back, &value, 1);
  return true;
}

ibx_status ibx_pass_opt_repeat(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (ctx->options.level == 0) return IBX_OK;
  repeats r = {
      .rewrite = ibx_rewrite_begin(ctx, graph, NULL),
      .of = IBX_ARENA_ARRAY(ctx->scratch, graph->value_count, repetition)};
  for (size_t n = 0; n < graph->node_count && r.rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    r.rewrite.source = node->source;
    if (share(&r, node)) continue;
    ibx_rewrite_copy(&r.rewrite, node);
    if (r.rewrite.status == IBX_OK)
      r.of[node->result] = repetition_of(&r, node);
  }
  return ibx_rewrite_end(&r.rewrite, graph);
}
