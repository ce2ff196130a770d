// SPDX-License-Identifier: Apache-2.0
//
// The device of the reference kernels. In: a model as the compiler imports it.
// Out: a table of functions. Holds: a graph runs only on memory of exactly the
// types of its ports.

#include "driver/reference.h"

#include "ir/evaluate.h"

#include <stdlib.h>
#include <string.h>

typedef struct executable {
  const ibx_graph *graph;
  const ibx_entry *entry;
} executable;

// --- the import ----------------------------------------------------------------

ibx_status ibx_reference_init(ibx_model *model,
                              const ibx_compile_options *options,
                              ibx_reference *out, ibx_error *err) {
  *out = (ibx_reference){
      .sink = {.forward = options->on_diagnostic, .user = options->user}};
  out->sink.arena = &out->arena;
  ibx_dim_value *dims =
      IBX_ARENA_ARRAY(&out->arena, options->dim_count, ibx_dim_value);
  for (size_t i = 0; i < options->dim_count; i++) {
    dims[i] = (ibx_dim_value){.name = options->dims[i].name,
                              .value = options->dims[i].values[0]};
  }
  const ibx_frontend_options frontend =
      ibx_frontend_options_of(options, NULL, dims);
  ibx_status status = ibx_frontend_import(
      model, &frontend, &out->sink, &out->arena, &out->tables, &out->graph,
      &out->partition, &out->facts, err);
  if (status != IBX_OK) ibx_reference_fini(out);
  return status;
}

void ibx_reference_fini(ibx_reference *reference) {
  ibx_arena_reset(&reference->arena);
  *reference = (ibx_reference){0};
}

// --- the table -----------------------------------------------------------------

static ibx_status device_open(const char *rest, const ibx_allocator *allocator,
                              void **out_device, ibx_error *err) {
  (void)rest;
  (void)allocator;
  *out_device = NULL;
  return IBX_FAIL(err, UNSUPPORTED, "the reference is opened with a model");
}

static void device_close(void *device) { (void)device; }

static ibx_device_info device_query(void *device) {
  (void)device;
  return (ibx_device_info){.name = "reference", .target = "", .cores = 1};
}

// Graphs have the names of the entries that are made of them.
static const ibx_graph *find_graph(const ibx_reference *reference,
                                   const char *name) {
  const ibx_partition *partition = reference->partition;
  for (size_t i = 0; partition && i < partition->segment_count; i++) {
    if (strcmp(partition->segments[i].name, name) == 0) {
      return &partition->segments[i];
    }
  }
  bool is_whole = !partition && strcmp(reference->graph.name, name) == 0;
  return is_whole ? &reference->graph : NULL;
}

static bool same_ports(const ibx_port *ports, size_t port_count,
                       const ibx_tensor_decl *tensors, size_t tensor_count) {
  if (port_count != tensor_count) return false;
  for (size_t i = 0; i < port_count; i++) {
    const ibx_type *type = &ports[i].type;
    bool same = type->dtype == (ibx_dtype)tensors[i].dtype &&
                type->rank == tensors[i].rank;
    for (uint8_t d = 0; same && d < type->rank; d++)
      same = (uint64_t)type->dims[d] == tensors[i].shape[d];
    if (!same) return false;
  }
  return true;
}

static ibx_status device_load(void *device, const ibx_device_program *program,
                              void **out_executable, ibx_error *err) {
  const ibx_entry *entry = program->entry;
  const ibx_graph *graph = find_graph(device, entry->name);
  *out_executable = NULL;
  if (!graph ||
      !same_ports(graph->inputs, graph->input_count, entry->inputs,
                  entry->input_count) ||
      !same_ports(graph->outputs, graph->output_count, entry->outputs,
                  entry->output_count)) {
    return IBX_FAIL(err, MISMATCH,
                    "entry %.60s was not compiled from the graph that the "
                    "reference has",
                    entry->name);
  }
  executable *x = malloc(sizeof *x);
  if (!x) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for an entry");
  *x = (executable){.graph = graph, .entry = entry};
  *out_executable = x;
  return IBX_OK;
}

static void device_unload(void *handle) { free(handle); }

static void bind_inputs(const executable *x, uint8_t *const *memory,
                        ibx_tensor *inputs) {
  static uint8_t nothing[1]; // of a tensor without elements; never written
  for (size_t i = 0; i < x->graph->input_count; i++) {
    uint8_t *data = memory[x->entry->inputs[i].buffer];
    inputs[i] = (ibx_tensor){.type = x->graph->inputs[i].type,
                             .data = data ? data : nothing};
  }
}

// An output that is an input stands in the buffer of that already.
static void store_outputs(const executable *x, const ibx_tensor *outputs,
                          uint8_t *const *memory) {
  for (size_t i = 0; i < x->graph->output_count; i++) {
    const ibx_tensor_decl *tensor = &x->entry->outputs[i];
    uint64_t bytes = ibx_tensor_bytes(tensor);
    uint8_t *to = memory[tensor->buffer];
    bool is_input = x->entry->buffers[tensor->buffer].kind == IBX_BUFFER_INPUT;
    if (!to || is_input || bytes == 0) continue;
    memcpy(to, outputs[i].data, (size_t)bytes);
  }
}

static ibx_status device_run(void *handle, uint8_t *const *memory,
                             ibx_error *err) {
  const executable *x = handle;
  ibx_arena arena = {0};
  ibx_tensor *inputs =
      IBX_ARENA_ARRAY(&arena, x->graph->input_count, ibx_tensor);
  ibx_tensor *outputs =
      IBX_ARENA_ARRAY(&arena, x->graph->output_count, ibx_tensor);
  bind_inputs(x, memory, inputs);
  ibx_status status =
      ibx_graph_eval(x->graph, inputs, outputs, &arena, NULL, NULL, err);
  if (status == IBX_OK) store_outputs(x, outputs, memory);
  ibx_arena_reset(&arena);
  return status;
}

ibx_status ibx_reference_open(const ibx_reference *reference,
                              ibx_device **out_device, ibx_error *err) {
  static const ibx_device_table table = {
      .version = IBX_DEVICE_TABLE_VERSION,
      .size_bytes = sizeof(ibx_device_table),
      .layout = IBX_DEVICE_LAYOUT,
      .open = device_open,
      .close = device_close,
      .query = device_query,
      .load = device_load,
      .unload = device_unload,
      .run = device_run,
  };
  // The table's handles are not const; this one is only read.
  union {
    const ibx_reference *from;
    void *to;
  } handle = {.from = reference};
  return ibx_device_wrap(&table, handle.to, NULL, out_device, err);
}
