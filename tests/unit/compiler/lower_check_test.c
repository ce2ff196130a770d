// SPDX-License-Identifier: Apache-2.0
//
// What the engines cannot compute is refused with the node, the dtype and what
// to do instead; what only moves is not.

#include "support/graph_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

// Compiles one node of two square operands; returns its status.
static ibx_status compile(graph_run *run, ibx_tensor_op op, ibx_dtype dtype,
                          const ibx_params *params) {
  ibx_type type = {.dims = {4, 4}, .rank = 2, .dtype = dtype};
  uint32_t operands[2];
  graph_run_init(run, IBX_TARGET_ibx3, 3);
  operands[0] = graph_run_input(run, type, 1, 3);
  operands[1] = graph_run_input(run, type, 1, 3);
  uint32_t value = graph_run_node(run, op, params, operands,
                                  ibx_tensor_op_get(op)->least, 1000);
  assert_int_not_equal(value, IBX_NO_VALUE);
  assert_true(graph_run_output(run, value));
  ibx_ir *ir = ibx_ir_create();
  ibx_status status = graph_run_compile(run, ir);
  ibx_ir_destroy(ir);
  return status;
}

static void what_no_engine_computes_is_refused(void **state) {
  (void)state;
  static graph_run run;
  static const struct {
    ibx_tensor_op op;
    ibx_dtype dtype;
    const char *remedy;
  } CASES[] = {
      {IBX_TENSOR_neg, IBX_DTYPE_U8, "put Cast to int32"},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(CASES); i++) {
    ibx_status status =
        compile(&run, CASES[i].op, CASES[i].dtype, &(ibx_params){0});
    assert_int_equal(status, IBX_UNSUPPORTED);
    assert_non_null(strstr(run.err.message, "node n0 ("));
    assert_non_null(strstr(run.err.message, CASES[i].remedy));
    graph_run_fini(&run);
  }
}

static void what_engines_compute_is_right(void **state) {
  (void)state;
  static graph_run run;
  static const struct {
    ibx_tensor_op op;
    ibx_dtype dtype;
  } CASES[] = {
      {IBX_TENSOR_add, IBX_DTYPE_I64},      {IBX_TENSOR_mul, IBX_DTYPE_I32},
      {IBX_TENSOR_add, IBX_DTYPE_F16},      {IBX_TENSOR_max, IBX_DTYPE_U8},
      {IBX_TENSOR_less, IBX_DTYPE_I8},      {IBX_TENSOR_sub, IBX_DTYPE_I16},
      {IBX_TENSOR_transpose, IBX_DTYPE_U8}, {IBX_TENSOR_matmul, IBX_DTYPE_I8},
      {IBX_TENSOR_mul, IBX_DTYPE_U8},       {IBX_TENSOR_mul, IBX_DTYPE_I8},
      {IBX_TENSOR_matmul, IBX_DTYPE_I64},   {IBX_TENSOR_neg, IBX_DTYPE_U32},
  };
  ibx_params params = {.perm = {.at = {1, 0}, .len = 2}};
  for (size_t i = 0; i < IBX_COUNT_OF(CASES); i++) {
    ibx_tensor outputs[GRAPH_RUN_PORTS];
    assert_int_equal(compile(&run, CASES[i].op, CASES[i].dtype, &params),
                     IBX_OK);
    assert_int_equal(graph_run_execute(&run, IBX_SIM_ORDER_PROGRAM, 1, outputs),
                     IBX_OK);
    assert_true(graph_run_compare(&run, outputs).range < 1e-3);
    graph_run_fini(&run);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_no_engine_computes_is_refused),
      cmocka_unit_test(what_engines_compute_is_right),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
