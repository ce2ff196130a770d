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

/// Whether an operand or the result of the node may hold an integer that fp32
/// does not.
bool ibx_is_wide(const ibx_rewrite *rewrite, const ibx_node *node,
                 const ibx_range *ranges);

/// Rewrites a comparison, reduction, running sum or operation on one operand of
/// which that holds. False where there is nothing to do.
bool ibx_legalise_wide(ibx_rewrite *rewrite, const ibx_node *node,
                       const ibx_range *ranges);

/// The same on values of the new graph: `equal`, `less` or `less_equal`; a
/// reduction whose dimensions are not empty; a product of matrices, modulo 2^32
/// or what the dtype of `a` holds.
uint32_t ibx_wide_compare(ibx_rewrite *rewrite, ibx_tensor_op op, uint32_t a,
                          uint32_t b);
uint32_t ibx_wide_reduce(ibx_rewrite *rewrite, ibx_tensor_op op,
                         const ibx_params *params, uint32_t x);
uint32_t ibx_wide_matmul(ibx_rewrite *rewrite, uint32_t a, uint32_t b);

#endif
