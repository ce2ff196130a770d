// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_PASS_H
#define IBX_PASS_H

/// \file
/// The frame of the passes: what a pass gets, the registry made from
/// passes.def, and the pipeline that runs them on one function. A pass has no
/// state, no globals, no files and no options of its own; what it decides it
/// writes into its unit.

#include "imbrex/compiler.h"
#include "ir/ir.h"
#include "support/diag.h"

struct ibx_packs;

/// What shapes the passes' decisions; from ibx_compile_options.
typedef struct ibx_pass_options {
  ibx_auto_cast auto_cast;
  ibx_dtype auto_cast_type;
  unsigned level; ///< of optimisation, 0 to 2
  bool no_host;
} ibx_pass_options;

/// What a pass gets. All but the error is the same for every pass of a
/// compilation.
typedef struct ibx_pass_ctx {
  const ibx_machine *machine;
  ibx_pass_options options;
  ibx_tables *tables;
  ibx_arena *arena;        ///< lives as long as the compilation
  ibx_arena *scratch;      ///< emptied after each pass
  ibx_diag_sink *diag;     ///< findings about the model, or NULL
  struct ibx_packs *packs; ///< weight section under construction, or NULL
  ibx_error *err;          ///< filled by a pass that fails
} ibx_pass_ctx;

typedef enum ibx_pass_kind {
  IBX_PASS_KIND_GRAPH, ///< level 1, changes the graph
  IBX_PASS_KIND_LOWER, ///< from level 1 to level 2
  IBX_PASS_KIND_TILES  ///< level 2, changes the tile function
} ibx_pass_kind;

typedef ibx_status (*ibx_graph_pass_fn)(ibx_pass_ctx *ctx, ibx_graph *graph);
typedef ibx_status (*ibx_lower_pass_fn)(ibx_pass_ctx *ctx,
                                        const ibx_graph *graph,
                                        ibx_tile_func *out_func);
typedef ibx_status (*ibx_tiles_pass_fn)(ibx_pass_ctx *ctx, ibx_tile_func *func);

#define IBX_PASS_GRAPH(name)                                                   \
  ibx_status ibx_pass_##name(ibx_pass_ctx *ctx, ibx_graph *graph);
#define IBX_PASS_LOWER(name)                                                   \
  ibx_status ibx_pass_##name(ibx_pass_ctx *ctx, const ibx_graph *graph,        \
                             ibx_tile_func *out_func);
#define IBX_PASS_TILES(name)                                                   \
  ibx_status ibx_pass_##name(ibx_pass_ctx *ctx, ibx_tile_func *func);
#define IBX_PASS(name, kind, sentence) IBX_PASS_##kind(name)
#include "passes/passes.def"
#undef IBX_PASS_GRAPH
#undef IBX_PASS_LOWER
#undef IBX_PASS_TILES

/// One row of passes.def. The function of the row's kind is set.
typedef struct ibx_pass_info {
  const char *name;
  const char *sentence;
  ibx_pass_kind kind;
  ibx_graph_pass_fn graph;
  ibx_lower_pass_fn lower;
  ibx_tiles_pass_fn tiles;
} ibx_pass_info;

/// Lends the row at `index`, in pipeline order; NULL past the last.
const ibx_pass_info *ibx_pass_get(size_t index);
/// Lends the row of that name; NULL when there is none.
const ibx_pass_info *ibx_pass_find(const char *name, size_t len);

/// A function on its way through the pipeline.
typedef struct ibx_unit {
  ibx_graph graph;
  ibx_tile_func tiles;
  bool is_tiles; ///< level 2: `tiles` counts, `graph` is history
} ibx_unit;

/// Whether `place` finds room in SBUF for the buffers of the function. Their
/// offsets are changed.
bool ibx_place_fits(const ibx_machine *machine, ibx_tile_func *func,
                    ibx_arena *scratch);

typedef struct ibx_pipeline_options {
  const char *passes;      ///< "a,b": these instead of all, or NULL
  const char *print_after; ///< "a,b", or NULL
  const char *stop_after;  ///< a pass, or NULL
  bool verify; ///< check after every pass, not only each level; builds with
               ///< assertions always do
  bool no_ir;  ///< nobody reads the MLIR at the end of a level: do not write it
  ibx_text_fn on_text; ///< gets what print_after asks for
  ibx_progress_fn on_progress;
  ibx_pass_fn on_pass;
  void *user; ///< first argument of the three above
} ibx_pipeline_options;

/// Fails with INVALID_ARGUMENT and the name when a list names no pass, or
/// passes in an order that their levels forbid.
IBX_NODISCARD ibx_status ibx_pipeline_check(const ibx_pipeline_options *options,
                                            ibx_error *err);

/// Runs the passes on `*unit`. Afterwards `ir` holds the function at its last
/// level, verified. Fails as the pass that failed, with CANCELLED when
/// on_progress says so, or with INTERNAL when a pass left illegal IR.
IBX_NODISCARD ibx_status ibx_pipeline_run(ibx_pass_ctx *ctx,
                                          const ibx_pipeline_options *options,
                                          ibx_ir *ir, ibx_unit *unit);

#endif
