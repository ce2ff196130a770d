// SPDX-License-Identifier: Apache-2.0
//
// One attempt at lowering. Comes in: a graph with groups and layouts, and which of
// its values leave SBUF between their uses. Goes out: the instructions of all
// nodes in order, group by group. Holds afterwards: every value has a view of
// where it lies; a spilled one lies in HBM, and each group that reads it has had
// it back in SBUF.

#include "passes/lower.h"

static ibx_lower_fn anchor_of(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_matmul: return ibx_lower_matmul;
  case IBX_TENSOR_conv:
  case IBX_TENSOR_conv_transpose: return ibx_lower_conv;
  case IBX_TENSOR_max_pool:
  case IBX_TENSOR_avg_pool: return ibx_lower_pool;
  default: return NULL;
  }
}

static ibx_lower_self_fn self_placed(ibx_tensor_op op) {
  switch (op) {
  case IBX_TENSOR_softmax: return ibx_lower_softmax;
  case IBX_TENSOR_layer_norm:
  case IBX_TENSOR_rms_norm: return ibx_lower_norm;
  case IBX_TENSOR_reduce_sum:
  case IBX_TENSOR_reduce_mean:
  case IBX_TENSOR_reduce_max:
  case IBX_TENSOR_reduce_min:
  case IBX_TENSOR_reduce_prod: return ibx_lower_reduce;
  case IBX_TENSOR_gather: return ibx_lower_gather;
  case IBX_TENSOR_concat: return ibx_lower_concat;
  case IBX_TENSOR_pad: return ibx_lower_pad;
  case IBX_TENSOR_select: return ibx_lower_select;
  case IBX_TENSOR_wrap:
  case IBX_TENSOR_encode:
  case IBX_TENSOR_decode: return ibx_lower_convert;
  case IBX_TENSOR_cumsum: return ibx_lower_cumsum;
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index: return ibx_lower_top;
  case IBX_TENSOR_nonzero: return ibx_lower_nonzero;
  case IBX_TENSOR_suppress: return ibx_lower_suppress;
  default: break;
  }
  bool is_integer = ibx_tensor_op_get(op)->klass == IBX_KLASS_INTEGER;
  return is_integer ? ibx_lower_integer : NULL;
}

// ---- Views that cannot stay views

enum { LINEAR_SBUF_BYTES = 65536 };

// Copies a value row-major into one partition, or into HBM where it is large,
// from where every reshape and slice is a view.
static bool linearise(ibx_lower *lower, uint32_t value, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_view have;
  int64_t bytes = 0;
  ibx_layout none = {.count = 0};
  if (!ibx_lower_view(lower, value, &have)) {
    // Not in a layout of SBUF, where what repeats would be there once.
    return ibx_lower_table(lower, value, out);
  }
  ibx_type_bytes(type, &bytes);
  if (bytes <= LINEAR_SBUF_BYTES) {
    if (!ibx_lower_tensor(lower, type, &none, "linear", out)) return false;
  } else {
    *out = ibx_lower_scratch(lower, type, "linear");
  }
  return ibx_lower_move(lower, out, &have);
}

// A view in SBUF that no engine can address (it starts in the middle of a
// quadrant of partitions) is copied to where one can.
static bool addressable(ibx_lower *lower, const ibx_type *type,
                        ibx_view *view) {
  if (lower->func->buffers[view->buffer].place.space != IBX_SPACE_SBUF) {
    return true;
  }
  const ibx_view *views[] = {view};
  if (ibx_view_pieces(views, 1, INT32_MAX, NULL, NULL)) return true;
  ibx_layout layout = {.count = 0};
  int64_t most = 1;
  for (uint8_t d = 0; d < type->rank; d++) {
    if (type->dims[d] <= most) continue;
    most = type->dims[d];
    layout = (ibx_layout){.dims = {d}, .count = 1};
  }
  ibx_view copy;
  if (!ibx_lower_tensor(lower, type, &layout, "aligned", &copy) ||
      !ibx_lower_move(lower, &copy, view)) {
    return false;
  }
  *view = copy;
  return true;
}

static bool lower_view_node(ibx_lower *lower, const ibx_node *node) {
  ibx_view have, view;
  uint32_t operand = node->operand[0];
  if (ibx_lower_is_constant(lower, node->result)) return true;
  if (!ibx_lower_view(lower, operand, &have)) {
    if (!linearise(lower, operand, &have)) return false;
  }
  if (!ibx_lower_apply_view(node, &have, &view)) {
    if (!linearise(lower, operand, &have) ||
        !ibx_lower_apply_view(node, &have, &view)) {
      return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                            "operation %s cannot be expressed on this target",
                            ibx_tensor_op_get(node->op)->name);
    }
  }
  if (!addressable(lower, &lower->graph->values[node->result].type, &view)) {
    return false;
  }
  ibx_lower_set_view(lower, node->result, &view);
  return true;
}

// ---- Groups

// A constant added along the rows of a product, the same for each row.
static bool is_row_bias(ibx_lower *lower, const ibx_node *anchor,
                        const ibx_node *add, const ibx_view *dst,
                        uint32_t *out_bias) {
  if (anchor->op != IBX_TENSOR_matmul || add->op != IBX_TENSOR_add)
    return false;
  uint32_t other = add->operand[add->operand[0] == anchor->result ? 1 : 0];
  float imm;
  if (!ibx_lower_is_constant(lower, other) ||
      ibx_lower_uniform(lower, other, &imm)) {
    return false;
  }
  const ibx_dim *n = &dst->dim[dst->rank - 1];
  for (uint8_t a = 0; a < n->count; a++) {
    if (n->atom[a].pstep != 0) return false;
  }
  if (!ibx_lower_repeats(lower, other, (uint8_t)(dst->rank - 1))) return false;
  *out_bias = other;
  return true;
}

// The view of a result: planned for an anchor that chooses freely, else like the
// operand that is walked.
static bool result_view(ibx_lower *lower, const ibx_node *anchor,
                        const ibx_node *last, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[last->result].type;
  ibx_layout layout = ibx_lower_layout(lower, anchor);
  if (ibx_lower_tensor(lower, type, &layout, "result", out)) return true;
  if (lower->status != IBX_OK) return false;
  return ibx_lower_fail(lower, IBX_INTERNAL,
                        "the planned layout does not fit the tensor");
}

static bool lower_anchor(ibx_lower *lower, const ibx_node *anchor,
                         const uint32_t *nodes, size_t count) {
  const ibx_graph *graph = lower->graph;
  const ibx_node *last = count ? &graph->nodes[nodes[count - 1]] : anchor;
  ibx_view dst;
  ibx_chain chain = {
      .nodes = nodes, .count = count, .bias = IBX_NO_VALUE, .tiled = true};
  uint32_t value = anchor->result;
  if (!result_view(lower, anchor, last, &dst)) return false;
  if (count &&
      is_row_bias(lower, anchor, &graph->nodes[nodes[0]], &dst, &chain.bias)) {
    value = graph->nodes[nodes[0]].result;
    chain.nodes++;
    chain.count--;
  }
  if (!ibx_chain_make(lower, &chain, value, &dst)) return false;
  lower->source = anchor->source;
  if (!anchor_of(anchor->op)(lower, anchor, &chain, &dst)) return false;
  ibx_lower_set_view(lower, last->result, &dst);
  return true;
}

static bool is_elementwise(ibx_tensor_op op) {
  ibx_op_klass klass = ibx_tensor_op_get(op)->klass;
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY ||
         klass == IBX_KLASS_COMPARE;
}

// The operand whose layout a pointwise group takes: the one with most elements
// in SBUF, since that is the one that nobody wants to move.
static uint32_t leading_operand(ibx_lower *lower, const ibx_node *node) {
  uint32_t best = node->operand[0];
  int best_rank = -1;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    ibx_view view;
    int rank = 0;
    if (ibx_lower_view(lower, node->operand[i], &view)) {
      bool on_chip =
          lower->func->buffers[view.buffer].place.space == IBX_SPACE_SBUF;
      rank = on_chip ? 2 : 1;
      if (on_chip && !ibx_view_repeats(&view)) rank = 3;
    }
    if (rank > best_rank) {
      best = node->operand[i];
      best_rank = rank;
    }
  }
  return best;
}

static bool lower_pointwise(ibx_lower *lower, const uint32_t *nodes,
                            size_t count) {
  const ibx_graph *graph = lower->graph;
  const ibx_node *first = &graph->nodes[nodes[0]];
  const ibx_node *last = &graph->nodes[nodes[count - 1]];
  uint32_t lead = leading_operand(lower, first);
  ibx_view src, dst;
  ibx_dtype dtype = graph->values[last->result].type.dtype;
  ibx_layout layout = ibx_lower_layout(lower, first);
  bool on_chip = ibx_lower_view(lower, lead, &src) &&
                 lower->func->buffers[src.buffer].place.space == IBX_SPACE_SBUF;
  if (!on_chip && !ibx_lower_in_layout(lower, lead, &layout, &src))
    return false;
  if (ibx_view_repeats(&src)) {
    if (!ibx_lower_tensor(lower, &graph->values[last->result].type, &layout,
                          "result", &dst) ||
        !ibx_lower_like(lower, lead, &dst, IBX_DTYPE_NONE, &src)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a layout does not fit");
    }
  } else if (!ibx_lower_temp(lower, &src, dtype, &dst)) {
    return false;
  }
  ibx_chain chain = {.nodes = nodes, .count = count, .bias = IBX_NO_VALUE};
  if (!ibx_chain_make(lower, &chain, lead, &dst)) return false;
  if (!ibx_chain_apply_sliced(lower, &chain, &dst, &src)) return false;
  ibx_lower_set_view(lower, last->result, &dst);
  return true;
}

// The nodes of the group that ends at `last`, in order.
static size_t group_nodes(ibx_lower *lower, uint32_t last, uint32_t **out) {
  const ibx_graph *graph = lower->graph;
  int64_t group = graph->nodes[last].decided.group;
  size_t count = 0;
  uint32_t first = group > 0 ? (uint32_t)(group - 1) : last;
  *out = IBX_ARENA_ARRAY(lower->arena, last - first + 1, uint32_t);
  for (uint32_t n = first; n <= last; n++) {
    if (n == last || graph->nodes[n].decided.group == group)
      (*out)[count++] = n;
  }
  return count;
}

// Which nodes are the last ones of their group.
static bool *group_ends(const ibx_graph *graph, ibx_arena *arena) {
  bool *ends = IBX_ARENA_ARRAY(arena, graph->node_count, bool);
  bool *seen = IBX_ARENA_ARRAY(arena, graph->node_count, bool);
  for (size_t n = graph->node_count; n-- > 0;) {
    int64_t group = graph->nodes[n].decided.group;
    ends[n] = group == 0 || !seen[group - 1];
    if (group != 0) seen[group - 1] = true;
  }
  return ends;
}

// Where a spilled value, or a view of one, would lie if it had stayed in SBUF.
// False when the value is neither.
static bool home_of(const ibx_lower *lower, uint32_t value, ibx_view *out) {
  uint32_t maker = lower->graph->values[value].node;
  if (!lower->views[value] || maker == IBX_NO_VALUE) return false;
  if (lower->spill[value]) {
    // A value that never was in SBUF has none.
    if (lower->homes[value]) ibx_view_take(lower->homes[value], out);
    return lower->homes[value] != NULL;
  }
  const ibx_node *node = &lower->graph->nodes[maker];
  ibx_view in;
  return node->operand_count == 1 && home_of(lower, node->operand[0], &in) &&
         ibx_lower_apply_view(node, &in, out);
}

// What a group reads of a spilled value, back in SBUF the way it lay before.
static bool reload(ibx_lower *lower, uint32_t value, ibx_view *out) {
  ibx_view home, have;
  if (!home_of(lower, value, &home) || home.rank == 0 ||
      !ibx_lower_view(lower, value, &have)) {
    return false;
  }
  const ibx_view *views[] = {&home, &have};
  return ibx_view_refines(views, 2) &&
         ibx_lower_temp(lower, &home, home.dtype, out) &&
         ibx_lower_move(lower, out, &have);
}

typedef struct reloaded {
  uint32_t value;
  const ibx_kept_view *view; // in HBM
} reloaded;

// Brings the spilled operands of the nodes back for this group.
static size_t reload_operands(ibx_lower *lower, const uint32_t *nodes,
                              size_t count, reloaded *list) {
  size_t done = 0;
  for (size_t n = 0; n < count; n++) {
    const ibx_node *node = &lower->graph->nodes[nodes[n]];
    for (uint32_t i = 0; i < node->operand_count; i++) {
      uint32_t value = node->operand[i];
      const ibx_kept_view *have = lower->views[value];
      ibx_view view;
      if (!have ||
          lower->func->buffers[have->buffer].place.space != IBX_SPACE_HBM ||
          !reload(lower, value, &view)) {
        continue;
      }
      list[done++] = (reloaded){.value = value, .view = have};
      ibx_lower_set_view(lower, value, &view);
    }
  }
  return done;
}

static bool lower_nodes(ibx_lower *lower, const uint32_t *nodes, size_t count);

static void start(ibx_lower *lower, uint32_t node) {
  lower->starts[lower->start_count++] =
      (ibx_start){.op = (uint32_t)lower->func->op_count, .node = node};
}

static bool lower_group(ibx_lower *lower, uint32_t last) {
  uint32_t *nodes;
  size_t count = group_nodes(lower, last, &nodes);
  reloaded *list =
      IBX_ARENA_ARRAY(lower->arena, count * IBX_NODE_OPERANDS, reloaded);
  lower->source = lower->graph->nodes[nodes[0]].source;
  start(lower, last);
  size_t done = reload_operands(lower, nodes, count, list);
  bool ok = lower->status == IBX_OK && lower_nodes(lower, nodes, count);
  for (size_t i = 0; i < done; i++)
    lower->views[list[i].value] = list[i].view;
  return ok;
}

static bool lower_nodes(ibx_lower *lower, const uint32_t *nodes, size_t count) {
  const ibx_graph *graph = lower->graph;
  const ibx_node *first = &graph->nodes[nodes[0]];
  lower->source = first->source;
  if (is_elementwise(first->op)) return lower_pointwise(lower, nodes, count);
  if (anchor_of(first->op)) {
    return lower_anchor(lower, first, nodes + 1, count - 1);
  }
  ibx_lower_self_fn self = self_placed(first->op);
  ibx_view view;
  if (self && self(lower, first, &view)) {
    ibx_lower_set_view(lower, first->result, &view);
    return true;
  }
  return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                        "operation %s has no lowering on this target; compute "
                        "it outside of the model or rewrite it",
                        ibx_tensor_op_get(first->op)->name);
}

static bool lower_node(ibx_lower *lower, uint32_t index) {
  const ibx_node *node = &lower->graph->nodes[index];
  lower->source = node->source;
  if (node->op == IBX_TENSOR_constant) return true;
  if (!ibx_lower_accepts(lower, node)) return false;
  if (ibx_lower_is_view(node)) {
    start(lower, index);
    return lower_view_node(lower, node);
  }
  if (ibx_lower_is_parts(node)) {
    ibx_view view;
    start(lower, index);
    if (!ibx_lower_parts(lower, node, &view)) return false;
    ibx_lower_set_view(lower, node->result, &view);
    return true;
  }
  if (!lower->ends_group[index]) return true;
  return lower_group(lower, index);
}

// Stores a value that is to leave SBUF and leaves its view in HBM.
static bool spill_value(ibx_lower *lower, uint32_t value) {
  ibx_view have;
  ibx_view_take(lower->views[value], &have);
  if (lower->func->buffers[have.buffer].place.space != IBX_SPACE_SBUF)
    return true;
  ibx_view home =
      ibx_lower_scratch(lower, &lower->graph->values[value].type, "spilled");
  if (!ibx_lower_move(lower, &home, &have)) return false;
  lower->homes[value] = lower->views[value];
  ibx_lower_set_view(lower, value, &home);
  return true;
}

// ---- All nodes

ibx_status ibx_lower_graph(ibx_lower *lower) {
  const ibx_graph *graph = lower->graph;
  lower->ends_group = group_ends(graph, lower->arena);
  ibx_lower_inputs(lower);
  bool ok = true;
  for (uint32_t n = 0; ok && n < graph->node_count; n++) {
    uint32_t value = graph->nodes[n].result;
    ok = lower_node(lower, n);
    if (!ok || !lower->views[value]) continue;
    ok = ibx_lower_store_part(lower, value);
    if (ok && lower->spill[value]) ok = spill_value(lower, value);
  }
  start(lower, IBX_NO_VALUE);
  ok = ok && ibx_lower_outputs(lower);
  if (lower->status != IBX_OK) return lower->status;
  if (ok) return IBX_OK;
  return IBX_FAIL(lower->err, INTERNAL, "lowering stopped without a reason");
}
