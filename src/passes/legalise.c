// SPDX-License-Identifier: Apache-2.0
//
// legalise: only what the machine computes.
//
//   before   i64 values; norms with gain and bias; f32 under --auto-cast
//   after    i32; plain norms, then mul and add; the cast type
//   before   gather along any dimension; reductions of all dimensions
//   after    along the first one, between transposes; of one after the others
//   before   integers that may pass 2^24, or the end of 8 or 16 bits
//   after    operations of the INTEGER class; exact products in fp32, summed so;
//            sums, comparisons and the like that are exact for all 32 bits
//   before   quotients that are rounded to whole numbers
//   after    quotients whose last bit is right
//   before   argmax
//   after    the least of the positions where x is its largest element
//
// Needs:    static shapes; types of the machine (legalise_types).
// Provides: no value is 64 bits wide, but for f64 that moves; every float value has its final dtype.
// Inputs and outputs keep the dtype that ONNX declares in their ports: the DMA
// that loads or stores them converts.

#include "passes/legalise.h"
#include "passes/range.h"
#include "passes/rewrite.h"

static ibx_dtype legal_dtype(const ibx_pass_ctx *ctx, ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_I64: return IBX_DTYPE_I32;
  case IBX_DTYPE_U64: return IBX_DTYPE_U32;
  case IBX_DTYPE_F32:
    return ctx->options.auto_cast == IBX_AUTO_CAST_ALL
               ? ctx->options.auto_cast_type
               : dtype;
  default: return dtype;
  }
}

static ibx_type legal_type(ibx_pass_ctx *ctx, ibx_type type) {
  type.dtype = legal_dtype(ctx, type.dtype);
  return type;
}

static uint32_t saturate_unsigned(uint64_t wide) {
  return wide > UINT32_MAX ? UINT32_MAX : (uint32_t)wide;
}

static uint32_t saturate_signed(uint64_t bits) {
  int64_t wide = (int64_t)bits;
  if (wide > INT32_MAX) wide = INT32_MAX;
  if (wide < INT32_MIN) wide = INT32_MIN;
  return (uint32_t)wide;
}

// A 64-bit constant as 32 bits, saturated: positions and counts beyond 2^31 do
// not exist in one tensor, and legalise_narrow.c has refused the rest.
static uint32_t narrowed_weight(ibx_rewrite *rewrite, uint32_t row) {
  ibx_tables *tables = rewrite->graph.tables;
  ibx_weight weight = tables->weights[row];
  bool is_unsigned = weight.type.dtype == IBX_DTYPE_U64;
  int64_t elements = 0;
  ibx_type_elements(&weight.type, &elements);
  const uint8_t *data = weight.data;
  uint32_t *narrow =
      IBX_ARENA_ARRAY(rewrite->ctx->arena, (size_t)elements, uint32_t);
  for (int64_t i = 0; i < elements; i++) {
    uint64_t wide;
    __builtin_memcpy(&wide, data + i * 8, 8);
    narrow[i] = is_unsigned ? saturate_unsigned(wide) : saturate_signed(wide);
  }
  weight.data = narrow;
  weight.type.dtype = is_unsigned ? IBX_DTYPE_U32 : IBX_DTYPE_I32;
  return ibx_tables_add_weight(tables, rewrite->ctx->arena, weight);
}

static void legalise_constant(ibx_rewrite *rewrite, const ibx_node *node) {
  ibx_node copy = *node;
  const ibx_weight *weight =
      &rewrite->graph.tables->weights[node->params.weight];
  if (weight->type.dtype == IBX_DTYPE_I64 ||
      weight->type.dtype == IBX_DTYPE_U64) {
    copy.params.weight =
        narrowed_weight(rewrite, (uint32_t)node->params.weight);
  }
  copy.params.dtype = legal_dtype(rewrite->ctx, node->params.dtype);
  ibx_rewrite_copy(rewrite, &copy);
}

// A gain or bias of the last dimensions, as a tensor of the full shape.
static uint32_t spread(ibx_rewrite *rewrite, uint32_t value, uint32_t like) {
  const ibx_type type = rewrite->graph.values[like].type;
  const ibx_type have = rewrite->graph.values[value].type;
  ibx_params params = {.shape = {.len = type.rank}};
  for (uint8_t d = 0; d < type.rank; d++) {
    int missing = type.rank - have.rank;
    params.shape.at[d] = d < missing ? 1 : have.dims[d - missing];
  }
  if (have.rank != type.rank) {
    value = ibx_rewrite_add(rewrite, IBX_TENSOR_reshape, &params, &value, 1);
  }
  for (uint8_t d = 0; d < type.rank; d++)
    params.shape.at[d] = type.dims[d];
  return ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &params, &value, 1);
}

static void legalise_norm(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t x = rewrite->map[node->operand[0]];
  uint32_t value = ibx_rewrite_add(rewrite, node->op, &node->params, &x, 1);
  for (uint32_t i = 1; i < node->operand_count && rewrite->status == IBX_OK;
       i++) {
    uint32_t operands[] = {
        value, spread(rewrite, rewrite->map[node->operand[i]], value)};
    if (rewrite->status != IBX_OK) return;
    value = ibx_rewrite_add(rewrite, i == 1 ? IBX_TENSOR_mul : IBX_TENSOR_add,
                            &(ibx_params){0}, operands, 2);
  }
  rewrite->map[node->result] = value;
}

static uint32_t converted(ibx_rewrite *rewrite, uint32_t value,
                          ibx_dtype dtype) {
  ibx_params params = {.dtype = dtype};
  if (rewrite->graph.values[value].type.dtype == dtype) return value;
  return ibx_rewrite_add(rewrite, IBX_TENSOR_cast, &params, &value, 1);
}

// Operands of a contraction in the cast type, its result in fp32.
static void legalise_contraction(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t operands[2];
  ibx_dtype wide = rewrite->old->values[node->result].type.dtype;
  for (uint32_t i = 0; i < 2; i++) {
    const ibx_node *maker = ibx_graph_maker(rewrite->old, node->operand[i]);
    operands[i] = rewrite->map[node->operand[i]];
    if (maker && maker->op == IBX_TENSOR_constant) {
      ibx_params params = maker->params;
      params.dtype = rewrite->ctx->options.auto_cast_type;
      operands[i] =
          ibx_rewrite_add(rewrite, IBX_TENSOR_constant, &params, NULL, 0);
    } else {
      operands[i] =
          converted(rewrite, operands[i], rewrite->ctx->options.auto_cast_type);
    }
    if (rewrite->status != IBX_OK) return;
  }
  uint32_t value =
      ibx_rewrite_add(rewrite, node->op, &node->params, operands, 2);
  if (rewrite->status != IBX_OK) return;
  rewrite->map[node->result] = converted(rewrite, value, wide);
}

// Gathers take rows: the dimension goes to the front, the indices' dimensions
// back to where it was.
static void legalise_gather(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t operands[] = {rewrite->map[node->operand[0]],
                         rewrite->map[node->operand[1]]};
  uint8_t axis = (uint8_t)node->params.axis;
  uint8_t rank = rewrite->graph.values[operands[0]].type.rank;
  uint8_t added = rewrite->graph.values[operands[1]].type.rank;
  ibx_params front = {.perm = {.at = {axis}, .len = rank}};
  ibx_params back = {.perm = {.len = (uint8_t)(rank - 1 + added)}};
  for (uint8_t d = 0; d < rank; d++) {
    if (d < axis) front.perm.at[d + 1] = d;
    if (d > axis) front.perm.at[d] = d;
  }
  for (uint8_t d = 0; d < back.perm.len; d++) {
    back.perm.at[d] = d < axis ? added + d : d < axis + added ? d - axis : d;
  }
  operands[0] =
      ibx_rewrite_add(rewrite, IBX_TENSOR_transpose, &front, operands, 1);
  ibx_params rows = {.axis = 0};
  uint32_t value =
      ibx_rewrite_add(rewrite, IBX_TENSOR_gather, &rows, operands, 2);
  rewrite->map[node->result] =
      ibx_rewrite_add(rewrite, IBX_TENSOR_transpose, &back, &value, 1);
}

// first, first + 1, .. along one dimension of a tensor of that rank.
static uint32_t positions(ibx_rewrite *rewrite, uint8_t rank, uint8_t axis,
                          int64_t first, int64_t extent) {
  int32_t *data = IBX_ARENA_ARRAY(rewrite->ctx->arena, (size_t)extent, int32_t);
  for (int64_t i = 0; i < extent; i++)
    data[i] = (int32_t)(first + i);
  ibx_weight weight = {.type = {.rank = rank, .dtype = IBX_DTYPE_I32},
                       .data = data,
                       .name = "positions"};
  ibx_params params = {.shape = {.len = rank}, .dtype = IBX_DTYPE_I32};
  for (uint8_t d = 0; d < rank; d++) {
    weight.type.dims[d] = d == axis ? extent : 1;
    params.shape.at[d] = weight.type.dims[d];
  }
  params.weight =
      ibx_tables_add_weight(rewrite->graph.tables, rewrite->ctx->arena, weight);
  return ibx_rewrite_add(rewrite, IBX_TENSOR_constant, &params, NULL, 0);
}

// The least position of an element that is the largest; beside the others stands
// the last position, which is that of the largest where no earlier one is.
static void legalise_argmax(ibx_rewrite *rewrite, const ibx_node *node,
                            bool is_wide) {
  uint32_t x = rewrite->map[node->operand[0]];
  const ibx_type type = rewrite->graph.values[x].type;
  uint8_t axis = (uint8_t)node->params.axis;
  int64_t extent = type.dims[axis];
  ibx_params along = {.axes = {.at = {axis}, .len = 1}, .keepdims = 1};
  ibx_params full = {.shape = ibx_extents(&type)};
  uint32_t most =
      is_wide ? ibx_wide_reduce(rewrite, IBX_TENSOR_reduce_max, &along, x)
              : ibx_rewrite_add(rewrite, IBX_TENSOR_reduce_max, &along, &x, 1);
  uint32_t compared[] = {
      x, ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &full, &most, 1)};
  uint32_t here = positions(rewrite, type.rank, axis, 0, extent);
  uint32_t last = positions(rewrite, type.rank, axis, extent - 1, 1);
  uint32_t chosen[] = {
      is_wide ? ibx_wide_compare(rewrite, IBX_TENSOR_equal, compared[0],
                                 compared[1])
              : ibx_rewrite_add(rewrite, IBX_TENSOR_equal, &(ibx_params){0},
                                compared, 2),
      ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &full, &here, 1),
      ibx_rewrite_add(rewrite, IBX_TENSOR_broadcast, &full, &last, 1)};
  uint32_t position =
      ibx_rewrite_add(rewrite, IBX_TENSOR_select, &(ibx_params){0}, chosen, 3);
  along.keepdims = node->params.keepdims;
  rewrite->map[node->result] =
      ibx_rewrite_add(rewrite, IBX_TENSOR_reduce_min, &along, &position, 1);
}

enum { ONE_PARTITION = 1024 };

// The dimension that stays on the partitions while all others are reduced:
// the largest one, where nothing else would be there and another has elements
// as well. IBX_MAX_RANK when the reduction needs no such help.
static uint8_t last_reduced(const ibx_type *type, const ibx_ints *axes) {
  uint8_t best = IBX_MAX_RANK;
  bool reduced[IBX_MAX_RANK] = {false};
  int64_t elements = 1, wide = 0;
  for (uint8_t i = 0; i < axes->len; i++)
    reduced[axes->at[i]] = true;
  for (uint8_t d = 0; d < type->rank; d++) {
    elements *= type->dims[d];
    if (type->dims[d] == 1) continue;
    if (!reduced[d]) return IBX_MAX_RANK;
    wide++;
    if (best == IBX_MAX_RANK || type->dims[d] > type->dims[best]) best = d;
  }
  return wide > 1 && elements >= ONE_PARTITION ? best : IBX_MAX_RANK;
}

// All dimensions but one, then that one: a reduction of everything would have
// all of it on one partition.
static bool legalise_reduction(ibx_rewrite *rewrite, const ibx_node *node) {
  uint32_t value = rewrite->map[node->operand[0]];
  const ibx_ints *axes = &node->params.axes;
  uint8_t last = last_reduced(&rewrite->graph.values[value].type, axes);
  if (last == IBX_MAX_RANK) return false;
  ibx_params most = {.keepdims = 1};
  for (uint8_t i = 0; i < axes->len; i++) {
    if (axes->at[i] != last) most.axes.at[most.axes.len++] = axes->at[i];
  }
  value = ibx_rewrite_add(rewrite, node->op, &most, &value, 1);
  rewrite->map[node->result] =
      ibx_rewrite_add(rewrite, node->op, &node->params, &value, 1);
  return true;
}

ibx_status ibx_pass_legalise(ibx_pass_ctx *ctx, ibx_graph *graph) {
  // Where only bounds are wanted there is nobody to tell.
  if (ctx->diag) IBX_TRY(ibx_legalise_narrow(ctx, graph));
  ibx_rewrite rewrite = ibx_rewrite_begin(ctx, graph, legal_type);
  const ibx_range *ranges = ibx_ranges(graph, ctx->arena);
  const bool *rounded = ibx_rounded_values(graph, ctx->scratch);
  bool cast_operands = ctx->options.auto_cast == IBX_AUTO_CAST_MATMUL;
  ibx_arena work = {0}; // of one node
  for (size_t n = 0; n < graph->node_count && rewrite.status == IBX_OK; n++) {
    ibx_node node = graph->nodes[n];
    ibx_arena_rewind(&work);
    rewrite.source = node.source;
    ibx_op_klass klass = ibx_tensor_op_get(node.op)->klass;
    bool fp32 = graph->values[node.result].type.dtype == IBX_DTYPE_F32;
    if (node.op == IBX_TENSOR_constant) {
      legalise_constant(&rewrite, &node);
    } else if (node.op == IBX_TENSOR_layer_norm ||
               node.op == IBX_TENSOR_rms_norm) {
      legalise_norm(&rewrite, &node);
    } else if (ibx_legalise_integer(&rewrite, &node, ranges, &work) ||
               ibx_legalise_quotient(&rewrite, &node, rounded) ||
               ibx_legalise_wide(&rewrite, &node, ranges)) {
      continue;
    } else if (klass == IBX_KLASS_CONTRACT && cast_operands && fp32) {
      legalise_contraction(&rewrite, &node);
    } else if (node.op == IBX_TENSOR_argmax) {
      legalise_argmax(&rewrite, &node, ibx_is_wide(&rewrite, &node, ranges));
    } else if (node.op == IBX_TENSOR_gather && node.params.axis != 0) {
      legalise_gather(&rewrite, &node);
    } else if (klass == IBX_KLASS_REDUCE &&
               legalise_reduction(&rewrite, &node)) {
      continue;
    } else {
      if (node.op == IBX_TENSOR_cast || node.op == IBX_TENSOR_bitcast ||
          node.op == IBX_TENSOR_decode || node.op == IBX_TENSOR_top_index ||
          node.op == IBX_TENSOR_nonzero) {
        node.params.dtype = legal_dtype(ctx, node.params.dtype);
      }
      ibx_rewrite_copy(&rewrite, &node);
    }
  }
  ibx_arena_reset(&work);
  return ibx_rewrite_end(&rewrite, graph);
}
