// SPDX-License-Identifier: Apache-2.0
//
// Stochastic rounding in the simulator. A program takes the same numbers through
// every engine and a DMA into a narrower type; its results lie next to the
// numbers, in the mean on them, and are the same in every order.

#include "sim/rounding.h"

#include "support/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

enum { WIDTH = 32, COUNT = IBX_PARTITIONS * WIDTH, PATHS = 5 };

// What converts: three engines that copy, the tensor engine, a DMA.
static const char *const path_names[PATHS] = {"vector", "scalar", "gpsimd",
                                              "tensor", "dma"};
enum { TENSOR = 3, DMA = 4 };

static const struct {
  ibx_dtype dtype;
  int mantissa;
} types[] = {{IBX_DTYPE_BF16, 7},   {IBX_DTYPE_F16, 10},
             {IBX_DTYPE_F8E4M3, 3}, {IBX_DTYPE_F8E4M3FN, 3},
             {IBX_DTYPE_F8E5M2, 2}, {IBX_DTYPE_TF32, 10}};

typedef struct bench {
  world w;
  ibx_dtype dtype; ///< of the results, of the tensor engine's where it has that
  float in[COUNT], identity[IBX_PARTITIONS * IBX_PARTITIONS];
  uint8_t out[PATHS][COUNT * sizeof(float)];
  uint32_t chip, psum;
  uint8_t semaphores;
} bench;

static ibx_operand matrix(uint32_t buffer, ibx_dtype dtype, int32_t width) {
  return (ibx_operand){.buffer = buffer,
                       .dtype = (uint8_t)dtype,
                       .step = {[0] = width, [4] = 1}};
}

// Bytes `offset` on of every partition of SBUF, with or without a DMA's step.
static ibx_operand lanes(const bench *b, uint64_t offset, ibx_dtype dtype) {
  return (ibx_operand){.buffer = b->chip,
                       .offset = offset,
                       .dtype = (uint8_t)dtype,
                       .step = {[4] = 1},
                       .partition_step = {[0] = 1}};
}

static ibx_operand tile(uint32_t buffer, uint64_t offset, ibx_dtype dtype) {
  return (ibx_operand){.buffer = buffer,
                       .offset = offset,
                       .dtype = (uint8_t)dtype,
                       .step = {[4] = 1}};
}

// A DMA of Sync behind `before`, if any, with a signal of its own.
static const ibx_insn *move(bench *b, ibx_operand dst, ibx_operand src,
                            uint32_t width, const ibx_insn *before) {
  ibx_buffer_place places[WORLD_BUFFERS];
  for (size_t i = 0; i < b->w.entry.buffer_count; i++) {
    places[i] = b->w.buffers[i].place;
  }
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[0] = IBX_PARTITIONS;
  insn.num[4] = width;
  insn.operand[0] = dst;
  insn.operand[1] = src;
  insn.dge = IBX_DGE_STATIC;
  if (before != NULL) {
    insn = world_wait(insn, before->signal_semaphore, before->signal_value);
  }
  uint16_t pieces = (uint16_t)ibx_dma_split(&b->w.machine, &insn, places, NULL);
  insn = world_signal(insn, ++b->semaphores, pieces);
  return world_add(&b->w, IBX_ENGINE_SYNC, insn);
}

// An engine's instruction behind `before`, with a signal of its own.
static const ibx_insn *compute(bench *b, ibx_engine engine, ibx_insn insn,
                               const ibx_insn *before) {
  insn.partitions = IBX_PARTITIONS;
  insn = world_wait(insn, before->signal_semaphore, before->signal_value);
  insn = world_signal(insn, ++b->semaphores, 1);
  return world_add(&b->w, engine, insn);
}

static ibx_insn make(ibx_opcode opcode, uint32_t width) {
  ibx_insn insn = ibx_insn_make((uint8_t)opcode);
  insn.num[4] = width;
  return insn;
}

static void add_copy(bench *b, size_t path, uint32_t in, uint32_t out) {
  static const ibx_engine engines[] = {IBX_ENGINE_VECTOR, IBX_ENGINE_SCALAR,
                                       IBX_ENGINE_GPSIMD};
  uint64_t src = path * 256, dst = src + 128;
  const ibx_insn *load = move(b, lanes(b, src, IBX_DTYPE_F32),
                              matrix(in, IBX_DTYPE_F32, WIDTH), WIDTH, NULL);
  ibx_insn insn = make(IBX_OP_tensor_copy, WIDTH);
  insn.operand[0] = tile(b->chip, dst, b->dtype);
  insn.operand[1] = tile(b->chip, src, IBX_DTYPE_F32);
  const ibx_insn *copy = compute(b, engines[path], insn, load);
  move(b, matrix(out, b->dtype, WIDTH), lanes(b, dst, b->dtype), WIDTH, copy);
}

// identity^T x in, into PSUM: of the types there only bf16 is narrow.
static void add_product(bench *b, uint32_t in, uint32_t identity,
                        uint32_t out) {
  uint64_t eye = 1024, src = 2048, dst = 2304;
  const ibx_insn *before = move(b, lanes(b, eye, IBX_DTYPE_F32),
                                matrix(identity, IBX_DTYPE_F32, IBX_PARTITIONS),
                                IBX_PARTITIONS, NULL);
  before = move(b, lanes(b, src, IBX_DTYPE_F32),
                matrix(in, IBX_DTYPE_F32, WIDTH), WIDTH, before);
  ibx_insn insn = make(IBX_OP_load_stationary, IBX_PARTITIONS);
  insn.columns = IBX_PARTITIONS;
  insn.operand[1] = tile(b->chip, eye, IBX_DTYPE_F32);
  before = compute(b, IBX_ENGINE_TENSOR, insn, before);
  insn = make(IBX_OP_multiply_moving, WIDTH);
  insn.columns = IBX_PARTITIONS;
  insn.operand[0] = tile(b->psum, 0, IBX_DTYPE_BF16);
  insn.operand[1] = tile(b->chip, src, IBX_DTYPE_F32);
  before = compute(b, IBX_ENGINE_TENSOR, insn, before);
  insn = make(IBX_OP_tensor_copy, WIDTH);
  insn.operand[0] = tile(b->chip, dst, IBX_DTYPE_BF16);
  insn.operand[1] = tile(b->psum, 0, IBX_DTYPE_BF16);
  before = compute(b, IBX_ENGINE_SCALAR, insn, before);
  move(b, matrix(out, IBX_DTYPE_BF16, WIDTH), lanes(b, dst, IBX_DTYPE_BF16),
       WIDTH, before);
}

static bench *bench_create(ibx_dtype dtype) {
  bench *b = calloc(1, sizeof(*b));
  assert_non_null(b);
  world_init(&b->w, IBX_TARGET_ibx4);
  b->dtype = dtype;
  for (size_t i = 0; i < IBX_PARTITIONS; i++) {
    b->identity[i * (IBX_PARTITIONS + 1)] = 1.0f;
  }
  uint32_t in = world_hbm(&b->w, IBX_BUFFER_INPUT, b->in, sizeof(b->in));
  uint32_t identity =
      world_hbm(&b->w, IBX_BUFFER_INPUT, b->identity, sizeof(b->identity));
  b->chip = world_chip(&b->w, IBX_SPACE_SBUF, 0, WORLD_SBUF_BYTES);
  b->psum = world_chip(&b->w, IBX_SPACE_PSUM, 0, WORLD_PSUM_BYTES);
  uint32_t out[PATHS];
  for (size_t i = 0; i < PATHS; i++) {
    out[i] = world_hbm(&b->w, IBX_BUFFER_OUTPUT, b->out[i], sizeof(b->out[i]));
  }
  for (size_t i = 0; i < TENSOR; i++) {
    add_copy(b, i, in, out[i]);
  }
  add_product(b, in, identity, out[TENSOR]);
  move(b, matrix(out[DMA], dtype, WIDTH), matrix(in, IBX_DTYPE_F32, WIDTH),
       WIDTH, NULL);
  return b;
}

static void run(bench *b, ibx_sim_order order, ibx_sim_rounding rounding,
                uint64_t seed) {
  ibx_sim *sim = NULL;
  ibx_sim_options options = {
      .order = order, .seed = seed, .rounding = rounding};
  ibx_sim_memory memory = {.hbm = b->w.hbm};
  memset(b->out, 0, sizeof(b->out));
  ibx_status status =
      ibx_sim_create(&b->w.program, &b->w.entry, &sim, &b->w.err);
  if (status == IBX_OK) {
    status = ibx_sim_run(sim, &options, &memory, &b->w.err);
  }
  ibx_sim_destroy(sim);
  if (status != IBX_OK) fail_msg("%s", b->w.err.message);
}

static void run_stochastic(bench *b, uint64_t seed) {
  run(b, IBX_SIM_ORDER_PROGRAM, IBX_SIM_ROUNDING_STOCHASTIC, seed);
}

static double result(const bench *b, size_t path, size_t i) {
  ibx_dtype dtype = path == TENSOR ? IBX_DTYPE_BF16 : b->dtype;
  float value;
  ibx_dtype_load_f32(dtype, b->out[path] + i * ibx_dtype_bytes(dtype), &value,
                     1);
  return (double)value;
}

static int mantissa_of(size_t type, size_t path) {
  return path == TENSOR ? 7 : types[type].mantissa;
}

// Distance of results from numbers, in units of the last place, over their whole
// number. Each result is up by 1 - f or down by f with the probabilities f and
// 1 - f: mean 0, variance f (1 - f) <= 1/4.
static double mean_error(const bench *b, size_t type, size_t path) {
  double sum = 0.0;
  for (size_t i = 0; i < COUNT; i++) {
    double exact = (double)b->in[i];
    double unit = ldexp(1.0, ilogb(exact) - mantissa_of(type, path));
    double error = (result(b, path, i) - exact) / unit;
    assert_true(fabs(error) < 1.0);
    sum += error;
  }
  return sum / COUNT;
}

static void fill(bench *b, uint64_t seed) {
  for (size_t i = 0; i < COUNT; i++) {
    b->in[i] = 1.0f + (float)world_below(&seed, 1u << 22) * 0x1p-20f;
    if (world_below(&seed, 2)) b->in[i] = -b->in[i];
  }
}

// The bound is five standard deviations of the mean.
static void mean_is_the_value(void **state) {
  (void)state;
  for (size_t t = 0; t < IBX_COUNT_OF(types); t++) {
    bench *b = bench_create(types[t].dtype);
    fill(b, 11 + t);
    run_stochastic(b, 3);
    for (size_t path = 0; path < PATHS; path++) {
      double mean = mean_error(b, t, path);
      if (fabs(mean) > 5.0 * 0.5 / sqrt(COUNT)) {
        fail_msg("%s, %s: mean error %g", ibx_dtype_get(types[t].dtype)->name,
                 path_names[path], mean);
      }
    }
    free(b);
  }
}

// One number a quarter above a value of the type: to nearest it would never go
// up, stochastically it does so once in four.
static void a_quarter_goes_up_once_in_four(void **state) {
  (void)state;
  for (size_t t = 0; t < IBX_COUNT_OF(types); t++) {
    bench *b = bench_create(types[t].dtype);
    for (size_t i = 0; i < COUNT; i++) {
      b->in[i] = 1.0f + ldexpf(0.25f, -types[t].mantissa);
    }
    run_stochastic(b, 5);
    for (size_t path = 0; path < PATHS; path++) {
      if (path == TENSOR && types[t].dtype != IBX_DTYPE_BF16) continue;
      size_t up = 0;
      for (size_t i = 0; i < COUNT; i++) {
        up += result(b, path, i) > 1.0;
      }
      double deviation = sqrt(COUNT * 0.25 * 0.75);
      assert_true(fabs((double)up - COUNT / 4.0) < 5.0 * deviation);
    }
    run(b, IBX_SIM_ORDER_PROGRAM, IBX_SIM_ROUNDING_NEAREST, 5);
    for (size_t i = 0; i < COUNT; i++) {
      assert_true(result(b, 0, i) == 1.0);
    }
    free(b);
  }
}

static void order_does_not_matter(void **state) {
  (void)state;
  for (size_t t = 0; t < IBX_COUNT_OF(types); t++) {
    bench *b = bench_create(types[t].dtype);
    fill(b, 31 + t);
    for (uint64_t seed = 0; seed < 4; seed++) {
      uint8_t expected[sizeof(b->out)];
      run_stochastic(b, seed);
      memcpy(expected, b->out, sizeof(expected));
      run(b, IBX_SIM_ORDER_RANDOM, IBX_SIM_ROUNDING_STOCHASTIC, seed);
      assert_memory_equal(b->out, expected, sizeof(expected));
      run(b, IBX_SIM_ORDER_ADVERSARIAL, IBX_SIM_ROUNDING_STOCHASTIC, seed);
      assert_memory_equal(b->out, expected, sizeof(expected));
    }
    free(b);
  }
}

// Different seeds, and of one seed different engines, rows and columns.
static void bits_differ(void **state) {
  (void)state;
  bench *b = bench_create(IBX_DTYPE_BF16);
  fill(b, 51);
  uint8_t first[PATHS][COUNT * sizeof(float)];
  run_stochastic(b, 1);
  memcpy(first, b->out, sizeof(first));
  for (size_t i = 0; i < PATHS; i++) {
    for (size_t j = 0; j < i; j++) {
      assert_memory_not_equal(first[i], first[j], sizeof(first[i]));
    }
  }
  const uint64_t seeds[] = {0, 2, UINT64_C(1) << 32 | 1};
  for (size_t s = 0; s < IBX_COUNT_OF(seeds); s++) {
    run_stochastic(b, seeds[s]);
    for (size_t i = 0; i < PATHS; i++) {
      assert_memory_not_equal(b->out[i], first[i], sizeof(first[i]));
    }
  }
  for (size_t i = 0; i < COUNT; i++) {
    b->in[i] = 1.0f + 0x1p-8f;
  }
  run_stochastic(b, 1);
  size_t row = WIDTH * sizeof(uint16_t);
  for (size_t i = 0; i < PATHS; i++) {
    for (size_t p = 1; p < IBX_PARTITIONS; p++) {
      assert_memory_not_equal(b->out[i], b->out[i] + p * row, row);
    }
  }
  free(b);
}

// What the type holds goes through as it is; so do zeros and infinities, and
// integers round to nearest.
static void exact_values_and_integers_stay(void **state) {
  (void)state;
  const ibx_dtype dtypes[] = {
      IBX_DTYPE_BF16,   IBX_DTYPE_F16,  IBX_DTYPE_F8E4M3, IBX_DTYPE_F8E4M3FN,
      IBX_DTYPE_F8E5M2, IBX_DTYPE_TF32, IBX_DTYPE_F32,    IBX_DTYPE_I8,
      IBX_DTYPE_U16,    IBX_DTYPE_I32};
  static const float exact[] = {0.0f,      -0.0f, 1.0f,  -1.5f, INFINITY,
                                -INFINITY, 1.75f, 96.0f, -0.25f};
  for (size_t t = 0; t < IBX_COUNT_OF(dtypes); t++) {
    bench *b = bench_create(dtypes[t]);
    bool is_float = ibx_dtype_get(dtypes[t])->kind == IBX_DTYPE_KIND_FLOAT;
    uint64_t seed = 9;
    for (size_t i = 0; i < COUNT; i++) {
      b->in[i] = is_float && dtypes[t] != IBX_DTYPE_F32
                     ? exact[i % IBX_COUNT_OF(exact)]
                     : world_float(&seed, 300.0f);
    }
    run(b, IBX_SIM_ORDER_PROGRAM, IBX_SIM_ROUNDING_NEAREST, 1);
    uint8_t nearest[sizeof(b->out)];
    memcpy(nearest, b->out, sizeof(nearest));
    run_stochastic(b, 1);
    for (size_t path = 0; path < PATHS; path++) {
      if (path == TENSOR) continue; // 0 x infinity
      assert_memory_equal(b->out[path], nearest + path * sizeof(b->out[0]),
                          sizeof(b->out[0]));
    }
    free(b);
  }
}

// A second run in a loop has other bits; a second run of the program has not.
static void each_execution_has_its_own_bits(void **state) {
  (void)state;
  bench *b = bench_create(IBX_DTYPE_BF16);
  fill(b, 71);
  run_stochastic(b, 8);
  uint8_t first[COUNT * sizeof(float)];
  memcpy(first, b->out[0], sizeof(first));
  run_stochastic(b, 8);
  assert_memory_equal(b->out[0], first, sizeof(first));
  ibx_insn *copy = &b->w.insns[IBX_ENGINE_VECTOR][0];
  copy[1] = copy[0];
  copy[0] = ibx_insn_make(IBX_OP_semaphore);
  b->w.entry.streams[IBX_ENGINE_VECTOR].count = 2;
  run_stochastic(b, 8);
  assert_memory_not_equal(b->out[0], first, sizeof(first));
  free(b);
}

// The known answers of the authors' library, Random123.
static void philox_gives_the_published_numbers(void **state) {
  static const struct {
    uint32_t counter[4], key[2], expected[4];
  } cases[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    uint32_t counter[4];
    memcpy(counter, cases[i].counter, sizeof(counter));
    ibx_philox(counter, cases[i].key);
    assert_memory_equal(counter, cases[i].expected, sizeof(counter));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(philox_gives_the_published_numbers),
      cmocka_unit_test(mean_is_the_value),
      cmocka_unit_test(a_quarter_goes_up_once_in_four),
      cmocka_unit_test(order_does_not_matter),
      cmocka_unit_test(bits_differ),
      cmocka_unit_test(exact_values_and_integers_stay),
      cmocka_unit_test(each_execution_has_its_own_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
