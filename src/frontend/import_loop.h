// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_LOOP_H
#define IBX_IMPORT_LOOP_H

/// \file
/// Bodies that are imported once for each trip: what Loop and Scan share.

#include "frontend/import.h"

enum { IBX_MOST_TRIPS = 1024 };

/// A body, and what each trip left behind.
typedef struct ibx_loop {
  ibx_call *call;
  const Onnx__GraphProto *body;
  ibx_val *in, *out; ///< of the body
  size_t in_count, out_count;
  size_t trips, room;
  ibx_val **given; ///< outputs of each trip
  bool may_bundle; ///< values may be sequences and optionals
} ibx_loop;

/// Whether the call has every input from `from` on: fails where one is absent.
bool ibx_has_inputs(ibx_call *call, size_t from);
/// Reads the body, which must have so many inputs and outputs. False after a
/// failure.
bool ibx_loop_init(ibx_loop *l, ibx_call *call, size_t in_count,
                   size_t out_count);
/// One trip with the inputs `l->in`; its outputs are `l->out`, which is kept. The
/// names of its nodes begin with `prefix`.
void ibx_loop_run(ibx_loop *l, const char *prefix);
/// What the names of the nodes of a trip begin with.
const char *ibx_trip_name(ibx_call *call, size_t trip);
/// Output `index` of all trips, along a new dimension.
ibx_val ibx_loop_join(const ibx_loop *l, size_t index, int64_t axis,
                      bool backwards);
/// Whether the host can carry the values of a Loop from trip to trip.
bool ibx_can_repeat(ibx_call *call);
/// Imports the body once, between steps that the host repeats: as long as the
/// inputs of the node and the body say.
void ibx_import_repeated(ibx_loop *l, size_t carried);
/// Joins tensors, which the list lends, along a new dimension.
ibx_val ibx_join_slices(ibx_call *call, ibx_val *parts, size_t count,
                        int64_t axis);

#endif
