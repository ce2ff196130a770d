// SPDX-License-Identifier: Apache-2.0
//
// Integer operators. In: 32-bit patterns. Out: the operator's pattern. Nothing
// overflows: arithmetic is unsigned, comparisons look at the sign.

#include "sim/bits.h"

uint32_t ibx_sim_bits_one(uint8_t alu, uint32_t a, uint32_t b, unsigned width) {
  uint32_t mask = width >= 32 ? UINT32_MAX : (UINT32_C(1) << width) - 1;
  switch (alu) {
  case IBX_ALU_BITWISE_AND: return a & b;
  case IBX_ALU_BITWISE_OR: return a | b;
  case IBX_ALU_BITWISE_XOR: return a ^ b;
  case IBX_ALU_SHIFT_LEFT: return b < width ? (a & mask) << b & mask : 0;
  case IBX_ALU_SHIFT_RIGHT: return b < width ? (a & mask) >> b : 0;
  case IBX_ALU_INVERT: return ~a & mask;
  default: return a; // BYPASS
  }
}

static bool is_less(uint32_t a, uint32_t b, bool is_signed) {
  uint32_t flip = is_signed ? UINT32_C(1) << 31 : 0;
  return (a ^ flip) < (b ^ flip);
}

static uint32_t magnitude(uint32_t a, bool is_signed) {
  return is_signed && a >> 31 ? 0 - a : a;
}

static uint32_t power(uint32_t base, uint32_t exponent, bool is_signed) {
  if (is_signed && exponent >> 31) {
    if (base == 1) return 1;
    if (base != UINT32_MAX) return 0;
    return exponent & 1 ? base : 1;
  }
  uint32_t result = 1;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result *= base;
    base *= base;
  }
  return result;
}

uint32_t ibx_sim_integer_one(uint8_t alu, uint32_t a, uint32_t b,
                             bool is_signed) {
  uint32_t abs_a = magnitude(a, is_signed), abs_b = magnitude(b, is_signed);
  switch ((ibx_alu)alu) {
  case IBX_ALU_BYPASS: return a;
  case IBX_ALU_ADD: return a + b;
  case IBX_ALU_SUBTRACT: return a - b;
  case IBX_ALU_MULTIPLY: return a * b;
  case IBX_ALU_MAX: return is_less(a, b, is_signed) ? b : a;
  case IBX_ALU_MIN: return is_less(b, a, is_signed) ? b : a;
  case IBX_ALU_EQUAL: return a == b;
  case IBX_ALU_NOT_EQUAL: return a != b;
  case IBX_ALU_GREATER: return is_less(b, a, is_signed);
  case IBX_ALU_GREATER_EQUAL: return !is_less(a, b, is_signed);
  case IBX_ALU_LESS: return is_less(a, b, is_signed);
  case IBX_ALU_LESS_EQUAL: return !is_less(b, a, is_signed);
  case IBX_ALU_LOGICAL_AND: return a != 0 && b != 0;
  case IBX_ALU_LOGICAL_OR: return a != 0 || b != 0;
  case IBX_ALU_LOGICAL_XOR: return (a != 0) != (b != 0);
  case IBX_ALU_POWER: return power(a, b, is_signed);
  case IBX_ALU_ABS_MAX: return abs_a < abs_b ? abs_b : abs_a;
  case IBX_ALU_ABS_MIN: return abs_b < abs_a ? abs_b : abs_a;
  case IBX_ALU_BITWISE_AND:
  case IBX_ALU_BITWISE_OR:
  case IBX_ALU_BITWISE_XOR:
  case IBX_ALU_SHIFT_LEFT:
  case IBX_ALU_SHIFT_RIGHT: return ibx_sim_bits_one(alu, a, b, 32);
  case IBX_ALU_ABS: // unary ones do not stand between two tensors
  case IBX_ALU_SQUARE:
  case IBX_ALU_RELU:
  case IBX_ALU_RSQRT:
  case IBX_ALU_RECIPROCAL:
  case IBX_ALU_INVERT:
  case IBX_ALU_COUNT: break;
  }
  return a;
}
