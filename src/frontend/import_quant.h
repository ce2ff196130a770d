// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_QUANT_H
#define IBX_IMPORT_QUANT_H

/// \file
/// Quantisation that other importers use.

#include "frontend/import.h"

/// saturate(round(x / scale) + zero) in `dtype`. `zero` may be IBX_NO_VALUE. A
/// vector of scales lies along `axis`; `block` elements share one, 0: one each.
ibx_val ibx_emit_quantise(ibx_call *call, ibx_val x, ibx_val scale,
                          ibx_val zero, int64_t axis, int64_t block,
                          ibx_dtype dtype);
/// (x - zero) * scale in fp32, likewise.
ibx_val ibx_emit_dequantise(ibx_call *call, ibx_val x, ibx_val scale,
                            ibx_val zero, int64_t axis, int64_t block);
/// Whole numbers in fp32 as integers of up to 16 bits, as near as these reach.
ibx_val ibx_emit_saturate(ibx_call *call, ibx_val x, ibx_dtype dtype);
/// x in u8, with the scale that its largest and its least element ask for.
/// `*out_scale` and `*out_zero` are scalars of fp32.
ibx_val ibx_emit_dynamic_quantise(ibx_call *call, ibx_val x, ibx_val *out_scale,
                                  ibx_val *out_zero);
/// Whether x holds integers: fails with OPERAND_TYPE (import_integer.c).
bool ibx_expect_integers(ibx_call *call, ibx_val x);
/// x - zero in i32 (import_integer.c). `axis` is where a vector of zero points
/// lies; `zero` may be IBX_NO_VALUE.
ibx_val ibx_emit_centred(ibx_call *call, ibx_val x, ibx_val zero, int64_t axis);

#endif
