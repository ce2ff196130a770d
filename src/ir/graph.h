// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_GRAPH_H
#define IBX_GRAPH_H

/// \file
/// A function of level 1 as flat C arrays: what passes read, change and write
/// back. MLIR holds the truth between passes; ibx_graph_read() and
/// ibx_graph_write() are exact inverses. Everything lives in the arena.

#include "imbrex/tensor.h"
#include "support/arena.h"

enum { IBX_NODE_OPERANDS = 8 };
#define IBX_NO_VALUE UINT32_MAX

/// A tensor: an input of the function or the one result of a node.
typedef struct ibx_value {
  ibx_type type;
  uint32_t node;  ///< that makes it, or IBX_NO_VALUE for an input
  uint32_t input; ///< index of the function's input, or IBX_NO_VALUE
} ibx_value;

/// What the planning passes decide about a node, one attribute each in the IR.
/// 0 or NULL: not decided. Texts are documented where the pass writes them.
typedef struct ibx_decisions {
  const char *layout; ///< plan_layout: where the result lies
  const char *tile;   ///< plan_tiles: how the work is cut
  const char *engine; ///< plan_tiles: which engine class does it
  int64_t group;      ///< plan_fusion: 1 and up; nodes of a group run as one
  const char *place;  ///< lower_tiles: IBX_PLACE_HBM, or NULL for SBUF
} ibx_decisions;

/// The parts of a concatenation are stored in HBM as they are made, and its
/// result is never in SBUF as a whole.
#define IBX_PLACE_HBM "hbm"

typedef struct ibx_node {
  ibx_tensor_op op;
  ibx_params params;
  uint32_t operand[IBX_NODE_OPERANDS]; ///< values
  uint32_t operand_count;
  uint32_t result; ///< value
  uint32_t source; ///< row of the source table: the ONNX node it came from
  ibx_decisions decided;
} ibx_node;

/// An input or output of the model.
typedef struct ibx_port {
  const char *name;
  uint32_t value;
  ibx_type type; ///< as ONNX declares it; the value may have been narrowed
  int32_t state; ///< index of the port on the other side with which it
                 ///< shares one buffer in place, or -1
} ibx_port;

/// Constant data. Borrowed from the mapped model or owned by the compilation's
/// arena; row-major in `type`. A pass that rewrites a weight adds a new row.
typedef struct ibx_weight {
  ibx_type type;
  const void *data;
  const char *name;
} ibx_weight;

/// Tables that outlive any one function: weights and sources.
typedef struct ibx_tables {
  ibx_weight *weights;
  size_t weight_count, weight_room;
  ibx_node_decl *sources; ///< ONNX node name and operator
  size_t source_count, source_room;
} ibx_tables;

/// Adds a row and returns its index.
uint32_t ibx_tables_add_weight(ibx_tables *tables, ibx_arena *arena,
                               ibx_weight weight);
uint32_t ibx_tables_add_source(ibx_tables *tables, ibx_arena *arena,
                               const char *name, const char *op);

typedef struct ibx_graph {
  ibx_arena *arena;
  ibx_tables *tables;
  const char *name; ///< of the function: the entry
  ibx_node *nodes;  ///< in program order
  size_t node_count, node_room;
  ibx_value *values;
  size_t value_count, value_room;
  ibx_port *inputs;
  size_t input_count;
  ibx_port *outputs;
  size_t output_count;
} ibx_graph;

/// Makes room for so many nodes and values; more find theirs as they come.
void ibx_graph_reserve(ibx_graph *graph, size_t nodes, size_t values);

/// Adds a value for input `index`; returns it.
uint32_t ibx_graph_add_input(ibx_graph *graph, ibx_type type, uint32_t index);

/// Infers the result's type, appends the node, stores its result in
/// `*out_value`. Fails as ibx_tensor_infer() does and then adds nothing.
IBX_NODISCARD ibx_status ibx_graph_add(ibx_graph *graph, ibx_tensor_op op,
                                       const ibx_params *params,
                                       const uint32_t *operands,
                                       size_t operand_count, uint32_t source,
                                       uint32_t *out_value, ibx_error *err);

/// Adds a constant node for a weight row; returns its value.
uint32_t ibx_graph_add_constant(ibx_graph *graph, uint32_t weight,
                                uint32_t source);

/// Whether dtype, rank and extents are the same.
bool ibx_types_equal(const ibx_type *a, const ibx_type *b);

/// Lends the weight row of a value that a constant node makes, else NULL. The
/// row of a floating value may have a wider dtype than the value: whoever uses
/// the data converts them.
const ibx_weight *ibx_graph_constant(const ibx_graph *graph, uint32_t value);

/// Users of every value, as spans into one array: the nodes that read value v
/// are users[first[v]] .. users[first[v + 1] - 1], ascending. Outputs of the
/// function are not among them; `is_output[v]` tells.
typedef struct ibx_uses {
  uint32_t *first;
  uint32_t *users;
  bool *is_output;
} ibx_uses;
ibx_uses ibx_graph_uses(const ibx_graph *graph, ibx_arena *arena);

/// Whether one operand of one node reads the value, and no output is it.
bool ibx_is_used_once(const ibx_uses *uses, uint32_t value);

/// Removes nodes that no output needs and renumbers: inputs are values 0 and
/// up, then come the results in program order. The others keep their order,
/// but for a node that a pass made read a later one: it moves behind that.
void ibx_graph_compact(ibx_graph *graph);

#endif
