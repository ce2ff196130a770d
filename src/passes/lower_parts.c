// SPDX-License-Identifier: Apache-2.0
//
// Tensors that are put together in HBM. Comes in a concatenation that is placed
// there; goes out a buffer in HBM that each part is stored into as soon as it is
// made, so that SBUF holds one part at a time. A part that is such a tensor
// itself is made in its place in the larger one; an output is made in its port.

#include "passes/lower.h"
#include "passes/rewrite.h"

bool ibx_lower_is_view(const ibx_node *node) {
  return ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
         node->op != IBX_TENSOR_concat && node->op != IBX_TENSOR_pad;
}

bool ibx_lower_is_parts(const ibx_node *node) {
  return node->op == IBX_TENSOR_concat && node->decided.place != NULL;
}

// The first concatenation in HBM that reads a value, or NULL.
static const ibx_node *reader(const ibx_lower *lower, uint32_t value) {
  const ibx_uses *uses = &lower->uses;
  for (uint32_t u = uses->first[value]; u < uses->first[value + 1]; u++) {
    const ibx_node *node = &lower->graph->nodes[uses->users[u]];
    if (ibx_lower_is_parts(node)) return node;
  }
  return NULL;
}

static int64_t extent(const ibx_lower *lower, const ibx_node *node,
                      uint32_t i) {
  return lower->graph->values[node->operand[i]].type.dims[node->params.axis];
}

// Operand `i` of a concatenation as a part of `whole`.
static bool part_of(const ibx_lower *lower, const ibx_node *node, uint32_t i,
                    const ibx_view *whole, ibx_view *out) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  for (uint8_t d = 0; d < whole->rank; d++)
    sizes[d] = whole->dim[d].size;
  for (uint32_t before = 0; before < i; before++)
    starts[node->params.axis] += extent(lower, node, before);
  sizes[node->params.axis] = extent(lower, node, i);
  return ibx_view_slice(whole, starts, sizes, NULL, out);
}

static uint32_t operand_of(const ibx_node *node, uint32_t value) {
  uint32_t i = 0;
  while (node->operand[i] != value)
    i++;
  return i;
}

// The port that a value goes to as it is, or output_count.
static size_t port_of(const ibx_lower *lower, uint32_t value) {
  const ibx_graph *graph = lower->graph;
  for (size_t i = 0; i < graph->output_count; i++) {
    const ibx_port *port = &graph->outputs[i];
    if (port->value == value && port->state < 0 &&
        port->type.dtype == graph->values[value].type.dtype) {
      return i;
    }
  }
  return graph->output_count;
}

// Where the result of a concatenation in HBM lies.
static bool home_of(ibx_lower *lower, uint32_t value, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  const ibx_node *larger = reader(lower, value);
  ibx_view whole;
  if (lower->parts[value]) {
    ibx_view_take(lower->parts[value], out);
    return true;
  }
  size_t port = port_of(lower, value);
  if (port < lower->graph->output_count) {
    *out = ibx_view_linear(type, ibx_lower_output_buffer(lower, port));
  } else if (larger) {
    if (!home_of(lower, larger->result, &whole) ||
        !part_of(lower, larger, operand_of(larger, value), &whole, out)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a part has no place");
    }
  } else {
    *out = ibx_lower_scratch(lower, type, "parts");
  }
  lower->parts[value] = ibx_view_keep(out, lower->arena);
  return true;
}

static bool store(ibx_lower *lower, const ibx_node *node, uint32_t i,
                  const ibx_view *whole) {
  ibx_view part, have;
  ibx_layout none = {.count = 0};
  if (extent(lower, node, i) == 0) return true;
  if (!part_of(lower, node, i, whole, &part)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a part has no place");
  }
  return (ibx_lower_view(lower, node->operand[i], &have) ||
          ibx_lower_in_layout(lower, node->operand[i], &none, &have)) &&
         ibx_lower_move(lower, &part, &have);
}

// Whether a value was made in its place, or is stored there when it is made.
static bool is_stored(ibx_lower *lower, const ibx_node *node, uint32_t i) {
  uint32_t value = node->operand[i];
  if (!lower->views[value]) return false; // a constant
  if (reader(lower, value) != node || operand_of(node, value) != i)
    return false;
  const ibx_node *own = ibx_graph_maker(lower->graph, value);
  if (!own) return false; // an input
  return !ibx_lower_is_parts(own) ||
         port_of(lower, value) == lower->graph->output_count;
}

bool ibx_lower_store_part(ibx_lower *lower, uint32_t value) {
  const ibx_node *node = reader(lower, value);
  ibx_view whole;
  if (!node || ibx_lower_is_parts(ibx_graph_maker(lower->graph, value)))
    return true;
  return home_of(lower, node->result, &whole) &&
         store(lower, node, operand_of(node, value), &whole);
}

bool ibx_lower_parts(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  if (!home_of(lower, node->result, out)) return false;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    if (!is_stored(lower, node, i) && !store(lower, node, i, out)) return false;
  }
  return true;
}
