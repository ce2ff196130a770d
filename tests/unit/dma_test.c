// SPDX-License-Identifier: Apache-2.0
//
// How DMAs are cut, against a reference that walks all elements and their
// addresses, on random access patterns; and documented durations.

#include "imbrex/isa.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static const ibx_buffer_place places[] = {
    {IBX_SPACE_SBUF, 0, 128, 0, 1 << 17},
    {IBX_SPACE_HBM, 0, 1, 0, UINT64_C(1) << 40},
};

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static uint64_t total_elements(const ibx_insn *insn) {
  uint64_t count = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    count *= insn->num[d];
  }
  return count;
}

typedef struct address {
  int64_t element, partition;
} address;

static address address_of(const ibx_insn *insn, size_t slot, uint64_t index) {
  const ibx_operand *operand = &insn->operand[slot];
  address at = {0, 0};
  for (size_t d = IBX_DIMS; d-- > 0;) {
    int64_t i = (int64_t)(index % insn->num[d]);
    index /= insn->num[d];
    at.element += i * operand->step[d];
    at.partition += i * operand->partition_step[d];
  }
  return at;
}

static bool follows(const ibx_insn *insn, size_t slot, uint64_t index) {
  address here = address_of(insn, slot, index);
  address next = address_of(insn, slot, index + 1);
  return next.partition == here.partition && next.element == here.element + 1;
}

static bool blocks_are_contiguous(const ibx_insn *insn, uint64_t block) {
  uint64_t total = total_elements(insn);
  for (uint64_t i = 0; i + 1 < total; i++) {
    if ((i + 1) % block == 0) continue;
    if (!follows(insn, 0, i) || !follows(insn, 1, i)) return false;
  }
  return true;
}

// The largest product of innermost dimensions that is contiguous everywhere.
static uint64_t run_elements(const ibx_insn *insn) {
  size_t outermost = insn->opcode == IBX_OP_dma_gather ? 1 : 0;
  uint64_t block = 1;
  uint64_t best = 1;
  for (size_t d = IBX_DIMS; d-- > outermost;) {
    block *= insn->num[d];
    if (!blocks_are_contiguous(insn, block)) break;
    best = block;
  }
  return best;
}

static int32_t random_step(uint64_t inner, uint64_t *seed) {
  switch (next_random(seed) % 8) {
  case 0: return 0;
  case 1: return -1;
  case 2: return (int32_t)(next_random(seed) % 100);
  default: return (int32_t)inner; // contiguous with what is inside
  }
}

static ibx_insn random_dma(uint64_t *seed) {
  static const ibx_dtype dtypes[] = {IBX_DTYPE_F32, IBX_DTYPE_BF16,
                                     IBX_DTYPE_U8};
  bool gather = next_random(seed) % 8 == 0;
  ibx_insn insn = ibx_insn_make(gather ? IBX_OP_dma_gather : IBX_OP_dma_copy);
  uint64_t inner = 1;
  for (size_t d = IBX_DIMS; d-- > 0;) {
    bool unit = next_random(seed) % 3 == 0;
    uint64_t most = d == 4 ? 600 : 5;
    insn.num[d] = unit ? 1 : (uint32_t)(1 + next_random(seed) % most);
    for (size_t slot = 0; slot < 2; slot++) {
      insn.operand[slot].step[d] = random_step(inner, seed);
    }
    if (next_random(seed) % 4 == 0) insn.operand[0].partition_step[d] = 1;
    inner *= insn.num[d];
  }
  for (size_t slot = 0; slot < 2; slot++) {
    insn.operand[slot].buffer = (uint16_t)slot;
    insn.operand[slot].dtype = (uint8_t)dtypes[next_random(seed) % 3];
  }
  return insn;
}

static uint64_t element_bytes(const ibx_insn *insn) {
  size_t dst = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  size_t src = ibx_dtype_bytes((ibx_dtype)insn->operand[1].dtype);
  return dst > src ? dst : src;
}

// Contiguous parts of whole runs and of one run cut at descriptor size.
static uint64_t descriptors_between(const ibx_machine *machine, uint64_t first,
                                    uint64_t elements, uint64_t run,
                                    uint64_t bytes) {
  uint64_t most = machine->dma_descriptor_bytes / bytes;
  uint64_t count = 0;
  while (elements > 0) {
    uint64_t part = run - first % run;
    if (part > elements) part = elements;
    count += (part + most - 1) / most;
    first += part;
    elements -= part;
  }
  return count;
}

static void check_split(const ibx_machine *machine, const ibx_insn *insn) {
  ibx_dma_piece pieces[64];
  size_t count = ibx_dma_split(machine, insn, places, pieces);
  assert_true(count >= 1 && count <= machine->dma_engines);
  assert_int_equal(ibx_dma_split(machine, insn, places, NULL), count);
  uint64_t run = run_elements(insn);
  uint64_t runs = total_elements(insn) / run;
  uint64_t bytes = element_bytes(insn);
  uint64_t next = 0;
  uint64_t least = UINT64_MAX;
  uint64_t most = 0;
  for (size_t i = 0; i < count; i++) {
    const ibx_dma_piece *p = &pieces[i];
    assert_int_equal(p->first, next);
    assert_int_equal(p->bytes, p->elements * bytes);
    assert_int_equal(
        p->descriptors,
        descriptors_between(machine, p->first, p->elements, run, bytes));
    if (p->elements < least) least = p->elements;
    if (p->elements > most) most = p->elements;
    next += p->elements;
  }
  assert_int_equal(next, total_elements(insn));
  if (runs >= machine->dma_engines) {
    assert_int_equal(count, machine->dma_engines);
    assert_int_equal(least % run, 0);
    assert_true(most - least <= run);
    return;
  }
  assert_int_equal(count % runs, 0);
  assert_true(most - least <= 1);
  bool cut = count > runs;
  if (cut) assert_true(least * bytes >= machine->dma_split_bytes);
  bool could_cut_more = (count / runs + 1) * runs <= machine->dma_engines;
  uint64_t finer = (count / runs + 1) * machine->dma_split_bytes;
  if (could_cut_more) assert_true(run * bytes < finer);
}

static void random_patterns_agree_with_a_walk(void **state) {
  (void)state;
  uint64_t seed = 0x9216d5d98979fb1b;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  for (int n = 0; n < 3000; n++) {
    ibx_insn insn = random_dma(&seed);
    if (total_elements(&insn) > 20000) continue;
    check_split(machine, &insn);
  }
}

static ibx_insn tile(ibx_dtype dst, ibx_dtype src, uint32_t rows,
                     uint32_t columns, int32_t pitch) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[3] = rows;
  insn.num[4] = columns;
  insn.operand[0] = (ibx_operand){.buffer = 0,
                                  .dtype = (uint8_t)dst,
                                  .step = {0, 0, 0, 0, 1},
                                  .partition_step = {0, 0, 0, 1, 0}};
  insn.operand[1] = (ibx_operand){
      .buffer = 1, .dtype = (uint8_t)src, .step = {0, 0, 0, pitch, 1}};
  return insn;
}

static ibx_insn line(uint32_t elements) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[4] = elements;
  for (size_t slot = 0; slot < 2; slot++) {
    insn.operand[slot] = (ibx_operand){
        .buffer = 1, .dtype = IBX_DTYPE_U8, .step = {0, 0, 0, 0, 1}};
  }
  return insn;
}

static void a_tile_is_eight_partitions_an_engine(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  ibx_insn insn = tile(IBX_DTYPE_F32, IBX_DTYPE_F32, 128, 1024, 1024);
  ibx_dma_piece pieces[16];
  assert_int_equal(ibx_dma_split(machine, &insn, places, pieces), 16);
  for (size_t i = 0; i < 16; i++) {
    assert_int_equal(pieces[i].descriptors, 8);
    assert_int_equal(pieces[i].bytes, 8 * 4096);
    assert_int_equal(pieces[i].first, i * 8 * 1024);
  }
}

static void a_conversion_counts_the_larger_side(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  ibx_dma_piece pieces[16];
  ibx_insn narrow = tile(IBX_DTYPE_BF16, IBX_DTYPE_F32, 16, 100, 100);
  assert_int_equal(ibx_dma_split(machine, &narrow, places, pieces), 16);
  assert_int_equal(pieces[0].bytes, 400);
  ibx_insn widen = tile(IBX_DTYPE_F32, IBX_DTYPE_BF16, 16, 100, 100);
  assert_int_equal(ibx_dma_split(machine, &widen, places, pieces), 16);
  assert_int_equal(pieces[0].bytes, 400);
}

// hardware.md 6: a 2-byte-stride transpose of 128 x 128 is 16,384 runs.
static void a_transpose_pays_for_each_element(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  ibx_insn insn = tile(IBX_DTYPE_BF16, IBX_DTYPE_BF16, 128, 128, 1);
  insn.operand[1].step[4] = 128;
  ibx_dma_piece pieces[16];
  size_t count = ibx_dma_split(machine, &insn, places, pieces);
  uint64_t descriptors = 0;
  for (size_t i = 0; i < count; i++) {
    descriptors += pieces[i].descriptors;
  }
  assert_int_equal(descriptors, 16384);
}

static void few_runs_are_cut_and_small_ones_are_not(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  const struct {
    uint32_t bytes;
    size_t pieces;
  } cases[] = {
      {1, 1},    {511, 1},   {1023, 1},  {1024, 2},
      {5000, 9}, {8191, 15}, {8192, 16}, {100000000, 16},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    ibx_insn insn = line(cases[i].bytes);
    assert_int_equal(ibx_dma_split(machine, &insn, places, NULL),
                     cases[i].pieces);
  }
}

static void long_runs_are_several_descriptors(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  ibx_dma_piece pieces[16];
  ibx_insn insn = line(16 * 65536);
  ibx_dma_split(machine, &insn, places, pieces);
  assert_int_equal(pieces[0].descriptors, 1);
  insn = line(16 * 65536 + 1);
  ibx_dma_split(machine, &insn, places, pieces);
  assert_int_equal(pieces[0].descriptors, 2);
  assert_int_equal(pieces[15].descriptors, 1);
}

static void the_largest_dma_does_not_overflow(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx2");
  ibx_dma_piece pieces[16];
  ibx_insn insn = line(1u << 30);
  insn.num[3] = 1u << 10; // a broadcast: 2^40 elements, all checked ones
  insn.operand[0].dtype = insn.operand[1].dtype = IBX_DTYPE_I64;
  assert_int_equal(ibx_dma_split(machine, &insn, places, pieces), 16);
  assert_int_equal(pieces[0].bytes, UINT64_C(1) << 39);
  uint64_t ps = ibx_dma_piece_ps(machine, &pieces[0]);
  double expected = (double)pieces[0].bytes / 17e9 * 1e12 +
                    (double)pieces[0].descriptors * machine->dma_descriptor_ps;
  assert_true((double)ps > expected * 0.999999);
  assert_true((double)ps < expected * 1.000001);
}

// DMABW, read off a figure: 1416 ns for 32 KiB and 97 ns for 2 KiB on one
// engine.
static void durations_are_near_the_measured_ones(void **state) {
  (void)state;
  const ibx_machine *machine = ibx_machine_find("ibx3");
  const struct {
    uint64_t bytes;
    double ns;
  } cases[] = {{32768, 1416}, {2048, 97}};
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    ibx_dma_piece piece = {.descriptors = 1, .bytes = cases[i].bytes};
    double ns = (double)ibx_dma_piece_ps(machine, &piece) / 1000;
    assert_true(ns > cases[i].ns * 0.95 && ns < cases[i].ns * 1.05);
  }
  ibx_dma_piece empty = {.descriptors = 3, .bytes = 1};
  assert_int_equal(ibx_dma_piece_ps(machine, &empty),
                   3 * machine->dma_descriptor_ps + 44);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_patterns_agree_with_a_walk),
      cmocka_unit_test(a_tile_is_eight_partitions_an_engine),
      cmocka_unit_test(a_conversion_counts_the_larger_side),
      cmocka_unit_test(a_transpose_pays_for_each_element),
      cmocka_unit_test(few_runs_are_cut_and_small_ones_are_not),
      cmocka_unit_test(long_runs_are_several_descriptors),
      cmocka_unit_test(the_largest_dma_does_not_overflow),
      cmocka_unit_test(durations_are_near_the_measured_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
