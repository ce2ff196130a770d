// SPDX-License-Identifier: Apache-2.0
//
// Imports Loop, unrolled. Comes in: a body, and values that it hands from one
// trip to the next. Goes out: the body once for each trip that there may be,
// whose number is a constant in it, and the slices that it gave, joined. Holds
// afterwards: a trip that does not count left its values as they were, and slices
// have an extent where the data decide how many trips do. A loop without a bound,
// or with a large one, is repeated by the host (import_repeat.c).

#include "frontend/import_loop.h"
#include "frontend/import_ops.h"

bool ibx_loop_init(ibx_loop *l, ibx_call *call, size_t in_count,
                   size_t out_count) {
  ibx_arena *scratch = &call->import->scratch;
  *l = (ibx_loop){.call = call, .in_count = in_count, .out_count = out_count};
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

static void make_room(ibx_loop *l) {
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
void ibx_loop_run(ibx_loop *l, const char *prefix) {
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

const char *ibx_trip_name(ibx_call *call, size_t trip) {
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

ibx_val ibx_join_slices(ibx_call *call, ibx_val *parts, size_t count,
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
static bool expect_tensors(const ibx_loop *l, size_t first) {
  bool fine = ibx_expect_tensor(l->call, l->out[0], "cond");
  for (size_t i = first; fine && i < l->out_count; i++)
    fine = ibx_expect_tensor(l->call, l->out[i], "scan_outputs");
  return fine;
}

// Output `index` of all trips, along a new dimension.
ibx_val ibx_loop_join(const ibx_loop *l, size_t index, int64_t axis,
                      bool backwards) {
  ibx_arena *scratch = &l->call->import->scratch;
  ibx_val *parts = IBX_ARENA_ARRAY(scratch, l->trips, ibx_val);
  for (size_t i = 0; i < l->trips; i++) {
    parts[i] = l->given[backwards ? l->trips - 1 - i : i][index];
  }
  return ibx_join_slices(l->call, parts, l->trips, axis);
}

bool ibx_has_inputs(ibx_call *call, size_t from) {
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
  bool is_long;      // too many to be unrolled
} course;

static ibx_val both(ibx_call *call, ibx_val a, ibx_val b) {
  if (a == IBX_NO_VALUE || b == IBX_NO_VALUE) return a == IBX_NO_VALUE ? b : a;
  return ibx_emit_binary(call, IBX_TENSOR_and, a, b);
}

// Whether another trip follows, or may. The condition may be absent: then it is
// true.
static bool goes_on(ibx_loop *l, course *c) {
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
  c->is_long = l->trips == IBX_MOST_TRIPS ||
               (c->active != IBX_NO_VALUE && c->most > IBX_MOST_TRIPS);
  return !call->failed && !c->is_long;
}

// Nothing tells how many trips there are at most.
static bool is_unbounded(const ibx_call *call) {
  ibx_val most = ibx_in(call, 0);
  return most != IBX_NO_VALUE && !ibx_is_known(call, most) &&
         !ibx_is_bounded(call, most);
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
static void end_trip(ibx_loop *l, course *c, size_t carried) {
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
static void out_nothing(ibx_loop *l, size_t carried) {
  ibx_call *call = l->call;
  int64_t number = 0;
  l->in[0] = ibx_emit_longs(call, (ibx_ints){0}, &number);
  l->in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
  ibx_loop_run(l, ibx_trip_name(call, 0));
  for (size_t i = carried; i < call->out_count && !call->failed; i++) {
    ibx_val one = ibx_loop_join(l, i + 1, 0, false);
    if (call->failed) return;
    ibx_out(call, i, ibx_emit_slice(call, one, 0, 0, 0, 1));
  }
}

void ibx_import_op_loop(ibx_call *call) {
  size_t carried = call->in_count < 2 ? 0 : call->in_count - 2;
  ibx_loop l;
  if (!ibx_call_expect(call, call->out_count >= carried, "v_initial",
                       "has more values than the node has outputs") ||
      !ibx_has_inputs(call, 2) ||
      !ibx_loop_init(&l, call, carried + 2, call->out_count + 1)) {
    return;
  }
  l.may_bundle = true;
  for (size_t i = 0; i < 2; i++) {
    if (!ibx_expect_tensor(call, ibx_in(call, i), i ? "cond" : "M")) return;
  }
  if (is_unbounded(call) && ibx_can_repeat(call)) {
    ibx_import_repeated(&l, carried);
    // With a constant it would be unrolled.
    if (call->failed) ibx_ask_constant(call, 0, "M");
    return;
  }
  course c = read_course(call);
  for (size_t i = 0; i < carried; i++)
    l.in[i + 2] = ibx_in(call, i + 2);
  while (goes_on(&l, &c)) {
    int64_t number = (int64_t)l.trips;
    l.in[0] = ibx_emit_longs(call, (ibx_ints){0}, &number);
    l.in[1] = ibx_emit_scalar(call, IBX_DTYPE_BOOL, 1);
    ibx_loop_run(&l, ibx_trip_name(call, l.trips));
    if (!call->failed && expect_tensors(&l, carried + 1)) {
      end_trip(&l, &c, carried);
    }
  }
  if (c.is_long) {
    ibx_import_repeated(&l, carried); // the trips so far are read by nobody
    return;
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
    ibx_val joined = ibx_loop_join(&l, i + 1, 0, false);
    if (c.counted != IBX_NO_VALUE && !call->failed) {
      joined = ibx_set_extent(call, joined, 0, c.counted);
    }
    ibx_out(call, i, joined);
  }
}
