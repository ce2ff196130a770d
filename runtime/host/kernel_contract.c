// SPDX-License-Identifier: Apache-2.0
//
// Matrix products and convolutions. Comes in: two operands of one dtype. Goes
// out: sums of products, in fp32 for floating dtypes, in double for F64, in
// wrapping 64-bit integers for the others, converted once. A convolution is a
// matrix product with the unfolded input, a chunk of rows at a time.

#include "host/host.h"

#include <stdlib.h>
#include <string.h>

enum {
  // A block of b: 64 x 256 fp32 values are 64 KiB and stay in the second-level
  // cache of any machine that runs this.
  BLOCK_K = 64,
  BLOCK_N = 256,
  // Windows that are unfolded at once.
  CHUNK_WINDOWS = 4096
};

// NULL when the size overflows or memory is short; never NULL for 0 elements.
static void *make_room(size_t count, size_t size) {
  uint64_t bytes;
  if (!ibx_mul_size(count, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
  return malloc(bytes ? (size_t)bytes : 1);
}

static size_t chunk_rows(const ibx_host_window *w) {
  int64_t width = w->out[w->rank - 1];
  if (width <= 0 || width >= CHUNK_WINDOWS) return 1;
  return (size_t)(CHUNK_WINDOWS / width);
}

// Room for the unfolded rows of `channels` channels.
static void *make_columns(const ibx_host_window *w, size_t channels,
                          size_t rows, size_t size) {
  uint64_t count;
  if (!ibx_mul_size(channels, w->taps, &count) ||
      !ibx_mul_size(count, rows, &count) ||
      !ibx_mul_size(count, (uint64_t)w->out[w->rank - 1], &count)) {
    return NULL;
  }
  return count > SIZE_MAX ? NULL : make_room((size_t)count, size);
}

#define WIDE float
#define NAME(x) x##_f32
#define LOAD ibx_dtype_load_f32
#define STORE ibx_dtype_store_f32
#define IS_WIDE(dtype) ((dtype) == IBX_DTYPE_F32)
#include "host/contract.inc"
#undef WIDE
#undef NAME
#undef LOAD
#undef STORE
#undef IS_WIDE

#define WIDE double
#define NAME(x) x##_f64
#define LOAD ibx_host_load
#define STORE ibx_host_store
#define IS_WIDE(dtype) ((dtype) == IBX_DTYPE_F64)
#include "host/contract.inc"
#undef WIDE
#undef NAME
#undef LOAD
#undef STORE
#undef IS_WIDE

// Unsigned, so that sums wrap.
static void load_u64(ibx_dtype dtype, const void *src, uint64_t *dst,
                     size_t count) {
  ibx_host_load_int(dtype, src, (int64_t *)dst, count);
}

static void store_u64(ibx_dtype dtype, const uint64_t *src, void *dst,
                      size_t count) {
  ibx_host_store_int(dtype, (const int64_t *)src, dst, count);
}

#define WIDE uint64_t
#define NAME(x) x##_int
#define LOAD load_u64
#define STORE store_u64
#define IS_WIDE(dtype) ((dtype) == IBX_DTYPE_I64 || (dtype) == IBX_DTYPE_U64)
#include "host/contract.inc"

ibx_status ibx_host_contract(const ibx_host_call *call, ibx_error *err) {
  ibx_dtype dtype = call->result->type.dtype;
  bool is_ok;
  if (dtype == IBX_DTYPE_F64) {
    is_ok = contract_f64(call);
  } else if (ibx_dtype_is_float(dtype)) {
    is_ok = contract_f32(call);
  } else {
    is_ok = contract_int(call);
  }
  if (is_ok) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the operands of %s",
                  ibx_tensor_op_get(call->op)->name);
}
