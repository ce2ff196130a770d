// SPDX-License-Identifier: Apache-2.0
//
// Importing models made by hand: where weights stay, what folds, what a
// function's attributes are, and what the user's shapes do.

#include "frontend/frontend.h"

#include "support/onnx_model.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { F32 = 1, I64 = 7, BIG = 40000 };

typedef struct world {
  ibx_arena arena;
  test_model made;
  ibx_span bytes;
  ibx_diag_sink sink;
  ibx_model *model;
  ibx_tables tables;
  ibx_graph graph;
  const ibx_partition *partition;
  ibx_frontend_options options;
  ibx_error err;
} world;

static void begin(world *w) {
  *w = (world){0};
  w->sink.arena = &w->arena;
  test_model_init(&w->made, &w->arena);
}

static void end(world *w) {
  ibx_model_close(w->model);
  ibx_arena_reset(&w->arena);
}

static ibx_status open_and_import(world *w) {
  if (!w->model) {
    w->bytes = test_pack(&w->made);
    assert_int_equal(
        ibx_model_open_memory(w->bytes, &w->sink, &w->model, &w->err), IBX_OK);
  }
  return ibx_frontend_import(w->model, &w->options, &w->sink, &w->arena,
                             &w->tables, &w->graph, &w->partition, NULL,
                             &w->err);
}

static size_t count_ops(const world *w, ibx_tensor_op op) {
  size_t count = 0;
  for (size_t n = 0; n < w->graph.node_count; n++) {
    count += w->graph.nodes[n].op == op;
  }
  return count;
}

static const char *source_name(const world *w, size_t node) {
  return w->tables.sources[w->graph.nodes[node].source].name;
}

// --- weights -----------------------------------------------------------------

static void large_weights_stay_in_the_model(void **state) {
  (void)state;
  static float big[BIG];
  const float small[] = {1, 2, 3, 4};
  const int64_t big_dims[] = {BIG / 4, 4}, small_dims[] = {4};
  world w;
  begin(&w);
  for (int i = 0; i < BIG; i++)
    big[i] = (float)i;
  test_input(&w.made, "x", F32, "10000 4");
  test_initializer(&w.made, "big", F32, big_dims, 2, big, sizeof(big));
  test_initializer(&w.made, "small", F32, small_dims, 1, small, sizeof(small));
  test_initializer(&w.made, "unused", F32, small_dims, 1, small, sizeof(small));
  test_node(&w.made, "Add", "a", "x big", "s");
  test_node(&w.made, "Add", "b", "s small", "y");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.tables.weight_count, 2);
  const uint8_t *data = w.tables.weights[0].data;
  assert_string_equal(w.tables.weights[0].name, "big");
  assert_true(data >= w.bytes.data &&
              data + sizeof(big) <= w.bytes.data + w.bytes.size);
  assert_memory_equal(data, big, sizeof(big));
  data = w.tables.weights[1].data;
  assert_true(data < w.bytes.data || data >= w.bytes.data + w.bytes.size);
  assert_int_equal((uintptr_t)data % sizeof(float), 0);
  // A second import adds its own rows after those of the first.
  ibx_graph first = w.graph;
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.tables.weight_count, 4);
  assert_int_equal(ibx_graph_constant(&first, first.nodes[0].result) ==
                       &w.tables.weights[0],
                   true);
  end(&w);
}

static void a_failed_import_leaves_no_weights(void **state) {
  (void)state;
  const float small[] = {1, 2, 3, 4};
  const int64_t dims[] = {4};
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "4");
  test_initializer(&w.made, "w", F32, dims, 1, small, sizeof(small));
  test_node(&w.made, "Add", "a", "x w", "s");
  test_node(&w.made, "Frobnicate", "b", "s", "y");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_INVALID_MODEL);
  assert_int_equal(w.tables.weight_count, 0);
  assert_string_equal(w.sink.items[0].node, "b");
  end(&w);
}

// --- folding -----------------------------------------------------------------

static void shape_arithmetic_vanishes(void **state) {
  (void)state;
  const int64_t two[] = {2}, minus[] = {-1}, one[] = {1};
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "4 6");
  test_initializer(&w.made, "two", I64, one, 1, two, sizeof(two));
  test_initializer(&w.made, "minus", I64, one, 1, minus, sizeof(minus));
  test_node(&w.made, "Shape", "shape", "x", "s");
  test_node(&w.made, "Gather", "row", "s zero", "r");
  const int64_t zero[] = {0};
  test_initializer(&w.made, "zero", I64, one, 1, zero, sizeof(zero));
  test_node(&w.made, "Mul", "twice", "r two", "t");
  Onnx__NodeProto *join = test_node(&w.made, "Concat", "join", "t minus", "j");
  Onnx__AttributeProto *axis = test_attribute(&w.arena, join, "axis");
  axis->has_i = true;
  test_node(&w.made, "Reshape", "reshape", "x j", "y");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.node_count, 1);
  assert_int_equal(w.graph.nodes[0].op, IBX_TENSOR_reshape);
  assert_string_equal(source_name(&w, 0), "reshape");
  const ibx_type *type = &w.graph.outputs[0].type;
  assert_int_equal(type->rank, 2);
  assert_int_equal(type->dims[0], 8);
  assert_int_equal(type->dims[1], 3);
  assert_int_equal(w.tables.weight_count, 0);
  end(&w);
}

static void a_broadcast_constant_stays_small(void **state) {
  (void)state;
  const float half = 0.5f;
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "64 64");
  test_initializer(&w.made, "half", F32, NULL, 0, &half, sizeof(half));
  test_node(&w.made, "Mul", "m", "x half", "y");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(count_ops(&w, IBX_TENSOR_broadcast), 1);
  assert_int_equal(w.tables.weight_count, 1);
  int64_t bytes = 0;
  assert_true(ibx_type_bytes(&w.tables.weights[0].type, &bytes));
  assert_int_equal(bytes, sizeof(half));
  end(&w);
}

static void what_no_output_needs_is_absent(void **state) {
  (void)state;
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "4");
  test_node(&w.made, "Relu", "used", "x", "y");
  test_node(&w.made, "Frobnicate", "unused", "x", "z");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.node_count, 1);
  assert_string_equal(source_name(&w, 0), "used");
  end(&w);
}

static void nodes_may_stand_in_any_order(void **state) {
  (void)state;
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "4");
  test_node(&w.made, "Neg", "last", "b", "y");
  test_node(&w.made, "Relu", "", "a", "b");
  test_node(&w.made, "Exp", "first", "x", "a");
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.node_count, 3);
  assert_string_equal(source_name(&w, 0), "first");
  assert_string_equal(source_name(&w, 1), "Relu_1");
  assert_string_equal(source_name(&w, 2), "last");
  end(&w);
}

// --- functions and branches --------------------------------------------------

// f(a) = LeakyRelu(a) with `slope` as its alpha, 0.5 by default.
static void add_function(world *w) {
  Onnx__FunctionProto *function = IBX_ARENA_NEW(&w->arena, Onnx__FunctionProto);
  onnx__function_proto__init(function);
  function->name = ibx_arena_text(&w->arena, "f", 1);
  function->domain = ibx_arena_text(&w->arena, "d", 1);
  function->input = test_names(&w->arena, "a", &function->n_input);
  function->output = test_names(&w->arena, "b", &function->n_output);
  function->node = IBX_ARENA_ARRAY(&w->arena, 1, Onnx__NodeProto *);
  function->node[0] = test_make_node(&w->arena, "LeakyRelu", "inner", "a", "b");
  function->n_node = 1;
  Onnx__AttributeProto *alpha =
      test_attribute(&w->arena, function->node[0], "alpha");
  alpha->ref_attr_name = ibx_arena_text(&w->arena, "slope", 5);
  function->attribute_proto =
      IBX_ARENA_ARRAY(&w->arena, 1, Onnx__AttributeProto *);
  function->attribute_proto[0] = test_attribute(&w->arena, NULL, "slope");
  function->attribute_proto[0]->has_f = true;
  function->attribute_proto[0]->f = 0.5f;
  function->n_attribute_proto = 1;
  function->opset_import = w->made.opsets;
  function->n_opset_import = 1;
  w->made.functions[w->made.model.n_functions++] = function;
  test_opset(&w->made, "d", 1);
}

static void a_function_takes_its_attributes_from_the_call(void **state) {
  (void)state;
  world w;
  begin(&w);
  test_input(&w.made, "x", F32, "4");
  add_function(&w);
  Onnx__NodeProto *plain = test_node(&w.made, "f", "plain", "x", "m");
  Onnx__NodeProto *steep = test_node(&w.made, "f", "steep", "m", "y");
  plain->domain = steep->domain = ibx_arena_text(&w.arena, "d", 1);
  Onnx__AttributeProto *slope = test_attribute(&w.arena, steep, "slope");
  slope->has_f = true;
  slope->f = 0.25f;
  test_output(&w.made, "y");
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.node_count, 2);
  assert_true(w.graph.nodes[0].params.alpha == 0.5f);
  assert_true(w.graph.nodes[1].params.alpha == 0.25f);
  assert_string_equal(source_name(&w, 1), "steep/inner");
  end(&w);
}

// --- the user's shapes -------------------------------------------------------

static void make_symbolic(world *w) {
  begin(w);
  test_input(&w->made, "x", F32, "batch 3 seq");
  test_node(&w->made, "Relu", "r", "x", "y");
  test_output(&w->made, "y");
}

static void dimensions_come_from_the_options(void **state) {
  (void)state;
  const ibx_dim_value dims[] = {{"batch", 2}, {"seq", 5}};
  world w;
  make_symbolic(&w);
  w.options = (ibx_frontend_options){
      .entry = "small", .dims = dims, .dim_count = IBX_COUNT_OF(dims)};
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_string_equal(w.graph.name, "small");
  const int64_t want[] = {2, 3, 5};
  assert_memory_equal(w.graph.inputs[0].type.dims, want, sizeof(want));
  assert_memory_equal(w.graph.outputs[0].type.dims, want, sizeof(want));
  end(&w);
}

static void every_open_dimension_is_told(void **state) {
  (void)state;
  world w;
  make_symbolic(&w);
  assert_int_equal(open_and_import(&w), IBX_UNSUPPORTED);
  assert_int_equal(w.sink.error_count, 2);
  assert_string_equal(w.sink.items[0].attribute, "batch");
  assert_non_null(strstr(w.sink.items[0].remedy, "--dim batch="));
  assert_string_equal(w.sink.items[1].attribute, "seq");
  end(&w);
}

static void an_option_that_names_nothing_is_wrong_usage(void **state) {
  (void)state;
  const ibx_dim_value dims[] = {{"batch", 2}, {"seq", 5}, {"time", 9}};
  world w;
  make_symbolic(&w);
  w.options =
      (ibx_frontend_options){.dims = dims, .dim_count = IBX_COUNT_OF(dims)};
  assert_int_equal(open_and_import(&w), IBX_INVALID_ARGUMENT);
  assert_non_null(strstr(w.err.message, "'time'"));
  end(&w);
}

static void a_shape_comes_from_the_options(void **state) {
  (void)state;
  const ibx_input_shape shape = {.name = "x", .shape = {7, 3, 2}, .rank = 3};
  world w;
  make_symbolic(&w);
  w.options =
      (ibx_frontend_options){.input_shapes = &shape, .input_shape_count = 1};
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.inputs[0].type.dims[0], 7);
  assert_int_equal(w.graph.inputs[0].type.dims[2], 2);
  end(&w);
}

static void state_joins_an_input_and_an_output(void **state) {
  (void)state;
  const ibx_dim_value dims[] = {{"batch", 2}, {"seq", 5}};
  const ibx_state_pair good = {"x", "y"}, bad = {"x", "z"};
  world w;
  make_symbolic(&w);
  w.options = (ibx_frontend_options){.dims = dims,
                                     .dim_count = IBX_COUNT_OF(dims),
                                     .states = &good,
                                     .state_count = 1};
  assert_int_equal(open_and_import(&w), IBX_OK);
  assert_int_equal(w.graph.inputs[0].state, 0);
  assert_int_equal(w.graph.outputs[0].state, 0);
  w.options.states = &bad;
  assert_int_equal(open_and_import(&w), IBX_INVALID_MODEL);
  end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(large_weights_stay_in_the_model),
      cmocka_unit_test(a_failed_import_leaves_no_weights),
      cmocka_unit_test(shape_arithmetic_vanishes),
      cmocka_unit_test(a_broadcast_constant_stays_small),
      cmocka_unit_test(what_no_output_needs_is_absent),
      cmocka_unit_test(nodes_may_stand_in_any_order),
      cmocka_unit_test(a_function_takes_its_attributes_from_the_call),
      cmocka_unit_test(dimensions_come_from_the_options),
      cmocka_unit_test(every_open_dimension_is_told),
      cmocka_unit_test(an_option_that_names_nothing_is_wrong_usage),
      cmocka_unit_test(a_shape_comes_from_the_options),
      cmocka_unit_test(state_joins_an_input_and_an_output),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
