// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_SAMPLE_H
#define IBX_IMPORT_SAMPLE_H

/// \file
/// Samples of an image at positions that are computed.

#include "frontend/import.h"

typedef enum ibx_sample_mode {
  IBX_SAMPLE_NEAREST,
  IBX_SAMPLE_LINEAR,
  IBX_SAMPLE_CUBIC
} ibx_sample_mode;

/// What lies outside of the image.
typedef enum ibx_sample_pad {
  IBX_SAMPLE_ZEROS,
  IBX_SAMPLE_BORDER,
  IBX_SAMPLE_REFLECTION
} ibx_sample_pad;

enum { IBX_SAMPLE_MOST_TAPS = 4, IBX_SAMPLE_MOST_AXES = 3 };

/// One dimension of the image.
typedef struct ibx_sample_axis {
  ibx_val at;     ///< positions in elements, f32 [N, P]
  int64_t extent; ///< of the image
  /// Of the neighbours: places inside of the image, whether they lie there
  /// (for zeros), and weights (not for nearest). Filled by the functions.
  ibx_val index[IBX_SAMPLE_MOST_TAPS];
  ibx_val inside[IBX_SAMPLE_MOST_TAPS];
  ibx_val weights[IBX_SAMPLE_MOST_TAPS];
} ibx_sample_axis;

typedef struct ibx_sampler {
  ibx_sample_mode mode;
  ibx_sample_pad pad;
  bool align;  ///< the corners of the grid are centres of elements
  size_t axes; ///< dimensions of the image
  size_t taps; ///< neighbours along each: 1, 2 or 4
  ibx_sample_axis axis[IBX_SAMPLE_MOST_AXES];
} ibx_sampler;

/// Samples of x [N, C, d1, ...] as [N, P, C] in the dtype of x. `at` and
/// `extent` of the axes are filled.
ibx_val ibx_emit_samples(ibx_call *call, ibx_sampler *sampler, ibx_val x);

#endif
