// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_RANGE_H
#define IBX_RANGE_H

/// \file
/// Which integers a value can have: what decides whether fp32 is exact.

#include "ir/graph.h"

/// All elements lie from `low` to `high`. Infinite for floats.
typedef struct ibx_range {
  double low, high;
} ibx_range;

/// fp32 has all integers up to this magnitude (2^24).
#define IBX_EXACT_INTEGER 16777216.0

/// One range for each value of the graph, from the arena. It holds of the values
/// as ONNX defines them: an operation whose exact result leaves its dtype wraps,
/// and gives the range of the dtype.
ibx_range *ibx_ranges(const ibx_graph *graph, ibx_arena *arena);

/// Range of a sum, difference or product of two, before it wraps.
ibx_range ibx_range_of_pair(ibx_tensor_op op, ibx_range a, ibx_range b);

/// Whether every element of a value is a whole number (or infinite, or no
/// number), as far as the operations before it tell.
bool ibx_is_whole(const ibx_graph *graph, uint32_t value);

/// The largest magnitude in a range.
double ibx_range_magnitude(ibx_range range);

#endif
