// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DEVICE_DRIVER_H
#define IBX_DEVICE_DRIVER_H

/// \file
/// What a device is to the runtime: a table of functions. The simulator fills
/// one; a shared library that exports IBX_DRIVER_SYMBOL, an ibx_driver_entry_fn,
/// is another. The runtime has checked and proved every entry before it reaches
/// a driver.

#include "imbrex/program.h"
#include "imbrex/sim.h"

IBX_C_BEGIN

/// Grows when the table changes; a driver gives NULL for one it does not know.
#define IBX_DEVICE_TABLE_VERSION 1u
#define IBX_DRIVER_SYMBOL "ibx_driver_get_table"

/// Memory of handles and buffers. `alloc` returns `size` bytes aligned to 64,
/// or NULL; `free` accepts NULL.
typedef struct ibx_allocator {
  void *(*alloc)(void *user, size_t size);
  void (*free)(void *user, void *memory);
  void *user;
} ibx_allocator;

/// What a device says of itself.
typedef struct ibx_device_info {
  const char *name;   ///< "sim"
  const char *target; ///< "ibx3", or "" where it runs every target
  uint32_t cores;
} ibx_device_info;

/// Every function may be called from any thread; runs of one executable are
/// never concurrent. `device` and `executable` are the driver's own.
typedef struct ibx_device_table {
  uint32_t version; ///< IBX_DEVICE_TABLE_VERSION

  /// `rest` is what follows the scheme of the URI: "?order=random&seed=3".
  ibx_status (*open)(const char *rest, const ibx_allocator *allocator,
                     void **out_device, ibx_error *err);
  void (*close)(void *device);
  ibx_device_info (*query)(void *device);

  /// Prepares an entry. Program and entry outlive the executable.
  ibx_status (*load)(void *device, const ibx_program_data *program,
                     const ibx_entry *entry, void **out_executable,
                     ibx_error *err);
  void (*unload)(void *executable);

  /// Runs once and returns when the outputs are complete; see ibx_sim_memory.
  ibx_status (*run)(void *executable, const ibx_sim_memory *memory,
                    ibx_error *err);

  /// Times the entry; `on_event` may be NULL. A device without the means has
  /// NULL here.
  ibx_status (*time)(void *executable, ibx_sim_event_fn on_event, void *user,
                     ibx_sim_time *out_time, ibx_error *err);
} ibx_device_table;

/// The one symbol of a driver library.
typedef const ibx_device_table *(*ibx_driver_entry_fn)(uint32_t version);

/// The simulator's table.
IBX_API const ibx_device_table *ibx_sim_device_table(void);

IBX_C_END
#endif
