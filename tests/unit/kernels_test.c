// SPDX-License-Identifier: Apache-2.0
//
// examples/kernels: the published figures, the proof, and the product itself.
// At full size the kernels are timed and proved; at a small size, with whole
// numbers whose sums fp32 holds exactly, they must give the product bit for bit
// in every order that their semaphores allow.

#include "imbrex/asm.h"
#include "imbrex/blob.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct kernel {
  const char *file;
  double published_ms;
  double tensor_share; ///< per cent; 0 where none is held to
  double read_gb;      ///< 0 where none is published
  ibx_asm_define small[4];
  size_t small_count;
} kernel;

// hardware.md 5.1: KOPT, trn2, fp32, 4096 x 8192 x 8192.
static const kernel kernels[] = {
    {.file = "matmul_1_naive.s",
     .published_ms = 39.89,
     .read_gb = 10.74,
     .small = {{"M", 256}, {"N", 1024}, {"K", 3072}},
     .small_count = 3},
    {.file = "matmul_2_hoist.s",
     .published_ms = 28.20,
     .tensor_share = 99.85,
     .small = {{"M", 512}, {"N", 1024}, {"K", 3072}},
     .small_count = 3},
    {.file = "matmul_3_block_mn.s",
     .published_ms = 28.41,
     .tensor_share = 99.52,
     .small = {{"M", 512}, {"N", 2048}, {"K", 1536}},
     .small_count = 3},
    {.file = "matmul_4_block_mnk.s",
     .published_ms = 28.30,
     .tensor_share = 99.50,
     .small = {{"M", 1024}, {"N", 1024}, {"K", 4096}, {"BLOCK_M", 512}},
     .small_count = 4},
};

static ibx_asm_program *assemble(const char *file,
                                 const ibx_asm_define *defines, size_t count) {
  char path[1024];
  static char text[65536];
  snprintf(path, sizeof(path), "%s/examples/kernels/%s", IBX_SOURCE_DIR, file);
  FILE *in = fopen(path, "rb");
  assert_non_null(in);
  ibx_str str = {.data = text, .len = fread(text, 1, sizeof(text), in)};
  fclose(in);
  assert_true(str.len < sizeof(text));
  ibx_asm_program *program = NULL;
  ibx_error err;
  if (ibx_asm_parse(str, file, defines, count, &program, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  return program;
}

static void prove(const ibx_program_data *data, const ibx_entry *entry) {
  ibx_error err;
  if (ibx_prove_entry(data, entry, NULL, &err) != IBX_OK) {
    fail_msg("%s: %s", data->model, err.message);
  }
}

static ibx_sim_time time_of(const ibx_program_data *data,
                            const ibx_entry *entry) {
  ibx_sim_time time;
  ibx_error err;
  if (ibx_sim_time_entry(data, entry, NULL, NULL, &time, &err) != IBX_OK) {
    fail_msg("%s: %s", data->model, err.message);
  }
  return time;
}

// --- figures -------------------------------------------------------------------

static void check_figures(const kernel *k) {
  ibx_asm_program *program = assemble(k->file, NULL, 0);
  const ibx_program_data *data = ibx_asm_get(program);
  const ibx_entry *entry = &data->entries[0];
  ibx_sim_time time = time_of(data, entry);
  double ms = (double)time.total_ps / 1e9;
  double share =
      100.0 * (double)time.busy_ps[IBX_ENGINE_TENSOR] / (double)time.total_ps;
  prove(data, entry);
  if (fabs(ms / k->published_ms - 1.0) > 0.03) {
    fail_msg("%s takes %.2f ms, %.2f are published", k->file, ms,
             k->published_ms);
  }
  if (k->tensor_share != 0 && fabs(share - k->tensor_share) > 3.0) {
    fail_msg("%s: tensor is busy %.2f %%, %.2f are published", k->file, share,
             k->tensor_share);
  }
  double gb = (double)time.hbm_read_bytes / 1e9;
  if (k->read_gb != 0 && fabs(gb / k->read_gb - 1.0) > 0.005) {
    fail_msg("%s reads %.2f GB, %.2f are published", k->file, gb, k->read_gb);
  }
  ibx_asm_destroy(program);
}

static void products_take_the_published_time(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(kernels); i++)
    check_figures(&kernels[i]);
}

static void blocking_moves_fewer_bytes_each_time(void **s) {
  (void)s;
  uint64_t before = UINT64_MAX;
  for (size_t i = 0; i < IBX_COUNT_OF(kernels); i++) {
    ibx_asm_program *program = assemble(kernels[i].file, NULL, 0);
    const ibx_program_data *data = ibx_asm_get(program);
    ibx_sim_time time = time_of(data, &data->entries[0]);
    assert_true(time.hbm_read_bytes < before);
    assert_int_equal(time.hbm_write_bytes, UINT64_C(4) * 4096 * 8192);
    before = time.hbm_read_bytes;
    ibx_asm_destroy(program);
  }
}

// hardware.md 4.2: share of the rate at 32 KiB a partition, in per cent.
static void the_sweep_is_the_published_curve(void **s) {
  (void)s;
  static const double published[] = {1.4, 2.6, 5.0,  10.3, 20.6,
                                     42,  81,  96.6, 98.3, 99};
  ibx_asm_program *program = assemble("dma_sweep.s", NULL, 0);
  const ibx_program_data *data = ibx_asm_get(program);
  const size_t count = IBX_COUNT_OF(published);
  assert_int_equal(data->entry_count, count + 1);
  double full = 0;
  for (size_t i = count + 1; i-- > 0;) {
    ibx_sim_time time = time_of(data, &data->entries[i]);
    double rate = (double)time.hbm_read_bytes / (double)time.total_ps;
    assert_int_equal(time.hbm_read_bytes, UINT64_C(128) * 32 << i);
    prove(data, &data->entries[i]);
    if (i == count) {
      full = rate;
    } else if (fabs(100.0 * rate / full / published[i] - 1.0) > 0.1) {
      fail_msg("%d bytes: %.2f %%, %.1f are published", 32 << i,
               100.0 * rate / full, published[i]);
    }
  }
  ibx_asm_destroy(program);
}

// --- the product -----------------------------------------------------------------

// lhsT[K,M], rhs[K,N], out[M,N], in the order of the buffers.
typedef struct operands {
  float *data[3];
  size_t m, n, k;
} operands;

static float *room(size_t count) {
  float *data = calloc(count, sizeof(*data));
  assert_non_null(data);
  return data;
}

// Whole numbers from -2 to 2.
static void fill(float *data, size_t count, uint32_t state) {
  for (size_t i = 0; i < count; i++) {
    state = state * 1664525u + 1013904223u;
    data[i] = (float)(int)(state >> 16 & 0xff) / 64.0f;
    data[i] = (float)(int)data[i] - 1.0f;
  }
}

static operands make_operands(const ibx_entry *entry) {
  operands o = {.k = entry->inputs[0].shape[0],
                .m = entry->inputs[0].shape[1],
                .n = entry->inputs[1].shape[1]};
  o.data[0] = room(o.k * o.m);
  o.data[1] = room(o.k * o.n);
  o.data[2] = room(o.m * o.n);
  fill(o.data[0], o.k * o.m, 1);
  fill(o.data[1], o.k * o.n, 2);
  return o;
}

static void free_operands(operands *o) {
  for (size_t i = 0; i < 3; i++)
    free(o->data[i]);
}

// Rows of every tile are compared.
static void check_product(const operands *o, const char *file) {
  float *want = room(o->n);
  for (size_t row = 0; row < o->m; row += 51) {
    memset(want, 0, o->n * sizeof(*want));
    for (size_t k = 0; k < o->k; k++) {
      float left = o->data[0][k * o->m + row];
      const float *right = &o->data[1][k * o->n];
      for (size_t n = 0; n < o->n; n++)
        want[n] += left * right[n];
    }
    if (memcmp(want, &o->data[2][row * o->n], o->n * sizeof(*want)) != 0) {
      fail_msg("%s: row %zu is wrong", file, row);
    }
  }
  free(want);
}

static void run(const ibx_program_data *data, const ibx_entry *entry,
                const operands *o, ibx_sim_options options) {
  uint8_t *hbm[64] = {0};
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim *sim = NULL;
  ibx_error err = {0};
  assert_true(entry->buffer_count <= IBX_COUNT_OF(hbm));
  for (size_t i = 0; i < 3; i++)
    hbm[i] = (uint8_t *)o->data[i];
  ibx_status status = ibx_sim_create(data, entry, &sim, &err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, &err);
  ibx_sim_destroy(sim);
  if (status != IBX_OK) fail_msg("%s: %s", data->model, err.message);
}

static void check_orders(const kernel *k) {
  ibx_asm_program *program = assemble(k->file, k->small, k->small_count);
  const ibx_program_data *data = ibx_asm_get(program);
  const ibx_entry *entry = &data->entries[0];
  const ibx_sim_options orders[] = {
      {.order = IBX_SIM_ORDER_PROGRAM},
      {.order = IBX_SIM_ORDER_RANDOM, .seed = 1, .poison = true},
      {.order = IBX_SIM_ORDER_ADVERSARIAL, .poison = true},
  };
  operands o = make_operands(entry);
  prove(data, entry);
  for (size_t i = 0; i < IBX_COUNT_OF(orders); i++) {
    memset(o.data[2], 0xff, o.m * o.n * sizeof(float));
    run(data, entry, &o, orders[i]);
    check_product(&o, k->file);
  }
  free_operands(&o);
  ibx_asm_destroy(program);
}

static void products_are_right_in_every_order(void **s) {
  (void)s;
  for (size_t i = 0; i < IBX_COUNT_OF(kernels); i++)
    check_orders(&kernels[i]);
}

// Sizes that the kernels do not do are refused with their reason.
static void other_sizes_are_refused(void **s) {
  (void)s;
  char path[1024];
  static char text[65536];
  for (size_t i = 0; i < IBX_COUNT_OF(kernels); i++) {
    snprintf(path, sizeof(path), "%s/examples/kernels/%s", IBX_SOURCE_DIR,
             kernels[i].file);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    ibx_str str = {.data = text, .len = fread(text, 1, sizeof(text), in)};
    fclose(in);
    const ibx_asm_define define = {.name = "M", .value = 100};
    ibx_asm_program *program = NULL;
    ibx_error err;
    assert_int_equal(ibx_asm_parse(str, "k.s", &define, 1, &program, &err),
                     IBX_INVALID_PROGRAM);
    assert_non_null(strstr(err.message, "M is a multiple of"));
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
