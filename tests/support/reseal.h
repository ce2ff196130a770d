// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_TEST_RESEAL_H
#define IBX_TEST_RESEAL_H

/// \file
/// Makes all digests of a changed program file right again, as somebody who
/// wants to do harm would.

#include "core/program_format.h"

/// Does nothing to a file that is too short for its own table.
static inline void reseal(uint8_t *bytes, size_t size) {
  if (size < IBX_HEADER_BYTES + IBX_TRAILER_BYTES) return;
  uint64_t weight_digest = 0;
  size_t count = (size_t)ibx_get_le(bytes + 12, 4);
  size_t table = (count * IBX_SECTION_ROW_BYTES + 63) / 64 * 64;
  if (count > IBX_MAX_SECTIONS ||
      table > size - IBX_HEADER_BYTES - IBX_TRAILER_BYTES) {
    return;
  }
  for (size_t i = 0; i < count; i++) {
    uint8_t *row = bytes + IBX_HEADER_BYTES + i * IBX_SECTION_ROW_BYTES;
    uint64_t offset = ibx_get_le(row + 8, 8);
    uint64_t length = ibx_get_le(row + 16, 8);
    if (offset > size || length > size - offset) continue;
    uint64_t digest = ibx_digest_bytes(bytes + offset, (size_t)length);
    if (ibx_get_le(row + 4, 4) & IBX_SECTION_TRAILER_DIGEST) {
      weight_digest = digest;
    } else {
      ibx_put_le(row + 24, digest, 8);
    }
  }
  ibx_put_le(bytes + IBX_HEADER_DIGEST_AT, 0, 8);
  uint64_t header = ibx_digest_bytes(bytes, IBX_HEADER_BYTES + table);
  ibx_put_le(bytes + IBX_HEADER_DIGEST_AT, header, 8);
  uint8_t *trailer = bytes + size - IBX_TRAILER_BYTES;
  ibx_put_le(trailer + 8, weight_digest, 8);
  ibx_put_le(trailer + 16, ibx_digest_file(header, weight_digest), 8);
}

#endif
