// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DEPEND_H
#define IBX_DEPEND_H

/// \file
/// Which steps must come after which: the dependence graph through memory.

#include "codegen/mir.h"
#include "support/arena.h"

/// Edges into step i are `edges[first[i] .. first[i + 1])`.
typedef struct ibx_depend {
  uint32_t *first;
  uint32_t *edges; ///< earlier step * 2 + 1 where its result is read
  size_t edge_count;
} ibx_depend;

static inline uint32_t ibx_depend_step(uint32_t edge) { return edge >> 1; }
static inline bool ibx_depend_reads(uint32_t edge) { return edge & 1; }

/// Builds the graph: two steps that touch a byte, one of them writing it, are
/// connected by a path in program order. Fails with INTERNAL when an
/// instruction is malformed or is a loop, OUT_OF_CAPACITY at 2^31 steps.
IBX_NODISCARD ibx_status ibx_depend_build(const ibx_mir *mir, ibx_arena *arena,
                                          ibx_depend *out, ibx_error *err);

#endif
