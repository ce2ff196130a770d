// SPDX-License-Identifier: Apache-2.0
//
// Writing a tile function to MLIR and reading it are inverses, for random
// fields of every instruction, and so are printing and parsing. Accesses that
// leave their buffer are refused.

#include "ir/ir.h"
#include "support/tensors.h"

enum { OPS = 400, BUFFERS = 12 };

static void assert_ok(ibx_status status, const ibx_error *err) {
  if (status != IBX_OK) fail_msg("%s", err->message);
}

// --- random functions ---

static bool ends_with(const char *text, const char *tail) {
  size_t len = strlen(text), tail_len = strlen(tail);
  return len >= tail_len && strcmp(text + len - tail_len, tail) == 0;
}

// A value that keeps every access inside of the buffers below.
static int64_t random_field(uint64_t *seed, const char *name) {
  if (strstr(name, "partition_step")) return (int64_t)random_below(seed, 2);
  if (strstr(name, "step")) return (int64_t)random_below(seed, 5) - 2;
  if (ends_with(name, ".offset")) return 2048 + (int64_t)random_below(seed, 99);
  if (ends_with(name, ".partition")) return (int64_t)random_below(seed, 4);
  if (ends_with(name, ".dtype")) return (int64_t)random_below(seed, 17);
  if (strncmp(name, "op[", 3) == 0) return (int64_t)random_below(seed, 20);
  if (strcmp(name, "flags") == 0) return IBX_FLAG_NEGATE;
  return 1 + (int64_t)random_below(seed, 4);
}

static void set_member(ibx_insn *insn, const ibx_field_info *field,
                       int64_t value) {
  memcpy((char *)insn + field->member_offset, &value, field->member_bytes);
}

static bool is_synchronisation(const char *name) {
  return strncmp(name, "wait", 4) == 0 || strncmp(name, "signal", 6) == 0;
}

static void random_fields(uint64_t *seed, ibx_insn *insn) {
  size_t count;
  const ibx_field_info *fields =
      ibx_format_fields(ibx_insn_get(insn->opcode)->format, &count);
  for (size_t i = 0; i < count; i++) {
    const char *name = fields[i].name;
    bool is_fixed = strcmp(name, "opcode") == 0 || ends_with(name, ".buffer") ||
                    is_synchronisation(name);
    // Some stay at their default; offsets leave room for steps backwards.
    bool is_left = random_below(seed, 4) == 0 && !ends_with(name, ".offset");
    if (is_fixed || is_left) continue;
    if (fields[i].kind == IBX_FIELD_FLOAT) {
      float value = (float)random_real(seed, -1e6, 1e6);
      memcpy((char *)insn + fields[i].member_offset, &value, sizeof value);
    } else {
      set_member(insn, &fields[i], random_field(seed, name));
    }
  }
}

static bool random_op(uint64_t *seed, ibx_tile_op *out) {
  uint8_t opcode = (uint8_t)random_below(seed, 256);
  const ibx_insn_info *info = ibx_insn_get(opcode);
  if (!info) return false;
  *out = (ibx_tile_op){.insn = ibx_insn_make((ibx_opcode)opcode),
                       .glued = random_below(seed, 2) != 0,
                       .source = (uint32_t)random_below(seed, 3)};
  do {
    out->engine = (ibx_engine)random_below(seed, IBX_ENGINE_COUNT);
  } while (!(info->engines >> out->engine & 1));
  random_fields(seed, &out->insn);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    ibx_slot_kind kind = info->slot[slot];
    bool may_miss =
        kind == IBX_SLOT_SCALAR_READ || kind == IBX_SLOT_SCALAR_WRITE;
    if (kind == IBX_SLOT_NONE || (may_miss && random_below(seed, 2))) continue;
    // Buffers 0 to 7 have partitions, what walks them must not be HBM.
    out->insn.operand[slot].buffer = (uint16_t)random_below(seed, 8);
  }
  return true;
}

static ibx_tile_func random_func(uint64_t *seed, ibx_arena *arena,
                                 ibx_tables *tables) {
  ibx_tile_func func = {.arena = arena, .name = "main"};
  for (size_t i = 0; i < 3; i++) {
    ibx_tables_add_source(tables, arena, ibx_arena_format(arena, "n%zu", i),
                          "Add");
  }
  for (size_t i = 0; i < BUFFERS; i++) {
    bool is_hbm = i >= 8;
    ibx_tile_add_buffer(
        &func,
        (ibx_buffer_decl){
            .place = {.space = is_hbm ? IBX_SPACE_HBM : (ibx_space)(1 + i % 2),
                      .partition = is_hbm ? 0 : (uint8_t)(i % 2 * 32),
                      .partitions = is_hbm ? 1 : 96,
                      .offset = next_random(seed) >> 20,
                      .bytes = 8192 + random_below(seed, 4096)},
            .name = i % 3 ? ibx_arena_format(arena, "buffer %zu", i) : NULL,
            .kind = (ibx_buffer_kind)(i % IBX_BUFFER_KIND_COUNT)});
  }
  while (func.op_count < OPS) {
    ibx_tile_op op;
    if (random_op(seed, &op)) ibx_tile_add_op(&func, &op);
  }
  static ibx_tensor_decl decls[2] = {
      {.name = "x", .shape = {2, 0, 3}, .rank = 3, .buffer = 9, .dtype = 1},
      {.name = "", .buffer = 11, .dtype = IBX_DTYPE_BOOL}};
  func.inputs = decls;
  func.input_count = 2;
  func.outputs = decls + 1;
  func.output_count = 1;
  return func;
}

// --- equality ---

static void assert_ops_equal(const ibx_tile_op *a, const ibx_tile_op *b) {
  size_t count;
  assert_int_equal(a->insn.opcode, b->insn.opcode);
  assert_int_equal(a->engine, b->engine);
  assert_int_equal(a->glued, b->glued);
  assert_int_equal(a->source, b->source);
  const ibx_field_info *fields =
      ibx_format_fields(ibx_insn_get(a->insn.opcode)->format, &count);
  for (size_t i = 0; i < count; i++) {
    assert_memory_equal((const char *)&a->insn + fields[i].member_offset,
                        (const char *)&b->insn + fields[i].member_offset,
                        fields[i].member_bytes);
  }
}

static void assert_buffers_equal(const ibx_buffer_decl *a,
                                 const ibx_buffer_decl *b) {
  assert_int_equal(a->place.space, b->place.space);
  assert_int_equal(a->place.partition, b->place.partition);
  assert_int_equal(a->place.partitions, b->place.partitions);
  assert_int_equal(a->place.offset, b->place.offset);
  assert_int_equal(a->place.bytes, b->place.bytes);
  assert_int_equal(a->kind, b->kind);
  assert_int_equal(a->name != NULL, b->name != NULL);
  if (a->name) assert_string_equal(a->name, b->name);
}

static void assert_decls_equal(const ibx_tensor_decl *a,
                               const ibx_tensor_decl *b, size_t count) {
  for (size_t i = 0; i < count; i++) {
    assert_string_equal(a[i].name, b[i].name);
    assert_int_equal(a[i].buffer, b[i].buffer);
    assert_int_equal(a[i].dtype, b[i].dtype);
    assert_int_equal(a[i].rank, b[i].rank);
    for (size_t d = 0; d < a[i].rank; d++) {
      assert_int_equal(a[i].shape[d], b[i].shape[d]);
    }
  }
}

static void assert_funcs_equal(const ibx_tile_func *a, const ibx_tile_func *b) {
  assert_int_equal(a->op_count, b->op_count);
  assert_int_equal(a->buffer_count, b->buffer_count);
  assert_int_equal(a->input_count, b->input_count);
  assert_int_equal(a->output_count, b->output_count);
  for (size_t i = 0; i < a->op_count; i++) {
    ibx_tile_op x = ibx_tile_at(a, i), y = ibx_tile_at(b, i);
    assert_ops_equal(&x, &y);
  }
  for (size_t i = 0; i < a->buffer_count; i++) {
    assert_buffers_equal(&a->buffers[i], &b->buffers[i]);
  }
  assert_decls_equal(a->inputs, b->inputs, a->input_count);
  assert_decls_equal(a->outputs, b->outputs, a->output_count);
}

// --- tests ---

static void what_is_written_is_read(void **state) {
  (void)state;
  uint64_t seed = 1;
  ibx_ir *ir = ibx_ir_create();
  for (int round = 0; round < 20; round++) {
    ibx_arena arena = {.last = NULL};
    ibx_tables tables = {.weights = NULL};
    ibx_error err = {.status = IBX_OK};
    ibx_tile_func func = random_func(&seed, &arena, &tables), back;
    assert_ok(ibx_tiles_write(ir, &func, &tables, &err), &err);
    assert_ok(ibx_ir_verify(ir, &err), &err);
    assert_ok(ibx_tiles_read(ir, "main", &tables, &arena, &back, &err), &err);
    assert_funcs_equal(&func, &back);
    ibx_arena_reset(&arena);
  }
  ibx_ir_destroy(ir);
}

static void what_is_printed_is_parsed(void **state) {
  (void)state;
  uint64_t seed = 2;
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL}, other = {.weights = NULL};
  ibx_error err = {.status = IBX_OK};
  ibx_ir *ir = ibx_ir_create(), *fresh = ibx_ir_create();
  ibx_tile_func func = random_func(&seed, &arena, &tables), back;
  assert_ok(ibx_tiles_write(ir, &func, &tables, &err), &err);
  const char *text = ibx_ir_print(ir, &arena);
  ibx_span span = {.data = (const uint8_t *)text, .size = strlen(text)};
  assert_ok(ibx_ir_parse(fresh, span, &other, &arena, &err), &err);
  assert_string_equal(ibx_ir_print(fresh, &arena), text);
  bool is_tiles = false;
  assert_string_equal(ibx_ir_function(fresh, 0, &arena, &is_tiles), "main");
  assert_true(is_tiles);
  assert_ok(ibx_tiles_read(fresh, "main", &other, &arena, &back, &err), &err);
  assert_funcs_equal(&func, &back);
  ibx_ir_destroy(ir);
  ibx_ir_destroy(fresh);
  ibx_arena_reset(&arena);
}

// One memset of 4 x 8 fp32 on 16 partitions, from byte 64 of partition 32 on;
// each change below makes it wrong.
typedef struct broken {
  ibx_tile_func func;
  ibx_tile_op op; ///< its only one
} broken;

typedef struct wrong {
  const char *words; ///< in the message
  void (*change)(broken *b);
} wrong;

static void far(broken *b) { b->op.insn.operand[0].offset = 8100; }
static void wide(broken *b) { b->op.insn.num[2] = 65; }
static void back(broken *b) { b->op.insn.operand[0].step[4] = -3; }
static void low(broken *b) { b->op.insn.operand[0].partition = 90; }
static void empty(broken *b) { b->op.insn.num[3] = 0; }
static void lost(broken *b) { b->op.insn.operand[0].buffer = IBX_NO_BUFFER; }
static void none(broken *b) { b->op.insn.operand[0].buffer = 77; }
static void more(broken *b) { b->op.insn.operand[1].buffer = 0; }
static void idle(broken *b) { b->op.engine = IBX_ENGINE_TENSOR; }
static void waits(broken *b) { b->op.insn.wait_value = 1; }
static void loops(broken *b) { b->op.insn.flags = IBX_FLAG_LOOPED; }
static void absurd(broken *b) {
  b->op.insn.operand[0].step[2] = INT32_MIN;
  b->op.insn.num[2] = UINT32_MAX;
}
static void opcode(broken *b) { b->op.insn.opcode = 255; }
static void huge(broken *b) { b->func.buffers[0].place.partitions = 129; }
static void port(broken *b) { b->func.inputs[0].buffer = 77; }

static const wrong wrongs[] = {
    {"touches bytes", far},    {"touches bytes", wide},
    {"touches bytes", back},   {"touches partitions", low},
    {"num[3] is 0", empty},    {"operand 0 is missing", lost},
    {"is in no buffer", none}, {"it has no operand 1", more},
    {"does not run it", idle}, {"semaphores", waits},
    {"semaphores", loops},     {"too far", absurd},
    {"opcode 255", opcode},    {"no legal extent", huge},
    {"no legal buffer", port},
};

static ibx_tile_func simple_func(ibx_arena *arena, ibx_tables *tables,
                                 ibx_tensor_decl *input) {
  ibx_tile_func func = {
      .arena = arena, .name = "main", .inputs = input, .input_count = 1};
  ibx_tables_add_source(tables, arena, "fill", "ConstantOfShape");
  *input = (ibx_tensor_decl){.name = "x", .dtype = IBX_DTYPE_F32};
  ibx_tile_add_buffer(
      &func,
      (ibx_buffer_decl){
          .place = {.space = IBX_SPACE_SBUF, .partitions = 96, .bytes = 8192},
          .name = "b"});
  ibx_tile_op op = {.insn = ibx_insn_make(IBX_OP_memset),
                    .engine = IBX_ENGINE_VECTOR};
  op.insn.partitions = 16;
  op.insn.num[2] = op.insn.num[3] = 4;
  op.insn.num[4] = 8;
  op.insn.operand[0] = (ibx_operand){.buffer = 0,
                                     .offset = 64,
                                     .partition = 32,
                                     .dtype = IBX_DTYPE_F32,
                                     .step = {0, 0, 32, 8, 1}};
  ibx_tile_add_op(&func, &op);
  return func;
}

static void what_is_wrong_is_refused(void **state) {
  (void)state;
  ibx_ir *ir = ibx_ir_create();
  for (size_t i = 0; i <= IBX_COUNT_OF(wrongs); i++) {
    ibx_arena arena = {.last = NULL};
    ibx_tables tables = {.weights = NULL};
    ibx_error err = {.status = IBX_OK};
    ibx_tensor_decl input;
    broken b = {.func = simple_func(&arena, &tables, &input)};
    bool is_right = i == IBX_COUNT_OF(wrongs);
    b.op = ibx_tile_at(&b.func, 0);
    if (!is_right) wrongs[i].change(&b);
    b.func.ops[0] = ibx_tile_pack(&b.op, &arena);
    ibx_status status = ibx_tiles_write(ir, &b.func, &tables, &err);
    assert_int_equal(status, is_right ? IBX_OK : IBX_INTERNAL);
    if (!is_right && !strstr(err.message, wrongs[i].words)) {
      fail_msg("'%s' is not in '%s'", wrongs[i].words, err.message);
    }
    ibx_arena_reset(&arena);
  }
  ibx_ir_destroy(ir);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(what_is_printed_is_parsed),
      cmocka_unit_test(what_is_wrong_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
