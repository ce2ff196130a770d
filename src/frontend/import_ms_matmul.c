// SPDX-License-Identifier: Apache-2.0
//
// Imports MatMulNBits of com.microsoft. Comes in: weights of 2, 4 or 8 bits,
// dense in bytes as [N, blocks, bytes of a block], with a scale and a zero point
// for each block. Goes out:
//
//   A x dequantise(weights [K, N]) + bias
//
// with the weights as a constant of small integers, which stays small, and the
// blocks along K as DequantizeLinear has them.

#include "frontend/import.h"
#include "frontend/import_ops.h"
#include "frontend/import_quant.h"

typedef struct layout {
  int64_t k, n, block, blocks;
  ibx_dtype dtype; // of the weights
} layout;

static int64_t width_of(const layout *l) {
  return ibx_dtype_get(l->dtype)->width;
}

static bool read_layout(ibx_call *call, layout *l) {
  int64_t bits = ibx_attr_int(call, "bits", 4);
  l->k = ibx_attr_int(call, "K", 0);
  l->n = ibx_attr_int(call, "N", 0);
  l->block = ibx_attr_int(call, "block_size", 0);
  ibx_attr_ignore(call, "accuracy_level"); // sums are fp32 or better
  l->dtype = bits == 2 ? IBX_DTYPE_U2 : bits == 4 ? IBX_DTYPE_U4 : IBX_DTYPE_U8;
  if (bits != 2 && bits != 4 && bits != 8) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "bits",
                  "quantise to 2, 4 or 8 bits", "weights of %lld bits",
                  (long long)bits);
  }
  if (ibx_attr_int(call, "weight_prepacked", 0) != 0) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "weight_prepacked",
                  "export with weight_prepacked = 0",
                  "weights in the layout of one device");
  }
  if (ibx_has_in(call, 4)) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "g_idx",
                  "quantise without reordering the weights",
                  "blocks that g_idx reorders");
  }
  bool fits = l->k >= 1 && l->n >= 1 && l->block >= 16 &&
              (l->block & (l->block - 1)) == 0 && l->block <= 1 << 20 &&
              l->k <= INT32_MAX && l->n <= INT32_MAX;
  if (!ibx_call_expect(call, fits, "block_size",
                       "needs K and N of at least 1, and a power of two of at "
                       "least 16")) {
    return false;
  }
  l->blocks = (l->k + l->block - 1) / l->block;
  return ibx_call_expect(call, l->blocks * l->block * l->n <= IBX_MOST_ELEMENTS,
                         "B", "is too large");
}

// Rows of `stride` bytes each begin with `columns` dense elements: as a constant
// [columns, rows]. The last block of weights is whole.
static ibx_val unpack(ibx_call *call, const layout *l, const ibx_tensor *dense,
                      int64_t stride, int64_t columns) {
  size_t rows = (size_t)l->n, count = (size_t)columns;
  uint8_t *row = ibx_arena_alloc(&call->import->scratch, count);
  uint8_t *data = ibx_arena_alloc(call->import->arena, count * rows);
  const uint8_t *from = dense->data;
  for (size_t r = 0; r < rows; r++) {
    ibx_dtype_from_dense(l->dtype, from + r * (size_t)stride, row, count);
    for (size_t c = 0; c < count; c++)
      data[c * rows + r] = row[c];
  }
  ibx_type type = {.dims = {columns, l->n}, .rank = 2, .dtype = l->dtype};
  return ibx_emit_constant(call, type, data);
}

static ibx_val read_weights(ibx_call *call, const layout *l) {
  const ibx_tensor *packed = ibx_const_in(call, 1, "B");
  int64_t stride = l->blocks * (l->block * width_of(l) / 8);
  if (!packed) return IBX_NO_VALUE;
  if (!ibx_call_expect(call,
                       packed->type.dtype == IBX_DTYPE_U8 &&
                           ibx_elements(&packed->type) == l->n * stride,
                       "B", "does not fit N, K, bits and block_size")) {
    return IBX_NO_VALUE;
  }
  return unpack(call, l, packed, stride, l->blocks * l->block);
}

// [N, blocks] or as many numbers in one dimension, as [blocks, N].
static ibx_val read_factors(ibx_call *call, const layout *l, size_t index,
                            const char *name) {
  ibx_val x = ibx_in(call, index);
  bool fits = ibx_elements(ibx_type_of(call, x)) == l->n * l->blocks;
  if (!ibx_call_expect(call, fits, name, "needs a number for each block")) {
    return x;
  }
  x = ibx_emit_reshape(call, x, IBX_INTS(l->n, l->blocks));
  return ibx_emit_transpose(call, x, IBX_INTS(1, 0));
}

// Absent ones are the middle of the range; those in bytes are dense as weights.
static ibx_val read_zeros(ibx_call *call, const layout *l) {
  if (!ibx_has_in(call, 3)) {
    return ibx_emit_scalar(call, IBX_DTYPE_F32,
                           (double)(1 << (width_of(l) - 1)));
  }
  if (ibx_dtype_of(call, ibx_in(call, 3)) != IBX_DTYPE_U8) {
    return read_factors(call, l, 3, "zero_points");
  }
  const ibx_tensor *packed = ibx_const_in(call, 3, "zero_points");
  int64_t stride = (l->blocks * width_of(l) + 7) / 8;
  if (!packed) return IBX_NO_VALUE;
  if (!ibx_call_expect(call, ibx_elements(&packed->type) == l->n * stride,
                       "zero_points", "does not fit N, K and block_size")) {
    return IBX_NO_VALUE;
  }
  return unpack(call, l, packed, stride, l->blocks);
}

// What the last block has behind K counts 0 times.
static ibx_val pad_to_blocks(ibx_call *call, const layout *l, ibx_val a) {
  int64_t missing = l->blocks * l->block - l->k;
  size_t rank = (size_t)ibx_rank(call, a);
  if (missing == 0) return a;
  ibx_ints low = ibx_fill_ints(rank, 0), high = low;
  high.at[rank - 1] = missing;
  return ibx_emit_pad(call, a, low, high, 0);
}

void ibx_import_op_matmul_nbits(ibx_call *call) {
  layout l = {0};
  ibx_val a = ibx_in(call, 0);
  if (!read_layout(call, &l)) return;
  if (!ibx_call_expect(call,
                       ibx_rank(call, a) >= 1 && ibx_dim(call, a, -1) == l.k,
                       "A", "does not end with K")) {
    return;
  }
  ibx_val weights = read_weights(call, &l);
  ibx_val scale = read_factors(call, &l, 2, "scales");
  ibx_val zero = read_zeros(call, &l);
  if (call->failed) return;
  weights = ibx_emit_dequantise(call, weights, scale, zero, 0, l.block);
  weights = ibx_emit_cast(call, weights, ibx_dtype_of(call, a));
  ibx_val y = ibx_emit_matmul_any(call, pad_to_blocks(call, &l, a), weights);
  if (ibx_has_in(call, 5)) {
    y = ibx_emit_binary(call, IBX_TENSOR_add, y, ibx_in(call, 5));
  }
  ibx_out(call, 0, y);
}
