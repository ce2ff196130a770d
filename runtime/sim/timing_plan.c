// SPDX-License-Identifier: Apache-2.0
//
// What the time simulator knows of each instruction before the first one runs:
// costs in picoseconds, the pieces of DMAs, the boxes that operands touch on
// chip. In: the decoded streams of an entry, not trusted. Holds afterwards: every
// operand that time depends on has a buffer and an element type, and what
// timing_loops.c says of loops. Most instructions of a program are like one
// before them and are planned as its twin.

#include "timing_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

// Addresses are cut here; no memory is larger.
static const int64_t max_address = INT64_C(1) << 40;

static int64_t clamp(int64_t value) {
  if (value > max_address) return max_address;
  if (value < -max_address) return -max_address;
  return value;
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

static uint64_t to_ps(ibx_planner *p, uint64_t cycles) {
  // Sizes are round, so the low bits alone would collide.
  ibx_recent_time *recent =
      &p->recent[(cycles ^ cycles >> 6) % IBX_RECENT_TIMES];
  if (recent->cycles != cycles) {
    *recent = (ibx_recent_time){
        .cycles = cycles,
        .ps = ibx_machine_cycles_to_ps(p->machine, p->engine, cycles)};
  }
  return recent->ps;
}

ibx_status ibx_plan_refuse(const ibx_planner *p, const char *what) {
  const ibx_insn *insn = &p->entry->streams[p->engine].insns[p->index];
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  return IBX_FAIL(p->err, INVALID_PROGRAM, "%s instruction %zu (%s): %s",
                  ibx_engine_name(p->engine), p->index,
                  info ? info->name : "unknown opcode", what);
}

// --- operands -------------------------------------------------------------------

static ibx_status check_operands(const ibx_planner *p, const ibx_insn *insn,
                                 const ibx_insn_info *info) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    const ibx_operand *operand = &insn->operand[i];
    bool is_scalar = ibx_slot_is_scalar(info->slot[i]);
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    if (operand->buffer == IBX_NO_BUFFER) {
      if (is_scalar) continue;
      return ibx_plan_refuse(p, "an operand has no buffer");
    }
    if (operand->buffer >= p->entry->buffer_count) {
      return ibx_plan_refuse(p, "an operand's buffer does not exist");
    }
    if (!is_scalar && ibx_dtype_bytes((ibx_dtype)operand->dtype) == 0) {
      return ibx_plan_refuse(p, "an operand has no element type");
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

static int64_t base_of(const ibx_planner *p, const ibx_operand *operand) {
  const ibx_buffer_place *place = &p->places[operand->buffer];
  return clamp((int64_t)(place->offset & INT64_MAX)) +
         clamp((int64_t)(operand->offset & INT64_MAX));
}

static ibx_status box_room(const ibx_planner *p) {
  ibx_timing_plan *plan = p->plan;
  if (make_room((void **)&plan->boxes, &plan->box_room, plan->box_count,
                IBX_OPERANDS, sizeof(*plan->boxes))) {
    return IBX_OK;
  }
  return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for operands");
}

// There is room.
static void push_box(const ibx_planner *p, ibx_timed_insn *timed,
                     const ibx_timed_box *box) {
  if (box->space == IBX_SPACE_PSUM) {
    timed->banks |=
        (uint8_t)ibx_timed_bank_mask(p->machine, box->low, box->high);
  }
  p->plan->boxes[p->plan->box_count++] = *box;
}

static void add_box(const ibx_planner *p, ibx_timed_insn *timed,
                    const ibx_insn *insn, size_t slot, ibx_slot_kind kind) {
  const ibx_operand *operand = &insn->operand[slot];
  const ibx_buffer_place *place = &p->places[operand->buffer];
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  size_t element = ibx_dtype_bytes((ibx_dtype)operand->dtype);
  if (ibx_slot_is_scalar(kind)) element = sizeof(float);
  reach bytes = reach_of_bytes(operand, &shape, (int64_t)element);
  reach partitions = reach_of_partitions(operand, &shape);
  int64_t base = base_of(p, operand);
  int64_t first = (int64_t)place->partition + operand->partition;
  ibx_timed_box box = {.low = base + bytes.low,
                       .high = base + bytes.high,
                       .first = partition_of(first + partitions.low),
                       .last = partition_of(first + partitions.high),
                       .space = (uint8_t)place->space,
                       .slot = (uint8_t)slot,
                       .written = ibx_slot_writes(kind)};
  timed->spaces |= (uint8_t)(1u << box.space);
  timed->box_count++;
  push_box(p, timed, &box);
}

// Time asks a moving tensor for its banks only, and a stationary one, which the
// array orders by itself, for nothing.
static bool has_box(const ibx_planner *p, const ibx_timed_insn *timed,
                    const ibx_operand *operand) {
  if (operand->buffer == IBX_NO_BUFFER) return false;
  ibx_space space = p->places[operand->buffer].space;
  switch (timed->kind) {
  case IBX_TIMED_STATIONARY: return false;
  case IBX_TIMED_MOVING: return space == IBX_SPACE_PSUM;
  default: return space != IBX_SPACE_HBM;
  }
}

static ibx_status add_boxes(const ibx_planner *p, ibx_timed_insn *timed,
                            const ibx_insn *insn, const ibx_insn_info *info) {
  IBX_TRY(box_room(p));
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
static uint8_t rows_of(const ibx_planner *p, const ibx_insn *insn) {
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

static uint64_t hbm_bytes(const ibx_planner *p, const ibx_insn *insn,
                          size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  if (p->places[operand->buffer].space != IBX_SPACE_HBM) return 0;
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)operand->dtype);
  bool is_sum =
      ibx_insn_transfer(insn->opcode).combine == IBX_TRANSFER_SUM && slot == 0;
  bool is_gather = ibx_insn_transfer(insn->opcode).index != IBX_TRANSFER_NONE;
  // Of a table only as many rows are read as there are indices.
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  const uint32_t *num = is_gather ? insn->num : shape.num;
  for (size_t d = is_sum ? 1 : 0; d < IBX_DIMS; d++) {
    bytes = ibx_plan_mul(bytes, num[d]);
  }
  return bytes;
}

// Static rings lie in HBM: the engine reads each descriptor before it moves the
// bytes (hardware.md section 6, "Issuing DMAs").
static uint64_t piece_time(const ibx_planner *p, const ibx_dma_piece *piece,
                           uint64_t ring_bytes) {
  return ibx_dma_piece_ps(p->machine, piece) +
         ibx_plan_mul(ring_bytes, 1000000) / p->machine->dma_mb_per_s;
}

static bool is_like(const ibx_dma_piece *a, const ibx_dma_piece *b) {
  return a->descriptors == b->descriptors && a->bytes == b->bytes &&
         a->percent == b->percent;
}

// All cores run the same streams at the same times, so a collective keeps nobody
// waiting for another core of the group: it costs its own time only. So do
// barriers.
static void plan_collective(const ibx_planner *p, const ibx_insn *insn,
                            ibx_timed_transfer *transfer) {
  uint32_t cores = ibx_entry_cores(p->entry);
  transfer->is_collective = true;
  p->plan->piece_ps[p->plan->piece_count++] =
      ibx_collective_ps(p->machine, cores, insn);
}

static ibx_status plan_dma(const ibx_planner *p, const ibx_insn *insn,
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
  if (ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE) {
    plan_collective(p, insn, transfer);
    return IBX_OK;
  }
  uint64_t ring = timed->is_made ? machine->ring_descriptor_bytes : 0;
  for (size_t i = 0; i < count; i++) {
    const ibx_dma_piece *piece = &p->pieces[i];
    uint64_t ring_bytes = ibx_plan_mul(piece->descriptors, ring);
    uint64_t *out = &plan->piece_ps[plan->piece_count++];
    *out = i > 0 && is_like(piece, piece - 1)
               ? out[-1]
               : piece_time(p, piece, ring_bytes);
    transfer->ring_bytes += ring_bytes;
  }
  if (ibx_insn_transfer(insn->opcode).combine == IBX_TRANSFER_ADD) {
    transfer->read_bytes += transfer->write_bytes;
  }
  return IBX_OK;
}

// What a library call moves to and from HBM itself; its cost has the time.
static ibx_status plan_call(const ibx_planner *p, const ibx_insn *insn,
                            const ibx_insn_info *info, ibx_timed_insn *timed) {
  ibx_timing_plan *plan = p->plan;
  ibx_timed_transfer moved = {.piece_count = 0};
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    const ibx_operand *operand = &insn->operand[slot];
    if (!ibx_slot_is_tensor(info->slot[slot])) continue;
    if (p->places[operand->buffer].space != IBX_SPACE_HBM) continue;
    ibx_operand_shape shape = ibx_insn_shape(insn, slot);
    uint64_t bytes = ibx_dtype_bytes((ibx_dtype)operand->dtype);
    for (size_t d = 0; d < IBX_DIMS; d++) {
      bytes = ibx_plan_mul(bytes, shape.num[d]);
    }
    *(ibx_slot_writes(info->slot[slot]) ? &moved.write_bytes
                                        : &moved.read_bytes) += bytes;
  }
  if (moved.read_bytes == 0 && moved.write_bytes == 0) return IBX_OK;
  if (!make_room((void **)&plan->transfers, &plan->transfer_room,
                 plan->transfer_count, 1, sizeof(*plan->transfers))) {
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for library calls");
  }
  timed->is_moving = true;
  timed->other = (uint32_t)plan->transfer_count;
  plan->transfers[plan->transfer_count++] = moved;
  return IBX_OK;
}

static void plan_control(ibx_planner *p, const ibx_insn *insn,
                         ibx_timed_insn *timed) {
  timed->count = insn->count;
  // The last core has the most to do.
  if (insn->opcode == IBX_OP_rank_id) {
    uint32_t cores = ibx_entry_cores(p->entry);
    timed->count = ibx_insn_group(insn, cores, 0).cores - 1;
  }
  timed->reg[0] = insn->reg[0];
  timed->reg[1] = insn->reg[1];
  if (timed->kind == IBX_TIMED_LOOP) p->loop_count++;
}

static void plan_signals(const ibx_planner *p, const ibx_insn *insn,
                         ibx_timed_insn *timed) {
  timed->wait_semaphore = insn->wait_semaphore;
  timed->wait_value = insn->wait_value;
  timed->signal_semaphore = insn->signal_semaphore;
  timed->signal_value = insn->signal_value;
  if (insn->wait_value == 0) return;
  p->plan->is_waiter[p->engine][insn->wait_semaphore] = true;
}

static ibx_status plan_new(ibx_planner *p, const ibx_insn *insn,
                           ibx_timed_insn *timed) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) return ibx_plan_refuse(p, "no such opcode");
  if (!(info->engines >> p->engine & 1)) {
    return ibx_plan_refuse(p, "this engine does not have it");
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
      return ibx_plan_refuse(p, "no such DMA queue");
    }
    return plan_dma(p, insn, timed);
  case IBX_TIMED_LOOP:
  case IBX_TIMED_LOOP_END:
  case IBX_TIMED_REGISTER:
  case IBX_TIMED_SEMAPHORE: plan_control(p, insn, timed); break;
  case IBX_TIMED_WORK:
    if (ibx_insn_is_call(insn->opcode)) return plan_call(p, insn, info, timed);
    break;
  }
  return IBX_OK;
}

// As its twin, elsewhere: only its boxes lie at other addresses.
static ibx_status plan_twin(ibx_planner *p, const ibx_insn *insn,
                            const ibx_twin *twin, ibx_timed_insn *timed) {
  IBX_TRY(box_room(p));
  *timed = *twin->timed;
  timed->first_box = (uint32_t)p->plan->box_count;
  timed->banks = 0;
  plan_signals(p, insn, timed);
  for (size_t b = 0; b < timed->box_count; b++) {
    ibx_timed_box box = p->plan->boxes[twin->timed->first_box + b];
    int64_t moved = base_of(p, &insn->operand[box.slot]) -
                    base_of(p, &twin->insn->operand[box.slot]);
    box.low += moved;
    box.high += moved;
    push_box(p, timed, &box);
  }
  return IBX_OK;
}

static ibx_status plan_insn(ibx_planner *p, const ibx_insn *insn,
                            ibx_timed_insn *timed) {
  ibx_twin *twin = &p->twins[ibx_plan_twin_place(insn)];
  if (twin->insn && ibx_plan_is_twin(p, twin->insn, insn)) {
    return plan_twin(p, insn, twin, timed);
  }
  IBX_TRY(plan_new(p, insn, timed));
  if (timed->kind < IBX_TIMED_LOOP) {
    *twin = (ibx_twin){.insn = insn, .timed = timed};
  }
  return IBX_OK;
}

static const uint64_t max_executed = UINT64_C(1) << 31;

// --- streams --------------------------------------------------------------------

static ibx_status plan_stream(ibx_planner *p) {
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
  memset(p->twins, 0, sizeof(p->twins));
  p->loop_count = 0;
  for (p->index = 0; p->index < stream->count; p->index++) {
    IBX_TRY(plan_insn(p, &stream->insns[p->index], &timed[p->index]));
  }
  return ibx_plan_loops(p);
}

ibx_status ibx_timing_plan_init(const ibx_machine *machine,
                                const ibx_entry *entry, uint64_t most_executed,
                                ibx_timing_plan *plan, ibx_error *err) {
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
  ibx_planner p = {.machine = machine,
                   .entry = entry,
                   .places = places,
                   .plan = plan,
                   .pieces = pieces,
                   .most_executed = max_executed,
                   .err = err};
  if (most_executed != 0 && most_executed < max_executed) {
    p.most_executed = most_executed;
  }
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
