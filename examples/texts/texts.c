// SPDX-License-Identifier: Apache-2.0
//
// Texts in and out of a C program: compiles the model beside it, gives it the
// words of the command line, and prints the text that it answers.

#include <imbrex/imbrex.h>
#include <stdio.h>

#define TRY(call)                                                              \
  if ((call) != IBX_OK) return fprintf(stderr, "texts: %s\n", err.message), 1

static int ask(ibx_session *session, const char *const *words) {
  ibx_error err;
  ibx_host_tensor in = IBX_HOST_TENSOR_INIT, mood = IBX_HOST_TENSOR_INIT;
  const ibx_entry *entry = ibx_session_entry(session);
  float score = 0;
  // The tensor copies the words; the answer is made by the run.
  TRY(ibx_host_tensor_set_texts(&in, entry->inputs[0].shape,
                                entry->inputs[0].rank, words, &err));
  const ibx_binding inputs[] = {{.name = "words", .tensor = &in}};
  const ibx_binding outputs[] = {
      {.name = "mood", .tensor = &mood},
      {.name = "score", .data = &score, .size_bytes = sizeof score}};
  const ibx_run run = {.inputs = inputs,
                       .outputs = outputs,
                       .input_count = 1,
                       .output_count = 2};
  TRY(ibx_session_run(session, &run, &err));
  ibx_str text = ibx_host_tensor_text(&mood, 0);
  printf("%.*s (%g)\n", (int)text.len, text.data, (double)score);
  ibx_host_tensor_fini(&mood);
  ibx_host_tensor_fini(&in);
  return 0;
}

int main(int argc, char **argv) {
  ibx_error err;
  ibx_compile_options options;
  ibx_compiler *compiler;
  ibx_blob bytes = {0};
  ibx_program *program;
  ibx_device *device;
  ibx_session *session;
  if (argc != 6) {
    return fprintf(stderr, "usage: texts MODEL.onnx WORD WORD WORD WORD\n"), 2;
  }
  ibx_compile_options_init(&options);
  TRY(ibx_compiler_create(&options, &compiler, &err));
  TRY(ibx_compile_file(compiler, argv[1], ibx_blob_write, &bytes, &err));
  TRY(ibx_program_open_memory(ibx_blob_get(&bytes), &program, &err));
  TRY(ibx_device_open("sim:", NULL, &device, &err));
  TRY(ibx_session_create(device, program, NULL, &session, &err));
  int failed = ask(session, (const char *const *)argv + 2);
  ibx_session_destroy(session);
  ibx_device_close(device);
  ibx_program_close(program);
  ibx_blob_fini(&bytes);
  ibx_compiler_destroy(compiler);
  return failed;
}
