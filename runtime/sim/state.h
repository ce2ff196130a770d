// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_STATE_H
#define IBX_SIM_STATE_H

/// \file
/// The state of the functional simulator and the context of one executed
/// instruction: what sim.c, order.c and the exec_*.c files share. Every
/// instruction of the entry has passed ibx_insn_check() and loops nest, so that
/// only addresses, indices and register values remain to be checked.

#include "imbrex/sim.h"
#include "sim/dma_plan.h"
#include "sim/gemm.h"
#include "sim/meeting.h"

enum {
  IBX_SIM_ROW = 65536, ///< most elements of a partition in one instruction
  IBX_SIM_HBM_ROW = 1 << 24, ///< the same in HBM, of library calls
  IBX_SIM_SCRATCHES = 4,
  IBX_SIM_SHADOWS = IBX_OPERANDS,
  IBX_SIM_BLOCKS = IBX_SPACE_COUNT + IBX_SIM_SCRATCHES + 1,
  IBX_SIM_LOOP_DEPTH = 8,
  IBX_SIM_CORES = 8,            ///< of a run: chip_cores of no machine is more
  IBX_SIM_GENERATOR_WORDS = 24, ///< of a partition, on Vector
  IBX_ARRAY = 128,              ///< rows and columns of the tensor engine
  IBX_ARRAY_STEP = IBX_GEMM_A_STEP,
  IBX_ARRAY_PLANES = 4 ///< values that one of its cells multiplies at most
};

typedef struct ibx_sim_loop {
  size_t start; ///< the loop instruction
  uint32_t trips;
  uint8_t reg;
} ibx_sim_loop;

/// One engine's control unit.
typedef struct ibx_sim_sequencer {
  size_t pc; ///< next instruction
  uint32_t loop_reg[IBX_LOOP_REGISTERS];
  uint32_t reg[IBX_REGISTERS];
  ibx_sim_loop loops[IBX_SIM_LOOP_DEPTH];
  size_t depth;
  uint64_t executed; ///< instructions before the present one
} ibx_sim_sequencer;

/// Room for a row, as what an instruction takes it for.
typedef union ibx_sim_scratch {
  float f32[IBX_SIM_ROW];
  uint32_t u32[IBX_SIM_ROW];
  uint8_t bytes[IBX_SIM_ROW * sizeof(float)];
} ibx_sim_scratch;

/// Memory that grows and keeps its content's room between runs.
typedef struct ibx_sim_shadow {
  uint8_t *data;
  size_t size;
} ibx_sim_shadow;

/// A DMA under way, in the orders that run its pieces on their own.
typedef struct ibx_sim_flight {
  ibx_dma_plan plan;
  uint64_t serial; ///< in the order of issue
  uint8_t queue;
  uint8_t semaphore;
  bool signals;
  size_t pieces_left;
} ibx_sim_flight;

/// What is left to do of it.
typedef struct ibx_sim_flight_piece {
  size_t flight;
  uint64_t first, elements;
} ibx_sim_flight_piece;

/// The DMAs under way; at most dma_in_flight a queue. Made by the first run
/// whose order needs it.
typedef struct ibx_sim_flights {
  ibx_sim_flight *flight;
  size_t *free; ///< flights that are not used
  size_t free_count, capacity;
  uint64_t launched; ///< the next serial
  ibx_sim_flight_piece *pieces;
  size_t piece_count;
  ibx_dma_piece *split; ///< room for the pieces of one DMA
  size_t queue_used[UINT8_MAX + 1];
} ibx_sim_flights;

struct ibx_sim {
  const ibx_program_data *program;
  const ibx_entry *entry;
  const ibx_machine *machine;

  uint8_t *block[IBX_SIM_BLOCKS]; ///< what the memories below lie in
  size_t block_count;
  uint8_t *memory[IBX_SPACE_COUNT]; ///< HBM: scratch only
  uint64_t memory_bytes[IBX_SPACE_COUNT];
  size_t partition_bytes[IBX_SPACE_COUNT]; ///< distance of partitions
  uint64_t hbm_first;                      ///< offset of memory[HBM][0]
  ibx_buffer_place *places;
  uint8_t **bases;                     ///< first byte of each buffer
  uint32_t *partner[IBX_ENGINE_COUNT]; ///< loop of a loop_end and back
  float *array; ///< [plane][row][IBX_ARRAY_STEP], fp32; mostly plane 0 alone
  float accumulator[IBX_ENGINE_COUNT][IBX_PARTITIONS]; ///< see IBX_REDUCE
  uint32_t generator[IBX_ENGINE_COUNT][IBX_PARTITIONS][IBX_SIM_GENERATOR_WORDS];
  ibx_sim_scratch *scratch[IBX_SIM_SCRATCHES];
  ibx_sim_shadow shadow[IBX_SIM_SHADOWS];

  // Of the run.
  ibx_sim_order order;
  bool specification; ///< no fast versions
  bool is_stochastic; ///< see rounding.h
  uint64_t seed;      ///< of rounding
  uint64_t random;
  uint64_t work_left;
  uint64_t semaphores[IBX_SEMAPHORES];
  ibx_sim_sequencer engines[IBX_ENGINE_COUNT];

  ibx_sim_flights flights;
  ibx_sim_meetings meetings;
  struct ibx_sim *self; ///< the peers of a core that is alone
};

/// One instruction being executed.
typedef struct ibx_exec {
  ibx_sim *sim;
  const ibx_insn *insn;
  ibx_sim_sequencer *seq;
  ibx_engine engine;
  ibx_error *err;
} ibx_exec;

/// Prepares memories and registers for a run.
ibx_status ibx_sim_begin(ibx_sim *sim, const ibx_sim_options *options,
                         const ibx_sim_memory *memory, ibx_error *err);
/// Prepares the order that `sim->order` asks for.
ibx_status ibx_sim_begin_order(ibx_sim *sim, ibx_error *err);
/// Runs on in that order, to the end or until other cores must come to a meeting
/// first, of which `*out_waits` tells.
ibx_status ibx_sim_advance(ibx_sim *sim, bool *out_waits, ibx_error *err);

/// Puts a DMA among those under way.
ibx_status ibx_sim_launch(const ibx_exec *x);

/// Executes one instruction but for its wait and its signal.
ibx_status ibx_sim_execute(const ibx_exec *x);

/// One function for each instruction: its specification, in the words of
/// element.h.
#define IBX_INSN(name, ...) ibx_status ibx_exec_##name(const ibx_exec *x);
#include "imbrex/isa.def"

/// A faster one that gives the same bytes, but for activations (rows.h).
#define IBX_FAST(name) ibx_status ibx_fast_##name(const ibx_exec *x);
#include "imbrex/isa.def"

/// That of `opcode`, or NULL.
typedef ibx_status (*ibx_exec_fn)(const ibx_exec *x);
ibx_exec_fn ibx_sim_find_fast(uint8_t opcode);

/// Fills the error of an instruction: "tensor_copy: ...".
#define IBX_EXEC_FAIL(x, format, ...)                                          \
  IBX_FAIL((x)->err, DEVICE_ERROR, "%s: " format,                              \
           ibx_insn_get((x)->insn->opcode)->name, __VA_ARGS__)

#endif
