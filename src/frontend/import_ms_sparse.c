// SPDX-License-Identifier: Apache-2.0
//
// Imports SparseAttention of com.microsoft. Comes in: queries, keys and values of S
// new tokens, a buffer of the old ones, and layouts: for each block of queries the
// blocks of keys that it sees, as compressed rows. Goes out: attention over the
// whole buffer, where a query sees what its row of the layout names and what does
// not come after it:
//
//   position of the query -> block -> row of flags for all keys, by a gather
//
// Head h has layout h modulo the number of layouts.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ms_gqa.h"
#include "frontend/import_ops.h"

#include <math.h>

typedef struct sparse {
  ibx_group_query g;
  int64_t block, layouts;
  int64_t block_rows; // of a layout
  int64_t keys;       // that may count
} sparse;

// --- the cache ---------------------------------------------------------------

// New tokens end at the length of their element; those of a prompt begin at 0, and
// padding follows them. It is a prompt where no length exceeds S.
static void read_start(ibx_call *call, sparse *s, ibx_val total) {
  ibx_group_query *g = &s->g;
  ibx_val start = ibx_emit_binary(call, IBX_TENSOR_sub, g->lengths,
                                  ibx_emit_long(call, g->rows));
  ibx_val prompt = ibx_emit_binary(call, IBX_TENSOR_equal, total,
                                   ibx_emit_long(call, g->rows));
  g->cache.start =
      ibx_emit_select(call, prompt, ibx_emit_like(call, start, 0), start);
  g->cache.fixed = ibx_ms_fixed_start(call, g->cache.start, g->cache.past);
}

static bool read_cache(ibx_call *call, sparse *s) {
  ibx_group_query *g = &s->g;
  ibx_val total = ibx_in(call, 7), lengths = ibx_in(call, 8);
  g->cache.past = g->cache.present = ibx_dim(call, ibx_in(call, 3), 2);
  bool fits = ibx_gq_cache_fits(call, g, ibx_in(call, 3)) &&
              ibx_gq_cache_fits(call, g, ibx_in(call, 4));
  if (!ibx_call_expect(call, fits && g->cache.past >= g->rows, "past_key",
                       "and past_value need [B, kv_num_heads, rows, D], with "
                       "room for the new tokens")) {
    return false;
  }
  fits = ibx_elements(ibx_type_of(call, total)) == 1 &&
         ibx_elements(ibx_type_of(call, lengths)) == g->batch;
  if (!ibx_call_expect(call, fits, "key_total_sequence_lengths",
                       "needs [B], and total_sequence_length one number")) {
    return false;
  }
  g->lengths = ibx_emit_reshape(
      call, ibx_emit_cast(call, lengths, IBX_DTYPE_I64), IBX_INTS(g->batch));
  total = ibx_emit_element(call, total, 0);
  read_start(call, s, total);
  const ibx_tensor *known = ibx_force(call->import, total);
  s->keys = known ? ibx_tensor_int(known, 0) : g->cache.past;
  return ibx_call_expect(call, s->keys >= g->rows && s->keys <= g->cache.past,
                         "total_sequence_length",
                         "needs the new tokens, and room in the buffer");
}

// --- layouts -----------------------------------------------------------------

// Flags [block rows, layouts, blocks of keys].
static ibx_val read_layouts(ibx_call *call, const sparse *s,
                            const ibx_tensor *rows, const ibx_tensor *columns,
                            int64_t blocks) {
  int64_t most = columns->type.dims[1], count = s->block_rows * s->layouts;
  if (!ibx_mul_extent(count, blocks, &count) ||
      !ibx_call_expect_room(call, count)) {
    return IBX_NO_VALUE;
  }
  ibx_type type = {.dims = {s->block_rows, s->layouts, blocks},
                   .rank = 3,
                   .dtype = IBX_DTYPE_BOOL};
  uint8_t *flags = ibx_arena_alloc(call->import->arena, (size_t)count);
  for (int64_t i = 0; i < count; i++)
    flags[i] = 0;
  for (int64_t at = 0; at < s->block_rows * s->layouts; at++) {
    int64_t layout = at % s->layouts, row = at / s->layouts;
    size_t place = (size_t)(layout * (s->block_rows + 1) + row);
    int64_t from = ibx_tensor_int(rows, place);
    int64_t to = ibx_tensor_int(rows, place + 1);
    if (!ibx_call_expect(call, from >= 0 && from <= to && to <= most,
                         "block_row_indices", "does not fit the columns")) {
      return IBX_NO_VALUE;
    }
    for (int64_t i = from; i < to; i++) {
      int64_t column = ibx_tensor_int(columns, (size_t)(layout * most + i));
      if (column >= 0 && column < blocks) flags[at * blocks + column] = 1;
    }
  }
  return ibx_emit_constant(call, type, flags);
}

static bool layouts_fit(ibx_call *call, sparse *s, const ibx_tensor *rows,
                        const ibx_tensor *columns) {
  s->block = ibx_attr_int(call, "sparse_block_size", 0);
  bool fits =
      s->block == 16 || s->block == 32 || s->block == 64 || s->block == 128;
  if (!ibx_call_expect(call, fits, "sparse_block_size",
                       "needs 16, 32, 64 or 128")) {
    return false;
  }
  const ibx_type *r = &rows->type, *c = &columns->type;
  fits = r->rank == 2 && c->rank == 2 && r->dims[0] == c->dims[0] &&
         r->dims[0] >= 1 && r->dims[1] >= 2 && s->g.heads % r->dims[0] == 0;
  if (!ibx_call_expect(call, fits, "block_row_indices",
                       "needs a layout for some of the heads")) {
    return false;
  }
  s->layouts = r->dims[0];
  s->block_rows = r->dims[1] - 1;
  return true;
}

// The block that each position [B or 1, S] lies in. Positions below 2^23 are exact.
static ibx_val block_of(ibx_call *call, const sparse *s, ibx_val positions) {
  ibx_val at = ibx_emit_cast(call, positions, IBX_DTYPE_F32);
  at = ibx_emit_affine(call, at, 1 / (double)s->block, 0);
  at = ibx_emit_clip(call, ibx_emit_unary(call, IBX_TENSOR_floor, at), 0,
                     (float)(s->block_rows - 1));
  return ibx_emit_cast(call, at, IBX_DTYPE_I64);
}

// [B or 1, layouts, S, keys], for heads that have them in turn.
static ibx_val repeat_layouts(ibx_call *call, const sparse *s, ibx_val x) {
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t times = s->g.heads / s->layouts;
  if (s->layouts == 1 || times == 1) return x;
  x = ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], 1, shape.at[1], shape.at[2], shape.at[3]));
  x = ibx_emit_broadcast(
      call, x,
      IBX_INTS(shape.at[0], times, shape.at[1], shape.at[2], shape.at[3]));
  return ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], s->g.heads, shape.at[2], shape.at[3]));
}

// The bias of what each query sees.
static ibx_val emit_bias(ibx_call *call, sparse *s, ibx_val positions) {
  const ibx_tensor *rows = ibx_const_in(call, 5, "block_row_indices");
  const ibx_tensor *columns =
      rows ? ibx_const_in(call, 6, "block_col_indices") : NULL;
  if (!columns || !layouts_fit(call, s, rows, columns)) return IBX_NO_VALUE;
  int64_t blocks = (s->keys + s->block - 1) / s->block;
  ibx_val flags = read_layouts(call, s, rows, columns, blocks);
  if (call->failed) return IBX_NO_VALUE;
  ibx_ints apart = IBX_INTS(s->block_rows, s->layouts, blocks, 1);
  flags = ibx_emit_reshape(call, flags, apart);
  apart.at[3] = s->block;
  flags = ibx_emit_broadcast(call, flags, apart);
  flags = ibx_emit_reshape(
      call, flags, IBX_INTS(s->block_rows, s->layouts, blocks * s->block));
  flags = ibx_emit_slice(call, flags, 2, 0, s->keys, 1);
  flags = ibx_emit_gather(call, flags, block_of(call, s, positions), 0);
  flags = ibx_emit_transpose(call, flags, IBX_INTS(0, 2, 1, 3));
  ibx_ints shape = ibx_shape_of(call, positions);
  ibx_val last = ibx_emit_reshape(call, positions,
                                  IBX_INTS(shape.at[0], 1, shape.at[1], 1));
  ibx_val keys = ibx_emit_along(call, ibx_emit_iota(call, s->keys), 3, 4);
  flags =
      ibx_emit_binary(call, IBX_TENSOR_and, flags,
                      ibx_emit_binary(call, IBX_TENSOR_less_equal, keys, last));
  return ibx_emit_select(call, repeat_layouts(call, s, flags),
                         ibx_emit_like(call, s->g.q, 0),
                         ibx_emit_like(call, s->g.q, -HUGE_VAL));
}

// --- the operator ------------------------------------------------------------

void ibx_import_op_sparse_attention(ibx_call *call) {
  sparse s = {0};
  ibx_group_query *g = &s.g;
  static const char *const needed[] = {"past_key",
                                       "past_value",
                                       "block_row_indices",
                                       "block_col_indices",
                                       "total_sequence_length",
                                       "key_total_sequence_lengths"};
  for (size_t i = 0; i < IBX_COUNT_OF(needed); i++)
    ibx_ms_need_input(call, i + 3, needed[i]);
  if (call->failed ||
      !ibx_gq_read_qkv(call, g, ibx_in(call, 0), ibx_in(call, 1),
                       ibx_in(call, 2)) ||
      !read_cache(call, &s)) {
    return;
  }
  ibx_val positions = ibx_gq_positions(call, g);
  bool rotates = ibx_attr_flag(call, "do_rotary", false);
  ibx_attr_ignore(call, "rotary_interleaved"); // of what is not rotated
  if (rotates) ibx_gq_rotate(call, g, 9, positions, 0);
  ibx_attention a = {.bias = emit_bias(call, &s, positions),
                     .sink = IBX_NO_VALUE};
  if (call->failed) return;
  a.q = ibx_emit_transpose(call, g->q, IBX_INTS(0, 2, 1, 3));
  a.k = ibx_gq_write_cache(call, g, 3, g->k);
  a.v = ibx_gq_write_cache(call, g, 4, g->v);
  ibx_out(call, 1, a.k);
  ibx_out(call, 2, a.v);
  a.k = ibx_emit_slice(call, a.k, 2, 0, s.keys, 1);
  a.v = ibx_emit_slice(call, a.v, 2, 0, s.keys, 1);
  a.scale = ibx_ms_read_scale(call, a.q);
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val y = ibx_emit_attention(call, &a, stages);
  ibx_out(call, 0, ibx_emit_merge_heads(call, y));
}
