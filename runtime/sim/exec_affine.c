// SPDX-License-Identifier: Apache-2.0
//
// GpSimd instructions that compute with an affine expression of an element's
// place, in wrapping 32-bit integers, as element.h says.

#include "sim/bits.h"
#include "sim/element.h"

// count + imm0 * p + pattern0 * i + pattern1 * j + pattern2 * k, where i, j, k
// are the indices of element n.
static uint32_t affine(const ibx_insn *insn, size_t p, size_t n) {
  uint32_t value = insn->count + ibx_scalar_bits(insn->imm[0]) * (uint32_t)p;
  for (size_t d = 3; d-- > 0;) {
    uint32_t index = (uint32_t)(n % insn->num[2 + d]);
    value += (uint32_t)insn->pattern[d] * index;
    n /= insn->num[2 + d];
  }
  return value;
}

ibx_status ibx_exec_iota_affine(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      uint32_t value = affine(x->insn, p, i);
      if (ibx_is_int32(&dst)) {
        ibx_store_bits(&dst, p, i, value);
      } else {
        ibx_store(&dst, p, i, (float)(int32_t)value);
      }
    }
  }
  return IBX_OK;
}

// dst = src where the expression compares with 0, else imm1
ibx_status ibx_exec_affine_select(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      uint32_t value = affine(insn, p, i);
      if (!ibx_sim_integer_one(insn->op[0], value, 0, true)) {
        ibx_store(&dst, p, i, insn->imm[1]);
      } else if (dst.dtype == src.dtype) {
        ibx_copy_element(&dst, p, i, &src, i);
      } else {
        ibx_store(&dst, p, i, ibx_load(&src, p, i));
      }
    }
  }
  return IBX_OK;
}
