// SPDX-License-Identifier: Apache-2.0
//
// place: addresses for the buffers of a tile function.
//
//   before   ibx.buffer {partitions = 128, bytes = 4096}
//   after    ibx.buffer {partitions = 128, bytes = 4096, offset = 16384}
//
// Comes in: buffers with sizes, used by instructions in program order. Goes out:
// their offsets. Holds afterwards: buffers that live at the same time do not
// overlap. Constants that stream in from HBM go round a ring in the order of
// their first use, so that loads run ahead of their use by as much as the ring
// holds; everything else is packed below the ring, largest first. Lifetimes are
// stretched while there is room, because an address that is used again at once
// makes the engines wait for each other.

#include "passes/pass.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

typedef struct life {
  uint32_t first, last; // operations
  uint64_t bytes;       // of one partition
  uint32_t buffer;
  bool streamed; // filled by one load of a constant
} life;

typedef struct placement {
  const ibx_machine *machine;
  ibx_tile_func *func;
  ibx_arena *scratch;
  life *lives; // by first use
  size_t count;
} placement;

static ibx_buffer_place *place_of(const placement *p, uint32_t buffer) {
  return &p->func->buffers[buffer].place;
}

// Lifetimes of all buffers, indexed by buffer; first is UINT32_MAX when unused.
static life *collect(placement *p) {
  ibx_tile_func *func = p->func;
  life *all = IBX_ARENA_ARRAY(p->scratch, func->buffer_count, life);
  for (size_t b = 0; b < func->buffer_count; b++) {
    const ibx_tile_life *of = &func->lives[b];
    all[b] = (life){.first = of->first,
                    .last = of->last,
                    .bytes = func->buffers[b].place.bytes,
                    .buffer = (uint32_t)b,
                    .streamed = of->streamed};
  }
  return all;
}

// ---- PSUM: the bank that was left longest ago

static ibx_status place_banks(placement *p, const life *all, ibx_error *err) {
  uint32_t free_at[IBX_PSUM_BANKS] = {0};
  bool used[IBX_PSUM_BANKS] = {false};
  for (size_t b = 0; b < p->func->buffer_count; b++) {
    if (p->func->buffers[b].place.space != IBX_SPACE_PSUM) continue;
    if (all[b].first == UINT32_MAX) continue;
    size_t best = IBX_PSUM_BANKS;
    for (size_t k = 0; k < IBX_PSUM_BANKS; k++) {
      if (used[k] && free_at[k] >= all[b].first) continue;
      if (best == IBX_PSUM_BANKS || !used[k] ||
          (used[best] && free_at[k] < free_at[best])) {
        best = k;
        if (!used[k]) break;
      }
    }
    if (best == IBX_PSUM_BANKS) {
      return IBX_FAIL(err, INTERNAL, "more than %d PSUM banks live at once",
                      IBX_PSUM_BANKS);
    }
    used[best] = true;
    free_at[best] = all[b].last;
    place_of(p, (uint32_t)b)->offset = best * p->machine->psum_bank_bytes;
  }
  return IBX_OK;
}

// ---- SBUF below the ring: largest first, lowest gap

static int compare_size(const void *a, const void *b) {
  const life *x = *(const life *const *)a, *y = *(const life *const *)b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return x->first < y->first ? -1 : x->first > y->first;
}

// A life that has its place.
typedef struct shelved {
  uint64_t from, to;
  uint32_t first, last;
} shelved;

// Such lives by offset.
typedef struct row {
  shelved *at;
  size_t count, room;
} row;

// Those of each span of operations: most lives are short, and then only those of
// a span or two are asked.
enum { SPANS = 512, FEW_SPANS = 8 };

typedef struct shelf {
  row span[SPANS];
  row gathered; // of many spans
  uint32_t ops; // in a span
  ibx_arena *arena;
} shelf;

static shelf *make_shelf(const placement *p) {
  shelf *made = IBX_ARENA_NEW(p->scratch, shelf);
  made->arena = p->scratch;
  made->ops = (uint32_t)(p->func->op_count / SPANS + 1);
  return made;
}

static uint32_t span_of(const shelf *on, uint64_t operation) {
  uint64_t span = operation / on->ops;
  return span < SPANS ? (uint32_t)span : SPANS - 1;
}

// The lowest gap beside the lives of these rows, which are walked as one.
static uint64_t gap_beside(const row *rows, size_t count, uint64_t bytes,
                           uint64_t first, uint64_t last) {
  size_t next[FEW_SPANS] = {0};
  uint64_t at = 0;
  for (;;) {
    const shelved *lowest = NULL;
    size_t from = 0;
    for (size_t r = 0; r < count; r++) {
      if (next[r] == rows[r].count) continue;
      const shelved *other = &rows[r].at[next[r]];
      if (lowest && lowest->from <= other->from) continue;
      lowest = other;
      from = r;
    }
    // What is left begins later still.
    if (!lowest || lowest->from >= at + bytes) return at;
    next[from]++;
    bool together = first <= lowest->last && lowest->first <= last;
    if (together && lowest->to > at) at = lowest->to;
  }
}

static int compare_from(const void *a, const void *b) {
  const shelved *x = a, *y = b;
  return (x->from > y->from) - (x->from < y->from);
}

// The lives of several spans, each once.
static const row *gather_spans(shelf *on, uint32_t span, uint32_t end) {
  row *many = &on->gathered;
  size_t most = 0;
  for (uint32_t s = span; s < end; s++)
    most += on->span[s].count;
  if (most > many->room) {
    many->room = most * 2;
    many->at = IBX_ARENA_ARRAY(on->arena, many->room, shelved);
  }
  many->count = 0;
  for (uint32_t s = span; s < end; s++) {
    for (size_t i = 0; i < on->span[s].count; i++) {
      const shelved *placed = &on->span[s].at[i];
      bool is_new = s == span || span_of(on, placed->first) == s;
      if (is_new) many->at[many->count++] = *placed;
    }
  }
  if (many->count) qsort(many->at, many->count, sizeof(shelved), compare_from);
  return many;
}

static uint64_t lowest_gap(shelf *on, const life *wanted, uint32_t slack) {
  uint64_t first = wanted->first > slack ? wanted->first - slack : 0;
  uint64_t last = (uint64_t)wanted->last + slack;
  uint32_t span = span_of(on, first), end = span_of(on, last) + 1;
  if (end - span <= FEW_SPANS) {
    return gap_beside(&on->span[span], end - span, wanted->bytes, first, last);
  }
  return gap_beside(gather_spans(on, span, end), 1, wanted->bytes, first, last);
}

static void insert_into(row *into, const shelved *added, ibx_arena *arena) {
  size_t low = 0, high = into->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (into->at[middle].from <= added->from)
      low = middle + 1;
    else
      high = middle;
  }
  if (into->count == into->room) {
    into->room = into->room ? into->room * 2 : 16;
    shelved *moved = IBX_ARENA_ARRAY(arena, into->room, shelved);
    if (into->count) memcpy(moved, into->at, into->count * sizeof(shelved));
    into->at = moved;
  }
  memmove(&into->at[low + 1], &into->at[low],
          (into->count - low) * sizeof(shelved));
  into->at[low] = *added;
  into->count++;
}

static void insert(shelf *on, const life *added, uint64_t offset) {
  shelved placed = {.from = offset,
                    .to = offset + added->bytes,
                    .first = added->first,
                    .last = added->last};
  uint32_t last = span_of(on, placed.last);
  for (uint32_t s = span_of(on, placed.first); s <= last; s++)
    insert_into(&on->span[s], &placed, on->arena);
}

// A bound of what `pack_below` comes to: the most bytes that live at once when
// each life is stretched by half of the slack at both ends.
static uint64_t live_at_once(const placement *p, life *const *order,
                             size_t count, uint32_t slack) {
  size_t ops = p->func->op_count;
  uint64_t live = 0, most = 0;
  uint64_t *change = IBX_ARENA_ARRAY(p->scratch, ops + 1, uint64_t);
  for (size_t i = 0; i < count; i++) {
    uint32_t first = order[i]->first, half = slack / 2;
    size_t end = (size_t)order[i]->last + half + 1;
    change[first > half ? first - half : 0] += order[i]->bytes;
    change[end < ops ? end : ops] -= order[i]->bytes; // wraps, as sums do
  }
  for (size_t i = 0; i < ops; i++) {
    live += change[i];
    if (live > most) most = live;
  }
  return most;
}

// Returns the bytes of a partition that are in use at most; more than `enough`
// of them are not counted to the end.
static uint64_t pack_below(placement *p, life **order, size_t count,
                           uint32_t slack, uint64_t enough) {
  shelf *on = make_shelf(p);
  uint64_t peak = 0;
  for (size_t i = 0; i < count && peak <= enough; i++) {
    uint64_t at = lowest_gap(on, order[i], slack);
    place_of(p, order[i]->buffer)->offset = at;
    insert(on, order[i], at);
    if (at + order[i]->bytes > peak) peak = at + order[i]->bytes;
  }
  return peak;
}

// ---- The ring

// Places streamed constants in order of first use in [base, end). False when one
// of them finds no room that is free by then.
static bool fill_ring(placement *p, life **order, size_t count, uint64_t base,
                      uint64_t end) {
  uint64_t head = base;
  size_t oldest = 0; // constants before it are dead
  for (size_t i = 0; i < count; i++) {
    uint64_t bytes = order[i]->bytes;
    if (bytes > end - base) return false;
    while (oldest < i && order[oldest]->last < order[i]->first)
      oldest++;
    bool moved = true, wrapped = false;
    while (moved) {
      moved = false;
      if (head + bytes > end) {
        if (wrapped) return false;
        head = base;
        wrapped = true;
      }
      for (size_t k = oldest; k < i; k++) {
        if (order[k]->last < order[i]->first) continue;
        uint64_t from = place_of(p, order[k]->buffer)->offset;
        if (from >= head + bytes || from + order[k]->bytes <= head) continue;
        head = from + order[k]->bytes;
        moved = true;
      }
    }
    place_of(p, order[i]->buffer)->offset = head;
    head += bytes;
  }
  return true;
}

// The source of the operation beside which most bytes are in use: what to blame.
static const ibx_node_decl *fullest(const placement *p, const life *all,
                                    const ibx_tables *tables) {
  static const ibx_node_decl none = {.name = "", .op = ""};
  const ibx_tile_func *func = p->func;
  int64_t *change = IBX_ARENA_ARRAY(p->scratch, func->op_count + 1, int64_t);
  for (size_t b = 0; b < func->buffer_count; b++) {
    if (func->buffers[b].place.space != IBX_SPACE_SBUF) continue;
    if (all[b].first == UINT32_MAX) continue;
    change[all[b].first] += (int64_t)all[b].bytes;
    change[all[b].last + 1] -= (int64_t)all[b].bytes;
  }
  int64_t live = 0, most = -1;
  size_t at = 0;
  for (size_t i = 0; i < func->op_count; i++) {
    live += change[i];
    if (live <= most) continue;
    most = live;
    at = i;
  }
  if (most < 0 || func->ops[at]->source >= tables->source_count) return &none;
  return &tables->sources[func->ops[at]->source];
}

// How much is wanted of a partition when it is too little.
typedef struct shortage {
  uint64_t peak, constant;
} shortage;

static bool place_sbuf(placement *p, life *all, shortage *out) {
  static const uint32_t SLACKS[] = {1024, 256, 64, 16, 4, 0};
  size_t room = p->func->buffer_count;
  life **stay = IBX_ARENA_ARRAY(p->scratch, room, life *);
  life **stream = IBX_ARENA_ARRAY(p->scratch, room, life *);
  size_t stay_count = 0, stream_count = 0;
  uint64_t stream_bytes = 0, largest = 0;
  for (size_t b = 0; b < room; b++) {
    if (p->func->buffers[b].place.space != IBX_SPACE_SBUF) continue;
    if (all[b].first == UINT32_MAX) continue;
    all[b].bytes = (all[b].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (all[b].streamed) {
      stream[stream_count++] = &all[b];
      stream_bytes += all[b].bytes;
      if (all[b].bytes > largest) largest = all[b].bytes;
    } else {
      stay[stay_count++] = &all[b];
    }
  }
  qsort(stay, stay_count, sizeof(life *), compare_size);
  uint64_t total = p->machine->sbuf_bytes / ALIGNMENT * ALIGNMENT, peak = 0;
  for (size_t s = 0; s < IBX_COUNT_OF(SLACKS); s++) {
    bool last = s + 1 == IBX_COUNT_OF(SLACKS);
    // Reuse that is put off costs ring; leave it half of SBUF if it wants it.
    uint64_t least = last ? 0 : total / 2;
    uint64_t enough = total - (least < stream_bytes ? least : stream_bytes);
    if (!last && live_at_once(p, stay, stay_count, SLACKS[s]) > enough)
      continue;
    peak =
        pack_below(p, stay, stay_count, SLACKS[s], last ? UINT64_MAX : enough);
    if (peak > enough) continue;
    if (fill_ring(p, stream, stream_count, peak, total)) return true;
  }
  *out = (shortage){.peak = peak, .constant = largest};
  return false;
}

static ibx_status fail_sbuf(const placement *p, const life *all,
                            const shortage *found, ibx_pass_ctx *ctx) {
  const ibx_node_decl *node = fullest(p, all, ctx->tables);
  return ibx_diag_fail(
      ctx->diag, IBX_DIAG_TENSORS_TOO_LARGE,
      (ibx_diag_at){.node = node->name, .op = node->op}, ctx->err,
      "use a smaller batch, image or --auto-cast all",
      "tensors that live together need %llu bytes of each SBUF partition "
      "beside constants of %llu, %s has %llu",
      (unsigned long long)found->peak, (unsigned long long)found->constant,
      p->machine->name,
      (unsigned long long)(p->machine->sbuf_bytes / ALIGNMENT * ALIGNMENT));
}

// ---- HBM: one after the other

static ibx_status place_hbm(placement *p, ibx_pass_ctx *ctx) {
  const ibx_buffer_decl *largest = NULL;
  uint64_t at = 0, limit = (uint64_t)p->machine->hbm_mib << 20;
  for (size_t b = 0; b < p->func->buffer_count; b++) {
    ibx_buffer_decl *buffer = &p->func->buffers[b];
    if (buffer->place.space != IBX_SPACE_HBM ||
        buffer->kind == IBX_BUFFER_WEIGHT) {
      continue;
    }
    buffer->place.offset = at;
    if (!largest || buffer->place.bytes > largest->place.bytes)
      largest = buffer;
    at += (buffer->place.bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
  if (at <= limit) return IBX_OK;
  return ibx_diag_fail(
      ctx->diag, IBX_DIAG_TENSORS_TOO_LARGE,
      (ibx_diag_at){.node = largest->name, .op = "tensor"}, ctx->err,
      "use a smaller batch, or smaller inputs",
      "inputs, outputs and scratch, of which this is the largest, need %llu "
      "bytes of HBM, one core of %s has %llu",
      (unsigned long long)at, p->machine->name, (unsigned long long)limit);
}

bool ibx_place_fits(const ibx_machine *machine, ibx_tile_func *func,
                    ibx_arena *scratch) {
  placement p = {.machine = machine, .func = func, .scratch = scratch};
  shortage found;
  bool fits = place_sbuf(&p, collect(&p), &found);
  uint64_t *offsets =
      IBX_ARENA_ARRAY(func->arena, func->buffer_count, uint64_t);
  for (size_t b = 0; b < func->buffer_count; b++) {
    if (func->buffers[b].place.space != IBX_SPACE_SBUF) continue;
    offsets[b] = func->buffers[b].place.offset;
    func->buffers[b].place.offset = 0;
  }
  if (fits) func->offsets = offsets;
  return fits;
}

// What lowering found when it asked.
static void take_offsets(ibx_tile_func *func) {
  for (size_t b = 0; b < func->buffer_count; b++) {
    if (func->buffers[b].place.space == IBX_SPACE_SBUF)
      func->buffers[b].place.offset = func->offsets[b];
  }
}

ibx_status ibx_pass_place(ibx_pass_ctx *ctx, ibx_tile_func *func) {
  placement p = {
      .machine = ctx->machine, .func = func, .scratch = ctx->scratch};
  life *all = collect(&p);
  IBX_TRY(place_banks(&p, all, ctx->err));
  shortage found;
  if (func->offsets) {
    take_offsets(func);
  } else if (!place_sbuf(&p, all, &found)) {
    return fail_sbuf(&p, all, &found, ctx);
  }
  return place_hbm(&p, ctx);
}
