// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SCHEDULE_H
#define IBX_SCHEDULE_H

/// \file
/// The order of all steps, their engines, and when they are expected to run.

#include "codegen/units.h"

#define IBX_NO_STEP UINT32_MAX

/// One step in its place.
typedef struct ibx_slot {
  uint64_t start_ps; ///< expected
  uint64_t done_ps;  ///< expected: it and all before it on its engine are done
  uint32_t step;
  uint32_t after; ///< a DMA that must be complete before, beside the
                  ///< dependences, or IBX_NO_STEP
  uint8_t engine; ///< ibx_engine; of a DMA, the one that issues it
  uint8_t variant;
  uint8_t queue, dge; ///< of a DMA
} ibx_slot;

/// Slots in order of start. A step comes after all it depends on, so that the
/// slots of an engine, in this order, are its stream.
typedef struct ibx_schedule {
  ibx_slot *slots;
  size_t count;
} ibx_schedule;

/// Which of several ready units an engine takes.
typedef enum ibx_schedule_policy {
  IBX_SCHEDULE_PROGRAM, ///< the first in the program; loads by first use
  IBX_SCHEDULE_PATH,    ///< the one with the longest path behind it
  IBX_SCHEDULE_POLICY_COUNT
} ibx_schedule_policy;

typedef struct ibx_schedule_options {
  ibx_schedule_policy policy;
  unsigned backlog_startups; ///< DMA work ahead of a critical DMA, in start-ups
  bool stores_on_sync;       ///< Sync issues what engines feed, not GpSimd
} ibx_schedule_options;

/// Orders all units. Never fails: the dependences have no cycle.
void ibx_schedule_make(const ibx_units *units,
                       const ibx_schedule_options *options, ibx_arena *arena,
                       ibx_schedule *out);

#endif
