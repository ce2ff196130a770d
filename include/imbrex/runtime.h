// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_RUNTIME_H
#define IBX_RUNTIME_H

/// \file
/// Running programs: a device, sessions of a program's entries on it, buffers,
/// fences. No globals and no printing. Handles of one device may be used from
/// several threads; one handle is created and destroyed by one thread while
/// nobody uses it.

#include "imbrex/driver.h"
#include "imbrex/host.h"

IBX_C_BEGIN

/// Opaque. Made by ibx_device_open(), ended by ibx_device_close().
typedef struct ibx_device ibx_device;
/// Opaque. Made by ibx_buffer_create() or ibx_buffer_wrap().
typedef struct ibx_buffer ibx_buffer;
/// Opaque. Made by ibx_session_create(), ended by ibx_session_destroy().
typedef struct ibx_session ibx_session;
/// Opaque. Made by ibx_fence_create(), ended by ibx_fence_destroy().
typedef struct ibx_fence ibx_fence;

/// Opens a device by URI; `allocator` may be NULL for malloc.
///   sim:                          the simulator, fastest order
///   sim:?order=random&seed=7      any order that the semaphores allow
///   sim:?order=adversarial&seed=0 one engine ahead of all others, memory
///                                 poisoned; seeds 0 to 9 pick which and how
///   sim:?exec=spec                each instruction as specified: slow; without
///                                 it with the same bytes, but for activations
///   sim:?rounding=stochastic&seed=7  floating types below fp32 are rounded up
///                                 or down by chance, in the mean exactly; as
///                                 slow, and the same in every order
///   sim:ibx3?cores=4&threads=2    four cores of a chip, on two threads (1 core
///                                 and a thread a core without them); at most 8
///   driver:/path/lib.so[?...]     a driver library; see driver.h
/// Fails with INVALID_ARGUMENT on a malformed URI, NOT_FOUND, OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status ibx_device_open(const char *uri,
                                                 const ibx_allocator *allocator,
                                                 ibx_device **out_device,
                                                 ibx_error *err);
/// Makes a device of a table and a handle that the caller has opened himself;
/// ibx_device_close() ends the handle, too, by the table's `close`. The table
/// outlives the device. Fails with UNSUPPORTED (a table with holes or of another
/// version), OUT_OF_MEMORY; the handle stays the caller's then.
IBX_API IBX_NODISCARD ibx_status ibx_device_wrap(const ibx_device_table *table,
                                                 void *handle,
                                                 const ibx_allocator *allocator,
                                                 ibx_device **out_device,
                                                 ibx_error *err);
/// Accepts NULL. Sessions and buffers of the device must be gone.
IBX_API void ibx_device_close(ibx_device *device);
IBX_API ibx_device_info ibx_device_query(const ibx_device *device);

/// Allocates `size_bytes` of zeroed memory, aligned to 64 bytes, that the
/// device reaches: a run need not copy what is bound from here.
IBX_API IBX_NODISCARD ibx_status ibx_buffer_create(ibx_device *device,
                                                   size_t size_bytes,
                                                   ibx_buffer **out_buffer,
                                                   ibx_error *err);
/// Borrows the caller's memory, without a copy, until the buffer is destroyed.
IBX_API IBX_NODISCARD ibx_status ibx_buffer_wrap(ibx_device *device,
                                                 void *memory,
                                                 size_t size_bytes,
                                                 ibx_buffer **out_buffer,
                                                 ibx_error *err);
/// Lends the memory for reading and writing; no run may use it meanwhile.
IBX_API void *ibx_buffer_map(ibx_buffer *buffer, size_t *out_size_bytes);
/// Accepts NULL.
IBX_API void ibx_buffer_destroy(ibx_buffer *buffer);

/// Proves the entry (the first one when `entry_name` is NULL) and loads it. The
/// program must outlive the session. State tensors start as zeros. Fails with
/// NOT_FOUND, UNPROVEN, MISMATCH (another target), OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status ibx_session_create(ibx_device *device,
                                                    const ibx_program *program,
                                                    const char *entry_name,
                                                    ibx_session **out_session,
                                                    ibx_error *err);
/// Accepts NULL. Waits for what is enqueued.
IBX_API void ibx_session_destroy(ibx_session *session);

/// Lends the entry: names, shapes and dtypes of inputs and outputs.
IBX_API const ibx_entry *ibx_session_entry(const ibx_session *session);

/// Memory of one input or output of a run, borrowed until the run is complete.
/// `name` picks the tensor, or `index` where `name` is NULL. Texts, and tensors
/// with IBX_ANY_EXTENT in their shape, need `tensor`: of an input its elements
/// are read; an output is reset to what the run gives, and the caller ends it
/// with ibx_host_tensor_fini(). Other tensors of an entry with steps may use
/// either.
typedef struct ibx_binding {
  const char *name;
  size_t index;
  void *data; ///< inputs are only read
  size_t size_bytes;
  ibx_host_tensor *tensor; ///< instead of `data`, or NULL
} ibx_binding;

/// The tensors of a run. Every input must be bound but those that are state,
/// where a binding replaces the state; outputs may be left out. A bound state
/// output receives a copy of the state after the run. Outputs overlap no other
/// binding; after a run that failed, outputs and state are unspecified.
typedef struct ibx_run {
  const ibx_binding *inputs;
  const ibx_binding *outputs;
  size_t input_count, output_count;
} ibx_run;

/// Runs after everything enqueued before, and returns when the outputs are
/// complete. Any thread may call it. Fails with INVALID_ARGUMENT (a tensor that
/// is unknown, bound twice or missing), MISMATCH (a size, or data that the host
/// cannot compute with, as a text that is no number), DEVICE_ERROR. Entries with
/// steps on the host allocate while they run: OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status ibx_session_run(ibx_session *session,
                                                 const ibx_run *run,
                                                 ibx_error *err);

/// Copies a state tensor, named as an input, out of (or into) the session.
IBX_API IBX_NODISCARD ibx_status ibx_session_read_state(ibx_session *session,
                                                        const char *name,
                                                        void *data,
                                                        size_t size_bytes,
                                                        ibx_error *err);
IBX_API IBX_NODISCARD ibx_status ibx_session_write_state(ibx_session *session,
                                                         const char *name,
                                                         const void *data,
                                                         size_t size_bytes,
                                                         ibx_error *err);

/// A fence tells when an enqueued run is complete; it serves one run after the
/// other. On success the caller owns `*out_fence`.
IBX_API IBX_NODISCARD ibx_status ibx_fence_create(ibx_device *device,
                                                  ibx_fence **out_fence,
                                                  ibx_error *err);
/// Accepts NULL. Its run must be complete.
IBX_API void ibx_fence_destroy(ibx_fence *fence);

/// Queues a run and returns at once; runs of a session complete in the order of
/// the calls. `run`, what it points to and the fence must stay until the fence
/// says so. Fails with INVALID_ARGUMENT when the fence is in use, OUT_OF_MEMORY
/// when no thread can be made. Nothing is allocated after the first call.
IBX_API IBX_NODISCARD ibx_status ibx_session_enqueue(ibx_session *session,
                                                     const ibx_run *run,
                                                     ibx_fence *fence,
                                                     ibx_error *err);
/// Waits for the run and gives its status; OK when the fence has no run.
IBX_API IBX_NODISCARD ibx_status ibx_fence_wait(ibx_fence *fence,
                                                ibx_error *err);
/// Whether the run is complete, without waiting.
IBX_API bool ibx_fence_query(ibx_fence *fence);

/// The simulated time of a run and, through `on_event` (may be NULL), its
/// timeline. Waits its turn as a run does, so `on_event` must not use the
/// session. Fails with UNSUPPORTED where the device has no time model.
IBX_API IBX_NODISCARD ibx_status ibx_session_profile(ibx_session *session,
                                                     ibx_sim_event_fn on_event,
                                                     void *user,
                                                     ibx_sim_time *out_time,
                                                     ibx_error *err);

/// The shape of output `index` after a run that is complete: the declared one
/// but for extents that the data decide (`extents` of the entry), which stand in
/// outputs that the run must have bound. Fails with INVALID_ARGUMENT where one is
/// not, DEVICE_ERROR where an extent exceeds the declared one.
IBX_API IBX_NODISCARD ibx_status
ibx_run_output_shape(const ibx_entry *entry, const ibx_run *run, size_t index,
                     uint64_t shape[IBX_MAX_RANK], ibx_error *err);

/// Moves the elements of that shape, which lie in `data` as the declared shape
/// has them, to the front of it, row-major. Returns their bytes.
IBX_API uint64_t ibx_tensor_pack(const ibx_tensor_decl *tensor,
                                 const uint64_t shape[IBX_MAX_RANK],
                                 void *data);

/// Bytes of a tensor's elements.
IBX_API uint64_t ibx_tensor_bytes(const ibx_tensor_decl *tensor);

IBX_C_END
#endif
