// SPDX-License-Identifier: Apache-2.0
//
// Between a graph and its function in MLIR. The two directions are inverses:
// what one writes the other reads, down to the row of the source table.
//
//   func.func @main(%arg0: tensor<2x3xf32> {ibx.name = "x"})
//       -> (tensor<2x3xf32> {ibx.name = "y"}) {
//     %0 = "ibx.leaky_relu"(%arg0) {alpha = 0.1 : f32} : (tensor<2x3xf32>)
//         -> tensor<2x3xf32>
//     return %0 : tensor<2x3xf32>
//   }
//
// A port whose ONNX type differs from its value's has `ibx.type`, one that
// shares its buffer `ibx.state`. A constant has `weight`, its row, and the data
// too where they are few, so that text alone says what it computes.

#include "ir/context.h"

#include <string.h>

enum { MOST_ATTRIBUTES = 32, SHOWN_BYTES = 256 };

// --- writing ---

typedef struct writer {
  ibx_ir *ir;
  const ibx_graph *graph;
  ibx_arena *scratch;
  MlirValue *values; ///< of each value of the graph
  MlirBlock body;
  ibx_locations locations;
} writer;

// Attributes of one op under construction.
typedef struct attributes {
  MlirNamedAttribute at[MOST_ATTRIBUTES];
  intptr_t count;
} attributes;

static void add_attribute(attributes *list, MlirIdentifier name,
                          MlirAttribute value) {
  list->at[list->count++] = mlirNamedAttributeGet(name, value);
}

static MlirAttribute write_param(ibx_ir *ir, const ibx_param_info *param,
                                 const ibx_params *params) {
  const void *at = (const char *)params + param->offset;
  switch (param->kind) {
  case IBX_PARAM_KIND_INT: return ibx_ir_integer(ir, *(const int64_t *)at);
  case IBX_PARAM_KIND_FLOAT: return ibx_ir_float(ir, *(const float *)at);
  case IBX_PARAM_KIND_INTS: {
    const ibx_ints *list = at;
    return mlirDenseI64ArrayGet(ir->context, list->len, list->at);
  }
  case IBX_PARAM_KIND_DTYPE: break;
  }
  return mlirTypeAttrGet(ir->elements[*(const ibx_dtype *)at]);
}

static void add_params(ibx_ir *ir, const ibx_node *node, attributes *list) {
  for (size_t i = 0; ibx_param_get(i); i++) {
    if (!ibx_tensor_op_has_param(node->op, i)) continue;
    add_attribute(list, ir->params[i],
                  write_param(ir, ibx_param_get(i), &node->params));
  }
}

static void add_text(ibx_ir *ir, const char *name, const char *text,
                     attributes *list) {
  if (!text) return;
  add_attribute(list, ibx_ir_identifier(ir, name), ibx_ir_string(ir, text));
}

static void add_decisions(ibx_ir *ir, const ibx_decisions *decided,
                          attributes *list) {
  add_text(ir, "layout", decided->layout, list);
  add_text(ir, "tile", decided->tile, list);
  add_text(ir, "engine", decided->engine, list);
  add_text(ir, "place", decided->place, list);
  if (decided->group == 0) return;
  add_attribute(list, ibx_ir_identifier(ir, "group"),
                ibx_ir_integer(ir, decided->group));
}

// Bools are shown as bytes: MLIR has its own idea of where a bit lies.
static ibx_type shown_type(ibx_type type) {
  if (type.dtype == IBX_DTYPE_BOOL) type.dtype = IBX_DTYPE_U8;
  return type;
}

static void add_constant(const writer *w, const ibx_node *node,
                         attributes *list) {
  ibx_ir *ir = w->ir;
  size_t row = (size_t)node->params.weight;
  if (row >= w->graph->tables->weight_count) return;
  const ibx_weight *weight = &w->graph->tables->weights[row];
  int64_t bytes;
  add_text(ir, "name", weight->name, list);
  if (!ibx_type_bytes(&weight->type, &bytes) || bytes > SHOWN_BYTES ||
      bytes == 0 || !weight->data) {
    return;
  }
  ibx_type type = shown_type(weight->type);
  add_attribute(list, ibx_ir_identifier(ir, "data"),
                mlirDenseElementsAttrRawBufferGet(ibx_ir_tensor_type(ir, &type),
                                                  (size_t)bytes, weight->data));
}

static void write_node(writer *w, const ibx_node *node) {
  ibx_ir *ir = w->ir;
  MlirOperationState state =
      mlirOperationStateGet(ir->tensor_names[node->op],
                            ibx_locations_get(&w->locations, node->source));
  MlirValue operands[IBX_NODE_OPERANDS];
  for (size_t i = 0; i < node->operand_count; i++) {
    operands[i] = w->values[node->operand[i]];
  }
  attributes list = {.count = 0};
  add_params(ir, node, &list);
  add_decisions(ir, &node->decided, &list);
  if (node->op == IBX_TENSOR_constant) add_constant(w, node, &list);
  const ibx_tensor_op_info *info = ibx_tensor_op_get(node->op);
  if (info->most - info->least > 1) {
    int32_t sizes[IBX_NODE_OPERANDS];
    for (size_t i = 0; i < info->most; i++)
      sizes[i] = i < node->operand_count;
    add_attribute(&list, ibx_ir_identifier(ir, "operandSegmentSizes"),
                  mlirDenseI32ArrayGet(ir->context, info->most, sizes));
  }
  MlirType result =
      ibx_ir_tensor_type(ir, &w->graph->values[node->result].type);
  mlirOperationStateAddOperands(&state, node->operand_count, operands);
  mlirOperationStateAddAttributes(&state, list.count, list.at);
  mlirOperationStateAddResults(&state, 1, &result);
  MlirOperation op = mlirOperationCreate(&state);
  mlirBlockAppendOwnedOperation(w->body, op);
  w->values[node->result] = mlirOperationGetResult(op, 0);
}

static MlirAttribute write_port(const writer *w, const ibx_port *port) {
  ibx_ir *ir = w->ir;
  attributes list = {.count = 0};
  add_text(ir, "ibx.name", port->name, &list);
  const ibx_type *value = &w->graph->values[port->value].type;
  MlirType declared = ibx_ir_tensor_type(ir, &port->type);
  if (!mlirTypeEqual(declared, ibx_ir_tensor_type(ir, value))) {
    add_attribute(&list, ibx_ir_identifier(ir, "ibx.type"),
                  mlirTypeAttrGet(declared));
  }
  if (port->state >= 0) {
    add_attribute(&list, ibx_ir_identifier(ir, "ibx.state"),
                  ibx_ir_integer(ir, port->state));
  }
  return mlirDictionaryAttrGet(ir->context, list.count, list.at);
}

static MlirAttribute write_ports(const writer *w, const ibx_port *ports,
                                 size_t count) {
  MlirAttribute *list = IBX_ARENA_ARRAY(w->scratch, count, MlirAttribute);
  for (size_t i = 0; i < count; i++)
    list[i] = write_port(w, &ports[i]);
  return mlirArrayAttrGet(w->ir->context, (intptr_t)count, list);
}

static MlirType *port_types(const writer *w, const ibx_port *ports,
                            size_t count) {
  MlirType *types = IBX_ARENA_ARRAY(w->scratch, count, MlirType);
  for (size_t i = 0; i < count; i++) {
    types[i] =
        ibx_ir_tensor_type(w->ir, &w->graph->values[ports[i].value].type);
  }
  return types;
}

static void write_body(writer *w, const MlirType *inputs) {
  const ibx_graph *graph = w->graph;
  MlirLocation *places =
      IBX_ARENA_ARRAY(w->scratch, graph->input_count, MlirLocation);
  for (size_t i = 0; i < graph->input_count; i++) {
    places[i] = w->locations.unknown;
  }
  w->body = mlirBlockCreate((intptr_t)graph->input_count, inputs, places);
  for (size_t i = 0; i < graph->input_count; i++) {
    w->values[graph->inputs[i].value] =
        mlirBlockGetArgument(w->body, (intptr_t)i);
  }
  for (size_t i = 0; i < graph->node_count; i++) {
    write_node(w, &graph->nodes[i]);
  }
  MlirValue *results =
      IBX_ARENA_ARRAY(w->scratch, graph->output_count, MlirValue);
  for (size_t i = 0; i < graph->output_count; i++) {
    results[i] = w->values[graph->outputs[i].value];
  }
  ibx_ir_return(w->ir, w->body, results, graph->output_count);
}

static void write_function(writer *w) {
  ibx_ir *ir = w->ir;
  const ibx_graph *graph = w->graph;
  MlirType *inputs = port_types(w, graph->inputs, graph->input_count);
  MlirType *outputs = port_types(w, graph->outputs, graph->output_count);
  write_body(w, inputs);
  MlirNamedAttribute list[] = {
      ibx_ir_named(ir, "arg_attrs",
                   write_ports(w, graph->inputs, graph->input_count)),
      ibx_ir_named(ir, "res_attrs",
                   write_ports(w, graph->outputs, graph->output_count))};
  MlirType type =
      mlirFunctionTypeGet(ir->context, (intptr_t)graph->input_count, inputs,
                          (intptr_t)graph->output_count, outputs);
  ibx_ir_replace(
      ir, graph->name,
      ibx_ir_func(ir, graph->name, type, w->body, list, IBX_COUNT_OF(list)));
}

ibx_status ibx_graph_write(ibx_ir *ir, const ibx_graph *graph, ibx_error *err) {
  // MLIR does not check what it builds from; ibx_graph_check() does.
  IBX_TRY(ibx_graph_check(graph, err));
  ibx_arena scratch = {.last = NULL};
  writer w = {.ir = ir,
              .graph = graph,
              .scratch = &scratch,
              .values =
                  IBX_ARENA_ARRAY(&scratch, graph->value_count, MlirValue)};
  ibx_locations_init(&w.locations, ir, graph->tables, &scratch);
  write_function(&w);
  ibx_arena_reset(&scratch);
  return IBX_OK;
}

// --- reading ---

typedef struct reader {
  ibx_ir *ir;
  ibx_graph *graph;
  ibx_arena *arena;
  ibx_numbers numbers; ///< value of each op
  ibx_error *err;
} reader;

static ibx_status fail_at(const reader *r, MlirOperation op,
                          const char *reason) {
  MlirStringRef name = mlirIdentifierStr(mlirOperationGetName(op));
  return IBX_FAIL(r->err, INTERNAL, "@%s: %.*s: %s", r->graph->name,
                  (int)name.length, name.data, reason);
}

static bool read_ints(MlirAttribute value, ibx_ints *out) {
  if (!mlirAttributeIsADenseI64Array(value)) return false;
  intptr_t len = mlirDenseArrayGetNumElements(value);
  if (len > IBX_MAX_RANK) return false;
  out->len = (uint8_t)len;
  for (intptr_t i = 0; i < len; i++) {
    out->at[i] = mlirDenseI64ArrayGetElement(value, i);
  }
  return true;
}

static bool read_param(const ibx_ir *ir, const ibx_param_info *param,
                       MlirAttribute value, ibx_params *params) {
  void *at = (char *)params + param->offset;
  if (mlirAttributeIsNull(value)) return false;
  switch (param->kind) {
  case IBX_PARAM_KIND_INT:
    if (!mlirAttributeIsAInteger(value)) return false;
    *(int64_t *)at = mlirIntegerAttrGetValueInt(value);
    return true;
  case IBX_PARAM_KIND_FLOAT:
    if (!mlirAttributeIsAFloat(value)) return false;
    *(float *)at = (float)mlirFloatAttrGetValueDouble(value);
    return true;
  case IBX_PARAM_KIND_INTS: return read_ints(value, at);
  case IBX_PARAM_KIND_DTYPE: break;
  }
  if (!mlirAttributeIsAType(value)) return false;
  *(ibx_dtype *)at = ibx_ir_read_dtype(ir, mlirTypeAttrGetValue(value));
  return true;
}

static ibx_status read_params(const reader *r, MlirOperation op,
                              ibx_node *node) {
  for (size_t i = 0; ibx_param_get(i); i++) {
    const ibx_param_info *param = ibx_param_get(i);
    if (!ibx_tensor_op_has_param(node->op, i)) continue;
    MlirAttribute value = mlirOperationGetAttributeByName(
        op, mlirIdentifierStr(r->ir->params[i]));
    if (read_param(r->ir, param, value, &node->params)) continue;
    MlirStringRef name = mlirIdentifierStr(mlirOperationGetName(op));
    return IBX_FAIL(r->err, INTERNAL,
                    "@%s: %.*s has no attribute '%s' of its kind",
                    r->graph->name, (int)name.length, name.data, param->name);
  }
  return IBX_OK;
}

static void read_decisions(const reader *r, MlirOperation op,
                           ibx_decisions *decided) {
  // Absent ones stay undecided.
  bool found = ibx_ir_read_text(op, "layout", r->arena, &decided->layout);
  found |= ibx_ir_read_text(op, "tile", r->arena, &decided->tile);
  found |= ibx_ir_read_text(op, "engine", r->arena, &decided->engine);
  found |= ibx_ir_read_text(op, "place", r->arena, &decided->place);
  found |= ibx_ir_read_integer(op, "group", &decided->group);
  (void)found;
}

static uint32_t read_value(const reader *r, MlirValue value) {
  if (mlirValueIsABlockArgument(value)) {
    return (uint32_t)mlirBlockArgumentGetArgNumber(value);
  }
  return ibx_numbers_get(&r->numbers, mlirOpResultGetOwner(value).ptr);
}

static ibx_status read_operands(const reader *r, MlirOperation op,
                                ibx_node *node) {
  intptr_t count = mlirOperationGetNumOperands(op);
  if (count > IBX_NODE_OPERANDS) return fail_at(r, op, "too many operands");
  node->operand_count = (uint32_t)count;
  for (intptr_t i = 0; i < IBX_NODE_OPERANDS; i++) {
    node->operand[i] = IBX_NO_VALUE;
    if (i >= count) continue;
    node->operand[i] = read_value(r, mlirOperationGetOperand(op, i));
    if (node->operand[i] == IBX_NO_VALUE) {
      return fail_at(r, op, "an operand is no value of the function");
    }
  }
  return IBX_OK;
}

static ibx_status read_node(reader *r, MlirOperation op, ibx_tensor_op kind) {
  ibx_graph *graph = r->graph;
  ibx_node node = {.op = kind,
                   .result = (uint32_t)graph->value_count,
                   .source = ibx_ir_read_source(op, graph->tables)};
  ibx_value value = {.node = (uint32_t)graph->node_count,
                     .input = IBX_NO_VALUE};
  if (mlirOperationGetNumResults(op) != 1 ||
      !ibx_ir_read_type(r->ir, mlirValueGetType(mlirOperationGetResult(op, 0)),
                        &value.type)) {
    return fail_at(r, op, "the result is no static tensor");
  }
  IBX_TRY(read_params(r, op, &node));
  IBX_TRY(read_operands(r, op, &node));
  read_decisions(r, op, &node.decided);
  ibx_numbers_set(&r->numbers, op.ptr, node.result);
  graph->nodes[graph->node_count++] = node;
  graph->values[graph->value_count++] = value;
  return IBX_OK;
}

// The dictionary of port `index`; null when the function has none.
static MlirAttribute port_dictionary(MlirOperation func, const char *list_name,
                                     size_t index) {
  MlirAttribute list =
      mlirOperationGetAttributeByName(func, ibx_ref(list_name));
  if (mlirAttributeIsNull(list) || !mlirAttributeIsAArray(list) ||
      (intptr_t)index >= mlirArrayAttrGetNumElements(list)) {
    return mlirAttributeGetNull();
  }
  return mlirArrayAttrGetElement(list, (intptr_t)index);
}

static MlirAttribute element_of(MlirAttribute dictionary, const char *name) {
  if (mlirAttributeIsNull(dictionary) ||
      !mlirAttributeIsADictionary(dictionary)) {
    return mlirAttributeGetNull();
  }
  return mlirDictionaryAttrGetElementByName(dictionary, ibx_ref(name));
}

// A port without attributes, as in text written by hand, is called by its
// number and has the type of its value.
static ibx_status read_port(const reader *r, MlirOperation func,
                            const char *list_name, size_t index,
                            ibx_port *port) {
  bool is_input = list_name[0] == 'a';
  MlirAttribute dictionary = port_dictionary(func, list_name, index);
  MlirAttribute name = element_of(dictionary, "ibx.name");
  MlirAttribute type = element_of(dictionary, "ibx.type");
  MlirAttribute state = element_of(dictionary, "ibx.state");
  port->type = r->graph->values[port->value].type;
  port->state = -1;
  port->name = NULL;
  if (!mlirAttributeIsNull(name) && mlirAttributeIsAString(name)) {
    port->name = ibx_ref_copy(mlirStringAttrGetValue(name), r->arena);
  } else {
    port->name =
        ibx_arena_format(r->arena, is_input ? "input%zu" : "output%zu", index);
  }
  if (!mlirAttributeIsNull(state) && mlirAttributeIsAInteger(state)) {
    port->state = (int32_t)mlirIntegerAttrGetValueInt(state);
  }
  if (mlirAttributeIsNull(type)) return IBX_OK;
  if (!mlirAttributeIsAType(type) ||
      !ibx_ir_read_type(r->ir, mlirTypeAttrGetValue(type), &port->type)) {
    return fail_at(r, func, "ibx.type of a port is no static tensor");
  }
  return IBX_OK;
}

static ibx_status read_inputs(reader *r, MlirOperation func, MlirBlock body) {
  ibx_graph *graph = r->graph;
  graph->input_count = (size_t)mlirBlockGetNumArguments(body);
  graph->inputs = IBX_ARENA_ARRAY(r->arena, graph->input_count, ibx_port);
  for (size_t i = 0; i < graph->input_count; i++) {
    ibx_value value = {.node = IBX_NO_VALUE, .input = (uint32_t)i};
    MlirType type = mlirValueGetType(mlirBlockGetArgument(body, (intptr_t)i));
    if (!ibx_ir_read_type(r->ir, type, &value.type)) {
      return fail_at(r, func, "an argument is no static tensor");
    }
    graph->inputs[i].value = (uint32_t)graph->value_count;
    graph->values[graph->value_count++] = value;
    IBX_TRY(read_port(r, func, "arg_attrs", i, &graph->inputs[i]));
  }
  return IBX_OK;
}

static ibx_status read_outputs(reader *r, MlirOperation func,
                               MlirOperation end) {
  ibx_graph *graph = r->graph;
  graph->output_count = (size_t)mlirOperationGetNumOperands(end);
  graph->outputs = IBX_ARENA_ARRAY(r->arena, graph->output_count, ibx_port);
  for (size_t i = 0; i < graph->output_count; i++) {
    uint32_t value = read_value(r, mlirOperationGetOperand(end, (intptr_t)i));
    if (value == IBX_NO_VALUE) return fail_at(r, end, "returns no value");
    graph->outputs[i].value = value;
    IBX_TRY(read_port(r, func, "res_attrs", i, &graph->outputs[i]));
  }
  return IBX_OK;
}

static size_t count_ops(MlirBlock body) {
  size_t count = 0;
  for (MlirOperation op = mlirBlockGetFirstOperation(body);
       !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    count++;
  }
  return count;
}

static ibx_status read_body(reader *r, MlirOperation func, MlirBlock body) {
  ibx_graph *graph = r->graph;
  size_t ops = count_ops(body);
  size_t values = ops + (size_t)mlirBlockGetNumArguments(body);
  ibx_numbers_init(&r->numbers, ops, r->arena);
  graph->node_room = ops;
  graph->nodes = IBX_ARENA_ARRAY(r->arena, ops, ibx_node);
  graph->value_room = values;
  graph->values = IBX_ARENA_ARRAY(r->arena, values, ibx_value);
  IBX_TRY(read_inputs(r, func, body));
  for (MlirOperation op = mlirBlockGetFirstOperation(body);
       !mlirOperationIsNull(op); op = mlirOperationGetNextInBlock(op)) {
    ibx_kind kind = ibx_ir_kind(r->ir, op);
    if (kind.klass == IBX_KIND_RETURN) return read_outputs(r, func, op);
    if (kind.klass != IBX_KIND_TENSOR) {
      return fail_at(r, op, "is no tensor operation");
    }
    IBX_TRY(read_node(r, op, (ibx_tensor_op)kind.number));
  }
  return fail_at(r, func, "has no return");
}

ibx_status ibx_graph_read(ibx_ir *ir, const char *name, ibx_tables *tables,
                          ibx_arena *arena, ibx_graph *out_graph,
                          ibx_error *err) {
  MlirOperation func = ibx_ir_find(ir, name);
  MlirBlock body = {.ptr = NULL};
  if (!mlirOperationIsNull(func)) body = ibx_ir_body(func);
  if (mlirBlockIsNull(body)) {
    return IBX_FAIL(err, INTERNAL, "the module has no function @%s", name);
  }
  *out_graph = (ibx_graph){.arena = arena, .tables = tables};
  out_graph->name = ibx_arena_text(arena, name, strlen(name));
  reader r = {.ir = ir, .graph = out_graph, .arena = arena, .err = err};
  return read_body(&r, func, body);
}
