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

typedef struct planner {
  const ibx_machine *machine;
  const ibx_entry *entry;
  const ibx_buffer_place *places;
  ibx_timing_plan *plan;
  ibx_error *err;
  ibx_engine engine;
  size_t index;
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
  int64_t span = num == 0 ? 0 : step * (int64_t)(num - 1);
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
  if (place->space == IBX_SPACE_HBM) return;
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  size_t element = ibx_dtype_bytes((ibx_dtype)operand->dtype);
  if (ibx_slot_is_scalar(kind)) element = sizeof(float);
  reach bytes = reach_of_bytes(operand, &shape, (int64_t)element);
  reach partitions = reach_of_partitions(operand, &shape);
  int64_t base = clamp((int64_t)(place->offset & INT64_MAX)) +
                 clamp((int64_t)(operand->offset & INT64_MAX));
  int64_t first = (int64_t)place->partition + operand->partition;
  ibx_timed_box *box = &timed->box[timed->box_count++];
  *box = (ibx_timed_box){.low = base + bytes.low,
                         .high = base + bytes.high,
                         .first = partition_of(first + partitions.low),
                         .last = partition_of(first + partitions.high),
                         .space = (uint8_t)place->space,
                         .written = ibx_slot_writes(kind)};
  if (insn->flags & IBX_FLAG_LOOPED) {
    memcpy(box->loop_step, operand->loop_step, sizeof(box->loop_step));
  }
}

static void add_boxes(const planner *p, ibx_timed_insn *timed,
                      const ibx_insn *insn, const ibx_insn_info *info) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    if (insn->operand[i].buffer == IBX_NO_BUFFER) continue;
    add_box(p, timed, insn, i, info->slot[i]);
  }
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

static bool piece_room(ibx_timing_plan *plan, size_t count) {
  if (plan->piece_room - plan->piece_count >= count) return true;
  size_t room = 2 * plan->piece_room + count + 64;
  uint64_t *piece_ps = realloc(plan->piece_ps, room * sizeof(*piece_ps));
  if (!piece_ps) return false;
  plan->piece_ps = piece_ps;
  plan->piece_room = room;
  return true;
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

// What a library call moves itself; its cost has the time.
static void add_traffic(const planner *p, const ibx_insn *insn,
                        const ibx_insn_info *info, ibx_timed_insn *timed) {
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    const ibx_operand *operand = &insn->operand[slot];
    if (!ibx_slot_is_tensor(info->slot[slot])) continue;
    if (p->places[operand->buffer].space != IBX_SPACE_HBM) continue;
    ibx_operand_shape shape = ibx_insn_shape(insn, slot);
    uint64_t bytes = ibx_dtype_bytes((ibx_dtype)operand->dtype);
    for (size_t d = 0; d < IBX_DIMS; d++) {
      bytes = cut_mul(bytes, shape.num[d]);
    }
    *(ibx_slot_writes(info->slot[slot]) ? &timed->write_bytes
                                        : &timed->read_bytes) += bytes;
  }
}

// Static rings lie in HBM: the engine reads each descriptor before it moves the
// bytes (hardware.md section 6, "Issuing DMAs").
static ibx_status plan_dma(const planner *p, const ibx_insn *insn,
                           ibx_timed_insn *timed) {
  const ibx_machine *machine = p->machine;
  ibx_dma_piece *pieces = calloc(machine->dma_engines, sizeof(*pieces));
  if (!pieces || !piece_room(p->plan, machine->dma_engines)) {
    free(pieces);
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for the pieces of DMAs");
  }
  size_t count = ibx_dma_split(machine, insn, p->places, pieces);
  uint64_t ring =
      insn->dge == IBX_DGE_STATIC ? machine->ring_descriptor_bytes : 0;
  timed->first_piece = p->plan->piece_count;
  timed->piece_count = (uint8_t)count;
  for (size_t i = 0; i < count; i++) {
    uint64_t ring_bytes = cut_mul(pieces[i].descriptors, ring);
    p->plan->piece_ps[p->plan->piece_count++] =
        ibx_dma_piece_ps(machine, &pieces[i]) +
        cut_mul(ring_bytes, 1000000) / machine->dma_mb_per_s;
    timed->ring_bytes += ring_bytes;
  }
  timed->write_bytes = hbm_bytes(p, insn, 0);
  timed->read_bytes = hbm_bytes(p, insn, 1);
  free(pieces);
  return IBX_OK;
}

static ibx_status plan_insn(const planner *p, const ibx_insn *insn,
                            ibx_timed_insn *timed) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  if (!info) return refuse(p, "no such opcode");
  if (!(info->engines >> p->engine & 1)) {
    return refuse(p, "this engine does not have it");
  }
  IBX_TRY(check_operands(p, insn, info));
  ibx_insn_cost cost =
      ibx_insn_cost_get(p->machine, p->engine, insn, p->places);
  timed->issue_ps =
      ibx_machine_cycles_to_ps(p->machine, p->engine, cost.issue_cycles);
  timed->result_ps =
      ibx_machine_cycles_to_ps(p->machine, p->engine, cost.result_cycles);
  timed->busy_ps =
      ibx_machine_cycles_to_ps(p->machine, p->engine, cost.busy_cycles);
  timed->table = cost.table;
  timed->kind = timed_kinds[info->kind];
  timed->words = (uint8_t)ibx_insn_words(insn);
  add_boxes(p, timed, insn, info);
  switch (timed->kind) {
  case IBX_TIMED_STATIONARY:
  case IBX_TIMED_MOVING: timed->rows = rows_of(p, insn); return IBX_OK;
  case IBX_TIMED_DMA:
    if (insn->queue >= p->machine->dma_queues) {
      return refuse(p, "no such DMA queue");
    }
    return plan_dma(p, insn, timed);
  case IBX_TIMED_WORK:
    if (ibx_insn_is_call(insn->opcode)) add_traffic(p, insn, info, timed);
    return IBX_OK;
  default: return IBX_OK;
  }
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
      timed[p->index].partner = loop->index;
      timed[loop->index].partner = p->index;
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

static ibx_status plan_stream(planner *p) {
  const ibx_stream *stream = &p->entry->streams[p->engine];
  if (stream->count == 0) return IBX_OK;
  ibx_timed_insn *timed = calloc(stream->count, sizeof(*timed));
  open_loop *stack = calloc(stream->count, sizeof(*stack));
  p->plan->insns[p->engine] = timed;
  if (!timed || !stack) {
    free(stack);
    return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory to time %zu instructions",
                    stream->count);
  }
  ibx_status status = IBX_OK;
  for (p->index = 0; p->index < stream->count && status == IBX_OK; p->index++) {
    status = plan_insn(p, &stream->insns[p->index], &timed[p->index]);
  }
  if (status == IBX_OK) status = match_loops(p, stack);
  free(stack);
  return status;
}

ibx_status ibx_timing_plan_init(const ibx_machine *machine,
                                const ibx_entry *entry, ibx_timing_plan *plan,
                                ibx_error *err) {
  *plan = (ibx_timing_plan){0};
  ibx_buffer_place *places =
      calloc(entry->buffer_count + 1, sizeof(ibx_buffer_place));
  if (!places) {
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
               .err = err};
  ibx_status status = IBX_OK;
  for (int e = 0; e < IBX_ENGINE_COUNT && status == IBX_OK; e++) {
    p.engine = (ibx_engine)e;
    status = plan_stream(&p);
  }
  free(places);
  return status;
}

void ibx_timing_plan_fini(ibx_timing_plan *plan) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    free(plan->insns[e]);
  }
  free(plan->piece_ps);
}
