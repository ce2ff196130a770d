// SPDX-License-Identifier: Apache-2.0
//
// Imports what com.microsoft has around LinearAttention: the gates that go into
// it, and the normalisation of what comes out. All of it is computed in fp32, as
// the decay is raised to a power again and again.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

// decay = decay_scale * softplus(a + dt_bias), beta = sigmoid(b)
void ibx_import_op_linear_attention_gate(ibx_call *call) {
  ibx_val a = ibx_in(call, 0), b = ibx_in(call, 3);
  ibx_dtype dtype = ibx_dtype_of(call, a);
  int64_t heads = ibx_dim(call, a, -1);
  bool fits = ibx_rank(call, a) >= 1;
  for (size_t i = 1; i < 3; i++) {
    fits = fits && ibx_rank(call, ibx_in(call, i)) == 1 &&
           ibx_dim(call, ibx_in(call, i), 0) == heads;
  }
  if (!ibx_call_expect(call, fits, "dt_bias",
                       "and decay_scale need a number for each head") ||
      !ibx_call_expect(call, b != IBX_NO_VALUE || !ibx_wants_out(call, 1), "b",
                       "is needed for the output beta")) {
    return;
  }
  a = ibx_emit_cast(call, a, IBX_DTYPE_F32);
  a = ibx_emit_binary(call, IBX_TENSOR_add, a, ibx_in(call, 1));
  a = ibx_emit_unary(call, IBX_TENSOR_softplus, a);
  a = ibx_emit_binary(call, IBX_TENSOR_mul, a, ibx_in(call, 2));
  ibx_out(call, 0, ibx_emit_cast(call, a, dtype));
  if (b == IBX_NO_VALUE) return;
  b = ibx_emit_unary(call, IBX_TENSOR_sigmoid,
                     ibx_emit_cast(call, b, IBX_DTYPE_F32));
  ibx_out(call, 1, ibx_emit_cast(call, b, dtype));
}

// x / sqrt(mean(x * x) + epsilon) * scale * activation(gate), over groups as long
// as the scale.
void ibx_import_op_gated_rms_norm(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), scale = ibx_in(call, 1), gate = ibx_in(call, 2);
  const char *name = ibx_attr_text(call, "activation", "silu");
  float epsilon = ibx_attr_float(call, "epsilon", 1e-5f);
  bool silu = strcmp(name, "silu") == 0 || strcmp(name, "swish") == 0;
  if (!silu && strcmp(name, "sigmoid") != 0) {
    ibx_call_refuse(call, "activation", "activation = '%s'", name);
  }
  ibx_ints shape = ibx_shape_of(call, x), split = shape;
  ibx_dtype dtype = ibx_dtype_of(call, x);
  int64_t width = ibx_dim(call, scale, 0);
  bool fits = ibx_rank(call, scale) == 1 && shape.len >= 1 && width >= 1 &&
              shape.len < IBX_MAX_RANK && shape.at[shape.len - 1] % width == 0;
  if (!ibx_call_expect(call, fits, "scale",
                       "does not divide the last dimension")) {
    return;
  }
  split.at[split.len - 1] /= width;
  split.at[split.len++] = width;
  x = ibx_emit_reshape(call, ibx_emit_cast(call, x, IBX_DTYPE_F32), split);
  x = ibx_emit_norm(call, IBX_TENSOR_rms_norm, x,
                    ibx_emit_cast(call, scale, IBX_DTYPE_F32), IBX_NO_VALUE,
                    split.len - 1, epsilon);
  x = ibx_emit_reshape(call, x, shape);
  gate = ibx_emit_unary(call, silu ? IBX_TENSOR_silu : IBX_TENSOR_sigmoid,
                        ibx_emit_cast(call, gate, IBX_DTYPE_F32));
  x = ibx_emit_binary(call, IBX_TENSOR_mul, x, gate);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}
