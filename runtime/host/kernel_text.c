// SPDX-License-Identifier: Apache-2.0
//
// Calls on texts: moving, comparing, joining and splitting them, and their
// case. Comes in: tensors that nobody vouches for. Goes out: a result, or a
// message that says which operand is not as it must be.

#include "host/host_kernels.h"

#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

ibx_status ibx_host_need_dtype(const ibx_host_tensor *tensor, ibx_dtype dtype,
                               const char *what, ibx_error *err) {
  if (tensor->dtype == dtype) return IBX_OK;
  const ibx_dtype_info *have = ibx_dtype_get(tensor->dtype);
  return IBX_FAIL(err, MISMATCH, "%s: elements are %s, %s is needed", what,
                  have ? have->name : "of no type", ibx_dtype_get(dtype)->name);
}

ibx_status ibx_host_need_text(const ibx_host_tensor *tensor, const char *what,
                              ibx_error *err) {
  return ibx_host_need_dtype(tensor, IBX_DTYPE_STRING, what, err);
}

ibx_status ibx_host_need_number(const ibx_host_tensor *tensor, const char *what,
                                ibx_error *err) {
  bool is_number = ibx_dtype_bytes(tensor->dtype) != 0 &&
                   !ibx_dtype_is_packed(tensor->dtype);
  if (is_number) return IBX_OK;
  return IBX_FAIL(err, MISMATCH, "%s: numbers are needed", what);
}

bool ibx_host_same_text(ibx_str a, ibx_str b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

// --- broadcasting ------------------------------------------------------------

static uint64_t extent_of(const ibx_host_tensor *t, size_t rank, size_t d) {
  size_t missing = rank - t->rank;
  return d < missing ? 1 : t->shape[d - missing];
}

ibx_status ibx_host_pair_init(ibx_host_pair *pair, const ibx_host_tensor *a,
                              const ibx_host_tensor *b, ibx_error *err) {
  const ibx_host_tensor *both[] = {a, b};
  *pair = (ibx_host_pair){.rank = a->rank > b->rank ? a->rank : b->rank};
  uint64_t steps[2] = {1, 1};
  for (size_t d = pair->rank; d-- > 0;) {
    uint64_t have[] = {extent_of(a, pair->rank, d),
                       extent_of(b, pair->rank, d)};
    if (have[0] != have[1] && have[0] != 1 && have[1] != 1) {
      return IBX_FAIL(err, MISMATCH,
                      "extents %" PRIu64 " and %" PRIu64
                      " cannot be broadcast to each other",
                      have[0], have[1]);
    }
    pair->shape[d] = have[0] == 1 ? have[1] : have[0];
    for (size_t i = 0; i < IBX_COUNT_OF(both); i++) {
      pair->steps[i][d] = have[i] == 1 ? 0 : steps[i];
      steps[i] *= have[i];
    }
  }
  return IBX_OK;
}

void ibx_host_pair_next(ibx_host_pair *pair) {
  for (size_t d = pair->rank; d-- > 0;) {
    pair->index[0] += pair->steps[0][d];
    pair->index[1] += pair->steps[1][d];
    if (++pair->at[d] < pair->shape[d]) return;
    pair->index[0] -= pair->steps[0][d] * pair->shape[d];
    pair->index[1] -= pair->steps[1][d] * pair->shape[d];
    pair->at[d] = 0;
  }
}

ibx_status ibx_host_text_equal(const ibx_host_tensor *a,
                               const ibx_host_tensor *b, ibx_host_tensor *out,
                               ibx_error *err) {
  ibx_host_pair pair;
  IBX_TRY(ibx_host_need_text(a, "text_equal", err));
  IBX_TRY(ibx_host_need_text(b, "text_equal", err));
  IBX_TRY(ibx_host_pair_init(&pair, a, b, err));
  IBX_TRY(
      ibx_host_tensor_reset(out, IBX_DTYPE_BOOL, pair.shape, pair.rank, err));
  uint64_t count = ibx_host_tensor_count(out);
  for (uint64_t i = 0; i < count; i++) {
    out->data[i] = ibx_host_same_text(ibx_host_tensor_text(a, pair.index[0]),
                                      ibx_host_tensor_text(b, pair.index[1]));
    ibx_host_pair_next(&pair);
  }
  return IBX_OK;
}

ibx_status ibx_host_text_concat(const ibx_host_tensor *a,
                                const ibx_host_tensor *b, ibx_host_tensor *out,
                                ibx_error *err) {
  ibx_host_pair pair;
  IBX_TRY(ibx_host_need_text(a, "text_concat", err));
  IBX_TRY(ibx_host_need_text(b, "text_concat", err));
  IBX_TRY(ibx_host_pair_init(&pair, a, b, err));
  IBX_TRY(
      ibx_host_tensor_reset(out, IBX_DTYPE_STRING, pair.shape, pair.rank, err));
  uint64_t count = ibx_host_tensor_count(out);
  for (uint64_t i = 0; i < count; i++) {
    ibx_str first = ibx_host_tensor_text(a, pair.index[0]);
    ibx_str second = ibx_host_tensor_text(b, pair.index[1]);
    IBX_TRY(ibx_host_tensor_add_text(out, first.data, first.len, err));
    IBX_TRY(ibx_host_tensor_grow_text(out, second.data, second.len, err));
    ibx_host_pair_next(&pair);
  }
  return IBX_OK;
}

// --- take --------------------------------------------------------------------

// The tensor and the element in it that an index of all elements stands for.
static const ibx_host_tensor *find_part(const ibx_host_tensor *first,
                                        const ibx_host_tensor *const *rest,
                                        size_t rest_count, uint64_t *index) {
  uint64_t count = ibx_host_tensor_count(first);
  if (*index < count) return first;
  *index -= count;
  for (size_t i = 0; i < rest_count; i++) {
    count = ibx_host_tensor_count(rest[i]);
    if (*index < count) return rest[i];
    *index -= count;
  }
  return NULL;
}

// The first operand is the index, so that the list may be any length.
ibx_status ibx_host_take(const ibx_host_tensor *index,
                         const ibx_host_tensor *const *parts, size_t count,
                         ibx_host_tensor *out, ibx_error *err) {
  IBX_TRY(ibx_host_need_dtype(index, IBX_DTYPE_I64, "take", err));
  for (size_t i = 0; i < count; i++) {
    IBX_TRY(ibx_host_need_text(parts[i], "take", err));
  }
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_STRING, index->shape,
                                index->rank, err));
  uint64_t elements = ibx_host_tensor_count(out);
  for (uint64_t i = 0; i < elements; i++) {
    int64_t at;
    memcpy(&at, index->data + i * sizeof at, sizeof at);
    uint64_t place = (uint64_t)at;
    const ibx_host_tensor *part =
        count == 0 ? NULL : find_part(parts[0], parts + 1, count - 1, &place);
    if (!part) {
      return IBX_FAIL(err, MISMATCH, "take: there is no element %" PRId64, at);
    }
    ibx_str text = ibx_host_tensor_text(part, place);
    IBX_TRY(ibx_host_tensor_add_text(out, text.data, text.len, err));
  }
  return IBX_OK;
}

// --- reshape -----------------------------------------------------------------

// The shape with what is left in place of -1.
static ibx_status resolve_shape(const ibx_host_tensor *x,
                                const ibx_host_tensor *wanted,
                                uint64_t shape[IBX_MAX_RANK], ibx_error *err) {
  uint64_t have = ibx_host_tensor_count(x), known = 1, open = IBX_MAX_RANK;
  size_t rank = (size_t)ibx_host_tensor_count(wanted);
  bool fits = wanted->rank == 1 && rank <= IBX_MAX_RANK;
  for (size_t d = 0; d < rank && fits; d++) {
    int64_t extent;
    memcpy(&extent, wanted->data + d * sizeof extent, sizeof extent);
    shape[d] = (uint64_t)extent;
    if (extent == -1) {
      fits = open == IBX_MAX_RANK;
      open = d;
    } else {
      fits = extent >= 0 && ibx_mul_size(known, shape[d], &known);
    }
  }
  if (fits && open < IBX_MAX_RANK) {
    fits = known != 0 && have % known == 0;
    shape[open] = fits ? have / known : 0;
  } else {
    fits = fits && known == have;
  }
  if (fits) return IBX_OK;
  return IBX_FAIL(err, MISMATCH,
                  "reshape: %" PRIu64 " elements do not fit in that shape",
                  have);
}

ibx_status ibx_host_reshape(const ibx_host_tensor *x,
                            const ibx_host_tensor *wanted, ibx_host_tensor *out,
                            ibx_error *err) {
  uint64_t shape[IBX_MAX_RANK] = {0};
  IBX_TRY(ibx_host_need_dtype(wanted, IBX_DTYPE_I64, "reshape", err));
  IBX_TRY(resolve_shape(x, wanted, shape, err));
  IBX_TRY(ibx_host_tensor_copy(out, x, err));
  out->rank = (size_t)ibx_host_tensor_count(wanted);
  memcpy(out->shape, shape, sizeof shape);
  return IBX_OK;
}

// --- splitting ---------------------------------------------------------------

/// Cuts one text. Without a delimiter blanks are cut, any number at once, and
/// those at both ends go; a delimiter is cut wherever it stands.
typedef struct splitter {
  ibx_str left, delimiter;
  int64_t splits; ///< that may still be made; negative: any number
  bool is_done;
} splitter;

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip_blanks(splitter *s) {
  while (s->left.len != 0 && is_blank(s->left.data[0])) {
    s->left.data++;
    s->left.len--;
  }
}

// Where the delimiter stands next; the end where it does not.
static size_t find_delimiter(const splitter *s) {
  size_t size = s->delimiter.len, at = 0;
  if (size == 0) {
    while (at < s->left.len && !is_blank(s->left.data[at]))
      at++;
    return at;
  }
  for (; at + size <= s->left.len; at++) {
    if (memcmp(s->left.data + at, s->delimiter.data, size) == 0) return at;
  }
  return s->left.len;
}

static bool next_part(splitter *s, ibx_str *out) {
  bool cuts_blanks = s->delimiter.len == 0;
  if (cuts_blanks) skip_blanks(s);
  if (s->is_done || (cuts_blanks && s->left.len == 0)) return false;
  size_t at = s->splits == 0 ? s->left.len : find_delimiter(s);
  *out = (ibx_str){.data = s->left.data, .len = at};
  // The last part keeps the blanks inside of it, not those behind it.
  while (cuts_blanks && out->len != 0 && is_blank(out->data[out->len - 1]))
    out->len--;
  s->is_done = at == s->left.len;
  size_t used = s->is_done ? at : at + (cuts_blanks ? 1 : s->delimiter.len);
  s->left.data += used;
  s->left.len -= used;
  if (s->splits > 0) s->splits--;
  return true;
}

static splitter splitter_make(ibx_str text, ibx_str delimiter, int64_t most) {
  return (splitter){.left = text, .delimiter = delimiter, .splits = most};
}

static ibx_status count_parts(const ibx_host_tensor *x, ibx_str delimiter,
                              int64_t most, ibx_host_tensor *counts,
                              uint64_t *out_widest, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(counts, IBX_DTYPE_I64, x->shape, x->rank, err));
  *out_widest = 0;
  for (uint64_t i = 0; i < ibx_host_tensor_count(x); i++) {
    splitter s = splitter_make(ibx_host_tensor_text(x, i), delimiter, most);
    int64_t parts = 0;
    ibx_str part;
    while (next_part(&s, &part))
      parts++;
    memcpy(counts->data + i * sizeof parts, &parts, sizeof parts);
    if ((uint64_t)parts > *out_widest) *out_widest = (uint64_t)parts;
  }
  return IBX_OK;
}

ibx_status ibx_host_text_split(const ibx_host_tensor *x,
                               const ibx_host_tensor *delimiter, int64_t most,
                               ibx_host_tensor *parts, ibx_host_tensor *counts,
                               ibx_error *err) {
  IBX_TRY(ibx_host_need_text(x, "text_split", err));
  ibx_str cut = {.data = "", .len = 0};
  if (delimiter) {
    IBX_TRY(ibx_host_need_text(delimiter, "text_split", err));
    cut = ibx_host_tensor_text(delimiter, 0);
  }
  if (x->rank == IBX_MAX_RANK) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "text_split: the parts have more than %d dimensions",
                    IBX_MAX_RANK);
  }
  uint64_t shape[IBX_MAX_RANK] = {0};
  memcpy(shape, x->shape, x->rank * sizeof(*shape));
  uint64_t *widest = &shape[x->rank];
  IBX_TRY(count_parts(x, cut, most, counts, widest, err));
  IBX_TRY(
      ibx_host_tensor_reset(parts, IBX_DTYPE_STRING, shape, x->rank + 1, err));
  for (uint64_t i = 0; i < ibx_host_tensor_count(x); i++) {
    splitter s = splitter_make(ibx_host_tensor_text(x, i), cut, most);
    for (uint64_t p = 0; p < *widest; p++) {
      ibx_str part = {.data = "", .len = 0};
      if (!next_part(&s, &part)) part.len = 0;
      IBX_TRY(ibx_host_tensor_add_text(parts, part.data, part.len, err));
    }
  }
  return IBX_OK;
}

// --- case --------------------------------------------------------------------

enum { AS_IT_IS, LOWER, UPPER };

// A code point of UTF-8 at `at`; a byte that is none stands for itself, and
// `*out_len` is then 0.
static uint32_t decode(ibx_str text, size_t at, size_t *out_len) {
  uint8_t first = (uint8_t)text.data[at];
  size_t len = first < 0x80   ? 1
               : first < 0xc2 ? 0
               : first < 0xe0 ? 2
               : first < 0xf0 ? 3
               : first < 0xf5 ? 4
                              : 0;
  *out_len = 0;
  if (len == 0 || text.len - at < len) return first;
  uint32_t code = len == 1 ? first : first & (0x7fu >> len);
  for (size_t i = 1; i < len; i++) {
    uint8_t next = (uint8_t)text.data[at + i];
    if ((next & 0xc0) != 0x80) return first;
    code = code << 6 | (next & 0x3fu);
  }
  *out_len = len;
  return code;
}

static size_t encode(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = len; i-- > 1;) {
    out[i] = (char)(0x80 | (code & 0x3f));
    code >>= 6;
  }
  out[0] = (char)((0xf00u >> len & 0xff) | code);
  return len;
}

// Writes the text in its case behind the last one of `out`.
static ibx_status add_cased(ibx_host_tensor *out, ibx_str text, int64_t action,
                            locale_t rules, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_add_text(out, "", 0, err));
  if (action == AS_IT_IS) {
    return ibx_host_tensor_grow_text(out, text.data, text.len, err);
  }
  for (size_t at = 0, len; at < text.len; at += len == 0 ? 1 : len) {
    char bytes[4];
    uint32_t code = decode(text, at, &len);
    size_t size = 1;
    bytes[0] = text.data[at];
    if (len != 0) {
      code = action == LOWER ? (uint32_t)towlower_l((wint_t)code, rules)
                             : (uint32_t)towupper_l((wint_t)code, rules);
      size = encode(code, bytes);
    }
    IBX_TRY(ibx_host_tensor_grow_text(out, bytes, size, err));
  }
  return IBX_OK;
}

static ibx_status add_all(ibx_host_tensor *out, const ibx_host_tensor *x,
                          int64_t action, locale_t rules, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_STRING, x->shape, x->rank, err));
  for (uint64_t i = 0; i < ibx_host_tensor_count(x); i++) {
    ibx_str text = ibx_host_tensor_text(x, i);
    IBX_TRY(add_cased(out, text, action, rules, err));
  }
  return IBX_OK;
}

static bool has_text(const ibx_host_tensor *words, ibx_str text) {
  for (uint64_t i = 0; i < words->text_count; i++) {
    if (ibx_host_same_text(ibx_host_tensor_text(words, i), text)) return true;
  }
  return false;
}

/// The operands of text_normalize in the case in which they are compared.
typedef struct normalizer {
  const ibx_host_tensor *x;
  ibx_host_tensor folded, stops;
  int64_t action;
  locale_t rules;
} normalizer;

static ibx_status normalize(normalizer *n, ibx_host_tensor *out,
                            ibx_error *err) {
  uint64_t kept = 0, count = ibx_host_tensor_count(n->x);
  for (uint64_t i = 0; i < count; i++) {
    kept += !has_text(&n->stops, ibx_host_tensor_text(&n->folded, i));
  }
  uint64_t shape[IBX_MAX_RANK] = {1, 1};
  shape[n->x->rank - 1] = kept == 0 ? 1 : kept;
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_STRING, shape, n->x->rank, err));
  for (uint64_t i = 0; i < count; i++) {
    if (has_text(&n->stops, ibx_host_tensor_text(&n->folded, i))) continue;
    ibx_str text = ibx_host_tensor_text(n->x, i);
    IBX_TRY(add_cased(out, text, n->action, n->rules, err));
  }
  // Nothing is left: one empty text.
  return kept == 0 ? ibx_host_tensor_add_text(out, "", 0, err) : IBX_OK;
}

ibx_status ibx_host_text_normalize(const ibx_host_tensor *x,
                                   const ibx_host_tensor *stops, int64_t action,
                                   int64_t is_case_sensitive,
                                   ibx_host_tensor *out, ibx_error *err) {
  IBX_TRY(ibx_host_need_text(x, "text_normalize", err));
  bool is_row = x->rank == 1 || (x->rank == 2 && x->shape[0] == 1);
  if (!is_row || action < AS_IT_IS || action > UPPER) {
    return IBX_FAIL(err, MISMATCH,
                    "text_normalize takes shapes [C] and [1, C], and cases 0 "
                    "to 2");
  }
  normalizer n = {.x = x, .action = action};
  n.folded.allocator = n.stops.allocator = out->allocator;
  n.rules = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
  if (n.rules == (locale_t)0) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "text_normalize needs the locale C.UTF-8 of the system");
  }
  int64_t fold = is_case_sensitive ? AS_IT_IS : LOWER;
  ibx_status status = add_all(&n.folded, x, fold, n.rules, err);
  if (status == IBX_OK && stops) {
    status = ibx_host_need_text(stops, "text_normalize", err);
    if (status == IBX_OK) status = add_all(&n.stops, stops, fold, n.rules, err);
  }
  if (status == IBX_OK) status = normalize(&n, out, err);
  ibx_host_tensor_fini(&n.folded);
  ibx_host_tensor_fini(&n.stops);
  freelocale(n.rules);
  return status;
}
