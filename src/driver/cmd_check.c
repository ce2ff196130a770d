// SPDX-License-Identifier: Apache-2.0
//
// imbrex check: everything that would stop or slow a model, at once, without
// making a program. In: a model and the options that shape its compilation.
// Out: the findings as text, JSON, SARIF (for code hosts) or JUnit (for build
// servers), and whether the model's bound keeps a budget.

#include "driver/driver.h"
#include "driver/review.h"

#include <inttypes.h>

typedef enum format { TEXT, JSON, SARIF, JUNIT } format;

// A failure that no diagnostic told: the file system, or a later pass.
static void add_failure(ibx_review *review, const ibx_error *err) {
  char code[64];
  snprintf(code, sizeof(code), "%s", ibx_status_name(err->status));
  ibx_review_add(review, &(ibx_diagnostic){.severity = IBX_SEVERITY_ERROR,
                                           .code = code,
                                           .node = "",
                                           .op = "",
                                           .domain = "",
                                           .attribute = "",
                                           .message = err->message,
                                           .remedy = ""});
}

static double bound_us(const ibx_bounds *bounds) {
  uint64_t ps =
      bounds->tensor_ps > bounds->hbm_ps ? bounds->tensor_ps : bounds->hbm_ps;
  return (double)ps / 1e6;
}

static ibx_status run_check(const char *path,
                            const ibx_compile_request *request,
                            ibx_review *review, ibx_error *err) {
  ibx_compile_options options = request->options;
  ibx_compiler *compiler = NULL;
  options.on_diagnostic = ibx_review_collect;
  options.user = review;
  IBX_TRY(ibx_compiler_create(&options, &compiler, err));
  ibx_status status = ibx_compiler_check_file(compiler, path, err);
  ibx_compile_stats stats = ibx_compiler_stats(compiler);
  review->bound_us = bound_us(&stats.bounds);
  review->host_segments = stats.host_segments;
  ibx_compiler_destroy(compiler);
  return status;
}

static int print(const ibx_review *review, format form) {
  switch (form) {
  case JSON: return ibx_review_print_json(review);
  case SARIF: return ibx_review_print_sarif(review);
  case JUNIT: return ibx_review_print_junit(review);
  case TEXT: break;
  }
  return ibx_review_print_text(review);
}

/// What the user allows.
typedef struct budgets {
  double max_time_us; ///< 0: any
  uint64_t max_host_segments;
} budgets;

static bool exceeds_time(const ibx_review *review, const budgets *limits) {
  return limits->max_time_us > 0 && review->bound_us > limits->max_time_us;
}

static bool exceeds_segments(const ibx_review *review, const budgets *limits) {
  return review->host_segments > limits->max_host_segments;
}

static void report_budgets(const ibx_review *review, const budgets *limits) {
  if (exceeds_time(review, limits)) {
    fprintf(stderr,
            "imbrex check: the bound of %.3f us exceeds the budget of "
            "%.3f us\n",
            review->bound_us, limits->max_time_us);
  }
  if (exceeds_segments(review, limits)) {
    fprintf(stderr,
            "imbrex check: %" PRIu64 " segments on the host exceed the budget "
            "of %" PRIu64 "\n",
            review->host_segments, limits->max_host_segments);
  }
}

// The findings decide between a model at fault and a fault of its own.
static int exit_code_of(const ibx_review *review, ibx_status status,
                        const budgets *limits) {
  if (status != IBX_OK) return ibx_status_exit_code(status);
  if (review->error_count != 0) return 1;
  bool exceeded =
      exceeds_time(review, limits) || exceeds_segments(review, limits);
  return exceeded ? ibx_status_exit_code(IBX_BUDGET_EXCEEDED) : 0;
}

static int check(const char *path, const ibx_compile_request *request,
                 format form, const budgets *limits) {
  ibx_error err = {0};
  ibx_review review = {.model = path};
  ibx_status status = run_check(path, request, &review, &err);
  bool told = review.error_count != 0;
  if (status != IBX_OK && ibx_status_exit_code(status) != 1) {
    ibx_review_fini(&review);
    return ibx_driver_fail(&err);
  }
  if (status != IBX_OK && !told) add_failure(&review, &err);
  report_budgets(&review, limits);
  int printed = print(&review, form);
  int exit_code = exit_code_of(&review, status, limits);
  ibx_review_fini(&review);
  return printed != 0 ? printed : exit_code;
}

int ibx_cmd_check(int argc, char **argv) {
  ibx_compile_args args = IBX_COMPILE_ARGS_DEFAULT;
  bool json = false;
  int form = TEXT;
  budgets limits = {.max_host_segments = UINT64_MAX};
  const ibx_option rows[] = {
      {"format", 0, IBX_OPTION_CHOICE, &form, "text|json|sarif|junit",
       "how to print what is found (text)"},
      {"json", 0, IBX_OPTION_FLAG, &json, NULL, "the same as --format json"},
      {"max-time-us", 0, IBX_OPTION_NUMBER, &limits.max_time_us, "US",
       "exit with 3 when the model's bound is longer"},
      {"max-host-segments", 0, IBX_OPTION_UINT, &limits.max_host_segments, "N",
       "exit with 3 when the device is left more often"},
      IBX_COMPILE_ARGS_ROWS(args),
  };
  ibx_options options = {.command = "check",
                         .rows = rows,
                         .row_count = IBX_COUNT_OF(rows),
                         .min_operands = 1,
                         .max_operands = 1};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  ibx_error err = {0};
  ibx_compile_request request = {0};
  if (ibx_compile_request_init(&args, &request, &err) != IBX_OK) {
    exit_code = ibx_driver_fail(&err);
  } else {
    exit_code = check(options.operands.items[0], &request,
                      json ? JSON : (format)form, &limits);
    ibx_compile_request_fini(&request);
  }
  ibx_options_fini(&options);
  return exit_code;
}
