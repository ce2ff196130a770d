// SPDX-License-Identifier: Apache-2.0
//
// Imports operators whose result is known here: constants, shapes, ranges, and
// branches whose condition is a constant.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { MOST_RANGE = 1 << 24 };

static ibx_val constant_of_tensor(ibx_call *call,
                                  const Onnx__TensorProto *tensor) {
  ibx_weight weight;
  ibx_diag_at at = call->at;
  at.attribute = "value";
  if (tensor && ibx_is_text_tensor(tensor)) {
    ibx_val texts = IBX_NO_VALUE;
    if (!ibx_import_text_tensor(call->import, tensor, at, &texts)) {
      call->failed = true;
    }
    return texts;
  }
  if (!tensor ||
      !ibx_model_weight(call->import->model, tensor, call->at.node, at,
                        call->import->sink, call->import->arena, &weight)) {
    if (!tensor) ibx_call_refuse(call, "value", "the constant has no value");
    call->failed = true;
    return IBX_NO_VALUE;
  }
  return ibx_import_constant(call->import, weight, call->source);
}

static ibx_val constant_of_numbers(ibx_call *call,
                                   const Onnx__AttributeProto *attribute,
                                   bool is_int) {
  size_t len = is_int ? attribute->n_ints : attribute->n_floats;
  ibx_type type = {.dims = {(int64_t)len},
                   .rank = 1,
                   .dtype = is_int ? IBX_DTYPE_I64 : IBX_DTYPE_F32};
  size_t bytes = len * ibx_dtype_bytes(type.dtype);
  void *data = ibx_arena_alloc(call->import->arena, bytes);
  const void *from =
      is_int ? (const void *)attribute->ints : (const void *)attribute->floats;
  if (len != 0) memcpy(data, from, bytes);
  return ibx_emit_constant(call, type, data);
}

void ibx_import_op_constant(ibx_call *call) {
  if (call->proto->n_attribute > 1) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE,
                  ibx_onnx_text(call->proto->attribute[1]->name),
                  "keep the attribute that holds the value",
                  "a Constant has one value, this one has %zu attributes",
                  call->proto->n_attribute);
    return;
  }
  const Onnx__AttributeProto *tensor = IBX_ATTR(call, "value", TENSOR);
  const Onnx__AttributeProto *ints = IBX_ATTR(call, "value_ints", INTS);
  const Onnx__AttributeProto *floats = IBX_ATTR(call, "value_floats", FLOATS);
  if (call->failed) return;
  if (tensor) {
    ibx_out(call, 0, constant_of_tensor(call, tensor->t));
  } else if (ibx_has_attr(call, "value_int")) {
    int64_t value = ibx_attr_int(call, "value_int", 0);
    ibx_out(call, 0, ibx_emit_longs(call, (ibx_ints){0}, &value));
  } else if (ibx_has_attr(call, "value_float")) {
    double value = (double)ibx_attr_any_float(call, "value_float", 0);
    ibx_out(call, 0, ibx_emit_scalar(call, IBX_DTYPE_F32, value));
  } else if (ints) {
    ibx_out(call, 0, constant_of_numbers(call, ints, true));
  } else if (floats) {
    ibx_out(call, 0, constant_of_numbers(call, floats, false));
  } else if (ibx_has_attr(call, "value_strings")) {
    ibx_out(call, 0, ibx_attr_texts(call, "value_strings", IBX_NO_VALUE));
  } else if (ibx_has_attr(call, "value_string")) {
    const char *text = ibx_attr_text(call, "value_string", "");
    ibx_out(call, 0, ibx_emit_text(call, text, strlen(text)));
  } else {
    ibx_attr_ignore(call, "sparse_value");
    ibx_call_refuse(call, NULL, "a sparse constant");
  }
}

void ibx_import_op_constant_of_shape(ibx_call *call) {
  const Onnx__AttributeProto *value = IBX_ATTR(call, "value", TENSOR);
  ibx_bounded dims;
  if (!ibx_bounded_dims(call, 0, "input", &dims)) return;
  ibx_ints shape = dims.most;
  for (uint8_t i = 0; i < shape.len; i++) {
    ibx_call_expect(call, shape.at[i] >= 0, "input", "has a negative extent");
  }
  if (call->failed) return;
  ibx_val fill = value ? constant_of_tensor(call, value->t)
                       : ibx_emit_scalar(call, IBX_DTYPE_F32, 0);
  if (call->failed) return;
  if (!ibx_call_expect(call, ibx_elements(ibx_type_of(call, fill)) == 1,
                       "value", "needs one element")) {
    return;
  }
  fill = ibx_emit_reshape(call, fill, (ibx_ints){0});
  ibx_val filled = ibx_emit_broadcast(call, fill, shape);
  for (uint8_t i = 0; i < shape.len; i++)
    filled = ibx_set_extent(call, filled, i, dims.real[i]);
  ibx_out(call, 0, filled);
}

// The extents as integers, of which some may depend on the data.
static ibx_val emit_extents(ibx_call *call, ibx_val x, int64_t start,
                            int64_t len) {
  ibx_val parts[IBX_MAX_RANK];
  for (int64_t i = 0; i < len; i++) {
    ibx_val extent = ibx_extent_or_dim(call, x, start + i);
    parts[i] = ibx_emit_reshape(call, extent, IBX_INTS(1));
  }
  return ibx_emit_concat(call, parts, (size_t)len, 0);
}

void ibx_import_op_shape(ibx_call *call) {
  ibx_ints shape = ibx_shape_of(call, ibx_in(call, 0));
  int64_t rank = shape.len;
  int64_t start = ibx_attr_int(call, "start", 0);
  int64_t end = ibx_attr_int(call, "end", rank);
  start = start < -rank ? 0 : start < 0 ? start + rank : start;
  end = end < -rank ? 0 : end < 0 ? end + rank : end;
  start = start > rank ? rank : start;
  end = end > rank ? rank : end;
  int64_t len = end > start ? end - start : 0;
  if (len != 0 && ibx_has_extent(call, ibx_in(call, 0))) {
    ibx_out(call, 0, emit_extents(call, ibx_in(call, 0), start, len));
    return;
  }
  ibx_out(call, 0, ibx_emit_longs(call, IBX_INTS(len), shape.at + start));
}

void ibx_import_op_size(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t size = ibx_elements(ibx_type_of(call, x));
  if (ibx_has_extent(call, x)) {
    ibx_val all = emit_extents(call, x, 0, ibx_rank(call, x));
    ibx_out(
        call, 0,
        ibx_emit_reduce(call, IBX_TENSOR_reduce_prod, all, IBX_INTS(0), false));
    return;
  }
  ibx_out(call, 0, ibx_emit_longs(call, (ibx_ints){0}, &size));
}

// The limit, which may be an extent that depends on the data: then the most that
// it can be, and in `*out_real` how long the range is.
static double read_limit(ibx_call *call, double start, double delta,
                         ibx_val *out_real) {
  *out_real = IBX_NO_VALUE;
  ibx_val limit = ibx_in(call, 1);
  if (!ibx_is_bounded(call, limit)) {
    return ibx_const_number(call, 1, "limit");
  }
  const ibx_tensor *low, *high = ibx_bound_in(call, 1, "limit", &low);
  if (!high || delta < 1) {
    ibx_refuse_extent(call, "limit");
    return 0;
  }
  double most = ibx_tensor_number(high, 0);
  *out_real = ibx_emit_steps(call, ibx_emit_element(call, limit, 0),
                             (int64_t)start, (int64_t)delta, INT32_MAX);
  return most;
}

void ibx_import_op_range(ibx_call *call) {
  ibx_attr_ignore(call, "stash_type");
  double start = ibx_const_number(call, 0, "start");
  double delta = ibx_const_number(call, 2, "delta");
  ibx_val real;
  if (call->failed) return;
  double limit = read_limit(call, start, delta, &real);
  if (call->failed) return;
  double len = delta == 0 ? -1 : ceil((limit - start) / delta);
  if (!(len >= 0)) len = delta == 0 || isnan(len) ? -1 : 0;
  if (len < 0 || len > (double)MOST_RANGE) {
    ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "delta",
                  "use a finite step and at most 16777216 elements",
                  "a range with step %g cannot be made", delta);
    return;
  }
  ibx_val index = ibx_emit_iota(call, (int64_t)len);
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_dtype wide = ibx_is_float(dtype) ? IBX_DTYPE_F64 : dtype;
  ibx_val first = ibx_emit_cast(call, ibx_in(call, 0), wide);
  ibx_val step = ibx_emit_cast(call, ibx_in(call, 2), wide);
  ibx_val line = ibx_emit_binary(call, IBX_TENSOR_mul,
                                 ibx_emit_cast(call, index, wide), step);
  line = ibx_emit_binary(call, IBX_TENSOR_add, line, first);
  line = ibx_emit_cast(call, line, dtype);
  ibx_out(call, 0, ibx_set_extent(call, line, 0, real));
}

void ibx_import_op_eye_like(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t number = ibx_attr_int(call, "dtype", 0);
  int64_t k = ibx_attr_int(call, "k", 0);
  ibx_dtype dtype =
      number == 0 ? ibx_dtype_of(call, x) : ibx_dtype_from_onnx((int)number);
  if (!ibx_call_expect(call, ibx_rank(call, x) == 2, "input",
                       "needs 2 dimensions")) {
    return;
  }
  if (dtype == IBX_DTYPE_NONE) {
    ibx_call_refuse(call, "dtype", "ONNX data type %" PRId64, number);
    return;
  }
  ibx_val rows = ibx_emit_iota(call, ibx_dim(call, x, 0));
  ibx_val columns = ibx_emit_iota(call, ibx_dim(call, x, 1));
  rows = ibx_emit_binary(call, IBX_TENSOR_add, ibx_emit_along(call, rows, 0, 2),
                         ibx_emit_longs(call, (ibx_ints){0}, &k));
  ibx_val same = ibx_emit_binary(call, IBX_TENSOR_equal, rows, columns);
  same = ibx_emit_cast(call, same, dtype);
  ibx_out(call, 0, ibx_take_extents(call, same, 0, x, 0, 2));
}
