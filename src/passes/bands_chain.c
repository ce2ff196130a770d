// SPDX-License-Identifier: Apache-2.0
//
// Groups whose bands are made together. Comes in a group that is to be cut along
// a dimension of its result; goes out the chain of groups before and behind it
// that can be cut at the same places, so that a band goes through all of them
// before the next one begins. The values between them are never whole: neither
// in SBUF nor in HBM. A group joins where that saves more bytes of HBM than it
// costs: each band reads anew what is not cut.
//
// softmax(Q * K) * V, say: a band of rows of Q meets all of K and V.

#include "passes/bands.h"
#include "passes/rewrite.h"

// The share of SBUF from which on a value is taken not to stay there.
enum { LARGE_PERCENT = 33 };

typedef struct growing {
  const ibx_lower *lower;
  const ibx_graph *graph;
  const ibx_cut *cuts;
  int64_t bands, large;
  ibx_bands_chain *chain;
} growing;

static int64_t bytes_of(const ibx_graph *graph, uint32_t value) {
  int64_t bytes = 0;
  return ibx_type_bytes(&graph->values[value].type, &bytes) ? bytes : INT64_MAX;
}

// The bytes behind views that repeat elements.
static int64_t bytes_read(const ibx_graph *graph, uint32_t value) {
  int64_t least = bytes_of(graph, value);
  const ibx_node *node = ibx_graph_maker(graph, value);
  while (node && node->operand_count == 1 && ibx_lower_is_view(node)) {
    int64_t bytes = bytes_of(graph, node->operand[0]);
    if (bytes < least) least = bytes;
    node = ibx_graph_maker(graph, node->operand[0]);
  }
  return least;
}

static const ibx_node *anchor_of(const ibx_graph *graph, uint32_t last) {
  return &graph->nodes[ibx_bands_first(graph, last)];
}

// What each band of a group reads as a whole.
static int64_t uncut_bytes(const ibx_graph *graph, uint32_t last, uint8_t dim) {
  const ibx_node *anchor = anchor_of(graph, last);
  int64_t bytes = 0;
  for (uint32_t i = 0; i < anchor->operand_count; i++) {
    if (ibx_bands_is_cut(graph, anchor, i, dim)) continue;
    if (__builtin_add_overflow(bytes, bytes_read(graph, anchor->operand[i]),
                               &bytes))
      return INT64_MAX;
  }
  return bytes;
}

// ---- Through a view

static int64_t extent_before(const ibx_type *type, uint8_t dim) {
  int64_t product = 1;
  for (uint8_t d = 0; d < dim; d++)
    product *= type->dims[d];
  return product;
}

// The dimension of `to` whose parts are those of dimension `dim` of `from`, in
// the same row-major elements. Its extent is a multiple or a part: where several
// dimensions become one, the outermost of them goes with it.
static bool same_dim(const ibx_type *from, uint8_t dim, const ibx_type *to,
                     uint8_t *out_dim) {
  int64_t extent = from->dims[dim];
  for (uint8_t d = 0; d < to->rank; d++) {
    if (to->dims[d] <= 1 || extent_before(to, d) != extent_before(from, dim))
      continue;
    *out_dim = d;
    return extent % to->dims[d] == 0 || to->dims[d] % extent == 0;
  }
  return false;
}

static bool is_passed(const ibx_node *node) {
  return node->op == IBX_TENSOR_reshape || node->op == IBX_TENSOR_transpose;
}

// From a dimension of a view's result to one of its operand.
static bool dim_before(const ibx_graph *graph, const ibx_node *view,
                       uint8_t dim, uint8_t *out_dim) {
  if (view->op == IBX_TENSOR_transpose) {
    *out_dim = (uint8_t)view->params.perm.at[dim];
    return true;
  }
  return same_dim(&graph->values[view->result].type, dim,
                  &graph->values[view->operand[0]].type, out_dim);
}

// The other way.
static bool dim_behind(const ibx_graph *graph, const ibx_node *view,
                       uint8_t dim, uint8_t *out_dim) {
  if (view->op == IBX_TENSOR_transpose) {
    for (uint8_t d = 0; d < view->params.perm.len; d++) {
      if (view->params.perm.at[d] == dim) *out_dim = d;
    }
    return true;
  }
  return same_dim(&graph->values[view->operand[0]].type, dim,
                  &graph->values[view->result].type, out_dim);
}

// ---- One more group

static bool may_join(const growing *g, uint32_t last, uint8_t dim) {
  const ibx_node *anchor = anchor_of(g->graph, last);
  return g->cuts[last].kind == IBX_CUT_NONE && !ibx_lower_is_view(anchor) &&
         ibx_bands_can_cut(g->graph, anchor, dim);
}

// Of a partition; where the value is in HBM, as if it filled all of them.
static int64_t bytes_in_sbuf(const growing *g, uint32_t value) {
  const ibx_kept_view *view = g->lower->views[value];
  if (view) {
    const ibx_buffer_place *place =
        &g->lower->func->buffers[view->buffer].place;
    if (place->space == IBX_SPACE_SBUF) return (int64_t)place->bytes;
  }
  return bytes_of(g->graph, value) / IBX_PARTITIONS;
}

// Whether leaving out the way of `value` to HBM and back outweighs what the bands
// of the group read, and lay out, again.
static bool is_worth(const growing *g, uint32_t value, uint32_t last,
                     uint8_t dim) {
  int64_t saved = bytes_of(g->graph, value), again;
  if (__builtin_mul_overflow(uncut_bytes(g->graph, last, dim), g->bands - 1,
                             &again))
    return false;
  return saved > again;
}

static bool has_room(const ibx_bands_chain *chain, size_t links) {
  return chain->count + links < IBX_BANDS_LINKS;
}

static void join(growing *g, const ibx_bands_link *links, size_t count,
                 bool before, uint32_t value) {
  ibx_bands_chain *chain = g->chain;
  for (size_t i = 0; i < count; i++) {
    size_t at = chain->count++;
    for (; before && at > 0; at--)
      chain->links[at] = chain->links[at - 1];
    chain->links[at] = links[i];
  }
  const ibx_bands_link *added = &links[count - 1];
  chain->kept += bytes_of(g->graph, value);
  chain->repeated += uncut_bytes(g->graph, added->node, added->dim);
}

// The group that makes what operand `value` is a view of, and the views: their
// links in `links`, the one next to the operand first. Returns how many; 0: none
// that can join, or what it makes may stay in SBUF. (Results of bands never do.)
static size_t find_before(const growing *g, uint32_t value, uint8_t dim,
                          ibx_bands_link *links) {
  for (size_t count = 0; has_room(g->chain, count); count++) {
    const ibx_node *node = ibx_graph_maker(g->graph, value);
    if (!node || !ibx_is_used_once(&g->lower->uses, value)) return 0;
    uint32_t at = g->graph->values[value].node;
    links[count] = (ibx_bands_link){at, dim};
    if (!is_passed(node)) {
      bool joins = bytes_in_sbuf(g, value) > g->large && may_join(g, at, dim) &&
                   is_worth(g, value, at, dim);
      return joins ? count + 1 : 0;
    }
    if (!dim_before(g->graph, node, dim, &dim)) return 0;
    value = node->operand[0];
  }
  return 0;
}

// Tries an operand of the group at the beginning of the chain; the largest one
// wins.
static void try_before(const growing *g, uint32_t value, uint8_t dim,
                       ibx_bands_link *best, size_t *best_count) {
  ibx_bands_link links[IBX_BANDS_LINKS];
  size_t count = find_before(g, value, dim, links);
  if (count == 0) return;
  uint32_t last = links[count - 1].node;
  if (*best_count &&
      bytes_of(g->graph, g->graph->nodes[last].result) <=
          bytes_of(g->graph,
                   g->graph->nodes[best[*best_count - 1].node].result))
    return;
  for (size_t i = 0; i < count; i++)
    best[i] = links[i];
  *best_count = count;
}

static bool grow_before(growing *g) {
  const ibx_graph *graph = g->graph;
  const ibx_bands_link begin = g->chain->links[0];
  const uint32_t first = ibx_bands_first(graph, begin.node);
  const int64_t group = graph->nodes[first].decided.group;
  ibx_bands_link best[IBX_BANDS_LINKS];
  size_t count = 0;
  for (uint32_t n = first; n <= begin.node; n++) {
    const ibx_node *node = &graph->nodes[n];
    bool is_anchor = n == first;
    if (!is_anchor && node->decided.group != group) continue;
    for (uint32_t i = 0; i < node->operand_count; i++) {
      const ibx_node *maker = ibx_graph_maker(graph, node->operand[i]);
      uint8_t dim = begin.dim;
      bool is_own = group != 0 && maker && maker->decided.group == group;
      if (is_own) continue;
      if (is_anchor && !ibx_bands_operand_dim(graph, node, i, begin.dim, &dim))
        continue;
      try_before(g, node->operand[i], dim, best, &count);
    }
  }
  if (count == 0) return false;
  join(g, best, count, true, graph->nodes[best[count - 1].node].result);
  return true;
}

// The end of the group that a node is in.
static uint32_t end_of_group(const growing *g, uint32_t n) {
  int64_t group = g->graph->nodes[n].decided.group;
  if (group == 0) return n;
  while (g->graph->nodes[n].decided.group != group || !g->lower->ends_group[n])
    n++;
  return n;
}

// Whether node `n` reads parts of `value` that are those of its group's result,
// along dimension `*dim`, which becomes that of the result.
static bool reads_parts(const ibx_graph *graph, uint32_t n, uint32_t value,
                        uint8_t *dim) {
  const ibx_node *node = &graph->nodes[n];
  bool is_anchor =
      node->decided.group == 0 || node->decided.group == (int64_t)n + 1;
  if (!is_anchor) return true;
  const ibx_type *type = &graph->values[node->result].type;
  for (uint8_t d = 0; d < type->rank; d++) {
    uint8_t of_operand;
    for (uint32_t i = 0; i < node->operand_count; i++) {
      if (node->operand[i] != value ||
          !ibx_bands_operand_dim(graph, node, i, d, &of_operand) ||
          of_operand != *dim)
        continue;
      *dim = d;
      return true;
    }
  }
  return false;
}

static bool grow_behind(growing *g) {
  const ibx_graph *graph = g->graph;
  const ibx_bands_link end = g->chain->links[g->chain->count - 1];
  ibx_bands_link links[IBX_BANDS_LINKS];
  const uint32_t made = graph->nodes[end.node].result;
  uint32_t value = made;
  uint8_t dim = end.dim;
  for (size_t count = 0; has_room(g->chain, count); count++) {
    if (!ibx_is_used_once(&g->lower->uses, value)) return false;
    uint32_t n = g->lower->uses.users[g->lower->uses.first[value]];
    const ibx_node *node = &graph->nodes[n];
    if (is_passed(node)) {
      if (!dim_behind(graph, node, dim, &dim)) return false;
      links[count] = (ibx_bands_link){n, dim};
      value = node->result;
      continue;
    }
    if (!reads_parts(graph, n, value, &dim)) return false;
    uint32_t last = end_of_group(g, n);
    if (!may_join(g, last, dim) || !is_worth(g, made, last, dim)) return false;
    links[count] = (ibx_bands_link){last, dim};
    join(g, links, count + 1, false, made);
    return true;
  }
  return false;
}

void ibx_bands_grow(const ibx_lower *lower, const ibx_cut *cuts, uint32_t last,
                    uint8_t dim, int64_t bands, ibx_bands_chain *out_chain) {
  const ibx_machine *machine = lower->machine;
  growing g = {.lower = lower,
               .graph = lower->graph,
               .cuts = cuts,
               .bands = bands,
               .large = (int64_t)machine->sbuf_bytes / 100 * LARGE_PERCENT,
               .chain = out_chain};
  *out_chain =
      (ibx_bands_chain){.links = {{last, dim}},
                        .count = 1,
                        .repeated = uncut_bytes(lower->graph, last, dim)};
  while (grow_before(&g))
    continue;
  while (grow_behind(&g))
    continue;
}
