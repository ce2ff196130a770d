// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_COMPARE_H
#define IBX_COMPARE_H

/// \file
/// A compiled model against the reference kernels, value by value.
///
/// Programs are made in which the results of nodes are outputs, and each value
/// is compared with what the reference kernels compute from the same inputs. An
/// output ends a fused group, so the program as it is compiled otherwise is
/// compared last, by its own outputs.

#include "driver/difference.h"
#include "driver/inputs.h"
#include "frontend/model_cut.h"
#include "imbrex/compiler.h"

/// What is compared, and how. Everything is borrowed.
typedef struct ibx_compare_setup {
  const char *path; ///< of the model, or NULL
  ibx_span memory;  ///< the model where there is no path
  const ibx_compile_options *options;
  const char *device; ///< where programs run
  ibx_input_source inputs;
  double rtol, atol;   ///< NaN: those of the type
  bool is_quiet;       ///< no progress is shown
  bool judges_nothing; ///< whatever is beyond tolerance is bad; see judge.h
} ibx_compare_setup;

/// One tensor of the comparison.
typedef struct ibx_compared {
  const char *value; ///< its name in the model
  const char *node;  ///< that makes it; "" of an output that none makes
  const char *op;
  bool is_whole; ///< an output of the program as it is compiled otherwise
  ibx_dtype dtype;
  uint64_t shape[IBX_MAX_RANK];
  size_t rank;
  ibx_limits limits;
  ibx_difference difference;
  const char *reason; ///< why there is no difference to tell, or ""
  bool is_inherited;  ///< beyond tolerance, but its node is not at fault
  bool failed; ///< the program did not run as far as this; `reason` says why
} ibx_compared;

/// A tensor that the reference computed, or an input.
typedef struct ibx_compare_value {
  const char *name;
  ibx_array array;
  ibx_array got; ///< where it was compared: what the program computed
  bool is_compared;
  bool is_constant; ///< it depends on no input
} ibx_compare_value;

/// Zero at first; ended by ibx_comparison_fini().
typedef struct ibx_comparison {
  ibx_arena arena;
  ibx_cut *cut;
  ibx_compared *rows; ///< values in the order of the nodes, then the outputs
  size_t row_count, row_room;
  ibx_compare_value *values; ///< and inputs, and constants
  size_t value_count, value_room;
} ibx_comparison;

/// Compares. Fails as a compilation of the model does, or as a run where the
/// inputs are at fault; then there is nothing to end. Values that differ are no
/// failure.
IBX_NODISCARD ibx_status ibx_compare(const ibx_compare_setup *setup,
                                     ibx_comparison *out, ibx_error *err);
void ibx_comparison_fini(ibx_comparison *comparison);

/// Whether the row is beyond what is allowed, and did not inherit that.
bool ibx_compared_is_bad(const ibx_compared *row);

/// The first bad row, values before outputs; NULL when all agree.
const ibx_compared *ibx_comparison_first(const ibx_comparison *comparison);

#endif
