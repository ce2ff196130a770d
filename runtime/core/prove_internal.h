// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_CORE_PROVE_INTERNAL_H
#define IBX_CORE_PROVE_INTERNAL_H

/// \file
/// The parts of the prover:
///   prove_flow.c    one engine's stream: loops, registers, operand addresses
///   prove_order.c   what is known to have happened: clocks and semaphores
///   prove_region.c  sets of bytes        prove_bits.c  which bytes are written
///   prove_record.c  accesses that a buffer has seen, and races among them
///   prove_shadow.c  all buffers: shared addresses, reads of nothing
///   prove_caller.c  buffers that belong to the caller
///   prove_psum.c    accumulation groups
///   prove_meet.c    meetings of cores
///   prove.c         runs the streams and reports
/// docs/prover.md has the rules and why they suffice.

#include "core/pool.h"
#include "core/prove_region.h"
#include "imbrex/prove.h"

enum {
  IBX_AGENT_DMA = IBX_ENGINE_COUNT, ///< `time` is then the DMA's number
  IBX_AGENT_NONE = 0xff
};

/// A program that executes more is refused as too long to prove.
static const uint64_t IBX_PROVE_MAX_STEPS = UINT64_C(50000000);
/// The same for steps of the prover: runs of bytes, records compared.
static const uint64_t IBX_PROVE_MAX_WORK = UINT64_C(4000000000);

/// What an agent knows: of each engine, the last instruction known complete.
/// Instructions of an engine are numbered from 1 as they execute.
typedef struct ibx_clock {
  uint32_t at[IBX_ENGINE_COUNT];
} ibx_clock;

// --- flow --------------------------------------------------------------------

typedef struct ibx_flow_loop {
  uint32_t start; ///< index of the loop instruction
  uint32_t trips; ///< left, with this one
  uint8_t reg;
} ibx_flow_loop;

/// One engine executing its stream.
typedef struct ibx_flow {
  const ibx_stream *stream;
  uint32_t *partner; ///< loop_end of a loop; 0 elsewhere
  size_t pc;
  uint32_t time; ///< instructions executed, this one included
  ibx_flow_loop loops[IBX_LOOP_REGISTERS];
  size_t depth;
  uint32_t loop_value[IBX_LOOP_REGISTERS];
  bool loop_active[IBX_LOOP_REGISTERS];
  uint32_t reg[IBX_REGISTERS];
  bool reg_known[IBX_REGISTERS]; ///< constant, not from memory
  uint32_t rank, cores;          ///< of the core that is proved, of the entry
} ibx_flow;

/// Checks that loops nest and match and stores their ends. `flow->partner` has
/// room for the stream.
ibx_status ibx_flow_init(ibx_flow *flow, const ibx_stream *stream,
                         ibx_error *err);
void ibx_flow_rewind(ibx_flow *flow);
bool ibx_flow_is_done(const ibx_flow *flow);
/// Executes the control part of the instruction at pc and moves on.
ibx_status ibx_flow_step(ibx_flow *flow, ibx_error *err);

/// The pattern of operand `slot`, which has a buffer, for the current loop
/// registers.
ibx_pattern ibx_flow_pattern(const ibx_flow *flow, const ibx_insn *insn,
                             size_t slot);

// --- order -------------------------------------------------------------------

/// A DMA that has been issued.
typedef struct ibx_dma_record {
  ibx_clock clock;    ///< what it may rely on
  uint32_t refs;      ///< of accesses and of its signal
  uint32_t wait_time; ///< of the engine that waited for it
  uint8_t waiter;     ///< engine, or IBX_AGENT_NONE
  uint8_t touch_count;
  bool touch_writes[3];
  uint32_t touches[3]; ///< buffers
} ibx_dma_record;

/// A signal that nobody has waited for.
typedef struct ibx_signal {
  ibx_clock clock;
  uint32_t value;
  uint32_t dma; ///< where agent is IBX_AGENT_DMA
  uint8_t agent;
} ibx_signal;

typedef struct ibx_semaphore {
  ibx_signal *queue; ///< ring
  size_t first, count, capacity;
  uint64_t pending;
  uint32_t wait_time;
  uint8_t waiter; ///< of the last wait, or IBX_AGENT_NONE
  uint8_t source; ///< the one engine in order, or IBX_AGENT_DMA for a group
  bool is_used;
} ibx_semaphore;

typedef struct ibx_order {
  ibx_clock clocks[IBX_ENGINE_COUNT];
  ibx_semaphore semaphores[IBX_SEMAPHORES];
  ibx_dma_record *dmas;
  uint32_t *free_dmas;
  size_t dma_count, dma_capacity, free_count;
} ibx_order;

void ibx_order_init(ibx_order *order);
void ibx_order_fini(ibx_order *order);
/// A new DMA issued by `engine`; false when memory is short.
bool ibx_order_add_dma(ibx_order *order, ibx_engine engine, uint32_t *out);
void ibx_order_drop_dma(ibx_order *order, uint32_t dma);
/// Raises a semaphore. Fails with UNPROVEN when a wait could take this signal
/// for another one, or OUT_OF_MEMORY.
ibx_status ibx_order_signal(ibx_order *order, uint8_t semaphore,
                            ibx_signal signal, ibx_error *err);
/// Whether a wait for `value` is satisfied.
bool ibx_order_is_ready(const ibx_order *order, uint8_t semaphore,
                        uint32_t value);
/// Takes `value` from a semaphore that is ready; `engine` learns what its
/// signallers knew. Calls `on_dma` for each DMA that is known complete now.
/// Fails with UNPROVEN when it is not certain whose signals it takes.
ibx_status ibx_order_wait(ibx_order *order, ibx_engine engine,
                          uint8_t semaphore, uint32_t value,
                          void (*on_dma)(void *user, uint32_t dma), void *user,
                          ibx_error *err);
/// Fails with UNPROVEN when a semaphore does not end at 0.
ibx_status ibx_order_finish(const ibx_order *order, ibx_error *err);

// --- shadow ------------------------------------------------------------------

/// One access that later ones must be ordered after, if they overlap.
typedef struct ibx_record {
  ibx_region region;
  uint32_t time; ///< of the engine, or number of the DMA
  uint32_t insn; ///< in the stream of `engine`
  uint8_t agent;
  uint8_t engine;
} ibx_record;

typedef struct ibx_record_list {
  ibx_record *items;
  size_t count, capacity;
  uint32_t last[IBX_ENGINE_COUNT]; ///< no record is later
  uint32_t pending;                ///< DMAs that nobody has waited for
} ibx_record_list;

/// Partitions whose bytes are in the same state.
typedef struct ibx_row {
  uint64_t mask[2];
  ibx_bits written; ///< through this buffer, since another one wrote there
  ibx_bits matmul;  ///< PSUM: last written by a matmul
} ibx_row;

/// A tile of PSUM that matmuls accumulate in.
typedef struct ibx_group {
  ibx_region region;
  uint32_t time; ///< of the last matmul
  bool is_open;
} ibx_group;

typedef struct ibx_shadow_buffer {
  const ibx_buffer_decl *decl;
  ibx_region extent;
  ibx_record_list reads, writes;
  ibx_row *rows;
  size_t row_count;
  ibx_group *groups;
  size_t group_count, group_capacity;
  uint32_t *neighbours; ///< that share an address and are in use
  size_t neighbour_count, neighbour_capacity;
  uint64_t remaining; ///< accesses to come
  bool is_used;       ///< by some instruction
  bool is_active;
} ibx_shadow_buffer;

typedef struct ibx_shadow {
  ibx_shadow_buffer *buffers;
  size_t buffer_count;
  uint32_t *active; ///< buffers that were touched and are not forgotten
  size_t active_count;
  ibx_order *order;
  ibx_clock known; ///< what every unfinished engine knows
  uint64_t work;   ///< steps taken so far
  uint64_t most_work;
} ibx_shadow;

/// How one instruction touches one operand.
typedef struct ibx_access {
  uint32_t buffer;
  uint8_t agent, engine;
  uint32_t time, insn;
  bool is_write;
  bool is_matmul;   ///< a write by multiply_moving
  bool is_combined; ///< a read that the write after it stands for
  bool is_accumulating;
  bool is_group_end;
  const ibx_clock *clock; ///< what the agent knows
} ibx_access;

/// The other party of a race.
typedef struct ibx_conflict {
  uint32_t buffer;
  uint32_t insn;
  uint8_t engine;
  bool is_write;
} ibx_conflict;

typedef enum ibx_finding {
  IBX_FINDING_NONE,
  IBX_FINDING_RACE,
  IBX_FINDING_UNWRITTEN,
  IBX_FINDING_READ_ONLY,
  IBX_FINDING_OPEN_GROUP,
  IBX_FINDING_NO_MATMUL,
  IBX_FINDING_TOO_LONG,
  IBX_FINDING_OUT_OF_MEMORY
} ibx_finding;

// --- records -----------------------------------------------------------------

/// Whether an agent knows everything in the list.
bool ibx_records_are_known(const ibx_record_list *list, const ibx_clock *clock);
/// Lends a record that overlaps `region` and that `clock` does not know, or
/// NULL.
const ibx_record *ibx_records_find_race(ibx_shadow *shadow,
                                        const ibx_record_list *list,
                                        const ibx_clock *clock,
                                        const ibx_region *region);
/// Returns false when memory is short.
bool ibx_records_add(const ibx_shadow *shadow, ibx_record_list *list,
                     const ibx_access *access, const ibx_region *region);
void ibx_records_clear(ibx_order *order, ibx_record_list *list);
void ibx_records_free(ibx_order *order, ibx_record_list *list);

// --- buffers -----------------------------------------------------------------

ibx_status ibx_shadow_init(ibx_shadow *shadow, const ibx_entry *entry,
                           ibx_order *order, ibx_pool *pool, ibx_error *err);
void ibx_shadow_fini(ibx_shadow *shadow);
/// Checks and remembers one region of an access.
ibx_finding ibx_shadow_access(ibx_shadow *shadow, const ibx_access *access,
                              const ibx_region *region, ibx_conflict *out);
/// An engine has waited for this DMA.
void ibx_shadow_dma_done(ibx_shadow *shadow, uint32_t dma);
/// Whether every byte of a buffer has been written.
bool ibx_shadow_is_complete(const ibx_shadow_buffer *buffer);

// --- caller ------------------------------------------------------------------

/// Buffers that the caller sees are his memory: fails with UNPROVEN when
/// anything else lies there.
ibx_status ibx_prove_caller_buffers(const ibx_entry *entry, ibx_pool *pool,
                                    ibx_error *err);

// --- meetings ----------------------------------------------------------------

/// The meetings that a core has come to.
typedef struct ibx_meet {
  bool depends_on_rank;  ///< a core may come to others than its neighbours
  uint64_t digest;       ///< of them, in their order
  uint64_t first_digest; ///< that of core 0
  uint8_t last_engine;   ///< of the last one
  uint32_t last_time;    ///< 0: there was none
} ibx_meet;

/// Whether an entry has cores that differ.
bool ibx_meet_depends_on_rank(const ibx_entry *entry);
/// `engine` comes to a meeting at its instruction `insn`. Fails with UNPROVEN
/// where it is not certain which one the core comes to next.
ibx_status ibx_meet_join(ibx_meet *meet, ibx_engine engine, uint32_t insn,
                         const ibx_clock *clock, ibx_error *err);
/// The core of that rank has ended. Fails with UNPROVEN where it came to other
/// meetings than core 0.
ibx_status ibx_meet_end(ibx_meet *meet, uint32_t rank, ibx_error *err);

// --- psum --------------------------------------------------------------------

ibx_finding ibx_psum_read(const ibx_shadow_buffer *buffer,
                          const ibx_access *access, const ibx_region *region,
                          uint64_t *work);
ibx_finding ibx_psum_write(ibx_shadow_buffer *buffer, const ibx_access *access,
                           const ibx_region *region, uint64_t *work);

#endif
