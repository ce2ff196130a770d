// SPDX-License-Identifier: Apache-2.0
//
// From a file name to a program, whatever the file is: a program is opened, a
// model is compiled to memory and opened from there. "-" is standard input.

#include "driver/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static ibx_status read_all(FILE *file, ibx_blob *out, ibx_error *err) {
  char bytes[65536];
  size_t size;
  while ((size = fread(bytes, 1, sizeof bytes, file)) > 0) {
    if (ibx_blob_write(out, bytes, size)) continue;
    return IBX_FAIL(err, OUT_OF_MEMORY, "standard input: no memory for it");
  }
  if (!ferror(file)) return IBX_OK;
  return IBX_FAIL(err, IO_ERROR, "standard input: %s", strerror(errno));
}

static bool is_program(ibx_span bytes) {
  return bytes.size >= IBX_PROGRAM_MAGIC_BYTES &&
         memcmp(bytes.data, IBX_PROGRAM_MAGIC, IBX_PROGRAM_MAGIC_BYTES) == 0;
}

static ibx_status begins_as_program(const char *path, bool *out,
                                    ibx_error *err) {
  uint8_t head[IBX_PROGRAM_MAGIC_BYTES] = {0};
  FILE *file = fopen(path, "rb");
  if (!file) {
    return IBX_FAIL(err, NOT_FOUND, "%s: %s", path, strerror(errno));
  }
  size_t size = fread(head, 1, sizeof head, file);
  bool is_read = !ferror(file);
  int why = errno;
  fclose(file);
  if (!is_read) return IBX_FAIL(err, IO_ERROR, "%s: %s", path, strerror(why));
  *out = is_program((ibx_span){.data = head, .size = size});
  return IBX_OK;
}

// What compiles: a file, or memory where `path` is NULL.
static ibx_status compile(const char *path, ibx_span memory,
                          const ibx_compile_request *request, ibx_blob *out,
                          ibx_error *err) {
  ibx_compile_options options = request->options;
  if (!options.on_diagnostic) {
    options.on_diagnostic = ibx_driver_print_diagnostic;
  }
  ibx_compiler *compiler = NULL;
  ibx_status status = ibx_compiler_create(&options, &compiler, err);
  if (status == IBX_OK) {
    status = path ? ibx_compile_file(compiler, path, ibx_blob_write, out, err)
                  : ibx_compile_memory(compiler, memory, "-", ibx_blob_write,
                                       out, err);
  }
  ibx_compiler_destroy(compiler);
  return status;
}

static ibx_status load_stdin(const ibx_compile_request *request,
                             ibx_loaded *out, ibx_error *err) {
  ibx_blob input = {0};
  ibx_status status = read_all(stdin, &input, err);
  if (status == IBX_OK && is_program(ibx_blob_get(&input))) {
    out->blob = input;
    return ibx_program_open_memory(ibx_blob_get(&out->blob), &out->program,
                                   err);
  }
  if (status == IBX_OK) {
    out->compiled = true;
    status = compile(NULL, ibx_blob_get(&input), request, &out->blob, err);
  }
  ibx_blob_fini(&input);
  if (status != IBX_OK) return status;
  return ibx_program_open_memory(ibx_blob_get(&out->blob), &out->program, err);
}

static ibx_status load_file(const char *path,
                            const ibx_compile_request *request, ibx_loaded *out,
                            ibx_error *err) {
  bool program = false;
  IBX_TRY(begins_as_program(path, &program, err));
  if (program) return ibx_program_open_file(path, &out->program, err);
  out->compiled = true;
  IBX_TRY(compile(path, (ibx_span){0}, request, &out->blob, err));
  return ibx_program_open_memory(ibx_blob_get(&out->blob), &out->program, err);
}

ibx_status ibx_driver_load_or_compile(const char *path,
                                      const ibx_compile_request *request,
                                      ibx_loaded *out, ibx_error *err) {
  *out = (ibx_loaded){0};
  ibx_status status = strcmp(path, "-") == 0
                          ? load_stdin(request, out, err)
                          : load_file(path, request, out, err);
  if (status != IBX_OK) ibx_loaded_fini(out);
  return status;
}

ibx_status ibx_driver_open(const char *path, const ibx_compile_args *args,
                           ibx_loaded *out, ibx_error *err) {
  ibx_compile_request request;
  IBX_TRY(ibx_compile_request_init(args, &request, err));
  ibx_status status = ibx_driver_load_or_compile(path, &request, out, err);
  ibx_compile_request_fini(&request);
  return status;
}

ibx_status ibx_driver_find_entry(const ibx_program *program, const char *name,
                                 const ibx_entry **out, ibx_error *err) {
  *out = ibx_program_find_entry(program, name);
  if (*out != NULL) return IBX_OK;
  return IBX_FAIL(err, NOT_FOUND, "the program has no entry '%s'",
                  name != NULL ? name : "");
}

void ibx_loaded_fini(ibx_loaded *loaded) {
  ibx_program_close(loaded->program);
  ibx_blob_fini(&loaded->blob);
  *loaded = (ibx_loaded){0};
}

const char *ibx_driver_device(void) {
  const char *device = getenv("IMBREX_DEVICE");
  return device != NULL && device[0] != 0 ? device : "sim:";
}
