// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_MODEL_CUT_H
#define IBX_MODEL_CUT_H

/// \file
/// Parts of a model as models of their own: some nodes of the main graph, with
/// what they read as inputs or initialisers.

#include "frontend/frontend.h"

/// A node of the main graph. Names are those of tensors, each once, none empty;
/// what nested graphs read from outside is read by the node.
typedef struct ibx_cut_node {
  const char *name; ///< as diagnostics have it
  const char *op;
  const char **reads, **makes;
  size_t read_count, make_count;
} ibx_cut_node;

/// A model that is to be cut. Opaque; ended by ibx_cut_close().
typedef struct ibx_cut ibx_cut;

/// Opens a model once more, from a file or, where `path` is NULL, from memory,
/// which outlives the cut. Fails as ibx_model_open_file(), and with the
/// diagnostics of constants whose data are missing.
IBX_NODISCARD ibx_status ibx_cut_open(const char *path, ibx_span memory,
                                      ibx_diag_sink *sink, ibx_cut **out_cut,
                                      ibx_error *err);
/// Accepts NULL.
void ibx_cut_close(ibx_cut *cut);

/// Lends the nodes that the model's outputs need, each behind those that make
/// what it reads.
const ibx_cut_node *ibx_cut_nodes(const ibx_cut *cut, size_t *out_count);

/// Whether the name is an initialiser of the main graph, and of which dtype: NONE
/// where Imbrex has none. `out_dtype` may be NULL.
bool ibx_cut_is_initializer(const ibx_cut *cut, const char *name,
                            ibx_dtype *out_dtype);

/// A tensor of a part. Elements lie as in ibx_tensor.
typedef struct ibx_cut_tensor {
  const char *name;
  ibx_dtype dtype;
  uint64_t shape[IBX_MAX_RANK];
  size_t rank;
  const void *data; ///< of an initialiser; NULL of an input or output
} ibx_cut_tensor;

/// What a part consists of, beside the model's own initialisers that it reads.
typedef struct ibx_cut_part {
  const bool *kept; ///< of each node
  const ibx_cut_tensor *inputs, *initializers, *outputs;
  size_t input_count, initializer_count, output_count;
} ibx_cut_part;

/// Writes the part as an ONNX file into `arena`.
ibx_span ibx_cut_write(const ibx_cut *cut, const ibx_cut_part *part,
                       ibx_arena *arena);

/// Writes one tensor with data as an ONNX TensorProto.
ibx_span ibx_cut_write_tensor(const ibx_cut_tensor *tensor, ibx_arena *arena);

#endif
