// SPDX-License-Identifier: Apache-2.0
//
// TIFF, by libtiff: its first image. Comes in: bytes of a file. Goes out: RGB.
// The library reads through functions of ours that stay inside of the bytes,
// and says nothing.

#include "host/image.h"

#ifdef IBX_HAS_TIFF

#include <tiffio.h>

#include <stdlib.h>
#include <string.h>

typedef struct source {
  ibx_span bytes;
  uint64_t at;
} source;

static tmsize_t read_some(thandle_t handle, void *data, tmsize_t size) {
  source *s = handle;
  uint64_t left = s->at < s->bytes.size ? s->bytes.size - s->at : 0;
  uint64_t count = (uint64_t)size < left ? (uint64_t)size : left;
  if (count != 0) memcpy(data, s->bytes.data + s->at, (size_t)count);
  s->at += count;
  return (tmsize_t)count;
}

static tmsize_t write_none(thandle_t handle, void *data, tmsize_t size) {
  (void)handle, (void)data, (void)size;
  return 0;
}

static toff_t seek_to(thandle_t handle, toff_t offset, int whence) {
  source *s = handle;
  uint64_t base = whence == SEEK_CUR   ? s->at
                  : whence == SEEK_END ? s->bytes.size
                                       : 0;
  s->at = base + offset;
  return s->at;
}

static int close_none(thandle_t handle) {
  (void)handle;
  return 0;
}

static toff_t size_of(thandle_t handle) {
  return ((source *)handle)->bytes.size;
}

// Files are mapped, not read, where the library may: it sees only the bytes.
static int map_none(thandle_t handle, void **base, toff_t *size) {
  (void)handle, (void)base, (void)size;
  return 0;
}

static void unmap_none(thandle_t handle, void *base, toff_t size) {
  (void)handle, (void)base, (void)size;
}

static int say_nothing(TIFF *tiff, void *user, const char *module,
                       const char *format, va_list args) {
  (void)tiff, (void)user, (void)module, (void)format, (void)args;
  return 1;
}

static TIFF *open_source(source *s) {
  TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
  if (!options) return NULL;
  TIFFOpenOptionsSetErrorHandlerExtR(options, say_nothing, NULL);
  TIFFOpenOptionsSetWarningHandlerExtR(options, say_nothing, NULL);
  TIFF *tiff =
      TIFFClientOpenExt("image", "rm", s, read_some, write_none, seek_to,
                        close_none, size_of, map_none, unmap_none, options);
  TIFFOpenOptionsFree(options);
  return tiff;
}

static bool read_pixels(TIFF *tiff, ibx_image *out) {
  uint32_t width = 0, height = 0;
  char why[1024];
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
  if (!TIFFRGBAImageOK(tiff, why)) return false;
  ibx_image wide;
  bool is_read = ibx_image_alloc(&wide, width, height, 4) &&
                 TIFFReadRGBAImageOriented(tiff, width, height,
                                           (uint32_t *)(void *)wide.pixels,
                                           ORIENTATION_TOPLEFT, 1) != 0 &&
                 ibx_image_alloc(out, width, height, 3);
  for (size_t i = 0; is_read && i < (size_t)width * height; i++) {
    uint32_t pixel;
    memcpy(&pixel, wide.pixels + i * 4, sizeof pixel);
    out->pixels[i * 3] = (uint8_t)TIFFGetR(pixel);
    out->pixels[i * 3 + 1] = (uint8_t)TIFFGetG(pixel);
    out->pixels[i * 3 + 2] = (uint8_t)TIFFGetB(pixel);
  }
  ibx_image_fini(&wide);
  return is_read;
}

bool ibx_image_decode_tiff(ibx_span bytes, ibx_image *out) {
  source s = {.bytes = bytes};
  TIFF *tiff = open_source(&s);
  if (!tiff) return false;
  bool is_read = read_pixels(tiff, out);
  TIFFClose(tiff);
  return is_read;
}

#endif
