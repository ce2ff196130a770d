// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TIMELINE_H
#define IBX_TIMELINE_H

/// \file
/// A run drawn as text: a row for each engine and one for all DMA engines, a
/// column for each equal part of the time.

#include "imbrex/sim.h"

#include <stdio.h>

/// Times the entry again, with `total_ps` known, and draws it. The extents of
/// `options` count, its events do not.
IBX_NODISCARD ibx_status ibx_timeline_draw(const ibx_program_data *program,
                                           const ibx_entry *entry,
                                           const ibx_sim_time_options *options,
                                           uint64_t total_ps, FILE *out,
                                           ibx_error *err);

#endif
