// SPDX-License-Identifier: Apache-2.0
//
// imbrex run: loads a program, or compiles a model, runs it once on a device,
// prints a line for each output and writes them as .npy files where a folder is
// given. Inputs that are left out are made up from --seed.

#include "driver/driver.h"
#include "driver/inputs.h"
#include "imbrex/runtime.h"

#include <jansson.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct arguments {
  ibx_compile_args compile;
  ibx_input_source inputs;
  const char *output_dir, *device, *entry;
  bool json;
} arguments;

/// The tensors of the run.
typedef struct tensors {
  const ibx_entry *entry;
  ibx_array *inputs, *outputs;
  ibx_host_tensor *open; ///< of each output: what a run gives of open ones
  ibx_binding *input_bindings, *output_bindings;
  size_t bound; ///< inputs that are bound
} tensors;

static bool is_state(const ibx_entry *entry, const ibx_tensor_decl *tensor) {
  return entry->steps == NULL &&
         entry->buffers[tensor->buffer].kind == IBX_BUFFER_STATE;
}

// State that no file gives starts as zeros, as the session has it.
static ibx_status prepare_input(const arguments *args, tensors *t, size_t index,
                                ibx_error *err) {
  const ibx_tensor_decl *tensor = &t->entry->inputs[index];
  ibx_array *array = &t->inputs[index];
  if (is_state(t->entry, tensor) &&
      !ibx_input_is_given(&args->inputs, tensor->name)) {
    return IBX_OK;
  }
  IBX_TRY(ibx_input_make(&args->inputs, tensor, index, array, err));
  t->input_bindings[t->bound++] = ibx_array_bind(array, index);
  return IBX_OK;
}

static ibx_status tensors_init(tensors *t, const arguments *args,
                               const ibx_entry *entry, ibx_error *err) {
  *t = (tensors){.entry = entry};
  t->inputs = calloc(entry->input_count + 1, sizeof(*t->inputs));
  t->outputs = calloc(entry->output_count + 1, sizeof(*t->outputs));
  t->input_bindings =
      calloc(entry->input_count + 1, sizeof(*t->input_bindings));
  t->output_bindings =
      calloc(entry->output_count + 1, sizeof(*t->output_bindings));
  t->open = calloc(entry->output_count + 1, sizeof(*t->open));
  if (!t->inputs || !t->outputs || !t->input_bindings || !t->output_bindings ||
      !t->open) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the tensors");
  }
  IBX_TRY(ibx_inputs_check(&args->inputs, entry, err));
  for (size_t i = 0; i < entry->input_count; i++) {
    IBX_TRY(prepare_input(args, t, i, err));
  }
  for (size_t i = 0; i < entry->output_count; i++) {
    IBX_TRY(ibx_array_make(&entry->outputs[i], &t->outputs[i], err));
    t->output_bindings[i] = ibx_array_bind(&t->outputs[i], i);
    if (ibx_array_is_open(&entry->outputs[i])) {
      t->output_bindings[i].tensor = &t->open[i];
    }
  }
  return IBX_OK;
}

static void tensors_fini(tensors *t) {
  for (size_t i = 0; t->inputs && i < t->entry->input_count; i++) {
    ibx_array_fini(&t->inputs[i]);
  }
  for (size_t i = 0; t->outputs && i < t->entry->output_count; i++) {
    ibx_array_fini(&t->outputs[i]);
    if (t->open) ibx_host_tensor_fini(&t->open[i]);
  }
  free(t->open);
  free(t->inputs);
  free(t->outputs);
  free(t->input_bindings);
  free(t->output_bindings);
}

static ibx_status run_once(const arguments *args, const ibx_program *program,
                           tensors *t, ibx_error *err) {
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_run run = {.inputs = t->input_bindings,
                 .input_count = t->bound,
                 .outputs = t->output_bindings,
                 .output_count = t->entry->output_count};
  ibx_status status = ibx_device_open(args->device, NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, args->entry, &session, err);
  }
  if (status == IBX_OK) status = ibx_session_run(session, &run, err);
  if (status == IBX_OK) {
    status = ibx_arrays_cut(t->entry, &run, t->outputs, err);
  }
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

// Outputs that hold extents belong to no port; the shapes tell what they say.
static size_t shown_outputs(const ibx_entry *entry) {
  size_t ports = ibx_entry_port_count(entry, true);
  if (ports == 0) return 0;
  ibx_port_decl last = ibx_entry_port(entry, true, ports - 1);
  return last.first + last.count;
}

// Letters, digits and "._-" stay; the rest of a name is no part of a file name.
static char *output_path(const char *folder, const char *name) {
  size_t folder_len = strlen(folder), len = strlen(name);
  char *path = malloc(folder_len + len + sizeof("/.npy"));
  if (path == NULL) return NULL;
  memcpy(path, folder, folder_len + 1);
  path[folder_len] = '/';
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    bool keeps = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                 (c >= '0' && c <= '9') || strchr("._-", c) != NULL;
    path[folder_len + 1 + i] = keeps ? c : '_';
  }
  memcpy(path + folder_len + 1 + len, ".npy", sizeof(".npy"));
  return path;
}

// The output before `index` that is written to the same file; `index` when
// there is none.
static size_t find_same_path(const tensors *t, size_t index, const char *folder,
                             const char *path) {
  for (size_t i = 0; i < index; i++) {
    char *other = output_path(folder, t->entry->outputs[i].name);
    bool is_same = other && strcmp(other, path) == 0;
    free(other);
    if (is_same) return i;
  }
  return index;
}

static ibx_status write_output(const char *folder, const tensors *t,
                               size_t index, ibx_error *err) {
  char *path = output_path(folder, t->entry->outputs[index].name);
  if (path == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  size_t same = find_same_path(t, index, folder, path);
  ibx_status status =
      same == index
          ? ibx_array_write(&t->outputs[index], path, err)
          : IBX_FAIL(err, INVALID_ARGUMENT,
                     "outputs '%s' and '%s' would both be %s; rename one of "
                     "them in the model",
                     t->entry->outputs[same].name,
                     t->entry->outputs[index].name, path);
  free(path);
  return status;
}

static ibx_status write_outputs(const char *folder, const tensors *t,
                                ibx_error *err) {
  if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
    return IBX_FAIL(err, IO_ERROR, "%s: %s", folder, strerror(errno));
  }
  for (size_t i = 0; i < shown_outputs(t->entry); i++)
    IBX_TRY(write_output(folder, t, i, err));
  return IBX_OK;
}

/// What is said of an output.
typedef struct summary {
  double min, max, mean;
  uint64_t count, nan_count, top; ///< `top`: index of the largest
} summary;

static summary summarise(const ibx_array *array) {
  if (array->data == NULL) return (summary){.count = 0};
  summary s = {.count = ibx_array_count(array)};
  size_t bytes = ibx_dtype_bytes(array->dtype);
  double sum = 0;
  for (uint64_t i = 0; i < s.count; i++) {
    float single;
    ibx_dtype_load_f32(array->dtype, array->data + i * bytes, &single, 1);
    double value = (double)single;
    bool first = i == s.nan_count;
    if (isnan(value)) {
      s.nan_count++;
      continue;
    }
    if (first || value > s.max) {
      s.max = value;
      s.top = i;
    }
    if (first || value < s.min) s.min = value;
    sum += value;
  }
  uint64_t numbers = s.count - s.nan_count;
  s.mean = numbers == 0 ? 0 : sum / (double)numbers;
  return s;
}

enum { SHOWN_TEXTS = 4, SHOWN_BYTES = 40 };

// Without what a terminal would take for a command.
static void print_plain(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++) {
    uint8_t byte = (uint8_t)text[i];
    putchar(byte < ' ' || byte == 127 ? '?' : byte);
  }
}

// The first texts.
static void print_texts(const ibx_array *array) {
  uint64_t count = ibx_array_count(array);
  for (uint64_t i = 0; i < count && i < SHOWN_TEXTS; i++) {
    ibx_str text = ibx_host_tensor_text(&array->texts, i);
    printf(" \"");
    print_plain(text.data, text.len < SHOWN_BYTES ? text.len : SHOWN_BYTES);
    printf(text.len > SHOWN_BYTES ? "...\"" : "\"");
  }
  if (count > SHOWN_TEXTS) printf(" ...");
}

static void print_text(const tensors *t) {
  for (size_t i = 0; i < shown_outputs(t->entry); i++) {
    const ibx_array *array = &t->outputs[i];
    summary s = summarise(array);
    char type[IBX_TYPE_CHARS];
    ibx_array_type_text(array->dtype, array->shape, array->rank, type);
    const char *name = t->entry->outputs[i].name;
    print_plain(name, strlen(name));
    printf(": %s", type);
    if (array->dtype == IBX_DTYPE_STRING) print_texts(array);
    if (s.count != s.nan_count) {
      printf("  min %.6g  max %.6g at %llu  mean %.6g", s.min, s.max,
             (unsigned long long)s.top, s.mean);
    }
    if (s.nan_count != 0) {
      printf("  NaN %llu", (unsigned long long)s.nan_count);
    }
    printf("\n");
  }
}

static json_t *output_json(const tensors *t, size_t index) {
  const ibx_array *array = &t->outputs[index];
  summary s = summarise(array);
  json_t *shape = json_array();
  for (size_t d = 0; d < array->rank; d++) {
    json_array_append_new(shape, json_integer((json_int_t)array->shape[d]));
  }
  // JSON has no infinity: such a key is left out.
  json_t *row =
      json_pack("{s:s, s:s, s:o, s:I}", "name", t->entry->outputs[index].name,
                "dtype", ibx_dtype_get(array->dtype)->name, "shape", shape,
                "nan_count", (json_int_t)s.nan_count);
  if (row == NULL || s.count == s.nan_count) return row;
  json_object_set_new(row, "argmax", json_integer((json_int_t)s.top));
  if (isfinite(s.min)) json_object_set_new(row, "min", json_real(s.min));
  if (isfinite(s.max)) json_object_set_new(row, "max", json_real(s.max));
  if (isfinite(s.mean)) json_object_set_new(row, "mean", json_real(s.mean));
  return row;
}

static int print_json(const arguments *args, const tensors *t) {
  json_t *outputs = json_array();
  for (size_t i = 0; i < shown_outputs(t->entry); i++) {
    json_array_append_new(outputs, output_json(t, i));
  }
  return ibx_driver_print_json(json_pack("{s:s, s:s, s:o}", "entry",
                                         t->entry->name, "device", args->device,
                                         "outputs", outputs));
}

static ibx_status run_entry(const arguments *args, const ibx_program *program,
                            const ibx_entry *entry, tensors *t,
                            ibx_error *err) {
  IBX_TRY(tensors_init(t, args, entry, err));
  IBX_TRY(run_once(args, program, t, err));
  for (size_t i = 0; i < entry->output_count; i++) {
    if (!ibx_array_is_open(&entry->outputs[i])) continue;
    ibx_array_take(&t->outputs[i], &t->open[i]);
  }
  if (args->output_dir == NULL) return IBX_OK;
  return write_outputs(args->output_dir, t, err);
}

static int run_program(const arguments *args, const ibx_program *program) {
  ibx_error err = {0};
  const ibx_entry *entry;
  if (ibx_driver_find_entry(program, args->entry, &entry, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  int exit_code = 0;
  tensors t = {.entry = entry};
  if (run_entry(args, program, entry, &t, &err) != IBX_OK) {
    exit_code = ibx_driver_fail(&err);
  } else if (args->json) {
    exit_code = print_json(args, &t);
  } else {
    print_text(&t);
  }
  tensors_fini(&t);
  return exit_code;
}

static int run_file(void *user, const char *path) {
  const arguments *args = user;
  ibx_error err = {0};
  ibx_loaded loaded;
  if (ibx_driver_open(path, &args->compile, &loaded, &err) != IBX_OK) {
    return ibx_driver_fail(&err);
  }
  int exit_code = run_program(args, loaded.program);
  ibx_loaded_fini(&loaded);
  return exit_code;
}

int ibx_cmd_run(int argc, char **argv) {
  arguments args = {.compile = IBX_COMPILE_ARGS_DEFAULT,
                    .device = ibx_driver_device()};
  const ibx_option rows[] = {
      IBX_INPUT_ROWS(args.inputs.files, args.inputs.seed),
      {"output-dir", 0, IBX_OPTION_TEXT, &args.output_dir, "DIR",
       "writes every output there as NAME.npy"},
      {"device", 0, IBX_OPTION_TEXT, &args.device, "URI",
       "where it runs: sim:, sim:?order=random&seed=N, driver:LIB (sim:)"},
      IBX_ENTRY_ROW(args.entry),
      {"json", 0, IBX_OPTION_FLAG, &args.json, NULL, "prints JSON"},
      IBX_COMPILE_ARGS_ROWS(args.compile),
  };
  return ibx_options_run_on_file("run", rows, IBX_COUNT_OF(rows), argc, argv,
                                 run_file, &args);
}
