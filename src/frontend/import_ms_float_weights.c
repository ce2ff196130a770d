// SPDX-License-Identifier: Apache-2.0
//
// Imports MatMulBlockQuantizedFp8Weight and MatMulBlockQuantizedFp4Weight of
// com.microsoft. Comes in: weights [N, K] of few bits, floating, with a scale for
// each block of a row. Goes out:
//
//   A x (weights * scales) transposed + bias
//
// Weights of e2m1 become a constant of e4m3fn, which has all their numbers, is as
// large in memory, and is known to the engines.

#include "frontend/import_ms_attention.h"
#include "frontend/import_ops.h"
#include "frontend/import_quant.h"

typedef struct product {
  ibx_val a;       // [..., K]
  ibx_val weights; // [N, K]
  ibx_val scale;   // [N, blocks]
  int64_t block;
} product;

static bool shapes_fit(ibx_call *call, const product *p, size_t bias) {
  ibx_ints w = ibx_shape_of(call, p->weights), s = ibx_shape_of(call, p->scale);
  bool fits = ibx_rank(call, p->a) >= 1 && w.len == 2 &&
              ibx_dim(call, p->a, -1) == w.at[1];
  if (!ibx_call_expect(call, fits, "B", "does not fit the columns of A")) {
    return false;
  }
  fits = p->block >= 1 && p->block <= INT32_MAX && s.len == 2 &&
         s.at[0] == w.at[0] && s.at[1] == (w.at[1] + p->block - 1) / p->block;
  if (!ibx_call_expect(call, fits, "block_size",
                       "needs scales for each block of a row")) {
    return false;
  }
  ibx_val b = ibx_in(call, bias);
  return ibx_call_expect(call,
                         b == IBX_NO_VALUE || (ibx_rank(call, b) == 1 &&
                                               ibx_dim(call, b, 0) == w.at[0]),
                         "bias", "needs a number for each column");
}

static void multiply(ibx_call *call, const product *p, size_t bias) {
  if (!shapes_fit(call, p, bias)) return;
  ibx_dtype dtype = ibx_dtype_of(call, ibx_in(call, 0));
  ibx_val w = ibx_emit_dequantise(call, p->weights, p->scale, IBX_NO_VALUE, 1,
                                  p->block);
  w = ibx_emit_swap(call, ibx_emit_cast(call, w, dtype), 0, 1);
  ibx_val y = ibx_emit_matmul_any(call, p->a, w);
  if (ibx_has_in(call, bias)) {
    y = ibx_emit_binary(call, IBX_TENSOR_add, y, ibx_in(call, bias));
  }
  ibx_out(call, 0, y);
}

static ibx_val one_number(ibx_call *call, size_t index, const char *name) {
  ibx_val x = ibx_in(call, index);
  bool fits = ibx_elements(ibx_type_of(call, x)) == 1;
  if (!ibx_call_expect(call, fits, name, "needs one element")) return x;
  return ibx_emit_cast(call, ibx_emit_reshape(call, x, (ibx_ints){0}),
                       IBX_DTYPE_F32);
}

// --- e4m3fn ------------------------------------------------------------------

// a as e4m3fn with one scale has it.
static ibx_val round_to_scale(ibx_call *call, ibx_val a, ibx_val scale) {
  const float most = 448;
  ibx_dtype dtype = ibx_dtype_of(call, a);
  a = ibx_emit_binary(call, IBX_TENSOR_div,
                      ibx_emit_cast(call, a, IBX_DTYPE_F32), scale);
  a = ibx_emit_cast(call, ibx_emit_clip(call, a, -most, most),
                    IBX_DTYPE_F8E4M3FN);
  a = ibx_emit_cast(call, a, IBX_DTYPE_F32);
  return ibx_emit_cast(call, ibx_emit_binary(call, IBX_TENSOR_mul, a, scale),
                       dtype);
}

void ibx_import_op_matmul_fp8_weight(ibx_call *call) {
  product p = {.a = ibx_in(call, 0),
               .weights = ibx_in(call, 1),
               .scale = ibx_in(call, 2),
               .block = ibx_attr_int(call, "block_size", 128)};
  bool fits = ibx_dtype_of(call, p.weights) == IBX_DTYPE_F8E4M3FN;
  if (!ibx_call_expect(call, fits, "B", "needs elements of float8e4m3fn")) {
    return;
  }
  if (ibx_has_in(call, 3)) {
    p.a = round_to_scale(call, p.a, one_number(call, 3, "a_scale"));
  }
  if (!call->failed) multiply(call, &p, 4);
}

// --- e2m1 --------------------------------------------------------------------

// A constant of bytes.
static const ibx_tensor *read_bytes(ibx_call *call, size_t index,
                                    const char *name) {
  const ibx_tensor *bytes = ibx_const_in(call, index, name);
  if (!bytes) return NULL;
  bool fits = bytes->type.dtype == IBX_DTYPE_U8 && bytes->type.rank == 2;
  return ibx_call_expect(call, fits, name, "needs bytes of 2 dimensions")
             ? bytes
             : NULL;
}

// Two of e2m1 in each byte, the first in its low half, in e4m3fn.
static ibx_val unpack(ibx_call *call, const ibx_tensor *bytes) {
  int64_t all = ibx_elements(&bytes->type);
  if (!ibx_call_expect(call, all <= IBX_MOST_ELEMENTS / 2, "B",
                       "is too large")) {
    return IBX_NO_VALUE;
  }
  uint8_t codes[16], table[16];
  float numbers[16];
  for (uint8_t i = 0; i < 16; i++)
    codes[i] = i;
  ibx_dtype_load_f32(IBX_DTYPE_F4E2M1FN, codes, numbers, 16);
  ibx_dtype_store_f32(IBX_DTYPE_F8E4M3FN, numbers, table, 16);
  uint8_t *data = ibx_arena_alloc(call->import->arena, 2 * (size_t)all);
  const uint8_t *from = bytes->data;
  for (size_t i = 0; i < (size_t)all; i++) {
    data[2 * i] = table[from[i] & 15u];
    data[2 * i + 1] = table[from[i] >> 4];
  }
  ibx_type type = bytes->type;
  type.dtype = IBX_DTYPE_F8E4M3FN;
  type.dims[1] *= 2;
  return ibx_emit_constant(call, type, data);
}

void ibx_import_op_matmul_fp4_weight(ibx_call *call) {
  product p = {.a = ibx_in(call, 0),
               .block = ibx_attr_int(call, "block_size", 16)};
  ibx_ms_need_input(call, 3, "weight_scale_2");
  const ibx_tensor *bytes = read_bytes(call, 1, "B");
  const ibx_tensor *scales = bytes ? read_bytes(call, 2, "weight_scale") : NULL;
  if (!scales || call->failed) return;
  p.weights = unpack(call, bytes);
  ibx_type type = scales->type; // the bytes are codes of e4m3fn
  type.dtype = IBX_DTYPE_F8E4M3FN;
  ibx_val scale = ibx_emit_constant(call, type, scales->data);
  p.scale = ibx_emit_binary(call, IBX_TENSOR_mul,
                            ibx_emit_cast(call, scale, IBX_DTYPE_F32),
                            one_number(call, 3, "weight_scale_2"));
  // input_scale, input 4, is of kernels that quantise A.
  if (!call->failed) multiply(call, &p, 5);
}
