// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TIMING_H
#define IBX_TIMING_H

/// \file
/// The parts of the time simulator. A plan holds what is known of each
/// instruction before it runs; signals, DMA engines and the tensor array are
/// the shared machine; timing.c moves five sequencers over them. All times are
/// picoseconds since the first issue.

#include "imbrex/sim.h"

#define IBX_TIME_NEVER UINT64_MAX

static inline uint64_t ibx_timed_later(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

static inline uint64_t ibx_timed_sooner(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

// --- plan: what does not depend on time --------------------------------------

typedef enum ibx_timed_kind {
  IBX_TIMED_WORK,       ///< an instruction of Vector, Scalar or GpSimd
  IBX_TIMED_STATIONARY, ///< load_stationary
  IBX_TIMED_MOVING,     ///< multiply_moving and nc_transpose
  IBX_TIMED_DMA,
  IBX_TIMED_LOOP,
  IBX_TIMED_LOOP_END,
  IBX_TIMED_REGISTER, ///< register_move and register_load
  IBX_TIMED_SEMAPHORE
} ibx_timed_kind;

/// The smallest box around what an operand touches on chip, at loop registers
/// zero: bytes [low, high) of partitions [first, last].
typedef struct ibx_timed_box {
  int64_t low, high;
  uint8_t first, last;
  uint8_t space; ///< SBUF or PSUM
  uint8_t slot;  ///< of the instruction; its operand has the loop steps
  bool written;
} ibx_timed_box;

/// A DMA, or what a library call moves itself, which has no pieces. Those of one
/// shape share their pieces.
typedef struct ibx_timed_transfer {
  uint64_t read_bytes, write_bytes; ///< of tensors in HBM
  uint64_t ring_bytes;              ///< descriptors read from HBM
  size_t first_piece;               ///< index into piece_ps of the plan
  uint8_t piece_count;
  bool is_collective; ///< carried out by the collective cores
} ibx_timed_transfer;

/// Everything that a step reads of an instruction, in one cache line.
typedef struct ibx_timed_insn {
  uint64_t issue_ps, result_ps, busy_ps;
  uint32_t first_box; ///< index into the plan's boxes
  uint32_t other;     ///< a loop's end or start; index of the transfer
  uint32_t count;     ///< a loop's trips, a register's value
  uint16_t wait_value, signal_value;
  uint8_t wait_semaphore, signal_semaphore;
  uint8_t box_count;
  uint8_t kind;
  uint8_t words;
  uint8_t table;  ///< activation table set
  uint8_t rows;   ///< row groups of the array, a bit each
  uint8_t banks;  ///< PSUM banks at loop registers zero, a bit each
  uint8_t spaces; ///< memories of its boxes, a bit each
  uint8_t reg[2]; ///< of control instructions
  uint8_t queue;  ///< of a DMA
  bool is_made;   ///< a DMA whose descriptors lie in HBM
  bool is_moving; ///< work with a transfer of its own
  bool is_looped; ///< its boxes move with the loop registers
} ibx_timed_insn;

typedef struct ibx_timing_plan {
  ibx_timed_insn *insns[IBX_ENGINE_COUNT];
  size_t loop_depth[IBX_ENGINE_COUNT];
  bool is_waiter[IBX_ENGINE_COUNT][IBX_SEMAPHORES];
  ibx_timed_box *boxes;
  size_t box_count, box_room;
  ibx_timed_transfer *transfers;
  size_t transfer_count, transfer_room;
  uint64_t *piece_ps; ///< DMA engine time of each piece
  size_t piece_count, piece_room;
} ibx_timing_plan;

/// Fails with INVALID_PROGRAM when an instruction cannot be timed (unknown
/// opcode, operand without a buffer, loops that do not match), OUT_OF_MEMORY.
/// An engine may execute `most_executed` instructions, 0 means 2^31; a run of
/// more takes minutes to time, and below, addresses in loops fit 64 bits.
/// ibx_timing_plan_fini() is due in either case.
ibx_status ibx_timing_plan_init(const ibx_machine *machine,
                                const ibx_entry *entry, uint64_t most_executed,
                                ibx_timing_plan *plan, ibx_error *err);
void ibx_timing_plan_fini(ibx_timing_plan *plan);

/// The banks that bytes [low, high) of PSUM lie in, a bit each.
unsigned ibx_timed_bank_mask(const ibx_machine *machine, int64_t low,
                             int64_t high);

// --- signals: semaphores with the times at which they rise --------------------

typedef struct ibx_rise {
  uint64_t time_ps;
  uint64_t count;
} ibx_rise;

/// One semaphore: `ready` has risen; `rises[head..len)` will, sorted by time.
typedef struct ibx_timed_semaphore {
  ibx_rise *rises;
  size_t head, len, room;
  uint64_t ready;
} ibx_timed_semaphore;

/// Adds a rise at `time_ps`, not before `now_ps`. False when memory is short.
bool ibx_timed_semaphore_rise(ibx_timed_semaphore *semaphore, uint64_t now_ps,
                              uint64_t time_ps, uint64_t count);
/// The time at which the semaphore reaches `value`, or IBX_TIME_NEVER.
uint64_t ibx_timed_semaphore_when(const ibx_timed_semaphore *semaphore,
                                  uint64_t value);
/// What it has when nothing rises any more.
uint64_t ibx_timed_semaphore_value(const ibx_timed_semaphore *semaphore);
/// Subtracts `value`, which it has reached, earliest rises first.
void ibx_timed_semaphore_take(ibx_timed_semaphore *semaphore, uint64_t value);

// --- DMA engines ---------------------------------------------------------------

typedef struct ibx_timed_dma {
  const ibx_machine *machine;
  uint64_t *free_ps;     ///< of each DMA engine
  uint64_t *complete_ps; ///< ring of the last dma_in_flight DMAs of each queue
  size_t *complete_next; ///< oldest in each queue's ring
  uint64_t active_until_ps;
  uint64_t active_ps, busy_ps;
  size_t next_engine;          ///< where a DMA of few pieces starts
  uint64_t collective_free_ps; ///< end of the last collective
} ibx_timed_dma;

bool ibx_timed_dma_init(ibx_timed_dma *dma, const ibx_machine *machine);
void ibx_timed_dma_fini(ibx_timed_dma *dma);
/// When queue `queue` has room for one more DMA.
uint64_t ibx_timed_dma_room(const ibx_timed_dma *dma, unsigned queue);

typedef struct ibx_timed_piece {
  uint64_t start_ps, end_ps; ///< on its engine
  uint64_t complete_ps;
  unsigned engine;
} ibx_timed_piece;

/// Puts the pieces of a DMA that arrives now behind all that arrived before;
/// returns when the last is complete. `out` has room for `count`, at most
/// dma_engines.
uint64_t ibx_timed_dma_arrive(ibx_timed_dma *dma, uint64_t now_ps,
                              unsigned queue, const uint64_t *piece_ps,
                              size_t count, ibx_timed_piece *out);
/// The same for a collective of `time_ps`, behind the collectives before it. Its
/// engine is the one behind the last DMA engine.
uint64_t ibx_timed_dma_meet(ibx_timed_dma *dma, uint64_t now_ps, unsigned queue,
                            uint64_t time_ps, ibx_timed_piece *out);
/// Reads instructions ahead of all descriptors; returns when they are there.
uint64_t ibx_timed_dma_fetch(ibx_timed_dma *dma, uint64_t now_ps,
                             uint64_t bytes);

// --- tensor array ----------------------------------------------------------------

enum { IBX_ROW_GROUPS = 4 };

typedef struct ibx_timed_array {
  uint64_t row_free_ps[IBX_ROW_GROUPS];   ///< end of the last moving tensor
  uint64_t row_loaded_ps[IBX_ROW_GROUPS]; ///< its stationary tile is there
  uint64_t shadow_ps; ///< when the array starts what the next load hides behind
  uint64_t last_end_ps, ramp_ps, credit_ps;
  bool has_shadow, is_warm;
} ibx_timed_array;

void ibx_timed_array_init(ibx_timed_array *array, const ibx_machine *machine);
/// When the row groups are free for a moving tensor.
uint64_t ibx_timed_array_ready(const ibx_timed_array *array, unsigned rows);
/// Streams a moving tensor that takes `full_ps` at the full rate; returns its
/// end.
uint64_t ibx_timed_array_stream(ibx_timed_array *array, uint64_t now_ps,
                                unsigned rows, uint64_t full_ps);
/// Loads a stationary tile from `now_ps`; returns its end.
uint64_t ibx_timed_array_load(ibx_timed_array *array, uint64_t now_ps,
                              unsigned rows, uint64_t load_ps);

// --- events ------------------------------------------------------------------------

/// Delivers events in order of their start although DMA pieces are known
/// before they start.
typedef struct ibx_event_queue {
  ibx_sim_event_fn deliver; ///< NULL: events are dropped
  void *user;
  struct ibx_queued_event *heap;
  size_t count, room;
  uint64_t serial;
} ibx_event_queue;

bool ibx_event_queue_add(ibx_event_queue *queue, const ibx_sim_event *event);
/// Delivers all events that start at or before `now_ps`.
void ibx_event_queue_flush(ibx_event_queue *queue, uint64_t now_ps);
void ibx_event_queue_fini(ibx_event_queue *queue);

// --- the sequencers -------------------------------------------------------------

// Writes in flight on one engine: issue intervals of at least min_interval and
// latencies of at most a few hundred cycles leave room.
enum { IBX_MARKS = 16 };

typedef struct ibx_write_mark {
  int64_t low, high;
  uint64_t done_ps;
  uint8_t first, last, space;
} ibx_write_mark;

typedef struct ibx_loop_frame {
  size_t start; ///< index of the loop instruction
  uint64_t trips_left;
} ibx_loop_frame;

enum { IBX_NO_SEMAPHORE = IBX_SEMAPHORES };

typedef struct ibx_sequencer {
  const ibx_timed_insn *timed;
  const ibx_insn *insns; ///< for the loop steps of operands
  size_t count, index;
  uint64_t next_ps;       ///< when the sequencer comes to its next instruction
  uint64_t hold_ps;       ///< a resource that is taken puts it off until then
  uint64_t done_ps;       ///< all before is complete
  uint64_t fetched_words; ///< left in the half of the buffer that is in use
  uint64_t fetch_ps;      ///< when the other half is full
  size_t arriving;        ///< index of the DMA that arrives
  uint64_t arrived;       ///< DMAs before it
  uint64_t arrive_ps;
  ibx_loop_frame *frames;
  size_t depth;
  size_t next_mark;
  bool is_arriving; ///< a DMA reaches the DMA engines at arrive_ps
  uint8_t table;
  uint8_t banks; ///< of the next instruction, as ibx_timed_ready() found them
  uint32_t loop_registers[IBX_LOOP_REGISTERS];
  ibx_write_mark marks[IBX_MARKS];
  uint32_t registers[IBX_REGISTERS];
} ibx_sequencer;

typedef struct ibx_timer {
  const ibx_machine *machine;              ///< `share`
  ibx_machine share;                       ///< of one of the cores that run
  uint64_t candidate_ps[IBX_ENGINE_COUNT]; ///< earliest next step of each
  uint16_t awaits[IBX_ENGINE_COUNT];       ///< semaphore, or IBX_NO_SEMAPHORE
  ibx_timing_plan plan;
  ibx_sequencer engines[IBX_ENGINE_COUNT];
  ibx_timed_semaphore semaphores[IBX_SEMAPHORES];
  uint64_t signal_ps[IBX_SEMAPHORES];      ///< from an engine to the waiter
  uint64_t tensor_bank_ps[IBX_PSUM_BANKS]; ///< Tensor writes it until then
  uint64_t other_bank_ps[IBX_PSUM_BANKS];  ///< Vector or Scalar use it
  uint64_t port_ps[IBX_ENGINE_COUNT][IBX_SPACE_COUNT];
  uint64_t dependent_ps; ///< scalar_dependent
  uint64_t interval_ps;  ///< min_interval of Tensor
  uint64_t half_words;   ///< half of a prefetch buffer
  uint8_t all_rows;      ///< row groups of the whole array
  ibx_timed_dma dma;
  ibx_timed_array array;
  ibx_timed_piece *pieces;
  ibx_event_queue events;
  ibx_sim_time time;
  bool is_short; ///< of memory
} ibx_timer;

/// Plans the entry. The options' events are delivered by ibx_timer_run().
/// ibx_timer_fini() is due in either case.
ibx_status ibx_timer_init(ibx_timer *t, const ibx_program_data *program,
                          const ibx_entry *entry,
                          const ibx_sim_time_options *options, ibx_error *err);
/// Runs once from the first issue to the last completion.
ibx_status ibx_timer_run(ibx_timer *t, ibx_sim_time *out_time, ibx_error *err);
void ibx_timer_fini(ibx_timer *t);

/// Bytes by which the loop registers move a box of the next instruction.
int64_t ibx_timed_loop_offset(const ibx_sequencer *s, const ibx_timed_box *box);
/// The earliest time, from `now_ps` on, at which everything that the next
/// instruction of `engine` needs is free. Stores the banks that it touches.
uint64_t ibx_timed_ready(ibx_timer *t, ibx_engine engine, uint64_t now_ps);

/// Finds the candidate of `engine`, which has come to another instruction.
void ibx_timed_come(ibx_timer *t, ibx_engine engine);
/// The same where its instruction is as before.
void ibx_timed_refresh(ibx_timer *t, ibx_engine engine);
/// Starts the next instruction of `engine`, whose wait is satisfied.
void ibx_timed_issue(ibx_timer *t, ibx_engine engine, uint64_t now_ps);
/// The DMA that `engine` issued reaches the DMA engines.
void ibx_timed_arrive(ibx_timer *t, ibx_engine engine, uint64_t now_ps);

#endif
