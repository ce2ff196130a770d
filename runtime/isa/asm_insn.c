// SPDX-License-Identifier: Apache-2.0
//
// One line of assembly to one instruction:
//
//   multiply_moving acc[b*2048]:f32, rhs[k*64]:f32 p=128 size(512) accumulate ...
//   mnemonic        operands, in the order of the slots   members and flags
//
// In: tokens. Holds afterwards: the instruction encodes. Which operands there
// are, and which members, the tables of isa.def decide.

#include "asm_parse.h"
#include "asm_text.h"

#include <string.h>

typedef struct line {
  ibx_asm_parser *p;
  const ibx_insn_info *info;
  ibx_insn insn;
  ibx_token start;
  bool has_steps[IBX_OPERANDS];
  size_t registers;
} line;

// --- operands --------------------------------------------------------------------

static void set_address(line *l, const ibx_token *at, ibx_operand *operand,
                        const ibx_asm_value *address) {
  if (address->constant < 0) {
    ibx_asm_fail(l->p, at,
                 "the address starts at byte %lld, must be at least "
                 "0",
                 (long long)address->constant);
    return;
  }
  operand->offset = (uint64_t)address->constant;
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    if (address->loop[i] < INT32_MIN || address->loop[i] > INT32_MAX) {
      ibx_asm_fail(l->p, at, "a loop stride of %lld bytes does not fit 32 bits",
                   (long long)address->loop[i]);
      return;
    }
    operand->loop_step[i] = (int32_t)address->loop[i];
    if (address->loop[i] != 0) l->insn.flags |= IBX_FLAG_LOOPED;
  }
}

static void read_steps(line *l, size_t slot) {
  ibx_operand *operand = &l->insn.operand[slot];
  int64_t steps[IBX_DIMS] = {0};
  if (ibx_asm_take_name(l->p, "step")) {
    ibx_asm_read_list(l->p, INT32_MIN, INT32_MAX, steps, 0, "a step");
    for (size_t d = 0; d < IBX_DIMS; d++) {
      operand->step[d] = (int32_t)steps[d];
    }
    l->has_steps[slot] = true;
  }
  if (ibx_asm_take_name(l->p, "pstep")) {
    ibx_asm_read_list(l->p, INT8_MIN, INT8_MAX, steps, 0, "a partition step");
    for (size_t d = 0; d < IBX_DIMS; d++) {
      operand->partition_step[d] = (int8_t)steps[d];
    }
  }
}

static void read_operand(line *l, size_t slot) {
  ibx_asm_parser *p = l->p;
  ibx_operand *operand = &l->insn.operand[slot];
  operand->buffer = ibx_asm_read_buffer(p);
  if (ibx_asm_take_punct(p, "@")) {
    operand->partition =
        (uint8_t)ibx_asm_read_range(p, 0, UINT8_MAX, "the partition");
  }
  ibx_token at = p->token;
  if (ibx_asm_take_punct(p, "[")) {
    ibx_asm_value address = ibx_asm_read_affine(p);
    ibx_asm_expect_punct(p, "]");
    set_address(l, &at, operand, &address);
  }
  if (ibx_asm_take_punct(p, ":")) operand->dtype = ibx_asm_read_dtype(p);
  read_steps(l, slot);
}

static bool starts_operand(const ibx_asm_parser *p) {
  if (p->token.kind == IBX_TOKEN_STRING) return true;
  if (p->token.kind == IBX_TOKEN_NAME) {
    return !ibx_asm_is_reserved(p->token.text.data, p->token.text.len);
  }
  return ibx_asm_is_punct(p, "%") || ibx_asm_is_punct(p, "-");
}

static void read_operands(line *l) {
  bool is_first = true;
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (l->info->slot[slot] == IBX_SLOT_NONE) continue;
    bool is_there =
        is_first ? starts_operand(l->p) : ibx_asm_take_punct(l->p, ",");
    if (!is_there) return;
    read_operand(l, slot);
    is_first = false;
  }
}

// --- members ---------------------------------------------------------------------

static void set_member(line *l, const ibx_token *at,
                       const ibx_field_info *field, int64_t value) {
  if (!ibx_asm_set_member(&l->insn, field, value)) {
    ibx_asm_fail(l->p, at, "%s is %lld, but its field has %u %s bits",
                 field->name, (long long)value, field->width,
                 field->kind == IBX_FIELD_SINT ? "signed" : "unsigned");
  }
}

static int64_t read_value(line *l, const ibx_field_info *field) {
  ibx_asm_parser *p = l->p;
  if (field->kind == IBX_FIELD_FLOAT) {
    float number = ibx_asm_read_float(p);
    uint32_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return bits;
  }
  if (p->token.kind == IBX_TOKEN_NAME) {
    int value = ibx_asm_find_value(&l->insn, field->name, p->token.text.data,
                                   p->token.text.len);
    if (value >= 0) {
      ibx_asm_advance(p);
      return value;
    }
  }
  return ibx_asm_read_integer(p);
}

// word=value
static bool read_word(line *l) {
  ibx_asm_parser *p = l->p;
  size_t count;
  const ibx_asm_word *words = ibx_asm_words(&count);
  ibx_token at = p->token;
  for (size_t i = 0; i < count; i++) {
    if (!ibx_asm_take_name(p, words[i].word)) continue;
    const ibx_field_info *field = ibx_asm_find_field(
        l->info->format, words[i].member, strlen(words[i].member));
    if (!field) {
      ibx_asm_fail(p, &at, "%s has no %s", l->info->name, words[i].word);
      return true;
    }
    ibx_asm_expect_punct(p, "=");
    int64_t value = read_value(l, field);
    if (p->status == IBX_OK) set_member(l, &at, field, value);
    return true;
  }
  return false;
}

// A flag, or flag=CONDITION: set where the condition is not 0.
static bool read_flag(line *l) {
  if (l->p->token.kind != IBX_TOKEN_NAME) return false;
  uint8_t bit = ibx_asm_find_flag(l->p->token.text.data, l->p->token.text.len);
  if (bit == 0) return false;
  ibx_asm_advance(l->p);
  bool is_set = true;
  if (ibx_asm_take_punct(l->p, "=")) is_set = ibx_asm_read_integer(l->p) != 0;
  if (is_set) l->insn.flags = (uint8_t)(l->insn.flags | bit);
  return true;
}

// field("operand[0].step[2]", 5): any member that the format has.
static void read_field(line *l) {
  ibx_asm_parser *p = l->p;
  ibx_asm_expect_punct(p, "(");
  ibx_token at = p->token;
  if (at.kind != IBX_TOKEN_STRING) {
    ibx_asm_fail(p, &at, "expected the member's name in quotes");
    return;
  }
  ibx_asm_advance(p);
  ibx_asm_expect_punct(p, ",");
  int64_t value = ibx_asm_read_integer(p);
  ibx_asm_expect_punct(p, ")");
  const ibx_field_info *field =
      ibx_asm_find_field(l->info->format, at.text.data, at.text.len);
  if (!field) {
    field = ibx_asm_find_field(IBX_FORMAT_looped, at.text.data, at.text.len);
    if (field) l->insn.flags |= IBX_FLAG_LOOPED;
  }
  if (p->status != IBX_OK) return;
  if (!field) {
    ibx_asm_fail(p, &at, "%s has no member %.*s; isa.def lists them",
                 l->info->name, (int)at.text.len, at.text.data);
  } else {
    set_member(l, &at, field, value);
    for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
      // Its author writes the operand as it is, steps included.
      char head[] = "operand[0].step";
      head[8] = (char)('0' + slot);
      if (strncmp(field->name, head, strlen(head)) == 0) {
        l->has_steps[slot] = true;
      }
    }
  }
}

static void read_space(line *l) {
  int64_t num[IBX_DIMS] = {0};
  ibx_token at = l->p->token;
  ibx_asm_read_list(l->p, 0, UINT32_MAX, num, 1, "a dimension");
  for (size_t d = 0; d < IBX_DIMS; d++) {
    char member[] = "num[0]";
    member[4] = (char)('0' + d);
    if (num[d] != 1 &&
        !ibx_asm_find_field(l->info->format, member, strlen(member))) {
      ibx_asm_fail(l->p, &at, "%s has no %zu dimensions; fold some of them",
                   l->info->name, IBX_DIMS - d);
    }
    l->insn.num[d] = (uint32_t)num[d];
  }
}

static void read_wait(line *l) {
  l->insn.wait_semaphore = ibx_asm_read_semaphore(l->p);
  ibx_asm_expect_punct(l->p, ">=");
  l->insn.wait_value =
      (uint16_t)ibx_asm_read_range(l->p, 1, UINT16_MAX, "the wait");
}

static void read_signal(line *l) {
  l->insn.signal_semaphore = ibx_asm_read_semaphore(l->p);
  ibx_asm_expect_punct(l->p, "+");
  l->insn.signal_value =
      (uint16_t)ibx_asm_read_range(l->p, 1, UINT16_MAX, "the signal");
}

// The number of r7, or of a name set by .register; -1 of anything else.
static int64_t find_register(const line *l) {
  const ibx_asm_parser *p = l->p;
  ibx_str name = p->token.text;
  if (p->token.kind != IBX_TOKEN_NAME) return -1;
  const ibx_symbol *symbol = ibx_asm_find_symbol(p, name);
  if (symbol && symbol->kind == IBX_SYMBOL_REGISTER) return symbol->value;
  if (symbol || name.data[0] != 'r' || name.len < 2 || name.len > 4) return -1;
  int64_t number = 0;
  for (size_t i = 1; i < name.len && number >= 0; i++) {
    bool is_digit = name.data[i] >= '0' && name.data[i] <= '9';
    number = is_digit ? number * 10 + (name.data[i] - '0') : -1;
  }
  return number;
}

static bool read_register(line *l) {
  ibx_asm_parser *p = l->p;
  int64_t number = find_register(l);
  if (number < 0) return false;
  if (l->registers == IBX_COUNT_OF(l->insn.reg) || number > UINT8_MAX) {
    ibx_asm_fail(p, &p->token, "%s takes no such register", l->info->name);
    return true;
  }
  l->insn.reg[l->registers++] = (uint8_t)number;
  ibx_asm_advance(p);
  return true;
}

// index(1, r7): a register moves operand 1.
static void read_index(line *l) {
  ibx_asm_parser *p = l->p;
  ibx_token start = p->token;
  ibx_asm_expect_punct(p, "(");
  l->insn.index_slot =
      (uint8_t)ibx_asm_read_range(p, 0, IBX_OPERANDS - 1, "the operand");
  ibx_asm_expect_punct(p, ",");
  int64_t number = find_register(l);
  if (p->status != IBX_OK) return;
  if (number < 0 || number >= UINT8_MAX) {
    ibx_asm_fail(p, &p->token, "expected a register, as r7");
    return;
  }
  if (!ibx_asm_find_field(l->info->format, "index_register", 14)) {
    ibx_asm_fail(p, &start, "%s follows no register", l->info->name);
    return;
  }
  l->insn.index_register = (uint8_t)(1 + number);
  ibx_asm_advance(p);
  ibx_asm_expect_punct(p, ")");
}

// shuffle(1, 0, 3, 2, ...): a source for each of 32 partitions.
static void read_shuffle(line *l) {
  ibx_asm_parser *p = l->p;
  if (!ibx_asm_find_field(l->info->format, "shuffle[0]", 10)) {
    ibx_asm_fail(p, &p->token, "%s has no shuffle", l->info->name);
    return;
  }
  ibx_asm_expect_punct(p, "(");
  for (size_t i = 0; i < IBX_QUADRANT && p->status == IBX_OK; i++) {
    if (i > 0) ibx_asm_expect_punct(p, ",");
    l->insn.shuffle[i] =
        (uint8_t)ibx_asm_read_range(p, 0, UINT8_MAX, "the source");
  }
  ibx_asm_expect_punct(p, ")");
}

static void read_member(line *l) {
  ibx_asm_parser *p = l->p;
  if (ibx_asm_take_name(p, "size")) {
    read_space(l);
  } else if (ibx_asm_take_name(p, "wait")) {
    read_wait(l);
  } else if (ibx_asm_take_name(p, "signal")) {
    read_signal(l);
  } else if (ibx_asm_take_name(p, "index")) {
    read_index(l);
  } else if (ibx_asm_take_name(p, "shuffle")) {
    read_shuffle(l);
  } else if (ibx_asm_take_name(p, "field")) {
    read_field(l);
  } else if (!read_word(l) && !read_flag(l) && !read_register(l)) {
    ibx_asm_fail(p, &p->token,
                 "'%.*s' says nothing about %s; expected size(...), "
                 "wait, signal, a flag or member=value",
                 (int)(p->token.text.len < 40 ? p->token.text.len : 40),
                 p->token.text.data, l->info->name);
  }
}

// --- the whole line --------------------------------------------------------------

static void fill_steps(line *l) {
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (l->info->slot[slot] == IBX_SLOT_NONE || l->has_steps[slot]) continue;
    if (!ibx_asm_default_steps(&l->insn, slot, l->insn.operand[slot].step)) {
      ibx_asm_fail(l->p, &l->start,
                   "the space is too large to be contiguous; "
                   "write the steps with step(...)");
      return;
    }
  }
}

static void check_encodes(line *l) {
  uint8_t bytes[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
  ibx_error err;
  if (l->p->status != IBX_OK) return;
  if (ibx_insn_encode(&l->insn, bytes, &err) == IBX_OK) return;
  ibx_asm_fail(l->p, &l->start, "%s", err.message);
}

static void add_insn(line *l, uint32_t node) {
  ibx_asm_parser *p = l->p;
  ibx_asm_entry *entry = p->entry;
  size_t engine = (size_t)p->engine;
  ibx_stream *stream = &entry->decl.streams[engine];
  if (p->status != IBX_OK ||
      !ibx_asm_grow(p, &stream->insns, &entry->insn_room[engine], stream->count,
                    sizeof(*stream->insns)) ||
      !ibx_asm_grow(p, &stream->nodes, &entry->node_room[engine], stream->count,
                    sizeof(*stream->nodes))) {
    return;
  }
  stream->insns[stream->count] = l->insn;
  stream->nodes[stream->count] = node;
  stream->count++;
}

void ibx_asm_read_insn(ibx_asm_parser *p) {
  line l = {.p = p, .start = p->token};
  uint8_t opcode = 0;
  l.info = ibx_insn_find(p->token.text.data, p->token.text.len, &opcode);
  if (!l.info) {
    ibx_asm_fail(p, &p->token,
                 "'%.*s' is no instruction; imbrex isa lists them",
                 (int)(p->token.text.len < 40 ? p->token.text.len : 40),
                 p->token.text.data);
    return;
  }
  if (!p->entry || p->engine < 0) {
    ibx_asm_fail(p, &p->token,
                 "the instruction stands in no stream; open one "
                 "with .entry and .engine");
    return;
  }
  if (!(l.info->engines >> p->engine & 1)) {
    ibx_asm_fail(p, &p->token, "%s does not run on %s", l.info->name,
                 ibx_engine_name((ibx_engine)p->engine));
    return;
  }
  l.insn = ibx_insn_make((ibx_opcode)opcode);
  ibx_asm_advance(p);
  read_operands(&l);
  while (p->status == IBX_OK && p->token.kind != IBX_TOKEN_LINE &&
         p->token.kind != IBX_TOKEN_END) {
    read_member(&l);
  }
  if (p->status == IBX_OK) fill_steps(&l);
  check_encodes(&l);
  add_insn(&l, p->node);
}
