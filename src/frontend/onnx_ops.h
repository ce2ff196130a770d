// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_ONNX_OPS_H
#define IBX_ONNX_OPS_H

/// \file
/// The table of ONNX operators as data; see onnx_ops.def.

#include "imbrex/dtype.h"

typedef struct ibx_call ibx_call;

/// An operator, whatever its version.
typedef struct ibx_onnx_about {
  const char *domain; ///< "" is ai.onnx
  const char *name;
  const char *sentence;
  const char *limits; ///< what is refused, "" when nothing is
} ibx_onnx_about;

/// One form of an operator.
typedef struct ibx_onnx_op {
  const ibx_onnx_about *about;
  const char *type_names;     ///< of the accepted set of element types
  void (*import)(ibx_call *); ///< NULL: known, and refused
  uint32_t types;             ///< bit d: the first input may have dtype d
  bool bundles;               ///< takes sequences and optionals too
  int16_t since;              ///< first opset version of this form
  int16_t least, most;        ///< inputs; most -1: any number
  int16_t outputs;            ///< at most; -1: any number
} ibx_onnx_op;

/// What an operator does with an input of texts.
typedef enum ibx_text_use {
  IBX_TEXT_REFUSED,
  IBX_TEXT_MOVES,  ///< moves elements only: the importer gets their numbers
  IBX_TEXT_VIEWS,  ///< the same, as a whole: extents may be open
  IBX_TEXT_TAKES,  ///< its importer knows texts
  IBX_TEXT_SHAPES, ///< looks at extents only
} ibx_text_use;
ibx_text_use ibx_onnx_text_use(const ibx_onnx_op *row);

/// Lends row `index`; NULL past the last. Rows of one operator are neighbours,
/// oldest first.
const ibx_onnx_op *ibx_onnx_op_get(size_t index);

/// Lends the row in force at opset `version`; NULL when there is none.
const ibx_onnx_op *ibx_onnx_op_find(const char *domain, const char *name,
                                    int64_t version);

/// Oldest and newest opset of ai.onnx that is read.
enum { IBX_OPSET_OLDEST = 1, IBX_OPSET_NEWEST = 28 };

/// The newest one of ai.onnx.ml that is read.
enum { IBX_OPSET_NEWEST_ML = 5 };

/// "ai.onnx" for "", else the domain.
const char *ibx_onnx_domain_name(const char *domain);

/// "" for "ai.onnx", else the domain.
const char *ibx_onnx_domain(const char *domain);

#endif
