// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SELECT_H
#define IBX_SELECT_H

/// \file
/// From placed tiles to machine IR: each op with every engine that can do it.

#include "codegen/mir.h"
#include "ir/tiles.h"

/// Fills `*out_mir`, which borrows the buffers of `func`.
void ibx_codegen_select(const ibx_machine *machine, const ibx_tile_func *func,
                        ibx_arena *arena, ibx_mir *out_mir);

#endif
