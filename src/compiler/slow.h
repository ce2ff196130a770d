// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SLOW_H
#define IBX_SLOW_H

/// \file
/// What slows a model that compiles, for `check`: read off the steps and
/// instructions that were made, so that it is what will run. Each function adds
/// to a sink that wants it; the sink drops what it has been told of a node.

#include "imbrex/program.h"
#include "ir/graph.h"
#include "ir/tiles.h"
#include "support/diag.h"

/// Nodes that the host computes.
void ibx_slow_steps(ibx_diag_sink *sink, const ibx_tables *tables,
                    const ibx_steps *steps);

/// Nodes that call GpSimd's library, gather from HBM, or load constants again
/// for a notable part of the graph's bound. The buffers have their places. Memory
/// is taken from `scratch`.
void ibx_slow_tiles(ibx_diag_sink *sink, const ibx_tables *tables,
                    const ibx_machine *machine, const ibx_tile_func *func,
                    uint64_t bound_ps, ibx_arena *scratch);

#endif
