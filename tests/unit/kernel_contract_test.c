// SPDX-License-Identifier: Apache-2.0
//
// Matrix products, convolutions and pooling against loops over every product
// and window element, with random shapes, strides, paddings, dilations, groups.

#include "support/tensors.h"

enum { ROUNDS = 40 };

static const ibx_dtype dtypes[] = {IBX_DTYPE_F32, IBX_DTYPE_BF16, IBX_DTYPE_F16,
                                   IBX_DTYPE_F64, IBX_DTYPE_I8,   IBX_DTYPE_I32,
                                   IBX_DTYPE_U64};

// A sum of products and what a computation in fp32 may be off.
typedef struct sum {
  double real, slack;
  uint64_t integer;
} sum;

static void add_product(sum *s, const ibx_tensor *a, size_t i,
                        const ibx_tensor *b, size_t j) {
  if (is_float(a->type.dtype)) {
    double product = real_at(a, i) * real_at(b, j);
    bool is_f64 = a->type.dtype == IBX_DTYPE_F64;
    s->real += product;
    s->slack += fabs(product) * (is_f64 ? 0x1p-45 : 0x1p-18);
  } else {
    s->integer += (uint64_t)int_at(a, i) * (uint64_t)int_at(b, j);
  }
}

static void check_sum(const sum *s, const ibx_tensor *y, size_t i) {
  ibx_dtype dtype = y->type.dtype;
  if (is_float(dtype)) {
    assert_rounded(dtype, real_at(y, i), s->real, s->slack);
  } else {
    assert_int_equal(int_at(y, i), wrapped(dtype, s->integer));
  }
}

static void check_matmul(ibx_dtype dtype, size_t limit, uint64_t *seed) {
  ibx_type types[2] = {random_type(seed, dtype, 2, 4, 3)};
  size_t rank = types[0].rank;
  size_t m = random_below(seed, limit), n = 1 + random_below(seed, limit);
  size_t k = random_below(seed, limit);
  types[1] = types[0];
  types[0].dims[rank - 2] = (int64_t)m;
  types[0].dims[rank - 1] = types[1].dims[rank - 2] = (int64_t)k;
  types[1].dims[rank - 1] = (int64_t)n;
  ibx_tensor in[2] = {random_tensor(seed, types[0], -1, 1),
                      random_tensor(seed, types[1], -1, 1)};
  ibx_params params = {.axis = 0};
  ibx_tensor y = evaluate(IBX_TENSOR_matmul, &params, in, 2);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    size_t batch = i / (m * n), row = i / n % m, column = i % n;
    sum s = {.real = 0};
    for (size_t p = 0; p < k; p++) {
      add_product(&s, &in[0], (batch * m + row) * k + p, &in[1],
                  (batch * k + p) * n + column);
    }
    check_sum(&s, &y, i);
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

static void matmul_sums_products(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (size_t i = 0; i < IBX_COUNT_OF(dtypes); i++) {
    for (int round = 0; round < ROUNDS; round++) {
      check_matmul(dtypes[i], 9, &seed);
    }
  }
  // More than a block of the kernel, in each of its three domains.
  check_matmul(IBX_DTYPE_F32, 300, &seed);
  check_matmul(IBX_DTYPE_F64, 300, &seed);
  check_matmul(IBX_DTYPE_I32, 300, &seed);
}

// --- windows ---

static ibx_params random_window(uint64_t *seed, size_t rank) {
  uint8_t len = (uint8_t)rank;
  ibx_params params = {.kernel.len = len,
                       .strides.len = len,
                       .low.len = len,
                       .high.len = len,
                       .dilations.len = len,
                       .groups = 1};
  for (size_t d = 0; d < rank; d++) {
    params.kernel.at[d] = (int64_t)(1 + random_below(seed, 3));
    params.strides.at[d] = (int64_t)(1 + random_below(seed, 3));
    params.dilations.at[d] = (int64_t)(1 + random_below(seed, 2));
    params.low.at[d] = (int64_t)random_below(seed, 3);
    params.high.at[d] = (int64_t)random_below(seed, 3);
  }
  return params;
}

// The element of [N, C, in...] that tap `tap` of the window at [N, C, out...]
// reads; false outside.
static bool window_element(const ibx_params *params, const ibx_type *in,
                           const int64_t *out_at, const int64_t *kernel,
                           size_t tap, int64_t channel, size_t *out_index) {
  int64_t at[IBX_MAX_RANK] = {out_at[0], channel};
  for (size_t d = in->rank; d-- > 2;) {
    int64_t k = (int64_t)tap % kernel[d - 2];
    tap /= (size_t)kernel[d - 2];
    at[d] = out_at[d] * params->strides.at[d - 2] +
            k * params->dilations.at[d - 2] - params->low.at[d - 2];
    if (at[d] < 0 || at[d] >= in->dims[d]) return false;
  }
  *out_index = join_index(in, at);
  return true;
}

typedef struct conv_case {
  ibx_params params;
  ibx_type x, w;
  size_t taps;
  int64_t in, out; ///< channels of a group
} conv_case;

static conv_case random_conv(uint64_t *seed, ibx_dtype dtype,
                             bool is_gradient) {
  size_t spatial = 1 + random_below(seed, 3);
  conv_case c = {.params = random_window(seed, spatial), .taps = 1};
  c.params.groups = (int64_t)(1 + random_below(seed, 3));
  c.in = (int64_t)(1 + random_below(seed, 3));
  c.out = (int64_t)(1 + random_below(seed, 3));
  c.x = (ibx_type){.rank = (uint8_t)(spatial + 2), .dtype = dtype};
  c.w = c.x;
  c.x.dims[0] = (int64_t)(1 + random_below(seed, 2));
  c.x.dims[1] = c.in * c.params.groups;
  c.w.dims[0] = (is_gradient ? c.in : c.out) * c.params.groups;
  c.w.dims[1] = is_gradient ? c.out : c.in;
  for (size_t d = 0; d < spatial; d++) {
    c.x.dims[d + 2] = (int64_t)(5 + random_below(seed, 4));
    c.w.dims[d + 2] = c.params.kernel.at[d];
    c.taps *= (size_t)c.params.kernel.at[d];
  }
  return c;
}

static void check_conv(ibx_dtype dtype, uint64_t *seed) {
  conv_case c = random_conv(seed, dtype, false);
  ibx_tensor in[2] = {random_tensor(seed, c.x, -1, 1),
                      random_tensor(seed, c.w, -1, 1)};
  ibx_tensor y = evaluate(IBX_TENSOR_conv, &c.params, in, 2);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    int64_t at[IBX_MAX_RANK];
    split_index(&y.type, i, at);
    sum s = {.real = 0};
    for (size_t k = 0; k < (size_t)c.in * c.taps; k++) {
      int64_t channel = at[1] / c.out * c.in + (int64_t)(k / c.taps);
      size_t element;
      if (!window_element(&c.params, &c.x, at, c.w.dims + 2, k % c.taps,
                          channel, &element)) {
        continue;
      }
      size_t weight = (size_t)at[1] * (size_t)c.in * c.taps + k;
      add_product(&s, &in[0], element, &in[1], weight);
    }
    check_sum(&s, &y, i);
  }
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

// Every element of x is scattered to what a conv's window would read.
static void check_gradient(ibx_dtype dtype, uint64_t *seed) {
  conv_case c = random_conv(seed, dtype, true);
  ibx_type y_type = c.x;
  y_type.dims[1] = c.out * c.params.groups;
  for (size_t d = 2; d < c.x.rank; d++) {
    y_type.dims[d] = (int64_t)(1 + random_below(seed, 12));
  }
  c.params.shape.len = y_type.rank;
  memcpy(c.params.shape.at, y_type.dims, sizeof y_type.dims);
  ibx_tensor in[2] = {random_tensor(seed, c.x, -1, 1),
                      random_tensor(seed, c.w, -1, 1)};
  ibx_tensor y = evaluate(IBX_TENSOR_conv_transpose, &c.params, in, 2);
  size_t count = count_of(&y_type);
  sum *sums = calloc(count, sizeof *sums);
  assert_non_null(sums);
  for (size_t i = 0; i < count_of(&c.x); i++) {
    int64_t at[IBX_MAX_RANK];
    split_index(&c.x, i, at);
    for (size_t k = 0; k < (size_t)c.out * c.taps; k++) {
      int64_t channel = at[1] / c.in * c.out + (int64_t)(k / c.taps);
      size_t element;
      if (!window_element(&c.params, &y_type, at, c.w.dims + 2, k % c.taps,
                          channel, &element)) {
        continue;
      }
      size_t weight = (size_t)at[1] * (size_t)c.out * c.taps + k;
      add_product(&sums[element], &in[0], i, &in[1], weight);
    }
  }
  for (size_t i = 0; i < count; i++)
    check_sum(&sums[i], &y, i);
  free(sums);
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
}

static void convolutions_sum_their_windows(void **state) {
  (void)state;
  uint64_t seed = 2;
  for (size_t i = 0; i < IBX_COUNT_OF(dtypes); i++) {
    for (int round = 0; round < ROUNDS; round++)
      check_conv(dtypes[i], &seed);
  }
}

static void gradients_scatter_their_windows(void **state) {
  (void)state;
  uint64_t seed = 3;
  for (size_t i = 0; i < IBX_COUNT_OF(dtypes); i++) {
    for (int round = 0; round < ROUNDS; round++) {
      check_gradient(dtypes[i], &seed);
    }
  }
}

// More rows than the kernel unfolds at once.
static void a_large_convolution_equals_a_product(void **state) {
  (void)state;
  uint64_t seed = 4;
  ibx_type x = {.rank = 4, .dtype = IBX_DTYPE_F64, .dims = {1, 2, 90, 70}};
  ibx_type w = {.rank = 4, .dtype = IBX_DTYPE_F64, .dims = {3, 2, 1, 1}};
  ibx_tensor in[2] = {random_tensor(&seed, x, -1, 1),
                      random_tensor(&seed, w, -1, 1)};
  ibx_params params = {.groups = 1,
                       .strides = {.len = 2, .at = {1, 1}},
                       .dilations = {.len = 2, .at = {1, 1}},
                       .low.len = 2,
                       .high.len = 2};
  ibx_tensor y = evaluate(IBX_TENSOR_conv, &params, in, 2);
  ibx_tensor flat[2] = {in[1], in[0]};
  flat[0].type = (ibx_type){.rank = 2, .dtype = x.dtype, .dims = {3, 2}};
  flat[1].type = (ibx_type){.rank = 2, .dtype = x.dtype, .dims = {2, 6300}};
  ibx_tensor product = evaluate(IBX_TENSOR_matmul, &params, flat, 2);
  assert_memory_equal(y.data, product.data, 3 * 6300 * sizeof(double));
  free_tensor(&in[0]);
  free_tensor(&in[1]);
  free_tensor(&y);
  free_tensor(&product);
}

static void check_pool(ibx_tensor_op op, ibx_dtype dtype, uint64_t *seed) {
  size_t spatial = 1 + random_below(seed, 3);
  ibx_params params = random_window(seed, spatial);
  params.exclude_pad = (int64_t)random_below(seed, 2);
  ibx_type type = {
      .rank = (uint8_t)(spatial + 2), .dtype = dtype, .dims = {2, 3}};
  size_t taps = 1;
  bool is_max = op == IBX_TENSOR_max_pool;
  for (size_t d = 0; d < spatial; d++) {
    type.dims[d + 2] = (int64_t)(5 + random_below(seed, 4));
    taps *= (size_t)params.kernel.at[d];
    if (!is_max) params.dilations.at[d] = 1;
  }
  ibx_tensor x = random_tensor(seed, type, -1, 1);
  ibx_tensor y = evaluate(op, &params, &x, 1);
  for (size_t i = 0; i < count_of(&y.type); i++) {
    int64_t at[IBX_MAX_RANK];
    split_index(&y.type, i, at);
    double total = 0, count = 0, most = -INFINITY;
    bool has_integer = false;
    int64_t integer = 0;
    for (size_t tap = 0; tap < taps; tap++) {
      size_t element;
      if (!window_element(&params, &type, at, params.kernel.at, tap, at[1],
                          &element)) {
        continue;
      }
      count++;
      if (is_float(dtype)) {
        total += real_at(&x, element);
        most = fmax(most, real_at(&x, element));
      } else if (!has_integer || int_at(&x, element) > integer) {
        integer = int_at(&x, element);
        has_integer = true;
      }
    }
    double divisor = params.exclude_pad ? fmax(count, 1) : (double)taps;
    if (!is_float(dtype)) {
      if (!has_integer) integer = INT8_MIN;
      assert_int_equal(int_at(&y, i), integer);
    } else if (is_max) {
      assert_true(real_at(&y, i) == most);
    } else {
      assert_rounded(dtype, real_at(&y, i), total / divisor, 1e-14);
    }
  }
  free_tensor(&x);
  free_tensor(&y);
}

static void pools_take_what_lies_in_the_window(void **state) {
  (void)state;
  uint64_t seed = 5;
  for (int round = 0; round < ROUNDS * 2; round++) {
    check_pool(IBX_TENSOR_max_pool, IBX_DTYPE_F32, &seed);
    check_pool(IBX_TENSOR_max_pool, IBX_DTYPE_I8, &seed);
    check_pool(IBX_TENSOR_avg_pool, IBX_DTYPE_F32, &seed);
    check_pool(IBX_TENSOR_avg_pool, IBX_DTYPE_BF16, &seed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(matmul_sums_products),
      cmocka_unit_test(convolutions_sum_their_windows),
      cmocka_unit_test(gradients_scatter_their_windows),
      cmocka_unit_test(a_large_convolution_equals_a_product),
      cmocka_unit_test(pools_take_what_lies_in_the_window),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
