// SPDX-License-Identifier: Apache-2.0
//
// Text of IR that is damaged in random places: parsed or refused with words,
// never a crash, and what is accepted prints and parses again.

#include "support/graphs.h"

enum { ROUNDS = 400 };

static ibx_span span_of(const char *text) {
  return (ibx_span){.data = (const uint8_t *)text, .size = strlen(text)};
}

static const char *const level_2 =
    "func.func @f() attributes {ibx.level = 2 : i64, ibx.inputs = "
    "[{buffer = 0 : i64, name = \"x\", type = tensor<4xf32>}]} {\n"
    "  %s = \"ibx.buffer\"() {kind = \"input\", name = \"x\", offset = 0 : "
    "i64, partition = 0 : i64} : () -> memref<128x256xi8, #ibx.sbuf>\n"
    "  \"ibx.isa_tensor_copy\"(%s, %s) {engine = \"vector\", num = "
    "array<i64: 1, 1, 8>, op = [\"bypass\", \"add\"], operand0 = "
    "array<i64: 0, 0, 1, 0, 0, 1>, operandSegmentSizes = "
    "array<i32: 1, 1, 0, 0>} : (memref<128x256xi8, #ibx.sbuf>, "
    "memref<128x256xi8, #ibx.sbuf>) -> ()\n"
    "  return\n"
    "}\n";

// Replaces, removes or repeats a few bytes.
static char *damage(uint64_t *seed, const char *text, ibx_arena *arena) {
  static const char bytes[] = "0123456789-<>(){}[]:\"#%@x,.= \nai";
  size_t len = strlen(text);
  char *copy = ibx_arena_alloc(arena, len * 2 + 64);
  memcpy(copy, text, len);
  for (size_t i = 1 + random_below(seed, 4); i > 0 && len > 8; i--) {
    size_t at = random_below(seed, len - 8);
    size_t run = 1 + random_below(seed, 7);
    switch (random_below(seed, 3)) {
    case 0: copy[at] = bytes[random_below(seed, sizeof bytes - 1)]; break;
    case 1:
      memmove(copy + at, copy + at + run, len - at - run);
      len -= run;
      break;
    default:
      memmove(copy + at + run, copy + at, len - at);
      len += run;
      break;
    }
    copy[len] = 0;
  }
  return copy;
}

static bool check_text(const char *text) {
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL};
  ibx_error err = {.status = IBX_OK};
  ibx_ir *ir = ibx_ir_create();
  ibx_status status = ibx_ir_parse(ir, span_of(text), &tables, &arena, &err);
  bool is_ok = status == IBX_OK;
  if (is_ok) {
    const char *again = ibx_ir_print(ir, &arena);
    assert_int_equal(ibx_ir_parse(ir, span_of(again), &tables, &arena, &err),
                     IBX_OK);
    assert_string_equal(ibx_ir_print(ir, &arena), again);
  } else {
    assert_int_equal(err.status, status);
    assert_true(err.message[0] != 0);
  }
  ibx_ir_destroy(ir);
  ibx_arena_reset(&arena);
  return is_ok;
}

static void damaged_text_is_refused_or_read(void **state) {
  (void)state;
  uint64_t seed = 1;
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL};
  ibx_ir *ir = ibx_ir_create();
  ibx_graph graph = random_graph(&seed, &arena, &tables, 300);
  assert_int_equal(ibx_graph_write(ir, &graph, NULL), IBX_OK);
  const char *level_1 = ibx_ir_print(ir, &arena);
  size_t accepted = 0;
  assert_true(check_text(level_1));
  assert_true(check_text(level_2));
  for (int round = 0; round < ROUNDS; round++) {
    const char *text = round % 2 ? level_1 : level_2;
    accepted += check_text(damage(&seed, text, &arena));
  }
  assert_true(accepted > 0 && accepted < ROUNDS / 2);
  ibx_ir_destroy(ir);
  ibx_arena_reset(&arena);
}

static void deep_nesting_is_refused(void **state) {
  (void)state;
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL};
  ibx_error err = {.status = IBX_OK};
  ibx_ir *ir = ibx_ir_create();
  char *text = ibx_arena_alloc(&arena, 100001);
  memset(text, '[', 100000);
  assert_int_equal(ibx_ir_parse(ir, span_of(text), &tables, &arena, &err),
                   IBX_INVALID_ARGUMENT);
  assert_non_null(strstr(err.message, "deep"));
  ibx_ir_destroy(ir);
  ibx_arena_reset(&arena);
}

// Rows that text asks for are made, but not without end.
static void constants_make_rows_of_weights(void **state) {
  (void)state;
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL};
  ibx_error err = {.status = IBX_OK};
  ibx_ir *ir = ibx_ir_create();
  const char *text =
      "func.func @f() -> (tensor<2xi32>, tensor<3xi1>, tensor<2xf32>) {\n"
      "  %0 = \"ibx.constant\"() {data = dense<7> : tensor<2xi32>, dtype = "
      "i32, shape = array<i64: 2>, weight = 2 : i64} : () -> tensor<2xi32>\n"
      "  %1 = \"ibx.constant\"() {data = dense<[1, 0, 1]> : tensor<3xui8>, "
      "dtype = i1, shape = array<i64: 3>, weight = 0 : i64} : () -> "
      "tensor<3xi1>\n"
      "  %2 = \"ibx.constant\"() {dtype = f32, shape = array<i64: 2>, weight "
      "= 1 : i64} : () -> tensor<2xf32>\n"
      "  return %0, %1, %2 : tensor<2xi32>, tensor<3xi1>, tensor<2xf32>\n"
      "}\n";
  ibx_status status = ibx_ir_parse(ir, span_of(text), &tables, &arena, &err);
  if (status != IBX_OK) fail_msg("%s", err.message);
  const int32_t sevens[] = {7, 7};
  const uint8_t bools[] = {1, 0, 1};
  const float zeros[] = {0, 0};
  assert_int_equal(tables.weight_count, 3);
  assert_memory_equal(tables.weights[2].data, sevens, sizeof sevens);
  assert_memory_equal(tables.weights[0].data, bools, sizeof bools);
  assert_memory_equal(tables.weights[1].data, zeros, sizeof zeros);
  ibx_ir_destroy(ir);
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(damaged_text_is_refused_or_read),
      cmocka_unit_test(deep_nesting_is_refused),
      cmocka_unit_test(constants_make_rows_of_weights),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
