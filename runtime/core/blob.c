// SPDX-License-Identifier: Apache-2.0
//
// Growing memory. Comes in: pieces of a file, in order. Goes out: one run of
// bytes aligned to 64, as a mapping of the file would be. After a failure the
// blob is as it was.

#include "imbrex/blob.h"

#include <stdlib.h>
#include <string.h>

enum { BLOB_ALIGN = 64, BLOB_FIRST_BYTES = 4096 };

// aligned_alloc() wants whole multiples of the alignment.
static bool round_up(uint64_t size, uint64_t *out) {
  if (!ibx_add_size(size, BLOB_ALIGN - 1, out)) return false;
  *out -= *out % BLOB_ALIGN;
  return *out <= SIZE_MAX;
}

bool ibx_blob_reserve(ibx_blob *blob, size_t capacity) {
  if (capacity <= blob->capacity) return true;
  uint64_t bytes;
  if (!round_up(capacity, &bytes)) return false;
  uint8_t *data = aligned_alloc(BLOB_ALIGN, (size_t)bytes);
  if (!data) return false;
  if (blob->size > 0) memcpy(data, blob->data, blob->size);
  free(blob->data);
  blob->data = data;
  blob->capacity = (size_t)bytes;
  return true;
}

bool ibx_blob_write(void *user, const void *data, size_t size) {
  ibx_blob *blob = user;
  uint64_t end;
  if (!ibx_add_size(blob->size, size, &end) || end > SIZE_MAX) return false;
  if (end > blob->capacity) {
    size_t doubled = blob->capacity > SIZE_MAX / 2 ? 0 : blob->capacity * 2;
    if (doubled < BLOB_FIRST_BYTES) doubled = BLOB_FIRST_BYTES;
    if (!ibx_blob_reserve(blob, doubled > end ? doubled : (size_t)end)) {
      return false;
    }
  }
  if (size > 0) memcpy(blob->data + blob->size, data, size);
  blob->size = (size_t)end;
  return true;
}

ibx_span ibx_blob_get(const ibx_blob *blob) {
  return (ibx_span){.data = blob->data, .size = blob->size};
}

void ibx_blob_fini(ibx_blob *blob) {
  free(blob->data);
  *blob = (ibx_blob){0};
}
