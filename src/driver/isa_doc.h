// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ISA_DOC_H
#define IBX_ISA_DOC_H

/// \file
/// The tables of the machine as documents.

#include <stdio.h>

/// A row of isa.def as it is written there.
typedef struct ibx_isa_row {
  const char *name;
  const char *format;
  const char *engines; ///< letters T V S G Y
  const char *targets; ///< digits
  const char *slots[4];
  const char *cost;
  const char *sentence;
  const char *source;
  unsigned opcode;
} ibx_isa_row;

/// Lends row `index`; NULL past the last.
const ibx_isa_row *ibx_isa_row_get(size_t index);

/// Lends the formula of a name in the COST column, or NULL.
const char *ibx_isa_cost_formula(const char *cost);

/// Lends rule `index` of a scope; NULL past the last.
const char *ibx_isa_limit(const char *scope, size_t index);

/// Prints all tables as Markdown: docs/isa.md.
void ibx_isa_print_md(FILE *out);

/// Prints the instructions, one paragraph each, for a terminal.
void ibx_isa_print_text(FILE *out);

#endif
