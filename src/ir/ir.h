// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IR_H
#define IBX_IR_H

/// \file
/// The ibx dialect in MLIR: one context and module for a compilation, and the
/// exact conversion between its functions and their flat forms.
///
/// Level 1: `ibx.<tensor op>` on ranked tensors, from tensor_ops.def; the
/// params of a row and the decisions are attributes; the location of an op is
/// its source node. Inputs and outputs are the func.func's arguments and
/// results, their names, ONNX types and state pairs its attributes.
/// Level 2: `ibx.buffer` and `ibx.isa_<instruction>` on memrefs in `#ibx.sbuf`,
/// `#ibx.psum`, `#ibx.hbm`, from isa.def.

#include "ir/graph.h"
#include "ir/tiles.h"

typedef struct ibx_ir ibx_ir;

/// Makes a context with the dialect loaded and an empty module.
ibx_ir *ibx_ir_create(void);
void ibx_ir_destroy(ibx_ir *ir);

/// Lends the dialect as IRDL text, or as the Markdown that is docs/dialect.md;
/// the caller frees nothing.
const char *ibx_ir_dialect_text(ibx_arena *arena);
const char *ibx_ir_dialect_md(ibx_arena *arena);

/// Lends the name of function `index` of the module and tells its level; NULL
/// past the last.
const char *ibx_ir_function(ibx_ir *ir, size_t index, ibx_arena *arena,
                            bool *out_is_tiles);

/// Replaces (or adds) the function of that name by the graph, or reads it.
/// Fails with INTERNAL and MLIR's words when the IR does not verify.
IBX_NODISCARD ibx_status ibx_graph_write(ibx_ir *ir, const ibx_graph *graph,
                                         ibx_error *err);
IBX_NODISCARD ibx_status ibx_graph_read(ibx_ir *ir, const char *name,
                                        ibx_tables *tables, ibx_arena *arena,
                                        ibx_graph *out_graph, ibx_error *err);
IBX_NODISCARD ibx_status ibx_tiles_write(ibx_ir *ir, const ibx_tile_func *func,
                                         const ibx_tables *tables,
                                         ibx_error *err);
IBX_NODISCARD ibx_status ibx_tiles_read(ibx_ir *ir, const char *name,
                                        const ibx_tables *tables,
                                        ibx_arena *arena,
                                        ibx_tile_func *out_func,
                                        ibx_error *err);

/// Runs MLIR's verifier and the dialect's own relations (verify.c: shapes and
/// dtypes through ibx_tensor_infer(), operand counts, ranges of params, access
/// inside of the buffer) on the whole module.
IBX_NODISCARD ibx_status ibx_ir_verify(ibx_ir *ir, ibx_error *err);

/// Replaces the module by text of either level and verifies it, or prints it.
/// Parsing fills the tables: rows of weights that its constants name (with the
/// `data` that a constant shows, else 0), and rows of sources from locations.
/// Fails with INVALID_ARGUMENT when the text does not parse, INTERNAL when it
/// does not verify.
IBX_NODISCARD ibx_status ibx_ir_parse(ibx_ir *ir, ibx_span text,
                                      ibx_tables *tables, ibx_arena *arena,
                                      ibx_error *err);
char *ibx_ir_print(ibx_ir *ir, ibx_arena *arena);

#endif
