// SPDX-License-Identifier: Apache-2.0
//
// Seeded mutations of one entry. The entry is copied once; a mutation changes
// one instruction or one buffer of the copy and is undone afterwards.

#include "support/mutate.h"

#include "core/prove_internal.h"
#include "imbrex/prove.h"
#include "imbrex/sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 200 };

/// When a buffer holds data, in one order of execution.
typedef struct life {
  uint64_t first_write, last_read; ///< step + 1; 0 is never
} life;

/// What is changed, and what stood there.
typedef struct mutation {
  ibx_insn *insn; ///< NULL where a buffer was moved
  ibx_insn old_insn;
  ibx_insn *other; ///< the other end of an edge
  ibx_insn old_other;
  ibx_buffer_decl *buffer;
  ibx_buffer_decl old_buffer;
  ibx_engine engine;
  size_t index;
} mutation;

typedef struct mutator {
  const ibx_program_data *program;
  const ibx_entry *original;
  ibx_entry entry; ///< the copy
  ibx_pool pool;
  uint64_t random;
  life *lives;
  uint8_t **before; ///< of each buffer that the caller sees: bytes at the start
  uint8_t **wanted; ///< bytes at the end
  uint8_t **memory;
  bool has_run;
  ibx_error *err;
} mutator;

static ibx_status no_memory(const mutator *m) {
  return IBX_FAIL(m->err, OUT_OF_MEMORY, "no memory for mutations");
}

static uint64_t pick(mutator *m, uint64_t below) {
  m->random = m->random * UINT64_C(6364136223846793005) + 1442695040888963407;
  return (m->random >> 33) % below;
}

const char *mutate_kind_name(mutate_kind kind) {
  static const char *const names[MUTATE_KIND_COUNT] = {
      "wait", "signal", "access", "overlap", "edge"};
  return names[kind];
}

// --- preparation -------------------------------------------------------------

static void *copy_of(mutator *m, const void *items, size_t count, size_t size) {
  void *copy = ibx_pool_array(&m->pool, count, size);
  if (copy && count > 0) memcpy(copy, items, count * size);
  return copy;
}

static ibx_status copy_entry(mutator *m, const ibx_entry *entry) {
  m->entry = *entry;
  m->entry.buffers =
      copy_of(m, entry->buffers, entry->buffer_count, sizeof *entry->buffers);
  if (!m->entry.buffers) return no_memory(m);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &entry->streams[e];
    m->entry.streams[e].insns =
        copy_of(m, stream->insns, stream->count, sizeof *stream->insns);
    if (!m->entry.streams[e].insns) return no_memory(m);
  }
  return IBX_OK;
}

static void note_uses(mutator *m, const ibx_insn *insn, uint64_t step) {
  const ibx_insn_info *info = ibx_insn_get(insn->opcode);
  for (size_t slot = 0; slot < IBX_OPERANDS; slot++) {
    ibx_slot_kind kind = info->slot[slot];
    uint32_t buffer = insn->operand[slot].buffer;
    if (kind == IBX_SLOT_NONE || buffer == IBX_NO_BUFFER) continue;
    life *l = &m->lives[buffer];
    bool writes = kind == IBX_SLOT_WRITE || kind == IBX_SLOT_READ_WRITE ||
                  kind == IBX_SLOT_SCALAR_WRITE;
    if (writes && l->first_write == 0) l->first_write = step;
    if (kind != IBX_SLOT_WRITE && kind != IBX_SLOT_SCALAR_WRITE) {
      l->last_read = step;
    }
  }
}

static bool step_engine(mutator *m, ibx_flow *flow, uint64_t *semaphores,
                        uint64_t *step) {
  if (ibx_flow_is_done(flow)) return false;
  const ibx_insn *insn = &flow->stream->insns[flow->pc];
  if (semaphores[insn->wait_semaphore] < insn->wait_value) return false;
  semaphores[insn->wait_semaphore] -= insn->wait_value;
  semaphores[insn->signal_semaphore] += insn->signal_value;
  note_uses(m, insn, ++*step);
  return ibx_flow_step(flow, NULL) == IBX_OK;
}

// Runs the streams without data, DMAs at once. The entry was proved, so it
// ends.
static ibx_status find_lives(mutator *m) {
  uint64_t semaphores[IBX_SEMAPHORES] = {0};
  uint64_t step = 0;
  m->lives = IBX_POOL_ARRAY(&m->pool, m->entry.buffer_count, life);
  ibx_flow *flows = IBX_POOL_ARRAY(&m->pool, IBX_ENGINE_COUNT, ibx_flow);
  if (!m->lives || !flows) return no_memory(m);
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    flows[e].partner =
        IBX_POOL_ARRAY(&m->pool, m->entry.streams[e].count, uint32_t);
    if (!flows[e].partner) return no_memory(m);
    IBX_TRY(ibx_flow_init(&flows[e], &m->entry.streams[e], m->err));
  }
  for (bool moves = true; moves;) {
    moves = false;
    for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
      while (step_engine(m, &flows[e], semaphores, &step)) {
        moves = true;
      }
    }
  }
  return IBX_OK;
}

// --- the four kinds ----------------------------------------------------------

// A random instruction of all streams.
static ibx_insn *pick_insn(mutator *m, mutation *out) {
  uint64_t total = 0;
  for (size_t e = 0; e < IBX_ENGINE_COUNT; e++) {
    total += m->entry.streams[e].count;
  }
  uint64_t at = total > 0 ? pick(m, total) : 0;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    const ibx_stream *stream = &m->entry.streams[e];
    if (at < stream->count) {
      out->engine = (ibx_engine)e;
      out->index = (size_t)at;
      out->insn = &stream->insns[at];
      out->old_insn = stream->insns[at];
      return out->insn;
    }
    at -= stream->count;
  }
  return NULL;
}

static bool mutate_wait(mutator *m, mutation *out) {
  ibx_insn *insn = pick_insn(m, out);
  if (!insn || insn->wait_value == 0) return false;
  insn->wait_value = (uint16_t)pick(m, insn->wait_value);
  if (pick(m, 2) == 0) insn->wait_value = 0;
  return true;
}

static bool mutate_signal(mutator *m, mutation *out) {
  ibx_insn *insn = pick_insn(m, out);
  if (!insn || insn->signal_value == 0) return false;
  insn->signal_value = 0;
  return true;
}

// Moves one operand by as little as leaves its buffer, up or down.
static bool mutate_access(mutator *m, mutation *out) {
  static const ibx_flow start;
  ibx_insn *insn = pick_insn(m, out);
  size_t slot = (size_t)pick(m, IBX_OPERANDS);
  if (!insn || ibx_insn_get(insn->opcode)->slot[slot] == IBX_SLOT_NONE ||
      insn->operand[slot].buffer == IBX_NO_BUFFER) {
    return false;
  }
  ibx_operand *operand = &insn->operand[slot];
  const ibx_buffer_place *place = &m->entry.buffers[operand->buffer].place;
  ibx_pattern pattern = ibx_flow_pattern(&start, insn, slot);
  ibx_reach reach;
  if (!ibx_pattern_reach(&pattern, &reach)) return false;
  int64_t room = (int64_t)place->bytes - 1 - reach.last;
  int64_t element = (int64_t)pattern.element_bytes;
  if (place->space != IBX_SPACE_HBM && pick(m, 4) == 0) {
    int64_t lanes = place->partitions - 1 - reach.last_partition;
    operand->partition = (uint8_t)(operand->partition + lanes + 1);
    return lanes >= 0;
  }
  operand->offset += (uint64_t)((room / element + 1) * element);
  return true;
}

static bool is_movable(const ibx_buffer_decl *buffer, const life *l) {
  return buffer->kind == IBX_BUFFER_SCRATCH && l->first_write > 0 &&
         l->last_read > l->first_write;
}

// An address on `onto` that keeps what instructions need of the old one.
static uint64_t new_offset(const mutator *m, const ibx_buffer_place *moved,
                           const ibx_buffer_place *onto) {
  uint64_t grain =
      moved->space == IBX_SPACE_PSUM ? m->program->machine->psum_bank_bytes : 8;
  return onto->offset / grain * grain + moved->offset % grain;
}

// The moved buffer is written while the other one holds what is still read.
static bool mutate_overlap(mutator *m, mutation *out) {
  if (m->entry.buffer_count < 2) return false;
  size_t a = (size_t)pick(m, m->entry.buffer_count);
  size_t b = (size_t)pick(m, m->entry.buffer_count);
  const ibx_buffer_decl *onto = &m->entry.buffers[a];
  ibx_buffer_decl *moved = &m->entry.buffers[b];
  if (a == b || onto->place.space != moved->place.space ||
      !is_movable(onto, &m->lives[a]) || !is_movable(moved, &m->lives[b]) ||
      m->lives[b].first_write <= m->lives[a].first_write ||
      m->lives[b].first_write >= m->lives[a].last_read) {
    return false;
  }
  out->buffer = moved;
  out->old_buffer = *moved;
  moved->place.offset = new_offset(m, &moved->place, &onto->place);
  if (onto->place.partition != moved->place.partition &&
      onto->place.partitions >= moved->place.partitions) {
    moved->place.partition = onto->place.partition;
  }
  return moved->place.offset != out->old_buffer.place.offset &&
         moved->place.offset < onto->place.offset + onto->place.bytes &&
         onto->place.offset < moved->place.offset + moved->place.bytes;
}

// Semaphores stay balanced, so only the order is at stake.
static bool mutate_edge(mutator *m, mutation *out) {
  ibx_insn *wait = pick_insn(m, out);
  if (!wait || wait->wait_value == 0) return false;
  mutation raised = {.insn = NULL};
  ibx_insn *signal = pick_insn(m, &raised);
  for (unsigned i = 0; i < TRIES; i++) {
    if (signal != wait && signal->signal_value == wait->wait_value &&
        signal->signal_semaphore == wait->wait_semaphore) {
      out->other = signal;
      out->old_other = *signal;
      signal->signal_value = 0;
      wait->wait_value = 0;
      return true;
    }
    signal = pick_insn(m, &raised);
  }
  return false;
}

static void undo(mutation *mutated) {
  if (mutated->insn) *mutated->insn = mutated->old_insn;
  if (mutated->other) *mutated->other = mutated->old_other;
  if (mutated->buffer) *mutated->buffer = mutated->old_buffer;
  *mutated = (mutation){.insn = NULL};
}

static bool mutate(mutator *m, mutate_kind kind, mutation *out) {
  static bool (*const kinds[MUTATE_KIND_COUNT])(mutator *, mutation *) = {
      mutate_wait, mutate_signal, mutate_access, mutate_overlap, mutate_edge};
  *out = (mutation){.insn = NULL};
  uint64_t tries = TRIES * (kind == MUTATE_OVERLAP ? 100 : 1);
  for (uint64_t i = 0; i < tries; i++) {
    if (kinds[kind](m, out)) return true;
    undo(out);
  }
  return false;
}

// --- runs --------------------------------------------------------------------

static bool is_callers(const ibx_buffer_decl *buffer) {
  return buffer->kind == IBX_BUFFER_INPUT ||
         buffer->kind == IBX_BUFFER_OUTPUT || buffer->kind == IBX_BUFFER_STATE;
}

// Small numbers of either sign; indices that every table has.
static void fill_tensor(mutator *m, const ibx_tensor_decl *tensor) {
  uint8_t *bytes = m->before[tensor->buffer];
  size_t size = ibx_dtype_bytes((ibx_dtype)tensor->dtype);
  size_t count = (size_t)m->entry.buffers[tensor->buffer].place.bytes / size;
  bool is_float =
      ibx_dtype_get((ibx_dtype)tensor->dtype)->kind == IBX_DTYPE_KIND_FLOAT;
  for (size_t i = 0; i < count; i++) {
    float value =
        is_float ? (float)pick(m, 2048) / 1024.0f - 1.0f : (float)pick(m, 2);
    ibx_dtype_store_f32((ibx_dtype)tensor->dtype, &value, bytes + i * size, 1);
  }
}

static ibx_status prepare_memory(mutator *m) {
  size_t count = m->entry.buffer_count;
  m->before = IBX_POOL_ARRAY(&m->pool, count, uint8_t *);
  m->wanted = IBX_POOL_ARRAY(&m->pool, count, uint8_t *);
  m->memory = IBX_POOL_ARRAY(&m->pool, count, uint8_t *);
  if (!m->before || !m->wanted || !m->memory) return no_memory(m);
  for (size_t i = 0; i < count; i++) {
    if (!is_callers(&m->entry.buffers[i])) continue;
    size_t bytes = (size_t)m->entry.buffers[i].place.bytes;
    m->before[i] = IBX_POOL_ARRAY(&m->pool, bytes, uint8_t);
    m->wanted[i] = IBX_POOL_ARRAY(&m->pool, bytes, uint8_t);
    m->memory[i] = IBX_POOL_ARRAY(&m->pool, bytes, uint8_t);
    if (!m->before[i] || !m->wanted[i] || !m->memory[i]) return no_memory(m);
  }
  for (size_t i = 0; i < m->entry.input_count; i++) {
    fill_tensor(m, &m->entry.inputs[i]);
  }
  return IBX_OK;
}

static void copy_memory(const mutator *m, uint8_t **to, uint8_t **from) {
  for (size_t i = 0; i < m->entry.buffer_count; i++) {
    if (!is_callers(&m->entry.buffers[i])) continue;
    memcpy(to[i], from[i], (size_t)m->entry.buffers[i].place.bytes);
  }
}

static bool is_as_wanted(const mutator *m) {
  for (size_t i = 0; i < m->entry.buffer_count; i++) {
    size_t bytes = (size_t)m->entry.buffers[i].place.bytes;
    if (is_callers(&m->entry.buffers[i]) &&
        memcmp(m->memory[i], m->wanted[i], bytes) != 0) {
      return false;
    }
  }
  return true;
}

static ibx_status run(mutator *m, ibx_sim *sim, ibx_sim_order order,
                      uint64_t seed, ibx_error *err) {
  const ibx_sim_options options = {
      .order = order, .seed = seed, .poison = true};
  const ibx_sim_memory memory = {.hbm = m->memory};
  copy_memory(m, m->memory, m->before);
  return ibx_sim_run(sim, &options, &memory, err);
}

// The bytes of the unchanged entry, once they are needed.
static ibx_status run_unchanged(mutator *m) {
  ibx_sim *sim = NULL;
  if (m->has_run) return IBX_OK;
  IBX_TRY(prepare_memory(m));
  IBX_TRY(ibx_sim_create(m->program, m->original, &sim, m->err));
  ibx_status status = run(m, sim, IBX_SIM_ORDER_PROGRAM, 0, m->err);
  ibx_sim_destroy(sim);
  copy_memory(m, m->wanted, m->memory);
  m->has_run = true;
  return status;
}

static ibx_status compare(mutator *m, const ibx_entry *changed, uint64_t orders,
                          ibx_error *why) {
  ibx_sim *sim = NULL;
  IBX_TRY(ibx_sim_create(m->program, changed, &sim, why));
  ibx_status status = IBX_OK;
  uint64_t count = IBX_SIM_ADVERSARIES + orders;
  for (uint64_t i = 0; i < count && status == IBX_OK; i++) {
    ibx_sim_order order = i < IBX_SIM_ADVERSARIES ? IBX_SIM_ORDER_ADVERSARIAL
                                                  : IBX_SIM_ORDER_RANDOM;
    status = run(m, sim, order, i, why);
    if (status == IBX_OK && !is_as_wanted(m)) {
      status = IBX_FAIL(why, MISMATCH, "other bytes in order %" PRIu64, i);
    }
  }
  ibx_sim_destroy(sim);
  return status;
}

ibx_status mutate_compare(const ibx_program_data *program,
                          const ibx_entry *entry, const ibx_entry *changed,
                          uint64_t orders, ibx_error *err) {
  mutator m = {.program = program,
               .original = entry,
               .entry = *entry,
               .random = 1,
               .err = err};
  ibx_status status = run_unchanged(&m);
  if (status == IBX_OK) status = compare(&m, changed, orders, err);
  ibx_pool_fini(&m.pool);
  return status;
}

// --- campaign ----------------------------------------------------------------

static void note_bug(mutate_report *report, mutate_kind kind,
                     const mutation *mutated, const ibx_error *why) {
  if (report->first_bug[0] != 0) return;
  if (mutated->insn) {
    snprintf(report->first_bug, sizeof report->first_bug,
             "%s of %s %zu: %.160s", mutate_kind_name(kind),
             ibx_engine_name(mutated->engine), mutated->index, why->message);
  } else {
    snprintf(report->first_bug, sizeof report->first_bug,
             "%s of buffer %.32s, moved to %" PRIu64 ": %.160s",
             mutate_kind_name(kind), mutated->buffer->name,
             mutated->buffer->place.offset, why->message);
  }
}

static ibx_status try_accepted(mutator *m, const mutate_options *options,
                               mutate_kind kind, const mutation *mutated,
                               mutate_report *report, uint64_t *samples_left) {
  mutate_counts *counts = &report->kinds[kind];
  ibx_error why = {.status = IBX_OK};
  if (kind == MUTATE_ACCESS) {
    counts->accepted_different++; // no order can make that right
    note_bug(report, kind, mutated, &why);
    return IBX_OK;
  }
  if (*samples_left == 0) {
    counts->accepted_untried++;
    return IBX_OK;
  }
  --*samples_left;
  IBX_TRY(run_unchanged(m));
  if (compare(m, &m->entry, options->orders, &why) == IBX_OK) {
    counts->accepted_equal++;
  } else {
    counts->accepted_different++;
    note_bug(report, kind, mutated, &why);
  }
  return IBX_OK;
}

static ibx_status run_campaign(mutator *m, const mutate_options *options,
                               mutate_report *report) {
  uint64_t samples_left = options->samples;
  for (int k = 0; k < MUTATE_KIND_COUNT; k++) {
    mutate_kind kind = (mutate_kind)k;
    for (uint64_t i = 0; i < options->count; i++) {
      mutation mutated;
      if (!mutate(m, kind, &mutated)) {
        report->kinds[kind].impossible++;
        continue;
      }
      ibx_status status = IBX_OK;
      if (ibx_prove_entry(m->program, &m->entry, NULL, NULL) != IBX_OK) {
        report->kinds[kind].rejected++;
      } else {
        status =
            try_accepted(m, options, kind, &mutated, report, &samples_left);
      }
      undo(&mutated);
      IBX_TRY(status);
    }
  }
  return IBX_OK;
}

ibx_status mutate_entry(const ibx_program_data *program, const ibx_entry *entry,
                        const mutate_options *options, mutate_report *report,
                        ibx_error *err) {
  IBX_TRY(ibx_prove_entry(program, entry, NULL, err));
  mutator m = {.program = program,
               .original = entry,
               .random = options->seed,
               .err = err};
  ibx_status status = copy_entry(&m, entry);
  if (status == IBX_OK) status = find_lives(&m);
  if (status == IBX_OK) status = run_campaign(&m, options, report);
  ibx_pool_fini(&m.pool);
  return status;
}
