// SPDX-License-Identifier: Apache-2.0
//
// Regions against the plainest oracle: every byte of every random pattern is
// put in a grid of partitions and bytes, and each question is asked again.

#include "core/prove_region.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

enum { LANES = 128, WIDTH = 256, ROUNDS = 4000 };

typedef struct grid {
  uint16_t touched[LANES][WIDTH]; ///< times
} grid;

static uint64_t random_state;

static uint64_t pick(uint64_t below) {
  random_state =
      random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
  return (random_state >> 33) % below;
}

static const ibx_buffer_place whole = {
    .space = IBX_SPACE_SBUF, .partitions = LANES, .bytes = WIDTH};

// Up to five dimensions of a few elements, in bytes, partitions or both.
static ibx_pattern make_pattern(void) {
  ibx_pattern p = {.offset = (int64_t)pick(WIDTH),
                   .partition = (int64_t)pick(LANES),
                   .element_bytes = UINT64_C(1) << pick(3)};
  for (size_t d = 0; d < IBX_DIMS; d++) {
    p.count[d] = pick(3) == 0 ? 1 : 1 + pick(6);
    uint64_t kind = pick(8);
    if (kind < 5) p.stride[d] = ((int64_t)pick(33) - 16) * (int64_t)pick(4);
    if (kind > 3) p.partition_step[d] = (int64_t)pick(9) - 4;
  }
  return p;
}

static bool is_inside(const ibx_pattern *p) {
  ibx_reach reach;
  return ibx_pattern_reach(p, &reach) && reach.first >= 0 &&
         reach.last < WIDTH && reach.first_partition >= 0 &&
         reach.last_partition < LANES;
}

static ibx_pattern make_inside(void) {
  ibx_pattern p = make_pattern();
  while (!is_inside(&p)) {
    p = make_pattern();
  }
  return p;
}

static void draw(const ibx_pattern *p, grid *g) {
  memset(g, 0, sizeof *g);
  uint64_t total = 1;
  for (size_t d = 0; d < IBX_DIMS; d++) {
    total *= p->count[d];
  }
  for (uint64_t n = 0; n < total; n++) {
    int64_t lane = p->partition;
    int64_t byte = p->offset;
    uint64_t rest = n;
    for (size_t d = 0; d < IBX_DIMS; d++) {
      int64_t i = (int64_t)(rest % p->count[d]);
      rest /= p->count[d];
      lane += p->partition_step[d] * i;
      byte += p->stride[d] * i;
    }
    for (uint64_t b = 0; b < p->element_bytes; b++) {
      g->touched[lane][byte + (int64_t)b]++;
    }
  }
}

static bool in_mask(const uint64_t mask[2], size_t lane) {
  return (mask[lane / 64] >> (lane % 64) & 1) != 0;
}

// A region through its bits: the way in which the prover sees it.
static void draw_region(const ibx_region *r, grid *g) {
  ibx_bits bits = {.size = WIDTH};
  assert_true(ibx_bits_set(&bits, r, 0));
  memset(g, 0, sizeof *g);
  for (size_t byte = 0; byte < WIDTH; byte++) {
    const ibx_region one = {.lo = byte, .hi = byte + 1, .run = 1};
    if (!ibx_bits_test(&bits, &one, 0)) continue;
    for (size_t lane = 0; lane < LANES; lane++) {
      g->touched[lane][byte] = in_mask(r->mask, lane);
    }
  }
  ibx_bits_fini(&bits);
}

static ibx_region first_region(const ibx_pattern *p) {
  ibx_region_state state = {0};
  ibx_region region;
  assert_true(ibx_pattern_next(p, &whole, &state, &region));
  return region;
}

static void the_reach_is_exact(void **state) {
  (void)state;
  static grid g;
  random_state = 1;
  for (size_t round = 0; round < ROUNDS; round++) {
    ibx_pattern p = make_inside();
    ibx_reach reach;
    assert_true(ibx_pattern_reach(&p, &reach));
    draw(&p, &g);
    int64_t first = WIDTH, last = -1, low = LANES, high = -1;
    for (int64_t lane = 0; lane < LANES; lane++) {
      for (int64_t byte = 0; byte < WIDTH; byte++) {
        if (g.touched[lane][byte] == 0) continue;
        if (byte < first) first = byte;
        if (byte > last) last = byte;
        if (lane < low) low = lane;
        if (lane > high) high = lane;
      }
    }
    assert_int_equal(reach.first, first);
    assert_int_equal(reach.last, last);
    assert_int_equal(reach.first_partition, low);
    assert_int_equal(reach.last_partition, high);
  }
}

static void a_reach_that_overflows_is_told(void **state) {
  (void)state;
  ibx_pattern p = {.count = {1, 1, UINT32_MAX, 1, UINT32_MAX},
                   .stride = {0, 0, INT64_C(-8) * INT32_MAX, 0, 8},
                   .element_bytes = 8};
  ibx_reach reach;
  assert_false(ibx_pattern_reach(&p, &reach));
  p.stride[2] = 0;
  assert_true(ibx_pattern_reach(&p, &reach));
  assert_int_equal(reach.last, INT64_C(8) * UINT32_MAX - 1);
  p.offset = INT64_MIN;
  assert_false(ibx_pattern_reach(&p, &reach));
}

static void regions_are_the_bytes_of_the_pattern(void **state) {
  (void)state;
  static grid expected, sum, part;
  random_state = 2;
  for (size_t round = 0; round < ROUNDS; round++) {
    ibx_pattern p = make_inside();
    draw(&p, &expected);
    memset(&sum, 0, sizeof sum);
    ibx_region_state at = {0};
    ibx_region region;
    uint64_t regions = 0;
    while (ibx_pattern_next(&p, &whole, &at, &region)) {
      regions++;
      draw_region(&region, &part);
      for (size_t i = 0; i < LANES * WIDTH; i++) {
        sum.touched[i / WIDTH][i % WIDTH] |= part.touched[i / WIDTH][i % WIDTH];
      }
    }
    assert_int_equal(regions, ibx_pattern_regions(&p));
    for (size_t i = 0; i < LANES * WIDTH; i++) {
      assert_int_equal(sum.touched[i / WIDTH][i % WIDTH],
                       expected.touched[i / WIDTH][i % WIDTH] != 0);
    }
  }
}

static void overlap_and_cover_are_those_of_the_bytes(void **state) {
  (void)state;
  static grid a, b;
  random_state = 3;
  size_t overlapping = 0, apart_in_one_box = 0, covered = 0;
  for (size_t round = 0; round < ROUNDS; round++) {
    ibx_pattern p = make_inside();
    ibx_pattern q = round % 4 == 0 ? p : make_inside();
    q.partition = p.partition;
    if (!is_inside(&q)) continue;
    ibx_region x = first_region(&p);
    ibx_region y = first_region(&q);
    draw_region(&x, &a);
    draw_region(&y, &b);
    bool shares = false, covers = true;
    for (size_t i = 0; i < LANES * WIDTH; i++) {
      bool in_a = a.touched[i / WIDTH][i % WIDTH] != 0;
      bool in_b = b.touched[i / WIDTH][i % WIDTH] != 0;
      shares = shares || (in_a && in_b);
      covers = covers && (in_a || !in_b);
    }
    uint64_t work = 0;
    assert_int_equal(ibx_region_overlaps(&x, &y, &work), shares);
    assert_int_equal(ibx_region_overlaps(&y, &x, &work), shares);
    if (ibx_region_covers(&x, &y)) assert_true(covers);
    covered += ibx_region_covers(&x, &y);
    overlapping += shares;
    apart_in_one_box += !shares && x.lo < y.hi && y.lo < x.hi;
  }
  // The random patterns really ask the questions.
  assert_true(overlapping > 300);
  assert_true(apart_in_one_box > 300);
  assert_true(covered > 100);
}

static void injective_patterns_touch_no_byte_twice(void **state) {
  (void)state;
  static grid g;
  random_state = 4;
  size_t proved = 0, missed = 0;
  for (size_t round = 0; round < ROUNDS; round++) {
    ibx_pattern p = make_inside();
    if (ibx_pattern_regions(&p) > 1) continue;
    draw(&p, &g);
    bool is_once = true;
    for (size_t i = 0; i < LANES * WIDTH; i++) {
      is_once = is_once && g.touched[i / WIDTH][i % WIDTH] <= 1;
    }
    if (ibx_pattern_is_injective(&p)) {
      assert_true(is_once);
      proved++;
    } else {
      missed += is_once;
    }
  }
  assert_true(proved > 300);
  assert_true(missed < proved / 4);
}

static void bits_set_and_clear_parts(void **state) {
  (void)state;
  random_state = 5;
  for (size_t round = 0; round < 200; round++) {
    bool model[WIDTH] = {false};
    uint64_t base = pick(40), size = 1 + pick(WIDTH - 40);
    ibx_bits bits = {.size = size};
    for (size_t step = 0; step < 30; step++) {
      ibx_pattern p = make_inside();
      ibx_region r = first_region(&p);
      if (step % 7 == 6) r = (ibx_region){.lo = 0, .hi = WIDTH, .run = WIDTH};
      bool sets = pick(3) != 0;
      assert_true(sets ? ibx_bits_set(&bits, &r, base)
                       : ibx_bits_clear(&bits, &r, base));
      uint64_t count = 0;
      ibx_bits only = {.size = size};
      assert_true(ibx_bits_set(&only, &r, base));
      for (uint64_t i = 0; i < size; i++) {
        const ibx_region one = {.lo = base + i, .hi = base + i + 1, .run = 1};
        if (ibx_bits_test(&only, &one, base)) model[i] = sets;
        assert_int_equal(ibx_bits_test(&bits, &one, base), model[i]);
        count += model[i];
      }
      assert_int_equal(bits.set, count);
      ibx_bits copy;
      assert_true(ibx_bits_copy(&bits, &copy));
      assert_int_equal(copy.set, bits.set);
      ibx_bits_fini(&copy);
      ibx_bits_fini(&only);
    }
    ibx_bits_fini(&bits);
  }
}

static void ones_are_counted(void **state) {
  (void)state;
  random_state = 6;
  for (size_t round = 0; round < 1000; round++) {
    uint64_t word = pick(UINT64_C(1) << 31) << 33 ^ pick(UINT64_C(1) << 31)
                                                        << 5;
    if (round < 64) word = UINT64_MAX >> round;
    uint64_t ones = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
      ones += word >> bit & 1;
    }
    assert_int_equal(ibx_count_ones(word), ones);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_reach_is_exact),
      cmocka_unit_test(a_reach_that_overflows_is_told),
      cmocka_unit_test(regions_are_the_bytes_of_the_pattern),
      cmocka_unit_test(overlap_and_cover_are_those_of_the_bytes),
      cmocka_unit_test(injective_patterns_touch_no_byte_twice),
      cmocka_unit_test(bits_set_and_clear_parts),
      cmocka_unit_test(ones_are_counted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
