// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_WIRE_H
#define IBX_WIRE_H

/// \file
/// Protocol buffer bytes of a model, checked and made small.

#include "support/arena.h"
#include "support/diag.h"

#include <onnx.pb-c.h>

/// What stands in the place of TensorProto.raw_data afterwards: where the bytes
/// are in the model.
typedef struct ibx_raw_place {
  uint64_t offset, size;
} ibx_raw_place;

/// Checks `bytes` against the messages of onnx.proto: lengths, wire types, text
/// without zero bytes, nesting. Writes an equivalent message to `*out` (in the
/// arena) in which every raw_data is an ibx_raw_place and unknown fields are
/// absent: what is unpacked from it is small, however big the weights are.
/// Fails with INVALID_MODEL and a diagnostic.
IBX_NODISCARD ibx_status ibx_wire_shrink(ibx_span bytes, ibx_arena *arena,
                                         ibx_diag_sink *sink, ibx_span *out,
                                         ibx_error *err);

/// Reads the place back; false when the field is absent.
bool ibx_wire_raw_place(const Onnx__TensorProto *tensor, ibx_raw_place *out);

#endif
