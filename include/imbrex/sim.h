// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_H
#define IBX_SIM_H

/// \file
/// The simulator in its two separable parts: function (what the instructions
/// compute) and time (when they run). Both execute the decoded instructions of
/// one entry and know nothing of ONNX.

#include "imbrex/program.h"

IBX_C_BEGIN

typedef enum ibx_sim_order {
  IBX_SIM_ORDER_PROGRAM, ///< a fixed order that the semaphores allow, fastest
  IBX_SIM_ORDER_RANDOM,  ///< at each step any ready engine or DMA piece
  IBX_SIM_ORDER_ADVERSARIAL ///< delays whatever is not awaited; poisons memory
} ibx_sim_order;

/// How results are stored as floating types narrower than fp32, by engines and
/// DMAs. The machine has both (NEURON_RT_STOCHASTIC_ROUNDING_EN); that it also
/// concerns DMAs is our guess. Integers and packed types are always nearest.
typedef enum ibx_sim_rounding {
  IBX_SIM_ROUNDING_NEAREST,   ///< to nearest even
  IBX_SIM_ROUNDING_STOCHASTIC ///< up or down, in the mean the exact value; what
  ///< it does depends on the seed, not on the order.
  ///< No fast versions, as with `specification`
} ibx_sim_rounding;

/// Adversarial orders: each engine runs ahead of all others, twice. What a lost
/// wait changes shows itself in one of them.
enum { IBX_SIM_ADVERSARIES = 10 };

typedef struct ibx_sim_options {
  ibx_sim_order order;
  uint64_t seed; ///< RANDOM and STOCHASTIC; ADVERSARIAL: modulo
                 ///< IBX_SIM_ADVERSARIES
  bool poison;   ///< fill SBUF, PSUM, scratch HBM with NaN patterns at start
  uint64_t most_work; ///< instructions, or 64 elements each of what they move,
                      ///< after which it fails; 0: minutes
  bool specification; ///< one element after the other, as specified: slow; else
                      ///< with the same bytes, but for activation functions
  uint32_t threads;   ///< of a chip's run, at most one a core; 0: as many.
                      ///< Results do not depend on it
  ibx_sim_rounding rounding;
} ibx_sim_options;

/// Memory of a run: `hbm[i]` is the storage of buffer i of the entry when that
/// is an HBM buffer of kind INPUT, OUTPUT or STATE (bytes = its declared size);
/// other entries are ignored. The caller owns all of it.
typedef struct ibx_sim_memory {
  uint8_t **hbm;
} ibx_sim_memory;

/// One core: on-chip memories and scratch, reused between runs. Not thread-safe.
typedef struct ibx_sim ibx_sim;

IBX_API IBX_NODISCARD ibx_status ibx_sim_create(const ibx_program_data *program,
                                                const ibx_entry *entry,
                                                ibx_sim **out_sim,
                                                ibx_error *err);
IBX_API void ibx_sim_destroy(ibx_sim *sim);

/// Runs an entry of one core once. Fails with DEVICE_ERROR on what a proof excludes
/// (deadlock, out of range access) and on data errors (gather index out of
/// range, register_load beyond its limit).
IBX_API IBX_NODISCARD ibx_status ibx_sim_run(ibx_sim *sim,
                                             const ibx_sim_options *options,
                                             const ibx_sim_memory *memory,
                                             ibx_error *err);

/// All cores of an entry, on threads that a run starts and ends. Not
/// thread-safe. Split buffers hold ibx_buffer_bytes(): the parts of the cores.
typedef struct ibx_sim_chip ibx_sim_chip;

IBX_API IBX_NODISCARD ibx_status
ibx_sim_chip_create(const ibx_program_data *program, const ibx_entry *entry,
                    ibx_sim_chip **out_chip, ibx_error *err);
/// Accepts NULL.
IBX_API void ibx_sim_chip_destroy(ibx_sim_chip *chip);

/// Runs all cores once and returns when the last has ended. Fails as
/// ibx_sim_run(), with the error of the lowest rank that has one, and with
/// DEVICE_ERROR where a core waits for others that do not come.
IBX_API IBX_NODISCARD ibx_status
ibx_sim_chip_run(ibx_sim_chip *chip, const ibx_sim_options *options,
                 const ibx_sim_memory *memory, ibx_error *err);

typedef struct ibx_sim_event {
  uint64_t start_ps, end_ps; ///< occupies its agent
  uint64_t done_ps;          ///< complete: what it did can be seen
  uint64_t signal_ps; ///< its signal reaches the waiter; 0 where it sends none
  uint64_t dma;   ///< of a DMA and its pieces: number among those of `issuer`
  uint32_t index; ///< instruction in the stream of `issuer`
  uint8_t agent;  ///< ibx_engine, or IBX_ENGINE_COUNT + DMA engine; behind the
                  ///< last of them the collectives
  uint8_t issuer; ///< ibx_engine that issued it
} ibx_sim_event;

/// Called for each instruction and DMA piece, in order of start.
typedef void (*ibx_sim_event_fn)(void *user, const ibx_sim_event *event);

typedef struct ibx_sim_time {
  uint64_t total_ps;
  uint64_t busy_ps[IBX_ENGINE_COUNT]; ///< useful work of each engine
  uint64_t dma_busy_ps;               ///< time in which a DMA engine is busy,
                                      ///< averaged over the engines
  uint64_t dma_active_ps;             ///< time in which any DMA is in flight,
                                      ///< its start-up included
  uint64_t hbm_read_bytes;            ///< tensors
  uint64_t hbm_write_bytes;           ///< tensors
  uint64_t fetch_bytes;               ///< instructions and descriptors
  uint64_t instructions;              ///< executed
  uint64_t dma_count;
} ibx_sim_time;

/// Adds the time of what runs after `sum`.
IBX_API void ibx_sim_time_add(ibx_sim_time *sum, const ibx_sim_time *part);

/// Times the entry without data: one core of it, which is as all others, with its
/// share of the bandwidth of HBM. `on_event` may be NULL. Of an entry with steps,
/// the time of its device steps together; these have no common timeline, so
/// events are refused as UNSUPPORTED. Fails with DEVICE_ERROR on a deadlock.
IBX_API IBX_NODISCARD ibx_status
ibx_sim_time_entry(const ibx_program_data *program, const ibx_entry *entry,
                   ibx_sim_event_fn on_event, void *user,
                   ibx_sim_time *out_time, ibx_error *err);

/// What a caller knows of a number that the program loads from memory into a
/// register (register_load) and that time, which has no data, does not: how
/// often a loop really runs. Without it, time takes the most that the program
/// allows.
typedef struct ibx_sim_extent {
  /// The buffer that register_load reads, "length"; one word of it,
  /// "length[4]"; or a tensor of the entry that a DMA copies into that buffer.
  const char *name;
  uint32_t value;
} ibx_sim_extent;

/// All zero: as ibx_sim_time_entry() without events.
typedef struct ibx_sim_time_options {
  const ibx_sim_extent *extents;
  size_t extent_count;
  ibx_sim_event_fn on_event; ///< may be NULL
  void *user;
  uint64_t most_instructions; ///< of one engine, loops expanded; 0: 2^31
} ibx_sim_time_options;

/// The same with options. Also fails with NOT_FOUND when no register is loaded
/// from what an extent names, INVALID_ARGUMENT when it is more than the program
/// allows.
IBX_API IBX_NODISCARD ibx_status
ibx_sim_time_entry_with(const ibx_program_data *program, const ibx_entry *entry,
                        const ibx_sim_time_options *options,
                        ibx_sim_time *out_time, ibx_error *err);

/// A copy of the entry in which every register that is loaded from memory holds
/// its extent from then on, so that what the prover refuses to follow is
/// constant. `*out_entry` is NULL where nothing is loaded; else the caller owns
/// it, and the entry must outlive it. Fails as ibx_sim_time_entry_with(), and
/// with OUT_OF_MEMORY.
IBX_API IBX_NODISCARD ibx_status
ibx_sim_fix_extents(const ibx_entry *entry, const ibx_sim_extent *extents,
                    size_t extent_count, ibx_entry **out_entry, ibx_error *err);
/// Accepts NULL.
IBX_API void ibx_sim_free_fixed(ibx_entry *entry);

IBX_C_END
#endif
