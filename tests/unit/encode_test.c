// SPDX-License-Identifier: Apache-2.0
//
// Encoder and decoder, over every instruction of the table: random fields come
// back, each field has its own bits, and nothing is lost or invented.

#include "imbrex/isa.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { MAX_BYTES = IBX_INSN_MAX_WORDS * IBX_WORD_BYTES, ROUNDS = 1000 };

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static uint64_t low_mask(unsigned width) {
  return width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
}

static uint64_t get_member(const ibx_insn *insn, const ibx_field_info *field) {
  uint64_t value = 0; // members are little endian on the machines we test on
  memcpy(&value, (const char *)insn + field->member_offset,
         field->member_bytes);
  return value;
}

static void set_member(ibx_insn *insn, const ibx_field_info *field,
                       uint64_t value) {
  memcpy((char *)insn + field->member_offset, &value, field->member_bytes);
}

// A value of `width` bits as the member holds it, with its sign if it has one.
static uint64_t widen(const ibx_field_info *field, uint64_t bits) {
  bool negative =
      field->kind == IBX_FIELD_SINT && (bits >> (field->width - 1) & 1) != 0;
  bool none = field->kind == IBX_FIELD_BUFFER && bits == low_mask(field->width);
  return negative || none ? bits | ~low_mask(field->width) : bits;
}

static bool is_head(const ibx_field_info *field) {
  return strcmp(field->name, "opcode") == 0 ||
         strcmp(field->name, "flags") == 0;
}

static void randomize(ibx_insn *insn, ibx_format format, uint64_t *seed) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    if (is_head(&fields[i])) continue;
    uint64_t bits = next_random(seed) & low_mask(fields[i].width);
    set_member(insn, &fields[i], widen(&fields[i], bits));
  }
}

static ibx_insn random_insn(uint8_t opcode, uint64_t *seed) {
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  insn.flags = (uint8_t)next_random(seed);
  randomize(&insn, ibx_insn_get(opcode)->format, seed);
  if (insn.flags & IBX_FLAG_LOOPED) randomize(&insn, IBX_FORMAT_looped, seed);
  return insn;
}

static void assert_same(const ibx_insn *a, const ibx_insn *b) {
  for (int f = 0; f < IBX_FORMAT_COUNT; f++) {
    size_t count;
    const ibx_field_info *fields = ibx_format_fields((ibx_format)f, &count);
    for (size_t i = 0; i < count; i++) {
      uint64_t mask = low_mask(8u * fields[i].member_bytes);
      assert_int_equal(get_member(a, &fields[i]) & mask,
                       get_member(b, &fields[i]) & mask);
    }
  }
}

static void check_round_trip(const ibx_insn *insn) {
  uint8_t bytes[MAX_BYTES];
  ibx_insn back;
  size_t words;
  ibx_error err = {0};
  assert_int_equal(ibx_insn_encode(insn, bytes, &err), IBX_OK);
  ibx_span span = {bytes, ibx_insn_words(insn) * IBX_WORD_BYTES};
  assert_int_equal(ibx_insn_decode(span, &back, &words, &err), IBX_OK);
  assert_int_equal(words, ibx_insn_words(insn));
  assert_same(insn, &back);
}

static void random_fields_come_back(void **state) {
  (void)state;
  uint64_t seed = 0x452821e638d01377;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    if (!ibx_insn_get((uint8_t)opcode)) continue;
    for (int n = 0; n < ROUNDS; n++) {
      ibx_insn insn = random_insn((uint8_t)opcode, &seed);
      check_round_trip(&insn);
    }
  }
}

static unsigned bit_at(const uint8_t *bytes, unsigned bit) {
  return (unsigned)bytes[bit / 8] >> (bit % 8) & 1u;
}

// Flipping the field's value flips all of its bits and no others.
static void check_field_bits(uint8_t opcode, const ibx_field_info *field,
                             unsigned first_bit) {
  uint8_t zeros[MAX_BYTES] = {0};
  uint8_t ones[MAX_BYTES] = {0};
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  if (first_bit != 0) insn.flags = IBX_FLAG_LOOPED;
  size_t bits = ibx_insn_words(&insn) * IBX_WORD_BYTES * 8;
  set_member(&insn, field, 0);
  assert_int_equal(ibx_insn_encode(&insn, zeros, NULL), IBX_OK);
  set_member(&insn, field, widen(field, low_mask(field->width)));
  assert_int_equal(ibx_insn_encode(&insn, ones, NULL), IBX_OK);
  unsigned low = first_bit + field->low_bit;
  for (unsigned b = 0; b < bits; b++) {
    bool inside = b >= low && b < low + field->width;
    assert_int_equal(bit_at(zeros, b) != bit_at(ones, b), inside);
    if (inside) assert_int_equal(bit_at(ones, b), 1);
  }
}

static void every_field_has_its_own_bits(void **state) {
  (void)state;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    size_t count;
    const ibx_field_info *fields = ibx_format_fields(info->format, &count);
    for (size_t i = 0; i < count; i++) {
      if (is_head(&fields[i])) continue;
      check_field_bits((uint8_t)opcode, &fields[i], 0);
    }
    ibx_insn plain = ibx_insn_make((ibx_opcode)opcode);
    unsigned first = (unsigned)ibx_insn_words(&plain) * IBX_WORD_BYTES * 8;
    fields = ibx_format_fields(IBX_FORMAT_looped, &count);
    for (size_t i = 0; i < count; i++) {
      check_field_bits((uint8_t)opcode, &fields[i], first);
    }
  }
}

static bool is_assigned(ibx_format format, unsigned bit) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    unsigned low = fields[i].low_bit;
    if (bit >= low && bit < low + fields[i].width) return true;
  }
  return false;
}

static void check_flipped_bit(const ibx_insn_info *info, uint8_t *bytes,
                              size_t size, unsigned bit) {
  ibx_insn insn;
  size_t words;
  ibx_error err = {0};
  bool assigned = is_assigned(info->format, bit);
  if (assigned && bit < 16) return; // another instruction, or a looped one
  bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  ibx_status status =
      ibx_insn_decode((ibx_span){bytes, size}, &insn, &words, &err);
  bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
  assert_int_equal(status, assigned ? IBX_OK : IBX_INVALID_PROGRAM);
  if (!assigned) assert_non_null(strstr(err.message, info->name));
}

static void unassigned_bits_are_refused(void **state) {
  (void)state;
  uint64_t seed = 0xbe5466cf34e90c6c;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    ibx_insn plain = ibx_insn_make((ibx_opcode)opcode);
    randomize(&plain, info->format, &seed);
    uint8_t bytes[MAX_BYTES];
    assert_int_equal(ibx_insn_encode(&plain, bytes, NULL), IBX_OK);
    size_t size = ibx_insn_words(&plain) * IBX_WORD_BYTES;
    for (unsigned bit = 0; bit < size * 8; bit++) {
      check_flipped_bit(info, bytes, size, bit);
    }
  }
}

static void check_misfit(uint8_t opcode, const ibx_field_info *field,
                         uint64_t value) {
  uint8_t bytes[MAX_BYTES];
  ibx_error err = {0};
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  set_member(&insn, field, value);
  assert_int_equal(ibx_insn_encode(&insn, bytes, &err), IBX_INVALID_PROGRAM);
  assert_non_null(strstr(err.message, field->name));
}

static void values_that_do_not_fit_are_refused_by_name(void **state) {
  (void)state;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    size_t count;
    const ibx_field_info *fields = ibx_format_fields(info->format, &count);
    for (size_t i = 0; i < count; i++) {
      unsigned width = fields[i].width;
      if (width == 8u * fields[i].member_bytes) continue;
      uint64_t above = UINT64_C(1) << width;
      if (fields[i].kind == IBX_FIELD_BUFFER) {
        check_misfit((uint8_t)opcode, &fields[i], above - 1); // means none
        check_misfit((uint8_t)opcode, &fields[i], above);
        check_misfit((uint8_t)opcode, &fields[i], IBX_NO_BUFFER - 1);
      } else if (fields[i].kind == IBX_FIELD_UINT) {
        check_misfit((uint8_t)opcode, &fields[i], above);
      } else {
        check_misfit((uint8_t)opcode, &fields[i], above / 2);
        check_misfit((uint8_t)opcode, &fields[i], ~(above / 2));
      }
    }
  }
}

static bool has_member(ibx_format format, const ibx_field_info *field) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    if (fields[i].member_offset == field->member_offset) return true;
  }
  return false;
}

static void members_without_a_field_are_refused(void **state) {
  (void)state;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    for (int f = 0; f < IBX_FORMAT_COUNT; f++) {
      size_t count;
      const ibx_field_info *fields = ibx_format_fields((ibx_format)f, &count);
      for (size_t i = 0; i < count; i++) {
        if (has_member(info->format, &fields[i])) continue;
        check_misfit((uint8_t)opcode, &fields[i], 77);
      }
    }
  }
}

static void damaged_bytes_are_refused(void **state) {
  (void)state;
  uint8_t bytes[MAX_BYTES] = {0};
  ibx_insn insn;
  size_t words;
  ibx_error err = {0};
  const size_t sizes[] = {0, 1, 63};
  for (size_t i = 0; i < IBX_COUNT_OF(sizes); i++) {
    ibx_span span = {sizes[i] ? bytes : NULL, sizes[i]};
    assert_int_equal(ibx_insn_decode(span, &insn, &words, &err),
                     IBX_INVALID_PROGRAM);
  }
  assert_int_equal(ibx_insn_decode((ibx_span){bytes, 64}, &insn, &words, &err),
                   IBX_INVALID_PROGRAM); // opcode 0
  ibx_insn dma = ibx_insn_make(IBX_OP_dma_copy);
  dma.flags = IBX_FLAG_LOOPED;
  assert_int_equal(ibx_insn_encode(&dma, bytes, &err), IBX_OK);
  for (size_t size = 0; size < 3 * IBX_WORD_BYTES; size++) {
    assert_int_equal(
        ibx_insn_decode((ibx_span){bytes, size}, &insn, &words, &err),
        IBX_INVALID_PROGRAM);
  }
  insn.opcode = 0;
  assert_int_equal(ibx_insn_encode(&insn, bytes, &err), IBX_INVALID_PROGRAM);
}

// What decodes from noise encodes to the same bytes; nothing else happens.
static void noise_is_refused_or_exact(void **state) {
  (void)state;
  uint64_t seed = 0xc0ac29b7c97c50dd;
  for (int n = 0; n < 200000; n++) {
    uint8_t bytes[MAX_BYTES];
    for (size_t i = 0; i < sizeof bytes; i += 8) {
      uint64_t random = next_random(&seed) & next_random(&seed);
      memcpy(bytes + i, &random, 8);
    }
    ibx_insn insn;
    size_t words;
    uint8_t again[MAX_BYTES];
    ibx_span span = {bytes, sizeof bytes};
    if (ibx_insn_decode(span, &insn, &words, NULL) != IBX_OK) continue;
    assert_int_equal(ibx_insn_encode(&insn, again, NULL), IBX_OK);
    assert_memory_equal(bytes, again, words * IBX_WORD_BYTES);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_fields_come_back),
      cmocka_unit_test(every_field_has_its_own_bits),
      cmocka_unit_test(unassigned_bits_are_refused),
      cmocka_unit_test(values_that_do_not_fit_are_refused_by_name),
      cmocka_unit_test(members_without_a_field_are_refused),
      cmocka_unit_test(damaged_bytes_are_refused),
      cmocka_unit_test(noise_is_refused_or_exact),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
