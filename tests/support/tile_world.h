// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_TILE_WORLD_H
#define IBX_TEST_TILE_WORLD_H

/// \file
/// A graph with one input, lowered to tiles and executed one instruction after
/// the other on the simulator: each instruction waits for the one before. Tests
/// of lowering compare the result with the reference kernels. Every instruction
/// is checked, and the whole entry is proved.

#include "imbrex/prove.h"
#include "imbrex/sim.h"
#include "passes/lower.h"
#include "passes/pack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tile_world {
  ibx_arena arena, scratch;
  ibx_tables tables;
  ibx_packs packs;
  ibx_graph graph;
  ibx_pass_ctx ctx;
  ibx_error err;
  ibx_port input, output;
  uint64_t seed;
  ibx_tile_func func;
  char what[256]; ///< the case, for messages
} tile_world;

/// xorshift64*, so that tests are the same everywhere.
static inline uint32_t tile_below(tile_world *w, uint32_t limit) {
  w->seed ^= w->seed >> 12;
  w->seed ^= w->seed << 25;
  w->seed ^= w->seed >> 27;
  return (uint32_t)((w->seed * UINT64_C(0x2545f4914f6cdd1d) >> 32) % limit);
}

static inline int64_t tile_between(tile_world *w, int64_t low, int64_t high) {
  return low + tile_below(w, (uint32_t)(high - low + 1));
}

static inline void tile_world_init(tile_world *w, ibx_target target,
                                   uint64_t seed) {
  memset(w, 0, sizeof(*w));
  w->seed = seed;
  w->graph =
      (ibx_graph){.arena = &w->arena, .tables = &w->tables, .name = "main"};
  w->ctx = (ibx_pass_ctx){.machine = ibx_machine_get(target),
                          .options = {.level = 2},
                          .tables = &w->tables,
                          .arena = &w->arena,
                          .scratch = &w->scratch,
                          .packs = &w->packs,
                          .err = &w->err};
  ibx_tables_add_source(&w->tables, &w->arena, "node", "Test");
}

static inline void tile_world_fini(tile_world *w) {
  ibx_arena_reset(&w->arena);
  ibx_arena_reset(&w->scratch);
}

/// Random elements, small multiples of 1/8: sums of products are exact in fp32,
/// and so are the elements in bf16.
static inline void *tile_random(tile_world *w, const ibx_type *type) {
  int64_t count = 0, bytes = 0;
  ibx_type_elements(type, &count);
  ibx_type_bytes(type, &bytes);
  uint8_t *data = ibx_arena_alloc(&w->arena, (size_t)bytes);
  for (int64_t i = 0; i < count; i++) {
    float value = (float)tile_between(w, -16, 16);
    if (ibx_dtype_get(type->dtype)->kind == IBX_DTYPE_KIND_FLOAT) value /= 8.0f;
    ibx_dtype_store_f32(type->dtype, &value,
                        data + (size_t)i * ibx_dtype_bytes(type->dtype), 1);
  }
  return data;
}

static inline uint32_t tile_input(tile_world *w, ibx_type type) {
  uint32_t value = ibx_graph_add_input(&w->graph, type, 0);
  w->input = (ibx_port){.name = "x", .value = value, .type = type, .state = -1};
  w->graph.inputs = &w->input;
  w->graph.input_count = 1;
  return value;
}

static inline uint32_t tile_constant(tile_world *w, ibx_type type) {
  ibx_weight weight = {
      .type = type, .data = tile_random(w, &type), .name = "w"};
  return ibx_graph_add_constant(
      &w->graph, ibx_tables_add_weight(&w->tables, &w->arena, weight), 0);
}

/// IBX_NO_VALUE when the operands do not fit.
static inline uint32_t tile_node(tile_world *w, ibx_tensor_op op,
                                 const ibx_params *params, uint32_t a,
                                 uint32_t b, uint8_t on_partitions) {
  uint32_t operands[] = {a, b}, value;
  ibx_layout layout = {.dims = {on_partitions}, .count = 1};
  if (ibx_graph_add(&w->graph, op, params, operands, b == IBX_NO_VALUE ? 1 : 2,
                    0, &value, &w->err) != IBX_OK) {
    return IBX_NO_VALUE;
  }
  w->graph.nodes[w->graph.node_count - 1].decided.layout =
      ibx_layout_text(&layout, &w->arena);
  return value;
}

static inline void tile_output(tile_world *w, uint32_t value) {
  w->output = (ibx_port){.name = "y",
                         .value = value,
                         .type = w->graph.values[value].type,
                         .state = -1};
  w->graph.outputs = &w->output;
  w->graph.output_count = 1;
}

/// Gives every buffer an address of its own (banks in turn). False when SBUF is
/// too small for that.
static inline bool tile_place(tile_world *w) {
  uint64_t next[IBX_SPACE_COUNT] = {0};
  for (size_t i = 0; i < w->func.buffer_count; i++) {
    ibx_buffer_decl *buffer = &w->func.buffers[i];
    if (buffer->kind == IBX_BUFFER_WEIGHT) continue;
    ibx_buffer_place *place = &buffer->place;
    if (place->space == IBX_SPACE_PSUM) {
      place->offset = next[place->space] % w->ctx.machine->psum_bytes;
    } else {
      place->offset = next[place->space];
    }
    next[place->space] += (place->bytes + 63) / 64 * 64;
  }
  return next[IBX_SPACE_SBUF] <= w->ctx.machine->sbuf_bytes;
}

/// One stream an engine, chained by semaphores: one for each pair of engines,
/// and for each engine one behind DMAs.
static inline void tile_chain(tile_world *w, ibx_entry *entry,
                              const ibx_buffer_place *places) {
  const ibx_tile_func *func = &w->func;
  uint16_t value = 0;
  uint8_t semaphore = 0;
  for (size_t i = 0; i < func->op_count; i++) {
    const ibx_tile_op op = ibx_tile_at(func, i);
    ibx_stream *stream = &entry->streams[op.engine];
    ibx_insn insn = op.insn;
    insn.wait_semaphore = value ? semaphore : 0;
    insn.wait_value = value;
    bool is_dma = ibx_insn_get(insn.opcode)->format == IBX_FORMAT_dma;
    if (i + 1 < func->op_count) {
      unsigned from = is_dma ? (unsigned)IBX_ENGINE_COUNT : op.engine;
      semaphore = (uint8_t)(from * IBX_ENGINE_COUNT + func->ops[i + 1]->engine);
      value = is_dma
                  ? (uint16_t)ibx_dma_split(w->ctx.machine, &insn, places, NULL)
                  : 1;
      insn.signal_semaphore = semaphore;
      insn.signal_value = value;
    } else if (is_dma) {
      // The end of the entry waits for everything.
      insn.signal_semaphore = 200;
      insn.signal_value =
          (uint16_t)ibx_dma_split(w->ctx.machine, &insn, places, NULL);
      value = insn.signal_value;
    }
    stream->nodes[stream->count] = 0;
    stream->insns[stream->count++] = insn;
  }
  ibx_stream *sync = &entry->streams[IBX_ENGINE_SYNC];
  ibx_insn wait = ibx_insn_make(IBX_OP_semaphore);
  wait.wait_semaphore = 200;
  wait.wait_value = value;
  sync->nodes[sync->count] = 0;
  sync->insns[sync->count++] = wait;
}

static inline ibx_status tile_check(tile_world *w, const ibx_entry *entry,
                                    const ibx_buffer_place *places) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    for (size_t i = 0; i < entry->streams[e].count; i++) {
      IBX_TRY(ibx_insn_check(w->ctx.machine, (ibx_engine)e,
                             &entry->streams[e].insns[i], places,
                             entry->buffer_count, &w->err));
    }
  }
  return IBX_OK;
}

static inline ibx_status tile_simulate(tile_world *w,
                                       const ibx_program_data *program,
                                       const ibx_entry *entry, void *x,
                                       void *y) {
  uint8_t **hbm = IBX_ARENA_ARRAY(&w->arena, entry->buffer_count, uint8_t *);
  hbm[entry->inputs[0].buffer] = x;
  hbm[entry->outputs[0].buffer] = y;
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM, .poison = true};
  ibx_sim *sim = NULL;
  ibx_status status = ibx_sim_create(program, entry, &sim, &w->err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, &w->err);
  ibx_sim_destroy(sim);
  return status;
}

static inline void *tile_weights(tile_world *w) {
  uint8_t *bytes = ibx_arena_alloc(&w->arena, w->packs.bytes + 64);
  bytes += (64 - (uintptr_t)bytes % 64) % 64;
  for (size_t i = 0; i < w->packs.count; i++) {
    ibx_pack_fill(&w->packs.rows[i], &w->arena,
                  bytes + w->packs.rows[i].offset);
  }
  return bytes;
}

/// Lowers the graph and runs it on `x`; the result goes to `y`.
static inline ibx_status tile_run(tile_world *w, void *x, void *y) {
  IBX_TRY(ibx_pass_lower_tiles(&w->ctx, &w->graph, &w->func));
  if (!tile_place(w)) return IBX_OUT_OF_CAPACITY;
  ibx_entry entry = {.name = "main",
                     .inputs = w->func.inputs,
                     .outputs = w->func.outputs,
                     .buffers = w->func.buffers,
                     .input_count = 1,
                     .output_count = 1,
                     .buffer_count = w->func.buffer_count};
  ibx_buffer_place *places =
      IBX_ARENA_ARRAY(&w->arena, entry.buffer_count, ibx_buffer_place);
  for (size_t i = 0; i < entry.buffer_count; i++) {
    places[i] = entry.buffers[i].place;
  }
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    entry.streams[e].insns =
        IBX_ARENA_ARRAY(&w->arena, w->func.op_count + 1, ibx_insn);
    entry.streams[e].nodes =
        IBX_ARENA_ARRAY(&w->arena, w->func.op_count + 1, uint32_t);
  }
  tile_chain(w, &entry, places);
  IBX_TRY(tile_check(w, &entry, places));
  ibx_program_data program = {.machine = w->ctx.machine,
                              .model = "test",
                              .options = "",
                              .entries = &entry,
                              .nodes = w->tables.sources,
                              .entry_count = 1,
                              .node_count = w->tables.source_count,
                              .weights = {tile_weights(w), w->packs.bytes}};
  IBX_TRY(ibx_prove_entry(&program, &entry, NULL, &w->err));
  return tile_simulate(w, &program, &entry, x, y);
}

/// What the reference kernels make of it, node after node.
static inline ibx_status tile_reference(tile_world *w, void *x, void **out_y) {
  const ibx_graph *graph = &w->graph;
  void **data = IBX_ARENA_ARRAY(&w->arena, graph->value_count, void *);
  data[w->input.value] = x;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_node *node = &graph->nodes[n];
    const ibx_weight *weight = ibx_graph_constant(graph, node->result);
    if (weight) {
      data[node->result] = (void *)(uintptr_t)weight->data;
      continue;
    }
    ibx_tensor operands[IBX_NODE_OPERANDS];
    for (uint32_t i = 0; i < node->operand_count; i++) {
      operands[i] = (ibx_tensor){graph->values[node->operand[i]].type,
                                 data[node->operand[i]]};
    }
    ibx_tensor result = {.type = graph->values[node->result].type};
    int64_t bytes = 0;
    ibx_type_bytes(&result.type, &bytes);
    result.data = data[node->result] =
        ibx_arena_alloc(&w->arena, (size_t)bytes);
    IBX_TRY(ibx_tensor_eval(node->op, &node->params, operands,
                            node->operand_count, &result, &w->err));
  }
  *out_y = data[w->output.value];
  return IBX_OK;
}

/// Runs both ways and compares: at most `tolerance` apart, relative to the
/// largest element. Prints the case and what is wrong.
static inline bool tile_agrees(tile_world *w, float tolerance) {
  const ibx_type *type = &w->output.type;
  int64_t count = 0, bytes = 0;
  ibx_type_elements(type, &count);
  ibx_type_bytes(type, &bytes);
  void *x = tile_random(w, &w->input.type), *want = NULL;
  uint8_t *got = ibx_arena_alloc(&w->arena, (size_t)bytes);
  ibx_status status = tile_run(w, x, got);
  if (status == IBX_OUT_OF_CAPACITY && w->err.status == IBX_OK) return true;
  if (status == IBX_OK) status = tile_reference(w, x, &want);
  if (status != IBX_OK) {
    fprintf(stderr, "%s: %s\n", w->what, w->err.message);
    return false;
  }
  float most = 1.0f, worst = 0.0f;
  int64_t where = 0;
  for (int64_t i = 0; i < count; i++) {
    float a, b;
    size_t at = (size_t)i * ibx_dtype_bytes(type->dtype);
    ibx_dtype_load_f32(type->dtype, got + at, &a, 1);
    ibx_dtype_load_f32(type->dtype, (uint8_t *)want + at, &b, 1);
    most = fmaxf(most, fabsf(b));
    float distance = a == b ? 0.0f : fabsf(a - b);
    if (!(distance <= worst)) {
      worst = distance;
      where = i;
    }
    if (isnan(distance)) break;
  }
  if (worst <= tolerance * most) return true;
  fprintf(stderr, "%s: element %lld is off by %g\n", w->what, (long long)where,
          (double)worst);
  return false;
}

#endif
