// SPDX-License-Identifier: Apache-2.0
//
// Memory over time. In: the events of a run. Out: levels of SBUF and PSUM,
// changing where a buffer is used for the first or the last time, zero at the
// end.
//
// Buffers may share addresses, also while both are live, so bytes are those
// that at least one live buffer covers, never a sum over buffers:
//
//   offset   0    64   128   192
//   buffer a |=========|               live: a, b      192 bytes
//   buffer b      |==========|         live: b         128 bytes
//
// A segment tree over the offsets at which buffers begin or end keeps that
// number while buffers come and go.

#include "driver/trace_parts.h"

#include <stdlib.h>
#include <string.h>

static ibx_status no_memory(ibx_error *err) {
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the lives of buffers");
}

// --- lives ---------------------------------------------------------------------

ibx_status ibx_trace_occupancy_init(const ibx_program_data *program,
                                    const ibx_entry *entry,
                                    ibx_trace_occupancy *occupancy,
                                    ibx_error *err) {
  *occupancy = (ibx_trace_occupancy){.program = program, .entry = entry};
  occupancy->lives = calloc(entry->buffer_count + 1, sizeof(ibx_trace_life));
  return occupancy->lives ? IBX_OK : no_memory(err);
}

void ibx_trace_occupancy_fini(ibx_trace_occupancy *occupancy) {
  free(occupancy->lives);
  free(occupancy->levels);
  *occupancy = (ibx_trace_occupancy){0};
}

// The pieces of a DMA touch memory, not the instruction that issues them.
void ibx_trace_occupancy_touch(void *user, const ibx_sim_event *event) {
  ibx_trace_occupancy *occupancy = user;
  const ibx_insn *insn =
      &occupancy->entry->streams[event->issuer].insns[event->index];
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  bool is_dma = info && info->kind == IBX_KIND_DMA;
  if (is_dma != (event->agent >= IBX_ENGINE_COUNT)) return;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    uint32_t buffer = insn->operand[i].buffer;
    if (buffer >= occupancy->entry->buffer_count) continue;
    ibx_trace_life *life = &occupancy->lives[buffer];
    if (life->last_ps == 0) life->first_ps = event->start_ps;
    if (event->done_ps > life->last_ps) life->last_ps = event->done_ps;
  }
}

// --- covered bytes ---------------------------------------------------------------

/// Node 1 is the root, node k has the children 2k and 2k + 1. A leaf is the
/// bytes between two neighbouring offsets.
typedef struct cover {
  uint64_t *offsets; ///< sorted, different
  size_t count;      ///< of offsets
  uint64_t *bytes;   ///< covered below each node
  uint32_t *users;   ///< live buffers that cover all of a node
} cover;

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

static bool cover_init(cover *c, const ibx_entry *entry) {
  c->offsets = calloc(2 * entry->buffer_count + 1, sizeof(*c->offsets));
  if (!c->offsets) return false;
  size_t count = 0;
  for (size_t i = 0; i < entry->buffer_count; i++) {
    const ibx_buffer_place *place = &entry->buffers[i].place;
    if (place->space != IBX_SPACE_SBUF) continue;
    c->offsets[count++] = place->offset;
    c->offsets[count++] = place->offset + place->bytes;
  }
  qsort(c->offsets, count, sizeof(*c->offsets), by_value);
  for (size_t i = 0; i < count; i++) {
    if (i > 0 && c->offsets[i] == c->offsets[i - 1]) continue;
    c->offsets[c->count++] = c->offsets[i];
  }
  // Halving n leaves numbers the nodes below 4n.
  c->bytes = calloc(4 * c->count + 4, sizeof(*c->bytes));
  c->users = calloc(4 * c->count + 4, sizeof(*c->users));
  return c->bytes && c->users;
}

static void cover_fini(cover *c) {
  free(c->offsets);
  free(c->bytes);
  free(c->users);
}

/// Leaves [first, end) below one node.
typedef struct cover_span {
  size_t node, first, end;
} cover_span;

// A buffer comes (`change` 1) or goes (-1).
static void cover_change(cover *c, cover_span at, uint64_t low, uint64_t high,
                         int change) {
  uint64_t from = c->offsets[at.first], to = c->offsets[at.end];
  if (high <= from || to <= low) return;
  if (low <= from && to <= high) {
    c->users[at.node] += (uint32_t)change;
  } else {
    size_t middle = at.first + (at.end - at.first) / 2;
    cover_change(c, (cover_span){2 * at.node, at.first, middle}, low, high,
                 change);
    cover_change(c, (cover_span){2 * at.node + 1, middle, at.end}, low, high,
                 change);
  }
  if (c->users[at.node] > 0) {
    c->bytes[at.node] = to - from;
  } else if (at.end - at.first == 1) {
    c->bytes[at.node] = 0;
  } else {
    c->bytes[at.node] = c->bytes[2 * at.node] + c->bytes[2 * at.node + 1];
  }
}

// --- levels ------------------------------------------------------------------------

typedef struct change {
  uint64_t time_ps;
  uint32_t buffer;
  int sign; ///< 1 comes, -1 goes
} change;

static int by_time(const void *a, const void *b) {
  const change *x = a, *y = b;
  if (x->time_ps != y->time_ps) return x->time_ps < y->time_ps ? -1 : 1;
  return (x->sign > y->sign) - (x->sign < y->sign);
}

static size_t collect(const ibx_trace_occupancy *occupancy, uint64_t total_ps,
                      change *changes) {
  size_t count = 0;
  for (size_t i = 0; i < occupancy->entry->buffer_count; i++) {
    const ibx_trace_life *life = &occupancy->lives[i];
    // What only reads a register may end after the run.
    uint64_t last_ps = life->last_ps < total_ps ? life->last_ps : total_ps;
    if (occupancy->entry->buffers[i].place.space == IBX_SPACE_HBM) continue;
    if (life->first_ps >= last_ps) continue;
    changes[count++] = (change){life->first_ps, (uint32_t)i, 1};
    changes[count++] = (change){last_ps, (uint32_t)i, -1};
  }
  qsort(changes, count, sizeof(*changes), by_time);
  return count;
}

typedef struct gauge {
  cover sbuf;
  int32_t psum_users[IBX_PSUM_BANKS];
} gauge;

static void gauge_change(gauge *g, const ibx_trace_occupancy *occupancy,
                         const change *what) {
  const ibx_buffer_place *place =
      &occupancy->entry->buffers[what->buffer].place;
  uint64_t end = place->offset + place->bytes;
  if (place->bytes == 0) return;
  if (place->space == IBX_SPACE_SBUF) {
    cover_change(&g->sbuf, (cover_span){1, 0, g->sbuf.count - 1}, place->offset,
                 end, what->sign);
    return;
  }
  uint64_t bank_bytes = occupancy->program->machine->psum_bank_bytes;
  for (uint64_t b = place->offset / bank_bytes; b < IBX_PSUM_BANKS; b++) {
    if (b * bank_bytes < end) g->psum_users[b] += what->sign;
  }
}

static ibx_trace_level gauge_read(const gauge *g, uint64_t time_ps) {
  ibx_trace_level level = {.time_ps = time_ps};
  if (g->sbuf.count > 1) level.sbuf_bytes = g->sbuf.bytes[1];
  for (size_t b = 0; b < IBX_PSUM_BANKS; b++) {
    if (g->psum_users[b] > 0) level.psum_banks++;
  }
  return level;
}

ibx_status ibx_trace_occupancy_finish(ibx_trace_occupancy *occupancy,
                                      uint64_t total_ps, ibx_error *err) {
  size_t room = 2 * occupancy->entry->buffer_count + 1;
  gauge g = {0};
  change *changes = calloc(room, sizeof(*changes));
  occupancy->levels = calloc(room, sizeof(*occupancy->levels));
  if (changes && occupancy->levels && cover_init(&g.sbuf, occupancy->entry)) {
    size_t count = collect(occupancy, total_ps, changes);
    for (size_t i = 0; i < count; i++) {
      gauge_change(&g, occupancy, &changes[i]);
      // Changes of one moment make one level.
      uint64_t now_ps = changes[i].time_ps;
      if (i + 1 < count && changes[i + 1].time_ps == now_ps) continue;
      occupancy->levels[occupancy->level_count++] = gauge_read(&g, now_ps);
    }
  } else {
    room = 0;
  }
  cover_fini(&g.sbuf);
  free(changes);
  return room != 0 ? IBX_OK : no_memory(err);
}
