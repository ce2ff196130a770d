// SPDX-License-Identifier: Apache-2.0
//
// Emits scatters with indices that are computed while the model runs. Comes in:
// data [B, N, W], indices [B, M], updates [B, M, W]. Goes out: comparisons of
// indices with row numbers, and what they choose. There is no engine that
// writes where data says, so a row looks for its updates instead:
//
//   few updates   one after the other: row n takes update m where n is its
//                 index. B N W elements a step, and any operation.
//   many          all at once. Of those that replace a row the last is looked
//                 for among B N M comparisons and gathered; a sum of floating
//                 updates is a product with the comparisons; others reduce
//                 B N M W elements.

#include "frontend/import_scatter.h"

enum { MOST_STEPS = 16 };

// The scatter as all of its forms see it.
typedef struct shape {
  int64_t batch, rows, updates, width;
} shape;

// bool [B, N, M]: update m goes to row n.
static ibx_val emit_hits(ibx_call *call, const shape *s, ibx_val indices) {
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, s->rows), 1, 3);
  indices = ibx_emit_reshape(call, indices, IBX_INTS(s->batch, 1, s->updates));
  return ibx_emit_binary(call, IBX_TENSOR_equal, indices, line);
}

static ibx_val emit_steps(ibx_call *call, const ibx_scatter *how,
                          const shape *s, ibx_val data, ibx_val indices,
                          ibx_val updates) {
  for (int64_t m = 0; m < s->updates && !call->failed; m++) {
    shape one = *s;
    one.updates = 1;
    ibx_val hit =
        emit_hits(call, &one, ibx_emit_slice(call, indices, 1, m, 1, 1));
    ibx_val update = ibx_emit_slice(call, updates, 1, m, 1, 1);
    if (how->op != IBX_TENSOR_constant) {
      update = ibx_emit_binary(call, how->op, data, update);
    }
    data = ibx_emit_select(call, hit, update, data);
  }
  return data;
}

// Rows of data and updates joined, gathered by the last update of each row.
static ibx_val emit_last(ibx_call *call, const shape *s, ibx_val data,
                         ibx_val hits, ibx_val updates) {
  int64_t rows = s->batch * s->rows;
  ibx_val place =
      ibx_emit_reshape(call, ibx_emit_iota(call, s->batch * s->updates),
                       IBX_INTS(s->batch, 1, s->updates));
  ibx_val none = ibx_emit_like(call, place, -1);
  ibx_val last = ibx_emit_reduce(call, IBX_TENSOR_reduce_max,
                                 ibx_emit_select(call, hits, place, none),
                                 IBX_INTS(2), false);
  last = ibx_emit_reshape(call, last, IBX_INTS(rows));
  ibx_val is_free = ibx_emit_binary(call, IBX_TENSOR_less, last,
                                    ibx_emit_like(call, last, 0));
  ibx_val moved = ibx_emit_binary(call, IBX_TENSOR_add, last,
                                  ibx_emit_like(call, last, (double)rows));
  ibx_val index =
      ibx_emit_select(call, is_free, ibx_emit_iota(call, rows), moved);
  ibx_val parts[] = {
      ibx_emit_reshape(call, data, IBX_INTS(rows, s->width)),
      ibx_emit_reshape(call, updates,
                       IBX_INTS(s->batch * s->updates, s->width))};
  ibx_val all = ibx_emit_concat(call, parts, 2, 0);
  return ibx_emit_gather(call, all, index, 0);
}

// Every update at every row: itself where it belongs, else what changes
// nothing, which for the largest and the smallest is the row.
static ibx_val emit_reduction(ibx_call *call, const ibx_scatter *how,
                              const shape *s, ibx_val data, ibx_val hits,
                              ibx_val updates) {
  bool sums = how->op == IBX_TENSOR_add, products = how->op == IBX_TENSOR_mul;
  ibx_tensor_op op = sums                        ? IBX_TENSOR_reduce_sum
                     : products                  ? IBX_TENSOR_reduce_prod
                     : how->op == IBX_TENSOR_max ? IBX_TENSOR_reduce_max
                                                 : IBX_TENSOR_reduce_min;
  int64_t all = 0;
  bool fits = ibx_mul_extent(s->batch * s->rows * s->updates, s->width, &all);
  if (!ibx_call_expect_room(call, fits ? all : INT64_MAX)) return data;
  ibx_val other =
      sums || products
          ? ibx_emit_like(call, data, how->neutral)
          : ibx_emit_reshape(call, data,
                             IBX_INTS(s->batch, s->rows, 1, s->width));
  hits =
      ibx_emit_reshape(call, hits, IBX_INTS(s->batch, s->rows, s->updates, 1));
  updates = ibx_emit_reshape(call, updates,
                             IBX_INTS(s->batch, 1, s->updates, s->width));
  ibx_val chosen = ibx_emit_select(call, hits, updates, other);
  return ibx_emit_binary(call, how->op, data,
                         ibx_emit_reduce(call, op, chosen, IBX_INTS(2), false));
}

static ibx_val emit_many(ibx_call *call, const ibx_scatter *how, const shape *s,
                         ibx_val data, ibx_val indices, ibx_val updates) {
  ibx_dtype dtype = ibx_dtype_of(call, data);
  ibx_val hits = emit_hits(call, s, indices);
  if (how->op == IBX_TENSOR_constant) {
    return emit_last(call, s, data, hits, updates);
  }
  if (how->op == IBX_TENSOR_add && ibx_is_float(dtype)) {
    ibx_val sums =
        ibx_emit_matmul(call, ibx_emit_cast(call, hits, dtype), updates);
    return ibx_emit_binary(call, IBX_TENSOR_add, data, sums);
  }
  return emit_reduction(call, how, s, data, hits, updates);
}

ibx_val ibx_emit_scatter(ibx_call *call, const ibx_scatter *how, ibx_val data,
                         ibx_val indices, ibx_val updates) {
  shape s = {.batch = ibx_dim(call, data, 0),
             .rows = ibx_dim(call, data, 1),
             .updates = ibx_dim(call, updates, 1),
             .width = ibx_dim(call, data, 2)};
  if (s.batch * s.rows * s.width == 0 || s.updates == 0) return data;
  ibx_ints result = ibx_shape_of(call, data);
  int64_t all = 0;
  bool fits = ibx_mul_extent(s.batch * s.rows, s.updates, &all);
  if (!ibx_call_expect_room(call, fits ? all : INT64_MAX)) return data;
  data = s.updates <= MOST_STEPS
             ? emit_steps(call, how, &s, data, indices, updates)
             : emit_many(call, how, &s, data, indices, updates);
  return ibx_emit_reshape(call, data, result);
}
