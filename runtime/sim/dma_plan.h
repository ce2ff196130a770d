// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_DMA_PLAN_H
#define IBX_SIM_DMA_PLAN_H

/// \file
/// A DMA with its addresses resolved: it can be carried out later, whole or in
/// pieces, when the registers of its issuer have moved on.

#include "imbrex/isa.h"
#include "sim/rounding.h"

typedef struct ibx_dma_plan {
  const uint8_t *src;
  uint8_t *dst;
  uint64_t num[IBX_DIMS];       ///< outermost first
  ptrdiff_t src_step[IBX_DIMS]; ///< bytes
  ptrdiff_t dst_step[IBX_DIMS];
  uint64_t elements;
  ibx_dtype src_dtype, dst_dtype;
  ibx_transfer transfer;
  ibx_rounder rounder;
  uint64_t sources; ///< of a sum, source_step apart; num[0] is then 1
  ptrdiff_t source_step;
  bool skips;                   ///< some rows may be left out
  uint32_t row[IBX_PARTITIONS]; ///< what transfer.index uses instead of i;
                                ///< IBX_DMA_SKIPPED: the row is left out
} ibx_dma_plan;

#define IBX_DMA_SKIPPED UINT32_MAX

/// Moves `elements` elements from number `first` on, in iteration order.
void ibx_dma_plan_run(const ibx_dma_plan *plan, uint64_t first,
                      uint64_t elements);
/// The same, faster.
void ibx_dma_plan_run_fast(const ibx_dma_plan *plan, uint64_t first,
                           uint64_t elements);

struct ibx_exec;
/// Resolves the DMA of `x` and checks it against its buffers. Fails with
/// DEVICE_ERROR on an access outside of a buffer, a write to a weight or an
/// input, an index that is not below the count where none are skipped, or two
/// equal indices of a scatter.
ibx_status ibx_dma_plan_make(const struct ibx_exec *x, ibx_dma_plan *out);

#endif
