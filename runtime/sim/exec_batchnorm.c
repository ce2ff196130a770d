// SPDX-License-Identifier: Apache-2.0
//
// Mean and variance of partitions, as element.h says. Sums go in ascending
// order, in fp32 [C].

#include "sim/element.h"

// Count, mean and variance times count of every second element from `first`.
static void statistics(const ibx_sim_view *src, size_t p, size_t first,
                       float out[3]) {
  float count = 0.0f, sum = 0.0f, squares = 0.0f;
  for (size_t i = first; i < src->elements; i += 2) {
    count += 1.0f;
    sum += ibx_load(src, p, i);
  }
  float mean = count > 0.0f ? sum / count : 0.0f;
  for (size_t i = first; i < src->elements; i += 2) {
    float distance = ibx_load(src, p, i) - mean;
    squares += distance * distance;
  }
  out[0] = count;
  out[1] = mean;
  out[2] = squares;
}

ibx_status ibx_exec_bn_stats(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    float values[6];
    statistics(&src, p, 0, values);
    statistics(&src, p, 1, values + 3);
    for (size_t i = 0; i < 6; i++) {
      ibx_store(&dst, p, i, values[i]);
    }
  }
  return IBX_OK;
}

// Of parts with counts n, means m and squared distances s from them:
// n = sum(n), m = sum(n * m) / n, s = sum(s + n * (m - mean)^2).
ibx_status ibx_exec_bn_aggr(const ibx_exec *x) {
  ibx_sim_view dst, src;
  IBX_TRY(ibx_open_read(x, 1, &src));
  IBX_TRY(ibx_open_write(x, 0, &dst));
  for (size_t p = 0; p < dst.partitions; p++) {
    float count = 0.0f, sum = 0.0f, squares = 0.0f;
    for (size_t i = 0; i < src.elements; i += 3) {
      count += ibx_load(&src, p, i);
      sum += ibx_load(&src, p, i) * ibx_load(&src, p, i + 1);
    }
    float mean = sum / count;
    for (size_t i = 0; i < src.elements; i += 3) {
      float distance = ibx_load(&src, p, i + 1) - mean;
      squares += ibx_load(&src, p, i + 2) +
                 ibx_load(&src, p, i) * (distance * distance);
    }
    ibx_store(&dst, p, 0, mean);
    ibx_store(&dst, p, 1, squares / count);
  }
  return IBX_OK;
}
