// SPDX-License-Identifier: Apache-2.0
//
// Steps that the host repeats. Comes in: what is computed in one trip. Goes out:
// the same between the flows `loop` and `next` of host_calls.def, and lists of the
// rows that the trips gave. Holds afterwards: what is carried has one dtype and
// shape in all trips. A Loop is imported so whose number of trips is large or is
// only told by the run.

#include "frontend/import_repeat.h"
#include "frontend/import_loop.h"
#include "frontend/import_ops.h"

#include <string.h>

// A tensor of which all is there.
static bool expect_whole(ibx_call *call, ibx_val value, const char *name) {
  if (!ibx_expect_tensor(call, value, name)) return false;
  if (!ibx_has_extent(call, value) && !ibx_is_open(ibx_type_of(call, value)))
    return true;
  ibx_call_refuse(call, name,
                  "a loop whose end only the run tells, and in which the data "
                  "decide an extent of '%s'",
                  name);
  return false;
}

// Number and condition as the step reads them: scalars, or left out.
static ibx_val read_scalar(ibx_call *call, ibx_val value, ibx_dtype dtype,
                           const char *name) {
  if (value == IBX_NO_VALUE || call->failed) return value;
  bool is_one = ibx_elements(ibx_type_of(call, value)) == 1;
  if (!ibx_call_expect(call, is_one, name, "needs one element")) return value;
  value = ibx_emit_reshape(call, value, (ibx_ints){0});
  return ibx_emit_cast(call, value, dtype);
}

static bool gives_same(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  for (size_t i = 1; i < l->out_count; i++) {
    if (!expect_whole(call, l->out[i], "body")) return false;
    if (i > carried || ibx_types_equal(ibx_type_of(call, l->out[i]),
                                       ibx_type_of(call, l->in[i + 1]))) {
      continue;
    }
    ibx_call_refuse(call, "body",
                    "a loop whose end only the run tells, and whose value %zu "
                    "has another type or other extents behind a trip",
                    i - 1);
    return false;
  }
  return true;
}

// ---- Steps

void ibx_repeat_begin(ibx_repeat *r, ibx_call *call, ibx_val number,
                      ibx_val condition, ibx_val *values, size_t carried) {
  ibx_arena *scratch = &call->import->scratch;
  ibx_val *operands = IBX_ARENA_ARRAY(scratch, carried + 2, ibx_val);
  ibx_val *results = IBX_ARENA_ARRAY(scratch, carried + 1, ibx_val);
  ibx_type *types = IBX_ARENA_ARRAY(scratch, carried + 1, ibx_type);
  // What the body shares with nodes behind it would be gone behind the end.
  *r = (ibx_repeat){.call = call,
                    .carried = carried,
                    .masks = call->import->masks,
                    .counts = call->import->counts};
  operands[0] = number;
  operands[1] = condition;
  types[0] = ibx_make_type(IBX_DTYPE_I64, (ibx_ints){0});
  for (size_t i = 0; i < carried; i++) {
    operands[i + 2] = values[i];
    types[i + 1] = *ibx_type_of(call, values[i]);
  }
  const ibx_host_use use = {.call = "loop",
                            .operands = operands,
                            .results = types,
                            .operand_count = carried + 2,
                            .result_count = carried + 1};
  ibx_emit_host(call, &use, results);
  r->trip = results[0];
  for (size_t i = 0; i < carried; i++)
    values[i] = results[i + 1];
}

static ibx_type list_type(ibx_call *call, ibx_type row, int64_t trips) {
  if (row.rank == IBX_MAX_RANK || row.dtype == IBX_DTYPE_STRING) {
    ibx_call_refuse(
        call, NULL,
        "rows of %d dimensions or of texts, from trips that are not "
        "unrolled",
        IBX_MAX_RANK);
    return row;
  }
  ibx_type list = {
      .dims = {trips}, .rank = (uint8_t)(row.rank + 1), .dtype = row.dtype};
  memcpy(&list.dims[1], row.dims, row.rank * sizeof(*row.dims));
  return list;
}

void ibx_repeat_end(ibx_repeat *r, ibx_val condition, ibx_val *given,
                    size_t count, int64_t trips) {
  ibx_call *call = r->call;
  ibx_arena *scratch = &call->import->scratch;
  ibx_val *operands = IBX_ARENA_ARRAY(scratch, count + 1, ibx_val);
  ibx_type *types = IBX_ARENA_ARRAY(scratch, count + 1, ibx_type);
  operands[0] = condition;
  for (size_t i = 0; i < count && !call->failed; i++) {
    operands[i + 1] = given[i];
    types[i] = *ibx_type_of(call, given[i]);
    if (i >= r->carried) types[i] = list_type(call, types[i], trips);
  }
  const ibx_host_use use = {.call = "next",
                            .operands = operands,
                            .results = types,
                            .operand_count = count + 1,
                            .result_count = count};
  ibx_emit_host(call, &use, given);
  call->import->masks = r->masks;
  call->import->counts = r->counts;
}

ibx_val ibx_repeat_row(const ibx_repeat *r, ibx_val x, int64_t axis,
                       bool backwards) {
  ibx_call *call = r->call;
  ibx_val at = r->trip;
  if (backwards) {
    ibx_val last = ibx_emit_long(call, ibx_dim(call, x, axis) - 1);
    at = ibx_emit_binary(call, IBX_TENSOR_sub, last, at);
  }
  return ibx_emit_gather(call, x, at, axis);
}

ibx_val ibx_turn(ibx_call *call, ibx_val list, bool backwards) {
  if (!backwards || call->failed) return list;
  int64_t count = ibx_dim(call, list, 0);
  return ibx_emit_slice(call, list, 0, count - 1, count, -1);
}

static bool gives(const ibx_host_node *node, ibx_val value) {
  for (size_t i = 0; i < node->result_count; i++) {
    if (node->results[i] == value) return true;
  }
  return false;
}

ibx_val ibx_repeat_decides(const ibx_import *import, ibx_val list) {
  size_t depth = 0;
  for (size_t i = import->host_count; i-- > 0;) {
    const ibx_host_node *node = &import->host_nodes[i];
    ibx_host_flow flow = node->call->flow;
    if (flow == IBX_HOST_FLOW_none || (depth == 0 && !gives(node, list)))
      continue;
    depth += flow == IBX_HOST_FLOW_next ? 1 : (size_t)-1;
    if (depth != 0) continue;
    return node->operands[node->operands[0] == IBX_NO_VALUE ? 1 : 0];
  }
  return IBX_NO_VALUE;
}

// ---- Loop

bool ibx_can_repeat(ibx_call *call) {
  bool can = true;
  for (size_t i = 2; i < call->in_count && can; i++) {
    ibx_val x = ibx_in(call, i);
    can = x != IBX_NO_VALUE && !ibx_is_bundle(x) && !ibx_has_extent(call, x) &&
          !ibx_is_open(ibx_type_of(call, x));
  }
  return can;
}

static bool is_known_true(ibx_call *call, ibx_val flag) {
  if (flag == IBX_NO_VALUE) return true;
  const ibx_tensor *known = ibx_force(call->import, flag);
  return known && ibx_elements(&known->type) == 1 &&
         ibx_tensor_int(known, 0) != 0;
}

// How many trips there are where constants tell, else IBX_OPEN_EXTENT.
static int64_t known_trips(ibx_loop *l, ibx_val number) {
  ibx_call *call = l->call;
  const ibx_tensor *most = number == IBX_NO_VALUE || call->failed
                               ? NULL
                               : ibx_force(call->import, number);
  bool is_sure = most && is_known_true(call, ibx_in(call, 1)) &&
                 is_known_true(call, l->out[0]);
  return is_sure ? ibx_tensor_int(most, 0) : IBX_OPEN_EXTENT;
}

static bool read_initial(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  for (size_t i = 0; i < carried; i++) {
    l->in[i + 2] = ibx_in(call, i + 2);
    if (!expect_whole(call, l->in[i + 2], "v_initial")) return false;
  }
  return true;
}

// A number of trips that no run would see the end of.
enum { MOST_REPEATED = 1 << 24 };

static bool expect_end(ibx_call *call, int64_t trips) {
  if (trips <= MOST_REPEATED) return true;
  ibx_call_refuse(call, "M", "a loop of %lld trips, which nothing ends before",
                  (long long)trips);
  return false;
}

void ibx_import_repeated(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  ibx_repeat r;
  if (call->failed || !read_initial(l, carried)) return;
  ibx_val number = read_scalar(call, ibx_in(call, 0), IBX_DTYPE_I64, "M");
  ibx_val condition =
      read_scalar(call, ibx_in(call, 1), IBX_DTYPE_BOOL, "cond");
  if (call->failed) return;
  l->may_bundle = false;
  l->trips = 0;
  ibx_repeat_begin(&r, call, number, condition, &l->in[2], carried);
  l->in[0] = r.trip;
  l->in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
  ibx_loop_run(l, ibx_trip_name(call, 0));
  if (call->failed || !gives_same(l, carried) ||
      !ibx_expect_tensor(call, l->out[0], "cond")) {
    return;
  }
  int64_t trips = known_trips(l, number);
  if (!expect_end(call, trips)) return;
  condition = read_scalar(call, l->out[0], IBX_DTYPE_BOOL, "cond");
  ibx_repeat_end(&r, condition, &l->out[1], l->out_count - 1, trips);
  for (size_t i = 1; i < l->out_count && !call->failed; i++)
    ibx_out(call, i - 1, l->out[i]);
}
