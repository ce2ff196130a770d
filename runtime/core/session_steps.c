// SPDX-License-Identifier: Apache-2.0
//
// Runs of entries that need the host. In: the caller's bindings. Out: its
// outputs, after each step has run: segments in sessions of their own on the
// same device, calls through libffi. Holds: what a call gives has the dtype,
// rank and known extents that the program says, before anything reads it.
// Memory of a run stays for the next one.

#include "core/session.h"
#include "core/session_loop.h"

#include <inttypes.h>
#include <string.h>

struct ibx_step_run {
  ibx_device *device;
  const ibx_entry *entry;
  const ibx_steps *steps;
  ibx_session **segments;  ///< of each step; NULL of a call
  ibx_host_tensor *values; ///< of each value
  bool *is_bound;          ///< of each input, in this run
  ibx_binding *bindings;   ///< room for those of a segment
};

// --- making ------------------------------------------------------------------

static size_t most_ports(const ibx_steps *steps) {
  size_t most = 0;
  for (size_t i = 0; i < steps->step_count; i++) {
    size_t ports = steps->steps[i].operand_count + steps->steps[i].result_count;
    if (ports > most) most = ports;
  }
  return most;
}

static void *alloc_rows(ibx_device *device, size_t count, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(count + 1, size, &bytes) || bytes > SIZE_MAX) return NULL;
  return ibx_device_alloc(device, (size_t)bytes);
}

static ibx_status borrow_constants(ibx_step_run *run, ibx_error *err) {
  for (size_t i = 0; i < run->steps->value_count; i++) {
    const ibx_step_value *value = &run->steps->values[i];
    run->values[i].allocator = &run->device->allocator;
    if (!value->is_constant) continue;
    IBX_TRY(ibx_host_tensor_borrow(&run->values[i], (ibx_dtype)value->dtype,
                                   value->shape, value->rank, value->data,
                                   err));
  }
  return IBX_OK;
}

static ibx_status create_segments(ibx_step_run *run, const ibx_program *program,
                                  ibx_error *err) {
  const ibx_program_data *data = ibx_program_get(program);
  for (size_t i = 0; i < run->steps->step_count; i++) {
    const ibx_step *step = &run->steps->steps[i];
    if (step->call != NULL) continue;
    IBX_TRY(ibx_session_create_entry(run->device, program,
                                     &data->entries[step->segment],
                                     &run->segments[i], err));
  }
  return IBX_OK;
}

ibx_status ibx_step_run_create(ibx_device *device, const ibx_program *program,
                               const ibx_entry *entry, ibx_step_run **out,
                               ibx_error *err) {
  ibx_step_run *run = ibx_device_alloc(device, sizeof(*run));
  *out = run;
  if (run == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for steps");
  const ibx_steps *steps = entry->steps;
  run->device = device;
  run->entry = entry;
  run->steps = steps;
  run->segments = alloc_rows(device, steps->step_count, sizeof(*run->segments));
  run->values = alloc_rows(device, steps->value_count, sizeof(*run->values));
  run->is_bound =
      alloc_rows(device, entry->input_count, sizeof(*run->is_bound));
  run->bindings = alloc_rows(device, most_ports(steps), sizeof(*run->bindings));
  if (run->segments == NULL || run->values == NULL || run->is_bound == NULL ||
      run->bindings == NULL) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu steps",
                    steps->step_count);
  }
  IBX_TRY(borrow_constants(run, err));
  return create_segments(run, program, err);
}

void ibx_step_run_destroy(ibx_step_run *run) {
  if (run == NULL) return;
  for (size_t i = 0; run->segments && i < run->steps->step_count; i++) {
    ibx_session_destroy(run->segments[i]);
  }
  for (size_t i = 0; run->values && i < run->steps->value_count; i++) {
    ibx_host_tensor_fini(&run->values[i]);
  }
  ibx_device_free(run->device, run->segments);
  ibx_device_free(run->device, run->values);
  ibx_device_free(run->device, run->is_bound);
  ibx_device_free(run->device, run->bindings);
  ibx_device_free(run->device, run);
}

// --- values ------------------------------------------------------------------

static bool is_open(const ibx_tensor_decl *tensor) {
  if (tensor->dtype == IBX_DTYPE_STRING) return true;
  for (size_t d = 0; d < tensor->rank; d++) {
    if (tensor->shape[d] == IBX_ANY_EXTENT) return true;
  }
  return false;
}

static bool fits(const ibx_host_tensor *tensor, uint8_t dtype, uint8_t rank,
                 const uint64_t *shape) {
  bool same = tensor->dtype == (ibx_dtype)dtype && tensor->rank == rank;
  for (size_t d = 0; same && d < rank; d++) {
    same = shape[d] == IBX_ANY_EXTENT || shape[d] == tensor->shape[d];
  }
  return same;
}

// What a caller made, or a call: its elements are where its type says.
static bool is_whole(const ibx_host_tensor *tensor) {
  uint64_t bytes = ibx_dtype_bytes(tensor->dtype);
  for (size_t d = 0; d < tensor->rank; d++) {
    if (!ibx_mul_size(bytes, tensor->shape[d], &bytes)) return false;
  }
  if (tensor->dtype != IBX_DTYPE_STRING) return tensor->data_bytes == bytes;
  return tensor->text_count == ibx_host_tensor_count(tensor);
}

// --- inputs and outputs ------------------------------------------------------

static ibx_status no_data(const char *side, const ibx_tensor_decl *tensor,
                          ibx_error *err) {
  return IBX_FAIL(err, INVALID_ARGUMENT,
                  "%s '%s' has texts, or extents that only a run tells: bind "
                  "it by `tensor`",
                  side, tensor->name);
}

static ibx_status find(const ibx_binding *binding, const char *side,
                       const ibx_tensor_decl *tensors, size_t count,
                       const ibx_tensor_decl **out, ibx_error *err) {
  *out = ibx_session_find_tensor(tensors, count, binding->name, binding->index);
  if (*out != NULL) return IBX_OK;
  return IBX_FAIL(err, INVALID_ARGUMENT, "the entry has no %s '%s' (%zu)", side,
                  binding->name == NULL ? "" : binding->name, binding->index);
}

// The caller's elements, borrowed for the run.
static ibx_status bind_input(ibx_step_run *run, const ibx_binding *binding,
                             ibx_error *err) {
  const ibx_tensor_decl *tensor = NULL;
  const ibx_entry *entry = run->entry;
  IBX_TRY(
      find(binding, "input", entry->inputs, entry->input_count, &tensor, err));
  size_t index = (size_t)(tensor - entry->inputs);
  ibx_host_tensor *value = &run->values[run->steps->inputs[index]];
  if (run->is_bound[index]) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "input '%s' is bound twice",
                    tensor->name);
  }
  run->is_bound[index] = true;
  if (binding->tensor == NULL) {
    if (is_open(tensor)) return no_data("input", tensor, err);
    ibx_span bytes = {.data = binding->data, .size = binding->size_bytes};
    return ibx_host_tensor_borrow(value, (ibx_dtype)tensor->dtype,
                                  tensor->shape, tensor->rank, bytes, err);
  }
  if (!fits(binding->tensor, tensor->dtype, tensor->rank, tensor->shape) ||
      !is_whole(binding->tensor)) {
    return IBX_FAIL(err, MISMATCH,
                    "input '%s' is given with another dtype or shape, or "
                    "without all of its elements",
                    tensor->name);
  }
  const ibx_allocator *allocator = value->allocator;
  ibx_host_tensor_fini(value);
  *value = *binding->tensor;
  value->allocator = allocator;
  value->data_room = value->offset_room = 0;
  return IBX_OK;
}

static ibx_status bind_inputs(ibx_step_run *run, const ibx_run *from,
                              ibx_error *err) {
  memset(run->is_bound, 0, run->entry->input_count * sizeof(*run->is_bound));
  for (size_t i = 0; i < from->input_count; i++) {
    IBX_TRY(bind_input(run, &from->inputs[i], err));
  }
  for (size_t i = 0; i < run->entry->input_count; i++) {
    if (run->is_bound[i]) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "input '%s' is not bound",
                    run->entry->inputs[i].name);
  }
  return IBX_OK;
}

static ibx_status check_output(const ibx_step_run *run,
                               const ibx_binding *binding, ibx_error *err) {
  const ibx_tensor_decl *tensor = NULL;
  IBX_TRY(find(binding, "output", run->entry->outputs, run->entry->output_count,
               &tensor, err));
  if (binding->tensor != NULL) return IBX_OK;
  if (is_open(tensor)) return no_data("output", tensor, err);
  uint64_t bytes = ibx_tensor_bytes(tensor);
  if (binding->size_bytes == bytes && (binding->data != NULL || bytes == 0)) {
    return IBX_OK;
  }
  return IBX_FAIL(err, MISMATCH,
                  "output '%s' has %" PRIu64 " bytes, %zu are given",
                  tensor->name, bytes, binding->size_bytes);
}

static ibx_status copy_output(const ibx_step_run *run,
                              const ibx_binding *binding, ibx_error *err) {
  const ibx_entry *entry = run->entry;
  const ibx_tensor_decl *tensor = NULL;
  IBX_TRY(find(binding, "output", entry->outputs, entry->output_count, &tensor,
               err));
  size_t index = (size_t)(tensor - entry->outputs);
  const ibx_host_tensor *value = &run->values[run->steps->outputs[index]];
  if (binding->tensor != NULL) {
    return ibx_host_tensor_copy(binding->tensor, value, err);
  }
  if (value->data_bytes != 0) {
    memcpy(binding->data, value->data, value->data_bytes);
  }
  return IBX_OK;
}

// What was borrowed from the caller is his again.
static void release_inputs(ibx_step_run *run) {
  for (size_t i = 0; i < run->entry->input_count; i++) {
    ibx_host_tensor_fini(&run->values[run->steps->inputs[i]]);
  }
}

// --- steps -------------------------------------------------------------------

static ibx_status run_segment(ibx_step_run *run, size_t index, ibx_error *err) {
  const ibx_step *step = &run->steps->steps[index];
  ibx_binding *bindings = run->bindings;
  for (size_t i = 0; i < step->operand_count; i++) {
    const ibx_host_tensor *value = &run->values[step->operands[i]];
    bindings[i] = (ibx_binding){
        .index = i, .data = value->data, .size_bytes = value->data_bytes};
  }
  for (size_t i = 0; i < step->result_count; i++) {
    const ibx_step_value *type = &run->steps->values[step->results[i]];
    ibx_host_tensor *value = &run->values[step->results[i]];
    IBX_TRY(ibx_host_tensor_reset(value, (ibx_dtype)type->dtype, type->shape,
                                  type->rank, err));
    bindings[step->operand_count + i] = (ibx_binding){
        .index = i, .data = value->data, .size_bytes = value->data_bytes};
  }
  const ibx_run part = {.inputs = bindings,
                        .outputs = bindings + step->operand_count,
                        .input_count = step->operand_count,
                        .output_count = step->result_count};
  return ibx_session_run_bound(run->segments[index], &part, err);
}

static ibx_status check_results(const ibx_step_run *run, const ibx_step *step,
                                ibx_error *err) {
  for (size_t i = 0; i < step->result_count; i++) {
    const ibx_step_value *type = &run->steps->values[step->results[i]];
    const ibx_host_tensor *value = &run->values[step->results[i]];
    if (fits(value, type->dtype, type->rank, type->shape) && is_whole(value)) {
      continue;
    }
    return IBX_FAIL(err, MISMATCH,
                    "host call %s: result %zu has not the dtype and shape for "
                    "which the program was made",
                    step->call, i);
  }
  return IBX_OK;
}

static ibx_status run_call(ibx_step_run *run, const ibx_step *step,
                           ibx_error *err) {
  const ibx_host_tensor *few[64];
  ibx_host_tensor *results[IBX_HOST_MOST_PARAMETERS];
  const ibx_host_tensor **operands = few;
  if (step->operand_count > IBX_COUNT_OF(few)) {
    operands = alloc_rows(run->device, step->operand_count, sizeof(*operands));
    if (operands == NULL) {
      return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu operands",
                      step->operand_count);
    }
  }
  for (size_t i = 0; i < step->operand_count; i++) {
    uint32_t value = step->operands[i];
    operands[i] = value == IBX_NO_NODE ? NULL : &run->values[value];
  }
  for (size_t i = 0; i < step->result_count; i++) {
    results[i] = &run->values[step->results[i]];
  }
  const ibx_host_args args = {.operands = operands,
                              .ints = step->ints,
                              .results = results,
                              .operand_count = step->operand_count,
                              .int_count = step->int_count,
                              .result_count = step->result_count};
  ibx_status status = ibx_host_call_run(
      step->signature, ibx_host_call_find(step->call)->function, &args, err);
  if (operands != few) ibx_device_free(run->device, operands);
  IBX_TRY(status);
  return check_results(run, step, err);
}

// Runs step `*at`, which becomes the one before the next.
static ibx_status run_step(ibx_step_run *run, size_t *at, ibx_error *err) {
  const ibx_step *step = &run->steps->steps[*at];
  bool goes_on = false;
  if (!step->call) return run_segment(run, *at, err);
  switch (ibx_step_flow(step)) {
  case IBX_HOST_FLOW_none: return run_call(run, step, err);
  case IBX_HOST_FLOW_loop:
    IBX_TRY(ibx_loop_begin(run->steps, *at, run->values, &goes_on, err));
    if (!goes_on) *at = ibx_loop_partner(run->steps, *at);
    return IBX_OK;
  case IBX_HOST_FLOW_next:
    IBX_TRY(ibx_loop_next(run->steps, *at, run->values, &goes_on, err));
    if (goes_on) *at = ibx_loop_partner(run->steps, *at);
    return IBX_OK;
  }
  return IBX_OK;
}

static ibx_status run_steps(ibx_step_run *run, ibx_error *err) {
  for (size_t i = 0; i < run->steps->step_count; i++)
    IBX_TRY(run_step(run, &i, err));
  return IBX_OK;
}

static ibx_status run_all(ibx_step_run *run, const ibx_run *from,
                          ibx_error *err) {
  IBX_TRY(bind_inputs(run, from, err));
  for (size_t i = 0; i < from->output_count; i++) {
    IBX_TRY(check_output(run, &from->outputs[i], err));
  }
  IBX_TRY(run_steps(run, err));
  for (size_t i = 0; i < from->output_count; i++) {
    IBX_TRY(copy_output(run, &from->outputs[i], err));
  }
  return IBX_OK;
}

ibx_status ibx_step_run_bound(ibx_step_run *run, const ibx_run *from,
                              ibx_error *err) {
  ibx_status status = run_all(run, from, err);
  release_inputs(run);
  return status;
}

// --- time --------------------------------------------------------------------

ibx_status ibx_step_run_profile(ibx_step_run *run, ibx_sim_event_fn on_event,
                                void *user, ibx_sim_time *out_time,
                                ibx_error *err) {
  *out_time = (ibx_sim_time){0};
  for (size_t i = 0; i < run->steps->step_count; i++) {
    ibx_sim_time part;
    if (run->segments[i] == NULL) continue;
    IBX_TRY(ibx_session_profile(run->segments[i], on_event, user, &part, err));
    ibx_sim_time_add(out_time, &part);
  }
  return IBX_OK;
}
