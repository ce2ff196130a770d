// SPDX-License-Identifier: Apache-2.0
//
// eval_model FOLDER...: imports FOLDER/model.onnx, runs its graph with the
// reference kernels on FOLDER/input_K.npy and compares with output_K.npy.
// Prints one line for each folder: "pass NAME", "fail NAME: why", or "refused
// NAME: CODE why". Symbolic dimensions stand in FOLDER/dims, one NAME=VALUE a
// line; an error that is allowed besides rounding in FOLDER/tolerance. Exits
// with 1 when one failed.

#include "frontend/frontend.h"
#include "imbrex/runtime.h"
#include "ir/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PORTS = 64, MOST_DIMS = 16, PATH_BYTES = 1024 };

typedef struct run {
  const char *folder;
  ibx_arena arena;
  ibx_diag_sink sink;
  ibx_model *model;
  ibx_tables tables;
  ibx_graph graph;
  const ibx_partition *partition;
  ibx_import_stats stats;
  ibx_dim_value dims[MOST_DIMS];
  size_t dim_count;
  ibx_tensor inputs[MOST_PORTS], outputs[MOST_PORTS];
  ibx_error err;
  double extra; // from FOLDER/tolerance
  char why[400];
} run;

static ibx_span read_file(run *r, const char *name) {
  char path[PATH_BYTES];
  snprintf(path, sizeof(path), "%s/%s", r->folder, name);
  FILE *file = fopen(path, "rb");
  if (!file) return (ibx_span){0};
  fseek(file, 0, SEEK_END);
  long size = ftell(file);
  rewind(file);
  uint8_t *data = ibx_arena_alloc(&r->arena, (size_t)size + 1);
  size_t read = fread(data, 1, (size_t)size, file);
  fclose(file);
  return (ibx_span){.data = data, .size = read};
}

// Copies elements whose first dimension runs fastest to row-major order.
static void *from_fortran(run *r, const uint8_t *data, const ibx_type *type) {
  int64_t elements = 0;
  size_t size = ibx_dtype_bytes(type->dtype);
  if (!ibx_type_elements(type, &elements)) return NULL;
  uint8_t *out = ibx_arena_alloc(&r->arena, (size_t)elements * size);
  for (int64_t i = 0; i < elements; i++) {
    int64_t left = i, from = 0, stride = 1, at[IBX_MAX_RANK];
    for (int d = type->rank - 1; d >= 0; d--) {
      at[d] = left % type->dims[d];
      left /= type->dims[d];
    }
    for (int d = 0; d < type->rank; d++) {
      from += at[d] * stride;
      stride *= type->dims[d];
    }
    memcpy(out + (size_t)i * size, data + (size_t)from * size, size);
  }
  return out;
}

// Elements of an .npy file that must have the bytes of `type`.
static void *read_npy(run *r, const char *kind, size_t index,
                      const ibx_type *type) {
  char name[40];
  int64_t bytes = 0;
  snprintf(name, sizeof(name), "%s_%zu.npy", kind, index);
  ibx_span file = read_file(r, name);
  if (file.size < 10) return NULL;
  size_t head = 10 + (size_t)(file.data[8] | file.data[9] << 8);
  if (!ibx_type_bytes(type, &bytes) || file.size < head ||
      file.size - head != (size_t)bytes) {
    return NULL;
  }
  char *text =
      ibx_arena_text(&r->arena, (const char *)file.data + 10, head - 10);
  if (strstr(text, "'fortran_order': True")) {
    return from_fortran(r, file.data + head, type);
  }
  return (void *)(uintptr_t)(file.data + head);
}

static void read_dims(run *r) {
  ibx_span file = read_file(r, "dims");
  if (file.size == 0) return;
  char *text = ibx_arena_text(&r->arena, (const char *)file.data, file.size);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    char *equals = strrchr(line, '=');
    if (!equals || r->dim_count == MOST_DIMS) return;
    *equals = 0;
    r->dims[r->dim_count++] =
        (ibx_dim_value){.name = line, .value = strtoull(equals + 1, NULL, 10)};
  }
}

static void read_tolerance(run *r) {
  ibx_span file = read_file(r, "tolerance");
  if (file.size != 0) r->extra = strtod((const char *)file.data, NULL);
}

static bool import_model(run *r) {
  char path[PATH_BYTES];
  snprintf(path, sizeof(path), "%s/model.onnx", r->folder);
  ibx_frontend_options options = {.dims = r->dims, .dim_count = r->dim_count};
  ibx_status status = ibx_model_open_file(path, &r->sink, &r->model, &r->err);
  if (status == IBX_OK) {
    status =
        ibx_frontend_import(r->model, &options, &r->sink, &r->arena, &r->tables,
                            &r->graph, &r->partition, &r->stats, &r->err);
  }
  if (status == IBX_OK && r->partition) {
    status = IBX_FAIL(&r->err, UNSUPPORTED, "the model needs the host");
  }
  return status == IBX_OK;
}

static double number_at(const ibx_tensor *tensor, size_t index) {
  const ibx_dtype_info *info = ibx_dtype_get(tensor->type.dtype);
  const uint8_t *at = (const uint8_t *)tensor->data + index * info->bits / 8;
  if (tensor->type.dtype == IBX_DTYPE_F64) {
    double number;
    memcpy(&number, at, sizeof(number));
    return number;
  }
  float number;
  ibx_dtype_load_f32(tensor->type.dtype, at, &number, 1);
  return (double)number;
}

// What an implementation that rounds elsewhere may differ by: a few units of
// the last place, of the value and of the largest value that was summed.
static double tolerance_of(ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_F16: return 4e-3;
  case IBX_DTYPE_BF16: return 3e-2;
  case IBX_DTYPE_F8E4M3FN: return 0.13;
  case IBX_DTYPE_F8E5M2: return 0.26;
  case IBX_DTYPE_F32:
  case IBX_DTYPE_F64: return 3e-5;
  default: return 0;
  }
}

static bool compare(run *r, size_t index, const ibx_tensor *have,
                    const ibx_tensor *want) {
  int64_t elements = 0;
  double tolerance = tolerance_of(have->type.dtype), largest = 0;
  if (!ibx_type_elements(&have->type, &elements)) return false;
  for (size_t i = 0; i < (size_t)elements; i++) {
    double size = fabs(number_at(want, i));
    if (isfinite(size) && size > largest) largest = size;
  }
  for (size_t i = 0; i < (size_t)elements; i++) {
    double a = number_at(have, i), b = number_at(want, i);
    bool same = a == b || (isnan(a) && isnan(b));
    double allowed = tolerance * (largest + 10 * fabs(b)) + r->extra;
    if (same || fabs(a - b) <= allowed) continue;
    snprintf(r->why, sizeof(r->why), "output %zu [%zu] is %.9g, not %.9g",
             index, i, a, b);
    return false;
  }
  return true;
}

// An output without what is not valid of it, where the data decide its shape.
static ibx_tensor real_output(run *r, size_t index) {
  ibx_tensor real = r->outputs[index];
  ibx_tensor_decl decl = {.rank = real.type.rank,
                          .dtype = (uint8_t)real.type.dtype};
  uint64_t shape[IBX_MAX_RANK] = {0};
  int64_t bytes = 0;
  bool is_open = false;
  for (uint8_t d = 0; d < real.type.rank; d++)
    shape[d] = decl.shape[d] = (uint64_t)real.type.dims[d];
  for (size_t i = 0; i < r->stats.extent_count; i++) {
    const ibx_extent_decl *extent = &r->stats.extents[i];
    if (extent->output != index) continue;
    int64_t valid;
    memcpy(&valid, r->outputs[extent->source].data, sizeof(valid));
    shape[extent->dim] = (uint64_t)valid;
    real.type.dims[extent->dim] = valid;
    is_open = true;
  }
  if (!is_open || !ibx_type_bytes(&r->outputs[index].type, &bytes)) return real;
  real.data = ibx_arena_alloc(&r->arena, (size_t)bytes + 1);
  memcpy(real.data, r->outputs[index].data, (size_t)bytes);
  ibx_tensor_pack(&decl, shape, real.data);
  return real;
}

// What stands behind the outputs of the model belongs to none.
static size_t count_outputs(const run *r) {
  size_t count = 0;
  for (size_t i = 0; i < r->stats.output_port_count; i++)
    count += r->stats.output_ports[i].count;
  return count;
}

static bool check_outputs(run *r) {
  for (size_t i = 0; i < count_outputs(r); i++) {
    ibx_tensor have = real_output(r, i), want = {.type = have.type};
    want.data = read_npy(r, "output", i, &want.type);
    if (!want.data) {
      snprintf(r->why, sizeof(r->why), "output %zu has another size", i);
      return false;
    }
    if (!compare(r, i, &have, &want)) return false;
  }
  return true;
}

static bool evaluate(run *r) {
  if (r->graph.input_count > MOST_PORTS || r->graph.output_count > MOST_PORTS) {
    snprintf(r->why, sizeof(r->why), "too many inputs or outputs");
    return false;
  }
  for (size_t i = 0; i < r->graph.input_count; i++) {
    r->inputs[i].type = r->graph.values[r->graph.inputs[i].value].type;
    r->inputs[i].data = read_npy(r, "input", i, &r->inputs[i].type);
    if (r->inputs[i].data) continue;
    snprintf(r->why, sizeof(r->why), "input %zu has another size", i);
    return false;
  }
  ibx_status status = ibx_graph_eval(&r->graph, r->inputs, r->outputs,
                                     &r->arena, NULL, NULL, &r->err);
  if (status == IBX_OK) return check_outputs(r);
  snprintf(r->why, sizeof(r->why), "%s", r->err.message);
  return false;
}

static bool report(run *r, const char *name) {
  if (!import_model(r)) {
    const char *code = r->sink.count != 0 ? r->sink.items[0].code : "-";
    printf("refused %s: %s %s\n", name, code, r->err.message);
    return true;
  }
  if (evaluate(r)) {
    printf("pass %s\n", name);
    return true;
  }
  printf("fail %s: %s\n", name, r->why);
  return false;
}

int main(int argc, char **argv) {
  bool all_pass = true;
  for (int i = 1; i < argc; i++) {
    run *r = calloc(1, sizeof(*r));
    if (!r) return 4;
    const char *slash = strrchr(argv[i], '/');
    r->folder = argv[i];
    r->sink.arena = &r->arena;
    read_dims(r);
    read_tolerance(r);
    all_pass &= report(r, slash ? slash + 1 : argv[i]);
    ibx_model_close(r->model);
    ibx_arena_reset(&r->arena);
    free(r);
  }
  return all_pass ? 0 : 1;
}
