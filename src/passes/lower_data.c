// SPDX-License-Identifier: Apache-2.0
//
// Operations that only bring elements together: select, concat, pad.
// Comes in their operands; goes out a buffer into which each part has been
// moved, in the planned layout where its parts start at legal places.

#include "passes/lower.h"

#include <string.h>

enum { MOST_ON_CHIP = 65536 };

// Large constants stay in HBM: they would lie on one partition.
static bool any_view(ibx_lower *lower, uint32_t value, ibx_view *out) {
  ibx_layout none = {.count = 0};
  int64_t bytes = 0;
  if (ibx_lower_view(lower, value, out)) return true;
  ibx_type_bytes(&lower->graph->values[value].type, &bytes);
  return bytes > MOST_ON_CHIP && ibx_lower_is_constant(lower, value)
             ? ibx_lower_table(lower, value, out)
             : ibx_lower_in_layout(lower, value, &none, out);
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

bool ibx_lower_result_like(ibx_lower *lower, const ibx_node *node,
                           ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->result].type;
  ibx_layout layout = ibx_lower_layout(lower, node);
  ibx_view lead;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    if (ibx_lower_view(lower, node->operand[i], &lead) &&
        lower->func->buffers[lead.buffer].place.space == IBX_SPACE_SBUF &&
        !ibx_view_repeats(&lead)) {
      return ibx_lower_temp(lower, &lead, type->dtype, out);
    }
  }
  return ibx_lower_tensor(lower, type, &layout, "result", out);
}

bool ibx_lower_select(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  ibx_view condition, yes, no;
  if (!ibx_lower_result_like(lower, node, out) ||
      !ibx_lower_like(lower, node->operand[0], out, IBX_DTYPE_NONE,
                      &condition) ||
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

// A buffer in the planned layout of a node.
static bool assembled(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[node->result].type;
  ibx_layout layout = ibx_lower_layout(lower, node);
  if (ibx_lower_tensor(lower, type, &layout, "assembled", out)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL,
                        "a layout does not fit its tensor");
}

// Partitions of one tile of a dimension, or its extent when it has none.
static int64_t tile_of(const ibx_dim *dim) {
  int64_t tile = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep != 0) tile *= dim->atom[a].size;
  }
  return tile == 1 ? dim->size : tile;
}

static bool slice_part(const ibx_view *whole, const ibx_view *src, uint8_t axis,
                       int64_t start, int64_t at, int64_t part,
                       ibx_view *out_dst, ibx_view *out_src) {
  int64_t to[IBX_MAX_RANK] = {0}, from[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < src->rank; d++)
    sizes[d] = src->dim[d].size;
  to[axis] = start + at;
  from[axis] = at;
  sizes[axis] = part;
  return ibx_view_slice(whole, to, sizes, NULL, out_dst) &&
         ibx_view_slice(src, from, sizes, NULL, out_src);
}

static bool cut_part(const ibx_view *whole, const ibx_view *src, uint8_t axis,
                     int64_t start, int64_t at, int64_t part, ibx_view *out_dst,
                     ibx_view *out_src) {
  const ibx_view *views[] = {out_dst, out_src};
  return slice_part(whole, src, axis, start, at, part, out_dst, out_src) &&
         ibx_view_refines(views, 2);
}

// Moves `src` to elements [start, ...) of dimension `axis` of `whole`, cut where
// an atom of either ends.
static bool move_part(ibx_lower *lower, const ibx_view *whole,
                      const ibx_view *src, uint8_t axis, int64_t start) {
  int64_t size = src->dim[axis].size, tile = tile_of(&whole->dim[axis]);
  for (int64_t at = 0; at < size;) {
    ibx_view dst_part, src_part;
    int64_t part = ibx_dim_span(&whole->dim[axis], start + at, size - at);
    part = ibx_dim_span(&src->dim[axis], at, part);
    // Where the atoms of both have no common refinement, tile by tile.
    int64_t left = tile - (start + at) % tile, most = part;
    bool ok = cut_part(whole, src, axis, start, at, part, &dst_part, &src_part);
    if (!ok && left < part) {
      part = left;
      ok = cut_part(whole, src, axis, start, at, part, &dst_part, &src_part);
    }
    if (!ok) {
      part = 1;
      ok = cut_part(whole, src, axis, start, at, part, &dst_part, &src_part);
    }
    if (!ok) {
      // It is another dimension in which they do not meet: a move copies them.
      part = most;
      ok = slice_part(whole, src, axis, start, at, part, &dst_part, &src_part);
    }
    if (!ok) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a part has no view");
    }
    if (!ibx_lower_move(lower, &dst_part, &src_part)) return false;
    at += part;
  }
  return true;
}

bool ibx_lower_concat(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  uint8_t axis = (uint8_t)node->params.axis;
  int64_t start = 0;
  if (!assembled(lower, node, out)) return false;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    ibx_view src;
    int64_t size = lower->graph->values[node->operand[i]].type.dims[axis];
    if (size == 0) continue;
    if (!any_view(lower, node->operand[i], &src) ||
        !move_part(lower, out, &src, axis, start)) {
      return false;
    }
    start += size;
  }
  return true;
}

bool ibx_lower_pad(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  const ibx_type *inner = &lower->graph->values[node->operand[0]].type;
  int64_t sizes[IBX_MAX_RANK], starts[IBX_MAX_RANK];
  ibx_view src, part;
  if (!assembled(lower, node, out) ||
      !any_view(lower, node->operand[0], &src) ||
      !ibx_lower_fill(lower, out, node->params.value)) {
    return false;
  }
  if (inner->rank == 0) return ibx_lower_move(lower, out, &src);
  // The dimension on the partitions may start inside of a tile: it goes last.
  uint8_t axis = 0;
  for (uint8_t d = 0; d < inner->rank; d++) {
    sizes[d] = inner->dims[d];
    starts[d] = node->params.low.at[d];
    if (tile_of(&out->dim[d]) != out->dim[d].size && starts[d] != 0) axis = d;
  }
  int64_t start = starts[axis];
  starts[axis] = 0;
  sizes[axis] = out->dim[axis].size;
  if (!ibx_view_slice(out, starts, sizes, NULL, &part)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a padded tensor has no view");
  }
  return move_part(lower, &part, &src, axis, start);
}
