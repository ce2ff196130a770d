// SPDX-License-Identifier: Apache-2.0
//
// The assembler's ground: the first failure and where it was, memory, the token
// that is next, names and symbols.

#include "asm_parse.h"
#include "asm_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- failures and memory ----------------------------------------------------------

void ibx_asm_fail(ibx_asm_parser *p, const ibx_token *token, const char *format,
                  ...) {
  char message[IBX_ERROR_MESSAGE_BYTES];
  if (p->status != IBX_OK) return;
  // A character that makes no token is the cause of all that follows.
  if (token->kind == IBX_TOKEN_WRONG) {
    snprintf(message, sizeof(message), "%.*s", (int)token->text.len,
             token->text.data);
  } else {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
  }
  p->status = IBX_FAIL(p->err, INVALID_PROGRAM, "%s:%u:%u: %s", p->name,
                       token->line, token->column, message);
}

void ibx_asm_no_memory(ibx_asm_parser *p) {
  if (p->status != IBX_OK) return;
  p->status =
      IBX_FAIL(p->err, OUT_OF_MEMORY, "%s: no memory to assemble it", p->name);
}

bool ibx_asm_grow(ibx_asm_parser *p, void *array, size_t *room, size_t count,
                  size_t element_bytes) {
  if (count < *room) return true;
  size_t more = *room < 8 ? 8 : 2 * *room;
  void *old;
  memcpy(&old, array, sizeof(old));
  void *new = more > SIZE_MAX / element_bytes
                  ? NULL
                  : realloc(old, more * element_bytes);
  if (!new) {
    ibx_asm_no_memory(p);
    return false;
  }
  memset((char *)new + *room *element_bytes, 0, (more - *room) * element_bytes);
  memcpy(array, &new, sizeof(new));
  *room = more;
  return true;
}

char *ibx_asm_keep_bytes(ibx_asm_parser *p, size_t size) {
  ibx_asm_block *block = malloc(sizeof(*block) + size);
  if (!block) {
    ibx_asm_no_memory(p);
    return NULL;
  }
  block->before = p->program->texts;
  p->program->texts = block;
  return (char *)(block + 1);
}

// --- tokens -----------------------------------------------------------------------

void ibx_asm_advance(ibx_asm_parser *p) {
  p->token = ibx_lexer_next(&p->lexer);
  if (p->token.kind == IBX_TOKEN_WRONG) ibx_asm_fail(p, &p->token, "%s", "");
}

bool ibx_asm_same(ibx_str a, const char *text) {
  return strlen(text) == a.len && memcmp(a.data, text, a.len) == 0;
}

bool ibx_asm_is_punct(const ibx_asm_parser *p, const char *text) {
  return p->token.kind == IBX_TOKEN_PUNCT && ibx_asm_same(p->token.text, text);
}

bool ibx_asm_take_punct(ibx_asm_parser *p, const char *text) {
  if (p->status != IBX_OK || !ibx_asm_is_punct(p, text)) return false;
  ibx_asm_advance(p);
  return true;
}

bool ibx_asm_expect_punct(ibx_asm_parser *p, const char *text) {
  if (ibx_asm_take_punct(p, text)) return true;
  ibx_asm_fail(p, &p->token, "expected '%s'", text);
  return false;
}

bool ibx_asm_is_name(const ibx_asm_parser *p, const char *text) {
  return p->token.kind == IBX_TOKEN_NAME && ibx_asm_same(p->token.text, text);
}

bool ibx_asm_take_name(ibx_asm_parser *p, const char *text) {
  if (p->status != IBX_OK || !ibx_asm_is_name(p, text)) return false;
  ibx_asm_advance(p);
  return true;
}

bool ibx_asm_at_line_end(const ibx_asm_parser *p) {
  return p->token.kind == IBX_TOKEN_LINE || p->token.kind == IBX_TOKEN_END;
}

// --- names ------------------------------------------------------------------------

int ibx_asm_hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Reads the escape behind a backslash at `*at`; -1 when there is none such.
static int unescape(const char *text, size_t len, size_t *at) {
  char c = text[(*at)++];
  if (c == '"' || c == '\\') return (unsigned char)c;
  if (c == 'n') return '\n';
  if (c == 't') return '\t';
  if (c != 'x' || len - *at < 2) return -1;
  int high = ibx_asm_hex_digit(text[*at]);
  int low = ibx_asm_hex_digit(text[*at + 1]);
  *at += 2;
  return high < 0 || low < 0 || (high == 0 && low == 0) ? -1 : high * 16 + low;
}

const char *ibx_asm_keep_text(ibx_asm_parser *p, const ibx_token *token) {
  const char *text = token->text.data;
  size_t len = token->text.len;
  size_t used = 0;
  char *copy = ibx_asm_keep_bytes(p, len + 1);
  if (!copy) return NULL;
  for (size_t at = 0; at < len;) {
    int byte = (unsigned char)text[at];
    if (token->kind == IBX_TOKEN_STRING && byte == '\\' && at + 1 < len) {
      at++;
      byte = unescape(text, len, &at);
    } else {
      at++;
    }
    if (byte <= 0) {
      ibx_asm_fail(p, token,
                   "wrong escape in the string; there are \\\" \\\\ "
                   "\\n \\t and \\x01 to \\xff");
      return NULL;
    }
    copy[used++] = (char)byte;
  }
  copy[used] = 0;
  return copy;
}

const char *ibx_asm_read_name(ibx_asm_parser *p, const char *what) {
  ibx_token token = p->token;
  if (token.kind != IBX_TOKEN_NAME && token.kind != IBX_TOKEN_STRING) {
    ibx_asm_fail(p, &token, "expected %s", what);
    return NULL;
  }
  ibx_asm_advance(p);
  return ibx_asm_keep_text(p, &token);
}

ibx_symbol *ibx_asm_find_symbol(const ibx_asm_parser *p, ibx_str name) {
  for (size_t i = p->symbol_count; i-- > 0;) {
    ibx_symbol *symbol = &p->symbols[i];
    if (symbol->name.len == name.len &&
        memcmp(symbol->name.data, name.data, name.len) == 0) {
      return symbol;
    }
  }
  return NULL;
}

void ibx_asm_set_symbol(ibx_asm_parser *p, const ibx_token *at, ibx_str name,
                        ibx_symbol_kind kind, int64_t value) {
  ibx_symbol *symbol = ibx_asm_find_symbol(p, name);
  if (symbol && symbol->is_fixed && kind == IBX_SYMBOL_NUMBER) return;
  if (symbol && symbol->kind != kind) {
    ibx_asm_fail(p, at,
                 "'%.*s' already names something else; take another "
                 "name",
                 (int)name.len, name.data);
    return;
  }
  if (symbol) {
    symbol->value = value;
    return;
  }
  if (!ibx_asm_grow(p, &p->symbols, &p->symbol_room, p->symbol_count,
                    sizeof(*p->symbols))) {
    return;
  }
  p->symbols[p->symbol_count++] =
      (ibx_symbol){.name = name, .value = value, .kind = kind};
}

// A name that a symbol can have.
ibx_token ibx_asm_read_symbol_name(ibx_asm_parser *p) {
  ibx_token token = p->token;
  if (token.kind != IBX_TOKEN_NAME) {
    ibx_asm_fail(p, &token, "expected a name");
  } else if (ibx_asm_is_reserved(token.text.data, token.text.len)) {
    ibx_asm_fail(p, &token,
                 "'%.*s' is a word of the language; take another "
                 "name",
                 (int)token.text.len, token.text.data);
  }
  ibx_asm_advance(p);
  return token;
}
