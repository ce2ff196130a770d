// SPDX-License-Identifier: Apache-2.0
//
// The DMA engines in time. In: DMAs in the order in which they arrive, each in
// pieces with the time that they occupy an engine. Out: start, end and
// completion of each piece.
//
// An engine serves its pieces in the order of arrival. A DMA needs
// dma_startup_ps from its arrival to its first completion, but the engine
// works on other pieces meanwhile: a piece completes at
//
//   max(arrival + dma_startup_ps, end on its engine)
//
// (hardware.md 4.2, "model that fits"). Instruction fetch shares the engines:
// a fetch takes the next engine in turn for its bytes, ahead of the pieces
// that wait there, and so delays them; itself it takes the start-up only.

#include "timing.h"

#include <stdlib.h>

bool ibx_timed_dma_init(ibx_timed_dma *dma, const ibx_machine *machine) {
  size_t queues = machine->dma_queues;
  *dma = (ibx_timed_dma){
      .machine = machine,
      .free_ps = calloc(machine->dma_engines, sizeof(uint64_t)),
      .complete_ps = calloc(queues * machine->dma_in_flight, sizeof(uint64_t)),
      .complete_next = calloc(queues, sizeof(size_t))};
  return dma->free_ps && dma->complete_ps && dma->complete_next;
}

void ibx_timed_dma_fini(ibx_timed_dma *dma) {
  free(dma->free_ps);
  free(dma->complete_ps);
  free(dma->complete_next);
}

uint64_t ibx_timed_dma_room(const ibx_timed_dma *dma, unsigned queue) {
  size_t ring = dma->machine->dma_in_flight;
  return dma->complete_ps[queue * ring + dma->complete_next[queue]];
}

// Arrivals come in order of time, so the union of their intervals grows at its
// end only.
static void count_active(ibx_timed_dma *dma, uint64_t now_ps,
                         uint64_t until_ps) {
  uint64_t from_ps = ibx_timed_later(now_ps, dma->active_until_ps);
  if (until_ps <= from_ps) return;
  dma->active_ps += until_ps - from_ps;
  dma->active_until_ps = until_ps;
}

uint64_t ibx_timed_dma_arrive(ibx_timed_dma *dma, uint64_t now_ps,
                              unsigned queue, const uint64_t *piece_ps,
                              size_t count, ibx_timed_piece *out) {
  size_t engines = dma->machine->dma_engines;
  uint64_t started_ps = now_ps + dma->machine->dma_startup_ps;
  uint64_t last_ps = 0;
  size_t engine = count < engines ? dma->next_engine : 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t start_ps = ibx_timed_later(now_ps, dma->free_ps[engine]);
    uint64_t end_ps = start_ps + piece_ps[i];
    dma->free_ps[engine] = end_ps;
    dma->busy_ps += piece_ps[i];
    out[i] =
        (ibx_timed_piece){.start_ps = start_ps,
                          .end_ps = end_ps,
                          .complete_ps = ibx_timed_later(end_ps, started_ps),
                          .engine = (unsigned)engine};
    last_ps = ibx_timed_later(last_ps, out[i].complete_ps);
    if (++engine == engines) engine = 0;
  }
  if (count < engines) dma->next_engine = engine;
  count_active(dma, now_ps, last_ps);
  size_t ring = dma->machine->dma_in_flight;
  size_t *next = &dma->complete_next[queue];
  dma->complete_ps[queue * ring + *next] = last_ps;
  *next = (*next + 1) % ring;
  return last_ps;
}

uint64_t ibx_timed_dma_fetch(ibx_timed_dma *dma, uint64_t now_ps,
                             uint64_t bytes) {
  const ibx_machine *machine = dma->machine;
  ibx_dma_piece piece = {.descriptors = 1, .bytes = bytes};
  uint64_t occupied_ps = ibx_dma_piece_ps(machine, &piece);
  uint64_t *free_ps = &dma->free_ps[dma->next_engine];
  *free_ps = ibx_timed_later(*free_ps, now_ps) + occupied_ps;
  dma->busy_ps += occupied_ps;
  dma->next_engine = (dma->next_engine + 1) % machine->dma_engines;
  return now_ps + ibx_timed_later(machine->dma_startup_ps, occupied_ps);
}
