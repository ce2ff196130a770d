// SPDX-License-Identifier: Apache-2.0
//
// The information tables of the instruction set, expanded from isa.def: nothing
// here is written by hand. A duplicate opcode or number does not compile, and a
// field that leaves its instruction or its member does not either.

#include "imbrex/isa.h"

#include <assert.h>
#include <string.h>

// Character `i` of a literal, 0 past its end. Both compilers take it for a
// constant, as C17 6.6 allows.
#define CHAR(s, i) ((s "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")[i])
#define LOWER(c) ((char)((c) >= 'A' && (c) <= 'Z' ? (c) - 'A' + 'a' : (c)))
#define LOWER4(s, i)                                                           \
  LOWER(CHAR(s, i)), LOWER(CHAR(s, (i) + 1)), LOWER(CHAR(s, (i) + 2)),         \
      LOWER(CHAR(s, (i) + 3))
// Operators are enumerators and thus upper case; assembly is lower case. A name
// has at most 23 letters, which a test checks.
enum { NAME_BYTES = 24 };
#define LOWER_NAME(s)                                                          \
  {LOWER4(s, 0),  LOWER4(s, 4),  LOWER4(s, 8),                                 \
   LOWER4(s, 12), LOWER4(s, 16), LOWER4(s, 20)}

static const char alu_names[][NAME_BYTES] = {
#define IBX_ALU(name, number, reducible, klass, sentence)                      \
  [number] = LOWER_NAME(#name),
#include "imbrex/isa.def"
};

static const char act_names[][NAME_BYTES] = {
#define IBX_ACT(name, number, table, sentence) [number] = LOWER_NAME(#name),
#include "imbrex/isa.def"
};

static const char call_names[][NAME_BYTES] = {
#define IBX_CALL(name, number, ...) [number] = LOWER_NAME(#name),
#include "imbrex/gpsimd_calls.def"
};

static const char reduce_names[][NAME_BYTES] = {
#define IBX_REDUCE(name, number, sentence) [number] = LOWER_NAME(#name),
#include "imbrex/isa.def"
};

static const struct {
  char name[NAME_BYTES];
  uint8_t bit;
} flags[] = {
#define IBX_FLAG(row_name, row_bit, sentence)                                  \
  {.name = LOWER_NAME(#row_name), .bit = (row_bit)},
#include "imbrex/isa.def"
};

typedef enum alu_class { CLASS_ARITH, CLASS_BITS } alu_class;

static const struct {
  alu_class klass;
  bool reducible;
} alus[] = {
#define IBX_ALU(name, number, row_reducible, row_class, sentence)              \
  [number] = {CLASS_##row_class, row_reducible},
#include "imbrex/isa.def"
};

static const bool unary_alus[IBX_ALU_COUNT] = {
#define IBX_UNARY(name) [IBX_ALU_##name] = true,
#include "imbrex/isa.def"
};

static const uint8_t act_tables[] = {
#define IBX_ACT(name, number, table, sentence) [number] = (table),
#include "imbrex/isa.def"
};

typedef enum range_measure { MEASURE_VALUE, MEASURE_MAGNITUDE } range_measure;

static const struct {
  ibx_act_range range;
  ibx_act act;
} ranges[] = {
#define IBX_RANGE(row_act, row_low, row_high, measure, outside)                \
  {.range = {.low = (row_low),                                                 \
             .high = (row_high),                                               \
             .is_magnitude = MEASURE_##measure == MEASURE_MAGNITUDE},          \
   .act = IBX_ACT_##row_act},
#include "imbrex/isa.def"
};

// Fields stand below their format in isa.def. Counting them by the line they
// stand in gives each format its first field and, with the next, its count.
#define JOIN(a, b) a##b
#define JOIN_EXPANDED(a, b) JOIN(a, b)
enum {
#define IBX_FORMAT(name, words, sentence)                                      \
  FIRST_##name, BEFORE_##name = FIRST_##name - 1,
#define IBX_FIELD(format, member, low_bit, width, kind)                        \
  JOIN_EXPANDED(FIELD_OF_LINE_, __LINE__),
#include "imbrex/isa.def"
  FIELD_COUNT
};

enum {
#define IBX_FORMAT(name, words, sentence) WORDS_##name = (words),
#include "imbrex/isa.def"
};

static const ibx_field_info fields[] = {
#define IBX_FIELD(format, member, row_low_bit, row_width, row_kind)            \
  {.name = #member,                                                            \
   .member_offset = offsetof(ibx_insn, member),                                \
   .member_bytes = sizeof(((ibx_insn *)0)->member),                            \
   .width = (row_width),                                                       \
   .low_bit = (row_low_bit),                                                   \
   .kind = IBX_FIELD_##row_kind},
#include "imbrex/isa.def"
};

#define IBX_FIELD(format, member, low_bit, width, kind)                        \
  static_assert((low_bit) + (width) <= WORDS_##format * IBX_WORD_BYTES * 8,    \
                "field leaves its instruction");                               \
  static_assert((width) <= 8 * sizeof(((ibx_insn *)0)->member),                \
                "field is wider than its member");
#include "imbrex/isa.def"

static const struct {
  const char *name;
  size_t words;
  size_t first;
} formats[] = {
#define IBX_FORMAT(row_name, row_words, sentence)                              \
  {.name = #row_name, .words = (row_words), .first = FIRST_##row_name},
#include "imbrex/isa.def"
};

#define HAS_LETTER(s, c)                                                       \
  (CHAR(s, 0) == (c) || CHAR(s, 1) == (c) || CHAR(s, 2) == (c) ||              \
   CHAR(s, 3) == (c) || CHAR(s, 4) == (c))
#define ENGINE_MASK(s)                                                         \
  (HAS_LETTER(s, 'T') << IBX_ENGINE_TENSOR |                                   \
   HAS_LETTER(s, 'V') << IBX_ENGINE_VECTOR |                                   \
   HAS_LETTER(s, 'S') << IBX_ENGINE_SCALAR |                                   \
   HAS_LETTER(s, 'G') << IBX_ENGINE_GPSIMD |                                   \
   HAS_LETTER(s, 'Y') << IBX_ENGINE_SYNC)
#define TARGET_MASK(s)                                                         \
  (HAS_LETTER(s, '2') << IBX_TARGET_ibx2 |                                     \
   HAS_LETTER(s, '3') << IBX_TARGET_ibx3 |                                     \
   HAS_LETTER(s, '4') << IBX_TARGET_ibx4)
#define SLOT(s)                                                                \
  ((s)[0] == 'R'   ? IBX_SLOT_READ                                             \
   : (s)[0] == 'W' ? IBX_SLOT_WRITE                                            \
   : (s)[0] == 'M' ? IBX_SLOT_READ_WRITE                                       \
   : (s)[0] == 's' ? IBX_SLOT_SCALAR_READ                                      \
   : (s)[0] == 'w' ? IBX_SLOT_SCALAR_WRITE                                     \
                   : IBX_SLOT_NONE)

static const ibx_insn_info insns[256] = {
#define IBX_INSN(row_name, opcode, row_format, row_kind, row_engines,          \
                 row_targets, slot0, slot1, slot2, slot3, cost, row_sentence,  \
                 row_source)                                                   \
  [opcode] = {                                                                 \
      .name = #row_name,                                                       \
      .sentence = (row_sentence),                                              \
      .source = (row_source),                                                  \
      .format = IBX_FORMAT_##row_format,                                       \
      .kind = IBX_KIND_##row_kind,                                             \
      .slot = {SLOT(#slot0), SLOT(#slot1), SLOT(#slot2), SLOT(#slot3)},        \
      .engines = ENGINE_MASK(row_engines),                                     \
      .targets = TARGET_MASK(row_targets)},
#include "imbrex/isa.def"
};

static const uint8_t operators[256][IBX_OPERATORS] = {
#define IBX_OPERATOR(insn, index, kind)                                        \
  [IBX_OP_##insn][index] = IBX_OPERATOR_##kind,
#include "imbrex/isa.def"
};

const ibx_insn_info *ibx_insn_get(uint8_t opcode) {
  return insns[opcode].name ? &insns[opcode] : NULL;
}

const ibx_insn_info *ibx_insn_find(const char *name, size_t len,
                                   uint8_t *out_opcode) {
  for (size_t i = 0; i < IBX_COUNT_OF(insns); i++) {
    const char *row = insns[i].name;
    if (!row || strlen(row) != len || memcmp(row, name, len) != 0) continue;
    *out_opcode = (uint8_t)i;
    return &insns[i];
  }
  return NULL;
}

const ibx_field_info *ibx_format_fields(ibx_format format, size_t *out_count) {
  size_t index = (size_t)format;
  *out_count = 0;
  if (index >= IBX_FORMAT_COUNT) return NULL;
  size_t end =
      index + 1 < IBX_FORMAT_COUNT ? formats[index + 1].first : FIELD_COUNT;
  *out_count = end - formats[index].first;
  return &fields[formats[index].first];
}

const char *ibx_format_name(ibx_format format) {
  return (size_t)format < IBX_FORMAT_COUNT ? formats[format].name : NULL;
}

size_t ibx_format_words(ibx_format format) {
  return (size_t)format < IBX_FORMAT_COUNT ? formats[format].words : 0;
}

const char *ibx_alu_name(uint8_t alu) {
  return alu < IBX_ALU_COUNT ? alu_names[alu] : NULL;
}

const char *ibx_act_name(uint8_t act) {
  return act < IBX_ACT_COUNT ? act_names[act] : NULL;
}

const char *ibx_call_name(uint8_t call) {
  return call < IBX_CALL_COUNT ? call_names[call] : NULL;
}

const char *ibx_call_instead(uint8_t call) {
  static const char *const rows[] = {
#define IBX_CALL(name, number, insn, count, lanes, work, sentence, instead)    \
  [number] = (instead),
#include "imbrex/gpsimd_calls.def"
  };
  return call < IBX_CALL_COUNT ? rows[call] : NULL;
}

bool ibx_alu_is_reducible(uint8_t alu) {
  return alu < IBX_ALU_COUNT && alus[alu].reducible;
}

bool ibx_alu_is_bitwise(uint8_t alu) {
  return alu < IBX_ALU_COUNT && alus[alu].klass == CLASS_BITS;
}

bool ibx_alu_is_unary(uint8_t alu) {
  return alu < IBX_ALU_COUNT && unary_alus[alu];
}

uint8_t ibx_act_table(uint8_t act) {
  return act < IBX_ACT_COUNT ? act_tables[act] : 0;
}

bool ibx_act_range_find(uint8_t act, ibx_act_range *out) {
  for (size_t i = 0; i < IBX_COUNT_OF(ranges); i++) {
    if (ranges[i].act != (ibx_act)act) continue;
    *out = ranges[i].range;
    return true;
  }
  return false;
}

const char *ibx_reduce_name(uint8_t number) {
  return number < IBX_REDUCE_COUNT ? reduce_names[number] : NULL;
}

ibx_transfer ibx_insn_transfer(uint8_t opcode) {
  switch (opcode) {
#define IBX_TRANSFER(insn, row_index, row_combine, row_rate)                   \
  case IBX_OP_##insn:                                                          \
    return (ibx_transfer){.index = IBX_TRANSFER_##row_index,                   \
                          .combine = IBX_TRANSFER_##row_combine,               \
                          .rate = IBX_TRANSFER_##row_rate};
#include "imbrex/isa.def"
  default: return (ibx_transfer){.index = IBX_TRANSFER_NONE};
  }
}

ibx_collective ibx_insn_collective(uint8_t opcode) {
  switch (opcode) {
#define IBX_COLLECTIVE(insn, kind)                                             \
  case IBX_OP_##insn: return IBX_COLLECTIVE_##kind;
#include "imbrex/isa.def"
  default: return IBX_COLLECTIVE_NONE;
  }
}

ibx_operator_kind ibx_insn_operator(uint8_t opcode, size_t index) {
  return index < IBX_OPERATORS ? (ibx_operator_kind)operators[opcode][index]
                               : IBX_OPERATOR_NONE;
}

bool ibx_insn_is_call(uint8_t opcode) {
  return ibx_insn_operator(opcode, 0) == IBX_OPERATOR_CALL;
}

const char *ibx_operator_name(ibx_operator_kind kind, uint8_t value) {
  switch (kind) {
  case IBX_OPERATOR_NONE: return NULL;
  case IBX_OPERATOR_ALU: return ibx_alu_name(value);
  case IBX_OPERATOR_ARITH:
    return ibx_alu_is_bitwise(value) ? NULL : ibx_alu_name(value);
  case IBX_OPERATOR_REDUCIBLE:
    return ibx_alu_is_reducible(value) ? ibx_alu_name(value) : NULL;
  case IBX_OPERATOR_ACT: return ibx_act_name(value);
  case IBX_OPERATOR_CALL: return ibx_call_name(value);
  }
  return NULL;
}

bool ibx_slot_is_packed(uint8_t opcode, size_t slot) {
  static const struct {
    uint8_t opcode, slot;
  } packed[] = {
#define IBX_PACKED(insn, slot) {IBX_OP_##insn, slot},
#include "imbrex/isa.def"
  };
  for (size_t i = 0; i < IBX_COUNT_OF(packed); i++) {
    if (packed[i].opcode == opcode && packed[i].slot == slot) return true;
  }
  return false;
}

static const struct {
  char name[NAME_BYTES];
  uint8_t opcode, number, targets;
} modes[] = {
#define IBX_MODE(insn, row_name, row_number, row_targets, sentence)            \
  {.name = LOWER_NAME(#row_name),                                              \
   .opcode = IBX_OP_##insn,                                                    \
   .number = (row_number),                                                     \
   .targets = TARGET_MASK(row_targets)},
#include "imbrex/isa.def"
};

const char *ibx_mode_name(uint8_t opcode, uint8_t mode) {
  for (size_t i = 0; i < IBX_COUNT_OF(modes); i++) {
    if (modes[i].opcode == opcode && modes[i].number == mode) {
      return modes[i].name;
    }
  }
  return NULL;
}

uint8_t ibx_mode_targets(uint8_t opcode, uint8_t mode) {
  for (size_t i = 0; i < IBX_COUNT_OF(modes); i++) {
    if (modes[i].opcode == opcode && modes[i].number == mode) {
      return modes[i].targets;
    }
  }
  return mode == 0 ? UINT8_MAX : 0;
}

const char *ibx_flag_name(uint8_t bit) {
  for (size_t i = 0; i < IBX_COUNT_OF(flags); i++) {
    if (flags[i].bit == bit) return flags[i].name;
  }
  return NULL;
}

uint8_t ibx_insn_flags(uint8_t opcode) {
  static const struct {
    uint8_t opcode, bit;
  } taken[] = {
#define IBX_TAKES(insn, flag) {IBX_OP_##insn, IBX_FLAG_##flag},
#include "imbrex/isa.def"
  };
  const ibx_insn_info *info = ibx_insn_get(opcode);
  if (!info) return 0;
  // Control takes no address that loops could move, but for a register's.
  bool is_looped =
      info->format != IBX_FORMAT_control || info->slot[1] != IBX_SLOT_NONE;
  uint8_t sum = is_looped ? IBX_FLAG_LOOPED : 0;
  for (size_t i = 0; i < IBX_COUNT_OF(taken); i++) {
    if (taken[i].opcode == opcode) sum = (uint8_t)(sum | taken[i].bit);
  }
  return sum;
}

uint8_t ibx_insn_reduces(uint8_t opcode) {
  static const struct {
    uint8_t opcode, command;
  } taken[] = {
#define IBX_REDUCES(insn, command) {IBX_OP_##insn, IBX_REDUCE_##command},
#include "imbrex/isa.def"
  };
  unsigned sum = 0;
  for (size_t i = 0; i < IBX_COUNT_OF(taken); i++) {
    if (taken[i].opcode == opcode) sum |= 1u << taken[i].command;
  }
  return (uint8_t)sum;
}

uint8_t ibx_insn_state(const ibx_insn *insn) {
  static const struct {
    uint8_t opcode, state;
  } states[] = {
#define IBX_STATE(insn, state) {IBX_OP_##insn, IBX_STATE_##state},
#include "imbrex/isa.def"
  };
  unsigned sum = insn->reduce != IBX_REDUCE_IDLE ? IBX_STATE_ACCUMULATORS : 0;
  for (size_t i = 0; i < IBX_COUNT_OF(states); i++) {
    if (states[i].opcode == insn->opcode) sum |= states[i].state;
  }
  return (uint8_t)sum;
}

const ibx_insn ibx_insn_plain = {
    .operand = {{.buffer = IBX_NO_BUFFER},
                {.buffer = IBX_NO_BUFFER},
                {.buffer = IBX_NO_BUFFER},
                {.buffer = IBX_NO_BUFFER}},
    .num = {1, 1, 1, 1, 1},
    .partitions = 1,
    .columns = 1,
    .reg = {IBX_NO_REGISTER, IBX_NO_REGISTER},
};
_Static_assert(IBX_OPERANDS == 4 && IBX_DIMS == 5, "all of them stand there");

ibx_insn ibx_insn_make(ibx_opcode opcode) {
  ibx_insn insn = ibx_insn_plain;
  insn.opcode = (uint8_t)opcode;
  return insn;
}

size_t ibx_insn_words(const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) return 1;
  size_t looped = insn->flags & IBX_FLAG_LOOPED ? WORDS_looped : 0;
  return formats[info->format].words + looped;
}
