// SPDX-License-Identifier: Apache-2.0
//
// DMA. In: two tensors of five dimensions in any memory. Out: a plan with every
// address inside its buffer, and the copy, element by element: equal dtypes bit
// for bit, others through fp32 as element.h says. Index tensors are read when
// the DMA is issued, which is when descriptors are made. Where the sides of a
// DMA overlap, nothing is specified but that it stays in its buffers.

#include "sim/view.h"

#include <math.h>
#include <string.h>

// One side of a DMA, resolved.
typedef struct side {
  uint8_t *base;
  ptrdiff_t step[IBX_DIMS]; ///< bytes, partitions included
  ibx_dtype dtype;
} side;

// Where a side's accesses lie in its buffer.
typedef struct reach {
  int64_t low, high;                     ///< bytes
  int64_t partition_low, partition_high; ///< inclusive
} reach;

static const int64_t far = INT64_C(1) << 52;

// `step` times the largest index, cut off far outside of every buffer.
static int64_t span_of(int64_t step, uint64_t last) {
  if (step == 0 || last == 0) return 0;
  if (last > (uint64_t)1 << 32) return far;
  int64_t limit = far / (int64_t)last;
  if (step > limit) return far;
  return step < -limit ? -far : step * (int64_t)last;
}

static void extend(int64_t span, int64_t *low, int64_t *high) {
  *(span < 0 ? low : high) += span;
}

static int64_t loop_offset(const ibx_operand *operand,
                           const ibx_sim_sequencer *seq) {
  int64_t sum = 0;
  for (size_t r = 0; r < IBX_LOOP_REGISTERS; r++) {
    sum += span_of(operand->loop_step[r], seq->loop_reg[r]);
  }
  return sum;
}

// Index that dimension `d` reaches: of a gather's rows, what the count allows.
static uint64_t last_index(const ibx_insn *insn, unsigned slot, size_t d) {
  bool rows = insn->opcode == IBX_OP_dma_gather && slot == 1 && d == 0;
  uint32_t count = rows ? insn->count : insn->num[d];
  return count == 0 ? 0 : count - 1;
}

static reach reach_of(const ibx_exec *x, unsigned slot, int64_t bytes) {
  const ibx_operand *operand = &x->insn->operand[slot];
  int64_t offset =
      operand->offset > (uint64_t)far ? far : (int64_t)operand->offset;
  offset += loop_offset(operand, x->seq);
  reach range = {.low = offset,
                 .high = offset + bytes,
                 .partition_low = operand->partition,
                 .partition_high = operand->partition};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    uint64_t last = last_index(x->insn, slot, d);
    extend(span_of(operand->step[d] * bytes, last), &range.low, &range.high);
    extend(span_of(operand->partition_step[d], last), &range.partition_low,
           &range.partition_high);
  }
  return range;
}

static ibx_status fail_reach(const ibx_exec *x, unsigned slot, reach range) {
  const ibx_buffer_decl *buffer =
      &x->sim->entry->buffers[x->insn->operand[slot].buffer];
  return IBX_EXEC_FAIL(x,
                       "operand %u touches bytes %lld to %lld of partitions "
                       "%lld to %lld of buffer '%s', which has %u of %llu",
                       slot, (long long)range.low, (long long)range.high,
                       (long long)range.partition_low,
                       (long long)range.partition_high, buffer->name,
                       buffer->place.partitions,
                       (unsigned long long)buffer->place.bytes);
}

static bool is_read_only(ibx_buffer_kind kind) {
  return kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_WEIGHT;
}

static ibx_status side_make(const ibx_exec *x, unsigned slot, side *out) {
  const ibx_operand *operand = &x->insn->operand[slot];
  ibx_sim *sim = x->sim;
  int64_t bytes = (int64_t)ibx_dtype_bytes((ibx_dtype)operand->dtype);
  if (operand->buffer >= sim->entry->buffer_count || bytes == 0) {
    return IBX_EXEC_FAIL(x, "operand %u is no tensor", slot);
  }
  const ibx_buffer_decl *buffer = &sim->entry->buffers[operand->buffer];
  const ibx_buffer_place *place = &sim->places[operand->buffer];
  if (slot == 0 && is_read_only(buffer->kind)) {
    return IBX_EXEC_FAIL(x, "buffer '%s' may not be written", buffer->name);
  }
  reach range = reach_of(x, slot, bytes);
  if (range.low < 0 || (uint64_t)range.high > place->bytes ||
      range.partition_low < 0 || range.partition_high >= place->partitions) {
    return fail_reach(x, slot, range);
  }
  ptrdiff_t partition_bytes = (ptrdiff_t)sim->partition_bytes[place->space];
  out->dtype = (ibx_dtype)operand->dtype;
  out->base = sim->bases[operand->buffer] +
              operand->partition * partition_bytes + operand->offset +
              loop_offset(operand, x->seq);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    out->step[d] =
        operand->step[d] * bytes + operand->partition_step[d] * partition_bytes;
  }
  return IBX_OK;
}

static ibx_status read_rows(const ibx_exec *x, ibx_dma_plan *plan) {
  ibx_sim_view index;
  uint32_t rows = x->insn->num[0];
  IBX_TRY(ibx_sim_view_make_column(x, 2, rows, &index));
  for (uint32_t i = 0; i < rows; i++) {
    ibx_sim_view_fetch_raw(&index, i, 0, 1, (uint8_t *)&plan->row[i]);
    if (plan->row[i] >= x->insn->count) {
      return IBX_EXEC_FAIL(x, "index %u in partition %u is not below %u",
                           plan->row[i], i, x->insn->count);
    }
  }
  return IBX_OK;
}

ibx_status ibx_dma_plan_make(const ibx_exec *x, ibx_dma_plan *out) {
  side dst, src;
  IBX_TRY(side_make(x, 0, &dst));
  IBX_TRY(side_make(x, 1, &src));
  out->gather = x->insn->opcode == IBX_OP_dma_gather;
  if (out->gather) IBX_TRY(read_rows(x, out));
  out->elements = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    out->elements *= x->insn->num[d];
  }
  out->src = src.base;
  out->dst = dst.base;
  out->src_dtype = src.dtype;
  out->dst_dtype = dst.dtype;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    out->num[d] = x->insn->num[d];
    out->src_step[d] = src.step[d];
    out->dst_step[d] = dst.step[d];
  }
  return IBX_OK;
}

static void copy_element(const ibx_dma_plan *plan, const uint8_t *src,
                         uint8_t *dst) {
  if (plan->src_dtype == plan->dst_dtype) {
    memcpy(dst, src, ibx_dtype_bytes(plan->src_dtype));
    return;
  }
  float value;
  ibx_dtype_load_f32(plan->src_dtype, src, &value, 1);
  float known = value != value ? NAN : value;
  ibx_dtype_store_f32(plan->dst_dtype, &known, dst, 1);
}

void ibx_dma_plan_run(const ibx_dma_plan *plan, uint64_t first,
                      uint64_t elements) {
  for (uint64_t number = first; number < first + elements; number++) {
    const uint8_t *src = plan->src;
    uint8_t *dst = plan->dst;
    uint64_t left = number;
    for (size_t d = IBX_DIMS; d-- > 0; left /= plan->num[d]) {
      uint64_t index = left % plan->num[d];
      uint64_t row = plan->gather && d == 0 ? plan->row[index] : index;
      src += (ptrdiff_t)row * plan->src_step[d];
      dst += (ptrdiff_t)index * plan->dst_step[d];
    }
    copy_element(plan, src, dst);
  }
}

// In program order a DMA is complete before its issuer goes on; the other
// orders keep the plan and run it in pieces.
static ibx_status execute(const ibx_exec *x) {
  if (x->sim->order != IBX_SIM_ORDER_PROGRAM) return ibx_sim_launch(x);
  ibx_dma_plan plan;
  IBX_TRY(ibx_dma_plan_make(x, &plan));
  ibx_dma_plan_run(&plan, 0, plan.elements);
  return IBX_OK;
}

ibx_status ibx_exec_dma_copy(const ibx_exec *x) { return execute(x); }

ibx_status ibx_exec_dma_gather(const ibx_exec *x) { return execute(x); }
