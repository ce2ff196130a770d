// SPDX-License-Identifier: Apache-2.0
//
// Events in order of their start. In: events, each not before the last flush.
// A binary heap holds those that lie in the future (pieces that wait for their
// DMA engine); equal starts keep the order in which they were added.

#include "timing.h"

#include <stdlib.h>

typedef struct ibx_queued_event {
  ibx_sim_event event;
  uint64_t serial;
} ibx_queued_event;

static bool is_before(const ibx_queued_event *a, const ibx_queued_event *b) {
  if (a->event.start_ps != b->event.start_ps) {
    return a->event.start_ps < b->event.start_ps;
  }
  return a->serial < b->serial;
}

static void swap(ibx_queued_event *a, ibx_queued_event *b) {
  ibx_queued_event old = *a;
  *a = *b;
  *b = old;
}

bool ibx_event_queue_add(ibx_event_queue *queue, const ibx_sim_event *event) {
  if (!queue->deliver) return true;
  if (queue->count == queue->room) {
    size_t room = queue->room == 0 ? 64 : 2 * queue->room;
    ibx_queued_event *heap = realloc(queue->heap, room * sizeof(*heap));
    if (!heap) return false;
    queue->heap = heap;
    queue->room = room;
  }
  size_t at = queue->count++;
  queue->heap[at] =
      (ibx_queued_event){.event = *event, .serial = queue->serial++};
  while (at > 0 && is_before(&queue->heap[at], &queue->heap[(at - 1) / 2])) {
    swap(&queue->heap[at], &queue->heap[(at - 1) / 2]);
    at = (at - 1) / 2;
  }
  return true;
}

static void sink_root(ibx_event_queue *queue) {
  size_t at = 0;
  for (;;) {
    size_t least = at;
    for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
      if (child < queue->count &&
          is_before(&queue->heap[child], &queue->heap[least])) {
        least = child;
      }
    }
    if (least == at) return;
    swap(&queue->heap[at], &queue->heap[least]);
    at = least;
  }
}

void ibx_event_queue_flush(ibx_event_queue *queue, uint64_t now_ps) {
  while (queue->count > 0 && queue->heap[0].event.start_ps <= now_ps) {
    ibx_sim_event event = queue->heap[0].event;
    queue->heap[0] = queue->heap[--queue->count];
    sink_root(queue);
    queue->deliver(queue->user, &event);
  }
}

void ibx_event_queue_fini(ibx_event_queue *queue) { free(queue->heap); }
