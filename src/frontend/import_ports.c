// SPDX-License-Identifier: Apache-2.0
//
// Inputs of the model. Comes in: what ONNX declares, and the user's shapes,
// dimensions, lengths and values. Goes out: values of the graph and ports for all
// inputs but those that the user gave a value, which are constants; of a sequence
// or an optional a port for each tensor in it. Holds afterwards: every extent of
// a port and every length is known; each one that is not was reported with the
// option that gives it.

#include "frontend/import_ports.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// --- inputs ------------------------------------------------------------------

static const ibx_input_shape *find_shape(const ibx_frontend_options *options,
                                         const char *name) {
  for (size_t i = 0; i < options->input_shape_count; i++) {
    if (strcmp(options->input_shapes[i].name, name) == 0) {
      return &options->input_shapes[i];
    }
  }
  return NULL;
}

static const ibx_input_value *find_value(const ibx_frontend_options *options,
                                         const char *name) {
  for (size_t i = 0; i < options->input_value_count; i++) {
    if (strcmp(options->input_values[i].name, name) == 0) {
      return &options->input_values[i];
    }
  }
  return NULL;
}

static const ibx_dim_value *find_dim(const ibx_frontend_options *options,
                                     const char *name) {
  for (size_t i = 0; i < options->dim_count; i++) {
    if (strcmp(options->dims[i].name, name) == 0) return &options->dims[i];
  }
  return NULL;
}

ibx_diag_at ibx_declared_at(const ibx_declared *p, const char *kind) {
  return (ibx_diag_at){.node = p->name, .op = kind};
}

static void report_symbolic(const ibx_declared *p, size_t index,
                            const char *symbol) {
  char remedy[200];
  if (symbol[0] != 0) {
    snprintf(remedy, sizeof(remedy), "give its value with --dim %.60s=VALUE",
             symbol);
  } else {
    snprintf(remedy, sizeof(remedy),
             "give the shape with --input-shape %.60s=1x2x3", p->name);
  }
  ibx_diag_at at = ibx_declared_at(p, "input");
  at.attribute = symbol;
  at.input = p->name;
  at.input_index = p->place;
  at.wants_shape = true;
  ibx_diag_add(p->import->sink, IBX_DIAG_SYMBOLIC_DIM, at, remedy,
               "dimension %zu%s%s%s is not fixed", index,
               symbol[0] != 0 ? " ('" : "", symbol, symbol[0] != 0 ? "')" : "");
}

static void report_conflict(const ibx_declared *p, size_t index, uint64_t given,
                            int64_t fixed) {
  ibx_diag_add(p->import->sink, IBX_DIAG_SHAPE_OPTION,
               ibx_declared_at(p, "input"),
               "leave the option out, or change the model",
               "dimension %zu is %" PRIu64 " in the options, but %" PRId64
               " in the model",
               index, given, fixed);
}

// Some exporters write -1 for an extent that they leave open.
static bool is_fixed(const Onnx__TensorShapeProto__Dimension *dim) {
  return dim->value_case ==
             ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
         dim->dim_value != -1;
}

// One extent: from --input-shape, the model, or --dim.
static int64_t resolve_dim(const ibx_declared *p, size_t index) {
  const Onnx__TensorShapeProto__Dimension *dim = p->shape->dim[index];
  bool fixed = is_fixed(dim);
  const char *symbol =
      dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
          ? ibx_onnx_text(dim->dim_param)
          : "";
  uint64_t given = p->given ? p->given->shape[index] : 0;
  if (fixed && p->given && given != (uint64_t)dim->dim_value) {
    report_conflict(p, index, given, dim->dim_value);
  }
  if (fixed) return dim->dim_value;
  if (p->given) return (int64_t)given;
  const ibx_dim_value *value = find_dim(p->import->options, symbol);
  if (value) return (int64_t)value->value;
  report_symbolic(p, index, symbol);
  return 1;
}

static bool resolve_shape(ibx_declared *p) {
  size_t rank = p->shape ? p->shape->n_dim : p->given ? p->given->rank : 0;
  if (!p->shape && !p->given) {
    report_symbolic(p, 0, "");
    return false;
  }
  if (p->shape && p->given && p->given->rank != rank) {
    ibx_diag_add(p->import->sink, IBX_DIAG_SHAPE_OPTION,
                 ibx_declared_at(p, "input"),
                 "give as many extents as the input has dimensions",
                 "the options give %zu extents, the input has %zu dimensions",
                 p->given->rank, rank);
    return false;
  }
  if (rank > IBX_MAX_RANK) {
    ibx_diag_add(p->import->sink, IBX_DIAG_UNSUPPORTED_RANK,
                 ibx_declared_at(p, "input"), "merge dimensions of the input",
                 "the input has %zu dimensions, Imbrex handles %d", rank,
                 IBX_MAX_RANK);
    return false;
  }
  p->type.rank = (uint8_t)rank;
  for (size_t i = 0; i < rank; i++) {
    p->type.dims[i] =
        p->shape ? resolve_dim(p, i) : (int64_t)p->given->shape[i];
  }
  return true;
}

static bool check_extents(const ibx_declared *p) {
  int64_t elements = 0;
  for (uint8_t i = 0; i < p->type.rank; i++) {
    if (p->type.dims[i] >= 0) continue;
    ibx_diag_add(p->import->sink, IBX_DIAG_BAD_SHAPE,
                 ibx_declared_at(p, "input"), "correct the shape in the model",
                 "dimension %u has extent %" PRId64, i, p->type.dims[i]);
    return false;
  }
  if (ibx_type_elements(&p->type, &elements) && elements <= IBX_MOST_ELEMENTS) {
    return true;
  }
  ibx_diag_add(p->import->sink, IBX_DIAG_BAD_SHAPE, ibx_declared_at(p, "input"),
               "correct the shape in the model",
               "the input has more than %d elements", IBX_MOST_ELEMENTS);
  return false;
}

bool ibx_declared_read(ibx_declared *p, const Onnx__TypeProto *type,
                       const char *kind) {
  const Onnx__TypeProto__Tensor *tensor =
      type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
          ? type->tensor_type
          : NULL;
  if (!tensor) {
    ibx_diag_add(p->import->sink, IBX_DIAG_INPUT_TYPE, ibx_declared_at(p, kind),
                 "use tensors at the border of the model",
                 "the %s is no tensor (or has no type)", kind);
    return false;
  }
  p->shape = tensor->shape;
  p->type.dtype =
      ibx_dtype_from_onnx(tensor->has_elem_type ? tensor->elem_type : 0);
  if (p->type.dtype != IBX_DTYPE_NONE) return true;
  ibx_diag_add(p->import->sink, IBX_DIAG_INPUT_TYPE, ibx_declared_at(p, kind),
               "use an element type that `imbrex ops` lists",
               "the %s has ONNX element type %d", kind, tensor->elem_type);
  return false;
}

// What has no elements is known: a constant, so that no pass meets it.
static ibx_val import_empty(ibx_import *import, const ibx_declared *p) {
  const char *name = ibx_arena_text(import->arena, p->name, strlen(p->name));
  ibx_weight weight = {.type = p->type, .data = "", .name = name};
  return ibx_import_named_constant(import, weight);
}

// An input whose value the user gave is a constant of that value.
static ibx_binding import_value(ibx_import *import, const char *input,
                                const Onnx__TypeProto *type,
                                const ibx_input_value *given) {
  ibx_declared p = {.import = import, .name = input};
  ibx_binding binding = {.name = p.name, .value = IBX_NO_VALUE, .failed = true};
  ibx_input_shape shape = {.name = p.name, .rank = given->rank};
  memcpy(shape.shape, given->shape, sizeof(shape.shape));
  p.given = &shape;
  size_t errors = import->sink->error_count;
  if (!ibx_declared_read(&p, type, "input") || !resolve_shape(&p)) {
    return binding;
  }
  if (p.type.dtype != given->dtype) {
    ibx_diag_add(
        import->sink, IBX_DIAG_VALUE_OPTION, ibx_declared_at(&p, "input"),
        "give a value of the input's type", "the value is %s, the input %s",
        ibx_dtype_get(given->dtype)->name, ibx_dtype_get(p.type.dtype)->name);
  }
  if (errors != import->sink->error_count) return binding;
  if (p.type.dtype == IBX_DTYPE_STRING) {
    binding.value = ibx_import_texts(import, given->data);
    binding.failed = false;
    return binding;
  }
  const char *name = ibx_arena_text(import->arena, p.name, strlen(p.name));
  ibx_weight weight = {.type = p.type, .data = given->data, .name = name};
  binding.value = ibx_import_named_constant(import, weight);
  binding.failed = false;
  return binding;
}

static ibx_binding import_tensor(ibx_import *import, const char *name,
                                 const Onnx__TypeProto *type, size_t place) {
  ibx_declared p = {.import = import, .name = name, .place = place};
  ibx_binding failed = {.name = p.name, .value = IBX_NO_VALUE, .failed = true};
  const ibx_input_value *value = find_value(import->options, p.name);
  if (value) return import_value(import, name, type, value);
  p.given = find_shape(import->options, p.name);
  if (!ibx_declared_read(&p, type, "input")) return failed;
  size_t errors = import->sink->error_count;
  if (!resolve_shape(&p) || !check_extents(&p)) return failed;
  if (errors != import->sink->error_count) return failed;
  ibx_graph *graph = &import->graph;
  uint32_t index = (uint32_t)graph->input_count++;
  ibx_val input = ibx_graph_add_input(graph, p.type, index);
  graph->inputs[index] =
      (ibx_port){.name = ibx_arena_text(import->arena, p.name, strlen(p.name)),
                 .value = input,
                 .type = p.type,
                 .state = -1};
  import->input_places[index] = place;
  bool is_empty = ibx_elements(&p.type) == 0 &&
                  p.type.dtype != IBX_DTYPE_STRING; // those meet no pass
  return (ibx_binding){.name = p.name,
                       .value = is_empty ? import_empty(import, &p) : input};
}

// --- inputs that are sequences or optionals -----------------------------------

// Past that, a program has more ports than its tables can number.
enum { MOST_ITEMS = 1024, NO_PLACE = -1 };

// The type behind `optional` and `seq`, and which of them there were.
const Onnx__TypeProto *ibx_declared_element(const Onnx__TypeProto *type,
                                            ibx_port_kind *out_kind) {
  *out_kind = IBX_PORT_TENSOR;
  if (type && type->value_case == ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE) {
    *out_kind = IBX_PORT_OPTIONAL;
    type = type->optional_type->elem_type;
  }
  if (type && type->value_case == ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE) {
    *out_kind = *out_kind == IBX_PORT_OPTIONAL ? IBX_PORT_OPTIONAL_SEQUENCE
                                               : IBX_PORT_SEQUENCE;
    type = type->sequence_type->elem_type;
  }
  return type;
}

bool ibx_port_is_sequence(ibx_port_kind kind) {
  return kind == IBX_PORT_SEQUENCE || kind == IBX_PORT_OPTIONAL_SEQUENCE;
}

const char *ibx_port_item_name(ibx_import *import, const char *name,
                               ibx_port_kind kind, size_t index) {
  if (!ibx_port_is_sequence(kind)) return name;
  return ibx_arena_format(import->arena, "%s[%zu]", name, index);
}

// The position in NAME[position]; false for other texts.
static bool item_position(const char *text, const char *name,
                          uint64_t *out_position) {
  size_t len = strlen(name);
  if (strncmp(text, name, len) != 0 || text[len] != '[') return false;
  uint64_t position = 0;
  const char *at = text + len + 1;
  if (*at == ']') return false;
  for (; *at >= '0' && *at <= '9' && position <= MOST_ITEMS; at++)
    position = 10 * position + (uint64_t)(*at - '0');
  *out_position = position;
  return at[0] == ']' && at[1] == 0;
}

static void count_item(const char *text, const char *name, ibx_port_kind kind,
                       ibx_input_length *length) {
  uint64_t position = 0;
  bool fits = ibx_port_is_sequence(kind) ? item_position(text, name, &position)
                                         : strcmp(text, name) == 0;
  if (fits && position >= length->count) length->count = position + 1;
}

// How many tensors the input holds: from --length, or as many as the user gave
// shapes and values for. False when nothing says so.
static bool find_length(const ibx_frontend_options *options, const char *name,
                        ibx_port_kind kind, ibx_input_length *out) {
  *out = (ibx_input_length){.name = name};
  for (size_t i = 0; i < options->input_length_count; i++) {
    if (strcmp(options->input_lengths[i].name, name) != 0) continue;
    *out = options->input_lengths[i];
    return true;
  }
  for (size_t i = 0; i < options->input_shape_count; i++)
    count_item(options->input_shapes[i].name, name, kind, out);
  for (size_t i = 0; i < options->input_value_count; i++)
    count_item(options->input_values[i].name, name, kind, out);
  return out->count != 0;
}

static bool resolve_length(ibx_declared *p, ibx_port_kind kind,
                           ibx_input_length *out) {
  if (!find_length(p->import->options, p->name, kind, out)) {
    ibx_diag_at at = ibx_declared_at(p, "input");
    at.input = p->name;
    at.input_index = p->place;
    at.wants_shape = at.wants_length = true;
    const char *remedy = ibx_arena_format(
        &p->import->scratch, "give it with --length %.60s=%s", p->name,
        kind == IBX_PORT_SEQUENCE   ? "COUNT"
        : kind == IBX_PORT_OPTIONAL ? "1, or =none"
                                    : "COUNT, or =none");
    ibx_diag_add(p->import->sink, IBX_DIAG_SYMBOLIC_DIM, at, remedy,
                 ibx_port_is_sequence(kind)
                     ? "how long the sequence is, is not known"
                     : "whether the optional has an element, is "
                       "not known");
    return false;
  }
  uint64_t most = ibx_port_is_sequence(kind) ? MOST_ITEMS : 1;
  bool fits = out->count <= most &&
              !(out->is_absent && kind == IBX_PORT_SEQUENCE) &&
              (out->is_absent || kind != IBX_PORT_OPTIONAL || out->count == 1);
  if (fits) return true;
  ibx_diag_add(p->import->sink, IBX_DIAG_SHAPE_OPTION,
               ibx_declared_at(p, "input"),
               kind == IBX_PORT_OPTIONAL ? "give 1 or none"
                                         : "give a length of at most 1024",
               "the input cannot have that length");
  return false;
}

void ibx_port_add(ibx_import *import, ibx_port_decl **ports, size_t *count,
                  ibx_port_decl decl) {
  ibx_port_decl *larger =
      IBX_ARENA_ARRAY(import->arena, *count + 1, ibx_port_decl);
  if (*count != 0) memcpy(larger, *ports, *count * sizeof(*larger));
  decl.name = ibx_arena_text(import->arena, decl.name, strlen(decl.name));
  larger[(*count)++] = decl;
  *ports = larger;
}

static void add_input_port(ibx_import *import, ibx_port_decl decl) {
  decl.count = (uint32_t)import->graph.input_count - decl.first;
  ibx_port_add(import, &import->stats.input_ports,
               &import->stats.input_port_count, decl);
}

static void make_input_room(ibx_import *import, size_t count) {
  ibx_graph *graph = &import->graph;
  size_t have = graph->input_count;
  ibx_port *larger = IBX_ARENA_ARRAY(import->arena, have + count, ibx_port);
  size_t *places = IBX_ARENA_ARRAY(&import->scratch, have + count, size_t);
  if (have != 0) memcpy(larger, graph->inputs, have * sizeof(*larger));
  if (have != 0) memcpy(places, import->input_places, have * sizeof(*places));
  graph->inputs = larger;
  import->input_places = places;
}

static ibx_val wrap_items(ibx_import *import, ibx_port_kind kind,
                          const ibx_input_length *length, ibx_dtype dtype,
                          const ibx_val *items) {
  ibx_bundle bundle = {
      .dtype = dtype, .items = items, .count = (size_t)length->count};
  if (kind == IBX_PORT_OPTIONAL) bundle.is_optional = true;
  ibx_val value = ibx_make_bundle(import, bundle);
  if (kind != IBX_PORT_OPTIONAL_SEQUENCE) return value;
  ibx_val *element = IBX_ARENA_ARRAY(&import->scratch, 1, ibx_val);
  *element = value;
  return ibx_make_bundle(import, (ibx_bundle){.is_optional = true,
                                              .dtype = dtype,
                                              .items = element,
                                              .count = !length->is_absent});
}

static ibx_binding import_bundle(ibx_declared *p,
                                 const Onnx__TypeProto *element,
                                 ibx_port_kind kind) {
  ibx_import *import = p->import;
  ibx_binding binding = {
      .name = p->name, .value = IBX_NO_VALUE, .failed = true};
  ibx_input_length length;
  if (!ibx_declared_read(p, element, "input") ||
      !resolve_length(p, kind, &length)) {
    return binding;
  }
  make_input_room(import, (size_t)length.count);
  ibx_val *items =
      IBX_ARENA_ARRAY(&import->scratch, (size_t)length.count, ibx_val);
  for (size_t i = 0; i < length.count; i++) {
    const char *name = ibx_port_item_name(import, p->name, kind, i);
    ibx_binding item = import_tensor(import, name, element, (size_t)NO_PLACE);
    if (item.failed) return binding;
    items[i] = item.value;
  }
  binding.value = wrap_items(import, kind, &length, p->type.dtype, items);
  binding.failed = false;
  add_input_port(import, (ibx_port_decl){.name = p->name,
                                         .kind = kind,
                                         .first = p->first,
                                         .is_absent = length.is_absent});
  return binding;
}

static ibx_binding import_input(ibx_import *import,
                                const Onnx__ValueInfoProto *info,
                                size_t place) {
  ibx_declared p = {.import = import,
                    .name = ibx_onnx_text(info->name),
                    .place = place,
                    .first = (uint32_t)import->graph.input_count};
  ibx_port_kind kind;
  const Onnx__TypeProto *element = ibx_declared_element(info->type, &kind);
  if (kind != IBX_PORT_TENSOR) return import_bundle(&p, element, kind);
  make_input_room(import, 1);
  bool is_map =
      element && element->value_case == ONNX__TYPE_PROTO__VALUE_MAP_TYPE;
  if (is_map) element = ibx_map_type(import, info);
  ibx_binding binding = import_tensor(import, p.name, element, place);
  if (is_map && !binding.failed) ibx_note_map(import, binding.value);
  if (import->graph.input_count != p.first) {
    add_input_port(import, (ibx_port_decl){.name = p.name, .first = p.first});
  }
  return binding;
}

// What has no name can be neither given nor asked for.
bool ibx_declared_has_name(ibx_import *import, const char *name,
                           const char *kind, size_t index) {
  if (name[0] != 0) return true;
  const char *label = ibx_arena_format(&import->scratch, "%s_%zu", kind, index);
  ibx_diag_add(import->sink, IBX_DIAG_NO_NAME,
               (ibx_diag_at){.node = label, .op = kind},
               "give every input and output a name",
               "%s %zu of the model has no name", kind, index);
  return false;
}

void ibx_import_inputs(ibx_import *import, const ibx_frame *frame,
                       const Onnx__GraphProto *graph) {
  size_t defaults = 0, place = 0;
  for (size_t i = 0; i < graph->n_input; i++) {
    const char *name = ibx_onnx_text(graph->input[i]->name);
    if (!ibx_declared_has_name(import, name, "input", i)) continue;
    const ibx_binding *other = ibx_scope_find(frame->scope, name);
    if (other && !other->tensor) {
      ibx_diag_add(import->sink, IBX_DIAG_DUPLICATE_NAME,
                   (ibx_diag_at){.node = name, .op = "input"},
                   "give each tensor of a graph a name of its own",
                   "two inputs have the name '%s'", name);
    }
    bool has_default = other && other->tensor;
    bool is_given = has_default && find_value(import->options, name);
    if (!other || is_given) {
      ibx_scope_bind(frame->scope,
                     import_input(import, graph->input[i], place));
    }
    defaults += has_default && !is_given;
    place += !has_default;
  }
  // Older models list every initialiser as an input.
  if (defaults == 0 || import->model->proto->ir_version < 4) return;
  ibx_diag_add(import->sink, IBX_DIAG_OVERRIDABLE_INPUT,
               (ibx_diag_at){.node = ibx_onnx_text(graph->name)},
               "remove the initialiser of an input that is to be one",
               "%zu inputs have default values and are compiled as constants",
               defaults);
}
