// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LOWER_WINDOW_H
#define IBX_LOWER_WINDOW_H

/// \file
/// Windows that slide over spatial dimensions, and images: tensors
/// [N, C, spatial...] whose batch and spatial dimensions each have one step.
/// Spatial dimensions are counted as depth, height, width; those that a tensor
/// lacks have extent 1 in front of the others.

#include "passes/lower.h"

enum { IBX_SPATIAL = 3, IBX_IMAGE_DIMS = 4 };

/// One spatial dimension of a window operation.
typedef struct ibx_window {
  int64_t in, out;
  int64_t kernel, stride, dilation;
  int64_t low; ///< elements added in front
} ibx_window;

/// a / b, rounded down; b is positive.
int64_t ibx_floor_div(int64_t a, int64_t b);
/// The smaller one.
int64_t ibx_at_most(int64_t a, int64_t b);

typedef struct ibx_range {
  int64_t first, end;
} ibx_range;

/// Spatial dimension `dim` (0 to 2) of an operation on `x` that makes `y`.
/// `kernel` has the extents of the window, one for each spatial dimension of x.
ibx_window ibx_window_get(const ibx_params *params, const ibx_type *x,
                          const ibx_type *y, const int64_t *kernel,
                          uint8_t dim);

/// The outputs for which a tap reads inside of the input; empty (first = end)
/// when there are none.
ibx_range ibx_window_reach(const ibx_window *window, int64_t tap);

/// The common part; empty when there is none.
ibx_range ibx_range_cut(ibx_range a, ibx_range b);

/// Channels on the partitions. `step` and `extent` are those of the batch and
/// the three spatial dimensions, in elements.
typedef struct ibx_image {
  ibx_view view;
  int64_t step[IBX_IMAGE_DIMS], extent[IBX_IMAGE_DIMS];
} ibx_image;

/// The dimension of a tensor of `rank` dimensions that is dimension `d` of an
/// image (0: batch), or -1 when the tensor lacks it.
int ibx_image_dim(uint8_t rank, uint8_t d);

/// Sees a view as image; false when a dimension has no single step.
bool ibx_image_make(const ibx_view *view, ibx_image *out);

/// The value as an image in SBUF with C on the partitions from partition 0 on,
/// of its own dtype, or of `dtype` when that is not NONE.
bool ibx_image_get(ibx_lower *lower, uint32_t value, ibx_dtype dtype,
                   ibx_image *out);

/// Moves an image of the value to where its channels are on the partitions in
/// order, whatever they were before.
bool ibx_image_straighten(ibx_lower *lower, uint32_t value, ibx_image *image);

#endif
