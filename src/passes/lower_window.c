// SPDX-License-Identifier: Apache-2.0
//
// Windows and images. Comes in: the parameters of a convolution or pooling and
// its operand wherever it lies. Goes out: which outputs each tap of the window
// reaches, so that padding is clipped instead of stored; and the operand in
// SBUF in a form that three free dimensions of an instruction can walk.

#include "passes/lower_window.h"

ibx_window ibx_window_get(const ibx_params *params, const ibx_type *x,
                          const ibx_type *y, const int64_t *kernel,
                          uint8_t dim) {
  int missing = IBX_SPATIAL - (x->rank - 2);
  if (dim < missing) {
    return (ibx_window){
        .in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1};
  }
  int i = dim - missing;
  return (ibx_window){
      .in = x->dims[i + 2],
      .out = y->dims[i + 2],
      .kernel = kernel[i],
      .stride = params->strides.len > i ? params->strides.at[i] : 1,
      .dilation = params->dilations.len > i ? params->dilations.at[i] : 1,
      .low = params->low.len > i ? params->low.at[i] : 0};
}

int64_t ibx_floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

int64_t ibx_at_most(int64_t a, int64_t b) { return a < b ? a : b; }

ibx_range ibx_range_cut(ibx_range a, ibx_range b) {
  ibx_range cut = {.first = a.first > b.first ? a.first : b.first,
                   .end = a.end < b.end ? a.end : b.end};
  if (cut.end < cut.first) cut.end = cut.first;
  return cut;
}

ibx_range ibx_window_reach(const ibx_window *window, int64_t tap) {
  // Output o reads at o * stride + shift.
  int64_t shift = tap * window->dilation - window->low;
  ibx_range inside = {
      .first = -ibx_floor_div(shift, window->stride),
      .end = ibx_floor_div(window->in - 1 - shift, window->stride) + 1};
  return ibx_range_cut((ibx_range){.end = window->out}, inside);
}

int ibx_image_dim(uint8_t rank, uint8_t d) {
  if (d == 0) return 0;
  int at = rank - IBX_IMAGE_DIMS + d;
  return at >= 2 ? at : -1;
}

static bool single_step(const ibx_dim *dim, int64_t *out_step) {
  *out_step = 0;
  if (dim->size == 1) return true;
  if (dim->count != 1 || dim->atom[0].pstep != 0) return false;
  *out_step = dim->atom[0].step;
  return true;
}

bool ibx_image_make(const ibx_view *view, ibx_image *out) {
  if (view->rank < 3 || view->rank > IBX_SPATIAL + 2) return false;
  *out = (ibx_image){.view = *view};
  for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
    int at = ibx_image_dim(view->rank, d);
    out->extent[d] = at < 0 ? 1 : view->dim[at].size;
    if (at >= 0 && !single_step(&view->dim[at], &out->step[d])) return false;
  }
  return true;
}

// Whether the channels can be contracted as they lie, and fill the rows of the
// array as far as they could: behind a norm of 32 groups, 1280 of them lie on 32
// partitions. Laying them out costs one pass over them; each row that is left
// empty, one for each tap and each tile of results.
static bool has_channels(ibx_lower *lower, const ibx_view *view) {
  ibx_contraction *parts;
  int64_t channels = view->dim[1].size;
  int64_t least = (channels + IBX_PARTITIONS - 1) / IBX_PARTITIONS;
  if (view->partition != 0) return false;
  for (uint8_t a = 0; a < view->dim[1].count; a++) {
    const ibx_atom *atom = &view->dim[1].atom[a];
    if (atom->pstep != 0) {
      size_t count = ibx_lower_contractions(lower->machine, view, 1, view, 1,
                                            lower->arena, &parts);
      return count > 0 && (int64_t)count < 2 * least;
    }
  }
  return channels == 1;
}

static const ibx_layout CHANNELS = {.dims = {1}, .count = 1};

static bool copy_image(ibx_lower *lower, const ibx_type *type,
                       const ibx_view *view, ibx_image *out) {
  ibx_view copy;
  if (!ibx_lower_tensor(lower, type, &CHANNELS, "image", &copy) ||
      !ibx_lower_move(lower, &copy, view)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "an image cannot be laid out");
  }
  return ibx_image_make(&copy, out);
}

bool ibx_image_straighten(ibx_lower *lower, uint32_t value, ibx_image *image) {
  ibx_type type = lower->graph->values[value].type;
  const ibx_view have = image->view;
  type.dtype = have.dtype;
  return copy_image(lower, &type, &have, image);
}

bool ibx_image_get(ibx_lower *lower, uint32_t value, ibx_dtype dtype,
                   ibx_image *out) {
  ibx_type type = lower->graph->values[value].type;
  ibx_view view;
  if (type.rank < 3 || type.rank > IBX_SPATIAL + 2) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "a window over %d spatial dimensions; 1 to %d are "
                          "supported",
                          type.rank - 2, IBX_SPATIAL);
  }
  bool on_chip =
      ibx_lower_view(lower, value, &view) &&
      lower->func->buffers[view.buffer].place.space == IBX_SPACE_SBUF;
  bool as_is =
      on_chip && ibx_image_make(&view, out) && has_channels(lower, &view);
  if (!as_is) {
    if (!ibx_lower_in_layout(lower, value, &CHANNELS, &view)) return false;
    as_is = ibx_image_make(&view, out) && has_channels(lower, &view);
  }
  if (dtype == IBX_DTYPE_NONE) dtype = view.dtype;
  if (as_is && view.dtype == dtype) return true;
  type.dtype = dtype;
  return copy_image(lower, &type, &view, out);
}
