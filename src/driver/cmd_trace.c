// SPDX-License-Identifier: Apache-2.0
//
// imbrex trace: the time simulation as a file for Perfetto or Chrome's trace
// viewer. Long runs are cut, and what was left out is told.

#include "driver/driver.h"
#include "driver/extents.h"
#include "driver/output.h"
#include "driver/trace.h"

#include <inttypes.h>
#include <string.h>

// 100 MB of text where they compute, 500 MB where they are DMAs in 16 pieces:
// about what the viewers can hold.
enum { INSTRUCTIONS = 250000 };

typedef struct trace_args {
  ibx_compile_args compile;
  const char *output, *entry;
  ibx_option_list extents;
  double from_us;
  uint64_t limit; ///< 0: none
} trace_args;

static void report_window(const trace_args *args,
                          const ibx_trace_summary *summary) {
  uint64_t all = summary->time.instructions;
  if (summary->written == all) return;
  fprintf(stderr,
          "imbrex: %s holds %" PRIu64 " of %" PRIu64
          " instructions, %.3f to %.3f of %.3f us; --from and --limit choose "
          "others\n",
          args->output, summary->written, all, args->from_us,
          (double)summary->to_ps / 1e6, (double)summary->time.total_ps / 1e6);
}

static ibx_status write_trace(const trace_args *args,
                              const ibx_extent_list *extents,
                              const ibx_program_data *program,
                              const ibx_entry *entry, ibx_error *err) {
  ibx_trace_window window = {.from_ps = (uint64_t)(args->from_us * 1e6),
                             .limit =
                                 args->limit == 0 ? UINT64_MAX : args->limit,
                             .extents = extents->items,
                             .extent_count = extents->count};
  ibx_trace_summary summary;
  ibx_output output;
  // What no proof bounds could wait for ever, or signal without an end.
  IBX_TRY(ibx_extent_list_prove(extents, program, entry, NULL, err));
  IBX_TRY(ibx_output_open(args->output, &output, err));
  ibx_status status =
      ibx_trace_write(program, entry, &window, output.file, &summary, err);
  if (status != IBX_OK) {
    ibx_output_discard(&output);
    return status;
  }
  IBX_TRY(ibx_output_commit(&output, err));
  report_window(args, &summary);
  return IBX_OK;
}

static ibx_status trace(const trace_args *args, const ibx_extent_list *extents,
                        const char *path, ibx_error *err) {
  ibx_loaded loaded;
  const ibx_entry *entry;
  IBX_TRY(ibx_driver_open(path, &args->compile, &loaded, err));
  ibx_status status =
      ibx_driver_find_entry(loaded.program, args->entry, &entry, err);
  if (status == IBX_OK) {
    status =
        write_trace(args, extents, ibx_program_get(loaded.program), entry, err);
  }
  ibx_loaded_fini(&loaded);
  return status;
}

static int run(void *user, const char *path) {
  const trace_args *args = user;
  // Picoseconds have 64 bits.
  bool is_time = args->from_us >= 0 && args->from_us < 1e12;
  if (!args->output) {
    return ibx_options_wrong("trace", "missing option -o FILE.json");
  }
  if (!is_time) {
    return ibx_options_wrong("trace", "--from: no time of a run: %g us",
                             args->from_us);
  }
  ibx_error err = {0};
  ibx_extent_list extents = {0};
  int exit_code = ibx_extent_list_read("trace", &args->extents, &extents);
  if (exit_code == 0 && trace(args, &extents, path, &err) != IBX_OK) {
    exit_code = ibx_driver_fail(&err);
  }
  ibx_extent_list_fini(&extents);
  return exit_code;
}

int ibx_cmd_trace(int argc, char **argv) {
  trace_args args = {.compile = IBX_COMPILE_ARGS_DEFAULT,
                     .limit = INSTRUCTIONS};
  const ibx_option rows[] = {
      {"output", 'o', IBX_OPTION_TEXT, &args.output, "FILE.json",
       "trace to write"},
      IBX_ENTRY_ROW(args.entry),
      IBX_EXTENT_ROW(args.extents),
      {"from", 0, IBX_OPTION_NUMBER, &args.from_us, "US",
       "leaves out instructions that start before this time (0)"},
      {"limit", 0, IBX_OPTION_UINT, &args.limit, "N",
       "writes at most N instructions, 0 writes all (250000)"},
      IBX_COMPILE_ARGS_ROWS(args.compile),
  };
  return ibx_options_run_on_file("trace", rows, IBX_COUNT_OF(rows), argc, argv,
                                 run, &args);
}
