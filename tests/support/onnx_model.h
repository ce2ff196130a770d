// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_ONNX_MODEL_H
#define IBX_TEST_ONNX_MODEL_H

/// \file
/// Models made by hand for tests: messages in an arena, packed to bytes.

#include "support/arena.h"

#include <onnx.pb-c.h>

#include <string.h>

enum { TEST_MOST = 64 };

typedef struct test_model {
  ibx_arena *arena;
  Onnx__ModelProto model;
  Onnx__GraphProto graph;
  Onnx__OperatorSetIdProto *opsets[TEST_MOST];
  Onnx__FunctionProto *functions[TEST_MOST];
  Onnx__NodeProto *nodes[TEST_MOST];
  Onnx__TensorProto *initializers[TEST_MOST];
  Onnx__ValueInfoProto *inputs[TEST_MOST], *outputs[TEST_MOST];
} test_model;

static inline void test_opset(test_model *m, const char *domain,
                              int64_t version) {
  Onnx__OperatorSetIdProto *opset =
      IBX_ARENA_NEW(m->arena, Onnx__OperatorSetIdProto);
  onnx__operator_set_id_proto__init(opset);
  opset->domain = (char *)(uintptr_t)domain;
  opset->has_version = true;
  opset->version = version;
  m->opsets[m->model.n_opset_import++] = opset;
}

static inline void test_model_init(test_model *m, ibx_arena *arena) {
  *m = (test_model){.arena = arena};
  onnx__model_proto__init(&m->model);
  onnx__graph_proto__init(&m->graph);
  m->model.has_ir_version = true;
  m->model.ir_version = 8;
  m->model.graph = &m->graph;
  m->model.opset_import = m->opsets;
  m->model.functions = m->functions;
  m->graph.node = m->nodes;
  m->graph.initializer = m->initializers;
  m->graph.input = m->inputs;
  m->graph.output = m->outputs;
  test_opset(m, "", 17);
}

/// Names separated by blanks; "-" is the empty name.
static inline char **test_names(ibx_arena *arena, const char *names,
                                size_t *out_count) {
  char **list = IBX_ARENA_ARRAY(arena, TEST_MOST, char *);
  *out_count = 0;
  for (const char *at = names; *at != 0;) {
    size_t len = strcspn(at, " ");
    bool empty = len == 1 && *at == '-';
    list[(*out_count)++] = ibx_arena_text(arena, at, empty ? 0 : len);
    at += len;
    at += strspn(at, " ");
  }
  return list;
}

static inline Onnx__NodeProto *test_make_node(ibx_arena *arena, const char *op,
                                              const char *name,
                                              const char *inputs,
                                              const char *outputs) {
  Onnx__NodeProto *node = IBX_ARENA_NEW(arena, Onnx__NodeProto);
  onnx__node_proto__init(node);
  node->op_type = (char *)(uintptr_t)op;
  node->name = (char *)(uintptr_t)name;
  node->input = test_names(arena, inputs, &node->n_input);
  node->output = test_names(arena, outputs, &node->n_output);
  node->attribute = IBX_ARENA_ARRAY(arena, 8, Onnx__AttributeProto *);
  return node;
}

static inline Onnx__NodeProto *test_node(test_model *m, const char *op,
                                         const char *name, const char *inputs,
                                         const char *outputs) {
  Onnx__NodeProto *node = test_make_node(m->arena, op, name, inputs, outputs);
  m->nodes[m->graph.n_node++] = node;
  return node;
}

static inline Onnx__AttributeProto *
test_attribute(ibx_arena *arena, Onnx__NodeProto *node, const char *name) {
  Onnx__AttributeProto *attribute = IBX_ARENA_NEW(arena, Onnx__AttributeProto);
  onnx__attribute_proto__init(attribute);
  attribute->name = (char *)(uintptr_t)name;
  if (node) node->attribute[node->n_attribute++] = attribute;
  return attribute;
}

static inline Onnx__ValueInfoProto *test_value(test_model *m, const char *name,
                                               int dtype, const char *dims) {
  Onnx__ValueInfoProto *info = IBX_ARENA_NEW(m->arena, Onnx__ValueInfoProto);
  Onnx__TypeProto *type = IBX_ARENA_NEW(m->arena, Onnx__TypeProto);
  Onnx__TypeProto__Tensor *tensor =
      IBX_ARENA_NEW(m->arena, Onnx__TypeProto__Tensor);
  Onnx__TensorShapeProto *shape =
      IBX_ARENA_NEW(m->arena, Onnx__TensorShapeProto);
  onnx__value_info_proto__init(info);
  onnx__type_proto__init(type);
  onnx__type_proto__tensor__init(tensor);
  onnx__tensor_shape_proto__init(shape);
  char **list = test_names(m->arena, dims, &shape->n_dim);
  shape->dim = IBX_ARENA_ARRAY(m->arena, shape->n_dim,
                               Onnx__TensorShapeProto__Dimension *);
  for (size_t i = 0; i < shape->n_dim; i++) {
    Onnx__TensorShapeProto__Dimension *dim =
        IBX_ARENA_NEW(m->arena, Onnx__TensorShapeProto__Dimension);
    onnx__tensor_shape_proto__dimension__init(dim);
    bool number = list[i][0] >= '0' && list[i][0] <= '9';
    dim->value_case =
        number ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
               : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    if (number) {
      for (const char *c = list[i]; *c != 0; c++) {
        dim->dim_value = dim->dim_value * 10 + (*c - '0');
      }
    } else {
      dim->dim_param = list[i];
    }
    shape->dim[i] = dim;
  }
  tensor->has_elem_type = true;
  tensor->elem_type = dtype;
  tensor->shape = shape;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  info->name = (char *)(uintptr_t)name;
  info->type = type;
  return info;
}

/// `dims` are numbers or names, separated by blanks. ONNX data types: 1 is f32,
/// 7 is i64.
static inline void test_input(test_model *m, const char *name, int dtype,
                              const char *dims) {
  m->inputs[m->graph.n_input++] = test_value(m, name, dtype, dims);
}

static inline void test_output(test_model *m, const char *name) {
  Onnx__ValueInfoProto *info = IBX_ARENA_NEW(m->arena, Onnx__ValueInfoProto);
  onnx__value_info_proto__init(info);
  info->name = (char *)(uintptr_t)name;
  m->outputs[m->graph.n_output++] = info;
}

/// A constant whose bytes are borrowed.
static inline void test_initializer(test_model *m, const char *name, int dtype,
                                    const int64_t *dims, size_t rank,
                                    const void *data, size_t size) {
  Onnx__TensorProto *tensor = IBX_ARENA_NEW(m->arena, Onnx__TensorProto);
  onnx__tensor_proto__init(tensor);
  tensor->name = (char *)(uintptr_t)name;
  tensor->has_data_type = true;
  tensor->data_type = dtype;
  tensor->n_dims = rank;
  tensor->dims = IBX_ARENA_ARRAY(m->arena, rank, int64_t);
  if (rank != 0) memcpy(tensor->dims, dims, rank * sizeof(*dims));
  tensor->has_raw_data = true;
  tensor->raw_data.len = size;
  tensor->raw_data.data = (uint8_t *)(uintptr_t)data;
  m->initializers[m->graph.n_initializer++] = tensor;
}

static inline ibx_span test_pack(test_model *m) {
  size_t size = onnx__model_proto__get_packed_size(&m->model);
  uint8_t *data = ibx_arena_alloc(m->arena, size);
  onnx__model_proto__pack(&m->model, data);
  return (ibx_span){.data = data, .size = size};
}

#endif
