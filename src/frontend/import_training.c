// SPDX-License-Identifier: Apache-2.0
//
// Imports the optimisers of ai.onnx.preview.training. Comes in: a learning rate
// R, a number of updates T, then for each tensor its value X, its gradient G
// and what the optimiser remembers of it: all values, then all gradients, and
// so on. Goes out: the formulas of the standard, in the same order.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <string.h>

static ibx_val square(ibx_call *call, ibx_val x) {
  return ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
}

// The tensors of one call, of which each has `kinds` inputs.
typedef struct tensors {
  size_t count, kinds;
} tensors;

static bool read_tensors(ibx_call *call, size_t kinds, tensors *out) {
  size_t inputs = call->in_count - 2;
  *out = (tensors){.count = inputs / kinds, .kinds = kinds};
  bool fits = inputs % kinds == 0 && inputs != 0 &&
              call->out_count == out->count * (kinds - 1);
  for (size_t i = 0; fits && i < call->in_count; i++)
    fits = ibx_has_in(call, i);
  return ibx_call_expect(call, fits, "inputs",
                         "do not make up the same number of each kind");
}

static ibx_val input_of(ibx_call *call, const tensors *t, size_t kind,
                        size_t tensor) {
  return ibx_in(call, 2 + kind * t->count + tensor);
}

// R as a number of the tensors' type.
static ibx_val rate_for(ibx_call *call, ibx_val rate, ibx_val like) {
  rate = ibx_emit_reshape(call, rate, (ibx_ints){0});
  return ibx_emit_cast(call, rate, ibx_dtype_of(call, like));
}

// The gradient with that of norm / 2 * |X|^2.
static ibx_val regularise(ibx_call *call, double norm, ibx_val x, ibx_val g) {
  if (norm == 0) return g;
  return ibx_emit_binary(call, IBX_TENSOR_add,
                         ibx_emit_affine(call, x, norm, 0), g);
}

// Whether there was an update before.
static ibx_val has_history(ibx_call *call) {
  ibx_val updates = ibx_emit_reshape(call, ibx_in(call, 1), (ibx_ints){0});
  return ibx_emit_binary(call, IBX_TENSOR_less, ibx_emit_like(call, updates, 0),
                         updates);
}

static ibx_val updates_as_float(ibx_call *call) {
  ibx_val updates = ibx_emit_reshape(call, ibx_in(call, 1), (ibx_ints){0});
  return ibx_emit_cast(call, updates, IBX_DTYPE_F32);
}

void ibx_import_op_adagrad(ibx_call *call) {
  double norm = (double)ibx_attr_float(call, "norm_coefficient", 0);
  double decay = (double)ibx_attr_float(call, "decay_factor", 0);
  double epsilon = (double)ibx_attr_float(call, "epsilon", 1e-6f);
  tensors t;
  if (!read_tensors(call, 3, &t)) return;
  ibx_val slower = ibx_emit_affine(call, updates_as_float(call), decay, 1);
  for (size_t i = 0; i < t.count && !call->failed; i++) {
    ibx_val x = input_of(call, &t, 0, i);
    ibx_val g = regularise(call, norm, x, input_of(call, &t, 1, i));
    ibx_val sum = ibx_emit_binary(call, IBX_TENSOR_add,
                                  input_of(call, &t, 2, i), square(call, g));
    ibx_val rate = ibx_emit_binary(call, IBX_TENSOR_div,
                                   rate_for(call, ibx_in(call, 0), x),
                                   rate_for(call, slower, x));
    ibx_val step = ibx_emit_binary(
        call, IBX_TENSOR_div, ibx_emit_binary(call, IBX_TENSOR_mul, rate, g),
        ibx_emit_affine(call, ibx_emit_unary(call, IBX_TENSOR_sqrt, sum), 1,
                        epsilon));
    ibx_out(call, i, ibx_emit_binary(call, IBX_TENSOR_sub, x, step));
    ibx_out(call, t.count + i, sum);
  }
}

// 1 - base^T
static ibx_val bias_of(ibx_call *call, double base) {
  ibx_val updates = updates_as_float(call);
  ibx_val power = ibx_emit_binary(call, IBX_TENSOR_pow,
                                  ibx_emit_like(call, updates, base), updates);
  return ibx_emit_affine(call, power, -1, 1);
}

// What makes up for the moments that begin at 0; nothing at the first update.
static ibx_val adam_correction(ibx_call *call, double alpha, double beta) {
  ibx_val history = has_history(call);
  ibx_val one = ibx_emit_scalar(call, IBX_DTYPE_F32, 1);
  ibx_val first = ibx_emit_select(call, history, bias_of(call, alpha), one);
  ibx_val second = ibx_emit_select(call, history, bias_of(call, beta), one);
  second = ibx_emit_unary(call, IBX_TENSOR_sqrt, second);
  return ibx_emit_binary(call, IBX_TENSOR_div, second, first);
}

// share * old + (1 - share) * new
static ibx_val average(ibx_call *call, double share, ibx_val old, ibx_val new) {
  return ibx_emit_binary(call, IBX_TENSOR_add,
                         ibx_emit_affine(call, old, share, 0),
                         ibx_emit_affine(call, new, 1 - share, 0));
}

void ibx_import_op_adam(ibx_call *call) {
  double norm = (double)ibx_attr_float(call, "norm_coefficient", 0);
  double post = (double)ibx_attr_float(call, "norm_coefficient_post", 0);
  double epsilon = (double)ibx_attr_float(call, "epsilon", 1e-6f);
  double alpha = (double)ibx_attr_float(call, "alpha", 0.9f);
  double beta = (double)ibx_attr_float(call, "beta", 0.999f);
  tensors t;
  if (!read_tensors(call, 4, &t)) return;
  ibx_val correction = adam_correction(call, alpha, beta);
  for (size_t i = 0; i < t.count && !call->failed; i++) {
    ibx_val x = input_of(call, &t, 0, i);
    ibx_val g = regularise(call, norm, x, input_of(call, &t, 1, i));
    ibx_val v = average(call, alpha, input_of(call, &t, 2, i), g);
    ibx_val h = average(call, beta, input_of(call, &t, 3, i), square(call, g));
    ibx_val rate = ibx_emit_binary(call, IBX_TENSOR_mul,
                                   rate_for(call, ibx_in(call, 0), x),
                                   rate_for(call, correction, x));
    ibx_val step = ibx_emit_binary(
        call, IBX_TENSOR_div, ibx_emit_binary(call, IBX_TENSOR_mul, rate, v),
        ibx_emit_affine(call, ibx_emit_unary(call, IBX_TENSOR_sqrt, h), 1,
                        epsilon));
    x = ibx_emit_binary(call, IBX_TENSOR_sub, x, step);
    ibx_out(call, i, ibx_emit_affine(call, x, 1 - post, 0));
    ibx_out(call, t.count + i, v);
    ibx_out(call, 2 * t.count + i, h);
  }
}

void ibx_import_op_momentum(ibx_call *call) {
  double norm = (double)ibx_attr_float(call, "norm_coefficient", 0);
  double alpha = (double)ibx_attr_float(call, "alpha", 0);
  double beta = (double)ibx_attr_float(call, "beta", 0);
  const char *mode = ibx_attr_text(call, "mode", "");
  bool nesterov = strcmp(mode, "nesterov") == 0;
  tensors t;
  if (!nesterov && strcmp(mode, "standard") != 0) {
    ibx_call_refuse(call, "mode", "mode = '%s'", mode);
  }
  if (call->failed || !read_tensors(call, 3, &t)) return;
  ibx_val history = has_history(call);
  for (size_t i = 0; i < t.count && !call->failed; i++) {
    ibx_val x = input_of(call, &t, 0, i);
    ibx_val g = regularise(call, norm, x, input_of(call, &t, 1, i));
    ibx_val share = ibx_emit_select(call, history, ibx_emit_like(call, x, beta),
                                    ibx_emit_like(call, x, 1));
    ibx_val v = ibx_emit_affine(call, input_of(call, &t, 2, i), alpha, 0);
    v = ibx_emit_binary(call, IBX_TENSOR_add, v,
                        ibx_emit_binary(call, IBX_TENSOR_mul, share, g));
    ibx_val way = v;
    if (nesterov) {
      way = ibx_emit_binary(call, IBX_TENSOR_add, g,
                            ibx_emit_affine(call, v, alpha, 0));
    }
    way = ibx_emit_binary(call, IBX_TENSOR_mul,
                          rate_for(call, ibx_in(call, 0), x), way);
    ibx_out(call, i, ibx_emit_binary(call, IBX_TENSOR_sub, x, way));
    ibx_out(call, t.count + i, v);
  }
}
