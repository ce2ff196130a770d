// SPDX-License-Identifier: Apache-2.0
//
// Texts of XML. In: bytes of any kind, names from files that nobody checked.
// Out: characters that every parser of XML 1.0 accepts (production 2, Char).

#include "driver/xml_text.h"

#include "driver/json_text.h"

#include <string.h>

static const char *escape_of(char c) {
  switch (c) {
  case '<': return "&lt;";
  case '>': return "&gt;";
  case '&': return "&amp;";
  case '"': return "&quot;";
  default: return NULL;
  }
}

// Control characters, and U+FFFE and U+FFFF.
static int is_char(const char *text, size_t length) {
  if (length == 1) return (unsigned char)*text >= 0x20 && *text != 0x7f;
  return strncmp(text, "\xef\xbf\xbe", 3) != 0 &&
         strncmp(text, "\xef\xbf\xbf", 3) != 0;
}

void ibx_xml_text_write(FILE *out, const char *text) {
  while (text && *text != 0) {
    size_t length = ibx_utf8_length((const uint8_t *)text);
    const char *escape = escape_of(*text);
    if (escape) {
      fputs(escape, out);
    } else if (length != 0 && is_char(text, length)) {
      fwrite(text, 1, length, out);
    } else {
      fputc('?', out);
    }
    text += length == 0 ? 1 : length;
  }
}
