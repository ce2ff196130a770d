// SPDX-License-Identifier: Apache-2.0
//
// Accumulators. In: the reduction of a row. Out: the engine's register, changed
// as the instruction's command says.

#include "sim/accumulator.h"

#include "sim/arith.h"
#include "sim/view.h"

#include <math.h>

float ibx_neutral(uint8_t alu) {
  switch (alu) {
  case IBX_ALU_MULTIPLY: return 1.0f;
  case IBX_ALU_MAX: return -INFINITY;
  case IBX_ALU_MIN:
  case IBX_ALU_ABS_MIN: return INFINITY;
  default: return 0.0f;
  }
}

float *ibx_accumulator(const ibx_exec *x, size_t p) {
  return &x->sim->accumulator[x->engine][ibx_sim_array_row(x, 0) + p];
}

void ibx_accumulate(const ibx_exec *x, uint8_t alu, size_t p, float row,
                    float initial) {
  float *sum = ibx_accumulator(x, p);
  switch ((ibx_reduce)x->insn->reduce) {
  case IBX_REDUCE_RESET: *sum = ibx_neutral(alu); break;
  case IBX_REDUCE_REDUCE: *sum = ibx_arith_one(alu, *sum, row); break;
  case IBX_REDUCE_RESET_REDUCE: *sum = row; break;
  case IBX_REDUCE_LOAD_REDUCE: *sum = ibx_arith_one(alu, initial, row); break;
  case IBX_REDUCE_IDLE:
  case IBX_REDUCE_COUNT: break;
  }
}
