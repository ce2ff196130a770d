// SPDX-License-Identifier: Apache-2.0
//
// Products on the tensor engine: comes in a stationary and a moving operand
// whose contracted dimension lies on the same partitions; goes out pairs of
// load_stationary and multiply_moving that accumulate in one PSUM bank.

#include "passes/lower.h"

#include <string.h>

static void walk_operand(ibx_insn *insn, size_t slot, const ibx_view *view,
                         int64_t offset, int32_t partition,
                         const ibx_walk *walk) {
  ibx_operand *operand = &insn->operand[slot];
  operand->buffer = view->buffer;
  operand->dtype = (uint8_t)view->dtype;
  operand->offset = (uint64_t)offset * ibx_dtype_bytes(view->dtype);
  operand->partition = (uint8_t)partition;
  for (size_t i = 0; i < 3; i++)
    operand->step[IBX_DIMS - 3 + i] = walk->step[i];
}

static void walk_shape(ibx_insn *insn, const ibx_walk *walk) {
  for (size_t i = 0; i < 3; i++)
    insn->num[IBX_DIMS - 3 + i] = walk->num[i];
}

void ibx_lower_product(ibx_lower *lower, const ibx_view *stationary,
                       const ibx_walk *stationary_walk, int32_t columns,
                       const ibx_view *moving, const ibx_walk *moving_walk,
                       const ibx_view *bank, int64_t bank_offset,
                       const ibx_walk *bank_walk, const ibx_contraction *part,
                       bool first, bool last) {
  ibx_insn load = ibx_insn_make(IBX_OP_load_stationary);
  load.partitions = (uint8_t)part->partitions;
  load.columns = (uint8_t)columns;
  walk_shape(&load, stationary_walk);
  walk_operand(&load, 1, stationary, part->stationary_offset,
               part->stationary_partition, stationary_walk);
  ibx_lower_emit(lower, &load, IBX_ENGINE_TENSOR, true);

  ibx_insn multiply = ibx_insn_make(IBX_OP_multiply_moving);
  multiply.partitions = (uint8_t)part->partitions;
  multiply.columns = (uint8_t)columns;
  if (!first) multiply.flags |= IBX_FLAG_ACCUMULATE;
  if (last) multiply.flags |= IBX_FLAG_GROUP_END;
  walk_shape(&multiply, moving_walk);
  walk_operand(&multiply, 0, bank, bank_offset, 0, bank_walk);
  walk_operand(&multiply, 1, moving, part->moving_offset,
               part->moving_partition, moving_walk);
  ibx_lower_emit(lower, &multiply, IBX_ENGINE_TENSOR, false);
}

bool ibx_lower_ones(ibx_lower *lower, ibx_dtype dtype, ibx_view *out) {
  ibx_type type = {.dims = {1, IBX_PARTITIONS}, .rank = 2, .dtype = dtype};
  ibx_layout layout = {.dims = {0}, .count = 1};
  if (!ibx_lower_tensor(lower, &type, &layout, "ones", out)) return false;
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  insn.partitions = 1;
  insn.num[IBX_DIMS - 1] = IBX_PARTITIONS;
  insn.imm[0] = 1.0f;
  ibx_walk row = {.num = {1, 1, IBX_PARTITIONS}, .step = {0, 0, 1}};
  walk_operand(&insn, 0, out, 0, 0, &row);
  ibx_lower_emit(lower, &insn, IBX_ENGINE_GPSIMD, false);
  return true;
}

// ---- The contracted dimension

typedef struct part_list {
  ibx_contraction *at;
  size_t count, room;
  const ibx_machine *machine;
  ibx_arena *arena;
} part_list;

// Rows of the array also start at whole row tiles.
static bool starts_legally(const part_list *list, const ibx_contraction *part) {
  return ibx_partitions_are_legal(part->stationary_partition,
                                  part->partitions) &&
         (uint32_t)part->stationary_partition % list->machine->row_tile_min ==
             0;
}

static void add_part(part_list *list, ibx_contraction part) {
  if (list->count == list->room) {
    size_t room = list->room ? list->room * 2 : 16;
    ibx_contraction *at = IBX_ARENA_ARRAY(list->arena, room, ibx_contraction);
    if (list->count) memcpy(at, list->at, list->count * sizeof(*at));
    list->at = at;
    list->room = room;
  }
  list->at[list->count++] = part;
}

static bool loop_parts(part_list *list, const ibx_axis *loops, size_t count,
                       ibx_contraction part) {
  if (count == 0) {
    add_part(list, part);
    return starts_legally(list, &part);
  }
  for (int64_t i = 0; i < loops[0].size; i++) {
    if (!loop_parts(list, loops + 1, count - 1, part)) return false;
    part.stationary_offset += loops[0].step[0];
    part.moving_offset += loops[0].step[1];
    part.stationary_partition += loops[0].pstep[0];
    part.moving_partition += loops[0].pstep[1];
  }
  return true;
}

static bool visit_part(void *user, const ibx_rect *whole) {
  part_list *list = user;
  ibx_rect rect = *whole;
  ibx_axis loops[IBX_AXES];
  size_t loop_count = 0;
  ibx_contraction part = {.stationary_offset = rect.offset[0],
                          .moving_offset = rect.offset[1],
                          .stationary_partition = rect.partition[0],
                          .moving_partition = rect.partition[1],
                          .partitions = 1};
  ibx_rect_merge(&rect);
  for (int i = rect.axis_count - 1; i >= 0; i--) {
    const ibx_axis *axis = &rect.axis[i];
    if ((axis->pstep[0] != 0) != (axis->pstep[1] != 0)) return false;
    if (axis->pstep[0] == part.partitions &&
        axis->pstep[1] == part.partitions) {
      part.partitions *= (int32_t)axis->size;
    }
  }
  int32_t run = 1;
  for (int i = rect.axis_count - 1; i >= 0; i--) {
    const ibx_axis *axis = &rect.axis[i];
    if (axis->pstep[0] == run && run < part.partitions && axis->pstep[0] != 0) {
      run *= (int32_t)axis->size;
      continue;
    }
    if (axis->pstep[0] != axis->pstep[1]) return false;
    loops[loop_count++] = *axis;
  }
  if (part.stationary_partition != part.moving_partition) return false;
  return loop_parts(list, loops, loop_count, part);
}

static ibx_view dim_view(const ibx_view *view, uint8_t dim) {
  ibx_view one = *view;
  one.rank = 1;
  one.dim[0] = view->dim[dim];
  return one;
}

size_t ibx_lower_contractions(const ibx_machine *machine,
                              const ibx_view *stationary, uint8_t sdim,
                              const ibx_view *moving, uint8_t mdim,
                              ibx_arena *arena, ibx_contraction **out_parts) {
  ibx_view s = dim_view(stationary, sdim), m = dim_view(moving, mdim);
  const ibx_view *views[] = {&s, &m};
  part_list list = {.machine = machine, .arena = arena};
  if (!ibx_view_rects(views, 2, visit_part, &list)) return 0;
  *out_parts = list.at;
  return list.count;
}
