// SPDX-License-Identifier: Apache-2.0
//
// Numbers as texts and back. Comes in: texts or numbers. Goes out: the other. A
// number's text is the shortest that reads back as the same number of its
// dtype, as C's %g writes it; NaN, INF and -INF stand for what is no number.

#include "host/host.h"
#include "host/host_kernels.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_CHARS = 64 };

// --- to texts ----------------------------------------------------------------

// The value that `text` reads back as in the dtype.
static double read_back(ibx_dtype dtype, const char *text) {
  double value = strtod(text, NULL), rounded = value;
  if (dtype == IBX_DTYPE_F64) return value;
  uint8_t bytes[sizeof(double)];
  ibx_host_store(dtype, &value, bytes, 1);
  ibx_host_load(dtype, bytes, &rounded, 1);
  return rounded;
}

static void print_float(ibx_dtype dtype, double value, char out[MOST_CHARS]) {
  if (isnan(value)) {
    snprintf(out, MOST_CHARS, "NaN");
  } else if (isinf(value)) {
    snprintf(out, MOST_CHARS, value < 0 ? "-INF" : "INF");
  } else {
    for (int digits = 1; digits <= 17; digits++) {
      snprintf(out, MOST_CHARS, "%.*g", digits, value);
      if (read_back(dtype, out) == value) return;
    }
  }
}

static void print_element(const ibx_host_tensor *x, uint64_t index,
                          char out[MOST_CHARS]) {
  const void *at = ibx_host_at_const(x->data, x->dtype, (size_t)index);
  int64_t integer = 0;
  if (ibx_dtype_is_float(x->dtype)) {
    double value = 0;
    ibx_host_load(x->dtype, at, &value, 1);
    print_float(x->dtype, value, out);
    return;
  }
  ibx_host_load_int(x->dtype, at, &integer, 1);
  if (x->dtype == IBX_DTYPE_U64) {
    snprintf(out, MOST_CHARS, "%" PRIu64, (uint64_t)integer);
  } else {
    snprintf(out, MOST_CHARS, "%" PRId64, integer);
  }
}

// strtod() and printf() write and read the decimal point of the thread's
// locale: the call runs in that of C.
static ibx_status with_c_locale(locale_t *out_c, locale_t *out_before,
                                ibx_error *err) {
  *out_c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (*out_c == (locale_t)0) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory");
  *out_before = uselocale(*out_c);
  return IBX_OK;
}

static void end_c_locale(locale_t c, locale_t before) {
  uselocale(before);
  freelocale(c);
}

static ibx_status print_all(const ibx_host_tensor *x, ibx_host_tensor *out,
                            ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_STRING, x->shape, x->rank, err));
  for (uint64_t i = 0; i < ibx_host_tensor_count(x); i++) {
    char text[MOST_CHARS];
    print_element(x, i, text);
    IBX_TRY(ibx_host_tensor_add_text(out, text, strlen(text), err));
  }
  return IBX_OK;
}

ibx_status ibx_host_number_to_text(const ibx_host_tensor *x,
                                   ibx_host_tensor *out, ibx_error *err) {
  locale_t c, before = (locale_t)0;
  IBX_TRY(ibx_host_need_number(x, "number_to_text", err));
  IBX_TRY(with_c_locale(&c, &before, err));
  ibx_status status = print_all(x, out, err);
  end_c_locale(c, before);
  return status;
}

// --- to numbers --------------------------------------------------------------

static ibx_status no_number(ibx_str text, const char *type, ibx_error *err) {
  return IBX_FAIL(err, MISMATCH, "the text '%.*s' is no number of type %s",
                  text.len < 60 ? (int)text.len : 60, text.data, type);
}

// A copy that ends, without blanks around it; false when it is too long.
static bool copy_text(ibx_str text, char out[256]) {
  while (text.len != 0 && strchr(" \t\r\n", text.data[0])) {
    text.data++;
    text.len--;
  }
  while (text.len != 0 && strchr(" \t\r\n", text.data[text.len - 1]))
    text.len--;
  if (text.len == 0 || text.len >= 256 || memchr(text.data, 0, text.len)) {
    return false;
  }
  memcpy(out, text.data, text.len);
  out[text.len] = 0;
  return true;
}

static bool read_float(const char *text, double *out) {
  const char *digits = text + (*text == '-' || *text == '+');
  bool is_named = strcasecmp(digits, "inf") == 0 ||
                  strcasecmp(digits, "infinity") == 0 ||
                  strcasecmp(digits, "nan") == 0;
  // strtod() takes more than numbers: hexadecimal ones, nan(...).
  if (!is_named && strspn(digits, "0123456789.eE+-") != strlen(digits)) {
    return false;
  }
  char *end;
  *out = strtod(text, &end);
  return *end == 0;
}

// A whole number; one with a fraction or an exponent loses its fraction.
static bool read_int(ibx_dtype dtype, const char *text, int64_t *out) {
  char *end;
  if (text[strspn(text, "+-0123456789")] == 0) {
    *out = dtype == IBX_DTYPE_U64 && *text != '-'
               ? (int64_t)strtoull(text, &end, 10)
               : strtoll(text, &end, 10);
    return *end == 0;
  }
  double value;
  uint8_t wide[sizeof *out];
  if (!read_float(text, &value)) return false;
  ibx_dtype kept = dtype == IBX_DTYPE_U64 ? dtype : IBX_DTYPE_I64;
  ibx_host_store_truncated(kept, &value, wide, 1);
  memcpy(out, wide, sizeof *out);
  return true;
}

static bool read_bool(const char *text, int64_t *out) {
  double value = 0;
  bool is_true = strcasecmp(text, "true") == 0;
  *out = is_true;
  if (is_true || strcasecmp(text, "false") == 0) return true;
  if (!read_float(text, &value)) return false;
  *out = value != 0;
  return true;
}

static bool read_element(ibx_dtype dtype, const char *text, void *at) {
  double value;
  int64_t integer;
  if (ibx_dtype_is_float(dtype)) {
    if (!read_float(text, &value)) return false;
    if (dtype == IBX_DTYPE_F32) { // rounds once
      float single = strtof(text, NULL);
      memcpy(at, &single, sizeof single);
    } else {
      ibx_host_store(dtype, &value, at, 1);
    }
    return true;
  }
  bool is_fine = dtype == IBX_DTYPE_BOOL ? read_bool(text, &integer)
                                         : read_int(dtype, text, &integer);
  if (is_fine) ibx_host_store_int(dtype, &integer, at, 1);
  return is_fine;
}

static ibx_status read_all(const ibx_host_tensor *x, ibx_dtype dtype,
                           ibx_host_tensor *out, ibx_error *err) {
  IBX_TRY(ibx_host_tensor_reset(out, dtype, x->shape, x->rank, err));
  for (uint64_t i = 0; i < ibx_host_tensor_count(x); i++) {
    char text[256];
    ibx_str from = ibx_host_tensor_text(x, i);
    if (!copy_text(from, text) ||
        !read_element(dtype, text, ibx_host_at(out->data, dtype, (size_t)i))) {
      return no_number(from, ibx_dtype_get(dtype)->name, err);
    }
  }
  return IBX_OK;
}

ibx_status ibx_host_text_to_number(const ibx_host_tensor *x, int64_t dtype,
                                   ibx_host_tensor *out, ibx_error *err) {
  locale_t c, before = (locale_t)0;
  IBX_TRY(ibx_host_need_text(x, "text_to_number", err));
  bool is_known = dtype > 0 && dtype < IBX_DTYPE_COUNT &&
                  !ibx_dtype_is_packed((ibx_dtype)dtype);
  if (!is_known) {
    return IBX_FAIL(err, MISMATCH, "text_to_number: there is no dtype %" PRId64,
                    dtype);
  }
  IBX_TRY(with_c_locale(&c, &before, err));
  ibx_status status = read_all(x, (ibx_dtype)dtype, out, err);
  end_c_locale(c, before);
  return status;
}
