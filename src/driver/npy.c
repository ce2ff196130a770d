// SPDX-License-Identifier: Apache-2.0
//
// Reads NumPy's .npy format, versions 1 to 3. In: bytes that nobody trusts.
// Out: an array in row-major order. The header is a Python dictionary of three
// keys; this reader takes what NumPy writes.

#include "driver/files.h"

#include <string.h>

static const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

bool ibx_npy_is(ibx_span bytes) {
  return bytes.size >= sizeof(magic) &&
         memcmp(bytes.data, magic, sizeof(magic)) == 0;
}

typedef struct reader {
  ibx_str header;
  const char *name;
  ibx_error *err;
} reader;

static ibx_status fail(const reader *in, const char *what) {
  return IBX_FAIL(in->err, MISMATCH, "%s is no .npy file that we read: %s",
                  in->name, what);
}

// What follows "'key':" and blanks; empty when the key is not there.
static ibx_str value_of(ibx_str header, const char *key) {
  size_t len = strlen(key);
  for (size_t i = 0; i + len <= header.len; i++) {
    if (memcmp(header.data + i, key, len) != 0) continue;
    i += len;
    while (i < header.len && header.data[i] == ' ') {
      i++;
    }
    return (ibx_str){.data = header.data + i, .len = header.len - i};
  }
  return (ibx_str){.data = header.data, .len = 0};
}

static bool begins_with(ibx_str text, const char *start) {
  size_t len = strlen(start);
  return text.len >= len && memcmp(text.data, start, len) == 0;
}

// Elements without a type, of 1 or 2 bytes: NumPy writes those of its extensions
// so. What they are the reader must know.
static bool read_void(ibx_str inner, ibx_array *out) {
  static const struct {
    const char *descr;
    ibx_dtype dtype;
  } VOIDS[] = {{"<V1", IBX_DTYPE_U8},
               {"|V1", IBX_DTYPE_U8},
               {"<V2", IBX_DTYPE_U16},
               {"|V2", IBX_DTYPE_U16}};
  for (size_t i = 0; i < IBX_COUNT_OF(VOIDS); i++) {
    if (!begins_with(inner, VOIDS[i].descr)) continue;
    out->dtype = VOIDS[i].dtype;
    out->is_void = true;
    return true;
  }
  return false;
}

static ibx_status read_dtype(const reader *in, ibx_array *out) {
  ibx_str descr = value_of(in->header, "'descr':");
  ibx_str inner = {.data = descr.data + 1,
                   .len = descr.len == 0 ? 0 : descr.len - 1};
  for (int i = 1; i < IBX_DTYPE_COUNT; i++) {
    const char *own = ibx_dtype_get((ibx_dtype)i)->numpy;
    if (own[0] == 0 || !begins_with(inner, own)) continue;
    out->dtype = (ibx_dtype)i;
    return IBX_OK;
  }
  if (read_void(inner, out)) return IBX_OK;
  return fail(in, "its dtype is not one of ours, little endian");
}

static ibx_status read_shape(const reader *in, ibx_array *out) {
  ibx_str text = value_of(in->header, "'shape':");
  if (!begins_with(text, "(")) return fail(in, "it has no shape");
  bool in_number = false;
  for (size_t i = 1; i < text.len && text.data[i] != ')'; i++) {
    char c = text.data[i];
    if (c < '0' || c > '9') {
      in_number = false;
      continue;
    }
    if (!in_number && out->rank == IBX_MAX_RANK) {
      return fail(in, "it has more than 8 dimensions");
    }
    if (!in_number) out->shape[out->rank++] = 0;
    in_number = true;
    uint64_t *size = &out->shape[out->rank - 1];
    if (!ibx_mul_size(*size, 10, size) ||
        !ibx_add_size(*size, (uint64_t)(c - '0'), size)) {
      return fail(in, "a dimension is too large");
    }
  }
  return IBX_OK;
}

// Column-major elements: the first dimension runs fastest in the file.
static void reorder(const ibx_array *array, const uint8_t *from) {
  size_t bytes = ibx_dtype_bytes(array->dtype);
  uint64_t count = ibx_array_count(array);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t rest = i, to = 0;
    for (size_t d = 0; d < array->rank; d++) {
      uint64_t stride = 1;
      for (size_t e = d + 1; e < array->rank; e++) {
        stride *= array->shape[e];
      }
      to += rest % array->shape[d] * stride;
      rest /= array->shape[d];
    }
    memcpy(array->data + to * bytes, from + i * bytes, bytes);
  }
}

// --- texts -------------------------------------------------------------------

/// 'U': characters of 4 bytes. 'S': bytes. Zeros at the end are room.
typedef struct text_kind {
  size_t unit, room;
} text_kind;

static bool read_text_kind(const reader *in, text_kind *out) {
  ibx_str descr = value_of(in->header, "'descr':");
  if (descr.len < 4) return false;
  char order = descr.data[1], letter = descr.data[2];
  bool is_wide = letter == 'U' && order == '<';
  bool is_narrow = letter == 'S' && (order == '|' || order == '<');
  if (!is_wide && !is_narrow) return false;
  *out = (text_kind){.unit = is_wide ? 4 : 1};
  for (size_t i = 3; i < descr.len && descr.data[i] >= '0' &&
                     descr.data[i] <= '9' && out->room < SIZE_MAX / 100;
       i++)
    out->room = out->room * 10 + (size_t)(descr.data[i] - '0');
  return true;
}

static size_t put_char(uint32_t code, char out[4]) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = len; i-- > 1; code >>= 6)
    out[i] = (char)(0x80 | (code & 0x3f));
  out[0] = (char)((0xf00u >> len & 0xff) | code);
  return len;
}

static ibx_status add_text(const text_kind *kind, const uint8_t *from,
                           ibx_host_tensor *out, ibx_error *err) {
  size_t len = kind->room;
  uint32_t code = 0;
  while (len != 0 &&
         memcmp(from + (len - 1) * kind->unit, &(uint32_t){0}, kind->unit) == 0)
    len--;
  if (kind->unit == 1) {
    return ibx_host_tensor_add_text(out, (const char *)from, len, err);
  }
  IBX_TRY(ibx_host_tensor_add_text(out, "", 0, err));
  for (size_t i = 0; i < len; i++) {
    char bytes[4];
    memcpy(&code, from + i * 4, 4);
    if (code > 0x10ffff) code = 0xfffd;
    size_t size = put_char(code, bytes);
    IBX_TRY(ibx_host_tensor_grow_text(out, bytes, size, err));
  }
  return IBX_OK;
}

static ibx_status parse_texts(const reader *in, const text_kind *kind,
                              ibx_span elements, ibx_array *out) {
  uint64_t size = kind->unit, count = 1;
  bool fits = ibx_mul_size(size, kind->room, &size);
  for (size_t d = 0; d < out->rank && fits; d++) {
    fits = ibx_mul_size(count, out->shape[d], &count);
  }
  uint64_t bytes;
  if (!fits || !ibx_mul_size(size, count, &bytes) || bytes != elements.size ||
      (size == 0 && count > (1u << 24))) {
    return fail(in, "its elements are more or fewer than its shape says");
  }
  if (begins_with(value_of(in->header, "'fortran_order':"), "True") &&
      out->rank > 1) {
    return fail(in, "its texts stand column by column");
  }
  out->dtype = IBX_DTYPE_STRING;
  IBX_TRY(ibx_host_tensor_reset(&out->texts, IBX_DTYPE_STRING, out->shape,
                                out->rank, in->err));
  for (uint64_t i = 0; i < count; i++) {
    IBX_TRY(add_text(kind, elements.data + i * size, &out->texts, in->err));
  }
  return IBX_OK;
}

static ibx_status parse(const reader *in, ibx_span elements, ibx_array *out) {
  text_kind kind;
  if (read_text_kind(in, &kind)) {
    IBX_TRY(read_shape(in, out));
    return parse_texts(in, &kind, elements, out);
  }
  IBX_TRY(read_dtype(in, out));
  IBX_TRY(read_shape(in, out));
  uint64_t bytes = ibx_dtype_bytes(out->dtype);
  for (size_t d = 0; d < out->rank; d++) {
    if (!ibx_mul_size(bytes, out->shape[d], &bytes)) {
      return fail(in, "its shape is too large");
    }
  }
  if (bytes != elements.size) {
    return fail(in, "its elements are more or fewer than its shape says");
  }
  IBX_TRY(ibx_array_alloc(out, in->name, in->err));
  if (begins_with(value_of(in->header, "'fortran_order':"), "True")) {
    reorder(out, elements.data);
  } else if (bytes != 0) {
    memcpy(out->data, elements.data, (size_t)bytes);
  }
  return IBX_OK;
}

ibx_status ibx_npy_parse(ibx_span bytes, const char *name, ibx_array *out,
                         ibx_error *err) {
  *out = (ibx_array){0};
  reader in = {.name = name, .err = err};
  if (!ibx_npy_is(bytes) || bytes.size < 12) return fail(&in, "it is cut");
  size_t start = bytes.data[6] == 1 ? 10 : 12, len = 0;
  for (size_t i = start; i-- > 8;) {
    len = len << 8 | bytes.data[i];
  }
  if (bytes.size - start < len) return fail(&in, "its header is cut");
  in.header = (ibx_str){.data = (const char *)bytes.data + start, .len = len};
  ibx_span elements = {.data = bytes.data + start + len,
                       .size = bytes.size - start - len};
  ibx_status status = parse(&in, elements, out);
  if (status != IBX_OK) ibx_array_fini(out);
  return status;
}
