// SPDX-License-Identifier: Apache-2.0
//
// dtype.c against a reference of its own kind: values as doubles made with
// ldexp, and stores as a search for the nearest code. Every 8-bit and 16-bit
// pattern, every halfway case and its neighbours.

#include "imbrex/dtype.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct small_float {
  ibx_dtype dtype;
  int exponent, mantissa;
  bool has_infinity;
} small_float;

static const small_float floats[] = {
    {IBX_DTYPE_BF16, 8, 7, true},   {IBX_DTYPE_F16, 5, 10, true},
    {IBX_DTYPE_F8E4M3, 4, 3, true}, {IBX_DTYPE_F8E4M3FN, 4, 3, false},
    {IBX_DTYPE_F8E5M2, 5, 2, true},
};

static unsigned code_count(const small_float *f) {
  return 1u << (f->exponent + f->mantissa);
}

static bool code_is_special(const small_float *f, unsigned code) {
  unsigned top = (1u << f->exponent) - 1;
  if (f->has_infinity) return code >> f->mantissa == top;
  return code == code_count(f) - 1;
}

// The value of a code without its sign, for codes that are finite. The code of
// infinity gets the value that it would have as a number: rounding goes there.
static double code_value(const small_float *f, unsigned code) {
  int bias = (1 << (f->exponent - 1)) - 1;
  int exponent = (int)(code >> f->mantissa);
  int mantissa = (int)(code & ((1u << f->mantissa) - 1));
  int unit = 1 - bias - f->mantissa;
  if (exponent == 0) return ldexp(mantissa, unit);
  return ldexp(mantissa + (1 << f->mantissa), unit + exponent - 1);
}

static float load_one(ibx_dtype dtype, uint64_t code) {
  float value = -1.0f;
  ibx_dtype_load_f32(dtype, &code, &value, 1);
  return value;
}

static uint64_t store_one(ibx_dtype dtype, float value) {
  uint64_t code = 0;
  ibx_dtype_store_f32(dtype, &value, &code, 1);
  return code;
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static void check_code(const small_float *f, unsigned code) {
  unsigned sign = code_count(f);
  float plus = load_one(f->dtype, code);
  float minus = load_one(f->dtype, code | sign);
  assert_int_equal(bits_of(plus) ^ bits_of(minus), 0x80000000);
  if (!code_is_special(f, code)) {
    assert_true((double)plus == code_value(f, code));
    assert_int_equal(store_one(f->dtype, plus), code);
    assert_int_equal(store_one(f->dtype, minus), code | sign);
    return;
  }
  bool infinite = f->has_infinity && (code & ((1u << f->mantissa) - 1)) == 0;
  assert_int_equal(isinf(plus) != 0, infinite);
  assert_int_equal(isnan(plus) != 0, !infinite);
  unsigned quiet = f->has_infinity ? 1u << (f->mantissa - 1) : 0;
  assert_int_equal(store_one(f->dtype, plus), infinite ? code : code | quiet);
}

static void every_code_loads_its_value_and_stores_back(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(floats); i++) {
    for (unsigned code = 0; code < code_count(&floats[i]); code++) {
      check_code(&floats[i], code);
    }
  }
}

static void check_store(const small_float *f, float value, unsigned code) {
  unsigned sign = code_count(f);
  assert_int_equal(store_one(f->dtype, value), code);
  assert_int_equal(store_one(f->dtype, -value), code | sign);
}

// Between two neighbouring codes: the middle goes to the even one, its
// neighbours in fp32 to the nearer one.
static void check_gap(const small_float *f, unsigned code) {
  double middle = (code_value(f, code) + code_value(f, code + 1)) / 2;
  float halfway = (float)middle;
  if ((double)halfway != middle) return; // below the smallest fp32 number
  unsigned even = code % 2 == 0 ? code : code + 1;
  check_store(f, halfway, even);
  check_store(f, nextafterf(halfway, 0.0f), code);
  check_store(f, nextafterf(halfway, INFINITY), code + 1);
}

static void halfway_goes_to_the_even_code(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(floats); i++) {
    const small_float *f = &floats[i];
    for (unsigned code = 0; !code_is_special(f, code); code++) {
      bool last = code_is_special(f, code + 1);
      if (!last || f->has_infinity) check_gap(f, code);
    }
  }
}

static void overflow_is_infinity_or_saturates(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(floats); i++) {
    const small_float *f = &floats[i];
    unsigned top = code_count(f) - 1;
    unsigned infinity = ((1u << f->exponent) - 1) << f->mantissa;
    unsigned expected = f->has_infinity ? infinity : top - 1;
    const float large[] = {INFINITY, 0x1.fffffep127f};
    for (size_t j = 0; j < IBX_COUNT_OF(large); j++) {
      check_store(f, large[j], expected);
    }
  }
  assert_int_equal(store_one(IBX_DTYPE_F8E4M3FN, 465.0f), 0x7e);
  assert_int_equal(store_one(IBX_DTYPE_F8E4M3, 247.0f), 0x77);
  assert_int_equal(store_one(IBX_DTYPE_F8E4M3, 248.0f), 0x78);
}

static void nan_stays_nan_with_its_sign(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(floats); i++) {
    const small_float *f = &floats[i];
    // A payload in the lowest bit alone must not round to infinity.
    const uint32_t nans[] = {0x7f800001, 0x7fc00000, 0x7fffffff};
    for (size_t j = 0; j < IBX_COUNT_OF(nans); j++) {
      uint64_t plus = store_one(f->dtype, float_of(nans[j]));
      uint64_t minus = store_one(f->dtype, float_of(nans[j] | 0x80000000));
      assert_true(isnan(load_one(f->dtype, plus)));
      assert_int_equal(plus ^ minus, code_count(f));
    }
  }
}

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

// Nearest code by bisection over the reference values.
static unsigned nearest_code(const small_float *f, double magnitude) {
  unsigned low = 0;
  unsigned high = f->has_infinity ? ((1u << f->exponent) - 1) << f->mantissa
                                  : code_count(f) - 2;
  if (magnitude >= code_value(f, high)) return high;
  while (high - low > 1) {
    unsigned middle = (low + high) / 2;
    if (magnitude < code_value(f, middle)) {
      high = middle;
    } else {
      low = middle;
    }
  }
  double below = magnitude - code_value(f, low);
  double above = code_value(f, high) - magnitude;
  if (below == above) return low % 2 == 0 ? low : high;
  return below < above ? low : high;
}

static void random_floats_round_to_the_nearest_code(void **state) {
  (void)state;
  uint64_t seed = 0x243f6a8885a308d3;
  for (int n = 0; n < 200000; n++) {
    float value = float_of((uint32_t)next_random(&seed));
    if (isnan(value)) continue;
    for (size_t i = 0; i < IBX_COUNT_OF(floats); i++) {
      const small_float *f = &floats[i];
      unsigned code = nearest_code(f, fabs((double)value));
      unsigned sign = signbit(value) ? code_count(f) : 0;
      assert_int_equal(store_one(f->dtype, value), code | sign);
    }
  }
}

typedef struct integer {
  ibx_dtype dtype;
  unsigned bits;
  bool is_signed;
} integer;

static const integer integers[] = {
    {IBX_DTYPE_I8, 8, true},   {IBX_DTYPE_U8, 8, false},
    {IBX_DTYPE_I16, 16, true}, {IBX_DTYPE_U16, 16, false},
    {IBX_DTYPE_I32, 32, true}, {IBX_DTYPE_U32, 32, false},
    {IBX_DTYPE_I64, 64, true}, {IBX_DTYPE_U64, 64, false},
};

static uint64_t mask_of(const integer *t) {
  return t->bits == 64 ? UINT64_MAX : (UINT64_C(1) << t->bits) - 1;
}

// The pattern that a store must give, with the C library's own rounding.
static uint64_t integer_pattern(const integer *t, float value) {
  if (isnan(value)) return 0;
  double rounded = nearbyint((double)value);
  double high = ldexp(1.0, (int)t->bits - t->is_signed);
  double low = t->is_signed ? -high : 0.0;
  if (rounded >= high) {
    return t->is_signed ? mask_of(t) >> 1 : mask_of(t);
  }
  if (rounded <= low) return t->is_signed ? (mask_of(t) >> 1) + 1 : 0;
  if (rounded < 0) return (uint64_t)(int64_t)rounded & mask_of(t);
  return (uint64_t)rounded;
}

static void small_integers_round_trip(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(integers); i++) {
    const integer *t = &integers[i];
    if (t->bits > 16) continue;
    for (uint64_t code = 0; code <= mask_of(t); code++) {
      double value = (double)code;
      if (t->is_signed && code >> (t->bits - 1))
        value -= ldexp(1, (int)t->bits);
      assert_true((double)load_one(t->dtype, code) == value);
      assert_int_equal(store_one(t->dtype, (float)value), code);
    }
  }
}

static void check_integer_store(const integer *t, float value) {
  assert_int_equal(store_one(t->dtype, value), integer_pattern(t, value));
}

static void integer_stores_round_and_saturate(void **state) {
  (void)state;
  uint64_t seed = 0x13198a2e03707344;
  for (size_t i = 0; i < IBX_COUNT_OF(integers); i++) {
    const integer *t = &integers[i];
    for (int n = -140000; n <= 140000; n++) {
      check_integer_store(t, (float)n * 0.5f);
    }
    for (int n = 0; n < 200000; n++) {
      uint32_t random = (uint32_t)next_random(&seed);
      check_integer_store(t, float_of(random));
      // Most random patterns are far away; these have exponents 0 to 63.
      uint32_t near = 0x3f800000 + (random >> 3) % (64u << 23);
      check_integer_store(t, float_of(near | (random & 1) << 31));
    }
    check_integer_store(t, INFINITY);
    check_integer_store(t, -INFINITY);
    check_integer_store(t, NAN);
    check_integer_store(t, -0.0f);
  }
}

static void wide_integers_load_to_nearest(void **state) {
  (void)state;
  uint64_t seed = 0xa4093822299f31d0;
  for (int n = 0; n < 100000; n++) {
    uint64_t code = next_random(&seed) >> next_random(&seed) % 64;
    // Long double holds 64 bits, so this rounds once.
    assert_true(load_one(IBX_DTYPE_U64, code) == (float)(long double)code);
    assert_true(load_one(IBX_DTYPE_I64, code) ==
                (float)(long double)(int64_t)code);
    assert_true(load_one(IBX_DTYPE_U32, code) == (float)(double)(uint32_t)code);
    assert_true(load_one(IBX_DTYPE_I32, code) == (float)(double)(int32_t)code);
  }
}

static void bool_is_whether_not_zero(void **state) {
  (void)state;
  for (unsigned code = 0; code < 256; code++) {
    assert_true(load_one(IBX_DTYPE_BOOL, code) == (code != 0 ? 1.0f : 0.0f));
  }
  const float ones[] = {1.0f, -2.0f, 1e-45f, INFINITY, NAN};
  for (size_t i = 0; i < IBX_COUNT_OF(ones); i++) {
    assert_int_equal(store_one(IBX_DTYPE_BOOL, ones[i]), 1);
  }
  assert_int_equal(store_one(IBX_DTYPE_BOOL, 0.0f), 0);
  assert_int_equal(store_one(IBX_DTYPE_BOOL, -0.0f), 0);
}

static void f64_rounds_to_fp32(void **state) {
  (void)state;
  const double value = 1.0 + 0x1p-24 + 0x1p-50;
  uint64_t code;
  memcpy(&code, &value, sizeof code);
  assert_true(load_one(IBX_DTYPE_F64, code) == 1.0f + 0x1p-23f);
  const double back = (double)0.1f;
  memcpy(&code, &back, sizeof code);
  assert_int_equal(store_one(IBX_DTYPE_F64, 0.1f), code);
}

// The vectorised blocks and the rest must agree with single elements, at any
// address.
static void lengths_and_alignment_do_not_matter(void **state) {
  (void)state;
  enum { MOST = 200 };
  uint64_t seed = 0x082efa98ec4e6c89;
  uint8_t codes[MOST * 8 + 1];
  uint8_t stored[MOST * 8 + 1];
  float values[MOST];
  for (size_t i = 0; i < sizeof codes; i++) {
    codes[i] = (uint8_t)next_random(&seed);
  }
  for (int d = 1; d < IBX_DTYPE_COUNT; d++) {
    if (ibx_dtype_is_packed((ibx_dtype)d)) continue;
    ibx_dtype dtype = (ibx_dtype)d;
    size_t bytes = ibx_dtype_bytes(dtype);
    for (size_t count = 0; count <= MOST; count += 1 + count / 8) {
      memset(stored, 0x5a, sizeof stored);
      ibx_dtype_load_f32(dtype, codes + 1, values, count);
      ibx_dtype_store_f32(dtype, values, stored + 1, count);
      for (size_t i = 0; i < count; i++) {
        uint64_t code = 0;
        memcpy(&code, codes + 1 + i * bytes, bytes);
        float one = load_one(dtype, code);
        assert_int_equal(bits_of(one), bits_of(values[i]));
        uint64_t expected = store_one(dtype, one);
        assert_memory_equal(stored + 1 + i * bytes, &expected, bytes);
      }
      assert_int_equal(stored[0], 0x5a);
      if (count < MOST) assert_int_equal(stored[1 + count * bytes], 0x5a);
    }
  }
}

static void rows_are_complete(void **state) {
  (void)state;
  for (int d = 0; d < IBX_DTYPE_COUNT; d++) {
    const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)d);
    assert_non_null(info);
    assert_true(strlen(info->name) > 0 && strlen(info->mlir) > 0);
    assert_true(strlen(info->sentence) > 0);
    assert_int_equal(info->bits % 8, 0);
    assert_int_equal(ibx_dtype_bytes((ibx_dtype)d), info->bits / 8);
    if (info->onnx != 0) {
      assert_int_equal(ibx_dtype_from_onnx(info->onnx), d);
    }
  }
#define IBX_DTYPE(row, number, ...)                                            \
  assert_true(strcasecmp(ibx_dtype_get(number)->name, #row) == 0);
#include "imbrex/dtype.def"
  assert_string_equal(ibx_dtype_get(IBX_DTYPE_F8E4M3FN)->name, "f8e4m3fn");
  assert_null(ibx_dtype_get(IBX_DTYPE_COUNT));
  assert_null(ibx_dtype_get((ibx_dtype)1000));
  assert_int_equal(ibx_dtype_bytes((ibx_dtype)1000), 0);
  assert_int_equal(ibx_dtype_from_onnx(0), IBX_DTYPE_NONE);
  assert_int_equal(ibx_dtype_from_onnx(8), IBX_DTYPE_STRING);
  assert_int_equal(ibx_dtype_bytes(IBX_DTYPE_STRING), 0);
  assert_int_equal(ibx_dtype_from_onnx(-1), IBX_DTYPE_NONE);
}

// A value between 0 and its format's largest, and random bits: as doubles say.
static void check_stochastic(ibx_dtype dtype, int exponent, int mantissa,
                             float value, uint64_t random) {
  int least = 2 - (1 << (exponent - 1)); // of normal numbers
  int of_value = ilogb((double)value) < least ? least : ilogb((double)value);
  double unit = ldexp(1.0, of_value - mantissa);
  double low = floor((double)value / unit) * unit;
  double fraction = ((double)value - low) / unit;
  // The least bits that go up: exact, where fractions have at most 64 bits.
  double least_bits = ldexp(1.0 - fraction, 64);
  bool up = fraction != 0.0 && (double)(random >> 11) * 0x1p11 >= least_bits;
  double expected = up ? low + unit : low;
  assert_true((double)ibx_dtype_round_f32(dtype, value, random) == expected);
  assert_true((double)ibx_dtype_round_f32(dtype, -value, random) == -expected);
  uint64_t code = store_one(dtype, (float)expected);
  if (dtype != IBX_DTYPE_F32 && expected <= 240.0) {
    assert_true((double)load_one(dtype, code) == expected);
  }
}

static void stochastic_goes_up_with_the_fraction(void **state) {
  static const struct {
    ibx_dtype dtype;
    int exponent, mantissa;
  } formats[] = {{IBX_DTYPE_BF16, 8, 7},     {IBX_DTYPE_TF32, 8, 10},
                 {IBX_DTYPE_F16, 5, 10},     {IBX_DTYPE_F8E4M3, 4, 3},
                 {IBX_DTYPE_F8E4M3FN, 4, 3}, {IBX_DTYPE_F8E5M2, 5, 2}};
  (void)state;
  uint64_t random = 88172645463325252u;
  for (size_t f = 0; f < IBX_COUNT_OF(formats); f++) {
    int lowest = formats[f].exponent == 8 ? -126 : -30;
    for (int i = 0; i < 20000; i++) {
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      float value = (float)ldexp(1.0 + (double)(random >> 41) * 0x1p-23,
                                 lowest + i % (7 - lowest));
      // Bits that a double holds, so that the comparison is exact.
      uint64_t bits =
          i % 3 == 0 ? 0 : (random * 2862933555777941757u) >> 11 << 11;
      if (i % 3 == 1) bits = ~UINT64_C(0) >> 11 << 11;
      check_stochastic(formats[f].dtype, formats[f].exponent,
                       formats[f].mantissa, value, bits);
    }
  }
}

static void stochastic_leaves_what_the_type_holds(void **state) {
  (void)state;
  for (size_t f = 0; f < IBX_COUNT_OF(floats); f++) {
    for (unsigned code = 0; code < 2 * code_count(&floats[f]); code++) {
      float value = load_one(floats[f].dtype, code);
      for (uint64_t k = 0; k < 3; k++) {
        uint64_t random = k == 0 ? 0 : k == 1 ? UINT64_MAX : UINT64_MAX / 3;
        float got = ibx_dtype_round_f32(floats[f].dtype, value, random);
        assert_int_equal(bits_of(got), bits_of(value));
      }
    }
  }
  const ibx_dtype whole[] = {IBX_DTYPE_F32, IBX_DTYPE_F64, IBX_DTYPE_I8,
                             IBX_DTYPE_BOOL, IBX_DTYPE_F8E5M2X4};
  for (size_t i = 0; i < IBX_COUNT_OF(whole); i++) {
    assert_true(ibx_dtype_round_f32(whole[i], 0.3f, UINT64_MAX) == 0.3f);
  }
}

// Between the largest number and the next, which overflows or saturates.
static void stochastic_overflows_as_the_store_does(void **state) {
  static const struct {
    ibx_dtype dtype;
    float value;
    uint64_t largest, above;
  } cases[] = {{IBX_DTYPE_BF16, 3.4e38f, 0x7f7f, 0x7f80},
               {IBX_DTYPE_F16, 65510.0f, 0x7bff, 0x7c00},
               {IBX_DTYPE_F8E4M3, 241.0f, 0x77, 0x78},
               {IBX_DTYPE_F8E4M3FN, 470.0f, 0x7e, 0x7e},
               {IBX_DTYPE_F8E5M2, 60000.0f, 0x7b, 0x7c}};
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    ibx_dtype dtype = cases[i].dtype;
    float low = ibx_dtype_round_f32(dtype, cases[i].value, 0);
    float high = ibx_dtype_round_f32(dtype, cases[i].value, UINT64_MAX);
    assert_int_equal(store_one(dtype, low), cases[i].largest);
    assert_int_equal(store_one(dtype, high), cases[i].above);
  }
  assert_true(ibx_dtype_round_f32(IBX_DTYPE_F8E5M2, 0x1p-60f, UINT64_MAX) ==
              0.0f);
  assert_true(isnan(ibx_dtype_round_f32(IBX_DTYPE_F16, NAN, UINT64_MAX)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_are_complete),
      cmocka_unit_test(every_code_loads_its_value_and_stores_back),
      cmocka_unit_test(halfway_goes_to_the_even_code),
      cmocka_unit_test(overflow_is_infinity_or_saturates),
      cmocka_unit_test(nan_stays_nan_with_its_sign),
      cmocka_unit_test(random_floats_round_to_the_nearest_code),
      cmocka_unit_test(small_integers_round_trip),
      cmocka_unit_test(integer_stores_round_and_saturate),
      cmocka_unit_test(wide_integers_load_to_nearest),
      cmocka_unit_test(bool_is_whether_not_zero),
      cmocka_unit_test(f64_rounds_to_fp32),
      cmocka_unit_test(lengths_and_alignment_do_not_matter),
      cmocka_unit_test(stochastic_goes_up_with_the_fraction),
      cmocka_unit_test(stochastic_leaves_what_the_type_holds),
      cmocka_unit_test(stochastic_overflows_as_the_store_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
