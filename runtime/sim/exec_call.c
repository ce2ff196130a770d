// SPDX-License-Identifier: Apache-2.0
//
// Library calls of GpSimd: opens what the instruction's slots say and runs the
// kernel on one partition after the other, in each operand 0 before operand 2.
// Below, the kernels of single elements. Integers are computed in 64 bits,
// unsigned so that they wrap, and stored with their low bits; floats in double.

#include "sim/call.h"

#include <math.h>
#include <string.h>

static ibx_status run_kernel(const ibx_library_call *c, size_t p) {
  switch ((ibx_call_number)c->x->insn->op[0]) {
#define IBX_CALL(name, ...)                                                    \
  case IBX_CALL_##name: return ibx_kernel_##name(c, p);
#include "imbrex/gpsimd_calls.def"
  case IBX_CALL_COUNT: break;
  }
  return IBX_EXEC_FAIL(c->x, "no kernel has number %u", c->x->insn->op[0]);
}

static ibx_status run(const ibx_exec *x) {
  const ibx_insn_info *info = ibx_insn_get(x->insn->opcode);
  ibx_library_call c = {.x = x, .k = x->insn->count};
  for (unsigned slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!ibx_slot_reads(info->slot[slot])) continue;
    IBX_TRY(ibx_open_read(x, slot, &c.view[slot]));
  }
  for (unsigned slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!ibx_slot_writes(info->slot[slot])) continue;
    IBX_TRY(ibx_open_write(x, slot, &c.view[slot]));
  }
  for (size_t p = 0; p < x->insn->partitions; p++) {
    IBX_TRY(run_kernel(&c, p));
  }
  return IBX_OK;
}

ibx_status ibx_exec_gpsimd_call1(const ibx_exec *x) { return run(x); }
ibx_status ibx_exec_gpsimd_call2(const ibx_exec *x) { return run(x); }
ibx_status ibx_exec_gpsimd_call3(const ibx_exec *x) { return run(x); }
ibx_status ibx_exec_gpsimd_call_pair(const ibx_exec *x) { return run(x); }

// --- elements -------------------------------------------------------------------

static int sign_of(bool is_less, bool is_greater) {
  return (int)is_greater - (int)is_less;
}

static double load_real(const ibx_sim_view *src, size_t p, size_t i) {
  double wide;
  if (src->dtype != IBX_DTYPE_F64) return (double)ibx_load(src, p, i);
  int64_t bits = ibx_load_integer(src, p, i);
  memcpy(&wide, &bits, sizeof wide);
  return wide;
}

static void store_real(const ibx_sim_view *dst, size_t p, size_t i,
                       double value) {
  int64_t bits;
  if (dst->dtype == IBX_DTYPE_F64) {
    memcpy(&bits, &value, sizeof bits);
    ibx_store_integer(dst, p, i, bits);
  } else {
    ibx_store(dst, p, i, ibx_dtype_narrowed(dst->dtype, value));
  }
}

int ibx_compare_elements(const ibx_sim_view *a, size_t i, const ibx_sim_view *b,
                         size_t j, size_t p) {
  if (ibx_holds_floats(a)) {
    double x = load_real(a, p, i), y = load_real(b, p, j);
    if (x != x || y != y) return sign_of(x == x, y == y);
    return sign_of(x<y, x> y);
  }
  int64_t x = ibx_load_integer(a, p, i), y = ibx_load_integer(b, p, j);
  if (ibx_is_signed(a)) return sign_of(x<y, x> y);
  return sign_of((uint64_t)x<(uint64_t)y, (uint64_t)x>(uint64_t) y);
}

bool ibx_is_zero(const ibx_sim_view *view, size_t p, size_t i) {
  return ibx_holds_floats(view) ? ibx_load(view, p, i) == 0.0f
                                : ibx_load_integer(view, p, i) == 0;
}

// --- arithmetic -----------------------------------------------------------------

typedef uint64_t (*integer_fn)(uint64_t a, uint64_t b, bool has_sign);
typedef double (*real_fn)(double a, double b);

// Double holds enough bits that what is rounded from it, to a narrower type, is
// what rounding the exact result gives.
static ibx_status each(const ibx_library_call *c, size_t p, integer_fn fn,
                       real_fn real) {
  const ibx_sim_view *dst = &c->view[0], *a = &c->view[1], *b = &c->view[2];
  bool has_sign = ibx_is_signed(a), is_real = ibx_holds_floats(a);
  for (size_t i = 0; i < dst->elements; i++) {
    if (is_real) {
      store_real(dst, p, i, real(load_real(a, p, i), load_real(b, p, i)));
      continue;
    }
    uint64_t value = fn((uint64_t)ibx_load_integer(a, p, i),
                        (uint64_t)ibx_load_integer(b, p, i), has_sign);
    ibx_store_integer(dst, p, i, (int64_t)value);
  }
  return IBX_OK;
}

static uint64_t add(uint64_t a, uint64_t b, bool has_sign) {
  (void)has_sign;
  return a + b;
}

static uint64_t subtract(uint64_t a, uint64_t b, bool has_sign) {
  (void)has_sign;
  return a - b;
}

static uint64_t multiply(uint64_t a, uint64_t b, bool has_sign) {
  (void)has_sign;
  return a * b;
}

static uint64_t magnitude(uint64_t a) { return a >> 63 ? 0 - a : a; }

// Through magnitudes, as the least integer has none of its own.
static uint64_t divide(uint64_t a, uint64_t b, bool has_sign) {
  if (b == 0) return 0;
  if (!has_sign) return a / b;
  uint64_t quotient = magnitude(a) / magnitude(b);
  return (a ^ b) >> 63 ? 0 - quotient : quotient;
}

static uint64_t remainder_of(uint64_t a, uint64_t b, bool has_sign) {
  return a - b * divide(a, b, has_sign);
}

static uint64_t modulo(uint64_t a, uint64_t b, bool has_sign) {
  uint64_t rest = remainder_of(a, b, has_sign);
  bool is_other = has_sign && b != 0 && rest != 0 && (rest ^ b) >> 63;
  return is_other ? rest + b : rest;
}

static double add_real(double a, double b) { return a + b; }
static double subtract_real(double a, double b) { return a - b; }
static double multiply_real(double a, double b) { return a * b; }
static double divide_real(double a, double b) { return a / b; }

static double modulo_real(double a, double b) {
  double rest = fmod(a, b);
  if (rest == 0.0) return copysign(0.0, b);
  return (rest < 0.0) == (b < 0.0) ? rest : rest + b;
}

ibx_status ibx_kernel_ADD(const ibx_library_call *c, size_t p) {
  return each(c, p, add, add_real);
}

ibx_status ibx_kernel_SUBTRACT(const ibx_library_call *c, size_t p) {
  return each(c, p, subtract, subtract_real);
}

ibx_status ibx_kernel_MULTIPLY(const ibx_library_call *c, size_t p) {
  return each(c, p, multiply, multiply_real);
}

ibx_status ibx_kernel_DIVIDE(const ibx_library_call *c, size_t p) {
  return each(c, p, divide, divide_real);
}

ibx_status ibx_kernel_REMAINDER(const ibx_library_call *c, size_t p) {
  return each(c, p, remainder_of, fmod);
}

ibx_status ibx_kernel_MODULO(const ibx_library_call *c, size_t p) {
  return each(c, p, modulo, modulo_real);
}

// --- comparisons ----------------------------------------------------------------

ibx_status ibx_kernel_MAXIMUM(const ibx_library_call *c, size_t p) {
  const ibx_sim_view *a = &c->view[1], *b = &c->view[2];
  for (size_t i = 0; i < c->view[0].elements; i++) {
    bool second = ibx_compare_elements(a, i, b, i, p) < 0;
    ibx_copy_element(&c->view[0], p, i, second ? b : a, i);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_MINIMUM(const ibx_library_call *c, size_t p) {
  const ibx_sim_view *a = &c->view[1], *b = &c->view[2];
  for (size_t i = 0; i < c->view[0].elements; i++) {
    bool second = ibx_compare_elements(a, i, b, i, p) > 0;
    ibx_copy_element(&c->view[0], p, i, second ? b : a, i);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_EQUAL(const ibx_library_call *c, size_t p) {
  for (size_t i = 0; i < c->view[0].elements; i++) {
    int order = ibx_compare_elements(&c->view[1], i, &c->view[2], i, p);
    ibx_store_integer(&c->view[0], p, i, order == 0);
  }
  return IBX_OK;
}

ibx_status ibx_kernel_LESS(const ibx_library_call *c, size_t p) {
  for (size_t i = 0; i < c->view[0].elements; i++) {
    int order = ibx_compare_elements(&c->view[1], i, &c->view[2], i, p);
    ibx_store_integer(&c->view[0], p, i, order < 0);
  }
  return IBX_OK;
}

// dst = condition ? a : b
ibx_status ibx_kernel_SELECT(const ibx_library_call *c, size_t p) {
  for (size_t i = 0; i < c->view[0].elements; i++) {
    unsigned slot = ibx_is_zero(&c->view[3], p, i) ? 2 : 1;
    ibx_copy_element(&c->view[0], p, i, &c->view[slot], i);
  }
  return IBX_OK;
}

// --- conversion -----------------------------------------------------------------

// The largest integer of a type is 2^bits - 1, of which not every one is a
// double: from 2^bits on it is taken. Below a byte it is that of 32 bits.
static int64_t truncate_real(double value, ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool is_narrow = info->width < 8;
  bool has_sign = is_narrow || info->kind == IBX_DTYPE_KIND_SINT;
  unsigned bits = (is_narrow ? 32u : info->bits) - (has_sign ? 1 : 0);
  uint64_t most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
  double end = bits == 64 ? 0x1p64 : (double)(UINT64_C(1) << bits);
  if (value != value) return 0;
  if (value >= end) return (int64_t)most;
  if (!has_sign) return value <= 0.0 ? 0 : (int64_t)(uint64_t)value;
  return value <= -end ? -(int64_t)most - 1 : (int64_t)value;
}

// An integer, to fp32 first where the result is not wider.
static double integer_as_real(const ibx_sim_view *src, size_t p, size_t i,
                              ibx_dtype to) {
  int64_t value = ibx_load_integer(src, p, i);
  bool is_wide = to == IBX_DTYPE_F64;
  if (src->dtype == IBX_DTYPE_BOOL) return value != 0;
  if (ibx_is_signed(src)) return is_wide ? (double)value : (double)(float)value;
  uint64_t whole = (uint64_t)value;
  return is_wide ? (double)whole : (double)(float)whole;
}

static void convert_element(const ibx_sim_view *dst, const ibx_sim_view *src,
                            size_t p, size_t i) {
  bool from_float = ibx_holds_floats(src);
  if (ibx_holds_floats(dst)) {
    store_real(dst, p, i,
               from_float ? load_real(src, p, i)
                          : integer_as_real(src, p, i, dst->dtype));
    return;
  }
  int64_t value;
  if (from_float) {
    double real = load_real(src, p, i);
    bool is_truth = dst->dtype == IBX_DTYPE_BOOL;
    value = is_truth ? real != 0.0 : truncate_real(real, dst->dtype);
  } else {
    value = ibx_load_integer(src, p, i);
    if (src->dtype == IBX_DTYPE_BOOL) value = value != 0;
  }
  if (dst->dtype == IBX_DTYPE_BOOL) value = value != 0;
  ibx_store_integer(dst, p, i,
                    (int64_t)ibx_dtype_wrap(dst->dtype, (uint64_t)value));
}

ibx_status ibx_kernel_CONVERT(const ibx_library_call *c, size_t p) {
  const ibx_sim_view *dst = &c->view[0], *src = &c->view[1];
  for (size_t i = 0; i < dst->elements; i++) {
    if (dst->dtype == src->dtype) {
      ibx_copy_element(dst, p, i, src, i);
    } else {
      convert_element(dst, src, p, i);
    }
  }
  return IBX_OK;
}
