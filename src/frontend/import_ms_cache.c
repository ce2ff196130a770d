// SPDX-License-Identifier: Apache-2.0
//
// Caches of keys and values for the attentions of com.microsoft. Comes in: a
// buffer, new rows and where they begin. Goes out: the buffer with these rows, by
// moves where the start is a constant, else by an index that is arithmetic on it.

#include "frontend/import_ms_cache.h"

#include "frontend/import_rows.h"

int64_t ibx_ms_fixed_start(ibx_call *call, ibx_val start, int64_t past) {
  if (!ibx_is_known(call, start)) return -1;
  const ibx_tensor *known = ibx_force(call->import, start);
  if (!known || ibx_elements(&known->type) < 1) return -1;
  int64_t first = ibx_tensor_int(known, 0);
  for (int64_t i = 1; i < ibx_elements(&known->type); i++) {
    if (ibx_tensor_int(known, (size_t)i) != first) return -1;
  }
  return first >= 0 && first <= past ? first : -1;
}

static ibx_val grow(ibx_call *call, ibx_val buffer, int64_t rows) {
  int64_t missing = rows - ibx_dim(call, buffer, 2);
  if (missing <= 0) return buffer;
  return ibx_emit_pad(call, buffer, (ibx_ints){.len = 4},
                      IBX_INTS(0, 0, missing, 0), 0);
}

ibx_val ibx_ms_write_cache(ibx_call *call, const ibx_ms_cache *c,
                           ibx_val buffer, ibx_val rows) {
  if (c->fixed < 0) {
    return ibx_emit_rows_at(call, grow(call, buffer, c->present), rows,
                            c->start);
  }
  ibx_val parts[3];
  size_t count = 0;
  int64_t end = c->fixed + ibx_dim(call, rows, 2);
  if (c->fixed > 0) {
    parts[count++] = ibx_emit_slice(call, buffer, 2, 0, c->fixed, 1);
  }
  parts[count++] = rows;
  if (end < c->past) {
    parts[count++] = ibx_emit_slice(call, buffer, 2, end, c->past - end, 1);
  }
  return grow(call, ibx_emit_concat(call, parts, count, 2), c->present);
}

// The row of [B * rows] that element b of the batch reads at each position: the
// beams of a group are neighbours in the batch. Rows from the start on are its own.
static ibx_val beam_rows(ibx_call *call, const ibx_ms_cache *c, int64_t batch,
                         int64_t rows, ibx_val beams) {
  int64_t width = ibx_dim(call, beams, 1);
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, batch), 0, 2);
  ibx_val group = ibx_emit_reshape(
      call,
      ibx_emit_broadcast(
          call, ibx_emit_along(call, ibx_emit_iota(call, batch / width), 0, 2),
          IBX_INTS(batch / width, width)),
      IBX_INTS(batch, 1));
  ibx_val at = ibx_emit_along(call, ibx_emit_iota(call, rows), 1, 2);
  beams = ibx_emit_reshape(call, ibx_emit_cast(call, beams, IBX_DTYPE_I64),
                           IBX_INTS(batch, rows));
  ibx_val named = ibx_emit_binary(
      call, IBX_TENSOR_add, beams,
      ibx_emit_binary(call, IBX_TENSOR_mul, group, ibx_emit_long(call, width)));
  ibx_val old = ibx_emit_binary(call, IBX_TENSOR_less, at,
                                ibx_emit_along(call, c->start, 0, 2));
  ibx_val from = ibx_emit_select(call, old, named, line);
  return ibx_emit_binary(
      call, IBX_TENSOR_add,
      ibx_emit_binary(call, IBX_TENSOR_mul, from, ibx_emit_long(call, rows)),
      at);
}

ibx_val ibx_ms_pick_beams(ibx_call *call, const ibx_ms_cache *c, ibx_val buffer,
                          ibx_val beams) {
  ibx_ints s = ibx_shape_of(call, buffer), b = ibx_shape_of(call, beams);
  bool fits = b.len == 3 && b.at[1] >= 1 && b.at[0] * b.at[1] == s.at[0] &&
              b.at[2] == s.at[2];
  if (!ibx_call_expect(call, fits, "cache_indirection",
                       "needs the shape [B / beams, beams, rows of the "
                       "cache]")) {
    return buffer;
  }
  ibx_val x = ibx_emit_transpose(call, buffer, IBX_INTS(0, 2, 1, 3));
  x = ibx_emit_reshape(call, x, IBX_INTS(s.at[0] * s.at[2], s.at[1] * s.at[3]));
  x = ibx_emit_gather(call, x, beam_rows(call, c, s.at[0], s.at[2], beams), 0);
  x = ibx_emit_reshape(call, x, IBX_INTS(s.at[0], s.at[2], s.at[1], s.at[3]));
  return ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
}
