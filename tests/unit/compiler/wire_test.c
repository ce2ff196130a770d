// SPDX-License-Identifier: Apache-2.0
//
// The walk over a model's bytes: it changes nothing but weights, and it accepts
// a field exactly where protobuf-c would.

#include "frontend/wire.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
  ibx_arena arena;
  ibx_diag_sink sink;
} fixture;

static void begin(fixture *f) {
  *f = (fixture){0};
  f->sink.arena = &f->arena;
}

static bool shrink(fixture *f, ibx_span bytes, ibx_span *out) {
  f->sink = (ibx_diag_sink){.arena = &f->arena};
  ibx_status status = ibx_wire_shrink(bytes, &f->arena, &f->sink, out, NULL);
  assert_int_equal(f->sink.error_count, status == IBX_OK ? 0 : 1);
  if (status != IBX_OK) assert_int_equal(status, IBX_INVALID_MODEL);
  return status == IBX_OK;
}

static uint32_t next_random(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static char *random_name(fixture *f, uint32_t *seed) {
  return ibx_arena_format(&f->arena, "n%u", next_random(seed) % 1000);
}

static Onnx__TensorProto *random_tensor(fixture *f, uint32_t *seed) {
  Onnx__TensorProto *tensor = IBX_ARENA_NEW(&f->arena, Onnx__TensorProto);
  onnx__tensor_proto__init(tensor);
  tensor->name = random_name(f, seed);
  tensor->n_dims = next_random(seed) % 4;
  tensor->dims = IBX_ARENA_ARRAY(&f->arena, tensor->n_dims, int64_t);
  for (size_t i = 0; i < tensor->n_dims; i++) {
    tensor->dims[i] = (int64_t)next_random(seed) - 1000;
  }
  if (next_random(seed) % 2 != 0) {
    tensor->has_raw_data = true;
    tensor->raw_data.len = next_random(seed) % 400;
    tensor->raw_data.data = ibx_arena_alloc(&f->arena, tensor->raw_data.len);
    for (size_t i = 0; i < tensor->raw_data.len; i++) {
      tensor->raw_data.data[i] = (uint8_t)next_random(seed);
    }
  } else {
    tensor->n_float_data = next_random(seed) % 9;
    tensor->float_data =
        IBX_ARENA_ARRAY(&f->arena, tensor->n_float_data, float);
  }
  return tensor;
}

static Onnx__NodeProto *random_node(fixture *f, uint32_t *seed) {
  Onnx__NodeProto *node = IBX_ARENA_NEW(&f->arena, Onnx__NodeProto);
  onnx__node_proto__init(node);
  node->op_type = random_name(f, seed);
  node->n_input = next_random(seed) % 4;
  node->input = IBX_ARENA_ARRAY(&f->arena, node->n_input, char *);
  for (size_t i = 0; i < node->n_input; i++) {
    node->input[i] = random_name(f, seed);
  }
  Onnx__AttributeProto *attribute =
      IBX_ARENA_NEW(&f->arena, Onnx__AttributeProto);
  onnx__attribute_proto__init(attribute);
  attribute->name = random_name(f, seed);
  attribute->t = random_tensor(f, seed);
  node->n_attribute = 1;
  node->attribute = IBX_ARENA_ARRAY(&f->arena, 1, Onnx__AttributeProto *);
  node->attribute[0] = attribute;
  return node;
}

static Onnx__ModelProto *random_model(fixture *f, uint32_t *seed) {
  Onnx__ModelProto *model = IBX_ARENA_NEW(&f->arena, Onnx__ModelProto);
  Onnx__GraphProto *graph = IBX_ARENA_NEW(&f->arena, Onnx__GraphProto);
  onnx__model_proto__init(model);
  onnx__graph_proto__init(graph);
  model->graph = graph;
  model->has_ir_version = true;
  model->ir_version = (int64_t)next_random(seed);
  graph->n_initializer = next_random(seed) % 4;
  graph->initializer =
      IBX_ARENA_ARRAY(&f->arena, graph->n_initializer, Onnx__TensorProto *);
  for (size_t i = 0; i < graph->n_initializer; i++) {
    graph->initializer[i] = random_tensor(f, seed);
  }
  graph->n_node = next_random(seed) % 5;
  graph->node = IBX_ARENA_ARRAY(&f->arena, graph->n_node, Onnx__NodeProto *);
  for (size_t i = 0; i < graph->n_node; i++) {
    graph->node[i] = random_node(f, seed);
  }
  return model;
}

static ibx_span pack(fixture *f, const Onnx__ModelProto *model) {
  size_t size = onnx__model_proto__get_packed_size(model);
  uint8_t *data = ibx_arena_alloc(&f->arena, size);
  onnx__model_proto__pack(model, data);
  return (ibx_span){.data = data, .size = size};
}

// The bytes at the place that stands for the data are the data; puts them back.
static void put_back(ibx_span bytes, Onnx__TensorProto *tensor) {
  ibx_raw_place place;
  if (!ibx_wire_raw_place(tensor, &place)) {
    assert_false(tensor->has_raw_data);
    return;
  }
  assert_true(place.offset <= bytes.size);
  assert_true(place.size <= bytes.size - place.offset);
  free(tensor->raw_data.data);
  tensor->raw_data.len = (size_t)place.size;
  tensor->raw_data.data = malloc((size_t)place.size + 1);
  assert_non_null(tensor->raw_data.data);
  memcpy(tensor->raw_data.data, bytes.data + place.offset, (size_t)place.size);
}

static void a_shrunk_model_says_the_same(void **state) {
  (void)state;
  uint32_t seed = 1;
  for (int round = 0; round < 300; round++) {
    fixture f;
    begin(&f);
    ibx_span bytes = pack(&f, random_model(&f, &seed)), small;
    assert_true(shrink(&f, bytes, &small));
    Onnx__ModelProto *model =
        onnx__model_proto__unpack(NULL, small.size, small.data);
    assert_non_null(model);
    for (size_t i = 0; i < model->graph->n_initializer; i++) {
      put_back(bytes, model->graph->initializer[i]);
    }
    for (size_t i = 0; i < model->graph->n_node; i++) {
      put_back(bytes, model->graph->node[i]->attribute[0]->t);
    }
    ibx_span again = pack(&f, model);
    assert_int_equal(again.size, bytes.size);
    assert_memory_equal(again.data, bytes.data, bytes.size);
    onnx__model_proto__free_unpacked(model, NULL);
    ibx_arena_reset(&f.arena);
  }
}

static void what_is_accepted_can_be_unpacked(void **state) {
  (void)state;
  uint32_t seed = 2;
  size_t accepted = 0, refused = 0;
  for (int round = 0; round < 4000; round++) {
    fixture f;
    begin(&f);
    ibx_span bytes = pack(&f, random_model(&f, &seed)), small;
    uint8_t *damaged = ibx_arena_alloc(&f.arena, bytes.size);
    memcpy(damaged, bytes.data, bytes.size);
    size_t size = bytes.size - next_random(&seed) % 3;
    if (size > bytes.size) size = 0;
    for (int i = 0; i < 2 && size != 0; i++) {
      damaged[next_random(&seed) % size] = (uint8_t)next_random(&seed);
    }
    if (shrink(&f, (ibx_span){.data = damaged, .size = size}, &small)) {
      Onnx__ModelProto *model =
          onnx__model_proto__unpack(NULL, small.size, small.data);
      assert_non_null(model);
      onnx__model_proto__free_unpacked(model, NULL);
      accepted++;
    } else {
      refused++;
    }
    ibx_arena_reset(&f.arena);
  }
  assert_true(accepted > 100);
  assert_true(refused > 100);
}

// A message with one field of each wire type, alone in its message.
static size_t write_field(uint8_t *out, uint32_t id, uint32_t wire) {
  static const uint8_t sizes[] = {1, 8, 0, 0, 0, 4};
  size_t size = 0;
  for (uint32_t tag = id << 3 | wire; tag != 0 || size == 0; tag >>= 7) {
    out[size++] = (uint8_t)((tag & 0x7f) | (tag > 0x7f ? 0x80 : 0));
  }
  if (wire == 2) out[size++] = 0; // a length
  memset(out + size, 0, sizes[wire]);
  return size + sizes[wire];
}

static bool is_packable(const ProtobufCFieldDescriptor *row) {
  return row->label == PROTOBUF_C_LABEL_REPEATED &&
         row->type != PROTOBUF_C_TYPE_STRING &&
         row->type != PROTOBUF_C_TYPE_BYTES &&
         row->type != PROTOBUF_C_TYPE_MESSAGE;
}

static uint32_t wire_of(ProtobufCType type) {
  switch (type) {
  case PROTOBUF_C_TYPE_FLOAT: return 5;
  case PROTOBUF_C_TYPE_DOUBLE: return 1;
  case PROTOBUF_C_TYPE_STRING:
  case PROTOBUF_C_TYPE_BYTES:
  case PROTOBUF_C_TYPE_MESSAGE: return 2;
  default: return 0;
  }
}

// Where a message stands below the model: the fields that lead to it.
typedef struct path {
  const ProtobufCMessageDescriptor *message;
  uint32_t fields[4];
  size_t depth;
} path;

static void every_field_needs_its_wire_type(void **state) {
  (void)state;
  const path paths[] = {
      {&onnx__model_proto__descriptor, {0}, 0},
      {&onnx__graph_proto__descriptor, {7}, 1},
      {&onnx__node_proto__descriptor, {7, 1}, 2},
      {&onnx__tensor_proto__descriptor, {7, 5}, 2},
      {&onnx__attribute_proto__descriptor, {7, 1, 5}, 3},
      {&onnx__function_proto__descriptor, {25}, 1},
  };
  static const uint32_t wires[] = {0, 1, 2, 5};
  for (size_t p = 0; p < IBX_COUNT_OF(paths); p++) {
    for (unsigned i = 0; i < paths[p].message->n_fields; i++) {
      const ProtobufCFieldDescriptor *row = &paths[p].message->fields[i];
      for (size_t w = 0; w < IBX_COUNT_OF(wires); w++) {
        uint8_t bytes[64], inner[64];
        size_t size = write_field(bytes, row->id, wires[w]);
        for (size_t d = paths[p].depth; d-- > 0;) {
          memcpy(inner, bytes, size);
          uint32_t tag = paths[p].fields[d] << 3 | 2, head = 0;
          bytes[head++] = (uint8_t)((tag & 0x7f) | (tag > 0x7f ? 0x80 : 0));
          if (tag > 0x7f) bytes[head++] = (uint8_t)(tag >> 7);
          bytes[head++] = (uint8_t)size;
          memcpy(bytes + head, inner, size);
          size += head;
        }
        fixture f;
        begin(&f);
        ibx_span small;
        bool fits = wires[w] == wire_of(row->type) ||
                    (wires[w] == 2 && is_packable(row));
        assert_int_equal(
            shrink(&f, (ibx_span){.data = bytes, .size = size}, &small), fits);
        ibx_arena_reset(&f.arena);
      }
    }
  }
}

static void unknown_fields_vanish(void **state) {
  (void)state;
  fixture f;
  begin(&f);
  const uint8_t bytes[] = {0x08, 0x07,              // ir_version: 7
                           0x9a, 0x3f, 2,   1,   2, // field 1011
                           0x32, 3,    'd', 'o', 'c'};
  ibx_span small;
  assert_true(shrink(&f, (ibx_span){bytes, sizeof(bytes)}, &small));
  assert_int_equal(small.size, 2);
  assert_memory_equal(small.data, bytes, 2);
  ibx_arena_reset(&f.arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_shrunk_model_says_the_same),
      cmocka_unit_test(what_is_accepted_can_be_unpacked),
      cmocka_unit_test(every_field_needs_its_wire_type),
      cmocka_unit_test(unknown_fields_vanish),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
