// SPDX-License-Identifier: Apache-2.0
//
// imbrex compile: an ONNX model becomes a program file, or text of an earlier
// stage. Nothing appears at the output's name unless all of it compiled.

#include "driver/driver.h"
#include "driver/output.h"
#include "driver/progress.h"
#include "driver/review.h"

#include <jansson.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct compile_args {
  ibx_compile_args common;
  const char *output;
  int emit;
  const char *passes, *print_after, *stop_after;
  bool stats, json;
} compile_args;

// What the callbacks of the compiler fill.
typedef struct compile_job {
  json_t *diagnostics; ///< NULL: they are printed
  size_t errors;
  ibx_progress progress;
  json_t *passes;
  bool is_table; ///< passes go to standard error as they end
} compile_job;

static void on_diagnostic(void *user, const ibx_diagnostic *diagnostic) {
  compile_job *job = user;
  ibx_progress_end(&job->progress);
  job->errors += diagnostic->severity == IBX_SEVERITY_ERROR;
  if (job->diagnostics) {
    json_array_append_new(job->diagnostics, ibx_diagnostic_json(diagnostic));
  } else {
    ibx_driver_print_diagnostic(NULL, diagnostic);
  }
}

static bool on_progress(void *user, const char *step, double done) {
  ibx_progress_show(&((compile_job *)user)->progress, step, done);
  return true;
}

static void on_text(void *user, const char *text, size_t len) {
  ibx_progress_end(&((compile_job *)user)->progress);
  fwrite(text, 1, len, stderr);
}

static void on_pass(void *user, const ibx_pass_stats *pass) {
  compile_job *job = user;
  if (job->is_table) {
    fprintf(stderr, "  %-16s %8.3f s %9" PRIu64 " -> %" PRIu64 " ops\n",
            pass->name, pass->seconds, pass->ops_before, pass->ops_after);
  }
  json_array_append_new(job->passes,
                        json_pack("{s:s, s:f, s:I, s:I}", "name", pass->name,
                                  "s", pass->seconds, "ops_before",
                                  (json_int_t)pass->ops_before, "ops_after",
                                  (json_int_t)pass->ops_after));
}

// The most memory that this process ever held; 0 where the system does not
// tell.
static uint64_t peak_rss_bytes(void) {
  char line[256];
  unsigned long long kib = 0;
  FILE *file = fopen("/proc/self/status", "r");
  if (!file) return 0;
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "VmHWM: %llu kB", &kib) == 1) break;
  }
  fclose(file);
  return (uint64_t)kib * 1024;
}

// --- the name of the output, as compilers choose it ---------------------------

// folder/model.onnx gives model.ibx here; the caller frees it.
static char *default_output(const char *model, const compile_args *args) {
  static const char *const endings[] = {".ibx", ".mlir", ".s"};
  bool is_ir = args->passes || args->stop_after;
  const char *slash = strrchr(model, '/');
  const char *base = slash ? slash + 1 : model;
  const char *dot = strrchr(base, '.');
  size_t len = dot && dot != base ? (size_t)(dot - base) : strlen(base);
  char *name = malloc(len + sizeof ".mlir");
  if (!name) return NULL;
  memcpy(name, base, len);
  strcpy(name + len, endings[is_ir ? IBX_EMIT_MLIR : args->emit]);
  return name;
}

// --- reports ------------------------------------------------------------------

static void print_stats(const ibx_compile_stats *stats, double seconds) {
  fprintf(stderr,
          "  %-16s %8.3f s, %.1f MiB at most\n"
          "  %" PRIu64 " nodes, %" PRIu64 " on the host, %" PRIu64
          " groups, %" PRIu64 " bytes of program without weights\n",
          "all", seconds, (double)peak_rss_bytes() / (1 << 20), stats->nodes,
          stats->host_nodes, stats->fused_groups, stats->program_bytes);
}

static int print_json(compile_job *job, const ibx_compile_stats *stats,
                      double seconds, ibx_status status, const ibx_error *err) {
  json_t *root = json_pack(
      "{s:b, s:f, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "compiled",
      status == IBX_OK, "wall_s", seconds, "peak_rss_bytes",
      (json_int_t)peak_rss_bytes(), "passes", job->passes, "program_bytes",
      (json_int_t)stats->program_bytes, "nodes", (json_int_t)stats->nodes,
      "host_nodes", (json_int_t)stats->host_nodes, "host_segments",
      (json_int_t)stats->host_segments, "gpsimd_calls",
      (json_int_t)stats->gpsimd_calls, "fused_groups",
      (json_int_t)stats->fused_groups, "diagnostics", job->diagnostics);
  if (root && status != IBX_OK) {
    json_object_set_new(root, "error", json_string(err->message));
  }
  return ibx_driver_print_json(root);
}

// --- the work -----------------------------------------------------------------

typedef struct lazy_output {
  const char *path;
  ibx_output output;
  ibx_status status;
  ibx_error *err;
} lazy_output;

// The compiler writes when all is compiled: no file is touched before.
static bool write_output(void *user, const void *data, size_t size) {
  lazy_output *lazy = user;
  if (lazy->status == IBX_OK && !lazy->output.file) {
    lazy->status = ibx_output_open(lazy->path, &lazy->output, lazy->err);
  }
  return lazy->status == IBX_OK && ibx_output_write(&lazy->output, data, size);
}

static ibx_status finish_output(lazy_output *lazy, ibx_status status,
                                ibx_error *err) {
  if (lazy->status != IBX_OK) return lazy->status;
  if (!lazy->output.file) return status;
  if (status == IBX_OK) return ibx_output_commit(&lazy->output, err);
  ibx_output_discard(&lazy->output);
  return status;
}

static ibx_status compile(const char *model, const char *output,
                          const ibx_compile_options *options,
                          ibx_compile_stats *out_stats, ibx_error *err) {
  ibx_compiler *compiler = NULL;
  ibx_error open_err = {0};
  IBX_TRY(ibx_compiler_create(options, &compiler, err));
  lazy_output lazy = {.path = output, .err = &open_err};
  ibx_status status =
      ibx_compile_file(compiler, model, write_output, &lazy, err);
  if (lazy.status != IBX_OK) *err = open_err;
  status = finish_output(&lazy, status, err);
  *out_stats = ibx_compiler_stats(compiler);
  ibx_compiler_destroy(compiler);
  return status;
}

static void set_options(ibx_compile_options *options, const compile_args *args,
                        compile_job *job) {
  options->emit = (ibx_emit)args->emit;
  options->passes = args->passes;
  options->print_after = args->print_after;
  options->stop_after = args->stop_after;
  options->on_diagnostic = on_diagnostic;
  options->on_progress = on_progress;
  options->on_text = on_text;
  options->on_pass = on_pass;
  options->user = job;
}

// Where a diagnostic has told the reason, a second line would only repeat it.
static int report(compile_job *job, const compile_args *args,
                  const ibx_compile_stats *stats, double seconds,
                  ibx_status status, const ibx_error *err) {
  int exit_code = ibx_status_exit_code(status);
  if (args->json) {
    int printed = print_json(job, stats, seconds, status, err);
    return exit_code ? exit_code : printed;
  }
  json_decref(job->passes);
  if (status != IBX_OK) {
    return job->errors ? exit_code : ibx_driver_fail(err);
  }
  if (args->stats) print_stats(stats, seconds);
  return exit_code;
}

static int run(const char *model, const char *output,
               const compile_args *args) {
  double start = ibx_driver_seconds();
  compile_job job = {.diagnostics = args->json ? json_array() : NULL,
                     .passes = json_array(),
                     .is_table = args->stats && !args->json};
  ibx_compile_request request;
  ibx_compile_stats stats = {0};
  ibx_error err = {0};
  ibx_status status = ibx_compile_request_init(&args->common, &request, &err);
  if (status == IBX_OK) {
    set_options(&request.options, args, &job);
    status = compile(model, output, &request.options, &stats, &err);
    ibx_compile_request_fini(&request);
  }
  ibx_progress_end(&job.progress);
  return report(&job, args, &stats, ibx_driver_seconds() - start, status, &err);
}

static int compile_model(void *user, const char *model) {
  const compile_args *args = user;
  if (args->output) {
    if (args->json && strcmp(args->output, "-") == 0) {
      return ibx_options_wrong("compile",
                               "--json and -o - both want standard output");
    }
    return run(model, args->output, args);
  }
  char *output = default_output(model, args);
  if (!output) {
    ibx_error err = {0};
    (void)IBX_FAIL(&err, OUT_OF_MEMORY, "no memory");
    return ibx_driver_fail(&err);
  }
  int exit_code = run(model, output, args);
  free(output);
  return exit_code;
}

int ibx_cmd_compile(int argc, char **argv) {
  compile_args args = {.common = IBX_COMPILE_ARGS_DEFAULT};
  const ibx_option rows[] = {
      {"output", 'o', IBX_OPTION_TEXT, &args.output, "OUT.ibx",
       "file to write (the model's name with .ibx, here)"},
      IBX_COMPILE_ARGS_ROWS(args.common),
      {"emit", 0, IBX_OPTION_CHOICE, &args.emit, "program|mlir|asm",
       "what to write (program)"},
      {"passes", 0, IBX_OPTION_TEXT, &args.passes, "A,B",
       "runs these passes only and writes the IR after them"},
      {"print-after", 0, IBX_OPTION_TEXT, &args.print_after, "A,B",
       "prints the IR after these passes to standard error"},
      {"stop-after", 0, IBX_OPTION_TEXT, &args.stop_after, "PASS",
       "stops after this pass and writes the IR"},
      {"stats", 0, IBX_OPTION_FLAG, &args.stats, NULL,
       "time and memory, pass by pass"},
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL,
       "prints statistics and diagnostics as JSON"},
  };
  return ibx_options_run_on_file("compile", rows, IBX_COUNT_OF(rows), argc,
                                 argv, compile_model, &args);
}
