// SPDX-License-Identifier: Apache-2.0
//
// Damage of program files, blind (bits, bytes, lengths, splices) and knowing:
// one field of one instruction by the tables of isa.def, rows of the section
// table, the numbers that stand in the other sections.

#include "damage.h"

#include "random.h"
#include "support/reseal.h"

typedef struct section {
  uint64_t offset, size;
  size_t row; ///< where its row of the table stands
} section;

static size_t section_count(const ibx_blob *file) {
  if (file->size < IBX_HEADER_BYTES + IBX_TRAILER_BYTES) return 0;
  uint64_t count = ibx_get_le(file->data + 12, 4);
  uint64_t room = (file->size - IBX_HEADER_BYTES) / IBX_SECTION_ROW_BYTES;
  return (size_t)(count < room ? count : room);
}

// Of no bytes where the file has none such.
static section get_section(const ibx_blob *file, size_t index) {
  section found = {
      .row = IBX_HEADER_BYTES + index * IBX_SECTION_ROW_BYTES,
  };
  if (index >= section_count(file)) return found;
  found.offset = ibx_get_le(file->data + found.row + 8, 8);
  found.size = ibx_get_le(file->data + found.row + 16, 8);
  if (found.offset > file->size) found.offset = found.size = 0;
  if (found.size > file->size - found.offset) {
    found.size = file->size - found.offset;
  }
  return found;
}

static section find_section(const ibx_blob *file, uint64_t id) {
  for (size_t i = 0; i < section_count(file); i++) {
    section found = get_section(file, i);
    if (ibx_get_le(file->data + found.row, 4) == id) return found;
  }
  return (section){0};
}

// --- blind -------------------------------------------------------------------

static void flip_bit(uint64_t *random, ibx_blob *file) {
  size_t at = fuzz_below(random, file->size);
  file->data[at] ^= (uint8_t)(1u << fuzz_below(random, 8));
}

static void set_bytes(uint64_t *random, ibx_blob *file) {
  size_t bytes = (size_t)1 << fuzz_below(random, 4);
  if (file->size < bytes) return;
  size_t at = fuzz_below(random, file->size - bytes + 1);
  ibx_put_le(file->data + at, fuzz_value(random), bytes);
}

static void cut(uint64_t *random, ibx_blob *file) {
  file->size = fuzz_below(random, file->size);
}

// The header tells the new length, the trailer moves to the end.
static void cut_and_mend(uint64_t *random, ibx_blob *file) {
  uint8_t trailer[IBX_TRAILER_BYTES];
  if (file->size < IBX_HEADER_BYTES + 2 * IBX_TRAILER_BYTES) return;
  memcpy(trailer, file->data + file->size - sizeof trailer, sizeof trailer);
  size_t middle = file->size - IBX_HEADER_BYTES - IBX_TRAILER_BYTES;
  size_t kept = fuzz_below(random, middle);
  if (fuzz_one_in(random, 2)) kept = kept / 64 * 64;
  file->size = IBX_HEADER_BYTES + kept + sizeof trailer;
  memcpy(file->data + file->size - sizeof trailer, trailer, sizeof trailer);
  ibx_put_le(file->data + 16, file->size, 8);
}

static void splice(uint64_t *random, const ibx_blob *other, ibx_blob *file) {
  size_t size = 1 + fuzz_below(random, 256);
  if (size > other->size) size = other->size;
  if (size > file->size) size = file->size;
  size_t from = fuzz_below(random, other->size - size + 1);
  size_t to = fuzz_below(random, file->size - size + 1);
  if (fuzz_one_in(random, 2)) {
    from = from / 64 * 64;
    to = to / 64 * 64;
  }
  memcpy(file->data + to, other->data + from, size);
}

// --- knowing -----------------------------------------------------------------

static void set_row(uint64_t *random, ibx_blob *file) {
  section found = get_section(file, fuzz_below(random, section_count(file)));
  if (found.size == 0) return;
  uint8_t *row = file->data + found.row;
  size_t at = fuzz_below(random, 4) * 8;
  uint64_t value = fuzz_value(random);
  if (fuzz_one_in(random, 2)) { // near to what it was
    value = ibx_get_le(row + at, 8) + (value % 5 - 2) * 64;
  }
  ibx_put_le(row + at, value, 8);
}

static void set_section_count(uint64_t *random, ibx_blob *file) {
  if (file->size < IBX_HEADER_BYTES) return;
  uint64_t count = section_count(file) + fuzz_below(random, 5) - 2;
  ibx_put_le(file->data + 12, count, 4);
}

// A number of any section but the code.
static void set_number(uint64_t *random, ibx_blob *file) {
  static const uint64_t ids[] = {IBX_SECTION_ENTRIES, IBX_SECTION_ENTRIES,
                                 IBX_SECTION_ENTRIES, IBX_SECTION_TARGET,
                                 IBX_SECTION_NODES,   IBX_SECTION_DEBUG,
                                 IBX_SECTION_STRINGS, IBX_SECTION_WEIGHTS};
  section found =
      find_section(file, ids[fuzz_below(random, IBX_COUNT_OF(ids))]);
  size_t bytes = (size_t)1 << fuzz_below(random, 4);
  if (found.size < bytes) return;
  size_t at = fuzz_below(random, (size_t)(found.size / bytes)) * bytes;
  uint8_t *number = file->data + found.offset + at;
  uint64_t value = fuzz_value(random);
  if (fuzz_one_in(random, 2)) {
    value = ibx_get_le(number, bytes) + value % 5 - 2;
  }
  ibx_put_le(number, value, bytes);
}

static void set_field(uint64_t *random, ibx_format format, ibx_insn *insn) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  const ibx_field_info *field = &fields[fuzz_below(random, count)];
  uint64_t mask =
      field->width >= 64 ? UINT64_MAX : (UINT64_C(1) << field->width) - 1;
  uint64_t value = fuzz_value(random) & mask;
  if (fuzz_one_in(random, 2)) value &= 0x1f;
  if (field->kind == IBX_FIELD_SINT) {
    uint64_t sign = UINT64_C(1) << (field->width - 1);
    value = (value ^ sign) - sign;
  }
  if (field->kind == IBX_FIELD_BUFFER && value == mask) value = IBX_NO_BUFFER;
  uint8_t opcode = insn->opcode;
  // Members are little endian on the machines we test on.
  memcpy((char *)insn + field->member_offset, &value, field->member_bytes);
  if (ibx_insn_get(insn->opcode) == NULL) insn->opcode = opcode;
}

// Words of the code section; a random one may be the second of its
// instruction, which then seldom decodes.
static bool pick_insn(uint64_t *random, const ibx_blob *file, size_t *out_at,
                      ibx_insn *out, size_t *out_words) {
  section code = find_section(file, IBX_SECTION_STREAMS);
  size_t words = (size_t)(code.size / IBX_WORD_BYTES);
  for (int i = 0; i < 8 && words > 0; i++) {
    size_t word = fuzz_below(random, words);
    *out_at = (size_t)code.offset + word * IBX_WORD_BYTES;
    ibx_span bytes = {file->data + *out_at, (words - word) * IBX_WORD_BYTES};
    if (ibx_insn_decode(bytes, out, out_words, NULL) == IBX_OK) return true;
  }
  return false;
}

static void change_insn(uint64_t *random, ibx_blob *file) {
  uint8_t bytes[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
  ibx_insn insn;
  size_t at, words;
  if (!pick_insn(random, file, &at, &insn, &words)) return;
  ibx_format format = ibx_insn_get(insn.opcode)->format;
  bool is_looped = (insn.flags & IBX_FLAG_LOOPED) != 0;
  if (is_looped && fuzz_one_in(random, 4)) format = IBX_FORMAT_looped;
  set_field(random, format, &insn);
  if (ibx_insn_encode(&insn, bytes, NULL) != IBX_OK) return;
  size_t size = ibx_insn_words(&insn) * IBX_WORD_BYTES;
  if (size > words * IBX_WORD_BYTES) size = words * IBX_WORD_BYTES;
  memcpy(file->data + at, bytes, size);
}

static void swap_words(uint64_t *random, ibx_blob *file) {
  section code = find_section(file, IBX_SECTION_STREAMS);
  size_t words = (size_t)(code.size / IBX_WORD_BYTES);
  if (words < 2) return;
  uint8_t *a =
      file->data + code.offset + fuzz_below(random, words) * IBX_WORD_BYTES;
  uint8_t *b =
      file->data + code.offset + fuzz_below(random, words) * IBX_WORD_BYTES;
  uint8_t kept[IBX_WORD_BYTES];
  memcpy(kept, a, sizeof kept);
  memmove(a, b, sizeof kept);
  if (fuzz_one_in(random, 2)) memcpy(b, kept, sizeof kept);
}

static void damage_once(uint64_t *random, const seeds *corpus, ibx_blob *file) {
  switch (fuzz_below(random, 20)) {
  case 0: flip_bit(random, file); break;
  case 1: set_bytes(random, file); break;
  case 2: cut(random, file); break;
  case 3: cut_and_mend(random, file); break;
  case 4:
    splice(random, &corpus->files[fuzz_below(random, corpus->count)], file);
    break;
  case 5: set_row(random, file); break;
  case 6: set_section_count(random, file); break;
  case 7:
  case 8:
  case 9:
  case 10: set_number(random, file); break;
  case 11: swap_words(random, file); break;
  default: change_insn(random, file); break;
  }
}

bool damage_program(uint64_t *random, const seeds *corpus, ibx_blob *out) {
  const ibx_blob *file = &corpus->files[fuzz_below(random, corpus->count)];
  out->size = 0;
  if (!ibx_blob_write(out, file->data, file->size)) return false;
  size_t count = fuzz_one_in(random, 2) ? 1 : 1 + fuzz_below(random, 4);
  for (size_t i = 0; i < count && out->size > 0; i++) {
    damage_once(random, corpus, out);
  }
  bool is_honest = fuzz_one_in(random, 16);
  if (!is_honest) reseal(out->data, out->size);
  return true;
}
