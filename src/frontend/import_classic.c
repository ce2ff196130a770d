// SPDX-License-Identifier: Apache-2.0
//
// Imports linear models and what prepares their input. Comes in: attributes that
// are lists of numbers. Goes out: products, sums, comparisons and selections; of
// a classifier the labels, by a gather or, where they are texts, by the host.

#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <math.h>
#include <string.h>

// --- attributes --------------------------------------------------------------

const int64_t *ibx_attr_longs(ibx_call *call, const char *name,
                              size_t *out_len) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, INTS);
  *out_len = found ? found->n_ints : 0;
  return found ? found->ints : NULL;
}

static double *numbers_of_tensor(ibx_call *call, const Onnx__TensorProto *proto,
                                 size_t *out_len) {
  ibx_weight weight;
  ibx_import *import = call->import;
  if (!ibx_model_weight(import->model, proto, call->at.node, call->at,
                        import->sink, &import->scratch, &weight)) {
    call->failed = true;
    return NULL;
  }
  ibx_tensor tensor = {.type = weight.type, .data = ibx_lend(weight.data)};
  *out_len = (size_t)ibx_elements(&weight.type);
  double *at = ibx_arena_array(&import->scratch, *out_len, sizeof *at);
  for (size_t i = 0; i < *out_len; i++)
    at[i] = ibx_tensor_number(&tensor, i);
  return at;
}

double *ibx_attr_numbers(ibx_call *call, const char *list, const char *tensor,
                         size_t *out_len) {
  const Onnx__AttributeProto *floats =
      list ? IBX_ATTR(call, list, FLOATS) : NULL;
  const Onnx__AttributeProto *found =
      tensor ? IBX_ATTR(call, tensor, TENSOR) : NULL;
  *out_len = 0;
  if (found && found->t) return numbers_of_tensor(call, found->t, out_len);
  if (!floats) return NULL;
  *out_len = floats->n_floats;
  double *at = ibx_arena_array(&call->import->scratch, *out_len, sizeof *at);
  for (size_t i = 0; i < *out_len; i++)
    at[i] = (double)floats->floats[i];
  return at;
}

ibx_val ibx_rows_in(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  if (!ibx_call_expect(call, rank == 1 || rank == 2, "X",
                       "needs 1 or 2 dimensions")) {
    return x;
  }
  if (!ibx_is_float(ibx_dtype_of(call, x))) {
    x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  }
  if (rank == 2) return x;
  return ibx_emit_reshape(call, x, IBX_INTS(1, ibx_dim(call, x, 0)));
}

static ibx_val single_rows_in(ibx_call *call) {
  return ibx_emit_cast(call, ibx_rows_in(call), IBX_DTYPE_F32);
}

// --- scores ------------------------------------------------------------------

enum { NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO, PROBIT };

int64_t ibx_attr_post_transform(ibx_call *call) {
  static const char *const names[] = {"NONE", "SOFTMAX", "LOGISTIC",
                                      "SOFTMAX_ZERO", "PROBIT"};
  const char *text = ibx_attr_text(call, "post_transform", "NONE");
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    if (strcmp(names[i], text) == 0) return (int64_t)i;
  }
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "post_transform",
                "use a value that the operator declares",
                "'%s' is no transformation of scores", text);
  return NONE;
}

// Scores of 0 stay 0, and do not count in the sum of the others.
static ibx_val softmax_zero(ibx_call *call, ibx_val x) {
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val is_zero = ibx_emit_binary(call, IBX_TENSOR_less_equal,
                                    ibx_emit_unary(call, IBX_TENSOR_abs, x),
                                    ibx_emit_like(call, x, 1e-7));
  ibx_val peak =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_max, x, IBX_INTS(1), true);
  ibx_val power = ibx_emit_unary(
      call, IBX_TENSOR_exp, ibx_emit_binary(call, IBX_TENSOR_sub, x, peak));
  power = ibx_emit_select(call, is_zero, zero, power);
  ibx_val sum =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, power, IBX_INTS(1), true);
  return ibx_emit_binary(call, IBX_TENSOR_div, power, sum);
}

// sqrt(2) erfinv(2 x - 1), by Winitzki's formula, which ONNX Runtime has too:
// erfinv(y)^2 = sqrt(v^2 - l / a) - v, l = log(1 - y^2), v = 2 / (pi a) + l / 2.
static ibx_val probit(ibx_call *call, ibx_val x) {
  const double a = 0.147, pi = 3.14159;
  ibx_val y = ibx_emit_affine(call, x, 2, -1);
  ibx_val log = ibx_emit_unary(
      call, IBX_TENSOR_log,
      ibx_emit_affine(call, ibx_emit_binary(call, IBX_TENSOR_mul, y, y), -1,
                      1));
  ibx_val v = ibx_emit_affine(call, log, 0.5, 2 / (pi * a));
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_sub,
                                   ibx_emit_binary(call, IBX_TENSOR_mul, v, v),
                                   ibx_emit_affine(call, log, 1 / a, 0));
  ibx_val root = ibx_emit_unary(call, IBX_TENSOR_sqrt, square);
  root = ibx_emit_unary(call, IBX_TENSOR_sqrt,
                        ibx_emit_binary(call, IBX_TENSOR_sub, root, v));
  root = ibx_emit_affine(call, root, 1.41421356, 0);
  ibx_val is_low =
      ibx_emit_binary(call, IBX_TENSOR_less, y, ibx_emit_like(call, y, 0));
  return ibx_emit_select(call, is_low, ibx_emit_affine(call, root, -1, 0),
                         root);
}

ibx_val ibx_emit_post_transform(ibx_call *call, ibx_val scores, int64_t mode) {
  switch (mode) {
  case NONE: return scores;
  case SOFTMAX: return ibx_emit_softmax(call, scores, 1);
  case LOGISTIC: return ibx_emit_unary(call, IBX_TENSOR_sigmoid, scores);
  case SOFTMAX_ZERO: return softmax_zero(call, scores);
  case PROBIT: return probit(call, scores);
  default: break;
  }
  ibx_call_expect(call, false, "post_transform", "is not between 0 and 4");
  return scores;
}

// --- labels ------------------------------------------------------------------

int64_t ibx_label_count(ibx_call *call, const char *texts, const char *ints) {
  const Onnx__AttributeProto *text = IBX_ATTR(call, texts, STRINGS);
  size_t len;
  ibx_attr_longs(call, ints, &len);
  int64_t count =
      text && text->n_strings ? (int64_t)text->n_strings : (int64_t)len;
  if (count != 0) return count;
  ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, ints, "add the labels",
                "%s needs its labels, as %s or %s", call->at.op, texts, ints);
  return 0;
}

ibx_val ibx_emit_labels(ibx_call *call, const char *texts, const char *ints,
                        ibx_val number) {
  const Onnx__AttributeProto *text = IBX_ATTR(call, texts, STRINGS);
  size_t len;
  const int64_t *at = ibx_attr_longs(call, ints, &len);
  if (text && text->n_strings != 0) {
    ibx_val operands[] = {number, ibx_attr_texts(call, texts, IBX_NO_VALUE)};
    ibx_type type = ibx_make_type(IBX_DTYPE_STRING, ibx_shape_of(call, number));
    return ibx_emit_host_value(call, "take", operands, 2, type);
  }
  int64_t *labels = ibx_arena_array(call->import->arena, len, sizeof *labels);
  bool is_counting = true;
  for (size_t i = 0; i < len; i++) {
    labels[i] = at[i];
    is_counting &= at[i] == (int64_t)i;
  }
  if (is_counting) return number;
  ibx_type type = ibx_make_type(IBX_DTYPE_I64, IBX_INTS((int64_t)len));
  return ibx_emit_named(call, number, ibx_emit_constant(call, type, labels));
}

ibx_val ibx_emit_best(ibx_call *call, ibx_val scores) {
  ibx_params params = {.axis = 1, .keepdims = false};
  return ibx_emit_op(call, IBX_TENSOR_argmax, &params, &scores, 1);
}

// --- linear models -----------------------------------------------------------

// X W' + b, where W has a row for each of `targets`.
static ibx_val linear(ibx_call *call, ibx_val x, int64_t targets) {
  size_t weight_count, base_count;
  double *weights = ibx_attr_numbers(call, "coefficients", NULL, &weight_count);
  double *base = ibx_attr_numbers(call, "intercepts", NULL, &base_count);
  int64_t features = ibx_dim(call, x, 1), wanted;
  bool fits = targets > 0 && ibx_mul_extent(features, targets, &wanted) &&
              (int64_t)weight_count == wanted &&
              (base_count == 0 || (int64_t)base_count == targets);
  if (!ibx_call_expect(call, fits, "coefficients",
                       "needs a number for each feature and target, and an "
                       "intercept for each target or none")) {
    return x;
  }
  ibx_val w = ibx_emit_floats(call, IBX_INTS(targets, features), weights);
  ibx_val y = ibx_emit_matmul(call, x, ibx_emit_swap(call, w, 0, 1));
  if (base_count == 0) return y;
  return ibx_emit_binary(call, IBX_TENSOR_add, y,
                         ibx_emit_floats(call, IBX_INTS(targets), base));
}

void ibx_import_op_linear_regressor(ibx_call *call) {
  int64_t post = ibx_attr_post_transform(call);
  ibx_val y =
      linear(call, single_rows_in(call), ibx_attr_int(call, "targets", 1));
  ibx_out(call, 0, ibx_emit_post_transform(call, y, post));
}

void ibx_import_op_linear_classifier(ibx_call *call) {
  static const char *const texts = "classlabels_strings";
  static const char *const ints = "classlabels_ints";
  int64_t post = ibx_attr_post_transform(call);
  int64_t classes = ibx_label_count(call, texts, ints);
  size_t weight_count;
  ibx_attr_ignore(call, "multi_class");
  ibx_attr_numbers(call, "coefficients", NULL, &weight_count);
  ibx_val x = single_rows_in(call), number;
  int64_t features = ibx_dim(call, x, 1);
  if (call->failed) return;
  bool is_one = classes == 2 && (int64_t)weight_count == features;
  ibx_val scores = linear(call, x, is_one ? 1 : classes);
  if (is_one) {
    ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less,
                                    ibx_emit_like(call, scores, 0), scores);
    number = ibx_emit_reshape(call, ibx_emit_cast(call, above, IBX_DTYPE_I64),
                              IBX_INTS(ibx_dim(call, scores, 0)));
    // One score stands for the second class, the other one is what is left.
    // There is nothing that SOFTMAX could compare it with.
    bool is_single = post == LOGISTIC || post == PROBIT;
    scores = ibx_emit_post_transform(call, scores, is_single ? post : NONE);
    ibx_val both[] = {ibx_emit_affine(call, scores, -1, 1), scores};
    scores = ibx_emit_concat(call, both, 2, 1);
  } else {
    number = ibx_emit_best(call, scores);
    scores = ibx_emit_post_transform(call, scores, post);
  }
  ibx_out(call, 0, ibx_emit_labels(call, texts, ints, number));
  ibx_out(call, 1, scores);
}

// --- preparation ---------------------------------------------------------------

// A list of one number, or of one for each feature, along the last dimension.
static ibx_val along_features(ibx_call *call, const char *name, ibx_val x,
                              double absent) {
  size_t len;
  double *at = ibx_attr_numbers(call, name, NULL, &len);
  if (len == 0) return ibx_emit_scalar(call, IBX_DTYPE_F32, absent);
  bool fits = len == 1 || (int64_t)len == ibx_dim(call, x, -1);
  if (!ibx_call_expect(call, fits, name,
                       "needs one number, or one for each feature")) {
    return x;
  }
  return ibx_emit_floats(call, IBX_INTS((int64_t)len), at);
}

void ibx_import_op_scaler(ibx_call *call) {
  ibx_val x = ibx_emit_cast(call, ibx_in(call, 0), IBX_DTYPE_F32);
  ibx_val offset = along_features(call, "offset", x, 0);
  ibx_val scale = along_features(call, "scale", x, 1);
  x = ibx_emit_binary(call, IBX_TENSOR_sub, x, offset);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_mul, x, scale));
}

void ibx_import_op_normalizer(ibx_call *call) {
  const char *norm = ibx_attr_text(call, "norm", "MAX");
  ibx_val x = ibx_emit_cast(call, ibx_in(call, 0), IBX_DTYPE_F32), sum;
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  int64_t last = ibx_rank(call, x) - 1;
  bool is_known = strcmp(norm, "MAX") == 0 || strcmp(norm, "L1") == 0 ||
                  strcmp(norm, "L2") == 0;
  if (!ibx_call_expect(call, is_known, "norm", "is none of MAX, L1, L2") ||
      !ibx_call_expect(call, last >= 0, "X", "is a scalar")) {
    return;
  }
  if (strcmp(norm, "MAX") == 0) {
    sum = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, x, IBX_INTS(last), true);
  } else if (strcmp(norm, "L1") == 0) {
    sum = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, size, IBX_INTS(last),
                          true);
  } else {
    ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
    sum = ibx_emit_unary(call, IBX_TENSOR_sqrt,
                         ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, square,
                                         IBX_INTS(last), true));
  }
  ibx_val none =
      ibx_emit_binary(call, IBX_TENSOR_equal, sum, ibx_emit_like(call, sum, 0));
  sum = ibx_emit_select(call, none, ibx_emit_like(call, sum, 1), sum);
  ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_div, x, sum));
}

void ibx_import_op_imputer(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), imputed, replaced, is_replaced;
  ibx_dtype dtype = ibx_dtype_of(call, x);
  double number = (double)ibx_attr_any_float(call, "replaced_value_float", 0);
  int64_t integer = ibx_attr_int(call, "replaced_value_int64", 0);
  size_t len;
  const int64_t *ints = ibx_attr_longs(call, "imputed_value_int64s", &len);
  if (ibx_is_float(dtype)) {
    imputed = along_features(call, "imputed_value_floats", x, 0);
    replaced = ibx_emit_scalar(call, dtype, number);
    is_replaced = isnan(number)
                      ? ibx_emit_unary(call, IBX_TENSOR_is_nan, x)
                      : ibx_emit_binary(call, IBX_TENSOR_equal, x, replaced);
  } else {
    bool fits = len == 1 || (int64_t)len == ibx_dim(call, x, -1);
    if (!ibx_call_expect(call, fits, "imputed_value_int64s",
                         "needs one number, or one for each feature")) {
      return;
    }
    int64_t *at = ibx_arena_array(call->import->arena, len, sizeof *at);
    memcpy(at, ints, len * sizeof *at);
    ibx_type type = ibx_make_type(IBX_DTYPE_I64, IBX_INTS((int64_t)len));
    imputed = ibx_emit_constant(call, type, at);
    replaced = ibx_emit_longs(call, (ibx_ints){0}, &integer);
    is_replaced = ibx_emit_binary(call, IBX_TENSOR_equal, x,
                                  ibx_emit_cast(call, replaced, dtype));
  }
  ibx_attr_ignore(call, "imputed_value_floats imputed_value_int64s");
  imputed = ibx_emit_cast(call, imputed, dtype);
  ibx_out(call, 0, ibx_emit_select(call, is_replaced, imputed, x));
}

// The first `wanted` columns; zeros behind them where there are fewer.
static ibx_val with_columns(ibx_call *call, ibx_val x, int64_t wanted) {
  int64_t columns = ibx_dim(call, x, 1);
  if (!ibx_call_expect(call, wanted >= 0 && wanted <= INT32_MAX,
                       "inputdimensions", "has no number of columns")) {
    return x;
  }
  if (wanted <= columns) return ibx_emit_slice(call, x, 1, 0, wanted, 1);
  return ibx_emit_pad(call, x, IBX_INTS(0, 0), IBX_INTS(0, wanted - columns),
                      0.0f);
}

void ibx_import_op_feature_vectorizer(ibx_call *call) {
  ibx_val *parts =
      IBX_ARENA_ARRAY(&call->import->scratch, call->in_count, ibx_val);
  size_t len;
  const int64_t *wanted = ibx_attr_longs(call, "inputdimensions", &len);
  if (!ibx_call_expect(call, len == 0 || len == call->in_count,
                       "inputdimensions", "needs a number for each input")) {
    return;
  }
  for (size_t i = 0; i < call->in_count; i++) {
    ibx_val x = ibx_emit_cast(call, ibx_in(call, i), IBX_DTYPE_F32);
    int64_t rank = ibx_rank(call, x);
    if (!ibx_call_expect(call, rank == 1 || rank == 2, "X",
                         "needs 1 or 2 dimensions")) {
      return;
    }
    parts[i] =
        rank == 2 ? x
                  : ibx_emit_reshape(call, x, IBX_INTS(1, ibx_dim(call, x, 0)));
    if (len != 0) parts[i] = with_columns(call, parts[i], wanted[i]);
  }
  if (call->failed) return;
  ibx_out(call, 0, ibx_emit_concat(call, parts, call->in_count, 1));
}

// --- categories ----------------------------------------------------------------

static ibx_val equal_texts(ibx_call *call, ibx_val x, ibx_ints wide) {
  ibx_val operands[] = {ibx_emit_text_reshape(call, x, wide),
                        ibx_attr_texts(call, "cats_strings", IBX_NO_VALUE)};
  wide.at[wide.len - 1] = ibx_dim(call, operands[1], 0);
  return ibx_emit_host_value(call, "text_equal", operands, 2,
                             ibx_make_type(IBX_DTYPE_BOOL, wide));
}

// A value that is no category gives zeros, also where `zeros` is 0 and another
// implementation would stop.
void ibx_import_op_one_hot_encoder(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), equal;
  ibx_ints wide = ibx_shape_of(call, x);
  size_t len;
  const int64_t *ints = ibx_attr_longs(call, "cats_int64s", &len);
  const Onnx__AttributeProto *texts = IBX_ATTR(call, "cats_strings", STRINGS);
  bool is_text = ibx_is_text(call, x);
  ibx_attr_ignore(call, "zeros");
  if (!ibx_call_expect(call, wide.len < IBX_MAX_RANK, "X",
                       "has 8 dimensions, the result would have 9") ||
      !ibx_call_expect(call, is_text ? texts && texts->n_strings : len != 0,
                       "cats_int64s", "needs categories of the input's type")) {
    return;
  }
  if (is_text && ibx_is_open(ibx_type_of(call, x))) {
    ibx_refuse_open(call, 0); // the device makes numbers of the comparison
    return;
  }
  wide.at[wide.len++] = 1;
  if (is_text) {
    equal = equal_texts(call, x, wide);
  } else {
    int64_t *at = ibx_arena_array(call->import->arena, len, sizeof *at);
    memcpy(at, ints, len * sizeof *at);
    ibx_type type = ibx_make_type(IBX_DTYPE_I64, IBX_INTS((int64_t)len));
    x = ibx_emit_reshape(call, ibx_emit_cast(call, x, IBX_DTYPE_I64), wide);
    equal = ibx_emit_binary(call, IBX_TENSOR_equal, x,
                            ibx_emit_constant(call, type, at));
  }
  ibx_out(call, 0, ibx_emit_cast(call, equal, IBX_DTYPE_F32));
}
