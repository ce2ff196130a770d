// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_VIEW_H
#define IBX_SIM_VIEW_H

/// \file
/// An operand of an engine instruction, resolved and checked against its
/// buffer: in each of its partitions a row of elements, in iteration order. HBM
/// is one partition, which library calls reach.

#include "sim/rounding.h"
#include "sim/state.h"

/// The iteration space of one operand.
typedef struct ibx_sim_shape {
  uint32_t num[3]; ///< outermost first
  uint32_t partitions;
} ibx_sim_shape;

typedef struct ibx_sim_view {
  uint8_t *base;          ///< first element of the first partition
  size_t partition_bytes; ///< to the next partition
  uint32_t partitions;
  size_t elements;     ///< of a partition
  uint32_t num[3];     ///< contiguous dimensions merged, right-aligned
  ptrdiff_t step[3];   ///< bytes
  ptrdiff_t low, high; ///< bytes touched, relative to the row's first element
  size_t element_bytes;
  ibx_dtype dtype;
  bool dense; ///< elements follow each other
  ibx_rounder rounder;
} ibx_sim_view;

/// At which of its places operand `slot` is: 0 where no register moves it. Fails
/// with DEVICE_ERROR where the register is not below the number of places.
ibx_status ibx_sim_place(const ibx_exec *x, unsigned slot, uint32_t *out);

/// The space of an elementwise instruction.
ibx_sim_shape ibx_sim_shape_of(const ibx_insn *insn);

/// The space of the destination of a tensor_reduce: the innermost dimensions,
/// in which it stands still, are one group of `*out_group` values.
ibx_sim_shape ibx_sim_outer_shape(const ibx_insn *insn, size_t *out_group);

/// Row of the array that belongs to the first partition of an operand.
size_t ibx_sim_array_row(const ibx_exec *x, unsigned slot);

/// Resolves operand `slot`, whose space is that of ibx_insn_shape(); those of
/// slots s and w are fp32. Of groups, all partitions from the first to the last,
/// those between them included. Fails as ibx_sim_view_make().
ibx_status ibx_sim_view_open(const ibx_exec *x, unsigned slot,
                             ibx_sim_view *out);

/// Resolves operand `slot` for the current loop registers. Fails with
/// DEVICE_ERROR when an element lies outside of its buffer.
ibx_status ibx_sim_view_make(const ibx_exec *x, unsigned slot,
                             ibx_sim_shape shape, ibx_sim_view *out);

/// The same for a [P,1] operand of `partitions` elements.
ibx_status ibx_sim_view_make_column(const ibx_exec *x, unsigned slot,
                                    uint32_t partitions, ibx_sim_view *out);

/// Makes an instruction that reads all and then writes all out of one that goes
/// row by row: where `dst` overlaps `*src` other than element on element, the
/// bytes that `*src` reads are copied aside and `*src` reads the copy. `shadow`
/// numbers the place, one for each source. Fails with OUT_OF_MEMORY.
ibx_status ibx_sim_view_separate(const ibx_exec *x, const ibx_sim_view *dst,
                                 unsigned shadow, ibx_sim_view *src);

/// Elements start .. start + n of a partition as fp32: in place where they lie
/// so, otherwise in `scratch`.
const float *ibx_sim_view_fetch(const ibx_sim_view *view, size_t partition,
                                size_t start, size_t n, float *scratch);

/// Where the elements from `start` on lie as fp32 values; NULL where they do not.
float *ibx_sim_view_row(const ibx_sim_view *view, size_t partition,
                        size_t start);

/// Stores fp32 values, converted.
void ibx_sim_view_store(const ibx_sim_view *view, size_t partition,
                        size_t start, size_t n, const float *values);

/// The same bit for bit, elements packed.
void ibx_sim_view_fetch_raw(const ibx_sim_view *view, size_t partition,
                            size_t start, size_t n, uint8_t *out);
void ibx_sim_view_store_raw(const ibx_sim_view *view, size_t partition,
                            size_t start, size_t n, const uint8_t *values);

/// Integer elements (the bits of others) extended to 32 bits: with the sign
/// where the dtype has one.
void ibx_sim_view_fetch_bits(const ibx_sim_view *view, size_t partition,
                             size_t n, uint32_t *out);
/// Stores the low bits.
void ibx_sim_view_store_bits(const ibx_sim_view *view, size_t partition,
                             size_t n, const uint32_t *values);

#endif
