// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LEGALISE_H
#define IBX_LEGALISE_H

/// \file
/// Parts of the pass legalise.

#include "passes/range.h"
#include "passes/rewrite.h"

/// Rewrites an operation on integers where fp32, or saturation, would give
/// another result than ONNX: `ranges` are those of the old graph. False where
/// there is nothing to do. What lies in `work` is of no use afterwards.
bool ibx_legalise_integer(ibx_rewrite *rewrite, const ibx_node *node,
                          const ibx_range *ranges, ibx_arena *work);

/// Refuses, with a diagnostic, a graph that computes with a constant of 64 bits
/// which 32 bits do not hold.
ibx_status ibx_legalise_narrow(ibx_pass_ctx *ctx, const ibx_graph *graph);

/// How far the sums of a contraction of integers can go. The contracted
/// dimension has `extent` indices; each of them adds at most `each` to a sum, or,
/// where one operand is constant, `terms[index * at_step + output * output_step]`.
typedef struct ibx_sums {
  int64_t extent, outputs;
  double each;
  int64_t at_step, output_step;
  const double *terms; ///< or NULL
} ibx_sums;

/// What is known of the sums of `node` in the old graph; `axis` is the contracted
/// dimension of its second operand. The terms live in `arena`.
ibx_sums ibx_sums_of(const ibx_graph *graph, const ibx_node *node, uint8_t axis,
                     const ibx_range *ranges, ibx_arena *arena);

/// The end of the longest part from `start` on of which no sum can pass `limit`:
/// `start` itself when one index is too many.
int64_t ibx_sums_end(const ibx_sums *sums, int64_t start, double limit);

/// Where the parts of a contracted dimension end of which each sum is exact.
enum { IBX_MOST_PARTS = 256, IBX_PARTS_NOTED = 1024 };
typedef struct ibx_parts {
  int64_t end[IBX_MOST_PARTS];
  size_t count;
  bool is_exact; ///< there are such parts
} ibx_parts;

/// Parts that an earlier run has found, by key. Zero but for the arena at first.
typedef struct ibx_parts_memo {
  ibx_arena *arena;
  uint64_t key[IBX_PARTS_NOTED];
  const ibx_parts *parts[IBX_PARTS_NOTED];
  size_t count, next;
} ibx_parts_memo;

/// A digest of all that the parts of the contraction depend on.
uint64_t ibx_parts_key(const ibx_graph *graph, const ibx_node *node,
                       uint8_t axis, const ibx_range *ranges);
/// Lends what was noted; NULL where nothing was. A memo may be NULL.
const ibx_parts *ibx_parts_recall(ibx_parts_memo *memo, uint64_t key);
void ibx_parts_note(ibx_parts_memo *memo, uint64_t key, const ibx_parts *parts);

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
