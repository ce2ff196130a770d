// SPDX-License-Identifier: Apache-2.0
//
// Imports operators of ai.onnx.ml. Comes in: a call. Goes out: comparisons and
// gathers.

#include "frontend/import.h"
#include "frontend/import_ops.h"

void ibx_import_op_binarizer(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_dtype dtype = ibx_dtype_of(call, x);
  double threshold = (double)ibx_attr_any_float(call, "threshold", 0);
  if (!ibx_is_float(dtype)) x = ibx_emit_cast(call, x, IBX_DTYPE_F32);
  ibx_val above = ibx_emit_binary(call, IBX_TENSOR_less,
                                  ibx_emit_like(call, x, threshold), x);
  ibx_out(call, 0, ibx_emit_cast(call, above, dtype));
}

// A vector counts as one row.
void ibx_import_op_array_feature_extractor(ibx_call *call) {
  ibx_val x = ibx_in(call, 0), index = ibx_in(call, 1);
  if (!ibx_call_expect(call, ibx_rank(call, x) >= 1, "X", "is a scalar")) {
    return;
  }
  if (ibx_rank(call, x) == 1) {
    x = ibx_emit_reshape(call, x, IBX_INTS(1, ibx_dim(call, x, 0)));
  }
  int64_t count = ibx_elements(ibx_type_of(call, index));
  index = ibx_emit_reshape(call, index, IBX_INTS(count));
  ibx_out(call, 0, ibx_emit_gather(call, x, index, ibx_rank(call, x) - 1));
}
