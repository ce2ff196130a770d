// SPDX-License-Identifier: Apache-2.0
//
// Kernels under test. In: a file of examples/kernels and sizes. Out: its
// program, memory for it, runs. Everything belongs to the kernel.

#include "support/kernel.h"

#include "imbrex/prove.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const kernel_row *kernel_rows(size_t *out_count) {
  static const kernel_row rows[] = {
#define IBX_KERNEL(file_name, sizes) {.file = (file_name), .small = (sizes)},
#include "support/kernels.def"
  };
  *out_count = IBX_COUNT_OF(rows);
  return rows;
}

// --- text ----------------------------------------------------------------------

static ibx_status read_text(const char *file, char **out_text, size_t *out_len,
                            ibx_error *err) {
  char path[1024];
  snprintf(path, sizeof(path), "%s/examples/kernels/%s", IBX_SOURCE_DIR, file);
  FILE *in = fopen(path, "rb");
  if (in == NULL) return IBX_FAIL(err, IO_ERROR, "no kernel %s", file);
  const size_t room = (size_t)1 << 20;
  *out_text = malloc(room);
  *out_len = *out_text == NULL ? 0 : fread(*out_text, 1, room, in);
  fclose(in);
  if (*out_text != NULL && *out_len < room) return IBX_OK;
  free(*out_text);
  return IBX_FAIL(err, OUT_OF_MEMORY, "%s is too long", file);
}

// Cuts "A=1 B=2" into symbols; names stay in `text`.
static bool read_sizes(char *text, ibx_asm_define *defines, size_t *out_count) {
  *out_count = 0;
  for (char *at = text; *at != 0;) {
    char *equals = strchr(at, '=');
    if (equals == NULL || *out_count == KERNEL_DEFINES) return false;
    *equals = 0;
    char *end;
    defines[(*out_count)++] =
        (ibx_asm_define){.name = at, .value = strtoll(equals + 1, &end, 10)};
    if (end == equals + 1 || (*end != 0 && *end != ' ')) return false;
    at = end + strspn(end, " ");
  }
  return true;
}

ibx_status kernel_open(kernel *k, const char *file, const char *sizes,
                       ibx_error *err) {
  char names[256];
  ibx_asm_define defines[KERNEL_DEFINES];
  size_t count, len = 0;
  char *text = NULL;
  *k = (kernel){.program = NULL};
  snprintf(names, sizeof(names), "%s", sizes);
  if (!read_sizes(names, defines, &count)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "sizes are '%s'", sizes);
  }
  IBX_TRY(read_text(file, &text, &len, err));
  ibx_status status = ibx_asm_parse((ibx_str){.data = text, .len = len}, file,
                                    defines, count, &k->program, err);
  free(text);
  if (status != IBX_OK) return status;
  k->data = ibx_asm_get(k->program);
  k->entry = &k->data->entries[0];
  if (k->entry->buffer_count <= KERNEL_BUFFERS) return IBX_OK;
  return IBX_FAIL(err, INVALID_ARGUMENT, "%s has too many buffers", file);
}

void kernel_close(kernel *k) {
  for (size_t i = 0; i < KERNEL_BUFFERS; i++)
    free(k->memory[i]);
  ibx_sim_destroy(k->sim);
  ibx_asm_destroy(k->program);
}

// --- memory ----------------------------------------------------------------------

void kernel_fill(float *data, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    data[i] = (float)(int)(seed >> 33 & 0xff) / 64.0f - 2.0f;
  }
}

static const ibx_tensor_decl *find_tensor(const kernel *k, const char *name) {
  const ibx_entry *entry = k->entry;
  for (size_t i = 0; i < entry->input_count + entry->output_count; i++) {
    const ibx_tensor_decl *tensor =
        i < entry->input_count ? &entry->inputs[i]
                               : &entry->outputs[i - entry->input_count];
    if (strcmp(tensor->name, name) == 0) return tensor;
  }
  return NULL;
}

float *kernel_tensor(const kernel *k, const char *name,
                     const uint64_t **out_shape) {
  const ibx_tensor_decl *tensor = find_tensor(k, name);
  if (tensor == NULL) return NULL;
  if (out_shape != NULL) *out_shape = tensor->shape;
  return (float *)(void *)k->memory[tensor->buffer];
}

static size_t bytes_of(const kernel *k, size_t buffer) {
  return (size_t)k->entry->buffers[buffer].place.bytes;
}

static void fill_input(const kernel *k, size_t index) {
  const ibx_tensor_decl *input = &k->entry->inputs[index];
  ibx_dtype dtype = (ibx_dtype)input->dtype;
  uint8_t *bytes = k->memory[input->buffer];
  size_t size = ibx_dtype_bytes(dtype);
  bool is_float = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  for (size_t i = 0; i < bytes_of(k, input->buffer) / size; i++) {
    float value = (float)(i % 2); // an index that every table has
    if (is_float) kernel_fill(&value, 1, index * 1000003 + i);
    ibx_dtype_store_f32(dtype, &value, bytes + i * size, 1);
  }
}

static bool is_callers(const kernel *k, size_t buffer) {
  ibx_buffer_kind kind = k->entry->buffers[buffer].kind;
  return kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_OUTPUT;
}

ibx_status kernel_make_memory(kernel *k, ibx_error *err) {
  for (size_t i = 0; i < k->entry->buffer_count; i++) {
    if (!is_callers(k, i)) continue;
    k->memory[i] = calloc(1, bytes_of(k, i));
    if (k->memory[i] == NULL) {
      return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for buffer %zu", i);
    }
  }
  for (size_t i = 0; i < k->entry->input_count; i++)
    fill_input(k, i);
  return IBX_OK;
}

// --- runs ------------------------------------------------------------------------

ibx_status kernel_prove(const kernel *k, ibx_error *err) {
  return ibx_prove_entry(k->data, k->entry, NULL, err);
}

ibx_status kernel_time(const kernel *k, ibx_sim_time *out_time,
                       ibx_error *err) {
  return ibx_sim_time_entry(k->data, k->entry, NULL, NULL, out_time, err);
}

ibx_status kernel_run(kernel *k, const ibx_sim_options *options,
                      ibx_error *err) {
  const ibx_sim_memory memory = {.hbm = k->memory};
  if (k->sim == NULL) {
    IBX_TRY(ibx_sim_create(k->data, k->entry, &k->sim, err));
  }
  for (size_t i = 0; i < k->entry->output_count; i++) {
    size_t buffer = k->entry->outputs[i].buffer;
    memset(k->memory[buffer], 0xff, bytes_of(k, buffer));
  }
  return ibx_sim_run(k->sim, options, &memory, err);
}

uint64_t kernel_digest(const kernel *k) {
  uint64_t sum = UINT64_C(14695981039346656037);
  for (size_t i = 0; i < k->entry->output_count; i++) {
    size_t buffer = k->entry->outputs[i].buffer;
    for (size_t b = 0; b < bytes_of(k, buffer); b++)
      sum = (sum ^ k->memory[buffer][b]) * UINT64_C(1099511628211);
  }
  return sum;
}

ibx_status kernel_run_orders(kernel *k, uint64_t random_orders,
                             ibx_error *err) {
  const ibx_sim_options program = {.order = IBX_SIM_ORDER_PROGRAM};
  IBX_TRY(kernel_run(k, &program, err));
  const uint64_t want = kernel_digest(k);
  for (uint64_t i = 0; i < random_orders + IBX_SIM_ADVERSARIES; i++) {
    bool is_random = i < random_orders;
    const ibx_sim_options options = {
        .order = is_random ? IBX_SIM_ORDER_RANDOM : IBX_SIM_ORDER_ADVERSARIAL,
        .seed = is_random ? i : i - random_orders,
        .poison = true};
    IBX_TRY(kernel_run(k, &options, err));
    if (kernel_digest(k) == want) continue;
    return IBX_FAIL(err, MISMATCH, "other bytes in %s order %" PRIu64,
                    is_random ? "random" : "adversarial", options.seed);
  }
  return IBX_OK;
}
