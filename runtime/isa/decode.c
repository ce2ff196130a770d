// SPDX-License-Identifier: Apache-2.0
//
// Words of 64 bytes to a decoded instruction: the inverse of encode.c, with one
// loop over the same field table. The bytes are not trusted. What decodes
// encodes to the same bytes again, so every bit without a meaning is zero.

#include "imbrex/isa.h"

#include <inttypes.h>
#include <string.h>

static uint64_t get_bits(const uint8_t *bytes, unsigned low_bit,
                         unsigned width) {
  uint64_t value = 0;
  unsigned done = 0;
  while (done < width) {
    unsigned bit = low_bit + done;
    unsigned shift = bit % 8;
    unsigned taken = 8 - shift < width - done ? 8 - shift : width - done;
    uint64_t mask = (UINT64_C(1) << taken) - 1;
    uint64_t byte = bytes[bit / 8];
    value |= (byte >> shift & mask) << done;
    done += taken;
  }
  return value;
}

static void write_member(ibx_insn *insn, const ibx_field_info *field,
                         uint64_t value) {
  char *member = (char *)insn + field->member_offset;
  uint8_t u8 = (uint8_t)value;
  uint16_t u16 = (uint16_t)value;
  uint32_t u32 = (uint32_t)value;
  switch (field->member_bytes) {
  case 1: memcpy(member, &u8, 1); break;
  case 2: memcpy(member, &u16, 2); break;
  case 4: memcpy(member, &u32, 4); break;
  default: memcpy(member, &value, 8); break;
  }
}

static void get_fields(const uint8_t *bytes, ibx_format format,
                       ibx_insn *insn) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    uint64_t value = get_bits(bytes, fields[i].low_bit, fields[i].width);
    if (fields[i].kind == IBX_FIELD_SINT) {
      uint64_t sign = (UINT64_C(1) << fields[i].width) >> 1;
      value = (value ^ sign) - sign;
    }
    bool is_none = fields[i].kind == IBX_FIELD_BUFFER &&
                   value == (UINT64_C(1) << fields[i].width) - 1;
    if (is_none) value = IBX_NO_BUFFER;
    write_member(insn, &fields[i], value);
  }
}

static ibx_status check_unassigned(const ibx_insn *insn, const uint8_t *bytes,
                                   size_t size, ibx_error *err) {
  uint8_t again[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
  IBX_TRY(ibx_insn_encode(insn, again, err));
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] == again[i]) continue;
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "%s: byte %zu is 0x%02x, but only bits of 0x%02x have a "
                    "meaning there",
                    ibx_insn_get(insn->opcode)->name, i, bytes[i], again[i]);
  }
  return IBX_OK;
}

ibx_status ibx_insn_decode(ibx_span bytes, ibx_insn *out_insn,
                           size_t *out_words, ibx_error *err) {
  *out_words = 0;
  if (bytes.size < IBX_WORD_BYTES) {
    return IBX_FAIL(err, INVALID_PROGRAM,
                    "instruction has %zu bytes, the least is %d", bytes.size,
                    IBX_WORD_BYTES);
  }
  // All formats have the opcode in the first byte and the flags in the second.
  const ibx_insn_info *info = ibx_insn_get(bytes.data[0]);
  if (!info) {
    return IBX_FAIL(err, INVALID_PROGRAM, "opcode 0x%02x does not exist",
                    bytes.data[0]);
  }
  ibx_insn insn = ibx_insn_make((ibx_opcode)bytes.data[0]);
  insn.flags = bytes.data[1];
  size_t words = ibx_insn_words(&insn);
  if (bytes.size / IBX_WORD_BYTES < words) {
    return IBX_FAIL(err, INVALID_PROGRAM, "%s is cut: it has %zu of %zu words",
                    info->name, bytes.size / IBX_WORD_BYTES, words);
  }
  get_fields(bytes.data, info->format, &insn);
  if (insn.flags & IBX_FLAG_LOOPED) {
    get_fields(bytes.data + (words - 1) * IBX_WORD_BYTES, IBX_FORMAT_looped,
               &insn);
  }
  IBX_TRY(check_unassigned(&insn, bytes.data, words * IBX_WORD_BYTES, err));
  *out_insn = insn;
  *out_words = words;
  return IBX_OK;
}
