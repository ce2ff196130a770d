// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_REGION_H
#define IBX_IMPORT_REGION_H

/// \file
/// Regions of which each has as many samples as it is large.

#include "frontend/import.h"

/// One dimension of the regions, in elements of the image.
typedef struct ibx_regions {
  ibx_val start, end; ///< [R, 1]
  int64_t bins, extent;
  bool at_least_one; ///< a region is at least one element large
} ibx_regions;

/// The extent of a bin, f32 [R, 1], rounded once. It has that many samples, rounded
/// up: none where it has no extent.
ibx_val ibx_emit_bin_size(ibx_call *call, const ibx_regions *r);
/// What each element of the image counts in each bin, f32 [R, 1, bins, extent]:
/// the mean over the samples of how near they are to it.
ibx_val ibx_emit_mean_weights(ibx_call *call, const ibx_regions *r);
/// Where the samples lie, in bins, f32 [R, bins * `*out_most`]: as many for each
/// region as the largest one has, of which a smaller one has its last again.
/// Regions that are not constant fail with NOT_CONSTANT.
ibx_val ibx_emit_sample_places(ibx_call *call, const ibx_regions *r,
                               int64_t *out_most);

#endif
