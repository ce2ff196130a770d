// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LOWER_MOVE_H
#define IBX_LOWER_MOVE_H

/// \file
/// The single ways of moving that lower_move.c chooses from. Each is false, and
/// has done nothing, where it does not apply.

#include "passes/lower.h"

/// Copies of an engine: both on chip, on the same partitions.
bool ibx_move_by_engine(ibx_lower *lower, const ibx_view *dst,
                        const ibx_view *src);

/// Transposes of the tensor engine: both on chip.
bool ibx_move_by_transpose(ibx_lower *lower, const ibx_view *dst,
                           const ibx_view *src);
/// Whether each piece exchanges partitions and bytes.
bool ibx_move_is_transpose(const ibx_view *dst, const ibx_view *src);

/// DMAs between any two places.
bool ibx_move_by_dma(ibx_lower *lower, const ibx_view *dst,
                     const ibx_view *src);

/// The same for one rectangle of both (of view 0: `dst`, 1: `src`).
bool ibx_move_rect_by_dma(ibx_lower *lower, const ibx_view *dst,
                          const ibx_view *src, const ibx_rect *rect);

/// From or to HBM through SBUF, so that DMAs take whole runs of HBM
/// (lower_stage.c). False without a failure where that gains nothing.
bool ibx_move_staged(ibx_lower *lower, const ibx_view *dst,
                     const ibx_view *src);

#endif
