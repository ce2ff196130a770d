// SPDX-License-Identifier: Apache-2.0
//
// Imports DeformConv. Comes in: an image, weights, and for each element of the
// window at each place of the result how far it is moved. Goes out: samples of
// the image at all those positions, times the mask, as the columns of a product
// with the weights.

#include "frontend/import_ops.h"
#include "frontend/import_sample.h"
#include "frontend/import_window.h"

// K elements of the window, P places of the result.
typedef struct deform {
  ibx_window window;
  ibx_ints x, out; // shapes: of the image, spatial ones of the result
  int64_t groups, offset_groups, kernel, places, axes;
} deform;

// Where the elements lie before they are moved, along one axis, [1, K * P].
static ibx_val emit_base(ibx_call *call, const deform *d, int64_t axis) {
  int64_t total = d->kernel * d->places, inner = 1, after = 1;
  ibx_type type = {.dims = {1, total}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data = IBX_ARENA_ARRAY(call->import->arena, (size_t)total, float);
  const ibx_window *w = &d->window;
  for (int64_t i = axis + 1; i < d->axes; i++) {
    inner *= w->kernel.at[i];
    after *= d->out.at[i];
  }
  for (int64_t i = 0; i < total; i++) {
    int64_t tap = i / d->places / inner % w->kernel.at[axis];
    int64_t place = i % d->places / after % d->out.at[axis];
    data[i] = (float)(place * w->strides.at[axis] - w->low.at[axis] +
                      tap * w->dilations.at[axis]);
  }
  return ibx_emit_constant(call, type, data);
}

// Samples of the channels of one offset group, [N, channels, K * P].
static ibx_val sample_group(ibx_call *call, const deform *d, int64_t group) {
  ibx_sampler s = {.mode = IBX_SAMPLE_LINEAR,
                   .pad = IBX_SAMPLE_ZEROS,
                   .align = true,
                   .axes = (size_t)d->axes,
                   .taps = 2};
  int64_t batch = d->x.at[0], points = d->kernel * d->places;
  int64_t channels = d->x.at[1] / d->offset_groups;
  ibx_val offsets = ibx_emit_cast(call, ibx_in(call, 2), IBX_DTYPE_F32);
  offsets = ibx_emit_reshape(
      call, offsets,
      IBX_INTS(batch, d->offset_groups, d->kernel, d->axes, d->places));
  offsets = ibx_emit_slice(call, offsets, 1, group, 1, 1);
  for (int64_t i = 0; i < d->axes; i++) {
    ibx_val moved = ibx_emit_slice(call, offsets, 3, i, 1, 1);
    moved = ibx_emit_reshape(call, moved, IBX_INTS(batch, points));
    s.axis[i].at =
        ibx_emit_binary(call, IBX_TENSOR_add, moved, emit_base(call, d, i));
    s.axis[i].extent = d->x.at[i + 2];
  }
  ibx_val x =
      ibx_emit_slice(call, ibx_in(call, 0), 1, group * channels, channels, 1);
  x = ibx_emit_swap(call, ibx_emit_samples(call, &s, x), 1, 2);
  if (!ibx_has_in(call, 4)) return x;
  ibx_val mask = ibx_emit_reshape(call, ibx_in(call, 4),
                                  IBX_INTS(batch, d->offset_groups, points));
  return ibx_emit_binary(call, IBX_TENSOR_mul, x,
                         ibx_emit_slice(call, mask, 1, group, 1, 1));
}

// [N, C, K * P] by the channels of each group of weights, times the weights.
static ibx_val multiply(ibx_call *call, const deform *d, ibx_val samples) {
  int64_t batch = d->x.at[0], channels = d->x.at[1] / d->groups;
  int64_t outputs = ibx_dim(call, ibx_in(call, 1), 0) / d->groups;
  samples = ibx_emit_reshape(
      call, samples,
      IBX_INTS(batch, d->groups, channels * d->kernel, d->places));
  ibx_val weights =
      ibx_emit_reshape(call, ibx_in(call, 1),
                       IBX_INTS(1, d->groups, outputs, channels * d->kernel));
  return ibx_emit_matmul(call, weights, samples);
}

static bool extents_fit(const deform *d) {
  for (int64_t i = 0; i < d->axes; i++) {
    int64_t reach =
        (d->window.kernel.at[i] - 1) * d->window.dilations.at[i] + 1;
    int64_t room =
        d->x.at[i + 2] + d->window.low.at[i] + d->window.high.at[i] - reach;
    bool fits = room >= 0 && d->x.at[i + 2] >= 1 &&
                d->out.at[i] == room / d->window.strides.at[i] + 1;
    if (!fits) return false;
  }
  return true;
}

static bool read_deform(ibx_call *call, deform *d) {
  ibx_ints offsets = ibx_shape_of(call, ibx_in(call, 2));
  ibx_ints weights = ibx_shape_of(call, ibx_in(call, 1));
  d->x = ibx_shape_of(call, ibx_in(call, 0));
  d->groups = ibx_attr_int(call, "group", 1);
  d->offset_groups = ibx_attr_int(call, "offset_group", 1);
  d->axes = d->x.len - 2;
  bool fits = d->axes >= 1 && d->axes <= IBX_SAMPLE_MOST_AXES &&
              weights.len == d->x.len && offsets.len == d->x.len;
  if (!ibx_call_expect(call, fits, "X",
                       "has too many dimensions, or W and "
                       "offset have others")) {
    return false;
  }
  ibx_ints kernel = ibx_make_ints(weights.at + 2, (size_t)d->axes);
  if (!ibx_window_read(call, ibx_in(call, 0), &kernel, &d->window)) {
    return false;
  }
  d->out = ibx_make_ints(offsets.at + 2, (size_t)d->axes);
  d->kernel = d->places = 1;
  for (int64_t i = 0; i < d->axes; i++) {
    d->kernel *= kernel.at[i];
    d->places *= d->out.at[i];
  }
  int64_t offsets_wanted = 0;
  fits =
      extents_fit(d) && d->groups >= 1 && d->offset_groups >= 1 &&
      d->offset_groups <= d->x.at[1] && d->x.at[1] % d->groups == 0 &&
      d->x.at[1] % d->offset_groups == 0 && weights.at[0] % d->groups == 0 &&
      weights.at[1] == d->x.at[1] / d->groups && offsets.at[0] == d->x.at[0] &&
      ibx_mul_extent(d->offset_groups * d->axes, d->kernel, &offsets_wanted) &&
      offsets.at[1] == offsets_wanted;
  if (!ibx_call_expect(call, fits, "offset", "does not fit the window")) {
    return false;
  }
  int64_t points = 0;
  bool counted = ibx_mul_extent(d->kernel, d->places, &points);
  return ibx_call_expect_room(call, counted ? points : -1);
}

void ibx_import_op_deform_conv(ibx_call *call) {
  enum { MOST_GROUPS = 64 };
  deform d = {0};
  if (!read_deform(call, &d)) return;
  if (d.offset_groups > MOST_GROUPS) {
    ibx_call_refuse(call, "offset_group", "more than %d groups of offsets",
                    MOST_GROUPS);
    return;
  }
  ibx_val parts[MOST_GROUPS];
  for (int64_t g = 0; g < d.offset_groups && !call->failed; g++)
    parts[g] = sample_group(call, &d, g);
  if (call->failed) return;
  ibx_val y = multiply(
      call, &d, ibx_emit_concat(call, parts, (size_t)d.offset_groups, 1));
  ibx_ints shape = IBX_INTS(d.x.at[0], ibx_dim(call, ibx_in(call, 1), 0));
  for (uint8_t i = 0; i < d.out.len; i++)
    shape.at[shape.len++] = d.out.at[i];
  y = ibx_emit_reshape(call, y, shape);
  if (ibx_has_in(call, 3)) {
    y = ibx_emit_binary(call, IBX_TENSOR_add, y,
                        ibx_emit_along(call, ibx_in(call, 3), 1, shape.len));
  }
  ibx_out(call, 0, y);
}
