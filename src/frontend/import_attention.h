// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_ATTENTION_H
#define IBX_IMPORT_ATTENTION_H

/// \file
/// Attention and rotations by position, for the operators of all domains.

#include "frontend/import.h"

/// softmax(cap(Q K^T * scale) + bias) V
typedef struct ibx_attention {
  ibx_val q, k,
      v;        ///< [B, heads, S, D]; heads of k and v may serve several of q
  ibx_val bias; ///< broadcasts to [B, heads, S, keys]; IBX_NO_VALUE: none
  ibx_val sink; ///< scores of a key without a value, which broadcast to
                ///< [B, heads, S, 1]; IBX_NO_VALUE: none
  double scale, softcap; ///< softcap 0: none
  int64_t offset;        ///< keys before the first query
  bool masks_rows; ///< the bias may be minus infinity for all keys, then the
                   ///< result is 0
} ibx_attention;

/// Scores, capped, biased, and as probabilities.
enum { IBX_ATTENTION_STAGES = 4 };

/// [B, S, heads * D] to [B, heads, S, D], which is left as it is; and back.
ibx_val ibx_emit_split_heads(ibx_call *call, ibx_val x, int64_t heads);
ibx_val ibx_emit_merge_heads(ibx_call *call, ibx_val x);
void ibx_attention_add_bias(ibx_call *call, ibx_attention *a, ibx_val bias);
/// A constant bias: 0 where key j is allowed for query i, else minus infinity;
/// i + offset - left <= j <= i + offset + right. A negative bound is none.
ibx_val ibx_attention_band(ibx_call *call, const ibx_attention *a, int64_t left,
                           int64_t right);
/// The same where the number of keys is computed for each element of the batch:
/// its last queries are the newest keys, so the offset is that number less the
/// queries, and keys from it on are padding.
ibx_val ibx_attention_band_of(ibx_call *call, const ibx_attention *a,
                              ibx_val lengths, int64_t left, int64_t right);
/// Emits it: [B, heads, S, D of v]. `out_stages` gets IBX_ATTENTION_STAGES.
ibx_val ibx_emit_attention(ibx_call *call, const ibx_attention *a,
                           ibx_val *out_stages);

typedef struct ibx_rotary {
  ibx_val cosine, sine; ///< [positions or S, at least depth / 2], or by batch
  ibx_val positions;    ///< [B or 1, S]; IBX_NO_VALUE: rows of the caches
  int64_t depth;        ///< elements of a head that are rotated
  int64_t start;        ///< elements of a head before these
  bool interleaved;     ///< pairs are neighbours, else depth / 2 apart
} ibx_rotary;

/// Rotates x [B, S, heads, D].
ibx_val ibx_emit_rotary(ibx_call *call, ibx_val x, const ibx_rotary *r);

#endif
