// SPDX-License-Identifier: Apache-2.0
//
// Bump allocation. Comes in: sizes. Goes out: zeroed memory that lives until
// the arena is reset. Blocks double from 64 KiB to 8 MiB, so that a compilation
// of any size makes few calls to malloc.

#include "support/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIRST_BLOCK = 64 << 10, LAST_BLOCK = 8 << 20, ALIGNMENT = 16 };

struct ibx_arena_block {
  ibx_arena_block *previous;
  size_t size, used;
  max_align_t data[];
};

static IBX_NORETURN void out_of_memory(void) {
  fputs("imbrex: out of memory\n", stderr);
  abort();
}

// Large blocks are filled from end to end: a page at a time would be faulted in
// five hundred times as often.
static void prefer_large_pages(const ibx_arena_block *block, size_t size) {
#ifdef MADV_HUGEPAGE
  const uintptr_t page = 2u << 20, at = (uintptr_t)block;
  uintptr_t from = (at + page - 1) / page * page,
            to = (at + size) / page * page;
  if (to > from) (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
  (void)block, (void)size;
#endif
}

// Takes the first spare block that is large enough.
static bool take_spare(ibx_arena *arena, size_t least) {
  for (ibx_arena_block **at = &arena->spare; *at; at = &(*at)->previous) {
    ibx_arena_block *block = *at;
    if (block->size < least) continue;
    *at = block->previous;
    block->previous = arena->last;
    block->used = 0;
    arena->last = block;
    return true;
  }
  return false;
}

static void add_block(ibx_arena *arena, size_t least) {
  size_t size = arena->last ? arena->last->size * 2 : FIRST_BLOCK;
  if (size > LAST_BLOCK) size = LAST_BLOCK;
  if (size < least) size = least;
  if (size > SIZE_MAX - sizeof(ibx_arena_block)) out_of_memory();
  if (take_spare(arena, least)) return;
  ibx_arena_block *block = malloc(sizeof(ibx_arena_block) + size);
  if (!block) out_of_memory();
  prefer_large_pages(block, size);
  *block = (ibx_arena_block){.previous = arena->last, .size = size};
  arena->last = block;
}

static void free_blocks(ibx_arena_block **last) {
  while (*last) {
    ibx_arena_block *previous = (*last)->previous;
    free(*last);
    *last = previous;
  }
}

void ibx_arena_reset(ibx_arena *arena) {
  free_blocks(&arena->last);
  free_blocks(&arena->spare);
}

void ibx_arena_rewind(ibx_arena *arena) {
  while (arena->last) {
    ibx_arena_block *block = arena->last;
    arena->last = block->previous;
    block->previous = arena->spare;
    arena->spare = block;
  }
}

void ibx_arena_join(ibx_arena *arena, ibx_arena *from) {
  free_blocks(&from->spare);
  while (from->last) {
    ibx_arena_block *block = from->last;
    from->last = block->previous;
    // Behind the block that is being filled.
    ibx_arena_block **at = arena->last ? &arena->last->previous : &arena->last;
    block->previous = *at;
    *at = block;
  }
}

void *ibx_arena_alloc_raw(ibx_arena *arena, size_t size) {
  if (size > SIZE_MAX - ALIGNMENT) out_of_memory();
  size = (size + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
  ibx_arena_block *block = arena->last;
  if (!block || block->size - block->used < size) {
    add_block(arena, size);
    block = arena->last;
  }
  void *memory = (uint8_t *)block->data + block->used;
  block->used += size;
  return memory;
}

void *ibx_arena_alloc(ibx_arena *arena, size_t size) {
  return memset(ibx_arena_alloc_raw(arena, size), 0, size);
}

void *ibx_arena_array(ibx_arena *arena, size_t count, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(count, size, &bytes) || bytes > SIZE_MAX) out_of_memory();
  return ibx_arena_alloc(arena, (size_t)bytes);
}

char *ibx_arena_text(ibx_arena *arena, const char *text, size_t len) {
  char *copy = ibx_arena_alloc(arena, len + 1);
  if (len) memcpy(copy, text, len);
  return copy;
}

char *ibx_arena_format(ibx_arena *arena, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (len < 0) out_of_memory();
  char *text = ibx_arena_alloc(arena, (size_t)len + 1);
  va_start(args, format);
  vsnprintf(text, (size_t)len + 1, format, args);
  va_end(args);
  return text;
}
