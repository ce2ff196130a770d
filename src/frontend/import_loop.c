// SPDX-License-Identifier: Apache-2.0
//
// Imports Loop and Scan, unrolled. Comes in: a body, values that it hands from
// one trip to the next, and for Scan tensors that it reads slice by slice. Goes
// out: the body once for each trip, whose number and slices are constants in
// it, and the slices that it gave, joined. Holds afterwards: the number of trips
// was known here, so that no shape depends on data.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>

enum { MOST_TRIPS = 1024 };

// What one trip leaves behind.
typedef struct loop {
  ibx_call *call;
  const Onnx__GraphProto *body;
  ibx_val *in, *out; // of the body
  size_t in_count, out_count;
  size_t trips, room;
  ibx_val **given; // outputs of each trip
  bool may_bundle; // values may be sequences and optionals
} loop;

static bool init_loop(loop *l, ibx_call *call, size_t in_count,
                      size_t out_count) {
  ibx_arena *scratch = &call->import->scratch;
  *l = (loop){.call = call, .in_count = in_count, .out_count = out_count};
  l->body = ibx_attr_graph(call, "body");
  if (call->failed) return false;
  if (!l->body) {
    ibx_call_fail(call, IBX_DIAG_MISSING_ATTRIBUTE, "body", "add the body",
                  "%s needs a body", call->at.op);
    return false;
  }
  bool fits = l->body->n_input == in_count && l->body->n_output == out_count;
  if (!ibx_call_expect(call, fits, "body",
                       "has another number of inputs or outputs than the "
                       "node")) {
    return false;
  }
  l->in = IBX_ARENA_ARRAY(scratch, in_count, ibx_val);
  return true;
}

static void make_room(loop *l) {
  ibx_arena *scratch = &l->call->import->scratch;
  if (l->trips < l->room) return;
  size_t room = l->room == 0 ? 4 : 2 * l->room;
  ibx_val **larger = IBX_ARENA_ARRAY(scratch, room, ibx_val *);
  for (size_t i = 0; i < l->trips; i++)
    larger[i] = l->given[i];
  l->given = larger;
  l->room = room;
}

// One trip, whose outputs are kept.
static void run_trip(loop *l, const char *prefix) {
  make_room(l);
  l->out = IBX_ARENA_ARRAY(&l->call->import->scratch, l->out_count, ibx_val);
  l->given[l->trips] = l->out;
  ibx_body_ports ports = {.in = l->in,
                          .out = l->out,
                          .in_count = l->in_count,
                          .out_count = l->out_count,
                          .may_bundle = l->may_bundle};
  ibx_import_body(l->call, l->body, ports, prefix);
  if (!l->call->failed) l->trips++;
}

static const char *trip_name(ibx_call *call, size_t trip) {
  const char *prefix =
      ibx_arena_format(call->import->arena, "%s/", call->at.node);
  return ibx_import_trip(call->import, prefix, trip);
}

static ibx_val add_axis(ibx_call *call, ibx_val x, int64_t axis) {
  ibx_ints shape = ibx_shape_of(call, x), wide = {0};
  if (shape.len == IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, NULL,
                  "use tensors of at most 7 dimensions in the body",
                  "slices of 8 dimensions cannot be joined");
    return x;
  }
  int8_t from[IBX_MAX_RANK] = {0};
  for (uint8_t i = 0; i <= shape.len; i++) {
    if (i == axis) {
      from[wide.len] = -1;
      wide.at[wide.len++] = 1;
    }
    if (i == shape.len) continue;
    from[wide.len] = (int8_t)i;
    wide.at[wide.len++] = shape.at[i];
  }
  return ibx_emit_units(call, x, wide, from);
}

static ibx_val join(ibx_call *call, ibx_val *parts, size_t count,
                    int64_t axis) {
  for (size_t i = 0; i < count; i++) {
    bool is_tensor = parts[i] != IBX_NO_VALUE && !ibx_is_bundle(parts[i]);
    if (!ibx_call_expect(call, is_tensor, "body",
                         "joins slices that are no tensors")) {
      return parts[i];
    }
    parts[i] = add_axis(call, parts[i], axis);
  }
  return call->failed ? parts[0] : ibx_emit_concat(call, parts, count, axis);
}

// What is joined over the trips must be tensors: outputs of the body from
// `first` on, and the condition.
static bool expect_tensors(const loop *l, size_t first) {
  bool fine = ibx_expect_tensor(l->call, l->out[0], "cond");
  for (size_t i = first; fine && i < l->out_count; i++)
    fine = ibx_expect_tensor(l->call, l->out[i], "scan_outputs");
  return fine;
}

// Output `index` of all trips, along a new dimension.
static ibx_val join_trips(const loop *l, size_t index, int64_t axis,
                          bool backwards) {
  ibx_arena *scratch = &l->call->import->scratch;
  ibx_val *parts = IBX_ARENA_ARRAY(scratch, l->trips, ibx_val);
  for (size_t i = 0; i < l->trips; i++) {
    parts[i] = l->given[backwards ? l->trips - 1 - i : i][index];
  }
  return join(l->call, parts, l->trips, axis);
}

static bool has_inputs(ibx_call *call, size_t from) {
  for (size_t i = from; i < call->in_count; i++) {
    if (!ibx_call_expect(call, ibx_has_in(call, i), call->at.op,
                         "lacks an input")) {
      return false;
    }
  }
  return true;
}

// --- Loop --------------------------------------------------------------------

// How far a loop goes.
typedef struct course {
  int64_t most;      // trips
  ibx_val trips;     // where the data decide it: how many, at most
  ibx_val condition; // of the next trip, or IBX_NO_VALUE: true
  ibx_val active;    // whether this trip counts, or IBX_NO_VALUE: it does
  ibx_val counted;   // trips that did, where some may not
} course;

static ibx_val both(ibx_call *call, ibx_val a, ibx_val b) {
  if (a == IBX_NO_VALUE || b == IBX_NO_VALUE) return a == IBX_NO_VALUE ? b : a;
  return ibx_emit_binary(call, IBX_TENSOR_and, a, b);
}

// Whether another trip follows, or may. The condition may be absent: then it is
// true.
static bool goes_on(loop *l, course *c) {
  ibx_call *call = l->call;
  if ((int64_t)l->trips >= c->most || call->failed) return false;
  ibx_val open = IBX_NO_VALUE;
  if (c->condition != IBX_NO_VALUE) {
    const ibx_tensor *known = ibx_force(call->import, c->condition);
    bool is_one = ibx_elements(ibx_type_of(call, c->condition)) == 1;
    if (!ibx_call_expect(call, is_one, "cond", "needs one element")) {
      return false;
    }
    if (known && ibx_tensor_int(known, 0) == 0) return false;
    if (!known) open = ibx_emit_reshape(call, c->condition, (ibx_ints){0});
  }
  if (c->trips != IBX_NO_VALUE) {
    ibx_val number = ibx_emit_long(call, (int64_t)l->trips);
    open = both(call, open,
                ibx_emit_binary(call, IBX_TENSOR_less, number, c->trips));
  }
  c->active = both(call, c->active, open);
  if (c->active != IBX_NO_VALUE && c->most > MOST_TRIPS) {
    ibx_call_refuse(call, "M",
                    "a loop whose end depends on the data, of more than %d "
                    "trips",
                    MOST_TRIPS);
  } else if (l->trips == MOST_TRIPS) {
    ibx_call_refuse(call, "M", "a loop of more than %d trips", MOST_TRIPS);
  }
  return !call->failed;
}

static course read_course(ibx_call *call) {
  course c = {.most = INT64_MAX,
              .trips = IBX_NO_VALUE,
              .condition = ibx_in(call, 1),
              .active = IBX_NO_VALUE,
              .counted = IBX_NO_VALUE};
  if (!ibx_has_in(call, 0)) return c;
  ibx_bounded most;
  if (!ibx_bounded_dims(call, 0, "M", &most) ||
      !ibx_call_expect(call, most.most.len == 1, "M", "needs one element")) {
    return c;
  }
  c.most = most.most.at[0];
  c.trips = most.real[0];
  return c;
}

// Takes over what a trip gave, where it counts.
static void end_trip(loop *l, course *c, size_t carried) {
  ibx_call *call = l->call;
  for (size_t i = 0; i < carried; i++) {
    ibx_val given = l->out[i + 1];
    l->in[i + 2] = c->active == IBX_NO_VALUE
                       ? given
                       : ibx_emit_choice(call, c->active, given, l->in[i + 2]);
  }
  c->condition = l->out[0];
  if (c->active == IBX_NO_VALUE) return;
  if (c->counted == IBX_NO_VALUE) {
    c->counted = ibx_emit_long(call, (int64_t)l->trips - 1);
  }
  ibx_val one = ibx_emit_cast(call, c->active, IBX_DTYPE_I64);
  ibx_val sum = ibx_emit_binary(call, IBX_TENSOR_add, c->counted, one);
  ibx_set_bounds(call, sum, ibx_emit_long(call, 0),
                 ibx_emit_long(call, (int64_t)l->trips));
  c->counted = sum;
}

// The slices of a loop without trips: none, of what its body would give. The
// body is imported for their types, and nothing reads its nodes.
static void out_nothing(loop *l, size_t carried) {
  ibx_call *call = l->call;
  int64_t number = 0;
  l->in[0] = ibx_emit_longs(call, (ibx_ints){0}, &number);
  l->in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
  run_trip(l, trip_name(call, 0));
  for (size_t i = carried; i < call->out_count && !call->failed; i++) {
    ibx_val one = join_trips(l, i + 1, 0, false);
    if (call->failed) return;
    ibx_out(call, i, ibx_emit_slice(call, one, 0, 0, 0, 1));
  }
}

void ibx_import_op_loop(ibx_call *call) {
  size_t carried = call->in_count < 2 ? 0 : call->in_count - 2;
  loop l;
  if (!ibx_call_expect(call, call->out_count >= carried, "v_initial",
                       "has more values than the node has outputs") ||
      !has_inputs(call, 2) ||
      !init_loop(&l, call, carried + 2, call->out_count + 1)) {
    return;
  }
  l.may_bundle = true;
  for (size_t i = 0; i < 2; i++) {
    if (!ibx_expect_tensor(call, ibx_in(call, i), i ? "cond" : "M")) return;
  }
  course c = read_course(call);
  for (size_t i = 0; i < carried; i++)
    l.in[i + 2] = ibx_in(call, i + 2);
  while (goes_on(&l, &c)) {
    int64_t number = (int64_t)l.trips;
    l.in[0] = ibx_emit_longs(call, (ibx_ints){0}, &number);
    l.in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
    run_trip(&l, trip_name(call, l.trips));
    if (!call->failed && expect_tensors(&l, carried + 1)) {
      end_trip(&l, &c, carried);
    }
  }
  // A constant end would need no choice.
  bool may_help = c.active != IBX_NO_VALUE && ibx_has_in(call, 1);
  if (call->failed && may_help) ibx_ask_constant(call, 1, "cond");
  if (call->failed) return;
  if (c.active != IBX_NO_VALUE) {
    ibx_diag_slow(call->import->sink, IBX_DIAG_COMPUTES_ALL, call->at,
                  "give a smaller M, or what ends the loop with --constant",
                  "only the run tells where it ends: all %zu trips that there "
                  "can be are computed",
                  l.trips);
  }
  for (size_t i = 0; i < carried; i++)
    ibx_out(call, i, l.in[i + 2]);
  if (l.trips == 0) {
    out_nothing(&l, carried);
    return;
  }
  for (size_t i = carried; i < call->out_count && !call->failed; i++) {
    ibx_val joined = join_trips(&l, i + 1, 0, false);
    if (c.counted != IBX_NO_VALUE && !call->failed) {
      joined = ibx_set_extent(call, joined, 0, c.counted);
    }
    ibx_out(call, i, joined);
  }
}

// --- Scan --------------------------------------------------------------------

// Entry `index` of a list with one number for each port; absent ones count 0.
static int64_t attr_at(ibx_call *call, const char *name, size_t index) {
  const Onnx__AttributeProto *list = ibx_attr(call, name);
  return list && index < list->n_ints ? list->ints[index] : 0;
}

static ibx_val slice_at(ibx_call *call, ibx_val x, int64_t axis,
                        int64_t index) {
  ibx_ints shape = ibx_shape_of(call, x), thin = {0};
  for (uint8_t i = 0; i < shape.len; i++) {
    if (i != axis) thin.at[thin.len++] = shape.at[i];
  }
  x = ibx_emit_slice(call, x, axis, index, 1, 1);
  return ibx_emit_reshape(call, x, thin);
}

// The tensors that are read by slices.
typedef struct scanned {
  ibx_val x;
  int64_t axis;
  bool backwards;
} scanned;

static bool check_length(ibx_call *call, const scanned *tensors, size_t count,
                         int64_t *out_length) {
  int64_t length = ibx_dim(call, tensors[0].x, tensors[0].axis);
  for (size_t i = 1; i < count; i++) {
    bool same = ibx_dim(call, tensors[i].x, tensors[i].axis) == length;
    if (!ibx_call_expect(call, same, "scan_inputs", "differ in length")) {
      return false;
    }
  }
  if (length < 1 || length > MOST_TRIPS) {
    ibx_call_refuse(call, "scan_inputs", "a scan of %" PRId64 " slices",
                    length);
    return false;
  }
  *out_length = length;
  return !call->failed;
}

// All trips; `l->in` begins with the states, before and after.
static void run_scan(loop *l, const scanned *tensors, size_t count,
                     int64_t length, const char *prefix) {
  size_t states = l->in_count - count;
  l->trips = 0;
  for (int64_t t = 0; t < length && !l->call->failed; t++) {
    for (size_t i = 0; i < count; i++) {
      int64_t index = tensors[i].backwards ? length - 1 - t : t;
      l->in[states + i] =
          slice_at(l->call, tensors[i].x, tensors[i].axis, index);
    }
    run_trip(l, ibx_import_trip(l->call->import, prefix, (uint64_t)t));
    for (size_t i = 0; i < states && !l->call->failed; i++)
      l->in[i] = l->out[i];
  }
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
  loop l;
  int64_t length = 0;
  if (count == 0 || !has_inputs(call, 0) ||
      !init_loop(&l, call, call->in_count, call->out_count)) {
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
  if (call->failed || !check_length(call, tensors, count, &length)) return;
  for (size_t i = 0; i < states; i++)
    l.in[i] = ibx_in(call, i);
  run_scan(&l, tensors, count, length,
           ibx_arena_format(call->import->arena, "%s/", call->at.node));
  for (size_t i = 0; i < states && !call->failed; i++)
    ibx_out(call, i, l.in[i]);
  for (size_t i = states; i < call->out_count && !call->failed; i++) {
    int64_t axis = ibx_axis(call, attr_at(call, "scan_output_axes", i - states),
                            ibx_rank(call, l.given[0][i]) + 1);
    bool backwards = attr_at(call, "scan_output_directions", i - states) != 0;
    ibx_out(call, i, join_trips(&l, i, axis, backwards));
  }
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
  loop l;
  int64_t length = 0;
  if (count == 0 || !init_loop(&l, call, inputs, call->out_count)) return;
  if (ibx_has_in(call, 0)) {
    ibx_call_refuse(call, "sequence_lens", "sequences of different lengths");
    return;
  }
  ibx_arena *scratch = &call->import->scratch;
  int64_t batch = ibx_dim(call, ibx_in(call, 1), 0);
  for (size_t i = 1; i < call->in_count; i++) {
    bool fits = ibx_has_in(call, i) && ibx_rank(call, ibx_in(call, i)) >= 1 &&
                ibx_dim(call, ibx_in(call, i), 0) == batch;
    if (!ibx_call_expect(call, fits, "scan_inputs", "differ in the batch")) {
      return;
    }
  }
  if (batch < 1 || batch > MOST_TRIPS) {
    ibx_call_refuse(call, "scan_inputs", "a batch of %" PRId64, batch);
    return;
  }
  scanned *tensors = IBX_ARENA_ARRAY(scratch, count, scanned);
  ibx_val **results = IBX_ARENA_ARRAY(scratch, call->out_count, ibx_val *);
  for (size_t i = 0; i < call->out_count; i++)
    results[i] = IBX_ARENA_ARRAY(scratch, (size_t)batch, ibx_val);
  for (int64_t b = 0; b < batch && !call->failed; b++) {
    for (size_t i = 0; i < states; i++)
      l.in[i] = slice_at(call, ibx_in(call, i + 1), 0, b);
    for (size_t i = 0; i < count; i++) {
      tensors[i] =
          (scanned){.x = slice_at(call, ibx_in(call, states + i + 1), 0, b),
                    .backwards = attr_at(call, "directions", i) != 0};
    }
    if (call->failed || !check_length(call, tensors, count, &length)) return;
    run_scan(&l, tensors, count, length, trip_name(call, (size_t)b));
    for (size_t i = 0; i < call->out_count && !call->failed; i++) {
      results[i][b] = i < states ? l.in[i] : join_trips(&l, i, 0, false);
    }
  }
  for (size_t i = 0; i < call->out_count && !call->failed; i++)
    ibx_out(call, i, join(call, results[i], (size_t)batch, 0));
}
