// SPDX-License-Identifier: Apache-2.0
//
// MT19937. Comes in a seed; goes out a sequence of numbers that depends on it
// alone.

#include "frontend/random_numbers.h"

#include <math.h>

enum { FAR = 397 };

void ibx_random_seed(ibx_random *random, uint32_t seed) {
  *random = (ibx_random){.next = IBX_RANDOM_WORDS};
  for (uint32_t i = 0; i < IBX_RANDOM_WORDS; i++) {
    random->word[i] = seed;
    seed = UINT32_C(1812433253) * (seed ^ seed >> 30) + i + 1;
  }
}

static void renew(ibx_random *random) {
  uint32_t *word = random->word;
  for (uint32_t i = 0; i < IBX_RANDOM_WORDS; i++) {
    uint32_t after = word[(i + 1) % IBX_RANDOM_WORDS];
    uint32_t both =
        (word[i] & UINT32_C(0x80000000)) | (after & UINT32_C(0x7fffffff));
    uint32_t odd = both & 1 ? UINT32_C(0x9908b0df) : 0;
    word[i] = word[(i + FAR) % IBX_RANDOM_WORDS] ^ both >> 1 ^ odd;
  }
  random->next = 0;
}

static uint32_t next_word(ibx_random *random) {
  if (random->next == IBX_RANDOM_WORDS) renew(random);
  uint32_t y = random->word[random->next++];
  y ^= y >> 11;
  y ^= y << 7 & UINT32_C(0x9d2c5680);
  y ^= y << 15 & UINT32_C(0xefc60000);
  return y ^ y >> 18;
}

double ibx_random_uniform(ibx_random *random) {
  uint32_t upper = next_word(random) >> 5, lower = next_word(random) >> 6;
  return (upper * 67108864.0 + lower) / 9007199254740992.0;
}

// Marsaglia's polar method: a point in the unit disc gives two numbers, of which
// the second is handed out first, as NumPy does.
double ibx_random_normal(ibx_random *random) {
  if (random->has_spare) {
    random->has_spare = 0;
    return random->spare;
  }
  double x, y, square;
  do {
    x = 2.0 * ibx_random_uniform(random) - 1.0;
    y = 2.0 * ibx_random_uniform(random) - 1.0;
    square = x * x + y * y;
  } while (square >= 1.0 || square == 0.0);
  double scale = sqrt(-2.0 * log(square) / square);
  random->spare = x * scale;
  random->has_spare = 1;
  return y * scale;
}
