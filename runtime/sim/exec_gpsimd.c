// SPDX-License-Identifier: Apache-2.0
//
// What only the GpSimd engine does, as element.h says.

#include "sim/element.h"

// dst = imm0 + imm1 * p + i in wrapping 32-bit integers.
ibx_status ibx_exec_iota(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  uint32_t first = ibx_scalar_bits(x->insn->imm[0]);
  uint32_t step = ibx_scalar_bits(x->insn->imm[1]);
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      uint32_t value = first + step * (uint32_t)p + (uint32_t)i;
      if (ibx_is_int32(&dst)) {
        ibx_store_bits(&dst, p, i, value);
      } else {
        ibx_store(&dst, p, i, (float)(int32_t)value);
      }
    }
  }
  return IBX_OK;
}
