// SPDX-License-Identifier: Apache-2.0
//
// Semaphores in time. In: rises, each with the time at which the waiter sees
// it, in any order; waits that consume. Holds afterwards: `ready` counts what
// has risen, the rest stands sorted by time, so the list is never longer than
// what is in flight, however often a loop signals.

#include "timing.h"

#include <stdlib.h>
#include <string.h>

static void settle(ibx_timed_semaphore *semaphore, uint64_t now_ps) {
  while (semaphore->head < semaphore->len &&
         semaphore->rises[semaphore->head].time_ps <= now_ps) {
    semaphore->ready += semaphore->rises[semaphore->head].count;
    semaphore->head++;
  }
}

static bool make_room(ibx_timed_semaphore *semaphore) {
  size_t used = semaphore->len - semaphore->head;
  if (semaphore->head > 0) {
    memmove(semaphore->rises, semaphore->rises + semaphore->head,
            used * sizeof(*semaphore->rises));
    semaphore->head = 0;
    semaphore->len = used;
  }
  if (used < semaphore->room) return true;
  size_t room = semaphore->room == 0 ? 16 : 2 * semaphore->room;
  ibx_rise *rises = realloc(semaphore->rises, room * sizeof(*rises));
  if (!rises) return false;
  semaphore->rises = rises;
  semaphore->room = room;
  return true;
}

bool ibx_timed_semaphore_rise(ibx_timed_semaphore *semaphore, uint64_t now_ps,
                              uint64_t time_ps, uint64_t count) {
  settle(semaphore, now_ps);
  if (semaphore->len == semaphore->room && !make_room(semaphore)) return false;
  size_t at = semaphore->len;
  while (at > semaphore->head && semaphore->rises[at - 1].time_ps > time_ps) {
    at--;
  }
  // The pieces of one DMA mostly end together.
  if (at > semaphore->head && semaphore->rises[at - 1].time_ps == time_ps) {
    semaphore->rises[at - 1].count += count;
    return true;
  }
  memmove(semaphore->rises + at + 1, semaphore->rises + at,
          (semaphore->len - at) * sizeof(*semaphore->rises));
  semaphore->rises[at] = (ibx_rise){.time_ps = time_ps, .count = count};
  semaphore->len++;
  return true;
}

uint64_t ibx_timed_semaphore_when(const ibx_timed_semaphore *semaphore,
                                  uint64_t value) {
  uint64_t reached = semaphore->ready;
  if (reached >= value) return 0;
  for (size_t i = semaphore->head; i < semaphore->len; i++) {
    reached += semaphore->rises[i].count;
    if (reached >= value) return semaphore->rises[i].time_ps;
  }
  return IBX_TIME_NEVER;
}

uint64_t ibx_timed_semaphore_value(const ibx_timed_semaphore *semaphore) {
  uint64_t value = semaphore->ready;
  for (size_t i = semaphore->head; i < semaphore->len; i++) {
    value += semaphore->rises[i].count;
  }
  return value;
}

void ibx_timed_semaphore_take(ibx_timed_semaphore *semaphore, uint64_t value) {
  uint64_t taken = value < semaphore->ready ? value : semaphore->ready;
  semaphore->ready -= taken;
  value -= taken;
  while (value > 0 && semaphore->head < semaphore->len) {
    ibx_rise *rise = &semaphore->rises[semaphore->head];
    taken = value < rise->count ? value : rise->count;
    rise->count -= taken;
    value -= taken;
    if (rise->count == 0) semaphore->head++;
  }
}
