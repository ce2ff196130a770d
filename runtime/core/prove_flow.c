// SPDX-License-Identifier: Apache-2.0
//
// One engine's control flow. Comes in: a stream of checked instructions. Goes
// out: the instructions in the order of execution, loops expanded, and for each
// operand the bytes that it touches. Nothing here depends on data: a loop whose
// trips come from memory is refused.

#include "core/prove_internal.h"

#include <inttypes.h>
#include <string.h>

ibx_status ibx_flow_init(ibx_flow *flow, const ibx_stream *stream,
                         ibx_error *err) {
  uint32_t open[IBX_LOOP_REGISTERS];
  size_t depth = 0;
  flow->stream = stream;
  for (size_t i = 0; i < stream->count; i++) {
    flow->partner[i] = 0;
    if (stream->insns[i].opcode == IBX_OP_loop) {
      if (depth == IBX_LOOP_REGISTERS) {
        return IBX_FAIL(err, UNPROVEN, "%zu: loops nest deeper than %d", i,
                        IBX_LOOP_REGISTERS);
      }
      open[depth++] = (uint32_t)i;
    } else if (stream->insns[i].opcode == IBX_OP_loop_end) {
      if (depth == 0) {
        return IBX_FAIL(err, UNPROVEN, "%zu: loop_end without a loop", i);
      }
      flow->partner[open[--depth]] = (uint32_t)i;
    }
  }
  if (depth > 0) {
    return IBX_FAIL(err, UNPROVEN, "%" PRIu32 ": loop without a loop_end",
                    open[depth - 1]);
  }
  ibx_flow_rewind(flow);
  return IBX_OK;
}

// Registers hold 0 when a run starts.
void ibx_flow_rewind(ibx_flow *flow) {
  flow->pc = 0;
  flow->time = 0;
  flow->depth = 0;
  memset(flow->loop_value, 0, sizeof flow->loop_value);
  memset(flow->loop_active, 0, sizeof flow->loop_active);
  memset(flow->reg, 0, sizeof flow->reg);
  for (size_t r = 0; r < IBX_REGISTERS; r++) {
    flow->reg_known[r] = true;
  }
}

bool ibx_flow_is_done(const ibx_flow *flow) {
  return flow->pc >= flow->stream->count;
}

static ibx_status enter_loop(ibx_flow *flow, const ibx_insn *insn,
                             ibx_error *err) {
  uint32_t trips = insn->count;
  uint8_t reg = insn->reg[0];
  uint8_t limit = insn->reg[1];
  if (reg >= IBX_LOOP_REGISTERS || flow->loop_active[reg]) {
    return IBX_FAIL(err, UNPROVEN,
                    "loop register %u is in use by a loop around it", reg);
  }
  if (limit < IBX_REGISTERS) {
    if (!flow->reg_known[limit]) {
      return IBX_FAIL(err, UNPROVEN,
                      "the trips depend on register %u, which was loaded from "
                      "memory; only constant trips can be proved",
                      limit);
    }
    if (flow->reg[limit] < trips) trips = flow->reg[limit];
  }
  if (trips == 0) {
    flow->pc = flow->partner[flow->pc] + (size_t)1;
    return IBX_OK;
  }
  flow->loops[flow->depth++] =
      (ibx_flow_loop){.start = (uint32_t)flow->pc, .trips = trips, .reg = reg};
  flow->loop_active[reg] = true;
  flow->loop_value[reg] = 0;
  flow->pc++;
  return IBX_OK;
}

static void end_loop(ibx_flow *flow) {
  ibx_flow_loop *loop = &flow->loops[flow->depth - 1];
  if (--loop->trips > 0) {
    flow->loop_value[loop->reg]++;
    flow->pc = loop->start + (size_t)1;
    return;
  }
  flow->loop_active[loop->reg] = false;
  flow->loop_value[loop->reg] = 0;
  flow->depth--;
  flow->pc++;
}

static void set_rank(ibx_flow *flow, const ibx_insn *insn) {
  ibx_core_group group = ibx_insn_group(insn, flow->cores, flow->rank);
  flow->reg[insn->reg[0]] = ibx_core_group_below(&group, insn->count);
  flow->reg_known[insn->reg[0]] = true;
}

ibx_status ibx_flow_step(ibx_flow *flow, ibx_error *err) {
  const ibx_insn *insn = &flow->stream->insns[flow->pc];
  flow->time++;
  switch (insn->opcode) {
  case IBX_OP_loop: return enter_loop(flow, insn, err);
  case IBX_OP_loop_end: end_loop(flow); return IBX_OK;
  case IBX_OP_register_move:
  case IBX_OP_register_load:
    flow->reg[insn->reg[0]] = insn->count;
    flow->reg_known[insn->reg[0]] = insn->opcode == IBX_OP_register_move;
    break;
  case IBX_OP_rank_id: set_rank(flow, insn); break;
  default: break;
  }
  flow->pc++;
  return IBX_OK;
}

// --- operands ----------------------------------------------------------------

static uint64_t element_bytes(const ibx_insn *insn, size_t slot) {
  size_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[slot].dtype);
  return bytes > 0 ? bytes : sizeof(float); // [P,1] operands
}

// An instruction that walks partitions by itself has dimensions left for it.
static void make_operand(const ibx_insn *insn, size_t slot, ibx_pattern *p) {
  const ibx_operand *operand = &insn->operand[slot];
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    p->stride[d] = operand->step[d] * (int64_t)p->element_bytes;
    p->partition_step[d] = operand->partition_step[d];
    p->count[d] = shape.num[d];
  }
  if (shape.groups != 1) {
    p->stride[1] = 0;
    p->partition_step[1] = shape.group_step;
    p->count[1] = shape.groups;
  }
  if (shape.partitions == 1) return;
  // A register has dimension 0 for itself; such operands have no groups.
  size_t lane = ibx_insn_is_indexed(insn, slot) ? 1 : 0;
  p->stride[lane] = 0;
  p->partition_step[lane] = 1;
  p->count[lane] = shape.partitions;
}

ibx_pattern ibx_flow_pattern(const ibx_flow *flow, const ibx_insn *insn,
                             size_t slot) {
  const ibx_operand *operand = &insn->operand[slot];
  ibx_pattern pattern = {.offset = (int64_t)operand->offset,
                         .partition = operand->partition,
                         .element_bytes = element_bytes(insn, slot)};
  make_operand(insn, slot, &pattern);
  if (!(insn->flags & IBX_FLAG_LOOPED)) return pattern;
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    pattern.offset += (int64_t)operand->loop_step[r] * flow->loop_value[r];
  }
  return pattern;
}
