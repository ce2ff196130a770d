// SPDX-License-Identifier: Apache-2.0
//
// Runs passes on one function. Comes in: a unit, at level 1 or 2. Goes out: the
// unit after the last pass, and the same in MLIR, verified.
//
//   pass 1 .. pass n (level 1) | lower | pass n + 1 .. (level 2)
//                              ^ written to MLIR and verified here, ^ and here
//
// Passes work on the flat form. It is written to MLIR at the end of each level,
// where text of it is asked for, and, when verifying, after each pass: then it
// is also read back, so that what MLIR does not hold is lost where it happens.

#include "passes/pass.h"

#include <string.h>
#include <time.h>

enum { MOST_PASSES = 64 };

// Builds with assertions check the IR after every pass.
#ifdef NDEBUG
static const bool always_verifies = false;
#else
static const bool always_verifies = true;
#endif

typedef struct pipeline {
  ibx_pass_ctx *ctx;
  const ibx_pipeline_options *options;
  ibx_ir *ir;
  ibx_unit *unit;
  bool is_written; ///< MLIR holds the unit as it is
} pipeline;

// --- lists of names ---

// Takes the next name off a list "a,b"; false at its end.
static bool next_name(const char **list, ibx_str *out) {
  while (**list == ',')
    (*list)++;
  if (**list == 0) return false;
  *out = (ibx_str){.data = *list, .len = strcspn(*list, ",")};
  *list += out->len;
  return true;
}

static bool has_name(const char *list, const char *name) {
  ibx_str item;
  while (list && next_name(&list, &item)) {
    if (item.len == strlen(name) && memcmp(item.data, name, item.len) == 0) {
      return true;
    }
  }
  return false;
}

static ibx_status check_names(const char *list, ibx_error *err) {
  ibx_str item;
  while (list && next_name(&list, &item)) {
    if (ibx_pass_find(item.data, item.len)) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "there is no pass '%.*s'; `imbrex passes` lists them",
                    (int)item.len, item.data);
  }
  return IBX_OK;
}

// The passes to run, in order; all of them without a list.
static ibx_status choose(const char *list,
                         const ibx_pass_info *out[MOST_PASSES],
                         size_t *out_count, ibx_error *err) {
  size_t count = 0;
  ibx_str item;
  IBX_TRY(check_names(list, err));
  if (!list) {
    while (count < MOST_PASSES && ibx_pass_get(count)) {
      out[count] = ibx_pass_get(count);
      count++;
    }
  }
  while (list && next_name(&list, &item)) {
    if (count == MOST_PASSES) {
      return IBX_FAIL(err, INVALID_ARGUMENT, "more than %d passes",
                      MOST_PASSES);
    }
    out[count++] = ibx_pass_find(item.data, item.len);
  }
  *out_count = count;
  return IBX_OK;
}

// Follows the levels through the list; `is_tiles` is where it starts.
static ibx_status check_levels(const ibx_pass_info *const *passes, size_t count,
                               bool is_tiles, ibx_error *err) {
  for (size_t i = 0; i < count; i++) {
    bool wants_tiles = passes[i]->kind == IBX_PASS_KIND_TILES;
    if (wants_tiles != is_tiles) {
      return IBX_FAIL(err, INVALID_ARGUMENT,
                      "pass '%s' works at level %d, but comes at level %d",
                      passes[i]->name, wants_tiles ? 2 : 1, is_tiles ? 2 : 1);
    }
    if (passes[i]->kind == IBX_PASS_KIND_LOWER) is_tiles = true;
  }
  return IBX_OK;
}

ibx_status ibx_pipeline_check(const ibx_pipeline_options *options,
                              ibx_error *err) {
  const ibx_pass_info *passes[MOST_PASSES];
  size_t count;
  IBX_TRY(choose(options->passes, passes, &count, err));
  IBX_TRY(check_names(options->print_after, err));
  IBX_TRY(check_names(options->stop_after, err));
  // A list may start at either level: with the one of its first pass.
  bool is_tiles = count > 0 && passes[0]->kind == IBX_PASS_KIND_TILES;
  return check_levels(passes, count, is_tiles, err);
}

// --- MLIR ---

static ibx_status write_unit(pipeline *p) {
  if (p->is_written) return IBX_OK;
  ibx_pass_ctx *ctx = p->ctx;
  if (p->unit->is_tiles) {
    IBX_TRY(ibx_tiles_write(p->ir, &p->unit->tiles, ctx->tables, ctx->err));
  } else {
    IBX_TRY(ibx_graph_write(p->ir, &p->unit->graph, ctx->err));
  }
  p->is_written = true;
  return IBX_OK;
}

static ibx_status read_unit(pipeline *p) {
  ibx_pass_ctx *ctx = p->ctx;
  ibx_unit *unit = p->unit;
  if (unit->is_tiles) {
    const char *name = unit->tiles.name;
    return ibx_tiles_read(p->ir, name, ctx->tables, ctx->arena, &unit->tiles,
                          ctx->err);
  }
  return ibx_graph_read(p->ir, unit->graph.name, ctx->tables, ctx->arena,
                        &unit->graph, ctx->err);
}

static ibx_status print_unit(pipeline *p, const char *name) {
  const ibx_pipeline_options *options = p->options;
  IBX_TRY(write_unit(p));
  if (!options->on_text) return IBX_OK;
  const char *text = ibx_arena_format(p->ctx->scratch, "// after %s\n%s", name,
                                      ibx_ir_print(p->ir, p->ctx->scratch));
  options->on_text(options->user, text, strlen(text));
  return IBX_OK;
}

// --- running ---

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t op_count(const ibx_unit *unit) {
  return unit->is_tiles ? unit->tiles.op_count : unit->graph.node_count;
}

static ibx_status call(pipeline *p, const ibx_pass_info *pass) {
  ibx_unit *unit = p->unit;
  switch (pass->kind) {
  case IBX_PASS_KIND_GRAPH: return pass->graph(p->ctx, &unit->graph);
  case IBX_PASS_KIND_TILES: return pass->tiles(p->ctx, &unit->tiles);
  case IBX_PASS_KIND_LOWER: break;
  }
  unit->tiles =
      (ibx_tile_func){.arena = p->ctx->arena, .name = unit->graph.name};
  IBX_TRY(pass->lower(p->ctx, &unit->graph, &unit->tiles));
  unit->is_tiles = true;
  return IBX_OK;
}

// Where a pass has left illegal IR, it gets the blame.
static ibx_status check_after(pipeline *p, const ibx_pass_info *pass) {
  ibx_error *err = p->ctx->err, why = {.status = IBX_OK};
  p->ctx->err = &why;
  ibx_status status = write_unit(p);
  if (status == IBX_OK) status = ibx_ir_verify(p->ir, &why);
  if (status == IBX_OK) status = read_unit(p);
  p->ctx->err = err;
  if (status == IBX_OK) return IBX_OK;
  return IBX_FAIL(err, INTERNAL, "after pass %s: %s", pass->name, why.message);
}

static ibx_status run_pass(pipeline *p, const ibx_pass_info *pass) {
  const ibx_pipeline_options *options = p->options;
  ibx_pass_stats stats = {.name = pass->name, .ops_before = op_count(p->unit)};
  double start = seconds();
  p->is_written = false;
  ibx_status status = call(p, pass);
  bool verifies = options->verify || always_verifies;
  if (status == IBX_OK && verifies) status = check_after(p, pass);
  ibx_arena_rewind(p->ctx->scratch);
  IBX_TRY(status);
  stats.seconds = seconds() - start;
  stats.ops_after = op_count(p->unit);
  if (options->on_pass) options->on_pass(options->user, &stats);
  if (!has_name(options->print_after, pass->name)) return IBX_OK;
  status = print_unit(p, pass->name);
  ibx_arena_rewind(p->ctx->scratch);
  return status;
}

static ibx_status report_progress(const pipeline *p, const char *step,
                                  size_t done, size_t count) {
  const ibx_pipeline_options *options = p->options;
  if (!options->on_progress ||
      options->on_progress(options->user, step,
                           (double)done / (double)(count ? count : 1))) {
    return IBX_OK;
  }
  return IBX_FAIL(p->ctx->err, CANCELLED, "the caller asked to stop");
}

static ibx_status end_level(pipeline *p) {
  if (p->options->no_ir) return IBX_OK;
  IBX_TRY(write_unit(p));
  return ibx_ir_verify(p->ir, p->ctx->err);
}

static ibx_status run_passes(pipeline *p, const ibx_pass_info *const *passes,
                             size_t count) {
  const char *stop = p->options->stop_after;
  for (size_t i = 0; i < count; i++) {
    IBX_TRY(report_progress(p, passes[i]->name, i, count));
    // The end of level 1: its last state goes to MLIR before it is replaced.
    if (passes[i]->kind == IBX_PASS_KIND_LOWER) IBX_TRY(end_level(p));
    IBX_TRY(run_pass(p, passes[i]));
    if (stop && strcmp(stop, passes[i]->name) == 0) break;
  }
  return end_level(p);
}

ibx_status ibx_pipeline_run(ibx_pass_ctx *ctx,
                            const ibx_pipeline_options *options, ibx_ir *ir,
                            ibx_unit *unit) {
  const ibx_pass_info *passes[MOST_PASSES];
  size_t count;
  IBX_TRY(choose(options->passes, passes, &count, ctx->err));
  IBX_TRY(check_names(options->print_after, ctx->err));
  IBX_TRY(check_names(options->stop_after, ctx->err));
  IBX_TRY(check_levels(passes, count, unit->is_tiles, ctx->err));
  pipeline p = {.ctx = ctx, .options = options, .ir = ir, .unit = unit};
  return run_passes(&p, passes, count);
}
