// SPDX-License-Identifier: Apache-2.0
//
// The tables of tensor operations and their parameters, and the arithmetic of
// tensor types. Comes in: tensor_ops.def. Nothing here has state.

#include "host/host.h"

#include <stdio.h>
#include <string.h>

static const ibx_tensor_op_info ops[] = {
#define IBX_TENSOR_OP(op_name, op_klass, op_least, op_most, op_params,         \
                      op_sentence)                                             \
  [IBX_TENSOR_##op_name] = {.name = #op_name,                                  \
                            .params = (op_params),                             \
                            .sentence = (op_sentence),                         \
                            .klass = IBX_KLASS_##op_klass,                     \
                            .least = (op_least),                               \
                            .most = (op_most)},
#include "imbrex/tensor_ops.def"
};

static const ibx_param_info params[] = {
#define IBX_PARAM(param_name, param_kind, param_sentence)                      \
  {.name = #param_name,                                                        \
   .sentence = (param_sentence),                                               \
   .offset = offsetof(ibx_params, param_name),                                 \
   .kind = IBX_PARAM_KIND_##param_kind},
#include "imbrex/tensor_ops.def"
};

const ibx_tensor_op_info *ibx_tensor_op_get(ibx_tensor_op op) {
  size_t index = (size_t)op;
  return index < IBX_COUNT_OF(ops) ? &ops[index] : NULL;
}

const ibx_param_info *ibx_param_get(size_t index) {
  return index < IBX_COUNT_OF(params) ? &params[index] : NULL;
}

bool ibx_tensor_op_has_param(ibx_tensor_op op, size_t index) {
  const ibx_tensor_op_info *info = ibx_tensor_op_get(op);
  const ibx_param_info *param = ibx_param_get(index);
  if (!info || !param) return false;
  size_t len = strlen(param->name);
  for (const char *word = info->params; *word != 0;) {
    size_t word_len = strcspn(word, " ");
    if (word_len == len && memcmp(word, param->name, len) == 0) return true;
    word += word_len;
    word += *word == ' ';
  }
  return false;
}

// An extent of 0 does not excuse absurd ones beside it: kernels multiply some
// of the extents only.
bool ibx_type_elements(const ibx_type *type, int64_t *out_elements) {
  uint64_t product = 1;
  bool is_empty = false;
  for (size_t i = 0; i < type->rank; i++) {
    if (type->dims[i] < 0) return false;
    if (type->dims[i] == 0) is_empty = true;
    uint64_t extent = type->dims[i] == 0 ? 1 : (uint64_t)type->dims[i];
    if (!ibx_mul_size(product, extent, &product)) return false;
  }
  if (product > INT64_MAX) return false;
  *out_elements = is_empty ? 0 : (int64_t)product;
  return true;
}

bool ibx_type_bytes(const ibx_type *type, int64_t *out_bytes) {
  int64_t elements;
  uint64_t bytes;
  if (!ibx_type_elements(type, &elements)) return false;
  if (!ibx_mul_size((uint64_t)elements, ibx_dtype_bytes(type->dtype), &bytes)) {
    return false;
  }
  if (bytes > INT64_MAX) return false;
  *out_bytes = (int64_t)bytes;
  return true;
}

size_t ibx_type_span(const ibx_type *type, size_t first, size_t last) {
  size_t product = 1;
  for (size_t i = first; i < last; i++)
    product *= (size_t)type->dims[i];
  return product;
}

bool ibx_type_equal(const ibx_type *a, const ibx_type *b) {
  if (a->rank != b->rank || a->dtype != b->dtype) return false;
  for (size_t i = 0; i < a->rank; i++) {
    if (a->dims[i] != b->dims[i]) return false;
  }
  return true;
}

bool ibx_dtype_is_float(ibx_dtype dtype) {
  const ibx_dtype_info *info = ibx_dtype_get(dtype);
  return info && info->kind == IBX_DTYPE_KIND_FLOAT;
}

const char *ibx_type_text(const ibx_type *type,
                          char text[IBX_TYPE_TEXT_BYTES]) {
  const ibx_dtype_info *info = ibx_dtype_get(type->dtype);
  size_t room = IBX_TYPE_TEXT_BYTES;
  size_t len = (size_t)snprintf(text, room, "%s[", info ? info->name : "?");
  for (size_t i = 0; i < type->rank && i < IBX_MAX_RANK; i++) {
    len += (size_t)snprintf(text + len, room - len, i ? ",%lld" : "%lld",
                            (long long)type->dims[i]);
  }
  snprintf(text + len, room - len, "]");
  return text;
}
