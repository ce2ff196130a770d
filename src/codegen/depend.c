// SPDX-License-Identifier: Apache-2.0
//
// The dependence graph. Comes in: steps in program order with final addresses.
// Goes out: for each step the earlier ones that it must wait for: the writers
// of what it reads, the readers and writers of what it writes. Buffers that
// share addresses are one memory.
//
// Each memory is cut in buckets of a few KiB of columns (a PSUM bank is one).
// A bucket lists the reads and writes that a later step may still have to wait
// for. A write shortens the list: what it covers is ordered through it.
//
//      bucket  0          1          2
//              |  write 7 |##########|          step 9 reads buckets 0 and 1:
//              |##########|  read 8  |          it looks at 7, not at 8
//
// Lists that grow all the same (thousands of reads of a table that is never
// overwritten) are cut: a step becomes the successor of the older half and
// stands for it from then on. That adds order to what is long done, loses
// none, and keeps the time near linear.

#include "codegen/depend.h"

#include "codegen/footprint.h"

#include <string.h>

enum {
  BUCKET_BYTES = 2048,
  HBM_BUCKETS = 64,
  MOST_READS = 1024,
  MOST_WRITES = 256,
  MOST_GROUPS = 64,
  OPERANDS = IBX_OPERANDS * IBX_MIR_VARIANTS
};

typedef struct live {
  const ibx_footprint *footprint; ///< NULL: all of the box below
  uint64_t partitions[2];         ///< what is left of it in this bucket
  int64_t first, end;
  uint32_t step;
} live;

typedef struct live_list {
  live *items;
  size_t count, room;
} live_list;

typedef struct bucket {
  live_list reads, writes;
} bucket;

typedef struct shadow {
  bucket *buckets;
  int64_t bucket_bytes;
  size_t count;
} shadow;

typedef struct access {
  ibx_footprint *footprint;
  shadow *memory;
  bool is_write;
  bool is_matmul, accumulates;
} access;

/// An accumulation group in PSUM: the tile that its first matmul wrote, and the
/// last matmul that added to a part of it.
typedef struct group {
  const ibx_footprint *tile;
  uint32_t last;
} group;

typedef struct builder {
  const ibx_mir *mir;
  ibx_arena *arena;   ///< results
  ibx_arena *scratch; ///< dies with the build
  shadow sbuf, psum, hbm_scratch;
  shadow *hbm; ///< of each buffer that can be written
  group groups[MOST_GROUPS];
  size_t group_count;
  uint32_t *edges;
  size_t edge_count, edge_room;
  uint32_t *stamp; ///< of each step: the last one that got an edge from it
  uint32_t *edge_at;
  uint32_t step;
  size_t step_first_edge;
} builder;

// --- edges -----------------------------------------------------------------------

static void add_edge(builder *b, uint32_t from, bool reads) {
  if (from == b->step) return;
  if (b->stamp[from] == b->step + 1) {
    b->edges[b->edge_at[from]] |= reads;
    return;
  }
  if (b->edge_count == b->edge_room) {
    size_t room = 2 * b->edge_room;
    uint32_t *edges = IBX_ARENA_ARRAY(b->arena, room, uint32_t);
    memcpy(edges, b->edges, b->edge_count * sizeof(*edges));
    b->edges = edges;
    b->edge_room = room;
  }
  b->stamp[from] = b->step + 1;
  b->edge_at[from] = (uint32_t)b->edge_count;
  b->edges[b->edge_count++] = from << 1 | (uint32_t)reads;
}

// --- buckets ---------------------------------------------------------------------

static void push(builder *b, live_list *list, const live *item) {
  if (list->count == list->room) {
    size_t room = list->room == 0 ? 4 : 2 * list->room;
    live *items = IBX_ARENA_ARRAY(b->scratch, room, live);
    if (list->count) memcpy(items, list->items, list->count * sizeof(*items));
    list->items = items;
    list->room = room;
  }
  list->items[list->count++] = *item;
}

// This step comes after the older half of the list and stands for it.
static void shorten(builder *b, live_list *list, bool are_writes) {
  size_t older = list->count / 2;
  live box = {.step = b->step, .first = INT64_MAX, .end = INT64_MIN};
  for (size_t i = 0; i < older; i++) {
    const live *item = &list->items[i];
    add_edge(b, item->step, are_writes);
    box.partitions[0] |= item->partitions[0];
    box.partitions[1] |= item->partitions[1];
    if (item->first < box.first) box.first = item->first;
    if (item->end > box.end) box.end = item->end;
  }
  list->items[0] = box;
  list->count -= older - 1;
  memmove(list->items + 1, list->items + older,
          (list->count - 1) * sizeof(*list->items));
}

static bool touches(const live *item, const ibx_footprint *f, int64_t first,
                    int64_t end) {
  if (item->end <= first || end <= item->first) return false;
  if ((item->partitions[0] & f->partitions[0]) == 0 &&
      (item->partitions[1] & f->partitions[1]) == 0) {
    return false;
  }
  if (item->footprint) return ibx_footprint_overlaps(item->footprint, f);
  ibx_footprint box = {.partitions = {item->partitions[0], item->partitions[1]},
                       .first = item->first,
                       .end = item->end,
                       .run = item->end - item->first};
  return ibx_footprint_overlaps(&box, f);
}

static bool has_partitions(const uint64_t of[2], const uint64_t in[2]) {
  return (of[0] & ~in[0]) == 0 && (of[1] & ~in[1]) == 0;
}

// The bytes around `at` that the pattern has without a gap: one of its runs.
// Nothing when there is none, or strides are so entangled that it is not found.
static bool find_run(const ibx_footprint *f, int64_t at, int64_t *out_first,
                     int64_t *out_end) {
  int64_t start = f->first;
  if (at < start) return false;
  for (size_t d = 0; d < f->dims; d++) {
    int64_t i = (at - start) / f->stride[d], last = (int64_t)f->count[d] - 1;
    start += (i < last ? i : last) * f->stride[d];
  }
  *out_first = start;
  *out_end = start + f->run;
  return at < *out_end;
}

// Takes from `item` what the write covers; true when nothing is left of it.
static bool is_covered(live *item, const ibx_footprint *f) {
  if (!f->is_exact) return false;
  int64_t low, low_end, high, high_end;
  bool has_low = find_run(f, item->first, &low, &low_end);
  bool all_bytes = (has_low && item->end <= low_end) ||
                   (item->footprint && f->dims > 0 &&
                    ibx_footprint_same_bytes(item->footprint, f));
  if (all_bytes) {
    item->partitions[0] &= ~f->partitions[0];
    item->partitions[1] &= ~f->partitions[1];
    return item->partitions[0] == 0 && item->partitions[1] == 0;
  }
  if (!has_partitions(item->partitions, f->partitions)) return false;
  bool has_high = find_run(f, item->end - 1, &high, &high_end);
  if (has_low) item->first = low_end;
  if (has_high) item->end = high;
  return item->first >= item->end;
}

// Connects the step to what it meets in the list; a write drops what it covers.
static void meet(builder *b, live_list *list, const access *a, int64_t first,
                 int64_t end, bool reads) {
  size_t kept = 0;
  for (size_t i = 0; i < list->count; i++) {
    live *item = &list->items[i];
    bool is_met = touches(item, a->footprint, first, end);
    if (is_met) {
      add_edge(b, item->step, reads);
      if (a->is_write && is_covered(item, a->footprint)) continue;
    }
    if (kept != i) list->items[kept] = *item;
    kept++;
  }
  list->count = kept;
}

typedef struct span {
  size_t from, to; ///< buckets
} span;

static span buckets_of(const access *a) {
  const shadow *memory = a->memory;
  size_t last = memory->count - 1;
  size_t from = (size_t)(a->footprint->first / memory->bucket_bytes);
  size_t to = (size_t)((a->footprint->end - 1) / memory->bucket_bytes);
  return (span){.from = from < last ? from : last, .to = to < last ? to : last};
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The part of the access in bucket `i`; the last bucket has no end.
static live part_in(const builder *b, const access *a, size_t i) {
  const shadow *memory = a->memory;
  const ibx_footprint *f = a->footprint;
  int64_t start = (int64_t)i * memory->bucket_bytes;
  int64_t end = i + 1 < memory->count ? start + memory->bucket_bytes : f->end;
  return (live){.footprint = f,
                .partitions = {f->partitions[0], f->partitions[1]},
                .first = larger(f->first, start),
                .end = smaller(f->end, end),
                .step = b->step};
}

static void find_conflicts(builder *b, const access *a) {
  span s = buckets_of(a);
  for (size_t i = s.from; i <= s.to; i++) {
    bucket *in = &a->memory->buckets[i];
    live part = part_in(b, a, i);
    meet(b, &in->writes, a, part.first, part.end, !a->is_write);
    if (a->is_write) meet(b, &in->reads, a, part.first, part.end, false);
  }
}

static void remember(builder *b, const access *a) {
  span s = buckets_of(a);
  for (size_t i = s.from; i <= s.to; i++) {
    bucket *in = &a->memory->buckets[i];
    live part = part_in(b, a, i);
    live_list *list = a->is_write ? &in->writes : &in->reads;
    push(b, list, &part);
    if (list->count > (a->is_write ? MOST_WRITES : MOST_READS)) {
      shorten(b, list, a->is_write);
    }
  }
}

// --- accumulation groups -----------------------------------------------------------

// A tile is there when the last matmul of its group is complete, even where
// that one did not touch what is read.
static void meet_groups(builder *b, const access *a) {
  for (size_t i = 0; i < b->group_count; i++) {
    group *g = &b->groups[i];
    if (!ibx_footprint_overlaps(g->tile, a->footprint)) continue;
    if (!a->is_write) add_edge(b, g->last, true);
    if (a->accumulates) g->last = b->step;
  }
}

static bool covers(const ibx_footprint *a, const ibx_footprint *b) {
  bool all_bytes = ibx_footprint_same_bytes(a, b) ||
                   (a->dims == 0 && a->first <= b->first && b->end <= a->end);
  return all_bytes && has_partitions(b->partitions, a->partitions);
}

static void open_group(builder *b, const access *a) {
  size_t kept = 0;
  for (size_t i = 0; i < b->group_count; i++) {
    if (covers(a->footprint, b->groups[i].tile)) continue;
    b->groups[kept++] = b->groups[i];
  }
  b->group_count = kept;
  if (!a->is_matmul) return;
  if (kept == MOST_GROUPS) {
    memmove(b->groups, b->groups + 1, (kept - 1) * sizeof(b->groups[0]));
    b->group_count--;
  }
  b->groups[b->group_count++] = (group){.tile = a->footprint, .last = b->step};
}

static void track_groups(builder *b, const access *a) {
  if (a->memory != &b->psum) return;
  meet_groups(b, a);
  if (a->is_write && !a->accumulates) open_group(b, a);
}

// --- accesses ----------------------------------------------------------------------

static void make_shadow(builder *b, shadow *memory, uint64_t bytes,
                        uint64_t bucket_bytes) {
  memory->bucket_bytes = (int64_t)bucket_bytes;
  memory->count = (size_t)((bytes + bucket_bytes - 1) / bucket_bytes);
  if (memory->count == 0) memory->count = 1;
  memory->buckets = IBX_ARENA_ARRAY(b->scratch, memory->count, bucket);
}

static void make_hbm_shadow(builder *b, shadow *memory, uint64_t bytes) {
  uint64_t least = bytes / HBM_BUCKETS + 1;
  make_shadow(b, memory, bytes, least > BUCKET_BYTES ? least : BUCKET_BYTES);
}

// NULL for memory that no step can write.
static shadow *memory_of(builder *b, uint32_t index) {
  const ibx_buffer_decl *buffer = &b->mir->buffers[index];
  if (buffer->place.space == IBX_SPACE_SBUF) return &b->sbuf;
  if (buffer->place.space == IBX_SPACE_PSUM) return &b->psum;
  switch (buffer->kind) {
  case IBX_BUFFER_SCRATCH: return &b->hbm_scratch;
  case IBX_BUFFER_OUTPUT:
  case IBX_BUFFER_STATE:
    if (!b->hbm[index].buckets) {
      make_hbm_shadow(b, &b->hbm[index], buffer->place.bytes);
    }
    return &b->hbm[index];
  default: return NULL;
  }
}

static void make_shadows(builder *b) {
  const ibx_mir *mir = b->mir;
  uint64_t scratch_end = 0;
  for (size_t i = 0; i < mir->buffer_count; i++) {
    const ibx_buffer_place *place = &mir->buffers[i].place;
    if (place->space != IBX_SPACE_HBM) continue;
    if (mir->buffers[i].kind != IBX_BUFFER_SCRATCH) continue;
    uint64_t end = place->offset + place->bytes;
    if (end > scratch_end) scratch_end = end;
  }
  make_shadow(b, &b->sbuf, mir->machine->sbuf_bytes, BUCKET_BYTES);
  make_shadow(b, &b->psum, mir->machine->psum_bytes,
              mir->machine->psum_bank_bytes);
  make_hbm_shadow(b, &b->hbm_scratch, scratch_end);
  b->hbm = IBX_ARENA_ARRAY(b->scratch, mir->buffer_count, shadow);
}

static ibx_status refuse(const builder *b, const char *what, ibx_error *err) {
  return IBX_FAIL(err, INTERNAL, "step %lu cannot be scheduled: %s",
                  (unsigned long)b->step, what);
}

// Adds the access unless another variant has the same.
static void add_access(access *list, size_t *count, const access *a) {
  for (size_t i = 0; i < *count; i++) {
    const ibx_footprint *f = list[i].footprint;
    if (list[i].memory == a->memory && list[i].is_write == a->is_write &&
        f->partitions[0] == a->footprint->partitions[0] &&
        f->partitions[1] == a->footprint->partitions[1] &&
        ibx_footprint_same_bytes(f, a->footprint)) {
      return;
    }
  }
  list[(*count)++] = *a;
}

static ibx_status add_operand(builder *b, const ibx_insn *insn, size_t slot,
                              ibx_slot_kind kind, access *list, size_t *count,
                              ibx_error *err) {
  const ibx_operand *operand = &insn->operand[slot];
  if (operand->buffer == IBX_NO_BUFFER) {
    if (kind == IBX_SLOT_SCALAR_READ || kind == IBX_SLOT_SCALAR_WRITE) {
      return IBX_OK;
    }
    return refuse(b, "an operand has no buffer", err);
  }
  if (operand->buffer >= b->mir->buffer_count) {
    return refuse(b, "an operand's buffer does not exist", err);
  }
  shadow *memory = memory_of(b, operand->buffer);
  if (!memory) return IBX_OK;
  ibx_buffer_place place = b->mir->buffers[operand->buffer].place;
  bool is_own =
      memory != &b->sbuf && memory != &b->psum && memory != &b->hbm_scratch;
  if (is_own) place.offset = 0;
  ibx_footprint *f = IBX_ARENA_NEW(b->scratch, ibx_footprint);
  if (!ibx_footprint_make(insn, slot, &place, f)) {
    return refuse(b, "an operand reaches beyond every memory", err);
  }
  bool is_matmul =
      ibx_insn_get(insn->opcode)->kind == IBX_KIND_PRODUCT && slot == 0;
  access a = {
      .footprint = f,
      .memory = memory,
      .is_matmul = is_matmul,
      .accumulates = is_matmul && (insn->flags & IBX_FLAG_ACCUMULATE) != 0,
      .is_write = kind == IBX_SLOT_WRITE || kind == IBX_SLOT_READ_WRITE ||
                  kind == IBX_SLOT_SCALAR_WRITE};
  add_access(list, count, &a);
  // What is read and written depends on both sides, and gives a result.
  if (kind == IBX_SLOT_READ_WRITE) {
    a.is_write = false;
    add_access(list, count, &a);
  }
  return IBX_OK;
}

static ibx_status add_insn(builder *b, const ibx_insn *insn, access *list,
                           size_t *count, ibx_error *err) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) return refuse(b, "its opcode does not exist", err);
  if (info->kind == IBX_KIND_LOOP || info->kind == IBX_KIND_LOOP_END ||
      (insn->flags & IBX_FLAG_LOOPED)) {
    return refuse(b, "loops are scheduled by whoever writes them", err);
  }
  // Steps are ordered through memory, which does not show such states.
  if (ibx_insn_state(insn) != 0) {
    return refuse(b, "it uses accumulators or the random generator", err);
  }
  if (insn->index_register != 0) {
    return refuse(b, "a register moves one of its addresses", err);
  }
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    IBX_TRY(add_operand(b, insn, i, info->slot[i], list, count, err));
  }
  return IBX_OK;
}

static ibx_status build_step(builder *b, ibx_error *err) {
  const ibx_mir_step *step = &b->mir->steps[b->step];
  access list[2 * OPERANDS];
  size_t count = 0;
  for (size_t v = 0; v < step->variant_count; v++) {
    IBX_TRY(add_insn(b, &step->variant[v].insn, list, &count, err));
  }
  // Reads first: a write of the same step drops what they meet.
  for (size_t i = 0; i < count; i++) {
    if (!list[i].is_write) find_conflicts(b, &list[i]);
  }
  for (size_t i = 0; i < count; i++) {
    if (list[i].is_write) find_conflicts(b, &list[i]);
  }
  for (size_t i = 0; i < count; i++) {
    track_groups(b, &list[i]);
    remember(b, &list[i]);
  }
  return IBX_OK;
}

static ibx_status build(builder *b, ibx_depend *out, ibx_error *err) {
  size_t count = b->mir->step_count;
  make_shadows(b);
  b->stamp = IBX_ARENA_ARRAY(b->scratch, count, uint32_t);
  b->edge_at = IBX_ARENA_ARRAY(b->scratch, count, uint32_t);
  b->edge_room = 4 * count + 64;
  b->edges = IBX_ARENA_ARRAY(b->arena, b->edge_room, uint32_t);
  out->first = IBX_ARENA_ARRAY(b->arena, count + 1, uint32_t);
  for (b->step = 0; b->step < count; b->step++) {
    out->first[b->step] = (uint32_t)b->edge_count;
    IBX_TRY(build_step(b, err));
    if (b->edge_count > UINT32_MAX / 2) {
      return IBX_FAIL(err, OUT_OF_CAPACITY, "more than 2^31 dependences");
    }
  }
  out->first[count] = (uint32_t)b->edge_count;
  out->edges = b->edges;
  out->edge_count = b->edge_count;
  return IBX_OK;
}

ibx_status ibx_depend_build(const ibx_mir *mir, ibx_arena *arena,
                            ibx_depend *out, ibx_error *err) {
  if (mir->step_count >= UINT32_MAX / 2) {
    return IBX_FAIL(err, OUT_OF_CAPACITY, "more than 2^31 instructions");
  }
  ibx_arena scratch = {0};
  builder b = {.mir = mir, .arena = arena, .scratch = &scratch};
  ibx_status status = build(&b, out, err);
  ibx_arena_reset(&scratch);
  return status;
}
