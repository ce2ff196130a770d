// SPDX-License-Identifier: Apache-2.0
//
// Part of legalise: constants of 64 bits, of which the machine has 32. Comes in:
// the graph before it is rewritten. Holds afterwards: no operation computes with
// a constant that saturation would change. Comparisons may, for what they are
// compared with fits; so may what stands for "without end", at the limits of 64
// bits, as exporters write it.

#include "passes/legalise.h"

#include <inttypes.h>

static const int64_t ENDLESS = INT64_C(1) << 62;

static int64_t element(const ibx_weight *weight, int64_t index) {
  int64_t number;
  const uint8_t *data = weight->data;
  __builtin_memcpy(&number, data + index * 8, sizeof(number));
  return number;
}

// The first element that 32 bits do not hold; 0 where they hold all.
static int64_t find_wide(const ibx_weight *weight) {
  bool is_unsigned = weight->type.dtype == IBX_DTYPE_U64;
  int64_t elements = 0;
  if (!is_unsigned && weight->type.dtype != IBX_DTYPE_I64) return 0;
  if (!ibx_type_elements(&weight->type, &elements)) return 0;
  int64_t low = is_unsigned ? 0 : INT32_MIN;
  int64_t high = is_unsigned ? UINT32_MAX : INT32_MAX;
  for (int64_t i = 0; i < elements; i++) {
    int64_t number = element(weight, i);
    bool is_endless =
        number >= ENDLESS || number <= -ENDLESS || (is_unsigned && number < 0);
    if (!is_endless && (number < low || number > high)) return number;
  }
  return 0;
}

// Whether the operation hands elements on, or only tells how they compare.
static bool moves(const ibx_node *node) {
  return ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW ||
         node->op == IBX_TENSOR_gather || node->op == IBX_TENSOR_select;
}

// What a limit beyond 32 bits leaves alone counts as compared.
static bool compares(const ibx_node *node, int64_t wide) {
  return ibx_tensor_op_get(node->op)->klass == IBX_KLASS_COMPARE ||
         node->op == IBX_TENSOR_sign || node->op == IBX_TENSOR_clip ||
         (node->op == IBX_TENSOR_min && wide > 0) ||
         (node->op == IBX_TENSOR_max && wide < 0);
}

ibx_status ibx_legalise_narrow(ibx_pass_ctx *ctx, const ibx_graph *graph) {
  // Of each value: a number in it that 32 bits do not hold, or 0.
  int64_t *wide = IBX_ARENA_ARRAY(ctx->scratch, graph->value_count, int64_t);
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    const ibx_weight *weight = ibx_graph_constant(graph, node->result);
    int64_t found = weight ? find_wide(weight) : 0;
    for (uint32_t i = 0; i < node->operand_count && found == 0; i++)
      found = wide[node->operand[i]];
    if (found == 0 || compares(node, found)) continue;
    wide[node->result] = found;
    if (weight || moves(node)) continue;
    const ibx_node_decl *source = &graph->tables->sources[node->source];
    return ibx_diag_fail(
        ctx->diag, IBX_DIAG_NO_INSTRUCTION,
        (ibx_diag_at){.node = source->name, .op = source->op}, ctx->err,
        "use numbers of 32 bits, or compute this outside of the model",
        "computes with %" PRId64 ", and integers of the machine have 32 bits",
        found);
  }
  return IBX_OK;
}
