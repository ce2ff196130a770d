// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_LOWER_H
#define IBX_LOWER_H

/// \file
/// The inside of lower_tiles: how a node of level 1 becomes engine instructions
/// on tiles. A lowering function takes views of its operands in SBUF, makes the
/// buffer of its result, and appends instructions in an order that computes it.
/// Addresses are chosen later (place), engines may be exchanged (select).

#include "ir/tiles.h"
#include "passes/pass.h"
#include "passes/view_keep.h"

typedef struct ibx_lower_cache ibx_lower_cache;
typedef struct ibx_micro ibx_micro;

/// The first operation that was made for a group, which ends at `node`, or for
/// a view. IBX_NO_VALUE: for the outputs.
typedef struct ibx_start {
  uint32_t op, node;
} ibx_start;

typedef struct ibx_lower {
  ibx_pass_ctx *ctx;
  const ibx_machine *machine;
  const ibx_graph *graph;
  ibx_tile_func *func;
  ibx_arena *arena;
  const ibx_kept_view **views; ///< of each value that has been lowered, or NULL
  const bool *spill;           ///< values that live in HBM between their uses
  const ibx_kept_view **homes; ///< where spilled values lay before, or NULL
  ibx_start *starts;           ///< of each group and view, in order
  size_t start_count;
  ibx_uses uses;               ///< of the graph
  bool *ends_group;            ///< nodes behind which their group has no others
  const ibx_kept_view **parts; ///< homes in HBM of what is made part by part,
                               ///< as far as they are decided, or NULL
  uint32_t *ports;             ///< buffer of each output, or IBX_NO_BUFFER
  ibx_lower_cache *cache;      ///< values in other layouts, packed constants
  ibx_micro *micros; ///< room of ibx_chain_make(), for the longest chain
  size_t micro_room;
  bool has_infinities; ///< a constant of the graph has one, or a NaN
  uint32_t source;     ///< of the node that is being lowered
  ibx_status status;
  ibx_error *err;
} ibx_lower;

/// Keeps the first failure and returns false.
bool ibx_lower_fail(ibx_lower *lower, ibx_status status, const char *format,
                    ...) IBX_PRINTF(3, 4);

/// Whether the engines compute a node's dtypes (lower_check.c). False with a
/// failure that names the remedy.
bool ibx_lower_accepts(ibx_lower *lower, const ibx_node *node);

// ---- The graph (lower_graph.c)

/// Lowers all nodes and the ports. Fails with the status of the node that failed.
IBX_NODISCARD ibx_status ibx_lower_graph(ibx_lower *lower);

// ---- Ports (lower_port.c)

/// Makes the buffers of the inputs and their views.
void ibx_lower_inputs(ibx_lower *lower);

/// Stores the outputs.
bool ibx_lower_outputs(ibx_lower *lower);

/// The buffer of output `index`, made when it is first asked for.
uint32_t ibx_lower_output_buffer(ibx_lower *lower, size_t index);

// ---- Tensors that are put together in HBM (lower_parts.c)

/// Whether a node's result is a view of its operand: nothing is put together.
bool ibx_lower_is_view(const ibx_node *node);

/// Whether a node's result is put together in HBM.
bool ibx_lower_is_parts(const ibx_node *node);

/// Stores a value that was just lowered where the first concatenation in HBM
/// that reads it wants it, if one does.
bool ibx_lower_store_part(ibx_lower *lower, uint32_t value);

/// The result of a concatenation in HBM: stores what is not there yet.
bool ibx_lower_parts(ibx_lower *lower, const ibx_node *node, ibx_view *out);

// ---- Buffers and instructions (lower_emit.c)

/// Adds a buffer; a failure where a program holds no more.
uint32_t ibx_lower_add_buffer(ibx_lower *lower, ibx_buffer_decl buffer);

/// A new row-major place of `type` in HBM.
ibx_view ibx_lower_scratch(ibx_lower *lower, const ibx_type *type,
                           const char *name);

/// A new buffer in SBUF or PSUM; its offset is decided by place.
uint32_t ibx_lower_buffer(ibx_lower *lower, ibx_space space, int32_t partitions,
                          int64_t bytes_per_partition, const char *name);

/// A new SBUF buffer of a tensor in a layout, and its view. Fails when the
/// layout does not fit the type.
bool ibx_lower_tensor(ibx_lower *lower, const ibx_type *type,
                      const ibx_layout *layout, const char *name,
                      ibx_view *out_view);

/// A new PSUM bank seen as a tile: dimension `row_dim` of `type` on the
/// partitions (at most 128), the others row-major behind each other.
bool ibx_lower_bank(ibx_lower *lower, const ibx_type *type, uint8_t row_dim,
                    ibx_view *out_view);

/// Appends an instruction. False, with the lowering failed, where a program has no
/// room for more.
bool ibx_lower_emit(ibx_lower *lower, const ibx_insn *insn, ibx_engine engine,
                    bool glued);

// ---- Pieces: what one engine instruction can walk (lower_piece.c)

/// Up to three free dimensions on a legal range of partitions; the same shape
/// for all views. Steps and offsets are in elements of each view.
typedef struct ibx_piece {
  int64_t offset[IBX_VIEWS];
  int32_t partition[IBX_VIEWS];
  int32_t step[IBX_VIEWS][3];
  uint32_t num[3];
  int32_t partitions;
} ibx_piece;

typedef bool (*ibx_piece_fn)(void *user, const ibx_piece *piece);

/// Cuts views of one shape into pieces of at most `most` elements a partition.
/// View 0 leads: its dimensions of step 0 (of a reduction's destination) come
/// innermost, its partitions are those of the instruction. False when the views
/// do not walk the partitions alike, or `visit` returns false. `visit` may be
/// NULL to ask whether it would work.
bool ibx_view_pieces(const ibx_view *const *views, size_t count, int64_t most,
                     ibx_piece_fn visit, void *user);

/// Whether an engine can address that range of partitions (access pattern
/// guide): over 64 from 0; over 32 from 0 or 64; else from 0, 32, 64 or 96.
bool ibx_partitions_are_legal(int64_t start, int64_t count);

/// Fills operand `slot` of an instruction (and, for slot 0, its shape) with view
/// `index` of a piece.
void ibx_piece_operand(ibx_insn *insn, size_t slot, const ibx_view *view,
                       const ibx_piece *piece, size_t index);
void ibx_piece_shape(ibx_insn *insn, const ibx_piece *piece);

/// Whether the view has step 0 in every free dimension: one value a partition.
bool ibx_view_is_column(const ibx_view *view);

// ---- Moving (lower_move.c)

/// dst = src, converted, by the cheapest way that works: an engine copy, tensor
/// engine transposes, a broadcast over partitions by the tensor engine, a DMA.
bool ibx_lower_move(ibx_lower *lower, const ibx_view *dst, const ibx_view *src);

/// Notes where a value lies.
void ibx_lower_set_view(ibx_lower *lower, uint32_t value, const ibx_view *view);

/// What that costs at most, in ns of the busiest engine; for on-chip views.
double ibx_move_price(const ibx_machine *machine, const ibx_view *dst,
                      const ibx_view *src);

/// The view of a value in SBUF or HBM wherever it lies (constants: NULL and
/// false without failure).
bool ibx_lower_view(ibx_lower *lower, uint32_t value, ibx_view *out);

/// The value in SBUF in that layout, moved there at most once.
bool ibx_lower_in_layout(ibx_lower *lower, uint32_t value,
                         const ibx_layout *layout, ibx_view *out);
/// The same, with dimensions off the partitions in row-major order: each of
/// them is one axis.
bool ibx_lower_row_major(ibx_lower *lower, uint32_t value,
                         const ibx_layout *layout, ibx_view *out);

/// The value in SBUF so that an engine can walk it together with `like` (a view
/// of the same shape). A value that is constant over the free dimensions stays
/// one column.
/// `dtype` is NONE (its own) or what a constant is converted to.
bool ibx_lower_like(ibx_lower *lower, uint32_t value, const ibx_view *like,
                    ibx_dtype dtype, ibx_view *out);

/// A constant (or a view of one) in SBUF, packed at compile time so that its
/// partitions are runs in HBM. `like` gives the atoms of dimension `dim` (so
/// that a contraction finds the same partitions on both sides); the other
/// dimensions are free, row-major. Only elements [start, start + size) of
/// dimension `cut` are loaded (size 0: all).
bool ibx_lower_constant_like(ibx_lower *lower, uint32_t value, uint8_t dim,
                             const ibx_dim *like, ibx_dtype dtype, uint8_t cut,
                             int64_t start, int64_t size, ibx_view *out);

/// The same with the atoms of every dimension given: sizes and partitions count,
/// free steps are assigned (dimensions without partitions row-major, then the
/// free atoms of the others). What no element of the constant fills is 0.
bool ibx_lower_constant_as(ibx_lower *lower, uint32_t value,
                           const ibx_view *want, uint8_t cut, int64_t start,
                           int64_t size, ibx_view *out);

/// Whether a value is constant, and if all its elements are one number, which.
bool ibx_lower_is_constant(ibx_lower *lower, uint32_t value);
bool ibx_lower_uniform(ibx_lower *lower, uint32_t value, float *out);

/// A value row-major in HBM: a packed constant in the result's dtype, or a copy
/// of a computed one.
bool ibx_lower_table(ibx_lower *lower, uint32_t value, ibx_view *out);

/// Whether a constant value is the same for all indices but those of `dim`.
bool ibx_lower_repeats(ibx_lower *lower, uint32_t value, uint8_t dim);

/// Whether a constant value varies only along dimensions that `like` has on
/// partitions: in each tile it is one value a partition.
bool ibx_lower_is_column(ibx_lower *lower, uint32_t value,
                         const ibx_view *like);

/// The effect of a view node on a view; false when it is none.
bool ibx_lower_apply_view(const ibx_node *node, const ibx_view *in,
                          ibx_view *out);

/// Whether some dimension of more than one element has one address.
bool ibx_view_repeats(const ibx_view *view);

/// Emits `insn` for all of the views of its operand slots (NULL: absent or an
/// immediate), which must walk the partitions alike. Slot 0 leads: in a
/// reduction it has step 0 in the reduced dimensions. At most `most` elements a
/// partition and instruction.
bool ibx_lower_insn(ibx_lower *lower, const ibx_insn *insn, ibx_engine engine,
                    const ibx_view *const slots[IBX_OPERANDS], int64_t most);

/// dst = (src op0 imm0) op1 imm1 on the vector engine.
bool ibx_lower_scalars(ibx_lower *lower, const ibx_view *dst,
                       const ibx_view *src, ibx_alu op0, float imm0,
                       ibx_alu op1, float imm1);

/// dst = a op b on the vector engine.
bool ibx_lower_tensors(ibx_lower *lower, const ibx_view *dst, const ibx_view *a,
                       ibx_alu op, const ibx_view *b);

/// All of dst = value.
bool ibx_lower_fill(ibx_lower *lower, const ibx_view *dst, float value);

// ---- Products (lower_product.c)

/// The free dimensions of one side of a product: up to three axes.
typedef struct ibx_walk {
  uint32_t num[3];
  int32_t step[3];
} ibx_walk;

/// One part of a contraction: `partitions` of both operands that hold the same
/// indices of the contracted dimension.
typedef struct ibx_contraction {
  int64_t stationary_offset, moving_offset; ///< elements
  int32_t stationary_partition, moving_partition;
  int32_t partitions;
} ibx_contraction;

/// Emits load_stationary and multiply_moving. `columns` of the stationary
/// operand go to the partitions of `bank`, whose elements `bank_offset` on are
/// walked by `bank_walk`, the moving ones by `moving_walk` (same counts).
void ibx_lower_product(ibx_lower *lower, const ibx_view *stationary,
                       const ibx_walk *stationary_walk, int32_t columns,
                       const ibx_view *moving, const ibx_walk *moving_walk,
                       const ibx_view *bank, int64_t bank_offset,
                       const ibx_walk *bank_walk, const ibx_contraction *part,
                       bool first, bool last);

/// Lists the parts in which dimension `sdim` of one view and `mdim` of another
/// (the contracted one) lie on the same partitions, which are legal rows of the
/// machine's array. Returns their number, 0 when they do not.
size_t ibx_lower_contractions(const ibx_machine *machine,
                              const ibx_view *stationary, uint8_t sdim,
                              const ibx_view *moving, uint8_t mdim,
                              ibx_arena *arena, ibx_contraction **out_parts);

/// ones[1, 128] of a dtype on partition 0.
bool ibx_lower_ones(ibx_lower *lower, ibx_dtype dtype, ibx_view *out);

// ---- Layout decisions (plan_layout.c)

/// The layout that plan_layout wrote for the value a node makes.
ibx_layout ibx_layout_parse(const char *text);
const char *ibx_layout_text(const ibx_layout *layout, ibx_arena *arena);
/// Planned layout of the result of `node`.
ibx_layout ibx_lower_layout(const ibx_lower *lower, const ibx_node *node);

// ---- Chains of pointwise operations on a tile (lower_chain.c)

/// Pointwise operations in a row, ready to be applied to tiles: the nodes of a
/// group behind its anchor, or pointwise nodes on their own.
typedef struct ibx_chain {
  const uint32_t *nodes; ///< each one reads its predecessor's result
  size_t count;
  const ibx_micro *micros; ///< made by ibx_chain_make()
  size_t micro_count;
  ibx_view whole; ///< of the last node's result
  uint32_t bias;  ///< a constant that the contraction itself adds to its
                  ///< product (shape of the result), or IBX_NO_VALUE
  bool tiled;     ///< applied to tiles that begin wherever the anchor wants
} ibx_chain;

/// Prepares `chain->nodes`, of which the first reads `value`, for a result that
/// lies in `whole`: brings the other operands next to it. False with a failure.
bool ibx_chain_make(ibx_lower *lower, ibx_chain *chain, uint32_t value,
                    const ibx_view *whole);

/// Applies the chain to tile `src` (PSUM or SBUF, shape of `dst`) and writes
/// `dst`, which is the slice of `chain->whole` that starts at `starts`.
bool ibx_chain_apply(ibx_lower *lower, const ibx_chain *chain,
                     const ibx_view *dst, const ibx_view *src,
                     const int64_t *starts);

/// The same for all of `dst`, slice by slice when it takes several
/// instructions, so that the values between them stay small.
bool ibx_chain_apply_sliced(ibx_lower *lower, const ibx_chain *chain,
                            const ibx_view *dst, const ibx_view *src);

/// Whether no operand of the chain varies along dimensions `from` and up.
bool ibx_chain_repeats(const ibx_chain *chain, uint8_t from);

/// A new SBUF buffer with the partitions of `like`, everything else row-major.
bool ibx_lower_temp(ibx_lower *lower, const ibx_view *like, ibx_dtype dtype,
                    ibx_view *out);
/// The bytes of a partition that such a buffer takes, in the dtype of `like`.
uint64_t ibx_lower_temp_bytes(const ibx_view *like);

/// One lowering function for each kind of anchor: reads the operands of
/// `node`, applies `chain` (already made) to each tile of its result, and
/// writes all of `dst`: the result of the chain's last node, or of `node` itself
/// when the chain is empty.
typedef bool (*ibx_lower_fn)(ibx_lower *lower, const ibx_node *node,
                             const ibx_chain *chain, const ibx_view *dst);

bool ibx_lower_matmul(ibx_lower *, const ibx_node *, const ibx_chain *,
                      const ibx_view *);
bool ibx_lower_conv(ibx_lower *, const ibx_node *, const ibx_chain *,
                    const ibx_view *);
bool ibx_lower_pool(ibx_lower *, const ibx_node *, const ibx_chain *,
                    const ibx_view *);

/// Operations that place their result themselves, mostly like an operand.
typedef bool (*ibx_lower_self_fn)(ibx_lower *lower, const ibx_node *node,
                                  ibx_view *out);

bool ibx_lower_reduce(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_softmax(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_norm(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_gather(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_select(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_integer(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_convert(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_top(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_nonzero(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_suppress(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_cumsum(ibx_lower *, const ibx_node *, ibx_view *);

/// The value in SBUF with `axes` in the free dimension.
bool ibx_lower_free_axes(ibx_lower *lower, uint32_t value, const ibx_ints *axes,
                         ibx_view *out);
/// The same as a row-major copy, so that what is reduced is one run.
bool ibx_lower_whole_rows(ibx_lower *lower, uint32_t value,
                          const ibx_ints *axes, ibx_view *out);

/// `view` with the dimensions `axes` cut to one element: what is left for each
/// row. As a view of its own buffer, in which rows that repeat in `view` have
/// elements of their own: a step of 0 in the destination means reduced.
ibx_view ibx_lower_rows_like(const ibx_view *view, const ibx_ints *axes);

/// A new buffer for the result of an elementwise node: as its first operand in
/// SBUF that does not repeat elements, else in the planned layout.
bool ibx_lower_result_like(ibx_lower *lower, const ibx_node *node,
                           ibx_view *out);
bool ibx_lower_concat(ibx_lower *, const ibx_node *, ibx_view *);
bool ibx_lower_pad(ibx_lower *, const ibx_node *, ibx_view *);

#endif
