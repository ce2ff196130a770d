// SPDX-License-Identifier: Apache-2.0
//
// Reductions: one value for each group of elements, as element.h and arith.h
// say; integers in ascending order.

#include "sim/accumulator.h"
#include "sim/arith.h"
#include "sim/bits.h"
#include "sim/element.h"

static uint32_t fold_bits(uint8_t alu, const ibx_sim_view *src, size_t p,
                          size_t first, size_t group) {
  unsigned width = (unsigned)(8 * src->element_bytes);
  uint32_t result = ibx_load_bits(src, p, first);
  for (size_t j = 1; j < group; j++) {
    result =
        ibx_sim_bits_one(alu, result, ibx_load_bits(src, p, first + j), width);
  }
  return result;
}

static float fold(uint8_t alu, const ibx_sim_view *src, size_t p, size_t first,
                  size_t group) {
  ibx_fold all = {.alu = alu};
  for (size_t j = 0; j < group; j++) {
    ibx_fold_take(&all, ibx_load(src, p, first + j));
  }
  return ibx_fold_end(&all);
}

// Elements that are one group: those of the innermost dimensions, in which the
// destination stands still.
static size_t group_of(const ibx_insn *insn) {
  size_t group = 1;
  for (size_t d = 2; d < IBX_DIMS; d++) {
    if (insn->operand[0].step[d] == 0) group *= insn->num[d];
  }
  return group;
}

ibx_status ibx_exec_tensor_reduce(const ibx_exec *x) {
  uint8_t alu = x->insn->op[0];
  size_t group = group_of(x->insn);
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool negate = (x->insn->flags & IBX_FLAG_NEGATE) != 0;
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < src.elements; i += group) {
      if (ibx_alu_is_bitwise(alu)) {
        ibx_store_bits(&dst, p, i, fold_bits(alu, &src, p, i, group));
      } else {
        float value = fold(alu, &src, p, i, group);
        ibx_store(&dst, p, i, negate ? -value : value);
      }
    }
  }
  return IBX_OK;
}

// dst = src op0 s0, and of these values, before their conversion, op1 over each
// partition, through the accumulators unless the command is IDLE.
ibx_status ibx_exec_tensor_scalar_reduce(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src, s0, result;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &s0));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  IBX_TRY(ibx_open_write(x, 3, &result));
  float reduced[IBX_PARTITIONS];
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_fold all = {.alu = insn->op[1]};
    for (size_t i = 0; i < dst.elements; i++) {
      float value =
          ibx_arith_one(insn->op[0], ibx_load(&src, p, i), ibx_load(&s0, p, 0));
      ibx_store(&dst, p, i, value);
      ibx_fold_take(&all, value);
    }
    reduced[p] = ibx_fold_end(&all);
    if (insn->reduce == IBX_REDUCE_IDLE) continue;
    ibx_accumulate(x, insn->op[1], p, reduced[p], insn->imm[1]);
    reduced[p] = *ibx_accumulator(x, p);
  }
  for (size_t p = 0; p < dst.partitions; p++) {
    ibx_store(&result, p, 0, reduced[p]);
  }
  return IBX_OK;
}

// dst[0, i] = src[0, i] op src[1, i] op ..., or the average in mode 1
ibx_status ibx_exec_partition_reduce(const ibx_exec *x) {
  uint8_t alu = x->insn->op[0];
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  unsigned width = (unsigned)(8 * src.element_bytes);
  for (size_t i = 0; i < dst.elements; i++) {
    uint32_t bits = ibx_load_bits(&src, 0, i);
    float value = ibx_load(&src, 0, i);
    for (size_t p = 1; p < src.partitions; p++) {
      bits = ibx_sim_bits_one(alu, bits, ibx_load_bits(&src, p, i), width);
      value = ibx_arith_one(alu, value, ibx_load(&src, p, i));
    }
    if (x->insn->mode == IBX_MODE_partition_reduce_AVERAGE)
      value /= (float)src.partitions;
    if (ibx_alu_is_bitwise(alu)) {
      ibx_store_bits(&dst, 0, i, bits);
    } else {
      ibx_store(&dst, 0, i, value);
    }
  }
  return IBX_OK;
}
