// SPDX-License-Identifier: Apache-2.0
//
// Convolutions in groups on the tensor engine. Comes in: weights packed so that a
// partition holds those of its own channel; goes out, for each tile of channels,
// a block-diagonal stationary operand for each tap, spread on chip:
//
//   weights [channel, out]    mask [channel, group]   stationary
//   a b                       1 0                     a b 0 0
//   c d                       1 0                     c d 0 0
//   e f                       0 1                     0 0 e f
//   g h                       0 1                     0 0 g h
//
// Zeros cost no bytes of HBM that way. A depthwise convolution is the case of
// one channel in and out: a diagonal for each tap, which beats Vector by the
// ratio of the clocks wherever a tile has more columns than the array has rows.

#include "passes/lower_conv.h"

// How much longer than GpSimd's work the products must take for it to stay
// hidden: MobileNetV2 loses 9 % in fp32 at 2.5, and gains nothing at 1.
enum { GPSIMD_MARGIN = 4 };

// A run of channels on the partitions.
typedef struct channel_part {
  const ibx_conv *conv;
  const ibx_image *x;
  ibx_contraction at;
  int64_t channel, groups; // first channel, whole groups
  int64_t in, out;         // channels of a group
  bool by_gpsimd;          // spreads depthwise weights
  ibx_view mask;           // [group, channel, 1, group, 1]
  ibx_view weights;        // all of them
  ibx_view stationary;     // [group, channel, tap, group, out]
} channel_part;

static ibx_dim free_dim(int64_t size, int64_t step) {
  return (ibx_dim){
      .atom[0] = {.size = size, .step = step}, .size = size, .count = 1};
}

// [group, channel, tap, group, out] in a buffer from the part's partition on.
static ibx_view spread_view(const channel_part *part, uint32_t buffer,
                            ibx_dtype dtype, int64_t tap, int64_t group,
                            int64_t out) {
  ibx_view view = {.buffer = buffer,
                   .dtype = dtype,
                   .rank = 5,
                   .partition = part->at.moving_partition};
  view.dim[0] = free_dim(part->groups, 0);
  view.dim[0].atom[0].pstep = (int32_t)part->in;
  view.dim[1] = free_dim(part->in, 0);
  view.dim[1].atom[0].pstep = 1;
  view.dim[2] = free_dim(part->conv->taps, tap);
  view.dim[3] = free_dim(part->groups, group);
  view.dim[4] = free_dim(part->out, out);
  return view;
}

static uint32_t spread_buffer(const channel_part *part, int64_t elements,
                              ibx_dtype dtype, const char *name) {
  return ibx_lower_buffer(part->conv->lower, IBX_SPACE_SBUF,
                          part->at.moving_partition + part->at.partitions,
                          elements * (int64_t)ibx_dtype_bytes(dtype), name);
}

// 1 where the column is the row's own channel: i - p from iota is 0.
static bool make_identity(const channel_part *part, ibx_dtype dtype,
                          ibx_view *out) {
  ibx_lower *lower = part->conv->lower;
  int32_t count = part->at.partitions;
  ibx_view index = {.dtype = IBX_DTYPE_I32,
                    .rank = 2,
                    .partition = part->at.moving_partition};
  index.dim[0] = free_dim(count, 0);
  index.dim[0].atom[0].pstep = 1;
  index.dim[1] = free_dim(count, 1);
  *out = index;
  index.buffer = spread_buffer(part, count, IBX_DTYPE_I32, "index");
  out->dtype = dtype;
  out->buffer = spread_buffer(part, count, dtype, "identity");
  ibx_insn insn = ibx_insn_make(IBX_OP_iota);
  insn.imm[1] = -1.0f;
  const ibx_view *slots[IBX_OPERANDS] = {&index};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_GPSIMD, slots,
                        IBX_PARTITIONS) &&
         ibx_lower_scalars(lower, out, &index, IBX_ALU_EQUAL, 0.0f,
                           IBX_ALU_BYPASS, 0.0f);
}

// 1 where the column is the row's own group: the identity, summed over the
// channels of each group.
static bool make_mask(channel_part *part, ibx_dtype dtype) {
  ibx_lower *lower = part->conv->lower;
  ibx_view identity;
  if (!make_identity(part, dtype, &identity)) return false;
  if (part->in == 1) {
    part->mask = spread_view(part, identity.buffer, dtype, 0, 1, 0);
    return true;
  }
  uint32_t buffer = spread_buffer(part, part->groups, dtype, "mask");
  ibx_view from = identity, to = identity;
  from.rank = to.rank = 3;
  from.dim[1] = free_dim(part->groups, part->in);
  from.dim[2] = free_dim(part->in, 1);
  to.buffer = buffer;
  to.dim[1] = free_dim(part->groups, 1);
  to.dim[2] = free_dim(part->in, 0);
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_reduce);
  insn.op[0] = IBX_ALU_ADD;
  const ibx_view *slots[IBX_OPERANDS] = {&to, &from};
  part->mask = spread_view(part, buffer, dtype, 0, 1, 0);
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_VECTOR, slots, 2048);
}

// The weights of this part: [group, channel, tap, (group), out].
static bool own_weights(const channel_part *part, ibx_view *out) {
  const ibx_view *all = &part->weights;
  bool by_channel = part->conv->is_transposed;
  int64_t first = by_channel ? part->channel : part->channel / part->in;
  ibx_ints split = {.at = {part->conv->groups, part->out}, .len = 2};
  ibx_view outputs = *all, kept;
  int64_t starts[2] = {first, 0}, sizes[2] = {part->groups, part->out};
  if (by_channel) {
    sizes[0] *= part->in;
    outputs.rank = 2;
  } else {
    outputs.rank = 1;
    if (!ibx_view_reshape(&outputs, &split, &outputs)) outputs.rank = 0;
  }
  if (outputs.rank == 0 ||
      !ibx_view_slice(&outputs, starts, sizes, NULL, &kept)) {
    return ibx_lower_fail(part->conv->lower, IBX_INTERNAL,
                          "the weights of a group are no view");
  }
  *out = spread_view(part, all->buffer, all->dtype, 1, 0, 0);
  out->offset = kept.offset;
  out->partition = kept.partition;
  out->dim[4] = kept.dim[1];
  return true;
}

// All taps at once: the mask times the weights, both repeated.
static bool spread_together(const channel_part *part, const ibx_view *weights,
                            ibx_engine engine) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_tensor);
  insn.op[0] = IBX_ALU_MULTIPLY;
  const ibx_view *slots[IBX_OPERANDS] = {&part->stationary, weights,
                                         &part->mask};
  return ibx_lower_insn(part->conv->lower, &insn, engine, slots, 4096);
}

// One diagonal a tap: the identity times the weights as per-partition scalars,
// which Vector and Scalar can share.
static bool spread_scalars(const channel_part *part, const ibx_view *weights) {
  int64_t starts[5] = {0};
  int64_t sizes[5] = {part->groups, part->in, 1, part->groups, part->out};
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_scalar);
  insn.op[0] = IBX_ALU_MULTIPLY;
  insn.op[1] = IBX_ALU_BYPASS;
  for (int64_t tap = 0; tap < part->conv->taps; tap++) {
    ibx_view to, mask, column;
    starts[2] = tap;
    if (!ibx_view_slice(&part->stationary, starts, sizes, NULL, &to) ||
        !ibx_view_slice(&part->mask, starts, sizes, NULL, &mask) ||
        !ibx_view_slice(weights, starts, sizes, NULL, &column)) {
      return false;
    }
    const ibx_view *slots[IBX_OPERANDS] = {&to, &mask, &column};
    if (!ibx_lower_insn(part->conv->lower, &insn, IBX_ENGINE_VECTOR, slots,
                        2048)) {
      return false;
    }
  }
  return true;
}

// Whether GpSimd, which has nothing else to do in a network of convolutions but
// is slow, spreads the diagonals of `rows` channels well before they are used.
static bool gpsimd_keeps_up(const ibx_conv *conv, int64_t rows,
                            ibx_dtype dtype) {
  const ibx_machine *machine = conv->lower->machine;
  int64_t columns = conv->x.dims[0];
  for (int d = 0; d < IBX_SPATIAL; d++)
    columns *= conv->window[d].out;
  if (dtype == IBX_DTYPE_F32) columns *= machine->fp32_passes;
  double tensor = (double)(conv->taps * columns) / machine->tensor_mhz;
  double gpsimd =
      (double)(machine->gpsimd_start + conv->taps * rows) / machine->gpsimd_mhz;
  return gpsimd * (double)GPSIMD_MARGIN <= tensor;
}

static bool spread_depthwise(const channel_part *part,
                             const ibx_view *weights) {
  return part->by_gpsimd ? spread_together(part, weights, IBX_ENGINE_GPSIMD)
                         : spread_scalars(part, weights);
}

static bool make_stationary(channel_part *part, ibx_dtype dtype) {
  int64_t columns = part->groups * part->out;
  uint32_t buffer =
      spread_buffer(part, part->conv->taps * columns, dtype, "diagonal");
  ibx_view weights;
  part->stationary = spread_view(part, buffer, dtype, columns, part->out, 1);
  if (!own_weights(part, &weights)) return false;
  if (part->in == 1 && part->out == 1) return spread_depthwise(part, &weights);
  return spread_together(part, &weights, IBX_ENGINE_VECTOR);
}

static bool multiply_phase(void *user, const ibx_conv *conv) {
  const channel_part *part = user;
  int64_t columns = part->groups * part->out;
  ibx_sum sum = ibx_conv_sum(conv, part->x);
  for (int64_t t = 0; t < conv->taps; t++) {
    int64_t tap[IBX_SPATIAL];
    ibx_conv_tap(conv, t, tap);
    ibx_term term = {
        .part = part->at, .stationary = &part->stationary, .column_step = 1};
    term.part.stationary_offset = t * columns;
    if (!ibx_conv_shift(conv, part->x, tap, &term)) continue;
    ibx_terms_add(&sum.terms, conv->lower->arena, term);
  }
  sum.channel = part->channel / part->in * part->out;
  return ibx_sum_blocks(&sum, sum.channel, sum.channel + columns);
}

// ---- Depthwise convolutions of few channels: folded

// The columns of weights of all slots, each next to its copy of the channels.
static bool repeat_weights(const channel_part *part, const ibx_patches *patches,
                           const channel_part *all, ibx_view *out) {
  ibx_lower *lower = part->conv->lower;
  int64_t taps = part->conv->taps;
  ibx_view own;
  if (!own_weights(part, &own)) return false;
  uint32_t buffer = spread_buffer(all, taps, own.dtype, "columns");
  *out = spread_view(all, buffer, own.dtype, 1, 0, 0);
  ibx_view flat = *out;
  own.rank = flat.rank = 3;
  bool has_gaps = patches->slots.pitch != patches->channels;
  if (has_gaps && !ibx_lower_fill(lower, &flat, 0.0f)) return false;
  for (int64_t s = 0; s < patches->slots.count[0]; s++) {
    ibx_view to = own;
    to.buffer = buffer;
    to.offset = 0;
    to.partition = (int32_t)(s * patches->slots.pitch);
    to.dim[2] = flat.dim[2];
    if (!ibx_lower_move(lower, &to, &own)) return false;
  }
  return true;
}

// Bands of rows beside each other, where that pays: `*out_pays`.
static bool fold_part(const channel_part *part, bool *out_pays) {
  const ibx_conv *conv = part->conv;
  ibx_patches patches = {.conv = conv,
                         .channels = part->at.partitions,
                         .dtype = part->x->view.dtype,
                         .from = part->channel,
                         .to = part->channel + part->at.partitions};
  *out_pays = false;
  if (part->at.partitions > IBX_PARTITIONS / 2 ||
      !ibx_patches_choose(&patches, IBX_SLOTS_FOLD, part->at.partitions)) {
    return true;
  }
  *out_pays = true;
  ibx_view image = part->x->view, columns;
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < image.rank; d++)
    sizes[d] = image.dim[d].size;
  starts[1] = part->channel;
  sizes[1] = part->at.partitions;
  if (!ibx_view_slice(&image, starts, sizes, NULL, &image) ||
      !ibx_image_make(&image, &patches.x)) {
    return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                          "a part of the channels is no view");
  }
  int64_t rows = patches.slots.count[0] * patches.slots.pitch;
  channel_part all = {.conv = conv,
                      .x = &patches.x,
                      .at = {.partitions = (int32_t)rows},
                      .groups = rows,
                      .in = 1,
                      .out = 1,
                      .by_gpsimd = part->by_gpsimd};
  if (!repeat_weights(part, &patches, &all, &columns) ||
      !make_mask(&all, patches.dtype)) {
    return false;
  }
  uint32_t buffer =
      spread_buffer(&all, conv->taps * rows, patches.dtype, "diagonal");
  all.stationary = spread_view(&all, buffer, patches.dtype, rows, 1, 1);
  if (!spread_depthwise(&all, &columns)) return false;
  patches.stationary = &all.stationary;
  patches.left_step[0] = rows * conv->window[2].kernel;
  patches.left_step[1] = rows;
  patches.column_step = 1;
  return ibx_patches_run(&patches);
}

// ---- All parts

// The mask of the first and largest part serves all that start at the same
// partition: `*masked`.
static bool whole_part(channel_part *part, int32_t *masked) {
  ibx_dtype dtype = part->x->view.dtype;
  if (*masked != part->at.moving_partition) {
    if (!make_mask(part, dtype)) return false;
    *masked = part->at.moving_partition;
  } else {
    part->mask = spread_view(part, part->mask.buffer, dtype, 0, 1, 0);
  }
  return make_stationary(part, dtype) &&
         ibx_conv_phases(part->conv, multiply_phase, part);
}

// Weights that are the same for all taps, and packed so, once for each tap.
static bool stretch_taps(const ibx_conv *conv, ibx_view *weights) {
  ibx_view like = *weights, all;
  bool is_short = false;
  for (uint8_t d = 2; d < like.rank; d++) {
    ibx_atom *atom = &like.dim[d].atom[0];
    if (atom->size == 1 || atom->step != 0) continue;
    atom->step = 1;
    is_short = true;
  }
  if (!is_short) return true;
  if (!ibx_lower_temp(conv->lower, &like, weights->dtype, &all) ||
      !ibx_lower_move(conv->lower, &all, weights)) {
    return false;
  }
  *weights = all;
  return true;
}

// The weights with each channel on the partition of that channel of x.
static bool load_weights(const ibx_conv *conv, const ibx_image *x,
                         ibx_dtype dtype, ibx_view *out) {
  ibx_view channels = x->view, split;
  ibx_ints shape = {.at = {conv->groups, conv->in}, .len = 2};
  ibx_view want = {.dtype = dtype, .rank = conv->w.rank};
  for (uint8_t d = 2; d < want.rank; d++) {
    want.dim[d] = free_dim(conv->w.dims[d], 0);
  }
  want.dim[0] = x->view.dim[1];
  want.dim[1] = free_dim(conv->out, 0);
  if (!conv->is_transposed) {
    channels.rank = 1;
    channels.dim[0] = x->view.dim[1];
    if (!ibx_view_reshape(&channels, &shape, &split)) return false;
    want.dim[0] = split.dim[0];
    want.dim[1] = split.dim[1];
    want.dim[0].size = conv->w.dims[0];
    if (want.dim[0].count == IBX_ATOMS) return false;
    want.dim[0].atom[want.dim[0].count++] = (ibx_atom){.size = conv->out};
  }
  return ibx_lower_constant_as(conv->lower, conv->node->operand[1], &want, 0, 0,
                               0, out) &&
         stretch_taps(conv, out);
}

// Whether every run of channels holds whole groups, whose outputs start at
// legal partitions of dst.
static bool parts_fit(const ibx_conv *conv, const ibx_contraction *parts,
                      size_t count) {
  int64_t in = conv->in, out = conv->out;
  bool one_tile = ibx_sum_channels(conv->dst) == conv->y.dims[1];
  int64_t channel = 0;
  for (size_t i = 0; i < count; i++) {
    if (parts[i].partitions % in != 0) return false;
    bool legal = one_tile ? i == 0 : channel / in * out % 32 == 0;
    if (!legal) return false;
    channel += parts[i].partitions;
  }
  return channel == conv->x.dims[1];
}

// The weights, of the dtype of x, or fp32 where they become scalars.
static bool get_weights(channel_part *part) {
  ibx_lower *lower = part->conv->lower;
  ibx_view packed;
  if (!load_weights(part->conv, part->x, part->x->view.dtype, &packed)) {
    return ibx_lower_fail(lower, IBX_INTERNAL,
                          "the weights of groups cannot be packed");
  }
  part->weights = packed;
  bool is_depthwise = part->in == 1 && part->out == 1;
  if (!is_depthwise || part->by_gpsimd || packed.dtype == IBX_DTYPE_F32) {
    return true;
  }
  return ibx_lower_temp(lower, &packed, IBX_DTYPE_F32, &part->weights) &&
         ibx_lower_move(lower, &part->weights, &packed);
}

bool ibx_conv_groups(const ibx_conv *conv, const ibx_image *x, bool *out_fits) {
  ibx_lower *lower = conv->lower;
  ibx_contraction *parts;
  size_t count = ibx_lower_contractions(lower->machine, &x->view, 1, &x->view,
                                        1, lower->arena, &parts);
  *out_fits = ibx_lower_is_constant(lower, conv->node->operand[1]) &&
              parts_fit(conv, parts, count);
  if (!*out_fits) return true;
  channel_part part = {.conv = conv, .x = x, .in = conv->in, .out = conv->out};
  bool may_fold = part.in == 1 && part.out == 1 && !conv->is_transposed;
  part.by_gpsimd = gpsimd_keeps_up(conv, IBX_PARTITIONS, x->view.dtype);
  if (!get_weights(&part)) return false;
  int32_t masked = -1;
  for (size_t i = 0; i < count; i++) {
    bool done = false;
    part.at = parts[i];
    part.groups = part.at.partitions / part.in;
    if (may_fold && !fold_part(&part, &done)) return false;
    if (!done && !whole_part(&part, &masked)) return false;
    part.channel += part.at.partitions;
  }
  return true;
}
