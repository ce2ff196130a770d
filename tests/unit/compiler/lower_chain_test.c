// SPDX-License-Identifier: Apache-2.0
//
// Chains whose other operand is cut elsewhere than the result: a small image,
// each row and column of which stands for two, is a view of the small one, and
// no slice of it begins in the middle of a pair.

#include "support/graph_run.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST_ELEMENTS = 1 << 20, CHANNELS = 96 };

static uint32_t view(graph_run *run, ibx_tensor_op op, uint32_t value,
                     ibx_ints shape) {
  ibx_params params = {.shape = shape};
  uint32_t result = graph_run_node(run, op, &params, &value, 1, MOST_ELEMENTS);
  assert_int_not_equal(result, IBX_NO_VALUE);
  return result;
}

// [1, C, h, w] as [1, C, 2h, 2w].
static uint32_t twice(graph_run *run, uint32_t x, int64_t h, int64_t w) {
  ibx_ints apart = {.at = {1, CHANNELS, h, 1, w, 1}, .len = 6};
  ibx_ints pairs = {.at = {1, CHANNELS, h, 2, w, 2}, .len = 6};
  ibx_ints whole = {.at = {1, CHANNELS, 2 * h, 2 * w}, .len = 4};
  uint32_t value = view(run, IBX_TENSOR_reshape, x, apart);
  value = view(run, IBX_TENSOR_broadcast, value, pairs);
  return view(run, IBX_TENSOR_reshape, value, whole);
}

static uint32_t conv(graph_run *run, uint32_t x) {
  ibx_type type = {
      .dims = {CHANNELS, CHANNELS, 1, 1}, .rank = 4, .dtype = IBX_DTYPE_F32};
  ibx_ints ones = {.at = {1, 1}, .len = 2}, zeros = {.len = 2};
  ibx_params params = {.strides = ones,
                       .dilations = ones,
                       .low = zeros,
                       .high = zeros,
                       .groups = 1};
  uint32_t w =
      graph_run_constant(run, type, graph_run_random(run, &type, 0, 0));
  uint32_t operands[] = {x, w};
  uint32_t result =
      graph_run_node(run, IBX_TENSOR_conv, &params, operands, 2, MOST_ELEMENTS);
  assert_int_not_equal(result, IBX_NO_VALUE);
  return result;
}

// y = f(x) + twice(small), and tanh, so that the chain has more than one part.
static void check(int64_t h, int64_t w, bool has_conv) {
  graph_run run;
  ibx_ir *ir = ibx_ir_create();
  ibx_tensor outputs[GRAPH_RUN_PORTS] = {0};
  ibx_type small = {
      .dims = {1, CHANNELS, h, w}, .rank = 4, .dtype = IBX_DTYPE_F32};
  ibx_type large = {
      .dims = {1, CHANNELS, 2 * h, 2 * w}, .rank = 4, .dtype = IBX_DTYPE_F32};
  graph_run_init(&run, IBX_TARGET_ibx3, 11);
  ibx_params none = {0};
  uint32_t a = graph_run_node(&run, IBX_TENSOR_tanh, &none,
                              (uint32_t[]){graph_run_input(&run, small, 0, 0)},
                              1, MOST_ELEMENTS);
  uint32_t b = graph_run_input(&run, large, 0, 0);
  b = has_conv
          ? conv(&run, b)
          : graph_run_node(&run, IBX_TENSOR_tanh, &none, &b, 1, MOST_ELEMENTS);
  uint32_t operands[] = {b, twice(&run, a, h, w)};
  uint32_t y =
      graph_run_node(&run, IBX_TENSOR_mul, &none, operands, 2, MOST_ELEMENTS);
  y = graph_run_node(&run, IBX_TENSOR_tanh, &none, &y, 1, MOST_ELEMENTS);
  y = graph_run_node(&run, IBX_TENSOR_add, &none, (uint32_t[]){y, b}, 2,
                     MOST_ELEMENTS);
  assert_true(graph_run_output(&run, y));
  if (graph_run_compile(&run, ir) != IBX_OK) {
    fail_msg("%s: %s", run.step, run.err.message);
  }
  assert_int_equal(graph_run_execute(&run, IBX_SIM_ORDER_PROGRAM, 1, outputs),
                   IBX_OK);
  graph_run_error error = graph_run_compare(&run, outputs);
  if (error.range > 1e-5) fail_msg("%d x %d: %g", (int)h, (int)w, error.range);
  graph_run_fini(&run);
  ibx_ir_destroy(ir);
}

static void slices_begin_where_all_operands_may(void **state) {
  (void)state;
  check(20, 40, false); // 25 rows of 80 would fill a slice
  check(31, 33, false);
  check(3, 300, false); // less than two rows would
}

static void tiles_of_an_anchor_begin_anywhere(void **state) {
  (void)state;
  check(20, 40, true);
  check(9, 37, true);
}

// Whether an instruction of the program computes that function.
static bool has_act(const graph_run *run, uint8_t act) {
  const ibx_tile_func *func = &run->unit.tiles;
  for (size_t i = 0; i < func->op_count; i++) {
    const ibx_insn insn = ibx_tile_at(func, i).insn;
    if (insn.opcode == IBX_OP_activation && insn.op[0] == act) return true;
  }
  return false;
}

// gelu_tanh(f(x)); tells whether GELU's own table is loaded for it.
static bool loads_gelu(ibx_tensor_op f, int64_t columns) {
  graph_run run;
  ibx_ir *ir = ibx_ir_create();
  ibx_tensor outputs[GRAPH_RUN_PORTS] = {0};
  ibx_params none = {0};
  ibx_type type = {.dims = {128, columns}, .rank = 2, .dtype = IBX_DTYPE_F32};
  graph_run_init(&run, IBX_TARGET_ibx3, 5);
  uint32_t x = graph_run_input(&run, type, 0, 0);
  x = graph_run_node(&run, f, &none, &x, 1, MOST_ELEMENTS);
  x = graph_run_node(&run, IBX_TENSOR_gelu_tanh, &none, &x, 1, MOST_ELEMENTS);
  assert_true(graph_run_output(&run, x));
  assert_int_equal(graph_run_compile(&run, ir), IBX_OK);
  assert_int_equal(graph_run_execute(&run, IBX_SIM_ORDER_PROGRAM, 1, outputs),
                   IBX_OK);
  assert_true(graph_run_compare(&run, outputs).range < 1e-5);
  bool loads = has_act(&run, IBX_ACT_GELU_TANH);
  assert_true(loads != has_act(&run, IBX_ACT_SIGMOID));
  graph_run_fini(&run);
  ibx_ir_destroy(ir);
  return loads;
}

static void small_gelus_use_the_table_of_exponentials(void **state) {
  (void)state;
  assert_false(loads_gelu(IBX_TENSOR_tanh, 16));
  assert_true(loads_gelu(IBX_TENSOR_erf, 16)); // of GELU's table itself
  assert_true(loads_gelu(IBX_TENSOR_tanh, 1200));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slices_begin_where_all_operands_may),
      cmocka_unit_test(tiles_of_an_anchor_begin_anywhere),
      cmocka_unit_test(small_gelus_use_the_table_of_exponentials),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
