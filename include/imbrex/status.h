// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_STATUS_H
#define IBX_STATUS_H

/// \file
/// Statuses and error messages. Thread-safe: an error belongs to its caller.

#include "imbrex/base.h"

IBX_C_BEGIN

typedef enum ibx_status {
#define IBX_STATUS(name, number, exit_code, sentence) IBX_##name = (number),
#include "imbrex/status.def"
} ibx_status;

enum { IBX_ERROR_MESSAGE_BYTES = 232 };

/// Filled by a call that fails; owned by the caller, never allocates.
typedef struct ibx_error {
  ibx_status status;
  int line;
  const char *file; ///< a literal; NULL where a driver failed
  char message[IBX_ERROR_MESSAGE_BYTES];
} ibx_error;

/// Fills `*err` (which may be NULL) and returns `status`. A message that does
/// not fit is cut.
IBX_API ibx_status ibx_error_set(ibx_error *err, ibx_status status,
                                 const char *file, int line, const char *format,
                                 ...) IBX_PRINTF(5, 6);

/// Returns the enumerator's name without its prefix, or "UNKNOWN".
IBX_API const char *ibx_status_name(ibx_status status);

/// Returns the process exit code that belongs to `status`.
IBX_API int ibx_status_exit_code(ibx_status status);

/// Fills the error and gives the status: `return IBX_FAIL(err, IO_ERROR, ...)`.
#define IBX_FAIL(err, code, ...)                                               \
  ibx_error_set((err), IBX_##code, __FILE__, __LINE__, __VA_ARGS__)

/// Returns from the calling function when `call` fails.
#define IBX_TRY(call)                                                          \
  do {                                                                         \
    ibx_status ibx_try_status = (call);                                        \
    if (ibx_try_status != IBX_OK) return ibx_try_status;                       \
  } while (0)

IBX_C_END
#endif
