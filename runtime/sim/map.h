// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_MAP_H
#define IBX_SIM_MAP_H

/// \file
/// Elementwise instructions: fetches the rows of every operand that isa.def
/// gives the instruction, lets a function compute one row after the other, and
/// stores the results.

#include "sim/view.h"

/// A piece of one partition's row.
typedef struct ibx_sim_row {
  const ibx_insn *insn;
  const float *a, *b; ///< first and second source; `b` only where there is one
  float s[2];         ///< scalars of the partition: slot 2 or imm0, slot 3 or
                      ///< imm1; of a binary instruction slot 3 or imm0 first
  float *out;         ///< overlaps neither source
  float *temp;        ///< room for `n` values
  float reduced; ///< passes from piece to piece, imm0 at first; goes to the
                 ///< slot that receives one value a partition
  size_t n;
} ibx_sim_row;

typedef void (*ibx_sim_row_fn)(ibx_sim_row *row);

/// Runs `row` over the instruction. Where slot 3 is written, rows are whole.
ibx_status ibx_sim_map(const ibx_exec *x, ibx_sim_row_fn row);

/// Rows of integers, not converted; see ibx_sim_view_fetch_bits().
typedef struct ibx_sim_bits_row {
  const ibx_insn *insn;
  const uint32_t *a, *b;
  uint32_t s[2];
  unsigned width; ///< bits of an element of `a`
  bool is_signed; ///< both sources have signs
  uint32_t *out;
  size_t n;
} ibx_sim_bits_row;

typedef void (*ibx_sim_bits_row_fn)(ibx_sim_bits_row *row);

ibx_status ibx_sim_map_bits(const ibx_exec *x, ibx_sim_bits_row_fn row);

#endif
