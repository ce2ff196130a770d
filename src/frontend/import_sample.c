// SPDX-License-Identifier: Apache-2.0
//
// Imports GridSample and AffineGrid. Comes in: an image [N, C, d1, ...] and a
// position in -1 .. 1 for each element of the result, its last dimension first.
// Goes out: for each neighbour of a position (1, 2 or 4 along a dimension) a
// gather of rows of channels, times a weight that is a polynomial of where the
// position lies between them.

#include "frontend/import_sample.h"
#include "frontend/import_ops.h"

#include <math.h>

// --- positions ---------------------------------------------------------------

static bool below_or_above(ibx_call *call, ibx_val x, double low, double high,
                           ibx_val *out) {
  ibx_val under =
      ibx_emit_binary(call, IBX_TENSOR_less, x, ibx_emit_like(call, x, low));
  ibx_val over =
      ibx_emit_binary(call, IBX_TENSOR_less, ibx_emit_like(call, x, high), x);
  *out = ibx_emit_binary(call, IBX_TENSOR_or, under, over);
  return !call->failed;
}

// Goes back and forth between the borders; they lie half an element outside
// unless the corners are aligned.
static ibx_val reflect(ibx_call *call, ibx_val x, double low, double high) {
  double range = high - low;
  if (range <= 0) return ibx_emit_clip(call, x, (float)low, (float)low);
  ibx_val from = ibx_emit_affine(call, x, 1, -low);
  ibx_val turns = ibx_emit_unary(call, IBX_TENSOR_floor,
                                 ibx_emit_affine(call, from, 0.5 / range, 0));
  from = ibx_emit_binary(call, IBX_TENSOR_sub, from,
                         ibx_emit_affine(call, turns, 2 * range, 0));
  ibx_val far = ibx_emit_unary(call, IBX_TENSOR_abs,
                               ibx_emit_affine(call, from, 1, -range));
  return ibx_emit_affine(call, far, -1, low + range);
}

// Reflects positions outside of the borders; others stay as they are. The other
// paddings look at each neighbour by itself.
static ibx_val bring_inside(ibx_call *call, const ibx_sampler *s, ibx_val x,
                            int64_t extent) {
  double last = (double)extent - 1;
  double low = s->align ? 0 : -0.5, high = s->align ? last : last + 0.5;
  ibx_val outside;
  if (s->pad != IBX_SAMPLE_REFLECTION ||
      !below_or_above(call, x, low, high, &outside)) {
    return x;
  }
  return ibx_emit_select(call, outside, reflect(call, x, low, high), x);
}

// -1 .. 1 to elements: the ends are the centres of the outer elements when the
// corners are aligned, else their outer edges.
static ibx_val to_elements(ibx_call *call, const ibx_sampler *s, ibx_val x,
                           int64_t extent) {
  x = ibx_emit_affine(call, x, 1, 1);
  if (s->align) {
    return ibx_emit_affine(call, x, ((double)extent - 1) / 2, 0);
  }
  x = ibx_emit_affine(call, x, (double)extent, -1);
  return ibx_emit_affine(call, x, 0.5, 0);
}

// --- neighbours --------------------------------------------------------------

// ((c3 * d + c2) * d + c1) * d + c0
static ibx_val cubic(ibx_call *call, ibx_val d, const double c[4]) {
  ibx_val sum = ibx_emit_affine(call, d, c[3], c[2]);
  sum = ibx_emit_affine(call, ibx_emit_binary(call, IBX_TENSOR_mul, sum, d), 1,
                        c[1]);
  return ibx_emit_affine(call, ibx_emit_binary(call, IBX_TENSOR_mul, sum, d), 1,
                         c[0]);
}

// Weights by how far past the element before it the position lies. The cubic
// ones are Keys' with a = -0.75, at distances 1 + d, d, 1 - d and 2 - d.
static void emit_weights(ibx_call *call, const ibx_sampler *s,
                         ibx_sample_axis *axis, ibx_val d) {
  static const double a = -0.75;
  static const double keys[IBX_SAMPLE_MOST_TAPS][4] = {
      {0, a, -2 * a, a},
      {1, 0, -(a + 3), a + 2},
      {0, -a, 2 * a + 3, -(a + 2)},
      {0, 0, a, -a},
  };
  if (s->mode == IBX_SAMPLE_LINEAR) {
    axis->weights[0] = ibx_emit_affine(call, d, -1, 1);
    axis->weights[1] = d;
  }
  for (size_t i = 0; s->mode == IBX_SAMPLE_CUBIC && i < s->taps; i++)
    axis->weights[i] = cubic(call, d, keys[i]);
}

static void emit_neighbours(ibx_call *call, const ibx_sampler *s,
                            ibx_sample_axis *axis) {
  float last = (float)(axis->extent - 1);
  double low = s->align ? 0 : -0.5;
  double high = s->align ? (double)last : (double)last + 0.5;
  ibx_val first = axis->at;
  if (s->mode != IBX_SAMPLE_NEAREST) {
    first = ibx_emit_unary(call, IBX_TENSOR_floor, axis->at);
    emit_weights(call, s, axis,
                 ibx_emit_binary(call, IBX_TENSOR_sub, axis->at, first));
  }
  for (size_t i = 0; i < s->taps; i++) {
    double offset = (double)i - (s->mode == IBX_SAMPLE_CUBIC ? 1 : 0);
    ibx_val index = ibx_emit_affine(call, first, 1, offset), outside;
    if (s->pad == IBX_SAMPLE_ZEROS &&
        below_or_above(call, index, 0, (double)last, &outside)) {
      axis->inside[i] = ibx_emit_unary(call, IBX_TENSOR_not, outside);
    }
    if (s->pad == IBX_SAMPLE_REFLECTION)
      index = reflect(call, index, low, high);
    index = ibx_emit_clip(call, index, 0, last);
    axis->index[i] = ibx_emit_cast(call, index, IBX_DTYPE_I32);
  }
}

// --- samples -----------------------------------------------------------------

static ibx_val emit_int(ibx_call *call, int64_t number) {
  return ibx_emit_scalar(call, IBX_DTYPE_I32, (double)number);
}

// The number of the first row of each image of the batch, [N, 1].
static ibx_val first_rows(ibx_call *call, int64_t batch, int64_t pixels) {
  ibx_val rows = ibx_emit_along(call, ibx_emit_iota(call, batch), 0, 2);
  return ibx_emit_binary(call, IBX_TENSOR_mul,
                         ibx_emit_cast(call, rows, IBX_DTYPE_I32),
                         emit_int(call, pixels));
}

// a op b, or b when there is no a yet.
static ibx_val join(ibx_call *call, ibx_tensor_op op, ibx_val a, ibx_val b) {
  return a == IBX_NO_VALUE ? b : ibx_emit_binary(call, op, a, b);
}

// [N, P] as a column for each of the channels.
static ibx_val column(ibx_call *call, ibx_val x) {
  return ibx_emit_reshape(
      call, x, IBX_INTS(ibx_dim(call, x, 0), ibx_dim(call, x, 1), 1));
}

// The term of one combination of neighbours, given by its digits.
static ibx_val emit_term(ibx_call *call, const ibx_sampler *s, ibx_val rows,
                         ibx_val index, size_t combination) {
  ibx_val weight = IBX_NO_VALUE, inside = IBX_NO_VALUE;
  int64_t stride = 1;
  for (size_t i = s->axes; i-- > 0;) {
    const ibx_sample_axis *axis = &s->axis[i];
    size_t tap = combination % s->taps;
    combination /= s->taps;
    ibx_val part = ibx_emit_binary(call, IBX_TENSOR_mul, axis->index[tap],
                                   emit_int(call, stride));
    index = ibx_emit_binary(call, IBX_TENSOR_add, index, part);
    stride *= axis->extent;
    if (s->mode != IBX_SAMPLE_NEAREST) {
      weight = join(call, IBX_TENSOR_mul, weight, axis->weights[tap]);
    }
    if (s->pad == IBX_SAMPLE_ZEROS) {
      inside = join(call, IBX_TENSOR_and, inside, axis->inside[tap]);
    }
  }
  ibx_val term = ibx_emit_gather(call, rows, index, 0);
  if (s->mode != IBX_SAMPLE_NEAREST) {
    term = ibx_emit_binary(call, IBX_TENSOR_mul,
                           ibx_emit_cast(call, term, IBX_DTYPE_F32),
                           column(call, weight));
  }
  if (s->pad != IBX_SAMPLE_ZEROS) return term;
  return ibx_emit_select(call, column(call, inside), term,
                         ibx_emit_like(call, term, 0));
}

ibx_val ibx_emit_samples(ibx_call *call, ibx_sampler *s, ibx_val x) {
  for (size_t i = 0; i < s->axes; i++)
    emit_neighbours(call, s, &s->axis[i]);
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t pixels = 1;
  size_t combinations = 1;
  for (size_t i = 0; i < s->axes; i++) {
    pixels *= s->axis[i].extent;
    combinations *= s->taps;
  }
  ibx_val rows =
      ibx_emit_reshape(call, x, IBX_INTS(shape.at[0], shape.at[1], pixels));
  rows = ibx_emit_reshape(call, ibx_emit_swap(call, rows, 1, 2),
                          IBX_INTS(shape.at[0] * pixels, shape.at[1]));
  ibx_val start = first_rows(call, shape.at[0], pixels), sum = IBX_NO_VALUE;
  for (size_t i = 0; i < combinations && !call->failed; i++) {
    sum = join(call, IBX_TENSOR_add, sum, emit_term(call, s, rows, start, i));
  }
  if (call->failed) return x; // there may be no sum
  return ibx_emit_cast(call, sum, ibx_dtype_of(call, x));
}

// --- GridSample --------------------------------------------------------------

// Opset 20 renamed the modes.
static bool read_sampler(ibx_call *call, ibx_sampler *s) {
  static const char *const modes_16[] = {"nearest", "bilinear", "bicubic"};
  static const char *const modes_20[] = {"nearest", "linear", "cubic"};
  static const char *const pads[] = {"zeros", "border", "reflection"};
  static const size_t taps[] = {1, 2, 4};
  const char *const *modes = call->version < 20 ? modes_16 : modes_20;
  size_t mode, pad;
  s->align = ibx_attr_flag(call, "align_corners", false);
  if (!ibx_attr_choice(call, "mode", modes[IBX_SAMPLE_LINEAR], modes, 3,
                       &mode) ||
      !ibx_attr_choice(call, "padding_mode", "zeros", pads, 3, &pad)) {
    return false;
  }
  s->mode = (ibx_sample_mode)mode;
  s->pad = (ibx_sample_pad)pad;
  s->taps = taps[mode];
  return !call->failed;
}

static bool sample_fits(ibx_call *call, const ibx_sampler *s, ibx_ints x,
                        ibx_ints grid) {
  size_t spatial = x.len - 2u;
  bool fits = x.len >= 3 && spatial <= IBX_SAMPLE_MOST_AXES &&
              grid.len == x.len && grid.at[0] == x.at[0] &&
              grid.at[grid.len - 1] == (int64_t)spatial;
  if (!ibx_call_expect(call, fits, "grid", "does not fit the image")) {
    return false;
  }
  int64_t rows = x.at[0];
  for (size_t i = 2; i < x.len; i++) {
    fits = fits && x.at[i] >= 1 && ibx_mul_extent(rows, x.at[i], &rows);
  }
  if (!ibx_call_expect(call, fits && rows <= INT32_MAX, "X",
                       "is empty or too large")) {
    return false;
  }
  if (s->mode != IBX_SAMPLE_NEAREST &&
      !ibx_is_float(ibx_dtype_of(call, ibx_in(call, 0)))) {
    ibx_call_refuse(call, "mode", "interpolation of integers");
    return false;
  }
  return true;
}

void ibx_import_op_grid_sample(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), grid = ibx_in(call, 1);
  ibx_ints shape = ibx_shape_of(call, x), out = ibx_shape_of(call, grid);
  ibx_sampler s = {.axes = shape.len - 2u};
  if (!read_sampler(call, &s) || !sample_fits(call, &s, shape, out)) return;
  int64_t points = 1;
  for (size_t i = 0; i < s.axes; i++)
    points *= out.at[i + 1];
  int64_t batch = shape.at[0], axes = (int64_t)s.axes;
  grid = ibx_emit_cast(call, grid, IBX_DTYPE_F32);
  grid = ibx_emit_reshape(call, grid, IBX_INTS(batch, points, axes));
  for (size_t i = 0; i < s.axes; i++) {
    ibx_sample_axis *axis = &s.axis[i];
    axis->extent = shape.at[i + 2];
    ibx_val at = ibx_emit_slice(call, grid, 2, axes - 1 - (int64_t)i, 1, 1);
    at = ibx_emit_reshape(call, at, IBX_INTS(batch, points));
    at = to_elements(call, &s, at, axis->extent);
    if (s.mode == IBX_SAMPLE_NEAREST)
      at = ibx_emit_unary(call, IBX_TENSOR_round, at);
    axis->at = bring_inside(call, &s, at, axis->extent);
  }
  if (call->failed) return;
  ibx_val samples = ibx_emit_swap(call, ibx_emit_samples(call, &s, x), 1, 2);
  for (size_t i = 0; i < s.axes; i++)
    shape.at[i + 2] = out.at[i + 1];
  ibx_out(call, 0, ibx_emit_reshape(call, samples, shape));
}

// --- AffineGrid --------------------------------------------------------------

// Position of an element between -1 and 1; a single one lies in the middle.
static double position(int64_t index, int64_t extent, bool align) {
  if (!align) return (2 * (double)index + 1) / (double)extent - 1;
  return extent == 1 ? 0 : 2 * (double)index / (double)(extent - 1) - 1;
}

// Every position of the grid with a 1 behind it, [P, axes + 1].
static ibx_val emit_positions(ibx_call *call, ibx_ints extents, int64_t points,
                              bool align) {
  int64_t width = extents.len + 1;
  ibx_type type = {.dims = {points, width}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data =
      IBX_ARENA_ARRAY(call->import->arena, (size_t)(points * width), float);
  for (int64_t p = 0; p < points; p++) {
    int64_t left = p;
    for (int i = extents.len - 1; i >= 0; i--) {
      int64_t extent = extents.at[i];
      data[p * width + extents.len - 1 - i] =
          (float)position(left % extent, extent, align);
      left /= extent;
    }
    data[p * width + extents.len] = 1;
  }
  return ibx_emit_constant(call, type, data);
}

void ibx_import_op_affine_grid(ibx_call *call) {
  ibx_val theta = ibx_in(call, 0);
  ibx_ints size = ibx_const_dims(call, 1, "size");
  bool align = ibx_attr_flag(call, "align_corners", false);
  ibx_ints own = ibx_shape_of(call, theta);
  if (call->failed) return;
  bool fits = (size.len == 4 || size.len == 5) && own.len == 3 &&
              own.at[0] == size.at[0] && own.at[1] == size.len - 2 &&
              own.at[2] == size.len - 1;
  int64_t points = 1;
  for (uint8_t i = 2; i < size.len; i++) {
    fits =
        fits && size.at[i] >= 1 && ibx_mul_extent(points, size.at[i], &points);
  }
  if (!ibx_call_expect(call, fits, "size", "does not fit theta") ||
      !ibx_call_expect_room(call, points)) {
    return;
  }
  ibx_ints extents = ibx_make_ints(size.at + 2, size.len - 2u);
  ibx_val positions = emit_positions(call, extents, points, align);
  positions = ibx_emit_cast(call, positions, ibx_dtype_of(call, theta));
  ibx_val grid =
      ibx_emit_matmul(call, positions, ibx_emit_swap(call, theta, 1, 2));
  ibx_ints shape = IBX_INTS(size.at[0]);
  for (uint8_t i = 0; i < extents.len; i++)
    shape.at[shape.len++] = extents.at[i];
  shape.at[shape.len++] = extents.len;
  ibx_out(call, 0, ibx_emit_reshape(call, grid, shape));
}
