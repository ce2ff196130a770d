// SPDX-License-Identifier: Apache-2.0
//
// Between the dtypes of tensors and the two domains that kernels compute in:
// double and wrapping 64-bit integers. Comes in: contiguous elements of any
// alignment. Every conversion rounds once, or is exact.

#include "host/host.h"

#include <math.h>
#include <string.h>

// --- moving an element of unknown alignment ----------------------------------

#define LOAD_LOOP(type, expression)                                            \
  do {                                                                         \
    for (size_t i = 0; i < count; i++) {                                       \
      type element;                                                            \
      memcpy(&element, (const char *)src + i * sizeof element,                 \
             sizeof element);                                                  \
      dst[i] = (expression);                                                   \
    }                                                                          \
  } while (0)

#define STORE_LOOP(type, expression)                                           \
  do {                                                                         \
    for (size_t i = 0; i < count; i++) {                                       \
      type element = (expression);                                             \
      memcpy((char *)dst + i * sizeof element, &element, sizeof element);      \
    }                                                                          \
  } while (0)

void *ibx_host_at(void *data, ibx_dtype dtype, size_t index) {
  return (char *)data + index * ibx_dtype_bytes(dtype);
}

const void *ibx_host_at_const(const void *data, ibx_dtype dtype, size_t index) {
  return (const char *)data + index * ibx_dtype_bytes(dtype);
}

// --- double ------------------------------------------------------------------

static void load_narrow(ibx_dtype dtype, const void *src, double *dst,
                        size_t count) {
  float block[IBX_HOST_BLOCK];
  size_t bytes = ibx_dtype_bytes(dtype);
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = count - first;
    if (len > IBX_HOST_BLOCK) len = IBX_HOST_BLOCK;
    ibx_dtype_load_f32(dtype, (const char *)src + first * bytes, block, len);
    for (size_t i = 0; i < len; i++)
      dst[first + i] = (double)block[i];
  }
}

void ibx_host_load(ibx_dtype dtype, const void *src, double *dst,
                   size_t count) {
  switch (dtype) {
  case IBX_DTYPE_F32: LOAD_LOOP(float, (double)element); return;
  case IBX_DTYPE_F64: LOAD_LOOP(double, element); return;
  case IBX_DTYPE_I32: LOAD_LOOP(int32_t, (double)element); return;
  case IBX_DTYPE_U32: LOAD_LOOP(uint32_t, (double)element); return;
  case IBX_DTYPE_I64: LOAD_LOOP(int64_t, (double)element); return;
  case IBX_DTYPE_U64: LOAD_LOOP(uint64_t, (double)element); return;
  default: break;
  }
  load_narrow(dtype, src, dst, count);
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

void ibx_host_store(ibx_dtype dtype, const double *src, void *dst,
                    size_t count) {
  if (dtype == IBX_DTYPE_F32) {
    STORE_LOOP(float, (float)src[i]);
    return;
  }
  if (dtype == IBX_DTYPE_F64) {
    STORE_LOOP(double, src[i]);
    return;
  }
  float block[IBX_HOST_BLOCK];
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = count - first;
    if (len > IBX_HOST_BLOCK) len = IBX_HOST_BLOCK;
    for (size_t i = 0; i < len; i++)
      block[i] = round_to_odd(src[first + i]);
    ibx_dtype_store_f32(dtype, block, ibx_host_at(dst, dtype, first), len);
  }
}

// --- integers ----------------------------------------------------------------

void ibx_host_load_int(ibx_dtype dtype, const void *src, int64_t *dst,
                       size_t count) {
  switch (dtype) {
  case IBX_DTYPE_I8: LOAD_LOOP(int8_t, element); return;
  case IBX_DTYPE_U8: LOAD_LOOP(uint8_t, element); return;
  case IBX_DTYPE_I16: LOAD_LOOP(int16_t, element); return;
  case IBX_DTYPE_U16: LOAD_LOOP(uint16_t, element); return;
  case IBX_DTYPE_I32: LOAD_LOOP(int32_t, element); return;
  case IBX_DTYPE_U32: LOAD_LOOP(uint32_t, element); return;
  case IBX_DTYPE_I64:
  case IBX_DTYPE_U64: LOAD_LOOP(int64_t, element); return;
  case IBX_DTYPE_BOOL: LOAD_LOOP(uint8_t, element != 0); return;
  default: break;
  }
}

void ibx_host_store_int(ibx_dtype dtype, const int64_t *src, void *dst,
                        size_t count) {
  switch (ibx_dtype_bytes(dtype)) {
  case 1:
    if (dtype == IBX_DTYPE_BOOL) {
      STORE_LOOP(uint8_t, (uint8_t)(src[i] != 0));
    } else {
      STORE_LOOP(uint8_t, (uint8_t)((uint64_t)src[i] & 0xff));
    }
    return;
  case 2: STORE_LOOP(uint16_t, (uint16_t)((uint64_t)src[i] & 0xffff)); return;
  case 4: STORE_LOOP(uint32_t, (uint32_t)((uint64_t)src[i])); return;
  case 8: STORE_LOOP(int64_t, src[i]); return;
  default: return;
  }
}

// The integer as fp32 with sticky low bit (see round_to_odd): the 25 highest
// bits hold more than any dtype below fp32.
static float integer_to_odd(bool is_u64, int64_t value) {
  bool is_negative = !is_u64 && value < 0;
  uint64_t magnitude = is_negative ? 0 - (uint64_t)value : (uint64_t)value;
  int shift = 0;
  uint64_t lost = 0;
  while (magnitude >> 24 != 0) {
    lost |= magnitude & 1;
    magnitude >>= 1;
    shift++;
  }
  float result = ldexpf((float)(magnitude | lost), shift);
  return is_negative ? -result : result;
}

void ibx_host_store_from_int(ibx_dtype dtype, bool is_u64, const int64_t *src,
                             void *dst, size_t count) {
  if (dtype == IBX_DTYPE_F32) {
    STORE_LOOP(float, is_u64 ? (float)(uint64_t)src[i] : (float)src[i]);
    return;
  }
  if (dtype == IBX_DTYPE_F64) {
    STORE_LOOP(double, is_u64 ? (double)(uint64_t)src[i] : (double)src[i]);
    return;
  }
  float block[IBX_HOST_BLOCK];
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = count - first;
    if (len > IBX_HOST_BLOCK) len = IBX_HOST_BLOCK;
    for (size_t i = 0; i < len; i++) {
      block[i] = integer_to_odd(is_u64, src[first + i]);
    }
    ibx_dtype_store_f32(dtype, block, ibx_host_at(dst, dtype, first), len);
  }
}

// --- truncation --------------------------------------------------------------

// `limit` is one above the largest value, so that the comparisons are exact.
static int64_t truncate_signed(double value, double limit) {
  if (isnan(value)) return 0;
  if (value >= limit) {
    return limit == 0x1p63 ? INT64_MAX : (int64_t)limit - 1;
  }
  if (value <= -limit) return limit == 0x1p63 ? INT64_MIN : -(int64_t)limit;
  return (int64_t)value;
}

static int64_t truncate_unsigned(double value, double limit) {
  if (!(value > 0)) return 0;
  if (value >= limit) return limit == 0x1p64 ? -1 : (int64_t)limit - 1;
  return (int64_t)(uint64_t)value;
}

void ibx_host_store_truncated(ibx_dtype dtype, const double *src, void *dst,
                              size_t count) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_signed = info->kind == IBX_DTYPE_KIND_SINT;
  double limit = ldexp(1.0, info->bits - is_signed);
  int64_t block[IBX_HOST_BLOCK];
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = count - first;
    if (len > IBX_HOST_BLOCK) len = IBX_HOST_BLOCK;
    for (size_t i = 0; i < len; i++) {
      double value = src[first + i];
      block[i] = is_signed ? truncate_signed(value, limit)
                           : truncate_unsigned(value, limit);
    }
    ibx_host_store_int(dtype, block, ibx_host_at(dst, dtype, first), len);
  }
}

int64_t ibx_host_extreme(ibx_dtype dtype, bool largest) {
  double bound = largest ? INFINITY : -INFINITY;
  uint64_t element = 0;
  int64_t value = 0;
  ibx_host_store_truncated(dtype, &bound, &element, 1);
  ibx_host_load_int(dtype, &element, &value, 1);
  return value;
}
