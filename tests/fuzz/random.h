// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_FUZZ_RANDOM_H
#define IBX_FUZZ_RANDOM_H

/// \file
/// What the mutators share: numbers that are the same everywhere, and a command
/// line. Mutant `i` of seed `s` depends on nothing but both, so that a job can
/// be cut in parts and one mutant repeated alone.

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// SplitMix64: the published constants of Steele, Lea and Flood.
static inline uint64_t fuzz_next(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/// The state from which mutant `index` of `seed` starts.
static inline uint64_t fuzz_start(uint64_t seed, uint64_t index) {
  uint64_t state = seed * UINT64_C(0x2545f4914f6cdd1d) + index;
  return fuzz_next(&state);
}

/// 0 up to `limit` - 1; 0 where `limit` is 0.
static inline size_t fuzz_below(uint64_t *state, size_t limit) {
  return limit == 0 ? 0 : (size_t)(fuzz_next(state) >> 16) % limit;
}

static inline bool fuzz_one_in(uint64_t *state, size_t n) {
  return fuzz_below(state, n) == 0;
}

/// Numbers at which code goes wrong, or any.
static inline uint64_t fuzz_value(uint64_t *state) {
  static const uint64_t edges[] = {
      0,          1,          2,         3,         4,       7,
      8,          15,         16,        31,        32,      63,
      64,         127,        128,       255,       256,     512,
      1023,       4096,       0x7fff,    65535,     1 << 20, 0x7fffffff,
      0x80000000, UINT32_MAX, INT64_MAX, UINT64_MAX};
  size_t count = sizeof edges / sizeof edges[0];
  switch (fuzz_below(state, 4)) {
  case 0: return fuzz_next(state);
  case 1: return fuzz_below(state, 300);
  case 2: return edges[fuzz_below(state, count)] + fuzz_below(state, 3) - 1;
  default: return edges[fuzz_below(state, count)];
  }
}

/// --seed N --first F --count M --verbose; anything else is a corpus file.
typedef struct fuzz_options {
  uint64_t seed, first, count;
  bool verbose; ///< tells each mutant before it is tried
  char **files;
  int file_count;
} fuzz_options;

static inline bool fuzz_number(const char *text, uint64_t *out) {
  char *end = NULL;
  *out = strtoull(text, &end, 10);
  return end != text && *end == 0;
}

/// False where the arguments are wrong. `argv` keeps the files.
static inline bool fuzz_parse(int argc, char **argv, fuzz_options *out) {
  *out = (fuzz_options){.seed = 1, .count = 1000, .files = argv};
  for (int i = 1; i < argc; i++) {
    uint64_t *number = strcmp(argv[i], "--seed") == 0    ? &out->seed
                       : strcmp(argv[i], "--first") == 0 ? &out->first
                       : strcmp(argv[i], "--count") == 0 ? &out->count
                                                         : NULL;
    if (strcmp(argv[i], "--verbose") == 0) {
      out->verbose = true;
    } else if (number) {
      if (++i == argc || !fuzz_number(argv[i], number)) return false;
    } else if (argv[i][0] == '-') {
      return false;
    } else {
      argv[out->file_count++] = argv[i];
    }
  }
  return true;
}

#endif
