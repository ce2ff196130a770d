// SPDX-License-Identifier: Apache-2.0
//
// Convolutions of few channels. A 3-channel 7 x 7 window as 49 products of three
// rows each would waste the array, so taps join the channels on the partitions:
// comes in the image; goes out, band by band of output rows, a patch that holds
// the image once for each joined tap, shifted by it:
//
//   partition (jy, jx, c), row r, column q:
//     x[c, r * row_step + jy * dilation - pad, q + jx * dilation - pad]
//
// The taps that are left are access patterns on the patch, as always. Padding is
// stored here, as zeros, because every partition clips differently.
//
// An image in HBM is first staged with its rows on the partitions, where it is
// read once; patches come from there by DMA. One in SBUF is copied by Vector
// where partitions allow it, else by DMA.

#include "passes/lower_conv.h"

#include <string.h>

enum {
  BAND_BYTES = 16384, // of a patch in one partition
  STAGE_ROWS = 8,
  MOST_DMA_STEP = 127,
  START_NS = 2600 // of two DMAs behind each other (hardware.md 4.1)
};

// One band of output rows.
typedef struct band {
  ibx_range batch, out;
  int64_t first, rows; // rows of the patch; `first` of input, may be negative
  ibx_view patch;      // [partitions, N, rows, columns]
} band;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- Which split

static int64_t patch_columns(const ibx_window *w, const ibx_split *taps) {
  return (w->out - 1) * w->stride + 1 +
         (taps->left[1] - 1) * taps->joined[1] * w->dilation;
}

// Rows of a patch for `out` rows of output. Where all taps of height are joined
// only every stride-th row is needed.
static int64_t patch_rows(const ibx_window *w, const ibx_split *taps,
                          int64_t out) {
  if (taps->left[0] == 1) return out;
  return (out - 1) * w->stride + 1 +
         (taps->left[0] - 1) * taps->joined[0] * w->dilation;
}

typedef struct price {
  double tensor, copy; // ns
} price;

static double tensor_ns(const ibx_join *j, double terms) {
  const ibx_conv *conv = j->conv;
  const ibx_machine *machine = conv->lower->machine;
  double columns = (double)conv->x.dims[0] * (double)j->window[0]->out *
                   (double)j->window[1]->out;
  double passes = j->dtype == IBX_DTYPE_F32 ? machine->fp32_passes : 1;
  double blocks =
      (double)ceil_div(conv->w.dims[0], ibx_sum_channels(conv->dst));
  return columns * passes * blocks * terms * 1000.0 / machine->tensor_mhz;
}

static bool copies_by_engine(const ibx_join *j) {
  return !j->is_staged && j->channels % 32 == 0;
}

// All patches of the image.
static double copy_ns(const ibx_join *j, const ibx_split *taps) {
  const ibx_machine *machine = j->conv->lower->machine;
  double joined = (double)(taps->joined[0] * taps->joined[1]);
  double rows = (double)j->conv->x.dims[0] *
                (double)patch_rows(j->window[0], taps, j->window[0]->out);
  double columns = (double)patch_columns(j->window[1], taps);
  double bytes = (double)ibx_dtype_bytes(j->dtype);
  if (copies_by_engine(j)) {
    double rate = bytes == 2 ? machine->vector_fast : 1;
    return joined * rows * columns / rate * 1000.0 / machine->vector_mhz;
  }
  double run = machine->dma_descriptor_ps / 1e3 +
               columns * bytes * 1e3 / machine->dma_mb_per_s;
  return joined * (double)j->channels * rows * run / machine->dma_engines;
}

static double total_ns(price p, double start) {
  double longer = p.tensor > p.copy ? p.tensor : p.copy;
  double shorter = p.tensor > p.copy ? p.copy : p.tensor;
  // Bands overlap but for the first; what the shorter one takes is taken from
  // neighbours.
  return longer + shorter / 4 + start;
}

bool ibx_join_choose(ibx_join *j) {
  const ibx_conv *conv = j->conv;
  const ibx_window *h = &conv->window[1], *w = &conv->window[2];
  if (conv->x.rank > 4) return false;
  j->window[0] = h;
  j->window[1] = w;
  double best = total_ns((price){tensor_ns(j, (double)conv->taps), 0}, 0);
  double start = copies_by_engine(j) ? START_NS / 8.0 : START_NS;
  bool found = false;
  for (int64_t y = 1; y <= h->kernel; y++) {
    for (int64_t x = 1; x <= w->kernel; x++) {
      if (x * y == 1 || x * y * j->channels > IBX_PARTITIONS) continue;
      ibx_split taps = {
          .joined = {y, x},
          .left = {ceil_div(h->kernel, y), ceil_div(w->kernel, x)}};
      price p = {tensor_ns(j, (double)(taps.left[0] * taps.left[1])),
                 copy_ns(j, &taps)};
      double ns = total_ns(p, start);
      if (ns >= best) continue;
      best = ns;
      j->taps = taps;
      found = true;
    }
  }
  if (!found) return false;
  j->columns = patch_columns(w, &j->taps);
  j->row_step = j->taps.left[0] == 1 ? h->stride : 1;
  return true;
}

// ---- Products

ibx_dim ibx_join_tap_dim(const ibx_join *j, int i) {
  ibx_dim dim = {.size = j->window[i]->kernel};
  int64_t step = i == 0 ? j->taps.joined[1] * j->channels : j->channels;
  if (j->taps.left[i] > 1) dim.atom[dim.count++].size = j->taps.left[i];
  dim.atom[dim.count++] =
      (ibx_atom){.size = j->taps.joined[i], .pstep = (int32_t)step};
  return dim;
}

static void make_terms(ibx_join *j, const band *b) {
  const ibx_split *taps = &j->taps;
  ibx_sum *sum = &j->sum;
  sum->moving = b->patch;
  sum->step[0] = b->rows * j->columns;
  sum->step[2] = j->columns * (taps->left[0] == 1 ? 1 : j->window[0]->stride);
  sum->step[3] = j->window[1]->stride;
  sum->terms.count = 0;
  for (int64_t y = 0; y < taps->left[0]; y++) {
    int64_t rest = j->window[0]->kernel - y * taps->joined[0];
    int64_t rows = least(rest, taps->joined[0]) * taps->joined[1];
    for (int64_t x = 0; x < taps->left[1]; x++) {
      ibx_term term = {.stationary = j->stationary,
                       .column_step = j->column_step};
      term.part.partitions = (int32_t)(rows * j->channels);
      term.part.stationary_offset =
          j->stationary->offset + y * j->left_step[0] + x * j->left_step[1];
      term.part.moving_offset =
          y * taps->joined[0] * j->window[0]->dilation * j->columns +
          x * taps->joined[1] * j->window[1]->dilation -
          b->batch.first * sum->step[0] - b->out.first * sum->step[2];
      for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
        term.reach[d] = (ibx_range){.end = sum->out[d]};
      }
      ibx_terms_add(&sum->terms, j->conv->lower->arena, term);
    }
  }
}

// ---- Staging: rows on the partitions, margins of zeros beside them

static bool fill_columns(ibx_lower *lower, const ibx_view *view, uint8_t dim,
                         int64_t from, int64_t to) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  ibx_view part;
  if (from >= to) return true;
  for (uint8_t d = 0; d < view->rank; d++)
    sizes[d] = view->dim[d].size;
  starts[dim] = from;
  sizes[dim] = to - from;
  if (!ibx_view_slice(view, starts, sizes, NULL, &part)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a margin is no view");
  }
  return ibx_lower_fill(lower, &part, 0.0f);
}

static bool stage(ibx_join *j, const ibx_view *x) {
  ibx_lower *lower = j->conv->lower;
  const ibx_window *w = j->window[1];
  ibx_layout layout = {.dims = {2}, .count = 1};
  ibx_type type = j->conv->x;
  type.dtype = j->dtype;
  type.dims[3] = j->columns + (j->taps.joined[1] - 1) * w->dilation;
  if (!ibx_lower_tensor(lower, &type, &layout, "rows", &j->stage)) return false;
  int64_t end = least(w->low + w->in, type.dims[3]);
  if (!fill_columns(lower, &j->stage, 3, 0, w->low) ||
      !fill_columns(lower, &j->stage, 3, end, type.dims[3])) {
    return false;
  }
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < type.rank; d++)
    sizes[d] = type.dims[d];
  ibx_view to, from;
  sizes[3] = end - w->low;
  if (!ibx_view_slice(x, starts, sizes, NULL, &from)) return false;
  starts[3] = w->low;
  return ibx_view_slice(&j->stage, starts, sizes, NULL, &to) &&
         ibx_lower_move(lower, &to, &from);
}

// ---- Patches

// Rows [first, end) of the patch that tap `jy` fills from rows inside of x.
static ibx_range rows_inside(const ibx_join *j, const band *b, int64_t jy) {
  const ibx_window *h = j->window[0];
  ibx_window rows = {.in = h->in,
                     .out = b->rows,
                     .stride = j->row_step,
                     .dilation = 1,
                     .low = -(b->first + jy * h->dilation)};
  return ibx_window_reach(&rows, 0);
}

static int64_t input_row(const ibx_join *j, const band *b, int64_t jy,
                         int64_t row) {
  return b->first + row * j->row_step + jy * j->window[0]->dilation;
}

// One DMA from the stage: rows [rows.first, rows.end) of all patches of jy, all
// of which lie in tile `tile` of the stage.
static void copy_staged(const ibx_join *j, const band *b, int64_t jy, int64_t n,
                        ibx_range rows, int64_t tile) {
  const ibx_view *stage = &j->stage;
  int64_t width = stage->dim[3].size, joined = j->taps.joined[1];
  int64_t row = input_row(j, b, jy, rows.first) - tile * IBX_PARTITIONS;
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  ibx_operand *to = &insn.operand[0], *from = &insn.operand[1];
  size_t bytes = ibx_dtype_bytes(j->dtype);
  insn.num[1] = (uint32_t)joined;
  insn.num[2] = (uint32_t)j->channels;
  insn.num[3] = (uint32_t)(rows.end - rows.first);
  insn.num[4] = (uint32_t)j->columns;
  to->buffer = b->patch.buffer;
  from->buffer = stage->buffer;
  to->dtype = from->dtype = (uint8_t)j->dtype;
  to->partition = (uint8_t)(jy * joined * j->channels);
  to->partition_step[1] = (int8_t)j->channels;
  to->partition_step[2] = 1;
  to->step[3] = (int32_t)j->columns;
  to->step[4] = from->step[4] = 1;
  to->offset =
      (uint64_t)(((n - b->batch.first) * b->rows + rows.first) * j->columns) *
      bytes;
  from->partition = (uint8_t)row;
  from->partition_step[3] = (int8_t)j->row_step;
  from->step[1] = (int32_t)j->window[1]->dilation;
  from->step[2] = (int32_t)width;
  int64_t tile_step = stage->dim[2].count > 1 ? stage->dim[2].atom[0].step : 0;
  from->offset = (uint64_t)(tile * tile_step + n * j->channels * width) * bytes;
  ibx_lower_emit(j->conv->lower, &insn, IBX_ENGINE_SYNC, false);
}

static void patch_staged(const ibx_join *j, const band *b, int64_t jy,
                         int64_t n) {
  ibx_range rows = rows_inside(j, b, jy);
  while (rows.first < rows.end) {
    int64_t at = input_row(j, b, jy, rows.first);
    int64_t tile = at / IBX_PARTITIONS;
    int64_t left = ceil_div((tile + 1) * IBX_PARTITIONS - at, j->row_step);
    ibx_range part = {rows.first, least(rows.end, rows.first + left)};
    copy_staged(j, b, jy, n, part, tile);
    rows.first = part.end;
  }
}

// The part of the patch of tap (jy, jx), and what of x goes there.
static bool patch_views(const ibx_join *j, const band *b, int64_t jy,
                        int64_t jx, ibx_view *to, ibx_view *from) {
  const ibx_window *w = j->window[1];
  ibx_range rows = rows_inside(j, b, jy);
  ibx_window line = {.in = w->in,
                     .out = j->columns,
                     .stride = 1,
                     .dilation = 1,
                     .low = w->low - jx * w->dilation};
  ibx_range columns = ibx_window_reach(&line, 0);
  int64_t rank = j->x.view.rank;
  int64_t starts[IBX_MAX_RANK] = {0}, steps[IBX_MAX_RANK];
  int64_t sizes[IBX_MAX_RANK] = {b->batch.end - b->batch.first, j->channels};
  for (int64_t d = 0; d < rank; d++)
    steps[d] = 1;
  starts[0] = b->batch.first;
  starts[rank - 1] = columns.first - line.low;
  sizes[rank - 1] = columns.end - columns.first;
  if (rank == 4) {
    starts[2] = input_row(j, b, jy, rows.first);
    sizes[2] = rows.end - rows.first;
    steps[2] = j->row_step;
  }
  if (rows.first == rows.end || columns.first == columns.end) return false;
  if (!ibx_view_slice(&j->x.view, starts, sizes, steps, from)) return false;
  *to = *from;
  to->buffer = b->patch.buffer;
  to->partition = (int32_t)((jy * j->taps.joined[1] + jx) * j->channels);
  to->offset = rows.first * j->columns + columns.first;
  to->dim[0] =
      (ibx_dim){.atom[0] = {.size = sizes[0], .step = b->rows * j->columns},
                .size = sizes[0],
                .count = 1};
  to->dim[1] = (ibx_dim){.atom[0] = {.size = j->channels, .pstep = 1},
                         .size = j->channels,
                         .count = 1};
  if (rank == 4) {
    to->dim[2] = (ibx_dim){.atom[0] = {.size = sizes[2], .step = j->columns},
                           .size = sizes[2],
                           .count = 1};
  }
  to->dim[rank - 1] = (ibx_dim){.atom[0] = {.size = sizes[rank - 1], .step = 1},
                                .size = sizes[rank - 1],
                                .count = 1};
  return true;
}

static bool patch_image(const ibx_join *j, const band *b, int64_t jy) {
  for (int64_t jx = 0; jx < j->taps.joined[1]; jx++) {
    ibx_view to, from;
    if (!patch_views(j, b, jy, jx, &to, &from)) continue;
    if (!ibx_lower_move(j->conv->lower, &to, &from)) return false;
  }
  return true;
}

// Zeros where some tap reads padding; patches are written over them.
static bool fill_margins(const ibx_join *j, const band *b) {
  ibx_lower *lower = j->conv->lower;
  const ibx_window *w = j->window[1];
  ibx_range all = {.end = b->rows};
  for (int64_t jy = 0; jy < j->taps.joined[0]; jy++) {
    all = ibx_range_cut(all, rows_inside(j, b, jy));
  }
  if (!fill_columns(lower, &b->patch, 2, 0, all.first) ||
      !fill_columns(lower, &b->patch, 2, largest(all.end, all.first),
                    b->rows)) {
    return false;
  }
  if (j->is_staged) return true;
  int64_t end = w->low + w->in - (j->taps.joined[1] - 1) * w->dilation;
  int64_t first = least(w->low, j->columns);
  return fill_columns(lower, &b->patch, 3, 0, first) &&
         fill_columns(lower, &b->patch, 3, largest(first, end), j->columns);
}

static bool make_patch(const ibx_join *j, band *b) {
  ibx_lower *lower = j->conv->lower;
  int64_t partitions = j->taps.joined[0] * j->taps.joined[1] * j->channels;
  int64_t batch = b->batch.end - b->batch.first;
  ibx_type type = {.dims = {partitions, batch, b->rows, j->columns},
                   .rank = 4,
                   .dtype = j->dtype};
  ibx_layout layout = {.dims = {0}, .count = 1};
  if (!ibx_lower_tensor(lower, &type, &layout, "patch", &b->patch) ||
      !fill_margins(j, b)) {
    return false;
  }
  for (int64_t jy = 0; jy < j->taps.joined[0]; jy++) {
    if (!j->is_staged) {
      if (!patch_image(j, b, jy)) return false;
      continue;
    }
    for (int64_t n = b->batch.first; n < b->batch.end; n++) {
      patch_staged(j, b, jy, n);
    }
  }
  return true;
}

// ---- Bands

static bool one_band(ibx_join *j, ibx_range batch, ibx_range out) {
  const ibx_window *h = j->window[0];
  band b = {.batch = batch,
            .out = out,
            .first = out.first * h->stride - h->low,
            .rows = patch_rows(h, &j->taps, out.end - out.first)};
  if (!make_patch(j, &b)) return false;
  make_terms(j, &b);
  j->sum.region[0] = batch;
  j->sum.region[2] = out;
  return ibx_sum_blocks(&j->sum, j->from, j->to);
}

static bool all_bands(ibx_join *j) {
  ibx_sum *sum = &j->sum;
  int64_t row = patch_rows(j->window[0], &j->taps, 2) -
                patch_rows(j->window[0], &j->taps, 1);
  int64_t bytes = row * j->columns * (int64_t)ibx_dtype_bytes(j->dtype);
  int64_t rows = largest(BAND_BYTES / bytes / sum->tile[2], 1) * sum->tile[2];
  for (int64_t n = 0; n < sum->out[0]; n += sum->tile[0]) {
    ibx_range batch = {n, least(n + sum->tile[0], sum->out[0])};
    for (int64_t y = 0; y < sum->out[2]; y += rows) {
      ibx_range out = {y, least(y + rows, sum->out[2])};
      if (!one_band(j, batch, out)) return false;
    }
  }
  return true;
}

bool ibx_join_run(ibx_join *j) {
  const ibx_conv *conv = j->conv;
  j->sum = (ibx_sum){
      .lower = conv->lower,
      .chain = conv->chain,
      .dst = conv->dst,
      .channel = j->from,
      .out = {conv->x.dims[0], 1, j->window[0]->out, j->window[1]->out}};
  j->sum.step[0] =
      j->columns * patch_rows(j->window[0], &j->taps, j->window[0]->out);
  ibx_sum_tile(&j->sum);
  return all_bands(j);
}

// ---- Convolutions of few channels

// [O, C, window...] with (jy, jx, c) on the partitions.
static bool load_weights(ibx_join *j, ibx_view *out) {
  const ibx_conv *conv = j->conv;
  const ibx_type *type = &conv->w;
  ibx_view want = {.dtype = j->dtype, .rank = type->rank};
  want.dim[0] = (ibx_dim){
      .atom[0] = {.size = type->dims[0]}, .size = type->dims[0], .count = 1};
  want.dim[1] = (ibx_dim){.atom[0] = {.size = j->channels, .pstep = 1},
                          .size = j->channels,
                          .count = 1};
  for (int i = 0; i < 2; i++) {
    int at = ibx_image_dim(type->rank, (uint8_t)(i + 2));
    if (at >= 0) want.dim[at] = ibx_join_tap_dim(j, i);
  }
  if (!ibx_lower_constant_as(conv->lower, conv->node->operand[1], &want, 0, 0,
                             0, out)) {
    return false;
  }
  for (int i = 0; i < 2; i++) {
    int at = ibx_image_dim(type->rank, (uint8_t)(i + 2));
    if (at >= 0) j->left_step[i] = out->dim[at].atom[0].step;
  }
  j->stationary = out;
  j->column_step = out->dim[0].atom[0].step;
  return true;
}

// Where patches would come from: true with a view of the image in HBM that can
// be staged.
static bool finds_rows(const ibx_join *j, ibx_view *out) {
  const ibx_lower *lower = j->conv->lower;
  uint32_t value = j->conv->node->operand[0];
  const ibx_type *type = &j->conv->x;
  if (type->rank != 4 || type->dims[2] < STAGE_ROWS) return false;
  if (!ibx_lower_view(j->conv->lower, value, out)) return false;
  ibx_space space = lower->func->buffers[out->buffer].place.space;
  return space == IBX_SPACE_HBM && j->conv->window[1].stride <= MOST_DMA_STEP;
}

bool ibx_conv_join(const ibx_conv *conv, bool *out_pays) {
  ibx_join j = {.conv = conv,
                .channels = conv->x.dims[1],
                .dtype = ibx_conv_dtype(conv->x.dtype),
                .to = conv->w.dims[0]};
  ibx_view rows, weights;
  *out_pays = false;
  if (j.channels > IBX_PARTITIONS / 2) return true;
  j.is_staged = finds_rows(&j, &rows);
  if (!ibx_join_choose(&j)) return true;
  *out_pays = true;
  if (!(j.is_staged ? stage(&j, &rows)
                    : ibx_image_get(conv->lower, conv->node->operand[0],
                                    j.dtype, &j.x))) {
    return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                          "the image of a convolution cannot be staged");
  }
  return load_weights(&j, &weights) && ibx_join_run(&j);
}
