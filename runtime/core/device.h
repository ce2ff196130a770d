// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_DEVICE_H
#define IBX_CORE_DEVICE_H

/// \file
/// What device.c, buffer.c and session.c know of each other.

#include "imbrex/runtime.h"

struct ibx_device {
  ibx_allocator allocator;
  const ibx_device_table *table;
  void *handle;  ///< the driver's
  void *library; ///< of dlopen(), or NULL
};

/// Zeroed memory of the device's allocator, or NULL; size 0 gives memory too.
void *ibx_device_alloc(const ibx_device *device, size_t size);
/// Accepts NULL.
void ibx_device_free(const ibx_device *device, void *memory);

#endif
