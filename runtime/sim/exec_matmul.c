// SPDX-License-Identifier: Apache-2.0
//
// The tensor engine, as element.h says. The array holds fp32: conversions to it
// are exact, so fp32 operands keep their full precision, as the machine's four
// passes do. A product is a chain of fused multiply-adds in ascending
// partitions that starts at 0; PSUM is added to after that.

#include "sim/element.h"

#include <math.h>

ibx_status ibx_exec_load_stationary(const ibx_exec *x) {
  ibx_sim_view src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  size_t row = ibx_sim_array_row(x, 1);
  for (size_t p = 0; p < src.partitions; p++) {
    for (size_t i = 0; i < src.elements; i++) {
      x->sim->array[(row + p) * IBX_ARRAY + i] = ibx_load(&src, p, i);
    }
  }
  return IBX_OK;
}

// One element of the product: column `c` of the array times element `i`.
static float multiply(const ibx_exec *x, const ibx_sim_view *src, size_t c,
                      size_t i) {
  const float *array = x->sim->array + ibx_sim_array_row(x, 1) * IBX_ARRAY;
  float sum = 0.0f;
  for (size_t p = 0; p < src->partitions; p++) {
    sum = fmaf(array[p * IBX_ARRAY + c], ibx_load(src, p, i), sum);
  }
  return sum;
}

// dst[c, i] = sum over p of array[p, c] * src[p, i], added to dst or not.
ibx_status ibx_exec_multiply_moving(const ibx_exec *x) {
  ibx_sim_view dst, src, old;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_read(x, 0, &old));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool accumulate = (x->insn->flags & IBX_FLAG_ACCUMULATE) != 0;
  for (size_t c = 0; c < dst.partitions; c++) {
    for (size_t i = 0; i < dst.elements; i++) {
      float sum = multiply(x, &src, c, i);
      ibx_store(&dst, c, i, accumulate ? ibx_load(&old, c, i) + sum : sum);
    }
  }
  return IBX_OK;
}

// dst[f, p] = src[p, f], bit for bit.
static ibx_status transpose(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t f = 0; f < dst.partitions; f++) {
    for (size_t p = 0; p < dst.elements; p++) {
      ibx_store_bits(&dst, f, p, ibx_load_bits(&src, p, f));
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_nc_transpose(const ibx_exec *x) { return transpose(x); }

ibx_status ibx_exec_vector_transpose(const ibx_exec *x) { return transpose(x); }
