// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BLOB_H
#define IBX_BLOB_H

/// \file
/// Growing memory that a program is written to and opened from, without a file:
/// ibx_blob_write() is an ibx_write_fn. Not thread-safe.

#include "imbrex/base.h"

IBX_C_BEGIN

/// Zero at first. `data` is aligned to 64 bytes and belongs to the blob.
typedef struct ibx_blob {
  uint8_t *data;
  size_t size;
  size_t capacity;
} ibx_blob;

/// Appends `size` bytes to the ibx_blob at `blob`. Returns false, with the blob
/// as it was, when memory is short.
IBX_API bool ibx_blob_write(void *blob, const void *data, size_t size);

/// Makes room for `capacity` bytes in all, so that a large program is not
/// copied while it grows. Returns false when memory is short.
IBX_API bool ibx_blob_reserve(ibx_blob *blob, size_t capacity);

/// Lends the bytes, until the next write.
IBX_API ibx_span ibx_blob_get(const ibx_blob *blob);

/// Frees the memory; the blob is empty and usable again.
IBX_API void ibx_blob_fini(ibx_blob *blob);

IBX_C_END
#endif
