// SPDX-License-Identifier: Apache-2.0
//
// Access patterns as sets of bytes. Comes in: a pattern of up to five strided
// dimensions. Goes out: a partition mask times a canonical strided set, exact:
//
//   bf16 [128, 2, 64, 8], bytes 256, 2, 128 a step
//     -> mask = 128 ones, run 128 (2 x 64), stride 128 x 8 continues it
//     -> run 1024, no dimension left, when 256 is not used; else one dimension

#include "core/prove_region.h"

#include <string.h>

// --- patterns ----------------------------------------------------------------

// Numbers stay far from overflow: buffers are below 2^36 bytes.
static const int64_t most = INT64_C(1) << 40;

static bool add_reach(int64_t step, uint64_t count, int64_t *low,
                      int64_t *high) {
  if (count == 1 || step == 0) return true;
  int64_t size = step < 0 ? -step : step;
  if (size > most || count - 1 > (uint64_t)(most / size)) return false;
  int64_t reach = step * (int64_t)(count - 1);
  if (reach < 0) {
    *low += reach;
  } else {
    *high += reach;
  }
  return true;
}

bool ibx_pattern_reach(const ibx_pattern *p, ibx_reach *out) {
  if (p->offset > most || p->offset < -most) return false;
  *out = (ibx_reach){p->offset, p->offset, p->partition, p->partition};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (!add_reach(p->stride[d], p->count[d], &out->first, &out->last) ||
        !add_reach(p->partition_step[d], p->count[d], &out->first_partition,
                   &out->last_partition)) {
      return false;
    }
  }
  out->last += (int64_t)p->element_bytes - 1;
  return true;
}

static bool is_mixed(const ibx_pattern *p, size_t d) {
  return p->count[d] > 1 && p->stride[d] != 0 && p->partition_step[d] != 0;
}

uint64_t ibx_pattern_regions(const ibx_pattern *p) {
  uint64_t regions = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (is_mixed(p, d)) regions *= p->count[d];
  }
  return regions;
}

// --- masks -------------------------------------------------------------------

static void mask_or_shifted(uint64_t out[2], const uint64_t in[2],
                            int64_t shift) {
  unsigned n = (unsigned)(shift < 0 ? -shift : shift);
  if (n == 0) {
    out[0] |= in[0];
    out[1] |= in[1];
  } else if (shift > 0 && n >= 64) {
    out[1] |= in[0] << (n - 64);
  } else if (shift > 0) {
    out[1] |= in[1] << n | in[0] >> (64 - n);
    out[0] |= in[0] << n;
  } else if (n >= 64) {
    out[0] |= in[1] >> (n - 64);
  } else {
    out[0] |= in[0] >> n | in[1] << (64 - n);
    out[1] |= in[1] >> n;
  }
}

// Bits first .. first + count - 1.
static void mask_range(uint64_t out[2], uint64_t first, uint64_t count) {
  for (size_t w = 0; w < 2; w++) {
    uint64_t base = w * 64;
    uint64_t lo = first > base ? first - base : 0;
    uint64_t hi = first + count > base ? first + count - base : 0;
    if (hi > 64) hi = 64;
    out[w] = lo >= hi ? 0 : (UINT64_MAX >> (64 - (hi - lo))) << lo;
  }
}

static void make_mask(const ibx_pattern *p, int64_t first, uint64_t mask[2]) {
  mask_range(mask, (uint64_t)first, 1);
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (p->partition_step[d] == 0 || p->count[d] == 1 || is_mixed(p, d)) {
      continue;
    }
    // Doubles: 1, 2, 4 ... copies, then the rest.
    for (uint64_t copies = 1; copies < p->count[d];) {
      uint64_t rest = p->count[d] - copies;
      uint64_t step = copies < rest ? copies : rest;
      const uint64_t one[2] = {mask[0], mask[1]};
      mask_or_shifted(mask, one, p->partition_step[d] * (int64_t)step);
      copies += step;
    }
  }
}

// --- canonical form ----------------------------------------------------------

typedef struct byte_dims {
  uint64_t stride[IBX_DIMS];
  uint64_t count[IBX_DIMS];
  size_t dims;
} byte_dims;

// Dimensions that move in bytes only, ascending; lowers `*offset` to the first
// byte where they go down.
static byte_dims sort_dims(const ibx_pattern *p, int64_t *offset) {
  byte_dims sorted = {.dims = 0};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    int64_t step = p->stride[d];
    if (step == 0 || p->count[d] == 1 || is_mixed(p, d)) continue;
    if (step < 0) *offset += step * (int64_t)(p->count[d] - 1);
    uint64_t size = (uint64_t)(step < 0 ? -step : step);
    size_t at = sorted.dims++;
    for (; at > 0 && sorted.stride[at - 1] > size; at--) {
      sorted.stride[at] = sorted.stride[at - 1];
      sorted.count[at] = sorted.count[at - 1];
    }
    sorted.stride[at] = size;
    sorted.count[at] = p->count[d];
  }
  return sorted;
}

// Adds one dimension above the others of `r`: the same set of bytes, in as few
// dimensions as the cases below find.
static void add_dim(ibx_region *r, uint64_t stride, uint64_t count) {
  if (r->dims == 0 && stride <= r->run) {
    r->run += stride * (count - 1);
    return;
  }
  if (r->dims > 0) {
    uint64_t below = r->stride[r->dims - 1];
    uint64_t *below_count = &r->count[r->dims - 1];
    if (stride % below == 0 && stride / below <= *below_count) {
      *below_count += stride / below * (count - 1);
      return;
    }
  }
  r->stride[r->dims] = stride;
  r->count[r->dims] = count;
  r->dims++;
}

static void canonicalise(const ibx_pattern *p, int64_t offset,
                         const ibx_buffer_place *place, ibx_region *r) {
  byte_dims sorted = sort_dims(p, &offset);
  r->lo = place->offset + (uint64_t)offset;
  r->run = p->element_bytes;
  for (size_t d = 0; d < sorted.dims; d++) {
    add_dim(r, sorted.stride[d], sorted.count[d]);
  }
  r->hi = r->lo + r->run;
  for (size_t d = 0; d < r->dims; d++) {
    r->hi += r->stride[d] * (r->count[d] - 1);
  }
}

bool ibx_pattern_next(const ibx_pattern *p, const ibx_buffer_place *place,
                      ibx_region_state *state, ibx_region *out) {
  if (state->at >= ibx_pattern_regions(p)) return false;
  int64_t offset = p->offset;
  int64_t partition = p->partition;
  uint64_t at = state->at++;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (!is_mixed(p, d)) continue;
    int64_t i = (int64_t)(at % p->count[d]);
    at /= p->count[d];
    offset += p->stride[d] * i;
    partition += p->partition_step[d] * i;
  }
  *out = (ibx_region){.dims = 0};
  make_mask(p, partition + place->partition, out->mask);
  canonicalise(p, offset, place, out);
  return true;
}

bool ibx_pattern_is_injective(const ibx_pattern *p) {
  ibx_pattern rising = *p; // partitions from 0 up, so that none falls off
  uint64_t lanes = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    if (p->count[d] == 1) continue;
    if (p->stride[d] == 0 && p->partition_step[d] == 0) return false;
    if (p->stride[d] == 0) lanes *= p->count[d];
    if (p->partition_step[d] < 0) rising.partition_step[d] *= -1;
  }
  uint64_t mask[2];
  make_mask(&rising, 0, mask);
  if (ibx_count_ones(mask[0]) + ibx_count_ones(mask[1]) != lanes) return false;
  int64_t offset = 0;
  byte_dims sorted = sort_dims(p, &offset);
  uint64_t reach = p->element_bytes;
  for (size_t d = 0; d < sorted.dims; d++) {
    if (sorted.stride[d] < reach) return false;
    reach += sorted.stride[d] * (sorted.count[d] - 1);
  }
  return true;
}

uint64_t ibx_region_runs(const ibx_region *r) {
  uint64_t runs = 1;
  for (size_t d = 0; d < r->dims; d++) {
    // Saturates: a pattern's counts were bounded by its buffer one by one.
    if (!ibx_mul_size(runs, r->count[d], &runs)) return UINT64_MAX;
  }
  return runs;
}

ibx_region ibx_region_of_place(const ibx_buffer_place *place) {
  ibx_region r = {.lo = place->offset,
                  .hi = place->offset + place->bytes,
                  .run = place->bytes};
  mask_range(r.mask, place->partition, place->partitions);
  return r;
}

// --- relations ---------------------------------------------------------------

// Is there x = difference + sum(v[d] * stride[d]), v[d] in [low, high], with
// -run_a < x < run_b? Strides descend, so at each level the levels below leave
// a short range for v, one or two values where strides nest.
typedef struct search {
  int64_t stride[2 * IBX_REGION_DIMS];
  int64_t low[2 * IBX_REGION_DIMS], high[2 * IBX_REGION_DIMS];
  int64_t rest_low[2 * IBX_REGION_DIMS + 1];
  int64_t rest_high[2 * IBX_REGION_DIMS + 1];
  size_t levels;
  int64_t least, greatest; ///< of x
  unsigned steps_left;
} search;

enum { SEARCH_STEPS = 4096 };

static int64_t floor_div(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && a < 0);
}

static bool find(search *s, size_t level, int64_t x) {
  if (level == s->levels) return x >= s->least && x <= s->greatest;
  if (s->steps_left == 0) return true;
  s->steps_left--;
  int64_t stride = s->stride[level];
  int64_t from = s->least - x - s->rest_high[level + 1];
  int64_t to = s->greatest - x - s->rest_low[level + 1];
  int64_t low = -floor_div(-from, stride);
  int64_t high = floor_div(to, stride);
  if (low < s->low[level]) low = s->low[level];
  if (high > s->high[level]) high = s->high[level];
  for (int64_t v = low; v <= high; v++) {
    if (find(s, level + 1, x + v * stride)) return true;
  }
  return false;
}

static void push_level(search *s, uint64_t stride, uint64_t plus,
                       uint64_t minus) {
  s->stride[s->levels] = (int64_t)stride;
  s->high[s->levels] = (int64_t)plus;
  s->low[s->levels] = -(int64_t)minus;
  s->levels++;
}

// Merges both lists of dimensions, largest stride first; equal strides of both
// sides are one level.
static void make_levels(search *s, const ibx_region *a, const ibx_region *b) {
  size_t i = (size_t)a->dims;
  size_t j = (size_t)b->dims;
  while (i > 0 || j > 0) {
    uint64_t sa = i > 0 ? a->stride[i - 1] : 0;
    uint64_t sb = j > 0 ? b->stride[j - 1] : 0;
    bool from_a = i > 0 && sa >= sb;
    bool from_b = j > 0 && sb >= sa;
    push_level(s, from_a ? sa : sb, from_a ? a->count[i - 1] - 1 : 0,
               from_b ? b->count[j - 1] - 1 : 0);
    if (from_a) i--;
    if (from_b) j--;
  }
  for (size_t l = s->levels; l-- > 0;) {
    s->rest_low[l] = s->rest_low[l + 1] + s->low[l] * s->stride[l];
    s->rest_high[l] = s->rest_high[l + 1] + s->high[l] * s->stride[l];
  }
}

bool ibx_region_overlaps(const ibx_region *a, const ibx_region *b,
                         uint64_t *work) {
  if (((a->mask[0] & b->mask[0]) | (a->mask[1] & b->mask[1])) == 0) {
    return false;
  }
  if (a->hi <= b->lo || b->hi <= a->lo) return false;
  if (a->dims == 0 && b->dims == 0) return true;
  search s;
  s.levels = 0;
  s.steps_left = SEARCH_STEPS;
  s.least = 1 - (int64_t)a->run;
  s.greatest = (int64_t)b->run - 1;
  memset(s.rest_low, 0, sizeof s.rest_low);
  memset(s.rest_high, 0, sizeof s.rest_high);
  make_levels(&s, a, b);
  bool is_found = find(&s, 0, (int64_t)a->lo - (int64_t)b->lo);
  *work += SEARCH_STEPS - s.steps_left;
  return is_found;
}

bool ibx_region_covers(const ibx_region *a, const ibx_region *b) {
  if ((b->mask[0] & ~a->mask[0]) != 0 || (b->mask[1] & ~a->mask[1]) != 0) {
    return false;
  }
  if (a->dims == 0) return a->lo <= b->lo && b->hi <= a->hi;
  return a->lo == b->lo && a->run == b->run && a->dims == b->dims &&
         memcmp(a->stride, b->stride, sizeof a->stride) == 0 &&
         memcmp(a->count, b->count, sizeof a->count) == 0;
}

bool ibx_region_equal(const ibx_region *a, const ibx_region *b) {
  return memcmp(a, b, sizeof *a) == 0;
}
