// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DTYPE_SMALL_H
#define IBX_DTYPE_SMALL_H

/// \file
/// The element types that no engine has: what ibx_dtype_load_f32() and
/// ibx_dtype_store_f32() do for them. Nothing happens for any other.

#include "imbrex/dtype.h"

void ibx_dtype_load_small(ibx_dtype dtype, const void *src, float *dst,
                          size_t count);
void ibx_dtype_store_small(ibx_dtype dtype, const float *src, void *dst,
                           size_t count);

#endif
