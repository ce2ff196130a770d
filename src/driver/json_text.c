// SPDX-License-Identifier: Apache-2.0
//
// JSON strings. In: bytes of any kind, names from files that nobody checked.
// Out: a string that every JSON parser accepts.

#include "driver/json_text.h"

#include "imbrex/base.h"

/// A length of UTF-8: lead bytes [low, high] and the range of the second byte,
/// which keeps out overlong forms, surrogates and what lies past U+10FFFF.
typedef struct utf8_row {
  uint8_t low, high, second_low, second_high, length;
} utf8_row;

static const utf8_row rows[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
    {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
    {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

// The end of the text is no continuation.
size_t ibx_utf8_length(const uint8_t *text) {
  if (text[0] < 0x80) return 1;
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    const utf8_row *row = &rows[i];
    if (text[0] < row->low || text[0] > row->high) continue;
    if (text[1] < row->second_low || text[1] > row->second_high) return 0;
    for (size_t k = 2; k < row->length; k++) {
      if ((text[k] & 0xc0) != 0x80) return 0;
    }
    return row->length;
  }
  return 0;
}

void ibx_json_text_write(FILE *out, const char *text) {
  const uint8_t *at = (const uint8_t *)text;
  fputc('"', out);
  while (at && *at != 0) {
    size_t length = ibx_utf8_length(at);
    if (length == 0) {
      fputs("\\ufffd", out);
      length = 1;
    } else if (*at < 0x20 || *at == 0x7f) {
      fprintf(out, "\\u%04x", *at);
    } else {
      if (*at == '"' || *at == '\\') fputc('\\', out);
      fwrite(at, 1, length, out);
    }
    at += length;
  }
  fputc('"', out);
}
