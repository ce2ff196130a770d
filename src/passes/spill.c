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

static span *spans_of(const ibx_lower *lower, const bool *spill,
                      ibx_arena *scratch) {
  const ibx_tile_func *func = lower->func;
  span *spans = IBX_ARENA_ARRAY(scratch, func->buffer_count, span);
  for (size_t b = 0; b < func->buffer_count; b++) {
    spans[b] = (span){.first = UINT32_MAX, .value = IBX_NO_VALUE};
    if (func->buffers[b].place.space == IBX_SPACE_SBUF) {
      spans[b].bytes = func->buffers[b].place.bytes;
    }
  }
  for (uint32_t i = 0; i < func->op_count; i++) {
    const ibx_insn *insn = &func->ops[i].insn;
    const ibx_insn_info *info = ibx_insn_get(insn->opcode);
    for (size_t s = 0; s < IBX_OPERANDS; s++) {
      uint16_t b = insn->operand[s].buffer;
      if (info->slot[s] == IBX_SLOT_NONE || b == IBX_NO_BUFFER) continue;
      if (spans[b].first == UINT32_MAX) {
        spans[b].first = i;
        spans[b].streamed = s == 0 && ibx_tile_loads_constant(func, insn);
      }
      spans[b].last = i;
    }
  }
  for (uint32_t v = 0; v < lower->graph->value_count; v++) {
    if (!lower->lowered[v]) continue;
    span *home = &spans[lower->views[v].buffer];
    if (spill[v] && !lower->spill[v]) home->first = UINT32_MAX;
    if (home->value == IBX_NO_VALUE) home->value = v;
  }
  return spans;
}

typedef struct survey {
  const ibx_lower *lower;
  span *spans;
  bool *is_done;   // operations at which nothing more can be spared
  int64_t *change; // of the bytes that live, at each operation
  span **order;    // of what could leave
} survey;

// The fullest operation, of those that are left, and the bytes that live there.
static uint32_t fullest(survey *s, uint64_t *out_bytes) {
  const span *spans = s->spans;
  size_t count = s->lower->func->op_count;
  memset(s->change, 0, (count + 2) * sizeof(*s->change));
  for (size_t b = 0; b < s->lower->func->buffer_count; b++) {
    if (spans[b].first == UINT32_MAX || spans[b].streamed) continue;
    s->change[spans[b].first] += (int64_t)spans[b].bytes;
    s->change[spans[b].last + 1] -= (int64_t)spans[b].bytes;
  }
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

typedef struct stretch {
  uint32_t from, to; // operations
} stretch;

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

static bool uses(const ibx_lower *lower, stretch group, uint16_t buffer) {
  for (uint32_t i = group.from; i < group.to; i++) {
    const ibx_insn *insn = &lower->func->ops[i].insn;
    for (size_t s = 0; s < IBX_OPERANDS; s++) {
      if (insn->operand[s].buffer == buffer) return true;
    }
  }
  return false;
}

// Marks values that live across operation `at` and are not used there until
// what is left fits; their spans are empty from now on.
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
    if (spill[life->value] || uses(s->lower, group, (uint16_t)b)) continue;
    order[count++] = life;
  }
  qsort(order, count, sizeof(*order), compare_bytes);
  for (; marked < count && live > limit; marked++) {
    spill[order[marked]->value] = true;
    live -= order[marked]->bytes;
    order[marked]->first = UINT32_MAX;
  }
  return marked;
}

// Peaks that are lowered in one attempt; an attempt costs more than this.
enum { PEAKS = 64 };

size_t ibx_spill_choose(const ibx_lower *lower, unsigned percent,
                        ibx_arena *scratch, bool *spill) {
  size_t ops = lower->func->op_count, buffers = lower->func->buffer_count;
  survey s = {.lower = lower,
              .spans = spans_of(lower, spill, scratch),
              .is_done = IBX_ARENA_ARRAY(scratch, ops + 1, bool),
              .change = IBX_ARENA_ARRAY(scratch, ops + 2, int64_t),
              .order = IBX_ARENA_ARRAY(scratch, buffers, span *)};
  uint64_t limit = (uint64_t)lower->machine->sbuf_bytes * percent / 100;
  size_t marked = 0;
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
