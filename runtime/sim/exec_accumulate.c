// SPDX-License-Identifier: Apache-2.0
//
// Instructions that go through the accumulators, as element.h and accumulator.h
// say; tensor_scalar_reduce is in exec_reduce.c.

#include "sim/accumulator.h"
#include "sim/arith.h"
#include "sim/element.h"

#include <float.h>

ibx_status ibx_exec_read_accumulator(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_store(&dst, p, 0, *ibx_accumulator(x, p));
  }
  return IBX_OK;
}

// What the running value of a partition is before its first element.
static float start_of(const ibx_exec *x, size_t p, float initial) {
  switch ((ibx_reduce)x->insn->reduce) {
  case IBX_REDUCE_REDUCE: return *ibx_accumulator(x, p);
  case IBX_REDUCE_LOAD_REDUCE: return initial;
  default: return ibx_neutral(x->insn->op[1]);
  }
}

// dst[i] = (src[i] op0 s0) op1 dst[i-1]
ibx_status ibx_exec_tensor_scalar_cumulative(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, s0, initial;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &s0));
  IBX_TRY(ibx_open_scalar(x, 3, insn->imm[1], &initial));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool reverse = (insn->flags & IBX_FLAG_REVERSE0) != 0;
  for (size_t p = 0; p < dst.partitions; p++) {
    float running = start_of(x, p, ibx_load(&initial, p, 0));
    float scalar = ibx_load(&s0, p, 0);
    for (size_t i = 0; i < dst.elements; i++) {
      float value = ibx_load(&src, p, i);
      value = reverse ? ibx_arith_one(insn->op[0], scalar, value)
                      : ibx_arith_one(insn->op[0], value, scalar);
      running = ibx_arith_one(insn->op[1], value, running);
      ibx_store(&dst, p, i, running);
    }
    *ibx_accumulator(x, p) = running;
  }
  return IBX_OK;
}

// dst = src where imm0 + i lies within both bounds, else -FLT_MAX
ibx_status ibx_exec_range_select(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, bound0, bound1;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, 0.0f, &bound0));
  IBX_TRY(ibx_open_scalar(x, 3, 0.0f, &bound1));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold greatest = {.alu = IBX_ALU_MAX};
    for (size_t i = 0; i < dst.elements; i++) {
      float index = insn->imm[0] + (float)i;
      bool is_inside =
          ibx_arith_one(insn->op[0], index, ibx_load(&bound0, p, 0)) != 0.0f &&
          ibx_arith_one(insn->op[1], index, ibx_load(&bound1, p, 0)) != 0.0f;
      float value = is_inside ? ibx_load(&src, p, i) : -FLT_MAX;
      ibx_fold_take(&greatest, value);
      ibx_store(&dst, p, i, value);
    }
    ibx_accumulate(x, IBX_ALU_MAX, p, ibx_fold_end(&greatest), 0.0f);
  }
  return IBX_OK;
}

// dst = src where the mask is not 0, else s
ibx_status ibx_exec_select_reduce(const ibx_exec *x) {
  ibx_sim_view dst, src, mask, s;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_read(x, 2, &mask));
  IBX_TRY(ibx_open_scalar(x, 3, x->insn->imm[0], &s));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool reverse = (x->insn->flags & IBX_FLAG_REVERSE0) != 0;
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold greatest = {.alu = IBX_ALU_MAX};
    for (size_t i = 0; i < dst.elements; i++) {
      bool is_chosen = (ibx_load_bits(&mask, p, i) != 0) != reverse;
      float value = is_chosen ? ibx_load(&src, p, i) : ibx_load(&s, p, 0);
      ibx_fold_take(&greatest, value);
      ibx_store(&dst, p, i, value);
    }
    ibx_accumulate(x, IBX_ALU_MAX, p, ibx_fold_end(&greatest), 0.0f);
  }
  return IBX_OK;
}

// dst = exp(src - s)
ibx_status ibx_exec_exponential(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, s, initial;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &s));
  IBX_TRY(ibx_open_scalar(x, 3, insn->imm[1], &initial));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold sum = {.alu = IBX_ALU_ADD};
    for (size_t i = 0; i < dst.elements; i++) {
      float value = ibx_load(&src, p, i) - ibx_load(&s, p, 0);
      value = ibx_act_one(IBX_ACT_EXP, value, 0.0f);
      ibx_fold_take(&sum, value);
      ibx_store(&dst, p, i, value);
    }
    ibx_accumulate(x, IBX_ALU_ADD, p, ibx_fold_end(&sum),
                   ibx_load(&initial, p, 0));
  }
  return IBX_OK;
}
