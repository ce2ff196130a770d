// SPDX-License-Identifier: Apache-2.0
//
// What stands in an instruction's way: results of its own engine that are not
// complete, PSUM banks and ports that others use, row groups, full queues, words
// that are not fetched yet. Nothing here takes anything.

#include "timing.h"

int64_t ibx_timed_loop_offset(const ibx_sequencer *s,
                              const ibx_timed_box *box) {
  const int32_t *step = s->insns[s->index].operand[box->slot].loop_step;
  int64_t offset = 0;
  for (size_t i = 0; i < IBX_LOOP_REGISTERS; i++) {
    offset += (int64_t)step[i] * s->loop_registers[i];
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
static uint64_t after_writes(const ibx_timer *t, const ibx_sequencer *s,
                             const ibx_timed_insn *timed, uint64_t now_ps) {
  uint64_t ready_ps = s->marks[s->next_mark].done_ps; // the one that goes
  size_t newest = (s->next_mark + IBX_MARKS - 1) % IBX_MARKS;
  if (s->marks[newest].done_ps <= now_ps) return ready_ps;
  for (size_t b = 0; b < timed->box_count; b++) {
    const ibx_timed_box *box = &t->plan.boxes[timed->first_box + b];
    int64_t offset = timed->is_looped ? ibx_timed_loop_offset(s, box) : 0;
    for (size_t i = 0; i < IBX_MARKS; i++) {
      const ibx_write_mark *mark =
          &s->marks[(newest + IBX_MARKS - i) % IBX_MARKS];
      if (mark->done_ps <= now_ps) break;
      if (!touches(mark, box, offset)) continue;
      ready_ps = ibx_timed_later(ready_ps, mark->done_ps);
      break;
    }
  }
  return ready_ps;
}

unsigned ibx_timed_bank_mask(const ibx_machine *machine, int64_t low,
                             int64_t high) {
  if (low < 0) low = 0;
  if (high > (int64_t)machine->psum_bytes) high = machine->psum_bytes;
  if (low >= high) return 0;
  // 32 bits divide in a third of the time of 64.
  uint32_t first = (uint32_t)low / machine->psum_bank_bytes;
  uint32_t last = (uint32_t)(high - 1) / machine->psum_bank_bytes;
  return (2u << last) - (1u << first);
}

static unsigned banks_of(const ibx_timer *t, const ibx_sequencer *s,
                         const ibx_timed_insn *timed) {
  if (!timed->is_looped) return timed->banks;
  if (!(timed->spaces >> IBX_SPACE_PSUM & 1)) return 0;
  unsigned banks = 0;
  for (size_t b = 0; b < timed->box_count; b++) {
    const ibx_timed_box *box = &t->plan.boxes[timed->first_box + b];
    if (box->space != IBX_SPACE_PSUM) continue;
    int64_t offset = ibx_timed_loop_offset(s, box);
    banks |=
        ibx_timed_bank_mask(t->machine, box->low + offset, box->high + offset);
  }
  return banks;
}

static uint64_t after_banks(const uint64_t *bank_ps, unsigned banks) {
  uint64_t ready_ps = 0;
  for (unsigned i = 0; banks >> i != 0; i++) {
    if (banks >> i & 1) ready_ps = ibx_timed_later(ready_ps, bank_ps[i]);
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
  for (unsigned space = 0; space < IBX_SPACE_COUNT; space++) {
    if (!(timed->spaces >> space & 1)) continue;
    ibx_engine other = port_partner(engine, space);
    if (other == engine) continue;
    ready_ps = ibx_timed_later(ready_ps, t->port_ps[other][space]);
  }
  return ready_ps;
}

static uint64_t after_others(const ibx_timer *t, const ibx_sequencer *s,
                             const ibx_timed_insn *timed, ibx_engine engine) {
  uint64_t ready_ps = after_banks(t->tensor_bank_ps, s->banks);
  if (!t->machine->port_sharing) return ready_ps;
  return ibx_timed_later(ready_ps, after_ports(t, engine, timed));
}

uint64_t ibx_timed_ready(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t ready_ps = now_ps;
  if (timed->words > s->fetched_words) {
    ready_ps = ibx_timed_later(ready_ps, s->fetch_ps);
  }
  s->banks = (uint8_t)banks_of(t, s, timed);
  uint64_t free_ps;
  switch (timed->kind) {
  case IBX_TIMED_MOVING:
    free_ps = ibx_timed_later(ibx_timed_array_ready(&t->array, timed->rows),
                              after_banks(t->other_bank_ps, s->banks));
    break;
  case IBX_TIMED_WORK:
    free_ps = ibx_timed_later(after_others(t, s, timed, engine),
                              after_writes(t, s, timed, now_ps));
    break;
  case IBX_TIMED_DMA:
    free_ps = ibx_timed_later(ibx_timed_dma_room(&t->dma, timed->queue),
                              after_writes(t, s, timed, now_ps));
    break;
  case IBX_TIMED_REGISTER: free_ps = after_writes(t, s, timed, now_ps); break;
  default: return ready_ps;
  }
  return ibx_timed_later(ready_ps, free_ps);
}
