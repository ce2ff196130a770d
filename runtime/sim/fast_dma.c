// SPDX-License-Identifier: Apache-2.0
//
// DMA in runs of its innermost dimension. In: a plan with every address inside
// its buffer. Out: what exec_dma.c says.

#include "sim/rows.h"
#include "sim/strided.h"
#include "sim/view.h"

// Merges dimensions that follow each other on both sides, from the innermost
// out; the rows of a gather stay apart.
static ibx_dma_plan merge(const ibx_dma_plan *plan) {
  ibx_dma_plan out = *plan;
  size_t at = IBX_DIMS - 1,
         first = plan->transfer.index == IBX_TRANSFER_NONE ? 0 : 1;
  for (size_t d = first; d < IBX_DIMS; d++) {
    out.num[d] = 1;
    out.src_step[d] = out.dst_step[d] = 0;
  }
  for (size_t d = IBX_DIMS; d-- > first;) {
    uint64_t num = plan->num[d];
    if (num == 1) continue;
    ptrdiff_t inner = (ptrdiff_t)out.num[at];
    bool follows = plan->src_step[d] == out.src_step[at] * inner &&
                   plan->dst_step[d] == out.dst_step[at] * inner;
    if (out.num[at] != 1 && follows) {
      out.num[at] *= num;
      continue;
    }
    if (out.num[at] != 1) at--;
    out.num[at] = num;
    out.src_step[at] = plan->src_step[d];
    out.dst_step[at] = plan->dst_step[d];
  }
  return out;
}

enum { BLOCK = 512 };

static void convert_run(const ibx_dma_plan *plan, const uint8_t *src,
                        uint8_t *dst, uint64_t n) {
  uint8_t raw[BLOCK * 8];
  float values[BLOCK];
  ptrdiff_t src_step = plan->src_step[IBX_DIMS - 1];
  ptrdiff_t dst_step = plan->dst_step[IBX_DIMS - 1];
  size_t src_bytes = ibx_dtype_bytes(plan->src_dtype);
  size_t dst_bytes = ibx_dtype_bytes(plan->dst_dtype);
  while (n != 0) {
    size_t count = n < BLOCK ? (size_t)n : BLOCK;
    ibx_sim_strided_copy(src_bytes, src, src_step, raw, (ptrdiff_t)src_bytes,
                         count);
    ibx_dtype_load_f32(plan->src_dtype, raw, values, count);
    ibx_sim_row_quiet(values, count);
    ibx_dtype_store_f32(plan->dst_dtype, values, raw, count);
    ibx_sim_strided_copy(dst_bytes, raw, (ptrdiff_t)dst_bytes, dst, dst_step,
                         count);
    src += (ptrdiff_t)count * src_step;
    dst += (ptrdiff_t)count * dst_step;
    n -= count;
  }
}

// Elements of the innermost dimension from `index` on.
static void copy_run(const ibx_dma_plan *plan, const uint64_t *index,
                     uint64_t n) {
  const uint8_t *src = plan->src;
  uint8_t *dst = plan->dst;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    bool is_row = d == 0 && plan->transfer.index == IBX_TRANSFER_SRC;
    uint64_t row = is_row ? plan->row[index[0]] : index[d];
    src += (ptrdiff_t)row * plan->src_step[d];
    dst += (ptrdiff_t)index[d] * plan->dst_step[d];
  }
  if (plan->src_dtype != plan->dst_dtype) {
    convert_run(plan, src, dst, n);
    return;
  }
  ibx_sim_strided_copy(ibx_dtype_bytes(plan->src_dtype), src,
                       plan->src_step[IBX_DIMS - 1], dst,
                       plan->dst_step[IBX_DIMS - 1], (size_t)n);
}

static void advance(const ibx_dma_plan *plan, uint64_t *index, uint64_t n) {
  index[IBX_DIMS - 1] += n;
  for (size_t d = IBX_DIMS - 1; d > 0 && index[d] == plan->num[d]; d--) {
    index[d] = 0;
    index[d - 1]++;
  }
}

// Copies, plain or gathered whole; the others are rare and stand in the
// specification alone.
static bool is_simple(const ibx_dma_plan *plan) {
  return plan->transfer.combine == IBX_TRANSFER_COPY &&
         plan->transfer.index != IBX_TRANSFER_DST && !plan->skips;
}

void ibx_dma_plan_run_fast(const ibx_dma_plan *apart, uint64_t first,
                           uint64_t elements) {
  if (!is_simple(apart)) {
    ibx_dma_plan_run(apart, first, elements);
    return;
  }
  ibx_dma_plan plan = merge(apart);
  uint64_t index[IBX_DIMS];
  for (size_t d = IBX_DIMS; d-- > 0;) {
    index[d] = first % plan.num[d];
    first /= plan.num[d];
  }
  while (elements != 0) {
    uint64_t left = plan.num[IBX_DIMS - 1] - index[IBX_DIMS - 1];
    uint64_t n = left < elements ? left : elements;
    copy_run(&plan, index, n);
    advance(&plan, index, n);
    elements -= n;
  }
}

static ibx_status execute(const ibx_exec *x) {
  if (x->sim->order != IBX_SIM_ORDER_PROGRAM) return ibx_sim_launch(x);
  ibx_dma_plan plan;
  IBX_TRY(ibx_dma_plan_make(x, &plan));
  ibx_dma_plan_run_fast(&plan, 0, plan.elements);
  return IBX_OK;
}

ibx_status ibx_fast_dma_copy(const ibx_exec *x) { return execute(x); }

ibx_status ibx_fast_dma_gather(const ibx_exec *x) { return execute(x); }

ibx_status ibx_fast_dma_transpose(const ibx_exec *x) { return execute(x); }
