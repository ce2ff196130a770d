// SPDX-License-Identifier: Apache-2.0
//
// Operations on integers that fp32 does not compute: bits on Vector, arithmetic
// on GpSimd, the rest by its library, which takes floats too. Comes in a node of
// the INTEGER class, or wrap, encode or decode; goes out the view of its result,
// made by one instruction for each piece. Holds: the operands of the former have
// the dtype of the result, so nothing is converted on the way.

#include "passes/lower.h"

// An operation has an operator of GpSimd or Vector, a kernel of the library, or
// both: GpSimd's own arithmetic wraps integers of 32 bits only.
typedef struct integer_row {
  ibx_tensor_op op;
  uint8_t alu, call;
  bool has_alu, has_call;
  ibx_engine engine; // of the operator
} integer_row;

#define BITS(name, operator)                                                   \
  {.op = IBX_TENSOR_##name,                                                    \
   .alu = IBX_ALU_##operator,                                                  \
   .has_alu = true,                                                            \
   .engine = IBX_ENGINE_VECTOR}
#define CALL(name, kernel)                                                     \
  {.op = IBX_TENSOR_##name, .call = IBX_CALL_##kernel, .has_call = true}
#define BOTH(name, operator, kernel)                                           \
  {.op = IBX_TENSOR_##name,                                                    \
   .alu = IBX_ALU_##operator,                                                  \
   .call = IBX_CALL_##kernel,                                                  \
   .has_alu = true,                                                            \
   .has_call = true,                                                           \
   .engine = IBX_ENGINE_GPSIMD}

static const integer_row ROWS[] = {
    BITS(bit_and, BITWISE_AND),
    BITS(bit_or, BITWISE_OR),
    BITS(bit_xor, BITWISE_XOR),
    BITS(shift_left, SHIFT_LEFT),
    BITS(shift_right, SHIFT_RIGHT),
    BOTH(int_add, ADD, ADD),
    BOTH(int_sub, SUBTRACT, SUBTRACT),
    BOTH(int_mul, MULTIPLY, MULTIPLY),
    CALL(int_div, DIVIDE),
    CALL(int_max, MAXIMUM),
    CALL(int_min, MINIMUM),
    CALL(mod, MODULO),
    CALL(fmod, REMAINDER),
};

// NULL where an operation of the class has no row.
static const integer_row *find(ibx_tensor_op op) {
  for (size_t i = 0; i < IBX_COUNT_OF(ROWS); i++) {
    if (ROWS[i].op == op) return &ROWS[i];
  }
  return NULL;
}

static bool is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

// The instruction of a row, and its engine.
static ibx_insn choose(const integer_row *row, ibx_dtype dtype,
                       ibx_engine *out_engine) {
  bool is_alu =
      row->has_alu &&
      (!row->has_call || (is_whole(dtype) && ibx_dtype_bytes(dtype) == 4));
  ibx_insn insn =
      ibx_insn_make(is_alu ? IBX_OP_tensor_tensor : IBX_OP_gpsimd_call2);
  insn.op[0] = is_alu ? row->alu : row->call;
  *out_engine = is_alu ? row->engine : IBX_ENGINE_GPSIMD;
  return insn;
}

bool ibx_lower_integer(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  ibx_dtype dtype = lower->graph->values[node->result].type.dtype;
  ibx_view a, b;
  const integer_row *row = find(node->op);
  if (row == NULL || (!row->has_call && !is_whole(dtype))) {
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
  ibx_engine engine;
  ibx_insn insn = choose(row, dtype, &engine);
  const ibx_view *slots[IBX_OPERANDS] = {out, &a, &b};
  return ibx_lower_insn(lower, &insn, engine, slots, 4096);
}

bool ibx_lower_convert(ibx_lower *lower, const ibx_node *node, ibx_view *out) {
  ibx_view x;
  if (!ibx_lower_result_like(lower, node, out) ||
      !ibx_lower_like(lower, node->operand[0], out, IBX_DTYPE_NONE, &x)) {
    return ibx_lower_fail(lower, IBX_INTERNAL, "a layout does not fit");
  }
  ibx_view made = *out;
  if (node->op == IBX_TENSOR_decode) x.dtype = node->params.code;
  if (node->op == IBX_TENSOR_encode) made.dtype = node->params.code;
  ibx_insn insn = ibx_insn_make(IBX_OP_gpsimd_call1);
  insn.op[0] = IBX_CALL_CONVERT;
  const ibx_view *slots[IBX_OPERANDS] = {&made, &x};
  return ibx_lower_insn(lower, &insn, IBX_ENGINE_GPSIMD, slots, 4096);
}
