// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_TENSORS_H
#define IBX_TEST_TENSORS_H

/// \file
/// Random tensors for the tests of kernels, and elements by number as oracles
/// want them. Data lie at odd addresses, as in a mapped model.

#include "imbrex/tensor.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

static inline size_t random_below(uint64_t *seed, size_t limit) {
  return (size_t)(next_random(seed) >> 11) % limit;
}

static inline double random_real(uint64_t *seed, double low, double high) {
  return low + (high - low) * (double)(next_random(seed) >> 11) * 0x1p-53;
}

static inline size_t count_of(const ibx_type *type) {
  int64_t count = -1;
  assert_true(ibx_type_elements(type, &count));
  return (size_t)count;
}

static inline bool is_float(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
}

/// Zeroed data; free_tensor() frees them.
static inline ibx_tensor make_tensor(ibx_type type) {
  size_t bytes = count_of(&type) * ibx_dtype_bytes(type.dtype);
  char *data = calloc(bytes + 1, 1);
  assert_non_null(data);
  return (ibx_tensor){.type = type, .data = data + 1};
}

static inline void free_tensor(ibx_tensor *tensor) {
  free((char *)tensor->data - 1);
  tensor->data = NULL;
}

static inline void *element_of(const ibx_tensor *tensor, size_t index) {
  return (char *)tensor->data + index * ibx_dtype_bytes(tensor->type.dtype);
}

static inline double real_at(const ibx_tensor *tensor, size_t index) {
  double wide;
  float value;
  if (tensor->type.dtype == IBX_DTYPE_F64) {
    memcpy(&wide, element_of(tensor, index), sizeof wide);
    return wide;
  }
  ibx_dtype_load_f32(tensor->type.dtype, element_of(tensor, index), &value, 1);
  return (double)value;
}

static inline void set_real(ibx_tensor *tensor, size_t index, double value) {
  float narrow = (float)value;
  if (tensor->type.dtype == IBX_DTYPE_F64) {
    memcpy(element_of(tensor, index), &value, sizeof value);
    return;
  }
  ibx_dtype_store_f32(tensor->type.dtype, &narrow, element_of(tensor, index),
                      1);
}

/// `bits` cut to the dtype's width and widened again, with its sign.
static inline int64_t wrapped(ibx_dtype dtype, uint64_t bits) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  if (info->kind == IBX_DTYPE_KIND_BOOL) return bits != 0;
  unsigned shift = 64u - info->width;
  if (info->kind == IBX_DTYPE_KIND_UINT) {
    return (int64_t)(bits << shift >> shift);
  }
  uint64_t sign = UINT64_C(1) << (info->width - 1);
  uint64_t low = bits << shift >> shift;
  return (int64_t)((low ^ sign) - sign);
}

static inline int64_t int_at(const ibx_tensor *tensor, size_t index) {
  uint64_t bits = 0; // tests run on little-endian machines
  memcpy(&bits, element_of(tensor, index), ibx_dtype_bytes(tensor->type.dtype));
  return wrapped(tensor->type.dtype, bits);
}

static inline void set_int(ibx_tensor *tensor, size_t index, int64_t value) {
  value = wrapped(tensor->type.dtype, (uint64_t)value);
  memcpy(element_of(tensor, index), &value,
         ibx_dtype_bytes(tensor->type.dtype));
}

/// Random elements: reals from low to high, integers of few or of all bits.
static inline ibx_tensor random_tensor(uint64_t *seed, ibx_type type,
                                       double low, double high) {
  ibx_tensor tensor = make_tensor(type);
  bool is_small = random_below(seed, 2) == 0;
  for (size_t i = 0; i < count_of(&type); i++) {
    if (is_float(type.dtype)) {
      set_real(&tensor, i, random_real(seed, low, high));
    } else {
      uint64_t bits = next_random(seed);
      set_int(&tensor, i, is_small ? (int64_t)(bits % 7) - 3 : (int64_t)bits);
    }
  }
  return tensor;
}

static inline ibx_type random_type(uint64_t *seed, ibx_dtype dtype,
                                   size_t least_rank, size_t most_rank,
                                   size_t most_extent) {
  ibx_type type = {.dtype = dtype};
  type.rank =
      (uint8_t)(least_rank + random_below(seed, most_rank - least_rank + 1));
  for (size_t i = 0; i < type.rank; i++) {
    type.dims[i] = (int64_t)(1 + random_below(seed, most_extent));
  }
  return type;
}

/// The coordinates of element `index`, and the way back.
static inline void split_index(const ibx_type *type, size_t index,
                               int64_t at[IBX_MAX_RANK]) {
  for (size_t i = type->rank; i-- > 0;) {
    at[i] = (int64_t)(index % (size_t)type->dims[i]);
    index /= (size_t)type->dims[i];
  }
}

static inline size_t join_index(const ibx_type *type,
                                const int64_t at[IBX_MAX_RANK]) {
  size_t index = 0;
  for (size_t i = 0; i < type->rank; i++) {
    assert_true(at[i] >= 0 && at[i] < type->dims[i]);
    index = index * (size_t)type->dims[i] + (size_t)at[i];
  }
  return index;
}

/// Infers, makes room and computes; both must work. free_tensor() it.
static inline ibx_tensor evaluate(ibx_tensor_op op, const ibx_params *params,
                                  const ibx_tensor *operands, size_t count) {
  ibx_type types[8], type;
  ibx_error err = {.status = IBX_OK};
  for (size_t i = 0; i < count; i++)
    types[i] = operands[i].type;
  if (ibx_tensor_infer(op, params, types, count, &type, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  ibx_tensor result = make_tensor(type);
  if (ibx_tensor_eval(op, params, operands, count, &result, &err) != IBX_OK) {
    fail_msg("%s", err.message);
  }
  return result;
}

/// Half the distance of neighbouring values of a floating dtype at `value`: the
/// error of one rounding.
static inline double half_step(ibx_dtype dtype, double value) {
  int mantissa = 52, smallest = -1074;
  switch (dtype) {
  case IBX_DTYPE_F32: mantissa = 23, smallest = -149; break;
  case IBX_DTYPE_BF16: mantissa = 7, smallest = -133; break;
  case IBX_DTYPE_TF32: mantissa = 10, smallest = -136; break;
  case IBX_DTYPE_F16: mantissa = 10, smallest = -24; break;
  case IBX_DTYPE_F8E4M3:
  case IBX_DTYPE_F8E4M3FN: mantissa = 3, smallest = -9; break;
  case IBX_DTYPE_F8E5M2: mantissa = 2, smallest = -16; break;
  case IBX_DTYPE_F8E4M3FNUZ: mantissa = 3, smallest = -10; break;
  case IBX_DTYPE_F8E5M2FNUZ: mantissa = 2, smallest = -17; break;
  case IBX_DTYPE_F6E2M3FN: mantissa = 3, smallest = -3; break;
  case IBX_DTYPE_F6E3M2FN: mantissa = 2, smallest = -4; break;
  case IBX_DTYPE_F4E2M1FN: mantissa = 1, smallest = -1; break;
  default: break;
  }
  int exponent = value == 0 ? smallest : ilogb(value) - mantissa;
  return ldexp(0.5, exponent < smallest ? smallest : exponent);
}

/// Largest magnitude that a floating dtype keeps finite.
static inline double largest_of(ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_F16: return 65504;
  case IBX_DTYPE_F8E4M3:
  case IBX_DTYPE_F8E4M3FNUZ: return 240;
  case IBX_DTYPE_F8E4M3FN: return 448;
  case IBX_DTYPE_F8E5M2:
  case IBX_DTYPE_F8E5M2FNUZ: return 57344;
  case IBX_DTYPE_F6E2M3FN: return 7.5;
  case IBX_DTYPE_F6E3M2FN: return 28;
  case IBX_DTYPE_F4E2M1FN: return 6;
  default: return 1e38;
  }
}

static inline bool has_nan(ibx_dtype dtype) {
  return dtype != IBX_DTYPE_F6E2M3FN && dtype != IBX_DTYPE_F6E3M2FN &&
         dtype != IBX_DTYPE_F4E2M1FN;
}

/// Asserts that `got` is `expected` rounded once, up to an error of `slack`
/// made before.
static inline void assert_rounded(ibx_dtype dtype, double got, double expected,
                                  double slack) {
  if (isnan(expected)) {
    assert_true(isnan(got) || !has_nan(dtype));
    return;
  }
  if (fabs(expected) > largest_of(dtype)) return;
  double allowed = half_step(dtype, expected) * (1 + 1e-9) + slack;
  if (!(fabs(got - expected) <= allowed)) {
    fail_msg("%s: got %.17g, expected %.17g within %g",
             ibx_dtype_get(dtype)->name, got, expected, allowed);
  }
}

#endif
