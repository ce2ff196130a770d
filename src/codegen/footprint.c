// SPDX-License-Identifier: Apache-2.0
//
// What an operand touches, and whether two of them meet. Comes in: an operand
// and the place of its buffer. Goes out: partitions as a bit set, bytes as a
// pattern in normal form: strides positive and descending, whatever is
// contiguous or overlaps itself folded into the run, so that equal sets that
// code generation writes down mostly look equal.

#include "codegen/footprint.h"

#include <string.h>

// Addresses beyond these belong to no memory; below, sums cannot overflow.
static const int64_t most_bytes = INT64_C(1) << 48;

// --- the dimensions of an operand ----------------------------------------------

typedef struct pattern {
  int64_t base;
  int64_t element; ///< bytes
  int64_t stride[IBX_DIMS];
  int32_t partition_step[IBX_DIMS];
  uint32_t num[IBX_DIMS];
  uint32_t partitions; ///< walked by the instruction itself
} pattern;

static pattern pattern_of(const ibx_insn *insn, size_t slot,
                          const ibx_buffer_place *place) {
  const ibx_operand *operand = &insn->operand[slot];
  ibx_operand_shape shape = ibx_insn_shape(insn, slot);
  pattern p = {.base = (int64_t)(place->offset + operand->offset),
               .element = (int64_t)ibx_dtype_bytes((ibx_dtype)operand->dtype),
               .partitions = shape.partitions};
  if (p.element == 0) p.element = sizeof(float); // [P,1] operands
  for (size_t d = 0; d < IBX_DIMS; d++) {
    p.num[d] = shape.num[d];
    p.stride[d] = operand->step[d] * p.element;
    p.partition_step[d] = operand->partition_step[d];
  }
  if (shape.groups != 1) {
    p.num[1] = shape.groups;
    p.stride[1] = 0;
    p.partition_step[1] = (int32_t)shape.group_step;
  }
  return p;
}

// --- partitions ------------------------------------------------------------------

static void set_range(uint64_t mask[2], int64_t first, int64_t count) {
  for (int64_t w = 0; w < 2; w++) {
    int64_t from = first - 64 * w;
    int64_t to = from + count;
    if (from < 0) from = 0;
    if (to > 64) to = 64;
    if (from >= to) continue;
    mask[w] |= UINT64_MAX >> (64 - (to - from)) << from;
  }
}

// Adds `mask` moved by `by` partitions to `out`.
static void or_moved(uint64_t out[2], const uint64_t mask[2], int64_t by) {
  for (int64_t i = 0; i < IBX_PARTITIONS; i++) {
    if (mask[i / 64] >> (i % 64) & 1) set_range(out, i + by, 1);
  }
}

static void walk_partitions(const pattern *p, size_t d, uint64_t mask[2]) {
  uint64_t start[2] = {mask[0], mask[1]};
  for (uint32_t i = 1; i < p->num[d] && i < IBX_PARTITIONS; i++) {
    or_moved(mask, start, (int64_t)p->partition_step[d] * i);
  }
}

static void find_partitions(const pattern *p, int64_t first, uint64_t mask[2]) {
  mask[0] = mask[1] = 0;
  int64_t count = p->partitions;
  bool is_plain = true;
  size_t simple = IBX_DIMS;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (p->num[d] == 1 || p->partition_step[d] == 0) continue;
    is_plain = is_plain && simple == IBX_DIMS && p->partition_step[d] == 1 &&
               count == 1;
    simple = d;
  }
  // Nearly all DMAs walk the partitions one by one.
  if (is_plain && simple < IBX_DIMS) count = p->num[simple];
  set_range(mask, first, count);
  for (size_t d = 0; d < IBX_DIMS && !is_plain; d++) {
    if (p->num[d] > 1 && p->partition_step[d] != 0) walk_partitions(p, d, mask);
  }
}

// --- bytes -----------------------------------------------------------------------

static void insert_dim(ibx_footprint *f, int64_t stride, uint32_t count) {
  size_t at = f->dims++;
  for (; at > 0 && f->stride[at - 1] < stride; at--) {
    f->stride[at] = f->stride[at - 1];
    f->count[at] = f->count[at - 1];
  }
  f->stride[at] = stride;
  f->count[at] = count;
}

// Folds inner dimensions into the run, and neighbours into one dimension.
static void fold(ibx_footprint *f) {
  while (f->dims > 0 && f->stride[f->dims - 1] <= f->run) {
    f->dims--;
    f->run += f->stride[f->dims] * (f->count[f->dims] - 1);
  }
  for (size_t d = f->dims; d-- > 1;) {
    uint64_t merged = (uint64_t)f->count[d - 1] * f->count[d];
    if (f->stride[d - 1] != f->stride[d] * f->count[d] || merged > UINT32_MAX) {
      continue;
    }
    f->count[d - 1] = (uint32_t)merged;
    f->stride[d - 1] = f->stride[d];
    for (size_t i = d; i + 1 < f->dims; i++) {
      f->stride[i] = f->stride[i + 1];
      f->count[i] = f->count[i + 1];
    }
    f->dims--;
  }
}

static bool find_bytes(const pattern *p, ibx_footprint *f) {
  f->first = p->base;
  f->end = p->base + p->element;
  f->run = p->element;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    int64_t size = p->stride[d] < 0 ? -p->stride[d] : p->stride[d];
    if (p->num[d] <= 1 || size == 0) continue;
    if (size > most_bytes || p->num[d] - 1 > most_bytes / size) return false;
    int64_t reach = size * (int64_t)(p->num[d] - 1);
    if (p->stride[d] < 0) {
      f->first -= reach;
    } else {
      f->end += reach;
    }
    if (p->partition_step[d] != 0) f->is_exact = false;
    insert_dim(f, size, p->num[d]);
  }
  fold(f);
  return f->first >= 0 && f->end <= most_bytes;
}

bool ibx_footprint_make(const ibx_insn *insn, size_t slot,
                        const ibx_buffer_place *place, ibx_footprint *out) {
  const ibx_operand *operand = &insn->operand[slot];
  if (place->offset > (uint64_t)most_bytes ||
      operand->offset > (uint64_t)most_bytes) {
    return false;
  }
  pattern p = pattern_of(insn, slot, place);
  *out = (ibx_footprint){.is_exact = true};
  if (place->space == IBX_SPACE_HBM) {
    out->partitions[0] = 1;
  } else {
    find_partitions(&p, (int64_t)place->partition + operand->partition,
                    out->partitions);
  }
  return find_bytes(&p, out);
}

// --- overlap ---------------------------------------------------------------------

// Both sets meet where low < difference of two starts < high. The difference is
// a sum of terms, each a stride times a number in a range.
typedef struct meeting {
  int64_t stride[2 * IBX_DIMS];
  int64_t least[2 * IBX_DIMS], most[2 * IBX_DIMS];
  int64_t reach_low[2 * IBX_DIMS + 1], reach_high[2 * IBX_DIMS + 1];
  int64_t low, high;
  size_t terms;
  unsigned budget;
} meeting;

static void add_term(meeting *m, int64_t stride, int64_t least, int64_t most) {
  size_t at = 0;
  while (at < m->terms && m->stride[at] > stride)
    at++;
  if (at < m->terms && m->stride[at] == stride) {
    m->least[at] += least;
    m->most[at] += most;
    return;
  }
  for (size_t i = m->terms++; i > at; i--) {
    m->stride[i] = m->stride[i - 1];
    m->least[i] = m->least[i - 1];
    m->most[i] = m->most[i - 1];
  }
  m->stride[at] = stride;
  m->least[at] = least;
  m->most[at] = most;
}

static void sum_reaches(meeting *m) {
  for (size_t i = m->terms; i-- > 0;) {
    m->reach_low[i] = m->reach_low[i + 1] + m->stride[i] * m->least[i];
    m->reach_high[i] = m->reach_high[i + 1] + m->stride[i] * m->most[i];
  }
}

static int64_t div_floor(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static int64_t div_ceil(int64_t a, int64_t b) { return -div_floor(-a, b); }

// Strides descend, so only few numbers of a term leave the rest a chance.
static bool meets(meeting *m, size_t term, int64_t difference) {
  if (term == m->terms) return m->low < difference && difference < m->high;
  if (m->budget == 0) return true;
  m->budget--;
  int64_t stride = m->stride[term];
  int64_t from =
      div_ceil(m->low + 1 - m->reach_high[term + 1] - difference, stride);
  int64_t to =
      div_floor(m->high - 1 - m->reach_low[term + 1] - difference, stride);
  if (from < m->least[term]) from = m->least[term];
  if (to > m->most[term]) to = m->most[term];
  for (int64_t i = from; i <= to; i++) {
    if (meets(m, term + 1, difference + stride * i)) return true;
  }
  return false;
}

static bool patterns_meet(const ibx_footprint *a, const ibx_footprint *b) {
  meeting m = {.low = -a->run, .high = b->run, .budget = 4096};
  for (size_t d = 0; d < a->dims; d++) {
    add_term(&m, a->stride[d], 0, (int64_t)a->count[d] - 1);
  }
  for (size_t d = 0; d < b->dims; d++) {
    add_term(&m, b->stride[d], 1 - (int64_t)b->count[d], 0);
  }
  sum_reaches(&m);
  return meets(&m, 0, a->first - b->first);
}

bool ibx_footprint_overlaps(const ibx_footprint *a, const ibx_footprint *b) {
  if (a->end <= b->first || b->end <= a->first) return false;
  if ((a->partitions[0] & b->partitions[0]) == 0 &&
      (a->partitions[1] & b->partitions[1]) == 0) {
    return false;
  }
  return (a->dims == 0 && b->dims == 0) || patterns_meet(a, b);
}

bool ibx_footprint_same_bytes(const ibx_footprint *a, const ibx_footprint *b) {
  return a->first == b->first && a->run == b->run && a->dims == b->dims &&
         memcmp(a->stride, b->stride, a->dims * sizeof(a->stride[0])) == 0 &&
         memcmp(a->count, b->count, a->dims * sizeof(a->count[0])) == 0;
}
