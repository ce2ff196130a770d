// SPDX-License-Identifier: Apache-2.0
//
// opt_dce: removes operations that no output needs.
//
//   before   %a = ibx.relu %x    %b = ibx.exp %x    return %a
//   after    %a = ibx.relu %x                       return %a
//
// Needs:    nothing; no tensor operation has an effect but its result.
// Provides: every operation reaches an output.

#include "passes/pass.h"

ibx_status ibx_pass_opt_dce(ibx_pass_ctx *ctx, ibx_graph *graph) {
  (void)ctx;
  ibx_graph_compact(graph);
  return IBX_OK;
}
