// SPDX-License-Identifier: Apache-2.0
//
// Which operations are done in bands. Comes in a lowered function in which
// everything stays in SBUF; goes out, for each group of operations that does not
// fit there even when nothing else does, the dimension along which its result
// can be made part by part. Spilling (spill.c) is about values that live across
// an operation; this is about those that it uses itself.

#include "passes/bands.h"
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

// Whether the parts of the result along `dim` can be computed one by one, each
// from a part of the operands.
static bool can_cut(const ibx_graph *graph, const ibx_node *node, uint8_t dim) {
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

static void cut_into(ibx_cut *cut, ibx_cut_kind kind, uint8_t dim, int64_t size,
                     int64_t grain, int64_t bands) {
  int64_t tiles = bands_in(size, grain);
  int64_t part = (tiles + bands - 1) / bands * grain;
  if (part < grain) part = grain;
  *cut = (ibx_cut){.kind = kind, .dim = dim, .size = part};
}

// Of a product, the dimension that makes the larger operand smaller comes first.
static uint8_t first_choice(const ibx_graph *graph, const ibx_node *node,
                            uint8_t rank) {
  if (node->op != IBX_TENSOR_matmul) return rank;
  int64_t a = 0, b = 0;
  ibx_type_bytes(&graph->values[node->operand[0]].type, &a);
  ibx_type_bytes(&graph->values[node->operand[1]].type, &b);
  return (uint8_t)(a >= b ? rank - 2 : rank - 1);
}

// The outermost dimension with enough bands, since its bands are runs in HBM;
// else the one with most. Returns how many bands there will be; 0 for none.
static int64_t cut_result(const ibx_graph *graph, const ibx_node *anchor,
                          const ibx_view *view, int64_t bands, ibx_cut *cut) {
  int64_t most = 1;
  uint8_t best = 0, first = first_choice(graph, anchor, view->rank);
  for (uint8_t i = 0; i <= view->rank && most < bands; i++) {
    uint8_t d = i == 0 ? first : (uint8_t)(i - 1);
    if (d >= view->rank || !can_cut(graph, anchor, d)) continue;
    int64_t count = bands_in(view->dim[d].size, grain_of(view, d));
    if (count <= most) continue;
    most = count;
    best = d;
  }
  if (most == 1) return 0;
  if (most > bands) most = bands;
  cut_into(cut, IBX_CUT_BANDS, best, view->dim[best].size, grain_of(view, best),
           most);
  return ibx_bands_possible(graph, anchor, cut) ? most : 0;
}

// Partial results of a reduction, along a dimension chosen in the same way.
static int64_t cut_reduced(const ibx_graph *graph, const ibx_node *anchor,
                           int64_t bands, ibx_cut *cut) {
  const ibx_type *type = &graph->values[anchor->operand[0]].type;
  int64_t most = 1;
  if (ibx_tensor_op_get(anchor->op)->klass != IBX_KLASS_REDUCE) return 0;
  for (uint8_t d = 0; d < type->rank && most < bands; d++) {
    if (!is_reduced(anchor, d) || type->dims[d] <= most) continue;
    most = type->dims[d];
    cut_into(cut, IBX_CUT_PARTIAL, d, most, 1, bands < most ? bands : most);
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

static bool cut_group(const ibx_lower *lower, uint32_t last, int64_t bands,
                      ibx_cut *cut, bool *spill) {
  const ibx_graph *graph = lower->graph;
  const ibx_node *node = &graph->nodes[last];
  int64_t group = node->decided.group;
  const ibx_node *anchor = group > 0 ? &graph->nodes[group - 1] : node;
  ibx_view view;
  if (node->op == IBX_TENSOR_concat) {
    bool at_home = node->decided.place != NULL;
    if (!at_home) *cut = (ibx_cut){.kind = IBX_CUT_HOME};
    return !at_home;
  }
  if (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
      node->op != IBX_TENSOR_pad) {
    uint32_t value = behind_views(lower, node->operand[0]);
    if (value == IBX_NO_VALUE || spill[value]) return false;
    return spill[value] = true;
  }
  ibx_cut partial;
  ibx_view_take(lower->views[node->result], &view);
  int64_t of_result = cut_result(graph, anchor, &view, bands, cut);
  if (of_result >= bands) return true;
  if (cut_reduced(graph, anchor, bands, &partial) > of_result) {
    *cut = partial;
    return true;
  }
  if (of_result > 0) return true;
  bool is_composite =
      ibx_tensor_op_get(anchor->op)->klass == IBX_KLASS_COMPOSITE;
  *cut = (ibx_cut){.kind = is_composite ? IBX_CUT_EXPAND : IBX_CUT_NONE};
  return is_composite;
}

// ---- All groups

size_t ibx_bands_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, ibx_cut *cuts, bool *spill) {
  const ibx_tile_func *func = lower->func;
  int64_t limit = (int64_t)lower->machine->sbuf_bytes;
  size_t found = 0;
  survey s = {.lower = lower,
              .seen = IBX_ARENA_ARRAY(scratch, func->buffer_count, uint32_t),
              .change = IBX_ARENA_ARRAY(scratch, func->op_count + 1, int64_t)};
  for (size_t g = 0; g < lower->start_count; g++) {
    bool is_last = g + 1 == lower->start_count;
    stretch at = {lower->starts[g].op,
                  is_last ? (uint32_t)func->op_count : lower->starts[g + 1].op};
    if (at.first == at.end || lower->starts[g].node == IBX_NO_VALUE) continue;
    int64_t own = own_bytes(&s, at, (uint32_t)g + 1);
    if (own <= limit / 100 * percent) continue;
    int64_t band = limit / 100 * BAND_PERCENT;
    uint32_t last = lower->starts[g].node;
    found +=
        cut_group(lower, last, (own + band - 1) / band, &cuts[last], spill);
  }
  return found;
}
