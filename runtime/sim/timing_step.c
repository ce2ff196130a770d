// SPDX-License-Identifier: Apache-2.0
//
// One step of a sequencer: an instruction starts, or the DMA that it started
// reaches the DMA engines. In: a step whose time has come and whose resources
// are free. Holds afterwards: what the step takes and signals is entered, and
// every candidate that depends on it is found again. timing.c has the rules.

#include "timing.h"

// --- candidates -----------------------------------------------------------------

void ibx_timed_refresh(ibx_timer *t, ibx_engine engine) {
  const ibx_sequencer *s = &t->engines[engine];
  uint64_t *candidate_ps = &t->candidate_ps[engine];
  if (s->is_arriving) {
    *candidate_ps = s->arrive_ps;
    return;
  }
  *candidate_ps = IBX_TIME_NEVER;
  if (s->index >= s->count) return;
  const ibx_timed_insn *timed = &s->timed[s->index];
  bool is_hidden = timed->kind == IBX_TIMED_STATIONARY && t->array.has_shadow;
  uint64_t at_ps = is_hidden ? t->array.shadow_ps : s->next_ps;
  at_ps = ibx_timed_later(at_ps, s->hold_ps);
  if (timed->wait_value != 0) {
    uint64_t risen_ps = ibx_timed_semaphore_when(
        &t->semaphores[timed->wait_semaphore], timed->wait_value);
    at_ps = ibx_timed_later(at_ps, risen_ps);
  }
  *candidate_ps = at_ps;
}

void ibx_timed_come(ibx_timer *t, ibx_engine engine) {
  const ibx_sequencer *s = &t->engines[engine];
  bool awaits = s->index < s->count && s->timed[s->index].wait_value != 0;
  t->awaits[engine] =
      awaits ? s->timed[s->index].wait_semaphore : IBX_NO_SEMAPHORE;
  ibx_timed_refresh(t, engine);
}

// Other engines may now wait for less or for more.
static void refresh_waiters(ibx_timer *t, unsigned semaphore) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (t->awaits[e] == semaphore) ibx_timed_refresh(t, (ibx_engine)e);
  }
}

static void rise(ibx_timer *t, unsigned semaphore, uint64_t now_ps,
                 uint64_t time_ps, uint64_t count) {
  if (!ibx_timed_semaphore_rise(&t->semaphores[semaphore], now_ps, time_ps,
                                count)) {
    t->is_short = true;
  }
}

static void send_event(ibx_timer *t, const ibx_sim_event *event) {
  if (!ibx_event_queue_add(&t->events, event)) t->is_short = true;
}

// --- steps -----------------------------------------------------------------------------

static void fetch(ibx_timer *t, ibx_sequencer *s, const ibx_timed_insn *timed,
                  uint64_t now_ps) {
  t->time.fetch_bytes += (uint64_t)timed->words * IBX_WORD_BYTES;
  if (timed->words > s->fetched_words) {
    s->fetched_words += t->half_words;
    s->fetch_ps =
        ibx_timed_dma_fetch(&t->dma, now_ps, t->half_words * IBX_WORD_BYTES);
  }
  s->fetched_words -= timed->words;
}

static void mark_writes(ibx_timer *t, ibx_engine engine,
                        const ibx_timed_insn *timed, uint64_t done_ps) {
  ibx_sequencer *s = &t->engines[engine];
  if (engine == IBX_ENGINE_SCALAR) done_ps += t->dependent_ps;
  for (size_t b = 0; b < timed->box_count; b++) {
    const ibx_timed_box *box = &t->plan.boxes[timed->first_box + b];
    if (!box->written) continue;
    int64_t offset = timed->is_looped ? ibx_timed_loop_offset(s, box) : 0;
    s->marks[s->next_mark] = (ibx_write_mark){.low = box->low + offset,
                                              .high = box->high + offset,
                                              .done_ps = done_ps,
                                              .first = box->first,
                                              .last = box->last,
                                              .space = box->space};
    s->next_mark = (s->next_mark + 1) % IBX_MARKS;
  }
}

static void take_banks(uint64_t *bank_ps, unsigned banks, uint64_t until_ps) {
  for (unsigned i = 0; banks >> i != 0; i++) {
    if (banks >> i & 1) bank_ps[i] = ibx_timed_later(bank_ps[i], until_ps);
  }
}

static void take_ports(ibx_timer *t, ibx_engine engine,
                       const ibx_timed_insn *timed, uint64_t until_ps) {
  for (unsigned space = 0; space < IBX_SPACE_COUNT; space++) {
    if (timed->spaces >> space & 1) t->port_ps[engine][space] = until_ps;
  }
}

// Both return the end of the instruction's time on its engine.

static uint64_t start_work(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->index];
  if (timed->table != 0 && timed->table != s->table) {
    s->table = timed->table;
    now_ps += t->machine->table_load_ps;
  }
  uint64_t end_ps = now_ps + timed->issue_ps;
  s->next_ps = end_ps;
  s->done_ps = ibx_timed_later(s->done_ps, now_ps + timed->result_ps);
  if (timed->is_moving) {
    const ibx_timed_transfer *moved = &t->plan.transfers[timed->other];
    t->time.hbm_read_bytes += moved->read_bytes;
    t->time.hbm_write_bytes += moved->write_bytes;
  }
  mark_writes(t, engine, timed, s->done_ps);
  take_banks(t->other_bank_ps, s->banks, end_ps);
  if (t->machine->port_sharing) take_ports(t, engine, timed, end_ps);
  return end_ps;
}

static uint64_t start_moving(ibx_timer *t, ibx_sequencer *s, uint64_t now_ps) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t idle_from_ps = ibx_timed_later(now_ps, t->array.last_end_ps);
  uint64_t end_ps =
      ibx_timed_array_stream(&t->array, now_ps, timed->rows, timed->issue_ps);
  if (end_ps > idle_from_ps) {
    t->time.busy_ps[IBX_ENGINE_TENSOR] +=
        ibx_timed_sooner(timed->busy_ps, end_ps - idle_from_ps);
  }
  uint64_t depth_ps =
      timed->result_ps - ibx_timed_sooner(timed->result_ps, timed->issue_ps);
  s->next_ps = timed->rows == t->all_rows
                   ? end_ps
                   : ibx_timed_sooner(end_ps, now_ps + t->interval_ps);
  s->done_ps = ibx_timed_later(s->done_ps, end_ps + depth_ps);
  take_banks(t->tensor_bank_ps, s->banks, end_ps);
  return end_ps;
}

static void next_trip(ibx_sequencer *s) {
  ibx_loop_frame *frame = &s->frames[s->depth - 1];
  uint8_t counter = s->timed[frame->start].reg[0];
  if (--frame->trips_left > 0) {
    s->loop_registers[counter]++;
    s->index = frame->start; // the step after the switch goes to the body
    return;
  }
  s->loop_registers[counter] = 0;
  s->depth--;
}

static void enter_loop(ibx_sequencer *s) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint32_t trips = timed->count;
  if (timed->reg[1] != IBX_NO_REGISTER && s->registers[timed->reg[1]] < trips) {
    trips = s->registers[timed->reg[1]];
  }
  s->loop_registers[timed->reg[0]] = 0;
  if (trips == 0) {
    s->index = timed->other;
    return;
  }
  s->frames[s->depth++] =
      (ibx_loop_frame){.start = s->index, .trips_left = trips};
}

// Time alone knows no data: a loaded register has its upper limit. A loop that
// ends does not branch.
static void start_control(ibx_timer *t, ibx_sequencer *s, uint64_t now_ps) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t cost_ps = timed->issue_ps;
  switch (timed->kind) {
  case IBX_TIMED_LOOP: enter_loop(s); break;
  case IBX_TIMED_LOOP_END:
    if (s->frames[s->depth - 1].trips_left == 1) {
      cost_ps = ibx_timed_sooner(cost_ps, t->interval_ps);
    }
    next_trip(s);
    break;
  case IBX_TIMED_REGISTER: s->registers[timed->reg[0]] = timed->count; break;
  default: break;
  }
  s->next_ps = now_ps + cost_ps;
  s->done_ps = ibx_timed_later(s->done_ps, s->next_ps);
}

static uint64_t start_stationary(ibx_timer *t, ibx_sequencer *s,
                                 uint64_t now_ps) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  uint64_t end_ps =
      ibx_timed_array_load(&t->array, now_ps, timed->rows, timed->issue_ps);
  if (end_ps > s->next_ps) {
    t->time.busy_ps[IBX_ENGINE_TENSOR] +=
        ibx_timed_sooner(timed->busy_ps, end_ps - s->next_ps);
    s->next_ps = end_ps;
  }
  s->done_ps = ibx_timed_later(s->done_ps, end_ps);
  return end_ps;
}

// Static rings are there; other descriptors are made while the sequencer waits.
static void start_dma(ibx_sequencer *s, uint64_t now_ps) {
  const ibx_timed_insn *timed = &s->timed[s->index];
  s->is_arriving = true;
  s->arriving = s->index;
  s->next_ps = now_ps + timed->issue_ps;
  s->arrive_ps = timed->is_made ? now_ps : s->next_ps;
}

static uint64_t start_insn(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  ibx_timed_kind kind = (ibx_timed_kind)s->timed[s->index].kind;
  if (kind == IBX_TIMED_STATIONARY) return start_stationary(t, s, now_ps);
  if (kind == IBX_TIMED_MOVING) return start_moving(t, s, now_ps);
  if (engine == IBX_ENGINE_TENSOR) t->array.has_shadow = false;
  if (kind == IBX_TIMED_WORK) return start_work(t, engine, now_ps);
  if (kind == IBX_TIMED_DMA) {
    start_dma(s, now_ps);
  } else {
    start_control(t, s, now_ps);
  }
  return s->next_ps;
}

// What streams at the same time as something else, or hides behind it, counts
// once.
static bool is_array(const ibx_timed_insn *timed) {
  return timed->kind == IBX_TIMED_STATIONARY || timed->kind == IBX_TIMED_MOVING;
}

static bool is_control(const ibx_timed_insn *timed) {
  return timed->kind >= IBX_TIMED_LOOP;
}

// When the signal of an instruction whose results are complete reaches its
// waiter; 0 where it sends none. The pieces of a DMA send their own.
static uint64_t signal_time(const ibx_timer *t, const ibx_sequencer *s,
                            const ibx_timed_insn *timed) {
  if (timed->signal_value == 0 || timed->kind == IBX_TIMED_DMA) return 0;
  return s->done_ps + t->signal_ps[timed->signal_semaphore];
}

static void send_issue(ibx_timer *t, ibx_engine engine, size_t index,
                       uint64_t now_ps, uint64_t end_ps) {
  const ibx_sequencer *s = &t->engines[engine];
  ibx_sim_event event = {.start_ps = now_ps,
                         .end_ps = end_ps,
                         .done_ps = ibx_timed_later(end_ps, s->done_ps),
                         .signal_ps = signal_time(t, s, &s->timed[index]),
                         .dma = s->arrived,
                         .index = (uint32_t)index,
                         .agent = (uint8_t)engine,
                         .issuer = (uint8_t)engine};
  send_event(t, &event);
}

void ibx_timed_issue(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const size_t index = s->index;
  const ibx_timed_insn *timed = &s->timed[index];
  if (timed->wait_value != 0) {
    ibx_timed_semaphore_take(&t->semaphores[timed->wait_semaphore],
                             timed->wait_value);
  }
  fetch(t, s, timed, now_ps);
  uint64_t end_ps = start_insn(t, engine, now_ps);
  s->index++;
  s->hold_ps = 0;
  t->time.instructions++;
  if (!is_array(timed)) t->time.busy_ps[engine] += timed->busy_ps;
  if (!is_control(timed) && timed->kind != IBX_TIMED_DMA) {
    t->time.total_ps = ibx_timed_later(t->time.total_ps, s->done_ps);
  }
  if (t->events.deliver) send_issue(t, engine, index, now_ps, end_ps);
  uint64_t signal_ps = signal_time(t, s, timed);
  if (signal_ps != 0) {
    rise(t, timed->signal_semaphore, now_ps, signal_ps, timed->signal_value);
    refresh_waiters(t, timed->signal_semaphore);
  }
  if (timed->wait_value != 0) refresh_waiters(t, timed->wait_semaphore);
  ibx_timed_come(t, engine);
}

// Most pieces of a DMA complete together and raise the semaphore as one.
static void signal_pieces(ibx_timer *t, const ibx_timed_insn *timed,
                          size_t count, uint64_t now_ps) {
  for (size_t i = 0, end; i < count; i = end) {
    uint64_t complete_ps = t->pieces[i].complete_ps;
    for (end = i + 1; end < count; end++) {
      if (t->pieces[end].complete_ps != complete_ps) break;
    }
    rise(t, timed->signal_semaphore, now_ps,
         complete_ps + t->machine->dma_completion_ps, end - i);
  }
}

static void send_pieces(ibx_timer *t, ibx_engine engine, size_t count) {
  const ibx_sequencer *s = &t->engines[engine];
  bool signals = s->timed[s->arriving].signal_value != 0;
  for (size_t i = 0; i < count; i++) {
    const ibx_timed_piece *piece = &t->pieces[i];
    uint64_t signal_ps = piece->complete_ps + t->machine->dma_completion_ps;
    ibx_sim_event event = {.start_ps = piece->start_ps,
                           .end_ps = piece->end_ps,
                           .done_ps = piece->complete_ps,
                           .signal_ps = signals ? signal_ps : 0,
                           .dma = s->arrived,
                           .index = (uint32_t)s->arriving,
                           .agent = (uint8_t)(IBX_ENGINE_COUNT + piece->engine),
                           .issuer = (uint8_t)engine};
    send_event(t, &event);
  }
}

void ibx_timed_arrive(ibx_timer *t, ibx_engine engine, uint64_t now_ps) {
  ibx_sequencer *s = &t->engines[engine];
  const ibx_timed_insn *timed = &s->timed[s->arriving];
  const ibx_timed_transfer *transfer = &t->plan.transfers[timed->other];
  size_t count = transfer->piece_count;
  const uint64_t *piece_ps = t->plan.piece_ps + transfer->first_piece;
  uint64_t complete_ps =
      transfer->is_collective
          ? ibx_timed_dma_meet(&t->dma, now_ps, timed->queue, *piece_ps,
                               t->pieces)
          : ibx_timed_dma_arrive(&t->dma, now_ps, timed->queue, piece_ps, count,
                                 t->pieces);
  t->time.total_ps = ibx_timed_later(t->time.total_ps, complete_ps);
  if (t->events.deliver) send_pieces(t, engine, count);
  s->arrived++;
  t->time.dma_count++;
  t->time.hbm_read_bytes += transfer->read_bytes;
  t->time.hbm_write_bytes += transfer->write_bytes;
  t->time.fetch_bytes += transfer->ring_bytes;
  s->is_arriving = false;
  if (timed->signal_value != 0) {
    signal_pieces(t, timed, count, now_ps);
    refresh_waiters(t, timed->signal_semaphore);
  }
  ibx_timed_refresh(t, engine);
}
