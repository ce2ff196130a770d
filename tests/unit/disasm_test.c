// SPDX-License-Identifier: Apache-2.0
//
// Disassembly assembles to the same bytes: random values in every field of
// every row of isa.def, whole programs with awkward names, and text that was
// damaged at random, which must be refused or assemble, never crash.

#include "imbrex/asm.h"
#include "imbrex/blob.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, BUFFERS = 9 };

static uint64_t random_state;

static uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static unsigned below(unsigned limit) {
  return (unsigned)(random_bits() >> 32) % limit;
}

// --- random instructions -----------------------------------------------------

static void set_field(ibx_insn *insn, const ibx_field_info *field,
                      uint64_t value) {
  char *member = (char *)insn + field->member_offset;
  uint8_t u8 = (uint8_t)value;
  uint16_t u16 = (uint16_t)value;
  uint32_t u32 = (uint32_t)value;
  switch (field->member_bytes) {
  case 1: memcpy(member, &u8, 1); break;
  case 2: memcpy(member, &u16, 2); break;
  case 4: memcpy(member, &u32, 4); break;
  default: memcpy(member, &value, 8); break;
  }
}

static uint64_t random_value(const ibx_field_info *field) {
  uint64_t mask =
      field->width >= 64 ? UINT64_MAX : (UINT64_C(1) << field->width) - 1;
  // Small values, and both ends, are as likely as any others together.
  static const uint64_t special[] = {0, 1, 2, UINT64_MAX};
  uint64_t value = below(2) ? special[below(4)] : random_bits();
  if (strstr(field->name, ".buffer")) {
    return below(3) ? below(BUFFERS) : IBX_NO_BUFFER;
  }
  value &= mask;
  if (field->kind == IBX_FIELD_SINT) {
    uint64_t sign = UINT64_C(1) << (field->width - 1);
    value = (value ^ sign) - sign;
  }
  return value;
}

static void randomise(ibx_insn *insn, ibx_format format) {
  size_t count;
  const ibx_field_info *fields = ibx_format_fields(format, &count);
  for (size_t i = 0; i < count; i++) {
    if (strcmp(fields[i].name, "opcode") == 0) continue;
    if (below(4) == 0) continue;
    set_field(insn, &fields[i], random_value(&fields[i]));
  }
}

static ibx_insn random_insn(uint8_t opcode) {
  ibx_insn insn = ibx_insn_make((ibx_opcode)opcode);
  randomise(&insn, ibx_insn_get(opcode)->format);
  // Any flag that has a bit; the others do not encode as anything.
  if (insn.flags & IBX_FLAG_LOOPED) randomise(&insn, IBX_FORMAT_looped);
  return insn;
}

// --- programs around them ------------------------------------------------------

static ibx_buffer_decl buffers[BUFFERS] = {
    {{IBX_SPACE_HBM, 0, 1, 0, 4096}, "x", IBX_BUFFER_INPUT, false},
    {{IBX_SPACE_HBM, 0, 1, 4096, 4096},
     "/block.0/Add_output_0",
     IBX_BUFFER_OUTPUT,
     false},
    {{IBX_SPACE_HBM, 0, 1, 0, 64},
     "a \"quoted\" \\ name\n",
     IBX_BUFFER_WEIGHT,
     false},
    {{IBX_SPACE_SBUF, 0, 128, 0, 64}, "twin", IBX_BUFFER_SCRATCH, false},
    {{IBX_SPACE_SBUF, 32, 32, 64, 64}, "twin", IBX_BUFFER_SCRATCH, false},
    {{IBX_SPACE_PSUM, 0, 128, 2048, 2048}, "wait", IBX_BUFFER_SCRATCH, false},
    {{IBX_SPACE_SBUF, 0, 1, 128, 4}, "", IBX_BUFFER_SCRATCH, false},
    {{IBX_SPACE_HBM, 0, 1, 8192, 128}, "s12", IBX_BUFFER_STATE, true},
    {{IBX_SPACE_SBUF, 0, 128, 256, 0}, "empty", IBX_BUFFER_SCRATCH, false},
};

typedef struct holder {
  ibx_entry entry;
  ibx_program_data data;
} holder;

static void hold(holder *h, ibx_insn *insns, uint32_t *nodes, size_t count,
                 ibx_engine engine) {
  *h = (holder){0};
  h->entry =
      (ibx_entry){.name = "main", .buffers = buffers, .buffer_count = BUFFERS};
  h->entry.streams[engine] =
      (ibx_stream){.insns = insns, .nodes = nodes, .count = count};
  h->data = (ibx_program_data){.machine = ibx_machine_find("ibx3"),
                               .model = "m",
                               .options = "",
                               .entries = &h->entry,
                               .entry_count = 1};
}

static ibx_engine first_engine(const ibx_insn_info *info) {
  int engine = 0;
  while (!(info->engines >> engine & 1)) {
    engine++;
  }
  return (ibx_engine)engine;
}

static ibx_blob text_of(const ibx_program_data *data) {
  ibx_blob text = {0};
  ibx_error err;
  assert_int_equal(ibx_disasm_program(data, ibx_blob_write, &text, &err),
                   IBX_OK);
  return text;
}

static ibx_asm_program *assemble(const ibx_blob *text) {
  ibx_span span = ibx_blob_get(text);
  ibx_str str = {.data = (const char *)span.data, .len = span.size};
  ibx_asm_program *program = NULL;
  ibx_error err;
  if (ibx_asm_parse(str, "again.s", NULL, 0, &program, &err) != IBX_OK) {
    fail_msg("%s\n%.*s", err.message, (int)str.len, str.data);
  }
  return program;
}

static void assert_same_insn(const ibx_insn *a, const ibx_insn *b) {
  uint8_t left[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
  uint8_t right[IBX_INSN_MAX_WORDS * IBX_WORD_BYTES];
  char before[IBX_DISASM_INSN_BYTES], after[IBX_DISASM_INSN_BYTES];
  ibx_error err;
  assert_int_equal(ibx_insn_encode(a, left, &err), IBX_OK);
  assert_int_equal(ibx_insn_encode(b, right, &err), IBX_OK);
  size_t size = ibx_insn_words(a) * IBX_WORD_BYTES;
  if (ibx_insn_words(b) * IBX_WORD_BYTES == size &&
      memcmp(left, right, size) == 0) {
    return;
  }
  ibx_disasm_insn(NULL, a, before, sizeof(before));
  ibx_disasm_insn(NULL, b, after, sizeof(after));
  fail_msg("%s\nbecame %s", before, after);
}

static void check_opcode(uint8_t opcode) {
  const ibx_insn_info *info = ibx_insn_get(opcode);
  ibx_insn insns[ROUNDS];
  uint32_t nodes[ROUNDS];
  holder h;
  ibx_engine engine = first_engine(info);
  for (size_t i = 0; i < ROUNDS; i++) {
    insns[i] = random_insn(opcode);
    nodes[i] = IBX_NO_NODE;
  }
  hold(&h, insns, nodes, ROUNDS, engine);
  ibx_blob text = text_of(&h.data);
  ibx_asm_program *program = assemble(&text);
  const ibx_stream *again = &ibx_asm_get(program)->entries[0].streams[engine];
  assert_int_equal(again->count, ROUNDS);
  for (size_t i = 0; i < ROUNDS; i++) {
    assert_same_insn(&insns[i], &again->insns[i]);
    assert_int_equal(again->nodes[i], IBX_NO_NODE);
  }
  ibx_asm_destroy(program);
  ibx_blob_fini(&text);
}

static void every_instruction_reads_back(void **s) {
  (void)s;
  random_state = 0x9e3779b97f4a7c15;
  for (int opcode = 0; opcode < 256; opcode++) {
    if (ibx_insn_get((uint8_t)opcode)) check_opcode((uint8_t)opcode);
  }
}

// --- whole programs --------------------------------------------------------------

static void everything_of_a_program_reads_back(void **s) {
  (void)s;
  static uint8_t weights[300];
  for (size_t i = 0; i < 60; i++) {
    weights[i] = (uint8_t)(i * 7);
  }
  weights[200] = 1;
  static ibx_node_decl nodes[] = {{"conv \"1\"", "Conv"}, {"", ""}};
  static ibx_tensor_decl inputs[] = {
      {.name = "x", .shape = {1, 1024}, .buffer = 0, .rank = 2, .dtype = 1},
      {.name = "past", .shape = {32}, .buffer = 7, .rank = 1, .dtype = 1}};
  static ibx_tensor_decl outputs[] = {
      {.name = "y/0", .buffer = 1, .rank = 0, .dtype = IBX_DTYPE_I64},
      {.name = "past", .shape = {32}, .buffer = 7, .rank = 1, .dtype = 1}};
  ibx_insn insns[3] = {ibx_insn_make(IBX_OP_semaphore),
                       ibx_insn_make(IBX_OP_semaphore),
                       ibx_insn_make(IBX_OP_semaphore)};
  uint32_t at[3] = {1, IBX_NO_NODE, 0};
  holder h;
  hold(&h, insns, at, 3, IBX_ENGINE_GPSIMD);
  h.entry.name = "main n=1, m=2";
  h.entry.inputs = inputs;
  h.entry.outputs = outputs;
  h.entry.input_count = h.entry.output_count = 2;
  h.entry.bounds = (ibx_bounds){1, 2, 3, 4, INT64_MAX};
  h.data.nodes = nodes;
  h.data.node_count = 2;
  h.data.model = "net.onnx";
  h.data.options = "--auto-cast all";
  h.data.weights = (ibx_span){weights, sizeof(weights)};
  ibx_blob text = text_of(&h.data);
  ibx_asm_program *program = assemble(&text);
  const ibx_program_data *again = ibx_asm_get(program);

  assert_string_equal(again->model, "net.onnx");
  assert_string_equal(again->options, "--auto-cast all");
  assert_int_equal(again->weights.size, sizeof(weights));
  assert_memory_equal(again->weights.data, weights, sizeof(weights));
  assert_int_equal(again->node_count, 2);
  assert_string_equal(again->nodes[0].name, "conv \"1\"");
  const ibx_entry *entry = &again->entries[0];
  assert_string_equal(entry->name, "main n=1, m=2");
  assert_memory_equal(&entry->bounds, &h.entry.bounds, sizeof(ibx_bounds));
  assert_int_equal(entry->buffer_count, BUFFERS);
  for (size_t i = 0; i < BUFFERS; i++) {
    assert_string_equal(entry->buffers[i].name, buffers[i].name);
    assert_int_equal(entry->buffers[i].kind, buffers[i].kind);
    assert_int_equal(entry->buffers[i].place.offset, buffers[i].place.offset);
    assert_int_equal(entry->buffers[i].place.bytes, buffers[i].place.bytes);
    assert_int_equal(entry->buffers[i].place.partitions,
                     buffers[i].place.partitions);
  }
  assert_int_equal(entry->input_count, 2);
  assert_int_equal(entry->inputs[1].buffer, 7);
  assert_int_equal(entry->inputs[0].shape[1], 1024);
  assert_int_equal(entry->outputs[0].rank, 0);
  assert_int_equal(entry->outputs[0].dtype, IBX_DTYPE_I64);
  const ibx_stream *stream = &entry->streams[IBX_ENGINE_GPSIMD];
  assert_int_equal(stream->nodes[0], 1);
  assert_int_equal(stream->nodes[1], IBX_NO_NODE);
  assert_int_equal(stream->nodes[2], 0);

  // And once more: the text is the same.
  ibx_blob second = text_of(again);
  assert_int_equal(second.size, text.size);
  assert_memory_equal(second.data, text.data, text.size);
  ibx_blob_fini(&second);
  ibx_blob_fini(&text);
  ibx_asm_destroy(program);
}

static void a_short_buffer_cuts_the_text(void **s) {
  (void)s;
  ibx_insn insn = ibx_insn_make(IBX_OP_multiply_moving);
  char whole[IBX_DISASM_INSN_BYTES], cut[10];
  insn.columns = 128;
  size_t len = ibx_disasm_insn(NULL, &insn, whole, sizeof(whole));
  assert_int_equal(len, strlen(whole));
  assert_int_equal(ibx_disasm_insn(NULL, &insn, cut, sizeof(cut)), len);
  assert_int_equal(strlen(cut), sizeof(cut) - 1);
  assert_memory_equal(cut, whole, sizeof(cut) - 1);
  assert_int_equal(ibx_disasm_insn(NULL, &insn, NULL, 0), len);
}

static bool refuse_write(void *user, const void *data, size_t size) {
  (void)user;
  (void)data;
  (void)size;
  return false;
}

static void a_sink_that_fails_is_told(void **s) {
  (void)s;
  holder h;
  ibx_error err;
  hold(&h, NULL, NULL, 0, IBX_ENGINE_SYNC);
  assert_int_equal(ibx_disasm_program(&h.data, refuse_write, NULL, &err),
                   IBX_IO_ERROR);
}

// --- damaged text -----------------------------------------------------------------

static void damaged_text_is_refused_or_assembles(void **s) {
  (void)s;
  static const char alphabet[] = "()[],:=%@.\"\\-+*/ \n09azrsn_;#>";
  ibx_insn insns[ROUNDS];
  uint32_t nodes[ROUNDS];
  holder h;
  size_t count = 0;
  random_state = 12345;
  for (int opcode = 0; opcode < 256; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (!info || !(info->engines >> IBX_ENGINE_VECTOR & 1)) continue;
    nodes[count] = IBX_NO_NODE;
    insns[count++] = random_insn((uint8_t)opcode);
  }
  hold(&h, insns, nodes, count, IBX_ENGINE_VECTOR);
  ibx_blob text = text_of(&h.data);
  unsigned refused = 0;
  for (int round = 0; round < 3000; round++) {
    size_t size = text.size;
    char *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, text.data, size);
    for (unsigned i = 0; i <= below(4); i++) {
      size_t at = below((unsigned)size);
      copy[at] =
          below(8) ? alphabet[below(sizeof(alphabet) - 1)] : (char)below(256);
    }
    if (below(8) == 0) size = below((unsigned)size);
    ibx_asm_program *program = NULL;
    ibx_error err = {0};
    ibx_str str = {.data = copy, .len = size};
    if (ibx_asm_parse(str, "damaged.s", NULL, 0, &program, &err) != IBX_OK) {
      assert_null(program);
      assert_int_equal(err.status, IBX_INVALID_PROGRAM);
      assert_memory_equal(err.message, "damaged.s:", 10);
      refused++;
    }
    ibx_asm_destroy(program);
    free(copy);
  }
  assert_true(refused > 1000);
  ibx_blob_fini(&text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_instruction_reads_back),
      cmocka_unit_test(everything_of_a_program_reads_back),
      cmocka_unit_test(a_short_buffer_cuts_the_text),
      cmocka_unit_test(a_sink_that_fails_is_told),
      cmocka_unit_test(damaged_text_is_refused_or_assembles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
