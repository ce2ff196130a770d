// SPDX-License-Identifier: Apache-2.0
//
// What assembler and disassembler share. Members are reached through the field
// table of isa.def, so neither of them knows an instruction by name.

#include "asm_text.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const ibx_asm_word words[] = {
    {"op0", "op[0]"},           {"op1", "op[1]"},
    {"op2", "op[2]"},           {"op3", "op[3]"},
    {"imm0", "imm[0]"},         {"imm1", "imm[1]"},
    {"imm2", "imm[2]"},         {"imm3", "imm[3]"},
    {"p", "partitions"},        {"columns", "columns"},
    {"queue", "queue"},         {"dge", "dge"},
    {"count", "count"},         {"reduce", "reduce"},
    {"mode", "mode"},           {"pattern0", "pattern[0]"},
    {"pattern1", "pattern[1]"}, {"pattern2", "pattern[2]"},
    {"group", "group"},         {"stride", "stride"},
};

static const char *const dges[] = {
    [IBX_DGE_STATIC] = "static",
    [IBX_DGE_HARDWARE] = "hardware",
    [IBX_DGE_SOFTWARE] = "software",
};

static const char *const keywords[] = {"size", "step",    "pstep",
                                       "wait", "signal",  "field",
                                       "bits", "shuffle", "index"};

static bool same(const char *name, const char *text, size_t len) {
  return strlen(name) == len && memcmp(name, text, len) == 0;
}

// r0, s12: a letter and digits.
static bool is_numbered(const char *name, size_t len) {
  if (len < 2 || (name[0] != 'r' && name[0] != 's')) return false;
  for (size_t i = 1; i < len; i++) {
    if (name[i] < '0' || name[i] > '9') return false;
  }
  return true;
}

uint8_t ibx_asm_find_flag(const char *name, size_t len) {
  for (unsigned bit = 1; bit <= UINT8_MAX; bit *= 2) {
    const char *flag = ibx_flag_name((uint8_t)bit);
    if (flag && same(flag, name, len)) return (uint8_t)bit;
  }
  return 0;
}

bool ibx_asm_is_reserved(const char *name, size_t len) {
  for (size_t i = 0; i < IBX_COUNT_OF(keywords); i++) {
    if (same(keywords[i], name, len)) return true;
  }
  if (ibx_asm_find_flag(name, len) != 0) return true;
  for (size_t i = 0; i < IBX_COUNT_OF(words); i++) {
    if (same(words[i].word, name, len)) return true;
  }
  return is_numbered(name, len);
}

const ibx_asm_word *ibx_asm_words(size_t *out_count) {
  *out_count = IBX_COUNT_OF(words);
  return words;
}

const ibx_field_info *ibx_asm_find_field(ibx_format format, const char *member,
                                         size_t len) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    if (same(fields[i].name, member, len)) return &fields[i];
  }
  return NULL;
}

int64_t ibx_asm_get_member(const ibx_insn *insn, const ibx_field_info *field) {
  uint64_t value = 0;
  const char *member = (const char *)insn + field->member_offset;
  uint8_t u8;
  uint16_t u16;
  uint32_t u32;
  switch (field->member_bytes) {
  case 1: memcpy(&u8, member, 1), value = u8; break;
  case 2: memcpy(&u16, member, 2), value = u16; break;
  case 4: memcpy(&u32, member, 4), value = u32; break;
  default: memcpy(&value, member, 8); break;
  }
  if (field->kind == IBX_FIELD_SINT) {
    uint64_t sign = UINT64_C(1) << (8u * field->member_bytes - 1);
    value = (value ^ sign) - sign;
  }
  return (int64_t)value;
}

static bool fits(int64_t value, const ibx_field_info *field) {
  unsigned width = field->width;
  if (width >= 64) return true;
  int64_t top = INT64_C(1) << (width - 1);
  if (field->kind == IBX_FIELD_SINT) return value >= -top && value < top;
  return value >= 0 && (uint64_t)value >> width == 0;
}

bool ibx_asm_set_member(ibx_insn *insn, const ibx_field_info *field,
                        int64_t value) {
  char *member = (char *)insn + field->member_offset;
  uint8_t u8 = (uint8_t)value;
  uint16_t u16 = (uint16_t)value;
  uint32_t u32 = (uint32_t)value;
  if (!fits(value, field)) return false;
  switch (field->member_bytes) {
  case 1: memcpy(member, &u8, 1); break;
  case 2: memcpy(member, &u16, 2); break;
  case 4: memcpy(member, &u32, 4); break;
  default: memcpy(member, &value, 8); break;
  }
  return true;
}

const char *ibx_asm_value_name(const ibx_insn *insn, const char *member,
                               int64_t value) {
  if (value < 0 || value > UINT8_MAX) return NULL;
  uint8_t number = (uint8_t)value;
  if (strcmp(member, "dge") == 0) {
    return number < IBX_DGE_COUNT ? dges[number] : NULL;
  }
  if (strcmp(member, "reduce") == 0) return ibx_reduce_name(number);
  if (strcmp(member, "mode") == 0) return ibx_mode_name(insn->opcode, number);
  if (strncmp(member, "op[", 3) != 0) return NULL;
  ibx_operator_kind kind =
      ibx_insn_operator(insn->opcode, (size_t)(member[3] - '0'));
  bool is_alu = kind != IBX_OPERATOR_ACT && kind != IBX_OPERATOR_CALL;
  return ibx_operator_name(is_alu ? IBX_OPERATOR_ALU : kind, number);
}

int ibx_asm_find_value(const ibx_insn *insn, const char *member,
                       const char *name, size_t len) {
  for (int value = 0; value <= UINT8_MAX; value++) {
    const char *candidate = ibx_asm_value_name(insn, member, value);
    if (candidate && same(candidate, name, len)) return value;
  }
  return -1;
}

static bool has_steps(const ibx_insn_info *info, size_t slot) {
  char member[24];
  int len = snprintf(member, sizeof(member), "operand[%zu].step[4]", slot);
  return ibx_asm_find_field(info->format, member, (size_t)len) != NULL;
}

bool ibx_asm_default_steps(const ibx_insn *insn, size_t slot,
                           int32_t steps[IBX_DIMS]) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  memset(steps, 0, IBX_DIMS * sizeof(*steps));
  if (insn->operand[slot].buffer == IBX_NO_BUFFER) return true;
  if (!has_steps(info, slot)) return true;
  uint64_t step = 1;
  for (size_t d = IBX_DIMS; d-- > 0;) {
    if (insn->operand[slot].partition_step[d] != 0) continue;
    if (insn->num[d] == 1 && d != IBX_DIMS - 1) continue;
    if (step > INT32_MAX) return false;
    steps[d] = (int32_t)step;
    if (!ibx_mul_size(step, insn->num[d], &step)) return false;
  }
  return true;
}

// Numbers have a point, whatever the user's locale writes: both functions
// swap it for the locale's own around the C library's conversions.

void ibx_asm_print_float(float value, char *out, size_t size) {
  uint32_t bits, again_bits;
  memcpy(&bits, &value, sizeof(bits));
  bool is_finite = (bits >> 23 & 0xff) != 0xff;
  const char *point = localeconv()->decimal_point;
  for (int digits = 1; digits <= 9 && is_finite; digits++) {
    snprintf(out, size, "%.*g", digits, (double)value);
    float again = strtof(out, NULL);
    memcpy(&again_bits, &again, sizeof(again_bits));
    if (again_bits != bits) continue;
    char *at = strstr(out, point);
    if (at) {
      *at = '.';
      memmove(at + 1, at + strlen(point), strlen(at + strlen(point)) + 1);
    }
    return;
  }
  if (bits << 1 == UINT32_C(0xff000000)) {
    snprintf(out, size, "%sinf", bits >> 31 ? "-" : "");
  } else {
    snprintf(out, size, "bits(0x%08x)", (unsigned)bits);
  }
}

bool ibx_asm_read_number(const char *text, size_t len, double *out) {
  char copy[80];
  const char *point = localeconv()->decimal_point;
  size_t point_len = strlen(point);
  size_t used = 0;
  for (size_t i = 0; i < len; i++) {
    if (used + point_len + 1 >= sizeof(copy)) return false;
    if (text[i] == '.') {
      memcpy(copy + used, point, point_len);
      used += point_len;
    } else {
      copy[used++] = text[i];
    }
  }
  copy[used] = 0;
  char *end = NULL;
  *out = strtod(copy, &end);
  return used > 0 && end == copy + used;
}
