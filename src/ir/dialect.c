// SPDX-License-Identifier: Apache-2.0
//
// The dialect as IRDL text. Comes in: tensor_ops.def and isa.def. Goes out: one
// irdl.dialect. IRDL checks structure: counts, and what kind of type and
// attribute stands where; relations are verify.c's. Every slot has a constraint
// of its own, because IRDL binds all uses of one constraint to one type, and
// operands that may be missing are optional slots, because a variadic one would
// have to be homogeneous.

#include "ir/context.h"

#include "support/page.h"

static const char *param_base(ibx_param_kind kind) {
  switch (kind) {
  case IBX_PARAM_KIND_INT: return "builtin.integer";
  case IBX_PARAM_KIND_FLOAT: return "builtin.float";
  case IBX_PARAM_KIND_INTS: return "builtin.dense_array";
  case IBX_PARAM_KIND_DTYPE: break;
  }
  return "builtin.type";
}

// The operands of an op: `least` that are there, then optional ones.
static void add_operands(ibx_page *text, size_t least, size_t most,
                         const char *type) {
  if (most == 0) return;
  for (size_t i = 0; i < most; i++) {
    ibx_page_format(text, "    %%o%zu = irdl.base \"!%s\"\n", i, type);
  }
  ibx_page_format(text, "    irdl.operands(");
  for (size_t i = 0; i < most; i++) {
    ibx_page_format(text, "%sslot%zu: %s%%o%zu", i ? ", " : "", i,
                    i < least ? "" : "optional ", i);
  }
  ibx_page_format(text, ")\n");
}

static void add_tensor_op(ibx_page *text, ibx_tensor_op op) {
  const ibx_tensor_op_info *info = ibx_tensor_op_get(op);
  ibx_page_format(text, "  // %s\n  irdl.operation @%s {\n", info->sentence,
                  info->name);
  add_operands(text, info->least, info->most, "builtin.tensor");
  ibx_page_format(text, "    %%r = irdl.base \"!builtin.tensor\"\n"
                        "    irdl.results(result: %%r)\n");
  size_t count = 0;
  for (size_t i = 0; ibx_param_get(i); i++) {
    if (!ibx_tensor_op_has_param(op, i)) continue;
    ibx_page_format(text, "    %%a%zu = irdl.base \"#%s\"\n", i,
                    param_base(ibx_param_get(i)->kind));
  }
  for (size_t i = 0; ibx_param_get(i); i++) {
    if (!ibx_tensor_op_has_param(op, i)) continue;
    ibx_page_format(text, "%s\"%s\" = %%a%zu",
                    count++ ? ", " : "    irdl.attributes {",
                    ibx_param_get(i)->name, i);
  }
  ibx_page_format(text, count ? "}\n  }\n" : "  }\n");
}

static void add_insn_op(ibx_page *text, const ibx_insn_info *info) {
  ibx_page_format(text, "  // %s\n  irdl.operation @isa_%s {\n", info->sentence,
                  info->name);
  add_operands(text, 0, IBX_OPERANDS, "builtin.memref");
  ibx_page_format(text, "    %%a0 = irdl.base \"#builtin.string\"\n"
                        "    irdl.attributes {\"engine\" = %%a0}\n"
                        "  }\n");
}

static void add_buffer_op(ibx_page *text) {
  ibx_page_format(text,
                  "  // bytes of one memory: its extent, and where it lies\n"
                  "  irdl.operation @buffer {\n"
                  "    %%r = irdl.base \"!builtin.memref\"\n"
                  "    irdl.results(result: %%r)\n"
                  "    %%a0 = irdl.base \"#builtin.string\"\n"
                  "    %%a1 = irdl.base \"#builtin.integer\"\n"
                  "    %%a2 = irdl.base \"#builtin.integer\"\n"
                  "    irdl.attributes {\"kind\" = %%a0, \"partition\" = %%a1, "
                  "\"offset\" = %%a2}\n"
                  "  }\n");
}

const char *ibx_ir_dialect_text(ibx_arena *arena) {
  ibx_page text = {.arena = arena};
  ibx_page_format(&text, "irdl.dialect @ibx {\n"
                         "  // memories, in memref types of level 2\n");
  for (int space = 0; space < IBX_SPACE_COUNT; space++) {
    ibx_page_format(&text, "  irdl.attribute @%s\n",
                    ibx_space_name((ibx_space)space));
  }
  ibx_page_format(&text, "\n  // level 1: tensors\n");
  for (int op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    add_tensor_op(&text, (ibx_tensor_op)op);
  }
  ibx_page_format(&text, "\n  // level 2: buffers and instructions\n");
  add_buffer_op(&text);
  for (unsigned opcode = 0; opcode < IBX_OPCODES; opcode++) {
    const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
    if (info) add_insn_op(&text, info);
  }
  ibx_page_format(&text, "}\n");
  return text.data;
}
