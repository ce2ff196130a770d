// SPDX-License-Identifier: Apache-2.0
//
// legalise_types: only element types that the machine moves and computes with.
//
//   before   f8E4M3FNUZ, f4E2M1FN, i4 .. values, f8E4M3FN before ibx4, f64
//   after    ui8 or i8 values that carry them; `decode` where something is computed
//            with them, `encode` where they are made; f64 computes in f32, but
//            for arithmetic of two operands
//
// Each value of such a type has up to two in the new graph: its bits, in the type
// that carries it, and what it is computed with. Both are made where first wanted.
// Views work on the bits. 64-bit values keep theirs as f64, which moves as it is:
// so what is only moved, or bitcast, loses nothing; the legaliser narrows 64-bit
// integers that have none.
//
// Needs:    static shapes.
// Provides: f64 in moves, `encode`, `decode` and the INTEGER class only; of the
//           other types that no engine has, codes of these two only. Ports keep
//           ONNX's types.

#include "passes/legalise_types.h"

// ---- Types

ibx_dtype ibx_types_dtype(const ibx_types_pass *t, uint32_t old) {
  return t->rewrite.old->values[old].type.dtype;
}

bool ibx_types_is_wide(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->bits == 64;
}

// One byte that no engine of the target computes with.
bool ibx_types_is_carried(const ibx_pass_ctx *ctx, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_F8E4M3FN)
    return ctx->machine->target < IBX_TARGET_ibx4;
  return ibx_dtype_carrier(dtype) != dtype && !ibx_types_is_wide(dtype);
}

bool ibx_types_is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

// What is computed with in its place: wide enough for every operation.
static ibx_dtype work_dtype(const ibx_pass_ctx *ctx, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_F64) return IBX_DTYPE_F32;
  if (!ibx_types_is_carried(ctx, dtype)) return dtype;
  return ibx_types_is_whole(dtype) ? IBX_DTYPE_I32 : IBX_DTYPE_F32;
}

static ibx_type input_type(ibx_pass_ctx *ctx, ibx_type type) {
  if (ibx_types_is_carried(ctx, type.dtype))
    type.dtype = ibx_dtype_carrier(type.dtype);
  return type;
}

// ---- New nodes

uint32_t ibx_types_add(ibx_types_pass *t, ibx_tensor_op op,
                       const ibx_params *params, uint32_t operand) {
  return ibx_rewrite_add(&t->rewrite, op, params, &operand, 1);
}

ibx_dtype ibx_types_new_dtype(const ibx_types_pass *t, uint32_t value) {
  if (value == IBX_NO_VALUE) return IBX_DTYPE_NONE;
  return t->rewrite.graph.values[value].type.dtype;
}

uint32_t ibx_types_cast_to(ibx_types_pass *t, uint32_t value, ibx_dtype dtype) {
  if (value == IBX_NO_VALUE || ibx_types_new_dtype(t, value) == dtype)
    return value;
  return ibx_types_add(t, IBX_TENSOR_cast, &(ibx_params){.dtype = dtype},
                       value);
}

uint32_t ibx_types_encode(ibx_types_pass *t, uint32_t value, ibx_dtype code) {
  return ibx_types_add(t, IBX_TENSOR_encode, &(ibx_params){.code = code},
                       value);
}

uint32_t ibx_types_decode(ibx_types_pass *t, uint32_t value, ibx_dtype code,
                          ibx_dtype dtype) {
  return ibx_types_add(t, IBX_TENSOR_decode,
                       &(ibx_params){.code = code, .dtype = dtype}, value);
}

const ibx_node *ibx_types_constant(const ibx_types_pass *t, uint32_t old) {
  const ibx_node *maker = ibx_graph_maker(t->rewrite.old, old);
  return maker && maker->op == IBX_TENSOR_constant ? maker : NULL;
}

// The constant as `dtype`: data that have it, or floats that are packed as it.
static uint32_t constant_as(ibx_types_pass *t, const ibx_node *node,
                            ibx_dtype dtype, bool is_bits) {
  ibx_tables *tables = t->rewrite.graph.tables;
  ibx_params params = node->params;
  params.dtype = dtype;
  if (is_bits) {
    ibx_weight weight = tables->weights[node->params.weight];
    weight.type.dtype = dtype;
    params.weight =
        ibx_tables_add_weight(tables, t->rewrite.ctx->arena, weight);
  }
  return ibx_rewrite_add(&t->rewrite, IBX_TENSOR_constant, &params, NULL, 0);
}

// ---- The two values of an old one

uint32_t ibx_types_bits(ibx_types_pass *t, uint32_t old) {
  ibx_dtype dtype = ibx_types_dtype(t, old);
  const ibx_node *constant = ibx_types_constant(t, old);
  if (t->bits[old] != IBX_NO_VALUE) return t->bits[old];
  bool is_own = dtype == IBX_DTYPE_F64;
  if (constant) {
    t->bits[old] = constant_as(t, constant, ibx_dtype_carrier(dtype), !is_own);
  } else {
    t->bits[old] = ibx_types_encode(t, t->real[old], dtype);
  }
  return t->bits[old];
}

// What has 8 bits or fewer fits into bf16, so weights stay small.
static uint32_t constant_real(ibx_types_pass *t, const ibx_node *node,
                              ibx_dtype dtype, ibx_dtype work) {
  bool is_small = !ibx_types_is_wide(dtype);
  uint32_t value =
      constant_as(t, node, is_small ? IBX_DTYPE_BF16 : work, false);
  return ibx_types_cast_to(t, value, work);
}

uint32_t ibx_types_real(ibx_types_pass *t, uint32_t old) {
  ibx_dtype dtype = ibx_types_dtype(t, old);
  ibx_dtype work = work_dtype(t->rewrite.ctx, dtype);
  const ibx_node *constant = ibx_types_constant(t, old);
  if (t->real[old] != IBX_NO_VALUE) return t->real[old];
  if (constant && !ibx_types_is_whole(dtype)) {
    t->real[old] = constant_real(t, constant, dtype, work);
  } else if (constant && ibx_types_is_wide(dtype)) {
    t->real[old] = constant_as(t, constant, dtype, false);
  } else if (ibx_types_is_whole(dtype) && !ibx_types_is_wide(dtype)) {
    t->real[old] = ibx_types_cast_to(t, ibx_types_bits(t, old), work);
  } else {
    t->real[old] = ibx_types_decode(t, ibx_types_bits(t, old), dtype, work);
  }
  return t->real[old];
}

// Where the type is one of the machine there is one value.
bool ibx_types_is_plain(const ibx_types_pass *t, uint32_t old) {
  ibx_dtype dtype = ibx_types_dtype(t, old);
  if (dtype == IBX_DTYPE_F64 || ibx_types_is_carried(t->rewrite.ctx, dtype))
    return false;
  return !ibx_types_is_wide(dtype) || t->bits[old] == IBX_NO_VALUE;
}

// ---- Views

static uint32_t move(ibx_types_pass *t, const ibx_node *node, bool as_bits) {
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_params params = node->params;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    bool is_bits = as_bits && ibx_types_is_moved(node, i);
    operands[i] = is_bits ? ibx_types_bits(t, node->operand[i])
                          : ibx_types_real(t, node->operand[i]);
  }
  return ibx_rewrite_add(&t->rewrite, node->op, &params, operands,
                         node->operand_count);
}

// A number around the bits is the number that has its code.
static float code_number(ibx_dtype dtype, float value) {
  uint8_t code = 0;
  float number = 0;
  ibx_dtype_store_f32(dtype, &value, &code, 1);
  ibx_dtype_load_f32(ibx_dtype_carrier(dtype), &code, &number, 1);
  return number;
}

static void carry_move(ibx_types_pass *t, const ibx_node *node) {
  ibx_node copy = *node;
  if (node->op == IBX_TENSOR_pad) {
    copy.params.value =
        code_number(ibx_types_dtype(t, node->result), node->params.value);
  }
  t->bits[node->result] = move(t, &copy, true);
}

static void move_wide(ibx_types_pass *t, const ibx_node *node) {
  uint32_t result = node->result;
  bool as_bits = t->has_bits[result] && t->wants_bits[result];
  if (as_bits) t->bits[result] = move(t, node, true);
  if (!as_bits || t->wants_real[result]) {
    t->real[result] = move(t, node, false);
  }
}

// ---- What is computed

static ibx_diag_at at_node(const ibx_types_pass *t, const ibx_node *node) {
  const ibx_node_decl *source = &t->rewrite.old->tables->sources[node->source];
  return (ibx_diag_at){.node = source->name, .op = source->op};
}

static const char AS_SINGLE[] =
    "convert the model to float32, or judge the results by it";

static void compute_double(ibx_types_pass *t, const ibx_node *node,
                           ibx_tensor_op op) {
  ibx_diag_slow(t->rewrite.ctx->diag, IBX_DIAG_DOUBLE_ON_GPSIMD,
                at_node(t, node),
                "convert the model to float32, which engines compute with",
                "computes in float64, exactly, which GpSimd's library does at "
                "%u cycles an element",
                t->rewrite.ctx->machine->gpsimd_call_rate);
  uint32_t operands[2];
  for (uint32_t i = 0; i < 2; i++)
    operands[i] = ibx_types_bits(t, node->operand[i]);
  t->bits[node->result] =
      ibx_rewrite_add(&t->rewrite, op, &node->params, operands, 2);
}

static void compute(ibx_types_pass *t, const ibx_node *node) {
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_dtype made = ibx_types_dtype(t, node->result);
  bool is_double = made == IBX_DTYPE_F64;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = ibx_types_real(t, node->operand[i]);
    is_double |= ibx_types_dtype(t, node->operand[i]) == IBX_DTYPE_F64;
  }
  if (is_double && t->doubles++ == 0) t->first_double = node;
  if (is_double) {
    ibx_diag_slow(t->rewrite.ctx->diag, IBX_DIAG_DOUBLE_AS_SINGLE,
                  at_node(t, node), AS_SINGLE,
                  "computes in float32 what is float64 in the model: it is the "
                  "widest type that engines compute with");
  }
  uint32_t value = ibx_rewrite_add(&t->rewrite, node->op, &node->params,
                                   operands, node->operand_count);
  if (ibx_types_is_carried(t->rewrite.ctx, made)) {
    t->bits[node->result] = ibx_types_encode(t, value, made);
  } else {
    t->real[node->result] = value;
  }
}

static void rewrite_node(ibx_types_pass *t, const ibx_node *node) {
  ibx_tensor_op exact;
  ibx_dtype made = ibx_types_dtype(t, node->result);
  bool carried = ibx_types_is_carried(t->rewrite.ctx, made);
  t->rewrite.source = node->source;
  if (node->op == IBX_TENSOR_constant) {
    if (carried || ibx_types_is_wide(made)) return; // made where it is wanted
    t->real[node->result] = constant_as(t, node, node->params.dtype, false);
  } else if (node->op == IBX_TENSOR_cast) {
    ibx_types_cast(t, node);
  } else if (node->op == IBX_TENSOR_bitcast) {
    if (ibx_types_is_wide(made)) {
      ibx_types_bitcast_wide(t, node);
    } else {
      ibx_types_bitcast_small(t, node);
    }
  } else if (carried &&
             (ibx_types_only_moves(node) || node->op == IBX_TENSOR_pad ||
              node->op == IBX_TENSOR_select)) {
    carry_move(t, node);
  } else if (ibx_types_is_wide(made) && ibx_types_only_moves(node)) {
    move_wide(t, node);
  } else if (ibx_types_is_exact(t, node, &exact)) {
    compute_double(t, node, exact);
  } else {
    compute(t, node);
  }
}

// ---- The pass

// Integers that go from inputs or constants to outputs keep 64 bits, too.
static bool is_needed(const ibx_types_pass *t) {
  const ibx_graph *graph = t->rewrite.old;
  for (uint32_t v = 0; v < graph->value_count; v++) {
    ibx_dtype dtype = ibx_types_dtype(t, v);
    if (dtype == IBX_DTYPE_F64 || ibx_types_is_carried(t->rewrite.ctx, dtype))
      return true;
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    if (t->has_bits[graph->outputs[i].value]) return true;
  }
  return false;
}

static uint32_t *no_values(ibx_pass_ctx *ctx, size_t count) {
  uint32_t *values = IBX_ARENA_ARRAY(ctx->scratch, count, uint32_t);
  for (size_t v = 0; v < count; v++)
    values[v] = IBX_NO_VALUE;
  return values;
}

static void take_inputs(ibx_types_pass *t) {
  ibx_rewrite *rewrite = &t->rewrite;
  for (uint32_t value = 0; value < rewrite->old->value_count; value++) {
    uint32_t input = rewrite->map[value];
    if (input == IBX_NO_VALUE) continue;
    ibx_dtype dtype = ibx_types_dtype(t, value);
    bool is_integer = ibx_types_is_wide(dtype) && dtype != IBX_DTYPE_F64;
    if (is_integer && !t->wants_bits[value]) {
      t->real[value] = input;
    } else if (ibx_types_is_wide(dtype)) {
      rewrite->graph.values[input].type.dtype = IBX_DTYPE_F64;
      t->bits[value] = input;
    } else if (ibx_types_is_carried(rewrite->ctx, dtype)) {
      t->bits[value] = input;
    } else {
      t->real[value] = input;
    }
  }
}

static void give_outputs(ibx_types_pass *t) {
  ibx_rewrite *rewrite = &t->rewrite;
  for (size_t i = 0; i < rewrite->graph.output_count; i++) {
    uint32_t value = rewrite->graph.outputs[i].value;
    const ibx_node *maker = ibx_graph_maker(rewrite->old, value);
    ibx_dtype dtype = ibx_types_dtype(t, value);
    if (maker) rewrite->source = maker->source;
    bool is_integer = ibx_types_is_wide(dtype) && dtype != IBX_DTYPE_F64;
    bool as_real =
        is_integer ? !t->has_bits[value] : ibx_types_is_plain(t, value);
    rewrite->map[value] =
        as_real ? ibx_types_real(t, value) : ibx_types_bits(t, value);
  }
}

// Once, where nobody asked about every node.
static void warn(ibx_types_pass *t) {
  ibx_pass_ctx *ctx = t->rewrite.ctx;
  if (t->doubles == 0 || !ctx->diag || ctx->diag->tells_slow) return;
  ibx_diag_add(ctx->diag, IBX_DIAG_DOUBLE_AS_SINGLE,
               at_node(t, t->first_double), AS_SINGLE,
               "%zu operation%s of float64, this one the first, %s in float32, "
               "the widest type that engines compute with",
               t->doubles, t->doubles == 1 ? "" : "s",
               t->doubles == 1 ? "is done" : "are done");
}

ibx_status ibx_pass_legalise_types(ibx_pass_ctx *ctx, ibx_graph *graph) {
  size_t count = graph->value_count;
  ibx_types_pass t = {.rewrite = {.ctx = ctx, .old = graph},
                      .bits = no_values(ctx, count),
                      .real = no_values(ctx, count),
                      .has_bits = IBX_ARENA_ARRAY(ctx->scratch, count, bool),
                      .wants_bits = IBX_ARENA_ARRAY(ctx->scratch, count, bool),
                      .wants_real = IBX_ARENA_ARRAY(ctx->scratch, count, bool)};
  ibx_types_find_bits(&t);
  if (!is_needed(&t)) return IBX_OK;
  ibx_types_find_wants(&t);
  t.rewrite = ibx_rewrite_begin(ctx, graph, input_type);
  take_inputs(&t);
  for (size_t n = 0; n < graph->node_count && t.rewrite.status == IBX_OK; n++) {
    rewrite_node(&t, &graph->nodes[n]);
  }
  if (t.rewrite.status == IBX_OK) give_outputs(&t);
  warn(&t);
  return ibx_rewrite_end(&t.rewrite, graph);
}
