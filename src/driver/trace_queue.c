// SPDX-License-Identifier: Apache-2.0
//
// What a trace remembers between events: signals on their way, changes of a
// counter, lanes of a track. All of it is as large as what is in flight, not as
// the run.

#include "driver/trace_parts.h"

#include <stdlib.h>
#include <string.h>

// --- queue ---------------------------------------------------------------------

static bool make_room(ibx_trace_queue *queue) {
  size_t used = queue->len - queue->head;
  if (queue->head > 0 && used <= queue->room / 2) {
    memmove(queue->items, queue->items + queue->head,
            used * sizeof(*queue->items));
    queue->head = 0;
    queue->len = used;
    return true;
  }
  size_t room = queue->room == 0 ? 16 : 2 * queue->room;
  ibx_trace_item *items = realloc(queue->items, room * sizeof(*items));
  if (!items) return false;
  queue->items = items;
  queue->room = room;
  return true;
}

bool ibx_trace_queue_add(ibx_trace_queue *queue, const ibx_trace_item *item) {
  if (queue->len == queue->room && !make_room(queue)) return false;
  size_t at = queue->len++;
  while (at > queue->head && queue->items[at - 1].time_ps > item->time_ps) {
    queue->items[at] = queue->items[at - 1];
    at--;
  }
  queue->items[at] = *item;
  return true;
}

// Takes at most `count` of the first item; returns what it took.
static int64_t take_first(ibx_trace_queue *queue, int64_t count,
                          ibx_trace_item *out) {
  ibx_trace_item *item = &queue->items[queue->head];
  int64_t taken = count < item->count ? count : item->count;
  *out = *item;
  out->count = taken;
  item->count -= taken;
  if (item->count == 0) queue->head++;
  return taken;
}

static int by_source(const void *a, const void *b) {
  const ibx_trace_item *x = a, *y = b;
  return (x->from.id > y->from.id) - (x->from.id < y->from.id);
}

// Pieces of one DMA become one item, which ends with the last of them.
static void merge(ibx_trace_queue *taken) {
  if (taken->len == 0) return;
  qsort(taken->items, taken->len, sizeof(*taken->items), by_source);
  size_t last = 0;
  for (size_t i = 1; i < taken->len; i++) {
    ibx_trace_item *to = &taken->items[last];
    const ibx_trace_item *item = &taken->items[i];
    if (to->from.id != item->from.id) {
      taken->items[++last] = *item;
      continue;
    }
    to->count += item->count;
    if (item->from.end_ps > to->from.end_ps)
      to->from.end_ps = item->from.end_ps;
  }
  taken->len = last + 1;
}

bool ibx_trace_queue_take(ibx_trace_queue *queue, int64_t count,
                          ibx_trace_queue *taken) {
  taken->head = taken->len = 0;
  while (count > 0 && queue->head < queue->len) {
    ibx_trace_item item;
    count -= take_first(queue, count, &item);
    if (!ibx_trace_queue_add(taken, &item)) return false;
  }
  merge(taken);
  return true;
}

void ibx_trace_queue_fini(ibx_trace_queue *queue) {
  free(queue->items);
  *queue = (ibx_trace_queue){0};
}

// --- lanes ---------------------------------------------------------------------

bool ibx_trace_lanes_take(ibx_trace_lanes *lanes, uint64_t start_ps,
                          size_t *out_lane, bool *out_is_new) {
  size_t lane = 0;
  while (lane < lanes->count && lanes->end_ps[lane] > start_ps) {
    lane++;
  }
  if (lane == lanes->room) {
    size_t room = lanes->room == 0 ? 4 : 2 * lanes->room;
    uint64_t *end_ps = realloc(lanes->end_ps, room * sizeof(*end_ps));
    if (!end_ps) return false;
    lanes->end_ps = end_ps;
    lanes->room = room;
  }
  *out_is_new = lane == lanes->count;
  if (*out_is_new) lanes->count++;
  lanes->end_ps[lane] = UINT64_MAX;
  *out_lane = lane;
  return true;
}

void ibx_trace_lanes_end(ibx_trace_lanes *lanes, size_t lane, uint64_t end_ps) {
  lanes->end_ps[lane] = end_ps;
}
