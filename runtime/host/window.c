// SPDX-License-Identifier: Apache-2.0
//
// The geometry of windows over spatial dimensions, for convolutions and
// pooling. Comes in: parameters and types that inference has accepted, so that
// no product here overflows. Goes out: for each row of windows and each tap,
// where it reads.

#include "host/host.h"

#include <string.h>

ibx_host_window ibx_host_window_make(const ibx_params *params,
                                     const ibx_type *in, const ibx_type *out,
                                     const int64_t *kernel) {
  ibx_host_window w = {.rank = in->rank - 2u, .taps = 1};
  w.in_count = ibx_type_span(in, 2, in->rank);
  w.out_count = ibx_type_span(out, 2, out->rank);
  for (size_t i = 0; i < w.rank; i++) {
    w.in[i] = in->dims[i + 2];
    w.out[i] = out->dims[i + 2];
    w.kernel[i] = kernel[i];
    w.stride[i] = params->strides.at[i];
    w.dilation[i] = params->dilations.len > i ? params->dilations.at[i] : 1;
    w.low[i] = params->low.at[i];
    w.taps *= (size_t)kernel[i];
  }
  return w;
}

bool ibx_host_window_row(const ibx_host_window *w, size_t row, size_t tap,
                         int64_t *out_first, int64_t *out_low) {
  size_t last = w->rank - 1;
  int64_t left_row = (int64_t)row, left_tap = (int64_t)tap;
  int64_t k = left_tap % w->kernel[last];
  int64_t step = w->in[last], begin = 0;
  left_tap /= w->kernel[last];
  for (size_t i = last; i-- > 0;) {
    int64_t at = left_row % w->out[i] * w->stride[i] +
                 left_tap % w->kernel[i] * w->dilation[i] - w->low[i];
    if (at < 0 || at >= w->in[i]) return false;
    begin += at * step;
    step *= w->in[i];
    left_row /= w->out[i];
    left_tap /= w->kernel[i];
  }
  *out_low = begin;
  *out_first = begin + k * w->dilation[last] - w->low[last];
  return true;
}
