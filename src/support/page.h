// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PAGE_H
#define IBX_PAGE_H

/// \file
/// Text that grows in an arena. Not thread-safe.

#include "support/arena.h"

/// Zero but for the arena at first. `data` is terminated once something has
/// been added.
typedef struct ibx_page {
  ibx_arena *arena;
  char *data;
  size_t len, room;
} ibx_page;

void ibx_page_add(ibx_page *text, const char *data, size_t len);
void ibx_page_format(ibx_page *text, const char *format, ...) IBX_PRINTF(2, 3);

#endif
