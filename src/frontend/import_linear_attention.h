// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_LINEAR_ATTENTION_H
#define IBX_IMPORT_LINEAR_ATTENTION_H

/// \file
/// Attention with a state that each token changes.

#include "frontend/import.h"

/// Tokens first, then matrices for each head of keys, all in fp32. Where B says so,
/// an extent may be 1 for the whole batch.
typedef struct ibx_linear_attention {
  ibx_val q;     ///< [T, B, heads, group, K]
  ibx_val k;     ///< [T, B, heads, 1, K]
  ibx_val v;     ///< [T, B, heads, 1, V]
  ibx_val decay; ///< a factor, [T, B, heads, K or 1, 1], or IBX_NO_VALUE
  ibx_val beta;  ///< [T, B, heads or 1, 1, 1], or IBX_NO_VALUE
  ibx_val state; ///< [B, heads, K, V]
  int64_t tokens, batch, heads, group;
  double scale;
} ibx_linear_attention;

/// Reads update_rule, and whether decay, input 4, and beta, input 5, are there as
/// it asks. Returns false when the call failed.
bool ibx_read_update_rule(ibx_call *call);
/// The attribute `scale`, of which 0 and absence are 1 / sqrt(K).
double ibx_linear_attention_scale(ibx_call *call, int64_t depth);
/// Takes the state over all tokens; what their queries read of it, times the
/// scale: [B, T, heads * group * V]. Fails with UNSUPPORTED_FORM for no tokens and
/// for too many.
ibx_val ibx_emit_linear_attention(ibx_call *call, ibx_linear_attention *a);

#endif
