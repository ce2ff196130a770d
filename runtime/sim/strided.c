// SPDX-License-Identifier: Apache-2.0
//
// Strided copies. In: two places that do not overlap. Out: `n` elements copied
// bit for bit, as one block where both sides are packed.

#include "sim/strided.h"

#include <string.h>

#define COPY(name, bytes)                                                      \
  static void name(const uint8_t *restrict src, ptrdiff_t src_step,            \
                   uint8_t *restrict dst, ptrdiff_t dst_step, size_t n) {      \
    for (size_t i = 0; i < n; i++) {                                           \
      memcpy(dst + (ptrdiff_t)i * dst_step, src + (ptrdiff_t)i * src_step,     \
             (bytes));                                                         \
    }                                                                          \
  }                                                                            \
  static void name##_in(const uint8_t *restrict src, ptrdiff_t src_step,       \
                        uint8_t *restrict dst, size_t n) {                     \
    for (size_t i = 0; i < n; i++) {                                           \
      memcpy(dst + i * (bytes), src + (ptrdiff_t)i * src_step, (bytes));       \
    }                                                                          \
  }

COPY(copy_1, 1)
COPY(copy_2, 2)
COPY(copy_4, 4)
COPY(copy_8, 8)

// To a packed place: the loop that gathers a row, known to be one.
static void gather(size_t bytes, const uint8_t *src, ptrdiff_t src_step,
                   uint8_t *dst, size_t n) {
  switch (bytes) {
  case 1: copy_1_in(src, src_step, dst, n); return;
  case 2: copy_2_in(src, src_step, dst, n); return;
  case 4: copy_4_in(src, src_step, dst, n); return;
  default: copy_8_in(src, src_step, dst, n); return;
  }
}

void ibx_sim_strided_copy(size_t bytes, const uint8_t *src, ptrdiff_t src_step,
                          uint8_t *dst, ptrdiff_t dst_step, size_t n) {
  bool packed_dst = dst_step == (ptrdiff_t)bytes;
  if (packed_dst && src_step == (ptrdiff_t)bytes) {
    memmove(dst, src, n * bytes); // a DMA onto itself is wrong, but no crash
    return;
  }
  if (packed_dst) {
    gather(bytes, src, src_step, dst, n);
    return;
  }
  switch (bytes) {
  case 1: copy_1(src, src_step, dst, dst_step, n); return;
  case 2: copy_2(src, src_step, dst, dst_step, n); return;
  case 4: copy_4(src, src_step, dst, dst_step, n); return;
  default: copy_8(src, src_step, dst, dst_step, n); return;
  }
}
