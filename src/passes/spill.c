// SPDX-License-Identifier: Apache-2.0
//
// Spilling: comes in a lowered function in which everything stays in SBUF; goes
// out a set of values that are better kept in HBM. Lowering is then done again:
// a marked value is stored when it is made and loaded by each of its users.
// Values that a user reaches far away and that are large go first, since each
// costs its bytes once to store and once to load. All places that are too full
// are looked at, the fullest first.

#include "passes/spill.h"

#include <stdlib.h>
#include <string.h>

typedef struct span {
  uint32_t first, last; // operations
  uint32_t value;       // the first one that lies in the buffer
  uint64_t bytes;
  bool streamed;
} span;

typedef struct stretch {
  uint32_t from, to; // operations
} stretch;

typedef struct survey {
  const ibx_lower *lower;
  ibx_arena *scratch;
  span *spans; // of the buffers, then what loads of marked values will be
  size_t count, room;
  bool *is_done;   // operations at which nothing more can be spared
  int64_t *change; // of the bytes that live, at each operation
  span **order;    // of what could leave
} survey;

// Adds the bytes of a span to what lives, or takes them away.
static void count_bytes(survey *s, const span *life, int sign) {
  if (life->first == UINT32_MAX || life->streamed) return;
  s->change[life->first] += sign * (int64_t)life->bytes;
  s->change[life->last + 1] -= sign * (int64_t)life->bytes;
}

static void add_span(survey *s, span added) {
  if (s->count == s->room) {
    s->room = s->room * 2 + 64;
    span *moved = IBX_ARENA_ARRAY(s->scratch, s->room, span);
    if (s->count) memcpy(moved, s->spans, s->count * sizeof(*moved));
    s->spans = moved;
  }
  s->spans[s->count++] = added;
  count_bytes(s, &added, 1);
}

// Of the buffers, in their order.
static void add_buffers(survey *s) {
  const ibx_lower *lower = s->lower;
  const ibx_tile_func *func = lower->func;
  for (size_t b = 0; b < func->buffer_count; b++) {
    const ibx_tile_life *life = &func->lives[b];
    const ibx_buffer_place *place = &func->buffers[b].place;
    add_span(s,
             (span){.first = life->first,
                    .last = life->last,
                    .value = IBX_NO_VALUE,
                    .bytes = place->space == IBX_SPACE_SBUF ? place->bytes : 0,
                    .streamed = life->streamed});
  }
  for (uint32_t v = 0; v < lower->graph->value_count; v++) {
    if (!lower->views[v]) continue;
    span *home = &s->spans[lower->views[v]->buffer];
    if (home->value == IBX_NO_VALUE) home->value = v;
  }
}

// ---- What a marked value still takes

static uint32_t end_of(const ibx_lower *lower, size_t start) {
  return start + 1 < lower->start_count ? lower->starts[start + 1].op
                                        : (uint32_t)lower->func->op_count;
}

// The bytes of a partition that the node's operands in `buffer` take when they
// are loaded for it.
static uint64_t loaded_bytes(const ibx_lower *lower, const ibx_node *node,
                             uint32_t buffer) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < node->operand_count; i++) {
    uint32_t value = node->operand[i];
    const ibx_kept_view *kept = lower->views[value];
    if (!kept || kept->buffer != buffer) continue;
    bool is_again = false;
    for (uint32_t k = 0; k < i; k++)
      is_again = is_again || node->operand[k] == value;
    if (is_again) continue;
    ibx_view view;
    ibx_view_take(kept, &view);
    bytes += ibx_lower_temp_bytes(&view);
  }
  return bytes;
}

// What only names a place, or reads parts in HBM, loads nothing.
static bool loads_nothing(const ibx_node *node) {
  return ibx_lower_is_view(node) || ibx_lower_is_parts(node);
}

static void add_load(survey *s, size_t start, uint32_t buffer) {
  const ibx_graph *graph = s->lower->graph;
  uint32_t last = s->lower->starts[start].node;
  if (last == IBX_NO_VALUE || loads_nothing(&graph->nodes[last])) return;
  int64_t group = graph->nodes[last].decided.group;
  uint64_t bytes = 0;
  for (uint32_t n = group > 0 ? (uint32_t)(group - 1) : last; n <= last; n++) {
    if (n == last || graph->nodes[n].decided.group == group)
      bytes += loaded_bytes(s->lower, &graph->nodes[n], buffer);
  }
  span load = {.first = s->lower->starts[start].op,
               .last = end_of(s->lower, start) - 1,
               .value = IBX_NO_VALUE,
               .bytes = bytes};
  if (bytes && load.first <= load.last) add_span(s, load);
}

// A value that is marked lives while it is made, and a copy of what is read of
// it in each group that does.
static void leave(survey *s, uint32_t buffer) {
  const ibx_lower *lower = s->lower;
  const span life = s->spans[buffer];
  bool is_made = false;
  for (size_t g = 0; g < lower->start_count; g++) {
    uint32_t end = end_of(lower, g);
    if (end <= life.first || lower->starts[g].op > life.last) continue;
    if (is_made) {
      add_load(s, g, buffer);
      continue;
    }
    is_made = true;
    count_bytes(s, &life, -1);
    s->spans[buffer].last = end - 1;
    count_bytes(s, &s->spans[buffer], 1);
  }
  s->spans[buffer].value = IBX_NO_VALUE;
}

// Marked by others since the function was lowered.
static void leave_marked(survey *s, const bool *spill) {
  size_t buffers = s->lower->func->buffer_count;
  for (size_t b = 0; b < buffers; b++) {
    uint32_t value = s->spans[b].value;
    bool is_new =
        value != IBX_NO_VALUE && spill[value] && !s->lower->spill[value];
    if (is_new) leave(s, (uint32_t)b);
  }
}

// ---- The fullest place

// The fullest operation, of those that are left, and the bytes that live there.
static uint32_t fullest(const survey *s, uint64_t *out_bytes) {
  size_t count = s->lower->func->op_count;
  int64_t live = 0, most = 0;
  uint32_t at = 0;
  for (uint32_t i = 0; i < count; i++) {
    live += s->change[i];
    if (live <= most || s->is_done[i]) continue;
    most = live;
    at = i;
  }
  *out_bytes = (uint64_t)most;
  return at;
}

static int compare_bytes(const void *a, const void *b) {
  const span *x = *(span *const *)a, *y = *(span *const *)b;
  if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
  return x->value < y->value ? -1 : x->value > y->value;
}

// The group of operations around `at`.
static stretch group_around(const ibx_lower *lower, uint32_t at) {
  stretch group = {0, (uint32_t)lower->func->op_count};
  for (size_t g = 0; g < lower->start_count; g++) {
    uint32_t start = lower->starts[g].op;
    if (start <= at) group.from = start;
    if (start > at && start < group.to) group.to = start;
  }
  return group;
}

static bool uses(const ibx_lower *lower, stretch group, uint32_t buffer) {
  for (uint32_t i = group.from; i < group.to; i++) {
    for (size_t s = 0; s < IBX_OPERANDS; s++) {
      if (lower->func->briefs[i].buffer[s] == buffer) return true;
    }
  }
  return false;
}

// Marks values that live across operation `at` and are not used there until
// what is left fits.
static size_t mark_across(survey *s, uint32_t at, uint64_t live, uint64_t limit,
                          bool *spill) {
  span **order = s->order;
  stretch group = group_around(s->lower, at);
  size_t count = 0, marked = 0;
  for (size_t b = 0; b < s->lower->func->buffer_count; b++) {
    span *life = &s->spans[b];
    bool across =
        life->first < at && life->last > at && life->first != UINT32_MAX;
    if (!across || life->streamed || life->value == IBX_NO_VALUE) continue;
    if (spill[life->value] || uses(s->lower, group, (uint32_t)b)) continue;
    order[count++] = life;
  }
  qsort(order, count, sizeof(*order), compare_bytes);
  for (; marked < count && live > limit; marked++) {
    spill[order[marked]->value] = true;
    live -= order[marked]->bytes;
  }
  leave_marked(s, spill);
  return marked;
}

// Peaks that are lowered in one attempt; an attempt costs more than this.
enum { PEAKS = 64 };

size_t ibx_spill_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, bool *spill) {
  size_t ops = lower->func->op_count, buffers = lower->func->buffer_count;
  survey s = {.lower = lower,
              .scratch = scratch,
              .spans = IBX_ARENA_ARRAY(scratch, buffers, span),
              .room = buffers,
              .is_done = IBX_ARENA_ARRAY(scratch, ops + 1, bool),
              .change = IBX_ARENA_ARRAY(scratch, ops + 2, int64_t),
              .order = IBX_ARENA_ARRAY(scratch, buffers, span *)};
  uint64_t limit = (uint64_t)lower->machine->sbuf_bytes * percent / 100;
  size_t marked = 0;
  add_buffers(&s);
  leave_marked(&s, spill);
  for (int peak = 0; peak < PEAKS; peak++) {
    uint64_t live;
    uint32_t at = fullest(&s, &live);
    if (live <= limit) break;
    size_t more = mark_across(&s, at, live, limit, spill);
    marked += more;
    if (more) continue;
    // Nothing can be spared there; others may be too full as well.
    stretch group = group_around(lower, at);
    memset(&s.is_done[group.from], true, group.to - group.from);
  }
  return marked;
}
