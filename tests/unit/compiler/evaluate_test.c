// SPDX-License-Identifier: Apache-2.0
//
// Running a graph: results, constants in place, and what stops it.

#include "ir/evaluate.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

typedef struct world {
  ibx_arena arena;
  ibx_tables tables;
  ibx_graph graph;
} world;

static const ibx_type vector = {.dims = {4}, .rank = 1, .dtype = IBX_DTYPE_F32};
static const float bias[] = {10, 20, 30, 40};

// y = relu(x) + bias, and relu(x) itself.
static void make(world *w) {
  *w = (world){0};
  w->graph =
      (ibx_graph){.arena = &w->arena, .tables = &w->tables, .name = "main"};
  uint32_t source = ibx_tables_add_source(&w->tables, &w->arena, "n", "Op");
  uint32_t x = ibx_graph_add_input(&w->graph, vector, 0), relu, sum;
  uint32_t row = ibx_tables_add_weight(
      &w->tables, &w->arena,
      (ibx_weight){.type = vector, .data = bias, .name = "bias"});
  uint32_t constant = ibx_graph_add_constant(&w->graph, row, source);
  const ibx_params none = {0};
  assert_int_equal(ibx_graph_add(&w->graph, IBX_TENSOR_relu, &none, &x, 1,
                                 source, &relu, NULL),
                   IBX_OK);
  const uint32_t operands[] = {relu, constant};
  assert_int_equal(ibx_graph_add(&w->graph, IBX_TENSOR_add, &none, operands, 2,
                                 source, &sum, NULL),
                   IBX_OK);
  w->graph.inputs = IBX_ARENA_ARRAY(&w->arena, 1, ibx_port);
  w->graph.inputs[0] = (ibx_port){.name = "x", .value = x, .type = vector};
  w->graph.input_count = 1;
  w->graph.outputs = IBX_ARENA_ARRAY(&w->arena, 3, ibx_port);
  const uint32_t values[] = {sum, relu, x};
  for (size_t i = 0; i < 3; i++) {
    w->graph.outputs[i] = (ibx_port){.value = values[i], .type = vector};
  }
  w->graph.output_count = 3;
}

static void outputs_are_what_the_kernels_give(void **state) {
  (void)state;
  world w;
  make(&w);
  float x[] = {-1, 2, -3, 4};
  ibx_tensor in = {.type = vector, .data = x}, out[3] = {{.data = NULL}};
  assert_int_equal(
      ibx_graph_eval(&w.graph, &in, out, &w.arena, NULL, NULL, NULL), IBX_OK);
  const float want[][4] = {{10, 22, 30, 44}, {0, 2, 0, 4}, {-1, 2, -3, 4}};
  for (size_t i = 0; i < 3; i++) {
    assert_memory_equal(out[i].data, want[i], sizeof(want[i]));
  }
  ibx_arena_reset(&w.arena);
}

static bool stop_at_add(void *user, const ibx_graph *graph, uint32_t node,
                        const ibx_tensor *result) {
  assert_non_null(result->data);
  ++*(size_t *)user;
  return graph->nodes[node].op != IBX_TENSOR_add;
}

static void a_callback_may_stop_it(void **state) {
  (void)state;
  world w;
  make(&w);
  float x[4] = {0};
  size_t calls = 0;
  ibx_tensor in = {.type = vector, .data = x}, out[3] = {{.data = NULL}};
  assert_int_equal(
      ibx_graph_eval(&w.graph, &in, out, &w.arena, stop_at_add, &calls, NULL),
      IBX_CANCELLED);
  assert_int_equal(calls, w.graph.node_count);
  ibx_arena_reset(&w.arena);
}

static void an_input_of_another_type_is_refused(void **state) {
  (void)state;
  world w;
  make(&w);
  double x[4] = {0};
  ibx_error err = {0};
  ibx_tensor in = {.type = vector, .data = x}, out[3] = {{.data = NULL}};
  in.type.dtype = IBX_DTYPE_F64;
  assert_int_equal(
      ibx_graph_eval(&w.graph, &in, out, &w.arena, NULL, NULL, &err),
      IBX_MISMATCH);
  assert_non_null(strstr(err.message, "'x'"));
  ibx_arena_reset(&w.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(outputs_are_what_the_kernels_give),
      cmocka_unit_test(a_callback_may_stop_it),
      cmocka_unit_test(an_input_of_another_type_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
