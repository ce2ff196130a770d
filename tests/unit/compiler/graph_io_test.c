// SPDX-License-Identifier: Apache-2.0
//
// Writing a graph to MLIR and reading it are inverses, over random graphs, and
// so are printing and parsing.

#include "support/graphs.h"

enum { ROUNDS = 60, TRIES = 3000 };

static void assert_ok(ibx_status status, const ibx_error *err) {
  if (status != IBX_OK) fail_msg("%s", err->message);
}

static void what_is_written_is_read(void **state) {
  (void)state;
  uint64_t seed = 1;
  bool seen[IBX_TENSOR_OP_COUNT] = {false};
  ibx_ir *ir = ibx_ir_create();
  for (int round = 0; round < ROUNDS; round++) {
    ibx_arena arena = {.last = NULL};
    ibx_tables tables = {.weights = NULL};
    ibx_error err = {.status = IBX_OK};
    ibx_graph graph = random_graph(&seed, &arena, &tables, TRIES), back;
    assert_ok(ibx_graph_write(ir, &graph, &err), &err);
    assert_ok(ibx_ir_verify(ir, &err), &err);
    assert_ok(ibx_graph_read(ir, graph.name, &tables, &arena, &back, &err),
              &err);
    assert_graphs_equal(&graph, &back);
    for (size_t i = 0; i < graph.node_count; i++) {
      seen[graph.nodes[i].op] = true;
    }
    ibx_arena_reset(&arena);
  }
  ibx_ir_destroy(ir);
  // A generator that makes little proves little.
  size_t count = 0;
  for (size_t i = 0; i < IBX_TENSOR_OP_COUNT; i++)
    count += seen[i];
  assert_true(count > IBX_TENSOR_OP_COUNT * 8 / 10);
}

static void what_is_printed_is_parsed(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (int round = 0; round < ROUNDS / 4; round++) {
    ibx_arena arena = {.last = NULL};
    ibx_tables tables = {.weights = NULL}, other = {.weights = NULL};
    ibx_error err = {.status = IBX_OK};
    ibx_ir *ir = ibx_ir_create(), *fresh = ibx_ir_create();
    ibx_graph graph = random_graph(&seed, &arena, &tables, TRIES), back;
    assert_ok(ibx_graph_write(ir, &graph, &err), &err);
    const char *text = ibx_ir_print(ir, &arena);
    ibx_span span = {.data = (const uint8_t *)text, .size = strlen(text)};
    assert_ok(ibx_ir_parse(fresh, span, &other, &arena, &err), &err);
    assert_string_equal(ibx_ir_print(fresh, &arena), text);
    assert_ok(ibx_graph_read(fresh, graph.name, &other, &arena, &back, &err),
              &err);
    assert_graphs_equal(&graph, &back);
    for (size_t i = 0; i < graph.node_count; i++) {
      const ibx_weight *a = ibx_graph_constant(&graph, graph.nodes[i].result);
      const ibx_weight *b = ibx_graph_constant(&back, back.nodes[i].result);
      assert_int_equal(a != NULL, b != NULL);
      if (!a) continue;
      size_t bytes = count_of(&a->type) * ibx_dtype_bytes(a->type.dtype);
      if (bytes <= 256) assert_memory_equal(a->data, b->data, bytes);
      assert_texts_equal(a->name, b->name);
    }
    ibx_ir_destroy(ir);
    ibx_ir_destroy(fresh);
    ibx_arena_reset(&arena);
  }
}

static void a_function_replaces_the_one_of_its_name(void **state) {
  (void)state;
  uint64_t seed = 3;
  ibx_arena arena = {.last = NULL};
  ibx_tables tables = {.weights = NULL};
  ibx_error err = {.status = IBX_OK};
  ibx_ir *ir = ibx_ir_create();
  ibx_graph first = random_graph(&seed, &arena, &tables, 100), back;
  ibx_graph second = random_graph(&seed, &arena, &tables, 100);
  ibx_graph third = random_graph(&seed, &arena, &tables, 100);
  first.name = second.name = "f";
  third.name = "g";
  assert_ok(ibx_graph_write(ir, &first, &err), &err);
  assert_ok(ibx_graph_write(ir, &third, &err), &err);
  assert_ok(ibx_graph_write(ir, &second, &err), &err);
  assert_ok(ibx_graph_read(ir, "f", &tables, &arena, &back, &err), &err);
  assert_graphs_equal(&second, &back);
  assert_ok(ibx_graph_read(ir, "g", &tables, &arena, &back, &err), &err);
  assert_graphs_equal(&third, &back);
  bool is_tiles;
  assert_string_equal(ibx_ir_function(ir, 0, &arena, &is_tiles), "f");
  assert_string_equal(ibx_ir_function(ir, 1, &arena, &is_tiles), "g");
  assert_null(ibx_ir_function(ir, 2, &arena, &is_tiles));
  assert_int_equal(ibx_graph_read(ir, "h", &tables, &arena, &back, &err),
                   IBX_INTERNAL);
  ibx_ir_destroy(ir);
  ibx_arena_reset(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(what_is_printed_is_parsed),
      cmocka_unit_test(a_function_replaces_the_one_of_its_name),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
