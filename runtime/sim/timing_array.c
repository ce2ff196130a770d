// SPDX-License-Identifier: Apache-2.0
//
// The tensor array in time: row groups, the hidden load of the stationary
// tile, and the ramp.
//
// Rows. Moving tensors in different row groups stream at the same time.
//
// Load. While a moving tensor streams, the tile of the next one shifts in
// behind it: a load that directly follows a moving tensor may start when that
// one starts. A load that follows anything else starts in its turn.
//
// Ramp. After idleness the array runs at half rate until it has streamed for
// ramp_ps without a pause that eats up what it has gathered; it falls back once
// it idles for more than half of a window of ramp_ps:
//
//   cold  credit grows with streaming, shrinks with idling; warm at ramp_ps
//   warm  the same with a ceiling of ramp_ps / 2; cold at 0
//
// A single gap of ramp_ps / 2 after full work, and any periodic use below one
// half, therefore end at half rate; use above one half never does.

#include "timing.h"

void ibx_timed_array_init(ibx_timed_array *array, const ibx_machine *machine) {
  *array = (ibx_timed_array){.ramp_ps = machine->ramp_ps,
                             .is_warm = machine->ramp_ps == 0};
}

uint64_t ibx_timed_array_ready(const ibx_timed_array *array, unsigned rows) {
  uint64_t ready_ps = 0;
  for (unsigned i = 0; i < IBX_ROW_GROUPS; i++) {
    if (!(rows >> i & 1)) continue;
    ready_ps = ibx_timed_later(ready_ps, array->row_free_ps[i]);
    ready_ps = ibx_timed_later(ready_ps, array->row_loaded_ps[i]);
  }
  return ready_ps;
}

static void cool(ibx_timed_array *array, uint64_t idle_ps) {
  array->credit_ps -= ibx_timed_sooner(idle_ps, array->credit_ps);
  if (array->credit_ps == 0) array->is_warm = array->ramp_ps == 0;
}

// Time that `full_ps` of work takes now; moves the ramp on.
static uint64_t ramped(ibx_timed_array *array, uint64_t full_ps) {
  if (array->is_warm) {
    array->credit_ps =
        ibx_timed_sooner(array->credit_ps + full_ps, array->ramp_ps / 2);
    return full_ps;
  }
  uint64_t left_ps = array->ramp_ps - array->credit_ps;
  if (2 * full_ps < left_ps) {
    array->credit_ps += 2 * full_ps;
    return 2 * full_ps;
  }
  array->is_warm = true;
  array->credit_ps = array->ramp_ps / 2;
  return left_ps + (full_ps - left_ps / 2);
}

uint64_t ibx_timed_array_stream(ibx_timed_array *array, uint64_t now_ps,
                                unsigned rows, uint64_t full_ps) {
  if (now_ps > array->last_end_ps) cool(array, now_ps - array->last_end_ps);
  uint64_t end_ps = now_ps + ramped(array, full_ps);
  for (unsigned i = 0; i < IBX_ROW_GROUPS; i++) {
    if (rows >> i & 1) array->row_free_ps[i] = end_ps;
  }
  array->last_end_ps = ibx_timed_later(array->last_end_ps, end_ps);
  array->has_shadow = true;
  array->shadow_ps = now_ps;
  return end_ps;
}

uint64_t ibx_timed_array_load(ibx_timed_array *array, uint64_t now_ps,
                              unsigned rows, uint64_t load_ps) {
  uint64_t end_ps = now_ps + load_ps;
  for (unsigned i = 0; i < IBX_ROW_GROUPS; i++) {
    if (rows >> i & 1) array->row_loaded_ps[i] = end_ps;
  }
  array->has_shadow = false;
  return end_ps;
}
