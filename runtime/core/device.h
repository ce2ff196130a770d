// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_DEVICE_H
#define IBX_CORE_DEVICE_H

/// \file
/// What device.c, buffer.c and session.c know of each other.

#include "imbrex/runtime.h"

struct ibx_device {
  ibx_allocator allocator;
  ibx_device_table table; ///< what both sides know of it, the rest is NULL
  void *handle;           ///< the driver's
  void *library;          ///< of dlopen(), or NULL
};

/// Zeroed memory of the device's allocator, or NULL; size 0 gives memory too.
void *ibx_device_alloc(const ibx_device *device, size_t size);
/// Accepts NULL.
void ibx_device_free(const ibx_device *device, void *memory);

/// What a function of the table gave, as a caller may keep it: the error does
/// not point into a library that may be closed before it is read.
ibx_status ibx_device_status(const ibx_device *device, ibx_status status,
                             ibx_error *err);

/// Zeroed memory for a run's buffers: the driver's where it shares memory,
/// otherwise the allocator's. Fails with OUT_OF_MEMORY, or as the driver says.
ibx_status ibx_device_memory_alloc(const ibx_device *device,
                                   uint64_t size_bytes, void **out_memory,
                                   ibx_error *err);
/// Accepts NULL.
void ibx_device_memory_free(const ibx_device *device, void *memory);

#endif
