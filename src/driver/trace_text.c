// SPDX-License-Identifier: Apache-2.0
//
// The records of Chrome's trace format, one a line. In: slices, arrows and
// counters, in any order. Out: one JSON object; its times are microseconds, of
// which the sixth decimal is a picosecond.
//
// Perfetto keeps whole nanoseconds, cut from a double. Where it then finds that
// a slice reaches into the next one of its track it drops that one, and an
// arrow belongs to the slice that it finds at the arrow's time. Hence
//
//   points in time have a seventh decimal, 5: a whole nanosecond that a double
//   holds a little too small would be cut to the one before
//   arrows begin and end inside of their slices, not on the edge

#include "driver/json_text.h"
#include "driver/trace_parts.h"

#include <inttypes.h>

static void write_time(FILE *out, const char *key, uint64_t time_ps) {
  fprintf(out, ",\"%s\":%" PRIu64 ".%06" PRIu64, key, time_ps / 1000000,
          time_ps % 1000000);
}

static void write_point(FILE *out, uint64_t time_ps) {
  write_time(out, "ts", time_ps);
  fputc('5', out);
}

static void open_record(ibx_trace_text *text, char phase, uint32_t process) {
  fprintf(text->out, "%s{\"ph\":\"%c\",\"pid\":%" PRIu32,
          text->records++ == 0 ? "\n" : ",\n", phase, process);
}

void ibx_trace_text_open(ibx_trace_text *text, const ibx_program_data *program,
                         const ibx_entry *entry, const ibx_sim_time *time) {
  FILE *out = text->out;
  fputs("{\"displayTimeUnit\":\"ns\",\n\"otherData\":{\"producer\":\"imbrex\","
        "\"model\":",
        out);
  ibx_json_text_write(out, program->model);
  fputs(",\"entry\":", out);
  ibx_json_text_write(out, entry->name);
  fputs(",\"target\":", out);
  ibx_json_text_write(out, program->machine->name);
  write_time(out, "total_us", time->total_ps);
  fprintf(out,
          ",\"instructions\":%" PRIu64 ",\"dma_count\":%" PRIu64
          ",\"sbuf_bytes\":%" PRIu32 ",\"psum_banks\":%d},\n\"traceEvents\":[",
          time->instructions, time->dma_count, program->machine->sbuf_bytes,
          IBX_PSUM_BANKS);
}

void ibx_trace_text_close(ibx_trace_text *text) { fputs("\n]}\n", text->out); }

void ibx_trace_text_name(ibx_trace_text *text, uint32_t process,
                         uint32_t thread, const char *name) {
  const char *what = thread == 0 ? "process" : "thread";
  uint32_t order = thread == 0 ? process : thread;
  open_record(text, 'M', process);
  fprintf(text->out,
          ",\"tid\":%" PRIu32 ",\"name\":\"%s_name\",\"args\":{\"name\":",
          thread, what);
  ibx_json_text_write(text->out, name);
  fputs("}}", text->out);
  open_record(text, 'M', process);
  fprintf(text->out,
          ",\"tid\":%" PRIu32 ",\"name\":\"%s_sort_index\",\"args\":{"
          "\"sort_index\":%" PRIu32 "}}",
          thread, what, order);
}

void ibx_trace_text_slice(ibx_trace_text *text, const ibx_trace_slice *slice) {
  open_record(text, 'X', slice->process);
  fprintf(text->out, ",\"tid\":%" PRIu32, slice->thread);
  write_point(text->out, slice->start_ps);
  write_time(text->out, "dur", slice->end_ps - slice->start_ps);
  fputc(',', text->out);
}

// Two nanoseconds, or half of a slice that is shorter than four.
static uint64_t margin_ps(const ibx_trace_slice *slice) {
  uint64_t half_ps = (slice->end_ps - slice->start_ps) / 2;
  return half_ps < 2000 ? half_ps : 2000;
}

static void write_end(ibx_trace_text *text, char phase,
                      const ibx_trace_slice *slice, uint64_t time_ps,
                      unsigned semaphore, int64_t value) {
  open_record(text, phase, slice->process);
  fprintf(text->out, ",\"tid\":%" PRIu32 "%s", slice->thread,
          phase == 'f' ? ",\"bp\":\"e\"" : "");
  write_point(text->out, time_ps);
  fprintf(text->out,
          ",\"id\":%" PRIu64 ",\"name\":\"s%u\",\"cat\":\"semaphore\","
          "\"args\":{\"value\":%" PRId64 "}}",
          text->arrows, semaphore, value);
}

void ibx_trace_text_arrow(ibx_trace_text *text, const ibx_trace_slice *from,
                          const ibx_trace_slice *to, unsigned semaphore,
                          int64_t value) {
  text->arrows++;
  write_end(text, 's', from, from->end_ps - margin_ps(from), semaphore, value);
  write_end(text, 'f', to, to->start_ps + margin_ps(to), semaphore, value);
}

void ibx_trace_text_counter(ibx_trace_text *text, ibx_trace_process process,
                            const char *name, const char *unit,
                            uint64_t time_ps, uint64_t value) {
  open_record(text, 'C', process);
  write_point(text->out, time_ps);
  fprintf(text->out, ",\"name\":\"%s\",\"args\":{\"%s\":%" PRIu64 "}}", name,
          unit, value);
}
