// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_CAST_H
#define IBX_IMPORT_CAST_H

/// \file
/// Conversions with the options of the standard.

#include "frontend/import.h"

/// As ibx_emit_cast(), to small floating types as the attributes `saturate` and
/// `round_mode` ("up", "down" or "nearest", of float8e8m0) say.
ibx_val ibx_emit_cast_as(ibx_call *call, ibx_val x, ibx_dtype dtype,
                         bool saturates, const char *round_mode);

#endif
