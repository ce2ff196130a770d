// SPDX-License-Identifier: Apache-2.0
//
// Where numbers that are not finite may come from. Comes in: a value. Goes out:
// whether it may have a row without a finite number. The search goes through
// elementwise operations and views to constants: a mask of minus infinity that a
// condition selects may cover a row, a constant one shows whether it does.

#include "passes/infinite.h"

#include "passes/rewrite.h"

#include <math.h>

typedef struct search {
  const ibx_graph *graph;
  uint8_t *known[2]; // verdict by value: of elements, of whole rows
  bool is_partial;   // a constant has rows of which a part is finite
  int depth;         // operations between the value asked for and this one
} search;

// Masks are made in a few operations; what lies further back may be anything.
enum { MOST_DEPTH = 256 };

// Whether each row of `extent` elements has a finite one.
static bool has_finite_rows(const ibx_weight *weight, size_t elements,
                            size_t extent) {
  size_t bytes = ibx_dtype_bytes(weight->type.dtype);
  const uint8_t *data = weight->data;
  for (size_t row = 0; row < elements; row += extent) {
    bool found = false;
    for (size_t i = 0; i < extent && !found; i++) {
      float number;
      ibx_dtype_load_f32(weight->type.dtype, data + (row + i) * bytes, &number,
                         1);
      found = isfinite(number);
    }
    if (!found) return false;
  }
  return true;
}

// Two constants of which each leaves a part of a row may leave nothing together.
static bool is_constant_finite(search *s, const ibx_weight *weight,
                               bool by_rows) {
  const ibx_type *type = &weight->type;
  int64_t elements = 0;
  if (ibx_dtype_get(type->dtype)->kind != IBX_DTYPE_KIND_FLOAT) return true;
  if (!ibx_type_elements(type, &elements) || elements == 0) return true;
  if (has_finite_rows(weight, (size_t)elements, 1)) return true;
  if (!by_rows || type->rank == 0 || s->is_partial) return false;
  s->is_partial = true;
  return has_finite_rows(weight, (size_t)elements,
                         (size_t)type->dims[type->rank - 1]);
}

// How a node passes on what is not finite.
typedef enum passage {
  PASSAGE_NONE,    // not at all: it computes something else
  PASSAGE_ROWS,    // every element stays in its place
  PASSAGE_ELEMENTS // any element may get into any row
} passage;

static passage passage_of(const ibx_node *node) {
  switch (node->op) {
  case IBX_TENSOR_broadcast: return PASSAGE_ROWS;
  case IBX_TENSOR_select:
  case IBX_TENSOR_gather: return PASSAGE_ELEMENTS;
  case IBX_TENSOR_clip:
    return isfinite(node->params.alpha) ? PASSAGE_NONE : PASSAGE_ROWS;
  default: break;
  }
  switch (ibx_tensor_op_get(node->op)->klass) {
  case IBX_KLASS_UNARY:
  case IBX_KLASS_BINARY: return PASSAGE_ROWS;
  case IBX_KLASS_VIEW: return PASSAGE_ELEMENTS;
  default: return PASSAGE_NONE;
  }
}

static bool is_finite(search *s, uint32_t value, bool by_rows);

static bool find_out(search *s, uint32_t value, bool by_rows) {
  const ibx_weight *weight = ibx_graph_constant(s->graph, value);
  if (weight) return is_constant_finite(s, weight, by_rows);
  const ibx_node *node = ibx_graph_maker(s->graph, value);
  passage way = node ? passage_of(node) : PASSAGE_NONE;
  if (way == PASSAGE_NONE) return true;
  if (node->op == IBX_TENSOR_pad && !isfinite(node->params.value)) return false;
  bool any = node->op == IBX_TENSOR_max; // a finite limit is enough
  for (uint32_t i = 0; i < node->operand_count; i++) {
    bool finite =
        is_finite(s, node->operand[i], by_rows && way == PASSAGE_ROWS);
    if (finite == any) return any;
  }
  return !any;
}

static bool is_finite(search *s, uint32_t value, bool by_rows) {
  enum { UNKNOWN, FINITE, INFINITE };
  uint8_t *known = &s->known[by_rows][value];
  if (*known == UNKNOWN) {
    if (s->depth == MOST_DEPTH) return false;
    s->depth++;
    *known = find_out(s, value, by_rows) ? FINITE : INFINITE;
    s->depth--;
  }
  return *known == FINITE;
}

bool ibx_may_have_infinite_row(const ibx_graph *graph, uint32_t value,
                               ibx_arena *scratch) {
  search s = {.graph = graph};
  for (size_t i = 0; i < IBX_COUNT_OF(s.known); i++)
    s.known[i] = IBX_ARENA_ARRAY(scratch, graph->value_count, uint8_t);
  return !is_finite(&s, value, true);
}
