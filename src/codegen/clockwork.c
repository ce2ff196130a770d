// SPDX-License-Identifier: Apache-2.0
//
// The scheduler's clock. Comes in: steps in the order in which the scheduler
// places them. Goes out: when each starts, has its result and is complete.
// Rules and numbers are those of the time simulator, simplified: what is left
// out costs little and depends on neighbours that are not placed yet.

#include "codegen/clockwork.h"

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

void ibx_clockwork_init(ibx_clockwork *c, const ibx_units *units,
                        ibx_arena *arena) {
  const ibx_machine *machine = units->mir->machine;
  size_t steps = units->mir->step_count;
  size_t ring = (size_t)machine->dma_queues * machine->dma_in_flight;
  *c = (ibx_clockwork){
      .units = units,
      .is_warm = machine->ramp_ps == 0,
      .interval_ps = ibx_machine_cycles_to_ps(machine, IBX_ENGINE_TENSOR,
                                              machine->min_interval),
      .scalar_dependent_ps = ibx_machine_cycles_to_ps(
          machine, IBX_ENGINE_SCALAR, machine->scalar_dependent),
      .dma_free_ps = IBX_ARENA_ARRAY(arena, machine->dma_engines, uint64_t),
      .ring_ps = IBX_ARENA_ARRAY(arena, ring, uint64_t),
      .ring_next = IBX_ARENA_ARRAY(arena, machine->dma_queues, size_t),
      .engine = IBX_ARENA_ARRAY(arena, steps, uint8_t),
      .result_ps = IBX_ARENA_ARRAY(arena, steps, uint64_t),
      .complete_ps = IBX_ARENA_ARRAY(arena, steps, uint64_t)};
}

// --- readiness -------------------------------------------------------------------

// When `step` on `engine` may start as far as one dependence goes.
static uint64_t after_edge(const ibx_clockwork *c, uint32_t edge,
                           ibx_engine engine, bool is_dma) {
  const ibx_units *units = c->units;
  uint32_t from = ibx_depend_step(edge);
  if (units->mir->steps[from].is_dma) {
    return c->complete_ps[from] + units->mir->machine->dma_completion_ps;
  }
  if (c->engine[from] != engine) {
    return c->complete_ps[from] + units->semaphore_ps[engine];
  }
  if (is_dma) return c->complete_ps[from];
  // Accumulation on the array is pipelined.
  bool waits = ibx_depend_reads(edge) && engine != IBX_ENGINE_TENSOR;
  return waits ? c->result_ps[from] : 0;
}

static uint64_t step_ready(const ibx_clockwork *c, uint32_t step,
                           ibx_engine engine, uint32_t unit_first) {
  const ibx_depend *depend = c->units->depend;
  bool is_dma = c->units->mir->steps[step].is_dma;
  uint64_t ready_ps = 0;
  for (uint32_t i = depend->first[step]; i < depend->first[step + 1]; i++) {
    if (ibx_depend_step(depend->edges[i]) >= unit_first) continue;
    ready_ps =
        larger(ready_ps, after_edge(c, depend->edges[i], engine, is_dma));
  }
  return ready_ps;
}

uint64_t ibx_clockwork_ready(const ibx_clockwork *c, const ibx_unit *unit,
                             ibx_engine engine) {
  uint64_t ready_ps = 0, offset_ps = 0;
  for (uint32_t s = unit->first; s < unit->first + unit->count; s++) {
    uint64_t step_ps = step_ready(c, s, engine, unit->first);
    ready_ps = larger(ready_ps, step_ps - smaller(step_ps, offset_ps));
    offset_ps += ibx_units_cost(c->units, s, engine)->issue_ps;
  }
  return ready_ps;
}

uint64_t ibx_clockwork_finish(const ibx_clockwork *c, const ibx_unit *unit,
                              ibx_engine engine) {
  uint64_t at_ps =
      larger(c->next_ps[engine], ibx_clockwork_ready(c, unit, engine));
  uint64_t end_ps = at_ps;
  uint8_t table = c->table;
  for (uint32_t s = unit->first; s < unit->first + unit->count; s++) {
    const ibx_step_cost *cost = ibx_units_cost(c->units, s, engine);
    if (cost->table != 0 && cost->table != table) {
      table = cost->table;
      at_ps += c->units->mir->machine->table_load_ps;
    }
    end_ps = at_ps + cost->result_ps;
    at_ps += cost->issue_ps;
  }
  return end_ps;
}

// --- banks -----------------------------------------------------------------------

// Tensor and another engine do not use a bank at the same time.
static uint64_t after_banks(const uint64_t *bank_ps, uint8_t banks) {
  uint64_t free_ps = 0;
  for (unsigned i = 0; i < IBX_PSUM_BANKS; i++) {
    if (banks >> i & 1) free_ps = larger(free_ps, bank_ps[i]);
  }
  return free_ps;
}

static void take_banks(uint64_t *bank_ps, uint8_t banks, uint64_t until_ps) {
  for (unsigned i = 0; i < IBX_PSUM_BANKS; i++) {
    if (banks >> i & 1) bank_ps[i] = larger(bank_ps[i], until_ps);
  }
}

// --- the tensor array --------------------------------------------------------------

// The row groups of a matmul: a tile of more than half of the rows has all.
static unsigned rows_of(const ibx_clockwork *c, const ibx_insn *insn) {
  unsigned tile = c->units->mir->machine->row_tile_min;
  unsigned all = (1u << IBX_PARTITIONS / tile) - 1;
  if (insn->partitions > IBX_PARTITIONS / 2) return all;
  const ibx_operand *operand = &insn->operand[1];
  unsigned first =
      c->units->places[operand->buffer].partition + operand->partition;
  unsigned last = first + (insn->partitions ? insn->partitions - 1u : 0u);
  unsigned mask = 0;
  for (unsigned i = first / tile; i <= last / tile; i++) {
    mask |= 1u << i;
  }
  return mask & all;
}

// The array is at half rate until it has worked for ramp_ps; a pause of half of
// that makes it cold again. Returns the time that `full_ps` of work takes.
static uint64_t ramped(ibx_clockwork *c, uint64_t at_ps, uint64_t full_ps) {
  uint64_t ramp_ps = c->units->mir->machine->ramp_ps;
  if (at_ps > c->stream_end_ps) {
    c->warmth_ps -= smaller(c->warmth_ps, at_ps - c->stream_end_ps);
    if (c->warmth_ps == 0) c->is_warm = ramp_ps == 0;
  }
  if (c->is_warm) {
    c->warmth_ps = smaller(c->warmth_ps + full_ps, ramp_ps / 2);
    return full_ps;
  }
  uint64_t left_ps = ramp_ps - c->warmth_ps;
  if (2 * full_ps < left_ps) {
    c->warmth_ps += 2 * full_ps;
    return 2 * full_ps;
  }
  c->is_warm = true;
  c->warmth_ps = ramp_ps / 2;
  return full_ps + left_ps / 2;
}

// A load that follows a multiply starts with it.
static uint64_t place_load(ibx_clockwork *c, uint64_t ready_ps,
                           uint64_t issue_ps) {
  uint64_t *next_ps = &c->next_ps[IBX_ENGINE_TENSOR];
  uint64_t at_ps = larger(c->has_shadow ? c->shadow_ps : *next_ps, ready_ps);
  *next_ps = larger(*next_ps, at_ps + issue_ps);
  c->has_shadow = false;
  return at_ps;
}

static uint64_t place_multiply(ibx_clockwork *c, const ibx_insn *insn,
                               uint64_t ready_ps, uint64_t *issue_ps) {
  uint64_t *next_ps = &c->next_ps[IBX_ENGINE_TENSOR];
  unsigned all =
      (1u << IBX_PARTITIONS / c->units->mir->machine->row_tile_min) - 1;
  unsigned rows = rows_of(c, insn);
  uint64_t at_ps = larger(*next_ps, ready_ps);
  for (unsigned i = 0; i < IBX_ROW_GROUPS_MOST; i++) {
    if (rows >> i & 1) at_ps = larger(at_ps, c->row_free_ps[i]);
  }
  *issue_ps = ramped(c, at_ps, *issue_ps);
  uint64_t end_ps = at_ps + *issue_ps;
  for (unsigned i = 0; i < IBX_ROW_GROUPS_MOST; i++) {
    if (rows >> i & 1) c->row_free_ps[i] = end_ps;
  }
  c->stream_end_ps = larger(c->stream_end_ps, end_ps);
  *next_ps = rows == all ? end_ps : smaller(end_ps, at_ps + c->interval_ps);
  c->has_shadow = true;
  c->shadow_ps = at_ps;
  return at_ps;
}

// --- engines and DMAs ----------------------------------------------------------------

static uint64_t place_work(ibx_clockwork *c, const ibx_step_cost *cost,
                           ibx_engine engine, uint64_t ready_ps) {
  uint64_t at_ps = larger(c->next_ps[engine], ready_ps);
  at_ps = larger(at_ps, after_banks(c->tensor_bank_ps, cost->banks));
  if (cost->table != 0 && cost->table != c->table) {
    c->table = cost->table;
    at_ps += c->units->mir->machine->table_load_ps;
  }
  c->next_ps[engine] = at_ps + cost->issue_ps;
  take_banks(c->other_bank_ps, cost->banks, c->next_ps[engine]);
  return at_ps;
}

static uint64_t place_insn(ibx_clockwork *c, uint32_t step, ibx_engine engine,
                           uint64_t ready_ps) {
  const ibx_step_cost *cost = ibx_units_cost(c->units, step, engine);
  const ibx_insn *insn =
      &c->units->mir->steps[step].variant[cost->variant].insn;
  uint64_t issue_ps = cost->issue_ps;
  uint64_t latency_ps = cost->result_ps - smaller(cost->result_ps, issue_ps);
  uint64_t at_ps;
  switch (ibx_insn_get(insn->opcode)->kind) {
  case IBX_KIND_STATIONARY: at_ps = place_load(c, ready_ps, issue_ps); break;
  case IBX_KIND_PRODUCT:
  case IBX_KIND_TRANSPOSE:
    ready_ps = larger(ready_ps, after_banks(c->other_bank_ps, cost->banks));
    at_ps = place_multiply(c, insn, ready_ps, &issue_ps);
    take_banks(c->tensor_bank_ps, cost->banks, at_ps + issue_ps);
    break;
  default: at_ps = place_work(c, cost, engine, ready_ps); break;
  }
  uint64_t end_ps = at_ps + issue_ps + latency_ps;
  c->done_ps[engine] = larger(c->done_ps[engine], end_ps);
  c->result_ps[step] =
      c->done_ps[engine] +
      (engine == IBX_ENGINE_SCALAR ? c->scalar_dependent_ps : 0);
  c->complete_ps[step] = c->done_ps[engine];
  return at_ps;
}

static uint64_t dma_arrive(ibx_clockwork *c, const ibx_dma_cost *cost,
                           uint64_t now_ps) {
  const ibx_machine *machine = c->units->mir->machine;
  uint64_t last_ps = now_ps + machine->dma_startup_ps;
  uint32_t first = cost->pieces < machine->dma_engines ? c->next_dma_engine : 0;
  for (uint32_t i = 0; i < cost->pieces; i++) {
    uint64_t *free_ps = &c->dma_free_ps[(first + i) % machine->dma_engines];
    *free_ps = larger(*free_ps, now_ps) + cost->piece_ps;
    last_ps = larger(last_ps, *free_ps);
  }
  if (cost->pieces < machine->dma_engines) {
    c->next_dma_engine = (first + cost->pieces) % machine->dma_engines;
  }
  return last_ps;
}

static uint64_t place_dma(ibx_clockwork *c, uint32_t step, ibx_engine engine,
                          uint8_t queue, uint64_t ready_ps) {
  const ibx_machine *machine = c->units->mir->machine;
  size_t *next = &c->ring_next[queue];
  uint64_t *ring_ps = &c->ring_ps[(size_t)queue * machine->dma_in_flight];
  uint64_t at_ps = larger(c->next_ps[engine], ready_ps);
  at_ps = larger(at_ps, ring_ps[*next]);
  c->next_ps[engine] =
      at_ps + c->units->costs[step * IBX_MIR_VARIANTS].issue_ps;
  c->done_ps[engine] = larger(c->done_ps[engine], c->next_ps[engine]);
  // Static rings are there; the descriptors of others have to be made.
  bool is_made = !ibx_units_is_gather(&c->units->mir->steps[step]);
  c->complete_ps[step] =
      dma_arrive(c, &c->units->dma[step], is_made ? at_ps : c->next_ps[engine]);
  ring_ps[*next] = c->complete_ps[step];
  *next = (*next + 1) % machine->dma_in_flight;
  return at_ps;
}

uint64_t ibx_clockwork_place(ibx_clockwork *c, uint32_t step, ibx_engine engine,
                             uint8_t queue) {
  uint32_t first = c->units->units[c->units->unit_of[step]].first;
  // Inside of a chain the engine's own order is enough.
  uint64_t ready_ps = step_ready(c, step, engine, first);
  c->engine[step] = (uint8_t)engine;
  uint64_t at_ps = c->units->mir->steps[step].is_dma
                       ? place_dma(c, step, engine, queue, ready_ps)
                       : place_insn(c, step, engine, ready_ps);
  return at_ps;
}

uint64_t ibx_clockwork_backlog(const ibx_clockwork *c, uint64_t now_ps) {
  uint64_t sum_ps = 0;
  uint32_t engines = c->units->mir->machine->dma_engines;
  for (uint32_t i = 0; i < engines; i++) {
    sum_ps += c->dma_free_ps[i] - smaller(c->dma_free_ps[i], now_ps);
  }
  return sum_ps / engines;
}
