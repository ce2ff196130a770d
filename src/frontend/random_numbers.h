// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_RANDOM_NUMBERS_H
#define IBX_RANDOM_NUMBERS_H

/// \file
/// Numbers that look random and are the same everywhere: the Mersenne Twister
/// MT19937 (Matsumoto and Nishimura, 1998), which NumPy's RandomState uses too, so
/// that a model with a seed gives what its author saw there.

#include <stdint.h>

enum { IBX_RANDOM_WORDS = 624 };

typedef struct ibx_random {
  uint32_t word[IBX_RANDOM_WORDS];
  uint32_t next; ///< word that comes next
  int has_spare; ///< a normal number is left
  double spare;
} ibx_random;

void ibx_random_seed(ibx_random *random, uint32_t seed);

/// In [0, 1), of 53 bits.
double ibx_random_uniform(ibx_random *random);

/// Of mean 0 and variance 1.
double ibx_random_normal(ibx_random *random);

#endif
