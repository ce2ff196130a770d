// SPDX-License-Identifier: Apache-2.0
//
// Positions of elements that are not 0, for every dtype, and boxes that do not
// overlap, against their definitions over random data.

#include "support/tensors.h"

enum { ROUNDS = 200, MOST_BOXES = 12 };

static size_t lane_at(const ibx_type *type, size_t axis, size_t lane,
                      size_t place) {
  size_t inner = 1;
  for (size_t d = axis + 1; d < type->rank; d++)
    inner *= (size_t)type->dims[d];
  size_t extent = (size_t)type->dims[axis];
  return (lane / inner * extent + place) * inner + lane % inner;
}

static bool is_zero(const ibx_tensor *x, size_t index) {
  return is_float(x->type.dtype) ? real_at(x, index) == 0
                                 : int_at(x, index) == 0;
}

static void check_nonzero(ibx_dtype dtype, uint64_t *seed) {
  ibx_type type = random_type(seed, dtype, 1, 4, 7);
  size_t axis = random_below(seed, type.rank);
  size_t extent = (size_t)type.dims[axis];
  ibx_params params = {.axis = (int64_t)axis,
                       .count = (int64_t)random_below(seed, extent + 1),
                       .dtype = random_below(seed, 2) ? IBX_DTYPE_I64
                                                      : IBX_DTYPE_I32};
  ibx_tensor x = random_tensor(seed, type, -2, 2);
  for (size_t i = 0; i < count_of(&type); i++) {
    if (random_below(seed, 2)) continue;
    if (is_float(dtype)) set_real(&x, i, random_below(seed, 2) ? 0.0 : -0.0);
    if (!is_float(dtype)) set_int(&x, i, 0);
  }
  ibx_tensor y = evaluate(IBX_TENSOR_nonzero, &params, &x, 1);
  size_t room = (size_t)params.count;
  size_t lanes = room == 0 ? 0 : count_of(&y.type) / room;
  for (size_t lane = 0; lane < lanes; lane++) {
    size_t found = 0;
    for (size_t i = 0; i < extent && found < room; i++) {
      if (is_zero(&x, lane_at(&type, axis, lane, i))) continue;
      assert_int_equal(int_at(&y, lane_at(&y.type, axis, lane, found++)), i);
    }
    for (; found < room; found++)
      assert_int_equal(int_at(&y, lane_at(&y.type, axis, lane, found)), -1);
  }
  free_tensor(&x);
  free_tensor(&y);
}

static void positions_are_those_that_are_not_zero(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_dtype dtype = (ibx_dtype)(1 + random_below(&seed, IBX_DTYPE_COUNT - 1));
    if (!ibx_dtype_is_packed(dtype)) check_nonzero(dtype, &seed);
  }
}

// --- boxes ---------------------------------------------------------------------

static double overlap(const ibx_tensor *boxes, size_t a, size_t b) {
  double shared = 1, area_a = 1, area_b = 1;
  for (size_t d = 0; d < 2; d++) {
    double low_a = real_at(boxes, 4 * a + d),
           high_a = real_at(boxes, 4 * a + d + 2);
    double low_b = real_at(boxes, 4 * b + d),
           high_b = real_at(boxes, 4 * b + d + 2);
    double common = fmin(fmax(low_a, high_a), fmax(low_b, high_b)) -
                    fmax(fmin(low_a, high_a), fmin(low_b, high_b));
    shared *= fmax(common, 0);
    area_a *= fabs(high_a - low_a);
    area_b *= fabs(high_b - low_b);
  }
  return shared == 0 ? 0 : shared / (area_a + area_b - shared);
}

// Greedy: the best score that is left and overlaps none that was taken.
static int64_t next_box(const ibx_tensor *boxes, const ibx_tensor *scores,
                        const ibx_params *params, size_t count,
                        const int64_t *taken, size_t taken_count) {
  int64_t best = -1;
  for (size_t i = 0; i < count; i++) {
    bool fine = real_at(scores, i) > (double)params->beta;
    for (size_t k = 0; k < taken_count; k++) {
      size_t other = (size_t)taken[k];
      fine = fine && other != i &&
             !(overlap(boxes, i, other) > (double)params->alpha);
    }
    if (fine &&
        (best < 0 || real_at(scores, i) > real_at(scores, (size_t)best))) {
      best = (int64_t)i;
    }
  }
  return best;
}

// Corners on a grid of eighths: areas are exact, ties are frequent.
static void boxes_are_taken_by_score(void **state) {
  (void)state;
  uint64_t seed = 6;
  for (int round = 0; round < ROUNDS; round++) {
    size_t count = 1 + random_below(&seed, MOST_BOXES);
    ibx_type row = {
        .dims = {(int64_t)count}, .rank = 1, .dtype = IBX_DTYPE_F32};
    ibx_type all = row;
    all.dims[0] *= 4;
    ibx_tensor in[2] = {make_tensor(all), make_tensor(row)};
    for (size_t i = 0; i < 4 * count; i++)
      set_real(&in[0], i, (double)random_below(&seed, 9) / 8);
    for (size_t i = 0; i < count; i++)
      set_real(&in[1], i, (double)random_below(&seed, 5) / 4);
    ibx_params params = {.count = (int64_t)random_below(&seed, count + 1),
                         .alpha = (float)random_below(&seed, 3) / 4,
                         .beta = (float)random_below(&seed, 3) / 4 - 0.25f};
    ibx_tensor y = evaluate(IBX_TENSOR_suppress, &params, in, 2);
    int64_t taken[MOST_BOXES];
    for (size_t k = 0; k < (size_t)params.count; k++) {
      bool ended = k > 0 && taken[k - 1] < 0;
      taken[k] =
          ended ? -1 : next_box(&in[0], &in[1], &params, count, taken, k);
      assert_int_equal(int_at(&y, k), taken[k]);
    }
    free_tensor(&in[0]);
    free_tensor(&in[1]);
    free_tensor(&y);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(positions_are_those_that_are_not_zero),
      cmocka_unit_test(boxes_are_taken_by_score),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
