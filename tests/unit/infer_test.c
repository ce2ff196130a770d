// SPDX-License-Identifier: Apache-2.0
//
// Tables of tensor operations and shape inference: what each refuses, in which
// words, and that absurd types and parameters are refused without overflow.
// That accepted shapes are right is shown by the kernels' tests.

#include "support/tensors.h"

// --- tables ---

static void every_row_has_a_name_and_a_sentence(void **state) {
  (void)state;
  for (int op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    const ibx_tensor_op_info *info = ibx_tensor_op_get((ibx_tensor_op)op);
    assert_true(info->name[0] != 0 && info->sentence[0] != 0);
    assert_true(info->least <= info->most && info->most <= 8);
    for (int other = 0; other < op; other++) {
      assert_string_not_equal(info->name,
                              ibx_tensor_op_get((ibx_tensor_op)other)->name);
    }
  }
  assert_null(ibx_tensor_op_get(IBX_TENSOR_OP_COUNT));
  assert_null(ibx_tensor_op_get((ibx_tensor_op)-1));
}

// Every word of a row's params is a parameter, and nothing else is.
static void parameters_are_the_words_of_a_row(void **state) {
  (void)state;
  for (int op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    const char *words = ibx_tensor_op_get((ibx_tensor_op)op)->params;
    size_t expected = words[0] != 0, found = 0;
    for (const char *c = words; *c; c++)
      expected += *c == ' ';
    for (size_t i = 0; ibx_param_get(i); i++) {
      found += ibx_tensor_op_has_param((ibx_tensor_op)op, i);
    }
    assert_int_equal(found, expected);
    assert_false(ibx_tensor_op_has_param((ibx_tensor_op)op, 1000));
  }
  assert_null(ibx_param_get(1000));
}

static void sizes_are_checked(void **state) {
  (void)state;
  int64_t size = 0;
  ibx_type type = {.rank = 3, .dtype = IBX_DTYPE_F32, .dims = {2, 3, 4}};
  assert_true(ibx_type_elements(&type, &size));
  assert_int_equal(size, 24);
  assert_true(ibx_type_bytes(&type, &size));
  assert_int_equal(size, 96);
  type.dims[1] = 0;
  assert_true(ibx_type_bytes(&type, &size));
  assert_int_equal(size, 0);
  type.dims[1] = -1;
  assert_false(ibx_type_elements(&type, &size));
  type = (ibx_type){.rank = 2,
                    .dtype = IBX_DTYPE_F32,
                    .dims = {INT64_C(1) << 31, INT64_C(1) << 31}};
  assert_true(ibx_type_elements(&type, &size));
  assert_false(ibx_type_bytes(&type, &size));
  type.dims[0] = INT64_MAX;
  assert_false(ibx_type_elements(&type, &size));
  // Kernels multiply some extents only: a 0 elsewhere does not excuse them.
  type = (ibx_type){
      .rank = 3, .dtype = IBX_DTYPE_F32, .dims = {0, INT64_MAX, INT64_MAX}};
  assert_false(ibx_type_elements(&type, &size));
}

// --- what is refused ---

#define F32(...) {.dtype = IBX_DTYPE_F32, __VA_ARGS__}
#define INTS(count, ...)                                                       \
  {                                                                            \
    .len = (count), .at = { __VA_ARGS__ }                                      \
  }

typedef struct refusal {
  const char *words; ///< in the message
  ibx_tensor_op op;
  size_t count;
  ibx_type in[3];
  ibx_params params;
} refusal;

// clang-format off
static const refusal refusals[] = {
    {"add has 1 operands; it takes 2 to 2",
     IBX_TENSOR_add,
     1,
     {F32(.rank = 1, .dims = {2})},
     {0}},
    {"add: operand 1 is f32[3], operand 0 is f32[2]",
     IBX_TENSOR_add,
     2,
     {F32(.rank = 1, .dims = {2}), F32(.rank = 1, .dims = {3})},
     {0}},
    {"operand 1 is f16[2], operand 0 is f32[2]",
     IBX_TENSOR_less,
     2,
     {F32(.rank = 1, .dims = {2}),
      {.rank = 1, .dims = {2}, .dtype = IBX_DTYPE_F16}},
     {0}},
    {"exp takes floating dtypes; operand 0 is i32",
     IBX_TENSOR_exp,
     1,
     {{.dtype = IBX_DTYPE_I32}},
     {0}},
    {"and takes bool; operand 0 is f32",
     IBX_TENSOR_and,
     2,
     {F32(.rank = 0), F32(.rank = 0)},
     {0}},
    {"operand 0 has no element type",
     IBX_TENSOR_neg,
     1,
     {{.dtype = IBX_DTYPE_NONE}},
     {0}},
    {"operand 0 has extent -1 in dimension 0",
     IBX_TENSOR_neg,
     1,
     {F32(.rank = 1, .dims = {-1})},
     {0}},
    {"operand 0 has rank 9; at most 8",
     IBX_TENSOR_neg,
     1,
     {F32(.rank = 9)},
     {0}},
    {"bytes of operand 0 do not fit",
     IBX_TENSOR_neg,
     1,
     {F32(.rank = 1, .dims = {INT64_MAX})},
     {0}},
    {"clip: alpha 2 is not below beta 1",
     IBX_TENSOR_clip,
     1,
     {F32(.rank = 0)},
     {.alpha = 2, .beta = 1}},
    {"of integers must be whole",
     IBX_TENSOR_affine,
     1,
     {{.dtype = IBX_DTYPE_I8}},
     {.alpha = 0.5f}},
    {"result 0 has no element type", IBX_TENSOR_cast, 1, {F32(.rank = 0)}, {0}},
    {"select: operand 0 is f32; it is bool",
     IBX_TENSOR_select,
     3,
     {F32(.rank = 0), F32(.rank = 0), F32(.rank = 0)},
     {0}},
    {"select: operand 0 is bool[2], operand 1 is f32[3]",
     IBX_TENSOR_select,
     3,
     {{.rank = 1, .dims = {2}, .dtype = IBX_DTYPE_BOOL},
      F32(.rank = 1, .dims = {3}),
      F32(.rank = 1, .dims = {3})},
     {0}},
    {"reshape: f32[2,3] has other elements than f32[7]",
     IBX_TENSOR_reshape,
     1,
     {F32(.rank = 2, .dims = {2, 3})},
     {.shape = INTS(1, 7)}},
    {"perm has 1 values; there are 2 dimensions",
     IBX_TENSOR_transpose,
     1,
     {F32(.rank = 2, .dims = {2, 3})},
     {.perm = INTS(1, 0)}},
    {"perm[1] = 0 makes no permutation",
     IBX_TENSOR_transpose,
     1,
     {F32(.rank = 2, .dims = {2, 3})},
     {.perm = INTS(2, 0, 0)}},
    {"slice: 3 elements from 1 in steps of 1 leave the 3 of dimension 0",
     IBX_TENSOR_slice,
     1,
     {F32(.rank = 1, .dims = {3})},
     {.starts = INTS(1, 1), .steps = INTS(1, 1), .shape = INTS(1, 3)}},
    {"slice: 2 elements from 0 in steps of -1",
     IBX_TENSOR_slice,
     1,
     {F32(.rank = 1, .dims = {3})},
     {.starts = INTS(1, 0), .steps = INTS(1, -1), .shape = INTS(1, 2)}},
    {"slice: 2 elements from 0 in steps of 0",
     IBX_TENSOR_slice,
     1,
     {F32(.rank = 1, .dims = {3})},
     {.starts = INTS(1, 0), .steps = INTS(1, 0), .shape = INTS(1, 2)}},
    {"dimension 0 has 2 elements and cannot become 3",
     IBX_TENSOR_broadcast,
     1,
     {F32(.rank = 1, .dims = {2})},
     {.shape = INTS(1, 3)}},
    {"low[0] is -1; at least 0 is needed",
     IBX_TENSOR_pad,
     1,
     {F32(.rank = 1, .dims = {2})},
     {.low = INTS(1, -1), .high = INTS(1, 0)}},
    {"an extent does not fit in 63 bits",
     IBX_TENSOR_pad,
     1,
     {F32(.rank = 1, .dims = {2})},
     {.low = INTS(1, INT64_MAX), .high = INTS(1, 0)}},
    {"only dimension 0 may differ",
     IBX_TENSOR_concat,
     2,
     {F32(.rank = 2, .dims = {2, 3}), F32(.rank = 2, .dims = {2, 4})},
     {0}},
    {"axis 1 is outside of the 1 dimensions",
     IBX_TENSOR_softmax,
     1,
     {F32(.rank = 1, .dims = {2})},
     {.axis = 1}},
    {"gather takes integers; operand 1 is f32",
     IBX_TENSOR_gather,
     2,
     {F32(.rank = 1, .dims = {2}), F32(.rank = 0)},
     {0}},
    {"the result has rank 9",
     IBX_TENSOR_gather,
     2,
     {F32(.rank = 5, .dims = {1, 1, 1, 1, 1}),
      {.rank = 5, .dims = {1, 1, 1, 1, 1}, .dtype = IBX_DTYPE_I32}},
     {0}},
    {"keepdims is 2; it is 0 or 1",
     IBX_TENSOR_reduce_sum,
     1,
     {F32(.rank = 0)},
     {.keepdims = 2}},
    {"axes[1] is 0; axes ascend and lie below 2",
     IBX_TENSOR_reduce_max,
     1,
     {F32(.rank = 2, .dims = {2, 3})},
     {.axes = INTS(2, 1, 0)}},
    {"dimension 0 has no element",
     IBX_TENSOR_argmax,
     1,
     {F32(.rank = 1, .dims = {0})},
     {0}},
    {"matmul: f32[2,3] and f32[2,3] do not fit together",
     IBX_TENSOR_matmul,
     2,
     {F32(.rank = 2, .dims = {2, 3}), F32(.rank = 2, .dims = {2, 3})},
     {0}},
    {"need equal ranks from 3 on",
     IBX_TENSOR_conv,
     2,
     {F32(.rank = 2, .dims = {2, 3}), F32(.rank = 2, .dims = {2, 3})},
     {.groups = 1}},
    {"3 groups do not divide the channels",
     IBX_TENSOR_conv,
     2,
     {F32(.rank = 3, .dims = {1, 4, 8}), F32(.rank = 3, .dims = {4, 4, 3})},
     {.groups = 3}},
    {"w has 3 input channels; x has 4 in each of 1 groups",
     IBX_TENSOR_conv,
     2,
     {F32(.rank = 3, .dims = {1, 4, 8}), F32(.rank = 3, .dims = {4, 3, 3})},
     {.groups = 1,
      .strides = INTS(1, 1),
      .low = INTS(1, 0),
      .high = INTS(1, 0),
      .dilations = INTS(1, 1)}},
    {"strides[0] is 0; at least 1 is needed",
     IBX_TENSOR_conv,
     2,
     {F32(.rank = 3, .dims = {1, 4, 8}), F32(.rank = 3, .dims = {4, 4, 3})},
     {.groups = 1, .strides = INTS(1, 0)}},
    {"a window of 17 elements does not fit in the 8",
     IBX_TENSOR_conv,
     2,
     {F32(.rank = 3, .dims = {1, 4, 8}), F32(.rank = 3, .dims = {4, 4, 3})},
     {.groups = 1,
      .strides = INTS(1, 1),
      .low = INTS(1, 0),
      .high = INTS(1, 0),
      .dilations = INTS(1, 8)}},
    {"shape begins with 1, 5; batch and channels are 1, 4",
     IBX_TENSOR_conv_transpose,
     2,
     {F32(.rank = 3, .dims = {1, 4, 8}), F32(.rank = 3, .dims = {4, 4, 3})},
     {.groups = 1,
      .strides = INTS(1, 1),
      .low = INTS(1, 0),
      .high = INTS(1, 0),
      .dilations = INTS(1, 1),
      .shape = INTS(3, 1, 5, 9)}},
    {"the operand has rank 2; at least 3",
     IBX_TENSOR_max_pool,
     1,
     {F32(.rank = 2, .dims = {2, 3})},
     {0}},
    {"kernel has 2 values; there are 1 dimensions",
     IBX_TENSOR_avg_pool,
     1,
     {F32(.rank = 3, .dims = {1, 2, 3})},
     {.kernel = INTS(2, 1, 1)}},
    {"the window has more than 67108864 elements", IBX_TENSOR_avg_pool, 1,
     {F32(.rank = 3, .dims = {1, 2, 3})},
     {.kernel = INTS(1, 1 << 27), .strides = INTS(1, 1), .low = INTS(1, 0), .high = INTS(1, 1 << 27)}},
    {"operand 1 is f32[3]; the normalised part is f32[4]",
     IBX_TENSOR_layer_norm,
     2,
     {F32(.rank = 2, .dims = {2, 4}), F32(.rank = 1, .dims = {3})},
     {.axis = 1}},
    {"shape[0] is -5",
     IBX_TENSOR_constant,
     0,
     {F32(.rank = 0)},
     {.shape = INTS(1, -5), .dtype = IBX_DTYPE_F32}},
    {"shape has 9 values; at most 8",
     IBX_TENSOR_reshape,
     1,
     {F32(.rank = 0)},
     {.shape = {.len = 9}}},
};
// clang-format on

static void what_is_wrong_is_refused_in_words(void **state) {
  (void)state;
  for (size_t i = 0; i < IBX_COUNT_OF(refusals); i++) {
    const refusal *row = &refusals[i];
    ibx_error err = {.status = IBX_OK};
    ibx_type type;
    ibx_status status = ibx_tensor_infer(row->op, &row->params, row->in,
                                         row->count, &type, &err);
    assert_int_not_equal(status, IBX_OK);
    assert_int_not_equal(status, IBX_INTERNAL);
    assert_int_equal(status, err.status);
    if (!strstr(err.message, row->words)) {
      fail_msg("'%s' is not in '%s'", row->words, err.message);
    }
  }
}

// --- absurd values ---

static int64_t absurd(uint64_t *seed) {
  static const int64_t values[] = {0,
                                   1,
                                   2,
                                   3,
                                   -1,
                                   5,
                                   INT64_MAX,
                                   INT64_MIN,
                                   1 << 20,
                                   INT32_MAX,
                                   INT64_C(1) << 40,
                                   INT64_MAX - 1};
  return values[random_below(seed, IBX_COUNT_OF(values))];
}

static ibx_type absurd_type(uint64_t *seed) {
  ibx_type type = {.rank = (uint8_t)random_below(seed, 9),
                   .dtype = (ibx_dtype)random_below(seed, 18)};
  for (size_t i = 0; i < IBX_MAX_RANK; i++) {
    type.dims[i] = (int64_t)random_below(seed, 4);
    if (random_below(seed, 6) == 0) type.dims[i] = absurd(seed);
  }
  return type;
}

static ibx_params absurd_params(uint64_t *seed) {
  ibx_params params = {.axis = 0};
  for (size_t i = 0; ibx_param_get(i); i++) {
    const ibx_param_info *param = ibx_param_get(i);
    void *at = (char *)&params + param->offset;
    ibx_ints list = {.len = (uint8_t)random_below(seed, 6)};
    for (size_t k = 0; k < IBX_MAX_RANK; k++) {
      list.at[k] = random_below(seed, 3) ? 1 : absurd(seed);
    }
    int64_t number = absurd(seed);
    float real = (float)number;
    ibx_dtype dtype = (ibx_dtype)random_below(seed, 18);
    switch (param->kind) {
    case IBX_PARAM_KIND_INT: memcpy(at, &number, sizeof number); break;
    case IBX_PARAM_KIND_FLOAT: memcpy(at, &real, sizeof real); break;
    case IBX_PARAM_KIND_INTS: memcpy(at, &list, sizeof list); break;
    case IBX_PARAM_KIND_DTYPE: memcpy(at, &dtype, sizeof dtype); break;
    }
  }
  return params;
}

// The sanitizers see what overflows; accepted types have a size, and small ones
// are computed, so that kernels meet them, too.
static void absurd_values_do_no_harm(void **state) {
  (void)state;
  uint64_t seed = 1;
  size_t accepted = 0;
  for (int round = 0; round < 100000; round++) {
    ibx_tensor_op op = (ibx_tensor_op)random_below(&seed, IBX_TENSOR_OP_COUNT);
    size_t count = random_below(&seed, 4);
    ibx_params params = absurd_params(&seed);
    ibx_type in[4], type;
    ibx_tensor operands[4];
    int64_t bytes = 0, all_bytes = 0;
    for (size_t i = 0; i < count; i++) {
      in[i] = i && random_below(&seed, 2) ? in[0] : absurd_type(&seed);
    }
    if (ibx_tensor_infer(op, &params, in, count, &type, NULL) != IBX_OK) {
      continue;
    }
    accepted++;
    assert_true(type.rank <= IBX_MAX_RANK && ibx_type_bytes(&type, &bytes));
    bool is_small = bytes < 4096 && op != IBX_TENSOR_constant;
    for (size_t i = 0; i < count; i++) {
      assert_true(ibx_type_bytes(&in[i], &all_bytes));
      is_small = is_small && all_bytes < 4096;
    }
    if (!is_small) continue;
    for (size_t i = 0; i < count; i++) {
      operands[i] = random_tensor(&seed, in[i], -2, 2);
    }
    ibx_tensor result = make_tensor(type);
    ibx_status status =
        ibx_tensor_eval(op, &params, operands, count, &result, NULL);
    // Random indices leave their range, and absurd windows all memory.
    bool may_fail = op == IBX_TENSOR_gather || status == IBX_OUT_OF_MEMORY;
    assert_true(status == IBX_OK || may_fail);
    for (size_t i = 0; i < count; i++)
      free_tensor(&operands[i]);
    free_tensor(&result);
  }
  assert_true(accepted > 1000);
}

// --- calls of kernels ---

static void results_must_have_the_inferred_type(void **state) {
  (void)state;
  ibx_type type = {.rank = 1, .dtype = IBX_DTYPE_F32, .dims = {2}};
  ibx_tensor x = make_tensor(type), y = make_tensor(type);
  ibx_params params = {.axis = 0};
  ibx_error err = {.status = IBX_OK};
  y.type.dims[0] = 1;
  assert_int_equal(ibx_tensor_eval(IBX_TENSOR_neg, &params, &x, 1, &y, &err),
                   IBX_MISMATCH);
  assert_non_null(strstr(err.message, "f32[2]"));
  y.type.dims[0] = 2;
  ibx_tensor lost = {.type = type};
  assert_int_equal(ibx_tensor_eval(IBX_TENSOR_neg, &params, &lost, 1, &y, &err),
                   IBX_INVALID_ARGUMENT);
  assert_int_equal(ibx_tensor_eval(IBX_TENSOR_neg, &params, &x, 1, &lost, &err),
                   IBX_INVALID_ARGUMENT);
  params.dtype = IBX_DTYPE_F32;
  params.shape = (ibx_ints)INTS(1, 2);
  assert_int_equal(
      ibx_tensor_eval(IBX_TENSOR_constant, &params, NULL, 0, &y, &err),
      IBX_INVALID_ARGUMENT);
  free_tensor(&x);
  free_tensor(&y);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_has_a_name_and_a_sentence),
      cmocka_unit_test(parameters_are_the_words_of_a_row),
      cmocka_unit_test(sizes_are_checked),
      cmocka_unit_test(what_is_wrong_is_refused_in_words),
      cmocka_unit_test(absurd_values_do_no_harm),
      cmocka_unit_test(results_must_have_the_inferred_type),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
