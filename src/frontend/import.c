// SPDX-License-Identifier: Apache-2.0
//
// Imports nodes. Comes in: the nodes of a graph, branch or function in a frame
// whose scope has their inputs. Goes out: tensor operations, and a binding for
// every output. Holds afterwards: each node that an output needs was imported
// once, or its outputs are bound as failed, which keeps what depends on them
// silent; and no attribute went unread.

#include "frontend/import.h"
#include "frontend/import_repeat.h"

#include <inttypes.h>
#include <string.h>

// Functions that call others twice would multiply nodes without end.
enum { MOST_DEPTH = 32, MOST_NODES = 1 << 17 };

const char *ibx_import_node_name(ibx_import *import, const ibx_frame *frame,
                                 const Onnx__NodeProto *node, size_t index) {
  const char *name = ibx_onnx_text(node->name);
  if (name[0] == 0) {
    return ibx_arena_format(import->arena, "%s%s_%zu", frame->prefix,
                            ibx_onnx_text(node->op_type), index);
  }
  if (frame->prefix[0] == 0) return name;
  return ibx_arena_format(import->arena, "%s%s", frame->prefix, name);
}

const char *ibx_import_trip(ibx_import *import, const char *prefix,
                            uint64_t trip) {
  return ibx_arena_format(import->arena, "%s[%" PRIu64 "]/", prefix, trip);
}

int64_t ibx_import_version(const ibx_frame *frame, const char *domain) {
  int64_t version = 0;
  for (size_t i = 0; i < frame->opset_count; i++) {
    const char *found =
        ibx_onnx_domain(ibx_onnx_text(frame->opsets[i]->domain));
    if (strcmp(found, domain) == 0) version = frame->opsets[i]->version;
  }
  return version;
}

// --- reading -----------------------------------------------------------------

static ibx_val use_initializer(ibx_import *import, ibx_binding *binding) {
  ibx_weight weight;
  ibx_diag_at at = {.node = binding->name, .op = "initializer"};
  const char *name =
      ibx_arena_text(import->arena, binding->name, strlen(binding->name));
  if (ibx_is_text_tensor(binding->tensor)) {
    binding->failed =
        !ibx_import_text_tensor(import, binding->tensor, at, &binding->value);
    return binding->failed ? IBX_NO_VALUE : binding->value;
  }
  if (!ibx_model_weight(import->model, binding->tensor, name, at, import->sink,
                        import->arena, &weight)) {
    binding->failed = true;
    return IBX_NO_VALUE;
  }
  binding->value = ibx_import_named_constant(import, weight);
  return binding->value;
}

ibx_val ibx_import_read(ibx_import *import, const ibx_frame *frame,
                        const char *name, ibx_diag_at at) {
  ibx_binding *binding = ibx_scope_find(frame->scope, name);
  if (!binding) {
    // Direct inputs were checked before; a name of a nested graph was not.
    at.attribute = name;
    ibx_diag_add(import->sink, IBX_DIAG_DANGLING_NAME, at,
                 "add the node or initialiser that makes it, or correct the "
                 "name",
                 "nothing makes the tensor '%s'", name);
    ibx_scope_bind(
        frame->scope,
        (ibx_binding){.name = name, .value = IBX_NO_VALUE, .failed = true});
    return IBX_NO_VALUE;
  }
  if (binding->failed) return IBX_NO_VALUE;
  if (binding->value != IBX_NO_VALUE) return binding->value;
  if (binding->tensor) return use_initializer(import, binding);
  return IBX_NO_VALUE; // its node stands in a circle
}

void ibx_import_initializers(ibx_import *import, const ibx_frame *frame,
                             const Onnx__GraphProto *graph) {
  for (size_t i = 0; i < graph->n_initializer; i++) {
    const Onnx__TensorProto *tensor = graph->initializer[i];
    ibx_binding binding = {.name = ibx_onnx_text(tensor->name),
                           .value = IBX_NO_VALUE,
                           .tensor = tensor};
    if (ibx_scope_bind(frame->scope, binding)) continue;
    ibx_diag_add(import->sink, IBX_DIAG_DUPLICATE_NAME,
                 (ibx_diag_at){.node = binding.name, .op = "initializer"},
                 "give each tensor of a graph a name of its own",
                 "two initialisers have the name '%s'", binding.name);
  }
  for (size_t i = 0; i < graph->n_sparse_initializer; i++) {
    const Onnx__TensorProto *values = graph->sparse_initializer[i]->values;
    const char *name = ibx_onnx_text(values ? values->name : NULL);
    ibx_scope_bind(
        frame->scope,
        (ibx_binding){.name = name, .value = IBX_NO_VALUE, .failed = true});
    ibx_diag_add(import->sink, IBX_DIAG_TENSOR_FORM,
                 (ibx_diag_at){.node = name, .op = "initializer"},
                 "store the constant as a dense initialiser",
                 "the initialiser is sparse");
  }
}

// --- one node ----------------------------------------------------------------

// Says why there is no row: no such operator, or none in this version.
static void report_no_row(ibx_call *call) {
  const ibx_onnx_op *newest =
      ibx_onnx_op_find(call->at.domain, call->at.op, INT64_MAX);
  const char *domain = ibx_onnx_domain_name(call->at.domain);
  if (newest && call->version == 0) {
    ibx_call_fail(call, IBX_DIAG_OPSET, NULL,
                  "add the operator set to opset_import",
                  "the model uses %s of %s but does not import that operator "
                  "set",
                  call->at.op, domain);
  } else if (newest) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_OP, NULL,
                  "convert the model to a newer opset",
                  "%s is not in version %" PRId64 " of %s, or has a form there "
                  "that opset 6 replaced",
                  call->at.op, call->version, domain);
  } else {
    ibx_call_fail(call, IBX_DIAG_UNKNOWN_OP, NULL,
                  "correct its name or domain, add it as a function of the "
                  "model, or replace it by operators that `imbrex ops` lists",
                  "%s has no operator %s that Imbrex knows", domain,
                  call->at.op);
  }
}

static bool check_counts(ibx_call *call) {
  const ibx_onnx_op *row = call->row;
  size_t least = (size_t)row->least;
  bool few = call->in_count < least;
  bool many = row->most >= 0 && call->in_count > (size_t)row->most;
  if (few || many) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                  "correct the node where the model is made",
                  "%s takes %s %d inputs, the node has %zu", call->at.op,
                  few ? "at least" : "at most", few ? row->least : row->most,
                  call->in_count);
  } else if (row->outputs >= 0 && call->out_count > (size_t)row->outputs) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                  "correct the node where the model is made",
                  "%s has at most %d outputs, the node has %zu", call->at.op,
                  row->outputs, call->out_count);
  }
  return !call->failed;
}

static bool is_absent(const ibx_call *call, const char *name) {
  if (name[0] == 0) return true;
  const ibx_binding *binding = ibx_scope_find(call->frame->scope, name);
  return binding && binding->absent;
}

// Reads the inputs; false when one of them failed before.
static bool read_inputs(ibx_call *call) {
  bool complete = true;
  for (size_t i = 0; i < call->in_count; i++) {
    const char *name = call->proto->input[i];
    call->in[i] = IBX_NO_VALUE;
    if (is_absent(call, name)) continue;
    call->in[i] = ibx_import_read(call->import, call->frame, name, call->at);
    if (call->in[i] == IBX_NO_VALUE) complete = false;
  }
  return complete;
}

static bool check_required(ibx_call *call) {
  for (size_t i = 0; i < (size_t)call->row->least; i++) {
    if (ibx_has_in(call, i)) continue;
    ibx_call_fail(call, IBX_DIAG_OPERAND_COUNT, NULL,
                  "correct the node where the model is made",
                  "input %zu of %s is required, the node leaves it out", i,
                  call->at.op);
    return false;
  }
  return true;
}

// Only importers that say so in their row meet sequences and optionals.
static bool check_kinds(ibx_call *call) {
  if (call->row->bundles) return true;
  for (size_t i = 0; i < call->in_count; i++) {
    if (!ibx_has_in(call, i)) continue;
    if (!ibx_expect_tensor(call, call->in[i], call->proto->input[i])) {
      return false;
    }
  }
  return true;
}

static bool refuse_type(ibx_call *call, size_t index) {
  ibx_dtype dtype = ibx_dtype_of(call, call->in[index]);
  ibx_call_fail(call, IBX_DIAG_OPERAND_TYPE, call->proto->input[index],
                "convert the input with Cast before the node",
                "%s takes %s, its input '%s' is %s", call->at.op,
                call->row->type_names, call->proto->input[index],
                ibx_dtype_get(dtype)->name);
  return false;
}

void ibx_refuse_open(ibx_call *call, size_t index) {
  ibx_val decides = ibx_repeat_decides(call->import, call->in[index]);
  if (decides != IBX_NO_VALUE) {
    ibx_fail_unknown(call, decides, call->proto->input[index],
                     "has a row for each trip of a loop, and only the run "
                     "tells how many");
    return;
  }
  ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, call->proto->input[index],
                "end the model at that tensor, and continue with another one",
                "the input '%s' has extents that only the run tells: they "
                "depend on texts or an image",
                call->proto->input[index]);
}

// What the host makes may be used by few: its extents may be open.
static bool check_host_input(ibx_call *call, size_t index, ibx_text_use use) {
  const ibx_type *type = ibx_type_of(call, call->in[index]);
  bool is_text = type->dtype == IBX_DTYPE_STRING;
  if (is_text && use == IBX_TEXT_REFUSED) return refuse_type(call, index);
  bool takes_open = use == IBX_TEXT_TAKES || use == IBX_TEXT_VIEWS;
  if (!ibx_is_open(type) || (is_text && takes_open)) return true;
  ibx_refuse_open(call, index);
  return false;
}

static bool check_types(ibx_call *call) {
  ibx_text_use use = ibx_onnx_text_use(call->row);
  for (size_t i = 0; i < call->in_count; i++) {
    if (call->in[i] == IBX_NO_VALUE || ibx_is_bundle(call->in[i])) continue;
    if (!check_host_input(call, i, use)) return false;
  }
  if (call->in_count == 0 || call->in[0] == IBX_NO_VALUE) return true;
  if (ibx_is_bundle(call->in[0])) return true;
  ibx_dtype dtype = ibx_dtype_of(call, call->in[0]);
  if (dtype == IBX_DTYPE_STRING || (call->row->types >> dtype & 1)) return true;
  return refuse_type(call, 0);
}

static bool moves_texts(const ibx_call *call) {
  ibx_text_use use = ibx_onnx_text_use(call->row);
  if (use != IBX_TEXT_MOVES && use != IBX_TEXT_VIEWS) return false;
  for (size_t i = 0; i < call->in_count; i++) {
    if (!ibx_has_in(call, i)) continue;
    const ibx_bundle *bundle = ibx_bundle_of(call->import, call->in[i]);
    if (bundle ? bundle->dtype == IBX_DTYPE_STRING
               : ibx_is_text(call, call->in[i])) {
      return true;
    }
  }
  return false;
}

// Which of two would count is nobody's to say. Nodes have few attributes: those
// behind the first 64 are unknown ones.
static bool names_attributes_once(ibx_call *call) {
  for (size_t i = 0; i < call->proto->n_attribute; i++) {
    const char *name = ibx_onnx_text(call->proto->attribute[i]->name);
    for (size_t k = 0; k < i && k < 64; k++) {
      if (strcmp(ibx_onnx_text(call->proto->attribute[k]->name), name) != 0)
        continue;
      ibx_call_fail(call, IBX_DIAG_DUPLICATE_NAME, name,
                    "remove one of the attributes",
                    "the node has two attributes '%s'", name);
      return false;
    }
  }
  return true;
}

static void check_attributes(ibx_call *call) {
  for (size_t i = 0; i < call->proto->n_attribute; i++) {
    const char *name = ibx_onnx_text(call->proto->attribute[i]->name);
    if (call->failed) return;
    if (i < 64 && call->attributes_read >> i & 1) continue;
    ibx_call_fail(call, IBX_DIAG_UNKNOWN_ATTRIBUTE, name,
                  "remove the attribute, or correct its name or the opset",
                  "%s has no attribute '%s' in version %" PRId64, call->at.op,
                  name, call->version);
  }
}

static void check_outputs(ibx_call *call) {
  for (size_t i = 0; i < call->out_count; i++) {
    if (call->failed || !ibx_wants_out(call, i)) continue;
    if (call->out[i] != IBX_NO_VALUE) continue;
    ibx_call_refuse(call, call->proto->output[i],
                    "output %zu of %s is not computed", i, call->at.op);
  }
}

static void bind_outputs(ibx_call *call) {
  for (size_t i = 0; i < call->out_count; i++) {
    const char *name = call->proto->output[i];
    if (name[0] == 0) continue;
    ibx_scope_bind(call->frame->scope, (ibx_binding){.name = name,
                                                     .value = call->out[i],
                                                     .failed = call->failed});
  }
}

// Says so of a node that makes an extent, not of those that follow it, nor of
// the node whose graph this one belongs to.
static bool makes_extent(const ibx_call *call, ibx_val value, uint8_t dim) {
  const ibx_graph *graph = &call->import->graph;
  ibx_val extent = ibx_extent(call, value, dim);
  if (extent == IBX_NO_VALUE) return false;
  uint32_t node = graph->values[extent].node;
  return node != IBX_NO_VALUE && graph->nodes[node].source == call->source;
}

static void tell_extents(const ibx_call *call) {
  for (size_t i = 0; i < call->in_count; i++) {
    if (ibx_has_in(call, i) && ibx_has_extent(call, call->in[i])) return;
  }
  for (size_t i = 0; i < call->out_count; i++) {
    ibx_val value = call->out[i];
    if (value == IBX_NO_VALUE || ibx_is_bundle(value)) continue;
    for (uint8_t d = 0; d < ibx_type_of(call, value)->rank; d++) {
      if (!makes_extent(call, value, d)) continue;
      ibx_diag_slow(
          call->import->sink, IBX_DIAG_BOUNDED_EXTENT, call->at,
          "pass fewer elements where the most never comes; every run "
          "takes the time of the most",
          "only the run tells dimension %u of its result: all %" PRId64
          " elements that there can be are computed",
          (unsigned)d, ibx_dim(call, value, d));
    }
  }
}

static void run_row(ibx_call *call) {
  if (!check_counts(call)) return;
  if (!call->row->import) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_OP, NULL, call->row->about->limits,
                  "%s (%s) is not imported", call->at.op,
                  call->row->about->sentence);
    return;
  }
  if (!read_inputs(call)) {
    call->failed = true; // was reported where the input failed
    return;
  }
  if (!check_required(call) || !check_kinds(call) || !check_types(call) ||
      !ibx_check_extents(call)) {
    return;
  }
  call->source = ibx_tables_add_source(
      call->import->tables, call->import->arena, call->at.node, call->at.op);
  call->import->stats.nodes++;
  if (moves_texts(call)) {
    ibx_import_moved_texts(call);
  } else {
    call->row->import(call);
  }
  if (!call->failed) check_attributes(call);
  check_outputs(call);
  if (!call->failed) tell_extents(call);
}

// Operators of a later version may be others by then.
static bool opset_is_read(ibx_call *call) {
  if (strcmp(call->at.domain, "ai.onnx.ml") != 0 ||
      call->version <= IBX_OPSET_NEWEST_ML) {
    return true;
  }
  ibx_call_fail(call, IBX_DIAG_OPSET, NULL,
                "convert the model with onnx.version_converter",
                "the model imports ai.onnx.ml %" PRId64
                ", Imbrex reads 1 to %d",
                call->version, IBX_OPSET_NEWEST_ML);
  return false;
}

// Says so once; the other nodes are silent.
static void report_too_many(ibx_call *call) {
  if (call->import->work == MOST_NODES + 1) {
    ibx_call_fail(call, IBX_DIAG_NESTING, NULL,
                  "call fewer functions, or shorten its loops",
                  "the model has more than %d nodes when its functions are "
                  "inlined and its loops unrolled",
                  MOST_NODES);
  }
  call->failed = true;
}

static void import_node(ibx_import *import, const ibx_frame *frame,
                        const Onnx__NodeProto *node, size_t index) {
  const char *domain = ibx_onnx_domain(ibx_onnx_text(node->domain));
  ibx_call call = {.import = import,
                   .frame = frame,
                   .proto = node,
                   .version = ibx_import_version(frame, domain),
                   .in_count = node->n_input,
                   .out_count = node->n_output};
  call.in = IBX_ARENA_ARRAY(&import->scratch, node->n_input, ibx_val);
  call.out = IBX_ARENA_ARRAY(&import->scratch, node->n_output, ibx_val);
  for (size_t i = 0; i < node->n_output; i++)
    call.out[i] = IBX_NO_VALUE;
  call.at =
      (ibx_diag_at){.node = ibx_import_node_name(import, frame, node, index),
                    .op = ibx_onnx_text(node->op_type),
                    .domain = domain,
                    .version = call.version};
  const Onnx__FunctionProto *function = ibx_import_function_find(import, node);
  bool fits = import->work++ < MOST_NODES;
  call.row = ibx_onnx_op_find(domain, call.at.op, call.version);
  if (!fits) {
    report_too_many(&call);
  } else if (!names_attributes_once(&call)) {
    call.failed = true;
  } else if (function) {
    call.failed = !read_inputs(&call);
    if (!call.failed) ibx_import_function(&call, function);
  } else if (call.row) {
    if (opset_is_read(&call)) run_row(&call);
  } else {
    report_no_row(&call);
  }
  bind_outputs(&call);
}

void ibx_import_nodes(ibx_import *import, const ibx_frame *frame,
                      Onnx__NodeProto **nodes, size_t count,
                      const char *const *outputs, size_t output_count) {
  uint32_t *order;
  size_t ordered = ibx_order_nodes(import, frame, nodes, count, outputs,
                                   output_count, &order);
  for (size_t i = 0; i < ordered; i++) {
    import_node(import, frame, nodes[order[i]], order[i]);
  }
}

// --- nested graphs ----------------------------------------------------------------

void ibx_import_body(ibx_call *call, const Onnx__GraphProto *graph,
                     ibx_body_ports ports, const char *prefix) {
  ibx_import *import = call->import;
  if (call->frame->depth >= MOST_DEPTH) {
    ibx_call_fail(call, IBX_DIAG_NESTING, NULL, "nest fewer graphs",
                  "graphs are nested more than %d deep", MOST_DEPTH);
    return;
  }
  if (import->work++ >= MOST_NODES) { // loops in loops multiply trips as well
    report_too_many(call);
    return;
  }
  ibx_scope scope;
  ibx_scope_init(&scope, call->frame->scope, &import->scratch);
  ibx_frame frame = *call->frame;
  frame.scope = &scope;
  frame.depth++;
  frame.prefix = prefix;
  for (size_t i = 0; i < ports.in_count && i < graph->n_input; i++) {
    ibx_scope_bind(&scope,
                   (ibx_binding){.name = ibx_onnx_text(graph->input[i]->name),
                                 .value = ports.in[i]});
  }
  ibx_import_initializers(import, &frame, graph);
  const char **outputs =
      IBX_ARENA_ARRAY(&import->scratch, graph->n_output, const char *);
  for (size_t i = 0; i < graph->n_output; i++) {
    outputs[i] = ibx_onnx_text(graph->output[i]->name);
  }
  ibx_import_nodes(import, &frame, graph->node, graph->n_node, outputs,
                   graph->n_output);
  for (size_t i = 0; i < graph->n_output && i < ports.out_count; i++) {
    ports.out[i] = ibx_import_read(import, &frame, outputs[i], call->at);
    if (ports.out[i] == IBX_NO_VALUE) {
      call->failed = true;
    } else if (!ports.may_bundle) {
      ibx_expect_tensor(call, ports.out[i], outputs[i]);
    }
  }
}

void ibx_import_branch(ibx_call *call, const Onnx__GraphProto *graph,
                       ibx_val *out) {
  ibx_body_ports ports = {
      .out = out, .out_count = call->out_count, .may_bundle = true};
  ibx_import_body(call, graph, ports,
                  ibx_arena_format(call->import->arena, "%s/", call->at.node));
}
