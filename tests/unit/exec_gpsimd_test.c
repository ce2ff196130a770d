// SPDX-License-Identifier: Apache-2.0
//
// The instructions of GpSimd against what the public reference says of each,
// written down here once more: random spaces, steps, partitions and types, all
// bytes of the memories compared.

#include "support/exec_bench.h"

#define G IBX_ENGINE_GPSIMD

enum { TRIES = 60 };

static const ibx_dtype types[] = {
    IBX_DTYPE_F32, IBX_DTYPE_BF16, IBX_DTYPE_F16,    IBX_DTYPE_I32,
    IBX_DTYPE_U32, IBX_DTYPE_I16,  IBX_DTYPE_U8,     IBX_DTYPE_I8,
    IBX_DTYPE_U16, IBX_DTYPE_BOOL, IBX_DTYPE_F8E5M2, IBX_DTYPE_F8E4M3};

static ibx_dtype pick_type(bench *b) {
  return types[bench_below(b, IBX_COUNT_OF(types))];
}

static void expect_legal(const bench *b, const ibx_insn *insn) {
  ibx_error err = {0};
  if (!bench_is_legal(b, G, insn, &err)) fail_msg("%s", err.message);
}

// --- affine ---------------------------------------------------------------------

static int32_t affine(const ibx_insn *insn, uint32_t p, uint32_t n) {
  int64_t value = (int64_t)(int32_t)insn->count + (int64_t)insn->imm[0] * p;
  uint32_t k = n % insn->num[4], j = n / insn->num[4] % insn->num[3],
           i = n / insn->num[4] / insn->num[3];
  value += (int64_t)insn->pattern[0] * i + (int64_t)insn->pattern[1] * j +
           (int64_t)insn->pattern[2] * k;
  return (int32_t)(uint32_t)(uint64_t)value;
}

static void random_pattern(bench *b, ibx_insn *insn, uint32_t range) {
  insn->count = bench_below(b, range) - range / 2;
  insn->imm[0] = (float)bench_below(b, range) - (float)(range / 2);
  for (size_t d = 0; d < 3; d++) {
    insn->pattern[d] = (int32_t)bench_below(b, range) - (int32_t)(range / 2);
  }
}

static void iota_affine_counts_in_every_dimension(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 1);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_iota_affine);
    bench_space(b, &insn, 60);
    random_pattern(b, &insn, done % 3 ? 100 : 1u << 24);
    if (done % 5 == 0) insn.pattern[2] = INT32_MAX;
    ibx_dtype dtype = pick_type(b);
    if (!bench_place_space(b, &insn, 0, dtype)) continue;
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        uint8_t *at = bench_element(b, BENCH_AFTER, &insn, 0, p, n);
        int32_t value = affine(&insn, p, n);
        bool whole = dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32;
        if (whole) bench_put_integer(at, dtype, value);
        if (!whole) bench_put_float(at, dtype, (float)value);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static bool compares(uint8_t op, int32_t value) {
  switch ((ibx_alu)op) {
  case IBX_ALU_EQUAL: return value == 0;
  case IBX_ALU_NOT_EQUAL: return value != 0;
  case IBX_ALU_GREATER: return value > 0;
  case IBX_ALU_GREATER_EQUAL: return value >= 0;
  case IBX_ALU_LESS: return value < 0;
  default: return value <= 0;
  }
}

static void affine_select_keeps_where_the_expression_compares(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 2);
  size_t kept = 0, replaced = 0;
  for (int done = 0; done < 2 * TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_affine_select);
    bench_space(b, &insn, 60);
    random_pattern(b, &insn, 9);
    insn.op[0] = (uint8_t)(IBX_ALU_EQUAL + bench_below(b, 6));
    insn.imm[1] = done % 7 ? -30000.0f : NAN;
    ibx_dtype from = pick_type(b), to = done % 2 ? from : pick_type(b);
    if (!bench_place_space(b, &insn, 0, to) ||
        !bench_place_space(b, &insn, 1, from)) {
      continue;
    }
    if (done % 4 == 0) insn.operand[1].buffer = insn.operand[0].buffer;
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t n = 0; n < bench_elements(&insn); n++) {
        uint8_t *dst = bench_element(b, BENCH_AFTER, &insn, 0, p, n);
        uint8_t *src = bench_element(b, BENCH_BEFORE, &insn, 1, p, n);
        bool keep = compares(insn.op[0], affine(&insn, p, n));
        *(keep ? &kept : &replaced) += 1;
        if (!keep) {
          bench_put_float(dst, to, insn.imm[1]);
        } else if (from == to) {
          memcpy(dst, src, ibx_dtype_bytes(to));
        } else {
          bench_put_float(dst, to, bench_float(src, from));
        }
      }
    }
    bench_expect(b);
    done++;
  }
  assert_true(kept > 1000 && replaced > 1000);
  bench_destroy(b);
}

// A causal mask as documented: query p sees keys up to p.
static void affine_select_makes_a_causal_mask(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 3);
  ibx_insn insn = ibx_insn_make(IBX_OP_affine_select);
  insn.partitions = 128;
  insn.num[4] = 128;
  insn.op[0] = IBX_ALU_GREATER_EQUAL;
  insn.imm[0] = 1;
  insn.imm[1] = -9984.0f;
  insn.pattern[2] = -1;
  for (uint16_t slot = 0; slot < 2; slot++) {
    insn.operand[slot] = (ibx_operand){
        .buffer = slot, .dtype = IBX_DTYPE_BF16, .step = {[4] = 1}};
  }
  bench_load(b, G, insn);
  bench_run(b);
  for (uint32_t p = 0; p < 128; p++) {
    for (uint32_t k = 0; k < 128; k++) {
      uint8_t *dst = bench_element(b, BENCH_AFTER, &insn, 0, p, k);
      if (k > p) bench_put_float(dst, IBX_DTYPE_BF16, -9984.0f);
      if (k <= p) {
        memcpy(dst, bench_element(b, BENCH_BEFORE, &insn, 1, p, k), 2);
      }
    }
  }
  bench_expect(b);
  bench_destroy(b);
}

// --- gathers --------------------------------------------------------------------

static void local_gather_uses_the_indices_of_its_core(void **state) {
  (void)state;
  static const uint8_t groups[] = {1, 2, 4, 8};
  bench *b = bench_create(IBX_TARGET_ibx2, 4);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_local_gather);
    bench_space(b, &insn, 60);
    insn.partitions = (uint8_t)(16 * groups[bench_below(b, 4)]);
    insn.columns = (uint8_t)(1u << bench_below(b, 6));
    insn.count = 1 + bench_below(b, 70);
    uint32_t n = bench_elements(&insn), e = insn.columns;
    ibx_dtype dtype = pick_type(b);
    if (n < e || !bench_place_row(b, &insn, 0, dtype, insn.count * e) ||
        !bench_place_space(b, &insn, 1, dtype) ||
        !bench_place_row(b, &insn, 2, IBX_DTYPE_U16, (insn.count + 15) / 16)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t j = p % 16; j < insn.count; j += 16) {
        bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, p, j / 16),
                          IBX_DTYPE_U16, bench_below(b, n - e + 1));
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t i = 0; i < insn.count * e; i++) {
        uint32_t j = i / e, holder = p - p % 16 + j % 16;
        uint32_t index = (uint32_t)bench_integer(
            bench_row(b, BENCH_BEFORE, &insn, 2, holder, j / 16),
            IBX_DTYPE_U16);
        memcpy(bench_row(b, BENCH_AFTER, &insn, 0, p, i),
               bench_element(b, BENCH_BEFORE, &insn, 1, p, index + i % e),
               ibx_dtype_bytes(dtype));
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void nc_n_gather_works_within_each_partition(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 5);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_nc_n_gather);
    bench_space(b, &insn, 60);
    insn.count = 1 + bench_below(b, 100);
    ibx_dtype dtype = pick_type(b);
    if (!bench_place_row(b, &insn, 0, dtype, insn.count) ||
        !bench_place_space(b, &insn, 1, dtype) ||
        !bench_place_row(b, &insn, 2, IBX_DTYPE_U32, insn.count)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t j = 0; j < insn.count; j++) {
        bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, p, j),
                          IBX_DTYPE_U32, bench_below(b, bench_elements(&insn)));
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t j = 0; j < insn.count; j++) {
        uint32_t index = (uint32_t)bench_integer(
            bench_row(b, BENCH_BEFORE, &insn, 2, p, j), IBX_DTYPE_U32);
        memcpy(bench_row(b, BENCH_AFTER, &insn, 0, p, j),
               bench_element(b, BENCH_BEFORE, &insn, 1, p, index),
               ibx_dtype_bytes(dtype));
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void an_index_out_of_bounds_is_an_error(void **state) {
  (void)state;
  static const struct {
    ibx_opcode opcode;
    ibx_dtype dtype;
    uint8_t columns;
    int64_t good, bad;
  } cases[] = {
      {IBX_OP_nc_n_gather, IBX_DTYPE_U32, 1, 9, 10},
      {IBX_OP_nc_n_gather, IBX_DTYPE_U32, 1, 0, UINT32_MAX},
      {IBX_OP_local_gather, IBX_DTYPE_U16, 4, 6, 7},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    bench *b = bench_create(IBX_TARGET_ibx2, 6);
    ibx_insn insn = ibx_insn_make(cases[i].opcode);
    insn.partitions = 16;
    insn.num[4] = 10;
    insn.count = 1;
    insn.columns = cases[i].columns;
    for (uint16_t slot = 0; slot < 3; slot++) {
      ibx_dtype dtype = slot == 2 ? cases[i].dtype : IBX_DTYPE_F32;
      insn.operand[slot] = (ibx_operand){
          .buffer = slot, .dtype = (uint8_t)dtype, .step = {[4] = 1}};
    }
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < 16; p++) {
      bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, p, 0), cases[i].dtype,
                        cases[i].good);
    }
    assert_int_equal(bench_try(b), IBX_OK);
    bench_put_integer(bench_row(b, BENCH_NOW, &insn, 2, 0, 0), cases[i].dtype,
                      cases[i].bad);
    assert_int_equal(bench_try(b), IBX_DEVICE_ERROR);
    assert_non_null(strstr(b->w.err.message, "is not below 10"));
    bench_destroy(b);
  }
}

// --- searches -------------------------------------------------------------------

static void put_number(uint8_t *at, ibx_dtype dtype, int32_t value) {
  if (dtype == IBX_DTYPE_I32) bench_put_integer(at, dtype, value);
  if (dtype == IBX_DTYPE_F32) bench_put_float(at, dtype, (float)value);
}

// Each element looks to both sides for where its segment ends.
static void sequence_bounds_finds_runs(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 7);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_sequence_bounds);
    bench_space(b, &insn, 90);
    insn.partitions = 1;
    ibx_dtype from = done % 2 ? IBX_DTYPE_I32 : IBX_DTYPE_F32;
    ibx_dtype to = done % 3 ? from : IBX_DTYPE_I32;
    uint32_t n = bench_elements(&insn);
    int32_t id[90];
    if (!bench_place_row(b, &insn, 0, to, 2 * n) ||
        !bench_place(b, &insn, 1, 1, from, &insn.num[2], false)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t i = 0; i < n; i++) {
      id[i] = i && bench_below(b, 3) ? id[i - 1] : (int32_t)bench_below(b, 4);
      put_number(bench_element(b, BENCH_NOW, &insn, 1, 0, i), from, id[i]);
    }
    bench_run(b);
    for (uint32_t i = 0; i < n; i++) {
      int32_t first = (int32_t)i, end = (int32_t)i + 1;
      while (first > 0 && id[first - 1] == id[i])
        first--;
      while (end < (int32_t)n && id[end] == id[i])
        end++;
      put_number(bench_row(b, BENCH_AFTER, &insn, 0, 0, i), to,
                 id[i] ? first : (int32_t)n);
      put_number(bench_row(b, BENCH_AFTER, &insn, 0, 0, n + i), to,
                 id[i] ? end : -1);
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

static void
nonzero_with_count_touches_the_first_partition_of_each_core(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 8);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_nonzero_with_count);
    bench_space(b, &insn, 60);
    ibx_dtype from = done % 2 ? IBX_DTYPE_I32 : IBX_DTYPE_F32;
    insn.pattern[0] = (int32_t)bench_below(b, 1000) - 500;
    insn.pattern[1] = done % 3 ? -1 : INT32_MIN;
    uint32_t n = bench_elements(&insn);
    if (!bench_place_row(b, &insn, 0, IBX_DTYPE_I32, n + 1) ||
        !bench_place_space(b, &insn, 1, from)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t i = 0; i < n; i++) {
        uint8_t *at = bench_element(b, BENCH_NOW, &insn, 1, p, i);
        put_number(at, from, (int32_t)bench_below(b, 3) - 1);
        if (from == IBX_DTYPE_F32 && bench_below(b, 9) == 0) {
          bench_put_float(at, from, bench_below(b, 2) ? -0.0f : NAN);
        }
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p += 16) {
      uint32_t found = 0;
      for (uint32_t i = 0; i < n; i++) {
        uint8_t *at = bench_element(b, BENCH_BEFORE, &insn, 1, p, i);
        if (bench_float(at, from) == 0) continue;
        bench_put_integer(bench_row(b, BENCH_AFTER, &insn, 0, p, found++),
                          IBX_DTYPE_I32, insn.pattern[0] + (int64_t)i);
      }
      for (uint32_t i = found; i < n; i++) {
        bench_put_integer(bench_row(b, BENCH_AFTER, &insn, 0, p, i),
                          IBX_DTYPE_I32, insn.pattern[1]);
      }
      bench_put_integer(bench_row(b, BENCH_AFTER, &insn, 0, p, n),
                        IBX_DTYPE_I32, found);
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

typedef struct ranked {
  float value;
  uint32_t place;
} ranked;

static int by_rank(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  bool nan[2] = {x->value != x->value, y->value != y->value};
  if (nan[0] != nan[1]) return nan[0] ? 1 : -1;
  if (!nan[0] && x->value != y->value) return x->value > y->value ? 1 : -1;
  return x->place < y->place ? 1 : -1; // the earlier one is larger
}

static void topk_sorts_the_snake_of_each_core(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx4, 9);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_topk);
    bench_space(b, &insn, 20);
    insn.partitions = (uint8_t)(16 * (1 + bench_below(b, 8)));
    uint32_t n = bench_elements(&insn) * 16;
    if (n > 20) n -= bench_below(b, 12);
    insn.pattern[0] = (int32_t)n;
    insn.count = 1 + bench_below(b, n);
    uint32_t columns = (insn.count + 15) / 16;
    if (!bench_place_row(b, &insn, 0, IBX_DTYPE_BF16, columns) ||
        !bench_place(b, &insn, 1, 1, IBX_DTYPE_BF16, &insn.num[2], false) ||
        !bench_place_row(b, &insn, 2, IBX_DTYPE_U32, columns)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions && done % 2; p++) {
      for (uint32_t i = 0; i < bench_elements(&insn); i++) {
        bench_put_float(bench_element(b, BENCH_NOW, &insn, 1, p, i),
                        IBX_DTYPE_BF16, (float)bench_below(b, 9) - 4);
      }
    }
    bench_run(b);
    for (uint32_t p = 0; p < insn.partitions; p += 16) {
      ranked all[16 * 20];
      for (uint32_t j = 0; j < n; j++) {
        uint8_t *at =
            bench_element(b, BENCH_BEFORE, &insn, 1, p + j % 16, j / 16);
        all[j] = (ranked){bench_float(at, IBX_DTYPE_BF16), j};
      }
      qsort(all, n, sizeof(*all), by_rank);
      for (uint32_t j = 0; j < columns * 16; j++) {
        uint8_t *value =
            bench_row(b, BENCH_AFTER, &insn, 0, p + j % 16, j / 16);
        uint32_t place = j < insn.count ? all[n - insn.count + j].place : 0;
        bench_put_integer(
            bench_row(b, BENCH_AFTER, &insn, 2, p + j % 16, j / 16),
            IBX_DTYPE_U32, place);
        uint8_t *from = bench_element(b, BENCH_BEFORE, &insn, 1, p + place % 16,
                                      place / 16);
        memset(value, 0, 2);
        if (j < insn.count) memcpy(value, from, 2);
      }
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// --- others ---------------------------------------------------------------------

static void partition_reduce_averages(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 10);
  for (int done = 0; done < TRIES;) {
    ibx_insn insn = ibx_insn_make(IBX_OP_partition_reduce);
    bench_space(b, &insn, 60);
    insn.op[0] = IBX_ALU_ADD;
    insn.mode = 1;
    ibx_dtype from = done % 2 ? IBX_DTYPE_F32 : IBX_DTYPE_I16;
    ibx_dtype to = done % 3 ? IBX_DTYPE_F32 : IBX_DTYPE_BF16;
    if (!bench_place_space(b, &insn, 0, to) ||
        !bench_place_space(b, &insn, 1, from)) {
      continue;
    }
    expect_legal(b, &insn);
    bench_load(b, G, insn);
    for (uint32_t p = 0; p < insn.partitions; p++) {
      for (uint32_t i = 0; i < bench_elements(&insn); i++) {
        bench_put_float(bench_element(b, BENCH_NOW, &insn, 1, p, i), from,
                        world_float(&b->random, 100));
      }
    }
    bench_run(b);
    for (uint32_t i = 0; i < bench_elements(&insn); i++) {
      float sum = 0;
      for (uint32_t p = 0; p < insn.partitions; p++) {
        sum +=
            bench_float(bench_element(b, BENCH_BEFORE, &insn, 1, p, i), from);
      }
      bench_put_float(bench_element(b, BENCH_AFTER, &insn, 0, 0, i), to,
                      sum / (float)insn.partitions);
    }
    bench_expect(b);
    done++;
  }
  bench_destroy(b);
}

// ISA tensor_tensor: power and 32-bit integers run on GpSimd, which computes
// the latter exactly.
static void tensor_tensor_raises_to_powers(void **state) {
  (void)state;
  static const struct {
    int32_t base, power, result;
  } cases[] = {{3, 4, 81}, {-3, 3, -27},  {2, 31, INT32_MIN},     {7, 0, 1},
               {0, 0, 1},  {1, -5, 1},    {-1, -5, -1},           {-1, -4, 1},
               {5, -1, 0}, {65536, 2, 0}, {46341, 2, -2147479015}};
  bench *b = bench_create(IBX_TARGET_ibx2, 11);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
  insn.op[0] = IBX_ALU_POWER;
  insn.num[4] = IBX_COUNT_OF(cases);
  for (uint16_t slot = 0; slot < 3; slot++) {
    insn.operand[slot] = (ibx_operand){
        .buffer = slot, .dtype = IBX_DTYPE_I32, .step = {[4] = 1}};
  }
  expect_legal(b, &insn);
  bench_load(b, G, insn);
  for (uint32_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    bench_put_integer(bench_element(b, BENCH_NOW, &insn, 1, 0, i),
                      IBX_DTYPE_I32, cases[i].base);
    bench_put_integer(bench_element(b, BENCH_NOW, &insn, 2, 0, i),
                      IBX_DTYPE_I32, cases[i].power);
  }
  bench_run(b);
  for (uint32_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    bench_put_integer(bench_element(b, BENCH_AFTER, &insn, 0, 0, i),
                      IBX_DTYPE_I32, cases[i].result);
  }
  bench_expect(b);
  bench_destroy(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(iota_affine_counts_in_every_dimension),
      cmocka_unit_test(affine_select_keeps_where_the_expression_compares),
      cmocka_unit_test(affine_select_makes_a_causal_mask),
      cmocka_unit_test(local_gather_uses_the_indices_of_its_core),
      cmocka_unit_test(nc_n_gather_works_within_each_partition),
      cmocka_unit_test(an_index_out_of_bounds_is_an_error),
      cmocka_unit_test(sequence_bounds_finds_runs),
      cmocka_unit_test(
          nonzero_with_count_touches_the_first_partition_of_each_core),
      cmocka_unit_test(topk_sorts_the_snake_of_each_core),
      cmocka_unit_test(partition_reduce_averages),
      cmocka_unit_test(tensor_tensor_raises_to_powers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
