// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DTYPE_H
#define IBX_DTYPE_H

/// \file
/// Element types and the conversion of every one to and from fp32, which is
/// what the machine computes in. Pure functions.

#include "imbrex/base.h"

IBX_C_BEGIN

typedef enum ibx_dtype {
#define IBX_DTYPE(name, number, ...) IBX_DTYPE_##name = (number),
#include "imbrex/dtype.def"
  IBX_DTYPE_COUNT, ///< of those that a machine may have
#define IBX_DTYPE_TEXT(name, number, onnx, mlir, sentence)                     \
  IBX_DTYPE_##name = (number),
#include "imbrex/dtype.def"
} ibx_dtype;

typedef enum ibx_dtype_kind {
  IBX_DTYPE_KIND_FLOAT,
  IBX_DTYPE_KIND_SINT,
  IBX_DTYPE_KIND_UINT,
  IBX_DTYPE_KIND_BOOL,
  IBX_DTYPE_KIND_PACKED,
  IBX_DTYPE_KIND_TEXT
} ibx_dtype_kind;

/// Who computes with a type; see dtype.def.
typedef enum ibx_dtype_home {
  IBX_DTYPE_HOME_ENGINE,
  IBX_DTYPE_HOME_WIDE,
  IBX_DTYPE_HOME_LIBRARY,
  IBX_DTYPE_HOME_PACKED
} ibx_dtype_home;

typedef struct ibx_dtype_info {
  const char *name;  ///< lower case: "bf16"
  const char *mlir;  ///< MLIR spelling
  const char *numpy; ///< .npy descr, "" where there is none
  const char *sentence;
  uint8_t bits;
  uint8_t width; ///< bits of them that count
  uint8_t onnx;  ///< TensorProto.DataType
  ibx_dtype_kind kind;
  ibx_dtype_home home;
} ibx_dtype_info;

/// Lends the row of `dtype`; NULL when it is not one of the enumerators.
IBX_API const ibx_dtype_info *ibx_dtype_get(ibx_dtype dtype);

/// Whether the home of the type is PACKED; false where there is no such type.
IBX_API bool ibx_dtype_is_packed(ibx_dtype dtype);

/// The type whose elements stand for those of a type that the engines do not
/// have, bit for bit: U8 for one byte, also for F8E4M3FN, which not every target
/// has; I8 for I4 and I2; F64, which only moves, for 64 bits. For others the type.
IBX_API ibx_dtype ibx_dtype_carrier(ibx_dtype dtype);

/// Bytes of one element; 0 for NONE, STRING and values outside of the table.
IBX_API size_t ibx_dtype_bytes(ibx_dtype dtype);

/// IBX_DTYPE_NONE where ONNX's number has no row.
IBX_API ibx_dtype ibx_dtype_from_onnx(int onnx);

/// Converts `count` contiguous elements to fp32 (types of several values have
/// none of their own and give nothing): exact for FLOAT types but F64
/// and for integers below 2^24, otherwise rounded to nearest even.
IBX_API void ibx_dtype_load_f32(ibx_dtype dtype, const void *src, float *dst,
                                size_t count);

/// Converts `count` fp32 values to contiguous elements. Floating destinations
/// round to nearest even, and overflow to infinity; those without one saturate.
/// Where there is no NaN either it gives 0. F8E8M0 forgets the sign and rounds
/// up. Integers round to nearest even and saturate, NaN gives
/// 0. BOOL stores value != 0, types of several values nothing.
IBX_API void ibx_dtype_store_f32(ibx_dtype dtype, const float *src, void *dst,
                                 size_t count);

/// The same from and to double: exact for F64, other floating types round once.
IBX_API void ibx_dtype_load_f64(ibx_dtype dtype, const void *src, double *dst,
                                size_t count);
IBX_API void ibx_dtype_store_f64(ibx_dtype dtype, const double *src, void *dst,
                                 size_t count);

/// The fp32 value that ibx_dtype_store_f32() gives the same element for as
/// `value` rounded once.
IBX_API float ibx_dtype_narrowed(ibx_dtype dtype, double value);

/// The low bits that count of an integer, as an element of the type has them.
IBX_API uint64_t ibx_dtype_wrap(ibx_dtype dtype, uint64_t bits);

/// Bytes of `count` elements without the bits that do not count, as ONNX files
/// have them: element after element from the lowest bit. UINT64_MAX where they
/// cannot be counted.
IBX_API uint64_t ibx_dtype_dense_bytes(ibx_dtype dtype, uint64_t count);
/// Reads them; `src` and `dst` do not overlap.
IBX_API void ibx_dtype_from_dense(ibx_dtype dtype, const void *src, void *dst,
                                  uint64_t count);

/// Stochastic rounding of one value, in front of ibx_dtype_store_f32(): of the
/// two values of a FLOAT type below fp32 that `value` lies between, the greater
/// in magnitude where the fraction of their distance that it has reached, with
/// `random` / 2^64 added, is at least 1. So with uniform bits the mean is `value`;
/// what is below 2^-40 of the smallest number goes to 0. Above the
/// largest finite number the type counts as going on, and the store overflows or
/// saturates. What the type holds, infinities, NaN and all other types give
/// `value` itself.
IBX_API float ibx_dtype_round_f32(ibx_dtype dtype, float value,
                                  uint64_t random);

/// The four values of an element of a type x4.
IBX_API void ibx_dtype_unpack4(ibx_dtype dtype, uint32_t bits, float out[4]);
/// The element whose values are `in`, rounded to nearest even and saturated.
IBX_API uint32_t ibx_dtype_pack4(ibx_dtype dtype, const float in[4]);

IBX_C_END
#endif
