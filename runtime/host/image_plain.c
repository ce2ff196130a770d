// SPDX-License-Identifier: Apache-2.0
//
// Images that need no library: BMP (1, 4, 8, 16, 24 and 32 bits a pixel, run
// lengths excepted) and the PNM family (P1 to P6). Comes in: bytes of a file.
// Goes out: grey or RGB. Rows of a BMP stand from the bottom up unless its
// height is negative.

#include "host/image.h"

#include <stdlib.h>
#include <string.h>

// --- BMP ---------------------------------------------------------------------

typedef struct bmp {
  ibx_span bytes;
  uint32_t data, width, height, bits, colours;
  size_t row_bytes, palette, entry_bytes;
  uint32_t masks[3];
  bool is_top_down;
} bmp;

static uint32_t le(ibx_span bytes, size_t at, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count && at + i < bytes.size; i++)
    value |= (uint32_t)bytes.data[at + i] << (8 * i);
  return value;
}

enum { PLAIN = 0, BITFIELDS = 3 };

static bool read_masks(bmp *b, uint32_t compression, uint32_t head) {
  static const uint32_t usual16[] = {0x7c00, 0x03e0, 0x001f};
  static const uint32_t usual32[] = {0xff0000, 0xff00, 0xff};
  memcpy(b->masks, b->bits == 16 ? usual16 : usual32, sizeof b->masks);
  if (compression == PLAIN) return true;
  if (compression != BITFIELDS || (b->bits != 16 && b->bits != 32)) {
    return false;
  }
  for (size_t i = 0; i < 3; i++)
    b->masks[i] = le(b->bytes, 54 + 4 * i, 4);
  // Behind a head of 40 bytes the masks stand in front of the pixels.
  return head >= 40 && b->masks[0] && b->masks[1] && b->masks[2];
}

static bool read_head(bmp *b) {
  if (b->bytes.size < 26) return false;
  uint32_t head = le(b->bytes, 14, 4);
  bool is_old = head == 12; // OS/2
  int32_t height =
      is_old ? (int32_t)le(b->bytes, 20, 2) : (int32_t)le(b->bytes, 22, 4);
  b->data = le(b->bytes, 10, 4);
  b->width = le(b->bytes, 18, is_old ? 2 : 4);
  b->is_top_down = height < 0;
  if (height == INT32_MIN) return false;
  b->height = (uint32_t)(height < 0 ? -height : height);
  b->bits = le(b->bytes, is_old ? 24 : 28, 2);
  b->colours = is_old ? 0 : le(b->bytes, 46, 4);
  b->entry_bytes = is_old ? 3 : 4;
  b->palette = 14 + (size_t)head;
  if (b->colours == 0 && b->bits <= 8) b->colours = 1u << b->bits;
  if (!is_old && head < 40) return false;
  return read_masks(b, is_old ? PLAIN : le(b->bytes, 30, 4), head);
}

static bool check_size(bmp *b) {
  uint64_t bits, bytes;
  if (!ibx_mul_size(b->width, b->bits, &bits)) return false;
  b->row_bytes = (size_t)((bits + 31) / 32 * 4);
  return ibx_mul_size(b->row_bytes, b->height, &bytes) &&
         b->data <= b->bytes.size && bytes <= b->bytes.size - b->data;
}

// One channel of a pixel of 16 or 32 bits, in 8 bits.
static uint8_t channel(uint32_t pixel, uint32_t mask) {
  unsigned shift = 0;
  while (!(mask >> shift & 1))
    shift++;
  uint64_t most = mask >> shift, value = (uint64_t)(pixel & mask) >> shift;
  return (uint8_t)((value * 255 + most / 2) / most);
}

static bool put_palette(const bmp *b, uint32_t index, uint8_t *out) {
  size_t at = b->palette + index * b->entry_bytes;
  if (index >= b->colours || at + 3 > b->bytes.size) return false;
  for (size_t c = 0; c < 3; c++)
    out[c] = b->bytes.data[at + 2 - c];
  return true;
}

static bool put_pixel(const bmp *b, const uint8_t *row, uint32_t x,
                      uint8_t *out) {
  if (b->bits <= 8) {
    size_t bit = (size_t)x * b->bits;
    unsigned shift = 8u - b->bits - (unsigned)(bit % 8);
    uint32_t index = (uint32_t)row[bit / 8] >> shift & ((1u << b->bits) - 1u);
    return put_palette(b, index, out);
  }
  size_t bytes = b->bits / 8;
  const uint8_t *p = row + x * bytes;
  if (b->bits == 24) {
    for (size_t c = 0; c < 3; c++)
      out[c] = p[2 - c];
    return true;
  }
  uint32_t pixel = 0;
  for (size_t i = 0; i < bytes; i++)
    pixel |= (uint32_t)p[i] << (8 * i);
  for (size_t c = 0; c < 3; c++)
    out[c] = channel(pixel, b->masks[c]);
  return true;
}

static bool has_known_bits(uint32_t bits) {
  return bits == 1 || bits == 4 || bits == 8 || bits == 16 || bits == 24 ||
         bits == 32;
}

bool ibx_image_decode_bmp(ibx_span bytes, ibx_image *out) {
  bmp b = {.bytes = bytes};
  if (!read_head(&b) || !has_known_bits(b.bits) || !check_size(&b)) {
    return false;
  }
  if (!ibx_image_alloc(out, b.width, b.height, 3)) return false;
  for (uint32_t y = 0; y < b.height; y++) {
    uint32_t from = b.is_top_down ? y : b.height - 1 - y;
    const uint8_t *row = bytes.data + b.data + from * b.row_bytes;
    for (uint32_t x = 0; x < b.width; x++) {
      size_t at = ((size_t)y * b.width + x) * 3;
      if (!put_pixel(&b, row, x, out->pixels + at)) return false;
    }
  }
  return true;
}

// --- PNM ---------------------------------------------------------------------

typedef struct pnm {
  ibx_span bytes;
  size_t at;
} pnm;

static bool is_blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip(pnm *p) {
  while (p->at < p->bytes.size) {
    if (p->bytes.data[p->at] == '#') {
      while (p->at < p->bytes.size && p->bytes.data[p->at] != '\n')
        p->at++;
    } else if (!is_blank(p->bytes.data[p->at])) {
      return;
    } else {
      p->at++;
    }
  }
}

static bool is_digit(const pnm *p) {
  return p->at < p->bytes.size && p->bytes.data[p->at] >= '0' &&
         p->bytes.data[p->at] <= '9';
}

static bool read_number(pnm *p, uint32_t *out) {
  skip(p);
  if (!is_digit(p)) return false;
  for (*out = 0; is_digit(p); p->at++) {
    if (*out > 100000000) return false;
    *out = *out * 10 + (uint32_t)(p->bytes.data[p->at] - '0');
  }
  return true;
}

static uint8_t scale(uint32_t value, uint32_t most) {
  if (value > most) value = most;
  return (uint8_t)(((uint64_t)value * 255 + most / 2) / most);
}

// Numbers in text; P1 needs no blanks between its digits.
static bool read_text(pnm *p, char kind, uint32_t most, ibx_image *out) {
  size_t count = (size_t)out->width * out->height * out->channels;
  for (size_t i = 0; i < count; i++) {
    uint32_t value;
    if (kind == '1') {
      skip(p);
      if (!is_digit(p)) return false;
      out->pixels[i] = p->bytes.data[p->at++] == '0' ? 255 : 0;
    } else if (read_number(p, &value)) {
      out->pixels[i] = scale(value, most);
    } else {
      return false;
    }
  }
  return true;
}

static bool read_bits(const pnm *p, ibx_image *out) {
  size_t row = ((size_t)out->width + 7) / 8;
  if ((p->bytes.size - p->at) / row < out->height) return false;
  for (size_t y = 0; y < out->height; y++) {
    const uint8_t *from = p->bytes.data + p->at + y * row;
    for (size_t x = 0; x < out->width; x++) {
      bool is_black = from[x / 8] >> (7 - x % 8) & 1;
      out->pixels[y * out->width + x] = is_black ? 0 : 255;
    }
  }
  return true;
}

static bool read_bytes(const pnm *p, uint32_t most, ibx_image *out) {
  size_t count = (size_t)out->width * out->height * out->channels;
  size_t size = most < 256 ? 1 : 2; // the high byte first
  if ((p->bytes.size - p->at) / size < count) return false;
  for (size_t i = 0; i < count; i++) {
    const uint8_t *from = p->bytes.data + p->at + i * size;
    uint32_t value = size == 1 ? from[0] : (uint32_t)from[0] << 8 | from[1];
    out->pixels[i] = scale(value, most);
  }
  return true;
}

bool ibx_image_decode_pnm(ibx_span bytes, ibx_image *out) {
  pnm p = {.bytes = bytes, .at = 2};
  char kind = (char)bytes.data[1];
  uint32_t width, height, most = 1;
  bool is_bits = kind == '1' || kind == '4';
  bool is_colour = kind == '3' || kind == '6';
  if (!read_number(&p, &width) || !read_number(&p, &height)) return false;
  if (!is_bits && !read_number(&p, &most)) return false;
  if (most == 0 || most > 65535) return false;
  if (!ibx_image_alloc(out, width, height, is_colour ? 3 : 1)) return false;
  if (kind < '4') return read_text(&p, kind, most, out);
  if (p.at >= bytes.size) return false;
  p.at++; // one blank
  return is_bits ? read_bits(&p, out) : read_bytes(&p, most, out);
}
