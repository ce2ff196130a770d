// SPDX-License-Identifier: Apache-2.0
//
// Convolutions whose windows lie side by side: comes in: x [N, C, spatial...] and
// weights [O, C, window...] with steps as wide as the window. Goes out: one
// product of patches and weights, in which channels and window are contracted at
// once. With windows of three dimensions and few channels, as at the beginning of
// networks that look at videos, the array is full of them; a convolution has only
// the channels on its rows.

#include "frontend/import_window.h"

// Images have a way of their own into the array (lower_conv_patch.c).
enum { LEAST_SPATIAL = 3 };

bool ibx_is_patches(ibx_call *call, ibx_val x, const ibx_window *w,
                    int64_t groups) {
  ibx_ints shape = ibx_shape_of(call, x);
  size_t spatial = w->kernel.len;
  bool fits = spatial >= LEAST_SPATIAL && 2 * spatial + 2 <= IBX_MAX_RANK &&
              groups == 1 && ibx_is_float(ibx_dtype_of(call, x)) &&
              !ibx_has_extent(call, x);
  for (size_t i = 0; fits && i < spatial; i++) {
    fits = w->strides.at[i] == w->kernel.at[i] && w->dilations.at[i] == 1 &&
           w->low.at[i] == 0 && w->high.at[i] == 0 &&
           shape.at[i + 2] >= w->kernel.at[i];
  }
  return fits;
}

// [N, C, a, ka, b, kb, ...] out of [N, C, a * ka + rest, ...].
static ibx_val split_windows(ibx_call *call, ibx_val x, const ibx_window *w) {
  ibx_ints shape = ibx_shape_of(call, x);
  ibx_ints split = ibx_make_ints(shape.at, 2);
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    int64_t count = shape.at[i + 2] / w->kernel.at[i];
    x = ibx_emit_slice(call, x, i + 2, 0, count * w->kernel.at[i], 1);
    split.at[split.len++] = count;
    split.at[split.len++] = w->kernel.at[i];
  }
  return ibx_emit_reshape(call, x, split);
}

// [N, a, b, ..., C, ka, kb, ...] of the same.
static ibx_val gather_windows(ibx_call *call, ibx_val x, uint8_t spatial) {
  ibx_ints perm = {.at = {0}, .len = 1};
  for (uint8_t i = 0; i < spatial; i++)
    perm.at[perm.len++] = 2 + 2 * i;
  perm.at[perm.len++] = 1;
  for (uint8_t i = 0; i < spatial; i++)
    perm.at[perm.len++] = 3 + 2 * i;
  return ibx_emit_transpose(call, x, perm);
}

ibx_val ibx_emit_patches(ibx_call *call, ibx_val x, ibx_val weights,
                         const ibx_window *w) {
  uint8_t spatial = w->kernel.len;
  ibx_ints kernel = ibx_shape_of(call, weights), split, rows, result;
  if (!ibx_call_expect(call, kernel.at[1] == ibx_dim(call, x, 1), "W",
                       "has another number of channels than X"))
    return x;
  x = split_windows(call, x, w);
  split = ibx_shape_of(call, x);
  result = ibx_make_ints(split.at, 1); // [N, a, b, ..., O]
  rows = IBX_INTS(split.at[0], ibx_elements(ibx_type_of(call, weights)));
  if (kernel.at[0] != 0) rows.at[1] /= kernel.at[0];
  for (uint8_t i = 0; i < spatial; i++) {
    result.at[result.len++] = split.at[2 + 2 * i];
    rows.at[0] *= split.at[2 + 2 * i];
  }
  result.at[result.len++] = kernel.at[0];
  x = ibx_emit_reshape(call, gather_windows(call, x, spatial), rows);
  weights = ibx_emit_reshape(call, weights, IBX_INTS(kernel.at[0], rows.at[1]));
  x = ibx_emit_matmul(call, x, ibx_emit_swap(call, weights, 0, 1));
  x = ibx_emit_reshape(call, x, result);
  ibx_ints perm = IBX_INTS(0, spatial + 1);
  for (uint8_t i = 0; i < spatial; i++)
    perm.at[perm.len++] = i + 1;
  return ibx_emit_transpose(call, x, perm);
}
