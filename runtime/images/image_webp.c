// SPDX-License-Identifier: Apache-2.0
//
// WebP, by libwebp. Comes in: bytes of a file. Goes out: RGB.

#include "host/image.h"

#ifdef IBX_HAS_WEBP

#include <webp/decode.h>

bool ibx_image_decode_webp(ibx_span bytes, ibx_image *out) {
  int width = 0, height = 0;
  if (!WebPGetInfo(bytes.data, bytes.size, &width, &height)) return false;
  if (!ibx_image_alloc(out, (uint32_t)width, (uint32_t)height, 3)) return false;
  size_t size = (size_t)width * (size_t)height * 3;
  return WebPDecodeRGBInto(bytes.data, bytes.size, out->pixels, size,
                           width * 3) != NULL;
}

#endif
