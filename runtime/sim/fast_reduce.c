// SPDX-License-Identifier: Apache-2.0
//
// Reductions, row by row. In: operands on chip. Out: what exec_reduce.c says.

#include "sim/bits.h"
#include "sim/rows.h"
#include "sim/view.h"

#include <string.h>

static void reduce_row(const ibx_exec *x, const ibx_sim_view *dst,
                       const ibx_sim_view *src, size_t group, size_t p) {
  uint8_t alu = x->insn->op[0];
  float *out = x->sim->scratch[1]->f32;
  const float *row =
      ibx_sim_view_fetch(src, p, 0, src->elements, x->sim->scratch[0]->f32);
  for (size_t i = 0; i < dst->elements; i++) {
    out[i] = ibx_sim_row_fold(alu, row + i * group, group);
  }
  for (size_t i = 0; x->insn->flags & IBX_FLAG_NEGATE && i < dst->elements;
       i++) {
    out[i] = -out[i];
  }
  ibx_sim_row_quiet(out, dst->elements);
  ibx_sim_view_store(dst, p, 0, dst->elements, out);
}

static void reduce_bits(const ibx_exec *x, const ibx_sim_view *dst,
                        const ibx_sim_view *src, size_t group, size_t p) {
  uint8_t alu = x->insn->op[0];
  unsigned width = (unsigned)(8 * src->element_bytes);
  uint32_t *row = x->sim->scratch[0]->u32;
  uint32_t *out = x->sim->scratch[1]->u32;
  ibx_sim_view_fetch_bits(src, p, src->elements, row);
  for (size_t i = 0; i < dst->elements; i++) {
    const uint32_t *from = row + i * group;
    out[i] = from[0];
    for (size_t j = 1; j < group; j++) {
      out[i] = ibx_sim_bits_one(alu, out[i], from[j], width);
    }
  }
  ibx_sim_view_store_bits(dst, p, dst->elements, out);
}

ibx_status ibx_fast_tensor_reduce(const ibx_exec *x) {
  size_t group;
  ibx_sim_view dst, src;
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_make(x, 0, ibx_sim_outer_shape(x->insn, &group), &dst));
  IBX_TRY(ibx_sim_view_separate(x, &dst, 0, &src));
  bool bits = ibx_alu_is_bitwise(x->insn->op[0]);
  for (size_t p = 0; p < dst.partitions; p++) {
    (bits ? reduce_bits : reduce_row)(x, &dst, &src, group, p);
  }
  return IBX_OK;
}

static void fold_partitions(const ibx_exec *x, const ibx_sim_view *dst,
                            const ibx_sim_view *src) {
  size_t n = src->elements;
  float *total = x->sim->scratch[1]->f32, *sum = x->sim->scratch[2]->f32;
  const float *row = ibx_sim_view_fetch(src, 0, 0, n, x->sim->scratch[0]->f32);
  memcpy(total, row, n * sizeof(*total));
  for (size_t p = 1; p < src->partitions; p++) {
    row = ibx_sim_view_fetch(src, p, 0, n, x->sim->scratch[0]->f32);
    ibx_sim_row_vv(x->insn->op[0], total, row, sum, n);
    float *swap = total;
    total = sum;
    sum = swap;
  }
  for (size_t i = 0;
       x->insn->mode == IBX_MODE_partition_reduce_AVERAGE && i < n; i++) {
    total[i] /= (float)src->partitions;
  }
  ibx_sim_row_quiet(total, n);
  ibx_sim_view_store(dst, 0, 0, n, total);
}

static void fold_partition_bits(const ibx_exec *x, const ibx_sim_view *dst,
                                const ibx_sim_view *src) {
  size_t n = src->elements;
  unsigned width = (unsigned)(8 * src->element_bytes);
  uint32_t *row = x->sim->scratch[0]->u32;
  uint32_t *total = x->sim->scratch[1]->u32;
  ibx_sim_view_fetch_bits(src, 0, n, total);
  for (size_t p = 1; p < src->partitions; p++) {
    ibx_sim_view_fetch_bits(src, p, n, row);
    for (size_t i = 0; i < n; i++) {
      total[i] = ibx_sim_bits_one(x->insn->op[0], total[i], row[i], width);
    }
  }
  ibx_sim_view_store_bits(dst, 0, n, total);
}

// Ascending partitions, element by element.
ibx_status ibx_fast_partition_reduce(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_open(x, 0, &dst));
  if (ibx_alu_is_bitwise(x->insn->op[0])) {
    fold_partition_bits(x, &dst, &src);
  } else {
    fold_partitions(x, &dst, &src);
  }
  return IBX_OK;
}
