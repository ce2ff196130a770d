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
// Provides: f64 in moves, `encode`, `decode` and the INTEGER class only; of the other types that no
//           engine has, codes of these two only. Ports keep ONNX's types.

#include "passes/rewrite.h"

#include <stdio.h>
#include <string.h>

typedef struct types_pass {
  ibx_rewrite rewrite;
  uint32_t *bits, *real; ///< new values of an old one, or IBX_NO_VALUE
  bool *has_bits;        ///< of a 64-bit value: they are there without `encode`
  bool *wants_bits, *wants_real; ///< of a 64-bit value: by a user
  size_t doubles;                ///< operations on f64
  const ibx_node *first_double;
} types_pass;

// ---- Types

static ibx_dtype dtype_of(const types_pass *t, uint32_t old) {
  return t->rewrite.old->values[old].type.dtype;
}

static bool is_wide(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->bits == 64;
}

// One byte that no engine of the target computes with.
static bool is_carried(const ibx_pass_ctx *ctx, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_F8E4M3FN)
    return ctx->machine->target < IBX_TARGET_ibx4;
  return ibx_dtype_carrier(dtype) != dtype && !is_wide(dtype);
}

static bool is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

// What is computed with in its place: wide enough for every operation.
static ibx_dtype work_dtype(const ibx_pass_ctx *ctx, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_F64) return IBX_DTYPE_F32;
  if (!is_carried(ctx, dtype)) return dtype;
  return is_whole(dtype) ? IBX_DTYPE_I32 : IBX_DTYPE_F32;
}

static ibx_type input_type(ibx_pass_ctx *ctx, ibx_type type) {
  if (is_carried(ctx, type.dtype)) type.dtype = ibx_dtype_carrier(type.dtype);
  return type;
}

// ---- New nodes

static uint32_t add(types_pass *t, ibx_tensor_op op, const ibx_params *params,
                    uint32_t operand) {
  return ibx_rewrite_add(&t->rewrite, op, params, &operand, 1);
}

static ibx_dtype new_dtype(const types_pass *t, uint32_t value) {
  if (value == IBX_NO_VALUE) return IBX_DTYPE_NONE;
  return t->rewrite.graph.values[value].type.dtype;
}

static uint32_t cast_to(types_pass *t, uint32_t value, ibx_dtype dtype) {
  if (value == IBX_NO_VALUE || new_dtype(t, value) == dtype) return value;
  return add(t, IBX_TENSOR_cast, &(ibx_params){.dtype = dtype}, value);
}

static uint32_t encode(types_pass *t, uint32_t value, ibx_dtype code) {
  return add(t, IBX_TENSOR_encode, &(ibx_params){.code = code}, value);
}

static uint32_t decode(types_pass *t, uint32_t value, ibx_dtype code,
                       ibx_dtype dtype) {
  return add(t, IBX_TENSOR_decode, &(ibx_params){.code = code, .dtype = dtype},
             value);
}

static const ibx_node *constant_of(const types_pass *t, uint32_t old) {
  const ibx_node *maker = ibx_graph_maker(t->rewrite.old, old);
  return maker && maker->op == IBX_TENSOR_constant ? maker : NULL;
}

// The constant as `dtype`: data that have it, or floats that are packed as it.
static uint32_t constant_as(types_pass *t, const ibx_node *node,
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

static uint32_t bits_of(types_pass *t, uint32_t old) {
  ibx_dtype dtype = dtype_of(t, old);
  const ibx_node *constant = constant_of(t, old);
  if (t->bits[old] != IBX_NO_VALUE) return t->bits[old];
  bool is_own = dtype == IBX_DTYPE_F64;
  if (constant) {
    t->bits[old] = constant_as(t, constant, ibx_dtype_carrier(dtype), !is_own);
  } else {
    t->bits[old] = encode(t, t->real[old], dtype);
  }
  return t->bits[old];
}

// What has 8 bits or fewer fits into bf16, so weights stay small.
static uint32_t constant_real(types_pass *t, const ibx_node *node,
                              ibx_dtype dtype, ibx_dtype work) {
  bool is_small = !is_wide(dtype);
  uint32_t value =
      constant_as(t, node, is_small ? IBX_DTYPE_BF16 : work, false);
  return cast_to(t, value, work);
}

static uint32_t real_of(types_pass *t, uint32_t old) {
  ibx_dtype dtype = dtype_of(t, old);
  ibx_dtype work = work_dtype(t->rewrite.ctx, dtype);
  const ibx_node *constant = constant_of(t, old);
  if (t->real[old] != IBX_NO_VALUE) return t->real[old];
  if (constant && !is_whole(dtype)) {
    t->real[old] = constant_real(t, constant, dtype, work);
  } else if (constant && is_wide(dtype)) {
    t->real[old] = constant_as(t, constant, dtype, false);
  } else if (is_whole(dtype) && !is_wide(dtype)) {
    t->real[old] = cast_to(t, bits_of(t, old), work);
  } else {
    t->real[old] = decode(t, bits_of(t, old), dtype, work);
  }
  return t->real[old];
}

// Where the type is one of the machine there is one value.
static bool is_plain(const types_pass *t, uint32_t old) {
  ibx_dtype dtype = dtype_of(t, old);
  if (dtype == IBX_DTYPE_F64 || is_carried(t->rewrite.ctx, dtype)) return false;
  return !is_wide(dtype) || t->bits[old] == IBX_NO_VALUE;
}

static void set_bits(types_pass *t, uint32_t old, uint32_t value) {
  t->bits[old] = value;
}

static void set_real(types_pass *t, uint32_t old, uint32_t value) {
  t->real[old] = value;
}

// ---- Views

static bool only_moves(const ibx_node *node) {
  return (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
          node->op != IBX_TENSOR_pad && node->op != IBX_TENSOR_bitcast) ||
         node->op == IBX_TENSOR_gather;
}

// Operands that have the type of the result.
static bool is_moved(const ibx_node *node, uint32_t i) {
  if (node->op == IBX_TENSOR_gather) return i == 0;
  return node->op != IBX_TENSOR_select || i > 0;
}

static uint32_t move(types_pass *t, const ibx_node *node, bool as_bits) {
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_params params = node->params;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    bool is_bits = as_bits && is_moved(node, i);
    operands[i] =
        is_bits ? bits_of(t, node->operand[i]) : real_of(t, node->operand[i]);
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

static void carry_move(types_pass *t, const ibx_node *node) {
  ibx_node copy = *node;
  if (node->op == IBX_TENSOR_pad) {
    copy.params.value =
        code_number(dtype_of(t, node->result), node->params.value);
  }
  set_bits(t, node->result, move(t, &copy, true));
}

static void move_wide(types_pass *t, const ibx_node *node) {
  uint32_t result = node->result;
  bool as_bits = t->has_bits[result] && t->wants_bits[result];
  if (as_bits) set_bits(t, result, move(t, node, true));
  if (!as_bits || t->wants_real[result]) {
    set_real(t, result, move(t, node, false));
  }
}

// ---- Bitcasts

// The integer type with the codes of a type below a byte.
static ibx_dtype whole_code(ibx_dtype dtype) {
  switch (ibx_dtype_get(dtype)->width) {
  case 2: return dtype == IBX_DTYPE_I2 ? dtype : IBX_DTYPE_U2;
  case 4: return dtype == IBX_DTYPE_I4 ? dtype : IBX_DTYPE_U4;
  default: return dtype;
  }
}

static uint32_t machine_value(types_pass *t, uint32_t old) {
  return is_plain(t, old) ? real_of(t, old) : bits_of(t, old);
}

static void bitcast_small(types_pass *t, const ibx_node *node) {
  ibx_dtype to = dtype_of(t, node->result);
  bool carried = is_carried(t->rewrite.ctx, to);
  ibx_dtype want = carried ? ibx_dtype_carrier(to) : to;
  uint32_t value = machine_value(t, node->operand[0]);
  if (ibx_dtype_get(to)->width < 8 && new_dtype(t, value) != want) {
    value = encode(t, value, whole_code(to)); // the sign begins elsewhere
  } else if (new_dtype(t, value) != want) {
    value = add(t, IBX_TENSOR_bitcast, &(ibx_params){.dtype = want}, value);
  }
  if (carried) {
    set_bits(t, node->result, value);
  } else {
    set_real(t, node->result, value);
  }
}

// Between 64-bit types all have the same bits.
static void bitcast_wide(types_pass *t, const ibx_node *node) {
  if (t->has_bits[node->result]) {
    set_bits(t, node->result, bits_of(t, node->operand[0]));
  } else {
    set_real(t, node->result,
             add(t, IBX_TENSOR_bitcast, &node->params,
                 real_of(t, node->operand[0])));
  }
}

// ---- Casts

// Whether every value of the operand is one of the integer type.
static bool fits(const types_pass *t, const ibx_node *node, ibx_dtype to) {
  ibx_dtype from = dtype_of(t, node->operand[0]);
  const ibx_node *maker = ibx_graph_maker(t->rewrite.old, node->operand[0]);
  const ibx_dtype_info *info = ibx_dtype_get(to);
  bool has_sign = info->kind == IBX_DTYPE_KIND_SINT;
  float most = (float)((1 << (info->width - has_sign)) - 1);
  float least = has_sign ? -most - 1.0f : 0.0f;
  if (from == IBX_DTYPE_BOOL) return true;
  if (maker && maker->op == IBX_TENSOR_clip) {
    return maker->params.alpha >= least && maker->params.beta <= most;
  }
  // Unsigned ones fit with a bit to spare.
  const ibx_dtype_info *own = ibx_dtype_get(from);
  if (!is_whole(from) || own->width > info->width) return false;
  bool own_sign = own->kind == IBX_DTYPE_KIND_SINT;
  return own_sign == has_sign || (has_sign && own->width < info->width);
}

// The operand in what a conversion reads best: its bits where it is f64.
static uint32_t cast_source(types_pass *t, uint32_t old, ibx_dtype *out_code) {
  ibx_dtype dtype = dtype_of(t, old);
  *out_code = IBX_DTYPE_NONE;
  if (is_whole(dtype) && is_carried(t->rewrite.ctx, dtype)) {
    return bits_of(t, old); // of that value
  }
  bool has_bits = t->bits[old] != IBX_NO_VALUE || constant_of(t, old);
  if (is_plain(t, old) || (is_wide(dtype) && !has_bits)) return real_of(t, old);
  if (constant_of(t, old)) return real_of(t, old);
  *out_code = dtype;
  return bits_of(t, old);
}

static void cast(types_pass *t, const ibx_node *node) {
  ibx_dtype to = dtype_of(t, node->result), code;
  uint32_t source = cast_source(t, node->operand[0], &code);
  if (to == IBX_DTYPE_F64) {
    bool is_exact = code == IBX_DTYPE_NONE && is_whole(new_dtype(t, source));
    if (is_exact) set_bits(t, node->result, encode(t, source, to));
    if (is_exact && !t->wants_real[node->result]) return;
    set_real(t, node->result,
             code == IBX_DTYPE_NONE ? cast_to(t, source, IBX_DTYPE_F32)
                                    : decode(t, source, code, IBX_DTYPE_F32));
    return;
  }
  if (!is_carried(t->rewrite.ctx, to)) {
    set_real(t, node->result,
             code == IBX_DTYPE_NONE ? cast_to(t, source, to)
                                    : decode(t, source, code, to));
    return;
  }
  if (is_whole(to) && fits(t, node, to) && code == IBX_DTYPE_NONE) {
    set_bits(t, node->result, cast_to(t, source, ibx_dtype_carrier(to)));
    return;
  }
  // f64 is its own carrier, so it is encoded at once; others are read first.
  if (code != IBX_DTYPE_NONE && code != IBX_DTYPE_F64) {
    source = decode(t, source, code, IBX_DTYPE_F32);
  }
  set_bits(t, node->result, encode(t, source, to));
}

// ---- What is computed

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

static bool is_exact_double(const types_pass *t, const ibx_node *node,
                            ibx_tensor_op *out) {
  for (size_t i = 0; i < IBX_COUNT_OF(DOUBLES); i++) {
    if (DOUBLES[i].op != node->op) continue;
    *out = DOUBLES[i].exact;
    return dtype_of(t, node->result) == IBX_DTYPE_F64;
  }
  return false;
}

static void compute_double(types_pass *t, const ibx_node *node,
                           ibx_tensor_op op) {
  uint32_t operands[2];
  for (uint32_t i = 0; i < 2; i++)
    operands[i] = bits_of(t, node->operand[i]);
  set_bits(t, node->result,
           ibx_rewrite_add(&t->rewrite, op, &node->params, operands, 2));
}

static void compute(types_pass *t, const ibx_node *node) {
  uint32_t operands[IBX_NODE_OPERANDS];
  ibx_dtype made = dtype_of(t, node->result);
  bool is_double = made == IBX_DTYPE_F64;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = real_of(t, node->operand[i]);
    is_double |= dtype_of(t, node->operand[i]) == IBX_DTYPE_F64;
  }
  if (is_double && t->doubles++ == 0) t->first_double = node;
  uint32_t value = ibx_rewrite_add(&t->rewrite, node->op, &node->params,
                                   operands, node->operand_count);
  if (is_carried(t->rewrite.ctx, made)) {
    set_bits(t, node->result, encode(t, value, made));
  } else {
    set_real(t, node->result, value);
  }
}

static void rewrite_node(types_pass *t, const ibx_node *node) {
  ibx_tensor_op exact;
  ibx_dtype made = dtype_of(t, node->result);
  bool carried = is_carried(t->rewrite.ctx, made);
  t->rewrite.source = node->source;
  if (node->op == IBX_TENSOR_constant) {
    if (carried || is_wide(made)) return; // made where it is wanted
    set_real(t, node->result, constant_as(t, node, node->params.dtype, false));
  } else if (node->op == IBX_TENSOR_cast) {
    cast(t, node);
  } else if (node->op == IBX_TENSOR_bitcast) {
    if (is_wide(made)) {
      bitcast_wide(t, node);
    } else {
      bitcast_small(t, node);
    }
  } else if (carried && (only_moves(node) || node->op == IBX_TENSOR_pad ||
                         node->op == IBX_TENSOR_select)) {
    carry_move(t, node);
  } else if (is_wide(made) && only_moves(node)) {
    move_wide(t, node);
  } else if (is_exact_double(t, node, &exact)) {
    compute_double(t, node, exact);
  } else {
    compute(t, node);
  }
}

// ---- What 64-bit values are wanted as

static bool casts_bits(const types_pass *t, const ibx_node *node) {
  ibx_dtype from = dtype_of(t, node->operand[0]);
  return node->op == IBX_TENSOR_bitcast && is_wide(from) &&
         (from == IBX_DTYPE_F64 || dtype_of(t, node->result) == IBX_DTYPE_F64);
}

static void find_bits(types_pass *t) {
  const ibx_graph *old = t->rewrite.old;
  for (uint32_t v = 0; v < old->value_count; v++) {
    bool is_input = old->values[v].node == IBX_NO_VALUE;
    t->has_bits[v] = is_input && dtype_of(t, v) == IBX_DTYPE_F64;
  }
  ibx_tensor_op exact;
  for (size_t n = 0; n < old->node_count; n++) {
    const ibx_node *node = &old->nodes[n];
    bool *has = &t->has_bits[node->result];
    if (!is_wide(dtype_of(t, node->result))) continue;
    *has = (node->op == IBX_TENSOR_constant &&
            dtype_of(t, node->result) == IBX_DTYPE_F64) ||
           is_exact_double(t, node, &exact);
    if (node->op == IBX_TENSOR_cast) {
      *has = dtype_of(t, node->result) == IBX_DTYPE_F64 &&
             is_whole(dtype_of(t, node->operand[0]));
    } else if (node->op == IBX_TENSOR_bitcast) {
      *has = casts_bits(t, node) || t->has_bits[node->operand[0]];
    } else if (only_moves(node)) {
      for (uint32_t i = 0; i < node->operand_count; i++)
        *has |= is_moved(node, i) && t->has_bits[node->operand[i]];
    }
  }
}

static void find_wants(types_pass *t) {
  const ibx_graph *old = t->rewrite.old;
  for (size_t i = 0; i < old->output_count; i++) {
    uint32_t value = old->outputs[i].value;
    t->wants_bits[value] = t->has_bits[value];
  }
  ibx_tensor_op exact;
  for (size_t n = old->node_count; n-- > 0;) {
    const ibx_node *node = &old->nodes[n];
    bool moves = is_wide(dtype_of(t, node->result)) && only_moves(node);
    bool as_bits = t->wants_bits[node->result] && t->has_bits[node->result];
    bool as_real = t->wants_real[node->result] || !as_bits;
    for (uint32_t i = 0; i < node->operand_count; i++) {
      uint32_t value = node->operand[i];
      bool is_bits = casts_bits(t, node) || is_exact_double(t, node, &exact) ||
                     (node->op == IBX_TENSOR_bitcast && t->has_bits[value]) ||
                     (node->op == IBX_TENSOR_cast && t->has_bits[value]);
      bool is_move = moves && is_moved(node, i);
      t->wants_bits[value] |= is_bits || (is_move && as_bits);
      t->wants_real[value] |= is_move ? as_real : !is_bits;
    }
  }
}

// ---- The pass

static bool is_needed(const ibx_pass_ctx *ctx, const ibx_graph *graph) {
  for (size_t v = 0; v < graph->value_count; v++) {
    ibx_dtype dtype = graph->values[v].type.dtype;
    if (dtype == IBX_DTYPE_F64 || is_carried(ctx, dtype)) return true;
  }
  return false;
}

static uint32_t *no_values(ibx_pass_ctx *ctx, size_t count) {
  uint32_t *values = IBX_ARENA_ARRAY(ctx->scratch, count, uint32_t);
  for (size_t v = 0; v < count; v++)
    values[v] = IBX_NO_VALUE;
  return values;
}

static void take_inputs(types_pass *t) {
  ibx_rewrite *rewrite = &t->rewrite;
  for (uint32_t value = 0; value < rewrite->old->value_count; value++) {
    uint32_t input = rewrite->map[value];
    if (input == IBX_NO_VALUE) continue;
    ibx_dtype dtype = dtype_of(t, value);
    bool is_integer = is_wide(dtype) && dtype != IBX_DTYPE_F64;
    if (is_integer && !t->wants_bits[value]) {
      set_real(t, value, input);
    } else if (is_wide(dtype)) {
      rewrite->graph.values[input].type.dtype = IBX_DTYPE_F64;
      set_bits(t, value, input);
    } else if (is_carried(rewrite->ctx, dtype)) {
      set_bits(t, value, input);
    } else {
      set_real(t, value, input);
    }
  }
}

static void give_outputs(types_pass *t) {
  ibx_rewrite *rewrite = &t->rewrite;
  for (size_t i = 0; i < rewrite->graph.output_count; i++) {
    uint32_t value = rewrite->graph.outputs[i].value;
    const ibx_node *maker = ibx_graph_maker(rewrite->old, value);
    ibx_dtype dtype = dtype_of(t, value);
    if (maker) rewrite->source = maker->source;
    bool is_integer = is_wide(dtype) && dtype != IBX_DTYPE_F64;
    bool as_real =
        is_integer ? t->bits[value] == IBX_NO_VALUE : is_plain(t, value);
    rewrite->map[value] = as_real ? real_of(t, value) : bits_of(t, value);
  }
}

static void warn(types_pass *t) {
  ibx_pass_ctx *ctx = t->rewrite.ctx;
  if (t->doubles == 0 || !ctx->diag) return;
  const ibx_node_decl *source =
      &t->rewrite.old->tables->sources[t->first_double->source];
  ibx_diag_add(ctx->diag, IBX_DIAG_DOUBLE_AS_SINGLE,
               (ibx_diag_at){.node = source->name, .op = source->op},
               "convert the model to float32, or judge the results by it",
               "%zu operation%s of float64, this one the first, %s in float32, "
               "the widest type that engines compute with",
               t->doubles, t->doubles == 1 ? "" : "s",
               t->doubles == 1 ? "is done" : "are done");
}

ibx_status ibx_pass_legalise_types(ibx_pass_ctx *ctx, ibx_graph *graph) {
  if (!is_needed(ctx, graph)) return IBX_OK;
  size_t count = graph->value_count;
  types_pass t = {.rewrite = ibx_rewrite_begin(ctx, graph, input_type),
                  .bits = no_values(ctx, count),
                  .real = no_values(ctx, count),
                  .has_bits = IBX_ARENA_ARRAY(ctx->scratch, count, bool),
                  .wants_bits = IBX_ARENA_ARRAY(ctx->scratch, count, bool),
                  .wants_real = IBX_ARENA_ARRAY(ctx->scratch, count, bool)};
  find_bits(&t);
  find_wants(&t);
  take_inputs(&t);
  for (size_t n = 0; n < graph->node_count && t.rewrite.status == IBX_OK; n++) {
    rewrite_node(&t, &graph->nodes[n]);
  }
  if (t.rewrite.status == IBX_OK) give_outputs(&t);
  warn(&t);
  return ibx_rewrite_end(&t.rewrite, graph);
}
