// SPDX-License-Identifier: Apache-2.0
//
// The kernels of the GpSimd library, from gpsimd_calls.def. In: instructions,
// not trusted. Out: the rows, and their expressions worked out.

#include "isa/calls.h"

static const ibx_call_row rows[] = {
#define IBX_CALL(name, number, insn, row_count, row_lanes, work, ...)          \
  [number] = {.opcode = IBX_OP_##insn,                                         \
              .count = IBX_COUNT_##row_count,                                  \
              .lanes = IBX_LANES_##row_lanes},
#include "imbrex/gpsimd_calls.def"
};

static const uint8_t types[][IBX_OPERANDS] = {
#define IBX_CALL_OPERAND(name, slot, elements, row_types)                      \
  [IBX_CALL_##name][slot] = IBX_TYPES_##row_types,
#include "imbrex/gpsimd_calls.def"
};

const ibx_call_row *ibx_call_find(const ibx_insn *insn) {
  bool is_known =
      ibx_insn_is_call(insn->opcode) && insn->op[0] < IBX_CALL_COUNT;
  return is_known ? &rows[insn->op[0]] : NULL;
}

ibx_call_types ibx_call_types_of(uint8_t call, size_t slot) {
  return (ibx_call_types)types[call][slot];
}

enum { ALL = 0 };

uint32_t ibx_call_elements(const ibx_insn *insn, size_t slot) {
  if (!ibx_insn_is_call(insn->opcode)) return ALL;
  const uint32_t *num = insn->num;
  const uint32_t N = num[2] * num[3] * num[4], K = insn->count;
  (void)N, (void)K;
  switch (insn->op[0] * (unsigned)IBX_OPERANDS + slot) {
#define IBX_CALL_OPERAND(name, slot, elements, row_types)                      \
  case IBX_CALL_##name *IBX_OPERANDS + (slot): return (elements);
#include "imbrex/gpsimd_calls.def"
  default: return ALL;
  }
}

static uint64_t log_up(uint64_t n) {
  uint64_t bits = 0;
  while (n > UINT64_C(1) << bits) {
    bits++;
  }
  return bits;
}

uint64_t ibx_call_work(const ibx_insn *insn, uint64_t n) {
  const uint64_t N = n, K = insn->count, LOG = log_up(n);
  (void)K, (void)LOG;
  switch (insn->op[0]) {
#define IBX_CALL(name, number, insn, count, lanes, work, ...)                  \
  case number: return (work);
#include "imbrex/gpsimd_calls.def"
  default: return N;
  }
}
