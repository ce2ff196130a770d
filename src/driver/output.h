// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_OUTPUT_H
#define IBX_OUTPUT_H

/// \file
/// Files that a command writes: whole or not at all. What is written goes to a
/// file beside the wanted one, which takes its name when all is well.

#include "imbrex/status.h"

#include <stdio.h>

/// Filled by ibx_output_open(); ended by ibx_output_commit() or
/// ibx_output_discard().
typedef struct ibx_output {
  FILE *file;
  char *partial; ///< name of the file beside, NULL where there is none
  const char *path;
} ibx_output;

/// `path` outlives the output; "-" is standard output. Fails with IO_ERROR,
/// OUT_OF_MEMORY; then there is nothing to end.
IBX_NODISCARD ibx_status ibx_output_open(const char *path, ibx_output *out,
                                         ibx_error *err);

/// An ibx_write_fn with the ibx_output as its user.
bool ibx_output_write(void *output, const void *data, size_t size);

/// Gives the file its name. Fails with IO_ERROR, and leaves no file then.
IBX_NODISCARD ibx_status ibx_output_commit(ibx_output *output, ibx_error *err);

/// Removes what was written.
void ibx_output_discard(ibx_output *output);

#endif
