// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FRONTEND_H
#define IBX_FRONTEND_H

/// \file
/// ONNX in, a graph of tensor operations out. A model is opened once and may be
/// imported several times, once for each choice of its symbolic dimensions.

#include "ir/graph.h"
#include "support/diag.h"

/// A model in memory: its parsed messages, and the mapping in which the data of
/// its constants stay. Not thread-safe.
typedef struct ibx_model ibx_model;

/// Maps and parses the file; external data are opened beneath its folder. On
/// success ibx_model_close() ends `*out_model`. Fails with NOT_FOUND, IO_ERROR,
/// or, with diagnostics in `sink`, INVALID_MODEL.
IBX_NODISCARD ibx_status ibx_model_open_file(const char *path,
                                             ibx_diag_sink *sink,
                                             ibx_model **out_model,
                                             ibx_error *err);

/// The same from memory, which must outlive the model. External data are
/// refused.
IBX_NODISCARD ibx_status ibx_model_open_memory(ibx_span bytes,
                                               ibx_diag_sink *sink,
                                               ibx_model **out_model,
                                               ibx_error *err);

/// Accepts NULL. Graphs that were imported borrow weights from the model: it is
/// closed after them.
void ibx_model_close(ibx_model *model);

typedef struct ibx_dim_value {
  const char *name;
  uint64_t value;
} ibx_dim_value;

/// One value for each symbolic dimension, shapes of inputs, and state pairs.
/// Everything is borrowed for the call.
typedef struct ibx_frontend_options {
  const char *entry; ///< name of the function; NULL gives "main"
  const ibx_dim_value *dims;
  const ibx_input_shape *input_shapes;
  const ibx_input_value *input_values; ///< of inputs that become constants
  const ibx_input_length *input_lengths;
  const ibx_state_pair *states;
  size_t dim_count, input_shape_count, input_value_count, input_length_count,
      state_count;
  const char *const *outputs; ///< see ibx_compile_options
  size_t output_count;
  bool no_host; ///< what needs the host is refused
} ibx_frontend_options;

/// What the model does where the host takes part: device steps name one of
/// `segments`, calls a row of the source table as their node. All in the arena.
typedef struct ibx_partition {
  ibx_steps steps;
  ibx_port *inputs, *outputs; ///< of the model; `value` means nothing here
  size_t input_count, output_count;
  ibx_graph *segments;
  size_t segment_count;
} ibx_partition;

/// What an import takes of the options of a compilation; `dims` has a value for
/// each of its dimensions.
ibx_frontend_options ibx_frontend_options_of(const ibx_compile_options *options,
                                             const char *entry,
                                             const ibx_dim_value *dims);

/// Facts of an import that the graph does not show any more.
typedef struct ibx_import_stats {
  uint64_t nodes;      ///< ONNX nodes that were imported, functions inlined
  uint64_t folded;     ///< tensor operations that were computed right away
  uint64_t host_nodes; ///< ONNX nodes of which some is computed on the host
  /// The model's inputs that are not constants, and its outputs, as tensors of
  /// the graph; they live in the arena.
  ibx_port_decl *input_ports, *output_ports;
  ibx_extent_decl *extents; ///< of outputs, in others behind those of ports
  size_t input_port_count, output_port_count, extent_count;
} ibx_import_stats;

/// Imports the model's graph. On success `*out_graph` lives in `arena`, its
/// weights and sources in `tables`: rows are only added, and only those that
/// the graph uses. Every problem goes to `sink`; on failure, the status is
/// that of the first one (INVALID_MODEL or UNSUPPORTED), or INVALID_ARGUMENT
/// for an option that names nothing. `out_stats` may be NULL. A model that needs
/// the host becomes `*out_partition`, and the graph stays empty; else this is
/// NULL.
IBX_NODISCARD ibx_status
ibx_frontend_import(ibx_model *model, const ibx_frontend_options *options,
                    ibx_diag_sink *sink, ibx_arena *arena, ibx_tables *tables,
                    ibx_graph *out_graph, const ibx_partition **out_partition,
                    ibx_import_stats *out_stats, ibx_error *err);

#endif
