// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TRACE_H
#define IBX_TRACE_H

/// \file
/// A timed run as a trace in the JSON of Chrome's trace viewer, which Perfetto
/// opens too: tracks of engines, DMA queues and DMA engines, arrows from signal
/// to wait, counters of memory.

#include "imbrex/sim.h"

#include <stdio.h>

/// What of a run is written: instructions that start at or after `from_ps`, at
/// most `limit` of them, the DMAs that these issue, and the arrows between
/// them; and the extents of the run, as in ibx_sim_time_options.
typedef struct ibx_trace_window {
  uint64_t from_ps;
  uint64_t limit;
  const ibx_sim_extent *extents;
  size_t extent_count;
} ibx_trace_window;

typedef struct ibx_trace_summary {
  ibx_sim_time time; ///< of the whole run
  uint64_t skipped;  ///< instructions before the window
  uint64_t written;  ///< instructions in the window
  uint64_t to_ps;    ///< end of the window
} ibx_trace_summary;

/// Times the entry, which has been proved at these extents, twice and writes the trace in one
/// pass; memory grows with the program, not with the run. Nothing is written
/// when the first run fails. Fails as ibx_sim_time_entry_with(), and with
/// OUT_OF_MEMORY; errors of `out` stay in it.
IBX_NODISCARD ibx_status ibx_trace_write(const ibx_program_data *program,
                                         const ibx_entry *entry,
                                         const ibx_trace_window *window,
                                         FILE *out,
                                         ibx_trace_summary *out_summary,
                                         ibx_error *err);

#endif
