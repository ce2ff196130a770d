// SPDX-License-Identifier: Apache-2.0
//
// Integers come out as the reference kernels have them, bit for bit, whatever
// their magnitude: pairs of every dtype, casts to narrower ones, products whose
// sums fp32 does not hold, and what compares, sums or moves any integers.

#include "support/graph_run.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { MOST = 1 << 20 };

static const ibx_dtype DTYPES[] = {IBX_DTYPE_I8,  IBX_DTYPE_U8,  IBX_DTYPE_I16,
                                   IBX_DTYPE_U16, IBX_DTYPE_I32, IBX_DTYPE_U32};

// Any bits, small numbers, or what lies around 2^24.
static uint32_t input_of(graph_run *run, ibx_type type) {
  switch (graph_run_below(run, 3)) {
  case 0: return graph_run_input(run, type, -3, 3);
  case 1: return graph_run_input(run, type, (1 << 24) - 9, (1 << 24) + 9);
  default: return graph_run_input(run, type, INT32_MIN, INT32_MAX - 1);
  }
}

static void expect_exact(graph_run *run, uint32_t value, const char *what) {
  ibx_tensor outputs[GRAPH_RUN_PORTS];
  assert_int_not_equal(value, IBX_NO_VALUE);
  assert_true(graph_run_output(run, value));
  ibx_ir *ir = ibx_ir_create();
  ibx_status status = graph_run_compile(run, ir);
  ibx_ir_destroy(ir);
  if (status == IBX_OK) {
    status = graph_run_execute(run, IBX_SIM_ORDER_RANDOM, 5, outputs);
  }
  if (status != IBX_OK) fail_msg("%s: %s", what, run->err.message);
  int64_t bytes = 0;
  ibx_type_bytes(&outputs[0].type, &bytes);
  if (memcmp(outputs[0].data, run->data[value], (size_t)bytes) != 0) {
    fail_msg("%s: other integers", what);
  }
}

static ibx_type matrix(graph_run *run, ibx_dtype dtype) {
  return (ibx_type){
      .dims = {graph_run_between(run, 1, 150), graph_run_between(run, 1, 40)},
      .rank = 2,
      .dtype = dtype};
}

static void pairs_wrap_as_their_dtype_does(void **state) {
  (void)state;
  static const ibx_tensor_op OPS[] = {
      IBX_TENSOR_add,        IBX_TENSOR_sub,    IBX_TENSOR_mul,
      IBX_TENSOR_div,        IBX_TENSOR_max,    IBX_TENSOR_min,
      IBX_TENSOR_mod,        IBX_TENSOR_fmod,   IBX_TENSOR_bit_and,
      IBX_TENSOR_bit_xor,    IBX_TENSOR_bit_or, IBX_TENSOR_shift_left,
      IBX_TENSOR_shift_right};
  static graph_run run;
  uint64_t seed = 0;
  for (size_t d = 0; d < IBX_COUNT_OF(DTYPES); d++) {
    for (size_t i = 0; i < IBX_COUNT_OF(OPS); i++) {
      graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
      ibx_type type = matrix(&run, DTYPES[d]);
      uint32_t operands[] = {input_of(&run, type), input_of(&run, type)};
      uint32_t value =
          graph_run_node(&run, OPS[i], &(ibx_params){0}, operands, 2, MOST);
      expect_exact(&run, value, ibx_tensor_op_get(OPS[i])->name);
      graph_run_fini(&run);
      seed++;
    }
  }
}

static void comparisons_see_every_bit(void **state) {
  (void)state;
  static const ibx_tensor_op OPS[] = {IBX_TENSOR_equal, IBX_TENSOR_less,
                                      IBX_TENSOR_less_equal};
  static graph_run run;
  for (uint64_t seed = 0; seed < 3 * IBX_COUNT_OF(DTYPES); seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    ibx_type type = matrix(&run, DTYPES[seed / 3]);
    uint32_t operands[] = {input_of(&run, type), input_of(&run, type)};
    uint32_t value = graph_run_node(&run, OPS[seed % 3], &(ibx_params){0},
                                    operands, 2, MOST);
    expect_exact(&run, value, ibx_tensor_op_get(OPS[seed % 3])->name);
    graph_run_fini(&run);
  }
}

// One operand: signs, limits, and sums or extremes along dimensions.
static void single_operands_are_exact(void **state) {
  (void)state;
  static const ibx_tensor_op OPS[] = {
      IBX_TENSOR_neg,        IBX_TENSOR_abs,        IBX_TENSOR_relu,
      IBX_TENSOR_clip,       IBX_TENSOR_cumsum,     IBX_TENSOR_argmax,
      IBX_TENSOR_reduce_sum, IBX_TENSOR_reduce_max, IBX_TENSOR_reduce_min};
  static graph_run run;
  uint64_t seed = 0;
  for (ibx_dtype d = IBX_DTYPE_I32; d <= IBX_DTYPE_U32; d++) {
    for (size_t i = 0; i < 2 * IBX_COUNT_OF(OPS); i++) {
      graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
      uint32_t x = input_of(&run, matrix(&run, d));
      ibx_params params = {.alpha = 5.0f,
                           .beta = 20000000.0f,
                           .axis = seed % 2,
                           .exclusive = graph_run_below(&run, 2),
                           .reverse = graph_run_below(&run, 2),
                           .keepdims = graph_run_below(&run, 2),
                           .axes = {.at = {seed % 2}, .len = 1}};
      uint32_t value = graph_run_node(&run, OPS[i / 2], &params, &x, 1, MOST);
      expect_exact(&run, value, ibx_tensor_op_get(OPS[i / 2])->name);
      graph_run_fini(&run);
      seed++;
    }
  }
}

// Any integers, whose products and sums wrap.
static void products_of_words_wrap(void **state) {
  (void)state;
  static graph_run run;
  for (uint64_t seed = 0; seed < 6; seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    ibx_type a = matrix(&run, seed % 2 ? IBX_DTYPE_U32 : IBX_DTYPE_I32), b = a;
    a.dims[1] = b.dims[0] = seed < 3 ? 7 : 300;
    b.dims[1] = 5;
    uint32_t operands[] = {graph_run_input(&run, a, INT32_MIN, INT32_MAX - 1),
                           graph_run_input(&run, b, INT32_MIN, INT32_MAX - 1)};
    uint32_t value = graph_run_node(&run, IBX_TENSOR_matmul, &(ibx_params){0},
                                    operands, 2, MOST);
    expect_exact(&run, value, "matmul");
    graph_run_fini(&run);
  }
}

// A row that all partitions want does not pass through fp32.
static void broadcasts_keep_words(void **state) {
  (void)state;
  static graph_run run;
  for (uint64_t seed = 0; seed < 6; seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    ibx_dtype dtype = seed % 2 ? IBX_DTYPE_U32 : IBX_DTYPE_I32;
    ibx_type row = {.dims = {1, 70}, .rank = 2, .dtype = dtype}, all = row;
    all.dims[0] = 130;
    ibx_params params = {.shape = {.at = {130, 70}, .len = 2}};
    uint32_t one = graph_run_input(&run, row, INT32_MIN, INT32_MAX - 1);
    uint32_t operands[] = {
        graph_run_node(&run, IBX_TENSOR_broadcast, &params, &one, 1, MOST),
        graph_run_input(&run, all, INT32_MIN, INT32_MAX - 1)};
    uint32_t value = graph_run_node(&run, IBX_TENSOR_bit_xor, &(ibx_params){0},
                                    operands, 2, MOST);
    expect_exact(&run, value, "broadcast");
    graph_run_fini(&run);
  }
}

// A number for all elements is an immediate only where fp32 holds it.
static void numbers_keep_every_bit(void **state) {
  (void)state;
  static graph_run run;
  static int32_t numbers[] = {1735007746, -16777217, 16777216, 5};
  for (uint64_t seed = 0; seed < 2 * IBX_COUNT_OF(numbers); seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    ibx_type type = matrix(&run, IBX_DTYPE_I32), one = {.rank = 2};
    one.dims[0] = one.dims[1] = 1;
    one.dtype = IBX_DTYPE_I32;
    ibx_params full = {.shape = {.at = {type.dims[0], type.dims[1]}, .len = 2}};
    uint32_t number = graph_run_constant(&run, one, &numbers[seed / 2]);
    uint32_t x = graph_run_input(&run, type, -9, 9);
    uint32_t all =
        graph_run_node(&run, IBX_TENSOR_broadcast, &full, &number, 1, MOST);
    uint32_t pair[] = {x, all};
    uint32_t flags =
        graph_run_node(&run, IBX_TENSOR_less, &(ibx_params){0}, pair, 2, MOST);
    uint32_t operands[] = {flags, seed % 2 ? x : all, seed % 2 ? all : x};
    uint32_t value = graph_run_node(&run, IBX_TENSOR_select, &(ibx_params){0},
                                    operands, 3, MOST);
    expect_exact(&run, value, "select");
    graph_run_fini(&run);
  }
}

static void narrow_casts_keep_the_low_bits(void **state) {
  (void)state;
  static graph_run run;
  for (size_t from = 0; from < IBX_COUNT_OF(DTYPES); from++) {
    for (size_t to = 0; to < IBX_COUNT_OF(DTYPES); to++) {
      graph_run_init(&run, IBX_TARGET_ibx3, from * 8 + to);
      uint32_t x = input_of(&run, matrix(&run, DTYPES[from]));
      ibx_params params = {.dtype = DTYPES[to]};
      uint32_t value =
          graph_run_node(&run, IBX_TENSOR_cast, &params, &x, 1, MOST);
      expect_exact(&run, value, ibx_dtype_get(DTYPES[to])->name);
      graph_run_fini(&run);
    }
  }
}

// The quantised product of two 8-bit matrices around zero points.
static void products_of_bytes_are_exact(void **state) {
  (void)state;
  static graph_run run;
  static const int64_t SUMS[] = {1, 37, 258, 259, 1040, 2000};
  ibx_params wide = {.dtype = IBX_DTYPE_I32};
  for (uint64_t seed = 0; seed < 2 * IBX_COUNT_OF(SUMS); seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    int64_t k = SUMS[seed / 2];
    bool at_end = seed % 2 == 0; // the largest products
    uint32_t operands[2];
    for (size_t i = 0; i < 2; i++) {
      ibx_type type = {.rank = 2, .dtype = i ? IBX_DTYPE_I8 : IBX_DTYPE_U8};
      type.dims[0] = i ? k : graph_run_between(&run, 1, 20);
      type.dims[1] = i ? graph_run_between(&run, 1, 20) : k;
      int64_t low = i ? -128 : at_end ? 255 : 0, high = i ? 127 : 255;
      if (at_end && i) high = -128;
      operands[i] = graph_run_input(&run, type, low, high);
      operands[i] =
          graph_run_node(&run, IBX_TENSOR_cast, &wide, &operands[i], 1, MOST);
      assert_int_not_equal(operands[i], IBX_NO_VALUE);
    }
    uint32_t value = graph_run_node(&run, IBX_TENSOR_matmul, &(ibx_params){0},
                                    operands, 2, MOST);
    expect_exact(&run, value, "matmul");
    graph_run_fini(&run);
  }
}

static void convolutions_of_bytes_are_exact(void **state) {
  (void)state;
  static graph_run run;
  ibx_params wide = {.dtype = IBX_DTYPE_I32};
  for (uint64_t seed = 0; seed < 6; seed++) {
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    int64_t channels = seed < 3 ? 16 : 150;
    ibx_type x = {
        .dims = {1, channels, 6, 7}, .rank = 4, .dtype = IBX_DTYPE_U8};
    ibx_type w = {
        .dims = {9, channels, 3, 3}, .rank = 4, .dtype = IBX_DTYPE_I8};
    uint32_t operands[] = {graph_run_input(&run, x, 200, 255),
                           graph_run_input(&run, w, -128, -90)};
    for (size_t i = 0; i < 2; i++) {
      operands[i] =
          graph_run_node(&run, IBX_TENSOR_cast, &wide, &operands[i], 1, MOST);
    }
    ibx_params params = {.strides = {{1, 1}, 2},
                         .dilations = {{1, 1}, 2},
                         .low = {{1, 1}, 2},
                         .high = {{1, 1}, 2},
                         .groups = 1};
    uint32_t value =
        graph_run_node(&run, IBX_TENSOR_conv, &params, operands, 2, MOST);
    expect_exact(&run, value, "conv");
    graph_run_fini(&run);
  }
}

static size_t count_products(const graph_run *run) {
  size_t count = 0;
  for (size_t n = 0; n < run->unit.graph.node_count; n++) {
    const ibx_node *node = &run->unit.graph.nodes[n];
    count += ibx_tensor_op_get(node->op)->klass == IBX_KLASS_CONTRACT;
  }
  return count;
}

static uint32_t widened(graph_run *run, uint32_t value) {
  ibx_params wide = {.dtype = IBX_DTYPE_I32};
  return graph_run_node(run, IBX_TENSOR_cast, &wide, &value, 1, MOST);
}

// Bytes by constant weights less their zero point, which are computed when the
// model is compiled: where they are small, long sums are exact in one product.
static void known_weights_bound_their_sums(void **state) {
  (void)state;
  static const struct {
    ibx_tensor_op op;
    int64_t groups, x[4], w[4];
    uint8_t rank;
    int64_t least; // products where weights are large; 0: that is refused
  } CASES[] = {
      {IBX_TENSOR_conv, 1, {1, 150, 6, 7}, {9, 150, 3, 3}, 4, 2},
      {IBX_TENSOR_conv, 2, {1, 150, 6, 7}, {8, 75, 3, 3}, 4, 0},
      {IBX_TENSOR_conv_transpose, 1, {1, 150, 6, 7}, {150, 9, 3, 3}, 4, 2},
      {IBX_TENSOR_conv_transpose, 2, {1, 150, 6, 7}, {150, 4, 3, 3}, 4, 0},
      {IBX_TENSOR_matmul, 1, {9, 1500}, {1500, 7}, 2, 2},
  };
  static graph_run run;
  for (uint64_t seed = 0; seed < 2 * IBX_COUNT_OF(CASES); seed++) {
    size_t c = seed / 2;
    bool is_large = seed % 2 == 0;
    if (is_large && CASES[c].least == 0) continue;
    graph_run_init(&run, (ibx_target)(IBX_TARGET_ibx2 + seed % 3), seed);
    ibx_type x = {.rank = CASES[c].rank, .dtype = IBX_DTYPE_U8}, w = x;
    memcpy(x.dims, CASES[c].x, sizeof CASES[c].x);
    memcpy(w.dims, CASES[c].w, sizeof CASES[c].w);
    int64_t low = is_large ? 0 : 150, high = is_large ? 20 : 156;
    uint32_t weights = widened(
        &run,
        graph_run_constant(&run, w, graph_run_random(&run, &w, low, high)));
    ibx_type number = {.dtype = IBX_DTYPE_I32};
    int32_t *zero = graph_run_random(&run, &number, 153, 153);
    ibx_params like = {.shape = {.len = w.rank}};
    memcpy(like.shape.at, w.dims, sizeof CASES[c].w);
    uint32_t point = graph_run_constant(&run, number, zero);
    ibx_params ones = {.shape = {.at = {1, 1, 1, 1}, .len = w.rank}};
    point = graph_run_node(&run, IBX_TENSOR_reshape, &ones, &point, 1, MOST);
    point = graph_run_node(&run, IBX_TENSOR_broadcast, &like, &point, 1, MOST);
    uint32_t pair[] = {weights, point};
    uint32_t operands[] = {
        widened(&run, graph_run_input(&run, x, 200, 255)),
        graph_run_node(&run, IBX_TENSOR_sub, &(ibx_params){0}, pair, 2, MOST)};
    ibx_params params = {.strides = {{1, 1}, 2},
                         .dilations = {{1, 1}, 2},
                         .low = {{1, 1}, 2},
                         .high = {{1, 1}, 2},
                         .groups = CASES[c].groups};
    if (CASES[c].op == IBX_TENSOR_conv_transpose) {
      int64_t channels = w.dims[1] * CASES[c].groups;
      params.shape = (ibx_ints){{1, channels, x.dims[2], x.dims[3]}, 4};
    }
    uint32_t value =
        graph_run_node(&run, CASES[c].op, &params, operands, 2, MOST);
    expect_exact(&run, value, ibx_tensor_op_get(CASES[c].op)->name);
    if (is_large) {
      assert_true((int64_t)count_products(&run) >= CASES[c].least);
    } else {
      // Groups may be done one by one.
      assert_true((int64_t)count_products(&run) <= CASES[c].groups);
    }
    graph_run_fini(&run);
  }
}

// A value that is whole already needs no fraction cut off.
static size_t ops_of_cast(float scale) {
  static graph_run run;
  ibx_params real = {.dtype = IBX_DTYPE_F32}, whole = {.dtype = IBX_DTYPE_I32},
             scaled = {.alpha = scale};
  graph_run_init(&run, IBX_TARGET_ibx3, 3);
  ibx_type type = {.dims = {64, 100}, .rank = 2, .dtype = IBX_DTYPE_I32};
  uint32_t value = graph_run_input(&run, type, -99, 99);
  value = graph_run_node(&run, IBX_TENSOR_cast, &real, &value, 1, MOST);
  value = graph_run_node(&run, IBX_TENSOR_affine, &scaled, &value, 1, MOST);
  value = graph_run_node(&run, IBX_TENSOR_cast, &whole, &value, 1, MOST);
  expect_exact(&run, value, "cast");
  size_t count = run.unit.tiles.op_count;
  graph_run_fini(&run);
  return count;
}

static void whole_numbers_are_not_cut_off(void **state) {
  (void)state;
  assert_true(ops_of_cast(3.0f) + 4 < ops_of_cast(0.5f));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_weights_bound_their_sums),
      cmocka_unit_test(whole_numbers_are_not_cut_off),
      cmocka_unit_test(pairs_wrap_as_their_dtype_does),
      cmocka_unit_test(comparisons_see_every_bit),
      cmocka_unit_test(single_operands_are_exact),
      cmocka_unit_test(products_of_words_wrap),
      cmocka_unit_test(broadcasts_keep_words),
      cmocka_unit_test(numbers_keep_every_bit),
      cmocka_unit_test(narrow_casts_keep_the_low_bits),
      cmocka_unit_test(products_of_bytes_are_exact),
      cmocka_unit_test(convolutions_of_bytes_are_exact),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
