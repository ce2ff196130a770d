// SPDX-License-Identifier: Apache-2.0
//
// The tables of the instruction set: every row is complete, every name can be
// found, and no two fields of a format share a bit.

#include "imbrex/isa.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <ctype.h>
#include <string.h>

static bool is_lower_name(const char *name) {
  if (!name || !islower((unsigned char)name[0])) return false;
  for (; *name; name++) {
    unsigned char c = (unsigned char)*name;
    if (!islower(c) && !isdigit(c) && c != '_') return false;
  }
  return true;
}

static void
every_instruction_has_name_sentence_source_engine_target(void **state) {
  (void)state;
  size_t count = 0;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    count++;
    assert_true(is_lower_name(info->name));
    assert_true(strlen(info->sentence) > 10);
    assert_true(strlen(info->source) > 2);
    assert_int_not_equal(info->engines, 0);
    assert_int_equal(info->engines >> IBX_ENGINE_COUNT, 0);
    assert_int_not_equal(info->targets, 0);
    assert_int_equal(info->targets & ~(1u << 2 | 1u << 3 | 1u << 4), 0);
    uint8_t found = 0;
    size_t len = strlen(info->name);
    assert_ptr_equal(ibx_insn_find(info->name, len, &found), info);
    assert_int_equal(found, opcode);
    assert_null(ibx_insn_find(info->name, len - 1, &found));
  }
  assert_true(count >= 25);
}

static void columns_are_read_as_written(void **state) {
  (void)state;
  const ibx_insn_info *copy = ibx_insn_get(IBX_OP_tensor_copy);
  assert_int_equal(copy->engines, 1 << IBX_ENGINE_VECTOR |
                                      1 << IBX_ENGINE_SCALAR |
                                      1 << IBX_ENGINE_GPSIMD);
  const ibx_insn_info *loop = ibx_insn_get(IBX_OP_loop);
  assert_int_equal(loop->engines, (1 << IBX_ENGINE_COUNT) - 1);
  const ibx_insn_info *reduce = ibx_insn_get(IBX_OP_tensor_scalar_reduce);
  assert_int_equal(reduce->slot[0], IBX_SLOT_WRITE);
  assert_int_equal(reduce->slot[1], IBX_SLOT_READ);
  assert_int_equal(reduce->slot[2], IBX_SLOT_SCALAR_READ);
  assert_int_equal(reduce->slot[3], IBX_SLOT_SCALAR_WRITE);
  const ibx_insn_info *select = ibx_insn_get(IBX_OP_select);
  assert_int_equal(select->slot[0], IBX_SLOT_READ_WRITE);
  assert_int_equal(select->slot[3], IBX_SLOT_NONE);
}

static void every_slot_of_a_format_can_be_encoded(void **state) {
  (void)state;
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info) continue;
    size_t count;
    const ibx_field_info *fields = ibx_format_fields(info->format, &count);
    for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
      size_t buffer = offsetof(ibx_insn, operand) + slot * sizeof(ibx_operand) +
                      offsetof(ibx_operand, buffer);
      bool has_field = false;
      for (size_t i = 0; i < count; i++) {
        has_field = has_field || fields[i].member_offset == buffer;
      }
      if (info->slot[slot] != IBX_SLOT_NONE) assert_true(has_field);
    }
  }
}

static void fields_of_a_format_share_no_bit(void **state) {
  (void)state;
  for (int f = 0; f < IBX_FORMAT_COUNT; f++) {
    bool taken[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES * 8] = {false};
    size_t count;
    const ibx_field_info *fields = ibx_format_fields((ibx_format)f, &count);
    assert_true(count > 0);
    assert_true(is_lower_name(ibx_format_name((ibx_format)f)));
    for (size_t i = 0; i < count; i++) {
      assert_true(fields[i].width > 0);
      assert_true(fields[i].low_bit + fields[i].width <=
                  ibx_format_words((ibx_format)f) * IBX_WORD_BYTES * 8);
      for (unsigned b = 0; b < fields[i].width; b++) {
        assert_false(taken[fields[i].low_bit + b]);
        taken[fields[i].low_bit + b] = true;
      }
    }
  }
}

static void fields_stand_below_their_own_format(void **state) {
  (void)state;
  const struct {
    ibx_format format;
    const char *name;
  } rows[] = {
#define IBX_FIELD(format, member, low_bit, width, kind)                        \
  {IBX_FORMAT_##format, #member},
#include "imbrex/isa.def"
  };
  size_t next = 0;
  for (int f = 0; f < IBX_FORMAT_COUNT; f++) {
    size_t count;
    const ibx_field_info *fields = ibx_format_fields((ibx_format)f, &count);
    for (size_t i = 0; i < count; i++, next++) {
      assert_int_equal(rows[next].format, f);
      assert_string_equal(rows[next].name, fields[i].name);
    }
  }
  assert_int_equal(next, IBX_COUNT_OF(rows));
}

static void instructions_begin_alike(void **state) {
  (void)state;
  for (int f = 0; f < IBX_FORMAT_looped; f++) {
    size_t count;
    const ibx_field_info *fields = ibx_format_fields((ibx_format)f, &count);
    assert_string_equal(fields[0].name, "opcode");
    assert_int_equal(fields[0].low_bit, 0);
    assert_int_equal(fields[0].width, 8);
    assert_string_equal(fields[1].name, "flags");
    assert_int_equal(fields[1].low_bit, 8);
    assert_int_equal(fields[1].width, 8);
  }
}

static bool is_lower_of(const char *name, const char *upper) {
  for (; *name && *upper; name++, upper++) {
    if (*name != (char)tolower((unsigned char)*upper)) return false;
  }
  return *name == *upper;
}

static void operators_are_named_as_their_enumerators(void **state) {
  (void)state;
#define IBX_ALU(name, number, reducible, klass, sentence)                      \
  assert_true(is_lower_of(ibx_alu_name(number), #name));
#define IBX_ACT(name, number, table, sentence)                                 \
  assert_true(is_lower_of(ibx_act_name(number), #name));
#include "imbrex/isa.def"
  for (unsigned i = 0; i < IBX_ALU_COUNT; i++) {
    assert_true(is_lower_name(ibx_alu_name((uint8_t)i)));
  }
  for (unsigned i = 0; i < IBX_ACT_COUNT; i++) {
    assert_true(is_lower_name(ibx_act_name((uint8_t)i)));
  }
  assert_string_equal(ibx_alu_name(IBX_ALU_GREATER_EQUAL), "greater_equal");
  assert_string_equal(ibx_act_name(IBX_ACT_GELU_TANH), "gelu_tanh");
  assert_null(ibx_alu_name(IBX_ALU_COUNT));
  assert_null(ibx_act_name(IBX_ACT_COUNT));
  assert_null(ibx_alu_name(255));
  assert_null(ibx_act_name(255));
}

static void operator_columns_are_read(void **state) {
  (void)state;
  assert_true(ibx_alu_is_reducible(IBX_ALU_ADD));
  assert_false(ibx_alu_is_reducible(IBX_ALU_SUBTRACT));
  assert_false(ibx_alu_is_reducible(255));
  assert_true(ibx_alu_is_bitwise(IBX_ALU_SHIFT_RIGHT));
  assert_false(ibx_alu_is_bitwise(IBX_ALU_LOGICAL_AND));
  assert_false(ibx_alu_is_bitwise(255));
  assert_int_equal(ibx_act_table(IBX_ACT_RELU), 0);
  assert_int_equal(ibx_act_table(IBX_ACT_EXP), ibx_act_table(IBX_ACT_TANH));
  assert_int_not_equal(ibx_act_table(IBX_ACT_EXP), ibx_act_table(IBX_ACT_ERF));
  assert_int_equal(ibx_act_table(255), 0);
}

typedef struct text_row {
  const char *key, *text;
} text_row;

static const text_row costs[] = {
#define IBX_COST(cost, formula, source) {#cost, formula},
#include "imbrex/isa.def"
};

static const text_row used_costs[] = {
#define IBX_INSN(name, opcode, format, kind, engines, targets, slot0, slot1,   \
                 slot2, slot3, cost, sentence, source)                         \
  {#cost, #name},
#include "imbrex/isa.def"
};

static const text_row limits[] = {
#define IBX_LIMIT(scope, rule) {#scope, rule},
#include "imbrex/isa.def"
};

static bool has_key(const text_row *rows, size_t count, const char *key) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(rows[i].key, key) == 0) return true;
  }
  return false;
}

static void every_cost_has_a_formula_and_every_rule_a_scope(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(used_costs); i++) {
    assert_true(has_key(costs, IBX_COUNT_OF(costs), used_costs[i].key));
  }
  for (size_t i = 0; i < IBX_COUNT_OF(costs); i++) {
    assert_true(has_key(used_costs, IBX_COUNT_OF(used_costs), costs[i].key));
    assert_true(strlen(costs[i].text) > 0);
  }
  const text_row kinds[] = {
      {"instructions", ""}, {"engines", ""}, {"dmas", ""}};
  for (size_t i = 0; i < IBX_COUNT_OF(limits); i++) {
    const char *scope = limits[i].key;
    uint8_t opcode;
    assert_true(has_key(kinds, IBX_COUNT_OF(kinds), scope) ||
                ibx_insn_find(scope, strlen(scope), &opcode));
    assert_true(strlen(limits[i].text) > 10);
  }
}

// Every slot of a kernel's instruction has its row, and no other has one.
static void kernels_say_all_of_their_operands(void **state) {
  (void)state;
  bool has_row[IBX_CALL_COUNT][IBX_OPERANDS] = {{false}};
#define IBX_CALL_OPERAND(name, slot, elements, types)                          \
  assert_false(has_row[IBX_CALL_##name][slot]);                                \
  has_row[IBX_CALL_##name][slot] = true;
#include "imbrex/gpsimd_calls.def"
  const struct {
    ibx_opcode opcode;
    const char *upper, *sentence;
  } rows[] = {
#define IBX_CALL(name, number, insn, count, lanes, work, row_sentence, ...)    \
  [number] = {IBX_OP_##insn, #name, row_sentence},
#include "imbrex/gpsimd_calls.def"
  };
  assert_int_equal(IBX_COUNT_OF(rows), IBX_CALL_COUNT);
  for (uint8_t call = 0; call < IBX_CALL_COUNT; call++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)rows[call].opcode);
    assert_true(ibx_insn_is_call((uint8_t)rows[call].opcode));
    assert_true(is_lower_name(ibx_call_name(call)));
    assert_true(is_lower_of(ibx_call_name(call), rows[call].upper));
    assert_true(strlen(rows[call].sentence) > 10);
    assert_true(strlen(ibx_call_instead(call)) > 10);
    for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
      assert_int_equal(has_row[call][slot], info->slot[slot] != IBX_SLOT_NONE);
    }
  }
  assert_null(ibx_call_name(IBX_CALL_COUNT));
  assert_null(ibx_call_instead(IBX_CALL_COUNT));
  assert_false(ibx_insn_is_call(IBX_OP_topk));
}

// What no instruction's own space tells: results of a given number, and rows.
static void operands_of_kernels_have_their_shapes(void **state) {
  (void)state;
  ibx_insn insn = ibx_insn_make(IBX_OP_gpsimd_call_pair);
  insn.op[0] = IBX_CALL_TOP;
  insn.partitions = 5;
  insn.num[3] = 6;
  insn.num[4] = 7;
  insn.count = 42;
  ibx_operand_shape shape = ibx_insn_shape(&insn, 0);
  assert_int_equal(shape.partitions, 5);
  assert_int_equal(shape.num[3], 1);
  assert_int_equal(shape.num[4], 42);
  shape = ibx_insn_shape(&insn, 1);
  assert_int_equal(shape.num[3], 6);
  assert_int_equal(shape.num[4], 7);
  insn = ibx_insn_make(IBX_OP_nonzero_with_count);
  insn.partitions = 33;
  insn.num[4] = 7;
  shape = ibx_insn_shape(&insn, 0);
  assert_int_equal(shape.groups, 3);
  assert_int_equal(shape.group_step, 16);
  assert_int_equal(shape.partitions, 1);
  assert_int_equal(shape.num[4], 8);
}

static void out_of_table_gives_nothing(void **state) {
  (void)state;
  size_t count = 1;
  assert_null(ibx_format_fields(IBX_FORMAT_COUNT, &count));
  assert_int_equal(count, 0);
  assert_null(ibx_format_name(IBX_FORMAT_COUNT));
  assert_null(ibx_insn_get(0x00));
  assert_null(ibx_insn_get(0xff));
  uint8_t opcode;
  assert_null(ibx_insn_find("tensor_copyx", 12, &opcode));
  assert_null(ibx_insn_find("", 0, &opcode));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(
          every_instruction_has_name_sentence_source_engine_target),
      cmocka_unit_test(columns_are_read_as_written),
      cmocka_unit_test(every_slot_of_a_format_can_be_encoded),
      cmocka_unit_test(fields_of_a_format_share_no_bit),
      cmocka_unit_test(fields_stand_below_their_own_format),
      cmocka_unit_test(instructions_begin_alike),
      cmocka_unit_test(operators_are_named_as_their_enumerators),
      cmocka_unit_test(operator_columns_are_read),
      cmocka_unit_test(every_cost_has_a_formula_and_every_rule_a_scope),
      cmocka_unit_test(kernels_say_all_of_their_operands),
      cmocka_unit_test(operands_of_kernels_have_their_shapes),
      cmocka_unit_test(out_of_table_gives_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
