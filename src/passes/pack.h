// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PACK_H
#define IBX_PACK_H

/// \file
/// The weight section under construction: constants in the order in which the
/// program reads them, so that a partition is one run in HBM. A row is a recipe
/// until it is written: attempts that are thrown away copy no weights, nor does
/// a check.

#include "passes/view.h"
#include "support/arena.h"

/// What a row is packed from. The data live until it has been written.
typedef struct ibx_pack_source {
  ibx_view view;
  const void *data;
  size_t bytes; ///< of all that `data` points to
} ibx_pack_source;

typedef struct ibx_pack {
  uint64_t digest; ///< of the recipe and the source's bytes
  uint64_t size;   ///< bytes, a multiple of 64
  uint64_t offset; ///< in the weight section
  ibx_pack_source from;
  ibx_view to;
  int32_t partitions;
  int32_t full;     ///< partitions with all elements; the others
  int64_t elements; ///< have `kept` of them
  int64_t kept;
} ibx_pack;

/// Digests of sources, which many rows have in common.
typedef struct ibx_pack_digest {
  const void *data;
  size_t bytes;
  uint64_t digest;
} ibx_pack_digest;

typedef struct ibx_packs {
  ibx_pack *rows;
  size_t count, room;
  uint64_t bytes;           ///< of the whole section
  ibx_pack_digest *digests; ///< a hash table
  size_t digest_count, digest_room;
  bool unread; ///< nobody wants the bytes: only one source equals itself
} ibx_packs;

/// Adds a row: elements of `from` in the order that `to` says, partition after
/// partition, `elements` in each. Returns its index, or false when the views
/// have no common refinement.
bool ibx_pack_add(ibx_packs *packs, ibx_arena *arena, const ibx_view *to,
                  int32_t partitions, int64_t elements,
                  const ibx_pack_source *from, size_t *out_row);

/// Drops the last elements of the partitions behind the first `full` ones of the
/// newest row: the others keep `kept` each.
void ibx_pack_trim(ibx_packs *packs, size_t row, int32_t full, int64_t kept);

/// Ends the newest row: when an earlier one has the same bytes the newest goes
/// away. Returns the row that stays. Entries of one program share weights so.
size_t ibx_pack_share(ibx_packs *packs, ibx_arena *arena, size_t row);

/// Forgets the rows from `count` on.
void ibx_packs_rewind(ibx_packs *packs, size_t count);

/// Writes a row's `size` bytes.
void ibx_pack_fill(const ibx_pack *pack, ibx_arena *scratch, uint8_t *out);

#endif
