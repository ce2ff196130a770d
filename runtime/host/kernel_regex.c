// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions in the syntax of RE2, matched by PCRE2. Comes in: texts
// and a pattern. Goes out: whether all of a text is in its language. What PCRE2
// has and RE2 has not, or reads in another way, is refused or written in PCRE2's
// way first; so a pattern never means two things. Greediness decides what a
// match captures, never whether all of a text matches.

#include "host/host_kernels.h"

#ifdef IBX_HAS_PCRE2

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdlib.h>
#include <string.h>

// What one match may cost before it is given up.
enum { MATCH_STEPS = 10000000, MOST_PATTERN = 1 << 16 };

/// A pattern on its way from RE2's syntax to PCRE2's.
typedef struct rewriter {
  const char *at, *end;
  char *out; ///< with room for 4 times the pattern and more
  size_t len;
  bool in_class;
  const char *refused; ///< what PCRE2 would read and RE2 would not
} rewriter;

static void put(rewriter *r, const char *text) {
  size_t len = strlen(text);
  memcpy(r->out + r->len, text, len);
  r->len += len;
}

static void copy(rewriter *r, size_t count) {
  for (; count != 0 && r->at < r->end; count--)
    r->out[r->len++] = *r->at++;
}

// After a backslash: what both read alike is copied.
static void rewrite_escape(rewriter *r) {
  char c = r->at + 1 < r->end ? r->at[1] : 0;
  const char *instead = NULL;
  if (c == 's')
    instead = r->in_class ? "\\t\\n\\f\\r\\x20" : "[\\t\\n\\f\\r\\x20]";
  if (c == 'S') instead = r->in_class ? "\\S\\x0b" : "[^\\t\\n\\f\\r\\x20]";
  if (c == 'v') instead = "\\x0b";
  if (instead) {
    put(r, instead);
    r->at += 2;
    return;
  }
  if (c == 'b' && r->in_class) r->refused = "\\b in a class";
  bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  if (is_word && !strchr("aftnrxdDwWbBAzpPQ", c)) {
    r->refused = "an escape that RE2 does not have";
  }
  // \1 to \9 are references there, octal numbers begin with 0.
  if (c >= '1' && c <= '9') r->refused = "a backreference";
  if (c == 'Q' && r->in_class) r->refused = "\\Q in a class";
  if (c == 'Q') { // up to \E nothing means anything
    while (r->at < r->end &&
           !(r->at + 1 < r->end && r->at[0] == '\\' && r->at[1] == 'E'))
      copy(r, 1);
  }
  copy(r, 2);
}

// After "(?": RE2 has groups with and without flags and names.
static void check_group(rewriter *r) {
  const char *at = r->at + 2;
  if (at < r->end && *at == 'P') {
    if (at + 1 < r->end && at[1] != '<') r->refused = "a group of that kind";
    return;
  }
  bool is_name = at + 1 < r->end && *at == '<' && at[1] != '=' && at[1] != '!';
  while (!is_name && at < r->end && strchr("imsU-", *at))
    at++;
  if (is_name || (at < r->end && (*at == ':' || *at == ')'))) return;
  r->refused = "a look-around, condition or other group that RE2 lacks";
}

// "a*+" keeps what it has in PCRE2, and is an error in RE2.
static void check_repeat(rewriter *r) {
  const char *next = r->at + 1;
  if (next < r->end && *next == '?') next++;
  if (next < r->end && strchr("*+?", *next)) {
    r->refused = "a repetition of a repetition";
  }
}

static void rewrite_one(rewriter *r) {
  char c = *r->at;
  if (c == '\\') {
    rewrite_escape(r);
    return;
  }
  if (r->in_class) {
    bool is_posix = c == '[' && r->at + 1 < r->end && r->at[1] == ':';
    if (c == ']') r->in_class = false;
    copy(r, 1);
    while (is_posix && r->at < r->end && *r->at != ']')
      copy(r, 1);
    if (is_posix) copy(r, 1);
    return;
  }
  if (c == '[') { // a bracket right behind the start is an element
    r->in_class = true;
    copy(r, r->at + 1 < r->end && r->at[1] == '^' ? 2 : 1);
    if (r->at < r->end && *r->at == ']') put(r, "\\");
    if (r->at < r->end && *r->at == ']') copy(r, 1);
    return;
  }
  if (c == '(' && r->at + 1 < r->end && r->at[1] == '*') {
    r->refused = "a verb";
  }
  if (c == '(' && r->at + 1 < r->end && r->at[1] == '?') check_group(r);
  if (strchr("*+?", c)) check_repeat(r);
  if (c == '}' && r->at + 1 < r->end && strchr("*+", r->at[1])) {
    r->refused = "a repetition of a repetition";
  }
  copy(r, 1);
}

static ibx_status rewrite(ibx_str pattern, char **out, size_t *out_len,
                          ibx_error *err) {
  if (pattern.len > MOST_PATTERN) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "text_match: the pattern has %zu bytes, the limit is %d",
                    pattern.len, MOST_PATTERN);
  }
  // The longest replacement of two bytes has 18.
  char *text = malloc(pattern.len * 9 + 32);
  if (!text) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a pattern");
  rewriter r = {
      .at = pattern.data, .end = pattern.data + pattern.len, .out = text};
  while (r.at < r.end && !r.refused)
    rewrite_one(&r);
  *out = text;
  *out_len = r.len;
  if (!r.refused) return IBX_OK;
  return IBX_FAIL(err, UNSUPPORTED, "text_match: the pattern '%.*s' has %s",
                  pattern.len < 80 ? (int)pattern.len : 80, pattern.data,
                  r.refused);
}

/// A compiled pattern and what matching needs.
typedef struct matcher {
  pcre2_code *code;
  pcre2_match_data *data;
  pcre2_match_context *limits;
} matcher;

static void matcher_fini(matcher *m) {
  pcre2_match_data_free(m->data);
  pcre2_match_context_free(m->limits);
  pcre2_code_free(m->code);
}

static ibx_status compile(matcher *m, const char *text, size_t len,
                          ibx_error *err) {
  int code = 0;
  PCRE2_SIZE at = 0;
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (!context) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a pattern");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  m->code = pcre2_compile((PCRE2_SPTR)text, len,
                          PCRE2_UTF | PCRE2_ANCHORED | PCRE2_ENDANCHORED |
                              PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C,
                          &code, &at, context);
  pcre2_compile_context_free(context);
  if (m->code) return IBX_OK;
  PCRE2_UCHAR why[160] = {0};
  pcre2_get_error_message(code, why, sizeof why);
  return IBX_FAIL(err, MISMATCH, "text_match: the pattern, at byte %zu: %s",
                  (size_t)at, (const char *)why);
}

static ibx_status matcher_init(matcher *m, ibx_str pattern, ibx_error *err) {
  char *text = NULL;
  size_t len = 0;
  ibx_status status = rewrite(pattern, &text, &len, err);
  if (status == IBX_OK) status = compile(m, text, len, err);
  free(text);
  IBX_TRY(status);
  m->data = pcre2_match_data_create_from_pattern(m->code, NULL);
  m->limits = pcre2_match_context_create(NULL);
  if (!m->data || !m->limits) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory to match a pattern");
  }
  pcre2_set_match_limit(m->limits, MATCH_STEPS);
  return IBX_OK;
}

static ibx_status match(const matcher *m, ibx_str text, uint8_t *out,
                        ibx_error *err) {
  int found = pcre2_match(m->code, (PCRE2_SPTR)text.data, text.len, 0, 0,
                          m->data, m->limits);
  *out = found >= 0;
  // A text that is no UTF-8 is in no language.
  bool is_text =
      found >= 0 || found == PCRE2_ERROR_NOMATCH ||
      (found <= PCRE2_ERROR_UTF8_ERR1 && found >= PCRE2_ERROR_UTF8_ERR21);
  if (is_text) return IBX_OK;
  return IBX_FAIL(err, UNSUPPORTED,
                  "text_match: a match takes too many steps; write the pattern "
                  "so that it has one way to match");
}

ibx_status ibx_host_text_match(const ibx_host_tensor *x,
                               const ibx_host_tensor *pattern,
                               ibx_host_tensor *out, ibx_error *err) {
  matcher m = {0};
  IBX_TRY(ibx_host_need_text(x, "text_match", err));
  IBX_TRY(ibx_host_need_text(pattern, "text_match: pattern", err));
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_BOOL, x->shape, x->rank, err));
  ibx_status status = matcher_init(&m, ibx_host_tensor_text(pattern, 0), err);
  for (uint64_t i = 0; i < ibx_host_tensor_count(x) && status == IBX_OK; i++) {
    status = match(&m, ibx_host_tensor_text(x, i), &out->data[i], err);
  }
  matcher_fini(&m);
  return status;
}

#else

ibx_status ibx_host_text_match(const ibx_host_tensor *x,
                               const ibx_host_tensor *pattern,
                               ibx_host_tensor *out, ibx_error *err) {
  (void)x, (void)pattern, (void)out;
  return IBX_FAIL(err, UNSUPPORTED,
                  "this build has no regular expressions: install libpcre2-dev "
                  "and build again");
}

#endif
