// SPDX-License-Identifier: Apache-2.0
//
// Imports convolutions and pools. Comes in: a call with ONNX's window
// attributes. Goes out: window operations with explicit padding.

#include "frontend/import_ops.h"
#include "frontend/import_window.h"

#include <string.h>

// --- window attributes -------------------------------------------------------

static bool read_list(ibx_call *call, const char *name, size_t spatial,
                      int64_t absent, int64_t least, ibx_ints *out) {
  if (!ibx_attr_ints(call, name, out)) {
    *out = ibx_fill_ints(spatial, absent);
    return !call->failed;
  }
  bool fine = out->len == spatial;
  for (uint8_t i = 0; fine && i < out->len; i++) {
    fine = out->at[i] >= least && out->at[i] <= INT32_MAX;
  }
  if (fine) return true;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, name,
                "correct the attribute where the model is made",
                "'%s' needs %zu numbers of at least %lld", name, spatial,
                (long long)least);
  return false;
}

static bool read_pads(ibx_call *call, size_t spatial, ibx_window *w) {
  const Onnx__AttributeProto *pads = IBX_ATTR(call, "pads", INTS);
  w->low = w->high = ibx_fill_ints(spatial, 0);
  if (!pads) return true;
  bool fine = pads->n_ints == 2 * spatial;
  for (size_t i = 0; fine && i < spatial; i++) {
    w->low.at[i] = pads->ints[i];
    w->high.at[i] = pads->ints[i + spatial];
    fine = w->low.at[i] >= 0 && w->high.at[i] >= 0 &&
           w->low.at[i] <= INT32_MAX && w->high.at[i] <= INT32_MAX;
  }
  if (fine) return true;
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "pads",
                "correct the attribute where the model is made",
                "'pads' needs %zu numbers that are not negative", 2 * spatial);
  return false;
}

// SAME: as many windows as strides fit; an odd element goes after (UPPER) or
// before (LOWER).
static void same_pads(ibx_call *call, ibx_val x, bool lower, ibx_window *w) {
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    int64_t extent = ibx_dim(call, x, i + 2), stride = w->strides.at[i];
    int64_t reach = (w->kernel.at[i] - 1) * w->dilations.at[i] + 1;
    int64_t count = (extent + stride - 1) / stride;
    int64_t total = (count - 1) * stride + reach - extent;
    if (total < 0) total = 0;
    int64_t small = total / 2;
    w->low.at[i] = lower ? total - small : small;
    w->high.at[i] = total - w->low.at[i];
  }
}

bool ibx_window_read(ibx_call *call, ibx_val x, const ibx_ints *kernel,
                     ibx_window *w) {
  int64_t rank = ibx_rank(call, x);
  *w = (ibx_window){0};
  if (!ibx_call_expect(call, rank >= 3, "X", "needs spatial dimensions")) {
    return false;
  }
  size_t spatial = (size_t)rank - 2;
  bool has_kernel = ibx_has_attr(call, "kernel_shape");
  if (!has_kernel && !kernel) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "kernel_shape",
                  "add the attribute kernel_shape",
                  "%s needs the attribute kernel_shape", call->at.op);
    return false;
  }
  bool fine = read_list(call, "kernel_shape", spatial, 1, 1, &w->kernel) &&
              read_list(call, "strides", spatial, 1, 1, &w->strides) &&
              read_list(call, "dilations", spatial, 1, 1, &w->dilations) &&
              read_pads(call, spatial, w);
  if (!fine) return false;
  if (kernel && !has_kernel) w->kernel = *kernel;
  for (uint8_t i = 0; kernel && i < kernel->len; i++) {
    if (!ibx_call_expect(call, kernel->at[i] == w->kernel.at[i], "kernel_shape",
                         "is not that of the weights")) {
      return false;
    }
  }
  w->auto_pad = ibx_attr_text(call, "auto_pad", "NOTSET");
  w->same_lower = strcmp(w->auto_pad, "SAME_LOWER") == 0;
  w->same = w->same_lower || strcmp(w->auto_pad, "SAME_UPPER") == 0;
  bool is_valid = strcmp(w->auto_pad, "VALID") == 0;
  if (is_valid) w->low = w->high = ibx_fill_ints(spatial, 0);
  return ibx_call_expect(
      call,
      w->same || is_valid || strcmp(w->auto_pad, "NOTSET") == 0 ||
          w->auto_pad[0] == 0,
      "auto_pad", "is none of NOTSET, SAME_UPPER, SAME_LOWER and VALID");
}

// --- convolutions ------------------------------------------------------------

// Extents of the window, from weights [O, C, window...].
static ibx_ints window_of(ibx_call *call, ibx_val w) {
  ibx_ints shape = ibx_shape_of(call, w);
  if (shape.len < 2) return (ibx_ints){0};
  return ibx_make_ints(shape.at + 2, shape.len - 2u);
}

static ibx_val add_bias(ibx_call *call, ibx_val y, ibx_val bias) {
  if (bias == IBX_NO_VALUE) return y;
  if (!ibx_call_expect(call, ibx_rank(call, bias) == 1, "B",
                       "needs 1 dimension")) {
    return y;
  }
  bias = ibx_emit_along(call, bias, 1, ibx_rank(call, y));
  return ibx_emit_binary(call, IBX_TENSOR_add, y, bias);
}

ibx_val ibx_emit_conv(ibx_call *call, ibx_val x, ibx_val weights) {
  ibx_ints kernel = window_of(call, weights);
  ibx_window w;
  if (!ibx_call_expect(call, ibx_rank(call, x) == ibx_rank(call, weights), "W",
                       "has another rank than X") ||
      !ibx_window_read(call, x, &kernel, &w)) {
    return x;
  }
  if (w.same) same_pads(call, x, w.same_lower, &w);
  int64_t groups = ibx_attr_int(call, "group", 1);
  if (ibx_is_patches(call, x, &w, groups))
    return ibx_emit_patches(call, x, weights, &w);
  ibx_params params = {.strides = w.strides,
                       .low = w.low,
                       .high = w.high,
                       .dilations = w.dilations,
                       .groups = groups};
  ibx_val operands[] = {x, weights};
  return ibx_emit_op(call, IBX_TENSOR_conv, &params, operands, 2);
}

void ibx_import_op_conv(ibx_call *call) {
  ibx_val y = ibx_emit_conv(call, ibx_in(call, 0), ibx_in(call, 1));
  ibx_out(call, 0, add_bias(call, y, ibx_in(call, 2)));
}

// Padding of a transposed convolution: given, or what makes the result as
// large as asked for.
static bool transpose_extents(ibx_call *call, ibx_val x, ibx_window *w,
                              ibx_ints *extents) {
  ibx_ints extra, wanted;
  size_t spatial = w->kernel.len;
  bool given = ibx_attr_ints(call, "output_shape", &wanted);
  if (!read_list(call, "output_padding", spatial, 0, 0, &extra)) return false;
  if (given && wanted.len == spatial + 2) {
    wanted = ibx_make_ints(wanted.at + 2, spatial);
  }
  if (given && !ibx_call_expect(call, wanted.len == spatial, "output_shape",
                                "needs one number for each dimension")) {
    return false;
  }
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    int64_t in = ibx_dim(call, x, i + 2), stride = w->strides.at[i];
    int64_t reach = (w->kernel.at[i] - 1) * w->dilations.at[i] + 1;
    int64_t full = stride * (in - 1) + extra.at[i] + reach;
    if (w->same && !given) wanted.at[i] = in * stride;
    if (w->same || given) {
      int64_t total = full - wanted.at[i] > 0 ? full - wanted.at[i] : 0;
      bool more_after = !w->same_lower;
      w->low.at[i] = more_after ? total / 2 : total - total / 2;
      w->high.at[i] = total - w->low.at[i];
      extents->at[i] = wanted.at[i];
    } else {
      extents->at[i] = full - w->low.at[i] - w->high.at[i];
    }
    if (!ibx_call_expect(call, extents->at[i] > 0, "pads",
                         "leaves nothing of the result")) {
      return false;
    }
  }
  extents->len = (uint8_t)spatial;
  return true;
}

void ibx_import_op_conv_transpose(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), weights = ibx_in(call, 1);
  ibx_ints kernel = window_of(call, weights), extents = {0};
  ibx_window w;
  if (!ibx_call_expect(call, ibx_rank(call, x) == ibx_rank(call, weights), "W",
                       "has another rank than X") ||
      !ibx_window_read(call, x, &kernel, &w) ||
      !transpose_extents(call, x, &w, &extents)) {
    return;
  }
  int64_t groups = ibx_attr_int(call, "group", 1);
  ibx_params params = {.strides = w.strides,
                       .low = w.low,
                       .high = w.high,
                       .dilations = w.dilations,
                       .groups = groups};
  params.shape = ibx_shape_of(call, x);
  params.shape.at[1] = ibx_dim(call, weights, 1) * groups;
  for (uint8_t i = 0; i < extents.len; i++) {
    params.shape.at[i + 2] = extents.at[i];
  }
  ibx_val operands[] = {x, weights};
  ibx_val y =
      ibx_emit_op(call, IBX_TENSOR_conv_transpose, &params, operands, 2);
  ibx_out(call, 0, add_bias(call, y, ibx_in(call, 2)));
}

// --- Col2Im ------------------------------------------------------------------

// Element i of a block at place i of an otherwise empty window, [K, 1, block...].
static ibx_val emit_places(ibx_call *call, ibx_ints block, int64_t count) {
  ibx_val line = ibx_emit_iota(call, count);
  ibx_val same =
      ibx_emit_binary(call, IBX_TENSOR_equal, ibx_emit_along(call, line, 0, 2),
                      ibx_emit_along(call, line, 1, 2));
  ibx_ints shape = IBX_INTS(count, 1);
  for (uint8_t i = 0; i < block.len; i++)
    shape.at[shape.len++] = block.at[i];
  same = ibx_emit_reshape(call, same, shape);
  return ibx_emit_cast(call, same, ibx_dtype_of(call, ibx_in(call, 0)));
}

// The number of blocks along each dimension; fills what the call says of them.
static bool read_blocks(ibx_call *call, ibx_ints image, ibx_ints block,
                        ibx_window *w, ibx_ints *blocks, int64_t *elements) {
  size_t spatial = image.len;
  bool fits =
      spatial >= 1 && spatial + 2 <= IBX_MAX_RANK && block.len == spatial;
  if (!ibx_call_expect(call, fits, "block_shape", "does not fit the image") ||
      !read_list(call, "strides", spatial, 1, 1, &w->strides) ||
      !read_list(call, "dilations", spatial, 1, 1, &w->dilations) ||
      !read_pads(call, spatial, w)) {
    return false;
  }
  *blocks = image;
  for (uint8_t i = 0; i < image.len; i++) {
    fits = fits && image.at[i] >= 1 && image.at[i] <= INT32_MAX &&
           block.at[i] >= 1 && block.at[i] <= INT32_MAX &&
           ibx_mul_extent(*elements, block.at[i], elements);
    if (!fits) break;
    int64_t room = image.at[i] + w->low.at[i] + w->high.at[i] -
                   (block.at[i] - 1) * w->dilations.at[i] - 1;
    blocks->at[i] = room < 0 ? 0 : room / w->strides.at[i] + 1;
    fits = room >= 0;
  }
  return ibx_call_expect(call, fits, "block_shape", "does not fit the image");
}

// The gradient of a convolution that copies each element of a window into a
// channel of its own.
void ibx_import_op_col2im(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints image = ibx_const_dims(call, 1, "image_shape");
  ibx_ints block = ibx_const_dims(call, 2, "block_shape");
  ibx_ints own = ibx_shape_of(call, x), blocks;
  ibx_window w = {0};
  int64_t elements = 1, count = 1;
  if (call->failed ||
      !read_blocks(call, image, block, &w, &blocks, &elements)) {
    return;
  }
  bool fits = own.len == 3 && elements <= 4096 && own.at[1] % elements == 0;
  for (uint8_t i = 0; fits && i < blocks.len; i++)
    fits = ibx_mul_extent(count, blocks.at[i], &count);
  if (!ibx_call_expect(call, fits && own.at[2] == count, "input",
                       "does not fit the blocks")) {
    return;
  }
  int64_t channels = own.at[1] / elements;
  ibx_ints shape = IBX_INTS(own.at[0] * channels, elements);
  ibx_params params = {.strides = w.strides,
                       .low = w.low,
                       .high = w.high,
                       .dilations = w.dilations,
                       .groups = 1,
                       .shape = IBX_INTS(own.at[0] * channels, 1)};
  ibx_ints result = IBX_INTS(own.at[0], channels);
  for (uint8_t i = 0; i < blocks.len; i++) {
    shape.at[shape.len++] = blocks.at[i];
    params.shape.at[params.shape.len++] = image.at[i];
    result.at[result.len++] = image.at[i];
  }
  ibx_val operands[] = {ibx_emit_reshape(call, x, shape),
                        emit_places(call, block, elements)};
  x = ibx_emit_op(call, IBX_TENSOR_conv_transpose, &params, operands, 2);
  ibx_out(call, 0, ibx_emit_reshape(call, x, result));
}

// --- pools -------------------------------------------------------------------

// With ceil_mode the last window may reach past the padding, as long as it
// starts inside of the tensor or the padding before it. Stores how many
// elements that adds at the end of each dimension. A window that is alone, and
// may be larger than the tensor, is cut instead: what is added never counts.
static ibx_ints ceil_extra(ibx_call *call, ibx_val x, ibx_window *w) {
  ibx_ints extra = ibx_fill_ints(w->kernel.len, 0);
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    int64_t dilation = w->dilations.at[i], stride = w->strides.at[i];
    int64_t reach = (w->kernel.at[i] - 1) * dilation + 1;
    int64_t extent = ibx_dim(call, x, i + 2);
    int64_t all = extent + w->low.at[i] + w->high.at[i], room = all - reach;
    if (room <= -stride) continue; // the kernel does not fit; infer says so
    int64_t count = (room + stride - 1) / stride + 1;
    if ((count - 1) * stride >= extent + w->low.at[i]) count--;
    int64_t more = (count - 1) * stride - room;
    if (more <= 0) continue;
    extra.at[i] = more;
    if (count > 1 || all < 1) continue;
    extra.at[i] = 0;
    w->kernel.at[i] = (all - 1) / dilation + 1;
    w->strides.at[i] = all; // one window still
  }
  return extra;
}

bool ibx_pool_read(ibx_call *call, ibx_val x, ibx_window *w, ibx_ints *extra) {
  bool ceils = ibx_attr_flag(call, "ceil_mode", false);
  if (!ibx_window_read(call, x, NULL, w)) return false;
  if (w->same) same_pads(call, x, w->same_lower, w);
  *extra = ceils ? ceil_extra(call, x, w) : ibx_fill_ints(w->kernel.len, 0);
  return true;
}

static ibx_ints add_ints(ibx_ints a, ibx_ints b) {
  for (uint8_t i = 0; i < a.len; i++)
    a.at[i] += b.at[i];
  return a;
}

static ibx_params pool_params(const ibx_window *w) {
  return (ibx_params){.kernel = w->kernel,
                      .strides = w->strides,
                      .low = w->low,
                      .high = w->high,
                      .dilations = w->dilations};
}

// Which elements the pool took (output 1): of the taps that hold the largest, the
// one that stands first in the tensor.
enum { MOST_INDEXED_TAPS = 256 };

// Where each element of the padded image stands in an image of its own, in rows
// or in columns; beyond all of them in the padding.
static ibx_val places(ibx_call *call, ibx_val x, const ibx_window *w,
                      bool by_columns) {
  uint8_t spatial = w->kernel.len;
  ibx_ints shape = ibx_fill_ints(spatial + 2u, 1);
  int64_t count = 1, stride[IBX_MAX_RANK], at[IBX_MAX_RANK] = {0}, area = 1;
  for (uint8_t i = 0; i < spatial; i++) {
    uint8_t d = by_columns ? i : (uint8_t)(spatial - 1 - i);
    stride[d] = area;
    area *= ibx_dim(call, x, d + 2);
    shape.at[i + 2] = ibx_dim(call, x, i + 2) + w->low.at[i] + w->high.at[i];
  }
  for (uint8_t i = 0; i < spatial; i++)
    count *= shape.at[i + 2];
  int64_t *data =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)count, int64_t);
  for (int64_t n = 0; n < count; n++) {
    bool inside = true;
    for (uint8_t i = 0; i < spatial; i++) {
      int64_t place = at[i] - w->low.at[i];
      inside = inside && place >= 0 && place < ibx_dim(call, x, i + 2);
      data[n] += place * stride[i];
    }
    if (!inside) data[n] = area;
    for (int d = spatial - 1; d >= 0 && ++at[d] == shape.at[d + 2]; d--)
      at[d] = 0;
  }
  return ibx_emit_longs(call, shape, data);
}

// What one tap of all windows reads of a padded image.
static ibx_val read_tap(ibx_call *call, ibx_val padded, ibx_val y,
                        const ibx_window *w, const int64_t *tap) {
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    padded = ibx_emit_slice(call, padded, i + 2, tap[i] * w->dilations.at[i],
                            ibx_dim(call, y, i + 2), w->strides.at[i]);
  }
  return padded;
}

// The places in an image, counted through all images before it.
static ibx_val count_images(ibx_call *call, ibx_val index, ibx_val x) {
  int64_t images = ibx_dim(call, x, 0) * ibx_dim(call, x, 1), area = 1;
  for (int64_t d = 2; d < ibx_rank(call, x); d++)
    area *= ibx_dim(call, x, d);
  int64_t *first =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)images, int64_t);
  for (int64_t i = 0; i < images; i++)
    first[i] = i * area;
  ibx_ints shape = ibx_fill_ints((size_t)ibx_rank(call, x), 1);
  shape.at[0] = ibx_dim(call, x, 0);
  shape.at[1] = ibx_dim(call, x, 1);
  return ibx_emit_binary(call, IBX_TENSOR_add, index,
                         ibx_emit_longs(call, shape, first));
}

static ibx_val emit_pool_indices(ibx_call *call, ibx_val x, ibx_val y,
                                 const ibx_window *w, bool by_columns) {
  int64_t taps = 1, tap[IBX_MAX_RANK] = {0};
  for (uint8_t i = 0; i < w->kernel.len; i++)
    taps *= w->kernel.at[i];
  if (taps > MOST_INDEXED_TAPS) {
    ibx_call_refuse(call, "Indices",
                    "the indices of windows of more than %d elements",
                    MOST_INDEXED_TAPS);
    return y;
  }
  ibx_ints low = ibx_fill_ints(w->kernel.len + 2u, 0), high = low;
  for (uint8_t i = 0; i < w->kernel.len; i++) {
    low.at[i + 2] = w->low.at[i];
    high.at[i + 2] = w->high.at[i];
  }
  ibx_val padded = ibx_emit_pad(call, x, low, high, 0.0f);
  ibx_val place = places(call, x, w, by_columns), least = IBX_NO_VALUE;
  int64_t nowhere = INT32_MAX;
  ibx_val none = ibx_emit_longs(call, (ibx_ints){0}, &nowhere);
  for (int64_t n = 0; n < taps && !call->failed; n++) {
    ibx_val same = ibx_emit_binary(call, IBX_TENSOR_equal,
                                   read_tap(call, padded, y, w, tap), y);
    ibx_val here =
        ibx_emit_select(call, same, read_tap(call, place, y, w, tap), none);
    least = n == 0 ? here : ibx_emit_binary(call, IBX_TENSOR_min, least, here);
    for (int d = w->kernel.len - 1; d >= 0 && ++tap[d] == w->kernel.at[d]; d--)
      tap[d] = 0;
  }
  return call->failed ? y : count_images(call, least, x);
}

ibx_val ibx_emit_max_pool(ibx_call *call, ibx_val x, ibx_window w,
                          ibx_ints extra) {
  w.high = add_ints(w.high, extra);
  ibx_params params = pool_params(&w);
  return ibx_emit_op(call, IBX_TENSOR_max_pool, &params, &x, 1);
}

void ibx_import_op_max_pool(ibx_call *call) {
  ibx_window w;
  ibx_ints extra;
  ibx_val x = ibx_in(call, 0);
  bool by_columns = ibx_attr_flag(call, "storage_order", false);
  if (!ibx_pool_read(call, ibx_in(call, 0), &w, &extra)) return;
  ibx_val y = ibx_emit_max_pool(call, x, w, extra);
  w.high = add_ints(w.high, extra);
  ibx_out(call, 0, y);
  if (call->failed || !ibx_wants_out(call, 1)) return;
  ibx_out(call, 1, emit_pool_indices(call, x, y, &w, by_columns));
}

static bool is_all(ibx_ints list, int64_t value) {
  for (uint8_t i = 0; i < list.len; i++) {
    if (list.at[i] != value) return false;
  }
  return true;
}

// Padding in front of the spatial dimensions: none of batch and channels.
static ibx_ints spatial_pads(ibx_ints pads) {
  ibx_ints all = ibx_fill_ints(pads.len + 2u, 0);
  for (uint8_t i = 0; i < pads.len; i++)
    all.at[i + 2] = pads.at[i];
  return all;
}

// A mean that counts padding never counts what ceil_mode adds: then padding
// becomes part of the tensor, and only what is added lies outside.
ibx_val ibx_emit_avg_pool(ibx_call *call, ibx_val x, ibx_window w,
                          ibx_ints extra, bool counts_pads) {
  if (counts_pads && !is_all(extra, 0)) {
    x = ibx_emit_pad(call, x, spatial_pads(w.low), spatial_pads(w.high), 0);
    w.low = w.high = ibx_fill_ints(w.low.len, 0);
    counts_pads = false;
  }
  w.high = add_ints(w.high, extra);
  ibx_params params = pool_params(&w);
  params.exclude_pad = !counts_pads;
  return ibx_emit_op(call, IBX_TENSOR_avg_pool, &params, &x, 1);
}

void ibx_import_op_average_pool(ibx_call *call) {
  ibx_window w;
  ibx_ints extra;
  bool counts_pads = ibx_attr_flag(call, "count_include_pad", false);
  if (!ibx_pool_read(call, ibx_in(call, 0), &w, &extra)) return;
  ibx_out(call, 0,
          ibx_emit_avg_pool(call, ibx_in(call, 0), w, extra, counts_pads));
}

// (sum |x|^p)^(1/p)
void ibx_import_op_lp_pool(ibx_call *call) {
  ibx_window w;
  ibx_ints extra;
  int64_t p = ibx_attr_int(call, "p", 2);
  if (!ibx_pool_read(call, ibx_in(call, 0), &w, &extra)) return;
  if (!ibx_call_expect(call, p >= 1 && p <= 64, "p", "is no order of a norm")) {
    return;
  }
  double count = 1;
  for (uint8_t i = 0; i < w.kernel.len; i++)
    count *= (double)w.kernel.at[i];
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val x = ibx_emit_wide(call, ibx_in(call, 0));
  x = ibx_emit_norm_terms(call, x, p);
  w.high = add_ints(w.high, extra);
  x = ibx_emit_avg_pool(call, x, w, ibx_fill_ints(extra.len, 0), true);
  x = ibx_emit_norm_root(call, ibx_emit_affine(call, x, count, 0), p);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

// The dimensions behind those of images and channels.
static bool read_image_axes(ibx_call *call, ibx_ints *out_axes) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  for (int64_t i = 2; i < rank; i++)
    out_axes->at[out_axes->len++] = i;
  return ibx_call_expect(call, rank >= 2, "X",
                         "needs dimensions of images and of channels");
}

void ibx_import_op_global_lp_pool(ibx_call *call) {
  int64_t p = ibx_attr_int(call, "p", 2);
  ibx_ints axes = {0};
  if (!ibx_call_expect(call, p >= 1 && p <= 64, "p", "is no order of a norm") ||
      !read_image_axes(call, &axes)) {
    return;
  }
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val x = ibx_emit_wide(call, ibx_in(call, 0));
  x = ibx_emit_norm_terms(call, x, p);
  x = ibx_emit_reduce(call, IBX_TENSOR_reduce_sum, x, axes, true);
  x = ibx_emit_norm_root(call, x, p);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

static void global_pool(ibx_call *call, ibx_tensor_op op) {
  ibx_ints axes = {0};
  if (!read_image_axes(call, &axes)) return;
  ibx_val x = ibx_in(call, 0);
  ibx_out(call, 0, ibx_emit_reduce(call, op, x, axes, true));
}

void ibx_import_op_global_average_pool(ibx_call *call) {
  global_pool(call, IBX_TENSOR_reduce_mean);
}

void ibx_import_op_global_max_pool(ibx_call *call) {
  global_pool(call, IBX_TENSOR_reduce_max);
}
