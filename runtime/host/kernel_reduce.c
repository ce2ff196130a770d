// SPDX-License-Identifier: Apache-2.0
//
// Reductions and what runs along one dimension. Comes in: one operand. Goes
// out: sums, extrema and products over some dimensions, running sums, indices
// of maxima. Everything accumulates in double or in wrapping 64-bit integers
// and is converted once.

#include "host/host.h"

#include <math.h>
#include <stdlib.h>

// --- reductions over any dimensions ------------------------------------------

// A row of the operand: its innermost run of dimensions that are all reduced or
// all kept. Rows are walked in order, each with its place in the result.
typedef struct plan {
  size_t outer_rank;
  size_t extents[IBX_MAX_RANK];      ///< of the dimensions outside of the row
  size_t result_steps[IBX_MAX_RANK]; ///< 0 where reduced
  size_t row;                        ///< elements
  size_t rows;
  bool row_is_reduced;
} plan;

static bool is_reduced(const ibx_params *params, size_t dim) {
  for (size_t i = 0; i < params->axes.len; i++) {
    if (params->axes.at[i] == (int64_t)dim) return true;
  }
  return false;
}

static plan make_plan(const ibx_type *type, const ibx_params *params) {
  plan p = {.row = 1, .rows = 1, .outer_rank = type->rank};
  size_t step = 1;
  if (type->rank > 0) p.row_is_reduced = is_reduced(params, type->rank - 1u);
  while (p.outer_rank > 0 &&
         is_reduced(params, p.outer_rank - 1) == p.row_is_reduced) {
    p.row *= (size_t)type->dims[--p.outer_rank];
  }
  if (!p.row_is_reduced) step = p.row;
  for (size_t i = p.outer_rank; i-- > 0;) {
    p.extents[i] = (size_t)type->dims[i];
    p.rows *= p.extents[i];
    if (is_reduced(params, i)) continue;
    p.result_steps[i] = step;
    step *= p.extents[i];
  }
  return p;
}

// Advances to the next row; returns its place in the result.
static size_t next_row(const plan *p, size_t index[IBX_MAX_RANK], size_t at) {
  for (size_t i = p->outer_rank; i-- > 0;) {
    at += p->result_steps[i];
    if (++index[i] < p->extents[i]) return at;
    at -= p->result_steps[i] * p->extents[i];
    index[i] = 0;
  }
  return at;
}

static double start_float(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_reduce_max: return -INFINITY;
  case IBX_TENSOR_reduce_min: return INFINITY;
  case IBX_TENSOR_reduce_prod: return 1;
  default: return 0;
  }
}

static double join_float(ibx_tensor_op op, double a, double x) {
  switch (op) {
  case IBX_TENSOR_reduce_max: return x > a || isnan(x) ? x : a;
  case IBX_TENSOR_reduce_min: return x < a || isnan(x) ? x : a;
  case IBX_TENSOR_reduce_prod: return a * x;
  default: return a + x;
  }
}

// `step` is 0 for a reduced row, which folds into one place, else 1.
static void join_floats(ibx_tensor_op op, const double *x, size_t count,
                        double *into, size_t step) {
  if (op == IBX_TENSOR_reduce_sum || op == IBX_TENSOR_reduce_mean) {
    for (size_t i = 0; i < count; i++)
      into[i * step] += x[i];
    return;
  }
  for (size_t i = 0; i < count; i++) {
    into[i * step] = join_float(op, into[i * step], x[i]);
  }
}

static bool precedes(int64_t a, int64_t b, bool is_u64) {
  return is_u64 ? (uint64_t)a < (uint64_t)b : a < b;
}

static int64_t start_int(ibx_tensor_op op, ibx_dtype dtype) {
  switch (op) {
  case IBX_TENSOR_reduce_max: return ibx_host_extreme(dtype, false);
  case IBX_TENSOR_reduce_min: return ibx_host_extreme(dtype, true);
  case IBX_TENSOR_reduce_prod: return 1;
  default: return 0;
  }
}

static int64_t join_int(ibx_tensor_op op, bool is_u64, int64_t a, int64_t x) {
  switch (op) {
  case IBX_TENSOR_reduce_max: return precedes(a, x, is_u64) ? x : a;
  case IBX_TENSOR_reduce_min: return precedes(x, a, is_u64) ? x : a;
  case IBX_TENSOR_reduce_prod: return (int64_t)((uint64_t)a * (uint64_t)x);
  default: return (int64_t)((uint64_t)a + (uint64_t)x);
  }
}

static void reduce_floats(const ibx_host_call *call, const plan *p,
                          double *into) {
  const ibx_tensor *x = &call->operands[0];
  size_t index[IBX_MAX_RANK] = {0}, at = 0;
  size_t step = p->row_is_reduced ? 0 : 1;
  for (size_t row = 0; row < p->rows; row++) {
    for (size_t first = 0; first < p->row; first += IBX_HOST_BLOCK) {
      double block[IBX_HOST_BLOCK];
      size_t len = p->row - first;
      if (len > IBX_HOST_BLOCK) len = IBX_HOST_BLOCK;
      ibx_host_load(
          x->type.dtype,
          ibx_host_at_const(x->data, x->type.dtype, row * p->row + first),
          block, len);
      join_floats(call->op, block, len, into + at + first * step, step);
    }
    at = next_row(p, index, at);
  }
}

static void reduce_ints(const ibx_host_call *call, const plan *p,
                        int64_t *into) {
  const ibx_tensor *x = &call->operands[0];
  bool is_u64 = x->type.dtype == IBX_DTYPE_U64;
  size_t index[IBX_MAX_RANK] = {0}, at = 0;
  size_t step = p->row_is_reduced ? 0 : 1;
  for (size_t row = 0; row < p->rows; row++) {
    for (size_t first = 0; first < p->row; first++) {
      int64_t value, *place = into + at + first * step;
      size_t source = row * p->row + first;
      ibx_host_load_int(x->type.dtype,
                        ibx_host_at_const(x->data, x->type.dtype, source),
                        &value, 1);
      *place = join_int(call->op, is_u64, *place, value);
    }
    at = next_row(p, index, at);
  }
}

static size_t reduced_count(const ibx_host_call *call) {
  size_t product = 1;
  for (size_t i = 0; i < call->params->axes.len; i++) {
    int64_t axis = call->params->axes.at[i];
    product *= (size_t)call->operands[0].type.dims[axis];
  }
  return product;
}

static void finish_floats(const ibx_host_call *call, double *sums,
                          size_t count) {
  if (call->op == IBX_TENSOR_reduce_mean) {
    double divisor = (double)reduced_count(call);
    for (size_t i = 0; i < count; i++)
      sums[i] /= divisor;
  }
  ibx_host_store(call->result->type.dtype, sums, call->result->data, count);
}

static void finish_ints(const ibx_host_call *call, int64_t *sums,
                        size_t count) {
  size_t divisor = reduced_count(call);
  bool is_u64 = call->result->type.dtype == IBX_DTYPE_U64;
  for (size_t i = 0; i < count; i++) {
    if (call->op != IBX_TENSOR_reduce_mean || divisor == 0) break;
    sums[i] = is_u64 ? (int64_t)((uint64_t)sums[i] / divisor)
                     : sums[i] / (int64_t)divisor;
  }
  ibx_host_store_int(call->result->type.dtype, sums, call->result->data, count);
}

ibx_status ibx_host_reduce(const ibx_host_call *call, ibx_error *err) {
  const ibx_type *type = &call->operands[0].type;
  size_t count = ibx_type_span(&call->result->type, 0, call->result->type.rank);
  plan p = make_plan(type, call->params);
  void *room = calloc(count, sizeof(double));
  if (!room) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a reduction");
  if (ibx_dtype_is_float(type->dtype)) {
    double *sums = room;
    for (size_t i = 0; i < count; i++)
      sums[i] = start_float(call->op);
    reduce_floats(call, &p, sums);
    finish_floats(call, sums, count);
  } else {
    int64_t *sums = room;
    int64_t start = start_int(call->op, type->dtype);
    for (size_t i = 0; i < count; i++)
      sums[i] = start;
    reduce_ints(call, &p, sums);
    finish_ints(call, sums, count);
  }
  free(room);
  return IBX_OK;
}

// --- along one dimension -----------------------------------------------------

// A tensor as [outer, extent, inner] around an axis.
typedef struct lanes {
  size_t outer, extent, inner;
} lanes;

static lanes lanes_of(const ibx_host_call *call) {
  const ibx_type *type = &call->operands[0].type;
  size_t axis = (size_t)call->params->axis;
  return (lanes){.outer = ibx_type_span(type, 0, axis),
                 .extent = (size_t)type->dims[axis],
                 .inner = ibx_type_span(type, axis + 1, type->rank)};
}

// Whether the element at x comes before the one at best: it is larger, or the
// first NaN.
static bool beats(ibx_dtype dtype, const void *x, const void *best) {
  if (ibx_dtype_is_float(dtype)) {
    double a, b;
    ibx_host_load(dtype, x, &a, 1);
    ibx_host_load(dtype, best, &b, 1);
    return a > b || (isnan(a) && !isnan(b));
  }
  int64_t a, b;
  ibx_host_load_int(dtype, x, &a, 1);
  ibx_host_load_int(dtype, best, &b, 1);
  return precedes(b, a, dtype == IBX_DTYPE_U64);
}

ibx_status ibx_host_argmax(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  const ibx_tensor *x = &call->operands[0];
  ibx_dtype dtype = x->type.dtype;
  lanes l = lanes_of(call);
  for (size_t i = 0; i < l.outer * l.inner; i++) {
    size_t first = i / l.inner * l.extent * l.inner + i % l.inner;
    const void *best = ibx_host_at_const(x->data, dtype, first);
    int64_t best_index = 0;
    for (size_t k = 1; k < l.extent; k++) {
      const void *at = ibx_host_at_const(x->data, dtype, first + k * l.inner);
      if (!beats(dtype, at, best)) continue;
      best = at;
      best_index = (int64_t)k;
    }
    ibx_host_store_int(IBX_DTYPE_I64, &best_index,
                       ibx_host_at(call->result->data, IBX_DTYPE_I64, i), 1);
  }
  return IBX_OK;
}

// One lane from `first` on, `step` elements apart, backwards where `reverse`.
static void cumsum_lane(const ibx_host_call *call, size_t first, size_t step,
                        size_t extent) {
  const ibx_params *p = call->params;
  ibx_dtype dtype = call->result->type.dtype;
  bool is_float = ibx_dtype_is_float(dtype);
  double sum = 0, x = 0, y;
  int64_t int_sum = 0, int_x = 0, int_y;
  for (size_t k = 0; k < extent; k++) {
    size_t at = first + (p->reverse ? extent - 1 - k : k) * step;
    const void *from = ibx_host_at_const(call->operands[0].data, dtype, at);
    void *to = ibx_host_at(call->result->data, dtype, at);
    if (is_float) {
      ibx_host_load(dtype, from, &x, 1);
      y = p->exclusive ? sum : sum + x;
      sum += x;
      ibx_host_store(dtype, &y, to, 1);
    } else {
      ibx_host_load_int(dtype, from, &int_x, 1);
      int64_t next = (int64_t)((uint64_t)int_sum + (uint64_t)int_x);
      int_y = p->exclusive ? int_sum : next;
      int_sum = next;
      ibx_host_store_int(dtype, &int_y, to, 1);
    }
  }
}

ibx_status ibx_host_cumsum(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  lanes l = lanes_of(call);
  for (size_t i = 0; i < l.outer * l.inner; i++) {
    size_t first = i / l.inner * l.extent * l.inner + i % l.inner;
    cumsum_lane(call, first, l.inner, l.extent);
  }
  return IBX_OK;
}
