// SPDX-License-Identifier: Apache-2.0
//
// Imports TopK, unrolled. Comes in: a tensor and a constant number of elements.
// Goes out: for each of them the largest element that was not taken yet and the
// first position that has it. Whether an element was taken is kept beside the
// tensor, so that equal elements and infinities come out once each.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>

typedef struct top_k {
  ibx_val x, places; // places: 0, 1, ... along the axis, f32
  ibx_val taken;     // bools, or IBX_NO_VALUE before the first step
  ibx_val worst;     // what no element falls behind
  int64_t axis, extent;
  bool largest;
} top_k;

static ibx_val binary(ibx_call *call, ibx_tensor_op op, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, op, a, b);
}

static ibx_val reduce(ibx_call *call, const top_k *t, bool to_max, ibx_val x) {
  ibx_tensor_op op = to_max ? IBX_TENSOR_reduce_max : IBX_TENSOR_reduce_min;
  return ibx_emit_reduce(call, op, x, IBX_INTS(t->axis), true);
}

// Minus infinity or the smallest integer; the other end for the smallest.
static ibx_val emit_worst(ibx_call *call, ibx_val x, bool largest) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  if (ibx_is_float(dtype)) {
    return ibx_emit_scalar(call, dtype, largest ? -HUGE_VAL : HUGE_VAL);
  }
  bool is_signed = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  unsigned bits = (unsigned)(8 * ibx_dtype_bytes(dtype));
  uint64_t all = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
  uint64_t high = is_signed ? all >> 1 : all;
  uint64_t word = largest ? (is_signed ? ~high : 0) : high;
  uint64_t *data = IBX_ARENA_NEW(call->import->arena, uint64_t);
  *data = word; // little endian
  return ibx_emit_constant(call, (ibx_type){.dtype = dtype}, data);
}

// Gives the best element that is left and its place, and takes it.
static ibx_val take(ibx_call *call, top_k *t, ibx_val *out_place) {
  bool first = t->taken == IBX_NO_VALUE;
  ibx_val left = first ? t->x : ibx_emit_select(call, t->taken, t->worst, t->x);
  ibx_val best = reduce(call, t, t->largest, left);
  ibx_val past_end = ibx_emit_like(call, t->places, (double)t->extent);
  ibx_val place = ibx_emit_select(
      call, binary(call, IBX_TENSOR_equal, t->x, best), t->places, past_end);
  if (!first) place = ibx_emit_select(call, t->taken, past_end, place);
  place = reduce(call, t, false, place);
  ibx_val hit = binary(call, IBX_TENSOR_equal, t->places, place);
  hit = ibx_emit_broadcast(call, hit, ibx_shape_of(call, t->x));
  t->taken = first ? hit : binary(call, IBX_TENSOR_or, t->taken, hit);
  *out_place = place;
  return best;
}

static void import_top_k(ibx_call *call, int64_t k) {
  enum { MOST = 256, EXACT = 1 << 24 };
  top_k t = {.x = ibx_in(call, 0), .taken = IBX_NO_VALUE, .largest = true};
  int64_t rank = ibx_rank(call, t.x);
  t.axis = ibx_axis(call, ibx_attr_int(call, "axis", -1), rank);
  t.extent = ibx_dim(call, t.x, t.axis);
  if (call->version >= 11) {
    t.largest = ibx_attr_int(call, "largest", 1) != 0;
    ibx_attr_ignore(call, "sorted"); // without it any order is right
  }
  if (call->failed ||
      !ibx_call_expect(call, k >= 1 && k <= t.extent, "K",
                       "is not 1 to the extent") ||
      !ibx_call_expect(call, t.extent <= EXACT, "X",
                       "has more positions than fp32 can number")) {
    return;
  }
  if (k > MOST) {
    ibx_call_refuse(call, "K", "more than %d elements", MOST);
    return;
  }
  t.worst = emit_worst(call, t.x, t.largest);
  t.places = ibx_emit_along(
      call, ibx_emit_cast(call, ibx_emit_iota(call, t.extent), IBX_DTYPE_F32),
      t.axis, rank);
  ibx_val values[MOST], places[MOST];
  for (int64_t i = 0; i < k && !call->failed; i++)
    values[i] = take(call, &t, &places[i]);
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_concat(call, values, (size_t)k, t.axis));
  ibx_val index = ibx_emit_concat(call, places, (size_t)k, t.axis);
  ibx_out(call, 1, ibx_emit_cast(call, index, IBX_DTYPE_I64));
}

void ibx_import_op_top_k_1(ibx_call *call) {
  import_top_k(call, ibx_attr_int(call, "k", 0));
}

void ibx_import_op_top_k(ibx_call *call) {
  int64_t k = ibx_const_int(call, 1, "K");
  if (!call->failed) import_top_k(call, k);
}
