// SPDX-License-Identifier: Apache-2.0
//
// Imports Loop as steps that the host repeats. Comes in: a body, and a number or
// a condition that only the run tells. Goes out: the body once, between the flows
// `loop` and `next` of host_calls.def, and lists of the slices that it gave, whose
// extent has no bound. Holds afterwards: what is carried has one dtype and shape
// in all trips.

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

static bool is_carried_type(const ibx_type *a, const ibx_type *b) {
  return a->dtype == b->dtype && a->rank == b->rank &&
         memcmp(a->dims, b->dims, a->rank * sizeof(*a->dims)) == 0;
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

// Emits the step that begins the loop; its results go into the body.
static void begin(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  ibx_arena *scratch = &call->import->scratch;
  ibx_val *operands = IBX_ARENA_ARRAY(scratch, carried + 2, ibx_val);
  ibx_val *results = IBX_ARENA_ARRAY(scratch, carried + 1, ibx_val);
  ibx_type *types = IBX_ARENA_ARRAY(scratch, carried + 1, ibx_type);
  operands[0] = read_scalar(call, ibx_in(call, 0), IBX_DTYPE_I64, "M");
  operands[1] = read_scalar(call, ibx_in(call, 1), IBX_DTYPE_BOOL, "cond");
  types[0] = ibx_make_type(IBX_DTYPE_I64, (ibx_ints){0});
  for (size_t i = 0; i < carried && !call->failed; i++) {
    operands[i + 2] = ibx_in(call, i + 2);
    if (expect_whole(call, operands[i + 2], "v_initial"))
      types[i + 1] = *ibx_type_of(call, operands[i + 2]);
  }
  const ibx_host_use use = {.call = "loop",
                            .operands = operands,
                            .results = types,
                            .operand_count = carried + 2,
                            .result_count = carried + 1};
  ibx_emit_host(call, &use, results);
  if (call->failed) return;
  l->in[0] = results[0];
  l->in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
  for (size_t i = 0; i < carried; i++)
    l->in[i + 2] = results[i + 1];
}

static bool gives_same(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  for (size_t i = 1; i < l->out_count; i++) {
    if (!expect_whole(call, l->out[i], "body")) return false;
    if (i > carried || is_carried_type(ibx_type_of(call, l->out[i]),
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

// The list of any number of slices of that type.
static ibx_type list_type(ibx_call *call, ibx_type slice) {
  if (slice.rank == IBX_MAX_RANK || slice.dtype == IBX_DTYPE_STRING) {
    ibx_call_refuse(call, "body",
                    "a loop whose end only the run tells, and which gives "
                    "slices of 8 dimensions or of texts");
    return slice;
  }
  ibx_type list = {.dims = {IBX_OPEN_EXTENT},
                   .rank = (uint8_t)(slice.rank + 1),
                   .dtype = slice.dtype};
  memcpy(&list.dims[1], slice.dims, slice.rank * sizeof(*slice.dims));
  return list;
}

static void end(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  ibx_arena *scratch = &call->import->scratch;
  size_t count = l->out_count - 1;
  ibx_val *operands = IBX_ARENA_ARRAY(scratch, l->out_count, ibx_val);
  ibx_val *results = IBX_ARENA_ARRAY(scratch, count + 1, ibx_val);
  ibx_type *types = IBX_ARENA_ARRAY(scratch, count + 1, ibx_type);
  if (!ibx_expect_tensor(call, l->out[0], "cond")) return;
  operands[0] = read_scalar(call, l->out[0], IBX_DTYPE_BOOL, "cond");
  for (size_t i = 0; i < count && !call->failed; i++) {
    operands[i + 1] = l->out[i + 1];
    types[i] = *ibx_type_of(call, l->out[i + 1]);
    if (i >= carried) types[i] = list_type(call, types[i]);
  }
  const ibx_host_use use = {.call = "next",
                            .operands = operands,
                            .results = types,
                            .operand_count = count + 1,
                            .result_count = count};
  ibx_emit_host(call, &use, results);
  for (size_t i = 0; i < count && !call->failed; i++)
    ibx_out(call, i, results[i]);
}

void ibx_import_repeated(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  ibx_import *import = call->import;
  // What the body shares with nodes behind it would be gone behind the loop.
  struct ibx_mask *masks = import->masks;
  struct ibx_counted *counts = import->counts;
  if (call->failed) return;
  l->may_bundle = false;
  l->trips = 0;
  begin(l, carried);
  if (!call->failed) ibx_loop_run(l, ibx_trip_name(call, 0));
  if (!call->failed && gives_same(l, carried)) end(l, carried);
  import->masks = masks;
  import->counts = counts;
}
