// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_INPUT_H
#define IBX_INPUT_H

/// \file
/// Text that a command reads.

#include "imbrex/blob.h"
#include "imbrex/status.h"

/// Appends the contents of a file, "-" is standard input, to `*text`, which the
/// caller ends also after a failure. Fails with NOT_FOUND, IO_ERROR,
/// OUT_OF_MEMORY.
IBX_NODISCARD ibx_status ibx_input_read(const char *path, ibx_blob *text,
                                        ibx_error *err);

#endif
