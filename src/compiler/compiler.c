// SPDX-License-Identifier: Apache-2.0
//
// The compiler from end to end: comes in an ONNX model and options; goes out a
// proved program, or text of an earlier stage, through the caller's sink.
// Nothing is written unless all of it compiled. One arena holds a compilation.

#include "imbrex/compiler.h"

#include "codegen/select.h"
#include "codegen/share.h"
#include "compiler/fit.h"
#include "compiler/slow.h"
#include "frontend/frontend.h"
#include "imbrex/asm.h"
#include "imbrex/prove.h"
#include "passes/bounds.h"
#include "passes/legalise.h"
#include "passes/pack.h"
#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

struct ibx_compiler {
  ibx_compile_options options;
  const ibx_machine *machine;
  ibx_compile_stats stats;
};

// One compilation: everything that ends with it.
typedef struct compilation {
  ibx_compiler *compiler;
  ibx_arena arena, scratch;
  ibx_diag_sink sink;
  ibx_tables tables;
  ibx_packs packs;
  ibx_fit fit;
  ibx_model *model;
  ibx_ir *ir;
  ibx_entry *entries;
  size_t entry_count, entry_room;
  const char *name;
  ibx_write_fn write;
  void *write_user;
  bool check_only;
  ibx_error *err;
} compilation;

void ibx_compile_options_init(ibx_compile_options *options) {
  *options = (ibx_compile_options){
      .target = "ibx3", .auto_cast_type = IBX_DTYPE_BF16, .level = 2};
}

ibx_status ibx_compiler_create(const ibx_compile_options *options,
                               ibx_compiler **out_compiler, ibx_error *err) {
  *out_compiler = NULL;
  const ibx_machine *machine = ibx_machine_find(options->target);
  if (!machine) {
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "there is no target %s; use ibx2, ibx3 or ibx4",
                    options->target);
  }
  if (options->level > 2) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "-O%u; the levels are 0, 1, 2",
                    options->level);
  }
  ibx_compiler *compiler = calloc(1, sizeof *compiler);
  if (!compiler)
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a compiler");
  compiler->options = *options;
  compiler->machine = machine;
  // The generations before v4 have the legacy fp8 only.
  if (options->auto_cast_type == IBX_DTYPE_F8E4M3FN &&
      machine->target != IBX_TARGET_ibx4) {
    compiler->options.auto_cast_type = IBX_DTYPE_F8E4M3;
  }
  *out_compiler = compiler;
  return IBX_OK;
}

void ibx_compiler_destroy(ibx_compiler *compiler) { free(compiler); }

ibx_compile_stats ibx_compiler_stats(const ibx_compiler *compiler) {
  return compiler->stats;
}

// ---- Entries: one for each combination of the symbolic dimensions

static size_t combination_count(const ibx_compile_options *options) {
  size_t count = 1;
  for (size_t d = 0; d < options->dim_count; d++) {
    count *= options->dims[d].value_count;
  }
  return count;
}

// The values of combination `index`, and its name: "main" where there is one
// only, else "batch=1,seq=128".
static const char *combination(compilation *c, size_t index, size_t count,
                               ibx_dim_value *values) {
  const ibx_compile_options *options = &c->compiler->options;
  const char *name = "";
  for (size_t d = 0; d < options->dim_count; d++) {
    const ibx_dim_choice *dim = &options->dims[d];
    values[d] = (ibx_dim_value){.name = dim->name,
                                .value = dim->values[index % dim->value_count]};
    index /= dim->value_count;
    name = ibx_arena_format(&c->arena, "%s%s%s=%llu", name, d ? "," : "",
                            dim->name, (unsigned long long)values[d].value);
  }
  return count > 1 ? name : "main";
}

static ibx_status import(compilation *c, const char *name,
                         const ibx_dim_value *values, ibx_graph *graph,
                         const ibx_partition **partition,
                         ibx_import_stats *out_stats) {
  ibx_frontend_options frontend =
      ibx_frontend_options_of(&c->compiler->options, name, values);
  ibx_status status =
      ibx_frontend_import(c->model, &frontend, &c->sink, &c->arena, &c->tables,
                          graph, partition, out_stats, c->err);
  c->compiler->stats.nodes = out_stats->nodes;
  c->compiler->stats.host_nodes = out_stats->host_nodes;
  return status;
}

static uint64_t count_groups(const ibx_graph *graph) {
  uint64_t groups = 0;
  for (size_t n = 0; n < graph->node_count; n++) {
    groups += graph->nodes[n].decided.group == (int64_t)n + 1;
  }
  return groups;
}

static bool is_plain(const ibx_port_decl *ports, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (ports[i].kind != IBX_PORT_TENSOR) return false;
  }
  return true;
}

// Where every input and output is a tensor, the entry needs no list of them.
static void add_ports(const ibx_import_stats *facts, ibx_entry *entry) {
  if (facts->extent_count == 0 &&
      is_plain(facts->input_ports, facts->input_port_count) &&
      is_plain(facts->output_ports, facts->output_port_count)) {
    return;
  }
  entry->has_ports = true;
  entry->input_ports = facts->input_ports;
  entry->output_ports = facts->output_ports;
  entry->extents = facts->extents;
  entry->extent_count = facts->extent_count;
  entry->input_port_count = facts->input_port_count;
  entry->output_port_count = facts->output_port_count;
}

static ibx_status make_entry(compilation *c, const ibx_unit *unit,
                             const ibx_import_stats *facts,
                             const ibx_bounds *bounds, ibx_entry *entry) {
  const ibx_tile_func *func = &unit->tiles;
  ibx_mir mir;
  ibx_codegen_select(c->compiler->machine, func, &c->arena, &mir);
  mir.single_trial = c->compiler->options.level < 2;
  *entry = (ibx_entry){.name = func->name,
                       .inputs = func->inputs,
                       .outputs = func->outputs,
                       .buffers = func->buffers,
                       .input_count = func->input_count,
                       .output_count = func->output_count,
                       .buffer_count = func->buffer_count,
                       .bounds = *bounds};
  if (facts) add_ports(facts, entry);
  return ibx_codegen_schedule(&mir, &c->arena, entry->streams, c->err);
}

static uint64_t bound_ps(const ibx_bounds *bounds) {
  return bounds->tensor_ps > bounds->hbm_ps ? bounds->tensor_ps
                                            : bounds->hbm_ps;
}

static ibx_port *copy_ports(compilation *c, const ibx_port *ports,
                            size_t count) {
  ibx_port *copy = IBX_ARENA_ARRAY(&c->scratch, count, ibx_port);
  if (count != 0) memcpy(copy, ports, count * sizeof(*copy));
  return copy;
}

// The bounds come from the graph as the model gives it, made legal but not yet
// optimised.
static ibx_status measure(compilation *c, const ibx_pass_ctx *ctx,
                          const ibx_graph *graph, ibx_bounds *out) {
  ibx_graph legal = *graph;
  ibx_pass_ctx quiet = *ctx; // the pipeline reports what these passes find
  quiet.diag = NULL;
  legal.inputs = copy_ports(c, graph->inputs, graph->input_count);
  legal.outputs = copy_ports(c, graph->outputs, graph->output_count);
  IBX_TRY(ibx_pass_legalise_types(&quiet, &legal));
  IBX_TRY(ibx_pass_legalise(&quiet, &legal));
  *out = ibx_bounds_compute(c->compiler->machine, &legal, &c->scratch);
  ibx_arena_rewind(&c->scratch);
  return IBX_OK;
}

static bool wants_program(const ibx_compile_options *options) {
  return options->emit != IBX_EMIT_MLIR && !options->passes &&
         !options->stop_after;
}

static ibx_entry *add_entry(compilation *c) {
  if (c->entry_count == c->entry_room) {
    size_t room = c->entry_room ? c->entry_room * 2 : 16;
    ibx_entry *entries = IBX_ARENA_ARRAY(&c->arena, room, ibx_entry);
    if (c->entry_count != 0) {
      memcpy(entries, c->entries, c->entry_count * sizeof *entries);
    }
    c->entries = entries;
    c->entry_room = room;
  }
  return &c->entries[c->entry_count++];
}

// One graph from level 1 to an entry. A segment has no ports of the model: no
// facts.
static ibx_status compile_graph(compilation *c, ibx_unit *unit,
                                const ibx_import_stats *facts,
                                ibx_bounds *out_bounds) {
  const ibx_compile_options *options = &c->compiler->options;
  ibx_pass_ctx ctx = {.machine = c->compiler->machine,
                      .options = {.auto_cast = options->auto_cast,
                                  .auto_cast_type = options->auto_cast_type,
                                  .level = options->level,
                                  .no_host = options->no_host},
                      .tables = &c->tables,
                      .arena = &c->arena,
                      .scratch = &c->scratch,
                      .diag = &c->sink,
                      .packs = &c->packs,
                      .memo = IBX_ARENA_NEW(&c->arena, ibx_parts_memo),
                      .err = c->err};
  ctx.memo->arena = &c->arena;
  IBX_TRY(measure(c, &ctx, &unit->graph, out_bounds));
  ibx_pipeline_options pipeline = {.passes = options->passes,
                                   .print_after = options->print_after,
                                   .stop_after = options->stop_after,
                                   .no_ir = c->check_only,
                                   .on_text = options->on_text,
                                   .on_progress = options->on_progress,
                                   .on_pass = options->on_pass,
                                   .user = options->user};
  IBX_TRY(ibx_pipeline_run(&ctx, &pipeline, c->ir, unit));
  if (unit->is_tiles) {
    IBX_TRY(ibx_fit_buffers(&unit->tiles, &c->tables, &c->scratch, &c->sink,
                            c->err));
    ibx_fit_add(&c->fit, &unit->tiles);
    if (c->check_only)
      ibx_slow_tiles(&c->sink, &c->tables, ctx.machine, &unit->tiles,
                     bound_ps(out_bounds), &c->scratch);
  }
  ibx_arena_rewind(&c->scratch);
  c->compiler->stats.fused_groups += count_groups(&unit->graph);
  if (!wants_program(options) || c->check_only) return IBX_OK;
  return make_entry(c, unit, facts, out_bounds, add_entry(c));
}

static void add_bounds(ibx_bounds *sum, const ibx_bounds *part) {
  sum->flops += part->flops;
  sum->tensor_ps += part->tensor_ps;
  sum->hbm_min_bytes += part->hbm_min_bytes;
  sum->hbm_ps += part->hbm_ps;
  sum->engine_ps += part->engine_ps;
}

// The tensors of an entry with steps take their types from its values.
static ibx_tensor_decl *make_tensors(compilation *c, const ibx_port *ports,
                                     const uint32_t *values, size_t count,
                                     const ibx_steps *steps) {
  ibx_tensor_decl *tensors = IBX_ARENA_ARRAY(&c->arena, count, ibx_tensor_decl);
  for (size_t i = 0; i < count; i++) {
    const ibx_step_value *value = &steps->values[values[i]];
    tensors[i] = (ibx_tensor_decl){
        .name = ports[i].name, .rank = value->rank, .dtype = value->dtype};
    memcpy(tensors[i].shape, value->shape, sizeof value->shape);
  }
  return tensors;
}

// The entry that callers see; its segments stand behind it.
static void fill_steps_entry(compilation *c, size_t index, const char *name,
                             const ibx_partition *partition,
                             const ibx_import_stats *facts,
                             const ibx_bounds *bounds) {
  ibx_steps *steps = IBX_ARENA_NEW(&c->arena, ibx_steps);
  *steps = partition->steps;
  for (size_t i = 0; i < steps->step_count; i++) {
    if (!steps->steps[i].call) steps->steps[i].segment += (uint32_t)index + 1;
  }
  c->entries[index] =
      (ibx_entry){.name = name,
                  .inputs = make_tensors(c, partition->inputs, steps->inputs,
                                         partition->input_count, steps),
                  .outputs = make_tensors(c, partition->outputs, steps->outputs,
                                          partition->output_count, steps),
                  .input_count = partition->input_count,
                  .output_count = partition->output_count,
                  .bounds = *bounds,
                  .steps = steps};
  add_ports(facts, &c->entries[index]);
}

static ibx_status compile_steps(compilation *c, const char *name,
                                const ibx_partition *partition,
                                const ibx_import_stats *facts,
                                ibx_bounds *bounds) {
  const ibx_compile_options *options = &c->compiler->options;
  bool makes_entry = wants_program(options) && !c->check_only;
  size_t index = c->entry_count;
  const ibx_entry plan = {.steps = &partition->steps};
  ibx_compile_stats *stats = &c->compiler->stats;
  if (ibx_entry_host_segments(&plan) > stats->host_segments) {
    stats->host_segments = ibx_entry_host_segments(&plan);
  }
  if (c->check_only) ibx_slow_steps(&c->sink, &c->tables, &partition->steps);
  if (makes_entry) add_entry(c);
  for (size_t i = 0; i < partition->segment_count; i++) {
    ibx_unit unit = {.graph = partition->segments[i]};
    ibx_bounds part;
    IBX_TRY(compile_graph(c, &unit, NULL, &part));
    add_bounds(bounds, &part);
    if (makes_entry) c->entries[c->entry_count - 1].is_segment = true;
  }
  if (makes_entry) fill_steps_entry(c, index, name, partition, facts, bounds);
  return IBX_OK;
}

static ibx_status compile_entry(compilation *c, size_t index, size_t count) {
  const ibx_compile_options *options = &c->compiler->options;
  ibx_dim_value *values =
      IBX_ARENA_ARRAY(&c->arena, options->dim_count + 1, ibx_dim_value);
  const char *name = combination(c, index, count, values);
  const ibx_partition *partition;
  ibx_unit unit = {0};
  ibx_bounds bounds = {0};
  ibx_import_stats facts = {0};
  IBX_TRY(import(c, name, values, &unit.graph, &partition, &facts));
  IBX_TRY(partition ? compile_steps(c, name, partition, &facts, &bounds)
                    : compile_graph(c, &unit, &facts, &bounds));
  ibx_compile_stats *stats = &c->compiler->stats;
  if (bound_ps(&bounds) >= bound_ps(&stats->bounds)) stats->bounds = bounds;
  return IBX_OK;
}

// ---- Writing

static bool write_packs(void *user, ibx_write_fn write, void *write_user) {
  compilation *c = user;
  const ibx_packs *packs = &c->packs;
  uint64_t most = 0;
  for (size_t i = 0; i < packs->count; i++) {
    if (packs->rows[i].size > most) most = packs->rows[i].size;
  }
  uint8_t *bytes = ibx_arena_alloc(&c->arena, (size_t)most);
  for (size_t i = 0; i < packs->count; i++) {
    const ibx_pack *row = &packs->rows[i];
    ibx_pack_fill(row, &c->scratch, bytes);
    ibx_arena_rewind(&c->scratch);
    if (!write(write_user, bytes, (size_t)row->size)) return false;
  }
  return true;
}

static const char *options_text(compilation *c) {
  static const char *const CASTS[] = {"none", "matmul", "all"};
  const ibx_compile_options *options = &c->compiler->options;
  const char *constants = "";
  for (size_t i = 0; i < options->input_value_count; i++) {
    constants = ibx_arena_format(&c->arena, "%s --constant %s", constants,
                                 options->input_values[i].name);
  }
  return ibx_arena_format(
      &c->arena, "--target %s --auto-cast %s%s%s -O%u%s",
      c->compiler->machine->name, CASTS[options->auto_cast],
      options->auto_cast ? " --auto-cast-type " : "",
      options->auto_cast ? ibx_dtype_get(options->auto_cast_type)->name : "",
      options->level, constants);
}

typedef struct counting {
  ibx_write_fn write;
  void *user;
  uint64_t bytes;
} counting;

static bool count_and_write(void *user, const void *data, size_t size) {
  counting *sink = user;
  sink->bytes += size;
  return sink->write(sink->user, data, size);
}

static bool needs_host(const compilation *c) {
  for (size_t e = 0; e < c->entry_count; e++) {
    if (c->entries[e].steps) return true;
  }
  return false;
}

// What is written has been proved, too.
static ibx_status prove_entry(compilation *c, const ibx_program_data *program,
                              ibx_entry *entry) {
  ibx_proof proof;
  IBX_TRY(ibx_prove_entry(program, entry, &proof, c->err));
  if (entry->buffer_count <= IBX_MAX_BUFFERS) return IBX_OK;
  ibx_share_apply(entry, &c->arena);
  return ibx_prove_entry(program, entry, &proof, c->err);
}

static ibx_status write_program(compilation *c) {
  ibx_program_data program = {
      .machine = c->compiler->machine,
      .model = c->name,
      .options = options_text(c),
      .entries = c->entries,
      .nodes = c->tables.sources,
      .entry_count = c->entry_count,
      .node_count = c->tables.source_count,
      .weights = {.size = (size_t)c->packs.bytes},
  };
  for (size_t e = 0; e < c->entry_count; e++) {
    IBX_TRY(prove_entry(c, &program, &c->entries[e]));
    size_t calls = ibx_entry_library_nodes(&program, &c->entries[e]);
    if (calls > c->compiler->stats.gpsimd_calls)
      c->compiler->stats.gpsimd_calls = calls;
  }
  counting sink = {.write = c->write, .user = c->write_user};
  ibx_status status;
  if (c->compiler->options.emit == IBX_EMIT_ASM && needs_host(c)) {
    status = IBX_FAIL(c->err, UNSUPPORTED,
                      "assembly has no steps on the host; write the program, "
                      "and see its segments with `imbrex dump --asm`");
  } else if (c->compiler->options.emit == IBX_EMIT_ASM) {
    status = ibx_disasm_program(&program, count_and_write, &sink, c->err);
  } else {
    status = ibx_program_write(&program, count_and_write, &sink, write_packs, c,
                               c->err);
  }
  c->compiler->stats.program_bytes =
      sink.bytes > c->packs.bytes ? sink.bytes - c->packs.bytes : sink.bytes;
  return status;
}

static ibx_status write_ir(compilation *c) {
  const char *text = ibx_ir_print(c->ir, &c->arena);
  if (c->write(c->write_user, text, strlen(text))) return IBX_OK;
  return IBX_FAIL(c->err, IO_ERROR, "the output was not accepted");
}

static ibx_status compile_model(compilation *c) {
  const ibx_compile_options *options = &c->compiler->options;
  size_t count = combination_count(options);
  if (count == 0 || count > 1024) {
    return IBX_FAIL(c->err, INVALID_ARGUMENT,
                    "%zu combinations of dimensions; at most 1024", count);
  }
  for (size_t i = 0; i < count; i++)
    IBX_TRY(compile_entry(c, i, count));
  IBX_TRY(ibx_fit_check(&c->fit, c->compiler->machine, c->packs.bytes,
                        &c->tables, &c->sink, c->err));
  if (c->check_only) return IBX_OK;
  return wants_program(options) ? write_program(c) : write_ir(c);
}

static void compilation_end(compilation *c) {
  ibx_ir_destroy(c->ir);
  ibx_model_close(c->model);
  ibx_arena_reset(&c->arena);
  ibx_arena_reset(&c->scratch);
}

static ibx_status run(compilation *c, const char *path, ibx_span memory) {
  const ibx_compile_options *options = &c->compiler->options;
  c->compiler->stats = (ibx_compile_stats){0};
  c->sink = (ibx_diag_sink){.arena = &c->arena,
                            .forward = options->on_diagnostic,
                            .user = options->user,
                            .tells_slow = c->check_only};
  ibx_status status =
      path ? ibx_model_open_file(path, &c->sink, &c->model, c->err)
           : ibx_model_open_memory(memory, &c->sink, &c->model, c->err);
  if (status == IBX_OK) {
    c->ir = ibx_ir_create();
    status = c->ir ? compile_model(c)
                   : IBX_FAIL(c->err, INTERNAL, "the dialect did not load");
  }
  compilation_end(c);
  return status;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

ibx_status ibx_compile_file(ibx_compiler *compiler, const char *path,
                            ibx_write_fn write, void *write_user,
                            ibx_error *err) {
  compilation c = {.compiler = compiler,
                   .name = base_name(path),
                   .write = write,
                   .write_user = write_user,
                   .err = err};
  return run(&c, path, (ibx_span){0});
}

ibx_status ibx_compile_memory(ibx_compiler *compiler, ibx_span model,
                              const char *name, ibx_write_fn write,
                              void *write_user, ibx_error *err) {
  compilation c = {.compiler = compiler,
                   .name = name,
                   .write = write,
                   .write_user = write_user,
                   .err = err};
  return run(&c, NULL, model);
}

ibx_status ibx_compiler_check_file(ibx_compiler *compiler, const char *path,
                                   ibx_error *err) {
  compilation c = {.compiler = compiler,
                   .name = base_name(path),
                   .packs = {.unread = true},
                   .check_only = true,
                   .err = err};
  return run(&c, path, (ibx_span){0});
}
