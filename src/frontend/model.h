// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_MODEL_H
#define IBX_MODEL_H

/// \file
/// The inside of ibx_model, and how its constants become weights.

#include "frontend/frontend.h"

#include <onnx.pb-c.h>

/// A file of external data, mapped.
typedef struct ibx_external_file {
  struct ibx_external_file *next;
  const char *location; ///< as the model spells it
  ibx_span bytes;
} ibx_external_file;

struct ibx_model {
  ibx_arena arena; ///< the messages
  ibx_span bytes;
  bool mapped;        ///< `bytes` is a mapping that the model owns
  const char *folder; ///< of the file; NULL for a model in memory
  Onnx__ModelProto *proto;
  ibx_external_file *files;
};

/// Lends "" for an absent text.
static inline const char *ibx_onnx_text(const char *text) {
  return text ? text : "";
}

/// Maps a file for reading. An empty file gives an empty span. Fails with
/// NOT_FOUND, IO_ERROR.
IBX_NODISCARD ibx_status ibx_file_map(const char *path, ibx_span *out,
                                      ibx_error *err);
void ibx_file_unmap(ibx_span bytes);

/// Turns a tensor message into a weight. Data stay in the mapping where they
/// are large and need no conversion (then `data` may have any alignment);
/// otherwise they are copied to `arena`. `name` is borrowed. Returns false with
/// a diagnostic at `at`.
bool ibx_model_weight(ibx_model *model, const Onnx__TensorProto *tensor,
                      const char *name, ibx_diag_at at, ibx_diag_sink *sink,
                      ibx_arena *arena, ibx_weight *out);

/// Lends the bytes of external data, mapping the file when it is new. Returns
/// false with a diagnostic at `at`.
bool ibx_model_external(ibx_model *model, const Onnx__TensorProto *tensor,
                        uint64_t expected_bytes, ibx_diag_at at,
                        ibx_diag_sink *sink, ibx_span *out);

#endif
