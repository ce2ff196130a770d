// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_DMA_PLAN_H
#define IBX_SIM_DMA_PLAN_H

/// \file
/// A DMA with its addresses resolved: it can be carried out later, whole or in
/// pieces, when the registers of its issuer have moved on.

#include "imbrex/isa.h"

typedef struct ibx_dma_plan {
  const uint8_t *src;
  uint8_t *dst;
  uint64_t num[IBX_DIMS];       ///< outermost first
  ptrdiff_t src_step[IBX_DIMS]; ///< bytes
  ptrdiff_t dst_step[IBX_DIMS];
  uint64_t elements;
  ibx_dtype src_dtype, dst_dtype;
  bool gather; ///< src_step[0] is multiplied by row[i] instead of i
  uint32_t row[IBX_PARTITIONS];
} ibx_dma_plan;

/// Copies `elements` elements from number `first` on, in iteration order.
void ibx_dma_plan_run(const ibx_dma_plan *plan, uint64_t first,
                      uint64_t elements);
/// The same, faster.
void ibx_dma_plan_run_fast(const ibx_dma_plan *plan, uint64_t first,
                           uint64_t elements);

struct ibx_exec;
/// Resolves the DMA of `x` and checks it against its buffers. Fails with
/// DEVICE_ERROR on an access outside of a buffer, a write to a weight or an
/// input, or an index that is not below the count.
ibx_status ibx_dma_plan_make(const struct ibx_exec *x, ibx_dma_plan *out);

#endif
