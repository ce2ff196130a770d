// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_ROWS_H
#define IBX_SIM_ROWS_H

/// \file
/// What the engines compute, on rows of contiguous fp32 values, each operation
/// rounded to fp32. Results do not depend on the machine or on how a row is cut
/// but where said. Outputs never overlap inputs.

#include "imbrex/isa.h"

/// out[i] = a[i] op b[i]. `alu` is an ARITH operator.
void ibx_sim_row_vv(uint8_t alu, const float *a, const float *b, float *out,
                    size_t n);
/// out[i] = a[i] op b.
void ibx_sim_row_vs(uint8_t alu, const float *a, float b, float *out, size_t n);
/// out[i] = a op b[i].
void ibx_sim_row_sv(uint8_t alu, float a, const float *b, float *out, size_t n);

/// Folds at least one value with a reducible ARITH operator, in the order of
/// ibx_fold (arith.h).
float ibx_sim_row_fold(uint8_t alu, const float *a, size_t n);

/// Gives every NaN the bits of the one that instructions store (element.h).
void ibx_sim_row_quiet(float *values, size_t n);

/// What an activation takes beside its row.
typedef struct ibx_sim_act_terms {
  float scale, bias;
  float slope; ///< of PRELU
} ibx_sim_act_terms;

/// out[i] = act(a[i] * scale + bias), the argument rounded twice. Within
/// ibx_act_bound() (arith.h) of the exact value.
void ibx_sim_row_act(uint8_t act, const float *a, ibx_sim_act_terms terms,
                     float *out, size_t n);

/// out[i] = 1 / a[i], rounded once.
void ibx_sim_row_reciprocal(const float *restrict a, float *restrict out,
                            size_t n);

#endif
