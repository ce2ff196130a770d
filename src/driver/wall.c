// SPDX-License-Identifier: Apache-2.0
//
// The simulator's own speed. Inputs are made up: floats pseudo-random in
// [-1, 1), everything else zero, which every index input accepts. The first run
// is not counted (it touches all memory for the first time); of the next three
// the fastest is.

#include "driver/wall.h"

#include "imbrex/sim.h"

#include <stdlib.h>
#include <time.h>

enum { COUNTED_RUNS = 3, CHUNK = 1024 };

static bool is_outside(const ibx_buffer_decl *buffer) {
  return buffer->place.space == IBX_SPACE_HBM &&
         (buffer->kind == IBX_BUFFER_INPUT ||
          buffer->kind == IBX_BUFFER_OUTPUT ||
          buffer->kind == IBX_BUFFER_STATE);
}

static uint64_t element_count(const ibx_tensor_decl *tensor) {
  uint64_t count = 1;
  for (size_t d = 0; d < tensor->rank; d++) {
    if (!ibx_mul_size(count, tensor->shape[d], &count)) return 0;
  }
  return count;
}

// The loader has checked that the elements fit the buffer.
static void fill(const ibx_tensor_decl *tensor, uint8_t *data) {
  const ibx_dtype_info *info = ibx_dtype_get((ibx_dtype)tensor->dtype);
  uint32_t state = 12345;
  float values[CHUNK];
  if (!info || info->kind != IBX_DTYPE_KIND_FLOAT || info->bits == 64) return;
  size_t element_bytes = info->bits / 8;
  for (uint64_t left = element_count(tensor); left > 0;) {
    size_t count = left < CHUNK ? (size_t)left : CHUNK;
    for (size_t i = 0; i < count; i++) {
      state = state * 1664525u + 1013904223u;
      values[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    ibx_dtype_store_f32((ibx_dtype)tensor->dtype, values, data, count);
    data += count * element_bytes;
    left -= count;
  }
}

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static ibx_status time_runs(ibx_sim_chip *chip, const ibx_sim_memory *memory,
                            double *out_us, ibx_error *err) {
  const ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM};
  IBX_TRY(ibx_sim_chip_run(chip, &options, memory, err));
  for (int i = 0; i < COUNTED_RUNS; i++) {
    double start_us = now_us();
    IBX_TRY(ibx_sim_chip_run(chip, &options, memory, err));
    double took_us = now_us() - start_us;
    if (i == 0 || took_us < *out_us) *out_us = took_us;
  }
  return IBX_OK;
}

static ibx_status make_memory(const ibx_entry *entry, uint8_t **hbm,
                              ibx_error *err) {
  for (size_t i = 0; i < entry->buffer_count; i++) {
    if (!is_outside(&entry->buffers[i])) continue;
    uint64_t bytes = ibx_buffer_bytes(entry, &entry->buffers[i]);
    hbm[i] = bytes < SIZE_MAX ? calloc((size_t)bytes + 1, 1) : NULL;
    if (!hbm[i]) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for tensors");
  }
  for (size_t i = 0; i < entry->input_count; i++) {
    fill(&entry->inputs[i], hbm[entry->inputs[i].buffer]);
  }
  return IBX_OK;
}

// The segments of an entry one after another; its calls need real data.
static ibx_status measure_segments(const ibx_program_data *program,
                                   const ibx_entry *entry, double *out_us,
                                   ibx_error *err) {
  *out_us = 0;
  for (size_t i = 0; i < entry->steps->step_count; i++) {
    const ibx_step *step = &entry->steps->steps[i];
    double part_us = 0;
    if (step->call) continue;
    IBX_TRY(ibx_wall_measure(program, &program->entries[step->segment],
                             &part_us, err));
    *out_us += part_us;
  }
  return IBX_OK;
}

ibx_status ibx_wall_measure(const ibx_program_data *program,
                            const ibx_entry *entry, double *out_us,
                            ibx_error *err) {
  if (entry->steps) return measure_segments(program, entry, out_us, err);
  ibx_sim_chip *chip = NULL;
  uint8_t **hbm = calloc(entry->buffer_count + 1, sizeof(*hbm));
  if (!hbm) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for tensors");
  ibx_sim_memory memory = {.hbm = hbm};
  ibx_status status = make_memory(entry, hbm, err);
  if (status == IBX_OK)
    status = ibx_sim_chip_create(program, entry, &chip, err);
  if (status == IBX_OK) status = time_runs(chip, &memory, out_us, err);
  ibx_sim_chip_destroy(chip);
  for (size_t i = 0; i < entry->buffer_count; i++)
    free(hbm[i]);
  free(hbm);
  return status;
}
