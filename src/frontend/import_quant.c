// SPDX-License-Identifier: Apache-2.0
//
// Imports quantisation, decomposed as the standard says it:
//   quantise     saturate(round(x / scale) + zero_point)
//   dequantise   (x - zero_point) * scale
// computed in fp32, which holds every 8- and 16-bit integer exactly.

#include "frontend/import_quant.h"

#include "frontend/import_cast.h"
#include "frontend/import_ops.h"

#include <math.h>

typedef struct range {
  double low, high;
} range;

// Of integers of up to 16 bits; 0 to 0 for others.
static range range_of(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  bool has_sign = info->kind == IBX_DTYPE_KIND_SINT;
  bool is_whole = has_sign || info->kind == IBX_DTYPE_KIND_UINT;
  if (!is_whole || info->width == 0 || info->width > 16) return (range){0, 0};
  double high = ldexp(1, info->width - has_sign) - 1;
  return (range){has_sign ? -high - 1 : 0, high};
}

// Brings a scale or zero point to a shape that broadcasts with x: one number,
// one for each element of an axis, or one for each block along it.
static ibx_val spread(ibx_call *call, ibx_val factor, ibx_val x, int64_t axis,
                      int64_t block) {
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t rank = ibx_rank(call, factor);
  if (rank == 0 || ibx_elements(ibx_type_of(call, factor)) == 1) {
    return ibx_emit_reshape(call, factor, (ibx_ints){0});
  }
  axis = ibx_axis(call, axis, shape.len);
  if (block == 0) {
    bool fits = rank == 1 && ibx_dim(call, factor, 0) == shape.at[axis];
    if (!ibx_call_expect(call, fits, "scale", "does not fit the axis")) {
      return factor;
    }
    return ibx_emit_along(call, factor, axis, shape.len);
  }
  ibx_ints own = ibx_shape_of(call, factor);
  bool fits = own.len == shape.len && own.len < IBX_MAX_RANK && block > 0;
  if (fits) fits = own.at[axis] == (shape.at[axis] + block - 1) / block;
  if (!ibx_call_expect(call, fits, "scale", "does not fit the blocks")) {
    return factor;
  }
  factor = ibx_emit_repeat(call, factor, axis, block);
  return ibx_emit_slice(call, factor, axis, 0, shape.at[axis], 1);
}

typedef struct quantisation {
  ibx_val scale, zero; // spread, in fp32; zero may be IBX_NO_VALUE
  bool saturates;      // to small floating types
} quantisation;

static quantisation make_factors(ibx_call *call, ibx_val x, ibx_val scale,
                                 ibx_val zero, int64_t axis, int64_t block) {
  quantisation q = {.zero = IBX_NO_VALUE, .saturates = true};
  q.scale =
      ibx_emit_cast(call, spread(call, scale, x, axis, block), IBX_DTYPE_F32);
  if (zero == IBX_NO_VALUE) return q;
  double number = 1;
  if (ibx_is_splat(call, zero, &number) && number == 0) return q;
  q.zero =
      ibx_emit_cast(call, spread(call, zero, x, axis, block), IBX_DTYPE_F32);
  return q;
}

static quantisation read_factors(ibx_call *call, ibx_val x, ibx_val scale,
                                 ibx_val zero) {
  int64_t axis = ibx_attr_int(call, "axis", 1);
  int64_t block = ibx_attr_int(call, "block_size", 0);
  return make_factors(call, x, scale, zero, axis, block);
}

ibx_val ibx_emit_saturate(ibx_call *call, ibx_val x, ibx_dtype dtype) {
  range limits = range_of(dtype);
  x = ibx_emit_clip(call, x, (float)limits.low, (float)limits.high);
  return ibx_emit_cast(call, x, dtype);
}

// saturate(round(x / scale) + zero)
static ibx_val quantise(ibx_call *call, ibx_val x, quantisation q,
                        ibx_dtype dtype) {
  x = ibx_emit_binary(call, IBX_TENSOR_div,
                      ibx_emit_cast(call, x, IBX_DTYPE_F32), q.scale);
  bool is_float = ibx_is_float(dtype);
  if (!is_float) x = ibx_emit_unary(call, IBX_TENSOR_round, x);
  if (q.zero != IBX_NO_VALUE) {
    x = ibx_emit_binary(call, IBX_TENSOR_add, x, q.zero);
  }
  if (is_float) return ibx_emit_cast_as(call, x, dtype, q.saturates, "up");
  return ibx_emit_saturate(call, x, dtype);
}

ibx_val ibx_emit_quantise(ibx_call *call, ibx_val x, ibx_val scale,
                          ibx_val zero, int64_t axis, int64_t block,
                          ibx_dtype dtype) {
  quantisation q = make_factors(call, x, scale, zero, axis, block);
  return quantise(call, x, q, dtype);
}

static ibx_dtype quantised_dtype(ibx_call *call, ibx_val zero) {
  int64_t number = ibx_attr_int(call, "output_dtype", 0);
  ibx_dtype dtype = IBX_DTYPE_U8;
  if (number != 0) dtype = ibx_dtype_from_onnx((int)number);
  if (zero != IBX_NO_VALUE) dtype = ibx_dtype_of(call, zero);
  if (range_of(dtype).high == 0 && !ibx_is_float(dtype)) {
    ibx_call_refuse(call, "output_dtype", "quantisation to %s",
                    dtype == IBX_DTYPE_NONE ? "that type"
                                            : ibx_dtype_get(dtype)->name);
  }
  return dtype;
}

void ibx_import_op_quantize_linear(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), zero = ibx_in(call, 2);
  ibx_dtype dtype = quantised_dtype(call, zero);
  ibx_attr_ignore(call, "precision");
  bool saturates = ibx_attr_flag(call, "saturate", true);
  if (call->failed) return;
  quantisation q = read_factors(call, x, ibx_in(call, 1), zero);
  q.saturates = saturates;
  ibx_out(call, 0, quantise(call, x, q, dtype));
}

// (x - zero) * scale in fp32. Differences of 32-bit integers are taken before
// the conversion, which would round them.
static ibx_val dequantise(ibx_call *call, ibx_val x, quantisation q) {
  bool wide = ibx_dtype_of(call, x) == IBX_DTYPE_I32;
  if (wide && q.zero != IBX_NO_VALUE) {
    x = ibx_emit_binary(call, IBX_TENSOR_sub, x,
                        ibx_emit_cast(call, q.zero, IBX_DTYPE_I32));
    q.zero = IBX_NO_VALUE;
  }
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  if (q.zero != IBX_NO_VALUE) {
    x = ibx_emit_binary(call, IBX_TENSOR_sub, x, q.zero);
  }
  return ibx_emit_binary(call, IBX_TENSOR_mul, x, q.scale);
}

// [.., n, ..] as [.., n / block, block, ..]; factors have one of each block.
static ibx_val split_blocks(ibx_call *call, ibx_val x, int64_t axis,
                            int64_t block) {
  ibx_ints own = ibx_shape_of(call, x), split = {0};
  for (uint8_t i = 0; i < own.len; i++) {
    if (i != axis) split.at[split.len++] = own.at[i];
    if (i != axis) continue;
    split.at[split.len++] = own.at[i] / block;
    split.at[split.len++] = block;
  }
  return ibx_emit_reshape(call, x, split);
}

// Whether blocks of x become a dimension of their own, along which one scale
// serves all: then it is never spread, which constants of weights would be.
static bool has_whole_blocks(ibx_call *call, ibx_val x, ibx_val scale,
                             int64_t axis, int64_t block) {
  ibx_ints shape = ibx_shape_of(call, x), own = ibx_shape_of(call, scale);
  bool fits = block > 1 && own.len == shape.len && own.len < IBX_MAX_RANK &&
              shape.at[axis] % block == 0 && !ibx_has_extent(call, x) &&
              !ibx_has_extent(call, scale);
  for (uint8_t i = 0; fits && i < own.len; i++)
    fits = own.at[i] == (i == axis ? shape.at[i] / block : shape.at[i]);
  return fits;
}

ibx_val ibx_emit_dequantise(ibx_call *call, ibx_val x, ibx_val scale,
                            ibx_val zero, int64_t axis, int64_t block) {
  axis = block > 0 ? ibx_axis(call, axis, ibx_rank(call, x)) : axis;
  if (!has_whole_blocks(call, x, scale, axis, block)) {
    quantisation q = make_factors(call, x, scale, zero, axis, block);
    return dequantise(call, x, q);
  }
  ibx_ints shape = ibx_shape_of(call, x);
  bool is_list = zero != IBX_NO_VALUE && ibx_rank(call, zero) > 0;
  if (is_list && !has_whole_blocks(call, x, zero, axis, block)) {
    ibx_call_expect(call, false, "zero_point", "does not fit the scale");
    return x;
  }
  if (is_list) zero = split_blocks(call, zero, axis, 1);
  x = split_blocks(call, x, axis, block);
  scale = split_blocks(call, scale, axis, 1);
  quantisation q = {.scale = ibx_emit_cast(call, scale, IBX_DTYPE_F32),
                    .zero = zero};
  double number = 1;
  if (zero != IBX_NO_VALUE && ibx_is_splat(call, zero, &number) && number == 0)
    q.zero = IBX_NO_VALUE;
  if (q.zero != IBX_NO_VALUE) q.zero = ibx_emit_cast(call, zero, IBX_DTYPE_F32);
  return ibx_emit_reshape(call, dequantise(call, x, q), shape);
}

void ibx_import_op_dequantize_linear(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t number = ibx_attr_int(call, "output_dtype", 0);
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 1));
  if (number != 0) dtype = ibx_dtype_from_onnx((int)number);
  if (!ibx_is_float(dtype)) {
    ibx_call_refuse(call, "output_dtype", "ONNX data type %lld",
                    (long long)number);
    return;
  }
  bool is_alike = !ibx_has_in(call, 2) ||
                  ibx_dtype_of(call, ibx_in(call, 2)) == ibx_dtype_of(call, x);
  if (!ibx_call_expect(call, is_alike, "x_zero_point",
                       "has another type than x")) {
    return;
  }
  int64_t axis = ibx_attr_int(call, "axis", 1);
  int64_t block = ibx_attr_int(call, "block_size", 0);
  x = ibx_emit_dequantise(call, x, ibx_in(call, 1), ibx_in(call, 2), axis,
                          block);
  ibx_out(call, 0, ibx_emit_cast(call, x, dtype));
}

// scale = (max(x, 0) - min(x, 0)) / 255, zero = saturate(round(-min / scale)).
// Of nothing but zeros the scale is 1.
ibx_val ibx_emit_dynamic_quantise(ibx_call *call, ibx_val x, ibx_val *out_scale,
                                  ibx_val *out_zero) {
  ibx_val none = ibx_emit_like(call, x, 0);
  ibx_ints axes = {.len = (uint8_t)ibx_rank(call, x)};
  for (uint8_t i = 0; i < axes.len; i++)
    axes.at[i] = i;
  ibx_val high = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, x, axes, false);
  ibx_val low = ibx_emit_reduce(call, IBX_TENSOR_reduce_min, x, axes, false);
  high = ibx_emit_binary(call, IBX_TENSOR_max, high, none);
  low = ibx_emit_binary(call, IBX_TENSOR_min, low, none);
  ibx_val flat = ibx_emit_binary(call, IBX_TENSOR_equal, high, low);
  ibx_val scale = ibx_emit_binary(
      call, IBX_TENSOR_div, ibx_emit_binary(call, IBX_TENSOR_sub, high, low),
      ibx_emit_like(call, x, 255));
  scale = ibx_emit_select(call, flat, ibx_emit_like(call, x, 1), scale);
  ibx_val zero = ibx_emit_binary(
      call, IBX_TENSOR_div, ibx_emit_unary(call, IBX_TENSOR_neg, low), scale);
  zero = ibx_emit_clip(call, zero, 0, 255);
  zero = ibx_emit_unary(call, IBX_TENSOR_round, zero);
  quantisation q = {.scale = scale, .zero = zero, .saturates = true};
  *out_scale = scale;
  *out_zero = zero;
  return quantise(call, x, q, IBX_DTYPE_U8);
}

void ibx_import_op_dynamic_quantize_linear(ibx_call *call) {
  ibx_val scale, zero;
  ibx_out(call, 0,
          ibx_emit_dynamic_quantise(call, ibx_in(call, 0), &scale, &zero));
  ibx_out(call, 1, scale);
  ibx_out(call, 2, ibx_emit_cast(call, zero, IBX_DTYPE_U8));
}
