// SPDX-License-Identifier: Apache-2.0
//
// Imports Attention and RotaryEmbedding, decomposed. Comes in: queries, keys
// and values as [B, S, heads * D] or [B, heads, S, D], a mask, a cache. Goes out:
//
//   softmax(cap(Q K^T * scale) + bias) V
//
// where the bias joins the mask, the causal rule and the window. A row in which
// everything is masked gives 0.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>

typedef struct attention {
  ibx_val q, k, v; // [B, heads, S, D]
  ibx_val bias;    // IBX_NO_VALUE: none
  int64_t offset;  // keys before the first query
  bool is_flat;    // the result is [B, S, heads * D]
  bool masks_rows; // the bias may mask a whole row
} attention;

// [B, S, heads * D] to [B, heads, S, D]
static ibx_val split_heads(ibx_call *call, ibx_val x, int64_t heads) {
  if (ibx_rank(call, x) == 4) return x;
  ibx_ints shape = ibx_shape_of(call, x);
  bool fits = shape.len == 3 && heads > 0 && shape.at[2] % heads == 0;
  if (!ibx_call_expect(call, fits, "Q",
                       "needs 3 dimensions that the heads divide, or 4")) {
    return x;
  }
  x = ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], shape.at[1], heads, shape.at[2] / heads));
  return ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
}

static ibx_val merge_heads(ibx_call *call, ibx_val x) {
  ibx_ints shape = ibx_shape_of(call, x);
  x = ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
  return ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], shape.at[2], shape.at[1] * shape.at[3]));
}

// One head of keys serves several of queries.
static ibx_val repeat_heads(ibx_call *call, ibx_val x, int64_t heads) {
  ibx_ints s = ibx_shape_of(call, x);
  if (s.at[1] == heads) return x;
  if (!ibx_call_expect(call, s.at[1] > 0 && heads % s.at[1] == 0, "K",
                       "has heads that do not divide those of Q")) {
    return x;
  }
  int64_t times = heads / s.at[1];
  x = ibx_emit_reshape(call, x,
                       IBX_INTS(s.at[0], s.at[1], 1, s.at[2], s.at[3]));
  x = ibx_emit_broadcast(call, x,
                         IBX_INTS(s.at[0], s.at[1], times, s.at[2], s.at[3]));
  return ibx_emit_reshape(call, x, IBX_INTS(s.at[0], heads, s.at[2], s.at[3]));
}

// Joins a cache, and gives what is to be cached next.
static ibx_val join_past(ibx_call *call, ibx_val past, ibx_val now,
                         size_t output) {
  if (past != IBX_NO_VALUE) {
    ibx_val parts[] = {past, now};
    now = ibx_emit_concat(call, parts, 2, 2);
  }
  ibx_out(call, output, now);
  return now;
}

static bool read_operands(ibx_call *call, attention *a) {
  int64_t heads = ibx_attr_int(call, "q_num_heads", 0);
  int64_t kv_heads = ibx_attr_int(call, "kv_num_heads", 0);
  ibx_val past = ibx_in(call, 4);
  a->is_flat = ibx_rank(call, ibx_in(call, 0)) == 3;
  a->q = split_heads(call, ibx_in(call, 0), heads);
  a->k = split_heads(call, ibx_in(call, 1), kv_heads);
  a->v = split_heads(call, ibx_in(call, 2), kv_heads);
  bool fits = ibx_rank(call, a->q) == 4 && ibx_rank(call, a->k) == 4 &&
              ibx_rank(call, a->v) == 4;
  if (!ibx_call_expect(call, fits, "Q", "needs 3 or 4 dimensions"))
    return false;
  if (past != IBX_NO_VALUE) a->offset = ibx_dim(call, past, 2);
  a->k = join_past(call, past, a->k, 1);
  a->v = join_past(call, ibx_in(call, 5), a->v, 2);
  a->k = repeat_heads(call, a->k, ibx_dim(call, a->q, 1));
  a->v = repeat_heads(call, a->v, ibx_dim(call, a->q, 1));
  return !call->failed;
}

// --- masks -------------------------------------------------------------------

// Bools become 0 and minus infinity; a short mask masks the rest.
static ibx_val read_mask(ibx_call *call, const attention *a) {
  ibx_val mask = ibx_in(call, 3);
  ibx_dtype dtype = ibx_dtype_of(call, a->q);
  if (ibx_dtype_of(call, mask) == IBX_DTYPE_BOOL) {
    mask = ibx_emit_select(call, mask, ibx_emit_scalar(call, dtype, 0),
                           ibx_emit_scalar(call, dtype, -HUGE_VAL));
  }
  int64_t rank = ibx_rank(call, mask);
  int64_t missing = ibx_dim(call, a->k, 2) - ibx_dim(call, mask, -1);
  if (missing <= 0 || rank == 0) return mask;
  ibx_ints low = ibx_fill_ints((size_t)rank, 0), high = low;
  high.at[rank - 1] = missing;
  return ibx_emit_pad(call, mask, low, high, -INFINITY);
}

// 0 where key j is allowed for query i, else minus infinity, as a constant:
// i + offset - left <= j <= i + offset + right.
static ibx_val band(ibx_call *call, const attention *a, int64_t left,
                    int64_t right) {
  int64_t rows = ibx_dim(call, a->q, 2), columns = ibx_dim(call, a->k, 2);
  ibx_type type = {.dims = {rows, columns}, .rank = 2, .dtype = IBX_DTYPE_F32};
  if (!ibx_call_expect_room(call, rows) ||
      !ibx_call_expect_room(call, columns) ||
      !ibx_call_expect_room(call, ibx_elements(&type))) {
    return a->q;
  }
  size_t count = (size_t)ibx_elements(&type);
  float *data = IBX_ARENA_ARRAY(call->import->arena, count, float);
  for (int64_t i = 0; i < rows; i++) {
    for (int64_t j = 0; j < columns; j++) {
      int64_t distance = j - (i + a->offset);
      bool in =
          (left < 0 || distance >= -left) && (right < 0 || distance <= right);
      data[i * columns + j] = in ? 0 : -INFINITY;
    }
  }
  ibx_val constant = ibx_emit_constant(call, type, data);
  return ibx_emit_cast(call, constant, ibx_dtype_of(call, a->q));
}

static ibx_val both(ibx_call *call, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, IBX_TENSOR_and, a, b);
}

static ibx_val minus(ibx_call *call, ibx_val x, int64_t number) {
  return ibx_emit_binary(call, IBX_TENSOR_sub, x,
                         ibx_emit_longs(call, (ibx_ints){0}, &number));
}

// The same where the number of keys is an input for each element of the batch:
// its last queries are the newest keys, so the offset is that number less the
// queries, and keys from it on are padding.
static ibx_val band_of_lengths(ibx_call *call, const attention *a, int64_t left,
                               int64_t right) {
  int64_t rows = ibx_dim(call, a->q, 2), columns = ibx_dim(call, a->k, 2);
  ibx_val lengths = ibx_in(call, 6);
  if (!ibx_call_expect(call,
                       ibx_rank(call, lengths) == 1 &&
                           ibx_dim(call, lengths, 0) == ibx_dim(call, a->q, 0),
                       "nonpad_kv_seqlen",
                       "needs one number for each element of the batch")) {
    return a->q;
  }
  lengths =
      ibx_emit_along(call, ibx_emit_cast(call, lengths, IBX_DTYPE_I64), 0, 4);
  ibx_val keys = ibx_emit_along(call, ibx_emit_iota(call, columns), 3, 4);
  ibx_val queries = ibx_emit_along(call, ibx_emit_iota(call, rows), 2, 4);
  ibx_val in = ibx_emit_binary(call, IBX_TENSOR_less, keys, lengths);
  ibx_val middle = ibx_emit_binary(call, IBX_TENSOR_add, queries,
                                   minus(call, lengths, rows));
  if (left >= 0) {
    in = both(call, in,
              ibx_emit_binary(call, IBX_TENSOR_less_equal,
                              minus(call, middle, left), keys));
  }
  if (right >= 0) {
    in = both(call, in,
              ibx_emit_binary(call, IBX_TENSOR_less_equal, keys,
                              minus(call, middle, -right)));
  }
  return ibx_emit_select(call, in, ibx_emit_like(call, a->q, 0),
                         ibx_emit_like(call, a->q, -HUGE_VAL));
}

static ibx_val add_bias(ibx_call *call, ibx_val a, ibx_val b) {
  if (a == IBX_NO_VALUE) return b;
  return ibx_emit_binary(call, IBX_TENSOR_add, a, b);
}

static void read_bias(ibx_call *call, attention *a) {
  int64_t left = ibx_attr_int(call, "left_window_size", -1);
  int64_t right = ibx_attr_int(call, "right_window_size", -1);
  bool causal = ibx_attr_flag(call, "is_causal", false);
  a->bias = IBX_NO_VALUE;
  if (ibx_has_in(call, 3)) {
    a->bias = read_mask(call, a);
    a->masks_rows = true;
  }
  // Queries past the last key have nothing left to see in a narrow window.
  if (causal) right = 0; // nothing after the query, whatever the window
  bool has_lengths = ibx_has_in(call, 6);
  if (has_lengths && ibx_has_in(call, 4)) {
    ibx_call_refuse(call, "nonpad_kv_seqlen", "nonpad_kv_seqlen with a cache");
    return;
  }
  if (left < 0 && right < 0 && !has_lengths) return;
  ibx_val seen = has_lengths ? band_of_lengths(call, a, left, right)
                             : band(call, a, left, right);
  a->bias = add_bias(call, a->bias, seen);
  a->masks_rows = a->masks_rows || left >= 0 || has_lengths;
}

// --- the product -------------------------------------------------------------

static ibx_val cap(ibx_call *call, ibx_val x, double softcap) {
  if (softcap <= 0) return x;
  x = ibx_emit_unary(call, IBX_TENSOR_tanh,
                     ibx_emit_affine(call, x, 1 / softcap, 0));
  return ibx_emit_affine(call, x, softcap, 0);
}

// A row whose bias is minus infinity everywhere gets probabilities of 0.
static ibx_val zero_masked_rows(ibx_call *call, const attention *a,
                                ibx_val probabilities) {
  int64_t last = ibx_rank(call, a->bias) - 1;
  if (!a->masks_rows || last < 0) return probabilities;
  ibx_val best = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, a->bias,
                                 IBX_INTS(last), true);
  ibx_val masked = ibx_emit_binary(call, IBX_TENSOR_equal, best,
                                   ibx_emit_like(call, best, -HUGE_VAL));
  const ibx_tensor *known = ibx_force(call->import, masked);
  bool any = !known;
  for (int64_t i = 0; known && i < ibx_elements(&known->type); i++) {
    any = any || ibx_tensor_int(known, (size_t)i) != 0;
  }
  if (!any) return probabilities;
  return ibx_emit_select(call, masked, ibx_emit_like(call, probabilities, 0),
                         probabilities);
}

static ibx_val scores(ibx_call *call, const attention *a, double scale) {
  // Half of the scale on each side keeps fp16 products in range.
  double half = sqrt(fabs(scale));
  ibx_val keys = ibx_emit_swap(call, a->k, 2, 3);
  ibx_val q = ibx_emit_affine(call, a->q, scale < 0 ? -half : half, 0);
  return ibx_emit_matmul(call, q, ibx_emit_affine(call, keys, half, 0));
}

// Where a query stands among the keys is a constant, unless nothing asks.
static bool positions_are_fixed(ibx_call *call) {
  bool lengths = ibx_has_in(call, 6);
  for (size_t i = 0; i < call->in_count; i++) {
    bool counts = lengths || i == 4 || i == 5;
    if (!counts || !ibx_has_in(call, i)) continue;
    if (!ibx_has_extent(call, ibx_in(call, i))) continue;
    ibx_refuse_extent(call, call->proto->input[i]);
    return false;
  }
  return true;
}

void ibx_import_op_attention(ibx_call *call) {
  attention a = {0};
  if (!positions_are_fixed(call) || !read_operands(call, &a)) return;
  int64_t depth = ibx_dim(call, a.q, 3);
  double absent = depth > 0 ? 1 / sqrt((double)depth) : 1;
  double scale = (double)ibx_attr_float(call, "scale", (float)absent);
  double softcap = (double)ibx_attr_float(call, "softcap", 0);
  int64_t mode = ibx_attr_int(call, "qk_matmul_output_mode", 0);
  ibx_attr_ignore(call, "softmax_precision"); // exp and sums are always fp32
  read_bias(call, &a);
  ibx_val raw = scores(call, &a, scale);
  ibx_val capped = cap(call, raw, softcap), biased = capped;
  if (a.bias != IBX_NO_VALUE) biased = add_bias(call, capped, a.bias);
  int64_t last = ibx_rank(call, biased) - 1;
  ibx_val weights = ibx_emit_softmax(call, biased, last);
  if (a.bias != IBX_NO_VALUE) weights = zero_masked_rows(call, &a, weights);
  ibx_val result = ibx_emit_matmul(call, weights, a.v);
  ibx_out(call, 0, a.is_flat ? merge_heads(call, result) : result);
  ibx_val stages[] = {raw, capped, biased, weights};
  if (!ibx_call_expect(call, mode >= 0 && mode <= 3, "qk_matmul_output_mode",
                       "lies outside of 0 to 3")) {
    return;
  }
  ibx_out(call, 3, stages[(size_t)mode % IBX_COUNT_OF(stages)]);
}

// --- rotary embedding --------------------------------------------------------

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
static ibx_val read_angles(ibx_call *call, size_t index, ibx_val positions,
                           int64_t half) {
  ibx_val cache = ibx_in(call, index);
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

// `positions` may be one offset (a vector of 1) or one for each token.
static void rotary(ibx_call *call, ibx_val positions, size_t cosine_in) {
  ibx_val x = ibx_in(call, 0);
  bool interleaved = ibx_attr_flag(call, "interleaved", false);
  int64_t depth = ibx_attr_int(call, "rotary_embedding_dim", 0);
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
  int64_t whole = ibx_dim(call, x, 3);
  if (depth == 0) depth = whole;
  if (!ibx_call_expect(call, depth > 0 && depth <= whole && depth % 2 == 0,
                       "rotary_embedding_dim", "is odd or too large")) {
    return;
  }
  ibx_val cosine = read_angles(call, cosine_in, positions, depth / 2);
  ibx_val sine = read_angles(call, cosine_in + 1, positions, depth / 2);
  ibx_val parts[2] = {ibx_emit_slice(call, x, 3, 0, depth, 1)};
  parts[0] = interleaved ? rotate_neighbours(call, parts[0], cosine, sine)
                         : rotate_halves(call, parts[0], cosine, sine);
  if (depth < whole) {
    parts[1] = ibx_emit_slice(call, x, 3, depth, whole - depth, 1);
  }
  x = ibx_emit_concat(call, parts, depth < whole ? 2 : 1, 3);
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
