// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_REFERENCE_H
#define IBX_REFERENCE_H

/// \file
/// A device that runs no instruction: it computes the graph of an entry with
/// the reference kernels. With it, sessions, bindings, steps on the host and
/// extents are those of any other device, and only the machine differs.

#include "frontend/frontend.h"
#include "imbrex/runtime.h"

/// A model that was imported: the graphs of its entry or of the segments of it.
/// Zero at first; ended by ibx_reference_fini().
typedef struct ibx_reference {
  ibx_arena arena;
  ibx_diag_sink sink;
  ibx_tables tables;
  ibx_import_stats facts;
  ibx_graph graph;
  const ibx_partition *partition; ///< NULL where the host takes no part
} ibx_reference;

/// Imports the model, which outlives the reference, as a compilation with these
/// options does: one value a dimension. Fails as ibx_frontend_import(); the
/// diagnostics are forwarded to the callback of the options.
IBX_NODISCARD ibx_status ibx_reference_init(ibx_model *model,
                                            const ibx_compile_options *options,
                                            ibx_reference *out, ibx_error *err);
void ibx_reference_fini(ibx_reference *reference);

/// Opens the device, which borrows the reference. It loads entries of programs
/// that were compiled from the same model with the same options, and fails with
/// MISMATCH for others; a run fails as ibx_graph_eval().
IBX_NODISCARD ibx_status ibx_reference_open(const ibx_reference *reference,
                                            ibx_device **out_device,
                                            ibx_error *err);

#endif
