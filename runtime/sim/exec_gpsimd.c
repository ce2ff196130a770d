// SPDX-License-Identifier: Apache-2.0
//
// What only the GpSimd engine does. In: immediates. Out: rows in SBUF.

#include "sim/map.h"

static bool is_int32(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32;
}

static void iota_row(const ibx_exec *x, const ibx_sim_view *dst, uint32_t first,
                     size_t p) {
  size_t n = dst->elements;
  uint32_t *whole = x->sim->scratch[0]->u32;
  float *values = x->sim->scratch[1]->f32;
  for (size_t i = 0; i < n; i++) {
    whole[i] = first + (uint32_t)i;
  }
  if (is_int32(dst->dtype)) {
    ibx_sim_view_store_bits(dst, p, n, whole);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    values[i] = (float)(int32_t)whole[i];
  }
  ibx_sim_view_store(dst, p, 0, n, values);
}

// imm0 + imm1 * p + i in wrapping 32-bit integers.
ibx_status ibx_exec_iota(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_sim_view_make(x, 0, ibx_sim_shape_of(x->insn), &dst));
  uint32_t first = ibx_sim_scalar_bits(x->insn->imm[0]);
  uint32_t step = ibx_sim_scalar_bits(x->insn->imm[1]);
  for (size_t p = 0; p < dst.partitions; p++) {
    iota_row(x, &dst, first + step * (uint32_t)p, p);
  }
  return IBX_OK;
}
