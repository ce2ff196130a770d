// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_ATTENTION_H
#define IBX_IMPORT_MS_ATTENTION_H

/// \file
/// What the attentions of com.microsoft share.

#include "frontend/import_attention.h"

/// Inputs of an attention behind its projection; SIZE_MAX: it has none.
typedef struct ibx_ms_places {
  size_t mask, past, bias;
} ibx_ms_places;

/// The attribute num_heads; 1 after a failure.
int64_t ibx_ms_read_heads(ibx_call *call);
/// Whether queries, keys and values have the same heads: fails with OPERAND_SHAPE.
bool ibx_ms_heads_fit(ibx_call *call, const ibx_attention *a);
/// Keys or values of a cache, which may be IBX_NO_VALUE, and new ones.
ibx_val ibx_ms_join_past(ibx_call *call, ibx_val past, ibx_val now);
/// The attribute `scale`, of which 0 and absence are 1 / sqrt(D).
double ibx_ms_read_scale(ibx_call *call, ibx_val q);
/// Joins the mask of integers at input `index`, where there is one, to the bias,
/// with the attribute mask_filter_value where it masks. Its forms are:
///   [B]         keys of each element of the batch
///   [2 * B]     behind the last key, then the first key
///   [B, keys], [B, S, keys]  positive where a key counts
void ibx_ms_add_mask(ibx_call *call, ibx_attention *a, size_t index,
                     const char *name);
/// Adds what stands beside the scores: the mask, which messages call `name`, the
/// bias, and with the attribute unidirectional that later keys are hidden.
/// `lengths` counts keys by element of the batch, others are padding; IBX_NO_VALUE:
/// all count, a->offset of them before the first query.
void ibx_ms_add_biases(ibx_call *call, ibx_attention *a, ibx_ms_places places,
                       const char *name, ibx_val lengths);
/// Refuses input `index`, if it is there.
void ibx_ms_refuse_input(ibx_call *call, size_t index, const char *name,
                         const char *remedy);
/// Fails where input `index`, behind optional ones, is left out.
void ibx_ms_need_input(ibx_call *call, size_t index, const char *name);

/// Whether input 0 and its weights, input 1, have the ranks of a projection:
/// fails with OPERAND_SHAPE.
bool ibx_ms_may_project(ibx_call *call);
/// The outputs of Attention, and of what differs from it in the projection only,
/// which has made x [B, S, all of Q, K and V].
void ibx_ms_attend_projected(ibx_call *call, ibx_val x, ibx_ms_places places);

#endif
