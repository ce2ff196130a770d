// SPDX-License-Identifier: Apache-2.0
//
// The memory of a run. In: the caller's bindings. Out: an address for every
// buffer that the entry shares with the caller: the caller's memory itself
// where it can stand for the buffer, otherwise memory of the session, from
// which outputs are copied. Holds: nothing is allocated for a run whose outputs
// are all bound.

#include "core/session.h"

#include <string.h>

const ibx_tensor_decl *ibx_session_find_tensor(const ibx_tensor_decl *tensors,
                                               size_t count, const char *name,
                                               size_t index) {
  if (name == NULL) return index < count ? &tensors[index] : NULL;
  for (size_t i = 0; i < count; i++) {
    if (strcmp(tensors[i].name, name) == 0) return &tensors[i];
  }
  return NULL;
}

static ibx_status find_binding(const ibx_binding *binding, const char *side,
                               const ibx_tensor_decl *tensors, size_t count,
                               const ibx_tensor_decl **out, ibx_error *err) {
  *out = ibx_session_find_tensor(tensors, count, binding->name, binding->index);
  if (*out == NULL) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the entry has no %s '%s' (%zu)",
                    side, binding->name == NULL ? "" : binding->name,
                    binding->index);
  }
  uint64_t bytes = ibx_tensor_bytes(*out);
  if (binding->tensor != NULL) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "%s '%s': the entry runs on the device alone and takes "
                    "`data`",
                    side, (*out)->name);
  }
  if (binding->size_bytes == bytes && (binding->data != NULL || bytes == 0)) {
    return IBX_OK;
  }
  return IBX_FAIL(err, MISMATCH, "%s '%s' has %llu bytes, %zu are given", side,
                  (*out)->name, (unsigned long long)bytes, binding->size_bytes);
}

static ibx_buffer_kind kind_of(const ibx_session *session,
                               const ibx_tensor_decl *tensor) {
  return session->entry->buffers[tensor->buffer].kind;
}

ibx_status ibx_session_own(ibx_session *session, size_t buffer,
                           ibx_error *err) {
  if (session->owned[buffer] != NULL) return IBX_OK;
  const ibx_buffer_decl *decl = &session->entry->buffers[buffer];
  void *memory = NULL;
  IBX_TRY(ibx_device_memory_alloc(
      session->device, ibx_buffer_bytes(session->entry, decl), &memory, err));
  session->owned[buffer] = memory;
  return IBX_OK;
}

// The caller's memory itself where it can stand for the buffer, otherwise ours.
static bool can_lend(const ibx_session *session,
                     const ibx_tensor_decl *tensor) {
  const ibx_buffer_decl *buffer = &session->entry->buffers[tensor->buffer];
  return buffer->kind != IBX_BUFFER_STATE &&
         ibx_buffer_bytes(session->entry, buffer) == ibx_tensor_bytes(tensor);
}

static ibx_status bind_input(ibx_session *session, const ibx_binding *binding,
                             ibx_error *err) {
  const ibx_tensor_decl *tensor = NULL;
  const ibx_entry *entry = session->entry;
  IBX_TRY(find_binding(binding, "input", entry->inputs, entry->input_count,
                       &tensor, err));
  if (session->bound[tensor->buffer] != NULL &&
      kind_of(session, tensor) != IBX_BUFFER_STATE) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "input '%s' is bound twice",
                    tensor->name);
  }
  if (can_lend(session, tensor)) {
    session->bound[tensor->buffer] = binding->data;
    return IBX_OK;
  }
  IBX_TRY(ibx_session_own(session, tensor->buffer, err));
  session->bound[tensor->buffer] = session->owned[tensor->buffer];
  return IBX_OK;
}

static ibx_status bind_output(ibx_session *session, const ibx_binding *binding,
                              ibx_error *err) {
  const ibx_tensor_decl *tensor = NULL;
  const ibx_entry *entry = session->entry;
  IBX_TRY(find_binding(binding, "output", entry->outputs, entry->output_count,
                       &tensor, err));
  if (kind_of(session, tensor) == IBX_BUFFER_OUTPUT &&
      can_lend(session, tensor) && session->bound[tensor->buffer] == NULL) {
    session->bound[tensor->buffer] = binding->data;
  }
  return IBX_OK;
}

// What is not bound yet: state and outputs get memory of ours.
static ibx_status bind_rest(ibx_session *session, ibx_error *err) {
  for (size_t i = 0; i < session->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &session->entry->buffers[i];
    if (session->bound[i] != NULL || buffer->place.bytes == 0) continue;
    if (buffer->kind == IBX_BUFFER_INPUT) {
      return IBX_FAIL(err, INVALID_ARGUMENT, "input '%s' is not bound",
                      buffer->name);
    }
    if (buffer->kind != IBX_BUFFER_OUTPUT && buffer->kind != IBX_BUFFER_STATE) {
      continue;
    }
    IBX_TRY(ibx_session_own(session, i, err));
    session->bound[i] = session->owned[i];
  }
  return IBX_OK;
}

// Inputs that are not where the caller has them, once nothing can be refused
// any more: a refused run changes no state.
static ibx_status copy_inputs(ibx_session *session, const ibx_run *run,
                              ibx_error *err) {
  const ibx_entry *entry = session->entry;
  for (size_t i = 0; i < run->input_count; i++) {
    const ibx_binding *binding = &run->inputs[i];
    const ibx_tensor_decl *tensor = NULL;
    IBX_TRY(find_binding(binding, "input", entry->inputs, entry->input_count,
                         &tensor, err));
    uint8_t *to = session->bound[tensor->buffer];
    if (to == binding->data || binding->size_bytes == 0) continue;
    memcpy(to, binding->data, binding->size_bytes);
  }
  return IBX_OK;
}

// Outputs that are not where the caller wants them: state, and tensors that
// share a buffer with another one.
static ibx_status copy_outputs(ibx_session *session, const ibx_run *run,
                               ibx_error *err) {
  const ibx_entry *entry = session->entry;
  for (size_t i = 0; i < run->output_count; i++) {
    const ibx_binding *binding = &run->outputs[i];
    const ibx_tensor_decl *tensor = NULL;
    IBX_TRY(find_binding(binding, "output", entry->outputs, entry->output_count,
                         &tensor, err));
    const uint8_t *from = session->bound[tensor->buffer];
    if (from == NULL || from == binding->data) continue;
    memmove(binding->data, from, binding->size_bytes);
  }
  return IBX_OK;
}

ibx_status ibx_session_run_bound(ibx_session *session, const ibx_run *run,
                                 ibx_error *err) {
  if (session->steps != NULL) {
    return ibx_step_run_bound(session->steps, run, err);
  }
  memset(session->bound, 0,
         session->entry->buffer_count * sizeof(*session->bound));
  for (size_t i = 0; i < run->input_count; i++) {
    IBX_TRY(bind_input(session, &run->inputs[i], err));
  }
  for (size_t i = 0; i < run->output_count; i++) {
    IBX_TRY(bind_output(session, &run->outputs[i], err));
  }
  IBX_TRY(bind_rest(session, err));
  IBX_TRY(copy_inputs(session, run, err));
  ibx_status status =
      session->device->table.run(session->executable, session->bound, err);
  IBX_TRY(ibx_device_status(session->device, status, err));
  return copy_outputs(session, run, err);
}
