// SPDX-License-Identifier: Apache-2.0
//
// Memory that dies together. Small pieces share blocks; large ones get a block
// of their own from calloc(), whose fresh pages cost nothing until touched.

#include "core/pool.h"

#include <stdlib.h>

enum { POOL_ALIGN = 16, POOL_BLOCK_BYTES = 16384 };

struct ibx_pool_block {
  ibx_pool_block *before;
  size_t used, capacity; ///< of `bytes`
  _Alignas(POOL_ALIGN) uint8_t bytes[];
};

static ibx_pool_block *add_block(ibx_pool *pool, uint64_t capacity) {
  uint64_t total;
  if (!ibx_add_size(capacity, sizeof(ibx_pool_block), &total)) return NULL;
  if (total > SIZE_MAX) return NULL;
  ibx_pool_block *block = calloc(1, (size_t)total);
  if (!block) return NULL;
  block->capacity = (size_t)capacity;
  block->before = pool->last;
  pool->last = block;
  return block;
}

void *ibx_pool_array(ibx_pool *pool, size_t count, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(count, size, &bytes)) return NULL;
  if (!ibx_add_size(bytes, POOL_ALIGN - 1, &bytes)) return NULL;
  bytes -= bytes % POOL_ALIGN;
  ibx_pool_block *block = pool->last;
  if (!block || block->capacity - block->used < bytes) {
    block =
        add_block(pool, bytes > POOL_BLOCK_BYTES ? bytes : POOL_BLOCK_BYTES);
    if (!block) return NULL;
  }
  void *memory = block->bytes + block->used;
  block->used += (size_t)bytes;
  return memory;
}

void ibx_pool_fini(ibx_pool *pool) {
  while (pool->last) {
    ibx_pool_block *block = pool->last;
    pool->last = block->before;
    free(block);
  }
}
