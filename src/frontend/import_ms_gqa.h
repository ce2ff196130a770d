// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_GQA_H
#define IBX_IMPORT_MS_GQA_H

/// \file
/// What the attentions of com.microsoft share in which several heads of queries
/// have the same keys.

#include "frontend/import_ms_cache.h"

typedef struct ibx_group_query {
  int64_t heads, kv_heads, depth;
  int64_t batch, rows; ///< of the new tokens
  bool is_prompt;      ///< the tokens are the first
  ibx_ms_cache cache;
  ibx_val lengths; ///< i64 [B]
  ibx_val q, k, v; ///< [B, S, heads, D]
} ibx_group_query;

/// Reads num_heads, kv_num_heads and the inputs 0 to 2, packed or not. Returns
/// false when the call failed.
bool ibx_gq_read_qkv(ibx_call *call, ibx_group_query *g);
/// Whether a buffer has the shape [B, kv_heads, past, D].
bool ibx_gq_cache_fits(ibx_call *call, const ibx_group_query *g, ibx_val cache);
/// Where the new tokens lie, i64 [B or 1, S].
ibx_val ibx_gq_positions(ibx_call *call, const ibx_group_query *g);
/// Rotates queries and keys by positions in the caches of input `cosine` and the
/// next one.
void ibx_gq_rotate(ibx_call *call, ibx_group_query *g, size_t cosine,
                   ibx_val positions);
/// Puts x [B, S, heads, D] into the buffer of input `index`.
ibx_val ibx_gq_write_cache(ibx_call *call, const ibx_group_query *g,
                           size_t index, ibx_val x);

#endif
