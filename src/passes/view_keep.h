// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_VIEW_KEEP_H
#define IBX_VIEW_KEEP_H

/// \file
/// Views as they are kept: without the dimensions and atoms that they do not
/// have, which are most of an ibx_view.

#include "passes/view.h"
#include "support/arena.h"

typedef struct ibx_kept_view {
  int64_t offset;
  uint32_t buffer;
  int16_t partition;
  uint8_t dtype; ///< ibx_dtype
  uint8_t rank;
  int64_t
      words[]; ///< size and count of each dimension, then of its atoms size,
               ///< step and pstep
} ibx_kept_view;

/// A copy in `arena`.
const ibx_kept_view *ibx_view_keep(const ibx_view *view, ibx_arena *arena);

/// The view again.
void ibx_view_take(const ibx_kept_view *kept, ibx_view *out);

/// Whether the dimensions of a view have the atoms of a kept one.
bool ibx_view_has_dims(const ibx_view *view, const ibx_kept_view *kept);

#endif
