// SPDX-License-Identifier: Apache-2.0
//
// The import of a model. Comes in: an open model and the choice of its symbolic
// dimensions. Goes out: a graph whose shapes are static, in program order,
// without nodes that no output needs. Holds afterwards: inputs and outputs
// stand in the model's order; the weight table has only rows that are used.

#include "frontend/frontend.h"

#include "frontend/import_ports.h"

#include <inttypes.h>
#include <string.h>

// --- operator sets -----------------------------------------------------------

static void check_opset(ibx_import *import, const char *node,
                        const Onnx__OperatorSetIdProto *opset) {
  const char *domain = ibx_onnx_domain(ibx_onnx_text(opset->domain));
  if (domain[0] != 0) return; // an import may be left over: nodes tell
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

// Of two versions of one set, which one counts?
static void check_opset_list(ibx_import *import, const char *node,
                             Onnx__OperatorSetIdProto *const *opsets,
                             size_t count) {
  ibx_map seen = {.arena = &import->scratch};
  for (size_t i = 0; i < count; i++) {
    const char *domain = ibx_onnx_domain(ibx_onnx_text(opsets[i]->domain));
    uint32_t before = 0;
    check_opset(import, node, opsets[i]);
    if (!ibx_map_find(&seen, domain, &before)) {
      ibx_map_put(&seen, domain, (uint32_t)i);
    } else if (opsets[before]->version != opsets[i]->version) {
      ibx_diag_add(import->sink, IBX_DIAG_OPSET,
                   (ibx_diag_at){.node = node, .version = opsets[i]->version},
                   "import one version of each operator set",
                   "the model imports %s %" PRId64 " and %" PRId64,
                   ibx_onnx_domain_name(domain), opsets[before]->version,
                   opsets[i]->version);
      return;
    }
  }
}

static void check_opsets(ibx_import *import) {
  const Onnx__ModelProto *model = import->model->proto;
  const char *name = ibx_onnx_text(model->graph->name);
  if (name[0] == 0) name = "the model";
  check_opset_list(import, name, model->opset_import, model->n_opset_import);
  for (size_t f = 0; f < model->n_functions; f++) {
    const Onnx__FunctionProto *function = model->functions[f];
    check_opset_list(import, ibx_onnx_text(function->name),
                     function->opset_import, function->n_opset_import);
  }
  if (model->n_opset_import != 0) return;
  ibx_diag_add(import->sink, IBX_DIAG_OPSET, (ibx_diag_at){.node = name},
               "export the model with a current exporter",
               "the model does not say which operator sets it uses");
}

// What the options name in place of the model's outputs, as the model declares
// it, or without a type.
static size_t choose_outputs(ibx_import *import, const Onnx__GraphProto *graph,
                             const Onnx__ValueInfoProto ***out_list) {
  const ibx_frontend_options *options = import->options;
  size_t count = options->outputs ? options->output_count : graph->n_output;
  const Onnx__ValueInfoProto **list =
      IBX_ARENA_ARRAY(&import->scratch, count, const Onnx__ValueInfoProto *);
  for (size_t i = 0; i < count; i++) {
    if (!options->outputs) {
      list[i] = graph->output[i];
      continue;
    }
    Onnx__ValueInfoProto *info =
        IBX_ARENA_NEW(&import->scratch, Onnx__ValueInfoProto);
    onnx__value_info_proto__init(info);
    info->name = ibx_arena_text(&import->scratch, options->outputs[i],
                                strlen(options->outputs[i]));
    list[i] = info;
    for (size_t o = 0; o < graph->n_output; o++) {
      const char *name = ibx_onnx_text(graph->output[o]->name);
      if (strcmp(name, info->name) == 0) list[i] = graph->output[o];
    }
  }
  *out_list = list;
  return count;
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
  ibx_import_inputs(import, &frame, graph);
  const Onnx__ValueInfoProto **list;
  size_t count = choose_outputs(import, graph, &list);
  const char **outputs = IBX_ARENA_ARRAY(&import->scratch, count, const char *);
  for (size_t i = 0; i < count; i++) {
    outputs[i] = ibx_onnx_text(list[i]->name);
  }
  ibx_import_nodes(import, &frame, graph->node, graph->n_node, outputs, count);
  for (size_t i = 0; i < count; i++) {
    ibx_import_output(import, &frame, list[i], i);
  }
  ibx_import_output_extents(import);
}

// --- options -----------------------------------------------------------------

static bool has_dim(Onnx__ValueInfoProto *const *values, size_t count,
                    const char *name) {
  for (size_t i = 0; i < count; i++) {
    ibx_port_kind kind;
    const Onnx__TypeProto *type = ibx_declared_element(values[i]->type, &kind);
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

// NAME, or NAME[position] where that input may hold several tensors.
static bool names_tensor(const Onnx__GraphProto *graph, const char *name) {
  if (names_input(graph, name)) return true;
  const char *bracket = strrchr(name, '[');
  for (size_t i = 0; bracket && i < graph->n_input; i++) {
    const Onnx__TypeProto *type = graph->input[i]->type;
    const char *input = ibx_onnx_text(graph->input[i]->name);
    size_t len = (size_t)(bracket - name);
    if (!type || type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
      continue;
    }
    if (strlen(input) == len && strncmp(input, name, len) == 0) return true;
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
    if (names_tensor(graph, options->input_shapes[i].name)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "the model has no input '%s'",
                    options->input_shapes[i].name);
  }
  for (size_t i = 0; i < options->input_value_count; i++) {
    if (names_tensor(graph, options->input_values[i].name)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "the model has no input '%s'",
                    options->input_values[i].name);
  }
  for (size_t i = 0; i < options->input_length_count; i++) {
    if (names_input(graph, options->input_lengths[i].name)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "the model has no input '%s'",
                    options->input_lengths[i].name);
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

static void mark_weights(const ibx_graph *graph, uint32_t *used) {
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    if (node->op == IBX_TENSOR_constant) used[node->params.weight] = 1;
  }
}

static void renumber_weights(ibx_graph *graph, size_t first,
                             const uint32_t *moved) {
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_node *node = &graph->nodes[n];
    if (node->op != IBX_TENSOR_constant) continue;
    if ((size_t)node->params.weight < first) continue;
    node->params.weight = moved[node->params.weight];
  }
}

// Keeps the rows of this import that the graphs use.
static void drop_unused_weights(ibx_import *import, ibx_graph *graphs,
                                size_t count) {
  ibx_tables *tables = import->tables;
  size_t first = import->first_weight, kept = first;
  uint32_t *moved =
      IBX_ARENA_ARRAY(&import->scratch, tables->weight_count, uint32_t);
  for (size_t i = 0; i < count; i++)
    mark_weights(&graphs[i], moved);
  for (size_t i = first; i < tables->weight_count; i++) {
    if (moved[i] == 0) continue;
    tables->weights[kept] = tables->weights[i];
    moved[i] = (uint32_t)kept++;
  }
  tables->weight_count = kept;
  for (size_t i = 0; i < count; i++)
    renumber_weights(&graphs[i], first, moved);
}

// The graph of a model that needs the host is cut into segments.
static void cut(ibx_import *import, const ibx_partition **out_partition) {
  ibx_partition *partition = IBX_ARENA_NEW(import->arena, ibx_partition);
  ibx_import_partition(import, partition);
  drop_unused_weights(import, partition->segments, partition->segment_count);
  import->graph.node_count = import->graph.value_count = 0;
  *out_partition = partition;
}

static ibx_status run(ibx_import *import, const ibx_partition **out_partition,
                      ibx_error *err) {
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
  if (ibx_import_needs_host(import)) {
    cut(import, out_partition);
    return ibx_diag_status(import->sink, err);
  }
  ibx_graph_compact(&import->graph);
  drop_unused_weights(import, &import->graph, 1);
  return IBX_OK;
}

ibx_frontend_options ibx_frontend_options_of(const ibx_compile_options *options,
                                             const char *entry,
                                             const ibx_dim_value *dims) {
  return (ibx_frontend_options){.entry = entry,
                                .dims = dims,
                                .dim_count = options->dim_count,
                                .input_shapes = options->input_shapes,
                                .input_shape_count = options->input_shape_count,
                                .input_values = options->input_values,
                                .input_value_count = options->input_value_count,
                                .input_lengths = options->input_lengths,
                                .input_length_count =
                                    options->input_length_count,
                                .states = options->states,
                                .state_count = options->state_count,
                                .outputs = options->outputs,
                                .output_count = options->output_count,
                                .no_host = options->no_host};
}

ibx_status ibx_frontend_import(ibx_model *model,
                               const ibx_frontend_options *options,
                               ibx_diag_sink *sink, ibx_arena *arena,
                               ibx_tables *tables, ibx_graph *out_graph,
                               const ibx_partition **out_partition,
                               ibx_import_stats *out_stats, ibx_error *err) {
  *out_partition = NULL;
  ibx_import import = {.model = model,
                       .options = options,
                       .sink = sink,
                       .arena = arena,
                       .tables = tables,
                       .first_weight = tables->weight_count};
  import.graph = (ibx_graph){.arena = arena,
                             .tables = tables,
                             .name = options->entry ? options->entry : "main"};
  ibx_status status = run(&import, out_partition, err);
  if (status != IBX_OK) tables->weight_count = import.first_weight;
  if (status == IBX_OK) *out_graph = import.graph;
  if (out_stats) *out_stats = import.stats;
  ibx_arena_reset(&import.scratch);
  ibx_arena_reset(&import.block);
  return status;
}
