// SPDX-License-Identifier: Apache-2.0
//
// Runs one case of the ONNX backend layout. Comes in: its folder. Goes out:
// pass, fail or refused, with the first reason. Data sets are numbered from 0
// without gaps, and so are the files in them, in the order of the graph. Where
// the model leaves open what the compiler must know of an input, its shape or
// its value (axes, pads), the data set tells, and the program is made for it.

#include "driver/backend.h"

#include "driver/files.h"
#include "driver/progress.h"
#include "imbrex/runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_CHARS = 4096 };

/// An input of which the program is made for the shape or the value.
typedef struct known_input {
  char *name;   ///< owned
  size_t place; ///< among the inputs of the model
  bool is_shape;
  ibx_array array;
} known_input;

typedef struct test_case {
  const char *folder;
  const ibx_tolerance *tolerance;
  size_t set; ///< number of the data set
  known_input *known;
  size_t known_count;
  known_input wanted; ///< the first that a compilation asked for, or no name
  ibx_case *out;
} test_case;

// The tensors of one data set; `inputs` come first, then what was computed,
// then what is expected.
typedef struct data_set {
  const ibx_entry *entry;
  ibx_array *arrays;
  ibx_binding *bindings;
  ibx_host_tensor *open; ///< of each output: what a run gives of open ones
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

static void compare_texts(const ibx_array *got, const ibx_array *want,
                          const char *name, ibx_case *out) {
  for (uint64_t i = 0; i < ibx_array_count(want); i++) {
    ibx_str a = ibx_host_tensor_text(&got->texts, i);
    ibx_str b = ibx_host_tensor_text(&want->texts, i);
    if (a.len == b.len && memcmp(a.data, b.data, a.len) == 0) continue;
    if (out->result == IBX_CASE_FAIL) return;
    out->result = IBX_CASE_FAIL;
    snprintf(out->reason, sizeof out->reason,
             "%.80s: text %llu is '%.*s' instead of '%.*s'", name,
             (unsigned long long)i, a.len < 60 ? (int)a.len : 60, a.data,
             b.len < 60 ? (int)b.len : 60, b.data);
    return;
  }
}

static void compare(const ibx_array *got, const ibx_array *want,
                    const char *name, const ibx_tolerance *tolerance,
                    ibx_case *out) {
  uint64_t count = ibx_array_count(want), bad = 0, first = 0;
  if (want->dtype == IBX_DTYPE_STRING) {
    compare_texts(got, want, name, out);
    return;
  }
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

static ibx_status read_array(const test_case *c, const char *kind, size_t index,
                             ibx_array *out, ibx_error *err) {
  char path[PATH_CHARS];
  if (!make_path(path, c->folder, c->set, kind, index)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "%.100s...: the path is too long",
                    c->folder);
  }
  return ibx_array_read(path, out, err);
}

// The place in the model of the program's input `index`.
static size_t place_of(const test_case *c, size_t index) {
  size_t place = 0;
  for (;; place++) {
    bool is_constant = false;
    for (size_t i = 0; i < c->known_count; i++) {
      is_constant |= !c->known[i].is_shape && c->known[i].place == place;
    }
    if (!is_constant && index-- == 0) return place;
  }
}

static ibx_status data_set_init(data_set *set, const test_case *c,
                                const ibx_entry *entry, ibx_error *err) {
  size_t inputs = entry->input_count, outputs = entry->output_count;
  *set = (data_set){.entry = entry};
  set->arrays = calloc(inputs + 2 * outputs + 1, sizeof *set->arrays);
  set->bindings = calloc(inputs + outputs + 1, sizeof *set->bindings);
  set->open = calloc(outputs + 1, sizeof *set->open);
  if (!set->arrays || !set->bindings || !set->open) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tensors");
  }
  for (size_t i = 0; i < inputs; i++) {
    IBX_TRY(read_array(c, "input", place_of(c, i), &inputs_of(set)[i], err));
    IBX_TRY(ibx_array_check(&inputs_of(set)[i], &entry->inputs[i], err));
  }
  for (size_t i = 0; i < outputs; i++) {
    IBX_TRY(read_array(c, "output", i, &wanted_of(set)[i], err));
    IBX_TRY(ibx_array_check(&wanted_of(set)[i], &entry->outputs[i], err));
    IBX_TRY(ibx_array_make(&entry->outputs[i], &outputs_of(set)[i], err));
  }
  for (size_t i = 0; i < inputs + outputs; i++) {
    size_t index = i < inputs ? i : i - inputs;
    set->bindings[i] = ibx_array_bind(&set->arrays[i], index);
    if (i >= inputs && ibx_array_is_open(&entry->outputs[index])) {
      set->bindings[i].tensor = &set->open[index];
    }
  }
  return IBX_OK;
}

static void data_set_fini(data_set *set) {
  size_t count = set->entry->input_count + 2 * set->entry->output_count;
  for (size_t i = 0; set->arrays && i < count; i++) {
    ibx_array_fini(&set->arrays[i]);
  }
  for (size_t i = 0; set->open && i < set->entry->output_count; i++) {
    ibx_host_tensor_fini(&set->open[i]);
  }
  free(set->open);
  free(set->arrays);
  free(set->bindings);
}

// Extents that the run told must be those that are expected.
static ibx_status take_open(data_set *set, size_t index, ibx_error *err) {
  const ibx_tensor_decl *tensor = &set->entry->outputs[index];
  ibx_array *got = &outputs_of(set)[index];
  if (!ibx_array_is_open(tensor)) return IBX_OK;
  ibx_array_take(got, &set->open[index]);
  ibx_tensor_decl told = *tensor;
  memcpy(told.shape, got->shape, sizeof told.shape);
  return ibx_array_check(&wanted_of(set)[index], &told, err);
}

static ibx_status run_set(const test_case *c, ibx_session *session,
                          ibx_error *err) {
  const ibx_entry *entry = ibx_session_entry(session);
  data_set set;
  ibx_status status = data_set_init(&set, c, entry, err);
  if (status == IBX_OK) {
    ibx_run run = {.inputs = set.bindings,
                   .outputs = set.bindings + entry->input_count,
                   .input_count = entry->input_count,
                   .output_count = entry->output_count};
    status = ibx_session_run(session, &run, err);
  }
  for (size_t i = 0; i < entry->output_count && status == IBX_OK; i++) {
    status = take_open(&set, i, err);
    if (status != IBX_OK) break;
    compare(&outputs_of(&set)[i], &wanted_of(&set)[i], entry->outputs[i].name,
            c->tolerance, c->out);
  }
  data_set_fini(&set);
  return status;
}

static ibx_status run_program(const test_case *c, const ibx_program *program,
                              ibx_error *err) {
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_status status = ibx_device_open("sim:", NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, NULL, &session, err);
  }
  if (status == IBX_OK) status = run_set(c, session, err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

// --- compiling ------------------------------------------------------------------

// The first error is the reason of a refusal.
static void on_diagnostic(void *user, const ibx_diagnostic *d) {
  test_case *c = user;
  ibx_case *out = c->out;
  if (d->severity != IBX_SEVERITY_ERROR) return;
  if (d->input[0] != 0 && !c->wanted.name) {
    c->wanted = (known_input){.name = strdup(d->input),
                              .place = d->input_index,
                              .is_shape = d->wants_shape};
  }
  if (out->reason[0] != 0) return;
  snprintf(out->reason, sizeof out->reason, "%s: %.60s (%.40s): %.160s",
           d->code, d->node, d->op, d->message);
}

// Reads the wanted input from the data set. False when there is none, or no
// memory for it.
static bool add_known(test_case *c) {
  ibx_error err = {0};
  size_t count = c->known_count;
  known_input *grown = realloc(c->known, (count + 1) * sizeof *grown);
  if (grown) c->known = grown;
  if (!grown || !c->wanted.name ||
      read_array(c, "input", c->wanted.place, &c->wanted.array, &err) !=
          IBX_OK) {
    return false;
  }
  c->known[c->known_count++] = c->wanted;
  c->wanted = (known_input){0};
  return true;
}

static void forget_wanted(test_case *c) {
  free(c->wanted.name);
  c->wanted = (known_input){0};
}

/// What the command knows of inputs, and behind it what this case does.
typedef struct knowledge {
  ibx_input_value *values;
  ibx_input_shape *shapes;
} knowledge;

static bool knowledge_init(knowledge *k, const test_case *c,
                           ibx_compile_options *options) {
  size_t values = options->input_value_count;
  size_t shapes = options->input_shape_count;
  k->values = calloc(values + c->known_count + 1, sizeof *k->values);
  k->shapes = calloc(shapes + c->known_count + 1, sizeof *k->shapes);
  if (!k->values || !k->shapes) return false;
  for (size_t i = 0; i < values; i++)
    k->values[i] = options->input_values[i];
  for (size_t i = 0; i < shapes; i++)
    k->shapes[i] = options->input_shapes[i];
  for (size_t i = 0; i < c->known_count; i++) {
    const known_input *in = &c->known[i];
    if (in->is_shape) {
      ibx_input_shape *shape = &k->shapes[shapes++];
      *shape = (ibx_input_shape){.name = in->name, .rank = in->array.rank};
      memcpy(shape->shape, in->array.shape, sizeof shape->shape);
    } else {
      k->values[values++] = ibx_input_value_of(in->name, &in->array);
    }
  }
  options->input_values = k->values;
  options->input_shapes = k->shapes;
  options->input_value_count = values;
  options->input_shape_count = shapes;
  return true;
}

static ibx_status compile_once(test_case *c, const ibx_compile_request *request,
                               ibx_loaded *out, ibx_error *err) {
  char path[PATH_CHARS];
  ibx_compile_request quiet = *request;
  quiet.options.on_diagnostic = on_diagnostic;
  quiet.options.user = c;
  c->out->reason[0] = 0;
  forget_wanted(c);
  snprintf(path, sizeof path, "%s/model.onnx", c->folder);
  knowledge k;
  ibx_status status = knowledge_init(&k, c, &quiet.options)
                          ? ibx_driver_load_or_compile(path, &quiet, out, err)
                          : IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  free(k.values);
  free(k.shapes);
  return status;
}

// Compiles knowing as little of the inputs as does. Each round finds one more.
static ibx_status compile(test_case *c, const ibx_compile_request *request,
                          ibx_loaded *out, ibx_error *err) {
  for (;;) {
    ibx_status status = compile_once(c, request, out, err);
    if (status == IBX_OK || !add_known(c)) return status;
  }
}

// The same inputs again, from another data set.
static ibx_status reload_known(test_case *c, ibx_error *err) {
  for (size_t i = 0; i < c->known_count; i++) {
    known_input *k = &c->known[i];
    ibx_array_fini(&k->array);
    IBX_TRY(read_array(c, "input", k->place, &k->array, err));
  }
  return IBX_OK;
}

// --- one case -----------------------------------------------------------------

static bool has_set(const test_case *c) {
  char path[PATH_CHARS];
  return make_path(path, c->folder, c->set, "output", 0) &&
         access(path, F_OK) == 0;
}

// Nodes on the host, each once.
static void count_calls(test_case *c, const ibx_program *program) {
  const ibx_steps *steps = ibx_program_find_entry(program, NULL)->steps;
  for (size_t i = 0; steps && i < steps->step_count; i++) {
    bool is_new = steps->steps[i].call != NULL;
    for (size_t j = 0; j < i && is_new; j++) {
      is_new =
          !steps->steps[j].call || steps->steps[j].node != steps->steps[i].node;
    }
    c->out->host_nodes += is_new;
  }
}

static ibx_status run_sets(test_case *c, const ibx_compile_request *request,
                           ibx_error *err) {
  ibx_loaded loaded = {0};
  ibx_status status = compile(c, request, &loaded, err);
  if (status != IBX_OK) {
    c->out->result =
        ibx_status_exit_code(status) == 1 ? IBX_CASE_REFUSED : IBX_CASE_FAIL;
    return status;
  }
  if (!has_set(c)) {
    status = IBX_FAIL(err, NOT_FOUND, "no test_data_set_0/output_0.pb");
  }
  if (status == IBX_OK) count_calls(c, loaded.program);
  while (status == IBX_OK) {
    status = run_program(c, loaded.program, err);
    c->set++;
    if (status != IBX_OK || !has_set(c)) break;
    if (c->known_count == 0) continue;
    ibx_loaded_fini(&loaded);
    status = reload_known(c, err);
    if (status == IBX_OK) status = compile(c, request, &loaded, err);
  }
  if (status != IBX_OK) c->out->result = IBX_CASE_FAIL;
  ibx_loaded_fini(&loaded);
  return status;
}

static void test_case_fini(test_case *c) {
  for (size_t i = 0; i < c->known_count; i++) {
    free(c->known[i].name);
    ibx_array_fini(&c->known[i].array);
  }
  free(c->known);
  forget_wanted(c);
}

// "axes, pads": the values that were compiled in.
static void name_constants(const test_case *c) {
  size_t len = 0, size = sizeof c->out->constants;
  for (size_t i = 0; i < c->known_count && len < size; i++) {
    if (c->known[i].is_shape) continue;
    len += (size_t)snprintf(c->out->constants + len, size - len, "%s%.60s",
                            len == 0 ? "" : ", ", c->known[i].name);
  }
}

ibx_case ibx_case_run(const char *folder, const ibx_compile_request *request,
                      const ibx_tolerance *tolerance) {
  double start = ibx_driver_seconds();
  ibx_case out = {.result = IBX_CASE_PASS};
  ibx_error err = {0};
  test_case c = {.folder = folder, .tolerance = tolerance, .out = &out};
  ibx_status status = run_sets(&c, request, &err);
  if (status != IBX_OK && out.reason[0] == 0) {
    snprintf(out.reason, sizeof out.reason, "%s", err.message);
  }
  name_constants(&c);
  test_case_fini(&c);
  out.seconds = ibx_driver_seconds() - start;
  return out;
}
