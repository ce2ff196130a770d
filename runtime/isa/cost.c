// SPDX-License-Identifier: Apache-2.0
//
// What an instruction costs on its engine. Comes in: a checked instruction and
// the places of its buffers. Goes out: cycles of that engine. There is one
// function for each name in the COST column of isa.def, and it states the
// published formula: N is the number of elements of a partition, II the least
// interval between two instructions. Numbers come from machine.def; those
// inside a formula are the formula's own. Sources: ISA (nki.isa of SDK 2.26),
// ARCH2 and ARCH3, as in machine.def.

#include "isa/calls.h"

typedef struct cost_ctx {
  const ibx_machine *machine;
  const ibx_insn *insn;
  const ibx_buffer_place *buffers;
  const ibx_insn_info *info;
  ibx_engine engine;
  uint64_t n; ///< elements of a partition
} cost_ctx;

/// `issue` until the next instruction; `stream` the part of it in which data
/// flow, after which and the engine's latency the result is there.
typedef struct work {
  uint64_t issue;
  uint64_t stream;
  uint8_t table;
} work;

static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }

static uint64_t div_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

static ibx_space space_of(const cost_ctx *ctx, size_t slot) {
  return ctx->buffers[ctx->insn->operand[slot].buffer].space;
}

static ibx_dtype dtype_of(const cost_ctx *ctx, size_t slot) {
  return (ibx_dtype)ctx->insn->operand[slot].dtype;
}

// The step of the innermost dimension that has more than one element; 1 when
// there is none, as one element is contiguous.
static int32_t inner_step(const cost_ctx *ctx, size_t slot) {
  for (size_t d = IBX_DIMS; d-- > 0;) {
    if (ctx->insn->num[d] > 1) return ctx->insn->operand[slot].step[d];
  }
  return 1;
}

static bool is_wide(const cost_ctx *ctx, size_t slot) {
  int64_t step = inner_step(ctx, slot);
  int64_t bytes = (int64_t)ibx_dtype_bytes(dtype_of(ctx, slot));
  int64_t stride = (step < 0 ? -step : step) * bytes;
  return stride > (int64_t)ctx->machine->wide_stride_bytes;
}

// AP: an innermost stride above 16 bytes runs at half rate.
static uint64_t stride_factor(const cost_ctx *ctx) {
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (ibx_slot_is_tensor(ctx->info->slot[i]) && is_wide(ctx, i)) return 2;
  }
  return 1;
}

static bool is_float16(ibx_dtype dtype) {
  return dtype == IBX_DTYPE_BF16 || dtype == IBX_DTYPE_F16;
}

// The class of types that has the fast modes: 16-bit floats, and from v4 on
// also 8-bit ones (HW neuron-core-v4).
static bool is_narrow(const cost_ctx *ctx, size_t slot) {
  ibx_dtype dtype = dtype_of(ctx, slot);
  bool is_float8 = dtype == IBX_DTYPE_F8E4M3 || dtype == IBX_DTYPE_F8E4M3FN ||
                   dtype == IBX_DTYPE_F8E5M2;
  return is_float16(dtype) ||
         (is_float8 && ctx->machine->target >= IBX_TARGET_ibx4);
}

// Elements per cycle of tensor_copy and tensor_scalar on Vector (ARCH3, "DVE
// performance mode").
static uint64_t vector_rate(const cost_ctx *ctx) {
  if (!is_narrow(ctx, 0) || !is_narrow(ctx, 1)) return 1;
  bool contiguous = inner_step(ctx, 0) == 1 && inner_step(ctx, 1) == 1;
  int psum = (space_of(ctx, 0) == IBX_SPACE_PSUM) +
             (space_of(ctx, 1) == IBX_SPACE_PSUM);
  if (psum == 0) {
    return contiguous ? ctx->machine->vector_fast : ctx->machine->vector_half;
  }
  return psum == 1 && contiguous ? ctx->machine->vector_half : 1;
}

// Elements per cycle on Scalar (HW neuron-core-v4).
static uint64_t scalar_rate(const cost_ctx *ctx) {
  return is_narrow(ctx, 0) && is_narrow(ctx, 1) ? ctx->machine->scalar_fast : 1;
}

// max(II, stream) on Vector and Scalar, with wide strides charged.
static work lane_work(const cost_ctx *ctx, uint64_t stream) {
  stream *= stride_factor(ctx);
  return (work){.issue = max_u64(ctx->machine->min_interval, stream),
                .stream = stream};
}

// ISA: GpSimd instructions take 150 cycles to start.
static work gpsimd_work(const cost_ctx *ctx, uint64_t stream) {
  uint64_t cycles = ctx->machine->gpsimd_start + stream;
  return (work){.issue = cycles, .stream = cycles};
}

// ISA nc_matmul: a promise of zeros and ones on one operand gives up to 2x.
static uint64_t fp32_passes(const cost_ctx *ctx) {
  bool is_one_zero = ctx->insn->opcode == IBX_OP_load_stationary
                         ? ctx->insn->mode == IBX_MODE_load_stationary_ONE_ZERO
                         : ctx->insn->mode == IBX_MODE_multiply_moving_ONE_ZERO;
  if (dtype_of(ctx, 1) != IBX_DTYPE_F32) return 1;
  return is_one_zero ? ctx->machine->fp32_passes / 2
                     : ctx->machine->fp32_passes;
}

// ARCH2: up to four times faster than a multiply_moving of the same size.
static work cost_LOAD_STATIONARY(const cost_ctx *ctx) {
  uint64_t columns = ctx->insn->columns;
  uint64_t rate = ctx->machine->load_stationary_rate;
  uint64_t cycles = div_up(columns, rate) * fp32_passes(ctx);
  return (work){.issue = cycles, .stream = cycles};
}

// ISA nc_matmul: the moving free size, at least 64; four passes for fp32.
static work cost_MULTIPLY_MOVING(const cost_ctx *ctx) {
  bool is_double = ctx->insn->opcode == IBX_OP_multiply_moving &&
                   ctx->insn->mode == IBX_MODE_multiply_moving_DOUBLE_ROW;
  uint64_t moved = is_double ? ctx->n / 2 : ctx->n;
  uint64_t columns = max_u64(moved, ctx->machine->min_interval);
  uint64_t cycles = columns * fp32_passes(ctx);
  return (work){.issue = cycles, .stream = cycles};
}

// ISA nc_transpose: max(P, min(64, F)); 4-byte types take several passes.
static work cost_PE_TRANSPOSE(const cost_ctx *ctx) {
  uint64_t free_size = ctx->insn->columns;
  uint64_t least = ctx->machine->min_interval;
  uint64_t cycles =
      max_u64(ctx->insn->partitions, free_size < least ? free_size : least);
  if (ibx_dtype_bytes(dtype_of(ctx, 1)) == 4) {
    cycles *= ctx->machine->transpose_fp32_passes;
  }
  return (work){.issue = cycles, .stream = cycles};
}

static work cost_COPY(const cost_ctx *ctx) {
  if (ctx->engine == IBX_ENGINE_GPSIMD) return gpsimd_work(ctx, ctx->n);
  uint64_t rate =
      ctx->engine == IBX_ENGINE_SCALAR ? scalar_rate(ctx) : vector_rate(ctx);
  return lane_work(ctx, div_up(ctx->n, rate));
}

// ISA tensor_scalar: one or two operators cost the same.
static work cost_SCALAR_OP(const cost_ctx *ctx) {
  const uint8_t *op = ctx->insn->op;
  bool is_slow = op[0] == IBX_ALU_RSQRT || op[1] == IBX_ALU_RSQRT; // SHARED
  if (ctx->engine == IBX_ENGINE_GPSIMD) {
    return gpsimd_work(ctx, is_slow ? 4 * ctx->n : ctx->n);
  }
  if (ctx->engine == IBX_ENGINE_SCALAR) {
    return lane_work(ctx, div_up(ctx->n, scalar_rate(ctx)));
  }
  return lane_work(ctx, div_up(ctx->n, vector_rate(ctx)));
}

static bool is_bf16_contiguous(const cost_ctx *ctx, size_t slot) {
  return dtype_of(ctx, slot) == IBX_DTYPE_BF16 && inner_step(ctx, slot) == 1;
}

static bool is_add_sub_mul(uint8_t alu) {
  return alu == IBX_ALU_ADD || alu == IBX_ALU_SUBTRACT ||
         alu == IBX_ALU_MULTIPLY;
}

// ISA tensor_tensor: N with one input in PSUM, or with contiguous bf16 and
// add, subtract, multiply; else 2N.
static uint64_t two_input_stream(const cost_ctx *ctx) {
  if (space_of(ctx, 1) != space_of(ctx, 2)) return ctx->n;
  bool is_fast = is_add_sub_mul(ctx->insn->op[0]);
  for (size_t i = 0; i < 3; i++) {
    is_fast = is_fast && is_bf16_contiguous(ctx, i);
  }
  return is_fast ? ctx->n : 2 * ctx->n;
}

// ARCH3: 16-bit types with both inputs in SBUF at half of the v2 cost.
static work cost_TENSOR_TENSOR(const cost_ctx *ctx) {
  if (ctx->engine == IBX_ENGINE_GPSIMD) return gpsimd_work(ctx, ctx->n);
  uint64_t stream = two_input_stream(ctx);
  if (space_of(ctx, 1) == IBX_SPACE_SBUF &&
      space_of(ctx, 2) == IBX_SPACE_SBUF && is_narrow(ctx, 0) &&
      is_narrow(ctx, 1) && is_narrow(ctx, 2)) {
    stream = div_up(stream, ctx->machine->vector_half);
  }
  return lane_work(ctx, stream);
}

static work cost_SCALAR_TENSOR(const cost_ctx *ctx) {
  const ibx_insn *insn = ctx->insn;
  bool is_fast = dtype_of(ctx, 1) == IBX_DTYPE_BF16 &&
                 dtype_of(ctx, 2) == IBX_DTYPE_BF16 &&
                 insn->op[0] == IBX_ALU_SUBTRACT &&
                 insn->op[1] == IBX_ALU_MULTIPLY && ctx->n % 2 == 0;
  return lane_work(ctx, is_fast ? ctx->n : 2 * ctx->n);
}

static work cost_REDUCE(const cost_ctx *ctx) {
  uint8_t alu = ctx->insn->op[0];
  bool is_fast = dtype_of(ctx, 0) == IBX_DTYPE_BF16 &&
                 dtype_of(ctx, 1) == IBX_DTYPE_BF16 &&
                 (alu == IBX_ALU_ADD || alu == IBX_ALU_MAX);
  return lane_work(ctx, is_fast ? div_up(ctx->n, 2) : ctx->n);
}

// Reading the accumulators at the end takes another interval.
static work with_accumulator(const cost_ctx *ctx, work base) {
  base.issue += ctx->machine->min_interval;
  base.stream += ctx->machine->min_interval;
  return base;
}

static work cost_SCALAR_REDUCE(const cost_ctx *ctx) {
  return with_accumulator(ctx, lane_work(ctx, ctx->n));
}

// ISA tensor_copy_predicated: N when source and predicate are in different
// memories, 2N when both are in SBUF.
static work cost_SELECT(const cost_ctx *ctx) {
  bool is_apart = space_of(ctx, 1) != space_of(ctx, 2);
  return lane_work(ctx, is_apart ? ctx->n : 2 * ctx->n);
}

static work cost_RECIPROCAL(const cost_ctx *ctx) {
  return lane_work(ctx, 8 * ctx->n);
}

static work cost_MEMSET(const cost_ctx *ctx) {
  if (ctx->engine == IBX_ENGINE_GPSIMD) return gpsimd_work(ctx, ctx->n);
  bool is_fast = ctx->insn->imm[0] == 0.0f && is_float16(dtype_of(ctx, 0));
  return lane_work(ctx, is_fast ? div_up(ctx->n, 2) : ctx->n);
}

static work cost_SCAN(const cost_ctx *ctx) {
  return lane_work(ctx, 2 * ctx->n);
}

static work cost_TRANSPOSE32(const cost_ctx *ctx) {
  return lane_work(ctx, ctx->n);
}

static work cost_ACTIVATION(const cost_ctx *ctx) {
  work result = lane_work(ctx, div_up(ctx->n, scalar_rate(ctx)));
  result.table = ibx_act_table(ctx->insn->op[0]);
  return result;
}

// No cost is published: as activation, with two elements a cycle of 16-bit types
// (HW neuron-core-v4) [C].
static work cost_ACTIVATE2(const cost_ctx *ctx) {
  work result = lane_work(ctx, div_up(ctx->n, scalar_rate(ctx)));
  result.table = ibx_act_table(ctx->insn->op[2]);
  return result;
}

static work cost_ACTIVATION_REDUCE(const cost_ctx *ctx) {
  return with_accumulator(ctx, cost_ACTIVATION(ctx));
}

static work cost_READ_ACCUMULATOR(const cost_ctx *ctx) {
  return lane_work(ctx, ctx->machine->min_interval);
}

static work cost_STREAM(const cost_ctx *ctx) { return lane_work(ctx, ctx->n); }

static work cost_CUMULATIVE(const cost_ctx *ctx) {
  return lane_work(ctx, 2 * ctx->n);
}

// Published for all three engines.
static work cost_DYNAMIC_COPY(const cost_ctx *ctx) {
  uint64_t cycles = max_u64(ctx->machine->dynamic_copy, ctx->n);
  return (work){.issue = cycles, .stream = cycles};
}

// N packed elements of four.
static work cost_QUANTIZE_MX(const cost_ctx *ctx) {
  return lane_work(ctx, div_up(4 * ctx->n, ctx->machine->quantize_rate));
}

static work cost_EXPONENTIAL(const cost_ctx *ctx) {
  return lane_work(ctx, div_up(ctx->n, ctx->machine->exponential_rate));
}

static work cost_BN_AGGR(const cost_ctx *ctx) {
  return lane_work(ctx, 13 * ctx->n / 3);
}

static work cost_SEARCH8(const cost_ctx *ctx) { return lane_work(ctx, ctx->n); }

static work cost_RANDOM(const cost_ctx *ctx) {
  if (ctx->engine == IBX_ENGINE_GPSIMD) return gpsimd_work(ctx, ctx->n);
  return lane_work(ctx, div_up(ctx->n, ctx->machine->random_rate));
}

static work cost_STATE(const cost_ctx *ctx) {
  if (ctx->engine == IBX_ENGINE_GPSIMD) return gpsimd_work(ctx, 0);
  return lane_work(ctx, ctx->machine->min_interval);
}

static work cost_GPSIMD(const cost_ctx *ctx) {
  return gpsimd_work(ctx, ctx->n);
}

static work cost_PARTITION_REDUCE(const cost_ctx *ctx) {
  return gpsimd_work(ctx, ctx->machine->partition_reduce_rate * ctx->n);
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

// ISA local_gather, C * (count * e) with C = ((28 + 4 e) / 4 e) / min(4 / bytes,
// e): printed as a division, which would punish long runs; our reading [C].
static work cost_LOCAL_GATHER(const cost_ctx *ctx) {
  uint64_t e = ctx->insn->columns ? ctx->insn->columns : 1;
  uint64_t width = 4 / ibx_dtype_bytes(dtype_of(ctx, 1));
  return gpsimd_work(ctx,
                     div_up(ctx->insn->count * (7 + e), min_u64(width, e)));
}

// ISA nc_n_gather: groups of 512 elements.
static work cost_N_GATHER(const cost_ctx *ctx) {
  uint64_t count = ctx->insn->count;
  uint64_t groups = max_u64(1, div_up(count, 512));
  return gpsimd_work(ctx,
                     (groups - 1) * ctx->machine->gpsimd_start + 8 * count);
}

static work cost_SEQUENCE_BOUNDS(const cost_ctx *ctx) {
  return gpsimd_work(ctx, ctx->machine->gpsimd_call_rate * ctx->n);
}

static work cost_NONZERO(const cost_ctx *ctx) {
  return gpsimd_work(ctx, ctx->machine->gpsimd_call_rate * ctx->n);
}

// ISA topk: the whole cost; its minimum is that of any instruction [C].
static work cost_TOPK(const cost_ctx *ctx) {
  int32_t n = ctx->insn->pattern[0] > 0 ? ctx->insn->pattern[0] : 0;
  uint64_t cycles =
      max_u64(ctx->machine->gpsimd_start, 4 * (uint64_t)n + ctx->insn->count);
  return (work){.issue = cycles, .stream = cycles};
}

static uint64_t operand_bytes(const cost_ctx *ctx, size_t slot) {
  ibx_operand_shape shape = ibx_insn_shape(ctx->insn, slot);
  uint64_t bytes = ibx_dtype_bytes(dtype_of(ctx, slot)) * shape.partitions;
  for (size_t d = 2; d < IBX_DIMS; d++) {
    bytes *= shape.num[d];
  }
  return bytes;
}

// What a call moves to and from HBM: one start, then all engines.
static uint64_t traffic_cycles(const cost_ctx *ctx) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (!ibx_slot_is_tensor(ctx->info->slot[i])) continue;
    if (ctx->insn->operand[i].buffer == IBX_NO_BUFFER) continue;
    if (space_of(ctx, i) == IBX_SPACE_HBM) bytes += operand_bytes(ctx, i);
  }
  if (bytes == 0) return 0;
  const ibx_machine *machine = ctx->machine;
  uint64_t mhz = ibx_machine_clock_mhz(machine, ctx->engine);
  uint64_t rate = (uint64_t)machine->dma_engines * machine->dma_mb_per_s;
  return div_up(machine->dma_startup_ps * mhz, 1000000) +
         div_up(bytes * mhz, rate);
}

// hardware.md section 6: 128 lanes, a partition each; what lies in HBM and
// needs no order is spread over them.
static work cost_CALL(const cost_ctx *ctx) {
  const ibx_call_row *row = ibx_call_find(ctx->insn);
  uint64_t elements = ibx_call_work(ctx->insn, ctx->n);
  bool is_spread = row && row->lanes == IBX_LANES_EACH &&
                   space_of(ctx, 0) == IBX_SPACE_HBM &&
                   space_of(ctx, 1) == IBX_SPACE_HBM;
  if (is_spread) elements = div_up(elements, IBX_PARTITIONS);
  return gpsimd_work(ctx, ctx->machine->gpsimd_call_rate * elements +
                              traffic_cycles(ctx));
}

// No less than the value on any target, for arrays.
enum {
#define IBX_FACT(field, unit, v2, v3, v4, mark, source)                        \
  MOST_##field = (v2) | (v3) | (v4),
#include "imbrex/machine.def"
};

static uint64_t count_descriptors(const cost_ctx *ctx) {
  ibx_dma_piece pieces[MOST_dma_engines];
  size_t count = ibx_dma_split(ctx->machine, ctx->insn, ctx->buffers, pieces);
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++) {
    sum += pieces[i].descriptors;
  }
  return sum;
}

// DGE, and hardware.md section 6: what issuing costs; the transfer itself
// is ibx_dma_piece_ps().
static work cost_DMA(const cost_ctx *ctx) {
  const ibx_machine *machine = ctx->machine;
  uint64_t cycles = machine->control_cycles;
  if (ctx->insn->dge == IBX_DGE_HARDWARE) {
    uint64_t mhz = ibx_machine_clock_mhz(machine, ctx->engine);
    cycles = div_up(machine->dge_hw_ps * mhz, 1000000);
  } else if (ctx->insn->dge == IBX_DGE_SOFTWARE) {
    cycles = machine->dge_sw_cycles +
             machine->dge_sw_descriptor * count_descriptors(ctx);
  }
  return (work){.issue = cycles, .stream = cycles};
}

// What happens between the cores is ibx_collective_ps().
static work cost_COLLECTIVE(const cost_ctx *ctx) { return cost_DMA(ctx); }

static work cost_BARRIER(const cost_ctx *ctx) {
  const ibx_machine *machine = ctx->machine;
  uint64_t mhz = ibx_machine_clock_mhz(machine, ctx->engine);
  uint64_t cycles = machine->control_cycles +
                    div_up(machine->collective_hop_ps * mhz, 1000000);
  return (work){.issue = cycles, .stream = cycles};
}

static work cost_CONTROL(const cost_ctx *ctx) {
  uint64_t cycles = ctx->machine->control_cycles;
  return (work){.issue = cycles, .stream = cycles};
}

static work cost_LOOP_END(const cost_ctx *ctx) {
  uint64_t cycles = ctx->machine->loop_cycles;
  return (work){.issue = cycles, .stream = cycles};
}

static work (*const formulas[256])(const cost_ctx *) = {
#define IBX_INSN(name, opcode, format, kind, engines, targets, slot0, slot1,   \
                 slot2, slot3, cost, sentence, source)                         \
  [opcode] = cost_##cost,
#include "imbrex/isa.def"
};

static uint64_t latency(const cost_ctx *ctx) {
  if (ctx->info->format == IBX_FORMAT_dma ||
      ctx->info->format == IBX_FORMAT_control) {
    return 0;
  }
  switch (ctx->engine) {
  case IBX_ENGINE_TENSOR: return ctx->machine->tensor_latency;
  case IBX_ENGINE_VECTOR: return ctx->machine->vector_latency;
  case IBX_ENGINE_SCALAR: return ctx->machine->scalar_latency;
  case IBX_ENGINE_GPSIMD: return ctx->machine->gpsimd_latency;
  case IBX_ENGINE_SYNC:
  case IBX_ENGINE_COUNT: break;
  }
  return 0;
}

static uint32_t clamp_u32(uint64_t value) {
  return value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

ibx_insn_cost ibx_insn_cost_get(const ibx_machine *machine, ibx_engine engine,
                                const ibx_insn *insn,
                                const ibx_buffer_place *buffers) {
  cost_ctx ctx = {.machine = machine,
                  .insn = insn,
                  .buffers = buffers,
                  .info = ibx_insn_get(insn->opcode),
                  .engine = engine,
                  .n = (uint64_t)insn->num[2] * insn->num[3] * insn->num[4]};
  if (!ctx.info) return (ibx_insn_cost){0};
  work done = formulas[insn->opcode](&ctx);
  // A sequencer that only waits, signals or counts does no useful work.
  bool is_control = ctx.info->format == IBX_FORMAT_control;
  return (ibx_insn_cost){.issue_cycles = clamp_u32(done.issue),
                         .result_cycles =
                             clamp_u32(done.stream + latency(&ctx)),
                         .busy_cycles = is_control ? 0 : clamp_u32(done.issue),
                         .table = done.table};
}
