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
  IBX_CUT_PARTIAL, ///< along a dimension of operand 0 that is reduced
  IBX_CUT_EXPAND,  ///< into the operations that it is made of
  IBX_CUT_HOME,    ///< not cut, but the result is put together in HBM
  IBX_CUT_JOINED   ///< each band is made with that of a later group
} ibx_cut_kind;

/// What is done with the group that ends at a node, or with a view; PARTIAL: with
/// the node alone.
typedef struct ibx_cut {
  ibx_cut_kind kind;
  uint8_t dim;
  int64_t size;   ///< elements of `dim` in each band but the last
  uint32_t first; ///< BANDS: the first node whose bands are made with these
  uint32_t end;   ///< JOINED: the node behind the group that they are made with
} ibx_cut;

/// A group by its last node, or a view, and a dimension of its result.
typedef struct ibx_bands_link {
  uint32_t node;
  uint8_t dim;
} ibx_bands_link;

enum { IBX_BANDS_LINKS = 24 };

/// Groups and the views between them, in their order, that go through the same
/// bands.
typedef struct ibx_bands_chain {
  ibx_bands_link links[IBX_BANDS_LINKS];
  size_t count;
  int64_t repeated; ///< bytes that each band reads anew: what is not cut
  int64_t kept;     ///< bytes of what is never whole
} ibx_bands_chain;

/// Looks in a lowered function for groups that use more than `percent` of SBUF,
/// all by themselves, and says in `cuts` (one for each node) how to do them in
/// bands. A view that would have to be copied in SBUF leaves its operand in HBM:
/// it is marked in `spill`. Returns how many it found. A group that cannot be
/// cut is not among them.
size_t ibx_bands_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, ibx_cut *cuts, bool *spill);

/// Makes the chain of a group whose result is cut into `bands` along `dim`.
/// Groups that `cuts` says something of stay out of it.
void ibx_bands_grow(const ibx_lower *lower, const ibx_cut *cuts, uint32_t last,
                    uint8_t dim, int64_t bands, ibx_bands_chain *out_chain);

/// The first node of the group that ends at `last`.
uint32_t ibx_bands_first(const ibx_graph *graph, uint32_t last);
/// Whether the parts of the result along `dim` can be computed one by one, each
/// from a part of the operands.
bool ibx_bands_can_cut(const ibx_graph *graph, const ibx_node *node,
                       uint8_t dim);
/// Whether operand `i` is cut like the result, or like the first operand.
bool ibx_bands_is_cut(const ibx_graph *graph, const ibx_node *node, uint32_t i,
                      uint8_t dim);
/// Whether elements [a, b) of dimension `dim` of the result need the elements
/// [a, b) of a dimension of operand `i` for all a, b; which one is `*out_dim`.
bool ibx_bands_operand_dim(const ibx_graph *graph, const ibx_node *node,
                           uint32_t i, uint8_t dim, uint8_t *out_dim);

/// Whether each band of a group with that first node has something to read: a
/// band of nothing but padding has not.
bool ibx_bands_possible(const ibx_graph *graph, const ibx_node *anchor,
                        const ibx_cut *cut);

/// Rewrites the graph as `cuts` says; what was planned for it before is void.
IBX_NODISCARD ibx_status ibx_bands_cut(ibx_pass_ctx *ctx, ibx_graph *graph,
                                       const ibx_cut *cuts);

#endif
