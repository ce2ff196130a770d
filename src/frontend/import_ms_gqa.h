// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_GQA_H
#define IBX_IMPORT_MS_GQA_H

/// \file
/// What the attentions of com.microsoft share in which several heads of queries
/// have the same keys.

#include "frontend/import_attention.h"
#include "frontend/import_ms_cache.h"

typedef struct ibx_group_query {
  int64_t heads, kv_heads, depth;
  int64_t batch, rows; ///< of the new tokens
  bool is_prompt;      ///< the tokens are the first
  ibx_ms_cache cache;
  ibx_val lengths; ///< i64 [B]
  ibx_val q, k, v; ///< [B, S, heads, D]
} ibx_group_query;

/// Reads num_heads and kv_num_heads, and takes q, k and v [B, S, heads * D] apart,
/// of which k and v may be IBX_NO_VALUE and lie behind q. Returns false when the
/// call failed.
bool ibx_gq_read_qkv(ibx_call *call, ibx_group_query *g, ibx_val q, ibx_val k,
                     ibx_val v);
/// Normalises heads of queries and keys by the weights of inputs `index` and the
/// next one, where they are there.
void ibx_gq_normalise(ibx_call *call, ibx_group_query *g, size_t index);
/// Adds the sink of input 11, or that of smooth_softmax.
void ibx_gq_add_sink(ibx_call *call, const ibx_group_query *g,
                     ibx_attention *a);
/// Whether a buffer has the shape [B, kv_heads, past, D].
bool ibx_gq_cache_fits(ibx_call *call, const ibx_group_query *g, ibx_val cache);
/// Where the new tokens lie, i64 [B or 1, S].
ibx_val ibx_gq_positions(ibx_call *call, const ibx_group_query *g);
/// Rotates queries and keys, from element `start` of a head on, by positions in the
/// caches of input `cosine` and the next one.
void ibx_gq_rotate(ibx_call *call, ibx_group_query *g, size_t cosine,
                   ibx_val positions, int64_t start);
/// Puts x [B, S, heads, D] into the buffer of input `index`.
ibx_val ibx_gq_write_cache(ibx_call *call, const ibx_group_query *g,
                           size_t index, ibx_val x);

#endif
