// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BANDS_H
#define IBX_BANDS_H

/// \file
/// Operations whose own operands and result exceed SBUF are done band by band:
/// which ones, along which dimension, and the graph in which they are.

#include "passes/lower.h"

typedef enum ibx_cut_kind {
  IBX_CUT_NONE,
  IBX_CUT_BANDS,   ///< along a dimension of the result
  IBX_CUT_PARTIAL, ///< along a dimension that is reduced
  IBX_CUT_EXPAND,  ///< into the operations that it is made of
  IBX_CUT_HOME     ///< not cut, but the result is put together in HBM
} ibx_cut_kind;

/// What is done with the group that ends at a node.
typedef struct ibx_cut {
  ibx_cut_kind kind;
  uint8_t dim;
  int64_t size; ///< elements of `dim` in each band but the last
} ibx_cut;

/// Looks in a lowered function for groups that use more than `percent` of SBUF,
/// all by themselves, and says in `cuts` (one for each node) how to do them in
/// bands. A view that would have to be copied in SBUF leaves its operand in HBM:
/// it is marked in `spill`. Returns how many it found. A group that cannot be
/// cut is not among them.
size_t ibx_bands_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, ibx_cut *cuts, bool *spill);

/// Whether each band of a group with that first node has something to read: a
/// band of nothing but padding has not.
bool ibx_bands_possible(const ibx_graph *graph, const ibx_node *anchor,
                        const ibx_cut *cut);

/// Rewrites the graph as `cuts` says; what was planned for it before is void.
IBX_NODISCARD ibx_status ibx_bands_cut(ibx_pass_ctx *ctx, ibx_graph *graph,
                                       const ibx_cut *cuts);

#endif
