// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_WALL_H
#define IBX_WALL_H

/// \file
/// How fast the simulator computes, as opposed to how fast it says the machine
/// is.

#include "imbrex/program.h"

/// Loads the proved entry on the simulator, runs it on made-up inputs, and stores the
/// time of the run alone.
IBX_NODISCARD ibx_status ibx_wall_measure(const ibx_program_data *program,
                                          const ibx_entry *entry,
                                          double *out_us, ibx_error *err);

#endif
