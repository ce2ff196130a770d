// SPDX-License-Identifier: Apache-2.0
//
// Imports QMoE of com.microsoft. Comes in: tokens, the scores of experts for each
// of them, and the weights of all experts, integers of few bits. Goes out: what each
// expert makes of each token,
//
//   (activation(x W1 + b1) * (x W3 + b3)) W2 + b2
//
// where the factor may be absent, or part of the first layer and of the activation,
// times its share in the token, which is 0 for all but the k experts with the
// highest scores, and the sum of these.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ops.h"
#include "frontend/import_quant.h"

#include <math.h>
#include <string.h>

typedef enum activation { RELU, GELU, SILU, IDENTITY, SWIGLU } activation;

// Inputs of one layer of the experts: weights, their scales, bias, zero points.
typedef struct places {
  size_t weights, scales, bias, zeros;
} places;

static const places first_layer = {2, 3, 4, 11}, second_layer = {5, 6, 7, 12},
                    third_layer = {8, 9, 10, 13};
enum { ROUTER_WEIGHTS = 14 };

typedef struct experts {
  ibx_val x;     // [1, T, H]
  ibx_val share; // [E, T, 1]
  activation act;
  double alpha, beta, limit; // of SwiGLU
  int64_t fusion; // 0: the factor is apart, 1: columns in turn, 2: halves
  int64_t tokens, hidden, count, chosen, block;
  bool normalises; // the shares of a token add up to 1
} experts;

// --- routing -----------------------------------------------------------------

// The share of each expert in each token, [T, E], in fp32.
static ibx_val emit_shares(ibx_call *call, const experts *m, ibx_val weights) {
  ibx_val scores = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_F32);
  ibx_val index = ibx_emit_top_experts(call, scores, m->chosen);
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, m->count), 2, 3);
  index = ibx_emit_reshape(call, index, IBX_INTS(m->tokens, m->chosen, 1));
  ibx_val hot = ibx_emit_binary(call, IBX_TENSOR_equal, index, line);
  hot = ibx_emit_cast(call, hot, IBX_DTYPE_F32);
  hot = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, hot, IBX_INTS(1), false);
  ibx_val all = weights == IBX_NO_VALUE
                    ? ibx_emit_softmax(call, scores, 1)
                    : ibx_emit_cast(call, weights, IBX_DTYPE_F32);
  ibx_val share = ibx_emit_binary(call, IBX_TENSOR_mul, all, hot);
  if (!m->normalises) return share;
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, share, IBX_INTS(1), true);
  return ibx_emit_binary(call, IBX_TENSOR_div, share, sum);
}

static bool read_routing(ibx_call *call, experts *m, size_t weights) {
  ibx_val x = ibx_in(call, 0), scores = ibx_in(call, 1);
  int64_t rank = ibx_rank(call, x);
  if (!ibx_call_expect(call, rank == 2 || rank == 3, "input",
                       "needs 2 or 3 dimensions")) {
    return false;
  }
  m->hidden = ibx_dim(call, x, -1);
  m->tokens = ibx_dim(call, x, 0) * (rank == 3 ? ibx_dim(call, x, 1) : 1);
  m->count = ibx_dim(call, scores, -1);
  m->chosen = ibx_attr_int(call, "k", 1);
  m->normalises = ibx_attr_flag(call, "normalize_routing_weights", false);
  bool fits = ibx_rank(call, scores) == 2 &&
              ibx_dim(call, scores, 0) == m->tokens && m->count >= 1;
  if (!ibx_call_expect(call, fits, "router_probs",
                       "needs a row for each token") ||
      !ibx_call_expect(call, m->chosen >= 1 && m->chosen <= m->count, "k",
                       "is not a number of experts")) {
    return false;
  }
  if (ibx_has_in(call, weights)) {
    ibx_ints own = ibx_shape_of(call, ibx_in(call, weights));
    fits = own.len == 2 && own.at[0] == m->tokens && own.at[1] == m->count;
    ibx_call_expect(call, fits, "router_weights",
                    "differs in shape from router_probs");
  }
  // ONNX Runtime normalises on the CPU always, elsewhere it does not.
  if (!m->normalises && m->chosen < m->count && !ibx_has_in(call, weights)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "normalize_routing_weights",
                  "set it to 1, or give router_weights",
                  "shares that are not normalised, which the devices of ONNX "
                  "Runtime take in different ways");
  }
  if (call->failed) return false;
  m->x = ibx_emit_reshape(call, x, IBX_INTS(1, m->tokens, m->hidden));
  ibx_val share = emit_shares(call, m, ibx_in(call, weights));
  share = ibx_emit_swap(call, share, 0, 1);
  m->share = ibx_emit_reshape(call, share, IBX_INTS(m->count, m->tokens, 1));
  return !call->failed;
}

// --- weights -----------------------------------------------------------------

static int64_t read_bits(ibx_call *call, const char *name, int64_t absent) {
  int64_t bits = ibx_attr_int(call, name, absent);
  if (bits == 2 || bits == 4 || bits == 8) return bits;
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, name,
                "quantise to 2, 4 or 8 bits", "weights of %lld bits",
                (long long)bits);
  return 8;
}

// Rows of dense elements, [E, rows, bytes], as a constant [E, columns, rows].
static ibx_val unpack(ibx_call *call, const experts *m, size_t index,
                      const char *name, int64_t rows, int64_t columns,
                      ibx_dtype dtype) {
  const ibx_tensor *dense = ibx_const_in(call, index, name);
  if (!dense) return IBX_NO_VALUE;
  int64_t bytes = (columns * ibx_dtype_get(dtype)->width + 7) / 8, all = 0;
  bool fits = ibx_mul_extent(m->count, rows, &all) &&
              ibx_mul_extent(all, columns, &all) && all <= IBX_MOST_ELEMENTS &&
              dense->type.dtype == IBX_DTYPE_U8 &&
              ibx_elements(&dense->type) == m->count * rows * bytes;
  if (!ibx_call_expect(call, fits, name, "does not fit the other inputs")) {
    return IBX_NO_VALUE;
  }
  size_t width = (size_t)columns, height = (size_t)rows;
  uint8_t *row = ibx_arena_alloc(&call->import->scratch, width);
  uint8_t *data = ibx_arena_alloc(call->import->arena, (size_t)all);
  const uint8_t *from = dense->data;
  for (size_t r = 0; r < (size_t)m->count * height; r++) {
    ibx_dtype_from_dense(dtype, from + r * (size_t)bytes, row, width);
    uint8_t *matrix = data + r / height * width * height;
    for (size_t c = 0; c < width; c++)
      matrix[c * height + r % height] = row[c];
  }
  ibx_type type = {
      .dims = {m->count, columns, rows}, .rank = 3, .dtype = dtype};
  return ibx_emit_constant(call, type, data);
}

// The weights [E, columns, rows] of a layer from `columns` to `rows` elements.
static ibx_val read_quantised(ibx_call *call, const experts *m, places at,
                              int64_t rows, int64_t columns, int64_t bits) {
  ibx_dtype dtype = bits == 2   ? IBX_DTYPE_U2
                    : bits == 4 ? IBX_DTYPE_U4
                                : IBX_DTYPE_U8;
  int64_t block = m->block > 0 ? m->block : columns, blocks = columns / block;
  bool fits = columns % block == 0 && columns * bits % 8 == 0 &&
              ibx_has_in(call, at.scales) &&
              ibx_elements(ibx_type_of(call, ibx_in(call, at.scales))) ==
                  m->count * rows * blocks;
  if (!ibx_call_expect(call, fits, "scales",
                       "need a number for each block of a row")) {
    return IBX_NO_VALUE;
  }
  ibx_val weights =
      unpack(call, m, at.weights, "weights", rows, columns, dtype);
  ibx_val scale = ibx_emit_reshape(call, ibx_in(call, at.scales),
                                   IBX_INTS(m->count, rows, blocks));
  scale = ibx_emit_swap(call, scale, 1, 2);
  ibx_val zero =
      ibx_emit_scalar(call, IBX_DTYPE_F32, (double)(1 << (bits - 1)));
  // Without blocks the zero points of all rows are dense.
  if (ibx_has_in(call, at.zeros)) {
    bool has_blocks = m->block > 0;
    zero = unpack(call, m, at.zeros, "zero_points", has_blocks ? rows : 1,
                  has_blocks ? blocks : rows, dtype);
  }
  if (call->failed) return IBX_NO_VALUE;
  if (ibx_rank(call, zero) == 3) {
    zero = ibx_emit_reshape(call, zero, IBX_INTS(m->count, blocks, rows));
  }
  weights = ibx_emit_dequantise(call, weights, scale, zero, 1, block);
  return ibx_emit_cast(call, weights, ibx_dtype_of(call, m->x));
}

static ibx_val read_weights(ibx_call *call, const experts *m, places at,
                            int64_t rows, int64_t columns, const char *bits) {
  int64_t width = read_bits(call, "expert_weight_bits", 4);
  width = read_bits(call, bits, width);
  if (call->failed) return IBX_NO_VALUE;
  return read_quantised(call, m, at, rows, columns, width);
}

// x [1 or E, T, columns] to [E, T, rows].
static ibx_val layer(ibx_call *call, const experts *m, ibx_val x, places at,
                     int64_t rows, const char *bits) {
  ibx_val weights = read_weights(call, m, at, rows, ibx_dim(call, x, 2), bits);
  if (call->failed) return x;
  ibx_val y = ibx_emit_matmul(call, x, weights);
  if (!ibx_has_in(call, at.bias)) return y;
  ibx_val bias = ibx_in(call, at.bias);
  bool fits = ibx_elements(ibx_type_of(call, bias)) == m->count * rows;
  if (!ibx_call_expect(call, fits, "bias", "does not fit the weights")) {
    return y;
  }
  bias = ibx_emit_reshape(call, bias, IBX_INTS(m->count, 1, rows));
  return ibx_emit_binary(call, IBX_TENSOR_add, y, bias);
}

// --- activations -------------------------------------------------------------

static bool read_activation(ibx_call *call, experts *m) {
  static const char *const names[] = {[RELU] = "relu",
                                      [GELU] = "gelu",
                                      [SILU] = "silu",
                                      [IDENTITY] = "identity",
                                      [SWIGLU] = "swiglu"};
  size_t i;
  if (!ibx_attr_choice(call, "activation_type", "relu", names,
                       IBX_COUNT_OF(names), &i)) {
    return false;
  }
  m->act = (activation)i;
  m->alpha = (double)ibx_attr_float(call, "activation_alpha", 1);
  m->beta = (double)ibx_attr_float(call, "activation_beta", 0);
  m->limit = (double)ibx_attr_any_float(call, "swiglu_limit", INFINITY);
  m->fusion = ibx_attr_int(call, "swiglu_fusion", 0);
  if (m->act != SWIGLU) m->fusion = 0;
  bool apart = ibx_has_in(call, third_layer.weights);
  bool fits = m->fusion >= 0 && m->fusion <= 2 && !(apart && m->fusion != 0) &&
              (m->act != SWIGLU || apart || m->fusion != 0);
  if (!ibx_call_expect(call, fits, "swiglu_fusion",
                       "does not fit the activation and fc3")) {
    return false;
  }
  if (ibx_attr_flag(call, "swiglu_limit_after_activation", false)) {
    ibx_call_refuse(call, "swiglu_limit_after_activation",
                    "a limit behind the activation");
  }
  return !call->failed;
}

// Half `index` of x [E, T, 2 * I].
static ibx_val half_of(ibx_call *call, const experts *m, ibx_val x,
                       int64_t index) {
  int64_t width = ibx_dim(call, x, 2) / 2;
  return m->fusion == 1 ? ibx_emit_slice(call, x, 2, index, width, 2)
                        : ibx_emit_slice(call, x, 2, index * width, width, 1);
}

// gate * sigmoid(alpha * gate) * (linear + beta), both limited before.
static ibx_val swiglu(ibx_call *call, const experts *m, ibx_val gate,
                      ibx_val linear) {
  if (isfinite(m->limit)) {
    ibx_val most = ibx_emit_like(call, gate, m->limit);
    gate = ibx_emit_binary(call, IBX_TENSOR_min, gate, most);
    linear = ibx_emit_binary(call, IBX_TENSOR_min, linear, most);
    linear = ibx_emit_binary(call, IBX_TENSOR_max, linear,
                             ibx_emit_like(call, gate, -m->limit));
  }
  ibx_val open = ibx_emit_unary(call, IBX_TENSOR_sigmoid,
                                ibx_emit_affine(call, gate, m->alpha, 0));
  gate = ibx_emit_binary(call, IBX_TENSOR_mul, gate, open);
  return ibx_emit_binary(call, IBX_TENSOR_mul, gate,
                         ibx_emit_affine(call, linear, 1, m->beta));
}

static ibx_val activate(ibx_call *call, const experts *m, ibx_val x) {
  switch (m->act) {
  case RELU: return ibx_emit_unary(call, IBX_TENSOR_relu, x);
  case GELU: return ibx_emit_unary(call, IBX_TENSOR_gelu_tanh, x);
  case SILU: return ibx_emit_unary(call, IBX_TENSOR_silu, x);
  case SWIGLU:
  case IDENTITY: break;
  }
  return x;
}

// x [E, T, I or 2 * I] with its factor [E, T, I], or IBX_NO_VALUE.
static ibx_val gate(ibx_call *call, const experts *m, ibx_val x,
                    ibx_val factor) {
  if (m->fusion != 0) {
    factor = half_of(call, m, x, 1);
    x = half_of(call, m, x, 0);
  }
  if (m->act == SWIGLU) return swiglu(call, m, x, factor);
  x = activate(call, m, x);
  if (factor == IBX_NO_VALUE) return x;
  return ibx_emit_binary(call, IBX_TENSOR_mul, x, factor);
}

// --- the operators -----------------------------------------------------------

static void import_experts(ibx_call *call, experts *m) {
  const places first = first_layer, second = second_layer;
  if (ibx_attr_flag(call, "use_sparse_mixer", false)) {
    ibx_call_refuse(call, "use_sparse_mixer", "routing by a sparse mixer");
  }
  ibx_ms_need_input(call, second.weights, "fc2_experts_weights");
  if (call->failed || !read_activation(call, m) ||
      !read_routing(call, m, ROUTER_WEIGHTS)) {
    return;
  }
  ibx_val weights = ibx_in(call, first.weights);
  int64_t wide = ibx_dim(call, weights, 1);
  bool fits = ibx_rank(call, weights) == 3 &&
              ibx_dim(call, weights, 0) == m->count &&
              (m->fusion == 0 || wide % 2 == 0);
  if (!ibx_call_expect(call, fits, "fc1_experts_weights",
                       "needs a matrix for each expert")) {
    return;
  }
  ibx_val y = layer(call, m, m->x, first, wide, "fc1_expert_weight_bits");
  if (call->failed) return;
  ibx_val factor = IBX_NO_VALUE;
  if (ibx_has_in(call, third_layer.weights)) {
    factor = layer(call, m, m->x, third_layer, wide, "fc3_expert_weight_bits");
  }
  if (call->failed) return;
  y = gate(call, m, y, factor);
  y = layer(call, m, y, second, m->hidden, "fc2_expert_weight_bits");
  if (call->failed) return;
  y = ibx_emit_cast(call, y, IBX_DTYPE_F32);
  y = ibx_emit_binary(call, IBX_TENSOR_mul, y, m->share);
  y = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, y, IBX_INTS(0), false);
  y = ibx_emit_cast(call, y, ibx_dtype_of(call, ibx_in(call, 0)));
  ibx_out(call, 0,
          ibx_emit_reshape(call, y, ibx_shape_of(call, ibx_in(call, 0))));
}

void ibx_import_op_qmoe(ibx_call *call) {
  experts m = {0};
  const char *type = ibx_attr_text(call, "quant_type", "int");
  m.block = ibx_attr_int(call, "block_size", 0);
  ibx_attr_ignore(call, "accuracy_level fc3_expert_weight_bits");
  if (strcmp(type, "int") != 0) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "quant_type",
                  "quantise to integers, with quant_type = 'int'",
                  "quant_type = '%s'", type);
  }
  if (ibx_attr_int(call, "weights_prepacked", -1) == 1) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "weights_prepacked",
                  "export with weights_prepacked = 0",
                  "weights in the layout of one device");
  }
  for (size_t i = 15; i < 21; i++)
    ibx_ms_refuse_input(call, i, "global or activation scales",
                        "quantise to integers");
  if (call->failed) return;
  import_experts(call, &m);
}
