// SPDX-License-Identifier: Apache-2.0
//
// 64-bit values of the pass legalise_types. Comes in the old graph; goes out which
// values have all their bits (from an input or a constant by moves, or from an
// operation that is exact), and which of bits and numbers their users want.

#include "passes/legalise_types.h"

bool ibx_types_only_moves(const ibx_node *node) {
  return (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
          node->op != IBX_TENSOR_pad && node->op != IBX_TENSOR_bitcast) ||
         node->op == IBX_TENSOR_gather;
}

// Operands that have the type of the result.
bool ibx_types_is_moved(const ibx_node *node, uint32_t i) {
  if (node->op == IBX_TENSOR_gather) return i == 0;
  return node->op != IBX_TENSOR_select || i > 0;
}

// From f64, or to it.
bool ibx_types_casts_bits(const ibx_types_pass *t, const ibx_node *node) {
  if (node->op != IBX_TENSOR_bitcast) return false;
  ibx_dtype from = ibx_types_dtype(t, node->operand[0]);
  return ibx_types_is_wide(from) &&
         (from == IBX_DTYPE_F64 ||
          ibx_types_dtype(t, node->result) == IBX_DTYPE_F64);
}

// Operations on f64 that the library of GpSimd has; the engines would lose the
// lower bits of their operands.
static const struct {
  ibx_tensor_op op, exact;
} DOUBLES[] = {
    {IBX_TENSOR_add, IBX_TENSOR_int_add}, {IBX_TENSOR_sub, IBX_TENSOR_int_sub},
    {IBX_TENSOR_mul, IBX_TENSOR_int_mul}, {IBX_TENSOR_div, IBX_TENSOR_int_div},
    {IBX_TENSOR_max, IBX_TENSOR_int_max}, {IBX_TENSOR_mod, IBX_TENSOR_mod},
    {IBX_TENSOR_fmod, IBX_TENSOR_fmod},
};

bool ibx_types_is_exact(const ibx_types_pass *t, const ibx_node *node,
                        ibx_tensor_op *out) {
  for (size_t i = 0; i < IBX_COUNT_OF(DOUBLES); i++) {
    if (DOUBLES[i].op != node->op) continue;
    *out = DOUBLES[i].exact;
    return ibx_types_dtype(t, node->result) == IBX_DTYPE_F64;
  }
  return false;
}

void ibx_types_find_bits(ibx_types_pass *t) {
  const ibx_graph *old = t->rewrite.old;
  for (uint32_t v = 0; v < old->value_count; v++) {
    bool is_input = old->values[v].node == IBX_NO_VALUE;
    t->has_bits[v] = is_input && ibx_types_is_wide(ibx_types_dtype(t, v));
  }
  ibx_tensor_op exact;
  for (size_t n = 0; n < old->node_count; n++) {
    const ibx_node *node = &old->nodes[n];
    bool *has = &t->has_bits[node->result];
    if (!ibx_types_is_wide(ibx_types_dtype(t, node->result))) continue;
    *has =
        node->op == IBX_TENSOR_constant || ibx_types_is_exact(t, node, &exact);
    if (node->op == IBX_TENSOR_cast) {
      *has = ibx_types_dtype(t, node->result) == IBX_DTYPE_F64 &&
             ibx_types_is_whole(ibx_types_dtype(t, node->operand[0]));
    } else if (node->op == IBX_TENSOR_bitcast) {
      *has = ibx_types_casts_bits(t, node) || t->has_bits[node->operand[0]];
    } else if (ibx_types_only_moves(node)) {
      for (uint32_t i = 0; i < node->operand_count; i++)
        *has |= ibx_types_is_moved(node, i) && t->has_bits[node->operand[i]];
    }
  }
}

void ibx_types_find_wants(ibx_types_pass *t) {
  const ibx_graph *old = t->rewrite.old;
  for (size_t i = 0; i < old->output_count; i++) {
    uint32_t value = old->outputs[i].value;
    t->wants_bits[value] = t->has_bits[value];
  }
  ibx_tensor_op exact;
  for (size_t n = old->node_count; n-- > 0;) {
    const ibx_node *node = &old->nodes[n];
    bool is_cast = ibx_types_casts_bits(t, node);
    bool moves = ibx_types_is_wide(ibx_types_dtype(t, node->result)) &&
                 (ibx_types_only_moves(node) ||
                  (node->op == IBX_TENSOR_bitcast && !is_cast));
    bool as_bits = t->wants_bits[node->result] && t->has_bits[node->result];
    bool as_real = t->wants_real[node->result] || !as_bits;
    for (uint32_t i = 0; i < node->operand_count; i++) {
      uint32_t value = node->operand[i];
      bool is_bits = is_cast || ibx_types_is_exact(t, node, &exact) ||
                     (node->op == IBX_TENSOR_cast && t->has_bits[value] &&
                      ibx_types_dtype(t, value) == IBX_DTYPE_F64);
      bool is_move = moves && ibx_types_is_moved(node, i);
      t->wants_bits[value] |= is_bits || (is_move && as_bits);
      t->wants_real[value] |= is_move ? as_real : !is_bits;
    }
  }
}
