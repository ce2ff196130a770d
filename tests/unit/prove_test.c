// SPDX-License-Identifier: Apache-2.0
//
// The rules of the prover, each with a program that keeps it and one that does
// not. A refusal names the rule, so each test looks for its words.

#include "imbrex/prove.h"
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static void accept_at(const tiny *t, int line) {
  ibx_error err = {.message = ""};
  ibx_proof proof;
  if (ibx_prove_entry(&t->program, &t->entry, &proof, &err) != IBX_OK) {
    fail_msg("line %d: %s", line, err.message);
  }
}

static void refuse_at(const tiny *t, const char *words, int line) {
  ibx_error err = {.message = ""};
  if (ibx_prove_entry(&t->program, &t->entry, NULL, &err) == IBX_OK) {
    fail_msg("line %d: accepted", line);
  }
  if (!strstr(err.message, words)) {
    fail_msg("line %d: \"%s\" lacks \"%s\"", line, err.message, words);
  }
}

#define ACCEPT(t) accept_at((t), __LINE__)
#define REFUSE(t, words) refuse_at((t), (words), __LINE__)

// --- order -------------------------------------------------------------------

static void a_pipe_is_proved_and_measured(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  ibx_proof proof;
  assert_int_equal(ibx_prove_entry(&p.t.program, &p.t.entry, &proof, NULL),
                   IBX_OK);
  assert_int_equal(proof.instructions, 3);
  assert_int_equal(proof.accesses, 6);
  assert_int_equal(proof.semaphores_used, 2);
  assert_int_equal(proof.sbuf_peak_bytes, 2 * TINY_ROW);
  assert_int_equal(proof.psum_peak_banks, 0);
}

static void a_missing_wait_leaves_a_race(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  tiny_wait(p.copy, 0, 0);
  tiny_signal(p.load, 0, 0);
  REFUSE(&p.t, " a"); // a race or a read of nothing, as the walk meets it
  tiny_pipe_init(&p);
  tiny_wait(p.store, 0, 0);
  tiny_signal(p.copy, 0, 0);
  REFUSE(&p.t, " b");
}

static void write_after_read_needs_order(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  // Vector overwrites b while the store may still read it.
  tiny_zero(&p.t, IBX_ENGINE_VECTOR, p.b, 0, TINY_ROW / 4);
  REFUSE(&p.t, "unordered with");
  tiny_signal_dma(&p.t, p.store, 3);
  tiny_wait(&p.t.insns[IBX_ENGINE_VECTOR][1], 3, p.store->signal_value);
  ACCEPT(&p.t);
}

static void an_engine_is_in_order_with_itself(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  tiny_copy(&t, IBX_ENGINE_VECTOR, a, 0, a, 0, 16);
  tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  ACCEPT(&t);
}

static void order_is_transitive(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  uint32_t b = tiny_sbuf(&t, "b", 64, 64);
  ibx_insn *first = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  tiny_signal(first, 1, 1);
  ibx_insn *hop = tiny_semaphore(&t, IBX_ENGINE_SYNC);
  tiny_wait(hop, 1, 1);
  tiny_signal(hop, 2, 1);
  ibx_insn *last = tiny_copy(&t, IBX_ENGINE_SCALAR, b, 0, a, 0, 16);
  tiny_wait(last, 2, 1);
  ACCEPT(&t);
  // The hop before the write tells nothing about it.
  tiny_signal(first, 0, 0);
  tiny_wait(hop, 0, 0);
  REFUSE(&t, "");
}

// A DMA is not in its issuer's order: later instructions do not know it, but it
// knows earlier ones.
static void a_dma_is_an_agent_of_its_own(void **state) {
  (void)state;
  for (int waits = 0; waits < 2; waits++) {
    tiny t;
    tiny_init(&t);
    uint32_t a = tiny_sbuf(&t, "a", 0, 64);
    uint32_t b = tiny_sbuf(&t, "b", 64, 64);
    uint32_t y = tiny_hbm(&t, "y", IBX_BUFFER_OUTPUT, 0, 64 * 128);
    tiny_zero(&t, IBX_ENGINE_SCALAR, a, 0, 16)->opcode = IBX_OP_activation;
    t.entry.streams[IBX_ENGINE_SCALAR].count = 0;
    tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 0, 16);
    ibx_insn *dma = tiny_dma(&t, IBX_ENGINE_GPSIMD, y, 0, a, 0, 128, 64);
    dma->dge = IBX_DGE_SOFTWARE;
    tiny_zero(&t, IBX_ENGINE_GPSIMD, b, 0, 16);
    ACCEPT(&t); // the write of a is before the DMA, b is elsewhere
    ibx_insn *reuse = tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 0, 16);
    if (waits) {
      tiny_signal_dma(&t, dma, 4);
      tiny_wait(reuse, 4, dma->signal_value);
      ACCEPT(&t);
    } else {
      REFUSE(&t, "unordered with");
    }
  }
}

static void dmas_of_one_queue_are_unordered(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t x = tiny_hbm(&t, "x", IBX_BUFFER_INPUT, 0, TINY_BYTES);
  uint32_t a = tiny_sbuf(&t, "a", 0, TINY_ROW);
  uint32_t b = tiny_sbuf(&t, "b", 1024, TINY_ROW);
  ibx_insn *load = tiny_dma(&t, IBX_ENGINE_SYNC, a, 0, x, 0, 128, TINY_ROW);
  ibx_insn *move = tiny_dma(&t, IBX_ENGINE_SYNC, b, 0, a, 0, 128, TINY_ROW);
  REFUSE(&t, "unordered with sync 0 dma_copy (node /first), which writes a");
  tiny_signal_dma(&t, load, 9);
  tiny_wait(move, 9, load->signal_value);
  ACCEPT(&t);
}

static void a_dma_does_not_overlap_itself(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 128);
  tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 0, 32);
  ibx_insn *dma = tiny_dma(&t, IBX_ENGINE_GPSIMD, a, 64, a, 0, 128, 64);
  dma->dge = IBX_DGE_SOFTWARE;
  ACCEPT(&t);
  dma->operand[0].offset = 60;
  REFUSE(&t, "unordered with");
  dma->operand[0].offset = 64;
  dma->operand[0].step[4] = 0; // 64 elements on one byte
  REFUSE(&t, "more than once");
}

// --- semaphores --------------------------------------------------------------

static void semaphores_end_at_zero(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  tiny_signal_dma(&p.t, p.store, 5);
  REFUSE(&p.t, "semaphore 5 ends at");
  tiny_pipe_init(&p);
  tiny_wait(p.copy, 1, 1); // of 16
  REFUSE(&p.t, "wait for all of them");
}

static void a_wait_that_nobody_satisfies_is_a_deadlock(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  tiny_signal(p.copy, 0, 0);
  REFUSE(&p.t, "deadlock");
  tiny_pipe_init(&p);
  tiny_wait(p.copy, 1, (uint16_t)(p.load->signal_value + 1));
  REFUSE(&p.t, "deadlock");
  // Two engines that wait for each other.
  tiny t;
  tiny_init(&t);
  ibx_insn *a = tiny_semaphore(&t, IBX_ENGINE_VECTOR);
  tiny_wait(a, 1, 1);
  tiny_signal(a, 2, 1);
  ibx_insn *b = tiny_semaphore(&t, IBX_ENGINE_SCALAR);
  tiny_wait(b, 2, 1);
  tiny_signal(b, 1, 1);
  REFUSE(&t, "deadlock");
}

// Two loads on one semaphore: only the sum says anything.
static void dmas_in_flight_are_waited_for_together(void **state) {
  (void)state;
  for (int together = 0; together < 2; together++) {
    tiny t;
    tiny_init(&t);
    uint32_t x = tiny_hbm(&t, "x", IBX_BUFFER_INPUT, 0, 2 * TINY_BYTES);
    uint32_t a = tiny_sbuf(&t, "a", 0, 2 * TINY_ROW);
    uint32_t b = tiny_sbuf(&t, "b", 1024, 2 * TINY_ROW);
    uint16_t sum = 0;
    for (uint32_t i = 0; i < 2; i++) {
      ibx_insn *load = tiny_dma(&t, IBX_ENGINE_SYNC, a, i * TINY_ROW, x,
                                i * TINY_BYTES, 128, TINY_ROW);
      tiny_signal_dma(&t, load, 1);
      sum = (uint16_t)(sum + load->signal_value);
    }
    ibx_insn *use = tiny_copy(&t, IBX_ENGINE_VECTOR, b, 0, a, 0, TINY_ROW / 4);
    tiny_wait(use, 1, together ? sum : sum / 2);
    if (together) {
      ACCEPT(&t);
      continue;
    }
    ibx_insn *other =
        tiny_copy(&t, IBX_ENGINE_VECTOR, b, 256, a, 256, TINY_ROW / 4);
    tiny_wait(other, 1, sum / 2);
    REFUSE(&t, "");
  }
}

// A semaphore is used again for the next load when its issuer knows the wait.
static void a_signal_must_not_overtake_a_wait(void **state) {
  (void)state;
  for (int answered = 0; answered < 2; answered++) {
    tiny t;
    tiny_init(&t);
    uint32_t x = tiny_hbm(&t, "x", IBX_BUFFER_INPUT, 0, 2 * TINY_BYTES);
    uint32_t a = tiny_sbuf(&t, "a", 0, TINY_ROW);
    uint32_t b = tiny_sbuf(&t, "b", 1024, 2 * TINY_ROW);
    uint32_t c = tiny_sbuf(&t, "c", 2048, TINY_ROW);
    ibx_insn *load = tiny_dma(&t, IBX_ENGINE_SYNC, a, 0, x, 0, 128, TINY_ROW);
    tiny_signal_dma(&t, load, 1);
    ibx_insn *use = tiny_copy(&t, IBX_ENGINE_VECTOR, b, 0, a, 0, TINY_ROW / 4);
    tiny_wait(use, 1, load->signal_value);
    // The next load goes elsewhere, so only the semaphore is at stake.
    ibx_insn *next =
        tiny_dma(&t, IBX_ENGINE_SYNC, c, 0, x, TINY_BYTES, 128, TINY_ROW);
    tiny_signal_dma(&t, next, 1);
    ibx_insn *again =
        tiny_copy(&t, IBX_ENGINE_VECTOR, b, 256, c, 0, TINY_ROW / 4);
    tiny_wait(again, 1, next->signal_value);
    if (answered) {
      tiny_signal(use, 2, 1);
      tiny_wait(next, 2, 1);
      ACCEPT(&t);
    } else {
      REFUSE(&t, "semaphore 1");
    }
  }
}

// The same where the walk of the prover meets the wait first: another order
// would not.
static void a_late_signal_is_not_taken_on_trust(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t x = tiny_hbm(&t, "x", IBX_BUFFER_INPUT, 0, 2 * TINY_BYTES);
  uint32_t a = tiny_sbuf(&t, "a", 0, TINY_ROW);
  uint32_t b = tiny_sbuf(&t, "b", 1024, TINY_ROW);
  ibx_insn *load = tiny_dma(&t, IBX_ENGINE_SYNC, a, 0, x, 0, 128, TINY_ROW);
  tiny_signal_dma(&t, load, 1);
  // Sync goes round through Tensor, which knows nothing of Vector's wait.
  ibx_insn *ask = tiny_semaphore(&t, IBX_ENGINE_SYNC);
  tiny_signal(ask, 5, 1);
  ibx_insn *answer = tiny_semaphore(&t, IBX_ENGINE_TENSOR);
  tiny_wait(answer, 5, 1);
  tiny_signal(answer, 6, 1);
  ibx_insn *next =
      tiny_dma(&t, IBX_ENGINE_SYNC, b, 0, x, TINY_BYTES, 128, TINY_ROW);
  tiny_wait(next, 6, 1);
  tiny_signal_dma(&t, next, 1);
  for (size_t i = 0; i < 2; i++) {
    tiny_wait(tiny_semaphore(&t, IBX_ENGINE_VECTOR), 1, load->signal_value);
  }
  REFUSE(&t, "may take this signal for another one");
  // Through Vector it learns of the wait.
  ibx_stream *tensor = &t.entry.streams[IBX_ENGINE_TENSOR];
  ibx_insn *vector = t.insns[IBX_ENGINE_VECTOR];
  vector[2] = vector[1];
  vector[1] = tensor->insns[0];
  tensor->count = 0;
  t.entry.streams[IBX_ENGINE_VECTOR].count = 3;
  ACCEPT(&t);
}

// One engine's signals come in order: it may run ahead of the waits.
static void an_engine_may_signal_ahead(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 256);
  uint32_t b = tiny_sbuf(&t, "b", 256, 256);
  for (uint32_t i = 0; i < 4; i++) {
    tiny_signal(tiny_zero(&t, IBX_ENGINE_VECTOR, a, i * 64, 16), 1, 2);
  }
  for (uint32_t i = 0; i < 4; i++) {
    ibx_insn *use = tiny_copy(&t, IBX_ENGINE_SCALAR, b, i * 64, a, i * 64, 16);
    tiny_wait(use, 1, 2);
  }
  ACCEPT(&t);
  // The same sums, but the first use comes too early.
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][0], 0, 0);
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][1], 1, 4);
  REFUSE(&t, "");
  // Half of a signal is as good as all of it: it was raised.
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][0], 1, 1);
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][1], 1, 3);
  ACCEPT(&t);
  // Taking the second tile after one unit and a half.
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][1], 1, 1);
  tiny_wait(&t.insns[IBX_ENGINE_SCALAR][2], 1, 4);
  REFUSE(&t, "unordered with");
}

static void two_engines_do_not_share_a_wait(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  tiny_signal(tiny_semaphore(&t, IBX_ENGINE_VECTOR), 1, 1);
  tiny_signal(tiny_semaphore(&t, IBX_ENGINE_VECTOR), 1, 1);
  tiny_wait(tiny_semaphore(&t, IBX_ENGINE_SCALAR), 1, 1);
  ibx_insn *other = tiny_semaphore(&t, IBX_ENGINE_SYNC);
  tiny_wait(other, 1, 1);
  REFUSE(&t, "waits for as well");
  // In turn they may.
  tiny_signal(&t.insns[IBX_ENGINE_SCALAR][0], 2, 1);
  ibx_insn *turn = &t.insns[IBX_ENGINE_SYNC][1];
  *turn = *other;
  tiny_wait(other, 2, 1);
  t.entry.streams[IBX_ENGINE_SYNC].count = 2;
  ACCEPT(&t);
}

static void two_engines_signal_as_a_group(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  tiny_signal(tiny_semaphore(&t, IBX_ENGINE_VECTOR), 1, 1);
  tiny_signal(tiny_semaphore(&t, IBX_ENGINE_SCALAR), 1, 1);
  ibx_insn *wait = tiny_semaphore(&t, IBX_ENGINE_SYNC);
  tiny_wait(wait, 1, 2);
  ACCEPT(&t);
  tiny_wait(wait, 1, 1);
  tiny_wait(tiny_semaphore(&t, IBX_ENGINE_SYNC), 1, 1);
  REFUSE(&t, "semaphore 1");
}

// --- memory ------------------------------------------------------------------

static void what_was_not_written_is_not_read(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 128);
  uint32_t b = tiny_sbuf(&t, "b", 128, 128);
  ibx_insn *zero = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 32);
  ibx_insn *copy = tiny_copy(&t, IBX_ENGINE_VECTOR, b, 0, a, 0, 32);
  ACCEPT(&t);
  zero->num[4] = 31;
  REFUSE(&t, "not written");
  copy->num[4] = 31;
  ACCEPT(&t);
  zero->partitions = 64;
  REFUSE(&t, "not written");
  copy->partitions = 64;
  ACCEPT(&t);
  // Every second element is written, every second one is read.
  zero->num[4] = 16;
  zero->operand[0].step[4] = 2;
  copy->num[4] = 16;
  copy->operand[1].step[4] = 2;
  ACCEPT(&t);
  copy->operand[1].offset = 4;
  copy->num[4] = 15;
  REFUSE(&t, "not written");
}

static void a_buffer_is_read_through_itself(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 128);
  uint32_t b = tiny_sbuf(&t, "b", 64, 128); // shares 64 bytes with a
  uint32_t c = tiny_sbuf(&t, "c", 512, 128);
  tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 32);
  tiny_zero(&t, IBX_ENGINE_VECTOR, b, 64, 16); // beyond a
  ibx_insn *copy = tiny_copy(&t, IBX_ENGINE_VECTOR, c, 0, a, 0, 32);
  ACCEPT(&t);
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].offset = 0;
  REFUSE(&t, "another buffer");
  copy->num[4] = 16; // the part that b left alone
  ACCEPT(&t);
  // Read through b what was written through a.
  copy->operand[1].buffer = b;
  copy->operand[1].offset = 0;
  ACCEPT(&t);
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].offset = 64;
  REFUSE(&t, "not written");
}

static void an_address_is_used_again_after_its_last_reader(void **state) {
  (void)state;
  for (int ordered = 0; ordered < 2; ordered++) {
    tiny_pipe p;
    tiny_pipe_init(&p);
    // c lies over a; the vector engine reads a, scalar writes c.
    uint32_t c = tiny_sbuf(&p.t, "c", 0, TINY_ROW);
    ibx_insn *fill =
        tiny_copy(&p.t, IBX_ENGINE_SCALAR, c, 0, c, 0, TINY_ROW / 4);
    *fill = ibx_insn_make(IBX_OP_activation);
    fill->partitions = IBX_PARTITIONS;
    fill->num[4] = TINY_ROW / 4;
    fill->operand[0] = p.copy->operand[0];
    fill->operand[0].buffer = c;
    fill->operand[1] = p.copy->operand[0]; // reads b
    tiny_signal(p.copy, 2, 2);
    tiny_signal(p.copy, 2, 1);
    ibx_insn *tell = tiny_semaphore(&p.t, IBX_ENGINE_VECTOR);
    tiny_signal(tell, 6, 1);
    if (ordered) {
      tiny_wait(fill, 6, 1);
      ACCEPT(&p.t);
    } else {
      tiny_wait(tiny_semaphore(&p.t, IBX_ENGINE_SCALAR), 6, 1);
      REFUSE(&p.t, "");
    }
  }
}

// Tiles that interleave element by element do not touch each other.
static void interleaved_tiles_are_apart(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 256);
  ibx_insn *even = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 32);
  ibx_insn *odd = tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 4, 32);
  even->operand[0].step[4] = 2;
  odd->operand[0].step[4] = 2;
  ACCEPT(&t);
  odd->operand[0].offset = 8;
  odd->num[4] = 31;
  REFUSE(&t, "unordered with");
  // Two columns of every row of eight, next to the two others.
  even->num[3] = 8;
  even->num[4] = 2;
  even->operand[0].step[3] = 8;
  even->operand[0].step[4] = 1;
  *odd = *even;
  odd->operand[0].offset = 8;
  ACCEPT(&t);
  odd->operand[0].offset = 4;
  REFUSE(&t, "unordered with");
}

static void partitions_keep_tiles_apart(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  ibx_insn *low = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  ibx_insn *high = tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 0, 16);
  low->partitions = 64;
  high->partitions = 64;
  high->operand[0].partition = 64;
  ACCEPT(&t);
  low->partitions = 96;
  REFUSE(&t, "unordered with");
}

static void constants_are_not_written(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  p.store->operand[0].buffer = p.x;
  REFUSE(&p.t, "read-only");
  tiny_pipe_init(&p);
  static const uint8_t weights[TINY_BYTES];
  p.t.program.weights = (ibx_span){weights, sizeof weights};
  uint32_t w = tiny_hbm(&p.t, "w", IBX_BUFFER_WEIGHT, 0, TINY_BYTES);
  p.load->operand[1].buffer = w;
  ACCEPT(&p.t);
  p.store->operand[0].buffer = w;
  REFUSE(&p.t, "read-only");
}

static void outputs_are_written_completely(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  p.store->num[0] = 127;
  REFUSE(&p.t, "output y is not written completely");
  p.t.buffers[p.y].kind = IBX_BUFFER_STATE; // which has a value already
  p.t.inputs[p.t.entry.input_count++] = p.t.outputs[0];
  ACCEPT(&p.t);
}

static void the_callers_memory_is_his_own(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  p.t.buffers[p.y].place.offset = TINY_BYTES - 1;
  REFUSE(&p.t, "share addresses");
  tiny_pipe_init(&p);
  uint32_t spill = tiny_hbm(&p.t, "spill", IBX_BUFFER_SCRATCH, 0, 16);
  REFUSE(&p.t, "share addresses");
  p.t.buffers[spill].place.offset = 2 * TINY_BYTES;
  tiny_hbm(&p.t, "other", IBX_BUFFER_SCRATCH, 2 * TINY_BYTES + 8, 16);
  ACCEPT(&p.t); // scratch may share with scratch
}

static void accesses_stay_in_their_buffer(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  p.copy->operand[1].offset = 4;
  REFUSE(&p.t, "leave the 256 of a");
  tiny_pipe_init(&p);
  p.copy->operand[1].step[4] = -1;
  REFUSE(&p.t, "bytes -252 to 3 leave");
  p.copy->operand[1].offset = TINY_ROW - 4;
  ACCEPT(&p.t);
  tiny_pipe_init(&p);
  p.t.buffers[p.a].place.partitions = 127;
  REFUSE(&p.t, "partitions 0 to 127 leave the 127 of a");
  tiny_pipe_init(&p);
  p.load->operand[1].step[0] = INT32_MAX;
  REFUSE(&p.t, "of x");
  tiny_pipe_init(&p);
  p.load->operand[1].step[0] = INT32_MIN;
  REFUSE(&p.t, "of x");
}

// --- psum --------------------------------------------------------------------

typedef struct matmul {
  tiny t;
  uint32_t w, acc, out;
  ibx_insn *stationary, *first, *last, *copy;
} matmul;

// acc = w^T w in two steps, then out = acc.
static void matmul_init(matmul *m) {
  tiny *t = &m->t;
  tiny_init(t);
  m->w = tiny_sbuf(t, "w", 0, 512);
  m->acc = tiny_psum(t, "acc", 0, 2048);
  m->out = tiny_sbuf(t, "out", 512, 512);
  ibx_insn *zero = tiny_zero(t, IBX_ENGINE_VECTOR, m->w, 0, 128);
  tiny_signal(zero, 1, 1);
  m->stationary = tiny_stationary(t, m->w);
  tiny_wait(m->stationary, 1, 1);
  m->first = tiny_multiply(t, m->acc, 0, m->w, 128, 0);
  m->last = tiny_multiply(t, m->acc, 0, m->w, 128,
                          IBX_FLAG_ACCUMULATE | IBX_FLAG_GROUP_END);
  tiny_signal(m->last, 2, 1);
  m->copy = tiny_copy(t, IBX_ENGINE_SCALAR, m->out, 0, m->acc, 0, 128);
  tiny_wait(m->copy, 2, 1);
}

static void a_group_is_read_when_it_is_closed(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  ACCEPT(&m.t);
  m.last->flags = IBX_FLAG_ACCUMULATE;
  REFUSE(&m.t, "group is open");
  // Closed by a matmul on another part of the tile, which the reader knows.
  matmul_init(&m);
  m.last->operand[0].offset = 256;
  m.last->num[4] = 64;
  m.copy->num[4] = 64;
  ACCEPT(&m.t);
  // The same, but the reader knows only the first matmul.
  tiny_signal(m.last, 0, 0);
  tiny_signal(m.first, 2, 1);
  REFUSE(&m.t, "group is open");
}

static void a_matmul_starts_what_others_add_to(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  m.first->flags = IBX_FLAG_ACCUMULATE;
  REFUSE(&m.t, "no matmul has written");
  matmul_init(&m);
  m.last->num[4] = 129;
  REFUSE(&m.t, ""); // reads beyond w
  matmul_init(&m);
  m.last->operand[0].offset = 4; // one column more than was started
  REFUSE(&m.t, "no matmul has written");
  // What the vector engine wrote is no base.
  matmul_init(&m);
  ibx_insn *base = tiny_zero(&m.t, IBX_ENGINE_VECTOR, m.acc, 0, 128);
  tiny_signal(base, 3, 1);
  tiny_wait(m.first, 3, 1);
  ACCEPT(&m.t);
  m.first->flags = IBX_FLAG_ACCUMULATE;
  REFUSE(&m.t, "no matmul has written");
}

static void groups_of_one_bank_are_apart(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  // A second tile in the bank stays open while the first one is read.
  tiny_multiply(&m.t, m.acc, 512, m.w, 128, 0);
  ACCEPT(&m.t);
  ibx_insn *other = &m.t.insns[IBX_ENGINE_SCALAR][1];
  *other = *m.copy;
  other->operand[1].offset = 512;
  m.t.entry.streams[IBX_ENGINE_SCALAR].count = 2;
  tiny_wait(other, 4, 1);
  tiny_signal(&m.t.insns[IBX_ENGINE_TENSOR][3], 4, 1);
  REFUSE(&m.t, "group is open");
}

// An older tile over two newer ones, of which one is added to while the other is
// read.
static void a_tile_has_its_newest_group(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  m.first->flags = m.last->flags = IBX_FLAG_GROUP_END;
  m.last->num[4] = m.copy->num[4] = 64;
  tiny_multiply(&m.t, m.acc, 256, m.w, 64, 0);
  ibx_insn *end = tiny_multiply(&m.t, m.acc, 256, m.w, 64, IBX_FLAG_ACCUMULATE);
  tiny_signal(end, 4, 1);
  ibx_insn *other = &m.t.insns[IBX_ENGINE_SCALAR][1];
  *other = *m.copy;
  other->operand[1].offset = 256;
  tiny_wait(other, 4, 1);
  m.t.entry.streams[IBX_ENGINE_SCALAR].count = 2;
  REFUSE(&m.t, "scalar 1 tensor_copy (node /first) reads acc while its");
  end->flags |= IBX_FLAG_GROUP_END;
  ACCEPT(&m.t);
  // Columns of both newer tiles: the open one has a say.
  end->flags = IBX_FLAG_ACCUMULATE;
  other->operand[1].offset = 192;
  REFUSE(&m.t, "scalar 1 tensor_copy (node /first) reads acc while its");
}

static void the_array_is_loaded_before_it_multiplies(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  m.stationary->partitions = 64;
  REFUSE(&m.t, "row 64 of the array");
  matmul_init(&m);
  m.stationary->columns = 64;
  m.stationary->num[4] = 64;
  REFUSE(&m.t, "128 columns of it");
  m.first->columns = 64;
  m.last->columns = 64;
  m.copy->partitions = 64;
  ACCEPT(&m.t);
}

static void a_psum_tile_is_measured(void **state) {
  (void)state;
  matmul m;
  matmul_init(&m);
  m.t.buffers[m.acc].place.offset = 3 * 2048;
  m.t.buffers[m.acc].place.bytes = 2 * 2048;
  ibx_proof proof;
  assert_int_equal(ibx_prove_entry(&m.t.program, &m.t.entry, &proof, NULL),
                   IBX_OK);
  assert_int_equal(proof.psum_peak_banks, 2);
}

// --- loops -------------------------------------------------------------------

static ibx_insn make_loop(uint8_t reg, uint32_t count) {
  ibx_insn insn = ibx_insn_make(IBX_OP_loop);
  insn.reg[0] = reg;
  insn.count = count;
  return insn;
}

// for (i < trips) a[i] = 0, then all of a is read.
static void loop_init(tiny *t, uint32_t trips) {
  tiny_init(t);
  uint32_t a = tiny_sbuf(t, "a", 0, 640);
  uint32_t b = tiny_sbuf(t, "b", 640, 640);
  tiny_add(t, IBX_ENGINE_VECTOR, make_loop(1, trips));
  ibx_insn *zero = tiny_zero(t, IBX_ENGINE_VECTOR, a, 0, 16);
  zero->flags |= IBX_FLAG_LOOPED;
  zero->operand[0].loop_step[1] = 64;
  tiny_add(t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  tiny_copy(t, IBX_ENGINE_VECTOR, b, 0, a, 0, 160);
}

static void loops_move_addresses(void **state) {
  (void)state;
  tiny t;
  loop_init(&t, 10);
  ACCEPT(&t);
  loop_init(&t, 9);
  REFUSE(&t, "not written");
  loop_init(&t, 11);
  REFUSE(&t, "leave the 640 of a");
  loop_init(&t, 10);
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].loop_step[1] = -64;
  REFUSE(&t, "bytes -64");
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].offset = 9 * 64;
  ACCEPT(&t);
  // Outside of its loop a register is 0.
  loop_init(&t, 10);
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].loop_step[1] = 0;
  t.insns[IBX_ENGINE_VECTOR][1].operand[0].loop_step[2] = 64;
  REFUSE(&t, "not written");
}

static void loops_nest_and_match(void **state) {
  (void)state;
  tiny t;
  loop_init(&t, 10);
  t.entry.streams[IBX_ENGINE_VECTOR].count = 2;
  REFUSE(&t, "without a loop_end");
  tiny_init(&t);
  tiny_add(&t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  REFUSE(&t, "without a loop");
  tiny_init(&t);
  for (size_t i = 0; i < 2; i++) {
    tiny_add(&t, IBX_ENGINE_VECTOR, make_loop(1, 2));
  }
  for (size_t i = 0; i < 2; i++) {
    tiny_add(&t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  }
  REFUSE(&t, "in use by a loop around it");
  t.insns[IBX_ENGINE_VECTOR][1].reg[0] = 2;
  ACCEPT(&t);
}

typedef struct folds {
  tiny t;
  ibx_insn *first, *second, *read;
} folds;

// Two exponentials that add to the accumulators, which are read then.
static void folds_init(folds *f) {
  tiny_init(&f->t);
  f->t.program.machine = ibx_machine_get(IBX_TARGET_ibx4);
  uint32_t a = tiny_sbuf(&f->t, "a", 0, 64);
  tiny_zero(&f->t, IBX_ENGINE_VECTOR, a, 0, 16);
  f->first = tiny_copy(&f->t, IBX_ENGINE_VECTOR, a, 0, a, 0, 16);
  f->second = tiny_copy(&f->t, IBX_ENGINE_VECTOR, a, 0, a, 0, 16);
  f->read = tiny_zero(&f->t, IBX_ENGINE_VECTOR, a, 0, 1);
  f->first->opcode = f->second->opcode = IBX_OP_exponential;
  f->read->opcode = IBX_OP_read_accumulator;
  f->first->reduce = IBX_REDUCE_RESET_REDUCE;
  f->second->reduce = IBX_REDUCE_REDUCE;
}

static void accumulators_are_set_before_they_are_used(void **state) {
  (void)state;
  folds f;
  folds_init(&f);
  ACCEPT(&f.t);
  f.first->reduce = IBX_REDUCE_LOAD_REDUCE;
  ACCEPT(&f.t);
  f.first->reduce = IBX_REDUCE_REDUCE;
  REFUSE(&f.t, "uses accumulators of vector that nothing has set");
  f.first->reduce = IBX_REDUCE_IDLE;
  f.second->reduce = IBX_REDUCE_IDLE;
  REFUSE(&f.t, "read_accumulator");
}

// Each partition has one of its own.
static void accumulators_of_other_partitions_do_not_count(void **state) {
  (void)state;
  folds f;
  folds_init(&f);
  f.first->partitions = 64;
  REFUSE(&f.t, "exponential");
  f.second->partitions = 32;
  REFUSE(&f.t, "read_accumulator");
  f.read->partitions = 64;
  ACCEPT(&f.t);
}

// What Vector's hold after IDLE is not documented; Scalar has its own.
static void idle_forgets_accumulators_of_vector(void **state) {
  (void)state;
  folds f;
  folds_init(&f);
  f.second->reduce = IBX_REDUCE_IDLE;
  REFUSE(&f.t, "read_accumulator");
  f.second->partitions = 64;
  f.read->partitions = 32;
  f.read->operand[0].partition = 64;
  ACCEPT(&f.t);
  folds_init(&f);
  f.t.entry.streams[IBX_ENGINE_VECTOR].count--;
  tiny_signal(f.second, 1, 1);
  ibx_insn *other = tiny_add(&f.t, IBX_ENGINE_SCALAR, *f.read);
  tiny_wait(other, 1, 1);
  REFUSE(&f.t, "accumulators of scalar");
}

// nonzero_with_count reads and writes the first partition of each core: nothing
// else of src need be written, and nothing else of dst is.
static void cores_touch_their_first_partition(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  uint32_t b = tiny_sbuf(&t, "b", 64, 128);
  for (uint8_t p = 0; p < 64; p += 32) {
    ibx_insn *zero = tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 0, 16);
    zero->partitions = 17;
    zero->operand[0].partition = p;
  }
  ibx_insn *find =
      tiny_add(&t, IBX_ENGINE_GPSIMD, ibx_insn_make(IBX_OP_nonzero_with_count));
  find->partitions = 64;
  find->num[4] = 16;
  find->operand[0] =
      (ibx_operand){.buffer = b, .dtype = IBX_DTYPE_I32, .step = {[4] = 1}};
  find->operand[1] =
      (ibx_operand){.buffer = a, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
  ibx_insn *use = tiny_copy(&t, IBX_ENGINE_GPSIMD, a, 0, b, 4, 16);
  use->partitions = 1;
  use->operand[1].partition = 32;
  ACCEPT(&t);
  use->partitions = 2;
  REFUSE(&t, "bytes of b that were not written");
  use->partitions = 1;
  t.insns[IBX_ENGINE_GPSIMD][1].partitions = 16;
  REFUSE(&t, "bytes of a that were not written");
}

// A library call reaches HBM itself, in the order of its engine.
static void a_library_call_is_seen_in_hbm(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t x = tiny_hbm(&t, "x", IBX_BUFFER_INPUT, 0, 512);
  uint32_t y = tiny_hbm(&t, "y", IBX_BUFFER_OUTPUT, 512, 512);
  uint32_t h = tiny_hbm(&t, "h", IBX_BUFFER_SCRATCH, 1024, 512);
  ibx_insn *sort =
      tiny_add(&t, IBX_ENGINE_GPSIMD, ibx_insn_make(IBX_OP_gpsimd_call_pair));
  sort->op[0] = IBX_CALL_SORT_ASCENDING;
  sort->num[4] = 64;
  const uint32_t buffers[] = {h, x, y};
  for (size_t slot = 0; slot < 3; slot++) {
    sort->operand[slot] = (ibx_operand){
        .buffer = buffers[slot], .dtype = IBX_DTYPE_I64, .step = {[4] = 1}};
  }
  ACCEPT(&t);
  // Its result is moved by a DMA, which has to wait for it.
  ibx_insn *move = tiny_dma(&t, IBX_ENGINE_SYNC, y, 0, h, 0, 1, 512);
  sort->operand[2].buffer = h;
  sort->operand[0].buffer = h;
  REFUSE(&t, " h");
  tiny_signal(sort, 1, 1);
  tiny_wait(move, 1, 1);
  ACCEPT(&t);
  sort->num[4] = 65;
  REFUSE(&t, "bytes 0 to 519 leave the 512 of x");
  sort->num[4] = 63;
  REFUSE(&t, "bytes of h that were not written");
  sort->num[4] = 64;
  sort->operand[0].buffer = x;
  REFUSE(&t, "x, which is read-only");
}

// What activation_reduce leaves in Scalar's accumulators may be read.
static void sums_of_scalar_are_read(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  uint32_t b = tiny_sbuf(&t, "b", 64, 64);
  ibx_insn *zero = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  tiny_signal(zero, 1, 1);
  ibx_insn *sum = tiny_copy(&t, IBX_ENGINE_SCALAR, a, 0, a, 0, 16);
  tiny_wait(sum, 1, 1);
  sum->opcode = IBX_OP_activation;
  ibx_insn *read =
      tiny_add(&t, IBX_ENGINE_SCALAR, ibx_insn_make(IBX_OP_read_accumulator));
  read->partitions = 128;
  read->operand[0] =
      (ibx_operand){.buffer = b, .dtype = IBX_DTYPE_F32, .step = {[4] = 1}};
  REFUSE(&t, "accumulators of scalar");
  sum->reduce = IBX_REDUCE_REDUCE;
  REFUSE(&t, "accumulators of scalar");
  sum->reduce = IBX_REDUCE_RESET;
  ACCEPT(&t);
  sum->reduce = IBX_REDUCE_RESET_REDUCE;
  ACCEPT(&t);
  sum->reduce = IBX_REDUCE_IDLE;
  sum->opcode = IBX_OP_activation_reduce;
  sum->operand[3] = (ibx_operand){.buffer = b, .offset = 4};
  ACCEPT(&t);
}

// A register picks one of four places: all are read, or may be written.
static void a_register_moves_an_operand_within_its_places(void **state) {
  (void)state;
  for (uint8_t slot = 0; slot < 2; slot++) {
    tiny t;
    tiny_init(&t);
    uint32_t a = tiny_sbuf(&t, "a", 0, 64);
    uint32_t b = tiny_sbuf(&t, "b", 64, 16);
    ibx_insn *zero = tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
    tiny_zero(&t, IBX_ENGINE_VECTOR, b, 0, 4);
    ibx_insn *copy = tiny_copy(&t, IBX_ENGINE_VECTOR, slot == 0 ? a : b, 0,
                               slot == 0 ? b : a, 0, 4);
    copy->opcode = IBX_OP_tensor_copy_dynamic;
    copy->index_register = 1;
    copy->index_slot = slot;
    copy->operand[slot].step[0] = 4;
    copy->count = 4;
    ACCEPT(&t);
    copy->count = 5;
    REFUSE(&t, "leave the 64 of a");
    copy->count = 4;
    zero->num[4] = 12; // the last place is nothing
    REFUSE(&t, "not written");
    copy->count = 3;
    ACCEPT(&t);
    // Another engine that does not wait.
    tiny_zero(&t, IBX_ENGINE_GPSIMD, a, 32, 2);
    REFUSE(&t, "unordered with");
  }
}

static void a_program_that_takes_forever_is_too_long(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  for (uint8_t i = 0; i < 3; i++) {
    tiny_add(&t, IBX_ENGINE_VECTOR, make_loop(i, 1000));
  }
  for (size_t i = 0; i < 3; i++) {
    tiny_add(&t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  }
  REFUSE(&t, "too long to prove");
}

static void registers_lower_the_trips(void **state) {
  (void)state;
  for (uint32_t value = 9; value <= 12; value++) {
    tiny t;
    loop_init(&t, 10);
    ibx_stream *stream = &t.entry.streams[IBX_ENGINE_VECTOR];
    memmove(stream->insns + 1, stream->insns,
            stream->count * sizeof *stream->insns);
    stream->count++;
    stream->insns[0] = ibx_insn_make(IBX_OP_register_move);
    stream->insns[0].reg[0] = 40;
    stream->insns[0].count = value;
    stream->insns[1].reg[1] = 40;
    if (value < 10) {
      REFUSE(&t, "not written");
    } else {
      ACCEPT(&t);
    }
    stream->insns[0].count = 0; // no trips: the body is left out
    stream->count = 4;
    ACCEPT(&t);
  }
}

static void trips_from_memory_are_not_proved(void **state) {
  (void)state;
  tiny t;
  tiny_init(&t);
  uint32_t a = tiny_sbuf(&t, "a", 0, 64);
  tiny_zero(&t, IBX_ENGINE_VECTOR, a, 0, 16);
  ibx_insn load = ibx_insn_make(IBX_OP_register_load);
  load.reg[0] = 5;
  load.count = 3;
  load.operand[1].buffer = a;
  load.operand[1].dtype = IBX_DTYPE_U32;
  tiny_add(&t, IBX_ENGINE_VECTOR, load);
  ACCEPT(&t);
  ibx_insn loop = make_loop(0, 3);
  loop.reg[1] = 5;
  tiny_add(&t, IBX_ENGINE_VECTOR, loop);
  tiny_add(&t, IBX_ENGINE_VECTOR, ibx_insn_make(IBX_OP_loop_end));
  REFUSE(&t, "loaded from memory");
}

// Vector fills two halves in turn, Scalar empties them; the handshake goes
// both ways, `ahead` tiles apart.
static void ring_init(tiny *t, uint32_t trips, uint16_t ahead) {
  tiny_init(t);
  uint32_t a = tiny_sbuf(t, "a", 0, 128);
  uint32_t b = tiny_sbuf(t, "b", 128, 128);
  if (ahead > 0) {
    tiny_signal(tiny_semaphore(t, IBX_ENGINE_SCALAR), 2, ahead);
  }
  const ibx_engine engines[2] = {IBX_ENGINE_VECTOR, IBX_ENGINE_SCALAR};
  for (size_t e = 0; e < 2; e++) {
    tiny_add(t, engines[e], make_loop(0, trips));
    for (uint32_t half = 0; half < 2; half++) {
      ibx_insn *insn =
          e == 0 ? tiny_zero(t, engines[e], a, half * 64, 16)
                 : tiny_copy(t, engines[e], b, half * 64, a, half * 64, 16);
      tiny_wait(insn, e == 0 ? 2 : 1, 1);
      tiny_signal(insn, e == 0 ? 1 : 2, 1);
    }
    tiny_add(t, engines[e], ibx_insn_make(IBX_OP_loop_end));
  }
  if (ahead > 0) {
    tiny_wait(tiny_semaphore(t, IBX_ENGINE_VECTOR), 2, ahead);
  }
}

static void a_ring_of_two_halves_is_proved(void **state) {
  (void)state;
  tiny t;
  ring_init(&t, 1000, 1);
  ACCEPT(&t);
  ring_init(&t, 1000, 2);
  ACCEPT(&t);
  ring_init(&t, 1000, 3);
  REFUSE(&t, "unordered with");
  ring_init(&t, 1000, 0);
  REFUSE(&t, "deadlock");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pipe_is_proved_and_measured),
      cmocka_unit_test(a_missing_wait_leaves_a_race),
      cmocka_unit_test(write_after_read_needs_order),
      cmocka_unit_test(an_engine_is_in_order_with_itself),
      cmocka_unit_test(order_is_transitive),
      cmocka_unit_test(a_dma_is_an_agent_of_its_own),
      cmocka_unit_test(dmas_of_one_queue_are_unordered),
      cmocka_unit_test(a_dma_does_not_overlap_itself),
      cmocka_unit_test(semaphores_end_at_zero),
      cmocka_unit_test(a_wait_that_nobody_satisfies_is_a_deadlock),
      cmocka_unit_test(dmas_in_flight_are_waited_for_together),
      cmocka_unit_test(a_signal_must_not_overtake_a_wait),
      cmocka_unit_test(a_late_signal_is_not_taken_on_trust),
      cmocka_unit_test(an_engine_may_signal_ahead),
      cmocka_unit_test(two_engines_do_not_share_a_wait),
      cmocka_unit_test(two_engines_signal_as_a_group),
      cmocka_unit_test(what_was_not_written_is_not_read),
      cmocka_unit_test(a_buffer_is_read_through_itself),
      cmocka_unit_test(an_address_is_used_again_after_its_last_reader),
      cmocka_unit_test(interleaved_tiles_are_apart),
      cmocka_unit_test(partitions_keep_tiles_apart),
      cmocka_unit_test(constants_are_not_written),
      cmocka_unit_test(outputs_are_written_completely),
      cmocka_unit_test(the_callers_memory_is_his_own),
      cmocka_unit_test(accesses_stay_in_their_buffer),
      cmocka_unit_test(a_group_is_read_when_it_is_closed),
      cmocka_unit_test(a_matmul_starts_what_others_add_to),
      cmocka_unit_test(groups_of_one_bank_are_apart),
      cmocka_unit_test(a_tile_has_its_newest_group),
      cmocka_unit_test(the_array_is_loaded_before_it_multiplies),
      cmocka_unit_test(a_psum_tile_is_measured),
      cmocka_unit_test(accumulators_are_set_before_they_are_used),
      cmocka_unit_test(accumulators_of_other_partitions_do_not_count),
      cmocka_unit_test(idle_forgets_accumulators_of_vector),
      cmocka_unit_test(cores_touch_their_first_partition),
      cmocka_unit_test(a_library_call_is_seen_in_hbm),
      cmocka_unit_test(sums_of_scalar_are_read),
      cmocka_unit_test(a_register_moves_an_operand_within_its_places),
      cmocka_unit_test(loops_move_addresses),
      cmocka_unit_test(loops_nest_and_match),
      cmocka_unit_test(a_program_that_takes_forever_is_too_long),
      cmocka_unit_test(registers_lower_the_trips),
      cmocka_unit_test(trips_from_memory_are_not_proved),
      cmocka_unit_test(a_ring_of_two_halves_is_proved),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
