// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_RECURRENT_CELL_H
#define IBX_RECURRENT_CELL_H

/// \file
/// What RNN, GRU and LSTM compute in one step of one direction. B is the batch,
/// H the hidden size, I the size of an input.

#include "frontend/import.h"

enum { IBX_CELL_GATES = 4, IBX_CELL_ACTIVATIONS = 3 }; // at most

typedef struct ibx_cell_activation {
  const struct activation_row *row;
  double alpha, beta;
} ibx_cell_activation;

typedef struct ibx_cell_state {
  ibx_val h, c; ///< [B, H]; c of an LSTM
} ibx_cell_state;

/// [I, gates * H]; scale and zero of integers, IBX_NO_VALUE of floating numbers.
typedef struct ibx_cell_matrix {
  ibx_val values, scale, zero;
} ibx_cell_matrix;

/// The weights of one direction.
typedef struct ibx_cell {
  ibx_cell_matrix recurrent; ///< [H, gates * H]
  ibx_val recurrent_bias;    ///< of the gate that is reset, or IBX_NO_VALUE
  ibx_val peephole[3];       ///< input, output, forget; or IBX_NO_VALUE
  ibx_cell_activation activations[IBX_CELL_ACTIVATIONS];
  int64_t hidden;
  float clip;       ///< 0: none
  bool keeps_state; ///< LSTM: what the third function reads is not clipped
  bool resets_last; ///< GRU: the reset gate acts on the product
  bool couples;     ///< LSTM: forget = 1 - input
} ibx_cell;

/// Puts `s` one step further; x is [B, gates * H], an input times its weights
/// plus the biases.
typedef void (*ibx_cell_step)(ibx_call *call, const ibx_cell *c, ibx_val x,
                              ibx_cell_state *s);
void ibx_cell_step_rnn(ibx_call *call, const ibx_cell *c, ibx_val x,
                       ibx_cell_state *s);
void ibx_cell_step_gru(ibx_call *call, const ibx_cell *c, ibx_val x,
                       ibx_cell_state *s);
void ibx_cell_step_lstm(ibx_call *call, const ibx_cell *c, ibx_val x,
                        ibx_cell_state *s);

/// x times a matrix. Before integers x is quantised by the range that it has.
ibx_val ibx_cell_multiply(ibx_call *call, ibx_val x, ibx_cell_matrix m);

/// Reads the node's functions, `each` of a direction, into the cells of all
/// directions. Returns false where it refuses one.
bool ibx_cell_read_activations(ibx_call *call, ibx_cell *cells,
                               size_t directions, size_t each);

#endif
