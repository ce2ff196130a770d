// SPDX-License-Identifier: Apache-2.0
//
// Opens a model. Comes in: a path or bytes. Goes out: parsed messages and the
// mapping that holds the weights. Holds afterwards: the messages are well
// formed as protocol buffers; what they say is checked by the importer.

#include "frontend/model.h"
#include "frontend/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static ibx_status map_open_file(int file, const char *path, ibx_span *out,
                                ibx_error *err) {
  struct stat facts;
  if (fstat(file, &facts) != 0) {
    return IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(errno));
  }
  if (!S_ISREG(facts.st_mode)) {
    return IBX_FAIL(err, IO_ERROR, "%s is no file that can be mapped", path);
  }
  *out = (ibx_span){.size = (size_t)facts.st_size};
  if (facts.st_size == 0) return IBX_OK;
  void *data = mmap(NULL, out->size, PROT_READ, MAP_PRIVATE, file, 0);
  if (data == MAP_FAILED) {
    return IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(errno));
  }
  out->data = data;
  return IBX_OK;
}

ibx_status ibx_file_map(const char *path, ibx_span *out, ibx_error *err) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return IBX_FAIL(err, NOT_FOUND, "%s: %s", path, strerror(errno));
  }
  if (file < 0) {
    return IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(errno));
  }
  ibx_status status = map_open_file(file, path, out, err);
  close(file);
  return status;
}

void ibx_file_unmap(ibx_span bytes) {
  // munmap() takes a pointer to non-const, although it writes nothing.
  union {
    const uint8_t *from;
    void *to;
  } pointer = {.from = bytes.data};
  if (bytes.size != 0) munmap(pointer.to, bytes.size);
}

static void *unpack_alloc(void *arena, size_t size) {
  return ibx_arena_alloc(arena, size);
}

static void unpack_free(void *arena, void *memory) {
  (void)arena;
  (void)memory;
}

static ibx_status parse(ibx_model *model, ibx_diag_sink *sink, ibx_error *err) {
  ibx_span small;
  IBX_TRY(ibx_wire_shrink(model->bytes, &model->arena, sink, &small, err));
  ProtobufCAllocator allocator = {.alloc = unpack_alloc,
                                  .free = unpack_free,
                                  .allocator_data = &model->arena};
  model->proto = onnx__model_proto__unpack(&allocator, small.size, small.data);
  if (model->proto) return IBX_OK;
  ibx_diag_add(sink, IBX_DIAG_DAMAGED_FILE, (ibx_diag_at){.node = "the model"},
               "the file is damaged: export or download it again",
               "the messages cannot be unpacked");
  return ibx_diag_status(sink, err);
}

static const char *folder_of(ibx_arena *arena, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return ".";
  if (slash == path) return "/";
  return ibx_arena_text(arena, path, (size_t)(slash - path));
}

static ibx_model *model_create(void) { return calloc(1, sizeof(ibx_model)); }

ibx_status ibx_model_open_memory(ibx_span bytes, ibx_diag_sink *sink,
                                 ibx_model **out_model, ibx_error *err) {
  *out_model = NULL;
  ibx_model *model = model_create();
  if (!model) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a model");
  model->bytes = bytes;
  ibx_status status = parse(model, sink, err);
  if (status != IBX_OK) {
    ibx_model_close(model);
    return status;
  }
  *out_model = model;
  return IBX_OK;
}

ibx_status ibx_model_open_file(const char *path, ibx_diag_sink *sink,
                               ibx_model **out_model, ibx_error *err) {
  *out_model = NULL;
  ibx_span bytes = {0};
  IBX_TRY(ibx_file_map(path, &bytes, err));
  ibx_model *model = NULL;
  ibx_status status = ibx_model_open_memory(bytes, sink, &model, err);
  if (status != IBX_OK || !model) {
    ibx_file_unmap(bytes);
    return status;
  }
  model->mapped = true;
  model->folder = folder_of(&model->arena, path);
  *out_model = model;
  return IBX_OK;
}

void ibx_model_close(ibx_model *model) {
  if (!model) return;
  for (ibx_external_file *file = model->files; file; file = file->next) {
    ibx_file_unmap(file->bytes);
  }
  if (model->mapped) ibx_file_unmap(model->bytes);
  ibx_arena_reset(&model->arena);
  free(model);
}
