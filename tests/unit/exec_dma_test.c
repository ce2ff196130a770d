// SPDX-License-Identifier: Apache-2.0
//
// DMAs that do more than copy: transpose, sum, accumulate, scatter, skip. Each
// runs in every order of pieces and is compared with what its definition says;
// the prover accepts what is right and refuses what reads unwritten rows.

#include "imbrex/prove.h"

#include "support/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

enum { ROWS = 48, WIDTH = 24, TABLE = 100 };

typedef struct bench {
  world w;
  ibx_tensor_decl ports[3]; ///< two inputs and the state, which is both
  float src[16 * ROWS * WIDTH];
  float dst[TABLE * WIDTH], before[TABLE * WIDTH];
  uint32_t index[ROWS];
  uint64_t seed;
  uint32_t in, state, indices, chip, index_chip;
} bench;

static bench *bench_create(ibx_target target, uint64_t seed) {
  bench *b = calloc(1, sizeof(*b));
  assert_non_null(b);
  world_init(&b->w, target);
  b->seed = seed * 77 + 1;
  for (size_t i = 0; i < IBX_COUNT_OF(b->src); i++) {
    b->src[i] = world_float(&b->seed, 8.0f);
  }
  for (size_t i = 0; i < IBX_COUNT_OF(b->dst); i++) {
    b->dst[i] = b->before[i] = world_float(&b->seed, 8.0f);
  }
  b->in = world_hbm(&b->w, IBX_BUFFER_INPUT, b->src, sizeof(b->src));
  b->state = world_hbm(&b->w, IBX_BUFFER_STATE, b->dst, sizeof(b->dst));
  b->indices = world_hbm(&b->w, IBX_BUFFER_INPUT, b->index, sizeof(b->index));
  b->chip = world_chip(&b->w, IBX_SPACE_SBUF, 0, 4096);
  const uint32_t buffers[] = {b->in, b->indices, b->state};
  const uint64_t counts[] = {IBX_COUNT_OF(b->src), ROWS, IBX_COUNT_OF(b->dst)};
  const char *const names[] = {"in", "indices", "state"};
  for (size_t i = 0; i < 3; i++) {
    b->ports[i] = (ibx_tensor_decl){
        .name = names[i],
        .buffer = buffers[i],
        .rank = 1,
        .dtype = (uint8_t)(i == 1 ? IBX_DTYPE_U32 : IBX_DTYPE_F32),
        .shape = {counts[i]}};
  }
  b->w.entry.inputs = b->ports;
  b->w.entry.input_count = 3;
  b->w.entry.outputs = &b->ports[2];
  b->w.entry.output_count = 1;
  b->index_chip = world_chip(&b->w, IBX_SPACE_SBUF, 4096, 64);
  return b;
}

// Different rows of the table, in random order.
static void make_indices(bench *b) {
  uint32_t all[TABLE];
  for (uint32_t i = 0; i < TABLE; i++) {
    uint32_t at = world_below(&b->seed, i + 1);
    all[i] = all[at];
    all[at] = i;
  }
  memcpy(b->index, all, sizeof(b->index));
}

static ibx_operand rows_of(uint32_t buffer, int32_t width) {
  return (ibx_operand){
      .buffer = buffer, .dtype = IBX_DTYPE_F32, .step = {[0] = width, [4] = 1}};
}

static ibx_operand lanes_of(uint32_t buffer) {
  return (ibx_operand){.buffer = buffer,
                       .dtype = IBX_DTYPE_F32,
                       .step = {[4] = 1},
                       .partition_step = {[0] = 1}};
}

static uint16_t pieces_of(const bench *b, const ibx_insn *insn) {
  ibx_buffer_place places[WORLD_BUFFERS];
  for (size_t i = 0; i < b->w.entry.buffer_count; i++) {
    places[i] = b->w.buffers[i].place;
  }
  return (uint16_t)ibx_dma_split(&b->w.machine, insn, places, NULL);
}

// A DMA after all before it: issued by Sync or GpSimd, waited for by GpSimd.
static void add(bench *b, ibx_insn insn) {
  uint16_t pieces = pieces_of(b, &insn);
  world_add(&b->w, IBX_ENGINE_GPSIMD, world_signal(insn, 0, pieces));
  ibx_insn wait = ibx_insn_make(IBX_OP_semaphore);
  world_add(&b->w, IBX_ENGINE_GPSIMD, world_wait(wait, 0, pieces));
}

static ibx_insn make_dma(ibx_opcode opcode, ibx_operand dst, ibx_operand src) {
  ibx_insn insn = ibx_insn_make(opcode);
  insn.num[0] = ROWS;
  insn.num[4] = WIDTH;
  insn.operand[0] = dst;
  insn.operand[1] = src;
  insn.dge = IBX_DGE_STATIC;
  return insn;
}

static void load_index(bench *b) {
  ibx_insn insn = make_dma(IBX_OP_dma_copy, lanes_of(b->index_chip),
                           rows_of(b->indices, 1));
  insn.num[4] = 1;
  insn.operand[0].dtype = insn.operand[1].dtype = IBX_DTYPE_U32;
  add(b, insn);
}

static void load_rows(bench *b) {
  add(b, make_dma(IBX_OP_dma_copy, lanes_of(b->chip), rows_of(b->in, WIDTH)));
}

static ibx_insn indexed(const bench *b, ibx_opcode opcode, ibx_operand dst,
                        ibx_operand src) {
  ibx_insn insn = make_dma(opcode, dst, src);
  insn.operand[2] =
      (ibx_operand){.buffer = b->index_chip, .dtype = IBX_DTYPE_U32};
  insn.dge = IBX_DGE_SOFTWARE;
  insn.count = TABLE;
  return insn;
}

static void run_all_orders(bench *b, const float *expected) {
  for (int run = 0; run < 6; run++) {
    memcpy(b->dst, b->before, sizeof(b->dst));
    ibx_sim_order order = run == 0   ? IBX_SIM_ORDER_PROGRAM
                          : run == 1 ? IBX_SIM_ORDER_ADVERSARIAL
                                     : IBX_SIM_ORDER_RANDOM;
    if (world_run(&b->w, order, (uint64_t)run) != IBX_OK) {
      fail_msg("%s", b->w.err.message);
    }
    assert_memory_equal(b->dst, expected, sizeof(b->dst));
  }
}

static void assert_proved(bench *b) {
  ibx_proof proof;
  ibx_error err = {0};
  if (ibx_prove_entry(&b->w.program, &b->w.entry, &proof, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
}

static void scatter_puts_rows_where_the_index_says(void **state) {
  (void)state;
  for (int adds = 0; adds < 2; adds++) {
    bench *b = bench_create(IBX_TARGET_ibx3, 3);
    make_indices(b);
    load_index(b);
    load_rows(b);
    add(b, indexed(b, adds ? IBX_OP_dma_scatter_add : IBX_OP_dma_scatter,
                   rows_of(b->state, WIDTH), lanes_of(b->chip)));
    float expected[TABLE * WIDTH];
    memcpy(expected, b->before, sizeof(expected));
    for (size_t i = 0; i < ROWS; i++) {
      for (size_t j = 0; j < WIDTH; j++) {
        float *to = &expected[b->index[i] * WIDTH + j];
        *to = adds ? *to + b->src[i * WIDTH + j] : b->src[i * WIDTH + j];
      }
    }
    assert_proved(b);
    run_all_orders(b, expected);
    b->index[7] = b->index[30];
    assert_int_equal(world_run(&b->w, IBX_SIM_ORDER_PROGRAM, 0),
                     IBX_DEVICE_ERROR);
    assert_non_null(strstr(b->w.err.message, "stands in partitions 7 and 30"));
    b->index[7] = TABLE;
    assert_int_equal(world_run(&b->w, IBX_SIM_ORDER_RANDOM, 0),
                     IBX_DEVICE_ERROR);
    free(b);
  }
}

static void skipped_rows_stay_as_they_were(void **state) {
  (void)state;
  const ibx_opcode opcodes[] = {IBX_OP_dma_scatter, IBX_OP_dma_gather_skip,
                                IBX_OP_dma_gather_add};
  for (size_t k = 0; k < IBX_COUNT_OF(opcodes); k++) {
    bench *b = bench_create(IBX_TARGET_ibx2, 5);
    make_indices(b);
    for (size_t i = 0; i < ROWS; i += 3) {
      b->index[i] = i % 2 ? UINT32_MAX : TABLE;
    }
    load_index(b);
    load_rows(b);
    bool is_scatter = opcodes[k] == IBX_OP_dma_scatter;
    ibx_insn insn = is_scatter
                        ? indexed(b, opcodes[k], rows_of(b->state, WIDTH),
                                  lanes_of(b->chip))
                        : indexed(b, opcodes[k], lanes_of(b->chip),
                                  rows_of(b->state, WIDTH));
    if (opcodes[k] != IBX_OP_dma_gather_skip) {
      insn.mode = IBX_MODE_dma_scatter_SKIP;
    }
    add(b, insn);
    float expected[TABLE * WIDTH];
    memcpy(expected, b->before, sizeof(expected));
    if (!is_scatter) { // what was gathered goes to the first rows
      add(b, make_dma(IBX_OP_dma_copy, rows_of(b->state, WIDTH),
                      lanes_of(b->chip)));
    }
    for (size_t i = 0; i < ROWS; i++) {
      for (size_t j = 0; j < WIDTH; j++) {
        bool skipped = i % 3 == 0;
        float own = b->src[i * WIDTH + j];
        float row = skipped ? 0.0f : b->before[b->index[i] * WIDTH + j];
        if (is_scatter) {
          if (!skipped) expected[b->index[i] * WIDTH + j] = own;
        } else if (opcodes[k] == IBX_OP_dma_gather_add) {
          expected[i * WIDTH + j] = skipped ? own : own + row;
        } else {
          expected[i * WIDTH + j] = skipped ? own : row;
        }
      }
    }
    assert_proved(b);
    run_all_orders(b, expected);
    free(b);
  }
}

static void compute_sums_its_sources_in_order(void **state) {
  (void)state;
  for (uint32_t sources = 1; sources <= 16; sources += 5) {
    bench *b = bench_create(IBX_TARGET_ibx3, sources);
    ibx_insn insn = make_dma(IBX_OP_dma_compute, lanes_of(b->chip),
                             rows_of(b->in, ROWS * WIDTH));
    insn.num[0] = sources;
    insn.num[3] = ROWS;
    insn.operand[0].partition_step[0] = 0;
    insn.operand[0].partition_step[3] = 1;
    insn.operand[1].step[3] = WIDTH;
    add(b, insn);
    add(b, make_dma(IBX_OP_dma_accumulate, rows_of(b->state, WIDTH),
                    lanes_of(b->chip)));
    float expected[TABLE * WIDTH];
    memcpy(expected, b->before, sizeof(expected));
    for (size_t i = 0; i < (size_t)ROWS * WIDTH; i++) {
      float sum = b->src[i];
      for (uint32_t s = 1; s < sources; s++) {
        sum += b->src[s * ROWS * WIDTH + i];
      }
      expected[i] += sum;
    }
    assert_proved(b);
    run_all_orders(b, expected);
    free(b);
  }
}

static void transposition_swaps_two_dimensions(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx4, 9);
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_transpose);
  insn.num[3] = ROWS;
  insn.num[4] = WIDTH;
  insn.operand[0] = (ibx_operand){.buffer = b->chip,
                                  .dtype = IBX_DTYPE_F32,
                                  .step = {[3] = 1},
                                  .partition_step = {[4] = 1}};
  insn.operand[1] = (ibx_operand){
      .buffer = b->in, .dtype = IBX_DTYPE_F32, .step = {[3] = WIDTH, [4] = 1}};
  add(b, insn);
  ibx_insn store =
      make_dma(IBX_OP_dma_copy, rows_of(b->state, ROWS), lanes_of(b->chip));
  store.num[0] = WIDTH;
  store.num[4] = ROWS;
  add(b, store);
  float expected[TABLE * WIDTH];
  memcpy(expected, b->before, sizeof(expected));
  for (size_t i = 0; i < WIDTH; i++) {
    for (size_t j = 0; j < ROWS; j++) {
      expected[i * ROWS + j] = b->src[j * WIDTH + i];
    }
  }
  assert_proved(b);
  run_all_orders(b, expected);
  free(b);
}

static void adding_to_what_was_not_written_is_refused(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx3, 1);
  ibx_insn insn =
      make_dma(IBX_OP_dma_accumulate, lanes_of(b->chip), rows_of(b->in, WIDTH));
  add(b, insn);
  ibx_proof proof;
  ibx_error err = {0};
  assert_int_equal(ibx_prove_entry(&b->w.program, &b->w.entry, &proof, &err),
                   IBX_UNPROVEN);
  assert_non_null(strstr(err.message, "that were not written"));
  free(b);
}

// --- registers ------------------------------------------------------------------

enum {
  BLOCK_ROWS = 4,
  BLOCK = BLOCK_ROWS * WIDTH,
  PLACES = TABLE / BLOCK_ROWS
};

static ibx_operand block_of(uint32_t buffer, size_t block) {
  return (ibx_operand){.buffer = buffer,
                       .offset = block * BLOCK * sizeof(float),
                       .dtype = IBX_DTYPE_F32,
                       .step = {[3] = WIDTH, [4] = 1}};
}

// Register 9 picks the block of one side; the other's is number `fixed`.
static ibx_insn make_moved(const bench *b, ibx_opcode opcode, uint8_t slot,
                           size_t fixed) {
  ibx_insn insn = ibx_insn_make((uint8_t)opcode);
  insn.num[3] = BLOCK_ROWS;
  insn.num[4] = WIDTH;
  insn.operand[0] = block_of(b->state, slot == 0 ? 0 : fixed);
  insn.operand[1] = block_of(b->in, slot == 1 ? 0 : fixed);
  insn.operand[slot].step[0] = BLOCK;
  insn.index_register = 1 + 9;
  insn.index_slot = slot;
  insn.count = PLACES;
  insn.dge = IBX_DGE_SOFTWARE;
  return insn;
}

static void set_register(bench *b, uint32_t value) {
  ibx_insn insn = ibx_insn_make(IBX_OP_register_move);
  insn.reg[0] = 9;
  insn.count = value;
  world_add(&b->w, IBX_ENGINE_GPSIMD, insn);
}

static void expect_block(const bench *b, float *expected, bool adds, size_t dst,
                         size_t src) {
  for (size_t i = 0; i < BLOCK; i++) {
    float value = b->src[src * BLOCK + i];
    float *to = &expected[dst * BLOCK + i];
    *to = adds ? *to + value : value;
  }
}

static void a_register_moves_one_side(void **state) {
  (void)state;
  const uint32_t values[] = {0, 7, PLACES - 1};
  for (size_t k = 0; k < 4 * IBX_COUNT_OF(values); k++) {
    uint8_t slot = k % 2;
    bool adds = k / 2 % 2 == 1;
    uint32_t place = values[k / 4];
    bench *b = bench_create(IBX_TARGET_ibx2, k);
    set_register(b, place);
    ibx_opcode opcode = adds ? IBX_OP_dma_accumulate : IBX_OP_dma_copy;
    add(b, make_moved(b, opcode, slot, 11));
    float expected[TABLE * WIDTH];
    memcpy(expected, b->before, sizeof(expected));
    expect_block(b, expected, adds, slot == 0 ? place : 11,
                 slot == 1 ? place : 11);
    assert_proved(b);
    run_all_orders(b, expected);
    b->w.insns[IBX_ENGINE_GPSIMD][0].count = PLACES;
    for (int order = 0; order < 2; order++) {
      assert_int_equal(world_run(&b->w, (ibx_sim_order)order, 0),
                       IBX_DEVICE_ERROR);
      assert_non_null(strstr(b->w.err.message, "has 25 places"));
    }
    free(b);
  }
}

// Addresses are those of the issue, whenever the pieces run.
static void a_register_may_change_behind_a_dma(void **state) {
  (void)state;
  bench *b = bench_create(IBX_TARGET_ibx2, 1);
  ibx_insn wait = ibx_insn_make(IBX_OP_semaphore);
  wait.wait_value = 0;
  float expected[TABLE * WIDTH];
  memcpy(expected, b->before, sizeof(expected));
  for (uint32_t i = 0; i < 5; i++) {
    ibx_insn insn = make_moved(b, IBX_OP_dma_copy, 1, i);
    uint16_t pieces = pieces_of(b, &insn);
    set_register(b, 20 - 3 * i);
    world_add(&b->w, IBX_ENGINE_GPSIMD, world_signal(insn, 0, pieces));
    wait.wait_value = (uint16_t)(wait.wait_value + pieces);
    expect_block(b, expected, false, i, 20 - 3 * i);
  }
  set_register(b, 1);
  world_add(&b->w, IBX_ENGINE_GPSIMD, wait);
  assert_proved(b);
  run_all_orders(b, expected);
  free(b);
}

// Row 5 of the input goes to a partition; to the prover that may be any of them.
static void a_register_moves_partitions(void **state) {
  (void)state;
  for (int is_loaded = 0; is_loaded < 2; is_loaded++) {
    bench *b = bench_create(IBX_TARGET_ibx3, 2);
    if (is_loaded) load_rows(b);
    set_register(b, 20);
    ibx_insn insn = make_moved(b, IBX_OP_dma_copy, 0, 0);
    insn.num[3] = 1;
    insn.operand[0] = lanes_of(b->chip);
    insn.operand[1].offset = 5 * WIDTH * sizeof(float);
    insn.count = ROWS;
    add(b, insn);
    add(b,
        make_dma(IBX_OP_dma_copy, rows_of(b->state, WIDTH), lanes_of(b->chip)));
    float expected[TABLE * WIDTH];
    memcpy(expected, b->before, sizeof(expected));
    memcpy(expected, b->src, ROWS * WIDTH * sizeof(float));
    memcpy(expected + 20 * WIDTH, b->src + 5 * WIDTH, WIDTH * sizeof(float));
    ibx_proof proof;
    ibx_error err = {0};
    ibx_status status =
        ibx_prove_entry(&b->w.program, &b->w.entry, &proof, &err);
    if (is_loaded) {
      assert_int_equal(status, IBX_OK);
      run_all_orders(b, expected);
    } else {
      assert_int_equal(status, IBX_UNPROVEN);
      assert_non_null(strstr(err.message, "not written"));
    }
    free(b);
  }
}

// Another DMA under way to a place that the register may pick.
static void all_places_may_be_touched(void **state) {
  (void)state;
  for (uint8_t slot = 0; slot < 2; slot++) {
    bench *b = bench_create(IBX_TARGET_ibx2, 3);
    ibx_insn other = make_dma(IBX_OP_dma_copy, block_of(b->state, PLACES - 1),
                              block_of(b->state, 0));
    other.num[0] = 1;
    other.num[3] = BLOCK_ROWS;
    world_add(&b->w, IBX_ENGINE_GPSIMD, other);
    ibx_insn insn = make_moved(b, IBX_OP_dma_copy, slot, 5);
    insn.operand[1].buffer = b->state;
    add(b, insn);
    ibx_proof proof;
    ibx_error err = {0};
    assert_int_equal(ibx_prove_entry(&b->w.program, &b->w.entry, &proof, &err),
                     IBX_UNPROVEN);
    assert_non_null(strstr(err.message, "unordered with"));
    free(b);
  }
}

// --- time -------------------------------------------------------------------------

// Rates of ARCH3 and ARCH4: the bytes of a piece, descriptors aside.
static void slow_transfers_take_their_share_of_the_rate(void **state) {
  (void)state;
  const struct {
    ibx_opcode opcode;
    ibx_target target;
    bool from_hbm, to_hbm;
    uint64_t percent;
  } cases[] = {
      {IBX_OP_dma_copy, IBX_TARGET_ibx3, true, false, 100},
      {IBX_OP_dma_accumulate, IBX_TARGET_ibx2, true, false, 50},
      {IBX_OP_dma_accumulate, IBX_TARGET_ibx3, true, false, 50},
      {IBX_OP_dma_accumulate, IBX_TARGET_ibx4, true, false, 100},
      {IBX_OP_dma_accumulate, IBX_TARGET_ibx4, false, true, 50},
      {IBX_OP_dma_transpose, IBX_TARGET_ibx3, true, false, 90},
      {IBX_OP_dma_transpose, IBX_TARGET_ibx3, false, false, 50},
  };
  const ibx_buffer_place places[] = {
      {.space = IBX_SPACE_HBM, .partitions = 1, .bytes = 1 << 20},
      {.space = IBX_SPACE_SBUF, .partitions = 128, .bytes = 4096}};
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    const ibx_machine *machine = ibx_machine_get(cases[i].target);
    ibx_insn insn = ibx_insn_make(cases[i].opcode);
    insn.num[3] = 16;
    insn.num[4] = 128;
    insn.operand[0].buffer = cases[i].to_hbm ? 0 : 1;
    insn.operand[1].buffer = cases[i].from_hbm ? 0 : 1;
    insn.operand[0].dtype = insn.operand[1].dtype = IBX_DTYPE_F32;
    ibx_dma_piece pieces[16], plain;
    assert_int_equal(ibx_dma_split(machine, &insn, places, pieces), 16);
    plain = pieces[0];
    plain.percent = 0;
    plain.descriptors = 0;
    uint64_t overhead = pieces[0].descriptors * machine->dma_descriptor_ps;
    uint64_t bytes_ps = ibx_dma_piece_ps(machine, &pieces[0]) - overhead;
    assert_int_equal(bytes_ps, ibx_dma_piece_ps(machine, &plain) * 100 /
                                   cases[i].percent);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(scatter_puts_rows_where_the_index_says),
      cmocka_unit_test(skipped_rows_stay_as_they_were),
      cmocka_unit_test(compute_sums_its_sources_in_order),
      cmocka_unit_test(transposition_swaps_two_dimensions),
      cmocka_unit_test(adding_to_what_was_not_written_is_refused),
      cmocka_unit_test(a_register_moves_one_side),
      cmocka_unit_test(a_register_may_change_behind_a_dma),
      cmocka_unit_test(a_register_moves_partitions),
      cmocka_unit_test(all_places_may_be_touched),
      cmocka_unit_test(slow_transfers_take_their_share_of_the_rate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
