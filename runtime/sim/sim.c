// SPDX-License-Identifier: Apache-2.0
//
// The functional simulator. In: a program's entry, which need not be proved,
// and the caller's memory. Out: what the instructions write. Holds: every
// access is checked against its buffer, every loop has its partner, and every
// run ends.

#include "imbrex/sim.h"

#include "sim/generator.h"
#include "sim/state.h"

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

enum {
  ALIGNMENT = 64,
  LARGE_PAGE = 1 << 21,
  ARRAY_BYTES =
      IBX_ARRAY_PLANES * IBX_ARRAY * IBX_ARRAY_STEP * (int)sizeof(float)
};

// Instructions, or 64 elements each of what they move: minutes, far more than
// any model takes. A damaged program may ask for years.
#define MOST_WORK (UINT64_C(1) << 32)

// Rows of a tile lie a partition apart, each in a page of its own: with pages of
// 2 MiB all of them fit what the processor remembers of its page table. That
// makes products 5 % faster; where there are none, nothing else changes.
static void ask_for_large_pages(uint8_t *block, size_t size) {
#ifdef MADV_HUGEPAGE
  if (size >= LARGE_PAGE) (void)madvise(block, size, MADV_HUGEPAGE);
#else
  (void)block, (void)size;
#endif
}

// Zeroed; a large block costs nothing until it is used.
static void *allocate(ibx_sim *sim, uint64_t size) {
  size_t alignment = size < LARGE_PAGE ? ALIGNMENT : LARGE_PAGE;
  if (size > SIZE_MAX - alignment || sim->block_count == IBX_SIM_BLOCKS) {
    return NULL;
  }
  uint8_t *block = calloc(1, (size_t)size + alignment);
  if (block == NULL) return NULL;
  sim->block[sim->block_count++] = block;
  block += (alignment - (uintptr_t)block % alignment) % alignment;
  ask_for_large_pages(block, (size_t)size / LARGE_PAGE * LARGE_PAGE);
  return block;
}

static ibx_status fail_memory(ibx_error *err, uint64_t size) {
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %llu bytes of the machine",
                  (unsigned long long)size);
}

// Distance of partitions: whole cache lines, an odd number of them, so that
// equal columns of different partitions do not share a cache set.
static size_t partition_distance(uint32_t bytes) {
  size_t lines = (bytes + ALIGNMENT - 1) / ALIGNMENT;
  return (lines | 1) * ALIGNMENT;
}

static ibx_status check_place(const ibx_sim *sim, const ibx_buffer_decl *buffer,
                              ibx_error *err) {
  const ibx_machine *machine = sim->machine;
  const ibx_buffer_place *place = &buffer->place;
  uint64_t limit = place->space == IBX_SPACE_SBUF   ? machine->sbuf_bytes
                   : place->space == IBX_SPACE_PSUM ? machine->psum_bytes
                                                    : UINT64_MAX;
  if (buffer->kind == IBX_BUFFER_WEIGHT) limit = sim->program->weights.size;
  uint64_t end;
  bool fits = ibx_add_size(place->offset, place->bytes, &end) && end <= limit;
  bool on_chip = place->space != IBX_SPACE_HBM;
  if (on_chip) {
    fits &= buffer->kind == IBX_BUFFER_SCRATCH;
    fits &= place->partition + place->partitions <= IBX_PARTITIONS;
  }
  if (place->space < IBX_SPACE_COUNT && fits) return IBX_OK;
  return IBX_FAIL(err, DEVICE_ERROR, "buffer '%s' does not lie in the %s of %s",
                  buffer->name,
                  place->space < IBX_SPACE_COUNT ? ibx_space_name(place->space)
                                                 : "memory",
                  machine->name);
}

static bool is_hbm_scratch(const ibx_buffer_decl *buffer) {
  return buffer->place.space == IBX_SPACE_HBM &&
         buffer->kind == IBX_BUFFER_SCRATCH;
}

// Scratch in HBM is one block from the lowest to the highest byte declared.
static uint64_t hbm_scratch_bytes(ibx_sim *sim) {
  uint64_t first = UINT64_MAX, end = 0;
  for (size_t i = 0; i < sim->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &sim->entry->buffers[i];
    if (!is_hbm_scratch(buffer)) continue;
    const ibx_buffer_place *place = &buffer->place;
    if (place->offset < first) first = place->offset;
    if (place->offset + place->bytes > end) end = place->offset + place->bytes;
  }
  sim->hbm_first = first;
  return first < end ? end - first : 0;
}

static ibx_status make_memories(ibx_sim *sim, ibx_error *err) {
  sim->partition_bytes[IBX_SPACE_SBUF] =
      partition_distance(sim->machine->sbuf_bytes);
  sim->partition_bytes[IBX_SPACE_PSUM] =
      partition_distance(sim->machine->psum_bytes);
  for (int space = 0; space < IBX_SPACE_COUNT; space++) {
    uint64_t size = space == IBX_SPACE_HBM
                        ? hbm_scratch_bytes(sim)
                        : sim->partition_bytes[space] * IBX_PARTITIONS;
    sim->memory[space] = allocate(sim, size);
    if (sim->memory[space] == NULL) return fail_memory(err, size);
    sim->memory_bytes[space] = size;
  }
  return IBX_OK;
}

static ibx_status make_scratch(ibx_sim *sim, ibx_error *err) {
  const size_t array_bytes = ARRAY_BYTES;
  const size_t row_bytes = sizeof(ibx_sim_scratch);
  sim->array = allocate(sim, array_bytes);
  if (sim->array == NULL) return fail_memory(err, array_bytes);
  for (size_t i = 0; i < IBX_SIM_SCRATCHES; i++) {
    sim->scratch[i] = allocate(sim, row_bytes);
    if (sim->scratch[i] == NULL) return fail_memory(err, row_bytes);
  }
  return IBX_OK;
}

// Where each buffer begins; what the caller owns follows at each run.
static void place_buffers(ibx_sim *sim) {
  for (size_t i = 0; i < sim->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &sim->entry->buffers[i];
    const ibx_buffer_place *place = &buffer->place;
    sim->places[i] = *place;
    if (buffer->kind == IBX_BUFFER_WEIGHT) {
      // Never written: side_make() of exec_dma.c refuses.
      sim->bases[i] = (uint8_t *)sim->program->weights.data + place->offset;
    } else if (is_hbm_scratch(buffer)) {
      sim->bases[i] =
          sim->memory[IBX_SPACE_HBM] + (place->offset - sim->hbm_first);
    } else if (place->space == IBX_SPACE_SBUF ||
               place->space == IBX_SPACE_PSUM) {
      sim->bases[i] = sim->memory[place->space] +
                      place->partition * sim->partition_bytes[place->space] +
                      place->offset;
    }
  }
}

static ibx_status make_buffers(ibx_sim *sim, ibx_error *err) {
  size_t count = sim->entry->buffer_count;
  sim->places = calloc(count + 1, sizeof(*sim->places));
  sim->bases = calloc(count + 1, sizeof(*sim->bases));
  if (sim->places == NULL || sim->bases == NULL) return fail_memory(err, count);
  for (size_t i = 0; i < count; i++) {
    IBX_TRY(check_place(sim, &sim->entry->buffers[i], err));
  }
  IBX_TRY(make_memories(sim, err));
  place_buffers(sim);
  return IBX_OK;
}

// Finds the end of every loop of a stream and the loop of every end.
static ibx_status match_loops(ibx_sim *sim, ibx_engine engine, ibx_error *err) {
  const ibx_stream *stream = &sim->entry->streams[engine];
  uint32_t *partner = calloc(stream->count + 1, sizeof(*partner));
  sim->partner[engine] = partner;
  if (partner == NULL) return fail_memory(err, stream->count);
  size_t open[IBX_SIM_LOOP_DEPTH];
  size_t depth = 0;
  for (size_t i = 0; i < stream->count; i++) {
    uint8_t opcode = stream->insns[i].opcode;
    if (opcode == IBX_OP_loop && depth < IBX_SIM_LOOP_DEPTH) {
      open[depth++] = i;
    } else if (opcode == IBX_OP_loop_end && depth > 0) {
      partner[i] = (uint32_t)open[--depth];
      partner[partner[i]] = (uint32_t)i;
    } else if (opcode == IBX_OP_loop || opcode == IBX_OP_loop_end) {
      return IBX_FAIL(
          err, DEVICE_ERROR,
          "%s instruction %zu: loops do not nest, or deeper than %d",
          ibx_engine_name(engine), i, (int)IBX_SIM_LOOP_DEPTH);
    }
  }
  if (depth == 0) return IBX_OK;
  return IBX_FAIL(err, DEVICE_ERROR, "%s instruction %zu: the loop has no end",
                  ibx_engine_name(engine), open[depth - 1]);
}

static ibx_status check_stream(ibx_sim *sim, ibx_engine engine,
                               ibx_error *err) {
  const ibx_stream *stream = &sim->entry->streams[engine];
  if (stream->count >= UINT32_MAX) {
    return IBX_FAIL(err, DEVICE_ERROR, "%zu instructions", stream->count);
  }
  for (size_t i = 0; i < stream->count; i++) {
    IBX_TRY(ibx_insn_check(sim->machine, engine, &stream->insns[i], sim->places,
                           sim->entry->buffer_count, err));
    IBX_TRY(ibx_insn_check_cores(&stream->insns[i], ibx_entry_cores(sim->entry),
                                 err));
  }
  return match_loops(sim, engine, err);
}

static ibx_status init(ibx_sim *sim, ibx_error *err) {
  IBX_TRY(make_buffers(sim, err));
  IBX_TRY(make_scratch(sim, err));
  for (int engine = 0; engine < IBX_ENGINE_COUNT; engine++) {
    IBX_TRY(check_stream(sim, (ibx_engine)engine, err));
  }
  return IBX_OK;
}

ibx_status ibx_sim_create(const ibx_program_data *program,
                          const ibx_entry *entry, ibx_sim **out_sim,
                          ibx_error *err) {
  *out_sim = NULL;
  ibx_sim *sim = calloc(1, sizeof(*sim));
  if (sim == NULL) return fail_memory(err, sizeof(*sim));
  sim->program = program;
  sim->entry = entry;
  sim->machine = program->machine;
  sim->self = sim;
  sim->meetings.peers = &sim->self;
  sim->meetings.cores = 1;
  ibx_status status = init(sim, err);
  if (status != IBX_OK) {
    ibx_sim_destroy(sim);
    return status;
  }
  *out_sim = sim;
  return IBX_OK;
}

void ibx_sim_destroy(ibx_sim *sim) {
  if (sim == NULL) return;
  ibx_sim_leave(&sim->meetings);
  free(sim->flights.split);
  free(sim->flights.pieces);
  free(sim->flights.free);
  free(sim->flights.flight);
  for (size_t i = 0; i < IBX_SIM_SHADOWS; i++) {
    free(sim->shadow[i].data);
  }
  for (size_t i = 0; i < IBX_ENGINE_COUNT; i++) {
    free(sim->partner[i]);
  }
  free(sim->bases);
  free(sim->places);
  for (size_t i = 0; i < sim->block_count; i++) {
    free(sim->block[i]);
  }
  free(sim);
}

static ibx_status bind_memory(ibx_sim *sim, const ibx_sim_memory *memory,
                              ibx_error *err) {
  for (size_t i = 0; i < sim->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &sim->entry->buffers[i];
    bool callers = buffer->kind == IBX_BUFFER_INPUT ||
                   buffer->kind == IBX_BUFFER_OUTPUT ||
                   buffer->kind == IBX_BUFFER_STATE;
    if (!callers) continue;
    sim->bases[i] = memory->hbm == NULL ? NULL : memory->hbm[i];
    if (sim->bases[i] != NULL || buffer->place.bytes == 0) continue;
    return IBX_FAIL(err, INVALID_ARGUMENT, "buffer '%s' has no memory",
                    buffer->name);
  }
  return IBX_OK;
}

// Bytes of ones are a NaN in every floating type.
static void poison(ibx_sim *sim) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    memset(sim->memory[i], 0xff, (size_t)sim->memory_bytes[i]);
  }
  memset(sim->array, 0xff, ARRAY_BYTES);
  memset(sim->accumulator, 0xff, sizeof(sim->accumulator));
}

ibx_status ibx_sim_begin(ibx_sim *sim, const ibx_sim_options *options,
                         const ibx_sim_memory *memory, ibx_error *err) {
  IBX_TRY(bind_memory(sim, memory, err));
  memset(sim->accumulator, 0, sizeof(sim->accumulator));
  ibx_generator_seed(sim, IBX_ENGINE_VECTOR, 0);
  ibx_generator_seed(sim, IBX_ENGINE_GPSIMD, 0);
  if (options->poison || options->order == IBX_SIM_ORDER_ADVERSARIAL) {
    poison(sim);
  }
  sim->order = options->order;
  sim->is_stochastic = options->rounding == IBX_SIM_ROUNDING_STOCHASTIC;
  sim->specification = options->specification || sim->is_stochastic;
  sim->seed = sim->random = options->seed;
  sim->work_left = MOST_WORK;
  memset(sim->semaphores, 0, sizeof(sim->semaphores));
  memset(sim->engines, 0, sizeof(sim->engines));
  ibx_sim_leave(&sim->meetings);
  return ibx_sim_begin_order(sim, err);
}

ibx_status ibx_sim_run(ibx_sim *sim, const ibx_sim_options *options,
                       const ibx_sim_memory *memory, ibx_error *err) {
  bool waits;
  if (sim->meetings.cores != ibx_entry_cores(sim->entry)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "the entry has %u cores, run a chip",
                    (unsigned)ibx_entry_cores(sim->entry));
  }
  IBX_TRY(ibx_sim_begin(sim, options, memory, err));
  // Alone, every meeting is complete when it is joined.
  return ibx_sim_advance(sim, &waits, err);
}

ibx_exec_fn ibx_sim_find_fast(uint8_t opcode) {
  static const ibx_exec_fn fast[UINT8_MAX + 1] = {
#define IBX_FAST(name) [IBX_OP_##name] = ibx_fast_##name,
#include "imbrex/isa.def"
  };
  return fast[opcode];
}

ibx_status ibx_sim_execute(const ibx_exec *x) {
  ibx_exec_fn fast = ibx_sim_find_fast(x->insn->opcode);
  if (fast != NULL && !x->sim->specification) return fast(x);
  switch ((ibx_opcode)x->insn->opcode) {
#define IBX_INSN(name, ...)                                                    \
  case IBX_OP_##name: return ibx_exec_##name(x);
#include "imbrex/isa.def"
  }
  return IBX_FAIL(x->err, DEVICE_ERROR, "no instruction has number %u",
                  x->insn->opcode);
}
