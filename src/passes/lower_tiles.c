// SPDX-License-Identifier: Apache-2.0
//
// lower_tiles: from tensors to engine instructions on tiles.
//
//   before   %c = ibx.conv %x, %w      %r = ibx.relu %c {group = 1}
//   after    ibx.isa_dma_copy ...      ibx.isa_load_stationary ...
//            ibx.isa_multiply_moving   ibx.isa_activation ... (relu)
//
// Comes in: a graph whose groups and layouts are decided. Goes out: buffers and
// instructions in an order that computes it, each with its source node. Holds
// afterwards: every instruction is within the limits of its engine; buffers in
// SBUF and PSUM have sizes but no addresses yet.
//
// A graph is lowered (lower_graph.c), looked at, and lowered again with more cut
// into bands or spilled, until what lives at once can be placed.

#include "passes/bands.h"
#include "passes/pack.h"
#include "passes/spill.h"

#include <string.h>

static uint32_t *no_buffers(ibx_arena *arena, size_t count) {
  uint32_t *buffers = IBX_ARENA_ARRAY(arena, count, uint32_t);
  for (size_t i = 0; i < count; i++)
    buffers[i] = IBX_NO_BUFFER;
  return buffers;
}

static bool is_finite(const ibx_weight *weight) {
  size_t bytes = ibx_dtype_bytes(weight->type.dtype);
  int64_t elements = 0;
  bool is_float =
      ibx_dtype_get(weight->type.dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  if (!is_float || !ibx_type_elements(&weight->type, &elements)) return true;
  const uint8_t *data = weight->data;
  float numbers[1024];
  for (size_t i = 0; i < (size_t)elements; i += IBX_COUNT_OF(numbers)) {
    size_t left = (size_t)elements - i;
    size_t count = left < IBX_COUNT_OF(numbers) ? left : IBX_COUNT_OF(numbers);
    float sum = 0; // of products with 0, NaN where one is not finite
    ibx_dtype_load_f32(weight->type.dtype, data + i * bytes, numbers, count);
    for (size_t n = 0; n < count; n++)
      sum += numbers[n] * 0.0f;
    if (sum != 0.0f) return false;
  }
  return true;
}

// Asked only where the array multiplies what it transposes.
static bool has_infinities(const ibx_graph *graph, const ibx_machine *machine) {
  if (machine->target != IBX_TARGET_ibx2) return false;
  for (size_t n = 0; n < graph->node_count; n++) {
    const ibx_weight *weight =
        ibx_graph_constant(graph, graph->nodes[n].result);
    if (weight && !is_finite(weight)) return true;
  }
  return false;
}

enum { OPS_OF_NODE = 24 };

static ibx_lower lower_begin(ibx_pass_ctx *ctx, ibx_arena *arena,
                             const ibx_graph *graph, const bool *spill,
                             bool has_inf, ibx_tile_func *func) {
  // As many as the last time, or as nodes commonly make.
  size_t values = graph->value_count, ops = func->op_count;
  if (ops == 0) ops = OPS_OF_NODE * graph->node_count;
  *func = (ibx_tile_func){.arena = arena, .name = graph->name};
  ibx_tile_reserve(func, ops);
  return (ibx_lower){
      .ctx = ctx,
      .machine = ctx->machine,
      .graph = graph,
      .func = func,
      .arena = arena,
      .spill = spill,
      .views = IBX_ARENA_ARRAY(arena, values, const ibx_kept_view *),
      .starts = IBX_ARENA_ARRAY(arena, graph->node_count + 1, ibx_start),
      .uses = ibx_graph_uses(graph, arena),
      .parts = IBX_ARENA_ARRAY(arena, values, const ibx_kept_view *),
      .ports = no_buffers(arena, graph->output_count),
      .homes = IBX_ARENA_ARRAY(arena, values, const ibx_kept_view *),
      .has_infinities = has_inf,
      .err = ctx->err,
  };
}

// ---- Until it fits

// A graph that the pass may change: the arrays of ports are its own.
static ibx_graph own_graph(ibx_pass_ctx *ctx, const ibx_graph *graph) {
  ibx_graph own = *graph;
  own.inputs = IBX_ARENA_ARRAY(ctx->arena, graph->input_count, ibx_port);
  own.outputs = IBX_ARENA_ARRAY(ctx->arena, graph->output_count, ibx_port);
  if (graph->input_count)
    memcpy(own.inputs, graph->inputs, graph->input_count * sizeof(ibx_port));
  if (graph->output_count)
    memcpy(own.outputs, graph->outputs, graph->output_count * sizeof(ibx_port));
  return own;
}

static bool any_cut(const ibx_cut *cuts, size_t count) {
  for (size_t n = 0; n < count; n++) {
    if (cuts[n].kind != IBX_CUT_NONE) return true;
  }
  return false;
}

static ibx_status cut(ibx_pass_ctx *ctx, ibx_graph *graph,
                      const ibx_cut *cuts) {
  IBX_TRY(ibx_bands_cut(ctx, graph, cuts));
  IBX_TRY(ibx_pass_plan_fusion(ctx, graph));
  return ibx_pass_plan_layout(ctx, graph);
}

// Each attempt that does not fit cuts more operations into bands, or marks more
// values to spill; the last one is left to place, which says what does not fit.
// Packing leaves gaps, and constants need a ring to stream through: the share of
// SBUF that may live at once shrinks until they do. An operation is cut when it
// leaves no room beside it; a band of one, whose operands may lie in SBUF as a
// whole, only when it does not fit at all. Where nothing can be spared and the
// rest cannot be placed, smaller and smaller ones are cut.
enum {
  ATTEMPTS = 32,
  CUTS = 8,
  CUT_PERCENT = 85,
  CUT_AGAIN_PERCENT = 100,
  LEAST_CUT_PERCENT = 45,
  MOST_PERCENT = 85,
  LEAST_PERCENT = 45
};

static bool *copy_flags(ibx_arena *arena, const bool *flags, size_t count) {
  bool *copy = IBX_ARENA_ARRAY(arena, count, bool);
  if (count) memcpy(copy, flags, count * sizeof(*copy));
  return copy;
}

typedef struct fitting {
  ibx_pass_ctx *ctx;
  ibx_graph *graph;
  ibx_arena *work;  // of an attempt
  bool *spill;      // values of the graph
  size_t cuts_done; // times that the graph was cut
  unsigned percent; // of SBUF that may live at once
} fitting;

// Cuts groups that take more than `percent` of SBUF. `*out_found` counts them,
// and values that are marked to spill instead.
static ibx_status cut_groups(fitting *f, const ibx_lower *lower,
                             unsigned percent, size_t *out_found,
                             bool *out_cut) {
  ibx_cut *cuts = IBX_ARENA_ARRAY(f->work, f->graph->node_count, ibx_cut);
  *out_found = 0;
  *out_cut = false;
  if (f->cuts_done == CUTS) return IBX_OK;
  *out_found = ibx_bands_choose(lower, percent, f->work, cuts, f->spill);
  f->cuts_done += *out_found != 0;
  *out_cut = any_cut(cuts, f->graph->node_count);
  if (!*out_cut) return IBX_OK;
  IBX_TRY(cut(f->ctx, f->graph, cuts));
  f->spill = IBX_ARENA_ARRAY(f->ctx->arena, f->graph->value_count, bool);
  return IBX_OK;
}

// Marks what is to leave SBUF so that the rest can be placed.
static size_t choose_spills(fitting *f, ibx_lower *lower, bool *out_fits) {
  size_t found = ibx_spill_choose(lower, f->percent, f->work, f->spill);
  *out_fits = false;
  if (found) return found;
  *out_fits = ibx_place_fits(lower->machine, lower->func, f->work);
  while (!*out_fits && !found && f->percent > LEAST_PERCENT) {
    f->percent -= 10;
    found = ibx_spill_choose(lower, f->percent, f->work, f->spill);
  }
  return found;
}

// Looks at an attempt. `*out_again`: something was changed, and the next one may
// fit.
static ibx_status judge(fitting *f, ibx_lower *lower, bool *out_again) {
  bool is_cut, fits;
  size_t found;
  unsigned full = f->cuts_done == 0 ? CUT_PERCENT : CUT_AGAIN_PERCENT;
  *out_again = true;
  IBX_TRY(cut_groups(f, lower, full, &found, &is_cut));
  if (is_cut) return IBX_OK;
  found += choose_spills(f, lower, &fits);
  if (found) return IBX_OK;
  for (unsigned percent = CUT_PERCENT;
       !fits && found == 0 && percent >= LEAST_CUT_PERCENT; percent -= 10)
    IBX_TRY(cut_groups(f, lower, percent, &found, &is_cut));
  *out_again = found != 0;
  return IBX_OK;
}

static ibx_status lower_until_it_fits(fitting *f, ibx_arena *arena,
                                      ibx_tile_func *func) {
  ibx_pass_ctx *ctx = f->ctx;
  size_t packed = ctx->packs->count;
  bool has_inf = has_infinities(f->graph, ctx->machine), again = true;
  f->spill = IBX_ARENA_ARRAY(ctx->arena, f->graph->value_count, bool);
  for (int attempt = 1;; attempt++) {
    const bool *spilled = copy_flags(f->work, f->spill, f->graph->value_count);
    ibx_lower lower = lower_begin(ctx, arena, f->graph, spilled, has_inf, func);
    IBX_TRY(ibx_lower_graph(&lower));
    if (attempt == ATTEMPTS) return IBX_OK;
    IBX_TRY(judge(f, &lower, &again));
    if (!again) return IBX_OK;
    ibx_packs_rewind(ctx->packs, packed);
    ibx_arena_rewind(arena);
    ibx_arena_rewind(f->work);
  }
}

// Text may hold what no plan does.
static ibx_status check_groups(const ibx_pass_ctx *ctx,
                               const ibx_graph *graph) {
  for (size_t n = 0; n < graph->node_count; n++) {
    int64_t group = graph->nodes[n].decided.group;
    if (group >= 0 && group <= (int64_t)n + 1) continue;
    return IBX_FAIL(ctx->err, INVALID_ARGUMENT,
                    "@%s: the group of %s begins behind it; run plan_fusion",
                    graph->name, ibx_tensor_op_get(graph->nodes[n].op)->name);
  }
  return IBX_OK;
}

ibx_status ibx_pass_lower_tiles(ibx_pass_ctx *ctx, const ibx_graph *graph,
                                ibx_tile_func *out_func) {
  IBX_TRY(check_groups(ctx, graph));
  ibx_graph own = own_graph(ctx, graph);
  ibx_arena attempt = {0}, work = {0};
  fitting f = {
      .ctx = ctx, .graph = &own, .work = &work, .percent = MOST_PERCENT};
  ibx_status status = lower_until_it_fits(&f, &attempt, out_func);
  ibx_arena_reset(&work);
  ibx_arena_join(ctx->arena, &attempt);
  out_func->arena = ctx->arena;
  return status;
}
