// SPDX-License-Identifier: Apache-2.0
//
// Imports transforms of signals and what belongs to them. Comes in: a signal
// whose last dimension is 1 (real) or 2 (complex). Goes out: a product with a
// constant matrix, for DFT over the dimension and the parts of the numbers at
// once; a convolution whose strides are the steps of the frames, for STFT.
// Windows and mel filters are constants.

#include "frontend/import.h"
#include "frontend/import_ops.h"

#include <inttypes.h>
#include <math.h>

static const double two_pi = 6.283185307179586476925286766559;

// --- Fourier matrices --------------------------------------------------------

typedef struct fourier {
  int64_t length;   // of the transform
  int64_t in, out;  // elements that are read and made
  int64_t parts_in; // 1: real, 2: complex
  int64_t parts_out;
  bool inverse, onesided;
  double *cosines, *sines; // of a turn in `length` parts
} fourier;

// How often an element of a one-sided spectrum stands in the whole one.
static double mirrored(const fourier *f, int64_t k) {
  if (!f->inverse || !f->onesided) return 1;
  return k == 0 || 2 * k == f->length ? 1 : 2;
}

// Part `to` of what part `from` of element n adds to element k.
//
//   (re + i im) (cos + i s sin), s = -1 forwards, 1 backwards
static double factor(const fourier *f, int64_t n, int64_t k, int64_t from,
                     int64_t to) {
  uint64_t turn = (uint64_t)n * (uint64_t)k % (uint64_t)f->length;
  double sine = f->inverse ? f->sines[turn] : -f->sines[turn];
  double value = from == to ? f->cosines[turn] : from == 0 ? sine : -sine;
  if (!f->inverse) return value;
  return value * mirrored(f, n) / (double)f->length;
}

static void fill_turn(ibx_call *call, fourier *f) {
  ibx_arena *scratch = &call->import->scratch;
  f->cosines = IBX_ARENA_ARRAY(scratch, (size_t)f->length, double);
  f->sines = IBX_ARENA_ARRAY(scratch, (size_t)f->length, double);
  for (int64_t i = 0; i < f->length; i++) {
    double angle = two_pi * (double)i / (double)f->length;
    f->cosines[i] = cos(angle);
    f->sines[i] = sin(angle);
  }
}

// [in * parts_in, out * parts_out]; as weights of a convolution
// [out * parts_out, parts_in, in].
static ibx_val emit_matrix(ibx_call *call, fourier *f, bool as_weights) {
  int64_t rows = f->in * f->parts_in, columns = f->out * f->parts_out;
  int64_t total = 0;
  if (!ibx_mul_extent(rows, columns, &total)) total = INT64_MAX;
  if (!ibx_call_expect_room(call, total)) return ibx_in(call, 0);
  fill_turn(call, f);
  float *data = IBX_ARENA_ARRAY(call->import->arena, (size_t)total, float);
  for (int64_t row = 0; row < rows; row++) {
    int64_t n = row / f->parts_in, from = row % f->parts_in;
    for (int64_t column = 0; column < columns; column++) {
      int64_t place = as_weights ? (column * f->parts_in + from) * f->in + n
                                 : row * columns + column;
      data[place] = (float)factor(f, n, column / f->parts_out, from,
                                  column % f->parts_out);
    }
  }
  ibx_type type = {.dims = {rows, columns}, .rank = 2, .dtype = IBX_DTYPE_F32};
  if (as_weights) {
    type = (ibx_type){.dims = {columns, f->parts_in, f->in},
                      .rank = 3,
                      .dtype = IBX_DTYPE_F32};
  }
  return ibx_emit_constant(call, type, data);
}

// --- DFT ---------------------------------------------------------------------

static bool read_fourier(ibx_call *call, fourier *f, ibx_ints shape,
                         int64_t axis) {
  enum { MOST_LENGTH = 1 << 20 };
  int64_t extent = shape.at[axis];
  f->inverse = ibx_attr_flag(call, "inverse", false);
  f->onesided = ibx_attr_flag(call, "onesided", false);
  f->parts_in = shape.at[shape.len - 1];
  f->length = f->inverse && f->onesided ? 2 * (extent - 1) : extent;
  if (ibx_has_in(call, 1)) {
    f->length = ibx_const_int(call, 1, "dft_length");
  }
  if (call->failed) return false;
  bool fits = f->parts_in == 1 || f->parts_in == 2;
  if (!ibx_call_expect(call, fits, "input", "is neither real nor complex") ||
      !ibx_call_expect(
          call, extent >= 1 && f->length >= 1 && f->length <= MOST_LENGTH,
          "dft_length", "lies outside of 1 to 1048576")) {
    return false;
  }
  if (f->onesided && (f->parts_in == 2) != f->inverse) {
    ibx_call_refuse(call, "onesided", "one side of such a signal");
    return false;
  }
  bool halves_in = f->onesided && f->inverse;
  int64_t half = f->length / 2 + 1;
  f->out = f->onesided && !f->inverse ? half : f->length;
  f->in = halves_in ? half : f->length;
  f->in = f->in < extent ? f->in : extent;
  f->parts_out = halves_in ? 1 : 2;
  return true;
}

// The axis goes before the parts of the numbers, and back.
static void import_dft(ibx_call *call, int64_t axis) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  int64_t last = shape.len - 1;
  fourier f = {0};
  if (call->failed ||
      !ibx_call_expect(call, shape.len >= 2 && axis < last, "axis",
                       "is that of the parts of a number") ||
      !read_fourier(call, &f, shape, axis)) {
    return;
  }
  ibx_val matrix = emit_matrix(call, &f, false);
  if (call->failed) return;
  matrix = ibx_emit_cast(call, matrix, ibx_dtype_of(call, x));
  x = ibx_emit_swap(call, ibx_emit_slice(call, x, axis, 0, f.in, 1), axis,
                    last - 1);
  ibx_ints flat = ibx_shape_of(call, x);
  flat.at[--flat.len - 1] = f.in * f.parts_in;
  if (flat.len == 1) flat = IBX_INTS(1, flat.at[0]);
  x = ibx_emit_matmul(call, ibx_emit_reshape(call, x, flat), matrix);
  ibx_ints wide = shape;
  wide.at[axis] = shape.at[last - 1];
  wide.at[last - 1] = f.out;
  wide.at[last] = f.parts_out;
  x = ibx_emit_reshape(call, x, wide);
  ibx_out(call, 0, ibx_emit_swap(call, x, axis, last - 1));
}

void ibx_import_op_dft_17(ibx_call *call) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0));
  import_dft(call, ibx_axis(call, ibx_attr_int(call, "axis", 1), rank));
}

void ibx_import_op_dft(ibx_call *call) {
  int64_t rank = ibx_rank(call, ibx_in(call, 0)), axis = -2;
  if (ibx_has_in(call, 2)) axis = ibx_const_int(call, 2, "axis");
  if (!call->failed) import_dft(call, ibx_axis(call, axis, rank));
}

// --- STFT --------------------------------------------------------------------

static int64_t read_frame_length(ibx_call *call, int64_t extent) {
  int64_t window = -1;
  if (ibx_has_in(call, 2)) {
    ibx_call_expect(call, ibx_rank(call, ibx_in(call, 2)) == 1, "window",
                    "needs 1 dimension");
    window = ibx_dim(call, ibx_in(call, 2), 0);
  }
  if (!ibx_has_in(call, 3)) return window >= 0 ? window : extent;
  int64_t length = ibx_const_int(call, 3, "frame_length");
  ibx_call_expect(call, window < 0 || window == length, "window",
                  "is not as long as a frame");
  return length;
}

void ibx_import_op_stft(ibx_call *call) {
  ibx_val x = ibx_in(call, 0);
  ibx_ints shape = ibx_shape_of(call, x);
  fourier f = {.onesided = ibx_attr_flag(call, "onesided", true),
               .parts_out = 2};
  if (!ibx_call_expect(call,
                       shape.len == 3 && (shape.at[2] == 1 || shape.at[2] == 2),
                       "signal", "is no batch of numbers")) {
    return;
  }
  f.length = f.in = read_frame_length(call, shape.at[1]);
  f.parts_in = shape.at[2];
  f.out = f.onesided ? f.length / 2 + 1 : f.length;
  int64_t step = ibx_const_int(call, 1, "frame_step");
  if (f.onesided && f.parts_in == 2) {
    ibx_call_refuse(call, "onesided", "one side of a complex signal");
  }
  if (call->failed ||
      !ibx_call_expect(call, step >= 1, "frame_step", "is not positive") ||
      !ibx_call_expect(call, f.length >= 1 && f.length <= shape.at[1],
                       "frame_length", "is longer than the signal")) {
    return;
  }
  ibx_val weights = emit_matrix(call, &f, true);
  if (call->failed) return;
  if (ibx_has_in(call, 2)) {
    weights =
        ibx_emit_binary(call, IBX_TENSOR_mul, weights,
                        ibx_emit_cast(call, ibx_in(call, 2), IBX_DTYPE_F32));
  }
  weights = ibx_emit_cast(call, weights, ibx_dtype_of(call, x));
  ibx_params params = {.strides = IBX_INTS(step),
                       .low = IBX_INTS(0),
                       .high = IBX_INTS(0),
                       .dilations = IBX_INTS(1),
                       .groups = 1};
  ibx_val operands[] = {ibx_emit_swap(call, x, 1, 2), weights};
  ibx_val frames = ibx_emit_op(call, IBX_TENSOR_conv, &params, operands, 2);
  frames = ibx_emit_swap(call, frames, 1, 2);
  ibx_out(call, 0,
          ibx_emit_reshape(
              call, frames,
              IBX_INTS(shape.at[0], ibx_dim(call, frames, 1), f.out, 2)));
}

// --- windows -----------------------------------------------------------------

static ibx_dtype read_dtype(ibx_call *call) {
  int64_t number = ibx_attr_int(call, "output_datatype", 1);
  ibx_dtype dtype = number > 0 && number < 256
                        ? ibx_dtype_from_onnx((int)number)
                        : IBX_DTYPE_NONE;
  if (dtype == IBX_DTYPE_NONE) {
    ibx_call_refuse(call, "output_datatype", "ONNX data type %" PRId64, number);
  }
  return dtype;
}

// a + b cos(angle) + c cos(2 angle); a period is as long as the window, or one
// element shorter where both ends are equal.
static void import_window(ibx_call *call, double a, double b, double c) {
  bool periodic = ibx_attr_flag(call, "periodic", true);
  ibx_dtype dtype = read_dtype(call);
  int64_t size = ibx_const_int(call, 0, "size");
  if (call->failed || !ibx_call_expect_room(call, size)) return;
  ibx_type type = {.dims = {size}, .rank = 1, .dtype = IBX_DTYPE_F64};
  double *data = IBX_ARENA_ARRAY(call->import->arena, (size_t)size, double);
  double period = (double)(periodic || size == 1 ? size : size - 1);
  for (int64_t i = 0; i < size; i++) {
    double angle = two_pi * (double)i / period;
    data[i] = a + b * cos(angle) + c * cos(2 * angle);
  }
  ibx_val window = ibx_emit_constant(call, type, data);
  ibx_out(call, 0, ibx_emit_cast(call, window, dtype));
}

void ibx_import_op_hann_window(ibx_call *call) {
  import_window(call, 0.5, -0.5, 0);
}

void ibx_import_op_hamming_window(ibx_call *call) {
  import_window(call, 25.0 / 46, -21.0 / 46, 0);
}

void ibx_import_op_blackman_window(ibx_call *call) {
  import_window(call, 0.42, -0.5, 0.08);
}

// --- mel filters -------------------------------------------------------------

static double to_mel(double hertz) { return 2595 * log10(1 + hertz / 700); }

static double to_hertz(double mel) { return 700 * (pow(10, mel / 2595) - 1); }

typedef struct mel_bank {
  int64_t bins, rows, length;
  double rate, low, high;
} mel_bank;

// The row of the spectrum where filter `i` begins; it peaks at the next one.
static int64_t edge(const mel_bank *bank, int64_t i) {
  double first = to_mel(bank->low);
  double step = (to_mel(bank->high) - first) / (double)(bank->bins + 2);
  double hertz = to_hertz(first + (double)i * step);
  double row = floor((double)(bank->length + 1) * hertz / bank->rate);
  return row<0 ? 0 : row>(double) bank->rows ? bank->rows : (int64_t)row;
}

// A triangle over the rows from the edge before its peak to the one after.
static void fill_filter(const mel_bank *bank, int64_t i, float *data) {
  int64_t low = edge(bank, i), peak = edge(bank, i + 1);
  int64_t high = edge(bank, i + 2);
  for (int64_t row = low; row < bank->rows && row <= high; row++) {
    double up = peak == low ? 1 : (double)(row - low) / (double)(peak - low);
    double down =
        high == peak ? 0 : (double)(high - row) / (double)(high - peak);
    data[row * bank->bins + i] =
        (float)(row < peak || (row == peak && high == peak) ? up : down);
  }
}

void ibx_import_op_mel_weight_matrix(ibx_call *call) {
  ibx_dtype dtype = read_dtype(call);
  mel_bank bank = {.bins = ibx_const_int(call, 0, "num_mel_bins"),
                   .length = ibx_const_int(call, 1, "dft_length"),
                   .rate = ibx_const_number(call, 2, "sample_rate"),
                   .low = ibx_const_number(call, 3, "lower_edge_hertz"),
                   .high = ibx_const_number(call, 4, "upper_edge_hertz")};
  if (call->failed) return;
  bool fits = bank.bins >= 1 && bank.bins <= INT32_MAX && bank.length >= 0 &&
              bank.length <= INT32_MAX && bank.rate > 0 && bank.low >= 0 &&
              bank.high >= bank.low && bank.high < (double)INT32_MAX;
  if (!ibx_call_expect(call, fits, "num_mel_bins",
                       "or another number is out of range")) {
    return;
  }
  bank.rows = bank.length / 2 + 1;
  if (!ibx_call_expect_room(call, bank.rows * bank.bins)) return;
  ibx_type type = {
      .dims = {bank.rows, bank.bins}, .rank = 2, .dtype = IBX_DTYPE_F32};
  float *data = IBX_ARENA_ARRAY(call->import->arena,
                                (size_t)(bank.rows * bank.bins), float);
  for (int64_t i = 0; i < bank.bins; i++)
    fill_filter(&bank, i, data);
  ibx_val filters = ibx_emit_constant(call, type, data);
  ibx_out(call, 0, ibx_emit_cast(call, filters, dtype));
}
