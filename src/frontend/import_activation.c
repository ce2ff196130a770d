// SPDX-License-Identifier: Apache-2.0
//
// Imports activation functions. Comes in: a call. Goes out: the tensor operation
// of that name where there is one, else the formula of the standard.

#include "frontend/import.h"
#include "frontend/import_ops.h"

void ibx_import_op_gelu(ibx_call *call) {
  const char *form = ibx_attr_text(call, "approximate", "none");
  bool exact = form[0] == 'n';
  ibx_out(call, 0,
          ibx_emit_unary(call, exact ? IBX_TENSOR_gelu : IBX_TENSOR_gelu_tanh,
                         ibx_in(call, 0)));
}

// com.microsoft: a bias first, which FastGelu may lack.
static void biased(ibx_call *call, ibx_tensor_op op) {
  ibx_val x = ibx_in(call, 0);
  if (ibx_has_in(call, 1)) {
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, ibx_in(call, 1));
  }
  ibx_out(call, 0, ibx_emit_unary(call, op, x));
}

void ibx_import_op_fast_gelu(ibx_call *call) {
  biased(call, IBX_TENSOR_gelu_tanh);
}

void ibx_import_op_bias_gelu(ibx_call *call) { biased(call, IBX_TENSOR_gelu); }

static ibx_val emit_alpha(ibx_call *call, ibx_tensor_op op, ibx_val x,
                          float alpha) {
  ibx_params params = {.alpha = alpha};
  return ibx_emit_op(call, op, &params, &x, 1);
}

void ibx_import_op_leaky_relu(ibx_call *call) {
  float alpha = ibx_attr_float(call, "alpha", 0.01f);
  ibx_out(call, 0,
          emit_alpha(call, IBX_TENSOR_leaky_relu, ibx_in(call, 0), alpha));
}

void ibx_import_op_elu(ibx_call *call) {
  float alpha = ibx_attr_float(call, "alpha", 1.0f);
  ibx_out(call, 0, emit_alpha(call, IBX_TENSOR_elu, ibx_in(call, 0), alpha));
}

void ibx_import_op_selu(ibx_call *call) {
  float alpha = ibx_attr_float(call, "alpha", 1.67326319217681884765625f);
  float gamma = ibx_attr_float(call, "gamma", 1.05070102214813232421875f);
  ibx_val elu = emit_alpha(call, IBX_TENSOR_elu, ibx_in(call, 0), alpha);
  ibx_out(call, 0, ibx_emit_affine(call, elu, (double)gamma, 0));
}

// max(0, x) + min(0, alpha * (exp(x / alpha) - 1)), which is alpha * elu(x /
// alpha) where alpha is positive.
void ibx_import_op_celu(ibx_call *call) {
  double alpha = (double)ibx_attr_float(call, "alpha", 1.0f);
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val x = ibx_emit_wide(call, ibx_in(call, 0)), y;
  ibx_val scaled = ibx_emit_affine(call, x, 1 / alpha, 0);
  if (alpha > 0) {
    y = emit_alpha(call, IBX_TENSOR_elu, scaled, 1.0f);
    y = ibx_emit_affine(call, y, alpha, 0);
  } else {
    y = ibx_emit_unary(call, IBX_TENSOR_exp, scaled);
    y = ibx_emit_affine(call, y, alpha, -alpha);
    y = ibx_emit_binary(call, IBX_TENSOR_min, y, ibx_emit_like(call, y, 0));
    y = ibx_emit_binary(call, IBX_TENSOR_add, y,
                        ibx_emit_unary(call, IBX_TENSOR_relu, x));
  }
  ibx_out(call, 0, ibx_emit_cast(call, y, dtype));
}

void ibx_import_op_hard_sigmoid(ibx_call *call) {
  double alpha = (double)ibx_attr_float(call, "alpha", 0.2f);
  double beta = (double)ibx_attr_float(call, "beta", 0.5f);
  ibx_val line = ibx_emit_affine(call, ibx_in(call, 0), alpha, beta);
  ibx_out(call, 0, ibx_emit_clip(call, line, 0, 1));
}

void ibx_import_op_hard_swish(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_val line = ibx_emit_affine(call, x, 1.0 / 6, 0.5);
  ibx_val gate = ibx_emit_clip(call, line, 0, 1);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_mul, x, gate));
}

// x * sigmoid(alpha * x), which Swish of ai.onnx and QuickGelu both are.
static void import_swish(ibx_call *call, float absent) {
  ibx_val x = ibx_in(call, 0);
  double alpha = (double)ibx_attr_float(call, "alpha", absent);
  if (alpha == 1.0) {
    ibx_out(call, 0, ibx_emit_unary(call, IBX_TENSOR_silu, x));
    return;
  }
  ibx_val gate = ibx_emit_unary(call, IBX_TENSOR_sigmoid,
                                ibx_emit_affine(call, x, alpha, 0));
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_mul, x, gate));
}

void ibx_import_op_swish(ibx_call *call) { import_swish(call, 1.0f); }

void ibx_import_op_quick_gelu(ibx_call *call) { import_swish(call, 1.702f); }

void ibx_import_op_swiglu(ibx_call *call) {
  import_swish(call, 1.0f);
  ibx_out(call, 0,
          ibx_emit_binary(call, IBX_TENSOR_mul, call->out[0], ibx_in(call, 1)));
}

void ibx_import_op_softsign(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_val size =
      ibx_emit_affine(call, ibx_emit_unary(call, IBX_TENSOR_abs, x), 1, 1);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_div, x, size));
}

void ibx_import_op_prelu(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val below = ibx_emit_binary(call, IBX_TENSOR_less, x, zero);
  ibx_val slope = ibx_in(call, 1);
  bool is_per_channel = call->version < 7 && ibx_rank(call, slope) == 1 &&
                        ibx_dim(call, slope, 0) > 1;
  if (is_per_channel) slope = ibx_emit_along(call, slope, 1, ibx_rank(call, x));
  ibx_val scaled = ibx_emit_binary(call, IBX_TENSOR_mul, x, slope);
  ibx_out(call, 0, ibx_emit_select(call, below, scaled, x));
}

// The attribute is f32 whatever the type of x: a narrower one would move the
// limit.
void ibx_import_op_thresholded_relu(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  double alpha = (double)ibx_attr_any_float(call, "alpha", 1.0f);
  ibx_val wide = ibx_emit_wide(call, x);
  ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less,
                                  ibx_emit_like(call, wide, alpha), wide);
  ibx_out(call, 0, ibx_emit_select(call, above, x, ibx_emit_like(call, x, 0)));
}

// x + bias below -lambd, x - bias above lambd, 0 between.
// Integers are shrunk as floating numbers and cut off.
void ibx_import_op_shrink(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_dtype dtype = ibx_dtype_of(call, x);
  x = ibx_emit_wide(call, x);
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val bias =
      ibx_emit_like(call, x, (double)ibx_attr_float(call, "bias", 0));
  double lambd = (double)ibx_attr_float(call, "lambd", 0.5f);
  ibx_val low = ibx_emit_like(call, x, -lambd);
  ibx_val high = ibx_emit_like(call, x, lambd);
  ibx_val below = ibx_emit_binary(call, IBX_TENSOR_less, x, low);
  ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less, high, x);
  ibx_val raised = ibx_emit_binary(call, IBX_TENSOR_add, x, bias);
  ibx_val lowered = ibx_emit_binary(call, IBX_TENSOR_sub, x, bias);
  ibx_val upper = ibx_emit_select(call, above, lowered, zero);
  ibx_val all = ibx_emit_select(call, below, raised, upper);
  ibx_out(call, 0, ibx_emit_cast(call, all, dtype));
}
