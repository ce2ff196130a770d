// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEXT_H
#define IBX_TEXT_H

/// \file
/// Text that grows in an arena. Not thread-safe.

#include "support/arena.h"

/// Zero but for the arena at first. `data` is terminated once something has
/// been added.
typedef struct ibx_text {
  ibx_arena *arena;
  char *data;
  size_t len, room;
} ibx_text;

void ibx_text_add(ibx_text *text, const char *data, size_t len);
void ibx_text_format(ibx_text *text, const char *format, ...) IBX_PRINTF(2, 3);

#endif
