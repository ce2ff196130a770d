// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_WINDOW_H
#define IBX_IMPORT_WINDOW_H

/// \file
/// The window attributes that convolutions and pools share.

#include "frontend/import.h"

typedef struct ibx_window {
  ibx_ints kernel, strides, dilations, low, high;
  const char *auto_pad;
  bool same, same_lower; ///< SAME_UPPER or SAME_LOWER: pads are still to make
} ibx_window;

/// Reads kernel_shape, strides, dilations, pads and auto_pad of a node on x
/// [N, C, spatial...]. `kernel` has the extents of weights, or is NULL where
/// kernel_shape is required. Returns false when the call failed.
bool ibx_window_read(ibx_call *call, ibx_val x, const ibx_ints *kernel,
                     ibx_window *out);

/// A convolution with the attributes of the call, without bias.
ibx_val ibx_emit_conv(ibx_call *call, ibx_val x, ibx_val weights);

/// Whether the windows of a convolution lie side by side, and a product of
/// patches does it best (import_patches.c).
bool ibx_is_patches(ibx_call *call, ibx_val x, const ibx_window *w,
                    int64_t groups);
ibx_val ibx_emit_patches(ibx_call *call, ibx_val x, ibx_val weights,
                         const ibx_window *w);

/// Reads the window of a pool on x, with its pads; `*extra` gets how many
/// elements ceil_mode adds behind each dimension. Returns false when the call
/// failed.
bool ibx_pool_read(ibx_call *call, ibx_val x, ibx_window *out, ibx_ints *extra);

/// `extra` elements past the padding never count.
ibx_val ibx_emit_avg_pool(ibx_call *call, ibx_val x, ibx_window window,
                          ibx_ints extra, bool counts_pads);
ibx_val ibx_emit_max_pool(ibx_call *call, ibx_val x, ibx_window window,
                          ibx_ints extra);

#endif
