// SPDX-License-Identifier: Apache-2.0
//
// Reads an ONNX TensorProto, SequenceProto or OptionalProto. In: bytes that
// nobody trusts. Out: an array with the elements of raw_data, or of the typed
// field that belongs to its dtype, for each tensor; those below a byte, which are
// dense there, have one each.

#include "driver/files.h"

#include <onnx.pb-c.h>

#include <stdlib.h>
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

// Types of 4 and 2 bits fill bytes, so int32_data has those.
static bool is_dense_list(ibx_dtype dtype) {
  unsigned width = ibx_dtype_get(dtype)->width;
  return width == 4 || width == 2;
}

// Every element type narrower than 32 bits, and bool and the small floats as
// their bits, stands in int32_data. `dense` has a byte for each number.
static void copy_narrow(const Onnx__TensorProto *tensor, ibx_array *out,
                        uint8_t *dense) {
  size_t bytes = ibx_dtype_bytes(out->dtype);
  bool is_dense = is_dense_list(out->dtype);
  for (size_t i = 0; i < tensor->n_int32_data; i++) {
    uint64_t bits = (uint32_t)tensor->int32_data[i];
    uint64_t element = ibx_dtype_wrap(out->dtype, bits);
    if (is_dense) dense[i] = (uint8_t)(bits & 0xff);
    if (!is_dense) memcpy(out->data + i * bytes, &element, bytes);
  }
  if (!is_dense) return;
  ibx_dtype_from_dense(out->dtype, dense, out->data, ibx_array_count(out));
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
  if (data != NULL && out->bytes != 0) {
    memcpy(out->data, data, out->bytes);
  } else if (out->dtype == IBX_DTYPE_U32) {
    copy_u32(in->tensor, out);
  } else if (data == NULL) {
    uint8_t *dense = malloc(count + 1);
    if (!dense) return IBX_FAIL(in->err, OUT_OF_MEMORY, "no memory");
    copy_narrow(in->tensor, out, dense);
    free(dense);
  }
  return IBX_OK;
}

static ibx_status check_size(const reader *in, const ibx_array *array) {
  // A shape without its elements must not make us allocate it.
  uint64_t count = 1, bytes = ibx_dtype_bytes(array->dtype);
  for (size_t d = 0; d < array->rank; d++) {
    if (!ibx_mul_size(bytes, array->shape[d], &bytes) ||
        !ibx_mul_size(count, array->shape[d], &count)) {
      return fail(in, "its shape is too large");
    }
  }
  const void *data;
  uint64_t held = typed_count(in->tensor, array->dtype, &data);
  uint64_t dense = ibx_dtype_dense_bytes(array->dtype, count);
  uint64_t wanted = is_dense_list(array->dtype) ? dense : count;
  if (in->tensor->has_raw_data) {
    held = in->tensor->raw_data.len;
    wanted = dense;
  }
  if (held == wanted) return IBX_OK;
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
  ibx_dtype_from_dense(out->dtype, in->tensor->raw_data.data, out->data,
                       ibx_array_count(out));
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

// --- sequences and optionals ---------------------------------------------------

static ibx_status parse_items(const reader *in, Onnx__TensorProto *const *list,
                              size_t count, ibx_arrays *out) {
  reader item = *in;
  out->items = calloc(count + 1, sizeof *out->items);
  if (!out->items) {
    return IBX_FAIL(in->err, OUT_OF_MEMORY, "%s: no memory for it", in->name);
  }
  for (size_t i = 0; i < count; i++) {
    item.tensor = list[i];
    out->count = i + 1;
    IBX_TRY(parse(&item, &out->items[i]));
  }
  return IBX_OK;
}

static ibx_status parse_bundle(const reader *in,
                               const Onnx__BundleProto *bundle,
                               ibx_arrays *out) {
  if (bundle->n_sequences > 1) return fail(in, "it is a sequence of sequences");
  if (bundle->n_sequences == 1) { // an optional of one
    const Onnx__BundleProto__Sequence *sequence = bundle->sequences[0];
    return parse_items(in, sequence->tensors, sequence->n_tensors, out);
  }
  out->is_absent = bundle->n_tensors == 0 && bundle->elem_type == 0;
  return parse_items(in, bundle->tensors, bundle->n_tensors, out);
}

ibx_status ibx_arrays_parse(ibx_span bytes, const char *name, ibx_arrays *out,
                            ibx_error *err) {
  *out = (ibx_arrays){0};
  reader in = {.name = name, .err = err};
  Onnx__BundleProto *bundle =
      onnx__bundle_proto__unpack(NULL, bytes.size, bytes.data);
  if (bundle == NULL) return fail(&in, "its bytes are no message");
  ibx_status status = parse_bundle(&in, bundle, out);
  onnx__bundle_proto__free_unpacked(bundle, NULL);
  if (status != IBX_OK) ibx_arrays_fini(out);
  return status;
}
