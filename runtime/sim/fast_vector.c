// SPDX-License-Identifier: Apache-2.0
//
// Elementwise instructions of the Vector engine (some run elsewhere too), row
// by row. In: operands on chip. Out: what exec_vector.c and exec_reduce.c say.

#include "sim/bits.h"
#include "sim/map.h"
#include "sim/rows.h"

#include <string.h>

static bool is_bits(uint8_t alu) { return ibx_alu_is_bitwise(alu); }

static void copy_row(ibx_sim_row *row) {
  memcpy(row->out, row->a, row->n * sizeof(*row->out));
}

static ibx_status copy_exact(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_sim_view_open(x, 0, &dst));
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_separate(x, &dst, 0, &src));
  uint8_t *raw = x->sim->scratch[0]->bytes;
  size_t room = IBX_SIM_ROW * sizeof(float) / dst.element_bytes;
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i += room) {
      size_t n = dst.elements - i < room ? dst.elements - i : room;
      ibx_sim_view_fetch_raw(&src, p, i, n, raw);
      ibx_sim_view_store_raw(&dst, p, i, n, raw);
    }
  }
  return IBX_OK;
}

ibx_status ibx_fast_tensor_copy(const ibx_exec *x) {
  bool is_exact = x->insn->operand[0].dtype == x->insn->operand[1].dtype;
  return is_exact ? copy_exact(x) : ibx_sim_map(x, copy_row);
}

// dst = (src op0 s0) op1 s1
static void tensor_scalar_row(ibx_sim_row *row) {
  const ibx_insn *insn = row->insn;
  bool two = insn->op[1] != IBX_ALU_BYPASS;
  float *first = two ? row->temp : row->out;
  if (insn->flags & IBX_FLAG_REVERSE0) {
    ibx_sim_row_sv(insn->op[0], row->s[0], row->a, first, row->n);
  } else {
    ibx_sim_row_vs(insn->op[0], row->a, row->s[0], first, row->n);
  }
  if (!two) return;
  if (insn->flags & IBX_FLAG_REVERSE1) {
    ibx_sim_row_sv(insn->op[1], row->s[1], first, row->out, row->n);
  } else {
    ibx_sim_row_vs(insn->op[1], first, row->s[1], row->out, row->n);
  }
}

static uint32_t bits_side(uint8_t alu, uint32_t a, uint32_t s, bool reverse,
                          unsigned width) {
  return reverse ? ibx_sim_bits_one(alu, s, a, width)
                 : ibx_sim_bits_one(alu, a, s, width);
}

static void tensor_scalar_bits(ibx_sim_bits_row *row) {
  const ibx_insn *insn = row->insn;
  bool reverse0 = (insn->flags & IBX_FLAG_REVERSE0) != 0;
  bool reverse1 = (insn->flags & IBX_FLAG_REVERSE1) != 0;
  for (size_t i = 0; i < row->n; i++) {
    uint32_t first =
        bits_side(insn->op[0], row->a[i], row->s[0], reverse0, row->width);
    row->out[i] =
        insn->op[1] == IBX_ALU_BYPASS
            ? first
            : bits_side(insn->op[1], first, row->s[1], reverse1, row->width);
  }
}

ibx_status ibx_fast_tensor_scalar(const ibx_exec *x) {
  if (is_bits(x->insn->op[0])) return ibx_sim_map_bits(x, tensor_scalar_bits);
  return ibx_sim_map(x, tensor_scalar_row);
}

static void tensor_tensor_row(ibx_sim_row *row) {
  ibx_sim_row_vv(row->insn->op[0], row->a, row->b, row->out, row->n);
}

static void tensor_tensor_bits(ibx_sim_bits_row *row) {
  for (size_t i = 0; i < row->n; i++) {
    row->out[i] =
        ibx_sim_bits_one(row->insn->op[0], row->a[i], row->b[i], row->width);
  }
}

static void store_integer(const ibx_insn *insn, uint32_t value, bool is_signed,
                          uint32_t *out) {
  ibx_dtype dtype = (ibx_dtype)insn->operand[0].dtype;
  if (dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32) {
    *out = value;
    return;
  }
  float number = is_signed ? (float)(int32_t)value : (float)value;
  *out = 0;
  ibx_dtype_store_f32(dtype, &number, out, 1);
}

// GpSimd's own arithmetic on 32-bit integers.
static void tensor_tensor_integer(ibx_sim_bits_row *row) {
  for (size_t i = 0; i < row->n; i++) {
    uint32_t value = ibx_sim_integer_one(row->insn->op[0], row->a[i], row->b[i],
                                         row->is_signed);
    store_integer(row->insn, value, row->is_signed, &row->out[i]);
  }
}

static bool is_int32(uint8_t dtype) {
  return dtype == IBX_DTYPE_I32 || dtype == IBX_DTYPE_U32;
}

ibx_status ibx_fast_tensor_tensor(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  if (is_bits(insn->op[0])) return ibx_sim_map_bits(x, tensor_tensor_bits);
  bool integers =
      is_int32(insn->operand[1].dtype) && is_int32(insn->operand[2].dtype);
  if (x->engine == IBX_ENGINE_GPSIMD && integers) {
    return ibx_sim_map_bits(x, tensor_tensor_integer);
  }
  return ibx_sim_map(x, tensor_tensor_row);
}

// dst = (src0 op0 s) op1 src1
static void scalar_tensor_tensor_row(ibx_sim_row *row) {
  ibx_sim_row_vs(row->insn->op[0], row->a, row->s[0], row->temp, row->n);
  ibx_sim_row_vv(row->insn->op[1], row->temp, row->b, row->out, row->n);
}

ibx_status ibx_fast_scalar_tensor_tensor(const ibx_exec *x) {
  return ibx_sim_map(x, scalar_tensor_tensor_row);
}

// dst = src op0 s0; the reduction sees it before its conversion.
static void tensor_scalar_reduce_row(ibx_sim_row *row) {
  ibx_sim_row_vs(row->insn->op[0], row->a, row->s[0], row->out, row->n);
  row->reduced = ibx_sim_row_fold(row->insn->op[1], row->out, row->n);
}

ibx_status ibx_fast_tensor_scalar_reduce(const ibx_exec *x) {
  bool is_plain = x->insn->reduce == IBX_REDUCE_IDLE;
  if (!is_plain) return ibx_exec_tensor_scalar_reduce(x);
  return ibx_sim_map(x, tensor_scalar_reduce_row);
}

static void reciprocal_row(ibx_sim_row *row) {
  ibx_sim_row_reciprocal(row->a, row->out, row->n);
}

ibx_status ibx_fast_reciprocal(const ibx_exec *x) {
  return ibx_sim_map(x, reciprocal_row);
}

static void memset_row(ibx_sim_row *row) {
  for (size_t i = 0; i < row->n; i++) {
    row->out[i] = row->insn->imm[0];
  }
}

ibx_status ibx_fast_memset(const ibx_exec *x) {
  ibx_dtype dtype = (ibx_dtype)x->insn->operand[0].dtype;
  if (ibx_dtype_is_packed(dtype)) return ibx_exec_memset(x);
  return ibx_sim_map(x, memset_row);
}

// Both sources of `select` for one partition, packed, at most half the scratch.
static void select_row(const ibx_exec *x, const ibx_sim_view *dst,
                       const ibx_sim_view *src, const ibx_sim_view *mask,
                       size_t p) {
  uint8_t *chosen = x->sim->scratch[0]->bytes;
  uint8_t *result = x->sim->scratch[1]->bytes;
  uint32_t *bits = x->sim->scratch[2]->u32;
  size_t n = dst->elements, bytes = dst->element_bytes;
  ibx_sim_view_fetch_raw(src, p, 0, n, chosen);
  ibx_sim_view_fetch_raw(dst, p, 0, n, result);
  ibx_sim_view_fetch_bits(mask, p, n, bits);
  for (size_t i = 0; i < n; i++) {
    if (bits[i] != 0) memcpy(result + i * bytes, chosen + i * bytes, bytes);
  }
  ibx_sim_view_store_raw(dst, p, 0, n, result);
}

ibx_status ibx_fast_select(const ibx_exec *x) {
  ibx_sim_view dst, src, mask;
  IBX_TRY(ibx_sim_view_open(x, 0, &dst));
  IBX_TRY(ibx_sim_view_open(x, 1, &src));
  IBX_TRY(ibx_sim_view_open(x, 2, &mask));
  // Elsewhere elements may coincide, and one that is left must not be stored.
  if (!dst.dense) return ibx_exec_select(x);
  IBX_TRY(ibx_sim_view_separate(x, &dst, 0, &src));
  IBX_TRY(ibx_sim_view_separate(x, &dst, 1, &mask));
  for (size_t p = 0; p < dst.partitions; p++) {
    select_row(x, &dst, &src, &mask, p);
  }
  return IBX_OK;
}
