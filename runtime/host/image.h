// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMAGE_H
#define IBX_IMAGE_H

/// \file
/// Decoders of image files. Bytes are untrusted; a decoder reads only them,
/// prints nothing, and bounds what it allocates by IBX_IMAGE_MOST_PIXELS. BMP
/// and PNM are read by the runtime; the others by libimbrex_images, a library
/// that is loaded when the first of them is met, so that nobody else loads what
/// it needs.

#include "imbrex/base.h"

#include <stdlib.h>

enum { IBX_IMAGE_MOST_PIXELS = 1 << 28 };

/// Rows of pixels, 8 bits a channel, grey (1) or RGB (3).
typedef struct ibx_image {
  uint8_t *pixels; ///< from malloc
  uint32_t width, height, channels;
} ibx_image;

/// False when the bytes are damaged or memory is short.
typedef bool (*ibx_image_decode_fn)(ibx_span bytes, ibx_image *out);

typedef enum ibx_image_format {
  IBX_IMAGE_BMP,
  IBX_IMAGE_PNM,
  IBX_IMAGE_JPEG,
  IBX_IMAGE_PNG,
  IBX_IMAGE_TIFF,
  IBX_IMAGE_WEBP,
  IBX_IMAGE_JPEG2000,
  IBX_IMAGE_UNKNOWN
} ibx_image_format;

/// By the first bytes.
ibx_image_format ibx_image_recognise(ibx_span bytes);
/// "JPEG", for messages.
const char *ibx_image_name(ibx_image_format format);

/// What libimbrex_images exports as IBX_IMAGES_SYMBOL: the decoder of a format,
/// NULL where it was built without the library.
#define IBX_IMAGES_LIBRARY "libimbrex_images.so"
#define IBX_IMAGES_SYMBOL "ibx_images_find_decoder"
typedef ibx_image_decode_fn (*ibx_images_find_fn)(ibx_image_format format);
IBX_API ibx_image_decode_fn ibx_images_find_decoder(ibx_image_format format);

/// Allocates the pixels. False when there are too many, none, or no memory.
static inline bool ibx_image_alloc(ibx_image *image, uint32_t width,
                                   uint32_t height, uint32_t channels) {
  uint64_t pixels;
  *image = (ibx_image){.width = width, .height = height, .channels = channels};
  bool fits = ibx_mul_size(width, height, &pixels) && pixels != 0 &&
              pixels <= IBX_IMAGE_MOST_PIXELS;
  image->pixels = fits ? calloc((size_t)pixels, channels) : NULL;
  return image->pixels != NULL;
}

static inline void ibx_image_fini(ibx_image *image) {
  free(image->pixels);
  *image = (ibx_image){0};
}

bool ibx_image_decode_bmp(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_pnm(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_jpeg(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_png(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_tiff(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_webp(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_jpeg2000(ibx_span bytes, ibx_image *out);

#endif
