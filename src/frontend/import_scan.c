// SPDX-License-Identifier: Apache-2.0
//
// Imports Scan, unrolled. Comes in: a body, values that it hands from one slice
// to the next, and tensors that it reads slice by slice. Goes out: the body once
// for each slice that there may be, and the slices that it gave, joined. Holds
// afterwards: a slice that is not there left the values as they were. Where there
// are many slices, the host repeats the body.

#include "frontend/import_loop.h"
#include "frontend/import_ops.h"
#include "frontend/import_repeat.h"

#include <inttypes.h>

// Entry `index` of a list with one number for each port; absent ones count 0.
static int64_t attr_at(ibx_call *call, const char *name, size_t index) {
  const Onnx__AttributeProto *list = IBX_ATTR(call, name, INTS);
  return list && index < list->n_ints ? list->ints[index] : 0;
}

// The tensors that are read by slices.
typedef struct scanned {
  ibx_val x;
  int64_t axis;
  bool backwards;
} scanned;

// How many slices a scan has.
typedef struct stretch {
  int64_t length; // at most
  ibx_val real;   // where the data decide it: how many count
  bool pads;      // the results are as long as can be, with zeros
} stretch;

// Lengths that the data decide are equal, or ONNX would not scan either.
static bool read_stretch(ibx_call *call, const scanned *tensors, size_t count,
                         stretch *out) {
  *out = (stretch){.length = INT64_MAX, .real = IBX_NO_VALUE};
  bool fits = true;
  for (size_t i = 0; i < count; i++) {
    ibx_val real = ibx_extent(call, tensors[i].x, tensors[i].axis);
    int64_t length = ibx_dim(call, tensors[i].x, tensors[i].axis);
    bool is_open = real != IBX_NO_VALUE || out->real != IBX_NO_VALUE;
    fits &= i == 0 || is_open || length == out->length;
    if (out->real == IBX_NO_VALUE) out->real = real;
    if (length < out->length) out->length = length;
  }
  return ibx_call_expect(call, fits, "scan_inputs", "differ in length");
}

static bool is_long(const stretch *way) { return way->length > IBX_MOST_TRIPS; }

static bool expect_short(ibx_call *call, const stretch *way) {
  if (!is_long(way)) return true;
  ibx_call_refuse(call, "scan_inputs",
                  "a scan of %" PRId64 " slices, of which the data decide how "
                  "many count",
                  way->length);
  return false;
}

// The valid part of a dimension from its end; what lies behind stays behind.
static ibx_val turn_valid(ibx_call *call, ibx_val x, int64_t axis,
                          ibx_val real) {
  ibx_val line = ibx_emit_iota(call, ibx_dim(call, x, axis));
  ibx_val back =
      ibx_emit_binary(call, IBX_TENSOR_sub, real, ibx_emit_long(call, 1));
  back = ibx_emit_binary(call, IBX_TENSOR_sub, back, line);
  back = ibx_emit_binary(call, IBX_TENSOR_max, back, ibx_emit_long(call, 0));
  return ibx_emit_gather(call, x, back, axis);
}

// Slice t of a tensor; of an empty one what a slice would look like.
static ibx_val scanned_slice(ibx_call *call, const scanned *s,
                             const stretch *way, int64_t t) {
  if (way->length > 0) {
    bool turns = s->backwards && way->real == IBX_NO_VALUE;
    return ibx_emit_at(call, s->x, s->axis, turns ? way->length - 1 - t : t);
  }
  ibx_ints shape = ibx_shape_of(call, s->x), thin = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i != s->axis) thin.at[thin.len++] = shape.at[i];
  }
  return ibx_emit_broadcast(call, ibx_emit_like(call, s->x, 0), thin);
}

// a where the flag is set, else b; of a flag that is known one of them.
static ibx_val choose(ibx_call *call, ibx_val flag, ibx_val a, ibx_val b) {
  const ibx_tensor *known = ibx_force(call->import, flag);
  if (!known) return ibx_emit_choice(call, flag, a, b);
  return ibx_tensor_int(known, 0) != 0 ? a : b;
}

// A slice that does not count leaves the states as they were.
static void end_slice(ibx_loop *l, const stretch *way, size_t states,
                      int64_t t) {
  ibx_call *call = l->call;
  ibx_val flag = IBX_NO_VALUE;
  if (way->real != IBX_NO_VALUE) {
    flag = ibx_emit_binary(call, IBX_TENSOR_less, ibx_emit_long(call, t),
                           way->real);
  }
  for (size_t i = 0; i < l->out_count && !call->failed; i++) {
    ibx_val given = l->out[i];
    if (i < states) {
      l->in[i] =
          flag == IBX_NO_VALUE ? given : choose(call, flag, given, l->in[i]);
    } else if (way->pads) {
      ibx_val zeros = ibx_emit_broadcast(call, ibx_emit_like(call, given, 0),
                                         ibx_shape_of(call, given));
      l->out[i] = choose(call, flag, given, zeros);
    }
  }
}

// All trips, at least one; `l->in` begins with the states, before and after.
static void run_scan(ibx_loop *l, scanned *tensors, size_t count,
                     const stretch *way, const char *prefix) {
  ibx_call *call = l->call;
  size_t states = l->in_count - count;
  l->trips = 0;
  for (size_t i = 0; i < count && way->real != IBX_NO_VALUE; i++) {
    scanned *s = &tensors[i];
    s->x = ibx_set_extent(call, s->x, s->axis, IBX_NO_VALUE);
    if (s->backwards) s->x = turn_valid(call, s->x, s->axis, way->real);
  }
  int64_t trips = way->length > 0 ? way->length : 1;
  for (int64_t t = 0; t < trips && !call->failed; t++) {
    for (size_t i = 0; i < count; i++)
      l->in[states + i] = scanned_slice(call, &tensors[i], way, t);
    ibx_loop_run(l, ibx_import_trip(call->import, prefix, (uint64_t)t));
    if (!call->failed && way->length > 0) end_slice(l, way, states, t);
  }
}

// Output `index` of a scan.
static ibx_val join_slices(ibx_loop *l, const stretch *way, size_t index,
                           int64_t axis, bool backwards) {
  ibx_call *call = l->call;
  bool is_open = way->real != IBX_NO_VALUE && !way->pads;
  ibx_val y = ibx_loop_join(l, index, axis, backwards && !is_open);
  if (call->failed) return y;
  if (way->length == 0) return ibx_emit_slice(call, y, axis, 0, 0, 1);
  if (!is_open) return y;
  if (backwards) y = turn_valid(call, y, axis, way->real);
  return ibx_set_extent(call, y, axis, way->real);
}

// Puts the first dimension of a list where the node wants it.
static ibx_val place_axis(ibx_call *call, ibx_val list, int64_t axis) {
  ibx_ints perm = {.len = (uint8_t)ibx_rank(call, list)};
  for (uint8_t i = 0; i < perm.len; i++)
    perm.at[i] = i == axis ? 0 : i < axis ? i + 1 : i;
  return axis == 0 ? list : ibx_emit_transpose(call, list, perm);
}

static bool keeps_types(ibx_loop *l, size_t states) {
  ibx_call *call = l->call;
  bool same = true;
  for (size_t i = 0; i < states && same; i++) {
    same = ibx_types_equal(ibx_type_of(call, l->in[i]),
                           ibx_type_of(call, l->out[i]));
  }
  return ibx_call_expect(call, same, "body", "changes the type of a state");
}

// The host repeats the body; `l->out` gets what the node gives.
static void repeat_scan(ibx_loop *l, const scanned *tensors, size_t count,
                        const stretch *way) {
  ibx_call *call = l->call;
  ibx_repeat r;
  size_t states = l->in_count - count;
  ibx_repeat_begin(&r, call, ibx_emit_long(call, way->length), IBX_NO_VALUE,
                   l->in, states);
  for (size_t i = 0; i < count; i++) {
    l->in[states + i] =
        ibx_repeat_row(&r, tensors[i].x, tensors[i].axis, tensors[i].backwards);
  }
  ibx_loop_run(l, ibx_trip_name(call, 0));
  if (call->failed || !keeps_types(l, states)) return;
  ibx_repeat_end(&r, IBX_NO_VALUE, l->out, l->out_count, way->length);
  for (size_t i = states; i < l->out_count && !call->failed; i++) {
    int64_t axis = ibx_axis(call, attr_at(call, "scan_output_axes", i - states),
                            ibx_rank(call, l->out[i]));
    bool turns = attr_at(call, "scan_output_directions", i - states) != 0;
    ibx_val list = ibx_turn(call, l->out[i], turns);
    if (!call->failed) l->out[i] = place_axis(call, list, axis);
  }
  for (size_t i = 0; i < l->out_count && !call->failed; i++)
    ibx_out(call, i, l->out[i]);
}

// How many of `inputs` are scanned; 0 when the node is wrong.
static size_t read_scan_count(ibx_call *call, size_t inputs) {
  int64_t count = ibx_attr_int(call, "num_scan_inputs", 0);
  bool fits = count >= 1 && (uint64_t)count <= inputs &&
              inputs - (size_t)count <= call->out_count;
  if (!ibx_call_expect(call, fits, "num_scan_inputs",
                       "does not fit the inputs and outputs")) {
    return 0;
  }
  return (size_t)count;
}

void ibx_import_op_scan(ibx_call *call) {
  size_t count = read_scan_count(call, call->in_count);
  ibx_loop l;
  stretch way;
  if (count == 0 || !ibx_has_inputs(call, 0) ||
      !ibx_loop_init(&l, call, call->in_count, call->out_count)) {
    return;
  }
  size_t states = call->in_count - count;
  scanned *tensors = IBX_ARENA_ARRAY(&call->import->scratch, count, scanned);
  for (size_t i = 0; i < count; i++) {
    ibx_val x = ibx_in(call, states + i);
    tensors[i] =
        (scanned){.x = x,
                  .axis = ibx_axis(call, attr_at(call, "scan_input_axes", i),
                                   ibx_rank(call, x)),
                  .backwards = attr_at(call, "scan_input_directions", i) != 0};
  }
  if (call->failed || !read_stretch(call, tensors, count, &way)) return;
  for (size_t i = 0; i < states; i++)
    l.in[i] = ibx_in(call, i);
  if (is_long(&way) && way.real == IBX_NO_VALUE) {
    repeat_scan(&l, tensors, count, &way);
    return;
  }
  if (!expect_short(call, &way)) return;
  run_scan(&l, tensors, count, &way,
           ibx_arena_format(call->import->arena, "%s/", call->at.node));
  for (size_t i = 0; i < states && !call->failed; i++)
    ibx_out(call, i, l.in[i]);
  for (size_t i = states; i < call->out_count && !call->failed; i++) {
    int64_t axis = ibx_axis(call, attr_at(call, "scan_output_axes", i - states),
                            ibx_rank(call, l.given[0][i]) + 1);
    bool backwards = attr_at(call, "scan_output_directions", i - states) != 0;
    if (call->failed) return;
    ibx_out(call, i, join_slices(&l, &way, i, axis, backwards));
  }
}

// How long sequence `b` is.
static void read_sequence(ibx_call *call, int64_t b, stretch *way) {
  if (!ibx_has_in(call, 0)) return;
  ibx_val lengths = ibx_in(call, 0);
  way->real =
      ibx_emit_cast(call, ibx_emit_at(call, lengths, 0, b), IBX_DTYPE_I64);
  way->pads = true;
}

// Opset 8 scans each element of a batch by itself, and has the length of each
// sequence as its first input.
void ibx_import_op_scan_8(ibx_call *call) {
  if (!ibx_call_expect(call, call->in_count >= 2, "scan_inputs",
                       "are absent")) {
    return;
  }
  size_t inputs = call->in_count - 1, count = read_scan_count(call, inputs);
  size_t states = inputs - count;
  ibx_loop l;
  stretch way;
  if (count == 0 || !ibx_loop_init(&l, call, inputs, call->out_count)) return;
  ibx_arena *scratch = &call->import->scratch;
  int64_t batch = ibx_dim(call, ibx_in(call, 1), 0);
  for (size_t i = ibx_has_in(call, 0) ? 0 : 1; i < call->in_count; i++) {
    bool fits = ibx_has_in(call, i) && ibx_rank(call, ibx_in(call, i)) >= 1 &&
                ibx_dim(call, ibx_in(call, i), 0) == batch;
    if (!ibx_call_expect(call, fits, "scan_inputs", "differ in the batch")) {
      return;
    }
  }
  if (batch < 1 || batch > IBX_MOST_TRIPS) {
    ibx_call_refuse(call, "scan_inputs", "a batch of %" PRId64, batch);
    return;
  }
  scanned *tensors = IBX_ARENA_ARRAY(scratch, count, scanned);
  ibx_val **results = IBX_ARENA_ARRAY(scratch, call->out_count, ibx_val *);
  for (size_t i = 0; i < call->out_count; i++)
    results[i] = IBX_ARENA_ARRAY(scratch, (size_t)batch, ibx_val);
  for (int64_t b = 0; b < batch && !call->failed; b++) {
    for (size_t i = 0; i < states; i++)
      l.in[i] = ibx_emit_at(call, ibx_in(call, i + 1), 0, b);
    for (size_t i = 0; i < count; i++) {
      tensors[i] =
          (scanned){.x = ibx_emit_at(call, ibx_in(call, states + i + 1), 0, b),
                    .backwards = attr_at(call, "directions", i) != 0};
    }
    if (call->failed || !read_stretch(call, tensors, count, &way) ||
        !expect_short(call, &way)) {
      return;
    }
    read_sequence(call, b, &way);
    run_scan(&l, tensors, count, &way, ibx_trip_name(call, (size_t)b));
    for (size_t i = 0; i < call->out_count && !call->failed; i++) {
      results[i][b] = i < states ? l.in[i] : join_slices(&l, &way, i, 0, false);
    }
  }
  for (size_t i = 0; i < call->out_count && !call->failed; i++)
    ibx_out(call, i, ibx_join_slices(call, results[i], (size_t)batch, 0));
}
