// SPDX-License-Identifier: Apache-2.0
//
// Conversion of every element type to and from fp32. Comes in: contiguous
// elements, aligned or not. Goes out: the same number of elements; every bit is
// specified by dtype.h. The loops work on integers without branches and in
// blocks of a constant size, so that a compiler vectorises them at -O2.
//
// Rounding to nearest even is done by adding a constant whose last place is the
// place to round to: in the integer pattern for normal results, in floating
// point for results below the smallest normal number. A store to a NaN makes
// it quiet and keeps its sign and the payload bits that fit.

#include "core/dtype_small.h"

#include <string.h>

enum { BLOCK = 64 };

// Character `i` of a literal, 0 past its end. Both compilers take it for a
// constant, as C17 6.6 allows.
#define CHAR(s, i) ((s "\0\0\0\0\0\0\0\0\0\0\0\0")[i])
#define LOWER(c) ((char)((c) >= 'A' && (c) <= 'Z' ? (c) - 'A' + 'a' : (c)))
#define LOWER_CHAR(s, i) LOWER(CHAR(s, i))

// Rows name types in upper case, with at most 10 letters; text is lower case.
static const char names[][12] = {
#define IBX_DTYPE(name, number, ...)                                           \
  [number] = {                                                                 \
      LOWER_CHAR(#name, 0), LOWER_CHAR(#name, 1), LOWER_CHAR(#name, 2),        \
      LOWER_CHAR(#name, 3), LOWER_CHAR(#name, 4), LOWER_CHAR(#name, 5),        \
      LOWER_CHAR(#name, 6), LOWER_CHAR(#name, 7), LOWER_CHAR(#name, 8),        \
      LOWER_CHAR(#name, 9)},
#include "imbrex/dtype.def"
};

static const ibx_dtype_info infos[] = {
#define IBX_DTYPE(row_name, number, row_bits, row_width, row_onnx, row_kind,   \
                  row_home, row_mlir, row_numpy, row_sentence)                 \
  [number] = {.name = names[number],                                           \
              .mlir = (row_mlir),                                              \
              .numpy = (row_numpy),                                            \
              .sentence = (row_sentence),                                      \
              .bits = (row_bits),                                              \
              .width = (row_width),                                            \
              .onnx = (row_onnx),                                              \
              .kind = IBX_DTYPE_KIND_##row_kind,                               \
              .home = IBX_DTYPE_HOME_##row_home},
#include "imbrex/dtype.def"
};

#define IBX_DTYPE_TEXT(row_name, number, row_onnx, row_mlir, row_sentence)     \
  static const ibx_dtype_info text_info = {.name = "string",                   \
                                           .mlir = (row_mlir),                 \
                                           .numpy = "",                        \
                                           .sentence = (row_sentence),         \
                                           .onnx = (row_onnx),                 \
                                           .home = IBX_DTYPE_HOME_PACKED,      \
                                           .kind = IBX_DTYPE_KIND_TEXT};
#include "imbrex/dtype.def"

const ibx_dtype_info *ibx_dtype_get(ibx_dtype dtype) {
  size_t index = (size_t)dtype;
  if (dtype == IBX_DTYPE_STRING) return &text_info;
  return index < IBX_COUNT_OF(infos) ? &infos[index] : NULL;
}

bool ibx_dtype_is_packed(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info && info->home == IBX_DTYPE_HOME_PACKED;
}

size_t ibx_dtype_bytes(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info ? info->bits / 8u : 0;
}

ibx_dtype ibx_dtype_from_onnx(int onnx) {
  for (size_t i = 1; i < IBX_COUNT_OF(infos); i++) {
    if (infos[i].onnx != 0 && infos[i].onnx == onnx) return (ibx_dtype)i;
  }
  if (onnx == text_info.onnx) return IBX_DTYPE_STRING;
  return IBX_DTYPE_NONE;
}

static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// `yes` or `no`, without a branch that would keep a loop scalar.
static inline uint32_t pick(bool condition, uint32_t yes, uint32_t no) {
  uint32_t mask = 0u - (uint32_t)condition;
  return (yes & mask) | (no & ~mask);
}

// One binary format below fp32: 1 sign, `exponent` and `mantissa` bits.
typedef struct mini_format {
  int mantissa;
  int bias;
  uint32_t infinity; ///< code of infinity, or of NaN in a format without one
  uint32_t largest;  ///< code of the largest finite value
} mini_format;

static const mini_format e4m3 = {3, 7, 0x78, 0x77};
static const mini_format e4m3fn = {3, 7, 0x7f, 0x7e};
static const mini_format e5m2 = {2, 15, 0x7c, 0x7b};

static float load_mini(uint8_t code, mini_format format) {
  uint32_t sign = (uint32_t)(code & 0x80) << 24;
  uint32_t magnitude = code & 0x7fu;
  if (magnitude >= format.infinity) {
    // Infinity has mantissa 0 and NaN has not, here and in fp32.
    uint32_t payload = magnitude << (23 - format.mantissa) & 0x7fffff;
    return float_of(sign | 0x7f800000 | payload);
  }
  // The code, moved to fp32's place, is the value but for the exponent bias; a
  // multiplication by a power of two is exact and treats subnormals alike.
  uint32_t scale = (uint32_t)(127 + 127 - format.bias) << 23;
  float value = float_of(magnitude << (23 - format.mantissa)) * float_of(scale);
  return float_of(bits_of(value) | sign);
}

static uint8_t store_mini(float value, mini_format format) {
  uint32_t bits = bits_of(value);
  uint32_t sign = bits >> 24 & 0x80;
  uint32_t magnitude = bits & 0x7fffffff;
  int shift = 23 - format.mantissa;
  bool saturates = format.largest + 1 == 0x7f;
  if (magnitude > 0x7f800000) {
    uint32_t quiet = 1u << (format.mantissa - 1);
    uint32_t payload = (magnitude & 0x7fffff) >> shift;
    uint32_t fraction = saturates ? 0 : quiet | payload;
    return (uint8_t)(sign | format.infinity | fraction);
  }
  uint32_t smallest_normal = (uint32_t)(128 - format.bias) << 23;
  uint32_t code;
  if (magnitude < smallest_normal) {
    // The last place of this constant is the format's smallest step.
    uint32_t magic = (uint32_t)(127 + 1 - format.bias + shift) << 23;
    code = bits_of(float_of(magnitude) + float_of(magic)) - magic;
  } else {
    uint32_t odd = magnitude >> shift & 1;
    uint32_t rounded = magnitude + (1u << (shift - 1)) - 1 + odd;
    uint32_t rebias = (uint32_t)(127 - format.bias) << format.mantissa;
    code = (rounded >> shift) - rebias;
  }
  uint32_t limit = saturates ? format.largest : format.infinity;
  return (uint8_t)(sign | (code > limit ? limit : code));
}

// Ten bits of mantissa: the lower thirteen are not there.
static inline float load_tf32(uint32_t code) {
  uint32_t nan = (code & 0x7fffffff) > 0x7f800000 ? 0x00400000 : 0;
  return float_of((code & 0xffffe000) | nan);
}

static inline uint32_t store_tf32(float value) {
  uint32_t bits = bits_of(value);
  uint32_t rounded = (bits + 0xfff + (bits >> 13 & 1)) & 0xffffe000;
  uint32_t nan = (bits | 0x00400000) & 0xffffe000;
  return pick((bits & 0x7fffffff) > 0x7f800000, nan, rounded);
}

static inline float load_bf16(uint16_t code) {
  return float_of((uint32_t)code << 16);
}

static inline uint16_t store_bf16(float value) {
  uint32_t bits = bits_of(value);
  uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  uint32_t nan = bits >> 16 | 0x40;
  return (uint16_t)pick((bits & 0x7fffffff) > 0x7f800000, nan, rounded);
}

static inline float load_f16(uint16_t code) {
  uint32_t sign = (uint32_t)(code & 0x8000) << 16;
  uint32_t magnitude = (uint32_t)(code & 0x7fff) << 13;
  // 2^112 is the difference of both exponent biases; see load_mini.
  uint32_t value = bits_of(float_of(magnitude) * 0x1p112f);
  uint32_t special = 0x7f800000 | magnitude;
  return float_of(pick(magnitude >= 0x0f800000, special, value) | sign);
}

static inline uint16_t store_f16(float value) {
  uint32_t bits = bits_of(value);
  uint32_t sign = bits >> 16 & 0x8000;
  uint32_t magnitude = bits & 0x7fffffff;
  uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f);
  uint32_t normal =
      ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112u << 10);
  uint32_t nan = 0x7e00 | (magnitude >> 13 & 0x3ff);
  uint32_t code = pick(magnitude < 0x38800000, subnormal, normal);
  code = pick(magnitude >= 0x47800000, 0x7c00, code);
  code = pick(magnitude > 0x7f800000, nan, code);
  return (uint16_t)(sign | code);
}

// Clamps to [-low, high], at most 2^16 each, and rounds. A sum with 1.5 * 2^23
// has steps of 1, so its low bits are the integer.
static inline int32_t store_small(float value, float low, float high) {
  const float magic = 0x1.8p23f;
  uint32_t bits = bits_of(value);
  uint32_t sign = bits & 0x80000000;
  uint32_t magnitude = bits & 0x7fffffff;
  uint32_t limit = pick(sign != 0, bits_of(low), bits_of(high));
  uint32_t clamped = pick(magnitude > limit, limit, magnitude);
  clamped = pick(magnitude > 0x7f800000, 0, clamped);
  return (int32_t)(bits_of(float_of(clamped | sign) + magic) - bits_of(magic));
}

// Rounds a value of magnitude below 2^51, in double.
static inline double round_wide(double value) {
  const double magic = 0x1.8p52;
  double sum = value + magic;
  return sum - magic;
}

static int32_t store_i32(float value) {
  if (value != value) return 0;
  if (value >= 0x1p31f) return INT32_MAX;
  if (value <= -0x1p31f) return INT32_MIN;
  return (int32_t)round_wide((double)value);
}

static uint32_t store_u32(float value) {
  if (!(value > 0.0f)) return 0;
  if (value >= 0x1p32f) return UINT32_MAX;
  return (uint32_t)round_wide((double)value);
}

static int64_t store_i64(float value) {
  if (value != value) return 0;
  if (value >= 0x1p63f) return INT64_MAX;
  if (value <= -0x1p63f) return INT64_MIN;
  if (value >= 0x1p24f || value <= -0x1p24f) return (int64_t)value;
  return (int64_t)round_wide((double)value);
}

static uint64_t store_u64(float value) {
  if (!(value > 0.0f)) return 0;
  if (value >= 0x1p64f) return UINT64_MAX;
  if (value >= 0x1p24f) return (uint64_t)value;
  return (uint64_t)round_wide((double)value);
}

// A loop over elements of storage type `type` in blocks of BLOCK: the constant
// trip count is what gcc needs to vectorise at -O2. `element` is the element in
// a load, and `value` the fp32 value in a store.
#define LOAD_LOOP(name, type, expression)                                      \
  IBX_CPU_CLONES static void name(const uint8_t *restrict src,                 \
                                  float *restrict dst, size_t count) {         \
    size_t i = 0;                                                              \
    for (; i + BLOCK <= count; i += BLOCK) {                                   \
      for (size_t j = 0; j < BLOCK; j++) {                                     \
        type element;                                                          \
        memcpy(&element, src + (i + j) * sizeof element, sizeof element);      \
        dst[i + j] = (expression);                                             \
      }                                                                        \
    }                                                                          \
    for (; i < count; i++) {                                                   \
      type element;                                                            \
      memcpy(&element, src + i * sizeof element, sizeof element);              \
      dst[i] = (expression);                                                   \
    }                                                                          \
  }

#define STORE_LOOP(name, type, expression)                                     \
  IBX_CPU_CLONES static void name(const float *restrict src,                   \
                                  uint8_t *restrict dst, size_t count) {       \
    size_t i = 0;                                                              \
    for (; i + BLOCK <= count; i += BLOCK) {                                   \
      for (size_t j = 0; j < BLOCK; j++) {                                     \
        float value = src[i + j];                                              \
        type element = (type)(expression);                                     \
        memcpy(dst + (i + j) * sizeof element, &element, sizeof element);      \
      }                                                                        \
    }                                                                          \
    for (; i < count; i++) {                                                   \
      float value = src[i];                                                    \
      type element = (type)(expression);                                       \
      memcpy(dst + i * sizeof element, &element, sizeof element);              \
    }                                                                          \
  }

LOAD_LOOP(load_all_bf16, uint16_t, load_bf16(element))
LOAD_LOOP(load_all_tf32, uint32_t, load_tf32(element))
LOAD_LOOP(load_all_f16, uint16_t, load_f16(element))
LOAD_LOOP(load_all_e4m3, uint8_t, load_mini(element, e4m3))
LOAD_LOOP(load_all_e4m3fn, uint8_t, load_mini(element, e4m3fn))
LOAD_LOOP(load_all_e5m2, uint8_t, load_mini(element, e5m2))
LOAD_LOOP(load_all_f64, double, (float)element)
LOAD_LOOP(load_all_i8, int8_t, (float)element)
LOAD_LOOP(load_all_u8, uint8_t, (float)element)
LOAD_LOOP(load_all_i16, int16_t, (float)element)
LOAD_LOOP(load_all_u16, uint16_t, (float)element)
LOAD_LOOP(load_all_i32, int32_t, (float)element)
LOAD_LOOP(load_all_u32, uint32_t, (float)element)
LOAD_LOOP(load_all_i64, int64_t, (float)element)
LOAD_LOOP(load_all_u64, uint64_t, (float)element)
LOAD_LOOP(load_all_bool, uint8_t, element != 0 ? 1.0f : 0.0f)

STORE_LOOP(store_all_bf16, uint16_t, store_bf16(value))
STORE_LOOP(store_all_tf32, uint32_t, store_tf32(value))
STORE_LOOP(store_all_f16, uint16_t, store_f16(value))
STORE_LOOP(store_all_e4m3, uint8_t, store_mini(value, e4m3))
STORE_LOOP(store_all_e4m3fn, uint8_t, store_mini(value, e4m3fn))
STORE_LOOP(store_all_e5m2, uint8_t, store_mini(value, e5m2))
STORE_LOOP(store_all_f64, double, value)
STORE_LOOP(store_all_i8, int8_t, store_small(value, 128.0f, 127.0f))
STORE_LOOP(store_all_u8, uint8_t, store_small(value, 0.0f, 255.0f))
STORE_LOOP(store_all_i16, int16_t, store_small(value, 32768.0f, 32767.0f))
STORE_LOOP(store_all_u16, uint16_t, store_small(value, 0.0f, 65535.0f))
STORE_LOOP(store_all_i32, int32_t, store_i32(value))
STORE_LOOP(store_all_u32, uint32_t, store_u32(value))
STORE_LOOP(store_all_i64, int64_t, store_i64(value))
STORE_LOOP(store_all_u64, uint64_t, store_u64(value))
STORE_LOOP(store_all_bool, uint8_t, value != 0.0f)

void ibx_dtype_load_f32(ibx_dtype dtype, const void *src, float *dst,
                        size_t count) {
  switch (dtype) {
  case IBX_DTYPE_F32:
    if (count != 0) memcpy(dst, src, count * sizeof *dst);
    return;
  case IBX_DTYPE_BF16: load_all_bf16(src, dst, count); return;
  case IBX_DTYPE_TF32: load_all_tf32(src, dst, count); return;
  case IBX_DTYPE_F16: load_all_f16(src, dst, count); return;
  case IBX_DTYPE_F8E4M3: load_all_e4m3(src, dst, count); return;
  case IBX_DTYPE_F8E4M3FN: load_all_e4m3fn(src, dst, count); return;
  case IBX_DTYPE_F8E5M2: load_all_e5m2(src, dst, count); return;
  case IBX_DTYPE_F64: load_all_f64(src, dst, count); return;
  case IBX_DTYPE_I8: load_all_i8(src, dst, count); return;
  case IBX_DTYPE_U8: load_all_u8(src, dst, count); return;
  case IBX_DTYPE_I16: load_all_i16(src, dst, count); return;
  case IBX_DTYPE_U16: load_all_u16(src, dst, count); return;
  case IBX_DTYPE_I32: load_all_i32(src, dst, count); return;
  case IBX_DTYPE_U32: load_all_u32(src, dst, count); return;
  case IBX_DTYPE_I64: load_all_i64(src, dst, count); return;
  case IBX_DTYPE_U64: load_all_u64(src, dst, count); return;
  case IBX_DTYPE_BOOL: load_all_bool(src, dst, count); return;
  default: ibx_dtype_load_small(dtype, src, dst, count); return;
  }
}

void ibx_dtype_store_f32(ibx_dtype dtype, const float *src, void *dst,
                         size_t count) {
  switch (dtype) {
  case IBX_DTYPE_F32:
    if (count != 0) memcpy(dst, src, count * sizeof *src);
    return;
  case IBX_DTYPE_BF16: store_all_bf16(src, dst, count); return;
  case IBX_DTYPE_TF32: store_all_tf32(src, dst, count); return;
  case IBX_DTYPE_F16: store_all_f16(src, dst, count); return;
  case IBX_DTYPE_F8E4M3: store_all_e4m3(src, dst, count); return;
  case IBX_DTYPE_F8E4M3FN: store_all_e4m3fn(src, dst, count); return;
  case IBX_DTYPE_F8E5M2: store_all_e5m2(src, dst, count); return;
  case IBX_DTYPE_F64: store_all_f64(src, dst, count); return;
  case IBX_DTYPE_I8: store_all_i8(src, dst, count); return;
  case IBX_DTYPE_U8: store_all_u8(src, dst, count); return;
  case IBX_DTYPE_I16: store_all_i16(src, dst, count); return;
  case IBX_DTYPE_U16: store_all_u16(src, dst, count); return;
  case IBX_DTYPE_I32: store_all_i32(src, dst, count); return;
  case IBX_DTYPE_U32: store_all_u32(src, dst, count); return;
  case IBX_DTYPE_I64: store_all_i64(src, dst, count); return;
  case IBX_DTYPE_U64: store_all_u64(src, dst, count); return;
  case IBX_DTYPE_BOOL: store_all_bool(src, dst, count); return;
  default: ibx_dtype_store_small(dtype, src, dst, count); return;
  }
}

// --- stochastic rounding ------------------------------------------------------

// Mantissa and bias of the types below fp32; the mantissa of others is 0.
static mini_format format_of(ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_BF16: return (mini_format){.mantissa = 7, .bias = 127};
  case IBX_DTYPE_TF32: return (mini_format){.mantissa = 10, .bias = 127};
  case IBX_DTYPE_F16: return (mini_format){.mantissa = 10, .bias = 15};
  case IBX_DTYPE_F8E4M3: return e4m3;
  case IBX_DTYPE_F8E4M3FN: return e4m3fn;
  case IBX_DTYPE_F8E5M2: return e5m2;
  default: return (mini_format){.mantissa = 0};
  }
}

// Adds random bits to the `places` lowest bits, which are then cut off. Both
// operands are below 2^63.
static uint32_t cut(uint32_t magnitude, int places, uint64_t random) {
  return (uint32_t)((magnitude + (random >> (64 - places))) >> places);
}

// The smallest step of a format is 2^(1 - bias - mantissa). `places` bits of the
// 24 of fp32, whose last is 2^(exponent - 150), lie below it.
static float round_subnormal(uint32_t magnitude, mini_format format,
                             uint64_t random) {
  int exponent = magnitude >> 23 == 0 ? 1 : (int)(magnitude >> 23);
  uint32_t hidden = magnitude >> 23 == 0 ? 0 : 0x00800000;
  int places = 1 - format.bias - format.mantissa + 150 - exponent;
  if (places > 63) return 0.0f;
  uint32_t code = cut((magnitude & 0x007fffff) | hidden, places, random);
  uint32_t step = (uint32_t)(128 - format.bias - format.mantissa) << 23;
  return (float)code * float_of(step);
}

float ibx_dtype_round_f32(ibx_dtype dtype, float value, uint64_t random) {
  mini_format format = format_of(dtype);
  uint32_t sign = bits_of(value) & 0x80000000;
  uint32_t magnitude = bits_of(value) & 0x7fffffff;
  if (format.mantissa == 0 || magnitude >= 0x7f800000) return value;
  // bf16 and tf32 have fp32's exponents: their subnormals are cut like others.
  uint32_t smallest_normal = (uint32_t)(128 - format.bias) << 23;
  if (format.bias != 127 && magnitude < smallest_normal) {
    float rounded = round_subnormal(magnitude, format, random);
    return float_of(bits_of(rounded) | sign);
  }
  int places = 23 - format.mantissa;
  return float_of(cut(magnitude, places, random) << places | sign);
}

// --- types x4 -----------------------------------------------------------------

// Magnitudes of the eight codes of e2m1 (OCP Microscaling Formats 1.0, 5.3.3).
static const float e2m1[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

static float load_e2m1(uint32_t code) {
  return code & 8 ? -e2m1[code & 7] : e2m1[code & 7];
}

// The nearest magnitude, of two equally near ones that with an even code. NaN
// has no code: it saturates [C].
static uint32_t store_e2m1(float value) {
  uint32_t sign = bits_of(value) >> 28 & 8;
  float magnitude = float_of(bits_of(value) & 0x7fffffff);
  uint32_t code = 7;
  while (code > 0) {
    float middle = (e2m1[code] + e2m1[code - 1]) / 2;
    bool is_even = code % 2 == 0;
    if (!(magnitude < middle || (magnitude == middle && !is_even))) break;
    code--;
  }
  return sign | code;
}

// MX elements saturate: what exceeds the largest finite value becomes it.
static uint32_t store_e5m2_saturated(float value) {
  uint8_t code = store_mini(value, e5m2);
  return (code & 0x7f) == e5m2.infinity ? code - 1u : code;
}

void ibx_dtype_unpack4(ibx_dtype dtype, uint32_t bits, float out[4]) {
  for (unsigned i = 0; i < 4; i++) {
    uint8_t byte = (uint8_t)(bits >> 8 * i);
    switch (dtype) {
    case IBX_DTYPE_F8E5M2X4: out[i] = load_mini(byte, e5m2); break;
    case IBX_DTYPE_F8E4M3FNX4: out[i] = load_mini(byte, e4m3fn); break;
    case IBX_DTYPE_F4E2M1FNX4: out[i] = load_e2m1(bits >> 4 * i & 15); break;
    default: out[i] = 0.0f; break;
    }
  }
}

uint32_t ibx_dtype_pack4(ibx_dtype dtype, const float in[4]) {
  uint32_t bits = 0;
  for (unsigned i = 0; i < 4; i++) {
    switch (dtype) {
    case IBX_DTYPE_F8E5M2X4:
      bits |= store_e5m2_saturated(in[i]) << 8 * i;
      break;
    case IBX_DTYPE_F8E4M3FNX4:
      bits |= (uint32_t)store_mini(in[i], e4m3fn) << 8 * i;
      break;
    case IBX_DTYPE_F4E2M1FNX4: bits |= store_e2m1(in[i]) << 4 * i; break;
    default: break;
    }
  }
  return bits;
}
