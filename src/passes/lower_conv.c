// SPDX-License-Identifier: Apache-2.0
//
// Convolutions: comes in x [N, C, spatial...] and w [O, C / groups, window...];
// goes out a sum of products over the parts of C and the taps of the window.
// The image is never unfolded: a tap is an access pattern on it, and padding is
// clipped (lower_conv_sum.c).

#include "passes/lower_conv.h"

enum { CUT_BYTES = 8192 };

ibx_dtype ibx_conv_dtype(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_float = info->kind == IBX_DTYPE_KIND_FLOAT;
  if (is_float && info->bits >= 16 && info->bits <= 32) return dtype;
  // Integers of 8 bits are exact in bf16.
  return info->bits == 8 ? IBX_DTYPE_BF16 : IBX_DTYPE_F32;
}

void ibx_conv_tap(const ibx_conv *conv, int64_t tap, int64_t *out) {
  for (int d = IBX_SPATIAL - 1; d >= 0; d--) {
    out[d] = tap % conv->window[d].kernel;
    tap /= conv->window[d].kernel;
  }
}

ibx_sum ibx_conv_sum(const ibx_conv *conv, const ibx_image *x) {
  ibx_sum sum = {.lower = conv->lower,
                 .chain = conv->chain,
                 .dst = conv->dst,
                 .moving = x->view,
                 .out = {conv->x.dims[0]},
                 .step = {x->step[0]}};
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    sum.out[d + 1] = conv->window[d].out;
    sum.step[d + 1] = x->step[d + 1] * conv->window[d].stride;
  }
  ibx_sum_tile(&sum);
  return sum;
}

// The term of one tap: shifts the operands and clips the outputs. False when
// the tap reads padding only.
bool ibx_conv_shift(const ibx_conv *conv, const ibx_image *x,
                    const int64_t *tap, ibx_term *term) {
  term->reach[0] = (ibx_range){.end = conv->x.dims[0]};
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    const ibx_window *w = &conv->window[d];
    term->reach[d + 1] = ibx_window_reach(w, tap[d]);
    if (term->reach[d + 1].first == term->reach[d + 1].end) return false;
    term->part.moving_offset +=
        (tap[d] * w->dilation - w->low) * x->step[d + 1];
  }
  return true;
}

// All terms of a block of weights: w [O, C, window...] in SBUF, C on the same
// partitions as in x.
static bool dense_terms(const ibx_conv *conv, const ibx_image *x,
                        const ibx_view *w, ibx_terms *terms) {
  ibx_image taps;
  ibx_contraction *parts;
  size_t count =
      ibx_lower_contractions(w, 1, &x->view, 1, conv->lower->arena, &parts);
  if (count == 0 || !ibx_image_make(w, &taps)) {
    return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                          "the operands of a convolution do not meet on "
                          "partitions");
  }
  terms->count = 0;
  for (size_t i = 0; i < count; i++) {
    for (int64_t t = 0; t < conv->taps; t++) {
      int64_t tap[IBX_SPATIAL];
      ibx_conv_tap(conv, t, tap);
      ibx_term term = {
          .part = parts[i], .stationary = w, .column_step = taps.step[0]};
      if (!ibx_conv_shift(conv, x, tap, &term)) continue;
      for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
        term.part.stationary_offset += tap[d] * taps.step[d + 1];
      }
      ibx_terms_add(terms, conv->lower->arena, term);
    }
  }
  return true;
}

static int64_t free_of(const ibx_dim *dim) {
  int64_t size = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep == 0) size *= dim->atom[a].size;
  }
  return size;
}

// Output channels [from, to) with constant weights: packed like the channels of
// x and loaded in cuts along O, so that the first products start early.
static bool dense_constant(const ibx_conv *conv, const ibx_image *x,
                           int64_t from, int64_t to) {
  ibx_lower *lower = conv->lower;
  ibx_sum sum = ibx_conv_sum(conv, x);
  int64_t tile = ibx_sum_channels(conv->dst);
  int64_t bytes = free_of(&x->view.dim[1]) * conv->taps *
                  (int64_t)ibx_dtype_bytes(x->view.dtype);
  int64_t cut = CUT_BYTES / bytes / tile * tile;
  if (cut < tile) cut = tile;
  while (from < to) {
    int64_t end = (from / tile) * tile + cut;
    if (end > to) end = to;
    ibx_view w;
    if (!ibx_lower_constant_like(lower, conv->node->operand[1], 1,
                                 &x->view.dim[1], x->view.dtype, 0, from,
                                 end - from, &w)) {
      return false;
    }
    sum.channel = from;
    if (!dense_terms(conv, x, &w, &sum.terms)) return false;
    if (!ibx_sum_blocks(&sum, from, end)) return false;
    from = end;
  }
  return true;
}

// Weights that are computed: their channels go to the partitions like those of
// x.
static bool dense_computed(const ibx_conv *conv) {
  ibx_lower *lower = conv->lower;
  ibx_image x, w;
  ibx_dtype dtype = ibx_conv_dtype(conv->x.dtype);
  if (!ibx_image_get(lower, conv->node->operand[0], dtype, &x) ||
      !ibx_image_get(lower, conv->node->operand[1], dtype, &w)) {
    return false;
  }
  ibx_sum sum = ibx_conv_sum(conv, &x);
  if (!dense_terms(conv, &x, &w.view, &sum.terms)) return false;
  return ibx_sum_blocks(&sum, 0, conv->w.dims[0]);
}

static bool dense(const ibx_conv *conv) {
  ibx_image x;
  bool done;
  if (!ibx_lower_is_constant(conv->lower, conv->node->operand[1])) {
    return dense_computed(conv);
  }
  if (!ibx_conv_join(conv, &done)) return false;
  if (done) return true;
  return ibx_image_get(conv->lower, conv->node->operand[0],
                       ibx_conv_dtype(conv->x.dtype), &x) &&
         dense_constant(conv, &x, 0, conv->w.dims[0]);
}

// ---- Groups one by one

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Channels [from, from + size) of x to an image of their own that starts at
// partition 0: run by run, as tiles of both sides allow.
static bool group_image(const ibx_conv *conv, const ibx_view *x, int64_t from,
                        int64_t size, ibx_image *out) {
  ibx_lower *lower = conv->lower;
  ibx_layout layout = {.dims = {1}, .count = 1};
  ibx_type type = conv->x;
  type.dims[1] = size;
  type.dtype = x->dtype;
  ibx_view image, to, at;
  if (!ibx_lower_tensor(lower, &type, &layout, "group", &image)) return false;
  int64_t tile = ibx_sum_channels(x), starts[IBX_MAX_RANK] = {0}, run;
  for (int64_t c = 0; c < size; c += run) {
    run = least(size - c, least(tile - (from + c) % tile,
                                IBX_PARTITIONS - c % IBX_PARTITIONS));
    type.dims[1] = run;
    starts[1] = c;
    if (!ibx_view_slice(&image, starts, type.dims, NULL, &to)) return false;
    starts[1] = from + c;
    if (!ibx_view_slice(x, starts, type.dims, NULL, &at)) return false;
    if (!ibx_lower_move(lower, &to, &at)) return false;
  }
  return ibx_image_make(&image, out);
}

static bool group_by_group(const ibx_conv *conv, const ibx_image *x) {
  int64_t channels = conv->w.dims[0] / conv->groups;
  if (ibx_sum_channels(conv->dst) < conv->w.dims[0] && channels % 32 != 0) {
    return ibx_lower_fail(conv->lower, IBX_UNSUPPORTED,
                          "a convolution whose groups make %lld channels each; "
                          "multiples of 32, or at most 128 in all, are "
                          "supported",
                          (long long)channels);
  }
  for (int64_t g = 0; g < conv->groups; g++) {
    ibx_image image;
    if (!group_image(conv, &x->view, g * conv->w.dims[1], conv->w.dims[1],
                     &image)) {
      return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                            "the channels of a group are no view");
    }
    if (!dense_constant(conv, &image, g * channels, (g + 1) * channels)) {
      return false;
    }
  }
  return true;
}

static bool grouped(const ibx_conv *conv) {
  ibx_image x;
  bool fits;
  ibx_dtype dtype = ibx_conv_dtype(conv->x.dtype);
  if (!ibx_image_get(conv->lower, conv->node->operand[0], dtype, &x) ||
      !ibx_conv_groups(conv, &x, &fits)) {
    return false;
  }
  if (fits) return true;
  if (ibx_lower_is_constant(conv->lower, conv->node->operand[1])) {
    return group_by_group(conv, &x);
  }
  return ibx_lower_fail(conv->lower, IBX_UNSUPPORTED,
                        "a convolution in %lld groups with computed weights",
                        (long long)conv->groups);
}

bool ibx_lower_conv(ibx_lower *lower, const ibx_node *node,
                    const ibx_chain *chain, const ibx_view *dst) {
  const ibx_value *values = lower->graph->values;
  ibx_conv conv = {.lower = lower,
                   .node = node,
                   .chain = chain,
                   .dst = dst,
                   .x = values[node->operand[0]].type,
                   .w = values[node->operand[1]].type,
                   .y = values[node->result].type,
                   .taps = 1,
                   .groups = node->params.groups};
  if (conv.x.rank > IBX_SPATIAL + 2) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "a convolution over %d spatial dimensions; 1 to %d "
                          "are supported",
                          conv.x.rank - 2, IBX_SPATIAL);
  }
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    conv.window[d] =
        ibx_window_get(&node->params, &conv.x, &conv.y, &conv.w.dims[2], d);
    conv.taps *= conv.window[d].kernel;
  }
  if (node->op == IBX_TENSOR_conv) {
    return conv.groups == 1 ? dense(&conv) : grouped(&conv);
  }
  return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                        "operation %s has no lowering on this target",
                        ibx_tensor_op_get(node->op)->name);
}
