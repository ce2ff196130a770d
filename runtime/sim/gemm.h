// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_SIM_GEMM_H
#define IBX_SIM_GEMM_H

/// \file
/// The tensor engine's matrix product.

#include "imbrex/base.h"

enum {
  /// Distance of the array's rows in values: 9 cache lines, so that a column of
  /// tiles does not fall into few sets of a cache.
  IBX_GEMM_A_STEP = 144,
  IBX_GEMM_ROOM = 65536 ///< values of room to work in
};

typedef struct ibx_gemm {
  const float *a; ///< [k][IBX_GEMM_A_STEP]: the array, m columns used
  const float *b; ///< [k][n], rows `b_step` values apart
  float *room;    ///< IBX_GEMM_ROOM values that overlap nothing
  float *c;       ///< [m][n], rows `c_step` values apart
  size_t b_step, c_step;
  size_t k, m, n; ///< each at least 1; k and m at most 128
  bool accumulate;
} ibx_gemm;

/// c = a^T b, or c += a^T b. Each element is a chain of fused multiply-adds in
/// ascending k that starts at 0, and is then added to c: the same bytes on
/// every machine and however the product is cut along m and n.
void ibx_gemm_run(const ibx_gemm *gemm);

#endif
