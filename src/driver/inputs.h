// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_DRIVER_INPUTS_H
#define IBX_DRIVER_INPUTS_H

/// \file
/// The inputs of a run: from files that the user names, or made up.

#include "driver/files.h"
#include "driver/options.h"

/// The options that give inputs: an ibx_option_list and a uint64_t.
// clang-format off
#define IBX_INPUT_ROWS(files, seed)                                            \
  {"input", 0, IBX_OPTION_LIST, &(files), "NAME=FILE",                         \
   "an input, as .npy or ONNX .pb"},                                           \
  {"seed", 0, IBX_OPTION_UINT, &(seed), "N",                                   \
   "for inputs left out: near-normal floats, integers 0 or 1 (0)"}
// clang-format on

/// An array under the name of an input; both are borrowed.
typedef struct ibx_named_array {
  const char *name;
  const ibx_array *array;
} ibx_named_array;

/// Where inputs come from: a value in memory, else a file, else the seed.
typedef struct ibx_input_source {
  ibx_option_list files; ///< NAME=FILE
  uint64_t seed;
  const ibx_named_array *values;
  size_t value_count;
} ibx_input_source;

/// Fails with INVALID_ARGUMENT when a file is given for what is no input.
IBX_NODISCARD ibx_status ibx_inputs_check(const ibx_input_source *source,
                                          const ibx_entry *entry,
                                          ibx_error *err);

/// Whether the user says what the input is.
bool ibx_input_is_given(const ibx_input_source *source, const char *name);

/// Makes input `index` of an entry. What nobody gives depends on the seed, the
/// index and the type alone: floats are near normal with mean 0 and deviation 1,
/// integers and bools are 0 or 1, which every index accepts. The caller ends the
/// array, also after a failure. Fails as ibx_array_read() and ibx_array_check().
IBX_NODISCARD ibx_status ibx_input_make(const ibx_input_source *source,
                                        const ibx_tensor_decl *tensor,
                                        size_t index, ibx_array *out,
                                        ibx_error *err);

#endif
