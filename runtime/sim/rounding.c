// SPDX-License-Identifier: Apache-2.0
//
// Rounding of stored elements. In: a value and which element it is. Out: the
// value, or with stochastic rounding one of the two of the type beside it.

#include "sim/rounding.h"

#include "sim/state.h"

#include <assert.h>

// Multipliers and key increments of the paper.
#define MULTIPLIER0 UINT32_C(0xd2511f53)
#define MULTIPLIER1 UINT32_C(0xcd9e8d57)
#define WEYL0 UINT32_C(0x9e3779b9)
#define WEYL1 UINT32_C(0xbb67ae85)

enum { ROUNDS = 10 };

void ibx_philox(uint32_t counter[4], const uint32_t key[2]) {
  uint32_t k0 = key[0], k1 = key[1];
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t product0 = (uint64_t)MULTIPLIER0 * counter[0];
    uint64_t product1 = (uint64_t)MULTIPLIER1 * counter[2];
    counter[0] = (uint32_t)(product1 >> 32) ^ counter[1] ^ k0;
    counter[1] = (uint32_t)product1;
    counter[2] = (uint32_t)(product0 >> 32) ^ counter[3] ^ k1;
    counter[3] = (uint32_t)product0;
    k0 += WEYL0;
    k1 += WEYL1;
  }
}

ibx_rounder ibx_rounder_make(const ibx_exec *x, unsigned slot) {
  static_assert(IBX_ENGINE_COUNT <= 16 && IBX_OPERANDS <= 16, "four bits each");
  static_assert(IBX_PARTITIONS <= 256, "a byte of the counter");
  return (ibx_rounder){.is_stochastic = x->sim->is_stochastic,
                       .operand = (uint8_t)((unsigned)x->engine << 4 | slot),
                       .seed = x->sim->seed,
                       .number = x->seq->executed};
}

static uint64_t random_bits(const ibx_rounder *r, size_t p, uint64_t i) {
  const uint32_t key[2] = {(uint32_t)r->seed, (uint32_t)(r->seed >> 32)};
  uint32_t place = (uint32_t)(i >> 32) << 16 | (uint32_t)p << 8 | r->operand;
  uint32_t counter[4] = {(uint32_t)i, place, (uint32_t)r->number,
                         (uint32_t)(r->number >> 32)};
  ibx_philox(counter, key);
  return (uint64_t)counter[1] << 32 | counter[0];
}

float ibx_round(const ibx_rounder *rounder, ibx_dtype dtype, size_t p,
                uint64_t i, float value) {
  if (!rounder->is_stochastic) return value;
  return ibx_dtype_round_f32(dtype, value, random_bits(rounder, p, i));
}
