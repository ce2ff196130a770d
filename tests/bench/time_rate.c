// SPDX-License-Identifier: Apache-2.0
//
// How many instructions the time simulator gets through in a second, on one
// core. In: program files. Out, for each entry: the rate of the first call, in
// which memory is new; of plan and run, as ibx_sim_time_entry() does both on
// every call; and of the run alone. The last two are the best of all rounds.
// Not a test: it has no limit.

#include "imbrex/program.h"
#include "sim/timing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const double round_seconds = 0.05;

typedef struct rates {
  double plan_s, run_s, first_s; ///< shortest plan and run; the first of both
  ibx_sim_time time;
} rates;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double shorter(double a, double b) { return a < b ? a : b; }

// Plans and runs the entry once more.
static ibx_status measure_once(const ibx_program_data *program,
                               const ibx_entry *entry, ibx_timer *timer,
                               rates *r, ibx_error *err) {
  ibx_sim_time_options options = {0};
  double start = now();
  ibx_status status = ibx_timer_init(timer, program, entry, &options, err);
  double planned = now();
  if (status == IBX_OK) status = ibx_timer_run(timer, &r->time, err);
  double end = now();
  ibx_timer_fini(timer);
  if (r->first_s == 0) {
    *r = (rates){planned - start, end - planned, end - start, r->time};
  }
  r->plan_s = shorter(r->plan_s, planned - start);
  r->run_s = shorter(r->run_s, end - planned);
  return status;
}

static ibx_status measure_entry(const ibx_program_data *program,
                                const ibx_entry *entry, ibx_timer *timer,
                                size_t rounds, ibx_error *err) {
  rates r = {0};
  for (size_t i = 0; i < rounds; i++) {
    double start = now();
    do {
      IBX_TRY(measure_once(program, entry, timer, &r, err));
    } while (now() - start < round_seconds);
  }
  double millions = 1e-6 * (double)r.time.instructions;
  printf("%s, entry %s: %" PRIu64 " instructions\n", program->model,
         entry->name, r.time.instructions);
  printf("  first call         %8.3f ms, %6.2f M/s\n", 1e3 * r.first_s,
         millions / r.first_s);
  printf("  plan and run       %8.3f ms, %6.2f M/s\n",
         1e3 * (r.plan_s + r.run_s), millions / (r.plan_s + r.run_s));
  printf("  run alone          %8.3f ms, %6.2f M/s\n", 1e3 * r.run_s,
         millions / r.run_s);
  return IBX_OK;
}

static ibx_status measure_file(const char *path, ibx_timer *timer,
                               size_t rounds, ibx_error *err) {
  ibx_program *program = NULL;
  IBX_TRY(ibx_program_open_file(path, &program, err));
  const ibx_program_data *data = ibx_program_get(program);
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < data->entry_count && status == IBX_OK; i++) {
    status = measure_entry(data, &data->entries[i], timer, rounds, err);
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
  ibx_timer *timer = malloc(sizeof(*timer));
  int exit_code = timer ? 0 : 4;
  for (int i = first; i < argc && exit_code == 0; i++) {
    ibx_error err = {0};
    if (measure_file(argv[i], timer, rounds, &err) == IBX_OK) continue;
    fprintf(stderr, "%s: %s\n", argv[i], err.message);
    exit_code = 1;
  }
  free(timer);
  return exit_code;
}
