// SPDX-License-Identifier: Apache-2.0
//
// Convolutions of few channels: a 3-channel 7 x 7 window as 49 products of
// three rows each would waste the array. Comes in the image; goes out the
// cheapest way to use more of its rows, by the costs of products and of the
// copies they need:
//
//   join   taps beside the channels: fewer products
//   fold   bands of rows beside the channels, weights on a block diagonal:
//          shorter products
//
// or nothing, where neither gains.

#include "passes/lower_conv.h"

enum {
  STAGE_ROWS = 8,
  MOST_DMA_STEP = 127,
  START_NS = 2600, // of two DMAs behind each other (hardware.md 4.1)
  QUADRANT = 32,   // partitions at whose multiples an engine can start
  FOLD_ROWS = 16   // of a slot beyond which two bands overlap
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- Prices in ns

typedef struct price {
  double tensor, lanes, dma;
} price;

static double outputs_of(const ibx_patches *p) {
  const ibx_conv *conv = p->conv;
  return (double)conv->x.dims[0] * (double)conv->window[1].out *
         (double)conv->window[2].out *
         (double)ceil_div(p->to - p->from, ibx_sum_channels(conv->dst));
}

// `products` products of all outputs.
static double tensor_ns(const ibx_patches *p, double products) {
  const ibx_machine *machine = p->conv->lower->machine;
  double passes = p->dtype == IBX_DTYPE_F32 ? machine->fp32_passes : 1;
  return outputs_of(p) * passes * products * 1000.0 / machine->tensor_mhz;
}

// The epilogue of all outputs, which Vector and Scalar share.
static double epilogue_ns(const ibx_patches *p) {
  return outputs_of(p) / 2 * 1000.0 / p->conv->lower->machine->vector_mhz;
}

// All patches of the image, by engine or DMA.
static double copy_ns(const ibx_patches *p) {
  const ibx_machine *machine = p->conv->lower->machine;
  int64_t height = p->window[0]->out;
  double rows = (double)ibx_patches_rows(p, height);
  if (p->slots.rows > 0) {
    double bands = (double)ceil_div(height, p->slots.rows * p->slots.count[0]);
    rows = (double)ibx_patches_rows(p, p->slots.rows) * bands;
  }
  rows *= (double)(p->conv->x.dims[0] * p->slots.count[0] * p->slots.count[1]);
  double columns = (double)p->columns;
  double bytes = (double)ibx_dtype_bytes(p->dtype);
  if (ibx_patches_by_engine(p)) {
    double rate = bytes == 2 ? machine->vector_fast : 1;
    return rows * columns / rate * 1000.0 / machine->vector_mhz;
  }
  double run = machine->dma_descriptor_ps / 1e3 +
               columns * bytes * 1e3 / machine->dma_mb_per_s;
  return (double)p->channels * rows * run / machine->dma_engines;
}

static double total_ns(price ns, double start) {
  double most = ns.tensor > ns.lanes ? ns.tensor : ns.lanes;
  if (ns.dma > most) most = ns.dma;
  // Bands overlap but for the first; what the others take is taken from
  // neighbours.
  return most + (ns.tensor + ns.lanes + ns.dma - most) / 4 + start;
}

// ---- Candidates

typedef struct choice {
  ibx_patches *patches;
  ibx_slots best;
  double ns;
  bool found;
} choice;

static void offer(choice *c, const ibx_slots *slots) {
  ibx_patches *p = c->patches;
  ibx_patches_plan(p, slots);
  double products = (double)(slots->left[0] * slots->left[1]);
  if (slots->rows > 0) products /= (double)slots->count[0];
  price ns = {.tensor = tensor_ns(p, products), .lanes = epilogue_ns(p)};
  bool by_engine = ibx_patches_by_engine(p);
  *(by_engine ? &ns.lanes : &ns.dma) += copy_ns(p);
  double start = by_engine ? (double)START_NS / 8.0 : (double)START_NS;
  double total = total_ns(ns, start);
  if (total >= c->ns) return;
  c->ns = total;
  c->best = *slots;
  c->found = true;
}

static void offer_joins(choice *c) {
  const ibx_patches *p = c->patches;
  int64_t height = p->conv->window[1].kernel;
  int64_t width = p->conv->window[2].kernel;
  for (int64_t y = 1; y <= height; y++) {
    for (int64_t x = 1; x <= width; x++) {
      if (x * y == 1 || x * y * p->channels > IBX_PARTITIONS) continue;
      offer(c, &(ibx_slots){.count = {y, x},
                            .left = {ceil_div(height, y), ceil_div(width, x)},
                            .pitch = p->channels});
    }
  }
}

static int64_t round_up(int64_t channels) {
  return ceil_div(channels, QUADRANT) * QUADRANT;
}

// As many slots as fit on both sides, starting where engines can address them.
static void offer_folds(choice *c, int64_t out_channels) {
  const ibx_patches *p = c->patches;
  const ibx_window *h = &p->conv->window[1], *w = &p->conv->window[2];
  int64_t in = round_up(p->channels), out = round_up(out_channels);
  int64_t most = IBX_PARTITIONS / (in > out ? in : out);
  for (int64_t count = 2; count <= most; count++) {
    int64_t rows = ceil_div(h->out, count);
    if (rows > FOLD_ROWS) rows = ceil_div(rows, 2);
    offer(c, &(ibx_slots){.count = {count, 1},
                          .left = {h->kernel, w->kernel},
                          .rows = rows,
                          .pitch = in});
  }
}

bool ibx_patches_choose(ibx_patches *p, unsigned allowed,
                        int64_t out_channels) {
  if (p->conv->x.rank > 4) return false;
  price plain = {.tensor = tensor_ns(p, (double)p->conv->taps),
                 .lanes = epilogue_ns(p)};
  choice c = {.patches = p, .ns = total_ns(plain, 0)};
  if (allowed & IBX_SLOTS_JOIN) offer_joins(&c);
  if ((allowed & IBX_SLOTS_FOLD) && p->conv->x.rank == 4) {
    offer_folds(&c, out_channels);
  }
  if (!c.found) return false;
  ibx_patches_plan(p, &c.best);
  p->fold_pitch = round_up(out_channels);
  return true;
}

// ---- Weights of joined taps: [O, C, window...], (sy, sx, c) on the partitions

static ibx_dim tap_dim(const ibx_patches *p, int i) {
  const ibx_slots *slots = &p->slots;
  ibx_dim dim = {.size = p->window[i]->kernel};
  int64_t step = i == 0 ? slots->count[1] * slots->pitch : slots->pitch;
  if (slots->left[i] > 1) dim.atom[dim.count++].size = slots->left[i];
  dim.atom[dim.count++] =
      (ibx_atom){.size = slots->count[i], .pstep = (int32_t)step};
  return dim;
}

static ibx_dim whole_dim(int64_t size, int32_t pstep) {
  return (ibx_dim){
      .atom[0] = {.size = size, .pstep = pstep}, .size = size, .count = 1};
}

static bool load_joined(ibx_patches *p, ibx_view *out) {
  const ibx_conv *conv = p->conv;
  const ibx_type *type = &conv->w;
  ibx_view want = {.dtype = p->dtype, .rank = type->rank};
  want.dim[0] = whole_dim(type->dims[0], 0);
  want.dim[1] = whole_dim(p->channels, 1);
  for (int i = 0; i < 2; i++) {
    int at = ibx_image_dim(type->rank, (uint8_t)(i + 2));
    if (at >= 0) want.dim[at] = tap_dim(p, i);
  }
  if (!ibx_lower_constant_as(conv->lower, conv->node->operand[1], &want, 0, 0,
                             0, out)) {
    return false;
  }
  for (int i = 0; i < 2; i++) {
    int at = ibx_image_dim(type->rank, (uint8_t)(i + 2));
    if (at >= 0) p->left_step[i] = out->dim[at].atom[0].step;
  }
  p->stationary = out;
  p->column_step = out->dim[0].atom[0].step;
  return true;
}

// ---- Weights of folded bands: the same block in each slot, zeros beside it

// Outputs are `taps` elements apart, as in the block, so that a copy is one run.
static bool spread_blocks(ibx_patches *p, const ibx_view *block,
                          const ibx_view *out) {
  for (int64_t s = 0; s < p->slots.count[0]; s++) {
    ibx_view to = *block;
    to.buffer = out->buffer;
    to.partition = (int32_t)(s * p->slots.pitch);
    to.offset = s * p->fold_pitch * p->conv->taps;
    if (!ibx_lower_move(p->conv->lower, &to, block)) return false;
  }
  return true;
}

static bool load_folded(ibx_patches *p, ibx_view *out) {
  const ibx_conv *conv = p->conv;
  ibx_lower *lower = conv->lower;
  ibx_layout layout = {.dims = {0}, .count = 1};
  ibx_dim channels = whole_dim(p->channels, 1);
  ibx_type type = {.dims = {p->slots.count[0] * p->slots.pitch,
                            p->slots.count[0] * p->fold_pitch, conv->taps},
                   .rank = 3,
                   .dtype = p->dtype};
  ibx_view block;
  p->left_step[0] = p->window[1]->kernel;
  p->left_step[1] = 1;
  p->column_step = conv->taps;
  p->stationary = out;
  return ibx_lower_constant_like(lower, conv->node->operand[1], 1, &channels,
                                 p->dtype, 0, 0, 0, &block) &&
         ibx_lower_tensor(lower, &type, &layout, "blocks", out) &&
         ibx_lower_fill(lower, out, 0.0f) && spread_blocks(p, &block, out);
}

// Where patches would come from: true with a view of the image in HBM that can
// be staged.
static bool finds_rows(const ibx_conv *conv, ibx_view *out) {
  const ibx_lower *lower = conv->lower;
  if (conv->x.rank != 4 || conv->x.dims[2] < STAGE_ROWS) return false;
  if (conv->window[1].stride > MOST_DMA_STEP) return false;
  if (!ibx_lower_view(conv->lower, conv->node->operand[0], out)) return false;
  return lower->func->buffers[out->buffer].place.space == IBX_SPACE_HBM;
}

bool ibx_conv_join(const ibx_conv *conv, bool *out_pays) {
  ibx_patches p = {.conv = conv,
                   .channels = conv->x.dims[1],
                   .dtype = ibx_conv_dtype(conv->x.dtype),
                   .to = conv->w.dims[0]};
  ibx_view rows, weights;
  unsigned allowed = IBX_SLOTS_JOIN | IBX_SLOTS_FOLD;
  *out_pays = false;
  if (p.channels > IBX_PARTITIONS / 2) return true;
  p.is_staged = finds_rows(conv, &rows);
  if (p.is_staged || p.to > IBX_PARTITIONS / 2) allowed = IBX_SLOTS_JOIN;
  if (!ibx_patches_choose(&p, allowed, p.to)) return true;
  *out_pays = true;
  if (!(p.is_staged ? ibx_patches_stage(&p, &rows)
                    : ibx_image_get(conv->lower, conv->node->operand[0],
                                    p.dtype, &p.x))) {
    return ibx_lower_fail(conv->lower, IBX_INTERNAL,
                          "the image of a convolution cannot be staged");
  }
  bool ok =
      p.slots.rows > 0 ? load_folded(&p, &weights) : load_joined(&p, &weights);
  return ok && ibx_patches_run(&p);
}
