// SPDX-License-Identifier: Apache-2.0
//
// The one way to the reference kernels. Comes in: a call by anyone. Goes out:
// the result, after the types have been checked, so that kernels may trust
// them.

#include "host/host.h"

#include <stddef.h>

static ibx_status run_other(const ibx_host_call *call, ibx_error *err) {
  switch (call->op) {
  case IBX_TENSOR_select: return ibx_host_select(call, err);
  case IBX_TENSOR_wrap:
  case IBX_TENSOR_encode:
  case IBX_TENSOR_decode: return ibx_host_unary(call, err);
  case IBX_TENSOR_gather: return ibx_host_gather(call, err);
  case IBX_TENSOR_cumsum: return ibx_host_cumsum(call, err);
  case IBX_TENSOR_argmax: return ibx_host_argmax(call, err);
  case IBX_TENSOR_top:
  case IBX_TENSOR_top_index: return ibx_host_top(call, err);
  case IBX_TENSOR_nonzero: return ibx_host_nonzero(call, err);
  case IBX_TENSOR_suppress: return ibx_host_suppress(call, err);
  case IBX_TENSOR_max_pool:
  case IBX_TENSOR_avg_pool: return ibx_host_pool(call, err);
  case IBX_TENSOR_constant:
    return IBX_FAIL(err, INVALID_ARGUMENT,
                    "a constant is not computed; its data are in its row");
  default: break;
  }
  return IBX_FAIL(err, INTERNAL, "%s has no kernel",
                  ibx_tensor_op_get(call->op)->name);
}

static ibx_status run(const ibx_host_call *call, ibx_error *err) {
  switch (ibx_tensor_op_get(call->op)->klass) {
  case IBX_KLASS_UNARY: return ibx_host_unary(call, err);
  case IBX_KLASS_BINARY:
  case IBX_KLASS_INTEGER: return ibx_host_binary(call, err);
  case IBX_KLASS_COMPARE: return ibx_host_compare(call, err);
  case IBX_KLASS_VIEW: return ibx_host_view(call, err);
  case IBX_KLASS_REDUCE: return ibx_host_reduce(call, err);
  case IBX_KLASS_CONTRACT: return ibx_host_contract(call, err);
  case IBX_KLASS_COMPOSITE:
    return call->op == IBX_TENSOR_softmax ? ibx_host_softmax(call, err)
                                          : ibx_host_norm(call, err);
  case IBX_KLASS_OTHER: break;
  }
  return run_other(call, err);
}

static ibx_status check_data(const ibx_tensor *tensor, const char *what,
                             size_t index, ibx_error *err) {
  int64_t elements;
  if (!ibx_type_elements(&tensor->type, &elements) ||
      (elements > 0 && !tensor->data)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "%s %zu has no data", what, index);
  }
  return IBX_OK;
}

static ibx_status check_result(ibx_tensor_op op, const ibx_type *expected,
                               const ibx_tensor *result, ibx_error *err) {
  char have[IBX_TYPE_TEXT_BYTES], want[IBX_TYPE_TEXT_BYTES];
  if (ibx_type_equal(expected, &result->type)) {
    return check_data(result, "result", 0, err);
  }
  return IBX_FAIL(err, MISMATCH, "%s: the result is %s; room was given for %s",
                  ibx_tensor_op_get(op)->name, ibx_type_text(expected, want),
                  ibx_type_text(&result->type, have));
}

enum { MOST_OPERANDS = 8 };

ibx_status ibx_tensor_eval(ibx_tensor_op op, const ibx_params *params,
                           const ibx_tensor *operands, size_t operand_count,
                           ibx_tensor *result, ibx_error *err) {
  ibx_type types[MOST_OPERANDS], expected;
  if (operand_count > MOST_OPERANDS || !ibx_tensor_op_get(op)) {
    return IBX_FAIL(err, INVALID_ARGUMENT, "no tensor op %d of %zu operands",
                    (int)op, operand_count);
  }
  for (size_t i = 0; i < operand_count; i++) {
    types[i] = operands[i].type;
  }
  IBX_TRY(ibx_tensor_infer(op, params, types, operand_count, &expected, err));
  for (size_t i = 0; i < operand_count; i++) {
    IBX_TRY(check_data(&operands[i], "operand", i, err));
  }
  IBX_TRY(check_result(op, &expected, result, err));
  int64_t elements = 0;
  bool is_counted = ibx_type_elements(&expected, &elements);
  if (is_counted && elements == 0 && op != IBX_TENSOR_constant) return IBX_OK;
  ibx_host_call call = {.op = op,
                        .params = params,
                        .operands = operands,
                        .operand_count = operand_count,
                        .result = result};
  return run(&call, err);
}
