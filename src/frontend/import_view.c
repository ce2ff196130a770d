// SPDX-License-Identifier: Apache-2.0
//
// Imports operators that move elements and compute nothing. Comes in: a call
// whose shapes, axes and positions are constants. Goes out: views.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>
#include <string.h>

// --- shapes ------------------------------------------------------------------

static void squeeze(ibx_call *call, const ibx_ints *axes) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x), left = {0};
  bool drop[IBX_MAX_RANK] = {false};
  for (uint8_t i = 0; i < shape.len; i++)
    drop[i] = !axes && shape.at[i] == 1;
  for (uint8_t i = 0; !axes && i < shape.len; i++) {
    // Whether it vanishes, the data decide.
    if (ibx_extent(call, x, i) != IBX_NO_VALUE) ibx_refuse_extent(call, "axes");
  }
  for (uint8_t i = 0; axes && i < axes->len; i++) {
    int64_t axis = ibx_axis(call, axes->at[i], shape.len);
    if (call->failed) return;
    if (!ibx_call_expect(call, shape.at[axis] == 1, "axes",
                         "names a dimension whose extent is not 1")) {
      return;
    }
    drop[axis] = true;
  }
  int8_t from[IBX_MAX_RANK] = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (drop[i]) continue;
    from[left.len] = (int8_t)i;
    left.at[left.len++] = shape.at[i];
  }
  ibx_out(call, 0,
          left.len == shape.len ? x : ibx_emit_units(call, x, left, from));
}

void ibx_import_op_squeeze_1(ibx_call *call) {
  ibx_ints axes;
  squeeze(call, ibx_attr_ints(call, "axes", &axes) ? &axes : NULL);
}

void ibx_import_op_squeeze(ibx_call *call) {
  if (!ibx_has_in(call, 1)) {
    squeeze(call, NULL);
    return;
  }
  ibx_ints axes = ibx_const_dims(call, 1, "axes");
  if (!call->failed) squeeze(call, &axes);
}

static void unsqueeze(ibx_call *call, ibx_ints axes) {
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x) + axes.len;
  ibx_ints shape = {.len = (uint8_t)rank};
  bool is_new[2 * IBX_MAX_RANK] = {false};
  for (uint8_t i = 0; i < axes.len; i++) {
    int64_t axis = ibx_axis(call, axes.at[i], rank);
    if (call->failed) return;
    if (!ibx_call_expect(call, !is_new[axis], "axes", "names one twice"))
      return;
    is_new[axis] = true;
  }
  if (rank > IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, NULL,
                  "use tensors of at most 8 dimensions",
                  "the result has %" PRId64 " dimensions", rank);
    return;
  }
  int8_t from[IBX_MAX_RANK] = {0}, next = 0;
  for (int64_t i = 0; i < rank; i++) {
    from[i] = is_new[i] ? -1 : next++;
    shape.at[i] = is_new[i] ? 1 : ibx_dim(call, x, from[i]);
  }
  ibx_out(call, 0, axes.len == 0 ? x : ibx_emit_units(call, x, shape, from));
}

void ibx_import_op_unsqueeze_1(ibx_call *call) {
  ibx_ints axes;
  if (ibx_attr_ints(call, "axes", &axes)) {
    unsqueeze(call, axes);
    return;
  }
  ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "axes",
                "add the attribute axes", "Unsqueeze needs the attribute axes");
}

void ibx_import_op_unsqueeze(ibx_call *call) {
  ibx_ints axes = ibx_const_dims(call, 1, "axes");
  if (!call->failed) unsqueeze(call, axes);
}

// --- order -------------------------------------------------------------------

void ibx_import_op_transpose(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  ibx_ints perm;
  if (!ibx_attr_ints(call, "perm", &perm)) {
    perm.len = (uint8_t)rank;
    for (int64_t i = 0; i < rank; i++)
      perm.at[i] = rank - 1 - i;
  }
  if (!call->failed) ibx_out(call, 0, ibx_emit_transpose(call, x, perm));
}

void ibx_import_op_concat(ibx_call *call) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  if (!ibx_has_attr(call, "axis")) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "axis",
                  "add the attribute axis", "Concat needs the attribute axis");
    return;
  }
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), rank);
  for (size_t i = 0; i < call->in_count; i++) {
    if (ibx_has_in(call, i)) continue;
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL, "remove the empty input",
                  "input %zu is left out", i);
    return;
  }
  ibx_out(call, 0, ibx_emit_concat(call, call->in, call->in_count, axis));
}

// --- pieces ------------------------------------------------------------------

// One dimension of Slice, with ONNX's clamping.
typedef struct piece {
  int64_t start, count, step;
} piece;

static int64_t clamp(int64_t x, int64_t low, int64_t high) {
  return x < low ? low : x > high ? high : x;
}

static piece make_piece(int64_t start, int64_t end, int64_t step,
                        int64_t extent) {
  if (extent == 0) return (piece){.step = 1};
  if (start < 0) start = start < -extent ? -extent - 1 : start + extent;
  if (end < 0) end = end < -extent ? -1 : end + extent;
  piece p = {.step = step};
  if (step > 0) {
    p.start = clamp(start, 0, extent);
    end = clamp(end, 0, extent);
    p.count = end > p.start ? (end - p.start - 1) / step + 1 : 0;
  } else {
    p.start = clamp(start, 0, extent - 1);
    end = clamp(end, -1, extent - 1);
    // The step may be the smallest number, whose negative does not exist.
    uint64_t width = 0 - (uint64_t)step;
    uint64_t room = p.start > end ? (uint64_t)(p.start - end) : 0;
    p.count = room == 0 ? 0 : (int64_t)((room - 1) / width) + 1;
  }
  // A single element has no step, and an odd one would overflow later.
  if (p.count <= 1) p.step = 1;
  if (p.count == 0) p.start = 0;
  return p;
}

// The end of a piece where the data decide it: a position that the node computes,
// or one that counts from an end that they decide. IBX_NO_VALUE elsewhere.
static ibx_val real_end(ibx_call *call, ibx_val x, int64_t axis, int64_t start,
                        int64_t end, ibx_val computed) {
  ibx_val extent = ibx_extent(call, x, axis);
  if (computed != IBX_NO_VALUE) {
    if (start < 0) ibx_refuse_extent(call, "starts");
    bool inside = ibx_most(call, computed) <= ibx_dim(call, x, axis);
    if (computed == extent || (inside && extent == IBX_NO_VALUE)) {
      return computed;
    }
    return ibx_emit_binary(call, IBX_TENSOR_min, computed,
                           ibx_extent_or_dim(call, x, axis));
  }
  if (extent == IBX_NO_VALUE) return IBX_NO_VALUE;
  if (start < 0) ibx_refuse_extent(call, "starts");
  bool from_end = end < 0 && end >= -ibx_dim(call, x, axis);
  if (!from_end) return IBX_NO_VALUE;
  return ibx_emit_binary(call, IBX_TENSOR_add, extent,
                         ibx_emit_long(call, end));
}

static ibx_val slice_one(ibx_call *call, ibx_val x, int64_t axis, int64_t start,
                         int64_t end, ibx_val computed, int64_t step) {
  piece p = make_piece(start, end, step, ibx_dim(call, x, axis));
  ibx_val real = real_end(call, x, axis, start, end, computed);
  if (real != IBX_NO_VALUE && step < 1) ibx_refuse_extent(call, "steps");
  x = ibx_emit_slice(call, x, axis, p.start, p.count, p.step);
  if (real == IBX_NO_VALUE || call->failed) return x;
  return ibx_set_extent(call, x, axis,
                        ibx_emit_steps(call, real, start, step, p.count));
}

static void slice(ibx_call *call, ibx_list starts, ibx_list ends,
                  const ibx_list *axes, const ibx_list *steps,
                  const ibx_bounded *open_ends) {
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  bool fits = starts.len == ends.len && (!axes || axes->len == starts.len) &&
              (!steps || steps->len == starts.len) &&
              starts.len <= (size_t)rank;
  if (!ibx_call_expect(call, fits, "starts",
                       "starts, ends, axes and steps differ in length")) {
    return;
  }
  bool seen[IBX_MAX_RANK] = {false};
  for (size_t i = 0; i < starts.len && !call->failed; i++) {
    int64_t axis = ibx_axis(call, axes ? axes->at[i] : (int64_t)i, rank);
    int64_t step = steps ? steps->at[i] : 1;
    if (!ibx_call_expect(call, step != 0, "steps", "a step is 0") ||
        !ibx_call_expect(call, !seen[axis], "axes", "names one twice")) {
      return;
    }
    seen[axis] = true;
    ibx_val computed =
        open_ends ? open_ends->real[i < IBX_MAX_RANK ? i : 0] : IBX_NO_VALUE;
    x = slice_one(call, x, axis, starts.at[i], ends.at[i], computed, step);
  }
  ibx_out(call, 0, x);
}

void ibx_import_op_slice_1(ibx_call *call) {
  ibx_ints starts, ends, axes;
  bool has_all = ibx_attr_ints(call, "starts", &starts);
  has_all &= ibx_attr_ints(call, "ends", &ends);
  bool has_axes = ibx_attr_ints(call, "axes", &axes);
  if (!has_all) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "starts",
                  "add the attributes starts and ends",
                  "Slice needs the attributes starts and ends");
    return;
  }
  ibx_list list = {axes.at, axes.len};
  slice(call, (ibx_list){starts.at, starts.len}, (ibx_list){ends.at, ends.len},
        has_axes ? &list : NULL, NULL, NULL);
}

void ibx_import_op_slice(ibx_call *call) {
  ibx_list axes = {0}, steps = {0};
  ibx_list starts = ibx_const_ints(call, 1, "starts");
  ibx_list ends = {0};
  ibx_bounded open_ends = {0};
  bool has_open = ibx_is_bounded(call, ibx_in(call, 2));
  if (has_open) {
    if (!ibx_bounded_dims(call, 2, "ends", &open_ends)) return;
    ends = (ibx_list){open_ends.most.at, open_ends.most.len};
  } else {
    ends = ibx_const_ints(call, 2, "ends");
  }
  if (ibx_has_in(call, 3)) axes = ibx_const_ints(call, 3, "axes");
  if (ibx_has_in(call, 4)) steps = ibx_const_ints(call, 4, "steps");
  if (call->failed) return;
  slice(call, starts, ends, ibx_has_in(call, 3) ? &axes : NULL,
        ibx_has_in(call, 4) ? &steps : NULL, has_open ? &open_ends : NULL);
}

// Elements start, start + 1, ... along a dimension: `most` of them, of which
// `real` count.
static ibx_val take_part(ibx_call *call, ibx_val x, int64_t axis, ibx_val start,
                         int64_t most, ibx_val real) {
  if (most == 0) return ibx_emit_slice(call, x, axis, 0, 0, 1);
  ibx_val at =
      ibx_emit_binary(call, IBX_TENSOR_add, start, ibx_emit_iota(call, most));
  at = ibx_emit_binary(call, IBX_TENSOR_min, at,
                       ibx_emit_long(call, ibx_dim(call, x, axis) - 1));
  return ibx_emit_gather(call, x, ibx_set_extent(call, at, 0, real), axis);
}

// Sizes of which the data decide some; where they are constants they say how much
// the dimension has.
static void split_sizes(ibx_call *call, int64_t axis) {
  ibx_bounded sizes;
  ibx_val x = ibx_in(call, 0), start = ibx_emit_long(call, 0);
  if (!ibx_bounded_dims(call, 1, "split", &sizes) ||
      !ibx_call_expect(call, sizes.most.len == call->out_count, "split",
                       "needs a size for each output")) {
    return;
  }
  x = ibx_set_extent(call, x, axis, IBX_NO_VALUE);
  for (uint8_t i = 0; i < sizes.most.len && !call->failed; i++) {
    int64_t most = clamp(sizes.most.at[i], 0, ibx_dim(call, x, axis));
    ibx_val real = sizes.real[i];
    if (real == IBX_NO_VALUE) real = ibx_emit_long(call, most);
    ibx_out(call, i, take_part(call, x, axis, start, most, real));
    start = ibx_emit_binary(call, IBX_TENSOR_add, start, real);
  }
}

// Equal parts of as much as there is, the last of which may fall short.
static void split_open(ibx_call *call, int64_t axis) {
  ibx_val x = ibx_in(call, 0), real = ibx_extent(call, x, axis);
  int64_t count = (int64_t)call->out_count;
  int64_t most = (ibx_dim(call, x, axis) + count - 1) / count;
  ibx_val zero = ibx_emit_long(call, 0), start = zero;
  ibx_val size = ibx_emit_binary(call, IBX_TENSOR_add, real,
                                 ibx_emit_long(call, count - 1));
  size =
      ibx_emit_binary(call, IBX_TENSOR_div, size, ibx_emit_long(call, count));
  x = ibx_set_extent(call, x, axis, IBX_NO_VALUE);
  for (int64_t i = 0; i < count && !call->failed; i++) {
    ibx_val left = ibx_emit_binary(call, IBX_TENSOR_sub, real, start);
    left = ibx_emit_binary(call, IBX_TENSOR_max, left, zero);
    left = ibx_emit_binary(call, IBX_TENSOR_min, left, size);
    ibx_out(call, (size_t)i, take_part(call, x, axis, start, most, left));
    start = ibx_emit_binary(call, IBX_TENSOR_add, start, size);
  }
}

static void split_by(ibx_call *call, int64_t axis, const int64_t *sizes,
                     size_t count) {
  ibx_val x = ibx_in(call, 0);
  if (ibx_extent(call, x, axis) != IBX_NO_VALUE) {
    ibx_refuse_extent(call, "input");
    return;
  }
  int64_t start = 0, extent = ibx_dim(call, x, axis);
  bool fits = count == call->out_count;
  for (size_t i = 0; fits && i < count; i++) {
    fits = sizes[i] >= 0 && sizes[i] <= extent - start;
    if (fits) start += sizes[i];
  }
  if (!ibx_call_expect(call, fits && start == extent, "split",
                       "the sizes do not make up the dimension")) {
    return;
  }
  start = 0;
  for (size_t i = 0; i < count; i++) {
    ibx_out(call, i, ibx_emit_slice(call, x, axis, start, sizes[i], 1));
    start += sizes[i];
  }
}

// Equal parts; the last may be smaller where the version allows it.
static void split_equal(ibx_call *call, int64_t axis) {
  int64_t count = (int64_t)call->out_count;
  int64_t extent = ibx_dim(call, ibx_in(call, 0), axis);
  if (!ibx_call_expect(call, count > 0, "split", "has no output")) return;
  if (ibx_extent(call, ibx_in(call, 0), axis) != IBX_NO_VALUE) {
    split_open(call, axis);
    return;
  }
  int64_t size = (extent + count - 1) / count;
  int64_t *sizes =
      IBX_ARENA_ARRAY(&call->import->scratch, (size_t)count, int64_t);
  for (int64_t i = 0; i < count; i++) {
    sizes[i] = clamp(extent - i * size, 0, size);
  }
  split_by(call, axis, sizes, (size_t)count);
}

void ibx_import_op_split_2(ibx_call *call) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), rank);
  const Onnx__AttributeProto *sizes = IBX_ATTR(call, "split", INTS);
  if (call->failed) return;
  if (sizes) {
    split_by(call, axis, sizes->ints, sizes->n_ints);
  } else {
    split_equal(call, axis);
  }
}

void ibx_import_op_split(ibx_call *call) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  int64_t axis = ibx_axis(call, ibx_attr_int(call, "axis", 0), rank);
  int64_t parts = ibx_attr_int(call, "num_outputs", (int64_t)call->out_count);
  ibx_call_expect(call, parts == (int64_t)call->out_count, "num_outputs",
                  "is not the number of outputs");
  if (call->failed) return;
  if (!ibx_has_in(call, 1)) {
    split_equal(call, axis);
    return;
  }
  if (ibx_extent(call, ibx_in(call, 0), axis) != IBX_NO_VALUE ||
      ibx_is_bounded(call, ibx_in(call, 1))) {
    split_sizes(call, axis);
    return;
  }
  ibx_list sizes = ibx_const_ints(call, 1, "split");
  if (!call->failed) split_by(call, axis, sizes.at, sizes.len);
}

// --- repetition --------------------------------------------------------------

void ibx_import_op_expand(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_bounded dims;
  if (!ibx_bounded_dims(call, 1, "shape", &dims)) return;
  for (uint8_t i = 0; i < dims.most.len; i++) {
    bool fits = dims.most.at[i] >= 0;
    ibx_call_expect(call, fits, "shape", "has a negative extent");
  }
  ibx_ints own = ibx_shape_of(call, x);
  ibx_ints shape = ibx_broadcast_shape(call, own, dims.most);
  if (call->failed) return;
  ibx_val y = ibx_emit_broadcast(call, x, shape);
  for (uint8_t i = 0; i < dims.most.len && !call->failed; i++) {
    // An extent meets one of x, or an extent of 1.
    int64_t d = shape.len - dims.most.len + i;
    int64_t from = d - (shape.len - own.len);
    bool is_one = from < 0 || own.at[from] == 1;
    if (dims.real[i] != IBX_NO_VALUE && is_one) {
      y = ibx_set_extent(call, y, d, dims.real[i]);
    }
  }
  ibx_out(call, 0, y);
}

// Repeats a dimension with an extent: element i is i modulo that.
static ibx_val repeat_open(ibx_call *call, ibx_val x, int64_t axis,
                           int64_t times) {
  ibx_val real = ibx_extent(call, x, axis), one = ibx_emit_long(call, 1);
  ibx_val line = ibx_emit_iota(call, ibx_dim(call, x, axis) * times);
  ibx_val divisor = ibx_emit_binary(call, IBX_TENSOR_max, real, one);
  ibx_val whole = ibx_emit_binary(call, IBX_TENSOR_div, line, divisor);
  whole = ibx_emit_binary(call, IBX_TENSOR_mul, whole, divisor);
  ibx_val at = ibx_emit_binary(call, IBX_TENSOR_sub, line, whole);
  at = ibx_set_extent(
      call, at, 0,
      ibx_emit_binary(call, IBX_TENSOR_mul, real, ibx_emit_long(call, times)));
  x = ibx_set_extent(call, x, axis, IBX_NO_VALUE);
  return ibx_emit_gather(call, x, at, axis);
}

// Repeats along one dimension: a new dimension before it, broadcast, merged.
static ibx_val repeat(ibx_call *call, ibx_val x, int64_t axis, int64_t times) {
  ibx_ints shape = ibx_shape_of(call, x), split = {0};
  if (times == 1) return x;
  ibx_ints whole = shape;
  if (!ibx_mul_extent(shape.at[axis], times, &whole.at[axis])) {
    ibx_call_fail(call, IBX_DIAG_TOO_LARGE, "repeats", "repeat less often",
                  "the result has more elements than can be counted");
    return x;
  }
  if (times != 0 && ibx_extent(call, x, axis) != IBX_NO_VALUE) {
    return repeat_open(call, x, axis, times);
  }
  if (shape.at[axis] == 1) return ibx_emit_broadcast(call, x, whole);
  if (shape.len == IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, NULL,
                  "use tensors of at most 7 dimensions",
                  "Tile of 8 dimensions is not imported");
    return x;
  }
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i == axis) split.at[split.len++] = 1;
    split.at[split.len++] = shape.at[i];
  }
  x = ibx_emit_reshape(call, x, split);
  split.at[axis] = times;
  x = ibx_emit_broadcast(call, x, split);
  return ibx_emit_reshape(call, x, whole);
}

void ibx_import_op_tile(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints repeats = ibx_const_dims(call, 1, "repeats");
  if (call->failed) return;
  if (!ibx_call_expect(call, repeats.len == ibx_rank(call, x), "repeats",
                       "needs one number for each dimension")) {
    return;
  }
  for (uint8_t i = 0; i < repeats.len && !call->failed; i++) {
    if (!ibx_call_expect(call, repeats.at[i] >= 0, "repeats", "is negative")) {
      return;
    }
    x = repeat(call, x, i, repeats.at[i]);
  }
  ibx_out(call, 0, x);
}

// --- blocks ------------------------------------------------------------------

static bool block_fits(ibx_call *call, int64_t block) {
  return ibx_call_expect(call, ibx_rank(call, ibx_in(call, 0)) == 4, "input",
                         "needs 4 dimensions") &&
         ibx_call_expect(call, block >= 1 && block <= 4096, "blocksize",
                         "lies outside of 1 to 4096");
}

void ibx_import_op_depth_to_space(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t b = ibx_attr_int(call, "blocksize", 0);
  bool crd = strcmp(ibx_attr_text(call, "mode", "DCR"), "CRD") == 0;
  if (!block_fits(call, b)) return;
  int64_t n = ibx_dim(call, x, 0), c = ibx_dim(call, x, 1) / (b * b);
  int64_t h = ibx_dim(call, x, 2), w = ibx_dim(call, x, 3);
  ibx_ints split =
      crd ? IBX_INTS(n, c, b, b, h, w) : IBX_INTS(n, b, b, c, h, w);
  ibx_ints perm = crd ? IBX_INTS(0, 1, 4, 2, 5, 3) : IBX_INTS(0, 3, 4, 1, 5, 2);
  x = ibx_emit_transpose(call, ibx_emit_reshape(call, x, split), perm);
  ibx_out(call, 0, ibx_emit_reshape(call, x, IBX_INTS(n, c, h * b, w * b)));
}

void ibx_import_op_space_to_depth(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  int64_t b = ibx_attr_int(call, "blocksize", 0);
  bool crd = strcmp(ibx_attr_text(call, "mode", "DCR"), "CRD") == 0;
  if (!block_fits(call, b)) return;
  int64_t n = ibx_dim(call, x, 0), c = ibx_dim(call, x, 1);
  int64_t h = ibx_dim(call, x, 2) / b, w = ibx_dim(call, x, 3) / b;
  ibx_ints perm = crd ? IBX_INTS(0, 1, 3, 5, 2, 4) : IBX_INTS(0, 3, 5, 1, 2, 4);
  x = ibx_emit_reshape(call, x, IBX_INTS(n, c, h, b, w, b));
  x = ibx_emit_transpose(call, x, perm);
  ibx_out(call, 0, ibx_emit_reshape(call, x, IBX_INTS(n, c * b * b, h, w)));
}
