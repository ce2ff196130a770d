// SPDX-License-Identifier: Apache-2.0
//
// The tensor engine, as element.h says. The array holds fp32: conversions to it
// are exact, so fp32 operands keep their full precision, as the machine's four
// passes do. A cell holds one value, with double rows two and with MX types
// four: planes of the array. A product is a chain of fused multiply-adds in
// ascending partitions, in each of them ascending planes, that starts at 0;
// PSUM is added to after that.

#include "sim/element.h"

#include <math.h>

// Values of one tile, plane by plane: what the array holds, or what streams.
typedef struct tile {
  ibx_sim_view src, scale;
  size_t planes;
  size_t columns; ///< of a plane
} tile;

static float *cell(const ibx_exec *x, size_t plane, size_t row, size_t column) {
  return x->sim->array + (plane * IBX_ARRAY + row) * IBX_ARRAY_STEP + column;
}

// num[2] = 2 rows a partition.
static ibx_status open_rows(const ibx_exec *x, bool is_double, tile *out) {
  IBX_TRY(ibx_open_read(x, 1, &out->src));
  out->planes = is_double ? 2 : 1;
  out->columns = out->src.elements / out->planes;
  return IBX_OK;
}

static float load_row(const tile *t, size_t p, size_t plane, size_t i) {
  return ibx_load(&t->src, p, plane * t->columns + i);
}

// A promise that is not kept would be a wrong result of the machine.
static ibx_status check_one_zero(const ibx_exec *x, const tile *t) {
  for (size_t p = 0; p < t->src.partitions; p++) {
    for (size_t i = 0; i < t->src.elements; i++) {
      float value = ibx_load(&t->src, p, i);
      if (value == 0.0f || value == 1.0f) continue;
      return IBX_EXEC_FAIL(x,
                           "element %zu of partition %zu is %g, not one or "
                           "zero as promised",
                           i, p, (double)value);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_load_stationary(const ibx_exec *x) {
  tile t;
  uint8_t mode = x->insn->mode;
  IBX_TRY(open_rows(x, mode == IBX_MODE_load_stationary_DOUBLE_ROW, &t));
  if (mode == IBX_MODE_load_stationary_ONE_ZERO) {
    IBX_TRY(check_one_zero(x, &t));
  }
  size_t row = ibx_sim_array_row(x, 1);
  for (size_t p = 0; p < t.src.partitions; p++) {
    for (size_t plane = 0; plane < t.planes; plane++) {
      for (size_t i = 0; i < t.columns; i++) {
        *cell(x, plane, row + p, i) = load_row(&t, p, plane, i);
      }
    }
  }
  return IBX_OK;
}

// dst[c, i] = sum over p and planes of array[p, c] * value(p, i), added or not.
static ibx_status multiply(const ibx_exec *x, const tile *t,
                           float (*value)(const tile *, size_t p, size_t plane,
                                          size_t i)) {
  ibx_sim_view dst, old;
  IBX_TRY(ibx_open_read(x, 0, &old));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  bool accumulate = (x->insn->flags & IBX_FLAG_ACCUMULATE) != 0;
  size_t row = ibx_sim_array_row(x, 1);
  for (size_t c = 0; c < dst.partitions; c++) {
    for (size_t i = 0; i < t->columns; i++) { // dst stands still in others
      float sum = 0.0f;
      for (size_t p = 0; p < t->src.partitions; p++) {
        for (size_t plane = 0; plane < t->planes; plane++) {
          sum = fmaf(*cell(x, plane, row + p, c), value(t, p, plane, i), sum);
        }
      }
      ibx_store(&dst, c, i, accumulate ? ibx_load(&old, c, i) + sum : sum);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_multiply_moving(const ibx_exec *x) {
  tile t;
  uint8_t mode = x->insn->mode;
  IBX_TRY(open_rows(x, mode == IBX_MODE_multiply_moving_DOUBLE_ROW, &t));
  if (mode == IBX_MODE_multiply_moving_ONE_ZERO) {
    IBX_TRY(check_one_zero(x, &t));
  }
  return multiply(x, &t, load_row);
}

// The scales of 32 partitions lie in four of them; scale_of() reads what belongs
// to `p`.
enum { QUADRANT = 32, GROUP = 8, GROUPS = QUADRANT / GROUP };

static ibx_status open_mx(const ibx_exec *x, tile *out) {
  IBX_TRY(ibx_open_read(x, 1, &out->src));
  IBX_TRY(ibx_open_read(x, 2, &out->scale));
  out->planes = 4;
  out->columns = out->src.elements;
  return IBX_OK;
}

// 2 to the power code - 127; code 255 is NaN (OCP Microscaling Formats 1.0).
static float scale_of(const tile *t, size_t p, size_t i) {
  size_t row = p / QUADRANT * QUADRANT + p % QUADRANT / GROUP;
  uint32_t code = ibx_load_bits(&t->scale, row, i);
  return code == 255 ? NAN : ldexpf(1.0f, (int)code - 127);
}

static float load_mx(const tile *t, size_t p, size_t plane, size_t i) {
  float values[4];
  ibx_dtype_unpack4(t->src.dtype, ibx_load_bits(&t->src, p, i), values);
  return values[plane] * scale_of(t, p, i);
}

ibx_status ibx_exec_load_stationary_mx(const ibx_exec *x) {
  tile t;
  IBX_TRY(open_mx(x, &t));
  size_t row = ibx_sim_array_row(x, 1);
  for (size_t p = 0; p < t.src.partitions; p++) {
    for (size_t plane = 0; plane < t.planes; plane++) {
      for (size_t i = 0; i < t.columns; i++) {
        *cell(x, plane, row + p, i) = load_mx(&t, p, plane, i);
      }
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_multiply_moving_mx(const ibx_exec *x) {
  tile t;
  IBX_TRY(open_mx(x, &t));
  return multiply(x, &t, load_mx);
}

// dst[f, p] = src[p, f], bit for bit.
static ibx_status transpose(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t f = 0; f < dst.partitions; f++) {
    for (size_t p = 0; p < dst.elements; p++) {
      ibx_store_bits(&dst, f, p, ibx_load_bits(&src, p, f));
    }
  }
  return IBX_OK;
}

// ARCH2: v2 multiplies with the identity. Zero times what is not finite is NaN,
// and zero is added to minus zero.
static ibx_status multiply_identity(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t f = 0; f < dst.partitions; f++) {
    for (size_t p = 0; p < dst.elements; p++) {
      float sum = 0.0f;
      for (size_t k = 0; k < src.partitions; k++) {
        sum = fmaf(ibx_load(&src, k, f), k == p ? 1.0f : 0.0f, sum);
      }
      ibx_store(&dst, f, p, sum);
    }
  }
  return IBX_OK;
}

ibx_status ibx_exec_nc_transpose(const ibx_exec *x) {
  const ibx_dtype_info *type =
      ibx_dtype_get((ibx_dtype)x->insn->operand[1].dtype);
  bool is_product = x->sim->machine->target == IBX_TARGET_ibx2 &&
                    type->kind == IBX_DTYPE_KIND_FLOAT;
  return is_product ? multiply_identity(x) : transpose(x);
}

ibx_status ibx_exec_vector_transpose(const ibx_exec *x) { return transpose(x); }
