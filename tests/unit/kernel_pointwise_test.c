// SPDX-License-Identifier: Apache-2.0
//
// Elementwise kernels against formulas written otherwise than theirs, over
// every dtype, with random elements; integers against exact 128-bit or modular
// arithmetic.

#include "support/tensors.h"

enum { MOST = 700 }; // more elements than a block stages

static const ibx_params no_params = {.axis = 0};

// --- floating, one operand ---

typedef double (*real_fn)(double x, double alpha, double beta);

#define FORMULA(name, expression)                                              \
  static double formula_##name(double x, double alpha, double beta) {          \
    (void)alpha;                                                               \
    (void)beta;                                                                \
    return expression;                                                         \
  }
FORMULA(neg, 0 - x)
FORMULA(abs, x > 0 ? x : 0 - x)
FORMULA(sign, x == 0 ? 0 : x / fabs(x))
FORMULA(floor, x - (fmod(x, 1) < 0 ? fmod(x, 1) + 1 : fmod(x, 1)))
FORMULA(ceil, -floor(-x))
FORMULA(round, x - remainder(x, 1))
FORMULA(sqrt, pow(x, 0.5))
FORMULA(rsqrt, pow(x, -0.5))
FORMULA(reciprocal, pow(x, -1))
FORMULA(exp, pow(2.718281828459045, x))
FORMULA(log, log2(x) * 0.6931471805599453)
FORMULA(sin, cos(x - 1.5707963267948966))
FORMULA(cos, sin(x + 1.5707963267948966))
FORMULA(erf, 1 - erfc(x))
FORMULA(tanh, 1 - 2 / (exp(2 * x) + 1))
FORMULA(sigmoid, 0.5 * (1 + tanh(x / 2)))
FORMULA(relu, fmax(x, 0))
FORMULA(gelu, 0.5 * x * erfc(-x / sqrt(2)))
FORMULA(gelu_tanh, x / (1 + exp(-2 * sqrt(2 / 3.141592653589793) *
                                (x + 0.044715 * pow(x, 3)))))
FORMULA(gelu_sigmoid, 0.5 * x * (1 + tanh(0.851 * x)))
FORMULA(silu, 0.5 * x * (1 + tanh(x / 2)))
FORMULA(softplus, log(1 + exp(x)))
FORMULA(mish, x *tanh(log(1 + exp(x))))
FORMULA(leaky_relu, fmax(x, 0) + alpha * fmin(x, 0))
FORMULA(elu, fmax(x, 0) + alpha * (exp(fmin(x, 0)) - 1))
FORMULA(clip, fmin(fmax(x, alpha), beta))
FORMULA(affine, alpha *x + beta)

typedef struct unary_case {
  ibx_tensor_op op;
  real_fn formula;
  double low, high; ///< where operands are drawn from
} unary_case;

static const unary_case unary_cases[] = {
    {IBX_TENSOR_neg, formula_neg, -9, 9},
    {IBX_TENSOR_abs, formula_abs, -9, 9},
    {IBX_TENSOR_sign, formula_sign, -9, 9},
    {IBX_TENSOR_floor, formula_floor, -9, 9},
    {IBX_TENSOR_ceil, formula_ceil, -9, 9},
    {IBX_TENSOR_round, formula_round, -9, 9},
    {IBX_TENSOR_sqrt, formula_sqrt, 0.01, 90},
    {IBX_TENSOR_rsqrt, formula_rsqrt, 0.1, 90},
    {IBX_TENSOR_reciprocal, formula_reciprocal, 0.1, 9},
    {IBX_TENSOR_exp, formula_exp, -5, 5},
    {IBX_TENSOR_log, formula_log, 0.1, 90},
    {IBX_TENSOR_sin, formula_sin, -9, 9},
    {IBX_TENSOR_cos, formula_cos, -9, 9},
    {IBX_TENSOR_erf, formula_erf, -3, 3},
    {IBX_TENSOR_tanh, formula_tanh, -5, 5},
    {IBX_TENSOR_sigmoid, formula_sigmoid, -9, 9},
    {IBX_TENSOR_relu, formula_relu, -9, 9},
    {IBX_TENSOR_gelu, formula_gelu, -5, 5},
    {IBX_TENSOR_gelu_tanh, formula_gelu_tanh, -5, 5},
    {IBX_TENSOR_gelu_sigmoid, formula_gelu_sigmoid, -5, 5},
    {IBX_TENSOR_silu, formula_silu, -9, 9},
    {IBX_TENSOR_softplus, formula_softplus, -9, 9},
    {IBX_TENSOR_mish, formula_mish, -9, 9},
    {IBX_TENSOR_leaky_relu, formula_leaky_relu, -9, 9},
    {IBX_TENSOR_elu, formula_elu, -9, 9},
    {IBX_TENSOR_clip, formula_clip, -9, 9},
    {IBX_TENSOR_affine, formula_affine, -9, 9},
};

static void check_unary(const unary_case *row, ibx_dtype dtype,
                        uint64_t *seed) {
  ibx_type type = {.rank = 1, .dtype = dtype, .dims = {MOST}};
  ibx_params params = {.alpha = -0.75f, .beta = 2.5f};
  ibx_tensor x = random_tensor(seed, type, row->low, row->high);
  ibx_tensor y = evaluate(row->op, &params, &x, 1);
  for (size_t i = 0; i < MOST; i++) {
    double in = real_at(&x, i);
    double expected =
        row->formula(in, (double)params.alpha, (double)params.beta);
    // The formulas cancel: errors of a few parts in 2^52 of 1.
    assert_rounded(dtype, real_at(&y, i), expected, 1e-13);
  }
  free_tensor(&x);
  free_tensor(&y);
}

static void unary_follows_its_formula(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t i = 0; i < IBX_COUNT_OF(unary_cases); i++) {
    for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
      if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
      if (!is_float((ibx_dtype)dtype)) continue;
      check_unary(&unary_cases[i], (ibx_dtype)dtype, &seed);
    }
  }
}

static void every_float_unary_has_a_case(void **state) {
  (void)state;
  for (int op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    bool is_special = op == IBX_TENSOR_not || op == IBX_TENSOR_is_nan ||
                      op == IBX_TENSOR_cast;
    if (ibx_tensor_op_get((ibx_tensor_op)op)->klass != IBX_KLASS_UNARY ||
        is_special) {
      continue;
    }
    bool found = false;
    for (size_t i = 0; i < IBX_COUNT_OF(unary_cases); i++) {
      found |= unary_cases[i].op == (ibx_tensor_op)op;
    }
    assert_true(found);
  }
}

static void special_values_stay_special(void **state) {
  (void)state;
  const double values[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 800, -800};
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_F32, .dims = {7}};
  ibx_params params = {.alpha = -1, .beta = 1};
  ibx_tensor x = make_tensor(type);
  for (size_t i = 0; i < 7; i++)
    set_real(&x, i, values[i]);
  for (size_t i = 0; i < IBX_COUNT_OF(unary_cases); i++) {
    ibx_tensor y = evaluate(unary_cases[i].op, &params, &x, 1);
    assert_true(isnan(real_at(&y, 0)));
    free_tensor(&y);
  }
  ibx_tensor y = evaluate(IBX_TENSOR_softplus, &params, &x, 1);
  assert_true(isinf(real_at(&y, 1)));
  assert_true(real_at(&y, 5) == 800);
  assert_true(real_at(&y, 6) == 0);
  free_tensor(&y);
  y = evaluate(IBX_TENSOR_sigmoid, &params, &x, 1);
  assert_true(real_at(&y, 1) == 1 && real_at(&y, 2) == 0);
  free_tensor(&y);
  y = evaluate(IBX_TENSOR_is_nan, &params, &x, 1);
  for (size_t i = 0; i < 7; i++)
    assert_int_equal(int_at(&y, i), i == 0);
  free_tensor(&y);
  free_tensor(&x);
}

// --- two operands ---

static const ibx_tensor_op binary_ops[] = {
    IBX_TENSOR_add, IBX_TENSOR_sub, IBX_TENSOR_mul,
    IBX_TENSOR_div, IBX_TENSOR_mod, IBX_TENSOR_fmod,
    IBX_TENSOR_pow, IBX_TENSOR_max, IBX_TENSOR_min};

static double real_binary(ibx_tensor_op op, double a, double b) {
  switch (op) {
  case IBX_TENSOR_add: return b + a;
  case IBX_TENSOR_sub: return -(b - a);
  case IBX_TENSOR_mul: return b * a;
  case IBX_TENSOR_div: return a / b;
  case IBX_TENSOR_mod: return a - b * floor(a / b);
  case IBX_TENSOR_fmod: return a - b * trunc(a / b);
  case IBX_TENSOR_pow: return exp(b * log(a));
  case IBX_TENSOR_max: return a < b ? b : a;
  default: return a < b ? a : b;
  }
}

static void check_real_binary(ibx_tensor_op op, ibx_dtype dtype,
                              uint64_t *seed) {
  ibx_type type = {.rank = 1, .dtype = dtype, .dims = {MOST}};
  double low = op == IBX_TENSOR_pow ? 0.5 : -5;
  ibx_tensor in[2] = {random_tensor(seed, type, low, 5),
                      random_tensor(seed, type, 0.5, 3)};
  ibx_tensor y = evaluate(op, &no_params, in, 2);
  for (size_t i = 0; i < MOST; i++) {
    double expected = real_binary(op, real_at(&in[0], i), real_at(&in[1], i));
    // A quotient near a whole number may round to it: then the remainders
    // differ by a whole divisor, which is right, too.
    double got = real_at(&y, i), divisor = real_at(&in[1], i);
    bool is_mod = op == IBX_TENSOR_mod || op == IBX_TENSOR_fmod;
    if (is_mod && fabs(fabs(got - expected) - divisor) < 1e-9) continue;
    assert_rounded(dtype, got, expected, 1e-12);
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

static void binary_follows_its_formula(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (size_t i = 0; i < IBX_COUNT_OF(binary_ops); i++) {
    for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
      if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
      if (!is_float((ibx_dtype)dtype)) continue;
      check_real_binary(binary_ops[i], (ibx_dtype)dtype, &seed);
    }
  }
}

static void extrema_keep_nan(void **state) {
  (void)state;
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_F32, .dims = {2}};
  ibx_tensor in[2] = {make_tensor(type), make_tensor(type)};
  set_real(&in[0], 0, NAN);
  set_real(&in[1], 1, NAN);
  const ibx_tensor_op ops[] = {IBX_TENSOR_max, IBX_TENSOR_min};
  for (size_t i = 0; i < 2; i++) {
    ibx_tensor y = evaluate(ops[i], &no_params, in, 2);
    assert_true(isnan(real_at(&y, 0)) && isnan(real_at(&y, 1)));
    free_tensor(&y);
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
}

// --- integers ---

// Wide enough for every dtype's values and their products.
__extension__ typedef __int128 wide;

static wide wide_at(const ibx_tensor *tensor, size_t index) {
  int64_t value = int_at(tensor, index);
  bool is_u64 = tensor->type.dtype == IBX_DTYPE_U64;
  return is_u64 ? (wide)(uint64_t)value : (wide)value;
}

static wide wide_power(wide base, wide exponent, ibx_dtype dtype) {
  wide result = 1;
  if (exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  // Modular, by repeated squaring from the highest bit down.
  for (int bit = 63; bit >= 0; bit--) {
    result = wrapped(dtype, (uint64_t)(result * result));
    if ((exponent >> bit & 1) != 0) {
      result = wrapped(dtype, (uint64_t)(result * base));
    }
  }
  return result;
}

static wide wide_binary(ibx_tensor_op op, wide a, wide b, ibx_dtype dtype) {
  wide rest = b == 0 ? a : a % b;
  int width = 8 * (int)ibx_dtype_bytes(dtype);
  wide mask = ((wide)1 << width) - 1, by = b & mask;
  switch (op) {
  case IBX_TENSOR_add: return a + b;
  case IBX_TENSOR_sub: return a - b;
  case IBX_TENSOR_mul: return (wide)((uint64_t)a * (uint64_t)b);
  case IBX_TENSOR_div: return b == 0 ? 0 : a / b;
  case IBX_TENSOR_mod:
    return rest != 0 && b != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
  case IBX_TENSOR_fmod: return rest;
  case IBX_TENSOR_pow: return wide_power(a, b, dtype);
  case IBX_TENSOR_max: return a > b ? a : b;
  case IBX_TENSOR_bit_and: return a & b;
  case IBX_TENSOR_bit_or: return a | b;
  case IBX_TENSOR_bit_xor: return a ^ b;
  case IBX_TENSOR_shift_left: return by < width ? (a & mask) << by : 0;
  case IBX_TENSOR_shift_right: return by < width ? (a & mask) >> by : 0;
  default: return a < b ? a : b;
  }
}

static void check_int_binary(ibx_tensor_op op, ibx_dtype dtype,
                             uint64_t *seed) {
  ibx_type type = {.rank = 1, .dtype = dtype, .dims = {MOST}};
  ibx_tensor in[2] = {random_tensor(seed, type, 0, 1),
                      random_tensor(seed, type, 0, 1)};
  // The smallest number over -1 has no quotient.
  set_int(&in[0], 0, INT64_MIN >> (64 - ibx_dtype_get(dtype)->bits));
  set_int(&in[1], 0, -1);
  ibx_tensor y = evaluate(op, &no_params, in, 2);
  for (size_t i = 0; i < MOST; i++) {
    wide expected =
        wide_binary(op, wide_at(&in[0], i), wide_at(&in[1], i), dtype);
    assert_int_equal(int_at(&y, i), wrapped(dtype, (uint64_t)expected));
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

static bool is_integer(ibx_dtype dtype) {
  return !is_float(dtype) && dtype != IBX_DTYPE_BOOL;
}

static void check_int_dtypes(ibx_tensor_op op, uint64_t *seed) {
  for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
    if (!is_integer((ibx_dtype)dtype)) continue;
    for (int round = 0; round < 4; round++) {
      check_int_binary(op, (ibx_dtype)dtype, seed);
    }
  }
}

static void integers_are_exact_and_wrap(void **state) {
  (void)state;
  const ibx_tensor_op bit_ops[] = {IBX_TENSOR_bit_and, IBX_TENSOR_bit_or,
                                   IBX_TENSOR_bit_xor, IBX_TENSOR_shift_left,
                                   IBX_TENSOR_shift_right};
  uint64_t seed = 3;
  for (size_t i = 0; i < IBX_COUNT_OF(binary_ops); i++)
    check_int_dtypes(binary_ops[i], &seed);
  for (size_t i = 0; i < IBX_COUNT_OF(bit_ops); i++)
    check_int_dtypes(bit_ops[i], &seed);
}

static wide wide_unary(ibx_tensor_op op, wide x) {
  switch (op) {
  case IBX_TENSOR_neg: return -x;
  case IBX_TENSOR_abs: return x < 0 ? -x : x;
  case IBX_TENSOR_sign: return (x > 0) - (x < 0);
  case IBX_TENSOR_relu: return x < 0 ? 0 : x;
  case IBX_TENSOR_clip: return x < -2 ? -2 : x > 5 ? 5 : x;
  case IBX_TENSOR_affine: return x * -2 + 5;
  default: return x;
  }
}

static void integer_unaries_are_exact(void **state) {
  (void)state;
  const ibx_tensor_op ops[] = {
      IBX_TENSOR_neg,   IBX_TENSOR_abs,  IBX_TENSOR_sign,
      IBX_TENSOR_relu,  IBX_TENSOR_clip, IBX_TENSOR_floor,
      IBX_TENSOR_round, IBX_TENSOR_ceil, IBX_TENSOR_affine};
  uint64_t seed = 4;
  ibx_params params = {.alpha = -2, .beta = 5};
  for (size_t i = 0; i < IBX_COUNT_OF(ops); i++) {
    for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
      if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
      if (!is_integer((ibx_dtype)dtype)) continue;
      ibx_type type = {.rank = 1, .dtype = (ibx_dtype)dtype, .dims = {MOST}};
      ibx_tensor x = random_tensor(&seed, type, 0, 1);
      ibx_tensor y = evaluate(ops[i], &params, &x, 1);
      for (size_t k = 0; k < MOST; k++) {
        wide expected = wide_unary(ops[i], wide_at(&x, k));
        // Unsigned numbers are never below -2.
        assert_int_equal(int_at(&y, k),
                         wrapped((ibx_dtype)dtype, (uint64_t)expected));
      }
      free_tensor(&x);
      free_tensor(&y);
    }
  }
}

// --- comparisons, logic, select ---

static void check_compare(ibx_dtype dtype, uint64_t *seed) {
  ibx_type type = {.rank = 1, .dtype = dtype, .dims = {MOST}};
  ibx_tensor in[2] = {random_tensor(seed, type, -2, 2),
                      random_tensor(seed, type, -2, 2)};
  for (size_t i = 0; i < MOST; i += 3) { // some are equal
    memcpy(element_of(&in[1], i), element_of(&in[0], i),
           ibx_dtype_bytes(dtype));
  }
  ibx_tensor equal = evaluate(IBX_TENSOR_equal, &no_params, in, 2);
  ibx_tensor less = evaluate(IBX_TENSOR_less, &no_params, in, 2);
  ibx_tensor most = evaluate(IBX_TENSOR_less_equal, &no_params, in, 2);
  for (size_t i = 0; i < MOST; i++) {
    int order = 0;
    if (is_float(dtype)) {
      double a = real_at(&in[0], i), b = real_at(&in[1], i);
      order = (a > b) - (a < b);
    } else {
      wide a = wide_at(&in[0], i), b = wide_at(&in[1], i);
      order = (a > b) - (a < b);
    }
    assert_int_equal(int_at(&equal, i), order == 0);
    assert_int_equal(int_at(&less, i), order < 0);
    assert_int_equal(int_at(&most, i), order <= 0);
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&equal);
  free_tensor(&less);
  free_tensor(&most);
}

static void comparisons_follow_the_order(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
    if (dtype != IBX_DTYPE_BOOL) check_compare((ibx_dtype)dtype, &seed);
  }
}

static void logic_has_its_truth_table(void **state) {
  (void)state;
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_BOOL, .dims = {4}};
  ibx_tensor in[2] = {make_tensor(type), make_tensor(type)};
  for (size_t i = 0; i < 4; i++) {
    set_int(&in[0], i, i >> 1 & 1);
    set_int(&in[1], i, i & 1);
  }
  ibx_tensor y[] = {evaluate(IBX_TENSOR_and, &no_params, in, 2),
                    evaluate(IBX_TENSOR_or, &no_params, in, 2),
                    evaluate(IBX_TENSOR_xor, &no_params, in, 2),
                    evaluate(IBX_TENSOR_not, &no_params, in, 1)};
  const int64_t expected[4][4] = {
      {0, 0, 0, 1}, {0, 1, 1, 1}, {0, 1, 1, 0}, {1, 1, 0, 0}};
  for (size_t i = 0; i < 16; i++) {
    assert_int_equal(int_at(&y[i / 4], i % 4), expected[i / 4][i % 4]);
  }
  for (size_t i = 0; i < 4; i++)
    free_tensor(&y[i]);
  free_tensor(&in[0]);
  free_tensor(&in[1]);
}

static void select_picks_bit_for_bit(void **state) {
  (void)state;
  uint64_t seed = 6;
  for (int dtype = 1; dtype < IBX_DTYPE_COUNT; dtype++) {
    if (ibx_dtype_is_packed((ibx_dtype)dtype)) continue;
    ibx_type type = random_type(&seed, (ibx_dtype)dtype, 0, 4, 6);
    ibx_type flags = type;
    flags.dtype = IBX_DTYPE_BOOL;
    ibx_tensor in[3] = {random_tensor(&seed, flags, 0, 1),
                        random_tensor(&seed, type, -2, 2),
                        random_tensor(&seed, type, -2, 2)};
    ibx_tensor y = evaluate(IBX_TENSOR_select, &no_params, in, 3);
    for (size_t i = 0; i < count_of(&type); i++) {
      const ibx_tensor *from = int_at(&in[0], i) ? &in[1] : &in[2];
      assert_memory_equal(element_of(&y, i), element_of(from, i),
                          ibx_dtype_bytes((ibx_dtype)dtype));
    }
    for (size_t i = 0; i < 3; i++)
      free_tensor(&in[i]);
    free_tensor(&y);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unary_follows_its_formula),
      cmocka_unit_test(every_float_unary_has_a_case),
      cmocka_unit_test(special_values_stay_special),
      cmocka_unit_test(binary_follows_its_formula),
      cmocka_unit_test(extrema_keep_nan),
      cmocka_unit_test(integers_are_exact_and_wrap),
      cmocka_unit_test(integer_unaries_are_exact),
      cmocka_unit_test(comparisons_follow_the_order),
      cmocka_unit_test(logic_has_its_truth_table),
      cmocka_unit_test(select_picks_bit_for_bit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
