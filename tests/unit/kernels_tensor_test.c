// SPDX-License-Identifier: Apache-2.0
//
// examples/kernels that keep the tensor engine busy, in 16-bit types and fp32:
// small instances against plain C in double precision, in program order, random
// and adversarial orders; full size proved and held between its bound and the
// published figure. What full size takes to the nanosecond is in
// docs/fidelity.md, with a test of its own.

#include "support/kernel.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_ORDERS = 3 };

/// Inputs by name in fp32, and what the output should be.
typedef struct problem {
  const kernel *k;
  float *input[4];
  double *want;
} problem;

typedef void (*reference)(problem *p);

typedef struct row {
  const char *file;
  const char *sizes; ///< of the full-size instance
  const char *small;
  reference fill;
  double tolerance; ///< of the difference, to the largest of the results
  double published_us;
  float gain; ///< of the first input: 1, or a power of two
} row;

static const uint64_t *shape_of(const problem *p, size_t input) {
  return p->k->entry->inputs[input].shape;
}

// --- references ------------------------------------------------------------------

// out[M, N] += lhsT[K, M]^T x rhs[K, N].
static void add_product(const float *left, const float *right,
                        const uint64_t *size, double *out) {
  const uint64_t m_count = size[0], n_count = size[1], k_count = size[2];
  for (uint64_t m = 0; m < m_count; m++) {
    for (uint64_t k = 0; k < k_count; k++) {
      double factor = left[k * m_count + m];
      for (uint64_t n = 0; n < n_count; n++)
        out[m * n_count + n] += factor * right[k * n_count + n];
    }
  }
}

// lhsT[.., K, M], rhs[.., K, N]. Inputs are multiples of 1/64 up to 2, so all
// sums here are exact in fp32 as well.
static void product(problem *p) {
  const size_t rank = p->k->entry->inputs[0].rank;
  const uint64_t *left = shape_of(p, 0), *right = shape_of(p, 1);
  const uint64_t size[] = {left[rank - 1], right[rank - 1], left[rank - 2]};
  const uint64_t batch = rank == 3 ? left[0] : 1;
  for (uint64_t b = 0; b < batch; b++)
    add_product(p->input[0] + b * size[2] * size[0],
                p->input[1] + b * size[2] * size[1], size,
                p->want + b * size[0] * size[1]);
}

// Scores of one query, scaled; their sum is that of exp(score - largest).
static double attend(const problem *p, uint64_t query, double *score) {
  const uint64_t keys = shape_of(p, 1)[1], d_count = shape_of(p, 0)[0];
  double largest = -INFINITY, sum = 0;
  memset(score, 0, keys * sizeof(*score));
  for (uint64_t d = 0; d < d_count; d++) {
    double q = p->input[0][d * keys + query];
    for (uint64_t k = 0; k < keys; k++)
      score[k] += q * p->input[1][d * keys + k];
  }
  for (uint64_t k = 0; k < keys; k++) {
    score[k] /= sqrt((double)d_count);
    largest = fmax(largest, score[k]);
  }
  for (uint64_t k = 0; k < keys; k++) {
    score[k] = exp(score[k] - largest);
    sum += score[k];
  }
  return sum;
}

// qT[d, queries], kT[d, keys], v[keys, d].
static void attention(problem *p) {
  const uint64_t keys = shape_of(p, 2)[0], d_count = shape_of(p, 2)[1];
  double *score = calloc(keys, sizeof(*score));
  assert_non_null(score);
  for (uint64_t q = 0; q < shape_of(p, 0)[1]; q++) {
    double sum = attend(p, q, score);
    for (uint64_t k = 0; k < keys; k++) {
      for (uint64_t d = 0; d < d_count; d++)
        p->want[q * d_count + d] +=
            score[k] / sum * p->input[2][k * d_count + d];
    }
  }
  free(score);
}

// image[256, H, W], w[256, 256, 3, 3], bias[256].
static void add_tap(problem *p, uint64_t o, uint64_t i, uint64_t tap) {
  const uint64_t height = shape_of(p, 0)[1], width = shape_of(p, 0)[2];
  const uint64_t out_height = height - 2, out_width = width - 2;
  double w = p->input[1][(o * 256 + i) * 9 + tap];
  for (uint64_t y = 0; y < out_height; y++) {
    const float *image =
        &p->input[0][(i * height + y + tap / 3) * width + tap % 3];
    double *out = &p->want[(o * out_height + y) * out_width];
    for (uint64_t x = 0; x < out_width; x++)
      out[x] += w * image[x];
  }
}

static void convolution(problem *p) {
  const uint64_t pixels = (shape_of(p, 0)[1] - 2) * (shape_of(p, 0)[2] - 2);
  for (uint64_t o = 0; o < 256; o++) {
    for (uint64_t x = 0; x < pixels; x++)
      p->want[o * pixels + x] = p->input[2][o];
    for (uint64_t i = 0; i < 256 * 9; i++)
      add_tap(p, o, i / 9, i % 9);
  }
}

// --- the table -------------------------------------------------------------------

// hardware.md 5.2 and 5.3. Sums are exact, so a result differs by its rounding to
// the output's type only: half a unit, 2^-8 for bf16, 2^-11 for f16. Attention
// also rounds each probability to bf16, and the sum of the rounded ones divides
// them: another 2^-8 of an average of values.
#define HALF_BF16 (1.0 / 256)
#define HALF_F16 (1.0 / 2048)
#define F32_SIZES "TYPE=1 WIDTH=256 SLOTS=5"
static const row rows[] = {
    {"matmul_ibx2.s", "", "M=512 N=2048 K=1024 WIDTH=256 SLOTS=2", product,
     HALF_BF16, 6960, 1},
    {"matmul_ibx2.s", "M=4096 K=5120 N=12288 " F32_SIZES,
     "TYPE=1 M=512 N=2048 K=1024 WIDTH=128 SLOTS=2", product, 0, 35200, 1},
    {"bmm.s", "", "BATCH=4 M=256 N=2048", product, 0, 4611, 1},
    {"flash_attention.s", "", "SEQ=1024", attention, 2 * HALF_BF16, 400, 1},
    {"flash_attention.s", "MACHINE=2", "SEQ=1536 MACHINE=2", attention,
     2 * HALF_BF16, 293, 1},
    // Scores beyond 88, of which fp32 has no exp: the maximum is subtracted.
    {"flash_attention.s", "", "SEQ=1024", attention, 2 * HALF_BF16, 400, 64},
    {"conv3x3.s", "", "H=32 W=11 ROWS=6 TILE_ROWS=2", convolution, HALF_F16,
     1002, 1},
    {"conv3x3.s", "TYPE=1", "TYPE=1 H=14 W=12 ROWS=4 TILE_ROWS=2", convolution,
     0, 4596, 1},
    {"conv3x3.s", "H=32 W=16 ROWS=30 TILE_ROWS=15",
     "H=17 W=16 ROWS=15 TILE_ROWS=5", convolution, HALF_F16, 84, 1},
    {"conv3x3.s", "TYPE=1 H=32 W=16 ROWS=30 TILE_ROWS=15",
     "TYPE=1 H=18 W=10 ROWS=8 TILE_ROWS=8", convolution, 0, 110, 1},
};

static void open(kernel *k, const row *r, const char *sizes) {
  ibx_error err;
  if (kernel_open(k, r->file, sizes, &err) != IBX_OK ||
      kernel_prove(k, &err) != IBX_OK) {
    fail_msg("%s %s: %s", r->file, sizes, err.message);
  }
}

// --- values ----------------------------------------------------------------------

static uint64_t count_of(const ibx_tensor_decl *tensor) {
  uint64_t count = 1;
  for (size_t d = 0; d < tensor->rank; d++)
    count *= tensor->shape[d];
  return count;
}

static float *load(const kernel *k, const ibx_tensor_decl *tensor) {
  uint64_t count = count_of(tensor);
  float *values = calloc(count, sizeof(*values));
  assert_non_null(values);
  ibx_dtype_load_f32((ibx_dtype)tensor->dtype, k->memory[tensor->buffer],
                     values, count);
  return values;
}

// A power of two changes no significant bit.
static void scale_first(const kernel *k, float gain) {
  const ibx_tensor_decl *input = &k->entry->inputs[0];
  float *values = load(k, input);
  for (uint64_t i = 0; i < count_of(input); i++)
    values[i] *= gain;
  ibx_dtype_store_f32((ibx_dtype)input->dtype, values, k->memory[input->buffer],
                      count_of(input));
  free(values);
}

static void solve(problem *p, const row *r) {
  const ibx_entry *entry = p->k->entry;
  assert_true(entry->input_count <= IBX_COUNT_OF(p->input));
  for (size_t i = 0; i < entry->input_count; i++)
    p->input[i] = load(p->k, &entry->inputs[i]);
  p->want = calloc(count_of(&entry->outputs[0]), sizeof(*p->want));
  assert_non_null(p->want);
  r->fill(p);
  for (size_t i = 0; i < entry->input_count; i++)
    free(p->input[i]);
}

static void check_values(const kernel *k, const row *r) {
  problem p = {.k = k};
  const ibx_tensor_decl *output = &k->entry->outputs[0];
  float *got = load(k, output);
  double largest = 0;
  solve(&p, r);
  for (uint64_t i = 0; i < count_of(output); i++)
    largest = fmax(largest, fabs(p.want[i]));
  assert_true(largest > 0);
  for (uint64_t i = 0; i < count_of(output); i++) {
    // Written so that a NaN fails, too.
    if (fabs(got[i] - p.want[i]) <= r->tolerance * largest) continue;
    fail_msg("%s %s: element %llu is %g, should be %g", r->file, r->small,
             (unsigned long long)i, (double)got[i], p.want[i]);
  }
  free(p.want);
  free(got);
}

static void small_instances_are_right_in_every_order(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    kernel k;
    ibx_error err;
    open(&k, &rows[i], rows[i].small);
    if (kernel_make_memory(&k, &err) != IBX_OK) fail_msg("%s", err.message);
    scale_first(&k, rows[i].gain);
    if (kernel_run_orders(&k, RANDOM_ORDERS, &err) != IBX_OK) {
      fail_msg("%s %s: %s", rows[i].file, rows[i].small, err.message);
    }
    check_values(&k, &rows[i]);
    kernel_close(&k);
  }
}

// --- time ------------------------------------------------------------------------

static void full_size_lies_between_bound_and_published_time(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    const row *r = &rows[i];
    kernel k;
    ibx_sim_time time;
    ibx_error err;
    open(&k, r, r->sizes);
    if (kernel_time(&k, &time, &err) != IBX_OK) fail_msg("%s", err.message);
    double us = (double)time.total_ps / 1e6;
    double bound_us = (double)k.entry->bounds.engine_ps / 1e6;
    print_message("%-18s %-40s %8.1f us, published %6.0f\n", r->file, r->sizes,
                  us, r->published_us);
    if (us < bound_us || us > r->published_us) {
      fail_msg("%s %s takes %.1f us; its engines need %.1f, %.0f are published",
               r->file, r->sizes, us, bound_us, r->published_us);
    }
    kernel_close(&k);
  }
}

static void other_sizes_are_refused(void **s) {
  static const struct {
    const char *file, *sizes, *message;
  } wrong[] = {
      {"matmul_ibx2.s", "M=512", "M is a multiple of two panels"},
      {"matmul_ibx2.s", "WIDTH=384", "a panel has 128, 256 or 512 columns"},
      {"matmul_ibx2.s", "SLOTS=3", "two passes over K end with the last slot"},
      {"bmm.s", "BATCH=6", "BATCH is a multiple of 4"},
      {"bmm.s", "N=8192 M=8192", "operands and rows do not fit SBUF"},
      {"flash_attention.s", "SEQ=512", "SEQ is a multiple of 512, at least"},
      {"flash_attention.s", "SEQ=16384", "SEQ is at most 8192"},
      {"flash_attention.s", "MACHINE=4", "the machine is 2 or 3"},
      {"conv3x3.s", "H=225", "stripes have ROWS rows of results each"},
      {"conv3x3.s", "TILE_ROWS=3", "a tile has at most 512 results"},
      {"conv3x3.s", "TILE_ROWS=4", "a stripe has whole tiles"},
      {"conv3x3.s", "TILE_ROWS=1", "a stripe has at most four tiles"},
  };
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    kernel k;
    ibx_error err;
    assert_int_equal(kernel_open(&k, wrong[i].file, wrong[i].sizes, &err),
                     IBX_INVALID_PROGRAM);
    if (!strstr(err.message, wrong[i].message)) fail_msg("%s", err.message);
    kernel_close(&k);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_instances_are_right_in_every_order),
      cmocka_unit_test(full_size_lies_between_bound_and_published_time),
      cmocka_unit_test(other_sizes_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
