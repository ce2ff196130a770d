// SPDX-License-Identifier: Apache-2.0
//
// Text that grows in an arena. Comes in: pieces. Goes out: one terminated text.

#include "support/page.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// Makes room for `len` more bytes and a terminating 0.
static void reserve(ibx_page *text, size_t len) {
  if (text->room - text->len > len) return;
  size_t room = text->room ? text->room * 2 : 256;
  while (room - text->len <= len)
    room *= 2;
  char *data = ibx_arena_alloc(text->arena, room);
  if (text->len) memcpy(data, text->data, text->len);
  text->data = data;
  text->room = room;
}

void ibx_page_add(ibx_page *text, const char *data, size_t len) {
  reserve(text, len);
  if (len) memcpy(text->data + text->len, data, len);
  text->len += len;
  text->data[text->len] = 0;
}

void ibx_page_format(ibx_page *text, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int len = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (len <= 0) return;
  reserve(text, (size_t)len);
  va_start(args, format);
  vsnprintf(text->data + text->len, (size_t)len + 1, format, args);
  va_end(args);
  text->len += (size_t)len;
}
