// SPDX-License-Identifier: Apache-2.0
//
// From the events of a run to a trace. The run is simulated twice, which gives
// the same events: the first time tells when each buffer is used for the first
// and the last time and how long all takes, the second time is written as it
// comes.
//
//   engines      a slice for each executed instruction; loads of the stationary
//                tile have a track of their own, for they hide behind products
//   DMA queues   a slice for each DMA, from its arrival at the DMA engines to
//                its completion; DMAs in flight lie in lanes beside each other
//   DMA engines  a slice for each piece of a DMA
//   arrows       from each instruction or DMA that signals to the instruction
//                whose wait takes the signal, the earliest signals first, as
//                the machine does; a signal that several waits share has an
//                arrow to each, a wait that takes several has one from each
//   counters     live bytes of SBUF and banks of PSUM, DMAs in flight

#include "driver/trace_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// Numbers of threads, wide enough apart for the lanes of a track.
enum { THREADS = 1000, THREADS_OF_QUEUES = 10000, THREADS_OF_DMA = 100000 };

/// A DMA that was issued and of which pieces are to come.
typedef struct open_dma {
  ibx_trace_slice slice; ///< ends at the last completion of all pieces so far
  uint32_t index;        ///< instruction
  uint32_t left;         ///< pieces
  size_t lane;
} open_dma;

/// DMAs of one issuer: `items[head..len)`, the first has the number `first`.
typedef struct dma_list {
  open_dma *items;
  size_t head, len, room;
  uint64_t first;
} dma_list;

typedef struct counter {
  ibx_trace_process process;
  const char *name, *unit;
  uint64_t value;
  bool is_begun;
} counter;

typedef struct trace {
  const ibx_program_data *program;
  const ibx_entry *entry;
  const ibx_trace_window *window;
  ibx_trace_summary *summary;
  ibx_trace_text text;
  ibx_trace_insns insns;
  ibx_trace_queue signals[IBX_SEMAPHORES]; ///< sent and not yet waited for
  ibx_trace_queue taken;
  ibx_trace_queue changes; ///< of DMAs in flight
  ibx_trace_lanes lanes[IBX_ENGINE_COUNT];
  ibx_trace_lanes stationary;
  ibx_trace_lanes *queues;
  bool *has_dma_engine; ///< a track
  dma_list dmas[IBX_ENGINE_COUNT];
  counter in_flight;
  uint64_t serial; ///< of the next instruction
  uint64_t open;   ///< DMAs of the window that are not complete
  bool is_cut;     ///< the window is over
  bool is_short;   ///< of memory
} trace;

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// --- tracks ----------------------------------------------------------------------

// Finds room for a slice that starts; names the lane when it is a new one.
static size_t take_lane(trace *t, ibx_trace_lanes *lanes,
                        ibx_trace_slice *slice, const char *name) {
  char text[64];
  size_t lane = 0;
  bool is_new = false;
  if (!ibx_trace_lanes_take(lanes, slice->start_ps, &lane, &is_new)) {
    t->is_short = true;
    return 0;
  }
  slice->thread += (uint32_t)lane;
  if (!is_new) return lane;
  snprintf(text, sizeof(text), lane == 0 ? "%s" : "%s (%zu)", name, lane + 1);
  ibx_trace_text_name(&t->text, slice->process, slice->thread, text);
  return lane;
}

static void name_tracks(trace *t) {
  ibx_trace_text_name(&t->text, IBX_TRACE_ENGINES, 0, "engines");
  ibx_trace_text_name(&t->text, IBX_TRACE_QUEUES, 0, "DMA queues");
  ibx_trace_text_name(&t->text, IBX_TRACE_DMA_ENGINES, 0, "DMA engines");
}

// --- counters --------------------------------------------------------------------

static void write_count(trace *t, counter *c, uint64_t time_ps) {
  ibx_trace_text_counter(&t->text, c->process, c->name, c->unit, time_ps,
                         c->value);
  c->is_begun = true;
}

// The window begins with the value that holds then.
static void begin_counter(trace *t, counter *c) {
  if (!c->is_begun) write_count(t, c, t->window->from_ps);
}

static void count(trace *t, counter *c, uint64_t time_ps, uint64_t value) {
  uint64_t from_ps = t->window->from_ps;
  if (t->is_cut && time_ps > t->summary->to_ps) return;
  if (time_ps > from_ps) begin_counter(t, c);
  bool is_new = !c->is_begun || value != c->value;
  c->value = value;
  if (time_ps >= from_ps && is_new) write_count(t, c, time_ps);
}

static void write_occupancy(trace *t, const ibx_trace_occupancy *occupancy) {
  counter sbuf = {IBX_TRACE_ENGINES, "SBUF", "bytes a partition", 0, false};
  counter psum = {IBX_TRACE_ENGINES, "PSUM", "banks", 0, false};
  for (size_t i = 0; i < occupancy->level_count; i++) {
    const ibx_trace_level *level = &occupancy->levels[i];
    count(t, &sbuf, level->time_ps, level->sbuf_bytes);
    count(t, &psum, level->time_ps, level->psum_banks);
  }
  begin_counter(t, &sbuf);
  begin_counter(t, &psum);
}

// Writes what changed before `now_ps`: all of that is known by now.
static void flush_in_flight(trace *t, uint64_t now_ps) {
  ibx_trace_queue *changes = &t->changes;
  while (changes->head < changes->len) {
    uint64_t time_ps = changes->items[changes->head].time_ps;
    int64_t sum = 0;
    if (time_ps >= now_ps) return;
    while (changes->head < changes->len &&
           changes->items[changes->head].time_ps == time_ps) {
      sum += changes->items[changes->head++].count;
    }
    uint64_t value = (uint64_t)((int64_t)t->in_flight.value + sum);
    if (sum != 0) count(t, &t->in_flight, time_ps, value);
  }
}

static void change_in_flight(trace *t, uint64_t time_ps, int64_t by) {
  ibx_trace_item item = {.time_ps = time_ps, .count = by};
  if (!ibx_trace_queue_add(&t->changes, &item)) t->is_short = true;
}

// --- signals -----------------------------------------------------------------------

static bool is_outside(const trace *t, const ibx_trace_item *item) {
  bool is_seen = !t->is_cut && item->time_ps >= t->window->from_ps;
  return !is_seen && !item->from.is_shown;
}

static void send_signal(trace *t, const ibx_insn *insn,
                        const ibx_sim_event *event, int64_t value,
                        const ibx_trace_slice *from) {
  ibx_trace_queue *signals = &t->signals[insn->signal_semaphore];
  ibx_trace_item item = {
      .time_ps = event->signal_ps, .count = value, .from = *from};
  // A signaller may be ahead by any number. Of what is seen before the window
  // begins, or after its end, only the sum matters.
  ibx_trace_item *last =
      signals->len > signals->head ? &signals->items[signals->len - 1] : NULL;
  if (last && is_outside(t, last) && is_outside(t, &item)) {
    last->count += value;
  } else if (!ibx_trace_queue_add(signals, &item)) {
    t->is_short = true;
  }
}

static void take_signals(trace *t, const ibx_insn *insn,
                         const ibx_trace_slice *to) {
  ibx_trace_queue *signals = &t->signals[insn->wait_semaphore];
  if (!ibx_trace_queue_take(signals, insn->wait_value, &t->taken)) {
    t->is_short = true;
    return;
  }
  for (size_t i = 0; i < t->taken.len && to->is_shown; i++) {
    const ibx_trace_item *item = &t->taken.items[i];
    if (!item->from.is_shown) continue;
    ibx_trace_text_arrow(&t->text, &item->from, to, insn->wait_semaphore,
                         item->count);
  }
}

// --- DMAs --------------------------------------------------------------------------

static open_dma *add_dma(trace *t, dma_list *list) {
  if (list->len == list->room) {
    size_t used = list->len - list->head;
    if (list->head > used) {
      memmove(list->items, list->items + list->head,
              used * sizeof(*list->items));
      list->head = 0;
      list->len = used;
    } else {
      size_t room = list->room == 0 ? 16 : 2 * list->room;
      open_dma *items = realloc(list->items, room * sizeof(*items));
      if (!items) {
        t->is_short = true;
        return NULL;
      }
      list->items = items;
      list->room = room;
    }
  }
  return &list->items[list->len++];
}

static open_dma *find_dma(const dma_list *list, uint64_t number) {
  size_t at = list->head + (size_t)(number - list->first);
  return number >= list->first && at < list->len ? &list->items[at] : NULL;
}

static void drop_done(dma_list *list) {
  while (list->head < list->len && list->items[list->head].left == 0) {
    list->head++;
    list->first++;
  }
}

// Static rings are there when the DMA is issued, others when that is over.
static void open_slice(trace *t, const ibx_sim_event *event,
                       const ibx_insn *insn, const ibx_trace_slice *issue) {
  char name[32];
  const ibx_trace_insn *row =
      ibx_trace_insns_get(&t->insns, (ibx_engine)event->issuer, event->index);
  open_dma *dma = add_dma(t, &t->dmas[event->issuer]);
  if (!dma || !row) {
    t->is_short = true;
    return;
  }
  uint64_t arrive_ps =
      insn->dge == IBX_DGE_STATIC ? event->start_ps : event->end_ps;
  *dma = (open_dma){
      .slice = {.id = issue->id,
                .start_ps = arrive_ps,
                .end_ps = arrive_ps,
                .process = IBX_TRACE_QUEUES,
                .thread = THREADS_OF_QUEUES + THREADS * (uint32_t)insn->queue,
                .is_shown = issue->is_shown},
      .index = event->index,
      .left = row->pieces};
  snprintf(name, sizeof(name), "queue %u", insn->queue);
  if (issue->is_shown) {
    t->open++;
    dma->lane = take_lane(t, &t->queues[insn->queue], &dma->slice, name);
  }
  change_in_flight(t, arrive_ps, 1);
}

static void close_slice(trace *t, const ibx_sim_event *event,
                        const ibx_insn *insn, const open_dma *dma) {
  change_in_flight(t, dma->slice.end_ps, -1);
  if (!dma->slice.is_shown) return;
  t->open--;
  const ibx_trace_insn *row =
      ibx_trace_insns_get(&t->insns, (ibx_engine)event->issuer, event->index);
  ibx_trace_lanes_end(&t->queues[insn->queue], dma->lane, dma->slice.end_ps);
  ibx_trace_text_slice(&t->text, &dma->slice);
  fprintf(t->text.out,
          "%s,\"issuer\":\"%s\",\"dma\":%" PRIu64 ",\"bytes\":%" PRIu64
          ",\"pieces\":%" PRIu32 "}}",
          row->text, ibx_engine_name((ibx_engine)event->issuer), event->dma,
          row->bytes, row->pieces);
}

static void write_piece(trace *t, const ibx_sim_event *event,
                        const ibx_insn *insn) {
  uint32_t engine = (uint32_t)event->agent - IBX_ENGINE_COUNT;
  const ibx_trace_insn *row =
      ibx_trace_insns_get(&t->insns, (ibx_engine)event->issuer, event->index);
  ibx_trace_slice slice = {.start_ps = event->start_ps,
                           .end_ps = event->end_ps,
                           .process = IBX_TRACE_DMA_ENGINES,
                           .thread = THREADS_OF_DMA + engine};
  if (!t->has_dma_engine[engine]) {
    char name[32];
    bool is_dma = engine < t->program->machine->dma_engines;
    snprintf(name, sizeof(name), is_dma ? "DMA engine %" PRIu32 : "collectives",
             engine);
    ibx_trace_text_name(&t->text, slice.process, slice.thread, name);
    t->has_dma_engine[engine] = true;
  }
  ibx_trace_text_slice(&t->text, &slice);
  fprintf(t->text.out,
          "%s,\"args\":{\"issuer\":\"%s\",\"dma\":%" PRIu64
          ",\"index\":%" PRIu32 ",\"queue\":%u}}",
          row->head, ibx_engine_name((ibx_engine)event->issuer), event->dma,
          event->index, insn->queue);
}

static void on_piece(trace *t, const ibx_sim_event *event,
                     const ibx_insn *insn) {
  dma_list *list = &t->dmas[event->issuer];
  open_dma *dma = find_dma(list, event->dma);
  if (!dma || dma->left == 0) return; // memory was short when it was issued
  dma->slice.end_ps = larger(dma->slice.end_ps, event->done_ps);
  if (dma->slice.is_shown) write_piece(t, event, insn);
  if (event->signal_ps != 0) {
    ibx_trace_slice from = dma->slice;
    from.end_ps = event->done_ps;
    send_signal(t, insn, event, 1, &from);
  }
  if (--dma->left == 0) close_slice(t, event, insn, dma);
  drop_done(list);
}

// --- instructions ------------------------------------------------------------------

static bool is_in_window(trace *t, const ibx_sim_event *event) {
  ibx_trace_summary *summary = t->summary;
  if (event->start_ps < t->window->from_ps) {
    summary->skipped++;
    return false;
  }
  if (t->is_cut) return false;
  if (summary->written < t->window->limit) {
    summary->written++;
    return true;
  }
  t->is_cut = true;
  summary->to_ps = event->start_ps;
  return false;
}

static void write_insn(trace *t, const ibx_sim_event *event,
                       const ibx_insn *insn, ibx_trace_slice *slice) {
  ibx_engine engine = (ibx_engine)event->issuer;
  bool is_stationary = ibx_insn_get(insn->opcode)->kind == IBX_KIND_STATIONARY;
  ibx_trace_lanes *lanes = is_stationary ? &t->stationary : &t->lanes[engine];
  slice->thread = THREADS * (engine + 1u) + (is_stationary ? THREADS / 2u : 0u);
  size_t lane = take_lane(
      t, lanes, slice, is_stationary ? "tensor load" : ibx_engine_name(engine));
  const ibx_trace_insn *row =
      ibx_trace_insns_get(&t->insns, engine, event->index);
  if (!row || t->is_short) {
    t->is_short = true;
    return;
  }
  ibx_trace_lanes_end(lanes, lane, slice->end_ps);
  ibx_trace_text_slice(&t->text, slice);
  fputs(row->text, t->text.out);
  if (row->pieces != 0) {
    fprintf(t->text.out, ",\"dma\":%" PRIu64, event->dma);
  }
  fputs("}}", t->text.out);
}

static void on_insn(trace *t, const ibx_sim_event *event,
                    const ibx_insn *insn) {
  ibx_trace_slice slice = {.id = t->serial++,
                           .start_ps = event->start_ps,
                           .end_ps = event->end_ps,
                           .process = IBX_TRACE_ENGINES,
                           .is_shown = is_in_window(t, event)};
  if (slice.is_shown) write_insn(t, event, insn, &slice);
  if (insn->wait_value != 0) take_signals(t, insn, &slice);
  if (event->signal_ps != 0) {
    send_signal(t, insn, event, insn->signal_value, &slice);
  }
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (info->kind == IBX_KIND_DMA) open_slice(t, event, insn, &slice);
}

static void on_event(void *user, const ibx_sim_event *event) {
  trace *t = user;
  if (t->is_short || (t->is_cut && t->open == 0)) return;
  const ibx_insn *insn = &t->entry->streams[event->issuer].insns[event->index];
  flush_in_flight(t, event->start_ps);
  if (event->agent < IBX_ENGINE_COUNT) {
    on_insn(t, event, insn);
  } else {
    on_piece(t, event, insn);
  }
}

// --- both runs ---------------------------------------------------------------------

static ibx_status init(trace *t, ibx_error *err) {
  const ibx_machine *machine = t->program->machine;
  t->in_flight = (counter){IBX_TRACE_QUEUES, "DMAs", "in flight", 0, false};
  t->queues = calloc(machine->dma_queues, sizeof(*t->queues));
  t->has_dma_engine = calloc(machine->dma_engines + 1, sizeof(bool));
  IBX_TRY(ibx_trace_insns_init(t->program, t->entry, &t->insns, err));
  if (t->queues && t->has_dma_engine) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tracks");
}

static void fini(trace *t) {
  size_t queues = t->queues ? t->program->machine->dma_queues : 0;
  for (size_t i = 0; i < queues; i++) {
    free(t->queues[i].end_ps);
  }
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(t->lanes[e].end_ps);
    free(t->dmas[e].items);
  }
  for (size_t i = 0; i < IBX_SEMAPHORES; i++) {
    ibx_trace_queue_fini(&t->signals[i]);
  }
  free(t->stationary.end_ps);
  free(t->queues);
  free(t->has_dma_engine);
  ibx_trace_queue_fini(&t->taken);
  ibx_trace_queue_fini(&t->changes);
  ibx_trace_insns_fini(&t->insns);
}

static ibx_sim_time_options
time_options(const trace *t, ibx_sim_event_fn on_event_fn, void *user) {
  return (ibx_sim_time_options){.extents = t->window->extents,
                                .extent_count = t->window->extent_count,
                                .on_event = on_event_fn,
                                .user = user};
}

static ibx_status write_run(trace *t, const ibx_trace_occupancy *occupancy,
                            ibx_error *err) {
  ibx_sim_time time;
  ibx_sim_time_options options = time_options(t, on_event, t);
  IBX_TRY(init(t, err));
  ibx_trace_text_open(&t->text, t->program, t->entry, &t->summary->time);
  name_tracks(t);
  IBX_TRY(ibx_sim_time_entry_with(t->program, t->entry, &options, &time, err));
  if (t->is_short) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the trace");
  }
  flush_in_flight(t, UINT64_MAX);
  begin_counter(t, &t->in_flight);
  write_occupancy(t, occupancy);
  ibx_trace_text_close(&t->text);
  return IBX_OK;
}

static ibx_status measure(const trace *t, ibx_trace_occupancy *occupancy,
                          ibx_sim_time *time, ibx_error *err) {
  ibx_sim_time_options options =
      time_options(t, ibx_trace_occupancy_touch, occupancy);
  IBX_TRY(ibx_trace_occupancy_init(t->program, t->entry, occupancy, err));
  IBX_TRY(ibx_sim_time_entry_with(t->program, t->entry, &options, time, err));
  return ibx_trace_occupancy_finish(occupancy, time->total_ps, err);
}

ibx_status ibx_trace_write(const ibx_program_data *program,
                           const ibx_entry *entry,
                           const ibx_trace_window *window, FILE *out,
                           ibx_trace_summary *out_summary, ibx_error *err) {
  *out_summary = (ibx_trace_summary){0};
  trace *t = calloc(1, sizeof(*t));
  if (!t) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the trace");
  *t = (trace){.program = program,
               .entry = entry,
               .window = window,
               .summary = out_summary,
               .text = {.out = out}};
  ibx_trace_occupancy occupancy = {0};
  ibx_status status = measure(t, &occupancy, &out_summary->time, err);
  out_summary->to_ps = out_summary->time.total_ps;
  if (status == IBX_OK) status = write_run(t, &occupancy, err);
  ibx_trace_occupancy_fini(&occupancy);
  fini(t);
  free(t);
  return status;
}
