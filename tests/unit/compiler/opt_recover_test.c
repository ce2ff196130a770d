// SPDX-License-Identifier: Apache-2.0
//
// Each formula of recover.def is written out in many ways, as exporters do:
// factors and terms in any order, quotients or reciprocals, roots or powers,
// squares as products, means as sums, rows spread early or late. All of them are
// recovered, and mean what they meant.

#include "passes/formula.h"
#include "support/tile_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { STYLES = 40 };

static const struct {
  ibx_tensor_op op;
  const char *formula;
} ROWS[] = {
#define IBX_RECOVER(op, formula) {IBX_TENSOR_##op, formula},
#include "passes/recover.def"
};

typedef struct writer {
  tile_world w;
  uint32_t x;
  ibx_type type;
  ibx_ints axes;
} writer;

static bool coin(writer *out) { return tile_below(&out->w, 2) == 1; }

// --- nodes ---

static uint32_t unary(writer *out, ibx_tensor_op op, uint32_t a) {
  return tile_node(&out->w, op, &(ibx_params){0}, a, IBX_NO_VALUE, 0);
}

static uint32_t viewed(writer *out, ibx_tensor_op op, uint32_t a,
                       const ibx_type *type) {
  ibx_params params = {.shape = {.len = type->rank}};
  memcpy(params.shape.at, type->dims, sizeof params.shape.at);
  return tile_node(&out->w, op, &params, a, IBX_NO_VALUE, 0);
}

static int64_t elements_of(const writer *out, uint32_t value) {
  int64_t count = 0;
  ibx_type_elements(&out->w.graph.values[value].type, &count);
  return count;
}

// The smaller operand is spread to the larger one.
static uint32_t binary(writer *out, ibx_tensor_op op, uint32_t a, uint32_t b) {
  uint32_t *small = elements_of(out, a) < elements_of(out, b) ? &a : &b;
  uint32_t large = small == &a ? b : a;
  if (elements_of(out, *small) < elements_of(out, large)) {
    ibx_type type = out->w.graph.values[large].type;
    *small = viewed(out, IBX_TENSOR_broadcast, *small, &type);
  }
  return tile_node(&out->w, op, &(ibx_params){0}, a, b, 0);
}

static uint32_t constant(writer *out, ibx_type type, double value,
                         bool varies) {
  tile_world *w = &out->w;
  int64_t count = 0;
  ibx_type_elements(&type, &count);
  size_t bytes = ibx_dtype_bytes(type.dtype);
  uint8_t *data = ibx_arena_alloc(&w->arena, (size_t)count * bytes);
  for (int64_t i = 0; i < count; i++) {
    float element = (float)value;
    if (varies) element += (float)tile_between(w, -8, 8) / 16;
    ibx_dtype_store_f32(type.dtype, &element, data + (size_t)i * bytes, 1);
  }
  ibx_weight weight = {.type = type, .data = data, .name = "c"};
  return ibx_graph_add_constant(
      &w->graph, ibx_tables_add_weight(&w->tables, &w->arena, weight), 0);
}

static uint32_t number(writer *out, double value) {
  ibx_type type = {.dims = {1, 1, 1}, .rank = 3, .dtype = out->type.dtype};
  return constant(out, type, value, false);
}

// --- styles ---

static uint32_t scaled(writer *out, uint32_t value, double by) {
  ibx_params affine = {.alpha = (float)by};
  switch (tile_below(&out->w, by == -1.0 ? 4 : 3)) {
  case 0: return binary(out, IBX_TENSOR_mul, value, number(out, by));
  case 1: return binary(out, IBX_TENSOR_div, value, number(out, 1 / by));
  case 2:
    return tile_node(&out->w, IBX_TENSOR_affine, &affine, value, IBX_NO_VALUE,
                     0);
  default: return unary(out, IBX_TENSOR_neg, value);
  }
}

static uint32_t powered(writer *out, uint32_t value, double power) {
  if (power == 1.0) return value;
  if (power == 2.0 && coin(out)) {
    return binary(out, IBX_TENSOR_mul, value, value);
  }
  if (power == 3.0 && coin(out)) {
    return binary(out, IBX_TENSOR_mul, value, powered(out, value, 2.0));
  }
  if (power == 0.5 && coin(out)) return unary(out, IBX_TENSOR_sqrt, value);
  if (power == -0.5 && coin(out)) return unary(out, IBX_TENSOR_rsqrt, value);
  if (power == -1.0 && coin(out))
    return unary(out, IBX_TENSOR_reciprocal, value);
  if (power < 0 && coin(out)) {
    return binary(out, IBX_TENSOR_div, number(out, 1.0),
                  powered(out, value, -power));
  }
  return binary(out, IBX_TENSOR_pow, value, number(out, power));
}

static uint32_t write_sum(writer *out, const ibx_formula *formula);

static uint32_t reduced(writer *out, ibx_tensor_op op, uint32_t value) {
  double elements = 1.0;
  for (uint8_t i = 0; i < out->axes.len; i++)
    elements *= (double)out->type.dims[out->axes.at[i]];
  bool by_sum = op == IBX_TENSOR_reduce_mean && coin(out);
  bool trailing = out->axes.at[0] + out->axes.len == out->type.rank;
  ibx_params params = {.axes = out->axes, .keepdims = !trailing || coin(out)};
  ibx_type kept = out->type;
  for (uint8_t i = 0; i < out->axes.len; i++)
    kept.dims[out->axes.at[i]] = 1;
  value = tile_node(&out->w, by_sum ? IBX_TENSOR_reduce_sum : op, &params,
                    value, IBX_NO_VALUE, 0);
  if (!params.keepdims) value = viewed(out, IBX_TENSOR_reshape, value, &kept);
  return by_sum ? scaled(out, value, 1 / elements) : value;
}

static uint32_t write_letter(writer *out, char letter) {
  ibx_type row = {
      .dims = {1, 1, out->type.dims[2]}, .rank = 3, .dtype = out->type.dtype};
  switch (letter) {
  case 'x': return out->x;
  case 'e': return number(out, 0.01);
  default: break;
  }
  uint32_t value = constant(out, row, 1.5, true);
  return viewed(out, IBX_TENSOR_broadcast, value, &out->type);
}

static uint32_t write_factor(writer *out, const ibx_formula_factor *factor) {
  if (factor->kind == IBX_FORMULA_LETTER) {
    return write_letter(out, factor->letter);
  }
  uint32_t value = write_sum(out, factor->inside);
  if (factor->kind == IBX_FORMULA_SUM) return value;
  bool reduces = ibx_tensor_op_get(factor->op)->klass == IBX_KLASS_REDUCE;
  return reduces ? reduced(out, factor->op, value)
                 : unary(out, factor->op, value);
}

static uint32_t write_product(writer *out, const ibx_formula_term *term,
                              uint32_t gain) {
  size_t first = term->count ? tile_below(&out->w, (uint32_t)term->count) : 0;
  size_t scale_at = tile_below(&out->w, (uint32_t)term->count + 1);
  uint32_t value = IBX_NO_VALUE;
  double scale = term->scale;
  for (size_t i = 0; i < term->count; i++) {
    const ibx_formula_factor *factor = &term->factor[(first + i) % term->count];
    bool is_gain = factor->kind == IBX_FORMULA_LETTER && factor->letter == 'g';
    uint32_t next = is_gain ? gain : write_factor(out, factor);
    if (factor->power == -1.0 && value != IBX_NO_VALUE && coin(out)) {
      value = binary(out, IBX_TENSOR_div, value, next);
    } else {
      next = powered(out, next, factor->power);
      value = value == IBX_NO_VALUE ? next
                                    : binary(out, IBX_TENSOR_mul, value, next);
    }
    if (i == scale_at && scale != 1.0) {
      value = scaled(out, value, scale);
      scale = 1.0;
    }
  }
  if (value == IBX_NO_VALUE) return number(out, scale);
  return scale == 1.0 ? value : scaled(out, value, scale);
}

static uint32_t write_sum(writer *out, const ibx_formula *formula) {
  uint32_t gain = write_letter(out, 'g'); // one for all terms
  size_t first = tile_below(&out->w, (uint32_t)formula->count);
  uint32_t value = IBX_NO_VALUE;
  for (size_t i = 0; i < formula->count; i++) {
    ibx_formula_term term = formula->term[(first + i) % formula->count];
    bool minus = value != IBX_NO_VALUE && term.scale < 0 && coin(out);
    if (minus) term.scale = -term.scale;
    uint32_t next = write_product(out, &term, gain);
    value = value == IBX_NO_VALUE ? next
            : minus               ? binary(out, IBX_TENSOR_sub, value, next)
                                  : binary(out, IBX_TENSOR_add, value, next);
  }
  return value;
}

// --- the test ---

static size_t count_op(const ibx_graph *graph, ibx_tensor_op op) {
  size_t count = 0;
  for (size_t i = 0; i < graph->node_count; i++)
    count += graph->nodes[i].op == op;
  return count;
}

static void begin(writer *out, size_t row, ibx_dtype dtype, uint64_t seed) {
  tile_world *w = &out->w;
  tile_world_init(w, IBX_TARGET_ibx3, seed);
  for (int i = 0; i < 8; i++)
    tile_below(w, 2); // near seeds begin alike
  out->type = (ibx_type){.dims = {3, 4, 5}, .rank = 3, .dtype = dtype};
  out->axes = (ibx_ints){.at = {2}, .len = 1};
  if (ROWS[row].op == IBX_TENSOR_softmax) out->axes.at[0] = tile_below(w, 3);
  if (ROWS[row].op != IBX_TENSOR_softmax && coin(out)) {
    out->axes = (ibx_ints){.at = {1, 2}, .len = 2};
  }
  out->x = tile_input(w, out->type);
}

static double distance(const writer *out, const void *a, const void *b) {
  int64_t count = elements_of(out, out->w.output.value);
  size_t bytes = ibx_dtype_bytes(out->type.dtype);
  double worst = 0.0;
  for (int64_t i = 0; i < count; i++) {
    float left, right;
    size_t at = (size_t)i * bytes;
    ibx_dtype_load_f32(out->type.dtype, (const uint8_t *)a + at, &left, 1);
    ibx_dtype_load_f32(out->type.dtype, (const uint8_t *)b + at, &right, 1);
    worst = fmax(worst, fabs((double)left - (double)right));
    if (isnan(left) || isnan(right)) return INFINITY;
  }
  return worst;
}

static void recover(size_t row, ibx_dtype dtype, double limit, uint64_t seed) {
  writer out;
  begin(&out, row, dtype, seed);
  tile_world *w = &out.w;
  tile_output(w,
              write_sum(&out, ibx_formula_parse(ROWS[row].formula, &w->arena)));
  void *before = NULL, *after = NULL;
  void *x = tile_random(w, &w->input.type);
  assert_int_equal(tile_reference(w, x, &before), IBX_OK);
  assert_int_equal(ibx_pass_opt_recover(&w->ctx, &w->graph), IBX_OK);
  w->input = w->graph.inputs[0];
  w->output = w->graph.outputs[0];
  assert_int_equal(tile_reference(w, x, &after), IBX_OK);
  double worst = distance(&out, before, after);
  if (count_op(&w->graph, ROWS[row].op) != 1 || worst > limit) {
    fail_msg("%s, seed %llu: %zu found, off by %g", ROWS[row].formula,
             (unsigned long long)seed, count_op(&w->graph, ROWS[row].op),
             worst);
  }
  bool calls[IBX_TENSOR_OP_COUNT] = {false};
  ibx_formula_calls(ibx_formula_parse(ROWS[row].formula, &w->arena), calls);
  for (size_t op = 0; op < IBX_TENSOR_OP_COUNT; op++) {
    if (calls[op]) assert_int_equal(count_op(&w->graph, (ibx_tensor_op)op), 0);
  }
  tile_world_fini(w);
}

static void every_style_is_recovered(void **state) {
  (void)state;
  for (size_t row = 0; row < IBX_COUNT_OF(ROWS); row++) {
    for (uint64_t style = 1; style <= STYLES; style++) {
      recover(row, IBX_DTYPE_F32, 3e-5, style * 977 + row);
      recover(row, IBX_DTYPE_F16, 0.1, style * 983 + row);
      recover(row, IBX_DTYPE_BF16, 0.5, style * 991 + row);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_style_is_recovered),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
