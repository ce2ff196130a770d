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

/// A convolution that is being lowered.
typedef struct ibx_conv {
  ibx_lower *lower;
  const ibx_node *node;
  const ibx_chain *chain;
  const ibx_view *dst;
  ibx_type x, w, y;
  ibx_window window[IBX_SPATIAL]; ///< kernel, stride and padding
  int64_t taps, groups;
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

/// Output channels [from, to), block by block.
bool ibx_sum_blocks(ibx_sum *sum, int64_t from, int64_t to);

/// Taps of height (0) and width (1) that share the partitions, and the products
/// that are left for each dimension.
typedef struct ibx_split {
  int64_t joined[2], left[2];
} ibx_split;

/// A convolution over patches: the image once for each joined tap, shifted by
/// it, on the partitions (jy, jx, channel). Up to height and width only.
typedef struct ibx_join {
  const ibx_conv *conv;
  int64_t channels; ///< of the image, in one run on the partitions
  ibx_dtype dtype;
  ibx_image x;                ///< from which patches come, or
  bool is_staged;             ///< they come from the stage:
  ibx_view stage;             ///< [N, C, H, columns] with H on the partitions
  ibx_split taps;             ///< ibx_join_choose()
  int64_t from, to;           ///< output channels
  const ibx_view *stationary; ///< rows (jy, jx, channel); its offset counts
  int64_t left_step[2];       ///< elements between products of a dimension
  int64_t column_step;        ///< elements between output channels
  // Made on the way.
  const ibx_window *window[2];
  int64_t row_step, columns; ///< of a patch: input rows a row, its width
  ibx_sum sum;
} ibx_join;

/// The cheapest split; false when it is cheaper to join nothing.
bool ibx_join_choose(ibx_join *join);

/// All products, band by band of output rows.
bool ibx_join_run(ibx_join *join);

/// The atoms of the weights' dimension i (0: height, 1: width).
ibx_dim ibx_join_tap_dim(const ibx_join *join, int i);

/// Convolutions of few channels over patches (lower_conv_join.c). `*out_pays` is
/// false, and nothing is done, where that gains nothing.
bool ibx_conv_join(const ibx_conv *conv, bool *out_pays);

/// Convolutions in groups whose channels share the partitions: weights spread
/// over a block-diagonal matrix on chip (lower_conv_groups.c). `*out_fits` is
/// false, and nothing is done, where groups do not fill the tiles of x.
bool ibx_conv_groups(const ibx_conv *conv, const ibx_image *x, bool *out_fits);

#endif
