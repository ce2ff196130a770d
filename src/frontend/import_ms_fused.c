// SPDX-License-Identifier: Apache-2.0
//
// Imports operators of com.microsoft that stand for several of ai.onnx: products
// and convolutions with their activation, and what diffusion models have of
// biases and normalised groups. Comes in: a call. Goes out: the parts.

#include "frontend/import_ms_quant.h"
#include "frontend/import_ops.h"
#include "frontend/import_window.h"

#include <math.h>
#include <string.h>

// --- activations -------------------------------------------------------------

typedef enum activation_kind {
  CLIP,
  ELU,
  HARD_SIGMOID,
  HARD_SWISH,
  LEAKY_RELU,
  RELU,
  SIGMOID,
  SOFTPLUS,
  TANH
} activation_kind;

typedef struct activation {
  const char *name;
  activation_kind kind;
  double alpha, beta; // where the node gives none
} activation;

static const activation activations[] = {
    {"Clip", CLIP, -INFINITY, INFINITY},
    {"Elu", ELU, 1, 0},
    {"HardSigmoid", HARD_SIGMOID, (double)0.2f, 0.5},
    {"HardSwish", HARD_SWISH, 1.0 / 6, 0.5},
    {"LeakyRelu", LEAKY_RELU, (double)0.01f, 0},
    {"Relu", RELU, 0, 0},
    {"Sigmoid", SIGMOID, 0, 0},
    {"Softplus", SOFTPLUS, 0, 0},
    {"Tanh", TANH, 0, 0},
};

// What the attribute names; RELU's row without parameters after a failure.
static activation read_activation(ibx_call *call) {
  const char *name = ibx_attr_text(call, "activation", "");
  for (size_t i = 0; i < IBX_COUNT_OF(activations); i++) {
    if (strcmp(activations[i].name, name) == 0) return activations[i];
  }
  ibx_call_refuse(call, "activation", "activation '%s'", name);
  return (activation){.kind = RELU};
}

static ibx_val activate(ibx_call *call, ibx_val x, const activation *a) {
  const ibx_params params = {.alpha = (float)a->alpha};
  ibx_val line;
  switch (a->kind) {
  case CLIP: return ibx_emit_clip(call, x, (float)a->alpha, (float)a->beta);
  case ELU: return ibx_emit_op(call, IBX_TENSOR_elu, &params, &x, 1);
  case HARD_SIGMOID:
  case HARD_SWISH:
    line = ibx_emit_affine(call, x, a->alpha, a->beta);
    line = ibx_emit_clip(call, line, 0, 1);
    return a->kind == HARD_SIGMOID
               ? line
               : ibx_emit_binary(call, IBX_TENSOR_mul, x, line);
  case LEAKY_RELU:
    return ibx_emit_op(call, IBX_TENSOR_leaky_relu, &params, &x, 1);
  case RELU: return ibx_emit_unary(call, IBX_TENSOR_relu, x);
  case SIGMOID: return ibx_emit_unary(call, IBX_TENSOR_sigmoid, x);
  case SOFTPLUS: return ibx_emit_unary(call, IBX_TENSOR_softplus, x);
  case TANH: return ibx_emit_unary(call, IBX_TENSOR_tanh, x);
  }
  return x;
}

// --- products ----------------------------------------------------------------

// Adds a sum and an activation to a convolution, which is output 0. The parameters
// of the activation are in the order alpha, beta.
static void finish_conv(ibx_call *call) {
  bool has = ibx_has_attr(call, "activation");
  activation a = has ? read_activation(call) : (activation){.kind = RELU};
  const Onnx__AttributeProto *given =
      IBX_ATTR(call, "activation_params", FLOATS);
  if (given && given->n_floats > 0) a.alpha = (double)given->floats[0];
  if (given && given->n_floats > 1) a.beta = (double)given->floats[1];
  if (call->failed) return;
  ibx_val y = call->out[0];
  if (ibx_has_in(call, 3)) {
    y = ibx_emit_binary(call, IBX_TENSOR_add, y, ibx_in(call, 3));
  }
  ibx_out(call, 0, has ? activate(call, y, &a) : y);
}

void ibx_import_op_fused_conv(ibx_call *call) {
  ibx_import_op_conv(call);
  if (!call->failed) finish_conv(call);
}

// Images and result have the channels last; weights are [M, C / group, kernel...].
static void conv_last(ibx_call *call, ibx_val weights) {
  ibx_val x = ibx_emit_channels_first(call, ibx_in(call, 0));
  ibx_val y = ibx_emit_channels_last(call, ibx_emit_conv(call, x, weights));
  if (ibx_has_in(call, 2)) {
    ibx_val bias = ibx_in(call, 2);
    bool fits = ibx_rank(call, bias) == 1 &&
                ibx_dim(call, bias, 0) == ibx_dim(call, y, -1);
    if (!ibx_call_expect(call, fits, "B", "needs a number for each map")) {
      return;
    }
    y = ibx_emit_binary(call, IBX_TENSOR_add, y, bias);
  }
  ibx_out(call, 0, y);
}

// The weights have their channels last, too: so does ONNX Runtime's tool write
// them, which makes this operator of Conv, whatever its documentation says.
void ibx_import_op_nhwc_conv(ibx_call *call) {
  conv_last(call, ibx_emit_channels_first(call, ibx_in(call, 1)));
}

void ibx_import_op_nhwc_fused_conv(ibx_call *call) {
  conv_last(call, ibx_in(call, 1));
  if (!call->failed) finish_conv(call);
}

void ibx_import_op_fused_gemm(ibx_call *call) {
  bool has = ibx_has_attr(call, "activation");
  activation a = has ? read_activation(call) : (activation){.kind = RELU};
  a.alpha =
      (double)ibx_attr_any_float(call, "activation_alpha", (float)a.alpha);
  a.beta = (double)ibx_attr_any_float(call, "activation_beta", (float)a.beta);
  ibx_attr_ignore(call, "activation_gamma"); // of activations that are refused
  if (call->failed) return;
  ibx_import_op_gemm(call);
  if (call->failed || !has) return;
  ibx_out(call, 0, activate(call, call->out[0], &a));
}

// --- biases ------------------------------------------------------------------

void ibx_import_op_bias_add(ibx_call *call) {
  ibx_val x =
      ibx_emit_binary(call, IBX_TENSOR_add, ibx_in(call, 0), ibx_in(call, 1));
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_add, x, ibx_in(call, 2)));
}

// The first half of x + bias times the gelu of the second.
void ibx_import_op_bias_split_gelu(ibx_call *call) {
  ibx_val x =
      ibx_emit_binary(call, IBX_TENSOR_add, ibx_in(call, 0), ibx_in(call, 1));
  int64_t last = ibx_rank(call, x) - 1, width = ibx_dim(call, x, -1);
  if (!ibx_call_expect(call, last >= 0 && width % 2 == 0, "X",
                       "does not split in halves")) {
    return;
  }
  ibx_val gate = ibx_emit_slice(call, x, last, width / 2, width / 2, 1);
  gate = ibx_emit_unary(call, IBX_TENSOR_gelu, gate);
  x = ibx_emit_slice(call, x, last, 0, width / 2, 1);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_mul, x, gate));
}

// --- groups ------------------------------------------------------------------

static void norm_groups(ibx_call *call, ibx_val x) {
  bool last = ibx_attr_flag(call, "channels_last", true);
  bool activates = ibx_attr_flag(call, "activation", false);
  int64_t groups = ibx_attr_int(call, "groups", 0);
  float epsilon = ibx_attr_float(call, "epsilon", 1e-5f);
  ibx_dtype dtype = ibx_dtype_of(call, x);
  if (!ibx_call_expect(call, ibx_rank(call, x) == 4, "X",
                       "needs 4 dimensions")) {
    return;
  }
  ibx_val gamma = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_F32);
  ibx_val beta = ibx_emit_cast(call, ibx_in(call, 2), IBX_DTYPE_F32);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  if (last) x = ibx_emit_channels_first(call, x);
  x = ibx_emit_group_norm(call, x, gamma, beta, groups, epsilon);
  if (call->failed) return;
  if (activates) x = ibx_emit_unary(call, IBX_TENSOR_silu, x);
  if (last) x = ibx_emit_channels_last(call, x);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

void ibx_import_op_group_norm(ibx_call *call) {
  norm_groups(call, ibx_in(call, 0));
}

// A skip without an extent of its own is the same for all places of an image.
static ibx_val spread_skip(ibx_call *call, ibx_val skip) {
  if (ibx_rank(call, skip) != 2) return skip;
  bool last = ibx_attr_flag(call, "channels_last", true);
  ibx_ints s = ibx_shape_of(call, skip);
  return ibx_emit_reshape(call, skip,
                          last ? IBX_INTS(s.at[0], 1, 1, s.at[1])
                               : IBX_INTS(s.at[0], s.at[1], 1, 1));
}

void ibx_import_op_skip_group_norm(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool last = ibx_attr_flag(call, "channels_last", true);
  ibx_val skip = spread_skip(call, ibx_in(call, 3));
  x = ibx_emit_binary(call, IBX_TENSOR_add, x, skip);
  if (ibx_has_in(call, 4)) {
    ibx_val bias = ibx_in(call, 4);
    if (!last) bias = ibx_emit_along(call, bias, 1, ibx_rank(call, x));
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, bias);
  }
  ibx_out(call, 1, x);
  norm_groups(call, x);
}
