// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FORMULA_H
#define IBX_FORMULA_H

/// \file
/// Formulas of recover.def: read from text, compared with what a graph computes.
///
/// A formula is a sum of products, where a factor is a letter, a call or again
/// a sum, raised to a power:
///
///   0.5 * x * (1 + erf(0.707 * x))        one term: 0.5, x, (1 + ..)
///
/// A value of the graph is seen in the same way, and equals the formula up to
/// a factor k when its terms, in any order, are those of the formula times k.

#include "ir/graph.h"

enum { IBX_FORMULA_PARTS = 4, IBX_FORMULA_NODES = 48 };

typedef struct ibx_formula ibx_formula;

typedef enum ibx_formula_kind {
  IBX_FORMULA_LETTER,
  IBX_FORMULA_CALL,
  IBX_FORMULA_SUM
} ibx_formula_kind;

typedef struct ibx_formula_factor {
  ibx_formula_kind kind;
  char letter;               ///< of a LETTER
  ibx_tensor_op op;          ///< of a CALL
  const ibx_formula *inside; ///< of a CALL or a SUM
  double power;
} ibx_formula_factor;

typedef struct ibx_formula_term {
  double scale;
  ibx_formula_factor factor[IBX_FORMULA_PARTS];
  size_t count;
} ibx_formula_term;

struct ibx_formula {
  ibx_formula_term term[IBX_FORMULA_PARTS];
  size_t count;
};

/// Reads a formula; NULL where the text is none.
const ibx_formula *ibx_formula_parse(const char *text, ibx_arena *arena);

/// Marks the operations that the formula calls.
void ibx_formula_calls(const ibx_formula *formula,
                       bool out_calls[IBX_TENSOR_OP_COUNT]);

/// What a comparison has found out.
typedef struct ibx_formula_match {
  uint32_t x, gain, bias; ///< values; the latter IBX_NO_VALUE without a letter
  double epsilon;
  double factor; ///< the value is the formula times this
  ibx_ints axes; ///< reduced dimensions; none without reductions
  uint32_t inside[IBX_FORMULA_NODES]; ///< nodes between x and the value
  size_t inside_count;
} ibx_formula_match;

/// Whether `value` is a multiple of the formula of `x`.
bool ibx_formula_matches(const ibx_formula *formula, const ibx_graph *graph,
                         uint32_t value, uint32_t x, ibx_formula_match *out);

/// Lends the value behind broadcasts, and behind reshapes that append extents of
/// 1, where it stands for the same numbers; it ends at `x`.
uint32_t ibx_formula_behind(const ibx_graph *graph, uint32_t value, uint32_t x);

#endif
