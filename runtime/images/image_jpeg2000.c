// SPDX-License-Identifier: Apache-2.0
//
// JPEG 2000, by OpenJPEG. Comes in: bytes of a file. Goes out: grey, or RGB of
// three components of one size, converted from luma and chroma where the file
// says so. Components of other depths are brought to 8 bits.

#include "host/image.h"

#ifdef IBX_HAS_OPENJPEG

#include <openjpeg.h>

#include <string.h>

typedef struct source {
  ibx_span bytes;
  size_t at;
} source;

static OPJ_SIZE_T read_some(void *data, OPJ_SIZE_T size, void *user) {
  source *s = user;
  size_t left = s->bytes.size - s->at;
  if (left == 0) return (OPJ_SIZE_T)-1;
  size_t count = size < left ? size : left;
  memcpy(data, s->bytes.data + s->at, count);
  s->at += count;
  return count;
}

static OPJ_OFF_T skip_some(OPJ_OFF_T count, void *user) {
  source *s = user;
  size_t left = s->bytes.size - s->at;
  if (count < 0) return -1;
  size_t step = (uint64_t)count < left ? (size_t)count : left;
  s->at += step;
  return (OPJ_OFF_T)step;
}

static OPJ_BOOL seek_to(OPJ_OFF_T at, void *user) {
  source *s = user;
  if (at < 0 || (uint64_t)at > s->bytes.size) return OPJ_FALSE;
  s->at = (size_t)at;
  return OPJ_TRUE;
}

static opj_stream_t *open_source(source *s) {
  opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
  if (!stream) return NULL;
  opj_stream_set_read_function(stream, read_some);
  opj_stream_set_skip_function(stream, skip_some);
  opj_stream_set_seek_function(stream, seek_to);
  opj_stream_set_user_data(stream, s, NULL);
  opj_stream_set_user_data_length(stream, s->bytes.size);
  return stream;
}

static bool have_one_size(const opj_image_t *image, uint32_t count) {
  for (uint32_t c = 0; c < count; c++) {
    const opj_image_comp_t *part = &image->comps[c];
    if (!part->data || part->w != image->comps[0].w ||
        part->h != image->comps[0].h || part->prec == 0 || part->prec > 16) {
      return false;
    }
  }
  return true;
}

static uint8_t sample(const opj_image_comp_t *part, size_t index) {
  int64_t value = part->data[index];
  int64_t most = ((int64_t)1 << part->prec) - 1;
  if (part->sgnd) value += (int64_t)1 << (part->prec - 1);
  value = value < 0 ? 0 : value > most ? most : value;
  return (uint8_t)((value * 255 + most / 2) / most);
}

static uint8_t clamp(double value) {
  return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
}

static void from_luma(uint8_t *p) {
  double y = p[0], cb = p[1] - 128.0, cr = p[2] - 128.0;
  p[0] = clamp(y + 1.402 * cr);
  p[1] = clamp(y - 0.344136 * cb - 0.714136 * cr);
  p[2] = clamp(y + 1.772 * cb);
}

static bool convert(const opj_image_t *image, ibx_image *out) {
  uint32_t channels = image->numcomps >= 3 ? 3 : 1;
  if (image->numcomps == 0 || !have_one_size(image, channels) ||
      !ibx_image_alloc(out, image->comps[0].w, image->comps[0].h, channels)) {
    return false;
  }
  size_t count = (size_t)out->width * out->height;
  for (size_t i = 0; i < count; i++) {
    uint8_t *p = out->pixels + i * channels;
    for (uint32_t c = 0; c < channels; c++)
      p[c] = sample(&image->comps[c], i);
    if (channels == 3 && image->color_space == OPJ_CLRSPC_SYCC) from_luma(p);
  }
  return true;
}

static bool decode(opj_codec_t *codec, opj_stream_t *stream, ibx_image *out) {
  opj_dparameters_t parameters;
  opj_image_t *image = NULL;
  opj_set_default_decoder_parameters(&parameters);
  bool is_read = opj_setup_decoder(codec, &parameters) &&
                 opj_read_header(stream, codec, &image);
  // The extent is known before anything of its size is allocated.
  uint64_t pixels = 0;
  is_read =
      is_read && image->x1 > image->x0 && image->y1 > image->y0 &&
      ibx_mul_size(image->x1 - image->x0, image->y1 - image->y0, &pixels) &&
      pixels <= IBX_IMAGE_MOST_PIXELS;
  is_read = is_read && opj_decode(codec, stream, image) &&
            opj_end_decompress(codec, stream) && convert(image, out);
  opj_image_destroy(image);
  return is_read;
}

bool ibx_image_decode_jpeg2000(ibx_span bytes, ibx_image *out) {
  source s = {.bytes = bytes};
  bool is_stream = bytes.data[0] == 0xff;
  opj_stream_t *stream = open_source(&s);
  opj_codec_t *codec =
      opj_create_decompress(is_stream ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
  bool is_read = stream && codec && decode(codec, stream, out);
  if (codec) opj_destroy_codec(codec);
  if (stream) opj_stream_destroy(stream);
  return is_read;
}

#endif
