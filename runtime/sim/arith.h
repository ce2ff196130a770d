// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ARITH_H
#define IBX_SIM_ARITH_H

/// \file
/// What the engines compute, on one value: ARITH operators, reductions and
/// activation functions. The specification; rows.h does the same on rows.

#include "imbrex/isa.h"

/// a op b, rounded to fp32 once. `alu` is an ARITH operator.
float ibx_arith_one(uint8_t alu, float a, float b);

/// A reduction in the order of the machine [C]: sixteen running values, of
/// which number i mod 16 takes value i; at the end these in ascending order.
typedef struct ibx_fold {
  float lane[16];
  size_t n; ///< values taken so far
  uint8_t alu;
} ibx_fold;

void ibx_fold_take(ibx_fold *fold, float value);
/// The result of at least one value.
float ibx_fold_end(const ibx_fold *fold);

/// The function of isa.def, computed in double; `slope` is that of PRELU.
double ibx_act_exact(uint8_t act, double x, double slope);

/// The same rounded to fp32.
float ibx_act_one(uint8_t act, float x, float slope);

/// The most by which a fast version may miss ibx_act_exact(): four units in the
/// last place, of the largest term where terms of the sentence cancel, and
/// 2^-142, which is some subnormal steps.
double ibx_act_bound(uint8_t act, double x, double slope);

#endif
