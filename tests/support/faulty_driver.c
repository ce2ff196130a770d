// SPDX-License-Identifier: Apache-2.0
//
// A driver library with a fault of choice: the simulator behind a table that
// breaks one sentence of the contract, "?fault=NAME" of faults.def.

#include "imbrex/driver.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef enum fault {
  FAULT_NONE,
#define FAULT(name, test) FAULT_##name,
#include "faults.def"
} fault;

typedef struct device {
  ibx_allocator allocator;
  void *sim;
  fault fault;
  void *last; ///< executable of the latest load
} device;

typedef struct executable {
  device *device;
  const ibx_entry *entry;
  void *sim;
  bool is_broken;
} executable;

static fault find_fault(const char *rest) {
  static const char *const names[] = {
      "",
#define FAULT(name, test) #name,
#include "faults.def"
  };
  const char *at = strstr(rest, "fault=");
  size_t len = at == NULL ? 0 : strcspn(at + 6, "&");
  for (size_t i = 1; i < IBX_COUNT_OF(names); i++) {
    if (strlen(names[i]) == len && memcmp(names[i], at + 6, len) == 0) {
      return (fault)i;
    }
  }
  return FAULT_NONE;
}

// What stands behind the fault is the simulator's.
static const char *options_of(fault chosen, const char *rest) {
  if (chosen == FAULT_NONE) return rest + (rest[0] == '?');
  const char *end = strchr(rest, '&');
  return end == NULL || chosen == FAULT_any_option ? "" : end + 1;
}

static ibx_status faulty_open(const char *rest, const ibx_allocator *allocator,
                              void **out_device, ibx_error *err) {
  char options[256] = "?";
  *out_device = NULL;
  fault chosen = find_fault(rest);
  const char *own = options_of(chosen, rest);
  size_t len = strnlen(own, sizeof(options) - 2);
  memcpy(options + 1, own, len);
  if (chosen == FAULT_kept_allocation) {
    (void)allocator->alloc(allocator->user, 64);
  }
  device *d = allocator->alloc(allocator->user, sizeof(*d));
  if (d == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *d = (device){.allocator = *allocator, .fault = chosen};
  ibx_status status =
      ibx_sim_device_table()->open(options, allocator, &d->sim, err);
  if (status != IBX_OK) {
    allocator->free(allocator->user, d);
    return status;
  }
  *out_device = d;
  return IBX_OK;
}

static void faulty_close(void *handle) {
  device *d = handle;
  ibx_sim_device_table()->close(d->sim);
  d->allocator.free(d->allocator.user, d);
}

static ibx_device_info faulty_query(void *handle) {
  const device *d = handle;
  ibx_device_info info = ibx_sim_device_table()->query(d->sim);
  if (d->fault == FAULT_no_name) info.name = NULL;
  return info;
}

static ibx_status faulty_load(void *handle, const ibx_device_program *program,
                              void **out_executable, ibx_error *err) {
  device *d = handle;
  *out_executable = NULL;
  if (d->fault == FAULT_kept_descriptor) {
    (void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
  }
  executable *x = d->allocator.alloc(d->allocator.user, sizeof(*x));
  if (x == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *x = (executable){.device = d, .entry = program->entry};
  ibx_status status =
      ibx_sim_device_table()->load(d->sim, program, &x->sim, err);
  if (status != IBX_OK) {
    d->allocator.free(d->allocator.user, x);
    return status;
  }
  d->last = x;
  *out_executable = x;
  return IBX_OK;
}

static void faulty_unload(void *handle) {
  executable *x = handle;
  ibx_sim_device_table()->unload(x->sim);
  x->device->allocator.free(x->device->allocator.user, x);
}

static void touch(const executable *x, ibx_buffer_kind kind,
                  uint8_t *const *memory, bool clears) {
  for (size_t i = 0; i < x->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &x->entry->buffers[i];
    if (buffer->kind != kind || buffer->place.bytes == 0) continue;
    if (clears) {
      memset(memory[i], 0, (size_t)buffer->place.bytes);
    } else {
      memory[i][0] ^= 1;
    }
  }
}

static bool has_missing(const executable *x, uint8_t *const *memory) {
  for (size_t i = 0; i < x->entry->buffer_count; i++) {
    ibx_buffer_kind kind = x->entry->buffers[i].kind;
    bool is_bound = kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_OUTPUT ||
                    kind == IBX_BUFFER_STATE;
    if (is_bound && memory[i] == NULL) return true;
  }
  return false;
}

// Works in memory from the preceding multiple of 4 on, as a device would that
// drops the lowest bits of an address.
static ibx_status run_aligned(executable *x, uint8_t *const *memory,
                              ibx_error *err) {
  size_t count = x->entry->buffer_count;
  uint8_t **rounded = calloc(count + 1, sizeof(*rounded));
  if (rounded == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  for (size_t i = 0; i < count; i++) {
    if (memory[i] != NULL) rounded[i] = memory[i] - (uintptr_t)memory[i] % 4;
  }
  ibx_status status = ibx_sim_device_table()->run(x->sim, rounded, err);
  free(rounded);
  return status;
}

static ibx_status run_sim(executable *x, uint8_t *const *memory,
                          ibx_error *err) {
  const ibx_device_table *sim = ibx_sim_device_table();
  switch (x->device->fault) {
  case FAULT_lost_state: touch(x, IBX_BUFFER_STATE, memory, true); break;
  case FAULT_no_check:
    if (has_missing(x, memory)) return IBX_OK;
    break;
  case FAULT_no_message: return sim->run(x->sim, memory, NULL);
  case FAULT_aligned_only: return run_aligned(x, memory, err);
  default: break;
  }
  return sim->run(x->sim, memory, err);
}

static ibx_status faulty_run(void *handle, uint8_t *const *memory,
                             ibx_error *err) {
  executable *x = handle;
  fault chosen = x->device->fault;
  if (chosen == FAULT_one_executable && x != x->device->last) return IBX_OK;
  if (x->is_broken) return IBX_FAIL(err, DEVICE_ERROR, "it is broken");
  ibx_status status = run_sim(x, memory, err);
  if (status != IBX_OK) {
    x->is_broken = chosen == FAULT_no_recovery;
    if (chosen == FAULT_one_message) {
      return IBX_FAIL(err, DEVICE_ERROR, "the run failed");
    }
    return status;
  }
  if (chosen == FAULT_wrong_byte) touch(x, IBX_BUFFER_OUTPUT, memory, false);
  if (chosen == FAULT_written_input) touch(x, IBX_BUFFER_INPUT, memory, false);
  if (chosen == FAULT_lost_write) touch(x, IBX_BUFFER_STATE, memory, true);
  return IBX_OK;
}

static ibx_status faulty_time(void *handle, ibx_sim_event_fn on_event,
                              void *user, ibx_sim_time *out_time,
                              ibx_error *err) {
  static atomic_uint calls;
  const executable *x = handle;
  ibx_status status =
      ibx_sim_device_table()->time(x->sim, on_event, user, out_time, err);
  if (x->device->fault == FAULT_random_time) out_time->total_ps += ++calls;
  return status;
}

static ibx_status faulty_alloc(void *handle, size_t size_bytes,
                               void **out_memory, ibx_error *err) {
  const device *d = handle;
  *out_memory = d->allocator.alloc(d->allocator.user, size_bytes);
  if (*out_memory == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  memset(*out_memory, d->fault == FAULT_dirty_memory, size_bytes);
  return IBX_OK;
}

static void faulty_free(void *handle, void *memory) {
  const device *d = handle;
  d->allocator.free(d->allocator.user, memory);
}

const ibx_device_table *ibx_driver_get_table(uint32_t version);

IBX_API const ibx_device_table *ibx_driver_get_table(uint32_t version) {
  static const ibx_device_table table = {
      .version = IBX_DEVICE_TABLE_VERSION,
      .size_bytes = sizeof(ibx_device_table),
      .layout = IBX_DEVICE_LAYOUT,
      .open = faulty_open,
      .close = faulty_close,
      .query = faulty_query,
      .load = faulty_load,
      .unload = faulty_unload,
      .run = faulty_run,
      .time = faulty_time,
      .memory_alloc = faulty_alloc,
      .memory_free = faulty_free,
  };
  return version == IBX_DEVICE_TABLE_VERSION ? &table : NULL;
}
