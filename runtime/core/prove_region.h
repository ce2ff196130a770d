// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_PROVE_REGION_H
#define IBX_CORE_PROVE_REGION_H

/// \file
/// Sets of bytes that one access touches, and what can be asked of them. Pure
/// functions but for bits, which allocate.

#include "imbrex/isa.h"

enum { IBX_REGION_DIMS = IBX_DIMS };

static inline uint64_t ibx_count_ones(uint64_t word) {
  word -= word >> 1 & UINT64_C(0x5555555555555555);
  word = (word & UINT64_C(0x3333333333333333)) +
         (word >> 2 & UINT64_C(0x3333333333333333));
  word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
  return word * UINT64_C(0x0101010101010101) >> 56;
}

/// `mask` x { lo + sum(stride[d] * i[d]) + [0, run) }, i[d] < count[d], in one
/// memory: partitions as bits, bytes of a partition. Dimensions ascend; none
/// continues the one below, so equal sets that arise alike are equal structs.
/// Padding is zero.
typedef struct ibx_region {
  uint64_t mask[2];
  uint64_t lo, hi; ///< hi is the end of the last run
  uint64_t run;
  uint64_t stride[IBX_REGION_DIMS];
  uint64_t count[IBX_REGION_DIMS];
  uint64_t dims;
} ibx_region;

/// An access pattern before it becomes regions: bytes relative to the buffer.
typedef struct ibx_pattern {
  int64_t offset;
  int64_t partition;
  int64_t stride[IBX_DIMS];         ///< bytes
  int64_t partition_step[IBX_DIMS]; ///< partitions
  uint64_t count[IBX_DIMS];         ///< at least 1
  uint64_t element_bytes;
} ibx_pattern;

/// The smallest and largest byte and partition that a pattern touches, relative
/// to its buffer.
typedef struct ibx_reach {
  int64_t first, last;
  int64_t first_partition, last_partition;
} ibx_reach;

/// Returns false when the reach does not fit in 62 bits.
bool ibx_pattern_reach(const ibx_pattern *pattern, ibx_reach *out);

/// Steps through the regions of a pattern that lies in the buffer at `place`:
/// several only where a dimension walks partitions and bytes at once. Start
/// with a zero `state`; returns false after the last.
typedef struct ibx_region_state {
  uint64_t at;
} ibx_region_state;
bool ibx_pattern_next(const ibx_pattern *pattern, const ibx_buffer_place *place,
                      ibx_region_state *state, ibx_region *out);

/// Number of regions of a pattern.
uint64_t ibx_pattern_regions(const ibx_pattern *pattern);

/// True only when no two iterations inside one region of the pattern touch the
/// same byte; may be false for exotic patterns that do not either.
bool ibx_pattern_is_injective(const ibx_pattern *pattern);

/// Whether two regions of one memory share a byte. Exact but for pairs that
/// would take more than some thousand steps to tell apart: those overlap.
/// Adds the steps to `*work`.
bool ibx_region_overlaps(const ibx_region *a, const ibx_region *b,
                         uint64_t *work);

/// True only when every byte of `b` lies in `a`.
bool ibx_region_covers(const ibx_region *a, const ibx_region *b);

bool ibx_region_equal(const ibx_region *a, const ibx_region *b);

/// Everything that a buffer declares.
ibx_region ibx_region_of_place(const ibx_buffer_place *place);

/// Number of runs in one partition.
uint64_t ibx_region_runs(const ibx_region *region);

// --- bits --------------------------------------------------------------------

/// One bit for each byte of a row. `words` is NULL while all bits are equal.
typedef struct ibx_bits {
  uint64_t *words;
  uint64_t size, set;
} ibx_bits;

/// Each takes the part of the region that lies in [base, base + bits->size),
/// partitions aside. Set and clear return false when memory is short.
bool ibx_bits_test(const ibx_bits *bits, const ibx_region *region,
                   uint64_t base);
bool ibx_bits_set(ibx_bits *bits, const ibx_region *region, uint64_t base);
bool ibx_bits_clear(ibx_bits *bits, const ibx_region *region, uint64_t base);
/// Returns false when memory is short; `*out` is then empty.
bool ibx_bits_copy(const ibx_bits *bits, ibx_bits *out);
void ibx_bits_fini(ibx_bits *bits);

#endif
