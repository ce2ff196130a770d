// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FIT_H
#define IBX_FIT_H

/// \file
/// Whether a program fits into a core's HBM: its weight section, which all
/// entries share, beside the tensors of any one of them.

#include "ir/graph.h"
#include "ir/tiles.h"
#include "support/diag.h"

/// Zero at first. What is known of the functions so far.
typedef struct ibx_fit {
  uint64_t tensor_bytes;   ///< most of a function: ports and scratch
  uint64_t constant_bytes; ///< of the largest constant
  const char *constant;    ///< its name, borrowed
  uint32_t source;         ///< row of the source table: who reads it
} ibx_fit;

void ibx_fit_add(ibx_fit *fit, const ibx_tile_func *func);

/// Fails with OUT_OF_CAPACITY, and a diagnostic that names the largest constant.
IBX_NODISCARD ibx_status ibx_fit_check(const ibx_fit *fit,
                                       const ibx_machine *machine,
                                       uint64_t weight_bytes,
                                       const ibx_tables *tables,
                                       ibx_diag_sink *sink, ibx_error *err);

/// Whether a program has numbers for the buffers of a placed function, once those
/// alike are one (codegen/share.h). Fails with OUT_OF_CAPACITY, and a diagnostic
/// that names who uses the first one too many.
IBX_NODISCARD ibx_status ibx_fit_buffers(const ibx_tile_func *func,
                                         const ibx_tables *tables,
                                         ibx_arena *scratch,
                                         ibx_diag_sink *sink, ibx_error *err);

#endif
