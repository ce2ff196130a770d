// SPDX-License-Identifier: Apache-2.0
//
// Tensors in files. In: a path. Out: an array whose data have exactly the bytes
// of its shape, or a message with the path.

#include "driver/files.h"

#include "driver/input.h"
#include "driver/output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

void ibx_array_fini(ibx_array *array) {
  free(array->data);
  ibx_host_tensor_fini(&array->texts);
  *array = (ibx_array){0};
}

uint64_t ibx_array_count(const ibx_array *array) {
  uint64_t count = 1;
  for (size_t d = 0; d < array->rank; d++) {
    count *= array->shape[d];
  }
  return count;
}

static ibx_status alloc_texts(ibx_array *array, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(&array->texts, IBX_DTYPE_STRING, array->shape,
                                array->rank, err));
  for (uint64_t i = 0; i < ibx_array_count(array); i++) {
    IBX_TRY(ibx_host_tensor_add_text(&array->texts, "", 0, err));
  }
  return IBX_OK;
}

ibx_status ibx_array_alloc(ibx_array *array, const char *name, ibx_error *err) {
  if (array->dtype == IBX_DTYPE_STRING) return alloc_texts(array, err);
  uint64_t bytes = ibx_dtype_bytes(array->dtype);
  bool fits = true;
  for (size_t d = 0; d < array->rank; d++) {
    fits = fits && ibx_mul_size(bytes, array->shape[d], &bytes);
  }
  fits = fits && bytes < SIZE_MAX;
  array->data = fits ? calloc(1, (size_t)bytes + 1) : NULL;
  if (array->data == NULL) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "%s: no memory for its elements", name);
  }
  array->bytes = (size_t)bytes;
  return IBX_OK;
}

ibx_status ibx_array_make(const ibx_tensor_decl *tensor, ibx_array *out,
                          ibx_error *err) {
  *out = (ibx_array){.rank = tensor->rank, .dtype = (ibx_dtype)tensor->dtype};
  memcpy(out->shape, tensor->shape, sizeof(out->shape));
  for (size_t d = 0; d < out->rank; d++) {
    if (out->shape[d] == IBX_ANY_EXTENT) out->shape[d] = 0;
  }
  return ibx_array_alloc(out, tensor->name, err);
}

ibx_status ibx_array_copy(const ibx_array *from, ibx_array *out,
                          ibx_error *err) {
  *out = (ibx_array){.rank = from->rank, .dtype = from->dtype};
  memcpy(out->shape, from->shape, sizeof(out->shape));
  if (from->dtype == IBX_DTYPE_STRING) {
    return ibx_host_tensor_copy(&out->texts, &from->texts, err);
  }
  IBX_TRY(ibx_array_alloc(out, "a copy", err));
  if (out->bytes != 0) memcpy(out->data, from->data, out->bytes);
  return IBX_OK;
}

bool ibx_array_is_open(const ibx_tensor_decl *tensor) {
  bool is_open = tensor->dtype == IBX_DTYPE_STRING;
  for (size_t d = 0; d < tensor->rank; d++)
    is_open |= tensor->shape[d] == IBX_ANY_EXTENT;
  return is_open;
}

ibx_binding ibx_array_bind(ibx_array *array, size_t index) {
  bool is_text = array->dtype == IBX_DTYPE_STRING;
  return (ibx_binding){.index = index,
                       .data = array->data,
                       .size_bytes = array->bytes,
                       .tensor = is_text ? &array->texts : NULL};
}

void ibx_array_take(ibx_array *array, ibx_host_tensor *tensor) {
  ibx_array_fini(array);
  array->dtype = tensor->dtype;
  array->rank = tensor->rank;
  memcpy(array->shape, tensor->shape, sizeof(array->shape));
  if (tensor->dtype == IBX_DTYPE_STRING) {
    array->texts = *tensor;
  } else { // from malloc, as ours
    array->data = tensor->data;
    array->bytes = tensor->data_bytes;
  }
  *tensor = (ibx_host_tensor)IBX_HOST_TENSOR_INIT;
}

ibx_status ibx_arrays_cut(const ibx_entry *entry, const ibx_run *run,
                          ibx_array *outputs, ibx_error *err) {
  for (size_t i = 0; i < entry->output_count && entry->extent_count; i++) {
    uint64_t shape[IBX_MAX_RANK];
    if (ibx_array_is_open(&entry->outputs[i])) continue;
    IBX_TRY(ibx_run_output_shape(entry, run, i, shape, err));
    outputs[i].bytes =
        (size_t)ibx_tensor_pack(&entry->outputs[i], shape, outputs[i].data);
    memcpy(outputs[i].shape, shape, sizeof shape);
  }
  return IBX_OK;
}

void ibx_array_type_text(ibx_dtype dtype, const uint64_t *shape, size_t rank,
                         char text[IBX_TYPE_CHARS]) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  size_t len = (size_t)snprintf(text, IBX_TYPE_CHARS, "%s[",
                                info == NULL ? "?" : info->name);
  for (size_t d = 0; d < rank && len < IBX_TYPE_CHARS; d++) {
    const char *comma = d == 0 ? "" : ",";
    size_t left = IBX_TYPE_CHARS - len;
    len += (size_t)(shape[d] == IBX_ANY_EXTENT
                        ? snprintf(text + len, left, "%s?", comma)
                        : snprintf(text + len, left, "%s%llu", comma,
                                   (unsigned long long)shape[d]));
  }
  if (len < IBX_TYPE_CHARS) snprintf(text + len, IBX_TYPE_CHARS - len, "]");
}

ibx_status ibx_array_check(const ibx_array *array,
                           const ibx_tensor_decl *tensor, ibx_error *err) {
  bool same =
      array->dtype == (ibx_dtype)tensor->dtype && array->rank == tensor->rank;
  for (size_t d = 0; same && d < array->rank; d++) {
    same = tensor->shape[d] == IBX_ANY_EXTENT ||
           array->shape[d] == tensor->shape[d];
  }
  if (same) return IBX_OK;
  char given[IBX_TYPE_CHARS], wanted[IBX_TYPE_CHARS];
  ibx_array_type_text(array->dtype, array->shape, array->rank, given);
  ibx_array_type_text((ibx_dtype)tensor->dtype, tensor->shape, tensor->rank,
                      wanted);
  return IBX_FAIL(err, MISMATCH, "input '%s' is %s, but %s is given",
                  tensor->name, wanted, given);
}

ibx_status ibx_array_read(const char *path, ibx_array *out, ibx_error *err) {
  *out = (ibx_array){0};
  ibx_blob blob = {0};
  ibx_status status = ibx_input_read(path, &blob, err);
  if (status == IBX_OK) {
    ibx_span bytes = ibx_blob_get(&blob);
    status = ibx_npy_is(bytes) ? ibx_npy_parse(bytes, path, out, err)
                               : ibx_proto_parse(bytes, path, out, err);
  }
  ibx_blob_fini(&blob);
  if (status != IBX_OK) ibx_array_fini(out);
  return status;
}

// A code point of UTF-8; a byte that begins none stands for itself.
static uint32_t next_char(ibx_str *text) {
  const uint8_t *at = (const uint8_t *)text->data;
  size_t len = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
  bool is_fine = at[0] < 0x80 || (at[0] >= 0xc2 && at[0] < 0xf5);
  uint32_t code = len == 1 ? at[0] : at[0] & (0x7fu >> len);
  for (size_t i = 1; i < len && is_fine; i++) {
    is_fine = i < text->len && (at[i] & 0xc0) == 0x80;
    if (is_fine) code = code << 6 | (at[i] & 0x3fu);
  }
  if (!is_fine) len = 1;
  if (!is_fine) code = at[0];
  text->data += len;
  text->len -= len;
  return code;
}

static size_t char_count(ibx_str text) {
  size_t count = 0;
  for (; text.len != 0; count++)
    (void)next_char(&text);
  return count;
}

// Characters of the longest text: NumPy gives all the same room.
static size_t longest_text(const ibx_array *array) {
  size_t longest = 1;
  for (uint64_t i = 0; i < ibx_array_count(array); i++) {
    size_t count = char_count(ibx_host_tensor_text(&array->texts, i));
    if (count > longest) longest = count;
  }
  return longest;
}

static bool write_texts(ibx_output *output, const ibx_array *array) {
  size_t room = longest_text(array);
  for (uint64_t i = 0; i < ibx_array_count(array); i++) {
    ibx_str text = ibx_host_tensor_text(&array->texts, i);
    for (size_t c = 0; c < room; c++) {
      uint32_t code = text.len != 0 ? next_char(&text) : 0;
      if (!ibx_output_write(output, &code, sizeof code)) return false;
    }
  }
  return true;
}

ibx_status ibx_arrays_read(const char *path, ibx_arrays *out, ibx_error *err) {
  *out = (ibx_arrays){0};
  ibx_blob blob = {0};
  ibx_status status = ibx_input_read(path, &blob, err);
  if (status == IBX_OK) {
    status = ibx_arrays_parse(ibx_blob_get(&blob), path, out, err);
  }
  ibx_blob_fini(&blob);
  return status;
}

void ibx_arrays_fini(ibx_arrays *arrays) {
  for (size_t i = 0; i < arrays->count; i++) {
    ibx_array_fini(&arrays->items[i]);
  }
  free(arrays->items);
  *arrays = (ibx_arrays){0};
}

static bool is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

// What stands for a dtype in .npy files.
static ibx_dtype file_dtype(ibx_dtype dtype) {
  if (ibx_dtype_get(dtype)->numpy[0] != 0) return dtype;
  return is_whole(dtype) ? ibx_dtype_carrier(dtype) : IBX_DTYPE_F32;
}

// Elements without a type, and integers, have the bytes but for what does not
// count of them.
static void take_bits(ibx_array *array, ibx_dtype dtype) {
  array->dtype = dtype;
  array->is_void = false;
  if (ibx_dtype_bytes(dtype) != 1) return;
  for (size_t i = 0; i < array->bytes; i++) {
    array->data[i] = (uint8_t)(ibx_dtype_wrap(dtype, array->data[i]) & 0xff);
  }
}

ibx_status ibx_array_adapt(ibx_array *array, ibx_dtype dtype, ibx_error *err) {
  bool is_own = ibx_dtype_get(dtype)->numpy[0] != 0;
  size_t bytes = ibx_dtype_bytes(dtype);
  if (is_own || array->dtype == dtype || bytes == 0) return IBX_OK;
  if (array->is_void ? ibx_dtype_bytes(array->dtype) == bytes
                     : is_whole(dtype) && array->dtype == file_dtype(dtype)) {
    take_bits(array, dtype);
    return IBX_OK;
  }
  if (array->is_void || array->dtype != IBX_DTYPE_F32) return IBX_OK;
  ibx_array narrow = {.rank = array->rank, .dtype = dtype};
  memcpy(narrow.shape, array->shape, sizeof(narrow.shape));
  IBX_TRY(ibx_array_alloc(&narrow, "an input", err));
  for (size_t i = 0; i < narrow.bytes / bytes; i++) {
    float value;
    memcpy(&value, array->data + i * sizeof(value), sizeof(value));
    ibx_dtype_store_f32(dtype, &value, narrow.data + i * bytes, 1);
  }
  ibx_array_fini(array);
  *array = narrow;
  return IBX_OK;
}

// The header ends where the elements begin, at a multiple of 64 bytes.
static bool write_header(ibx_output *output, const ibx_array *array) {
  char dict[256], shape[224] = "";
  size_t len = 0;
  for (size_t d = 0; d < array->rank; d++) {
    len += (size_t)snprintf(shape + len, sizeof(shape) - len, "%llu,",
                            (unsigned long long)array->shape[d]);
  }
  if (array->rank > 1) shape[len - 1] = 0; // only (3,) keeps its comma
  char descr[32];
  if (array->dtype == IBX_DTYPE_STRING) {
    snprintf(descr, sizeof(descr), "<U%zu", longest_text(array));
  } else {
    snprintf(descr, sizeof(descr), "%s",
             ibx_dtype_get(file_dtype(array->dtype))->numpy);
  }
  int size = snprintf(dict, sizeof(dict),
                      "{'descr': '%s', 'fortran_order': False, 'shape': (%s)}",
                      descr, shape);
  size_t total = (10 + (size_t)size + 1 + 63) / 64 * 64;
  uint8_t head[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  head[8] = (uint8_t)((total - 10) & 0xff);
  head[9] = (uint8_t)((total - 10) >> 8);
  char padding[64];
  memset(padding, ' ', sizeof(padding));
  size_t pad = total - 10 - (size_t)size - 1;
  return ibx_output_write(output, head, sizeof(head)) &&
         ibx_output_write(output, dict, (size_t)size) &&
         ibx_output_write(output, padding, pad) &&
         ibx_output_write(output, "\n", 1);
}

static bool write_elements(ibx_output *output, const ibx_array *array) {
  if (array->dtype == IBX_DTYPE_STRING) return write_texts(output, array);
  if (file_dtype(array->dtype) != IBX_DTYPE_F32 ||
      array->dtype == IBX_DTYPE_F32) {
    return ibx_output_write(output, array->data, array->bytes);
  }
  float values[BLOCK];
  size_t bytes = ibx_dtype_bytes(array->dtype);
  for (size_t at = 0; at < array->bytes; at += BLOCK * bytes) {
    size_t left = (array->bytes - at) / bytes;
    size_t count = left < BLOCK ? left : BLOCK;
    ibx_dtype_load_f32(array->dtype, array->data + at, values, count);
    if (!ibx_output_write(output, values, count * sizeof(*values))) {
      return false;
    }
  }
  return true;
}

ibx_status ibx_array_write(const ibx_array *array, const char *path,
                           ibx_error *err) {
  ibx_output output;
  IBX_TRY(ibx_output_open(path, &output, err));
  if (write_header(&output, array) && write_elements(&output, array)) {
    return ibx_output_commit(&output, err);
  }
  ibx_output_discard(&output);
  return IBX_FAIL(err, IO_ERROR, "%s cannot be written", path);
}
