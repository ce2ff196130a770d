// SPDX-License-Identifier: Apache-2.0
//
// One bit a byte of a row of memory: written or not. Whole rows need no words,
// and most rows are either untouched or whole.

#include "core/prove_region.h"

#include <stdlib.h>
#include <string.h>

typedef enum bits_op { BITS_TEST, BITS_SET, BITS_CLEAR } bits_op;

static size_t word_count(const ibx_bits *bits) {
  return (size_t)((bits->size + 63) / 64);
}

static uint64_t *make_words(const ibx_bits *bits) {
  uint64_t *words = calloc(word_count(bits), sizeof *words);
  if (!words || bits->set == 0) return words;
  memset(words, 0xff, word_count(bits) * sizeof *words);
  if (bits->size % 64 != 0) {
    words[word_count(bits) - 1] = UINT64_MAX >> (64 - bits->size % 64);
  }
  return words;
}

// Bits lo .. hi - 1. Returns false when a tested bit is missing.
static bool do_range(ibx_bits *bits, uint64_t lo, uint64_t hi, bits_op op) {
  for (uint64_t at = lo; at < hi;) {
    uint64_t shift = at % 64;
    uint64_t taken = 64 - shift < hi - at ? 64 - shift : hi - at;
    uint64_t mask = (UINT64_MAX >> (64 - taken)) << shift;
    uint64_t *word = &bits->words[at / 64];
    if (op == BITS_TEST) {
      if ((*word & mask) != mask) return false;
    } else if (op == BITS_SET) {
      bits->set += ibx_count_ones(mask & ~*word);
      *word |= mask;
    } else {
      bits->set -= ibx_count_ones(mask & *word);
      *word &= ~mask;
    }
    at += taken;
  }
  return true;
}

static bool do_run(ibx_bits *bits, uint64_t lo, uint64_t hi, uint64_t base,
                   bits_op op) {
  uint64_t end = base + bits->size;
  if (lo < base) lo = base;
  if (hi > end) hi = end;
  return lo >= hi || do_range(bits, lo - base, hi - base, op);
}

static bool do_region(ibx_bits *bits, const ibx_region *r, uint64_t base,
                      bits_op op) {
  uint64_t index[IBX_REGION_DIMS] = {0};
  uint64_t at = r->lo;
  for (;;) {
    if (!do_run(bits, at, at + r->run, base, op)) return false;
    size_t d = 0;
    for (; d < r->dims; d++) {
      at += r->stride[d];
      if (++index[d] < r->count[d]) break;
      at -= r->stride[d] * r->count[d];
      index[d] = 0;
    }
    if (d == r->dims) return true;
  }
}

static bool covers_row(const ibx_bits *bits, const ibx_region *r,
                       uint64_t base) {
  return r->dims == 0 && r->lo <= base && r->hi >= base + bits->size;
}

static void make_uniform(ibx_bits *bits, uint64_t set) {
  free(bits->words);
  bits->words = NULL;
  bits->set = set;
}

static bool change(ibx_bits *bits, const ibx_region *r, uint64_t base,
                   bits_op op) {
  uint64_t goal = op == BITS_SET ? bits->size : 0;
  if (bits->set == goal) return true;
  if (covers_row(bits, r, base)) {
    make_uniform(bits, goal);
    return true;
  }
  if (!bits->words) bits->words = make_words(bits);
  if (!bits->words) return false;
  do_region(bits, r, base, op);
  if (bits->set == 0 || bits->set == bits->size) {
    make_uniform(bits, bits->set);
  }
  return true;
}

bool ibx_bits_test(const ibx_bits *bits, const ibx_region *r, uint64_t base) {
  if (bits->set == bits->size) return true;
  if (bits->set == 0) return r->hi <= base || r->lo >= base + bits->size;
  ibx_bits view = *bits; // testing changes nothing
  return do_region(&view, r, base, BITS_TEST);
}

bool ibx_bits_set(ibx_bits *bits, const ibx_region *r, uint64_t base) {
  return change(bits, r, base, BITS_SET);
}

bool ibx_bits_clear(ibx_bits *bits, const ibx_region *r, uint64_t base) {
  return change(bits, r, base, BITS_CLEAR);
}

bool ibx_bits_copy(const ibx_bits *bits, ibx_bits *out) {
  *out = *bits;
  if (!bits->words) return true;
  size_t bytes = word_count(bits) * sizeof *bits->words;
  out->words = malloc(bytes);
  if (!out->words) {
    *out = (ibx_bits){0};
    return false;
  }
  memcpy(out->words, bits->words, bytes);
  return true;
}

void ibx_bits_fini(ibx_bits *bits) {
  free(bits->words);
  *bits = (ibx_bits){0};
}
