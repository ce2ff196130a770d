// SPDX-License-Identifier: Apache-2.0
//
// Pooling. Comes in: [N, C, spatial...]. Goes out: the largest element or the
// mean of each window, channel by channel.

#include "host/host.h"

#include <math.h>
#include <stdlib.h>

// What a row of windows has gathered: one place for each window.
typedef struct row_sums {
  double *reals;
  int64_t *integers;
  uint32_t *counts; ///< elements inside of the tensor
} row_sums;

typedef struct pool {
  const ibx_host_call *call;
  ibx_host_window window;
  bool is_float, is_u64, is_max;
  double real_start;
  int64_t integer_start;
} pool;

static void start_row(const pool *p, const row_sums *sums, size_t width) {
  for (size_t j = 0; j < width; j++) {
    sums->counts[j] = 0;
    sums->reals[j] = p->real_start;
    sums->integers[j] = p->integer_start;
  }
}

static void join_real(const pool *p, double x, double *into) {
  if (!p->is_max) {
    *into += x;
  } else if (x > *into || isnan(x)) {
    *into = x;
  }
}

static void join_integer(const pool *p, int64_t x, int64_t *into) {
  bool is_larger = p->is_u64 ? (uint64_t)x > (uint64_t)*into : x > *into;
  if (is_larger) *into = x;
}

// Adds tap after tap what the windows of one row read of one channel.
static void gather_row(const pool *p, const void *channel, size_t row,
                       const row_sums *sums) {
  const ibx_host_window *w = &p->window;
  ibx_dtype dtype = p->call->result->type.dtype;
  size_t last = w->rank - 1, width = (size_t)w->out[last];
  for (size_t tap = 0; tap < w->taps; tap++) {
    int64_t first, low;
    if (!ibx_host_window_row(w, row, tap, &first, &low)) continue;
    for (size_t j = 0; j < width; j++) {
      int64_t at = first + (int64_t)j * w->stride[last];
      if (at < low || at >= low + w->in[last]) continue;
      const void *from = ibx_host_at_const(channel, dtype, (size_t)at);
      double real;
      int64_t integer;
      sums->counts[j]++;
      if (p->is_float) {
        ibx_host_load(dtype, from, &real, 1);
        join_real(p, real, &sums->reals[j]);
      } else {
        ibx_host_load_int(dtype, from, &integer, 1);
        join_integer(p, integer, &sums->integers[j]);
      }
    }
  }
}

static void finish_row(const pool *p, const row_sums *sums, size_t width,
                       void *to) {
  ibx_dtype dtype = p->call->result->type.dtype;
  bool skips_padding = p->call->params->exclude_pad != 0;
  for (size_t j = 0; j < width && !p->is_max; j++) {
    size_t divisor = skips_padding ? sums->counts[j] : p->window.taps;
    sums->reals[j] = divisor ? sums->reals[j] / (double)divisor : 0;
  }
  if (p->is_float) {
    ibx_host_store(dtype, sums->reals, to, width);
  } else {
    ibx_host_store_int(dtype, sums->integers, to, width);
  }
}

static void pool_channels(const pool *p, const row_sums *sums) {
  const ibx_tensor *x = &p->call->operands[0];
  ibx_tensor *y = p->call->result;
  const ibx_host_window *w = &p->window;
  size_t width = (size_t)w->out[w->rank - 1];
  size_t channels = ibx_type_span(&x->type, 0, 2);
  for (size_t i = 0; i < channels; i++) {
    const void *from =
        ibx_host_at_const(x->data, x->type.dtype, i * w->in_count);
    for (size_t row = 0; row < w->out_count / width; row++) {
      start_row(p, sums, width);
      gather_row(p, from, row, sums);
      finish_row(
          p, sums, width,
          ibx_host_at(y->data, y->type.dtype, i * w->out_count + row * width));
    }
  }
}

ibx_status ibx_host_pool(const ibx_host_call *call, ibx_error *err) {
  const ibx_type *type = &call->operands[0].type;
  pool p = {.call = call,
            .window =
                ibx_host_window_make(call->params, type, &call->result->type,
                                     call->params->kernel.at),
            .is_float = ibx_dtype_is_float(type->dtype),
            .is_u64 = type->dtype == IBX_DTYPE_U64,
            .is_max = call->op == IBX_TENSOR_max_pool};
  if (p.is_max) {
    p.real_start = -INFINITY;
    if (!p.is_float) p.integer_start = ibx_host_extreme(type->dtype, false);
  }
  size_t width = (size_t)p.window.out[p.window.rank - 1];
  row_sums sums = {.reals = calloc(width, sizeof(double)),
                   .integers = calloc(width, sizeof(int64_t)),
                   .counts = calloc(width, sizeof(uint32_t))};
  bool is_ok = sums.reals && sums.integers && sums.counts;
  if (is_ok) pool_channels(&p, &sums);
  free(sums.reals);
  free(sums.integers);
  free(sums.counts);
  if (is_ok) return IBX_OK;
  return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for a row of pooling");
}
