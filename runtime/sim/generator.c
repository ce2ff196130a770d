// SPDX-License-Identifier: Apache-2.0
//
// Random numbers. In: the state of an engine. Out: numbers, and the state moved
// on. Holds: no seed gives a state of zeros, in which XORWOW would only count.

#include "sim/generator.h"

#include "sim/view.h"

enum { XORWOW_WORDS = 6, VECTOR_GENERATORS = 4 };

size_t ibx_generator_words(ibx_engine engine) {
  return engine == IBX_ENGINE_VECTOR ? XORWOW_WORDS * VECTOR_GENERATORS
                                     : XORWOW_WORDS;
}

static uint32_t mix(uint32_t value) {
  value = (value ^ value >> 16) * UINT32_C(0x85ebca6b);
  value = (value ^ value >> 13) * UINT32_C(0xc2b2ae35);
  return value ^ value >> 16;
}

void ibx_generator_seed(ibx_sim *sim, ibx_engine engine, uint32_t seed) {
  size_t words = ibx_generator_words(engine);
  uint32_t number = 0;
  for (size_t p = 0; p < IBX_PARTITIONS; p++) {
    uint32_t *state = sim->generator[engine][p];
    for (size_t i = 0; i < words; i++) {
      state[i] = mix(seed + UINT32_C(0x9e3779b9) * ++number);
      if (i % XORWOW_WORDS == 0) state[i] |= 1;
    }
  }
}

uint32_t *ibx_generator_state(const ibx_exec *x, unsigned slot, size_t p) {
  return x->sim->generator[x->engine][ibx_sim_array_row(x, slot) + p];
}

// Words x, y, z, w, v and the counter d.
static uint32_t xorwow(uint32_t s[XORWOW_WORDS]) {
  uint32_t t = s[0] ^ s[0] >> 2;
  for (size_t i = 0; i < 4; i++) {
    s[i] = s[i + 1];
  }
  s[4] = s[4] ^ s[4] << 4 ^ t ^ t << 1;
  s[5] += 362437;
  return s[4] + s[5];
}

uint32_t ibx_generator_next(const ibx_exec *x, size_t p, size_t i) {
  size_t generators = ibx_generator_words(x->engine) / XORWOW_WORDS;
  return xorwow(ibx_generator_state(x, 0, p) + i % generators * XORWOW_WORDS);
}

float ibx_generator_uniform(const ibx_exec *x, size_t p, size_t i) {
  return (float)(ibx_generator_next(x, p, i) >> 8) * 0x1p-24f;
}
