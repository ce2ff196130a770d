// SPDX-License-Identifier: Apache-2.0
//
// Pooling on the machine against the reference kernels: random shapes, windows
// and paddings, executed on the simulator and proved.

#include "support/tile_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CASES = 40 };

typedef struct shape {
  ibx_type x;
  ibx_params params;
} shape;

static void spatial_dim(tile_world *w, shape *s, uint8_t i, int64_t most) {
  ibx_params *p = &s->params;
  int64_t kernel = tile_between(w, 1, 5);
  p->strides.at[i] = tile_between(w, 1, 3);
  p->dilations.at[i] = tile_below(w, 4) ? 1 : 2;
  int64_t reach = (kernel - 1) * p->dilations.at[i] + 1;
  p->kernel.at[i] = kernel;
  // Each window holds at least one element, so that no mean divides by 0.
  p->low.at[i] = tile_between(w, 0, kernel > 1 ? p->dilations.at[i] : 0);
  p->high.at[i] = tile_between(w, 0, kernel > 1 ? p->dilations.at[i] : 0);
  s->x.dims[i + 2] = reach + tile_between(w, 0, most);
}

static shape random_shape(tile_world *w, uint8_t rank, ibx_dtype dtype) {
  static const int64_t MOST[] = {0, 200, 20, 5};
  shape s = {.x = {.rank = (uint8_t)(rank + 2), .dtype = dtype}};
  s.x.dims[0] = tile_between(w, 1, 2);
  s.x.dims[1] = tile_between(w, 1, 200);
  s.params.exclude_pad = tile_below(w, 2);
  s.params.kernel.len = s.params.strides.len = s.params.dilations.len = rank;
  s.params.low.len = s.params.high.len = rank;
  for (uint8_t i = 0; i < rank; i++)
    spatial_dim(w, &s, i, MOST[rank]);
  return s;
}

static void make_global(shape *s) {
  for (uint8_t i = 0; i + 2 < s->x.rank; i++) {
    s->params.kernel.at[i] = s->x.dims[i + 2];
    s->params.strides.at[i] = s->params.dilations.at[i] = 1;
    s->params.low.at[i] = s->params.high.at[i] = 0;
  }
}

static void describe(tile_world *w, const shape *s, const char *what) {
  char *at = w->what, *end = w->what + sizeof(w->what);
  at += snprintf(at, (size_t)(end - at), "%s x", what);
  for (uint8_t d = 0; d < s->x.rank; d++) {
    at += snprintf(at, (size_t)(end - at), " %d", (int)s->x.dims[d]);
  }
  for (uint8_t d = 0; d < s->params.kernel.len; d++) {
    at += snprintf(at, (size_t)(end - at),
                   ", kernel %d stride %d dilation %d pad %d %d",
                   (int)s->params.kernel.at[d], (int)s->params.strides.at[d],
                   (int)s->params.dilations.at[d], (int)s->params.low.at[d],
                   (int)s->params.high.at[d]);
  }
}

// The pooling, and with a chain a relu behind it.
static bool agrees(tile_world *w, const shape *s, ibx_tensor_op op,
                   bool has_chain) {
  uint32_t x = tile_input(w, s->x);
  ibx_params none = {0};
  uint32_t pool = (uint32_t)w->graph.node_count;
  uint32_t y = tile_node(w, op, &s->params, x, IBX_NO_VALUE, 1);
  if (y == IBX_NO_VALUE) return true; // no output at all
  if (has_chain) {
    y = tile_node(w, IBX_TENSOR_relu, &none, y, IBX_NO_VALUE, 1);
    w->graph.nodes[pool].decided.group = pool + 1;
    w->graph.nodes[pool + 1].decided.group = pool + 1;
  }
  tile_output(w, y);
  // A mean is multiplied by a rounded reciprocal.
  return tile_agrees(w, s->x.dtype == IBX_DTYPE_F32 ? 1e-6f : 8e-3f);
}

static void run_cases(ibx_tensor_op op, bool is_global) {
  static const ibx_target TARGETS[] = {IBX_TARGET_ibx2, IBX_TARGET_ibx3,
                                       IBX_TARGET_ibx4};
  for (uint64_t seed = 1; seed <= CASES; seed++) {
    tile_world w;
    tile_world_init(&w, TARGETS[seed % 3], seed * 6007);
    uint8_t rank = seed % 6 == 0 ? 3 : seed % 5 == 0 ? 1 : 2;
    shape s = random_shape(&w, rank,
                           tile_below(&w, 2) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16);
    if (is_global) make_global(&s);
    describe(&w, &s, ibx_tensor_op_get(op)->name);
    assert_true(agrees(&w, &s, op, tile_below(&w, 2)));
    tile_world_fini(&w);
  }
}

static void largest_elements_agree(void **state) {
  (void)state;
  run_cases(IBX_TENSOR_max_pool, false);
}

static void means_agree(void **state) {
  (void)state;
  run_cases(IBX_TENSOR_avg_pool, false);
}

static void global_windows_agree(void **state) {
  (void)state;
  run_cases(IBX_TENSOR_max_pool, true);
  run_cases(IBX_TENSOR_avg_pool, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(largest_elements_agree),
      cmocka_unit_test(means_agree),
      cmocka_unit_test(global_windows_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
