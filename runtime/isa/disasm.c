// SPDX-License-Identifier: Apache-2.0
//
// Program to assembly text. In: decoded instructions, not trusted. Out: text
// that assembles to the same instructions. Members that have a word of their
// own are printed with it; whatever then still differs from a fresh
// instruction is printed by its member's name, so a new field in isa.def is
// never lost.

#include "asm_text.h"
#include "imbrex/asm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
  char *out;
  size_t size, len; ///< len of the whole text, also past the size
} text;

static void add(text *t, const char *format, ...) IBX_PRINTF(2, 3);

static void add(text *t, const char *format, ...) {
  va_list args;
  va_start(args, format);
  bool has_room = t->len < t->size;
  int added = vsnprintf(has_room ? t->out + t->len : NULL,
                        has_room ? t->size - t->len : 0, format, args);
  va_end(args);
  if (added > 0) t->len += (size_t)added;
}

// --- names --------------------------------------------------------------------

static bool is_bare(const char *name) {
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

static void add_string(text *t, const char *name) {
  add(t, "\"");
  for (const char *c = name ? name : ""; *c != 0; c++) {
    unsigned char byte = (unsigned char)*c;
    if (byte == '"' || byte == '\\') {
      add(t, "\\%c", byte);
    } else if (byte < 0x20 || byte == 0x7f) {
      add(t, "\\x%02x", byte);
    } else {
      add(t, "%c", byte);
    }
  }
  add(t, "\"");
}

// Which buffers a bare name identifies. Made once for a program; for a single
// instruction `names` is NULL and the entry is searched.
typedef struct naming {
  const ibx_entry *entry;
  const bool *is_named;
} naming;

static bool is_unique(const ibx_entry *entry, size_t index) {
  const char *name = entry->buffers[index].name;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const char *other = entry->buffers[i].name;
    if (i != index && other && strcmp(other, name) == 0) return false;
  }
  return true;
}

static bool has_name(const naming *names, uint16_t buffer) {
  if (!names->entry || buffer >= names->entry->buffer_count) return false;
  if (names->is_named) return names->is_named[buffer];
  const char *name = names->entry->buffers[buffer].name;
  return name && is_bare(name) && is_unique(names->entry, buffer);
}

static void add_buffer(text *t, const naming *names, uint16_t buffer) {
  if (buffer == IBX_NO_BUFFER) {
    add(t, "-");
  } else if (has_name(names, buffer)) {
    add(t, "%s", names->entry->buffers[buffer].name);
  } else {
    add(t, "%%%u", buffer);
  }
}

// --- operands --------------------------------------------------------------------

static bool has_loop_steps(const ibx_operand *operand) {
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (operand->loop_step[i] != 0) return true;
  }
  return false;
}

static void add_address(text *t, const ibx_operand *operand) {
  if (operand->partition != 0) add(t, "@%u", operand->partition);
  if (operand->offset == 0 && !has_loop_steps(operand)) return;
  const char *plus = "";
  add(t, "[");
  if (operand->offset != 0) {
    add(t, "%" PRIu64, operand->offset);
    plus = " + ";
  }
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (operand->loop_step[i] == 0) continue;
    add(t, "%sr%zu*%" PRId32, plus, i, operand->loop_step[i]);
    plus = " + ";
  }
  add(t, "]");
}

// Leading zeros are left out, the last value never.
static void add_list(text *t, const char *word, const int64_t *values) {
  size_t first = 0;
  while (first < IBX_DIMS - 1 && values[first] == 0) {
    first++;
  }
  add(t, " %s(", word);
  for (size_t d = first; d < IBX_DIMS; d++) {
    add(t, "%s%" PRId64, d == first ? "" : ", ", values[d]);
  }
  add(t, ")");
}

static void add_steps(text *t, const ibx_insn *insn, size_t slot) {
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

static void add_operand(text *t, const naming *names, const ibx_insn *insn,
                        size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  add_buffer(t, names, operand->buffer);
  add_address(t, operand);
  const ibx_dtype_info *dtype = ibx_dtype_get((ibx_dtype)operand->dtype);
  if (operand->dtype != IBX_DTYPE_NONE) {
    if (dtype) {
      add(t, ":%s", dtype->name);
    } else {
      add(t, ":%u", operand->dtype);
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
static void add_operands(text *t, const naming *names, const ibx_insn *insn,
                         ibx_insn *shown) {
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
    add(t, "%s", gap);
    gap = ", ";
    add_operand(t, names, insn, slot);
    shown->operand[slot] = insn->operand[slot];
  }
}

// --- members ---------------------------------------------------------------------

static void add_registers(text *t, const ibx_insn *insn, ibx_insn *shown) {
  for (size_t i = 0; i < IBX_COUNT_OF(insn->reg); i++) {
    if (insn->reg[i] == IBX_NO_REGISTER) return;
    add(t, " r%u", insn->reg[i]);
    shown->reg[i] = insn->reg[i];
  }
}

static void add_space(text *t, const ibx_insn *insn, ibx_insn *shown) {
  size_t first = 0;
  while (first < IBX_DIMS && insn->num[first] == 1) {
    first++;
  }
  memcpy(shown->num, insn->num, sizeof(insn->num));
  if (first == IBX_DIMS) return;
  add(t, " size(");
  for (size_t d = first; d < IBX_DIMS; d++) {
    add(t, "%s%" PRIu32, d == first ? "" : ", ", insn->num[d]);
  }
  add(t, ")");
}

static void add_value(text *t, const ibx_insn *insn,
                      const ibx_field_info *field) {
  int64_t value = ibx_asm_get_member(insn, field);
  const char *name = ibx_asm_value_name(insn, field->name, value);
  if (name) {
    add(t, "%s", name);
  } else if (field->kind == IBX_FIELD_FLOAT) {
    char number[32];
    uint32_t bits = (uint32_t)value;
    float number_value;
    memcpy(&number_value, &bits, sizeof(bits));
    ibx_asm_print_float(number_value, number, sizeof(number));
    add(t, "%s", number);
  } else {
    add(t, "%" PRId64, value);
  }
}

static void add_words(text *t, const ibx_insn *insn, ibx_insn *shown) {
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
    add(t, " %s=", words[i].word);
    add_value(t, insn, field);
    memcpy((char *)shown + field->member_offset,
           (const char *)insn + field->member_offset, field->member_bytes);
  }
}

// Loop strides in an address say by themselves that the instruction is looped.
static void add_flags(text *t, const ibx_insn *insn, ibx_insn *shown) {
  size_t count;
  const ibx_asm_flag *flags = ibx_asm_flags(&count);
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (has_loop_steps(&shown->operand[i])) shown->flags |= IBX_FLAG_LOOPED;
  }
  for (size_t i = 0; i < count; i++) {
    if (!(insn->flags & ~shown->flags & flags[i].bit)) continue;
    add(t, " %s", flags[i].name);
    shown->flags = (uint8_t)(shown->flags | flags[i].bit);
  }
}

static void add_semaphores(text *t, const ibx_insn *insn, ibx_insn *shown) {
  if (insn->wait_value != 0) {
    add(t, " wait s%u>=%u", insn->wait_semaphore, insn->wait_value);
    shown->wait_semaphore = insn->wait_semaphore;
    shown->wait_value = insn->wait_value;
  }
  if (insn->signal_value != 0) {
    add(t, " signal s%u+%u", insn->signal_semaphore, insn->signal_value);
    shown->signal_semaphore = insn->signal_semaphore;
    shown->signal_value = insn->signal_value;
  }
}

static void add_rest(text *t, ibx_format format, const ibx_insn *insn,
                     const ibx_insn *shown) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    int64_t value = ibx_asm_get_member(insn, &fields[i]);
    if (value == ibx_asm_get_member(shown, &fields[i])) continue;
    if (strcmp(fields[i].name, "opcode") == 0) continue;
    add(t, " field(\"%s\", %" PRId64 ")", fields[i].name, value);
  }
}

static void add_insn(text *t, const naming *names, const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) {
    add(t, "; no such opcode: 0x%02x", insn->opcode);
    return;
  }
  ibx_insn shown = ibx_insn_make((ibx_opcode)insn->opcode);
  add(t, "%s", info->name);
  add_operands(t, names, insn, &shown);
  add_registers(t, insn, &shown);
  add_space(t, insn, &shown);
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
  text t = {.out = out, .size = size};
  naming names = {.entry = entry};
  if (size > 0) out[0] = 0;
  add_insn(&t, &names, insn);
  return t.len;
}

// --- programs --------------------------------------------------------------------

typedef struct printer {
  ibx_write_fn write;
  void *user;
  ibx_error *err;
  char *line;
  size_t line_size;
} printer;

typedef void (*add_fn)(text *t, const void *what);

static ibx_status print(printer *p, add_fn fill, const void *what) {
  text t = {.out = p->line, .size = p->line_size};
  fill(&t, what);
  add(&t, "\n");
  if (t.len >= p->line_size) {
    // Names have any length: once more, with room for all.
    char *line = realloc(p->line, t.len + 1);
    if (!line) return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for a line");
    p->line = line;
    p->line_size = t.len + 1;
    t = (text){.out = p->line, .size = p->line_size};
    fill(&t, what);
    add(&t, "\n");
  }
  if (p->write(p->user, p->line, t.len)) return IBX_OK;
  return IBX_FAIL(p->err, IO_ERROR, "the disassembly cannot be written");
}

static void add_head(text *t, const void *what) {
  const ibx_program_data *program = what;
  add(t, ".target %s\n.model ", program->machine->name);
  add_string(t, program->model);
  add(t, "\n.options ");
  add_string(t, program->options);
  add(t, "\n.at none");
}

static void add_node(text *t, const void *what) {
  const ibx_node_decl *node = what;
  add(t, ".node ");
  add_string(t, node->name);
  add(t, " ");
  add_string(t, node->op);
}

static void add_entry_head(text *t, const void *what) {
  const ibx_entry *entry = what;
  const ibx_bounds *b = &entry->bounds;
  add(t, "\n.entry ");
  add_string(t, entry->name);
  add(t,
      "\n.bounds flops=%" PRIu64 " tensor_ps=%" PRIu64 " hbm_min_bytes=%" PRIu64
      " hbm_ps=%" PRIu64 " engine_ps=%" PRIu64,
      b->flops, b->tensor_ps, b->hbm_min_bytes, b->hbm_ps, b->engine_ps);
}

static void add_buffer_decl(text *t, const void *what) {
  static const char *const kinds[] = {
      [IBX_BUFFER_SCRATCH] = "scratch", [IBX_BUFFER_INPUT] = "input",
      [IBX_BUFFER_OUTPUT] = "output",   [IBX_BUFFER_STATE] = "state",
      [IBX_BUFFER_WEIGHT] = "weight",
  };
  const ibx_buffer_decl *buffer = what;
  const ibx_buffer_place *place = &buffer->place;
  add(t, ".buffer ");
  add_string(t, buffer->name);
  add(t, " %s %s", ibx_space_name(place->space), kinds[buffer->kind]);
  if (place->space != IBX_SPACE_HBM || place->partition != 0 ||
      place->partitions != 1) {
    add(t, " partition=%u partitions=%u", place->partition, place->partitions);
  }
  add(t, " offset=%" PRIu64 " bytes=%" PRIu64, place->offset, place->bytes);
}

typedef struct tensor_line {
  const char *directive;
  const ibx_tensor_decl *tensor;
} tensor_line;

static void add_tensor(text *t, const void *what) {
  const tensor_line *line = what;
  const ibx_dtype_info *dtype = ibx_dtype_get((ibx_dtype)line->tensor->dtype);
  add(t, ".%s ", line->directive);
  add_string(t, line->tensor->name);
  add(t, " %s[", dtype ? dtype->name : "none");
  for (size_t d = 0; d < line->tensor->rank; d++) {
    add(t, "%s%" PRIu64, d == 0 ? "" : ", ", line->tensor->shape[d]);
  }
  add(t, "] in %%%u", line->tensor->buffer);
}

static void add_engine(text *t, const void *what) {
  add(t, "\n.engine %s", (const char *)what);
}

static void add_at(text *t, const void *what) {
  uint32_t node = *(const uint32_t *)what;
  if (node == IBX_NO_NODE) {
    add(t, ".at none");
  } else {
    add(t, ".at %" PRIu32, node);
  }
}

typedef struct insn_line {
  const naming *names;
  const ibx_insn *insn;
} insn_line;

static void add_insn_line(text *t, const void *what) {
  const insn_line *line = what;
  add(t, "  ");
  add_insn(t, line->names, line->insn);
}

static ibx_status print_stream(printer *p, const naming *names,
                               ibx_engine engine, uint32_t *node) {
  const ibx_stream *stream = &names->entry->streams[engine];
  if (stream->count == 0) return IBX_OK;
  IBX_TRY(print(p, add_engine, ibx_engine_name(engine)));
  for (size_t i = 0; i < stream->count; i++) {
    uint32_t at = stream->nodes ? stream->nodes[i] : IBX_NO_NODE;
    if (at != *node) IBX_TRY(print(p, add_at, &at));
    *node = at;
    insn_line line = {.names = names, .insn = &stream->insns[i]};
    IBX_TRY(print(p, add_insn_line, &line));
  }
  return IBX_OK;
}

typedef struct named {
  const char *name;
  size_t index;
} named;

static int compare_names(const void *a, const void *b) {
  return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

// Equal names stand side by side once sorted.
static void mark_names(const ibx_entry *entry, named *sorted, bool *is_named) {
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const char *name = entry->buffers[i].name;
    sorted[i] = (named){.name = name ? name : "", .index = i};
  }
  qsort(sorted, entry->buffer_count, sizeof(*sorted), compare_names);
  for (size_t i = 0; i < entry->buffer_count; i++) {
    bool is_twin = (i > 0 && compare_names(&sorted[i], &sorted[i - 1]) == 0) ||
                   (i + 1 < entry->buffer_count &&
                    compare_names(&sorted[i], &sorted[i + 1]) == 0);
    is_named[sorted[i].index] = !is_twin && is_bare(sorted[i].name);
  }
}

static ibx_status print_tensors(printer *p, const char *directive,
                                const ibx_tensor_decl *tensors, size_t count) {
  for (size_t i = 0; i < count; i++) {
    tensor_line line = {.directive = directive, .tensor = &tensors[i]};
    IBX_TRY(print(p, add_tensor, &line));
  }
  return IBX_OK;
}

static ibx_status print_entry(printer *p, const naming *names, uint32_t *node) {
  const ibx_entry *entry = names->entry;
  IBX_TRY(print(p, add_entry_head, entry));
  for (size_t i = 0; i < entry->buffer_count; i++) {
    IBX_TRY(print(p, add_buffer_decl, &entry->buffers[i]));
  }
  IBX_TRY(print_tensors(p, "input", entry->inputs, entry->input_count));
  IBX_TRY(print_tensors(p, "output", entry->outputs, entry->output_count));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    IBX_TRY(print_stream(p, names, (ibx_engine)e, node));
  }
  return IBX_OK;
}

static ibx_status print_named_entry(printer *p, const ibx_entry *entry,
                                    uint32_t *node) {
  named *sorted = calloc(entry->buffer_count + 1, sizeof(*sorted));
  bool *is_named = calloc(entry->buffer_count + 1, sizeof(*is_named));
  ibx_status status;
  if (sorted && is_named) {
    mark_names(entry, sorted, is_named);
    naming names = {.entry = entry, .is_named = is_named};
    status = print_entry(p, &names, node);
  } else {
    status = IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for names");
  }
  free(sorted);
  free(is_named);
  return status;
}

enum { HEX_LINE = 32 };

static void add_hex(text *t, const void *what) {
  const ibx_span *bytes = what;
  add(t, ".hex \"");
  for (size_t i = 0; i < bytes->size; i++) {
    add(t, "%02x", bytes->data[i]);
  }
  add(t, "\"");
}

static void add_zero(text *t, const void *what) {
  add(t, ".zero %zu", *(const size_t *)what);
}

static void add_weights(text *t, const void *what) {
  (void)what;
  add(t, "\n.weights");
}

static ibx_status print_weights(printer *p, ibx_span weights) {
  if (weights.size == 0) return IBX_OK;
  IBX_TRY(print(p, add_weights, NULL));
  if (!weights.data) return print(p, add_zero, &weights.size);
  for (size_t at = 0; at < weights.size;) {
    size_t zeros = 0;
    while (at + zeros < weights.size && weights.data[at + zeros] == 0) {
      zeros++;
    }
    if (zeros >= HEX_LINE || at + zeros == weights.size) {
      IBX_TRY(print(p, add_zero, &zeros));
      at += zeros;
      continue;
    }
    size_t size = weights.size - at < HEX_LINE ? weights.size - at : HEX_LINE;
    ibx_span line = {.data = weights.data + at, .size = size};
    IBX_TRY(print(p, add_hex, &line));
    at += size;
  }
  return IBX_OK;
}

static ibx_status print_program(printer *p, const ibx_program_data *program) {
  uint32_t node = IBX_NO_NODE;
  IBX_TRY(print(p, add_head, program));
  for (size_t i = 0; i < program->node_count; i++) {
    IBX_TRY(print(p, add_node, &program->nodes[i]));
  }
  IBX_TRY(print_weights(p, program->weights));
  for (size_t i = 0; i < program->entry_count; i++) {
    IBX_TRY(print_named_entry(p, &program->entries[i], &node));
  }
  return IBX_OK;
}

ibx_status ibx_disasm_program(const ibx_program_data *program,
                              ibx_write_fn write, void *user, ibx_error *err) {
  printer p = {.write = write, .user = user, .err = err};
  ibx_status status = print_program(&p, program);
  free(p.line);
  return status;
}
