// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_ROWS_H
#define IBX_IMPORT_ROWS_H

/// \file
/// Rows at positions that are computed for each element of a batch.

#include "frontend/import.h"

/// A cache [B, P, M, Q] of which rows `start[b]` and on are replaced by those of
/// an update [B, P, at least 1, Q]; rows outside of the cache are lost.
ibx_val ibx_emit_rows_at(ibx_call *call, ibx_val past, ibx_val update,
                         ibx_val start);

#endif
