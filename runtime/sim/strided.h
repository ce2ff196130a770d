// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_STRIDED_H
#define IBX_SIM_STRIDED_H

/// \file
/// Copies elements between places with a distance in bytes, bit for bit.
/// Neither side needs alignment; the sides do not overlap.

#include "imbrex/base.h"

/// `bytes` (1, 2, 4 or 8) is the size of an element.
void ibx_sim_strided_copy(size_t bytes, const uint8_t *src, ptrdiff_t src_step,
                          uint8_t *dst, ptrdiff_t dst_step, size_t n);

#endif
