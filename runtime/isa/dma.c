// SPDX-License-Identifier: Apache-2.0
//
// How a DMA becomes descriptors and pieces. Comes in: a checked DMA. Goes out:
// the pieces that its engines carry out, in iteration order. Everything is
// closed form: a DMA of a million elements costs as much as one of ten.
//
//   num      2  128  1  4  64           iteration space
//   dst      HBM row-major              [4 x 64] is contiguous on both sides:
//   src      128 partitions of 256      runs of 256 elements, 2 x 128 of them
//
// A run is contiguous on both sides and never leaves a partition. It is one
// descriptor, or several when longer than dma_descriptor_bytes.

#include "imbrex/isa.h"

typedef struct run_shape {
  uint64_t runs;
  uint64_t elements;      ///< of one run
  uint64_t element_bytes; ///< the larger of both sides
} run_shape;

static bool continues_run(const ibx_operand *operand, size_t dim,
                          uint64_t elements) {
  return operand->partition_step[dim] == 0 && operand->step[dim] >= 0 &&
         (uint64_t)operand->step[dim] == elements;
}

// The outermost dimension of a gather picks rows by index, so no run spans it.
static run_shape find_runs(const ibx_insn *insn) {
  const ibx_operand *dst = &insn->operand[0];
  const ibx_operand *src = &insn->operand[1];
  size_t last = insn->opcode == IBX_OP_dma_gather ? 1 : 0;
  size_t dst_bytes = ibx_dtype_bytes((ibx_dtype)dst->dtype);
  size_t src_bytes = ibx_dtype_bytes((ibx_dtype)src->dtype);
  run_shape shape = {.runs = 1, .elements = 1};
  shape.element_bytes = dst_bytes > src_bytes ? dst_bytes : src_bytes;
  bool is_open = true;
  for (size_t d = IBX_DIMS; d-- > 0;) {
    if (insn->num[d] == 1) continue;
    is_open = is_open && d >= last && continues_run(dst, d, shape.elements) &&
              continues_run(src, d, shape.elements);
    if (is_open) {
      shape.elements *= insn->num[d];
    } else {
      shape.runs *= insn->num[d];
    }
  }
  return shape;
}

static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Pieces of whole runs, as even as possible, the longer ones first.
static void deal_runs(const run_shape *shape, size_t count, uint64_t per_run,
                      ibx_dma_piece *pieces) {
  uint64_t first = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t runs = shape->runs / count + (i < shape->runs % count);
    uint64_t elements = runs * shape->elements;
    pieces[i] = (ibx_dma_piece){.descriptors = runs * per_run,
                                .bytes = elements * shape->element_bytes,
                                .first = first,
                                .elements = elements};
    first += elements;
  }
}

// Every run in `chunks` pieces, as even as possible.
static void cut_runs(const ibx_machine *machine, const run_shape *shape,
                     size_t chunks, ibx_dma_piece *pieces) {
  uint64_t limit = machine->dma_descriptor_bytes;
  uint64_t first = 0;
  for (size_t i = 0; i < shape->runs * chunks; i++) {
    uint64_t elements =
        shape->elements / chunks + (i % chunks < shape->elements % chunks);
    uint64_t bytes = elements * shape->element_bytes;
    pieces[i] = (ibx_dma_piece){.descriptors = (bytes + limit - 1) / limit,
                                .bytes = bytes,
                                .first = first,
                                .elements = elements};
    first += elements;
  }
}

size_t ibx_dma_split(const ibx_machine *machine, const ibx_insn *insn,
                     const ibx_buffer_place *buffers, ibx_dma_piece *pieces) {
  // Buffers only move the start of an operand, which breaks no run.
  (void)buffers;
  run_shape shape = find_runs(insn);
  uint64_t run_bytes = shape.elements * shape.element_bytes;
  uint64_t limit = machine->dma_descriptor_bytes;
  uint64_t engines = machine->dma_engines;
  if (shape.runs >= engines) {
    if (pieces) {
      deal_runs(&shape, engines, (run_bytes + limit - 1) / limit, pieces);
    }
    return engines;
  }
  uint64_t most = run_bytes / machine->dma_split_bytes;
  uint64_t chunks = min_u64(engines / shape.runs, most > 0 ? most : 1);
  chunks = min_u64(chunks, shape.elements);
  if (pieces) cut_runs(machine, &shape, chunks, pieces);
  return shape.runs * chunks;
}

uint64_t ibx_dma_piece_ps(const ibx_machine *machine,
                          const ibx_dma_piece *piece) {
  // bytes / (MB/s) is microseconds; whole ones first keep the product small.
  const uint64_t ps_per_us = 1000000;
  uint64_t rate = machine->dma_mb_per_s;
  uint64_t rest = piece->bytes % rate * ps_per_us;
  return piece->descriptors * machine->dma_descriptor_ps +
         piece->bytes / rate * ps_per_us + (rest + rate - 1) / rate;
}
