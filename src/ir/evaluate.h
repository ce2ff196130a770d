// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_EVALUATE_H
#define IBX_EVALUATE_H

/// \file
/// Runs a graph of level 1 with the reference kernels: what the graph means.

#include "ir/graph.h"

/// Called after every node with its result, lent for the call. Returning false
/// stops the evaluation with CANCELLED.
typedef bool (*ibx_eval_fn)(void *user, const ibx_graph *graph, uint32_t node,
                            const ibx_tensor *result);

/// Computes the outputs from `inputs`, one for each input of the graph and of
/// its value's type. `outputs` gets one tensor for each output, with data in
/// `arena`. `on_node` may be NULL. Intermediate results live only as long as
/// they are needed. Fails with MISMATCH when an input has another type,
/// OUT_OF_MEMORY, and as ibx_tensor_eval() does, with the node's name.
IBX_NODISCARD ibx_status ibx_graph_eval(const ibx_graph *graph,
                                        const ibx_tensor *inputs,
                                        ibx_tensor *outputs, ibx_arena *arena,
                                        ibx_eval_fn on_node, void *user,
                                        ibx_error *err);

#endif
