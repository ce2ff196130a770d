// SPDX-License-Identifier: Apache-2.0
//
// Imports MaxRoiPool. Comes in: images [N, C, H, W] and regions of whole
// elements, each cut into bins. Goes out: tables of maxima over windows whose
// sides are powers of two, and for each bin the largest of the four windows that
// cover it. The tables do not depend on the regions, so that computed regions
// cost only gathers of rows of channels.
//
//   bin of 5 elements      . a a a a a .
//   two windows of 4         1 1 1 1          the maximum does not mind that
//                              2 2 2 2        they overlap

#include "frontend/import.h"
#include "frontend/import_ops.h"

enum { MOST_BINS = 1 << 12 };

// One dimension of the image, and what the regions are in it.
typedef struct side {
  int64_t extent, bins;
  int64_t levels;    // window sides are 1, 2, ... 2^(levels - 1)
  ibx_val level;     // f32 [R, bins]: the window that a bin needs
  ibx_val corner[2]; // f32 [R, bins]: where its first and last one begin
  ibx_val empty;     // bool [R, bins]: the bin has no element
} side;

// Corners of regions, scaled. What leaves every image stays finite: an infinite
// region would have bins of no size.
static ibx_val scaled(ibx_call *call, ibx_val box, double scale) {
  const float most = 0x1p30f;
  return ibx_emit_clip(call, ibx_emit_affine(call, box, scale, 0), -most, most);
}

// To the nearest whole number, halves away from zero.
static ibx_val round_away(ibx_call *call, ibx_val x) {
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  ibx_val whole = ibx_emit_unary(call, IBX_TENSOR_floor, size);
  ibx_val part = ibx_emit_binary(call, IBX_TENSOR_sub, size, whole);
  ibx_val up = ibx_emit_binary(call, IBX_TENSOR_less_equal,
                               ibx_emit_like(call, x, 0.5), part);
  whole = ibx_emit_binary(call, IBX_TENSOR_add, whole,
                          ibx_emit_cast(call, up, IBX_DTYPE_F32));
  ibx_val sign = ibx_emit_unary(call, IBX_TENSOR_sign, x);
  return ibx_emit_binary(call, IBX_TENSOR_mul, sign, whole);
}

// first, first + 1, ... for each bin, [1, bins]
static ibx_val bin_numbers(ibx_call *call, int64_t bins, int64_t first) {
  double *at =
      ibx_arena_array(&call->import->scratch, (size_t)bins, sizeof(*at));
  for (int64_t i = 0; i < bins; i++)
    at[i] = (double)(first + i);
  return ibx_emit_floats(call, IBX_INTS(1, bins), at);
}

// How many windows are tried: those that fit the image, or those that bins which
// are known need.
static int64_t count_levels(ibx_call *call, const side *s) {
  int64_t levels = 1, needed = 0;
  while (INT64_C(1) << levels <= s->extent)
    levels++;
  const ibx_tensor *known = ibx_force(call->import, s->level);
  if (!known) return levels;
  for (int64_t i = 0; i < ibx_elements(&known->type); i++) {
    int64_t level = (int64_t)ibx_tensor_number(known, (size_t)i);
    if (level > needed) needed = level;
  }
  return needed + 1 < levels ? needed + 1 : levels;
}

// The largest window in `length` elements: its number and its side.
static void pick_window(ibx_call *call, side *s, ibx_val length,
                        ibx_val *out_width) {
  s->level = ibx_emit_like(call, length, 0);
  *out_width = ibx_emit_like(call, length, 1);
  for (int64_t width = 2; width <= s->extent; width *= 2) {
    ibx_val fits =
        ibx_emit_binary(call, IBX_TENSOR_less_equal,
                        ibx_emit_like(call, length, (double)width), length);
    ibx_val one = ibx_emit_cast(call, fits, IBX_DTYPE_F32);
    s->level = ibx_emit_binary(call, IBX_TENSOR_add, s->level, one);
    *out_width =
        ibx_emit_binary(call, IBX_TENSOR_add, *out_width,
                        ibx_emit_affine(call, one, (double)(width / 2), 0));
  }
  ibx_ints shape = ibx_shape_of(call, length);
  s->level = ibx_emit_broadcast(call, s->level, shape);
  s->levels = count_levels(call, s);
}

// Bins begin and end where fp32 says: ends that lie on an element by calculation
// may round past it, as they do in ONNX Runtime. So the quotient must be rounded
// once, which a product with a reciprocal is not.
static void cut_bins(ibx_call *call, side *s, ibx_val start, ibx_val end) {
  float last = (float)(s->extent - 1);
  ibx_val size = ibx_emit_affine(
      call, ibx_emit_binary(call, IBX_TENSOR_sub, end, start), 1, 1);
  size =
      ibx_emit_binary(call, IBX_TENSOR_max, size, ibx_emit_like(call, size, 1));
  ibx_val bin = ibx_emit_binary(call, IBX_TENSOR_int_div, size,
                                ibx_emit_like(call, size, (double)s->bins));
  ibx_val ends[2];
  for (int i = 0; i < 2; i++) {
    ibx_val at = ibx_emit_binary(call, IBX_TENSOR_mul, bin,
                                 bin_numbers(call, s->bins, i));
    at = ibx_emit_unary(call, i == 0 ? IBX_TENSOR_floor : IBX_TENSOR_ceil, at);
    at = ibx_emit_binary(call, IBX_TENSOR_add, at, start);
    ends[i] = ibx_emit_clip(call, at, 0, (float)s->extent);
  }
  s->empty = ibx_emit_binary(call, IBX_TENSOR_less_equal, ends[1], ends[0]);
  ibx_val width;
  pick_window(call, s, ibx_emit_binary(call, IBX_TENSOR_sub, ends[1], ends[0]),
              &width);
  s->corner[0] = ibx_emit_clip(call, ends[0], 0, last);
  s->corner[1] = ibx_emit_clip(
      call, ibx_emit_binary(call, IBX_TENSOR_sub, ends[1], width), 0, last);
}

// --- tables ------------------------------------------------------------------

// From maxima over windows of `width` those over twice as many elements. The
// last places, where no such window begins, keep what they have.
static ibx_val widen(ibx_call *call, ibx_val x, int64_t axis, int64_t width) {
  int64_t most = ibx_dim(call, x, axis) - width;
  ibx_val near = ibx_emit_slice(call, x, axis, 0, most, 1);
  ibx_val far = ibx_emit_slice(call, x, axis, width, most, 1);
  ibx_val parts[] = {ibx_emit_binary(call, IBX_TENSOR_max, near, far),
                     ibx_emit_slice(call, x, axis, most, width, 1)};
  return ibx_emit_concat(call, parts, 2, axis);
}

// [levels of rows * levels of columns * N * H * W, C]
static ibx_val emit_tables(ibx_call *call, ibx_val x, const side *rows,
                           const side *columns) {
  enum { MOST_LEVELS = 32 };
  ibx_val parts[MOST_LEVELS * MOST_LEVELS];
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t pixels = shape.at[0] * rows->extent * columns->extent;
  size_t count = 0;
  x = ibx_emit_transpose(call, x, IBX_INTS(0, 2, 3, 1));
  for (int64_t r = 0; r < rows->levels; r++) {
    if (r != 0) x = widen(call, x, 1, INT64_C(1) << (r - 1));
    ibx_val y = x;
    for (int64_t c = 0; c < columns->levels && !call->failed; c++) {
      if (c != 0) y = widen(call, y, 2, INT64_C(1) << (c - 1));
      parts[count++] = ibx_emit_reshape(call, y, IBX_INTS(pixels, shape.at[1]));
    }
  }
  if (call->failed) return x;
  return count == 1 ? parts[0] : ibx_emit_concat(call, parts, count, 0);
}

// --- gathers -----------------------------------------------------------------

// Columns [R, n] along dimension `axis` of [R, rows, columns].
static ibx_val stretch(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_ints shape = IBX_INTS(ibx_dim(call, x, 0), 1, 1);
  int8_t from[] = {0, -1, -1};
  shape.at[axis] = ibx_dim(call, x, 1);
  from[axis] = 1;
  return ibx_emit_units(call, x, shape, from);
}

// f32 to i32 times a stride, along one dimension.
static ibx_val stride_of(ibx_call *call, ibx_val x, int64_t stride,
                         int64_t axis) {
  x = ibx_emit_cast(call, stretch(call, x, axis), IBX_DTYPE_I32);
  return ibx_emit_binary(call, IBX_TENSOR_mul, x,
                         ibx_emit_scalar(call, IBX_DTYPE_I32, (double)stride));
}

// Window and place of one side as a part of the row of the tables.
static ibx_val side_index(ibx_call *call, const side *s, size_t corner,
                          int64_t level_stride, int64_t stride, int64_t axis) {
  return ibx_emit_binary(call, IBX_TENSOR_add,
                         stride_of(call, s->level, level_stride, axis),
                         stride_of(call, s->corner[corner], stride, axis));
}

static ibx_val emit_pools(ibx_call *call, ibx_val x, ibx_val batch,
                          const side *rows, const side *columns) {
  int64_t images = ibx_dim(call, x, 0);
  int64_t pixels = rows->extent * columns->extent;
  ibx_val tables = emit_tables(call, x, rows, columns), best = IBX_NO_VALUE;
  batch = stride_of(call, batch, pixels, 1);
  for (size_t i = 0; i < 4 && !call->failed; i++) {
    ibx_val row =
        side_index(call, rows, i / 2, columns->levels * images * pixels,
                   columns->extent, 1);
    ibx_val column = side_index(call, columns, i % 2, images * pixels, 1, 2);
    row = ibx_emit_binary(call, IBX_TENSOR_add, row, batch);
    ibx_val at = ibx_emit_binary(call, IBX_TENSOR_add, row, column);
    ibx_val corner = ibx_emit_gather(call, tables, at, 0);
    best = best == IBX_NO_VALUE
               ? corner
               : ibx_emit_binary(call, IBX_TENSOR_max, best, corner);
  }
  best = ibx_emit_transpose(call, best, IBX_INTS(0, 3, 1, 2));
  ibx_val empty =
      ibx_emit_binary(call, IBX_TENSOR_or, stretch(call, rows->empty, 1),
                      stretch(call, columns->empty, 2));
  ibx_ints shape = ibx_shape_of(call, empty);
  static const int8_t from[] = {0, -1, 1, 2};
  empty = ibx_emit_units(
      call, empty, IBX_INTS(shape.at[0], 1, shape.at[1], shape.at[2]), from);
  return ibx_emit_select(call, empty, ibx_emit_like(call, x, 0), best);
}

// --- MaxRoiPool --------------------------------------------------------------

static bool read_bins(ibx_call *call, side *rows, side *columns) {
  ibx_ints bins = {0};
  if (!ibx_attr_ints(call, "pooled_shape", &bins) && !call->failed) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "pooled_shape",
                  "add the attribute", "MaxRoiPool needs pooled_shape");
  }
  if (call->failed) return false;
  bool fits = bins.len == 2 && bins.at[0] >= 1 && bins.at[0] <= MOST_BINS &&
              bins.at[1] >= 1 && bins.at[1] <= MOST_BINS;
  rows->bins = bins.at[0];
  columns->bins = bins.at[1];
  return ibx_call_expect(call, fits, "pooled_shape",
                         "needs two sizes from 1 to 4096");
}

static bool images_fit(ibx_call *call, ibx_ints image, ibx_ints regions) {
  bool fits = image.len == 4 && regions.len == 2 && regions.at[1] == 5;
  return ibx_call_expect(call, fits, "rois",
                         "needs rows of image, x1, y1, x2, y2 of images of two "
                         "dimensions");
}

// Whether positions in the tables, and elements of the result, can be counted.
static bool tables_fit(ibx_call *call, ibx_ints image, const side *rows,
                       const side *columns, int64_t regions) {
  int64_t count = rows->levels * columns->levels;
  int64_t bins = rows->bins * columns->bins;
  bool fits = ibx_mul_extent(count, image.at[0], &count) &&
              ibx_mul_extent(count, image.at[2], &count) &&
              ibx_mul_extent(count, image.at[3], &count) &&
              count <= INT32_MAX && ibx_mul_extent(bins, regions, &bins) &&
              bins <= INT32_MAX;
  return ibx_call_expect(call, fits, "X", "or the pools are too large");
}

void ibx_import_op_max_roi_pool(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints image = ibx_shape_of(call, x);
  ibx_ints regions = ibx_shape_of(call, ibx_in(call, 1));
  double scale = (double)ibx_attr_float(call, "spatial_scale", 1);
  side rows = {0}, columns = {0};
  if (!read_bins(call, &rows, &columns) || !images_fit(call, image, regions)) {
    return;
  }
  rows.extent = image.at[2];
  columns.extent = image.at[3];
  ibx_ints out = IBX_INTS(regions.at[0], image.at[1], rows.bins, columns.bins);
  if (ibx_has_extent(call, x)) ibx_refuse_extent(call, "X");
  if (ibx_elements(ibx_type_of(call, x)) == 0 || regions.at[0] == 0) {
    x = ibx_emit_broadcast(call, ibx_emit_like(call, x, 0), out);
    ibx_out(call, 0, ibx_take_extents(call, x, 0, ibx_in(call, 1), 0, 1));
    return;
  }
  ibx_val rois = ibx_emit_cast(call, ibx_in(call, 1), IBX_DTYPE_F32);
  ibx_val batch = ibx_emit_slice(call, rois, 1, 0, 1, 1);
  batch = ibx_emit_clip(call, batch, 0, (float)(image.at[0] - 1));
  ibx_val box = ibx_emit_slice(call, rois, 1, 1, 4, 1);
  box = round_away(call, scaled(call, box, scale));
  cut_bins(call, &columns, ibx_emit_slice(call, box, 1, 0, 1, 1),
           ibx_emit_slice(call, box, 1, 2, 1, 1));
  cut_bins(call, &rows, ibx_emit_slice(call, box, 1, 1, 1, 1),
           ibx_emit_slice(call, box, 1, 3, 1, 1));
  if (!tables_fit(call, image, &rows, &columns, regions.at[0])) return;
  ibx_out(call, 0, emit_pools(call, x, batch, &rows, &columns));
}
