// SPDX-License-Identifier: Apache-2.0
//
// Spilling: a chain of tensors that are all wanted again at its end, in reverse
// order, needs more of SBUF than there is. It must compile, prove, stay within
// SBUF, compute the right numbers, and use HBM only where it has to.

#include "support/graph_run.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { MOST_ELEMENTS = 1 << 20 };

static uint32_t node(graph_run *run, ibx_tensor_op op, const ibx_params *params,
                     const uint32_t *operands, size_t count) {
  uint32_t result =
      graph_run_node(run, op, params, operands, count, MOST_ELEMENTS);
  assert_int_not_equal(result, IBX_NO_VALUE);
  return result;
}

static uint32_t unary(graph_run *run, ibx_tensor_op op, uint32_t value) {
  ibx_params params = {0};
  return node(run, op, &params, &value, 1);
}

// y = tanh(... tanh(x_n + x_n) ... + x_1) with x_k = tanh(x_(k - 1)).
static void build(graph_run *run, size_t count) {
  ibx_type type = {.dims = {1, 128, 80, 80}, .rank = 4, .dtype = IBX_DTYPE_F32};
  uint32_t kept[16];
  uint32_t value = graph_run_input(run, type, 0, 0);
  for (size_t i = 0; i < count; i++) {
    value = unary(run, IBX_TENSOR_tanh, value);
    kept[i] = value;
  }
  for (size_t i = count; i > 0; i--) {
    ibx_params params = {0};
    uint32_t operands[] = {value, kept[i - 1]};
    value = node(run, IBX_TENSOR_add, &params, operands, 2);
    value = unary(run, IBX_TENSOR_tanh, value);
  }
  assert_true(graph_run_output(run, value));
}

static uint32_t shaped(graph_run *run, ibx_tensor_op op, ibx_ints shape,
                       uint32_t value) {
  ibx_params params = {.shape = shape};
  return node(run, op, &params, &value, 1);
}

// The same between a product on one partition and another one, which wants each
// matrix of it three times over, as grouped queries do.
static void build_repeated(graph_run *run, size_t count) {
  ibx_type x = {.dims = {390, 32}, .rank = 2, .dtype = IBX_DTYPE_F32};
  ibx_type w = {.dims = {32, 32}, .rank = 2, .dtype = IBX_DTYPE_F32};
  ibx_type p = {.dims = {3, 3, 130, 130}, .rank = 4, .dtype = IBX_DTYPE_F32};
  ibx_params none = {0};
  uint32_t factors[2], operands[] = {graph_run_input(run, x, 0, 0),
                                     graph_run_input(run, w, 0, 0)};
  uint32_t value = node(run, IBX_TENSOR_matmul, &none, operands, 2);
  value = shaped(run, IBX_TENSOR_reshape,
                 (ibx_ints){.at = {3, 1, 1, 130, 32}, .len = 5}, value);
  value = shaped(run, IBX_TENSOR_broadcast,
                 (ibx_ints){.at = {3, 1, 3, 130, 32}, .len = 5}, value);
  value = shaped(run, IBX_TENSOR_reshape,
                 (ibx_ints){.at = {3, 3, 130, 32}, .len = 4}, value);
  build(run, count);
  factors[0] = graph_run_input(run, p, 0, 0);
  factors[1] = value;
  value = node(run, IBX_TENSOR_matmul, &none, factors, 2);
  assert_true(graph_run_output(run, value));
}

static size_t scratch_in_hbm(const graph_run *run) {
  size_t count = 0;
  for (size_t b = 0; b < run->entry.buffer_count; b++) {
    const ibx_buffer_decl *buffer = &run->entry.buffers[b];
    count += buffer->kind == IBX_BUFFER_SCRATCH &&
             buffer->place.space == IBX_SPACE_HBM;
  }
  return count;
}

typedef void (*build_fn)(graph_run *run, size_t count);

static void check(build_fn build_graph, size_t count, bool expect_spill) {
  graph_run run;
  ibx_tensor outputs[GRAPH_RUN_PORTS] = {0};
  ibx_ir *ir = ibx_ir_create();
  graph_run_init(&run, IBX_TARGET_ibx3, 7);
  build_graph(&run, count);
  if (graph_run_compile(&run, ir) != IBX_OK) {
    fail_msg("%s: %s", run.step, run.err.message);
  }
  assert_int_equal(scratch_in_hbm(&run) > 0, expect_spill);
  if (graph_run_execute(&run, IBX_SIM_ORDER_PROGRAM, 0, outputs) != IBX_OK) {
    fail_msg("%s: %s", run.step, run.err.message);
  }
  graph_run_error error = graph_run_compare(&run, outputs);
  assert_true(error.range < 1e-4);
  graph_run_fini(&run);
  ibx_ir_destroy(ir);
}

static void what_fits_stays_on_chip(void **state) {
  (void)state;
  check(build, 4, false);
}

static void what_does_not_fit_leaves_and_comes_back(void **state) {
  (void)state;
  check(build, 12, true);
}

static void what_repeats_comes_back_once(void **state) {
  (void)state;
  check(build_repeated, 6, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_fits_stays_on_chip),
      cmocka_unit_test(what_does_not_fit_leaves_and_comes_back),
      cmocka_unit_test(what_repeats_comes_back_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
