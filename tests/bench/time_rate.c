// SPDX-License-Identifier: Apache-2.0
//
// How many instructions the time simulator gets through in a second. In:
// program files. Out: for each entry the instructions that it executes, and two
// rates, each the best of several rounds on one core: of the simulation with
// its plan, which ibx_sim_time_entry() makes on every call, and of what is left
// when the time of the plan alone is taken off. Not a test: it has no limit.

#include "imbrex/program.h"
#include "sim/timing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double round_seconds = 0.05;

typedef struct work {
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_sim_time time;
} work;

typedef ibx_status (*work_fn)(work *w, ibx_error *err);

static ibx_status simulate(work *w, ibx_error *err) {
  return ibx_sim_time_entry(w->program, w->entry, NULL, NULL, &w->time, err);
}

static ibx_status plan(work *w, ibx_error *err) {
  ibx_timing_plan made;
  ibx_status status =
      ibx_timing_plan_init(w->program->machine, w->entry, &made, err);
  ibx_timing_plan_fini(&made);
  return status;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// The shortest of all calls in `rounds` rounds, in seconds.
static ibx_status shortest(work *w, work_fn call, size_t rounds, double *out,
                           ibx_error *err) {
  *out = 1e30;
  for (size_t i = 0; i < rounds; i++) {
    for (double start = now(), at = start; at - start < round_seconds;) {
      IBX_TRY(call(w, err));
      double end = now();
      if (end - at < *out) *out = end - at;
      at = end;
    }
  }
  return IBX_OK;
}

static ibx_status measure_entry(work *w, size_t rounds, ibx_error *err) {
  double whole, planning;
  IBX_TRY(shortest(w, simulate, rounds, &whole, err));
  IBX_TRY(shortest(w, plan, rounds, &planning, err));
  double count = (double)w->time.instructions;
  printf("%-24s %-12s %10" PRIu64 " instructions  %8.3f ms, %8.3f of them the "
         "plan  %6.2f M/s with it, %6.2f without\n",
         w->program->model, w->entry->name, w->time.instructions, 1e3 * whole,
         1e3 * planning, 1e-6 * count / whole,
         1e-6 * count / (whole - planning));
  return IBX_OK;
}

static ibx_status measure_file(const char *path, size_t rounds,
                               ibx_error *err) {
  ibx_program *program = NULL;
  IBX_TRY(ibx_program_open_file(path, &program, err));
  const ibx_program_data *data = ibx_program_get(program);
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < data->entry_count && status == IBX_OK; i++) {
    work w = {.program = data, .entry = &data->entries[i]};
    status = measure_entry(&w, rounds, err);
  }
  ibx_program_close(program);
  return status;
}

int main(int argc, char **argv) {
  size_t rounds = 10;
  int first = 1;
  if (argc > 2 && strcmp(argv[1], "--rounds") == 0) {
    rounds = strtoul(argv[2], NULL, 10);
    first = 3;
  }
  if (first >= argc || rounds == 0) {
    fprintf(stderr, "usage: time_rate [--rounds N] PROGRAM.ibx...\n");
    return 2;
  }
  for (int i = first; i < argc; i++) {
    ibx_error err = {0};
    if (measure_file(argv[i], rounds, &err) != IBX_OK) {
      fprintf(stderr, "%s: %s\n", argv[i], err.message);
      return 1;
    }
  }
  return 0;
}
