// SPDX-License-Identifier: Apache-2.0
//
// Emits tensor operations. Comes in: values and parameters in ONNX's manner
// (broadcasts implied, axes anywhere). Goes out: nodes in the dialect's manner
// (broadcasts explicit, ranks equal). Holds afterwards: every value that is
// returned exists; when an operation does not fit together, the call has
// failed and the value is one of its operands.

#include "frontend/import.h"

#include <string.h>

ibx_ints ibx_make_ints(const int64_t *at, size_t len) {
  ibx_ints list = {.len = (uint8_t)(len < IBX_MAX_RANK ? len : IBX_MAX_RANK)};
  for (size_t i = 0; i < list.len; i++)
    list.at[i] = at[i];
  return list;
}

ibx_ints ibx_fill_ints(size_t len, int64_t value) {
  ibx_ints list = {.len = (uint8_t)(len < IBX_MAX_RANK ? len : IBX_MAX_RANK)};
  for (size_t i = 0; i < list.len; i++)
    list.at[i] = value;
  return list;
}

static ibx_diag_code code_of(ibx_status status) {
  if (status == IBX_UNSUPPORTED) return IBX_DIAG_UNSUPPORTED_RANK;
  if (status == IBX_OUT_OF_CAPACITY) return IBX_DIAG_TOO_LARGE;
  return IBX_DIAG_OPERAND_SHAPE;
}

ibx_val ibx_emit_op(ibx_call *call, ibx_tensor_op op, const ibx_params *params,
                    const ibx_val *operands, size_t count) {
  for (size_t i = 0; i < count && !call->failed; i++) {
    if (!ibx_has_extent(call, operands[i]) &&
        !ibx_is_bounded(call, operands[i])) {
      continue;
    }
    return ibx_emit_carried(call, op, params, operands, count);
  }
  return ibx_emit_static(call, op, params, operands, count);
}

ibx_val ibx_emit_static(ibx_call *call, ibx_tensor_op op,
                        const ibx_params *params, const ibx_val *operands,
                        size_t count) {
  static const ibx_params none = {0};
  ibx_error err = {0};
  ibx_val result = IBX_NO_VALUE;
  if (call->failed) return operands[0];
  ibx_status status =
      ibx_graph_add(&call->import->graph, op, params ? params : &none, operands,
                    count, call->source, &result, &err);
  if (status == IBX_OK) return ibx_fold(call, result);
  ibx_call_fail(call, code_of(status), NULL,
                "correct the types and shapes where the model is made", "%s",
                err.message);
  return operands[0];
}

ibx_val ibx_emit_unary(ibx_call *call, ibx_tensor_op op, ibx_val x) {
  return ibx_emit_op(call, op, NULL, &x, 1);
}

ibx_val ibx_emit_repeat(ibx_call *call, ibx_val x, int64_t axis,
                        int64_t times) {
  ibx_ints shape = ibx_shape_of(call, x), apart = {0};
  if (times == 1) return x;
  for (uint8_t i = 0; i < shape.len; i++) {
    apart.at[apart.len++] = shape.at[i];
    if (i == axis) apart.at[apart.len++] = 1;
  }
  x = ibx_emit_reshape(call, x, apart);
  apart.at[axis + 1] = times;
  x = ibx_emit_broadcast(call, x, apart);
  shape.at[axis] *= times;
  return ibx_emit_reshape(call, x, shape);
}

ibx_ints ibx_broadcast_shape(ibx_call *call, ibx_ints a, ibx_ints b) {
  ibx_ints wide = a.len >= b.len ? a : b;
  ibx_ints thin = a.len >= b.len ? b : a;
  for (uint8_t i = 0; i < thin.len; i++) {
    int64_t *extent = &wide.at[wide.len - thin.len + i];
    if (*extent == thin.at[i] || thin.at[i] == 1) continue;
    if (*extent == 1) {
      *extent = thin.at[i];
      continue;
    }
    ibx_call_fail(call, IBX_DIAG_OPERAND_SHAPE, NULL,
                  "make the extents equal, or one of them 1",
                  "inputs with extents %lld and %lld cannot be broadcast to "
                  "each other",
                  (long long)*extent, (long long)thin.at[i]);
  }
  return wide;
}

static bool same_ints(ibx_ints a, ibx_ints b) {
  if (a.len != b.len) return false;
  for (uint8_t i = 0; i < a.len; i++) {
    if (a.at[i] != b.at[i]) return false;
  }
  return true;
}

ibx_val ibx_emit_reshape(ibx_call *call, ibx_val x, ibx_ints shape) {
  if (same_ints(ibx_shape_of(call, x), shape)) return x;
  ibx_params params = {.shape = shape};
  return ibx_emit_op(call, IBX_TENSOR_reshape, &params, &x, 1);
}

ibx_val ibx_emit_broadcast(ibx_call *call, ibx_val x, ibx_ints shape) {
  ibx_ints own = ibx_shape_of(call, x);
  if (own.len < shape.len) {
    ibx_ints padded = ibx_fill_ints(shape.len, 1);
    int8_t from[IBX_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    for (uint8_t i = 0; i < own.len; i++) {
      padded.at[shape.len - own.len + i] = own.at[i];
      from[shape.len - own.len + i] = (int8_t)i;
    }
    x = ibx_emit_units(call, x, padded, from);
  }
  if (same_ints(ibx_shape_of(call, x), shape)) return x;
  ibx_params params = {.shape = shape};
  return ibx_emit_op(call, IBX_TENSOR_broadcast, &params, &x, 1);
}

ibx_val ibx_second_in(ibx_call *call) {
  ibx_val second = ibx_in(call, 1);
  if (call->version > 6) return second;
  bool broadcasts = ibx_attr_flag(call, "broadcast", false);
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  ibx_ints shape = ibx_shape_of(call, second);
  int64_t axis = ibx_attr_int(call, "axis", rank - (int64_t)shape.len);
  if (axis < 0) axis += rank;
  int64_t last = rank - (int64_t)shape.len;
  if (!broadcasts || axis < 0 || axis > last) return second;
  for (; axis < last; axis++)
    shape.at[shape.len++] = 1;
  return ibx_emit_reshape(call, second, shape);
}

ibx_val ibx_emit_binary(ibx_call *call, ibx_tensor_op op, ibx_val a,
                        ibx_val b) {
  ibx_val operands[] = {a, b};
  ibx_meet_extents(call, operands, 2);
  ibx_ints shape = ibx_broadcast_shape(call, ibx_shape_of(call, operands[0]),
                                       ibx_shape_of(call, operands[1]));
  if (call->failed) return a;
  for (size_t i = 0; i < 2; i++)
    operands[i] = ibx_emit_broadcast(call, operands[i], shape);
  return ibx_emit_op(call, op, NULL, operands, 2);
}

ibx_val ibx_emit_select(ibx_call *call, ibx_val condition, ibx_val yes,
                        ibx_val no) {
  ibx_val operands[] = {condition, yes, no};
  ibx_meet_extents(call, operands, 3);
  ibx_ints shape = ibx_shape_of(call, operands[0]);
  for (size_t i = 1; i < 3; i++)
    shape = ibx_broadcast_shape(call, shape, ibx_shape_of(call, operands[i]));
  if (call->failed) return yes;
  for (size_t i = 0; i < 3; i++)
    operands[i] = ibx_emit_broadcast(call, operands[i], shape);
  return ibx_emit_op(call, IBX_TENSOR_select, NULL, operands, 3);
}

ibx_val ibx_emit_affine(ibx_call *call, ibx_val x, double alpha, double beta) {
  if (alpha == 1.0 && beta == 0.0) return x;
  ibx_params params = {.alpha = (float)alpha, .beta = (float)beta};
  return ibx_emit_op(call, IBX_TENSOR_affine, &params, &x, 1);
}

ibx_val ibx_emit_clip(ibx_call *call, ibx_val x, float low, float high) {
  ibx_params params = {.alpha = low, .beta = high};
  return ibx_emit_op(call, IBX_TENSOR_clip, &params, &x, 1);
}

ibx_val ibx_emit_cast(ibx_call *call, ibx_val x, ibx_dtype dtype) {
  if (ibx_dtype_of(call, x) == dtype) return x;
  ibx_params params = {.dtype = dtype};
  return ibx_emit_op(call, IBX_TENSOR_cast, &params, &x, 1);
}

ibx_val ibx_emit_wide(ibx_call *call, ibx_val x) {
  bool is_f64 = ibx_dtype_of(call, x) == IBX_DTYPE_F64;
  return is_f64 ? x : ibx_emit_cast(call, x, IBX_DTYPE_F32);
}

// A number in the storage of a dtype; integers exactly.
// The bits of a whole number, saturated to 64 of them: bounds may be infinite.
static uint64_t whole_number(ibx_dtype dtype, double number) {
  if (dtype == IBX_DTYPE_U64 && number >= 0x1p63) {
    return number >= 0x1p64 ? UINT64_MAX : (uint64_t)number;
  }
  if (number >= 0x1p63) return INT64_MAX;
  if (number <= -0x1p63) return (uint64_t)INT64_MIN;
  return (uint64_t)(int64_t)number;
}

static void store_number(ibx_dtype dtype, double number, void *data) {
  if (ibx_is_float(dtype)) {
    ibx_dtype_store_f64(dtype, &number, data, 1);
  } else if (dtype == IBX_DTYPE_BOOL) {
    *(uint8_t *)data = number != 0;
  } else {
    uint64_t whole = ibx_dtype_wrap(dtype, whole_number(dtype, number));
    memcpy(data, &whole, ibx_dtype_bytes(dtype)); // little endian
  }
}

ibx_val ibx_emit_scalar(ibx_call *call, ibx_dtype dtype, double number) {
  void *data = ibx_arena_alloc(call->import->arena, sizeof(int64_t));
  store_number(dtype, number, data);
  return ibx_emit_constant(call, (ibx_type){.dtype = dtype}, data);
}

ibx_val ibx_emit_like(ibx_call *call, ibx_val like, double number) {
  return ibx_emit_scalar(call, ibx_dtype_of(call, like), number);
}

ibx_val ibx_emit_longs(ibx_call *call, ibx_ints shape, const int64_t *at) {
  ibx_type type = {.rank = shape.len, .dtype = IBX_DTYPE_I64};
  memcpy(type.dims, shape.at, sizeof(type.dims));
  size_t count = (size_t)ibx_elements(&type);
  int64_t *data = IBX_ARENA_ARRAY(call->import->arena, count, int64_t);
  if (count != 0) memcpy(data, at, count * sizeof(*data));
  return ibx_emit_constant(call, type, data);
}

ibx_val ibx_emit_floats(ibx_call *call, ibx_ints shape, const double *at) {
  ibx_type type = ibx_make_type(IBX_DTYPE_F32, shape);
  size_t count = (size_t)ibx_elements(&type);
  float *data = IBX_ARENA_ARRAY(call->import->arena, count, float);
  for (size_t i = 0; i < count; i++)
    data[i] = (float)at[i];
  return ibx_emit_constant(call, type, data);
}

ibx_val ibx_emit_iota(ibx_call *call, int64_t len) {
  if (!ibx_call_expect_room(call, len)) {
    return ibx_emit_scalar(call, IBX_DTYPE_I64, 0);
  }
  ibx_type type = {.dims = {len}, .rank = 1, .dtype = IBX_DTYPE_I64};
  int64_t *at = IBX_ARENA_ARRAY(call->import->arena, (size_t)len, int64_t);
  for (int64_t i = 0; i < len; i++)
    at[i] = i;
  return ibx_emit_constant(call, type, at);
}

// --- views -------------------------------------------------------------------

ibx_val ibx_emit_transpose(ibx_call *call, ibx_val x, ibx_ints perm) {
  bool moves = false;
  for (uint8_t i = 0; i < perm.len; i++)
    moves |= perm.at[i] != i;
  if (!moves && perm.len == ibx_rank(call, x)) return x;
  ibx_params params = {.perm = perm};
  return ibx_emit_op(call, IBX_TENSOR_transpose, &params, &x, 1);
}

ibx_val ibx_emit_swap(ibx_call *call, ibx_val x, int64_t a, int64_t b) {
  ibx_ints perm = {.len = (uint8_t)ibx_rank(call, x)};
  for (uint8_t i = 0; i < perm.len; i++)
    perm.at[i] = i;
  perm.at[a] = b;
  perm.at[b] = a;
  return ibx_emit_transpose(call, x, perm);
}

ibx_val ibx_emit_slice(ibx_call *call, ibx_val x, int64_t axis, int64_t start,
                       int64_t count, int64_t step) {
  ibx_ints shape = ibx_shape_of(call, x);
  if (start == 0 && step == 1 && count == shape.at[axis]) return x;
  ibx_params params = {.starts = ibx_fill_ints(shape.len, 0),
                       .shape = shape,
                       .steps = ibx_fill_ints(shape.len, 1)};
  params.starts.at[axis] = start;
  params.shape.at[axis] = count;
  params.steps.at[axis] = step;
  return ibx_emit_op(call, IBX_TENSOR_slice, &params, &x, 1);
}

ibx_val ibx_emit_at(ibx_call *call, ibx_val x, int64_t axis, int64_t index) {
  ibx_ints shape = ibx_shape_of(call, x), thin = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i != axis) thin.at[thin.len++] = shape.at[i];
  }
  x = ibx_emit_slice(call, x, axis, index, 1, 1);
  return ibx_emit_reshape(call, x, thin);
}

ibx_val ibx_emit_along(ibx_call *call, ibx_val vector, int64_t axis,
                       int64_t rank) {
  ibx_ints shape = ibx_fill_ints((size_t)rank, 1);
  int8_t from[IBX_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
  if (axis < shape.len) {
    shape.at[axis] = ibx_dim(call, vector, 0);
    from[axis] = 0;
  }
  if (same_ints(ibx_shape_of(call, vector), shape)) return vector;
  return ibx_emit_units(call, vector, shape, from);
}

// Many parts are joined in a tree: no element is copied more often than the
// tree is deep.
ibx_val ibx_emit_concat(ibx_call *call, const ibx_val *parts, size_t count,
                        int64_t axis) {
  ibx_val *level = IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
  ibx_params params = {.axis = axis};
  for (size_t i = 0; i < count; i++)
    level[i] = parts[i];
  if (count == 1) return parts[0];
  do {
    size_t made = 0;
    for (size_t i = 0; i < count; i += IBX_NODE_OPERANDS) {
      size_t left = count - i;
      size_t some = left < IBX_NODE_OPERANDS ? left : IBX_NODE_OPERANDS;
      ibx_val joined = level[i];
      if (some > 1) {
        joined = ibx_emit_op(call, IBX_TENSOR_concat, &params, level + i, some);
      }
      level[made++] = joined;
    }
    count = made;
  } while (count > 1);
  return level[0];
}

ibx_val ibx_emit_pad(ibx_call *call, ibx_val x, ibx_ints low, ibx_ints high,
                     float value) {
  bool pads = false;
  for (uint8_t i = 0; i < low.len; i++)
    pads |= low.at[i] || high.at[i];
  if (!pads) return x;
  ibx_params params = {.low = low, .high = high, .value = value};
  return ibx_emit_op(call, IBX_TENSOR_pad, &params, &x, 1);
}

// --- the others --------------------------------------------------------------

ibx_val ibx_emit_reduce(ibx_call *call, ibx_tensor_op op, ibx_val x,
                        ibx_ints axes, bool keepdims) {
  if (axes.len == 0) return x;
  ibx_params params = {.axes = axes, .keepdims = keepdims};
  ibx_dtype dtype = ibx_dtype_of(call, x);
  bool grows = op == IBX_TENSOR_reduce_sum || op == IBX_TENSOR_reduce_prod;
  if (!grows || ibx_is_float(dtype) || ibx_dtype_bytes(dtype) >= 4)
    return ibx_emit_op(call, op, &params, &x, 1);
  // Narrow integers wrap at the end, as the standard's do.
  x = ibx_emit_cast(call, x, IBX_DTYPE_I32);
  return ibx_emit_cast(call, ibx_emit_op(call, op, &params, &x, 1), dtype);
}

ibx_val ibx_emit_softmax(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_params params = {.axis = axis};
  return ibx_emit_op(call, IBX_TENSOR_softmax, &params, &x, 1);
}

// A left operand of many dimensions and a matrix: one long matrix product.
static ibx_val matmul_flat(ibx_call *call, ibx_val a, ibx_val b) {
  ibx_ints shape = ibx_shape_of(call, a);
  int64_t inner = shape.at[shape.len - 1], rows = 1;
  for (uint8_t i = 0; i + 1 < shape.len; i++)
    rows *= shape.at[i];
  ibx_val operands[] = {ibx_emit_reshape(call, a, IBX_INTS(rows, inner)), b};
  ibx_val flat = ibx_emit_op(call, IBX_TENSOR_matmul, NULL, operands, 2);
  shape.at[shape.len - 1] = ibx_dim(call, b, -1);
  return ibx_emit_reshape(call, flat, shape);
}

// The shape with the batch dimensions of another.
static ibx_ints with_batch(ibx_ints batch, ibx_ints shape) {
  ibx_ints all = batch;
  all.at[all.len++] = shape.at[shape.len - 2];
  all.at[all.len++] = shape.at[shape.len - 1];
  return all;
}

static ibx_ints batch_of(ibx_ints shape) {
  shape.len = (uint8_t)(shape.len - 2);
  return shape;
}

ibx_val ibx_emit_matmul(ibx_call *call, ibx_val a, ibx_val b) {
  ibx_ints left = ibx_shape_of(call, a), right = ibx_shape_of(call, b);
  bool fine = ibx_call_expect(call, left.len >= 2, "A", "needs 2 dimensions") &&
              ibx_call_expect(call, right.len >= 2, "B", "needs 2 dimensions");
  if (!fine || call->failed) return a;
  if (left.at[left.len - 1] != right.at[right.len - 2]) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_SHAPE, "B",
                  "correct the shapes where the model is made",
                  "the left matrix has %lld columns, the right one %lld rows",
                  (long long)left.at[left.len - 1],
                  (long long)right.at[right.len - 2]);
    return a;
  }
  if (right.len == 2 && left.len > 2 && !ibx_has_extent(call, a)) {
    return matmul_flat(call, a, b);
  }
  ibx_ints batch = ibx_broadcast_shape(call, batch_of(left), batch_of(right));
  if (call->failed) return a;
  ibx_val operands[] = {ibx_emit_broadcast(call, a, with_batch(batch, left)),
                        ibx_emit_broadcast(call, b, with_batch(batch, right))};
  return ibx_emit_op(call, IBX_TENSOR_matmul, NULL, operands, 2);
}

// Scale and shift must have exactly the normalised shape.
static ibx_val norm_operand(ibx_call *call, ibx_val x, ibx_val operand,
                            int64_t axis) {
  ibx_ints shape = ibx_shape_of(call, x), own = ibx_shape_of(call, operand);
  ibx_ints normal = ibx_make_ints(shape.at + axis, (size_t)(shape.len - axis));
  // Leading extents of 1 say nothing.
  while (own.len > normal.len && own.at[0] == 1) {
    own = ibx_make_ints(own.at + 1, own.len - 1u);
  }
  if (!ibx_call_expect(call, own.len <= normal.len, "scale",
                       "varies outside of the normalised dimensions")) {
    return operand;
  }
  return ibx_emit_broadcast(call, ibx_emit_reshape(call, operand, own), normal);
}

ibx_val ibx_emit_norm(ibx_call *call, ibx_tensor_op op, ibx_val x,
                      ibx_val scale, ibx_val shift, int64_t axis,
                      float epsilon) {
  ibx_params params = {.axis = axis, .epsilon = epsilon};
  ibx_val operands[3] = {x};
  size_t count = 1;
  if (scale != IBX_NO_VALUE) {
    operands[count++] = norm_operand(call, x, scale, axis);
  }
  bool joins =
      shift != IBX_NO_VALUE && count == 2 && op == IBX_TENSOR_layer_norm;
  if (joins) operands[count++] = norm_operand(call, x, shift, axis);
  ibx_val result = ibx_emit_op(call, op, &params, operands, count);
  if (shift == IBX_NO_VALUE || joins) return result;
  return ibx_emit_binary(call, IBX_TENSOR_add, result, shift);
}
