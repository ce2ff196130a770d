// SPDX-License-Identifier: Apache-2.0
#ifndef IBX_IMAGE_H
#define IBX_IMAGE_H

/// \file
/// Decoders of image files. Bytes are untrusted; a decoder reads only them,
/// prints nothing, and bounds what it allocates by IBX_IMAGE_MOST_PIXELS.

#include "imbrex/base.h"

enum { IBX_IMAGE_MOST_PIXELS = 1 << 28 };

/// Rows of pixels, 8 bits a channel, grey (1) or RGB (3).
typedef struct ibx_image {
  uint8_t *pixels; ///< from malloc
  uint32_t width, height, channels;
} ibx_image;

/// One format. `decode` is NULL where this build lacks its library.
typedef struct ibx_image_format {
  const char *name;
  const char *package; ///< of Debian, that has the library
  bool (*recognise)(ibx_span bytes);
  /// False when the bytes are damaged or memory is short.
  bool (*decode)(ibx_span bytes, ibx_image *out);
} ibx_image_format;

/// Ends with a row without a name.
extern const ibx_image_format ibx_image_formats[];

/// Allocates the pixels. False when there are too many, none, or no memory.
bool ibx_image_alloc(ibx_image *image, uint32_t width, uint32_t height,
                     uint32_t channels);
void ibx_image_fini(ibx_image *image);

bool ibx_image_decode_bmp(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_pnm(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_jpeg(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_png(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_tiff(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_webp(ibx_span bytes, ibx_image *out);
bool ibx_image_decode_jpeg2000(ibx_span bytes, ibx_image *out);

#endif
