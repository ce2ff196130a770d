// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_REPEAT_H
#define IBX_IMPORT_REPEAT_H

/// \file
/// Steps that the host repeats: what is emitted between begin and end runs once
/// in each trip. Nothing of it may be read behind the end.

#include "frontend/import.h"

typedef struct ibx_repeat {
  ibx_call *call;
  ibx_val trip; ///< i64 scalar: 0 in the first trip
  size_t carried;
  struct ibx_mask *masks; ///< that were there before
  struct ibx_counted *counts;
} ibx_repeat;

/// Begins: as many trips as `number` (i64 scalar) says, as long as `condition`
/// (bool scalar) holds; either may be IBX_NO_VALUE. `values` are those of the
/// first trip, and become those of each.
void ibx_repeat_begin(ibx_repeat *r, ibx_call *call, ibx_val number,
                      ibx_val condition, ibx_val *values, size_t carried);

/// Ends: `given` holds what is carried into the next trip, then rows. They become
/// the values behind the last trip, and lists of the rows of all, of `trips`
/// rows, or IBX_OPEN_EXTENT where only the run tells.
void ibx_repeat_end(ibx_repeat *r, ibx_val condition, ibx_val *given,
                    size_t count, int64_t trips);

/// A tensor of which a run of the body reads row trip, or of `count` rows
/// count - 1 - trip.
ibx_val ibx_repeat_row(const ibx_repeat *r, ibx_val x, int64_t axis,
                       bool backwards);

/// What decides how many rows a list has: the number of trips of the loop that
/// gives it, or its condition; IBX_NO_VALUE where no loop gives it.
ibx_val ibx_repeat_decides(const ibx_import *import, ibx_val list);

/// A list from its end to its beginning, where `backwards`.
ibx_val ibx_turn(ibx_call *call, ibx_val list, bool backwards);

#endif
