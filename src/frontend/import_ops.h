// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_OPS_H
#define IBX_IMPORT_OPS_H

/// \file
/// One importer for each form of an operator: every row of onnx_ops.def names
/// one, as ibx_import_op_<importer>.

#include "frontend/onnx_ops.h"

#define IBX_ONNX_FORM(domain, name, since, importer, least, most, outputs,     \
                      types)                                                   \
  void ibx_import_op_##importer(ibx_call *call);
#include "frontend/onnx_ops.def"

#endif
