// SPDX-License-Identifier: Apache-2.0
//
// Checks the steps of an entry. Comes in: tables whose references are still any
// number. Goes out: every value is an input, a constant, or the result of one
// step, and is read after that only, what a loop makes inside of it only; calls
// are rows of host_calls.def with the signature that the row has; device steps run segments of this program whose
// tensors have the types of the values. What a call does with what it gets is
// checked by the call.

#include "core/program_internal.h"
#include "core/session_loop.h"
#include "imbrex/host.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_STEPS = 1 << 20, MOST_PORTS = 4096 };

typedef struct checker {
  const ibx_program_data *program;
  const ibx_entry *entry;
  const ibx_steps *steps;
  uint32_t *maker; ///< of each value: NOT_MADE, a step, or one of those below
  uint32_t *loops; ///< that have begun: their steps
  size_t loop_count;
  ibx_error *err;
} checker;

// Beside steps: nothing yet; inputs and constants; a step in a loop that has
// ended.
enum { NOT_MADE, GIVEN, GONE, FIRST_STEP };

static ibx_status wrong(const checker *c, const char *what, uint64_t index,
                        const char *why) {
  return IBX_FAIL(c->err, INVALID_PROGRAM, "entry %s: %s %" PRIu64 " %s",
                  c->entry->name, what, index, why);
}

// --- values ------------------------------------------------------------------

static bool has_valid_type(const ibx_step_value *value) {
  uint64_t bytes = 1;
  bool is_text = value->dtype == IBX_DTYPE_STRING;
  size_t size = is_text ? 8 : ibx_dtype_bytes((ibx_dtype)value->dtype);
  if (size == 0 || value->rank > IBX_MAX_RANK) return false;
  for (size_t d = 0; d < IBX_MAX_RANK; d++) {
    uint64_t extent = value->shape[d];
    if (d >= value->rank && extent != 0) return false;
    if (d >= value->rank || extent == IBX_ANY_EXTENT) continue;
    if (!ibx_mul_size(bytes, extent == 0 ? 1 : extent, &bytes)) return false;
  }
  return bytes < INT64_MAX / 64 / size;
}

static bool has_any_extent(const ibx_step_value *value) {
  for (size_t d = 0; d < value->rank; d++) {
    if (value->shape[d] == IBX_ANY_EXTENT) return true;
  }
  return false;
}

static ibx_status check_value(const checker *c, size_t index) {
  const ibx_step_value *value = &c->steps->values[index];
  if (!has_valid_type(value)) {
    return wrong(c, "value", index, "has no valid shape or dtype");
  }
  if (!value->is_constant) return IBX_OK;
  if (has_any_extent(value)) {
    return wrong(c, "value", index, "is constant and has an open extent");
  }
  ibx_host_tensor tensor = IBX_HOST_TENSOR_INIT;
  ibx_error why = {0};
  c->maker[index] = GIVEN;
  ibx_status status =
      ibx_host_tensor_borrow(&tensor, (ibx_dtype)value->dtype, value->shape,
                             value->rank, value->data, &why);
  return status == IBX_OK ? IBX_OK : wrong(c, "value", index, why.message);
}

static ibx_status make_value(const checker *c, uint32_t value, uint32_t by,
                             const char *maker, size_t index) {
  if (value < c->steps->value_count && c->maker[value] == NOT_MADE) {
    c->maker[value] = by;
    return IBX_OK;
  }
  return wrong(c, maker, index, "makes a value that does not exist, or again");
}

static ibx_status read_value(const checker *c, uint32_t value,
                             const char *reader, size_t index) {
  bool is_made = value < c->steps->value_count && c->maker[value] != NOT_MADE &&
                 c->maker[value] != GONE;
  if (is_made) return IBX_OK;
  return wrong(c, reader, index, "reads a value that nothing has made");
}

// --- steps -------------------------------------------------------------------

static ibx_status check_call(const checker *c, size_t index) {
  const ibx_step *step = &c->steps->steps[index];
  const ibx_host_call_info *row = ibx_host_call_find(step->call);
  ibx_host_arity arity;
  if (!row) {
    return wrong(c, "step", index,
                 "is a call that this version does not have; use the version "
                 "that compiled the program");
  }
  if (strcmp(row->signature, step->signature) != 0 ||
      !ibx_host_signature_read(row->signature, &arity)) {
    return wrong(c, "step", index, "has another signature than its call");
  }
  bool fits = step->operand_count >= arity.least &&
              (step->operand_count == arity.least || arity.has_list) &&
              step->result_count == arity.results &&
              step->int_count == arity.ints;
  if (!fits || step->segment != 0) {
    return wrong(c, "step", index, "has not the parameters of its call");
  }
  if (step->node == IBX_NO_NODE || step->node < c->program->node_count) {
    return IBX_OK;
  }
  return wrong(c, "step", index, "came from a node that does not exist");
}

static bool has_type(const ibx_step_value *value,
                     const ibx_tensor_decl *tensor) {
  return value->rank == tensor->rank && value->dtype == tensor->dtype &&
         memcmp(value->shape, tensor->shape, sizeof(value->shape)) == 0;
}

static ibx_status check_ports(const checker *c, size_t index,
                              const uint32_t *values, size_t count,
                              const ibx_tensor_decl *tensors, size_t wanted) {
  bool fits = count == wanted;
  for (size_t i = 0; i < count && fits; i++) {
    fits = values[i] < c->steps->value_count &&
           has_type(&c->steps->values[values[i]], &tensors[i]);
  }
  return fits ? IBX_OK
              : wrong(c, "step", index, "has not the tensors of its segment");
}

static ibx_status check_segment(const checker *c, size_t index) {
  const ibx_step *step = &c->steps->steps[index];
  if (step->segment >= c->program->entry_count ||
      !c->program->entries[step->segment].is_segment ||
      c->program->entries[step->segment].steps || step->int_count != 0 ||
      step->signature[0] != 0 || step->node != IBX_NO_NODE) {
    return wrong(c, "step", index, "runs an entry that is no segment");
  }
  const ibx_entry *segment = &c->program->entries[step->segment];
  for (size_t i = 0; i < segment->buffer_count; i++) {
    if (segment->buffers[i].kind != IBX_BUFFER_STATE) continue;
    return wrong(c, "step", index, "runs a segment with state");
  }
  IBX_TRY(check_ports(c, index, step->operands, step->operand_count,
                      segment->inputs, segment->input_count));
  return check_ports(c, index, step->results, step->result_count,
                     segment->outputs, segment->output_count);
}

// ---- Loops (session_loop.h)

static const ibx_step_value *type_of(const checker *c, uint32_t value) {
  return &c->steps->values[value];
}

// One element of that dtype, or nothing.
static bool is_scalar(const checker *c, uint32_t value, ibx_dtype dtype) {
  if (value == IBX_NO_NODE) return true;
  const ibx_step_value *type = type_of(c, value);
  bool fits = type->dtype == dtype;
  for (size_t d = 0; d < type->rank; d++)
    fits = fits && type->shape[d] == 1;
  return fits;
}

static bool is_same(const checker *c, uint32_t a, uint32_t b) {
  const ibx_step_value *x = type_of(c, a), *y = type_of(c, b);
  return x->dtype == y->dtype && x->rank == y->rank &&
         memcmp(x->shape, y->shape, sizeof x->shape) == 0;
}

// Whether any number of rows are a list.
static bool is_list_of(const checker *c, uint32_t list, uint32_t row) {
  const ibx_step_value *x = type_of(c, list), *y = type_of(c, row);
  if (x->dtype != y->dtype || x->dtype == IBX_DTYPE_STRING ||
      has_any_extent(y) || x->rank != y->rank + 1) {
    return false;
  }
  return memcmp(&x->shape[1], y->shape, y->rank * sizeof(*y->shape)) == 0;
}

static bool are_values(const checker *c, const uint32_t *values, size_t count,
                       size_t may_lack) {
  for (size_t i = 0; i < count; i++) {
    if (i < may_lack && values[i] == IBX_NO_NODE) continue;
    if (values[i] >= c->steps->value_count) return false;
  }
  return true;
}

static bool fits_loop(const checker *c, const ibx_step *step) {
  bool fits = step->operand_count >= 2 &&
              step->result_count + 1 == step->operand_count &&
              are_values(c, step->operands, step->operand_count, 2) &&
              are_values(c, step->results, step->result_count, 0);
  if (!fits || !is_scalar(c, step->operands[0], IBX_DTYPE_I64) ||
      !is_scalar(c, step->operands[1], IBX_DTYPE_BOOL) ||
      type_of(c, step->results[0])->rank != 0 ||
      type_of(c, step->results[0])->dtype != IBX_DTYPE_I64) {
    return false;
  }
  for (size_t i = 1; fits && i < step->result_count; i++)
    fits = is_same(c, step->results[i], step->operands[i + 1]);
  return fits;
}

static bool fits_next(const checker *c, const ibx_step *step,
                      const ibx_step *loop) {
  size_t carried = loop->result_count - 1;
  bool fits = step->operand_count == step->result_count + 1 &&
              step->result_count >= carried &&
              are_values(c, step->operands, step->operand_count, 1) &&
              are_values(c, step->results, step->result_count, 0) &&
              is_scalar(c, step->operands[0], IBX_DTYPE_BOOL);
  for (size_t i = 0; fits && i < step->result_count; i++) {
    uint32_t result = step->results[i], given = step->operands[i + 1];
    fits = i < carried ? is_same(c, result, given) &&
                             is_same(c, result, loop->results[i + 1])
                       : is_list_of(c, result, given);
  }
  return fits;
}

// What was made in a loop is gone behind it.
static void leave_loop(checker *c, uint32_t loop) {
  for (size_t v = 0; v < c->steps->value_count; v++) {
    if (c->maker[v] >= FIRST_STEP + loop) c->maker[v] = GONE;
  }
}

static ibx_status check_flow(checker *c, size_t index, ibx_host_flow flow) {
  const ibx_step *step = &c->steps->steps[index];
  bool fits =
      step->segment == 0 && step->int_count == 0 &&
      (step->node == IBX_NO_NODE || step->node < c->program->node_count);
  if (flow == IBX_HOST_FLOW_loop) {
    fits = fits && fits_loop(c, step);
    c->loops[c->loop_count++] = (uint32_t)index;
  } else {
    fits = fits && c->loop_count != 0 &&
           fits_next(c, step, &c->steps->steps[c->loops[c->loop_count - 1]]);
  }
  return fits ? IBX_OK
              : wrong(c, "step", index, "has not the parameters of a loop");
}

static ibx_status check_step(checker *c, size_t index) {
  const ibx_step *step = &c->steps->steps[index];
  ibx_host_flow flow = ibx_step_flow(step);
  if (flow != IBX_HOST_FLOW_none) {
    IBX_TRY(check_flow(c, index, flow));
  } else {
    IBX_TRY(step->call ? check_call(c, index) : check_segment(c, index));
  }
  for (size_t i = 0; i < step->operand_count; i++) {
    if (step->call && step->operands[i] == IBX_NO_NODE) continue;
    IBX_TRY(read_value(c, step->operands[i], "step", index));
  }
  if (flow == IBX_HOST_FLOW_next) leave_loop(c, c->loops[--c->loop_count]);
  for (size_t i = 0; i < step->result_count; i++) {
    IBX_TRY(make_value(c, step->results[i], FIRST_STEP + (uint32_t)index,
                       "step", index));
  }
  return IBX_OK;
}

// --- tensors -----------------------------------------------------------------

static void set_type(const checker *c, ibx_tensor_decl *tensor,
                     uint32_t value) {
  const ibx_step_value *from = &c->steps->values[value];
  tensor->rank = from->rank;
  tensor->dtype = from->dtype;
  tensor->buffer = 0;
  memcpy(tensor->shape, from->shape, sizeof(tensor->shape));
}

static ibx_status check_names(const checker *c, const ibx_tensor_decl *tensors,
                              size_t count) {
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < i; j++) {
      if (strcmp(tensors[i].name, tensors[j].name) != 0) continue;
      return wrong(c, "tensor", i, "has the name of another one");
    }
  }
  return IBX_OK;
}

static ibx_status check_inputs(const checker *c) {
  const ibx_entry *entry = c->entry;
  for (size_t i = 0; i < entry->input_count; i++) {
    IBX_TRY(make_value(c, c->steps->inputs[i], GIVEN, "input", i));
    set_type(c, &entry->inputs[i], c->steps->inputs[i]);
  }
  return check_names(c, entry->inputs, entry->input_count);
}

static ibx_status check_outputs(const checker *c) {
  const ibx_entry *entry = c->entry;
  for (size_t i = 0; i < entry->output_count; i++) {
    IBX_TRY(read_value(c, c->steps->outputs[i], "output", i));
    set_type(c, &entry->outputs[i], c->steps->outputs[i]);
  }
  return check_names(c, entry->outputs, entry->output_count);
}

static ibx_status check_all(checker *c) {
  for (size_t i = 0; i < c->steps->value_count; i++)
    IBX_TRY(check_value(c, i));
  IBX_TRY(check_inputs(c));
  for (size_t i = 0; i < c->steps->step_count; i++)
    IBX_TRY(check_step(c, i));
  if (c->loop_count != 0)
    return wrong(c, "step", c->loops[c->loop_count - 1],
                 "begins a loop that "
                 "does not end");
  return check_outputs(c);
}

ibx_status ibx_steps_check(const ibx_program_data *program,
                           const ibx_entry *entry, ibx_error *err) {
  ibx_pool pool = {0};
  checker c = {
      .program = program, .entry = entry, .steps = entry->steps, .err = err};
  if (entry->steps->step_count > MOST_STEPS ||
      entry->input_count > MOST_PORTS || entry->output_count > MOST_PORTS ||
      entry->is_segment || entry->buffer_count != 0 || entry->cores > 1) {
    return wrong(
        &c, "its", entry->steps->step_count,
        "steps, or its tensors, are too many, or it is a device's too");
  }
  c.maker = IBX_POOL_ARRAY(&pool, entry->steps->value_count, uint32_t);
  c.loops = IBX_POOL_ARRAY(&pool, entry->steps->step_count, uint32_t);
  ibx_status status = c.maker && c.loops ? check_all(&c)
                                         : IBX_FAIL(err, OUT_OF_MEMORY,
                                                    "no memory to check steps");
  ibx_pool_fini(&pool);
  return status;
}
