// SPDX-License-Identifier: Apache-2.0
//
// Inputs and outputs. Comes in the ports of a graph; goes out a buffer in HBM for
// each in the dtype that ONNX declares, the views of the inputs in it, and the
// instructions that store the outputs.

#include "passes/lower.h"

static uint32_t port_buffer(ibx_lower *lower, const ibx_port *port,
                            ibx_buffer_kind kind) {
  int64_t bytes = 0;
  ibx_type_bytes(&port->type, &bytes);
  ibx_buffer_decl buffer = {.place = {.space = IBX_SPACE_HBM,
                                      .partitions = 1,
                                      .bytes = (uint64_t)bytes},
                            .name = port->name,
                            .kind = kind};
  return ibx_lower_add_buffer(lower, buffer);
}

static ibx_tensor_decl port_decl(const ibx_port *port, uint32_t buffer) {
  ibx_tensor_decl decl = {.name = port->name,
                          .buffer = buffer,
                          .rank = port->type.rank,
                          .dtype = (uint8_t)port->type.dtype};
  for (uint8_t d = 0; d < port->type.rank; d++) {
    decl.shape[d] = (uint64_t)port->type.dims[d];
  }
  return decl;
}

// 64-bit integers whose value is narrower, which is their low words.
static bool has_low_words(const ibx_lower *lower, const ibx_port *port) {
  ibx_dtype dtype = port->type.dtype;
  return (dtype == IBX_DTYPE_I64 || dtype == IBX_DTYPE_U64) &&
         port->value != IBX_NO_VALUE &&
         ibx_dtype_bytes(lower->graph->values[port->value].type.dtype) < 8;
}

static ibx_view port_view(const ibx_lower *lower, const ibx_port *port,
                          uint32_t buffer) {
  ibx_view view = ibx_view_linear(&port->type, buffer);
  if (has_low_words(lower, port)) {
    bool is_signed = port->type.dtype == IBX_DTYPE_I64;
    view = ibx_view_words(&view, 0);
    view.dtype = is_signed ? IBX_DTYPE_I32 : IBX_DTYPE_U32;
    return view;
  }
  if (port->value == IBX_NO_VALUE) return view;
  // What carries the type of the port is walked as it.
  ibx_dtype own = lower->graph->values[port->value].type.dtype;
  if (own == ibx_dtype_carrier(port->type.dtype)) view.dtype = own;
  return view;
}

void ibx_lower_inputs(ibx_lower *lower) {
  const ibx_graph *graph = lower->graph;
  ibx_tile_func *func = lower->func;
  func->inputs =
      IBX_ARENA_ARRAY(lower->arena, graph->input_count, ibx_tensor_decl);
  func->input_count = graph->input_count;
  for (size_t i = 0; i < graph->input_count; i++) {
    const ibx_port *port = &graph->inputs[i];
    uint32_t buffer = port_buffer(
        lower, port, port->state >= 0 ? IBX_BUFFER_STATE : IBX_BUFFER_INPUT);
    func->inputs[i] = port_decl(port, buffer);
    ibx_view view = port_view(lower, port, buffer);
    if (port->value == IBX_NO_VALUE) continue;
    ibx_lower_set_view(lower, port->value, &view);
  }
}

// The high words of a 64-bit output: the sign of the low ones, or 0.
static bool store_signs(ibx_lower *lower, const ibx_view *low,
                        const ibx_view *value) {
  float of_negative = low->dtype == IBX_DTYPE_U32 ? 0.0f : -1.0f;
  ibx_view sign;
  if (!ibx_lower_temp(lower, value, IBX_DTYPE_I32, &sign)) return false;
  if (!ibx_lower_scalars(lower, &sign, value, IBX_ALU_LESS, 0.0f,
                         IBX_ALU_MULTIPLY, of_negative)) {
    return false;
  }
  ibx_view high = *low;
  high.dtype = IBX_DTYPE_I32;
  high.offset += 1;
  return ibx_lower_move(lower, &high, &sign);
}

static bool lower_output(ibx_lower *lower, const ibx_port *port,
                         uint32_t buffer) {
  ibx_view view, target = port_view(lower, port, buffer);
  // A constant goes from the weights to the port, unless it is to be widened.
  ibx_layout none = {.count = 0};
  if (!ibx_lower_view(lower, port->value, &view)) {
    bool found = has_low_words(lower, port)
                     ? ibx_lower_in_layout(lower, port->value, &none, &view)
                     : ibx_lower_table(lower, port->value, &view);
    if (!found) return false;
  }
  if (view.buffer == buffer && port->state < 0) return true; // made there
  bool wide = has_low_words(lower, port);
  bool on_chip =
      lower->func->buffers[view.buffer].place.space == IBX_SPACE_SBUF;
  if (wide && (!on_chip || view.dtype != target.dtype)) {
    ibx_view whole;
    if (!on_chip) {
      if (!ibx_lower_in_layout(lower, port->value, &none, &view)) return false;
    }
    if (view.dtype != target.dtype) {
      if (!ibx_lower_temp(lower, &view, target.dtype, &whole) ||
          !ibx_lower_move(lower, &whole, &view)) {
        return false;
      }
      view = whole;
    }
  }
  if (!ibx_lower_move(lower, &target, &view)) return false;
  return !wide || store_signs(lower, &target, &view);
}

uint32_t ibx_lower_output_buffer(ibx_lower *lower, size_t index) {
  const ibx_port *port = &lower->graph->outputs[index];
  uint32_t *buffer = &lower->ports[index];
  if (*buffer == IBX_NO_BUFFER) {
    *buffer = port->state >= 0 ? lower->func->inputs[port->state].buffer
                               : port_buffer(lower, port, IBX_BUFFER_OUTPUT);
  }
  return *buffer;
}

bool ibx_lower_outputs(ibx_lower *lower) {
  const ibx_graph *graph = lower->graph;
  ibx_tile_func *func = lower->func;
  func->outputs =
      IBX_ARENA_ARRAY(lower->arena, graph->output_count, ibx_tensor_decl);
  func->output_count = graph->output_count;
  for (size_t i = 0; i < graph->output_count; i++) {
    const ibx_port *port = &graph->outputs[i];
    uint32_t buffer = ibx_lower_output_buffer(lower, i);
    func->outputs[i] = port_decl(port, buffer);
    uint32_t node = graph->values[port->value].node;
    lower->source =
        node == IBX_NO_VALUE ? IBX_NO_NODE : graph->nodes[node].source;
    if (!lower_output(lower, port, buffer)) return false;
  }
  return true;
}
