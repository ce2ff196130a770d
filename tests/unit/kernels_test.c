// SPDX-License-Identifier: Apache-2.0
//
// examples/kernels: the published figures, the proof, and the product itself.
// At full size the kernels are timed and proved; at a small size, with whole
// numbers whose sums fp32 holds exactly, they must give the product bit for bit
// in every order that their semaphores allow.

#include "support/kernel.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct product {
  const char *file;
  double published_ms;
  double tensor_share; ///< per cent; 0 where none is held to
  double read_gb;      ///< 0 where none is published
  const char *small;
} product;

// hardware.md 5.1: KOPT, trn2, fp32, 4096 x 8192 x 8192.
static const product products[] = {
    {.file = "matmul_1_naive.s",
     .published_ms = 39.89,
     .read_gb = 10.74,
     .small = "M=256 N=1024 K=3072"},
    {.file = "matmul_2_hoist.s",
     .published_ms = 28.20,
     .tensor_share = 99.85,
     .small = "M=512 N=1024 K=3072"},
    {.file = "matmul_3_block_mn.s",
     .published_ms = 28.41,
     .tensor_share = 99.52,
     .small = "M=512 N=2048 K=1536"},
    {.file = "matmul_4_block_mnk.s",
     .published_ms = 28.30,
     .tensor_share = 99.50,
     .small = "M=1024 N=1024 K=4096 BLOCK_M=512"},
};

static void open(kernel *k, const char *file, const char *sizes) {
  ibx_error err;
  if (kernel_open(k, file, sizes, &err) != IBX_OK) {
    fail_msg("%s: %s", file, err.message);
  }
}

static void prove(const kernel *k) {
  ibx_error err;
  if (kernel_prove(k, &err) != IBX_OK) {
    fail_msg("%s: %s", k->data->model, err.message);
  }
}

static ibx_sim_time time_of(const kernel *k) {
  ibx_sim_time time;
  ibx_error err;
  if (kernel_time(k, &time, &err) != IBX_OK) {
    fail_msg("%s: %s", k->data->model, err.message);
  }
  return time;
}

// --- figures -------------------------------------------------------------------

static void check_figures(const product *r) {
  kernel k;
  open(&k, r->file, "");
  ibx_sim_time time = time_of(&k);
  double ms = (double)time.total_ps / 1e9;
  double share =
      100.0 * (double)time.busy_ps[IBX_ENGINE_TENSOR] / (double)time.total_ps;
  prove(&k);
  if (fabs(ms / r->published_ms - 1.0) > 0.03) {
    fail_msg("%s takes %.2f ms, %.2f are published", r->file, ms,
             r->published_ms);
  }
  if (r->tensor_share != 0 && fabs(share - r->tensor_share) > 3.0) {
    fail_msg("%s: tensor is busy %.2f %%, %.2f are published", r->file, share,
             r->tensor_share);
  }
  double gb = (double)time.hbm_read_bytes / 1e9;
  if (r->read_gb != 0 && fabs(gb / r->read_gb - 1.0) > 0.005) {
    fail_msg("%s reads %.2f GB, %.2f are published", r->file, gb, r->read_gb);
  }
  kernel_close(&k);
}

static void products_take_the_published_time(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(products); i++)
    check_figures(&products[i]);
}

static void blocking_moves_fewer_bytes_each_time(void **s) {
  (void)s;
  uint64_t before = UINT64_MAX;
  for (size_t i = 0; i < IBX_COUNT_OF(products); i++) {
    kernel k;
    open(&k, products[i].file, "");
    ibx_sim_time time = time_of(&k);
    assert_true(time.hbm_read_bytes < before);
    assert_int_equal(time.hbm_write_bytes, UINT64_C(4) * 4096 * 8192);
    before = time.hbm_read_bytes;
    kernel_close(&k);
  }
}

// hardware.md 4.2: share of the rate at 32 KiB a partition, in per cent.
static void the_sweep_is_the_published_curve(void **s) {
  (void)s;
  static const double published[] = {1.4, 2.6, 5.0,  10.3, 20.6,
                                     42,  81,  96.6, 98.3, 99};
  kernel k;
  open(&k, "dma_sweep.s", "");
  const size_t count = IBX_COUNT_OF(published);
  assert_int_equal(k.data->entry_count, count + 1);
  double full = 0;
  for (size_t i = count + 1; i-- > 0;) {
    k.entry = &k.data->entries[i];
    ibx_sim_time time = time_of(&k);
    double rate = (double)time.hbm_read_bytes / (double)time.total_ps;
    assert_int_equal(time.hbm_read_bytes, UINT64_C(128) * 32 << i);
    prove(&k);
    if (i == count) {
      full = rate;
    } else if (fabs(100.0 * rate / full / published[i] - 1.0) > 0.1) {
      fail_msg("%d bytes: %.2f %%, %.1f are published", 32 << i,
               100.0 * rate / full, published[i]);
    }
  }
  kernel_close(&k);
}

// --- the product -----------------------------------------------------------------

// Whole numbers from -1 to 2, so that fp32 holds every sum.
static void fill(float *data, size_t count, uint32_t state) {
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    data[i] = (float)(int)(state >> 16 & 3) - 1.0f;
  }
}

typedef struct operands {
  float *left, *right, *out; // lhsT[K,M], rhs[K,N], out[M,N]
  size_t m, n, k;
} operands;

static operands make_operands(kernel *k) {
  ibx_error err;
  const uint64_t *left, *right;
  if (kernel_make_memory(k, &err) != IBX_OK) fail_msg("%s", err.message);
  operands o = {.left = kernel_tensor(k, "lhsT", &left),
                .right = kernel_tensor(k, "rhs", &right),
                .out = kernel_tensor(k, "out", NULL)};
  o.k = (size_t)left[0];
  o.m = (size_t)left[1];
  o.n = (size_t)right[1];
  fill(o.left, o.k * o.m, 1);
  fill(o.right, o.k * o.n, 2);
  return o;
}

// Rows of every tile are compared.
static void check_product(const operands *o, const char *file) {
  float *want = calloc(o->n, sizeof(*want));
  assert_non_null(want);
  for (size_t row = 0; row < o->m; row += 51) {
    memset(want, 0, o->n * sizeof(*want));
    for (size_t k = 0; k < o->k; k++) {
      float left = o->left[k * o->m + row];
      const float *right = &o->right[k * o->n];
      for (size_t n = 0; n < o->n; n++)
        want[n] += left * right[n];
    }
    if (memcmp(want, &o->out[row * o->n], o->n * sizeof(*want)) != 0) {
      fail_msg("%s: row %zu is wrong", file, row);
    }
  }
  free(want);
}

static void products_are_right_in_every_order(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(products); i++) {
    kernel k;
    ibx_error err;
    open(&k, products[i].file, products[i].small);
    operands o = make_operands(&k);
    prove(&k);
    if (kernel_run_orders(&k, 1, &err) != IBX_OK) {
      fail_msg("%s: %s", products[i].file, err.message);
    }
    check_product(&o, products[i].file);
    kernel_close(&k);
  }
}

// Sizes that the kernels do not do are refused with their reason.
static void other_sizes_are_refused(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(products); i++) {
    kernel k;
    ibx_error err;
    assert_int_equal(kernel_open(&k, products[i].file, "M=100", &err),
                     IBX_INVALID_PROGRAM);
    assert_non_null(strstr(err.message, "M is a multiple of"));
    kernel_close(&k);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_take_the_published_time),
      cmocka_unit_test(blocking_moves_fewer_bytes_each_time),
      cmocka_unit_test(the_sweep_is_the_published_curve),
      cmocka_unit_test(products_are_right_in_every_order),
      cmocka_unit_test(other_sizes_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
