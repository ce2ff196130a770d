// SPDX-License-Identifier: Apache-2.0
//
// What several cores cost each other. Comes in: a machine and how many cores of
// a chip run. Goes out: the share of one of them, and the time of a collective
// by the ring algorithm: n - 1 steps, in each of which a core passes an n-th
// of the bytes to its neighbour, at the rate of its DMA engines.

#include "imbrex/isa.h"

static const uint64_t ps_per_us = 1000000;

ibx_machine ibx_machine_share(const ibx_machine *machine, uint32_t cores) {
  ibx_machine share = *machine;
  // SBUF to SBUF would not need the share; we count it alike.
  uint64_t engines = (uint64_t)machine->dma_engines * (cores > 0 ? cores : 1);
  uint64_t limit = machine->hbm_mb_per_s / engines;
  if (limit < share.dma_mb_per_s) share.dma_mb_per_s = (uint32_t)limit;
  return share;
}

static uint64_t saturating_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  return ibx_mul_size(a, b, &product) ? product : UINT64_MAX / 4;
}

static uint64_t larger_side_bytes(const ibx_insn *insn) {
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[0].dtype);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    bytes = saturating_mul(bytes, insn->num[d]);
  }
  return bytes;
}

static uint64_t bytes_ps(const ibx_machine *machine, uint64_t bytes) {
  uint64_t rate = (uint64_t)machine->dma_mb_per_s * machine->dma_engines;
  return saturating_mul(bytes, ps_per_us) / rate;
}

static uint64_t step_ps(const ibx_machine *machine, uint64_t bytes) {
  return machine->collective_hop_ps + bytes_ps(machine, bytes);
}

static uint64_t adding_step_ps(const ibx_machine *machine, uint64_t bytes) {
  return machine->collective_hop_ps +
         bytes_ps(machine, bytes) * 100 / machine->dma_accumulate_percent;
}

uint64_t ibx_collective_ps(const ibx_machine *machine, uint32_t cores,
                           const ibx_insn *insn) {
  uint64_t bytes = larger_side_bytes(insn);
  if (cores <= 1) return bytes_ps(machine, bytes); // a copy
  uint64_t steps = cores - 1, part = bytes / cores;
  switch (ibx_insn_collective(insn->opcode)) {
  case IBX_COLLECTIVE_NONE:
  case IBX_COLLECTIVE_BARRIER: return 0;
  case IBX_COLLECTIVE_EXCHANGE:
  case IBX_COLLECTIVE_PERMUTE: return step_ps(machine, bytes);
  case IBX_COLLECTIVE_ALL_GATHER:
  case IBX_COLLECTIVE_ALL_TO_ALL: return steps * step_ps(machine, part);
  case IBX_COLLECTIVE_REDUCE_SCATTER:
    return steps * adding_step_ps(machine, part);
  case IBX_COLLECTIVE_ALL_REDUCE:
    return steps * (adding_step_ps(machine, part) + step_ps(machine, part));
  }
  return 0;
}
