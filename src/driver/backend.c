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

#include <inttypes.h>
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
  bool is_length;    ///< the shapes of all tensors of a sequence or optional
  ibx_arrays arrays; ///< one where it is a tensor
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

// The tensors of one data set.
typedef struct data_set {
  const ibx_entry *entry;
  ibx_array *arrays; ///< inputs, then what is computed
  ibx_arrays *ports; ///< what is expected
  ibx_binding *bindings;
  ibx_host_tensor *open; ///< of each output: what a run gives of open ones
} data_set;

static ibx_array *inputs_of(const data_set *set) { return set->arrays; }

static ibx_array *outputs_of(const data_set *set) {
  return set->arrays + set->entry->input_count;
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

// What stands in the file of one input or output, as so many arrays.
static ibx_status read_port(const test_case *c, const char *kind, size_t index,
                            ibx_port_kind port, ibx_arrays *out,
                            ibx_error *err) {
  char path[PATH_CHARS];
  *out = (ibx_arrays){0};
  if (!make_path(path, c->folder, c->set, kind, index)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "%.100s...: the path is too long",
                    c->folder);
  }
  if (port != IBX_PORT_TENSOR) return ibx_arrays_read(path, out, err);
  out->items = calloc(1, sizeof *out->items);
  if (!out->items) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  ibx_status status = ibx_array_read(path, out->items, err);
  out->count = status == IBX_OK;
  if (status != IBX_OK) ibx_arrays_fini(out);
  return status;
}

// The place in the model of the program's input port `index`.
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

static ibx_status check_count(const ibx_port_decl *port,
                              const ibx_arrays *arrays, ibx_error *err) {
  bool is_absent =
      arrays->is_absent && (port->kind == IBX_PORT_OPTIONAL ||
                            port->kind == IBX_PORT_OPTIONAL_SEQUENCE);
  if (arrays->count == port->count && is_absent == port->is_absent) {
    return IBX_OK;
  }
  return IBX_FAIL(err, MISMATCH,
                  "'%s' holds %" PRIu32 " tensors, but %zu are given",
                  port->name, port->count, arrays->count);
}

static ibx_status read_inputs(data_set *set, const test_case *c,
                              ibx_error *err) {
  const ibx_entry *entry = set->entry;
  for (size_t p = 0; p < ibx_entry_port_count(entry, false); p++) {
    ibx_port_decl port = ibx_entry_port(entry, false, p);
    ibx_arrays arrays;
    IBX_TRY(read_port(c, "input", place_of(c, p), port.kind, &arrays, err));
    ibx_status status = check_count(&port, &arrays, err);
    for (size_t i = 0; i < port.count && status == IBX_OK; i++) {
      size_t input = port.first + i;
      status = ibx_array_check(&arrays.items[i], &entry->inputs[input], err);
      inputs_of(set)[input] = arrays.items[i];
      arrays.items[i] = (ibx_array){0};
    }
    ibx_arrays_fini(&arrays);
    IBX_TRY(status);
  }
  return IBX_OK;
}

static ibx_status read_wanted(data_set *set, const test_case *c,
                              ibx_error *err) {
  const ibx_entry *entry = set->entry;
  for (size_t p = 0; p < ibx_entry_port_count(entry, true); p++) {
    ibx_port_decl port = ibx_entry_port(entry, true, p);
    ibx_arrays *wanted = &set->ports[p];
    IBX_TRY(read_port(c, "output", p, port.kind, wanted, err));
    IBX_TRY(check_count(&port, wanted, err));
  }
  return IBX_OK;
}

static ibx_status data_set_init(data_set *set, const test_case *c,
                                const ibx_entry *entry, ibx_error *err) {
  size_t inputs = entry->input_count, outputs = entry->output_count;
  size_t ports = ibx_entry_port_count(entry, true);
  *set = (data_set){.entry = entry};
  set->arrays = calloc(inputs + outputs + 1, sizeof *set->arrays);
  set->ports = calloc(ports + 1, sizeof *set->ports);
  set->bindings = calloc(inputs + outputs + 1, sizeof *set->bindings);
  set->open = calloc(outputs + 1, sizeof *set->open);
  if (!set->arrays || !set->ports || !set->bindings || !set->open) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tensors");
  }
  IBX_TRY(read_inputs(set, c, err));
  IBX_TRY(read_wanted(set, c, err));
  for (size_t i = 0; i < outputs; i++) {
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
  size_t count = set->entry->input_count + set->entry->output_count;
  for (size_t i = 0; set->arrays && i < count; i++) {
    ibx_array_fini(&set->arrays[i]);
  }
  count = ibx_entry_port_count(set->entry, true);
  for (size_t i = 0; set->ports && i < count; i++) {
    ibx_arrays_fini(&set->ports[i]);
  }
  for (size_t i = 0; set->open && i < set->entry->output_count; i++) {
    ibx_host_tensor_fini(&set->open[i]);
  }
  free(set->open);
  free(set->arrays);
  free(set->ports);
  free(set->bindings);
}

// What was computed as a declaration: its type is what the run found.
static ibx_tensor_decl computed_type(const data_set *set, size_t output) {
  ibx_tensor_decl type = set->entry->outputs[output];
  memcpy(type.shape, outputs_of(set)[output].shape, sizeof type.shape);
  return type;
}

static ibx_status compare_port(const test_case *c, const data_set *set,
                               size_t index, ibx_error *err) {
  ibx_port_decl port = ibx_entry_port(set->entry, true, index);
  for (size_t i = 0; i < port.count; i++) {
    ibx_tensor_decl type = computed_type(set, port.first + i);
    IBX_TRY(ibx_array_check(&set->ports[index].items[i], &type, err));
    compare(&outputs_of(set)[port.first + i], &set->ports[index].items[i],
            set->entry->outputs[port.first + i].name, c->tolerance, c->out);
  }
  return IBX_OK;
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
    if (status == IBX_OK) {
      status = ibx_arrays_cut(entry, &run, outputs_of(&set), err);
    }
    for (size_t i = 0; i < entry->output_count && status == IBX_OK; i++) {
      if (!ibx_array_is_open(&entry->outputs[i])) continue;
      ibx_array_take(&outputs_of(&set)[i], &set.open[i]);
    }
  }
  size_t ports = ibx_entry_port_count(entry, true);
  for (size_t p = 0; p < ports && status == IBX_OK; p++) {
    status = compare_port(c, &set, p, err);
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
                              .is_shape = d->wants_shape,
                              .is_length = d->wants_length};
  }
  if (out->reason[0] != 0) return;
  snprintf(out->reason, sizeof out->reason, "%s: %.60s (%.40s): %.160s",
           d->code, d->node, d->op, d->message);
}

static ibx_status read_known(const test_case *c, known_input *known,
                             ibx_error *err) {
  return read_port(c, "input", known->place,
                   known->is_length ? IBX_PORT_SEQUENCE : IBX_PORT_TENSOR,
                   &known->arrays, err);
}

// Reads the wanted input from the data set. False when there is none, or no
// memory for it.
static bool add_known(test_case *c) {
  ibx_error err = {0};
  size_t count = c->known_count;
  known_input *grown = realloc(c->known, (count + 1) * sizeof *grown);
  if (grown) c->known = grown;
  if (!grown || !c->wanted.name || read_known(c, &c->wanted, &err) != IBX_OK) {
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
  ibx_input_length *lengths;
  char *names; ///< "NAME[0]" and so on of the tensors in sequences
} knowledge;

enum { POSITION_CHARS = 24 };

static void add_shape(ibx_compile_options *options, ibx_input_shape *shapes,
                      const char *name, const ibx_array *array) {
  ibx_input_shape *shape = &shapes[options->input_shape_count++];
  *shape = (ibx_input_shape){.name = name, .rank = array->rank};
  memcpy(shape->shape, array->shape, sizeof shape->shape);
}

// An optional tensor has the name of its input, tensors of a sequence theirs
// with the position; which of both it is, the compiler knows: it is given both.
static char *add_length(const known_input *in, knowledge *k, char *names,
                        ibx_compile_options *options) {
  k->lengths[options->input_length_count++] =
      (ibx_input_length){.name = in->name,
                         .count = in->arrays.count,
                         .is_absent = in->arrays.is_absent};
  for (size_t i = 0; i < in->arrays.count; i++) {
    int len = sprintf(names, "%s[%zu]", in->name, i);
    add_shape(options, k->shapes, names, &in->arrays.items[i]);
    names += len + 1;
  }
  if (in->arrays.count == 1) {
    add_shape(options, k->shapes, in->name, &in->arrays.items[0]);
  }
  return names;
}

static bool knowledge_init(knowledge *k, const test_case *c,
                           ibx_compile_options *options) {
  size_t tensors = 1, chars = 1, known = c->known_count;
  for (size_t i = 0; i < known; i++) {
    size_t count = c->known[i].arrays.count;
    tensors += count + 1;
    chars += count * (strlen(c->known[i].name) + POSITION_CHARS);
  }
  *k = (knowledge){
      .values = calloc(options->input_value_count + tensors, sizeof *k->values),
      .shapes = calloc(options->input_shape_count + tensors, sizeof *k->shapes),
      .lengths =
          calloc(options->input_length_count + tensors, sizeof *k->lengths),
      .names = malloc(chars)};
  if (!k->values || !k->shapes || !k->lengths || !k->names) return false;
  for (size_t i = 0; i < options->input_value_count; i++)
    k->values[i] = options->input_values[i];
  for (size_t i = 0; i < options->input_shape_count; i++)
    k->shapes[i] = options->input_shapes[i];
  for (size_t i = 0; i < options->input_length_count; i++)
    k->lengths[i] = options->input_lengths[i];
  char *names = k->names;
  for (size_t i = 0; i < known; i++) {
    const known_input *in = &c->known[i];
    if (in->is_length) {
      names = add_length(in, k, names, options);
    } else if (in->is_shape) {
      add_shape(options, k->shapes, in->name, &in->arrays.items[0]);
    } else {
      k->values[options->input_value_count++] =
          ibx_input_value_of(in->name, &in->arrays.items[0]);
    }
  }
  options->input_values = k->values;
  options->input_shapes = k->shapes;
  options->input_lengths = k->lengths;
  return true;
}

static void knowledge_fini(knowledge *k) {
  free(k->values);
  free(k->shapes);
  free(k->lengths);
  free(k->names);
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
  knowledge_fini(&k);
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
    ibx_arrays_fini(&k->arrays);
    IBX_TRY(read_known(c, k, err));
  }
  return IBX_OK;
}

// --- one case -----------------------------------------------------------------

static bool has_set(const test_case *c) {
  char path[PATH_CHARS];
  return make_path(path, c->folder, c->set, "output", 0) &&
         access(path, F_OK) == 0;
}

// Nodes on the host and in the library, each once.
static void count_calls(test_case *c, const ibx_program *program) {
  const ibx_entry *entry = ibx_program_find_entry(program, NULL);
  const ibx_steps *steps = entry->steps;
  c->out->gpsimd_calls =
      (int)ibx_entry_library_nodes(ibx_program_get(program), entry);
  for (size_t i = 0; steps && i < steps->step_count; i++) {
    const ibx_step *step = &steps->steps[i];
    if (!step->call) continue;
    bool is_new = true;
    for (size_t j = 0; j < i && is_new; j++)
      is_new = !steps->steps[j].call || steps->steps[j].node != step->node;
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
    ibx_arrays_fini(&c->known[i].arrays);
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
