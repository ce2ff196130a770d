// SPDX-License-Identifier: Apache-2.0
//
// plan_layout: which dimensions lie on the partitions.
//
//   before   %s = ibx.matmul %q, %k : tensor<1x12x128x128xf32>
//   after    the same with {layout = "2"}: rows of the scores on partitions
//
// Comes in: a graph with groups. Goes out: decided.layout for every node that is
// free to choose. In program order, each node takes the layout that costs least
// in nanoseconds: its own work, and what its users, reached through views and
// pointwise operations, would pay to move it. Views are computed exactly, with
// the same algebra that lowering uses.

#include "passes/lower.h"
#include "passes/rewrite.h"

#include <string.h>

enum { CANDIDATES = 8, DEPTH = 24 };

typedef struct planner {
  ibx_pass_ctx *ctx;
  ibx_graph *graph;
  ibx_uses uses;
  ibx_view *views;
  bool *known; // on chip, with that view
} planner;

static int64_t partitions_in(const ibx_dim *dim) {
  int64_t count = 1;
  for (uint8_t a = 0; a < dim->count; a++) {
    if (dim->atom[a].pstep != 0) count *= dim->atom[a].size;
  }
  return count < dim->size ? count : dim->size;
}

static double elements_of(const ibx_type *type) {
  double elements = 1;
  for (uint8_t d = 0; d < type->rank; d++)
    elements *= (double)type->dims[d];
  return elements;
}

// ---- Prices in ns

static double cycles(const planner *p, ibx_engine engine, double count) {
  return count * 1000.0 / ibx_machine_clock_mhz(p->ctx->machine, engine);
}

// Through the tensor engine in blocks of 128 x 128 and back from PSUM.
static double transpose_price(const planner *p, const ibx_type *type) {
  double columns = elements_of(type) / (double)IBX_PARTITIONS;
  if (columns < p->ctx->machine->min_interval) {
    columns = p->ctx->machine->min_interval;
  }
  double passes = ibx_dtype_bytes(type->dtype) == 4
                      ? p->ctx->machine->transpose_fp32_passes
                      : 1;
  return cycles(p, IBX_ENGINE_TENSOR, columns * passes) +
         cycles(p, IBX_ENGINE_VECTOR, columns);
}

// To a layout with `dim` on the partitions (IBX_MAX_RANK: none).
static double move_price(const planner *p, const ibx_type *type,
                         const ibx_view *view, uint8_t dim) {
  ibx_layout layout = {.dims = {dim}, .count = dim < IBX_MAX_RANK};
  ibx_view want;
  int32_t partitions;
  int64_t elements;
  if (!ibx_view_make(type, &layout, &want, &partitions, &elements)) {
    return transpose_price(p, type);
  }
  return ibx_move_price(p->ctx->machine, &want, view);
}

static double passes_of(const planner *p, ibx_dtype dtype) {
  return ibx_dtype_bytes(dtype) == 4 ? p->ctx->machine->fp32_passes : 1;
}

// A product with `rows` on PSUM partitions in tiles of `tile`.
static double product_price(const planner *p, double batch, double rows,
                            double tile, double columns, double k,
                            double k_tile, ibx_dtype dtype) {
  double row_tiles = (double)(int64_t)((rows + tile - 1) / tile);
  double k_tiles = (double)(int64_t)((k + k_tile - 1) / k_tile);
  double least = p->ctx->machine->min_interval;
  double width = columns < least ? least : columns;
  double products = batch * row_tiles * k_tiles * width;
  double evacuation = batch * row_tiles * (columns + least);
  double work = cycles(p, IBX_ENGINE_TENSOR, products * passes_of(p, dtype));
  double copy = cycles(p, IBX_ENGINE_VECTOR, evacuation) / 2;
  return work > copy ? work + copy / 4 : copy + work / 4;
}

// ---- What users pay

static double users_price(const planner *p, uint32_t value,
                          const ibx_view *view, int depth);

static double contraction_price(const planner *p, const ibx_node *user,
                                uint32_t index, const ibx_view *view) {
  uint8_t rank = view->rank;
  uint8_t k = (uint8_t)(index == 0 ? rank - 1 : rank - 2);
  uint8_t keep = (uint8_t)(index == 0 ? rank - 2 : rank - 1);
  const ibx_type *out = &p->graph->values[user->result].type;
  const ibx_type *type = &p->graph->values[user->operand[index]].type;
  double k_size = (double)view->dim[k].size;
  bool fits = !ibx_dim_on_partitions(&view->dim[keep]) &&
              (ibx_dim_on_partitions(&view->dim[k]) || view->dim[k].size == 1);
  double tile = fits ? (double)partitions_in(&view->dim[k])
                : k_size < (double)IBX_PARTITIONS ? k_size
                                                  : (double)IBX_PARTITIONS;
  double price = fits ? 0 : move_price(p, type, view, k);
  double work = elements_of(out) / (double)IBX_PARTITIONS * (k_size / tile);
  return price + cycles(p, IBX_ENGINE_TENSOR, work * passes_of(p, type->dtype));
}

static double axes_price(const planner *p, const ibx_node *user,
                         const ibx_view *view) {
  const ibx_type *type = &p->graph->values[user->operand[0]].type;
  bool crossed = false;
  if (user->op == IBX_TENSOR_softmax) {
    crossed = ibx_dim_on_partitions(&view->dim[user->params.axis]);
  } else if (user->op == IBX_TENSOR_layer_norm ||
             user->op == IBX_TENSOR_rms_norm) {
    for (int64_t d = user->params.axis; d < type->rank; d++) {
      crossed = crossed || ibx_dim_on_partitions(&view->dim[d]);
    }
  } else {
    for (uint8_t i = 0; i < user->params.axes.len; i++) {
      crossed =
          crossed || ibx_dim_on_partitions(&view->dim[user->params.axes.at[i]]);
    }
  }
  uint8_t rows_dim = IBX_MAX_RANK;
  int64_t most = 1;
  for (uint8_t d = 0; d < view->rank && crossed; d++) {
    bool reduced =
        user->op == IBX_TENSOR_softmax ? d == user->params.axis
        : user->op == IBX_TENSOR_layer_norm || user->op == IBX_TENSOR_rms_norm
            ? d >= user->params.axis
            : false;
    for (uint8_t i = 0; i < user->params.axes.len; i++) {
      reduced = reduced || user->params.axes.at[i] == d;
    }
    if (reduced || view->dim[d].size <= most) continue;
    most = view->dim[d].size;
    rows_dim = d;
  }
  // Rows that are not on partitions cost instructions of one partition each.
  double rows = 1;
  for (uint8_t d = 0; d < view->rank; d++) {
    rows *= (double)partitions_in(&view->dim[d]);
  }
  double idle = cycles(p, IBX_ENGINE_VECTOR, elements_of(type) / rows);
  return crossed ? move_price(p, type, view, rows_dim) : idle;
}

// The rows of a DMA to HBM: one descriptor for each run.
static double store_price(const planner *p, const ibx_view *view) {
  double runs = 1;
  int d = view->rank - 1;
  for (; d >= 0 &&
         (view->dim[d].size == 1 || !ibx_dim_on_partitions(&view->dim[d]));
       d--) {
  }
  for (; d >= 0; d--)
    runs *= (double)view->dim[d].size;
  return runs * p->ctx->machine->dma_descriptor_ps / 1000.0 /
         p->ctx->machine->dma_engines;
}

static bool walks_alike(const ibx_view *a, const ibx_view *b) {
  const ibx_view *views[] = {a, b};
  return ibx_view_pieces(views, 2, INT32_MAX, NULL, NULL);
}

static double pointwise_price(const planner *p, const ibx_node *user,
                              uint32_t index, const ibx_view *view, int depth) {
  double price = 0;
  for (uint32_t i = 0; i < user->operand_count; i++) {
    uint32_t other = user->operand[i];
    if (i == index || !p->known[other]) continue;
    if (!walks_alike(view, &p->views[other])) {
      price += ibx_move_price(p->ctx->machine, view, &p->views[other]);
    }
  }
  double used = 1;
  for (uint8_t d = 0; d < view->rank; d++) {
    used *= (double)partitions_in(&view->dim[d]);
  }
  const ibx_type *type = &p->graph->values[user->result].type;
  price += cycles(p, IBX_ENGINE_VECTOR, elements_of(type) / used);
  return price + users_price(p, user->result, view, depth + 1);
}

static double user_price(const planner *p, const ibx_node *user, uint32_t index,
                         const ibx_view *view, int depth) {
  ibx_view next;
  const ibx_type *type = &p->graph->values[user->operand[index]].type;
  switch (ibx_tensor_op_get(user->op)->klass) {
  case IBX_KLASS_VIEW:
    if (user->op == IBX_TENSOR_concat || user->op == IBX_TENSOR_pad) return 0;
    if (ibx_lower_apply_view(user, view, &next)) {
      return users_price(p, user->result, &next, depth + 1);
    }
    return 2 * transpose_price(p, type);
  case IBX_KLASS_UNARY:
  case IBX_KLASS_BINARY:
  case IBX_KLASS_INTEGER:
  case IBX_KLASS_COMPARE: return pointwise_price(p, user, index, view, depth);
  case IBX_KLASS_REDUCE:
  case IBX_KLASS_COMPOSITE: return axes_price(p, user, view);
  case IBX_KLASS_CONTRACT:
    if (user->op == IBX_TENSOR_matmul) {
      return contraction_price(p, user, index, view);
    }
    return ibx_dim_on_partitions(&view->dim[1]) ? 0
                                                : move_price(p, type, view, 1);
  default: return 0;
  }
}

static double users_price(const planner *p, uint32_t value,
                          const ibx_view *view, int depth) {
  double price = 0;
  if (depth > DEPTH) return price;
  if (p->uses.is_output[value]) price += store_price(p, view);
  uint32_t last = IBX_NO_VALUE;
  for (uint32_t u = p->uses.first[value]; u < p->uses.first[value + 1]; u++) {
    if (p->uses.users[u] == last) continue;
    last = p->uses.users[u];
    const ibx_node *user = &p->graph->nodes[last];
    for (uint32_t i = 0; i < user->operand_count; i++) {
      if (user->operand[i] != value) continue;
      price += user_price(p, user, i, view, depth);
    }
  }
  return price;
}

// ---- Candidates

static void add(ibx_layout *list, size_t *count, ibx_layout layout) {
  if (*count < CANDIDATES) list[(*count)++] = layout;
}

static size_t candidates(const planner *p, const ibx_node *node,
                         ibx_layout *list) {
  const ibx_type *type = &p->graph->values[node->result].type;
  size_t count = 0;
  uint8_t rank = type->rank;
  if (node->op == IBX_TENSOR_conv || node->op == IBX_TENSOR_conv_transpose ||
      node->op == IBX_TENSOR_max_pool || node->op == IBX_TENSOR_avg_pool) {
    add(list, &count, (ibx_layout){.dims = {1}, .count = 1});
    return count;
  }
  if (node->op == IBX_TENSOR_matmul) {
    uint8_t m = (uint8_t)(rank - 2), n = (uint8_t)(rank - 1);
    add(list, &count, (ibx_layout){.dims = {m}, .count = 1});
    add(list, &count, (ibx_layout){.dims = {n}, .count = 1});
    bool packs = rank > 2 && (type->dims[n] == 64 || type->dims[n] == 32);
    if (packs) {
      uint8_t batch = (uint8_t)(rank - 3);
      add(list, &count, (ibx_layout){.dims = {batch, n}, .count = 2});
    }
    if (type->dims[n] % 64 == 0 && type->dims[n] > 64) {
      add(list, &count, (ibx_layout){.dims = {n}, .count = 1, .limit = 64});
    }
    return count;
  }
  for (uint8_t d = 0; d < rank; d++) {
    if (type->dims[d] > 1)
      add(list, &count, (ibx_layout){.dims = {d}, .count = 1});
  }
  if (rank > 2 && (type->dims[rank - 1] == 64 || type->dims[rank - 1] == 32)) {
    for (int d = rank - 2; d >= 0; d--) {
      if (type->dims[d] == 1) continue;
      add(list, &count,
          (ibx_layout){.dims = {(uint8_t)d, (uint8_t)(rank - 1)}, .count = 2});
    }
  }
  if (count == 0) add(list, &count, (ibx_layout){.count = 0});
  return count;
}

// The parts of a concat, moved to their places.
static double parts_price(const planner *p, const ibx_node *node,
                          const ibx_view *view) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  double price = 0;
  for (uint8_t d = 0; d < view->rank; d++)
    sizes[d] = view->dim[d].size;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    const ibx_type *type = &p->graph->values[node->operand[i]].type;
    ibx_view part;
    sizes[node->params.axis] = type->dims[node->params.axis];
    if (p->known[node->operand[i]]) {
      price += ibx_view_slice(view, starts, sizes, NULL, &part)
                   ? ibx_move_price(p->ctx->machine, &part,
                                    &p->views[node->operand[i]])
                   : 4 * transpose_price(p, type);
    }
    starts[node->params.axis] += type->dims[node->params.axis];
  }
  return price;
}

static double own_price(const planner *p, const ibx_node *node,
                        const ibx_layout *layout, const ibx_view *view) {
  const ibx_type *type = &p->graph->values[node->result].type;
  if (node->op == IBX_TENSOR_concat) return parts_price(p, node, view);
  if (node->op != IBX_TENSOR_matmul) {
    double used = 1;
    for (uint8_t d = 0; d < view->rank; d++) {
      used *= (double)partitions_in(&view->dim[d]);
    }
    return cycles(p, IBX_ENGINE_VECTOR, elements_of(type) / used);
  }
  const ibx_type *a = &p->graph->values[node->operand[0]].type;
  uint8_t m = (uint8_t)(type->rank - 2), n = (uint8_t)(type->rank - 1);
  double batch = elements_of(type) / (double)(type->dims[m] * type->dims[n]);
  uint8_t row = layout->dims[layout->count - 1];
  uint8_t column = row == m ? n : m;
  double k = (double)a->dims[n],
         k_tile = k < (double)IBX_PARTITIONS ? k : (double)IBX_PARTITIONS;
  return product_price(p, batch, (double)type->dims[row],
                       (double)partitions_in(&view->dim[row]),
                       (double)type->dims[column], k, k_tile, a->dtype);
}

static void choose(planner *p, ibx_node *node) {
  ibx_layout list[CANDIDATES];
  size_t count = candidates(p, node, list), best = count;
  double best_price = 0;
  const ibx_type *type = &p->graph->values[node->result].type;
  ibx_view best_view = {0};
  for (size_t i = 0; i < count; i++) {
    ibx_view view;
    int32_t partitions;
    int64_t elements;
    if (!ibx_view_make(type, &list[i], &view, &partitions, &elements)) continue;
    double price = own_price(p, node, &list[i], &view) +
                   users_price(p, node->result, &view, 0);
    if (best < count && price >= best_price) continue;
    best = i;
    best_price = price;
    best_view = view;
  }
  if (best == count) return;
  node->decided.layout = ibx_layout_text(&list[best], p->ctx->arena);
  p->views[node->result] = best_view;
  p->known[node->result] = true;
}

static bool follows_operand(const planner *p, const ibx_node *node,
                            ibx_view *out) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  if (klass != IBX_KLASS_UNARY && klass != IBX_KLASS_BINARY &&
      klass != IBX_KLASS_INTEGER && klass != IBX_KLASS_COMPARE &&
      klass != IBX_KLASS_COMPOSITE) {
    return false;
  }
  bool found = false;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint32_t value = node->operand[i];
    if (!p->known[value]) continue;
    if (found && ibx_view_repeats(&p->views[value])) continue;
    if (found) break;
    *out = p->views[value];
    found = !ibx_view_repeats(out);
  }
  return found;
}

ibx_status ibx_pass_plan_layout(ibx_pass_ctx *ctx, ibx_graph *graph) {
  planner p = {
      .ctx = ctx,
      .graph = graph,
      .uses = ibx_graph_uses(graph, ctx->scratch),
      .views = IBX_ARENA_ARRAY(ctx->scratch, graph->value_count, ibx_view),
      .known = IBX_ARENA_ARRAY(ctx->scratch, graph->value_count, bool)};
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_node *node = &graph->nodes[n];
    ibx_view view;
    if (node->op == IBX_TENSOR_constant) continue;
    if (ibx_lower_is_view(node)) {
      uint32_t value = node->operand[0];
      p.known[node->result] =
          p.known[value] && ibx_lower_apply_view(node, &p.views[value], &view);
      if (p.known[node->result]) p.views[node->result] = view;
    } else if (follows_operand(&p, node, &view)) {
      p.views[node->result] = view;
      p.known[node->result] = true;
    } else {
      choose(&p, node);
      // What is put together in HBM lies on no partitions: who reads it chooses.
      if (ibx_lower_is_parts(node)) p.known[node->result] = false;
    }
  }
  return IBX_OK;
}
