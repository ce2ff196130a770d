// SPDX-License-Identifier: Apache-2.0
//
// Imports padding. Comes in: a call with constant pads, which may be negative.
// Goes out: a slice for what is cut, then `pad` for constants, or slices of the
// tensor itself, joined, for reflect, edge and wrap; a gather of the tensor where
// slices do not do.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <math.h>
#include <string.h>

typedef enum pad_mode { CONSTANT, REFLECT, EDGE, WRAP } pad_mode;

static bool read_mode(ibx_call *call, pad_mode *out) {
  static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
  const char *name = ibx_attr_text(call, "mode", "constant");
  for (size_t i = 0; i < IBX_COUNT_OF(names); i++) {
    if (strcmp(name, names[i]) != 0) continue;
    *out = (pad_mode)i;
    return true;
  }
  ibx_call_fail(call, IBX_DIAG_ATTRIBUTE_VALUE, "mode",
                "use constant, reflect, edge or wrap", "there is no mode '%s'",
                name);
  return false;
}

// x modulo a number that is at least 1; x + low * number is not negative.
static ibx_val modulo(ibx_call *call, ibx_val x, ibx_val number, int64_t low) {
  number =
      ibx_emit_binary(call, IBX_TENSOR_max, number, ibx_emit_long(call, 1));
  ibx_val turns =
      ibx_emit_binary(call, IBX_TENSOR_mul, number, ibx_emit_long(call, low));
  x = ibx_emit_binary(call, IBX_TENSOR_add, x, turns);
  ibx_val whole = ibx_emit_binary(call, IBX_TENSOR_div, x, number);
  return ibx_emit_binary(call, IBX_TENSOR_sub, x,
                         ibx_emit_binary(call, IBX_TENSOR_mul, whole, number));
}

// By a gather of the elements that the padded dimension has: where the data
// decide how many there are, and where more is asked for than there is, so that
// it goes round or back and forth.
static ibx_val pad_by_index(ibx_call *call, ibx_val x, pad_mode mode,
                            int64_t axis, int64_t low, int64_t high) {
  int64_t extent = ibx_dim(call, x, axis);
  if (!ibx_call_expect(call, extent > 0, "pads",
                       "there is nothing to repeat")) {
    return x;
  }
  ibx_val real = ibx_extent_or_dim(call, x, axis);
  ibx_val last =
      ibx_emit_binary(call, IBX_TENSOR_sub, real, ibx_emit_long(call, 1));
  ibx_val at = ibx_emit_binary(call, IBX_TENSOR_sub,
                               ibx_emit_iota(call, low + extent + high),
                               ibx_emit_long(call, low));
  if (mode == WRAP) at = modulo(call, at, real, low);
  if (mode == REFLECT) {
    ibx_val period = ibx_emit_binary(call, IBX_TENSOR_add, last, last);
    at = modulo(call, at, period, low);
    at = ibx_emit_binary(call, IBX_TENSOR_min, at,
                         ibx_emit_binary(call, IBX_TENSOR_sub, period, at));
  }
  at = ibx_emit_binary(call, IBX_TENSOR_min, at, last);
  at = ibx_emit_binary(call, IBX_TENSOR_max, at, ibx_emit_long(call, 0));
  if (ibx_extent(call, x, axis) != IBX_NO_VALUE) {
    ibx_val all = ibx_emit_binary(call, IBX_TENSOR_add, real,
                                  ibx_emit_long(call, low + high));
    at = ibx_set_extent(call, at, 0, all);
    x = ibx_set_extent(call, x, axis, IBX_NO_VALUE);
  }
  return ibx_emit_gather(call, x, at, axis);
}

// One dimension: `low` elements before it and `high` after it, both at least 0.
static ibx_val pad_reflect(ibx_call *call, ibx_val x, int64_t axis, int64_t low,
                           int64_t high) {
  int64_t extent = ibx_dim(call, x, axis);
  if (low >= extent || high >= extent) {
    return pad_by_index(call, x, REFLECT, axis, low, high);
  }
  ibx_val parts[3];
  size_t count = 0;
  if (low > 0) parts[count++] = ibx_emit_slice(call, x, axis, low, low, -1);
  parts[count++] = x;
  if (high > 0) {
    parts[count++] = ibx_emit_slice(call, x, axis, extent - 2, high, -1);
  }
  return ibx_emit_concat(call, parts, count, axis);
}

static ibx_val repeated_edge(ibx_call *call, ibx_val x, int64_t axis,
                             int64_t at, int64_t count) {
  ibx_val edge = ibx_emit_slice(call, x, axis, at, 1, 1);
  ibx_ints shape = ibx_shape_of(call, edge);
  shape.at[axis] = count;
  return ibx_emit_broadcast(call, edge, shape);
}

static ibx_val pad_edge(ibx_call *call, ibx_val x, int64_t axis, int64_t low,
                        int64_t high) {
  int64_t extent = ibx_dim(call, x, axis);
  if (!ibx_call_expect(call, extent > 0, "pads", "there is no edge")) return x;
  ibx_val parts[3];
  size_t count = 0;
  if (low > 0) parts[count++] = repeated_edge(call, x, axis, 0, low);
  parts[count++] = x;
  if (high > 0) parts[count++] = repeated_edge(call, x, axis, extent - 1, high);
  return ibx_emit_concat(call, parts, count, axis);
}

static ibx_val pad_wrap(ibx_call *call, ibx_val x, int64_t axis, int64_t low,
                        int64_t high) {
  int64_t extent = ibx_dim(call, x, axis);
  if (low > extent || high > extent) {
    return pad_by_index(call, x, WRAP, axis, low, high);
  }
  ibx_val parts[3];
  size_t count = 0;
  if (low > 0) {
    parts[count++] = ibx_emit_slice(call, x, axis, extent - low, low, 1);
  }
  parts[count++] = x;
  if (high > 0) parts[count++] = ibx_emit_slice(call, x, axis, 0, high, 1);
  return ibx_emit_concat(call, parts, count, axis);
}

static ibx_val pad_axes(ibx_call *call, ibx_val x, pad_mode mode, ibx_ints low,
                        ibx_ints high) {
  for (uint8_t i = 0; i < low.len && !call->failed; i++) {
    if (low.at[i] == 0 && high.at[i] == 0) continue;
    if (ibx_extent(call, x, i) != IBX_NO_VALUE) {
      x = pad_by_index(call, x, mode, i, low.at[i], high.at[i]);
      continue;
    }
    if (mode == REFLECT) x = pad_reflect(call, x, i, low.at[i], high.at[i]);
    if (mode == EDGE) x = pad_edge(call, x, i, low.at[i], high.at[i]);
    if (mode == WRAP) x = pad_wrap(call, x, i, low.at[i], high.at[i]);
  }
  return x;
}

// Cuts what is negative, and leaves what is positive.
static ibx_val crop(ibx_call *call, ibx_val x, ibx_ints *low, ibx_ints *high) {
  for (uint8_t i = 0; i < low->len; i++) {
    int64_t front = low->at[i] < 0 ? -low->at[i] : 0;
    int64_t back = high->at[i] < 0 ? -high->at[i] : 0;
    int64_t left = ibx_dim(call, x, i) - front - back;
    ibx_val real = ibx_extent(call, x, i);
    if (front + back == 0) continue;
    if (!ibx_call_expect(call, left >= 0, "pads", "cuts more than there is")) {
      return x;
    }
    x = ibx_emit_slice(call, x, i, left == 0 ? 0 : front, left, 1);
    if (real != IBX_NO_VALUE) {
      x = ibx_set_extent(call, x, i,
                         ibx_emit_steps(call, real, front + back, 1, left));
    }
    if (front > 0) low->at[i] = 0;
    if (back > 0) high->at[i] = 0;
  }
  return x;
}

// What is cut off a dimension that has less is owed by what is added to it.
static ibx_val count_cut(ibx_call *call, ibx_val y, ibx_val x, ibx_ints before,
                         ibx_ints after) {
  for (uint8_t i = 0; i < before.len; i++) {
    ibx_val real = ibx_extent(call, x, i);
    bool cuts = before.at[i] < 0 || after.at[i] < 0;
    if (real == IBX_NO_VALUE || !cuts) continue;
    int64_t cut = -before.at[i] - after.at[i], most = ibx_dim(call, y, i);
    y = ibx_set_extent(call, y, i, ibx_emit_steps(call, real, cut, 1, most));
  }
  return y;
}

static void import_pads(ibx_call *call, ibx_list pads, const ibx_list *axes,
                        double value) {
  enum { MOST = 1 << 30 };
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  size_t count = axes ? axes->len : (size_t)rank;
  ibx_ints low = ibx_fill_ints((size_t)rank, 0), high = low;
  pad_mode mode = CONSTANT;
  if (!read_mode(call, &mode) ||
      !ibx_call_expect(call, pads.len == 2 * count, "pads",
                       "needs two numbers for each dimension")) {
    return;
  }
  for (size_t i = 0; i < count; i++) {
    int64_t axis = ibx_axis(call, axes ? axes->at[i] : (int64_t)i, rank);
    int64_t before = pads.at[i], after = pads.at[i + count];
    bool fits =
        before > -MOST && before < MOST && after > -MOST && after < MOST;
    if (!ibx_call_expect(call, fits, "pads", "is too large")) return;
    low.at[axis] = before;
    high.at[axis] = after;
  }
  ibx_ints before = low, after = high;
  ibx_val y = crop(call, x, &low, &high);
  if (mode == CONSTANT) {
    y = ibx_emit_pad(call, y, low, high, (float)value);
  } else {
    y = pad_axes(call, y, mode, low, high);
  }
  ibx_out(call, 0, count_cut(call, y, x, before, after));
}

void ibx_import_op_pad_2(ibx_call *call) {
  const Onnx__AttributeProto *pads = IBX_ATTR(call, "pads", INTS);
  double value = (double)ibx_attr_any_float(call, "value", 0);
  if (!pads) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "pads",
                  "add the attribute pads", "Pad needs the attribute pads");
    return;
  }
  ibx_list list = {pads->ints, pads->n_ints};
  import_pads(call, list, NULL, value);
}

void ibx_import_op_pad(ibx_call *call) {
  double value = 0;
  ibx_list axes = {0}, pads = ibx_const_ints(call, 1, "pads");
  if (ibx_has_in(call, 2)) value = ibx_const_number(call, 2, "constant_value");
  if (ibx_has_in(call, 3)) axes = ibx_const_ints(call, 3, "axes");
  bool exact = (double)(float)value == value || isnan(value) ||
               ibx_is_float(ibx_dtype_of(call, ibx_in(call, 0)));
  if (!exact) {
    ibx_call_refuse(call, "constant_value", "an integer of more than 24 bits");
  }
  if (call->failed) return;
  import_pads(call, pads, ibx_has_in(call, 3) ? &axes : NULL, value);
}

// What is cut or added is divided between both sides, an odd element at the end.
void ibx_import_op_center_crop_pad(ibx_call *call) {
  enum { MOST = 1 << 30 };
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  ibx_ints axes, low = ibx_fill_ints((size_t)rank, 0), high = low;
  ibx_ints shape = ibx_const_dims(call, 1, "shape");
  bool has_axes = ibx_attr_ints(call, "axes", &axes);
  if (call->failed ||
      !ibx_call_expect(call, shape.len == (has_axes ? axes.len : rank), "shape",
                       "needs one number for each dimension")) {
    return;
  }
  for (uint8_t i = 0; i < shape.len; i++) {
    int64_t axis = has_axes ? ibx_axis(call, axes.at[i], rank) : i;
    int64_t extent = ibx_dim(call, x, axis), wanted = shape.at[i];
    if (!ibx_call_expect(call, wanted >= 0 && wanted < MOST, "shape",
                         "has an impossible extent")) {
      return;
    }
    // Division truncates, so that both sides round towards the middle.
    low.at[axis] = (wanted - extent) / 2;
    high.at[axis] = wanted - extent - low.at[axis];
  }
  x = crop(call, x, &low, &high);
  ibx_out(call, 0, ibx_emit_pad(call, x, low, high, 0));
}
