// SPDX-License-Identifier: Apache-2.0
//
// Imports the operators that carry a state from token to token. Comes in: tokens
// and the state that earlier ones left. Goes out, for CausalConvWithState: one
// convolution over the past and the tokens. For LinearAttention, in fp32, token
// by token, with a state S of [keys, values] for each head:
//
//   S  = S * exp(decay)              gated rules
//   v  = beta * (v - k S)            delta rules
//   S  = S + k^T v
//   o  = scale * q S                 the queries of a group share a state

#include "frontend/import_linear_attention.h"

#include "frontend/import_attention.h"
#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

// --- causal convolution ------------------------------------------------------

// Each channel by itself, with weights that are computed: one product for each
// element of the window, summed in fp32.
static ibx_val depthwise_sum(ibx_call *call, ibx_val x, ibx_val weight,
                             int64_t length, int64_t dilation) {
  ibx_ints own = ibx_shape_of(call, weight);
  weight = ibx_emit_reshape(call, weight, IBX_INTS(1, own.at[0], own.at[2]));
  weight = ibx_emit_cast(call, weight, IBX_DTYPE_F32);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val sum = IBX_NO_VALUE;
  for (int64_t i = 0; i < own.at[2] && !call->failed; i++) {
    ibx_val term =
        ibx_emit_binary(call, IBX_TENSOR_mul,
                        ibx_emit_slice(call, x, 2, i * dilation, length, 1),
                        ibx_emit_slice(call, weight, 2, i, 1, 1));
    sum = i == 0 ? term : ibx_emit_binary(call, IBX_TENSOR_add, sum, term);
  }
  return sum;
}

static ibx_val depthwise(ibx_call *call, ibx_val x, ibx_val weight,
                         int64_t length, int64_t dilation) {
  enum { MOST_TERMS = 64 };
  if (!ibx_is_known(call, weight) && ibx_dim(call, weight, 2) <= MOST_TERMS) {
    return depthwise_sum(call, x, weight, length, dilation);
  }
  ibx_params params = {.strides = IBX_INTS(1),
                       .low = IBX_INTS(0),
                       .high = IBX_INTS(0),
                       .dilations = IBX_INTS(dilation),
                       .groups = ibx_dim(call, x, 1)};
  ibx_val operands[] = {x, weight};
  return ibx_emit_op(call, IBX_TENSOR_conv, &params, operands, 2);
}

// What com.microsoft adds to the operator.
typedef struct causal_conv {
  ibx_val x, past, weight; // [B, C, T], [B, C, kept] or IBX_NO_VALUE
  int64_t dilation, kept;
  ibx_ints shape; // of the input
  bool channels_last;
} causal_conv;

// [B, T, C...] as [B, C, T].
static ibx_val to_channels_first(ibx_call *call, ibx_val x) {
  ibx_ints s = ibx_shape_of(call, x);
  int64_t channels = 1;
  for (uint8_t i = 2; i < s.len; i++)
    channels *= s.at[i];
  x = ibx_emit_reshape(call, x, IBX_INTS(s.at[0], s.at[1], channels));
  return ibx_emit_swap(call, x, 1, 2);
}

// [B, C, T] in the layout of the input.
static ibx_val to_layout(ibx_call *call, const causal_conv *c, ibx_val x) {
  if (!c->channels_last) return x;
  ibx_ints shape = c->shape;
  shape.at[1] = ibx_dim(call, x, 2);
  return ibx_emit_reshape(call, ibx_emit_swap(call, x, 1, 2), shape);
}

// Attributes that have another value than this one.
static void refuse_others(ibx_call *call, const char *name, int64_t value) {
  int64_t given = ibx_attr_int(call, name, value);
  if (given == value) return;
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, name,
                "leave out the attribute, and keep states outside of the node",
                "%s = %lld", name, (long long)given);
}

static bool read_conv_attributes(ibx_call *call, causal_conv *c) {
  c->dilation = 1;
  if (call->at.domain[0] == 0) return true;
  static const char *const unused[] = {
      "state_window", "state_length", "state_update_capacity", "input_channels",
      "input_channel_offset"};
  for (size_t i = 0; i < IBX_COUNT_OF(unused); i++)
    refuse_others(call, unused[i], 0);
  refuse_others(call, "state_channels_last", -1);
  refuse_others(call, "ndim", 1);
  c->channels_last = ibx_attr_flag(call, "channels_last", false);
  c->dilation = ibx_attr_int(call, "dilation", 1);
  return ibx_call_expect(call, c->dilation >= 1 && c->dilation <= INT32_MAX,
                         "dilation", "needs at least 1");
}

static bool conv_fits(ibx_call *call, causal_conv *c) {
  ibx_ints a = ibx_shape_of(call, c->x), w = ibx_shape_of(call, c->weight);
  bool fits = a.len == 3 && w.len == 3 && w.at[0] == a.at[1] && w.at[1] == 1 &&
              w.at[2] >= 1 && w.at[2] <= INT32_MAX && a.at[2] >= 1;
  if (!ibx_call_expect(call, fits, "weight", "does not fit the channels")) {
    return false;
  }
  c->kept = (w.at[2] - 1) * c->dilation;
  if (c->past == IBX_NO_VALUE) return true;
  ibx_ints past = ibx_shape_of(call, c->past);
  return ibx_call_expect(call,
                         past.len == 3 && past.at[0] == a.at[0] &&
                             past.at[1] == a.at[1] && past.at[2] == c->kept,
                         "past_state", "does not fit the window");
}

static bool read_conv(ibx_call *call, causal_conv *c) {
  *c = (causal_conv){
      .x = ibx_in(call, 0), .past = ibx_in(call, 3), .weight = ibx_in(call, 1)};
  if (!read_conv_attributes(call, c) || call->failed) return false;
  c->shape = ibx_shape_of(call, c->x);
  if (c->channels_last) {
    bool has_past = c->past != IBX_NO_VALUE;
    int64_t least = c->shape.len;
    if (has_past && ibx_rank(call, c->past) < least)
      least = ibx_rank(call, c->past);
    if (!ibx_call_expect(call, least >= 3, "input",
                         "needs a batch, a sequence and channels")) {
      return false;
    }
    c->x = to_channels_first(call, c->x);
    if (has_past) c->past = to_channels_first(call, c->past);
  }
  return conv_fits(call, c);
}

void ibx_import_op_causal_conv_with_state(ibx_call *call) {
  causal_conv c;
  const char *activation = ibx_attr_text(call, "activation", "none");
  bool swish =
      strcmp(activation, "silu") == 0 || strcmp(activation, "swish") == 0;
  if (!swish && strcmp(activation, "none") != 0) {
    ibx_call_refuse(call, "activation", "activation = '%s'", activation);
  }
  if (call->failed || !read_conv(call, &c)) return;
  ibx_val x = c.x;
  int64_t length = ibx_dim(call, x, 2);
  if (c.kept > 0 && c.past != IBX_NO_VALUE) {
    ibx_val parts[] = {c.past, x};
    x = ibx_emit_concat(call, parts, 2, 2);
  } else {
    x = ibx_emit_pad(call, x, IBX_INTS(0, 0, c.kept), IBX_INTS(0, 0, 0), 0);
  }
  ibx_out(call, 1,
          to_layout(call, &c, ibx_emit_slice(call, x, 2, length, c.kept, 1)));
  if (call->failed) return;
  x = depthwise(call, x, c.weight, length, c.dilation);
  if (call->failed) return;
  if (ibx_has_in(call, 2)) {
    ibx_val bias = ibx_emit_cast(call, ibx_in(call, 2), ibx_dtype_of(call, x));
    x = ibx_emit_binary(call, IBX_TENSOR_add, x,
                        ibx_emit_along(call, bias, 1, 3));
  }
  if (swish) x = ibx_emit_unary(call, IBX_TENSOR_silu, x);
  x = ibx_emit_cast(call, x, ibx_dtype_of(call, ibx_in(call, 0)));
  ibx_out(call, 0, to_layout(call, &c, x));
}

// --- linear attention --------------------------------------------------------

// [B, T, heads * rows * columns] to [T, B, heads, rows, columns]
static ibx_val by_token(ibx_call *call, const ibx_linear_attention *a,
                        ibx_val x, int64_t heads, int64_t rows,
                        const char *name) {
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t split = heads * rows;
  bool fits = shape.len == 3 && shape.at[0] == a->batch &&
              shape.at[1] == a->tokens && split > 0 &&
              shape.at[2] % split == 0 && shape.at[2] > 0;
  if (!ibx_call_expect(call, fits, name, "does not fit the heads")) return x;
  x = ibx_emit_reshape(
      call, ibx_emit_cast(call, x, IBX_DTYPE_F32),
      IBX_INTS(a->batch, a->tokens, heads, rows, shape.at[2] / split));
  return ibx_emit_transpose(call, x, IBX_INTS(1, 0, 2, 3, 4));
}

// A number for each head, or one for each of its keys.
static ibx_val read_decay(ibx_call *call, const ibx_linear_attention *a) {
  ibx_val decay = ibx_in(call, 4);
  bool per_head = ibx_dim(call, decay, -1) == a->heads;
  int64_t keys = per_head ? 1 : ibx_dim(call, a->k, 4);
  decay = by_token(call, a, decay, a->heads, keys, "decay");
  ibx_call_expect(call, ibx_dim(call, decay, -1) == 1, "decay",
                  "does not fit the keys");
  return ibx_emit_unary(call, IBX_TENSOR_exp, decay);
}

static ibx_val read_beta(ibx_call *call, const ibx_linear_attention *a) {
  ibx_val beta = ibx_in(call, 5);
  int64_t heads = ibx_dim(call, beta, -1) == 1 ? 1 : a->heads;
  beta = by_token(call, a, beta, heads, 1, "beta");
  ibx_call_expect(call, ibx_dim(call, beta, -1) == 1, "beta",
                  "does not fit the heads");
  return beta;
}

static ibx_val read_state(ibx_call *call, const ibx_linear_attention *a) {
  ibx_ints shape = IBX_INTS(a->batch, a->heads, ibx_dim(call, a->k, 4),
                            ibx_dim(call, a->v, 4));
  if (!ibx_has_in(call, 3)) {
    ibx_val zero = ibx_emit_scalar(call, IBX_DTYPE_F32, 0);
    return ibx_emit_broadcast(call, zero, shape);
  }
  ibx_ints own = ibx_shape_of(call, ibx_in(call, 3));
  ibx_call_expect(
      call, own.len == 4 && memcmp(own.at, shape.at, 4 * sizeof(*own.at)) == 0,
      "past_state", "does not fit keys and values");
  return ibx_emit_cast(call, ibx_in(call, 3), IBX_DTYPE_F32);
}

bool ibx_read_update_rule(ibx_call *call) {
  static const char *const rules[] = {"linear", "gated", "delta",
                                      "gated_delta"};
  size_t rule;
  if (!ibx_attr_choice(call, "update_rule", "gated_delta", rules,
                       IBX_COUNT_OF(rules), &rule)) {
    return false;
  }
  bool gated = (rule & 1) != 0, delta = (rule & 2) != 0;
  return ibx_call_expect(call, gated == ibx_has_in(call, 4), "decay",
                         "does not fit the update rule") &&
         ibx_call_expect(call, delta == ibx_has_in(call, 5), "beta",
                         "does not fit the update rule");
}

// Where com.microsoft has more heads of keys than of queries, a head of queries or
// of keys serves several of values.
static bool read_shared_heads(ibx_call *call, ibx_linear_attention *a,
                              int64_t heads) {
  int64_t width = ibx_dim(call, ibx_in(call, 0), -1), depth = width / heads;
  int64_t keys = ibx_dim(call, ibx_in(call, 1), -1);
  bool fits = width > 0 && width % heads == 0 && keys > 0 &&
              keys % depth == 0 && a->heads % (keys / depth) == 0;
  if (!ibx_call_expect(call, fits, "key", "does not fit the heads")) {
    return false;
  }
  a->group = 1;
  a->q = by_token(call, a, ibx_in(call, 0), heads, 1, "query");
  a->k = by_token(call, a, ibx_in(call, 1), keys / depth, 1, "key");
  if (call->failed) return false;
  a->q = ibx_emit_repeat(call, a->q, 2, a->heads / heads);
  a->k = ibx_emit_repeat(call, a->k, 2, a->heads / (keys / depth));
  return true;
}

static bool read_heads(ibx_call *call, ibx_linear_attention *a) {
  int64_t heads = ibx_attr_int(call, "q_num_heads", 0);
  a->heads = ibx_attr_int(call, "kv_num_heads", 0);
  bool fits =
      heads > 0 && a->heads > 0 && heads <= INT32_MAX && a->heads <= INT32_MAX;
  bool shares = fits && call->at.domain[0] != 0 && a->heads > heads &&
                a->heads % heads == 0;
  if (!ibx_call_expect(call, fits && (shares || heads % a->heads == 0),
                       "q_num_heads", "is no multiple of kv_num_heads")) {
    return false;
  }
  if (shares) return read_shared_heads(call, a, heads);
  a->group = heads / a->heads;
  a->q = by_token(call, a, ibx_in(call, 0), a->heads, a->group, "query");
  a->k = by_token(call, a, ibx_in(call, 1), a->heads, 1, "key");
  return !call->failed;
}

static bool read_operands(ibx_call *call, ibx_linear_attention *a) {
  a->batch = ibx_dim(call, ibx_in(call, 0), 0);
  a->tokens = ibx_dim(call, ibx_in(call, 0), 1);
  ibx_attr_ignore(call, "chunk_size"); // a hint that changes no result
  if (!read_heads(call, a)) return false;
  a->v = by_token(call, a, ibx_in(call, 2), a->heads, 1, "value");
  if (call->failed) return false;
  int64_t depth = ibx_dim(call, a->k, 4);
  ibx_call_expect(call, ibx_dim(call, a->q, 4) == depth, "query",
                  "differs in depth from the keys");
  a->decay = ibx_has_in(call, 4) ? read_decay(call, a) : IBX_NO_VALUE;
  a->beta = ibx_has_in(call, 5) ? read_beta(call, a) : IBX_NO_VALUE;
  a->state = read_state(call, a);
  a->scale = ibx_linear_attention_scale(call, depth);
  return !call->failed;
}

// Takes the state one token further; gives what its queries read.
static ibx_val step(ibx_call *call, ibx_linear_attention *a, int64_t token) {
  ibx_val k = ibx_emit_at(call, a->k, 0, token),
          v = ibx_emit_at(call, a->v, 0, token);
  if (a->decay != IBX_NO_VALUE) {
    ibx_val decay = ibx_emit_at(call, a->decay, 0, token);
    a->state = ibx_emit_binary(call, IBX_TENSOR_mul, a->state, decay);
  }
  if (a->beta != IBX_NO_VALUE) {
    v = ibx_emit_binary(call, IBX_TENSOR_sub, v,
                        ibx_emit_matmul(call, k, a->state));
    v = ibx_emit_binary(call, IBX_TENSOR_mul,
                        ibx_emit_at(call, a->beta, 0, token), v);
  }
  ibx_val added =
      ibx_emit_binary(call, IBX_TENSOR_mul, ibx_emit_swap(call, k, 2, 3), v);
  a->state = ibx_emit_binary(call, IBX_TENSOR_add, a->state, added);
  return ibx_emit_matmul(call, ibx_emit_at(call, a->q, 0, token), a->state);
}

double ibx_linear_attention_scale(ibx_call *call, int64_t depth) {
  double scale = (double)ibx_attr_float(call, "scale", 0);
  if (scale != 0) return scale;
  return depth > 0 ? 1 / sqrt((double)depth) : 1;
}

ibx_val ibx_emit_linear_attention(ibx_call *call, ibx_linear_attention *a) {
  enum { MOST_TOKENS = 1024 };
  if (a->tokens < 1 || a->tokens > MOST_TOKENS) {
    ibx_call_refuse(call, "query", "%lld tokens", (long long)a->tokens);
    return a->q;
  }
  ibx_val *parts =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)a->tokens, ibx_val);
  int64_t width = a->heads * a->group * ibx_dim(call, a->v, 4);
  for (int64_t i = 0; i < a->tokens && !call->failed; i++) {
    parts[i] =
        ibx_emit_reshape(call, step(call, a, i), IBX_INTS(a->batch, 1, width));
  }
  if (call->failed) return a->q;
  ibx_val result = ibx_emit_concat(call, parts, (size_t)a->tokens, 1);
  return ibx_emit_affine(call, result, a->scale, 0);
}

void ibx_import_op_linear_attention(ibx_call *call) {
  ibx_linear_attention a = {0};
  if (call->at.domain[0] != 0) refuse_others(call, "state_window", 0);
  if (call->failed || !ibx_read_update_rule(call) || !read_operands(call, &a)) {
    return;
  }
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val result = ibx_emit_linear_attention(call, &a);
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_cast(call, result, dtype));
  if (ibx_has_in(call, 3)) dtype = ibx_dtype_of(call, ibx_in(call, 3));
  ibx_out(call, 1, ibx_emit_cast(call, a.state, dtype));
}
