// SPDX-License-Identifier: Apache-2.0
//
// Imports operators that move rows to positions which are computed for each
// element of a batch. Comes in: a tensor, and numbers by batch. Goes out: a
// gather of rows by an index that is arithmetic on those numbers.

#include "frontend/import_rows.h"

#include "frontend/import_ops.h"

#include <string.h>

// 0, 1, ... along one of `rank` dimensions.
static ibx_val line(ibx_call *call, int64_t extent, int64_t axis,
                    int64_t rank) {
  return ibx_emit_along(call, ibx_emit_iota(call, extent), axis, rank);
}

static int64_t product(ibx_ints shape, int64_t from, int64_t to) {
  int64_t count = 1;
  for (int64_t i = from; i < to; i++)
    count *= shape.at[i];
  return count;
}

// --- ReverseSequence ---------------------------------------------------------

// Row t of a sequence is row length - 1 - t before its length, and t after.
static ibx_val reversed_index(ibx_call *call, int64_t batch, int64_t steps) {
  ibx_val lengths = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_I64);
  lengths = ibx_emit_along(call, lengths, 0, 2);
  ibx_val step = line(call, steps, 1, 2);
  ibx_val last =
      ibx_emit_binary(call, IBX_TENSOR_sub, lengths, ibx_emit_long(call, 1));
  ibx_val back = ibx_emit_binary(call, IBX_TENSOR_sub, last, step);
  ibx_val inside = ibx_emit_binary(call, IBX_TENSOR_less, step, lengths);
  ibx_val start = ibx_emit_binary(call, IBX_TENSOR_mul, line(call, batch, 0, 2),
                                  ibx_emit_long(call, steps));
  return ibx_emit_binary(call, IBX_TENSOR_add, start,
                         ibx_emit_select(call, inside, back, step));
}

void ibx_import_op_reverse_sequence(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), lengths = ibx_in(call, 1);
  int64_t batch_axis = ibx_attr_int(call, "batch_axis", 1);
  int64_t time_axis = ibx_attr_int(call, "time_axis", 0);
  bool fits = ibx_rank(call, x) >= 2 && (batch_axis == 0 || batch_axis == 1) &&
              time_axis == 1 - batch_axis;
  if (!ibx_call_expect(call, fits, "batch_axis",
                       "and time_axis are not 0 and 1")) {
    return;
  }
  if (batch_axis == 1) x = ibx_emit_swap(call, x, 0, 1);
  ibx_ints shape = ibx_shape_of(call, x);
  fits =
      ibx_rank(call, lengths) == 1 && ibx_dim(call, lengths, 0) == shape.at[0];
  if (!ibx_call_expect(call, fits, "sequence_lens",
                       "needs one number for each sequence")) {
    return;
  }
  int64_t rows = shape.at[0] * shape.at[1];
  ibx_val flat =
      ibx_emit_reshape(call, x, IBX_INTS(rows, product(shape, 2, shape.len)));
  ibx_val index = reversed_index(call, shape.at[0], shape.at[1]);
  x = ibx_emit_reshape(call, ibx_emit_gather(call, flat, index, 0), shape);
  ibx_out(call, 0, batch_axis == 1 ? ibx_emit_swap(call, x, 0, 1) : x);
}

// --- TensorScatter -----------------------------------------------------------

// A cache as [B, P, M, Q], where M counts positions, and what is written there.
typedef struct cache {
  ibx_val past, update;
  int64_t batch, outer, positions, inner, written;
  bool circular;
} cache;

static bool read_cache(ibx_call *call, cache *c) {
  ibx_ints shape = ibx_shape_of(call, ibx_in(call, 0));
  ibx_ints own = ibx_shape_of(call, ibx_in(call, 1));
  const char *mode = ibx_attr_text(call, "mode", "linear");
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", -2), shape.len);
  c->circular = strcmp(mode, "circular") == 0;
  if (!c->circular && strcmp(mode, "linear") != 0) {
    ibx_call_refuse(call, "mode", "mode = '%s'", mode);
  }
  if (call->failed) return false;
  bool fits = axis > 0 && own.len == shape.len &&
              own.at[axis] <= shape.at[axis] && own.at[axis] >= 1;
  for (uint8_t i = 0; fits && i < own.len; i++)
    fits = i == axis || own.at[i] == shape.at[i];
  if (!ibx_call_expect(call, fits, "update", "does not fit the cache")) {
    return false;
  }
  c->batch = shape.at[0];
  c->outer = product(shape, 1, axis);
  c->positions = shape.at[axis];
  c->inner = product(shape, axis + 1, shape.len);
  c->written = own.at[axis];
  c->past =
      ibx_emit_reshape(call, ibx_in(call, 0),
                       IBX_INTS(c->batch, c->outer, c->positions, c->inner));
  c->update =
      ibx_emit_reshape(call, ibx_in(call, 1),
                       IBX_INTS(c->batch, c->outer, c->written, c->inner));
  return !call->failed;
}

// Without positions the update comes first.
static ibx_val replace_start(ibx_call *call, const cache *c) {
  int64_t left = c->positions - c->written;
  ibx_val parts[] = {
      c->update, left == 0
                     ? c->past
                     : ibx_emit_slice(call, c->past, 2, c->written, left, 1)};
  return ibx_emit_concat(call, parts, left == 0 ? 1 : 2, 2);
}

// start less a whole number of turns: 0 to M. Positions below 2^23 are exact.
static ibx_val wrap_start(ibx_call *call, const cache *c, ibx_val start) {
  double positions = (double)c->positions;
  ibx_val at = ibx_emit_cast(call, start, IBX_DTYPE_F32);
  ibx_val turns = ibx_emit_unary(call, IBX_TENSOR_floor,
                                 ibx_emit_affine(call, at, 1 / positions, 0));
  at = ibx_emit_binary(call, IBX_TENSOR_sub, at,
                       ibx_emit_affine(call, turns, positions, 0));
  return ibx_emit_cast(call, at, IBX_DTYPE_I64);
}

// Each position of the cache asks which row of the update lies there.
static ibx_val replace_at(ibx_call *call, const cache *c, ibx_val start) {
  start = c->circular ? wrap_start(call, c, start)
                      : ibx_emit_cast(call, start, IBX_DTYPE_I64);
  start = ibx_emit_along(call, start, 0, 3);
  ibx_val row = ibx_emit_binary(call, IBX_TENSOR_sub,
                                line(call, c->positions, 2, 3), start);
  if (c->circular) {
    ibx_val before =
        ibx_emit_binary(call, IBX_TENSOR_less, row, ibx_emit_long(call, 0));
    row = ibx_emit_select(call, before,
                          ibx_emit_binary(call, IBX_TENSOR_add, row,
                                          ibx_emit_long(call, c->positions)),
                          row);
  }
  if (c->written == 1) { // a step of a decoder: nothing to gather
    ibx_val here =
        ibx_emit_binary(call, IBX_TENSOR_equal, row, ibx_emit_long(call, 0));
    here = ibx_emit_reshape(call, here, IBX_INTS(c->batch, 1, c->positions, 1));
    return ibx_emit_select(call, here, c->update, c->past);
  }
  ibx_val zero = ibx_emit_long(call, 0),
          last = ibx_emit_long(call, c->written - 1);
  ibx_val inside =
      ibx_emit_binary(call, IBX_TENSOR_and,
                      ibx_emit_binary(call, IBX_TENSOR_less_equal, zero, row),
                      ibx_emit_binary(call, IBX_TENSOR_less_equal, row, last));
  row = ibx_emit_binary(call, IBX_TENSOR_max, zero,
                        ibx_emit_binary(call, IBX_TENSOR_min, row, last));
  ibx_val block = ibx_emit_binary(
      call, IBX_TENSOR_add,
      ibx_emit_binary(call, IBX_TENSOR_mul, line(call, c->batch, 0, 3),
                      ibx_emit_long(call, c->outer)),
      line(call, c->outer, 1, 3));
  row = ibx_emit_binary(call, IBX_TENSOR_add, row,
                        ibx_emit_binary(call, IBX_TENSOR_mul, block,
                                        ibx_emit_long(call, c->written)));
  ibx_val rows = ibx_emit_reshape(
      call, c->update, IBX_INTS(c->batch * c->outer * c->written, c->inner));
  inside =
      ibx_emit_reshape(call, inside, IBX_INTS(c->batch, 1, c->positions, 1));
  return ibx_emit_select(call, inside, ibx_emit_gather(call, rows, row, 0),
                         c->past);
}

ibx_val ibx_emit_rows_at(ibx_call *call, ibx_val past, ibx_val update,
                         ibx_val start) {
  ibx_ints shape = ibx_shape_of(call, past);
  const cache c = {.past = past,
                   .update = update,
                   .batch = shape.at[0],
                   .outer = shape.at[1],
                   .positions = shape.at[2],
                   .inner = shape.at[3],
                   .written = ibx_dim(call, update, 2)};
  return replace_at(call, &c, start);
}

void ibx_import_op_tensor_scatter(ibx_call *call) {
  ibx_ints shape = ibx_shape_of(call, ibx_in(call, 0));
  ibx_val start = ibx_in(call, 2);
  cache c = {0};
  if (!read_cache(call, &c)) return;
  bool fits = start == IBX_NO_VALUE || (ibx_rank(call, start) == 1 &&
                                        ibx_dim(call, start, 0) == c.batch);
  if (!ibx_call_expect(call, fits, "write_indices",
                       "needs one number for each element of the batch")) {
    return;
  }
  ibx_val present = start == IBX_NO_VALUE ? replace_start(call, &c)
                                          : replace_at(call, &c, start);
  ibx_out(call, 0, ibx_emit_reshape(call, present, shape));
}
