// SPDX-License-Identifier: Apache-2.0
//
// The space that each operand of an instruction walks. Comes in: an instruction
// that need not be checked. Goes out: partitions and counts, from the IBX_SHAPE
// rows of isa.def. Checker, prover, time model, simulator and code generator all
// ask here, so none of them knows an instruction by its name.

#include "isa/calls.h"

// Counts that the checker has not seen yet may overflow: they saturate.
static uint32_t product(uint64_t a, uint64_t b, uint64_t c) {
  uint64_t ab, abc;
  if (!ibx_mul_size(a, b, &ab) || !ibx_mul_size(ab, c, &abc)) return UINT32_MAX;
  return abc > UINT32_MAX ? UINT32_MAX : (uint32_t)abc;
}

static ibx_operand_shape whole_space(const ibx_insn *insn) {
  ibx_operand_shape shape = {.groups = 1, .partitions = insn->partitions};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    shape.num[d] = insn->num[d];
  }
  return shape;
}

static void set_elements(ibx_operand_shape *shape, uint32_t elements) {
  for (size_t d = 0; d + 1 < IBX_DIMS; d++) {
    shape->num[d] = 1;
  }
  shape->num[IBX_DIMS - 1] = elements;
}

// Rows of isa.def that say more of an operand than its slot does. Those of DMAs
// keep the dimensions that a partition step may walk.
enum { ALL = 0 };

static void apply_rows(const ibx_insn *insn, size_t slot,
                       ibx_operand_shape *shape) {
  const uint32_t P = insn->partitions, C = insn->columns, COUNT = insn->count;
  const uint32_t *D = insn->num;
  const uint32_t N = product(D[2], D[3], D[4]);
  (void)P, (void)C, (void)N, (void)COUNT;
  switch ((unsigned)insn->opcode * IBX_OPERANDS + slot) {
#define IBX_SHAPE(name, slot, row_partitions, row_elements)                    \
  case IBX_OP_##name *IBX_OPERANDS + (slot):                                   \
    shape->partitions = (row_partitions);                                      \
    if ((row_elements) != ALL) set_elements(shape, (row_elements));            \
    break;
#include "imbrex/isa.def"
  default: break;
  }
  switch ((unsigned)insn->opcode * IBX_OPERANDS + slot) {
#define IBX_GROUPS(name, slot, row_groups, row_step)                           \
  case IBX_OP_##name *IBX_OPERANDS + (slot):                                   \
    shape->groups = (row_groups);                                              \
    shape->group_step = (row_step);                                            \
    break;
#define IBX_ONCE(name, slot)                                                   \
  case IBX_OP_##name *IBX_OPERANDS + (slot): shape->num[0] = 1; break;
#define IBX_TABLE(name, slot)                                                  \
  case IBX_OP_##name *IBX_OPERANDS + (slot): shape->num[0] = COUNT; break;
#include "imbrex/isa.def"
  default: break;
  }
}

ibx_operand_shape ibx_insn_shape(const ibx_insn *insn, size_t slot) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  ibx_operand_shape shape = whole_space(insn);
  if (!info) return shape;
  bool is_dma = info->format == IBX_FORMAT_dma;
  if (is_dma) shape.partitions = 1; // its dimensions walk them
  if (info->format == IBX_FORMAT_control) {
    shape.partitions = 1;
    set_elements(&shape, 1);
  }
  if (ibx_slot_is_scalar(info->slot[slot])) set_elements(&shape, 1);
  apply_rows(insn, slot, &shape);
  uint32_t elements = ibx_call_elements(insn, slot);
  if (elements != ALL) set_elements(&shape, elements);
  if (ibx_insn_is_indexed(insn, slot)) shape.num[0] = insn->count;
  return shape;
}
