// SPDX-License-Identifier: Apache-2.0
//
// Several cores of a chip. In: an entry, and how many threads may run its cores.
// Out: what each core writes, or the error of the lowest rank that has one.
// Holds: a core runs until it waits for a meeting; then its thread takes another
// core that can go on. When none runs and none can go on, the run is over: a core
// that still waits is a deadlock, since all that could come has come.

#include "sim/state.h"

#include <stdlib.h>

typedef enum core_state {
  CORE_READY,
  CORE_RUNNING,
  CORE_WAITING, ///< for its picked meeting
  CORE_DONE,
  CORE_FAILED
} core_state;

typedef struct core {
  ibx_sim *sim;
  core_state state;
  ibx_status status;
  ibx_error error;
  uint8_t **hbm; ///< its parts of the caller's memory
} core;

struct ibx_sim_chip {
  const ibx_entry *entry;
  uint32_t count;
  core cores[IBX_SIM_CORES];
  ibx_sim *sims[IBX_SIM_CORES];
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  uint32_t running;
};

static ibx_status add_core(ibx_sim_chip *chip, const ibx_program_data *program,
                           uint32_t rank, ibx_error *err) {
  core *c = &chip->cores[rank];
  c->hbm = calloc(chip->entry->buffer_count + 1, sizeof(*c->hbm));
  if (c->hbm == NULL) {
    return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for %zu buffers",
                    chip->entry->buffer_count);
  }
  IBX_TRY(ibx_sim_create(program, chip->entry, &c->sim, err));
  chip->sims[rank] = c->sim;
  ibx_sim_meetings *m = &c->sim->meetings;
  m->peers = chip->sims;
  m->mutex = &chip->mutex;
  m->rank = rank;
  m->cores = chip->count;
  return IBX_OK;
}

ibx_status ibx_sim_chip_create(const ibx_program_data *program,
                               const ibx_entry *entry, ibx_sim_chip **out_chip,
                               ibx_error *err) {
  *out_chip = NULL;
  uint32_t count = ibx_entry_cores(entry);
  if (count > IBX_SIM_CORES) {
    return IBX_FAIL(err, OUT_OF_CAPACITY, "%u cores, the most is %d",
                    (unsigned)count, (int)IBX_SIM_CORES);
  }
  ibx_sim_chip *chip = calloc(1, sizeof(*chip));
  if (chip == NULL) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  chip->entry = entry;
  chip->count = count;
  pthread_mutex_init(&chip->mutex, NULL);
  pthread_cond_init(&chip->changed, NULL);
  ibx_status status = IBX_OK;
  for (uint32_t r = 0; r < count && status == IBX_OK; r++) {
    status = add_core(chip, program, r, err);
  }
  if (status != IBX_OK) {
    ibx_sim_chip_destroy(chip);
    return status;
  }
  *out_chip = chip;
  return IBX_OK;
}

void ibx_sim_chip_destroy(ibx_sim_chip *chip) {
  if (chip == NULL) return;
  for (uint32_t r = 0; r < chip->count; r++) {
    ibx_sim_destroy(chip->cores[r].sim);
    free(chip->cores[r].hbm);
  }
  pthread_cond_destroy(&chip->changed);
  pthread_mutex_destroy(&chip->mutex);
  free(chip);
}

// --- scheduling --------------------------------------------------------------

// The mutex is held. NULL when nothing can go on.
static core *find_ready(ibx_sim_chip *chip) {
  for (uint32_t r = 0; r < chip->count; r++) {
    core *c = &chip->cores[r];
    const ibx_sim_meetings *m = &c->sim->meetings;
    if (c->state == CORE_READY ||
        (c->state == CORE_WAITING && ibx_sim_is_complete(m, m->picked))) {
      return c;
    }
  }
  return NULL;
}

static void advance(ibx_sim_chip *chip, core *c) {
  bool waits = false;
  c->state = CORE_RUNNING;
  chip->running++;
  pthread_mutex_unlock(&chip->mutex);
  ibx_status status = ibx_sim_advance(c->sim, &waits, &c->error);
  pthread_mutex_lock(&chip->mutex);
  chip->running--;
  c->status = status;
  c->state = status != IBX_OK ? CORE_FAILED : waits ? CORE_WAITING : CORE_DONE;
  pthread_cond_broadcast(&chip->changed);
}

static void *work(void *user) {
  ibx_sim_chip *chip = user;
  pthread_mutex_lock(&chip->mutex);
  for (;;) {
    core *c = find_ready(chip);
    if (c != NULL) {
      advance(chip, c);
    } else if (chip->running > 0) {
      pthread_cond_wait(&chip->changed, &chip->mutex);
    } else {
      break;
    }
  }
  pthread_mutex_unlock(&chip->mutex);
  return NULL;
}

// Fewer threads than asked for do the same.
static void run_threads(ibx_sim_chip *chip, uint32_t threads) {
  pthread_t others[IBX_SIM_CORES];
  uint32_t started = 0;
  if (threads == 0 || threads > chip->count) threads = chip->count;
  while (started + 1 < threads &&
         pthread_create(&others[started], NULL, work, chip) == 0) {
    started++;
  }
  work(chip);
  while (started > 0) {
    pthread_join(others[--started], NULL);
  }
}

// --- runs --------------------------------------------------------------------

static void bind_core(const ibx_sim_chip *chip, uint32_t rank,
                      const ibx_sim_memory *memory) {
  uint8_t **hbm = chip->cores[rank].hbm;
  for (size_t i = 0; i < chip->entry->buffer_count; i++) {
    const ibx_buffer_decl *buffer = &chip->entry->buffers[i];
    hbm[i] = memory->hbm == NULL ? NULL : memory->hbm[i];
    if (hbm[i] != NULL && buffer->is_split) {
      hbm[i] += rank * buffer->place.bytes;
    }
  }
}

static ibx_status begin(ibx_sim_chip *chip, const ibx_sim_options *options,
                        const ibx_sim_memory *memory, ibx_error *err) {
  for (uint32_t r = 0; r < chip->count; r++) {
    core *c = &chip->cores[r];
    bind_core(chip, r, memory);
    ibx_sim_options own = *options;
    own.seed += r * UINT64_C(0x9e3779b97f4a7c15); // each an order of its own
    const ibx_sim_memory parts = {.hbm = c->hbm};
    IBX_TRY(ibx_sim_begin(c->sim, &own, &parts, err));
    c->sim->seed = options->seed; // but rounding alike: rounding.h
    c->state = CORE_READY;
    c->status = IBX_OK;
  }
  return IBX_OK;
}

static ibx_status fail_core(uint32_t rank, const core *c, ibx_error *err) {
  return ibx_error_set(err, c->status, c->error.file, c->error.line,
                       "core %u: %s", (unsigned)rank, c->error.message);
}

static ibx_status find_result(const ibx_sim_chip *chip, ibx_error *err) {
  for (uint32_t r = 0; r < chip->count; r++) {
    const core *c = &chip->cores[r];
    if (c->state == CORE_FAILED && chip->count == 1) {
      return ibx_error_set(err, c->status, c->error.file, c->error.line, "%s",
                           c->error.message);
    }
    if (c->state == CORE_FAILED) return fail_core(r, c, err);
  }
  for (uint32_t r = 0; r < chip->count; r++) {
    const ibx_sim_meetings *m = &chip->cores[r].sim->meetings;
    if (chip->cores[r].state != CORE_WAITING) continue;
    const ibx_sim_pending *p = &m->pending[m->picked];
    return IBX_FAIL(err, DEVICE_ERROR,
                    "deadlock: core %u waits in %s of %s for a core that does "
                    "not come to it",
                    (unsigned)r, ibx_insn_get(p->insn->opcode)->name,
                    ibx_engine_name((ibx_engine)p->engine));
  }
  return IBX_OK;
}

ibx_status ibx_sim_chip_run(ibx_sim_chip *chip, const ibx_sim_options *options,
                            const ibx_sim_memory *memory, ibx_error *err) {
  IBX_TRY(begin(chip, options, memory, err));
  run_threads(chip, options->threads);
  ibx_status status = find_result(chip, err);
  for (uint32_t r = 0; r < chip->count; r++) {
    ibx_sim_leave(&chip->cores[r].sim->meetings);
  }
  return status;
}
