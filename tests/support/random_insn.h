// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_RANDOM_INSN_H
#define IBX_TEST_RANDOM_INSN_H

/// \file
/// Random instances of any instruction, made from the tables of isa.def: every
/// member that its format has, operands in whatever its slots are, operators
/// and flags that its rows name. What comes out need not be legal: the caller
/// asks ibx_insn_check() and tries again.

#include "support/sim_world.h"

#include <math.h>

enum { RANDOM_MOST_WORK = 1 << 18 };

/// Numbers at which conversions round, saturate or change class.
static const float random_edges[] = {0.0f,
                                     0x1p-149f,
                                     0x1.fffffep-127f,
                                     0x1p-126f,
                                     0x1.fffffep127f,
                                     INFINITY,
                                     NAN,
                                     0.5f,
                                     1.0f,
                                     1.5f,
                                     2.5f,
                                     127.5f,
                                     128.5f,
                                     255.5f,
                                     32767.5f,
                                     65535.5f,
                                     0x1p24f,
                                     0x1p31f,
                                     0x1p32f,
                                     0x1.01p0f,
                                     0x1.03p0f,
                                     0x1.fffp15f,
                                     65504.0f,
                                     65520.0f,
                                     240.0f,
                                     248.0f,
                                     448.0f,
                                     464.0f,
                                     57344.0f,
                                     61440.0f,
                                     0x1p-9f,
                                     0x1p-10f,
                                     0x1p-14f,
                                     0x1p-16f,
                                     0x1p-17f,
                                     0x1p-24f,
                                     0x1p-25f,
                                     0x1p-133f,
                                     0x1p-134f,
                                     3.14159265f,
                                     88.7228391f,
                                     -87.3365f,
                                     -103.972084f,
                                     0x1.62e43p6f,
                                     0.625f,
                                     4.0f,
                                     20.0f,
                                     0x1p64f,
                                     0x1p-64f,
                                     0x1p-116f};

static inline uint32_t random_bits32(uint64_t *r) {
  return (uint32_t)world_random(r);
}

static inline float random_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

/// A number near an edge, of either sign; sometimes a NaN with a payload.
static inline float random_edge(uint64_t *r) {
  float value = random_edges[world_below(r, IBX_COUNT_OF(random_edges))];
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  bits += world_below(r, 5) - 2;
  if (world_below(r, 32) == 0) bits = 0x7f800001 + world_below(r, 0x7ffffe);
  return random_from_bits(bits ^ (world_below(r, 2) << 31));
}

static inline float random_float(uint64_t *r) {
  switch (world_below(r, 4)) {
  case 0: return random_edge(r);
  case 1: return random_from_bits(random_bits32(r));
  case 2: return (float)world_below(r, 64) - 32.0f;
  default: return world_float(r, 8.0f);
  }
}

/// An element of `dtype` as bits: tame numbers, or anything.
static inline uint64_t random_element(uint64_t *r, ibx_dtype dtype, bool tame) {
  uint64_t bits = 0;
  if (!tame && world_below(r, 3) == 0) return world_random(r) << 16;
  float value = tame ? world_float(r, 9.0f) : random_float(r);
  if (tame && world_below(r, 2)) value = (float)world_below(r, 7) - 3.0f;
  ibx_dtype_store_f32(dtype, &value, &bits, 1);
  return bits;
}

static inline uint32_t random_size(uint64_t *r) {
  static const uint32_t limits[] = {1, 3, 8, 8, 40, 40, 70, 600, 5000};
  return 1 + world_below(r, limits[world_below(r, IBX_COUNT_OF(limits))]);
}

static inline void random_space(uint64_t *r, const ibx_insn_info *info,
                                ibx_insn *insn) {
  static const uint8_t partitions[] = {1,  1,  2,  3,  16, 31,  32,
                                       33, 50, 64, 65, 96, 127, 128};
  bool is_dma = info->kind == IBX_KIND_DMA;
  insn->partitions = partitions[world_below(r, IBX_COUNT_OF(partitions))];
  insn->columns = (uint8_t)(1 + world_below(r, IBX_PARTITIONS));
  // Large ones are few, so that many are tried in a second.
  uint64_t most = RANDOM_MOST_WORK >> (world_below(r, 16) ? 5 : 0);
  uint64_t work = is_dma ? 1 : insn->partitions;
  if (info->kind == IBX_KIND_PRODUCT) work *= insn->columns;
  for (size_t d = IBX_DIMS; d-- > (is_dma ? 0u : 2u);) {
    if (d != 4 && world_below(r, 2)) continue;
    uint32_t num = random_size(r);
    if (d != 4 && num > 64) num = num % 64 + 1;
    if (work * num > most) continue;
    insn->num[d] = num;
    work *= num;
  }
  uint64_t n = (uint64_t)insn->num[2] * insn->num[3] * insn->num[4];
  bool all = info->format == IBX_FORMAT_matmul && n <= IBX_PARTITIONS;
  if (all && world_below(r, 4)) insn->columns = (uint8_t)n;
}

// A member that nobody gives a meaning here.
static inline void random_field(uint64_t *r, const ibx_field_info *field,
                                ibx_insn *insn) {
  uint8_t *member = (uint8_t *)insn + field->member_offset;
  uint64_t value = world_below(r, 5);
  if (world_below(r, 3) == 0) value = 0;
  if (world_below(r, 8) == 0) value = world_random(r);
  if (field->kind == IBX_FIELD_SINT && world_below(r, 2)) value = 0 - value;
  if (field->kind == IBX_FIELD_UINT && field->width < 64) {
    value &= (UINT64_C(1) << field->width) - 1;
  }
  if (field->kind == IBX_FIELD_FLOAT) {
    float number =
        world_below(r, 3) ? random_float(r) : (float)world_below(r, 40);
    if (world_below(r, 4) == 0) number = 0.0f;
    memcpy(member, &number, sizeof(number));
  } else {
    memcpy(member, &value, field->member_bytes);
  }
}

static inline bool random_is_generic(const char *name) {
  // Groups are of cores, and none meet here.
  static const char *const known[] = {
      "opcode", "flags",      "wait_",   "signal", "op[",   "operand[",
      "num[",   "partitions", "columns", "group",  "stride"};
  for (size_t i = 0; i < IBX_COUNT_OF(known); i++) {
    if (strncmp(name, known[i], strlen(known[i])) == 0) return false;
  }
  return true;
}

static inline void random_members(uint64_t *r, const ibx_insn_info *info,
                                  ibx_insn *insn) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(info->format, &count);
  for (size_t i = 0; i < count; i++) {
    if (random_is_generic(fields[i].name)) random_field(r, &fields[i], insn);
  }
  for (unsigned bit = 1; bit < 256; bit *= 2) {
    bool takes = (ibx_insn_flags(insn->opcode) & bit) != 0;
    if (takes && world_below(r, 4) == 0) insn->flags |= (uint8_t)bit;
  }
  for (size_t i = 0; i < IBX_OPERATORS; i++) {
    ibx_operator_kind kind = ibx_insn_operator(insn->opcode, i);
    unsigned limit = kind == IBX_OPERATOR_NONE ? 1u : IBX_ALU_COUNT;
    if (kind == IBX_OPERATOR_ACT) limit = IBX_ACT_COUNT;
    insn->op[i] = (uint8_t)world_below(r, limit);
  }
}

// Steps in elements of a space: packed, with gaps, any, some 0, backwards,
// transposed. Those of spaces that are too large wrap; the instruction is
// refused in any case.
static inline void random_steps(uint64_t *r, const ibx_operand_shape *shape,
                                ibx_operand *o) {
  uint32_t packed = 1;
  unsigned kind = world_below(r, 7), zeros = world_below(r, IBX_DIMS);
  for (size_t d = IBX_DIMS; d-- > 0;) {
    uint32_t step = packed;
    packed *= (uint32_t)shape->num[d];
    if (kind == 1) packed += world_below(r, 3);
    if (kind == 2) step = world_below(r, 11) - 5u;
    if (kind == 3 && d >= zeros) step = 0;
    if (kind == 4) step *= world_below(r, 2) ? UINT32_MAX : 2;
    o->step[d] = (int32_t)step;
    if (shape->num[d] == 1) o->step[d] = 0;
  }
  if (kind == 5) { // transposed
    o->step[3] = 1;
    o->step[4] = (int32_t)shape->num[3];
  }
}

// In a DMA a dimension may walk partitions instead of bytes.
static inline void random_partition_steps(uint64_t *r, ibx_operand *o) {
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (world_below(r, 3) != 0) continue;
    o->partition_step[d] = (int8_t)(world_below(r, 5) - 1);
    if (world_below(r, 4)) o->step[d] = 0;
  }
}

// The offset for which all elements lie in the buffer, where there is one.
static inline void random_offset(uint64_t *r, const ibx_operand_shape *shape,
                                 const ibx_buffer_place *place, int64_t bytes,
                                 ibx_operand *o) {
  int64_t low = 0, high = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    int64_t reach = (int64_t)o->step[d] * (shape->num[d] - 1);
    *(reach < 0 ? &low : &high) += reach;
  }
  int64_t room = (int64_t)place->bytes / bytes - (high - low);
  int64_t first = room < 0 ? 0 : world_below(r, (uint32_t)room + 1);
  if (world_below(r, 4) == 0 && room >= 16) first = world_below(r, 16);
  o->offset = (uint64_t)(first - low) * (uint64_t)bytes;
}

static inline uint8_t random_dtype(uint64_t *r, const ibx_insn *insn) {
  switch (world_below(r, 4)) {
  case 0: return IBX_DTYPE_F32;
  case 1:
    if (insn->operand[0].dtype != IBX_DTYPE_NONE) return insn->operand[0].dtype;
    return IBX_DTYPE_BF16;
  default: return (uint8_t)(1 + world_below(r, IBX_DTYPE_COUNT - 1));
  }
}

static inline void random_operand(uint64_t *r, const world *w,
                                  const ibx_insn_info *info, size_t slot,
                                  ibx_insn *insn) {
  ibx_operand *o = &insn->operand[slot];
  bool is_scalar = ibx_slot_is_scalar(info->slot[slot]);
  bool may_lack = info->slot[slot] == IBX_SLOT_SCALAR_READ;
  if (may_lack && world_below(r, 2)) return;
  o->buffer = (uint16_t)world_below(r, (uint32_t)w->entry.buffer_count);
  const ibx_buffer_place *place = &w->buffers[o->buffer].place;
  if (place->space != IBX_SPACE_HBM) {
    o->partition = (uint8_t)(32 * world_below(r, 4));
    if (world_below(r, 16) == 0) o->partition = (uint8_t)world_below(r, 128);
  }
  int64_t bytes = sizeof(float);
  if (!is_scalar) {
    o->dtype = random_dtype(r, insn);
    if (info->kind == IBX_KIND_DMA && slot == 2) o->dtype = IBX_DTYPE_U32;
    bytes = (int64_t)ibx_dtype_bytes((ibx_dtype)o->dtype);
  }
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  bool is_index = info->kind == IBX_KIND_DMA && slot == 2;
  if (!is_scalar && !is_index) random_steps(r, &shape, o);
  bool walks = info->kind == IBX_KIND_DMA && place->space == IBX_SPACE_SBUF;
  if (walks && !is_index) random_partition_steps(r, o);
  random_offset(r, &shape, place, bytes, o);
  // Where operands lie on each other, elements must not be mixed up.
  const ibx_operand *other = &insn->operand[world_below(r, IBX_OPERANDS)];
  bool meets = other != o && other->buffer != IBX_NO_BUFFER;
  if (meets && world_below(r, 4) == 0) {
    o->buffer = other->buffer;
    o->partition = other->partition;
    o->offset = other->offset + (uint64_t)bytes * world_below(r, 3);
    if (world_below(r, 2)) memcpy(o->step, other->step, sizeof(o->step));
  }
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    bool steps = (insn->flags & IBX_FLAG_LOOPED) != 0 && world_below(r, 2);
    if (steps) o->loop_step[i] = (int32_t)(bytes * (world_below(r, 9) - 4));
  }
}

// What a DMA that picks rows by index must have would hardly come by chance.
static inline void random_index(uint64_t *r, const ibx_insn_info *info,
                                ibx_insn *insn) {
  if (info->kind != IBX_KIND_DMA || world_below(r, 8) == 0) return;
  insn->index_register = insn->index_slot = 0;
  if (ibx_insn_transfer(insn->opcode).index == IBX_TRANSFER_NONE) return;
  insn->dge = IBX_DGE_SOFTWARE;
  insn->operand[2].dtype = IBX_DTYPE_U32;
}

/// One instance; legal, or not.
static inline ibx_insn random_insn(uint64_t *r, const world *w,
                                   uint8_t opcode) {
  const ibx_insn_info *info = ibx_insn_get(opcode);
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  random_members(r, info, &insn);
  random_space(r, info, &insn);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (info->slot[slot] != IBX_SLOT_NONE) {
      random_operand(r, w, info, slot, &insn);
    }
  }
  random_index(r, info, &insn);
  return insn;
}

#endif
