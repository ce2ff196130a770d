// SPDX-License-Identifier: Apache-2.0
//
// Imports Attention of com.microsoft, and has what it shares with others. Comes
// in: tokens before or behind the projection to queries, keys and values; a mask
// of integers, a cache. Goes out: the attention of import_attention.h.
//
// A masked key gets mask_filter_value added to its score, as ONNX Runtime has
// it: where all keys of a row are masked, their scores still count.

#include "frontend/import_ms_attention.h"

#include "frontend/import_ops.h"

#include <math.h>

// --- shared ------------------------------------------------------------------

double ibx_ms_read_scale(ibx_call *call, ibx_val q) {
  int64_t depth = ibx_dim(call, q, 3);
  double scale = (double)ibx_attr_float(call, "scale", 0);
  if (scale != 0) return scale;
  return depth > 0 ? 1 / sqrt((double)depth) : 1;
}

void ibx_ms_refuse_input(ibx_call *call, size_t index, const char *name,
                         const char *remedy) {
  if (!ibx_has_in(call, index)) return;
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, name, remedy, "the input '%s'",
                name);
}

void ibx_ms_need_input(ibx_call *call, size_t index, const char *name) {
  if (ibx_has_in(call, index)) return;
  ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, name, "give the node the input",
                "the input '%s' is required, the node leaves it out", name);
}

// Where keys count, by their number, and by the first of them where the mask has
// both: bools [B, 1, 1, keys].
static ibx_val counts_by_place(ibx_call *call, ibx_val mask, int64_t batch,
                               int64_t columns) {
  bool has_start = ibx_dim(call, mask, 0) == 2 * batch;
  mask = ibx_emit_cast(call, mask, IBX_DTYPE_I64);
  ibx_val keys = ibx_emit_along(call, ibx_emit_iota(call, columns), 3, 4);
  ibx_val end = ibx_emit_slice(call, mask, 0, 0, batch, 1);
  ibx_val counts = ibx_emit_binary(call, IBX_TENSOR_less, keys,
                                   ibx_emit_along(call, end, 0, 4));
  if (!has_start) return counts;
  ibx_val start = ibx_emit_slice(call, mask, 0, batch, batch, 1);
  start = ibx_emit_along(call, start, 0, 4);
  return ibx_emit_binary(
      call, IBX_TENSOR_and, counts,
      ibx_emit_binary(call, IBX_TENSOR_less_equal, start, keys));
}

void ibx_ms_add_mask(ibx_call *call, ibx_attention *a, size_t index,
                     const char *name) {
  double filter = (double)ibx_attr_any_float(call, "mask_filter_value", -10000);
  if (!ibx_has_in(call, index)) return;
  ibx_val mask = ibx_in(call, index), counts;
  int64_t batch = ibx_dim(call, a->q, 0), rows = ibx_dim(call, a->q, 2);
  int64_t columns = ibx_dim(call, a->k, 2);
  ibx_ints shape = ibx_shape_of(call, mask);
  bool is_list =
      shape.len == 1 && (shape.at[0] == batch || shape.at[0] == 2 * batch);
  bool fits = is_list;
  if (shape.len == 2) fits = shape.at[0] == batch && shape.at[1] == columns;
  if (shape.len == 3) {
    fits =
        shape.at[0] == batch && shape.at[1] == rows && shape.at[2] == columns;
  }
  if (!ibx_call_expect(call, fits, name,
                       "needs the shape [B], [2 * B], [B, keys] or [B, S, "
                       "keys]")) {
    return;
  }
  if (is_list) {
    counts = counts_by_place(call, mask, batch, columns);
  } else {
    ibx_ints apart = IBX_INTS(batch, 1, shape.len == 3 ? rows : 1, columns);
    mask = ibx_emit_reshape(call, mask, apart);
    counts = ibx_emit_binary(call, IBX_TENSOR_less,
                             ibx_emit_like(call, mask, 0), mask);
  }
  ibx_attention_add_bias(call, a,
                         ibx_emit_select(call, counts,
                                         ibx_emit_like(call, a->q, 0),
                                         ibx_emit_like(call, a->q, filter)));
}

void ibx_ms_add_biases(ibx_call *call, ibx_attention *a, ibx_ms_places places,
                       const char *name, ibx_val lengths) {
  bool causal = ibx_attr_flag(call, "unidirectional", false);
  ibx_ms_add_mask(call, a, places.mask, name);
  if (ibx_has_in(call, places.bias)) {
    ibx_val x = ibx_in(call, places.bias);
    bool fits = ibx_rank(call, x) == 4 &&
                ibx_dim(call, x, 2) == ibx_dim(call, a->q, 2) &&
                ibx_dim(call, x, 3) == ibx_dim(call, a->k, 2);
    if (!ibx_call_expect(call, fits, "attention_bias",
                         "needs the shape [B, heads, S, keys]")) {
      return;
    }
    ibx_attention_add_bias(call, a, x);
  }
  if (lengths != IBX_NO_VALUE) {
    ibx_attention_add_bias(
        call, a, ibx_attention_band_of(call, a, lengths, -1, causal ? 0 : -1));
  } else if (causal) {
    ibx_attention_add_bias(call, a, ibx_attention_band(call, a, -1, 0));
  }
}

ibx_val ibx_ms_join_past(ibx_call *call, ibx_val past, ibx_val now) {
  if (past == IBX_NO_VALUE) return now;
  ibx_val parts[] = {past, now};
  return ibx_emit_concat(call, parts, 2, 2);
}

bool ibx_ms_heads_fit(ibx_call *call, const ibx_attention *a) {
  ibx_ints q = ibx_shape_of(call, a->q), k = ibx_shape_of(call, a->k);
  ibx_ints v = ibx_shape_of(call, a->v);
  bool fits = q.len == 4 && k.len == 4 && v.len == 4 && q.at[0] == k.at[0] &&
              q.at[0] == v.at[0] && q.at[1] == k.at[1] && q.at[1] == v.at[1] &&
              q.at[3] == k.at[3] && k.at[2] == v.at[2];
  return ibx_call_expect(call, fits, "query", "does not fit keys and values");
}

int64_t ibx_ms_read_heads(ibx_call *call) {
  int64_t heads = ibx_attr_int(call, "num_heads", 0);
  bool fits = heads >= 1 && heads <= INT32_MAX;
  ibx_call_expect(call, fits, "num_heads", "needs at least one head");
  return fits ? heads : 1;
}

// --- Attention ---------------------------------------------------------------

// The widths of Q, K and V, which join in the weights.
static bool read_widths(ibx_call *call, ibx_val x, int64_t heads,
                        int64_t *widths) {
  ibx_ints given = {0};
  int64_t all = ibx_dim(call, x, 2);
  bool has = ibx_attr_ints(call, "qkv_hidden_sizes", &given) && given.len != 0;
  bool fits = has ? given.len == 3 : all % 3 == 0;
  for (size_t i = 0; fits && i < 3; i++) {
    widths[i] = has ? given.at[i] : all / 3;
    fits = widths[i] >= 0 && widths[i] <= all && widths[i] % heads == 0;
  }
  fits = fits && widths[0] == widths[1] &&
         widths[0] + widths[1] + widths[2] == all;
  return ibx_call_expect(call, fits, "weights",
                         "does not fit qkv_hidden_sizes and num_heads");
}

static bool split(ibx_call *call, ibx_val x, ibx_attention *a) {
  int64_t heads = ibx_ms_read_heads(call), widths[3] = {0}, start = 0;
  if (call->failed || !read_widths(call, x, heads, widths)) return false;
  ibx_val *parts[] = {&a->q, &a->k, &a->v};
  for (size_t i = 0; i < 3; i++) {
    ibx_val part = ibx_emit_slice(call, x, 2, start, widths[i], 1);
    *parts[i] = ibx_emit_split_heads(call, part, heads);
    start += widths[i];
  }
  return !call->failed && ibx_ms_heads_fit(call, a);
}

static bool join_packed_past(ibx_call *call, ibx_attention *a, size_t index) {
  ibx_val past = ibx_in(call, index);
  if (past != IBX_NO_VALUE) {
    bool fits = ibx_rank(call, past) == 5 && ibx_dim(call, past, 0) == 2;
    if (!ibx_call_expect(call, fits, "past", "needs [2, B, heads, P, D]")) {
      return false;
    }
    a->offset = ibx_dim(call, past, 3);
    a->k = ibx_ms_join_past(call, ibx_emit_at(call, past, 0, 0), a->k);
    a->v = ibx_ms_join_past(call, ibx_emit_at(call, past, 0, 1), a->v);
  }
  if (call->failed || !ibx_ms_heads_fit(call, a)) return false;
  if (!ibx_wants_out(call, 1)) return true;
  ibx_ints shape = ibx_shape_of(call, a->k), apart = {.at = {1}, .len = 1};
  if (!ibx_call_expect(call, shape.at[3] == ibx_dim(call, a->v, 3), "present",
                       "needs keys as deep as values")) {
    return false;
  }
  for (uint8_t i = 0; i < shape.len; i++)
    apart.at[apart.len++] = shape.at[i];
  ibx_val parts[] = {ibx_emit_reshape(call, a->k, apart),
                     ibx_emit_reshape(call, a->v, apart)};
  ibx_out(call, 1, ibx_emit_concat(call, parts, 2, 0));
  return !call->failed;
}

// Attention of ai.onnx knows of extents, this one does not.
static bool extents_are_fixed(ibx_call *call) {
  for (size_t i = 0; i < call->in_count; i++) {
    if (!ibx_has_in(call, i) || !ibx_has_extent(call, ibx_in(call, i)))
      continue;
    ibx_refuse_extent(call, call->proto->input[i]);
    return false;
  }
  return true;
}

bool ibx_ms_may_project(ibx_call *call) {
  if (!extents_are_fixed(call)) return false;
  bool fits = ibx_rank(call, ibx_in(call, 0)) == 3 &&
              ibx_rank(call, ibx_in(call, 1)) == 2;
  return ibx_call_expect(call, fits, "input",
                         "needs 3 dimensions, and weights 2");
}

void ibx_ms_attend_projected(ibx_call *call, ibx_val x, ibx_ms_places places) {
  ibx_attention a = {.bias = IBX_NO_VALUE, .sink = IBX_NO_VALUE};
  ibx_attr_ignore(call, "past_present_share_buffer rotary_embedding_dim");
  if (ibx_attr_flag(call, "do_rotary", false)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "do_rotary",
                  "use RotaryEmbedding and MultiHeadAttention",
                  "attention with positions that the node itself rotates");
  }
  if (call->failed || !split(call, x, &a) ||
      !join_packed_past(call, &a, places.past)) {
    return;
  }
  a.scale = ibx_ms_read_scale(call, a.q);
  ibx_ms_add_biases(call, &a, places, "mask_index", IBX_NO_VALUE);
  ibx_val stages[IBX_ATTENTION_STAGES];
  ibx_val y = ibx_emit_attention(call, &a, stages);
  ibx_out(call, 0, ibx_emit_merge_heads(call, y));
}

void ibx_import_op_attention_ms(ibx_call *call) {
  ibx_ms_refuse_input(call, 6, "past_sequence_length",
                      "export without a buffer that past and present share");
  if (call->failed || !ibx_ms_may_project(call)) return;
  ibx_val x = ibx_emit_matmul_any(call, ibx_in(call, 0), ibx_in(call, 1));
  if (ibx_has_in(call, 2)) {
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, ibx_in(call, 2));
  }
  ibx_ms_attend_projected(call, x,
                          (ibx_ms_places){.mask = 3, .past = 4, .bias = 5});
}
