// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_SIM_WORLD_H
#define IBX_TEST_SIM_WORLD_H

/// \file
/// A small program under test: buffers, streams and a source of random numbers.

#include "imbrex/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  WORLD_BUFFERS = 16,
  WORLD_INSNS = 64,
  WORLD_SBUF_BYTES = 6144,
  WORLD_PSUM_BYTES = 2048
};

typedef struct world {
  ibx_buffer_decl buffers[WORLD_BUFFERS];
  ibx_insn insns[IBX_ENGINE_COUNT][WORLD_INSNS];
  uint8_t *hbm[WORLD_BUFFERS];
  ibx_entry entry;
  ibx_machine machine;
  uint64_t hbm_end;
  ibx_program_data program;
  ibx_error err;
} world;

static inline void world_init(world *w, ibx_target target) {
  memset(w, 0, sizeof(*w));
  // Small memories, so that a test can compare all of them.
  w->machine = *ibx_machine_get(target);
  w->machine.sbuf_bytes = WORLD_SBUF_BYTES;
  w->machine.psum_bytes = WORLD_PSUM_BYTES;
  w->program.machine = &w->machine;
  w->program.model = w->program.options = "";
  w->program.entries = &w->entry;
  w->program.entry_count = 1;
  w->entry.name = "main";
  w->entry.buffers = w->buffers;
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    w->entry.streams[e].insns = w->insns[e];
  }
}

static inline uint32_t world_buffer(world *w, ibx_buffer_kind kind,
                                    ibx_buffer_place place) {
  static const char *const names[WORLD_BUFFERS] = {
      "b0", "b1", "b2",  "b3",  "b4",  "b5",  "b6",  "b7",
      "b8", "b9", "b10", "b11", "b12", "b13", "b14", "b15"};
  size_t index = w->entry.buffer_count++;
  w->buffers[index] =
      (ibx_buffer_decl){.place = place, .name = names[index], .kind = kind};
  return (uint16_t)index;
}

/// A buffer in SBUF or PSUM over all partitions.
static inline uint32_t world_chip(world *w, ibx_space space, uint64_t offset,
                                  uint64_t bytes) {
  return world_buffer(w, IBX_BUFFER_SCRATCH,
                      (ibx_buffer_place){.space = space,
                                         .partitions = IBX_PARTITIONS,
                                         .offset = offset,
                                         .bytes = bytes});
}

static inline uint32_t world_hbm(world *w, ibx_buffer_kind kind, void *memory,
                                 uint64_t bytes) {
  uint32_t buffer = world_buffer(w, kind,
                                 (ibx_buffer_place){.space = IBX_SPACE_HBM,
                                                    .partitions = 1,
                                                    .offset = w->hbm_end,
                                                    .bytes = bytes});
  w->hbm_end += (bytes + 63) / 64 * 64;
  w->hbm[buffer] = memory;
  return buffer;
}

static inline ibx_insn *world_add(world *w, ibx_engine engine, ibx_insn insn) {
  size_t index = w->entry.streams[engine].count++;
  w->insns[engine][index] = insn;
  return &w->insns[engine][index];
}

static inline ibx_insn world_wait(ibx_insn insn, uint8_t semaphore,
                                  uint16_t value) {
  insn.wait_semaphore = semaphore;
  insn.wait_value = value;
  return insn;
}

static inline ibx_insn world_signal(ibx_insn insn, uint8_t semaphore,
                                    uint16_t value) {
  insn.signal_semaphore = semaphore;
  insn.signal_value = value;
  return insn;
}

static inline ibx_status world_run(world *w, ibx_sim_order order,
                                   uint64_t seed) {
  ibx_sim *sim = NULL;
  ibx_sim_options options = {.order = order, .seed = seed};
  ibx_sim_memory memory = {.hbm = w->hbm};
  ibx_status status = ibx_sim_create(&w->program, &w->entry, &sim, &w->err);
  if (status == IBX_OK) status = ibx_sim_run(sim, &options, &memory, &w->err);
  ibx_sim_destroy(sim);
  return status;
}

/// xorshift64*, so that tests are the same everywhere.
static inline uint64_t world_random(uint64_t *state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * UINT64_C(0x2545f4914f6cdd1d) >> 16;
}

static inline uint32_t world_below(uint64_t *state, uint32_t limit) {
  return (uint32_t)(world_random(state) % limit);
}

/// Between -limit and limit.
static inline float world_float(uint64_t *state, float limit) {
  return ((float)world_below(state, 1u << 20) / (1u << 19) - 1.0f) * limit;
}

#endif
