// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_INFINITE_H
#define IBX_INFINITE_H

/// \file
/// Where numbers that are not finite may come from.

#include "ir/graph.h"
#include "support/arena.h"

/// Whether a row of `value` along its last dimension may have no finite number,
/// as far as constants tell: inputs and what is computed from finite numbers
/// count as finite. `scratch` is for the search.
bool ibx_may_have_infinite_row(const ibx_graph *graph, uint32_t value,
                               ibx_arena *scratch);

#endif
