// SPDX-License-Identifier: Apache-2.0
//
// Regular expressions in the syntax of RE2, matched by PCRE2. Comes in: texts
// and a pattern. Goes out: whether all of a text is in its language, or the parts
// of it that are. What PCRE2
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
                          uint32_t where, ibx_error *err) {
  int code = 0;
  PCRE2_SIZE at = 0;
  pcre2_compile_context *context = pcre2_compile_context_create(NULL);
  if (!context) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a pattern");
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  m->code = pcre2_compile((PCRE2_SPTR)text, len,
                          where | PCRE2_UTF | PCRE2_DOLLAR_ENDONLY |
                              PCRE2_NEVER_BACKSLASH_C,
                          &code, &at, context);
  pcre2_compile_context_free(context);
  if (m->code) return IBX_OK;
  PCRE2_UCHAR why[160] = {0};
  pcre2_get_error_message(code, why, sizeof why);
  return IBX_FAIL(err, MISMATCH, "text_match: the pattern, at byte %zu: %s",
                  (size_t)at, (const char *)why);
}

// `where` tells where a match may begin and end.
static ibx_status matcher_init(matcher *m, ibx_str pattern, uint32_t where,
                               ibx_error *err) {
  char *text = NULL;
  size_t len = 0;
  ibx_status status = rewrite(pattern, &text, &len, err);
  if (status == IBX_OK) status = compile(m, text, len, where, err);
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
  ibx_status status = matcher_init(&m, ibx_host_tensor_text(pattern, 0),
                                   PCRE2_ANCHORED | PCRE2_ENDANCHORED, err);
  for (uint64_t i = 0; i < ibx_host_tensor_count(x) && status == IBX_OK; i++) {
    status = match(&m, ibx_host_tensor_text(x, i), &out->data[i], err);
  }
  matcher_fini(&m);
  return status;
}

// --- tokens ------------------------------------------------------------------

enum { MATCHES, BETWEEN, CHARACTERS };
enum { WORKSPACE = 1024 };

/// The parts of one text, one after another.
typedef struct tokenizer {
  const matcher *m;
  ibx_str text;
  size_t at;
  int64_t kind, least;
  bool is_done;
} tokenizer;

static size_t char_bytes(ibx_str text, size_t at) {
  size_t len = 1;
  while (at + len < text.len && ((uint8_t)text.data[at + len] & 0xc0) == 0x80)
    len++;
  return len;
}

static int64_t count_chars(ibx_str text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.len; at += char_bytes(text, at))
    count++;
  return count;
}

// The first match from `at` on, and of those that begin there the longest, as
// RE2 gives it where that is asked for. False where there is none.
static ibx_status find_match(const tokenizer *t, bool *out_found, size_t *start,
                             size_t *end, ibx_error *err) {
  int workspace[WORKSPACE];
  int found =
      pcre2_dfa_match(t->m->code, (PCRE2_SPTR)t->text.data, t->text.len, t->at,
                      0, t->m->data, t->m->limits, workspace, WORKSPACE);
  *out_found = found >= 0;
  if (found == PCRE2_ERROR_NOMATCH) return IBX_OK;
  if (found < 0) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "text_tokens: a text is no UTF-8, or a match takes too "
                    "many steps");
  }
  PCRE2_SIZE *places = pcre2_get_ovector_pointer(t->m->data);
  *start = places[0];
  *end = places[1];
  return IBX_OK;
}

static void take(tokenizer *t, size_t start, size_t end, size_t next,
                 ibx_str *out) {
  *out = (ibx_str){.data = t->text.data + start, .len = end - start};
  t->at = next;
  t->is_done = next > t->text.len;
}

// The next part of any length; an empty one where `*out_found` is false.
static ibx_status step(tokenizer *t, ibx_str *out, ibx_error *err) {
  size_t start = 0, end = 0;
  bool found = false;
  if (t->kind == CHARACTERS) {
    size_t len = char_bytes(t->text, t->at);
    take(t, t->at, t->at + len, t->at + len, out);
    t->is_done = t->at >= t->text.len;
    return IBX_OK;
  }
  IBX_TRY(find_match(t, &found, &start, &end, err));
  size_t next = end > start ? end : start + char_bytes(t->text, start);
  if (t->kind == MATCHES) {
    take(t, start, end, found ? next : t->text.len + 1, out);
    return IBX_OK;
  }
  if (!found) start = t->text.len;
  take(t, t->at, start, found ? next : t->text.len + 1, out);
  return IBX_OK;
}

// False past the last part.
static ibx_status next_token(tokenizer *t, bool *out_found, ibx_str *out,
                             ibx_error *err) {
  *out_found = false;
  while (!t->is_done && !*out_found) {
    IBX_TRY(step(t, out, err));
    *out_found = out->len != 0 && count_chars(*out) >= t->least;
  }
  return IBX_OK;
}

static tokenizer tokenizer_make(const matcher *m, ibx_str text, int64_t kind,
                                int64_t least) {
  return (tokenizer){.m = m,
                     .text = text,
                     .kind = kind,
                     .least = least,
                     .is_done = text.len == 0};
}

static ibx_status count_tokens(tokenizer t, uint64_t *out, ibx_error *err) {
  bool found = true;
  ibx_str token;
  for (*out = 0;; (*out)++) {
    IBX_TRY(next_token(&t, &found, &token, err));
    if (!found) return IBX_OK;
  }
}

/// What text_tokens gets, and the most parts of a text.
typedef struct tokens {
  const ibx_host_tensor *x;
  matcher m;
  ibx_str pad;
  int64_t kind, marks, least;
  uint64_t widest;
} tokens;

static ibx_status write_row(const tokens *k, uint64_t row, ibx_host_tensor *out,
                            ibx_error *err) {
  tokenizer t =
      tokenizer_make(&k->m, ibx_host_tensor_text(k->x, row), k->kind, k->least);
  uint64_t written = 0;
  bool found = true;
  if (k->marks) {
    IBX_TRY(ibx_host_tensor_add_text(out, "\x02", 1, err));
    written++;
  }
  while (found) {
    ibx_str token;
    IBX_TRY(next_token(&t, &found, &token, err));
    if (!found) break;
    IBX_TRY(ibx_host_tensor_add_text(out, token.data, token.len, err));
    written++;
  }
  if (k->marks) {
    IBX_TRY(ibx_host_tensor_add_text(out, "\x03", 1, err));
    written++;
  }
  for (; written < k->widest; written++)
    IBX_TRY(ibx_host_tensor_add_text(out, k->pad.data, k->pad.len, err));
  return IBX_OK;
}

static ibx_status tokenize(tokens *k, ibx_host_tensor *out, ibx_error *err) {
  uint64_t count = ibx_host_tensor_count(k->x), shape[IBX_MAX_RANK] = {0};
  for (uint64_t i = 0; i < count; i++) {
    uint64_t width;
    ibx_str text = ibx_host_tensor_text(k->x, i);
    IBX_TRY(count_tokens(tokenizer_make(&k->m, text, k->kind, k->least), &width,
                         err));
    if (width > k->widest) k->widest = width;
  }
  if (k->marks && k->widest != 0) k->widest += 2; // marks stand around parts
  memcpy(shape, k->x->shape, k->x->rank * sizeof *shape);
  shape[k->x->rank] = k->widest;
  IBX_TRY(
      ibx_host_tensor_reset(out, IBX_DTYPE_STRING, shape, k->x->rank + 1, err));
  for (uint64_t i = 0; i < count && k->widest != 0; i++)
    IBX_TRY(write_row(k, i, out, err));
  return IBX_OK;
}

ibx_status ibx_host_text_tokens(const ibx_host_tensor *x,
                                const ibx_host_tensor *pattern,
                                const ibx_host_tensor *pad, int64_t kind,
                                int64_t marks, int64_t least,
                                ibx_host_tensor *out, ibx_error *err) {
  tokens k = {.x = x, .kind = kind, .marks = marks, .least = least};
  IBX_TRY(ibx_host_need_text(x, "text_tokens", err));
  IBX_TRY(ibx_host_need_text(pattern, "text_tokens: pattern", err));
  IBX_TRY(ibx_host_need_text(pad, "text_tokens: pad", err));
  if (x->rank == IBX_MAX_RANK || kind < MATCHES || kind > CHARACTERS) {
    return IBX_FAIL(err, MISMATCH,
                    "text_tokens: kinds are 0 to 2, and texts have fewer than "
                    "%d dimensions",
                    IBX_MAX_RANK);
  }
  k.pad = ibx_host_tensor_text(pad, 0);
  ibx_status status = IBX_OK;
  if (kind != CHARACTERS) {
    status = matcher_init(&k.m, ibx_host_tensor_text(pattern, 0), 0, err);
  }
  if (status == IBX_OK) status = tokenize(&k, out, err);
  matcher_fini(&k.m);
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

ibx_status ibx_host_text_tokens(const ibx_host_tensor *x,
                                const ibx_host_tensor *pattern,
                                const ibx_host_tensor *pad, int64_t kind,
                                int64_t marks, int64_t least,
                                ibx_host_tensor *out, ibx_error *err) {
  (void)pad, (void)kind, (void)marks, (void)least;
  return ibx_host_text_match(x, pattern, out, err);
}

#endif
