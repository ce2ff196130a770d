// SPDX-License-Identifier: Apache-2.0
//
// Inputs and outputs of the model. Comes in: what ONNX declares, and the user's
// shapes, dimensions and values. Goes out: values of the graph for the inputs,
// ports for both but the inputs that the user gave a value, which are constants.
// Holds afterwards: every extent of a port is known; each one that is not was
// reported with the option that gives it.

#include "frontend/import.h"

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

typedef struct port {
  ibx_import *import;
  const char *name;
  const Onnx__TensorShapeProto *declared; // NULL: no shape at all
  const ibx_input_shape *given;           // NULL: none
  size_t place;                           // of an input, see ibx_diagnostic
  ibx_type type;
} port;

static ibx_diag_at at_port(const port *p, const char *kind) {
  return (ibx_diag_at){.node = p->name, .op = kind};
}

static void report_symbolic(const port *p, size_t index, const char *symbol) {
  char remedy[200];
  if (symbol[0] != 0) {
    snprintf(remedy, sizeof(remedy), "give its value with --dim %.60s=VALUE",
             symbol);
  } else {
    snprintf(remedy, sizeof(remedy),
             "give the shape with --input-shape %.60s=1x2x3", p->name);
  }
  ibx_diag_at at = at_port(p, "input");
  at.attribute = symbol;
  at.input = p->name;
  at.input_index = p->place;
  at.wants_shape = true;
  ibx_diag_add(p->import->sink, IBX_DIAG_SYMBOLIC_DIM, at, remedy,
               "dimension %zu%s%s%s is not fixed", index,
               symbol[0] != 0 ? " ('" : "", symbol, symbol[0] != 0 ? "')" : "");
}

static void report_conflict(const port *p, size_t index, uint64_t given,
                            int64_t fixed) {
  ibx_diag_add(p->import->sink, IBX_DIAG_SHAPE_OPTION, at_port(p, "input"),
               "leave the option out, or change the model",
               "dimension %zu is %" PRIu64 " in the options, but %" PRId64
               " in the model",
               index, given, fixed);
}

// One extent: from --input-shape, the model, or --dim.
static int64_t resolve_dim(const port *p, size_t index) {
  const Onnx__TensorShapeProto__Dimension *dim = p->declared->dim[index];
  bool fixed =
      dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
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

static bool resolve_shape(port *p) {
  size_t rank = p->declared ? p->declared->n_dim
                : p->given  ? p->given->rank
                            : 0;
  if (!p->declared && !p->given) {
    report_symbolic(p, 0, "");
    return false;
  }
  if (p->declared && p->given && p->given->rank != rank) {
    ibx_diag_add(p->import->sink, IBX_DIAG_SHAPE_OPTION, at_port(p, "input"),
                 "give as many extents as the input has dimensions",
                 "the options give %zu extents, the input has %zu dimensions",
                 p->given->rank, rank);
    return false;
  }
  if (rank > IBX_MAX_RANK) {
    ibx_diag_add(p->import->sink, IBX_DIAG_UNSUPPORTED_RANK,
                 at_port(p, "input"), "merge dimensions of the input",
                 "the input has %zu dimensions, Imbrex handles %d", rank,
                 IBX_MAX_RANK);
    return false;
  }
  p->type.rank = (uint8_t)rank;
  for (size_t i = 0; i < rank; i++) {
    p->type.dims[i] =
        p->declared ? resolve_dim(p, i) : (int64_t)p->given->shape[i];
  }
  return true;
}

static bool check_extents(const port *p) {
  int64_t bytes = 0;
  for (uint8_t i = 0; i < p->type.rank; i++) {
    if (p->type.dims[i] >= 0) continue;
    ibx_diag_add(p->import->sink, IBX_DIAG_BAD_SHAPE, at_port(p, "input"),
                 "correct the shape in the model",
                 "dimension %u has extent %" PRId64, i, p->type.dims[i]);
    return false;
  }
  if (ibx_type_bytes(&p->type, &bytes) && bytes < INT64_MAX / 64) return true;
  ibx_diag_add(p->import->sink, IBX_DIAG_BAD_SHAPE, at_port(p, "input"),
               "correct the shape in the model",
               "the input has more bytes than can be counted");
  return false;
}

static bool read_dtype(port *p, const Onnx__TypeProto *type, const char *kind) {
  const Onnx__TypeProto__Tensor *tensor =
      type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
          ? type->tensor_type
          : NULL;
  if (!tensor) {
    ibx_diag_add(p->import->sink, IBX_DIAG_INPUT_TYPE, at_port(p, kind),
                 "use tensors at the border of the model",
                 "the %s is no tensor (or has no type)", kind);
    return false;
  }
  p->declared = tensor->shape;
  p->type.dtype =
      ibx_dtype_from_onnx(tensor->has_elem_type ? tensor->elem_type : 0);
  if (p->type.dtype != IBX_DTYPE_NONE) return true;
  ibx_diag_add(p->import->sink, IBX_DIAG_INPUT_TYPE, at_port(p, kind),
               "use an element type that `imbrex ops` lists",
               "the %s has ONNX element type %d", kind, tensor->elem_type);
  return false;
}

// What has no elements is known: a constant, so that no pass meets it.
static ibx_val import_empty(ibx_import *import, const port *p) {
  const char *name = ibx_arena_text(import->arena, p->name, strlen(p->name));
  ibx_weight weight = {.type = p->type, .data = "", .name = name};
  return ibx_import_named_constant(import, weight);
}

// An input whose value the user gave is a constant of that value.
static ibx_binding import_value(ibx_import *import,
                                const Onnx__ValueInfoProto *info,
                                const ibx_input_value *given) {
  port p = {.import = import, .name = ibx_onnx_text(info->name)};
  ibx_binding binding = {.name = p.name, .value = IBX_NO_VALUE, .failed = true};
  ibx_input_shape shape = {.name = p.name, .rank = given->rank};
  memcpy(shape.shape, given->shape, sizeof(shape.shape));
  p.given = &shape;
  size_t errors = import->sink->error_count;
  if (!read_dtype(&p, info->type, "input") || !resolve_shape(&p)) {
    return binding;
  }
  if (p.type.dtype != given->dtype) {
    ibx_diag_add(
        import->sink, IBX_DIAG_VALUE_OPTION, at_port(&p, "input"),
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

static ibx_binding import_input(ibx_import *import,
                                const Onnx__ValueInfoProto *info,
                                size_t place) {
  port p = {
      .import = import, .name = ibx_onnx_text(info->name), .place = place};
  ibx_binding failed = {.name = p.name, .value = IBX_NO_VALUE, .failed = true};
  const ibx_input_value *value = find_value(import->options, p.name);
  if (value) return import_value(import, info, value);
  p.given = find_shape(import->options, p.name);
  if (!read_dtype(&p, info->type, "input")) return failed;
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

// What has no name can be neither given nor asked for.
static bool has_name(ibx_import *import, const char *name, const char *kind,
                     size_t index) {
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
  import->graph.inputs =
      IBX_ARENA_ARRAY(import->arena, graph->n_input, ibx_port);
  import->input_places =
      IBX_ARENA_ARRAY(&import->scratch, graph->n_input, size_t);
  for (size_t i = 0; i < graph->n_input; i++) {
    const char *name = ibx_onnx_text(graph->input[i]->name);
    if (!has_name(import, name, "input", i)) continue;
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

// --- outputs -----------------------------------------------------------------

// A model's declared output shape is a comment: exporters leave stale ones.
static void compare_shape(const port *p, const ibx_type *computed) {
  if (!p->declared) return;
  bool same = p->declared->n_dim == computed->rank;
  for (size_t i = 0; same && i < computed->rank; i++) {
    const Onnx__TensorShapeProto__Dimension *dim = p->declared->dim[i];
    same = computed->dims[i] == IBX_OPEN_EXTENT ||
           dim->value_case !=
               ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
           dim->dim_value == computed->dims[i];
  }
  if (same) return;
  ibx_diag_add(p->import->sink, IBX_DIAG_OUTPUT_SHAPE, at_port(p, "output"),
               "correct the declared shape of the output",
               "the declared shape is not the computed one, which is used");
}

void ibx_import_output(ibx_import *import, const ibx_frame *frame,
                       const Onnx__ValueInfoProto *info, size_t index) {
  port p = {.import = import, .name = ibx_onnx_text(info->name)};
  ibx_graph *graph = &import->graph;
  if (!has_name(import, p.name, "output", index)) return;
  ibx_val value = ibx_import_read(import, frame, p.name, at_port(&p, "output"));
  if (value == IBX_NO_VALUE) return;
  const ibx_type type = graph->values[value].type;
  // The type may be absent: then it is what the graph computes.
  bool typed =
      info->type && info->type->value_case != ONNX__TYPE_PROTO__VALUE__NOT_SET;
  if (typed && !read_dtype(&p, info->type, "output")) return;
  if (typed && p.type.dtype != type.dtype) {
    ibx_diag_add(import->sink, IBX_DIAG_OUTPUT_MISMATCH, at_port(&p, "output"),
                 "correct the declared type, or add a Cast",
                 "the output is declared as %s, the graph computes %s",
                 ibx_dtype_get(p.type.dtype)->name,
                 ibx_dtype_get(type.dtype)->name);
    return;
  }
  compare_shape(&p, &type);
  graph->outputs[graph->output_count++] =
      (ibx_port){.name = ibx_arena_text(import->arena, p.name, strlen(p.name)),
                 .value = value,
                 .type = type,
                 .state = -1};
}
