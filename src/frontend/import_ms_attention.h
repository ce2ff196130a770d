// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_ATTENTION_H
#define IBX_IMPORT_MS_ATTENTION_H

/// \file
/// What the attentions of com.microsoft share.

#include "frontend/import_attention.h"

/// The attribute `scale`, of which 0 and absence are 1 / sqrt(D).
double ibx_ms_read_scale(ibx_call *call, ibx_val q);
/// Joins the mask of integers at input `index`, where there is one, to the bias,
/// with the attribute mask_filter_value where it masks. Its forms are:
///   [B]         keys of each element of the batch
///   [2 * B]     behind the last key, then the first key
///   [B, keys], [B, S, keys]  positive where a key counts
void ibx_ms_add_mask(ibx_call *call, ibx_attention *a, size_t index,
                     const char *name);
/// Refuses input `index`, if it is there.
void ibx_ms_refuse_input(ibx_call *call, size_t index, const char *name,
                         const char *remedy);
/// Fails where input `index`, behind optional ones, is left out.
void ibx_ms_need_input(ibx_call *call, size_t index, const char *name);

#endif
