// SPDX-License-Identifier: Apache-2.0
//
// Runs one case of the ONNX backend layout. Comes in: its folder. Goes out:
// pass, fail or refused, with the first reason. Data sets are numbered from 0
// without gaps, and so are the files in them, in the order of the graph.

#include "driver/backend.h"

#include "driver/files.h"
#include "driver/progress.h"
#include "imbrex/runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_CHARS = 4096 };

// The tensors of one data set; `inputs` come first, then what was computed,
// then what is expected.
typedef struct data_set {
  const ibx_entry *entry;
  ibx_array *arrays;
  ibx_binding *bindings;
} data_set;

static ibx_array *inputs_of(const data_set *set) { return set->arrays; }

static ibx_array *outputs_of(const data_set *set) {
  return set->arrays + set->entry->input_count;
}

static ibx_array *wanted_of(const data_set *set) {
  return outputs_of(set) + set->entry->output_count;
}

const char *ibx_case_result_name(ibx_case_result result) {
  static const char *const names[] = {"pass", "fail", "refused"};
  return names[result];
}

static bool make_path(char path[PATH_CHARS], const char *folder, size_t set,
                      const char *kind, size_t index) {
  int len = snprintf(path, PATH_CHARS, "%s/test_data_set_%zu/%s_%zu.pb", folder,
                     set, kind, index);
  return len > 0 && len < PATH_CHARS;
}

// --- comparing ----------------------------------------------------------------

static double element(const ibx_array *array, uint64_t index) {
  const uint8_t *at = array->data + index * ibx_dtype_bytes(array->dtype);
  double wide;
  int64_t integer;
  float single;
  switch (array->dtype) {
  case IBX_DTYPE_F64: memcpy(&wide, at, sizeof wide); return wide;
  case IBX_DTYPE_I64:
    memcpy(&integer, at, sizeof integer);
    return (double)integer;
  default:
    ibx_dtype_load_f32(array->dtype, at, &single, 1);
    return (double)single;
  }
}

static bool is_close(double got, double want, const ibx_tolerance *tolerance,
                     double *difference) {
  *difference = 0;
  if (got == want || (isnan(got) && isnan(want))) return true;
  *difference = fabs(got - want);
  return *difference <= tolerance->atol + tolerance->rtol * fabs(want);
}

static void compare(const ibx_array *got, const ibx_array *want,
                    const char *name, const ibx_tolerance *tolerance,
                    ibx_case *out) {
  uint64_t count = ibx_array_count(want), bad = 0, first = 0;
  for (uint64_t i = 0; i < count; i++) {
    double difference;
    if (!is_close(element(got, i), element(want, i), tolerance, &difference)) {
      if (bad++ == 0) first = i;
    }
    if (!(difference <= out->worst_error)) out->worst_error = difference;
  }
  if (bad == 0 || out->result == IBX_CASE_FAIL) return;
  out->result = IBX_CASE_FAIL;
  snprintf(out->reason, sizeof out->reason,
           "%.80s: %llu of %llu elements differ, the first at %llu: %g instead "
           "of %g",
           name, (unsigned long long)bad, (unsigned long long)count,
           (unsigned long long)first, element(got, first),
           element(want, first));
}

// --- one data set -------------------------------------------------------------

static ibx_status read_array(const char *folder, size_t set, const char *kind,
                             size_t index, const ibx_tensor_decl *tensor,
                             ibx_array *out, ibx_error *err) {
  char path[PATH_CHARS];
  if (!make_path(path, folder, set, kind, index)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "%.100s...: the path is too long",
                    folder);
  }
  IBX_TRY(ibx_array_read(path, out, err));
  return ibx_array_check(out, tensor, err);
}

static ibx_status data_set_init(data_set *set, const ibx_entry *entry,
                                const char *folder, size_t number,
                                ibx_error *err) {
  size_t inputs = entry->input_count, outputs = entry->output_count;
  *set = (data_set){.entry = entry};
  set->arrays = calloc(inputs + 2 * outputs + 1, sizeof *set->arrays);
  set->bindings = calloc(inputs + outputs + 1, sizeof *set->bindings);
  if (!set->arrays || !set->bindings) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tensors");
  }
  for (size_t i = 0; i < inputs; i++) {
    IBX_TRY(read_array(folder, number, "input", i, &entry->inputs[i],
                       &inputs_of(set)[i], err));
  }
  for (size_t i = 0; i < outputs; i++) {
    IBX_TRY(read_array(folder, number, "output", i, &entry->outputs[i],
                       &wanted_of(set)[i], err));
    IBX_TRY(ibx_array_make(&entry->outputs[i], &outputs_of(set)[i], err));
  }
  for (size_t i = 0; i < inputs + outputs; i++) {
    set->bindings[i] = (ibx_binding){.index = i < inputs ? i : i - inputs,
                                     .data = set->arrays[i].data,
                                     .size_bytes = set->arrays[i].bytes};
  }
  return IBX_OK;
}

static void data_set_fini(data_set *set) {
  size_t count = set->entry->input_count + 2 * set->entry->output_count;
  for (size_t i = 0; set->arrays && i < count; i++) {
    ibx_array_fini(&set->arrays[i]);
  }
  free(set->arrays);
  free(set->bindings);
}

static ibx_status run_set(ibx_session *session, const char *folder,
                          size_t number, const ibx_tolerance *tolerance,
                          ibx_case *out, ibx_error *err) {
  const ibx_entry *entry = ibx_session_entry(session);
  data_set set;
  ibx_status status = data_set_init(&set, entry, folder, number, err);
  if (status == IBX_OK) {
    ibx_run run = {.inputs = set.bindings,
                   .outputs = set.bindings + entry->input_count,
                   .input_count = entry->input_count,
                   .output_count = entry->output_count};
    status = ibx_session_run(session, &run, err);
  }
  for (size_t i = 0; i < entry->output_count && status == IBX_OK; i++) {
    compare(&outputs_of(&set)[i], &wanted_of(&set)[i], entry->outputs[i].name,
            tolerance, out);
  }
  data_set_fini(&set);
  return status;
}

static bool has_set(const char *folder, size_t number) {
  char path[PATH_CHARS];
  return make_path(path, folder, number, "output", 0) &&
         access(path, F_OK) == 0;
}

static ibx_status run_sets(const ibx_program *program, const char *folder,
                           const ibx_tolerance *tolerance, ibx_case *out,
                           ibx_error *err) {
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_status status = ibx_device_open("sim:", NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, NULL, &session, err);
  }
  if (status == IBX_OK && !has_set(folder, 0)) {
    status = IBX_FAIL(err, NOT_FOUND, "no test_data_set_0/output_0.pb");
  }
  for (size_t i = 0; status == IBX_OK && has_set(folder, i); i++) {
    status = run_set(session, folder, i, tolerance, out, err);
  }
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

// --- one case -----------------------------------------------------------------

// The first error is the reason of a refusal.
static void keep_first(void *user, const ibx_diagnostic *d) {
  ibx_case *out = user;
  if (d->severity != IBX_SEVERITY_ERROR || out->reason[0] != 0) return;
  snprintf(out->reason, sizeof out->reason, "%s: %.60s (%.40s): %.160s",
           d->code, d->node, d->op, d->message);
}

ibx_case ibx_case_run(const char *folder, const ibx_compile_request *request,
                      const ibx_tolerance *tolerance) {
  double start = ibx_driver_seconds();
  ibx_case out = {.result = IBX_CASE_PASS};
  ibx_compile_request quiet = *request;
  ibx_error err = {0};
  ibx_loaded loaded = {0};
  char path[PATH_CHARS];
  quiet.options.on_diagnostic = keep_first;
  quiet.options.user = &out;
  snprintf(path, sizeof path, "%s/model.onnx", folder);
  ibx_status status = ibx_driver_load_or_compile(path, &quiet, &loaded, &err);
  if (status != IBX_OK) {
    out.result =
        ibx_status_exit_code(status) == 1 ? IBX_CASE_REFUSED : IBX_CASE_FAIL;
  } else {
    status = run_sets(loaded.program, folder, tolerance, &out, &err);
    if (status != IBX_OK) out.result = IBX_CASE_FAIL;
    ibx_loaded_fini(&loaded);
  }
  if (status != IBX_OK && out.reason[0] == 0) {
    snprintf(out.reason, sizeof out.reason, "%s", err.message);
  }
  out.seconds = ibx_driver_seconds() - start;
  return out;
}
