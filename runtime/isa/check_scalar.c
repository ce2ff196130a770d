// SPDX-License-Identifier: Apache-2.0
//
// The rules of Scalar. Comes in: an instruction whose buffers, memories and
// types exist (check.c). Limits: ISA activation, activate2, tensor_scalar.

#include "isa/check.h"

// ISA activation: on v2 the bias is a [P,1] operand; without one it is 0.
static ibx_status check_bias(const ibx_check_ctx *ctx) {
  float bias = ctx->insn->imm[0];
  bool is_constant =
      ctx->insn->operand[2].buffer == IBX_NO_BUFFER && bias != 0.0f;
  if (!is_constant || ctx->machine->target != IBX_TARGET_ibx2) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "the bias is %g; on ibx2 only 0 may be constant, "
                        "put it into a [P,1] operand",
                        (double)bias);
}

// ISA tensor_scalar.
static ibx_status check_tensor_scalar(const ibx_check_ctx *ctx) {
  const uint8_t *op = ctx->insn->op;
  if (ctx->machine->target == IBX_TARGET_ibx2) {
    return IBX_CHECK_FAIL(ctx,
                          "engine scalar of %s cannot run it; use activation",
                          ctx->machine->name);
  }
  bool is_one = (op[0] == IBX_ALU_MULTIPLY || op[0] == IBX_ALU_ADD) &&
                op[1] == IBX_ALU_BYPASS;
  bool is_both = op[0] == IBX_ALU_MULTIPLY && op[1] == IBX_ALU_ADD;
  if (is_one || is_both) return IBX_OK;
  return IBX_CHECK_FAIL(ctx,
                        "op0 is %s, op1 is %s; scalar computes multiply and "
                        "add, multiply, or add",
                        ibx_alu_name(op[0]), ibx_alu_name(op[1]));
}

// A bypassed operator has neither scalar nor sides.
static ibx_status check_bypass(const ibx_check_ctx *ctx, size_t index,
                               uint8_t reverse) {
  const ibx_insn *insn = ctx->insn;
  if (insn->op[index] != IBX_ALU_BYPASS) return IBX_OK;
  bool is_alone = insn->operand[2 + index].buffer == IBX_NO_BUFFER &&
                  insn->imm[index] == 0.0f && !(insn->flags & reverse);
  if (is_alone) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "op%zu is bypass; leave %s and imm%zu out", index,
                        ibx_check_slot_name(2 + index), index);
}

static bool is_pair(uint8_t op0, uint8_t op1) {
  static const uint8_t pairs[][2] = {
      {IBX_ALU_MULTIPLY, IBX_ALU_ADD},    {IBX_ALU_MULTIPLY, IBX_ALU_SUBTRACT},
      {IBX_ALU_MULTIPLY, IBX_ALU_BYPASS}, {IBX_ALU_ADD, IBX_ALU_BYPASS},
      {IBX_ALU_SUBTRACT, IBX_ALU_BYPASS}, {IBX_ALU_BYPASS, IBX_ALU_BYPASS}};
  for (size_t i = 0; i < IBX_COUNT_OF(pairs); i++) {
    if (pairs[i][0] == op0 && pairs[i][1] == op1) return true;
  }
  return false;
}

static bool reduces(uint8_t op) {
  return op == IBX_ALU_ADD || op == IBX_ALU_MAX || op == IBX_ALU_MIN ||
         op == IBX_ALU_ABS_MAX || op == IBX_ALU_ABS_MIN;
}

static ibx_status check_activate2(const ibx_check_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  const uint8_t *op = insn->op;
  unsigned slope = op[2] == IBX_ACT_PRELU ? IBX_USES_IMM2 : 0;
  IBX_TRY(ibx_check_unused(ctx, IBX_USES_IMM0 | IBX_USES_IMM1 | slope));
  if (!is_pair(op[0], op[1])) {
    return IBX_CHECK_FAIL(ctx, "op0 is %s, op1 is %s, which is no pair of it",
                          ibx_alu_name(op[0]), ibx_alu_name(op[1]));
  }
  IBX_TRY(check_bypass(ctx, 0, IBX_FLAG_REVERSE0));
  IBX_TRY(check_bypass(ctx, 1, IBX_FLAG_REVERSE1));
  bool is_idle = insn->reduce == IBX_REDUCE_IDLE;
  if (is_idle ? op[3] == IBX_ALU_BYPASS : reduces(op[3])) return IBX_OK;
  return IBX_CHECK_FAIL(ctx, "op3 is %s; %s", ibx_alu_name(op[3]),
                        is_idle ? "idle reduces nothing"
                                : "add, max, min, abs_max and abs_min reduce");
}

ibx_status ibx_check_scalar_insn(const ibx_check_ctx *ctx) {
  if (ctx->engine != IBX_ENGINE_SCALAR) return IBX_OK;
  switch (ctx->insn->opcode) {
  case IBX_OP_tensor_scalar: return check_tensor_scalar(ctx);
  case IBX_OP_activation:
  case IBX_OP_activation_reduce: return check_bias(ctx);
  case IBX_OP_activate2: return check_activate2(ctx);
  default: return IBX_OK;
  }
}
