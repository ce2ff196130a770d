// SPDX-License-Identifier: Apache-2.0
//
// The instructions of Scalar against what the public reference says of each:
// tensor_scalar, activation with its accumulators, activate2, and the functions
// that are derivatives. Functions are compared within the bound of rows.h, all
// else byte for byte.

#include "sim/accumulator.h"
#include "sim/arith.h"
#include "sim/rows.h"
#include "support/exec_bench.h"

#define S IBX_ENGINE_SCALAR

enum { TRIES = 60 };

static const ibx_dtype types[] = {IBX_DTYPE_F32, IBX_DTYPE_BF16, IBX_DTYPE_F16,
                                  IBX_DTYPE_I16, IBX_DTYPE_U8};

static ibx_dtype pick_type(bench *b) {
  return types[bench_below(b, IBX_COUNT_OF(types))];
}

static void expect_legal(const bench *b, const ibx_insn *insn) {
  ibx_error err = {0};
  if (!bench_is_legal(b, S, insn, &err)) fail_msg("%s", err.message);
}

static void fill(bench *b, const ibx_insn *insn, size_t slot) {
  for (uint32_t p = 0; p < insn->partitions; p++) {
    for (uint32_t n = 0; n < bench_elements(insn); n++) {
      bench_put_float(bench_element(b, BENCH_NOW, insn, slot, p, n),
                      (ibx_dtype)insn->operand[slot].dtype,
                      world_float(&b->random, 6));
    }
  }
}

// A [P,1] operand in slot 2 or 3, or not.
static void maybe_column(bench *b, ibx_insn *insn, size_t slot) {
  if (bench_below(b, 2)) return;
  uint8_t partition = insn->partitions <= 32 ? 32 : 0;
  insn->operand[slot] = (ibx_operand){.buffer = (uint16_t)slot,
                                      .partition = partition,
                                      .offset = 4 * bench_below(b, 300)};
}

static void fill_column(bench *b, const ibx_insn *insn, size_t slot) {
  if (insn->operand[slot].buffer == IBX_NO_BUFFER) return;
  for (uint32_t p = 0; p < insn->partitions; p++) {
    bench_put_float(bench_row(b, BENCH_NOW, insn, slot, p, 0), IBX_DTYPE_F32,
                    world_float(&b->random, 2));
  }
}

static float scalar(bench *b, const ibx_insn *insn, size_t slot, uint32_t p,
                    float immediate) {
  if (insn->operand[slot].buffer == IBX_NO_BUFFER) return immediate;
  return bench_float(bench_row(b, BENCH_BEFORE, insn, slot, p, 0),
                     IBX_DTYPE_F32);
}

static void tensor_scalar_multiplies_and_adds(void **state) {
  (void)state;
  static const uint8_t pairs[][2] = {{IBX_ALU_MULTIPLY, IBX_ALU_ADD},
                                     {IBX_ALU_MULTIPLY, IBX_ALU_BYPASS},
                                     {IBX_ALU_ADD, IBX_ALU_BYPASS}};
  bench *b = bench_create(IBX_TARGET_ibx3, 1);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
    bench_space(b, &insn, 60);
    memcpy(insn.op, pairs[done % 3], 2);
    insn.imm[0] = 0.75f;
    insn.imm[1] = done % 3 ? 0.0f : -1.25f;
    ibx_dtype to = pick_type(b);
    if (!bench_place_space(b, &insn, 0, to) ||
        !bench_place_space(b, &insn, 1, pick_type(b))) {
      continue;
    }
    maybe_column(b, &insn, 2);
    if (done % 3 == 0) maybe_column(b, &insn, 3);
    expect_legal(b, &insn);
    bench_load(b, S, insn);
    fill(b, &insn, 1);
    fill_column(b, &insn, 2);
    fill_column(b, &insn, 3);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      float s0 = scalar(b, &insn, 2, p, insn.imm[0]);
      float s1 = scalar(b, &insn, 3, p, insn.imm[1]);
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        float x = bench_float(bench_element(b, BENCH_BEFORE, &insn, 1, p, n),
                              (ibx_dtype)insn.operand[1].dtype);
        x = insn.op[0] == IBX_ALU_MULTIPLY ? x * s0 : x + s0;
        if (insn.op[1] == IBX_ALU_ADD) x = x + s1;
        bench_put_float(bench_element(b, BENCH_AFTER, &insn, 0, p, n), to, x);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// --- accumulators ---------------------------------------------------------------

// Adds in the order of arith.h, which is [C].
static float fold(uint8_t alu, const float *values, uint32_t n) {
  float lane[16] = {0};
  for (uint32_t i = 0; i < n; i++) {
    float a = lane[i % 16], v = values[i];
    float m = fabsf(a), w = fabsf(v);
    lane[i % 16] = i < 16                   ? v
                   : alu == IBX_ALU_ADD     ? a + v
                   : alu == IBX_ALU_MAX     ? (a > v ? a : v)
                   : alu == IBX_ALU_MIN     ? (a < v ? a : v)
                   : alu == IBX_ALU_ABS_MAX ? (m > w ? m : w)
                                            : (m < w ? m : w);
  }
  float sum = lane[0];
  for (uint32_t j = 1; j < 16 && j < n; j++) {
    float m = fabsf(sum), w = fabsf(lane[j]);
    sum = alu == IBX_ALU_ADD       ? sum + lane[j]
          : alu == IBX_ALU_MAX     ? (sum > lane[j] ? sum : lane[j])
          : alu == IBX_ALU_MIN     ? (sum < lane[j] ? sum : lane[j])
          : alu == IBX_ALU_ABS_MAX ? (m > w ? m : w)
                                   : (m < w ? m : w);
  }
  return alu == IBX_ALU_ABS_MAX || alu == IBX_ALU_ABS_MIN ? fabsf(sum) : sum;
}

static float neutral(uint8_t alu) {
  return alu == IBX_ALU_MAX                             ? -INFINITY
         : alu == IBX_ALU_MIN || alu == IBX_ALU_ABS_MIN ? INFINITY
                                                        : 0.0f;
}

static float combine(uint8_t alu, float a, float v) {
  switch ((ibx_alu)alu) {
  case IBX_ALU_MAX: return a > v ? a : v;
  case IBX_ALU_MIN: return a < v ? a : v;
  case IBX_ALU_ABS_MAX: return fmaxf(fabsf(a), fabsf(v));
  case IBX_ALU_ABS_MIN: return fminf(fabsf(a), fabsf(v));
  default: return a + v;
  }
}

static float expected(const ibx_insn *insn, uint8_t alu, float before,
                      const float *row, uint32_t n) {
  switch ((ibx_reduce)insn->reduce) {
  case IBX_REDUCE_RESET: return neutral(alu);
  case IBX_REDUCE_REDUCE: return combine(alu, before, fold(alu, row, n));
  case IBX_REDUCE_RESET_REDUCE: return fold(alu, row, n);
  default: return before;
  }
}

// The simulator clears the accumulators at the start of a run, so one that
// reduces follows one that sets them, to -3 of each partition's first value.
static ibx_insn setter(const ibx_insn *like) {
  ibx_insn insn = ibx_insn_make(IBX_OP_activation);
  insn.partitions = like->partitions;
  insn.op[0] = IBX_ACT_COPY;
  insn.imm[1] = -3.0f;
  insn.reduce = IBX_REDUCE_RESET_REDUCE;
  insn.operand[0] = like->operand[0];
  insn.operand[0].dtype = IBX_DTYPE_F32;
  insn.operand[0].buffer = 3;
  insn.operand[0].offset = 1532;
  insn.operand[1] = like->operand[1];
  return insn;
}

static float value_of(bench *b, const ibx_insn *insn, uint32_t p, uint32_t n) {
  return bench_float(bench_element(b, BENCH_BEFORE, insn, 1, p, n),
                     (ibx_dtype)insn->operand[1].dtype);
}

static void expect_accumulators(bench *b, const ibx_insn *insn, uint8_t alu,
                                float (*f)(const ibx_insn *, float)) {
  for (uint32_t p = 0; p < insn->partitions; p++) {
    float row[60], before = -3.0f * value_of(b, insn, p, 0) + 0.0f;
    uint32_t n = bench_elements(insn);
    for (uint32_t i = 0; i < n; i++) {
      row[i] = f(insn, value_of(b, insn, p, i));
    }
    size_t lane = insn->operand[0].partition + p;
    float got = b->sim->accumulator[S][lane];
    float want = expected(insn, alu, before, row, n);
    if (memcmp(&got, &want, 4) != 0) {
      fail_msg("accumulator %zu is %a, not %a (%s)", lane, (double)got,
               (double)want, ibx_reduce_name(insn->reduce));
    }
  }
}

static float scaled(const ibx_insn *insn, float x) {
  float product = x * insn->imm[1];
  float y = product + insn->imm[0];
  return insn->op[0] == IBX_ACT_RELU && y < 0 ? 0 : y;
}

static void activation_accumulates_over_instructions(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 2);
  for (int done = 0; done < 2 * TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_activation);
    bench_space(b, &insn, 60);
    insn.op[0] = done % 8 < 4 ? IBX_ACT_COPY : IBX_ACT_RELU;
    insn.imm[0] = 0.5f;
    insn.imm[1] = -1.5f;
    insn.reduce = (uint8_t)(done % 4);
    if (!bench_place_space(b, &insn, 0, pick_type(b)) ||
        !bench_place_space(b, &insn, 1, IBX_DTYPE_F32)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, S, setter(&insn));
    world_add(&b->w, S, insn);
    fill(b, &insn, 1);
    bench_run(b);
    expect_accumulators(b, &insn, IBX_ALU_ADD, scaled);
    done++;
  }
  bench_destroy(b);
}

static void activation_reduce_leaves_its_sums_there(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 3);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_activation_reduce);
    bench_space(b, &insn, 60);
    insn.op[0] = IBX_ACT_SQUARE;
    insn.imm[1] = 0.5f;
    if (!bench_place_space(b, &insn, 0, IBX_DTYPE_BF16) ||
        !bench_place_space(b, &insn, 1, IBX_DTYPE_F32)) {
      continue;
    }
    insn.operand[3] = (ibx_operand){.buffer = 3, .offset = 64};
    expect_legal(b, &insn);
    bench_load(b, S, insn);
    fill(b, &insn, 1);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      size_t lane = insn.operand[0].partition + p;
      assert_memory_equal(bench_row(b, BENCH_NOW, &insn, 3, p, 0),
                          &b->sim->accumulator[S][lane], 4);
    }
    done++;
  }
  bench_destroy(b);
}

// --- activate2 ------------------------------------------------------------------

static float pipeline(const ibx_insn *insn, float x) {
  bool swap0 = insn->flags & IBX_FLAG_REVERSE0;
  bool swap1 = insn->flags & IBX_FLAG_REVERSE1;
  float s0 = insn->imm[0], s1 = insn->imm[1];
  switch ((ibx_alu)insn->op[0]) {
  case IBX_ALU_MULTIPLY: x = x * s0; break;
  case IBX_ALU_ADD: x = x + s0; break;
  case IBX_ALU_SUBTRACT: x = swap0 ? s0 - x : x - s0; break;
  default: break;
  }
  switch ((ibx_alu)insn->op[1]) {
  case IBX_ALU_ADD: x = x + s1; break;
  case IBX_ALU_SUBTRACT: x = swap1 ? s1 - x : x - s1; break;
  default: break;
  }
  switch ((ibx_act)insn->op[2]) {
  case IBX_ACT_SQUARE: return x * x;
  case IBX_ACT_PRELU: return x > 0 ? x : x * insn->imm[2];
  default: return x;
  }
}

static void activate2_is_a_pipeline_of_three(void **state) {
  (void)state;
  static const uint8_t pairs[][2] = {
      {IBX_ALU_MULTIPLY, IBX_ALU_ADD},    {IBX_ALU_MULTIPLY, IBX_ALU_SUBTRACT},
      {IBX_ALU_MULTIPLY, IBX_ALU_BYPASS}, {IBX_ALU_ADD, IBX_ALU_BYPASS},
      {IBX_ALU_SUBTRACT, IBX_ALU_BYPASS}, {IBX_ALU_BYPASS, IBX_ALU_BYPASS}};
  static const uint8_t functions[] = {IBX_ACT_COPY, IBX_ACT_SQUARE,
                                      IBX_ACT_PRELU};
  static const uint8_t reductions[] = {IBX_ALU_ADD, IBX_ALU_MAX, IBX_ALU_MIN,
                                       IBX_ALU_ABS_MAX, IBX_ALU_ABS_MIN};
  bench *b = bench_create(IBX_TARGET_ibx4, 4);
  for (int done = 0; done < 6 * TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_activate2);
    bench_space(b, &insn, 60);
    memcpy(insn.op, pairs[done % 6], 2);
    insn.op[2] = functions[bench_below(b, 3)];
    insn.reduce = (uint8_t)bench_below(b, 4);
    if (insn.reduce) insn.op[3] = reductions[bench_below(b, 5)];
    if (insn.op[0]) insn.imm[0] = 0.75f;
    if (insn.op[1]) insn.imm[1] = -1.25f;
    if (insn.op[2] == IBX_ACT_PRELU) insn.imm[2] = 0.125f;
    if (insn.op[0] && bench_below(b, 2)) insn.flags |= IBX_FLAG_REVERSE0;
    if (insn.op[1] && bench_below(b, 2)) insn.flags |= IBX_FLAG_REVERSE1;
    ibx_dtype to = pick_type(b);
    if (!bench_place_space(b, &insn, 0, to) ||
        !bench_place_space(b, &insn, 1, pick_type(b))) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, S, setter(&insn));
    world_add(&b->w, S, insn);
    fill(b, &insn, 1);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      ibx_insn first = setter(&insn);
      bench_put_float(bench_row(b, BENCH_AFTER, &first, 0, p, 0), IBX_DTYPE_F32,
                      -3.0f * value_of(b, &insn, p, 0) + 0.0f);
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        bench_put_float(bench_element(b, BENCH_AFTER, &insn, 0, p, n), to,
                        pipeline(&insn, value_of(b, &insn, p, n)));
      }
    }
    bench_expect(b);
    expect_accumulators(b, &insn, insn.op[3], pipeline);
    done++;
  }
  bench_destroy(b);
}

static void activate2_takes_columns(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx4, 5);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_activate2);
    bench_space(b, &insn, 60);
    insn.op[0] = IBX_ALU_MULTIPLY;
    insn.op[1] = IBX_ALU_SUBTRACT;
    if (!bench_place_space(b, &insn, 0, IBX_DTYPE_F32) ||
        !bench_place_space(b, &insn, 1, pick_type(b))) {
      continue;
    }
    insn.imm[0] = insn.imm[1] = 0.5f;
    maybe_column(b, &insn, 2);
    maybe_column(b, &insn, 3);
    expect_legal(b, &insn);
    bench_load(b, S, insn);
    fill(b, &insn, 1);
    fill_column(b, &insn, 2);
    fill_column(b, &insn, 3);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      float s0 = scalar(b, &insn, 2, p, 0.5f),
            s1 = scalar(b, &insn, 3, p, 0.5f);
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        float product = value_of(b, &insn, p, n) * s0;
        bench_put_float(bench_element(b, BENCH_AFTER, &insn, 0, p, n),
                        IBX_DTYPE_F32, product - s1);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// --- functions ------------------------------------------------------------------

// Derivatives by central differences of functions known otherwise.
static long double primitive(uint8_t act, long double x) {
  switch ((ibx_act)act) {
  case IBX_ACT_GELU_DX: return x * (1 + erfl(x / sqrtl(2))) / 2;
  case IBX_ACT_GELU_SIGMOID_DX: return x / (1 + expl(-1.702L * x));
  case IBX_ACT_SILU_DX: return x / (1 + expl(-x));
  default: return erfl(x);
  }
}

static void derivatives_are_slopes(void **state) {
  (void)state;
  static const uint8_t acts[] = {IBX_ACT_GELU_DX, IBX_ACT_GELU_SIGMOID_DX,
                                 IBX_ACT_SILU_DX, IBX_ACT_ERF_DX};
  for (size_t i = 0; i < IBX_COUNT_OF(acts); i++) {
    for (int n = -600; n <= 600; n++) {
      long double x = n / 64.0L, h = 1e-6L;
      long double slope =
          (primitive(acts[i], x + h) - primitive(acts[i], x - h)) / (2 * h);
      double got = ibx_act_exact(acts[i], (double)x, 0);
      if (fabsl(slope - (long double)got) > 1e-10L) {
        fail_msg("%s(%g) is %g, the slope %Lg", ibx_act_name(acts[i]),
                 (double)x, got, slope);
      }
    }
  }
  assert_true(fabs(ibx_act_exact(IBX_ACT_GELU_SIGMOID, 0.5, 0) -
                   0.5 / (1 + exp(-0.851))) < 1e-15);
}

// The bound of rows.h; the sums of derivatives have terms of at most about 1. The
// last term is for exponentials that are subnormal.
static void fast_functions_are_close(void **state) {
  (void)state;
  uint64_t random = 77;
  enum { N = 4096 };
  static float x[N], y[N];
  for (uint8_t act = IBX_ACT_GELU_DX; act <= IBX_ACT_ERF_DX; act++) {
    for (int scale = -20; scale < 9; scale++) {
      for (size_t i = 0; i < N; i++) {
        x[i] = world_float(&random, ldexpf(1, scale));
      }
      ibx_sim_row_act(act, x, (ibx_sim_act_terms){.scale = 1}, y, N);
      bool sums = act == IBX_ACT_GELU_DX || act == IBX_ACT_GELU_SIGMOID_DX ||
                  act == IBX_ACT_SILU_DX;
      for (size_t i = 0; i < N; i++) {
        double want = ibx_act_exact(act, (double)x[i], 0);
        double size = sums ? fmax(fabs(want), 0.5) : fabs(want);
        double limit = 4 * 0x1p-24 * size * 2 + 0x1p-142;
        if (fabs((double)y[i] - want) > limit) {
          fail_msg("%s(%a) is %a, expected %a", ibx_act_name(act), (double)x[i],
                   (double)y[i], want);
        }
      }
    }
  }
}

static void functions_know_infinity_and_nan(void **state) {
  (void)state;
  const float x[] = {INFINITY, -INFINITY, NAN, 0.0f};
  float y[4];
  for (uint8_t act = IBX_ACT_GELU_DX; act <= IBX_ACT_ERF_DX; act++) {
    ibx_sim_row_act(act, x, (ibx_sim_act_terms){.scale = 1}, y, 4);
    for (size_t i = 0; i < 4; i++) {
      double want = ibx_act_exact(act, (double)x[i], 0);
      bool same = isnan(want) ? isnan(y[i]) : (float)want == y[i];
      if (!same) {
        fail_msg("%s(%g) is %g, expected %g", ibx_act_name(act), (double)x[i],
                 (double)y[i], want);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tensor_scalar_multiplies_and_adds),
      cmocka_unit_test(activation_accumulates_over_instructions),
      cmocka_unit_test(activation_reduce_leaves_its_sums_there),
      cmocka_unit_test(activate2_is_a_pipeline_of_three),
      cmocka_unit_test(activate2_takes_columns),
      cmocka_unit_test(derivatives_are_slopes),
      cmocka_unit_test(fast_functions_are_close),
      cmocka_unit_test(functions_know_infinity_and_nan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
