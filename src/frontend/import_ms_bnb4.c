// SPDX-License-Identifier: Apache-2.0
//
// Imports MatMulBnb4 of com.microsoft: weights as bitsandbytes has them. Comes in:
// 4 bits for each weight, the number of an entry of a table, the first weight of
// a byte in its upper half; and for each block the largest size of a weight. Goes
// out: the matrix product with the weights as numbers, in the type of A. The
// tables have no steps of one size, so no smaller constant stands for them.

#include "frontend/import.h"
#include "frontend/import_ops.h"

// Of numbers whose largest size is 1.
static const float tables[2][16] = {
    // A sign, and a number of two bits of exponent and one of mantissa, over 12.
    {0, 0.0625f / 12, 8.0f / 12, 12.0f / 12, 4.0f / 12, 6.0f / 12, 2.0f / 12,
     3.0f / 12, -0.0f, -0.0625f / 12, -8.0f / 12, -12.0f / 12, -4.0f / 12,
     -6.0f / 12, -2.0f / 12, -3.0f / 12},
    // Quantiles of the normal distribution (QLoRA, appendix E).
    {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
     -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
     0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f,
     0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
     0.7229568362236023f, 1.0f}};

typedef struct layout {
  int64_t k, n, block, elements;
  const float *table;
} layout;

static bool read_layout(ibx_call *call, layout *l) {
  int64_t kind = ibx_attr_int(call, "quant_type", -1);
  l->k = ibx_attr_int(call, "K", 0);
  l->n = ibx_attr_int(call, "N", 0);
  l->block = ibx_attr_int(call, "block_size", 0);
  ibx_attr_ignore(call, "training_mode");
  bool fits = l->k >= 1 && l->n >= 1 && l->block >= 1 &&
              ibx_mul_extent(l->k, l->n, &l->elements);
  if (!ibx_call_expect(call, fits, "K", "N and block_size need at least 1") ||
      !ibx_call_expect_room(call, l->elements)) {
    return false;
  }
  if (kind != 0 && kind != 1) {
    ibx_call_fail(call, IBX_DIAG_UNSUPPORTED_FORM, "quant_type",
                  "quantise to FP4 (0) or NF4 (1)", "quant_type = %lld",
                  (long long)kind);
    return false;
  }
  l->table = tables[kind];
  return !call->failed;
}

// The weights [N, K] in fp32, rounded to `dtype`.
static ibx_val emit_weights(ibx_call *call, const layout *l,
                            const ibx_tensor *codes, const ibx_tensor *sizes,
                            ibx_dtype dtype) {
  size_t count = (size_t)l->elements;
  float *number = IBX_ARENA_ARRAY(&call->import->scratch, count, float);
  const uint8_t *code = codes->data;
  for (size_t i = 0; i < count; i++) {
    unsigned entry = i % 2 == 0 ? code[i / 2] >> 4u : code[i / 2] & 15u;
    size_t block = i / (size_t)l->block;
    number[i] = l->table[entry] * (float)ibx_tensor_number(sizes, block);
  }
  uint8_t *data =
      ibx_arena_alloc(call->import->arena, count * ibx_dtype_bytes(dtype));
  ibx_dtype_store_f32(dtype, number, data, count);
  ibx_type type = ibx_make_type(dtype, IBX_INTS(l->n, l->k));
  return ibx_emit_constant(call, type, data);
}

void ibx_import_op_matmul_bnb4(ibx_call *call) {
  layout l = {0};
  ibx_val a = ibx_in(call, 0);
  bool turns = ibx_attr_flag(call, "transB", true);
  if (!read_layout(call, &l)) return;
  const ibx_tensor *codes = ibx_const_in(call, 1, "B");
  const ibx_tensor *sizes = ibx_const_in(call, 2, "absmax");
  if (!codes || !sizes) return;
  bool fits = codes->type.dtype == IBX_DTYPE_U8 &&
              ibx_elements(&codes->type) == (l.elements + 1) / 2 &&
              ibx_is_float(sizes->type.dtype) &&
              ibx_elements(&sizes->type) == (l.elements - 1) / l.block + 1;
  if (!ibx_call_expect(call, fits, "B",
                       "or absmax does not fit K, N and block_size")) {
    return;
  }
  ibx_val w = emit_weights(call, &l, codes, sizes, ibx_dtype_of(call, a));
  if (turns) w = ibx_emit_swap(call, w, 0, 1);
  ibx_out(call, 0, ibx_emit_matmul_any(call, a, w));
}
