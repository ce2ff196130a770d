// SPDX-License-Identifier: Apache-2.0
//
// Imports the losses of classifiers. Comes in: scores [N, C, d1, ...], a class
// [N, d1, ...] for each position, perhaps a weight for each class. Goes out:
// the scores where a constant row of class numbers equals the target, summed
// over the classes. So a target that names no class costs 0, as ignore_index
// wants it, and no index can leave the tensor.

#include "frontend/import.h"
#include "frontend/import_ops.h"

typedef enum reduction { REDUCE_NONE, REDUCE_SUM, REDUCE_MEAN } reduction;

static reduction read_reduction(ibx_call *call) {
  static const char *const names[] = {"none", "sum", "mean"};
  size_t i;
  bool is_known = ibx_attr_choice(call, "reduction", "mean", names,
                                  IBX_COUNT_OF(names), &i);
  return is_known ? (reduction)i : REDUCE_NONE;
}

// Bools [N, C, d1, ...]: whether class c is the target of the position.
static ibx_val emit_hot(ibx_call *call, ibx_val x, ibx_val target) {
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_dtype dtype = ibx_dtype_of(call, target);
  shape.at[1] = 1;
  ibx_val classes = ibx_emit_along(
      call, ibx_emit_iota(call, ibx_dim(call, x, 1)), 1, ibx_rank(call, x));
  return ibx_emit_binary(call, IBX_TENSOR_equal,
                         ibx_emit_reshape(call, target, shape),
                         ibx_emit_cast(call, classes, dtype));
}

// The element of the target class, 0 where there is none.
static ibx_val emit_picked(ibx_call *call, ibx_val hot, ibx_val x) {
  ibx_val only = ibx_emit_select(call, hot, x, ibx_emit_like(call, x, 0));
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, only, IBX_INTS(1), false);
}

// Weights of the positions; IBX_NO_VALUE when all are 1.
static ibx_val emit_weights(ibx_call *call, ibx_val hot, ibx_val x) {
  ibx_val target = ibx_in(call, 1), weights = IBX_NO_VALUE;
  if (ibx_has_in(call, 2)) {
    ibx_val of_class =
        ibx_emit_along(call, ibx_in(call, 2), 1, ibx_rank(call, x));
    weights = emit_picked(call, hot, of_class);
  }
  if (!ibx_has_attr(call, "ignore_index")) return weights;
  int64_t ignored = ibx_attr_int(call, "ignore_index", 0);
  ibx_val number = ibx_emit_longs(call, (ibx_ints){0}, &ignored);
  number = ibx_emit_cast(call, number, ibx_dtype_of(call, target));
  ibx_val ignore = ibx_emit_binary(call, IBX_TENSOR_equal, target, number);
  if (weights == IBX_NO_VALUE) weights = ibx_emit_like(call, x, 1);
  return ibx_emit_select(call, ignore, ibx_emit_like(call, x, 0), weights);
}

static ibx_val emit_sum(ibx_call *call, ibx_val x) {
  ibx_ints axes = {.len = (uint8_t)ibx_rank(call, x)};
  for (uint8_t i = 0; i < axes.len; i++)
    axes.at[i] = i;
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, x, axes, false);
}

static bool shapes_fit(ibx_call *call, ibx_val x) {
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_ints own = ibx_shape_of(call, ibx_in(call, 1));
  bool fits = shape.len >= 2 && own.len + 1 == shape.len;
  for (uint8_t i = 0; fits && i < own.len; i++) {
    fits = own.at[i] == shape.at[i == 0 ? 0 : i + 1];
  }
  if (!ibx_call_expect(call, fits, "target", "does not fit the scores")) {
    return false;
  }
  if (!ibx_has_in(call, 2)) return true;
  ibx_val weight = ibx_in(call, 2);
  return ibx_call_expect(call,
                         ibx_rank(call, weight) == 1 &&
                             ibx_dim(call, weight, 0) == shape.at[1],
                         "weight", "needs one number for each class");
}

// A mean is one over the weights, not over the positions.
static void emit_loss(ibx_call *call, ibx_val x) {
  reduction how = read_reduction(call);
  if (call->failed || !shapes_fit(call, x)) return;
  ibx_val hot = emit_hot(call, x, ibx_in(call, 1));
  ibx_val loss =
      ibx_emit_unary(call, IBX_TENSOR_neg, emit_picked(call, hot, x));
  ibx_val weights = emit_weights(call, hot, x);
  double positions = (double)ibx_elements(ibx_type_of(call, loss));
  if (weights != IBX_NO_VALUE) {
    loss = ibx_emit_binary(call, IBX_TENSOR_mul, loss, weights);
  }
  if (how != REDUCE_NONE) loss = emit_sum(call, loss);
  if (how == REDUCE_MEAN) {
    ibx_val total = weights == IBX_NO_VALUE ? ibx_emit_like(call, x, positions)
                                            : emit_sum(call, weights);
    loss = ibx_emit_binary(call, IBX_TENSOR_div, loss, total);
  }
  ibx_out(call, 0, loss);
}

void ibx_import_op_negative_log_likelihood_loss(ibx_call *call) {
  emit_loss(call, ibx_in(call, 0));
}

void ibx_import_op_softmax_cross_entropy_loss(ibx_call *call) {
  ibx_val scores = ibx_in(call, 0);
  if (!ibx_call_expect(call, ibx_rank(call, scores) >= 2, "scores",
                       "has no classes")) {
    return;
  }
  ibx_val logs = ibx_emit_log_softmax(call, scores, 1);
  emit_loss(call, logs);
  ibx_out(call, 1, logs);
}
