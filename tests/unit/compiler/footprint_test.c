// SPDX-License-Identifier: Apache-2.0
//
// Footprints against sets of bytes that are listed one by one: random operands
// of engine instructions and DMAs with strides of either sign, interleaved and
// overlapping themselves.

#include "codegen/footprint.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { ROW = 512, MIDDLE = 256 };

typedef struct byte_set {
  bool has[IBX_PARTITIONS][ROW];
} byte_set;

static uint32_t below(uint64_t *random, uint32_t limit) {
  *random ^= *random << 13;
  *random ^= *random >> 7;
  *random ^= *random << 17;
  return (uint32_t)(*random >> 33) % limit;
}

static const ibx_buffer_place place = {
    .space = IBX_SPACE_SBUF, .partitions = IBX_PARTITIONS, .bytes = ROW};

// Steps whose sums stay within half of a row.
static ibx_insn random_engine_insn(uint64_t *random) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  ibx_operand *o = &insn.operand[1];
  *o = (ibx_operand){.dtype = IBX_DTYPE_BF16,
                     .partition = (uint8_t)(below(random, 4) * 32),
                     .offset = MIDDLE + below(random, 32) * 2};
  insn.partitions = (uint8_t)(1 + below(random, 32));
  static const int32_t steps[] = {1, 2, 3, 4, 7, 8, 16, -1, -2, -8, 0};
  for (size_t d = 2; d < IBX_DIMS; d++) {
    insn.num[d] = 1 + below(random, 4);
    o->step[d] = steps[below(random, IBX_COUNT_OF(steps))];
  }
  return insn;
}

static ibx_insn random_dma(uint64_t *random, bool mixes) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  ibx_operand *o = &insn.operand[1];
  *o = (ibx_operand){.dtype = IBX_DTYPE_F32,
                     .partition = (uint8_t)(40 + below(random, 20)),
                     .offset = MIDDLE};
  static const int8_t partition_steps[] = {1, 1, 2, -1, -3};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    insn.num[d] = 1 + below(random, 3);
    bool walks = below(random, 3) == 0;
    if (walks) {
      o->partition_step[d] =
          partition_steps[below(random, IBX_COUNT_OF(partition_steps))];
    }
    if (!walks || mixes) o->step[d] = (int32_t)below(random, 11) - 5;
  }
  return insn;
}

static void list_bytes(const ibx_insn *insn, byte_set *set) {
  const ibx_operand *o = &insn->operand[1];
  int64_t bytes = (int64_t)ibx_dtype_bytes((ibx_dtype)o->dtype);
  bool is_dma = insn->opcode == IBX_OP_dma_copy;
  uint32_t partitions = is_dma ? 1 : insn->partitions;
  uint32_t total = 1;
  memset(set, 0, sizeof(*set));
  for (size_t d = 0; d < IBX_DIMS; d++) {
    total *= insn->num[d];
  }
  for (uint32_t n = 0; n < total; n++) {
    int64_t offset = (int64_t)o->offset, p = o->partition;
    uint32_t rest = n;
    for (size_t d = IBX_DIMS; d-- > 0;) {
      int64_t i = rest % insn->num[d];
      rest /= insn->num[d];
      offset += i * o->step[d] * bytes;
      p += i * o->partition_step[d];
    }
    for (uint32_t q = 0; q < partitions; q++) {
      memset(&set->has[p + q][offset], true, (size_t)bytes);
    }
  }
}

static bool shares_byte(const byte_set *a, const byte_set *b) {
  for (size_t p = 0; p < IBX_PARTITIONS; p++) {
    for (size_t i = 0; i < ROW; i++) {
      if (a->has[p][i] && b->has[p][i]) return true;
    }
  }
  return false;
}

static void check_bounds(const ibx_footprint *f, const byte_set *set) {
  int64_t first = ROW, end = 0;
  for (size_t p = 0; p < IBX_PARTITIONS; p++) {
    bool any = false;
    for (int64_t i = 0; i < ROW; i++) {
      if (!set->has[p][i]) continue;
      any = true;
      if (i < first) first = i;
      if (i + 1 > end) end = i + 1;
    }
    assert_int_equal(any, f->partitions[p / 64] >> (p % 64) & 1);
  }
  assert_int_equal(f->first, first);
  assert_int_equal(f->end, end);
}

static void overlap_is_that_of_the_bytes(void **state) {
  (void)state;
  static byte_set sets[2];
  uint64_t random = 1;
  unsigned overlapping = 0, apart = 0;
  for (unsigned n = 0; n < 3000; n++) {
    ibx_footprint f[2];
    for (size_t i = 0; i < 2; i++) {
      ibx_insn insn = below(&random, 2) ? random_engine_insn(&random)
                                        : random_dma(&random, false);
      list_bytes(&insn, &sets[i]);
      assert_true(ibx_footprint_make(&insn, 1, &place, &f[i]));
      assert_true(f[i].is_exact);
      check_bounds(&f[i], &sets[i]);
    }
    bool expected = shares_byte(&sets[0], &sets[1]);
    assert_int_equal(ibx_footprint_overlaps(&f[0], &f[1]), expected);
    assert_int_equal(ibx_footprint_overlaps(&f[1], &f[0]), expected);
    expected ? overlapping++ : apart++;
  }
  assert_true(overlapping > 300 && apart > 300);
}

// A dimension that walks partitions and bytes at once is no product of both.
static void diagonals_are_never_missed(void **state) {
  (void)state;
  static byte_set sets[2];
  uint64_t random = 2;
  for (unsigned n = 0; n < 2000; n++) {
    ibx_footprint f[2];
    for (size_t i = 0; i < 2; i++) {
      ibx_insn insn = random_dma(&random, true);
      list_bytes(&insn, &sets[i]);
      assert_true(ibx_footprint_make(&insn, 1, &place, &f[i]));
    }
    if (shares_byte(&sets[0], &sets[1])) {
      assert_true(ibx_footprint_overlaps(&f[0], &f[1]));
    }
  }
}

static void addresses_beyond_all_memories_are_refused(void **state) {
  (void)state;
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  ibx_footprint f;
  insn.operand[1] = (ibx_operand){.dtype = IBX_DTYPE_F32};
  insn.operand[1].offset = UINT64_MAX;
  assert_false(ibx_footprint_make(&insn, 1, &place, &f));
  insn.operand[1].offset = 0;
  insn.operand[1].step[0] = INT32_MIN;
  insn.num[0] = 2;
  assert_false(ibx_footprint_make(&insn, 1, &place, &f));
  insn.operand[1].step[0] = INT32_MAX;
  insn.num[0] = UINT32_MAX;
  assert_false(ibx_footprint_make(&insn, 1, &place, &f));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(overlap_is_that_of_the_bytes),
      cmocka_unit_test(diagonals_are_never_missed),
      cmocka_unit_test(addresses_beyond_all_memories_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
