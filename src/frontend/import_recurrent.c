// SPDX-License-Identifier: Apache-2.0
//
// Imports RNN, GRU and LSTM, unrolled. Comes in: a sequence [T, B, I] or
// [B, T, I] and the weights of each direction. Goes out: for each direction one
// product of the whole sequence with the input weights, then its steps
// (recurrent_cell.h). A sequence that has ended keeps its state: a comparison
// with its length, which may be known only at run time, chooses between old and
// new. Of a long one the host repeats chunks, each of which is unrolled.
//
// Weights may be integers of 8 bits: then what they are multiplied with is
// quantised by the range that it has, all steps of the sequence at once, the
// state at each step.

#include "frontend/import_ops.h"
#include "frontend/import_repeat.h"
#include "frontend/recurrent_cell.h"

#include <string.h>

enum {
  MOST_STEPS = 1024, // that are unrolled
  CHUNK = 128,       // of those that are not
  FIRST_SCALE = 8 // of the input weights; then zero point, those of the others
};

typedef struct recurrent {
  ibx_val x;       // [T, B, I]
  ibx_val lengths; // [B, 1], or IBX_NO_VALUE
  int64_t steps, batch, hidden, gates;
  size_t directions, activations;
  bool backwards; // the first direction
  bool batch_first;
  bool quantised;   // weights are [I, gates * H], with scales and zero points
  size_t initial_c; // input numbers, 0: none
  size_t peepholes;
  ibx_cell_step step;
} recurrent;

static bool is_long(const recurrent *r) { return r->steps > MOST_STEPS; }

// --- one direction -----------------------------------------------------------

// Part `direction` of a tensor that has the directions first, without them.
static ibx_val of_direction(ibx_call *call, ibx_val x, size_t direction) {
  ibx_ints shape = ibx_shape_of(call, x);
  x = ibx_emit_slice(call, x, 0, (int64_t)direction, 1, 1);
  return ibx_emit_reshape(call, x, ibx_make_ints(shape.at + 1, shape.len - 1u));
}

// Weights of input 1 or 2; of integers, the scale and the zero point of that
// direction, one number each or one for each column.
static ibx_cell_matrix read_matrix(ibx_call *call, const recurrent *r,
                                   size_t input, size_t direction) {
  ibx_cell_matrix m = {of_direction(call, ibx_in(call, input), direction),
                       IBX_NO_VALUE, IBX_NO_VALUE};
  if (!r->quantised) {
    m.values = ibx_emit_swap(call, m.values, 0, 1);
    return m;
  }
  size_t first = input == 1 ? FIRST_SCALE : FIRST_SCALE + 2;
  m.scale = of_direction(call, ibx_in(call, first), direction);
  m.zero = of_direction(call, ibx_in(call, first + 1), direction);
  return m;
}

// What is quantised with the rest must not widen its range: steps behind the
// longest sequence are 0.
static ibx_val hide_rest(ibx_call *call, const recurrent *r) {
  if (!r->quantised || r->lengths == IBX_NO_VALUE) return r->x;
  ibx_val most = ibx_emit_reduce(call, IBX_TENSOR_reduce_max, r->lengths,
                                 IBX_INTS(0, 1), false);
  ibx_val steps = ibx_emit_reshape(call, ibx_emit_iota(call, r->steps),
                                   IBX_INTS(r->steps, 1, 1));
  steps = ibx_emit_cast(call, steps, ibx_dtype_of(call, r->lengths));
  return ibx_emit_select(call,
                         ibx_emit_binary(call, IBX_TENSOR_less, steps, most),
                         r->x, ibx_emit_like(call, r->x, 0));
}

// The sequence times the input weights plus the biases: [T, B, gates * H]. What
// the reset gate acts on keeps its bias to itself.
static ibx_val emit_inputs(ibx_call *call, const recurrent *r, ibx_cell *c,
                           size_t direction) {
  ibx_val x = hide_rest(call, r);
  ibx_val all = ibx_cell_multiply(call, x, read_matrix(call, r, 1, direction));
  int64_t width = r->gates * r->hidden;
  c->recurrent_bias = IBX_NO_VALUE;
  if (!ibx_has_in(call, 3)) return all;
  ibx_val bias = of_direction(call, ibx_in(call, 3), direction);
  ibx_val inner = ibx_emit_slice(call, bias, 0, width, width, 1);
  bias = ibx_emit_slice(call, bias, 0, 0, width, 1);
  if (c->resets_last) {
    int64_t outer = width - r->hidden;
    c->recurrent_bias = ibx_emit_slice(call, inner, 0, outer, r->hidden, 1);
    inner = ibx_emit_slice(call, inner, 0, 0, outer, 1);
    inner = ibx_emit_pad(call, inner, IBX_INTS(0), IBX_INTS(r->hidden), 0);
  }
  bias = ibx_emit_binary(call, IBX_TENSOR_add, bias, inner);
  return ibx_emit_binary(call, IBX_TENSOR_add, all, bias);
}

static void read_peepholes(ibx_call *call, const recurrent *r, ibx_cell *c,
                           size_t direction) {
  bool has = r->peepholes != 0 && ibx_has_in(call, r->peepholes);
  ibx_val all =
      has ? of_direction(call, ibx_in(call, r->peepholes), direction) : 0;
  for (int64_t i = 0; i < 3; i++) {
    c->peephole[i] =
        has ? ibx_emit_slice(call, all, 0, i * r->hidden, r->hidden, 1)
            : IBX_NO_VALUE;
  }
}

static ibx_val initial(ibx_call *call, const recurrent *r, size_t input,
                       size_t direction) {
  if (input == 0 || !ibx_has_in(call, input)) {
    ibx_val zero = ibx_emit_like(call, r->x, 0);
    return ibx_emit_broadcast(call, zero, IBX_INTS(r->batch, r->hidden));
  }
  ibx_val x = ibx_in(call, input);
  if (r->batch_first) x = ibx_emit_swap(call, x, 0, 1);
  return of_direction(call, x, direction);
}

// A part of a sequence, [T, B, gates * H], of which the first step is number
// `first` (of the dtype of the lengths; IBX_NO_VALUE: 0).
typedef struct part {
  ibx_val inputs, first;
  int64_t steps;
  bool backwards;
} part;

// What the step before a part gave: a state, or 0 where its sequence had ended.
static ibx_val last_output(ibx_call *call, const recurrent *r, const part *p,
                           ibx_val h) {
  if (r->lengths == IBX_NO_VALUE || p->first == IBX_NO_VALUE) return h;
  ibx_val number = ibx_emit_binary(call, IBX_TENSOR_sub, p->first,
                                   ibx_emit_like(call, r->lengths, 1));
  ibx_val ran = ibx_emit_binary(call, IBX_TENSOR_less, number, r->lengths);
  return ibx_emit_select(call, ran, h, ibx_emit_like(call, r->x, 0));
}

// Runs the steps of a part; `out` gets the outputs by time, [B, H] each.
static void run_part(ibx_call *call, const recurrent *r, const ibx_cell *c,
                     const part *p, ibx_cell_state *s, ibx_val *out) {
  ibx_val zero = ibx_emit_like(call, r->x, 0);
  for (int64_t i = 0; i < p->steps && !call->failed; i++) {
    int64_t t = p->backwards ? p->steps - 1 - i : i;
    ibx_cell_state before = *s;
    // The states of sequences that have ended must not, either.
    if (r->quantised && !p->backwards)
      s->h = i > 0 ? out[t - 1] : last_output(call, r, p, s->h);
    r->step(call, c, of_direction(call, p->inputs, (size_t)t), s);
    out[t] = s->h;
    if (r->lengths == IBX_NO_VALUE) continue;
    ibx_val number = ibx_emit_like(call, r->lengths, (double)t);
    if (p->first != IBX_NO_VALUE)
      number = ibx_emit_binary(call, IBX_TENSOR_add, number, p->first);
    ibx_val runs = ibx_emit_binary(call, IBX_TENSOR_less, number, r->lengths);
    out[t] = ibx_emit_select(call, runs, s->h, zero);
    s->h = ibx_emit_select(call, runs, s->h, before.h);
    s->c = ibx_emit_select(call, runs, s->c, before.c);
  }
}

// [T, B, H] out of its steps.
static ibx_val join_steps(ibx_call *call, const recurrent *r, ibx_val *steps,
                          int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    steps[i] =
        ibx_emit_reshape(call, steps[i], IBX_INTS(1, r->batch, r->hidden));
  }
  return ibx_emit_concat(call, steps, (size_t)count, 0);
}

// The numbers of the first steps of all chunks, of which the first begins with
// step `first`.
static ibx_val chunk_starts(ibx_call *call, const recurrent *r, int64_t chunks,
                            int64_t first) {
  ibx_val starts =
      ibx_emit_binary(call, IBX_TENSOR_mul, ibx_emit_iota(call, chunks),
                      ibx_emit_long(call, CHUNK));
  starts =
      ibx_emit_binary(call, IBX_TENSOR_add, starts, ibx_emit_long(call, first));
  return ibx_emit_cast(call, starts, ibx_dtype_of(call, r->lengths));
}

// The host repeats chunks of the steps, which begin with step `first`; the
// outputs are [chunks * CHUNK, B, H].
static ibx_val repeat_chunks(ibx_call *call, const recurrent *r,
                             const ibx_cell *c, const part *all, int64_t first,
                             ibx_cell_state *s) {
  ibx_ints shape = ibx_shape_of(call, all->inputs);
  int64_t chunks = all->steps / CHUNK;
  ibx_val steps[CHUNK], values[3] = {s->h, s->c}, starts = IBX_NO_VALUE;
  ibx_val parts = ibx_emit_reshape(
      call, all->inputs, IBX_INTS(chunks, CHUNK * shape.at[1] * shape.at[2]));
  if (r->lengths != IBX_NO_VALUE) starts = chunk_starts(call, r, chunks, first);
  ibx_repeat repeat;
  ibx_repeat_begin(&repeat, call, ibx_emit_long(call, chunks), IBX_NO_VALUE,
                   values, 2);
  ibx_val row = ibx_repeat_row(&repeat, parts, 0, all->backwards);
  part chunk = {.inputs = ibx_emit_reshape(
                    call, row, IBX_INTS(CHUNK, shape.at[1], shape.at[2])),
                .first = IBX_NO_VALUE,
                .steps = CHUNK,
                .backwards = all->backwards};
  if (starts != IBX_NO_VALUE)
    chunk.first = ibx_repeat_row(&repeat, starts, 0, all->backwards);
  *s = (ibx_cell_state){.h = values[0], .c = values[1]};
  run_part(call, r, c, &chunk, s, steps);
  if (call->failed) return all->inputs;
  values[0] = s->h;
  values[1] = s->c;
  values[2] = join_steps(call, r, steps, CHUNK);
  ibx_repeat_end(&repeat, IBX_NO_VALUE, values, 3, chunks);
  *s = (ibx_cell_state){.h = values[0], .c = values[1]};
  return ibx_emit_reshape(call, ibx_turn(call, values[2], all->backwards),
                          IBX_INTS(chunks * CHUNK, r->batch, r->hidden));
}

// Chunks, and behind them what is less than one: the first steps of a sequence
// that is read backwards. Returns the outputs, [T, B, H].
static ibx_val run_long(ibx_call *call, const recurrent *r, const ibx_cell *c,
                        const part *all, ibx_cell_state *s) {
  int64_t few = all->steps % CHUNK, most = all->steps - few;
  int64_t first_of_most = all->backwards ? few : 0;
  int64_t first_of_few = all->backwards ? 0 : most;
  size_t place = all->backwards && few != 0 ? 1 : 0;
  ibx_val steps[CHUNK], parts[2];
  part chunks = *all, rest = *all;
  chunks.steps = most;
  chunks.inputs = ibx_emit_slice(call, all->inputs, 0, first_of_most, most, 1);
  parts[place] = repeat_chunks(call, r, c, &chunks, first_of_most, s);
  if (few == 0 || call->failed) return parts[place];
  rest.steps = few;
  rest.inputs = ibx_emit_slice(call, all->inputs, 0, first_of_few, few, 1);
  if (r->lengths != IBX_NO_VALUE)
    rest.first = ibx_emit_like(call, r->lengths, (double)first_of_few);
  run_part(call, r, c, &rest, s, steps);
  if (call->failed) return all->inputs;
  parts[1 - place] = join_steps(call, r, steps, few);
  return ibx_emit_concat(call, parts, 2, 0);
}

// Runs all steps of a direction. Stores its outputs by time in `out`, [B, H]
// each; of a long sequence one tensor, [T, B, H].
static ibx_cell_state run_direction(ibx_call *call, const recurrent *r,
                                    ibx_cell *c, size_t direction,
                                    ibx_val *out) {
  part all = {.inputs = emit_inputs(call, r, c, direction),
              .first = IBX_NO_VALUE,
              .steps = r->steps,
              .backwards = direction == 1 || r->backwards};
  read_peepholes(call, r, c, direction);
  c->recurrent = read_matrix(call, r, 2, direction);
  ibx_cell_state s = {.h = initial(call, r, 5, direction),
                      .c = initial(call, r, r->initial_c, direction)};
  if (is_long(r)) {
    out[0] = run_long(call, r, c, &all, &s);
  } else {
    run_part(call, r, c, &all, &s, out);
  }
  return s;
}

// --- the operators -----------------------------------------------------------

static bool read_direction(ibx_call *call, recurrent *r) {
  const char *name = ibx_attr_text(call, "direction", "forward");
  r->backwards = strcmp(name, "reverse") == 0;
  r->directions = strcmp(name, "bidirectional") == 0 ? 2 : 1;
  bool known =
      r->backwards || r->directions == 2 || strcmp(name, "forward") == 0;
  if (!known) ibx_call_refuse(call, "direction", "direction = '%s'", name);
  return known && !call->failed;
}

static bool has_shape(const ibx_call *call, ibx_val x, ibx_ints shape) {
  ibx_ints own = ibx_shape_of(call, x);
  bool same = own.len == shape.len;
  for (uint8_t i = 0; same && i < own.len; i++)
    same = own.at[i] == shape.at[i];
  return same;
}

// Whether an optional input is absent or has the shape.
static bool input_fits(ibx_call *call, size_t index, ibx_ints shape,
                       const char *name) {
  return index == 0 || !ibx_has_in(call, index) ||
         ibx_call_expect(call, has_shape(call, ibx_in(call, index), shape),
                         name, "does not fit the other inputs");
}

// One number for each direction, or one for each column of it.
static bool scale_fits(ibx_call *call, const recurrent *r, size_t index,
                       const char *name) {
  ibx_ints own = ibx_shape_of(call, ibx_in(call, index));
  bool fits = own.len >= 1 && own.at[0] == (int64_t)r->directions;
  fits = fits &&
         (own.len == 1 || (own.len == 2 && own.at[1] == r->gates * r->hidden));
  return ibx_call_expect(call, fits, name, "does not fit the other inputs");
}

static bool quantised_weights_fit(ibx_call *call, const recurrent *r) {
  int64_t d = (int64_t)r->directions, wide = r->gates * r->hidden;
  return input_fits(call, 1, IBX_INTS(d, ibx_dim(call, r->x, 2), wide), "W") &&
         input_fits(call, 2, IBX_INTS(d, r->hidden, wide), "R") &&
         scale_fits(call, r, FIRST_SCALE, "W_scale") &&
         scale_fits(call, r, FIRST_SCALE + 1, "W_zero_point") &&
         scale_fits(call, r, FIRST_SCALE + 2, "R_scale") &&
         scale_fits(call, r, FIRST_SCALE + 3, "R_zero_point");
}

static bool weights_fit(ibx_call *call, const recurrent *r) {
  int64_t d = (int64_t)r->directions, wide = r->gates * r->hidden;
  if (r->quantised) return quantised_weights_fit(call, r);
  return input_fits(call, 1, IBX_INTS(d, wide, ibx_dim(call, r->x, 2)), "W") &&
         input_fits(call, 2, IBX_INTS(d, wide, r->hidden), "R");
}

static bool shapes_fit(ibx_call *call, const recurrent *r) {
  int64_t d = (int64_t)r->directions, h = r->hidden, wide = r->gates * h;
  ibx_ints start =
      r->batch_first ? IBX_INTS(r->batch, d, h) : IBX_INTS(d, r->batch, h);
  return weights_fit(call, r) &&
         input_fits(call, 3, IBX_INTS(d, 2 * wide), "B") &&
         input_fits(call, 4, IBX_INTS(r->batch), "sequence_lens") &&
         input_fits(call, 5, start, "initial_h") &&
         input_fits(call, r->initial_c, start, "initial_c") &&
         input_fits(call, r->peepholes, IBX_INTS(d, 3 * h), "P");
}

static bool read_recurrent(ibx_call *call, recurrent *r) {
  ibx_ints shape = ibx_shape_of(call, ibx_in(call, 0));
  r->x = ibx_in(call, 0);
  r->hidden = ibx_dim(call, ibx_in(call, 2), r->quantised ? 1 : 2);
  r->lengths = IBX_NO_VALUE;
  if (call->version >= 14) {
    r->batch_first = ibx_attr_flag(call, "layout", false);
  }
  int64_t hidden = ibx_attr_int(call, "hidden_size", r->hidden);
  if (call->version < 7) ibx_attr_ignore(call, "output_sequence");
  bool fits = shape.len == 3 && hidden == r->hidden && hidden >= 1 &&
              hidden <= INT32_MAX;
  if (!read_direction(call, r) ||
      !ibx_call_expect(call, fits, "X", "or hidden_size does not fit")) {
    return false;
  }
  if (r->batch_first) r->x = ibx_emit_swap(call, r->x, 0, 1);
  r->steps = ibx_dim(call, r->x, 0);
  r->batch = ibx_dim(call, r->x, 1);
  if (r->steps < 1) {
    ibx_call_refuse(call, "X", "a sequence of %lld steps", (long long)r->steps);
  }
  if (call->failed || !shapes_fit(call, r)) return false;
  if (ibx_has_in(call, 4)) {
    r->lengths = ibx_emit_reshape(call, ibx_in(call, 4), IBX_INTS(r->batch, 1));
  }
  return true;
}

// States of the directions, [D, B, H] or [B, D, H].
static ibx_val join_states(ibx_call *call, const recurrent *r,
                           const ibx_val *states) {
  ibx_val parts[2];
  for (size_t d = 0; d < r->directions; d++) {
    parts[d] =
        ibx_emit_reshape(call, states[d], IBX_INTS(1, r->batch, r->hidden));
  }
  ibx_val all = ibx_emit_concat(call, parts, r->directions, 0);
  return r->batch_first ? ibx_emit_swap(call, all, 0, 1) : all;
}

// Outputs of a long sequence as join_outputs() has them; `outputs` has the first
// tensor of each direction.
static ibx_val join_long(ibx_call *call, const recurrent *r,
                         const ibx_val *outputs) {
  ibx_val parts[2];
  for (size_t d = 0; d < r->directions; d++) {
    parts[d] = ibx_emit_reshape(call, outputs[d * (size_t)r->steps],
                                IBX_INTS(r->steps, 1, r->batch, r->hidden));
  }
  ibx_val all = ibx_emit_concat(call, parts, r->directions, 1);
  if (!r->batch_first) return all;
  return ibx_emit_transpose(call, all, IBX_INTS(2, 0, 1, 3));
}

// Outputs by time and direction, [T, D, B, H] or [B, T, D, H].
static ibx_val join_outputs(ibx_call *call, const recurrent *r,
                            const ibx_val *outputs) {
  if (is_long(r)) return join_long(call, r, outputs);
  size_t count = (size_t)r->steps * r->directions;
  ibx_val *parts = IBX_ARENA_ARRAY(&call->import->scratch, count, ibx_val);
  for (size_t i = 0; i < count; i++) {
    size_t t = i / r->directions, d = i % r->directions;
    parts[i] = ibx_emit_reshape(call, outputs[d * (size_t)r->steps + t],
                                IBX_INTS(1, r->batch, r->hidden));
  }
  ibx_val all = ibx_emit_concat(call, parts, count, 0);
  all = ibx_emit_reshape(
      call, all,
      IBX_INTS(r->steps, (int64_t)r->directions, r->batch, r->hidden));
  if (!r->batch_first) return all;
  return ibx_emit_transpose(call, all, IBX_INTS(2, 0, 1, 3));
}

static void import_recurrent(ibx_call *call, recurrent *r, ibx_cell model) {
  float clip = ibx_attr_float(call, "clip", 0);
  if (!read_recurrent(call, r)) return;
  model.hidden = r->hidden;
  model.clip = clip;
  ibx_cell cells[2] = {model, model};
  if (!ibx_cell_read_activations(call, cells, r->directions, r->activations))
    return;
  ibx_val *outputs = IBX_ARENA_ARRAY(&call->import->scratch,
                                     (size_t)r->steps * r->directions, ibx_val);
  ibx_val h[2], c[2];
  for (size_t d = 0; d < r->directions && !call->failed; d++) {
    ibx_cell_state last =
        run_direction(call, r, &cells[d], d, outputs + d * (size_t)r->steps);
    h[d] = last.h;
    c[d] = last.c;
  }
  if (call->failed) return;
  if (ibx_wants_out(call, 0)) ibx_out(call, 0, join_outputs(call, r, outputs));
  ibx_out(call, 1, join_states(call, r, h));
  ibx_out(call, 2, join_states(call, r, c));
}

void ibx_import_op_rnn(ibx_call *call) {
  recurrent r = {.gates = 1, .activations = 1, .step = ibx_cell_step_rnn};
  import_recurrent(call, &r, (ibx_cell){0});
}

void ibx_import_op_gru(ibx_call *call) {
  recurrent r = {.gates = 3, .activations = 2, .step = ibx_cell_step_gru};
  bool last = ibx_attr_flag(call, "linear_before_reset", false);
  import_recurrent(call, &r, (ibx_cell){.resets_last = last});
}

static void import_lstm(ibx_call *call, bool quantised) {
  recurrent r = {.gates = IBX_CELL_GATES,
                 .activations = IBX_CELL_ACTIVATIONS,
                 .quantised = quantised,
                 .initial_c = 6,
                 .peepholes = 7,
                 .step = ibx_cell_step_lstm};
  bool couples = ibx_attr_flag(call, "input_forget", false);
  // ONNX Runtime, which defines the quantised form, clips the gates alone.
  import_recurrent(call, &r,
                   (ibx_cell){.couples = couples, .keeps_state = quantised});
}

void ibx_import_op_lstm(ibx_call *call) { import_lstm(call, false); }

// Of com.microsoft, which has all inputs up to the last one.
void ibx_import_op_dynamic_quantize_lstm(ibx_call *call) {
  for (size_t i = FIRST_SCALE; i < FIRST_SCALE + 4; i++) {
    if (ibx_has_in(call, i)) continue;
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                  "correct the node where the model is made",
                  "input %zu of %s, a scale or a zero point, is left out", i,
                  call->at.op);
    return;
  }
  import_lstm(call, true);
}
