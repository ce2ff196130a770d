// SPDX-License-Identifier: Apache-2.0
//
// Quotients that are rounded to whole numbers. Comes in a division of floats;
// goes out one that is rounded once where its last bit decides a whole number: the
// engines multiply with a rounded reciprocal, which may turn 2.5 into 2.4999998.
//
//   before   %q = ibx.div %x, %s        %r = ibx.round %q
//   after    %q = ibx.int_div %x, %s    %r = ibx.round %q
//
// A constant divisor of many elements stays: its reciprocal is rounded once, and
// quantised networks divide by nothing else.

#include "passes/legalise.h"

enum { FEW_ELEMENTS = 128 };

static bool is_rounding(const ibx_graph *graph, const ibx_node *node) {
  ibx_dtype_kind made =
      ibx_dtype_get(graph->values[node->result].type.dtype)->kind;
  bool is_whole = made == IBX_DTYPE_KIND_SINT || made == IBX_DTYPE_KIND_UINT;
  return node->op == IBX_TENSOR_round || node->op == IBX_TENSOR_floor ||
         node->op == IBX_TENSOR_ceil ||
         (node->op == IBX_TENSOR_cast && is_whole);
}

// What gives its operand, or moves it: the rounding may follow behind it.
static bool passes_on(const ibx_node *node) {
  return node->op == IBX_TENSOR_clip || node->op == IBX_TENSOR_max ||
         node->op == IBX_TENSOR_min || node->op == IBX_TENSOR_reshape ||
         node->op == IBX_TENSOR_broadcast || node->op == IBX_TENSOR_div;
}

bool *ibx_rounded_values(const ibx_graph *graph, ibx_arena *arena) {
  bool *rounded = IBX_ARENA_ARRAY(arena, graph->value_count, bool);
  for (size_t n = graph->node_count; n-- > 0;) {
    const ibx_node *node = &graph->nodes[n];
    bool counts =
        is_rounding(graph, node) || (passes_on(node) && rounded[node->result]);
    for (uint32_t i = 0; counts && i < node->operand_count; i++)
      rounded[node->operand[i]] = true;
  }
  return rounded;
}

bool ibx_legalise_quotient(ibx_rewrite *rewrite, const ibx_node *node,
                           const bool *rounded) {
  const ibx_type *type = &rewrite->old->values[node->result].type;
  int64_t elements = 0;
  float number;
  if (node->op != IBX_TENSOR_div ||
      ibx_dtype_get(type->dtype)->kind != IBX_DTYPE_KIND_FLOAT) {
    return false;
  }
  bool is_many = !ibx_type_elements(type, &elements) || elements > FEW_ELEMENTS;
  bool by_number = ibx_graph_uniform(rewrite->old, node->operand[1], &number);
  if (is_many && by_number) return false;
  if (!rounded[node->result]) return false;
  ibx_node copy = *node;
  copy.op = IBX_TENSOR_int_div;
  ibx_rewrite_copy(rewrite, &copy);
  return true;
}
