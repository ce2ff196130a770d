// SPDX-License-Identifier: Apache-2.0
//
// Repeated operands under random views, functions and factors: whatever is
// shared, the product is the same; heads of keys as exporters repeat them are
// shared; what repeats as a whole is not.

#include "support/tile_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CHAINS = 400 };

static uint32_t viewed(tile_world *w, ibx_tensor_op op, uint32_t a,
                       ibx_ints shape) {
  return tile_node(w, op, &(ibx_params){.shape = shape}, a, IBX_NO_VALUE, 0);
}

static ibx_type type_of(const tile_world *w, uint32_t value) {
  return w->graph.values[value].type;
}

static ibx_ints extents(const ibx_type *type) {
  ibx_ints shape = {.len = type->rank};
  memcpy(shape.at, type->dims, sizeof shape.at);
  return shape;
}

// --- random chains ---

static uint32_t repeat_one(tile_world *w, uint32_t value) {
  ibx_type type = type_of(w, value);
  ibx_ints shape = extents(&type);
  uint8_t at = (uint8_t)tile_below(w, type.rank + 1u);
  memmove(&shape.at[at + 1], &shape.at[at],
          (type.rank - at) * sizeof *shape.at);
  shape.at[at] = 1;
  shape.len++;
  value = viewed(w, IBX_TENSOR_reshape, value, shape);
  shape.at[at] = tile_between(w, 2, 3);
  return viewed(w, IBX_TENSOR_broadcast, value, shape);
}

static uint32_t join_two(tile_world *w, uint32_t value) {
  ibx_type type = type_of(w, value);
  ibx_ints shape = extents(&type);
  if (type.rank < 3) return value;
  uint8_t at = (uint8_t)tile_below(w, type.rank - 1u);
  shape.at[at] *= shape.at[at + 1];
  shape.len--;
  for (uint8_t d = (uint8_t)(at + 1); d < shape.len; d++)
    shape.at[d] = type.dims[d + 1];
  return viewed(w, IBX_TENSOR_reshape, value, shape);
}

static uint32_t split_one(tile_world *w, uint32_t value) {
  ibx_type type = type_of(w, value);
  ibx_ints shape = extents(&type);
  uint8_t at = (uint8_t)tile_below(w, type.rank);
  int64_t by = tile_between(w, 1, 3);
  if (type.rank > 4 || type.dims[at] % by) return value;
  for (uint8_t d = at; d < type.rank; d++)
    shape.at[d + 1] = type.dims[d];
  shape.at[at] = type.dims[at] / by;
  shape.at[at + 1] = by;
  shape.len++;
  return viewed(w, IBX_TENSOR_reshape, value, shape);
}

static uint32_t turn(tile_world *w, uint32_t value) {
  ibx_type type = type_of(w, value);
  ibx_params params = {.perm = {.len = type.rank}};
  for (uint8_t d = 0; d < type.rank; d++)
    params.perm.at[d] = d;
  uint8_t a = (uint8_t)tile_below(w, type.rank);
  uint8_t b = (uint8_t)tile_below(w, type.rank);
  int64_t kept = params.perm.at[a];
  params.perm.at[a] = params.perm.at[b];
  params.perm.at[b] = kept;
  return tile_node(w, IBX_TENSOR_transpose, &params, value, IBX_NO_VALUE, 0);
}

static uint32_t scale(tile_world *w, uint32_t value) {
  ibx_type type = type_of(w, value);
  ibx_type one = {.rank = type.rank, .dtype = type.dtype};
  for (uint8_t d = 0; d < type.rank; d++)
    one.dims[d] = 1;
  uint32_t number =
      viewed(w, IBX_TENSOR_broadcast, tile_constant(w, one), extents(&type));
  return tile_node(w, IBX_TENSOR_mul, &(ibx_params){0}, number, value, 0);
}

static uint32_t step(tile_world *w, uint32_t value) {
  switch (tile_below(w, 6)) {
  case 0: return join_two(w, value);
  case 1: return split_one(w, value);
  case 2: return turn(w, value);
  case 3: return scale(w, value);
  case 4:
    return tile_node(w, IBX_TENSOR_neg, &(ibx_params){0}, value, IBX_NO_VALUE,
                     0);
  default: return value;
  }
}

// The product of random rows with the value, whose last two dimensions are the
// second operand.
static uint32_t multiply(tile_world *w, uint32_t value) {
  while (type_of(w, value).rank < 3)
    value = repeat_one(w, value);
  ibx_type rows = type_of(w, value);
  rows.dims[rows.rank - 1] = rows.dims[rows.rank - 2];
  rows.dims[rows.rank - 2] = tile_between(w, 1, 4);
  return tile_node(w, IBX_TENSOR_matmul, &(ibx_params){0},
                   tile_constant(w, rows), value, 0);
}

// --- the tests ---

static bool is_shared(const tile_world *w, const ibx_type *second) {
  for (size_t n = 0; n < w->graph.node_count; n++) {
    const ibx_node *node = &w->graph.nodes[n];
    int64_t before = 0, after = 0;
    if (node->op != IBX_TENSOR_matmul) continue;
    ibx_type_elements(second, &before);
    ibx_type_elements(&w->graph.values[node->operand[1]].type, &after);
    return after < before;
  }
  return false;
}

// Runs the pass on a graph whose output is a product; the elements are small
// multiples of 1/8, so that all is exact.
static bool shares(tile_world *w, uint32_t result) {
  const ibx_node *last = &w->graph.nodes[w->graph.values[result].node];
  ibx_type second = type_of(w, last->operand[1]);
  tile_output(w, result);
  void *before = NULL, *after = NULL;
  void *x = tile_random(w, &w->input.type);
  assert_int_equal(tile_reference(w, x, &before), IBX_OK);
  assert_int_equal(ibx_pass_opt_repeat(&w->ctx, &w->graph), IBX_OK);
  w->input = w->graph.inputs[0];
  w->output = w->graph.outputs[0];
  assert_int_equal(tile_reference(w, x, &after), IBX_OK);
  int64_t count = 0;
  ibx_type_elements(&w->output.type, &count);
  for (int64_t i = 0; i < count; i++) {
    if (((float *)before)[i] != ((float *)after)[i]) {
      fail_msg("%s: element %lld", w->what, (long long)i);
    }
  }
  return is_shared(w, &second);
}

static void products_stay_the_same(void **state) {
  (void)state;
  size_t shared = 0;
  for (uint64_t seed = 1; seed <= CHAINS; seed++) {
    tile_world w;
    tile_world_init(&w, IBX_TARGET_ibx3, seed * 2654435761u);
    snprintf(w.what, sizeof w.what, "seed %llu", (unsigned long long)seed);
    ibx_type type = {.dims = {2, 6, 4}, .rank = 3, .dtype = IBX_DTYPE_F32};
    uint32_t value = repeat_one(&w, tile_input(&w, type));
    for (uint32_t steps = tile_below(&w, 7); steps > 0; steps--)
      value = step(&w, value);
    shared += shares(&w, multiply(&w, value));
    tile_world_fini(&w);
  }
  assert_in_range(shared, CHAINS / 10, CHAINS * 9 / 10);
}

// [1, 2, 5, 4] to eight heads; `whole` repeats both heads after each other.
static bool shares_heads(bool whole, int64_t rows) {
  tile_world w;
  tile_world_init(&w, IBX_TARGET_ibx3, 1);
  ibx_type type = {.dims = {1, 2, 5, 4}, .rank = 4, .dtype = IBX_DTYPE_F32};
  uint32_t value = tile_input(&w, type);
  ibx_ints one =
      whole ? (ibx_ints){{1, 1, 2, 5, 4}, 5} : (ibx_ints){{1, 2, 1, 5, 4}, 5};
  ibx_ints four = one, heads = {{1, 8, 5, 4}, 4};
  four.at[whole ? 1 : 2] = 4;
  value = viewed(&w, IBX_TENSOR_reshape, value, one);
  value = viewed(&w, IBX_TENSOR_broadcast, value, four);
  value = viewed(&w, IBX_TENSOR_reshape, value, heads);
  ibx_type queries = {
      .dims = {1, 8, rows, 5}, .rank = 4, .dtype = IBX_DTYPE_F32};
  uint32_t result = tile_node(&w, IBX_TENSOR_matmul, &(ibx_params){0},
                              tile_constant(&w, queries), value, 0);
  bool shared = shares(&w, result);
  tile_world_fini(&w);
  return shared;
}

static void heads_are_shared_where_a_group_fits_in_a_tile(void **state) {
  (void)state;
  assert_true(shares_heads(false, 1));
  assert_true(shares_heads(false, 32));
  assert_false(shares_heads(false, 33));
  assert_false(shares_heads(true, 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_stay_the_same),
      cmocka_unit_test(heads_are_shared_where_a_group_fits_in_a_tile),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
