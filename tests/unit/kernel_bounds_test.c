// SPDX-License-Identifier: Apache-2.0
//
// Physical bounds. For each published kernel that examples/kernels has: the
// least time that the machine's tables allow for its mathematics, whatever the
// program, and the time model's figure for ours, which must not be below. A row
// counts what cannot be avoided:
//
//   bytes   inputs read once and outputs written once, by all DMA engines
//   macs    multiply-adds on an array of 128 x 128, four passes for fp32
//   lanes   elements that Vector, Scalar and GpSimd must pass through their 128
//           lanes, each pass once, all three at their clocks side by side, 16-bit types in the
//           fastest modes
//
// The bound is the largest of the three. All times are microseconds.

#include "support/kernel.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

typedef struct row {
  const char *name; ///< as in hardware.md 5.2 and 5.3
  const char *file;
  const char *sizes;
  const char *target;  ///< the published machine
  double published_us; ///< 0 where nothing is published
  double bytes, macs, lanes;
  bool is_fp32;
} row;

#define MIB(n) ((n) * 1048576.0)

static const row rows[] = {
    // One function of each element.
    {.name = "silu 4096x7168 fp32",
     .file = "silu.s",
     .target = "ibx2",
     .published_us = 1333,
     .bytes = 2 * 4 * MIB(28),
     .lanes = MIB(28),
     .is_fp32 = true},
    // Out of PSUM, into which the array turns them.
    {.name = "transpose 4096x4096 fp32",
     .file = "transpose.s",
     .target = "ibx3",
     .published_us = 700,
     .bytes = 2 * 4 * MIB(16),
     .lanes = MIB(16),
     .is_fp32 = true},
    // x, gain, w and out; a sum of squares, and the results out of PSUM.
    {.name = "rmsnorm_matmul 4096x2048x1024 fp32",
     .file = "rms_norm_matmul.s",
     .target = "ibx2",
     .published_us = 1056,
     .bytes = 4 * (MIB(8) + 2048 + MIB(2) + MIB(4)),
     .macs = MIB(8) * 1024,
     .lanes = MIB(8) + MIB(4),
     .is_fp32 = true},
    // And a residual, which is added.
    {.name = "add_rmsnorm_matmul 4096x2048x1024 fp32",
     .file = "rms_norm_matmul.s",
     .sizes = "ADD=1",
     .target = "ibx2",
     .published_us = 1222,
     .bytes = 4 * (2 * MIB(8) + 2048 + MIB(2) + MIB(4)),
     .macs = MIB(8) * 1024,
     .lanes = 2 * MIB(8) + MIB(4),
     .is_fp32 = true},
    // x, w, residual, gain and out; the sum, its squares, the product.
    {.name = "matmul_add_rmsnorm 4096x2048x2048 fp32",
     .file = "matmul_add_rms_norm.s",
     .target = "ibx2",
     .published_us = 2667,
     .bytes = 4 * (MIB(8) + MIB(4) + 2 * MIB(8) + 2048),
     .macs = MIB(8) * 2048,
     .lanes = 3 * MIB(8),
     .is_fp32 = true},
    // x, three weights and out; SiLU, a product, and the results out of PSUM.
    {.name = "swiglu 4096x3072x1024 fp32",
     .file = "swiglu.s",
     .target = "ibx2",
     .published_us = 4222,
     .bytes = 4 * (2 * MIB(4) + 3 * MIB(3)),
     .macs = 3 * MIB(4) * 3072,
     .lanes = 2 * MIB(12) + MIB(4),
     .is_fp32 = true},
    // x, cos, sin and out; two products and a sum for each element.
    {.name = "rope H64 N4096 D128 fp32",
     .file = "rope.s",
     .target = "ibx2",
     .published_us = 4333,
     .bytes = 4 * (2 * MIB(32) + 2 * MIB(0.25)),
     .lanes = 3 * MIB(32),
     .is_fp32 = true},
    // A sum of squares, then one product with root and gain.
    {.name = "RMS norm 2048x8192 fp32",
     .file = "rms_norm.s",
     .target = "ibx3",
     .bytes = 2 * 4 * MIB(16) + 4 * 8192,
     .lanes = 2 * MIB(16),
     .is_fp32 = true},
    // A maximum, an exponential with its sum, a product.
    {.name = "softmax 2048x8192 fp32",
     .file = "softmax.s",
     .target = "ibx3",
     .bytes = 2 * 4 * MIB(16),
     .lanes = 3 * MIB(16),
     .is_fp32 = true},
    {.name = "matrix product 4096x8192x8192 fp32, naive",
     .file = "matmul_1_naive.s",
     .target = "ibx3",
     .published_us = 39890,
     .bytes = 4 * (MIB(32) + MIB(64) + MIB(32)),
     .macs = MIB(32) * 8192,
     .lanes = MIB(32),
     .is_fp32 = true},
    {.name = "matrix product 4096x8192x8192 fp32, blocked",
     .file = "matmul_4_block_mnk.s",
     .target = "ibx3",
     .published_us = 28300,
     .bytes = 4 * (MIB(32) + MIB(64) + MIB(32)),
     .macs = MIB(32) * 8192,
     .lanes = MIB(32),
     .is_fp32 = true},
    {.name = "GEMM 4096x8192x8192 bf16",
     .file = "matmul_ibx2.s",
     .target = "ibx2",
     .published_us = 6960,
     .bytes = 2 * (MIB(32) + MIB(64) + MIB(32)),
     .macs = MIB(32) * 8192,
     .lanes = MIB(32)},
    {.name = "matmul 4096x5120x12288 fp32",
     .file = "matmul_ibx2.s",
     .sizes = "M=4096 K=5120 N=12288 TYPE=1 WIDTH=256 SLOTS=5",
     .target = "ibx2",
     .published_us = 35200,
     .bytes = 4 * (MIB(20) + MIB(60) + MIB(48)),
     .macs = MIB(20) * 12288,
     .lanes = MIB(48),
     .is_fp32 = true},
    {.name = "bmm 16x4096x64x4096 fp32",
     .file = "bmm.s",
     .target = "ibx2",
     .published_us = 4611,
     .bytes = 4 * (MIB(4) + MIB(4) + MIB(256)),
     .macs = MIB(256) * 64,
     .lanes = MIB(256),
     .is_fp32 = true},
    // Two products of all scores; of each a maximum and an exponential.
    {.name = "attention d128 4096x4096, trn1",
     .file = "flash_attention.s",
     .sizes = "MACHINE=2",
     .target = "ibx2",
     .published_us = 293,
     .bytes = 4 * 2 * 4096 * 128,
     .macs = 2 * MIB(16) * 128,
     .lanes = 2 * MIB(16)},
    {.name = "attention d128 4096x4096, trn2",
     .file = "flash_attention.s",
     .target = "ibx3",
     .published_us = 400,
     .bytes = 4 * 2 * 4096 * 128,
     .macs = 2 * MIB(16) * 128,
     .lanes = 2 * MIB(16)},
    // Image, weights, bias and results of 256 channels each.
    {.name = "conv 3x3 256 to 256 224x224 fp16",
     .file = "conv3x3.s",
     .target = "ibx3",
     .published_us = 1002,
     .bytes = 2 * 256 * (224 * 224 + 2304 + 1 + 222 * 222),
     .macs = 256.0 * 2304 * 222 * 222,
     .lanes = 256 * 222 * 222},
    {.name = "conv 3x3 256 to 256 224x224 fp32",
     .file = "conv3x3.s",
     .sizes = "TYPE=1",
     .target = "ibx3",
     .published_us = 4596,
     .bytes = 4 * 256 * (224 * 224 + 2304 + 1 + 222 * 222),
     .macs = 256.0 * 2304 * 222 * 222,
     .lanes = 256 * 222 * 222,
     .is_fp32 = true},
    {.name = "conv 3x3 256 to 256 32x16 fp16",
     .file = "conv3x3.s",
     .sizes = "H=32 W=16 ROWS=30 TILE_ROWS=15",
     .target = "ibx3",
     .published_us = 84,
     .bytes = 2 * 256 * (32 * 16 + 2304 + 1 + 30 * 14),
     .macs = 256.0 * 2304 * 30 * 14,
     .lanes = 256 * 30 * 14},
};

static double dma_us(const ibx_machine *m, double bytes) {
  return bytes / ((double)m->dma_engines * (double)m->dma_mb_per_s);
}

static double array_us(const ibx_machine *m, const row *r) {
  double passes = r->is_fp32 ? (double)m->fp32_passes : 1.0;
  double lanes = (double)IBX_PARTITIONS * IBX_PARTITIONS;
  return passes * r->macs / lanes / (double)m->tensor_mhz;
}

// No engine does more than its fastest mode.
static double lanes_us(const ibx_machine *m, const row *r) {
  double fast = r->is_fp32 ? 1.0 : (double)m->vector_fast;
  double narrow = r->is_fp32 ? 1.0 : (double)m->scalar_fast;
  double rate = (double)m->vector_mhz * fast + (double)m->scalar_mhz * narrow +
                (double)m->gpsimd_mhz;
  return r->lanes / IBX_PARTITIONS / rate;
}

static void open(kernel *k, const char *file, const char *sizes) {
  ibx_error err;
  if (kernel_open(k, file, sizes ? sizes : "", &err) != IBX_OK) {
    fail_msg("%s: %s", file, err.message);
  }
}

static double time_us(const kernel *k) {
  ibx_sim_time time;
  ibx_error err;
  if (kernel_time(k, &time, &err) != IBX_OK) fail_msg("%s", err.message);
  return (double)time.total_ps / 1e6;
}

static void no_kernel_beats_its_bound(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    const row *r = &rows[i];
    kernel k;
    open(&k, r->file, r->sizes);
    const ibx_machine *m = k.data->machine;
    assert_string_equal(m->name, r->target);
    double dma = dma_us(m, r->bytes), array = array_us(m, r);
    double lanes = lanes_us(m, r), us = time_us(&k);
    double bound = fmax(dma, fmax(array, lanes));
    print_message("%-45s %s bound %8.1f (dma %8.1f, array %8.1f, lanes %6.1f) "
                  "ours %8.1f published %8.0f\n",
                  r->name, r->target, bound, dma, array, lanes, us,
                  r->published_us);
    if (us < bound) {
      fail_msg("%s takes %.1f us, its bound is %.1f", r->name, us, bound);
    }
    assert_true(r->published_us == 0 || bound <= r->published_us);
    kernel_close(&k);
  }
}

// What a kernel's text says of its bounds is what its row says.
static void files_tell_the_same_bounds(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    const row *r = &rows[i];
    kernel k;
    open(&k, r->file, r->sizes);
    const ibx_machine *m = k.data->machine;
    const ibx_bounds *b = &k.entry->bounds;
    double dma = dma_us(m, r->bytes) * 1e6, array = array_us(m, r) * 1e6;
    assert_true((double)b->hbm_min_bytes == r->bytes);
    if (fabs((double)b->hbm_ps - dma) > 1 + dma * 1e-6 ||
        fabs((double)b->tensor_ps - array) > 1 + array * 1e-6) {
      fail_msg("%s: its .bounds are not those of the mathematics", r->file);
    }
    kernel_close(&k);
  }
}

// Small instances have their start-up, large ones their traffic: neither is
// faster than the bounds of the text, or than its inputs and outputs move.
static void small_instances_do_not_beat_theirs(void **s) {
  size_t count;
  const kernel_row *small = kernel_rows(&count);
  (void)s;
  for (size_t i = 0; i < count; i++) {
    kernel k;
    double bytes = 0;
    open(&k, small[i].file, small[i].small);
    for (size_t b = 0; b < k.entry->buffer_count; b++) {
      uint8_t kind = k.entry->buffers[b].kind;
      bool counts = kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_OUTPUT;
      if (counts) bytes += (double)k.entry->buffers[b].place.bytes;
    }
    const ibx_bounds *bounds = &k.entry->bounds;
    double us = time_us(&k);
    assert_true(us >= dma_us(k.data->machine, bytes));
    assert_true(us >= (double)bounds->hbm_ps / 1e6);
    assert_true(us >= (double)bounds->tensor_ps / 1e6);
    assert_true(us >= (double)bounds->engine_ps / 1e6);
    kernel_close(&k);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_kernel_beats_its_bound),
      cmocka_unit_test(files_tell_the_same_bounds),
      cmocka_unit_test(small_instances_do_not_beat_theirs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
