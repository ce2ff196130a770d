// SPDX-License-Identifier: Apache-2.0
//
// What slows a model. Comes in: the steps of an entry, or the instructions of a
// function with their nodes. Goes out: one diagnostic for each node and reason,
// with figures from the machine's tables and what the owner of the model can do.
// Nothing is guessed from operators: a node calls the library when an
// instruction of it does.

#include "compiler/slow.h"

#include "imbrex/host.h"
#include "support/map.h"

#include <stdio.h>
#include <stdlib.h>

static ibx_diag_at at_node(const ibx_tables *tables, uint32_t source) {
  if (source >= tables->source_count) {
    return (ibx_diag_at){.node = "output", .op = "output"};
  }
  const ibx_node_decl *node = &tables->sources[source];
  return (ibx_diag_at){.node = node->name, .op = node->op};
}

// ---- The host

static bool makes_open(const ibx_steps *steps, const ibx_step *step) {
  for (size_t i = 0; i < step->result_count; i++) {
    const ibx_step_value *value = &steps->values[step->results[i]];
    for (uint8_t d = 0; d < value->rank; d++) {
      if (value->shape[d] == IBX_ANY_EXTENT) return true;
    }
  }
  return false;
}

void ibx_slow_steps(ibx_diag_sink *sink, const ibx_tables *tables,
                    const ibx_steps *steps) {
  for (size_t i = 0; i < steps->step_count; i++) {
    const ibx_step *step = &steps->steps[i];
    if (!step->call) continue;
    const ibx_host_call_info *call = ibx_host_call_find(step->call);
    ibx_diag_at at = at_node(tables, step->node);
    if (call->flow == IBX_HOST_FLOW_loop) {
      ibx_diag_slow(sink, IBX_DIAG_RUNS_ON_HOST, at, call->instead,
                    "the host repeats it, as only the run tells how often; the "
                    "simulated time has one trip");
    }
    if (call->flow != IBX_HOST_FLOW_none) continue;
    ibx_diag_slow(sink, IBX_DIAG_RUNS_ON_HOST, at, call->instead,
                  "runs on the host (%s), outside of the device and of the "
                  "simulated time%s",
                  step->call,
                  makes_open(steps, step)
                      ? "; an extent of its result has no bound"
                      : "");
  }
}

// ---- The instructions of a node, in all trips of a loop, summed up

typedef struct tally {
  uint64_t call_ps, worst_ps; // in the library; of one kernel call
  size_t calls, gathers;
  uint64_t rows, row_bytes, table_bytes; // of the gathers
  uint64_t loaded, again;                // bytes of constants
  uint8_t kernel;                        // that takes longest
} tally;

// For each source the first one of the same node; trips of a loop are one.
static uint32_t *first_sources(const ibx_tables *tables, ibx_arena *scratch) {
  size_t count = tables->source_count;
  uint32_t *first = IBX_ARENA_ARRAY(scratch, count + 1, uint32_t);
  ibx_map names = {.arena = scratch};
  for (uint32_t s = 0; s < count; s++) {
    const char *name = ibx_diag_node_key(scratch, tables->sources[s].name);
    first[s] = s;
    if (!ibx_map_find(&names, name, &first[s])) ibx_map_put(&names, name, s);
  }
  first[count] = (uint32_t)count;
  return first;
}

static void add_call(tally *sum, const ibx_machine *machine,
                     const ibx_tile_func *func, const ibx_insn *insn) {
  uint64_t ps = ibx_library_call_ps(machine, func->buffers, insn);
  if (sum->calls++ == 0 || ps > sum->worst_ps) {
    sum->worst_ps = ps;
    sum->kernel = insn->op[0];
  }
  sum->call_ps += ps;
}

static void add_gather(tally *sum, const ibx_tile_func *func,
                       const ibx_insn *insn) {
  const ibx_buffer_decl *table = &func->buffers[insn->operand[1].buffer];
  if (table->place.space != IBX_SPACE_HBM) return;
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[1].dtype) *
                   (uint64_t)insn->num[2] * insn->num[3] *
                   insn->num[IBX_DIMS - 1];
  sum->gathers++;
  sum->rows += insn->num[0];
  sum->row_bytes = bytes;
  sum->table_bytes = table->place.bytes;
}

// ---- Constants that are loaded again

typedef struct load {
  uint64_t offset, bytes; // in the weight section
  uint32_t source;
} load;

static int compare_loads(const void *left, const void *right) {
  const load *a = left, *b = right;
  if (a->source != b->source) return a->source < b->source ? -1 : 1;
  if (a->offset != b->offset) return a->offset < b->offset ? -1 : 1;
  return 0;
}

static uint64_t bytes_of(const ibx_insn *insn) {
  uint64_t bytes = ibx_dtype_bytes((ibx_dtype)insn->operand[1].dtype);
  for (size_t d = 0; d < IBX_DIMS; d++)
    bytes *= insn->num[d];
  return bytes;
}

static void add_loads(tally *sums, const uint32_t *first, size_t source_count,
                      const ibx_tile_func *func, ibx_arena *scratch) {
  load *loads = IBX_ARENA_ARRAY(scratch, func->op_count, load);
  size_t count = 0;
  for (size_t i = 0; i < func->op_count; i++) {
    if (!ibx_tile_loads_constant(func, i)) continue;
    const ibx_tile_op op = ibx_tile_at(func, i);
    if (op.source >= source_count) continue;
    const ibx_operand *from = &op.insn.operand[1];
    const ibx_buffer_place *place = &func->buffers[from->buffer].place;
    loads[count++] = (load){.offset = place->offset + from->offset,
                            .bytes = bytes_of(&op.insn),
                            .source = first[op.source]};
  }
  qsort(loads, count, sizeof *loads, compare_loads);
  for (size_t i = 0; i < count; i++) {
    tally *sum = &sums[loads[i].source];
    sum->loaded += loads[i].bytes;
    if (i > 0 && compare_loads(&loads[i - 1], &loads[i]) == 0)
      sum->again += loads[i].bytes;
  }
}

// ---- Words

static void tell_calls(ibx_diag_sink *sink, const ibx_tables *tables,
                       uint32_t source, const tally *sum) {
  ibx_diag_at at = at_node(tables, source);
  // Why it is there was said better already.
  if (ibx_diag_has(sink, IBX_DIAG_DOUBLE_ON_GPSIMD, at.node) ||
      ibx_diag_has(sink, IBX_DIAG_DOUBLE_AS_SINGLE, at.node)) {
    return;
  }
  ibx_diag_slow(sink, IBX_DIAG_LIBRARY_CALL, at, ibx_call_instead(sum->kernel),
                "calls GpSimd's library %zu time%s (%s), which keeps it busy "
                "for %.1f us",
                sum->calls, sum->calls == 1 ? "" : "s",
                ibx_call_name(sum->kernel), (double)sum->call_ps / 1e6);
}

static void tell_gathers(ibx_diag_sink *sink, const ibx_tables *tables,
                         const ibx_machine *machine, uint32_t source,
                         const tally *sum) {
  // MB/s are bytes a microsecond.
  uint64_t even = (uint64_t)machine->dma_mb_per_s * machine->dma_descriptor_ps /
                  UINT64_C(1000000);
  char remedy[160];
  snprintf(remedy, sizeof remedy,
           "gather fewer rows, or wider ones: below %llu bytes a row's "
           "descriptor takes longer than its bytes",
           (unsigned long long)even);
  ibx_diag_slow(
      sink, IBX_DIAG_GATHERS_FROM_HBM, at_node(tables, source), remedy,
      "gathers %llu row%s of %llu bytes from a table of %llu bytes "
      "in HBM, by %zu DMA%s",
      (unsigned long long)sum->rows, sum->rows == 1 ? "" : "s",
      (unsigned long long)sum->row_bytes, (unsigned long long)sum->table_bytes,
      sum->gathers, sum->gathers == 1 ? "" : "s");
}

// Loads that take less of the bound's time, or less than a DMA takes to start,
// are not worth a word.
enum { LEAST_PERCENT = 1 };

static bool matters(const ibx_machine *machine, uint64_t bytes,
                    uint64_t bound_ps) {
  uint64_t per_us = (uint64_t)machine->dma_mb_per_s * machine->dma_engines;
  double ps = (double)bytes * 1e6 / (double)per_us;
  return ps >= machine->dma_startup_ps &&
         ps * 100 >= (double)bound_ps * LEAST_PERCENT;
}

static void tell_loads(ibx_diag_sink *sink, const ibx_tables *tables,
                       uint32_t source, const tally *sum) {
  ibx_diag_slow(sink, IBX_DIAG_WEIGHTS_AGAIN, at_node(tables, source),
                "use a smaller batch, image or --auto-cast matmul, so that "
                "more of SBUF is left for constants",
                "loads %llu bytes of constants from HBM, %llu of them again, "
                "as SBUF does not keep them between their uses",
                (unsigned long long)sum->loaded,
                (unsigned long long)sum->again);
}

void ibx_slow_tiles(ibx_diag_sink *sink, const ibx_tables *tables,
                    const ibx_machine *machine, const ibx_tile_func *func,
                    uint64_t bound_ps, ibx_arena *scratch) {
  size_t count = tables->source_count;
  const uint32_t *first = first_sources(tables, scratch);
  tally *sums = IBX_ARENA_ARRAY(scratch, count + 1, tally);
  for (size_t i = 0; i < func->op_count; i++) {
    uint8_t opcode = func->briefs[i].opcode;
    bool is_call = ibx_insn_is_call(opcode);
    if (!is_call && opcode != IBX_OP_dma_gather) continue;
    const ibx_tile_op op = ibx_tile_at(func, i);
    tally *sum = &sums[first[op.source < count ? op.source : count]];
    if (is_call)
      add_call(sum, machine, func, &op.insn);
    else
      add_gather(sum, func, &op.insn);
  }
  add_loads(sums, first, count, func, scratch);
  for (uint32_t s = 0; s <= count; s++) {
    if (sums[s].calls != 0) tell_calls(sink, tables, s, &sums[s]);
    if (sums[s].gathers != 0) tell_gathers(sink, tables, machine, s, &sums[s]);
    if (matters(machine, sums[s].again, bound_ps))
      tell_loads(sink, tables, s, &sums[s]);
  }
}
