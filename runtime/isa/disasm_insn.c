// SPDX-License-Identifier: Apache-2.0
//
// Instruction to assembly text. In: a decoded instruction, not trusted. Out:
// text that assembles to the same instruction. Members that have a word of
// their own are printed with it; whatever then still differs from a fresh
// instruction is printed by its member's name, so a new field in isa.def is
// never lost.

#include "asm_text.h"
#include "disasm_text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ibx_text_add(ibx_text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  bool has_room = t->len < t->size;
  int added = vsnprintf(has_room ? t->out + t->len : NULL,
                        has_room ? t->size - t->len : 0, format, args);
  va_end(args);
  if (added > 0) t->len += (size_t)added;
}

// --- names --------------------------------------------------------------------

bool ibx_asm_is_bare(const char *name) {
  size_t len = strlen(name);
  if (len == 0 || ibx_asm_is_reserved(name, len)) return false;
  if (name[0] >= '0' && name[0] <= '9') return false;
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!is_letter && !(c >= '0' && c <= '9') && c != '_') return false;
  }
  return true;
}

void ibx_text_add_string(ibx_text *t, const char *name) {
  ibx_text_add(t, "\"");
  for (const char *c = name ? name : ""; *c != 0; c++) {
    unsigned char byte = (unsigned char)*c;
    if (byte == '"' || byte == '\\') {
      ibx_text_add(t, "\\%c", byte);
    } else if (byte < 0x20 || byte == 0x7f) {
      ibx_text_add(t, "\\x%02x", byte);
    } else {
      ibx_text_add(t, "%c", byte);
    }
  }
  ibx_text_add(t, "\"");
}

static bool is_unique(const ibx_entry *entry, size_t index) {
  const char *name = entry->buffers[index].name;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const char *other = entry->buffers[i].name;
    if (i != index && other && strcmp(other, name) == 0) return false;
  }
  return true;
}

static bool has_name(const ibx_naming *names, uint32_t buffer) {
  if (!names->entry || buffer >= names->entry->buffer_count) return false;
  if (names->is_named) return names->is_named[buffer];
  const char *name = names->entry->buffers[buffer].name;
  return name && ibx_asm_is_bare(name) && is_unique(names->entry, buffer);
}

static void add_buffer(ibx_text *t, const ibx_naming *names, uint32_t buffer) {
  if (buffer == IBX_NO_BUFFER) {
    ibx_text_add(t, "-");
  } else if (has_name(names, buffer)) {
    ibx_text_add(t, "%s", names->entry->buffers[buffer].name);
  } else {
    ibx_text_add(t, "%%%u", buffer);
  }
}

// --- operands --------------------------------------------------------------------

static bool has_loop_steps(const ibx_operand *operand) {
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (operand->loop_step[i] != 0) return true;
  }
  return false;
}

static void add_address(ibx_text *t, const ibx_operand *operand) {
  if (operand->partition != 0) ibx_text_add(t, "@%u", operand->partition);
  if (operand->offset == 0 && !has_loop_steps(operand)) return;
  const char *plus = "";
  ibx_text_add(t, "[");
  if (operand->offset != 0) {
    ibx_text_add(t, "%" PRIu64, operand->offset);
    plus = " + ";
  }
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (operand->loop_step[i] == 0) continue;
    ibx_text_add(t, "%sr%zu*%" PRId32, plus, i, operand->loop_step[i]);
    plus = " + ";
  }
  ibx_text_add(t, "]");
}

// Leading zeros are left out, the last value never.
static void add_list(ibx_text *t, const char *word, const int64_t *values) {
  size_t first = 0;
  while (first < IBX_DIMS - 1 && values[first] == 0) {
    first++;
  }
  ibx_text_add(t, " %s(", word);
  for (size_t d = first; d < IBX_DIMS; d++) {
    ibx_text_add(t, "%s%" PRId64, d == first ? "" : ", ", values[d]);
  }
  ibx_text_add(t, ")");
}

static void add_steps(ibx_text *t, const ibx_insn *insn, size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  int32_t standard[IBX_DIMS];
  int64_t steps[IBX_DIMS], partition_steps[IBX_DIMS];
  bool is_standard = ibx_asm_default_steps(insn, slot, standard);
  bool is_still = true;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    steps[d] = operand->step[d];
    partition_steps[d] = operand->partition_step[d];
    is_standard = is_standard && steps[d] == standard[d];
    is_still = is_still && partition_steps[d] == 0;
  }
  if (!is_standard) add_list(t, "step", steps);
  if (!is_still) add_list(t, "pstep", partition_steps);
}

static void add_operand(ibx_text *t, const ibx_naming *names,
                        const ibx_insn *insn, size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  add_buffer(t, names, operand->buffer);
  add_address(t, operand);
  const ibx_dtype_info *dtype = ibx_dtype_get((ibx_dtype)operand->dtype);
  if (operand->dtype != IBX_DTYPE_NONE) {
    // Texts are no type of a machine; a number that is no type reads back.
    if (dtype && operand->dtype < IBX_DTYPE_COUNT) {
      ibx_text_add(t, ":%s", dtype->name);
    } else {
      ibx_text_add(t, ":%u", operand->dtype);
    }
  }
  add_steps(t, insn, slot);
}

static bool is_fresh_operand(const ibx_insn *insn, size_t slot) {
  ibx_insn fresh = ibx_insn_make((ibx_opcode)insn->opcode);
  return memcmp(&fresh.operand[slot], &insn->operand[slot],
                offsetof(ibx_operand, partition_step) + IBX_DIMS) == 0;
}

// `shown` receives what was printed.
static void add_operands(ibx_text *t, const ibx_naming *names,
                         const ibx_insn *insn, ibx_insn *shown) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  size_t count = 0;
  bool has_slot = false;
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (info->slot[slot] == IBX_SLOT_NONE) continue;
    if (!has_slot || !is_fresh_operand(insn, slot)) count = slot + 1;
    has_slot = true;
  }
  const char *gap = " ";
  for (size_t slot = 0; slot < count; slot++) {
    if (info->slot[slot] == IBX_SLOT_NONE) continue;
    ibx_text_add(t, "%s", gap);
    gap = ", ";
    add_operand(t, names, insn, slot);
    shown->operand[slot] = insn->operand[slot];
  }
}

// --- members ---------------------------------------------------------------------

static void add_registers(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  for (size_t i = 0; i < IBX_COUNT_OF(insn->reg); i++) {
    if (insn->reg[i] == IBX_NO_REGISTER) return;
    ibx_text_add(t, " r%u", insn->reg[i]);
    shown->reg[i] = insn->reg[i];
  }
}

static void add_space(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  size_t first = 0;
  while (first < IBX_DIMS && insn->num[first] == 1) {
    first++;
  }
  memcpy(shown->num, insn->num, sizeof(insn->num));
  if (first == IBX_DIMS) return;
  ibx_text_add(t, " size(");
  for (size_t d = first; d < IBX_DIMS; d++) {
    ibx_text_add(t, "%s%" PRIu32, d == first ? "" : ", ", insn->num[d]);
  }
  ibx_text_add(t, ")");
}

static void add_shuffle(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  if (memcmp(insn->shuffle, shown->shuffle, sizeof(insn->shuffle)) == 0) return;
  ibx_text_add(t, " shuffle(");
  for (size_t i = 0; i < IBX_QUADRANT; i++) {
    ibx_text_add(t, "%s%u", i == 0 ? "" : ", ", insn->shuffle[i]);
  }
  ibx_text_add(t, ")");
  memcpy(shown->shuffle, insn->shuffle, sizeof(insn->shuffle));
}

static void add_index(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  if (insn->index_register == 0 || insn->index_slot >= IBX_OPERANDS) return;
  ibx_text_add(t, " index(%u, r%u)", insn->index_slot,
               insn->index_register - 1u);
  shown->index_register = insn->index_register;
  shown->index_slot = insn->index_slot;
}

static void add_value(ibx_text *t, const ibx_insn *insn,
                      const ibx_field_info *field) {
  int64_t value = ibx_asm_get_member(insn, field);
  const char *name = ibx_asm_value_name(insn, field->name, value);
  if (name) {
    ibx_text_add(t, "%s", name);
  } else if (field->kind == IBX_FIELD_FLOAT) {
    char number[32];
    uint32_t bits = (uint32_t)value;
    float number_value;
    memcpy(&number_value, &bits, sizeof(bits));
    ibx_asm_print_float(number_value, number, sizeof(number));
    ibx_text_add(t, "%s", number);
  } else {
    ibx_text_add(t, "%" PRId64, value);
  }
}

static void add_words(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  ibx_format format = ibx_insn_get(insn->opcode)->format;
  size_t count;
  const ibx_asm_word *words = ibx_asm_words(&count);
  for (size_t i = 0; i < count; i++) {
    const char *member = words[i].member;
    const ibx_field_info *field =
        ibx_asm_find_field(format, member, strlen(member));
    if (!field) continue;
    int64_t value = ibx_asm_get_member(insn, field);
    if (value == ibx_asm_get_member(shown, field)) continue;
    ibx_text_add(t, " %s=", words[i].word);
    add_value(t, insn, field);
    memcpy((char *)shown + field->member_offset,
           (const char *)insn + field->member_offset, field->member_bytes);
  }
}

// Loop strides in an address say by themselves that the instruction is looped.
static void add_flags(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (has_loop_steps(&shown->operand[i])) shown->flags |= IBX_FLAG_LOOPED;
  }
  for (unsigned bit = 1; bit <= UINT8_MAX; bit *= 2) {
    const char *name = ibx_flag_name((uint8_t)bit);
    if (!name || !(insn->flags & ~shown->flags & bit)) continue;
    ibx_text_add(t, " %s", name);
    shown->flags = (uint8_t)(shown->flags | bit);
  }
}

static void add_semaphores(ibx_text *t, const ibx_insn *insn, ibx_insn *shown) {
  if (insn->wait_value != 0) {
    ibx_text_add(t, " wait s%u>=%u", insn->wait_semaphore, insn->wait_value);
    shown->wait_semaphore = insn->wait_semaphore;
    shown->wait_value = insn->wait_value;
  }
  if (insn->signal_value != 0) {
    ibx_text_add(t, " signal s%u+%u", insn->signal_semaphore,
                 insn->signal_value);
    shown->signal_semaphore = insn->signal_semaphore;
    shown->signal_value = insn->signal_value;
  }
}

static void add_rest(ibx_text *t, ibx_format format, const ibx_insn *insn,
                     const ibx_insn *shown) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    int64_t value = ibx_asm_get_member(insn, &fields[i]);
    if (value == ibx_asm_get_member(shown, &fields[i])) continue;
    if (strcmp(fields[i].name, "opcode") == 0) continue;
    ibx_text_add(t, " field(\"%s\", %" PRId64 ")", fields[i].name, value);
  }
}

void ibx_text_add_insn(ibx_text *t, const ibx_naming *names,
                       const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) {
    ibx_text_add(t, "; no such opcode: 0x%02x", insn->opcode);
    return;
  }
  ibx_insn shown = ibx_insn_make((ibx_opcode)insn->opcode);
  ibx_text_add(t, "%s", info->name);
  add_operands(t, names, insn, &shown);
  add_registers(t, insn, &shown);
  add_space(t, insn, &shown);
  add_index(t, insn, &shown);
  add_shuffle(t, insn, &shown);
  add_words(t, insn, &shown);
  add_flags(t, insn, &shown);
  add_semaphores(t, insn, &shown);
  add_rest(t, info->format, insn, &shown);
  if (insn->flags & IBX_FLAG_LOOPED) {
    add_rest(t, IBX_FORMAT_looped, insn, &shown);
  }
}

size_t ibx_disasm_insn(const ibx_entry *entry, const ibx_insn *insn, char *out,
                       size_t size) {
  ibx_text t = {.out = out, .size = size};
  ibx_naming names = {.entry = entry};
  if (size > 0) out[0] = 0;
  ibx_text_add_insn(&t, &names, insn);
  return t.len;
}
