// SPDX-License-Identifier: Apache-2.0
//
// Where values are. Comes in a value of the graph and how a lowering function
// wants it; goes out a view of it in SBUF. Values are moved or packed at most
// once for each layout that somebody wants.

#include "passes/lower.h"
#include "passes/pack.h"
#include "passes/rewrite.h"

#include <string.h>

typedef struct cached {
  const ibx_kept_view *view, *key; // where it lies, what was asked for
  size_t older; // 1 + the row before it of the same value, or 0
} cached;

struct ibx_lower_cache {
  cached *rows;
  size_t *newest; // of each value: 1 + its last row, or 0
  size_t count, room;
};

// A row may serve only while its buffer is still worth holding: a large
// constant that is wanted again much later is loaded again instead, so that it
// does not occupy SBUF in between.
enum { KEEP_BYTES = 8192 };

static ibx_lower_cache *cache_of(ibx_lower *lower) {
  if (!lower->cache) {
    lower->cache = IBX_ARENA_NEW(lower->arena, ibx_lower_cache);
    lower->cache->newest =
        IBX_ARENA_ARRAY(lower->arena, lower->graph->value_count, size_t);
  }
  return lower->cache;
}

static bool find_cached(ibx_lower *lower, uint32_t value, const ibx_view *want,
                        ibx_view *out) {
  const ibx_lower_cache *cache = cache_of(lower);
  for (size_t i = cache->newest[value]; i > 0; i = cache->rows[i - 1].older) {
    const cached *row = &cache->rows[i - 1];
    if (row->view->dtype != want->dtype || !ibx_view_has_dims(want, row->key))
      continue;
    ibx_view_take(row->view, out);
    return true;
  }
  return false;
}

static void add_cached(ibx_lower *lower, uint32_t value, const ibx_view *key,
                       const ibx_view *view) {
  if (lower->spill[value]) return; // each user loads it anew
  ibx_lower_cache *cache = cache_of(lower);
  if (cache->count == cache->room) {
    size_t room = cache->room ? cache->room * 2 : 64;
    cached *rows = IBX_ARENA_ARRAY(lower->arena, room, cached);
    if (cache->count) memcpy(rows, cache->rows, cache->count * sizeof(cached));
    cache->rows = rows;
    cache->room = room;
  }
  cache->rows[cache->count++] =
      (cached){.view = ibx_view_keep(view, lower->arena),
               .key = ibx_view_keep(key, lower->arena),
               .older = cache->newest[value]};
  cache->newest[value] = cache->count;
}

bool ibx_lower_apply_view(const ibx_node *node, const ibx_view *in,
                          ibx_view *out) {
  const ibx_params *params = &node->params;
  switch (node->op) {
  case IBX_TENSOR_reshape: return ibx_view_reshape(in, &params->shape, out);
  case IBX_TENSOR_bitcast:
    *out = *in;
    out->dtype = params->dtype;
    return true;
  case IBX_TENSOR_transpose:
    ibx_view_transpose(in, &params->perm, out);
    return true;
  case IBX_TENSOR_slice:
    return ibx_view_slice(in, params->starts.at, params->shape.at,
                          params->steps.at, out);
  case IBX_TENSOR_broadcast:
    ibx_view_broadcast(in, &params->shape, out);
    return true;
  default: return false;
  }
}

// ---- Constants

// The maker of what `value` is a view of, `most` views below it at most, and the
// number of views on the way. NULL where there is none. A loop, because chains
// of views may be as long as a model.
static const ibx_node *views_below(const ibx_lower *lower, uint32_t value,
                                   size_t most, size_t *out_views) {
  const ibx_node *node = ibx_graph_maker(lower->graph, value);
  for (*out_views = 0; node && *out_views < most; ++*out_views) {
    bool is_view = ibx_tensor_op_get(node->op)->klass == IBX_KLASS_VIEW &&
                   node->operand_count == 1;
    if (!is_view) break;
    node = ibx_graph_maker(lower->graph, node->operand[0]);
  }
  return node;
}

// The elements of a constant value in the mapped model, through any views.
static bool constant_view(const ibx_lower *lower, uint32_t value, ibx_view *out,
                          const ibx_weight **weight) {
  size_t views = 0;
  const ibx_node *node = views_below(lower, value, SIZE_MAX, &views);
  if (!node || node->op != IBX_TENSOR_constant) return false;
  *weight = &lower->graph->tables->weights[node->params.weight];
  *out = ibx_view_linear(&(*weight)->type, 0);
  while (views-- > 0) {
    ibx_view in = *out;
    size_t above;
    node = views_below(lower, value, views, &above);
    if (!ibx_lower_apply_view(node, &in, out)) return false;
  }
  return true;
}

bool ibx_lower_is_constant(ibx_lower *lower, uint32_t value) {
  ibx_view view;
  const ibx_weight *weight;
  return constant_view(lower, value, &view, &weight);
}

bool ibx_lower_uniform(ibx_lower *lower, uint32_t value, float *out) {
  ibx_view view;
  const ibx_weight *weight;
  return constant_view(lower, value, &view, &weight) &&
         ibx_weight_uniform(weight, out);
}

bool ibx_lower_repeats(ibx_lower *lower, uint32_t value, uint8_t dim) {
  ibx_view view;
  const ibx_weight *weight;
  if (!constant_view(lower, value, &view, &weight)) return false;
  for (uint8_t d = 0; d < view.rank; d++) {
    if (d == dim || view.dim[d].size == 1) continue;
    if (view.dim[d].count != 1 || view.dim[d].atom[0].step != 0) return false;
  }
  return true;
}

bool ibx_lower_is_column(ibx_lower *lower, uint32_t value,
                         const ibx_view *like) {
  ibx_view view;
  const ibx_weight *weight;
  if (!constant_view(lower, value, &view, &weight)) return false;
  for (uint8_t d = 0; d < view.rank; d++) {
    bool tiled = false;
    for (uint8_t a = 0; a < like->dim[d].count; a++) {
      tiled = tiled || like->dim[d].atom[a].pstep != 0;
    }
    if (tiled || view.dim[d].size == 1) continue;
    if (view.dim[d].count != 1 || view.dim[d].atom[0].step != 0) return false;
  }
  return true;
}

bool ibx_view_repeats(const ibx_view *view) {
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count; a++) {
      const ibx_atom *atom = &view->dim[d].atom[a];
      if (atom->size > 1 && atom->step == 0 && atom->pstep == 0) return true;
    }
  }
  return false;
}

// Gives the dimensions of a packed view their free steps: the dimensions
// row-major, then the tiles of the partition atoms, outermost. Atoms that
// broadcast keep step 0.
static int64_t assign_steps(ibx_view *view, const ibx_view *source) {
  int64_t step = 1;
  for (int pass = 0; pass < 2; pass++) {
    for (int d = view->rank - 1; d >= 0; d--) {
      ibx_dim *dim = &view->dim[d];
      bool tiled = false;
      for (uint8_t a = 0; a < dim->count; a++) {
        tiled = tiled || dim->atom[a].pstep != 0;
      }
      if (tiled != (pass == 1)) continue;
      const ibx_atom *only = &source->dim[d].atom[0];
      bool repeats = source->dim[d].count == 1 && only->step == 0 &&
                     only->pstep == 0 && !tiled;
      for (int a = dim->count - 1; a >= 0; a--) {
        ibx_atom *atom = &dim->atom[a];
        atom->step = 0;
        if (atom->pstep != 0 || repeats || atom->size == 1) continue;
        atom->step = step;
        step *= atom->size;
      }
    }
  }
  return step;
}

static int32_t partitions_of(const ibx_view *view) {
  int32_t last = 0;
  for (uint8_t d = 0; d < view->rank; d++) {
    for (uint8_t a = 0; a < view->dim[d].count; a++) {
      const ibx_atom *atom = &view->dim[d].atom[a];
      int64_t size = a == 0 && atom->size > view->dim[d].size
                         ? view->dim[d].size
                         : atom->size;
      last += (int32_t)(size - 1) * atom->pstep;
    }
  }
  return last + 1;
}

// Loads `partitions` runs of `elements` from HBM on at `from` elements.
static void emit_load(ibx_lower *lower, uint32_t dst, uint32_t src,
                      ibx_dtype dtype, int32_t first, int32_t partitions,
                      int64_t elements, int64_t from) {
  if (partitions == 0 || elements == 0) return;
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  insn.num[IBX_DIMS - 2] = (uint32_t)partitions;
  insn.num[IBX_DIMS - 1] = (uint32_t)elements;
  for (size_t slot = 0; slot < 2; slot++) {
    ibx_operand *operand = &insn.operand[slot];
    operand->buffer = slot == 0 ? dst : src;
    operand->dtype = (uint8_t)dtype;
    operand->step[IBX_DIMS - 1] = 1;
  }
  insn.operand[0].partition = (uint8_t)first;
  insn.operand[0].partition_step[IBX_DIMS - 2] = 1;
  insn.operand[1].offset = (uint64_t)from * ibx_dtype_bytes(dtype);
  insn.operand[1].step[IBX_DIMS - 2] = (int32_t)elements;
  ibx_lower_emit(lower, &insn, IBX_ENGINE_SYNC, false);
}

// Elements of a packed partition beyond the partial last tile: partitions from
// `*out_full` on have `elements` less the returned number.
static int64_t missing_elements(const ibx_view *view, int64_t elements,
                                int32_t *out_full) {
  for (uint8_t d = 0; d < view->rank; d++) {
    const ibx_dim *dim = &view->dim[d];
    if (dim->count != 2 || dim->atom[0].pstep != 0 || dim->atom[1].pstep != 1) {
      continue;
    }
    int64_t left = dim->size % dim->atom[1].size;
    if (left == 0 || dim->atom[0].step * dim->atom[0].size != elements)
      continue;
    *out_full = (int32_t)left;
    return dim->atom[0].step;
  }
  return 0;
}

// A part of one dimension of a constant.
typedef struct cut {
  uint8_t dim;
  int64_t start, size; // size 0: all
  bool padded;         // zeros behind a partial last tile are loaded as well
} cut;

static bool cut_view(const ibx_view *source, const cut *part, ibx_view *out) {
  int64_t starts[IBX_MAX_RANK] = {0}, sizes[IBX_MAX_RANK];
  *out = *source;
  if (!part || part->size == 0) return true;
  for (uint8_t d = 0; d < source->rank; d++)
    sizes[d] = source->dim[d].size;
  starts[part->dim] = part->start;
  sizes[part->dim] = part->size;
  return ibx_view_slice(source, starts, sizes, NULL, out);
}

// The elements of a constant view in their own order, where it has no common
// refinement with what is wanted: 96 rows that repeat, flattened into tiles.
static void row_major(ibx_lower *lower, ibx_pack_source *source) {
  ibx_arena *arena = lower->ctx->arena; // until the row is written
  ibx_type type = {.rank = source->view.rank, .dtype = source->view.dtype};
  for (uint8_t d = 0; d < type.rank; d++)
    type.dims[d] = source->view.dim[d].size;
  ibx_view row = ibx_view_linear(&type, 0);
  ibx_packs copy = {0};
  int64_t elements = 0;
  size_t at;
  if (!ibx_type_elements(&type, &elements) ||
      !ibx_pack_add(&copy, arena, &row, 1, elements, source, &at)) {
    return;
  }
  const ibx_pack *pack = &copy.rows[at];
  uint8_t *data = ibx_arena_alloc(arena, (size_t)pack->size);
  ibx_pack_fill(pack, arena, data);
  *source =
      (ibx_pack_source){.view = row, .data = data, .bytes = (size_t)pack->size};
}

static ibx_pack_source source_of(const ibx_weight *weight,
                                 const ibx_view *view) {
  int64_t bytes = 0;
  ibx_type_bytes(&weight->type, &bytes);
  return (ibx_pack_source){
      .view = *view, .data = weight->data, .bytes = (size_t)bytes};
}

// A row of the weight section, as a buffer.
static uint32_t row_buffer(ibx_lower *lower, size_t row, uint64_t bytes,
                           const char *name) {
  ibx_buffer_decl packed = {
      .place = {.space = IBX_SPACE_HBM,
                .partitions = 1,
                .offset = lower->ctx->packs->rows[row].offset,
                .bytes = bytes},
      .name = name,
      .kind = IBX_BUFFER_WEIGHT};
  return ibx_lower_add_buffer(lower, packed);
}

// Packs a constant as `want` says (its steps are assigned here) and loads it.
static bool load_constant(ibx_lower *lower, uint32_t value, const cut *part,
                          ibx_view *want, ibx_view *out) {
  ibx_view all, source;
  const ibx_weight *weight;
  if (!constant_view(lower, value, &all, &weight)) return false;
  if (!cut_view(&all, part, &source)) return false;
  want->offset = 0;
  want->partition = 0;
  int64_t elements = assign_steps(want, &source);
  bool whole = !part || part->size == 0;
  if (whole && find_cached(lower, value, want, out)) return true;
  ibx_view key = *want;
  int32_t partitions = partitions_of(want), full = partitions;
  const ibx_view *views[] = {want, &source};
  ibx_packs *packs = lower->ctx->packs;
  ibx_arena *arena = lower->ctx->arena;
  ibx_pack_source from = source_of(weight, &source);
  size_t row;
  if (!ibx_view_refines(views, 2)) row_major(lower, &from);
  if (!ibx_pack_add(packs, arena, want, partitions, elements, &from, &row))
    return false;
  int64_t missing =
      part && part->padded ? 0 : missing_elements(want, elements, &full);
  int64_t kept = elements - missing;
  int64_t total = elements * full + kept * (partitions - full);
  ibx_pack_trim(packs, row, full, kept);
  row = ibx_pack_share(packs, arena, row);
  size_t size = ibx_dtype_bytes(want->dtype);
  int64_t bytes = elements * (int64_t)size;
  uint32_t hbm = row_buffer(lower, row, (uint64_t)total * size, weight->name);
  want->buffer =
      ibx_lower_buffer(lower, IBX_SPACE_SBUF, partitions, bytes, weight->name);
  emit_load(lower, want->buffer, hbm, want->dtype, 0, full, elements, 0);
  emit_load(lower, want->buffer, hbm, want->dtype, full, partitions - full,
            kept, full * elements);
  if (whole && bytes <= KEEP_BYTES) add_cached(lower, value, &key, want);
  *out = *want;
  return lower->status == IBX_OK;
}

bool ibx_lower_constant_like(ibx_lower *lower, uint32_t value, uint8_t dim,
                             const ibx_dim *like, ibx_dtype dtype,
                             uint8_t cut_dim, int64_t start, int64_t size,
                             ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_view want = {.dtype = dtype, .rank = type->rank};
  for (uint8_t d = 0; d < type->rank; d++) {
    int64_t extent = size != 0 && d == cut_dim ? size : type->dims[d];
    want.dim[d] = (ibx_dim){.atom[0].size = extent, .size = extent, .count = 1};
  }
  want.dim[dim] = *like;
  cut part = {.dim = cut_dim, .start = start, .size = size};
  if (load_constant(lower, value, &part, &want, out)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL, "a constant cannot be packed");
}

bool ibx_lower_constant_as(ibx_lower *lower, uint32_t value,
                           const ibx_view *want, uint8_t cut_dim, int64_t start,
                           int64_t size, ibx_view *out) {
  ibx_view packed = *want;
  cut part = {.dim = cut_dim, .start = start, .size = size, .padded = true};
  if (load_constant(lower, value, &part, &packed, out)) return true;
  return ibx_lower_fail(lower, IBX_INTERNAL, "a constant cannot be packed");
}

// ---- Values

bool ibx_lower_view(ibx_lower *lower, uint32_t value, ibx_view *out) {
  if (!lower->views[value]) return false;
  ibx_view_take(lower->views[value], out);
  return true;
}

void ibx_lower_set_view(ibx_lower *lower, uint32_t value,
                        const ibx_view *view) {
  lower->views[value] = ibx_view_keep(view, lower->arena);
}

static bool has_layout(const ibx_lower *lower, const ibx_view *view,
                       const ibx_view *want) {
  if (lower->func->buffers[view->buffer].place.space != IBX_SPACE_SBUF) {
    return false;
  }
  const ibx_view *views[] = {want, view};
  return view->partition == 0 &&
         ibx_view_pieces(views, 2, INT32_MAX, NULL, NULL);
}

// As it lies, where `any_steps` and it is on these partitions; else moved.
static bool in_layout(ibx_lower *lower, uint32_t value,
                      const ibx_layout *layout, bool any_steps, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_view want, have;
  int32_t partitions;
  int64_t elements;
  if (!ibx_view_make(type, layout, &want, &partitions, &elements)) {
    return ibx_lower_fail(lower, IBX_INTERNAL,
                          "a layout does not fit its tensor");
  }
  if (!ibx_lower_view(lower, value, &have)) {
    if (load_constant(lower, value, NULL, &want, out)) return true;
    return ibx_lower_fail(lower, IBX_INTERNAL, "a constant cannot be packed");
  }
  if (any_steps && has_layout(lower, &have, &want)) {
    *out = have;
    return true;
  }
  if (find_cached(lower, value, &want, out)) return true;
  ibx_view key = want;
  if (!ibx_lower_tensor(lower, type, layout, "moved", &want) ||
      !ibx_lower_move(lower, &want, &have)) {
    return false;
  }
  add_cached(lower, value, &key, &want);
  *out = want;
  return true;
}

bool ibx_lower_in_layout(ibx_lower *lower, uint32_t value,
                         const ibx_layout *layout, ibx_view *out) {
  return in_layout(lower, value, layout, true, out);
}

bool ibx_lower_row_major(ibx_lower *lower, uint32_t value,
                         const ibx_layout *layout, ibx_view *out) {
  return in_layout(lower, value, layout, false, out);
}

// The view that has the partitions of `like` and everything else row-major;
// dimensions in which the value repeats and `like` has no partitions stay 0.
static bool alike_view(const ibx_view *like, const ibx_view *have,
                       ibx_dtype dtype, ibx_view *out, int64_t *elements) {
  *out = (ibx_view){.dtype = dtype, .rank = like->rank};
  for (uint8_t d = 0; d < like->rank; d++)
    out->dim[d] = like->dim[d];
  *elements = assign_steps(out, have);
  return true;
}

uint64_t ibx_lower_temp_bytes(const ibx_view *like) {
  ibx_view view = *like;
  int64_t elements = assign_steps(&view, like);
  return (uint64_t)elements * ibx_dtype_bytes(like->dtype);
}

bool ibx_lower_temp(ibx_lower *lower, const ibx_view *like, ibx_dtype dtype,
                    ibx_view *out) {
  ibx_view view = *like;
  view.dtype = dtype;
  view.offset = 0;
  view.partition = 0;
  int64_t elements = assign_steps(&view, like);
  view.buffer =
      ibx_lower_buffer(lower, IBX_SPACE_SBUF, partitions_of(&view),
                       elements * (int64_t)ibx_dtype_bytes(dtype), "temporary");
  *out = view;
  return lower->status == IBX_OK;
}

bool ibx_lower_like(ibx_lower *lower, uint32_t value, const ibx_view *like,
                    ibx_dtype dtype, ibx_view *out) {
  ibx_view have, want;
  int64_t elements;
  if (dtype == IBX_DTYPE_NONE || !ibx_lower_is_constant(lower, value)) {
    dtype = lower->graph->values[value].type.dtype;
  }
  if (!ibx_lower_view(lower, value, &have)) {
    const ibx_weight *weight;
    if (!constant_view(lower, value, &have, &weight)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "an operand was not lowered");
    }
    bool single = true; // every partition holds the same: spread on chip
    bool tiled = false;
    for (uint8_t d = 0; d < like->rank; d++) {
      for (uint8_t a = 0; a < like->dim[d].count; a++) {
        if (like->dim[d].atom[a].pstep == 0) continue;
        tiled = true;
        single =
            single && have.dim[d].count == 1 && have.dim[d].atom[0].step == 0;
      }
    }
    alike_view(like, &have, dtype, &want, &elements);
    if (!tiled || !single || elements < 16) {
      if (load_constant(lower, value, NULL, &want, out)) return true;
      return ibx_lower_fail(lower, IBX_INTERNAL, "a constant cannot be packed");
    }
    if (find_cached(lower, value, &want, out)) return true;
    // One copy on partition 0, then over the partitions.
    ibx_layout none = {.count = 0};
    ibx_view row;
    int32_t partitions;
    const ibx_type *type = &lower->graph->values[value].type;
    if (!ibx_view_make(type, &none, &row, &partitions, &elements) ||
        !load_constant(lower, value, NULL, &row, &have)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a constant cannot be packed");
    }
  } else {
    const ibx_view *views[] = {like, &have};
    if (lower->func->buffers[have.buffer].place.space == IBX_SPACE_SBUF &&
        ibx_view_pieces(views, 2, INT32_MAX, NULL, NULL)) {
      *out = have;
      return true;
    }
  }
  alike_view(like, &have, dtype, &want, &elements);
  if (find_cached(lower, value, &want, out)) return true;
  ibx_view key = want;
  want.buffer =
      ibx_lower_buffer(lower, IBX_SPACE_SBUF, partitions_of(&want),
                       elements * (int64_t)ibx_dtype_bytes(dtype), "aligned");
  if (!ibx_lower_move(lower, &want, &have)) return false;
  add_cached(lower, value, &key, &want);
  *out = want;
  return true;
}

bool ibx_lower_table(ibx_lower *lower, uint32_t value, ibx_view *out) {
  const ibx_type *type = &lower->graph->values[value].type;
  ibx_view have, source;
  const ibx_weight *weight;
  int64_t bytes = 0, elements = 0;
  ibx_type_bytes(type, &bytes);
  ibx_type_elements(type, &elements);
  *out = ibx_view_linear(type, 0);
  ibx_buffer_decl buffer = {.place = {.space = IBX_SPACE_HBM,
                                      .partitions = 1,
                                      .bytes = (uint64_t)bytes},
                            .name = "table",
                            .kind = IBX_BUFFER_SCRATCH};
  if (constant_view(lower, value, &source, &weight)) {
    ibx_pack_source from = source_of(weight, &source);
    ibx_packs *packs = lower->ctx->packs;
    size_t row;
    if (!ibx_pack_add(packs, lower->ctx->arena, out, 1, elements, &from,
                      &row)) {
      return ibx_lower_fail(lower, IBX_INTERNAL, "a table cannot be packed");
    }
    row = ibx_pack_share(packs, lower->ctx->arena, row);
    buffer.name = weight->name;
    buffer.kind = IBX_BUFFER_WEIGHT;
    buffer.place.offset = packs->rows[row].offset;
    out->buffer = ibx_lower_add_buffer(lower, buffer);
    return true;
  }
  if (!ibx_lower_view(lower, value, &have)) return false;
  out->buffer = ibx_lower_add_buffer(lower, buffer);
  return ibx_lower_move(lower, out, &have);
}
