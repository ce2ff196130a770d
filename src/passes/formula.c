// SPDX-License-Identifier: Apache-2.0
//
// Reads formulas. Comes in: the text of a row of recover.def. Goes out: sums of
// products, in which quotients are powers, differences are factors of -1 and
// numbers are multiplied together.
//
//   sum     = product { (+|-) product }       factor = atom [ ^ number ]
//   product = factor { (*|/) factor }         atom   = number | - factor
//                                                    | letter
//                                                    | name ( sum ) | ( sum )

#include "passes/formula.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
  const char *at;
  ibx_arena *arena;
  bool is_wrong;
} reader;

static bool take(reader *in, char c) {
  while (*in->at == ' ')
    in->at++;
  if (*in->at != c) return false;
  in->at++;
  return true;
}

static void expect(reader *in, char c) {
  if (!take(in, c)) in->is_wrong = true;
}

static double number(reader *in) {
  char *end;
  double value = strtod(in->at, &end);
  if (end == in->at) in->is_wrong = true;
  in->at = end;
  return value;
}

static double exponent(reader *in) { return take(in, '^') ? number(in) : 1.0; }

// A unary operation by its name, a reduction by its name without "reduce_".
static ibx_tensor_op operation(reader *in, const char *name, size_t len) {
  for (int op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    const ibx_tensor_op_info *info = ibx_tensor_op_get((ibx_tensor_op)op);
    const char *known = info->name;
    if (info->klass == IBX_KLASS_REDUCE) {
      known += strlen("reduce_");
    } else if (info->klass != IBX_KLASS_UNARY) {
      continue;
    }
    if (strlen(known) == len && memcmp(known, name, len) == 0) {
      return (ibx_tensor_op)op;
    }
  }
  in->is_wrong = true;
  return IBX_TENSOR_OP_COUNT;
}

static void multiply(reader *in, ibx_formula_term *term,
                     ibx_formula_factor factor) {
  if (term->count == IBX_FORMULA_PARTS) {
    in->is_wrong = true;
  } else {
    term->factor[term->count++] = factor;
  }
}

// A sum of one term is multiplied factor by factor.
static void multiply_sum(reader *in, ibx_formula_term *term,
                         const ibx_formula *inside, double power) {
  if (inside->count > 1) {
    multiply(in, term,
             (ibx_formula_factor){
                 .kind = IBX_FORMULA_SUM, .inside = inside, .power = power});
    return;
  }
  term->scale *= pow(inside->term[0].scale, power);
  for (size_t i = 0; i < inside->term[0].count; i++) {
    ibx_formula_factor factor = inside->term[0].factor[i];
    factor.power *= power;
    multiply(in, term, factor);
  }
}

static const ibx_formula *sum(reader *in);

static void letter_or_call(reader *in, ibx_formula_term *term, double power) {
  const char *name = in->at;
  while (isalnum((unsigned char)*in->at) || *in->at == '_')
    in->at++;
  size_t len = (size_t)(in->at - name);
  ibx_formula_factor made = {.kind = IBX_FORMULA_LETTER, .letter = *name};
  if (len > 1) {
    made.kind = IBX_FORMULA_CALL;
    made.op = operation(in, name, len);
    expect(in, '(');
    made.inside = sum(in);
    expect(in, ')');
  }
  made.power = power * exponent(in);
  multiply(in, term, made);
}

// Multiplies the next factor, to the power 1 or -1, into the term.
static void factor(reader *in, ibx_formula_term *term, double power) {
  if (take(in, '-')) {
    term->scale = -term->scale;
    factor(in, term, power);
  } else if (take(in, '(')) {
    const ibx_formula *inside = sum(in);
    expect(in, ')');
    multiply_sum(in, term, inside, power * exponent(in));
  } else if (isalpha((unsigned char)*in->at)) {
    letter_or_call(in, term, power);
  } else {
    term->scale *= pow(number(in), power);
  }
}

static ibx_formula_term product(reader *in, double sign) {
  ibx_formula_term term = {.scale = sign};
  factor(in, &term, 1.0);
  for (;;) {
    if (take(in, '*')) {
      factor(in, &term, 1.0);
    } else if (take(in, '/')) {
      factor(in, &term, -1.0);
    } else {
      return term;
    }
  }
}

static const ibx_formula *sum(reader *in) {
  ibx_formula *made = IBX_ARENA_NEW(in->arena, ibx_formula);
  double sign = 1.0;
  for (;;) {
    made->term[made->count++] = product(in, sign);
    if (take(in, '+')) {
      sign = 1.0;
    } else if (take(in, '-')) {
      sign = -1.0;
    } else {
      return made;
    }
    if (made->count == IBX_FORMULA_PARTS) {
      in->is_wrong = true;
      return made;
    }
  }
}

const ibx_formula *ibx_formula_parse(const char *text, ibx_arena *arena) {
  reader in = {.at = text, .arena = arena};
  const ibx_formula *made = sum(&in);
  return in.is_wrong || *in.at ? NULL : made;
}

void ibx_formula_calls(const ibx_formula *formula,
                       bool out_calls[IBX_TENSOR_OP_COUNT]) {
  for (size_t t = 0; t < formula->count; t++) {
    const ibx_formula_term *term = &formula->term[t];
    for (size_t f = 0; f < term->count; f++) {
      const ibx_formula_factor *part = &term->factor[f];
      if (part->kind == IBX_FORMULA_CALL) out_calls[part->op] = true;
      if (part->inside) ibx_formula_calls(part->inside, out_calls);
    }
  }
}
