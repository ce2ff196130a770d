// SPDX-License-Identifier: Apache-2.0
//
// Buffers. In: a size, or the caller's memory. Out: memory that a run can bind,
// aligned to 64 bytes where it is ours.

#include "core/device.h"

struct ibx_buffer {
  ibx_device *device;
  void *memory;
  size_t size_bytes;
  bool is_ours;
};

ibx_status ibx_buffer_wrap(ibx_device *device, void *memory, size_t size_bytes,
                           ibx_buffer **out_buffer, ibx_error *err) {
  *out_buffer = NULL;
  if (memory == NULL || size_bytes == 0) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "a buffer of %zu bytes", size_bytes);
  }
  ibx_buffer *buffer = ibx_device_alloc(device, sizeof(*buffer));
  if (buffer == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *buffer = (ibx_buffer){
      .device = device, .memory = memory, .size_bytes = size_bytes};
  *out_buffer = buffer;
  return IBX_OK;
}

ibx_status ibx_buffer_create(ibx_device *device, size_t size_bytes,
                             ibx_buffer **out_buffer, ibx_error *err) {
  *out_buffer = NULL;
  if (size_bytes == 0) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "a buffer of %zu bytes", size_bytes);
  }
  void *memory = NULL;
  IBX_TRY(ibx_device_memory_alloc(device, size_bytes, &memory, err));
  ibx_buffer *buffer = NULL;
  ibx_status status = ibx_buffer_wrap(device, memory, size_bytes, &buffer, err);
  if (buffer == NULL) {
    ibx_device_memory_free(device, memory);
    return status;
  }
  buffer->is_ours = true;
  *out_buffer = buffer;
  return IBX_OK;
}

void *ibx_buffer_map(ibx_buffer *buffer, size_t *out_size_bytes) {
  if (out_size_bytes != NULL) *out_size_bytes = buffer->size_bytes;
  return buffer->memory;
}

void ibx_buffer_destroy(ibx_buffer *buffer) {
  if (buffer == NULL) return;
  if (buffer->is_ours) ibx_device_memory_free(buffer->device, buffer->memory);
  ibx_device_free(buffer->device, buffer);
}
