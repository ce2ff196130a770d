// SPDX-License-Identifier: Apache-2.0
//
// The Scalar engine: dst = f(src * scale + bias), product and sum rounded to
// fp32, f computed in double and rounded to fp32. PRELU takes its slope from
// imm1, so that its scale is slot 3, or 1 where there is none. Rows are reduced
// before the conversion of dst and go to the accumulators.

#include "sim/accumulator.h"
#include "sim/arith.h"
#include "sim/element.h"

static float activate(const ibx_insn *insn, float src, float scale,
                      float bias) {
  float product = src * scale;
  return ibx_act_one(insn->op[0], product + bias, insn->imm[1]);
}

// The scale where no tensor gives it.
static float default_scale(const ibx_insn *insn) {
  return insn->op[0] == IBX_ACT_PRELU ? 1.0f : insn->imm[1];
}

ibx_status ibx_exec_activation(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, bias, scale;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &bias));
  IBX_TRY(ibx_open_scalar(x, 3, default_scale(insn), &scale));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold sum = {.alu = IBX_ALU_ADD};
    for (size_t i = 0; i < dst.elements; i++) {
      float value = activate(insn, ibx_load(&src, p, i), ibx_load(&scale, p, 0),
                             ibx_load(&bias, p, 0));
      ibx_store(&dst, p, i, value);
      ibx_fold_take(&sum, value);
    }
    ibx_accumulate(x, IBX_ALU_ADD, p, ibx_fold_end(&sum), 0.0f);
  }
  return IBX_OK;
}

// As above, and the sum of each partition before the conversion.
ibx_status ibx_exec_activation_reduce(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, bias, result;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &bias));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  IBX_TRY(ibx_open_write(x, 3, &result));
  float sums[IBX_PARTITIONS];
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold sum = {.alu = IBX_ALU_ADD};
    for (size_t i = 0; i < dst.elements; i++) {
      float value = activate(insn, ibx_load(&src, p, i), default_scale(insn),
                             ibx_load(&bias, p, 0));
      ibx_store(&dst, p, i, value);
      ibx_fold_take(&sum, value);
    }
    sums[p] = ibx_fold_end(&sum);
  }
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_store(&result, p, 0, sums[p]);
    *ibx_accumulator(x, p) = sums[p];
  }
  return IBX_OK;
}

static float side(uint8_t alu, float a, float s, bool reverse) {
  return reverse ? ibx_arith_one(alu, s, a) : ibx_arith_one(alu, a, s);
}

// f((src op0 s0) op1 s1)
static float activate2(const ibx_insn *insn, float src, float s0, float s1) {
  float value = src;
  if (insn->op[0] != IBX_ALU_BYPASS) {
    value = side(insn->op[0], value, s0, insn->flags & IBX_FLAG_REVERSE0);
  }
  if (insn->op[1] != IBX_ALU_BYPASS) {
    value = side(insn->op[1], value, s1, insn->flags & IBX_FLAG_REVERSE1);
  }
  return ibx_act_one(insn->op[2], value, insn->imm[2]);
}

// The row as operators of magnitudes have it, a single element included.
static float reduced(const ibx_fold *row) {
  bool is_abs = row->alu == IBX_ALU_ABS_MAX || row->alu == IBX_ALU_ABS_MIN;
  float value = ibx_fold_end(row);
  return is_abs && value < 0.0f ? -value : value;
}

ibx_status ibx_exec_activate2(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, s0, s1;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &s0));
  IBX_TRY(ibx_open_scalar(x, 3, insn->imm[1], &s1));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold row = {.alu = insn->op[3]};
    for (size_t i = 0; i < dst.elements; i++) {
      float value = activate2(insn, ibx_load(&src, p, i), ibx_load(&s0, p, 0),
                              ibx_load(&s1, p, 0));
      ibx_store(&dst, p, i, value);
      ibx_fold_take(&row, value);
    }
    ibx_accumulate(x, insn->op[3], p, reduced(&row), 0.0f);
  }
  return IBX_OK;
}
