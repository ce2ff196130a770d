// SPDX-License-Identifier: Apache-2.0
//
// What stands in an instruction's way: results of its own engine that are not
// complete, PSUM banks and ports that others use, row groups, full queues, words
// that are not fetched yet. Nothing here changes anything.

#include "timing.h"

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

int64_t ibx_timed_loop_offset(const ibx_sequencer *s,
                              const ibx_timed_box *box) {
  int64_t offset = 0;
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    offset += (int64_t)box->loop_step[i] * s->loop_registers[i];
  }
  return offset;
}

static bool touches(const ibx_write_mark *mark, const ibx_timed_box *box,
                    int64_t offset) {
  return mark->space == box->space && mark->first <= box->last &&
         box->first <= mark->last && mark->low < box->high + offset &&
         box->low + offset < mark->high;
}

// Marks are pushed in order of completion, the newest last.
static uint64_t after_writes(const ibx_sequencer *s,
                             const ibx_timed_insn *timed, uint64_t now_ps) {
  uint64_t ready_ps = s->marks[s->next_mark].done_ps; // the one that goes
  for (size_t b = 0; b < timed->box_count; b++) {
    const ibx_timed_box *box = &timed->box[b];
    int64_t offset = ibx_timed_loop_offset(s, box);
    for (size_t i = 1; i <= IBX_MARKS; i++) {
      const ibx_write_mark *mark =
          &s->marks[(s->next_mark + IBX_MARKS - i) % IBX_MARKS];
      if (mark->done_ps <= now_ps) break;
      if (!touches(mark, box, offset)) continue;
      ready_ps = larger(ready_ps, mark->done_ps);
      break;
    }
  }
  return ready_ps;
}

static unsigned banks_of(const ibx_timer *t, const ibx_sequencer *s,
                         const ibx_timed_box *box) {
  if (box->space != IBX_SPACE_PSUM) return 0;
  int64_t offset = ibx_timed_loop_offset(s, box);
  int64_t first = (box->low + offset) / (int64_t)t->machine->psum_bank_bytes;
  int64_t last =
      (box->high - 1 + offset) / (int64_t)t->machine->psum_bank_bytes;
  unsigned banks = 0;
  for (int64_t i = first; i <= last && i < IBX_PSUM_BANKS; i++) {
    if (i >= 0) banks |= 1u << i;
  }
  return banks;
}

unsigned ibx_timed_banks(const ibx_timer *t, const ibx_sequencer *s,
                         const ibx_timed_insn *timed) {
  unsigned banks = 0;
  for (size_t b = 0; b < timed->box_count; b++) {
    banks |= banks_of(t, s, &timed->box[b]);
  }
  return banks;
}

static uint64_t after_banks(const uint64_t *bank_ps, unsigned banks) {
  uint64_t ready_ps = 0;
  for (unsigned i = 0; banks >> i != 0; i++) {
    if (banks >> i & 1) ready_ps = larger(ready_ps, bank_ps[i]);
  }
  return ready_ps;
}

// The engine that shares its port to `space` with `engine`.
static ibx_engine port_partner(ibx_engine engine, unsigned space) {
  bool is_psum = space == IBX_SPACE_PSUM;
  if (engine == IBX_ENGINE_VECTOR) {
    return is_psum ? IBX_ENGINE_SCALAR : IBX_ENGINE_GPSIMD;
  }
  bool shares = engine == (is_psum ? IBX_ENGINE_SCALAR : IBX_ENGINE_GPSIMD);
  return shares ? IBX_ENGINE_VECTOR : engine;
}

static uint64_t after_ports(const ibx_timer *t, ibx_engine engine,
                            const ibx_timed_insn *timed) {
  uint64_t ready_ps = 0;
  if (!t->machine->port_sharing) return 0;
  for (size_t b = 0; b < timed->box_count; b++) {
    unsigned space = timed->box[b].space;
    ibx_engine other = port_partner(engine, space);
    if (other != engine) ready_ps = larger(ready_ps, t->port_ps[other][space]);
  }
  return ready_ps;
}

uint64_t ibx_timed_ready(const ibx_timer *t, ibx_engine engine,
                         uint64_t now_ps) {
  const ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t ready_ps = now_ps;
  if (timed->words > s->fetched_words) ready_ps = larger(ready_ps, s->fetch_ps);
  switch (timed->kind) {
  case IBX_TIMED_MOVING:
    ready_ps = larger(ready_ps, ibx_timed_array_ready(&t->array, timed->rows));
    return larger(ready_ps,
                  after_banks(t->other_bank_ps, ibx_timed_banks(t, s, timed)));
  case IBX_TIMED_WORK:
    ready_ps = larger(ready_ps, after_ports(t, engine, timed));
    ready_ps = larger(
        ready_ps, after_banks(t->tensor_bank_ps, ibx_timed_banks(t, s, timed)));
    return larger(ready_ps, after_writes(s, timed, now_ps));
  case IBX_TIMED_DMA:
    ready_ps =
        larger(ready_ps, ibx_timed_dma_room(&t->dma, s->insns[s->index].queue));
    return larger(ready_ps, after_writes(s, timed, now_ps));
  case IBX_TIMED_REGISTER:
    return larger(ready_ps, after_writes(s, timed, now_ps));
  default: return ready_ps;
  }
}
