// SPDX-License-Identifier: Apache-2.0
//
// The Scalar engine, row by row. In: operands on chip. Out: what exec_scalar.c
// says, within the bound of rows.h.

#include "sim/accumulator.h"
#include "sim/map.h"
#include "sim/rows.h"

static void apply(ibx_sim_row *row, float scale) {
  const ibx_insn *insn = row->insn;
  ibx_sim_act_terms terms = {
      .scale = scale, .bias = row->s[0], .slope = insn->imm[1]};
  ibx_sim_row_act(insn->op[0], row->a, terms, row->out, row->n);
}

static bool takes_slope(const ibx_insn *insn) {
  return insn->op[0] == IBX_ACT_PRELU;
}

static void activation_row(ibx_sim_row *row) {
  bool has_scale = row->insn->operand[3].buffer != IBX_NO_BUFFER;
  apply(row, takes_slope(row->insn) && !has_scale ? 1.0f : row->s[1]);
}

// Accumulators are used by few: what happens to them stands in the
// specification alone.
ibx_status ibx_fast_activation(const ibx_exec *x) {
  if (x->insn->reduce != IBX_REDUCE_IDLE) return ibx_exec_activation(x);
  return ibx_sim_map(x, activation_row);
}

static void activation_reduce_row(ibx_sim_row *row) {
  apply(row, takes_slope(row->insn) ? 1.0f : row->insn->imm[1]);
  row->reduced = ibx_sim_row_fold(IBX_ALU_ADD, row->out, row->n);
}

ibx_status ibx_fast_activation_reduce(const ibx_exec *x) {
  ibx_sim_view sums;
  IBX_TRY(ibx_sim_map(x, activation_reduce_row));
  IBX_TRY(ibx_sim_view_open(x, 3, &sums));
  for (size_t p = 0; p < sums.partitions; p++) {
    ibx_sim_view_fetch_raw(&sums, p, 0, 1, (uint8_t *)ibx_accumulator(x, p));
  }
  return IBX_OK;
}
