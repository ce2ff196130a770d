// SPDX-License-Identifier: Apache-2.0
//
// Softmax and normalisations. Comes in: a floating tensor, and the factors and
// summands of a normalisation. Goes out: the same shape, computed in double, in
// two passes over the values, and rounded once.

#include "host/host.h"

#include <math.h>
#include <stdlib.h>

static void softmax_lane(double *x, size_t count, size_t step) {
  double most = -INFINITY, sum = 0;
  for (size_t i = 0; i < count; i++) {
    double value = x[i * step];
    if (value > most || isnan(value)) most = value;
  }
  for (size_t i = 0; i < count; i++) {
    x[i * step] = exp(x[i * step] - most);
    sum += x[i * step];
  }
  for (size_t i = 0; i < count; i++)
    x[i * step] /= sum;
}

ibx_status ibx_host_softmax(const ibx_host_call *call, ibx_error *err) {
  const ibx_tensor *x = &call->operands[0];
  ibx_tensor *y = call->result;
  ibx_dtype dtype = x->type.dtype;
  size_t axis = (size_t)call->params->axis, rank = x->type.rank;
  size_t outer = ibx_type_span(&x->type, 0, axis);
  size_t extent = (size_t)x->type.dims[axis];
  size_t inner = ibx_type_span(&x->type, axis + 1, rank);
  double *slab = calloc(extent * inner, sizeof *slab);
  if (!slab) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for softmax");
  for (size_t i = 0; i < outer; i++) {
    size_t first = i * extent * inner;
    ibx_host_load(dtype, ibx_host_at_const(x->data, dtype, first), slab,
                  extent * inner);
    for (size_t j = 0; j < inner; j++)
      softmax_lane(slab + j, extent, inner);
    ibx_host_store(dtype, slab, ibx_host_at(y->data, dtype, first),
                   extent * inner);
  }
  free(slab);
  return IBX_OK;
}

// One row: (x - mean) / sqrt(variance + epsilon); rms_norm has no mean.
static void normalise(double *x, size_t count, double epsilon,
                      bool is_centred) {
  double mean = 0, squares = 0;
  for (size_t i = 0; i < count && is_centred; i++)
    mean += x[i];
  mean /= (double)count;
  for (size_t i = 0; i < count; i++) {
    x[i] -= mean;
    squares += x[i] * x[i];
  }
  double scale = 1 / sqrt(squares / (double)count + epsilon);
  for (size_t i = 0; i < count; i++)
    x[i] *= scale;
}

// row[0] is the row under way, row[1] the factors, row[2] the summands.
static void norm_rows(const ibx_host_call *call, double *row[3], size_t rows,
                      size_t count) {
  const ibx_tensor *x = &call->operands[0];
  ibx_dtype dtype = x->type.dtype;
  double epsilon = (double)call->params->epsilon;
  for (size_t i = 0; i < rows; i++) {
    ibx_host_load(dtype, ibx_host_at_const(x->data, dtype, i * count), row[0],
                  count);
    normalise(row[0], count, epsilon, call->op == IBX_TENSOR_layer_norm);
    for (size_t j = 0; j < count; j++) {
      if (call->operand_count > 1) row[0][j] *= row[1][j];
      if (call->operand_count > 2) row[0][j] += row[2][j];
    }
    ibx_host_store(dtype, row[0],
                   ibx_host_at(call->result->data, dtype, i * count), count);
  }
}

ibx_status ibx_host_norm(const ibx_host_call *call, ibx_error *err) {
  const ibx_type *type = &call->operands[0].type;
  size_t axis = (size_t)call->params->axis;
  size_t rows = ibx_type_span(type, 0, axis);
  size_t count = ibx_type_span(type, axis, type->rank);
  double *row[3] = {NULL, NULL, NULL};
  bool is_ok = true;
  for (size_t i = 0; i < 3 && i < call->operand_count && is_ok; i++) {
    row[i] = calloc(count, sizeof **row);
    is_ok = row[i] != NULL;
    if (i == 0 || !is_ok) continue;
    const ibx_tensor *operand = &call->operands[i];
    ibx_host_load(operand->type.dtype, operand->data, row[i], count);
  }
  if (is_ok) norm_rows(call, row, rows, count);
  for (size_t i = 0; i < 3; i++)
    free(row[i]);
  if (is_ok) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a row of %s",
                  ibx_tensor_op_get(call->op)->name);
}
