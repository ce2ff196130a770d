// SPDX-License-Identifier: Apache-2.0
//
// Operations on integers that fp32 does not compute: bits on Vector, remainders
// by the library of GpSimd. Comes in a node of the INTEGER class; goes out the
// view of its result, made by one instruction for each piece. Holds: the
// operands have the dtype of the result, so nothing is converted on the way.

#include "passes/lower.h"

typedef struct integer_row {
  ibx_tensor_op op;
  uint8_t opcode;
  uint8_t number; // of the operator or of the library's kernel
  ibx_engine engine;
} integer_row;

#define BITS(name, alu)                                                        \
  {IBX_TENSOR_##name, IBX_OP_tensor_tensor, IBX_ALU_##alu, IBX_ENGINE_VECTOR}
#define CALL(name, kernel)                                                     \
  {IBX_TENSOR_##name, IBX_OP_gpsimd_call2, IBX_CALL_##kernel, IBX_ENGINE_GPSIMD}

static const integer_row ROWS[] = {
    BITS(bit_and, BITWISE_AND),     BITS(bit_or, BITWISE_OR),
    BITS(bit_xor, BITWISE_XOR),     BITS(shift_left, SHIFT_LEFT),
    BITS(shift_right, SHIFT_RIGHT), CALL(mod, MODULO),
    CALL(fmod, REMAINDER),
};

static const integer_row *find(ibx_tensor_op op) {
  const integer_row *found = ROWS;
  while (found->op != op)
    found++;
  return found;
}

bool ibx_lower_integer(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  ibx_view a, b;
  if (kind != IBX_DTYPE_KIND_SINT && kind != IBX_DTYPE_KIND_UINT) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "%s of %s has no instruction; put Cast to int32 in "
                          "front of it",
                          ibx_tensor_op_get(node->op)->name,
                          ibx_dtype_get(dtype)->name);
  }
  if (!ibx_lower_result_like(lower, node, out) ||
      !ibx_lower_like(lower, node->operand[0], out, IBX_DTYPE_NONE, &a) ||
      !ibx_lower_like(lower, node->operand[1], out, IBX_DTYPE_NONE, &b)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a layout does not fit");
  }
  const integer_row *row = find(node->op);
  ibx_insn insn = ibx_insn_make(row->opcode);
  insn.op[0] = row->number;
  const ibx_view *slots[IBX_OPERANDS] = {out, &a, &b};
  return ibx_lower_insn(lower, &insn, row->engine, slots, 4096);
}
