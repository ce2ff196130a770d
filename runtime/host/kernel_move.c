// SPDX-License-Identifier: Apache-2.0
//
// Operations that move elements and compute nothing: views and gather. Comes
// in: operands of any dtype. Goes out: their elements, bit for bit, in another
// order.

#include "host/host.h"

#include <string.h>

static ibx_host_box box_of(const ibx_type *type) {
  ibx_host_box box = {.element_bytes = ibx_dtype_bytes(type->dtype),
                      .rank = type->rank};
  for (size_t i = 0; i < type->rank; i++) {
    box.extents[i] = (size_t)type->dims[i];
  }
  return box;
}

static void reshape(const ibx_host_call *call) {
  const ibx_tensor *x = &call->operands[0];
  size_t count = ibx_type_span(&x->type, 0, x->type.rank);
  memcpy(call->result->data, x->data, count * ibx_dtype_bytes(x->type.dtype));
}

static void transpose(const ibx_host_call *call) {
  const ibx_tensor *x = &call->operands[0];
  ptrdiff_t steps[IBX_MAX_RANK];
  ibx_host_steps(&x->type, steps);
  ibx_host_box box = box_of(&call->result->type);
  ibx_host_steps(&call->result->type, box.dst_steps);
  for (size_t i = 0; i < box.rank; i++) {
    box.src_steps[i] = steps[call->params->perm.at[i]];
  }
  ibx_host_copy(&box, call->result->data, x->data);
}

static void slice(const ibx_host_call *call) {
  const ibx_tensor *x = &call->operands[0];
  const ibx_params *p = call->params;
  ptrdiff_t steps[IBX_MAX_RANK], first = 0;
  ibx_host_steps(&x->type, steps);
  ibx_host_box box = box_of(&call->result->type);
  ibx_host_steps(&call->result->type, box.dst_steps);
  for (size_t i = 0; i < box.rank; i++) {
    first += steps[i] * (ptrdiff_t)p->starts.at[i];
    // A step that is never taken may be any number.
    bool is_taken = box.extents[i] > 1;
    box.src_steps[i] = is_taken ? steps[i] * (ptrdiff_t)p->steps.at[i] : 0;
  }
  const char *src = x->data;
  ibx_host_copy(&box, call->result->data,
                src + first * (ptrdiff_t)box.element_bytes);
}

static void broadcast(const ibx_host_call *call) {
  const ibx_tensor *x = &call->operands[0];
  ibx_host_box box = box_of(&call->result->type);
  ibx_host_steps(&call->result->type, box.dst_steps);
  ibx_host_steps(&x->type, box.src_steps);
  for (size_t i = 0; i < box.rank; i++) {
    if (x->type.dims[i] == 1) box.src_steps[i] = 0;
  }
  ibx_host_copy(&box, call->result->data, x->data);
}

// Copies `x` into the result, `first` elements from its beginning.
static void place(const ibx_tensor *x, ibx_tensor *result, ptrdiff_t first) {
  ibx_host_box box = box_of(&x->type);
  ibx_host_steps(&x->type, box.src_steps);
  ibx_host_steps(&result->type, box.dst_steps);
  char *dst = result->data;
  ibx_host_copy(&box, dst + first * (ptrdiff_t)box.element_bytes, x->data);
}

// Fills the result with one value of its dtype.
static void fill(ibx_tensor *result, float value) {
  uint64_t element = 0;
  double wide = (double)value;
  int64_t truth = value != 0;
  if (ibx_dtype_is_float(result->type.dtype)) {
    ibx_host_store(result->type.dtype, &wide, &element, 1);
  } else if (result->type.dtype == IBX_DTYPE_BOOL) {
    ibx_host_store_int(IBX_DTYPE_BOOL, &truth, &element, 1);
  } else {
    ibx_host_store_truncated(result->type.dtype, &wide, &element, 1);
  }
  ibx_host_box box = box_of(&result->type);
  ibx_host_steps(&result->type, box.dst_steps);
  ibx_host_copy(&box, result->data, &element);
}

static void pad(const ibx_host_call *call) {
  ptrdiff_t steps[IBX_MAX_RANK], first = 0;
  ibx_host_steps(&call->result->type, steps);
  for (size_t i = 0; i < call->result->type.rank; i++) {
    first += steps[i] * (ptrdiff_t)call->params->low.at[i];
  }
  fill(call->result, call->params->value);
  place(&call->operands[0], call->result, first);
}

static void concat(const ibx_host_call *call) {
  size_t axis = (size_t)call->params->axis;
  ptrdiff_t steps[IBX_MAX_RANK], first = 0;
  ibx_host_steps(&call->result->type, steps);
  for (size_t i = 0; i < call->operand_count; i++) {
    const ibx_tensor *x = &call->operands[i];
    place(x, call->result, first);
    first += steps[axis] * (ptrdiff_t)x->type.dims[axis];
  }
}

// The same bits, and above them what the dtype has there.
static void bitcast(const ibx_host_call *call) {
  ibx_tensor *y = call->result;
  ibx_dtype dtype = y->type.dtype;
  reshape(call);
  if (ibx_dtype_get(dtype)->width >= 8) return;
  uint8_t *bytes = y->data;
  size_t count = ibx_type_span(&y->type, 0, y->type.rank);
  for (size_t i = 0; i < count; i++)
    bytes[i] = (uint8_t)(ibx_dtype_wrap(dtype, bytes[i]) & 0xff);
}

ibx_status ibx_host_view(const ibx_host_call *call, ibx_error *err) {
  switch (call->op) {
  case IBX_TENSOR_bitcast: bitcast(call); return IBX_OK;
  case IBX_TENSOR_reshape: reshape(call); return IBX_OK;
  case IBX_TENSOR_transpose: transpose(call); return IBX_OK;
  case IBX_TENSOR_slice: slice(call); return IBX_OK;
  case IBX_TENSOR_broadcast: broadcast(call); return IBX_OK;
  case IBX_TENSOR_pad: pad(call); return IBX_OK;
  case IBX_TENSOR_concat: concat(call); return IBX_OK;
  default: break;
  }
  return IBX_FAIL(err, INTERNAL, "%s has no kernel",
                  ibx_tensor_op_get(call->op)->name);
}

// Reads index `i`, counted from the end where negative. Unsigned 64-bit values
// past INT64_MAX become negative ones that are out of range, too.
static ibx_status read_index(const ibx_tensor *indices, size_t i,
                             int64_t extent, size_t *out, ibx_error *err) {
  int64_t index;
  ibx_dtype dtype = indices->type.dtype;
  ibx_host_load_int(dtype, ibx_host_at_const(indices->data, dtype, i), &index,
                    1);
  bool fits = index >= -extent && index < extent;
  if (dtype == IBX_DTYPE_U64 && index < 0) fits = false;
  if (!fits) {
    return IBX_FAIL(err, MISMATCH,
                    "gather: index %lld at position %zu is outside of the "
                    "%lld elements",
                    (long long)index, i, (long long)extent);
  }
  *out = (size_t)(index < 0 ? index + extent : index);
  return IBX_OK;
}

ibx_status ibx_host_gather(const ibx_host_call *call, ibx_error *err) {
  const ibx_tensor *data = &call->operands[0], *indices = &call->operands[1];
  size_t axis = (size_t)call->params->axis, rank = data->type.rank;
  size_t outer = ibx_type_span(&data->type, 0, axis);
  size_t extent = (size_t)data->type.dims[axis];
  size_t row = ibx_type_span(&data->type, axis + 1, rank) *
               ibx_dtype_bytes(data->type.dtype);
  size_t count = ibx_type_span(&indices->type, 0, indices->type.rank);
  const char *src = data->data;
  char *dst = call->result->data;
  for (size_t i = 0; i < count; i++) {
    size_t index = 0;
    IBX_TRY(read_index(indices, i, (int64_t)extent, &index, err));
    for (size_t j = 0; j < outer; j++) {
      memcpy(dst + (j * count + i) * row, src + (j * extent + index) * row,
             row);
    }
  }
  return IBX_OK;
}
