// SPDX-License-Identifier: Apache-2.0
//
// Decoded instruction to words of 64 bytes, little endian. One loop over the
// field table of the instruction's format; bits that no field names are zero.
// Nothing is lost: a value that does not fit its field, or a member that the
// format does not have and that is not as ibx_insn_make() left it, is refused.

#include "imbrex/isa.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

// Where the padding of both structs starts; lost_member() compares up to there.
enum {
  OPERAND_BYTES = offsetof(ibx_operand, partition_step) + IBX_DIMS,
  TAIL_OFFSET = offsetof(ibx_insn, num),
  TAIL_BYTES = offsetof(ibx_insn, shuffle) + IBX_QUADRANT - TAIL_OFFSET
};
static_assert(OPERAND_BYTES == 8 + 20 + 4 + 16 + 1 + 1 + 5,
              "operand has no padding inside");
static_assert(TAIL_BYTES == 20 + 16 + 12 + 4 + 2 + 2 + 16 + 2 + 2 + 32,
              "instruction has no padding inside");
static_assert(TAIL_OFFSET == IBX_OPERANDS * sizeof(ibx_operand),
              "operands come first");

static uint64_t read_member(const ibx_insn *insn, const ibx_field_info *field) {
  const char *member = (const char *)insn + field->member_offset;
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  uint64_t u64;
  switch (field->member_bytes) {
  case 1: memcpy(&u8, member, 1); return u8;
  case 2: memcpy(&u16, member, 2); return u16;
  case 4: memcpy(&u32, member, 4); return u32;
  default: memcpy(&u64, member, 8); return u64;
  }
}

// Sign-extends the low `width` bits.
static int64_t extend(uint64_t value, unsigned width) {
  uint64_t sign = UINT64_C(1) << (width - 1);
  uint64_t mask = sign | (sign - 1);
  return (int64_t)(((value & mask) ^ sign) - sign);
}

static uint64_t all_ones(unsigned width) { return UINT64_MAX >> (64 - width); }

static bool fits(uint64_t value, const ibx_field_info *field) {
  unsigned member_width = 8u * field->member_bytes;
  if (field->width == member_width) return true;
  if (field->kind == IBX_FIELD_SINT) {
    return extend(value, field->width) == extend(value, member_width);
  }
  if (field->kind == IBX_FIELD_BUFFER) {
    return value < all_ones(field->width) || value == all_ones(member_width);
  }
  return value >> field->width == 0;
}

static ibx_status misfit(const ibx_insn *insn, const ibx_field_info *field,
                         uint64_t value, ibx_error *err) {
  const char *name = ibx_insn_get(insn->opcode)->name;
  if (field->kind == IBX_FIELD_SINT) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "%s: %s is %" PRId64 ", its field has %u signed bits", name,
                    field->name, extend(value, 8u * field->member_bytes),
                    field->width);
  }
  return IBX_FAIL(err, INVALID_PROGRAM,
                  "%s: %s is %" PRIu64 ", its field has %u bits", name,
                  field->name, value, field->width);
}

// The bits of `out` are still zero where the field goes.
static void put_bits(uint8_t *out, unsigned low_bit, unsigned width,
                     uint64_t value) {
  unsigned bit = low_bit;
  unsigned left = width;
  while (left > 0) {
    unsigned shift = bit % 8;
    unsigned taken = 8 - shift < left ? 8 - shift : left;
    uint64_t mask = (UINT64_C(1) << taken) - 1;
    out[bit / 8] = (uint8_t)(out[bit / 8] | (value & mask) << shift);
    value >>= taken;
    bit += taken;
    left -= taken;
  }
}

// Encodes the fields of `format` and copies their members to `kept`.
static ibx_status put_fields(const ibx_insn *insn, ibx_format format,
                             uint8_t *out, ibx_insn *kept, ibx_error *err) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    uint64_t value = read_member(insn, &fields[i]);
    if (!fits(value, &fields[i])) return misfit(insn, &fields[i], value, err);
    put_bits(out, fields[i].low_bit, fields[i].width, value);
    memcpy((char *)kept + fields[i].member_offset,
           (const char *)insn + fields[i].member_offset,
           fields[i].member_bytes);
  }
  return IBX_OK;
}

static bool is_same(const ibx_insn *a, const ibx_insn *b) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (memcmp(&a->operand[i], &b->operand[i], OPERAND_BYTES) != 0) {
      return false;
    }
  }
  return memcmp((const char *)a + TAIL_OFFSET, (const char *)b + TAIL_OFFSET,
                TAIL_BYTES) == 0;
}

// Names the first member that differs, by the fields of all formats.
static ibx_status lost_member(const ibx_insn *insn, const ibx_insn *kept,
                              ibx_error *err) {
  const char *lost = "a member";
  for (int format = 0; format < IBX_FORMAT_COUNT; format++) {
    size_t count;
    const ibx_field_info *fields =
        ibx_format_fields((ibx_format)format, &count);
    for (size_t i = 0; i < count; i++) {
      if (read_member(insn, &fields[i]) != read_member(kept, &fields[i])) {
        lost = fields[i].name;
      }
    }
  }
  return IBX_FAIL(err, INVALID_PROGRAM,
                  "%s has no field for %s; leave it as ibx_insn_make() set it",
                  ibx_insn_get(insn->opcode)->name, lost);
}

ibx_status ibx_insn_encode(const ibx_insn *insn, uint8_t *out, ibx_error *err) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) {
    return IBX_FAIL(err, INVALID_PROGRAM, "opcode 0x%02x does not exist",
                    insn->opcode);
  }
  size_t words = ibx_insn_words(insn);
  ibx_insn kept = ibx_insn_make((ibx_opcode)insn->opcode);
  memset(out, 0, words * IBX_WORD_BYTES);
  IBX_TRY(put_fields(insn, info->format, out, &kept, err));
  if (insn->flags & IBX_FLAG_LOOPED) {
    uint8_t *last = out + (words - 1) * IBX_WORD_BYTES;
    IBX_TRY(put_fields(insn, IBX_FORMAT_looped, last, &kept, err));
  }
  return is_same(insn, &kept) ? IBX_OK : lost_member(insn, &kept, err);
}
