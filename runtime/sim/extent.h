// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_EXTENT_H
#define IBX_SIM_EXTENT_H

/// \file
/// Extents by name, found in an entry.

#include "imbrex/sim.h"

/// Stores in `counts[e][i]` what instruction i of engine e, a register_load,
/// loads: its extent, or its limit where none is given. Engines that load
/// nothing have NULL. The caller frees the arrays, also after a failure.
ibx_status ibx_extents_find(const ibx_entry *entry,
                            const ibx_sim_extent *extents, size_t extent_count,
                            uint32_t *counts[IBX_ENGINE_COUNT], ibx_error *err);
void ibx_extents_free(uint32_t *counts[IBX_ENGINE_COUNT]);

#endif
