// SPDX-License-Identifier: Apache-2.0
//
// Imports GatedDeltaNet of com.microsoft. Comes in: the tokens of all requests one
// after the other, where each request begins, and the state that it left. Goes
// out: the recurrence of import_linear_attention.h.
//
// Requests that are equally long are its batch. Else each token goes to all of
// them, and leaves the states of those that it does not belong to as they are:
//
//   token t, request b   owner     decay exp(g), keys k, values v
//                        others    decay 1, keys 0, values 0

#include "frontend/import_linear_attention.h"

#include "frontend/import_ms_attention.h"
#include "frontend/import_ops.h"

#include <string.h>

enum { QUERY, KEY, VALUE, STARTS, DECAY, BETA, STATE, A_LOG, DT_BIAS, CAPTURE };

typedef struct delta_net {
  ibx_linear_attention a;
  int64_t total; // tokens of all requests
  int64_t keys, values;
  bool is_even;  // requests are equally long
  ibx_val owner; // bools [tokens, B], where they are not
} delta_net;

// --- requests ----------------------------------------------------------------

static bool starts_are_even(ibx_call *call, const delta_net *d,
                            ibx_val starts) {
  if (!ibx_is_known(call, starts)) return false;
  const ibx_tensor *known = ibx_force(call->import, starts);
  if (!known || d->total % d->a.batch != 0) return false;
  for (int64_t i = 0; i <= d->a.batch; i++) {
    int64_t wanted = i * (d->total / d->a.batch);
    if (ibx_tensor_int(known, (size_t)i) != wanted) return false;
  }
  return true;
}

// Which request each token belongs to.
static ibx_val find_owners(ibx_call *call, const delta_net *d, ibx_val starts) {
  starts = ibx_emit_cast(call, starts, IBX_DTYPE_I64);
  ibx_val token = ibx_emit_along(call, ibx_emit_iota(call, d->total), 0, 2);
  ibx_val start = ibx_emit_slice(call, starts, 0, 0, d->a.batch, 1);
  ibx_val end = ibx_emit_slice(call, starts, 0, 1, d->a.batch, 1);
  return ibx_emit_binary(call, IBX_TENSOR_and,
                         ibx_emit_binary(call, IBX_TENSOR_less_equal,
                                         ibx_emit_along(call, start, 1, 2),
                                         token),
                         ibx_emit_binary(call, IBX_TENSOR_less, token,
                                         ibx_emit_along(call, end, 1, 2)));
}

static bool read_requests(ibx_call *call, delta_net *d) {
  ibx_val starts = ibx_in(call, STARTS), state = ibx_in(call, STATE);
  bool fits = starts == IBX_NO_VALUE ||
              (ibx_rank(call, starts) == 1 && ibx_dim(call, starts, 0) >= 2);
  if (!ibx_call_expect(call, fits, "cu_seqlens", "needs [B + 1]")) return false;
  if (starts == IBX_NO_VALUE) {
    ibx_ms_need_input(call, STATE, "initial_state");
    if (call->failed) return false;
  }
  d->a.batch = starts == IBX_NO_VALUE ? ibx_dim(call, state, 0)
                                      : ibx_dim(call, starts, 0) - 1;
  fits =
      d->a.batch >= 1 && (starts != IBX_NO_VALUE || d->total % d->a.batch == 0);
  if (!ibx_call_expect(call, fits, "initial_state",
                       "does not divide the tokens")) {
    return false;
  }
  d->is_even = starts == IBX_NO_VALUE || starts_are_even(call, d, starts);
  d->a.tokens = d->is_even ? d->total / d->a.batch : d->total;
  if (!d->is_even) d->owner = find_owners(call, d, starts);
  return !call->failed;
}

// --- operands ----------------------------------------------------------------

// x [tokens, heads, rows * columns] to [T, B or 1, heads, rows, columns], where
// `other` stands in tokens of other requests.
static ibx_val by_token(ibx_call *call, const delta_net *d, ibx_val x,
                        int64_t rows, int64_t columns, const double *other) {
  int64_t heads = d->a.heads, own = ibx_dim(call, x, 1);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  // One serves several heads of values.
  if (own != heads) x = ibx_emit_repeat(call, x, 1, heads / own);
  if (d->is_even) {
    x = ibx_emit_reshape(
        call, x, IBX_INTS(d->a.batch, d->a.tokens, heads, rows, columns));
    return ibx_emit_transpose(call, x, IBX_INTS(1, 0, 2, 3, 4));
  }
  x = ibx_emit_reshape(call, x, IBX_INTS(d->total, 1, heads, rows, columns));
  if (!other) return x;
  ibx_val owner =
      ibx_emit_reshape(call, d->owner, IBX_INTS(d->total, d->a.batch, 1, 1, 1));
  return ibx_emit_select(call, owner, x, ibx_emit_like(call, x, *other));
}

// Divides each head by its length.
static ibx_val normalise(ibx_call *call, ibx_val x) {
  const double epsilon = 1e-12; // of ONNX Runtime
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
  square =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, square, IBX_INTS(2), true);
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_sqrt,
                                ibx_emit_affine(call, square, 1, epsilon));
  return ibx_emit_binary(call, IBX_TENSOR_div, x, size);
}

// A number for each head, along dimension 1 of a gate.
static ibx_val head_numbers(ibx_call *call, const delta_net *d, size_t index,
                            const char *name, int64_t rank) {
  ibx_ms_need_input(call, index, name);
  if (call->failed) return ibx_in(call, DECAY);
  ibx_val x = ibx_in(call, index);
  bool fits = ibx_rank(call, x) == 1 && ibx_dim(call, x, 0) == d->a.heads;
  if (!ibx_call_expect(call, fits, name, "needs a number for each head")) {
    return ibx_in(call, DECAY);
  }
  return ibx_emit_along(call, ibx_emit_cast(call, x, IBX_DTYPE_F32), 1, rank);
}

// The logarithm of the decay, [tokens, heads, 1 or K].
static ibx_val read_gate(ibx_call *call, const delta_net *d) {
  static const char *const gates[] = {"none", "qwen"};
  size_t gate = 0;
  ibx_val x = ibx_emit_cast(call, ibx_in(call, DECAY), IBX_DTYPE_F32);
  ibx_ints s = ibx_shape_of(call, x);
  bool fits = (s.len == 2 || (s.len == 3 && s.at[2] == d->keys)) &&
              s.at[0] == d->total && s.at[1] == d->a.heads;
  if (!ibx_call_expect(call, fits, "decay",
                       "needs [tokens, heads], or a number for each key") ||
      !ibx_attr_choice(call, "gate_activation", "none", gates,
                       IBX_COUNT_OF(gates), &gate)) {
    return x;
  }
  if (gate == 1) {
    x = ibx_emit_binary(call, IBX_TENSOR_add, x,
                        head_numbers(call, d, DT_BIAS, "dt_bias", s.len));
    x = ibx_emit_unary(call, IBX_TENSOR_softplus, x);
    ibx_val rate = ibx_emit_unary(call, IBX_TENSOR_exp,
                                  head_numbers(call, d, A_LOG, "a_log", s.len));
    x = ibx_emit_binary(call, IBX_TENSOR_mul, x,
                        ibx_emit_unary(call, IBX_TENSOR_neg, rate));
  }
  return ibx_emit_reshape(call, x,
                          IBX_INTS(s.at[0], s.at[1], s.len == 3 ? s.at[2] : 1));
}

static ibx_val read_rate(ibx_call *call, const delta_net *d) {
  static const char *const kinds[] = {"none", "sigmoid"};
  size_t kind = 0;
  ibx_val x = ibx_emit_cast(call, ibx_in(call, BETA), IBX_DTYPE_F32);
  ibx_ints s = ibx_shape_of(call, x);
  bool fits = s.len == 2 && s.at[0] == d->total && s.at[1] == d->a.heads;
  if (!ibx_call_expect(call, fits, "beta", "needs [tokens, heads]") ||
      !ibx_attr_choice(call, "beta_activation", "none", kinds,
                       IBX_COUNT_OF(kinds), &kind)) {
    return x;
  }
  if (kind == 1) x = ibx_emit_unary(call, IBX_TENSOR_sigmoid, x);
  return ibx_emit_reshape(call, x, IBX_INTS(s.at[0], s.at[1], 1));
}

static bool read_shapes(ibx_call *call, delta_net *d) {
  ibx_ints q = ibx_shape_of(call, ibx_in(call, QUERY));
  ibx_ints k = ibx_shape_of(call, ibx_in(call, KEY));
  ibx_ints v = ibx_shape_of(call, ibx_in(call, VALUE));
  bool fits = q.len == 3 && k.len == 3 && v.len == 3 && q.at[0] == k.at[0] &&
              q.at[0] == v.at[0] && q.at[1] == k.at[1] && q.at[2] == k.at[2] &&
              q.at[1] >= 1 && v.at[1] >= 1 && v.at[1] % q.at[1] == 0;
  if (!ibx_call_expect(call, fits, "query",
                       "and key need [tokens, heads, K], the value [tokens, a "
                       "multiple of heads, V]")) {
    return false;
  }
  d->total = v.at[0];
  d->a.heads = v.at[1];
  d->a.group = 1;
  d->keys = q.at[2];
  d->values = v.at[2];
  return true;
}

// [B, heads, V, K] in the file.
static bool read_state(ibx_call *call, delta_net *d) {
  ibx_linear_attention *a = &d->a;
  if (!ibx_has_in(call, STATE)) {
    a->state =
        ibx_emit_broadcast(call, ibx_emit_scalar(call, IBX_DTYPE_F32, 0),
                           IBX_INTS(a->batch, a->heads, d->keys, d->values));
    return !call->failed;
  }
  ibx_val state = ibx_in(call, STATE);
  ibx_ints s = ibx_shape_of(call, state);
  bool fits = s.len == 4 && s.at[0] == a->batch && s.at[1] == a->heads &&
              s.at[2] == d->values && s.at[3] == d->keys;
  if (!ibx_call_expect(call, fits, "initial_state", "needs [B, heads, V, K]")) {
    return false;
  }
  a->state =
      ibx_emit_swap(call, ibx_emit_cast(call, state, IBX_DTYPE_F32), 2, 3);
  return true;
}

static bool read_operands(ibx_call *call, delta_net *d) {
  static const double zero = 0, one = 1;
  ibx_linear_attention *a = &d->a;
  bool normalises = ibx_attr_flag(call, "qk_l2_norm", false);
  ibx_val q = ibx_in(call, QUERY), k = ibx_in(call, KEY);
  if (normalises) {
    q = normalise(call, q);
    k = normalise(call, k);
  }
  a->q = by_token(call, d, q, 1, d->keys, NULL);
  a->k = by_token(call, d, k, 1, d->keys, &zero);
  a->v = by_token(call, d, ibx_in(call, VALUE), 1, d->values, &zero);
  a->decay = a->beta = IBX_NO_VALUE;
  ibx_attr_ignore(call, "gate_activation beta_activation"); // of absent ones
  if (ibx_has_in(call, DECAY)) {
    ibx_val gate = ibx_emit_unary(call, IBX_TENSOR_exp, read_gate(call, d));
    if (call->failed) return false;
    a->decay = by_token(call, d, gate, ibx_dim(call, gate, 2), 1, &one);
  }
  if (ibx_has_in(call, BETA)) {
    ibx_val rate = read_rate(call, d);
    if (call->failed) return false;
    a->beta = by_token(call, d, rate, 1, 1, &zero);
  }
  a->scale = ibx_linear_attention_scale(call, d->keys);
  return read_state(call, d);
}

// --- the operator ------------------------------------------------------------

static void refuse_updates(ibx_call *call) {
  ibx_ms_refuse_input(call, CAPTURE, "capture_count",
                      "export with state_update_capacity = 0");
  int64_t capacity = ibx_attr_int(call, "state_update_capacity", 0);
  if (capacity == 0 && !ibx_wants_out(call, 2)) return;
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "state_update_capacity",
                "export with state_update_capacity = 0",
                "state_update_capacity = %lld, the steps of a state as an "
                "output",
                (long long)capacity);
}

// [B, T, heads * V] of which each token has one request, or all of its own.
static ibx_val join_requests(ibx_call *call, const delta_net *d, ibx_val x) {
  ibx_ints shape = IBX_INTS(d->total, d->a.heads, d->values);
  if (d->is_even) return ibx_emit_reshape(call, x, shape);
  ibx_val owner = ibx_emit_transpose(call, d->owner, IBX_INTS(1, 0));
  owner = ibx_emit_reshape(call, owner, IBX_INTS(d->a.batch, d->total, 1));
  x = ibx_emit_select(call, owner, x, ibx_emit_like(call, x, 0));
  x = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, x, IBX_INTS(0), false);
  return ibx_emit_reshape(call, x, shape);
}

void ibx_import_op_gated_delta_net(ibx_call *call) {
  delta_net d = {0};
  ibx_attr_ignore(call, "chunk_size"); // a hint that changes no result
  refuse_updates(call);
  if (call->failed || !ibx_read_update_rule(call) || !read_shapes(call, &d) ||
      !read_requests(call, &d) || !read_operands(call, &d)) {
    return;
  }
  ibx_val result = ibx_emit_linear_attention(call, &d.a);
  if (call->failed) return;
  result = join_requests(call, &d, result);
  ibx_out(call, 0,
          ibx_emit_cast(call, result, ibx_dtype_of(call, ibx_in(call, QUERY))));
  ibx_out(call, 1, ibx_emit_swap(call, d.a.state, 2, 3));
}
