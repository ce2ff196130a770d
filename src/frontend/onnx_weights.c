// SPDX-License-Identifier: Apache-2.0
//
// Constants of a model. Comes in: a tensor message. Goes out: a weight. Holds
// afterwards: type and extents are ones that Imbrex has, and `data` holds
// exactly their bytes; booleans are 0 or 1, types below a byte have one each. Data
// stay in the mapped file when they are large; the IR never copies them.

#include "frontend/model.h"
#include "frontend/wire.h"

#include <inttypes.h>
#include <string.h>

// Up to here a copy costs less than what it saves: aligned loads in folding.
enum { COPY_BYTES = 64 << 10 };

typedef struct reader {
  ibx_model *model;
  const Onnx__TensorProto *tensor;
  ibx_diag_at at;
  ibx_diag_sink *sink;
  ibx_arena *arena;
  ibx_type type;
  uint64_t bytes;
  uint64_t stored; ///< bytes in the file, which are dense
  uint64_t elements;
} reader;

static bool is_below_byte(const reader *r) {
  return ibx_dtype_get(r->type.dtype)->width < 8;
}

static bool check_form(const reader *r) {
  if (r->tensor->segment) {
    ibx_diag_add(r->sink, IBX_DIAG_TENSOR_FORM, r->at,
                 "save the model with each tensor in one piece",
                 "the tensor is stored in segments");
    return false;
  }
  if (r->tensor->n_string_data != 0) {
    ibx_diag_add(r->sink, IBX_DIAG_UNSUPPORTED_TYPE, r->at,
                 "convert texts to numbers before the model",
                 "the tensor holds texts");
    return false;
  }
  return true;
}

static bool read_type(reader *r) {
  const Onnx__TensorProto *tensor = r->tensor;
  int number = tensor->has_data_type ? tensor->data_type : 0;
  r->type.dtype = ibx_dtype_from_onnx(number);
  if (r->type.dtype == IBX_DTYPE_NONE) {
    ibx_diag_add(r->sink, IBX_DIAG_UNSUPPORTED_TYPE, r->at,
                 "store the constant in a type that `imbrex ops` lists",
                 "the tensor has ONNX data type %d", number);
    return false;
  }
  if (tensor->n_dims > IBX_MAX_RANK) {
    ibx_diag_add(r->sink, IBX_DIAG_UNSUPPORTED_RANK, r->at,
                 "merge dimensions of the constant",
                 "the tensor has %zu dimensions, Imbrex handles %d",
                 tensor->n_dims, IBX_MAX_RANK);
    return false;
  }
  r->type.rank = (uint8_t)tensor->n_dims;
  return true;
}

static bool read_shape(reader *r) {
  for (size_t i = 0; i < r->tensor->n_dims; i++) {
    r->type.dims[i] = r->tensor->dims[i];
    if (r->tensor->dims[i] >= 0) continue;
    ibx_diag_add(r->sink, IBX_DIAG_BAD_TENSOR, r->at,
                 "the file is damaged: export the model again",
                 "dimension %zu has extent %" PRId64, i, r->tensor->dims[i]);
    return false;
  }
  int64_t elements, bytes;
  if (!ibx_type_elements(&r->type, &elements) ||
      !ibx_type_bytes(&r->type, &bytes)) {
    ibx_diag_add(r->sink, IBX_DIAG_BAD_TENSOR, r->at,
                 "the file is damaged: export the model again",
                 "the product of the extents does not fit in 63 bits");
    return false;
  }
  r->elements = (uint64_t)elements;
  r->bytes = (uint64_t)bytes;
  r->stored = ibx_dtype_dense_bytes(r->type.dtype, r->elements);
  return true;
}

static bool bad_size(const reader *r, uint64_t have, uint64_t want,
                     const char *unit) {
  ibx_diag_add(r->sink, IBX_DIAG_BAD_TENSOR, r->at,
               "the file is damaged: export the model again",
               "the tensor has %" PRIu64 " %s of data, its type and extents "
               "need %" PRIu64,
               have, unit, want);
  return false;
}

static const void *copy_raw(const reader *r, const uint8_t *data) {
  uint8_t *copy = ibx_arena_alloc(r->arena, (size_t)r->bytes);
  ibx_dtype_from_dense(r->type.dtype, data, copy, r->elements);
  if (r->type.dtype != IBX_DTYPE_BOOL) return copy;
  for (uint64_t i = 0; i < r->bytes; i++)
    copy[i] = copy[i] != 0;
  return copy;
}

static const void *take_raw(const reader *r, ibx_span raw) {
  bool copy = r->bytes <= COPY_BYTES || r->type.dtype == IBX_DTYPE_BOOL ||
              is_below_byte(r);
  return copy ? copy_raw(r, raw.data) : raw.data;
}

// The lists of numbers that a tensor may have instead of raw bytes. Types
// below 32 bits are widened one by one in int32_data; of those of 4 and 2 bits
// it has the dense bytes.
static size_t list_len(const Onnx__TensorProto *tensor, ibx_dtype dtype) {
  switch (dtype) {
  case IBX_DTYPE_F32: return tensor->n_float_data;
  case IBX_DTYPE_F64: return tensor->n_double_data;
  case IBX_DTYPE_I64: return tensor->n_int64_data;
  case IBX_DTYPE_U32:
  case IBX_DTYPE_U64: return tensor->n_uint64_data;
  default: return tensor->n_int32_data;
  }
}

static void copy_list(const reader *r, uint8_t *out) {
  const Onnx__TensorProto *tensor = r->tensor;
  size_t size = ibx_dtype_bytes(r->type.dtype);
  for (size_t i = 0; i < r->elements; i++) {
    uint64_t bits = 0;
    switch (r->type.dtype) {
    case IBX_DTYPE_F32: memcpy(&bits, &tensor->float_data[i], 4); break;
    case IBX_DTYPE_F64: memcpy(&bits, &tensor->double_data[i], 8); break;
    case IBX_DTYPE_I64: bits = (uint64_t)tensor->int64_data[i]; break;
    case IBX_DTYPE_U32:
    case IBX_DTYPE_U64: bits = tensor->uint64_data[i]; break;
    case IBX_DTYPE_BOOL: bits = tensor->int32_data[i] != 0; break;
    default: bits = (uint32_t)tensor->int32_data[i]; break;
    }
    bits = ibx_dtype_wrap(r->type.dtype, bits);
    memcpy(out + i * size, &bits, size); // little endian, as the file
  }
}

// Bytes of several elements, one in each number.
static const void *copy_dense_list(const reader *r) {
  uint8_t *data = ibx_arena_alloc(r->arena, (size_t)r->bytes);
  uint8_t *dense = ibx_arena_alloc(r->arena, (size_t)r->stored);
  for (size_t i = 0; i < r->stored; i++)
    dense[i] = (uint8_t)((uint32_t)r->tensor->int32_data[i] & 0xff);
  ibx_dtype_from_dense(r->type.dtype, dense, data, r->elements);
  return data;
}

static bool read_list(reader *r, const void **out_data) {
  size_t len = list_len(r->tensor, r->type.dtype);
  // Six bits would not fill the numbers: each has one element.
  bool is_dense =
      is_below_byte(r) && 8 % ibx_dtype_get(r->type.dtype)->width == 0;
  uint64_t wanted = is_dense ? r->stored : r->elements;
  if (len != wanted) return bad_size(r, len, wanted, "elements");
  if (is_dense) {
    *out_data = copy_dense_list(r);
    return true;
  }
  uint8_t *data = ibx_arena_alloc(r->arena, (size_t)r->bytes);
  copy_list(r, data);
  *out_data = data;
  return true;
}

static bool read_data(reader *r, const void **out_data) {
  ibx_raw_place raw;
  if (r->tensor->has_data_location &&
      r->tensor->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL) {
    ibx_span bytes = {0};
    bool found = ibx_model_external(r->model, r->tensor, r->stored, r->at,
                                    r->sink, &bytes);
    if (found) *out_data = take_raw(r, bytes);
    return found;
  }
  if (!ibx_wire_raw_place(r->tensor, &raw)) return read_list(r, out_data);
  if (raw.size != r->stored) return bad_size(r, raw.size, r->stored, "bytes");
  const uint8_t *base = r->model->bytes.data;
  *out_data = take_raw(
      r, (ibx_span){.data = base + raw.offset, .size = (size_t)raw.size});
  return true;
}

bool ibx_model_weight(ibx_model *model, const Onnx__TensorProto *tensor,
                      const char *name, ibx_diag_at at, ibx_diag_sink *sink,
                      ibx_arena *arena, ibx_weight *out) {
  reader r = {
      .model = model, .tensor = tensor, .at = at, .sink = sink, .arena = arena};
  const void *data = NULL;
  if (!check_form(&r) || !read_type(&r) || !read_shape(&r)) return false;
  if (!read_data(&r, &data)) return false;
  *out = (ibx_weight){.type = r.type, .data = data, .name = name};
  return true;
}
