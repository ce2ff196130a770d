// SPDX-License-Identifier: Apache-2.0
//
// Output files that appear whole or not at all. Only regular files get a
// partial one beside them: a pipe or /dev/null is written as it is, since
// another file must not take its name.

#include "driver/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ibx_status fail(const char *path, ibx_error *err) {
  return IBX_FAIL(err, IO_ERROR, "%s: cannot be written: %s", path,
                  strerror(errno));
}

static bool is_special(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && !S_ISREG(info.st_mode);
}

// O_EXCL: two commands that write one file at a time do not mix.
static FILE *open_partial(const char *name) {
  int descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (descriptor < 0) return NULL;
  FILE *file = fdopen(descriptor, "wb");
  if (!file) close(descriptor);
  return file;
}

ibx_status ibx_output_open(const char *path, ibx_output *out, ibx_error *err) {
  *out = (ibx_output){.path = path};
  if (strcmp(path, "-") == 0) {
    out->file = stdout;
    return IBX_OK;
  }
  if (is_special(path)) {
    out->file = fopen(path, "wb");
    return out->file ? IBX_OK : fail(path, err);
  }
  size_t size = strlen(path) + 32;
  out->partial = malloc(size);
  if (!out->partial) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  snprintf(out->partial, size, "%s.%ld.partial", path, (long)getpid());
  out->file = open_partial(out->partial);
  if (out->file) return IBX_OK;
  free(out->partial);
  out->partial = NULL;
  return fail(path, err);
}

bool ibx_output_write(void *output, const void *data, size_t size) {
  return size == 0 ||
         fwrite(data, 1, size, ((ibx_output *)output)->file) == size;
}

ibx_status ibx_output_commit(ibx_output *output, ibx_error *err) {
  bool is_written = fflush(output->file) == 0 && !ferror(output->file);
  if (output->file != stdout) {
    is_written = fclose(output->file) == 0 && is_written;
  }
  if (is_written && output->partial) {
    is_written = rename(output->partial, output->path) == 0;
  }
  ibx_status status = is_written ? IBX_OK : fail(output->path, err);
  if (!is_written && output->partial) unlink(output->partial);
  free(output->partial);
  *output = (ibx_output){0};
  return status;
}

void ibx_output_discard(ibx_output *output) {
  if (output->file && output->file != stdout) fclose(output->file);
  if (output->partial) unlink(output->partial);
  free(output->partial);
  *output = (ibx_output){0};
}
