// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SPILL_H
#define IBX_SPILL_H

/// \file
/// Which values leave SBUF between their uses, when not all fit.

#include "passes/lower.h"

/// Looks for the operation at which most of SBUF is live in a lowered function,
/// and marks in `spill` (one flag for each value) those values that live across
/// it without being used there, largest first, until the rest takes no more than
/// `percent` of it. Returns how many it marked: 0 when everything fits already,
/// or nothing can be spared. Values that were marked after the function was
/// lowered count as gone.
size_t ibx_spill_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, bool *spill);

#endif
