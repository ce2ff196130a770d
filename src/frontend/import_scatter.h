// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_SCATTER_H
#define IBX_IMPORT_SCATTER_H

/// \file
/// Scatters of which the indices are known only when the model runs.

#include "frontend/import.h"

/// How updates join the data. `op` is IBX_TENSOR_constant when they replace it.
typedef struct ibx_scatter {
  ibx_tensor_op op;
  double neutral; ///< changes nothing, for sums and products
} ibx_scatter;

/// Combines data [B, N, W] with updates [B, M, W]: update m of a batch goes to
/// row indices[b, m] of it. Indices [B, M] are of i64 and count from the start;
/// one outside of 0 .. N - 1 changes nothing. Of updates that replace the same
/// row the last one stays.
ibx_val ibx_emit_scatter(ibx_call *call, const ibx_scatter *how, ibx_val data,
                         ibx_val indices, ibx_val updates);

/// The same for indices that are the transposed result of NonZero of a mask on
/// the first dimensions of the data: false, and nothing is done, for others.
bool ibx_emit_mask_scatter(ibx_call *call, const ibx_scatter *how, ibx_val data,
                           ibx_val indices, ibx_val updates, ibx_val *out);

#endif
