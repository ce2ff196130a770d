// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_CALL_H
#define IBX_SIM_CALL_H

/// \file
/// The kernels of the GpSimd library (gpsimd_calls.def), one function each,
/// which computes one partition. exec_call.c has those that work on single
/// elements, call_row.c those that look at a whole row.

#include "sim/element.h"

/// The operands of a call, opened: those read are copies.
typedef struct ibx_library_call {
  const ibx_exec *x;
  ibx_sim_view view[IBX_OPERANDS]; ///< by slot, where the kernel has one
  size_t k;                        ///< the member `count`
} ibx_library_call;

#define IBX_CALL(name, ...)                                                    \
  ibx_status ibx_kernel_##name(const ibx_library_call *c, size_t p);
#include "imbrex/gpsimd_calls.def"

/// Less than 0, 0, or more where element i of partition p of `a` is less than,
/// equal to, or greater than element j of `b`; both have one type. NaN is
/// greater than every number and equal to NaN.
int ibx_compare_elements(const ibx_sim_view *a, size_t i, const ibx_sim_view *b,
                         size_t j, size_t p);

/// Whether the element is 0.
bool ibx_is_zero(const ibx_sim_view *view, size_t p, size_t i);

#endif
