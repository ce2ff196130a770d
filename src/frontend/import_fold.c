// SPDX-License-Identifier: Apache-2.0
//
// Constants during import. Comes in: a node that was just added. Goes out: its
// value, or a constant in its place. Holds afterwards: every value whose
// operands depend on constants only is noted as known; a small one is a
// constant, so that shape arithmetic vanishes, while a large one stays an
// operation: broadcasts of constants and transposes of weights are views, and
// cost nothing until a pass decides so. One that is not larger than what it is
// made of takes its place.

#include "frontend/import.h"
#include "ir/block.h"

#include <stdio.h>
#include <string.h>

enum {
  FOLD_BYTES = 64 << 10,        // results up to here are computed at once
  FOLD_INTEGER_BYTES = 2 << 20, // of integers and bools, which engines are slow
                                // at: masks and positions of some 500 words
  FOLD_OPERAND_BYTES = 1 << 20, // of a contraction, whose work is a product
  FOLD_MOST_BYTES = 128 << 20,  // of what is no larger than its operands
  FAR = 4,                      // operations to these
  FORCE_BYTES = 256 << 20       // most bytes that one demand may compute
};

void *ibx_lend(const void *data) {
  union {
    const void *from;
    void *to;
  } pointer = {.from = data};
  return pointer.to;
}

int64_t ibx_elements(const ibx_type *type) {
  int64_t elements = 0;
  return ibx_type_elements(type, &elements) ? elements : 0;
}

static int64_t bytes_of(const ibx_type *type) {
  int64_t bytes = 0;
  return ibx_type_bytes(type, &bytes) ? bytes : INT64_MAX;
}

static void *grow(ibx_arena *arena, const void *old, size_t old_size,
                  size_t new_size) {
  void *memory = ibx_arena_alloc(arena, new_size);
  if (old_size != 0) memcpy(memory, old, old_size);
  return memory;
}

void ibx_import_make_room(ibx_import *import) {
  size_t old = import->value_room, room = old == 0 ? 256 : old;
  while (room < import->graph.value_count)
    room *= 2;
  if (room == old) return;
  import->known = grow(&import->scratch, import->known, old * sizeof(bool),
                       room * sizeof(bool));
  import->forced =
      grow(&import->scratch, import->forced, old * sizeof(ibx_tensor *),
           room * sizeof(ibx_tensor *));
  import->texts =
      grow(&import->scratch, import->texts, old * sizeof(ibx_host_tensor *),
           room * sizeof(ibx_host_tensor *));
  import->value_room = room;
}

bool ibx_is_known(const ibx_call *call, ibx_val value) {
  const ibx_import *import = call->import;
  return value < import->value_room && import->known[value];
}

static ibx_tensor *tensor_of_weight(ibx_import *import,
                                    const ibx_weight *weight) {
  ibx_tensor *tensor = IBX_ARENA_NEW(&import->scratch, ibx_tensor);
  // Operands are read only, whatever the type says.
  *tensor = (ibx_tensor){.type = weight->type, .data = ibx_lend(weight->data)};
  return tensor;
}

// Marks the nodes that must run for `value`. Nodes stand in program order, so
// one pass backwards finds them all; false when they make too many bytes.
static bool mark_needed(ibx_import *import, ibx_val value, bool *needed) {
  const ibx_graph *graph = &import->graph;
  int64_t bytes = 0;
  needed[graph->values[value].node] = true;
  for (size_t n = graph->values[value].node + 1u; n-- > 0;) {
    const ibx_node *node = &graph->nodes[n];
    if (!needed[n] || import->forced[node->result]) continue;
    if (node->op == IBX_TENSOR_constant) continue;
    bytes += bytes_of(&graph->values[node->result].type);
    if (bytes > FORCE_BYTES || bytes < 0) return false;
    for (uint32_t i = 0; i < node->operand_count; i++) {
      needed[graph->values[node->operand[i]].node] = true;
    }
  }
  return true;
}

static ibx_tensor *run_node(ibx_import *import, const ibx_node *node) {
  const ibx_graph *graph = &import->graph;
  const ibx_weight *weight = ibx_graph_constant(graph, node->result);
  if (weight) return tensor_of_weight(import, weight);
  ibx_tensor operands[IBX_NODE_OPERANDS];
  for (uint32_t i = 0; i < node->operand_count; i++) {
    operands[i] = *import->forced[node->operand[i]];
  }
  ibx_tensor *result = IBX_ARENA_NEW(&import->scratch, ibx_tensor);
  result->type = graph->values[node->result].type;
  result->data =
      ibx_arena_alloc(&import->scratch, (size_t)bytes_of(&result->type));
  ibx_status status = ibx_tensor_eval(node->op, &node->params, operands,
                                      node->operand_count, result, NULL);
  return status == IBX_OK ? result : NULL;
}

const ibx_tensor *ibx_force(ibx_import *import, ibx_val value) {
  ibx_import_make_room(import);
  if (!import->known[value]) return NULL;
  if (import->forced[value]) return import->forced[value];
  const ibx_graph *graph = &import->graph;
  bool *needed = IBX_ARENA_ARRAY(&import->scratch, graph->node_count, bool);
  if (!mark_needed(import, value, needed)) return NULL;
  for (size_t n = 0; n <= graph->values[value].node; n++) {
    ibx_val result = graph->nodes[n].result;
    if (!needed[n] || import->forced[result]) continue;
    import->forced[result] = run_node(import, &graph->nodes[n]);
    if (!import->forced[result]) return NULL;
  }
  return import->forced[value];
}

ibx_val ibx_import_constant(ibx_import *import, ibx_weight weight,
                            uint32_t source) {
  uint32_t row = ibx_tables_add_weight(import->tables, import->arena, weight);
  ibx_val value = ibx_graph_add_constant(&import->graph, row, source);
  ibx_import_make_room(import);
  import->known[value] = true;
  return value;
}

ibx_val ibx_import_named_constant(ibx_import *import, ibx_weight weight) {
  uint32_t source = ibx_tables_add_source(import->tables, import->arena,
                                          weight.name, "Constant");
  return ibx_import_constant(import, weight, source);
}

ibx_val ibx_emit_constant(ibx_call *call, ibx_type type, const void *data) {
  ibx_weight weight = {.type = type, .data = data, .name = call->at.node};
  return ibx_import_constant(call->import, weight, call->source);
}

static const ibx_node *node_of(const ibx_import *import, ibx_val value) {
  return &import->graph.nodes[import->graph.values[value].node];
}

static bool is_known_node(const ibx_import *import, const ibx_node *node) {
  for (uint32_t i = 0; i < node->operand_count; i++) {
    if (!import->known[node->operand[i]]) return false;
  }
  return node->operand_count != 0;
}

// Reshaped or as other dtype a constant is the same data, of any size, but where
// a byte has bits that another dtype fills otherwise.
static bool is_renamed_weight(const ibx_import *import, const ibx_node *node) {
  bool is_reshape = node->op == IBX_TENSOR_reshape;
  bool is_bitcast = node->op == IBX_TENSOR_bitcast &&
                    ibx_dtype_get(node->params.dtype)->width >= 8;
  return (is_reshape || is_bitcast) &&
         ibx_graph_constant(&import->graph, node->operand[0]);
}

// What a known value takes in the weight section: the constants that it is made
// of. 0 where these are too far away to look for.
static int64_t stored_bytes(const ibx_import *import, ibx_val value,
                            int depth) {
  const ibx_node *node = node_of(import, value);
  const ibx_weight *weight = ibx_graph_constant(&import->graph, value);
  if (weight) return bytes_of(&weight->type);
  int64_t sum = 0;
  for (uint32_t i = 0; depth > 0 && i < node->operand_count; i++) {
    int64_t bytes = stored_bytes(import, node->operand[i], depth - 1);
    sum = bytes < FOLD_MOST_BYTES && sum < FOLD_MOST_BYTES ? sum + bytes
                                                           : FOLD_MOST_BYTES;
  }
  int64_t own = bytes_of(&import->graph.values[value].type);
  return own < sum ? own : sum;
}

// Whether the result of joining or of computing element by element takes no more
// room than the operands do.
static bool is_no_larger(const ibx_import *import, const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  bool is_simple = node->op == IBX_TENSOR_concat || klass == IBX_KLASS_UNARY ||
                   klass == IBX_KLASS_BINARY || klass == IBX_KLASS_REDUCE;
  int64_t bytes = bytes_of(&import->graph.values[node->result].type), sum = 0;
  if (!is_simple || bytes > FOLD_MOST_BYTES) return false;
  for (uint32_t i = 0; i < node->operand_count && sum < bytes; i++)
    sum += stored_bytes(import, node->operand[i], FAR);
  return bytes <= sum;
}

static bool is_worth_folding(const ibx_import *import, const ibx_node *node) {
  const ibx_graph *graph = &import->graph;
  const ibx_type *result = &graph->values[node->result].type;
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  bool is_small = ibx_is_float(result->dtype) || klass == IBX_KLASS_VIEW;
  if (node->op == IBX_TENSOR_broadcast) return false;
  if (bytes_of(result) > (is_small ? FOLD_BYTES : FOLD_INTEGER_BYTES)) {
    return is_no_larger(import, node);
  }
  if (klass != IBX_KLASS_CONTRACT) return true;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    const ibx_type *type = &graph->values[node->operand[i]].type;
    if (bytes_of(type) > FOLD_OPERAND_BYTES) return false;
  }
  return true;
}

static ibx_val fold_reshape(ibx_call *call, const ibx_node *node,
                            ibx_val value) {
  ibx_import *import = call->import;
  ibx_weight weight = *ibx_graph_constant(&import->graph, node->operand[0]);
  weight.type = import->graph.values[value].type;
  return ibx_import_constant(import, weight, call->source);
}

// Extents whose product without zeros overflows would overflow in sums that
// nobody checks: such a tensor is refused even where it is empty.
static bool is_countable(const ibx_type *type) {
  ibx_type full = *type;
  int64_t elements;
  for (uint8_t i = 0; i < full.rank; i++) {
    if (full.dims[i] == 0) full.dims[i] = 1;
  }
  return ibx_type_elements(&full, &elements) && elements <= IBX_MOST_ELEMENTS;
}

// A sum over no elements, or another reduction: one number, however many there
// are of it. A single one is computed as others are.
static bool is_of_nothing(const ibx_import *import, const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  const ibx_value *values = import->graph.values;
  bool reduces = klass == IBX_KLASS_REDUCE || klass == IBX_KLASS_CONTRACT;
  return reduces && ibx_elements(&values[node->operand[0]].type) == 0 &&
         ibx_elements(&values[node->result].type) > 1;
}

static ibx_val fold_nothing(ibx_call *call, const ibx_node *node,
                            ibx_val value) {
  ibx_val one = ibx_emit_like(call, value, 0);
  if (ibx_tensor_op_get(node->op)->klass == IBX_KLASS_REDUCE) {
    const ibx_params all = {.axes = IBX_INTS(0)};
    const ibx_type none = ibx_make_type(ibx_dtype_of(call, value), IBX_INTS(0));
    ibx_val vector = ibx_emit_constant(call, none, "");
    one = ibx_emit_static(call, node->op, &all, &vector, 1);
  }
  return ibx_emit_broadcast(call, one, ibx_shape_of(call, value));
}

// The elements of a known value, which outlive the import; NULL where they cannot
// be computed. Large ones are computed in blocks where that is possible.
static const void *compute(ibx_import *import, ibx_val value) {
  const ibx_type *type = &import->graph.values[value].type;
  size_t bytes = (size_t)bytes_of(type);
  void *data = ibx_arena_alloc_raw(import->arena, bytes);
  if (bytes > FOLD_BYTES &&
      ibx_block_all(&import->graph, value, ibx_elements(type), &import->block,
                    data)) {
    return data;
  }
  const ibx_tensor *tensor = ibx_force(import, value);
  return tensor ? memcpy(data, tensor->data, bytes) : NULL;
}

ibx_val ibx_fold(ibx_call *call, ibx_val value) {
  ibx_import *import = call->import;
  ibx_import_make_room(import);
  const ibx_node *node = node_of(import, value);
  if (!is_countable(&import->graph.values[value].type)) {
    ibx_call_fail(call, IBX_DIAG_TOO_LARGE, NULL, "use smaller extents",
                  "the result has more than %d elements", IBX_MOST_ELEMENTS);
    return node->operand[0];
  }
  if (ibx_elements(&import->graph.values[value].type) == 0) {
    return ibx_emit_constant(call, import->graph.values[value].type, "");
  }
  if (is_of_nothing(import, node)) {
    const ibx_node copy = *node; // the graph grows
    return fold_nothing(call, &copy, value);
  }
  if (!is_known_node(import, node)) return value;
  import->known[value] = true;
  if (is_renamed_weight(import, node)) return fold_reshape(call, node, value);
  if (call->folds_later || !is_worth_folding(import, node)) return value;
  const void *data = compute(import, value);
  if (!data) return value;
  import->stats.folded++;
  return ibx_emit_constant(call, import->graph.values[value].type, data);
}

// --- reading constants -------------------------------------------------------

// The first input of the model that `value` depends on; NULL when there is none.
static const ibx_port *find_input(ibx_import *import, ibx_val value,
                                  size_t *out_place) {
  const ibx_graph *graph = &import->graph;
  bool *needed = IBX_ARENA_ARRAY(&import->scratch, graph->value_count, bool);
  needed[value] = true;
  for (size_t v = value + 1u; v-- > 0;) {
    if (!needed[v] || graph->values[v].node == IBX_NO_VALUE) continue;
    const ibx_node *node = &graph->nodes[graph->values[v].node];
    for (uint32_t i = 0; i < node->operand_count; i++) {
      needed[node->operand[i]] = true;
    }
  }
  for (size_t i = 0; i < graph->input_count; i++) {
    if (!needed[graph->inputs[i].value]) continue;
    *out_place = import->input_places[i];
    return &graph->inputs[i];
  }
  return NULL;
}

void ibx_fail_unknown(ibx_call *call, ibx_val value, const char *name,
                      const char *why) {
  char remedy[200] = "make it a constant in the model, or specialise the model "
                     "with --dim and --input-shape";
  size_t place = 0;
  const ibx_port *input =
      value == IBX_NO_VALUE ? NULL : find_input(call->import, value, &place);
  if (input) {
    call->at.input = input->name;
    call->at.input_index = place;
    snprintf(remedy, sizeof(remedy),
             "give the value of the model's input with --constant %.100s=FILE",
             input->name);
  }
  ibx_call_fail(call, IBX_DIAG_NOT_CONSTANT, name, remedy, "the input '%s' %s",
                name, why);
}

const ibx_tensor *ibx_const_in(ibx_call *call, size_t index, const char *name) {
  ibx_val value = ibx_in(call, index);
  // Of a constant with an extent that the data decide, not all is there.
  bool whole = value != IBX_NO_VALUE && !ibx_has_extent(call, value);
  const ibx_tensor *tensor = whole ? ibx_force(call->import, value) : NULL;
  if (!tensor) {
    ibx_fail_unknown(call, value, name,
                     "is computed while the model runs, but Imbrex needs it "
                     "when it compiles");
  }
  return tensor;
}

int64_t ibx_tensor_int(const ibx_tensor *tensor, size_t index) {
  size_t size = ibx_dtype_bytes(tensor->type.dtype);
  const uint8_t *at = (const uint8_t *)tensor->data + index * size;
  int64_t value = 0;
  if (ibx_is_float(tensor->type.dtype)) {
    double number = ibx_tensor_number(tensor, index);
    bool fits = number > -0x1p62 && number < 0x1p62;
    return fits ? (int64_t)number : 0;
  }
  memcpy(&value, at, size); // little endian
  unsigned unused = (unsigned)(64 - 8 * size);
  bool is_signed =
      ibx_dtype_get(tensor->type.dtype)->kind == IBX_DTYPE_KIND_SINT;
  uint64_t bits = (uint64_t)value << unused;
  return is_signed ? (int64_t)bits >> unused : (int64_t)(bits >> unused);
}

double ibx_tensor_number(const ibx_tensor *tensor, size_t index) {
  ibx_dtype dtype = tensor->type.dtype;
  if (!ibx_is_float(dtype)) return (double)ibx_tensor_int(tensor, index);
  size_t size = ibx_dtype_bytes(dtype);
  const uint8_t *at = (const uint8_t *)tensor->data + index * size;
  double number;
  ibx_dtype_load_f64(dtype, at, &number, 1);
  return number;
}

ibx_list ibx_const_ints(ibx_call *call, size_t index, const char *name) {
  const ibx_tensor *tensor = ibx_const_in(call, index, name);
  if (!tensor) return (ibx_list){0};
  size_t len = (size_t)ibx_elements(&tensor->type);
  ibx_list list = {.len = len,
                   .at = IBX_ARENA_ARRAY(&call->import->scratch, len, int64_t)};
  for (size_t i = 0; i < len; i++)
    list.at[i] = ibx_tensor_int(tensor, i);
  return list;
}

ibx_ints ibx_const_dims(ibx_call *call, size_t index, const char *name) {
  ibx_list list = ibx_const_ints(call, index, name);
  ibx_call_expect(call, ibx_rank(call, ibx_in(call, index)) <= 1, name,
                  "needs one dimension");
  if (list.len > IBX_MAX_RANK) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_RANK, name,
                  "use tensors of at most 8 dimensions",
                  "the input '%s' has %zu entries, Imbrex handles %d", name,
                  list.len, IBX_MAX_RANK);
  }
  return ibx_make_ints(list.at, list.len);
}

double ibx_const_number(ibx_call *call, size_t index, const char *name) {
  const ibx_tensor *tensor = ibx_const_in(call, index, name);
  if (!tensor) return 0;
  if (!ibx_call_expect(call, ibx_elements(&tensor->type) == 1, name,
                       "needs one element")) {
    return 0;
  }
  return ibx_tensor_number(tensor, 0);
}

int64_t ibx_const_int(ibx_call *call, size_t index, const char *name) {
  ibx_list list = ibx_const_ints(call, index, name);
  bool fits = ibx_call_expect(call, list.len == 1, name, "needs one element");
  return fits ? list.at[0] : 0;
}

bool ibx_is_splat(const ibx_call *call, ibx_val value, double *out_number) {
  // Elements of a broadcast are those of its operand.
  const ibx_graph *graph = &call->import->graph;
  while (ibx_is_known(call, value) &&
         node_of(call->import, value)->op == IBX_TENSOR_broadcast) {
    value = node_of(call->import, value)->operand[0];
  }
  const ibx_weight *weight =
      ibx_is_known(call, value) ? ibx_graph_constant(graph, value) : NULL;
  if (!weight || bytes_of(&weight->type) > FOLD_BYTES) return false;
  ibx_tensor tensor = {.type = weight->type, .data = ibx_lend(weight->data)};
  size_t count = (size_t)ibx_elements(&tensor.type);
  size_t size = ibx_dtype_bytes(tensor.type.dtype);
  for (size_t i = 1; i < count; i++) {
    const uint8_t *data = tensor.data;
    if (memcmp(data, data + i * size, size) != 0) return false;
  }
  if (count != 0) *out_number = ibx_tensor_number(&tensor, 0);
  return count != 0;
}
