// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DEVICE_DRIVER_H
#define IBX_DEVICE_DRIVER_H

/// \file
/// What a device is to the runtime: a table of functions. The simulator fills
/// one; a shared library that exports IBX_DRIVER_SYMBOL, an
/// ibx_driver_entry_fn, is another. docs/driver.md tells the same as a story,
/// with a driver to read (examples/driver_socket) and a suite to run
/// (imbrex-conformance).
///
/// Order. open; then any number of loads, allocations and queries; each
/// executable: any number of runs and times, then unload; each allocation ends
/// by memory_free; last, when no executable and no memory is left, close. What
/// `open` or `load` refused is not closed or unloaded.
///
/// Threads. Any function may be called from any thread, and from several at
/// once, but for this: calls on one executable never overlap, and neither do
/// `open` or `close` with anything else on that device. So loads, unloads,
/// allocations and runs of other executables go on while one executable runs.
/// A call may block; the runtime makes the threads that waiting needs.
///
/// Errors. A function that can fail returns one of status.def and, unless `err`
/// is NULL, fills in all of `*err`: the same status, a message in the manner of
/// the others (the value, the limit, the remedy; no line end), `file` a literal
/// or NULL. ibx_error_set() does it, but a driver need not link any of our
/// libraries. After a failed call, out parameters hold NULL. After a failed run
/// the executable runs again with good data, unless the device itself is lost:
/// then every later call fails, and close, unload and memory_free still work.
///
/// Handles that a driver gives are not NULL.
///
/// What is certain when a driver is called: pointers are not NULL but where
/// it is said; the program file was read with its digests, every instruction
/// decodes and keeps the limits of its machine, the entry is proved (docs/
/// prover.md: accesses inside of their buffers, no race, no deadlock), and the
/// target is that of `query` where it names one. Values of tensors are not
/// certain: an index or a register may lie beyond its limit, which fails the
/// run with DEVICE_ERROR and must not do more.
///
/// What a driver never does: print, exit, abort, raise or ignore signals,
/// change what belongs to the process (locale, directory, environment), leave
/// threads or descriptors behind after `close`, or keep a pointer beyond the
/// lifetime that is said here. Everything it makes belongs to a device: two
/// devices of one library know nothing of each other.

#include "imbrex/program.h"
#include "imbrex/sim.h"

IBX_C_BEGIN

/// Counts changes that break drivers. The runtime takes tables of this version
/// only; so a driver gives NULL for a version that it does not know.
#define IBX_DEVICE_TABLE_VERSION 2u
#define IBX_DRIVER_SYMBOL "ibx_driver_get_table"

/// Memory of handles. `alloc` returns `size` bytes aligned to 64, or NULL;
/// `free` accepts NULL. Both may be called from any thread.
typedef struct ibx_allocator {
  void *(*alloc)(void *user, size_t size);
  void (*free)(void *user, void *memory);
  void *user;
} ibx_allocator;

/// What a device says of itself. The texts live until it is closed.
typedef struct ibx_device_info {
  const char *name;   ///< "sim"
  const char *target; ///< "ibx3", or "" where it runs every target
  uint32_t cores;
} ibx_device_info;

/// What is loaded: one entry of a program, and the bytes that it was read from,
/// for a device that decodes by itself. All but this struct outlives the
/// executable. `program->weights` lies inside of `file`.
typedef struct ibx_device_program {
  const ibx_program_data *program;
  const ibx_entry *entry; ///< one of `program->entries`
  ibx_span file;          ///< docs/program-format.md; aligned to 64 bytes
} ibx_device_program;

typedef struct ibx_device_table {
  uint32_t version;    ///< IBX_DEVICE_TABLE_VERSION
  uint32_t size_bytes; ///< sizeof(ibx_device_table)
  uint64_t layout;     ///< IBX_DEVICE_LAYOUT

  /// `rest` is what follows the scheme, or the library, in the URI, "?speed=3"
  /// or "": it lives for the call. An option that the driver does not know
  /// fails with INVALID_ARGUMENT and its name. `allocator` is copied by who
  /// keeps it; its functions live until `close` returns.
  ibx_status (*open)(const char *rest, const ibx_allocator *allocator,
                     void **out_device, ibx_error *err);
  /// Ends every thread and process that the device started.
  void (*close)(void *device);
  ibx_device_info (*query)(void *device);

  /// Prepares an entry. Fails with OUT_OF_MEMORY, OUT_OF_CAPACITY, UNSUPPORTED
  /// (an instruction that this device lacks), DEVICE_ERROR.
  ibx_status (*load)(void *device, const ibx_device_program *program,
                     void **out_executable, ibx_error *err);
  void (*unload)(void *executable);

  /// Runs once and returns when the results are complete. `memory[i]` is the
  /// storage of buffer i of the entry where that is of kind INPUT, OUTPUT or
  /// STATE: ibx_buffer_bytes() of it, at any alignment, the caller's
  /// until the call returns and then forgotten. Other elements are ignored. A
  /// needed one that is NULL fails with INVALID_ARGUMENT, unless the buffer has
  /// no bytes. INPUT is only read. What no instruction writes of an OUTPUT is
  /// unspecified afterwards; STATE keeps it. A failed run leaves both
  /// unspecified. Outputs that overlap anything are the caller's fault and must
  /// harm nothing else.
  ibx_status (*run)(void *executable, uint8_t *const *memory, ibx_error *err);

  /// Optional: NULL where the device has no model of time; then
  /// ibx_session_profile() fails with UNSUPPORTED and everything else works.
  /// Times the entry without data and without changing anything. `on_event`
  /// (may be NULL) is called in this thread, in order of start.
  ibx_status (*time)(void *executable, ibx_sim_event_fn on_event, void *user,
                     ibx_sim_time *out_time, ibx_error *err);

  /// Optional, both or none: memory that host and device share, so that a run
  /// need not copy it. The runtime takes state, outputs that nobody bound and
  /// ibx_buffer_create() from here, else from the allocator. `size_bytes` is
  /// not 0; the memory is zeroed and aligned to 64 bytes. A run may get any
  /// address in it, and addresses of any other memory beside it.
  ibx_status (*memory_alloc)(void *device, size_t size_bytes, void **out_memory,
                             ibx_error *err);
  void (*memory_free)(void *device, void *memory); ///< accepts NULL
} ibx_device_table;

/// How a table grows. New functions come last and are optional. The runtime
/// copies as many bytes as it and the driver both know: to an older driver's
/// table it adds NULLs, of a newer driver's table it does not see the end, so a
/// driver must work when what it added is never called. Everything else that
/// changes raises the version.
enum { IBX_DEVICE_TABLE_MIN_BYTES = offsetof(ibx_device_table, time) };

/// Changes when a struct of our headers that a driver reads or fills changes
/// its size: a driver that was built with other headers is refused by itself.
#define IBX_DEVICE_LAYOUT                                                      \
  (IBX_LAYOUT_TERM(ibx_insn, 1) + IBX_LAYOUT_TERM(ibx_stream, 2) +             \
   IBX_LAYOUT_TERM(ibx_entry, 3) + IBX_LAYOUT_TERM(ibx_buffer_decl, 4) +       \
   IBX_LAYOUT_TERM(ibx_tensor_decl, 5) + IBX_LAYOUT_TERM(ibx_machine, 6) +     \
   IBX_LAYOUT_TERM(ibx_program_data, 7) + IBX_LAYOUT_TERM(ibx_sim_time, 8) +   \
   IBX_LAYOUT_TERM(ibx_sim_event, 9) + IBX_LAYOUT_TERM(ibx_error, 10) +        \
   IBX_LAYOUT_TERM(ibx_device_info, 11) + IBX_LAYOUT_TERM(ibx_allocator, 12) + \
   IBX_LAYOUT_TERM(ibx_device_program, 13))
/// A size times a number of its own, so that no two changes cancel out.
#define IBX_LAYOUT_TERM(type, place)                                           \
  ((uint64_t)sizeof(type) * (UINT64_C(0x9e3779b97f4a7c15) * (place) | 1))

/// The one symbol of a driver library. The table lives as long as the library.
typedef const ibx_device_table *(*ibx_driver_entry_fn)(uint32_t version);

/// The simulator's table.
IBX_API const ibx_device_table *ibx_sim_device_table(void);

IBX_C_END
#endif
