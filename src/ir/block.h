// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BLOCK_H
#define IBX_BLOCK_H

/// \file
/// Constants that are computed element by element, a block at a time: weights,
/// their reshapes, a number that all elements have, and operations on one or two
/// of these. Nothing as large as the whole is computed on the way.

#include "ir/graph.h"

enum { IBX_BLOCK_ELEMENTS = 8192 };

/// Elements [from, from + count) of values of a graph.
typedef struct ibx_block {
  const ibx_graph *graph;
  ibx_arena *arena; ///< of what is computed
  int64_t from, count;
  const uint8_t *bytes; ///< read instead of a weight of one byte an element, or
                        ///< NULL
} ibx_block;

/// Lends the elements; NULL where the value is not computed so.
const uint8_t *ibx_block_read(const ibx_block *block, uint32_t value);

/// Computes all elements, of which there are `count`, into `out`. False where
/// the value is not computed so. What lies in `work` is gone afterwards.
bool ibx_block_all(const ibx_graph *graph, uint32_t value, int64_t count,
                   ibx_arena *work, void *out);

/// The one weight that the elements are computed from, each from the element at
/// its place; NULL where there is none, or there are several.
const ibx_weight *ibx_block_weight(const ibx_graph *graph, uint32_t value);

#endif
