// SPDX-License-Identifier: Apache-2.0
//
// Elementwise operations. Comes in: operands of equal shapes. Goes out: one
// element for each, computed in double or in wrapping 64-bit integers and
// converted once. Elements are staged in blocks that stay in the first-level
// cache, so that the loops over an operation are plain and vectorise.

#include "host/host.h"

#include <math.h>
#include <string.h>

#define EACH(expression)                                                       \
  for (size_t i = 0; i < count; i++)                                           \
    y[i] = (expression);                                                       \
  return

// Elements that the next block stages.
static size_t block_len(size_t left) {
  return left < IBX_HOST_BLOCK ? left : IBX_HOST_BLOCK;
}

static size_t elements_of(const ibx_tensor *tensor) {
  return ibx_type_span(&tensor->type, 0, tensor->type.rank);
}

// --- one operand, floating ---------------------------------------------------

static double sign_of(double x) {
  if (isnan(x)) return x;
  return (double)((x > 0) - (x < 0));
}

// log(1 + exp(x)) without overflow.
static double softplus(double x) {
  return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static double gelu_tanh(double x) {
  const double sqrt_2_over_pi = 0.7978845608028654;
  return 0.5 * x * (1 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
}

static double clip(double x, double low, double high) {
  if (x < low) return low;
  return x > high ? high : x;
}

static void unary_float(ibx_tensor_op op, const ibx_params *params,
                        const double *x, double *y, size_t count) {
  const double sqrt_half = 0.7071067811865476;
  double alpha = (double)params->alpha, beta = (double)params->beta;
  switch (op) {
  case IBX_TENSOR_neg: EACH(-x[i]);
  case IBX_TENSOR_abs: EACH(fabs(x[i]));
  case IBX_TENSOR_sign: EACH(sign_of(x[i]));
  case IBX_TENSOR_floor: EACH(floor(x[i]));
  case IBX_TENSOR_ceil: EACH(ceil(x[i]));
  case IBX_TENSOR_round: EACH(rint(x[i]));
  case IBX_TENSOR_sqrt: EACH(sqrt(x[i]));
  case IBX_TENSOR_rsqrt: EACH(1 / sqrt(x[i]));
  case IBX_TENSOR_reciprocal: EACH(1 / x[i]);
  case IBX_TENSOR_exp: EACH(exp(x[i]));
  case IBX_TENSOR_log: EACH(log(x[i]));
  case IBX_TENSOR_sin: EACH(sin(x[i]));
  case IBX_TENSOR_cos: EACH(cos(x[i]));
  case IBX_TENSOR_erf: EACH(erf(x[i]));
  case IBX_TENSOR_tanh: EACH(tanh(x[i]));
  case IBX_TENSOR_sigmoid: EACH(1 / (1 + exp(-x[i])));
  case IBX_TENSOR_relu: EACH(x[i] < 0 ? 0 : x[i]);
  case IBX_TENSOR_gelu: EACH(0.5 * x[i] * (1 + erf(x[i] * sqrt_half)));
  case IBX_TENSOR_gelu_tanh: EACH(gelu_tanh(x[i]));
  case IBX_TENSOR_gelu_sigmoid: EACH(x[i] / (1 + exp(-1.702 * x[i])));
  case IBX_TENSOR_silu: EACH(x[i] / (1 + exp(-x[i])));
  case IBX_TENSOR_softplus: EACH(softplus(x[i]));
  case IBX_TENSOR_mish: EACH(x[i] * tanh(softplus(x[i])));
  case IBX_TENSOR_leaky_relu: EACH(x[i] < 0 ? alpha * x[i] : x[i]);
  case IBX_TENSOR_elu: EACH(x[i] < 0 ? alpha * expm1(x[i]) : x[i]);
  case IBX_TENSOR_clip: EACH(clip(x[i], alpha, beta));
  case IBX_TENSOR_affine: EACH(x[i] * alpha + beta);
  default: return;
  }
}

// --- one operand, integer ----------------------------------------------------

// Wrapping arithmetic: unsigned overflow is defined.
static int64_t wrap_add(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a + (uint64_t)b);
}

static int64_t wrap_mul(int64_t a, int64_t b) {
  return (int64_t)((uint64_t)a * (uint64_t)b);
}

static int64_t wrap_neg(int64_t a) { return (int64_t)(0 - (uint64_t)a); }

// Maps the order of unsigned numbers onto that of signed ones, and back.
static int64_t flip(int64_t value) {
  return (int64_t)((uint64_t)value ^ (uint64_t)1 << 63);
}

// A bound of clip as an integer, saturated to the dtype and in its order.
static int64_t integer_bound(ibx_dtype dtype, double bound) {
  uint64_t element;
  int64_t value;
  if (ibx_dtype_get(dtype)->width < 8) {
    double most = (double)ibx_host_extreme(dtype, true);
    double least = (double)ibx_host_extreme(dtype, false);
    bound = bound > most ? most : bound < least ? least : bound;
  }
  ibx_host_store_truncated(dtype, &bound, &element, 1);
  ibx_host_load_int(dtype, &element, &value, 1);
  return dtype == IBX_DTYPE_U64 ? flip(value) : value;
}

static void clip_integers(const ibx_params *params, ibx_dtype dtype,
                          const int64_t *x, int64_t *y, size_t count) {
  bool is_u64 = dtype == IBX_DTYPE_U64;
  int64_t low = integer_bound(dtype, ceil((double)params->alpha));
  int64_t high = integer_bound(dtype, floor((double)params->beta));
  for (size_t i = 0; i < count; i++) {
    int64_t value = is_u64 ? flip(x[i]) : x[i];
    if (value < low) value = low;
    if (value > high) value = high;
    y[i] = is_u64 ? flip(value) : value;
  }
}

static void unary_int(ibx_tensor_op op, const ibx_params *params,
                      ibx_dtype dtype, const int64_t *x, int64_t *y,
                      size_t count) {
  bool is_u64 = dtype == IBX_DTYPE_U64;
  switch (op) {
  case IBX_TENSOR_neg: EACH(wrap_neg(x[i]));
  case IBX_TENSOR_abs: EACH(!is_u64 && x[i] < 0 ? wrap_neg(x[i]) : x[i]);
  case IBX_TENSOR_sign: EACH(is_u64 ? x[i] != 0 : (x[i] > 0) - (x[i] < 0));
  case IBX_TENSOR_relu: EACH(!is_u64 && x[i] < 0 ? 0 : x[i]);
  case IBX_TENSOR_not: EACH(x[i] == 0);
  case IBX_TENSOR_clip: clip_integers(params, dtype, x, y, count); return;
  case IBX_TENSOR_affine:
    EACH(wrap_add(wrap_mul(x[i], (int64_t)params->alpha),
                  (int64_t)params->beta));
  case IBX_TENSOR_floor:
  case IBX_TENSOR_ceil:
  case IBX_TENSOR_round: EACH(x[i]);
  default: return;
  }
}

// --- conversions -------------------------------------------------------------

static void cast_block(ibx_dtype from, const void *x, ibx_dtype to, void *y,
                       size_t count) {
  double reals[IBX_HOST_BLOCK];
  int64_t integers[IBX_HOST_BLOCK];
  if (!ibx_dtype_is_float(from)) {
    ibx_host_load_int(from, x, integers, count);
    if (ibx_dtype_is_float(to)) {
      ibx_host_store_from_int(to, from == IBX_DTYPE_U64, integers, y, count);
    } else {
      ibx_host_store_int(to, integers, y, count);
    }
    return;
  }
  ibx_host_load(from, x, reals, count);
  if (ibx_dtype_is_float(to)) {
    ibx_host_store(to, reals, y, count);
  } else if (to == IBX_DTYPE_BOOL) {
    for (size_t i = 0; i < count; i++)
      integers[i] = reals[i] != 0;
    ibx_host_store_int(to, integers, y, count);
  } else {
    ibx_host_store_truncated(to, reals, y, count);
  }
}

static void is_nan_block(ibx_dtype from, const void *x, void *y, size_t count) {
  double reals[IBX_HOST_BLOCK];
  ibx_host_load(from, x, reals, count);
  uint8_t *flags = y;
  for (size_t i = 0; i < count; i++)
    flags[i] = (uint8_t)(isnan(reals[i]) != 0);
}

static bool converts(ibx_tensor_op op) {
  return op == IBX_TENSOR_cast || op == IBX_TENSOR_wrap ||
         op == IBX_TENSOR_encode || op == IBX_TENSOR_decode;
}

static void unary_block(const ibx_host_call *call, const void *x, void *y,
                        size_t count) {
  ibx_dtype from = call->operands[0].type.dtype;
  ibx_dtype to = call->result->type.dtype;
  if (call->op == IBX_TENSOR_decode) from = call->params->code;
  if (call->op == IBX_TENSOR_encode) to = call->params->code;
  if (converts(call->op)) {
    cast_block(from, x, to, y, count);
  } else if (call->op == IBX_TENSOR_is_nan) {
    is_nan_block(from, x, y, count);
  } else if (ibx_dtype_is_float(from)) {
    double in[IBX_HOST_BLOCK], out[IBX_HOST_BLOCK];
    ibx_host_load(from, x, in, count);
    unary_float(call->op, call->params, in, out, count);
    ibx_host_store(to, out, y, count);
  } else {
    int64_t in[IBX_HOST_BLOCK], out[IBX_HOST_BLOCK];
    ibx_host_load_int(from, x, in, count);
    unary_int(call->op, call->params, from, in, out, count);
    ibx_host_store_int(to, out, y, count);
  }
}

ibx_status ibx_host_unary(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  const ibx_tensor *x = &call->operands[0];
  ibx_tensor *y = call->result;
  if (call->op == IBX_TENSOR_cast && x->type.dtype == y->type.dtype) {
    memcpy(y->data, x->data, elements_of(x) * ibx_dtype_bytes(x->type.dtype));
    return IBX_OK;
  }
  size_t count = elements_of(x);
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = block_len(count - first);
    unary_block(call, ibx_host_at_const(x->data, x->type.dtype, first),
                ibx_host_at(y->data, y->type.dtype, first), len);
  }
  return IBX_OK;
}

// --- two operands ------------------------------------------------------------

static double larger(double a, double b) {
  if (isnan(a)) return a;
  return a > b ? a : b;
}

static double smaller(double a, double b) {
  if (isnan(a)) return a;
  return a < b ? a : b;
}

// Remainder with the sign of b; fmod() has that of a.
static double floor_mod(double a, double b) {
  double rest = fmod(a, b);
  if (rest == 0) return copysign(0.0, b);
  return (rest < 0) == (b < 0) ? rest : rest + b;
}

static void binary_float(ibx_tensor_op op, const double *a, const double *b,
                         double *y, size_t count) {
  switch (op) {
  case IBX_TENSOR_int_add:
  case IBX_TENSOR_add: EACH(a[i] + b[i]);
  case IBX_TENSOR_int_sub:
  case IBX_TENSOR_sub: EACH(a[i] - b[i]);
  case IBX_TENSOR_int_mul:
  case IBX_TENSOR_mul: EACH(a[i] * b[i]);
  case IBX_TENSOR_int_div:
  case IBX_TENSOR_div: EACH(a[i] / b[i]);
  case IBX_TENSOR_mod: EACH(floor_mod(a[i], b[i]));
  case IBX_TENSOR_fmod: EACH(fmod(a[i], b[i]));
  case IBX_TENSOR_pow: EACH(pow(a[i], b[i]));
  case IBX_TENSOR_int_max:
  case IBX_TENSOR_max: EACH(larger(a[i], b[i]));
  case IBX_TENSOR_int_min:
  case IBX_TENSOR_min: EACH(smaller(a[i], b[i]));
  default: return;
  }
}

// Division by 0 gives 0, as there is no other way to go on.
static int64_t divide(int64_t a, int64_t b, bool is_u64) {
  if (b == 0) return 0;
  if (is_u64) return (int64_t)((uint64_t)a / (uint64_t)b);
  return b == -1 ? wrap_neg(a) : a / b;
}

// As there is no multiple of 0 to take away, a stays.
static int64_t remainder_of(int64_t a, int64_t b, bool is_u64) {
  if (b == 0) return a;
  if (is_u64) return (int64_t)((uint64_t)a % (uint64_t)b);
  return b == -1 ? 0 : a % b;
}

static int64_t floor_remainder(int64_t a, int64_t b, bool is_u64) {
  int64_t rest = remainder_of(a, b, is_u64);
  if (is_u64 || rest == 0 || b == 0 || (rest < 0) == (b < 0)) return rest;
  return rest + b;
}

// Negative exponents give the truncated fraction, and 0 where that is none.
static int64_t power(int64_t base, int64_t exponent, bool is_u64) {
  if (!is_u64 && exponent < 0) {
    if (base == 1) return 1;
    if (base == -1) return exponent % 2 == 0 ? 1 : -1;
    return 0;
  }
  int64_t result = 1;
  for (uint64_t left = (uint64_t)exponent; left != 0; left >>= 1) {
    if (left & 1) result = wrap_mul(result, base);
    base = wrap_mul(base, base);
  }
  return result;
}

static bool is_less(int64_t a, int64_t b, bool is_u64) {
  return is_u64 ? (uint64_t)a < (uint64_t)b : a < b;
}

// Both as bits of the type's width.
static uint64_t width_mask(ibx_dtype dtype) {
  return UINT64_MAX >> (64 - 8 * (unsigned)ibx_dtype_bytes(dtype));
}

static int64_t shift(ibx_dtype dtype, int64_t a, int64_t b, bool is_left) {
  uint64_t bits = (uint64_t)a & width_mask(dtype);
  uint64_t by = (uint64_t)b & width_mask(dtype);
  if (by >= 8 * ibx_dtype_bytes(dtype)) return 0;
  return (int64_t)(is_left ? bits << by : bits >> by);
}

static void binary_int(ibx_tensor_op op, ibx_dtype dtype, const int64_t *a,
                       const int64_t *b, int64_t *y, size_t count) {
  bool is_u64 = dtype == IBX_DTYPE_U64;
  switch (op) {
  case IBX_TENSOR_add:
  case IBX_TENSOR_int_add: EACH(wrap_add(a[i], b[i]));
  case IBX_TENSOR_sub:
  case IBX_TENSOR_int_sub: EACH(wrap_add(a[i], wrap_neg(b[i])));
  case IBX_TENSOR_mul:
  case IBX_TENSOR_int_mul: EACH(wrap_mul(a[i], b[i]));
  case IBX_TENSOR_div:
  case IBX_TENSOR_int_div: EACH(divide(a[i], b[i], is_u64));
  case IBX_TENSOR_mod: EACH(floor_remainder(a[i], b[i], is_u64));
  case IBX_TENSOR_fmod: EACH(remainder_of(a[i], b[i], is_u64));
  case IBX_TENSOR_pow: EACH(power(a[i], b[i], is_u64));
  case IBX_TENSOR_max:
  case IBX_TENSOR_int_max: EACH(is_less(a[i], b[i], is_u64) ? b[i] : a[i]);
  case IBX_TENSOR_min:
  case IBX_TENSOR_int_min: EACH(is_less(b[i], a[i], is_u64) ? b[i] : a[i]);
  case IBX_TENSOR_and:
  case IBX_TENSOR_bit_and: EACH(a[i] & b[i]);
  case IBX_TENSOR_or:
  case IBX_TENSOR_bit_or: EACH(a[i] | b[i]);
  case IBX_TENSOR_xor:
  case IBX_TENSOR_bit_xor: EACH(a[i] ^ b[i]);
  case IBX_TENSOR_shift_left: EACH(shift(dtype, a[i], b[i], true));
  case IBX_TENSOR_shift_right: EACH(shift(dtype, a[i], b[i], false));
  default: return;
  }
}

static void binary_block(const ibx_host_call *call, size_t first,
                         size_t count) {
  ibx_dtype dtype = call->result->type.dtype;
  const void *a = ibx_host_at_const(call->operands[0].data, dtype, first);
  const void *b = ibx_host_at_const(call->operands[1].data, dtype, first);
  void *out = ibx_host_at(call->result->data, dtype, first);
  if (ibx_dtype_is_float(dtype)) {
    double x[2][IBX_HOST_BLOCK], y[IBX_HOST_BLOCK];
    ibx_host_load(dtype, a, x[0], count);
    ibx_host_load(dtype, b, x[1], count);
    binary_float(call->op, x[0], x[1], y, count);
    ibx_host_store(dtype, y, out, count);
  } else {
    int64_t x[2][IBX_HOST_BLOCK], y[IBX_HOST_BLOCK];
    ibx_host_load_int(dtype, a, x[0], count);
    ibx_host_load_int(dtype, b, x[1], count);
    binary_int(call->op, dtype, x[0], x[1], y, count);
    ibx_host_store_int(dtype, y, out, count);
  }
}

ibx_status ibx_host_binary(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  size_t count = elements_of(call->result);
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    binary_block(call, first, block_len(count - first));
  }
  return IBX_OK;
}

// --- comparisons -------------------------------------------------------------

static void compare_float(ibx_tensor_op op, const double *a, const double *b,
                          uint8_t *y, size_t count) {
  switch (op) {
  case IBX_TENSOR_equal: EACH(a[i] == b[i]);
  case IBX_TENSOR_less: EACH(a[i] < b[i]);
  case IBX_TENSOR_less_equal: EACH(a[i] <= b[i]);
  default: return;
  }
}

static void compare_int(ibx_tensor_op op, bool is_u64, const int64_t *a,
                        const int64_t *b, uint8_t *y, size_t count) {
  switch (op) {
  case IBX_TENSOR_equal: EACH(a[i] == b[i]);
  case IBX_TENSOR_less: EACH(is_less(a[i], b[i], is_u64));
  case IBX_TENSOR_less_equal: EACH(!is_less(b[i], a[i], is_u64));
  default: return;
  }
}

ibx_status ibx_host_compare(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  ibx_dtype dtype = call->operands[0].type.dtype;
  uint8_t *y = call->result->data;
  size_t count = elements_of(call->result);
  for (size_t first = 0; first < count; first += IBX_HOST_BLOCK) {
    size_t len = block_len(count - first);
    const void *a = ibx_host_at_const(call->operands[0].data, dtype, first);
    const void *b = ibx_host_at_const(call->operands[1].data, dtype, first);
    if (ibx_dtype_is_float(dtype)) {
      double x[2][IBX_HOST_BLOCK];
      ibx_host_load(dtype, a, x[0], len);
      ibx_host_load(dtype, b, x[1], len);
      compare_float(call->op, x[0], x[1], y + first, len);
    } else {
      int64_t x[2][IBX_HOST_BLOCK];
      ibx_host_load_int(dtype, a, x[0], len);
      ibx_host_load_int(dtype, b, x[1], len);
      compare_int(call->op, dtype == IBX_DTYPE_U64, x[0], x[1], y + first, len);
    }
  }
  return IBX_OK;
}

ibx_status ibx_host_select(const ibx_host_call *call, ibx_error *err) {
  (void)err;
  size_t count = elements_of(call->result);
  size_t bytes = ibx_dtype_bytes(call->result->type.dtype);
  const uint8_t *condition = call->operands[0].data;
  const char *yes = call->operands[1].data, *no = call->operands[2].data;
  char *y = call->result->data;
  for (size_t i = 0; i < count; i++) {
    const char *from = condition[i] ? yes : no;
    memcpy(y + i * bytes, from + i * bytes, bytes);
  }
  return IBX_OK;
}
