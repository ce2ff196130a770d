// SPDX-License-Identifier: Apache-2.0
//
// Views and gather against their definition, element by element: random shapes,
// every element size, and laws that compositions of views obey.

#include "support/tensors.h"

enum { ROUNDS = 300 };

static const ibx_dtype sizes[] = {IBX_DTYPE_U8, IBX_DTYPE_BF16, IBX_DTYPE_F32,
                                  IBX_DTYPE_I64};

static ibx_dtype random_dtype(uint64_t *seed) {
  return sizes[random_below(seed, IBX_COUNT_OF(sizes))];
}

static void assert_same(const ibx_tensor *a, size_t i, const ibx_tensor *b,
                        size_t j) {
  assert_memory_equal(element_of(a, i), element_of(b, j),
                      ibx_dtype_bytes(a->type.dtype));
}

static void assert_tensors_equal(const ibx_tensor *a, const ibx_tensor *b) {
  assert_int_equal(a->type.rank, b->type.rank);
  for (size_t i = 0; i < a->type.rank; i++) {
    assert_int_equal(a->type.dims[i], b->type.dims[i]);
  }
  size_t count = count_of(&a->type);
  for (size_t i = 0; i < count; i++)
    assert_same(a, i, b, i);
}

static ibx_params random_perm(uint64_t *seed, size_t rank) {
  ibx_params params = {.perm.len = (uint8_t)rank};
  for (size_t i = 0; i < rank; i++)
    params.perm.at[i] = (int64_t)i;
  for (size_t i = rank; i-- > 1;) {
    size_t j = random_below(seed, i + 1);
    int64_t kept = params.perm.at[i];
    params.perm.at[i] = params.perm.at[j];
    params.perm.at[j] = kept;
  }
  return params;
}

static void transpose_permutes(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 0, 5, 7);
    // Some are larger than the tiles of the kernel.
    if (round % 10 == 0 && type.rank > 1) type.dims[type.rank - 1] = 75;
    if (round % 10 == 0 && type.rank > 1) type.dims[0] = 41;
    if (count_of(&type) > 30000) continue;
    ibx_params params = random_perm(&seed, type.rank);
    ibx_tensor x = random_tensor(&seed, type, -9, 9);
    ibx_tensor y = evaluate(IBX_TENSOR_transpose, &params, &x, 1);
    for (size_t i = 0; i < count_of(&type); i++) {
      int64_t to[IBX_MAX_RANK], from[IBX_MAX_RANK] = {0};
      split_index(&y.type, i, to);
      for (size_t d = 0; d < type.rank; d++)
        from[params.perm.at[d]] = to[d];
      assert_same(&y, i, &x, join_index(&type, from));
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

// To any dtype of the width, and back to the same tensor.
static void bitcast_keeps_the_bytes(void **state) {
  (void)state;
  uint64_t seed = 21;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 0, 4, 7);
    ibx_params there = {.dtype = random_dtype(&seed)};
    ibx_params back = {.dtype = type.dtype};
    if (ibx_dtype_bytes(there.dtype) != ibx_dtype_bytes(type.dtype)) continue;
    ibx_tensor x = random_tensor(&seed, type, -9, 9);
    ibx_tensor y = evaluate(IBX_TENSOR_bitcast, &there, &x, 1);
    ibx_tensor z = evaluate(IBX_TENSOR_bitcast, &back, &y, 1);
    size_t bytes = count_of(&type) * ibx_dtype_bytes(type.dtype);
    assert_int_equal(y.type.dtype, there.dtype);
    assert_memory_equal(x.data, y.data, bytes);
    assert_tensors_equal(&x, &z);
    free_tensor(&x);
    free_tensor(&y);
    free_tensor(&z);
  }
}

static void random_slice(uint64_t *seed, const ibx_type *type,
                         ibx_params *params) {
  *params = (ibx_params){.axis = 0};
  params->starts.len = params->shape.len = params->steps.len = type->rank;
  for (size_t d = 0; d < type->rank; d++) {
    size_t extent = (size_t)type->dims[d];
    size_t start = random_below(seed, extent);
    int64_t step = (int64_t)random_below(seed, 7) - 3;
    if (step == 0) step = 1;
    size_t room =
        step > 0 ? (extent - 1 - start) / (size_t)step : start / (size_t)-step;
    params->starts.at[d] = (int64_t)start;
    params->steps.at[d] = step;
    params->shape.at[d] = (int64_t)random_below(seed, room + 2);
  }
}

static void slice_strides(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 0, 5, 8);
    ibx_params params;
    random_slice(&seed, &type, &params);
    ibx_tensor x = random_tensor(&seed, type, -9, 9);
    ibx_tensor y = evaluate(IBX_TENSOR_slice, &params, &x, 1);
    for (size_t i = 0; i < count_of(&y.type); i++) {
      int64_t at[IBX_MAX_RANK];
      split_index(&y.type, i, at);
      for (size_t d = 0; d < type.rank; d++) {
        at[d] = params.starts.at[d] + at[d] * params.steps.at[d];
      }
      assert_same(&y, i, &x, join_index(&type, at));
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

static void broadcast_repeats(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 0, 5, 4);
    ibx_params params = {.shape.len = type.rank};
    for (size_t d = 0; d < type.rank; d++) {
      params.shape.at[d] = type.dims[d];
      if (random_below(&seed, 2)) type.dims[d] = 1;
    }
    ibx_tensor x = random_tensor(&seed, type, -9, 9);
    ibx_tensor y = evaluate(IBX_TENSOR_broadcast, &params, &x, 1);
    for (size_t i = 0; i < count_of(&y.type); i++) {
      int64_t at[IBX_MAX_RANK];
      split_index(&y.type, i, at);
      for (size_t d = 0; d < type.rank; d++) {
        if (type.dims[d] == 1) at[d] = 0;
      }
      assert_same(&y, i, &x, join_index(&type, at));
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

static void pad_surrounds(void **state) {
  (void)state;
  uint64_t seed = 4;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 0, 4, 5);
    ibx_params params = {
        .low.len = type.rank, .high.len = type.rank, .value = 3};
    for (size_t d = 0; d < type.rank; d++) {
      params.low.at[d] = (int64_t)random_below(&seed, 3);
      params.high.at[d] = (int64_t)random_below(&seed, 3);
    }
    ibx_tensor x = random_tensor(&seed, type, -9, 9);
    ibx_tensor y = evaluate(IBX_TENSOR_pad, &params, &x, 1);
    for (size_t i = 0; i < count_of(&y.type); i++) {
      int64_t at[IBX_MAX_RANK];
      bool is_inside = true;
      split_index(&y.type, i, at);
      for (size_t d = 0; d < type.rank; d++) {
        at[d] -= params.low.at[d];
        is_inside = is_inside && at[d] >= 0 && at[d] < type.dims[d];
      }
      if (is_inside) {
        assert_same(&y, i, &x, join_index(&type, at));
      } else {
        assert_true(real_at(&y, i) == 3);
      }
    }
    free_tensor(&x);
    free_tensor(&y);
  }
}

static void padding_saturates_to_the_dtype(void **state) {
  (void)state;
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_U8, .dims = {1}};
  ibx_tensor x = make_tensor(type);
  ibx_params params = {
      .low = {.len = 1, .at = {1}}, .high = {.len = 1}, .value = -INFINITY};
  ibx_tensor y = evaluate(IBX_TENSOR_pad, &params, &x, 1);
  assert_int_equal(int_at(&y, 0), 0);
  free_tensor(&y);
  params.value = 1000;
  y = evaluate(IBX_TENSOR_pad, &params, &x, 1);
  assert_int_equal(int_at(&y, 0), 255);
  free_tensor(&y);
  free_tensor(&x);
}

// The slices of a concatenation are its operands.
static void concat_is_undone_by_slices(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int round = 0; round < ROUNDS; round++) {
    ibx_type type = random_type(&seed, random_dtype(&seed), 1, 4, 5);
    size_t axis = random_below(&seed, type.rank);
    size_t count = 1 + random_below(&seed, 8);
    ibx_tensor parts[8];
    for (size_t i = 0; i < count; i++) {
      type.dims[axis] = (int64_t)random_below(&seed, 4);
      parts[i] = random_tensor(&seed, type, -9, 9);
    }
    ibx_params params = {.axis = (int64_t)axis};
    ibx_tensor y = evaluate(IBX_TENSOR_concat, &params, parts, count);
    int64_t first = 0;
    for (size_t i = 0; i < count; i++) {
      ibx_params cut = {.starts.len = type.rank,
                        .steps.len = type.rank,
                        .shape.len = type.rank};
      for (size_t d = 0; d < type.rank; d++) {
        cut.shape.at[d] = parts[i].type.dims[d];
        cut.steps.at[d] = 1;
      }
      cut.starts.at[axis] = first;
      first += parts[i].type.dims[axis];
      ibx_tensor part = evaluate(IBX_TENSOR_slice, &cut, &y, 1);
      assert_tensors_equal(&part, &parts[i]);
      free_tensor(&part);
    }
    assert_int_equal(y.type.dims[axis], first);
    for (size_t i = 0; i < count; i++)
      free_tensor(&parts[i]);
    free_tensor(&y);
  }
}

static void reshape_keeps_the_order(void **state) {
  (void)state;
  uint64_t seed = 6;
  ibx_type type = {.rank = 3, .dtype = IBX_DTYPE_F16, .dims = {4, 5, 6}};
  ibx_tensor x = random_tensor(&seed, type, -9, 9);
  ibx_params params = {.shape = {.len = 2, .at = {10, 12}}};
  ibx_tensor y = evaluate(IBX_TENSOR_reshape, &params, &x, 1);
  assert_memory_equal(x.data, y.data, 120 * 2);
  free_tensor(&x);
  free_tensor(&y);
}

// data[..., indices, ...]
static void check_gather(uint64_t *seed, ibx_dtype index_dtype) {
  ibx_type type = random_type(seed, random_dtype(seed), 1, 4, 5);
  ibx_type index_type = random_type(seed, index_dtype, 0, 3, 4);
  size_t axis = random_below(seed, type.rank);
  int64_t extent = type.dims[axis];
  ibx_tensor in[2] = {random_tensor(seed, type, -9, 9),
                      make_tensor(index_type)};
  bool is_signed = ibx_dtype_get(index_dtype)->kind == IBX_DTYPE_KIND_SINT;
  for (size_t i = 0; i < count_of(&index_type); i++) {
    int64_t index = (int64_t)random_below(seed, (size_t)extent);
    if (is_signed && random_below(seed, 2)) index -= extent;
    set_int(&in[1], i, index);
  }
  ibx_params params = {.axis = (int64_t)axis};
  ibx_tensor y = evaluate(IBX_TENSOR_gather, &params, in, 2);
  assert_int_equal(y.type.rank, type.rank - 1 + index_type.rank);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    int64_t at[IBX_MAX_RANK], from[IBX_MAX_RANK], index_at[IBX_MAX_RANK];
    split_index(&y.type, i, at);
    for (size_t d = 0; d < index_type.rank; d++)
      index_at[d] = at[axis + d];
    int64_t index = int_at(&in[1], join_index(&index_type, index_at));
    for (size_t d = 0; d < axis; d++)
      from[d] = at[d];
    for (size_t d = axis + 1; d < type.rank; d++) {
      from[d] = at[d + index_type.rank - 1];
    }
    from[axis] = index < 0 ? index + extent : index;
    assert_same(&y, i, &in[0], join_index(&type, from));
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

static void gather_replaces_the_axis(void **state) {
  (void)state;
  uint64_t seed = 7;
  for (int round = 0; round < ROUNDS; round++) {
    for (int dtype = IBX_DTYPE_I8; dtype <= IBX_DTYPE_U64; dtype++) {
      check_gather(&seed, (ibx_dtype)dtype);
    }
  }
}

static void gather_refuses_indices_out_of_range(void **state) {
  (void)state;
  const int64_t wrong[] = {5, -6, INT64_MIN, INT64_MAX};
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_F32, .dims = {5}};
  ibx_type index_type = {.rank = 1, .dtype = IBX_DTYPE_I64, .dims = {2}};
  ibx_tensor in[2] = {make_tensor(type), make_tensor(index_type)};
  ibx_type out_type = type;
  out_type.dims[0] = 2;
  ibx_tensor y = make_tensor(out_type);
  ibx_params params = {.axis = 0};
  for (size_t i = 0; i < IBX_COUNT_OF(wrong); i++) {
    ibx_error err = {.status = IBX_OK};
    set_int(&in[1], 1, wrong[i]);
    assert_int_equal(
        ibx_tensor_eval(IBX_TENSOR_gather, &params, in, 2, &y, &err),
        IBX_MISMATCH);
    assert_non_null(strstr(err.message, "position 1"));
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(transpose_permutes),
      cmocka_unit_test(bitcast_keeps_the_bytes),
      cmocka_unit_test(slice_strides),
      cmocka_unit_test(broadcast_repeats),
      cmocka_unit_test(pad_surrounds),
      cmocka_unit_test(padding_saturates_to_the_dtype),
      cmocka_unit_test(concat_is_undone_by_slices),
      cmocka_unit_test(reshape_keeps_the_order),
      cmocka_unit_test(gather_replaces_the_axis),
      cmocka_unit_test(gather_refuses_indices_out_of_range),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
