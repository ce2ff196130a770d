// SPDX-License-Identifier: Apache-2.0
//
// Operations whose own operands and result exceed SBUF, one case for each way in
// which they are cut. Tensors have few channels, so that a partition holds much
// of little. Each must compile, prove, and compute what the reference kernels do.

#include "support/graph_run.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { MOST_ELEMENTS = 1 << 22 };

typedef uint32_t (*build_fn)(graph_run *run);

static ibx_type f32(size_t rank, const int64_t *dims) {
  ibx_type type = {.rank = (uint8_t)rank, .dtype = IBX_DTYPE_F32};
  for (size_t d = 0; d < rank; d++)
    type.dims[d] = dims[d];
  return type;
}
#define F32(...)                                                               \
  f32(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                      \
      (int64_t[]){__VA_ARGS__})
#define INTS(...)                                                              \
  {.at = {__VA_ARGS__},                                                        \
   .len = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)}

static uint32_t input(graph_run *run, ibx_type type) {
  return graph_run_input(run, type, 0, 0);
}

static uint32_t constant(graph_run *run, ibx_type type) {
  return graph_run_constant(run, type, graph_run_random(run, &type, 0, 0));
}

static uint32_t add(graph_run *run, ibx_tensor_op op, ibx_params params,
                    uint32_t a, uint32_t b) {
  uint32_t operands[] = {a, b};
  uint32_t value = graph_run_node(run, op, &params, operands,
                                  b == IBX_NO_VALUE ? 1 : 2, MOST_ELEMENTS);
  assert_int_not_equal(value, IBX_NO_VALUE);
  return value;
}

static uint32_t one(graph_run *run, ibx_tensor_op op, uint32_t a) {
  return add(run, op, (ibx_params){0}, a, IBX_NO_VALUE);
}

// ---- Windows

static uint32_t conv(graph_run *run) {
  ibx_params params = {.strides = INTS(1, 1),
                       .low = INTS(1, 1),
                       .high = INTS(1, 1),
                       .dilations = INTS(1, 1),
                       .groups = 1};
  uint32_t x = input(run, F32(1, 4, 180, 181));
  x = add(run, IBX_TENSOR_conv, params, x, constant(run, F32(6, 4, 3, 3)));
  return one(run, IBX_TENSOR_relu, x);
}

static uint32_t conv_with_steps(graph_run *run) {
  ibx_params params = {.strides = INTS(2, 1),
                       .low = INTS(4, 0),
                       .high = INTS(3, 2),
                       .dilations = INTS(3, 2),
                       .groups = 2};
  uint32_t x = input(run, F32(1, 4, 301, 180));
  return add(run, IBX_TENSOR_conv, params, x, constant(run, F32(4, 2, 3, 3)));
}

static uint32_t conv_of_one_dimension(graph_run *run) {
  ibx_params params = {.strides = INTS(1),
                       .low = INTS(2),
                       .high = INTS(2),
                       .dilations = INTS(1),
                       .groups = 1};
  uint32_t x = input(run, F32(1, 3, 50000));
  return add(run, IBX_TENSOR_conv, params, x, constant(run, F32(2, 3, 5)));
}

static uint32_t conv_transpose(graph_run *run) {
  ibx_params params = {.strides = INTS(2, 3),
                       .low = INTS(1, 0),
                       .high = INTS(0, 0),
                       .dilations = INTS(1, 1),
                       .groups = 1,
                       .shape = INTS(1, 3, 201, 300)};
  uint32_t x = input(run, F32(1, 3, 100, 100));
  return add(run, IBX_TENSOR_conv_transpose, params, x,
             constant(run, F32(3, 3, 4, 2)));
}

static uint32_t pools(graph_run *run) {
  ibx_params params = {.strides = INTS(1, 1),
                       .low = INTS(1, 1),
                       .high = INTS(1, 1),
                       .dilations = INTS(1, 1),
                       .kernel = INTS(3, 3)};
  uint32_t x = input(run, F32(1, 3, 200, 200));
  x = add(run, IBX_TENSOR_max_pool, params, x, IBX_NO_VALUE);
  params.exclude_pad = 1;
  return add(run, IBX_TENSOR_avg_pool, params, x, IBX_NO_VALUE);
}

// The window's steps and taps share a factor: a slice of the image is pooled.
static uint32_t pool_of_far_taps(graph_run *run) {
  ibx_params params = {.strides = INTS(10, 4),
                       .low = INTS(7, 3),
                       .high = INTS(9, 2),
                       .dilations = INTS(10, 6),
                       .kernel = INTS(20, 5)};
  uint32_t x = input(run, F32(1, 1, 400, 300));
  return add(run, IBX_TENSOR_max_pool, params, x, IBX_NO_VALUE);
}

static uint32_t pad(graph_run *run) {
  ibx_params params = {
      .low = INTS(0, 1, 3, 2), .high = INTS(0, 0, 4, 1), .value = 0.5f};
  uint32_t x = input(run, F32(1, 3, 200, 200));
  return add(run, IBX_TENSOR_pad, params, x, IBX_NO_VALUE);
}

// ---- Rows

static uint32_t softmax_of_many_rows(graph_run *run) {
  uint32_t x = input(run, F32(1, 5, 180, 200));
  return add(run, IBX_TENSOR_softmax, (ibx_params){.axis = 1}, x, IBX_NO_VALUE);
}

static uint32_t softmax_of_long_rows(graph_run *run) {
  uint32_t x = input(run, F32(2, 70000));
  return add(run, IBX_TENSOR_softmax, (ibx_params){.axis = 1}, x, IBX_NO_VALUE);
}

static uint32_t norms_of_long_rows(graph_run *run) {
  ibx_params params = {.axis = 1, .epsilon = 1e-5f};
  uint32_t x = input(run, F32(2, 300, 250));
  x = add(run, IBX_TENSOR_layer_norm, params, x, IBX_NO_VALUE);
  return add(run, IBX_TENSOR_rms_norm, params, x, IBX_NO_VALUE);
}

static uint32_t mean_of_everything(graph_run *run) {
  ibx_params params = {.axes = INTS(2, 3), .keepdims = 1};
  uint32_t x = input(run, F32(1, 3, 300, 300));
  return add(run, IBX_TENSOR_reduce_mean, params, x, IBX_NO_VALUE);
}

static uint32_t largest_without_dims(graph_run *run) {
  ibx_params params = {.axes = INTS(1, 3), .keepdims = 0};
  uint32_t x = input(run, F32(2, 60, 50, 70));
  return add(run, IBX_TENSOR_reduce_max, params, x, IBX_NO_VALUE);
}

// ---- Products

static uint32_t product_of_many_rows(graph_run *run) {
  uint32_t x = input(run, F32(1, 60000, 16));
  return add(run, IBX_TENSOR_matmul, (ibx_params){0}, x,
             constant(run, F32(1, 16, 5)));
}

static uint32_t product_of_many_columns(graph_run *run) {
  uint32_t x = input(run, F32(1, 16, 60001));
  uint32_t w = constant(run, F32(1, 5, 16));
  return add(run, IBX_TENSOR_matmul, (ibx_params){0}, w, x);
}

// ---- Moving

static uint32_t product_of_long_rows(graph_run *run) {
  uint32_t x = input(run, F32(3, 70000));
  x = add(run, IBX_TENSOR_matmul, (ibx_params){0}, one(run, IBX_TENSOR_relu, x),
          constant(run, F32(70000, 5)));
  return one(run, IBX_TENSOR_relu, x);
}

static uint32_t concatenation(graph_run *run) {
  uint32_t x = input(run, F32(1, 3, 180, 200));
  uint32_t y = one(run, IBX_TENSOR_tanh, x);
  uint32_t both = add(run, IBX_TENSOR_concat, (ibx_params){.axis = 1}, x, y);
  return one(run, IBX_TENSOR_relu, both);
}

static uint32_t selection(graph_run *run) {
  uint32_t x = input(run, F32(1, 3, 200, 200));
  uint32_t y = one(run, IBX_TENSOR_tanh, x);
  uint32_t operands[] = {add(run, IBX_TENSOR_less, (ibx_params){0}, x, y), x,
                         y};
  return graph_run_node(run, IBX_TENSOR_select, &(ibx_params){0}, operands, 3,
                        MOST_ELEMENTS);
}

// Through HBM in another order, and with elements that repeat.
static uint32_t permutation(graph_run *run) {
  uint32_t x = one(run, IBX_TENSOR_tanh, input(run, F32(1, 20, 150, 150)));
  ibx_params perm = {.perm = INTS(0, 3, 1, 2)};
  return one(run, IBX_TENSOR_relu,
             add(run, IBX_TENSOR_transpose, perm, x, IBX_NO_VALUE));
}

static uint32_t doubling(graph_run *run) {
  uint32_t x = input(run, F32(16, 100, 1, 100, 1));
  ibx_params twice = {.shape = INTS(16, 100, 2, 100, 2)};
  x = add(run, IBX_TENSOR_broadcast, twice, x, IBX_NO_VALUE);
  ibx_params flat = {.shape = INTS(1, 16, 200, 200)};
  return add(run, IBX_TENSOR_reshape, flat, x, IBX_NO_VALUE);
}

// ---- Chains

// Bands of heads go through both products; what they hold of each other is never
// whole.
static uint32_t attention(graph_run *run) {
  ibx_params last = {.axis = 3}, split = {.shape = INTS(1, 16, 8, 4000)};
  ibx_params swap = {.perm = INTS(0, 2, 1)},
             join = {.shape = INTS(16, 8, 4000)};
  uint32_t q = input(run, F32(16, 8, 12)), k = input(run, F32(16, 4000, 12));
  uint32_t v = input(run, F32(16, 4000, 10)), mask = input(run, F32(8, 4000));
  ibx_params every = {.shape = INTS(1, 16, 8, 4000)};
  k = add(run, IBX_TENSOR_transpose, swap, k, IBX_NO_VALUE);
  uint32_t x = add(run, IBX_TENSOR_matmul, (ibx_params){0}, q, k);
  ibx_params one_more = {.shape = INTS(1, 1, 8, 4000)};
  mask = add(run, IBX_TENSOR_reshape, one_more, mask, IBX_NO_VALUE);
  mask = add(run, IBX_TENSOR_broadcast, every, mask, IBX_NO_VALUE);
  x = add(run, IBX_TENSOR_reshape, split, x, IBX_NO_VALUE);
  x = add(run, IBX_TENSOR_add, (ibx_params){0}, x, mask);
  x = add(run, IBX_TENSOR_softmax, last, x, IBX_NO_VALUE);
  x = add(run, IBX_TENSOR_reshape, join, x, IBX_NO_VALUE);
  return add(run, IBX_TENSOR_matmul, (ibx_params){0}, x, v);
}

// Rows of a product that become two dimensions: bands end where both can.
static uint32_t product_in_another_shape(graph_run *run) {
  ibx_params apart = {.shape = INTS(40, 30, 8, 90)};
  ibx_params swap = {.perm = INTS(0, 2, 1, 3)}, sum = {.axes = INTS(3)};
  uint32_t x = input(run, F32(9600, 6));
  x = add(run, IBX_TENSOR_matmul, (ibx_params){0}, x,
          constant(run, F32(6, 90)));
  x = add(run, IBX_TENSOR_reshape, apart, x, IBX_NO_VALUE);
  x = add(run, IBX_TENSOR_transpose, swap, x, IBX_NO_VALUE);
  x = one(run, IBX_TENSOR_relu, x);
  return add(run, IBX_TENSOR_reduce_max, sum, x, IBX_NO_VALUE);
}

// ---- Running them

static void check(build_fn build, ibx_target target) {
  graph_run run;
  ibx_tensor outputs[GRAPH_RUN_PORTS] = {0};
  ibx_ir *ir = ibx_ir_create();
  graph_run_init(&run, target, 11);
  assert_true(graph_run_output(&run, build(&run)));
  if (graph_run_compile(&run, ir) != IBX_OK)
    fail_msg("%s: %s", run.step, run.err.message);
  if (graph_run_execute(&run, IBX_SIM_ORDER_RANDOM, 5, outputs) != IBX_OK)
    fail_msg("%s: %s", run.step, run.err.message);
  graph_run_error error = graph_run_compare(&run, outputs);
  if (!(error.range < 1e-4)) {
    fail_msg("off by %g of the range, at element %lld", error.range,
             (long long)error.element);
  }
  graph_run_fini(&run);
  ibx_ir_destroy(ir);
}

// Nothing but inputs and outputs lies in HBM.
static void keeps_out_of_hbm(void **state) {
  (void)state;
  graph_run run;
  ibx_ir *ir = ibx_ir_create();
  graph_run_init(&run, IBX_TARGET_ibx3, 12);
  assert_true(graph_run_output(&run, attention(&run)));
  if (graph_run_compile(&run, ir) != IBX_OK)
    fail_msg("%s: %s", run.step, run.err.message);
  for (size_t i = 0; i < run.entry.buffer_count; i++) {
    const ibx_buffer_decl *buffer = &run.entry.buffers[i];
    if (buffer->place.space == IBX_SPACE_HBM &&
        buffer->kind == IBX_BUFFER_SCRATCH)
      fail_msg("%s of %llu bytes", buffer->name,
               (unsigned long long)buffer->place.bytes);
  }
  graph_run_fini(&run);
  ibx_ir_destroy(ir);
}

#define CASES                                                                  \
  CASE(attention)                                                              \
  CASE(product_in_another_shape)                                               \
  CASE(conv)                                                                   \
  CASE(conv_with_steps)                                                        \
  CASE(conv_of_one_dimension)                                                  \
  CASE(conv_transpose)                                                         \
  CASE(pools)                                                                  \
  CASE(pool_of_far_taps)                                                       \
  CASE(pad)                                                                    \
  CASE(softmax_of_many_rows)                                                   \
  CASE(softmax_of_long_rows)                                                   \
  CASE(norms_of_long_rows)                                                     \
  CASE(mean_of_everything)                                                     \
  CASE(largest_without_dims)                                                   \
  CASE(product_of_many_rows)                                                   \
  CASE(product_of_many_columns)                                                \
  CASE(product_of_long_rows)                                                   \
  CASE(concatenation)                                                          \
  CASE(selection)                                                              \
  CASE(permutation)                                                            \
  CASE(doubling)

#define CASE(name)                                                             \
  static void test_##name(void **state) {                                      \
    (void)state;                                                               \
    check(name, IBX_TARGET_ibx3);                                              \
    check(name, IBX_TARGET_ibx2);                                              \
  }
CASES
#undef CASE

int main(void) {
  const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test(test_##name),
      CASES
#undef CASE
          cmocka_unit_test(keeps_out_of_hbm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
