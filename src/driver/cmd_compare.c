// SPDX-License-Identifier: Apache-2.0
//
// imbrex compare: a compiled model against the reference kernels, node by node.
// In: a model, options of a compilation, inputs or a seed. Out: the values that
// differ most, the first one that differs by more than is allowed, and, where it
// is asked for, the smallest part of the model that still does.

#include "driver/compare.h"
#include "driver/driver.h"
#include "driver/input.h"
#include "driver/output.h"
#include "driver/reduce.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_ROWS = 5, PLACE_CHARS = 200 };

typedef struct arguments {
  ibx_compile_args compile;
  ibx_compare_setup setup;
  const char *reduce;
  bool all, json;
} arguments;

// --- the reduced model ---------------------------------------------------------

// FILE.input0.pb beside FILE. NULL where memory is short.
static char *input_path(const arguments *args, size_t index) {
  size_t size = strlen(args->reduce) + 40;
  char *path = malloc(size);
  if (path) snprintf(path, size, "%s.input%zu.pb", args->reduce, index);
  return path;
}

static ibx_status write_file(const char *path, ibx_span bytes, ibx_error *err) {
  ibx_output output;
  IBX_TRY(ibx_output_open(path, &output, err));
  if (ibx_output_write(&output, bytes.data, bytes.size)) {
    return ibx_output_commit(&output, err);
  }
  ibx_output_discard(&output);
  return IBX_FAIL(err, IO_ERROR, "%s cannot be written", path);
}

// The model comes last: where it is, all that it needs is.
static ibx_status write_reduced(const arguments *args,
                                const ibx_reduced *reduced, ibx_error *err) {
  for (size_t i = 0; i < reduced->input_count; i++) {
    char *path = input_path(args, i);
    if (!path) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a name");
    ibx_status status = write_file(path, reduced->input_files[i], err);
    free(path);
    IBX_TRY(status);
  }
  return write_file(args->reduce, reduced->model, err);
}

static ibx_status reduce(const arguments *args, const ibx_comparison *c,
                         ibx_reduced *out, ibx_error *err) {
  const ibx_compared *first = ibx_comparison_first(c);
  if (!args->reduce || !first) return IBX_OK;
  IBX_TRY(ibx_reduce_model(&args->setup, c, first, out, err));
  ibx_status status = write_reduced(args, out, err);
  if (status != IBX_OK) ibx_reduced_fini(out);
  return status;
}

static void print_reduced(const arguments *args, const ibx_reduced *reduced) {
  printf("%s: %zu node%s, which give%s '%s', found by %zu comparisons; with "
         "the options of this run it fails by\n  imbrex compare %s",
         args->reduce, reduced->nodes, reduced->nodes == 1 ? "" : "s",
         reduced->nodes == 1 ? "s" : "", reduced->target, reduced->attempts,
         args->reduce);
  for (size_t i = 0; i < reduced->input_count; i++) {
    char *path = input_path(args, i);
    printf(" --input %s=%s", reduced->input_names[i], path ? path : "");
    free(path);
  }
  printf(reduced->input_count == 0 && args->setup.inputs.seed != 0
             ? " --seed %llu\n"
             : "\n",
         (unsigned long long)args->setup.inputs.seed);
}

// --- text ----------------------------------------------------------------------

// "[0,3,1]": where the worst element is.
static void place_text(const ibx_compared *row, char text[PLACE_CHARS]) {
  uint64_t left = row->difference.at, at[IBX_MAX_RANK];
  size_t len = 0;
  for (size_t d = row->rank; d-- > 0;) {
    at[d] = left % row->shape[d];
    left /= row->shape[d];
  }
  text[len++] = '[';
  for (size_t d = 0; d < row->rank; d++) {
    len += (size_t)snprintf(text + len, PLACE_CHARS - len, "%s%llu",
                            d == 0 ? "" : ",", (unsigned long long)at[d]);
  }
  text[len++] = ']';
  text[len] = 0;
}

static void print_difference(const ibx_compared *row) {
  const ibx_difference *d = &row->difference;
  char place[PLACE_CHARS];
  if (d->share <= 0) {
    printf("equal");
    return;
  }
  place_text(row, place);
  if (row->dtype == IBX_DTYPE_STRING) {
    printf("another text at %s", place);
    return;
  }
  printf("%.3g", d->error);
  if (d->scale > 0 && isfinite(d->error)) {
    printf(" (%.2g of %.3g)", d->error / d->scale, d->scale);
  }
  printf(" at %s: %.9g instead of %.9g", place, d->got, d->want);
}

static void print_name(const ibx_compared *row) {
  char type[IBX_TYPE_CHARS];
  if (row->is_whole) {
    printf("output '%s'", row->value);
  } else {
    printf("%s (%s) '%s'", row->node, row->op, row->value);
  }
  if (row->reason[0] != 0 && row->rank == 0 && row->dtype == IBX_DTYPE_NONE) {
    return; // it was never made
  }
  ibx_array_type_text(row->dtype, row->shape, row->rank, type);
  printf(" %s", type);
}

static void print_row(const ibx_compared *row) {
  printf("  ");
  print_name(row);
  printf("  ");
  if (row->reason[0] != 0) {
    printf("not compared: %s\n", row->reason);
    return;
  }
  print_difference(row);
  printf(row->is_inherited ? ", as its operands do\n" : "\n");
}

static double badness(const ibx_compared *row) {
  return row->failed ? (double)INFINITY : row->difference.share;
}

// The worst first; those that are equally bad in their order.
static int by_badness(const void *a, const void *b) {
  const ibx_compared *left = *(ibx_compared *const *)a;
  const ibx_compared *right = *(ibx_compared *const *)b;
  if (badness(left) > badness(right)) return -1;
  if (badness(left) < badness(right)) return 1;
  return left < right ? -1 : 1;
}

static ibx_status print_rows(const arguments *args, const ibx_comparison *c,
                             ibx_error *err) {
  ibx_compared **order = calloc(c->row_count + 1, sizeof *order);
  if (!order) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the rows");
  for (size_t i = 0; i < c->row_count; i++)
    order[i] = &c->rows[i];
  if (!args->all) qsort(order, c->row_count, sizeof *order, by_badness);
  for (size_t i = 0; i < c->row_count; i++) {
    if (args->all || (i < SHOWN_ROWS && badness(order[i]) > 0)) {
      print_row(order[i]);
    }
  }
  free(order);
  return IBX_OK;
}

static void print_first(const ibx_compared *row) {
  const ibx_difference *d = &row->difference;
  printf(row->is_whole
             ? "no node is at fault by itself; in the whole program the first "
               "beyond tolerance is\n  "
             : "first beyond tolerance:\n  ");
  print_name(row);
  printf("\n  ");
  if (row->failed) {
    printf("%s\n", row->reason);
    return;
  }
  printf("%llu of %llu elements, the worst off by ", (unsigned long long)d->bad,
         (unsigned long long)d->count);
  print_difference(row);
  printf("\n  allowed: %g of the scale and %g\n", row->limits.rtol,
         row->limits.atol);
}

/// How many rows there are of each kind.
typedef struct counts {
  size_t values, outputs, bad_values, bad_outputs, skipped, inherited;
} counts;

static counts count_rows(const ibx_comparison *c) {
  counts n = {0};
  for (size_t i = 0; i < c->row_count; i++) {
    const ibx_compared *row = &c->rows[i];
    bool is_bad = ibx_compared_is_bad(row);
    n.values += !row->is_whole;
    n.outputs += row->is_whole;
    n.bad_values += !row->is_whole && is_bad;
    n.bad_outputs += row->is_whole && is_bad;
    n.inherited += row->is_inherited;
    n.skipped += !is_bad && row->reason[0] != 0;
  }
  return n;
}

static bool is_equal(const ibx_comparison *c) {
  for (size_t i = 0; i < c->row_count; i++) {
    if (badness(&c->rows[i]) > 0) return false;
  }
  return true;
}

static ibx_status print_text(const arguments *args, const ibx_comparison *c,
                             ibx_error *err) {
  counts n = count_rows(c);
  const ibx_compared *first = ibx_comparison_first(c);
  printf("%zu of %zu values and %zu of %zu outputs agree with the reference "
         "kernels",
         n.values - n.bad_values - n.skipped - n.inherited, n.values,
         n.outputs - n.bad_outputs, n.outputs);
  if (n.inherited != 0) {
    printf("; %zu differ as their operands do", n.inherited);
  }
  if (n.skipped != 0) printf("; %zu could not be compared", n.skipped);
  printf(args->all     ? "; all of them:\n"
         : is_equal(c) ? ", to the last bit\n"
                       : "; the worst:\n");
  IBX_TRY(print_rows(args, c, err));
  if (first) print_first(first);
  return IBX_OK;
}

// --- JSON ----------------------------------------------------------------------

// JSON has neither infinity nor NaN: such a key is left out.
static void add_number(json_t *object, const char *key, double number) {
  if (!isfinite(number)) return;
  json_object_set_new(object, key, json_real(number));
}

static json_t *row_json(const ibx_compared *row) {
  const ibx_difference *d = &row->difference;
  json_t *shape = json_array();
  for (size_t i = 0; i < row->rank; i++)
    json_array_append_new(shape, json_integer((json_int_t)row->shape[i]));
  json_t *out = json_pack(
      "{s:s, s:s, s:s, s:b, s:s, s:o, s:b, s:b, s:I, s:I, s:I, s:s}", "value",
      row->value, "node", row->node, "op", row->op, "whole", row->is_whole,
      "dtype", ibx_dtype_get(row->dtype)->name, "shape", shape, "agrees",
      !ibx_compared_is_bad(row), "inherited", row->is_inherited, "elements",
      (json_int_t)d->count, "bad", (json_int_t)d->bad, "at", (json_int_t)d->at,
      "reason", row->reason);
  if (!out) return NULL;
  add_number(out, "error", d->error);
  add_number(out, "scale", d->scale);
  add_number(out, "got", d->got);
  add_number(out, "want", d->want);
  add_number(out, "rtol", row->limits.rtol);
  add_number(out, "atol", row->limits.atol);
  return out;
}

static json_t *reduced_json(const arguments *args, const ibx_reduced *reduced) {
  if (!reduced->model.data) return json_null();
  json_t *inputs = json_object();
  for (size_t i = 0; i < reduced->input_count; i++) {
    char *path = input_path(args, i);
    json_object_set_new(inputs, reduced->input_names[i],
                        json_string(path ? path : ""));
    free(path);
  }
  return json_pack("{s:s, s:s, s:I, s:I, s:o}", "file", args->reduce, "value",
                   reduced->target, "nodes", (json_int_t)reduced->nodes,
                   "attempts", (json_int_t)reduced->attempts, "inputs", inputs);
}

static int print_json(const arguments *args, const ibx_comparison *c,
                      const ibx_reduced *reduced) {
  const ibx_compared *first = ibx_comparison_first(c);
  json_t *rows = json_array();
  for (size_t i = 0; i < c->row_count; i++)
    json_array_append_new(rows, row_json(&c->rows[i]));
  return ibx_driver_print_json(
      json_pack("{s:b, s:o, s:o, s:o}", "agrees", first == NULL, "first",
                first ? row_json(first) : json_null(), "reduced",
                reduced_json(args, reduced), "rows", rows));
}

// --- the command ---------------------------------------------------------------

static int report(const arguments *args, const ibx_comparison *c,
                  const ibx_reduced *reduced) {
  ibx_error err = {0};
  int exit_code = 0;
  if (args->json) {
    exit_code = print_json(args, c, reduced);
  } else if (print_text(args, c, &err) != IBX_OK) {
    exit_code = ibx_driver_fail(&err);
  } else if (reduced->model.data) {
    print_reduced(args, reduced);
  } else if (args->reduce && !ibx_comparison_first(c)) {
    printf("nothing to reduce: %s is not written\n", args->reduce);
  }
  if (exit_code != 0) return exit_code;
  return ibx_comparison_first(c) ? 1 : 0;
}

static int compare(arguments *args, const ibx_compile_request *request) {
  ibx_error err = {0};
  ibx_comparison comparison;
  ibx_compile_options options = request->options;
  options.on_diagnostic = ibx_driver_print_diagnostic;
  args->setup.options = &options;
  if (ibx_compare(&args->setup, &comparison, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  ibx_reduced reduced = {0};
  ibx_status status = reduce(args, &comparison, &reduced, &err);
  int exit_code = report(args, &comparison, &reduced);
  if (status != IBX_OK) {
    int failed = ibx_driver_fail(&err);
    if (exit_code <= 1) exit_code = failed; // 1 is what was found out anyway
  }
  ibx_reduced_fini(&reduced);
  ibx_comparison_fini(&comparison);
  return exit_code;
}

// One value for each dimension: a comparison is of one entry.
static int check_arguments(const arguments *args,
                           const ibx_compile_request *request) {
  if (args->setup.rtol < 0 || args->setup.atol < 0) {
    return ibx_options_wrong("compare", "a tolerance is negative");
  }
  for (size_t i = 0; i < request->options.dim_count; i++) {
    if (request->dims[i].value_count == 1) continue;
    return ibx_options_wrong("compare",
                             "--dim %s: one value can be compared at a time",
                             request->dims[i].name);
  }
  return 0;
}

static int run_file(void *user, const char *path) {
  arguments *args = user;
  ibx_error err = {0};
  ibx_blob input = {0};
  ibx_compile_request request;
  if (ibx_compile_request_init(&args->compile, &request, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  args->setup.path = path;
  int exit_code = check_arguments(args, &request);
  if (exit_code == 0 && strcmp(path, "-") == 0) {
    args->setup.path = NULL;
    if (ibx_input_read(path, &input, &err) != IBX_OK) {
      exit_code = ibx_driver_fail(&err);
    }
    args->setup.memory = ibx_blob_get(&input);
  }
  if (exit_code == 0) exit_code = compare(args, &request);
  ibx_blob_fini(&input);
  ibx_compile_request_fini(&request);
  return exit_code;
}

int ibx_cmd_compare(int argc, char **argv) {
  arguments args = {.compile = IBX_COMPILE_ARGS_DEFAULT,
                    .setup = {.device = ibx_driver_device(),
                              .rtol = (double)NAN,
                              .atol = (double)NAN}};
  const ibx_option rows[] = {
      IBX_INPUT_ROWS(args.setup.inputs.files, args.setup.inputs.seed),
      {"rtol", 0, IBX_OPTION_NUMBER, &args.setup.rtol, "X",
       "difference that is allowed, of the scale of the tensor (by type)"},
      {"atol", 0, IBX_OPTION_NUMBER, &args.setup.atol, "X",
       "difference that is allowed on top of it (by type)"},
      {"reduce", 0, IBX_OPTION_TEXT, &args.reduce, "OUT.onnx",
       "writes the smallest part of the model that still fails"},
      {"all", 0, IBX_OPTION_FLAG, &args.all, NULL,
       "prints every value, in the order of the nodes"},
      {"device", 0, IBX_OPTION_TEXT, &args.setup.device, "URI",
       "where programs run, as for `imbrex run` (sim:)"},
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL, "prints JSON"},
      IBX_COMPILE_ARGS_ROWS(args.compile),
  };
  return ibx_options_run_on_file("compare", rows, IBX_COUNT_OF(rows), argc,
                                 argv, run_file, &args);
}
