// SPDX-License-Identifier: Apache-2.0
//
// Characters to tokens. In: any bytes. Out: tokens with line and column, from
// 1; a character that begins none gives WRONG with a message. Comments run from
// `;`, `#` or `//` to the end of the line.

#include "asm_lex.h"

#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(char c) { return is_name_start(c) || is_digit(c); }

// The character `ahead` of the next one; 0 past the end.
static char peek(const ibx_lexer *lexer, size_t ahead) {
  size_t at = lexer->at + ahead;
  return at < lexer->text.len ? lexer->text.data[at] : 0;
}

static bool at_end(const ibx_lexer *lexer) {
  return lexer->at >= lexer->text.len;
}

static void skip_blanks(ibx_lexer *lexer) {
  while (!at_end(lexer)) {
    char c = peek(lexer, 0);
    bool is_comment =
        c == ';' || c == '#' || (c == '/' && peek(lexer, 1) == '/');
    if (is_comment) {
      while (!at_end(lexer) && peek(lexer, 0) != '\n') {
        lexer->at++;
      }
    } else if (c == ' ' || c == '\t' || c == '\r') {
      lexer->at++;
    } else {
      return;
    }
  }
}

static ibx_token wrong(ibx_token token, const char *message) {
  token.kind = IBX_TOKEN_WRONG;
  token.text = (ibx_str){.data = message, .len = strlen(message)};
  return token;
}

static void end_token(const ibx_lexer *lexer, ibx_token *token) {
  const char *end = lexer->text.data + lexer->at;
  token->text.len = (size_t)(end - token->text.data);
}

static int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

static ibx_token read_integer(ibx_lexer *lexer, ibx_token token, int base) {
  bool is_cut = false;
  if (base == 16) lexer->at += 2;
  size_t first = lexer->at;
  for (; digit_value(peek(lexer, 0)) < base; lexer->at++) {
    int digit = digit_value(peek(lexer, 0));
    is_cut = is_cut || token.value > (INT64_MAX - digit) / base;
    if (!is_cut) token.value = token.value * base + digit;
  }
  end_token(lexer, &token);
  if (is_cut) return wrong(token, "the number is above 2^63 - 1");
  if (lexer->at == first || is_name(peek(lexer, 0))) {
    return wrong(token, "this is no number");
  }
  return token;
}

static bool starts_exponent(const ibx_lexer *lexer, size_t ahead) {
  char c = peek(lexer, ahead);
  if (c != 'e' && c != 'E') return false;
  char sign = peek(lexer, ahead + 1);
  bool has_sign = sign == '+' || sign == '-';
  return is_digit(has_sign ? peek(lexer, ahead + 2) : sign);
}

static ibx_token read_number(ibx_lexer *lexer, ibx_token token) {
  char second = peek(lexer, 1);
  token.kind = IBX_TOKEN_INTEGER;
  if (peek(lexer, 0) == '0' && (second == 'x' || second == 'X')) {
    return read_integer(lexer, token, 16);
  }
  size_t digits = 0;
  while (is_digit(peek(lexer, digits))) {
    digits++;
  }
  bool has_fraction =
      peek(lexer, digits) == '.' && is_digit(peek(lexer, digits + 1));
  if (!has_fraction && !starts_exponent(lexer, digits)) {
    return read_integer(lexer, token, 10);
  }
  token.kind = IBX_TOKEN_NUMBER;
  lexer->at += digits + (has_fraction ? 1 : 0);
  while (is_digit(peek(lexer, 0))) {
    lexer->at++;
  }
  if (starts_exponent(lexer, 0)) {
    lexer->at += 2;
    while (is_digit(peek(lexer, 0))) {
      lexer->at++;
    }
  }
  end_token(lexer, &token);
  return token;
}

static ibx_token read_string(ibx_lexer *lexer, ibx_token token) {
  lexer->at++;
  token.kind = IBX_TOKEN_STRING;
  token.text.data++;
  while (!at_end(lexer) && peek(lexer, 0) != '"') {
    if (peek(lexer, 0) == '\n') break;
    bool is_escape = peek(lexer, 0) == '\\' && peek(lexer, 1) != '\n' &&
                     lexer->at + 1 < lexer->text.len;
    lexer->at += is_escape ? 2 : 1;
  }
  if (peek(lexer, 0) != '"' || at_end(lexer)) {
    return wrong(token, "the string has no closing quote");
  }
  end_token(lexer, &token);
  lexer->at++;
  return token;
}

static ibx_token read_punct(ibx_lexer *lexer, ibx_token token) {
  static const char pairs[][3] = {">=", "<=", "==", "!=", "&&", "||"};
  static const char singles[] = "+-*/%()[]<>=,:@";
  char first = peek(lexer, 0);
  token.kind = IBX_TOKEN_PUNCT;
  for (size_t i = 0; i < IBX_COUNT_OF(pairs); i++) {
    if (first != pairs[i][0] || peek(lexer, 1) != pairs[i][1]) continue;
    lexer->at += 2;
    token.text.len = 2;
    return token;
  }
  lexer->at++;
  token.text.len = 1;
  if (first != 0 && strchr(singles, first)) return token;
  return wrong(token, "this character has no meaning here");
}

ibx_token ibx_lexer_next(ibx_lexer *lexer) {
  skip_blanks(lexer);
  ibx_token token = {.text = {.data = lexer->text.data + lexer->at, .len = 0},
                     .line = lexer->line,
                     .column = (unsigned)(lexer->at - lexer->line_start) + 1};
  if (at_end(lexer)) return token;
  char c = peek(lexer, 0);
  if (c == '\n') {
    lexer->at++;
    lexer->line++;
    lexer->line_start = lexer->at;
    token.kind = IBX_TOKEN_LINE;
    return token;
  }
  if (is_digit(c)) return read_number(lexer, token);
  if (c == '"') return read_string(lexer, token);
  bool is_directive = c == '.' && is_name_start(peek(lexer, 1));
  if (!is_directive && !is_name_start(c)) return read_punct(lexer, token);
  token.kind = is_directive ? IBX_TOKEN_DIRECTIVE : IBX_TOKEN_NAME;
  if (is_directive) token.text.data++;
  lexer->at++;
  while (is_name(peek(lexer, 0))) {
    lexer->at++;
  }
  end_token(lexer, &token);
  return token;
}
