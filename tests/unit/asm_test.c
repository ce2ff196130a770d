// SPDX-License-Identifier: Apache-2.0
//
// The assembler: what each construct means, and what each mistake is told, with
// its line and column.

#include "imbrex/asm.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define ENTRY                                                                  \
  ".entry main\n.buffer a sbuf bytes=4096\n.buffer b sbuf bytes=4096\n"        \
  ".buffer x hbm input bytes=4096\n.buffer acc psum bytes=2048\n"
#define VECTOR ENTRY ".engine vector\n"

static ibx_asm_program *
parse_with(const char *text, const ibx_asm_define *defines, size_t count) {
  ibx_asm_program *program = NULL;
  ibx_error err;
  ibx_str str = {.data = text, .len = strlen(text)};
  if (ibx_asm_parse(str, "t.s", defines, count, &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  return program;
}

// The stream of Vector of the first entry, and its program.
static const ibx_stream *parse(const char *text, ibx_asm_program **out) {
  *out = parse_with(text, NULL, 0);
  return &ibx_asm_get(*out)->entries[0].streams[IBX_ENGINE_VECTOR];
}

// --- values ------------------------------------------------------------------

static void expressions_have_the_precedence_of_c(void **s) {
  (void)s;
  static const struct {
    const char *text;
    int64_t value;
  } rows[] = {
      {"1 + 2*3", 7},
      {"(1 + 2)*3", 9},
      {"10 - 4 - 3", 3},
      {"100/10/5", 2},
      {"7%4*2", 6},
      {"0x10 + 0xFf", 271},
      {"1 - -1", 2},
      {"3 < 4 && 4 <= 4 && 5 > 4 && 4 >= 4", 1},
      {"1 == 2 || 2 != 2", 0},
      {"1 + 1 == 2", 1},
      {"-7/2 + 10", 7},
      {"9223372036854775807 % 10", 7},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    char text[400];
    snprintf(text, sizeof(text), VECTOR "register_move r1 count=%s\n",
             rows[i].text);
    ibx_asm_program *program;
    const ibx_stream *stream = parse(text, &program);
    if (stream->insns[0].count != rows[i].value) {
      fail_msg("%s is %u, not %d", rows[i].text, stream->insns[0].count,
               (int)rows[i].value);
    }
    ibx_asm_destroy(program);
  }
}

static void addresses_are_affine_in_loop_registers(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream =
      parse(VECTOR ".register m 3\n"
                   "memset a@32[64 + 2*(m*8 - r0) - r1*16]:f32 p=32 size(16)\n",
            &program);
  const ibx_operand *dst = &stream->insns[0].operand[0];
  assert_int_equal(dst->offset, 64);
  assert_int_equal(dst->partition, 32);
  assert_int_equal(dst->loop_step[0], -2);
  assert_int_equal(dst->loop_step[1], -16);
  assert_int_equal(dst->loop_step[3], 16);
  assert_true(stream->insns[0].flags & IBX_FLAG_LOOPED);
  assert_int_equal(stream->insns[0].partitions, 32);
  ibx_asm_destroy(program);
}

static void steps_are_contiguous_unless_written(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream =
      parse(VECTOR "tensor_copy a:f32, b:bf16 step(64, 0, -2) size(2, 3, 4)\n"
                   "dma_copy a:f32 pstep(1, 0), x:f32 size(8, 4)\n",
            &program);
  const ibx_insn *copy = &stream->insns[0], *dma = &stream->insns[1];
  const int32_t dst[] = {0, 0, 12, 4, 1}, src[] = {0, 0, 64, 0, -2};
  const int32_t sbuf[] = {0, 0, 0, 0, 1}, hbm[] = {0, 0, 0, 4, 1};
  assert_memory_equal(copy->operand[0].step, dst, sizeof(dst));
  assert_memory_equal(copy->operand[1].step, src, sizeof(src));
  assert_memory_equal(dma->operand[0].step, sbuf, sizeof(sbuf));
  assert_memory_equal(dma->operand[1].step, hbm, sizeof(hbm));
  assert_int_equal(dma->operand[0].partition_step[3], 1);
  assert_int_equal(copy->num[2], 2);
  assert_int_equal(copy->num[0], 1);
  ibx_asm_destroy(program);
}

static void operators_and_immediates_have_names(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream =
      parse(VECTOR "tensor_scalar a:f32, b:f32, -, a[16] op0=multiply op1=max "
                   "imm0=-1.5e-3 imm1=bits(0x7fc00001) reverse0\n"
                   "tensor_scalar a:f32, b:f32 op0=add imm0=-inf imm1=-0\n"
                   "tensor_scalar a:f32, b:f32 op0=multiply "
                   "imm0=ratio(1, 3*16) imm1=ratio(-7, 2)\n",
            &program);
  const ibx_insn *insn = &stream->insns[0];
  uint32_t bits;
  memcpy(&bits, &insn->imm[1], sizeof(bits));
  assert_int_equal(insn->op[0], IBX_ALU_MULTIPLY);
  assert_int_equal(insn->op[1], IBX_ALU_MAX);
  assert_true(insn->imm[0] == -1.5e-3f);
  assert_int_equal(bits, 0x7fc00001);
  assert_int_equal(insn->flags, IBX_FLAG_REVERSE0);
  assert_int_equal(insn->operand[2].buffer, IBX_NO_BUFFER);
  assert_int_equal(insn->operand[3].offset, 16);
  memcpy(&bits, &stream->insns[1].imm[0], sizeof(bits));
  assert_int_equal(bits, 0xff800000);
  memcpy(&bits, &stream->insns[1].imm[1], sizeof(bits));
  assert_int_equal(bits, 0x80000000);
  assert_true(stream->insns[2].imm[0] == 1.0f / 48.0f);
  assert_true(stream->insns[2].imm[1] == -3.5f);
  ibx_asm_destroy(program);
}

static void semaphores_are_numbers_names_or_members(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream =
      parse(ENTRY ".semaphore one\n.semaphore four[4]\n.semaphore fixed 200\n"
                  ".semaphore next\n.engine vector\n"
                  "semaphore wait one>=1 signal four[3]+2\n"
                  "semaphore wait s9>=3 signal fixed+1\n"
                  "semaphore signal next+1\n",
            &program);
  assert_int_equal(stream->insns[0].wait_semaphore, 0);
  assert_int_equal(stream->insns[0].signal_semaphore, 4);
  assert_int_equal(stream->insns[0].signal_value, 2);
  assert_int_equal(stream->insns[1].wait_semaphore, 9);
  assert_int_equal(stream->insns[1].wait_value, 3);
  assert_int_equal(stream->insns[1].signal_semaphore, 200);
  assert_int_equal(stream->insns[2].signal_semaphore, 201);
  ibx_asm_destroy(program);
}

// --- programs ------------------------------------------------------------------

static void symbols_from_outside_win(void **s) {
  (void)s;
  const char *text =
      ".equ M = 4\n.equ N = 2*M\n" VECTOR "register_move r1 count=M*100 + N\n";
  const ibx_asm_define define = {.name = "M", .value = 7};
  ibx_asm_program *inside = parse_with(text, NULL, 0);
  ibx_asm_program *outside = parse_with(text, &define, 1);
  size_t v = IBX_ENGINE_VECTOR;
  assert_int_equal(ibx_asm_get(inside)->entries[0].streams[v].insns[0].count,
                   408);
  assert_int_equal(ibx_asm_get(outside)->entries[0].streams[v].insns[0].count,
                   714);
  ibx_asm_destroy(inside);
  ibx_asm_destroy(outside);
}

static void a_symbol_may_name_a_type(void **s) {
  (void)s;
  const char *text =
      ".equ T = 2\n.entry e\n.input x T[4]\n.buffer b sbuf bytes=16\n"
      ".engine vector\nmemset b:T p=1 size(4)\n";
  const ibx_asm_define define = {.name = "T", .value = IBX_DTYPE_F32};
  for (size_t i = 0; i < 2; i++) {
    ibx_asm_program *program = parse_with(text, &define, i);
    const ibx_entry *entry = &ibx_asm_get(program)->entries[0];
    int want = i == 0 ? IBX_DTYPE_BF16 : IBX_DTYPE_F32;
    const ibx_insn *insn = &entry->streams[IBX_ENGINE_VECTOR].insns[0];
    assert_int_equal(entry->inputs[0].dtype, want);
    assert_int_equal(insn->operand[0].dtype, want);
    ibx_asm_destroy(program);
  }
}

static void a_symbol_may_name_a_target(void **s) {
  (void)s;
  const char *text = ".equ MACHINE = 3\n.target MACHINE\n.entry e\n";
  const ibx_asm_define define = {.name = "MACHINE", .value = 2};
  ibx_asm_program *inside = parse_with(text, NULL, 0);
  ibx_asm_program *outside = parse_with(text, &define, 1);
  assert_ptr_equal(ibx_asm_get(inside)->machine, ibx_machine_find("ibx3"));
  assert_ptr_equal(ibx_asm_get(outside)->machine, ibx_machine_find("ibx2"));
  ibx_asm_destroy(inside);
  ibx_asm_destroy(outside);
}

static void repetitions_nest_and_may_be_empty(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream = parse(VECTOR ".repeat i, 3\n"
                                          ".repeat j, i\n"
                                          "register_move r1 count=10*i + j\n"
                                          ".endrepeat\n"
                                          ".repeat none, 0\n"
                                          ".repeat k, 5\n"
                                          "semaphore\n"
                                          ".endrepeat\n"
                                          ".endrepeat\n"
                                          ".endrepeat\n",
                                   &program);
  const uint32_t counts[] = {10, 20, 21};
  assert_int_equal(stream->count, 3);
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(stream->insns[i].count, counts[i]);
  }
  ibx_asm_destroy(program);
}

static void a_line_is_the_node_of_its_instructions(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream = parse(VECTOR ".repeat i, 2\n"
                                          "semaphore\n"
                                          "memset a:f32\n"
                                          ".endrepeat\n",
                                   &program);
  const ibx_program_data *data = ibx_asm_get(program);
  assert_int_equal(data->node_count, 2);
  assert_string_equal(data->nodes[0].name, "t.s:8");
  assert_string_equal(data->nodes[0].op, "semaphore");
  assert_string_equal(data->nodes[1].name, "t.s:9");
  for (uint32_t i = 0; i < 4; i++) {
    assert_int_equal(stream->nodes[i], i % 2);
  }
  ibx_asm_destroy(program);
}

static void buffers_stand_one_behind_the_other(void **s) {
  (void)s;
  ibx_asm_program *program =
      parse_with(".entry e\n"
                 ".buffer a sbuf bytes=100\n"
                 ".buffer b sbuf bytes=4 partition=32 partitions=16\n"
                 ".buffer c sbuf offset=1000 bytes=1\n"
                 ".buffer d sbuf bytes=1\n"
                 ".buffer p psum bytes=100\n"
                 ".buffer q psum bytes=100\n"
                 ".input x f32[3, 5]\n"
                 ".state y f32[7]\n"
                 ".output z f32[]\n",
                 NULL, 0);
  const ibx_entry *entry = &ibx_asm_get(program)->entries[0];
  const uint64_t offsets[] = {0, 128, 1000, 1024, 0, 2048, 0, 64, 128};
  assert_int_equal(entry->buffer_count, IBX_COUNT_OF(offsets));
  for (size_t i = 0; i < IBX_COUNT_OF(offsets); i++) {
    assert_int_equal(entry->buffers[i].place.offset, offsets[i]);
  }
  assert_int_equal(entry->buffers[1].place.partition, 32);
  assert_int_equal(entry->buffers[1].place.partitions, 16);
  assert_int_equal(entry->input_count, 2);
  assert_int_equal(entry->output_count, 2);
  assert_int_equal(entry->inputs[1].buffer, entry->outputs[0].buffer);
  assert_int_equal(entry->buffers[7].kind, IBX_BUFFER_STATE);
  assert_int_equal(entry->buffers[6].place.bytes, 60);
  assert_int_equal(entry->buffers[8].place.bytes, 4);
  ibx_asm_destroy(program);
}

static void weights_are_data(void **s) {
  (void)s;
  ibx_asm_program *program = parse_with(".weights\n"
                                        ".data f32 1, -2.5\n"
                                        ".data i16 -1, 258\n"
                                        ".data bf16 1.0\n"
                                        ".zero 2\n"
                                        ".hex \"00fF\"\n"
                                        ".entry e\n",
                                        NULL, 0);
  static const uint8_t bytes[] = {0,    0,    0x80, 0x3f, 0, 0,
                                  0x20, 0xc0, 0xff, 0xff, 2, 1,
                                  0x80, 0x3f, 0,    0,    0, 0xff};
  ibx_span weights = ibx_asm_get(program)->weights;
  assert_int_equal(weights.size, sizeof(bytes));
  assert_memory_equal(weights.data, bytes, sizeof(bytes));
  ibx_asm_destroy(program);
}

static void comments_and_blank_lines_mean_nothing(void **s) {
  (void)s;
  ibx_asm_program *program;
  const ibx_stream *stream = parse("; one\n# two\n// three\n\n" VECTOR
                                   "semaphore ; four\n\t semaphore// five\r\n"
                                   "semaphore # no line end",
                                   &program);
  assert_int_equal(stream->count, 3);
  ibx_asm_destroy(program);
}

// --- mistakes -------------------------------------------------------------------

typedef struct mistake {
  const char *text;
  const char *message;
} mistake;

static const mistake mistakes[] = {
    {"", "t.s:1:1: the program has no entry"},
    {"\n  .foo\n", "t.s:2:3: '.foo' is no directive"},
    {".equ T = 9\n.target T\n", "t.s:2:9: no such target; there are ibx2"},
    {".target ibx9\n", "t.s:1:9: no such target; there are ibx2"},
    {".engine vector\n", "t.s:1:1: .engine stands in an entry"},
    {".entry e\n.engine foo\n", "t.s:2:9: expected tensor, vector"},
    {".entry e\nmemset\n", "t.s:2:1: the instruction stands in no stream"},
    {VECTOR "frobnicate a\n", "t.s:7:1: 'frobnicate' is no instruction"},
    {VECTOR "multiply_moving acc:f32\n",
     "t.s:7:1: multiply_moving does not run on vector"},
    {VECTOR "memset c:f32\n", "t.s:7:8: 'c' is no buffer; declare it"},
    {VECTOR "memset %7:f32\n", "t.s:7:9: no such buffer; the entry has 4"},
    {VECTOR "memset a:f31\n", "t.s:7:10: expected an element type"},
    {VECTOR "memset a[-4]:f32\n", "t.s:7:9: the address starts at byte -4"},
    {VECTOR "memset a[r4*2]:f32\n", "register r4 is no loop register"},
    {VECTOR "memset a[r1*r2]:f32\n", "loop registers cannot be multiplied"},
    {VECTOR "memset a[r1/2]:f32\n", "loop registers cannot be divided"},
    {VECTOR "memset a[r1*3000000000]:f32\n", "does not fit 32 bits"},
    {VECTOR "memset a[K]:f32\n", "t.s:7:10: 'K' is no number here; set it"},
    {VECTOR "memset a[(1]:f32\n", "t.s:7:12: expected ')'"},
    {VECTOR "memset a[1/0]:f32\n", "division by 0"},
    {VECTOR "memset a:f32 imm0=ratio(1, 4 - 4)\n", "a ratio to 0"},
    {VECTOR "memset a:f32 imm0=ratio(1)\n", "t.s:7:26: expected ','"},
    {VECTOR "memset a[9223372036854775807 + 1]:f32\n", "leaves 64 bits"},
    {VECTOR "memset a[9223372036854775807*3]:f32\n", "leaves 64 bits"},
    {VECTOR "memset a[99999999999999999999]:f32\n", "above 2^63 - 1"},
    {VECTOR "memset a[0x]:f32\n", "this is no number"},
    {VECTOR "memset a:f32 op0=frob\n", "'frob' is no number here"},
    {VECTOR "memset a:f32 foo\n", "t.s:7:14: 'foo' says nothing about memset"},
    {VECTOR "memset a:f32 queue=1\n", "memset has no queue"},
    {VECTOR "memset a:f32 p=300\n", "partitions is 300, but its field has 8"},
    {VECTOR "memset a:f32 size(70000)\n", "num[4] is 70000"},
    {VECTOR "memset a:f32 size(1,1,1,1,1,1)\n", "more than 5 dimensions"},
    {VECTOR "memset a:f32 size(2,1,1,1,1)\n", "memset has no 5 dimensions"},
    {VECTOR "memset a:f32 field(\"foo\", 1)\n", "memset has no member foo"},
    {VECTOR "memset a:f32 wait s256>=1\n", "semaphore s256 does not exist"},
    {VECTOR "memset a:f32 wait foo>=1\n", "expected a semaphore"},
    {VECTOR "memset a:f32 wait s1>=0\n", "the wait is 0, must be from 1"},
    {VECTOR "memset a:f32 signal s1+70000\n", "the signal is 70000"},
    {VECTOR "memset a:f32, b:f32\n", "',' says nothing about memset"},
    {VECTOR "loop r1 r2 r3 count=1\n", "loop takes no such register"},
    {VECTOR "semaphore\x01\n", "t.s:7:10: this character has no meaning"},
    {VECTOR "memset \"a\n", "the string has no closing quote"},
    {VECTOR "memset \"\\q\":f32\n", "wrong escape in the string"},
    {".entry e\n.buffer b sbuf\n", "buffer 'b' has no size; give bytes="},
    {".entry e\n.buffer b foo bytes=1\n", "expected hbm, sbuf or psum"},
    {".entry e\n.buffer b sbuf bytes=1 foo\n", "expected the end of the line"},
    {".entry e\n.input x f32[1,1,1,1,1,1,1,1,1]\n", "more than 8 dimensions"},
    {".entry e\n.input x f64[4000000000, 4000000000]\n", "more than 2^64"},
    {".entry e\n.semaphore many[300]\n", "the count is 300"},
    {".entry e\n.semaphore a[200]\n.semaphore b[100]\n", "has 256 semaphores"},
    {".equ wait = 1\n", "'wait' is a word of the language"},
    {".equ a = 1\n.register a 1\n", "'a' already names something else"},
    {".require 1 == 2 \"one is two\"\n", "t.s:1:10: one is two"},
    {".repeat i, 2\n", "the repetition has no .endrepeat"},
    {".repeat i, 0\n", "the repetition has no .endrepeat"},
    {".endrepeat\n", ".endrepeat ends no repetition"},
    {".repeat i, 2000000000\n.equ x = i\n.endrepeat\n", "more than 2^22 lines"},
    {".zero 1 2\n", "t.s:1:9: expected the end of the line"},
    {".hex \"0\"\n", "expected pairs of hexadecimal digits"},
    {".hex \"zz\"\n", "digit pair 0 is not hexadecimal"},
    {".data f64 1\n", "no data of this type"},
    {ENTRY ".at 5\n.engine vector\nsemaphore\n", ".at 5 names a node"},
    {".entry e\n.bounds foo=1\n", "expected flops="},
};

static void every_mistake_is_told_where_it_is(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(mistakes); i++) {
    ibx_asm_program *program = NULL;
    ibx_error err;
    ibx_str text = {.data = mistakes[i].text, .len = strlen(mistakes[i].text)};
    ibx_status status = ibx_asm_parse(text, "t.s", NULL, 0, &program, &err);
    if (status != IBX_INVALID_PROGRAM) {
      fail_msg("accepted: %s", mistakes[i].text);
    }
    assert_null(program);
    if (!strstr(err.message, mistakes[i].message)) {
      fail_msg("%s\nis told: %s", mistakes[i].text, err.message);
    }
  }
}

static void deep_nesting_is_refused(void **s) {
  (void)s;
  char text[4096] = ".equ x = ";
  memset(text + strlen(text), '(', 2000);
  ibx_asm_program *program = NULL;
  ibx_error err;
  ibx_str str = {.data = text, .len = strlen(text)};
  assert_int_equal(ibx_asm_parse(str, "t.s", NULL, 0, &program, &err),
                   IBX_INVALID_PROGRAM);
  assert_non_null(strstr(err.message, "nested more than"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(expressions_have_the_precedence_of_c),
      cmocka_unit_test(addresses_are_affine_in_loop_registers),
      cmocka_unit_test(steps_are_contiguous_unless_written),
      cmocka_unit_test(operators_and_immediates_have_names),
      cmocka_unit_test(semaphores_are_numbers_names_or_members),
      cmocka_unit_test(symbols_from_outside_win),
      cmocka_unit_test(a_symbol_may_name_a_target),
      cmocka_unit_test(a_symbol_may_name_a_type),
      cmocka_unit_test(repetitions_nest_and_may_be_empty),
      cmocka_unit_test(a_line_is_the_node_of_its_instructions),
      cmocka_unit_test(buffers_stand_one_behind_the_other),
      cmocka_unit_test(weights_are_data),
      cmocka_unit_test(comments_and_blank_lines_mean_nothing),
      cmocka_unit_test(every_mistake_is_told_where_it_is),
      cmocka_unit_test(deep_nesting_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
