// SPDX-License-Identifier: Apache-2.0
//
// Elementwise instructions of the Vector engine (some run elsewhere too), as
// element.h says. Operators on bits compute on the integers as they are.

#include "sim/arith.h"
#include "sim/bits.h"
#include "sim/element.h"

// dst = src with equal dtypes, bit for bit.
static ibx_status copy_bits(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store_bits(&dst, p, i, ibx_load_bits(&src, p, i));
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_tensor_copy(const ibx_exec *x) {
  if (x->insn->operand[0].dtype == x->insn->operand[1].dtype) {
    return copy_bits(x);
  }
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store(&dst, p, i, ibx_load(&src, p, i));
    }
  }
  return IBX_OK;
}

// Opening the operands asks the register.
ibx_status ibx_exec_tensor_copy_dynamic(const ibx_exec *x) {
  return ibx_exec_tensor_copy(x);
}

static uint32_t bits_side(uint8_t alu, uint32_t a, uint32_t s, bool reverse,
                          unsigned width) {
  return reverse ? ibx_sim_bits_one(alu, s, a, width)
                 : ibx_sim_bits_one(alu, a, s, width);
}

static ibx_status tensor_scalar_bits(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  unsigned width = (unsigned)(8 * src.element_bytes);
  uint32_t s0 = ibx_scalar_bits(insn->imm[0]);
  uint32_t s1 = ibx_scalar_bits(insn->imm[1]);
  bool reverse0 = (insn->flags & IBX_FLAG_REVERSE0) != 0;
  bool reverse1 = (insn->flags & IBX_FLAG_REVERSE1) != 0;
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      uint32_t bits = ibx_load_bits(&src, p, i);
      bits = bits_side(insn->op[0], bits, s0, reverse0, width);
      if (insn->op[1] != IBX_ALU_BYPASS) {
        bits = bits_side(insn->op[1], bits, s1, reverse1, width);
      }
      ibx_store_bits(&dst, p, i, bits);
    }
  }
  return IBX_OK;
}

static float side(uint8_t alu, float a, float s, bool reverse) {
  return reverse ? ibx_arith_one(alu, s, a) : ibx_arith_one(alu, a, s);
}

// dst = (src op0 s0) op1 s1
ibx_status ibx_exec_tensor_scalar(const ibx_exec *x) {
  const ibx_insn *insn = x->insn;
  if (ibx_alu_is_bitwise(insn->op[0])) return tensor_scalar_bits(x);
  ibx_sim_view dst, src, s0, s1;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_scalar(x, 2, insn->imm[0], &s0));
  IBX_TRY(ibx_open_scalar(x, 3, insn->imm[1], &s1));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool reverse0 = (insn->flags & IBX_FLAG_REVERSE0) != 0;
  bool reverse1 = (insn->flags & IBX_FLAG_REVERSE1) != 0;
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      float value = ibx_load(&src, p, i);
      value = side(insn->op[0], value, ibx_load(&s0, p, 0), reverse0);
      if (insn->op[1] != IBX_ALU_BYPASS) {
        value = side(insn->op[1], value, ibx_load(&s1, p, 0), reverse1);
      }
      ibx_store(&dst, p, i, value);
    }
  }
  return IBX_OK;
}

// GpSimd's own arithmetic on 32-bit integers; other dtypes receive the number.
static void store_integer(const ibx_sim_view *dst, size_t p, size_t i,
                          uint32_t value, bool has_sign) {
  if (ibx_is_int32(dst)) {
    ibx_store_bits(dst, p, i, value);
  } else {
    ibx_store(dst, p, i, has_sign ? (float)(int32_t)value : (float)value);
  }
}

// dst = a op b
ibx_status ibx_exec_tensor_tensor(const ibx_exec *x) {
  uint8_t op = x->insn->op[0];
  ibx_sim_view dst, a, b;
  IBX_TRY(ibx_open_read(x, 1, &a));
  IBX_TRY(ibx_open_read(x, 2, &b));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool bits = ibx_alu_is_bitwise(op);
  bool whole =
      x->engine == IBX_ENGINE_GPSIMD && ibx_is_int32(&a) && ibx_is_int32(&b);
  bool has_sign = ibx_is_signed(&a) && ibx_is_signed(&b);
  unsigned width = (unsigned)(8 * a.element_bytes);
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      uint32_t left = ibx_load_bits(&a, p, i), right = ibx_load_bits(&b, p, i);
      if (bits) {
        uint32_t value = ibx_sim_bits_one(op, left, right, width);
        ibx_store_bits(&dst, p, i, value);
      } else if (whole) {
        uint32_t value = ibx_sim_integer_one(op, left, right, has_sign);
        store_integer(&dst, p, i, value, has_sign);
      } else {
        ibx_store(&dst, p, i,
                  ibx_arith_one(op, ibx_load(&a, p, i), ibx_load(&b, p, i)));
      }
    }
  }
  return IBX_OK;
}

// dst = (a op0 s) op1 b
ibx_status ibx_exec_scalar_tensor_tensor(const ibx_exec *x) {
  const uint8_t *op = x->insn->op;
  ibx_sim_view dst, a, b, s;
  IBX_TRY(ibx_open_read(x, 1, &a));
  IBX_TRY(ibx_open_read(x, 2, &b));
  IBX_TRY(ibx_open_scalar(x, 3, x->insn->imm[0], &s));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      float first =
          ibx_arith_one(op[0], ibx_load(&a, p, i), ibx_load(&s, p, 0));
      ibx_store(&dst, p, i, ibx_arith_one(op[1], first, ibx_load(&b, p, i)));
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_reciprocal(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      ibx_store(&dst, p, i, 1.0f / ibx_load(&src, p, i));
    }
  }
  return IBX_OK;
}

// Packed types have no values, but their zeros are bits of zero.
ibx_status ibx_exec_memset(const ibx_exec *x) {
  ibx_sim_view dst;
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool is_packed = ibx_dtype_is_packed(dst.dtype);
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      if (is_packed) {
        ibx_store_bits(&dst, p, i, 0);
      } else {
        ibx_store(&dst, p, i, x->insn->imm[0]);
      }
    }
  }
  return IBX_OK;
}

// dst = src where the mask is not 0; elsewhere nothing is written.
ibx_status ibx_exec_select(const ibx_exec *x) {
  ibx_sim_view dst, src, mask;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_read(x, 2, &mask));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    for (size_t i = 0; i < dst.elements; i++) {
      if (ibx_load_bits(&mask, p, i) == 0) continue;
      ibx_store_bits(&dst, p, i, ibx_load_bits(&src, p, i));
    }
  }
  return IBX_OK;
}

// r[i] = (a[i] op0 r[i-1]) op1 b[i], r[-1] = slot 3 or imm0
ibx_status ibx_exec_tensor_scan(const ibx_exec *x) {
  const uint8_t *op = x->insn->op;
  ibx_sim_view dst, a, b, start;
  IBX_TRY(ibx_open_read(x, 1, &a));
  IBX_TRY(ibx_open_read(x, 2, &b));
  IBX_TRY(ibx_open_scalar(x, 3, x->insn->imm[0], &start));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    float running = ibx_load(&start, p, 0);
    for (size_t i = 0; i < dst.elements; i++) {
      float first = ibx_arith_one(op[0], ibx_load(&a, p, i), running);
      running = ibx_arith_one(op[1], first, ibx_load(&b, p, i));
      ibx_store(&dst, p, i, running);
    }
  }
  return IBX_OK;
}
