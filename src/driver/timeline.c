// SPDX-License-Identifier: Apache-2.0
//
// Engines over time, as text. In: the events of a timed run. Out:
//
//   tensor  |  .=####################=.        |  83.1 %
//
// A cell shows the share of its time in which the engine works; the DMA row
// shows the mean of the DMA engines. What only waits, signals or counts is no
// work.

#include "driver/timeline.h"

#include <inttypes.h>
#include <string.h>

enum { COLUMNS = 100, ROWS = IBX_ENGINE_COUNT + 1 };

static const char levels[] = " .:-=+*%#@";

typedef struct timeline {
  const ibx_entry *entry;
  uint64_t total_ps;
  uint64_t busy_ps[ROWS][COLUMNS];
  uint64_t drawn_ps[ROWS]; ///< end of what is drawn; overlaps count once
} timeline;

static uint64_t column_start(const timeline *t, uint64_t column) {
  // total * column does not overflow: 2^64 ps are 213 days.
  return t->total_ps / COLUMNS * column +
         t->total_ps % COLUMNS * column / COLUMNS;
}

static size_t column_of(const timeline *t, uint64_t time_ps) {
  uint64_t step = t->total_ps / COLUMNS;
  size_t column = (size_t)(time_ps / (step + 1));
  while (column + 1 < COLUMNS && column_start(t, column + 1) <= time_ps) {
    column++;
  }
  return column < COLUMNS ? column : COLUMNS - 1;
}

static void fill(timeline *t, size_t row, uint64_t from_ps, uint64_t to_ps) {
  if (to_ps > t->total_ps) to_ps = t->total_ps;
  if (from_ps >= to_ps) return;
  for (size_t c = column_of(t, from_ps); c < COLUMNS; c++) {
    uint64_t start_ps = column_start(t, c);
    uint64_t end_ps = column_start(t, c + 1);
    if (start_ps >= to_ps) return;
    uint64_t low_ps = from_ps > start_ps ? from_ps : start_ps;
    uint64_t high_ps = to_ps < end_ps ? to_ps : end_ps;
    t->busy_ps[row][c] += high_ps - low_ps;
  }
}

static bool is_work(const timeline *t, const ibx_sim_event *event) {
  const ibx_insn *insn = &t->entry->streams[event->issuer].insns[event->index];
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  return info && info->format != IBX_FORMAT_control;
}

static void on_event(void *user, const ibx_sim_event *event) {
  timeline *t = user;
  if (!is_work(t, event)) return;
  if (event->agent >= IBX_ENGINE_COUNT) {
    fill(t, IBX_ENGINE_COUNT, event->start_ps, event->end_ps);
    return;
  }
  // A load that hides behind a moving tensor adds nothing.
  uint64_t *drawn_ps = &t->drawn_ps[event->agent];
  uint64_t from_ps = event->start_ps > *drawn_ps ? event->start_ps : *drawn_ps;
  fill(t, event->agent, from_ps, event->end_ps);
  if (event->end_ps > *drawn_ps) *drawn_ps = event->end_ps;
}

// Any work at all shows; only a full cell shows as full.
static char level(uint64_t busy_ps, uint64_t whole_ps) {
  const uint64_t top = sizeof(levels) - 2;
  if (busy_ps == 0 || whole_ps == 0) return levels[0];
  if (busy_ps >= whole_ps) return levels[top];
  return levels[1 + busy_ps * (top - 1) / whole_ps];
}

static void draw_row(const timeline *t, size_t row, const char *name,
                     uint64_t lanes, FILE *out) {
  uint64_t busy_ps = 0;
  fprintf(out, "%-7s |", name);
  for (size_t c = 0; c < COLUMNS; c++) {
    uint64_t width_ps = column_start(t, c + 1) - column_start(t, c);
    fputc(level(t->busy_ps[row][c], width_ps * lanes), out);
    busy_ps += t->busy_ps[row][c];
  }
  double whole = (double)t->total_ps * (double)lanes;
  fprintf(out, "| %5.1f %%\n",
          whole > 0 ? 100.0 * (double)busy_ps / whole : 0.0);
}

static void draw_axis(const timeline *t, FILE *out) {
  char end[32];
  int len = snprintf(end, sizeof(end), "%.1f us", (double)t->total_ps / 1e6);
  fprintf(out, "%-7s  0%*s%s\n", "", COLUMNS - 1 - len, "", end);
}

ibx_status ibx_timeline_draw(const ibx_program_data *program,
                             const ibx_entry *entry,
                             const ibx_sim_time_options *options,
                             uint64_t total_ps, FILE *out, ibx_error *err) {
  timeline t = {.entry = entry, .total_ps = total_ps};
  ibx_sim_time_options drawn = *options;
  drawn.on_event = on_event;
  drawn.user = &t;
  ibx_sim_time time;
  IBX_TRY(ibx_sim_time_entry_with(program, entry, &drawn, &time, err));
  draw_axis(&t, out);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    draw_row(&t, e, ibx_engine_name((ibx_engine)e), 1, out);
  }
  draw_row(&t, IBX_ENGINE_COUNT, "dma", program->machine->dma_engines, out);
  fprintf(out,
          "%-7s  busy share of a cell: idle '%c' to all of it '%c', "
          "in between %.*s\n",
          "", levels[0], levels[sizeof(levels) - 2], (int)sizeof(levels) - 3,
          levels + 1);
  return IBX_OK;
}
