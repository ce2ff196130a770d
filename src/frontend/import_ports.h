// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMPORT_PORTS_H
#define IBX_IMPORT_PORTS_H

/// \file
/// What inputs and outputs of the model share.

#include "frontend/import.h"

/// An input or output as ONNX declares it.
typedef struct ibx_declared {
  ibx_import *import;
  const char *name;
  const Onnx__TensorShapeProto *shape; ///< NULL: no shape at all
  const ibx_input_shape *given;        ///< NULL: none
  size_t place;                        ///< of an input, see ibx_diagnostic
  uint32_t first;                      ///< of its ports in the graph
  ibx_type type;
} ibx_declared;

/// `kind` is "input" or "output".
ibx_diag_at ibx_declared_at(const ibx_declared *d, const char *kind);

/// Reads element type and shape of a tensor. Reports types that are none.
bool ibx_declared_read(ibx_declared *d, const Onnx__TypeProto *type,
                       const char *kind);

/// Whether it has a name: what has none can be neither given nor asked for, and
/// is reported.
bool ibx_declared_has_name(ibx_import *import, const char *name,
                           const char *kind, size_t index);

/// The type behind `optional` and `seq`, and which of them there were.
const Onnx__TypeProto *ibx_declared_element(const Onnx__TypeProto *type,
                                            ibx_port_kind *out_kind);

bool ibx_port_is_sequence(ibx_port_kind kind);

/// NAME[index] in a sequence, NAME of an optional tensor.
const char *ibx_port_item_name(ibx_import *import, const char *name,
                               ibx_port_kind kind, size_t index);

/// Appends to a list of ports, which moves.
void ibx_port_add(ibx_import *import, ibx_port_decl **ports, size_t *count,
                  ibx_port_decl decl);

#endif
