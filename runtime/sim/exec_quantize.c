// SPDX-License-Identifier: Apache-2.0
//
// Quantization to MX types, as element.h says: groups of 8 partitions x 4
// elements share a scale, a power of two (OCP Microscaling Formats 1.0, with
// the scale of ISA quantize_mx).

#include "sim/element.h"

#include <math.h>

enum { GROUP = 8, FOUR = 4, SCALE_BIAS = 127, SCALE_NAN = 255 };

/// What the instruction works on. The scales of 32 partitions lie in four, so
/// a view of all partitions from the first to the last of them is opened.
typedef struct quantizer {
  ibx_sim_view src, dst, scale;
  ibx_dtype element; ///< of which dst packs four
  int largest;       ///< exponent of the largest number that it has
} quantizer;

static ibx_status open_quantizer(const ibx_exec *x, quantizer *q) {
  IBX_TRY(ibx_open_read(x, 1, &q->src));
  IBX_TRY(ibx_open_write(x, 0, &q->dst));
  IBX_TRY(ibx_open_write(x, 2, &q->scale));
  bool is_e5m2 = q->dst.dtype == IBX_DTYPE_F8E5M2X4;
  q->element = is_e5m2 ? IBX_DTYPE_F8E5M2 : IBX_DTYPE_F8E4M3FN;
  q->largest = is_e5m2 ? 15 : 8;
  return IBX_OK;
}

// The scale of the group from partition `p` on at packed element `i`.
static int scale_of(const quantizer *q, size_t p, size_t i) {
  float most = 0.0f;
  for (size_t k = 0; k < GROUP * FOUR; k++) {
    float value = ibx_load(&q->src, p + k / FOUR, FOUR * i + k % FOUR);
    if (!isfinite(value)) return SCALE_NAN;
    if (fabsf(value) > most) most = fabsf(value);
  }
  if (most == 0.0f) return 0;
  int code = ilogbf(most) - (q->largest - 1) + SCALE_BIAS;
  return code > 0 ? code : 0;
}

static void store_four(const quantizer *q, size_t p, size_t i, int scale) {
  float values[FOUR];
  uint8_t codes[FOUR];
  for (size_t k = 0; k < FOUR; k++) {
    float value = ibx_load(&q->src, p, FOUR * i + k);
    values[k] = scale == SCALE_NAN ? NAN : ldexpf(value, SCALE_BIAS - scale);
  }
  ibx_dtype_store_f32(q->element, values, codes, FOUR);
  uint32_t bits = codes[0] | (uint32_t)codes[1] << 8 |
                  (uint32_t)codes[2] << 16 | (uint32_t)codes[3] << 24;
  ibx_store_bits(&q->dst, p, i, bits);
}

ibx_status ibx_exec_quantize_mx(const ibx_exec *x) {
  quantizer q;
  IBX_TRY(open_quantizer(x, &q));
  for (size_t p = 0; p < q.dst.partitions; p += GROUP) {
    size_t row = p / IBX_QUADRANT * IBX_QUADRANT + p % IBX_QUADRANT / GROUP;
    for (size_t i = 0; i < q.dst.elements; i++) {
      int scale = scale_of(&q, p, i);
      ibx_store_bits(&q.scale, row, i, (uint32_t)scale);
      for (size_t k = 0; k < GROUP; k++) {
        store_four(&q, p + k, i, scale);
      }
    }
  }
  return IBX_OK;
}
