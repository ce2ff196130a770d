// SPDX-License-Identifier: Apache-2.0
//
// The verifier. Comes in: the decoded streams of one entry and the declared
// extents of its buffers; neither compiler nor assembler is believed. Goes out:
// OK, or the first finding. What holds after OK: in every order that the
// semaphores allow, the entry ends, leaves the semaphores at 0, and computes
// the same bytes.
//
// Of an entry of several cores that holds for all of them together: what a core
// does depends on the others in nothing but what meetings bring (prove_meet.c).
//
// The streams are run in one such order, loops expanded, without data. Clocks
// (prove_order.c) say which accesses are ordered in all of them; a shadow of
// memory (prove_shadow.c) finds the accesses that are not.

#include "core/program_internal.h"
#include "core/prove_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// What a row of the array was loaded with.
typedef struct array_row {
  uint8_t opcode, mode, dtype;
  uint8_t columns; ///< 0: nothing
} array_row;

typedef struct prover {
  const ibx_program_data *program;
  const ibx_entry *entry;
  const ibx_buffer_place *places;
  ibx_pool pool;
  ibx_flow flows[IBX_ENGINE_COUNT];
  ibx_order order;
  ibx_shadow shadow;
  array_row array[IBX_PARTITIONS];
  uint64_t accumulators[IBX_ENGINE_COUNT][2]; ///< masks of those that are set
  ibx_meet meet;
  ibx_proof proof;
  uint64_t most_instructions, most_work;
  ibx_error *err;
} prover;

static ibx_status no_memory(const prover *p) {
  return IBX_FAIL(p->err, OUT_OF_MEMORY, "no memory for the prover");
}

// --- messages ----------------------------------------------------------------

enum { WHERE_BYTES = 96 };

// "vector 12 tensor_copy (node /conv1/Conv)".
static void describe(const prover *p, ibx_engine engine, size_t insn,
                     char where[WHERE_BYTES]) {
  const ibx_stream *stream = &p->entry->streams[engine];
  const ibx_insn_info *info = ibx_insn_get(stream->insns[insn].opcode);
  uint32_t node = stream->nodes ? stream->nodes[insn] : IBX_NO_NODE;
  bool has_node = node < p->program->node_count;
  snprintf(where, WHERE_BYTES, "%s %zu %s%s%.32s%s", ibx_engine_name(engine),
           insn, info ? info->name : "?", has_node ? " (node " : "",
           has_node ? p->program->nodes[node].name : "", has_node ? ")" : "");
}

// Puts the place in front of a finding that does not know it.
static ibx_status locate(const prover *p, ibx_engine engine, size_t insn,
                         ibx_status status, const ibx_error *why) {
  char where[WHERE_BYTES];
  describe(p, engine, insn, where);
  return ibx_error_set(p->err, status, why->file, why->line, "%s %s", where,
                       why->message);
}

static ibx_status report(const prover *p, const ibx_access *access,
                         ibx_finding finding, const ibx_conflict *conflict) {
  char where[WHERE_BYTES];
  char other[WHERE_BYTES] = "";
  const char *name = p->entry->buffers[access->buffer].name;
  describe(p, (ibx_engine)access->engine, access->insn, where);
  switch (finding) {
  case IBX_FINDING_RACE:
    describe(p, (ibx_engine)conflict->engine, conflict->insn, other);
    return IBX_FAIL(p->err, UNPROVEN,
                    "%s %s %.24s, unordered with %s, which %s %.24s", where,
                    access->is_write ? "writes" : "reads", name, other,
                    conflict->is_write ? "writes" : "reads",
                    p->entry->buffers[conflict->buffer].name);
  case IBX_FINDING_UNWRITTEN:
    return IBX_FAIL(p->err, UNPROVEN,
                    "%s reads bytes of %.40s that were not written, or were "
                    "overwritten through another buffer",
                    where, name);
  case IBX_FINDING_READ_ONLY:
    return IBX_FAIL(p->err, UNPROVEN, "%s writes %.40s, which is read-only",
                    where, name);
  case IBX_FINDING_OPEN_GROUP:
    return IBX_FAIL(p->err, UNPROVEN,
                    "%s reads %.40s while its accumulation group is open",
                    where, name);
  case IBX_FINDING_NO_MATMUL:
    return IBX_FAIL(p->err, UNPROVEN,
                    "%s accumulates on bytes of %.40s that no matmul has "
                    "written",
                    where, name);
  case IBX_FINDING_TOO_LONG:
    return IBX_FAIL(p->err, UNPROVEN, "%s: the program is too long to prove",
                    where);
  default: return no_memory(p);
  }
}

// --- before the run ----------------------------------------------------------

static bool has_buffer(const ibx_insn *insn, const ibx_insn_info *info,
                       size_t slot) {
  return info->slot[slot] != IBX_SLOT_NONE &&
         insn->operand[slot].buffer != IBX_NO_BUFFER;
}

static void count_operands(prover *p, const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!has_buffer(insn, info, slot)) continue;
    ibx_shadow_buffer *buffer = &p->shadow.buffers[insn->operand[slot].buffer];
    buffer->remaining++;
    buffer->is_used = true;
  }
}

// Loops, and how often each buffer is used.
static ibx_status survey_stream(prover *p, ibx_engine engine) {
  const ibx_stream *stream = &p->entry->streams[engine];
  ibx_flow *flow = &p->flows[engine];
  ibx_error why = {.status = IBX_OK};
  flow->partner = IBX_POOL_ARRAY(&p->pool, stream->count, uint32_t);
  if (!flow->partner) return no_memory(p);
  if (ibx_flow_init(flow, stream, &why) != IBX_OK) {
    return IBX_FAIL(p->err, UNPROVEN, "%s %s", ibx_engine_name(engine),
                    why.message);
  }
  while (!ibx_flow_is_done(flow)) {
    size_t at = flow->pc;
    count_operands(p, &stream->insns[at]);
    if (++p->proof.instructions > p->most_instructions) {
      return IBX_FAIL(p->err, UNPROVEN,
                      "more than %" PRIu64 " instructions, loops expanded: too "
                      "long to prove",
                      p->most_instructions);
    }
    if (ibx_flow_step(flow, &why) != IBX_OK) {
      return locate(p, engine, at, why.status, &why);
    }
  }
  ibx_flow_rewind(flow);
  return IBX_OK;
}

// --- accesses ----------------------------------------------------------------

static ibx_status report_reach(const prover *p, const ibx_access *access,
                               const char *what, int64_t first, int64_t last,
                               uint64_t limit) {
  char where[WHERE_BYTES];
  describe(p, (ibx_engine)access->engine, access->insn, where);
  return IBX_FAIL(
      p->err, UNPROVEN,
      "%s: %s %" PRId64 " to %" PRId64 " leave the %" PRIu64 " of %.40s", where,
      what, first, last, limit, p->entry->buffers[access->buffer].name);
}

static ibx_status check_reach(const prover *p, const ibx_access *access,
                              const ibx_pattern *pattern) {
  const ibx_buffer_place *place = &p->places[access->buffer];
  ibx_reach reach;
  if (!ibx_pattern_reach(pattern, &reach)) {
    return report_reach(p, access, "bytes", pattern->offset, INT64_MAX,
                        place->bytes);
  }
  if (reach.first < 0 || (uint64_t)reach.last >= place->bytes) {
    return report_reach(p, access, "bytes", reach.first, reach.last,
                        place->bytes);
  }
  if (reach.first_partition < 0 || reach.last_partition >= place->partitions) {
    return report_reach(p, access, "partitions", reach.first_partition,
                        reach.last_partition, place->partitions);
  }
  return IBX_OK;
}

static ibx_status do_access(prover *p, const ibx_access *access,
                            const ibx_pattern *pattern) {
  const ibx_buffer_place *place = &p->places[access->buffer];
  ibx_region_state state = {0};
  ibx_region region;
  while (ibx_pattern_next(pattern, place, &state, &region)) {
    ibx_conflict conflict = {0};
    ibx_finding finding =
        ibx_shadow_access(&p->shadow, access, &region, &conflict);
    if (finding != IBX_FINDING_NONE) {
      return report(p, access, finding, &conflict);
    }
  }
  p->proof.accesses++;
  return IBX_OK;
}

// A DMA's pieces are unordered: none may write what another one writes.
static ibx_status check_pieces(const prover *p, const ibx_access *access,
                               const ibx_pattern *pattern) {
  if (!access->is_write || access->agent != IBX_AGENT_DMA ||
      ibx_pattern_is_injective(pattern)) {
    return IBX_OK;
  }
  char where[WHERE_BYTES];
  describe(p, (ibx_engine)access->engine, access->insn, where);
  return IBX_FAIL(p->err, UNPROVEN, "%s writes bytes of %.40s more than once",
                  where, p->entry->buffers[access->buffer].name);
}

static ibx_status touch(prover *p, ibx_access access, const ibx_insn *insn,
                        size_t slot, bool is_write) {
  ibx_pattern pattern = ibx_flow_pattern(&p->flows[access.engine], insn, slot);
  access.buffer = insn->operand[slot].buffer;
  access.is_write = is_write;
  ibx_slot_kind kind = ibx_insn_get(insn->opcode)->slot[slot];
  access.is_combined =
      !is_write && (kind == IBX_SLOT_WRITE || (kind == IBX_SLOT_READ_WRITE &&
                                               access.agent == IBX_AGENT_DMA));
  if (ibx_insn_get(insn->opcode)->kind == IBX_KIND_PRODUCT) {
    access.is_matmul = true;
    access.is_accumulating = (insn->flags & IBX_FLAG_ACCUMULATE) != 0;
    access.is_group_end = (insn->flags & IBX_FLAG_GROUP_END) != 0;
  }
  IBX_TRY(check_reach(p, &access, &pattern));
  IBX_TRY(check_pieces(p, &access, &pattern));
  return do_access(p, &access, &pattern);
}

static ibx_status refuse_row(const prover *p, const ibx_access *access,
                             size_t row, const char *what) {
  char where[WHERE_BYTES];
  describe(p, (ibx_engine)access->engine, access->insn, where);
  return IBX_FAIL(p->err, UNPROVEN, "%s uses row %zu of the array, %s", where,
                  row, what);
}

static bool is_wide_float(uint8_t dtype) {
  return dtype == IBX_DTYPE_F32 || dtype == IBX_DTYPE_TF32;
}

// Whether the array can multiply what a row holds with what is streamed
// (ISA nc_matmul, nc_matmul_mx); NULL, or why not.
static const char *find_mismatch(const array_row *row, const ibx_insn *insn) {
  uint8_t dtype = insn->operand[1].dtype;
  bool is_mx = insn->opcode == IBX_OP_multiply_moving_mx;
  bool is_double = !is_mx && insn->mode == IBX_MODE_multiply_moving_DOUBLE_ROW;
  if (is_mx != (row->opcode == IBX_OP_load_stationary_mx) ||
      is_double != (row->mode == IBX_MODE_load_stationary_DOUBLE_ROW)) {
    return "which was loaded for another kind of product";
  }
  if (is_wide_float(dtype) != is_wide_float(row->dtype)) {
    return "f32 and tf32 multiply only f32 and tf32";
  }
  bool is_mixed =
      (dtype == IBX_DTYPE_F8E4M3FN) != (row->dtype == IBX_DTYPE_F8E4M3FN);
  bool is_legacy = dtype == IBX_DTYPE_F8E4M3 || row->dtype == IBX_DTYPE_F8E4M3;
  return is_mixed && is_legacy ? "f8e4m3 and f8e4m3fn never meet" : NULL;
}

// The array of the tensor engine is memory, too: what is multiplied must have
// been loaded, and fit.
static ibx_status check_array(prover *p, const ibx_access *access,
                              const ibx_insn *insn) {
  ibx_insn_kind kind = ibx_insn_get(insn->opcode)->kind;
  if (kind != IBX_KIND_STATIONARY && kind != IBX_KIND_PRODUCT) return IBX_OK;
  const ibx_operand *src = &insn->operand[1];
  size_t first = (size_t)p->places[src->buffer].partition + src->partition;
  for (size_t i = 0; i < insn->partitions; i++) {
    array_row *row = &p->array[first + i];
    if (kind == IBX_KIND_STATIONARY) {
      *row = (array_row){.opcode = insn->opcode,
                         .mode = insn->mode,
                         .dtype = src->dtype,
                         .columns = insn->columns};
      continue;
    }
    if (row->columns < insn->columns) {
      char what[64];
      snprintf(what, sizeof what, "%u columns of it, %u were loaded",
               insn->columns, row->columns);
      return refuse_row(p, access, first + i, what);
    }
    const char *mismatch = find_mismatch(row, insn);
    if (mismatch) return refuse_row(p, access, first + i, mismatch);
  }
  return IBX_OK;
}

// The partitions of dst, whose accumulators the instruction uses.
static void accumulator_mask(const prover *p, const ibx_insn *insn,
                             uint64_t mask[2]) {
  const ibx_operand *dst = &insn->operand[0];
  ibx_buffer_place place = p->places[dst->buffer];
  place.partition = (uint8_t)(place.partition + dst->partition);
  place.partitions = insn->partitions;
  ibx_region lanes = ibx_region_of_place(&place);
  mask[0] = lanes.mask[0];
  mask[1] = lanes.mask[1];
}

static bool needs_accumulators(const ibx_insn *insn) {
  return insn->opcode == IBX_OP_read_accumulator ||
         insn->reduce == IBX_REDUCE_REDUCE;
}

// The accumulators of an engine are memory, too: what is read from them must
// have been set by this program.
static ibx_status check_accumulators(prover *p, const ibx_access *access,
                                     const ibx_insn *insn) {
  bool is_user = (ibx_insn_state(insn) & IBX_STATE_ACCUMULATORS) != 0;
  // Nothing of the compiler's reads what this one leaves there, so it is no user
  // of the state that steps would have to be ordered by.
  is_user |= insn->opcode == IBX_OP_activation_reduce;
  if (!is_user && ibx_insn_reduces(insn->opcode) == 0) return IBX_OK;
  uint64_t lanes[2], *set = p->accumulators[access->engine];
  accumulator_mask(p, insn, lanes);
  bool is_set = (lanes[0] & ~set[0]) == 0 && (lanes[1] & ~set[1]) == 0;
  if (needs_accumulators(insn)) {
    if (is_set) return IBX_OK;
    char where[WHERE_BYTES];
    describe(p, (ibx_engine)access->engine, access->insn, where);
    return IBX_FAIL(p->err, UNPROVEN,
                    "%s uses accumulators of %s that nothing has set; start "
                    "with reset_reduce",
                    where, ibx_engine_name((ibx_engine)access->engine));
  }
  // ISA: with IDLE Scalar's stay as they are, Vector's may change.
  if (!is_user && access->engine != IBX_ENGINE_VECTOR) return IBX_OK;
  for (size_t i = 0; i < 2; i++) {
    set[i] = is_user ? set[i] | lanes[i] : set[i] & ~lanes[i];
  }
  return IBX_OK;
}

// Reads, then writes.
static ibx_status do_accesses(prover *p, const ibx_access *access,
                              const ibx_insn *insn) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!has_buffer(insn, info, slot)) continue;
    // Where a register picks the place, the others keep what they hold.
    if (!ibx_slot_reads(info->slot[slot]) && !ibx_insn_is_indexed(insn, slot)) {
      continue;
    }
    IBX_TRY(touch(p, *access, insn, slot, false));
  }
  IBX_TRY(check_array(p, access, insn));
  IBX_TRY(check_accumulators(p, access, insn));
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!has_buffer(insn, info, slot) || !ibx_slot_writes(info->slot[slot]))
      continue;
    IBX_TRY(touch(p, *access, insn, slot, true));
  }
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    if (!has_buffer(insn, info, slot)) continue;
    p->shadow.buffers[insn->operand[slot].buffer].remaining--;
  }
  return IBX_OK;
}

// --- execution ---------------------------------------------------------------

static ibx_status raise_signal(prover *p, const ibx_access *access,
                               const ibx_insn *insn) {
  if (insn->signal_value == 0) return IBX_OK;
  ibx_signal signal = {.clock = *access->clock,
                       .value = insn->signal_value,
                       .dma = access->time,
                       .agent = access->agent};
  ibx_error why = {.status = IBX_OK};
  ibx_status status =
      ibx_order_signal(&p->order, insn->signal_semaphore, signal, &why);
  if (status != IBX_OK) {
    return locate(p, (ibx_engine)access->engine, access->insn, status, &why);
  }
  if (access->agent == IBX_AGENT_DMA) p->order.dmas[access->time].refs++;
  return IBX_OK;
}

// An agent of its own that starts when everything before it in its engine's
// stream has completed, DMAs excepted.
static ibx_status issue_dma(prover *p, ibx_access access,
                            const ibx_insn *insn) {
  uint32_t dma;
  if (!ibx_order_add_dma(&p->order, (ibx_engine)access.engine, &dma)) {
    return no_memory(p);
  }
  ibx_clock clock = p->order.dmas[dma].clock;
  access.agent = IBX_AGENT_DMA;
  access.time = dma;
  access.clock = &clock;
  ibx_status status = do_accesses(p, &access, insn);
  if (status == IBX_OK) status = raise_signal(p, &access, insn);
  ibx_order_drop_dma(&p->order, dma);
  return status;
}

static void on_dma_done(void *user, uint32_t dma) {
  prover *p = user;
  ibx_shadow_dma_done(&p->shadow, dma);
}

static ibx_status do_insn(prover *p, ibx_engine engine) {
  ibx_flow *flow = &p->flows[engine];
  const ibx_insn *insn = &flow->stream->insns[flow->pc];
  ibx_clock *clock = &p->order.clocks[engine];
  ibx_error why = {.status = IBX_OK};
  clock->at[engine] = flow->time + 1;
  if (insn->wait_value > 0) {
    ibx_status status = ibx_order_wait(&p->order, engine, insn->wait_semaphore,
                                       insn->wait_value, on_dma_done, p, &why);
    if (status != IBX_OK) return locate(p, engine, flow->pc, status, &why);
  }
  ibx_access access = {.agent = (uint8_t)engine,
                       .engine = (uint8_t)engine,
                       .time = clock->at[engine],
                       .insn = (uint32_t)flow->pc,
                       .clock = clock};
  if (ibx_insn_collective(insn->opcode) != IBX_COLLECTIVE_NONE &&
      ibx_meet_join(&p->meet, engine, access.insn, clock, &why) != IBX_OK) {
    return locate(p, engine, flow->pc, why.status, &why);
  }
  if (ibx_insn_get(insn->opcode)->format == IBX_FORMAT_dma) {
    IBX_TRY(issue_dma(p, access, insn));
  } else {
    IBX_TRY(do_accesses(p, &access, insn));
    IBX_TRY(raise_signal(p, &access, insn));
  }
  return ibx_flow_step(flow, p->err);
}

static bool is_ready(const prover *p, ibx_engine engine) {
  const ibx_flow *flow = &p->flows[engine];
  if (ibx_flow_is_done(flow)) return false;
  const ibx_insn *insn = &flow->stream->insns[flow->pc];
  return insn->wait_value == 0 ||
         ibx_order_is_ready(&p->order, insn->wait_semaphore, insn->wait_value);
}

// What every engine that goes on knows. What a finished one knows is nobody's
// business.
static void update_known(prover *p) {
  ibx_clock known;
  memset(&known, 0xff, sizeof known);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    if (ibx_flow_is_done(&p->flows[e])) continue;
    for (size_t i = 0; i < IBX_ENGINE_COUNT; i++) {
      uint32_t at = p->order.clocks[e].at[i];
      if (at < known.at[i]) known.at[i] = at;
    }
  }
  p->shadow.known = known;
}

enum { SLICE = 64 };

static ibx_status run_streams(prover *p) {
  for (bool is_moving = true; is_moving;) {
    is_moving = false;
    for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
      for (unsigned i = 0; i < SLICE && is_ready(p, (ibx_engine)e); i++) {
        IBX_TRY(do_insn(p, (ibx_engine)e));
        is_moving = true;
      }
      update_known(p);
    }
  }
  return IBX_OK;
}

static ibx_status check_deadlock(const prover *p) {
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_flow *flow = &p->flows[e];
    if (ibx_flow_is_done(flow)) continue;
    const ibx_insn *insn = &flow->stream->insns[flow->pc];
    char where[WHERE_BYTES];
    describe(p, (ibx_engine)e, flow->pc, where);
    return IBX_FAIL(p->err, UNPROVEN,
                    "deadlock: %s waits for %u of semaphore %u, which stays at "
                    "%" PRIu64,
                    where, insn->wait_value, insn->wait_semaphore,
                    p->order.semaphores[insn->wait_semaphore].pending);
  }
  return IBX_OK;
}

static ibx_status check_outputs(const prover *p) {
  for (size_t i = 0; i < p->entry->buffer_count; i++) {
    if (p->entry->buffers[i].kind != IBX_BUFFER_OUTPUT) continue;
    if (ibx_shadow_is_complete(&p->shadow.buffers[i])) continue;
    return IBX_FAIL(p->err, UNPROVEN, "output %.40s is not written completely",
                    p->entry->buffers[i].name);
  }
  return IBX_OK;
}

static void measure(prover *p) {
  bool banks[IBX_PSUM_BANKS] = {false};
  for (size_t i = 0; i < p->entry->buffer_count; i++) {
    const ibx_buffer_place *place = &p->places[i];
    uint64_t end = place->offset + place->bytes;
    if (!p->shadow.buffers[i].is_used) continue;
    if (place->space == IBX_SPACE_SBUF && end > p->proof.sbuf_peak_bytes) {
      p->proof.sbuf_peak_bytes = end;
    }
    if (place->space != IBX_SPACE_PSUM) continue;
    uint64_t bank_bytes = p->program->machine->psum_bank_bytes;
    for (uint64_t b = place->offset / bank_bytes;
         b < IBX_PSUM_BANKS && b * bank_bytes < end; b++) {
      banks[b] = true;
    }
  }
  for (size_t b = 0; b < IBX_PSUM_BANKS; b++) {
    p->proof.psum_peak_banks += banks[b];
  }
  for (size_t s = 0; s < IBX_SEMAPHORES; s++) {
    p->proof.semaphores_used += p->order.semaphores[s].is_used;
  }
}

static ibx_status prove(prover *p) {
  IBX_TRY(ibx_entry_check(p->program, p->entry, p->err));
  p->places = ibx_entry_places(p->entry, &p->pool);
  if (!p->places) return no_memory(p);
  IBX_TRY(ibx_shadow_init(&p->shadow, p->entry, &p->order, &p->pool, p->err));
  p->shadow.most_work = p->most_work;
  IBX_TRY(ibx_prove_caller_buffers(p->entry, &p->pool, p->err));
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    IBX_TRY(survey_stream(p, (ibx_engine)e));
  }
  IBX_TRY(run_streams(p));
  IBX_TRY(check_deadlock(p));
  IBX_TRY(ibx_order_finish(&p->order, p->err));
  IBX_TRY(check_outputs(p));
  measure(p);
  return IBX_OK;
}

static uint64_t at_most(uint64_t wanted, uint64_t limit) {
  return wanted != 0 && wanted < limit ? wanted : limit;
}

// One of the cores. `meet` tells which meetings the others have come to.
static ibx_status prove_core(const ibx_program_data *program,
                             const ibx_entry *entry, uint32_t rank,
                             const ibx_prove_limits *limits, ibx_meet *meet,
                             ibx_proof *proof, ibx_error *err) {
  prover *p = calloc(1, sizeof *p);
  if (!p) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the prover");
  p->program = program;
  p->entry = entry;
  p->err = err;
  p->meet = *meet;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    p->flows[e].rank = rank;
    p->flows[e].cores = ibx_entry_cores(entry);
  }
  p->most_instructions = at_most(limits->instructions, IBX_PROVE_MAX_STEPS);
  p->most_work = at_most(limits->work, IBX_PROVE_MAX_WORK);
  ibx_order_init(&p->order);
  ibx_status status = prove(p);
  if (status == IBX_OK) *meet = p->meet;
  if (status == IBX_OK && proof) *proof = p->proof;
  ibx_shadow_fini(&p->shadow);
  ibx_order_fini(&p->order);
  ibx_pool_fini(&p->pool);
  free(p);
  return status;
}

static void add_proof(ibx_proof *sum, const ibx_proof *part) {
  sum->instructions += part->instructions;
  sum->accesses += part->accesses;
  if (part->semaphores_used > sum->semaphores_used) {
    sum->semaphores_used = part->semaphores_used;
  }
  if (part->psum_peak_banks > sum->psum_peak_banks) {
    sum->psum_peak_banks = part->psum_peak_banks;
  }
  if (part->sbuf_peak_bytes > sum->sbuf_peak_bytes) {
    sum->sbuf_peak_bytes = part->sbuf_peak_bytes;
  }
}

// Steps follow each other, and each device step is proved as it stands.
static ibx_status prove_steps(const ibx_program_data *program,
                              const ibx_entry *entry,
                              const ibx_prove_limits *limits, ibx_proof *proof,
                              ibx_error *err) {
  ibx_proof sum = {0};
  IBX_TRY(ibx_steps_check(program, entry, err));
  for (size_t i = 0; i < entry->steps->step_count; i++) {
    const ibx_step *step = &entry->steps->steps[i];
    ibx_proof part = {0};
    if (step->call) continue;
    IBX_TRY(ibx_prove_entry_within(program, &program->entries[step->segment],
                                   limits, &part, err));
    add_proof(&sum, &part);
  }
  if (proof) *proof = sum;
  return IBX_OK;
}

ibx_status ibx_prove_entry_within(const ibx_program_data *program,
                                  const ibx_entry *entry,
                                  const ibx_prove_limits *limits,
                                  ibx_proof *proof, ibx_error *err) {
  if (entry->steps) return prove_steps(program, entry, limits, proof, err);
  const ibx_prove_limits wanted = limits ? *limits : (ibx_prove_limits){0};
  ibx_meet meet = {.depends_on_rank = ibx_meet_depends_on_rank(entry)};
  // Cores that do not ask for their rank are all alike.
  uint32_t cores = meet.depends_on_rank ? ibx_entry_cores(entry) : 1;
  if (cores > program->machine->chip_cores) cores = 1; // refused by then
  for (uint32_t rank = 0; rank < cores; rank++) {
    IBX_TRY(prove_core(program, entry, rank, &wanted, &meet, proof, err));
    IBX_TRY(ibx_meet_end(&meet, rank, err));
  }
  return IBX_OK;
}

ibx_status ibx_prove_entry(const ibx_program_data *program,
                           const ibx_entry *entry, ibx_proof *proof,
                           ibx_error *err) {
  return ibx_prove_entry_within(program, entry, NULL, proof, err);
}
