// SPDX-License-Identifier: Apache-2.0
//
// Matrix product of at most 128 rows and columns of the array with a moving
// tile. In: fp32 operands. Out: the sums that gemm.h specifies to the bit.
//
//   for each 32 columns of b     packed into k x 32 values, 16 KiB: stays in L1
//     for each TILE rows of a    TILE x 32 sums in registers, one pass over k
//
// The stationary operand already lies as a product wants it ([k][128]), so only
// b is packed. A BLAS packs both, which at this size costs as much as the
// arithmetic: measured, OpenBLAS does 30 GFLOPS where this does 120 (128 x 128
// x 512, AVX-512), and its order of summation depends on the build.

#include "sim/gemm.h"

#include <math.h>
#include <string.h>

#if IBX_CPU_X86
#include <immintrin.h>
#endif

enum { ARRAY = 128, WIDTH = 32, MOST_ROWS = 8 };

/// The sums of one tile (the kernel's rows by WIDTH columns: a[k][128],
/// packed[k][WIDTH]), stored at `c`, whose rows are `c_step` values apart, or
/// added to what is there.
typedef void (*tile_fn)(const float *a, const float *packed, size_t k, float *c,
                        size_t c_step, bool accumulate);

typedef struct kernel {
  tile_fn run;
  size_t rows; ///< of a tile
} kernel;

static void tile_plain(const float *a, const float *packed, size_t k, float *c,
                       size_t c_step, bool accumulate) {
  (void)c_step; // one row
  for (size_t j = 0; j < WIDTH; j++) {
    float sum = 0.0f;
    for (size_t i = 0; i < k; i++) {
      sum = fmaf(a[i * ARRAY], packed[i * WIDTH + j], sum);
    }
    float total = accumulate ? c[j] + sum : sum;
    c[j] = total != total ? NAN : total;
  }
}

#if IBX_CPU_X86
// NaN as instructions store it (element.h).
IBX_CPU("avx512f")
static inline __m512 quiet_avx512(__m512 sum) {
  __mmask16 nan = _mm512_cmp_ps_mask(sum, sum, _CMP_UNORD_Q);
  return _mm512_mask_blend_ps(nan, sum, _mm512_set1_ps(NAN));
}

IBX_CPU("avx2,fma")
static inline __m256 quiet_avx2(__m256 sum) {
  __m256 nan = _mm256_cmp_ps(sum, sum, _CMP_UNORD_Q);
  return _mm256_blendv_ps(sum, _mm256_set1_ps(NAN), nan);
}

// 8 x 32 sums in 16 registers of 16 values.
IBX_CPU("avx512f")
static void tile_avx512(const float *a, const float *packed, size_t k, float *c,
                        size_t c_step, bool accumulate) {
  __m512 sum[8][2];
  for (int i = 0; i < 8; i++) {
    sum[i][0] = sum[i][1] = _mm512_setzero_ps();
  }
  for (; k != 0; k--, a += ARRAY, packed += WIDTH) {
    __m512 b0 = _mm512_loadu_ps(packed);
    __m512 b1 = _mm512_loadu_ps(packed + 16);
    for (int i = 0; i < 8; i++) {
      __m512 x = _mm512_set1_ps(a[i]);
      sum[i][0] = _mm512_fmadd_ps(x, b0, sum[i][0]);
      sum[i][1] = _mm512_fmadd_ps(x, b1, sum[i][1]);
    }
  }
  for (int i = 0; i < 8; i++, c += c_step) {
    if (accumulate) {
      sum[i][0] = _mm512_add_ps(_mm512_loadu_ps(c), sum[i][0]);
      sum[i][1] = _mm512_add_ps(_mm512_loadu_ps(c + 16), sum[i][1]);
    }
    _mm512_storeu_ps(c, quiet_avx512(sum[i][0]));
    _mm512_storeu_ps(c + 16, quiet_avx512(sum[i][1]));
  }
}

// 2 x 32 sums in 8 registers of 8 values; 4 x 32 would take all 16.
IBX_CPU("avx2,fma")
static void tile_avx2(const float *a, const float *packed, size_t k, float *c,
                      size_t c_step, bool accumulate) {
  __m256 sum[2][4];
  for (int i = 0; i < 2; i++) {
    for (int j = 0; j < 4; j++) {
      sum[i][j] = _mm256_setzero_ps();
    }
  }
  for (; k != 0; k--, a += ARRAY, packed += WIDTH) {
    __m256 x0 = _mm256_set1_ps(a[0]);
    __m256 x1 = _mm256_set1_ps(a[1]);
    for (int j = 0; j < 4; j++) {
      __m256 b = _mm256_loadu_ps(packed + (size_t)j * 8);
      sum[0][j] = _mm256_fmadd_ps(x0, b, sum[0][j]);
      sum[1][j] = _mm256_fmadd_ps(x1, b, sum[1][j]);
    }
  }
  for (int i = 0; i < 2; i++, c += c_step) {
    for (int j = 0; j < 4; j++) {
      float *to = c + (size_t)j * 8;
      if (accumulate) sum[i][j] = _mm256_add_ps(_mm256_loadu_ps(to), sum[i][j]);
      _mm256_storeu_ps(to, quiet_avx2(sum[i][j]));
    }
  }
}
#endif

static kernel pick_kernel(void) {
#if IBX_CPU_X86
  if (IBX_CPU_HAS("avx512f")) return (kernel){tile_avx512, 8};
  if (IBX_CPU_HAS("avx2") && IBX_CPU_HAS("fma")) return (kernel){tile_avx2, 2};
#endif
  return (kernel){tile_plain, 1};
}

// Columns column .. column + width of b, the rest of WIDTH zeros.
static void pack(const ibx_gemm *g, size_t column, size_t width,
                 float *packed) {
  for (size_t i = 0; i < g->k; i++) {
    const float *row = g->b + i * g->b_step + column;
    float *to = packed + i * WIDTH;
    memcpy(to, row, width * sizeof(*to));
    for (size_t j = width; j < WIDTH; j++) {
      to[j] = 0.0f;
    }
  }
}

// A tile that does not fill the kernel's: sums go by way of a full one.
static void run_edge(const ibx_gemm *g, kernel best, const float *a,
                     const float *packed, float *c, size_t rows, size_t width) {
  float sums[MOST_ROWS * WIDTH];
  best.run(a, packed, g->k, sums, WIDTH, false);
  for (size_t i = 0; i < rows; i++) {
    float *restrict to = c + i * g->c_step;
    const float *restrict from = sums + i * WIDTH;
    for (size_t j = 0; j < width; j++) {
      float total = g->accumulate ? to[j] + from[j] : from[j];
      to[j] = total != total ? NAN : total;
    }
  }
}

void ibx_gemm_run(const ibx_gemm *g) {
  kernel best = pick_kernel();
  float packed[ARRAY * WIDTH];
  for (size_t column = 0; column < g->n; column += WIDTH) {
    size_t width = g->n - column < WIDTH ? g->n - column : WIDTH;
    pack(g, column, width, packed);
    for (size_t row = 0; row < g->m; row += best.rows) {
      size_t rows = g->m - row < best.rows ? g->m - row : best.rows;
      float *c = g->c + row * g->c_step + column;
      if (rows == best.rows && width == WIDTH) {
        best.run(g->a + row, packed, g->k, c, g->c_step, g->accumulate);
      } else {
        run_edge(g, best, g->a + row, packed, c, rows, width);
      }
    }
  }
}
