// SPDX-License-Identifier: Apache-2.0
//
// Imports GroupQueryAttention of com.microsoft. Comes in: queries, keys and
// values of S new tokens, packed or not, a cache, the number of tokens of each
// element of the batch less one, and the largest of these numbers. Goes out: the
// attention of import_attention.h over the cache, into which the new keys and
// values are written behind the old ones:
//
//   cache  | old, start = tokens - S | new, S | what is left of the buffer |
//
// The first tokens of all begin at 0: S is then the largest number. Rows of the
// cache behind the tokens are as they were, or 0 where it grows.

#include "frontend/import_ms_gqa.h"

#include "frontend/import_ms_attention.h"
#include "frontend/import_ops.h"

#include <string.h>

static void refuse_forms(ibx_call *call) {
  static const struct {
    size_t index;
    const char *name, *remedy;
  } inputs[] = {{12, "k_scale", "export with a cache of floats"},
                {13, "v_scale", "export with a cache of floats"},
                {16, "query_seqlens", "export without padded chunks"}};
  for (size_t i = 0; i < IBX_COUNT_OF(inputs); i++)
    ibx_ms_refuse_input(call, inputs[i].index, inputs[i].name,
                        inputs[i].remedy);
  static const char *const types[] = {"k_quant_type", "v_quant_type"};
  ibx_attr_ignore(call, "kv_cache_bit_width");
  for (size_t i = 0; i < IBX_COUNT_OF(types); i++) {
    const char *type = ibx_attr_text(call, types[i], "NONE");
    if (strcmp(type, "NONE") == 0) continue;
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, types[i],
                  "export with a cache of floats", "a cache quantised %s",
                  type);
  }
  if (ibx_attr_flag(call, "sliding_window_cache", false)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "sliding_window_cache",
                  "export with a cache of all tokens",
                  "a cache that drops tokens behind its window");
  }
  if (ibx_attr_int(call, "qk_output", 0) != 0) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "qk_output",
                  "export without the output of scores", "scores as an output");
  }
}

// --- operands ----------------------------------------------------------------

// `heads` of x [B, S, width], from head `first` on, as [B, S, heads, D].
static ibx_val take_heads(ibx_call *call, const ibx_group_query *g, ibx_val x,
                          int64_t first, int64_t heads) {
  x = ibx_emit_slice(call, x, 2, first * g->depth, heads * g->depth, 1);
  return ibx_emit_reshape(call, x,
                          IBX_INTS(g->batch, g->rows, heads, g->depth));
}

bool ibx_gq_read_qkv(ibx_call *call, ibx_group_query *g, ibx_val q, ibx_val k,
                     ibx_val v) {
  g->heads = ibx_attr_int(call, "num_heads", 0);
  g->kv_heads = ibx_attr_int(call, "kv_num_heads", 0);
  bool fits = g->heads >= 1 && g->heads <= INT32_MAX && g->kv_heads >= 1 &&
              g->heads % g->kv_heads == 0;
  if (!ibx_call_expect(call, fits, "kv_num_heads",
                       "does not divide num_heads")) {
    return false;
  }
  bool packed = k == IBX_NO_VALUE;
  int64_t all = g->heads + (packed ? 2 * g->kv_heads : 0);
  ibx_ints shape = ibx_shape_of(call, q);
  fits = shape.len == 3 && shape.at[1] >= 1 && shape.at[2] >= 1 &&
         shape.at[2] % all == 0 && packed == (v == IBX_NO_VALUE);
  if (!ibx_call_expect(call, fits, "query",
                       "needs [B, S, heads * D], with keys and values beside "
                       "it or behind its heads")) {
    return false;
  }
  g->batch = shape.at[0];
  g->rows = shape.at[1];
  g->depth = shape.at[2] / all;
  ibx_val others[] = {k, v};
  for (size_t i = 0; fits && !packed && i < 2; i++) {
    ibx_ints own = ibx_shape_of(call, others[i]);
    fits = own.len == 3 && own.at[0] == g->batch && own.at[1] == g->rows &&
           own.at[2] == g->kv_heads * g->depth;
  }
  if (!ibx_call_expect(call, fits, "key", "and value do not fit the query")) {
    return false;
  }
  int64_t behind = packed ? g->heads : 0;
  g->q = take_heads(call, g, q, 0, g->heads);
  g->k = take_heads(call, g, packed ? q : k, behind, g->kv_heads);
  g->v = take_heads(call, g, packed ? q : v, packed ? behind + g->kv_heads : 0,
                    g->kv_heads);
  return !call->failed;
}

bool ibx_gq_cache_fits(ibx_call *call, const ibx_group_query *g,
                       ibx_val cache) {
  ibx_ints s = ibx_shape_of(call, cache);
  return s.len == 4 && s.at[0] == g->batch && s.at[1] == g->kv_heads &&
         s.at[2] == g->cache.past && s.at[3] == g->depth;
}

static bool read_lengths(ibx_call *call, ibx_group_query *g) {
  ibx_val old = ibx_in(call, 3), lengths = ibx_in(call, 5);
  int64_t total = ibx_const_int(call, 6, "total_sequence_length");
  if (call->failed) return false;
  bool fits = ibx_has_in(call, 3) == ibx_has_in(call, 4);
  for (size_t i = 3; i < 5; i++) {
    ibx_val cache = ibx_in(call, i);
    if (cache == IBX_NO_VALUE || ibx_is_float(ibx_dtype_of(call, cache)))
      continue;
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "past_key",
                  "export with a cache of floats", "a cache of integers");
    return false;
  }
  if (old != IBX_NO_VALUE) g->cache.past = ibx_dim(call, old, 2);
  if (old != IBX_NO_VALUE && fits) {
    fits = ibx_gq_cache_fits(call, g, old) &&
           ibx_gq_cache_fits(call, g, ibx_in(call, 4));
  }
  if (!ibx_call_expect(call, fits, "past_key",
                       "and past_value need [B, kv_num_heads, P, D]")) {
    return false;
  }
  fits = ibx_elements(ibx_type_of(call, lengths)) == g->batch;
  if (!ibx_call_expect(call, fits, "seqlens_k",
                       "needs one number for each element of the batch")) {
    return false;
  }
  fits = total >= g->rows && total <= IBX_MOST_ELEMENTS &&
         (total == g->rows || old != IBX_NO_VALUE);
  if (!ibx_call_expect(call, fits, "total_sequence_length",
                       "needs the tokens of past and query")) {
    return false;
  }
  g->is_prompt = total == g->rows;
  g->cache.present = total > g->cache.past ? total : g->cache.past;
  lengths = ibx_emit_reshape(call, ibx_emit_cast(call, lengths, IBX_DTYPE_I64),
                             IBX_INTS(g->batch));
  g->lengths =
      ibx_emit_binary(call, IBX_TENSOR_add, lengths, ibx_emit_long(call, 1));
  g->cache.start = ibx_emit_binary(call, IBX_TENSOR_sub, g->lengths,
                                   ibx_emit_long(call, g->rows));
  g->cache.fixed =
      g->is_prompt ? 0
                   : ibx_ms_fixed_start(call, g->cache.start, g->cache.past);
  return !call->failed && ibx_call_expect_room(call, g->cache.present);
}

// --- positions ---------------------------------------------------------------

ibx_val ibx_gq_positions(ibx_call *call, const ibx_group_query *g) {
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, g->rows), 1, 2);
  ibx_val first = g->cache.fixed >= 0
                      ? ibx_emit_long(call, g->cache.fixed)
                      : ibx_emit_along(call, g->cache.start, 0, 2);
  return ibx_emit_binary(call, IBX_TENSOR_add, line, first);
}

// Those that the node gives; of the first tokens it gives where they begin.
static ibx_val positions_of(ibx_call *call, const ibx_group_query *g) {
  ibx_val given = ibx_in(call, 9);
  if (given == IBX_NO_VALUE) return ibx_gq_positions(call, g);
  bool fits = ibx_elements(ibx_type_of(call, given)) >= 1 &&
              (g->is_prompt || (ibx_rank(call, given) == 2 &&
                                ibx_dim(call, given, 0) == g->batch &&
                                ibx_dim(call, given, 1) == g->rows));
  if (!ibx_call_expect(call, fits, "position_ids", "needs [B, S]")) {
    return given;
  }
  given = ibx_emit_cast(call, given, IBX_DTYPE_I64);
  if (!g->is_prompt) return given;
  return ibx_emit_binary(
      call, IBX_TENSOR_add,
      ibx_emit_along(call, ibx_emit_iota(call, g->rows), 1, 2),
      ibx_emit_element(call, given, 0));
}

void ibx_gq_rotate(ibx_call *call, ibx_group_query *g, size_t cosine,
                   ibx_val positions, int64_t start) {
  ibx_rotary r = {.cosine = ibx_in(call, cosine),
                  .sine = ibx_in(call, cosine + 1),
                  .positions = positions,
                  .start = start,
                  .interleaved =
                      ibx_attr_flag(call, "rotary_interleaved", false)};
  bool fits = ibx_has_in(call, cosine) && ibx_has_in(call, cosine + 1) &&
              ibx_rank(call, r.cosine) == 2 && ibx_rank(call, r.sine) == 2 &&
              ibx_dim(call, r.cosine, 1) == ibx_dim(call, r.sine, 1);
  if (!ibx_call_expect(call, fits, "cos_cache",
                       "and sin_cache need [positions, at most D / 2]")) {
    return;
  }
  r.depth = 2 * ibx_dim(call, r.cosine, 1);
  g->q = ibx_emit_rotary(call, g->q, &r);
  g->k = ibx_emit_rotary(call, g->k, &r);
}

static ibx_val normalise(ibx_call *call, ibx_val x, size_t index,
                         const char *name) {
  float epsilon = ibx_attr_float(call, "qk_norm_epsilon", 1e-6f);
  epsilon = ibx_attr_float(call, name, epsilon);
  if (!ibx_has_in(call, index)) return x;
  return ibx_emit_norm(call, IBX_TENSOR_rms_norm, x, ibx_in(call, index),
                       IBX_NO_VALUE, 3, epsilon);
}

void ibx_gq_normalise(ibx_call *call, ibx_group_query *g, size_t index) {
  bool both = ibx_has_in(call, index) == ibx_has_in(call, index + 1);
  ibx_call_expect(call, both, "q_norm_weight", "and k_norm_weight go together");
  g->q = normalise(call, g->q, index, "q_norm_epsilon");
  g->k = normalise(call, g->k, index + 1, "k_norm_epsilon");
}

static void rotate(ibx_call *call, ibx_group_query *g) {
  bool rotates = ibx_attr_flag(call, "do_rotary", false);
  ibx_attr_ignore(call, "rotary_interleaved"); // of what is not rotated
  ibx_gq_normalise(call, g, 14);
  if (!rotates || call->failed) return;
  ibx_gq_rotate(call, g, 7, positions_of(call, g), 0);
}

// --- the cache ---------------------------------------------------------------

ibx_val ibx_gq_write_cache(ibx_call *call, const ibx_group_query *g,
                           size_t index, ibx_val x) {
  ibx_val cache = ibx_in(call, index);
  x = ibx_emit_transpose(call, x, IBX_INTS(0, 2, 1, 3));
  if (cache != IBX_NO_VALUE) // it may have another type
    x = ibx_emit_cast(call, x, ibx_dtype_of(call, cache));
  return ibx_ms_write_cache(call, &g->cache, cache, x);
}

// --- what joins the scores ---------------------------------------------------

static void hide_others(ibx_call *call, const ibx_group_query *g,
                        ibx_attention *a) {
  bool causal = ibx_attr_flag(call, "causal", true);
  int64_t window = ibx_attr_int(call, "local_window_size", -1);
  int64_t left = window > 0 ? window - 1 : -1, right = causal ? 0 : -1;
  ibx_val lengths = g->lengths;
  a->offset = g->cache.fixed;
  if (window > 0 && !causal) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "local_window_size",
                  "use causal = 1, or no window",
                  "a window of attention to both sides");
    return;
  }
  bool is_static = causal && g->cache.fixed >= 0;
  ibx_attention_add_bias(
      call, a,
      is_static ? ibx_attention_band(call, a, left, right)
                : ibx_attention_band_of(call, a, lengths, left, right));
}

static void add_bias(ibx_call *call, const ibx_group_query *g,
                     ibx_attention *a) {
  if (!ibx_has_in(call, 10)) return;
  ibx_val bias = ibx_in(call, 10);
  ibx_ints shape = ibx_shape_of(call, bias);
  bool fits = shape.len == 4 && shape.at[2] == g->rows &&
              shape.at[3] <= g->cache.present;
  if (!ibx_call_expect(call, fits, "attention_bias",
                       "needs [B, heads, S, tokens]")) {
    return;
  }
  bias = ibx_emit_pad(call, bias, (ibx_ints){.len = 4},
                      IBX_INTS(0, 0, 0, g->cache.present - shape.at[3]), 0);
  ibx_attention_add_bias(call, a, bias);
}

void ibx_gq_add_sink(ibx_call *call, const ibx_group_query *g,
                     ibx_attention *a) {
  int64_t smooth = ibx_attr_int(call, "smooth_softmax", 0);
  ibx_val sink = ibx_in(call, 11);
  if (sink != IBX_NO_VALUE) {
    bool fits = ibx_elements(ibx_type_of(call, sink)) == g->heads;
    if (!ibx_call_expect(call, fits, "head_sink",
                         "needs one number for each head")) {
      return;
    }
    a->sink = ibx_emit_reshape(call, sink, IBX_INTS(1, g->heads, 1, 1));
  } else if (smooth == 1) {
    a->sink = ibx_emit_reshape(call, ibx_emit_like(call, a->q, 0),
                               IBX_INTS(1, 1, 1, 1));
  }
}

void ibx_import_op_group_query_attention(ibx_call *call) {
  ibx_group_query g = {0};
  refuse_forms(call);
  ibx_ms_need_input(call, 5, "seqlens_k");
  ibx_ms_need_input(call, 6, "total_sequence_length");
  if (call->failed ||
      !ibx_gq_read_qkv(call, &g, ibx_in(call, 0), ibx_in(call, 1),
                       ibx_in(call, 2)) ||
      !read_lengths(call, &g))
    return;
  rotate(call, &g);
  if (call->failed) return;
  ibx_attention a = {.q = ibx_emit_transpose(call, g.q, IBX_INTS(0, 2, 1, 3)),
                     .k = ibx_gq_write_cache(call, &g, 3, g.k),
                     .v = ibx_gq_write_cache(call, &g, 4, g.v),
                     .bias = IBX_NO_VALUE,
                     .sink = IBX_NO_VALUE,
                     .softcap = (double)ibx_attr_float(call, "softcap", 0)};
  a.scale = ibx_ms_read_scale(call, a.q);
  ibx_out(call, 1, a.k);
  ibx_out(call, 2, a.v);
  a.k = ibx_emit_cast(call, a.k, ibx_dtype_of(call, a.q));
  a.v = ibx_emit_cast(call, a.v, ibx_dtype_of(call, a.q));
  add_bias(call, &g, &a);
  hide_others(call, &g, &a);
  ibx_gq_add_sink(call, &g, &a);
  if (call->failed) return;
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val y = ibx_emit_attention(call, &a, stages);
  ibx_out(call, 0, ibx_emit_merge_heads(call, y));
}
