// SPDX-License-Identifier: Apache-2.0
//
// Conversions of the pass legalise_types. Comes in a cast or bitcast of the old
// graph; goes out its result in the new one, from what loses least: bits where the
// operand is a code, so that nothing rounds twice.

#include "passes/legalise_types.h"

// ---- Bitcasts

// The integer type with the codes of a type below a byte.
static ibx_dtype whole_code(ibx_dtype dtype) {
  switch (ibx_dtype_get(dtype)->width) {
  case 2: return dtype == IBX_DTYPE_I2 ? dtype : IBX_DTYPE_U2;
  case 4: return dtype == IBX_DTYPE_I4 ? dtype : IBX_DTYPE_U4;
  default: return dtype;
  }
}

static uint32_t machine_value(ibx_types_pass *t, uint32_t old) {
  return ibx_types_is_plain(t, old) ? ibx_types_real(t, old)
                                    : ibx_types_bits(t, old);
}

void ibx_types_bitcast_small(ibx_types_pass *t, const ibx_node *node) {
  ibx_dtype to = ibx_types_dtype(t, node->result);
  bool carried = ibx_types_is_carried(t->rewrite.ctx, to);
  ibx_dtype want = carried ? ibx_dtype_carrier(to) : to;
  uint32_t value = machine_value(t, node->operand[0]);
  if (ibx_dtype_get(to)->width < 8 && ibx_types_new_dtype(t, value) != want) {
    value =
        ibx_types_encode(t, value, whole_code(to)); // the sign begins elsewhere
  } else if (ibx_types_new_dtype(t, value) != want) {
    value = ibx_types_add(t, IBX_TENSOR_bitcast, &(ibx_params){.dtype = want},
                          value);
  }
  if (carried) {
    t->bits[node->result] = value;
  } else {
    t->real[node->result] = value;
  }
}

// Between 64-bit types all have the same bits; integers have the same low words.
void ibx_types_bitcast_wide(ibx_types_pass *t, const ibx_node *node) {
  uint32_t result = node->result;
  bool is_cast = ibx_types_casts_bits(t, node);
  bool as_bits = is_cast || (t->has_bits[result] && t->wants_bits[result]);
  if (as_bits) t->bits[result] = ibx_types_bits(t, node->operand[0]);
  if (is_cast || (as_bits && !t->wants_real[result])) return;
  t->real[result] = ibx_types_add(t, IBX_TENSOR_bitcast, &node->params,
                                  ibx_types_real(t, node->operand[0]));
}

// ---- Casts

// Whether every value of the operand is one of the integer type.
static bool fits(const ibx_types_pass *t, const ibx_node *node, ibx_dtype to) {
  ibx_dtype from = ibx_types_dtype(t, node->operand[0]);
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
  if (!ibx_types_is_whole(from) || own->width > info->width) return false;
  bool own_sign = own->kind == IBX_DTYPE_KIND_SINT;
  return own_sign == has_sign || (has_sign && own->width < info->width);
}

// The operand in what a conversion reads best: its bits where it is f64.
static uint32_t cast_source(ibx_types_pass *t, uint32_t old,
                            ibx_dtype *out_code) {
  ibx_dtype dtype = ibx_types_dtype(t, old);
  *out_code = IBX_DTYPE_NONE;
  if (ibx_types_is_whole(dtype) &&
      ibx_types_is_carried(t->rewrite.ctx, dtype)) {
    return ibx_types_bits(t, old); // of that value
  }
  bool is_double = dtype == IBX_DTYPE_F64 && t->bits[old] != IBX_NO_VALUE;
  bool is_code = ibx_types_is_carried(t->rewrite.ctx, dtype) || is_double;
  if (!is_code || ibx_types_constant(t, old)) return ibx_types_real(t, old);
  *out_code = dtype;
  return ibx_types_bits(t, old);
}

void ibx_types_cast(ibx_types_pass *t, const ibx_node *node) {
  ibx_dtype to = ibx_types_dtype(t, node->result), code;
  uint32_t source = cast_source(t, node->operand[0], &code);
  if (to == IBX_DTYPE_F64) {
    bool is_exact = code == IBX_DTYPE_NONE &&
                    ibx_types_is_whole(ibx_types_new_dtype(t, source));
    if (is_exact) t->bits[node->result] = ibx_types_encode(t, source, to);
    if (is_exact && !t->wants_real[node->result]) return;
    t->real[node->result] =
        code == IBX_DTYPE_NONE
            ? ibx_types_cast_to(t, source, IBX_DTYPE_F32)
            : ibx_types_decode(t, source, code, IBX_DTYPE_F32);
    return;
  }
  if (!ibx_types_is_carried(t->rewrite.ctx, to)) {
    t->real[node->result] = code == IBX_DTYPE_NONE
                                ? ibx_types_cast_to(t, source, to)
                                : ibx_types_decode(t, source, code, to);
    return;
  }
  if (ibx_types_is_whole(to) && fits(t, node, to) && code == IBX_DTYPE_NONE) {
    t->bits[node->result] = ibx_types_cast_to(t, source, ibx_dtype_carrier(to));
    return;
  }
  // f64 is its own carrier, so it is encoded at once; others are read first.
  if (code != IBX_DTYPE_NONE && code != IBX_DTYPE_F64) {
    source = ibx_types_decode(t, source, code, IBX_DTYPE_F32);
  }
  t->bits[node->result] = ibx_types_encode(t, source, to);
}
