// SPDX-License-Identifier: Apache-2.0
//
// Names. Comes in: the nodes of a graph, branch or function and the scope that
// they stand in. Goes out: an order in which to import those that an output
// needs. Holds afterwards: every name is made once, every name that is read is
// made, and no node waits for itself; what breaks these rules was reported.

#include "frontend/import.h"

#include <string.h>

void ibx_scope_init(ibx_scope *scope, ibx_scope *parent, ibx_arena *arena) {
  *scope = (ibx_scope){.parent = parent, .names = {.arena = arena}};
}

bool ibx_scope_bind(ibx_scope *scope, ibx_binding binding) {
  uint32_t index;
  if (ibx_map_find(&scope->names, binding.name, &index)) {
    scope->bindings[index] = binding;
    return false;
  }
  if (scope->count == scope->room) {
    size_t room = scope->room == 0 ? 32 : 2 * scope->room;
    ibx_binding *larger =
        IBX_ARENA_ARRAY(scope->names.arena, room, ibx_binding);
    if (scope->count != 0) {
      memcpy(larger, scope->bindings, scope->count * sizeof(*larger));
    }
    scope->bindings = larger;
    scope->room = room;
  }
  ibx_map_put(&scope->names, binding.name, (uint32_t)scope->count);
  scope->bindings[scope->count++] = binding;
  return true;
}

ibx_binding *ibx_scope_find(ibx_scope *scope, const char *name) {
  for (; scope; scope = scope->parent) {
    uint32_t index;
    if (ibx_map_find(&scope->names, name, &index)) {
      return &scope->bindings[index];
    }
  }
  return NULL;
}

// The nodes of one body: who makes which name, and who waits for whom.
typedef struct body {
  ibx_import *import;
  const ibx_frame *frame;
  Onnx__NodeProto **nodes;
  size_t count;
  ibx_map makers;   // name to node
  uint32_t **reads; // nodes that a node waits for
  uint32_t *read_count;
  uint8_t *state;
} body;

enum { FRESH, WAITING, DONE };

static ibx_diag_at at_node(const body *b, size_t index) {
  const Onnx__NodeProto *node = b->nodes[index];
  const char *domain = ibx_onnx_domain(ibx_onnx_text(node->domain));
  return (ibx_diag_at){
      .node = ibx_import_node_name(b->import, b->frame, node, index),
      .op = ibx_onnx_text(node->op_type),
      .domain = domain,
      .version = ibx_import_version(b->frame, domain)};
}

static void add_makers(body *b) {
  b->makers = (ibx_map){.arena = &b->import->scratch};
  for (size_t i = 0; i < b->count; i++) {
    for (size_t o = 0; o < b->nodes[i]->n_output; o++) {
      const char *name = b->nodes[i]->output[o];
      uint32_t other;
      if (name[0] == 0) continue;
      bool taken = ibx_map_find(&b->frame->scope->names, name, &other) ||
                   ibx_map_find(&b->makers, name, &other);
      if (!taken) {
        ibx_map_put(&b->makers, name, (uint32_t)i);
        continue;
      }
      ibx_diag_at at = at_node(b, i);
      at.attribute = name;
      ibx_diag_add(b->import->sink, IBX_DIAG_DUPLICATE_NAME, at,
                   "give each tensor of a graph a name of its own",
                   "the output '%s' has the name of another tensor", name);
    }
  }
}

// A name whose node has not run yet has no value: nodes of a circle read such
// names, and the circle was reported.
static void bind_pending(body *b) {
  for (size_t i = 0; i < b->makers.room; i++) {
    const char *name = b->makers.slots[i].name;
    if (!name) continue;
    ibx_scope_bind(b->frame->scope,
                   (ibx_binding){.name = name, .value = IBX_NO_VALUE});
  }
}

// Names that a list collects; nested graphs may read many.
typedef struct names {
  ibx_arena *arena;
  const char **at;
  size_t count, room;
} names;

static void add_name(names *list, const char *name) {
  if (name[0] == 0) return;
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 8 : 2 * list->room;
    const char **larger = IBX_ARENA_ARRAY(list->arena, room, const char *);
    if (list->count != 0) {
      memcpy(larger, list->at, list->count * sizeof(*larger));
    }
    list->at = larger;
    list->room = room;
  }
  list->at[list->count++] = name;
}

static void add_captured(names *list, const Onnx__GraphProto *graph);

// The one operator that names a tensor of its graph in an attribute.
static void add_gradient_target(names *list, const Onnx__NodeProto *node) {
  if (strcmp(ibx_onnx_text(node->op_type), "Gradient") != 0) return;
  for (size_t a = 0; a < node->n_attribute; a++) {
    const Onnx__AttributeProto *attribute = node->attribute[a];
    if (strcmp(ibx_onnx_text(attribute->name), "y") != 0) continue;
    add_name(list, ibx_arena_text(list->arena, (const char *)attribute->s.data,
                                  attribute->s.len));
  }
}

static void add_node_reads(names *list, const Onnx__NodeProto *node) {
  for (size_t i = 0; i < node->n_input; i++)
    add_name(list, node->input[i]);
  add_gradient_target(list, node);
  for (size_t a = 0; a < node->n_attribute; a++) {
    const Onnx__AttributeProto *attribute = node->attribute[a];
    if (attribute->g) add_captured(list, attribute->g);
    for (size_t g = 0; g < attribute->n_graphs; g++) {
      add_captured(list, attribute->graphs[g]);
    }
  }
}

// Names that a nested graph makes itself are harmless here: they are either
// unknown outside or hidden, and then a wait too much changes no result.
// Nesting is bounded by the walk over the bytes.
static void add_captured(names *list, const Onnx__GraphProto *graph) {
  for (size_t i = 0; i < graph->n_node; i++) {
    add_node_reads(list, graph->node[i]);
  }
  for (size_t i = 0; i < graph->n_output; i++) {
    add_name(list, ibx_onnx_text(graph->output[i]->name));
  }
}

static void check_direct_reads(body *b, size_t index) {
  const Onnx__NodeProto *node = b->nodes[index];
  for (size_t i = 0; i < node->n_input; i++) {
    const char *name = node->input[i];
    uint32_t maker;
    if (name[0] == 0 || ibx_map_find(&b->makers, name, &maker)) continue;
    if (ibx_scope_find(b->frame->scope, name)) continue;
    ibx_diag_at at = at_node(b, index);
    at.attribute = name;
    ibx_diag_add(b->import->sink, IBX_DIAG_DANGLING_NAME, at,
                 "add the node or initialiser that makes it, or correct the "
                 "name",
                 "no node, input or initialiser makes the input '%s'", name);
    ibx_scope_bind(
        b->frame->scope,
        (ibx_binding){.name = name, .value = IBX_NO_VALUE, .failed = true});
  }
}

static void add_reads(body *b, size_t index) {
  names list = {.arena = &b->import->scratch};
  add_node_reads(&list, b->nodes[index]);
  b->reads[index] = IBX_ARENA_ARRAY(&b->import->scratch, list.count, uint32_t);
  for (size_t i = 0; i < list.count; i++) {
    uint32_t maker;
    if (!ibx_map_find(&b->makers, list.at[i], &maker)) continue;
    b->reads[index][b->read_count[index]++] = maker;
  }
}

static void report_cycle(const body *b, size_t from, size_t to) {
  ibx_diag_at node = at_node(b, from), waits_for = at_node(b, to);
  ibx_diag_add(b->import->sink, IBX_DIAG_CYCLE, node,
               "remove the circle: no node may need its own result",
               "the node waits for '%s', which waits for it", waits_for.node);
}

// Depth first with a stack of its own: a chain may be as long as the file.
typedef struct step {
  uint32_t node, next;
} step;

static size_t visit(body *b, uint32_t root, step *stack, uint32_t *order,
                    size_t count) {
  size_t top = 0;
  if (b->state[root] != FRESH) return count;
  stack[top++] = (step){.node = root};
  b->state[root] = WAITING;
  while (top != 0) {
    step *here = &stack[top - 1];
    if (here->next == b->read_count[here->node]) {
      b->state[here->node] = DONE;
      order[count++] = here->node;
      top--;
      continue;
    }
    uint32_t read = b->reads[here->node][here->next++];
    if (b->state[read] == WAITING) report_cycle(b, here->node, read);
    if (b->state[read] != FRESH) continue;
    b->state[read] = WAITING;
    stack[top++] = (step){.node = read};
  }
  return count;
}

// Marks what the outputs need, so that the visit below can follow the file.
static bool *find_needed(body *b, const char *const *outputs,
                         size_t output_count) {
  ibx_arena *scratch = &b->import->scratch;
  bool *needed = IBX_ARENA_ARRAY(scratch, b->count, bool);
  uint32_t *work = IBX_ARENA_ARRAY(scratch, b->count, uint32_t);
  size_t count = 0;
  for (size_t i = 0; i < output_count; i++) {
    uint32_t maker;
    if (!ibx_map_find(&b->makers, outputs[i], &maker)) continue;
    if (!needed[maker]) work[count++] = maker;
    needed[maker] = true;
  }
  while (count != 0) {
    uint32_t node = work[--count];
    for (uint32_t i = 0; i < b->read_count[node]; i++) {
      uint32_t read = b->reads[node][i];
      if (!needed[read]) work[count++] = read;
      needed[read] = true;
    }
  }
  return needed;
}

size_t ibx_order_nodes(ibx_import *import, const ibx_frame *frame,
                       Onnx__NodeProto **nodes, size_t count,
                       const char *const *outputs, size_t output_count,
                       uint32_t **out_order) {
  ibx_arena *scratch = &import->scratch;
  body b = {.import = import, .frame = frame, .nodes = nodes, .count = count};
  b.reads = IBX_ARENA_ARRAY(scratch, count, uint32_t *);
  b.read_count = IBX_ARENA_ARRAY(scratch, count, uint32_t);
  b.state = IBX_ARENA_ARRAY(scratch, count, uint8_t);
  add_makers(&b);
  for (size_t i = 0; i < count; i++) {
    check_direct_reads(&b, i);
    add_reads(&b, i);
  }
  bind_pending(&b);
  bool *needed = find_needed(&b, outputs, output_count);
  step *stack = IBX_ARENA_ARRAY(scratch, count, step);
  uint32_t *order = IBX_ARENA_ARRAY(scratch, count, uint32_t);
  size_t ordered = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (needed[i]) ordered = visit(&b, i, stack, order, ordered);
  }
  *out_order = order;
  return ordered;
}
