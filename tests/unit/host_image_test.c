// SPDX-License-Identifier: Apache-2.0
//
// The call that reads images: a small file of each format, as Pillow writes it,
// gives its pixels; damaged files give pixels or an empty image, and nothing
// else happens. Formats whose library was not there when this was built are
// refused.

#include "imbrex/host.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

// Three pixels in two rows: red, green, blue; white, black, and a dark one.
static const uint8_t pixels[] = {255, 0,   0,   0, 255, 0, 0,  0,  255,
                                 255, 255, 255, 0, 0,   0, 10, 20, 30};

// clang-format off
static const uint8_t png_file[] = {
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 3, 0, 0, 0, 2, 8, 2, 0, 0, 0, 18, 22, 241,
    77, 0, 0, 0, 24, 73, 68, 65, 84, 120, 156, 99, 248, 207, 192, 192, 0, 193, 255, 255, 255, 103, 96, 96, 224, 18,
    145, 3, 0, 69, 51, 6, 55, 115, 48, 90, 46, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130};
static const uint8_t tiff_file[] = {
    73, 73, 42, 0, 8, 0, 0, 0, 10, 0, 0, 1, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1, 1, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 2, 1, 3,
    0, 3, 0, 0, 0, 134, 0, 0, 0, 3, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6, 1, 3, 0, 1, 0, 0, 0, 2, 0, 0, 0, 17, 1, 4, 0,
    1, 0, 0, 0, 140, 0, 0, 0, 21, 1, 3, 0, 1, 0, 0, 0, 3, 0, 0, 0, 22, 1, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 23, 1, 4, 0,
    1, 0, 0, 0, 18, 0, 0, 0, 28, 1, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 8, 0, 255, 0, 0, 0, 255, 0,
    0, 0, 255, 255, 255, 255, 0, 0, 0, 10, 20, 30};
static const uint8_t webp_file[] = {
    82, 73, 70, 70, 58, 0, 0, 0, 87, 69, 66, 80, 86, 80, 56, 76, 46, 0, 0, 0, 47, 2, 64, 0, 0, 47, 32, 16, 32, 136,
    240, 159, 106, 67, 72, 144, 208, 253, 191, 87, 129, 0, 65, 137, 255, 74, 243, 31, 32, 54, 57, 182, 10, 20, 164,
    109, 192, 226, 238, 41, 89, 68, 255, 227, 234, 0};
static const uint8_t jp2_file[] = {
    0, 0, 0, 12, 106, 80, 32, 32, 13, 10, 135, 10, 0, 0, 0, 20, 102, 116, 121, 112, 106, 112, 50, 32, 0, 0, 0, 0, 106,
    112, 50, 32, 0, 0, 0, 45, 106, 112, 50, 104, 0, 0, 0, 22, 105, 104, 100, 114, 0, 0, 0, 2, 0, 0, 0, 3, 0, 3, 7, 7,
    0, 0, 0, 0, 0, 15, 99, 111, 108, 114, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 202, 106, 112, 50, 99, 255, 79, 255, 81, 0,
    47, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 7,
    1, 1, 7, 1, 1, 7, 1, 1, 255, 82, 0, 12, 0, 0, 0, 1, 0, 1, 4, 4, 0, 1, 255, 92, 0, 7, 64, 64, 72, 72, 80, 255, 100,
    0, 37, 0, 1, 67, 114, 101, 97, 116, 101, 100, 32, 98, 121, 32, 79, 112, 101, 110, 74, 80, 69, 71, 32, 118, 101,
    114, 115, 105, 111, 110, 32, 50, 46, 53, 46, 52, 255, 144, 0, 10, 0, 0, 0, 0, 0, 79, 0, 1, 255, 147, 223, 128, 32,
    12, 28, 197, 191, 207, 180, 12, 12, 28, 23, 207, 180, 12, 5, 234, 239, 207, 192, 10, 7, 200, 10, 1, 240, 130, 7,
    95, 11, 77, 5, 195, 234, 2, 159, 128, 36, 252, 192, 128, 0, 95, 12, 28, 5, 191, 8, 167, 207, 192, 10, 126, 0, 112,
    31, 32, 16, 7, 57, 0, 69, 216, 9, 255, 217};
static const uint8_t bmp_file[] = {
    66, 77, 78, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 24, 0, 0, 0, 0, 0, 24, 0,
    0, 0, 196, 14, 0, 0, 196, 14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 0, 0, 0, 30, 20, 10, 0, 0, 0, 0, 0,
    255, 0, 255, 0, 255, 0, 0, 0, 0, 0};
static const uint8_t ppm_file[] = {
    80, 54, 10, 51, 32, 50, 10, 50, 53, 53, 10, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 10, 20, 30};
static const uint8_t jpeg_grey_file[] = {
    255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 255, 219, 0, 67, 0, 3, 2, 2, 3, 2, 2, 3,
    3, 3, 3, 4, 3, 3, 4, 5, 8, 5, 5, 4, 4, 5, 10, 7, 7, 6, 8, 12, 10, 12, 12, 11, 10, 11, 11, 13, 14, 18, 16, 13, 14,
    17, 14, 11, 11, 16, 22, 16, 17, 19, 20, 21, 21, 21, 12, 15, 23, 24, 22, 20, 24, 18, 20, 21, 20, 255, 192, 0, 11,
    8, 0, 8, 0, 8, 1, 1, 17, 0, 255, 196, 0, 31, 0, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5,
    6, 7, 8, 9, 10, 11, 255, 196, 0, 181, 16, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125, 1, 2, 3, 0, 4, 17, 5,
    18, 33, 49, 65, 6, 19, 81, 97, 7, 34, 113, 20, 50, 129, 145, 161, 8, 35, 66, 177, 193, 21, 82, 209, 240, 36, 51,
    98, 114, 130, 9, 10, 22, 23, 24, 25, 26, 37, 38, 39, 40, 41, 42, 52, 53, 54, 55, 56, 57, 58, 67, 68, 69, 70, 71,
    72, 73, 74, 83, 84, 85, 86, 87, 88, 89, 90, 99, 100, 101, 102, 103, 104, 105, 106, 115, 116, 117, 118, 119, 120,
    121, 122, 131, 132, 133, 134, 135, 136, 137, 138, 146, 147, 148, 149, 150, 151, 152, 153, 154, 162, 163, 164, 165,
    166, 167, 168, 169, 170, 178, 179, 180, 181, 182, 183, 184, 185, 186, 194, 195, 196, 197, 198, 199, 200, 201, 202,
    210, 211, 212, 213, 214, 215, 216, 217, 218, 225, 226, 227, 228, 229, 230, 231, 232, 233, 234, 241, 242, 243, 244,
    245, 246, 247, 248, 249, 250, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 243, 74, 255, 217};
static const uint8_t bmp_palette_file[] = {
    66, 77, 86, 0, 0, 0, 0, 0, 0, 0, 78, 0, 0, 0, 40, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0, 0, 8, 0,
    0, 0, 196, 14, 0, 0, 196, 14, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 0, 0, 255, 0, 0, 30, 20, 10, 0, 0, 0,
    255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0, 3, 1, 4, 0};
// clang-format on

enum { GREY, RGB, BGR };

static ibx_status decode(const uint8_t *file, size_t size, int64_t format,
                         ibx_host_tensor *out) {
  ibx_host_tensor in = IBX_HOST_TENSOR_INIT;
  const uint64_t count = size;
  const ibx_span bytes = {.data = file, .size = size};
  assert_int_equal(
      ibx_host_tensor_borrow(&in, IBX_DTYPE_U8, &count, 1, bytes, NULL),
      IBX_OK);
  const ibx_host_call_info *row = ibx_host_call_find("decode_image");
  const ibx_host_tensor *operands[] = {&in};
  ibx_host_tensor *results[] = {out};
  const ibx_host_args args = {.operands = operands,
                              .ints = &format,
                              .results = results,
                              .operand_count = 1,
                              .int_count = 1,
                              .result_count = 1};
  return ibx_host_call_run(row->signature, row->function, &args, NULL);
}

/// A file, and whether this build reads it.
typedef struct sample {
  const uint8_t *file;
  size_t size;
  bool is_read;
} sample;

#define SAMPLE(name, is_read) {name##_file, sizeof name##_file, is_read}
#ifdef IBX_HAS_PNG
#define HAS_PNG true
#else
#define HAS_PNG false
#endif
#ifdef IBX_HAS_TIFF
#define HAS_TIFF true
#else
#define HAS_TIFF false
#endif
#ifdef IBX_HAS_WEBP
#define HAS_WEBP true
#else
#define HAS_WEBP false
#endif
#ifdef IBX_HAS_OPENJPEG
#define HAS_OPENJPEG true
#else
#define HAS_OPENJPEG false
#endif
#ifdef IBX_HAS_JPEG
#define HAS_JPEG true
#else
#define HAS_JPEG false
#endif

static const sample samples[] = {
    SAMPLE(bmp, true),        SAMPLE(bmp_palette, true), SAMPLE(ppm, true),
    SAMPLE(png, HAS_PNG),     SAMPLE(tiff, HAS_TIFF),    SAMPLE(webp, HAS_WEBP),
    SAMPLE(jp2, HAS_OPENJPEG)};

static void files_give_their_pixels(void **state) {
  (void)state;
  ibx_host_tensor out = IBX_HOST_TENSOR_INIT;
  for (size_t i = 0; i < IBX_COUNT_OF(samples); i++) {
    const sample *s = &samples[i];
    ibx_status status = decode(s->file, s->size, RGB, &out);
    if (status != (s->is_read ? IBX_OK : IBX_UNSUPPORTED)) fail_msg("%zu", i);
    if (!s->is_read) continue;
    assert_int_equal(out.rank, 3);
    assert_int_equal(out.data_bytes, sizeof pixels);
    assert_memory_equal(out.data, pixels, sizeof pixels);
    assert_int_equal(decode(s->file, s->size, BGR, &out), IBX_OK);
    assert_int_equal(out.data[0], 0);
    assert_int_equal(out.data[2], 255);
    assert_int_equal(decode(s->file, s->size, GREY, &out), IBX_OK);
    assert_int_equal(out.shape[2], 1);
    assert_int_equal(out.data[0], 76);
    assert_int_equal(out.data[3], 255);
  }
  ibx_host_tensor_fini(&out);
}

static void grey_files_are_grey_in_all_channels(void **state) {
  (void)state;
  ibx_host_tensor out = IBX_HOST_TENSOR_INIT;
  static const char pgm[] = "P2 # a comment\n2 2 4\n0 1\n2 4\n";
  static const char pbm[] = "P1\n3 1\n101";
  assert_int_equal(decode((const uint8_t *)pgm, sizeof pgm - 1, RGB, &out),
                   IBX_OK);
  assert_memory_equal(out.data, "\0\0\0\x40\x40\x40\x80\x80\x80\xff\xff\xff",
                      12);
  assert_int_equal(decode((const uint8_t *)pbm, sizeof pbm - 1, GREY, &out),
                   IBX_OK);
  assert_memory_equal(out.data, "\0\xff\0", 3);
  ibx_status status = decode(jpeg_grey_file, sizeof jpeg_grey_file, GREY, &out);
  assert_int_equal(status, HAS_JPEG ? IBX_OK : IBX_UNSUPPORTED);
  if (HAS_JPEG) assert_true(out.data[9] >= 98 && out.data[9] <= 102);
  ibx_host_tensor_fini(&out);
}

static void what_is_no_image_is_empty(void **state) {
  (void)state;
  ibx_host_tensor out = IBX_HOST_TENSOR_INIT;
  static const uint8_t bytes[] = "no image at all";
  assert_int_equal(decode(bytes, sizeof bytes, RGB, &out), IBX_OK);
  assert_int_equal(ibx_host_tensor_count(&out), 0);
  assert_int_equal(out.rank, 3);
  assert_int_equal(decode(bytes, 0, RGB, &out), IBX_OK);
  assert_int_equal(decode(bytes, sizeof bytes, 3, &out), IBX_MISMATCH);
  // A head that claims more pixels than anybody has.
  static const char huge[] = "P6 100000000 100000000 255\nabc";
  assert_int_equal(decode((const uint8_t *)huge, sizeof huge - 1, RGB, &out),
                   IBX_OK);
  assert_int_equal(ibx_host_tensor_count(&out), 0);
  ibx_host_tensor_fini(&out);
}

static void try_damaged(const sample *s, uint64_t *random) {
  ibx_host_tensor out = IBX_HOST_TENSOR_INIT;
  uint8_t *copy = malloc(s->size);
  assert_non_null(copy);
  memcpy(copy, s->file, s->size);
  for (size_t change = 0; change < 3; change++) {
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407;
    copy[(*random >> 40) % s->size] = (uint8_t)(*random >> 32);
  }
  size_t size = (*random >> 20) % 4 == 0 ? (*random >> 24) % s->size : s->size;
  (void)!decode(copy, size, RGB, &out);
  ibx_host_tensor_fini(&out);
  free(copy);
}

static void damaged_files_do_no_harm(void **state) {
  (void)state;
  static const sample grey = SAMPLE(jpeg_grey, HAS_JPEG);
  uint64_t random = 1;
  for (size_t round = 0; round < 300; round++) {
    for (size_t i = 0; i < IBX_COUNT_OF(samples); i++)
      try_damaged(&samples[i], &random);
    try_damaged(&grey, &random);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(files_give_their_pixels),
      cmocka_unit_test(grey_files_are_grey_in_all_channels),
      cmocka_unit_test(what_is_no_image_is_empty),
      cmocka_unit_test(damaged_files_do_no_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
