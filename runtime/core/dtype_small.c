// SPDX-License-Identifier: Apache-2.0
//
// Element types that no engine has, in one byte each: small floating formats
// without infinity, the scale of MX groups, integers of 4 and 2 bits; and what
// ONNX files make of them, and double. Comes in: contiguous elements, or fp32.
// Holds afterwards: the bits of an element that do not count are as dtype.def
// says. One function serves all formats, so these loops are not vectorised.

#include "core/dtype_small.h"

#include <math.h>
#include <string.h>

/// A format of 1 sign bit above `exponent` and `mantissa` bits.
typedef struct format {
  int exponent, mantissa, bias;
  bool has_nan; ///< the code of -0 is the only NaN
} format;

static bool find_format(ibx_dtype dtype, format *out) {
  switch (dtype) {
  case IBX_DTYPE_F8E4M3FNUZ: *out = (format){4, 3, 8, true}; return true;
  case IBX_DTYPE_F8E5M2FNUZ: *out = (format){5, 2, 16, true}; return true;
  case IBX_DTYPE_F6E2M3FN: *out = (format){2, 3, 1, false}; return true;
  case IBX_DTYPE_F6E3M2FN: *out = (format){3, 2, 3, false}; return true;
  case IBX_DTYPE_F4E2M1FN: *out = (format){2, 1, 1, false}; return true;
  default: return false;
  }
}

// ---- Floating formats

static float load_code(uint8_t code, format f) {
  int sign_place = f.exponent + f.mantissa;
  int magnitude = code & ((1 << sign_place) - 1);
  bool is_negative = code >> sign_place & 1;
  if (f.has_nan && is_negative && magnitude == 0) return NAN;
  int exponent = magnitude >> f.mantissa;
  int fraction = magnitude & ((1 << f.mantissa) - 1);
  if (exponent > 0) fraction += 1 << f.mantissa;
  if (exponent == 0) exponent = 1; // subnormal
  float value = ldexpf((float)fraction, exponent - f.bias - f.mantissa);
  return is_negative ? -value : value;
}

// The value in steps of the format, which grow with its exponent: rintf()
// rounds to nearest even, and a carry into the next exponent is its code.
static int magnitude_code(float magnitude, format f) {
  int exponent;
  if (magnitude == 0.0f) return 0;
  frexpf(magnitude, &exponent); // magnitude = m * 2^exponent, 1/2 <= m < 1
  exponent += f.bias - 1;
  if (exponent < 1) exponent = 1;
  if (exponent >= 1 << f.exponent) return 1 << (f.exponent + f.mantissa);
  float steps = ldexpf(magnitude, f.bias + f.mantissa - exponent);
  int whole = (int)rintf(steps);
  return whole + ((exponent - 1) << f.mantissa);
}

static uint8_t store_code(float value, format f) {
  int sign = 1 << (f.exponent + f.mantissa), most = sign - 1;
  bool is_negative = signbit(value) != 0;
  // -0 for NaN, and 0 for that with a sign.
  if (isnan(value)) return (uint8_t)(f.has_nan || !is_negative ? sign : 0);
  int code = isinf(value) ? most : magnitude_code(fabsf(value), f);
  if (code > most) code = most;
  if (code == 0 && f.has_nan) return 0;
  return (uint8_t)(is_negative ? code | sign : code);
}

// ---- Powers of two

static float load_power(uint8_t code) {
  return code == 255 ? NAN : ldexpf(1.0f, code - 127);
}

static uint8_t store_power(float value) {
  int exponent;
  if (isnan(value)) return 255;
  if (isinf(value)) return 254;
  float fraction =
      frexpf(fabsf(value), &exponent); // value = fraction * 2^exponent
  if (fraction == 0.5f) exponent--;    // a power of two, else rounded up
  if (fraction == 0.0f || exponent < -127) return 0;
  return (uint8_t)(exponent > 127 ? 254 : exponent + 127);
}

// ---- Integers

static uint8_t store_small_integer(float value, const ibx_dtype_info *info) {
  bool has_sign = info->kind == IBX_DTYPE_KIND_SINT;
  float most = (float)((1 << (info->width - has_sign)) - 1);
  float least = has_sign ? -most - 1.0f : 0.0f;
  if (isnan(value)) return 0;
  if (value > most) value = most;
  if (value < least) value = least;
  return (uint8_t)((int)rintf(value) & 0xff);
}

void ibx_dtype_load_small(ibx_dtype dtype, const void *src, float *dst,
                          size_t count) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  const uint8_t *codes = src;
  format f = {0};
  bool is_format = find_format(dtype, &f);
  if (!info || info->bits != 8) return;
  for (size_t i = 0; i < count; i++) {
    if (is_format) {
      dst[i] = load_code(codes[i], f);
    } else if (dtype == IBX_DTYPE_F8E8M0) {
      dst[i] = load_power(codes[i]);
    } else if (info->kind == IBX_DTYPE_KIND_SINT) {
      dst[i] = (float)(int8_t)codes[i];
    } else {
      dst[i] = (float)codes[i];
    }
  }
}

void ibx_dtype_store_small(ibx_dtype dtype, const float *src, void *dst,
                           size_t count) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  uint8_t *codes = dst;
  format f = {0};
  bool is_format = find_format(dtype, &f);
  if (!info || info->bits != 8) return;
  for (size_t i = 0; i < count; i++) {
    if (is_format) {
      codes[i] = store_code(src[i], f);
    } else if (dtype == IBX_DTYPE_F8E8M0) {
      codes[i] = store_power(src[i]);
    } else {
      codes[i] = store_small_integer(src[i], info);
    }
  }
}

// ---- Double

enum { BLOCK = 64 };

static size_t block_len(size_t left) { return left < BLOCK ? left : BLOCK; }

void ibx_dtype_load_f64(ibx_dtype dtype, const void *src, double *dst,
                        size_t count) {
  float block[BLOCK];
  size_t bytes = ibx_dtype_bytes(dtype);
  if (dtype == IBX_DTYPE_F64) {
    if (count != 0) memcpy(dst, src, count * sizeof *dst);
    return;
  }
  for (size_t first = 0; first < count; first += BLOCK) {
    size_t len = block_len(count - first);
    ibx_dtype_load_f32(dtype, (const char *)src + first * bytes, block, len);
    for (size_t i = 0; i < len; i++)
      dst[first + i] = (double)block[i];
  }
}

// The fp32 value next to `value` whose last bit is odd, unless `value` is an
// fp32 value. Rounding it again, to fewer bits, gives what rounding `value`
// itself would.
static float round_to_odd(double value) {
  float nearest = (float)value;
  if ((double)nearest == value || !isfinite(value)) return nearest;
  uint32_t bits;
  memcpy(&bits, &nearest, sizeof bits);
  if (bits & 1) return nearest;
  bool too_large = fabs((double)nearest) > fabs(value);
  bits = too_large ? bits - 1 : bits + 1;
  memcpy(&nearest, &bits, sizeof nearest);
  return nearest;
}

float ibx_dtype_narrowed(ibx_dtype dtype, double value) {
  return dtype == IBX_DTYPE_F32 ? (float)value : round_to_odd(value);
}

void ibx_dtype_store_f64(ibx_dtype dtype, const double *src, void *dst,
                         size_t count) {
  float block[BLOCK];
  size_t bytes = ibx_dtype_bytes(dtype);
  if (dtype == IBX_DTYPE_F64) {
    if (count != 0) memcpy(dst, src, count * sizeof *src);
    return;
  }
  for (size_t first = 0; first < count; first += BLOCK) {
    size_t len = block_len(count - first);
    for (size_t i = 0; i < len; i++)
      block[i] = ibx_dtype_narrowed(dtype, src[first + i]);
    ibx_dtype_store_f32(dtype, block, (char *)dst + first * bytes, len);
  }
}

// ---- The bits that count

ibx_dtype ibx_dtype_carrier(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  if (dtype == IBX_DTYPE_F8E4M3FN) return IBX_DTYPE_U8;
  if (!info || info->home == IBX_DTYPE_HOME_ENGINE) return dtype;
  if (info->bits == 64) return IBX_DTYPE_F64;
  if (info->bits != 8) return dtype;
  return info->kind == IBX_DTYPE_KIND_SINT ? IBX_DTYPE_I8 : IBX_DTYPE_U8;
}

uint64_t ibx_dtype_wrap(ibx_dtype dtype, uint64_t bits) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  if (!info || info->width == 0 || info->width >= 64) return bits;
  uint64_t mask = (UINT64_C(1) << info->width) - 1;
  uint64_t sign = UINT64_C(1) << (info->width - 1);
  bits &= mask;
  bool is_negative = info->kind == IBX_DTYPE_KIND_SINT && bits & sign;
  return is_negative ? bits | ~mask : bits;
}

uint64_t ibx_dtype_dense_bytes(ibx_dtype dtype, uint64_t count) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  uint64_t width = info ? info->width : 0;
  if (width != 0 && count > (UINT64_MAX - 7) / width) return UINT64_MAX;
  return (count * width + 7) / 8;
}

void ibx_dtype_from_dense(ibx_dtype dtype, const void *src, void *dst,
                          uint64_t count) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  const uint8_t *in = src;
  uint8_t *out = dst;
  if (!info || count == 0) return;
  if (info->width == info->bits) {
    memcpy(dst, src, (size_t)ibx_dtype_dense_bytes(dtype, count));
    return;
  }
  uint64_t bit = 0;
  for (uint64_t i = 0; i < count; i++, bit += info->width) {
    unsigned place = bit % 8;
    unsigned bits = (unsigned)in[bit / 8] >> place;
    // The next byte may be past the end, where no bit of it is wanted.
    if (place + info->width > 8)
      bits |= (unsigned)in[bit / 8 + 1] << (8 - place);
    out[i] = (uint8_t)(ibx_dtype_wrap(dtype, bits) & 0xff);
  }
}
