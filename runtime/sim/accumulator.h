// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ACCUMULATOR_H
#define IBX_SIM_ACCUMULATOR_H

/// \file
/// The accumulators of Scalar and Vector: one fp32 register for each partition
/// of the machine, which several instructions share (IBX_REDUCE).

#include "sim/state.h"

/// What a reduction by an ARITH operator starts from: what leaves the first
/// value as it is.
float ibx_neutral(uint8_t alu);

/// Lends the register of partition `p` of the instruction, which is that of
/// dst's partition [C].
float *ibx_accumulator(const ibx_exec *x, size_t p);

/// Carries out the instruction's command on it. `row` is the reduction of the
/// partition's elements by `alu`, `initial` what LOAD_REDUCE starts from.
void ibx_accumulate(const ibx_exec *x, uint8_t alu, size_t p, float row,
                    float initial);

#endif
