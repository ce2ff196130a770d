// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PACK_H
#define IBX_PACK_H

/// \file
/// The weight section under construction: constants in the order in which the
/// program reads them, so that a partition is one run in HBM.

#include "passes/view.h"
#include "support/arena.h"

typedef struct ibx_pack {
  uint64_t digest; ///< of the bytes
  uint8_t *data;
  uint64_t size;   ///< bytes, a multiple of 64
  uint64_t offset; ///< in the weight section
} ibx_pack;

typedef struct ibx_packs {
  ibx_pack *rows;
  size_t count, room;
  uint64_t bytes; ///< of the whole section
} ibx_packs;

/// Copies `src` (elements of `dtype` at `data`) to a new row in the order that
/// `dst` says: partition after partition, `elements` in each, and returns the
/// row. False when the views have no common refinement.
bool ibx_pack_add(ibx_packs *packs, ibx_arena *arena, const ibx_view *dst,
                  int32_t partitions, int64_t elements, const ibx_view *src,
                  const void *data, size_t *out_row);

/// Drops the last elements of the partitions behind the first `full` ones of the
/// newest row: `rest` of them keep `kept` of `elements`.
void ibx_pack_trim(ibx_packs *packs, size_t row, int32_t full, int32_t rest,
                   int64_t elements, int64_t kept, size_t element_bytes);

/// Ends the newest row: when an earlier one has the same bytes the newest goes
/// away. Returns the row that stays. Entries of one program share weights so.
size_t ibx_pack_share(ibx_packs *packs, size_t row);

#endif
