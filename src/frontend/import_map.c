// SPDX-License-Identifier: Apache-2.0
//
// Imports what makes and reads maps, which a program does not have: a tensor with
// a column for each key stands for them, and a warning says in which order.
// ZipMap: comes in scores [N, C], goes out the same, for a list of N maps.
// DictVectorizer and CastMap: a map that is an input of the model comes in as
// [1, keys], with 0 for those that it lacks, and goes on as it is.

#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/import_trees.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool ibx_is_map(const ibx_import *import, ibx_val value) {
  for (size_t i = 0; i < import->map_count; i++) {
    if (import->maps[i] == value) return true;
  }
  return false;
}

void ibx_note_map(ibx_import *import, ibx_val value) {
  ibx_val *larger =
      IBX_ARENA_ARRAY(&import->scratch, import->map_count + 1, ibx_val);
  for (size_t i = 0; i < import->map_count; i++)
    larger[i] = import->maps[i];
  larger[import->map_count++] = value;
  import->maps = larger;
}

// How many columns the map has that a node reads; 0 for other nodes.
static uint64_t read_columns(const Onnx__NodeProto *node) {
  bool is_cast = strcmp(ibx_onnx_text(node->op_type), "CastMap") == 0;
  bool is_vector = strcmp(ibx_onnx_text(node->op_type), "DictVectorizer") == 0;
  bool is_sparse = false;
  uint64_t count = 0;
  for (size_t i = 0; i < node->n_attribute; i++) {
    const Onnx__AttributeProto *a = node->attribute[i];
    const char *name = ibx_onnx_text(a->name);
    if (is_vector && strcmp(name, "string_vocabulary") == 0)
      count += a->n_strings;
    if (is_vector && strcmp(name, "int64_vocabulary") == 0) count += a->n_ints;
    if (is_cast && strcmp(name, "max_map") == 0 && a->i > 0)
      count = (uint64_t)a->i;
    is_sparse |= strcmp(name, "map_form") == 0 && a->s.len == 6 &&
                 memcmp(a->s.data, "SPARSE", 6) == 0;
  }
  return is_cast && !is_sparse ? 0 : count;
}

// The node of the graph that reads an input which is a map; NULL where none or
// several do, whose columns might differ.
static const Onnx__NodeProto *find_reader(const Onnx__GraphProto *graph,
                                          const char *name) {
  const Onnx__NodeProto *found = NULL;
  for (size_t i = 0; i < graph->n_node; i++) {
    const Onnx__NodeProto *node = graph->node[i];
    for (size_t j = 0; j < node->n_input; j++) {
      if (strcmp(ibx_onnx_text(node->input[j]), name) != 0) continue;
      if (found) return NULL;
      found = node;
    }
  }
  return found;
}

const Onnx__TypeProto *ibx_map_type(ibx_import *import,
                                    const Onnx__ValueInfoProto *info) {
  enum { ROWS, COLUMNS, RANK };
  ibx_arena *arena = &import->scratch;
  const Onnx__NodeProto *reader =
      find_reader(import->model->proto->graph, ibx_onnx_text(info->name));
  const Onnx__TypeProto *value = info->type->map_type->value_type;
  uint64_t columns = reader ? read_columns(reader) : 0;
  if (columns == 0 || columns > IBX_MOST_ELEMENTS || !value ||
      value->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
    return info->type;
  }
  Onnx__TypeProto *type = IBX_ARENA_NEW(arena, Onnx__TypeProto);
  Onnx__TypeProto__Tensor *tensor =
      IBX_ARENA_NEW(arena, Onnx__TypeProto__Tensor);
  Onnx__TensorShapeProto *shape = IBX_ARENA_NEW(arena, Onnx__TensorShapeProto);
  onnx__type_proto__init(type);
  *tensor = *value->tensor_type;
  onnx__tensor_shape_proto__init(shape);
  shape->dim =
      IBX_ARENA_ARRAY(arena, RANK, Onnx__TensorShapeProto__Dimension *);
  for (size_t d = 0; d < RANK; d++) {
    Onnx__TensorShapeProto__Dimension *dim =
        IBX_ARENA_NEW(arena, Onnx__TensorShapeProto__Dimension);
    onnx__tensor_shape_proto__dimension__init(dim);
    dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    dim->dim_value = d == ROWS ? 1 : (int64_t)columns;
    shape->dim[shape->n_dim++] = dim;
  }
  tensor->shape = shape;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  return type;
}

// The first names, as far as a line has room.
static const char *list_names(ibx_call *call, const char *texts,
                              const char *ints) {
  enum { ROOM = 96, MOST_NAME = 32 };
  const Onnx__AttributeProto *text = IBX_ATTR(call, texts, STRINGS);
  bool is_text = text && text->n_strings != 0;
  size_t count, used = 0;
  const int64_t *numbers = ibx_attr_longs(call, ints, &count);
  if (is_text) count = text->n_strings;
  char line[ROOM + MOST_NAME + 8] = "";
  for (size_t i = 0; i < count; i++) {
    const char *comma = i == 0 ? "" : ", ";
    if (used > ROOM) {
      snprintf(line + used, sizeof line - used, "%s...", comma);
      break;
    }
    int added = is_text
                    ? snprintf(line + used, sizeof line - used, "%s%.*s", comma,
                               (int)(text->strings[i].len < MOST_NAME
                                         ? text->strings[i].len
                                         : MOST_NAME),
                               (const char *)text->strings[i].data)
                    : snprintf(line + used, sizeof line - used, "%s%" PRId64,
                               comma, numbers[i]);
    used += added > 0 ? (size_t)added : 0;
  }
  return ibx_arena_format(&call->import->scratch, "%s", line);
}

void ibx_import_op_zip_map(ibx_call *call) {
  static const char *const texts = "classlabels_strings";
  static const char *const ints = "classlabels_int64s";
  ibx_val x = ibx_in(call, 0);
  int64_t rank = ibx_rank(call, x);
  int64_t classes = ibx_label_count(call, texts, ints);
  if (call->failed) return;
  bool fits = (rank == 1 || rank == 2) && ibx_dim(call, x, rank - 1) == classes;
  if (!ibx_call_expect(call, fits, "X",
                       "needs a column for each of the class labels")) {
    return;
  }
  ibx_params params = {.shape = rank == 2 ? ibx_shape_of(call, x)
                                          : IBX_INTS(1, classes)};
  ibx_val scores = ibx_emit_op(call, IBX_TENSOR_reshape, &params, &x, 1);
  if (call->failed) return;
  ibx_note_map(call->import, scores);
  ibx_out(call, 0, scores);
  ibx_diag_add(
      call->import->sink, IBX_DIAG_MAP_AS_TENSOR, call->at,
      "export without ZipMap, which scikit-learn's converter does with "
      "the option zipmap = False",
      "the maps from class to score are a tensor with a row for each "
      "map and a column for each class, in the order %s",
      list_names(call, texts, ints));
}

// The map that is input 0, as a tensor.
static ibx_val map_in(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  if (!ibx_is_map(call->import, x)) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, call->proto->input[0],
                  "make the map an input of the model that nothing else reads",
                  "%s needs a map, '%s' is none", call->at.op,
                  call->proto->input[0]);
  }
  return x;
}

static void say_columns(ibx_call *call, const char *order) {
  ibx_diag_add(call->import->sink, IBX_DIAG_MAP_AS_TENSOR, call->at,
               "give the values of a map in that order, and 0 for keys that it "
               "lacks",
               "the map '%s' is a tensor with a column for each key, in the "
               "order %s",
               call->proto->input[0], order);
}

void ibx_import_op_dict_vectorizer(ibx_call *call) {
  static const char *const texts = "string_vocabulary";
  static const char *const ints = "int64_vocabulary";
  ibx_val x = map_in(call);
  if (call->failed) return;
  say_columns(call, list_names(call, texts, ints));
  ibx_out(call, 0, x);
}

void ibx_import_op_cast_map(ibx_call *call) {
  const char *type = ibx_attr_text(call, "cast_to", "TO_FLOAT");
  bool is_float = strcmp(type, "TO_FLOAT") == 0;
  ibx_attr_ignore(call, "map_form max_map");
  ibx_val x = map_in(call);
  if (call->failed) return;
  if (!is_float && strcmp(type, "TO_INT64") != 0) {
    ibx_call_refuse(call, "cast_to", "cast_to = '%s'", type);
    return;
  }
  say_columns(call, "0, 1, ...");
  ibx_out(call, 0,
          ibx_emit_cast(call, x, is_float ? IBX_DTYPE_F32 : IBX_DTYPE_I64));
}
