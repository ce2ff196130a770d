// SPDX-License-Identifier: Apache-2.0
//
// Text that a command reads: a file or standard input, as a whole.

#include "driver/input.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static ibx_status read_stream(FILE *file, const char *path, ibx_blob *text,
                              ibx_error *err) {
  char bytes[16384];
  size_t size;
  while ((size = fread(bytes, 1, sizeof(bytes), file)) > 0) {
    if (ibx_blob_write(text, bytes, size)) continue;
    return IBX_FAIL(err, OUT_OF_MEMORY, "%s: no memory to read it", path);
  }
  if (!ferror(file)) return IBX_OK;
  return IBX_FAIL(err, IO_ERROR, "%s: cannot be read: %s", path,
                  strerror(errno));
}

ibx_status ibx_input_read(const char *path, ibx_blob *text, ibx_error *err) {
  if (strcmp(path, "-") == 0) return read_stream(stdin, path, text, err);
  FILE *file = fopen(path, "rb");
  if (!file) {
    return IBX_FAIL(err, NOT_FOUND, "%s: cannot be opened: %s", path,
                    strerror(errno));
  }
  ibx_status status = read_stream(file, path, text, err);
  fclose(file);
  return status;
}
