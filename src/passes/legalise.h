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

/// Which values become whole numbers, as they are or limited or divided.
bool *ibx_rounded_values(const ibx_graph *graph, ibx_arena *arena);

/// Rewrites a division of floats whose last bit decides a whole number. False
/// where it is none.
bool ibx_legalise_quotient(ibx_rewrite *rewrite, const ibx_node *node,
                           const bool *rounded);

#endif
