// SPDX-License-Identifier: Apache-2.0
//
// The import of a model. Comes in: an open model and the choice of its symbolic
// dimensions. Goes out: a graph whose shapes are static, in program order,
// without nodes that no output needs. Holds afterwards: inputs and outputs
// stand in the model's order; the weight table has only rows that are used.

#include "frontend/frontend.h"

#include "frontend/import.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

// --- operator sets -----------------------------------------------------------

static void check_opset(ibx_import *import, const char *node,
                        const Onnx__OperatorSetIdProto *opset) {
  const char *domain = ibx_onnx_domain(ibx_onnx_text(opset->domain));
  if (domain[0] != 0) return; // other domains have one table for all versions
  if (opset->version >= IBX_OPSET_OLDEST &&
      opset->version <= IBX_OPSET_NEWEST) {
    return;
  }
  ibx_diag_add(import->sink, IBX_DIAG_OPSET,
               (ibx_diag_at){.node = node, .version = opset->version},
               "convert the model with onnx.version_converter",
               "the model imports ai.onnx %" PRId64 ", Imbrex reads %d to %d",
               opset->version, IBX_OPSET_OLDEST, IBX_OPSET_NEWEST);
}

static void check_opsets(ibx_import *import) {
  const Onnx__ModelProto *model = import->model->proto;
  for (size_t i = 0; i < model->n_opset_import; i++) {
    check_opset(import, ibx_onnx_text(model->graph->name),
                model->opset_import[i]);
  }
  for (size_t f = 0; f < model->n_functions; f++) {
    const Onnx__FunctionProto *function = model->functions[f];
    for (size_t i = 0; i < function->n_opset_import; i++) {
      check_opset(import, ibx_onnx_text(function->name),
                  function->opset_import[i]);
    }
  }
  if (model->n_opset_import != 0) return;
  ibx_diag_add(import->sink, IBX_DIAG_OPSET,
               (ibx_diag_at){.node = ibx_onnx_text(model->graph->name)},
               "export the model with a current exporter",
               "the model does not say which operator sets it uses");
}

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
                 "--input-shape has %zu extents, the input %zu dimensions",
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
    if (p->type.dims[i] > 0) continue;
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

static ibx_binding import_input(ibx_import *import,
                                const Onnx__ValueInfoProto *info) {
  port p = {.import = import, .name = ibx_onnx_text(info->name)};
  ibx_binding failed = {.name = p.name, .value = IBX_NO_VALUE, .failed = true};
  p.given = find_shape(import->options, p.name);
  if (!read_dtype(&p, info->type, "input")) return failed;
  size_t errors = import->sink->error_count;
  if (!resolve_shape(&p) || !check_extents(&p)) return failed;
  if (errors != import->sink->error_count) return failed;
  ibx_graph *graph = &import->graph;
  uint32_t index = (uint32_t)graph->input_count++;
  ibx_val value = ibx_graph_add_input(graph, p.type, index);
  graph->inputs[index] =
      (ibx_port){.name = ibx_arena_text(import->arena, p.name, strlen(p.name)),
                 .value = value,
                 .type = p.type,
                 .state = -1};
  return (ibx_binding){.name = p.name, .value = value};
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

static void import_inputs(ibx_import *import, const ibx_frame *frame,
                          const Onnx__GraphProto *graph) {
  size_t defaults = 0;
  import->graph.inputs =
      IBX_ARENA_ARRAY(import->arena, graph->n_input, ibx_port);
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
    if (!other) {
      ibx_scope_bind(frame->scope, import_input(import, graph->input[i]));
    }
    if (other && other->tensor) defaults++;
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
    same = dim->value_case !=
               ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE ||
           dim->dim_value == computed->dims[i];
  }
  if (same) return;
  ibx_diag_add(p->import->sink, IBX_DIAG_OUTPUT_SHAPE, at_port(p, "output"),
               "correct the declared shape of the output",
               "the declared shape is not the computed one, which is used");
}

static void import_output(ibx_import *import, const ibx_frame *frame,
                          const Onnx__ValueInfoProto *info) {
  port p = {.import = import, .name = ibx_onnx_text(info->name)};
  ibx_graph *graph = &import->graph;
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

static void import_graph(ibx_import *import, const Onnx__GraphProto *graph) {
  const Onnx__ModelProto *model = import->model->proto;
  ibx_scope scope;
  ibx_scope_init(&scope, NULL, &import->scratch);
  ibx_frame frame = {.scope = &scope,
                     .opsets = model->opset_import,
                     .opset_count = model->n_opset_import,
                     .prefix = ""};
  ibx_import_initializers(import, &frame, graph);
  import_inputs(import, &frame, graph);
  const char **outputs =
      IBX_ARENA_ARRAY(&import->scratch, graph->n_output, const char *);
  for (size_t i = 0; i < graph->n_output; i++) {
    outputs[i] = ibx_onnx_text(graph->output[i]->name);
  }
  ibx_import_nodes(import, &frame, graph->node, graph->n_node, outputs,
                   graph->n_output);
  import->graph.outputs =
      IBX_ARENA_ARRAY(import->arena, graph->n_output, ibx_port);
  for (size_t i = 0; i < graph->n_output; i++) {
    if (!has_name(import, outputs[i], "output", i)) continue;
    import_output(import, &frame, graph->output[i]);
  }
}

// --- options -----------------------------------------------------------------

static bool has_dim(Onnx__ValueInfoProto *const *values, size_t count,
                    const char *name) {
  for (size_t i = 0; i < count; i++) {
    const Onnx__TypeProto *type = values[i]->type;
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
      continue;
    }
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    for (size_t d = 0; shape && d < shape->n_dim; d++) {
      if (shape->dim[d]->value_case ==
              ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
          strcmp(ibx_onnx_text(shape->dim[d]->dim_param), name) == 0) {
        return true;
      }
    }
  }
  return false;
}

// Some exporters name an output's extents afresh: that name may be given too,
// though it decides nothing.
static bool names_dim(const Onnx__GraphProto *graph, const char *name) {
  return has_dim(graph->input, graph->n_input, name) ||
         has_dim(graph->output, graph->n_output, name);
}

static bool names_input(const Onnx__GraphProto *graph, const char *name) {
  for (size_t i = 0; i < graph->n_input; i++) {
    if (strcmp(ibx_onnx_text(graph->input[i]->name), name) == 0) return true;
  }
  return false;
}

static ibx_status check_options(const ibx_frontend_options *options,
                                const Onnx__GraphProto *graph, ibx_error *err) {
  for (size_t i = 0; i < options->dim_count; i++) {
    if (names_dim(graph, options->dims[i].name)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "no input or output has a dimension '%s'",
                    options->dims[i].name);
  }
  for (size_t i = 0; i < options->input_shape_count; i++) {
    if (names_input(graph, options->input_shapes[i].name)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "the model has no input '%s'",
                    options->input_shapes[i].name);
  }
  return IBX_OK;
}

static ibx_port *find_port(ibx_port *ports, size_t count, const char *name,
                           size_t *out_index) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(ports[i].name, name) != 0) continue;
    *out_index = i;
    return &ports[i];
  }
  return NULL;
}

static bool same_type(const ibx_type *a, const ibx_type *b) {
  bool same = a->rank == b->rank && a->dtype == b->dtype;
  for (uint8_t i = 0; same && i < a->rank; i++)
    same = a->dims[i] == b->dims[i];
  return same;
}

static void pair_state(ibx_import *import, const ibx_state_pair *pair) {
  ibx_graph *graph = &import->graph;
  size_t in = 0, out = 0;
  ibx_port *past =
      find_port(graph->inputs, graph->input_count, pair->past, &in);
  ibx_port *present =
      find_port(graph->outputs, graph->output_count, pair->present, &out);
  bool fits = past && present && past->state < 0 && present->state < 0 &&
              same_type(&past->type, &present->type);
  if (fits) {
    past->state = (int32_t)out;
    present->state = (int32_t)in;
    return;
  }
  ibx_diag_add(import->sink, IBX_DIAG_STATE_OPTION,
               (ibx_diag_at){.node = pair->past, .op = "input"},
               "name an input and an output of the same type and shape",
               "'%s' and '%s' cannot be one buffer", pair->past, pair->present);
}

// --- weights -----------------------------------------------------------------

// Keeps the rows of this import that the graph uses.
static void drop_unused_weights(ibx_import *import) {
  ibx_tables *tables = import->tables;
  ibx_graph *graph = &import->graph;
  size_t first = import->first_weight, kept = first;
  uint32_t *moved =
      IBX_ARENA_ARRAY(&import->scratch, tables->weight_count, uint32_t);
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (node->op == IBX_TENSOR_constant) moved[node->params.weight] = 1;
  }
  for (size_t i = first; i < tables->weight_count; i++) {
    if (moved[i] == 0) continue;
    tables->weights[kept] = tables->weights[i];
    moved[i] = (uint32_t)kept++;
  }
  tables->weight_count = kept;
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_node *node = &graph->nodes[n];
    if (node->op != IBX_TENSOR_constant) continue;
    if ((size_t)node->params.weight < first) continue;
    node->params.weight = moved[node->params.weight];
  }
}

static ibx_status run(ibx_import *import, ibx_error *err) {
  const Onnx__GraphProto *graph = import->model->proto->graph;
  if (!graph || graph->n_output == 0) {
    ibx_diag_add(import->sink, IBX_DIAG_NO_GRAPH,
                 (ibx_diag_at){.node = "the model"}, "export the model again",
                 "the model has no graph with outputs");
    return ibx_diag_status(import->sink, err);
  }
  IBX_TRY(check_options(import->options, graph, err));
  check_opsets(import);
  ibx_import_functions_init(import);
  import_graph(import, graph);
  if (import->sink->error_count == 0) {
    for (size_t i = 0; i < import->options->state_count; i++) {
      pair_state(import, &import->options->states[i]);
    }
  }
  IBX_TRY(ibx_diag_status(import->sink, err));
  ibx_graph_compact(&import->graph);
  drop_unused_weights(import);
  return IBX_OK;
}

ibx_status ibx_frontend_import(ibx_model *model,
                               const ibx_frontend_options *options,
                               ibx_diag_sink *sink, ibx_arena *arena,
                               ibx_tables *tables, ibx_graph *out_graph,
                               ibx_import_stats *out_stats, ibx_error *err) {
  ibx_import import = {.model = model,
                       .options = options,
                       .sink = sink,
                       .arena = arena,
                       .tables = tables,
                       .first_weight = tables->weight_count};
  import.graph = (ibx_graph){.arena = arena,
                             .tables = tables,
                             .name = options->entry ? options->entry : "main"};
  ibx_status status = run(&import, err);
  if (status != IBX_OK) tables->weight_count = import.first_weight;
  if (status == IBX_OK) *out_graph = import.graph;
  if (out_stats) *out_stats = import.stats;
  ibx_arena_reset(&import.scratch);
  return status;
}
