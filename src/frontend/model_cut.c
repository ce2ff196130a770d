// SPDX-License-Identifier: Apache-2.0
//
// Cuts a model. In: a model and a choice of its nodes. Out: an ONNX file of
// these. Holds: the messages of the cut have their data, in the mapping or the
// arena, where the importer's have places, so they can be packed as they are.

#include "frontend/model_cut.h"

#include "frontend/model.h"
#include "frontend/onnx_ops.h"
#include "frontend/wire.h"
#include "support/map.h"

#include <stdlib.h>
#include <string.h>

struct ibx_cut {
  ibx_arena arena;
  ibx_model *model;
  Onnx__NodeProto **protos; // of each node below
  ibx_cut_node *nodes;      // in an order in which they can run
  size_t count;
  ibx_map initializers; // to their index in the graph
};

// Data are only read, although messages do not say so.
static uint8_t *lend(const void *data) {
  union {
    const void *from;
    uint8_t *to;
  } pointer = {.from = data};
  return pointer.to;
}

// --- data ----------------------------------------------------------------------

// Elements below a byte lie close in files, element after element from the
// lowest bit.
static ibx_span dense(ibx_dtype dtype, const void *data, uint64_t count,
                      ibx_arena *arena) {
  unsigned width = ibx_dtype_get(dtype)->width;
  size_t size = (size_t)ibx_dtype_dense_bytes(dtype, count);
  if (width >= 8) return (ibx_span){.data = data, .size = size};
  uint8_t *out = ibx_arena_alloc(arena, size);
  const uint8_t *elements = data;
  for (uint64_t i = 0; i < count; i++) {
    for (unsigned bit = 0; bit < width; bit++) {
      uint64_t at = i * width + bit;
      out[at / 8] |= (uint8_t)((elements[i] >> bit & 1u) << at % 8);
    }
  }
  return (ibx_span){.data = out, .size = size};
}

static void set_raw(Onnx__TensorProto *tensor, ibx_span bytes) {
  tensor->has_raw_data = 1;
  tensor->raw_data =
      (ProtobufCBinaryData){.len = bytes.size, .data = lend(bytes.data)};
}

static bool take_external(ibx_cut *cut, Onnx__TensorProto *tensor,
                          ibx_diag_sink *sink) {
  ibx_weight weight;
  int64_t count = 0;
  ibx_diag_at at = {.node = ibx_onnx_text(tensor->name), .op = "initializer"};
  if (!ibx_model_weight(cut->model, tensor, at.node, at, sink, &cut->arena,
                        &weight) ||
      !ibx_type_elements(&weight.type, &count)) {
    return false;
  }
  tensor->has_data_location = 0;
  tensor->n_external_data = 0;
  set_raw(tensor,
          dense(weight.type.dtype, weight.data, (uint64_t)count, &cut->arena));
  return true;
}

// Gives a tensor its data in place of where they are.
static bool fill_tensor(ibx_cut *cut, Onnx__TensorProto *tensor,
                        ibx_diag_sink *sink) {
  ibx_raw_place place;
  if (tensor->has_data_location &&
      tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
    return take_external(cut, tensor, sink);
  }
  if (ibx_wire_raw_place(tensor, &place)) {
    set_raw(tensor, (ibx_span){.data = cut->model->bytes.data + place.offset,
                               .size = (size_t)place.size});
  }
  return true;
}

static bool fill_graph(ibx_cut *cut, Onnx__GraphProto *graph,
                       ibx_diag_sink *sink);

static bool fill_attribute(ibx_cut *cut, Onnx__AttributeProto *attribute,
                           ibx_diag_sink *sink) {
  bool fine = !attribute->t || fill_tensor(cut, attribute->t, sink);
  for (size_t i = 0; fine && i < attribute->n_tensors; i++)
    fine = fill_tensor(cut, attribute->tensors[i], sink);
  if (fine && attribute->g) fine = fill_graph(cut, attribute->g, sink);
  for (size_t i = 0; fine && i < attribute->n_graphs; i++)
    fine = fill_graph(cut, attribute->graphs[i], sink);
  return fine;
}

static bool fill_nodes(ibx_cut *cut, Onnx__NodeProto **nodes, size_t count,
                       ibx_diag_sink *sink) {
  for (size_t n = 0; n < count; n++) {
    for (size_t a = 0; a < nodes[n]->n_attribute; a++) {
      if (!fill_attribute(cut, nodes[n]->attribute[a], sink)) return false;
    }
  }
  return true;
}

static bool fill_graph(ibx_cut *cut, Onnx__GraphProto *graph,
                       ibx_diag_sink *sink) {
  for (size_t i = 0; i < graph->n_initializer; i++) {
    if (!fill_tensor(cut, graph->initializer[i], sink)) return false;
  }
  return fill_nodes(cut, graph->node, graph->n_node, sink);
}

static bool fill_model(ibx_cut *cut, ibx_diag_sink *sink) {
  Onnx__ModelProto *model = cut->model->proto;
  for (size_t f = 0; f < model->n_functions; f++) {
    Onnx__FunctionProto *function = model->functions[f];
    if (!fill_nodes(cut, function->node, function->n_node, sink)) return false;
    for (size_t a = 0; a < function->n_attribute_proto; a++) {
      if (!fill_attribute(cut, function->attribute_proto[a], sink)) {
        return false;
      }
    }
  }
  return fill_graph(cut, model->graph, sink);
}

// --- names ---------------------------------------------------------------------

/// Names, each once, in the order in which they were added.
typedef struct names {
  ibx_arena *arena;
  ibx_map known;
  const char **at;
  size_t count, room;
} names;

static void names_init(names *list, ibx_arena *arena) {
  *list = (names){.arena = arena, .known = {.arena = arena}};
}

static void add_name(names *list, const char *name) {
  if (name[0] == 0 || !ibx_map_put(&list->known, name, 0)) return;
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 4 : 2 * list->room;
    const char **larger = IBX_ARENA_ARRAY(list->arena, room, const char *);
    if (list->count != 0) {
      memcpy(larger, list->at, list->count * sizeof(*larger));
    }
    list->at = larger;
    list->room = room;
  }
  list->at[list->count++] = name;
}

static void add_reads(names *reads, const Onnx__NodeProto *node);

// What a nested graph reads and does not have itself.
static void add_captured(names *reads, const Onnx__GraphProto *graph) {
  names inner, own;
  names_init(&inner, reads->arena);
  names_init(&own, reads->arena);
  for (size_t i = 0; i < graph->n_input; i++)
    add_name(&own, ibx_onnx_text(graph->input[i]->name));
  for (size_t i = 0; i < graph->n_initializer; i++)
    add_name(&own, ibx_onnx_text(graph->initializer[i]->name));
  for (size_t n = 0; n < graph->n_node; n++) {
    for (size_t i = 0; i < graph->node[n]->n_output; i++)
      add_name(&own, graph->node[n]->output[i]);
    add_reads(&inner, graph->node[n]);
  }
  for (size_t i = 0; i < graph->n_output; i++)
    add_name(&inner, ibx_onnx_text(graph->output[i]->name));
  for (size_t i = 0; i < inner.count; i++) {
    uint32_t unused;
    if (ibx_map_find(&own.known, inner.at[i], &unused)) continue;
    add_name(reads, inner.at[i]);
  }
}

static void add_reads(names *reads, const Onnx__NodeProto *node) {
  for (size_t i = 0; i < node->n_input; i++)
    add_name(reads, node->input[i]);
  for (size_t a = 0; a < node->n_attribute; a++) {
    const Onnx__AttributeProto *attribute = node->attribute[a];
    if (attribute->g) add_captured(reads, attribute->g);
    for (size_t g = 0; g < attribute->n_graphs; g++)
      add_captured(reads, attribute->graphs[g]);
  }
}

static ibx_cut_node describe(ibx_cut *cut, const Onnx__NodeProto *node,
                             size_t index) {
  names reads, makes;
  names_init(&reads, &cut->arena);
  names_init(&makes, &cut->arena);
  add_reads(&reads, node);
  for (size_t i = 0; i < node->n_output; i++)
    add_name(&makes, node->output[i]);
  ibx_cut_node out = {.name = ibx_onnx_text(node->name),
                      .op = ibx_onnx_text(node->op_type),
                      .reads = reads.at,
                      .read_count = reads.count,
                      .makes = makes.at,
                      .make_count = makes.count};
  if (out.name[0] == 0) {
    out.name = ibx_arena_format(&cut->arena, "%s_%zu", out.op, index);
  }
  return out;
}

// --- order ---------------------------------------------------------------------

typedef struct sorter {
  ibx_cut *cut;
  const ibx_cut_node *all; // in the order of the file
  ibx_map makers;          // names to these
  uint32_t *seen;          // reads of each that were followed, plus one
  uint32_t *stack;
} sorter;

static void take(sorter *s, uint32_t node) {
  ibx_cut *cut = s->cut;
  cut->protos[cut->count] = cut->model->proto->graph->node[node];
  cut->nodes[cut->count++] = s->all[node];
}

// Depth first, with a stack of its own: a chain may be as long as the file.
static void visit(sorter *s, uint32_t root) {
  size_t top = 0;
  if (s->seen[root] != 0) return;
  s->seen[root] = 1;
  s->stack[top++] = root;
  while (top != 0) {
    uint32_t node = s->stack[top - 1], maker;
    uint32_t next = s->seen[node] - 1;
    if (next == s->all[node].read_count) {
      take(s, node);
      top--;
      continue;
    }
    s->seen[node]++;
    if (!ibx_map_find(&s->makers, s->all[node].reads[next], &maker) ||
        s->seen[maker] != 0) {
      continue;
    }
    s->seen[maker] = 1;
    s->stack[top++] = maker;
  }
}

static void sort_nodes(ibx_cut *cut) {
  const Onnx__GraphProto *graph = cut->model->proto->graph;
  size_t count = graph->n_node;
  ibx_cut_node *all = IBX_ARENA_ARRAY(&cut->arena, count, ibx_cut_node);
  sorter s = {.cut = cut, .all = all, .makers = {.arena = &cut->arena}};
  for (size_t n = 0; n < count; n++) {
    all[n] = describe(cut, graph->node[n], n);
    for (size_t i = 0; i < all[n].make_count; i++)
      ibx_map_put(&s.makers, all[n].makes[i], (uint32_t)n);
  }
  s.seen = IBX_ARENA_ARRAY(&cut->arena, count, uint32_t);
  s.stack = IBX_ARENA_ARRAY(&cut->arena, count, uint32_t);
  cut->nodes = IBX_ARENA_ARRAY(&cut->arena, count, ibx_cut_node);
  cut->protos = IBX_ARENA_ARRAY(&cut->arena, count, Onnx__NodeProto *);
  for (size_t i = 0; i < graph->n_output; i++) {
    uint32_t maker;
    const char *name = ibx_onnx_text(graph->output[i]->name);
    if (ibx_map_find(&s.makers, name, &maker)) visit(&s, maker);
  }
}

static ibx_status prepare(ibx_cut *cut, ibx_diag_sink *sink, ibx_error *err) {
  const Onnx__GraphProto *graph = cut->model->proto->graph;
  if (!graph) return IBX_FAIL(err, INVALID_MODEL, "the model has no graph");
  if (!fill_model(cut, sink)) return ibx_diag_status(sink, err);
  cut->initializers = (ibx_map){.arena = &cut->arena};
  for (size_t i = 0; i < graph->n_initializer; i++) {
    ibx_map_put(&cut->initializers, ibx_onnx_text(graph->initializer[i]->name),
                (uint32_t)i);
  }
  sort_nodes(cut);
  return IBX_OK;
}

ibx_status ibx_cut_open(const char *path, ibx_span memory, ibx_diag_sink *sink,
                        ibx_cut **out_cut, ibx_error *err) {
  *out_cut = NULL;
  ibx_cut *cut = calloc(1, sizeof *cut);
  if (!cut) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a model");
  ibx_status status =
      path ? ibx_model_open_file(path, sink, &cut->model, err)
           : ibx_model_open_memory(memory, sink, &cut->model, err);
  if (status == IBX_OK) status = prepare(cut, sink, err);
  if (status != IBX_OK) {
    ibx_cut_close(cut);
    return status;
  }
  *out_cut = cut;
  return IBX_OK;
}

void ibx_cut_close(ibx_cut *cut) {
  if (!cut) return;
  ibx_model_close(cut->model);
  ibx_arena_reset(&cut->arena);
  free(cut);
}

const ibx_cut_node *ibx_cut_nodes(const ibx_cut *cut, size_t *out_count) {
  *out_count = cut->count;
  return cut->nodes;
}

bool ibx_cut_is_initializer(const ibx_cut *cut, const char *name,
                            ibx_dtype *out_dtype) {
  uint32_t index;
  if (!ibx_map_find(&cut->initializers, name, &index)) return false;
  if (out_dtype) {
    *out_dtype = ibx_dtype_from_onnx(
        cut->model->proto->graph->initializer[index]->data_type);
  }
  return true;
}

// --- writing -------------------------------------------------------------------

static Onnx__TensorProto *make_tensor(const ibx_cut_tensor *from,
                                      ibx_arena *arena) {
  Onnx__TensorProto *tensor = IBX_ARENA_NEW(arena, Onnx__TensorProto);
  onnx__tensor_proto__init(tensor);
  tensor->name = ibx_arena_text(arena, from->name, strlen(from->name));
  tensor->has_data_type = 1;
  tensor->data_type = ibx_dtype_get(from->dtype)->onnx;
  tensor->n_dims = from->rank;
  tensor->dims = IBX_ARENA_ARRAY(arena, from->rank, int64_t);
  uint64_t count = 1;
  for (size_t d = 0; d < from->rank; d++) {
    tensor->dims[d] = (int64_t)from->shape[d];
    count *= from->shape[d];
  }
  set_raw(tensor, dense(from->dtype, from->data, count, arena));
  return tensor;
}

static Onnx__TensorShapeProto *make_shape(const ibx_cut_tensor *from,
                                          ibx_arena *arena) {
  Onnx__TensorShapeProto *shape = IBX_ARENA_NEW(arena, Onnx__TensorShapeProto);
  onnx__tensor_shape_proto__init(shape);
  shape->n_dim = from->rank;
  shape->dim =
      IBX_ARENA_ARRAY(arena, from->rank, Onnx__TensorShapeProto__Dimension *);
  for (size_t d = 0; d < from->rank; d++) {
    shape->dim[d] = IBX_ARENA_NEW(arena, Onnx__TensorShapeProto__Dimension);
    onnx__tensor_shape_proto__dimension__init(shape->dim[d]);
    shape->dim[d]->value_case =
        ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
    shape->dim[d]->dim_value = (int64_t)from->shape[d];
  }
  return shape;
}

static Onnx__ValueInfoProto **make_infos(const ibx_cut_tensor *from,
                                         size_t count, ibx_arena *arena) {
  Onnx__ValueInfoProto **infos =
      IBX_ARENA_ARRAY(arena, count, Onnx__ValueInfoProto *);
  for (size_t i = 0; i < count; i++) {
    Onnx__TypeProto__Tensor *tensor =
        IBX_ARENA_NEW(arena, Onnx__TypeProto__Tensor);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = ibx_dtype_get(from[i].dtype)->onnx;
    tensor->shape = make_shape(&from[i], arena);
    Onnx__TypeProto *type = IBX_ARENA_NEW(arena, Onnx__TypeProto);
    onnx__type_proto__init(type);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    infos[i] = IBX_ARENA_NEW(arena, Onnx__ValueInfoProto);
    onnx__value_info_proto__init(infos[i]);
    infos[i]->name = ibx_arena_text(arena, from[i].name, strlen(from[i].name));
    infos[i]->type = type;
  }
  return infos;
}

static void add_nodes(const ibx_cut *cut, const ibx_cut_part *part,
                      Onnx__GraphProto *graph, ibx_arena *arena) {
  graph->node = IBX_ARENA_ARRAY(arena, cut->count, Onnx__NodeProto *);
  for (size_t n = 0; n < cut->count; n++) {
    if (part->kept[n]) graph->node[graph->n_node++] = cut->protos[n];
  }
}

// The model's own constants that are read, and those of the part.
static void add_initializers(const ibx_cut *cut, const ibx_cut_part *part,
                             Onnx__GraphProto *graph, ibx_arena *arena) {
  const Onnx__GraphProto *from = cut->model->proto->graph;
  names read;
  names_init(&read, arena);
  for (size_t n = 0; n < cut->count; n++) {
    for (size_t i = 0; part->kept[n] && i < cut->nodes[n].read_count; i++)
      add_name(&read, cut->nodes[n].reads[i]);
  }
  graph->initializer = IBX_ARENA_ARRAY(
      arena, read.count + part->initializer_count, Onnx__TensorProto *);
  for (size_t i = 0; i < read.count; i++) {
    uint32_t index;
    if (!ibx_map_find(&cut->initializers, read.at[i], &index)) continue;
    graph->initializer[graph->n_initializer++] = from->initializer[index];
  }
  for (size_t i = 0; i < part->initializer_count; i++) {
    graph->initializer[graph->n_initializer++] =
        make_tensor(&part->initializers[i], arena);
  }
}

ibx_span ibx_cut_write(const ibx_cut *cut, const ibx_cut_part *part,
                       ibx_arena *arena) {
  Onnx__ModelProto model = *cut->model->proto;
  Onnx__GraphProto graph;
  onnx__graph_proto__init(&graph);
  graph.name = model.graph->name;
  add_nodes(cut, part, &graph, arena);
  add_initializers(cut, part, &graph, arena);
  graph.n_input = part->input_count;
  graph.input = make_infos(part->inputs, part->input_count, arena);
  graph.n_output = part->output_count;
  graph.output = make_infos(part->outputs, part->output_count, arena);
  model.graph = &graph;
  size_t size = onnx__model_proto__get_packed_size(&model);
  uint8_t *bytes = ibx_arena_alloc(arena, size);
  return (ibx_span){.data = bytes,
                    .size = onnx__model_proto__pack(&model, bytes)};
}

ibx_span ibx_cut_write_tensor(const ibx_cut_tensor *tensor, ibx_arena *arena) {
  Onnx__TensorProto *proto = make_tensor(tensor, arena);
  uint8_t *bytes =
      ibx_arena_alloc(arena, onnx__tensor_proto__get_packed_size(proto));
  return (ibx_span){.data = bytes,
                    .size = onnx__tensor_proto__pack(proto, bytes)};
}
