// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TENSOR_H
#define IBX_TENSOR_H

/// \file
/// The tensor operations of level 1 in plain C: kinds, parameters, shape
/// inference, and one reference kernel each. Serves constant folding, host
/// segments and accuracy checks. Pure functions.

#include "imbrex/dtype.h"
#include "imbrex/program.h"

IBX_C_BEGIN

typedef enum ibx_tensor_op {
#define IBX_TENSOR_OP(name, ...) IBX_TENSOR_##name,
#include "imbrex/tensor_ops.def"
  IBX_TENSOR_OP_COUNT
} ibx_tensor_op;

typedef enum ibx_op_klass {
  IBX_KLASS_UNARY,
  IBX_KLASS_BINARY,
  IBX_KLASS_COMPARE,
  IBX_KLASS_INTEGER,
  IBX_KLASS_VIEW,
  IBX_KLASS_REDUCE,
  IBX_KLASS_CONTRACT,
  IBX_KLASS_COMPOSITE,
  IBX_KLASS_OTHER
} ibx_op_klass;

/// A list of up to IBX_MAX_RANK integers.
typedef struct ibx_ints {
  int64_t at[IBX_MAX_RANK];
  uint8_t len;
} ibx_ints;

/// All parameters an operation may have; which ones count is in its row.
typedef struct ibx_params {
#define IBX_PARAM_INT int64_t
#define IBX_PARAM_FLOAT float
#define IBX_PARAM_INTS ibx_ints
#define IBX_PARAM_DTYPE ibx_dtype
#define IBX_PARAM(name, kind, sentence) IBX_PARAM_##kind name;
#include "imbrex/tensor_ops.def"
#undef IBX_PARAM_INT
#undef IBX_PARAM_FLOAT
#undef IBX_PARAM_INTS
#undef IBX_PARAM_DTYPE
} ibx_params;

typedef enum ibx_param_kind {
  IBX_PARAM_KIND_INT,
  IBX_PARAM_KIND_FLOAT,
  IBX_PARAM_KIND_INTS,
  IBX_PARAM_KIND_DTYPE
} ibx_param_kind;

typedef struct ibx_param_info {
  const char *name;
  const char *sentence;
  size_t offset; ///< in ibx_params
  ibx_param_kind kind;
} ibx_param_info;

typedef struct ibx_tensor_op_info {
  const char *name;
  const char *params; ///< names separated by blanks
  const char *sentence;
  ibx_op_klass klass;
  uint8_t least, most;
} ibx_tensor_op_info;

IBX_API const ibx_tensor_op_info *ibx_tensor_op_get(ibx_tensor_op op);
/// Lends parameter row `index`; NULL past the last.
IBX_API const ibx_param_info *ibx_param_get(size_t index);
/// Whether `op` has the parameter of that row.
IBX_API bool ibx_tensor_op_has_param(ibx_tensor_op op, size_t index);

typedef struct ibx_type {
  int64_t dims[IBX_MAX_RANK];
  uint8_t rank;
  ibx_dtype dtype;
} ibx_type;

/// Product of the extents; false when it does not fit in 63 bits.
IBX_API bool ibx_type_elements(const ibx_type *type, int64_t *out_elements);
/// Bytes of all elements; false when they do not fit in 63 bits.
IBX_API bool ibx_type_bytes(const ibx_type *type, int64_t *out_bytes);

/// Row-major elements. `data` holds ibx_type_bytes(&type) bytes at any
/// alignment, as in a mapped model.
typedef struct ibx_tensor {
  ibx_type type;
  void *data;
} ibx_tensor;

/// Computes the type of the result. Fails with MISMATCH and a message that
/// names the operand or parameter when the operands do not fit together,
/// UNSUPPORTED beyond IBX_MAX_RANK, OUT_OF_CAPACITY beyond 63 bits of bytes.
IBX_API IBX_NODISCARD ibx_status ibx_tensor_infer(
    ibx_tensor_op op, const ibx_params *params, const ibx_type *operands,
    size_t operand_count, ibx_type *out_type, ibx_error *err);

/// Computes the result into `result->data`, which the caller provides with the
/// type that ibx_tensor_infer() gives. Every dtype of the table where the
/// operation makes sense; floating types compute in fp32 or wider and round
/// once, integers exactly, wrapped to their width. Division of integers by 0
/// gives 0. An index out of range fails with MISMATCH, and OUT_OF_MEMORY is
/// possible. `constant` is refused: its data are the caller's.
IBX_API IBX_NODISCARD ibx_status ibx_tensor_eval(
    ibx_tensor_op op, const ibx_params *params, const ibx_tensor *operands,
    size_t operand_count, ibx_tensor *result, ibx_error *err);

IBX_C_END
#endif
