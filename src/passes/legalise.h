// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LEGALISE_H
#define IBX_LEGALISE_H

/// \file
/// Parts of the pass legalise.

#include "passes/range.h"
#include "passes/rewrite.h"

/// Rewrites an operation on integers where fp32, or saturation, would give
/// another result than ONNX: `ranges` are those of the old graph. False where
/// there is nothing to do.
bool ibx_legalise_integer(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_range *ranges);

/// How far the sums of a contraction of integers can go. The contracted
/// dimension has `extent` indices; each of them adds at most `each` to a sum, or,
/// where one operand is constant, `terms[index * outputs + output]`.
typedef struct ibx_sums {
  int64_t extent, outputs;
  double each;
  const double *terms; ///< or NULL
} ibx_sums;

/// What is known of the sums of `node` in the old graph; `axis` is the contracted
/// dimension of its second operand. The terms live in `arena`.
ibx_sums ibx_sums_of(const ibx_graph *graph, const ibx_node *node, uint8_t axis,
                     const ibx_range *ranges, ibx_arena *arena);

/// The end of the longest part from `start` on of which no sum can pass `limit`:
/// `start` itself when one index is too many.
int64_t ibx_sums_end(const ibx_sums *sums, int64_t start, double limit,
                     ibx_arena *arena);

#endif
