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

// Outputs of one dimension of a phase.
static int64_t phase_out(const ibx_conv *conv, uint8_t d) {
  const ibx_window *w = &conv->window[d];
  if (!conv->is_transposed) return w->out;
  return (w->out - conv->phase[d] + w->stride - 1) / w->stride;
}

ibx_sum ibx_conv_sum(const ibx_conv *conv, const ibx_image *x) {
  ibx_sum sum = {.lower = conv->lower,
                 .chain = conv->chain,
                 .dst = conv->dst,
                 .moving = x->view,
                 .out = {conv->x.dims[0]},
                 .step = {x->step[0]}};
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    sum.out[d + 1] = phase_out(conv, d);
    sum.step[d + 1] = x->step[d + 1];
    if (!conv->is_transposed) sum.step[d + 1] *= conv->window[d].stride;
  }
  ibx_sum_tile(&sum);
  return sum;
}

// What a tap of a transposed convolution adds to output phase + j * stride is
// input j + shift. False when the tap belongs to other phases.
static bool transposed_shift(const ibx_conv *conv, uint8_t d, int64_t tap,
                             int64_t *out_shift, ibx_range *reach) {
  const ibx_window *w = &conv->window[d];
  int64_t at = conv->phase[d] + w->low - tap * w->dilation;
  if (at % w->stride != 0) return false;
  *out_shift = at / w->stride;
  *reach = ibx_range_cut((ibx_range){.end = phase_out(conv, d)},
                         (ibx_range){-*out_shift, w->in - *out_shift});
  return true;
}

bool ibx_conv_shift(const ibx_conv *conv, const ibx_image *x,
                    const int64_t *tap, ibx_term *term) {
  term->reach[0] = (ibx_range){.end = conv->x.dims[0]};
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    const ibx_window *w = &conv->window[d];
    ibx_range *reach = &term->reach[d + 1];
    int64_t shift = tap[d] * w->dilation - w->low;
    *reach = ibx_window_reach(w, tap[d]);
    if (conv->is_transposed &&
        !transposed_shift(conv, d, tap[d], &shift, reach)) {
      return false;
    }
    if (reach->first == reach->end) return false;
    term->part.moving_offset += shift * x->step[d + 1];
  }
  return true;
}

typedef struct phase_walk {
  bool (*each)(void *user, const ibx_conv *phase);
  void *user;
  ibx_conv conv;
  ibx_view dst;
} phase_walk;

static bool visit_phase(phase_walk *walk) {
  const ibx_view *whole = walk->conv.dst;
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK], steps[IBX_MAX_RANK];
  ibx_conv phase = walk->conv;
  for (uint8_t d = 0; d < whole->rank; d++) {
    sizes[d] = whole->dim[d].size;
    steps[d] = 1;
  }
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    int at = ibx_image_dim(whole->rank, (uint8_t)(d + 1));
    if (at < 0) continue;
    starts[at] = phase.phase[d];
    sizes[at] = phase_out(&phase, d);
    steps[at] = phase.window[d].stride;
  }
  phase.dst = &walk->dst;
  if (!ibx_view_slice(whole, starts, sizes, steps, &walk->dst)) {
    return ibx_lower_fail(phase.lower, IBX_INTERNAL,
                          "a phase of the result is no view");
  }
  return walk->each(walk->user, &phase);
}

static bool walk_phases(phase_walk *walk, uint8_t d) {
  if (d == IBX_SPATIAL) return visit_phase(walk);
  const ibx_window *w = &walk->conv.window[d];
  for (int64_t p = 0; p < w->stride && p < w->out; p++) {
    walk->conv.phase[d] = p;
    if (!walk_phases(walk, (uint8_t)(d + 1))) return false;
  }
  return true;
}

bool ibx_conv_phases(const ibx_conv *conv,
                     bool (*each)(void *user, const ibx_conv *phase),
                     void *user) {
  if (!conv->is_transposed) return each(user, conv);
  phase_walk walk = {.each = each, .user = user, .conv = *conv};
  return walk_phases(&walk, 0);
}

// ---- One group

// A block of weights in SBUF: [O, C, window...], or [C, O, window...] of a
// transposed convolution; C on the same partitions as in x.
typedef struct block {
  const ibx_image *x;
  const ibx_view *w;
  int64_t from, to; // output channels
} block;

static bool dense_terms(const ibx_conv *conv, const block *b,
                        ibx_terms *terms) {
  ibx_image taps;
  ibx_contraction *parts;
  uint8_t in = conv->is_transposed ? 0 : 1;
  size_t count =
      ibx_lower_contractions(conv->lower->machine, b->w, in, &b->x->view, 1,
                             conv->lower->arena, &parts);
  // The channels walk partitions; taps and outputs have one step each.
  ibx_view w = *b->w;
  w.dim[0] = b->w->dim[1 - in];
  if (count == 0 || !ibx_image_make(&w, &taps)) {
    return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                          "the operands of a convolution do not meet on "
                          "partitions");
  }
  for (size_t i = 0; i < count; i++) {
    for (int64_t t = 0; t < conv->taps; t++) {
      int64_t tap[IBX_SPATIAL];
      ibx_conv_tap(conv, t, tap);
      ibx_term term = {
          .part = parts[i], .stationary = b->w, .column_step = taps.step[0]};
      if (!ibx_conv_shift(conv, b->x, tap, &term)) continue;
      for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
        term.part.stationary_offset += tap[d] * taps.step[d + 1];
      }
      ibx_terms_add(terms, conv->lower->arena, term);
    }
  }
  return true;
}

static bool dense_phase(void *user, const ibx_conv *conv) {
  const block *b = user;
  ibx_sum sum = ibx_conv_sum(conv, b->x);
  sum.channel = b->from;
  return dense_terms(conv, b, &sum.terms) &&
         ibx_sum_blocks(&sum, b->from, b->to);
}

static int64_t free_of(const ibx_dim *dim) {
  int64_t size = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep == 0) size *= dim->atom[a].size;
  }
  return size;
}

// Group `group` with constant weights: packed like the channels of x and loaded
// in cuts along O, so that the first products start early.
static bool dense_constant(const ibx_conv *conv, const ibx_image *x,
                           int64_t group) {
  ibx_lower *lower = conv->lower;
  uint32_t value = conv->node->operand[1];
  const ibx_dim *like = &x->view.dim[1];
  ibx_dtype dtype = x->view.dtype;
  int64_t from = group * conv->out, to = from + conv->out;
  int64_t tile = ibx_sum_channels(conv->dst);
  int64_t bytes = free_of(like) * conv->taps * (int64_t)ibx_dtype_bytes(dtype);
  int64_t cut = CUT_BYTES / bytes / tile * tile;
  if (cut < tile) cut = tile;
  if (conv->is_transposed) {
    // All outputs at once: a cut along C selects the group.
    ibx_view w;
    block b = {.x = x, .w = &w, .from = from, .to = to};
    return ibx_lower_constant_like(lower, value, 0, like, dtype, 0,
                                   group * conv->in, conv->in, &w) &&
           ibx_conv_phases(conv, dense_phase, &b);
  }
  while (from < to) {
    int64_t end = (from / tile) * tile + cut;
    if (end > to) end = to;
    ibx_view w;
    block b = {.x = x, .w = &w, .from = from, .to = end};
    if (!ibx_lower_constant_like(lower, value, 1, like, dtype, 0, from,
                                 end - from, &w) ||
        !dense_phase(&b, conv)) {
      return false;
    }
    from = end;
  }
  return true;
}

static bool meet(const ibx_conv *conv, const ibx_image *x, const ibx_view *w) {
  ibx_contraction *parts;
  uint8_t in = conv->is_transposed ? 0 : 1;
  return ibx_lower_contractions(conv->lower->machine, w, in, &x->view, 1,
                                conv->lower->arena, &parts) > 0;
}

// Weights that are computed: their channels go to the partitions in order. Where
// those of x lie otherwise, x is moved.
static bool dense_computed(const ibx_conv *conv) {
  ibx_lower *lower = conv->lower;
  ibx_image x;
  ibx_view w;
  uint32_t value = conv->node->operand[1];
  ibx_dtype dtype = ibx_conv_dtype(conv->x.dtype);
  ibx_layout layout = {.dims = {conv->is_transposed ? 0 : 1}, .count = 1};
  if (!ibx_image_get(lower, conv->node->operand[0], dtype, &x) ||
      !ibx_lower_in_layout(lower, value, &layout, &w)) {
    return false;
  }
  if (w.dtype != dtype) {
    ibx_type type = conv->w;
    ibx_view copy;
    type.dtype = dtype;
    if (!ibx_lower_tensor(lower, &type, &layout, "weights", &copy) ||
        !ibx_lower_move(lower, &copy, &w)) {
      return false;
    }
    w = copy;
  }
  if (!meet(conv, &x, &w) &&
      !ibx_image_straighten(lower, conv->node->operand[0], &x)) {
    return false;
  }
  block b = {.x = &x, .w = &w, .to = conv->out};
  return ibx_conv_phases(conv, dense_phase, &b);
}

static bool dense(const ibx_conv *conv) {
  ibx_image x;
  bool done = false;
  if (!ibx_lower_is_constant(conv->lower, conv->node->operand[1])) {
    return dense_computed(conv);
  }
  if (!conv->is_transposed && !ibx_conv_join(conv, &done)) return false;
  if (done) return true;
  return ibx_image_get(conv->lower, conv->node->operand[0],
                       ibx_conv_dtype(conv->x.dtype), &x) &&
         dense_constant(conv, &x, 0);
}

// ---- Groups one by one

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
    run =
        ibx_at_most(size - c, ibx_at_most(tile - (from + c) % tile,
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
  if (conv->out % 32 != 0) {
    return ibx_lower_fail(conv->lower, IBX_UNSUPPORTED,
                          "a convolution in %lld groups of %lld channels that "
                          "make %lld each; groups that share tiles of 128 "
                          "channels, or make multiples of 32, are supported",
                          (long long)conv->groups, (long long)conv->in,
                          (long long)conv->out);
  }
  for (int64_t g = 0; g < conv->groups; g++) {
    ibx_image image;
    if (!group_image(conv, &x->view, g * conv->in, conv->in, &image)) {
      return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                            "the channels of a group are no view");
    }
    if (!dense_constant(conv, &image, g)) return false;
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

static bool lower_any(const ibx_conv *conv) {
  return conv->groups == 1 ? dense(conv) : grouped(conv);
}

// Phases of a transposed convolution write every stride-th output, which an
// operand that varies along them does not fit: the chain follows then.
static bool chain_later(const ibx_conv *conv) {
  ibx_lower *lower = conv->lower;
  ibx_chain none = {.bias = IBX_NO_VALUE};
  ibx_conv plain = *conv;
  ibx_view sums;
  if (!ibx_lower_temp(lower, conv->dst, conv->y.dtype, &sums)) return false;
  none.whole = sums;
  plain.chain = &none;
  plain.dst = &sums;
  return lower_any(&plain) &&
         ibx_chain_apply_sliced(lower, conv->chain, conv->dst, &sums);
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
                   .groups = node->params.groups,
                   .is_transposed = node->op == IBX_TENSOR_conv_transpose};
  if (conv.x.rank > IBX_SPATIAL + 2) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "a convolution over %d spatial dimensions; 1 to %d "
                          "are supported",
                          conv.x.rank - 2, IBX_SPATIAL);
  }
  conv.in = conv.x.dims[1] / conv.groups;
  conv.out = conv.y.dims[1] / conv.groups;
  for (uint8_t d = 0; d < IBX_SPATIAL; d++) {
    conv.window[d] =
        ibx_window_get(&node->params, &conv.x, &conv.y, &conv.w.dims[2], d);
    conv.taps *= conv.window[d].kernel;
  }
  if (conv.is_transposed && !ibx_chain_repeats(chain, 2)) {
    return chain_later(&conv);
  }
  return lower_any(&conv);
}
