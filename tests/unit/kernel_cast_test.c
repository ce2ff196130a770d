// SPDX-License-Identifier: Apache-2.0
//
// Casts between every pair of dtypes. Floating results must be the value that
// one rounding of the exact operand gives; integers truncate, saturate or wrap.

#include "support/tensors.h"

enum { COUNT = 600 };

static bool is_integer(ibx_dtype dtype) {
  return !is_float(dtype) && dtype != IBX_DTYPE_BOOL;
}

static ibx_tensor cast(const ibx_tensor *x, ibx_dtype dtype) {
  ibx_params params = {.dtype = dtype};
  return evaluate(IBX_TENSOR_cast, &params, x, 1);
}

// Reals of all magnitudes that the dtype has.
static ibx_tensor wild_reals(uint64_t *seed, ibx_dtype dtype) {
  ibx_type type = {.rank = 1, .dtype = dtype, .dims = {COUNT}};
  ibx_tensor x = make_tensor(type);
  for (size_t i = 0; i < COUNT; i++) {
    double value = random_real(seed, -1, 1);
    set_real(&x, i, ldexp(value, (int)random_below(seed, 90) - 20));
  }
  set_real(&x, 0, NAN);
  set_real(&x, 1, INFINITY);
  set_real(&x, 2, -INFINITY);
  return x;
}

static int64_t truncated(ibx_dtype dtype, double value) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_signed = info->kind == IBX_DTYPE_KIND_SINT;
  // Below a byte: the low bits of 32.
  if (info->width < 8) {
    if (isnan(value)) return 0;
    double all = fmin(fmax(trunc(value), -0x1p31), 0x1p31 - 1);
    return wrapped(dtype, (uint64_t)(int64_t)all);
  }
  double high = ldexp(1, info->bits - is_signed), low = is_signed ? -high : 0;
  if (isnan(value)) return 0;
  value = trunc(value);
  uint64_t ones = UINT64_MAX >> (64 - info->bits + is_signed);
  if (value >= high) return wrapped(dtype, ones);
  if (value <= low) return wrapped(dtype, is_signed ? ~ones : 0);
  return value < 0 ? (int64_t)value : (int64_t)(uint64_t)value;
}

static void reals_to_integers_truncate_and_saturate(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int from = 1; from < IBX_DTYPE_COUNT; from++) {
    if (ibx_dtype_is_packed((ibx_dtype)from)) continue;
    for (int to = 1; to < IBX_DTYPE_COUNT; to++) {
      if (ibx_dtype_is_packed((ibx_dtype)to)) continue;
      if (!is_float((ibx_dtype)from) || !is_integer((ibx_dtype)to)) continue;
      ibx_tensor x = wild_reals(&seed, (ibx_dtype)from);
      ibx_tensor y = cast(&x, (ibx_dtype)to);
      for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(int_at(&y, i),
                         truncated((ibx_dtype)to, real_at(&x, i)));
      }
      free_tensor(&x);
      free_tensor(&y);
    }
  }
}

static void integers_wrap(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (int from = 1; from < IBX_DTYPE_COUNT; from++) {
    if (ibx_dtype_is_packed((ibx_dtype)from)) continue;
    for (int to = 1; to < IBX_DTYPE_COUNT; to++) {
      if (ibx_dtype_is_packed((ibx_dtype)to)) continue;
      if (is_float((ibx_dtype)from) || is_float((ibx_dtype)to)) continue;
      ibx_type type = {.rank = 1, .dtype = (ibx_dtype)from, .dims = {COUNT}};
      ibx_tensor x = random_tensor(&seed, type, 0, 1);
      ibx_tensor y = cast(&x, (ibx_dtype)to);
      for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(int_at(&y, i),
                         wrapped((ibx_dtype)to, (uint64_t)int_at(&x, i)));
      }
      free_tensor(&x);
      free_tensor(&y);
    }
  }
}

// `got` is a nearest value of the dtype, at a tie the even one.
static void check_nearest(ibx_dtype to, double got, long double exact) {
  double allowed = half_step(to, (double)exact);
  if (fabsl(exact) > (long double)largest_of(to)) return;
  long double error = fabsl((long double)got - exact);
  if (error > (long double)allowed) {
    fail_msg("%s: %.20Lg became %.17g", ibx_dtype_get(to)->name, exact, got);
  }
  if (error == 0 || error < (long double)allowed) return;
  // A tie: the other neighbour is as far away, and this one is even.
  double step = 2 * allowed;
  if (fmod(got / step, 2) != 0) {
    fail_msg("%s: the tie %.20Lg became %.17g", ibx_dtype_get(to)->name, exact,
             got);
  }
}

static void integers_to_reals_round_once(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (int from = 1; from < IBX_DTYPE_COUNT; from++) {
    if (ibx_dtype_is_packed((ibx_dtype)from)) continue;
    for (int to = 1; to < IBX_DTYPE_COUNT; to++) {
      if (ibx_dtype_is_packed((ibx_dtype)to)) continue;
      if (!is_integer((ibx_dtype)from) || !is_float((ibx_dtype)to)) continue;
      ibx_type type = {.rank = 1, .dtype = (ibx_dtype)from, .dims = {COUNT}};
      ibx_tensor x = random_tensor(&seed, type, 0, 1);
      for (size_t i = 0; i < COUNT; i += 2) { // just beside a tie, often
        set_int(&x, i, (int64_t)((next_random(&seed) & 0x3ff) << 30 | 1u));
      }
      ibx_tensor y = cast(&x, (ibx_dtype)to);
      for (size_t i = 0; i < COUNT; i++) {
        bool is_u64 = from == IBX_DTYPE_U64;
        long double exact = is_u64 ? (long double)(uint64_t)int_at(&x, i)
                                   : (long double)int_at(&x, i);
        check_nearest((ibx_dtype)to, real_at(&y, i), exact);
      }
      free_tensor(&x);
      free_tensor(&y);
    }
  }
}

static void reals_round_once(void **state) {
  (void)state;
  uint64_t seed = 4;
  for (int from = 1; from < IBX_DTYPE_COUNT; from++) {
    if (ibx_dtype_is_packed((ibx_dtype)from)) continue;
    for (int to = 1; to < IBX_DTYPE_COUNT; to++) {
      if (ibx_dtype_is_packed((ibx_dtype)to)) continue;
      if (!is_float((ibx_dtype)from) || !is_float((ibx_dtype)to)) continue;
      ibx_tensor x = wild_reals(&seed, (ibx_dtype)from);
      for (size_t i = 3; i < COUNT; i += 2) { // just beside a tie of bf16
        double tie = 1 + ldexp((double)random_below(&seed, 128) + 0.5, -7);
        set_real(&x, i, tie + ldexp(1, -40));
      }
      ibx_tensor y = cast(&x, (ibx_dtype)to);
      assert_true(isnan(real_at(&y, 0)) || !has_nan((ibx_dtype)from) ||
                  !has_nan((ibx_dtype)to));
      for (size_t i = 3; i < COUNT; i++) {
        check_nearest((ibx_dtype)to, real_at(&y, i),
                      (long double)real_at(&x, i));
      }
      free_tensor(&x);
      free_tensor(&y);
    }
  }
}

static void bool_is_not_zero(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int from = 1; from < IBX_DTYPE_COUNT; from++) {
    if (ibx_dtype_is_packed((ibx_dtype)from)) continue;
    ibx_type type = {.rank = 1, .dtype = (ibx_dtype)from, .dims = {COUNT}};
    ibx_tensor x = random_tensor(&seed, type, -1, 1);
    memset(element_of(&x, 7), 0, ibx_dtype_bytes((ibx_dtype)from));
    ibx_tensor y = cast(&x, IBX_DTYPE_BOOL);
    for (size_t i = 0; i < COUNT; i++) {
      bool expected =
          is_float((ibx_dtype)from) ? real_at(&x, i) != 0 : int_at(&x, i) != 0;
      assert_int_equal(*(uint8_t *)element_of(&y, i), expected);
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reals_to_integers_truncate_and_saturate),
      cmocka_unit_test(integers_wrap),
      cmocka_unit_test(integers_to_reals_round_once),
      cmocka_unit_test(reals_round_once),
      cmocka_unit_test(bool_is_not_zero),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
