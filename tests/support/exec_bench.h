// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_EXEC_BENCH_H
#define IBX_TEST_EXEC_BENCH_H

/// \file
/// One instruction on random memories. A test places operands at random steps,
/// fills what is read, runs the instruction, writes down in a copy of the
/// memories what it should have done, and compares all bytes. Addresses are
/// those of the sentence in isa.h, worked out here and not by the simulator.

#include "sim/state.h"
#include "support/sim_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <math.h>

enum { BENCH_SLOT_BYTES = 1536, BENCH_HBM_BYTES = 8192 };

// A buffer in SBUF for each slot; HBM that is read and that is written.
enum { BENCH_SBUF = 0, BENCH_PSUM = 4, BENCH_IN = 5, BENCH_OUT, BENCH_BUFFERS };

typedef struct bench {
  world w;
  ibx_sim *sim;
  uint64_t random;
  uint8_t *before[IBX_SPACE_COUNT], *after[IBX_SPACE_COUNT];
  uint8_t in[BENCH_HBM_BYTES], out[BENCH_HBM_BYTES];
  uint8_t out_before[BENCH_HBM_BYTES], out_after[BENCH_HBM_BYTES];
} bench;

static inline uint32_t bench_below(bench *b, uint32_t limit) {
  return world_below(&b->random, limit);
}

static inline bench *bench_create(ibx_target target, uint64_t seed) {
  bench *b = calloc(1, sizeof(*b));
  assert_non_null(b);
  b->random = seed;
  world_init(&b->w, target);
  for (uint64_t i = 0; i < 4; i++) {
    world_chip(&b->w, IBX_SPACE_SBUF, i * BENCH_SLOT_BYTES, BENCH_SLOT_BYTES);
  }
  world_chip(&b->w, IBX_SPACE_PSUM, 0, WORLD_PSUM_BYTES);
  world_hbm(&b->w, IBX_BUFFER_INPUT, b->in, BENCH_HBM_BYTES);
  world_hbm(&b->w, IBX_BUFFER_OUTPUT, b->out, BENCH_HBM_BYTES);
  return b;
}

static inline void bench_destroy(bench *b) {
  ibx_sim_destroy(b->sim);
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    free(b->before[i]);
    free(b->after[i]);
  }
  free(b);
}

/// A random iteration space of at most `most` elements a partition.
static inline void bench_space(bench *b, ibx_insn *insn, uint32_t most) {
  static const uint8_t partitions[] = {1, 3, 16, 32, 33, 64, 100, 128};
  insn->partitions = partitions[bench_below(b, IBX_COUNT_OF(partitions))];
  insn->num[4] = 1 + bench_below(b, most);
  if (bench_below(b, 2)) insn->num[3] = 1 + bench_below(b, most / insn->num[4]);
  if (bench_below(b, 3) == 0) {
    insn->num[2] = 1 + bench_below(b, most / insn->num[4] / insn->num[3]);
  }
}

static inline uint32_t bench_elements(const ibx_insn *insn) {
  return insn->num[2] * insn->num[3] * insn->num[4];
}

/// Places operand `slot`, which walks num[0..2], in `buffer`: packed, with gaps,
/// or, where `any`, at any steps. Returns false where it does not fit.
static inline bool bench_place(bench *b, ibx_insn *insn, size_t slot,
                               uint32_t buffer, ibx_dtype dtype,
                               const uint32_t num[3], bool any) {
  ibx_operand *o = &insn->operand[slot];
  size_t bytes = ibx_dtype_bytes(dtype);
  int32_t packed = 1;
  int64_t low = 0, high = 0;
  unsigned kind = bench_below(b, any ? 3 : 2);
  *o = (ibx_operand){.buffer = buffer, .dtype = (uint8_t)dtype};
  for (size_t d = 3; d-- > 0;) {
    o->step[d + 2] = packed;
    packed *= (int32_t)num[d];
    if (kind == 1) packed += (int32_t)bench_below(b, 3);
    if (kind == 2) o->step[d + 2] = (int32_t)bench_below(b, 9) - 4;
    int64_t reach = (int64_t)o->step[d + 2] * (num[d] - 1);
    *(reach < 0 ? &low : &high) += reach;
  }
  if (buffer < BENCH_PSUM && insn->partitions <= 32) {
    o->partition = (uint8_t)(32 * bench_below(b, 4));
  }
  int64_t room = (int64_t)(b->w.buffers[buffer].place.bytes / bytes);
  int64_t free_elements = room - (high - low + 1);
  if (free_elements < 0) return false;
  int64_t first = bench_below(b, (uint32_t)free_elements + 1) - low;
  o->offset = (uint64_t)first * bytes;
  return true;
}

/// The same for an operand with the instruction's own space, and for one that
/// lies along the innermost dimension.
static inline bool bench_place_space(bench *b, ibx_insn *insn, size_t slot,
                                     ibx_dtype dtype) {
  uint32_t buffer = (uint32_t)(BENCH_SBUF + slot);
  return bench_place(b, insn, slot, buffer, dtype, &insn->num[2], slot == 1);
}

static inline bool bench_place_row(bench *b, ibx_insn *insn, size_t slot,
                                   ibx_dtype dtype, uint32_t elements) {
  const uint32_t num[3] = {1, 1, elements};
  uint32_t buffer = (uint32_t)(BENCH_SBUF + slot);
  return bench_place(b, insn, slot, buffer, dtype, num, slot == 1);
}

static inline bool bench_is_legal(const bench *b, ibx_engine engine,
                                  const ibx_insn *insn, ibx_error *err) {
  ibx_buffer_place places[BENCH_BUFFERS];
  for (size_t i = 0; i < BENCH_BUFFERS; i++) {
    places[i] = b->w.buffers[i].place;
  }
  return ibx_insn_check(b->w.program.machine, engine, insn, places,
                        BENCH_BUFFERS, err) == IBX_OK;
}

static inline void bench_noise(bench *b, uint8_t *memory, size_t size) {
  for (size_t i = 0; i < size; i++) {
    memory[i] = (uint8_t)bench_below(b, 256);
  }
}

/// Makes a simulator of the one instruction; its memories are noise.
static inline void bench_load(bench *b, ibx_engine engine, ibx_insn insn) {
  ibx_sim_destroy(b->sim);
  for (int e = 0; e < IBX_ENGINE_COUNT; e++) {
    b->w.entry.streams[e].count = 0;
  }
  world_add(&b->w, engine, insn);
  if (ibx_sim_create(&b->w.program, &b->w.entry, &b->sim, &b->w.err) !=
      IBX_OK) {
    fail_msg("%s", b->w.err.message);
  }
  for (int space = IBX_SPACE_SBUF; space <= IBX_SPACE_PSUM; space++) {
    bench_noise(b, b->sim->memory[space], (size_t)b->sim->memory_bytes[space]);
  }
  bench_noise(b, b->in, BENCH_HBM_BYTES);
  bench_noise(b, b->out, BENCH_HBM_BYTES);
}

typedef enum bench_when { BENCH_NOW, BENCH_BEFORE, BENCH_AFTER } bench_when;

static inline uint8_t *bench_memory(bench *b, bench_when when,
                                    ibx_space space) {
  return when == BENCH_NOW      ? b->sim->memory[space]
         : when == BENCH_BEFORE ? b->before[space]
                                : b->after[space];
}

/// The address of element (i, j, k) of partition p of an operand.
static inline uint8_t *bench_address(bench *b, bench_when when,
                                     const ibx_insn *insn, size_t slot,
                                     uint32_t p, const uint32_t place[3]) {
  const ibx_operand *o = &insn->operand[slot];
  const ibx_buffer_place *buffer = &b->w.buffers[o->buffer].place;
  int64_t bytes = (int64_t)ibx_dtype_bytes((ibx_dtype)o->dtype);
  if (bytes == 0) bytes = 4; // [P,1]
  int64_t at = (int64_t)o->offset;
  for (size_t d = 0; d < 3; d++) {
    at += (int64_t)o->step[d + 2] * place[d] * bytes;
  }
  if (o->buffer == BENCH_IN) return b->in + at;
  if (o->buffer == BENCH_OUT) {
    return (when == BENCH_NOW      ? b->out
            : when == BENCH_BEFORE ? b->out_before
                                   : b->out_after) +
           at;
  }
  return bench_memory(b, when, buffer->space) +
         (size_t)(o->partition + p) * b->sim->partition_bytes[buffer->space] +
         buffer->offset + at;
}

/// Element n in iteration order of the instruction's space.
static inline uint8_t *bench_element(bench *b, bench_when when,
                                     const ibx_insn *insn, size_t slot,
                                     uint32_t p, uint32_t n) {
  const uint32_t *num = &insn->num[2];
  const uint32_t place[3] = {n / (num[2] * num[1]), n / num[2] % num[1],
                             n % num[2]};
  return bench_address(b, when, insn, slot, p, place);
}

/// Element n of an operand that lies along the innermost dimension.
static inline uint8_t *bench_row(bench *b, bench_when when,
                                 const ibx_insn *insn, size_t slot, uint32_t p,
                                 uint32_t n) {
  const uint32_t place[3] = {0, 0, n};
  return bench_address(b, when, insn, slot, p, place);
}

static inline float bench_float(const uint8_t *at, ibx_dtype dtype) {
  float value;
  ibx_dtype_load_f32(dtype, at, &value, 1);
  return value;
}

static inline void bench_put_float(uint8_t *at, ibx_dtype dtype, float value) {
  if (value != value) value = NAN; // the rule of sim/element.h
  ibx_dtype_store_f32(dtype, &value, at, 1);
}

static inline int64_t bench_integer(const uint8_t *at, ibx_dtype dtype) {
  int64_t value = 0;
  size_t bytes = ibx_dtype_bytes(dtype);
  memcpy(&value, at, bytes); // little endian
  unsigned shift = 64 - 8 * (unsigned)bytes;
  bool has_sign = ibx_dtype_get(dtype)->kind == IBX_DTYPE_KIND_SINT;
  value = (int64_t)((uint64_t)value << shift);
  return has_sign ? value >> shift : (int64_t)((uint64_t)value >> shift);
}

static inline void bench_put_integer(uint8_t *at, ibx_dtype dtype,
                                     int64_t value) {
  memcpy(at, &value, ibx_dtype_bytes(dtype));
}

/// Keeps the memories as they are now.
static inline void bench_keep(bench *b) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    size_t size = (size_t)b->sim->memory_bytes[i];
    free(b->before[i]);
    free(b->after[i]);
    b->before[i] = malloc(size + 1);
    b->after[i] = malloc(size + 1);
    assert_true(b->before[i] != NULL && b->after[i] != NULL);
    memcpy(b->before[i], b->sim->memory[i], size);
    memcpy(b->after[i], b->sim->memory[i], size);
  }
  memcpy(b->out_before, b->out, sizeof(b->out));
  memcpy(b->out_after, b->out, sizeof(b->out));
}

static inline ibx_status bench_try(bench *b) {
  ibx_sim_options options = {.order = IBX_SIM_ORDER_PROGRAM,
                             .specification = bench_below(b, 2) == 0};
  ibx_sim_memory memory = {.hbm = b->w.hbm};
  return ibx_sim_run(b->sim, &options, &memory, &b->w.err);
}

static inline void bench_run(bench *b) {
  bench_keep(b);
  if (bench_try(b) != IBX_OK) fail_msg("%s", b->w.err.message);
}

/// All memories are as the test wrote them down.
static inline void bench_expect(const bench *b) {
  for (size_t i = 0; i < IBX_SPACE_COUNT; i++) {
    size_t size = (size_t)b->sim->memory_bytes[i], at = 0;
    if (memcmp(b->sim->memory[i], b->after[i], size) == 0) continue;
    while (b->sim->memory[i][at] == b->after[i][at])
      at++;
    fail_msg("%s differs first in partition %zu, byte %zu: %02x, not %02x",
             ibx_space_name((ibx_space)i), at / b->sim->partition_bytes[i],
             at % b->sim->partition_bytes[i], b->sim->memory[i][at],
             b->after[i][at]);
  }
  assert_memory_equal(b->out, b->out_after, sizeof(b->out));
}

#endif
