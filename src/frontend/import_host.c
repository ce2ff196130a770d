// SPDX-License-Identifier: Apache-2.0
//
// Calls on the host during import. Comes in: a row of host_calls.def, values,
// and the types that the results will have. Goes out: values that device nodes
// and other calls read, or constants, where all operands are: then the call is
// made here, by the same function. Holds afterwards: results with open extents
// or of texts are only read by calls.

#include "frontend/import.h"

#include <string.h>

bool ibx_is_text(const ibx_call *call, ibx_val value) {
  return value != IBX_NO_VALUE && ibx_dtype_of(call, value) == IBX_DTYPE_STRING;
}

bool ibx_is_open(const ibx_type *type) {
  for (uint8_t i = 0; i < type->rank; i++) {
    if (type->dims[i] == IBX_OPEN_EXTENT) return true;
  }
  return false;
}

ibx_type ibx_make_type(ibx_dtype dtype, ibx_ints shape) {
  ibx_type type = {.rank = shape.len, .dtype = dtype};
  memcpy(type.dims, shape.at, sizeof(type.dims));
  return type;
}

// A value that no node makes.
static ibx_val add_value(ibx_import *import, ibx_type type) {
  ibx_val value = ibx_graph_add_input(&import->graph, type, IBX_NO_VALUE);
  ibx_import_make_room(import);
  return value;
}

// --- constants of texts ------------------------------------------------------

// The same texts with memory of the arena.
static ibx_host_tensor *keep_texts(ibx_import *import,
                                   const ibx_host_tensor *from) {
  ibx_host_tensor *to = IBX_ARENA_NEW(import->arena, ibx_host_tensor);
  size_t count = (size_t)ibx_host_tensor_count(from);
  *to = *from;
  to->allocator = NULL;
  to->data_room = to->offset_room = 0;
  to->offsets = IBX_ARENA_ARRAY(import->arena, count + 1, uint64_t);
  to->data = ibx_arena_alloc(import->arena, from->data_bytes);
  memcpy(to->offsets, from->offsets, (count + 1) * sizeof(uint64_t));
  if (from->data_bytes != 0) memcpy(to->data, from->data, from->data_bytes);
  return to;
}

ibx_val ibx_import_texts(ibx_import *import, const ibx_host_tensor *texts) {
  ibx_type type = {.rank = (uint8_t)texts->rank, .dtype = IBX_DTYPE_STRING};
  for (size_t d = 0; d < texts->rank; d++)
    type.dims[d] = (int64_t)texts->shape[d];
  ibx_val value = add_value(import, type);
  import->texts[value] = keep_texts(import, texts);
  return value;
}

static ibx_status add_bytes(ibx_host_tensor *out, size_t count,
                            const ProtobufCBinaryData *texts, ibx_error *err) {
  for (size_t i = 0; i < count; i++) {
    IBX_TRY(ibx_host_tensor_add_text(out, (const char *)texts[i].data,
                                     texts[i].len, err));
  }
  return IBX_OK;
}

bool ibx_is_text_tensor(const Onnx__TensorProto *tensor) {
  return tensor->has_data_type &&
         ibx_dtype_from_onnx(tensor->data_type) == IBX_DTYPE_STRING;
}

bool ibx_import_text_tensor(ibx_import *import, const Onnx__TensorProto *tensor,
                            ibx_diag_at at, ibx_val *out) {
  uint64_t shape[IBX_MAX_RANK] = {0}, count = 1;
  bool is_fine = tensor->n_dims <= IBX_MAX_RANK;
  for (size_t d = 0; d < tensor->n_dims && is_fine; d++) {
    shape[d] = (uint64_t)tensor->dims[d];
    is_fine = tensor->dims[d] >= 0 && ibx_mul_size(count, shape[d], &count);
  }
  if (!is_fine || count != tensor->n_string_data) {
    ibx_diag_add(import->sink, IBX_DIAG_BAD_TENSOR, at,
                 "the file is damaged: export the model again",
                 "the tensor has %zu texts, not those of its extents",
                 tensor->n_string_data);
    return false;
  }
  ibx_error err = {0};
  ibx_host_tensor texts = IBX_HOST_TENSOR_INIT;
  ibx_status status = ibx_host_tensor_reset(&texts, IBX_DTYPE_STRING, shape,
                                            tensor->n_dims, &err);
  if (status == IBX_OK) {
    status = add_bytes(&texts, (size_t)count, tensor->string_data, &err);
  }
  if (status == IBX_OK) {
    *out = ibx_import_texts(import, &texts);
  } else {
    ibx_diag_add(import->sink, IBX_DIAG_TOO_LARGE, at, "use smaller constants",
                 "%s", err.message);
  }
  ibx_host_tensor_fini(&texts);
  return status == IBX_OK;
}

ibx_val ibx_attr_texts(ibx_call *call, const char *name, ibx_val absent) {
  const Onnx__AttributeProto *found = IBX_ATTR(call, name, STRINGS);
  if (!found) return absent;
  ibx_error err = {0};
  ibx_host_tensor texts = IBX_HOST_TENSOR_INIT;
  uint64_t count = found->n_strings;
  ibx_status status =
      ibx_host_tensor_reset(&texts, IBX_DTYPE_STRING, &count, 1, &err);
  if (status == IBX_OK) {
    status = add_bytes(&texts, found->n_strings, found->strings, &err);
  }
  ibx_val value = absent;
  if (status == IBX_OK) {
    value = ibx_import_texts(call->import, &texts);
  } else {
    ibx_call_fail(call, IBX_DIAG_TOO_LARGE, name, "use fewer texts", "%s",
                  err.message);
  }
  ibx_host_tensor_fini(&texts);
  return value;
}

ibx_val ibx_emit_text(ibx_call *call, const char *text, size_t len) {
  // The copy is made before the union's bytes can change.
  uint64_t offsets[2] = {0, len};
  ibx_host_tensor texts = {.dtype = IBX_DTYPE_STRING,
                           .data = ibx_lend(text),
                           .offsets = offsets,
                           .data_bytes = len,
                           .text_count = 1};
  return ibx_import_texts(call->import, &texts);
}

// --- calls -------------------------------------------------------------------

// The operand as a tensor of the host, where it is constant.
static bool lend_constant(ibx_call *call, ibx_val value, ibx_host_tensor *out) {
  ibx_import *import = call->import;
  *out = (ibx_host_tensor)IBX_HOST_TENSOR_INIT;
  if (import->texts[value]) {
    *out = *import->texts[value];
    return true;
  }
  const ibx_tensor *tensor = ibx_force(import, value);
  int64_t bytes;
  if (!tensor || !ibx_type_bytes(&tensor->type, &bytes)) return false;
  out->dtype = tensor->type.dtype;
  out->rank = tensor->type.rank;
  for (size_t d = 0; d < out->rank; d++)
    out->shape[d] = (uint64_t)tensor->type.dims[d];
  out->data = tensor->data;
  out->data_bytes = (size_t)bytes;
  return true;
}

// What a call gave here, as a constant.
static ibx_val keep_result(ibx_call *call, const ibx_host_tensor *result) {
  if (result->dtype == IBX_DTYPE_STRING) {
    return ibx_import_texts(call->import, result);
  }
  ibx_type type = {.rank = (uint8_t)result->rank, .dtype = result->dtype};
  for (size_t d = 0; d < result->rank; d++)
    type.dims[d] = (int64_t)result->shape[d];
  void *data = ibx_arena_alloc(call->import->arena, result->data_bytes);
  if (result->data_bytes != 0) memcpy(data, result->data, result->data_bytes);
  return ibx_emit_constant(call, type, data);
}

typedef struct folding {
  ibx_host_tensor tensors[IBX_HOST_MOST_PARAMETERS * 2];
  const ibx_host_tensor *operands[IBX_HOST_MOST_PARAMETERS];
  ibx_host_tensor *results[IBX_HOST_MOST_PARAMETERS];
} folding;

static void run_now(ibx_call *call, const ibx_host_use *use, folding *f,
                    ibx_val *out) {
  const ibx_host_call_info *row = ibx_host_call_find(use->call);
  ibx_host_args args = {.operands = f->operands,
                        .ints = use->ints,
                        .results = f->results,
                        .operand_count = use->operand_count,
                        .int_count = use->int_count,
                        .result_count = use->result_count};
  ibx_error err = {0};
  ibx_status status =
      ibx_host_call_run(row->signature, row->function, &args, &err);
  if (status == IBX_UNSUPPORTED) {
    ibx_call_refuse(call, NULL, "%s", err.message);
  } else if (status != IBX_OK) {
    ibx_call_fail(call, IBX_DIAG_OPERAND_SHAPE, NULL,
                  "correct the constants where the model is made", "%s",
                  err.message);
  }
  for (size_t i = 0; i < use->result_count; i++) {
    if (!call->failed) out[i] = keep_result(call, f->results[i]);
    ibx_host_tensor_fini(f->results[i]);
  }
}

// Makes the call here where all operands are constants.
static bool fold(ibx_call *call, const ibx_host_use *use, ibx_val *out) {
  if (use->operand_count > IBX_HOST_MOST_PARAMETERS) return false;
  folding *f = IBX_ARENA_NEW(&call->import->scratch, folding);
  ibx_import_make_room(call->import);
  for (size_t i = 0; i < use->operand_count; i++) {
    if (use->operands[i] == IBX_NO_VALUE) continue;
    if (!lend_constant(call, use->operands[i], &f->tensors[i])) return false;
    f->operands[i] = &f->tensors[i];
  }
  for (size_t i = 0; i < use->result_count; i++)
    f->results[i] = &f->tensors[IBX_HOST_MOST_PARAMETERS + i];
  run_now(call, use, f, out);
  return true;
}

static ibx_host_node *add_node(ibx_import *import) {
  if (import->host_count == import->host_room) {
    size_t room = import->host_room ? import->host_room * 2 : 16;
    ibx_host_node *nodes =
        IBX_ARENA_ARRAY(&import->scratch, room, ibx_host_node);
    if (import->host_count != 0) {
      memcpy(nodes, import->host_nodes, import->host_count * sizeof *nodes);
    }
    import->host_nodes = nodes;
    import->host_room = room;
  }
  return &import->host_nodes[import->host_count++];
}

static void *copy(ibx_import *import, const void *from, size_t count,
                  size_t size) {
  void *to = ibx_arena_array(import->arena, count, size);
  if (count != 0) memcpy(to, from, count * size);
  return to;
}

// A result without elements is known before the call gives it.
static ibx_val add_result(ibx_call *call, const ibx_type *type) {
  ibx_val value = add_value(call->import, *type);
  bool is_empty = !ibx_is_open(type) && ibx_elements(type) == 0 &&
                  type->dtype != IBX_DTYPE_STRING;
  return is_empty ? ibx_emit_constant(call, *type, "") : value;
}

void ibx_emit_host(ibx_call *call, const ibx_host_use *use, ibx_val *out) {
  ibx_import *import = call->import;
  const ibx_host_call_info *row = ibx_host_call_find(use->call);
  for (size_t i = 0; i < use->result_count; i++)
    out[i] = use->operands[0];
  if (call->failed || (!row->flow && fold(call, use, out))) return;
  ibx_host_node *node = add_node(import);
  *node = (ibx_host_node){
      .call = row,
      .operands = copy(import, use->operands, use->operand_count,
                       sizeof *use->operands),
      .results = IBX_ARENA_ARRAY(import->arena, use->result_count, ibx_val),
      .ints = copy(import, use->ints, use->int_count, sizeof *use->ints),
      .operand_count = use->operand_count,
      .result_count = use->result_count,
      .int_count = use->int_count,
      .after = import->graph.node_count,
      .source = call->source};
  for (size_t i = 0; i < use->result_count; i++) {
    ibx_val before = (ibx_val)import->graph.value_count;
    out[i] = add_result(call, &use->results[i]);
    node->results[i] = before;
  }
}

ibx_val ibx_emit_host_value(ibx_call *call, const char *name,
                            const ibx_val *operands, size_t operand_count,
                            ibx_type type) {
  ibx_val out;
  ibx_host_use use = {.call = name,
                      .operands = operands,
                      .results = &type,
                      .operand_count = operand_count,
                      .result_count = 1};
  ibx_emit_host(call, &use, &out);
  return out;
}
