// SPDX-License-Identifier: Apache-2.0
//
// model_server: compiles and runs models that another program sends. Comes in,
// on standard input, one request after the other; goes out, on standard output,
// a reply to each. A model that brings the compiler down ends the process, and
// the other side sees where. Numbers are little endian; texts and data follow
// their length in 64 bits.
//
//   request  u32 what, target, level, seed; model; u32 inputs, data of each
//   reply    u32 status; message; u32 diagnostics, for each: u32 severity,
//            code, node, operator, message;
//            u32 outputs, for each: u32 TensorProto.DataType, rank;
//            u64 extents; data
//
// The data of texts are the texts, each with a zero byte behind it. A sequence is
// as many outputs as it has tensors.
//
// `what` is one of `request_kind`. A `seed` other than 0 runs the program in a
// random order.

#include "frontend/frontend.h"
#include "imbrex/imbrex.h"
#include "ir/evaluate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PORTS = 256 };

typedef enum request_kind {
  COMPILE, ///< nothing is run
  RUN,     ///< on the simulator
  EVALUATE ///< with the reference kernels
} request_kind;

// Bytes that grow.
typedef struct buffer {
  uint8_t *data;
  size_t size, room;
} buffer;

typedef struct request {
  uint32_t what, target, level, seed, input_count;
  ibx_span model;
  ibx_span inputs[MOST_PORTS];
} request;

typedef struct reply {
  buffer diagnostics, outputs;
  uint32_t diagnostic_count, output_count;
} reply;

// --- pipes --------------------------------------------------------------------

static void *allocate(size_t size) {
  // The alignment of a program file.
  void *memory = aligned_alloc(64, (size + 64) / 64 * 64);
  if (!memory) exit(4);
  return memory;
}

static void append(buffer *out, const void *data, size_t size) {
  if (out->size + size > out->room) {
    out->room = 2 * (out->size + size);
    uint8_t *grown = allocate(out->room);
    if (out->size > 0) memcpy(grown, out->data, out->size);
    free(out->data);
    out->data = grown;
  }
  if (size > 0) memcpy(out->data + out->size, data, size);
  out->size += size;
}

static void append_u32(buffer *out, uint32_t value) {
  append(out, &value, sizeof value);
}

static void append_bytes(buffer *out, const void *data, uint64_t size) {
  append(out, &size, sizeof size);
  append(out, data, size);
}

static void append_text(buffer *out, const char *text) {
  append_bytes(out, text, strlen(text));
}

static void read_exactly(void *data, size_t size) {
  if (fread(data, 1, size, stdin) != size) exit(3);
}

static ibx_span read_bytes(void) {
  uint64_t size = 0;
  read_exactly(&size, sizeof size);
  uint8_t *data = allocate(size);
  read_exactly(data, size);
  return (ibx_span){.data = data, .size = size};
}

static bool read_request(request *in) {
  *in = (request){0};
  if (fread(&in->what, sizeof in->what, 1, stdin) != 1) return false;
  read_exactly(&in->target, sizeof in->target);
  read_exactly(&in->level, sizeof in->level);
  read_exactly(&in->seed, sizeof in->seed);
  in->model = read_bytes();
  read_exactly(&in->input_count, sizeof in->input_count);
  if (in->input_count > MOST_PORTS) exit(3);
  for (size_t i = 0; i < in->input_count; i++) {
    in->inputs[i] = read_bytes();
  }
  return true;
}

static void free_request(request *in) {
  free((void *)(uintptr_t)in->model.data);
  for (size_t i = 0; i < in->input_count; i++) {
    free((void *)(uintptr_t)in->inputs[i].data);
  }
}

static void write_reply(const reply *out, ibx_status status,
                        const ibx_error *err) {
  buffer all = {0};
  append_u32(&all, (uint32_t)status);
  append_text(&all, status == IBX_OK ? "" : err->message);
  append_u32(&all, out->diagnostic_count);
  append(&all, out->diagnostics.data, out->diagnostics.size);
  append_u32(&all, out->output_count);
  append(&all, out->outputs.data, out->outputs.size);
  if (fwrite(all.data, 1, all.size, stdout) != all.size) exit(3);
  fflush(stdout);
  free(all.data);
}

// --- what both ways to run share --------------------------------------------------

static void on_diagnostic(void *user, const ibx_diagnostic *d) {
  reply *out = user;
  append_u32(&out->diagnostics, (uint32_t)d->severity);
  append_text(&out->diagnostics, d->code);
  append_text(&out->diagnostics, d->node);
  append_text(&out->diagnostics, d->op);
  append_text(&out->diagnostics, d->message);
  out->diagnostic_count++;
}

static void add_output(reply *out, ibx_dtype dtype, size_t rank,
                       const uint64_t *shape, ibx_span data) {
  append_u32(&out->outputs, ibx_dtype_get(dtype)->onnx);
  append_u32(&out->outputs, (uint32_t)rank);
  append(&out->outputs, shape, rank * sizeof *shape);
  append_bytes(&out->outputs, data.data, data.size);
  out->output_count++;
}

// --- on the simulator ---------------------------------------------------------

static bool on_write(void *user, const void *data, size_t size) {
  append(user, data, size);
  return true;
}

static ibx_status compile(const request *in, reply *out, buffer *program,
                          ibx_error *err) {
  static const char *const targets[] = {"ibx2", "ibx3", "ibx4"};
  if (in->target >= IBX_COUNT_OF(targets)) exit(3);
  ibx_compile_options options;
  ibx_compile_options_init(&options);
  options.target = targets[in->target];
  options.level = in->level;
  options.on_diagnostic = on_diagnostic;
  options.user = out;
  ibx_compiler *compiler = NULL;
  ibx_status status = ibx_compiler_create(&options, &compiler, err);
  if (status == IBX_OK) {
    status = ibx_compile_memory(compiler, in->model, "model.onnx", on_write,
                                program, err);
  }
  ibx_compiler_destroy(compiler);
  return status;
}

// The tensors of a run: those of the host where the entry asks for such.
typedef struct tensors {
  ibx_binding inputs[MOST_PORTS], outputs[MOST_PORTS];
  ibx_host_tensor host_inputs[MOST_PORTS], host_outputs[MOST_PORTS];
} tensors;

static bool needs_host(const ibx_tensor_decl *tensor) {
  bool needs = tensor->dtype == IBX_DTYPE_STRING;
  for (size_t d = 0; d < tensor->rank; d++)
    needs |= tensor->shape[d] == IBX_ANY_EXTENT;
  return needs;
}

static ibx_status take_texts(const ibx_tensor_decl *decl, ibx_span bytes,
                             ibx_host_tensor *out, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_STRING, decl->shape, decl->rank,
                                err));
  const char *at = (const char *)bytes.data, *end = at + bytes.size;
  for (const char *next; at < end; at = next + 1) {
    next = memchr(at, 0, (size_t)(end - at));
    if (!next) return IBX_FAIL(err, MISMATCH, "a text has no end");
    IBX_TRY(ibx_host_tensor_add_text(out, at, (size_t)(next - at), err));
  }
  return IBX_OK;
}

static ibx_status bind_input(const request *in, const ibx_entry *entry,
                             size_t i, tensors *t, ibx_error *err) {
  t->inputs[i] = (ibx_binding){.index = i};
  if (needs_host(&entry->inputs[i])) {
    t->inputs[i].tensor = &t->host_inputs[i];
    return take_texts(&entry->inputs[i], in->inputs[i], &t->host_inputs[i],
                      err);
  }
  t->inputs[i].data = (void *)(uintptr_t)in->inputs[i].data;
  t->inputs[i].size_bytes = in->inputs[i].size;
  return IBX_OK;
}

static ibx_status bind(const request *in, const ibx_entry *entry, tensors *t,
                       ibx_error *err) {
  if (entry->input_count != in->input_count ||
      entry->output_count > MOST_PORTS) {
    return IBX_FAIL(err, MISMATCH, "%zu inputs are wanted, not %u",
                    (size_t)entry->input_count, in->input_count);
  }
  for (size_t i = 0; i < in->input_count; i++)
    IBX_TRY(bind_input(in, entry, i, t, err));
  for (size_t i = 0; i < entry->output_count; i++) {
    t->outputs[i] = (ibx_binding){.index = i};
    if (needs_host(&entry->outputs[i])) {
      t->outputs[i].tensor = &t->host_outputs[i];
      continue;
    }
    t->outputs[i].size_bytes = ibx_tensor_bytes(&entry->outputs[i]);
    t->outputs[i].data = allocate(t->outputs[i].size_bytes);
  }
  return IBX_OK;
}

static void reply_host_tensor(const ibx_host_tensor *tensor, reply *out) {
  buffer texts = {0};
  ibx_span data = {.data = tensor->data, .size = tensor->data_bytes};
  for (size_t i = 0; i < tensor->text_count; i++) {
    ibx_str text = ibx_host_tensor_text(tensor, i);
    append(&texts, text.data, text.len);
    append(&texts, "", 1);
  }
  if (tensor->dtype == IBX_DTYPE_STRING)
    data = (ibx_span){.data = texts.data, .size = texts.size};
  add_output(out, tensor->dtype, tensor->rank, tensor->shape, data);
  free(texts.data);
}

// Output `index` with the extents that this run gave it.
static ibx_status reply_output(const ibx_entry *entry, const ibx_run *run,
                               size_t index, reply *out, ibx_error *err) {
  const ibx_tensor_decl *tensor = &entry->outputs[index];
  uint64_t shape[IBX_MAX_RANK] = {0};
  if (run->outputs[index].tensor) {
    reply_host_tensor(run->outputs[index].tensor, out);
    return IBX_OK;
  }
  void *data = run->outputs[index].data;
  IBX_TRY(ibx_run_output_shape(entry, run, index, shape, err));
  ibx_span packed = {.data = data,
                     .size = ibx_tensor_pack(tensor, shape, data)};
  add_output(out, tensor->dtype, tensor->rank, shape, packed);
  return IBX_OK;
}

// The outputs of the model; the program may have others, for their extents.
static ibx_status reply_outputs(const ibx_entry *entry, const ibx_run *run,
                                reply *out, ibx_error *err) {
  size_t count = ibx_entry_port_count(entry, true);
  for (size_t i = 0; i < count; i++) {
    ibx_port_decl port = ibx_entry_port(entry, true, i);
    bool is_told =
        port.kind == IBX_PORT_TENSOR || port.kind == IBX_PORT_SEQUENCE;
    for (uint32_t k = 0; k < port.count && is_told; k++)
      IBX_TRY(reply_output(entry, run, port.first + k, out, err));
  }
  return IBX_OK;
}

static ibx_status run_session(const request *in, ibx_session *session,
                              reply *out, ibx_error *err) {
  const ibx_entry *entry = ibx_session_entry(session);
  tensors t = {0};
  ibx_status status = bind(in, entry, &t, err);
  ibx_run run = {.inputs = t.inputs,
                 .outputs = t.outputs,
                 .input_count = in->input_count,
                 .output_count = entry->output_count};
  if (status == IBX_OK) status = ibx_session_run(session, &run, err);
  if (status == IBX_OK) status = reply_outputs(entry, &run, out, err);
  for (size_t i = 0; i < MOST_PORTS; i++) {
    free(t.outputs[i].data);
    ibx_host_tensor_fini(&t.host_inputs[i]);
    ibx_host_tensor_fini(&t.host_outputs[i]);
  }
  return status;
}

static ibx_status run_program(const request *in, const ibx_program *program,
                              reply *out, ibx_error *err) {
  char uri[80] = "sim:";
  if (in->seed != 0) {
    snprintf(uri, sizeof uri, "sim:?order=random&seed=%u", in->seed);
  }
  ibx_device *device = NULL;
  ibx_session *session = NULL;
  ibx_status status = ibx_device_open(uri, NULL, &device, err);
  if (status == IBX_OK) {
    status = ibx_session_create(device, program, NULL, &session, err);
  }
  if (status == IBX_OK) status = run_session(in, session, out, err);
  ibx_session_destroy(session);
  ibx_device_close(device);
  return status;
}

static ibx_status run_compiled(const request *in, reply *out, ibx_error *err) {
  buffer bytes = {0};
  ibx_program *program = NULL;
  ibx_status status = compile(in, out, &bytes, err);
  if (status == IBX_OK && in->what == RUN) {
    ibx_span span = {.data = bytes.data, .size = bytes.size};
    status = ibx_program_open_memory(span, &program, err);
    if (status == IBX_OK) status = run_program(in, program, out, err);
  }
  ibx_program_close(program);
  free(bytes.data);
  return status;
}

// --- with the reference kernels --------------------------------------------------

static ibx_status take_inputs(const request *in, const ibx_graph *graph,
                              ibx_tensor *inputs, ibx_error *err) {
  bool is_complete = graph->input_count == in->input_count &&
                     graph->output_count <= MOST_PORTS;
  for (size_t i = 0; i < in->input_count && is_complete; i++) {
    int64_t bytes = 0;
    inputs[i] = (ibx_tensor){.type = graph->values[graph->inputs[i].value].type,
                             .data = (void *)(uintptr_t)in->inputs[i].data};
    is_complete = ibx_type_bytes(&inputs[i].type, &bytes) &&
                  (size_t)bytes == in->inputs[i].size;
  }
  if (is_complete) return IBX_OK;
  return IBX_FAIL(err, MISMATCH, "the inputs are not those of the model");
}

static ibx_status evaluate(const request *in, const ibx_graph *graph,
                           ibx_arena *arena, reply *out, ibx_error *err) {
  ibx_tensor inputs[MOST_PORTS] = {0}, outputs[MOST_PORTS] = {0};
  IBX_TRY(take_inputs(in, graph, inputs, err));
  IBX_TRY(ibx_graph_eval(graph, inputs, outputs, arena, NULL, NULL, err));
  for (size_t i = 0; i < graph->output_count; i++) {
    uint64_t shape[IBX_MAX_RANK] = {0};
    int64_t bytes = 0;
    for (size_t d = 0; d < outputs[i].type.rank; d++) {
      shape[d] = (uint64_t)outputs[i].type.dims[d];
    }
    if (!ibx_type_bytes(&outputs[i].type, &bytes)) continue;
    ibx_span data = {.data = outputs[i].data, .size = (size_t)bytes};
    add_output(out, outputs[i].type.dtype, outputs[i].type.rank, shape, data);
  }
  return IBX_OK;
}

static ibx_status run_kernels(const request *in, reply *out, ibx_error *err) {
  ibx_arena arena = {0};
  ibx_tables tables = {0};
  ibx_graph graph = {0};
  ibx_model *model = NULL;
  const ibx_partition *host = NULL;
  ibx_frontend_options options = {0};
  ibx_diag_sink sink = {.arena = &arena, .forward = on_diagnostic, .user = out};
  ibx_status status = ibx_model_open_memory(in->model, &sink, &model, err);
  if (status == IBX_OK) {
    status = ibx_frontend_import(model, &options, &sink, &arena, &tables,
                                 &graph, &host, NULL, err);
  }
  if (status == IBX_OK && host) {
    status = IBX_FAIL(err, UNSUPPORTED, "the model needs the host");
  }
  if (status == IBX_OK) status = evaluate(in, &graph, &arena, out, err);
  ibx_model_close(model);
  ibx_arena_reset(&arena);
  return status;
}

int main(void) {
  request in;
  while (read_request(&in)) {
    reply out = {0};
    ibx_error err = {0};
    ibx_status status = in.what == EVALUATE ? run_kernels(&in, &out, &err)
                                            : run_compiled(&in, &out, &err);
    write_reply(&out, status, &err);
    free(out.diagnostics.data);
    free(out.outputs.data);
    free_request(&in);
  }
  return 0;
}
