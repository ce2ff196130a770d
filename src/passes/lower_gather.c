// SPDX-License-Identifier: Apache-2.0
//
// Gathers. Comes in: a table and indices. Goes out: one DMA for 128 rows, which
// lands them on as many partitions. The rows of a DMA are neighbours in the
// flattened indices where the result can be viewed so; else neighbours along
// one dimension of the indices, which lies on the partitions.
//
//   indices [99, 99]    flattened, rows 0 .. 127 end inside of the second line:
//                       99 DMAs of 99 rows, each of one column

#include "passes/lower.h"

#include <string.h>

typedef struct gathering {
  ibx_lower *lower;
  const ibx_node *node;
  const ibx_type *indices;
  ibx_view table;
  int64_t count, width, rows; ///< of indices; elements and number of rows
} gathering;

// Indices as uint32, one a partition, counted from the front.
static bool row_indices(ibx_lower *lower, const ibx_view *indices, int64_t rows,
                        ibx_view *out) {
  ibx_view raw, wrap;
  if (!ibx_lower_temp(lower, indices, IBX_DTYPE_I32, &raw) ||
      !ibx_lower_temp(lower, indices, IBX_DTYPE_F32, &wrap) ||
      !ibx_lower_temp(lower, indices, IBX_DTYPE_U32, out)) {
    return false;
  }
  return ibx_lower_move(lower, &raw, indices) &&
         ibx_lower_scalars(lower, &wrap, &raw, IBX_ALU_LESS, 0.0f,
                           IBX_ALU_MULTIPLY, (float)rows) &&
         ibx_lower_tensors(lower, out, &wrap, IBX_ALU_ADD, &raw);
}

// `count` rows, one a partition.
static void emit_gather(ibx_lower *lower, const gathering *g,
                        const ibx_view *dst, const ibx_view *index,
                        int32_t count) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_gather);
  size_t bytes = ibx_dtype_bytes(dst->dtype);
  insn.count = (uint32_t)g->rows;
  insn.num[0] = (uint32_t)count;
  insn.num[IBX_DIMS - 1] = (uint32_t)g->width;
  insn.operand[0] = (ibx_operand){.buffer = dst->buffer,
                                  .dtype = (uint8_t)dst->dtype,
                                  .offset = (uint64_t)dst->offset * bytes};
  insn.operand[0].partition_step[0] = 1;
  insn.operand[0].step[IBX_DIMS - 1] = 1;
  insn.operand[1] = (ibx_operand){.buffer = g->table.buffer,
                                  .dtype = (uint8_t)g->table.dtype};
  insn.operand[1].step[0] = (int32_t)g->width;
  insn.operand[1].step[IBX_DIMS - 1] = 1;
  insn.operand[2] = (ibx_operand){.buffer = index->buffer,
                                  .dtype = IBX_DTYPE_U32,
                                  .offset = (uint64_t)index->offset * 4};
  ibx_lower_emit(lower, &insn, IBX_ENGINE_GPSIMD, false);
}

// ---- flattened

static ibx_type flat_type(const gathering *g) {
  return (ibx_type){.dims = {g->count, g->width},
                    .rank = 2,
                    .dtype =
                        g->lower->graph->values[g->node->result].type.dtype};
}

static ibx_ints result_shape(const gathering *g) {
  const ibx_type *want = &g->lower->graph->values[g->node->result].type;
  ibx_ints shape = {.len = want->rank};
  memcpy(shape.at, want->dims, want->rank * sizeof *shape.at);
  return shape;
}

// Whether rows that lie flattened on the partitions are the result.
static bool is_flat(const gathering *g) {
  ibx_layout first = {.dims = {0}, .count = 1};
  ibx_type type = flat_type(g);
  ibx_ints shape = result_shape(g);
  ibx_view view;
  int32_t partitions;
  int64_t elements;
  return ibx_view_make(&type, &first, &view, &partitions, &elements) &&
         ibx_view_reshape(&view, &shape, &view);
}

// The indices in a row of their own.
static bool flat_indices(const gathering *g, ibx_view *out) {
  ibx_lower *lower = g->lower;
  uint32_t value = g->node->operand[1];
  ibx_layout none = {.count = 0};
  ibx_ints shape = {.at = {g->count}, .len = 1};
  if (!ibx_lower_view(lower, value, out) &&
      !ibx_lower_in_layout(lower, value, &none, out)) {
    return false;
  }
  return ibx_view_reshape(out, &shape, out) ||
         (ibx_lower_in_layout(lower, value, &none, out) &&
          ibx_view_reshape(out, &shape, out));
}

static bool gather_flat(const gathering *g, ibx_view *out) {
  ibx_lower *lower = g->lower;
  ibx_layout first = {.dims = {0}, .count = 1};
  ibx_type line = {.dims = {g->count}, .rank = 1, .dtype = IBX_DTYPE_I32};
  ibx_type type = flat_type(g);
  ibx_ints shape = result_shape(g);
  ibx_view raw, column, indices, result;
  if (!flat_indices(g, &raw) ||
      !ibx_lower_tensor(lower, &line, &first, "indices", &column) ||
      !ibx_lower_move(lower, &column, &raw) ||
      !row_indices(lower, &column, g->rows, &indices) ||
      !ibx_lower_tensor(lower, &type, &first, "rows", &result)) {
    return false;
  }
  for (int64_t at = 0; at < g->count; at += IBX_PARTITIONS) {
    int64_t left = g->count - at;
    int64_t start[] = {at, 0}, size[] = {left, g->width};
    if (left > IBX_PARTITIONS) size[0] = IBX_PARTITIONS;
    ibx_view index, part;
    if (!ibx_view_slice(&indices, start, size, NULL, &index) ||
        !ibx_view_slice(&result, start, size, NULL, &part)) {
      return false;
    }
    emit_gather(lower, g, &part, &index, (int32_t)size[0]);
  }
  return ibx_view_reshape(&result, &shape, out);
}

// ---- along one dimension

// Fewest DMAs; of equals, the planned one.
static uint8_t best_dim(const gathering *g) {
  ibx_layout planned = ibx_lower_layout(g->lower, g->node);
  uint8_t best = 0;
  int64_t fewest = INT64_MAX;
  for (uint8_t d = 0; d < g->indices->rank; d++) {
    int64_t size = g->indices->dims[d];
    int64_t tiles = (size + IBX_PARTITIONS - 1) / IBX_PARTITIONS;
    int64_t dmas = g->count / size * tiles;
    bool is_planned = planned.count == 1 && planned.dims[0] == d;
    if (dmas > fewest || (dmas == fewest && !is_planned)) continue;
    fewest = dmas;
    best = d;
  }
  return best;
}

// To the next tile of the dimension, then to the next of its lines.
static void advance(const gathering *g, uint8_t dim, int64_t by, int64_t *at) {
  at[dim] += by;
  if (at[dim] < g->indices->dims[dim]) return;
  at[dim] = 0;
  for (int d = g->indices->rank - 1; d >= 0; d--) {
    if (d == dim) continue;
    if (++at[d] < g->indices->dims[d]) return;
    at[d] = 0;
  }
}

static bool gather_lines(const gathering *g, ibx_view *out) {
  ibx_lower *lower = g->lower;
  const ibx_type *want = &lower->graph->values[g->node->result].type;
  uint8_t dim = best_dim(g), rank = g->indices->rank;
  ibx_layout layout = {.dims = {dim}, .count = 1};
  ibx_view raw, indices;
  if (!ibx_lower_in_layout(lower, g->node->operand[1], &layout, &raw) ||
      !row_indices(lower, &raw, g->rows, &indices) ||
      !ibx_lower_tensor(lower, want, &layout, "rows", out)) {
    return false;
  }
  int64_t at[IBX_MAX_RANK] = {0}, size[IBX_MAX_RANK];
  memcpy(size, want->dims, want->rank * sizeof *size);
  for (uint8_t d = 0; d < rank; d++)
    size[d] = 1;
  for (int64_t done = 0; done < g->count;) {
    int64_t left = g->indices->dims[dim] - at[dim];
    size[dim] = left < IBX_PARTITIONS ? left : IBX_PARTITIONS;
    ibx_view index, part;
    if (!ibx_view_slice(&indices, at, size, NULL, &index) ||
        !ibx_view_slice(out, at, size, NULL, &part)) {
      return false;
    }
    emit_gather(lower, g, &part, &index, (int32_t)size[dim]);
    done += size[dim];
    advance(g, dim, size[dim], at);
  }
  return true;
}

bool ibx_lower_gather(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *data = &lower->graph->values[node->operand[0]].type;
  const ibx_type *indices = &lower->graph->values[node->operand[1]].type;
  if (node->params.axis != 0) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "gather along axis %d of data that are computed; "
                          "move the dimension to the front with Transpose",
                          (int)node->params.axis);
  }
  gathering g = {.lower = lower,
                 .node = node,
                 .indices = indices,
                 .count = 1,
                 .width = 1,
                 .rows = data->dims[0]};
  if (!ibx_lower_table(lower, node->operand[0], &g.table)) return false;
  for (uint8_t d = 0; d < indices->rank; d++)
    g.count *= indices->dims[d];
  for (uint8_t d = 1; d < data->rank; d++)
    g.width *= data->dims[d];
  return is_flat(&g) ? gather_flat(&g, out) : gather_lines(&g, out);
}
