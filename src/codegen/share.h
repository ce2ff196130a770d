// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SHARE_H
#define IBX_SHARE_H

/// \file
/// Fewer buffers: of those that are declared alike one stands for all. A file
/// has 16 bits for the number of a buffer, and a large model as many tiles as it
/// likes, but they lie at few different places.

#include "imbrex/program.h"
#include "support/arena.h"

typedef struct ibx_share {
  uint32_t *number; ///< of each buffer, among those that stay
  size_t count;     ///< of those that stay
} ibx_share;

/// Scratch buffers of one place and name get one number; inputs, outputs, state
/// and weights keep their own. Numbers ascend as the buffers that they are first
/// given to.
ibx_share ibx_share_make(const ibx_buffer_decl *buffers, size_t count,
                         ibx_arena *arena);

/// Rewrites the entry so that it has the buffers that stay. Every instruction
/// touches the bytes that it touched before.
void ibx_share_apply(ibx_entry *entry, ibx_arena *arena);

#endif
