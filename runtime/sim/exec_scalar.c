// SPDX-License-Identifier: Apache-2.0
//
// The Scalar engine: dst = f(src * scale + bias), product and sum rounded to
// fp32, f computed in double and rounded to fp32. PRELU takes its slope from
// imm1, so that its scale is slot 3, or 1 where there is none.

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
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store(&dst, p, i,
                activate(insn, ibx_load(&src, p, i), ibx_load(&scale, p, 0),
                         ibx_load(&bias, p, 0)));
    }
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
  }
  return IBX_OK;
}
