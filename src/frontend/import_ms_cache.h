// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_MS_CACHE_H
#define IBX_IMPORT_MS_CACHE_H

/// \file
/// Caches of keys and values in a buffer, into which new rows are written.

#include "frontend/import.h"

///   cache  | old, start | new rows | what is left of the buffer |
typedef struct ibx_ms_cache {
  int64_t past, present; ///< rows of the buffer, and of what it becomes
  int64_t fixed;         ///< the start where it is one constant, else -1
  ibx_val start;         ///< i64 [B]
} ibx_ms_cache;

/// The start where it is a constant, the same for the whole batch and inside of
/// the cache; else -1.
int64_t ibx_ms_fixed_start(ibx_call *call, ibx_val start, int64_t past);
/// Puts rows [B, heads, S, D] into a buffer [B, heads, past, D], which may be
/// IBX_NO_VALUE where the start is 0 and fixed: [B, heads, present, D], 0 where it
/// grows.
ibx_val ibx_ms_write_cache(ibx_call *call, const ibx_ms_cache *c,
                           ibx_val buffer, ibx_val rows);
/// Where beams share the batch: rows of a buffer [B, heads, rows, D] before the
/// start become those of the beam that `beams` [B / width, width, rows] names.
ibx_val ibx_ms_pick_beams(ibx_call *call, const ibx_ms_cache *c, ibx_val buffer,
                          ibx_val beams);

#endif
