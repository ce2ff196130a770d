// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_POOL_H
#define IBX_CORE_POOL_H

/// \file
/// Memory that lives and dies together: zeroed pieces, freed at once. Every
/// failure is returned. Not thread-safe.

#include "imbrex/base.h"

typedef struct ibx_pool_block ibx_pool_block;

/// Zero at first.
typedef struct ibx_pool {
  ibx_pool_block *last;
} ibx_pool;

/// Lends zeroed room for `count` elements of `size` bytes, aligned to 16; NULL
/// when memory is short or the product does not fit. `count` may be 0.
void *ibx_pool_array(ibx_pool *pool, size_t count, size_t size);

/// Frees everything.
void ibx_pool_fini(ibx_pool *pool);

#define IBX_POOL_ARRAY(pool, count, type)                                      \
  ((type *)ibx_pool_array((pool), (count), sizeof(type)))

#endif
