// SPDX-License-Identifier: Apache-2.0
//
// Operations that only bring elements together: select, concat, pad, gather.
// Comes in their operands; goes out a buffer into which each part has been
// moved, in the planned layout where its parts start at legal places.

#include "passes/lower.h"

#include <string.h>

static bool any_view(ibx_lower *lower, uint32_t value, ibx_view *out) {
  ibx_layout none = {.count = 0};
  return ibx_lower_view(lower, value, out) ||
         ibx_lower_in_layout(lower, value, &none, out);
}

// ---- select

// One side of a select next to `dst`: a number is written out.
static bool side(ibx_lower *lower, uint32_t value, const ibx_view *dst,
                 ibx_view *out) {
  float imm;
  if (!ibx_lower_uniform(lower, value, &imm)) {
    return ibx_lower_like(lower, value, dst, IBX_DTYPE_NONE, out);
  }
  return ibx_lower_temp(lower, dst, dst->dtype, out) &&
         ibx_lower_fill(lower, out, imm);
}

bool ibx_lower_select(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->result].type;
  ibx_layout layout = ibx_lower_layout(lower, node);
  ibx_view lead, condition, yes, no;
  uint32_t leader = IBX_NO_VALUE;
  for (uint32_t i = 0; i < 3; i++) {
    if (ibx_lower_view(lower, node->operand[i], &lead) &&
        lower->func->buffers[lead.buffer].place.space == IBX_SPACE_SBUF &&
        !ibx_view_repeats(&lead)) {
      leader = node->operand[i];
      break;
    }
  }
  bool ok = leader != IBX_NO_VALUE
                ? ibx_lower_temp(lower, &lead, type->dtype, out)
                : ibx_lower_tensor(lower, type, &layout, "select", out);
  if (!ok ||
      !ibx_lower_like(lower, node->operand[0], out, IBX_DTYPE_NONE, &condition) ||
      !side(lower, node->operand[1], out, &yes)) {
    return false;
  }
  float imm;
  if (ibx_lower_uniform(lower, node->operand[2], &imm)) {
    if (!ibx_lower_fill(lower, out, imm)) return false;
  } else if (!side(lower, node->operand[2], out, &no) ||
             !ibx_lower_move(lower, out, &no)) {
    return false;
  }
  ibx_insn insn = ibx_insn_make(IBX_OP_select);
  const ibx_view *slots[IBX_OPERANDS] = {out, &yes, &condition};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_VECTOR, slots, 4096);
}

// ---- concat and pad

// A buffer for a tensor that is put together from parts along `axis`: the
// planned layout, or one that leaves that dimension free, so that every part is
// a view of it.
static bool assembled(ibx_lower *lower, const ibx_node *node, uint8_t axis,
                      bool aligned, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->result].type;
  ibx_layout layout = ibx_lower_layout(lower, node);
  bool free = true;
  for (uint8_t i = 0; i < layout.count; i++) free = free && layout.dims[i] != axis;
  if (!free && !aligned) {
    layout.count = 0;
    int64_t most = 1;
    for (uint8_t d = 0; d < type->rank; d++) {
      if (d == axis || type->dims[d] <= most) continue;
      most = type->dims[d];
      layout = (ibx_layout){.dims = {d}, .count = 1};
    }
  }
  if (ibx_lower_tensor(lower, type, &layout, "assembled", out)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL, "a layout does not fit its tensor");
}

// Whether every part is a slice of `whole` along the axis.
static bool slices_fit(const ibx_lower *lower, const ibx_node *node,
                       uint8_t axis, const ibx_view *whole) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  ibx_view part;
  for (uint8_t d = 0; d < whole->rank; d++) sizes[d] = whole->dim[d].size;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    sizes[axis] = lower->graph->values[node->operand[i]].type.dims[axis];
    if (sizes[axis] == 0) continue;
    if (!ibx_view_slice(whole, starts, sizes, NULL, &part)) return false;
    starts[axis] += sizes[axis];
  }
  return true;
}

bool ibx_lower_concat(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  uint8_t axis = (uint8_t)node->params.axis;
  const ibx_type *type = &lower->graph->values[node->result].type;
  ibx_layout layout = ibx_lower_layout(lower, node);
  ibx_view trial;
  int32_t partitions;
  int64_t elements;
  bool aligned =
      ibx_view_make(type, &layout, &trial, &partitions, &elements) &&
      slices_fit(lower, node, axis, &trial);
  if (!assembled(lower, node, axis, aligned, out)) return false;
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < type->rank; d++) sizes[d] = type->dims[d];
  for (uint32_t i = 0; i < node->operand_count; i++) {
    ibx_view part, src;
    sizes[axis] = lower->graph->values[node->operand[i]].type.dims[axis];
    if (sizes[axis] == 0) continue;
    if (!ibx_view_slice(out, starts, sizes, NULL, &part)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a part has no view");
    }
    bool constant = ibx_lower_is_constant(lower, node->operand[i]);
    bool ok = constant ? ibx_lower_like(lower, node->operand[i], &part,
                                        type->dtype, &src)
                       : any_view(lower, node->operand[i], &src);
    if (!ok || !ibx_lower_move(lower, &part, &src)) return false;
    starts[axis] += sizes[axis];
  }
  return true;
}

bool ibx_lower_pad(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->result].type;
  const ibx_type *inner = &lower->graph->values[node->operand[0]].type;
  uint8_t axis = 0;
  int64_t sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < type->rank; d++) {
    sizes[d] = inner->dims[d];
    if (inner->dims[d] != type->dims[d]) axis = d;
  }
  ibx_view src, part;
  if (!assembled(lower, node, axis, false, out)) return false;
  if (!ibx_view_slice(out, node->params.low.at, sizes, NULL, &part)) {
    ibx_layout none = {.count = 0};
    if (!ibx_lower_tensor(lower, type, &none, "padded", out) ||
        !ibx_view_slice(out, node->params.low.at, sizes, NULL, &part)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a padded tensor has no view");
    }
  }
  return ibx_lower_fill(lower, out, node->params.value) &&
         any_view(lower, node->operand[0], &src) &&
         ibx_lower_move(lower, &part, &src);
}

// ---- gather

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

static void emit_gather(ibx_lower *lower, const ibx_view *dst, int64_t at,
                        const ibx_view *table, const ibx_view *index,
                        int32_t count, int64_t width, int64_t rows) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_gather);
  size_t bytes = ibx_dtype_bytes(dst->dtype);
  insn.count = (uint32_t)rows;
  insn.num[0] = (uint32_t)count;
  insn.num[IBX_DIMS - 1] = (uint32_t)width;
  insn.operand[0] = (ibx_operand){.buffer = dst->buffer,
                                  .dtype = (uint8_t)dst->dtype,
                                  .offset = (uint64_t)(dst->offset + at) * bytes};
  insn.operand[0].partition_step[0] = 1;
  insn.operand[0].step[IBX_DIMS - 1] = 1;
  insn.operand[1] = (ibx_operand){.buffer = table->buffer,
                                  .dtype = (uint8_t)table->dtype};
  insn.operand[1].step[0] = (int32_t)width;
  insn.operand[1].step[IBX_DIMS - 1] = 1;
  insn.operand[2] = (ibx_operand){.buffer = index->buffer,
                                  .dtype = IBX_DTYPE_U32,
                                  .offset = (uint64_t)index->offset * 4};
  ibx_lower_emit(lower, &insn, IBX_ENGINE_GPSIMD, false);
}

// data[indices] along the first dimension: rows of a table in HBM, 128 at a
// time. The result has the flattened indices on its partitions.
bool ibx_lower_gather(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *data = &lower->graph->values[node->operand[0]].type;
  const ibx_type *want = &lower->graph->values[node->result].type;
  if (node->params.axis != 0) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "gather along axis %d of data that are computed; "
                          "move the dimension to the front with Transpose",
                          (int)node->params.axis);
  }
  ibx_view table;
  if (!ibx_lower_table(lower, node->operand[0], &table)) return false;
  int64_t count = 1, width = 1;
  const ibx_type *index_type = &lower->graph->values[node->operand[1]].type;
  for (uint8_t d = 0; d < index_type->rank; d++) count *= index_type->dims[d];
  for (uint8_t d = 1; d < data->rank; d++) width *= data->dims[d];
  ibx_layout first = {.dims = {0}, .count = 1}, none = {.count = 0};
  ibx_type flat = {.dims = {count}, .rank = 1, .dtype = IBX_DTYPE_I32};
  ibx_type rows = {.dims = {count, width}, .rank = 2, .dtype = want->dtype};
  ibx_view raw, column, indices, result;
  ibx_ints shape = {.at = {count}, .len = 1};
  if (!ibx_lower_view(lower, node->operand[1], &raw) &&
      !ibx_lower_in_layout(lower, node->operand[1], &none, &raw)) {
    return false;
  }
  if (!ibx_view_reshape(&raw, &shape, &raw) &&
      (!ibx_lower_in_layout(lower, node->operand[1], &none, &raw) ||
       !ibx_view_reshape(&raw, &shape, &raw))) {
    return false;
  }
  if (!ibx_lower_tensor(lower, &flat, &first, "indices", &column) ||
      !ibx_lower_move(lower, &column, &raw) ||
      !row_indices(lower, &column, data->dims[0], &indices) ||
      !ibx_lower_tensor(lower, &rows, &first, "rows", &result)) {
    return false;
  }
  for (int64_t at = 0; at < count; at += IBX_PARTITIONS) {
    int64_t left = count - at;
    int32_t part = (int32_t)(left < IBX_PARTITIONS ? left : IBX_PARTITIONS);
    ibx_view index;
    int64_t start[] = {at}, size[] = {part};
    if (!ibx_view_slice(&indices, start, size, NULL, &index)) return false;
    emit_gather(lower, &result, at / IBX_PARTITIONS * width, &table, &index, part,
                width, data->dims[0]);
  }
  ibx_ints full = {.len = want->rank};
  for (uint8_t d = 0; d < want->rank; d++) full.at[d] = want->dims[d];
  if (ibx_view_reshape(&result, &full, out)) return true;
  // Several partial dimensions: through one partition.
  ibx_view linear;
  return ibx_lower_tensor(lower, &rows, &none, "linear", &linear) &&
         ibx_lower_move(lower, &linear, &result) &&
         ibx_view_reshape(&linear, &full, out);
}
