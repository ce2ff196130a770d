// SPDX-License-Identifier: Apache-2.0
//
// Calls that look elements up in a list of keys: labels, and n-grams. Comes in:
// texts or numbers, and keys of the same type. Goes out: what belongs to the
// key. Keys are found through a table of hashes; of equal keys the last one
// counts.

#include "host/host.h"
#include "host/host_kernels.h"

#include "imbrex/driver.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
  const uint8_t *bytes = data;
  for (size_t i = 0; i < size; i++) { // FNV-1a
    hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

static const uint64_t hash_start = UINT64_C(0xcbf29ce484222325);

/// An element as bytes that are equal when it is: -0 is 0, every NaN one NaN.
typedef struct item {
  ibx_str bytes;
  union {
    int64_t integer;
    double number;
  } own;
} item;

static void item_init(item *it, const ibx_host_tensor *t, uint64_t index) {
  if (t->dtype == IBX_DTYPE_STRING) {
    it->bytes = ibx_host_tensor_text(t, index);
    return;
  }
  const void *at = ibx_host_at_const(t->data, t->dtype, (size_t)index);
  if (ibx_dtype_is_float(t->dtype)) {
    ibx_host_load(t->dtype, at, &it->own.number, 1);
    if (it->own.number == 0) it->own.number = 0;
    if (isnan(it->own.number)) it->own.number = (double)NAN;
  } else {
    ibx_host_load_int(t->dtype, at, &it->own.integer, 1);
  }
  it->bytes = (ibx_str){.data = (const char *)&it->own, .len = sizeof it->own};
}

// --- a table of keys ---------------------------------------------------------

/// Runs of `width` neighbouring elements of `keys`, by their contents.
typedef struct table {
  const ibx_host_tensor *keys;
  const ibx_allocator *allocator;
  uint64_t *slots; ///< position of a run + 1, 0 is free
  uint64_t mask;
} table;

static void *table_alloc(const ibx_allocator *allocator, size_t size) {
  return allocator ? allocator->alloc(allocator->user, size) : malloc(size);
}

static void table_fini(table *t) {
  if (t->allocator) {
    t->allocator->free(t->allocator->user, t->slots);
  } else {
    free(t->slots);
  }
}

static ibx_status table_init(table *t, const ibx_host_tensor *keys,
                             const ibx_allocator *allocator, uint64_t count,
                             ibx_error *err) {
  uint64_t slots = 16;
  *t = (table){.keys = keys, .allocator = allocator};
  while (slots < count * 2 && slots < UINT64_C(1) << 40)
    slots *= 2;
  t->mask = slots - 1;
  t->slots = table_alloc(allocator, (size_t)(slots * sizeof *t->slots));
  if (!t->slots) return IBX_FAIL(err, OUT_OF_MEMORY, "no memory for the keys");
  memset(t->slots, 0, (size_t)(slots * sizeof *t->slots));
  return IBX_OK;
}

// The slot of the key that equals elements at, at + step, ... of `from`.
static uint64_t *find_slot(const table *t, const ibx_host_tensor *from,
                           uint64_t at, uint64_t step, uint64_t width) {
  uint64_t hash = hash_start;
  for (uint64_t i = 0; i < width; i++) {
    item it;
    item_init(&it, from, at + i * step);
    hash = hash_bytes(hash, &it.bytes.len, sizeof it.bytes.len);
    hash = hash_bytes(hash, it.bytes.data, it.bytes.len);
  }
  for (uint64_t slot = (hash ^ hash >> 29) & t->mask;;
       slot = (slot + 1) & t->mask) {
    if (t->slots[slot] == 0) return &t->slots[slot];
    bool same = true;
    for (uint64_t i = 0; i < width && same; i++) {
      item a, b;
      item_init(&a, t->keys, t->slots[slot] - 1 + i);
      item_init(&b, from, at + i * step);
      same = ibx_host_same_text(a.bytes, b.bytes);
    }
    if (same) return &t->slots[slot];
  }
}

// --- labels ------------------------------------------------------------------

static ibx_status check_labels(const ibx_host_tensor *x,
                               const ibx_host_tensor *keys,
                               const ibx_host_tensor *values,
                               const ibx_host_tensor *absent, ibx_error *err) {
  IBX_TRY(ibx_host_need_dtype(keys, x->dtype, "label_encode: keys", err));
  IBX_TRY(
      ibx_host_need_dtype(absent, values->dtype, "label_encode: default", err));
  if (x->dtype != IBX_DTYPE_STRING) {
    IBX_TRY(ibx_host_need_number(x, "label_encode", err));
  }
  if (values->dtype != IBX_DTYPE_STRING) {
    IBX_TRY(ibx_host_need_number(values, "label_encode", err));
  }
  uint64_t have = ibx_host_tensor_count(values);
  if (ibx_host_tensor_count(keys) == have &&
      ibx_host_tensor_count(absent) == 1) {
    return IBX_OK;
  }
  return IBX_FAIL(err, MISMATCH,
                  "label_encode: %" PRIu64 " keys, %" PRIu64
                  " values and %" PRIu64 " defaults; one default is needed",
                  ibx_host_tensor_count(keys), have,
                  ibx_host_tensor_count(absent));
}

static ibx_status put_label(ibx_host_tensor *out, uint64_t index,
                            const ibx_host_tensor *from, uint64_t at,
                            ibx_error *err) {
  if (out->dtype == IBX_DTYPE_STRING) {
    ibx_str text = ibx_host_tensor_text(from, at);
    return ibx_host_tensor_add_text(out, text.data, text.len, err);
  }
  size_t size = ibx_dtype_bytes(out->dtype);
  memcpy(out->data + index * size, from->data + at * size, size);
  return IBX_OK;
}

ibx_status ibx_host_label_encode(const ibx_host_tensor *x,
                                 const ibx_host_tensor *keys,
                                 const ibx_host_tensor *values,
                                 const ibx_host_tensor *absent,
                                 ibx_host_tensor *out, ibx_error *err) {
  table t;
  IBX_TRY(check_labels(x, keys, values, absent, err));
  IBX_TRY(ibx_host_tensor_reset(out, values->dtype, x->shape, x->rank, err));
  uint64_t key_count = ibx_host_tensor_count(keys);
  IBX_TRY(table_init(&t, keys, out->allocator, key_count, err));
  for (uint64_t i = 0; i < key_count; i++)
    *find_slot(&t, keys, i, 1, 1) = i + 1;
  ibx_status status = IBX_OK;
  for (uint64_t i = 0; i < ibx_host_tensor_count(x) && status == IBX_OK; i++) {
    uint64_t found = *find_slot(&t, x, i, 1, 1);
    status = found ? put_label(out, i, values, found - 1, err)
                   : put_label(out, i, absent, 0, err);
  }
  table_fini(&t);
  return status;
}

// --- n-grams -----------------------------------------------------------------

enum { TF, IDF, TFIDF };

/// The operands of tfidf, checked.
typedef struct grams {
  const ibx_host_tensor *x, *pool, *weights;
  int64_t mode, least, most, skips;
  uint64_t lengths; ///< lengths of n-grams that the pool has
  uint64_t pool_count, column_count;
  const uint8_t *starts, *columns;
} grams;

static int64_t long_at(const uint8_t *data, uint64_t index) {
  int64_t value;
  memcpy(&value, data + index * sizeof value, sizeof value);
  return value;
}

// Where the n-grams of length index + 1 begin in the pool.
static uint64_t start_of(const grams *g, uint64_t index) {
  return index < g->lengths ? (uint64_t)long_at(g->starts, index)
                            : g->pool_count;
}

static ibx_status wrong_grams(const char *what, ibx_error *err) {
  return IBX_FAIL(err, MISMATCH, "tfidf: %s", what);
}

static ibx_status check_pool(const grams *g, uint64_t columns, ibx_error *err) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < g->lengths; i++) {
    uint64_t start = start_of(g, i), end = start_of(g, i + 1);
    if (start > end || end > g->pool_count) {
      return wrong_grams("the starts of lengths do not rise in the pool", err);
    }
    if ((end - start) % (i + 1) != 0) {
      return wrong_grams("n-grams of one length do not fill their place", err);
    }
    count += (end - start) / (i + 1);
  }
  if (count != columns) {
    return wrong_grams("there is not one column for each n-gram", err);
  }
  for (uint64_t i = 0; i < columns; i++) {
    int64_t column = long_at(g->columns, i);
    if (column < 0 || (uint64_t)column >= g->column_count) {
      return wrong_grams("an n-gram has a column that the result lacks", err);
    }
  }
  return IBX_OK;
}

static ibx_status check_grams(const grams *g, const ibx_host_tensor *starts,
                              const ibx_host_tensor *columns, ibx_error *err) {
  IBX_TRY(ibx_host_need_dtype(starts, IBX_DTYPE_I64, "tfidf: starts", err));
  IBX_TRY(ibx_host_need_dtype(columns, IBX_DTYPE_I64, "tfidf: columns", err));
  bool is_text = g->x->dtype == IBX_DTYPE_STRING;
  bool is_int = ibx_dtype_bytes(g->x->dtype) != 0 &&
                !ibx_dtype_is_float(g->x->dtype) &&
                !ibx_dtype_is_packed(g->x->dtype);
  IBX_TRY(ibx_host_need_dtype(
      g->pool, is_text ? IBX_DTYPE_STRING : IBX_DTYPE_I64, "tfidf: pool", err));
  if (!is_text && !is_int) {
    return wrong_grams("the input has neither texts nor integers", err);
  }
  if (g->x->rank > 2) return wrong_grams("the input is no row or matrix", err);
  if (g->mode < TF || g->mode > TFIDF || g->least < 1 || g->most < g->least ||
      g->skips < 0 || g->most > 64) {
    return wrong_grams("mode, lengths or skips are out of range", err);
  }
  if (g->weights) {
    IBX_TRY(
        ibx_host_need_dtype(g->weights, IBX_DTYPE_F32, "tfidf: weights", err));
    if (ibx_host_tensor_count(g->weights) < g->column_count) {
      return wrong_grams("there is not a weight for each column", err);
    }
  }
  return check_pool(g, ibx_host_tensor_count(columns), err);
}

static uint64_t extent_at(const ibx_host_tensor *t, size_t index) {
  return index < t->rank ? t->shape[index] : 1;
}

static void count_gram(const grams *g, uint64_t gram, float *row) {
  row[long_at(g->columns, gram)] += 1;
}

// Counts the n-grams of length `width` in one row of the input.
static void count_row(const grams *g, const table *t, uint64_t width,
                      uint64_t first_gram, uint64_t row_start, uint64_t row_len,
                      float *out) {
  uint64_t skips = width == 1 ? 0 : (uint64_t)g->skips;
  uint64_t pool_start = start_of(g, width - 1);
  for (uint64_t step = 1; step <= skips + 1; step++) {
    if (row_len == 0 || step > row_len) break;
    uint64_t reach = (width - 1) * step;
    for (uint64_t i = 0; i + reach < row_len; i++) {
      uint64_t found = *find_slot(t, g->x, row_start + i, step, width);
      if (found == 0) continue;
      count_gram(g, first_gram + (found - 1 - pool_start) / width, out);
    }
  }
}

static ibx_status count_width(const grams *g, uint64_t width,
                              uint64_t first_gram, ibx_host_tensor *out,
                              ibx_error *err) {
  table t;
  uint64_t start = start_of(g, width - 1), end = start_of(g, width);
  uint64_t rows = g->x->rank == 2 ? g->x->shape[0] : 1;
  uint64_t len = extent_at(g->x, g->x->rank == 2 ? 1 : 0);
  IBX_TRY(table_init(&t, g->pool, out->allocator, (end - start) / width, err));
  for (uint64_t at = start; at < end; at += width)
    *find_slot(&t, g->pool, at, 1, width) = at + 1;
  for (uint64_t r = 0; r < rows; r++) {
    float *row = (float *)(void *)out->data + r * g->column_count;
    count_row(g, &t, width, first_gram, r * len, len, row);
  }
  table_fini(&t);
  return IBX_OK;
}

// Counts become what the mode asks for. Weights stand in the order of columns,
// as ONNX Runtime and ONNX's reference have it.
static void weigh(const grams *g, ibx_host_tensor *out) {
  uint64_t rows = g->x->rank == 2 ? g->x->shape[0] : 1;
  float *data = (void *)out->data;
  for (uint64_t i = 0; g->mode == IDF && i < rows * g->column_count; i++)
    data[i] = data[i] > 0 ? 1 : 0;
  if (g->mode == TF || !g->weights) return;
  for (uint64_t i = 0; i < rows * g->column_count; i++) {
    float weight;
    uint64_t column = i % g->column_count;
    memcpy(&weight, g->weights->data + column * sizeof weight, sizeof weight);
    data[i] *= weight;
  }
}

ibx_status ibx_host_tfidf(const ibx_host_tensor *x, const ibx_host_tensor *pool,
                          const ibx_host_tensor *starts,
                          const ibx_host_tensor *columns,
                          const ibx_host_tensor *weights, int64_t mode,
                          int64_t least, int64_t most, int64_t skips,
                          int64_t column_count, ibx_host_tensor *out,
                          ibx_error *err) {
  grams g = {.x = x,
             .pool = pool,
             .weights = weights,
             .mode = mode,
             .least = least,
             .most = most,
             .skips = skips,
             .lengths = ibx_host_tensor_count(starts),
             .pool_count = ibx_host_tensor_count(pool),
             .column_count = column_count < 0 ? 0 : (uint64_t)column_count,
             .starts = starts->data,
             .columns = columns->data};
  IBX_TRY(check_grams(&g, starts, columns, err));
  uint64_t shape[IBX_MAX_RANK] = {x->rank == 2 ? x->shape[0] : g.column_count,
                                  g.column_count};
  IBX_TRY(ibx_host_tensor_reset(out, IBX_DTYPE_F32, shape, x->rank == 2 ? 2 : 1,
                                err));
  uint64_t gram = 0;
  for (uint64_t width = 1; width <= g.lengths; width++) {
    bool is_wanted = width >= (uint64_t)least && width <= (uint64_t)most;
    uint64_t count = (start_of(&g, width) - start_of(&g, width - 1)) / width;
    if (is_wanted && count != 0) {
      IBX_TRY(count_width(&g, width, gram, out, err));
    }
    gram += count;
  }
  weigh(&g, out);
  return IBX_OK;
}
