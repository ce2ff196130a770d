// SPDX-License-Identifier: Apache-2.0
//
// Imports MultiHeadAttention and DecoderMaskedMultiHeadAttention of com.microsoft.
// Comes in: queries, keys and values, packed or not, behind the projection; a mask
// of integers, a cache. Goes out: the attention of import_attention.h.
//
// The cache is joined to the new keys, or it is a buffer that past and present
// share: then past_sequence_length says where the new rows go, and keys behind
// these are hidden. Keys lie in it as values do; the CUDA kernels of ONNX Runtime
// reorder them.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ms_cache.h"
#include "frontend/import_ops.h"

// Where the two operators have the same inputs; 0 to 2 are Q, K and V.
typedef struct places {
  size_t bias, past, length, beams;
  ibx_ms_places beside; // its past is not used
  const char *mask;
} places;

static const places multi_head = {.bias = 3,
                                  .past = 6,
                                  .length = 8,
                                  .beams = 9,
                                  .beside = {.mask = 4, .bias = 5},
                                  .mask = "key_padding_mask"};
static const places decoder = {.bias = 10,
                               .past = 5,
                               .length = 7,
                               .beams = 9,
                               .beside = {.mask = 3, .bias = 4},
                               .mask = "mask_index"};

// --- queries, keys and values ------------------------------------------------

// Adds the elements of the bias from `start` on to x [B, S, heads * D] or [B, S,
// heads, D], and gives that as [B, heads, S, D].
static ibx_val add_projection(ibx_call *call, ibx_val x, ibx_val bias,
                              int64_t heads, int64_t *start) {
  ibx_ints shape = ibx_shape_of(call, x);
  if (shape.len == 3) {
    bool fits = shape.at[2] % heads == 0;
    if (!ibx_call_expect(call, fits, "query", "does not fit num_heads")) {
      return x;
    }
    shape = IBX_INTS(shape.at[0], shape.at[1], heads, shape.at[2] / heads);
    x = ibx_emit_reshape(call, x, shape);
  }
  if (bias != IBX_NO_VALUE) {
    int64_t count = shape.at[2] * shape.at[3];
    bool fits =
        ibx_rank(call, bias) == 1 && ibx_dim(call, bias, 0) >= *start + count;
    if (!ibx_call_expect(call, fits, "bias", "does not fit Q, K and V")) {
      return x;
    }
    bias = ibx_emit_slice(call, bias, 0, *start, count, 1);
    bias = ibx_emit_reshape(call, bias, IBX_INTS(shape.at[2], shape.at[3]));
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, bias);
    *start += count;
  }
  return ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
}

// Q, K and V side by side in the last dimension, as the decoder may have them.
static bool read_joined(ibx_call *call, ibx_val *parts, int64_t heads) {
  ibx_val x = parts[0];
  int64_t width = ibx_dim(call, x, 2) / 3;
  bool fits = ibx_dim(call, x, 2) == 3 * width && width % heads == 0 &&
              !ibx_has_in(call, 2);
  if (!ibx_call_expect(call, fits, "query",
                       "needs [B, S, 3 * heads * D] without keys and values")) {
    return false;
  }
  for (int64_t i = 0; i < 3; i++)
    parts[i] = ibx_emit_slice(call, x, 2, i * width, width, 1);
  return true;
}

// Queries, keys and values where they are packed: false for other forms.
static bool read_packed(ibx_call *call, const places *at, ibx_val *parts,
                        int64_t heads) {
  bool has_keys = ibx_has_in(call, 1);
  size_t packed = has_keys ? 1 : 0;
  ibx_ints shape = ibx_shape_of(call, parts[packed]);
  if (!has_keys && at == &decoder && shape.len == 3) {
    return read_joined(call, parts, heads);
  }
  bool is_packed = shape.len == 5 && !ibx_has_in(call, 2);
  if (has_keys && !is_packed) return false;
  bool fits =
      is_packed && shape.at[2] == heads && shape.at[3] == (has_keys ? 2 : 3);
  if (!ibx_call_expect(call, fits, has_keys ? "key" : "query",
                       "needs [B, S, heads, 3, D], or [B, S, heads, 2, D] for "
                       "keys and values")) {
    return false;
  }
  ibx_val x = parts[packed];
  for (size_t i = packed; i < 3; i++)
    parts[i] = ibx_emit_at(call, x, 3, (int64_t)(i - packed));
  return true;
}

// Keys and values of 4 dimensions are behind their projection and its bias.
static bool read_qkv(ibx_call *call, const places *at, ibx_attention *a) {
  int64_t heads = ibx_ms_read_heads(call), start = 0;
  ibx_val parts[] = {ibx_in(call, 0), ibx_in(call, 1), ibx_in(call, 2)};
  ibx_val bias = ibx_in(call, at->bias);
  if (call->failed) return false;
  bool is_packed = read_packed(call, at, parts, heads);
  if (call->failed) return false;
  bool is_cache = !is_packed && ibx_rank(call, parts[1]) == 4;
  bool fits = parts[2] != IBX_NO_VALUE;
  for (size_t i = 0; fits && !is_packed && i < 3; i++)
    fits = ibx_rank(call, parts[i]) == (is_cache && i > 0 ? 4 : 3);
  if (!ibx_call_expect(call, fits && !(is_cache && ibx_has_in(call, at->past)),
                       "key",
                       "and value need 3 dimensions, or 4 without a cache")) {
    return false;
  }
  ibx_val *out[] = {&a->q, &a->k, &a->v};
  for (size_t i = 0; i < 3; i++) {
    *out[i] = is_cache && i > 0
                  ? parts[i]
                  : add_projection(call, parts[i], bias, heads, &start);
  }
  return !call->failed && ibx_ms_heads_fit(call, a);
}

// --- caches ------------------------------------------------------------------

static bool past_fits(ibx_call *call, const places *at,
                      const ibx_attention *a) {
  bool both = ibx_has_in(call, at->past) == ibx_has_in(call, at->past + 1);
  if (!ibx_call_expect(call, both, "past_key", "and past_value go together")) {
    return false;
  }
  if (!ibx_has_in(call, at->past)) return true;
  ibx_val news[] = {a->k, a->v};
  bool fits = true;
  for (size_t i = 0; i < 2; i++) {
    ibx_ints s = ibx_shape_of(call, ibx_in(call, at->past + i));
    ibx_ints n = ibx_shape_of(call, news[i]);
    fits = fits && s.len == 4 && s.at[0] == n.at[0] && s.at[1] == n.at[1] &&
           s.at[2] == ibx_dim(call, ibx_in(call, at->past), 2) &&
           s.at[3] == n.at[3];
  }
  return ibx_call_expect(call, fits, "past_key",
                         "and past_value need [B, heads, P, D]");
}

static void join_past(ibx_call *call, const places *at, ibx_attention *a) {
  ibx_val past = ibx_in(call, at->past);
  if (past != IBX_NO_VALUE) a->offset = ibx_dim(call, past, 2);
  a->k = ibx_ms_join_past(call, past, a->k);
  a->v = ibx_ms_join_past(call, ibx_in(call, at->past + 1), a->v);
  ibx_out(call, 1, a->k);
  ibx_out(call, 2, a->v);
}

static bool read_cache(ibx_call *call, const places *at, const ibx_attention *a,
                       ibx_ms_cache *c) {
  ibx_val start = ibx_in(call, at->length);
  if (!ibx_call_expect(call, ibx_elements(ibx_type_of(call, start)) == 1,
                       "past_sequence_length", "needs one element")) {
    return false;
  }
  start = ibx_emit_reshape(call, ibx_emit_cast(call, start, IBX_DTYPE_I64),
                           IBX_INTS(1));
  c->start = ibx_emit_broadcast(call, start, IBX_INTS(ibx_dim(call, a->q, 0)));
  c->past = c->present = ibx_dim(call, ibx_in(call, at->past), 2);
  bool known = ibx_is_known(call, start);
  int64_t rows = ibx_dim(call, a->k, 2), most = c->past - rows;
  c->fixed = most >= 0 ? ibx_ms_fixed_start(call, start, most) : -1;
  return ibx_call_expect(call,
                         most >= 0 && rows >= 1 && (!known || c->fixed >= 0),
                         "past_key", "has no room for the new tokens");
}

// The bias of which element counts is not written anywhere, and the kernels of
// ONNX Runtime take another one than that of the element.
static bool beams_fit(ibx_call *call, const places *at) {
  ibx_val beams = ibx_in(call, at->beams), bias = ibx_in(call, at->beside.bias);
  if (beams == IBX_NO_VALUE || bias == IBX_NO_VALUE) return true;
  if (ibx_dim(call, beams, 1) <= 1 || ibx_dim(call, bias, 0) <= 1) return true;
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "attention_bias",
                "give one bias that the whole batch shares, or a mask",
                "beams with a bias for each element of the batch");
  return false;
}

// How many keys of the buffer may count: what stands beside the scores tells.
static int64_t count_keys(ibx_call *call, const places *at,
                          const ibx_ms_cache *c, int64_t rows) {
  if (c->fixed >= 0) return c->fixed + rows;
  int64_t most = c->past;
  ibx_val mask = ibx_in(call, at->beside.mask);
  ibx_val bias = ibx_in(call, at->beside.bias);
  if (mask != IBX_NO_VALUE && ibx_rank(call, mask) >= 2 &&
      ibx_dim(call, mask, -1) < most) {
    most = ibx_dim(call, mask, -1);
  }
  if (bias != IBX_NO_VALUE && ibx_dim(call, bias, -1) < most) {
    most = ibx_dim(call, bias, -1);
  }
  return most;
}

// Stores the caches with the new rows. Returns how many keys count for each
// element of the batch, IBX_NO_VALUE where a constant says it.
static ibx_val write_cache(ibx_call *call, const places *at, ibx_attention *a) {
  ibx_ms_cache c = {0};
  if (!beams_fit(call, at) || !read_cache(call, at, a, &c)) {
    return IBX_NO_VALUE;
  }
  int64_t rows = ibx_dim(call, a->k, 2), keys = count_keys(call, at, &c, rows);
  ibx_val *parts[] = {&a->k, &a->v};
  for (size_t i = 0; i < 2; i++) {
    ibx_val x =
        ibx_ms_write_cache(call, &c, ibx_in(call, at->past + i), *parts[i]);
    ibx_out(call, 1 + i, x);
    if (ibx_has_in(call, at->beams)) {
      x = ibx_ms_pick_beams(call, &c, x, ibx_in(call, at->beams));
    }
    *parts[i] = ibx_emit_slice(call, x, 2, 0, keys, 1);
  }
  if (c.fixed < 0) {
    return ibx_emit_binary(call, IBX_TENSOR_add, c.start,
                           ibx_emit_long(call, rows));
  }
  a->offset = c.fixed;
  return IBX_NO_VALUE;
}

// Scores of keys that count: how many, only a run tells where nothing beside them
// has the extent.
static ibx_val hide_padding(ibx_call *call, const places *at, ibx_val scores,
                            ibx_val lengths) {
  ibx_val mask = ibx_in(call, at->beside.mask);
  bool told = ibx_has_in(call, at->beside.bias) ||
              (mask != IBX_NO_VALUE && ibx_rank(call, mask) >= 2);
  if (lengths == IBX_NO_VALUE || told || !ibx_wants_out(call, 3)) return scores;
  return ibx_set_extent(call, scores, 3, ibx_emit_element(call, lengths, 0));
}

// --- the operators -----------------------------------------------------------

static void import_heads(ibx_call *call, const places *at) {
  ibx_attention a = {.bias = IBX_NO_VALUE, .sink = IBX_NO_VALUE};
  if (!read_qkv(call, at, &a) || !past_fits(call, at, &a)) return;
  bool is_buffer = ibx_has_in(call, at->past) && ibx_has_in(call, at->length);
  if (!is_buffer && ibx_has_in(call, at->past)) {
    ibx_ms_refuse_input(call, at->beams, "cache_indirection",
                        "export with a buffer that past and present share, or "
                        "without beams");
  }
  if (call->failed) return;
  ibx_val lengths = IBX_NO_VALUE;
  if (is_buffer) {
    lengths = write_cache(call, at, &a);
  } else {
    join_past(call, at, &a);
  }
  if (call->failed || !ibx_ms_heads_fit(call, &a)) return;
  a.scale = ibx_ms_read_scale(call, a.q);
  ibx_ms_add_biases(call, &a, at->beside, at->mask, lengths);
  if (call->failed) return;
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val y = ibx_emit_attention(call, &a, stages);
  ibx_out(call, 0, ibx_emit_merge_heads(call, y));
  ibx_out(call, 3, hide_padding(call, at, stages[2], lengths));
}

void ibx_import_op_multi_head_attention(ibx_call *call) {
  import_heads(call, &multi_head);
}

// The width of beams, input 8, stands in the shape of cache_indirection, too.
void ibx_import_op_decoder_masked_multi_head_attention(ibx_call *call) {
  ibx_attr_ignore(call, "output_qk past_present_share_buffer");
  import_heads(call, &decoder);
}
