// SPDX-License-Identifier: Apache-2.0
//
// Reads an ONNX TensorProto. In: bytes that nobody trusts. Out: an array with
// the elements of raw_data, or of the typed field that belongs to its dtype.

#include "driver/files.h"

#include <onnx.pb-c.h>

#include <string.h>

typedef struct reader {
  const Onnx__TensorProto *tensor;
  const char *name;
  ibx_error *err;
} reader;

static ibx_status fail(const reader *in, const char *what) {
  return IBX_FAIL(in->err, MISMATCH, "%s is no ONNX tensor that we read: %s",
                  in->name, what);
}

static ibx_status read_type(const reader *in, ibx_array *out) {
  const Onnx__TensorProto *tensor = in->tensor;
  out->dtype = ibx_dtype_from_onnx(tensor->data_type);
  if (out->dtype == IBX_DTYPE_NONE) return fail(in, "its type is not ours");
  if (tensor->n_dims > IBX_MAX_RANK) {
    return fail(in, "it has more than 8 dimensions");
  }
  out->rank = tensor->n_dims;
  for (size_t d = 0; d < out->rank; d++) {
    if (tensor->dims[d] < 0) return fail(in, "a dimension is negative");
    out->shape[d] = (uint64_t)tensor->dims[d];
  }
  return IBX_OK;
}

// Every element type narrower than 32 bits, and bool and the small floats as
// their bits, stands in int32_data.
static void copy_narrow(const Onnx__TensorProto *tensor, ibx_array *out) {
  size_t bytes = ibx_dtype_bytes(out->dtype);
  for (size_t i = 0; i < tensor->n_int32_data; i++) {
    memcpy(out->data + i * bytes, &tensor->int32_data[i], bytes);
  }
}

static void copy_u32(const Onnx__TensorProto *tensor, ibx_array *out) {
  for (size_t i = 0; i < tensor->n_uint64_data; i++) {
    uint32_t value = (uint32_t)tensor->uint64_data[i];
    memcpy(out->data + i * sizeof(value), &value, sizeof(value));
  }
}

// The typed field of the dtype: how many values it has, and those that lie in
// it as they do in memory.
static size_t typed_count(const Onnx__TensorProto *tensor, ibx_dtype dtype,
                          const void **out_data) {
  *out_data = NULL;
  switch (dtype) {
  case IBX_DTYPE_F32:
    *out_data = tensor->float_data;
    return tensor->n_float_data;
  case IBX_DTYPE_F64:
    *out_data = tensor->double_data;
    return tensor->n_double_data;
  case IBX_DTYPE_I64:
    *out_data = tensor->int64_data;
    return tensor->n_int64_data;
  case IBX_DTYPE_U64:
    *out_data = tensor->uint64_data;
    return tensor->n_uint64_data;
  case IBX_DTYPE_U32: return tensor->n_uint64_data;
  default: return tensor->n_int32_data;
  }
}

static ibx_status copy_typed(const reader *in, ibx_array *out) {
  const void *data;
  size_t count = typed_count(in->tensor, out->dtype, &data);
  uint64_t bytes;
  if (!ibx_mul_size(count, ibx_dtype_bytes(out->dtype), &bytes) ||
      bytes != out->bytes) {
    return fail(in, "its elements are more or fewer than its shape says");
  }
  if (data != NULL) {
    memcpy(out->data, data, out->bytes);
  } else if (out->dtype == IBX_DTYPE_U32) {
    copy_u32(in->tensor, out);
  } else {
    copy_narrow(in->tensor, out);
  }
  return IBX_OK;
}

static ibx_status check_size(const reader *in, const ibx_array *array) {
  // A shape without its elements must not make us allocate it.
  uint64_t bytes = ibx_dtype_bytes(array->dtype);
  for (size_t d = 0; d < array->rank; d++) {
    if (!ibx_mul_size(bytes, array->shape[d], &bytes)) {
      return fail(in, "its shape is too large");
    }
  }
  const void *data;
  uint64_t held = typed_count(in->tensor, array->dtype, &data);
  held *= ibx_dtype_bytes(array->dtype);
  if (in->tensor->has_raw_data) held = in->tensor->raw_data.len;
  if (held == bytes) return IBX_OK;
  return fail(in, "its elements are more or fewer than its shape says");
}

static ibx_status copy_texts(const reader *in, ibx_array *out) {
  uint64_t count = 1;
  bool fits = true;
  for (size_t d = 0; d < out->rank && fits; d++) {
    fits = ibx_mul_size(count, out->shape[d], &count);
  }
  if (!fits || count != in->tensor->n_string_data) {
    return fail(in, "its texts are more or fewer than its shape says");
  }
  IBX_TRY(ibx_host_tensor_reset(&out->texts, IBX_DTYPE_STRING, out->shape,
                                out->rank, in->err));
  for (uint64_t i = 0; i < count; i++) {
    const ProtobufCBinaryData *text = &in->tensor->string_data[i];
    IBX_TRY(ibx_host_tensor_add_text(&out->texts, (const char *)text->data,
                                     text->len, in->err));
  }
  return IBX_OK;
}

static ibx_status parse(const reader *in, ibx_array *out) {
  if (in->tensor->n_external_data != 0) {
    return fail(in, "its data are in another file");
  }
  IBX_TRY(read_type(in, out));
  if (out->dtype == IBX_DTYPE_STRING) return copy_texts(in, out);
  IBX_TRY(check_size(in, out));
  IBX_TRY(ibx_array_alloc(out, in->name, in->err));
  if (!in->tensor->has_raw_data) return copy_typed(in, out);
  if (out->bytes != 0) memcpy(out->data, in->tensor->raw_data.data, out->bytes);
  return IBX_OK;
}

ibx_status ibx_proto_parse(ibx_span bytes, const char *name, ibx_array *out,
                           ibx_error *err) {
  *out = (ibx_array){0};
  reader in = {.name = name, .err = err};
  Onnx__TensorProto *tensor =
      onnx__tensor_proto__unpack(NULL, bytes.size, bytes.data);
  if (tensor == NULL) return fail(&in, "its bytes are no message");
  in.tensor = tensor;
  ibx_status status = parse(&in, out);
  onnx__tensor_proto__free_unpacked(tensor, NULL);
  if (status != IBX_OK) ibx_array_fini(out);
  return status;
}
