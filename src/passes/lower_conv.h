// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LOWER_CONV_H
#define IBX_LOWER_CONV_H

/// \file
/// A convolution as a sum of matrix products: for each part of the channels and
/// each tap of the window one term, whose stationary operand are weights and
/// whose moving operand is the image, walked in the steps of the window.

#include "passes/lower_window.h"

/// One product of the sum. The offsets are those of output (0, 0, 0, 0) and of
/// the first output channel of the stationary operand; the moving one may lie
/// outside of the image where the term does not reach.
typedef struct ibx_term {
  ibx_contraction part;
  const ibx_view *stationary;
  int64_t column_step; ///< stationary elements between output channels
  ibx_range reach[IBX_IMAGE_DIMS]; ///< outputs
} ibx_term;

typedef struct ibx_terms {
  ibx_term *at;
  size_t count, room;
} ibx_terms;

typedef struct ibx_sum {
  ibx_lower *lower;
  const ibx_chain *chain;
  const ibx_view *dst;              ///< [N, O, spatial...]
  ibx_view moving;                  ///< its buffer and dtype count
  int64_t step[IBX_IMAGE_DIMS];     ///< moving elements between outputs
  int64_t out[IBX_IMAGE_DIMS];      ///< extents of the result
  int64_t tile[IBX_IMAGE_DIMS];     ///< at most one bank; ibx_sum_tile()
  ibx_range region[IBX_IMAGE_DIMS]; ///< outputs to compute, whole tiles
  int64_t slots;      ///< bands of rows that each product makes at once, or 0
  int64_t slot_rows;  ///< output rows from one slot to the next
  int64_t slot_pitch; ///< PSUM partitions from one slot to the next
  ibx_terms terms;
  int64_t channel; ///< output channel that the stationary offsets stand for
  ibx_view zeros;  ///< made when a tile needs it
  bool has_zeros;
} ibx_sum;

void ibx_terms_add(ibx_terms *terms, ibx_arena *arena, ibx_term term);

/// Cuts the result in tiles of at most one bank that are alike.
void ibx_sum_tile(ibx_sum *sum);

/// Output channels [channel, channel + channels), at most 128 that lie in one
/// tile of dst: all products, evacuated through the chain.
bool ibx_sum_block(ibx_sum *sum, int64_t channel, int64_t channels);

/// Output channels that lie in one tile of partitions of dst.
int64_t ibx_sum_channels(const ibx_view *dst);

/// A convolution that is being lowered, or one phase of a transposed one: the
/// outputs phase, phase + stride, ... of each dimension, which `dst` shows. Each
/// of them is a convolution of stride 1 with some of the taps.
typedef struct ibx_conv {
  ibx_lower *lower;
  const ibx_node *node;
  const ibx_chain *chain;
  const ibx_view *dst;
  ibx_type x, w, y;
  ibx_window window[IBX_SPATIAL]; ///< kernel, stride and padding
  int64_t taps, groups;
  int64_t in, out; ///< channels of a group
  bool is_transposed;
  int64_t phase[IBX_SPATIAL];
} ibx_conv;

/// The dtype in which operands of `dtype` are multiplied.
ibx_dtype ibx_conv_dtype(ibx_dtype dtype);

/// A sum without terms over image `x`, in the steps of the window.
ibx_sum ibx_conv_sum(const ibx_conv *conv, const ibx_image *x);

/// The indices of tap `tap` in the window.
void ibx_conv_tap(const ibx_conv *conv, int64_t tap, int64_t *out_index);

/// Shifts a term by a tap and clips its outputs; false when the tap reads
/// padding only.
bool ibx_conv_shift(const ibx_conv *conv, const ibx_image *x,
                    const int64_t *tap, ibx_term *term);

/// Calls `each` once for a convolution, once for each phase of a transposed one.
bool ibx_conv_phases(const ibx_conv *conv,
                     bool (*each)(void *user, const ibx_conv *phase),
                     void *user);

/// Output channels [from, to), block by block.
bool ibx_sum_blocks(ibx_sum *sum, int64_t from, int64_t to);

/// How an image is laid on the partitions several times, in slots. Index 0 is
/// height, 1 width.
///
///   joined   slot (jy, jx) holds the image shifted by a tap; one product
///            contracts the taps of all slots
///   folded   slot s holds the s-th band of rows; one product makes the outputs
///            of all bands, next to each other on the PSUM partitions
typedef struct ibx_slots {
  int64_t count[2];
  int64_t left[2]; ///< products that are left for each dimension
  int64_t rows;    ///< folded: output rows of a slot; 0: joined
  int64_t pitch;   ///< partitions from one slot to the next
} ibx_slots;

/// A convolution over patches: parts of the image in slots, with zeros where it
/// is padded. Height and width only.
typedef struct ibx_patches {
  const ibx_conv *conv;
  int64_t channels; ///< of the image, in one run on the partitions
  ibx_dtype dtype;
  ibx_image x;    ///< from which patches come, or
  bool is_staged; ///< they come from the stage:
  ibx_view stage; ///< [N, C, H, columns] with H on the partitions
  ibx_slots slots;
  int64_t from, to;           ///< output channels
  const ibx_view *stationary; ///< its rows are the slots; its offset counts
  int64_t left_step[2];       ///< elements between products of a dimension
  int64_t column_step;        ///< elements between output channels
  int64_t fold_pitch;         ///< folded: output channels between slots
  // Made by ibx_patches_plan():
  const ibx_window *window[2];
  int64_t shift[2];      ///< input rows, columns between slots
  int64_t left_shift[2]; ///< and between products that are left
  int64_t row_step;      ///< input rows between rows of a patch
  int64_t columns;       ///< of a patch
  ibx_sum sum;
} ibx_patches;

/// Fills in what follows from the slots.
void ibx_patches_plan(ibx_patches *patches, const ibx_slots *slots);

/// Rows of a patch for `out` output rows of each slot.
int64_t ibx_patches_rows(const ibx_patches *patches, int64_t out);

/// Whether engines can copy the image to all slots; else DMAs do.
bool ibx_patches_by_engine(const ibx_patches *patches);

/// Copies an image in HBM to SBUF with its rows on the partitions.
bool ibx_patches_stage(ibx_patches *patches, const ibx_view *x);

/// All products, band by band of output rows.
bool ibx_patches_run(ibx_patches *patches);

enum { IBX_SLOTS_JOIN = 1, IBX_SLOTS_FOLD = 2 };

/// Plans the cheapest slots of the kinds in `allowed`; false when it is cheaper
/// to use none. `out_channels` is the number of output channels of a slot.
bool ibx_patches_choose(ibx_patches *patches, unsigned allowed,
                        int64_t out_channels);

/// Convolutions of few channels over patches (lower_conv_join.c). `*out_pays`
/// is false, and nothing is done, where that gains nothing.
bool ibx_conv_join(const ibx_conv *conv, bool *out_pays);

/// Convolutions in groups whose channels share the partitions: weights spread
/// over a block-diagonal matrix on chip (lower_conv_groups.c). `*out_fits` is
/// false, and nothing is done, where groups do not fill the tiles of x.
bool ibx_conv_groups(const ibx_conv *conv, const ibx_image *x, bool *out_fits);

#endif
