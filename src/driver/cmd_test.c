// SPDX-License-Identifier: Apache-2.0
//
// imbrex test: runs folders in the ONNX backend layout and says which passed,
// failed, or were refused and why. A folder without a model stands for those
// below it, in the order of their names.

#include "driver/backend.h"
#include "driver/driver.h"
#include "driver/output.h"
#include "driver/xml_text.h"

#include <jansson.h>

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LEVELS = 8, MOST_JOBS = 256 };

typedef struct test_args {
  ibx_compile_args compile;
  ibx_tolerance tolerance;
  const char *junit;
  uint64_t jobs;
  bool json;
} test_args;

typedef struct test_report {
  json_t *cases;
  size_t counts[3]; ///< by ibx_case_result
} test_report;

/// The cases, and how far the workers are. What follows `lock` is its.
typedef struct test_suite {
  const test_args *args;
  const ibx_compile_request *request;
  test_report *report;
  char **folders; ///< owned
  size_t count;
  pthread_mutex_t lock;
  ibx_case *cases;
  bool *is_done;
  size_t next, reported; ///< cases are reported in their order
} test_suite;

// --- the cases ----------------------------------------------------------------

static void report_case(const char *folder, const ibx_case *done,
                        const test_args *args, test_report *report) {
  report->counts[done->result]++;
  const char *result = ibx_case_result_name(done->result);
  // JSON takes no broken UTF-8, no infinity: such a value is left out.
  json_t *row = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f}", "name", folder,
                          "result", result, "constants", done->constants,
                          "host_nodes", done->host_nodes, "gpsimd_calls",
                          done->gpsimd_calls, "seconds", done->seconds);
  json_object_set_new(row, "reason", json_string(done->reason));
  json_object_set_new(row, "worst_error", json_real(done->worst_error));
  json_array_append_new(report->cases, row);
  if (args->json) return;
  printf("%-8s%s", result, folder);
  if (done->result == IBX_CASE_PASS) {
    printf("  worst error %.2g%s%s", done->worst_error,
           done->constants[0] ? ", compiled for " : "", done->constants);
    if (done->host_nodes) printf(", %d on the host", done->host_nodes);
    if (done->gpsimd_calls) printf(", %d in the library", done->gpsimd_calls);
    printf("\n");
  } else {
    printf("\n        %s\n", done->reason);
  }
}

static void *run_cases(void *user) {
  test_suite *suite = user;
  pthread_mutex_lock(&suite->lock);
  while (suite->next < suite->count) {
    size_t at = suite->next++;
    pthread_mutex_unlock(&suite->lock);
    ibx_case done = ibx_case_run(suite->folders[at], suite->request,
                                 &suite->args->tolerance);
    pthread_mutex_lock(&suite->lock);
    suite->cases[at] = done;
    suite->is_done[at] = true;
    while (suite->reported < suite->count && suite->is_done[suite->reported]) {
      report_case(suite->folders[suite->reported],
                  &suite->cases[suite->reported], suite->args, suite->report);
      suite->reported++;
    }
  }
  pthread_mutex_unlock(&suite->lock);
  return NULL;
}

// Runs all cases, on as many threads as there are jobs and cases; the caller is
// one of them.
static ibx_status run_suite(test_suite *suite, ibx_error *err) {
  pthread_t threads[MOST_JOBS];
  size_t started = 0, jobs = suite->args->jobs;
  if (jobs > MOST_JOBS) jobs = MOST_JOBS;
  suite->cases = calloc(suite->count + 1, sizeof *suite->cases);
  suite->is_done = calloc(suite->count + 1, sizeof *suite->is_done);
  if (!suite->cases || !suite->is_done)
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu cases",
                    suite->count);
  while (started + 1 < jobs && started + 1 < suite->count &&
         pthread_create(&threads[started], NULL, run_cases, suite) == 0) {
    started++;
  }
  run_cases(suite);
  for (size_t i = 0; i < started; i++)
    pthread_join(threads[i], NULL);
  return IBX_OK;
}

static char *join(const char *folder, const char *name) {
  size_t size = strlen(folder) + strlen(name) + 2;
  char *path = malloc(size);
  if (path) snprintf(path, size, "%s/%s", folder, name);
  return path;
}

static int compare_names(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// Paths of what is in a folder, sorted; the caller frees them. `*out_count` is
// SIZE_MAX where the folder cannot be read or memory is short.
static char **list_folder(const char *folder, size_t *out_count) {
  DIR *stream = opendir(folder);
  struct dirent *item;
  char **paths = NULL;
  size_t count = 0;
  bool is_whole = stream != NULL;
  while (is_whole && (item = readdir(stream)) != NULL) {
    if (item->d_name[0] == '.') continue;
    char **grown = realloc(paths, (count + 1) * sizeof *paths);
    if (grown) paths = grown;
    char *path = grown ? join(folder, item->d_name) : NULL;
    is_whole = path != NULL;
    if (is_whole) paths[count++] = path;
  }
  if (stream) closedir(stream);
  if (count > 0) qsort(paths, count, sizeof *paths, compare_names);
  *out_count = is_whole ? count : SIZE_MAX;
  if (is_whole) return paths;
  for (size_t i = 0; i < count; i++) {
    free(paths[i]);
  }
  free(paths);
  return NULL;
}

static bool has_model(const char *folder) {
  char *path = join(folder, "model.onnx");
  bool found = path && access(path, F_OK) == 0;
  free(path);
  return found;
}

static ibx_status add_case(test_suite *suite, const char *folder,
                           ibx_error *err) {
  char **grown =
      realloc(suite->folders, (suite->count + 1) * sizeof *suite->folders);
  if (grown) suite->folders = grown;
  char *copy = grown ? strdup(folder) : NULL;
  if (!copy) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a folder");
  suite->folders[suite->count++] = copy;
  return IBX_OK;
}

static ibx_status find_cases(test_suite *suite, const char *folder, int level,
                             ibx_error *err) {
  if (has_model(folder)) return add_case(suite, folder, err);
  size_t count = 0;
  char **paths = list_folder(folder, &count);
  if (count == SIZE_MAX && level == 0) {
    return IBX_FAIL(err, NOT_FOUND, "%s: no folder that can be read", folder);
  }
  if (count == SIZE_MAX) return IBX_OK; // a file
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < count; i++) {
    if (status == IBX_OK && level < MOST_LEVELS)
      status = find_cases(suite, paths[i], level + 1, err);
    free(paths[i]);
  }
  free(paths);
  return status;
}

// --- reports ------------------------------------------------------------------

static const char *text_of(const json_t *row, const char *key) {
  const char *text = json_string_value(json_object_get(row, key));
  return text ? text : "";
}

static void write_case(FILE *file, const json_t *row) {
  const char *result = text_of(row, "result");
  fputs("  <testcase classname=\"imbrex\" name=\"", file);
  ibx_xml_text_write(file, text_of(row, "name"));
  fprintf(file, "\" time=\"%.3f\">",
          json_real_value(json_object_get(row, "seconds")));
  if (strcmp(result, "pass") != 0) {
    const char *kind = strcmp(result, "fail") == 0 ? "failure" : "skipped";
    fprintf(file, "<%s message=\"", kind);
    ibx_xml_text_write(file, text_of(row, "reason"));
    fputs("\"/>", file);
  }
  fputs("</testcase>\n", file);
}

static ibx_status write_junit(const char *path, const test_report *report,
                              ibx_error *err) {
  ibx_output output;
  size_t index;
  json_t *row;
  IBX_TRY(ibx_output_open(path, &output, err));
  fprintf(output.file,
          "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
          "<testsuite name=\"imbrex test\" tests=\"%zu\" failures=\"%zu\" "
          "skipped=\"%zu\">\n",
          json_array_size(report->cases), report->counts[IBX_CASE_FAIL],
          report->counts[IBX_CASE_REFUSED]);
  json_array_foreach(report->cases, index, row) {
    write_case(output.file, row);
  }
  fputs("</testsuite>\n", output.file);
  return ibx_output_commit(&output, err);
}

static int print_report(const test_args *args, test_report *report) {
  const size_t *counts = report->counts;
  if (!args->json) {
    printf("%zu passed, %zu failed, %zu refused\n", counts[IBX_CASE_PASS],
           counts[IBX_CASE_FAIL], counts[IBX_CASE_REFUSED]);
    return 0;
  }
  return ibx_driver_print_json(json_pack(
      "{s:I, s:I, s:I, s:O}", "passed", (json_int_t)counts[IBX_CASE_PASS],
      "failed", (json_int_t)counts[IBX_CASE_FAIL], "refused",
      (json_int_t)counts[IBX_CASE_REFUSED], "cases", report->cases));
}

// --- the command --------------------------------------------------------------

static void test_suite_fini(test_suite *suite) {
  for (size_t i = 0; i < suite->count; i++)
    free(suite->folders[i]);
  free(suite->folders);
  free(suite->cases);
  free(suite->is_done);
}

static int test_folders(const ibx_option_list *folders, const test_args *args) {
  ibx_error err = {0};
  ibx_compile_request request;
  test_report report = {.cases = json_array()};
  if (ibx_compile_request_init(&args->compile, &request, &err) != IBX_OK) {
    json_decref(report.cases);
    return ibx_driver_fail(&err);
  }
  test_suite suite = {.args = args,
                      .request = &request,
                      .report = &report,
                      .lock = PTHREAD_MUTEX_INITIALIZER};
  ibx_status status = IBX_OK;
  for (size_t i = 0; i < folders->count && status == IBX_OK; i++) {
    status = find_cases(&suite, folders->items[i], 0, &err);
  }
  if (status == IBX_OK && suite.count == 0) {
    status = IBX_FAIL(&err, NOT_FOUND, "no model.onnx in these folders");
  }
  if (status == IBX_OK) status = run_suite(&suite, &err);
  if (status == IBX_OK && args->junit) {
    status = write_junit(args->junit, &report, &err);
  }
  int exit_code =
      status == IBX_OK ? print_report(args, &report) : ibx_driver_fail(&err);
  if (exit_code == 0 && report.counts[IBX_CASE_FAIL] > 0) exit_code = 1;
  test_suite_fini(&suite);
  ibx_compile_request_fini(&request);
  json_decref(report.cases);
  return exit_code;
}

int ibx_cmd_test(int argc, char **argv) {
  test_args args = {.compile = IBX_COMPILE_ARGS_DEFAULT,
                    .jobs = 1,
                    .tolerance = {.rtol = 1e-3, .atol = 1e-7}};
  const ibx_option rows[] = {
      {"rtol", 0, IBX_OPTION_NUMBER, &args.tolerance.rtol, "X",
       "difference that is allowed, of the expected value (0.001)"},
      {"atol", 0, IBX_OPTION_NUMBER, &args.tolerance.atol, "X",
       "difference that is allowed on top of it (1e-7)"},
      {"jobs", 'j', IBX_OPTION_UINT, &args.jobs, "N",
       "cases that run at a time (1)"},
      {"junit", 0, IBX_OPTION_TEXT, &args.junit, "FILE",
       "writes a JUnit report"},
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL, "prints JSON"},
      IBX_COMPILE_ARGS_ROWS(args.compile),
  };
  ibx_options options = {.command = "test",
                         .rows = rows,
                         .row_count = IBX_COUNT_OF(rows),
                         .min_operands = 1,
                         .max_operands = SIZE_MAX};
  int exit_code = 0;
  if (!ibx_options_parse(&options, argc, argv, &exit_code)) return exit_code;
  exit_code = test_folders(&options.operands, &args);
  ibx_options_fini(&options);
  return exit_code;
}
