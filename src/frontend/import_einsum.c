// SPDX-License-Identifier: Apache-2.0
//
// Imports Einsum. Comes in: an equation and its operands. Goes out: sums over
// letters that only one operand has, then one matrix product for each further
// operand: letters of both and of the result are batch dimensions, letters of
// both and of nothing later are contracted.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <ctype.h>
#include <string.h>

enum { LETTERS = 52, DOTS = IBX_MAX_RANK, MOST_LABELS = LETTERS + DOTS };

// A tensor whose dimensions have labels: letters, or those of an ellipsis,
// which count from its end.
typedef struct labelled {
  ibx_val value;
  uint8_t label[2 * IBX_MAX_RANK];
  size_t rank;
} labelled;

typedef struct equation {
  labelled terms[16];
  size_t term_count;
  labelled result;
  int64_t extent[MOST_LABELS]; // 0: not seen
  unsigned uses[MOST_LABELS];  // terms still to come that have it, and result
  size_t dots;                 // most dimensions of an ellipsis
} equation;

static bool fail(ibx_call *call, const char *what) {
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "equation",
                "correct the equation, or write it with MatMul and Transpose",
                "the equation %s", what);
  return false;
}

static uint8_t label_of(char letter) {
  return (uint8_t)(letter >= 'a' ? letter - 'a' : letter - 'A' + 26);
}

// Reads "ab...c" up to a comma, an arrow or the end. An ellipsis gets the
// `dots` labels that the rank leaves to it.
static bool read_term(ibx_call *call, const char **at, size_t rank,
                      bool is_result, equation *e, labelled *out) {
  size_t letters = 0, seen_dots = 0;
  const char *end = *at;
  for (; *end != 0 && *end != ',' && *end != '-'; end++) {
    if (*end == '.') seen_dots++;
    if (isalpha((unsigned char)*end)) letters++;
  }
  size_t dots = is_result ? (seen_dots ? e->dots : 0) : rank - letters;
  if (seen_dots != 0 && seen_dots != 3) return fail(call, "has stray dots");
  if (!is_result && (letters > rank || (seen_dots == 0 && dots != 0))) {
    return fail(call, "does not fit the rank of an input");
  }
  if (letters + dots > IBX_MAX_RANK) return fail(call, "has too many letters");
  if (!is_result && dots > e->dots) e->dots = dots;
  out->rank = 0;
  for (const char *c = *at; c < end; c++) {
    if (isalpha((unsigned char)*c)) {
      out->label[out->rank++] = label_of(*c);
    } else if (*c == '.') {
      if (c[1] != '.' || c[2] != '.') return fail(call, "has stray dots");
      for (size_t d = 0; d < dots; d++) {
        out->label[out->rank++] = (uint8_t)(LETTERS + dots - 1 - d);
      }
      c += 2;
    } else if (*c != ' ') {
      return fail(call, "has a character that is no letter");
    }
  }
  *at = end;
  return true;
}

// Without an arrow: the ellipsis, then the letters that stand once, sorted.
static void implicit_result(equation *e) {
  unsigned count[MOST_LABELS] = {0};
  for (size_t t = 0; t < e->term_count; t++) {
    for (size_t i = 0; i < e->terms[t].rank; i++) {
      count[e->terms[t].label[i]]++;
    }
  }
  e->result.rank = 0;
  for (size_t d = e->dots; d-- > 0;) {
    e->result.label[e->result.rank++] = (uint8_t)(LETTERS + d);
  }
  for (size_t i = 0; i < LETTERS; i++) {
    size_t upper_first = (i + 26) % LETTERS; // capitals sort first
    if (count[upper_first] != 1 || e->result.rank >= IBX_MAX_RANK) continue;
    e->result.label[e->result.rank++] = (uint8_t)upper_first;
  }
}

// A letter that stands twice takes the diagonal: of [.., n, n], flat, every
// (n + 1)-th element.
static bool take_diagonals(ibx_call *call, labelled *term) {
  for (size_t i = 0; i < term->rank; i++) {
    for (size_t j = i + 1; j < term->rank; j++) {
      if (term->label[i] != term->label[j]) continue;
      int64_t extent = ibx_dim(call, term->value, (int64_t)i);
      if (ibx_dim(call, term->value, (int64_t)j) != extent)
        return fail(call, "gives one letter two extents");
      ibx_ints perm = {0}, flat = {0};
      size_t left = 0;
      for (size_t d = 0; d < term->rank; d++) {
        if (d == i || d == j) continue;
        perm.at[perm.len++] = (int64_t)d;
        flat.at[flat.len++] = ibx_dim(call, term->value, (int64_t)d);
        term->label[left++] = term->label[d];
      }
      perm.at[perm.len++] = (int64_t)i;
      perm.at[perm.len++] = (int64_t)j;
      flat.at[flat.len++] = extent * extent;
      term->label[left++] = term->label[i];
      term->rank = (uint8_t)left;
      ibx_val turned = ibx_emit_transpose(call, term->value, perm);
      term->value = ibx_emit_slice(call, ibx_emit_reshape(call, turned, flat),
                                   flat.len - 1, 0, extent, extent + 1);
      return take_diagonals(call, term);
    }
  }
  return true;
}

static bool note_extents(ibx_call *call, equation *e, const labelled *term) {
  for (size_t i = 0; i < term->rank; i++) {
    uint8_t label = term->label[i];
    int64_t extent = ibx_dim(call, term->value, (int64_t)i);
    e->uses[label]++;
    if (e->extent[label] <= 1) e->extent[label] = extent;
    if (extent != 1 && extent != e->extent[label]) {
      return fail(call, "gives one letter two extents");
    }
  }
  return true;
}

static bool read_equation(ibx_call *call, equation *e) {
  const char *at = ibx_attr_text(call, "equation", "");
  e->term_count = call->in_count;
  if (call->in_count > IBX_COUNT_OF(e->terms)) {
    return fail(call, "has more than 16 inputs");
  }
  for (size_t t = 0; t < e->term_count; t++) {
    labelled *term = &e->terms[t];
    if (!ibx_has_in(call, t)) return fail(call, "has an empty input");
    term->value = ibx_in(call, t);
    size_t rank = (size_t)ibx_rank(call, term->value);
    if (!read_term(call, &at, rank, false, e, term)) return false;
    bool last = t + 1 == e->term_count;
    if (last ? *at == ',' : *at != ',') {
      return fail(call, "has another number of terms than inputs");
    }
    if (!last) at++;
    if (!take_diagonals(call, term) || !note_extents(call, e, term))
      return false;
  }
  if (*at == '-' && at[1] == '>') {
    at += 2;
    if (!read_term(call, &at, 0, true, e, &e->result)) return false;
    if (*at != 0) return fail(call, "goes on after the result");
  } else if (*at != 0) {
    return fail(call, "has a stray dash");
  } else {
    implicit_result(e);
  }
  for (size_t i = 0; i < e->result.rank; i++) {
    uint8_t label = e->result.label[i];
    if (e->extent[label] == 0 && e->uses[label] == 0) {
      return fail(call, "makes a letter that no input has");
    }
    for (size_t j = 0; j < i; j++) {
      if (e->result.label[j] == label) return fail(call, "repeats a letter");
    }
    e->uses[label]++;
  }
  return true;
}

static bool has_label(const labelled *term, uint8_t label) {
  for (size_t i = 0; i < term->rank; i++) {
    if (term->label[i] == label) return true;
  }
  return false;
}

// Takes extents that the data decide off the terms: what is not valid counts 0
// where a letter is summed, and stays behind what is valid where it is kept.
// Stores the extent of each letter.
static bool close_terms(ibx_call *call, equation *e,
                        ibx_val real[MOST_LABELS]) {
  for (size_t i = 0; i < MOST_LABELS; i++)
    real[i] = IBX_NO_VALUE;
  for (size_t t = 0; t < e->term_count; t++) {
    labelled *term = &e->terms[t];
    for (size_t d = 0; d < term->rank && !call->failed; d++) {
      ibx_val *known = &real[term->label[d]], x = term->value;
      ibx_val extent = ibx_extent(call, x, (int64_t)d);
      if (extent == IBX_NO_VALUE) continue;
      if (*known == IBX_NO_VALUE) *known = extent;
      if (*known != extent) ibx_refuse_extent(call, call->proto->input[t]);
      term->value =
          has_label(&e->result, term->label[d])
              ? ibx_set_extent(call, x, (int64_t)d, IBX_NO_VALUE)
              : ibx_emit_masked(call, x, (int64_t)d, ibx_emit_like(call, x, 0));
    }
  }
  return !call->failed;
}

// Sums away the dimensions whose label nothing else needs.
static void sum_alone(ibx_call *call, equation *e, labelled *term) {
  ibx_ints axes = {0};
  labelled left = {0};
  for (size_t i = 0; i < term->rank; i++) {
    uint8_t label = term->label[i];
    if (e->uses[label] == 1) {
      axes.at[axes.len++] = (int64_t)i;
      e->uses[label] = 0;
    } else {
      left.label[left.rank++] = label;
    }
  }
  left.value =
      ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, term->value, axes, false);
  *term = left;
}

// Brings a term to the given labels; those that it lacks get extent 1.
static ibx_val arrange(ibx_call *call, const labelled *term,
                       const uint8_t *labels, size_t count) {
  ibx_ints perm = {0}, shape = {0};
  for (size_t i = 0; i < count; i++) {
    int64_t extent = 1;
    for (size_t j = 0; j < term->rank; j++) {
      if (term->label[j] != labels[i]) continue;
      perm.at[perm.len++] = (int64_t)j;
      extent = ibx_dim(call, term->value, (int64_t)j);
    }
    shape.at[shape.len++] = extent;
  }
  ibx_val turned = ibx_emit_transpose(call, term->value, perm);
  return ibx_emit_reshape(call, turned, shape);
}

typedef struct label_list {
  uint8_t at[4 * IBX_MAX_RANK];
  size_t len;
} label_list;

static int64_t product_of(const equation *e, const label_list *list) {
  int64_t product = 1;
  for (size_t i = 0; i < list->len; i++)
    product *= e->extent[list->at[i]];
  return product;
}

// A term as [batch..., rows, columns], every letter at its full extent.
static ibx_val as_matrices(ibx_call *call, const equation *e,
                           const labelled *term, const label_list *batch,
                           const label_list *rows, const label_list *columns) {
  uint8_t all[4 * IBX_MAX_RANK];
  size_t count = 0;
  ibx_ints full = {0}, flat = {0};
  const label_list *lists[] = {batch, rows, columns};
  for (size_t l = 0; l < 3; l++) {
    for (size_t i = 0; i < lists[l]->len && count < IBX_MAX_RANK; i++) {
      full.at[full.len++] = e->extent[lists[l]->at[i]];
      all[count++] = lists[l]->at[i];
    }
  }
  for (size_t i = 0; i < batch->len; i++) {
    flat.at[flat.len++] = e->extent[batch->at[i]];
  }
  flat.at[flat.len++] = product_of(e, rows);
  flat.at[flat.len++] = product_of(e, columns);
  ibx_val x = arrange(call, term, all, count);
  return ibx_emit_reshape(call, ibx_emit_broadcast(call, x, full), flat);
}

static bool contract(ibx_call *call, equation *e, labelled *a,
                     const labelled *b) {
  label_list batch = {0}, inner = {0}, left = {0}, right = {0};
  for (size_t i = 0; i < a->rank; i++) {
    uint8_t label = a->label[i];
    if (!has_label(b, label)) {
      left.at[left.len++] = label;
    } else if (e->uses[label] > 2) {
      batch.at[batch.len++] = label;
      e->uses[label]--;
    } else {
      inner.at[inner.len++] = label;
      e->uses[label] = 0;
    }
  }
  for (size_t i = 0; i < b->rank; i++) {
    if (!has_label(a, b->label[i])) right.at[right.len++] = b->label[i];
  }
  size_t most =
      batch.len + inner.len + (left.len > right.len ? left.len : right.len);
  size_t kept = batch.len + left.len + right.len;
  if (most > IBX_MAX_RANK || kept > IBX_MAX_RANK || batch.len > 6) {
    return fail(call, "needs tensors of more than 8 dimensions");
  }
  ibx_val product =
      ibx_emit_matmul(call, as_matrices(call, e, a, &batch, &left, &inner),
                      as_matrices(call, e, b, &batch, &inner, &right));
  labelled joined = {0};
  const label_list *lists[] = {&batch, &left, &right};
  ibx_ints shape = {0};
  for (size_t l = 0; l < 3; l++) {
    for (size_t i = 0; i < lists[l]->len; i++) {
      shape.at[shape.len++] = e->extent[lists[l]->at[i]];
      joined.label[joined.rank++] = lists[l]->at[i];
    }
  }
  joined.value = ibx_emit_reshape(call, product, shape);
  *a = joined;
  return true;
}

void ibx_import_op_einsum(ibx_call *call) {
  equation e = {0};
  ibx_val real[MOST_LABELS];
  if (!read_equation(call, &e) || !close_terms(call, &e, real)) return;
  for (size_t t = 0; t < e.term_count && !call->failed; t++) {
    sum_alone(call, &e, &e.terms[t]);
  }
  labelled *all = &e.terms[0];
  for (size_t t = 1; t < e.term_count; t++) {
    if (call->failed || !contract(call, &e, all, &e.terms[t])) return;
    sum_alone(call, &e, all);
  }
  ibx_val result = arrange(call, all, e.result.label, e.result.rank);
  ibx_ints shape = {0};
  for (size_t i = 0; i < e.result.rank; i++) {
    shape.at[shape.len++] = e.extent[e.result.label[i]];
  }
  result = ibx_emit_broadcast(call, result, shape);
  for (size_t i = 0; i < e.result.rank; i++) {
    ibx_val extent = real[e.result.label[i]];
    if (extent == IBX_NO_VALUE) continue;
    result = ibx_set_extent(call, result, (int64_t)i, extent);
  }
  ibx_out(call, 0, result);
}
