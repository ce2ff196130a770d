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

void ibx_host_load(ibx_dtype dtype, const void *src, double *dst,
                   size_t count) {
  switch (dtype) {
  case IBX_DTYPE_I32: LOAD_LOOP(int32_t, (double)element); return;
  case IBX_DTYPE_U32: LOAD_LOOP(uint32_t, (double)element); return;
  case IBX_DTYPE_I64: LOAD_LOOP(int64_t, (double)element); return;
  case IBX_DTYPE_U64: LOAD_LOOP(uint64_t, (double)element); return;
  default: break;
  }
  ibx_dtype_load_f64(dtype, src, dst, count);
}

void ibx_host_store(ibx_dtype dtype, const double *src, void *dst,
                    size_t count) {
  ibx_dtype_store_f64(dtype, src, dst, count);
}

// --- integers ----------------------------------------------------------------

void ibx_host_load_int(ibx_dtype dtype, const void *src, int64_t *dst,
                       size_t count) {
  switch (dtype) {
  case IBX_DTYPE_I8:
  case IBX_DTYPE_I4:
  case IBX_DTYPE_I2: LOAD_LOOP(int8_t, element); return;
  case IBX_DTYPE_U8:
  case IBX_DTYPE_U4:
  case IBX_DTYPE_U2: LOAD_LOOP(uint8_t, element); return;
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
      STORE_LOOP(uint8_t,
                 (uint8_t)(ibx_dtype_wrap(dtype, (uint64_t)src[i]) & 0xff));
    }
    return;
  case 2: STORE_LOOP(uint16_t, (uint16_t)((uint64_t)src[i] & 0xffff)); return;
  case 4: STORE_LOOP(uint32_t, (uint32_t)((uint64_t)src[i])); return;
  case 8: STORE_LOOP(int64_t, src[i]); return;
  default: return;
  }
}

// The integer as fp32 with sticky low bit (see ibx_dtype_store_f64): the 25 highest
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
  // Integers below a byte are the low bits of 32.
  bool is_narrow = info->width < 8;
  bool is_signed = is_narrow || info->kind == IBX_DTYPE_KIND_SINT;
  double limit = ldexp(1.0, (is_narrow ? 32 : info->bits) - is_signed);
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
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  if (dtype == IBX_DTYPE_BOOL) return largest;
  bool is_signed = info->kind == IBX_DTYPE_KIND_SINT;
  uint64_t most = UINT64_MAX >> (64 - info->width + is_signed);
  return (int64_t)(largest ? most : is_signed ? ~most : 0);
}
