// SPDX-License-Identifier: Apache-2.0
//
// Several cores: every collective against its definition, written here once
// more; the same bytes on any number of threads and in any order; errors and
// deadlocks of one core end all.

#include "support/cores.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8, COLUMNS = 24, LANES = 128, ELEMENTS = LANES * COLUMNS };

static uint32_t next_random(uint32_t *state) {
  *state = *state * UINT32_C(1664525) + UINT32_C(1013904223);
  return *state >> 8;
}

// --- collectives -----------------------------------------------------------------

typedef enum pattern {
  EXCHANGE,
  REDUCE,
  GATHER,
  SCATTER,
  TRANSPOSE, // all_to_all
  ROTATE,
  ROTATE_SUM
} pattern;

typedef struct collective {
  const char *name, *op; ///< op: "add", or NULL
  pattern pattern;
  ibx_dtype dtype;
  bool in_sbuf;
  unsigned rotation;
} collective;

static const collective collectives[] = {
    {"sendrecv", NULL, EXCHANGE, IBX_DTYPE_F32, true, 0},
    {"sendrecv", NULL, EXCHANGE, IBX_DTYPE_I8, true, 0},
    {"all_reduce", "add", REDUCE, IBX_DTYPE_F32, false, 0},
    {"all_reduce", "max", REDUCE, IBX_DTYPE_BF16, false, 0},
    {"all_reduce", "add", REDUCE, IBX_DTYPE_F16, true, 0},
    {"all_gather", NULL, GATHER, IBX_DTYPE_BF16, false, 0},
    {"all_gather", NULL, GATHER, IBX_DTYPE_I64, false, 0},
    {"all_gather", NULL, GATHER, IBX_DTYPE_F32, true, 0},
    {"reduce_scatter", "add", SCATTER, IBX_DTYPE_BF16, false, 0},
    {"reduce_scatter", "min", SCATTER, IBX_DTYPE_F32, true, 0},
    {"all_to_all", NULL, TRANSPOSE, IBX_DTYPE_U8, false, 0},
    {"all_to_all", NULL, TRANSPOSE, IBX_DTYPE_F32, true, 0},
    {"collective_permute", NULL, ROTATE, IBX_DTYPE_F32, false, 0},
    {"collective_permute", NULL, ROTATE, IBX_DTYPE_F32, false, 1},
    {"collective_permute", NULL, ROTATE, IBX_DTYPE_U16, true, 3},
    {"collective_permute_reduce", "add", ROTATE_SUM, IBX_DTYPE_F32, false, 0},
    {"collective_permute_reduce", "add", ROTATE_SUM, IBX_DTYPE_BF16, false, 1},
    {"collective_permute_reduce", "max", ROTATE_SUM, IBX_DTYPE_F16, true, 2},
};

// Cores that meet among themselves, their ranks ascending.
typedef struct form {
  unsigned group, stride; ///< as in assembly; 0: not written
} form;

static unsigned members(form f, unsigned cores, unsigned rank,
                        unsigned ranks[MOST], unsigned *own) {
  unsigned stride = f.stride ? f.stride : 1, count = 0;
  unsigned block = f.group ? f.group * stride : cores;
  for (unsigned r = 0; r < cores; r++) {
    if (r / block != rank / block || r % stride != rank % stride) continue;
    if (r == rank) *own = count;
    ranks[count++] = r;
  }
  return count;
}

// Rows of ELEMENTS that each of so many cores has on each side.
static unsigned src_rows(const collective *c, unsigned cores) {
  if (c->pattern == ROTATE_SUM) return 2;
  return c->pattern == SCATTER || c->pattern == TRANSPOSE ? cores : 1;
}

static unsigned dst_rows(const collective *c, unsigned cores) {
  return c->pattern == GATHER || c->pattern == TRANSPOSE ? cores : 1;
}

// Of the space that both sides share.
static unsigned all_rows(const collective *c, unsigned cores) {
  unsigned in = src_rows(c, cores), out = dst_rows(c, cores);
  return in > out ? in : out;
}

// Through SBUF: load, meet, store; otherwise from HBM to HBM.
static void make_collective(cores_program *p, const collective *c,
                            unsigned cores, form f, const char *target) {
  const char *t = ibx_dtype_get(c->dtype)->name;
  unsigned n = f.group ? f.group : cores;
  unsigned in = src_rows(c, n), out = dst_rows(c, n);
  size_t row = COLUMNS * ibx_dtype_bytes(c->dtype);
  char member[64] = "", size[64], from[64], to[64];
  snprintf(member, sizeof member, "%s%s count=%u group=%u stride=%u",
           c->op ? "op0=" : "", c->op ? c->op : "", c->rotation, f.group,
           f.stride);
  unsigned ranks = all_rows(c, n);
  // [ranks, 1, 1, 128, COLUMNS]; in SBUF the ranks stand side by side.
  unsigned rank_step = c->in_sbuf ? COLUMNS : ELEMENTS;
  unsigned lane_step = c->in_sbuf ? 0 : COLUMNS;
  snprintf(size, sizeof size, "size(%u, 1, 1, 128, %d)", ranks, COLUMNS);
  snprintf(from, sizeof from, "step(%u, 0, 0, %u, 1) %s",
           in > 1 ? rank_step : 0, lane_step,
           c->in_sbuf ? "pstep(0, 0, 0, 1, 0)" : "");
  snprintf(to, sizeof to, "step(%u, 0, 0, %u, 1) %s", out > 1 ? rank_step : 0,
           lane_step, c->in_sbuf ? "pstep(0, 0, 0, 1, 0)" : "");
  if (!c->in_sbuf) {
    cores_make(p,
               ".target %s\n.entry main\n.cores %u\n"
               ".input x %s[%u, %d] split\n.output y %s[%u, %d] split\n"
               ".engine sync\n"
               "%s y:%s %s, x:%s %s %s %s dge=static signal s0+1\n"
               "semaphore wait s0>=1\n",
               target, cores, t, in * cores, ELEMENTS, t, out * cores, ELEMENTS,
               c->name, t, to, t, from, size, member);
    return;
  }
  cores_make(p,
             ".target %s\n.entry main\n.cores %u\n"
             ".input x %s[%u, %d] split\n.output y %s[%u, %d] split\n"
             ".buffer a sbuf bytes=%zu\n.buffer b sbuf bytes=%zu\n"
             ".engine sync\n"
             "dma_copy a:%s step(%d, 0, 1) pstep(0, 1, 0), x:%s "
             "step(%d, %d, 1) size(%u, 128, %d) dge=static signal s0+16\n"
             "%s b:%s %s, a:%s %s %s %s dge=static wait s0>=16 signal s1+1\n"
             "dma_copy y:%s step(%d, %d, 1), b:%s step(%d, 0, 1) "
             "pstep(0, 1, 0) size(%u, 128, %d) dge=static wait s1>=1 "
             "signal s2+16\n"
             "semaphore wait s2>=16\n",
             target, cores, t, in * cores, ELEMENTS, t, out * cores, ELEMENTS,
             in * row, out * row, t, COLUMNS, t, ELEMENTS, COLUMNS, in, COLUMNS,
             c->name, t, to, t, from, size, member, t, ELEMENTS, COLUMNS, t,
             COLUMNS, out, COLUMNS);
}

static void fill(const collective *c, uint8_t *x, size_t elements) {
  uint32_t random = 7;
  size_t bytes = ibx_dtype_bytes(c->dtype);
  for (size_t i = 0; i < elements; i++) {
    float value = (float)next_random(&random) / 65536.0f - 128.0f;
    if (c->op) {
      ibx_dtype_store_f32(c->dtype, &value, x + i * bytes, 1);
    } else {
      for (size_t b = 0; b < bytes; b++) {
        x[i * bytes + b] = (uint8_t)next_random(&random);
      }
    }
  }
}

static float combine(const char *op, float a, float b) {
  if (strcmp(op, "add") == 0) return a + b;
  return strcmp(op, "max") == 0 ? (a > b ? a : b) : (a < b ? a : b);
}

// The definition: element `e` of row `row` of what core `rank` gets.
static void define(const collective *c, unsigned all, form f, unsigned core,
                   unsigned row, size_t e, const uint8_t *x, uint8_t *y) {
  unsigned ranks[MOST], rank = 0, cores = members(f, all, core, ranks, &rank);
  size_t bytes = ibx_dtype_bytes(c->dtype), rows = src_rows(c, cores);
#define AT(member, its_row)                                                    \
  (x + ((ranks[member] * rows + (its_row)) * ELEMENTS + e) * bytes)
  switch (c->pattern) {
  case EXCHANGE: memcpy(y, AT(rank ^ 1u, 0), bytes); return;
  case GATHER: memcpy(y, AT(row, 0), bytes); return;
  case TRANSPOSE: memcpy(y, AT(row, rank), bytes); return;
  case ROTATE:
    memcpy(y, AT((rank + cores - c->rotation) % cores, 0), bytes);
    return;
  case REDUCE:
  case SCATTER:
  case ROTATE_SUM: break;
  }
  float sum = 0.0f;
  if (c->pattern == ROTATE_SUM) {
    float other;
    unsigned from = (rank + cores - c->rotation) % cores;
    ibx_dtype_load_f32(c->dtype, AT(from, 0), &sum, 1);
    ibx_dtype_load_f32(c->dtype, AT(from, 1), &other, 1);
    sum = combine(c->op, sum, other);
    ibx_dtype_store_f32(c->dtype, &sum, y, 1);
    return;
  }
  for (unsigned r = 0; r < cores; r++) {
    float value;
    ibx_dtype_load_f32(c->dtype, AT(r, c->pattern == SCATTER ? rank : 0),
                       &value, 1);
    sum = r == 0 ? value : combine(c->op, sum, value);
  }
  ibx_dtype_store_f32(c->dtype, &sum, y, 1);
#undef AT
}

static uint8_t *define_all(const collective *c, unsigned cores, form f,
                           const uint8_t *x) {
  size_t bytes = ibx_dtype_bytes(c->dtype);
  unsigned rows = dst_rows(c, f.group ? f.group : cores);
  uint8_t *y = malloc(cores * rows * ELEMENTS * bytes);
  assert_non_null(y);
  for (unsigned row = 0; row < cores * rows; row++) {
    for (size_t e = 0; e < ELEMENTS; e++) {
      define(c, cores, f, row / rows, row % rows, e, x,
             y + (row * (size_t)ELEMENTS + e) * bytes);
    }
  }
  return y;
}

static void run_as(cores_program *p, ibx_sim_order order, uint32_t threads,
                   const cores_tensor *tensors, size_t count) {
  const ibx_sim_options options = {
      .order = order, .seed = 5 + threads, .threads = threads};
  ibx_error err = {0};
  if (cores_run(p, &options, tensors, count, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
}

// In the first so many orders.
static void check_collective(const collective *c, unsigned cores, form f,
                             const char *target, size_t orders) {
  cores_program p;
  make_collective(&p, c, cores, f, target);
  cores_prove(&p);
  size_t bytes = ibx_dtype_bytes(c->dtype);
  unsigned n = f.group ? f.group : cores;
  size_t x_elements = (size_t)cores * src_rows(c, n) * ELEMENTS;
  size_t y_bytes = (size_t)cores * dst_rows(c, n) * ELEMENTS * bytes;
  uint8_t *x = malloc(x_elements * bytes), *y = malloc(y_bytes);
  assert_true(x && y);
  fill(c, x, x_elements);
  uint8_t *expected = define_all(c, cores, f, x);
  const cores_tensor tensors[] = {{"x", x}, {"y", y}};
  for (size_t i = 0; i < orders; i++) {
    const uint32_t threads[] = {0, 1, 3};
    memset(y, 0x5a, y_bytes);
    run_as(&p, (ibx_sim_order)i, threads[i], tensors, 2);
    assert_memory_equal(y, expected, y_bytes);
  }
  free(expected);
  free(y);
  free(x);
  cores_fini(&p);
}

static void collectives_do_what_they_say(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(collectives); i++) {
    const collective *c = &collectives[i];
    for (unsigned cores = 1; cores <= MOST; cores *= 2) {
      if (c->pattern == EXCHANGE && cores == 1) continue;
      if (c->rotation >= cores) continue;
      // Poisoning all memories of eight cores takes longer than the rest.
      check_collective(c, cores, (form){0}, i % 2 == 0 ? "ibx3" : "ibx4",
                       cores == MOST ? 2 : 3);
    }
    bool is_on_ibx2 = c->pattern != EXCHANGE && c->pattern != ROTATE_SUM;
    if (is_on_ibx2 && c->rotation < 2) {
      check_collective(c, 2, (form){0}, "ibx2", 3);
    }
  }
}

// In every form of groups of 4 and 6 cores, every other one also of 8.
static void groups_meet_among_themselves(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(collectives); i++) {
    const collective *c = &collectives[i];
    for (unsigned cores = 4; cores <= MOST - i % 2; cores += 2) {
      for (unsigned group = 1; group <= cores; group++) {
        for (unsigned stride = 1; group * stride <= cores; stride++) {
          if (cores % (group * stride) != 0) continue;
          if (c->pattern == EXCHANGE && group % 2 != 0) continue;
          if (c->rotation >= group) continue;
          const form f = {group, stride};
          check_collective(c, cores, f, "ibx3", 1 + (group + i) % 2);
        }
      }
    }
  }
}

// --- counts from data --------------------------------------------------------------

// A call whose counts are data: x and y are [rows, 1, 1, a, b] on each core, each
// transposed or not.
typedef struct counted {
  unsigned cores, a, b;
  form form;
  bool gathers, src_turns, dst_turns;
} counted;

enum { MOST_SLOT = 5 * 7 };

static void make_counted(cores_program *p, const counted *c) {
  unsigned n = c->form.group ? c->form.group : c->cores, slot = c->a * c->b;
  unsigned rows = c->gathers ? 1 : n, words = 3 * n;
  unsigned pieces = words < 16 ? words : 16;
  char src[64], dst[64];
  snprintf(src, sizeof src, "step(%u, 0, 0, %u, %u)", c->gathers ? 0 : slot,
           c->src_turns ? 1 : c->b, c->src_turns ? c->a : 1);
  snprintf(dst, sizeof dst, "step(%u, 0, 0, %u, %u)", slot,
           c->dst_turns ? 1 : c->b, c->dst_turns ? c->a : 1);
  cores_make(p,
             ".target ibx3\n.entry main\n.cores %u\n"
             ".input x f32[%u, %u] split\n.input meta u32[%u] split\n"
             ".state y f32[%u, %u] split\n.output after u32[%u] split\n"
             ".buffer m sbuf partitions=%u bytes=8\n"
             ".engine sync\n"
             "dma_copy m[4]:u32 pstep(1, 0), meta:u32 step(1, 1) size(%u, 1) "
             "dge=static signal s0+%u\n"
             "%s y:f32 %s, x:f32 %s, m[4]:u32 size(%u, 1, 1, %u, %u) "
             "group=%u stride=%u dge=static wait s0>=%u signal s1+1\n"
             "dma_copy after:u32 step(1, 1), m[4]:u32 pstep(1, 0) size(%u, 1) "
             "dge=static wait s1>=1 signal s2+%u\n"
             "semaphore wait s2>=%u\n",
             c->cores, c->cores * rows, slot, c->cores * words, c->cores * n,
             slot, c->cores * words, words, words, pieces,
             c->gathers ? "all_gather_v" : "all_to_all_v", dst, src, n, c->a,
             c->b, c->form.group, c->form.stride, pieces, words, pieces,
             pieces);
}

// Where element `e` of a slot, in iteration order, lies.
static unsigned place_of(const counted *c, bool turns, unsigned e) {
  return turns ? e % c->b * c->a + e / c->b : e;
}

typedef struct counted_data {
  float x[MOST][MOST * MOST_SLOT]; ///< a core's part stands at the front
  float y[MOST][MOST * MOST_SLOT];
  uint32_t meta[MOST][3 * MOST];
} counted_data;

static void fill_counted(const counted *c, uint32_t *random, counted_data *d) {
  unsigned n = c->form.group ? c->form.group : c->cores, slot = c->a * c->b;
  unsigned there = c->gathers ? slot : n * slot;
  for (unsigned core = 0; core < c->cores; core++) {
    for (unsigned i = 0; i < n * slot; i++) {
      d->x[core][i] = (float)(next_random(random) % 4096);
      d->y[core][i] = -(float)(next_random(random) % 4096);
    }
    for (unsigned r = 0; r < n; r++) {
      uint32_t count = next_random(random) % (slot + 1);
      d->meta[core][r] = count;
      d->meta[core][n + r] = next_random(random) % (there - count + 1);
      d->meta[core][2 * n + r] = next_random(random);
    }
    // Only the first column of a gather is read.
    if (c->gathers && n > 1)
      d->meta[core][1] = d->meta[core][n + 1] = UINT32_MAX;
  }
}

// The definition, of what has been filled.
static void define_counted(const counted *c, const counted_data *before,
                           counted_data *d) {
  unsigned slot = c->a * c->b;
  *d = *before;
  for (unsigned core = 0; core < c->cores; core++) {
    unsigned ranks[MOST], own = 0;
    unsigned n = members(c->form, c->cores, core, ranks, &own);
    for (unsigned r = 0; r < n; r++) {
      const uint32_t *meta = before->meta[ranks[r]];
      unsigned to = c->gathers ? 0 : own;
      d->meta[core][2 * n + r] = meta[to];
      for (unsigned e = 0; e < meta[to]; e++) {
        unsigned from = meta[n + to] + e, row = from / slot * slot;
        d->y[core][r * slot + place_of(c, c->dst_turns, e)] =
            before->x[ranks[r]][row + place_of(c, c->src_turns, from % slot)];
      }
    }
  }
}

// As the cores' parts follow each other in the caller's memory.
static void pack_counted(const counted *c, const counted_data *d, float *x,
                         float *y, uint32_t *meta) {
  unsigned n = c->form.group ? c->form.group : c->cores, slot = c->a * c->b;
  unsigned rows = c->gathers ? 1 : n;
  for (unsigned core = 0; core < c->cores; core++) {
    memcpy(x + core * rows * slot, d->x[core], rows * slot * sizeof *x);
    memcpy(y + core * n * slot, d->y[core], n * slot * sizeof *y);
    memcpy(meta + core * 3 * n, d->meta[core], 3 * n * sizeof *meta);
  }
}

static float counted_x[MOST * MOST * MOST_SLOT];
static float counted_y[MOST * MOST * MOST_SLOT];
static float counted_wanted[MOST * MOST * MOST_SLOT];
static uint32_t counted_meta[MOST * 3 * MOST], counted_after[MOST * 3 * MOST];
static uint32_t counted_told[MOST * 3 * MOST];

static void check_counted(const counted *c, uint32_t *random, uint32_t round) {
  static counted_data before, wanted;
  unsigned n = c->form.group ? c->form.group : c->cores;
  cores_program p;
  make_counted(&p, c);
  cores_prove(&p);
  fill_counted(c, random, &before);
  define_counted(c, &before, &wanted);
  pack_counted(c, &wanted, counted_x, counted_wanted, counted_told);
  pack_counted(c, &before, counted_x, counted_y, counted_meta);
  const cores_tensor tensors[] = {{"x", counted_x},
                                  {"meta", counted_meta},
                                  {"y", counted_y},
                                  {"after", counted_after}};
  run_as(&p, (ibx_sim_order)(round % 3), round % 4, tensors, 4);
  assert_memory_equal(counted_y, counted_wanted,
                      c->cores * n * c->a * c->b * sizeof(float));
  assert_memory_equal(counted_after, counted_told,
                      c->cores * 3 * n * sizeof(uint32_t));
  cores_fini(&p);
}

static counted random_counted(uint32_t *random) {
  const form forms[] = {{0, 0}, {0, 0}, {1, 0}, {2, 1}, {2, 2}, {4, 0}, {3, 2}};
  for (;;) {
    counted c = {.cores = 1 + next_random(random) % MOST,
                 .a = 1 + next_random(random) % 5,
                 .b = 1 + next_random(random) % 7,
                 .gathers = next_random(random) % 2 != 0,
                 .src_turns = next_random(random) % 2 != 0,
                 .dst_turns = next_random(random) % 2 != 0};
    c.form = forms[next_random(random) % IBX_COUNT_OF(forms)];
    unsigned block = c.form.group * (c.form.stride ? c.form.stride : 1);
    if (block == 0 || c.cores % block == 0) return c;
  }
}

static void data_say_how_much_is_sent(void **state) {
  (void)state;
  uint32_t random = 11;
  for (uint32_t round = 0; round < 60; round++) {
    counted c = random_counted(&random);
    check_counted(&c, &random, round);
  }
}

static void expect_count(bool gathers, uint32_t count, uint32_t first,
                         const char *words) {
  const counted c = {.cores = 4, .a = 3, .b = 4, .gathers = gathers};
  cores_program p;
  make_counted(&p, &c);
  memset(counted_meta, 0, sizeof counted_meta);
  counted_meta[12] = count;
  counted_meta[12 + 4] = first;
  const cores_tensor tensors[] = {{"x", counted_x},
                                  {"meta", counted_meta},
                                  {"y", counted_y},
                                  {"after", counted_after}};
  for (uint32_t threads = 0; threads < 5; threads++) {
    const ibx_sim_options options = {.order = (ibx_sim_order)(threads % 3),
                                     .threads = threads};
    ibx_error err = {.message = ""};
    ibx_status status = cores_run(&p, &options, tensors, 4, &err);
    assert_int_equal(status, words ? IBX_DEVICE_ERROR : IBX_OK);
    if (words && !strstr(err.message, words)) {
      fail_msg("\"%s\" lacks \"%s\"", err.message, words);
    }
  }
  cores_fini(&p);
}

static void counts_stay_in_their_operands(void **state) {
  (void)state;
  expect_count(true, 12, 0, NULL);
  expect_count(true, 13, 0, "13 elements for rank 0, which has room for 12");
  expect_count(true, 12, 1, "12 elements from 1 on for rank 0; there are 12");
  expect_count(true, 0, 13, "0 elements from 13 on for rank 0; there are 12");
  expect_count(false, 12, 36, NULL);
  expect_count(false, 12, 37, "core 1: sync instruction 1 ");
  expect_count(false, 12, 37,
               "12 elements from 37 on for rank 0; there are 48");
  expect_count(false, UINT32_MAX, 0, "4294967295 elements for rank 0");
  expect_count(false, 1, UINT32_MAX, "1 elements from 4294967295 on");
}

// --- rounding ----------------------------------------------------------------------

// Sums of 1 and three times 3/32 of a last place of bf16: to nearest always 1,
// stochastically in 9 of 32 cases the next number.
static void stochastic_sums_are_alike_on_all_cores(void **state) {
  (void)state;
  enum { CORES = 4 };
  const collective c = {"all_reduce", "add", REDUCE, IBX_DTYPE_BF16, false, 0};
  static uint16_t x[CORES][ELEMENTS], y[CORES][ELEMENTS], first[ELEMENTS];
  cores_program p;
  make_collective(&p, &c, CORES, (form){0}, "ibx3");
  for (unsigned r = 0; r < CORES; r++) {
    float value = r == 0 ? 1.0f : 0x3p-12f;
    for (size_t i = 0; i < ELEMENTS; i++) {
      ibx_dtype_store_f32(IBX_DTYPE_BF16, &value, &x[r][i], 1);
    }
  }
  const cores_tensor tensors[] = {{"x", x}, {"y", y}};
  for (uint32_t round = 0; round < 6; round++) {
    const ibx_sim_options options = {.order = (ibx_sim_order)(round % 3),
                                     .seed = 9,
                                     .threads = 1 + round % 4,
                                     .rounding = IBX_SIM_ROUNDING_STOCHASTIC};
    ibx_error err = {0};
    assert_int_equal(cores_run(&p, &options, tensors, 2, &err), IBX_OK);
    if (round == 0) memcpy(first, y[0], sizeof first);
    for (unsigned r = 0; r < CORES; r++) {
      assert_memory_equal(y[r], first, sizeof first);
    }
  }
  size_t up = 0;
  for (size_t i = 0; i < ELEMENTS; i++) {
    assert_in_range(first[i], 0x3f80, 0x3f81);
    up += first[i] == 0x3f81;
  }
  // Five deviations of sqrt(3072 x 9/32 x 23/32) = 25 about 864.
  assert_in_range(up, 864 - 125, 864 + 125);
  cores_fini(&p);
}

// --- order -------------------------------------------------------------------------

// Collectives under way on three engines at once, barriers between and behind
// them, and a ring in a loop: y0 = all parts of x in the order of their arrival,
// y1 = the sum of all, y2 = the part of the core before the one before.
static const char busy[] =
    ".target ibx3\n.entry main\n.cores %u\n"
    ".input x f32[%u, 64] split\n"
    ".output y0 f32[%u, 64] split\n.output y1 f32[%u, 64] split\n"
    ".output y2 f32[%u, 64] split\n"
    ".buffer ring hbm bytes=512\n.buffer hop hbm bytes=256\n"
    ".engine sync\n"
    "dma_copy ring:f32, x:f32 size(64) dge=static signal s0+1\n"
    "core_barrier wait s0>=1\n"
    "loop r0 count=%u\n"
    "collective_permute ring[256]:f32, ring:f32 size(64) count=1 dge=hardware "
    "signal s1+1\n"
    "dma_copy ring:f32, ring[256]:f32 size(64) dge=hardware wait s1>=1 "
    "signal s2+1\n"
    "dma_copy y0[r0*256]:f32, ring[256]:f32 size(64) dge=hardware wait s2>=1 "
    "signal s3+1\n"
    "semaphore wait s3>=1\n"
    "loop_end\n"
    ".engine scalar\n"
    "all_reduce y1:f32, x:f32 size(64) op0=add dge=static signal s4+1\n"
    "core_barrier signal s8+1\n"
    "semaphore wait s4>=1\n"
    ".engine gpsimd\n"
    "collective_permute hop:f32, x:f32 size(64) count=1 dge=static "
    "signal s5+1\n"
    "collective_permute y2:f32, hop:f32 size(64) count=1 dge=static wait s5>=1 "
    "signal s6+1\n"
    "semaphore wait s6>=1\n"
    ".engine vector\n"
    "core_barrier wait s8>=1\n";

static void any_order_and_any_threads_give_the_same_bytes(void **state) {
  (void)state;
  for (unsigned cores = 1; cores <= MOST; cores *= 2) {
    if (cores == 1) continue; // rotations need two
    cores_program p;
    cores_make(&p, busy, cores, cores, cores * cores, cores, cores, cores);
    cores_prove(&p);
    static float x[MOST][64], y0[MOST][MOST][64], y1[MOST][64], y2[MOST][64];
    for (unsigned r = 0; r < cores; r++) {
      for (unsigned i = 0; i < 64; i++) {
        x[r][i] = (float)(100 * r + i);
      }
    }
    const cores_tensor tensors[] = {
        {"x", x}, {"y0", y0}, {"y1", y1}, {"y2", y2}};
    for (uint32_t round = 0; round < 24; round++) {
      memset(y0, 0, sizeof y0);
      memset(y1, 0, sizeof y1);
      memset(y2, 0, sizeof y2);
      run_as(&p, (ibx_sim_order)(round % 3), round % 5, tensors, 4);
      const float (*flat)[64] = (const float (*)[64])y0;
      for (unsigned r = 0; r < cores; r++) {
        float sum = 0.0f;
        for (unsigned s = 0; s < cores; s++) {
          unsigned from = (r + cores - s - 1) % cores;
          assert_memory_equal(flat[r * cores + s], x[from], sizeof x[from]);
          sum += x[s][63];
        }
        assert_true(y1[r][63] == sum);
        assert_memory_equal(y2[r], x[(r + cores - 2) % cores], sizeof y2[r]);
      }
    }
    cores_fini(&p);
  }
}

// --- ranks -------------------------------------------------------------------------

// Core r adds 1 r times.
static void a_core_knows_its_rank(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, ".target ibx3\n.entry main\n.cores 4\n"
                 ".output y f32[4, 128] split\n.buffer a sbuf bytes=4\n"
                 ".engine vector\n"
                 "memset a:f32 p=128 imm0=0\n"
                 "rank_id r9\n"
                 "loop r0 r9 count=4\n"
                 "tensor_scalar a:f32, a:f32 p=128 op0=add imm0=1\n"
                 "loop_end\n"
                 "core_barrier signal s0+1\n"
                 ".engine sync\n"
                 "dma_copy y:f32 step(1, 1), a:f32 step(0, 1) pstep(1, 0) "
                 "size(128, 1) dge=static wait s0>=1 signal s1+16\n"
                 "semaphore wait s1>=16\n");
  cores_prove(&p);
  float y[4][128];
  const cores_tensor tensors[] = {{"y", y}};
  run_as(&p, IBX_SIM_ORDER_PROGRAM, 2, tensors, 1);
  for (unsigned r = 0; r < 4; r++) {
    for (unsigned i = 0; i < 128; i++) {
      assert_true(y[r][i] == (float)r);
    }
  }
  cores_fini(&p);
}

// all_gather as a ring: what has arrived after k steps goes where the rank says
// that it belongs. In all forms of groups of eight cores at once.
static const char ring[] =
    ".target ibx3\n.entry main\n.cores 8\n"
    ".input x f32[8, 16] split\n.state y f32[%u, 16] split\n"
    ".buffer ring hbm bytes=%u\n"
    ".engine sync\n"
    "dma_copy ring:f32, x:f32 size(16) dge=static signal s0+1\n"
    ".repeat k, %u\n"
    "rank_id r9 count=k group=%u stride=%u wait s0>=1\n"
    "dma_copy y:f32 step(16, 0, 0, 0, 1), ring[64*k]:f32 size(16) "
    "index(0, r9) count=%u dge=hardware signal s1+1\n"
    "collective_permute ring[64*k+64]:f32, ring[64*k]:f32 size(16) count=%u "
    "group=%u stride=%u dge=hardware wait s1>=1 signal s0+1\n"
    ".endrepeat\n"
    "semaphore wait s0>=1\n";

static void a_ring_tells_whose_data_it_has(void **state) {
  (void)state;
  const form forms[] = {{0, 0}, {2, 0}, {2, 2}, {2, 4}, {4, 1}, {4, 2}, {1, 0}};
  for (size_t i = 0; i < IBX_COUNT_OF(forms); i++) {
    form f = forms[i];
    unsigned n = f.group ? f.group : 8;
    cores_program p;
    cores_make(&p, ring, 8 * n, 64 * (n + 1), n, f.group, f.stride, n, n > 1,
               f.group, f.stride);
    cores_prove(&p);
    float x[8][16], y[64][16];
    memset(y, 0, sizeof y);
    for (unsigned r = 0; r < 8; r++) {
      for (unsigned j = 0; j < 16; j++) {
        x[r][j] = (float)(100 * r + j);
      }
    }
    const cores_tensor tensors[] = {{"x", x}, {"y", y}};
    run_as(&p, (ibx_sim_order)(i % 3), (uint32_t)i % 4, tensors, 2);
    for (unsigned r = 0; r < 8; r++) {
      unsigned ranks[MOST], own;
      assert_int_equal(members(f, 8, r, ranks, &own), n);
      for (unsigned k = 0; k < n; k++) {
        assert_memory_equal(y[r * n + k], x[ranks[k]], sizeof x[0]);
      }
    }
    cores_fini(&p);
  }
}

// --- far apart ---------------------------------------------------------------------

// Three engines join all that they can; groups of several forms in turns, so that
// cores run ahead of each other as far as they may.
static const char crowd[] =
    ".target ibx3\n.entry main\n.cores 4\n"
    ".input x f32[4, 8] split\n"
    ".output a f32[720, 8] split\n.output b f32[720, 8] split\n"
    ".output c f32[720, 8] split\n"
    ".engine sync\n.repeat k, 60\n"
    "all_reduce a[k*96]:f32, x:f32 size(8) op0=add dge=static group=2 signal "
    "s0+1\n"
    "all_reduce a[k*96+32]:f32, x:f32 size(8) op0=add dge=static signal s0+1\n"
    "all_reduce a[k*96+64]:f32, x:f32 size(8) op0=add dge=static group=2 "
    "stride=2 signal s0+1\n"
    ".endrepeat\nsemaphore wait s0>=180\n"
    ".engine scalar\n.repeat k, 180\n"
    "all_reduce b[k*32]:f32, x:f32 size(8) op0=add dge=static signal s1+1\n"
    ".endrepeat\nsemaphore wait s1>=180\n"
    ".engine gpsimd\n.repeat k, 180\n"
    "all_reduce c[k*32]:f32, x:f32 size(8) op0=add dge=static group=1+(k%2) "
    "signal s2+1\n"
    ".endrepeat\nsemaphore wait s2>=180\n";

static void cores_run_ahead_of_each_other(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, "%s", crowd);
  cores_prove(&p);
  static float x[4][8], y[3][4][180][8];
  for (unsigned r = 0; r < 4; r++) {
    for (unsigned i = 0; i < 8; i++) {
      x[r][i] = (float)(1u << 4 * r) * (float)(i + 1);
    }
  }
  const cores_tensor tensors[] = {
      {"x", x}, {"a", y[0]}, {"b", y[1]}, {"c", y[2]}};
  for (uint32_t round = 0; round < 40; round++) {
    memset(y, 0, sizeof y);
    run_as(&p, (ibx_sim_order)(round % 3), round % 5, tensors, 4);
    for (unsigned i = 0; i < 3 * 4 * 180; i++) {
      unsigned engine = i / 720, core = i / 180 % 4, k = i % 180;
      const form forms[3][3] = {
          {{2, 1}, {0, 0}, {2, 2}}, {{0, 0}, {0, 0}, {0, 0}}, {{0, 0}}};
      form f = forms[engine][k % 3];
      if (engine == 2) f = (form){1 + k % 2, 0};
      unsigned ranks[MOST], own, n = members(f, 4, core, ranks, &own);
      float sum = 0.0f;
      for (unsigned r = 0; r < n; r++) {
        sum += x[ranks[r]][7];
      }
      assert_true(y[engine][core][k][7] == sum);
    }
  }
  cores_fini(&p);
}

// --- errors ------------------------------------------------------------------------

// Each core loads a number of its own; loops and barriers may follow.
#define LOADS                                                                  \
  ".target ibx3\n.entry main\n.cores 4\n.input n u32[4] split\n"               \
  ".buffer a sbuf partitions=1 bytes=4\n"                                      \
  ".engine sync\n"                                                             \
  "dma_copy a:u32, n:u32 size(1) dge=static signal s0+1\n"                     \
  "register_load a:u32 r8 count=3 wait s0>=1\n"

static void expect(const char *text, const uint32_t *n, const char *words) {
  cores_program p;
  cores_make(&p, "%s", text);
  uint32_t numbers[4];
  memcpy(numbers, n, sizeof numbers);
  const cores_tensor tensors[] = {{"n", numbers}};
  char first[IBX_ERROR_MESSAGE_BYTES] = "";
  for (uint32_t threads = 0; threads <= 4; threads++) {
    for (int order = 0; order < 3; order++) {
      const ibx_sim_options options = {.order = (ibx_sim_order)order,
                                       .threads = threads};
      ibx_error err = {.message = ""};
      ibx_status status = cores_run(&p, &options, tensors, 1, &err);
      assert_int_equal(status, words ? IBX_DEVICE_ERROR : IBX_OK);
      if (words && !strstr(err.message, words)) {
        fail_msg("\"%s\" lacks \"%s\"", err.message, words);
      }
      // The message does not depend on who came first.
      if (first[0] == 0) memcpy(first, err.message, sizeof first);
      assert_string_equal(first, err.message);
    }
  }
  cores_fini(&p);
}

static void a_core_that_fails_ends_all(void **state) {
  (void)state;
  const char *text = LOADS "core_barrier\ncore_barrier\n";
  expect(text, (uint32_t[]){0, 1, 2, 3}, NULL);
  expect(text, (uint32_t[]){0, 1, 9, 3}, "core 2: ");
  expect(text, (uint32_t[]){0, 8, 1, 9}, "the value 8 exceeds its limit of 3");
}

static void a_core_that_does_not_come_is_a_deadlock(void **state) {
  (void)state;
  const char *text = LOADS "loop r0 r8 count=3\ncore_barrier\nloop_end\n";
  expect(text, (uint32_t[]){2, 2, 2, 2}, NULL);
  expect(text, (uint32_t[]){3, 3, 2, 3},
         "deadlock: core 0 waits in "
         "core_barrier of sync");
  expect(text, (uint32_t[]){0, 1, 0, 0}, "deadlock: core 1 waits");
}

static void cores_that_meet_at_different_places_are_told(void **state) {
  (void)state;
  const char *text = LOADS "loop r0 r8 count=3\ncore_barrier\nloop_end\n"
                           "core_barrier\n";
  cores_program p;
  cores_make(&p, "%s", text);
  uint32_t n[4] = {1, 1, 0, 1};
  const cores_tensor tensors[] = {{"n", n}};
  for (uint32_t threads = 1; threads <= 4; threads++) {
    const ibx_sim_options options = {.threads = threads};
    ibx_error err = {0};
    assert_int_equal(cores_run(&p, &options, tensors, 1, &err),
                     IBX_DEVICE_ERROR);
    assert_non_null(strstr(err.message, "meets at instruction"));
  }
  cores_fini(&p);
}

static void a_chip_runs_again_after_an_error(void **state) {
  (void)state;
  cores_program p;
  cores_make(&p, LOADS "core_barrier\n");
  ibx_sim_chip *chip = NULL;
  assert_int_equal(ibx_sim_chip_create(p.data, p.entry, &chip, NULL), IBX_OK);
  uint32_t n[4] = {0};
  uint8_t *hbm[2] = {(uint8_t *)n, NULL};
  const ibx_sim_memory memory = {.hbm = hbm};
  const ibx_sim_options options = {.threads = 2};
  for (unsigned i = 0; i < 6; i++) {
    n[3] = i % 2 == 0 ? 99 : 0;
    assert_int_equal(ibx_sim_chip_run(chip, &options, &memory, NULL),
                     i % 2 == 0 ? IBX_DEVICE_ERROR : IBX_OK);
  }
  ibx_sim_chip_destroy(chip);
  // One core of it is not the entry.
  ibx_sim *sim = NULL;
  assert_int_equal(ibx_sim_create(p.data, p.entry, &sim, NULL), IBX_OK);
  assert_int_equal(ibx_sim_run(sim, &options, &memory, NULL),
                   IBX_INVALID_ARGUMENT);
  ibx_sim_destroy(sim);
  cores_fini(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(collectives_do_what_they_say),
      cmocka_unit_test(groups_meet_among_themselves),
      cmocka_unit_test(data_say_how_much_is_sent),
      cmocka_unit_test(counts_stay_in_their_operands),
      cmocka_unit_test(stochastic_sums_are_alike_on_all_cores),
      cmocka_unit_test(any_order_and_any_threads_give_the_same_bytes),
      cmocka_unit_test(a_core_knows_its_rank),
      cmocka_unit_test(a_ring_tells_whose_data_it_has),
      cmocka_unit_test(cores_run_ahead_of_each_other),
      cmocka_unit_test(a_core_that_fails_ends_all),
      cmocka_unit_test(a_core_that_does_not_come_is_a_deadlock),
      cmocka_unit_test(cores_that_meet_at_different_places_are_told),
      cmocka_unit_test(a_chip_runs_again_after_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
