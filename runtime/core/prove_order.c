// SPDX-License-Identifier: Apache-2.0
//
// What is known to have happened. Comes in: signals and waits in one order of
// execution that the semaphores allow. Goes out: clocks that hold in every such
// order, or a refusal.
//
// A wait takes from a count, so it must be certain whose signals it took:
//
//   - The waits of a semaphore follow each other: a waiter knows the wait
//     before.
//   - Signals of one engine arrive in order, so a wait of v takes the oldest
//     v, even while that engine goes on signalling.
//   - Signals of several agents (a DMA is one, its pieces are not in order)
//     form a group: a wait takes all of it, exactly.
//   - Any other signal must know the last wait: else it could arrive before
//     that wait and be taken instead.
//
// docs/prover.md shows why these suffice.

#include "core/prove_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 8 };

void ibx_order_init(ibx_order *order) {
  *order = (ibx_order){.dmas = NULL};
  for (size_t s = 0; s < IBX_SEMAPHORES; s++) {
    order->semaphores[s].waiter = IBX_AGENT_NONE;
    order->semaphores[s].source = IBX_AGENT_NONE;
  }
}

void ibx_order_fini(ibx_order *order) {
  for (size_t s = 0; s < IBX_SEMAPHORES; s++) {
    free(order->semaphores[s].queue);
  }
  free(order->dmas);
  free(order->free_dmas);
  *order = (ibx_order){.dmas = NULL};
}

// --- DMAs --------------------------------------------------------------------

static bool grow_dmas(ibx_order *order) {
  size_t capacity = order->dma_capacity ? order->dma_capacity * 2 : 256;
  ibx_dma_record *dmas = realloc(order->dmas, capacity * sizeof *dmas);
  if (!dmas) return false;
  order->dmas = dmas;
  uint32_t *free_dmas = realloc(order->free_dmas, capacity * sizeof *free_dmas);
  if (!free_dmas) return false;
  order->free_dmas = free_dmas;
  order->dma_capacity = capacity;
  return true;
}

bool ibx_order_add_dma(ibx_order *order, ibx_engine engine, uint32_t *out) {
  if (order->free_count > 0) {
    *out = order->free_dmas[--order->free_count];
  } else {
    if (order->dma_count == order->dma_capacity && !grow_dmas(order)) {
      return false;
    }
    *out = (uint32_t)order->dma_count++;
  }
  order->dmas[*out] = (ibx_dma_record){
      .clock = order->clocks[engine], .refs = 1, .waiter = IBX_AGENT_NONE};
  return true;
}

void ibx_order_drop_dma(ibx_order *order, uint32_t dma) {
  if (--order->dmas[dma].refs > 0) return;
  order->free_dmas[order->free_count++] = dma;
}

// --- signals -----------------------------------------------------------------

static bool knows_last_wait(const ibx_semaphore *s, const ibx_clock *clock) {
  return s->waiter == IBX_AGENT_NONE || clock->at[s->waiter] >= s->wait_time;
}

static bool push_signal(ibx_semaphore *s, const ibx_signal *signal) {
  if (s->count == s->capacity) {
    size_t capacity = s->capacity ? s->capacity * 2 : FIRST_CAPACITY;
    ibx_signal *queue = malloc(capacity * sizeof *queue);
    if (!queue) return false;
    for (size_t i = 0; i < s->count; i++) {
      queue[i] = s->queue[(s->first + i) % s->capacity];
    }
    free(s->queue);
    s->queue = queue;
    s->first = 0;
    s->capacity = capacity;
  }
  s->queue[(s->first + s->count++) % s->capacity] = *signal;
  s->pending += signal->value;
  return true;
}

ibx_status ibx_order_signal(ibx_order *order, uint8_t semaphore,
                            ibx_signal signal, ibx_error *err) {
  ibx_semaphore *s = &order->semaphores[semaphore];
  s->is_used = true;
  bool continues = signal.agent != IBX_AGENT_DMA && s->source == signal.agent;
  if (!continues && !knows_last_wait(s, &signal.clock)) {
    return IBX_FAIL(err, UNPROVEN,
                    "signals semaphore %u, and a wait of %s before may take "
                    "this signal for another one; wait for %s first",
                    semaphore, ibx_engine_name((ibx_engine)s->waiter),
                    ibx_engine_name((ibx_engine)s->waiter));
  }
  if (!continues) {
    s->source = s->count == 0 ? signal.agent : (uint8_t)IBX_AGENT_DMA;
  }
  if (push_signal(s, &signal)) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the prover");
}

// --- waits -------------------------------------------------------------------

bool ibx_order_is_ready(const ibx_order *order, uint8_t semaphore,
                        uint32_t value) {
  return order->semaphores[semaphore].pending >= value;
}

static void learn(ibx_clock *clock, const ibx_clock *other) {
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (clock->at[e] < other->at[e]) clock->at[e] = other->at[e];
  }
}

static ibx_status check_wait(const ibx_order *order, ibx_engine engine,
                             uint8_t semaphore, uint32_t value,
                             ibx_error *err) {
  const ibx_semaphore *s = &order->semaphores[semaphore];
  if (!knows_last_wait(s, &order->clocks[engine])) {
    return IBX_FAIL(err, UNPROVEN,
                    "waits for semaphore %u, which %s waits for as well, "
                    "unordered",
                    semaphore, ibx_engine_name((ibx_engine)s->waiter));
  }
  if (s->source == IBX_AGENT_DMA && s->pending != value) {
    return IBX_FAIL(err, UNPROVEN,
                    "waits for %" PRIu32 " of semaphore %u, but %" PRIu64
                    " are on their way from DMAs or several engines, in any "
                    "order; wait for all of them",
                    value, semaphore, s->pending);
  }
  return IBX_OK;
}

static void take_signal(ibx_order *order, ibx_engine engine,
                        const ibx_signal *signal,
                        void (*on_dma)(void *user, uint32_t dma), void *user) {
  learn(&order->clocks[engine], &signal->clock);
  if (signal->agent != IBX_AGENT_DMA) return;
  ibx_dma_record *dma = &order->dmas[signal->dma];
  dma->waiter = (uint8_t)engine;
  dma->wait_time = order->clocks[engine].at[engine];
  on_dma(user, signal->dma);
  ibx_order_drop_dma(order, signal->dma);
}

ibx_status ibx_order_wait(ibx_order *order, ibx_engine engine,
                          uint8_t semaphore, uint32_t value,
                          void (*on_dma)(void *user, uint32_t dma), void *user,
                          ibx_error *err) {
  ibx_semaphore *s = &order->semaphores[semaphore];
  IBX_TRY(check_wait(order, engine, semaphore, value, err));
  s->is_used = true;
  s->pending -= value;
  for (uint32_t left = value; left > 0;) {
    ibx_signal *signal = &s->queue[s->first];
    if (signal->value > left) {
      // The rest of it stays; that it was raised is known now.
      learn(&order->clocks[engine], &signal->clock);
      signal->value -= left;
      break;
    }
    left -= signal->value;
    take_signal(order, engine, signal, on_dma, user);
    s->first = (s->first + 1) % s->capacity;
    s->count--;
  }
  s->waiter = (uint8_t)engine;
  s->wait_time = order->clocks[engine].at[engine];
  if (s->source == IBX_AGENT_DMA) s->source = IBX_AGENT_NONE;
  return IBX_OK;
}

ibx_status ibx_order_finish(const ibx_order *order, ibx_error *err) {
  for (unsigned s = 0; s < IBX_SEMAPHORES; s++) {
    if (order->semaphores[s].pending == 0) continue;
    return IBX_FAIL(err, UNPROVEN,
                    "semaphore %u ends at %" PRIu64 " instead of 0", s,
                    order->semaphores[s].pending);
  }
  return IBX_OK;
}
