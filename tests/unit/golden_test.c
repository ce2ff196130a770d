// SPDX-License-Identifier: Apache-2.0
//
// tests/golden/isa.txt: the encodings on which programs rely, read both ways.
// A failure prints the line as it would be now.

#include "imbrex/isa.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BYTES = IBX_INSN_MAX_WORDS * IBX_WORD_BYTES, LINE_CHARS = 4096 };

typedef struct golden {
  uint8_t bytes[MAX_BYTES];
  ibx_insn insn;
} golden;

static const ibx_field_info *find_field(const ibx_insn *insn,
                                        const char *name) {
  const ibx_format formats[] = {ibx_insn_get(insn->opcode)->format,
                                IBX_FORMAT_looped};
  for (size_t f = 0; f < IBX_COUNT_OF(formats); f++) {
    size_t count;
    const ibx_field_info *fields = ibx_format_fields(formats[f], &count);
    for (size_t i = 0; i < count; i++) {
      if (strcmp(fields[i].name, name) == 0) return &fields[i];
    }
  }
  return NULL;
}

static void set_field(ibx_insn *insn, const ibx_field_info *field,
                      const char *text) {
  char *member = (char *)insn + field->member_offset;
  char *end = NULL;
  if (field->kind == IBX_FIELD_FLOAT) {
    float value = strtof(text, &end);
    memcpy(member, &value, sizeof value);
  } else {
    int64_t value = strtoll(text, &end, 10);
    memcpy(member, &value, field->member_bytes); // little endian
  }
  assert_string_equal(end, "");
}

static void read_hex(const char *text, uint8_t *bytes) {
  size_t len = strlen(text);
  assert_true(len % 2 == 0 && len / 2 <= MAX_BYTES);
  memset(bytes, 0, MAX_BYTES);
  for (size_t i = 0; i < len / 2; i++) {
    const char digits[] = {text[2 * i], text[2 * i + 1], '\0'};
    char *end = NULL;
    bytes[i] = (uint8_t)strtoul(digits, &end, 16);
    assert_ptr_equal(end, digits + 2);
  }
}

static golden read_line(char *line) {
  golden result;
  char *save = NULL;
  read_hex(strtok_r(line, " \n", &save), result.bytes);
  const char *name = strtok_r(NULL, " \n", &save);
  uint8_t opcode = 0;
  assert_non_null(ibx_insn_find(name, strlen(name), &opcode));
  result.insn = ibx_insn_make((ibx_opcode)opcode);
  for (char *part; (part = strtok_r(NULL, " \n", &save)) != NULL;) {
    char *value = strchr(part, '=');
    assert_non_null(value);
    *value = '\0';
    const ibx_field_info *field = find_field(&result.insn, part);
    if (!field) fail_msg("%s has no field %s", name, part);
    set_field(&result.insn, field, value + 1);
  }
  return result;
}

static int64_t get_field(const ibx_insn *insn, const ibx_field_info *field) {
  const char *member = (const char *)insn + field->member_offset;
  uint64_t value = 0;
  memcpy(&value, member, field->member_bytes);
  if (field->kind != IBX_FIELD_SINT) return (int64_t)value;
  unsigned shift = 64 - 8u * field->member_bytes;
  return (int64_t)(value << shift) >> shift;
}

static size_t print_field(char *out, size_t room, const ibx_insn *insn,
                          const ibx_field_info *field) {
  int64_t value = get_field(insn, field);
  ibx_insn plain = ibx_insn_make((ibx_opcode)insn->opcode);
  if (value == get_field(&plain, field)) return 0;
  if (field->kind == IBX_FIELD_FLOAT) {
    float number;
    memcpy(&number, (const char *)insn + field->member_offset, sizeof number);
    return (size_t)snprintf(out, room, " %s=%a", field->name, (double)number);
  }
  return (size_t)snprintf(out, room, " %s=%" PRId64, field->name, value);
}

static void print_insn(const ibx_insn *insn, const uint8_t *bytes, char *out) {
  size_t used = 0;
  size_t size = ibx_insn_words(insn) * IBX_WORD_BYTES;
  while (size > 0 && bytes[size - 1] == 0) {
    size--;
  }
  for (size_t i = 0; i < size; i++) {
    used += (size_t)snprintf(out + used, LINE_CHARS - used, "%02x", bytes[i]);
  }
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  used += (size_t)snprintf(out + used, LINE_CHARS - used, " %s", info->name);
  const ibx_format formats[] = {info->format, IBX_FORMAT_looped};
  for (size_t f = 0; f < IBX_COUNT_OF(formats); f++) {
    size_t count;
    const ibx_field_info *fields = ibx_format_fields(formats[f], &count);
    for (size_t i = 0; i < count; i++) {
      if (strcmp(fields[i].name, "opcode") == 0) continue;
      used += print_field(out + used, LINE_CHARS - used, insn, &fields[i]);
    }
  }
}

static void check_line(const char *line, bool *seen) {
  char copy[LINE_CHARS];
  char now[LINE_CHARS];
  uint8_t bytes[MAX_BYTES] = {0};
  ibx_error err = {0};
  memcpy(copy, line, strlen(line) + 1);
  golden expected = read_line(copy);
  seen[expected.insn.opcode] = true;
  if (ibx_insn_encode(&expected.insn, bytes, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  print_insn(&expected.insn, bytes, now);
  assert_string_equal(now, line);
  assert_memory_equal(bytes, expected.bytes, MAX_BYTES);

  ibx_insn decoded;
  size_t words;
  ibx_span span = {expected.bytes, MAX_BYTES};
  assert_int_equal(ibx_insn_decode(span, &decoded, &words, &err), IBX_OK);
  assert_int_equal(words, ibx_insn_words(&expected.insn));
  print_insn(&decoded, expected.bytes, now);
  assert_string_equal(now, line);
}

static void every_line_reads_both_ways(void **state) {
  (void)state;
  static char line[LINE_CHARS];
  bool seen[256] = {false};
  FILE *file = fopen(IBX_SOURCE_DIR "/tests/golden/isa.txt", "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '#' || line[0] == '\0') continue;
    check_line(line, seen);
  }
  fclose(file);
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (info && !seen[opcode]) fail_msg("no line for %s", info->name);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_line_reads_both_ways),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
