// SPDX-License-Identifier: Apache-2.0
//
// Imbrex inside a C program: compiles a model with one input and one output to
// memory, runs it once on zeros, and prints the output.

#include <imbrex/imbrex.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                              \
  if ((call) != IBX_OK) return fprintf(stderr, "embed: %s\n", err.message), 1

int main(int argc, char **argv) {
  ibx_error err;
  ibx_compile_options options;
  ibx_compiler *compiler;
  ibx_blob bytes = {0};
  ibx_program *program;
  ibx_device *device;
  ibx_session *session;
  if (argc != 2) return fprintf(stderr, "usage: embed MODEL.onnx\n"), 2;

  ibx_compile_options_init(&options);
  TRY(ibx_compiler_create(&options, &compiler, &err));
  TRY(ibx_compile_file(compiler, argv[1], ibx_blob_write, &bytes, &err));
  TRY(ibx_program_open_memory(ibx_blob_get(&bytes), &program, &err));
  TRY(ibx_device_open("sim:", NULL, &device, &err));
  TRY(ibx_session_create(device, program, NULL, &session, &err));

  const ibx_entry *entry = ibx_session_entry(session);
  size_t in_bytes = (size_t)ibx_tensor_bytes(&entry->inputs[0]);
  size_t out_bytes = (size_t)ibx_tensor_bytes(&entry->outputs[0]);
  ibx_binding in = {.data = calloc(1, in_bytes), .size_bytes = in_bytes};
  ibx_binding out = {.data = calloc(1, out_bytes), .size_bytes = out_bytes};
  if (!in.data || !out.data) return 1;
  TRY(ibx_session_run(
      session,
      &(ibx_run){
          .inputs = &in, .outputs = &out, .input_count = 1, .output_count = 1},
      &err));
  printf("%s:", entry->outputs[0].name);
  for (size_t i = 0; i < out_bytes / sizeof(float); i++)
    printf(" %.3f", (double)((float *)out.data)[i]);
  printf("\n");

  free(in.data);
  free(out.data);
  ibx_session_destroy(session);
  ibx_device_close(device);
  ibx_program_close(program);
  ibx_blob_fini(&bytes);
  ibx_compiler_destroy(compiler);
  return 0;
}
