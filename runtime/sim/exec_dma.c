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

static reach reach_of(const ibx_exec *x, unsigned slot, int64_t bytes) {
  const ibx_operand *operand = &x->insn->operand[slot];
  int64_t offset =
      operand->offset > (uint64_t)far ? far : (int64_t)operand->offset;
  offset += loop_offset(operand, x->seq);
  reach range = {.low = offset,
                 .high = offset + bytes,
                 .partition_low = operand->partition,
                 .partition_high = operand->partition};
  ibx_operand_shape shape = ibx_insn_shape(x->insn, slot);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    uint64_t last = shape.num[d] == 0 ? 0 : shape.num[d] - 1;
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
  // The reach was that of all places.
  uint32_t number;
  IBX_TRY(ibx_sim_place(x, slot, &number));
  out->base += (ptrdiff_t)number * out->step[0];
  return IBX_OK;
}

// Whether indices beyond the table leave their rows out.
static bool skips(const ibx_insn *insn) {
  return insn->opcode == IBX_OP_dma_gather_skip || insn->mode != 0;
}

// Rows of a scatter are written by pieces that nobody orders.
static ibx_status check_rows_differ(const ibx_exec *x,
                                    const ibx_dma_plan *plan) {
  uint32_t rows = x->insn->num[0];
  for (uint32_t i = 0; i < rows; i++) {
    for (uint32_t j = 0; j < i && plan->row[i] != IBX_DMA_SKIPPED; j++) {
      if (plan->row[i] != plan->row[j]) continue;
      return IBX_EXEC_FAIL(x, "index %u stands in partitions %u and %u",
                           plan->row[i], j, i);
    }
  }
  return IBX_OK;
}

static ibx_status read_rows(const ibx_exec *x, ibx_dma_plan *plan) {
  ibx_sim_view index;
  uint32_t rows = x->insn->num[0];
  IBX_TRY(ibx_sim_view_make_column(x, 2, rows, &index));
  for (uint32_t i = 0; i < rows; i++) {
    ibx_sim_view_fetch_raw(&index, i, 0, 1, (uint8_t *)&plan->row[i]);
    if (plan->row[i] < x->insn->count) continue;
    if (!skips(x->insn)) {
      return IBX_EXEC_FAIL(x, "index %u in partition %u is not below %u",
                           plan->row[i], i, x->insn->count);
    }
    plan->row[i] = IBX_DMA_SKIPPED;
  }
  bool is_scatter = plan->transfer.index == IBX_TRANSFER_DST;
  return is_scatter ? check_rows_differ(x, plan) : IBX_OK;
}

ibx_status ibx_dma_plan_make(const ibx_exec *x, ibx_dma_plan *out) {
  side dst, src;
  IBX_TRY(side_make(x, 0, &dst));
  IBX_TRY(side_make(x, 1, &src));
  *out = (ibx_dma_plan){.src = src.base,
                        .dst = dst.base,
                        .elements = 1,
                        .src_dtype = src.dtype,
                        .dst_dtype = dst.dtype,
                        .transfer = ibx_insn_transfer(x->insn->opcode),
                        .rounder = ibx_rounder_make(x, 0),
                        .sources = 1,
                        .skips = skips(x->insn)};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    out->num[d] = x->insn->num[d];
    out->src_step[d] = src.step[d];
    out->dst_step[d] = dst.step[d];
  }
  if (out->transfer.combine == IBX_TRANSFER_SUM) {
    out->sources = out->num[0];
    out->source_step = out->src_step[0];
    out->num[0] = 1;
  }
  for (size_t d = 0; d < IBX_DIMS; d++) {
    out->elements *= out->num[d];
  }
  return out->transfer.index == IBX_TRANSFER_NONE ? IBX_OK : read_rows(x, out);
}

static float load(ibx_dtype dtype, const uint8_t *at) {
  float value;
  ibx_dtype_load_f32(dtype, at, &value, 1);
  return value;
}

// Element `number` of the DMA.
static void move_element(const ibx_dma_plan *plan, uint64_t number,
                         const uint8_t *src, uint8_t *dst) {
  bool is_copy = plan->transfer.combine == IBX_TRANSFER_COPY;
  if (is_copy && plan->src_dtype == plan->dst_dtype) {
    memcpy(dst, src, ibx_dtype_bytes(plan->src_dtype));
    return;
  }
  float value = load(plan->src_dtype, src);
  for (uint64_t i = 1; i < plan->sources; i++) {
    value += load(plan->src_dtype, src + (ptrdiff_t)i * plan->source_step);
  }
  if (plan->transfer.combine == IBX_TRANSFER_ADD) {
    value = load(plan->dst_dtype, dst) + value;
  }
  float known = value != value ? NAN : value;
  known = ibx_round(&plan->rounder, plan->dst_dtype, 0, number, known);
  ibx_dtype_store_f32(plan->dst_dtype, &known, dst, 1);
}

void ibx_dma_plan_run(const ibx_dma_plan *plan, uint64_t first,
                      uint64_t elements) {
  for (uint64_t number = first; number < first + elements; number++) {
    uint64_t index[2][IBX_DIMS]; // of dst and src
    uint64_t left = number;
    for (size_t d = IBX_DIMS; d-- > 0; left /= plan->num[d]) {
      index[0][d] = index[1][d] = left % plan->num[d];
    }
    if (plan->transfer.index != IBX_TRANSFER_NONE) {
      uint32_t row = plan->row[index[0][0]];
      if (row == IBX_DMA_SKIPPED) continue;
      index[plan->transfer.index][0] = row;
    }
    uint8_t *dst = plan->dst;
    const uint8_t *src = plan->src;
    for (size_t d = 0; d < IBX_DIMS; d++) {
      dst += (ptrdiff_t)index[0][d] * plan->dst_step[d];
      src += (ptrdiff_t)index[1][d] * plan->src_step[d];
    }
    move_element(plan, number, src, dst);
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

#define IBX_TRANSFER(name, ...)                                                \
  ibx_status ibx_exec_##name(const ibx_exec *x) { return execute(x); }
#include "imbrex/isa.def"
