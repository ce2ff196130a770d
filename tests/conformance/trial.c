// SPDX-License-Identifier: Apache-2.0
//
// Trials. In: a device, a program, the name of an entry. Out: runs of it on the
// device and in the reference, compared byte for byte. Holds: between the
// tensors lie bytes that nobody may write, and inputs stay as they were.

#include "conformance.h"
#include "core/device.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

uint64_t conf_random(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state * UINT64_C(0x9e3779b97f4a7c15) >> 11;
}

static bool is_state(const ibx_entry *entry, const ibx_tensor_decl *tensor) {
  return entry->buffers[tensor->buffer].kind == IBX_BUFFER_STATE;
}

static bool is_callers(const ibx_buffer_decl *buffer) {
  return buffer->kind == IBX_BUFFER_INPUT ||
         buffer->kind == IBX_BUFFER_OUTPUT || buffer->kind == IBX_BUFFER_STATE;
}

// A guard, the odd bytes, the tensor, rounded up.
static size_t slot_bytes(const trial *t, const ibx_tensor_decl *tensor) {
  size_t bytes = GUARD + t->skew + (size_t)ibx_tensor_bytes(tensor);
  return (bytes + GUARD - 1) / GUARD * GUARD;
}

static uint8_t *place_tensors(const trial *t, const ibx_tensor_decl *tensors,
                              size_t count, ibx_binding *bindings,
                              uint8_t *at) {
  for (size_t i = 0; i < count; i++) {
    bindings[i] =
        (ibx_binding){.index = i,
                      .data = at + GUARD + t->skew,
                      .size_bytes = (size_t)ibx_tensor_bytes(&tensors[i])};
    at += slot_bytes(t, &tensors[i]);
  }
  return at;
}

static bool make_memory(trial *t) {
  const ibx_entry *entry = t->entry;
  size_t bytes = GUARD;
  for (size_t i = 0; i < entry->input_count; i++) {
    bytes += slot_bytes(t, &entry->inputs[i]);
  }
  for (size_t i = 0; i < entry->output_count; i++) {
    bytes += slot_bytes(t, &entry->outputs[i]);
  }
  t->inputs = calloc(entry->input_count + 1, sizeof(*t->inputs));
  t->outputs = calloc(entry->output_count + 1, sizeof(*t->outputs));
  t->blocks = aligned_alloc(GUARD, bytes);
  if (!t->inputs || !t->outputs || !t->blocks) return false;
  memset(t->blocks, GUARD_BYTE, bytes);
  uint8_t *at =
      place_tensors(t, entry->inputs, entry->input_count, t->inputs, t->blocks);
  place_tensors(t, entry->outputs, entry->output_count, t->outputs, at);
  return true;
}

static bool make_buffers(const ibx_entry *entry, uint8_t ***out) {
  uint8_t **buffers = calloc(entry->buffer_count + 1, sizeof(*buffers));
  *out = buffers;
  for (size_t i = 0; buffers && i < entry->buffer_count; i++) {
    if (!is_callers(&entry->buffers[i])) continue;
    buffers[i] = calloc(1, (size_t)entry->buffers[i].place.bytes + 1);
    if (!buffers[i]) return false;
  }
  return buffers != NULL;
}

static void free_buffers(const ibx_entry *entry, uint8_t **buffers) {
  for (size_t i = 0; buffers && i < entry->buffer_count; i++) {
    free(buffers[i]);
  }
  free(buffers);
}

bool trial_open(suite *s, ibx_device *device, const char *entry, size_t skew,
                trial *out) {
  ibx_error err = {0};
  const ibx_program_data *program = ibx_program_get(s->program);
  *out = (trial){
      .s = s, .entry = ibx_program_find_entry(s->program, entry), .skew = skew};
  if (!conf_check(s, out->entry != NULL, "no entry '%s'", entry)) return false;
  if (!conf_check(s,
                  make_memory(out) && make_buffers(out->entry, &out->expected),
                  "no memory for the tensors of '%s'", entry)) {
    return false;
  }
  if (!conf_expect(s, "ibx_sim_create",
                   ibx_sim_create(program, out->entry, &out->reference, &err),
                   IBX_OK, &err)) {
    return false;
  }
  return conf_expect(
      s, "load",
      ibx_session_create(device, s->program, entry, &out->session, &err),
      IBX_OK, &err);
}

void trial_close(trial *t) {
  ibx_session_destroy(t->session);
  ibx_sim_destroy(t->reference);
  if (t->entry != NULL) free_buffers(t->entry, t->expected);
  free(t->inputs);
  free(t->outputs);
  free(t->blocks);
}

static void fill_floats(ibx_dtype dtype, uint8_t *data, size_t bytes,
                        uint64_t *state) {
  size_t size = ibx_dtype_bytes(dtype);
  for (size_t at = 0; at < bytes; at += size) {
    int64_t number = (int64_t)(conf_random(state) % 65536) - 32768;
    float value = (float)number / 4096.0f;
    ibx_dtype_store_f32(dtype, &value, data + at, 1);
  }
}

static void fill_tensor(const ibx_tensor_decl *tensor, uint8_t *data,
                        size_t bytes, uint64_t *state) {
  ibx_dtype dtype = (ibx_dtype)tensor->dtype;
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  if (kind == IBX_DTYPE_KIND_FLOAT && dtype != IBX_DTYPE_F64) {
    fill_floats(dtype, data, bytes, state);
    return;
  }
  for (size_t i = 0; i < bytes; i++) {
    uint64_t number = conf_random(state);
    data[i] = (uint8_t)(kind == IBX_DTYPE_KIND_BOOL ? number & 1 : number);
  }
}

void trial_fill(trial *t, uint64_t seed) {
  uint64_t state = seed * 2 + 1;
  for (size_t i = 0; i < t->entry->input_count; i++) {
    fill_tensor(&t->entry->inputs[i], t->inputs[i].data,
                t->inputs[i].size_bytes, &state);
  }
}

static uint8_t *find(const ibx_tensor_decl *tensors, size_t count,
                     const ibx_binding *bindings, const char *name) {
  size_t i = 0;
  while (i + 1 < count && strcmp(tensors[i].name, name) != 0) {
    i++;
  }
  return bindings[i].data;
}

uint8_t *trial_input(trial *t, const char *name) {
  return find(t->entry->inputs, t->entry->input_count, t->inputs, name);
}

uint8_t *trial_output(trial *t, const char *name) {
  return find(t->entry->outputs, t->entry->output_count, t->outputs, name);
}

// State stands behind the other inputs in the entries of the suite.
static size_t bound_inputs(const trial *t) {
  size_t count = 0;
  while (count < t->entry->input_count &&
         !is_state(t->entry, &t->entry->inputs[count])) {
    count++;
  }
  return count;
}

ibx_status trial_run(trial *t, ibx_error *err) {
  const ibx_run run = {.inputs = t->inputs,
                       .input_count = bound_inputs(t),
                       .outputs = t->outputs,
                       .output_count = t->entry->output_count};
  return ibx_session_run(t->session, &run, err);
}

static bool guards_hold(const trial *t, const ibx_tensor_decl *tensors,
                        size_t count, const ibx_binding *bindings) {
  for (size_t i = 0; i < count; i++) {
    const uint8_t *data = bindings[i].data;
    const uint8_t *first = data - t->skew - GUARD;
    const uint8_t *end = first + slot_bytes(t, &tensors[i]);
    for (const uint8_t *at = first; at < end; at++) {
      if (at == data) at += bindings[i].size_bytes;
      if (at < end && *at != GUARD_BYTE) return false;
    }
  }
  return true;
}

static bool same_tensors(trial *t, const char *side,
                         const ibx_tensor_decl *tensors, size_t count,
                         const ibx_binding *bindings) {
  for (size_t i = 0; i < count; i++) {
    const uint8_t *got = bindings[i].data;
    const uint8_t *want = t->expected[tensors[i].buffer];
    size_t at = 0;
    while (at < bindings[i].size_bytes && got[at] == want[at]) {
      at++;
    }
    if (!conf_check(t->s, at == bindings[i].size_bytes,
                    "entry %s, %s '%s': byte %zu is 0x%02x, the reference has "
                    "0x%02x",
                    t->entry->name, side, tensors[i].name, at, got[at],
                    want[at])) {
      return false;
    }
  }
  return conf_check(t->s, guards_hold(t, tensors, count, bindings),
                    "entry %s: bytes beside an %s were written", t->entry->name,
                    side);
}

bool trial_compare(trial *t) {
  ibx_error err = {0};
  const ibx_entry *entry = t->entry;
  const ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
  const ibx_sim_memory memory = {.hbm = t->expected};
  size_t inputs = bound_inputs(t);
  if (!conf_expect(t->s, "reference",
                   ibx_sim_run(t->reference, &options, &memory, &err), IBX_OK,
                   &err)) {
    return false;
  }
  return same_tensors(t, "input", entry->inputs, inputs, t->inputs) &&
         same_tensors(t, "output", entry->outputs, entry->output_count,
                      t->outputs);
}

bool trial_agrees(trial *t) {
  ibx_error err = {0};
  for (size_t i = 0; i < bound_inputs(t); i++) {
    memcpy(t->expected[t->entry->inputs[i].buffer], t->inputs[i].data,
           t->inputs[i].size_bytes);
  }
  return conf_expect(t->s, "run", trial_run(t, &err), IBX_OK, &err) &&
         trial_compare(t);
}

bool bare_open(suite *s, ibx_device *device, const char *entry, bare *out) {
  ibx_error err = {0};
  *out = (bare){.table = &device->table,
                .entry = ibx_program_find_entry(s->program, entry)};
  if (!conf_check(s,
                  out->entry != NULL && make_buffers(out->entry, &out->memory),
                  "no memory for '%s'", entry)) {
    return false;
  }
  const ibx_device_program loaded = {.program = ibx_program_get(s->program),
                                     .entry = out->entry,
                                     .file = ibx_program_bytes(s->program)};
  return conf_expect(
      s, "load",
      out->table->load(device->handle, &loaded, &out->executable, &err), IBX_OK,
      &err);
}

void bare_close(bare *b) {
  if (b->executable != NULL) b->table->unload(b->executable);
  if (b->entry != NULL) free_buffers(b->entry, b->memory);
}
