// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_HOST_H
#define IBX_HOST_H

/// \file
/// What the reference kernels share. A kernel gets operands whose types
/// ibx_tensor_infer() has accepted and a result of the type that it gave, with
/// room for its bytes, and computes in one of two domains: double for floating
/// dtypes (which holds each of them exactly, so that a result rounds once), or
/// 64-bit integers that wrap for all others. Data may have any alignment.

#include "imbrex/tensor.h"

enum {
  IBX_HOST_BLOCK = 512, ///< elements that an elementwise loop stages at once
  IBX_TYPE_TEXT_BYTES = 192
};

/// A call of a kernel.
typedef struct ibx_host_call {
  ibx_tensor_op op;
  const ibx_params *params;
  const ibx_tensor *operands;
  size_t operand_count;
  ibx_tensor *result;
} ibx_host_call;

// --- types -------------------------------------------------------------------

/// "f32[2,3]", for messages. Returns `text`.
const char *ibx_type_text(const ibx_type *type, char text[IBX_TYPE_TEXT_BYTES]);
bool ibx_type_equal(const ibx_type *a, const ibx_type *b);
bool ibx_dtype_is_float(ibx_dtype dtype);
/// Product of dims[first] to dims[last - 1] of a type that has been checked.
size_t ibx_type_span(const ibx_type *type, size_t first, size_t last);

// --- conversion between dtypes and the two domains ---------------------------

/// Any dtype to double; integers of 54 bits and more round.
void ibx_host_load(ibx_dtype dtype, const void *src, double *dst, size_t count);
/// double to a floating dtype, rounded once, to nearest even.
void ibx_host_store(ibx_dtype dtype, const double *src, void *dst,
                    size_t count);
/// An integer or bool dtype to 64 bits; U64 keeps its bits.
void ibx_host_load_int(ibx_dtype dtype, const void *src, int64_t *dst,
                       size_t count);
/// 64 bits to an integer dtype, wrapped, or to BOOL as value != 0.
void ibx_host_store_int(ibx_dtype dtype, const int64_t *src, void *dst,
                        size_t count);
/// Integers (unsigned ones where `is_u64`) to a floating dtype, rounded once.
void ibx_host_store_from_int(ibx_dtype dtype, bool is_u64, const int64_t *src,
                             void *dst, size_t count);
/// double to an integer dtype: truncated, saturated, 0 for NaN.
void ibx_host_store_truncated(ibx_dtype dtype, const double *src, void *dst,
                              size_t count);
/// The smallest or largest integer of a dtype, in 64 bits.
int64_t ibx_host_extreme(ibx_dtype dtype, bool largest);
/// The address of element `index`.
void *ibx_host_at(void *data, ibx_dtype dtype, size_t index);
const void *ibx_host_at_const(const void *data, ibx_dtype dtype, size_t index);

// --- moving elements ---------------------------------------------------------

/// A box of elements between two places; steps in elements, of any sign.
typedef struct ibx_host_box {
  size_t element_bytes;
  size_t rank;
  size_t extents[IBX_MAX_RANK];
  ptrdiff_t dst_steps[IBX_MAX_RANK];
  ptrdiff_t src_steps[IBX_MAX_RANK];
} ibx_host_box;
void ibx_host_copy(const ibx_host_box *box, void *dst, const void *src);
/// Row-major steps of a type.
void ibx_host_steps(const ibx_type *type, ptrdiff_t steps[IBX_MAX_RANK]);

// --- windows -----------------------------------------------------------------

/// The spatial dimensions of a convolution or pooling. Window `o` reads element
/// o * stride + k * dilation - low for each k below kernel.
typedef struct ibx_host_window {
  size_t rank;
  int64_t in[IBX_MAX_RANK], out[IBX_MAX_RANK], kernel[IBX_MAX_RANK];
  int64_t stride[IBX_MAX_RANK], dilation[IBX_MAX_RANK], low[IBX_MAX_RANK];
  size_t in_count, out_count, taps;
} ibx_host_window;
/// `in` and `out` are [N, C, spatial...]; `kernel` has the spatial extents.
ibx_host_window ibx_host_window_make(const ibx_params *params,
                                     const ibx_type *in, const ibx_type *out,
                                     const int64_t *kernel);
/// Where a row of windows (all but the last dimension fixed) reads tap `tap`:
/// the element that window 0 of the row reads is `*out_first` and may lie
/// outside; those that exist are *out_low .. *out_low + in[rank - 1] - 1. False
/// when the whole row lies outside.
bool ibx_host_window_row(const ibx_host_window *window, size_t row, size_t tap,
                         int64_t *out_first, int64_t *out_low);

// --- kernels -----------------------------------------------------------------

ibx_status ibx_host_unary(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_binary(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_compare(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_select(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_view(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_gather(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_reduce(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_argmax(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_top(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_nonzero(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_suppress(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_cumsum(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_contract(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_pool(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_softmax(const ibx_host_call *call, ibx_error *err);
ibx_status ibx_host_norm(const ibx_host_call *call, ibx_error *err);

#endif
