// SPDX-License-Identifier: Apache-2.0
//
// The element types that no engine has, against their definitions: every code, the
// middle between every two neighbours, and what lies beyond the ends. Values are
// made with ldexp in double, of e2m1 written out.

#include "imbrex/dtype.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

typedef struct small {
  ibx_dtype dtype;
  int exponent, mantissa, bias;
  bool is_nuz; ///< NaN is the code of -0
} small;

static const small SMALL[] = {
    {IBX_DTYPE_F8E4M3FNUZ, 4, 3, 8, true},
    {IBX_DTYPE_F8E5M2FNUZ, 5, 2, 16, true},
    {IBX_DTYPE_F6E2M3FN, 2, 3, 1, false},
    {IBX_DTYPE_F6E3M2FN, 3, 2, 3, false},
    {IBX_DTYPE_F4E2M1FN, 2, 1, 1, false},
};

static float load(ibx_dtype dtype, unsigned code) {
  uint8_t byte = (uint8_t)code;
  float value = -1.0f;
  ibx_dtype_load_f32(dtype, &byte, &value, 1);
  return value;
}

static unsigned store(ibx_dtype dtype, float value) {
  uint8_t byte = 0xa5;
  ibx_dtype_store_f32(dtype, &value, &byte, 1);
  return byte;
}

static unsigned sign_of(const small *s) {
  return 1u << (s->exponent + s->mantissa);
}

static double magnitude(const small *s, unsigned code) {
  int exponent = (int)code >> s->mantissa;
  int fraction = (int)code & ((1 << s->mantissa) - 1);
  int unit = 1 - s->bias - s->mantissa;
  if (exponent == 0) return ldexp(fraction, unit);
  return ldexp(fraction + (1 << s->mantissa), unit + exponent - 1);
}

static void every_code_has_its_value(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(SMALL); i++) {
    const small *s = &SMALL[i];
    for (unsigned code = 0; code < sign_of(s); code++) {
      float plus = load(s->dtype, code),
            minus = load(s->dtype, code | sign_of(s));
      assert_true((double)plus == magnitude(s, code));
      assert_int_equal(store(s->dtype, plus), code);
      if (code == 0 && s->is_nuz) {
        assert_true(isnan(minus));
        continue;
      }
      assert_true(minus == -plus && signbit(minus) != 0);
      assert_int_equal(store(s->dtype, minus), code | sign_of(s));
    }
  }
  static const float E2M1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (unsigned code = 0; code < IBX_COUNT_OF(E2M1); code++) {
    assert_true(load(IBX_DTYPE_F4E2M1FN, code) == E2M1[code]);
  }
  assert_true(load(IBX_DTYPE_F8E4M3FNUZ, 0x7f) == 240.0f);
  assert_true(load(IBX_DTYPE_F8E5M2FNUZ, 0x7f) == 57344.0f);
  assert_true(load(IBX_DTYPE_F6E2M3FN, 0x1f) == 7.5f);
  assert_true(load(IBX_DTYPE_F6E3M2FN, 0x1f) == 28.0f);
}

static void check_both(const small *s, float value, unsigned code) {
  bool is_zero = code == 0 && s->is_nuz;
  assert_int_equal(store(s->dtype, value), code);
  assert_int_equal(store(s->dtype, -value), is_zero ? 0 : code | sign_of(s));
}

static void the_middle_goes_to_the_even_code(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(SMALL); i++) {
    const small *s = &SMALL[i];
    for (unsigned code = 0; code + 1 < sign_of(s); code++) {
      float middle = (float)((magnitude(s, code) + magnitude(s, code + 1)) / 2);
      check_both(s, middle, code + code % 2);
      check_both(s, nextafterf(middle, 0.0f), code);
      check_both(s, nextafterf(middle, INFINITY), code + 1);
    }
  }
}

static void beyond_the_ends_they_saturate(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(SMALL); i++) {
    const small *s = &SMALL[i];
    unsigned most = sign_of(s) - 1;
    const float past[] = {(float)magnitude(s, most) * 1.5f, 1e38f, INFINITY};
    for (size_t k = 0; k < IBX_COUNT_OF(past); k++)
      check_both(s, past[k], most);
    check_both(s, 1e-30f, 0);
    // NaN, or where there is none 0.
    assert_int_equal(store(s->dtype, NAN), sign_of(s));
    assert_int_equal(store(s->dtype, copysignf(NAN, -1.0f)),
                     s->is_nuz ? sign_of(s) : 0);
  }
}

static void scales_are_powers_of_two(void **state) {
  (void)state;
  for (int code = 0; code < 255; code++) {
    double value = ldexp(1, code - 127);
    assert_true((double)load(IBX_DTYPE_F8E8M0, (unsigned)code) == value);
    assert_int_equal(store(IBX_DTYPE_F8E8M0, (float)value), code);
    assert_int_equal(store(IBX_DTYPE_F8E8M0, -(float)value), code);
    float above = nextafterf((float)value, INFINITY);
    assert_int_equal(store(IBX_DTYPE_F8E8M0, above),
                     code < 254 ? code + 1 : 254);
    float below = nextafterf((float)value, 0.0f);
    assert_int_equal(store(IBX_DTYPE_F8E8M0, below), code);
  }
  assert_true(isnan(load(IBX_DTYPE_F8E8M0, 255)));
  assert_int_equal(store(IBX_DTYPE_F8E8M0, NAN), 255);
  assert_int_equal(store(IBX_DTYPE_F8E8M0, INFINITY), 254);
  assert_int_equal(store(IBX_DTYPE_F8E8M0, 0.0f), 0);
  assert_int_equal(store(IBX_DTYPE_F8E8M0, 0x1p-149f), 0);
}

static void integers_round_and_saturate(void **state) {
  (void)state;
  static const struct {
    ibx_dtype dtype;
    int low, high;
  } TYPES[] = {{IBX_DTYPE_I4, -8, 7},
               {IBX_DTYPE_U4, 0, 15},
               {IBX_DTYPE_I2, -2, 1},
               {IBX_DTYPE_U2, 0, 3}};
  for (size_t i = 0; i < IBX_COUNT_OF(TYPES); i++) {
    ibx_dtype dtype = TYPES[i].dtype;
    for (int quarters = -100; quarters <= 100; quarters++) {
      double value = quarters / 4.0, nearest = rint(value);
      double held = fmin(fmax(nearest, TYPES[i].low), TYPES[i].high);
      unsigned code = store(dtype, (float)value);
      assert_int_equal(code, (int)held & 0xff);
      assert_true((double)load(dtype, code) == held);
    }
    assert_int_equal(store(dtype, NAN), 0);
    assert_int_equal(store(dtype, INFINITY), TYPES[i].high);
    for (int bits = -40; bits < 40; bits++) {
      int range = TYPES[i].high - TYPES[i].low + 1;
      int64_t wrapped = (int64_t)ibx_dtype_wrap(dtype, (uint64_t)bits);
      assert_true(wrapped >= TYPES[i].low && wrapped <= TYPES[i].high);
      assert_int_equal((wrapped - bits) % range, 0);
    }
  }
}

// As onnx.proto draws them.
static void files_have_only_the_bits_that_count(void **state) {
  (void)state;
  uint8_t out[8];
  const uint8_t nibbles[] = {0x21, 0xf8, 0x07}, pairs[] = {0xe4, 0x02};
  const uint8_t expected4[] = {1, 2, 0xf8, 0xff, 7};
  const uint8_t expected2[] = {0, 1, 0xfe, 0xff, 0xfe};
  assert_int_equal(ibx_dtype_dense_bytes(IBX_DTYPE_I4, 5), 3);
  ibx_dtype_from_dense(IBX_DTYPE_I4, nibbles, out, 5);
  assert_memory_equal(out, expected4, 5);
  assert_int_equal(ibx_dtype_dense_bytes(IBX_DTYPE_I2, 5), 2);
  ibx_dtype_from_dense(IBX_DTYPE_I2, pairs, out, 5);
  assert_memory_equal(out, expected2, 5);
  // 1, 62, 33, 20, 63: byte0 = x0 | (x1 & 3) << 6, and so on.
  const uint8_t six[] = {1 | 2 << 6, 62 >> 2 | 1 << 4, 33 >> 4 | 20 << 2, 63};
  const uint8_t expected6[] = {1, 62, 33, 20, 63};
  assert_int_equal(ibx_dtype_dense_bytes(IBX_DTYPE_F6E2M3FN, 5), 4);
  ibx_dtype_from_dense(IBX_DTYPE_F6E2M3FN, six, out, 5);
  assert_memory_equal(out, expected6, 5);
  assert_int_equal(ibx_dtype_dense_bytes(IBX_DTYPE_I16, 5), 10);
  assert_true(ibx_dtype_dense_bytes(IBX_DTYPE_F64, UINT64_MAX) == UINT64_MAX);
}

// In fp32 first, these would lie on a tie, and go to the even neighbour.
static void doubles_round_once(void **state) {
  (void)state;
  const double up = 1.0625 + 0x1p-40, down = 1.1875 - 0x1p-40;
  uint8_t code;
  double wide;
  ibx_dtype_store_f64(IBX_DTYPE_F8E4M3FNUZ, &up, &code, 1);
  assert_true(load(IBX_DTYPE_F8E4M3FNUZ, code) == 1.125f);
  ibx_dtype_store_f64(IBX_DTYPE_F8E4M3FNUZ, &down, &code, 1);
  assert_true(load(IBX_DTYPE_F8E4M3FNUZ, code) == 1.125f);
  ibx_dtype_store_f64(IBX_DTYPE_F64, &down, &wide, 1);
  assert_true(wide == down);
  ibx_dtype_load_f64(IBX_DTYPE_F64, &up, &wide, 1);
  assert_true(wide == up);
}

static void carriers_have_the_same_bytes(void **state) {
  (void)state;
  for (int d = 1; d < IBX_DTYPE_COUNT; d++) {
    ibx_dtype dtype = (ibx_dtype)d, carrier = ibx_dtype_carrier(dtype);
    assert_int_equal(ibx_dtype_bytes(carrier), ibx_dtype_bytes(dtype));
    assert_int_equal(ibx_dtype_carrier(carrier), carrier);
    const ibx_dtype_info *info = ibx_dtype_get(dtype);
    if (info->home == IBX_DTYPE_HOME_LIBRARY && info->bits == 8) {
      assert_int_equal(ibx_dtype_get(carrier)->home, IBX_DTYPE_HOME_ENGINE);
    }
  }
  assert_int_equal(ibx_dtype_carrier(IBX_DTYPE_I2), IBX_DTYPE_I8);
  assert_int_equal(ibx_dtype_carrier(IBX_DTYPE_F8E4M3FN), IBX_DTYPE_U8);
  assert_int_equal(ibx_dtype_carrier(IBX_DTYPE_U64), IBX_DTYPE_F64);
  assert_int_equal(ibx_dtype_carrier(IBX_DTYPE_F16), IBX_DTYPE_F16);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_code_has_its_value),
      cmocka_unit_test(the_middle_goes_to_the_even_code),
      cmocka_unit_test(beyond_the_ends_they_saturate),
      cmocka_unit_test(scales_are_powers_of_two),
      cmocka_unit_test(integers_round_and_saturate),
      cmocka_unit_test(files_have_only_the_bits_that_count),
      cmocka_unit_test(doubles_round_once),
      cmocka_unit_test(carriers_have_the_same_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
