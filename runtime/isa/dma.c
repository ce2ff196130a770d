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
  uint64_t elements; ///< of one run
  uint64_t
      element_bytes; ///< the larger of both sides; of a sum, of all sources
  uint64_t sources;  ///< descriptors of each part of a run
  uint8_t percent;   ///< of the rate
} run_shape;

static bool continues_run(const ibx_operand *operand, size_t dim,
                          uint64_t elements) {
  return operand->partition_step[dim] == 0 && operand->step[dim] >= 0 &&
         (uint64_t)operand->step[dim] == elements;
}

static uint8_t percent_of(const ibx_machine *machine, ibx_transfer transfer,
                          const ibx_insn *insn,
                          const ibx_buffer_place *buffers) {
  bool to_sbuf = buffers[insn->operand[0].buffer].space == IBX_SPACE_SBUF;
  bool from_hbm = buffers[insn->operand[1].buffer].space == IBX_SPACE_HBM;
  switch (transfer.rate) {
  case IBX_TRANSFER_FULL: return 0;
  case IBX_TRANSFER_CCE:
    return (uint8_t)(to_sbuf ? machine->dma_accumulate_sbuf_percent
                             : machine->dma_accumulate_percent);
  case IBX_TRANSFER_TRANSPOSE:
    return (uint8_t)(to_sbuf && from_hbm ? machine->dma_transpose_percent
                                         : machine->dma_transpose_sbuf_percent);
  }
  return 0;
}

// The outermost dimension picks rows by index or counts sources where the
// transfer says so: no run spans it.
static run_shape find_runs(const ibx_machine *machine, const ibx_insn *insn,
                           const ibx_buffer_place *buffers) {
  const ibx_operand *dst = &insn->operand[0];
  const ibx_operand *src = &insn->operand[1];
  ibx_transfer transfer = ibx_insn_transfer(insn->opcode);
  bool is_sum = transfer.combine == IBX_TRANSFER_SUM;
  bool is_transposed = transfer.rate == IBX_TRANSFER_TRANSPOSE;
  size_t last = transfer.index != IBX_TRANSFER_NONE || is_sum ? 1 : 0;
  size_t dst_bytes = ibx_dtype_bytes((ibx_dtype)dst->dtype);
  size_t src_bytes = ibx_dtype_bytes((ibx_dtype)src->dtype);
  run_shape shape = {.runs = 1,
                     .elements = 1,
                     .sources = is_sum ? insn->num[0] : 1,
                     .percent = percent_of(machine, transfer, insn, buffers)};
  src_bytes *= (size_t)shape.sources;
  shape.element_bytes = dst_bytes > src_bytes ? dst_bytes : src_bytes;
  bool is_open = true;
  for (size_t d = IBX_DIMS; d-- > (is_sum ? 1u : 0u);) {
    if (insn->num[d] == 1) continue;
    is_open = is_open && d >= last && continues_run(src, d, shape.elements) &&
              (is_transposed || continues_run(dst, d, shape.elements));
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
    pieces[i] = (ibx_dma_piece){.percent = shape->percent,
                                .descriptors = runs * per_run * shape->sources,
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
    uint64_t descriptors = (bytes + limit - 1) / limit;
    if (descriptors < shape->sources) descriptors = shape->sources;
    pieces[i] = (ibx_dma_piece){.percent = shape->percent,
                                .descriptors = descriptors,
                                .bytes = bytes,
                                .first = first,
                                .elements = elements};
    first += elements;
  }
}

size_t ibx_dma_split(const ibx_machine *machine, const ibx_insn *insn,
                     const ibx_buffer_place *buffers, ibx_dma_piece *pieces) {
  run_shape shape = find_runs(machine, insn, buffers);
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
  uint64_t bytes_ps =
      piece->bytes / rate * ps_per_us + (rest + rate - 1) / rate;
  if (piece->percent != 0) bytes_ps = bytes_ps * 100 / piece->percent;
  return piece->descriptors * machine->dma_descriptor_ps + bytes_ps;
}
