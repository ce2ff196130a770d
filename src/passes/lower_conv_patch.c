// SPDX-License-Identifier: Apache-2.0
//
// Patches: comes in an image of few channels and how it is laid in slots; goes
// out, band by band of output rows, a patch on all the slots' partitions, and
// the products over it.
//
//   partition (sy, sx, c), row r, column q:
//     x[c, r * row_step + sy * shift - pad, q + sx * shift - pad]
//
// The taps that are left are access patterns on the patch, as always. Padding
// is stored here, as zeros, because every slot clips differently.
//
// An image in HBM is first staged with its rows on the partitions, where it is
// read once; patches come from there by DMA. One in SBUF is copied by Vector
// where partitions allow it, else by DMA.

#include "passes/lower_conv.h"

#include <string.h>

enum {
  BAND_BYTES = 16384, // of a patch in one partition
  QUADRANT = 32       // partitions at whose multiples an engine can start
};

// One band of output rows.
typedef struct band {
  ibx_range batch, out;
  int64_t first, rows; // rows of the patch; `first` of input, may be negative
  ibx_view patch;      // [partitions, N, rows, columns]
} band;

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }

static bool is_folded(const ibx_patches *p) { return p->slots.rows > 0; }

void ibx_patches_plan(ibx_patches *p, const ibx_slots *slots) {
  p->slots = *slots;
  for (int i = 0; i < 2; i++) {
    const ibx_window *w = p->window[i] = &p->conv->window[i + 1];
    p->shift[i] = w->dilation;
    p->left_shift[i] = w->dilation * slots->count[i];
  }
  const ibx_window *h = p->window[0], *w = p->window[1];
  // Where all taps of height are joined only every stride-th row is needed.
  p->row_step = slots->left[0] == 1 && !is_folded(p) ? h->stride : 1;
  if (is_folded(p)) {
    p->shift[0] = slots->rows * h->stride;
    p->left_shift[0] = h->dilation;
  }
  p->columns =
      (w->out - 1) * w->stride + 1 + (slots->left[1] - 1) * p->left_shift[1];
}

int64_t ibx_patches_rows(const ibx_patches *p, int64_t out) {
  int64_t stride = p->window[0]->stride;
  return (out - 1) * (stride / p->row_step) + 1 +
         (p->slots.left[0] - 1) * p->left_shift[0];
}

bool ibx_patches_by_engine(const ibx_patches *p) {
  return !p->is_staged && p->slots.pitch % QUADRANT == 0;
}

static int64_t partitions_of(const ibx_patches *p) {
  return p->slots.count[0] * p->slots.count[1] * p->slots.pitch;
}

// ---- Products

// Rows of the array that product `y` of height needs: slots beyond the window
// are left out.
static int64_t rows_of(const ibx_patches *p, int64_t y) {
  const ibx_slots *slots = &p->slots;
  int64_t joined = slots->count[0];
  if (!is_folded(p))
    joined = ibx_at_most(joined, p->window[0]->kernel - y * joined);
  return joined * slots->count[1] * slots->pitch;
}

static void make_terms(ibx_patches *p, const band *b) {
  ibx_sum *sum = &p->sum;
  sum->moving = b->patch;
  sum->step[0] = b->rows * p->columns;
  sum->step[2] = p->columns * (p->window[0]->stride / p->row_step);
  sum->step[3] = p->window[1]->stride;
  sum->terms.count = 0;
  for (int64_t y = 0; y < p->slots.left[0]; y++) {
    for (int64_t x = 0; x < p->slots.left[1]; x++) {
      ibx_term term = {.stationary = p->stationary,
                       .column_step = p->column_step};
      term.part.partitions = (int32_t)rows_of(p, y);
      term.part.stationary_offset =
          p->stationary->offset + y * p->left_step[0] + x * p->left_step[1];
      term.part.moving_offset =
          y * p->left_shift[0] * p->columns + x * p->left_shift[1] -
          b->batch.first * sum->step[0] - b->out.first * sum->step[2];
      for (uint8_t d = 0; d < IBX_IMAGE_DIMS; d++) {
        term.reach[d] = sum->region[d];
      }
      ibx_terms_add(&sum->terms, p->conv->lower->arena, term);
    }
  }
}

// ---- Margins of zeros

static bool fill_part(ibx_lower *lower, const ibx_view *view, uint8_t dim,
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

bool ibx_patches_stage(ibx_patches *p, const ibx_view *x) {
  ibx_lower *lower = p->conv->lower;
  const ibx_window *w = p->window[1];
  ibx_layout layout = {.dims = {2}, .count = 1};
  ibx_type type = p->conv->x;
  type.dtype = p->dtype;
  type.dims[3] = p->columns + (p->slots.count[1] - 1) * p->shift[1];
  if (!ibx_lower_tensor(lower, &type, &layout, "rows", &p->stage)) return false;
  int64_t end = ibx_at_most(w->low + w->in, type.dims[3]);
  if (!fill_part(lower, &p->stage, 3, 0, w->low) ||
      !fill_part(lower, &p->stage, 3, end, type.dims[3])) {
    return false;
  }
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < type.rank; d++)
    sizes[d] = type.dims[d];
  ibx_view to, from;
  sizes[3] = end - w->low;
  if (!ibx_view_slice(x, starts, sizes, NULL, &from)) return false;
  starts[3] = w->low;
  return ibx_view_slice(&p->stage, starts, sizes, NULL, &to) &&
         ibx_lower_move(lower, &to, &from);
}

// Rows of the patch that slot `sy` fills from rows inside of x.
static ibx_range rows_inside(const ibx_patches *p, const band *b, int64_t sy) {
  ibx_window rows = {.in = p->window[0]->in,
                     .out = b->rows,
                     .stride = p->row_step,
                     .dilation = 1,
                     .low = -(b->first + sy * p->shift[0])};
  return ibx_window_reach(&rows, 0);
}

static int64_t input_row(const ibx_patches *p, const band *b, int64_t sy,
                         int64_t row) {
  return b->first + row * p->row_step + sy * p->shift[0];
}

// Zeros where some slot reads padding; the image is written over them.
static bool fill_margins(const ibx_patches *p, const band *b) {
  ibx_lower *lower = p->conv->lower;
  const ibx_window *w = p->window[1];
  // Rows of the array between slots: their weights are 0, the patch must be a
  // number.
  if (p->slots.pitch != p->channels) {
    return ibx_lower_fill(lower, &b->patch, 0.0f);
  }
  ibx_range all = {.end = b->rows};
  for (int64_t sy = 0; sy < p->slots.count[0]; sy++) {
    all = ibx_range_cut(all, rows_inside(p, b, sy));
  }
  if (!fill_part(lower, &b->patch, 2, 0, all.first) ||
      !fill_part(lower, &b->patch, 2, largest(all.end, all.first), b->rows)) {
    return false;
  }
  if (p->is_staged) return true;
  int64_t end = w->low + w->in - (p->slots.count[1] - 1) * p->shift[1];
  int64_t first = ibx_at_most(w->low, p->columns);
  return fill_part(lower, &b->patch, 3, 0, first) &&
         fill_part(lower, &b->patch, 3, largest(first, end), p->columns);
}

// ---- Patches

// One DMA from the stage: rows [rows.first, rows.end) of the slots of `sy`, all
// of which lie in tile `tile` of the stage.
static void copy_staged(const ibx_patches *p, const band *b, int64_t sy,
                        int64_t n, ibx_range rows, int64_t tile) {
  const ibx_view *stage = &p->stage;
  int64_t width = stage->dim[3].size, across = p->slots.count[1];
  int64_t row = input_row(p, b, sy, rows.first) - tile * IBX_PARTITIONS;
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  ibx_operand *to = &insn.operand[0], *from = &insn.operand[1];
  size_t bytes = ibx_dtype_bytes(p->dtype);
  insn.num[1] = (uint32_t)across;
  insn.num[2] = (uint32_t)p->channels;
  insn.num[3] = (uint32_t)(rows.end - rows.first);
  insn.num[4] = (uint32_t)p->columns;
  to->buffer = b->patch.buffer;
  from->buffer = stage->buffer;
  to->dtype = from->dtype = (uint8_t)p->dtype;
  to->partition = (uint8_t)(sy * across * p->slots.pitch);
  to->partition_step[1] = (int8_t)p->slots.pitch;
  to->partition_step[2] = 1;
  to->step[3] = (int32_t)p->columns;
  to->step[4] = from->step[4] = 1;
  to->offset =
      (uint64_t)(((n - b->batch.first) * b->rows + rows.first) * p->columns) *
      bytes;
  from->partition = (uint8_t)row;
  from->partition_step[3] = (int8_t)p->row_step;
  from->step[1] = (int32_t)p->shift[1];
  from->step[2] = (int32_t)width;
  int64_t tile_step = stage->dim[2].count > 1 ? stage->dim[2].atom[0].step : 0;
  from->offset = (uint64_t)(tile * tile_step + n * p->channels * width) * bytes;
  ibx_lower_emit(p->conv->lower, &insn, IBX_ENGINE_SYNC, false);
}

static void patch_staged(const ibx_patches *p, const band *b, int64_t sy,
                         int64_t n) {
  ibx_range rows = rows_inside(p, b, sy);
  while (rows.first < rows.end) {
    int64_t at = input_row(p, b, sy, rows.first);
    int64_t tile = at / IBX_PARTITIONS;
    int64_t left = ceil_div((tile + 1) * IBX_PARTITIONS - at, p->row_step);
    ibx_range part = {rows.first, ibx_at_most(rows.end, rows.first + left)};
    copy_staged(p, b, sy, n, part, tile);
    rows.first = part.end;
  }
}

static ibx_dim free_dim(int64_t size, int64_t step) {
  return (ibx_dim){
      .atom[0] = {.size = size, .step = step}, .size = size, .count = 1};
}

// The part of the patch that slot (sy, sx) fills, and what of x goes there.
// False when it reads padding only.
static bool slot_views(const ibx_patches *p, const band *b, int64_t sy,
                       int64_t sx, ibx_view *to, ibx_view *from) {
  const ibx_window *w = p->window[1];
  ibx_window line = {.in = w->in,
                     .out = p->columns,
                     .stride = 1,
                     .dilation = 1,
                     .low = w->low - sx * p->shift[1]};
  ibx_range rows = rows_inside(p, b, sy);
  ibx_range columns = ibx_window_reach(&line, 0);
  uint8_t rank = p->x.view.rank, last = (uint8_t)(rank - 1);
  if (rows.first == rows.end || columns.first == columns.end) return false;
  int64_t starts[IBX_MAX_RANK] = {b->batch.first}, steps[IBX_MAX_RANK];
  int64_t sizes[IBX_MAX_RANK] = {b->batch.end - b->batch.first, p->channels};
  for (uint8_t d = 0; d < rank; d++)
    steps[d] = 1;
  starts[last] = columns.first - line.low;
  sizes[last] = columns.end - columns.first;
  if (rank == 4) {
    starts[2] = input_row(p, b, sy, rows.first);
    sizes[2] = rows.end - rows.first;
    steps[2] = p->row_step;
  }
  if (!ibx_view_slice(&p->x.view, starts, sizes, steps, from)) return false;
  *to = *from;
  to->buffer = b->patch.buffer;
  to->partition = (int32_t)((sy * p->slots.count[1] + sx) * p->slots.pitch);
  to->offset = rows.first * p->columns + columns.first;
  to->dim[0] = free_dim(sizes[0], b->rows * p->columns);
  to->dim[1] = free_dim(p->channels, 0);
  to->dim[1].atom[0].pstep = 1;
  if (rank == 4) to->dim[2] = free_dim(sizes[2], p->columns);
  to->dim[last] = free_dim(sizes[last], 1);
  return true;
}

static bool patch_image(const ibx_patches *p, const band *b, int64_t sy) {
  for (int64_t sx = 0; sx < p->slots.count[1]; sx++) {
    ibx_view to, from;
    if (!slot_views(p, b, sy, sx, &to, &from)) continue;
    if (!ibx_lower_move(p->conv->lower, &to, &from)) return false;
  }
  return true;
}

static bool make_patch(const ibx_patches *p, band *b) {
  ibx_lower *lower = p->conv->lower;
  ibx_type type = {.dims = {partitions_of(p), b->batch.end - b->batch.first,
                            b->rows, p->columns},
                   .rank = 4,
                   .dtype = p->dtype};
  ibx_layout layout = {.dims = {0}, .count = 1};
  if (!ibx_lower_tensor(lower, &type, &layout, "patch", &b->patch) ||
      !fill_margins(p, b)) {
    return false;
  }
  for (int64_t sy = 0; sy < p->slots.count[0]; sy++) {
    if (!p->is_staged) {
      if (!patch_image(p, b, sy)) return false;
      continue;
    }
    for (int64_t n = b->batch.first; n < b->batch.end; n++) {
      patch_staged(p, b, sy, n);
    }
  }
  return true;
}

// ---- Bands

static bool one_band(ibx_patches *p, ibx_range batch, ibx_range out) {
  const ibx_window *h = p->window[0];
  band b = {.batch = batch,
            .out = out,
            .first = out.first * h->stride - h->low,
            .rows = ibx_patches_rows(p, out.end - out.first)};
  if (!make_patch(p, &b)) return false;
  p->sum.region[0] = batch;
  p->sum.region[2] = out;
  make_terms(p, &b);
  return ibx_sum_blocks(&p->sum, p->from, p->to);
}

// Output rows of the bands, of one slot where the image is folded.
static int64_t band_rows(const ibx_patches *p) {
  if (is_folded(p)) return p->slots.rows;
  int64_t row = ibx_patches_rows(p, 2) - ibx_patches_rows(p, 1);
  int64_t bytes = row * p->columns * (int64_t)ibx_dtype_bytes(p->dtype);
  int64_t tile = p->sum.tile[2];
  return largest(BAND_BYTES / bytes / tile, 1) * tile;
}

bool ibx_patches_run(ibx_patches *p) {
  const ibx_conv *conv = p->conv;
  ibx_sum *sum = &p->sum;
  int64_t height = p->window[0]->out;
  *sum = (ibx_sum){.lower = conv->lower,
                   .chain = conv->chain,
                   .dst = conv->dst,
                   .channel = p->from,
                   .out = {conv->x.dims[0], 1, height, p->window[1]->out},
                   .step = {ibx_patches_rows(p, height) * p->columns}};
  if (is_folded(p)) {
    sum->out[2] = p->slots.rows;
    sum->slots = p->slots.count[0];
    sum->slot_rows = p->slots.rows;
    sum->slot_pitch = p->fold_pitch;
  }
  ibx_sum_tile(sum);
  int64_t rows = band_rows(p);
  int64_t stride = is_folded(p) ? rows * p->slots.count[0] : rows;
  for (int64_t n = 0; n < sum->out[0]; n += sum->tile[0]) {
    ibx_range batch = {n, ibx_at_most(n + sum->tile[0], sum->out[0])};
    for (int64_t y = 0; y < height; y += stride) {
      ibx_range out = {y, ibx_at_most(y + rows, height)};
      if (!one_band(p, batch, out)) return false;
    }
  }
  return true;
}
