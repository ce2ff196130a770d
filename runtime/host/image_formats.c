// SPDX-License-Identifier: Apache-2.0
//
// The formats of images: how each is recognised, by its first bytes.

#include "host/image.h"

#include <string.h>

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

static const struct {
  const char *name;
  bool (*recognise)(ibx_span bytes);
} formats[] = {[IBX_IMAGE_BMP] = {"BMP", is_bmp},
               [IBX_IMAGE_PNM] = {"PNM", is_pnm},
               [IBX_IMAGE_JPEG] = {"JPEG", is_jpeg},
               [IBX_IMAGE_PNG] = {"PNG", is_png},
               [IBX_IMAGE_TIFF] = {"TIFF", is_tiff},
               [IBX_IMAGE_WEBP] = {"WebP", is_webp},
               [IBX_IMAGE_JPEG2000] = {"JPEG 2000", is_jpeg2000}};

ibx_image_format ibx_image_recognise(ibx_span bytes) {
  for (size_t i = 0; i < IBX_COUNT_OF(formats); i++) {
    if (formats[i].recognise(bytes)) return (ibx_image_format)i;
  }
  return IBX_IMAGE_UNKNOWN;
}

const char *ibx_image_name(ibx_image_format format) {
  return (size_t)format < IBX_COUNT_OF(formats) ? formats[format].name : "";
}
