// SPDX-License-Identifier: Apache-2.0
//
// Devices. In: a URI. Out: a table of functions and the driver's handle: the
// simulator's, or those of a shared library. Holds: the table has our version
// and layout, every function that must be there, and NULL where the library is
// older than a function.

#include "core/device.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, PATH_BYTES = 4096 };

static void *default_alloc(void *user, size_t size) {
  (void)user;
  if (size > SIZE_MAX - ALIGNMENT) return NULL;
  size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return aligned_alloc(ALIGNMENT, rounded == 0 ? ALIGNMENT : rounded);
}

static void default_free(void *user, void *memory) {
  (void)user;
  free(memory);
}

void *ibx_device_alloc(const ibx_device *device, size_t size) {
  void *memory = device->allocator.alloc(device->allocator.user, size);
  if (memory != NULL) memset(memory, 0, size);
  return memory;
}

void ibx_device_free(const ibx_device *device, void *memory) {
  if (memory != NULL) device->allocator.free(device->allocator.user, memory);
}

ibx_status ibx_device_status(const ibx_device *device, ibx_status status,
                             ibx_error *err) {
  if (status == IBX_OK || err == NULL || device->library == NULL) return status;
  err->file = NULL;
  err->line = 0;
  err->message[sizeof(err->message) - 1] = 0;
  return status;
}

ibx_status ibx_device_memory_alloc(const ibx_device *device,
                                   uint64_t size_bytes, void **out_memory,
                                   ibx_error *err) {
  *out_memory = NULL;
  const ibx_device_table *table = &device->table;
  if (size_bytes > SIZE_MAX) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "%llu bytes are more than an address",
                    (unsigned long long)size_bytes);
  }
  // A buffer without bytes has an address too.
  size_t size = size_bytes == 0 ? 1 : (size_t)size_bytes;
  if (table->memory_alloc != NULL) {
    ibx_status status =
        table->memory_alloc(device->handle, size, out_memory, err);
    IBX_TRY(ibx_device_status(device, status, err));
  } else {
    *out_memory = ibx_device_alloc(device, size);
  }
  if (*out_memory != NULL) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu bytes", size);
}

void ibx_device_memory_free(const ibx_device *device, void *memory) {
  if (memory == NULL) return;
  if (device->table.memory_alloc != NULL) {
    device->table.memory_free(device->handle, memory);
  } else {
    ibx_device_free(device, memory);
  }
}

static bool is_complete(const ibx_device_table *table) {
  return table->open && table->close && table->query && table->load &&
         table->unload && table->run &&
         (table->memory_alloc == NULL) == (table->memory_free == NULL);
}

// Keeps what we and the driver both know of its table.
static ibx_status take_table(ibx_device *device, const ibx_device_table *table,
                             const char *uri, ibx_error *err) {
  if (table == NULL || table->version != IBX_DEVICE_TABLE_VERSION) {
    return IBX_FAIL(err, UNSUPPORTED, "device '%s' has no table version %u",
                    uri, IBX_DEVICE_TABLE_VERSION);
  }
  if (table->layout != IBX_DEVICE_LAYOUT ||
      table->size_bytes < IBX_DEVICE_TABLE_MIN_BYTES) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "device '%s' was built with other headers than this "
                    "runtime; build it again",
                    uri);
  }
  size_t size =
      table->size_bytes < sizeof(*table) ? table->size_bytes : sizeof(*table);
  memcpy(&device->table, table, size);
  if (is_complete(&device->table)) return IBX_OK;
  return IBX_FAIL(err, UNSUPPORTED, "the table of device '%s' has holes", uri);
}

static ibx_status find_table(ibx_device *device, const char *path,
                             const ibx_device_table **out_table,
                             ibx_error *err) {
  device->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (device->library == NULL) {
    return IBX_FAIL(err, NOT_FOUND, "driver %s: %s", path, dlerror());
  }
  void *symbol = dlsym(device->library, IBX_DRIVER_SYMBOL);
  if (symbol == NULL) {
    return IBX_FAIL(err, NOT_FOUND, "driver %s does not export %s", path,
                    IBX_DRIVER_SYMBOL);
  }
  // POSIX, not C, says that an object pointer can hold a function's address.
  ibx_driver_entry_fn get_table;
  memcpy(&get_table, &symbol, sizeof(get_table));
  *out_table = get_table(IBX_DEVICE_TABLE_VERSION);
  return IBX_OK;
}

// Opens the library of "/path/lib.so?rest" and stores where the rest begins.
static ibx_status open_library(ibx_device *device, const char *text,
                               const ibx_device_table **out_table,
                               const char **out_rest, ibx_error *err) {
  char path[PATH_BYTES];
  size_t len = strcspn(text, "?");
  if (len == 0 || len >= sizeof(path)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "driver:%s has no usable path",
                    text);
  }
  memcpy(path, text, len);
  path[len] = 0;
  *out_rest = text + len;
  return find_table(device, path, out_table, err);
}

static ibx_status open_uri(ibx_device *device, const char *uri,
                           ibx_error *err) {
  const char *rest = NULL;
  const ibx_device_table *table = NULL;
  if (strncmp(uri, "sim:", 4) == 0) {
    table = ibx_sim_device_table();
    rest = uri + 4;
  } else if (strncmp(uri, "driver:", 7) == 0) {
    IBX_TRY(open_library(device, uri + 7, &table, &rest, err));
  } else {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "device '%s' is neither sim: nor driver:/path/lib.so", uri);
  }
  IBX_TRY(take_table(device, table, uri, err));
  ibx_status status =
      device->table.open(rest, &device->allocator, &device->handle, err);
  if (status != IBX_OK) device->handle = NULL; // what failed is not closed
  return ibx_device_status(device, status, err);
}

static ibx_status create(const ibx_allocator *allocator, ibx_device **out,
                         ibx_error *err) {
  static const ibx_allocator default_allocator = {.alloc = default_alloc,
                                                  .free = default_free};
  if (allocator == NULL) allocator = &default_allocator;
  *out = allocator->alloc(allocator->user, sizeof(**out));
  if (*out == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  **out = (ibx_device){.allocator = *allocator};
  return IBX_OK;
}

ibx_status ibx_device_wrap(const ibx_device_table *table, void *handle,
                           const ibx_allocator *allocator,
                           ibx_device **out_device, ibx_error *err) {
  *out_device = NULL;
  ibx_device *device = NULL;
  IBX_TRY(create(allocator, &device, err));
  ibx_status status = take_table(device, table, "of the caller", err);
  if (status != IBX_OK) {
    ibx_device_close(device);
    return status;
  }
  device->handle = handle;
  *out_device = device;
  return IBX_OK;
}

ibx_status ibx_device_open(const char *uri, const ibx_allocator *allocator,
                           ibx_device **out_device, ibx_error *err) {
  *out_device = NULL;
  ibx_device *device = NULL;
  IBX_TRY(create(allocator, &device, err));
  ibx_status status = open_uri(device, uri, err);
  if (status != IBX_OK) {
    ibx_device_close(device);
    return status;
  }
  *out_device = device;
  return IBX_OK;
}

void ibx_device_close(ibx_device *device) {
  if (device == NULL) return;
  if (device->handle != NULL) device->table.close(device->handle);
  if (device->library != NULL) dlclose(device->library);
  ibx_device_free(device, device);
}

ibx_device_info ibx_device_query(const ibx_device *device) {
  ibx_device_info info = device->table.query(device->handle);
  if (info.name == NULL) info.name = "";
  if (info.target == NULL) info.target = "";
  return info;
}
