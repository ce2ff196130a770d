// SPDX-License-Identifier: Apache-2.0
//
// What the tensor engine does beyond plain products: double rows of fp8, MX
// types, promises of zeros and ones, transpositions of each generation. Oracles
// are sums in double over values that a table of codes gives.

#include "support/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

enum { P = 64, COLUMNS = 12, N = 20, BANK = 2048 };

// SBUF of one partition: stationary tile, moving tile, their scales.
enum { AT_STATIONARY = 0, AT_MOVING = 1024, AT_SCALE = 2048, AT_SCALE2 = 3072 };

typedef struct bench {
  world w;
  uint8_t hbm[IBX_PARTITIONS * 4096]; ///< what SBUF holds at the start
  float out[IBX_PARTITIONS * (BANK / 4)];
  uint64_t seed;
  uint32_t in, sbuf, stage, psum, result;
} bench;

static void bench_init(bench *b, ibx_target target) {
  memset(b, 0, sizeof(*b));
  world_init(&b->w, target);
  b->seed = 0x9e3779b97f4a7c15 + (uint64_t)target;
  b->in = world_hbm(&b->w, IBX_BUFFER_INPUT, b->hbm, sizeof(b->hbm));
  b->sbuf = world_chip(&b->w, IBX_SPACE_SBUF, 0, 4096);
  b->stage = world_chip(&b->w, IBX_SPACE_SBUF, 4096, BANK);
  b->psum = world_chip(&b->w, IBX_SPACE_PSUM, 0, BANK);
  b->result = world_hbm(&b->w, IBX_BUFFER_OUTPUT, b->out, sizeof(b->out));
}

static uint8_t *at(bench *b, size_t partition, size_t byte) {
  return &b->hbm[partition * 4096 + byte];
}

static ibx_insn move_all(uint32_t dst, uint32_t src, uint32_t bytes,
                         bool loads) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[3] = IBX_PARTITIONS;
  insn.num[4] = bytes;
  ibx_operand chip = {
      .dtype = IBX_DTYPE_U8, .step = {[4] = 1}, .partition_step = {[3] = 1}};
  ibx_operand hbm = {.dtype = IBX_DTYPE_U8,
                     .step = {[3] = (int32_t)bytes, [4] = 1}};
  insn.operand[0] = loads ? chip : hbm;
  insn.operand[1] = loads ? hbm : chip;
  insn.operand[0].buffer = dst;
  insn.operand[1].buffer = src;
  return insn;
}

// Loads SBUF, runs `insns` on the tensor engine, returns PSUM as it is.
static ibx_status run(bench *b, const ibx_insn *insns, size_t count) {
  world *w = &b->w;
  ibx_insn load = move_all(b->sbuf, b->in, 4096, true);
  load = world_signal(load, 0, 16);
  world_add(w, IBX_ENGINE_SYNC, load);
  ibx_insn start = world_wait(ibx_insn_make(IBX_OP_semaphore), 0, 16);
  world_add(w, IBX_ENGINE_TENSOR, start);
  for (size_t i = 0; i < count; i++) {
    world_add(w, IBX_ENGINE_TENSOR, insns[i]);
  }
  ibx_insn done = world_signal(ibx_insn_make(IBX_OP_semaphore), 1, 1);
  world_add(w, IBX_ENGINE_TENSOR, done);
  ibx_insn copy = world_wait(ibx_insn_make(IBX_OP_tensor_copy), 1, 1);
  copy.partitions = 128;
  copy.num[4] = BANK / 4;
  copy.operand[0] = (ibx_operand){
      .buffer = b->stage, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
  copy.operand[1] = (ibx_operand){
      .buffer = b->psum, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
  world_add(w, IBX_ENGINE_VECTOR, world_signal(copy, 2, 1));
  ibx_insn store = move_all(b->result, b->stage, BANK, false);
  world_add(w, IBX_ENGINE_SYNC, world_wait(store, 2, 1));
  return world_run(w, IBX_SIM_ORDER_PROGRAM, 0);
}

static void set_operand(ibx_insn *insn, size_t slot, uint32_t buffer,
                        uint64_t offset, ibx_dtype dtype) {
  insn->operand[slot] = (ibx_operand){.buffer = buffer,
                                      .offset = offset,
                                      .dtype = (uint8_t)dtype,
                                      .step = {[4] = 1}};
}

static void assert_near(float got, double expected, double scale) {
  if (fabs((double)got - expected) <= 1e-5 * (1 + scale)) return;
  fail_msg("%g instead of %g", (double)got, expected);
}

// --- double rows --------------------------------------------------------------

// Finite values only: exponents below the special ones.
static uint8_t random_fp8(bench *b) {
  return (uint8_t)(world_below(&b->seed, 2) << 7 | world_below(&b->seed, 0x58));
}

static double value_of(const bench *b, ibx_dtype dtype, size_t p, size_t byte) {
  float value;
  ibx_dtype_load_f32(dtype, &b->hbm[p * 4096 + byte], &value, 1);
  return (double)value;
}

static void fill_fp8(bench *b) {
  for (size_t p = 0; p < IBX_PARTITIONS; p++) {
    for (size_t i = 0; i < 2048; i++) {
      *at(b, p, i) = random_fp8(b);
    }
  }
}

static void make_double(const bench *b, ibx_dtype dtype, ibx_insn pair[2]) {
  pair[0] = ibx_insn_make(IBX_OP_load_stationary);
  pair[0].mode = IBX_MODE_load_stationary_DOUBLE_ROW;
  pair[0].num[2] = 2;
  pair[0].num[4] = COLUMNS;
  set_operand(&pair[0], 1, b->sbuf, AT_STATIONARY, dtype);
  pair[0].operand[1].step[2] = COLUMNS;
  pair[1] = ibx_insn_make(IBX_OP_multiply_moving);
  pair[1].mode = IBX_MODE_multiply_moving_DOUBLE_ROW;
  pair[1].num[2] = 2;
  pair[1].num[4] = N;
  set_operand(&pair[1], 0, b->psum, 0, IBX_DTYPE_F32);
  set_operand(&pair[1], 1, b->sbuf, AT_MOVING, dtype);
  pair[1].operand[1].step[2] = N;
  for (size_t i = 0; i < 2; i++) {
    pair[i].partitions = P;
    pair[i].columns = COLUMNS;
  }
}

static void double_rows_have_twice_the_depth(void **state) {
  (void)state;
  const ibx_dtype dtypes[] = {IBX_DTYPE_F8E4M3, IBX_DTYPE_F8E5M2,
                              IBX_DTYPE_F8E4M3FN};
  for (size_t d = 0; d < IBX_COUNT_OF(dtypes); d++) {
    bench *b = malloc(sizeof(*b));
    bench_init(b, d == 2 ? IBX_TARGET_ibx4 : IBX_TARGET_ibx3);
    fill_fp8(b);
    ibx_insn pair[2];
    make_double(b, dtypes[d], pair);
    if (run(b, pair, 2) != IBX_OK) fail_msg("%s", b->w.err.message);
    for (size_t c = 0; c < COLUMNS; c++) {
      for (size_t n = 0; n < N; n++) {
        double sum = 0, size = 0;
        for (size_t p = 0; p < P; p++) {
          for (size_t r = 0; r < 2; r++) {
            double term = value_of(b, dtypes[d], p, r * COLUMNS + c) *
                          value_of(b, dtypes[d], p, AT_MOVING + r * N + n);
            sum += term;
            size += fabs(term);
          }
        }
        assert_near(b->out[c * (BANK / 4) + n], sum, size);
      }
    }
    free(b);
  }
}

// --- MX -----------------------------------------------------------------------

// One code of a type x4, from the tables of the OCP specification.
static double mx_value(ibx_dtype dtype, uint32_t code) {
  if (dtype == IBX_DTYPE_F4E2M1FNX4) {
    static const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return (code & 8 ? -1 : 1) * values[code & 7];
  }
  bool is_e5m2 = dtype == IBX_DTYPE_F8E5M2X4;
  int mantissa = is_e5m2 ? 2 : 3, bias = is_e5m2 ? 15 : 7;
  int exponent = (int)(code & 0x7f) >> mantissa;
  double fraction = (double)(code & ((1u << mantissa) - 1)) / (1 << mantissa);
  double size = exponent == 0 ? ldexp(fraction, 1 - bias)
                              : ldexp(1 + fraction, exponent - bias);
  return code & 0x80 ? -size : size;
}

static double mx_at(bench *b, ibx_dtype dtype, size_t p, size_t i, size_t j,
                    size_t data, size_t scales, size_t offset) {
  size_t bytes = ibx_dtype_bytes(dtype);
  uint32_t bits = 0;
  memcpy(&bits, at(b, p, data + i * bytes), bytes);
  uint32_t width = (uint32_t)(2 * bytes);
  uint32_t code = bits >> width * j & ((1u << width) - 1);
  size_t row = p / 32 * 32 + offset + p % 32 / 8;
  int scale = *at(b, row, scales + i);
  return ldexp(mx_value(dtype, code), scale - 127);
}

static void make_mx(const bench *b, ibx_dtype dtype, ibx_insn pair[2]) {
  pair[0] = ibx_insn_make(IBX_OP_load_stationary_mx);
  pair[0].num[4] = COLUMNS;
  set_operand(&pair[0], 1, b->sbuf, AT_STATIONARY, dtype);
  set_operand(&pair[0], 2, b->sbuf, AT_SCALE, IBX_DTYPE_F8E8M0);
  pair[0].operand[2].partition = 8;
  pair[1] = ibx_insn_make(IBX_OP_multiply_moving_mx);
  pair[1].num[4] = N;
  set_operand(&pair[1], 0, b->psum, 0, IBX_DTYPE_F32);
  set_operand(&pair[1], 1, b->sbuf, AT_MOVING, dtype);
  set_operand(&pair[1], 2, b->sbuf, AT_SCALE2, IBX_DTYPE_F8E8M0);
  for (size_t i = 0; i < 2; i++) {
    pair[i].partitions = P;
    pair[i].columns = COLUMNS;
  }
}

static void mx_products_scale_groups_of_32(void **state) {
  (void)state;
  const ibx_dtype dtypes[] = {IBX_DTYPE_F8E5M2X4, IBX_DTYPE_F8E4M3FNX4,
                              IBX_DTYPE_F4E2M1FNX4};
  for (size_t d = 0; d < IBX_COUNT_OF(dtypes); d++) {
    bench *b = malloc(sizeof(*b));
    bench_init(b, IBX_TARGET_ibx4);
    fill_fp8(b);
    for (size_t p = 0; p < IBX_PARTITIONS; p++) {
      for (size_t i = AT_SCALE; i < 4096; i++) {
        *at(b, p, i) = (uint8_t)(120 + world_below(&b->seed, 14));
      }
    }
    ibx_insn pair[2];
    make_mx(b, dtypes[d], pair);
    if (run(b, pair, 2) != IBX_OK) fail_msg("%s", b->w.err.message);
    for (size_t c = 0; c < COLUMNS; c++) {
      for (size_t n = 0; n < N; n++) {
        double sum = 0, size = 0;
        for (size_t p = 0; p < P; p++) {
          for (size_t j = 0; j < 4; j++) {
            double term =
                mx_at(b, dtypes[d], p, c, j, AT_STATIONARY, AT_SCALE, 8) *
                mx_at(b, dtypes[d], p, n, j, AT_MOVING, AT_SCALE2, 0);
            sum += term;
            size += fabs(term);
          }
        }
        assert_near(b->out[c * (BANK / 4) + n], sum, size);
      }
    }
    free(b);
  }
}

static void four_values_pack_and_unpack(void **state) {
  (void)state;
  const ibx_dtype dtypes[] = {IBX_DTYPE_F8E5M2X4, IBX_DTYPE_F8E4M3FNX4,
                              IBX_DTYPE_F4E2M1FNX4};
  for (size_t d = 0; d < IBX_COUNT_OF(dtypes); d++) {
    uint32_t width = (uint32_t)(2 * ibx_dtype_bytes(dtypes[d]));
    for (uint32_t code = 0; code < 1u << width; code++) {
      float values[4];
      uint32_t bits = code << width | code << 3 * width;
      ibx_dtype_unpack4(dtypes[d], bits, values);
      if (!isfinite(values[1])) continue;
      assert_true((double)values[1] == mx_value(dtypes[d], code));
      assert_true(values[0] == 0 && values[2] == 0 && values[3] == values[1]);
      assert_int_equal(ibx_dtype_pack4(dtypes[d], values), bits);
    }
    const float wild[4] = {1e9f, -1e9f, INFINITY, 0.25f};
    float back[4];
    ibx_dtype_unpack4(dtypes[d], ibx_dtype_pack4(dtypes[d], wild), back);
    const double largest[] = {57344, 448, 6};
    assert_true((double)back[0] == largest[d] && back[1] == -back[0]);
    assert_true(back[2] == back[0]);
    assert_true(back[3] == (d == 2 ? 0.0f : 0.25f)); // a tie goes to even
  }
}

// --- promises and transpositions ------------------------------------------------

static void a_promise_of_ones_and_zeros_is_checked(void **state) {
  (void)state;
  for (int broken = 0; broken < 2; broken++) {
    bench *b = malloc(sizeof(*b));
    bench_init(b, IBX_TARGET_ibx3);
    for (size_t p = 0; p < P; p++) {
      for (size_t i = 0; i < 16; i++) {
        float bit = (float)world_below(&b->seed, 2);
        if (broken && p == 5 && i == 3) bit = 0.5f;
        memcpy(at(b, p, AT_STATIONARY + 4 * i), &bit, 4);
        memcpy(at(b, p, AT_MOVING + 4 * i), &bit, 4);
      }
    }
    ibx_insn pair[2] = {ibx_insn_make(IBX_OP_load_stationary),
                        ibx_insn_make(IBX_OP_multiply_moving)};
    pair[0].mode = IBX_MODE_load_stationary_ONE_ZERO;
    for (size_t i = 0; i < 2; i++) {
      pair[i].partitions = P;
      pair[i].columns = COLUMNS;
      pair[i].num[4] = COLUMNS;
    }
    set_operand(&pair[0], 1, b->sbuf, AT_STATIONARY, IBX_DTYPE_F32);
    set_operand(&pair[1], 0, b->psum, 0, IBX_DTYPE_F32);
    set_operand(&pair[1], 1, b->sbuf, AT_MOVING, IBX_DTYPE_F32);
    ibx_insn_cost half =
        ibx_insn_cost_get(&b->w.machine, IBX_ENGINE_TENSOR, &pair[0], NULL);
    assert_int_equal(half.issue_cycles, COLUMNS / 4 * 2);
    ibx_status status = run(b, pair, 2);
    assert_int_equal(status, broken ? IBX_DEVICE_ERROR : IBX_OK);
    if (broken) assert_non_null(strstr(b->w.err.message, "not one or zero"));
    free(b);
  }
}

static void transpose_f32(bench *b, const float *row) {
  for (size_t p = 0; p < 4; p++) {
    memcpy(at(b, p, 0), &row[p], 4);
  }
  ibx_insn insn = ibx_insn_make(IBX_OP_nc_transpose);
  insn.partitions = 4;
  set_operand(&insn, 0, b->psum, 0, IBX_DTYPE_F32);
  set_operand(&insn, 1, b->sbuf, 0, IBX_DTYPE_F32);
  if (run(b, &insn, 1) != IBX_OK) fail_msg("%s", b->w.err.message);
}

static void only_v2_transposes_by_a_product(void **state) {
  (void)state;
  const float plain[4] = {1, -0.0f, 3, -4}, wild[4] = {1, INFINITY, 3, 4};
  for (int target = 2; target <= 4; target++) {
    bench *b = malloc(sizeof(*b));
    bench_init(b, (ibx_target)target);
    transpose_f32(b, plain);
    assert_true(b->out[0] == 1 && b->out[1] == 0 && b->out[3] == -4);
    assert_int_equal(signbit(b->out[1]) != 0, target != 2);
    bench_init(b, (ibx_target)target);
    transpose_f32(b, wild);
    assert_true(isinf(b->out[1]));
    assert_int_equal(isnan(b->out[0]) != 0, target == 2);
    assert_int_equal(isnan(b->out[3]) != 0, target == 2);
    free(b);
  }
}

static void fp8_transposes_into_16_bits(void **state) {
  (void)state;
  bench *b = malloc(sizeof(*b));
  bench_init(b, IBX_TARGET_ibx3);
  *at(b, 0, 0) = 0xb8;
  *at(b, 1, 0) = 0x7f;
  ibx_insn insn = ibx_insn_make(IBX_OP_nc_transpose);
  insn.partitions = 2;
  set_operand(&insn, 0, b->psum, 0, IBX_DTYPE_BF16);
  set_operand(&insn, 1, b->sbuf, 0, IBX_DTYPE_F8E4M3);
  if (run(b, &insn, 1) != IBX_OK) fail_msg("%s", b->w.err.message);
  const uint8_t expected[4] = {0xb8, 0, 0x7f, 0};
  assert_memory_equal(b->out, expected, 4);
  free(b);
}

static void packed_memory_is_cleared(void **state) {
  (void)state;
  bench *b = malloc(sizeof(*b));
  bench_init(b, IBX_TARGET_ibx4);
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  insn.num[4] = 3;
  set_operand(&insn, 0, b->stage, 0, IBX_DTYPE_F4E2M1FNX4);
  ibx_insn fill = ibx_insn_make(IBX_OP_memset);
  fill.num[4] = 4;
  fill.imm[0] = 1.0f;
  set_operand(&fill, 0, b->stage, 0, IBX_DTYPE_F32);
  world_add(&b->w, IBX_ENGINE_VECTOR, fill);
  world_add(&b->w, IBX_ENGINE_VECTOR, world_signal(insn, 2, 1));
  ibx_insn store = move_all(b->result, b->stage, BANK, false);
  world_add(&b->w, IBX_ENGINE_SYNC, world_wait(store, 2, 1));
  assert_int_equal(world_run(&b->w, IBX_SIM_ORDER_PROGRAM, 0), IBX_OK);
  const uint8_t expected[] = {0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0x3f};
  assert_memory_equal(b->out, expected, sizeof(expected));
  free(b);
}

// --- limits -------------------------------------------------------------------

typedef struct rule {
  const char *words;
  void (*breaks)(ibx_insn *pair, ibx_machine *machine);
} rule;

#define BREAK(name, statement)                                                 \
  static void name(ibx_insn *pair, ibx_machine *machine) {                     \
    (void)pair, (void)pair, (void)machine;                                     \
    statement;                                                                 \
  }
BREAK(on_v2, *machine = *ibx_machine_get(IBX_TARGET_ibx2))
BREAK(mode_9, pair[0].mode = 9)
BREAK(bf16_rows, pair[0].operand[1].dtype = IBX_DTYPE_BF16)
BREAK(three_rows, pair[0].num[2] = 3)
BREAK(moving_dst, pair[1].operand[0].step[2] = 4)
BREAK(promise_bf16, pair[1].mode = IBX_MODE_multiply_moving_ONE_ZERO)
BREAK(mx_f32, pair[0].operand[1].dtype = IBX_DTYPE_F32)
BREAK(mx_scale, pair[0].operand[2].dtype = IBX_DTYPE_U8)
BREAK(mx_rows, pair[0].partitions = 48)
BREAK(mx_columns, pair[0].columns = 11; pair[0].num[4] = 11)
BREAK(mx_quadrant, pair[0].operand[2].partition = 16)
BREAK(mx_place, pair[0].operand[2].partition = 6)

static void check_rules(void (*make)(const bench *, ibx_dtype, ibx_insn *),
                        ibx_dtype dtype, ibx_target target, const rule *rules,
                        size_t count) {
  bench *b = malloc(sizeof(*b));
  bench_init(b, target);
  ibx_buffer_place places[WORLD_BUFFERS];
  for (size_t i = 0; i < b->w.entry.buffer_count; i++) {
    places[i] = b->w.buffers[i].place;
  }
  for (size_t i = 0; i <= count; i++) {
    ibx_insn pair[2];
    ibx_machine machine = *ibx_machine_get(target);
    ibx_error err = {0};
    make(b, dtype, pair);
    if (i < count) rules[i].breaks(pair, &machine);
    ibx_status status = IBX_OK;
    for (size_t j = 0; j < 2 && status == IBX_OK; j++) {
      status = ibx_insn_check(&machine, IBX_ENGINE_TENSOR, &pair[j], places,
                              b->w.entry.buffer_count, &err);
    }
    if (i == count) {
      assert_int_equal(status, IBX_OK);
    } else if (status == IBX_OK || !strstr(err.message, rules[i].words)) {
      fail_msg("rule %zu: '%s' lacks '%s'", i, err.message, rules[i].words);
    }
  }
  free(b);
}

static void modes_have_limits(void **state) {
  (void)state;
  const rule doubles[] = {
      {"does not have mode double_row", on_v2},
      {"mode 9 does not exist", mode_9},
      {"double rows are fp8", bf16_rows},
      {"double rows have 2", three_rows},
      {"so it is 0", moving_dst},
      {"one_zero is a promise on f32", promise_bf16},
  };
  check_rules(make_double, IBX_DTYPE_F8E4M3, IBX_TARGET_ibx3, doubles,
              IBX_COUNT_OF(doubles));
  const rule mx[] = {
      {"does not have it", on_v2},     {"a type x4 is needed", mx_f32},
      {"f8e8m0 is needed", mx_scale},  {"a multiple of 32", mx_rows},
      {"an even number", mx_columns},  {"first four places", mx_quadrant},
      {"first four places", mx_place},
  };
  check_rules(make_mx, IBX_DTYPE_F8E5M2X4, IBX_TARGET_ibx4, mx,
              IBX_COUNT_OF(mx));
}

static void v4_streams_over_all_banks(void **state) {
  (void)state;
  ibx_buffer_place places[] = {
      {.space = IBX_SPACE_PSUM, .partitions = 128, .bytes = 16384},
      {.space = IBX_SPACE_SBUF, .partitions = 128, .bytes = 65536}};
  ibx_insn insn = ibx_insn_make(IBX_OP_multiply_moving);
  set_operand(&insn, 0, 0, 0, IBX_DTYPE_F32);
  set_operand(&insn, 1, 1, 0, IBX_DTYPE_BF16);
  insn.partitions = insn.columns = 128;
  const struct {
    uint32_t columns;
    ibx_dtype dst;
    bool v3, v4;
  } cases[] = {{512, IBX_DTYPE_F32, true, true},
               {513, IBX_DTYPE_F32, false, true},
               {4096, IBX_DTYPE_F32, false, true},
               {4097, IBX_DTYPE_F32, false, false}};
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    insn.num[4] = cases[i].columns;
    insn.operand[0].dtype = (uint8_t)cases[i].dst;
    for (int target = 3; target <= 4; target++) {
      ibx_status status =
          ibx_insn_check(ibx_machine_get((ibx_target)target), IBX_ENGINE_TENSOR,
                         &insn, places, 2, NULL);
      assert_int_equal(status == IBX_OK,
                       target == 3 ? cases[i].v3 : cases[i].v4);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(double_rows_have_twice_the_depth),
      cmocka_unit_test(mx_products_scale_groups_of_32),
      cmocka_unit_test(four_values_pack_and_unpack),
      cmocka_unit_test(a_promise_of_ones_and_zeros_is_checked),
      cmocka_unit_test(only_v2_transposes_by_a_product),
      cmocka_unit_test(fp8_transposes_into_16_bits),
      cmocka_unit_test(packed_memory_is_cleared),
      cmocka_unit_test(modes_have_limits),
      cmocka_unit_test(v4_streams_over_all_banks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
