// SPDX-License-Identifier: Apache-2.0
//
// PNG, by libpng's simple interface. Comes in: bytes of a file. Goes out: RGB,
// or grey where the file has no colours; transparency is dropped.

#include "host/image.h"

#ifdef IBX_HAS_PNG

#include <png.h>

#include <stdlib.h>
#include <string.h>

// Pixels with alpha, so that nothing is blended; then the alpha goes.
static bool read_pixels(png_image *image, uint32_t channels, ibx_image *out) {
  ibx_image wide;
  bool is_read =
      ibx_image_alloc(&wide, image->width, image->height, channels + 1) &&
      png_image_finish_read(image, NULL, wide.pixels, 0, NULL) != 0 &&
      ibx_image_alloc(out, image->width, image->height, channels);
  size_t count = (size_t)wide.width * wide.height;
  for (size_t i = 0; is_read && i < count; i++) {
    memcpy(out->pixels + i * channels, wide.pixels + i * (channels + 1),
           channels);
  }
  ibx_image_fini(&wide);
  return is_read;
}

bool ibx_image_decode_png(ibx_span bytes, ibx_image *out) {
  png_image image;
  memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&image, bytes.data, bytes.size)) {
    png_image_free(&image);
    return false;
  }
  bool has_colour = (image.format & PNG_FORMAT_FLAG_COLOR) != 0;
  image.format = has_colour ? PNG_FORMAT_RGBA : PNG_FORMAT_GA;
  bool is_read = read_pixels(&image, has_colour ? 3 : 1, out);
  png_image_free(&image);
  return is_read;
}

#endif
