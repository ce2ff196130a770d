// SPDX-License-Identifier: Apache-2.0
//
// The prover against two oracles that share nothing with it, over random
// programs of a few accesses.
//
// First, each edge of synchronisation has a semaphore of its own, so that the
// order is a plain graph: the oracle closes the graph, compares every pair of
// accesses byte by byte, and follows who wrote each byte last. Both must say
// yes to the same programs.
//
// Then the edges share few semaphores, and who waits for whose signal is the
// question. What the prover accepts is run in many random schedules, DMA pieces
// one by one: it must end, and conflicting accesses must keep their order.

#include "imbrex/prove.h"
#include "support/tiny.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

enum {
  QUADRANTS = 4, ///< of 32 partitions: the grain of the accesses
  WIDTH = 384,
  MAX_OPS = 10,
  MAX_NODES = 160,
  BUFFERS = 4,
  ROUNDS = 10000,
  SCHEDULES = 20
};

typedef struct bytes {
  bool at[QUADRANTS][WIDTH];
} bytes;

typedef struct op {
  ibx_insn insn;
  ibx_engine engine;
  bool is_dma, reads, writes;
  uint32_t src, dst;
  bytes read, written;
  int node;     ///< of its accesses in the graph
  bool has_out; ///< a DMA has one signal only
} op;

typedef struct trial {
  tiny t;
  uint32_t buffers[BUFFERS], input;
  op ops[MAX_OPS];
  size_t op_count;
  bool before[MAX_NODES][MAX_NODES];
  int node_count;
  int last[IBX_ENGINE_COUNT]; ///< node of each engine's last instruction
  uint8_t semaphore;
  bool is_grouped; ///< the edges into an op share a semaphore
  size_t filled;   ///< ops at the start that fill a buffer each
} trial;

static uint64_t random_state;

static uint64_t pick(uint64_t below) {
  random_state =
      random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
  return (random_state >> 33) % below;
}

// --- graph -------------------------------------------------------------------

static int add_node(trial *r) {
  assert_true(r->node_count < MAX_NODES);
  return r->node_count++;
}

// The next instruction of an engine.
static int add_step(trial *r, ibx_engine engine) {
  int node = add_node(r);
  if (r->last[engine] >= 0) r->before[r->last[engine]][node] = true;
  r->last[engine] = node;
  return node;
}

static void close_graph(trial *r) {
  for (int k = 0; k < r->node_count; k++) {
    for (int i = 0; i < r->node_count; i++) {
      if (!r->before[i][k]) continue;
      for (int j = 0; j < r->node_count; j++) {
        r->before[i][j] = r->before[i][j] || r->before[k][j];
      }
    }
  }
}

// --- accesses ----------------------------------------------------------------

// A pattern of two dimensions of `size` bytes an element inside of a buffer,
// on `lanes` quadrants from `lane` on; marks its bytes.
static void place_operand(const trial *r, ibx_operand *operand, uint32_t buffer,
                          const uint32_t num[2], size_t size,
                          const int32_t step[2], size_t lane, size_t lanes,
                          bytes *marks) {
  const ibx_buffer_place *place = &r->t.buffers[buffer].place;
  uint64_t reach = (num[0] - 1) * (uint64_t)step[0] * size +
                   (num[1] - 1) * (uint64_t)step[1] * size + size;
  uint64_t slots = reach > place->bytes ? 0 : (place->bytes - reach) / size + 1;
  assert_true(slots > 0);
  operand->buffer = buffer;
  operand->offset = pick(slots) * size;
  operand->partition = (uint8_t)(lane * 32);
  operand->step[3] = step[0];
  operand->step[4] = step[1];
  for (size_t q = lane; q < lane + lanes; q++) {
    for (uint64_t i = 0; i < num[0] * num[1]; i++) {
      uint64_t at =
          place->offset + operand->offset +
          (i / num[1] * (uint64_t)step[0] + i % num[1] * (uint64_t)step[1]) *
              size;
      for (size_t b = 0; b < size; b++) {
        marks->at[q][at + b] = true;
      }
    }
  }
}

static void make_shape(uint32_t num[2], int32_t step[2]) {
  num[0] = 1 + (uint32_t)pick(3);
  num[1] = 1 + (uint32_t)pick(4);
  step[1] = 1 + (int32_t)pick(2);
  step[0] = pick(2) == 0 ? (int32_t)num[1] * step[1] : 5 + (int32_t)pick(4);
}

static void set_dtype(op *o, size_t size) {
  for (size_t i = 0; i < 2; i++) {
    o->insn.operand[i].dtype = size == 4   ? IBX_DTYPE_F32
                               : size == 2 ? IBX_DTYPE_BF16
                                           : IBX_DTYPE_U8;
  }
}

static void make_operands(trial *r, op *o, size_t size, size_t lane,
                          size_t lanes) {
  uint32_t num[2];
  int32_t dst_step[2], src_step[2];
  make_shape(num, dst_step);
  memcpy(src_step, dst_step, sizeof src_step);
  o->insn.num[3] = num[0];
  o->insn.num[4] = num[1];
  o->dst = r->buffers[pick(BUFFERS)];
  o->writes = true;
  place_operand(r, &o->insn.operand[0], o->dst, num, size, dst_step, lane,
                lanes, &o->written);
  if (o->insn.opcode == IBX_OP_memset) {
    o->insn.operand[1].dtype = IBX_DTYPE_NONE;
    return;
  }
  if (o->is_dma && pick(2) == 0) {
    o->insn.operand[1].buffer = r->input;
    o->insn.operand[1].step[4] = 1;
    return;
  }
  o->reads = true;
  // Mostly a buffer that holds something.
  o->src = r->buffers[pick(pick(4) == 0 ? BUFFERS : r->filled)];
  place_operand(r, &o->insn.operand[1], o->src, num, size, src_step, lane,
                lanes, &o->read);
}

static void make_dma(op *o, size_t lanes) {
  o->insn.num[0] = (uint32_t)lanes * 32;
  o->insn.dge =
      o->engine == IBX_ENGINE_GPSIMD ? IBX_DGE_SOFTWARE : IBX_DGE_HARDWARE;
  for (size_t i = 0; i < 2; i++) {
    if (i == 1 && !o->reads) continue;
    o->insn.operand[i].partition_step[0] = 1;
  }
}

static op *make_op(trial *r) {
  static const ibx_engine engines[] = {IBX_ENGINE_VECTOR, IBX_ENGINE_GPSIMD,
                                       IBX_ENGINE_SCALAR, IBX_ENGINE_SYNC};
  op *o = &r->ops[r->op_count++];
  o->engine = engines[pick(IBX_COUNT_OF(engines))];
  if (r->is_grouped && pick(2) == 0) o->engine = IBX_ENGINE_SYNC;
  o->is_dma = o->engine == IBX_ENGINE_SYNC ||
              (o->engine == IBX_ENGINE_GPSIMD && pick(2) == 0);
  bool can_set = o->engine != IBX_ENGINE_SCALAR;
  o->insn = ibx_insn_make(o->is_dma                 ? IBX_OP_dma_copy
                          : can_set && pick(2) == 0 ? IBX_OP_memset
                                                    : IBX_OP_tensor_copy);
  size_t lanes = (size_t)1 << pick(3); // 1, 2 or 4 quadrants
  size_t lane = pick(QUADRANTS / lanes) * lanes;
  size_t size = (size_t)1 << pick(3);
  set_dtype(o, size);
  make_operands(r, o, size, lane, lanes);
  if (o->is_dma) {
    make_dma(o, lanes);
  } else {
    o->insn.partitions = (uint8_t)(lanes * 32);
  }
  return o;
}

// --- programs ----------------------------------------------------------------

// Makes `to` wait for `from`; the wait stands in front of `to`.
static void add_edge(trial *r, op *from, const op *to) {
  if (from->is_dma && from->has_out) return;
  uint16_t value = 1;
  uint8_t semaphore = r->is_grouped ? r->semaphore : r->semaphore++;
  if (from->is_dma) {
    from->has_out = true;
    value = tiny_pieces(&r->t, &from->insn);
    // The DMA stands in its stream already.
    ibx_stream *stream = &r->t.entry.streams[from->engine];
    for (size_t i = 0; i < stream->count; i++) {
      if (stream->nodes[i] != (uint32_t)(from - r->ops) + 1000) continue;
      tiny_signal(&stream->insns[i], semaphore, value);
    }
  }
  int raised = from->node;
  if (!from->is_dma) {
    tiny_signal(tiny_semaphore(&r->t, from->engine), semaphore, 1);
    raised = add_step(r, from->engine);
  }
  tiny_wait(tiny_semaphore(&r->t, to->engine), semaphore, value);
  r->before[raised][add_step(r, to->engine)] = true;
}

static void add_op(trial *r, op *o) {
  ibx_stream *stream = &r->t.entry.streams[o->engine];
  tiny_add(&r->t, o->engine, o->insn);
  // Marks the instruction as this op until the program is done.
  stream->nodes[stream->count - 1] = (uint32_t)(o - r->ops) + 1000;
  o->node = add_step(r, o->engine);
  if (!o->is_dma) return;
  int issued = o->node;
  o->node = add_node(r);
  r->before[issued][o->node] = true;
}

// Writes all of a buffer.
static void make_fill(trial *r, uint32_t buffer) {
  op *o = &r->ops[r->op_count++];
  o->engine = IBX_ENGINE_VECTOR;
  o->insn = ibx_insn_make(IBX_OP_memset);
  o->insn.partitions = IBX_PARTITIONS;
  o->writes = true;
  o->dst = buffer;
  const uint32_t num[2] = {1, 24};
  const int32_t step[2] = {1, 1};
  o->insn.num[4] = num[1];
  o->insn.operand[0].dtype = IBX_DTYPE_F32;
  place_operand(r, &o->insn.operand[0], buffer, num, 4, step, 0, QUADRANTS,
                &o->written);
  add_op(r, o);
}

static void make_trial(trial *r, bool is_grouped) {
  memset(r, 0, sizeof *r);
  r->is_grouped = is_grouped;
  tiny_init(&r->t);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    r->last[e] = -1;
  }
  r->input = tiny_hbm(&r->t, "x", IBX_BUFFER_INPUT, 0, 4096);
  for (size_t i = 0; i < BUFFERS; i++) {
    static const char *const names[BUFFERS] = {"a", "b", "c", "d"};
    // Apart, touching or over each other.
    r->buffers[i] = tiny_sbuf(&r->t, names[i], pick(WIDTH / 24 - 3) * 24, 96);
  }
  r->filled = 1 + (size_t)pick(3);
  for (size_t i = 0; i < r->filled; i++) {
    make_fill(r, r->buffers[i]);
  }
  size_t count = r->filled + 1 + (size_t)pick(MAX_OPS - r->filled);
  uint64_t density = 1 + pick(10); // of edges
  for (size_t i = r->filled; i < count; i++) {
    op *o = make_op(r);
    for (size_t j = 0; j < i; j++) {
      bool is_fill = j < r->filled;
      if (r->ops[j].engine != o->engine || r->ops[j].is_dma) {
        if (pick(10) < density + is_fill * 5) add_edge(r, &r->ops[j], o);
      }
    }
    add_op(r, o);
    r->semaphore += is_grouped;
  }
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < r->t.entry.streams[e].count; i++) {
      r->t.nodes[e][i] = IBX_NO_NODE;
    }
  }
}

// --- oracle ------------------------------------------------------------------

static bool share(const bytes *a, const bytes *b) {
  for (size_t q = 0; q < QUADRANTS; q++) {
    for (size_t i = 0; i < WIDTH; i++) {
      if (a->at[q][i] && b->at[q][i]) return true;
    }
  }
  return false;
}

static bool has_race(const trial *r) {
  for (size_t i = 0; i < r->op_count; i++) {
    const op *a = &r->ops[i];
    // A DMA's pieces are unordered among themselves.
    if (a->is_dma && share(&a->read, &a->written)) return true;
    for (size_t j = 0; j < i; j++) {
      const op *b = &r->ops[j];
      bool conflict = share(&a->written, &b->written) ||
                      share(&a->written, &b->read) ||
                      share(&a->read, &b->written);
      if (conflict && !r->before[b->node][a->node]) return true;
    }
  }
  return false;
}

static bool reads_nothing(const trial *r) {
  uint32_t owner[QUADRANTS][WIDTH];
  memset(owner, 0xff, sizeof owner);
  for (size_t i = 0; i < r->op_count; i++) {
    const op *o = &r->ops[i];
    for (size_t k = 0; k < QUADRANTS * WIDTH; k++) {
      size_t q = k / WIDTH, b = k % WIDTH;
      if (o->read.at[q][b] && owner[q][b] != o->src) return true;
    }
    for (size_t k = 0; k < QUADRANTS * WIDTH; k++) {
      size_t q = k / WIDTH, b = k % WIDTH;
      if (o->written.at[q][b]) owner[q][b] = o->dst;
    }
  }
  return false;
}

// DMAs that write an element twice are refused by rule.
static bool writes_twice(const trial *r) {
  for (size_t i = 0; i < r->op_count; i++) {
    const op *o = &r->ops[i];
    const ibx_operand *dst = &o->insn.operand[0];
    if (!o->is_dma || o->insn.num[3] == 1) continue;
    if (dst->step[3] < dst->step[4] * (int32_t)(o->insn.num[4] - 1) + 1) {
      return true;
    }
  }
  return false;
}

static void prover_and_oracle_agree(void **state) {
  (void)state;
  static trial r;
  size_t accepted = 0, races = 0, unwritten = 0;
  random_state = 7;
  for (size_t round = 0; round < ROUNDS; round++) {
    make_trial(&r, false);
    close_graph(&r);
    bool race = has_race(&r);
    bool nothing = reads_nothing(&r);
    bool twice = writes_twice(&r);
    ibx_error err = {.message = ""};
    ibx_status status = ibx_prove_entry(&r.t.program, &r.t.entry, NULL, &err);
    if (status == IBX_INVALID_PROGRAM) fail_msg("%s", err.message);
    bool expected = !race && !nothing && !twice;
    if ((status == IBX_OK) != expected) {
      fail_msg("round %zu: race %d, nothing %d, twice %d, but: %s", round, race,
               nothing, twice, status == IBX_OK ? "accepted" : err.message);
    }
    accepted += expected;
    races += race && !nothing && !twice;
    unwritten += nothing && !race;
  }
  // Each answer was really asked for.
  print_message("%zu accepted, %zu races, %zu reads of nothing\n", accepted,
                races, unwritten);
  assert_true(accepted > ROUNDS / 50);
  assert_true(races > ROUNDS / 50);
  assert_true(unwritten > ROUNDS / 50);
}

// --- shared semaphores -------------------------------------------------------

// Puts all edges on `count` semaphores; when `merges`, waits of one engine that
// stand together for the same semaphore become one.
static void share_semaphores(trial *r, uint8_t count, bool merges) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    ibx_stream *stream = &r->t.entry.streams[e];
    size_t kept = 0;
    for (size_t i = 0; i < stream->count; i++) {
      ibx_insn insn = stream->insns[i];
      insn.wait_semaphore %= count;
      insn.signal_semaphore %= count;
      ibx_insn *last = kept > 0 ? &stream->insns[kept - 1] : NULL;
      bool is_wait = insn.opcode == IBX_OP_semaphore && insn.signal_value == 0;
      if (merges && last && is_wait && last->opcode == IBX_OP_semaphore &&
          last->signal_value == 0 &&
          last->wait_semaphore == insn.wait_semaphore) {
        last->wait_value = (uint16_t)(last->wait_value + insn.wait_value);
        continue;
      }
      stream->insns[kept++] = insn;
    }
    stream->count = kept;
  }
}

typedef struct flight {
  size_t op;
  uint16_t left;
} flight;

typedef struct schedule {
  size_t pc[IBX_ENGINE_COUNT];
  uint64_t semaphores[IBX_SEMAPHORES];
  flight flights[MAX_OPS];
  size_t flight_count;
  size_t next_op[IBX_ENGINE_COUNT]; ///< ops of the engine that have started
  int start[MAX_OPS], end[MAX_OPS];
  int time;
  uint64_t haste_of_engine[IBX_ENGINE_COUNT], haste_of_dma[MAX_OPS];
} schedule;

// The n-th op of an engine.
static size_t find_op(const trial *r, ibx_engine engine, size_t n) {
  size_t i = 0;
  for (;; i++) {
    if (r->ops[i].engine == engine && n-- == 0) return i;
  }
}

static void start_insn(const trial *r, schedule *s, ibx_engine engine) {
  const ibx_insn *insn = &r->t.entry.streams[engine].insns[s->pc[engine]++];
  s->semaphores[insn->wait_semaphore] -= insn->wait_value;
  bool is_dma = insn->opcode == IBX_OP_dma_copy;
  if (!is_dma) s->semaphores[insn->signal_semaphore] += insn->signal_value;
  if (insn->opcode == IBX_OP_semaphore) return;
  size_t at = find_op(r, engine, s->next_op[engine]++);
  s->start[at] = s->end[at] = s->time;
  if (!is_dma) return;
  s->flights[s->flight_count++] =
      (flight){.op = at, .left = tiny_pieces(&r->t, insn)};
}

static void end_piece(const trial *r, schedule *s, size_t index) {
  flight *f = &s->flights[index];
  const op *o = &r->ops[f->op];
  const ibx_stream *stream = &r->t.entry.streams[o->engine];
  // Its signal stands in the stream: the op was copied before it had one.
  size_t n = 0;
  for (size_t i = 0; i < stream->count; i++) {
    if (stream->insns[i].opcode == IBX_OP_semaphore) continue;
    if (find_op(r, o->engine, n++) != f->op) continue;
    if (stream->insns[i].signal_value > 0) {
      s->semaphores[stream->insns[i].signal_semaphore]++;
    }
  }
  s->end[f->op] = s->time;
  if (--f->left == 0) s->flights[index] = s->flights[--s->flight_count];
}

// Extreme orders find more than even ones: each agent has its own haste, and
// the most hasty one that can go on mostly does. A DMA may lose it half way.
static void start_schedule(schedule *s) {
  memset(s, 0, sizeof *s);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    s->haste_of_engine[e] = pick(1000);
  }
  for (size_t i = 0; i < MAX_OPS; i++) {
    s->haste_of_dma[i] = pick(1000);
  }
}

static size_t choose(const schedule *s, const ibx_engine *ready,
                     size_t ready_count) {
  size_t count = ready_count + s->flight_count;
  size_t best = (size_t)pick(count);
  if (pick(10) == 0) return best;
  uint64_t most = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t haste = i < ready_count
                         ? s->haste_of_engine[ready[i]]
                         : s->haste_of_dma[s->flights[i - ready_count].op];
    if (haste < most) continue;
    most = haste;
    best = i;
  }
  return best;
}

// Returns false on a deadlock.
static bool run_schedule(const trial *r, schedule *s) {
  start_schedule(s);
  for (;; s->time++) {
    ibx_engine ready[IBX_ENGINE_COUNT];
    size_t ready_count = 0, unfinished = 0;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      const ibx_stream *stream = &r->t.entry.streams[e];
      if (s->pc[e] == stream->count) continue;
      unfinished++;
      const ibx_insn *insn = &stream->insns[s->pc[e]];
      if (s->semaphores[insn->wait_semaphore] >= insn->wait_value) {
        ready[ready_count++] = (ibx_engine)e;
      }
    }
    if (ready_count + s->flight_count == 0) return unfinished == 0;
    size_t choice = choose(s, ready, ready_count);
    if (choice < ready_count) {
      start_insn(r, s, ready[choice]);
    } else {
      flight *f = &s->flights[choice - ready_count];
      if (pick(16) == 0) s->haste_of_dma[f->op] = pick(1000);
      end_piece(r, s, choice - ready_count);
    }
  }
}

static bool keeps_order(const trial *r, const schedule *s) {
  for (size_t i = 0; i < r->op_count; i++) {
    for (size_t j = 0; j < i; j++) {
      const op *a = &r->ops[i], *b = &r->ops[j];
      bool conflict = share(&a->written, &b->written) ||
                      share(&a->written, &b->read) ||
                      share(&a->read, &b->written);
      if (conflict && s->end[j] >= s->start[i]) return false;
    }
  }
  return true;
}

static void what_is_accepted_keeps_its_order_in_any_schedule(void **state) {
  (void)state;
  static trial r;
  static schedule s;
  size_t accepted = 0, groups = 0;
  random_state = 11;
  for (size_t round = 0; round < 3 * ROUNDS; round++) {
    make_trial(&r, pick(4) != 0);
    share_semaphores(&r, (uint8_t)(1 + pick(12)), pick(2) == 0);
    if (ibx_prove_entry(&r.t.program, &r.t.entry, NULL, NULL) != IBX_OK) {
      continue;
    }
    accepted++;
    for (size_t i = 0; i < SCHEDULES; i++) {
      if (!run_schedule(&r, &s)) fail_msg("round %zu: deadlock", round);
      if (!keeps_order(&r, &s)) fail_msg("round %zu: order lost", round);
      for (size_t k = 0; k < IBX_SEMAPHORES; k++) {
        assert_int_equal(s.semaphores[k], 0);
      }
    }
    for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
      for (size_t i = 0; i < r.t.entry.streams[e].count; i++) {
        groups += r.t.insns[e][i].wait_value > 16;
      }
    }
  }
  print_message("%zu accepted, %zu waits for groups\n", accepted, groups);
  assert_true(accepted > ROUNDS / 50);
  assert_true(groups > ROUNDS / 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prover_and_oracle_agree),
      cmocka_unit_test(what_is_accepted_keeps_its_order_in_any_schedule),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
