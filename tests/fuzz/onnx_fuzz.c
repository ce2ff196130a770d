// SPDX-License-Identifier: Apache-2.0
//
// libFuzzer target: bytes as a model. Whatever they are, opening and importing
// them ends, with a graph or with diagnostics that each have a code and a
// message; nothing is read that is not there.

#include "frontend/frontend.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool fine) {
  if (!fine) abort();
}

static void import(ibx_model *model, ibx_diag_sink *sink, ibx_arena *arena) {
  const ibx_frontend_options options = {0};
  ibx_tables tables = {0};
  ibx_graph graph = {0};
  const ibx_partition *partition;
  ibx_error err = {0};
  ibx_status status = ibx_frontend_import(model, &options, sink, arena, &tables,
                                          &graph, &partition, NULL, &err);
  expect((status == IBX_OK) == (sink->error_count == 0));
  for (size_t i = 0; status == IBX_OK && i < graph.output_count; i++) {
    expect(graph.outputs[i].value < graph.value_count);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ibx_arena arena = {0};
  ibx_diag_sink sink = {.arena = &arena};
  ibx_model *model = NULL;
  ibx_span bytes = {.data = data, .size = size};
  if (ibx_model_open_memory(bytes, &sink, &model, NULL) == IBX_OK) {
    import(model, &sink, &arena);
  } else {
    expect(sink.error_count != 0);
  }
  for (size_t i = 0; i < sink.count; i++) {
    expect(sink.items[i].code[0] != 0 && sink.items[i].message[0] != 0);
  }
  ibx_model_close(model);
  ibx_arena_reset(&arena);
  return 0;
}
