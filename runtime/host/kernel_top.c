// SPDX-License-Identifier: Apache-2.0
//
// The largest or smallest elements along one dimension. Comes in: a call that
// inference has checked. Goes out: the elements (top) or where they stood
// (top_index), the first of equal ones first; NaN is greater than every number.

#include "host/host.h"

#include <math.h>
#include <stdlib.h>

typedef struct entry {
  double real;
  int64_t whole;
  size_t place;
} entry;

// Whether the first comes before the second in descending order of values.
typedef int (*compare_fn)(const void *, const void *);

static int by_place(const entry *a, const entry *b) {
  return a->place < b->place ? -1 : 1;
}

static int order_real(const entry *a, const entry *b) {
  if (isnan(a->real) || isnan(b->real)) {
    return (isnan(a->real) != 0) - (isnan(b->real) != 0);
  }
  return (a->real > b->real) - (a->real < b->real);
}

static int order_signed(const entry *a, const entry *b) {
  return (a->whole > b->whole) - (a->whole < b->whole);
}

static int order_unsigned(const entry *a, const entry *b) {
  uint64_t x = (uint64_t)a->whole, y = (uint64_t)b->whole;
  return (x > y) - (x < y);
}

#define ORDER(name)                                                            \
  static int name##_up(const void *a, const void *b) {                         \
    int order = order_##name(a, b);                                            \
    return order != 0 ? order : by_place(a, b);                                \
  }                                                                            \
  static int name##_down(const void *a, const void *b) {                       \
    int order = order_##name(b, a);                                            \
    return order != 0 ? order : by_place(a, b);                                \
  }
ORDER(real)
ORDER(signed)
ORDER(unsigned)

static compare_fn order_of(ibx_dtype dtype, bool largest) {
  if (ibx_dtype_is_float(dtype)) return largest ? real_down : real_up;
  if (dtype == IBX_DTYPE_U64) return largest ? unsigned_down : unsigned_up;
  return largest ? signed_down : signed_up;
}

static void load(const ibx_tensor *x, size_t first, size_t step, size_t count,
                 entry *row) {
  ibx_dtype dtype = x->type.dtype;
  for (size_t i = 0; i < count; i++) {
    const void *at = ibx_host_at_const(x->data, dtype, first + i * step);
    row[i] = (entry){.place = i};
    if (ibx_dtype_is_float(dtype)) {
      ibx_host_load(dtype, at, &row[i].real, 1);
    } else {
      ibx_host_load_int(dtype, at, &row[i].whole, 1);
    }
  }
}

static void store(const ibx_host_call *call, const entry *e, size_t index) {
  ibx_dtype dtype = call->result->type.dtype;
  void *to = ibx_host_at(call->result->data, dtype, index);
  int64_t place = (int64_t)e->place;
  if (call->op == IBX_TENSOR_top_index) {
    ibx_host_store_int(dtype, &place, to, 1);
  } else if (ibx_dtype_is_float(dtype)) {
    ibx_host_store(dtype, &e->real, to, 1);
  } else {
    ibx_host_store_int(dtype, &e->whole, to, 1);
  }
}

ibx_status ibx_host_top(const ibx_host_call *call, ibx_error *err) {
  const ibx_tensor *x = &call->operands[0];
  size_t axis = (size_t)call->params->axis;
  size_t extent = (size_t)x->type.dims[axis];
  size_t kept = (size_t)call->params->count;
  size_t outer = ibx_type_span(&x->type, 0, axis);
  size_t inner = ibx_type_span(&x->type, axis + 1, x->type.rank);
  entry *row = malloc((extent + 1) * sizeof *row);
  if (!row) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for one row");
  compare_fn order = order_of(x->type.dtype, call->params->largest != 0);
  for (size_t lane = 0; lane < outer * inner; lane++) {
    size_t block = lane / inner, at = lane % inner;
    load(x, block * extent * inner + at, inner, extent, row);
    qsort(row, extent, sizeof *row, order);
    for (size_t k = 0; k < kept; k++) {
      store(call, &row[k], (block * kept + k) * inner + at);
    }
  }
  free(row);
  return IBX_OK;
}
