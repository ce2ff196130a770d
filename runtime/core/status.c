// SPDX-License-Identifier: Apache-2.0
//
// Statuses and error messages. Comes in: a status and a printf format. Goes
// out: the caller's ibx_error. Nothing allocates, so it works when memory is
// gone.

#include "imbrex/status.h"

#include <stdarg.h>
#include <stdio.h>

ibx_status ibx_error_set(ibx_error *err, ibx_status status, const char *file,
                         int line, const char *format, ...) {
  if (!err) return status;
  err->status = status;
  err->file = file;
  err->line = line;
  va_list args;
  va_start(args, format);
  if (vsnprintf(err->message, sizeof err->message, format, args) < 0) {
    err->message[0] = '\0';
  }
  va_end(args);
  return status;
}

static const struct {
  const char *name;
  int exit_code;
} rows[] = {
#define IBX_STATUS(name, number, exit_code, sentence)                          \
  [number] = {#name, exit_code},
#include "imbrex/status.def"
};

const char *ibx_status_name(ibx_status status) {
  size_t index = (size_t)status;
  return index < IBX_COUNT_OF(rows) ? rows[index].name : "UNKNOWN";
}

int ibx_status_exit_code(ibx_status status) {
  size_t index = (size_t)status;
  return rows[index < IBX_COUNT_OF(rows) ? index : IBX_INTERNAL].exit_code;
}
