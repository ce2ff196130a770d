// SPDX-License-Identifier: Apache-2.0
//
// Which cores meet, and what several cores cost each other. Comes in: a machine
// and how many cores of a chip run. Goes out: the group of a core, the share of
// one of them, and the time of a collective by the ring algorithm: n - 1 steps,
// in each of which a core passes an n-th of the bytes to its neighbour, at the
// rate of its DMA engines.

#include "imbrex/isa.h"

static const uint64_t ps_per_us = 1000000;

// Ranks, outermost first: block of groups, place in the group, which group of the
// block.
ibx_core_group ibx_insn_group(const ibx_insn *insn, uint32_t cores,
                              uint32_t rank) {
  uint32_t size = insn->group != 0 ? insn->group : cores;
  uint32_t stride = size > 1 && insn->stride > 1 ? insn->stride : 1;
  uint32_t place = rank / stride % size;
  return (ibx_core_group){.first = rank - place * stride,
                          .stride = stride,
                          .cores = size,
                          .rank = place};
}

uint32_t ibx_core_group_below(const ibx_core_group *group, uint32_t count) {
  return (group->rank + group->cores - count) % group->cores;
}

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
  uint32_t n = ibx_insn_group(insn, cores, 0).cores;
  if (n <= 1) return bytes_ps(machine, bytes); // a copy
  uint64_t steps = n - 1, part = bytes / n;
  switch (ibx_insn_collective(insn->opcode)) {
  case IBX_COLLECTIVE_NONE:
  case IBX_COLLECTIVE_BARRIER: return 0;
  case IBX_COLLECTIVE_EXCHANGE:
  case IBX_COLLECTIVE_PERMUTE: return step_ps(machine, bytes);
  case IBX_COLLECTIVE_PERMUTE_REDUCE: // of both sources one is passed on
    return adding_step_ps(machine, bytes / 2);
  case IBX_COLLECTIVE_ALL_GATHER:
  case IBX_COLLECTIVE_ALL_TO_ALL:
  case IBX_COLLECTIVE_ALL_GATHER_V: // as if all of its space were used
  case IBX_COLLECTIVE_ALL_TO_ALL_V: return steps * step_ps(machine, part);
  case IBX_COLLECTIVE_REDUCE_SCATTER:
    return steps * adding_step_ps(machine, part);
  case IBX_COLLECTIVE_ALL_REDUCE:
    return steps * (adding_step_ps(machine, part) + step_ps(machine, part));
  }
  return 0;
}
