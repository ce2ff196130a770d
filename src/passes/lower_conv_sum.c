// SPDX-License-Identifier: Apache-2.0
//
// Sums of products over images. Comes in: terms, each with the outputs that it
// reaches. Goes out, tile by tile: the products of all terms that reach the
// tile, accumulated in one PSUM bank, and the chain while it is evacuated.
//
//   output tile          term of the upper left tap, padding 1
//   . . . . . .          + + + + + +        does not reach row 0, column 0:
//   . . . . . .          + . . . . .        accumulates on the others only
//   . . . . . .          + . . . . .
//
// The first product of a bank writes all of it, because accumulating on what no
// product has written is undefined (hardware.md 2.3): a term that reaches the
// whole tile goes first, and where there is none a product with zeros does.

#include "passes/lower_conv.h"

#include <string.h>

enum { FIRST_TERMS = 16, MOST_STEP = 32767 };

void ibx_terms_add(ibx_terms *terms, ibx_arena *arena, ibx_term term) {
  if (terms->count == terms->room) {
    size_t room = terms->room ? terms->room * 2 : FIRST_TERMS;
    ibx_term *at = IBX_ARENA_ARRAY(arena, room, ibx_term);
    if (terms->count) memcpy(at, terms->at, terms->count * sizeof(ibx_term));
    terms->at = at;
    terms->room = room;
  }
  terms->at[terms->count++] = term;
}

int64_t ibx_sum_channels(const ibx_view *dst) {
  const ibx_dim *dim = &dst->dim[1];
  int64_t tile = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep != 0) tile *= dim->atom[a].size;
  }
  return tile < dim->size ? tile : dim->size;
}

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void ibx_sum_tile(ibx_sum *sum) {
  int64_t room = sum->lower->machine->moving_max;
  int axes = 0;
  bool open = true;
  for (int d = IBX_IMAGE_DIMS - 1; d >= 0; d--) {
    sum->tile[d] = 1;
    sum->region[d] = (ibx_range){.end = sum->out[d]};
    // An instruction walks three free dimensions.
    if (!open || axes == 3 || sum->step[d] > MOST_STEP) {
      open = open && sum->out[d] == 1;
      continue;
    }
    int64_t count = ceil_div(sum->out[d], room);
    sum->tile[d] = ceil_div(sum->out[d], count);
    open = sum->tile[d] == sum->out[d];
    room /= sum->tile[d];
    if (sum->tile[d] > 1) axes++;
  }
}

// A part of the result: one bank. With slots, `columns` is more than the
// channels: those of all slots lie on the PSUM partitions.
typedef struct tile {
  ibx_range at[IBX_IMAGE_DIMS];
  ibx_view bank;
  int64_t bank_step[IBX_IMAGE_DIMS];
  int64_t channel, channels, columns;
  bool started;
} tile;

static bool cut_reach(const ibx_term *term, const tile *to, ibx_range *out) {
  for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
    out[d] = ibx_range_cut(to->at[d], term->reach[d]);
    if (out[d].first == out[d].end) return false;
  }
  return true;
}

static bool covers(const ibx_term *term, const tile *to) {
  ibx_range part[IBX_IMAGE_DIMS];
  if (!cut_reach(term, to, part)) return false;
  return memcmp(part, to->at, sizeof(part)) == 0;
}

// Walks of the rectangle over the bank and the moving operand. Tiles have at
// most three dimensions of more than one element.
static void fill_walks(const ibx_sum *sum, const tile *to,
                       const ibx_range *part, ibx_walk *bank,
                       ibx_walk *moving) {
  *bank = (ibx_walk){.num = {1, 1, 1}};
  *moving = *bank;
  int axis = 2;
  for (int d = IBX_IMAGE_DIMS - 1; d >= 0; d--) {
    int64_t size = part[d].end - part[d].first;
    if (size == 1) continue;
    bank->num[axis] = moving->num[axis] = (uint32_t)size;
    bank->step[axis] = (int32_t)to->bank_step[d];
    moving->step[axis] = (int32_t)sum->step[d];
    axis--;
  }
}

static void multiply(const ibx_sum *sum, tile *to, const ibx_term *term,
                     const ibx_range *reach, bool last) {
  ibx_walk bank_walk, moving_walk;
  fill_walks(sum, to, reach, &bank_walk, &moving_walk);
  ibx_walk columns = {.num = {1, 1, (uint32_t)to->columns},
                      .step = {0, 0, (int32_t)term->column_step}};
  ibx_contraction part = term->part;
  part.stationary_offset += (to->channel - sum->channel) * term->column_step;
  int64_t bank_offset = 0;
  for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
    part.moving_offset += reach[d].first * sum->step[d];
    bank_offset += (reach[d].first - to->at[d].first) * to->bank_step[d];
  }
  ibx_lower_product(sum->lower, term->stationary, &columns,
                    (int32_t)to->columns, &sum->moving, &moving_walk, &to->bank,
                    bank_offset, &bank_walk, &part, !to->started, last);
  to->started = true;
}

// Zeros over the whole tile: a product of one row of zeros with itself.
static bool start_with_zeros(ibx_sum *sum, tile *to, bool last) {
  ibx_lower *lower = sum->lower;
  if (!sum->has_zeros) {
    ibx_type type = {
        .dims = {1, IBX_PARTITIONS}, .rank = 2, .dtype = sum->moving.dtype};
    ibx_layout layout = {.dims = {0}, .count = 1};
    if (!ibx_lower_tensor(lower, &type, &layout, "zeros", &sum->zeros) ||
        !ibx_lower_fill(lower, &sum->zeros, 0.0f)) {
      return false;
    }
    sum->has_zeros = true;
  }
  ibx_walk bank_walk, moving_walk;
  fill_walks(sum, to, to->at, &bank_walk, &moving_walk);
  memset(moving_walk.step, 0, sizeof(moving_walk.step));
  ibx_walk columns = {.num = {1, 1, (uint32_t)to->columns}, .step = {0, 0, 1}};
  ibx_contraction part = {.partitions = 1};
  ibx_lower_product(lower, &sum->zeros, &columns, (int32_t)to->columns,
                    &sum->zeros, &moving_walk, &to->bank, 0, &bank_walk, &part,
                    true, last);
  to->started = true;
  return true;
}

static bool all_terms(ibx_sum *sum, tile *to) {
  const ibx_terms *terms = &sum->terms;
  ibx_range reach[IBX_IMAGE_DIMS];
  size_t first = terms->count, left = 0;
  for (size_t i = terms->count; i > 0; i--) {
    if (covers(&terms->at[i - 1], to)) first = i - 1;
    if (cut_reach(&terms->at[i - 1], to, reach)) left++;
  }
  if (first == terms->count) {
    if (!start_with_zeros(sum, to, left == 0)) return false;
  } else {
    multiply(sum, to, &terms->at[first], to->at, --left == 0);
  }
  for (size_t i = 0; i < terms->count; i++) {
    if (i == first || !cut_reach(&terms->at[i], to, reach)) continue;
    multiply(sum, to, &terms->at[i], reach, --left == 0);
  }
  return true;
}

static bool make_bank(const ibx_sum *sum, tile *to) {
  ibx_type type = {.rank = sum->dst->rank, .dtype = IBX_DTYPE_F32};
  for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
    int at = ibx_image_dim(type.rank, d);
    if (at >= 0) type.dims[at] = to->at[d].end - to->at[d].first;
  }
  type.dims[1] = to->columns;
  ibx_image image;
  if (!ibx_lower_bank(sum->lower, &type, 1, &to->bank) ||
      !ibx_image_make(&to->bank, &image)) {
    return ibx_lower_fail(sum->lower, IBX_INTERNAL,
                          "a tile of a convolution does not fit a bank");
  }
  memcpy(to->bank_step, image.step, sizeof(to->bank_step));
  return true;
}

// The outputs of one slot go through the chain to dst; rows beyond its last one
// are left in the bank.
static bool evacuate(const ibx_sum *sum, const tile *to, int64_t slot) {
  int64_t starts[IBX_MAX_RANK], sizes[IBX_MAX_RANK], from[IBX_MAX_RANK] = {0};
  uint8_t rank = sum->dst->rank;
  int row = ibx_image_dim(rank, 2);
  ibx_view target, source;
  for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
    int at = ibx_image_dim(rank, d);
    if (at < 0) continue;
    starts[at] = to->at[d].first;
    sizes[at] = to->at[d].end - to->at[d].first;
  }
  starts[1] = to->channel;
  sizes[1] = to->channels;
  from[1] = slot * sum->slot_pitch;
  if (slot > 0) {
    starts[row] += slot * sum->slot_rows;
    int64_t left = sum->dst->dim[row].size - starts[row];
    if (left <= 0) return true;
    if (sizes[row] > left) sizes[row] = left;
  }
  if (!ibx_view_slice(&to->bank, from, sizes, NULL, &source) ||
      !ibx_view_slice(sum->dst, starts, sizes, NULL, &target)) {
    return ibx_lower_fail(sum->lower, IBX_INTERNAL,
                          "a tile does not fit the layout of the result");
  }
  return ibx_chain_apply(sum->lower, sum->chain, &target, &source, starts);
}

static bool one_tile(ibx_sum *sum, tile *to) {
  if (!make_bank(sum, to) || !all_terms(sum, to)) return false;
  for (int64_t slot = 0; slot == 0 || slot < sum->slots; slot++) {
    if (!evacuate(sum, to, slot)) return false;
  }
  return true;
}

static bool walk_tiles(ibx_sum *sum, uint8_t d, tile *to) {
  if (d == IBX_IMAGE_DIMS) {
    to->started = false;
    return one_tile(sum, to);
  }
  const ibx_range *region = &sum->region[d];
  for (int64_t at = region->first; at < region->end; at += sum->tile[d]) {
    to->at[d] = ibx_range_cut(*region, (ibx_range){at, at + sum->tile[d]});
    if (!walk_tiles(sum, (uint8_t)(d + 1), to)) return false;
  }
  return true;
}

bool ibx_sum_block(ibx_sum *sum, int64_t channel, int64_t channels) {
  tile to = {.channel = channel, .channels = channels, .columns = channels};
  if (sum->slots > 0) {
    to.columns = (sum->slots - 1) * sum->slot_pitch + channels;
  }
  return walk_tiles(sum, 0, &to);
}

bool ibx_sum_blocks(ibx_sum *sum, int64_t from, int64_t to) {
  int64_t block = ibx_sum_channels(sum->dst);
  for (int64_t o = from; o < to;) {
    int64_t end = (o / block + 1) * block;
    if (end > to) end = to;
    if (!ibx_sum_block(sum, o, end - o)) return false;
    o = end;
  }
  return true;
}
