// SPDX-License-Identifier: Apache-2.0
//
// Imports RoiAlign. Comes in: images [N, C, H, W], regions and the image that
// each one lies in. Goes out: products with matrices of interpolation weights,
// one for the rows and one for the columns of each region. A mean over the
// samples of a bin is the product with the mean of their weights.

#include "frontend/import_region.h"

#include "frontend/import_ops.h"

#include <string.h>

typedef struct pooling {
  int64_t
      samples; // along one dimension of a bin; 0: as many as it has elements
  double scale;
  bool half_pixel, max;
} pooling;

// One dimension of the regions.
typedef struct span {
  ibx_regions in;
  int64_t samples;
  ibx_val weights[2]; // [R, 1, bins * samples, extent]: element before, after
} span;

// Where the samples lie, in bins: bin + (i + 0.5) / samples.
static ibx_val emit_places(ibx_call *call, int64_t bins, int64_t samples) {
  int64_t count = bins * samples;
  ibx_type type = {.dims = {1, count}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data = IBX_ARENA_ARRAY(call->import->arena, (size_t)count, float);
  for (int64_t i = 0; i < count; i++)
    data[i] = (float)(((double)i + 0.5) / (double)samples);
  return ibx_emit_constant(call, type, data);
}

// weight where the element is `at`, else 0.
static ibx_val hot(ibx_call *call, ibx_val at, ibx_val weight, int64_t extent) {
  ibx_val line = ibx_emit_along(call, ibx_emit_iota(call, extent), 2, 3);
  line = ibx_emit_cast(call, line, IBX_DTYPE_F32);
  ibx_ints column = IBX_INTS(ibx_dim(call, at, 0), ibx_dim(call, at, 1), 1);
  ibx_val same = ibx_emit_binary(call, IBX_TENSOR_equal,
                                 ibx_emit_reshape(call, at, column), line);
  ibx_val full =
      ibx_emit_select(call, same, ibx_emit_reshape(call, weight, column),
                      ibx_emit_like(call, weight, 0));
  return ibx_emit_reshape(call, full,
                          IBX_INTS(column.at[0], 1, column.at[1], extent));
}

// The extent of a bin, and where samples lie in bins.
static ibx_val read_samples(ibx_call *call, const pooling *p, span *s,
                            ibx_val *out_places) {
  s->samples = p->samples;
  if (p->samples == 0) {
    *out_places = ibx_emit_sample_places(call, &s->in, &s->samples);
    return ibx_emit_bin_size(call, &s->in);
  }
  ibx_val size = ibx_emit_binary(call, IBX_TENSOR_sub, s->in.end, s->in.start);
  if (s->in.at_least_one) {
    size = ibx_emit_binary(call, IBX_TENSOR_max, size,
                           ibx_emit_like(call, size, 1));
  }
  *out_places = emit_places(call, s->in.bins, p->samples);
  return ibx_emit_affine(call, size, 1 / (double)s->in.bins, 0);
}

// Samples up to one element outside count for the border, others not at all.
static void emit_weights(ibx_call *call, const pooling *p, span *s) {
  float last = (float)(s->in.extent - 1);
  ibx_val places, size = read_samples(call, p, s, &places);
  if (call->failed) return;
  ibx_val at = ibx_emit_binary(call, IBX_TENSOR_mul, size, places);
  at = ibx_emit_binary(call, IBX_TENSOR_add, s->in.start, at);
  ibx_val inside = ibx_emit_binary(
      call, IBX_TENSOR_and,
      ibx_emit_binary(call, IBX_TENSOR_less_equal, ibx_emit_like(call, at, -1),
                      at),
      ibx_emit_binary(call, IBX_TENSOR_less_equal, at,
                      ibx_emit_like(call, at, (double)s->in.extent)));
  if (p->samples == 0) { // regions without extent have none
    ibx_val some = ibx_emit_binary(call, IBX_TENSOR_less,
                                   ibx_emit_like(call, size, 0), size);
    inside = ibx_emit_binary(call, IBX_TENSOR_and, inside, some);
  }
  at = ibx_emit_clip(call, at, 0, last);
  ibx_val before = ibx_emit_unary(call, IBX_TENSOR_floor, at);
  ibx_val part = ibx_emit_binary(call, IBX_TENSOR_sub, at, before);
  ibx_val zero = ibx_emit_like(call, at, 0);
  ibx_val near = ibx_emit_affine(call, part, -1, 1);
  s->weights[0] = hot(call, before, ibx_emit_select(call, inside, near, zero),
                      s->in.extent);
  s->weights[1] = hot(call, ibx_emit_affine(call, before, 1, 1),
                      ibx_emit_select(call, inside, part, zero), s->in.extent);
}

// rows [.., S, H] x image [.., H, W] x columns [.., T, W] transposed
static ibx_val sample(ibx_call *call, ibx_val rows, ibx_val image,
                      ibx_val columns) {
  return ibx_emit_matmul(call, ibx_emit_matmul(call, rows, image),
                         ibx_emit_swap(call, columns, 2, 3));
}

static ibx_val mean_weights(ibx_call *call, const pooling *p, span *s) {
  if (p->samples == 0) return ibx_emit_mean_weights(call, &s->in);
  emit_weights(call, p, s);
  if (call->failed) return s->in.start;
  ibx_val all =
      ibx_emit_binary(call, IBX_TENSOR_add, s->weights[0], s->weights[1]);
  ibx_ints apart =
      IBX_INTS(ibx_dim(call, all, 0), 1, s->in.bins, s->samples, s->in.extent);
  all = ibx_emit_reshape(call, all, apart);
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_mean, all, IBX_INTS(3), false);
}

static ibx_val pool_mean(ibx_call *call, const pooling *p, span *rows,
                         ibx_val image, span *columns) {
  ibx_val weights = mean_weights(call, p, rows);
  if (call->failed) return image;
  return sample(call, weights, image, mean_weights(call, p, columns));
}

// The largest of all weighted neighbours of all samples of a bin: what ONNX
// compares are products with the weights, not samples.
static ibx_val pool_max(ibx_call *call, const pooling *p, span *rows,
                        ibx_val image, span *columns) {
  ibx_val best = IBX_NO_VALUE;
  emit_weights(call, p, rows);
  emit_weights(call, p, columns);
  if (call->failed) return image;
  for (size_t i = 0; i < 4; i++) {
    ibx_val term =
        sample(call, rows->weights[i / 2], image, columns->weights[i % 2]);
    best = i == 0 ? term : ibx_emit_binary(call, IBX_TENSOR_max, best, term);
  }
  ibx_ints shape = ibx_shape_of(call, best);
  best = ibx_emit_reshape(call, best,
                          IBX_INTS(shape.at[0], shape.at[1], rows->in.bins,
                                   rows->samples, columns->in.bins,
                                   columns->samples));
  return ibx_emit_reduce(call, IBX_TENSOR_reduce_max, best, IBX_INTS(3, 5),
                         false);
}

static bool read_pooling(ibx_call *call, pooling *p, span *rows,
                         span *columns) {
  enum { MOST_SIZE = 1 << 12 };
  const char *mode = ibx_attr_text(call, "mode", "avg");
  rows->in.bins = ibx_attr_int(call, "output_height", 1);
  columns->in.bins = ibx_attr_int(call, "output_width", 1);
  p->samples = ibx_attr_int(call, "sampling_ratio", 0);
  p->scale = (double)ibx_attr_float(call, "spatial_scale", 1);
  p->max = strcmp(mode, "max") == 0;
  if (!p->max && strcmp(mode, "avg") != 0) {
    ibx_call_refuse(call, "mode", "mode = '%s'", mode);
  }
  rows->in.at_least_one = columns->in.at_least_one = !p->half_pixel;
  if (call->failed) return false;
  bool fits = rows->in.bins >= 1 && rows->in.bins <= MOST_SIZE &&
              columns->in.bins >= 1 && columns->in.bins <= MOST_SIZE &&
              p->samples >= 0 && p->samples <= MOST_SIZE;
  return ibx_call_expect(call, fits, "output_height",
                         "or another size lies outside of 1 to 4096");
}

static bool regions_fit(ibx_call *call, ibx_ints image) {
  ibx_ints regions = ibx_shape_of(call, ibx_in(call, 1));
  ibx_ints index = ibx_shape_of(call, ibx_in(call, 2));
  bool fits = image.len == 4 && regions.len == 2 && regions.at[1] == 4 &&
              index.len == 1 && index.at[0] == regions.at[0];
  return ibx_call_expect(call, fits, "rois", "does not fit the images");
}

static void import_regions(ibx_call *call, pooling p) {
  ibx_val image = ibx_in(call, 0);
  ibx_dtype dtype = ibx_dtype_of(call, image);
  ibx_ints shape = ibx_shape_of(call, image);
  span rows = {0}, columns = {0};
  if (!read_pooling(call, &p, &rows, &columns) || !regions_fit(call, shape)) {
    return;
  }
  rows.in.extent = shape.at[2];
  columns.in.extent = shape.at[3];
  if (ibx_has_extent(call, image)) {
    ibx_refuse_extent(call, "X");
    return;
  }
  // Each region counts by itself, those that are not there too.
  ibx_val regions = ibx_emit_whole(call, ibx_in(call, 1));
  regions = ibx_emit_cast(call, regions, IBX_DTYPE_F32);
  regions = ibx_emit_affine(call, regions, p.scale, p.half_pixel ? -0.5 : 0);
  columns.in.start = ibx_emit_slice(call, regions, 1, 0, 1, 1);
  rows.in.start = ibx_emit_slice(call, regions, 1, 1, 1, 1);
  columns.in.end = ibx_emit_slice(call, regions, 1, 2, 1, 1);
  rows.in.end = ibx_emit_slice(call, regions, 1, 3, 1, 1);
  image = ibx_emit_cast(call, image, IBX_DTYPE_F32);
  if (shape.at[0] != 1) {
    ibx_val index = ibx_in(call, 2);
    index = ibx_emit_all_masked(call, index, ibx_emit_like(call, index, 0));
    image = ibx_emit_gather(call, image, index, 0);
  }
  ibx_val pools = p.max ? pool_max(call, &p, &rows, image, &columns)
                        : pool_mean(call, &p, &rows, image, &columns);
  if (call->failed) return;
  pools = ibx_emit_cast(call, pools, dtype);
  pools = ibx_take_extents(call, pools, 0, ibx_in(call, 2), 0, 1);
  ibx_out(call, 0, ibx_take_extents(call, pools, 0, ibx_in(call, 1), 0, 1));
}

// Opset 10 has no coordinate_transformation_mode: it never moves by half an
// element.
void ibx_import_op_roi_align_10(ibx_call *call) {
  import_regions(call, (pooling){0});
}

void ibx_import_op_roi_align(ibx_call *call) {
  const char *mode =
      ibx_attr_text(call, "coordinate_transformation_mode", "half_pixel");
  bool half = strcmp(mode, "half_pixel") == 0;
  if (!half && strcmp(mode, "output_half_pixel") != 0) {
    ibx_call_refuse(call, "coordinate_transformation_mode",
                    "coordinate_transformation_mode = '%s'", mode);
  }
  if (!call->failed) import_regions(call, (pooling){.half_pixel = half});
}
