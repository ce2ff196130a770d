// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FOOTPRINT_H
#define IBX_FOOTPRINT_H

/// \file
/// The bytes that one operand of an instruction touches: a set of partitions
/// times a strided pattern of bytes. Pure functions.

#include "imbrex/program.h"

/// first + sum(stride[d] * i[d]) + [0, run) in each of the partitions, with
/// i[d] < count[d]. Strides descend and are positive; without dimensions the
/// bytes are one run. HBM has partition 0 only.
typedef struct ibx_footprint {
  uint64_t partitions[2]; ///< a bit for each
  int64_t first, end;     ///< of all bytes
  int64_t run;
  int64_t stride[IBX_DIMS];
  uint32_t count[IBX_DIMS];
  uint8_t dims;
  bool is_exact; ///< false: some bytes may not be touched
} ibx_footprint;

/// Describes operand `slot`, whose buffer lies at `place`. Addresses are
/// absolute in SBUF and PSUM and for an HBM scratch place; loop strides are not
/// considered. False when an address does not fit in 48 bits.
bool ibx_footprint_make(const ibx_insn *insn, size_t slot,
                        const ibx_buffer_place *place, ibx_footprint *out);

/// Whether some byte is in both. Exact for exact footprints, but for patterns
/// so entangled that the search gives up: those overlap.
bool ibx_footprint_overlaps(const ibx_footprint *a, const ibx_footprint *b);

/// Whether both are the same bytes in the same or other partitions.
bool ibx_footprint_same_bytes(const ibx_footprint *a, const ibx_footprint *b);

#endif
