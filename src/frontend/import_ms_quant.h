// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_QUANT_H
#define IBX_IMPORT_MS_QUANT_H

/// \file
/// What the importers of quantised operators of com.microsoft share.

#include "frontend/import.h"

/// How integers stand for numbers, (x - zero) * scale: scalars of fp32.
typedef struct ibx_factor {
  ibx_val scale;
  ibx_val zero; ///< IBX_NO_VALUE where it is 0
} ibx_factor;

/// Reads two inputs of one element each, the second of which may be absent.
/// `name` is the tensor that they belong to. Fails with OPERAND_SHAPE or
/// OPERAND_COUNT.
ibx_factor ibx_read_factor(ibx_call *call, size_t scale, size_t zero,
                           const char *name);

/// saturate(round(x) + zero) of fp32; `zero` may be IBX_NO_VALUE.
ibx_val ibx_emit_round_then_shift(ibx_call *call, ibx_val x, ibx_val zero,
                                  ibx_dtype dtype);

/// [N, spatial..., C] as [N, C, spatial...], and back.
ibx_val ibx_emit_channels_first(ibx_call *call, ibx_val x);
ibx_val ibx_emit_channels_last(ibx_call *call, ibx_val x);

#endif
