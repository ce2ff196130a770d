// SPDX-License-Identifier: Apache-2.0
//
// Imports inverse trigonometric and hyperbolic functions. Comes in: a call. Goes
// out: formulas in fp32 that keep their relative accuracy at 0 and at the ends
// of the domain, and give NaN outside of it:
//
//   atan(x)   a polynomial up to 1, pi / 2 - atan(1 / x) beyond
//   asin(x)   atan(x / sqrt((1 - x) (1 + x)))
//   acos(x)   2 atan(sqrt((1 - x) / (1 + x)))
//   asinh(x)  log1p(x + x^2 / (1 + sqrt(x^2 + 1)))
//   acosh(x)  log1p(z + sqrt(z) sqrt(x + 1)), z = x - 1
//   atanh(x)  log1p(2 x / (1 - x)) / 2

#include "frontend/import.h"
#include "frontend/import_ops.h"

static const double half_pi = 1.5707963267948966, ln_2 = 0.6931471805599453;

static ibx_val below(ibx_call *call, ibx_val x, double limit) {
  return ibx_emit_binary(call, IBX_TENSOR_less, x,
                         ibx_emit_like(call, x, limit));
}

static ibx_val root(ibx_call *call, ibx_val x) {
  return ibx_emit_unary(call, IBX_TENSOR_sqrt, x);
}

// The size of x with the sign of another.
static ibx_val with_sign(ibx_call *call, ibx_val size, ibx_val like) {
  return ibx_emit_select(call, below(call, like, 0),
                         ibx_emit_unary(call, IBX_TENSOR_neg, size), size);
}

// atan(t) / t for t in 0 .. 1 as a polynomial in t^2. The coefficients are our
// own least-squares fit at Chebyshev points, reweighted until the largest
// relative error was smallest: 2.4e-9, and 1.1e-7 when computed in fp32.
static ibx_val atan_near_0(ibx_call *call, ibx_val t) {
  static const double c[] = {1.0,           -0.3333328366, 0.1999826580,
                             -0.1426193267, 0.1094203070,  -0.0837731511,
                             0.0575520955,  -0.0308045894, 0.0107269399,
                             -0.0017539292};
  size_t i = IBX_COUNT_OF(c) - 1;
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, t, t);
  ibx_val sum = ibx_emit_affine(call, square, c[i], c[i - 1]);
  for (i--; i-- > 0;) {
    sum = ibx_emit_binary(call, IBX_TENSOR_mul, sum, square);
    sum = ibx_emit_affine(call, sum, 1, c[i]);
  }
  return ibx_emit_binary(call, IBX_TENSOR_mul, sum, t);
}

static ibx_val emit_atan(ibx_call *call, ibx_val x) {
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  ibx_val near = ibx_emit_binary(call, IBX_TENSOR_less_equal, size,
                                 ibx_emit_like(call, size, 1));
  ibx_val turned = ibx_emit_unary(call, IBX_TENSOR_reciprocal, size);
  ibx_val part = atan_near_0(call, ibx_emit_select(call, near, size, turned));
  ibx_val rest = ibx_emit_affine(call, part, -1, half_pi);
  return with_sign(call, ibx_emit_select(call, near, part, rest), x);
}

// log(1 + z). What u = 1 + z rounds off z is made up for by z / (u - 1).
static ibx_val emit_log1p(ibx_call *call, ibx_val z) {
  ibx_val u = ibx_emit_affine(call, z, 1, 1);
  ibx_val far = ibx_emit_unary(call, IBX_TENSOR_log, u);
  ibx_val kept = ibx_emit_affine(call, u, 1, -1);
  ibx_val lost = ibx_emit_binary(call, IBX_TENSOR_equal, kept,
                                 ibx_emit_like(call, kept, 0));
  ibx_val by = ibx_emit_select(call, lost, ibx_emit_like(call, kept, 1), kept);
  ibx_val near = ibx_emit_binary(call, IBX_TENSOR_mul, far,
                                 ibx_emit_binary(call, IBX_TENSOR_div, z, by));
  near = ibx_emit_select(call, lost, z, near);
  return ibx_emit_select(call, below(call, z, 1), near, far);
}

// log(2 x), which both functions are where x^2 would overflow.
static ibx_val beyond(ibx_call *call, ibx_val x, ibx_val near) {
  enum { FAR = 1 << 13 }; // 1 / FAR^2 is lost in fp32
  ibx_val far =
      ibx_emit_affine(call, ibx_emit_unary(call, IBX_TENSOR_log, x), 1, ln_2);
  ibx_val is_far =
      ibx_emit_binary(call, IBX_TENSOR_less, ibx_emit_like(call, x, FAR), x);
  return ibx_emit_select(call, is_far, far, near);
}

static ibx_val emit_asin(ibx_call *call, ibx_val x) {
  ibx_val up = ibx_emit_affine(call, x, 1, 1);
  ibx_val down = ibx_emit_affine(call, x, -1, 1);
  ibx_val side = root(call, ibx_emit_binary(call, IBX_TENSOR_mul, up, down));
  return emit_atan(call, ibx_emit_binary(call, IBX_TENSOR_div, x, side));
}

static ibx_val emit_acos(ibx_call *call, ibx_val x) {
  ibx_val up = ibx_emit_affine(call, x, 1, 1);
  ibx_val down = ibx_emit_affine(call, x, -1, 1);
  ibx_val half = emit_atan(
      call, root(call, ibx_emit_binary(call, IBX_TENSOR_div, down, up)));
  return ibx_emit_affine(call, half, 2, 0);
}

static ibx_val emit_asinh(ibx_call *call, ibx_val x) {
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  ibx_val square = ibx_emit_binary(call, IBX_TENSOR_mul, size, size);
  ibx_val side = root(call, ibx_emit_affine(call, square, 1, 1));
  ibx_val z = ibx_emit_binary(call, IBX_TENSOR_div, square,
                              ibx_emit_affine(call, side, 1, 1));
  z = emit_log1p(call, ibx_emit_binary(call, IBX_TENSOR_add, size, z));
  return with_sign(call, beyond(call, size, z), x);
}

static ibx_val emit_acosh(ibx_call *call, ibx_val x) {
  ibx_val z = ibx_emit_affine(call, x, 1, -1);
  ibx_val side = ibx_emit_binary(call, IBX_TENSOR_mul, root(call, z),
                                 root(call, ibx_emit_affine(call, x, 1, 1)));
  z = emit_log1p(call, ibx_emit_binary(call, IBX_TENSOR_add, z, side));
  return beyond(call, x, z);
}

static ibx_val emit_atanh(ibx_call *call, ibx_val x) {
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  ibx_val z =
      ibx_emit_binary(call, IBX_TENSOR_div, ibx_emit_affine(call, size, 2, 0),
                      ibx_emit_affine(call, size, -1, 1));
  return with_sign(call, ibx_emit_affine(call, emit_log1p(call, z), 0.5, 0), x);
}

#define INVERSE(name)                                                          \
  void ibx_import_op_##name(ibx_call *call) {                                  \
    ibx_val x = ibx_emit_cast(call, ibx_in(call, 0), IBX_DTYPE_F32);           \
    ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));                     \
    ibx_out(call, 0, ibx_emit_cast(call, emit_##name(call, x), dtype));        \
  }

INVERSE(atan)
INVERSE(asin)
INVERSE(acos)
INVERSE(asinh)
INVERSE(acosh)
INVERSE(atanh)
