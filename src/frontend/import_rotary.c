// SPDX-License-Identifier: Apache-2.0
//
// Imports RotaryEmbedding and MRotaryEmbedding, decomposed. Comes in: heads [B,
// heads, S, D] or [B, S, heads * D], cosines and sines by position. Goes out: the
// first elements of each head, pairs of which are rotated by the angle of their
// position, or of one of three positions.

#include "frontend/import_attention.h"

#include "frontend/import_ops.h"

static ibx_val join_two(ibx_call *call, ibx_val a, ibx_val b, uint8_t axis) {
  ibx_val parts[] = {a, b};
  return ibx_emit_concat(call, parts, 2, axis);
}

// Rotates pairs of x [B, S, heads, D], which are D / 2 apart, by angles [B or 1,
// S, 1, D / 2]: x * (cos, cos) + (second, first) * (-sin, sin).
static ibx_val rotate_halves(ibx_call *call, ibx_val x, ibx_val cosine,
                             ibx_val sine) {
  int64_t half = ibx_dim(call, x, 3) / 2;
  ibx_val turned = join_two(call, ibx_emit_slice(call, x, 3, half, half, 1),
                            ibx_emit_slice(call, x, 3, 0, half, 1), 3);
  ibx_val minus_sine = ibx_emit_unary(call, IBX_TENSOR_neg, sine);
  return ibx_emit_binary(call, IBX_TENSOR_add,
                         ibx_emit_binary(call, IBX_TENSOR_mul, x,
                                         join_two(call, cosine, cosine, 3)),
                         ibx_emit_binary(call, IBX_TENSOR_mul, turned,
                                         join_two(call, minus_sine, sine, 3)));
}

// The same for pairs of neighbours.
static ibx_val rotate_neighbours(ibx_call *call, ibx_val x, ibx_val cosine,
                                 ibx_val sine) {
  int64_t depth = ibx_dim(call, x, 3), half = depth / 2;
  ibx_val first = ibx_emit_slice(call, x, 3, 0, half, 2);
  ibx_val second = ibx_emit_slice(call, x, 3, 1, half, 2);
  ibx_val real =
      ibx_emit_binary(call, IBX_TENSOR_sub,
                      ibx_emit_binary(call, IBX_TENSOR_mul, cosine, first),
                      ibx_emit_binary(call, IBX_TENSOR_mul, sine, second));
  ibx_val imaginary = ibx_emit_binary(
      call, IBX_TENSOR_add, ibx_emit_binary(call, IBX_TENSOR_mul, sine, first),
      ibx_emit_binary(call, IBX_TENSOR_mul, cosine, second));
  ibx_ints shape = ibx_shape_of(call, real), apart = shape;
  apart.at[apart.len++] = 1;
  real = ibx_emit_reshape(call, real, apart);
  imaginary = ibx_emit_reshape(call, imaginary, apart);
  shape.at[3] = depth;
  return ibx_emit_reshape(call, join_two(call, real, imaginary, 4), shape);
}

// [S or positions, D / 2] by position to [B or 1, S, 1, D / 2].
static ibx_val read_angles(ibx_call *call, ibx_val cache, ibx_val positions,
                           int64_t half) {
  if (positions != IBX_NO_VALUE) {
    cache = ibx_emit_gather(call, cache, positions, 0);
  }
  ibx_ints s = ibx_shape_of(call, cache);
  if (s.len == 2) s = IBX_INTS(1, s.at[0], s.at[1]);
  bool fits = s.len == 3 && s.at[2] >= half;
  if (!ibx_call_expect(call, fits, "cos_cache", "does not fit the rotation")) {
    return cache;
  }
  cache = ibx_emit_reshape(call, cache, IBX_INTS(s.at[0], s.at[1], 1, s.at[2]));
  return ibx_emit_slice(call, cache, 3, 0, half, 1);
}

ibx_val ibx_emit_rotary(ibx_call *call, ibx_val x, const ibx_rotary *r) {
  int64_t whole = ibx_dim(call, x, 3);
  bool fits = r->depth > 0 && r->depth % 2 == 0 && r->start >= 0 &&
              r->depth <= whole && r->start <= whole - r->depth;
  if (!ibx_call_expect(call, fits, "rotary_embedding_dim",
                       "is odd or too large")) {
    return x;
  }
  int64_t half = r->depth / 2, end = r->start + r->depth;
  ibx_val cosine = read_angles(call, r->cosine, r->positions, half);
  ibx_val sine = read_angles(call, r->sine, r->positions, half);
  ibx_val part = ibx_emit_slice(call, x, 3, r->start, r->depth, 1), parts[3];
  size_t count = 0;
  if (r->start > 0) parts[count++] = ibx_emit_slice(call, x, 3, 0, r->start, 1);
  parts[count++] = r->interleaved ? rotate_neighbours(call, part, cosine, sine)
                                  : rotate_halves(call, part, cosine, sine);
  if (end < whole) {
    parts[count++] = ibx_emit_slice(call, x, 3, end, whole - end, 1);
  }
  return ibx_emit_concat(call, parts, count, 3);
}

// Rotates input 0 by the angles of `r`, whose attributes the call has.
static void rotary(ibx_call *call, ibx_rotary r) {
  ibx_val x = ibx_in(call, 0);
  r.depth = ibx_attr_int(call, "rotary_embedding_dim", 0);
  r.interleaved = ibx_attr_flag(call, "interleaved", false);
  int64_t heads = ibx_attr_int(call, "num_heads", 0);
  ibx_ints shape = ibx_shape_of(call, x);
  bool is_flat = shape.len == 3;
  if (is_flat && heads == 0 && call->at.domain[0] != 0) {
    // com.microsoft: the caches tell the depth of a head.
    int64_t head = 2 * ibx_dim(call, r.cosine, -1);
    heads = head > 0 ? shape.at[2] / head : 0;
  }
  bool fits =
      shape.len == 4 || (is_flat && heads > 0 && shape.at[2] % heads == 0);
  if (!ibx_call_expect(call, fits, "X", "does not fit the heads")) return;
  x = is_flat ? ibx_emit_reshape(call, x,
                                 IBX_INTS(shape.at[0], shape.at[1], heads,
                                          shape.at[2] / heads))
              : ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
  if (r.depth == 0) r.depth = ibx_dim(call, x, 3);
  x = ibx_emit_rotary(call, x, &r);
  if (!is_flat) x = ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
  ibx_out(call, 0, ibx_emit_reshape(call, x, shape));
}

void ibx_import_op_rotary_embedding(ibx_call *call) {
  rotary(call, (ibx_rotary){.cosine = ibx_in(call, 1),
                            .sine = ibx_in(call, 2),
                            .positions = ibx_in(call, 3)});
}

// com.microsoft has the positions before the caches: one for each token, or a
// vector of one, where they begin.
void ibx_import_op_rotary_embedding_ms(ibx_call *call) {
  ibx_val positions = ibx_in(call, 1);
  ibx_attr_ignore(call, "scale is_packed_batching");
  if (ibx_rank(call, positions) == 1) {
    int64_t length = ibx_dim(call, ibx_in(call, 0),
                             ibx_rank(call, ibx_in(call, 0)) == 3 ? 1 : 2);
    ibx_val tokens = ibx_emit_reshape(call, ibx_emit_iota(call, length),
                                      IBX_INTS(1, length));
    positions =
        ibx_emit_binary(call, IBX_TENSOR_add,
                        ibx_emit_cast(call, positions, IBX_DTYPE_I64), tokens);
  }
  rotary(call, (ibx_rotary){.cosine = ibx_in(call, 2),
                            .sine = ibx_in(call, 3),
                            .positions = positions});
}

// --- three positions for each token ------------------------------------------

enum { STREAMS = 3 }; // time, rows, columns

// Which columns of the caches stream `stream` owns, as bools: sections one after
// the other, or every third column of the first ones, the rest for the time.
static ibx_val owned_columns(ibx_call *call, const int64_t *section,
                             int64_t stream, int64_t half, bool in_turn) {
  ibx_type type = {.dims = {half}, .rank = 1, .dtype = IBX_DTYPE_BOOL};
  uint8_t *data = ibx_arena_alloc(call->import->arena, (size_t)half);
  int64_t start = 0;
  for (int64_t i = 0; i < stream; i++)
    start += section[i];
  for (int64_t i = 0; i < half; i++) {
    data[i] = in_turn ? i % STREAMS == stream && i / STREAMS < section[stream]
                      : i >= start && i < start + section[stream];
  }
  return ibx_emit_constant(call, type, data);
}

// The angles of each token, [B, S, half], of a cache [positions, half].
static ibx_val mix_streams(ibx_call *call, ibx_val cache,
                           const int64_t *section, bool in_turn) {
  ibx_val positions = ibx_in(call, 1), mixed = IBX_NO_VALUE;
  for (int64_t i = 0; i < STREAMS; i++) {
    ibx_val own =
        ibx_emit_gather(call, cache, ibx_emit_at(call, positions, 0, i), 0);
    mixed =
        i == 0
            ? own
            : ibx_emit_select(call,
                              owned_columns(call, section, i,
                                            ibx_dim(call, cache, 1), in_turn),
                              own, mixed);
  }
  return mixed;
}

static bool streams_fit(ibx_call *call, const ibx_ints *section) {
  ibx_ints x = ibx_shape_of(call, ibx_in(call, 0));
  ibx_ints p = ibx_shape_of(call, ibx_in(call, 1));
  ibx_ints c = ibx_shape_of(call, ibx_in(call, 2));
  ibx_ints s = ibx_shape_of(call, ibx_in(call, 3));
  bool fits = (x.len == 3 || x.len == 4) && p.len == 3 && p.at[0] == STREAMS &&
              p.at[1] == x.at[0] && p.at[2] == x.at[x.len - 2];
  if (!ibx_call_expect(call, fits, "position_ids", "needs [3, B, S]")) {
    return false;
  }
  fits = c.len == 2 && s.len == 2 && c.at[0] == s.at[0] && c.at[1] == s.at[1];
  if (!ibx_call_expect(call, fits, "cos_cache",
                       "and sin_cache need [positions, depth / 2]")) {
    return false;
  }
  int64_t sum = 0;
  fits = section->len == STREAMS;
  for (uint8_t i = 0; fits && i < STREAMS; i++) {
    fits = section->at[i] >= 0 && section->at[i] <= c.at[1];
    sum += section->at[i];
  }
  return ibx_call_expect(call, fits && sum == c.at[1], "mrope_section",
                         "needs three numbers, whose sum is the width of the "
                         "caches") &&
         ibx_call_expect_room(call, c.at[1]);
}

void ibx_import_op_mrotary_embedding(ibx_call *call) {
  ibx_ints section = {0};
  ibx_attr_ints(call, "mrope_section", &section);
  bool in_turn = ibx_attr_flag(call, "mrope_layout", false);
  double scale = (double)ibx_attr_float(call, "scale", 1); // of what is rotated
  ibx_attr_ignore(call, "is_packed_batching");
  if (call->failed || !streams_fit(call, &section)) return;
  ibx_rotary r = {.positions = IBX_NO_VALUE};
  ibx_val *parts[] = {&r.cosine, &r.sine};
  for (size_t i = 0; i < 2; i++) {
    ibx_val cache = ibx_emit_affine(call, ibx_in(call, 2 + i), scale, 0);
    *parts[i] = mix_streams(call, cache, section.at, in_turn);
  }
  rotary(call, r);
}
