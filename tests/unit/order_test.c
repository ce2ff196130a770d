// SPDX-License-Identifier: Apache-2.0
//
// Orders of a run: race-free programs give the same bytes in all of them, a
// missing wait shows itself, loops and registers count, deadlocks are named.

#include "support/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { ROWS = 128, COLUMNS = 512, TRIPS = 6 };

static ibx_operand row_operand(uint32_t buffer) {
  return (ibx_operand){
      .buffer = buffer, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
}

// HBM to SBUF or back: one row a partition.
static ibx_insn load_store(const world *w, uint32_t dst, uint32_t src) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[3] = ROWS;
  insn.num[4] = COLUMNS;
  insn.operand[0] = row_operand(dst);
  insn.operand[1] = row_operand(src);
  for (size_t i = 0; i < 2; i++) {
    ibx_operand *o = &insn.operand[i];
    bool hbm = w->buffers[o->buffer].place.space == IBX_SPACE_HBM;
    if (hbm) o->step[3] = COLUMNS;
    if (!hbm) o->partition_step[3] = 1;
  }
  return insn;
}

static uint16_t piece_count(const world *w, const ibx_insn *insn) {
  ibx_buffer_place places[WORLD_BUFFERS];
  for (size_t i = 0; i < w->entry.buffer_count; i++) {
    places[i] = w->buffers[i].place;
  }
  return (uint16_t)ibx_dma_split(w->program.machine, insn, places, NULL);
}

static ibx_insn scale(uint32_t dst, uint32_t src, float factor) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.partitions = ROWS;
  insn.num[4] = COLUMNS;
  insn.op[0] = IBX_ALU_MULTIPLY;
  insn.imm[0] = factor;
  insn.operand[0] = row_operand(dst);
  insn.operand[1] = row_operand(src);
  return insn;
}

typedef struct pipeline {
  world w;
  float in[ROWS * COLUMNS], out[ROWS * COLUMNS];
  ibx_insn *multiply; // waits for the load
  ibx_insn *store;    // waits for the product
} pipeline;

// sync: in -> a    vector: b = 2 a    sync: b -> out
static pipeline *pipeline_create(void) {
  pipeline *p = calloc(1, sizeof(*p));
  assert_non_null(p);
  world *w = &p->w;
  world_init(w, IBX_TARGET_ibx3);
  uint64_t random = 3;
  for (size_t i = 0; i < IBX_COUNT_OF(p->in); i++) {
    p->in[i] = world_float(&random, 5);
  }
  uint32_t in = world_hbm(w, IBX_BUFFER_INPUT, p->in, sizeof(p->in));
  uint32_t out = world_hbm(w, IBX_BUFFER_OUTPUT, p->out, sizeof(p->out));
  uint32_t a = world_chip(w, IBX_SPACE_SBUF, 0, 2048);
  uint32_t b = world_chip(w, IBX_SPACE_SBUF, 2048, 2048);
  ibx_insn load = load_store(w, a, in), store = load_store(w, out, b);
  uint16_t pieces = piece_count(w, &load);
  assert_true(pieces > 1);
  world_add(w, IBX_ENGINE_SYNC, world_signal(load, 1, pieces));
  ibx_insn multiply = world_wait(scale(b, a, 2), 1, pieces);
  p->multiply = world_add(w, IBX_ENGINE_VECTOR, world_signal(multiply, 2, 1));
  p->store = world_add(w, IBX_ENGINE_SYNC, world_wait(store, 2, 1));
  return p;
}

static bool is_doubled(const pipeline *p) {
  for (size_t i = 0; i < IBX_COUNT_OF(p->in); i++) {
    if (p->out[i] != 2 * p->in[i]) return false;
  }
  return true;
}

static void ordered_program_is_right_in_every_order(void **state) {
  (void)state;
  pipeline *p = pipeline_create();
  for (uint64_t seed = 0; seed < 22; seed++) {
    ibx_sim_order order = seed == 0   ? IBX_SIM_ORDER_PROGRAM
                          : seed == 1 ? IBX_SIM_ORDER_ADVERSARIAL
                                      : IBX_SIM_ORDER_RANDOM;
    memset(p->out, 0, sizeof(p->out));
    if (world_run(&p->w, order, seed)) fail_msg("%s", p->w.err.message);
    assert_true(is_doubled(p));
  }
  free(p);
}

static void lowered_wait_shows_itself(void **state) {
  (void)state;
  pipeline *p = pipeline_create();
  p->multiply->wait_value--;
  assert_int_equal(world_run(&p->w, IBX_SIM_ORDER_ADVERSARIAL, 0), IBX_OK);
  assert_false(is_doubled(p));
  size_t wrong = 0;
  for (uint64_t seed = 0; seed < 20; seed++) {
    assert_int_equal(world_run(&p->w, IBX_SIM_ORDER_RANDOM, seed), IBX_OK);
    wrong += !is_doubled(p);
  }
  assert_true(wrong > 0);
  // The order that hides the mistake.
  assert_int_equal(world_run(&p->w, IBX_SIM_ORDER_PROGRAM, 0), IBX_OK);
  assert_true(is_doubled(p));
  free(p);
}

// A bit for each adversarial order that gives other numbers.
static unsigned adversaries_that_differ(pipeline *p) {
  unsigned differ = 0;
  for (unsigned i = 0; i < IBX_SIM_ADVERSARIES; i++) {
    memset(p->out, 0, sizeof(p->out));
    if (world_run(&p->w, IBX_SIM_ORDER_ADVERSARIAL, i) != IBX_OK) {
      fail_msg("%s", p->w.err.message);
    }
    differ |= is_doubled(p) ? 0 : 1u << i;
  }
  return differ;
}

// An instruction that comes too early is felt where its engine runs ahead, a DMA
// where its pieces run as soon as they may.
static void adversaries_show_what_is_lost(void **state) {
  (void)state;
  const unsigned lazy = (1u << IBX_ENGINE_COUNT) - 1;
  const unsigned vector_ahead = 1u
                                << (IBX_ENGINE_COUNT - 1 - IBX_ENGINE_VECTOR);
  pipeline *p = pipeline_create();
  assert_int_equal(adversaries_that_differ(p), 0);
  uint16_t value = p->multiply->wait_value;
  p->multiply->wait_value = 0;
  assert_true((adversaries_that_differ(p) & vector_ahead) != 0);
  p->multiply->wait_value = value;
  p->store->wait_value = 0;
  assert_true((adversaries_that_differ(p) & ~lazy) != 0);
  free(p);
}

static void same_seed_gives_the_same_run(void **state) {
  (void)state;
  pipeline *p = pipeline_create();
  float first[ROWS * COLUMNS];
  p->multiply->wait_value = 0; // a race
  for (int i = 0; i < 2; i++) {
    memset(p->out, 0, sizeof(p->out));
    assert_int_equal(world_run(&p->w, IBX_SIM_ORDER_RANDOM, 9), IBX_OK);
    if (i == 0) memcpy(first, p->out, sizeof(first));
  }
  assert_memory_equal(first, p->out, sizeof(first));
  free(p);
}

static void deadlock_names_engine_and_semaphore(void **state) {
  static const ibx_sim_order orders[] = {
      IBX_SIM_ORDER_PROGRAM, IBX_SIM_ORDER_RANDOM, IBX_SIM_ORDER_ADVERSARIAL};
  (void)state;
  pipeline *p = pipeline_create();
  p->multiply->wait_value++;
  for (size_t i = 0; i < IBX_COUNT_OF(orders); i++) {
    assert_int_equal(world_run(&p->w, orders[i], 1), IBX_DEVICE_ERROR);
    assert_non_null(strstr(p->w.err.message, "vector at 0 for semaphore 1"));
    assert_non_null(strstr(p->w.err.message, "sync at 1 for semaphore 2"));
  }
  free(p);
}

static void waiting_consumes(void **state) {
  (void)state;
  world w;
  world_init(&w, IBX_TARGET_ibx3);
  ibx_insn nop = ibx_insn_make(IBX_OP_semaphore);
  world_add(&w, IBX_ENGINE_SYNC, world_signal(nop, 4, 3));
  world_add(&w, IBX_ENGINE_VECTOR, world_wait(nop, 4, 2));
  world_add(&w, IBX_ENGINE_VECTOR, world_wait(nop, 4, 1));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_OK);
  world_add(&w, IBX_ENGINE_VECTOR, world_wait(nop, 4, 1));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
}

static ibx_insn loop_of(uint8_t reg, uint32_t trips, uint8_t limit) {
  ibx_insn insn = ibx_insn_make(IBX_OP_loop);
  insn.reg[0] = reg;
  insn.reg[1] = limit;
  insn.count = trips;
  return insn;
}

// Adds 1 to element r1 of row buffer `b`, inside two loops.
static ibx_insn count_up(uint32_t b) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.partitions = 1;
  insn.op[0] = IBX_ALU_ADD;
  insn.imm[0] = 1;
  insn.flags = IBX_FLAG_LOOPED;
  insn.operand[0] = row_operand(b);
  insn.operand[0].loop_step[1] = 4;
  insn.operand[1] = insn.operand[0];
  return insn;
}

static ibx_insn store_row(uint32_t out, uint32_t b) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[4] = 16;
  insn.operand[0] = row_operand(out);
  insn.operand[1] = row_operand(b);
  return insn;
}

static void loops_count_and_registers_lower_them(void **state) {
  static const uint32_t limits[] = {0, 1, 4, 100};
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(limits); i++) {
    world w;
    float out[16] = {0};
    world_init(&w, IBX_TARGET_ibx3);
    uint32_t b = world_chip(&w, IBX_SPACE_SBUF, 0, 64);
    uint32_t to = world_hbm(&w, IBX_BUFFER_OUTPUT, out, sizeof(out));
    ibx_insn set = ibx_insn_make(IBX_OP_register_move);
    set.reg[0] = 7;
    set.count = limits[i];
    ibx_insn zero = ibx_insn_make(IBX_OP_memset);
    zero.partitions = 1;
    zero.num[4] = 16;
    zero.operand[0] = row_operand(b);
    ibx_insn end = ibx_insn_make(IBX_OP_loop_end);
    ibx_engine engine = IBX_ENGINE_VECTOR;
    world_add(&w, engine, set);
    world_add(&w, engine, zero);
    world_add(&w, engine, loop_of(0, 3, IBX_NO_REGISTER));
    world_add(&w, engine, loop_of(1, TRIPS, 7));
    world_add(&w, engine, count_up(b));
    world_add(&w, engine, end);
    world_add(&w, engine, end);
    world_add(&w, engine, store_row(to, b));
    if (world_run(&w, IBX_SIM_ORDER_PROGRAM, 0)) fail_msg("%s", w.err.message);
    uint32_t trips = limits[i] < TRIPS ? limits[i] : TRIPS;
    for (uint32_t j = 0; j < 16; j++) {
      assert_true(out[j] == (j < trips ? 3.0f : 0.0f));
    }
  }
}

static void loop_strides_are_checked(void **state) {
  (void)state;
  world w;
  world_init(&w, IBX_TARGET_ibx3);
  uint32_t b = world_chip(&w, IBX_SPACE_SBUF, 0, 64);
  world_add(&w, IBX_ENGINE_VECTOR, loop_of(1, 17, IBX_NO_REGISTER));
  world_add(&w, IBX_ENGINE_VECTOR, count_up(b));
  world_add(&w, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
  assert_non_null(strstr(w.err.message, "bytes 64 to 68"));
}

static void register_load_reads_and_limits(void **state) {
  (void)state;
  for (uint32_t value = 4; value < 7; value++) {
    world w;
    world_init(&w, IBX_TARGET_ibx3);
    uint32_t in[16] = {value};
    uint32_t from = world_hbm(&w, IBX_BUFFER_INPUT, in, sizeof(in));
    uint32_t b = world_chip(&w, IBX_SPACE_SBUF, 0, 64);
    ibx_insn fetch = store_row(b, from);
    fetch.operand[0].dtype = fetch.operand[1].dtype = IBX_DTYPE_U32;
    uint16_t pieces = piece_count(&w, &fetch);
    world_add(&w, IBX_ENGINE_SYNC, world_signal(fetch, 1, pieces));
    ibx_insn load = ibx_insn_make(IBX_OP_register_load);
    load.reg[0] = 3;
    load.count = 5;
    load.operand[1] = (ibx_operand){.buffer = b, .dtype = IBX_DTYPE_U32};
    world_add(&w, IBX_ENGINE_SYNC, world_wait(load, 1, pieces));
    ibx_status status = world_run(&w, IBX_SIM_ORDER_PROGRAM, 0);
    assert_int_equal(status, value <= 5 ? IBX_OK : IBX_DEVICE_ERROR);
  }
}

static void unmatched_loops_are_refused(void **state) {
  (void)state;
  world w;
  world_init(&w, IBX_TARGET_ibx3);
  world_add(&w, IBX_ENGINE_SYNC, loop_of(0, 2, IBX_NO_REGISTER));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
  world_init(&w, IBX_TARGET_ibx3);
  world_add(&w, IBX_ENGINE_SYNC, ibx_insn_make(IBX_OP_loop_end));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
}

// 2^40 elements are legal, but nobody has the hours.
static void endless_programs_end(void **state) {
  (void)state;
  world w;
  world_init(&w, IBX_TARGET_ibx3);
  uint8_t *memory = calloc(1, 64);
  uint32_t in = world_hbm(&w, IBX_BUFFER_INPUT, memory, 64);
  uint32_t b = world_chip(&w, IBX_SPACE_SBUF, 0, 64);
  ibx_insn copy = store_row(b, in);
  copy.num[0] = 1u << 19; // steps 0: the same row again and again
  copy.num[1] = 1u << 17;
  world_add(&w, IBX_ENGINE_SYNC, copy);
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
  free(memory);
}

static void inputs_are_not_written(void **state) {
  (void)state;
  world w;
  float memory[16] = {0};
  world_init(&w, IBX_TARGET_ibx3);
  uint32_t in = world_hbm(&w, IBX_BUFFER_INPUT, memory, sizeof(memory));
  uint32_t b = world_chip(&w, IBX_SPACE_SBUF, 0, 64);
  world_add(&w, IBX_ENGINE_SYNC, store_row(in, b));
  assert_int_equal(world_run(&w, IBX_SIM_ORDER_PROGRAM, 0), IBX_DEVICE_ERROR);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ordered_program_is_right_in_every_order),
      cmocka_unit_test(lowered_wait_shows_itself),
      cmocka_unit_test(adversaries_show_what_is_lost),
      cmocka_unit_test(same_seed_gives_the_same_run),
      cmocka_unit_test(deadlock_names_engine_and_semaphore),
      cmocka_unit_test(waiting_consumes),
      cmocka_unit_test(loops_count_and_registers_lower_them),
      cmocka_unit_test(loop_strides_are_checked),
      cmocka_unit_test(register_load_reads_and_limits),
      cmocka_unit_test(unmatched_loops_are_refused),
      cmocka_unit_test(endless_programs_end),
      cmocka_unit_test(inputs_are_not_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
