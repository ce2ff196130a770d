// SPDX-License-Identifier: Apache-2.0
//
// Imports Resize and Upsample. Comes in: a call with constant scales or sizes.
// Goes out: for each dimension that changes, a repetition (whole factors), a
// gather (nearest), or a product with a matrix of weights (linear, cubic):
// interpolation is a linear map along one dimension, whatever its details.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

typedef enum resize_mode { NEAREST, LINEAR, CUBIC } resize_mode;
typedef enum coordinates {
  HALF_PIXEL,
  HALF_PIXEL_SYMMETRIC,
  PYTORCH_HALF_PIXEL,
  ALIGN_CORNERS,
  ASYMMETRIC,
  TF_HALF_PIXEL_NEAREST,
  TF_CROP_AND_RESIZE
} coordinates;
typedef enum rounding { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL } rounding;

typedef struct resize {
  resize_mode mode;
  coordinates where;
  rounding round;
  double cubic_a, extrapolation;
  bool exclude_outside, antialias;
} resize;

// One dimension.
typedef struct resize_axis {
  int64_t in, out;
  double scale;
  double start, end; // of the region of interest, as shares of `in`
} resize_axis;

static bool pick_name(ibx_call *call, const char *attribute, const char *absent,
                      const char *const *names, size_t count, int *out) {
  const char *name = ibx_attr_text(call, attribute, absent);
  for (size_t i = 0; i < count; i++) {
    if (names[i] && strcmp(name, names[i]) == 0) {
      *out = (int)i;
      return true;
    }
  }
  ibx_call_refuse(call, attribute, "%s = '%s'", attribute, name);
  return false;
}

static bool read_modes(ibx_call *call, resize *r, bool is_first) {
  static const char *const modes[] = {"nearest", "linear", "cubic"};
  static const char *const wheres[] = {
      "half_pixel",        "half_pixel_symmetric", "pytorch_half_pixel",
      "align_corners",     "asymmetric",           "tf_half_pixel_for_nn",
      "tf_crop_and_resize"};
  static const char *const rounds[] = {"round_prefer_floor",
                                       "round_prefer_ceil", "floor", "ceil"};
  int mode = 0, where = ASYMMETRIC, round = is_first ? FLOOR : PREFER_FLOOR;
  if (!pick_name(call, "mode", "nearest", modes, IBX_COUNT_OF(modes), &mode)) {
    return false;
  }
  if (!is_first) {
    bool fine = pick_name(call, "coordinate_transformation_mode", "half_pixel",
                          wheres, IBX_COUNT_OF(wheres), &where) &&
                pick_name(call, "nearest_mode", "round_prefer_floor", rounds,
                          IBX_COUNT_OF(rounds), &round);
    if (!fine) return false;
  }
  r->mode = (resize_mode)mode;
  r->where = (coordinates)where;
  r->round = (rounding)round;
  return true;
}

// Where output element `x` lies in the input.
static double source_of(const resize *r, resize_axis a, int64_t x) {
  double at = (double)x, size = a.scale * (double)a.in;
  switch (r->where) {
  case ALIGN_CORNERS:
    return size == 1 ? 0 : at * (double)(a.in - 1) / (size - 1);
  case ASYMMETRIC: return at / a.scale;
  case PYTORCH_HALF_PIXEL: return size == 1 ? 0 : (at + 0.5) / a.scale - 0.5;
  case TF_HALF_PIXEL_NEAREST: return (at + 0.5) / a.scale;
  case HALF_PIXEL_SYMMETRIC: {
    double offset = (double)a.in / 2 * (1 - (double)a.out / size);
    return offset + (at + 0.5) / a.scale - 0.5;
  }
  case TF_CROP_AND_RESIZE: {
    double last = (double)(a.in - 1), wide = (a.end - a.start) * last;
    if (a.out == 1) return (a.start + a.end) * last / 2;
    return a.start * last + at * wide / (double)(a.out - 1);
  }
  case HALF_PIXEL: break;
  }
  return (at + 0.5) / a.scale - 0.5;
}

// Where a position lies on an element, or half way to the next, scales that are
// no binary fractions must not move it off.
static double snapped(double at) {
  double halves = nearbyint(2 * at);
  return fabs(2 * at - halves) < 1e-6 ? halves / 2 : at;
}

static int64_t nearest(const resize *r, resize_axis a, int64_t x) {
  double at = snapped(source_of(r, a, x)), whole = floor(at), part = at - whole;
  bool up = false;
  if (part > 0) {
    up = r->round == CEIL || (r->round == PREFER_FLOOR && part > 0.5) ||
         (r->round == PREFER_CEIL && part >= 0.5);
  }
  double index = up ? whole + 1 : whole;
  return index < 0 ? 0 : index >= (double)a.in ? a.in - 1 : (int64_t)index;
}

// --- nearest -----------------------------------------------------------------

// Every element `times` times in a row: a view.
static ibx_val repeat_elements(ibx_call *call, ibx_val x, int64_t axis,
                               int64_t times) {
  ibx_ints shape = ibx_shape_of(call, x), split = {0}, whole = shape;
  for (uint8_t i = 0; i < shape.len; i++) {
    split.at[split.len++] = shape.at[i];
    if (i == axis) split.at[split.len++] = 1;
  }
  x = ibx_emit_reshape(call, x, split);
  split.at[axis + 1] = times;
  whole.at[axis] *= times;
  return ibx_emit_reshape(call, ibx_emit_broadcast(call, x, split), whole);
}

static ibx_val resize_nearest(ibx_call *call, ibx_val x, int64_t axis,
                              const resize *r, resize_axis a) {
  int64_t *index =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)a.out, int64_t);
  int64_t times = a.out / a.in;
  bool repeats = a.out % a.in == 0 && ibx_rank(call, x) < IBX_MAX_RANK;
  for (int64_t i = 0; i < a.out; i++) {
    index[i] = nearest(r, a, i);
    repeats = repeats && index[i] == i / times;
  }
  if (repeats) return repeat_elements(call, x, axis, times);
  ibx_val list = ibx_emit_longs(call, IBX_INTS(a.out), index);
  return ibx_emit_gather(call, x, list, axis);
}

// --- linear and cubic --------------------------------------------------------

static double weight_at(const resize *r, double distance) {
  double d = fabs(distance), a = r->cubic_a;
  if (r->mode == LINEAR) return d < 1 ? 1 - d : 0;
  if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

// The column of the matrix for output `x`: weights of the input elements.
// Elements past the border count for the border, or not at all.
static void fill_column(const resize *r, resize_axis a, int64_t x,
                        double *column) {
  double at = source_of(r, a, x);
  double shrink = r->antialias && a.scale < 1 ? a.scale : 1;
  double reach = (r->mode == LINEAR ? 1 : 2) / shrink, sum = 0;
  memset(column, 0, (size_t)a.in * sizeof(*column));
  for (int64_t i = (int64_t)floor(at - reach); i <= (int64_t)ceil(at + reach);
       i++) {
    double weight = weight_at(r, ((double)i - at) * shrink);
    bool outside = i < 0 || i >= a.in;
    if (outside && r->exclude_outside) continue;
    column[i < 0 ? 0 : i >= a.in ? a.in - 1 : i] += weight;
    sum += weight;
  }
  bool normalise = r->exclude_outside || shrink != 1;
  for (int64_t i = 0; normalise && sum != 0 && i < a.in; i++)
    column[i] /= sum;
}

static ibx_val emit_matrix(ibx_call *call, const resize *r, resize_axis a,
                           ibx_dtype dtype) {
  ibx_type type = {.dims = {a.in, a.out}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data =
      IBX_ARENA_ARRAY(call->import->arena, (size_t)a.in * (size_t)a.out, float);
  double *column =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)a.in, double);
  for (int64_t x = 0; x < a.out; x++) {
    fill_column(r, a, x, column);
    for (int64_t i = 0; i < a.in; i++)
      data[i * a.out + x] = (float)column[i];
  }
  return ibx_emit_cast(call, ibx_emit_constant(call, type, data), dtype);
}

static ibx_val resize_smooth(ibx_call *call, ibx_val x, int64_t axis,
                             const resize *r, resize_axis a) {
  int64_t last = ibx_rank(call, x) - 1;
  ibx_val matrix = emit_matrix(call, r, a, ibx_dtype_of(call, x));
  x = ibx_emit_swap(call, x, axis, last);
  if (last == 0) x = ibx_emit_reshape(call, x, IBX_INTS(1, a.in));
  x = ibx_emit_matmul(call, x, matrix);
  if (last == 0) x = ibx_emit_reshape(call, x, IBX_INTS(a.out));
  return ibx_emit_swap(call, x, axis, last);
}

// --- regions -----------------------------------------------------------------

static bool is_whole(resize_axis a) { return a.start == 0 && a.end == 1; }

// Elements of the result that lie outside of the tensor along one dimension get
// a value of their own.
static ibx_val extrapolate(ibx_call *call, ibx_val x, int64_t axis,
                           const resize *r, resize_axis a) {
  ibx_type type = {.dims = {a.out}, .rank = 1, .dtype = IBX_DTYPE_BOOL};
  uint8_t *outside =
      IBX_ARENA_ARRAY(call->import->arena, (size_t)a.out, uint8_t);
  bool any = false;
  for (int64_t i = 0; i < a.out; i++) {
    double at = source_of(r, a, i);
    outside[i] = !(at >= 0 && at <= (double)(a.in - 1));
    any = any || outside[i];
  }
  if (!any) return x;
  ibx_val where = ibx_emit_constant(call, type, outside);
  return ibx_emit_select(call,
                         ibx_emit_along(call, where, axis, ibx_rank(call, x)),
                         ibx_emit_like(call, x, r->extrapolation), x);
}

// The starts of all dimensions, then their ends.
static bool read_regions(ibx_call *call, resize_axis *axes,
                         const ibx_ints *which) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  size_t count = which ? which->len : (size_t)rank;
  const ibx_tensor *roi = ibx_const_in(call, 1, "roi");
  if (!roi) return false;
  if (!ibx_call_expect(call, ibx_elements(&roi->type) == 2 * (int64_t)count,
                       "roi", "needs two numbers for each dimension")) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    int64_t axis = which ? ibx_axis(call, which->at[i], rank) : (int64_t)i;
    axes[axis].start = ibx_tensor_number(roi, i);
    axes[axis].end = ibx_tensor_number(roi, i + count);
    bool fits =
        fabs(axes[axis].start) < 0x1p20 && fabs(axes[axis].end) < 0x1p20;
    if (!ibx_call_expect(call, fits, "roi", "lies too far outside")) {
      return false;
    }
  }
  return !call->failed;
}

// --- sizes -------------------------------------------------------------------

static bool resize_axes(ibx_call *call, const resize *r,
                        const resize_axis *axes) {
  enum { MOST_EXTENT = 1 << 20, MOST_MATRIX = 1 << 26 };
  ibx_val x = ibx_in(call, 0);
  for (int64_t i = 0; i < ibx_rank(call, x) && !call->failed; i++) {
    resize_axis a = axes[i];
    bool fits = a.in > 0 && a.out > 0 && a.out <= MOST_EXTENT && a.scale > 0 &&
                a.in <= MOST_MATRIX / a.out;
    if (!ibx_call_expect(call, fits, "sizes", "is empty or too large")) {
      return false;
    }
    if (a.in == a.out && a.scale == 1 && is_whole(a)) continue;
    if (ibx_extent(call, x, i) != IBX_NO_VALUE) {
      ibx_refuse_extent(call, "X");
      return false;
    }
    if (r->mode != NEAREST && !ibx_is_float(ibx_dtype_of(call, x))) {
      ibx_call_refuse(call, "mode", "interpolation of integers");
      return false;
    }
    x = r->mode == NEAREST ? resize_nearest(call, x, i, r, a)
                           : resize_smooth(call, x, i, r, a);
  }
  for (int64_t i = 0; i < ibx_rank(call, x) && !call->failed; i++) {
    if (!is_whole(axes[i])) x = extrapolate(call, x, i, r, axes[i]);
  }
  ibx_out(call, 0, x);
  return true;
}

static void set_scale(resize_axis *a, double scale) {
  a->scale = scale;
  double size = floor((double)a->in * (a->end - a->start) * scale);
  a->out = size >= 0 && size < 0x1p40 ? (int64_t)size : 0;
}

static void init_axes(ibx_call *call, resize_axis *axes) {
  ibx_val x = ibx_in(call, 0);
  for (int64_t i = 0; i < ibx_rank(call, x); i++) {
    int64_t extent = ibx_dim(call, x, i);
    axes[i] = (resize_axis){.in = extent, .out = extent, .scale = 1, .end = 1};
  }
}

// A size that the data decide is that of the dimension, which stays as it is.
static void set_size(ibx_call *call, resize_axis *a, int64_t axis,
                     const ibx_bounded *sizes, size_t index) {
  bool is_open = sizes->any && sizes->real[index] != IBX_NO_VALUE;
  if (is_open &&
      sizes->real[index] != ibx_extent(call, ibx_in(call, 0), axis)) {
    ibx_refuse_extent(call, "sizes");
  }
  a->out = sizes->most.at[index];
  a->scale = a->in > 0 ? (double)a->out / (double)a->in : 0;
}

// Reads scales or sizes of the dimensions that `which` names (all when NULL).
static bool read_extents(ibx_call *call, resize_axis *axes,
                         const ibx_ints *which, size_t scales_in,
                         size_t sizes_in) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  size_t count = which ? which->len : (size_t)rank;
  const ibx_tensor *scales = ibx_has_in(call, scales_in)
                                 ? ibx_const_in(call, scales_in, "scales")
                                 : NULL;
  if (call->failed) return false;
  bool by_scale = scales && ibx_elements(&scales->type) != 0;
  ibx_bounded sizes = {0};
  if (!by_scale && !ibx_bounded_dims(call, sizes_in, "sizes", &sizes)) {
    return false;
  }
  int64_t given = by_scale ? ibx_elements(&scales->type) : sizes.most.len;
  if (!ibx_call_expect(call, given == (int64_t)count,
                       by_scale ? "scales" : "sizes",
                       "needs one number for each dimension")) {
    return false;
  }
  for (size_t i = 0; i < count && !call->failed; i++) {
    int64_t axis = which ? ibx_axis(call, which->at[i], rank) : (int64_t)i;
    if (by_scale) {
      set_scale(&axes[axis], ibx_tensor_number(scales, i));
    } else {
      set_size(call, &axes[axis], axis, &sizes, i);
    }
  }
  return !call->failed;
}

void ibx_import_op_upsample_7(ibx_call *call) {
  resize r = {0};
  resize_axis axes[IBX_MAX_RANK];
  const Onnx__AttributeProto *scales = IBX_ATTR(call, "scales", FLOATS);
  size_t rank = (size_t)ibx_rank(call, ibx_in(call, 0));
  if (!read_modes(call, &r, true)) return;
  if (!ibx_call_expect(call, scales && scales->n_floats == rank, "scales",
                       "needs one number for each dimension")) {
    return;
  }
  init_axes(call, axes);
  for (size_t i = 0; i < rank; i++) {
    set_scale(&axes[i], (double)scales->floats[i]);
  }
  resize_axes(call, &r, axes);
}

void ibx_import_op_upsample_1(ibx_call *call) {
  resize r = {0};
  resize_axis axes[IBX_MAX_RANK];
  double height = (double)ibx_attr_float(call, "height_scale", 0);
  double width = (double)ibx_attr_float(call, "width_scale", 0);
  bool fits = ibx_rank(call, ibx_in(call, 0)) == 4;
  if (!read_modes(call, &r, true)) return;
  if (!ibx_call_expect(call, fits, "X", "needs 4 dimensions") ||
      !ibx_call_expect(call, height >= 1 && width >= 1, "height_scale",
                       "scales must be at least 1")) {
    return;
  }
  init_axes(call, axes);
  set_scale(&axes[2], height);
  set_scale(&axes[3], width);
  resize_axes(call, &r, axes);
}

// Upsample 9 and Resize 10: scales are an input.
void ibx_import_op_resize_10(ibx_call *call) {
  resize r = {0};
  resize_axis axes[IBX_MAX_RANK];
  if (!read_modes(call, &r, true)) return;
  init_axes(call, axes);
  if (read_extents(call, axes, NULL, 1, 1)) resize_axes(call, &r, axes);
}

static void keep_ratio(ibx_call *call, resize_axis *axes, const ibx_ints *which,
                       bool larger) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  size_t count = which ? which->len : (size_t)rank;
  double scale = larger ? 0 : HUGE_VAL;
  for (size_t i = 0; i < count; i++) {
    double own =
        axes[which ? ibx_axis(call, which->at[i], rank) : (int64_t)i].scale;
    scale = larger ? fmax(scale, own) : fmin(scale, own);
  }
  for (size_t i = 0; i < count; i++) {
    resize_axis *a =
        &axes[which ? ibx_axis(call, which->at[i], rank) : (int64_t)i];
    double size = floor(scale * (double)a->in + 0.5);
    a->scale = scale;
    a->out = size < 0x1p40 ? (int64_t)size : 0;
  }
}

void ibx_import_op_resize(ibx_call *call) {
  resize r = {0};
  resize_axis axes[IBX_MAX_RANK];
  ibx_ints which;
  if (!read_modes(call, &r, false)) return;
  r.cubic_a = (double)ibx_attr_float(call, "cubic_coeff_a", -0.75f);
  r.exclude_outside = ibx_attr_flag(call, "exclude_outside", false);
  r.antialias = ibx_attr_flag(call, "antialias", false);
  r.extrapolation = (double)ibx_attr_any_float(call, "extrapolation_value", 0);
  bool has_axes = ibx_attr_ints(call, "axes", &which);
  const char *policy =
      ibx_attr_text(call, "keep_aspect_ratio_policy", "stretch");
  init_axes(call, axes);
  if (r.where == TF_CROP_AND_RESIZE &&
      !read_regions(call, axes, has_axes ? &which : NULL)) {
    return;
  }
  if (!read_extents(call, axes, has_axes ? &which : NULL, 2, 3)) return;
  if (strcmp(policy, "stretch") != 0) {
    keep_ratio(call, axes, has_axes ? &which : NULL,
               strcmp(policy, "not_smaller") == 0);
  }
  if (!call->failed) resize_axes(call, &r, axes);
}
