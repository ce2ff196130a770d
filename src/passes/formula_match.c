// SPDX-License-Identifier: Apache-2.0
//
// Compares values with formulas. Comes in: a formula, a value, and the value
// that is to be x. Goes out: whether the value is the formula of x times a
// number, what the other letters are, and the nodes between the value and x.
//
// The value is taken apart by the laws of numbers, down to x and to what the
// formula has a name for:
//
//   value    = number * a^p * b^q * ..       mul div neg affine sqrt pow ..
//            = number + n * a + m * b + ..   add sub neg affine
//   formula  = number * factor^p * ..        each factor is one of a, b, ..
//
// Broadcasts are looked through: what is computed once a row stands for it.

#include "passes/formula.h"
#include "passes/rewrite.h"

#include <math.h>

// A value that is multiplied with itself many times over has more factors than
// anybody counts: after so many steps a value is what it is.
enum { MOST_PARTS = 8, MOST_STEPS = 200 };

typedef struct matcher {
  const ibx_graph *graph;
  const ibx_type *type; // of x
  double tolerance;
  size_t steps;
  ibx_formula_match found;
} matcher;

typedef struct part {
  uint32_t value;
  double number; // the power in a product, the factor in a sum
} part;

// A value as a product or as a sum; `number` multiplies or is added.
typedef struct parts {
  double number;
  part at[MOST_PARTS];
  size_t count;
  bool too_many;
} parts;

// Infinity is close to nothing: beside it every difference is small.
static bool is_close(const matcher *m, double a, double b) {
  double size = fmax(fabs(a), fabs(b));
  return isfinite(size) && fabs(a - b) <= m->tolerance * size;
}

static bool is_whole(double power) { return power == floor(power); }

// --- looking through views ---

// Whether a reshape appends extents of 1: element by element the same rows.
static bool appends_units(const ibx_graph *graph, const ibx_node *node) {
  const ibx_type *from = &graph->values[node->operand[0]].type;
  const ibx_type *to = &graph->values[node->result].type;
  if (to->rank < from->rank) return false;
  for (uint8_t d = 0; d < to->rank; d++) {
    if (to->dims[d] != (d < from->rank ? from->dims[d] : 1)) return false;
  }
  return true;
}

static bool is_spread(const ibx_graph *graph, const ibx_node *node) {
  return node->op == IBX_TENSOR_broadcast ||
         (node->op == IBX_TENSOR_reshape && appends_units(graph, node));
}

uint32_t ibx_formula_behind(const ibx_graph *graph, uint32_t value,
                            uint32_t x) {
  const ibx_node *node = ibx_graph_maker(graph, value);
  while (value != x && node && is_spread(graph, node)) {
    value = node->operand[0];
    node = ibx_graph_maker(graph, value);
  }
  return value;
}

static void keep_inside(matcher *m, uint32_t node) {
  if (m->found.inside_count > IBX_FORMULA_NODES) return;
  for (size_t i = 0; i < m->found.inside_count; i++) {
    if (m->found.inside[i] == node) return;
  }
  // One past the end: the match is given up.
  if (m->found.inside_count++ == IBX_FORMULA_NODES) return;
  m->found.inside[m->found.inside_count - 1] = node;
}

// The node that makes a value, behind views; all of them are between x and the
// result. NULL for x and for inputs.
static const ibx_node *enter(matcher *m, uint32_t value) {
  m->steps++;
  for (;;) {
    const ibx_node *node = ibx_graph_maker(m->graph, value);
    if (value == m->found.x || !node) return NULL;
    keep_inside(m, m->graph->values[value].node);
    if (!is_spread(m->graph, node)) return node;
    value = node->operand[0];
  }
}

// The same without entering; NULL as well where no more steps are left.
static const ibx_node *peek(const matcher *m, uint32_t value) {
  value = ibx_formula_behind(m->graph, value, m->found.x);
  if (value == m->found.x || m->steps >= MOST_STEPS) return NULL;
  return ibx_graph_maker(m->graph, value);
}

static bool is_number(const matcher *m, uint32_t value, double *out) {
  float number;
  if (value == m->found.x || !ibx_graph_uniform(m->graph, value, &number)) {
    return false;
  }
  *out = (double)number;
  return true;
}

static void add_part(parts *all, uint32_t value, double number) {
  all->too_many = all->count == MOST_PARTS;
  if (!all->too_many) all->at[all->count++] = (part){value, number};
}

// --- products ---

// Equal factors are one: x * x is x^2.
static void add_power(const matcher *m, parts *all, uint32_t value,
                      double power) {
  uint32_t behind = ibx_formula_behind(m->graph, value, m->found.x);
  for (size_t i = 0; i < all->count; i++) {
    uint32_t other = all->at[i].value;
    if (ibx_formula_behind(m->graph, other, m->found.x) != behind) continue;
    all->at[i].number += power;
    return;
  }
  add_part(all, value, power);
}

static void factors_of(matcher *m, uint32_t value, double power, parts *all);

// The powers of a node's operands, where the node is a product: roots are of
// single factors, since the root of a product of negative ones is another.
static bool powers_of(const matcher *m, const ibx_node *node, double power,
                      double out[2]) {
  double number;
  out[0] = out[1] = power;
  bool is_single = power == 1.0 || power == -1.0;
  switch (node->op) {
  case IBX_TENSOR_neg:
  case IBX_TENSOR_mul: return is_whole(power);
  case IBX_TENSOR_div: out[1] = -power; return is_whole(power);
  case IBX_TENSOR_affine:
    return node->params.beta == 0.0f &&
           (is_whole(power) || node->params.alpha > 0.0f);
  case IBX_TENSOR_reciprocal: out[0] = -power; return true;
  case IBX_TENSOR_sqrt: out[0] = power / 2; return is_single;
  case IBX_TENSOR_rsqrt: out[0] = -power / 2; return is_single;
  case IBX_TENSOR_pow:
    if (!is_single || !is_number(m, node->operand[1], &number)) return false;
    out[0] = power * number;
    return true;
  default: return false;
  }
}

static void factors_of(matcher *m, uint32_t value, double power, parts *all) {
  double number, power_of[2];
  const ibx_node *node = peek(m, value);
  if (is_number(m, value, &number)) {
    all->number *= pow(number, power);
  } else if (node && powers_of(m, node, power, power_of)) {
    node = enter(m, value);
    if (node->op == IBX_TENSOR_neg) all->number *= pow(-1.0, power);
    if (node->op == IBX_TENSOR_affine) {
      all->number *= pow((double)node->params.alpha, power);
    }
    size_t count = node->op == IBX_TENSOR_pow ? 1 : node->operand_count;
    for (size_t i = 0; i < count; i++)
      factors_of(m, node->operand[i], power_of[i], all);
  } else {
    add_power(m, all, value, power);
  }
}

// --- sums ---

// What a node does to one of its operands, where it is a multiple of a sum.
static bool is_scaled(const matcher *m, const ibx_node *node, uint32_t *out_of,
                      double *out_by) {
  double number;
  *out_of = node->operand[0];
  switch (node->op) {
  case IBX_TENSOR_neg: *out_by = -1.0; return true;
  case IBX_TENSOR_affine: *out_by = (double)node->params.alpha; return true;
  case IBX_TENSOR_div:
    if (!is_number(m, node->operand[1], &number)) return false;
    *out_by = 1.0 / number;
    return true;
  case IBX_TENSOR_mul:
    for (uint32_t i = 0; i < 2; i++) {
      if (!is_number(m, node->operand[i], out_by)) continue;
      *out_of = node->operand[1 - i];
      return true;
    }
    return false;
  default: return false;
  }
}

static void terms_of(matcher *m, uint32_t value, double by, parts *all) {
  double number;
  uint32_t of;
  const ibx_node *node = peek(m, value);
  if (is_number(m, value, &number)) {
    all->number += by * number;
  } else if (node &&
             (node->op == IBX_TENSOR_add || node->op == IBX_TENSOR_sub)) {
    node = enter(m, value);
    terms_of(m, node->operand[0], by, all);
    terms_of(m, node->operand[1], node->op == IBX_TENSOR_add ? by : -by, all);
  } else if (node && is_scaled(m, node, &of, &number)) {
    node = enter(m, value);
    if (node->op == IBX_TENSOR_affine) {
      all->number += by * (double)node->params.beta;
    }
    terms_of(m, of, by * number, all);
  } else {
    add_part(all, value, by);
  }
}

// --- comparing ---

static bool match_sum(matcher *m, const ibx_formula *formula, uint32_t value,
                      double *k);

static bool match_letter(matcher *m, char letter, uint32_t value) {
  if (letter == 'x') {
    return ibx_formula_behind(m->graph, value, m->found.x) == m->found.x;
  }
  uint32_t *bound = letter == 'g' ? &m->found.gain : &m->found.bias;
  if (*bound == IBX_NO_VALUE) *bound = value;
  return ibx_formula_behind(m->graph, *bound, m->found.x) ==
         ibx_formula_behind(m->graph, value, m->found.x);
}

static bool has_extents(const ibx_type *a, const ibx_type *b) {
  if (a->rank != b->rank) return false;
  for (uint8_t d = 0; d < a->rank; d++) {
    if (a->dims[d] != b->dims[d]) return false;
  }
  return true;
}

// Reductions of one formula are over the same dimensions. Those that drop them
// drop trailing ones, else the rows would stand elsewhere.
static bool match_axes(matcher *m, const ibx_node *node) {
  const ibx_ints *axes = &node->params.axes;
  if (m->found.axes.len == 0) m->found.axes = *axes;
  if (m->found.axes.len != axes->len || axes->len == 0) return false;
  for (uint8_t i = 0; i < axes->len; i++) {
    if (m->found.axes.at[i] != axes->at[i]) return false;
  }
  bool trailing = axes->at[0] + axes->len == m->type->rank;
  return (node->params.keepdims || trailing) &&
         has_extents(&m->graph->values[node->operand[0]].type, m->type);
}

static double row_elements(const matcher *m) {
  double elements = 1.0;
  for (uint8_t i = 0; i < m->found.axes.len; i++)
    elements *= (double)m->type->dims[m->found.axes.at[i]];
  return elements;
}

// Sums and means are linear, and differ by the number of elements.
static bool match_call(matcher *m, const ibx_formula_factor *factor,
                       uint32_t value, double *k) {
  double inside;
  const ibx_node *node = enter(m, value);
  if (!node) return false;
  bool mean = factor->op == IBX_TENSOR_reduce_mean;
  bool linear = mean || factor->op == IBX_TENSOR_reduce_sum;
  bool other = linear && node->op == (mean ? IBX_TENSOR_reduce_sum
                                           : IBX_TENSOR_reduce_mean);
  if (node->op != factor->op && !other) return false;
  if (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_REDUCE &&
      !match_axes(m, node)) {
    return false;
  }
  if (!match_sum(m, factor->inside, node->operand[0], &inside)) return false;
  *k = linear ? inside : 1.0;
  if (other) *k *= mean ? row_elements(m) : 1.0 / row_elements(m);
  return linear || is_close(m, inside, 1.0);
}

static bool match_factor(matcher *m, const ibx_formula_factor *factor,
                         uint32_t value, double *k) {
  *k = 1.0;
  switch (factor->kind) {
  case IBX_FORMULA_LETTER: return match_letter(m, factor->letter, value);
  case IBX_FORMULA_CALL: return match_call(m, factor, value, k);
  case IBX_FORMULA_SUM: break;
  }
  return match_sum(m, factor->inside, value, k) &&
         (*k > 0 || is_whole(factor->power));
}

// Finds a partner for factor `at` and all behind it; `used` has a bit for each
// part that has one.
static bool match_factors(matcher *m, const ibx_formula_term *term, size_t at,
                          const parts *all, unsigned used, double *k) {
  *k = 1.0;
  if (at == term->count) return true;
  const ibx_formula_factor *factor = &term->factor[at];
  for (size_t i = 0; i < all->count; i++) {
    if (used >> i & 1 || all->at[i].number != factor->power) continue;
    ibx_formula_match before = m->found;
    double own, others;
    if (match_factor(m, factor, all->at[i].value, &own) &&
        match_factors(m, term, at + 1, all, used | 1u << i, &others)) {
      *k = pow(own, factor->power) * others;
      return true;
    }
    m->found = before;
  }
  return false;
}

static bool match_product(matcher *m, const ibx_formula_term *term,
                          uint32_t value, double *k) {
  parts all = {.number = 1.0};
  factors_of(m, value, 1.0, &all);
  if (all.too_many || all.count != term->count) return false;
  if (!match_factors(m, term, 0, &all, 0, k)) return false;
  *k *= all.number / term->scale;
  return true;
}

static bool is_epsilon(const ibx_formula_term *term) {
  return term->count == 1 && term->factor[0].kind == IBX_FORMULA_LETTER &&
         term->factor[0].letter == 'e';
}

static bool is_free(const ibx_formula_term *term) {
  return term->count == 0 || is_epsilon(term);
}

// What remains of a sum of `k` times the formula beside the products.
static bool match_number(matcher *m, const ibx_formula *formula, double number,
                         double k) {
  double rest = number / k;
  for (size_t t = 0; t < formula->count; t++) {
    const ibx_formula_term *term = &formula->term[t];
    if (is_epsilon(term)) {
      m->found.epsilon = rest;
      return rest >= 0;
    }
    if (term->count == 0) return is_close(m, rest, term->scale);
  }
  return rest == 0;
}

// As match_factors(); all terms agree in *k, which is 0 before the first.
static bool match_terms(matcher *m, const ibx_formula *formula, size_t at,
                        const parts *all, unsigned used, double *k) {
  while (at < formula->count && is_free(&formula->term[at]))
    at++;
  if (at == formula->count) return match_number(m, formula, all->number, *k);
  for (size_t i = 0; i < all->count; i++) {
    if (used >> i & 1) continue;
    ibx_formula_match before = m->found;
    double own, known = *k;
    if (match_product(m, &formula->term[at], all->at[i].value, &own)) {
      own *= all->at[i].number;
      if (known == 0.0) *k = own;
      if (own != 0.0 && is_close(m, own, *k) &&
          match_terms(m, formula, at + 1, all, used | 1u << i, k)) {
        return true;
      }
    }
    m->found = before;
    *k = known;
  }
  return false;
}

static size_t needed_terms(const ibx_formula *formula) {
  size_t needed = 0;
  for (size_t t = 0; t < formula->count; t++)
    needed += !is_free(&formula->term[t]);
  return needed;
}

static bool needs_number(const ibx_formula *formula) {
  for (size_t t = 0; t < formula->count; t++) {
    if (formula->term[t].count == 0) return true;
  }
  return false;
}

static bool match_sum(matcher *m, const ibx_formula *formula, uint32_t value,
                      double *k) {
  if (formula->count == 1) {
    return match_product(m, &formula->term[0], value, k);
  }
  parts all = {0};
  terms_of(m, value, 1.0, &all);
  *k = 0.0;
  return !all.too_many && all.count == needed_terms(formula) &&
         match_terms(m, formula, 0, &all, 0, k);
}

// --- which formulas are worth comparing ---

// Whether a part of the value, taken apart without an x, can be the factor:
// what x hides is only ever less.
static bool has_partner(const matcher *m, const ibx_formula_factor *factor,
                        const parts *all) {
  if (factor->kind == IBX_FORMULA_LETTER) return true;
  for (size_t i = 0; i < all->count; i++) {
    if (all->at[i].number != factor->power) continue;
    const ibx_node *node = peek(m, all->at[i].value);
    if (!node) continue;
    ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
    if (factor->kind == IBX_FORMULA_SUM ? klass != IBX_KLASS_OTHER
        : klass == IBX_KLASS_REDUCE
            ? ibx_tensor_op_get(factor->op)->klass == klass
            : node->op == factor->op) {
      return true;
    }
  }
  return false;
}

bool ibx_formula_may_match(const ibx_formula *formula, const ibx_graph *graph,
                           uint32_t value) {
  matcher m = {.graph = graph, .found = {.x = IBX_NO_VALUE}};
  parts all = {.number = formula->count > 1 ? 0.0 : 1.0};
  if (formula->count > 1) {
    terms_of(&m, value, 1.0, &all);
    bool has_number = all.number != 0.0 || !needs_number(formula);
    return all.too_many || (has_number && all.count >= needed_terms(formula));
  }
  const ibx_formula_term *term = &formula->term[0];
  factors_of(&m, value, 1.0, &all);
  for (size_t f = 0; f < term->count && !all.too_many; f++) {
    if (!has_partner(&m, &term->factor[f], &all)) return false;
  }
  return true;
}

// Constants are as exact as their dtype holds them, and no more digits of them
// are written than people write.
static double tolerance_of(ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_BF16: return 1.0 / 128;
  case IBX_DTYPE_F16: return 1.0 / 1024;
  default: return 2e-5;
  }
}

bool ibx_formula_matches(const ibx_formula *formula, const ibx_graph *graph,
                         uint32_t value, uint32_t x, ibx_formula_match *out) {
  const ibx_type *type = &graph->values[x].type;
  matcher m = {.graph = graph,
               .type = type,
               .tolerance = tolerance_of(type->dtype),
               .found = {.x = x, .gain = IBX_NO_VALUE, .bias = IBX_NO_VALUE}};
  double factor;
  if (value == x || !match_sum(&m, formula, value, &factor)) return false;
  m.found.factor = is_close(&m, factor, 1.0) ? 1.0 : factor;
  *out = m.found;
  return m.found.inside_count <= IBX_FORMULA_NODES;
}
