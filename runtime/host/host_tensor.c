// SPDX-License-Identifier: Apache-2.0
//
// Tensors of the host. Comes in: a type, then elements. Goes out: elements in
// memory that grows and is used again. Holds: sizes were checked before they
// were multiplied; a tensor whose reset failed has no elements.

#include "host/host_kernels.h"
#include "imbrex/driver.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void *take_memory(const ibx_host_tensor *tensor, size_t size) {
  const ibx_allocator *allocator = tensor->allocator;
  return allocator ? allocator->alloc(allocator->user, size) : malloc(size);
}

static void give_memory(const ibx_host_tensor *tensor, void *memory) {
  const ibx_allocator *allocator = tensor->allocator;
  if (allocator) {
    allocator->free(allocator->user, memory);
  } else {
    free(memory);
  }
}

static void drop_data(ibx_host_tensor *tensor) {
  if (tensor->data_room != 0) give_memory(tensor, tensor->data);
  tensor->data = NULL;
  tensor->data_room = tensor->data_bytes = 0;
}

static void drop_offsets(ibx_host_tensor *tensor) {
  if (tensor->offset_room != 0) give_memory(tensor, tensor->offsets);
  tensor->offsets = NULL;
  tensor->offset_room = tensor->text_count = 0;
}

void ibx_host_tensor_fini(ibx_host_tensor *tensor) {
  drop_data(tensor);
  drop_offsets(tensor);
  *tensor = (ibx_host_tensor){.allocator = tensor->allocator};
}

uint64_t ibx_host_tensor_count(const ibx_host_tensor *tensor) {
  uint64_t count = 1;
  for (size_t d = 0; d < tensor->rank; d++)
    count *= tensor->shape[d];
  return count;
}

static ibx_status no_memory(uint64_t bytes, ibx_error *err) {
  return IBX_FAIL(err, OUT_OF_MEMORY,
                  "no memory for a tensor of %" PRIu64 " bytes", bytes);
}

// Room for `size` bytes; what was there stays.
static ibx_status grow_data(ibx_host_tensor *tensor, size_t size,
                            ibx_error *err) {
  if (size <= tensor->data_room) return IBX_OK;
  size_t room = tensor->data_room < 64 ? 64 : tensor->data_room;
  while (room < size)
    room = room > SIZE_MAX / 2 ? size : room * 2;
  uint8_t *data = take_memory(tensor, room);
  if (!data) return no_memory(room, err);
  if (tensor->data_bytes != 0) memcpy(data, tensor->data, tensor->data_bytes);
  if (tensor->data_room != 0) give_memory(tensor, tensor->data);
  tensor->data = data;
  tensor->data_room = room;
  return IBX_OK;
}

static ibx_status grow_offsets(ibx_host_tensor *tensor, size_t count,
                               ibx_error *err) {
  if (count <= tensor->offset_room) return IBX_OK;
  uint64_t bytes = UINT64_MAX;
  drop_offsets(tensor);
  if (!ibx_mul_size(count, sizeof(uint64_t), &bytes) || bytes > SIZE_MAX) {
    return no_memory(bytes, err);
  }
  tensor->offsets = take_memory(tensor, (size_t)bytes);
  if (!tensor->offsets) return no_memory(bytes, err);
  tensor->offset_room = count;
  return IBX_OK;
}

// The number of elements and the bytes of numbers.
static ibx_status measure(ibx_dtype dtype, const uint64_t *shape, size_t rank,
                          uint64_t *out_count, uint64_t *out_bytes,
                          ibx_error *err) {
  bool is_text = dtype == IBX_DTYPE_STRING;
  size_t size = is_text ? sizeof(uint64_t) : ibx_dtype_bytes(dtype);
  if (size == 0 || rank > IBX_MAX_RANK) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "a tensor of the host has dtype %d and %zu dimensions",
                    (int)dtype, rank);
  }
  uint64_t full = size;
  bool is_empty = false;
  *out_count = 1;
  for (size_t d = 0; d < rank; d++) {
    is_empty |= shape[d] == 0;
    if (!ibx_mul_size(full, shape[d] == 0 ? 1 : shape[d], &full) ||
        full > INT64_MAX / 2) {
      return IBX_FAIL(err, OUT_OF_CAPACITY,
                      "the elements of a tensor have more bytes than can be "
                      "counted");
    }
    *out_count *= shape[d];
  }
  *out_bytes = is_empty || is_text ? 0 : full;
  return IBX_OK;
}

static void set_type(ibx_host_tensor *tensor, ibx_dtype dtype,
                     const uint64_t *shape, size_t rank) {
  tensor->dtype = dtype;
  tensor->rank = rank;
  memset(tensor->shape, 0, sizeof(tensor->shape));
  if (rank != 0) memcpy(tensor->shape, shape, rank * sizeof(*shape));
}

// What has no elements, whatever happens next.
static void clear(ibx_host_tensor *tensor) {
  if (tensor->data_room == 0) tensor->data = NULL;
  if (tensor->offset_room == 0) tensor->offsets = NULL;
  tensor->data_bytes = tensor->text_count = 0;
  tensor->dtype = IBX_DTYPE_NONE;
  tensor->rank = 1;
  tensor->shape[0] = 0;
}

ibx_status ibx_host_tensor_reset(ibx_host_tensor *tensor, ibx_dtype dtype,
                                 const uint64_t *shape, size_t rank,
                                 ibx_error *err) {
  uint64_t count, bytes;
  uint64_t kept[IBX_MAX_RANK]; // `shape` may be the tensor's own
  if (rank <= IBX_MAX_RANK && rank != 0) {
    memcpy(kept, shape, rank * sizeof(*shape));
  }
  clear(tensor);
  IBX_TRY(measure(dtype, kept, rank, &count, &bytes, err));
  if (dtype == IBX_DTYPE_STRING) {
    IBX_TRY(grow_offsets(tensor, (size_t)count + 1, err));
    tensor->offsets[0] = 0;
  } else {
    drop_offsets(tensor);
    IBX_TRY(grow_data(tensor, (size_t)bytes, err));
    if (bytes != 0) memset(tensor->data, 0, (size_t)bytes);
    tensor->data_bytes = (size_t)bytes;
  }
  set_type(tensor, dtype, kept, rank);
  return IBX_OK;
}

static bool owns_texts(const ibx_host_tensor *tensor) {
  return tensor->dtype == IBX_DTYPE_STRING && tensor->offset_room != 0;
}

ibx_status ibx_host_tensor_grow_text(ibx_host_tensor *tensor, const char *bytes,
                                     size_t len, ibx_error *err) {
  if (!owns_texts(tensor) || tensor->text_count == 0) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the tensor has no text to grow");
  }
  uint64_t end = UINT64_MAX;
  if (!ibx_add_size(tensor->data_bytes, len, &end) || end > INT64_MAX / 2) {
    return no_memory(end, err);
  }
  IBX_TRY(grow_data(tensor, (size_t)end, err));
  if (len != 0) memcpy(tensor->data + tensor->data_bytes, bytes, len);
  tensor->data_bytes = (size_t)end;
  tensor->offsets[tensor->text_count] = end;
  return IBX_OK;
}

ibx_status ibx_host_tensor_add_text(ibx_host_tensor *tensor, const char *bytes,
                                    size_t len, ibx_error *err) {
  if (!owns_texts(tensor) ||
      tensor->text_count >= ibx_host_tensor_count(tensor)) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "the tensor has no place for another text");
  }
  tensor->text_count++;
  tensor->offsets[tensor->text_count] = tensor->data_bytes;
  ibx_status status = ibx_host_tensor_grow_text(tensor, bytes, len, err);
  if (status != IBX_OK) tensor->text_count--;
  return status;
}

ibx_status ibx_host_tensor_set_texts(ibx_host_tensor *tensor,
                                     const uint64_t *shape, size_t rank,
                                     const char *const *texts, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(tensor, IBX_DTYPE_STRING, shape, rank, err));
  uint64_t count = ibx_host_tensor_count(tensor);
  for (uint64_t i = 0; i < count; i++) {
    IBX_TRY(ibx_host_tensor_add_text(tensor, texts[i], strlen(texts[i]), err));
  }
  return IBX_OK;
}

ibx_str ibx_host_tensor_text(const ibx_host_tensor *tensor, uint64_t index) {
  if (index >= tensor->text_count) return (ibx_str){.data = "", .len = 0};
  uint64_t start = tensor->offsets[index];
  size_t len = (size_t)(tensor->offsets[index + 1] - start);
  if (len == 0) return (ibx_str){.data = "", .len = 0};
  return (ibx_str){.data = (const char *)tensor->data + start, .len = len};
}

ibx_status ibx_host_tensor_copy(ibx_host_tensor *to,
                                const ibx_host_tensor *from, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(to, from->dtype, from->shape, from->rank, err));
  if (from->dtype != IBX_DTYPE_STRING) {
    if (from->data_bytes != 0) memcpy(to->data, from->data, from->data_bytes);
    return IBX_OK;
  }
  for (uint64_t i = 0; i < from->text_count; i++) {
    ibx_str text = ibx_host_tensor_text(from, i);
    IBX_TRY(ibx_host_tensor_add_text(to, text.data, text.len, err));
  }
  return IBX_OK;
}

ibx_status ibx_host_tensor_append(ibx_host_tensor *list,
                                  const ibx_host_tensor *row, ibx_error *err) {
  uint64_t count, bytes, shape[IBX_MAX_RANK];
  bool fits = row->dtype == list->dtype && row->dtype != IBX_DTYPE_STRING &&
              list->rank == row->rank + 1 && row->rank < IBX_MAX_RANK;
  for (size_t d = 0; fits && d < row->rank; d++)
    fits = row->shape[d] == list->shape[d + 1];
  if (!fits) {
    return IBX_FAIL(err, MISMATCH,
                    "a row has another dtype or shape than those before it");
  }
  memcpy(shape, list->shape, sizeof(shape));
  shape[0]++;
  IBX_TRY(measure(list->dtype, shape, list->rank, &count, &bytes, err));
  IBX_TRY(grow_data(list, (size_t)bytes, err));
  if (row->data_bytes != 0)
    memcpy(list->data + list->data_bytes, row->data, row->data_bytes);
  list->data_bytes = (size_t)bytes;
  list->shape[0]++;
  return IBX_OK;
}

// --- borrowing ---------------------------------------------------------------

static ibx_status borrow_texts(ibx_host_tensor *tensor, uint64_t count,
                               ibx_span bytes, ibx_error *err) {
  uint64_t head = (count + 1) * sizeof(uint64_t); // fits: measured before
  if (bytes.size < head || (uintptr_t)bytes.data % sizeof(uint64_t) != 0) {
    return IBX_FAIL(err, MISMATCH,
                    "%" PRIu64 " texts are cut short, or not aligned", count);
  }
  const uint64_t *offsets = (const void *)bytes.data;
  bool is_fine = offsets[0] == 0 && offsets[count] == bytes.size - head;
  for (uint64_t i = 0; i < count && is_fine; i++) {
    is_fine = offsets[i] <= offsets[i + 1];
  }
  if (!is_fine) {
    return IBX_FAIL(err, MISMATCH, "the offsets of %" PRIu64 " texts are wrong",
                    count);
  }
  tensor->offsets = ibx_host_lend(bytes.data);
  tensor->data = ibx_host_lend(bytes.data + head);
  tensor->data_bytes = (size_t)(bytes.size - head);
  tensor->text_count = (size_t)count;
  return IBX_OK;
}

ibx_status ibx_host_tensor_borrow(ibx_host_tensor *tensor, ibx_dtype dtype,
                                  const uint64_t *shape, size_t rank,
                                  ibx_span bytes, ibx_error *err) {
  uint64_t count, size;
  ibx_host_tensor_fini(tensor);
  IBX_TRY(measure(dtype, shape, rank, &count, &size, err));
  if (dtype == IBX_DTYPE_STRING) {
    IBX_TRY(borrow_texts(tensor, count, bytes, err));
  } else if (size != bytes.size) {
    return IBX_FAIL(err, MISMATCH,
                    "%zu bytes are given for elements of %" PRIu64, bytes.size,
                    size);
  } else {
    tensor->data = ibx_host_lend(bytes.data);
    tensor->data_bytes = bytes.size;
  }
  set_type(tensor, dtype, shape, rank);
  return IBX_OK;
}
