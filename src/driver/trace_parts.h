// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TRACE_PARTS_H
#define IBX_TRACE_PARTS_H

/// \file
/// The parts of a trace. Occupancy comes from the first run; the text of the
/// instructions, tracks, signals and counters make the second one JSON. trace.c
/// moves the events through them. All times are picoseconds.

#include "driver/trace.h"

// --- occupancy: what is live in SBUF and PSUM, over time -----------------------

/// From its first to its last use; never used while `last_ps` is 0.
typedef struct ibx_trace_life {
  uint64_t first_ps, last_ps;
} ibx_trace_life;

/// What is live from `time_ps` to the next point.
typedef struct ibx_trace_level {
  uint64_t time_ps;
  uint64_t sbuf_bytes; ///< of a partition's addresses, in any partition
  uint64_t psum_banks;
} ibx_trace_level;

typedef struct ibx_trace_occupancy {
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_trace_life *lives;   ///< of each buffer
  ibx_trace_level *levels; ///< sorted by time
  size_t level_count;
} ibx_trace_occupancy;

/// Fails with OUT_OF_MEMORY; ibx_trace_occupancy_fini() is due in either case.
IBX_NODISCARD ibx_status ibx_trace_occupancy_init(
    const ibx_program_data *program, const ibx_entry *entry,
    ibx_trace_occupancy *occupancy, ibx_error *err);
/// An ibx_sim_event_fn with the occupancy as its user.
void ibx_trace_occupancy_touch(void *occupancy, const ibx_sim_event *event);
/// Makes the levels of a run that ended at `total_ps`. Fails with
/// OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_trace_occupancy_finish(
    ibx_trace_occupancy *occupancy, uint64_t total_ps, ibx_error *err);
void ibx_trace_occupancy_fini(ibx_trace_occupancy *occupancy);

// --- queue: what is to come, sorted by time --------------------------------------

/// A slice, or its part up to a signal, as far as an arrow must know it.
typedef struct ibx_trace_slice {
  uint64_t id; ///< of the instruction that made it: its number in the run
  uint64_t start_ps, end_ps;
  uint32_t process, thread;
  bool is_shown;
} ibx_trace_slice;

typedef struct ibx_trace_item {
  uint64_t time_ps;
  int64_t count;
  ibx_trace_slice from; ///< of a signal
} ibx_trace_item;

/// Zero at first. `items[head..len)` are in it.
typedef struct ibx_trace_queue {
  ibx_trace_item *items;
  size_t head, len, room;
} ibx_trace_queue;

/// Adds an item behind those of the same time. False when memory is short.
bool ibx_trace_queue_add(ibx_trace_queue *queue, const ibx_trace_item *item);
/// Removes `count` from the earliest items and adds what it took to `taken`,
/// one item for each `from.id`. False when memory is short.
bool ibx_trace_queue_take(ibx_trace_queue *queue, int64_t count,
                          ibx_trace_queue *taken);
void ibx_trace_queue_fini(ibx_trace_queue *queue);

// --- lanes: slices of one track that overlap lie beside each other ------------

typedef struct ibx_trace_lanes {
  uint64_t *end_ps; ///< of what lies in each lane
  size_t count, room;
} ibx_trace_lanes;

/// Takes a lane that is free at `start_ps`; `*out_is_new` tells that it is the
/// first slice of it. False when memory is short.
bool ibx_trace_lanes_take(ibx_trace_lanes *lanes, uint64_t start_ps,
                          size_t *out_lane, bool *out_is_new);
/// The slice in the lane ends at `end_ps`; until then the lane is taken.
void ibx_trace_lanes_end(ibx_trace_lanes *lanes, size_t lane, uint64_t end_ps);

// --- text of the instructions --------------------------------------------------

/// What the trace tells of one instruction, made when it is first met.
typedef struct ibx_trace_insn {
  char *text;      ///< "name", "cat" and the open "args" of its slice
  char *head;      ///< "name" and "cat" only
  uint64_t bytes;  ///< DMA
  uint32_t pieces; ///< DMA
} ibx_trace_insn;

typedef struct ibx_trace_insns {
  const ibx_program_data *program;
  const ibx_entry *entry;
  ibx_buffer_place *places;
  ibx_dma_piece *pieces;
  ibx_trace_insn *rows[IBX_ENGINE_COUNT];
} ibx_trace_insns;

/// Fails with OUT_OF_MEMORY; ibx_trace_insns_fini() is due in either case.
IBX_NODISCARD ibx_status ibx_trace_insns_init(const ibx_program_data *program,
                                              const ibx_entry *entry,
                                              ibx_trace_insns *insns,
                                              ibx_error *err);
/// Lends the row; NULL when memory is short.
const ibx_trace_insn *ibx_trace_insns_get(ibx_trace_insns *insns,
                                          ibx_engine engine, size_t index);
void ibx_trace_insns_fini(ibx_trace_insns *insns);

// --- records -----------------------------------------------------------------------

typedef enum ibx_trace_process {
  IBX_TRACE_ENGINES = 1,
  IBX_TRACE_QUEUES,
  IBX_TRACE_DMA_ENGINES
} ibx_trace_process;

/// A document that is being written.
typedef struct ibx_trace_text {
  FILE *out;
  uint64_t records;
  uint64_t arrows;
} ibx_trace_text;

void ibx_trace_text_open(ibx_trace_text *text, const ibx_program_data *program,
                         const ibx_entry *entry, const ibx_sim_time *time);
void ibx_trace_text_close(ibx_trace_text *text);
/// Names a process or, where `thread` is not 0, a thread. Both are listed by
/// their numbers.
void ibx_trace_text_name(ibx_trace_text *text, uint32_t process,
                         uint32_t thread, const char *name);
/// Opens a slice; the caller adds name, category and args, and closes it.
void ibx_trace_text_slice(ibx_trace_text *text, const ibx_trace_slice *slice);
/// From the end of one slice to the start of another.
void ibx_trace_text_arrow(ibx_trace_text *text, const ibx_trace_slice *from,
                          const ibx_trace_slice *to, unsigned semaphore,
                          int64_t value);
void ibx_trace_text_counter(ibx_trace_text *text, ibx_trace_process process,
                            const char *name, const char *unit,
                            uint64_t time_ps, uint64_t value);

#endif
