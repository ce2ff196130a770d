// SPDX-License-Identifier: Apache-2.0
//
// opt_recover: finds operations that the exporter has written out.
//
//   before   %d = ibx.div %x, 1.414    %e = ibx.erf %d     %s = ibx.add %e, 1
//            %m = ibx.mul %x, %s       %y = ibx.mul %m, 0.5
//   after    %y = ibx.gelu %x
//
// The formulas stand in recover.def. One of them is replaced where everything
// between x and the result serves the result alone, so that nothing is computed
// twice, and where the dialect has the operation for the reduced dimensions:
// trailing ones for norms, one for softmax. Gains and biases follow as products
// and sums, which is what legalise makes of them anyway.
//
// Needs:    the graph as it was imported: legalise takes norms apart.
// Provides: no formula of the table is left written out.
// Runs again while it finds something: sigmoid, then what is made of it.

#include "passes/formula.h"
#include "passes/rewrite.h"

#include <string.h>

static const struct {
  ibx_tensor_op op;
  const char *formula;
} ROWS[] = {
#define IBX_RECOVER(op, formula) {IBX_TENSOR_##op, formula},
#include "passes/recover.def"
};

enum { ROW_COUNT = IBX_COUNT_OF(ROWS), MOST_SEEN = 64 };

typedef struct recovery_row {
  ibx_tensor_op op;
  const ibx_formula *formula;
  bool calls[IBX_TENSOR_OP_COUNT];
} recovery_row;

typedef struct recovery {
  ibx_rewrite rewrite;
  const recovery_row *rows;
  bool *inside; // node: of the match that is looked at; else false
  size_t found;
} recovery;

// What a value is computed from, nearest first.
typedef struct surroundings {
  uint32_t value[MOST_SEEN];
  size_t count;
  bool ops[IBX_TENSOR_OP_COUNT];
} surroundings;

static ibx_status read_rows(ibx_pass_ctx *ctx, recovery_row *rows) {
  for (size_t r = 0; r < ROW_COUNT; r++) {
    rows[r].op = ROWS[r].op;
    rows[r].formula = ibx_formula_parse(ROWS[r].formula, ctx->scratch);
    if (!rows[r].formula) {
      return IBX_FAIL(ctx->err, INTERNAL, "opt_recover: no formula: %s",
                      ROWS[r].formula);
    }
    ibx_formula_calls(rows[r].formula, rows[r].calls);
  }
  return IBX_OK;
}

static bool is_float(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_F32 || dtype == IBX_DTYPE_F16 ||
         dtype == IBX_DTYPE_BF16;
}

// Whether formulas may pass through the node.
static bool is_arithmetic(const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  return klass == IBX_KLASS_UNARY || klass == IBX_KLASS_BINARY ||
         klass == IBX_KLASS_REDUCE || node->op == IBX_TENSOR_broadcast ||
         node->op == IBX_TENSOR_reshape;
}

static void see(surroundings *around, uint32_t value) {
  for (size_t i = 0; i < around->count; i++) {
    if (around->value[i] == value) return;
  }
  if (around->count < MOST_SEEN) around->value[around->count++] = value;
}

static void look_around(const ibx_graph *graph, uint32_t value,
                        surroundings *around) {
  see(around, value);
  for (size_t i = 0; i < around->count; i++) {
    const ibx_node *node = ibx_graph_maker(graph, around->value[i]);
    if (!node || !is_arithmetic(node)) continue;
    around->ops[node->op] = true;
    for (uint32_t k = 0; k < node->operand_count; k++)
      see(around, node->operand[k]);
  }
}

// Sums and means are found in each other's place.
static bool has_calls(const surroundings *around, const recovery_row *row) {
  for (size_t op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    bool linear = op == IBX_TENSOR_reduce_mean || op == IBX_TENSOR_reduce_sum;
    bool seen = linear ? around->ops[IBX_TENSOR_reduce_mean] ||
                             around->ops[IBX_TENSOR_reduce_sum]
                       : around->ops[op];
    if (row->calls[op] && !seen) return false;
  }
  return true;
}

static bool serves_inside(const recovery *r, uint32_t value) {
  const ibx_uses *uses = &r->rewrite.uses;
  if (uses->is_output[value]) return false;
  for (uint32_t u = uses->first[value]; u < uses->first[value + 1]; u++) {
    if (!r->inside[uses->users[u]]) return false;
  }
  return true;
}

// Whether nobody else needs what lies between x and the result.
static bool is_closed(recovery *r, const ibx_formula_match *match,
                      uint32_t result) {
  bool closed = true;
  for (size_t i = 0; i < match->inside_count; i++)
    r->inside[match->inside[i]] = true;
  for (size_t i = 0; i < match->inside_count; i++) {
    uint32_t value = r->rewrite.old->nodes[match->inside[i]].result;
    closed = closed && (value == result || serves_inside(r, value));
  }
  for (size_t i = 0; i < match->inside_count; i++)
    r->inside[match->inside[i]] = false;
  return closed;
}

// The `axis` of the operation that reduces these dimensions, if there is one.
static bool axis_of(ibx_tensor_op op, const ibx_ints *axes, uint8_t rank,
                    int64_t *out) {
  *out = axes->at[0];
  if (op == IBX_TENSOR_softmax) return axes->len == 1;
  return axes->len == 0 || axes->at[0] + axes->len == rank;
}

static bool has_extents(const ibx_type *a, const ibx_type *b) {
  return a->rank == b->rank &&
         memcmp(a->dims, b->dims, a->rank * sizeof *a->dims) == 0;
}

static uint32_t spread(recovery *r, uint32_t value, const ibx_type *type) {
  ibx_graph *graph = &r->rewrite.graph;
  value = r->rewrite.map[value];
  ibx_params shape = {.shape = ibx_extents(type)};
  const ibx_type *have = &graph->values[value].type;
  if (has_extents(have, type)) return value;
  return ibx_rewrite_add(&r->rewrite, IBX_TENSOR_broadcast, &shape, &value, 1);
}

static uint32_t combine(recovery *r, ibx_tensor_op op, uint32_t value,
                        uint32_t old, const ibx_type *type) {
  if (old == IBX_NO_VALUE || value == IBX_NO_VALUE) return value;
  uint32_t operands[] = {value, spread(r, old, type)};
  if (operands[1] == IBX_NO_VALUE) return IBX_NO_VALUE;
  return ibx_rewrite_add(&r->rewrite, op, &(ibx_params){0}, operands, 2);
}

static void replace(recovery *r, const ibx_node *node, ibx_tensor_op op,
                    const ibx_params *params, const ibx_formula_match *match) {
  const ibx_type *type = &r->rewrite.old->values[node->result].type;
  uint32_t x = r->rewrite.map[match->x];
  uint32_t value = ibx_rewrite_add(&r->rewrite, op, params, &x, 1);
  if (match->factor != 1.0 && value != IBX_NO_VALUE) {
    ibx_params scale = {.alpha = (float)match->factor};
    value = ibx_rewrite_add(&r->rewrite, IBX_TENSOR_affine, &scale, &value, 1);
  }
  value = combine(r, IBX_TENSOR_mul, value, match->gain, type);
  value = combine(r, IBX_TENSOR_add, value, match->bias, type);
  r->rewrite.map[node->result] = value;
  r->found++;
}

// Whether a gain or bias can be spread to the result's extents.
static bool can_spread(const ibx_graph *graph, uint32_t value,
                       const ibx_type *type) {
  if (value == IBX_NO_VALUE) return true;
  const ibx_type *have = &graph->values[value].type;
  for (uint8_t d = 0; d < type->rank; d++) {
    if (have->dims[d] != type->dims[d] && have->dims[d] != 1) return false;
  }
  return have->rank == type->rank;
}

static bool recover_as(recovery *r, const ibx_node *node,
                       const recovery_row *row, uint32_t x) {
  const ibx_graph *graph = r->rewrite.old;
  const ibx_type *type = &graph->values[node->result].type;
  ibx_formula_match match;
  ibx_params params = {0};
  if (!has_extents(&graph->values[x].type, type) ||
      !ibx_formula_matches(row->formula, graph, node->result, x, &match) ||
      !axis_of(row->op, &match.axes, type->rank, &params.axis) ||
      !can_spread(graph, match.gain, type) ||
      !can_spread(graph, match.bias, type) ||
      !is_closed(r, &match, node->result)) {
    return false;
  }
  params.epsilon = (float)match.epsilon;
  replace(r, node, row->op, &params, &match);
  return true;
}

static bool recover(recovery *r, const ibx_node *node) {
  const ibx_graph *graph = r->rewrite.old;
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  if (klass != IBX_KLASS_UNARY && klass != IBX_KLASS_BINARY) return false;
  if (!is_float(graph->values[node->result].type.dtype)) return false;
  surroundings around = {0};
  look_around(graph, node->result, &around);
  for (size_t i = 0; i < ROW_COUNT; i++) {
    const recovery_row *row = &r->rows[i];
    if (row->op == node->op || !has_calls(&around, row)) continue;
    for (size_t k = 1; k < around.count; k++) {
      if (recover_as(r, node, row, around.value[k])) return true;
    }
  }
  return false;
}

static ibx_status run(ibx_pass_ctx *ctx, const recovery_row *rows,
                      ibx_graph *graph, size_t *out_found) {
  recovery r = {.rewrite = ibx_rewrite_begin(ctx, graph, NULL),
                .rows = rows,
                .inside =
                    IBX_ARENA_ARRAY(ctx->scratch, graph->node_count, bool)};
  for (size_t n = 0; n < graph->node_count && r.rewrite.status == IBX_OK; n++) {
    const ibx_node *node = &graph->nodes[n];
    r.rewrite.source = node->source;
    if (!recover(&r, node)) ibx_rewrite_copy(&r.rewrite, node);
  }
  *out_found = r.found;
  return ibx_rewrite_end(&r.rewrite, graph);
}

ibx_status ibx_pass_opt_recover(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (ctx->options.level == 0) return IBX_OK;
  recovery_row rows[ROW_COUNT] = {0};
  IBX_TRY(read_rows(ctx, rows));
  size_t found;
  do {
    IBX_TRY(run(ctx, rows, graph, &found));
  } while (found > 0);
  return IBX_OK;
}
