// SPDX-License-Identifier: Apache-2.0
//
// Walks the protocol buffer bytes of a model along protobuf-c's descriptors.
// Comes in: bytes that may be anything. Goes out: an equivalent message without
// the weights' data, whose place it notes instead. Holds afterwards: every
// field has the wire type of its declaration and ends inside of its message,
// nesting is bounded, and no text contains a zero byte, so that unpacking
// cannot fail for a reason that nobody can name.
//
//   before   TensorProto.raw_data = 400 MB
//   after    TensorProto.raw_data = {offset, size}, 16 bytes
//
// The walk runs twice: to count, then to write. Lengths of nested messages are
// written as five bytes, which is what the largest needs, so that they can be
// filled in afterwards.

#include "frontend/wire.h"

#include <stdio.h>
#include <string.h>

enum {
  MOST_DEPTH = 96,
  MOST_FIELDS = 32,
  LENGTH_BYTES = 5,
  RAW_DATA_FIELD = 9,
  WIRE_VARINT = 0,
  WIRE_64 = 1,
  WIRE_BYTES = 2,
  WIRE_32 = 5
};

// Where the walk is: a chain from the model to the innermost message.
typedef struct place {
  const struct place *parent;
  const char *field;
  uint32_t index;
  bool repeated;
} place;

typedef struct walker {
  ibx_span bytes;
  ibx_diag_sink *sink;
  ibx_error *err;
  uint8_t *out; // NULL while counting
  size_t size;
} walker;

// A field as it stands in the file: its tag, and its value between two offsets.
typedef struct item {
  size_t start;      // of the tag
  size_t value, end; // of the value; a length is not part of it
  uint32_t id;
  uint32_t wire;
} item;

static size_t write_path(const place *at, char *text, size_t size) {
  if (!at) return 0;
  size_t used = write_path(at->parent, text, size);
  const char *dot = used == 0 ? "" : ".";
  char index[16] = "";
  if (at->repeated) snprintf(index, sizeof(index), "[%u]", at->index);
  int len = snprintf(text + used, size - used, "%s%s%s", dot, at->field, index);
  used += len < 0 ? 0 : (size_t)len;
  return used < size ? used : size - 1;
}

static ibx_status fail(walker *w, const place *at, size_t offset,
                       const char *what) {
  char path[400] = "the model";
  write_path(at, path, sizeof(path));
  ibx_diag_add(w->sink, IBX_DIAG_DAMAGED_FILE, (ibx_diag_at){.node = path},
               "the file is damaged or no ONNX model: export or download it "
               "again",
               "byte %zu of %zu, in %s: %s", offset, w->bytes.size, path, what);
  return ibx_diag_status(w->sink, w->err);
}

static void put(walker *w, const void *data, size_t size) {
  if (w->out && size != 0) memcpy(w->out + w->size, data, size);
  w->size += size;
}

static void put_length(walker *w, size_t at, size_t length) {
  if (!w->out) return;
  for (size_t i = 0; i < LENGTH_BYTES; i++) {
    uint8_t more = i + 1 < LENGTH_BYTES ? 0x80 : 0;
    w->out[at + i] = (uint8_t)((length >> (7 * i) & 0x7f) | more);
  }
}

// Reads a base-128 number; false when it is cut off or longer than ten bytes.
static bool read_varint(walker *w, size_t *at, size_t end, uint64_t *out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
    uint8_t byte = w->bytes.data[(*at)++];
    value |= shift < 64 ? (uint64_t)(byte & 0x7f) << shift : 0;
    if (byte < 0x80) {
      *out = value;
      return true;
    }
  }
  return false;
}

static const char *read_value(walker *w, item *field, size_t at, size_t end) {
  uint64_t number = 0;
  field->value = at;
  switch (field->wire) {
  case WIRE_VARINT:
    if (!read_varint(w, &at, end, &number)) return "a number is cut off";
    break;
  case WIRE_64:
  case WIRE_32:
    number = field->wire == WIRE_64 ? 8 : 4;
    if (end - at < number) return "a number is cut off";
    at += (size_t)number;
    break;
  case WIRE_BYTES:
    if (!read_varint(w, &at, end, &number)) return "a length is cut off";
    if (number > end - at) return "a length reaches past the end";
    field->value = at;
    at += (size_t)number;
    break;
  default: return "a field has a wire type that does not exist";
  }
  field->end = at;
  return NULL;
}

static const char *read_item(walker *w, size_t at, size_t end, item *field) {
  uint64_t tag = 0;
  field->start = at;
  if (!read_varint(w, &at, end, &tag)) return "a field number is cut off";
  if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return "a field has no number";
  field->id = (uint32_t)(tag >> 3);
  field->wire = (uint32_t)tag & 7;
  return read_value(w, field, at, end);
}

static uint32_t wire_of(ProtobufCType type) {
  switch (type) {
  case PROTOBUF_C_TYPE_FIXED64:
  case PROTOBUF_C_TYPE_SFIXED64:
  case PROTOBUF_C_TYPE_DOUBLE: return WIRE_64;
  case PROTOBUF_C_TYPE_FIXED32:
  case PROTOBUF_C_TYPE_SFIXED32:
  case PROTOBUF_C_TYPE_FLOAT: return WIRE_32;
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_BYTES:
  case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
  default: return WIRE_VARINT;
  }
}

// Numbers that are packed together must fill their bytes.
static const char *check_packed(walker *w, const item *field, uint32_t wire) {
  size_t size = field->end - field->value;
  if (wire == WIRE_64) return size % 8 == 0 ? NULL : "a list is cut off";
  if (wire == WIRE_32) return size % 4 == 0 ? NULL : "a list is cut off";
  for (size_t at = field->value; at < field->end;) {
    uint64_t number;
    if (!read_varint(w, &at, field->end, &number)) return "a list is cut off";
  }
  return NULL;
}

static const char *check_field(walker *w, const ProtobufCFieldDescriptor *row,
                               const item *field) {
  uint32_t wire = wire_of(row->type);
  if (wire != field->wire) {
    bool packed = row->label == PROTOBUF_C_LABEL_REPEATED &&
                  wire != WIRE_BYTES && field->wire == WIRE_BYTES;
    return packed ? check_packed(w, field, wire)
                  : "a field has the wire type of another kind of value";
  }
  size_t size = field->end - field->value;
  if (row->type == PROTOBUF_C_TYPE_STRING &&
      memchr(w->bytes.data + field->value, 0, size)) {
    return "a text contains a zero byte";
  }
  return NULL;
}

static ibx_status walk(walker *w, const ProtobufCMessageDescriptor *message,
                       size_t at, size_t end, const place *where,
                       unsigned depth);

static void put_tag(walker *w, const item *field) {
  uint8_t tag[5];
  size_t size = 0;
  for (uint32_t left = field->id << 3 | field->wire; size == 0 || left != 0;
       left >>= 7) {
    tag[size++] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
  }
  put(w, tag, size);
}

static void put_raw_place(walker *w, const item *field) {
  ibx_raw_place raw = {.offset = field->value,
                       .size = field->end - field->value};
  size_t length = w->size;
  w->size += LENGTH_BYTES;
  put_length(w, length, sizeof(raw));
  put(w, &raw, sizeof(raw));
}

static ibx_status walk_message(walker *w, const ProtobufCFieldDescriptor *row,
                               const item *field, const place *where,
                               unsigned depth) {
  size_t length = w->size;
  w->size += LENGTH_BYTES;
  IBX_TRY(walk(w, row->descriptor, field->value, field->end, where, depth + 1));
  put_length(w, length, w->size - length - LENGTH_BYTES);
  return IBX_OK;
}

// The descriptor lists its fields by number; models have few kinds.
static const ProtobufCFieldDescriptor *
find_field(const ProtobufCMessageDescriptor *message, uint32_t id) {
  for (unsigned i = 0; i < message->n_fields; i++) {
    if (message->fields[i].id == id) return &message->fields[i];
  }
  return NULL;
}

static ibx_status walk_field(walker *w,
                             const ProtobufCMessageDescriptor *message,
                             const ProtobufCFieldDescriptor *row,
                             const item *field, const place *here,
                             unsigned depth) {
  const char *wrong = check_field(w, row, field);
  if (wrong) return fail(w, here, field->start, wrong);
  put_tag(w, field);
  if (row->type == PROTOBUF_C_TYPE_MESSAGE) {
    return walk_message(w, row, field, here, depth);
  }
  bool is_raw =
      message == &onnx__tensor_proto__descriptor && row->id == RAW_DATA_FIELD;
  if (is_raw) {
    put_raw_place(w, field);
    return IBX_OK;
  }
  if (field->wire == WIRE_BYTES) {
    size_t length = w->size;
    w->size += LENGTH_BYTES;
    put_length(w, length, field->end - field->value);
  }
  put(w, w->bytes.data + field->value, field->end - field->value);
  return IBX_OK;
}

static ibx_status walk(walker *w, const ProtobufCMessageDescriptor *message,
                       size_t at, size_t end, const place *where,
                       unsigned depth) {
  if (depth > MOST_DEPTH) return fail(w, where, at, "messages nest too deeply");
  uint32_t counts[MOST_FIELDS] = {0};
  while (at < end) {
    item field;
    const char *wrong = read_item(w, at, end, &field);
    if (wrong) return fail(w, where, at, wrong);
    at = field.end;
    const ProtobufCFieldDescriptor *row = find_field(message, field.id);
    if (!row) continue;
    size_t index = (size_t)(row - message->fields) % MOST_FIELDS;
    place here = {.parent = where,
                  .field = row->name,
                  .index = counts[index]++,
                  .repeated = row->label == PROTOBUF_C_LABEL_REPEATED};
    IBX_TRY(walk_field(w, message, row, &field, &here, depth));
  }
  return IBX_OK;
}

static ibx_status walk_model(walker *w) {
  w->size = 0;
  return walk(w, &onnx__model_proto__descriptor, 0, w->bytes.size, NULL, 0);
}

ibx_status ibx_wire_shrink(ibx_span bytes, ibx_arena *arena,
                           ibx_diag_sink *sink, ibx_span *out, ibx_error *err) {
  walker w = {.bytes = bytes, .sink = sink, .err = err};
  IBX_TRY(walk_model(&w));
  if (w.size > INT32_MAX) {
    return fail(&w, NULL, 0, "what is no weight has more than 2 GiB");
  }
  w.out = ibx_arena_alloc(arena, w.size);
  IBX_TRY(walk_model(&w));
  *out = (ibx_span){.data = w.out, .size = w.size};
  return IBX_OK;
}

bool ibx_wire_raw_place(const Onnx__TensorProto *tensor, ibx_raw_place *out) {
  if (!tensor->has_raw_data || tensor->raw_data.len != sizeof(*out)) {
    return false;
  }
  memcpy(out, tensor->raw_data.data, sizeof(*out));
  return true;
}
