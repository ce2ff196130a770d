// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_REDUCE_H
#define IBX_REDUCE_H

/// \file
/// Shrinks a model in which a value is wrong to the few nodes that make it wrong.

#include "driver/compare.h"

/// A reduced model. Zero at first; ended by ibx_reduced_fini().
typedef struct ibx_reduced {
  ibx_arena arena;
  ibx_span model;     ///< the ONNX file
  const char *target; ///< its output, which is wrong
  size_t nodes;       ///< in it
  size_t attempts;    ///< models that were compared on the way
  /// Inputs without which it does not fail, as ONNX tensors; none where inputs
  /// of the same seed do.
  const char **input_names;
  ibx_span *input_files;
  size_t input_count;
} ibx_reduced;

/// Finds the smallest part that fails at `first`, or at what `first` depends on;
/// `first` is a bad row of `comparison`, which was made by `setup`. The part fails
/// ibx_compare() with the same setup and its inputs. Fails with NOT_FOUND where
/// no part does: not even all that the value depends on.
IBX_NODISCARD ibx_status ibx_reduce_model(const ibx_compare_setup *setup,
                                          const ibx_comparison *comparison,
                                          const ibx_compared *first,
                                          ibx_reduced *out, ibx_error *err);
void ibx_reduced_fini(ibx_reduced *reduced);

#endif
