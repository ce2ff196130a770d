// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_TINY_H
#define IBX_TEST_TINY_H

/// \file
/// Programs of a few instructions, built by hand in fixed arrays. One entry
/// "main" on ibx3; a tiny program points into itself, so it stays where it was
/// made.

#include "imbrex/program.h"

#include <string.h>

enum { TINY_BUFFERS = 32, TINY_TENSORS = 8, TINY_INSNS = 64 };

typedef struct tiny {
  ibx_program_data program;
  ibx_entry entry;
  ibx_buffer_decl buffers[TINY_BUFFERS];
  ibx_tensor_decl inputs[TINY_TENSORS], outputs[TINY_TENSORS];
  ibx_insn insns[IBX_ENGINE_COUNT][TINY_INSNS];
  uint32_t nodes[IBX_ENGINE_COUNT][TINY_INSNS];
  ibx_node_decl node_decls[2];
} tiny;

static inline void tiny_init(tiny *t) {
  memset(t, 0, sizeof *t);
  t->node_decls[0] = (ibx_node_decl){"/first", "Relu"};
  t->node_decls[1] = (ibx_node_decl){"/second", "MatMul"};
  t->entry = (ibx_entry){.name = "main",
                         .inputs = t->inputs,
                         .outputs = t->outputs,
                         .buffers = t->buffers,
                         .bounds = {.flops = 7, .engine_ps = 11}};
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    t->entry.streams[e].insns = t->insns[e];
    t->entry.streams[e].nodes = t->nodes[e];
  }
  t->program = (ibx_program_data){.machine = ibx_machine_get(IBX_TARGET_ibx3),
                                  .model = "tiny",
                                  .options = "--auto-cast none",
                                  .entries = &t->entry,
                                  .nodes = t->node_decls,
                                  .entry_count = 1,
                                  .node_count = 2};
}

static inline uint32_t tiny_buffer(tiny *t, const char *name,
                                   ibx_buffer_kind kind,
                                   ibx_buffer_place place) {
  uint32_t index = (uint32_t)t->entry.buffer_count++;
  t->buffers[index] =
      (ibx_buffer_decl){.place = place, .name = name, .kind = kind};
  return index;
}

/// Scratch on all partitions of SBUF.
static inline uint32_t tiny_sbuf(tiny *t, const char *name, uint64_t offset,
                                 uint64_t bytes) {
  return tiny_buffer(t, name, IBX_BUFFER_SCRATCH,
                     (ibx_buffer_place){.space = IBX_SPACE_SBUF,
                                        .partitions = IBX_PARTITIONS,
                                        .offset = offset,
                                        .bytes = bytes});
}

static inline uint32_t tiny_psum(tiny *t, const char *name, uint64_t offset,
                                 uint64_t bytes) {
  return tiny_buffer(t, name, IBX_BUFFER_SCRATCH,
                     (ibx_buffer_place){.space = IBX_SPACE_PSUM,
                                        .partitions = IBX_PARTITIONS,
                                        .offset = offset,
                                        .bytes = bytes});
}

/// HBM; what the caller sees is a tensor of bytes with the buffer's name.
static inline uint32_t tiny_hbm(tiny *t, const char *name, ibx_buffer_kind kind,
                                uint64_t offset, uint64_t bytes) {
  uint32_t index = tiny_buffer(t, name, kind,
                               (ibx_buffer_place){.space = IBX_SPACE_HBM,
                                                  .partitions = 1,
                                                  .offset = offset,
                                                  .bytes = bytes});
  ibx_tensor_decl tensor = {.name = name,
                            .shape = {bytes},
                            .buffer = index,
                            .rank = 1,
                            .dtype = IBX_DTYPE_U8};
  if (kind == IBX_BUFFER_INPUT || kind == IBX_BUFFER_STATE) {
    t->inputs[t->entry.input_count++] = tensor;
  }
  if (kind == IBX_BUFFER_OUTPUT || kind == IBX_BUFFER_STATE) {
    t->outputs[t->entry.output_count++] = tensor;
  }
  return index;
}

/// Appends; lends the instruction to be changed.
static inline ibx_insn *tiny_add(tiny *t, ibx_engine engine, ibx_insn insn) {
  ibx_stream *stream = &t->entry.streams[engine];
  stream->nodes[stream->count] = (uint32_t)(stream->count % 2);
  stream->insns[stream->count] = insn;
  return &stream->insns[stream->count++];
}

static inline void tiny_wait(ibx_insn *insn, uint8_t semaphore,
                             uint16_t value) {
  insn->wait_semaphore = semaphore;
  insn->wait_value = value;
}

static inline void tiny_signal(ibx_insn *insn, uint8_t semaphore,
                               uint16_t value) {
  insn->signal_semaphore = semaphore;
  insn->signal_value = value;
}

static inline ibx_insn *tiny_semaphore(tiny *t, ibx_engine engine) {
  return tiny_add(t, engine, ibx_insn_make(IBX_OP_semaphore));
}

/// A DMA of `partitions` rows of `bytes` bytes; a side in SBUF starts at
/// `offset` of each partition, a side in HBM is row-major from its own offset.
static inline ibx_insn *tiny_dma(tiny *t, ibx_engine engine, uint32_t dst,
                                 uint64_t dst_offset, uint32_t src,
                                 uint64_t src_offset, uint32_t partitions,
                                 uint32_t bytes) {
  ibx_insn insn = ibx_insn_make(IBX_OP_dma_copy);
  uint32_t buffers[2] = {dst, src};
  uint64_t offsets[2] = {dst_offset, src_offset};
  for (size_t i = 0; i < 2; i++) {
    ibx_operand *operand = &insn.operand[i];
    operand->buffer = buffers[i];
    operand->offset = offsets[i];
    operand->dtype = IBX_DTYPE_U8;
    operand->step[4] = 1;
    if (t->buffers[buffers[i]].place.space == IBX_SPACE_SBUF) {
      operand->partition_step[0] = 1;
    } else {
      operand->step[0] = (int32_t)bytes;
    }
  }
  insn.num[0] = partitions;
  insn.num[4] = bytes;
  return tiny_add(t, engine, insn);
}

/// The number of pieces, which is what a DMA's signal must say.
static inline uint16_t tiny_pieces(const tiny *t, const ibx_insn *insn) {
  ibx_buffer_place places[TINY_BUFFERS];
  for (size_t i = 0; i < t->entry.buffer_count; i++) {
    places[i] = t->buffers[i].place;
  }
  return (uint16_t)ibx_dma_split(t->program.machine, insn, places, NULL);
}

static inline void tiny_signal_dma(const tiny *t, ibx_insn *insn,
                                   uint8_t semaphore) {
  tiny_signal(insn, semaphore, tiny_pieces(t, insn));
}

/// dst = src on all partitions, `count` fp32 elements each.
static inline ibx_insn *tiny_copy(tiny *t, ibx_engine engine, uint32_t dst,
                                  uint64_t dst_offset, uint32_t src,
                                  uint64_t src_offset, uint32_t count) {
  ibx_insn insn = ibx_insn_make(IBX_OP_tensor_copy);
  insn.partitions = IBX_PARTITIONS;
  insn.num[4] = count;
  uint32_t buffers[2] = {dst, src};
  uint64_t offsets[2] = {dst_offset, src_offset};
  for (size_t i = 0; i < 2; i++) {
    insn.operand[i].buffer = buffers[i];
    insn.operand[i].offset = offsets[i];
    insn.operand[i].dtype = IBX_DTYPE_F32;
    insn.operand[i].step[4] = 1;
  }
  return tiny_add(t, engine, insn);
}

/// dst = 0 on all partitions, `count` fp32 elements.
static inline ibx_insn *tiny_zero(tiny *t, ibx_engine engine, uint32_t dst,
                                  uint64_t offset, uint32_t count) {
  ibx_insn insn = ibx_insn_make(IBX_OP_memset);
  insn.partitions = IBX_PARTITIONS;
  insn.num[4] = count;
  insn.operand[0].buffer = dst;
  insn.operand[0].offset = offset;
  insn.operand[0].dtype = IBX_DTYPE_F32;
  insn.operand[0].step[4] = 1;
  return tiny_add(t, engine, insn);
}

/// The array holds 128 x 128 of `src`, fp32.
static inline ibx_insn *tiny_stationary(tiny *t, uint32_t src) {
  ibx_insn insn = ibx_insn_make(IBX_OP_load_stationary);
  insn.partitions = IBX_PARTITIONS;
  insn.columns = IBX_PARTITIONS;
  insn.num[4] = IBX_PARTITIONS;
  insn.operand[1].buffer = src;
  insn.operand[1].dtype = IBX_DTYPE_F32;
  insn.operand[1].step[4] = 1;
  return tiny_add(t, IBX_ENGINE_TENSOR, insn);
}

/// `count` columns of dst from byte `offset` on, fp32.
static inline ibx_insn *tiny_multiply(tiny *t, uint32_t dst, uint64_t offset,
                                      uint32_t src, uint32_t count,
                                      uint8_t flags) {
  ibx_insn insn = ibx_insn_make(IBX_OP_multiply_moving);
  insn.partitions = IBX_PARTITIONS;
  insn.columns = IBX_PARTITIONS;
  insn.num[4] = count;
  insn.flags = flags;
  insn.operand[0].buffer = dst;
  insn.operand[0].offset = offset;
  insn.operand[1].buffer = src;
  for (size_t i = 0; i < 2; i++) {
    insn.operand[i].dtype = IBX_DTYPE_F32;
    insn.operand[i].step[4] = 1;
  }
  return tiny_add(t, IBX_ENGINE_TENSOR, insn);
}

/// What most tests start from: y = x through SBUF, on Sync and Vector.
typedef struct tiny_pipe {
  tiny t;
  uint32_t x, y, a, b;
  ibx_insn *load, *copy, *store;
} tiny_pipe;

enum { TINY_ROW = 256, TINY_BYTES = TINY_ROW * IBX_PARTITIONS };

static inline void tiny_pipe_init(tiny_pipe *p) {
  tiny *t = &p->t;
  tiny_init(t);
  p->x = tiny_hbm(t, "x", IBX_BUFFER_INPUT, 0, TINY_BYTES);
  p->y = tiny_hbm(t, "y", IBX_BUFFER_OUTPUT, TINY_BYTES, TINY_BYTES);
  p->a = tiny_sbuf(t, "a", 0, TINY_ROW);
  p->b = tiny_sbuf(t, "b", TINY_ROW, TINY_ROW);
  p->load =
      tiny_dma(t, IBX_ENGINE_SYNC, p->a, 0, p->x, 0, IBX_PARTITIONS, TINY_ROW);
  tiny_signal_dma(t, p->load, 1);
  p->copy = tiny_copy(t, IBX_ENGINE_VECTOR, p->b, 0, p->a, 0, TINY_ROW / 4);
  tiny_wait(p->copy, 1, p->load->signal_value);
  tiny_signal(p->copy, 2, 1);
  p->store =
      tiny_dma(t, IBX_ENGINE_SYNC, p->y, 0, p->b, 0, IBX_PARTITIONS, TINY_ROW);
  tiny_wait(p->store, 2, 1);
}

#endif
