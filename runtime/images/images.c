// SPDX-License-Identifier: Apache-2.0
//
// What libimbrex_images exports: a decoder for each format whose library was
// there when it was built.

#include "host/image.h"

ibx_image_decode_fn ibx_images_find_decoder(ibx_image_format format) {
  switch (format) {
#ifdef IBX_HAS_JPEG
  case IBX_IMAGE_JPEG: return ibx_image_decode_jpeg;
#endif
#ifdef IBX_HAS_PNG
  case IBX_IMAGE_PNG: return ibx_image_decode_png;
#endif
#ifdef IBX_HAS_TIFF
  case IBX_IMAGE_TIFF: return ibx_image_decode_tiff;
#endif
#ifdef IBX_HAS_WEBP
  case IBX_IMAGE_WEBP: return ibx_image_decode_webp;
#endif
#ifdef IBX_HAS_OPENJPEG
  case IBX_IMAGE_JPEG2000: return ibx_image_decode_jpeg2000;
#endif
  default: return NULL;
  }
}
