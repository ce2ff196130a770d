// SPDX-License-Identifier: Apache-2.0
//
// Which operations are done in bands. Comes in a lowered function in which
// everything stays in SBUF; goes out, for each group of operations that does not
// fit there even when nothing else does, the dimension along which its result
// can be made part by part. Spilling (spill.c) is about values that live across
// an operation; this is about those that it uses itself.

#include "passes/bands.h"
#include "passes/lower_window.h"
#include "passes/rewrite.h"

#include <string.h>

// The share of SBUF that a band takes, so that the next one is loaded while it is
// computed.
enum { BAND_PERCENT = 40 };

// The operations that were made for a group: [first, end).
typedef struct stretch {
  uint32_t first, end;
} stretch;

typedef struct survey {
  const ibx_lower *lower;
  uint32_t *seen;  // the stretch in which a buffer was counted last, plus one
  int64_t *change; // of the bytes that live, at each operation of a stretch
  int64_t *own;    // bytes of a partition that the group ending at a node uses
} survey;

static void count_buffer(survey *s, uint32_t b, stretch at, uint32_t stamp) {
  const ibx_buffer_place *place = &s->lower->func->buffers[b].place;
  if (place->space != IBX_SPACE_SBUF || s->seen[b] == stamp) return;
  s->seen[b] = stamp;
  const ibx_tile_life *all = &s->lower->func->lives[b];
  stretch life = {all->first, all->last + 1};
  if (life.first < at.first) life.first = at.first;
  if (life.end > at.end) life.end = at.end;
  s->change[life.first - at.first] += (int64_t)place->bytes;
  s->change[life.end - at.first] -= (int64_t)place->bytes;
}

// The most bytes of a partition that buffers hold at once which the operations
// of a stretch use.
static int64_t own_bytes(survey *s, stretch at, uint32_t stamp) {
  const ibx_tile_func *func = s->lower->func;
  memset(s->change, 0, (at.end - at.first + 1) * sizeof(*s->change));
  for (uint32_t i = at.first; i < at.end; i++) {
    for (size_t o = 0; o < IBX_OPERANDS; o++) {
      uint32_t b = func->briefs[i].buffer[o];
      if (b != IBX_NO_BUFFER) count_buffer(s, b, at, stamp);
    }
  }
  int64_t live = 0, most = 0;
  for (uint32_t i = 0; i < at.end - at.first; i++) {
    live += s->change[i];
    if (live > most) most = live;
  }
  return most;
}

// ---- Along which dimension

static bool is_reduced(const ibx_node *node, uint8_t dim) {
  for (uint8_t i = 0; i < node->params.axes.len; i++) {
    if (node->params.axes.at[i] == dim) return true;
  }
  return false;
}

bool ibx_bands_can_cut(const ibx_graph *graph, const ibx_node *node,
                       uint8_t dim) {
  switch (node->op) {
  case IBX_TENSOR_conv:
  case IBX_TENSOR_conv_transpose:
  case IBX_TENSOR_max_pool:
  case IBX_TENSOR_avg_pool: return dim != 1;
  case IBX_TENSOR_softmax:
  case IBX_TENSOR_cumsum:
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index: return dim != node->params.axis;
  case IBX_TENSOR_layer_norm:
  case IBX_TENSOR_rms_norm: return dim < node->params.axis;
  case IBX_TENSOR_gather:
    return node->params.axis == 0 &&
           dim < graph->values[node->operand[1]].type.rank;
  case IBX_TENSOR_matmul:
  case IBX_TENSOR_pad:
  case IBX_TENSOR_select:
  case IBX_TENSOR_wrap:
  case IBX_TENSOR_encode:
  case IBX_TENSOR_decode: return true;
  default: break;
  }
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  if (klass == IBX_KLASS_REDUCE) {
    return !node->params.keepdims || !is_reduced(node, dim);
  }
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY ||
         klass == IBX_KLASS_COMPARE || klass == IBX_KLASS_INTEGER;
}

// Partitions of one tile of a dimension; 1 when it has none.
static int64_t grain_of(const ibx_view *view, uint8_t dim) {
  int64_t grain = 1;
  for (uint8_t a = 0; a < view->dim[dim].count; a++) {
    const ibx_atom *atom = &view->dim[dim].atom[a];
    if (atom->pstep != 0) grain *= atom->size;
  }
  return grain;
}

// Bands of at least a tile each that the dimension has.
static int64_t bands_in(int64_t size, int64_t grain) {
  return (size + grain - 1) / grain;
}

static int64_t part_size(int64_t size, int64_t grain, int64_t bands) {
  return (bands_in(size, grain) + bands - 1) / bands * grain;
}

// A way to cut the result of a group, and what goes with it.
typedef struct way {
  ibx_bands_chain chain;
  int64_t bands, wanted; // what there will be, what would be enough
  int64_t extent, size;  // elements of the dimension, and of a band
} way;

// Bands of BAND_PERCENT that the largest group of a chain needs.
static int64_t bands_wanted(const survey *s, const ibx_bands_chain *chain) {
  int64_t limit = (int64_t)s->lower->machine->sbuf_bytes / 100 * BAND_PERCENT;
  int64_t most = 0;
  for (size_t i = 0; i < chain->count; i++) {
    int64_t own = s->own[chain->links[i].node];
    if (own > most) most = own;
  }
  return (most + limit - 1) / limit;
}

static int64_t gcd(int64_t a, int64_t b) { return b == 0 ? a : gcd(b, a % b); }

static int64_t extent_of(const ibx_graph *graph, const ibx_bands_link *link) {
  const ibx_node *node = &graph->nodes[link->node];
  return graph->values[node->result].type.dims[link->dim];
}

// Elements of dimension `dim`, of so many, that bands are a multiple of: tiles,
// at places where all of the chain can be cut.
static int64_t step_of(const ibx_graph *graph, const ibx_bands_chain *chain,
                       int64_t extent, int64_t tile) {
  int64_t places = extent;
  for (size_t i = 0; i < chain->count; i++)
    places = gcd(places, extent_of(graph, &chain->links[i]));
  int64_t step = extent / places;
  return step / gcd(step, tile) * tile;
}

static bool find_way(const survey *s, const ibx_cut *cuts, uint32_t last,
                     uint8_t dim, way *out) {
  const ibx_graph *graph = s->lower->graph;
  const ibx_node *anchor = &graph->nodes[ibx_bands_first(graph, last)];
  ibx_bands_chain alone = {.links = {{last, dim}}, .count = 1};
  int64_t extent = extent_of(graph, &alone.links[0]);
  ibx_view view;
  if (!ibx_bands_can_cut(graph, anchor, dim)) return false;
  ibx_view_take(s->lower->views[graph->nodes[last].result], &view);
  int64_t step = grain_of(&view, dim);
  int64_t bands = ibx_at_most(bands_wanted(s, &alone), bands_in(extent, step));
  if (bands <= 1) return false;
  *out = (way){0};
  ibx_bands_grow(s->lower, cuts, last, dim, bands, &out->chain);
  step = step_of(graph, &out->chain, extent, step);
  out->wanted = bands_wanted(s, &out->chain);
  out->bands = ibx_at_most(out->wanted, bands_in(extent, step));
  if (out->bands <= 1) return false;
  out->extent = extent;
  out->size = part_size(extent, step, out->bands);
  ibx_cut cut = {.dim = dim, .size = out->size};
  return ibx_bands_possible(graph, anchor, &cut);
}

// Bytes that the way reads and lays out again, less those that do not go to HBM
// and back. Where it does not make bands enough, each is cut again: along the
// dimension that costs least.
static double cost_of(const way *ways, const bool *possible, uint8_t rank,
                      uint8_t dim) {
  const way *own = &ways[dim];
  double again = (double)((own->wanted + own->bands - 1) / own->bands - 1);
  double least = -1;
  for (uint8_t d = 0; d < rank && again > 0; d++) {
    double repeated = (double)ways[d].chain.repeated;
    if (d != dim && possible[d] && (least < 0 || repeated < least))
      least = repeated;
  }
  return (double)(own->bands - 1) * (double)own->chain.repeated +
         again * (least < 0 ? 0 : least) - (double)own->chain.kept;
}

// Whether a way is better than another one of a dimension further out.
static bool is_better(const way *a, double a_cost, const way *b,
                      double b_cost) {
  if (a_cost != b_cost) return a_cost < b_cost;
  return b->bands < b->wanted && a->bands > b->bands;
}

// Cuts all groups of a chain; the last one makes the bands.
static void cut_chain(const ibx_graph *graph, const way *w, ibx_cut *cuts) {
  const ibx_bands_chain *chain = &w->chain;
  uint32_t last = chain->links[chain->count - 1].node, first = last;
  for (size_t i = 0; i < chain->count; i++) {
    uint32_t n = chain->links[i].node;
    if (n < first) first = n;
    int64_t extent = extent_of(graph, &chain->links[i]);
    cuts[n] = (ibx_cut){.kind = IBX_CUT_JOINED,
                        .dim = chain->links[i].dim,
                        .size = w->size * extent / w->extent,
                        .end = last};
  }
  cuts[last].kind = IBX_CUT_BANDS;
  cuts[last].first = first;
}

// Along the dimension that costs least; the outermost of several, since its bands
// are runs in HBM, as long as it has enough. False: along none.
static bool cut_result(const survey *s, const ibx_cut *cuts, uint32_t last,
                       way *out) {
  const ibx_graph *graph = s->lower->graph;
  uint8_t rank = graph->values[graph->nodes[last].result].type.rank;
  way ways[IBX_MAX_RANK];
  bool possible[IBX_MAX_RANK] = {false};
  double best_cost = 0;
  int best = -1;
  for (uint8_t d = 0; d < rank; d++)
    possible[d] = find_way(s, cuts, last, d, &ways[d]);
  for (uint8_t d = 0; d < rank; d++) {
    if (!possible[d]) continue;
    double cost = cost_of(ways, possible, rank, d);
    if (best >= 0 && !is_better(&ways[d], cost, &ways[best], best_cost))
      continue;
    best = d;
    best_cost = cost;
  }
  if (best >= 0) *out = ways[best];
  return best >= 0;
}

// Partial results of a reduction along one of its dimensions, of a product along
// what is contracted. Returns how many.
static int64_t cut_reduced(const ibx_graph *graph, const ibx_node *anchor,
                           int64_t bands, ibx_cut *cut) {
  const ibx_type *type = &graph->values[anchor->operand[0]].type;
  bool is_product = anchor->op == IBX_TENSOR_matmul;
  int64_t most = 1, tile = is_product ? IBX_PARTITIONS : 1;
  if (!is_product && ibx_tensor_op_get(anchor->op)->klass != IBX_KLASS_REDUCE)
    return 0;
  for (uint8_t d = 0; d < type->rank && most < bands; d++) {
    bool sums = is_product ? d + 1 == type->rank : is_reduced(anchor, d);
    int64_t tiles = bands_in(type->dims[d], tile);
    if (!sums || tiles <= most) continue;
    most = tiles;
    *cut = (ibx_cut){
        .kind = IBX_CUT_PARTIAL,
        .dim = d,
        .size = part_size(type->dims[d], tile, ibx_at_most(bands, most))};
  }
  return most > 1 ? most : 0;
}

// ---- One group

// The value behind views that lies in SBUF and could leave it.
static uint32_t behind_views(const ibx_lower *lower, uint32_t value) {
  const ibx_node *node = ibx_graph_maker(lower->graph, value);
  while (node && node->operand_count == 1 && ibx_lower_is_view(node)) {
    value = node->operand[0];
    node = ibx_graph_maker(lower->graph, value);
  }
  return node && lower->views[value] ? value : IBX_NO_VALUE;
}

// Cuts the group that ends at `last`, and others with it.
static bool cut_group(const survey *s, uint32_t last, ibx_cut *cuts,
                      bool *spill) {
  const ibx_lower *lower = s->lower;
  const ibx_graph *graph = lower->graph;
  const ibx_node *node = &graph->nodes[last];
  const uint32_t first = ibx_bands_first(graph, last);
  const ibx_node *anchor = &graph->nodes[first];
  if (node->op == IBX_TENSOR_concat) {
    bool at_home = node->decided.place != NULL;
    if (!at_home) cuts[last] = (ibx_cut){.kind = IBX_CUT_HOME};
    return !at_home;
  }
  if (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
      node->op != IBX_TENSOR_pad) {
    uint32_t value = behind_views(lower, node->operand[0]);
    if (value == IBX_NO_VALUE || spill[value]) return false;
    return spill[value] = true;
  }
  way w;
  ibx_cut partial;
  ibx_bands_chain alone = {.links = {{last, 0}}, .count = 1};
  bool found = cut_result(s, cuts, last, &w);
  if (!found || w.bands < w.wanted) {
    int64_t parts =
        cut_reduced(graph, anchor, bands_wanted(s, &alone), &partial);
    if (parts > (found ? w.bands : 0)) {
      cuts[first] = partial;
      return true;
    }
  }
  if (found) {
    cut_chain(graph, &w, cuts);
    return true;
  }
  bool is_composite =
      ibx_tensor_op_get(anchor->op)->klass == IBX_KLASS_COMPOSITE;
  cuts[last] = (ibx_cut){.kind = is_composite ? IBX_CUT_EXPAND : IBX_CUT_NONE};
  return is_composite;
}

// ---- All groups

// What each group uses, by its last node.
static void measure(survey *s) {
  const ibx_lower *lower = s->lower;
  for (size_t g = 0; g < lower->start_count; g++) {
    bool is_last = g + 1 == lower->start_count;
    uint32_t node = lower->starts[g].node;
    stretch at = {lower->starts[g].op, is_last ? (uint32_t)lower->func->op_count
                                               : lower->starts[g + 1].op};
    if (at.first == at.end || node == IBX_NO_VALUE) continue;
    s->own[node] = own_bytes(s, at, (uint32_t)g + 1);
  }
}

size_t ibx_bands_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, ibx_cut *cuts, bool *spill) {
  const ibx_tile_func *func = lower->func;
  int64_t limit = (int64_t)lower->machine->sbuf_bytes / 100 * percent;
  size_t found = 0, nodes = lower->graph->node_count;
  survey s = {.lower = lower,
              .seen = IBX_ARENA_ARRAY(scratch, func->buffer_count, uint32_t),
              .change = IBX_ARENA_ARRAY(scratch, func->op_count + 1, int64_t),
              .own = IBX_ARENA_ARRAY(scratch, nodes, int64_t)};
  measure(&s);
  for (uint32_t n = 0; n < nodes; n++) {
    if (s.own[n] > limit && cuts[n].kind == IBX_CUT_NONE)
      found += cut_group(&s, n, cuts, spill);
  }
  return found;
}
