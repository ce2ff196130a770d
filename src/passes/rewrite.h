// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_REWRITE_H
#define IBX_REWRITE_H

/// \file
/// Rewriting a graph node by node: a pass makes a new graph beside the old one
/// and says for each old value which new one stands for it.

#include "passes/pass.h"

typedef struct ibx_rewrite {
  ibx_pass_ctx *ctx;
  const ibx_graph *old;
  ibx_graph graph; ///< the new one
  ibx_uses uses;   ///< of the old one
  uint32_t *map;   ///< old value to new value, or IBX_NO_VALUE
  uint32_t source; ///< of the node that is being rewritten
  ibx_status status;
} ibx_rewrite;

/// Starts with the inputs. `input_type` (or NULL) changes their types.
ibx_rewrite ibx_rewrite_begin(ibx_pass_ctx *ctx, const ibx_graph *old,
                              ibx_type (*input_type)(ibx_pass_ctx *ctx,
                                                     ibx_type type));

/// Adds a node to the new graph; IBX_NO_VALUE after a failure, which is kept.
uint32_t ibx_rewrite_add(ibx_rewrite *rewrite, ibx_tensor_op op,
                         const ibx_params *params, const uint32_t *operands,
                         size_t operand_count);

/// Adds a copy of a node with mapped operands and sets its result's mapping.
void ibx_rewrite_copy(ibx_rewrite *rewrite, const ibx_node *node);

/// Adds elements [start, end) of dimension `dim`, or the value itself when these
/// are all.
uint32_t ibx_rewrite_slice(ibx_rewrite *rewrite, uint32_t value, uint8_t dim,
                           int64_t start, int64_t end);

/// Adds a tree of concatenations along `axis`, each with decided.place `place`.
/// `parts` is overwritten.
uint32_t ibx_rewrite_join(ibx_rewrite *rewrite, uint32_t *parts, size_t count,
                          uint8_t axis, const char *place);

/// Maps the outputs, drops what is dead and replaces `*graph`.
ibx_status ibx_rewrite_end(ibx_rewrite *rewrite, ibx_graph *graph);

/// The extents of a type, as a parameter.
ibx_ints ibx_extents(const ibx_type *type);

/// Lends the node that makes a value of the graph, or NULL.
const ibx_node *ibx_graph_maker(const ibx_graph *graph, uint32_t value);

/// Whether all elements of a small weight are one number, and which.
bool ibx_weight_uniform(const ibx_weight *weight, float *out);

/// The same for a constant value, through views that drop no element.
bool ibx_graph_uniform(const ibx_graph *graph, uint32_t value, float *out);

#endif
