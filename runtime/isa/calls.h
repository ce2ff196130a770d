// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ISA_CALLS_H
#define IBX_ISA_CALLS_H

/// \file
/// What checker, shapes and costs must know of the kernels in
/// gpsimd_calls.def. Pure functions over instructions that need not be checked.

#include "imbrex/isa.h"

typedef enum ibx_call_count {
  IBX_COUNT_NONE, ///< the member `count` is 0
  IBX_COUNT_SOME, ///< 1 to the elements of a partition
  IBX_COUNT_MANY  ///< at least 1
} ibx_call_count;

typedef enum ibx_call_lanes { IBX_LANES_ROW, IBX_LANES_EACH } ibx_call_lanes;

typedef enum ibx_call_types {
  IBX_TYPES_ANY,
  IBX_TYPES_VALUE,
  IBX_TYPES_INTEGER,
  IBX_TYPES_NUMBER,
  IBX_TYPES_INDEX,
  IBX_TYPES_LOGICAL,
  IBX_TYPES_F32,
  IBX_TYPES_SAME
} ibx_call_types;

typedef struct ibx_call_row {
  uint8_t opcode; ///< of the instruction that runs it
  ibx_call_count count;
  ibx_call_lanes lanes;
} ibx_call_row;

/// Lends the row of the kernel that a library call runs; NULL for other
/// instructions and unknown kernels.
const ibx_call_row *ibx_call_find(const ibx_insn *insn);

/// The types of operand `slot` of a known kernel.
ibx_call_types ibx_call_types_of(uint8_t call, size_t slot);

/// The elements of a partition of operand `slot`; 0 where they are those of the
/// instruction's space, or where it is no library call.
uint32_t ibx_call_elements(const ibx_insn *insn, size_t slot);

/// The elements that a lane works on, where a partition has `n`.
uint64_t ibx_call_work(const ibx_insn *insn, uint64_t n);

#endif
