// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DIFFERENCE_H
#define IBX_DIFFERENCE_H

/// \file
/// How far a tensor is from what it should be.
///
/// An element may differ by atol + rtol * scale. The scale is its own magnitude,
/// or the largest usual one of the tensor if that is more: sums of large numbers
/// leave errors of that size in small ones. Not usual is what is 2^12 times as
/// large as the lower quarter of the tensor, such as the -10000 of a mask, which
/// would hide every error beside it. NaN agrees with NaN only, an infinity with
/// the same one only, texts with the same bytes.

#include "driver/files.h"

typedef struct ibx_limits {
  double rtol, atol;
} ibx_limits;

/// The row of tolerance.def; of floating types that of `cast`, if this is
/// coarser. `cast` is NONE where nothing is computed in a narrower type.
/// `from_floats`: made of floating values.
ibx_limits ibx_limits_of(ibx_dtype dtype, ibx_dtype cast, bool from_floats);

typedef struct ibx_difference {
  uint64_t count; ///< elements
  uint64_t bad;   ///< that differ by more than is allowed
  uint64_t at;    ///< the one that uses the largest part of what is allowed
  double error;   ///< of that one; infinite where NaN or infinity stands alone
  double got, want; ///< of that one; of texts nothing
  double scale;     ///< of that one
  double share;     ///< error / allowed; above 1 is bad
} ibx_difference;

/// Compares arrays of the same type and shape.
ibx_difference ibx_difference_find(const ibx_array *got, const ibx_array *want,
                                   const ibx_limits *limits);

#endif
