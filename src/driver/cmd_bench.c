// SPDX-License-Identifier: Apache-2.0
//
// imbrex bench: the simulated time of a program or model against its bounds,
// who was busy, what moved, and the budgets that the user set. The keys of the
// JSON are those of docs; they never change their meaning.

#include "driver/driver.h"
#include "driver/extents.h"
#include "driver/timeline.h"
#include "driver/wall.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

#include <jansson.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct bench_args {
  ibx_compile_args compile;
  const char *entry, *baseline;
  bool json, timeline, wall;
  double max_regress; ///< per cent
  double max_time_us; ///< negative: no budget
  uint64_t max_hbm, max_host_segments;
  ibx_option_list extents;
} bench_args;

/// Everything that is reported of one entry.
typedef struct figures {
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_extent_list extents;
  ibx_sim_time time;
  ibx_proof proof;
  double wall_us; ///< negative: not measured
} figures;

static double to_us(uint64_t ps) { return (double)ps / 1e6; }

static double share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0.0 : (double)part / (double)whole;
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t bound_ps(const figures *f) {
  return larger(f->entry->bounds.tensor_ps, f->entry->bounds.hbm_ps);
}

static uint64_t hbm_bytes(const figures *f) {
  return f->time.hbm_read_bytes + f->time.hbm_write_bytes;
}

static const char *bound_name(const figures *f) {
  const ibx_bounds *bounds = &f->entry->bounds;
  return bounds->tensor_ps >= bounds->hbm_ps ? "tensor" : "hbm";
}

// Part `index` of what runs on the device: the entry, or one of its segments;
// NULL past the last.
static const ibx_entry *device_part(const figures *f, size_t index) {
  const ibx_steps *steps = f->entry->steps;
  if (!steps) return index == 0 ? f->entry : NULL;
  for (size_t i = 0; i < steps->step_count; i++) {
    if (steps->steps[i].call || index-- != 0) continue;
    return &f->program->entries[steps->steps[i].segment];
  }
  return NULL;
}

static bool has_loops(const figures *f) {
  const ibx_steps *steps = f->entry->steps;
  for (size_t i = 0; steps && i < steps->step_count; i++) {
    const ibx_step *step = &steps->steps[i];
    if (step->call && ibx_host_call_find(step->call)->flow) return true;
  }
  return false;
}

static size_t count_calls(const figures *f) {
  size_t count = 0;
  for (size_t p = 0; device_part(f, p); p++) {
    const ibx_stream *stream = &device_part(f, p)->streams[IBX_ENGINE_GPSIMD];
    for (size_t i = 0; i < stream->count; i++)
      count += ibx_insn_is_call(stream->insns[i].opcode);
  }
  return count;
}

// --- JSON -----------------------------------------------------------------------

static json_t *ratio_json(uint64_t part, uint64_t whole) {
  return whole == 0 ? json_null() : json_real(share(part, whole));
}

static json_t *engines_json(const figures *f) {
  json_t *engines = json_object();
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    json_object_set_new(engines, ibx_engine_name((ibx_engine)e),
                        json_real(to_us(f->time.busy_ps[e])));
  }
  json_object_set_new(engines, "dma", json_real(to_us(f->time.dma_busy_ps)));
  return engines;
}

static void add_times(json_t *root, const figures *f) {
  const ibx_bounds *bounds = &f->entry->bounds;
  const struct {
    const char *key;
    uint64_t ps;
  } rows[] = {{"simulated_us", f->time.total_ps},
              {"bound_us", bound_ps(f)},
              {"tensor_bound_us", bounds->tensor_ps},
              {"hbm_bound_us", bounds->hbm_ps},
              {"engine_bound_us", bounds->engine_ps},
              {"dma_active_us", f->time.dma_active_ps}};
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    json_object_set_new(root, rows[i].key, json_real(to_us(rows[i].ps)));
  }
  // The simulator has no host to launch from.
  json_object_set_new(root, "launch_us", json_real(0.0));
  json_object_set_new(root, "bound_by", json_string(bound_name(f)));
  json_object_set_new(root, "ratio", ratio_json(f->time.total_ps, bound_ps(f)));
  json_object_set_new(
      root, "engine_ratio",
      ratio_json(f->time.total_ps, larger(bound_ps(f), bounds->engine_ps)));
  if (f->wall_us >= 0) {
    json_object_set_new(root, "wall_us", json_real(f->wall_us));
  }
}

static void add_counts(json_t *root, const figures *f) {
  const struct {
    const char *key;
    uint64_t value;
  } rows[] = {{"hbm_read_bytes", f->time.hbm_read_bytes},
              {"hbm_write_bytes", f->time.hbm_write_bytes},
              {"fetch_bytes", f->time.fetch_bytes},
              {"hbm_min_bytes", f->entry->bounds.hbm_min_bytes},
              {"flops", f->entry->bounds.flops},
              {"instructions", f->time.instructions},
              {"dma_count", f->time.dma_count},
              {"program_bytes", f->program->code_bytes},
              {"weight_bytes", f->program->weights.size},
              {"sbuf_peak_bytes", f->proof.sbuf_peak_bytes},
              {"psum_peak_banks", f->proof.psum_peak_banks}};
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    json_object_set_new(root, rows[i].key,
                        json_integer((json_int_t)rows[i].value));
  }
}

static json_t *extents_json(const figures *f) {
  json_t *extents = json_object();
  for (size_t i = 0; i < f->extents.count; i++) {
    json_object_set_new(extents, f->extents.items[i].name,
                        json_integer(f->extents.items[i].value));
  }
  return extents;
}

// Library calls as the stream has them, each with the time of one execution.
static void add_calls(const figures *f, const ibx_entry *entry, json_t *calls) {
  const ibx_stream *stream = &entry->streams[IBX_ENGINE_GPSIMD];
  for (size_t i = 0; i < stream->count; i++) {
    if (!ibx_insn_is_call(stream->insns[i].opcode)) continue;
    uint32_t at = stream->nodes ? stream->nodes[i] : IBX_NO_NODE;
    bool has_node = at < f->program->node_count;
    const ibx_node_decl *node = has_node ? &f->program->nodes[at] : NULL;
    json_array_append_new(
        calls,
        json_pack("{s:s, s:s, s:s, s:f}", "op", node ? node->op : "", "node",
                  node ? node->name : "", "kernel",
                  ibx_call_name(stream->insns[i].op[0]), "us",
                  to_us(ibx_library_call_ps(f->program->machine, entry->buffers,
                                            &stream->insns[i]))));
  }
}

static json_t *calls_json(const figures *f) {
  json_t *calls = json_array();
  for (size_t p = 0; device_part(f, p); p++)
    add_calls(f, device_part(f, p), calls);
  return calls;
}

// Each run of steps on the host, by its first call. The simulator has no host:
// what it takes there is not known.
static json_t *host_json(const figures *f) {
  json_t *segments = json_array();
  const ibx_steps *steps = f->entry->steps;
  for (size_t i = 0; steps && i < steps->step_count; i++) {
    const ibx_step *step = &steps->steps[i];
    if (!step->call || (i > 0 && steps->steps[i - 1].call)) continue;
    json_int_t calls = 0;
    while (i + (size_t)calls < steps->step_count &&
           steps->steps[i + (size_t)calls].call)
      calls++;
    bool has_node = step->node < f->program->node_count;
    const ibx_node_decl *node =
        has_node ? &f->program->nodes[step->node] : NULL;
    json_array_append_new(segments,
                          json_pack("{s:s, s:s, s:s, s:I, s:n}", "op",
                                    node ? node->op : "", "node",
                                    node ? node->name : "", "call", step->call,
                                    "calls", calls, "us"));
  }
  return segments;
}

static json_t *figures_json(const figures *f) {
  json_t *root = json_object();
  json_object_set_new(root, "model", json_string(f->program->model));
  json_object_set_new(root, "target", json_string(f->program->machine->name));
  json_object_set_new(root, "entry", json_string(f->entry->name));
  json_object_set_new(root, "cores", json_integer(ibx_entry_cores(f->entry)));
  json_object_set_new(root, "extents", extents_json(f));
  add_times(root, f);
  json_object_set_new(root, "engines", engines_json(f));
  add_counts(root, f);
  json_object_set_new(root, "host_segments", host_json(f));
  json_object_set_new(root, "gpsimd_calls", calls_json(f));
  return root;
}

// --- text -----------------------------------------------------------------------

static void print_bounds(const figures *f) {
  const ibx_bounds *bounds = &f->entry->bounds;
  uint64_t hardest = larger(bound_ps(f), bounds->engine_ps);
  if (bound_ps(f) == 0) {
    printf("bound      none declared\n");
    return;
  }
  printf("bound      %.1f us by %s (tensor %.1f, HBM %.1f, engines %.1f)\n",
         to_us(bound_ps(f)), bound_name(f), to_us(bounds->tensor_ps),
         to_us(bounds->hbm_ps), to_us(bounds->engine_ps));
  printf("ratio      %.2f of the bound, %.2f of the hardest engine's\n",
         share(f->time.total_ps, bound_ps(f)),
         share(f->time.total_ps, hardest));
}

static void print_engines(const figures *f) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    printf("%-10s busy %.1f us, %.1f %%\n", ibx_engine_name((ibx_engine)e),
           to_us(f->time.busy_ps[e]),
           100.0 * share(f->time.busy_ps[e], f->time.total_ps));
  }
  printf("dma        busy %.1f us, %.1f %% of %u engines; in flight %.1f %%\n",
         to_us(f->time.dma_busy_ps),
         100.0 * share(f->time.dma_busy_ps, f->time.total_ps),
         f->program->machine->dma_engines,
         100.0 * share(f->time.dma_active_ps, f->time.total_ps));
}

static void print_traffic(const figures *f) {
  printf("HBM        read %.3f MB, written %.3f MB",
         (double)f->time.hbm_read_bytes / 1e6,
         (double)f->time.hbm_write_bytes / 1e6);
  uint64_t least = f->entry->bounds.hbm_min_bytes;
  if (least != 0) {
    printf(", %.2f of the least (%.3f MB)", share(hbm_bytes(f), least),
           (double)least / 1e6);
  }
  printf("\nfetched    %.3f MB of instructions and descriptors\n",
         (double)f->time.fetch_bytes / 1e6);
}

static void print_sizes(const figures *f) {
  const ibx_machine *machine = f->program->machine;
  printf("executed   %" PRIu64 " instructions, %" PRIu64 " DMAs\n",
         f->time.instructions, f->time.dma_count);
  printf("program    %" PRIu64 " bytes, weights %zu bytes\n",
         f->program->code_bytes, f->program->weights.size);
  printf("SBUF       at most %" PRIu64 " of %u bytes a partition; PSUM %u of "
         "%d banks\n",
         f->proof.sbuf_peak_bytes, machine->sbuf_bytes,
         f->proof.psum_peak_banks, IBX_PSUM_BANKS);
  size_t calls = count_calls(f);
  size_t segments = ibx_entry_host_segments(f->entry);
  if (segments == 0) {
    printf("host       no segments, ");
  } else {
    printf("host       %zu segment%s, whose time is not simulated, %s",
           segments, segments == 1 ? "" : "s",
           has_loops(f) ? "one trip of each loop, " : "");
  }
  if (calls == 0) printf("no");
  if (calls != 0) printf("%zu", calls);
  printf(" GpSimd library call%s\n", calls == 1 ? "" : "s");
  if (f->wall_us >= 0) printf("wall       %.1f us a run\n", f->wall_us);
}

static void print_figures(const figures *f) {
  printf("%s, entry %s, %s\n", f->program->model, f->entry->name,
         f->program->machine->name);
  if (f->entry->cores > 1) {
    printf("cores      %" PRIu32 " alike; all figures are of one\n",
           f->entry->cores);
  }
  for (size_t i = 0; i < f->extents.count; i++) {
    printf("extent     %s = %" PRIu32 "\n", f->extents.items[i].name,
           f->extents.items[i].value);
  }
  printf("simulated  %.1f us\n", to_us(f->time.total_ps));
  print_bounds(f);
  print_engines(f);
  print_traffic(f);
  print_sizes(f);
}

// --- budgets --------------------------------------------------------------------

static ibx_status check_baseline(const bench_args *args, const figures *f,
                                 ibx_error *err) {
  json_error_t problem;
  json_t *root = json_load_file(args->baseline, 0, &problem);
  if (!root) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "%s: no JSON of bench: %s",
                    args->baseline, problem.text);
  }
  json_t *time = json_object_get(root, "simulated_us");
  double before_us = json_number_value(time);
  bool is_number = json_is_number(time);
  json_decref(root);
  if (!is_number || before_us <= 0) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "%s: has no simulated_us; make it with bench --json",
                    args->baseline);
  }
  double now_us = to_us(f->time.total_ps);
  double grown = 100.0 * (now_us / before_us - 1.0);
  if (grown <= args->max_regress) return IBX_OK;
  return IBX_FAIL(err, BUDGET_EXCEEDED,
                  "simulated time is %.1f us, %.2f %% above the %.1f us of %s; "
                  "%.2f %% are allowed",
                  now_us, grown, before_us, args->baseline, args->max_regress);
}

static ibx_status check_budgets(const bench_args *args, const figures *f,
                                ibx_error *err) {
  double time_us = to_us(f->time.total_ps);
  if (args->max_time_us >= 0 && time_us > args->max_time_us) {
    return IBX_FAIL(err, BUDGET_EXCEEDED,
                    "simulated time is %.1f us, the budget %.1f us", time_us,
                    args->max_time_us);
  }
  if (hbm_bytes(f) > args->max_hbm) {
    return IBX_FAIL(err, BUDGET_EXCEEDED,
                    "%" PRIu64 " bytes of tensors move, the budget is %" PRIu64,
                    hbm_bytes(f), args->max_hbm);
  }
  uint64_t segments = ibx_entry_host_segments(f->entry);
  if (segments > args->max_host_segments) {
    return IBX_FAIL(err, BUDGET_EXCEEDED,
                    "%" PRIu64 " segments run on the host, the budget is "
                    "%" PRIu64,
                    segments, args->max_host_segments);
  }
  return args->baseline ? check_baseline(args, f, err) : IBX_OK;
}

// --- the command ----------------------------------------------------------------

static ibx_sim_time_options time_options(const figures *f) {
  return (ibx_sim_time_options){.extents = f->extents.items,
                                .extent_count = f->extents.count};
}

static ibx_status measure(const bench_args *args, const ibx_program *program,
                          figures *f, ibx_error *err) {
  f->program = ibx_program_get(program);
  f->wall_us = -1;
  IBX_TRY(ibx_driver_find_entry(program, args->entry, &f->entry, err));
  IBX_TRY(
      ibx_extent_list_prove(&f->extents, f->program, f->entry, &f->proof, err));
  ibx_sim_time_options options = time_options(f);
  IBX_TRY(
      ibx_sim_time_entry_with(f->program, f->entry, &options, &f->time, err));
  if (!args->wall) return IBX_OK;
  return ibx_wall_measure(f->program, f->entry, &f->wall_us, err);
}

static int report(const bench_args *args, const figures *f) {
  ibx_error err = {0};
  int exit_code = 0;
  if (args->json) {
    exit_code = ibx_driver_print_json(figures_json(f));
  } else {
    print_figures(f);
  }
  if (args->timeline) {
    printf("\n");
    ibx_sim_time_options options = time_options(f);
    ibx_status status = ibx_timeline_draw(f->program, f->entry, &options,
                                          f->time.total_ps, stdout, &err);
    if (status != IBX_OK) return ibx_driver_fail(&err);
  }
  if (exit_code != 0) return exit_code;
  return check_budgets(args, f, &err) == IBX_OK ? 0 : ibx_driver_fail(&err);
}

static int run_at(const bench_args *args, const char *path, figures *f) {
  ibx_error err = {0};
  ibx_loaded loaded;
  if (ibx_driver_open(path, &args->compile, &loaded, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  int exit_code = measure(args, loaded.program, f, &err) == IBX_OK
                      ? report(args, f)
                      : ibx_driver_fail(&err);
  ibx_loaded_fini(&loaded);
  return exit_code;
}

static int run(void *user, const char *path) {
  const bench_args *args = user;
  if (args->json && args->timeline) {
    return ibx_options_wrong("bench", "--timeline is text, --json is not; "
                                      "give one of them");
  }
  figures f = {0};
  int exit_code = ibx_extent_list_read("bench", &args->extents, &f.extents);
  if (exit_code == 0) exit_code = run_at(args, path, &f);
  ibx_extent_list_fini(&f.extents);
  return exit_code;
}

int ibx_cmd_bench(int argc, char **argv) {
  bench_args args = {.compile = IBX_COMPILE_ARGS_DEFAULT,
                     .max_time_us = -1,
                     .max_hbm = UINT64_MAX,
                     .max_host_segments = UINT64_MAX};
  const ibx_option rows[] = {
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL, "prints JSON"},
      {"timeline", 0, IBX_OPTION_FLAG, &args.timeline, NULL,
       "draws the engines over time"},
      {"wall", 0, IBX_OPTION_FLAG, &args.wall, NULL,
       "also runs the program and measures the simulator"},
      IBX_ENTRY_ROW(args.entry),
      IBX_EXTENT_ROW(args.extents),
      {"baseline", 0, IBX_OPTION_TEXT, &args.baseline, "FILE",
       "earlier JSON of bench to compare with"},
      {"max-regress", 0, IBX_OPTION_NUMBER, &args.max_regress, "PERCENT",
       "how much slower than the baseline is allowed (0)"},
      {"max-time-us", 0, IBX_OPTION_NUMBER, &args.max_time_us, "US",
       "budget of simulated time"},
      {"max-hbm", 0, IBX_OPTION_UINT, &args.max_hbm, "BYTES",
       "budget of tensor bytes moved from and to HBM"},
      {"max-host-segments", 0, IBX_OPTION_UINT, &args.max_host_segments, "N",
       "budget of host segments"},
      IBX_COMPILE_ARGS_ROWS(args.compile),
  };
  return ibx_options_run_on_file("bench", rows, IBX_COUNT_OF(rows), argc, argv,
                                 run, &args);
}
