// SPDX-License-Identifier: Apache-2.0
//
// What the engines do not compute. Comes in a node of a legalised graph; goes
// out whether its dtypes can be lowered, else the failure, which says what the
// model can do instead. The engines compute in fp32 and saturate; the array
// multiplies floats.

#include "passes/lower.h"

static const char *name_of(ibx_dtype dtype) {
  return ibx_dtype_get(dtype)->name;
}

static bool is_whole(ibx_dtype dtype) {
  ibx_dtype_kind kind = ibx_dtype_get(dtype)->kind;
  return kind == IBX_DTYPE_KIND_SINT || kind == IBX_DTYPE_KIND_UINT;
}

// Results that pass the end of 8 bits in ordinary use. Where a product does,
// legalise has made an integer one of it.
static bool outgrows(ibx_tensor_op op) {
  return op == IBX_TENSOR_reduce_sum || op == IBX_TENSOR_reduce_prod ||
         op == IBX_TENSOR_pow;
}

// Whatever the types are.
static bool takes_all(const ibx_node *node) {
  ibx_op_klass klass = ibx_tensor_op_get(node->op)->klass;
  return (klass == IBX_KLASS_VIEW && node->op != IBX_TENSOR_pad) ||
         node->op == IBX_TENSOR_constant || node->op == IBX_TENSOR_gather ||
         node->op == IBX_TENSOR_encode || node->op == IBX_TENSOR_decode ||
         klass == IBX_KLASS_INTEGER;
}

bool ibx_lower_accepts(ibx_lower *lower, const ibx_node *node) {
  const ibx_value *values = lower->graph->values;
  const ibx_tensor_op_info *info = ibx_tensor_op_get(node->op);
  ibx_dtype made = values[node->result].type.dtype;
  if (takes_all(node)) return true;
  for (uint32_t i = 0; i <= node->operand_count; i++) {
    ibx_dtype dtype =
        i < node->operand_count ? values[node->operand[i]].type.dtype : made;
    if (dtype == IBX_DTYPE_F64) {
      return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                            "%s of f64, which no engine computes; convert the "
                            "model to float32",
                            info->name);
    }
    if (info->klass == IBX_KLASS_CONTRACT && is_whole(dtype)) {
      return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                            "%s of %s, the array multiplies floats; put Cast "
                            "to float in front of it",
                            info->name, name_of(dtype));
    }
  }
  if (is_whole(made) && ibx_dtype_bytes(made) == 1 && outgrows(node->op)) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "%s of %s would saturate where ONNX wraps; put Cast "
                          "to int32 in front of it",
                          info->name, name_of(made));
  }
  if (ibx_dtype_get(made)->kind == IBX_DTYPE_KIND_UINT &&
      node->op == IBX_TENSOR_neg) {
    return ibx_lower_fail(lower, IBX_UNSUPPORTED,
                          "neg of %s would be 0 where ONNX wraps; put Cast to "
                          "int32 in front of it",
                          name_of(made));
  }
  return true;
}
