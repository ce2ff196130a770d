// SPDX-License-Identifier: Apache-2.0
//
// The checker: for every instruction one that passes on all targets, and for
// every rule a change that breaks it, with the words that its message must
// have.

#include "imbrex/isa.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

// The buffers of every case.
enum { SBUF, PSUM, HBM, UPPER, LATE, BUFFERS };

static const ibx_buffer_place places[BUFFERS] = {
    [SBUF] = {IBX_SPACE_SBUF, 0, 128, 1024, 65536},
    [PSUM] = {IBX_SPACE_PSUM, 0, 128, 2048, 4096},
    [HBM] = {IBX_SPACE_HBM, 0, 1, 0, 1 << 20},
    [UPPER] = {IBX_SPACE_SBUF, 64, 64, 0, 4096},
    [LATE] = {IBX_SPACE_SBUF, 16, 64, 0, 4096},
};

// An instruction and where it runs.
typedef struct issue {
  ibx_insn insn;
  ibx_engine engine;
  const char *target;
} issue;

static ibx_operand tensor(uint32_t buffer, ibx_dtype dtype) {
  return (ibx_operand){
      .buffer = buffer, .dtype = (uint8_t)dtype, .step = {0, 0, 64, 8, 1}};
}

static issue make(ibx_opcode opcode, ibx_engine engine) {
  issue it = {ibx_insn_make(opcode), engine, NULL};
  const ibx_insn_info *info = ibx_insn_get((uint8_t)opcode);
  ibx_insn *insn = &it.insn;
  insn->partitions = 128;
  insn->num[3] = 4;
  insn->num[4] = 8;
  for (size_t i = 0; i < IBX_OPERANDS; i++) {
    if (info->slot[i] == IBX_SLOT_NONE) continue;
    bool scalar = info->slot[i] == IBX_SLOT_SCALAR_READ ||
                  info->slot[i] == IBX_SLOT_SCALAR_WRITE;
    insn->operand[i] = tensor(SBUF, scalar ? IBX_DTYPE_NONE : IBX_DTYPE_F32);
    insn->operand[i].offset = i * 1024;
    if (scalar) memset(insn->operand[i].step, 0, sizeof insn->operand[i].step);
  }
  return it;
}

static issue good_stationary(void) {
  issue it = make(IBX_OP_load_stationary, IBX_ENGINE_TENSOR);
  it.insn.columns = 32;
  return it;
}

static issue good_moving(void) {
  issue it = make(IBX_OP_multiply_moving, IBX_ENGINE_TENSOR);
  it.insn.columns = 128;
  it.insn.flags = IBX_FLAG_ACCUMULATE | IBX_FLAG_GROUP_END;
  it.insn.operand[0].buffer = PSUM;
  it.insn.operand[0].offset = 0;
  return it;
}

static issue good_mx(ibx_opcode opcode) {
  issue it = make(opcode, IBX_ENGINE_TENSOR);
  it.insn.partitions = 128;
  it.insn.columns = 32;
  it.insn.num[2] = it.insn.num[3] = 1;
  it.insn.num[4] = 32;
  it.insn.operand[1].dtype = IBX_DTYPE_F4E2M1FNX4;
  it.insn.operand[2] = (ibx_operand){.buffer = it.insn.operand[1].buffer,
                                     .dtype = IBX_DTYPE_F8E8M0,
                                     .step = {[4] = 1}};
  return it;
}

static issue good_stationary_mx(void) {
  return good_mx(IBX_OP_load_stationary_mx);
}

static issue good_moving_mx(void) {
  issue it = good_mx(IBX_OP_multiply_moving_mx);
  it.insn.operand[0].buffer = PSUM;
  it.insn.operand[0].offset = 0;
  return it;
}

static issue good_pe_transpose(void) {
  issue it = make(IBX_OP_nc_transpose, IBX_ENGINE_TENSOR);
  it.insn.columns = 32;
  it.insn.operand[0].buffer = PSUM;
  it.insn.operand[0].offset = 0;
  return it;
}

static issue good_copy(void) {
  return make(IBX_OP_tensor_copy, IBX_ENGINE_SCALAR);
}

static issue good_tensor_scalar(void) {
  issue it = make(IBX_OP_tensor_scalar, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_POWER;
  it.insn.operand[3].buffer = IBX_NO_BUFFER;
  it.insn.operand[3].offset = 0;
  it.insn.flags = IBX_FLAG_REVERSE0 | IBX_FLAG_REVERSE1;
  return it;
}

static issue good_bits(void) {
  issue it = make(IBX_OP_tensor_scalar, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_BITWISE_AND;
  it.insn.op[1] = IBX_ALU_SHIFT_LEFT;
  it.insn.imm[0] = 4294901760.0f;
  it.insn.imm[1] = 3.0f;
  it.insn.operand[0].dtype = IBX_DTYPE_I32;
  it.insn.operand[1].dtype = IBX_DTYPE_U32;
  it.insn.operand[2].buffer = IBX_NO_BUFFER;
  it.insn.operand[3].buffer = IBX_NO_BUFFER;
  return it;
}

static issue good_tensor_tensor(void) {
  issue it = make(IBX_OP_tensor_tensor, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_ADD;
  it.insn.operand[1].buffer = PSUM;
  return it;
}

static issue good_bit_tensors(void) {
  issue it = good_tensor_tensor();
  it.insn.op[0] = IBX_ALU_BITWISE_XOR;
  it.insn.operand[0].dtype = IBX_DTYPE_U16;
  it.insn.operand[1].dtype = IBX_DTYPE_I16;
  it.insn.operand[2].dtype = IBX_DTYPE_U16;
  return it;
}

static issue good_gpsimd(void) {
  issue it = good_tensor_tensor();
  it.engine = IBX_ENGINE_GPSIMD;
  it.insn.operand[1].buffer = SBUF;
  return it;
}

static issue good_scalar_tensor(void) {
  issue it = make(IBX_OP_scalar_tensor_tensor, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_SUBTRACT;
  it.insn.op[1] = IBX_ALU_MULTIPLY;
  return it;
}

static issue good_reduce(void) {
  issue it = make(IBX_OP_tensor_reduce, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_MAX;
  it.insn.flags = IBX_FLAG_NEGATE;
  it.insn.operand[0].step[4] = 0;
  return it;
}

static issue good_scalar_reduce(void) {
  issue it = make(IBX_OP_tensor_scalar_reduce, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_ADD;
  return it;
}

static issue good_select(void) {
  issue it = make(IBX_OP_select, IBX_ENGINE_VECTOR);
  it.insn.operand[2].dtype = IBX_DTYPE_U8;
  return it;
}

static issue good_reciprocal(void) {
  return make(IBX_OP_reciprocal, IBX_ENGINE_VECTOR);
}

static issue good_memset(void) {
  return make(IBX_OP_memset, IBX_ENGINE_GPSIMD);
}

static issue good_scan(void) {
  issue it = make(IBX_OP_tensor_scan, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_ADD;
  return it;
}

static issue good_block(void) {
  issue it = make(IBX_OP_vector_transpose, IBX_ENGINE_VECTOR);
  it.insn.partitions = 16;
  return it;
}

// Vector's accumulators, generators and searches.
static issue good_read_accumulator(void) {
  issue it = make(IBX_OP_read_accumulator, IBX_ENGINE_SCALAR);
  it.insn.num[3] = it.insn.num[4] = 1;
  return it;
}

static issue good_fold_on(void) {
  issue it = good_scalar_reduce();
  it.insn.reduce = IBX_REDUCE_LOAD_REDUCE;
  it.insn.imm[1] = 3.0f;
  return it;
}

static issue good_unary(void) {
  issue it = make(IBX_OP_tensor_scalar, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_ABS;
  it.insn.op[1] = IBX_ALU_RSQRT;
  it.insn.operand[2].buffer = it.insn.operand[3].buffer = IBX_NO_BUFFER;
  return it;
}

static issue good_cumulative(void) {
  issue it = make(IBX_OP_tensor_scalar_cumulative, IBX_ENGINE_VECTOR);
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_SUBTRACT;
  it.insn.flags = IBX_FLAG_REVERSE0;
  it.insn.reduce = IBX_REDUCE_LOAD_REDUCE;
  return it;
}

static issue good_range_select(void) {
  issue it = make(IBX_OP_range_select, IBX_ENGINE_VECTOR);
  it.target = "ibx3";
  it.insn.op[0] = IBX_ALU_GREATER_EQUAL;
  it.insn.op[1] = IBX_ALU_LESS;
  it.insn.imm[0] = 16777184.0f; // with 32 elements as far as fp32 counts
  it.insn.reduce = IBX_REDUCE_RESET;
  return it;
}

static issue good_select_reduce(void) {
  issue it = make(IBX_OP_select_reduce, IBX_ENGINE_VECTOR);
  it.target = "ibx3";
  it.insn.operand[2].dtype = IBX_DTYPE_U16;
  it.insn.flags = IBX_FLAG_REVERSE0;
  it.insn.reduce = IBX_REDUCE_RESET_REDUCE;
  return it;
}

static issue good_exponential(void) {
  issue it = make(IBX_OP_exponential, IBX_ENGINE_VECTOR);
  it.target = "ibx4";
  it.insn.operand[1].dtype = IBX_DTYPE_U32;
  it.insn.reduce = IBX_REDUCE_LOAD_REDUCE;
  return it;
}

static issue good_bn_stats(void) {
  issue it = make(IBX_OP_bn_stats, IBX_ENGINE_VECTOR);
  it.insn.num[4] = 128;
  return it;
}

static issue good_bn_aggr(void) {
  issue it = make(IBX_OP_bn_aggr, IBX_ENGINE_VECTOR);
  it.insn.num[4] = 6;
  return it;
}

static issue good_max8(void) {
  issue it = make(IBX_OP_max8, IBX_ENGINE_VECTOR);
  it.insn.num[3] = 2048;
  return it;
}

static issue good_find_index8(void) {
  issue it = make(IBX_OP_nc_find_index8, IBX_ENGINE_VECTOR);
  it.insn.num[3] = 1;
  it.insn.operand[0].dtype = IBX_DTYPE_U16;
  return it;
}

static issue good_match_replace8(void) {
  return make(IBX_OP_nc_match_replace8, IBX_ENGINE_VECTOR);
}

static issue good_match_index8(void) {
  issue it = make(IBX_OP_nc_match_replace8_index, IBX_ENGINE_VECTOR);
  it.insn.operand[3].dtype = IBX_DTYPE_U32;
  return it;
}

static issue good_shuffle(void) {
  issue it = make(IBX_OP_nc_stream_shuffle, IBX_ENGINE_VECTOR);
  it.insn.partitions = 96;
  it.insn.shuffle[31] = 31;
  return it;
}

static issue good_partial_shuffle(void) {
  issue it = make(IBX_OP_nc_stream_shuffle_partial, IBX_ENGINE_VECTOR);
  it.insn.shuffle[31] = IBX_SHUFFLE_LEAVE;
  return it;
}

static issue good_rng(void) {
  issue it = make(IBX_OP_rng, IBX_ENGINE_VECTOR);
  it.insn.operand[0].dtype = IBX_DTYPE_I8;
  return it;
}

static issue good_seed(void) {
  issue it = make(IBX_OP_set_rng_seed, IBX_ENGINE_VECTOR);
  it.insn.partitions = 1;
  it.insn.num[3] = it.insn.num[4] = 1;
  return it;
}

static issue good_set_state(void) {
  issue it = make(IBX_OP_rand_set_state, IBX_ENGINE_VECTOR);
  it.target = "ibx4";
  it.insn.num[3] = 3;
  it.insn.operand[1].dtype = IBX_DTYPE_U32;
  return it;
}

static issue good_get_state(void) {
  issue it = make(IBX_OP_rand_get_state, IBX_ENGINE_GPSIMD);
  it.target = "ibx3";
  it.insn.num[3] = 1;
  it.insn.num[4] = 6;
  it.insn.operand[0].dtype = IBX_DTYPE_U32;
  return it;
}

static issue good_rand2(void) {
  issue it = make(IBX_OP_rand2, IBX_ENGINE_VECTOR);
  it.target = "ibx4";
  it.insn.operand[2].buffer = it.insn.operand[3].buffer = IBX_NO_BUFFER;
  it.insn.imm[0] = -1.0f;
  it.insn.imm[1] = 1.0f;
  return it;
}

static issue good_dynamic(void) {
  issue it = make(IBX_OP_tensor_copy_dynamic, IBX_ENGINE_SCALAR);
  it.insn.index_register = 64;
  it.insn.index_slot = 1;
  it.insn.count = 1;
  return it;
}

static issue good_quantize(void) {
  issue it = make(IBX_OP_quantize_mx, IBX_ENGINE_VECTOR);
  it.target = "ibx4";
  it.insn.operand[0].dtype = IBX_DTYPE_F8E4M3FNX4;
  it.insn.operand[1].dtype = IBX_DTYPE_BF16;
  it.insn.operand[2].dtype = IBX_DTYPE_F8E8M0;
  it.insn.operand[2].partition = 12;
  return it;
}

static issue good_dropout(void) {
  return make(IBX_OP_dropout, IBX_ENGINE_VECTOR);
}

static issue good_activation(void) {
  issue it = make(IBX_OP_activation, IBX_ENGINE_SCALAR);
  it.insn.op[0] = IBX_ACT_GELU;
  return it;
}

static issue good_activation_reduce(void) {
  issue it = make(IBX_OP_activation_reduce, IBX_ENGINE_SCALAR);
  it.insn.op[0] = IBX_ACT_EXP;
  return it;
}

static issue good_accumulating(void) {
  issue it = good_activation();
  it.insn.reduce = IBX_REDUCE_RESET;
  return it;
}

static issue good_constant_bias(void) {
  issue it = good_activation();
  it.target = "ibx3";
  it.insn.operand[2].buffer = IBX_NO_BUFFER;
  it.insn.operand[2].offset = 0;
  it.insn.imm[0] = 0.5f;
  return it;
}

static issue good_no_bias(void) {
  issue it = good_constant_bias();
  it.target = NULL;
  it.insn.imm[0] = 0.0f;
  return it;
}

static issue good_scalar_on_scalar(void) {
  issue it = make(IBX_OP_tensor_scalar, IBX_ENGINE_SCALAR);
  it.target = "ibx3";
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_ADD;
  return it;
}

static issue good_activate2(void) {
  issue it = make(IBX_OP_activate2, IBX_ENGINE_SCALAR);
  it.target = "ibx4";
  it.insn.op[0] = IBX_ALU_MULTIPLY;
  it.insn.op[1] = IBX_ALU_SUBTRACT;
  it.insn.op[2] = IBX_ACT_PRELU;
  it.insn.op[3] = IBX_ALU_ABS_MAX;
  it.insn.imm[2] = 0.25f;
  it.insn.reduce = IBX_REDUCE_REDUCE;
  it.insn.flags = IBX_FLAG_REVERSE0 | IBX_FLAG_REVERSE1;
  return it;
}

static issue good_activate2_alone(void) {
  issue it = good_activate2();
  memset(it.insn.op, 0, sizeof it.insn.op);
  it.insn.op[2] = IBX_ACT_SILU_DX;
  it.insn.imm[2] = 0.0f;
  it.insn.reduce = IBX_REDUCE_IDLE;
  it.insn.flags = 0;
  for (size_t slot = 2; slot < 4; slot++) {
    it.insn.operand[slot] = (ibx_operand){.buffer = IBX_NO_BUFFER};
  }
  return it;
}

static issue good_iota(void) {
  issue it = make(IBX_OP_iota, IBX_ENGINE_GPSIMD);
  it.insn.imm[0] = -5.0f;
  return it;
}

static issue good_partition_reduce(void) {
  issue it = make(IBX_OP_partition_reduce, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_ALU_ADD;
  return it;
}

static issue good_average(void) {
  issue it = good_partition_reduce();
  it.insn.mode = 1;
  return it;
}

static issue good_iota_affine(void) {
  issue it = make(IBX_OP_iota_affine, IBX_ENGINE_GPSIMD);
  it.insn.count = (uint32_t)-7;
  it.insn.imm[0] = -5.0f;
  it.insn.pattern[0] = INT32_MIN;
  it.insn.pattern[2] = 3;
  return it;
}

static issue good_affine_select(void) {
  issue it = make(IBX_OP_affine_select, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_ALU_LESS_EQUAL;
  it.insn.imm[1] = 0.5f;
  it.insn.operand[1].dtype = IBX_DTYPE_BF16;
  return it;
}

static void set_row(ibx_insn *insn, size_t slot, ibx_dtype dtype) {
  insn->operand[slot].dtype = (uint8_t)dtype;
  memset(insn->operand[slot].step, 0, sizeof insn->operand[slot].step);
  insn->operand[slot].step[4] = 1;
}

static issue good_local_gather(void) {
  issue it = make(IBX_OP_local_gather, IBX_ENGINE_GPSIMD);
  it.insn.columns = 8;
  it.insn.count = 4096;
  set_row(&it.insn, 0, IBX_DTYPE_F32);
  set_row(&it.insn, 2, IBX_DTYPE_U16);
  return it;
}

static issue good_n_gather(void) {
  issue it = make(IBX_OP_nc_n_gather, IBX_ENGINE_GPSIMD);
  it.insn.count = 65536;
  set_row(&it.insn, 0, IBX_DTYPE_F32);
  set_row(&it.insn, 2, IBX_DTYPE_U32);
  return it;
}

static issue good_bounds(void) {
  issue it = make(IBX_OP_sequence_bounds, IBX_ENGINE_GPSIMD);
  it.insn.partitions = 1;
  set_row(&it.insn, 0, IBX_DTYPE_I32);
  return it;
}

static issue good_nonzero(void) {
  issue it = make(IBX_OP_nonzero_with_count, IBX_ENGINE_GPSIMD);
  it.target = "ibx3";
  it.insn.pattern[0] = 4;
  it.insn.pattern[1] = -1;
  set_row(&it.insn, 0, IBX_DTYPE_I32);
  return it;
}

static issue good_topk(void) {
  issue it = make(IBX_OP_topk, IBX_ENGINE_GPSIMD);
  it.target = "ibx3";
  it.insn.pattern[0] = 512;
  it.insn.count = 512;
  set_row(&it.insn, 0, IBX_DTYPE_BF16);
  it.insn.operand[1].dtype = IBX_DTYPE_BF16;
  set_row(&it.insn, 2, IBX_DTYPE_U32);
  return it;
}

static issue good_call(void) {
  issue it = make(IBX_OP_gpsimd_call1, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_CUMULATIVE_SUM;
  it.insn.operand[0].dtype = IBX_DTYPE_I64;
  it.insn.operand[1].dtype = IBX_DTYPE_I64;
  return it;
}

static issue good_call2(void) {
  issue it = make(IBX_OP_gpsimd_call2, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_LESS;
  it.insn.operand[0].dtype = IBX_DTYPE_U8;
  return it;
}

static issue good_call_gather(void) {
  issue it = make(IBX_OP_gpsimd_call2, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_GATHER;
  it.insn.count = 7;
  set_row(&it.insn, 2, IBX_DTYPE_I64);
  return it;
}

static issue good_suppress(void) {
  issue it = make(IBX_OP_gpsimd_call2, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_SUPPRESS;
  it.insn.count = 32;
  it.insn.imm[0] = 0.5f;
  it.insn.imm[1] = -1.0f;
  set_row(&it.insn, 0, IBX_DTYPE_I32);
  set_row(&it.insn, 1, IBX_DTYPE_F32);
  return it;
}

static issue good_call3(void) {
  issue it = make(IBX_OP_gpsimd_call3, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_SELECT;
  it.insn.operand[3].dtype = IBX_DTYPE_BOOL;
  return it;
}

static issue good_call_pair(void) {
  issue it = make(IBX_OP_gpsimd_call_pair, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_TOP;
  it.insn.count = 32;
  set_row(&it.insn, 0, IBX_DTYPE_F32);
  set_row(&it.insn, 2, IBX_DTYPE_I64);
  return it;
}

// Whole buffers in HBM: 128 lanes share them.
static issue good_call_hbm(void) {
  issue it = make(IBX_OP_gpsimd_call2, IBX_ENGINE_GPSIMD);
  it.insn.op[0] = IBX_CALL_DIVIDE;
  it.insn.partitions = 1;
  it.insn.num[3] = 1024;
  it.insn.num[4] = 16384;
  for (size_t slot = 0; slot < 3; slot++) {
    it.insn.operand[slot].buffer = HBM;
    it.insn.operand[slot].dtype = IBX_DTYPE_I64;
  }
  return it;
}

// 128 partitions of 32 elements: 16 pieces of 8 runs.
static issue good_dma(void) {
  issue it = {ibx_insn_make(IBX_OP_dma_copy), IBX_ENGINE_SYNC, NULL};
  it.insn.num[3] = 128;
  it.insn.num[4] = 32;
  it.insn.signal_value = 16;
  it.insn.operand[0] = (ibx_operand){.buffer = SBUF,
                                     .dtype = IBX_DTYPE_BF16,
                                     .step = {0, 0, 0, 0, 1},
                                     .partition_step = {0, 0, 0, 1, 0}};
  it.insn.operand[1] = (ibx_operand){
      .buffer = HBM, .dtype = IBX_DTYPE_F32, .step = {0, 0, 0, 32, 1}};
  return it;
}

static issue good_hardware_dma(void) {
  issue it = good_dma();
  it.target = "ibx3";
  it.insn.dge = IBX_DGE_HARDWARE;
  it.insn.flags = IBX_FLAG_LOOPED;
  it.insn.operand[1].loop_step[0] = 4096;
  return it;
}

// Register 7 moves the source by rows.
static issue good_moved_dma(void) {
  issue it = good_hardware_dma();
  it.insn.index_register = 8;
  it.insn.index_slot = 1;
  it.insn.count = 3;
  it.insn.operand[1].step[0] = 32;
  return it;
}

static issue good_indexed(ibx_opcode opcode, size_t table) {
  issue it = make(opcode, IBX_ENGINE_GPSIMD);
  it.insn.partitions = 1;
  it.insn.dge = IBX_DGE_SOFTWARE;
  it.insn.num[0] = 16;
  it.insn.num[3] = 1;
  it.insn.count = 100;
  for (size_t i = 0; i < 2; i++) {
    it.insn.operand[i] = (ibx_operand){.buffer = i == table ? HBM : SBUF,
                                       .dtype = IBX_DTYPE_F32,
                                       .step = {[4] = 1}};
  }
  it.insn.operand[table].step[0] = 8;
  it.insn.operand[1 - table].partition_step[0] = 1;
  it.insn.operand[2] =
      (ibx_operand){.buffer = SBUF, .offset = 4096, .dtype = IBX_DTYPE_U32};
  return it;
}

static issue good_scatter(void) { return good_indexed(IBX_OP_dma_scatter, 0); }
static issue good_scatter_add(void) {
  return good_indexed(IBX_OP_dma_scatter_add, 0);
}
static issue good_gather_add(void) {
  return good_indexed(IBX_OP_dma_gather_add, 1);
}
static issue good_gather_skip(void) {
  return good_indexed(IBX_OP_dma_gather_skip, 1);
}

static issue good_between(ibx_opcode opcode) {
  issue it = make(opcode, IBX_ENGINE_SYNC);
  it.insn.partitions = 1;
  it.insn.num[3] = it.insn.num[4] = 8;
  for (size_t i = 0; i < 2; i++) {
    it.insn.operand[i] = (ibx_operand){.buffer = HBM,
                                       .offset = i * 4096,
                                       .dtype = IBX_DTYPE_BF16,
                                       .step = {[3] = 8, [4] = 1}};
  }
  return it;
}

static issue good_dma_transpose(void) {
  issue it = good_between(IBX_OP_dma_transpose);
  it.insn.operand[0].step[3] = 1;
  it.insn.operand[0].step[4] = 8;
  return it;
}

static issue good_compute(void) {
  issue it = good_between(IBX_OP_dma_compute);
  it.insn.num[0] = 16;
  it.insn.operand[1].step[0] = 64;
  return it;
}

static issue good_accumulate(void) {
  return good_between(IBX_OP_dma_accumulate);
}

static issue good_gather(void) {
  issue it = {ibx_insn_make(IBX_OP_dma_gather), IBX_ENGINE_GPSIMD, NULL};
  it.insn.num[0] = 128;
  it.insn.num[4] = 32;
  it.insn.signal_value = 16;
  it.insn.count = 256;
  it.insn.dge = IBX_DGE_SOFTWARE;
  it.insn.operand[0] = (ibx_operand){.buffer = SBUF,
                                     .dtype = IBX_DTYPE_F32,
                                     .step = {0, 0, 0, 0, 1},
                                     .partition_step = {1, 0, 0, 0, 0}};
  it.insn.operand[1] = (ibx_operand){
      .buffer = HBM, .dtype = IBX_DTYPE_F32, .step = {32, 0, 0, 0, 1}};
  it.insn.operand[2] = (ibx_operand){.buffer = SBUF, .dtype = IBX_DTYPE_U32};
  return it;
}

static issue good_semaphore(void) {
  return (issue){ibx_insn_make(IBX_OP_semaphore), IBX_ENGINE_SYNC, NULL};
}

static issue good_loop(void) {
  issue it = {ibx_insn_make(IBX_OP_loop), IBX_ENGINE_TENSOR, NULL};
  it.insn.reg[0] = 3;
  it.insn.reg[1] = 63;
  it.insn.count = 1;
  return it;
}

static issue good_loop_end(void) {
  return (issue){ibx_insn_make(IBX_OP_loop_end), IBX_ENGINE_TENSOR, NULL};
}

static issue good_register_move(void) {
  issue it = {ibx_insn_make(IBX_OP_register_move), IBX_ENGINE_GPSIMD, NULL};
  it.insn.reg[0] = 0;
  return it;
}

static issue good_register_load(void) {
  issue it = {ibx_insn_make(IBX_OP_register_load), IBX_ENGINE_TENSOR, NULL};
  it.insn.reg[0] = 63;
  it.insn.operand[1] = (ibx_operand){.buffer = SBUF, .dtype = IBX_DTYPE_I32};
  return it;
}

static issue good_core_barrier(void) {
  return (issue){ibx_insn_make(IBX_OP_core_barrier), IBX_ENGINE_TENSOR, NULL};
}

static issue good_rank_id(void) {
  issue it = {ibx_insn_make(IBX_OP_rank_id), IBX_ENGINE_GPSIMD, NULL};
  it.insn.reg[0] = 63;
  return it;
}

// Four cores, [4, 16, 8] of fp32 in HBM.
static issue good_collective(ibx_opcode opcode) {
  issue it = {ibx_insn_make(opcode), IBX_ENGINE_SYNC, NULL};
  it.insn.num[0] = 4;
  it.insn.num[3] = 16;
  it.insn.num[4] = 8;
  it.insn.signal_value = 1;
  for (size_t i = 0; i < 2; i++) {
    it.insn.operand[i] = (ibx_operand){.buffer = HBM,
                                       .dtype = IBX_DTYPE_F32,
                                       .step = {128, 0, 0, 8, 1},
                                       .offset = i * 65536};
  }
  return it;
}

static issue good_sendrecv(void) {
  issue it = good_collective(IBX_OP_sendrecv);
  it.engine = IBX_ENGINE_GPSIMD;
  it.insn.dge = IBX_DGE_SOFTWARE;
  it.insn.num[0] = 1;
  for (size_t i = 0; i < 2; i++) {
    it.insn.operand[i].buffer = SBUF;
    it.insn.operand[i].offset = i * 4096;
    it.insn.operand[i].step[3] = 0;
    it.insn.operand[i].partition_step[3] = 1;
  }
  return it;
}

static issue good_all_reduce(void) {
  issue it = good_collective(IBX_OP_all_reduce);
  it.insn.op[0] = IBX_ALU_MIN;
  return it;
}

static issue good_all_gather(void) {
  issue it = good_collective(IBX_OP_all_gather);
  it.insn.operand[1].step[0] = 0;
  return it;
}

static issue good_reduce_scatter(void) {
  issue it = good_collective(IBX_OP_reduce_scatter);
  it.insn.operand[0].step[0] = 0;
  it.insn.op[0] = IBX_ALU_ADD;
  return it;
}

static issue good_all_to_all(void) {
  return good_collective(IBX_OP_all_to_all);
}

static issue good_permute(void) {
  issue it = good_collective(IBX_OP_collective_permute);
  it.insn.count = 1;
  return it;
}

static issue good_permute_reduce(void) {
  issue it = good_collective(IBX_OP_collective_permute_reduce);
  it.insn.op[0] = IBX_ALU_MAX;
  it.insn.count = 1;
  it.insn.num[0] = 2;
  it.insn.operand[0].step[0] = 0;
  return it;
}

static issue good_all_to_all_v(void) {
  issue it = good_collective(IBX_OP_all_to_all_v);
  it.insn.operand[2] =
      (ibx_operand){.buffer = SBUF, .dtype = IBX_DTYPE_U32, .partition = 7};
  it.insn.group = 4;
  return it;
}

static issue good_all_gather_v(void) {
  issue it = good_all_to_all_v();
  it.insn.opcode = IBX_OP_all_gather_v;
  it.insn.operand[1].step[0] = 0;
  return it;
}

static issue good_group(void) {
  issue it = good_all_reduce();
  it.insn.group = 4;
  it.insn.stride = 2;
  return it;
}

static issue good_group_barrier(void) {
  issue it = {ibx_insn_make(IBX_OP_core_barrier), IBX_ENGINE_TENSOR, NULL};
  it.insn.group = 2;
  return it;
}

typedef issue (*make_fn)(void);

static const make_fn goods[] = {
    good_stationary,
    good_moving,
    good_pe_transpose,
    good_stationary_mx,
    good_moving_mx,
    good_copy,
    good_tensor_scalar,
    good_bits,
    good_tensor_tensor,
    good_bit_tensors,
    good_gpsimd,
    good_scalar_tensor,
    good_reduce,
    good_scalar_reduce,
    good_select,
    good_reciprocal,
    good_memset,
    good_scan,
    good_block,
    good_read_accumulator,
    good_fold_on,
    good_unary,
    good_cumulative,
    good_range_select,
    good_select_reduce,
    good_exponential,
    good_bn_stats,
    good_bn_aggr,
    good_max8,
    good_find_index8,
    good_match_replace8,
    good_match_index8,
    good_shuffle,
    good_partial_shuffle,
    good_rng,
    good_seed,
    good_set_state,
    good_get_state,
    good_rand2,
    good_dropout,
    good_quantize,
    good_dynamic,
    good_activation,
    good_activation_reduce,
    good_accumulating,
    good_constant_bias,
    good_no_bias,
    good_scalar_on_scalar,
    good_activate2,
    good_activate2_alone,
    good_iota,
    good_partition_reduce,
    good_average,
    good_iota_affine,
    good_affine_select,
    good_local_gather,
    good_n_gather,
    good_bounds,
    good_nonzero,
    good_topk,
    good_call,
    good_call2,
    good_call_gather,
    good_suppress,
    good_call3,
    good_call_pair,
    good_call_hbm,
    good_dma,
    good_moved_dma,
    good_hardware_dma,
    good_gather,
    good_scatter,
    good_scatter_add,
    good_gather_add,
    good_gather_skip,
    good_dma_transpose,
    good_compute,
    good_accumulate,
    good_semaphore,
    good_loop,
    good_loop_end,
    good_register_move,
    good_register_load,
    good_core_barrier,
    good_rank_id,
    good_sendrecv,
    good_all_reduce,
    good_all_gather,
    good_reduce_scatter,
    good_all_to_all,
    good_permute,
    good_permute_reduce,
    good_all_gather_v,
    good_all_to_all_v,
    good_group,
    good_group_barrier,
};

static ibx_status check(const issue *it, const char *target, ibx_error *err) {
  const ibx_machine *machine =
      ibx_machine_find(it->target ? it->target : target);
  return ibx_insn_check(machine, it->engine, &it->insn, places, BUFFERS, err);
}

static void good_instructions_pass_on_all_targets(void **state) {
  (void)state;
  bool seen[256] = {false};
  const char *const targets[] = {"ibx2", "ibx3", "ibx4"};
  for (size_t i = 0; i < IBX_COUNT_OF(goods); i++) {
    issue it = goods[i]();
    for (size_t t = 0; t < IBX_COUNT_OF(targets); t++) {
      const ibx_insn_info *info = ibx_insn_get(it.insn.opcode);
      bool has_it = info->targets >> ibx_machine_find(targets[t])->target & 1;
      if (it.target && strcmp(it.target, targets[t]) != 0) continue;
      ibx_error err = {0};
      ibx_status status = check(&it, targets[t], &err);
      if (has_it && status != IBX_OK) fail_msg("%s", err.message);
      if (!has_it) assert_int_equal(status, IBX_INVALID_PROGRAM);
    }
    seen[it.insn.opcode] = true;
  }
  for (unsigned opcode = 0; opcode < 256; opcode++) {
    assert_int_equal(seen[opcode], ibx_insn_get((uint8_t)opcode) != NULL);
  }
}

// Each rule: a good instruction, what breaks it, and words of the message.
typedef struct rule {
  make_fn good;
  void (*breaks)(issue *it);
  const char *words;
} rule;

#define BREAK(name, statement)                                                 \
  static void name(issue *it) {                                                \
    ibx_insn *i = &it->insn;                                                   \
    statement;                                                                 \
    (void)i;                                                                   \
  }

// clang-format off
BREAK(reduces_integers,   i->operand[0].dtype = i->operand[1].dtype = IBX_DTYPE_I32)
BREAK(reduces_or,         i->op[0] = IBX_ALU_MULTIPLY)
BREAK(gather_moves,       i->operand[1].step[0] = 1)
BREAK(scatter_moves,      i->operand[0].step[0] = 1)
BREAK(collective_casts,   i->operand[0].dtype = IBX_DTYPE_BF16)
BREAK(collective_mixes,   i->operand[0].buffer = SBUF)
BREAK(collective_repeats, i->num[2] = 4096)
BREAK(collective_counts,  i->count = 1)
BREAK(collective_signals, i->signal_value = 4)
BREAK(permute_far,        i->count = 8)
BREAK(exchange_hbm,       i->operand[0].buffer = i->operand[1].buffer = HBM; i->operand[0].partition_step[3] = i->operand[1].partition_step[3] = 0)
BREAK(exchange_much,      i->num[4] = 257)
BREAK(rank_register,      i->reg[0] = 64)
BREAK(reduces_3,          i->num[0] = 3)
BREAK(counts_i32,         i->operand[2].dtype = IBX_DTYPE_I32)
BREAK(counts_hbm,         i->operand[2].buffer = HBM; i->operand[2].partition = 0)
BREAK(counts_psum,        i->operand[2].buffer = PSUM)
BREAK(counted_sbuf,       i->operand[0].buffer = i->operand[1].buffer = SBUF; i->operand[0].offset = i->operand[1].offset = 0)
BREAK(ranks_9,            i->num[0] = 9)
BREAK(grouped,            i->group = 2)
BREAK(strided,            i->stride = 2)
BREAK(table_in_sbuf,      i->operand[0].buffer = SBUF)
BREAK(add_integers,       i->operand[0].dtype = IBX_DTYPE_I32)
BREAK(sources_17,         i->num[0] = 17)
BREAK(sum_moves,          i->operand[0].step[0] = 1)
BREAK(transpose_bytes,    i->operand[0].dtype = i->operand[1].dtype = IBX_DTYPE_I8)
BREAK(transpose_casts,    i->operand[0].dtype = IBX_DTYPE_F16)
BREAK(transpose_wide,     i->num[4] = 129)
BREAK(transpose_plain,    i->operand[0].step[3] = 8)
BREAK(no_opcode,          i->opcode = 0xee)
BREAK(on_sync,            it->engine = IBX_ENGINE_SYNC)
BREAK(on_nothing,         it->engine = (ibx_engine)9)
BREAK(on_vector,          it->engine = IBX_ENGINE_VECTOR)
BREAK(on_tensor,          it->engine = IBX_ENGINE_TENSOR)
BREAK(flag_accumulate,    i->flags |= IBX_FLAG_ACCUMULATE)
BREAK(flag_unknown,       i->flags |= 0x80)
BREAK(flag_looped,        i->flags |= IBX_FLAG_LOOPED)
BREAK(extra_operand,      i->operand[3].buffer = 0)
BREAK(no_source,          i->operand[1].buffer = IBX_NO_BUFFER)
BREAK(no_scalar_out,      i->operand[3].buffer = IBX_NO_BUFFER)
BREAK(far_buffer,         i->operand[1].buffer = BUFFERS)
BREAK(dst_none,           i->operand[0].dtype = IBX_DTYPE_NONE)
BREAK(dst_99,             i->operand[0].dtype = 99)
BREAK(dst_f64,            i->operand[0].dtype = IBX_DTYPE_F64)
BREAK(dst_i64,            i->operand[0].dtype = IBX_DTYPE_I64)
BREAK(dst_packed,         i->operand[0].dtype = IBX_DTYPE_F4E2M1FNX4)
BREAK(src_u64,            i->operand[1].dtype = IBX_DTYPE_U64)
BREAK(src_packed,         i->operand[1].dtype = IBX_DTYPE_F8E4M3FNX4)
BREAK(src_e4m3fn,         i->operand[1].dtype = IBX_DTYPE_F8E4M3FN)
BREAK(scalar_typed,       i->operand[2].dtype = IBX_DTYPE_F32)
BREAK(src_odd,            i->operand[1].offset += 2)
BREAK(scalar_odd,         i->operand[2].offset += 2)
BREAK(loop_odd,           i->flags |= IBX_FLAG_LOOPED; i->operand[1].loop_step[2] = -6)
BREAK(src_hbm,            i->operand[1].buffer = HBM)
BREAK(dst_hbm,            i->operand[0].buffer = HBM)
BREAK(src_psum,           i->operand[1].buffer = PSUM)
BREAK(dst_sbuf,           i->operand[0].buffer = SBUF)
BREAK(both_psum,          i->operand[2].buffer = PSUM)
BREAK(p_0,                i->partitions = 0)
BREAK(p_129,              i->partitions = 129)
BREAK(p_128_at_64,        i->operand[0].buffer = UPPER)
BREAK(p_64_at_32,         i->partitions = 64; i->operand[0].partition = 32)
BREAK(p_65_at_64,         i->partitions = 65; i->operand[1].partition = 64)
BREAK(p_32_at_16,         i->partitions = 32; i->operand[1].partition = 16)
BREAK(p_8_sum,            i->partitions = 8; i->operand[1].buffer = LATE; i->operand[1].partition = 32)
BREAK(p_past_end,         i->partitions = 8; i->operand[1].buffer = UPPER; i->operand[1].partition = 64)
BREAK(scalar_partition,   i->partitions = 8; i->operand[2].partition = 8)
BREAK(num_0,              i->num[3] = 0)
BREAK(num_outer,          i->num[1] = 2)
BREAK(num_wide,           i->num[2] = 65536)
BREAK(sbuf_free,          i->num[2] = 2; i->num[3] = 1; i->num[4] = 32769)
BREAK(psum_free,          i->operand[1].buffer = PSUM; i->num[3] = 1; i->num[4] = 4097)
BREAK(op0_unknown,        i->op[0] = IBX_ALU_COUNT)
BREAK(op1_unknown,        i->op[1] = IBX_ALU_COUNT)
BREAK(op1_unused,         i->op[1] = IBX_ALU_ADD)
BREAK(op0_unused,         i->op[0] = IBX_ALU_ADD)
BREAK(act_unknown,        i->op[0] = IBX_ACT_COUNT)
BREAK(op0_bits,           i->op[0] = IBX_ALU_BITWISE_AND)
BREAK(op1_bits,           i->op[1] = IBX_ALU_BITWISE_OR)
BREAK(op1_add,            i->op[1] = IBX_ALU_ADD)
BREAK(op0_subtract,       i->op[0] = IBX_ALU_SUBTRACT)
BREAK(op1_subtract,       i->op[1] = IBX_ALU_SUBTRACT)
BREAK(op0_min,            i->op[0] = IBX_ALU_MIN)
BREAK(src_float,          i->operand[1].dtype = IBX_DTYPE_F32)
BREAK(src_narrow,         i->operand[1].dtype = IBX_DTYPE_I8; i->operand[1].step[4] = 1)
BREAK(imm_fraction,       i->imm[0] = 0.5f)
BREAK(imm_nan,            i->imm[0] = NAN)
BREAK(imm_large,          i->imm[1] = 1e12f)
BREAK(bits_with_tensor,   i->operand[2].buffer = SBUF)
BREAK(reduce_outer,       i->operand[0].step[4] = 1; i->operand[0].step[3] = 0)
BREAK(predicate_float,    i->operand[2].dtype = IBX_DTYPE_F16)
BREAK(src_bf16,           i->operand[1].dtype = IBX_DTYPE_BF16)
BREAK(block_tall,         i->partitions = 33)
BREAK(block_wide,         i->num[3] = 5)
BREAK(int_on_ibx2,        it->target = "ibx2"; i->operand[0].dtype = i->operand[1].dtype = IBX_DTYPE_I32)
BREAK(columns_0,          i->columns = 0)
BREAK(columns_129,        i->columns = 129)
BREAK(columns_31,         i->columns = 31)
BREAK(src_int,            i->operand[1].dtype = IBX_DTYPE_I32)
BREAK(src_byte,           i->operand[0].dtype = i->operand[1].dtype = IBX_DTYPE_U8)
BREAK(dst_f16,            i->operand[0].dtype = IBX_DTYPE_F16)
BREAK(dst_bf16_ibx3,      it->target = "ibx3"; i->operand[0].dtype = IBX_DTYPE_BF16)
BREAK(moving_513,         i->num[3] = 1; i->num[4] = 513)
BREAK(bank_crossed,       i->operand[0].offset = 2048 - 4)
BREAK(bank_below,         i->operand[0].step[3] = -8)
BREAK(bank_strided,       i->operand[0].step[3] = 256)
BREAK(transpose_bank,     i->operand[0].step[4] = 5)
BREAK(rows_at_32_ibx2,    it->target = "ibx2"; i->partitions = 32; i->operand[1].partition = 32)
BREAK(dge_unknown,        i->dge = IBX_DGE_COUNT)
BREAK(dge_hardware_ibx2,  it->target = "ibx2")
BREAK(dge_software,       i->dge = IBX_DGE_SOFTWARE)
BREAK(dge_static,         i->dge = IBX_DGE_STATIC)
BREAK(dge_hardware,       it->target = "ibx3"; i->dge = IBX_DGE_HARDWARE; it->engine = IBX_ENGINE_SYNC)
BREAK(queue_16,           i->queue = 16)
BREAK(signal_15,          i->signal_value = 15)
BREAK(hbm_partition,      i->operand[1].partition = 1)
BREAK(hbm_walks,          i->operand[1].partition_step[4] = 1)
BREAK(dma_num_0,          i->num[0] = 0)
BREAK(dma_huge,           i->num[0] = i->num[1] = i->num[2] = UINT32_MAX)
BREAK(dma_large,          i->num[0] = 1u << 30)
BREAK(index_type,         i->operand[2].dtype = IBX_DTYPE_I32)
BREAK(index_hbm,          i->operand[2].buffer = HBM)
BREAK(table_sbuf,         i->operand[1].buffer = SBUF)
BREAK(index_129,          i->num[0] = 129)
BREAK(table_empty,        i->count = 0)
BREAK(reg_4,              i->reg[0] = 4)
BREAK(reg_64,             i->reg[0] = 64)
BREAK(reg1_64,            i->reg[1] = 64)
BREAK(reg_unset,          i->reg[0] = IBX_NO_REGISTER)
BREAK(trips_0,            i->count = 0)
BREAK(bias_on_ibx2,       it->target = "ibx2")
BREAK(reduce_load,        i->reduce = IBX_REDUCE_LOAD_REDUCE)
BREAK(reduce_row,         i->reduce = IBX_REDUCE_REDUCE)
BREAK(op0_max_alone,      i->op[0] = IBX_ALU_MAX; i->op[1] = IBX_ALU_BYPASS)
BREAK(op0_add,            i->op[0] = IBX_ALU_ADD)
BREAK(op1_bypass,         i->op[1] = IBX_ALU_BYPASS)
BREAK(op0_bypass,         i->op[0] = i->op[1] = IBX_ALU_BYPASS; i->operand[3].buffer = IBX_NO_BUFFER; i->flags = 0)
BREAK(bypass_imm,         i->imm[0] = 1.0f)
BREAK(bypass_reverse,     i->flags = IBX_FLAG_REVERSE0)
BREAK(op3_bypass,         i->op[3] = IBX_ALU_BYPASS)
BREAK(op3_multiply,       i->op[3] = IBX_ALU_MULTIPLY)
BREAK(op3_add,            i->op[3] = IBX_ALU_ADD)
BREAK(act2_unknown,       i->op[2] = IBX_ACT_COUNT)
BREAK(act2_exp,           i->op[2] = IBX_ACT_EXP)
BREAK(mode_1,             i->mode = 1)
BREAK(mode_2,             i->mode = 2)
BREAK(op0_max,            i->op[0] = IBX_ALU_MAX)
BREAK(unused_imm0,        i->imm[0] = 1.0f)
BREAK(unused_imm1,        i->imm[1] = 1.0f)
BREAK(unused_imm2,        i->imm[2] = 1.0f)
BREAK(unused_imm3,        i->imm[3] = NAN)
BREAK(unused_pattern0,    i->pattern[0] = 1)
BREAK(unused_pattern1,    i->pattern[1] = 1)
BREAK(unused_pattern2,    i->pattern[2] = -1)
BREAK(unused_count,       i->count = 1)
BREAK(unused_columns,     i->columns = 2)
BREAK(p_120,              i->partitions = 120)
BREAK(elements_3,         i->columns = 3)
BREAK(elements_64,        i->columns = 64; i->count = 1)
BREAK(count_4097,         i->count = 4097)
BREAK(count_65537,        i->count = 65537)
BREAK(count_0,            i->count = 0)
BREAK(count_33,           i->count = 33)
BREAK(dst_u8,             i->operand[0].dtype = IBX_DTYPE_U8)
BREAK(dst_f32,            i->operand[0].dtype = IBX_DTYPE_F32)
BREAK(index_i16,          i->operand[2].dtype = IBX_DTYPE_I16)
BREAK(index_f32,          i->operand[2].dtype = IBX_DTYPE_F32)
BREAK(p_2,                i->partitions = 2)
BREAK(p_113_at_32,        i->partitions = 97; i->operand[1].partition = 32)
BREAK(bounds_long,        i->num[3] = 1; i->num[4] = 32769)
BREAK(topk_7,             i->pattern[0] = 7)
BREAK(topk_negative,      i->pattern[0] = -1)
BREAK(topk_513,           i->pattern[0] = 513)
BREAK(topk_more,          i->count = 513)
BREAK(on_ibx2,            it->target = "ibx2")
BREAK(call_unknown,       i->op[0] = IBX_CALL_COUNT)
BREAK(call_other,         i->op[0] = IBX_CALL_ADD)
BREAK(src_f64,            i->operand[1].dtype = i->operand[0].dtype = IBX_DTYPE_F64)
BREAK(src_bool,           i->operand[1].dtype = i->operand[0].dtype = IBX_DTYPE_BOOL)
BREAK(src_f16,            i->operand[1].dtype = IBX_DTYPE_F16)
BREAK(condition_i32,      i->operand[3].dtype = IBX_DTYPE_I32)
BREAK(hbm_two,            i->partitions = 2)
BREAK(hbm_at_1,           i->operand[1].partition = 1)
BREAK(hbm_huge,           i->num[3] = 1025)
BREAK(row_long,           i->partitions = 1; i->num[3] = 2; i->num[4] = 32769; i->operand[0].buffer = i->operand[1].buffer = HBM)

BREAK(two_psum,           i->operand[1].buffer = i->operand[2].buffer = PSUM)
BREAK(reduce_idle,        i->reduce = IBX_REDUCE_IDLE)
BREAK(reduce_reset,       i->reduce = IBX_REDUCE_RESET)
BREAK(reduce_go_on,       i->reduce = IBX_REDUCE_REDUCE)
BREAK(reduce_unknown,     i->reduce = IBX_REDUCE_COUNT)
BREAK(reduce_start,       i->reduce = IBX_REDUCE_REDUCE; i->imm[1] = 2.0f; i->operand[3].buffer = IBX_NO_BUFFER)
BREAK(reduce_start_nan,   i->reduce = IBX_REDUCE_RESET_REDUCE; i->imm[1] = NAN)
BREAK(one_too_many,       i->num[4] = 2)
BREAK(unary_tensor,       i->operand[2].buffer = SBUF)
BREAK(unary_immediate,    i->imm[1] = 1.0f)
BREAK(unary_reversed,     i->flags = IBX_FLAG_REVERSE0)
BREAK(op0_unary,          i->op[0] = IBX_ALU_SQUARE)
BREAK(op1_unary,          i->op[1] = IBX_ALU_RELU)
BREAK(op1_power,          i->op[1] = IBX_ALU_POWER)
BREAK(op1_not_equal,      i->op[1] = IBX_ALU_NOT_EQUAL)
BREAK(dst_i32,            i->operand[0].dtype = IBX_DTYPE_I32)
BREAK(dst_u32,            i->operand[0].dtype = IBX_DTYPE_U32)
BREAK(dst_i16,            i->operand[0].dtype = IBX_DTYPE_I16)
BREAK(src_u32,            i->operand[1].dtype = IBX_DTYPE_U32)
BREAK(no_bound,           i->operand[2].buffer = IBX_NO_BUFFER)
BREAK(imm0_far,           i->imm[0] += 1.0f)
BREAK(imm1_one,           i->imm[1] = 1.0f)
BREAK(src_tf32,           i->operand[1].dtype = IBX_DTYPE_TF32)
BREAK(predicate_wide,     i->operand[2].dtype = IBX_DTYPE_I32)
BREAK(on_ibx3,            it->target = "ibx3")
BREAK(dst_e4m3fn,         i->operand[0].dtype = IBX_DTYPE_F8E4M3FN)
BREAK(stats_513,          i->num[3] = 27; i->num[4] = 19)
BREAK(triples_10,         i->num[3] = 2; i->num[4] = 5)
BREAK(search_7,           i->num[3] = 1; i->num[4] = 7)
BREAK(search_16385,       i->num[3] = 5; i->num[4] = 3277)
BREAK(index_float,        i->operand[3].dtype = IBX_DTYPE_F32)
BREAK(shuffle_33,         i->partitions = 33)
BREAK(shuffle_32,         i->shuffle[7] = 32)
BREAK(shuffle_255,        i->shuffle[7] = 255)
BREAK(gpsimd_on_ibx2,     it->engine = IBX_ENGINE_GPSIMD; it->target = "ibx2")
BREAK(seed_two,           i->partitions = 2)
BREAK(seed_f16,           i->operand[1].dtype = IBX_DTYPE_F16)
BREAK(state_6,            i->num[3] = 1; i->num[4] = 6)
BREAK(state_24,           i->num[4] = 24)
BREAK(vector_state,       it->engine = IBX_ENGINE_VECTOR)
BREAK(range_empty,        i->imm[0] = 1.0f)
BREAK(p_48,               i->partitions = 48)
BREAK(scale_u8,           i->operand[2].dtype = IBX_DTYPE_U8)
BREAK(scale_at_16,        i->operand[2].partition = 16)
BREAK(dst_x4_fp4,         i->operand[0].dtype = IBX_DTYPE_F4E2M1FNX4)
BREAK(no_register,        i->index_register = 0; i->index_slot = 0)
BREAK(slot_alone,         i->index_slot = 1)
BREAK(index_far,          i->index_register = 65)
BREAK(index_scalar,       i->index_slot = 2)
BREAK(index_slot_4,       i->index_slot = 4)
BREAK(index_num,          i->num[0] = 2)
BREAK(no_places,          i->count = 0)
BREAK(range_nan,          i->imm[0] = NAN)
BREAK(moved,              i->index_register = 8)
BREAK(moved_one,          i->index_register = 8; i->num[0] = i->count = 1; i->signal_value = 0)
BREAK(moved_static,       i->dge = IBX_DGE_STATIC; i->flags = 0; i->operand[1].loop_step[0] = 0)

static const rule rules[] = {
    {good_copy,              no_opcode,         "opcode 0xee does not exist"},
    {good_copy,              on_sync,           "engine sync cannot run it"},
    {good_copy,              on_nothing,        "engine unknown cannot"},
    {good_activation,        on_vector,         "engine vector cannot run it"},
    {good_copy,              flag_accumulate,   "flags 0x01"},
    {good_copy,              flag_unknown,      "flags 0x80"},
    {good_semaphore,         flag_looped,       "flags 0x02"},
    {good_loop,              flag_looped,       "flags 0x02"},
    {good_copy,              extra_operand,     "has no operand 3"},
    {good_copy,              no_source,         "source has no buffer"},
    {good_scalar_reduce,     no_scalar_out,     "operand 3 has no buffer"},
    {good_copy,              far_buffer,        "buffer 5, the entry has 5"},
    {good_copy,              dst_none,          "not an element type"},
    {good_copy,              dst_99,            "not an element type"},
    {good_copy,              dst_f64,           "only a DMA moves 64-bit"},
    {good_copy,              src_u64,           "only a DMA moves 64-bit"},
    {good_copy,              src_e4m3fn,        "does not have; use f8e4m3"},
    {good_tensor_scalar,     scalar_typed,      "takes none"},
    {good_semaphore,         dst_f64,           "takes none"},
    {good_copy,              src_odd,           "not a multiple of its element"},
    {good_tensor_scalar,     scalar_odd,        "not a multiple of its element"},
    {good_dma,               src_odd,           "not a multiple of its element"},
    {good_register_load,     src_odd,           "not a multiple of its element"},
    {good_copy,              loop_odd,          "loop step -6 of source"},
    {good_copy,              src_hbm,           "only a DMA reaches"},
    {good_memset,            dst_hbm,           "only a DMA reaches"},
    {good_moving,            src_psum,          "reads sbuf and writes psum"},
    {good_moving,            dst_sbuf,          "reads sbuf and writes psum"},
    {good_stationary,        src_psum,          "reads sbuf and writes psum"},
    {good_tensor_tensor,     both_psum,         "both inputs are in psum"},
    {good_gpsimd,            src_psum,          "gpsimd does not reach"},
    {good_register_load,     src_psum,          "is in psum"},
    {good_register_load,     src_hbm,           "only a DMA reaches"},
    {good_dma,               src_psum,          "no DMA reaches"},
    {good_scatter,           table_in_sbuf,     "destination must be in hbm"},
    {good_scatter_add,       add_integers,      "floats of at most 32 bits are added"},
    {good_all_reduce,        reduces_integers,  "floats of at most 32 bits are reduced"},
    {good_reduce_scatter,    reduces_or,        "use add, max or min"},
    {good_all_gather,        gather_moves,      "source moves from rank to rank"},
    {good_reduce_scatter,    scatter_moves,     "destination moves from rank to rank"},
    {good_all_to_all,        collective_casts,  "does not convert"},
    {good_all_to_all,        collective_mixes,  "from hbm to sbuf"},
    {good_all_to_all,        collective_repeats, "its buffer 1048576"},
    {good_all_reduce,        collective_counts, "count is 1; the most is 0"},
    {good_all_reduce,        collective_signals, "signal 1"},
    {good_permute,           permute_far,       "the most is"},
    {good_permute_reduce,    permute_far,       "the most is"},
    {good_permute_reduce,    reduces_or,        "use add, max or min"},
    {good_permute_reduce,    reduces_integers,  "floats of at most 32 bits are reduced"},
    {good_permute_reduce,    reduces_3,         "num[0] is 3; it reduces 2 sources"},
    {good_permute_reduce,    scatter_moves,     "destination moves from source to source"},
    {good_all_gather_v,      gather_moves,      "source moves from rank to rank"},
    {good_all_gather_v,      collective_counts, "count is 1; the most is 0"},
    {good_all_to_all_v,      collective_casts,  "does not convert"},
    {good_all_to_all_v,      counts_i32,        "the metadata are i32; u32 is needed"},
    {good_all_to_all_v,      counts_hbm,        "the metadata are in hbm; sbuf is needed"},
    {good_all_to_all_v,      counts_psum,       "no DMA reaches"},
    {good_all_to_all_v,      counted_sbuf,      "only hbm takes counts"},
    {good_all_gather_v,      ranks_9,           "num[0] is 9; ibx"},
    {good_all_reduce,        strided,           "all cores meet, 2 apart; set the group"},
    {good_dma,               grouped,           "a group of 2 cores, 0 apart; it meets none"},
    {good_semaphore,         grouped,           "it meets none"},
    {good_register_move,     strided,           "it meets none"},
    {good_sendrecv,          exchange_hbm,      "only sbuf is exchanged"},
    {good_sendrecv,          exchange_much,     "257 elements a partition"},
    {good_rank_id,           rank_register,     "register 64"},
    {good_accumulate,        add_integers,      "floats of at most 32 bits are added"},
    {good_compute,           sources_17,        "17 sources; the most is 16"},
    {good_compute,           sum_moves,         "moves from source to source"},
    {good_dma_transpose,     transpose_bytes,   "equal types of 16 or 32 bits"},
    {good_dma_transpose,     transpose_casts,   "bf16 to f16; equal types"},
    {good_dma_transpose,     transpose_wide,    "num[4] is 129"},
    {good_dma_transpose,     transpose_plain,   "contiguous in dimension 4"},
    {good_copy,              p_0,               "0 partitions"},
    {good_copy,              p_129,             "129 partitions"},
    {good_copy,              p_128_at_64,       "destination has 128 partitions from 64"},
    {good_copy,              p_64_at_32,        "64 partitions from 32"},
    {good_copy,              p_65_at_64,        "65 partitions from 64"},
    {good_copy,              p_32_at_16,        "32 partitions from 16"},
    {good_copy,              p_8_sum,           "8 partitions from 48"},
    {good_copy,              p_past_end,        "8 partitions from 128"},
    {good_tensor_scalar,     scalar_partition,  "operand 2 has 8 partitions from 8"},
    {good_copy,              num_0,             "dimension 3 has 0 elements"},
    {good_copy,              num_outer,         "dimension 1 has 2 elements"},
    {good_copy,              num_wide,          "dimension 2 has 65536"},
    {good_copy,              sbuf_free,         "sbuf allows 65536"},
    {good_copy,              psum_free,         "psum allows 4096"},
    {good_tensor_tensor,     op0_unknown,       "op0 is 29"},
    {good_tensor_scalar,     op1_unknown,       "op1 is 29"},
    {good_tensor_tensor,     op1_unused,        "op1 is 1, the last is 0"},
    {good_copy,              op0_unused,        "op0 is 1, the last is 0"},
    {good_select,            op0_unused,        "op0 is 1"},
    {good_reciprocal,        op0_unused,        "op0 is 1"},
    {good_moving,            op0_unused,        "op0 is 1"},
    {good_activation,        act_unknown,       "op0 is 26"},
    {good_activation_reduce, act_unknown,       "op0 is 26"},
    {good_tensor_tensor,     op0_bits,          "integers of one width"},
    {good_scan,              op0_bits,          "only arithmetic"},
    {good_scalar_tensor,     op1_bits,          "only arithmetic"},
    {good_scalar_reduce,     op0_bits,          "only arithmetic"},
    {good_tensor_scalar,     op1_bits,          "bit operators or neither"},
    {good_bits,              op1_add,           "bit operators or neither"},
    {good_reduce,            op0_subtract,      "no reduction"},
    {good_scalar_reduce,     op1_subtract,      "max and min reduce"},
    {good_partition_reduce,  op0_min,           "reduce partitions"},
    {good_partition_reduce,  op0_bits,          "integers of one width"},
    {good_reduce,            op0_bits,          "integers of one width"},
    {good_bit_tensors,       src_float,         "integers of one width"},
    {good_bit_tensors,       src_narrow,        "integers of one width"},
    {good_bits,              src_narrow,        "integers of one width"},
    {good_bits,              imm_fraction,      "whole number"},
    {good_bits,              imm_large,         "whole number"},
    {good_bits,              bits_with_tensor,  "take an immediate"},
    {good_iota,              imm_nan,           "whole number"},
    {good_iota,              imm_large,         "whole number"},
    {good_reduce,            reduce_outer,      "order the reduced dimensions last"},
    {good_select,            predicate_float,   "an integer is needed"},
    {good_select,            src_bf16,          "they must be equal"},
    {good_block,             src_bf16,          "they must be equal"},
    {good_block,             block_tall,        "33 x 32"},
    {good_block,             block_wide,        "16 x 40"},
    {good_copy,              int_on_ibx2,       "through fp32 on ibx2"},
    {good_stationary,        columns_0,         "0 columns"},
    {good_moving,            columns_129,       "129 columns"},
    {good_stationary,        columns_31,        "31 columns, but the source has 32"},
    {good_pe_transpose,      columns_31,        "31 columns, but the source has 32"},
    {good_pe_transpose,      src_bf16,          "they must be equal"},
    {good_pe_transpose,      src_byte,          "transposes 16 and 32 bits"},
    {good_stationary,        src_int,           "multiplies floats"},
    {good_moving,            src_int,           "multiplies floats"},
    {good_moving,            dst_f16,           "the array writes f32"},
    {good_moving,            dst_bf16_ibx3,     "the array writes f32"},
    {good_moving,            moving_513,        "has 513 columns"},
    {good_moving,            bank_crossed,      "stay inside one bank"},
    {good_moving,            bank_below,        "bytes -96 to 32"},
    {good_moving,            bank_strided,      "stay inside one bank"},
    {good_pe_transpose,      transpose_bank,    "stay inside one bank"},
    {good_stationary,        rows_at_32_ibx2,   "multiple of 64"},
    {good_dma,               dge_unknown,       "does not exist"},
    {good_hardware_dma,      dge_hardware_ibx2, "ibx2 has no hardware descriptors"},
    {good_hardware_dma,      on_tensor,         "hardware descriptors on tensor"},
    {good_hardware_dma,      dge_static,        "cannot follow loop registers"},
    {good_dma,               dge_software,      "software descriptors on sync"},
    {good_gather,            dge_static,        "only software descriptors gather"},
    {good_gather,            dge_hardware,      "only software descriptors gather"},
    {good_dma,               queue_16,          "queue 16; there are 16"},
    {good_dma,               signal_15,         "signals 15, but has 16 pieces"},
    {good_dma,               hbm_partition,     "has no partitions"},
    {good_dma,               hbm_walks,         "has no partitions"},
    {good_dma,               dma_num_0,         "dimension 0 has 0 elements"},
    {good_dma,               dma_huge,          "use several DMAs"},
    {good_dma,               dma_large,         "use several DMAs"},
    {good_dma,               dst_none,          "not an element type"},
    {good_dma,               dst_i64,           "move unconverted only"},
    {good_dma,               src_u64,           "move unconverted only"},
    {good_dma,               src_packed,        "move unconverted only"},
    {good_dma,               dst_packed,        "f32 to f4e2m1fnx4; types that no engine has move unconverted only"},
    {good_gather,            index_type,        "u32 is needed"},
    {good_gather,            index_hbm,         "the source must be in hbm"},
    {good_gather,            table_sbuf,        "the source must be in hbm"},
    {good_gather,            index_129,         "129 indices"},
    {good_gather,            table_empty,       "0 rows"},
    {good_loop,              reg_4,             "register 4; there are 4"},
    {good_loop,              reg1_64,           "register 64; there are 64"},
    {good_loop,              trips_0,           "0 trips"},
    {good_register_move,     reg_64,            "register 64; there are 64"},
    {good_register_move,     reg_unset,         "register 255"},
    {good_register_load,     reg_64,            "register 64; there are 64"},
    {good_constant_bias,     bias_on_ibx2,      "the bias is 0.5; on ibx2 only 0"},
    {good_activation,        reduce_load,       "does not take the command 4"},
    {good_activation_reduce, reduce_row,        "does not take the command 2"},
    {good_copy,              reduce_row,        "does not take the command 2"},
    {good_scalar_on_scalar,  on_ibx2,           "engine scalar of ibx2 cannot run it"},
    {good_scalar_on_scalar,  op0_add,           "op0 is add, op1 is add; scalar computes"},
    {good_scalar_on_scalar,  op0_max_alone,     "scalar computes multiply and add"},
    {good_scalar_on_scalar,  op1_subtract,      "scalar computes multiply and add"},
    {good_activate2,         on_ibx3,           "ibx3 does not have it"},
    {good_activate2,         op0_add,           "op0 is add, op1 is subtract, which is no pair"},
    {good_activate2,         op1_bypass,        "op1 is bypass; leave operand 3"},
    {good_activate2,         op0_bypass,        "op0 is bypass; leave operand 2"},
    {good_activate2_alone,   bypass_imm,        "op0 is bypass"},
    {good_activate2_alone,   bypass_reverse,    "op0 is bypass"},
    {good_activate2,         op3_bypass,        "op3 is bypass; add, max, min"},
    {good_activate2,         op3_multiply,      "op3 is multiply; add, max, min"},
    {good_activate2_alone,   op3_add,           "op3 is add; idle reduces nothing"},
    {good_activate2,         act2_unknown,      "op2 is 26, the last is 25"},
    {good_activate2,         act2_exp,          "imm2 has no meaning here"},
    {good_activate2,         unused_imm3,       "imm3 has no meaning here"},
    {good_activate2,         unused_count,      "count has no meaning here"},
    {good_copy,              mode_1,            "mode 1 does not exist"},
    {good_partition_reduce,  mode_2,            "mode 2 does not exist"},
    {good_average,           op0_max,           "an average adds"},
    {good_iota_affine,       imm_fraction,      "whole number"},
    {good_iota_affine,       unused_imm1,       "imm1 has no meaning here"},
    {good_iota_affine,       unused_imm2,       "imm2 has no meaning here"},
    {good_iota_affine,       unused_imm3,       "imm3 has no meaning here"},
    {good_iota_affine,       unused_columns,    "columns has no meaning here"},
    {good_affine_select,     op0_max,           "max, which does not compare"},
    {good_affine_select,     op0_bits,          "only arithmetic"},
    {good_affine_select,     imm_nan,           "whole number"},
    {good_affine_select,     src_hbm,           "only a DMA reaches"},
    {good_affine_select,     src_psum,          "gpsimd does not reach"},
    {good_local_gather,      p_120,             "120 partitions; whole groups of 16"},
    {good_local_gather,      elements_3,        "3 elements an index"},
    {good_local_gather,      elements_64,       "64 elements an index"},
    {good_local_gather,      count_4097,        "count is 4097; 1 to 4096"},
    {good_local_gather,      count_0,           "count is 0"},
    {good_local_gather,      src_bf16,          "they must be equal"},
    {good_local_gather,      index_i16,         "u16 is needed"},
    {good_local_gather,      unused_imm0,       "imm0 has no meaning here"},
    {good_local_gather,      unused_pattern0,   "pattern0 has no meaning here"},
    {good_n_gather,          count_65537,       "65537 elements a partition"},
    {good_n_gather,          count_0,           "count is 0"},
    {good_n_gather,          index_f32,         "u32 is needed"},
    {good_n_gather,          dst_u8,            "they must be equal"},
    {good_bounds,            p_2,               "2 partitions; it works on one"},
    {good_bounds,            bounds_long,       "65538 elements a partition"},
    {good_bounds,            dst_u8,            "i32 or f32 is needed"},
    {good_bounds,            src_bf16,          "i32 or f32 is needed"},
    {good_bounds,            unused_count,      "count has no meaning here"},
    {good_nonzero,           on_ibx2,           "ibx2 does not have it"},
    {good_nonzero,           dst_f32,           "i32 is needed"},
    {good_nonzero,           src_bf16,          "i32 or f32 is needed"},
    {good_nonzero,           unused_pattern2,   "pattern2 has no meaning here"},
    {good_nonzero,           p_113_at_32,       "97 partitions from 32"},
    {good_topk,              on_ibx2,           "ibx2 does not have it"},
    {good_topk,              topk_7,            "pattern0 is 7; 8 to 65535"},
    {good_topk,              topk_negative,     "pattern0 is -1"},
    {good_topk,              topk_513,          "pattern0 is 513; 1 to 512"},
    {good_topk,              topk_more,         "count is 513; 1 to 512"},
    {good_topk,              count_0,           "count is 0"},
    {good_topk,              p_120,             "whole groups of 16"},
    {good_topk,              dst_f32,           "bf16 is needed"},
    {good_topk,              src_f16,           "bf16 is needed"},
    {good_topk,              index_f32,         "u32 is needed"},
    {good_topk,              unused_pattern1,   "pattern1 has no meaning here"},
    {good_call,              call_unknown,      "op0 is 23, the last is 22"},
    {good_call,              call_other,        "add is run by gpsimd_call2"},
    {good_call,              unused_count,      "count is 1; 0 to 0"},
    {good_call,              unused_imm0,       "imm0 has no meaning here"},
    {good_call,              src_bool,          "integers are needed"},
    {good_call,              dst_u8,            "the source's type is needed"},
    {good_call,              src_psum,          "gpsimd does not reach"},
    {good_call,              row_long,          "the number of elements is 65538"},
    {good_call2,             dst_f32,           "bool or u8 is needed"},
    {good_call_gather,       src_f64,           "a type of an engine, i64 or u64 is needed"},
    {good_call2,             src_f16,           "the source's type is needed"},
    {good_call_gather,       count_0,           "count is 0; 1 to 65536"},
    {good_call_gather,       index_i16,         "i32 or i64 is needed"},
    {good_suppress,          src_f16,           "f32 is needed"},
    {good_suppress,          count_33,          "count is 33; 1 to 32"},
    {good_call3,             condition_i32,     "bool or u8 is needed"},
    {good_call_pair,         count_33,          "count is 33; 1 to 32"},
    {good_call_pair,         index_f32,         "i32 or i64 is needed"},
    {good_call_hbm,          hbm_two,           "hbm, which has one partition"},
    {good_call_hbm,          hbm_at_1,          "hbm, which has one partition"},
    {good_call_hbm,          hbm_huge,          "hbm allows 16777216"},
    {good_register_load,     src_float,         "not a 32-bit integer"},
    {good_copy,               reduce_load,       "does not take the command 4 (load_reduce)"},
    {good_scalar_reduce,      reduce_reset,      "does not take the command 1 (reset)"},
    {good_scalar_reduce,      reduce_unknown,    "does not take the command 5 (unknown)"},
    {good_fold_on,            reduce_go_on,      "imm1 is 3, but only load_reduce"},
    {good_read_accumulator,   one_too_many,      "2 elements a partition; 1 to 1"},
    {good_unary,              unary_tensor,      "op0 is abs, which takes no scalar"},
    {good_unary,              unary_immediate,   "op1 is rsqrt, which takes no scalar"},
    {good_unary,              unary_reversed,    "op0 is abs, which takes no scalar"},
    {good_tensor_tensor,      op0_unary,         "op0 is square, which has one side"},
    {good_scan,               op0_unary,         "op0 is square, which has one side"},
    {good_scan,               op1_unary,         "op1 is relu, which has one side"},
    {good_scalar_tensor,      op0_unary,         "op0 is square, which takes no scalar"},
    {good_scalar_tensor,      op1_unary,         "op1 is relu, which has one side"},
    {good_scalar_reduce,      op0_unary,         "op0 is square, which takes no scalar"},
    {good_cumulative,         op0_unary,         "op0 is square, which takes no scalar"},
    {good_cumulative,         op1_power,         "subtract, multiply, max and min accumulate"},
    {good_cumulative,         op0_bits,          "only arithmetic"},
    {good_cumulative,         dst_i32,           "32 bits do not accumulate"},
    {good_cumulative,         src_u32,           "32 bits do not accumulate"},
    {good_cumulative,         reduce_idle,       "does not take the command 0"},
    {good_cumulative,         reduce_reset,      "does not take the command 1"},
    {good_cumulative,         reduce_go_on,      "operand 3 is given, but only load_reduce"},
    {good_cumulative,         reduce_start,      "imm1 is 2, but only load_reduce"},
    {good_range_select,       on_ibx2,           "target ibx2 does not have it"},
    {good_range_select,       op1_not_equal,     "op1 is not_equal"},
    {good_range_select,       no_bound,          "operand 2, a bound, has no buffer"},
    {good_range_select,       src_int,           "a float is needed"},
    {good_range_select,       imm0_far,          "whole numbers below 2^24"},
    {good_range_select,       imm_fraction,      "whole numbers below 2^24"},
    {good_range_select,       imm_nan,           "whole numbers below 2^24"},
    {good_range_select,       imm1_one,          "imm1 is 1; leave it out"},
    {good_range_select,       reduce_load,       "does not take the command 4"},
    {good_select_reduce,      on_ibx2,           "target ibx2 does not have it"},
    {good_select_reduce,      src_int,           "no tf32 and no integer of 32 bits"},
    {good_select_reduce,      src_tf32,          "no tf32"},
    {good_exponential,        src_tf32,          "use f32"},
    {good_select_reduce,      predicate_wide,    "8 or 16 bits is needed"},
    {good_select_reduce,      predicate_float,   "8 or 16 bits is needed"},
    {good_select_reduce,      two_psum,          "both inputs are in psum"},
    {good_select_reduce,      reduce_reset,      "does not take the command 1"},
    {good_exponential,        on_ibx3,           "target ibx3 does not have it"},
    {good_exponential,        dst_u32,           "use i32"},
    {good_exponential,        dst_e4m3fn,        "use f8e4m3"},
    {good_exponential,        src_e4m3fn,        "use f8e4m3"},
    {good_exponential,        reduce_go_on,      "operand 3 is given"},
    {good_exponential,        reduce_start_nan,  "imm1 is nan"},
    {good_exponential,        reduce_reset,      "does not take the command 1"},
    {good_bn_stats,           stats_513,         "513 elements a partition; 1 to 512"},
    {good_bn_aggr,            triples_10,        "10 elements a partition are no triples"},
    {good_max8,               search_7,          "7 elements a partition; 8 to 16384"},
    {good_max8,               search_16385,      "16385 elements"},
    {good_find_index8,        search_7,          "7 elements"},
    {good_find_index8,        dst_i16,           "indices are u16 or u32"},
    {good_find_index8,        two_psum,          "both inputs are in psum"},
    {good_match_replace8,     search_16385,      "16385 elements"},
    {good_match_index8,       search_7,          "7 elements"},
    {good_match_index8,       index_float,       "indices are u16 or u32"},
    {good_shuffle,            src_bf16,          "must be as the destination"},
    {good_shuffle,            shuffle_33,        "33 partitions are no multiple of 32"},
    {good_shuffle,            shuffle_32,        "shuffle[7] is 32"},
    {good_shuffle,            shuffle_255,       "shuffle[7] is 255"},
    {good_partial_shuffle,    shuffle_32,        "shuffle[7] is 32; partitions are 0 to 31, or 255"},
    {good_rng,                gpsimd_on_ibx2,    "gpsimd of ibx2 does not have it"},
    {good_rng,                dst_f32,           "random bits are integers"},
    {good_seed,               seed_two,          "2 partitions; a seed has one"},
    {good_seed,               one_too_many,      "2 elements"},
    {good_seed,               seed_f16,          "a seed has 32 bits"},
    {good_set_state,          on_ibx3,           "vector of ibx3 does not have it"},
    {good_set_state,          state_6,           "6 elements a partition; 24 to 24"},
    {good_set_state,          src_int,           "a state is u32"},
    {good_set_state,          src_psum,          "move it to sbuf"},
    {good_get_state,          on_ibx2,           "target ibx2 does not have it"},
    {good_get_state,          vector_state,      "vector of ibx3 does not have it"},
    {good_get_state,          state_24,          "24 elements a partition; 6 to 6"},
    {good_get_state,          dst_i32,           "a state is u32"},
    {good_rand2,              on_ibx3,           "target ibx3 does not have it"},
    {good_rand2,              dst_e4m3fn,        "use f8e4m3"},
    {good_rand2,              range_empty,       "from 1 to 1 there is no range"},
    {good_rand2,              range_nan,         "there is no range"},
    {good_dynamic,            no_register,       "no register moves an operand"},
    {good_copy,               slot_alone,        "operand 1 is moved by no register"},
    {good_dynamic,            index_far,         "register 64; there are 64"},
    {good_dynamic,            index_scalar,      "operand 2, which a register moves, is no tensor"},
    {good_dynamic,            index_slot_4,      "operand 4, which a register moves"},
    {good_dynamic,            index_num,         "belongs to the register"},
    {good_dynamic,            no_places,         "0 places"},
    {good_moved_dma,          moved_static,      "static descriptors cannot follow register 7"},
    {good_moved_dma,          no_places,         "0 places"},
    {good_moved_dma,          index_num,         "belongs to the register"},
    {good_moved_dma,          index_far,         "register 64; there are 64"},
    {good_moved_dma,          index_scalar,      "operand 2, which a register moves, is no tensor"},
    {good_dma,                slot_alone,        "operand 1 is moved by no register"},
    {good_gather,             moved,             "belongs to the register"},
    {good_gather,             moved_one,         "rows by index and register 7"},
    {good_scatter,            moved_one,         "rows by index and register 7"},
    {good_permute,            moved_one,         "register 7; cores that meet"},
    {good_all_reduce,         moved_one,         "register 7; cores that meet"},
    {good_compute,            moved_one,         "dimension 0, which counts the sources"},
    {good_dynamic,            int_on_ibx2,       "through fp32 on ibx2"},
    {good_quantize,           on_ibx3,           "target ibx3 does not have it"},
    {good_quantize,           src_psum,          "source is in psum"},
    {good_quantize,           src_float,         "f16 and bf16 are quantized"},
    {good_quantize,           dst_x4_fp4,        "f8e5m2x4 or f8e4m3fnx4"},
    {good_quantize,           scale_u8,          "scales are f8e8m0"},
    {good_quantize,           scale_at_16,       "first four places of a quadrant"},
    {good_quantize,           p_48,              "48 partitions are no multiple of 32"},
    {good_dropout,            src_bf16,          "must be as the destination"},
};
// clang-format on

static void every_rule_refuses_what_breaks_it(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(rules); i++) {
    issue it = rules[i].good();
    rules[i].breaks(&it);
    ibx_error err = {0};
    ibx_status status = check(&it, "ibx3", &err);
    if (status != IBX_INVALID_PROGRAM ||
        strstr(err.message, rules[i].words) == NULL) {
      fail_msg("rule %zu (%s): status %d, message '%s'", i, rules[i].words,
               status, err.message);
    }
  }
}

// Limits are where they are documented, not one before.
BREAK(p_64_at_64, i->partitions = 64; i->operand[0].buffer = UPPER)
BREAK(p_32_at_96, i->partitions = 32; i->operand[1].partition = 96)
BREAK(p_8_at_48_16, i->partitions = 8; i->operand[1].buffer = LATE;
      i->operand[1].partition = 16)
BREAK(sbuf_full, i->num[2] = 2; i->num[3] = 1; i->num[4] = 32768)
BREAK(psum_full, i->operand[1].buffer = PSUM; i->num[3] = 1; i->num[4] = 4096)
BREAK(moving_512, i->num[3] = 1; i->num[4] = 512)
BREAK(bank_end, i->operand[0].offset = 2048 - 128)
BREAK(bf16_ibx4, it->target = "ibx4"; i->operand[0].dtype = IBX_DTYPE_BF16)
BREAK(e4m3fn_ibx4, it->target = "ibx4";
      i->operand[1].dtype = IBX_DTYPE_F8E4M3FN)
BREAK(rows_at_32, i->partitions = 32; i->operand[1].partition = 32)
BREAK(no_signal, i->signal_value = 0)
BREAK(same_i64, i->operand[0].dtype = i->operand[1].dtype = IBX_DTYPE_I64)
BREAK(long_fold, i->operand[0].buffer = PSUM; i->num[3] = 4; i->num[4] = 4096)
BREAK(no_second, i->reg[1] = IBX_NO_REGISTER)

static void limits_themselves_pass(void **state) {
  (void)state;
  const struct {
    make_fn good;
    void (*change)(issue *it);
  } cases[] = {
      {good_copy, p_64_at_64},   {good_copy, p_32_at_96},
      {good_copy, p_8_at_48_16}, {good_copy, sbuf_full},
      {good_copy, psum_full},    {good_moving, moving_512},
      {good_moving, bank_end},   {good_moving, bf16_ibx4},
      {good_copy, e4m3fn_ibx4},  {good_stationary, rows_at_32},
      {good_dma, no_signal},     {good_dma, same_i64},
      {good_reduce, long_fold},  {good_loop, no_second},
  };
  for (size_t i = 0; i < IBX_COUNT_OF(cases); i++) {
    issue it = cases[i].good();
    cases[i].change(&it);
    ibx_error err = {0};
    if (check(&it, "ibx3", &err) != IBX_OK) fail_msg("%s", err.message);
  }
}

static uint64_t next_random(uint64_t *seed) {
  *seed ^= *seed << 13;
  *seed ^= *seed >> 7;
  *seed ^= *seed << 17;
  return *seed;
}

// Any decoded bytes may reach the checker; what passes has a cost.
static void noise_neither_crashes_nor_passes_without_cost(void **state) {
  (void)state;
  uint64_t seed = 0x3f84d5b5b5470917;
  for (int n = 0; n < 300000; n++) {
    issue it = goods[next_random(&seed) % IBX_COUNT_OF(goods)]();
    for (uint64_t edits = next_random(&seed) % 4; edits > 0; edits--) {
      uint8_t *bytes = (uint8_t *)&it.insn;
      size_t at = next_random(&seed) % sizeof it.insn;
      bytes[at] = (uint8_t)next_random(&seed);
    }
    if (check(&it, "ibx4", NULL) != IBX_OK) continue;
    const ibx_machine *machine = ibx_machine_find("ibx4");
    ibx_insn_cost cost =
        ibx_insn_cost_get(machine, it.engine, &it.insn, places);
    assert_true(cost.issue_cycles > 0);
    assert_true(cost.result_cycles > 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_instructions_pass_on_all_targets),
      cmocka_unit_test(every_rule_refuses_what_breaks_it),
      cmocka_unit_test(limits_themselves_pass),
      cmocka_unit_test(noise_neither_crashes_nor_passes_without_cost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
