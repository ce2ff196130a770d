// SPDX-License-Identifier: Apache-2.0
//
// Reductions, running sums, maxima and normalisations against their definition
// over random shapes and axes, for every dtype.

#include "support/tensors.h"

enum { ROUNDS = 60 };

static const ibx_tensor_op reductions[] = {
    IBX_TENSOR_reduce_sum, IBX_TENSOR_reduce_mean, IBX_TENSOR_reduce_max,
    IBX_TENSOR_reduce_min, IBX_TENSOR_reduce_prod};

static ibx_params random_axes(uint64_t *seed, size_t rank) {
  ibx_params params = {.keepdims = (int64_t)random_below(seed, 2)};
  for (size_t d = 0; d < rank; d++) {
    if (random_below(seed, 2)) params.axes.at[params.axes.len++] = (int64_t)d;
  }
  return params;
}

static bool is_reduced(const ibx_params *params, size_t dim) {
  for (size_t i = 0; i < params->axes.len; i++) {
    if (params->axes.at[i] == (int64_t)dim) return true;
  }
  return false;
}

// The result's element that operand element `index` goes into.
static size_t target_of(const ibx_type *type, const ibx_params *params,
                        size_t index) {
  int64_t at[IBX_MAX_RANK];
  size_t target = 0;
  split_index(type, index, at);
  for (size_t d = 0; d < type->rank; d++) {
    if (is_reduced(params, d)) continue;
    target = target * (size_t)type->dims[d] + (size_t)at[d];
  }
  return target;
}

static void check_reals(ibx_tensor_op op, ibx_dtype dtype, uint64_t *seed) {
  ibx_type type = random_type(seed, dtype, 0, 5, 5);
  ibx_params params = random_axes(seed, type.rank);
  ibx_tensor x = random_tensor(seed, type, 0.5, 1.5);
  ibx_tensor y = evaluate(op, &params, &x, 1);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    double sum = 0, product = 1, most = -1e9, least = 1e9, count = 0;
    for (size_t k = 0; k < count_of(&type); k++) {
      if (target_of(&type, &params, k) != i) continue;
      double value = real_at(&x, k);
      count++;
      sum += value;
      product *= value;
      most = fmax(most, value);
      least = fmin(least, value);
    }
    const double expected[] = {sum, sum / count, most, least, product};
    for (size_t k = 0; k < IBX_COUNT_OF(reductions); k++) {
      if (op != reductions[k]) continue;
      assert_rounded(dtype, real_at(&y, i), expected[k],
                     fabs(expected[k]) * 1e-12);
    }
  }
  free_tensor(&x);
  free_tensor(&y);
}

__extension__ typedef __int128 wide;

static wide wide_at(const ibx_tensor *tensor, size_t index) {
  int64_t value = int_at(tensor, index);
  bool is_u64 = tensor->type.dtype == IBX_DTYPE_U64;
  return is_u64 ? (wide)(uint64_t)value : (wide)value;
}

static void check_integers(ibx_tensor_op op, ibx_dtype dtype, uint64_t *seed) {
  ibx_type type = random_type(seed, dtype, 0, 5, 5);
  ibx_params params = random_axes(seed, type.rank);
  ibx_tensor x = random_tensor(seed, type, 0, 0);
  ibx_tensor y = evaluate(op, &params, &x, 1);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    wide most = -((wide)1 << 64), least = (wide)1 << 64;
    uint64_t sum = 0, product = 1, count = 0;
    for (size_t k = 0; k < count_of(&type); k++) {
      if (target_of(&type, &params, k) != i) continue;
      wide value = wide_at(&x, k);
      count++;
      sum += (uint64_t)value;
      product *= (uint64_t)value;
      if (value > most) most = value;
      if (value < least) least = value;
    }
    // A mean is that of the sum in 64 bits.
    uint64_t mean = dtype == IBX_DTYPE_U64
                        ? sum / count
                        : (uint64_t)((int64_t)sum / (int64_t)count);
    const uint64_t expected[] = {sum, mean, (uint64_t)most, (uint64_t)least,
                                 product};
    for (size_t k = 0; k < IBX_COUNT_OF(reductions); k++) {
      if (op != reductions[k]) continue;
      assert_int_equal(int_at(&y, i), wrapped(dtype, expected[k]));
    }
  }
  free_tensor(&x);
  free_tensor(&y);
}

static void reductions_follow_their_definition(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t i = 0; i < IBX_COUNT_OF(reductions); i++) {
    for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
      if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
      bool is_extremum = reductions[i] == IBX_TENSOR_reduce_max ||
                         reductions[i] == IBX_TENSOR_reduce_min;
      if (dtype == IBX_DTYPE_BOOL && !is_extremum) continue;
      for (int round = 0; round < ROUNDS / 4; round++) {
        if (is_float((ibx_dtype)dtype)) {
          check_reals(reductions[i], (ibx_dtype)dtype, &seed);
        } else {
          check_integers(reductions[i], (ibx_dtype)dtype, &seed);
        }
      }
    }
  }
}

static void nothing_reduces_to_the_neutral_element(void **state) {
  (void)state;
  ibx_type type = {.rank = 2, .dtype = IBX_DTYPE_F32, .dims = {2, 0}};
  ibx_params params = {.axes = {.len = 1, .at = {1}}};
  const double expected[] = {0, NAN, -INFINITY, INFINITY, 1};
  ibx_tensor x = make_tensor(type);
  for (size_t i = 0; i < IBX_COUNT_OF(reductions); i++) {
    ibx_tensor y = evaluate(reductions[i], &params, &x, 1);
    double got = real_at(&y, 1);
    assert_true(isnan(expected[i]) ? isnan(got) : got == expected[i]);
    free_tensor(&y);
  }
  free_tensor(&x);
  type.dtype = IBX_DTYPE_I8;
  x = make_tensor(type);
  const int64_t integers[] = {0, 0, -128, 127, 1};
  for (size_t i = 0; i < IBX_COUNT_OF(reductions); i++) {
    ibx_tensor y = evaluate(reductions[i], &params, &x, 1);
    assert_int_equal(int_at(&y, 0), integers[i]);
    free_tensor(&y);
  }
  free_tensor(&x);
}

static void maxima_keep_nan(void **state) {
  (void)state;
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_F32, .dims = {5}};
  ibx_params params = {.axes = {.len = 1}};
  ibx_tensor x = make_tensor(type);
  set_real(&x, 2, NAN);
  set_real(&x, 4, 9);
  ibx_tensor most = evaluate(IBX_TENSOR_reduce_max, &params, &x, 1);
  ibx_tensor least = evaluate(IBX_TENSOR_reduce_min, &params, &x, 1);
  ibx_tensor where = evaluate(IBX_TENSOR_argmax, &params, &x, 1);
  assert_true(isnan(real_at(&most, 0)) && isnan(real_at(&least, 0)));
  assert_int_equal(int_at(&where, 0), 2);
  free_tensor(&x);
  free_tensor(&most);
  free_tensor(&least);
  free_tensor(&where);
}

// A tensor as [outer, extent, inner]: element k of lane i.
static size_t lane_at(const ibx_type *type, size_t axis, size_t i, size_t k) {
  size_t inner = 1, extent = (size_t)type->dims[axis];
  for (size_t d = axis + 1; d < type->rank; d++) {
    inner *= (size_t)type->dims[d];
  }
  return (i / inner * extent + k) * inner + i % inner;
}

static void argmax_is_the_first_largest(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (int round = 0; round < ROUNDS * 5; round++) {
    ibx_dtype dtype = (ibx_dtype)(1 + random_below(&seed, IBX_DTYPE_COUNT - 1));
    if (ibx_dtype_is_packed(dtype)) continue;
    ibx_type type = random_type(&seed, dtype, 1, 4, 6);
    size_t axis = random_below(&seed, type.rank);
    ibx_params params = {.axis = (int64_t)axis};
    ibx_tensor x = random_tensor(&seed, type, -1, 1);
    ibx_tensor y = evaluate(IBX_TENSOR_argmax, &params, &x, 1);
    for (size_t i = 0; i < count_of(&y.type); i++) {
      size_t best = lane_at(&type, axis, i, (size_t)int_at(&y, i));
      for (size_t k = 0; k < (size_t)type.dims[axis]; k++) {
        size_t at = lane_at(&type, axis, i, k);
        bool is_before = k < (size_t)int_at(&y, i);
        bool is_larger =
            is_float(dtype)
                ? real_at(&x, at) > real_at(&x, best) ||
                      (is_before && real_at(&x, at) == real_at(&x, best))
                : wide_at(&x, at) > wide_at(&x, best) ||
                      (is_before && wide_at(&x, at) == wide_at(&x, best));
        assert_false(is_larger);
      }
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

// How many elements of the lane stand before element `place` in the order.
static size_t standing_of(const ibx_tensor *x, size_t axis, size_t lane,
                          size_t place, bool largest) {
  size_t before = 0, at = lane_at(&x->type, axis, lane, place);
  for (size_t k = 0; k < (size_t)x->type.dims[axis]; k++) {
    size_t other = lane_at(&x->type, axis, lane, k);
    bool is_real = is_float(x->type.dtype);
    bool is_more = is_real ? real_at(x, other) > real_at(x, at)
                           : wide_at(x, other) > wide_at(x, at);
    bool is_less = is_real ? real_at(x, other) < real_at(x, at)
                           : wide_at(x, other) < wide_at(x, at);
    before += largest ? is_more : is_less;
    before += !is_more && !is_less && k < place;
  }
  return before;
}

static void top_is_sorted_and_stable(void **state) {
  (void)state;
  uint64_t seed = 9;
  for (int round = 0; round < ROUNDS * 5; round++) {
    ibx_dtype dtype = (ibx_dtype)(1 + random_below(&seed, IBX_DTYPE_COUNT - 1));
    if (ibx_dtype_is_packed(dtype)) continue;
    ibx_type type = random_type(&seed, dtype, 1, 4, 6);
    size_t axis = random_below(&seed, type.rank);
    size_t extent = (size_t)type.dims[axis];
    ibx_params params = {.axis = (int64_t)axis,
                         .count = (int64_t)random_below(&seed, extent + 1),
                         .largest = (int64_t)random_below(&seed, 2),
                         .dtype = IBX_DTYPE_I64};
    ibx_tensor x = random_tensor(&seed, type, -2, 2);
    ibx_tensor y = evaluate(IBX_TENSOR_top, &params, &x, 1);
    ibx_tensor at = evaluate(IBX_TENSOR_top_index, &params, &x, 1);
    size_t kept = (size_t)params.count;
    size_t lanes = kept == 0 ? 0 : count_of(&y.type) / kept;
    for (size_t i = 0; i < lanes * kept; i++) {
      size_t lane = i / kept, to = lane_at(&y.type, axis, lane, i % kept);
      size_t place = (size_t)int_at(&at, to);
      size_t from = lane_at(&type, axis, lane, place);
      assert_int_equal(standing_of(&x, axis, lane, place, params.largest != 0),
                       i % kept);
      assert_true(is_float(dtype) ? real_at(&y, to) == real_at(&x, from)
                                  : int_at(&y, to) == int_at(&x, from));
    }
    free_tensor(&x);
    free_tensor(&y);
    free_tensor(&at);
  }
}

static void cumsum_adds_what_came_before(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (int round = 0; round < ROUNDS * 5; round++) {
    ibx_dtype dtype = (ibx_dtype)(1 + random_below(&seed, IBX_DTYPE_U64));
    ibx_type type = random_type(&seed, dtype, 1, 4, 6);
    size_t axis = random_below(&seed, type.rank);
    size_t extent = (size_t)type.dims[axis];
    ibx_params params = {.axis = (int64_t)axis,
                         .exclusive = (int64_t)random_below(&seed, 2),
                         .reverse = (int64_t)random_below(&seed, 2)};
    ibx_tensor x = random_tensor(&seed, type, 0, 1);
    ibx_tensor y = evaluate(IBX_TENSOR_cumsum, &params, &x, 1);
    for (size_t i = 0; i < count_of(&type); i++) {
      size_t lane = i / extent, k = i % extent;
      double sum = 0;
      uint64_t integer = 0;
      for (size_t j = 0; j < extent; j++) {
        bool counts = params.reverse ? j >= k : j <= k;
        if (!counts || (params.exclusive && j == k)) continue;
        size_t at = lane_at(&type, axis, lane, j);
        if (is_float(dtype)) sum += real_at(&x, at);
        if (!is_float(dtype)) integer += (uint64_t)int_at(&x, at);
      }
      size_t at = lane_at(&type, axis, lane, k);
      if (is_float(dtype)) {
        assert_rounded(dtype, real_at(&y, at), sum, 1e-12);
      } else {
        assert_int_equal(int_at(&y, at), wrapped(dtype, integer));
      }
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

static ibx_dtype random_float(uint64_t *seed) {
  return (ibx_dtype)(IBX_DTYPE_F32 + random_below(seed, 7));
}

static void softmax_is_a_distribution(void **state) {
  (void)state;
  uint64_t seed = 4;
  for (int round = 0; round < ROUNDS * 5; round++) {
    ibx_dtype dtype = random_float(&seed);
    ibx_type type = random_type(&seed, dtype, 1, 4, 6);
    size_t axis = random_below(&seed, type.rank);
    size_t extent = (size_t)type.dims[axis];
    ibx_params params = {.axis = (int64_t)axis};
    ibx_tensor x = random_tensor(&seed, type, -200, 200);
    ibx_tensor y = evaluate(IBX_TENSOR_softmax, &params, &x, 1);
    for (size_t i = 0; i < count_of(&type); i++) {
      size_t lane = i / extent, at = lane_at(&type, axis, lane, i % extent);
      double sum = 0; // of exp(x[k] - x): 1 over the result
      for (size_t k = 0; k < extent; k++) {
        sum +=
            exp(real_at(&x, lane_at(&type, axis, lane, k)) - real_at(&x, at));
      }
      assert_rounded(dtype, real_at(&y, at), 1 / sum, 1e-13);
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

// The formula of one row in long double.
static void check_norm_row(ibx_tensor_op op, const ibx_tensor *in,
                           size_t operands, const ibx_tensor *y, size_t row,
                           size_t count, long double epsilon) {
  long double mean = 0, variance = 0, length = (long double)count;
  ibx_dtype dtype = y->type.dtype;
  for (size_t k = 0; k < count && op == IBX_TENSOR_layer_norm; k++) {
    mean += (long double)real_at(&in[0], row * count + k) / length;
  }
  for (size_t k = 0; k < count; k++) {
    long double x = (long double)real_at(&in[0], row * count + k) - mean;
    variance += x * x / length;
  }
  for (size_t k = 0; k < count; k++) {
    long double x = (long double)real_at(&in[0], row * count + k) - mean;
    x /= sqrtl(variance + epsilon);
    if (operands > 1) x *= (long double)real_at(&in[1], k);
    if (operands > 2) x += (long double)real_at(&in[2], k);
    assert_rounded(dtype, real_at(y, row * count + k), (double)x, 1e-12);
  }
}

static void norms_follow_their_formula(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int round = 0; round < ROUNDS * 5; round++) {
    bool is_layer = random_below(&seed, 2) == 0;
    ibx_tensor_op op = is_layer ? IBX_TENSOR_layer_norm : IBX_TENSOR_rms_norm;
    ibx_type type = random_type(&seed, random_float(&seed), 1, 4, 6);
    size_t axis = random_below(&seed, type.rank);
    size_t operands = 1 + random_below(&seed, is_layer ? 3 : 2);
    ibx_type part = {.rank = (uint8_t)(type.rank - axis), .dtype = type.dtype};
    for (size_t d = 0; d < part.rank; d++)
      part.dims[d] = type.dims[axis + d];
    ibx_params params = {.axis = (int64_t)axis, .epsilon = 0.01f};
    ibx_tensor in[3];
    for (size_t i = 0; i < operands; i++) {
      in[i] = random_tensor(&seed, i ? part : type, -2, 3);
    }
    ibx_tensor y = evaluate(op, &params, in, operands);
    size_t count = count_of(&part);
    for (size_t row = 0; row < count_of(&type) / count; row++) {
      check_norm_row(op, in, operands, &y, row, count,
                     (long double)params.epsilon);
    }
    for (size_t i = 0; i < operands; i++)
      free_tensor(&in[i]);
    free_tensor(&y);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reductions_follow_their_definition),
      cmocka_unit_test(nothing_reduces_to_the_neutral_element),
      cmocka_unit_test(maxima_keep_nan),
      cmocka_unit_test(argmax_is_the_first_largest),
      cmocka_unit_test(top_is_sorted_and_stable),
      cmocka_unit_test(cumsum_adds_what_came_before),
      cmocka_unit_test(softmax_is_a_distribution),
      cmocka_unit_test(norms_follow_their_formula),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
