// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ASM_LEX_H
#define IBX_ASM_LEX_H

/// \file
/// Tokens of the assembly language. A lexer is a value: a copy of it continues
/// from the same place, which is how repeated text is read again.

#include "imbrex/base.h"

typedef enum ibx_token_kind {
  IBX_TOKEN_END,  ///< of the text
  IBX_TOKEN_LINE, ///< end of a line
  IBX_TOKEN_NAME,
  IBX_TOKEN_DIRECTIVE, ///< its text is without the point
  IBX_TOKEN_STRING,    ///< its text is between the quotes, escapes as written
  IBX_TOKEN_INTEGER,
  IBX_TOKEN_NUMBER, ///< with a fraction or an exponent
  IBX_TOKEN_PUNCT,  ///< one or two characters
  IBX_TOKEN_WRONG   ///< text is the message
} ibx_token_kind;

typedef struct ibx_token {
  ibx_token_kind kind;
  ibx_str text;
  int64_t value; ///< INTEGER
  unsigned line, column;
} ibx_token;

typedef struct ibx_lexer {
  ibx_str text;
  size_t at, line_start;
  unsigned line;
} ibx_lexer;

/// Reads the next token; comments and blanks are skipped.
ibx_token ibx_lexer_next(ibx_lexer *lexer);

#endif
