// SPDX-License-Identifier: Apache-2.0
//
// JPEG, by libjpeg: smooth upsampling of colours and the exact integer
// transform, which are its defaults. Comes in: bytes of a file. Goes out: grey
// as the file has it, everything else as RGB.

#include "host/image.h"

#ifdef IBX_HAS_JPEG

#include <stdio.h> // jpeglib.h needs FILE

#include <jpeglib.h>

#include <setjmp.h>
#include <string.h>

/// The library leaves by a jump where a file is damaged; it has no other way.
typedef struct failure {
  struct jpeg_error_mgr manager;
  jmp_buf place;
} failure;

static void leave(j_common_ptr info) {
  failure *f = (failure *)(void *)info->err;
  longjmp(f->place, 1);
}

static void say_nothing(j_common_ptr info) { (void)info; }

static void count_nothing(j_common_ptr info, int level) {
  (void)info;
  (void)level;
}

static bool begin(struct jpeg_decompress_struct *info, ibx_span bytes,
                  ibx_image *out) {
  jpeg_mem_src(info, bytes.data, (unsigned long)bytes.size);
  if (jpeg_read_header(info, TRUE) != JPEG_HEADER_OK) return false;
  bool is_four =
      info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
  if (is_four) return false;
  bool is_grey = info->jpeg_color_space == JCS_GRAYSCALE;
  info->out_color_space = is_grey ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress(info);
  return ibx_image_alloc(out, info->output_width, info->output_height,
                         is_grey ? 1 : 3);
}

bool ibx_image_decode_jpeg(ibx_span bytes, ibx_image *out) {
  struct jpeg_decompress_struct info;
  failure f;
  memset(&info, 0, sizeof info);
  info.err = jpeg_std_error(&f.manager);
  f.manager.error_exit = leave;
  f.manager.output_message = say_nothing;
  f.manager.emit_message = count_nothing;
  if (setjmp(f.place)) {
    jpeg_destroy_decompress(&info);
    return false;
  }
  jpeg_create_decompress(&info);
  bool is_begun = begin(&info, bytes, out);
  while (is_begun && info.output_scanline < info.output_height) {
    size_t row = (size_t)out->width * out->channels;
    JSAMPROW at = out->pixels + info.output_scanline * row;
    jpeg_read_scanlines(&info, &at, 1);
  }
  if (is_begun) jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return is_begun;
}

#endif
