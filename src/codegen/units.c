// SPDX-License-Identifier: Apache-2.0
//
// Units of scheduling. Comes in: steps and their dependences. Goes out: chains
// of glued steps as units, the cost of each step on each engine that has it,
// the dependences seen from the producer, and for each unit the longest path of
// latencies to the end, which is what makes it urgent. Costs are those of the
// simulator (isa.h).

#include "codegen/units.h"

#include "codegen/footprint.h"

// The most pieces of a DMA on any target.
enum {
#define IBX_FACT(field, unit, v2, v3, v4, mark, source)                        \
  MOST_##field =                                                               \
      (v2) > (v3) ? ((v2) > (v4) ? (v2) : (v4)) : ((v3) > (v4) ? (v3) : (v4)),
#include "imbrex/machine.def"
};

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

// --- costs -----------------------------------------------------------------------

static uint8_t banks_of(const ibx_units *u, const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  int64_t bank_bytes = u->mir->machine->psum_bank_bytes;
  unsigned banks = 0;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    uint32_t buffer = insn->operand[i].buffer;
    if (info->slot[i] == IBX_SLOT_NONE || buffer == IBX_NO_BUFFER) continue;
    if (u->places[buffer].space != IBX_SPACE_PSUM) continue;
    ibx_footprint f;
    if (!ibx_footprint_make(insn, i, &u->places[buffer], &f)) continue;
    for (int64_t b = f.first / bank_bytes; b <= (f.end - 1) / bank_bytes; b++) {
      if (b < IBX_PSUM_BANKS) banks |= 1u << b;
    }
  }
  return (uint8_t)banks;
}

static void cost_variants(ibx_units *u, uint32_t index) {
  const ibx_machine *machine = u->mir->machine;
  const ibx_mir_step *step = &u->mir->steps[index];
  for (uint8_t v = 0; v < step->variant_count; v++) {
    ibx_engine engine = step->variant[v].engine;
    ibx_insn_cost cost =
        ibx_insn_cost_get(machine, engine, &step->variant[v].insn, u->places);
    u->costs[index * IBX_MIR_VARIANTS + v] = (ibx_step_cost){
        .issue_ps =
            ibx_machine_cycles_to_ps(machine, engine, cost.issue_cycles),
        .result_ps =
            ibx_machine_cycles_to_ps(machine, engine, cost.result_cycles),
        .variant = v,
        .table = cost.table,
        .banks = banks_of(u, &step->variant[v].insn)};
  }
}

static void cost_dma(ibx_units *u, uint32_t index) {
  const ibx_machine *machine = u->mir->machine;
  const ibx_mir_step *step = &u->mir->steps[index];
  ibx_insn insn = step->variant[0].insn;
  insn.dge = ibx_units_is_gather(step) ? IBX_DGE_SOFTWARE : IBX_DGE_STATIC;
  ibx_engine issuer =
      ibx_units_is_gather(step) ? IBX_ENGINE_GPSIMD : IBX_ENGINE_SYNC;
  ibx_insn_cost cost = ibx_insn_cost_get(machine, issuer, &insn, u->places);
  uint64_t issue_ps =
      ibx_machine_cycles_to_ps(machine, issuer, cost.issue_cycles);
  u->costs[index * IBX_MIR_VARIANTS] =
      (ibx_step_cost){.issue_ps = issue_ps, .result_ps = issue_ps};
  ibx_dma_piece pieces[MOST_dma_engines];
  size_t count = ibx_dma_split(machine, &insn, u->places, pieces);
  uint64_t sum_ps = 0;
  for (size_t i = 0; i < count; i++) {
    ibx_dma_piece ring = {.bytes = ibx_units_is_gather(step)
                                       ? 0
                                       : pieces[i].descriptors *
                                             machine->ring_descriptor_bytes};
    sum_ps += ibx_dma_piece_ps(machine, &pieces[i]) +
              ibx_dma_piece_ps(machine, &ring);
  }
  u->dma[index] =
      (ibx_dma_cost){.piece_ps = count ? (sum_ps + count - 1) / count : 0,
                     .pieces = (uint32_t)count};
}

const ibx_step_cost *ibx_units_cost(const ibx_units *units, uint32_t step,
                                    ibx_engine engine) {
  const ibx_mir_step *s = &units->mir->steps[step];
  const ibx_step_cost *costs = &units->costs[step * IBX_MIR_VARIANTS];
  for (uint8_t v = 1; v < s->variant_count && !s->is_dma; v++) {
    if (s->variant[v].engine == engine) return &costs[v];
  }
  return costs;
}

// --- units -----------------------------------------------------------------------

static uint8_t engines_of(const ibx_mir_step *step) {
  if (step->is_dma) {
    unsigned issuers = 1u << IBX_ENGINE_GPSIMD;
    if (!ibx_units_is_gather(step)) issuers |= 1u << IBX_ENGINE_SYNC;
    return (uint8_t)issuers;
  }
  unsigned engines = 0;
  for (size_t v = 0; v < step->variant_count; v++) {
    engines |= 1u << step->variant[v].engine;
  }
  return (uint8_t)engines;
}

static ibx_status add_unit(ibx_units *u, uint32_t first, uint32_t *out_next,
                           ibx_error *err) {
  const ibx_mir *mir = u->mir;
  ibx_unit *unit = &u->units[u->count];
  *unit = (ibx_unit){.first = first,
                     .use = first,
                     .is_dma = mir->steps[first].is_dma,
                     .engines = engines_of(&mir->steps[first])};
  uint32_t at = first;
  bool is_glued;
  do {
    const ibx_mir_step *step = &mir->steps[at];
    unit->engines &= engines_of(step);
    u->unit_of[at] = (uint32_t)u->count;
    if (at > first && step->is_dma) unit->engines = 0;
    is_glued = step->glued && at + 1 < mir->step_count;
    at++;
  } while (is_glued);
  unit->count = at - first;
  u->count++;
  *out_next = at;
  if (unit->engines) return IBX_OK;
  return IBX_FAIL(err, INTERNAL, "the chain of steps %lu to %lu has no engine",
                  (unsigned long)first, (unsigned long)at - 1);
}

static void find_users(ibx_units *u, ibx_arena *arena) {
  const ibx_depend *depend = u->depend;
  size_t steps = u->mir->step_count;
  u->first_user = IBX_ARENA_ARRAY(arena, steps + 2, uint32_t);
  u->users = IBX_ARENA_ARRAY(arena, depend->edge_count, uint32_t);
  for (size_t i = 0; i < depend->edge_count; i++) {
    u->first_user[ibx_depend_step(depend->edges[i]) + 2]++;
  }
  for (size_t i = 2; i < steps + 2; i++) {
    u->first_user[i] += u->first_user[i - 1];
  }
  for (uint32_t s = 0; s < steps; s++) {
    for (uint32_t i = depend->first[s]; i < depend->first[s + 1]; i++) {
      uint32_t from = ibx_depend_step(depend->edges[i]);
      u->users[u->first_user[from + 1]++] =
          s << 1 | (uint32_t)ibx_depend_reads(depend->edges[i]);
    }
  }
}

static bool is_fed(const ibx_units *u, uint32_t step) {
  for (uint32_t i = u->depend->first[step]; i < u->depend->first[step + 1];
       i++) {
    uint32_t edge = u->depend->edges[i];
    if (ibx_depend_reads(edge) &&
        !u->mir->steps[ibx_depend_step(edge)].is_dma) {
      return true;
    }
  }
  return false;
}

static void describe_units(ibx_units *u) {
  for (size_t i = 0; i < u->count; i++) {
    ibx_unit *unit = &u->units[i];
    for (uint32_t s = unit->first; s < unit->first + unit->count; s++) {
      for (uint32_t j = u->first_user[s]; j < u->first_user[s + 1]; j++) {
        unit->feeds = true;
        if (ibx_depend_reads(u->users[j])) unit->is_read = true;
      }
    }
    if (!unit->is_dma) continue;
    unit->is_fed = is_fed(u, unit->first);
    // Users stand in program order.
    if (unit->feeds && !unit->is_fed) {
      unit->use = ibx_depend_step(u->users[u->first_user[unit->first]]);
    }
  }
}

// --- paths -----------------------------------------------------------------------

static uint64_t own_ps(const ibx_units *u, const ibx_unit *unit) {
  if (unit->is_dma) {
    return larger(u->dma[unit->first].piece_ps,
                  u->mir->machine->dma_startup_ps) +
           u->costs[unit->first * IBX_MIR_VARIANTS].issue_ps;
  }
  uint64_t sum_ps = 0;
  for (uint32_t s = unit->first; s < unit->first + unit->count; s++) {
    sum_ps += u->costs[s * IBX_MIR_VARIANTS].issue_ps;
  }
  return sum_ps;
}

// From the end of a unit to the start of one that depends on its step.
static uint64_t gap_ps(const ibx_units *u, uint32_t step, uint32_t user) {
  const ibx_unit *from = &u->units[u->unit_of[step]];
  const ibx_unit *to = &u->units[u->unit_of[ibx_depend_step(user)]];
  if (from->is_dma) return u->mir->machine->dma_completion_ps;
  const ibx_step_cost *cost = &u->costs[step * IBX_MIR_VARIANTS];
  uint64_t latency_ps =
      cost->result_ps -
      (cost->result_ps < cost->issue_ps ? cost->result_ps : cost->issue_ps);
  if (!to->is_dma && from->engines == to->engines) {
    bool waits =
        ibx_depend_reads(user) && from->engines != 1u << IBX_ENGINE_TENSOR;
    return waits ? latency_ps : 0;
  }
  return latency_ps + u->semaphore_ps[IBX_ENGINE_SYNC];
}

static void find_paths(ibx_units *u) {
  for (size_t i = u->count; i-- > 0;) {
    ibx_unit *unit = &u->units[i];
    uint64_t after_ps = 0;
    for (uint32_t s = unit->first; s < unit->first + unit->count; s++) {
      for (uint32_t j = u->first_user[s]; j < u->first_user[s + 1]; j++) {
        uint32_t to = u->unit_of[ibx_depend_step(u->users[j])];
        if (to == i) continue;
        after_ps =
            larger(after_ps, gap_ps(u, s, u->users[j]) + u->units[to].path_ps);
      }
    }
    unit->path_ps = after_ps + own_ps(u, unit);
  }
}

ibx_status ibx_units_make(const ibx_mir *mir, const ibx_depend *depend,
                          ibx_arena *arena, ibx_units *out, ibx_error *err) {
  size_t steps = mir->step_count;
  *out = (ibx_units){.mir = mir, .depend = depend};
  out->places = IBX_ARENA_ARRAY(arena, mir->buffer_count, ibx_buffer_place);
  for (size_t i = 0; i < mir->buffer_count; i++) {
    out->places[i] = mir->buffers[i].place;
  }
  out->units = IBX_ARENA_ARRAY(arena, steps, ibx_unit);
  out->unit_of = IBX_ARENA_ARRAY(arena, steps, uint32_t);
  out->costs = IBX_ARENA_ARRAY(arena, steps * IBX_MIR_VARIANTS, ibx_step_cost);
  out->dma = IBX_ARENA_ARRAY(arena, steps, ibx_dma_cost);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    out->semaphore_ps[e] = ibx_machine_cycles_to_ps(
        mir->machine, (ibx_engine)e, mir->machine->semaphore_cycles);
  }
  for (uint32_t at = 0; at < steps;) {
    IBX_TRY(add_unit(out, at, &at, err));
  }
  for (uint32_t i = 0; i < steps; i++) {
    if (mir->steps[i].is_dma) {
      cost_dma(out, i);
    } else {
      cost_variants(out, i);
    }
  }
  find_users(out, arena);
  describe_units(out);
  find_paths(out);
  return IBX_OK;
}
