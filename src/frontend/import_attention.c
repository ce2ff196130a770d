// SPDX-License-Identifier: Apache-2.0
//
// Imports Attention, decomposed. Comes in: queries, keys and values as [B, S,
// heads * D] or [B, heads, S, D], a mask, a cache. Goes out:
//
//   softmax(cap(Q K^T * scale) + bias) V
//
// where the bias joins the mask, the causal rule and the window. A row in which
// everything is masked gives 0.

#include "frontend/import_attention.h"

#include "frontend/import_ops.h"

#include <math.h>

ibx_val ibx_emit_split_heads(ibx_call *call, ibx_val x, int64_t heads) {
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

ibx_val ibx_emit_merge_heads(ibx_call *call, ibx_val x) {
  ibx_ints shape = ibx_shape_of(call, x);
  x = ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
  return ibx_emit_reshape(
      call, x, IBX_INTS(shape.at[0], shape.at[2], shape.at[1] * shape.at[3]));
}

// One head of keys serves several of queries.
static ibx_val repeat_heads(ibx_call *call, ibx_val x, int64_t heads) {
  int64_t own = ibx_dim(call, x, 1);
  if (!ibx_call_expect(call, own == heads || (own > 0 && heads % own == 0), "K",
                       "has heads that do not divide those of Q")) {
    return x;
  }
  return own == heads ? x : ibx_emit_repeat(call, x, 1, heads / own);
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

static bool read_operands(ibx_call *call, ibx_attention *a) {
  int64_t heads = ibx_attr_int(call, "q_num_heads", 0);
  int64_t kv_heads = ibx_attr_int(call, "kv_num_heads", 0);
  ibx_val past = ibx_in(call, 4);
  a->q = ibx_emit_split_heads(call, ibx_in(call, 0), heads);
  a->k = ibx_emit_split_heads(call, ibx_in(call, 1), kv_heads);
  a->v = ibx_emit_split_heads(call, ibx_in(call, 2), kv_heads);
  bool fits = ibx_rank(call, a->q) == 4 && ibx_rank(call, a->k) == 4 &&
              ibx_rank(call, a->v) == 4;
  if (!ibx_call_expect(call, fits, "Q", "needs 3 or 4 dimensions"))
    return false;
  if (past != IBX_NO_VALUE) a->offset = ibx_dim(call, past, 2);
  a->k = join_past(call, past, a->k, 1);
  a->v = join_past(call, ibx_in(call, 5), a->v, 2);
  return !call->failed;
}

// --- masks -------------------------------------------------------------------

// Bools become 0 and minus infinity; a short mask masks the rest.
static ibx_val read_mask(ibx_call *call, const ibx_attention *a) {
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

ibx_val ibx_attention_band(ibx_call *call, const ibx_attention *a, int64_t left,
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

ibx_val ibx_attention_band_of(ibx_call *call, const ibx_attention *a,
                              ibx_val lengths, int64_t left, int64_t right) {
  int64_t rows = ibx_dim(call, a->q, 2), columns = ibx_dim(call, a->k, 2);
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

void ibx_attention_add_bias(ibx_call *call, ibx_attention *a, ibx_val bias) {
  a->bias = a->bias == IBX_NO_VALUE
                ? bias
                : ibx_emit_binary(call, IBX_TENSOR_add, a->bias, bias);
}

static void read_bias(ibx_call *call, ibx_attention *a) {
  int64_t left = ibx_attr_int(call, "left_window_size", -1);
  int64_t right = ibx_attr_int(call, "right_window_size", -1);
  bool causal = ibx_attr_flag(call, "is_causal", false);
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
  ibx_val seen =
      has_lengths ? ibx_attention_band_of(call, a, ibx_in(call, 6), left, right)
                  : ibx_attention_band(call, a, left, right);
  ibx_attention_add_bias(call, a, seen);
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
static ibx_val zero_masked_rows(ibx_call *call, const ibx_attention *a,
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

static ibx_val scores(ibx_call *call, const ibx_attention *a) {
  // Half of the scale on each side keeps fp16 products in range.
  double half = sqrt(fabs(a->scale));
  ibx_val keys = repeat_heads(call, a->k, ibx_dim(call, a->q, 1));
  keys = ibx_emit_swap(call, keys, 2, 3);
  ibx_val q = ibx_emit_affine(call, a->q, a->scale < 0 ? -half : half, 0);
  return ibx_emit_matmul(call, q, ibx_emit_affine(call, keys, half, 0));
}

// The sink is one more key, of which the value is 0.
static ibx_val softmax(ibx_call *call, const ibx_attention *a, ibx_val x) {
  if (a->sink == IBX_NO_VALUE) return ibx_emit_softmax(call, x, 3);
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t keys = shape.at[3];
  shape.at[3] = 1;
  ibx_val parts[] = {x, ibx_emit_broadcast(call, a->sink, shape)};
  x = ibx_emit_softmax(call, ibx_emit_concat(call, parts, 2, 3), 3);
  return ibx_emit_slice(call, x, 3, 0, keys, 1);
}

ibx_val ibx_emit_attention(ibx_call *call, const ibx_attention *a,
                           ibx_val *out_stages) {
  ibx_val raw = scores(call, a);
  ibx_val capped = cap(call, raw, a->softcap), biased = capped;
  if (a->bias != IBX_NO_VALUE) {
    biased = ibx_emit_binary(call, IBX_TENSOR_add, capped, a->bias);
  }
  ibx_val weights = softmax(call, a, biased);
  if (a->bias != IBX_NO_VALUE) weights = zero_masked_rows(call, a, weights);
  const ibx_val stages[] = {raw, capped, biased, weights};
  for (size_t i = 0; i < IBX_ATTENTION_STAGES; i++)
    out_stages[i] = stages[i];
  ibx_val values = repeat_heads(call, a->v, ibx_dim(call, a->q, 1));
  return ibx_emit_matmul(call, weights, values);
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
  ibx_attention a = {.bias = IBX_NO_VALUE, .sink = IBX_NO_VALUE};
  bool is_flat = ibx_rank(call, ibx_in(call, 0)) == 3;
  if (!positions_are_fixed(call) || !read_operands(call, &a)) return;
  int64_t depth = ibx_dim(call, a.q, 3);
  double absent = depth > 0 ? 1 / sqrt((double)depth) : 1;
  a.scale = (double)ibx_attr_float(call, "scale", (float)absent);
  a.softcap = (double)ibx_attr_float(call, "softcap", 0);
  int64_t mode = ibx_attr_int(call, "qk_matmul_output_mode", 0);
  ibx_attr_ignore(call, "softmax_precision"); // exp and sums are always fp32
  read_bias(call, &a);
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val result = ibx_emit_attention(call, &a, stages);
  ibx_out(call, 0, is_flat ? ibx_emit_merge_heads(call, result) : result);
  if (!ibx_call_expect(call, mode >= 0 && mode < IBX_ATTENTION_STAGES,
                       "qk_matmul_output_mode", "lies outside of 0 to 3")) {
    return;
  }
  ibx_out(call, 3, stages[mode]);
}
