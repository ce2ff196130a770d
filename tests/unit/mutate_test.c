// SPDX-License-Identifier: Apache-2.0
//
// Broken programs: the prover refuses mutations of a pipeline with loads,
// matmuls, evacuations and stores, and what it accepts gives the same bytes in
// every order. A program whose order was really lost shows it, so the
// comparison can fail.

#include "support/mutate.h"
#include "support/tiny.h"

#include "imbrex/prove.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { TILES = 4, TILE = 512, TILE_BYTES = TILE * IBX_PARTITIONS };

/// y[i] = w^T x[i] for four tiles, with two slots of each buffer:
///   sync: loads, stores    tensor: matmul    vector: evacuates
typedef struct pipeline {
  tiny t;
  uint32_t x, y, w, in[2], acc[2], out[2];
} pipeline;

enum { LOADED, USED, DONE, FREE, READY, STORED, WEIGHT };

static uint8_t slot_semaphore(int what, uint32_t slot) {
  return (uint8_t)(what * 2 + (int)slot % 2);
}

static void make_buffers(pipeline *p) {
  static const char *const names[] = {"in0",  "in1",  "acc0",
                                      "acc1", "out0", "out1"};
  tiny *t = &p->t;
  p->x = tiny_hbm(t, "x", IBX_BUFFER_INPUT, 0, (TILES + 1) * TILE_BYTES);
  p->y = tiny_hbm(t, "y", IBX_BUFFER_OUTPUT, 1 << 20, TILES * TILE_BYTES);
  // The caller's bytes are numbers.
  t->inputs[0].dtype = IBX_DTYPE_F32;
  t->inputs[0].shape[0] /= 4;
  p->w = tiny_sbuf(t, "w", 0, TILE);
  for (uint32_t i = 0; i < 2; i++) {
    p->in[i] = tiny_sbuf(t, names[i], 1024 + i * 512, TILE);
    p->acc[i] = tiny_psum(t, names[2 + i], i * 2048, TILE);
    p->out[i] = tiny_sbuf(t, names[4 + i], 4096 + i * 512, TILE);
  }
}

static void add_load(pipeline *p, uint32_t i) {
  ibx_insn *load =
      tiny_dma(&p->t, IBX_ENGINE_SYNC, p->in[i % 2], 0, p->x,
               (i + 1) * (uint64_t)TILE_BYTES, IBX_PARTITIONS, TILE);
  if (i >= 2) tiny_wait(load, slot_semaphore(USED, i), 1);
  tiny_signal_dma(&p->t, load, slot_semaphore(LOADED, i));
}

static void add_matmul(pipeline *p, uint32_t i) {
  ibx_insn *free = tiny_semaphore(&p->t, IBX_ENGINE_TENSOR);
  if (i >= 2) tiny_wait(free, slot_semaphore(FREE, i), 1);
  ibx_insn *multiply = tiny_multiply(&p->t, p->acc[i % 2], 0, p->in[i % 2],
                                     TILE / 4, IBX_FLAG_GROUP_END);
  const ibx_stream *loads = &p->t.entry.streams[IBX_ENGINE_SYNC];
  tiny_wait(multiply, slot_semaphore(LOADED, i), loads->insns[0].signal_value);
  tiny_signal(multiply, slot_semaphore(DONE, i), 1);
  if (i + 2 < TILES) {
    tiny_signal(tiny_semaphore(&p->t, IBX_ENGINE_TENSOR),
                slot_semaphore(USED, i), 1);
  }
}

static void add_evacuation(pipeline *p, uint32_t i, uint16_t pieces) {
  if (i >= 2) {
    tiny_wait(tiny_semaphore(&p->t, IBX_ENGINE_VECTOR),
              slot_semaphore(STORED, i), pieces);
  }
  ibx_insn *copy = tiny_copy(&p->t, IBX_ENGINE_VECTOR, p->out[i % 2], 0,
                             p->acc[i % 2], 0, TILE / 4);
  tiny_wait(copy, slot_semaphore(DONE, i), 1);
  tiny_signal(copy, slot_semaphore(READY, i), 1);
  if (i + 2 < TILES) {
    tiny_signal(tiny_semaphore(&p->t, IBX_ENGINE_VECTOR),
                slot_semaphore(FREE, i), 1);
  }
}

static void add_store(pipeline *p, uint32_t i) {
  ibx_insn *store =
      tiny_dma(&p->t, IBX_ENGINE_SYNC, p->y, i * (uint64_t)TILE_BYTES,
               p->out[i % 2], 0, IBX_PARTITIONS, TILE);
  tiny_wait(store, slot_semaphore(READY, i), 1);
  if (i + 2 < TILES) tiny_signal_dma(&p->t, store, slot_semaphore(STORED, i));
}

static void make_pipeline(pipeline *p) {
  tiny *t = &p->t;
  tiny_init(t);
  make_buffers(p);
  ibx_insn *weight =
      tiny_dma(t, IBX_ENGINE_SYNC, p->w, 0, p->x, 0, IBX_PARTITIONS, TILE);
  tiny_signal_dma(t, weight, slot_semaphore(WEIGHT, 0));
  tiny_wait(tiny_stationary(t, p->w), slot_semaphore(WEIGHT, 0),
            weight->signal_value);
  for (uint32_t i = 0; i < TILES; i++) {
    add_load(p, i);
    add_matmul(p, i);
    add_evacuation(p, i, weight->signal_value);
    // The store of a tile stands behind the load of the next one.
    if (i > 0) add_store(p, i - 1);
  }
  add_store(p, TILES - 1);
}

static void mutations_are_refused_or_harmless(void **state) {
  (void)state;
  static pipeline p;
  make_pipeline(&p);
  ibx_error err = {.message = ""};
  for (uint64_t seed = 1; seed <= 3; seed++) {
    const mutate_options options = {
        .seed = seed, .count = 100, .samples = 25, .orders = 20};
    mutate_report report = {.first_bug = ""};
    if (mutate_entry(&p.t.program, &p.t.entry, &options, &report, &err) !=
        IBX_OK) {
      fail_msg("%s", err.message);
    }
    assert_string_equal(report.first_bug, "");
    for (int k = 0; k < MUTATE_KIND_COUNT; k++) {
      const mutate_counts *counts = &report.kinds[k];
      assert_int_equal(counts->impossible, 0);
      assert_int_equal(counts->accepted_different, 0);
      if (k == MUTATE_EDGE) {
        assert_true(counts->rejected > 50);
      } else {
        assert_int_equal(counts->rejected, options.count);
      }
    }
  }
}

// Without these edges a tile is overwritten before its store has read it.
static void a_lost_order_shows_itself(void **state) {
  (void)state;
  static pipeline whole, racy;
  make_pipeline(&whole);
  make_pipeline(&racy);
  ibx_error err = {.message = ""};
  ibx_status status =
      mutate_compare(&whole.t.program, &whole.t.entry, &racy.t.entry, 5, &err);
  if (status != IBX_OK) fail_msg("%s", err.message);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    ibx_stream *stream = &racy.t.entry.streams[e];
    for (size_t i = 0; i < stream->count; i++) {
      ibx_insn *insn = &stream->insns[i];
      if (insn->wait_semaphore / 2 == STORED) insn->wait_value = 0;
      if (insn->signal_semaphore / 2 == STORED) insn->signal_value = 0;
    }
  }
  assert_int_equal(ibx_prove_entry(&racy.t.program, &racy.t.entry, NULL, &err),
                   IBX_UNPROVEN);
  assert_int_equal(
      mutate_compare(&whole.t.program, &whole.t.entry, &racy.t.entry, 40, &err),
      IBX_MISMATCH);
}

static void an_unproved_entry_is_not_mutated(void **state) {
  (void)state;
  tiny_pipe p;
  tiny_pipe_init(&p);
  p.copy->signal_value = 2;
  mutate_report report = {.first_bug = ""};
  const mutate_options options = {.count = 1};
  assert_int_equal(
      mutate_entry(&p.t.program, &p.t.entry, &options, &report, NULL),
      IBX_UNPROVEN);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mutations_are_refused_or_harmless),
      cmocka_unit_test(a_lost_order_shows_itself),
      cmocka_unit_test(an_unproved_entry_is_not_mutated),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
