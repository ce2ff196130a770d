// SPDX-License-Identifier: Apache-2.0
//
// Imports operators that work element by element. Comes in: a call. Goes out:
// elementwise tensor operations on operands that were broadcast to one shape.

#include "frontend/import.h"

#include "frontend/import_ops.h"
#include <string.h>

#include <math.h>

static ibx_val emit_of_inputs(ibx_call *call, ibx_tensor_op op, ibx_val a,
                              ibx_val b) {
  ibx_val operands[] = {a, b};
  ibx_meet_inputs(call, operands, 2);
  return ibx_emit_binary(call, op, operands[0], operands[1]);
}

// --- one tensor operation each -----------------------------------------------

#define UNARY(name)                                                            \
  void ibx_import_op_##name(ibx_call *call) {                                  \
    ibx_out(call, 0,                                                           \
            ibx_emit_unary(call, IBX_TENSOR_##name, ibx_in(call, 0)));         \
  }
#define BINARY(name)                                                           \
  void ibx_import_op_##name(ibx_call *call) {                                  \
    ibx_out(call, 0,                                                           \
            emit_of_inputs(call, IBX_TENSOR_##name, ibx_in(call, 0),           \
                           ibx_second_in(call)));                              \
  }

UNARY(neg)
UNARY(abs)
UNARY(sign)
UNARY(floor)
UNARY(ceil)
UNARY(round)
UNARY(sqrt)
UNARY(reciprocal)
UNARY(exp)
UNARY(log)
UNARY(sin)
UNARY(cos)
UNARY(erf)
UNARY(tanh)
UNARY(sigmoid)
UNARY(relu)
UNARY(softplus)
UNARY(mish)
UNARY(not)
UNARY(is_nan)

BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(and)
BINARY(or)
BINARY(xor)
// Texts are compared on the host.
void ibx_import_op_equal(ibx_call *call) {
  if (ibx_is_text(call, ibx_in(call, 0))) {
    ibx_import_text_equal(call);
    return;
  }
  ibx_out(call, 0,
          emit_of_inputs(call, IBX_TENSOR_equal, ibx_in(call, 0),
                         ibx_second_in(call)));
}
BINARY(less)
BINARY(less_equal)
BINARY(bit_and)
BINARY(bit_or)
BINARY(bit_xor)

// --- bits --------------------------------------------------------------------

ibx_val ibx_emit_other_bits(ibx_call *call, ibx_val x) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  // All bits are -1, or the largest number there is.
  bool is_signed = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  unsigned width = 8 * (unsigned)ibx_dtype_bytes(dtype);
  uint64_t all = is_signed ? UINT64_MAX : UINT64_MAX >> (64 - width);
  ibx_ints scalar = {0};
  ibx_val ones = ibx_emit_longs(call, scalar, (const int64_t[]){(int64_t)all});
  ones = ibx_emit_cast(call, ones, dtype);
  return ibx_emit_binary(call, IBX_TENSOR_bit_xor, x, ones);
}

void ibx_import_op_bit_not(ibx_call *call) {
  if (ibx_dtype_of(call, ibx_in(call, 0)) == IBX_DTYPE_U64) {
    // The result has bits where the machine's integers end.
    ibx_call_refuse(call, "X", "the other bits of u64");
    return;
  }
  ibx_out(call, 0, ibx_emit_other_bits(call, ibx_in(call, 0)));
}

// The bits of a negative number are those of a positive one, all turned: the
// zeros that come in become copies of the sign.
static ibx_val emit_signed_shift(ibx_call *call, ibx_val x, ibx_val by) {
  ibx_val zero = ibx_emit_like(call, x, 0);
  ibx_val is_negative = ibx_emit_binary(call, IBX_TENSOR_less, x, zero);
  ibx_val sign =
      ibx_emit_select(call, is_negative, ibx_emit_like(call, x, -1), zero);
  ibx_val bits = ibx_emit_binary(call, IBX_TENSOR_bit_xor, x, sign);
  bits = ibx_emit_binary(call, IBX_TENSOR_shift_right, bits, by);
  return ibx_emit_binary(call, IBX_TENSOR_bit_xor, bits, sign);
}

void ibx_import_op_bit_shift(ibx_call *call) {
  const char *direction = ibx_attr_text(call, "direction", "");
  bool is_left = strcmp(direction, "LEFT") == 0;
  if (!is_left && strcmp(direction, "RIGHT") != 0) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "direction",
                  "set the attribute to LEFT or RIGHT",
                  "the direction is '%s', neither LEFT nor RIGHT", direction);
    return;
  }
  ibx_val x = ibx_in(call, 0), by = ibx_in(call, 1);
  ibx_dtype_kind kind = ibx_dtype_get(ibx_dtype_of(call, x))->kind;
  if (is_left) {
    ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_shift_left, x, by));
  } else if (kind == IBX_DTYPE_KIND_UINT) {
    ibx_out(call, 0, ibx_emit_binary(call, IBX_TENSOR_shift_right, x, by));
  } else {
    ibx_out(call, 0, emit_signed_shift(call, x, by));
  }
}

// --- comparisons the other way round -----------------------------------------

void ibx_import_op_greater(ibx_call *call) {
  ibx_out(call, 0,
          emit_of_inputs(call, IBX_TENSOR_less, ibx_second_in(call),
                         ibx_in(call, 0)));
}

void ibx_import_op_greater_equal(ibx_call *call) {
  ibx_out(call, 0,
          emit_of_inputs(call, IBX_TENSOR_less_equal, ibx_in(call, 1),
                         ibx_in(call, 0)));
}

// --- any number of inputs ----------------------------------------------------

static ibx_val chain(ibx_call *call, ibx_tensor_op op) {
  ibx_val result = ibx_in(call, 0);
  for (size_t i = 1; i < call->in_count; i++) {
    if (!ibx_has_in(call, i)) {
      ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                    "remove the empty input", "input %zu is left out", i);
      return result;
    }
    result = emit_of_inputs(call, op, result, ibx_in(call, i));
  }
  return result;
}

void ibx_import_op_sum(ibx_call *call) {
  ibx_out(call, 0, chain(call, IBX_TENSOR_add));
}

void ibx_import_op_max(ibx_call *call) {
  ibx_out(call, 0, chain(call, IBX_TENSOR_max));
}

void ibx_import_op_min(ibx_call *call) {
  ibx_out(call, 0, chain(call, IBX_TENSOR_min));
}

void ibx_import_op_mean(ibx_call *call) {
  ibx_val sum = chain(call, IBX_TENSOR_add);
  double count = (double)call->in_count;
  ibx_out(call, 0,
          ibx_emit_binary(call, IBX_TENSOR_div, sum,
                          ibx_emit_like(call, sum, count)));
}

// --- powers and remainders ---------------------------------------------------

// Exponents that are exact in cheaper operations.
static bool simple_power(ibx_call *call, ibx_val x, double exponent,
                         ibx_val *out) {
  bool is_float = ibx_is_float(ibx_dtype_of(call, x));
  ibx_val square;
  if (exponent == 1.0) {
    *out = x;
  } else if (exponent == 2.0) {
    *out = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
  } else if (exponent == 3.0) {
    square = ibx_emit_binary(call, IBX_TENSOR_mul, x, x);
    *out = ibx_emit_binary(call, IBX_TENSOR_mul, square, x);
  } else if (exponent == -1.0 && is_float) {
    *out = ibx_emit_unary(call, IBX_TENSOR_reciprocal, x);
  } else {
    return false;
  }
  return true;
}

void ibx_import_op_pow(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), y = ibx_second_in(call), result;
  ibx_dtype dtype = ibx_dtype_of(call, x);
  ibx_ints shape =
      ibx_broadcast_shape(call, ibx_shape_of(call, x), ibx_shape_of(call, y));
  double exponent = 0;
  if (ibx_is_splat(call, y, &exponent) &&
      simple_power(call, x, exponent, &result)) {
    ibx_out(call, 0, ibx_emit_broadcast(call, result, shape));
    return;
  }
  // The exponent may have a type of its own. A fraction of an integer power
  // must not be lost, so integers to a floating power go through it.
  ibx_dtype power = ibx_dtype_of(call, y);
  bool through = !ibx_is_float(dtype) && ibx_is_float(power);
  ibx_dtype common = through ? power : dtype;
  result = emit_of_inputs(call, IBX_TENSOR_pow, ibx_emit_cast(call, x, common),
                          ibx_emit_cast(call, y, common));
  ibx_out(call, 0, ibx_emit_cast(call, result, dtype));
}

void ibx_import_op_mod(ibx_call *call) {
  bool fmod = ibx_attr_flag(call, "fmod", false);
  if (!fmod && call->version < 28 &&
      ibx_is_float(ibx_dtype_of(call, ibx_in(call, 0)))) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "fmod",
                  "set the attribute fmod to 1",
                  "Mod of floating numbers needs fmod = 1 before opset 28");
    return;
  }
  ibx_tensor_op op = fmod ? IBX_TENSOR_fmod : IBX_TENSOR_mod;
  ibx_out(call, 0, emit_of_inputs(call, op, ibx_in(call, 0), ibx_in(call, 1)));
}

// --- hyperbolic functions ----------------------------------------------------

// In fp32 at least: exponentials overflow before their half does, and cancel.
static void out_exps(ibx_call *call, ibx_tensor_op join) {
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val x = ibx_emit_wide(call, ibx_in(call, 0));
  ibx_val up = ibx_emit_unary(call, IBX_TENSOR_exp, x);
  ibx_val down = ibx_emit_unary(call, IBX_TENSOR_exp,
                                ibx_emit_unary(call, IBX_TENSOR_neg, x));
  x = ibx_emit_affine(call, ibx_emit_binary(call, join, up, down), 0.5, 0);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

void ibx_import_op_sinh(ibx_call *call) { out_exps(call, IBX_TENSOR_sub); }

void ibx_import_op_cosh(ibx_call *call) { out_exps(call, IBX_TENSOR_add); }

void ibx_import_op_tan(ibx_call *call) {
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val x = ibx_emit_wide(call, ibx_in(call, 0));
  ibx_val sine = ibx_emit_unary(call, IBX_TENSOR_sin, x);
  ibx_val cosine = ibx_emit_unary(call, IBX_TENSOR_cos, x);
  x = ibx_emit_binary(call, IBX_TENSOR_div, sine, cosine);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

// --- limits ------------------------------------------------------------------

static void clip_between(ibx_call *call, bool has_low, double low,
                         bool has_high, double high) {
  ibx_val x = ibx_in(call, 0);
  if (!has_low && !has_high) {
    ibx_out(call, 0, x);
  } else if (has_low && low == 0 && !has_high) {
    ibx_out(call, 0, ibx_emit_unary(call, IBX_TENSOR_relu, x));
  } else if (has_low && has_high && low < high &&
             ibx_is_float(ibx_dtype_of(call, x))) {
    ibx_out(call, 0, ibx_emit_clip(call, x, (float)low, (float)high));
  } else {
    ibx_val floor = ibx_emit_like(call, x, low);
    if (has_low) x = ibx_emit_binary(call, IBX_TENSOR_max, x, floor);
    ibx_val roof = ibx_emit_like(call, x, high);
    if (has_high) x = ibx_emit_binary(call, IBX_TENSOR_min, x, roof);
    ibx_out(call, 0, x);
  }
}

void ibx_import_op_clip_6(ibx_call *call) {
  bool has_low = ibx_has_attr(call, "min"),
       has_high = ibx_has_attr(call, "max");
  clip_between(call, has_low, (double)ibx_attr_any_float(call, "min", 0),
               has_high, (double)ibx_attr_any_float(call, "max", 0));
}

static bool is_limit(ibx_call *call, size_t index, const char *name) {
  if (!ibx_has_in(call, index)) return true;
  const ibx_type *type = ibx_type_of(call, ibx_in(call, index));
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  return ibx_call_expect(call, ibx_elements(type) == 1, name,
                         "needs one element") &&
         ibx_call_expect(call, type->dtype == dtype, name,
                         "has another type than the operand");
}

void ibx_import_op_clip(ibx_call *call) {
  double low = 0, high = 0;
  bool has_low = ibx_has_in(call, 1), has_high = ibx_has_in(call, 2);
  if (!is_limit(call, 1, "min") || !is_limit(call, 2, "max")) return;
  bool known = (!has_low || ibx_is_splat(call, ibx_in(call, 1), &low)) &&
               (!has_high || ibx_is_splat(call, ibx_in(call, 2), &high));
  if (known) {
    clip_between(call, has_low, low, has_high, high);
    return;
  }
  ibx_val x = ibx_in(call, 0);
  if (has_low) x = ibx_emit_binary(call, IBX_TENSOR_max, x, ibx_in(call, 1));
  if (has_high) x = ibx_emit_binary(call, IBX_TENSOR_min, x, ibx_in(call, 2));
  ibx_out(call, 0, x);
}

// --- types, conditions, names ------------------------------------------------

void ibx_import_op_where(ibx_call *call) {
  ibx_val operands[] = {ibx_in(call, 0), ibx_in(call, 1), ibx_in(call, 2)};
  ibx_meet_inputs(call, operands, 3);
  ibx_out(call, 0,
          ibx_emit_select(call, operands[0], operands[1], operands[2]));
}

void ibx_import_op_identity(ibx_call *call) {
  ibx_out(call, 0, ibx_in(call, 0));
}

void ibx_import_op_is_inf(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  bool up = ibx_attr_flag(call, "detect_positive", true);
  bool down = ibx_attr_flag(call, "detect_negative", true);
  ibx_val none = ibx_emit_binary(call, IBX_TENSOR_less, x, x);
  ibx_val big = ibx_emit_like(call, x, (double)INFINITY);
  ibx_val small = ibx_emit_like(call, x, -(double)INFINITY);
  ibx_val result = none;
  if (up) result = ibx_emit_binary(call, IBX_TENSOR_equal, x, big);
  if (down) {
    ibx_val below = ibx_emit_binary(call, IBX_TENSOR_equal, x, small);
    result = up ? ibx_emit_binary(call, IBX_TENSOR_or, result, below) : below;
  }
  ibx_out(call, 0, result);
}
