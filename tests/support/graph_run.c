// SPDX-License-Identifier: Apache-2.0
//
// Graphs under test: comes in a graph built node by node; goes out what the
// compiled program computes, and how far that is from the reference kernels.

#include "support/graph_run.h"

#include "codegen/select.h"
#include "imbrex/prove.h"
#include "ir/evaluate.h"

#include <math.h>
#include <string.h>

static const float LARGEST = 1000.0f;

void graph_run_init(graph_run *run, ibx_target target, uint64_t seed) {
  memset(run, 0, sizeof(*run));
  run->seed = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
  run->graph = (ibx_graph){.arena = &run->arena,
                           .tables = &run->tables,
                           .name = "main",
                           .inputs = run->inputs,
                           .outputs = run->outputs};
  run->ctx =
      (ibx_pass_ctx){.machine = ibx_machine_get(target),
                     .options = {.auto_cast_type = IBX_DTYPE_BF16, .level = 2},
                     .tables = &run->tables,
                     .arena = &run->arena,
                     .scratch = &run->scratch,
                     .packs = &run->packs,
                     .err = &run->err};
}

void graph_run_fini(graph_run *run) {
  ibx_arena_reset(&run->arena);
  ibx_arena_reset(&run->scratch);
}

uint32_t graph_run_below(graph_run *run, uint32_t limit) {
  run->seed ^= run->seed >> 12;
  run->seed ^= run->seed << 25;
  run->seed ^= run->seed >> 27;
  return (uint32_t)((run->seed * UINT64_C(0x2545f4914f6cdd1d) >> 32) % limit);
}

int64_t graph_run_between(graph_run *run, int64_t low, int64_t high) {
  return low + graph_run_below(run, (uint32_t)(high - low + 1));
}

static size_t count_of(const ibx_type *type) {
  int64_t count = 0;
  return ibx_type_elements(type, &count) ? (size_t)count : 0;
}

static void *room_for(graph_run *run, const ibx_type *type) {
  return ibx_arena_alloc(&run->arena,
                         count_of(type) * ibx_dtype_bytes(type->dtype) + 8);
}

static bool is_floating(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_FLOAT;
}

void *graph_run_random(graph_run *run, const ibx_type *type, int64_t low,
                       int64_t high) {
  size_t bytes = ibx_dtype_bytes(type->dtype);
  uint8_t *data = room_for(run, type);
  for (size_t i = 0; i < count_of(type); i++) {
    int64_t whole = graph_run_between(run, low, high);
    if (is_floating(type->dtype)) {
      float value = (float)graph_run_between(run, -16, 16) / 8.0f;
      ibx_dtype_store_f32(type->dtype, &value, data + i * bytes, 1);
    } else {
      memcpy(data + i * bytes, &whole, bytes); // little endian
    }
  }
  return data;
}

// --- building ---

static uint32_t source_of(graph_run *run, const char *op) {
  return ibx_tables_add_source(
      &run->tables, &run->arena,
      ibx_arena_format(&run->arena, "n%zu", run->tables.source_count), op);
}

uint32_t graph_run_input(graph_run *run, ibx_type type, int64_t low,
                         int64_t high) {
  size_t index = run->graph.input_count++;
  uint32_t value = ibx_graph_add_input(&run->graph, type, (uint32_t)index);
  run->inputs[index] =
      (ibx_port){.name = ibx_arena_format(&run->arena, "x%zu", index),
                 .value = value,
                 .type = type,
                 .state = -1};
  run->data[value] = graph_run_random(run, &type, low, high);
  run->exact[value] = true;
  return value;
}

uint32_t graph_run_constant(graph_run *run, ibx_type type, void *data) {
  ibx_weight weight = {.type = type, .data = data, .name = "w"};
  uint32_t value = ibx_graph_add_constant(
      &run->graph, ibx_tables_add_weight(&run->tables, &run->arena, weight),
      source_of(run, "Constant"));
  run->data[value] = data;
  run->exact[value] = true;
  return value;
}

static bool is_tame(const ibx_tensor *tensor) {
  size_t bytes = ibx_dtype_bytes(tensor->type.dtype);
  if (!is_floating(tensor->type.dtype)) return true;
  for (size_t i = 0; i < count_of(&tensor->type); i++) {
    float value;
    ibx_dtype_load_f32(tensor->type.dtype, (uint8_t *)tensor->data + i * bytes,
                       &value, 1);
    if (!(fabsf(value) <= LARGEST)) return false;
  }
  return true;
}

uint32_t graph_run_node(graph_run *run, ibx_tensor_op op,
                        const ibx_params *params, const uint32_t *operands,
                        size_t count, int64_t most) {
  ibx_graph *graph = &run->graph;
  ibx_type types[IBX_NODE_OPERANDS];
  ibx_tensor tensors[IBX_NODE_OPERANDS], result;
  if (graph->value_count == GRAPH_RUN_VALUES) return IBX_NO_VALUE;
  for (size_t i = 0; i < count; i++) {
    if (operands[i] == IBX_NO_VALUE) return IBX_NO_VALUE;
    types[i] = graph->values[operands[i]].type;
    tensors[i] = (ibx_tensor){types[i], run->data[operands[i]]};
  }
  if (ibx_tensor_infer(op, params, types, count, &result.type, NULL) !=
      IBX_OK) {
    return IBX_NO_VALUE;
  }
  int64_t elements = 0;
  if (!ibx_type_elements(&result.type, &elements) || elements == 0 ||
      elements > most) {
    return IBX_NO_VALUE;
  }
  result.data = room_for(run, &result.type);
  if (ibx_tensor_eval(op, params, tensors, count, &result, NULL) != IBX_OK ||
      !is_tame(&result)) {
    return IBX_NO_VALUE;
  }
  uint32_t value;
  if (ibx_graph_add(graph, op, params, operands, count,
                    source_of(run, ibx_tensor_op_get(op)->name), &value,
                    &run->err) != IBX_OK) {
    return IBX_NO_VALUE;
  }
  run->data[value] = result.data;
  return value;
}

bool graph_run_output(graph_run *run, uint32_t value) {
  size_t index = run->graph.output_count;
  if (index == GRAPH_RUN_PORTS) return false;
  run->outputs[index] =
      (ibx_port){.name = ibx_arena_format(&run->arena, "y%zu", index),
                 .value = value,
                 .type = run->graph.values[value].type,
                 .state = -1};
  run->graph.output_count++;
  return true;
}

// --- compiling, as compiler.c does it ---

static const void *weights_of(graph_run *run) {
  uint8_t *bytes = ibx_arena_alloc(&run->arena, run->packs.bytes + 64);
  bytes += (64 - (uintptr_t)bytes % 64) % 64;
  for (size_t i = 0; i < run->packs.count; i++) {
    const ibx_pack *row = &run->packs.rows[i];
    ibx_pack_fill(row, &run->scratch, bytes + row->offset);
  }
  return bytes;
}

static ibx_status generate(graph_run *run) {
  const ibx_tile_func *func = &run->unit.tiles;
  ibx_mir mir;
  run->step = "select";
  ibx_codegen_select(run->ctx.machine, func, &run->arena, &mir);
  run->entry = (ibx_entry){.name = func->name,
                           .inputs = func->inputs,
                           .outputs = func->outputs,
                           .buffers = func->buffers,
                           .input_count = func->input_count,
                           .output_count = func->output_count,
                           .buffer_count = func->buffer_count};
  run->step = "schedule";
  IBX_TRY(
      ibx_codegen_schedule(&mir, &run->arena, run->entry.streams, &run->err));
  run->program =
      (ibx_program_data){.machine = run->ctx.machine,
                         .model = "test",
                         .options = "",
                         .entries = &run->entry,
                         .nodes = run->tables.sources,
                         .entry_count = 1,
                         .node_count = run->tables.source_count,
                         .weights = {weights_of(run), run->packs.bytes}};
  run->step = "prove";
  return ibx_prove_entry(&run->program, &run->entry, NULL, &run->err);
}

// The passes get arrays of their own, so that the graph stays as it was built.
static ibx_graph copy_of(graph_run *run) {
  const ibx_graph *graph = &run->graph;
  ibx_graph copy = *graph;
  copy.nodes = IBX_ARENA_ARRAY(&run->arena, graph->node_count, ibx_node);
  copy.values = IBX_ARENA_ARRAY(&run->arena, graph->value_count, ibx_value);
  copy.inputs = IBX_ARENA_ARRAY(&run->arena, graph->input_count, ibx_port);
  copy.outputs = IBX_ARENA_ARRAY(&run->arena, graph->output_count, ibx_port);
  copy.node_room = graph->node_count;
  copy.value_room = graph->value_count;
  if (graph->node_count) {
    memcpy(copy.nodes, graph->nodes, graph->node_count * sizeof(ibx_node));
  }
  memcpy(copy.values, graph->values, graph->value_count * sizeof(ibx_value));
  memcpy(copy.inputs, run->inputs, graph->input_count * sizeof(ibx_port));
  memcpy(copy.outputs, run->outputs, graph->output_count * sizeof(ibx_port));
  return copy;
}

ibx_status graph_run_compile(graph_run *run, ibx_ir *ir) {
  ibx_pipeline_options options = {.verify = true};
  run->unit = (ibx_unit){.graph = copy_of(run)};
  run->step = "pipeline";
  IBX_TRY(ibx_pipeline_run(&run->ctx, &options, ir, &run->unit));
  return generate(run);
}

// --- executing ---

ibx_status graph_run_execute(graph_run *run, ibx_sim_order order, uint64_t seed,
                             ibx_tensor *outputs) {
  const ibx_entry *entry = &run->entry;
  const ibx_graph *graph = &run->graph;
  uint8_t **hbm = IBX_ARENA_ARRAY(&run->arena, entry->buffer_count, uint8_t *);
  for (size_t i = 0; i < graph->input_count; i++) {
    hbm[entry->inputs[i].buffer] = run->data[run->inputs[i].value];
  }
  for (size_t i = 0; i < graph->output_count; i++) {
    const ibx_type *type = &run->outputs[i].type;
    outputs[i] = (ibx_tensor){*type, room_for(run, type)};
    memset(outputs[i].data, 0xa5,
           count_of(type) * ibx_dtype_bytes(type->dtype));
    hbm[entry->outputs[i].buffer] = outputs[i].data;
  }
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim_options options = {.order = order, .seed = seed, .poison = true};
  ibx_sim *sim = NULL;
  run->step = "execute";
  ibx_status status = ibx_sim_create(&run->program, entry, &sim, &run->err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, &run->err);
  ibx_sim_destroy(sim);
  return status;
}

// --- comparing ---

static double real_at(const ibx_tensor *tensor, size_t index) {
  const ibx_dtype_info *info = ibx_dtype_get(tensor->type.dtype);
  size_t bytes = ibx_dtype_bytes(tensor->type.dtype);
  const uint8_t *at = (const uint8_t *)tensor->data + index * bytes;
  if (info->kind == IBX_DTYPE_KIND_FLOAT) {
    float value;
    ibx_dtype_load_f32(tensor->type.dtype, at, &value, 1);
    return (double)value;
  }
  uint64_t bits = 0;
  memcpy(&bits, at, bytes);
  bool is_negative = info->kind == IBX_DTYPE_KIND_SINT && bytes < 8 &&
                     bits >> (info->bits - 1);
  if (is_negative) bits |= UINT64_MAX << info->bits;
  return info->kind == IBX_DTYPE_KIND_SINT ? (double)(int64_t)bits
                                           : (double)bits;
}

static graph_run_error compare_output(const ibx_tensor *got,
                                      const ibx_tensor *want) {
  graph_run_error error = {0};
  size_t count = count_of(&want->type);
  double low = INFINITY, high = -INFINITY, mean = 0;
  double square = 0, spread = 0, size = 0;
  for (size_t i = 0; i < count; i++) {
    double value = real_at(want, i);
    low = fmin(low, value);
    high = fmax(high, value);
    mean += value / (double)count;
  }
  // Of one large number, the range is the number.
  double range = fmax(fmax(1.0, high - low), fmax(high, -low)), worst = 0;
  for (size_t i = 0; i < count; i++) {
    double value = real_at(want, i), distance = fabs(real_at(got, i) - value);
    square += distance * distance;
    spread += (value - mean) * (value - mean);
    size += value * value;
    if (distance <= worst) continue;
    worst = isnan(distance) ? INFINITY : distance;
    error.element = (int64_t)i;
  }
  // An integer that is off by one is wrong.
  bool is_whole = !is_floating(want->type.dtype);
  error.range = is_whole && worst != 0 ? INFINITY : worst / range;
  error.norm = sqrt(square / fmax(fmax(spread, size / 100), (double)count));
  if (isnan(error.norm) || error.range == INFINITY) error.norm = INFINITY;
  return error;
}

graph_run_error graph_run_compare(const graph_run *run,
                                  const ibx_tensor *outputs) {
  graph_run_error worst = {0};
  for (size_t i = 0; i < run->graph.output_count; i++) {
    ibx_tensor want = {run->outputs[i].type, run->data[run->outputs[i].value]};
    graph_run_error error = compare_output(&outputs[i], &want);
    worst.norm = fmax(worst.norm, error.norm);
    if (error.range <= worst.range) continue;
    worst.range = error.range;
    worst.output = i;
    worst.element = error.element;
  }
  return worst;
}

// An input as the legalised graph wants it: narrower.
static ibx_tensor narrowed(graph_run *run, const ibx_tensor *wide,
                           ibx_dtype dtype) {
  ibx_tensor narrow = {wide->type, wide->data};
  if (dtype == wide->type.dtype) return narrow;
  narrow.type.dtype = dtype;
  narrow.data = room_for(run, &narrow.type);
  size_t from = ibx_dtype_bytes(wide->type.dtype), to = ibx_dtype_bytes(dtype);
  for (size_t i = 0; i < count_of(&wide->type); i++) {
    const uint8_t *src = (const uint8_t *)wide->data + i * from;
    uint8_t *dst = (uint8_t *)narrow.data + i * to;
    if (is_floating(dtype)) {
      float value;
      ibx_dtype_load_f32(wide->type.dtype, src, &value, 1);
      ibx_dtype_store_f32(dtype, &value, dst, 1);
    } else {
      memcpy(dst, src, to); // little endian
    }
  }
  return narrow;
}

// Gives every constant a row of its value's own dtype.
static void narrow_constants(graph_run *run, ibx_graph *graph) {
  for (size_t n = 0; n < graph->node_count; n++) {
    ibx_node *node = &graph->nodes[n];
    const ibx_weight *have = ibx_graph_constant(graph, node->result);
    ibx_dtype dtype = graph->values[node->result].type.dtype;
    if (!have || have->type.dtype == dtype) continue;
    // Rows are read only, whatever the type of a tensor's data says.
    ibx_tensor wide = {have->type, (void *)(uintptr_t)have->data};
    ibx_tensor narrow = narrowed(run, &wide, dtype);
    ibx_weight row = {.type = narrow.type, .data = narrow.data, .name = "w"};
    node->params.weight = ibx_tables_add_weight(&run->tables, &run->arena, row);
  }
}

ibx_status graph_run_legalised(graph_run *run, ibx_tensor *outputs) {
  ibx_graph graph = copy_of(run);
  ibx_tensor inputs[GRAPH_RUN_PORTS];
  IBX_TRY(ibx_pass_legalise_types(&run->ctx, &graph));
  IBX_TRY(ibx_pass_legalise(&run->ctx, &graph));
  narrow_constants(run, &graph);
  for (size_t i = 0; i < graph.input_count; i++) {
    ibx_tensor wide = {run->inputs[i].type, run->data[run->inputs[i].value]};
    uint32_t value = graph.inputs[i].value;
    ibx_dtype dtype = value == IBX_NO_VALUE ? wide.type.dtype
                                            : graph.values[value].type.dtype;
    inputs[i] = narrowed(run, &wide, dtype);
  }
  ibx_arena_reset(&run->scratch);
  return ibx_graph_eval(&graph, inputs, outputs, &run->arena, NULL, NULL,
                        &run->err);
}

const char *graph_run_text(graph_run *run, ibx_ir *ir) {
  if (ibx_graph_write(ir, &run->graph, &run->err) != IBX_OK) {
    return run->err.message;
  }
  return ibx_ir_print(ir, &run->arena);
}
