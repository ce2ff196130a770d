// SPDX-License-Identifier: Apache-2.0
//
// ALU operators on rows. In: fp32 rows that do not overlap the result. Out: the
// operator of isa.def on every element, rounded to fp32 once. An ARITH row of
// isa.def without loops here does not compile.

#include "sim/rows.h"

#include <math.h>

enum { LANES = 16 };

// The comparisons are ordered so that NaN in either operand gives NaN, and
// without branches so that the loops below vectorise.
static inline float larger(float x, float y) {
  float most = x > y ? x : y;
  return x != x ? x : most;
}

static inline float smaller(float x, float y) {
  float least = x < y ? x : y;
  return x != x ? x : least;
}

static inline float truth(bool condition) { return condition ? 1.0f : 0.0f; }

#define OP_BYPASS(x, y) ((void)(y), (x))
#define OP_ADD(x, y) ((x) + (y))
#define OP_SUBTRACT(x, y) ((x) - (y))
#define OP_MULTIPLY(x, y) ((x) * (y))
#define OP_MAX(x, y) larger(x, y)
#define OP_MIN(x, y) smaller(x, y)
#define OP_EQUAL(x, y) truth((x) == (y))
#define OP_NOT_EQUAL(x, y) truth((x) != (y))
#define OP_GREATER(x, y) truth((x) > (y))
#define OP_GREATER_EQUAL(x, y) truth((x) >= (y))
#define OP_LESS(x, y) truth((x) < (y))
#define OP_LESS_EQUAL(x, y) truth((x) <= (y))
#define OP_LOGICAL_AND(x, y) truth(((x) != 0.0f) & ((y) != 0.0f))
#define OP_LOGICAL_OR(x, y) truth(((x) != 0.0f) | ((y) != 0.0f))
#define OP_LOGICAL_XOR(x, y) truth(((x) != 0.0f) != ((y) != 0.0f))
#define OP_POWER(x, y) powf(x, y)
#define OP_ABS_MAX(x, y) larger(fabsf(x), fabsf(y))
#define OP_ABS_MIN(x, y) smaller(fabsf(x), fabsf(y))
#define OP_ABS(x, y) ((void)(y), fabsf(x))
#define OP_SQUARE(x, y) ((void)(y), (x) * (x))
#define OP_RELU(x, y) ((void)(y), (x) < 0.0f ? 0.0f : (x))
#define OP_RSQRT(x, y) ((void)(y), (float)(1.0 / sqrt((double)(x))))
#define OP_RECIPROCAL(x, y) ((void)(y), 1.0f / (x))

#define LOOPS(NAME)                                                            \
  IBX_CPU_CLONES static void vv_##NAME(const float *restrict a,                \
                                       const float *restrict b,                \
                                       float *restrict out, size_t n) {        \
    for (size_t i = 0; i < n; i++)                                             \
      out[i] = OP_##NAME(a[i], b[i]);                                          \
  }                                                                            \
  IBX_CPU_CLONES static void vs_##NAME(const float *restrict a, float b,       \
                                       float *restrict out, size_t n) {        \
    for (size_t i = 0; i < n; i++)                                             \
      out[i] = OP_##NAME(a[i], b);                                             \
  }                                                                            \
  IBX_CPU_CLONES static void sv_##NAME(float a, const float *restrict b,       \
                                       float *restrict out, size_t n) {        \
    for (size_t i = 0; i < n; i++)                                             \
      out[i] = OP_##NAME(a, b[i]);                                             \
  }

typedef struct alu_loops {
  void (*vv)(const float *restrict, const float *restrict, float *restrict,
             size_t);
  void (*vs)(const float *restrict, float, float *restrict, size_t);
  void (*sv)(float, const float *restrict, float *restrict, size_t);
} alu_loops;

#define LOOPS_ARITH(NAME) LOOPS(NAME)
#define LOOPS_BITS(NAME)
#define IBX_ALU(name, number, reducible, klass, sentence) LOOPS_##klass(name)
#include "imbrex/isa.def"

#define ROW_ARITH(NAME) [IBX_ALU_##NAME] = {vv_##NAME, vs_##NAME, sv_##NAME},
#define ROW_BITS(NAME)
static const alu_loops loops[IBX_ALU_COUNT] = {
#define IBX_ALU(name, number, reducible, klass, sentence) ROW_##klass(name)
#include "imbrex/isa.def"
};

void ibx_sim_row_vv(uint8_t alu, const float *a, const float *b, float *out,
                    size_t n) {
  loops[alu].vv(a, b, out, n);
}

void ibx_sim_row_vs(uint8_t alu, const float *a, float b, float *out,
                    size_t n) {
  loops[alu].vs(a, b, out, n);
}

void ibx_sim_row_sv(uint8_t alu, float a, const float *b, float *out,
                    size_t n) {
  loops[alu].sv(a, b, out, n);
}

// The lanes take whole groups in a loop that vectorises, then the rest.
#define FOLD(NAME)                                                             \
  IBX_CPU_CLONES static float fold_##NAME(const float *restrict a, size_t n) { \
    float lane[LANES] = {0};                                                   \
    size_t lanes = n < LANES ? n : LANES;                                      \
    for (size_t j = 0; j < lanes; j++)                                         \
      lane[j] = a[j];                                                          \
    size_t i = LANES;                                                          \
    for (; i + LANES <= n; i += LANES) {                                       \
      for (size_t j = 0; j < LANES; j++) {                                     \
        lane[j] = OP_##NAME(lane[j], a[i + j]);                                \
      }                                                                        \
    }                                                                          \
    for (size_t j = 0; i + j < n; j++)                                         \
      lane[j] = OP_##NAME(lane[j], a[i + j]);                                  \
    float result = lane[0];                                                    \
    for (size_t j = 1; j < lanes; j++)                                         \
      result = OP_##NAME(result, lane[j]);                                     \
    return result;                                                             \
  }

#define FOLD_ARITH_1(NAME) FOLD(NAME)
#define FOLD_ARITH_0(NAME)
#define FOLD_BITS_1(NAME)
#define FOLD_BITS_0(NAME)
#define IBX_ALU(name, number, reducible, klass, sentence)                      \
  FOLD_##klass##_##reducible(name)
#include "imbrex/isa.def"

typedef float (*fold_loop)(const float *restrict, size_t);

#define FOLD_ROW_ARITH_1(NAME) [IBX_ALU_##NAME] = fold_##NAME,
#define FOLD_ROW_ARITH_0(NAME)
#define FOLD_ROW_BITS_1(NAME)
#define FOLD_ROW_BITS_0(NAME)
static const fold_loop folds[IBX_ALU_COUNT] = {
#define IBX_ALU(name, number, reducible, klass, sentence)                      \
  FOLD_ROW_##klass##_##reducible(name)
#include "imbrex/isa.def"
};

float ibx_sim_row_fold(uint8_t alu, const float *a, size_t n) {
  return folds[alu](a, n);
}

// Looks first: rows without NaN, nearly all, are not written again.
IBX_CPU_CLONES void ibx_sim_row_quiet(float *values, size_t n) {
  int found = 0;
  for (size_t i = 0; i < n; i++) {
    found |= values[i] != values[i];
  }
  for (size_t i = 0; found && i < n; i++) {
    if (values[i] != values[i]) values[i] = NAN;
  }
}
