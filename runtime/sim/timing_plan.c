// SPDX-License-Identifier: Apache-2.0
//
// What the time simulator knows of each instruction before the first one runs:
// costs in picoseconds, the pieces of DMAs, the boxes that operands touch on
// chip, which loop ends where. In: the decoded streams of an entry, not
// trusted. Holds afterwards: every operand that time depends on has a buffer
// and an element type, every loop has its end, and the number of executed
// instructions has a bound.

#include "timing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// A run of more takes minutes to time; below, addresses in loops fit 64 bits.
static const uint64_t max_executed = UINT64_C(1) << 31;
// Addresses are cut here; no memory is larger.
static const int64_t max_address = INT64_C(1) << 40;

// Costs repeat, divisions are slow: the last times by their cycles.
enum { RECENT_TIMES = 64 };

typedef struct recent_time {
  uint64_t cycles, ps;
} recent_time;

typedef struct planner {
  const ibx_machine *machine;
  const ibx_entry *entry;
  const ibx_buffer_place *places;
  ibx_timing_plan *plan;
  ibx_dma_piece *pieces; ///< room for those of one DMA
  ibx_error *err;
  ibx_engine engine;
  size_t index;
  size_t loop_count;                ///< loops of the stream
  recent_time recent[RECENT_TIMES]; ///< of the engine's clock
} planner;

static int64_t clamp(int64_t value) {
  if (value > max_address) return max_address;
  if (value < -max_address) return -max_address;
  return value;
}

static uint64_t cut_mul(uint64_t a, uint64_t b) {
  uint64_t product;
  return ibx_mul_size(a, b, &product) ? product : UINT64_MAX / 2;
}

// Room for `more` elements of `size` bytes behind `count`; indices of them fit
// 32 bits.
static bool make_room(void **array, size_t *room, size_t count, size_t more,
                      size_t size) {
  if (*room - count >= more) return true;
  size_t grown = 2 * *room + more + 64;
  if (grown > UINT32_MAX) return false;
  void *moved = realloc(*array, grown * size);
  if (!moved) return false;
  *array = moved;
  *room = grown;
  return true;
}

static uint64_t to_ps(planner *p, uint64_t cycles) {
  // Sizes are round, so the low bits alone would collide.
  recent_time *recent = &p->recent[(cycles ^ cycles >> 6) % RECENT_TIMES];
  if (recent->cycles != cycles) {
    *recent = (recent_time){
        .cycles = cycles,
        .ps = ibx_machine_cycles_to_ps(p->machine, p->engine, cycles)};
  }
  return recent->ps;
}

static ibx_status refuse(const planner *p, const char *what) {
  const ibx_insn *insn = &p->entry->streams[p->engine].insns[p->index];
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  return IBX_FAIL(p->err, INVALID_PROGRAM, "%s instruction %zu (%s): %s",
                  ibx_engine_name(p->engine), p->index,
                  info ? info->name : "unknown opcode", what);
}

// --- operands -------------------------------------------------------------------

static ibx_status check_operands(const planner *p, const ibx_insn *insn,
                                 const ibx_insn_info *info) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    const ibx_operand *operand = &insn->operand[i];
    bool is_scalar = ibx_slot_is_scalar(info->slot[i]);
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    if (operand->buffer == IBX_NO_BUFFER) {
      if (is_scalar) continue;
      return refuse(p, "an operand has no buffer");
    }
    if (operand->buffer >= p->entry->buffer_count) {
      return refuse(p, "an operand's buffer does not exist");
    }
    if (!is_scalar && ibx_dtype_bytes((ibx_dtype)operand->dtype) == 0) {
      return refuse(p, "an operand has no element type");
    }
  }
  return IBX_OK;
}

// How far an access pattern reaches: the least and the largest sum.
typedef struct reach {
  int64_t low, high;
} reach;

static void reach_add(reach *r, int64_t step, uint32_t num) {
  if (num <= 1 || step == 0) return; // most dimensions
  int64_t span = step * (int64_t)(num - 1);
  int64_t *side = span < 0 ? &r->low : &r->high;
  *side = clamp(*side + clamp(span));
}

static reach reach_of_bytes(const ibx_operand *operand,
                            const ibx_operand_shape *shape, int64_t bytes) {
  reach r = {0, 0};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    reach_add(&r, operand->step[d], shape->num[d]);
  }
  return (reach){.low = r.low * bytes, .high = (r.high + 1) * bytes};
}

static reach reach_of_partitions(const ibx_operand *operand,
                                 const ibx_operand_shape *shape) {
  reach r = {0, 0};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    reach_add(&r, operand->partition_step[d], shape->num[d]);
  }
  reach_add(&r, 1, shape->partitions);
  reach_add(&r, shape->group_step, shape->groups);
  return r;
}

static uint8_t partition_of(int64_t value) {
  if (value < 0) return 0;
  return value >= IBX_PARTITIONS ? IBX_PARTITIONS - 1 : (uint8_t)value;
}

static void add_box(const planner *p, ibx_timed_insn *timed,
                    const ibx_insn *insn, size_t slot, ibx_slot_kind kind) {
  const ibx_operand *operand = &insn->operand[slot];
  const ibx_buffer_place *place = &p->places[operand->buffer];
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  size_t element = ibx_dtype_bytes((ibx_dtype)operand->dtype);
  if (ibx_slot_is_scalar(kind)) element = sizeof(float);
  reach bytes = reach_of_bytes(operand, &shape, (int64_t)element);
  reach partitions = reach_of_partitions(operand, &shape);
  int64_t base = clamp((int64_t)(place->offset & INT64_MAX)) +
                 clamp((int64_t)(operand->offset & INT64_MAX));
  int64_t first = (int64_t)place->partition + operand->partition;
  ibx_timed_box box = {.low = base + bytes.low,
                       .high = base + bytes.high,
                       .first = partition_of(first + partitions.low),
                       .last = partition_of(first + partitions.high),
                       .space = (uint8_t)place->space,
                       .slot = (uint8_t)slot,
                       .written = ibx_slot_writes(kind)};
  if (box.space == IBX_SPACE_PSUM) {
    timed->banks |= (uint8_t)ibx_timed_bank_mask(p->machine, box.low, box.high);
  }
  timed->spaces |= (uint8_t)(1u << box.space);
  p->plan->boxes[p->plan->box_count++] = box;
  timed->box_count++;
}

// Time asks a moving tensor for its banks only, and a stationary one, which the
// array orders by itself, for nothing.
static bool has_box(const planner *p, const ibx_timed_insn *timed,
                    const ibx_operand *operand) {
  if (operand->buffer == IBX_NO_BUFFER) return false;
  ibx_space space = p->places[operand->buffer].space;
  switch (timed->kind) {
  case IBX_TIMED_STATIONARY: return false;
  case IBX_TIMED_MOVING: return space == IBX_SPACE_PSUM;
  default: return space != IBX_SPACE_HBM;
  }
}

static ibx_status add_boxes(const planner *p, ibx_timed_insn *timed,
                            const ibx_insn *insn, const ibx_insn_info *info) {
  if (!make_room((void **)&p->plan->boxes, &p->plan->box_room,
                 p->plan->box_count, IBX_OPERANDS, sizeof(*p->plan->boxes))) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for operands");
  }
  timed->first_box = (uint32_t)p->plan->box_count;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    if (!has_box(p, timed, &insn->operand[i])) continue;
    add_box(p, timed, insn, i, info->slot[i]);
  }
  return IBX_OK;
}

// --- kinds ------------------------------------------------------------------------

static const uint8_t timed_kinds[] = {
    [IBX_KIND_WORK] = IBX_TIMED_WORK,
    [IBX_KIND_STATIONARY] = IBX_TIMED_STATIONARY,
    [IBX_KIND_PRODUCT] = IBX_TIMED_MOVING,
    [IBX_KIND_TRANSPOSE] = IBX_TIMED_MOVING,
    [IBX_KIND_DMA] = IBX_TIMED_DMA,
    [IBX_KIND_LOOP] = IBX_TIMED_LOOP,
    [IBX_KIND_LOOP_END] = IBX_TIMED_LOOP_END,
    [IBX_KIND_REGISTER] = IBX_TIMED_REGISTER,
    [IBX_KIND_SEMAPHORE] = IBX_TIMED_SEMAPHORE,
};

// The row groups of a matmul: a tile of more than half of the rows has all.
static uint8_t rows_of(const planner *p, const ibx_insn *insn) {
  unsigned tile = p->machine->row_tile_min;
  unsigned groups = IBX_PARTITIONS / tile;
  unsigned all = (1u << groups) - 1;
  if (insn->partitions > IBX_PARTITIONS / 2) return (uint8_t)all;
  const ibx_operand *operand = &insn->operand[1];
  unsigned first = p->places[operand->buffer].partition + operand->partition;
  unsigned last = first + (insn->partitions ? insn->partitions - 1u : 0u);
  unsigned mask = 0;
  for (unsigned i = first / tile; i <= last / tile && i < groups; i++) {
    mask |= 1u << i;
  }
  return (uint8_t)(mask ? mask : all);
}

static uint64_t hbm_bytes(const planner *p, const ibx_insn *insn, size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  if (p->places[operand->buffer].space != IBX_SPACE_HBM) return 0;
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)operand->dtype);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    bytes = cut_mul(bytes, insn->num[d]);
  }
  return bytes;
}

// Static rings lie in HBM: the engine reads each descriptor before it moves the
// bytes (hardware.md section 6, "Issuing DMAs").
static uint64_t piece_time(const planner *p, const ibx_dma_piece *piece,
                           uint64_t ring_bytes) {
  return ibx_dma_piece_ps(p->machine, piece) +
         cut_mul(ring_bytes, 1000000) / p->machine->dma_mb_per_s;
}

static bool is_like(const ibx_dma_piece *a, const ibx_dma_piece *b) {
  return a->descriptors == b->descriptors && a->bytes == b->bytes;
}

static ibx_status plan_dma(const planner *p, const ibx_insn *insn,
                           ibx_timed_insn *timed) {
  const ibx_machine *machine = p->machine;
  ibx_timing_plan *plan = p->plan;
  if (!make_room((void **)&plan->piece_ps, &plan->piece_room, plan->piece_count,
                 machine->dma_engines, sizeof(*plan->piece_ps)) ||
      !make_room((void **)&plan->transfers, &plan->transfer_room,
                 plan->transfer_count, 1, sizeof(*plan->transfers))) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for the pieces of DMAs");
  }
  size_t count = ibx_dma_split(machine, insn, p->places, p->pieces);
  timed->is_made = insn->dge == IBX_DGE_STATIC;
  timed->queue = insn->queue;
  timed->other = (uint32_t)plan->transfer_count;
  ibx_timed_transfer *transfer = &plan->transfers[plan->transfer_count++];
  *transfer = (ibx_timed_transfer){.first_piece = plan->piece_count,
                                   .piece_count = (uint8_t)count,
                                   .read_bytes = hbm_bytes(p, insn, 1),
                                   .write_bytes = hbm_bytes(p, insn, 0)};
  uint64_t ring = timed->is_made ? machine->ring_descriptor_bytes : 0;
  for (size_t i = 0; i < count; i++) {
    const ibx_dma_piece *piece = &p->pieces[i];
    uint64_t ring_bytes = cut_mul(piece->descriptors, ring);
    uint64_t *out = &plan->piece_ps[plan->piece_count++];
    *out = i > 0 && is_like(piece, piece - 1)
               ? out[-1]
               : piece_time(p, piece, ring_bytes);
    transfer->ring_bytes += ring_bytes;
  }
  return IBX_OK;
}

static void plan_control(planner *p, const ibx_insn *insn,
                         ibx_timed_insn *timed) {
  timed->count = insn->count;
  timed->reg[0] = insn->reg[0];
  timed->reg[1] = insn->reg[1];
  if (timed->kind == IBX_TIMED_LOOP) p->loop_count++;
}

static void plan_signals(const planner *p, const ibx_insn *insn,
                         ibx_timed_insn *timed) {
  timed->wait_semaphore = insn->wait_semaphore;
  timed->wait_value = insn->wait_value;
  timed->signal_semaphore = insn->signal_semaphore;
  timed->signal_value = insn->signal_value;
  if (insn->wait_value == 0) return;
  p->plan->is_waiter[p->engine][insn->wait_semaphore] = true;
}

static ibx_status plan_insn(planner *p, const ibx_insn *insn,
                            ibx_timed_insn *timed) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) return refuse(p, "no such opcode");
  if (!(info->engines >> p->engine & 1)) {
    return refuse(p, "this engine does not have it");
  }
  IBX_TRY(check_operands(p, insn, info));
  ibx_insn_cost cost =
      ibx_insn_cost_get(p->machine, p->engine, insn, p->places);
  timed->issue_ps = to_ps(p, cost.issue_cycles);
  timed->result_ps = to_ps(p, cost.result_cycles);
  timed->busy_ps = to_ps(p, cost.busy_cycles);
  timed->table = cost.table;
  timed->kind = timed_kinds[info->kind];
  timed->words = (uint8_t)ibx_insn_words(insn);
  timed->is_looped = (insn->flags & IBX_FLAG_LOOPED) != 0;
  plan_signals(p, insn, timed);
  IBX_TRY(add_boxes(p, timed, insn, info));
  switch ((ibx_timed_kind)timed->kind) {
  case IBX_TIMED_STATIONARY:
  case IBX_TIMED_MOVING: timed->rows = rows_of(p, insn); break;
  case IBX_TIMED_DMA:
    if (insn->queue >= p->machine->dma_queues) {
      return refuse(p, "no such DMA queue");
    }
    return plan_dma(p, insn, timed);
  case IBX_TIMED_LOOP:
  case IBX_TIMED_LOOP_END:
  case IBX_TIMED_REGISTER:
  case IBX_TIMED_SEMAPHORE: plan_control(p, insn, timed); break;
  case IBX_TIMED_WORK: break;
  }
  return IBX_OK;
}

// --- loops --------------------------------------------------------------------------

static ibx_status check_registers(const planner *p, const ibx_insn *insn,
                                  const ibx_timed_insn *timed) {
  bool has_end = insn->reg[1] != IBX_NO_REGISTER;
  switch (timed->kind) {
  case IBX_TIMED_LOOP:
    if (insn->reg[0] >= IBX_LOOP_REGISTERS) {
      return refuse(p, "a loop needs a loop register, r0 to r3");
    }
    if (has_end && insn->reg[1] >= IBX_REGISTERS) break;
    return IBX_OK;
  case IBX_TIMED_REGISTER:
    if (insn->reg[0] >= IBX_REGISTERS) break;
    return IBX_OK;
  default: return IBX_OK;
  }
  return refuse(p, "no such register");
}

typedef struct open_loop {
  size_t index;
  uint64_t body; ///< instructions executed in one trip
} open_loop;

// Walks the stream with a stack of open loops; its caller owns the stack.
static ibx_status match_loops(planner *p, open_loop *stack) {
  const ibx_stream *stream = &p->entry->streams[p->engine];
  ibx_timed_insn *timed = p->plan->insns[p->engine];
  size_t depth = 0;
  uint64_t executed = 0;
  for (p->index = 0; p->index < stream->count; p->index++) {
    const ibx_insn *insn = &stream->insns[p->index];
    IBX_TRY(check_registers(p, insn, &timed[p->index]));
    executed++;
    if (timed[p->index].kind == IBX_TIMED_LOOP) {
      stack[depth++] = (open_loop){.index = p->index, .body = executed};
      executed = 0;
      if (depth > p->plan->loop_depth[p->engine]) {
        p->plan->loop_depth[p->engine] = depth;
      }
    } else if (timed[p->index].kind == IBX_TIMED_LOOP_END) {
      if (depth == 0) return refuse(p, "ends no loop");
      open_loop *loop = &stack[--depth];
      timed[p->index].other = (uint32_t)loop->index;
      timed[loop->index].other = (uint32_t)p->index;
      executed = cut_mul(executed, stream->insns[loop->index].count);
      executed += loop->body;
    }
    if (executed > max_executed) {
      return refuse(p, "more than 2^31 instructions would run; lower the trip "
                       "counts");
    }
  }
  if (depth == 0) return IBX_OK;
  p->index = stack[depth - 1].index;
  return refuse(p, "the loop has no loop_end");
}

static ibx_status plan_loops(planner *p) {
  open_loop *stack = calloc(p->loop_count + 1, sizeof(*stack));
  if (!stack) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for %zu loops",
                    p->loop_count);
  }
  ibx_status status = match_loops(p, stack);
  free(stack);
  return status;
}

static ibx_status plan_stream(planner *p) {
  const ibx_stream *stream = &p->entry->streams[p->engine];
  if (stream->count == 0) return IBX_OK;
  ibx_timed_insn *timed =
      stream->count > UINT32_MAX ? NULL : calloc(stream->count, sizeof(*timed));
  p->plan->insns[p->engine] = timed;
  if (!timed) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory to time %zu instructions",
                    stream->count);
  }
  memset(p->recent, 0, sizeof(p->recent));
  p->loop_count = 0;
  for (p->index = 0; p->index < stream->count; p->index++) {
    IBX_TRY(plan_insn(p, &stream->insns[p->index], &timed[p->index]));
  }
  return plan_loops(p);
}

ibx_status ibx_timing_plan_init(const ibx_machine *machine,
                                const ibx_entry *entry, ibx_timing_plan *plan,
                                ibx_error *err) {
  *plan = (ibx_timing_plan){0};
  ibx_buffer_place *places =
      calloc(entry->buffer_count + 1, sizeof(ibx_buffer_place));
  ibx_dma_piece *pieces = calloc(machine->dma_engines, sizeof(*pieces));
  if (!places || !pieces) {
    free(places);
    free(pieces);
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu buffers",
                    entry->buffer_count);
  }
  for (size_t i = 0; i < entry->buffer_count; i++) {
    places[i] = entry->buffers[i].place;
  }
  planner p = {.machine = machine,
               .entry = entry,
               .places = places,
               .plan = plan,
               .pieces = pieces,
               .err = err};
  ibx_status status = IBX_OK;
  for (int e = 0; e < IBX_ENGINE_COUNT && status == IBX_OK; e++) {
    p.engine = (ibx_engine)e;
    status = plan_stream(&p);
  }
  free(pieces);
  free(places);
  return status;
}

void ibx_timing_plan_fini(ibx_timing_plan *plan) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(plan->insns[e]);
  }
  free(plan->boxes);
  free(plan->transfers);
  free(plan->piece_ps);
}
