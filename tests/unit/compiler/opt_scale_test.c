// SPDX-License-Identifier: Apache-2.0
//
// Factors of channels fold into weights: the same results without the product,
// and no folding where somebody else reads the convolution.

#include "support/tile_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct pattern {
  ibx_tensor_op op;
  int64_t groups;
  int64_t factor[4]; ///< shape of the factors
  bool is_shared;    ///< the convolution has a second reader
  bool folds;
} pattern;

static size_t count_op(const ibx_graph *graph, ibx_tensor_op op) {
  size_t count = 0;
  for (size_t i = 0; i < graph->node_count; i++) {
    count += graph->nodes[i].op == op;
  }
  return count;
}

// x [2, 8, 5, 6]; result [2, 12, ...] * factors.
static void build(tile_world *w, const pattern *p) {
  bool is_transposed = p->op == IBX_TENSOR_conv_transpose;
  ibx_type x_type = {.dims = {2, 8, 5, 6}, .rank = 4, .dtype = IBX_DTYPE_F32};
  ibx_type w_type = {
      .dims = {12, 8 / p->groups, 3, 2}, .rank = 4, .dtype = IBX_DTYPE_F32};
  if (is_transposed) {
    w_type.dims[0] = 8;
    w_type.dims[1] = 12 / p->groups;
  }
  ibx_params params = {.groups = p->groups,
                       .strides = {{1, 1}, 2},
                       .dilations = {{1, 1}, 2},
                       .low = {{0, 0}, 2},
                       .high = {{0, 0}, 2},
                       .shape = {{2, 12, 7, 7}, 4}};
  ibx_params none = {0}, wide = {.shape = {.len = 4}};
  ibx_type f_type = {.rank = 4, .dtype = IBX_DTYPE_F32};
  memcpy(f_type.dims, p->factor, sizeof(p->factor));
  uint32_t x = tile_input(w, x_type);
  uint32_t conv = tile_node(w, p->op, &params, x, tile_constant(w, w_type), 1);
  memcpy(wide.shape.at, w->graph.values[conv].type.dims, sizeof(wide.shape.at));
  uint32_t factors = tile_constant(w, f_type);
  factors = tile_node(w, IBX_TENSOR_broadcast, &wide, factors, IBX_NO_VALUE, 1);
  uint32_t y = tile_node(w, IBX_TENSOR_mul, &none, factors, conv, 1);
  if (p->is_shared) y = tile_node(w, IBX_TENSOR_add, &none, y, conv, 1);
  tile_output(w, y);
}

static void results_stay_the_same(void **state) {
  (void)state;
  static const pattern PATTERNS[] = {
      {IBX_TENSOR_conv, 1, {1, 12, 1, 1}, false, true},
      {IBX_TENSOR_conv, 4, {1, 12, 1, 1}, false, true},
      {IBX_TENSOR_conv, 1, {1, 1, 1, 1}, false, true},
      {IBX_TENSOR_conv_transpose, 1, {1, 12, 1, 1}, false, true},
      {IBX_TENSOR_conv_transpose, 4, {1, 12, 1, 1}, false, true},
      {IBX_TENSOR_conv, 1, {1, 12, 1, 1}, true, false},
      {IBX_TENSOR_conv, 1, {1, 1, 1, 5}, false, false},
      {IBX_TENSOR_conv, 1, {2, 1, 1, 1}, false, false},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(PATTERNS); i++) {
    tile_world w;
    tile_world_init(&w, IBX_TARGET_ibx3, i + 1);
    build(&w, &PATTERNS[i]);
    void *before = NULL, *after = NULL;
    void *x = tile_random(&w, &w.input.type);
    assert_int_equal(tile_reference(&w, x, &before), IBX_OK);
    assert_int_equal(ibx_pass_opt_scale(&w.ctx, &w.graph), IBX_OK);
    w.input = w.graph.inputs[0];
    w.output = w.graph.outputs[0];
    assert_int_equal(count_op(&w.graph, IBX_TENSOR_mul),
                     PATTERNS[i].folds ? 0 : 1);
    assert_int_equal(count_op(&w.graph, PATTERNS[i].op), 1);
    assert_int_equal(tile_reference(&w, x, &after), IBX_OK);
    // The random elements are small multiples of 1/8: every product is exact,
    // but for the sign of zeros.
    int64_t count = 0;
    ibx_type_elements(&w.output.type, &count);
    for (int64_t k = 0; k < count; k++) {
      assert_true(((float *)before)[k] == ((float *)after)[k]);
    }
    tile_world_fini(&w);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(results_stay_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
