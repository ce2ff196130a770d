// SPDX-License-Identifier: Apache-2.0
//
// The formats of images: how each is recognised, by its first bytes, and what
// decodes it. The simple formats are read here and in image_bmp.c, the others by
// the libraries of Debian that were there when this was built.

#include "host/image.h"

#include <stdlib.h>
#include <string.h>

bool ibx_image_alloc(ibx_image *image, uint32_t width, uint32_t height,
                     uint32_t channels) {
  uint64_t pixels;
  *image = (ibx_image){.width = width, .height = height, .channels = channels};
  bool fits = ibx_mul_size(width, height, &pixels) && pixels != 0 &&
              pixels <= IBX_IMAGE_MOST_PIXELS;
  image->pixels = fits ? calloc((size_t)pixels, channels) : NULL;
  return image->pixels != NULL;
}

void ibx_image_fini(ibx_image *image) {
  free(image->pixels);
  *image = (ibx_image){0};
}

static bool starts(ibx_span bytes, const char *magic, size_t len) {
  return bytes.size >= len && memcmp(bytes.data, magic, len) == 0;
}

static bool is_bmp(ibx_span bytes) { return starts(bytes, "BM", 2); }

static bool is_pnm(ibx_span bytes) {
  return bytes.size > 2 && bytes.data[0] == 'P' && bytes.data[1] >= '1' &&
         bytes.data[1] <= '6';
}

static bool is_jpeg(ibx_span bytes) { return starts(bytes, "\xff\xd8\xff", 3); }

static bool is_png(ibx_span bytes) {
  return starts(bytes, "\x89PNG\r\n\x1a\n", 8);
}

static bool is_tiff(ibx_span bytes) {
  return starts(bytes, "II*\0", 4) || starts(bytes, "MM\0*", 4) ||
         starts(bytes, "II+\0", 4) || starts(bytes, "MM\0+", 4);
}

static bool is_webp(ibx_span bytes) {
  return starts(bytes, "RIFF", 4) && bytes.size >= 12 &&
         memcmp(bytes.data + 8, "WEBP", 4) == 0;
}

// A file of boxes, or the code stream alone.
static bool is_jpeg2000(ibx_span bytes) {
  return starts(bytes, "\0\0\0\x0cjP  \r\n\x87\n", 12) ||
         starts(bytes, "\xff\x4f\xff\x51", 4);
}

#ifdef IBX_HAS_JPEG
#define DECODE_JPEG ibx_image_decode_jpeg
#else
#define DECODE_JPEG NULL
#endif
#ifdef IBX_HAS_PNG
#define DECODE_PNG ibx_image_decode_png
#else
#define DECODE_PNG NULL
#endif
#ifdef IBX_HAS_TIFF
#define DECODE_TIFF ibx_image_decode_tiff
#else
#define DECODE_TIFF NULL
#endif
#ifdef IBX_HAS_WEBP
#define DECODE_WEBP ibx_image_decode_webp
#else
#define DECODE_WEBP NULL
#endif
#ifdef IBX_HAS_OPENJPEG
#define DECODE_JPEG2000 ibx_image_decode_jpeg2000
#else
#define DECODE_JPEG2000 NULL
#endif

const ibx_image_format ibx_image_formats[] = {
    {"BMP", "", is_bmp, ibx_image_decode_bmp},
    {"PNM", "", is_pnm, ibx_image_decode_pnm},
    {"JPEG", "libjpeg-dev", is_jpeg, DECODE_JPEG},
    {"PNG", "libpng-dev", is_png, DECODE_PNG},
    {"TIFF", "libtiff-dev", is_tiff, DECODE_TIFF},
    {"WebP", "libwebp-dev", is_webp, DECODE_WEBP},
    {"JPEG 2000", "libopenjp2-7-dev", is_jpeg2000, DECODE_JPEG2000},
    {0}};
