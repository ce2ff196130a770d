// SPDX-License-Identifier: Apache-2.0
//
// One step of RNN, GRU and LSTM. Comes in: an input that is multiplied with its
// weights already, the state before, the weights of the direction. Goes out: a
// product of the state with the recurrent weights, the gates as a formula, the
// state behind.

#include "frontend/recurrent_cell.h"

#include "frontend/import_quant.h"

#include <string.h>

// --- activations -------------------------------------------------------------

typedef enum activation_kind {
  RELU,
  TANH,
  SIGMOID,
  AFFINE,
  LEAKY_RELU,
  THRESHOLDED_RELU,
  SCALED_TANH,
  HARD_SIGMOID,
  ELU,
  SOFTSIGN,
  SOFTPLUS
} activation_kind;

typedef struct activation_row {
  const char *name;
  activation_kind kind;
  bool has_alpha, has_beta;
  float alpha, beta; // when the node gives none
} activation_row;

static const activation_row rows[] = {
    {"Relu", RELU, false, false, 0, 0},
    {"Tanh", TANH, false, false, 0, 0},
    {"Sigmoid", SIGMOID, false, false, 0, 0},
    {"Affine", AFFINE, true, true, 1, 0},
    {"LeakyRelu", LEAKY_RELU, true, false, 0.01f, 0},
    {"ThresholdedRelu", THRESHOLDED_RELU, true, false, 1, 0},
    {"ScaledTanh", SCALED_TANH, true, true, 1, 1},
    {"HardSigmoid", HARD_SIGMOID, true, true, 0.2f, 0.5f},
    {"Elu", ELU, true, false, 1, 0},
    {"Softsign", SOFTSIGN, false, false, 0, 0},
    {"Softplus", SOFTPLUS, false, false, 0, 0},
};

static ibx_val activate(ibx_call *call, const ibx_cell *c, size_t index,
                        ibx_val x) {
  const ibx_cell_activation *a = &c->activations[index];
  ibx_params params = {.alpha = (float)a->alpha};
  bool clips = c->clip > 0 && !(c->keeps_state && index == 2);
  if (clips) x = ibx_emit_clip(call, x, -c->clip, c->clip);
  switch (a->row->kind) {
  case RELU: return ibx_emit_unary(call, IBX_TENSOR_relu, x);
  case TANH: return ibx_emit_unary(call, IBX_TENSOR_tanh, x);
  case SIGMOID: return ibx_emit_unary(call, IBX_TENSOR_sigmoid, x);
  case AFFINE: return ibx_emit_affine(call, x, a->alpha, a->beta);
  case LEAKY_RELU:
    return ibx_emit_op(call, IBX_TENSOR_leaky_relu, &params, &x, 1);
  case THRESHOLDED_RELU:
    return ibx_emit_select(call,
                           ibx_emit_binary(call, IBX_TENSOR_less,
                                           ibx_emit_like(call, x, a->alpha), x),
                           x, ibx_emit_like(call, x, 0));
  case SCALED_TANH:
    x = ibx_emit_unary(call, IBX_TENSOR_tanh,
                       ibx_emit_affine(call, x, a->beta, 0));
    return ibx_emit_affine(call, x, a->alpha, 0);
  case HARD_SIGMOID:
    return ibx_emit_clip(call, ibx_emit_affine(call, x, a->alpha, a->beta), 0,
                         1);
  case ELU: return ibx_emit_op(call, IBX_TENSOR_elu, &params, &x, 1);
  case SOFTSIGN:
    return ibx_emit_binary(
        call, IBX_TENSOR_div, x,
        ibx_emit_affine(call, ibx_emit_unary(call, IBX_TENSOR_abs, x), 1, 1));
  case SOFTPLUS: return ibx_emit_unary(call, IBX_TENSOR_softplus, x);
  }
  return x;
}

static const activation_row *find_row(ibx_call *call, const char *name) {
  for (size_t i = 0; i < IBX_COUNT_OF(rows); i++) {
    if (strcmp(rows[i].name, name) == 0) return &rows[i];
  }
  ibx_call_refuse(call, "activations", "activation '%s'", name);
  return NULL;
}

static const char *name_at(ibx_call *call, const Onnx__AttributeProto *names,
                           size_t index) {
  const ProtobufCBinaryData *text = &names->strings[index];
  if (text->len == 0) return "";
  return ibx_arena_text(&call->import->scratch, (const char *)text->data,
                        text->len);
}

// Takes the next number of a list that has one for each function that uses it.
static double next_number(const Onnx__AttributeProto *list, size_t *used,
                          float absent) {
  bool given = list && *used < list->n_floats;
  return (double)(given ? list->floats[(*used)++] : absent);
}

// Functions of all directions, one direction after the other.
bool ibx_cell_read_activations(ibx_call *call, ibx_cell *cells,
                               size_t directions, size_t each) {
  const Onnx__AttributeProto *names = IBX_ATTR(call, "activations", STRINGS);
  const Onnx__AttributeProto *alphas =
      IBX_ATTR(call, "activation_alpha", FLOATS);
  const Onnx__AttributeProto *betas = IBX_ATTR(call, "activation_beta", FLOATS);
  size_t count = directions * each, alpha = 0, beta = 0;
  // Gates have a sigmoid, what they pass a tanh; an RNN has no gates.
  bool named = names && names->n_strings != 0;
  if (named && !ibx_call_expect(call, names->n_strings == count, "activations",
                                "needs one function for each gate")) {
    return false;
  }
  for (size_t i = 0; i < count; i++) {
    size_t place = i % each;
    bool gate = each > 1 && place == 0;
    const char *name = gate ? "Sigmoid" : "Tanh";
    if (named) name = name_at(call, names, i);
    ibx_cell_activation *a = &cells[i / each].activations[place];
    a->row = find_row(call, name);
    if (!a->row) return false;
    if (a->row->has_alpha)
      a->alpha = next_number(alphas, &alpha, a->row->alpha);
    if (a->row->has_beta) a->beta = next_number(betas, &beta, a->row->beta);
  }
  return true;
}

// --- steps -------------------------------------------------------------------

ibx_val ibx_cell_multiply(ibx_call *call, ibx_val x, ibx_cell_matrix m) {
  if (m.scale == IBX_NO_VALUE) return ibx_emit_matmul(call, x, m.values);
  ibx_val scale, zero;
  x = ibx_emit_dynamic_quantise(call, x, &scale, &zero);
  x = ibx_emit_centred(call, x, zero, 0);
  x = ibx_emit_matmul(call, x, ibx_emit_centred(call, m.values, m.zero, 1));
  scale = ibx_emit_binary(call, IBX_TENSOR_mul, scale, m.scale);
  x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  return ibx_emit_binary(call, IBX_TENSOR_mul, x, scale);
}

// Columns of the matrix.
static ibx_cell_matrix columns_of(ibx_call *call, ibx_cell_matrix m,
                                  int64_t start, int64_t count) {
  m.values = ibx_emit_slice(call, m.values, 1, start, count, 1);
  return m;
}

static ibx_val gate_at(ibx_call *call, const ibx_cell *c, ibx_val x,
                       int64_t gate) {
  return ibx_emit_slice(call, x, 1, gate * c->hidden, c->hidden, 1);
}

static ibx_val add_product(ibx_call *call, ibx_val x, ibx_val h,
                           ibx_cell_matrix weights) {
  return ibx_emit_binary(call, IBX_TENSOR_add, x,
                         ibx_cell_multiply(call, h, weights));
}

void ibx_cell_step_rnn(ibx_call *call, const ibx_cell *c, ibx_val x,
                       ibx_cell_state *s) {
  s->h = activate(call, c, 0, add_product(call, x, s->h, c->recurrent));
}

// (1 - z) * new + z * h
static ibx_val mix(ibx_call *call, ibx_val z, ibx_val h, ibx_val new) {
  ibx_val change = ibx_emit_binary(call, IBX_TENSOR_sub, h, new);
  return ibx_emit_binary(call, IBX_TENSOR_add, new,
                         ibx_emit_binary(call, IBX_TENSOR_mul, z, change));
}

void ibx_cell_step_gru(ibx_call *call, const ibx_cell *c, ibx_val x,
                       ibx_cell_state *s) {
  int64_t two = 2 * c->hidden;
  ibx_cell_matrix outer = columns_of(call, c->recurrent, 0, two);
  ibx_cell_matrix inner = columns_of(call, c->recurrent, two, c->hidden);
  ibx_val gates =
      add_product(call, ibx_emit_slice(call, x, 1, 0, two, 1), s->h, outer);
  ibx_val z = activate(call, c, 0, gate_at(call, c, gates, 0));
  ibx_val reset = activate(call, c, 0, gate_at(call, c, gates, 1));
  ibx_val new = gate_at(call, c, x, 2), past;
  if (c->resets_last) {
    past = ibx_cell_multiply(call, s->h, inner);
    if (c->recurrent_bias != IBX_NO_VALUE) {
      past = ibx_emit_binary(call, IBX_TENSOR_add, past, c->recurrent_bias);
    }
    past = ibx_emit_binary(call, IBX_TENSOR_mul, reset, past);
  } else {
    past = ibx_cell_multiply(
        call, ibx_emit_binary(call, IBX_TENSOR_mul, reset, s->h), inner);
  }
  new = activate(call, c, 1, ibx_emit_binary(call, IBX_TENSOR_add, new, past));
  s->h = mix(call, z, s->h, new);
}

// Peepholes let a gate see the cell.
static ibx_val peep(ibx_call *call, const ibx_cell *c, size_t which,
                    ibx_val gate, ibx_val inside) {
  if (c->peephole[which] == IBX_NO_VALUE) return gate;
  return ibx_emit_binary(
      call, IBX_TENSOR_add, gate,
      ibx_emit_binary(call, IBX_TENSOR_mul, c->peephole[which], inside));
}

void ibx_cell_step_lstm(ibx_call *call, const ibx_cell *c, ibx_val x,
                        ibx_cell_state *s) {
  ibx_val gates = add_product(call, x, s->h, c->recurrent);
  ibx_val in = peep(call, c, 0, gate_at(call, c, gates, 0), s->c);
  ibx_val forget = peep(call, c, 2, gate_at(call, c, gates, 2), s->c);
  ibx_val new = activate(call, c, 1, gate_at(call, c, gates, 3));
  in = activate(call, c, 0, in);
  forget = c->couples ? ibx_emit_affine(call, in, -1, 1)
                      : activate(call, c, 0, forget);
  s->c = ibx_emit_binary(call, IBX_TENSOR_add,
                         ibx_emit_binary(call, IBX_TENSOR_mul, forget, s->c),
                         ibx_emit_binary(call, IBX_TENSOR_mul, in, new));
  ibx_val out = peep(call, c, 1, gate_at(call, c, gates, 1), s->c);
  out = activate(call, c, 0, out);
  s->h = ibx_emit_binary(call, IBX_TENSOR_mul, out, activate(call, c, 2, s->c));
}
