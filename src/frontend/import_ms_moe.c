// SPDX-License-Identifier: Apache-2.0
//
// Imports MoE of com.microsoft, a mixture of experts. Comes in: tokens [T, H],
// what a router says of the experts for each [T, E], and the weights of all
// experts. Goes out, for the k experts e with the largest p of a token:
//
//   sum p[e] * (activation(x W1[e] + b1[e]) W2[e] + b2[e])
//
// Where fewer experts are picked than there are, small weights are gathered; else
// all experts see all tokens, and those that are not picked count 0 times.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

typedef enum expert_kind {
  IDENTITY,
  RELU,
  RELU2,
  GELU,
  SILU,
  SWIGLU,
  GEGLU
} expert_kind;

static const struct {
  const char *name;
  expert_kind kind;
} kinds[] = {{"identity", IDENTITY}, {"relu", RELU}, {"relu2", RELU2},
             {"gelu", GELU},         {"silu", SILU}, {"swiglu", SWIGLU},
             {"geglu", GEGLU}};

typedef struct mixture {
  expert_kind kind;
  int64_t fusion; // 0: W3 apart, 1: columns of both in turn, 2: halves
  double alpha, beta, limit;
  int64_t tokens, experts, width, hidden, picked;
} mixture;

// What each lane multiplies: an expert, or one that a token has picked.
typedef struct lanes {
  ibx_val fc[3], bias[3]; // [lanes, out, in] and [lanes, out]
} lanes;

static bool read_kind(ibx_call *call, mixture *m) {
  const char *name = ibx_attr_text(call, "activation_type", "relu");
  m->fusion = ibx_attr_int(call, "swiglu_fusion", 0);
  m->alpha = (double)ibx_attr_float(call, "activation_alpha", 1);
  m->beta = (double)ibx_attr_float(call, "activation_beta", 0);
  m->limit = (double)ibx_attr_any_float(call, "swiglu_limit", INFINITY);
  size_t i = 0;
  while (i < IBX_COUNT_OF(kinds) && strcmp(kinds[i].name, name) != 0)
    i++;
  if (i == IBX_COUNT_OF(kinds)) {
    ibx_call_refuse(call, "activation_type", "activation '%s'", name);
    return false;
  }
  m->kind = kinds[i].kind;
  if (ibx_attr_flag(call, "use_sparse_mixer", false)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "use_sparse_mixer",
                  "export with use_sparse_mixer = 0",
                  "routing by a sparse mixer");
  }
  if (ibx_attr_flag(call, "swiglu_limit_after_activation", false)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM,
                  "swiglu_limit_after_activation",
                  "export with a limit before the activation",
                  "a limit behind the activation");
  }
  bool gated = m->kind == SWIGLU || m->kind == GEGLU;
  if (!gated) m->fusion = 0;
  bool fits = m->fusion >= 0 && m->fusion <= 2;
  if (gated && m->fusion == 0) fits = m->kind == SWIGLU && ibx_has_in(call, 6);
  if (m->fusion != 0) fits = fits && !ibx_has_in(call, 6);
  return ibx_call_expect(call, fits, "swiglu_fusion",
                         "does not fit the activation and its weights");
}

static bool weights_fit(ibx_call *call, size_t index, int64_t experts,
                        int64_t out, int64_t in) {
  ibx_ints w = ibx_shape_of(call, ibx_in(call, index));
  bool fits =
      w.len == 3 && w.at[0] == experts && w.at[1] == out && w.at[2] == in;
  if (!ibx_has_in(call, index + 1)) return fits;
  ibx_ints b = ibx_shape_of(call, ibx_in(call, index + 1));
  return fits && b.len == 2 && b.at[0] == experts && b.at[1] == out;
}

static bool read_shapes(ibx_call *call, mixture *m) {
  ibx_ints x = ibx_shape_of(call, ibx_in(call, 0));
  ibx_ints r = ibx_shape_of(call, ibx_in(call, 1));
  bool fits = (x.len == 2 || x.len == 3) && r.len == 2 && ibx_has_in(call, 4) &&
              ibx_rank(call, ibx_in(call, 4)) == 3;
  if (fits) {
    m->hidden = x.at[x.len - 1];
    m->tokens = x.len == 3 ? x.at[0] * x.at[1] : x.at[0];
    m->experts = r.at[1];
    m->width = ibx_dim(call, ibx_in(call, 4), 2);
    int64_t factor = m->fusion == 0 ? 1 : 2;
    fits = r.at[0] == m->tokens &&
           weights_fit(call, 2, m->experts, factor * m->width, m->hidden) &&
           weights_fit(call, 4, m->experts, m->hidden, m->width);
    if (ibx_has_in(call, 6)) {
      fits = fits && weights_fit(call, 6, m->experts, m->width, m->hidden);
    }
  }
  m->picked = ibx_attr_int(call, "k", 1);
  return ibx_call_expect(call, fits, "fc1_experts_weights",
                         "does not fit tokens, router and other weights") &&
         ibx_call_expect(call, m->picked >= 1 && m->picked <= m->experts, "k",
                         "is not a number of experts");
}

// --- experts -----------------------------------------------------------------

static ibx_val multiply(ibx_call *call, ibx_val a, ibx_val b) {
  return ibx_emit_binary(call, IBX_TENSOR_mul, a, b);
}

static ibx_val layer(ibx_call *call, const lanes *l, size_t index, ibx_val x) {
  ibx_val y = ibx_emit_matmul(call, x, ibx_emit_swap(call, l->fc[index], 1, 2));
  if (l->bias[index] == IBX_NO_VALUE) return y;
  ibx_ints s = ibx_shape_of(call, l->bias[index]);
  ibx_val bias =
      ibx_emit_reshape(call, l->bias[index], IBX_INTS(s.at[0], 1, s.at[1]));
  return ibx_emit_binary(call, IBX_TENSOR_add, y, bias);
}

// gate * sigmoid(alpha * gate) * (line + beta), both limited before.
static ibx_val swiglu(ibx_call *call, const mixture *m, ibx_val gate,
                      ibx_val line) {
  if (isfinite(m->limit)) {
    float limit = (float)m->limit;
    gate = ibx_emit_clip(call, gate, -INFINITY, limit);
    line = ibx_emit_clip(call, line, -limit, limit);
  }
  ibx_val share = ibx_emit_unary(call, IBX_TENSOR_sigmoid,
                                 ibx_emit_affine(call, gate, m->alpha, 0));
  return multiply(call, multiply(call, gate, share),
                  ibx_emit_affine(call, line, 1, m->beta));
}

static ibx_val activate(ibx_call *call, const mixture *m, ibx_val x) {
  switch (m->kind) {
  case RELU: return ibx_emit_unary(call, IBX_TENSOR_relu, x);
  case RELU2:
    x = ibx_emit_unary(call, IBX_TENSOR_relu, x);
    return multiply(call, x, x);
  case GELU:
  case GEGLU: return ibx_emit_unary(call, IBX_TENSOR_gelu_tanh, x);
  case SILU: return ibx_emit_unary(call, IBX_TENSOR_silu, x);
  case IDENTITY:
  case SWIGLU: break;
  }
  return x;
}

// x [1 or lanes, rows, H] to [lanes, rows, H]
static ibx_val run_experts(ibx_call *call, const mixture *m, const lanes *l,
                           ibx_val x) {
  ibx_val gate = layer(call, l, 0, x), line = IBX_NO_VALUE;
  if (m->fusion == 0 && l->fc[2] != IBX_NO_VALUE) line = layer(call, l, 2, x);
  if (m->fusion != 0) {
    bool halves = m->fusion == 2;
    int64_t step = halves ? 1 : 2;
    line = ibx_emit_slice(call, gate, 2, halves ? m->width : 1, m->width, step);
    gate = ibx_emit_slice(call, gate, 2, 0, m->width, step);
  }
  if (m->kind == SWIGLU) {
    gate = swiglu(call, m, gate, line);
  } else {
    gate = activate(call, m, gate);
    if (line != IBX_NO_VALUE) gate = multiply(call, gate, line);
  }
  return layer(call, l, 1, gate);
}

static ibx_val gather_lanes(ibx_call *call, ibx_val x, ibx_val index) {
  if (x == IBX_NO_VALUE || index == IBX_NO_VALUE) return x;
  return ibx_emit_gather(call, x, index, 0);
}

// Those that `index` names, or all where it is IBX_NO_VALUE.
static lanes read_lanes(ibx_call *call, ibx_val index) {
  lanes l = {0};
  for (size_t i = 0; i < 3; i++) {
    l.fc[i] = gather_lanes(call, ibx_in(call, 2 + 2 * i), index);
    l.bias[i] = gather_lanes(call, ibx_in(call, 3 + 2 * i), index);
  }
  return l;
}

// --- routing -----------------------------------------------------------------

typedef struct route {
  ibx_val expert, share; // [T, k], by falling share
} route;

ibx_val ibx_emit_top_experts(ibx_call *call, ibx_val scores, int64_t count) {
  int64_t all = ibx_dim(call, scores, 1);
  ibx_params params = {
      .axis = 1, .count = count, .largest = true, .dtype = IBX_DTYPE_I64};
  ibx_val turned = ibx_emit_slice(call, scores, 1, all - 1, all, -1);
  ibx_val index = ibx_emit_op(call, IBX_TENSOR_top_index, &params, &turned, 1);
  return ibx_emit_binary(call, IBX_TENSOR_sub, ibx_emit_long(call, all - 1),
                         index);
}

static route pick_experts(ibx_call *call, const mixture *m) {
  bool normalises = ibx_attr_flag(call, "normalize_routing_weights", false);
  ibx_val all = ibx_emit_softmax(call, ibx_in(call, 1), 1);
  const ibx_params params = {
      .axis = 1, .count = m->picked, .largest = true, .dtype = IBX_DTYPE_I64};
  route r = {.expert = ibx_emit_top_experts(call, ibx_in(call, 1), m->picked),
             .share = ibx_emit_op(call, IBX_TENSOR_top, &params, &all, 1)};
  if (normalises) {
    ibx_val sum = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, r.share,
                                  IBX_INTS(1), true);
    r.share = ibx_emit_binary(call, IBX_TENSOR_div, r.share, sum);
  }
  return r;
}

// Only the picked experts: a lane for each of a token.
static ibx_val run_picked(ibx_call *call, const mixture *m, const route *r,
                          ibx_val x) {
  int64_t count = m->tokens * m->picked;
  lanes l =
      read_lanes(call, ibx_emit_reshape(call, r->expert, IBX_INTS(count)));
  x = ibx_emit_reshape(call, x, IBX_INTS(m->tokens, 1, m->hidden));
  x = ibx_emit_broadcast(call, x, IBX_INTS(m->tokens, m->picked, m->hidden));
  x = ibx_emit_reshape(call, x, IBX_INTS(count, 1, m->hidden));
  ibx_val y = run_experts(call, m, &l, x);
  y = ibx_emit_reshape(call, y, IBX_INTS(m->tokens, m->picked, m->hidden));
  y = multiply(
      call, y,
      ibx_emit_reshape(call, r->share, IBX_INTS(m->tokens, m->picked, 1)));
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, y, IBX_INTS(1), false);
}

static ibx_val run_all(ibx_call *call, const mixture *m, const route *r,
                       ibx_val x) {
  lanes l = read_lanes(call, IBX_NO_VALUE);
  x = ibx_emit_reshape(call, x, IBX_INTS(1, m->tokens, m->hidden));
  ibx_val y = run_experts(call, m, &l, x); // [E, T, H]
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, m->experts), 0, 3);
  ibx_ints apart = IBX_INTS(1, m->tokens, m->picked);
  ibx_val hot = ibx_emit_binary(call, IBX_TENSOR_equal,
                                ibx_emit_reshape(call, r->expert, apart), line);
  ibx_val shares =
      ibx_emit_select(call, hot, ibx_emit_reshape(call, r->share, apart),
                      ibx_emit_like(call, r->share, 0));
  shares = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, shares, IBX_INTS(2),
                           true); // [E, T, 1]
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, multiply(call, y, shares),
                         IBX_INTS(0), false);
}

void ibx_import_op_moe(ibx_call *call) {
  mixture m = {0};
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  if (!read_kind(call, &m) || !read_shapes(call, &m)) return;
  route r = pick_experts(call, &m);
  // A gathered matrix lies in one partition of the on-chip memory: a large one
  // has no room there.
  enum { MOST_GATHERED = 1 << 14 };
  bool gathers = m.tokens * m.picked < m.experts && m.width <= MOST_GATHERED &&
                 m.hidden <= MOST_GATHERED &&
                 2 * m.width * m.hidden <= MOST_GATHERED;
  ibx_val y = gathers ? run_picked(call, &m, &r, x) : run_all(call, &m, &r, x);
  ibx_out(call, 0, ibx_emit_reshape(call, y, shape));
}
