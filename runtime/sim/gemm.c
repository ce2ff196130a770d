// SPDX-License-Identifier: Apache-2.0
//
// Matrix product of at most 128 rows and columns of the array with a moving
// tile. In: fp32 operands. Out: the sums that gemm.h specifies to the bit.
//
//   for each CHUNK columns of b         packed into panels [k][width]: L2
//     for each few rows of a            their columns of the array stay in L1
//       for each panel                  rows x width sums in registers
//
// The stationary operand already lies as a product wants it ([k][column]), so
// only b is packed, and results go straight to their rows. A BLAS packs both
// and blocks for three caches, which does not pay at this size, and its order of
// summation depends on the build.

#include "sim/gemm.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if IBX_CPU_X86
#include <immintrin.h>
#endif

enum {
  CHUNK = 128,
  MOST_K = 128,
  MOST_WIDTH = 32,
  PAD = 16, ///< between panels, so that they do not share cache sets
  AHEAD = 8 ///< rows of b that are on their way while one is packed
};

/// The sums of a tile of `rows` by the kernel's width (packed[k][width]), stored
/// at `c`, whose rows are `c_step` values apart, or added to what is there.
typedef struct tile {
  const float *a; ///< rows are IBX_GEMM_A_STEP apart
  const float *packed;
  float *c;
  size_t k, c_step, rows;
  bool accumulate;
} tile;

typedef struct kernel {
  void (*run)(const tile *t);
  size_t rows, width; ///< most rows of a tile; its width
} kernel;

static void tile_plain(const tile *t) {
  enum { WIDTH = 16 };
  for (size_t j = 0; j < WIDTH; j++) {
    float sum = 0.0f;
    for (size_t i = 0; i < t->k; i++) {
      sum = fmaf(t->a[i * IBX_GEMM_A_STEP], t->packed[i * WIDTH + j], sum);
    }
    float total = t->accumulate ? t->c[j] + sum : sum;
    t->c[j] = total != total ? NAN : total;
  }
}

#if IBX_CPU_X86
typedef __m512 vec_avx512;
typedef __m256 vec_avx2;

#define VECTOR_AVX512 IBX_CPU("avx512f") static inline
#define VECTOR_AVX2 IBX_CPU("avx2,fma") static inline

VECTOR_AVX512 __m512 zero_avx512(void) { return _mm512_setzero_ps(); }
VECTOR_AVX512 __m512 load_avx512(const float *p) { return _mm512_loadu_ps(p); }
VECTOR_AVX512 __m512 all_avx512(const float *p) { return _mm512_set1_ps(*p); }
VECTOR_AVX512 __m512 add_avx512(__m512 a, __m512 b) {
  return _mm512_add_ps(a, b);
}
VECTOR_AVX512 __m512 fma_avx512(__m512 a, __m512 b, __m512 c) {
  return _mm512_fmadd_ps(a, b, c);
}
// With NaN as instructions store it (element.h).
VECTOR_AVX512 void put_avx512(float *p, __m512 a) {
  __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  _mm512_storeu_ps(p, _mm512_mask_blend_ps(nan, a, _mm512_set1_ps(NAN)));
}

VECTOR_AVX2 __m256 zero_avx2(void) { return _mm256_setzero_ps(); }
VECTOR_AVX2 __m256 load_avx2(const float *p) { return _mm256_loadu_ps(p); }
VECTOR_AVX2 __m256 all_avx2(const float *p) { return _mm256_broadcast_ss(p); }
VECTOR_AVX2 __m256 add_avx2(__m256 a, __m256 b) { return _mm256_add_ps(a, b); }
VECTOR_AVX2 __m256 fma_avx2(__m256 a, __m256 b, __m256 c) {
  return _mm256_fmadd_ps(a, b, c);
}
VECTOR_AVX2 void put_avx2(float *p, __m256 a) {
  __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
  _mm256_storeu_ps(p, _mm256_blendv_ps(a, _mm256_set1_ps(NAN), nan));
}

// A tile has two vectors of sums in each of its rows. They are named, not in an
// array, which compilers put into memory.
#define ROWS_1(ROW, v) ROW(v, 0)
#define ROWS_2(ROW, v) ROWS_1(ROW, v) ROW(v, 1)
#define ROWS_4(ROW, v) ROWS_2(ROW, v) ROW(v, 2) ROW(v, 3)
#define ROWS_6(ROW, v) ROWS_4(ROW, v) ROW(v, 4) ROW(v, 5)
#define ROWS_8(ROW, v) ROWS_6(ROW, v) ROW(v, 6) ROW(v, 7)

#define ZERO(v, i)                                                             \
  vec_##v left##i = zero_##v(), right##i = zero_##v();                         \
  IBX_PREFETCH(c + (i) * step);

#define MULTIPLY(v, i)                                                         \
  x = all_##v(a + (i));                                                        \
  left##i = fma_##v(x, b0, left##i);                                           \
  right##i = fma_##v(x, b1, right##i);

#define ACCUMULATE(v, i)                                                       \
  left##i = add_##v(load_##v(c + (i) * step), left##i);                        \
  right##i = add_##v(load_##v(c + (i) * step + lanes), right##i);

#define PUT(v, i)                                                              \
  put_##v(c + (i) * step, left##i);                                            \
  put_##v(c + (i) * step + lanes, right##i);

#define TILE(v, features, ROWS)                                                \
  IBX_CPU(features)                                                            \
  static void tile_##v##_##ROWS(const tile *t) {                               \
    const size_t lanes = sizeof(vec_##v) / sizeof(float);                      \
    const size_t step = t->c_step;                                             \
    const float *a = t->a, *b = t->packed;                                     \
    float *c = t->c;                                                           \
    ROWS_##ROWS(ZERO, v);                                                      \
    for (size_t k = t->k; k != 0; k--) {                                       \
      vec_##v b0 = load_##v(b), b1 = load_##v(b + lanes), x;                   \
      IBX_PREFETCH(b + 8 * lanes);                                             \
      ROWS_##ROWS(MULTIPLY, v);                                                \
      a += IBX_GEMM_A_STEP;                                                    \
      b += 2 * lanes;                                                          \
    }                                                                          \
    if (t->accumulate) {                                                       \
      ROWS_##ROWS(ACCUMULATE, v);                                              \
    }                                                                          \
    ROWS_##ROWS(PUT, v);                                                       \
  }

// 8 rows take 16 of 32 registers; 6 rows take 12 of 16 and leave the operands 4.
TILE(avx512, "avx512f", 8)
TILE(avx512, "avx512f", 4)
TILE(avx512, "avx512f", 2)
TILE(avx512, "avx512f", 1)
TILE(avx2, "avx2,fma", 6)
TILE(avx2, "avx2,fma", 4)
TILE(avx2, "avx2,fma", 2)
TILE(avx2, "avx2,fma", 1)

static void tile_avx512(const tile *t) {
  switch (t->rows) {
  case 8: tile_avx512_8(t); return;
  case 4: tile_avx512_4(t); return;
  case 2: tile_avx512_2(t); return;
  default: tile_avx512_1(t); return;
  }
}

static void tile_avx2(const tile *t) {
  switch (t->rows) {
  case 6: tile_avx2_6(t); return;
  case 4: tile_avx2_4(t); return;
  case 2: tile_avx2_2(t); return;
  default: tile_avx2_1(t); return;
  }
}
#endif

static kernel pick_kernel(void) {
#if IBX_CPU_X86
  if (IBX_CPU_HAS("avx512f")) return (kernel){tile_avx512, 8, 32};
  if (IBX_CPU_HAS("avx2") && IBX_CPU_HAS("fma")) {
    return (kernel){tile_avx2, 6, 16};
  }
#endif
  return (kernel){tile_plain, 1, 16};
}

// Rows of the next tile: the kernel's most, or 4, 2, 1; two tiles of 4 where 6
// would leave 2, for which the arithmetic units are too many.
static size_t next_rows(const kernel *best, size_t left) {
  bool most = left >= best->rows && !(best->rows == 6 && left == 8);
  if (most) return best->rows;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// Columns column .. column + n of b as panels, the rest of the last one zeros.
static void pack(const ibx_gemm *g, size_t column, size_t n, size_t width,
                 size_t pitch) {
  for (size_t i = 0; i < g->k; i++) {
    const float *row = g->b + i * g->b_step + column;
    float *to = g->room + i * width;
    for (size_t j = 0; j < n; j += width, to += pitch) {
      size_t count = n - j < width ? n - j : width;
      if (i + AHEAD < g->k) IBX_PREFETCH(row + j + AHEAD * g->b_step);
      if (count == width) {
        for (size_t part = 0; part < width; part += 16) {
          memcpy(to + part, row + j + part, 16 * sizeof(*to)); // not a call
        }
      } else {
        memset(to, 0, width * sizeof(*to));
        memcpy(to, row + j, count * sizeof(*to));
      }
    }
  }
}

// A tile that is narrower than the kernel's: sums go by way of a full one.
static void run_edge(const kernel *best, tile t, size_t width) {
  float sums[8 * MOST_WIDTH];
  float *c = t.c;
  size_t c_step = t.c_step;
  bool accumulate = t.accumulate;
  t.c = sums;
  t.c_step = best->width;
  t.accumulate = false;
  best->run(&t);
  for (size_t i = 0; i < t.rows; i++) {
    float *restrict to = c + i * c_step;
    const float *restrict from = sums + i * best->width;
    for (size_t j = 0; j < width; j++) {
      float total = accumulate ? to[j] + from[j] : from[j];
      to[j] = total != total ? NAN : total;
    }
  }
}

/// The next chunk of b: some of its cache lines are asked for after each tile,
/// so that they are there when it is packed.
typedef struct ahead {
  const float *row;
  size_t b_step, rows; ///< rows that are left
  size_t line, lines;  ///< of a row
  size_t share;        ///< lines after each tile
} ahead;

static ahead ahead_make(const ibx_gemm *g, const kernel *best, size_t column,
                        size_t n) {
  enum { LINE = 16 };
  size_t first = column + n, left = g->n - first;
  size_t tiles = (g->m / best->rows + 1) * (n / best->width + 1);
  ahead out = {.row = g->b + first,
               .b_step = g->b_step,
               .rows = left == 0 ? 0 : g->k,
               .lines = ((left < CHUNK ? left : CHUNK) + LINE - 1) / LINE};
  out.share = g->k * out.lines / tiles + 1;
  return out;
}

static void fetch_ahead(ahead *x) {
  for (size_t i = 0; i < x->share && x->rows != 0; i++) {
    IBX_PREFETCH(x->row + 16 * x->line);
    if (++x->line != x->lines) continue;
    x->line = 0;
    x->row += x->b_step;
    x->rows--;
  }
}

static void run_rows(const ibx_gemm *g, const kernel *best, size_t column,
                     size_t n, size_t row, size_t rows, ahead *next) {
  size_t pitch = g->k * best->width + PAD;
  tile t = {.a = g->a + row,
            .packed = g->room,
            .c = g->c + row * g->c_step + column,
            .k = g->k,
            .c_step = g->c_step,
            .rows = rows,
            .accumulate = g->accumulate};
  for (size_t j = 0; j < n; j += best->width) {
    if (n - j >= best->width) {
      best->run(&t);
    } else {
      run_edge(best, t, n - j);
    }
    fetch_ahead(next);
    t.packed += pitch;
    t.c += best->width;
  }
}

static_assert(CHUNK / 16 * (MOST_K * 16 + PAD) <= IBX_GEMM_ROOM, "room");

void ibx_gemm_run(const ibx_gemm *g) {
  kernel best = pick_kernel();
  for (size_t column = 0; column < g->n; column += CHUNK) {
    size_t n = g->n - column < CHUNK ? g->n - column : CHUNK;
    pack(g, column, n, best.width, g->k * best.width + PAD);
    ahead next = ahead_make(g, &best, column, n);
    for (size_t row = 0, rows; row < g->m; row += rows) {
      rows = next_rows(&best, g->m - row);
      run_rows(g, &best, column, n, row, rows, &next);
    }
  }
}
