// SPDX-License-Identifier: Apache-2.0
//
// The call that decodes an image. Comes in: the bytes of a file, and the pixels
// that are wanted. Goes out: [height, width, channels] of bytes; [0, 0, 0]
// where the bytes are no image that can be read. Each format has a decoder of
// its own (image.h) that gives grey or RGB; what is wanted is made of it here.

#include "host/host_kernels.h"
#include "host/image.h"

#include <dlfcn.h>
#include <string.h>

enum { GREY, RGB, BGR };

// The library stays: the next call finds it at once, and what it has made may
// hold on to it. Its decoder is NULL where there is none.
static ibx_image_decode_fn find_elsewhere(ibx_image_format format) {
  ibx_images_find_fn find = NULL;
  void *library = dlopen(IBX_IMAGES_LIBRARY, RTLD_NOW | RTLD_NODELETE);
  void *symbol = library ? dlsym(library, IBX_IMAGES_SYMBOL) : NULL;
  memcpy(&find, &symbol, sizeof find); // POSIX: a function fits in a pointer
  ibx_image_decode_fn decode = find ? find(format) : NULL;
  if (library) dlclose(library);
  return decode;
}

static ibx_image_decode_fn find_decoder(ibx_image_format format) {
  switch (format) {
  case IBX_IMAGE_BMP: return ibx_image_decode_bmp;
  case IBX_IMAGE_PNM: return ibx_image_decode_pnm;
  default: return find_elsewhere(format);
  }
}

// The luma of ITU-R 601, rounded: what JPEG files and most software have.
static uint8_t luma(const uint8_t *p) {
  uint32_t sum = p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u;
  return (uint8_t)(sum >> 16);
}

static void convert(const ibx_image *image, int64_t pixels, uint8_t *out) {
  uint64_t count = (uint64_t)image->width * image->height;
  bool is_grey = image->channels == 1;
  for (uint64_t i = 0; i < count; i++) {
    const uint8_t *p = image->pixels + i * image->channels;
    if (pixels == GREY) {
      out[i] = is_grey ? p[0] : luma(p);
      continue;
    }
    for (size_t c = 0; c < 3; c++) {
      size_t from = pixels == BGR ? 2 - c : c;
      out[i * 3 + c] = is_grey ? p[0] : p[from];
    }
  }
}

ibx_status ibx_host_decode_image(const ibx_host_tensor *x, int64_t pixels,
                                 ibx_host_tensor *out, ibx_error *err) {
  IBX_TRY(ibx_host_need_dtype(x, IBX_DTYPE_U8, "decode_image", err));
  if (pixels < GREY || pixels > BGR) {
    return IBX_FAIL(err, MISMATCH, "decode_image: pixels are 0, 1 or 2");
  }
  ibx_image image = {0};
  ibx_span bytes = {.data = x->data, .size = x->data_bytes};
  ibx_image_format format = ibx_image_recognise(bytes);
  bool is_known = format != IBX_IMAGE_UNKNOWN;
  ibx_image_decode_fn decode = is_known ? find_decoder(format) : NULL;
  if (is_known && !decode) {
    return IBX_FAIL(err, UNSUPPORTED,
                    "%s images are read by %s, which is not beside this "
                    "library, or was built without the package that reads them",
                    ibx_image_name(format), IBX_IMAGES_LIBRARY);
  }
  bool is_read = is_known && decode(bytes, &image);
  uint64_t shape[3] = {0, 0, 0};
  if (is_read) {
    shape[0] = image.height;
    shape[1] = image.width;
    shape[2] = pixels == GREY ? 1 : 3;
  }
  ibx_status status = ibx_host_tensor_reset(out, IBX_DTYPE_U8, shape, 3, err);
  if (status == IBX_OK && is_read) convert(&image, pixels, out->data);
  ibx_image_fini(&image);
  return status;
}
