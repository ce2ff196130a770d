// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PROBE_H
#define IBX_PROBE_H

/// \file
/// One compiled program, run on a device and with the reference kernels.

#include "driver/compare.h"
#include "driver/reference.h"
#include "imbrex/blob.h"

/// What runs the program, and the tensors of the run.
typedef struct ibx_probe_side {
  ibx_device *device;
  ibx_session *session;
  ibx_array *arrays; ///< inputs, then outputs
  ibx_host_tensor *open;
  ibx_binding *bindings;
} ibx_probe_side;

/// Zero but for the first group, which the caller fills; ended by
/// ibx_probe_fini() in any case.
typedef struct ibx_probe {
  const ibx_compare_setup *setup;
  ibx_model *model;            ///< that of the setup, open
  ibx_compile_options options; ///< of this program
  bool is_whole;               ///< as it is compiled otherwise

  ibx_blob blob;
  ibx_program *program;
  const ibx_entry *entry;
  ibx_reference reference;
  ibx_probe_side machine, kernels;
  bool inputs_at_fault; ///< the reference could not be computed
} ibx_probe;

/// Compiles and runs on both sides. Fails as a compilation or a run does.
IBX_NODISCARD ibx_status ibx_probe_run(ibx_probe *probe, ibx_error *err);
void ibx_probe_fini(ibx_probe *probe);

/// An ibx_diagnostic_fn for what is told elsewhere.
void ibx_say_nothing(void *user, const ibx_diagnostic *diagnostic);

#endif
