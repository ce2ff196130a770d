// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_BACKEND_H
#define IBX_BACKEND_H

/// \file
/// One model in the layout of the ONNX backend tests: `model.onnx`, and beside
/// it folders test_data_set_* with input_*.pb and output_*.pb.

#include "driver/driver.h"

typedef enum ibx_case_result {
  IBX_CASE_PASS,
  IBX_CASE_FAIL,
  IBX_CASE_REFUSED ///< the model does not compile; `reason` says why
} ibx_case_result;

/// How far an output may be from the reference, element by element:
/// |got - want| <= atol + rtol * |want|.
typedef struct ibx_tolerance {
  double rtol, atol;
} ibx_tolerance;

typedef struct ibx_case {
  ibx_case_result result;
  char reason[IBX_ERROR_MESSAGE_BYTES + 64]; ///< "" when it passed
  char constants[200]; ///< names of the inputs that were compiled in
  double worst_error;  ///< largest difference of an element, absolute
  double seconds;
  int host_nodes;   ///< of the program's first entry, each once
  int gpsimd_calls; ///< nodes of it that call the library of GpSimd, each once
} ibx_case;

/// Compiles the model in `folder`, runs every data set and compares.
ibx_case ibx_case_run(const char *folder, const ibx_compile_request *request,
                      const ibx_tolerance *tolerance);

/// "pass", "fail", "refused".
const char *ibx_case_result_name(ibx_case_result result);

#endif
