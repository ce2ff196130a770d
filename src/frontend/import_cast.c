// SPDX-License-Identifier: Apache-2.0
//
// Imports conversions of type. Comes in: a call. Goes out: `cast`, after what
// makes its result that of the standard where the operation alone does not:
//   saturate = 0   what rounds past the largest number becomes NaN
//   float8e8m0     x becomes the power of two that round_mode says

#include "frontend/import_cast.h"

#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

// ---- Small floating types

/// How a type ends. `cast` saturates to those that have no infinity.
static const struct {
  ibx_dtype dtype;
  float most, past; ///< largest number; what lies past it rounds away from it
  bool is_tie_past;
} ENDS[] = {
    {IBX_DTYPE_F8E4M3FN, 448, 464, false},
    {IBX_DTYPE_F8E4M3FNUZ, 240, 248, true},
    {IBX_DTYPE_F8E5M2, 57344, 61440, true},
    {IBX_DTYPE_F8E5M2FNUZ, 57344, 61440, true},
};

// fp32 where the dtype does not hold the limits that x is compared with.
static ibx_val emit_comparable(ibx_call *call, ibx_val x) {
  ibx_dtype dtype = ibx_dtype_of(call, x);
  bool holds = ibx_is_float(dtype) && ibx_dtype_bytes(dtype) > 1;
  return holds ? x : ibx_emit_cast(call, x, IBX_DTYPE_F32);
}

// NaN where |x| rounds past the largest number of the type.
static ibx_val emit_nan_past(ibx_call *call, ibx_val x, float past,
                             bool is_tie_past) {
  x = emit_comparable(call, x);
  ibx_val size = ibx_emit_unary(call, IBX_TENSOR_abs, x);
  ibx_val limit = ibx_emit_like(call, x, (double)past);
  ibx_val is_past = ibx_emit_binary(
      call, is_tie_past ? IBX_TENSOR_less_equal : IBX_TENSOR_less, limit, size);
  ibx_val nan = ibx_emit_like(call, x, (double)NAN);
  return ibx_emit_select(call, is_past, nan, x);
}

static ibx_val emit_small_float(ibx_call *call, ibx_val x, ibx_dtype dtype,
                                bool saturates) {
  for (size_t i = 0; i < IBX_COUNT_OF(ENDS); i++) {
    if (ENDS[i].dtype != dtype) continue;
    bool has_infinity = dtype == IBX_DTYPE_F8E5M2;
    if (!saturates && !has_infinity) {
      x = emit_nan_past(call, x, ENDS[i].past, ENDS[i].is_tie_past);
    } else if (saturates && has_infinity) {
      x = ibx_emit_clip(call, emit_comparable(call, x), -ENDS[i].most,
                        ENDS[i].most);
    }
  }
  return ibx_emit_cast(call, x, dtype);
}

// ---- Powers of two

// x with all bits of its fraction 0, after `added` was added to them: a carry
// doubles the power.
static ibx_val emit_power_below(ibx_call *call, ibx_val x, int32_t added) {
  ibx_params as_bits = {.dtype = IBX_DTYPE_I32},
             as_real = {.dtype = IBX_DTYPE_F32};
  x = ibx_emit_op(call, IBX_TENSOR_bitcast, &as_bits, &x, 1);
  if (added != 0) {
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, ibx_emit_like(call, x, added));
  }
  x = ibx_emit_binary(call, IBX_TENSOR_bit_and, x,
                      ibx_emit_like(call, x, 0x7f800000));
  return ibx_emit_op(call, IBX_TENSOR_bitcast, &as_real, &x, 1);
}

// The type has 2^-127 to 2^127 and NaN. `cast` rounds up and saturates.
static ibx_val emit_scale(ibx_call *call, ibx_val x, bool saturates,
                          const char *mode) {
  bool is_nearest = strcmp(mode, "nearest") == 0;
  bool is_down = strcmp(mode, "down") == 0;
  if (!ibx_call_expect(call, is_nearest || is_down || strcmp(mode, "up") == 0,
                       "round_mode", "is neither up, down nor nearest")) {
    return x;
  }
  x = ibx_emit_unary(call, IBX_TENSOR_abs,
                     ibx_emit_cast(call, x, IBX_DTYPE_F32));
  ibx_val least = ibx_emit_like(call, x, 0x1p-127);
  ibx_val is_less = ibx_emit_binary(call, IBX_TENSOR_less, x, least);
  ibx_val exact = x;
  if (is_nearest || is_down) {
    // The least number is subnormal in fp32, and NaN would become infinity.
    ibx_val power = emit_power_below(call, x, is_nearest ? 1 << 22 : 0);
    ibx_val is_more = ibx_emit_binary(call, IBX_TENSOR_less, least, x);
    exact = ibx_emit_select(call, is_more, power, x);
  }
  if (!saturates) {
    ibx_val nan = ibx_emit_like(call, x, (double)NAN);
    ibx_val most = ibx_emit_like(call, x, 0x1p127);
    ibx_val is_past = ibx_emit_binary(call, IBX_TENSOR_less, most, exact);
    exact = ibx_emit_select(call, is_past, nan, exact);
    exact = ibx_emit_select(call, is_less, nan, exact);
  }
  return ibx_emit_cast(call, exact, IBX_DTYPE_F8E8M0);
}

ibx_val ibx_emit_cast_as(ibx_call *call, ibx_val x, ibx_dtype dtype,
                         bool saturates, const char *round_mode) {
  if (ibx_dtype_of(call, x) == dtype) return x;
  if (dtype == IBX_DTYPE_F8E8M0) {
    return emit_scale(call, x, saturates, round_mode);
  }
  return emit_small_float(call, x, dtype, saturates);
}

// ---- Operators

static void cast_to(ibx_call *call, ibx_dtype dtype) {
  if (dtype == IBX_DTYPE_STRING || ibx_is_text(call, ibx_in(call, 0))) {
    ibx_attr_ignore(call, "saturate round_mode");
    ibx_import_text_cast(call, dtype);
    return;
  }
  bool saturates = ibx_attr_flag(call, "saturate", true);
  const char *mode = ibx_attr_text(call, "round_mode", "up");
  ibx_out(call, 0,
          ibx_emit_cast_as(call, ibx_in(call, 0), dtype, saturates, mode));
}

// The dtype of the attribute `to`; NONE after a failure.
static ibx_dtype wanted_dtype(ibx_call *call) {
  int64_t to = ibx_attr_int(call, "to", 0);
  ibx_dtype dtype =
      to > 0 && to < 256 ? ibx_dtype_from_onnx((int)to) : IBX_DTYPE_NONE;
  if (dtype == IBX_DTYPE_NONE) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_TYPE, "to",
                  "cast to a type that `imbrex ops` lists",
                  "a cast to ONNX data type %lld is not imported",
                  (long long)to);
  }
  return dtype;
}

void ibx_import_op_cast(ibx_call *call) {
  ibx_dtype dtype = wanted_dtype(call);
  if (dtype != IBX_DTYPE_NONE) cast_to(call, dtype);
}

void ibx_import_op_cast_like(ibx_call *call) {
  cast_to(call, ibx_dtype_of(call, ibx_in(call, 1)));
}

void ibx_import_op_bit_cast(ibx_call *call) {
  ibx_params params = {.dtype = wanted_dtype(call)};
  ibx_val x = ibx_in(call, 0);
  if (call->failed) return;
  bool fits = ibx_dtype_get(params.dtype)->width ==
              ibx_dtype_get(ibx_dtype_of(call, x))->width;
  if (!ibx_call_expect(call, fits, "to", "has another width than the input")) {
    return;
  }
  ibx_out(call, 0, ibx_emit_op(call, IBX_TENSOR_bitcast, &params, &x, 1));
}
