// SPDX-License-Identifier: Apache-2.0
//
// Loops over steps: what stands between two trips. Comes in: the values of a run.
// Goes out: whether there is another trip, and the values that it begins with, or
// those behind the loop. Holds: all types were checked with the steps.

#include "core/session_loop.h"

#include <string.h>

ibx_host_flow ibx_step_flow(const ibx_step *step) {
  if (step->call == NULL || step->signature[0] != 0) return IBX_HOST_FLOW_none;
  const ibx_host_call_info *row = ibx_host_call_find(step->call);
  return row ? row->flow : IBX_HOST_FLOW_none;
}

size_t ibx_loop_partner(const ibx_steps *steps, size_t index) {
  bool is_loop = ibx_step_flow(&steps->steps[index]) == IBX_HOST_FLOW_loop;
  size_t depth = 0;
  for (;;) {
    ibx_host_flow flow = ibx_step_flow(&steps->steps[index]);
    if (flow != IBX_HOST_FLOW_none) {
      depth += (flow == IBX_HOST_FLOW_loop) == is_loop ? 1 : (size_t)-1;
      if (depth == 0) return index;
    }
    index = is_loop ? index + 1 : index - 1;
  }
}

// A loop, and where its values are.
typedef struct course {
  const ibx_step *loop, *next;
  ibx_host_tensor *values;
  size_t carried;
} course;

static course course_of(const ibx_steps *steps, size_t loop, size_t next,
                        ibx_host_tensor *values) {
  return (course){.loop = &steps->steps[loop],
                  .next = &steps->steps[next],
                  .values = values,
                  .carried = steps->steps[loop].result_count - 1};
}

static bool is_true(const course *c, uint32_t condition) {
  return condition == IBX_NO_NODE || c->values[condition].data[0] != 0;
}

// Whether trip `number` is one of those that there may be.
static bool is_wanted(const course *c, int64_t number) {
  int64_t most = INT64_MAX;
  uint32_t operand = c->loop->operands[0];
  if (operand != IBX_NO_NODE)
    memcpy(&most, c->values[operand].data, sizeof most);
  return number < most;
}

static ibx_status set_trip(const course *c, int64_t number, ibx_error *err) {
  ibx_host_tensor *trip = &c->values[c->loop->results[0]];
  IBX_TRY(ibx_host_tensor_reset(trip, IBX_DTYPE_I64, NULL, 0, err));
  memcpy(trip->data, &number, sizeof number);
  return IBX_OK;
}

// What is last so far is carried into a trip.
static ibx_status carry(const course *c, ibx_error *err) {
  for (size_t i = 0; i < c->carried; i++) {
    IBX_TRY(ibx_host_tensor_copy(&c->values[c->loop->results[1 + i]],
                                 &c->values[c->next->results[i]], err));
  }
  return IBX_OK;
}

static ibx_status empty_lists(const ibx_steps *steps, const course *c,
                              ibx_error *err) {
  for (size_t i = c->carried; i < c->next->result_count; i++) {
    const ibx_step_value *type = &steps->values[c->next->results[i]];
    uint64_t shape[IBX_MAX_RANK];
    memcpy(shape, type->shape, sizeof shape);
    shape[0] = 0;
    IBX_TRY(ibx_host_tensor_reset(&c->values[c->next->results[i]],
                                  (ibx_dtype)type->dtype, shape, type->rank,
                                  err));
  }
  return IBX_OK;
}

// There were as many trips as the program says.
static ibx_status check_lists(const ibx_steps *steps, const course *c,
                              ibx_error *err) {
  for (size_t i = c->carried; i < c->next->result_count; i++) {
    uint64_t wanted = steps->values[c->next->results[i]].shape[0];
    uint64_t found = c->values[c->next->results[i]].shape[0];
    if (wanted == IBX_ANY_EXTENT || wanted == found) continue;
    return IBX_FAIL(err, MISMATCH,
                    "a loop made %llu trips, the program is for %llu",
                    (unsigned long long)found, (unsigned long long)wanted);
  }
  return IBX_OK;
}

ibx_status ibx_loop_begin(const ibx_steps *steps, size_t loop,
                          ibx_host_tensor *values, bool *out_goes_on,
                          ibx_error *err) {
  size_t next = ibx_loop_partner(steps, loop);
  const course c = course_of(steps, loop, next, values);
  for (size_t i = 0; i < c.carried; i++) {
    IBX_TRY(ibx_host_tensor_copy(&values[c.next->results[i]],
                                 &values[c.loop->operands[2 + i]], err));
  }
  IBX_TRY(empty_lists(steps, &c, err));
  *out_goes_on = is_wanted(&c, 0) && is_true(&c, c.loop->operands[1]);
  if (!*out_goes_on) IBX_TRY(check_lists(steps, &c, err));
  IBX_TRY(set_trip(&c, 0, err));
  return carry(&c, err);
}

// Values that are given may be carried ones: none is replaced before all of them
// are kept.
ibx_status ibx_loop_next(const ibx_steps *steps, size_t next,
                         ibx_host_tensor *values, bool *out_goes_on,
                         ibx_error *err) {
  size_t loop = ibx_loop_partner(steps, next);
  const course c = course_of(steps, loop, next, values);
  int64_t number;
  memcpy(&number, values[c.loop->results[0]].data, sizeof number);
  bool goes_on = is_true(&c, c.next->operands[0]) && is_wanted(&c, number + 1);
  for (size_t i = 0; i < c.next->result_count; i++) {
    ibx_host_tensor *result = &values[c.next->results[i]];
    const ibx_host_tensor *given = &values[c.next->operands[1 + i]];
    IBX_TRY(i < c.carried ? ibx_host_tensor_copy(result, given, err)
                          : ibx_host_tensor_append(result, given, err));
  }
  *out_goes_on = goes_on;
  if (!goes_on) return check_lists(steps, &c, err);
  IBX_TRY(set_trip(&c, number + 1, err));
  return carry(&c, err);
}
