// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BOUNDS_H
#define IBX_BOUNDS_H

/// \file
/// The bounds of a model: what no program for the machine can beat.

#include "ir/graph.h"

/// Computes the bounds from the graph (after legalise) and the machine's tables,
/// never from the program. interface.md, section 2, defines them.
ibx_bounds ibx_bounds_compute(const ibx_machine *machine,
                              const ibx_graph *graph, ibx_arena *scratch);

#endif
