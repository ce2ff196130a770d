// SPDX-License-Identifier: Apache-2.0
//
// Convolutions on the machine against the reference kernels: random shapes,
// windows and paddings, executed on the simulator and proved.

#include "support/tile_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CASES = 42 };

typedef struct shape {
  ibx_type x, w;
  ibx_params params;
} shape;

static void spatial_dim(tile_world *w, shape *s, uint8_t i, int64_t most) {
  ibx_params *p = &s->params;
  int64_t kernel = tile_between(w, 1, 4);
  p->strides.at[i] = tile_between(w, 1, 3);
  p->dilations.at[i] = tile_below(w, 4) ? 1 : 2;
  int64_t reach = (kernel - 1) * p->dilations.at[i] + 1;
  p->low.at[i] = tile_between(w, 0, reach - 1);
  p->high.at[i] = tile_between(w, 0, reach - 1);
  s->w.dims[i + 2] = kernel;
  int64_t least = reach - p->low.at[i] - p->high.at[i];
  s->x.dims[i + 2] =
      tile_between(w, least > 1 ? least : 1, most > least ? most : least + 1);
}

// A random convolution of `rank` spatial dimensions.
static shape random_shape(tile_world *w, uint8_t rank, int64_t groups,
                          int64_t in, int64_t out, ibx_dtype dtype) {
  static const int64_t MOST[] = {0, 300, 24, 8};
  shape s = {.x = {.rank = (uint8_t)(rank + 2), .dtype = dtype},
             .w = {.rank = (uint8_t)(rank + 2), .dtype = dtype}};
  s.x.dims[0] = tile_between(w, 1, 2);
  s.x.dims[1] = in * groups;
  s.w.dims[0] = out * groups;
  s.w.dims[1] = in;
  s.params.groups = groups;
  s.params.strides.len = s.params.dilations.len = rank;
  s.params.low.len = s.params.high.len = rank;
  for (uint8_t i = 0; i < rank; i++)
    spatial_dim(w, &s, i, MOST[rank]);
  return s;
}

static void describe(tile_world *w, const shape *s, const char *what) {
  char *at = w->what, *end = w->what + sizeof(w->what);
  at += snprintf(at, (size_t)(end - at), "%s x", what);
  for (uint8_t d = 0; d < s->x.rank; d++) {
    at += snprintf(at, (size_t)(end - at), " %d", (int)s->x.dims[d]);
  }
  at += snprintf(at, (size_t)(end - at), ", w");
  for (uint8_t d = 0; d < s->w.rank; d++) {
    at += snprintf(at, (size_t)(end - at), " %d", (int)s->w.dims[d]);
  }
  for (uint8_t d = 0; d < s->params.strides.len; d++) {
    at += snprintf(at, (size_t)(end - at), ", stride %d dilation %d pad %d %d",
                   (int)s->params.strides.at[d], (int)s->params.dilations.at[d],
                   (int)s->params.low.at[d], (int)s->params.high.at[d]);
  }
}

enum { BIAS = 1, COMPUTED_WEIGHTS = 2, COMPUTED_IMAGE = 4, RESIDUAL = 8 };

static size_t count_products(const tile_world *w) {
  size_t count = 0;
  for (size_t i = 0; i < w->func.op_count; i++) {
    count += w->func.briefs[i].opcode == IBX_OP_multiply_moving;
  }
  return count;
}

// The convolution, and with BIAS an addition and a relu behind it.
static bool agrees(tile_world *w, const shape *s, ibx_tensor_op op,
                   unsigned flags) {
  uint32_t x = tile_input(w, s->x), weights = tile_constant(w, s->w);
  ibx_params none = {0};
  if (flags & COMPUTED_IMAGE) {
    x = tile_node(w, IBX_TENSOR_neg, &none, x, IBX_NO_VALUE, 1);
  }
  if (flags & COMPUTED_WEIGHTS) {
    weights = tile_node(w, IBX_TENSOR_neg, &none, weights, IBX_NO_VALUE, 1);
  }
  uint32_t conv = (uint32_t)w->graph.node_count;
  uint32_t y = tile_node(w, op, &s->params, x, weights, 1);
  if (y == IBX_NO_VALUE) return true; // no output at all
  if (flags & BIAS) {
    ibx_type type = {.rank = s->x.rank, .dtype = s->x.dtype};
    for (uint8_t d = 0; d < type.rank; d++)
      type.dims[d] = 1;
    type.dims[1] = w->graph.values[y].type.dims[1];
    ibx_params wide = {.shape = {.len = type.rank}};
    memcpy(wide.shape.at, w->graph.values[y].type.dims, sizeof(wide.shape.at));
    // A residual differs in every element.
    if (flags & RESIDUAL) type = w->graph.values[y].type;
    uint32_t bias = tile_constant(w, type);
    bias = tile_node(w, IBX_TENSOR_broadcast, &wide, bias, IBX_NO_VALUE, 1);
    y = tile_node(w, IBX_TENSOR_add, &none, y, bias, 1);
    uint32_t add = (uint32_t)w->graph.node_count - 1;
    y = tile_node(w, IBX_TENSOR_relu, &none, y, IBX_NO_VALUE, 1);
    w->graph.nodes[conv].decided.group = conv + 1;
    w->graph.nodes[add].decided.group = conv + 1;
    w->graph.nodes[add + 1].decided.group = conv + 1;
  }
  tile_output(w, y);
  // Products and sums of the random elements are exact in fp32. In bf16
  // the reference rounds after each node, the machine once: one step apart.
  return tile_agrees(w, s->x.dtype == IBX_DTYPE_F32 ? 1e-6f : 8e-3f);
}

static ibx_target target_of(uint64_t seed) {
  static const ibx_target TARGETS[] = {IBX_TARGET_ibx2, IBX_TARGET_ibx3,
                                       IBX_TARGET_ibx4};
  return TARGETS[seed % 3];
}

static void random_convolutions_agree(void **state) {
  (void)state;
  size_t ran = 0; // the others have no output, or need more than SBUF
  for (uint64_t seed = 1; seed <= CASES; seed++) {
    tile_world w;
    tile_world_init(&w, target_of(seed), seed * 7919);
    uint8_t rank = seed % 6 == 0 ? 3 : seed % 5 == 0 ? 1 : 2;
    ibx_dtype dtype = tile_below(&w, 3) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16;
    shape s = random_shape(&w, rank, 1, tile_between(&w, 1, 150),
                           tile_between(&w, 1, 150), dtype);
    describe(&w, &s, "conv");
    assert_true(agrees(&w, &s, IBX_TENSOR_conv, tile_below(&w, 4) | RESIDUAL));
    ran += w.func.op_count > 0;
    tile_world_fini(&w);
  }
  assert_true(ran > CASES / 2);
}

static void grouped_convolutions_agree(void **state) {
  (void)state;
  size_t ran = 0; // the others have no output, or need more than SBUF
  static const struct {
    int64_t groups, in, out;
  } GROUPS[] = {{150, 1, 1}, {32, 1, 1}, {300, 1, 1},  {7, 3, 5},
                {64, 4, 4},  {96, 1, 2}, {16, 8, 16},  {3, 20, 7},
                {5, 64, 64}, {40, 4, 8}, {2, 48, 128}, {2, 192, 96}};
  for (uint64_t seed = 1; seed <= CASES; seed++) {
    tile_world w;
    tile_world_init(&w, target_of(seed), seed * 104729);
    uint8_t rank = seed % 6 == 0 ? 3 : seed % 5 == 0 ? 1 : 2;
    size_t pick = seed % IBX_COUNT_OF(GROUPS);
    shape s = random_shape(&w, rank, GROUPS[pick].groups, GROUPS[pick].in,
                           GROUPS[pick].out,
                           tile_below(&w, 3) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16);
    describe(&w, &s, "groups");
    assert_true(agrees(&w, &s, IBX_TENSOR_conv, tile_below(&w, 2)));
    ran += w.func.op_count > 0;
    tile_world_fini(&w);
  }
  assert_true(ran > CASES / 2);
}

// The shape of a transposed convolution whose gradient is `s`: its windows slide
// over the result.
static shape transposed(const shape *s, int64_t in, int64_t out) {
  shape t = *s;
  uint8_t rank = t.params.strides.len;
  t.x.dims[1] = in * t.params.groups;
  t.w.dims[0] = in * t.params.groups;
  t.w.dims[1] = out;
  t.params.shape.len = t.x.rank;
  t.params.shape.at[0] = t.x.dims[0];
  t.params.shape.at[1] = out * t.params.groups;
  for (uint8_t i = 0; i < rank; i++) {
    const ibx_params *p = &s->params;
    int64_t padded = s->x.dims[i + 2] + p->low.at[i] + p->high.at[i];
    int64_t reach = (s->w.dims[i + 2] - 1) * p->dilations.at[i] + 1;
    t.params.shape.at[i + 2] = s->x.dims[i + 2];
    t.x.dims[i + 2] = (padded - reach) / p->strides.at[i] + 1;
  }
  return t;
}

static void transposed_convolutions_agree(void **state) {
  (void)state;
  size_t ran = 0; // the others have no output, or need more than SBUF
  static const struct {
    int64_t groups, in, out;
  } GROUPS[] = {{1, 3, 64},  {1, 130, 40}, {40, 1, 1}, {8, 4, 6},
                {1, 16, 16}, {2, 160, 32}, {1, 1, 200}};
  for (uint64_t seed = 1; seed <= CASES; seed++) {
    tile_world w;
    tile_world_init(&w, target_of(seed), seed * 32452843);
    uint8_t rank = seed % 6 == 0 ? 3 : seed % 5 == 0 ? 1 : 2;
    size_t pick = seed % IBX_COUNT_OF(GROUPS);
    shape s = random_shape(&w, rank, GROUPS[pick].groups, GROUPS[pick].in,
                           GROUPS[pick].out,
                           tile_below(&w, 3) ? IBX_DTYPE_F32 : IBX_DTYPE_BF16);
    s = transposed(&s, GROUPS[pick].in, GROUPS[pick].out);
    describe(&w, &s, "transposed");
    unsigned flags = tile_below(&w, 2) ? BIAS | RESIDUAL : BIAS;
    if (GROUPS[pick].groups == 1 && tile_below(&w, 2)) {
      flags |= COMPUTED_WEIGHTS;
    }
    assert_true(agrees(&w, &s, IBX_TENSOR_conv_transpose, flags));
    ran += w.func.op_count > 0;
    tile_world_fini(&w);
  }
  assert_true(ran > CASES / 2);
}

// A window of seven on few channels takes a few products for each tile instead
// of 49.
static void few_channels_share_products(void **state) {
  (void)state;
  size_t ran = 0; // the others have no output, or need more than SBUF
  static const int64_t CHANNELS[] = {1, 3, 32, 64, 2, 16, 4};
  for (uint64_t seed = 1; seed <= CASES; seed++) {
    tile_world w;
    tile_world_init(&w, target_of(seed), seed * 15485863);
    bool is_computed = seed % 2;
    int64_t in = CHANNELS[seed % IBX_COUNT_OF(CHANNELS)];
    shape s = random_shape(&w, 2, 1, in, tile_between(&w, 1, 40),
                           tile_below(&w, 3) ? IBX_DTYPE_BF16 : IBX_DTYPE_F32);
    int64_t tiles = 0, kernel = tile_between(&w, 3, 7);
    for (uint8_t d = 2; d < 4; d++) {
      s.w.dims[d] = kernel;
      s.params.dilations.at[d - 2] = tile_below(&w, 5) ? 1 : 2;
      s.x.dims[d] = tile_between(&w, 40, in > 4 ? 60 : 150);
    }
    describe(&w, &s, is_computed ? "join, image on chip" : "join");
    assert_true(agrees(&w, &s, IBX_TENSOR_conv,
                       is_computed ? COMPUTED_IMAGE | BIAS : BIAS));
    const ibx_type *y = &w.output.type;
    tiles = y->dims[0] * (y->dims[2] * y->dims[3] / 256 + 1);
    size_t most = (size_t)(tiles * kernel * kernel);
    if (in <= 4 && count_products(&w) * 3 > most) {
      fail_msg("%s: %zu products, one for each tap were %zu", w.what,
               count_products(&w), most);
    }
    ran += w.func.op_count > 0;
    tile_world_fini(&w);
  }
  assert_true(ran > CASES / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_convolutions_agree),
      cmocka_unit_test(grouped_convolutions_agree),
      cmocka_unit_test(few_channels_share_products),
      cmocka_unit_test(transposed_convolutions_agree),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
