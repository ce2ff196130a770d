// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ARENA_H
#define IBX_ARENA_H

/// \file
/// Bump allocation for the compiler: one arena for a compilation's results, one
/// for the scratch of a pass. Not thread-safe. Exhaustion ends the process, as
/// it does inside MLIR.

#include "imbrex/base.h"

typedef struct ibx_arena_block ibx_arena_block;

typedef struct ibx_arena {
  ibx_arena_block *last;
  ibx_arena_block *spare; ///< empty ones, kept by ibx_arena_rewind()
} ibx_arena;

/// Frees every block; the arena is empty and usable again.
void ibx_arena_reset(ibx_arena *arena);

/// Empties the arena but keeps its blocks for what comes next: memory that has
/// been touched is cheaper than new memory.
void ibx_arena_rewind(ibx_arena *arena);

/// Moves all of `from` into `arena`, where it lives as long as that one.
void ibx_arena_join(ibx_arena *arena, ibx_arena *from);

/// Returns `size` zeroed bytes aligned to 16, never NULL; size 0 gives a unique
/// address.
void *ibx_arena_alloc(ibx_arena *arena, size_t size);

/// The same, of any contents.
void *ibx_arena_alloc_raw(ibx_arena *arena, size_t size);

/// Returns zeroed room for `count` elements of `size` bytes, checked.
void *ibx_arena_array(ibx_arena *arena, size_t count, size_t size);

/// Copies `len` bytes and a terminating 0.
char *ibx_arena_text(ibx_arena *arena, const char *text, size_t len);

/// printf into the arena.
char *ibx_arena_format(ibx_arena *arena, const char *format, ...)
    IBX_PRINTF(2, 3);

#define IBX_ARENA_NEW(arena, type)                                             \
  ((type *)ibx_arena_alloc((arena), sizeof(type)))
#define IBX_ARENA_ARRAY(arena, count, type)                                    \
  ((type *)ibx_arena_array((arena), (count), sizeof(type)))

#endif
