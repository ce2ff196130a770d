// SPDX-License-Identifier: Apache-2.0
//
// Inputs of a run. In: what the user gives, and an entry. Out: arrays of the
// types that the entry takes, the same ones for the same seed everywhere.

#include "driver/inputs.h"

#include <string.h>

// --input NAME=FILE: the last one for the input of that name, or NULL.
static const char *find_file(const ibx_option_list *files, const char *name) {
  size_t len = strlen(name);
  for (size_t i = files->count; i-- > 0;) {
    const char *item = files->items[i];
    // Names may hold '='; a file name that begins with one is no use.
    if (strncmp(item, name, len) == 0 && item[len] == '=') {
      return item + len + 1;
    }
  }
  return NULL;
}

static const ibx_array *find_value(const ibx_input_source *source,
                                   const char *name) {
  for (size_t i = 0; i < source->value_count; i++) {
    if (strcmp(source->values[i].name, name) == 0) {
      return source->values[i].array;
    }
  }
  return NULL;
}

bool ibx_input_is_given(const ibx_input_source *source, const char *name) {
  return find_value(source, name) || find_file(&source->files, name);
}

ibx_status ibx_inputs_check(const ibx_input_source *source,
                            const ibx_entry *entry, ibx_error *err) {
  for (size_t i = 0; i < source->files.count; i++) {
    const char *item = source->files.items[i];
    bool known = false;
    for (size_t j = 0; j < entry->input_count; j++) {
      size_t len = strlen(entry->inputs[j].name);
      known = known || (strncmp(item, entry->inputs[j].name, len) == 0 &&
                        item[len] == '=');
    }
    if (known) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "--input %s: no input has that name; %s has '%s'%s", item,
                    entry->name,
                    entry->input_count == 0 ? "" : entry->inputs[0].name,
                    entry->input_count > 1 ? " and others" : "");
  }
  return IBX_OK;
}

static uint32_t next_random(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
  return (uint32_t)(*state >> 32);
}

// The sum of twelve uniform numbers has deviation 1 and needs no library
// function, which would differ between machines.
static float near_normal(uint64_t *state) {
  float sum = -6.0f;
  for (int i = 0; i < 12; i++) {
    sum += (float)(next_random(state) >> 8) * 0x1p-24f;
  }
  return sum;
}

static void fill(ibx_array *array, uint64_t seed) {
  uint64_t state = seed;
  size_t bytes = ibx_dtype_bytes(array->dtype);
  bool is_float = ibx_dtype_get(array->dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  for (size_t at = 0; at < array->bytes; at += bytes) {
    float value =
        is_float ? near_normal(&state) : (float)(next_random(&state) >> 31);
    ibx_dtype_store_f32(array->dtype, &value, array->data + at, 1);
  }
}

ibx_status ibx_input_make(const ibx_input_source *source,
                          const ibx_tensor_decl *tensor, size_t index,
                          ibx_array *out, ibx_error *err) {
  const ibx_array *value = find_value(source, tensor->name);
  const char *file = find_file(&source->files, tensor->name);
  if (value != NULL) {
    IBX_TRY(ibx_array_check(value, tensor, err));
    return ibx_array_copy(value, out, err);
  }
  if (file != NULL) {
    IBX_TRY(ibx_array_read(file, out, err));
    IBX_TRY(ibx_array_adapt(out, (ibx_dtype)tensor->dtype, err));
    return ibx_array_check(out, tensor, err);
  }
  IBX_TRY(ibx_array_make(tensor, out, err));
  fill(out, source->seed + index);
  return IBX_OK;
}
