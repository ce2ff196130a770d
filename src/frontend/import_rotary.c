// SPDX-License-Identifier: Apache-2.0
//
// Imports RotaryEmbedding, decomposed. Comes in: heads [B, heads, S, D] or [B,
// S, heads * D], cosines and sines by position. Goes out: the first elements of
// each head, pairs of which are rotated by the angle of their position.

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
  bool fits = r->depth > 0 && r->depth <= whole && r->depth % 2 == 0;
  if (!ibx_call_expect(call, fits, "rotary_embedding_dim",
                       "is odd or too large")) {
    return x;
  }
  int64_t half = r->depth / 2;
  ibx_val cosine = read_angles(call, r->cosine, r->positions, half);
  ibx_val sine = read_angles(call, r->sine, r->positions, half);
  ibx_val parts[2] = {ibx_emit_slice(call, x, 3, 0, r->depth, 1)};
  parts[0] = r->interleaved ? rotate_neighbours(call, parts[0], cosine, sine)
                            : rotate_halves(call, parts[0], cosine, sine);
  if (r->depth < whole) {
    parts[1] = ibx_emit_slice(call, x, 3, r->depth, whole - r->depth, 1);
  }
  return ibx_emit_concat(call, parts, r->depth < whole ? 2 : 1, 3);
}

// `positions` may be one offset (a vector of 1) or one for each token.
static void rotary(ibx_call *call, ibx_val positions, size_t cosine_in) {
  ibx_val x = ibx_in(call, 0);
  ibx_rotary r = {.cosine = ibx_in(call, cosine_in),
                  .sine = ibx_in(call, cosine_in + 1),
                  .positions = positions,
                  .depth = ibx_attr_int(call, "rotary_embedding_dim", 0),
                  .interleaved = ibx_attr_flag(call, "interleaved", false)};
  int64_t heads = ibx_attr_int(call, "num_heads", 0);
  ibx_ints shape = ibx_shape_of(call, x);
  bool is_flat = shape.len == 3;
  if (is_flat && heads == 0 && cosine_in == 2) {
    // com.microsoft: the caches tell the depth of a head.
    int64_t head = 2 * ibx_dim(call, ibx_in(call, cosine_in), -1);
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
  rotary(call, ibx_in(call, 3), 1);
}

// com.microsoft has the positions before the caches.
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
  rotary(call, positions, 2);
}
