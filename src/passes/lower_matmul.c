// SPDX-License-Identifier: Apache-2.0
//
// Matrix products: comes in [B..., M, K] x [B..., K, N]; goes out, block by
// block, products that accumulate over K in a PSUM bank, and the group's chain
// while the bank is evacuated. The layout of the result says which of M and N
// lies on its partitions and therefore which operand is stationary. A constant
// operand is packed to match the other one; it is loaded in cuts along N, so
// that the first products start early and the ring of weights stays fine.

#include "passes/lower.h"

#include <string.h>

enum { CUT_BYTES = 8192 };

typedef struct product {
  ibx_lower *lower;
  const ibx_node *node;
  const ibx_chain *chain;
  const ibx_view *dst;
  ibx_view a, b;        // in SBUF, contracted dimension on the partitions
  uint8_t m, n, ka, kb; // dimensions
  uint8_t row, column;  // of the result: on PSUM partitions, in the bank
  bool a_stationary;
  bool b_constant;
  int64_t n_start; // of the cut of b that is loaded
  ibx_view bias, ones;
  bool has_bias;
} product;

// Partitions of one tile of a dimension of the result.
static int64_t tile_of(const ibx_dim *dim) {
  int64_t tile = 1;
  bool found = false;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep == 0) continue;
    found = true;
    tile *= dim->atom[a].size;
  }
  if (!found) tile = dim->size;
  if (tile > dim->size) tile = dim->size;
  return tile > IBX_PARTITIONS ? IBX_PARTITIONS : tile;
}

// Drops everything but two dimensions: `keep`, and K.
static bool matrix_of(const ibx_view *view, const int64_t *batch, uint8_t keep,
                      uint8_t k, ibx_view *out) {
  ibx_view at = *view;
  for (int d = view->rank - 3; d >= 0; d--) {
    if (!ibx_view_at(&at, (uint8_t)d, batch[d], &at)) return false;
  }
  ibx_dim dims[2] = {at.dim[keep - (view->rank - 2)],
                     at.dim[k - (view->rank - 2)]};
  at.rank = 2;
  at.dim[0] = dims[0];
  at.dim[1] = dims[1];
  *out = at;
  return true;
}

typedef struct walk_pair {
  ibx_walk walk[2];
  int64_t offset[2];
  bool ok;
  size_t rects;
} walk_pair;

typedef struct block_state {
  product *p;
  const ibx_view *stationary, *moving, *bank;
  ibx_walk stationary_walk;
  int64_t stationary_offset;
  int32_t columns;
  const ibx_contraction *parts;
  size_t part_count;
  int64_t column_start; // of the block, for the bias
} block_state;

static bool fill_walk(const ibx_rect *rect, size_t view, ibx_walk *walk) {
  if (rect->axis_count > 3) return false;
  *walk = (ibx_walk){.num = {1, 1, 1}};
  size_t first = 3 - rect->axis_count;
  for (size_t i = 0; i < rect->axis_count; i++) {
    if (rect->axis[i].pstep[view] != 0) return false;
    walk->num[first + i] = (uint32_t)rect->axis[i].size;
    walk->step[first + i] = (int32_t)rect->axis[i].step[view];
  }
  return true;
}

// One piece of the moving operand that an instruction can walk: all parts of
// K, then the bias.
static bool multiply_piece(const block_state *state, const ibx_rect *piece) {
  const product *p = state->p;
  ibx_rect rect = *piece;
  ibx_walk moving_walk, bank_walk;
  if (!fill_walk(&rect, 0, &moving_walk) || !fill_walk(&rect, 1, &bank_walk)) {
    return false;
  }
  for (size_t i = 0; i < state->part_count; i++) {
    ibx_contraction part = state->parts[i];
    part.moving_offset += rect.offset[0] - state->moving->offset;
    part.stationary_offset +=
        state->stationary_offset - state->stationary->offset;
    ibx_lower_product(p->lower, state->stationary, &state->stationary_walk,
                      state->columns, state->moving, &moving_walk, state->bank,
                      rect.offset[1], &bank_walk, &part, i == 0,
                      i + 1 == state->part_count && !p->has_bias);
  }
  if (!p->has_bias) return true;
  ibx_walk columns = {.num = {1, 1, (uint32_t)state->columns},
                      .step = {0, 0, 1}};
  ibx_walk row = bank_walk;
  ibx_contraction part = {.moving_offset = p->bias.offset +
                                           state->column_start + rect.offset[1],
                          .partitions = 1};
  ibx_lower_product(p->lower, &p->ones, &columns, state->columns, &p->bias,
                    &row, state->bank, rect.offset[1], &bank_walk, &part, false,
                    true);
  return true;
}

// One rectangle of the moving operand. An instruction walks three axes: where
// there are more, each element of the outermost is a rectangle of its own.
static bool multiply_rect(void *user, const ibx_rect *whole) {
  ibx_rect rect = *whole;
  ibx_rect_merge(&rect);
  if (rect.axis_count <= 3) return multiply_piece(user, &rect);
  ibx_axis outer = rect.axis[0];
  ibx_rect inner = rect;
  inner.axis_count--;
  memmove(inner.axis, rect.axis + 1, inner.axis_count * sizeof *inner.axis);
  for (int64_t i = 0; i < outer.size; i++) {
    for (uint8_t v = 0; v < rect.view_count; v++) {
      if (outer.pstep[v] != 0) return false;
      inner.offset[v] = rect.offset[v] + i * outer.step[v];
    }
    if (!multiply_rect(user, &inner)) return false;
  }
  return true;
}

static bool single_rect(void *user, const ibx_rect *whole) {
  walk_pair *pair = user;
  ibx_rect rect = *whole;
  ibx_rect_merge(&rect);
  pair->rects++;
  pair->ok = fill_walk(&rect, 0, &pair->walk[0]);
  pair->offset[0] = rect.offset[0];
  return pair->ok;
}

// dst[starts.., row block, column block]
static bool block(product *p, const int64_t *batch, int64_t row, int64_t rows,
                  int64_t column, int64_t columns) {
  ibx_lower *lower = p->lower;
  ibx_view a, b;
  if (!matrix_of(&p->a, batch, p->m, p->ka, &a)) return false;
  if (!matrix_of(&p->b, p->b_constant && p->b.rank == 2 ? NULL : batch, p->n,
                 p->kb, &b)) {
    return false;
  }
  ibx_contraction *parts;
  const ibx_view *stationary = p->a_stationary ? &a : &b;
  const ibx_view *moving = p->a_stationary ? &b : &a;
  size_t part_count = ibx_lower_contractions(p->lower->machine, stationary, 1,
                                             moving, 1, lower->arena, &parts);
  if (part_count == 0) {
    return ibx_lower_fail(
        lower, IBX_INTERNAL,
        "the operands of a product do not meet on partitions");
  }
  int64_t stationary_shift = p->a_stationary ? 0 : p->n_start;
  int64_t moving_shift = p->a_stationary ? p->n_start : 0;
  int64_t row_start = row - stationary_shift,
          column_start = column - moving_shift;
  ibx_view s = *stationary, m = *moving, part;
  int64_t zero[1];
  s.rank = 1;
  m.rank = 1;
  zero[0] = row_start;
  if (!ibx_view_slice(&s, zero, &rows, NULL, &part)) return false;
  walk_pair pair = {.ok = true};
  const ibx_view *one[] = {&part};
  if (!ibx_view_rects(one, 1, single_rect, &pair) || pair.rects != 1) {
    return ibx_lower_fail(lower, IBX_INTERNAL,
                          "a stationary tile is not rectangular");
  }
  ibx_type type = {.rank = p->dst->rank, .dtype = IBX_DTYPE_F32};
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < type.rank; d++) {
    starts[d] = d + 2 < type.rank ? batch[d] : d == p->row ? row : column;
    sizes[d] = d + 2 < type.rank ? 1 : d == p->row ? rows : columns;
    type.dims[d] = sizes[d];
  }
  ibx_view bank;
  if (!ibx_lower_bank(lower, &type, p->row, &bank)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a product does not fit a bank");
  }
  zero[0] = column_start;
  if (!ibx_view_slice(&m, zero, &columns, NULL, &m)) return false;
  ibx_view bank_row = bank;
  bank_row.rank = 1;
  bank_row.dim[0] = bank.dim[p->column];
  block_state state = {.p = p,
                       .stationary = stationary,
                       .moving = moving,
                       .bank = &bank,
                       .stationary_walk = pair.walk[0],
                       .stationary_offset = pair.offset[0],
                       .columns = (int32_t)rows,
                       .parts = parts,
                       .part_count = part_count,
                       .column_start = column};
  const ibx_view *both[] = {&m, &bank_row};
  if (!ibx_view_rects(both, 2, multiply_rect, &state)) {
    return ibx_lower_fail(lower, IBX_INTERNAL,
                          "a moving tile has more than three dimensions");
  }
  ibx_view target;
  if (!ibx_view_slice(p->dst, starts, sizes, NULL, &target)) {
    return ibx_lower_fail(lower, IBX_INTERNAL,
                          "a block does not fit the layout of the result");
  }
  return ibx_chain_apply(lower, p->chain, &target, &bank, starts);
}

// Columns of each block but the last, of so many.
static int64_t block_width(const ibx_lower *lower, int64_t columns) {
  int64_t most = lower->machine->moving_max;
  int64_t count = (columns + most - 1) / most;
  return count == 0 ? most : (columns + count - 1) / count;
}

// All blocks whose N lies in [from, to), for one index of the batch.
static bool blocks(product *p, const int64_t *batch, int64_t from, int64_t to) {
  const ibx_type *type = &p->lower->graph->values[p->node->result].type;
  int64_t tile = tile_of(&p->dst->dim[p->row]);
  int64_t row_from = p->a_stationary ? 0 : from;
  int64_t row_to = p->a_stationary ? type->dims[p->row] : to;
  int64_t column_from = p->a_stationary ? from : 0;
  int64_t column_to = p->a_stationary ? to : type->dims[p->column];
  int64_t width = block_width(p->lower, column_to - column_from);
  for (int64_t c = column_from; c < column_to; c += width) {
    int64_t columns = column_to - c < width ? column_to - c : width;
    for (int64_t r = row_from; r < row_to; r += tile) {
      int64_t rows = row_to - r < tile ? row_to - r : tile;
      if (!block(p, batch, r, rows, c, columns)) return false;
    }
  }
  return true;
}

static bool batches(product *p, int64_t *batch, uint8_t d, int64_t from,
                    int64_t to) {
  if (d + 2 >= p->dst->rank) return blocks(p, batch, from, to);
  for (int64_t i = 0; i < p->dst->dim[d].size; i++) {
    batch[d] = i;
    if (!batches(p, batch, (uint8_t)(d + 1), from, to)) return false;
  }
  return true;
}

// Whether a view can be contracted along `k` as it lies: K on partitions in a
// run, the kept dimension not.
static bool is_contractible(const ibx_lower *lower, const ibx_view *view,
                            uint8_t keep, uint8_t k) {
  if (ibx_dim_on_partitions(&view->dim[keep])) return false;
  if (view->dim[k].size > 1 && !ibx_dim_on_partitions(&view->dim[k]))
    return false;
  ibx_contraction *parts;
  ibx_arena arena = {0};
  int64_t batch[IBX_MAX_RANK] = {0};
  bool ok = true;
  // Every index of the batch must start at a legal partition.
  for (uint8_t d = 0; d + 2 < view->rank && ok; d++) {
    for (int64_t i = 0; i < view->dim[d].size && ok; i++) {
      ibx_view at;
      batch[d] = i;
      ok = matrix_of(view, batch, keep, k, &at) &&
           ibx_lower_contractions(lower->machine, &at, 1, &at, 1, &arena,
                                  &parts) > 0;
      if (!ibx_dim_on_partitions(&view->dim[d])) break;
    }
    batch[d] = 0;
  }
  if (view->rank == 2) {
    ok = ibx_lower_contractions(lower->machine, view, k, view, k, &arena,
                                &parts) > 0;
  }
  ibx_arena_reset(&arena);
  return ok;
}

// Whether each tile of the kept dimension is what one instruction can walk, as
// it loads the array with it. A tile of 0 is of an operand that moves: its blocks
// need only be views, which those across windows of windows are not.
static bool has_whole_tiles(const ibx_lower *lower, const ibx_view *view,
                            uint8_t keep, int64_t tile) {
  bool moves = tile == 0;
  if (moves) tile = block_width(lower, view->dim[keep].size);
  ibx_view line = *view;
  line.rank = 1;
  line.dim[0] = view->dim[keep];
  for (int64_t from = 0; from < line.dim[0].size; from += tile) {
    int64_t left = line.dim[0].size - from, size = left < tile ? left : tile;
    ibx_view part;
    const ibx_view *one[] = {&part};
    walk_pair pair = {.ok = true};
    if (!ibx_view_slice(&line, &from, &size, NULL, &part)) return false;
    if (moves) continue;
    if (!ibx_view_rects(one, 1, single_rect, &pair) || pair.rects != 1)
      return false;
  }
  return true;
}

static bool in_sbuf(ibx_lower *lower, uint32_t value, ibx_view *out) {
  return ibx_lower_view(lower, value, out) &&
         lower->func->buffers[out->buffer].place.space == IBX_SPACE_SBUF;
}

// The contracted dimension on the partitions from the first on.
static bool laid(ibx_lower *lower, uint32_t value, uint8_t keep, uint8_t k,
                 int64_t tile, ibx_view *out) {
  ibx_layout layout = {.dims = {k}, .count = 1};
  if (!ibx_lower_in_layout(lower, value, &layout, out)) return false;
  return has_whole_tiles(lower, out, keep, tile) ||
         ibx_lower_row_major(lower, value, &layout, out);
}

static bool contracted(ibx_lower *lower, uint32_t value, uint8_t keep,
                       uint8_t k, int64_t tile, ibx_view *out) {
  if (in_sbuf(lower, value, out) && is_contractible(lower, out, keep, k) &&
      has_whole_tiles(lower, out, keep, tile)) {
    return true;
  }
  return laid(lower, value, keep, k, tile, out);
}

// Whether both operands start at the same partitions for every batch index.
static bool meets(const product *p) {
  for (uint8_t d = 0; d + 2 < p->a.rank; d++) {
    const ibx_dim *x = &p->a.dim[d], *y = &p->b.dim[d];
    if (!ibx_dim_on_partitions(x) && !ibx_dim_on_partitions(y)) continue;
    ibx_view u = p->a, v = p->b;
    u.rank = v.rank = 1;
    u.dim[0] = *x;
    v.dim[0] = *y;
    for (int64_t i = 0; i < x->size; i++) {
      ibx_view s, t;
      if (!ibx_view_at(&u, 0, i, &s) || !ibx_view_at(&v, 0, i, &t))
        return false;
      if (s.partition != t.partition) return false;
    }
  }
  ibx_contraction *parts;
  ibx_arena arena = {0};
  ibx_view s = p->a, t = p->b;
  s.partition = t.partition = 0;
  bool ok = p->a.partition == p->b.partition &&
            ibx_lower_contractions(p->lower->machine, &s, p->ka, &t, p->kb,
                                   &arena, &parts) > 0;
  ibx_arena_reset(&arena);
  return ok;
}

static bool both_computed(product *p) {
  ibx_lower *lower = p->lower;
  int64_t tile = tile_of(&p->dst->dim[p->row]);
  int64_t tiles[2] = {p->a_stationary ? tile : 0, p->a_stationary ? 0 : tile};
  uint32_t x = p->node->operand[0], y = p->node->operand[1];
  if (!contracted(lower, x, p->m, p->ka, tiles[0], &p->a)) return false;
  if (!contracted(lower, y, p->n, p->kb, tiles[1], &p->b)) return false;
  if (!meets(p)) {
    if (!laid(lower, x, p->m, p->ka, tiles[0], &p->a)) return false;
    if (!laid(lower, y, p->n, p->kb, tiles[1], &p->b)) return false;
  }
  if (!meets(p)) {
    // One has another number of partitions in a tile: what was sliced out of
    // 2 x 64, beside 69 as 1 x 69.
    ibx_layout left = {.dims = {p->ka}, .count = 1};
    ibx_layout right = {.dims = {p->kb}, .count = 1};
    if (!ibx_lower_row_major(lower, x, &left, &p->a) ||
        !ibx_lower_row_major(lower, y, &right, &p->b)) {
      return false;
    }
  }
  int64_t batch[IBX_MAX_RANK] = {0};
  return batches(p, batch, 0, 0,
                 lower->graph->values[p->node->result].type.dims[p->n]);
}

static int64_t free_of(const ibx_dim *dim) {
  int64_t size = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep == 0) size *= dim->atom[a].size;
  }
  return size;
}

// The computed operand beside a constant, which is packed from partition 0 on
// for every index of the batch: so must this one be.
static bool beside_constant(ibx_lower *lower, uint32_t value, uint8_t keep,
                            uint8_t k, int64_t tile, ibx_view *out) {
  if (!contracted(lower, value, keep, k, tile, out)) return false;
  bool starts = out->partition == 0;
  for (uint8_t d = 0; d + 2 < out->rank; d++) {
    starts = starts && !ibx_dim_on_partitions(&out->dim[d]);
  }
  return starts || laid(lower, value, keep, k, tile, out);
}

// One operand is constant: it is packed like the other one and cut along N (or,
// where it is the left one, taken whole).
static bool one_constant(product *p) {
  ibx_lower *lower = p->lower;
  uint32_t x = p->node->operand[0], y = p->node->operand[1];
  const ibx_type *type = &lower->graph->values[p->node->result].type;
  int64_t batch[IBX_MAX_RANK] = {0};
  int64_t tile =
      p->a_stationary == p->b_constant ? tile_of(&p->dst->dim[p->row]) : 0;
  if (!p->b_constant) {
    if (!beside_constant(lower, y, p->n, p->kb, tile, &p->b)) return false;
    if (!ibx_lower_constant_like(lower, x, p->ka, &p->b.dim[p->kb], p->b.dtype,
                                 0, 0, 0, &p->a)) {
      return false;
    }
    return batches(p, batch, 0, 0, type->dims[p->n]);
  }
  if (!beside_constant(lower, x, p->m, p->ka, tile, &p->a)) return false;
  int64_t bytes =
      free_of(&p->a.dim[p->ka]) * (int64_t)ibx_dtype_bytes(p->a.dtype);
  for (uint8_t d = 0; d + 2 < type->rank; d++)
    bytes *= type->dims[d];
  int64_t unit = p->a_stationary ? lower->machine->moving_max
                                 : tile_of(&p->dst->dim[p->n]);
  int64_t cut = CUT_BYTES / bytes / unit * unit;
  if (cut < unit) cut = unit;
  for (int64_t from = 0; from < type->dims[p->n]; from += cut) {
    int64_t left = type->dims[p->n] - from;
    int64_t size = left < cut ? left : cut;
    if (!ibx_lower_constant_like(lower, y, p->kb, &p->a.dim[p->ka], p->a.dtype,
                                 p->n, from, size, &p->b)) {
      return false;
    }
    p->n_start = from;
    if (!batches(p, batch, 0, from, from + size)) return false;
  }
  return true;
}

bool ibx_lower_matmul(ibx_lower *lower, const ibx_node *node,
                      const ibx_chain *chain, const ibx_view *dst) {
  uint8_t rank = dst->rank;
  product p = {.lower = lower,
               .node = node,
               .chain = chain,
               .dst = dst,
               .m = (uint8_t)(rank - 2),
               .ka = (uint8_t)(rank - 1),
               .kb = (uint8_t)(rank - 2),
               .n = (uint8_t)(rank - 1)};
  // Of a column, N is on partitions with its one element: M is not.
  bool is_column = dst->dim[p.n].atom[0].pstep != 0;
  p.a_stationary = !ibx_dim_on_partitions(&dst->dim[p.n]) && !is_column;
  p.row = p.a_stationary ? p.m : p.n;
  p.column = p.a_stationary ? p.n : p.m;
  p.has_bias = chain->bias != IBX_NO_VALUE;
  if (p.has_bias) {
    ibx_layout none = {.count = 0};
    if (!ibx_lower_in_layout(lower, chain->bias, &none, &p.bias)) return false;
    if (!ibx_lower_ones(lower, p.bias.dtype, &p.ones)) return false;
  }
  p.b_constant = ibx_lower_is_constant(lower, node->operand[1]);
  if (!p.b_constant && !ibx_lower_is_constant(lower, node->operand[0])) {
    return both_computed(&p);
  }
  return one_constant(&p);
}
