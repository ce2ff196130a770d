// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ISA_H
#define IBX_ISA_H

/// \file
/// The instruction set: decoded instructions, their tables, the encoder and
/// decoder, the checker of single instructions and the cost formulas. Pure
/// functions over tables made from isa.def; nothing allocates.

#include "imbrex/dtype.h"
#include "imbrex/machine.h"
#include "imbrex/status.h"

IBX_C_BEGIN

enum {
  IBX_WORD_BYTES = 64,    ///< instructions are fetched in words of this size
  IBX_INSN_MAX_WORDS = 3, ///< a DMA with loop strides
  IBX_DIMS = 5,
  IBX_OPERANDS = 4,
  IBX_OPERATORS = 4,
  IBX_IMMEDIATES = 4,
  IBX_QUADRANT = 32, ///< partitions that a shuffle stays within
  IBX_SHUFFLE_LEAVE = 255,
  IBX_MAX_BUFFERS = 0xffff, ///< of an entry in a file: its instructions have
                            ///< 16 bits for a number, and all ones name none
  IBX_NO_REGISTER = 0xff
};
#define IBX_NO_BUFFER UINT32_MAX

typedef enum ibx_opcode {
#define IBX_INSN(name, opcode, ...) IBX_OP_##name = opcode,
#include "imbrex/isa.def"
} ibx_opcode;

typedef enum ibx_alu {
#define IBX_ALU(name, number, ...) IBX_ALU_##name = number,
#include "imbrex/isa.def"
  IBX_ALU_COUNT
} ibx_alu;

typedef enum ibx_act {
#define IBX_ACT(name, number, ...) IBX_ACT_##name = number,
#include "imbrex/isa.def"
  IBX_ACT_COUNT
} ibx_act;

/// Kernels of the GpSimd library.
typedef enum ibx_call_number {
#define IBX_CALL(name, number, ...) IBX_CALL_##name = number,
#include "imbrex/gpsimd_calls.def"
  IBX_CALL_COUNT
} ibx_call_number;

typedef enum ibx_format {
#define IBX_FORMAT(name, ...) IBX_FORMAT_##name,
#include "imbrex/isa.def"
  IBX_FORMAT_COUNT
} ibx_format;

/// Values of the member `mode`, as IBX_MODE_load_stationary_DOUBLE_ROW.
enum {
#define IBX_MODE(insn, name, number, ...) IBX_MODE_##insn##_##name = (number),
#include "imbrex/isa.def"
};

/// Bits of an instruction's `flags`; isa.def tells what they do.
enum {
#define IBX_FLAG(name, bit, sentence) IBX_FLAG_##name = (bit),
#include "imbrex/isa.def"
};

/// What an instruction with IBX_OPERATOR or the `reduce` member does with the
/// accumulators of its engine.
typedef enum ibx_reduce {
#define IBX_REDUCE(name, number, sentence) IBX_REDUCE_##name = (number),
#include "imbrex/isa.def"
  IBX_REDUCE_COUNT
} ibx_reduce;

/// States of an engine that no operand shows, one bit each.
enum {
  IBX_STATE_ACCUMULATORS = 1,
  IBX_STATE_GENERATOR = 2 ///< of random numbers
};

/// Where a DMA's descriptors come from.
typedef enum ibx_dge {
  IBX_DGE_STATIC,   ///< rings in HBM, made at load; no loop strides, no gather
  IBX_DGE_HARDWARE, ///< Sync and Scalar, v3 and later; no gather
  IBX_DGE_SOFTWARE, ///< GpSimd
  IBX_DGE_COUNT
} ibx_dge;

/// One operand. An address is that of its buffer plus what stands here:
///   SBUF, PSUM  partition `partition` + partition_step[d] * i[d] of the buffer,
///               byte `offset` + sum(step[d] * i[d]) * dtype bytes
///               + sum(loop_step[r] * register r) in that partition
///   HBM         byte `offset` + ... of the buffer, likewise; `partition` 0
/// Engine instructions walk `partitions` partitions by themselves and have
/// partition_step 0. A [P,1] operand (slots s, w) has no steps: one element at
/// `offset` in each partition.
typedef struct ibx_operand {
  uint64_t offset;        ///< bytes
  int32_t step[IBX_DIMS]; ///< elements
  uint32_t buffer;        ///< index of the entry's buffer, or IBX_NO_BUFFER
  int32_t loop_step[IBX_LOOP_REGISTERS]; ///< bytes
  uint8_t partition;               ///< first, relative to the buffer's first
  uint8_t dtype;                   ///< ibx_dtype
  int8_t partition_step[IBX_DIMS]; ///< partitions; DMA and SBUF only
} ibx_operand;

/// One decoded instruction. Operand slots: 0 is the destination, 1 the (first)
/// source; isa.def names the others.
typedef struct ibx_insn {
  ibx_operand operand[IBX_OPERANDS];
  uint32_t num[IBX_DIMS]; ///< iteration space, outermost first; at least 1 each
  float imm[IBX_IMMEDIATES];
  int32_t pattern[3];    ///< wide: steps of an affine expression over num[2..4]
  uint32_t count;        ///< loop trips, register value, rows or elements of a
                         ///< gather, places of an operand that a register moves
  uint16_t wait_value;   ///< 0: no wait. Waits for >= value, then subtracts it
  uint16_t signal_value; ///< 0: no signal. A DMA: the number of its pieces
  uint8_t wait_semaphore;
  uint8_t signal_semaphore;
  uint8_t opcode;            ///< ibx_opcode
  uint8_t flags;             ///< IBX_FLAG_...
  uint8_t op[IBX_OPERATORS]; ///< what IBX_OPERATOR says of each, or 0
  uint8_t partitions;     ///< of the engine operands, 1 to 128; of a matmul: K
  uint8_t columns;        ///< matmul: partitions of dst, 1 to 128
  uint8_t queue;          ///< DMA ring, 0 to 15
  uint8_t dge;            ///< ibx_dge
  uint8_t reg[2];         ///< control
  uint8_t reduce;         ///< ibx_reduce: accumulators of Scalar and Vector
  uint8_t mode;           ///< of the instruction; isa.def tells which there are
  uint8_t index_register; ///< 1 + a register that moves operand `index_slot`
                          ///< by step[0] (and, of a DMA, partition_step[0])
                          ///< a unit; 0: none
  uint8_t index_slot;
  uint8_t group;                 ///< cores that meet among themselves; 0: all
  uint8_t stride;                ///< ranks from one of them to the next; 0: 1
  uint8_t shuffle[IBX_QUADRANT]; ///< source of each partition of 32
} ibx_insn;

/// What time, prover and simulator must know of an instruction.
typedef enum ibx_insn_kind {
  IBX_KIND_WORK,       ///< reads operands, computes, writes operands
  IBX_KIND_STATIONARY, ///< loads rows of the array
  IBX_KIND_PRODUCT,    ///< streams through the array into an accumulation group
  IBX_KIND_TRANSPOSE,  ///< streams through the array, no group
  IBX_KIND_DMA,
  IBX_KIND_LOOP,
  IBX_KIND_LOOP_END,
  IBX_KIND_REGISTER, ///< sets a register
  IBX_KIND_SEMAPHORE
} ibx_insn_kind;

typedef enum ibx_operator_kind {
  IBX_OPERATOR_NONE, ///< the op[] is 0
  IBX_OPERATOR_ALU,
  IBX_OPERATOR_ARITH,     ///< an ALU operator that is not on bits
  IBX_OPERATOR_REDUCIBLE, ///< an ALU operator that reduces
  IBX_OPERATOR_ACT,
  IBX_OPERATOR_CALL ///< a kernel of the GpSimd library
} ibx_operator_kind;

typedef enum ibx_transfer_index {
  IBX_TRANSFER_NONE = -1,
  IBX_TRANSFER_DST = 0, ///< the slot that goes through the index tensor
  IBX_TRANSFER_SRC = 1
} ibx_transfer_index;

typedef enum ibx_transfer_combine {
  IBX_TRANSFER_COPY,
  IBX_TRANSFER_ADD, ///< to what dst holds
  IBX_TRANSFER_SUM  ///< of num[0] sources
} ibx_transfer_combine;

typedef enum ibx_transfer_rate {
  IBX_TRANSFER_FULL,
  IBX_TRANSFER_CCE, ///< dma_accumulate_percent and its like
  IBX_TRANSFER_TRANSPOSE
} ibx_transfer_rate;

/// What a DMA does with the elements that it moves.
typedef struct ibx_transfer {
  ibx_transfer_index index;
  ibx_transfer_combine combine;
  ibx_transfer_rate rate;
} ibx_transfer;

/// How the cores of a program meet in an instruction.
typedef enum ibx_collective {
  IBX_COLLECTIVE_NONE, ///< they do not
  IBX_COLLECTIVE_BARRIER,
  IBX_COLLECTIVE_EXCHANGE,
  IBX_COLLECTIVE_ALL_REDUCE,
  IBX_COLLECTIVE_ALL_GATHER,
  IBX_COLLECTIVE_REDUCE_SCATTER,
  IBX_COLLECTIVE_ALL_TO_ALL,
  IBX_COLLECTIVE_PERMUTE,
  IBX_COLLECTIVE_PERMUTE_REDUCE,
  IBX_COLLECTIVE_ALL_GATHER_V,
  IBX_COLLECTIVE_ALL_TO_ALL_V
} ibx_collective;

typedef enum ibx_slot_kind {
  IBX_SLOT_NONE,
  IBX_SLOT_READ,
  IBX_SLOT_WRITE,
  IBX_SLOT_READ_WRITE,
  IBX_SLOT_SCALAR_READ, ///< [P,1] or an immediate (buffer IBX_NO_BUFFER)
  IBX_SLOT_SCALAR_WRITE
} ibx_slot_kind;

typedef enum ibx_field_kind {
  IBX_FIELD_UINT,
  IBX_FIELD_SINT,
  IBX_FIELD_FLOAT,
  IBX_FIELD_BUFFER ///< unsigned; all ones, in the field as in the member: none
} ibx_field_kind;

typedef struct ibx_field_info {
  const char *name; ///< the member's spelling: "operand[0].offset"
  uint16_t member_offset;
  uint8_t member_bytes;
  uint8_t width;
  uint16_t low_bit;
  ibx_field_kind kind;
} ibx_field_info;

typedef struct ibx_insn_info {
  const char *name;
  const char *sentence;
  const char *source;
  ibx_format format;
  ibx_insn_kind kind;
  ibx_slot_kind slot[IBX_OPERANDS];
  uint8_t engines; ///< bit per ibx_engine
  uint8_t targets; ///< bit per ibx_target number
} ibx_insn_info;

/// Lends the row of an opcode; NULL when there is none.
IBX_API const ibx_insn_info *ibx_insn_get(uint8_t opcode);
/// Lends the row of a name and its opcode; NULL when there is none.
IBX_API const ibx_insn_info *ibx_insn_find(const char *name, size_t len,
                                           uint8_t *out_opcode);
/// Lends the fields of a format and their number.
IBX_API const ibx_field_info *ibx_format_fields(ibx_format format,
                                                size_t *out_count);
IBX_API const char *ibx_format_name(ibx_format format);
IBX_API size_t ibx_format_words(ibx_format format); ///< of IBX_WORD_BYTES
IBX_API const char *ibx_alu_name(uint8_t alu); ///< "add"; NULL past the last
IBX_API const char *ibx_act_name(uint8_t act); ///< "gelu"; NULL past the last
IBX_API bool ibx_alu_is_reducible(uint8_t alu);
IBX_API bool ibx_alu_is_bitwise(uint8_t alu);
IBX_API const char *ibx_call_name(uint8_t call); ///< "top"; NULL past the last
/// What a model can do so that the call is not needed; NULL past the last.
IBX_API const char *ibx_call_instead(uint8_t call);
IBX_API bool ibx_alu_is_unary(uint8_t alu);
/// The activation table set of a function; 0 needs no table.
IBX_API uint8_t ibx_act_table(uint8_t act);

/// Where a function of Scalar is published to hold: x, or |x|, from low to high.
typedef struct ibx_act_range {
  float low, high;
  bool is_magnitude;
} ibx_act_range;
/// False when it holds everywhere; `*out` is unchanged then.
IBX_API bool ibx_act_range_find(uint8_t act, ibx_act_range *out);

/// An instruction with no wait, no signal, no operand, a space of one element.
IBX_API ibx_insn ibx_insn_make(ibx_opcode opcode);
/// The same of opcode 0.
IBX_API extern const ibx_insn ibx_insn_plain;

/// What the slot's operand is.
static inline bool ibx_slot_is_tensor(ibx_slot_kind kind) {
  return kind == IBX_SLOT_READ || kind == IBX_SLOT_WRITE ||
         kind == IBX_SLOT_READ_WRITE;
}
static inline bool ibx_slot_is_scalar(ibx_slot_kind kind) {
  return kind == IBX_SLOT_SCALAR_READ || kind == IBX_SLOT_SCALAR_WRITE;
}
static inline bool ibx_slot_reads(ibx_slot_kind kind) {
  return kind == IBX_SLOT_READ || kind == IBX_SLOT_READ_WRITE ||
         kind == IBX_SLOT_SCALAR_READ;
}
static inline bool ibx_slot_writes(ibx_slot_kind kind) {
  return kind == IBX_SLOT_WRITE || kind == IBX_SLOT_READ_WRITE ||
         kind == IBX_SLOT_SCALAR_WRITE;
}

/// The space that an operand walks: `groups` groups, `group_step` partitions
/// apart, of `partitions` partitions, times num[d] places at distance step[d]
/// (and, in a DMA, partition_step[d]). More than one group has only an operand
/// of an engine instruction, whose num[0] and num[1] are 1.
typedef struct ibx_operand_shape {
  uint32_t groups, group_step;
  uint32_t partitions;
  uint32_t num[IBX_DIMS];
} ibx_operand_shape;

/// The space of operand `slot`, whose slot kind is not NONE: everything that
/// the instruction may touch there, so that of a gather's source it is the whole
/// table. Counts may be 0 where the instruction was not checked.
IBX_API ibx_operand_shape ibx_insn_shape(const ibx_insn *insn, size_t slot);

/// Whether the instruction runs a kernel of the GpSimd library, whose operands
/// may lie in HBM and be integers of 64 bits.
IBX_API bool ibx_insn_is_call(uint8_t opcode);
/// What a DMA does. The opcode is one of kind DMA.
IBX_API ibx_transfer ibx_insn_transfer(uint8_t opcode);

/// How the cores meet in an instruction; NONE where they do not.
IBX_API ibx_collective ibx_insn_collective(uint8_t opcode);

/// The cores that meet in an instruction: ranks first, first + stride, ...
typedef struct ibx_core_group {
  uint32_t first, stride, cores;
  uint32_t rank; ///< in the group, of the core that was asked for
} ibx_core_group;
/// The group of core `rank` of `cores`. The instruction has passed
/// ibx_insn_check_cores() with that number of cores.
IBX_API ibx_core_group ibx_insn_group(const ibx_insn *insn, uint32_t cores,
                                      uint32_t rank);
/// The rank, in the group, of the core `count` ranks below the one asked for.
IBX_API uint32_t ibx_core_group_below(const ibx_core_group *group,
                                      uint32_t count);

/// Whether a register moves operand `slot`, which then is at one of its places.
static inline bool ibx_insn_is_indexed(const ibx_insn *insn, size_t slot) {
  return insn->index_register != 0 && insn->index_slot == slot;
}

/// What op[index] of an instruction is.
IBX_API ibx_operator_kind ibx_insn_operator(uint8_t opcode, size_t index);
/// The name of the operator `value`, or NULL when that kind has none such.
IBX_API const char *ibx_operator_name(ibx_operator_kind kind, uint8_t value);
/// The flags that an instruction takes, IBX_FLAG_LOOPED included.
IBX_API uint8_t ibx_insn_flags(uint8_t opcode);
/// Whether operand `slot` has a PACKED type.
IBX_API bool ibx_slot_is_packed(uint8_t opcode, size_t slot);
/// "double_row", or NULL where the instruction has no such mode.
IBX_API const char *ibx_mode_name(uint8_t opcode, uint8_t mode);
/// The targets that have a mode, bit per ibx_target number; all have mode 0.
IBX_API uint8_t ibx_mode_targets(uint8_t opcode, uint8_t mode);
/// The commands of `reduce` that an instruction takes, one bit each.
IBX_API uint8_t ibx_insn_reduces(uint8_t opcode);
/// The states of its engine that an instruction uses: IBX_STATE_ bits. One with
/// the command IDLE does not use the accumulators.
IBX_API uint8_t ibx_insn_state(const ibx_insn *insn);
IBX_API const char *ibx_flag_name(uint8_t bit);      ///< "accumulate", or NULL
IBX_API const char *ibx_reduce_name(uint8_t number); ///< "reset", or NULL

/// Words of the encoded instruction, 1 to IBX_INSN_MAX_WORDS.
IBX_API size_t ibx_insn_words(const ibx_insn *insn);

/// Encodes into `ibx_insn_words(insn) * 64` bytes at `out`. Fails with
/// INVALID_PROGRAM and the field's name when a value does not fit its field.
IBX_API IBX_NODISCARD ibx_status ibx_insn_encode(const ibx_insn *insn,
                                                 uint8_t *out, ibx_error *err);

/// Decodes the instruction at the start of `bytes` and stores the words that it
/// takes. Fails with INVALID_PROGRAM on an unknown opcode, a cut instruction,
/// or an unassigned bit that is not zero.
IBX_API IBX_NODISCARD ibx_status ibx_insn_decode(ibx_span bytes,
                                                 ibx_insn *out_insn,
                                                 size_t *out_words,
                                                 ibx_error *err);

/// What the checker and the cost formulas must know of a buffer.
typedef struct ibx_buffer_place {
  ibx_space space;
  uint8_t partition;   ///< first; SBUF and PSUM
  uint16_t partitions; ///< 1 to 128; 1 for HBM
  uint64_t offset;     ///< bytes in the partition; HBM: in the core's share
  uint64_t bytes;      ///< of one partition; HBM: of the whole buffer
} ibx_buffer_place;

/// Checks one instruction against the limits of the machine: engine, target,
/// operand counts, partition starts, free sizes, dtypes, memories, ALU
/// operators, alignment to elements. Loops and ranges are the prover's.
IBX_API IBX_NODISCARD ibx_status ibx_insn_check(
    const ibx_machine *machine, ibx_engine engine, const ibx_insn *insn,
    const ibx_buffer_place *buffers, size_t buffer_count, ibx_error *err);

/// Checks what an instruction asks of the number of cores that run it; it has
/// passed ibx_insn_check(). Fails with INVALID_PROGRAM.
IBX_API IBX_NODISCARD ibx_status ibx_insn_check_cores(const ibx_insn *insn,
                                                      uint32_t cores,
                                                      ibx_error *err);

/// The cost of one instruction on its engine, in cycles of that engine.
typedef struct ibx_insn_cost {
  uint32_t issue_cycles;  ///< until the engine can start the next one
  uint32_t result_cycles; ///< until its writes are visible, from its start
  uint32_t busy_cycles;   ///< of useful work, for the busy share
  uint8_t table;          ///< activation table set that must be loaded, or 0
} ibx_insn_cost;

/// Engine instructions and control; a DMA gives its issue cost only.
IBX_API ibx_insn_cost ibx_insn_cost_get(const ibx_machine *machine,
                                        ibx_engine engine, const ibx_insn *insn,
                                        const ibx_buffer_place *buffers);

/// One of the pieces of a DMA: a run of descriptors on one DMA engine.
typedef struct ibx_dma_piece {
  uint64_t descriptors;
  uint64_t bytes; ///< the larger of both sides
  uint64_t first; ///< element index (in iteration order) it starts at; of a
                  ///< sum, over num[1..4]
  uint64_t elements;
  uint8_t percent; ///< of the rate at which it runs; 0 means all of it
} ibx_dma_piece;

/// Cuts a DMA into at most machine->dma_engines pieces, in iteration order, and
/// returns their number (the value that its signal must have). A descriptor is
/// a run of elements contiguous on both sides (of a transposition: in the
/// source, of a sum: for each source), of at most dma_descriptor_bytes.
/// `pieces` may be NULL, else has room for machine->dma_engines.
IBX_API size_t ibx_dma_split(const ibx_machine *machine, const ibx_insn *insn,
                             const ibx_buffer_place *buffers,
                             ibx_dma_piece *pieces);

/// What one of `cores` running cores sees of the machine: its DMA engines share
/// the bandwidth of HBM.
IBX_API ibx_machine ibx_machine_share(const ibx_machine *machine,
                                      uint32_t cores);

/// Time of a checked collective of an entry of `cores` cores, from its start to
/// its completion. `machine` is a share.
IBX_API uint64_t ibx_collective_ps(const ibx_machine *machine, uint32_t cores,
                                   const ibx_insn *insn);

/// Time for which a piece occupies its DMA engine.
IBX_API uint64_t ibx_dma_piece_ps(const ibx_machine *machine,
                                  const ibx_dma_piece *piece);

IBX_C_END
#endif
