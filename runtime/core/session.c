// SPDX-License-Identifier: Apache-2.0
//
// Sessions. In: a program and the name of an entry. Out: the entry on a device,
// ready to run. Holds: an entry is proved before a device sees it; state stays
// between runs.

#include "core/session.h"
#include "imbrex/prove.h"

#include <string.h>

uint64_t ibx_tensor_bytes(const ibx_tensor_decl *tensor) {
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)tensor->dtype);
  for (size_t d = 0; d < tensor->rank; d++) {
    if (!ibx_mul_size(bytes, tensor->shape[d], &bytes)) return UINT64_MAX;
  }
  return bytes;
}

static ibx_status check_target(const ibx_session *session, ibx_error *err) {
  const char *target = ibx_device_query(session->device).target;
  const char *needed = session->program->machine->name;
  if (target[0] == 0 || strcmp(target, needed) == 0) return IBX_OK;
  return IBX_FAIL(err, MISMATCH,
                  "the program is for %s, the device is %s; compile with "
                  "--target %s",
                  needed, target, target);
}

static ibx_status check_cores(const ibx_session *session, ibx_error *err) {
  uint32_t cores = ibx_device_query(session->device).cores;
  uint32_t needed = ibx_entry_cores(session->entry);
  if (needed <= cores) return IBX_OK;
  return IBX_FAIL(err, MISMATCH,
                  "entry %.60s needs %u cores, the device has %u; open it with "
                  "more, as sim:%s?cores=%u",
                  session->entry->name, needed, cores,
                  session->program->machine->name, needed);
}

static ibx_status load(ibx_session *session, const ibx_program *program,
                       ibx_error *err) {
  size_t count = session->entry->buffer_count + 1;
  uint64_t bytes = count * sizeof(*session->bound);
  session->bound = ibx_device_alloc(session->device, (size_t)bytes);
  session->owned = ibx_device_alloc(session->device, (size_t)bytes);
  if (session->bound == NULL || session->owned == NULL) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu buffers", count);
  }
  IBX_TRY(check_target(session, err));
  if (session->entry->steps != NULL) {
    return ibx_step_run_create(session->device, program, session->entry,
                               &session->steps, err);
  }
  IBX_TRY(check_cores(session, err));
  IBX_TRY(ibx_prove_entry(session->program, session->entry, NULL, err));
  const ibx_device_program loaded = {.program = session->program,
                                     .entry = session->entry,
                                     .file = ibx_program_bytes(program)};
  ibx_status status = session->device->table.load(
      session->device->handle, &loaded, &session->executable, err);
  if (status != IBX_OK) session->executable = NULL; // not to be unloaded
  return ibx_device_status(session->device, status, err);
}

ibx_status ibx_session_create(ibx_device *device, const ibx_program *program,
                              const char *entry_name, ibx_session **out_session,
                              ibx_error *err) {
  *out_session = NULL;
  const ibx_entry *entry = ibx_program_find_entry(program, entry_name);
  if (entry == NULL) {
    return IBX_FAIL(err, NOT_FOUND, "the program has no entry '%s'",
                    entry_name == NULL ? "" : entry_name);
  }
  return ibx_session_create_entry(device, program, entry, out_session, err);
}

ibx_status ibx_session_create_entry(ibx_device *device,
                                    const ibx_program *program,
                                    const ibx_entry *entry,
                                    ibx_session **out_session, ibx_error *err) {
  *out_session = NULL;
  ibx_session *session = ibx_device_alloc(device, sizeof(*session));
  if (session == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  session->device = device;
  session->program = ibx_program_get(program);
  session->entry = entry;
  pthread_mutex_init(&session->mutex, NULL);
  pthread_cond_init(&session->changed, NULL);
  ibx_status status = load(session, program, err);
  if (status != IBX_OK) {
    ibx_session_destroy(session);
    return status;
  }
  *out_session = session;
  return IBX_OK;
}

void ibx_session_destroy(ibx_session *session) {
  if (session == NULL) return;
  ibx_device *device = session->device;
  ibx_session_stop_worker(session);
  if (session->executable != NULL) device->table.unload(session->executable);
  ibx_step_run_destroy(session->steps);
  for (size_t i = 0; session->owned && i < session->entry->buffer_count; i++) {
    ibx_device_memory_free(device, session->owned[i]);
  }
  ibx_device_free(device, session->owned);
  ibx_device_free(device, session->bound);
  pthread_cond_destroy(&session->changed);
  pthread_mutex_destroy(&session->mutex);
  ibx_device_free(device, session);
}

const ibx_entry *ibx_session_entry(const ibx_session *session) {
  return session->entry;
}

ibx_status ibx_session_profile(ibx_session *session, ibx_sim_event_fn on_event,
                               void *user, ibx_sim_time *out_time,
                               ibx_error *err) {
  const ibx_device_table *table = &session->device->table;
  if (table->time == NULL) {
    return IBX_FAIL(err, UNSUPPORTED, "the device has no time model");
  }
  ibx_session_await_turn(session);
  if (session->steps != NULL) {
    ibx_status summed =
        ibx_step_run_profile(session->steps, on_event, user, out_time, err);
    ibx_session_end_turn(session);
    return summed;
  }
  ibx_status status =
      table->time(session->executable, on_event, user, out_time, err);
  ibx_session_end_turn(session);
  return ibx_device_status(session->device, status, err);
}

static ibx_status find_state(ibx_session *session, const char *name,
                             size_t size_bytes, uint8_t **out, ibx_error *err) {
  const ibx_entry *entry = session->entry;
  const ibx_tensor_decl *tensor =
      ibx_session_find_tensor(entry->inputs, entry->input_count, name, 0);
  if (name == NULL || tensor == NULL || entry->steps != NULL ||
      entry->buffers[tensor->buffer].kind != IBX_BUFFER_STATE) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the entry has no state '%s'",
                    name == NULL ? "" : name);
  }
  if (size_bytes != ibx_tensor_bytes(tensor)) {
    return IBX_FAIL(err, MISMATCH, "state '%s' has %llu bytes, %zu are given",
                    name, (unsigned long long)ibx_tensor_bytes(tensor),
                    size_bytes);
  }
  IBX_TRY(ibx_session_own(session, tensor->buffer, err));
  *out = session->owned[tensor->buffer];
  return IBX_OK;
}

ibx_status ibx_session_read_state(ibx_session *session, const char *name,
                                  void *data, size_t size_bytes,
                                  ibx_error *err) {
  uint8_t *state = NULL;
  ibx_session_await_turn(session);
  ibx_status status = find_state(session, name, size_bytes, &state, err);
  if (state != NULL) memcpy(data, state, size_bytes);
  ibx_session_end_turn(session);
  return status;
}

ibx_status ibx_session_write_state(ibx_session *session, const char *name,
                                   const void *data, size_t size_bytes,
                                   ibx_error *err) {
  uint8_t *state = NULL;
  ibx_session_await_turn(session);
  ibx_status status = find_state(session, name, size_bytes, &state, err);
  if (state != NULL) memcpy(state, data, size_bytes);
  ibx_session_end_turn(session);
  return status;
}
