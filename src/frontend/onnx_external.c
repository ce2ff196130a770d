// SPDX-License-Identifier: Apache-2.0
//
// External data of a tensor. Comes in: location, offset and length as a model
// spells them. Goes out: the bytes, in a mapping that the model owns. Holds
// afterwards: the file lies beneath the model's folder, symbolic links
// resolved, and the range lies in the file.

#include "frontend/model.h"

#include <stdlib.h>
#include <string.h>

typedef struct external {
  const char *location;
  uint64_t offset, length;
  bool has_length;
} external;

#define REMEDY                                                                 \
  "put the data file beside the model as it was exported, or save the model "  \
  "with its data inside"

static bool refuse(ibx_diag_sink *sink, ibx_diag_at at, const char *what,
                   const char *value) {
  ibx_diag_add(sink, IBX_DIAG_EXTERNAL_DATA, at, REMEDY,
               "external data '%s': %s", value, what);
  return false;
}

static bool read_number(const char *text, uint64_t *out) {
  if (text[0] == 0) return false;
  uint64_t number = 0;
  for (const char *c = text; *c != 0; c++) {
    uint64_t digit = (uint64_t)(*c - '0');
    if (*c < '0' || *c > '9' || number > (UINT64_MAX - digit) / 10) {
      return false;
    }
    number = number * 10 + digit;
  }
  *out = number;
  return true;
}

static bool read_entries(const Onnx__TensorProto *tensor, ibx_diag_at at,
                         ibx_diag_sink *sink, external *out) {
  *out = (external){.location = ""};
  for (size_t i = 0; i < tensor->n_external_data; i++) {
    const char *key = ibx_onnx_text(tensor->external_data[i]->key);
    const char *value = ibx_onnx_text(tensor->external_data[i]->value);
    bool fine = true;
    if (strcmp(key, "location") == 0) out->location = value;
    if (strcmp(key, "offset") == 0) fine = read_number(value, &out->offset);
    if (strcmp(key, "length") == 0) {
      fine = out->has_length = read_number(value, &out->length);
    }
    if (!fine) return refuse(sink, at, "offset or length is no number", value);
  }
  return true;
}

// A location is a relative path without a component "..".
static bool is_beneath(const char *location) {
  if (location[0] == 0 || location[0] == '/') return false;
  for (const char *at = location; *at != 0;) {
    size_t len = strcspn(at, "/");
    if (len == 2 && at[0] == '.' && at[1] == '.') return false;
    at += len;
    while (*at == '/')
      at++;
  }
  return true;
}

// Compares resolved paths: a symbolic link may lead anywhere.
static bool resolves_beneath(const char *folder, const char *path) {
  char *root = realpath(folder, NULL);
  char *file = realpath(path, NULL);
  size_t len = root ? strlen(root) : 0;
  if (len != 0 && root[len - 1] == '/') len--;
  bool beneath =
      root && file && strncmp(root, file, len) == 0 && file[len] == '/';
  free(root);
  free(file);
  return beneath;
}

static ibx_external_file *open_file(ibx_model *model, const char *location,
                                    ibx_diag_at at, ibx_diag_sink *sink) {
  for (ibx_external_file *file = model->files; file; file = file->next) {
    if (strcmp(file->location, location) == 0) return file;
  }
  char *path =
      ibx_arena_format(&model->arena, "%s/%s", model->folder, location);
  ibx_error err = {0};
  ibx_span bytes = {0};
  if (ibx_file_map(path, &bytes, &err) != IBX_OK) {
    refuse(sink, at, err.message, location);
    return NULL;
  }
  if (!resolves_beneath(model->folder, path)) {
    ibx_file_unmap(bytes);
    refuse(sink, at, "a link leads out of the model's folder", location);
    return NULL;
  }
  ibx_external_file *file = IBX_ARENA_NEW(&model->arena, ibx_external_file);
  *file = (ibx_external_file){
      .next = model->files, .location = location, .bytes = bytes};
  model->files = file;
  return file;
}

bool ibx_model_external(ibx_model *model, const Onnx__TensorProto *tensor,
                        uint64_t expected_bytes, ibx_diag_at at,
                        ibx_diag_sink *sink, ibx_span *out) {
  external entry;
  if (!read_entries(tensor, at, sink, &entry)) return false;
  if (!model->folder) {
    return refuse(sink, at, "a model in memory has no folder", entry.location);
  }
  if (!is_beneath(entry.location)) {
    return refuse(sink, at, "the path leads out of the model's folder",
                  entry.location);
  }
  if (entry.has_length && entry.length != expected_bytes) {
    return refuse(sink, at, "the length is not what type and extents need",
                  entry.location);
  }
  ibx_external_file *file = open_file(model, entry.location, at, sink);
  if (!file) return false;
  size_t size = file->bytes.size;
  if (entry.offset > size || expected_bytes > size - entry.offset) {
    return refuse(sink, at, "the file is too short", entry.location);
  }
  *out = (ibx_span){.data = file->bytes.data + entry.offset,
                    .size = (size_t)expected_bytes};
  return true;
}
